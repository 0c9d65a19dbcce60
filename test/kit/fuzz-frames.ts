import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { bytes, goodPassword, hidden, name, oversized } from './fuzz-words.ts';

function varint(value: number): Buffer {
  const out: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) out.push((rest % 128) | 128);
  return Buffer.from([...out, rest]);
}

const field = (number: number, wire: number, ...parts: Buffer[]) =>
  Buffer.concat([varint(number * 8 + wire), ...parts]);
const string = (number: number, value: Buffer) => field(number, 2, varint(value.length), value);

/** One field: right, of another type, not UTF-8, with a length that lies, in groups within groups. */
const part: fc.Arbitrary<Buffer> = fc.oneof(
  { weight: 3, arbitrary: name.map((user) => string(1, Buffer.from(user))) },
  { weight: 3, arbitrary: goodPassword.map((password) => string(2, Buffer.from(password))) },
  { weight: 1, arbitrary: fc.constantFrom(0, 1, 2).map((flag) => field(3, 0, varint(flag))) },
  { weight: 2, arbitrary: fc.tuple(fc.constantFrom(1, 2), bytes).map(([number, value]) => string(number, value)) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.integer({ min: 1, max: 20 }), fc.nat(7), bytes)
      .map(([number, wire, rest]) => field(number, wire, rest)),
  },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom(0, 5_000_000, 4_294_967_295)
      .map((length) => field(2, 2, varint(length), Buffer.from(hidden))),
  },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom('ffffffffffffffffffff', '80808080808080808080808001', '00', '07')
      .map((hex) => Buffer.from(hex, 'hex')),
  },
  { weight: 1, arbitrary: fc.constantFrom(100, 10_000, 60_000).map((levels) => Buffer.alloc(levels, field(4, 3))) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom(100, 10_000)
      .map((levels) => Buffer.concat([Buffer.alloc(levels, field(4, 3)), Buffer.alloc(levels, field(4, 4))])),
  },
);

/** The fields of the call in protobuf, or what should have been. */
export const protobuf: fc.Arbitrary<Buffer> = fc.oneof(
  { weight: 6, arbitrary: fc.array(part, { maxLength: 4 }).map((parts) => Buffer.concat(parts)) },
  {
    weight: 3,
    arbitrary: fc
      .tuple(name, goodPassword)
      .map(([user, password]) => Buffer.concat([string(1, Buffer.from(user)), string(2, Buffer.from(password))])),
  },
  { weight: 1, arbitrary: bytes },
  { weight: 1, arbitrary: oversized.map((length) => string(2, Buffer.from(hidden.padEnd(length, 'A')))) },
);

function frame(flag: number, payload: Buffer, length = payload.length): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flag, 0);
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, payload]);
}

