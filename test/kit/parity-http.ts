import { auth, bad, body, length, notFound, type ParityCase, pathOf, wrongMethod } from './parity-case.ts';

const full = body('"noChangeRequired":true');
/** What only HTTP can say. */
export const http: ParityCase[] = [
  { name: 'body empty', text: '', rest: {}, expect: length },
  { name: 'body of blanks', text: ' \n', rest: {}, expect: length },
  { name: 'body a list', text: '[]', expect: bad() },
  { name: 'body null', text: 'null', expect: bad() },
  { name: 'body a text', text: '"x"', expect: bad() },
  { name: 'body no JSON', text: '{"password":', expect: bad() },
  { name: 'body with a byte order mark', text: `\ufeff${full}`, rest: {}, expect: bad() },
  {
    name: 'a key twice and bad token',
    text: '{"password":"a","password":"b"}',
    headers: auth('Bearer nonsense'),
    expect: bad(),
  },
  {
    name: 'bytes that are no UTF-8',
    text: '{"password":"Aa1!aaaaé"}',
    rest: { latin1: true },
    expect: bad(),
  },
  {
    name: 'body over 64 KiB',
    text: body(`"noChangeRequired":true,"x":"${'x'.repeat(65_536)}"`),
    rest: {},
    expect: { status: 413, code: 3 },
    reference: 'set',
    deviation: 'size',
  },
  {
    name: 'Idempotency-Key that is none',
    headers: { 'idempotency-key': 'a b' },
    expect: bad(),
    reference: 'set',
    deviation: 'key',
  },
  {
    name: 'Prefer that makes no sense',
    headers: { prefer: 'wait=long' },
    expect: bad(),
    reference: 'set',
    deviation: 'prefer',
  },
  { name: 'no content type', text: full, rest: { type: null }, expect: 'set' },
  { name: 'another content type', text: full, rest: { type: 'application/x-www-form-urlencoded' }, expect: 'set' },
  { name: 'content type with a charset', text: full, rest: { type: 'application/json; charset=utf-8' }, expect: 'set' },
  { name: 'content type that makes no sense', text: full, rest: { type: 'nonsense' }, expect: 'set' },
  {
    name: 'path in percent code',
    text: full,
    rest: { path: (id) => pathOf(id).replace(id, [...Buffer.from(id)].map((b) => `%${b.toString(16)}`).join('')) },
    expect: 'set',
  },
  { name: 'path with a query', text: full, rest: { path: (id) => `${pathOf(id)}?a=b` }, expect: 'set' },
  {
    name: 'percent code that is none',
    text: full,
    rest: { path: (id) => pathOf(id).replace('/password', '%zz/password') },
    expect: notFound,
  },
  { name: 'trailing slash', text: full, rest: { path: (id) => `${pathOf(id)}/` }, expect: notFound },
  {
    name: 'double slash',
    text: full,
    rest: { path: (id) => pathOf(id).replace('/users', '//users') },
    expect: notFound,
  },
  { name: 'no user in the path', text: full, rest: { path: () => pathOf('') }, expect: notFound },
  { name: 'unknown route', text: full, rest: { path: () => '/management/v1/nothing' }, expect: notFound },
  ...['GET', 'PUT', 'PATCH', 'DELETE'].map(
    (method): ParityCase => ({ name: `${method} on the path`, rest: { method }, expect: wrongMethod }),
  ),
  { name: 'HEAD on the path', rest: { method: 'HEAD' }, bodiless: true, expect: wrongMethod },
];
