import type { Source } from './source.ts';
import { hashIn, named, nothingSeen, someHas } from './tables.ts';

/** WordPress: a dump with `wp_users` (whatever its prefix), or what `wp user list` prints. */
export const wordpress: Source = {
  name: 'wordpress',
  title: 'WordPress',
  containers: ['sql', 'csv', 'json', 'ndjson'],
  by: ['email', 'username', 'id'],
  recognise(sample) {
    if (someHas(sample, 'user_login', 'user_pass')) return 'sure';
    return someHas(sample, 'user_login', 'user_email') ? 'sure' : nothingSeen(sample);
  },
  hasPasswords: (sample) => someHas(sample, 'user_pass'),
  read(fields) {
    const { ID, user_login: login, user_email: email, user_pass: hash } = fields;
    if (login === undefined || hash === undefined) return undefined;
    const id = typeof ID === 'number' ? String(ID) : ID;
    return { ...named(id, email, login), passwordHash: hashIn(hash) };
  },
};