/** The body of a gRPC call: one frame, or what goes wrong with frames. */
export const frames = (payload: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> =>
  fc.oneof(
    { weight: 6, arbitrary: payload.map((each) => frame(0, each)) },
    {
      weight: 1,
      arbitrary: fc
        .tuple(payload, fc.nat(1_000))
        .map(([each, at]) => frame(0, each).subarray(0, at % (each.length + 5))),
    },
    {
      weight: 1,
      arbitrary: fc
        .tuple(payload, fc.constantFrom(0, 1, 70_000, 0x7fffffff, 0xffffffff))
        .map(([each, length]) => frame(0, each, length)),
    },
    {
      weight: 1,
      arbitrary: fc.tuple(payload, fc.constantFrom(1, 2, 3, 0x80, 0x81, 255)).map(([each, flag]) => frame(flag, each)),
    },
    { weight: 1, arbitrary: payload.map((each) => frame(1, gzipSync(each))) },
    { weight: 1, arbitrary: fc.constantFrom(1 << 17, 1 << 22).map((size) => frame(1, gzipSync(Buffer.alloc(size)))) },
    { weight: 1, arbitrary: fc.tuple(payload, payload).map(([a, b]) => Buffer.concat([frame(0, a), frame(0, b)])) },
    { weight: 1, arbitrary: fc.tuple(payload, bytes).map(([each, junk]) => Buffer.concat([frame(0, each), junk])) },
    { weight: 1, arbitrary: fc.constant(Buffer.alloc(0)) },
    { weight: 1, arbitrary: bytes },
  );

const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

/** One HTTP/2 frame: any type, flags, stream, a length that may lie. */
const h2Frame = fc
  .tuple(fc.nat(11), fc.nat(255), fc.constantFrom(0, 1, 2, 3, 0x7fffffff), bytes, fc.constantFrom(0, 0, 0, 1, 0xffffff))
  .map(([type, flags, stream, payload, lie]) => {
    const head = Buffer.alloc(9);
    head.writeUIntBE(lie === 0 ? payload.length : lie, 0, 3);
    head.writeUInt8(type, 3);
    head.writeUInt8(flags, 4);
    head.writeUInt32BE(stream, 5);
    return Buffer.concat([head, payload]);
  });

const settings = Buffer.from('000000040000000000', 'hex');

/** What an HTTP/2 client should not say. */
export const h2Junk: fc.Arbitrary<Buffer> = fc.oneof(
  fc.array(h2Frame, { maxLength: 6 }).map((all) => Buffer.concat([preface, settings, ...all])),
  fc.array(h2Frame, { maxLength: 3 }).map((all) => Buffer.concat([preface, ...all])),
  bytes.map((junk) => Buffer.concat([preface, junk])),
  fc.nat(24).map((at) => preface.subarray(0, at)),
  // Many resets, pings, settings: nothing may pile up.
  fc
    .constantFrom('000004030000000001000000', '0000080600000000000000000000000000', '000000040000000000')
    .map((hex) => Buffer.concat([preface, settings, Buffer.alloc(2_000 * (hex.length / 2), Buffer.from(hex, 'hex'))])),
);

const line = (...lines: string[]) => Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
const inner = `GET /${hidden} HTTP/1.1\r\nHost: x\r\n\r\n`;
const post = 'POST /users/u/password HTTP/1.1';

/** Framing that two readers could understand in two ways: never more than one answer, and that a refusal. */
export const smuggled: fc.Arbitrary<Buffer> = fc.constantFrom(
  Buffer.concat([
    line(post, 'Host: x', `Content-Length: ${inner.length + 5}`, 'Transfer-Encoding: chunked'),
    Buffer.from(`0\r\n\r\n${inner}`),
  ]),
  Buffer.concat([line(post, 'Host: x', 'Content-Length: 0', `Content-Length: ${inner.length}`), Buffer.from(inner)]),
  Buffer.concat([
    line(post, 'Host: x', 'Transfer-Encoding: chunked', 'Transfer-Encoding: identity'),
    Buffer.from(`0\r\n\r\n${inner}`),
  ]),
  Buffer.concat([line(post, 'Host: x', 'Transfer-Encoding: xchunked'), Buffer.from(inner)]),
  Buffer.concat([line(post, 'Host: x', 'Transfer-Encoding : chunked'), Buffer.from(`0\r\n\r\n${inner}`)]),
  Buffer.concat([line(post, 'Host: x', 'Content-Length: -1'), Buffer.from(inner)]),
  Buffer.concat([line(post, 'Host: x', 'Content-Length: +5'), Buffer.from(`{"a"}${inner}`)]),
  Buffer.concat([
    line(post, 'Host: x', 'Transfer-Encoding: chunked'),
    Buffer.from(`5;${hidden}\nabcde\r\n0\r\n\r\n${inner}`),
  ]),
  Buffer.concat([
    line(post, 'Host: x', 'Transfer-Encoding: chunked'),
    Buffer.from(`-1\r\n${hidden}\r\n0\r\n\r\n${inner}`),
  ]),
  Buffer.concat([line(post, 'Host: x', 'Transfer-Encoding: chunked'), Buffer.from(`fffffffffffffffff\r\n${hidden}`)]),
  Buffer.from(`${post}\nHost: x\nContent-Length: 1\n\r\n\r\n${inner}`),
  line(post, `Host: x\r${hidden}: y`, 'Content-Length: 0'),
  line(post, 'Host: x', ` ${hidden}: folded`, 'Content-Length: 0'),
);

/** Bytes that are no HTTP, or hardly. */
export const h1Junk: fc.Arbitrary<Buffer> = fc.oneof(
  bytes,
  bytes.map((junk) => Buffer.concat([Buffer.from('GET / HTTP/1.1\r\n'), junk, Buffer.from('\r\n\r\n')])),
  bytes.map((junk) => Buffer.concat([Buffer.from('POST /jobs HTTP/1.1\r\nHost: '), junk, Buffer.from('\r\n\r\n')])),
  bytes.map((junk) => Buffer.concat([Buffer.from('GET /'), junk, Buffer.from(' HTTP/1.1\r\nHost: x\r\n\r\n')])),
  fc
    .constantFrom('HTTP/0.9', 'HTTP/1.2', 'HTTP/9.9', 'HTTP/2.0', '', hidden)
    .map((version) => line(`GET / ${version}`, 'Host: x')),
  fc
    .constantFrom('GET', 'get', 'G\0T', hidden, 'CONNECT', 'TRACE', 'PRIMARY')
    .map((method) => line(`${method} /${hidden} HTTP/1.1`, 'Host: x')),
  fc
    .constantFrom(20_000, 100_000)
    .map((length) => line('GET / HTTP/1.1', 'Host: x', `X-Long: ${hidden.padEnd(length, 'A')}`)),
  fc
    .constantFrom(100, 3_000)
    .map((count) => line('GET / HTTP/1.1', 'Host: x', ...Array.from({ length: count }, (_, i) => `h${i}: ${hidden}`))),
  fc.constant(Buffer.from(`160301020001000001fc0303${Buffer.from(hidden).toString('hex')}`, 'hex')),
  fc.constant(line(post, 'Host: x', 'Content-Length: 5000').subarray(0, -1)),
);
