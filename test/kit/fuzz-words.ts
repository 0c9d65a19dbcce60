import fc from 'fast-check';

/** Stands in everything that may never be said again: passwords, tokens, unknown fields, paths, junk. */
export const hidden = 'Sq7ZxHidden';
/** Stands in names, which their owner is told by good answers only: users, keys, organizations. */
export const named = 'Nk4WName';
/** Stands in the reasons of a person, which are logged and shown. */
export const told = 'Rr9TTold';

/** Names that are valid, and different ones. */
export const name = fc.nat(9_999).map((n) => `${named}${n}`);

const around = fc.oneof(
  fc.constant(''),
  fc.string({ maxLength: 12 }),
  fc.string({ unit: 'binary', maxLength: 12 }),
  fc.constantFrom(
    ' ',
    '\0',
    '\u0007',
    '\u007f',
    '\u0085',
    '\u2028',
    '\ufeff',
    '\u202e',
    '%00',
    '..',
    '"',
    '\\',
    '💥',
    'é',
  ),
  fc.integer({ min: 60, max: 400 }).map((length) => 'A'.repeat(length)),
);

/** Text of any kind around the mark. */
export const text = fc.tuple(around, around).map(([before, after]) => `${before}${hidden}${after}`);

/** A password that the rules let through. */
export const goodPassword = fc.nat(999).map((n) => `${hidden}-a1-${n}`);

/** Bytes of any kind around the mark. */
export const bytes = fc
  .tuple(fc.uint8Array({ maxLength: 60 }), fc.uint8Array({ maxLength: 60 }))
  .map(([before, after]) => Buffer.concat([before, Buffer.from(hidden), after]));

/** Lengths beyond what is taken. */
export const oversized = fc.integer({ min: 64 * 1024 + 1, max: 300_000 });

export type Header = readonly [name: string, value: string];

export const tokens = {
  full: 'pf_fuzz-full',
  reader: 'pf_fuzz-reader',
  admin: 'pf_fuzz-admin',
  operator: 'pf_fuzz-operator',
} as const;

/** Mostly a token that is good, or the rest would never be reached. */
export const authorization: fc.Arbitrary<Header[]> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc
      .constantFrom(...Object.values(tokens))
      .map((token): Header[] => [['authorization', `Bearer ${token}`]]),
  },
  { weight: 1, arbitrary: text.map((value): Header[] => [['authorization', value]]) },
  { weight: 1, arbitrary: text.map((value): Header[] => [['authorization', `Bearer ${value}`]]) },
  {
    weight: 1,
    arbitrary: text.map((value): Header[] => [
      ['authorization', `Bearer ${tokens.full}`],
      ['authorization', `Basic ${value}`],
    ]),
  },
  { weight: 1, arbitrary: fc.constant<Header[]>([]) },
);

const values: Record<string, fc.Arbitrary<string>> = {
  'idempotency-key': fc.oneof(
    name,
    name.map((each) => `"${each}"`),
    text,
    fc.constantFrom('', '"', '""', ' '),
  ),
  prefer: fc.oneof(
    fc.constantFrom(
      'respond-async',
      'wait=0',
      'wait=1',
      'respond-async, wait=1',
      'wait=99999',
      'wait=-1',
      'wait',
      'wait=1e3',
      ';,=,;',
      ',',
    ),
    text,
    text.map((value) => `wait=${value}`),
  ),
  'x-zitadel-orgid': fc.oneof(fc.constantFrom('acme', 'globex', '', '*', '__proto__', 'constructor'), name, text),
  'passferry-expires-in': fc.oneof(fc.constantFrom('1', '60', '0', '-1', '1e9', '99999999999999999999', '0x10'), text),
  'passferry-overwrite-newer': fc.oneof(fc.constantFrom('true', 'false', '1', 'TRUE'), text),
  'if-none-match': fc.oneof(fc.constantFrom('*', '""', 'W/"x"'), text),
  'content-encoding': fc.oneof(fc.constantFrom('gzip', 'br', 'identity', 'deflate, gzip'), text),
  accept: fc.oneof(fc.constantFrom('*/*', 'text/html', ';q='), text),
  cookie: text,
  host: text,
  origin: text,
  expect: fc.constantFrom('100-continue', '200-ok'),
  upgrade: fc.constantFrom('h2c', 'websocket'),
  traceparent: text,
  'x-request-id': text,
  'x-forwarded-for': text,
  'accept-language': text,
  'x-http-method-override': fc.constantFrom('DELETE', 'PUT'),
  'content-length': fc.oneof(fc.constantFrom('0', '-1', '1e3', '+5', '5, 5', '99999999999999999999'), text),
  'transfer-encoding': fc.constantFrom('chunked', 'identity', 'gzip, chunked', 'chunked, chunked', 'xchunked'),
  __proto__x: text,
};

/** One header of the request, some twice. */
const one = (among: string[]) =>
  fc
    .constantFrom(...among)
    .chain((header) => (values[header] as fc.Arbitrary<string>).map((value): Header => [header, value]));

const framing = ['content-length', 'transfer-encoding', 'host', 'upgrade', 'expect'];

/** Headers that leave the framing alone. */
export const headers = fc.array(one(Object.keys(values).filter((each) => !framing.includes(each))), { maxLength: 4 });

/** Headers that lie about the framing. */
export const lies = fc.array(one(framing), { minLength: 1, maxLength: 2 });
