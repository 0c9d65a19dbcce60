import { hasAll, plainName, type Source, someText } from './source.ts';
import { named } from './tables.ts';

/** PingOne: the CSV of its import tool; passwords in clear or as directories write hashes, also both in one file. */
export const pingone: Source = {
  name: 'pingone',
  title: 'PingOne',
  containers: ['csv'],
  by: ['username', 'email'],
  recognise(sample) {
    const names = sample.names.map(plainName);
    if (!hasAll(names, 'username', 'password')) return 'no';
    if (names.some((name) => name.startsWith('population'))) return 'sure';
    if (!hasAll(names, 'email', 'enabled')) return 'no';
    const column = sample.names.find((name) => plainName(name) === 'password') as string;
    return someText(sample, column, scheme) ? 'sure' : 'maybe';
  },
  read(fields) {
    const at = new Map(Object.entries(fields).map(([name, value]) => [plainName(name), value]));
    const password = at.get('password');
    const who = named(undefined, at.get('email'), at.get('username'));
    if (typeof password === 'string' && scheme.test(password)) return { ...who, passwordHash: password };
    return { ...who, password };
  },
};

/** `{SSHA256}…` */
const scheme = /^\{[A-Za-z][\w-]*\}./;
