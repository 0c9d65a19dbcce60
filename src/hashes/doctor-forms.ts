import { createHash, createHmac } from 'node:crypto';
import { fromBase64, fromHex, phc64 } from './bytes.ts';

/** Bytes that may have gone into a hash, and what was done to get them. `how` is empty for the thing as it is. */
export interface Form {
  bytes: Buffer;
  how: string[];
}

const encodings = ['utf8', 'utf16le', 'latin1', 'utf16be'] as const;

/** A password as sources may have changed it before hashing: as it is first, then the likely, without doubles. */
export function passwordForms(password: string): Form[] {
  const texts: [string, string[]][] = [
    [password, []],
    [password.trim(), ['blanks around it removed']],
    ...(['NFC', 'NFD', 'NFKC', 'NFKD'] as const).map((form): [string, string[]] => [password.normalize(form), [form]]),
    [password.normalize('NFKC').trim(), ['NFKC', 'blanks around it removed']],
    [password.toLowerCase(), ['lower case']],
    [password.toUpperCase(), ['upper case']],
  ];
  const encoded = encodings.flatMap((encoding) =>
    texts.flatMap(([text, how]) => {
      const bytes = encode(text, encoding);
      return bytes ? [{ bytes, how: encoding === 'utf8' ? how : [...how, `as ${encoding}`] }] : [];
    }),
  );
  // C programs stop at NUL; bcrypt at 72 bytes.
  const first = encoded[0]?.bytes ?? Buffer.alloc(0);
  const cut = [72, 64, 16, 8].filter((size) => first.length > size);
  const plain = [
    ...encoded,
    ...cut.map((size) => ({ bytes: first.subarray(0, size), how: [`its first ${size} bytes`] })),
    ...(first.includes(0) ? [{ bytes: first.subarray(0, first.indexOf(0)), how: ['up to its NUL'] }] : []),
  ];
  return distinct([...plain, ...plain.flatMap(prehashed)]);
}

function encode(text: string, encoding: (typeof encodings)[number]): Buffer | undefined {
  if (encoding === 'utf16be') return Buffer.from(text, 'utf16le').swap16();
  // Node would cut the other characters without a word.
  if (encoding === 'latin1' && /[^\0-\xff]/.test(text)) return undefined;
  return Buffer.from(text, encoding);
}

/** The digest of it, written in the ways in which people hash hashes. */
function prehashed({ bytes, how }: Form): Form[] {
  const digests = ['md5', 'sha1', 'sha256', 'sha512', 'sha384'].map(
    (name) => [name, createHash(name).update(bytes).digest()] as const,
  );
  const all = [
    ...digests,
    ['HMAC-SHA384 with wp-sha384', createHmac('sha384', 'wp-sha384').update(bytes).digest()] as const,
  ];
  return all.flatMap(([name, digest]) => [
    { bytes: Buffer.from(digest.toString('hex')), how: [...how, `${name} in hex`] },
    { bytes: Buffer.from(digest.toString('base64')), how: [...how, `${name} in base64`] },
    { bytes: digest, how: [...how, `${name} in bytes`] },
    { bytes: Buffer.from(digest.toString('hex').toUpperCase()), how: [...how, `${name} in upper-case hex`] },
  ]);
}

/** A salt as it may be meant: its text, what it decodes to, its digest. `name`: the column it stands in. */
export function saltForms(salt: string, name = 'salt'): Form[] {
  const [hex, base64] = [fromHex(salt.replace(/^0x/i, '')), fromBase64(salt)];
  const md5 = createHash('md5').update(salt).digest('hex');
  return distinct([
    { bytes: Buffer.from(salt), how: [`${name} as text`] },
    ...(hex ? [{ bytes: hex, how: [`${name} from hex`] }] : []),
    ...(base64 && base64.length > 0 ? [{ bytes: base64, how: [`${name} from base64`] }] : []),
    { bytes: Buffer.from(salt.toLowerCase()), how: [`${name} in lower case`] },
    { bytes: Buffer.from(salt.toUpperCase()), how: [`${name} in upper case`] },
    { bytes: Buffer.from(salt, 'utf16le'), how: [`${name} as utf16le`] },
    { bytes: Buffer.from(md5), how: [`md5 of ${name} in hex`] },
  ]);
}

/** The salt inside a hash, misread in the usual ways: text for base64 and the reverse. */
export function otherSalts(salt: Buffer): Form[] {
  const text = salt.toString('latin1');
  const [hex, base64] = [fromHex(text), fromBase64(text)];
  return distinct([
    { bytes: salt, how: [] },
    ...(base64 && base64.length > 0 ? [{ bytes: base64, how: ['its salt from base64'] }] : []),
    { bytes: Buffer.from(phc64(salt)), how: ['its salt as the text of base64'] },
    { bytes: Buffer.from(salt.toString('base64')), how: ['its salt as the text of padded base64'] },
    ...(hex ? [{ bytes: hex, how: ['its salt from hex'] }] : []),
    { bytes: Buffer.from(salt.toString('hex')), how: ['its salt as the text of hex'] },
  ]);
}

function distinct(forms: Form[]): Form[] {
  const seen = new Set<string>();
  return forms.filter(({ bytes }) => {
    const key = bytes.toString('latin1');
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}
