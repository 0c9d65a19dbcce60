import { createHash, createHmac } from 'node:crypto';
import { md4 } from 'hash-wasm';
import type { Form } from './doctor-forms.ts';
import type { Aim } from './doctor-targets.ts';
import type { Recipe } from './kinds.ts';

/** One recipe that was tried. `fit`: it makes the hash; with a recipe of ours when it is one that a target may know. */
export interface Tried {
  fit?: { how: string[]; recipe?: Recipe };
}

const digests: Record<string, number> = {
  md5: 16,
  sha1: 20,
  sha256: 32,
  sha512: 64,
  sha384: 48,
  sha224: 28,
  ripemd160: 20,
  'sha512-256': 32,
  'sha3-256': 32,
  'sha3-512': 64,
};

/** Where the salt goes. */
const orders: Record<string, (password: Buffer, salt: Buffer) => Buffer> = {
  'password + salt': (p, s) => Buffer.concat([p, s]),
  'salt + password': (p, s) => Buffer.concat([s, p]),
  'password + salt + password': (p, s) => Buffer.concat([p, s, p]),
  'salt + password + salt': (p, s) => Buffer.concat([s, p, s]),
  'password{salt}': (p, s) => Buffer.concat([p, Buffer.from('{'), s, Buffer.from('}')]),
  'password:salt': (p, s) => Buffer.concat([p, Buffer.from(':'), s]),
  'salt:password': (p, s) => Buffer.concat([s, Buffer.from(':'), p]),
};

/** The usual digests first; of longer ones the source may have kept the beginning. */
function digestsFor(size: number): string[] {
  const all = Object.entries(digests);
  const exact = all.filter(([, bytes]) => bytes === size);
  return [...exact, ...all.filter(([, bytes]) => bytes > size)].map(([name]) => name);
}

/** One digest or HMAC of each form: microseconds apiece. */
export function* tryDigests(aim: Aim, passwords: Form[], salts: Form[]): Generator<Tried> {
  const names = digestsFor(aim.bytes.length);
  const [kind, same] = [aim.how.slice(-1), (made: Buffer) => made.subarray(0, aim.bytes.length).equals(aim.bytes)];
  const told = (name: string, size: number) =>
    size === aim.bytes.length ? name : `${name}, cut to ${aim.bytes.length} bytes`;
  for (const password of passwords) {
    for (const name of names) {
      const size = digests[name] ?? 0;
      const label = told(name, size);
      const fitting = (order: string, salt?: Form) => ({
        how: [...password.how, ...(salt?.how ?? []), order, label, ...kind],
        ...recipeOf(name, size, order, password, salt, aim.bytes),
      });
      yield same(createHash(name).update(password.bytes).digest()) ? { fit: fitting('password alone') } : {};
      for (const salt of salts) {
        for (const [order, join] of Object.entries(orders))
          yield same(createHash(name).update(join(password.bytes, salt.bytes)).digest())
            ? { fit: fitting(order, salt) }
            : {};
        yield same(createHmac(name, salt.bytes).update(password.bytes).digest())
          ? { fit: fitting('HMAC, key: salt', salt) }
          : {};
        yield same(createHmac(name, password.bytes).update(salt.bytes).digest())
          ? { fit: fitting('HMAC, key: password', salt) }
          : {};
      }
    }
  }
}

function recipeOf(name: string, size: number, order: string, password: Form, salt: Form | undefined, hash: Buffer) {
  const place = { 'password alone': 'plain', 'password + salt': 'salt-last', 'salt + password': 'salt-first' }[order];
  if (password.how.length > 0 || size !== hash.length || !place) return {};
  if (name !== 'md5' && name !== 'sha1' && name !== 'sha256' && name !== 'sha512') return {};
  const bytes = salt?.bytes ?? Buffer.alloc(0);
  return { recipe: { kind: 'digest', digest: name, order: place as 'plain', salt: bytes, hash } as const };
}

/** Windows keeps MD4 of UTF-16; OpenSSL has it no more. */
export async function tryMd4(aim: Aim, passwords: Form[]): Promise<Tried[]> {
  if (aim.bytes.length !== 16) return [];
  const tried: Tried[] = [];
  for (const { bytes, how } of passwords.filter((form) => form.how.length <= 1))
    tried.push((await md4(bytes)) === aim.bytes.toString('hex') ? { fit: { how: [...how, 'md4'] } } : {});
  return tried;
}

/** What goes into the next round. */
const chains: Record<string, (last: Buffer, password: Buffer, salt: Buffer, merged: Buffer) => Buffer> = {
  'of the last': (last) => last,
  'of the last + password{salt}': (last, _p, _s, merged) => Buffer.concat([last, merged]),
  'of the last + password': (last, p) => Buffer.concat([last, p]),
  'of the last + salt': (last, _p, s) => Buffer.concat([last, s]),
  'of the last in hex': (last) => Buffer.from(last.toString('hex')),
};

/** Digests of digests: every number of rounds up to `most` is compared on the way. Some ms apiece. */
export function* tryChains(aim: Aim, passwords: Form[], salts: Form[], most: number): Generator<Tried> {
  const exact = digestsFor(aim.bytes.length)
    .filter((name) => digests[name] === aim.bytes.length)
    .slice(0, 1);
  for (const password of passwords) {
    for (const salt of salts.length > 0 ? salts : [{ bytes: Buffer.alloc(0), how: [] }]) {
      for (const name of exact)
        for (const [order, join] of Object.entries(orders).slice(0, salts.length > 0 ? 5 : 1)) {
          const merged = join(password.bytes, salt.bytes);
          for (const [chain, next] of Object.entries(chains)) {
            let last = createHash(name).update(merged).digest();
            let rounds = 1;
            while (rounds < most) {
              last = createHash(name)
                .update(next(last, password.bytes, salt.bytes, merged))
                .digest();
              rounds++;
              if (last.equals(aim.bytes)) break;
            }
            const how = [
              ...password.how,
              ...salt.how,
              order,
              `${name} ${chain}`,
              `${rounds} rounds`,
              ...aim.how.slice(-1),
            ];
            yield last.equals(aim.bytes) ? { fit: { how } } : {};
          }
        }
    }
  }
}
