import type { Source } from './source.ts';
import { hashIn, named, nothingSeen, someHas, tableName } from './tables.ts';

/** Supabase: a dump with `auth.users`, or CSV of that table. */
export const supabase: Source = {
  name: 'supabase',
  title: 'Supabase',
  containers: ['sql', 'csv', 'json'],
  by: ['id', 'email'],
  recognise(sample) {
    const own = ['raw_app_meta_data', 'raw_user_meta_data', 'instance_id', 'is_sso_user', 'email_confirmed_at'];
    if (own.some((name) => someHas(sample, 'encrypted_password', name))) return 'sure';
    // Without the hashes: of `supabase.auth.admin`.
    return someHas(sample, 'app_metadata', 'user_metadata', 'aud') ? 'sure' : nothingSeen(sample);
  },
  hasPasswords: (sample) => someHas(sample, 'encrypted_password'),
  read(fields, _params, of) {
    const { id, email, encrypted_password: hash } = fields;
    if (hash === undefined || (of !== undefined && tableName(of) !== 'users')) return undefined;
    return { ...named(id, email), passwordHash: hashIn(hash) };
  },
};
