import { bcryptOf, chance, csvOf, invent, pick, type Random, type SampleMaker, times } from './maker.ts';

const count = (random: Random) => 1 + Math.floor(random() * 8);

function passwordRow(random: Random) {
  const { hex24, email } = invent(random);
  return {
    [pick(random, ['_id', '_ID'])]: { $oid: chance(random, 0.2) ? `auth0|${hex24}` : hex24 },
    ...(chance(random, 0.3) && { alt_id: hex24 }),
    email_verified: chance(random, 0.5),
    email,
    passwordHash: bcryptOf(pick(random, ['a', 'b']), pick(random, [4, 5])),
    ...(chance(random, 0.8) && { password_set_date: { $date: '2024-03-05T16:35:16.775Z' } }),
    tenant: 'dev-invented',
    connection: 'Username-Password-Authentication',
    _tmp_is_unique: true,
  };
}

const lines = (rows: unknown[], random: Random) =>
  rows.map((row) => JSON.stringify(row)).join('\n') + (chance(random, 0.5) ? '\n' : '');

export const auth0Samples: readonly SampleMaker[] = [
  {
    source: 'auth0',
    shape: 'passwords',
    make: (random) =>
      lines(
        times(count(random), () => passwordRow(random)),
        random,
      ),
  },
  {
    source: 'auth0',
    shape: 'import',
    make: (random) =>
      JSON.stringify(
        times(count(random), () => {
          const { email, hex24, given } = invent(random);
          return {
            email,
            email_verified: true,
            ...(chance(random, 0.7) && { user_id: hex24 }),
            given_name: given,
            ...(chance(random, 0.5)
              ? { password_hash: bcryptOf('b') }
              : {
                  custom_password_hash: {
                    algorithm: 'md5',
                    hash: { value: 'f1a2b3c4d5e6f708192a3b4c5d6e7f80', encoding: 'hex' },
                    salt: { value: 'pepperless', position: 'prefix' },
                  },
                }),
          };
        }),
        null,
        chance(random, 0.5) ? 2 : 0,
      ),
  },
];

/** Users of an export, without passwords: a file that must be refused when it comes alone. */
export function auth0Users(random: Random, users = times(count(random), () => invent(random))): string {
  if (chance(random, 0.5)) {
    return lines(
      users.map(({ hex24, email, given }) => ({ user_id: `auth0|${hex24}`, email, name: given, email_verified: true })),
      random,
    );
  }
  const head = ['Id', 'Given Name', 'Family Name', 'Nickname', 'Name', 'Email', 'Email Verified', 'Picture', 'Locale'];
  return csvOf([
    head,
    ...users.map((one) => [`auth0|${one.hex24}`, one.given, one.family, '', one.given, one.email, 'true', '', 'en']),
  ]);
}
