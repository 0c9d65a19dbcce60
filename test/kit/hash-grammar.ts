import { createHash, pbkdf2Sync, scryptSync } from 'node:crypto';
import { verifySync } from '@node-rs/bcrypt';
import { argon2Verify } from 'hash-wasm';
import { encrypt } from 'unixcrypt';

/** The target's grammar of hashes, written down a second time: strict base64, order of parameters, bounds. */

interface Target {
  verify(password: string): boolean | Promise<boolean>;
}

const within = (value: string | undefined, min: number, max: number) => {
  const number = Number(value);
  if (!(number >= min && number <= max)) throw new Error(`out of bounds: ${value}`);
  return number;
};

/** Go's strict decoding: no padding, no bits left over. */
function strict(text: string | undefined, plus = '+'): Buffer {
  const bytes = Buffer.from((text ?? '').replaceAll(plus, '+'), 'base64');
  const again = bytes.toString('base64').replaceAll('=', '').replaceAll('+', plus);
  if (again !== text || text === '') throw new Error(`not strict: ${text}`);
  return bytes;
}

const grammars: [RegExp, (parts: string[], text: string) => Target][] = [
  [
    /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/,
    ([, cost], text) => {
      within(cost, 10, 16);
      return { verify: (password) => verifySync(password, text) };
    },
  ],
  [
    /^\$argon2(?:i|id)\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([^$]+)\$([^$]+)$/,
    ([, m, t, p, salt, hash], text) => {
      within(m, 8192, 524_288);
      within(t, 1, 10);
      within(p, 1, 16);
      strict(salt);
      strict(hash);
      return { verify: (password) => argon2Verify({ password, hash: text }) };
    },
  ],
  [
    /^\$scrypt\$ln=(\d+),r=(\d+),p=(\d+)\$([^$]+)\$([^$]+)$/,
    ([, ln, r, p, salt, hash]) => {
      const cost = { N: 2 ** within(ln, 14, 20), r: within(r, 8, 32), p: within(p, 1, 16), maxmem: 2 ** 30 };
      const [salted, key] = [strict(salt), strict(hash)];
      return { verify: (password) => scryptSync(password, salted, key.length, cost).equals(key) };
    },
  ],
  [
    /^\$pbkdf2(?:-(sha224|sha256|sha384|sha512))?\$(\d+)\$([^$]+)\$([^$]+)$/,
    ([, digest = 'sha1', rounds, salt, hash]) => {
      const [turns, salted, key] = [within(rounds, 1000, 10_000_000), strict(salt, '.'), strict(hash, '.')];
      return { verify: (password) => pbkdf2Sync(password, salted, turns, key.length, digest).equals(key) };
    },
  ],
  [
    /^(\$[56]\$rounds=(\d+)\$[^$\s]{1,16})\$[./0-9A-Za-z]+$/,
    ([, setting, rounds], text) => {
      within(rounds, 1000, 999_999_999);
      return { verify: (password) => encrypt(password, setting) === text };
    },
  ],
  [
    /^\$md5salted-(suffix|prefix)\$([^$\s]+)\$([A-Za-z0-9+/]{22}==)$/,
    ([, order, salt, hash]) => ({
      verify: (password) => {
        const text = order === 'suffix' ? `${password}${salt}` : `${salt}${password}`;
        return createHash('md5').update(text).digest('base64') === hash;
      },
    }),
  ],
  [
    /^[0-9a-f]{32}$/,
    (_, text) => ({ verify: (password) => createHash('md5').update(password).digest('hex') === text }),
  ],
  // Known answers: no other library here makes them.
  [/^\$1\$([^$\s]{1,8})\$[./0-9A-Za-z]{22}$/, (_, text) => known(text)],
  [/^\$[PH]\$[./0-9A-Za-z]{31}$/, (_, text) => known(text)],
  [/^\$S\$[./0-9A-Za-z]{52}$/, (_, text) => known(text)],
];

const answers = [
  '$1$saltsalt$tftk681OPaeXtTfTq7ZqK.',
  '$P$9saltsaltHhlhuXi6suUfVGbwbQ7W71',
  '$H$9saltsaltHhlhuXi6suUfVGbwbQ7W71',
  '$S$DsaltsaltfitmBk1N0JMQPm0UzwsJd33r6xxE4QaWw0wxiwE8sw7',
];
const known = (text: string): Target => ({
  verify: (password) => answers.includes(text) && password === 'Zebra-Crossing-7',
});

/** @throws when the target would not parse it. */
export function readBack(text: string): Target {
  for (const [pattern, read] of grammars) {
    const parts = pattern.exec(text);
    if (parts) return read([...parts], text);
  }
  throw new Error(`the target does not parse ${text}`);
}
