/**
 * `node --expose-gc test/kit/endless-import.ts KIND`: reads a made file far larger than its heap may grow, and prints what
 * was kept at most on the way, in bytes: one line of JSON.
 */
import { Readable } from 'node:stream';
import { createGzip } from 'node:zlib';
import { PassferryError } from '../../src/errors.ts';
import { parseRows } from '../../src/producer/import/parse.ts';

const mib = 1024 * 1024;
const piece = 64 * 1024;
const collect = globalThis.gc as () => void;

interface Kind {
  head: string;
  /** The text of each piece. */
  body: (n: number) => string;
  bytes: number;
}

let next = 0;
const rows = () => {
  let text = '';
  while (text.length < piece) text += `user-${next++},"Pass, word ${next}",org\n`;
  return text;
};
const bcrypt = '$2b$10$5ciEYFeZvxjz5HqcS8Xp0edrR36NpoKm./E41wQMnCliyva/v3lnS';
const many = (line: () => string) => () => {
  let text = '';
  while (text.length < piece) text += line();
  return text;
};
const auth0 = many(
  () => `{"_id":{"$oid":"${next++}"},"email":"a@x.example","passwordHash":"${bcrypt}","tenant":"t"}\n`,
);
const realm = many(
  () => `{"id":"${next++}","username":"u","credentials":[{"type":"password","value":"Pass-word-${next}"}]},`,
);
const kinds: Record<string, Kind> = {
  'one line': { head: 'userId,password\n1,', body: () => 'x'.repeat(piece), bytes: 200 * mib },
  'one header': { head: 'userId,', body: () => 'x'.repeat(piece), bytes: 200 * mib },
  'an open quote': { head: 'userId,password\n1,"', body: () => `${'x'.repeat(piece - 1)}\n`, bytes: 200 * mib },
  'blank lines': { head: 'userId,password\n', body: () => '\r\n'.repeat(piece / 2), bytes: 200 * mib },
  'one JSON object': { head: '[{"userId":"', body: () => 'x'.repeat(piece), bytes: 200 * mib },
  'nested JSON': { head: '[', body: () => '[{"a":'.repeat(piece / 6), bytes: 100 * mib },
  'a lost JSON list': { head: '[{"a":"\n', body: () => `${' '.repeat(piece - 1)}\n`, bytes: 200 * mib },
  'one NDJSON line': { head: '{"userId":"', body: () => 'x'.repeat(piece), bytes: 200 * mib },
  'keys that differ': {
    head: '{"userId":"1","password":"a"}\n',
    body: (n) =>
      Array.from(
        { length: 300 },
        (_, i) => `{"userId":"1","password":"a","key-${n}-${i}":"${'x'.repeat(150)}"}\n`,
      ).join(''),
    bytes: 40 * mib,
  },
  rows: { head: 'userId,password,orgId\n', body: rows, bytes: 60 * mib },
  'rows in gzip': { head: 'userId,password,orgId\n', body: rows, bytes: 60 * mib },
  'a realm that never ends': { head: '{"realm":"x","enabled":true,"users":[', body: realm, bytes: 60 * mib },
  'a realm without a list': {
    head: '{"realm":"x","enabled":true,"roles":[1',
    body: () => ',1'.repeat(piece / 2),
    bytes: 60 * mib,
  },
  'passwords of Auth0': { head: '', body: auth0, bytes: 60 * mib },
  'rows in UTF-16': { head: '\ufeffuserId,password,orgId\n', body: rows, bytes: 60 * mib },
};

const name = process.argv[2] as string;
const { head, body, bytes } = kinds[name] as Kind;
const encoding = name.endsWith('UTF-16') ? 'utf16le' : 'utf8';

function kept(): number {
  collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

let base = 0;
let most = 0;
let given = 0;

async function* text(): AsyncGenerator<Buffer> {
  yield Buffer.from(head, encoding);
  for (let n = 0; given < bytes; n++) {
    const chunk = Buffer.from(body(n), encoding);
    given += chunk.length;
    yield chunk;
    if (n % 128 !== 8) continue;
    if (base === 0) base = kept();
    else most = Math.max(most, kept() - base);
  }
}

const packed = name.endsWith('gzip') ? Readable.from(text()).pipe(createGzip()) : text();
let read = 0;
let reason = '';
try {
  for await (const _ of parseRows(packed)) read++;
} catch (error) {
  if (!(error instanceof PassferryError)) throw error;
  ({ reason } = error);
}
process.stdout.write(`${JSON.stringify({ kept: most, given, read, reason })}\n`);
