import fc from 'fast-check';
import { file, jsonBody } from './fuzz-bodies.ts';
import { frames, h1Junk, h2Junk, protobuf, smuggled } from './fuzz-frames.ts';
import { authorization, bytes, type Header, headers, hidden, lies, name, text } from './fuzz-words.ts';

/** What is sent. `socket`: as it stands; `mustRefuse`: no good answer, and one at most. */
export type Input =
  | {
      kind: 'request';
      over: 'h1' | 'h2';
      method: string;
      path: string;
      headers: Header[];
      body: Buffer;
      framed: boolean;
    }
  | { kind: 'socket'; bytes: Buffer; mustRefuse: boolean };

/** Ids of this installation: jobs that failed, jobs of others, a run. */
export interface KnownIds {
  jobs: string[];
  runs: string[];
}

/** A segment of a path: good, encoded junk, dots, long. */
const segment: fc.Arbitrary<string> = fc.oneof(
  { weight: 6, arbitrary: name },
  { weight: 2, arbitrary: text.map((each) => encodeURIComponent(each.toWellFormed())) },
  {
    weight: 1,
    arbitrary: bytes.map((each) => [...each].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '.',
      '..',
      '%2e%2e',
      '%2f',
      '%5c',
      '%00',
      '%',
      '%zz',
      '%e0%80',
      '*',
      '__proto__',
      '',
      ':',
      '::',
      `${hidden};a=b`,
    ),
  },
  { weight: 1, arbitrary: fc.constantFrom(300, 5_000, 15_000, 30_000).map((length) => hidden.padEnd(length, 'A')) },
);

const query = fc.oneof(
  { weight: 4, arbitrary: fc.constant('') },
  {
    weight: 2,
    arbitrary: fc
      .array(
        fc.tuple(
          fc.constantFrom(
            'org',
            'state',
            'reason',
            'user',
            'caller',
            'run',
            'limit',
            'cursor',
            'noChangeRequired',
            'overwriteNewer',
            '__proto__',
            hidden,
          ),
          fc.oneof(fc.constantFrom('acme', 'failed', 'quarantined', 'true', '1', '-1', '1e9', ''), segment),
        ),
        { minLength: 1, maxLength: 4 },
      )
      .map((pairs) => `?${pairs.map(([key, each]) => `${key}=${each}`).join('&')}`),
  },
  { weight: 1, arbitrary: segment.map((each) => `?${each}`) },
);

const type = (...good: string[]): fc.Arbitrary<Header[]> =>
  fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...good).map((each): Header[] => [['content-type', each]]) },
    {
      weight: 1,
      arbitrary: fc
        .constantFrom(
          '',
          '/',
          'application/json; charset=utf-16',
          'multipart/form-data',
          'application/x-www-form-urlencoded',
          'text/plain',
        )
        .map((each): Header[] => [['content-type', each]]),
    },
    { weight: 1, arbitrary: text.map((each): Header[] => [['content-type', each]]) },
    { weight: 1, arbitrary: fc.constant<Header[]>([]) },
  );

const json = type('application/json', 'application/json; charset=utf-8', 'application/json');

interface Place {
  method: fc.Arbitrary<string>;
  path: fc.Arbitrary<string>;
  type: fc.Arbitrary<Header[]>;
  body: fc.Arbitrary<Buffer>;
  /** Protocols that it is spoken over. */
  over?: readonly ('h1' | 'h2')[];
  more?: fc.Arbitrary<Header[]>;
}

