import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { bytes, goodPassword, hidden, name, oversized, text, told } from './fuzz-words.ts';

/** JSON values that stand where others are expected, as text. */
const wrong: fc.Arbitrary<string> = fc.oneof(
  text.map((value) => JSON.stringify(value)),
  fc.constantFrom(
    'null',
    'true',
    '0',
    '-0',
    '1e400',
    '-1E-400',
    '123456789012345678901234567890',
    '[]',
    '{}',
    '""',
    'NaN',
    'undefined',
  ),
  fc.constantFrom(`["${hidden}"]`, `{"${hidden}":1}`, `[[["${hidden}"]]]`, `{"toString":"${hidden}"}`),
  // Half of a surrogate pair, a NUL, an escape that is none.
  fc.constantFrom(
    `"${hidden}\\ud800"`,
    `"\\udc00${hidden}"`,
    `"${hidden}\\u0000"`,
    `"\\x${hidden}"`,
    `"${hidden}\\ud83d\\ude00"`,
  ),
);

const keys = fc.oneof(
  fc.constantFrom(
    'password',
    'userId',
    'user_id',
    'noChangeRequired',
    'no_change_required',
    'reason',
    'overwriteNewer',
  ),
  fc.constantFrom('org', 'limit', 'cursor', 'run', 'user', 'caller', 'items', 'idempotencyKey', 'state'),
  fc.constantFrom('__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', '', '@type', '\\u0070assword'),
  fc.constant(hidden),
);

const value = fc.oneof(
  { weight: 3, arbitrary: wrong },
  { weight: 1, arbitrary: goodPassword.map((each) => JSON.stringify(each)) },
  { weight: 1, arbitrary: name.map((each) => JSON.stringify(each)) },
);

/** An object whose keys may stand there twice. */
const object = fc
  .array(fc.tuple(keys, value), { maxLength: 6 })
  .map((entries) => `{${entries.map(([key, each]) => `"${key}":${each}`).join(',')}}`);

/** What a person sends who retries, drops, holds. */
const reason = fc.oneof(
  fc.nat(99).map((n) => `{"reason":"${told}${n}"}`),
  wrong.map((each) => `{"reason":${each}}`),
  wrong.map((each) => `{"overwriteNewer":${each}}`),
);

const good = fc
  .tuple(goodPassword, fc.boolean())
  .map(([password, flag]) => JSON.stringify({ password, noChangeRequired: flag }));

const list = fc.array(fc.oneof(object, good, wrong), { maxLength: 5 }).map((items) => `{"items":[${items.join(',')}]}`);

const nested = fc
  .constantFrom(1_000, 10_000)
  .chain((levels) =>
    fc.constantFrom(
      `${'['.repeat(levels)}"${hidden}"${']'.repeat(levels)}`,
      `${'{"a":'.repeat(levels)}"${hidden}"${'}'.repeat(levels)}`,
      `{"password":${'['.repeat(levels)}"${hidden}"${']'.repeat(levels)}}`,
      `{"${hidden}":${'['.repeat(levels)}${']'.repeat(levels)},"password":"${hidden}"}`,
      `${'['.repeat(levels)}${hidden}`,
      `${'{"__proto__":'.repeat(levels)}"${hidden}"${'}'.repeat(levels)}`,
    ),
  );

const utf8 = fc.oneof(object, object, good, good, reason, list, wrong, nested).map((each) => Buffer.from(each));

/** Sequences that are no UTF-8: alone, overlong, a surrogate, too high, cut. */
const broken = fc.constantFrom('ff', 'c0af', 'eda080', 'f5808080', 'e282', '80').map((hex) => Buffer.from(hex, 'hex'));

