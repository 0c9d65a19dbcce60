import { count, itoa64 } from './bytes.ts';
import type { Found } from './kinds.ts';

const crypt64 = /^[./0-9A-Za-z]+$/;
/** Kinds of crypt(3) that no target has. */
const others: Record<string, string> = {
  apr1: 'md5-apr1',
  y: 'yescrypt',
  gy: 'gost-yescrypt',
  sha1: 'sha1-crypt',
  md5: 'sun-md5',
  '3': 'nt',
  '8': 'cisco-8',
  ml: 'macos-pbkdf2',
};

/** `$1$`, `$5$`, `$6$`; crypt(3)'s others are named and refused. */
export function parseCrypt(text: string): Found | undefined {
  const [, id, body = ''] = /^\$(\w{1,4})[$,](.*)$/s.exec(text) ?? [];
  if (id === undefined) return undefined;
  if (id === '1') return md5Crypt(body);
  if (id === '5' || id === '6') return shaCrypt(id, body);
  const other = Object.hasOwn(others, id) ? others[id] : undefined;
  return other === undefined ? undefined : { kind: other, refused: 'no_verifier' };
}

/** crypt(3) itself reads no more than eight characters of the salt. */
function md5Crypt(body: string): Found {
  const [salt = '', hash, ...more] = body.split('$');
  const kind = 'md5-crypt';
  if (hash === undefined || more.length > 0 || !crypt64.test(hash)) return { kind, refused: 'hash_malformed' };
  if (hash.length !== 22) return { kind, refused: 'hash_length' };
  if (!usable(salt)) return { kind, refused: 'salt_unusable' };
  return { kind, recipe: { kind, salt: salt.slice(0, 8), text: hash }, warnings: ['weak'] };
}

function shaCrypt(id: '5' | '6', body: string): Found {
  const kind = id === '5' ? 'sha256-crypt' : 'sha512-crypt';
  const [, given, rest = ''] = /^(?:rounds=(\d+)\$)?(.*)$/s.exec(body) ?? [];
  const [salt = '', hash, ...more] = rest.split('$');
  const rounds = given === undefined ? 5000 : count(given);
  if (rounds === undefined || hash === undefined || more.length > 0 || !crypt64.test(hash))
    return { kind, refused: 'hash_malformed' };
  if (hash.length !== (id === '5' ? 43 : 86)) return { kind, refused: 'hash_length' };
  if (!usable(salt)) return { kind, refused: 'salt_unusable' };
  const recipe = { kind, rounds, salt: salt.slice(0, 16), text: hash } as const;
  return { kind, recipe, warnings: given === undefined ? ['sha2_rounds'] : [] };
}

/** Blanks, `$` and what is not ASCII break the reading at the target. */
export function usable(salt: string): boolean {
  return /^[!-#%-~]+$/.test(salt);
}

/** `$P$`, `$H$` (phpBB) and Drupal's `$S$`: one character of rounds, eight of salt. */
export function parsePhpass(text: string): Found | undefined {
  if (/^U\$[PHS]\$/.test(text)) return { kind: 'phpass', form: 'Drupal', refused: 'wrapped' };
  const [, id] = /^\$([PHS])\$/.exec(text) ?? [];
  if (id === undefined) return undefined;
  const kind = id === 'S' ? 'drupal7' : 'phpass';
  if (!crypt64.test(text.slice(3))) return { kind, refused: 'hash_malformed' };
  if (text.length !== (id === 'S' ? 55 : 34)) return { kind, refused: 'hash_length' };
  const log2 = itoa64.indexOf(text[3] ?? '');
  const recipe = { kind, log2, salt: text.slice(4, 12), text } as const;
  return { kind, recipe, warnings: id === 'S' ? ['new_verifier'] : ['weak'] };
}