const methods = (usual: string) =>
  fc.oneof(
    { weight: 9, arbitrary: fc.constant(usual) },
    {
      weight: 1,
      arbitrary: fc.constantFrom('GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'POST', 'PROPFIND', 'QUERY'),
    },
  );

function request({
  method,
  path,
  type,
  body,
  over = ['h1', 'h1', 'h2'],
  more = fc.constant<Header[]>([]),
}: Place): fc.Arbitrary<Input> {
  return fc
    .record({
      over: fc.constantFrom(...over),
      method,
      path,
      auth: authorization,
      type,
      headers: fc.tuple(headers, more).map((all) => all.flat()),
      lies: fc.oneof({ weight: 12, arbitrary: fc.constant<Header[]>([]) }, { weight: 1, arbitrary: lies }),
      body,
    })
    .map(({ auth, type, headers, lies, ...rest }) => ({
      kind: 'request' as const,
      ...rest,
      headers: [...auth, ...type, ...headers, ...lies],
      framed: lies.length === 0,
    }));
}

const rpcPath = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .constantFrom('SetHumanPassword', 'SetHumanInitialPassword')
      .map((each) => `/zitadel.management.v1.ManagementService/${each}`),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom('/zitadel.management.v1.ManagementService/GetUserByID', '/grpc.health.v1.Health/Check'),
  },
  { weight: 1, arbitrary: segment.map((each) => `/zitadel.management.v1.ManagementService/${each}`) },
  { weight: 1, arbitrary: segment.map((each) => `/${each}/SetHumanPassword`) },
);

const rpcHeader = (among: Record<string, string[]>) =>
  fc.array(
    fc
      .constantFrom(...Object.keys(among))
      .chain((header) =>
        fc.oneof(fc.constantFrom(...(among[header] as string[])), text).map((value): Header => [header, value]),
      ),
    { maxLength: 3 },
  );

const timeouts = ['5S', '100m', '0n', '0S', '99999999H', '999999999S', '-1S', '1', 'S', '1.5S', ' 1S'];
const encodings = ['identity', 'gzip', 'br', 'deflate', 'snappy', ''];
const grpcHeaders = rpcHeader({
  'grpc-timeout': timeouts,
  'grpc-encoding': encodings,
  'grpc-accept-encoding': ['gzip', 'identity,gzip', ',,'],
  'x-junk-bin': ['AAAA', '====', '%%'],
  'grpc-message': ['x'],
  te: ['trailers'],
});
const connectHeaders = rpcHeader({
  'connect-protocol-version': ['1', '2', ''],
  'connect-timeout-ms': ['5000', '0', '-1', '1e3', '99999999999'],
  'content-encoding': encodings,
  'connect-accept-encoding': encodings,
});