/** A JSON body, or what should have been one. */
export const jsonBody: fc.Arbitrary<Buffer> = fc.oneof(
  { weight: 10, arbitrary: utf8 },
  {
    weight: 2,
    arbitrary: fc.tuple(utf8, fc.nat(1_000)).map(([whole, at]) => whole.subarray(0, at % (whole.length + 1))),
  },
  {
    weight: 2,
    arbitrary: broken.map((bad) => Buffer.concat([Buffer.from(`{"password":"${hidden}`), bad, Buffer.from('"}')])),
  },
  { weight: 1, arbitrary: utf8.map((whole) => Buffer.concat([Buffer.from('efbbbf', 'hex'), whole])) },
  { weight: 1, arbitrary: good.map((whole) => Buffer.from(whole, 'utf16le')) },
  { weight: 1, arbitrary: good.map((whole) => gzipSync(whole)) },
  { weight: 1, arbitrary: oversized.map((length) => Buffer.from(`{"password":"${hidden.padEnd(length, 'A')}"}`)) },
  { weight: 1, arbitrary: fc.tuple(utf8, bytes).map(([whole, junk]) => Buffer.concat([whole, junk])) },
  { weight: 2, arbitrary: bytes },
  { weight: 1, arbitrary: fc.constant(Buffer.alloc(0)) },
);

const cell = fc.oneof(
  { weight: 4, arbitrary: name },
  { weight: 4, arbitrary: goodPassword },
  { weight: 2, arbitrary: text },
  { weight: 1, arbitrary: text.map((each) => `"${each}"`) },
  { weight: 1, arbitrary: text.map((each) => `"${each.replaceAll('"', '""')}"`) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '',
      '"',
      `"${hidden}`,
      `${hidden}"`,
      '1.04133E+17',
      'true',
      'acme',
      '\r',
      `a\rb${hidden}`,
    ),
  },
);

const csvHeader = fc.constantFrom(
  'userId,password',
  'user_id,password,orgId',
  'password,userId,noChangeRequired',
  `userId,password,${hidden}`,
  'userId,password,password',
  'userId',
  `${hidden},${hidden}`,
  '__proto__,constructor',
  '"userId","password"',
  '"userId,password',
  '',
);

const csv = fc
  .tuple(
    csvHeader,
    fc.array(fc.array(cell, { minLength: 1, maxLength: 4 }), { maxLength: 6 }),
    fc.constantFrom('\n', '\r\n', '\n\n', '\r'),
  )
  .map(([header, rows, end]) => Buffer.from([header, ...rows.map((row) => row.join(','))].join(end)));

const ndjson = fc
  .tuple(
    fc.array(
      fc.oneof(
        object,
        good,
        wrong,
        good.map((each) => each.replace('{', '{"userId":"fuzzed",')),
      ),
      { maxLength: 6 },
    ),
    fc.constantFrom('\n', '\r\n'),
  )
  .map(([lines, end]) => Buffer.from(lines.join(end)));

/** A file of an import, or what should have been one. */
export const file: fc.Arbitrary<Buffer> = fc.oneof(
  { weight: 5, arbitrary: csv },
  { weight: 4, arbitrary: ndjson },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.oneof(csv, ndjson), fc.nat(1_000))
      .map(([whole, at]) => whole.subarray(0, at % (whole.length + 1))),
  },
  { weight: 1, arbitrary: fc.tuple(csv, bytes, csv).map((parts) => Buffer.concat(parts)) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom('efbbbf', 'fffe', 'feff', '1f8b08', '504b0304', '00')
      .chain((hex) => csv.map((whole) => Buffer.concat([Buffer.from(hex, 'hex'), whole]))),
  },
  {
    weight: 1,
    arbitrary: broken.map((bad) =>
      Buffer.concat([Buffer.from(`userId,password\nu${hidden}`), bad, Buffer.from(`,${hidden}\n`)]),
    ),
  },
  {
    weight: 1,
    arbitrary: oversized.map((length) =>
      Buffer.from(`userId,password\nu,${hidden.padEnd(length, 'A')}\nfuzzed,${hidden}-a1\n`),
    ),
  },
  { weight: 1, arbitrary: nested.map((each) => Buffer.from(`${each}\n`)) },
  { weight: 1, arbitrary: bytes },
);
