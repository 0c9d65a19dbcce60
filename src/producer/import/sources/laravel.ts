import type { Source } from './source.ts';
import { hashIn, named, nothingSeen, someHas } from './tables.ts';

/** Laravel and other PHP: a dump of `users`, or CSV of that table. */
export const laravel: Source = {
  name: 'laravel',
  title: 'Laravel',
  containers: ['sql', 'csv', 'json'],
  by: ['email', 'id'],
  recognise(sample) {
    if (someHas(sample, 'email', 'password', 'remember_token')) return 'sure';
    if (someHas(sample, 'email', 'password', 'email_verified_at')) return 'sure';
    // Any PHP: which table it is must be said.
    if (sample.container === 'sql' && someHas(sample, 'email', 'password')) return 'maybe';
    return nothingSeen(sample);
  },
  read(fields, _params, of) {
    const { id, email, password } = fields;
    if (email === undefined || password === undefined) return undefined;
    // Django's table has both too, and is none of its.
    if (of !== undefined && Object.hasOwn(fields, 'is_superuser')) return undefined;
    return { ...named(typeof id === 'number' ? String(id) : id, email), passwordHash: hashIn(password) };
  },
};