/** Every entry, with what it takes and what it does not. */
export function inputs(ids: KnownIds): fc.Arbitrary<Input> {
  const job = fc.oneof({ weight: 2, arbitrary: fc.constantFrom(...ids.jobs) }, { weight: 1, arbitrary: segment });
  const verb = fc.oneof(
    fc.constantFrom(':retry', ':drop', ':release', ':', ':__proto__', ':retry:retry', '::retry'),
    segment.map((each) => `:${each}`),
  );
  const runs = fc.oneof(fc.constantFrom(...ids.runs), segment);
  const empty = fc.constant(Buffer.alloc(0));
  const v1 = fc.oneof(
    fc.tuple(
      fc.constantFrom('/management/v1/users/', '/users/'),
      segment,
      fc.constantFrom('/password', '/password', '/password/_initialize', '/password/', '/password//'),
    ),
    fc.tuple(fc.constantFrom('//users/', '/management/v1/users/../users/'), segment, fc.constant('/password')),
  );
  const read = (path: fc.Arbitrary<string>): fc.Arbitrary<Input> =>
    request({
      method: methods('GET'),
      path,
      type: fc.constant<Header[]>([]),
      body: fc.oneof({ weight: 4, arbitrary: empty }, { weight: 1, arbitrary: bytes }),
    });
  const write = (method: string, path: fc.Arbitrary<string>): fc.Arbitrary<Input> =>
    request({ method: methods(method), path, type: json, body: jsonBody });
  const whole = (path: fc.Arbitrary<string>) => fc.tuple(path, query).map(([before, after]) => `${before}${after}`);

  return fc.oneof(
    {
      weight: 20,
      arbitrary: request({
        method: methods('POST'),
        path: whole(v1.map((parts) => parts.join(''))),
        type: json,
        body: jsonBody,
      }),
    },
    { weight: 4, arbitrary: read(whole(job.map((id) => `/jobs/${id}`))) },
    {
      weight: 3,
      arbitrary: write(
        'DELETE',
        job.map((id) => `/jobs/${id}`),
      ),
    },
    { weight: 6, arbitrary: read(whole(fc.constant('/jobs'))) },
    { weight: 4, arbitrary: write('POST', fc.constantFrom('/jobs', '/jobs', '/jobs/')) },
    {
      weight: 6,
      arbitrary: write(
        'POST',
        fc.tuple(job, verb).map((parts) => `/jobs/${parts.join('')}`),
      ),
    },
    { weight: 4, arbitrary: write('POST', whole(fc.constant('/jobs:retry'))) },
    {
      weight: 10,
      arbitrary: request({
        method: methods('POST'),
        path: whole(fc.constant('/imports?asOf=now')),
        type: type('text/csv', 'application/x-ndjson', 'application/ndjson', 'TEXT/CSV; charset=utf-8'),
        body: file,
      }),
    },
    {
      weight: 3,
      arbitrary: read(
        whole(fc.tuple(runs, fc.constantFrom('', '/rejects')).map(([id, rest]) => `/imports/${id}${rest}`)),
      ),
    },
    // Never v2: the workers would wait.
    {
      weight: 4,
      arbitrary: write(
        'PUT',
        fc.oneof(
          fc.constant('/holds/v1'),
          segment.map((each) => `/holds/${each}`),
        ),
      ),
    },
    {
      weight: 2,
      arbitrary: read(
        whole(
          fc.oneof(
            fc.constantFrom('/holds', '/holds/v1', '/healthz', '/readyz'),
            segment.map((each) => `/holds/${each}`),
          ),
        ),
      ),
    },
    {
      weight: 4,
      arbitrary: write('POST', whole(fc.array(segment, { maxLength: 4 }).map((parts) => `/${parts.join('/')}`))),
    },
    {
      weight: 10,
      arbitrary: request({
        method: methods('POST'),
        path: rpcPath,
        over: ['h2'],
        type: type('application/grpc', 'application/grpc+proto', 'application/grpc'),
        body: frames(protobuf),
        more: grpcHeaders,
      }),
    },
    {
      weight: 3,
      arbitrary: request({
        method: methods('POST'),
        path: rpcPath,
        over: ['h2', 'h1'],
        type: type('application/grpc+json', 'application/grpc-web+json', 'application/grpc-web-text'),
        body: frames(jsonBody),
        more: grpcHeaders,
      }),
    },
    {
      weight: 6,
      arbitrary: request({
        method: methods('POST'),
        path: rpcPath,
        over: ['h1', 'h2'],
        type: type('application/grpc-web', 'application/grpc-web+proto'),
        body: frames(protobuf),
        more: grpcHeaders,
      }),
    },
    {
      weight: 6,
      arbitrary: request({
        method: methods('POST'),
        path: rpcPath,
        over: ['h1', 'h2'],
        type: type('application/json'),
        body: jsonBody,
        more: connectHeaders,
      }),
    },
    {
      weight: 4,
      arbitrary: request({
        method: methods('POST'),
        path: rpcPath,
        over: ['h1', 'h2'],
        type: type('application/proto', 'application/connect+proto'),
        body: fc.oneof(protobuf, frames(protobuf)),
        more: connectHeaders,
      }),
    },
    { weight: 4, arbitrary: h1Junk.map((junk): Input => ({ kind: 'socket', bytes: junk, mustRefuse: false })) },
    { weight: 2, arbitrary: smuggled.map((junk): Input => ({ kind: 'socket', bytes: junk, mustRefuse: true })) },
    { weight: 4, arbitrary: h2Junk.map((junk): Input => ({ kind: 'socket', bytes: junk, mustRefuse: false })) },
  );
}
