import type { Source } from './source.ts';
import { hashIn, named, nothingSeen, someHas } from './tables.ts';

const own = ['reset_password_token', 'sign_in_count', 'remember_created_at', 'reset_password_sent_at', 'password_salt'];

/**
 * Devise (Ruby on Rails): a dump of its table, CSV or JSON of it. A pepper (`config.pepper`) stands in no file: whoever has one says so
 * (`--peppered`).
 */
export const devise: Source = {
  name: 'devise',
  title: 'Devise',
  containers: ['sql', 'csv', 'json', 'ndjson'],
  lists: ['users'],
  by: ['email', 'username', 'id'],
  recognise(sample) {
    if (someHas(sample, 'instance_id') || someHas(sample, 'raw_app_meta_data')) return 'no';
    if (own.some((name) => someHas(sample, 'encrypted_password', name))) return 'sure';
    return someHas(sample, 'encrypted_password') ? 'maybe' : nothingSeen(sample);
  },
  read(fields) {
    const { id, email, username, encrypted_password: hash } = fields;
    if (hash === undefined) return undefined;
    const who = named(typeof id === 'number' ? String(id) : id, email, username);
    return { ...who, passwordHash: hashIn(hash) };
  },
};
