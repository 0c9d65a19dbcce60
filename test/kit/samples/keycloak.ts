import { pbkdf2Sync } from 'node:crypto';
import { chance, invent, knownPassword, pick, type Random, type SampleMaker, times } from './maker.ts';

/** Of the known password, in the three alphabets that tools write. */
function pbkdf2Of(salt: Buffer, rounds: number, digest: 'sha1' | 'sha256' | 'sha512', length: number): Buffer {
  return pbkdf2Sync(knownPassword, salt, rounds, length, digest);
}

const salt = Buffer.from('0123456789abcdef');
const value = pbkdf2Of(salt, 1_000, 'sha256', 32).toString('base64');
const old = pbkdf2Of(salt, 1_000, 'sha1', 64).toString('base64');

function credential(random: Random) {
  const createdDate = 1_700_000_000_000 + Math.floor(random() * 1e9);
  if (chance(random, 0.3)) {
    const rest = { digits: 0, counter: 0, period: 0, config: {} };
    const algorithm = chance(random, 0.5) ? 'pbkdf2' : 'pbkdf2-sha256';
    return {
      ...{ type: 'password', hashedSaltedValue: algorithm === 'pbkdf2' ? old : value, salt: salt.toString('base64') },
      ...{ hashIterations: 1_000, algorithm, createdDate, ...rest },
    };
  }
  return {
    ...{ id: invent(random).uuid, type: 'password', userLabel: 'My password', createdDate },
    secretData: JSON.stringify({ value, salt: salt.toString('base64'), additionalParameters: {} }),
    credentialData: JSON.stringify({ hashIterations: 1_000, algorithm: 'pbkdf2-sha256', additionalParameters: {} }),
  };
}

function user(random: Random, credentials: unknown[]) {
  const { uuid, email, userName, given, family } = invent(random);
  return {
    ...{ id: uuid, createdTimestamp: 1_700_000_000_000, username: userName, enabled: true, totp: false },
    ...{ emailVerified: true, firstName: given, lastName: family, email, attributes: { phone: ['+49 30 0'] } },
    ...{ credentials, disableableCredentialTypes: [], requiredActions: [], realmRoles: ['default'], notBefore: 0 },
  };
}

const users = (random: Random, most: number) =>
  times(1 + Math.floor(random() * most), () => user(random, chance(random, 0.9) ? [credential(random)] : []));
const outer = (random: Random) => ({
  ...{ id: invent(random).uuid, realm: 'invented', notBefore: 0, enabled: true, sslRequired: 'external' },
  roles: { realm: times(Math.floor(random() * 300), (n) => ({ id: `role-${n}`, name: `users "[{${n}`, users: n })) },
  groups: [{ name: 'users', users: [] }],
});
const text = (random: Random, what: unknown) => JSON.stringify(what, null, pick(random, [0, 2]));

export const keycloakSamples: readonly SampleMaker[] = [
  {
    source: 'keycloak',
    shape: 'realm',
    make: (random) => text(random, { ...outer(random), users: users(random, 20), clients: [{ users: [1] }] }),
  },
  { source: 'keycloak', shape: 'users file', make: (random) => text(random, { realm: 'x', users: users(random, 50) }) },
  {
    source: 'none',
    shape: 'realm without users',
    make: (random) => text(random, outer(random)),
  },
  {
    source: 'none',
    shape: 'realm without credentials',
    make: (random) => {
      const found = users(random, 5).map(({ credentials: _, ...rest }) => rest);
      return text(random, { ...outer(random), users: found });
    },
  },
];
