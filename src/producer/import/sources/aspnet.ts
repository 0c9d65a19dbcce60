import type { Source } from './source.ts';
import { hashIn, named, nothingSeen, someHas } from './tables.ts';

const own = ['SecurityStamp', 'NormalizedUserName', 'NormalizedEmail', 'ConcurrencyStamp', 'AccessFailedCount'];

/** ASP.NET Identity: CSV of `AspNetUsers`, or a dump of MySQL, PostgreSQL or SQLite with it. */
export const aspnet: Source = {
  name: 'aspnet',
  title: 'ASP.NET Identity',
  containers: ['csv', 'sql', 'json'],
  by: ['id', 'username', 'email'],
  recognise(sample) {
    if (own.some((name) => someHas(sample, 'PasswordHash', name))) return 'sure';
    return someHas(sample, 'UserName', 'SecurityStamp') ? 'sure' : nothingSeen(sample);
  },
  hasPasswords: (sample) => someHas(sample, 'PasswordHash'),
  read(fields) {
    const { Id, Email, UserName, PasswordHash } = fields;
    if (PasswordHash === undefined) return undefined;
    const id = typeof Id === 'number' ? String(Id) : Id;
    // What SQL Server and spreadsheets write for one that was never set.
    const hash = PasswordHash === 'NULL' ? '' : hashIn(PasswordHash);
    return { ...named(id, Email, UserName), passwordHash: hash };
  },
};
