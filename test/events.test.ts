import http2 from 'node:http2';
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import { afterEach, expect, test } from 'vitest';
import type { Event } from '../src/event.ts';
import { redisKeys } from '../src/keys.ts';
import { connectRedis } from '../src/redis.ts';
import { newPassword } from './kit/conformance.ts';
import { atEnd } from './kit/files.ts';
import { type CallerName, startPassferry, tokens } from './kit/passferry.ts';
import { waitFor } from './kit/wait.ts';

const pf = await startPassferry({ serveEnv: { PASSFERRY_STREAMS_PER_CALLER: '5' } });
const keys = redisKeys('passferry');
const redis = connectRedis({ url: pf.redis.url }, 'worker');
atEnd(() => redis.disconnect());
await pf.addUser('acme', 'ann');
await pf.addUser('acme', 'bob');
await pf.addUser('globex', 'gil');

const endings: (() => void)[] = [];
afterEach(() => {
  for (const end of endings.splice(0)) end();
});

interface Stream {
  status: number;
  headers: Headers;
  /** Every block so far. */
  blocks: EventSourceMessage[];
  retryMs: number | undefined;
  /** Events of the blocks. */
  events(): Event[];
  ids(): string[];
  ended: Promise<'end' | 'broken'>;
  cut(): void;
}

async function open(
  path: string,
  { as = 'full', after, headers = {} }: { as?: CallerName; after?: string; headers?: Record<string, string> } = {},
): Promise<Stream> {
  const cutting = new AbortController();
  endings.push(() => cutting.abort());
  const response = await fetch(`${pf.url}${path}`, {
    headers: {
      authorization: `Bearer ${tokens[as]}`,
      ...(after !== undefined && { 'last-event-id': after }),
      ...headers,
    },
    signal: cutting.signal,
  });
  const blocks: EventSourceMessage[] = [];
  const stream: Stream = {
    status: response.status,
    headers: response.headers,
    blocks,
    retryMs: undefined,
    events: () => blocks.filter(({ event }) => /^(job|run)\./.test(event ?? '')).map(({ data }) => JSON.parse(data)),
    ids: () => stream.events().map((each) => each.id),
    ended: read(),
    cut: () => cutting.abort(),
  };
  async function read(): Promise<'end' | 'broken'> {
    const parser = createParser({
      onEvent: (each) => blocks.push(each),
      onRetry: (ms) => {
        stream.retryMs = ms;
      },
    });
    const decoder = new TextDecoder();
    try {
      for await (const bytes of response.body ?? []) parser.feed(decoder.decode(bytes as Uint8Array, { stream: true }));
      return 'end';
    } catch {
      return 'broken';
    }
  }
  return stream;
}

/** Resolves with a stream that has begun: what ends from now on is told. */
async function follow(path: string, options: Parameters<typeof open>[1] = {}): Promise<Stream> {
  const stream = await open(path, options);
  await waitFor(() => stream.blocks.some(({ event }) => event === 'start'), { what: 'the stream to begin' });
  return stream;
}

/** Sets a password and returns the job's id; it has ended. */
async function set(org: 'acme' | 'globex', user: string, more: Record<string, string> = {}): Promise<string> {
  const { headers } = await pf.set(org, user, newPassword(), { headers: more });
  return headers.get('passferry-job') as string;
}

const seen = (stream: Stream, count: number) =>
  waitFor(() => stream.events().length >= count, { what: `${count} events` });

test('what ends is told while it ends, with all that is known and no secret', async () => {
  const stream = await follow('/events');
  const password = newPassword();

  const { headers } = await pf.set('acme', 'ann', password);

  await seen(stream, 1);
  const [event] = stream.events();
  const job = headers.get('passferry-job');
  expect(event).toEqual({
    ...{ id: stream.blocks.at(-1)?.id, time: expect.stringMatching(/^\d{4}-.*Z$/), type: 'job.completed', job },
    ...{ org: 'acme', user: 'ann', result: 'set', inEffect: true, backend: 'v1', attempts: 1 },
  });
  expect(stream.blocks.at(-1)?.event).toBe('job.completed');
  expect(JSON.stringify(stream.blocks)).not.toContain(password);
  expect(stream.headers.get('content-type')).toBe('text/event-stream');
  expect(stream.headers.get('cache-control')).toBe('no-store');
  expect(stream.retryMs).toBeGreaterThan(0);
});

test('a stream that is cut after every event and resumed tells each of them once', async () => {
  const from = (await follow('/events')).blocks[0]?.id as string;
  const jobs: string[] = [];
  const union: Event[] = [];
  let after = from;
  const produced = (async () => {
    for (let i = 0; i < 12; i += 1) jobs.push(await set('acme', i % 2 ? 'ann' : 'bob'));
  })();

  for (let i = 0; i < 12; i += 1) {
    const stream = await open('/events', { after });
    await seen(stream, 1);
    stream.cut();
    const event = stream.events()[0] as Event;
    union.push(event);
    after = event.id;
  }
  await produced;

  expect(union.map((each) => 'job' in each && each.job).sort()).toEqual([...jobs].sort());
  expect(new Set(union.map((each) => each.id)).size).toBe(12);
});

test('wherever a stream is cut, the rest follows and nothing else', async () => {
  const whole = await follow('/events');
  for (let i = 0; i < 6; i += 1) await set('acme', 'ann');
  await seen(whole, 6);
  const ids = whole.ids();

  for (const [at, after] of ids.entries()) {
    const rest = await open('/events', { after });
    await seen(rest, ids.length - at - 1);
    expect(rest.ids()).toEqual(ids.slice(at + 1));
    rest.cut();
    await waitFor(async () => (await rest.ended) === 'broken', { what: 'the end' });
  }
});

test('two organizations never see each other', async () => {
  const acme = await follow('/events');
  const globex = await follow('/events', { headers: { 'x-zitadel-orgid': 'globex' } });

  const [one, two] = [await set('acme', 'ann'), await set('globex', 'gil')];
  await Promise.all([seen(acme, 1), seen(globex, 1)]);
  const three = await set('acme', 'bob');
  await seen(acme, 2);

  const jobs = (stream: Stream) => stream.events().map((each) => 'job' in each && each.job);
  expect(jobs(acme)).toEqual([one, three]);
  expect(jobs(globex)).toEqual([two]);
});

test.each([
  ['an organization that is not granted', { as: 'reader', headers: { 'x-zitadel-orgid': 'globex' } }],
  ['one that does not exist', { as: 'reader', headers: { 'x-zitadel-orgid': 'nowhere' } }],
] as const)('%s is refused alike', async (_what, options) => {
  const { status } = await pf.get('/events', options);

  expect(status).toBe(404);
});

test('filters tell apart types, users and runs', async () => {
  const failed = await follow('/events?types=job.failed,run.completed');
  const bob = await follow('/events?user=bob');
  const run = await follow(`/events?run=r0-${'0'.repeat(26)}`);

  await set('acme', 'ann');
  await set('acme', 'nobody');
  await set('acme', 'bob');
  await Promise.all([seen(failed, 1), seen(bob, 1)]);

  expect(failed.events()).toMatchObject([
    { type: 'job.failed', user: 'nobody', code: expect.any(String), inEffect: false },
  ]);
  expect(bob.events()).toMatchObject([{ user: 'bob' }]);
  expect(run.events()).toEqual([]);
});

test('a run is told when it has ended, its rows are not', async () => {
  const stream = await follow('/events');

  const body = `${JSON.stringify({ userId: 'ann', password: newPassword() })}\n`;
  const { status, body: view } = await pf.post('/imports?asOf=now', body, {
    headers: { 'content-type': 'application/x-ndjson', 'idempotency-key': `k${Date.now()}` },
  });
  expect(status).toBeLessThan(300);
  await seen(stream, 1);

  expect(stream.events()).toMatchObject([{ type: 'run.completed', run: view.id, org: 'acme', counts: { set: 1 } }]);
});

test.each([
  ['types', '/events?types=job.renamed', undefined, 'field_type'],
  ['a user twice', '/events?user=a&user=b', undefined, 'field_type'],
  ['a run', '/events?run=x', undefined, 'run_unknown'],
  ['an id', '/events', 'yesterday', 'event_id_invalid'],
  ['an id out of range', '/events', '99999999999999999-1', 'event_id_invalid'],
])('%s that nobody knows is refused by name', async (_what, path, after, reason) => {
  const { status, body } = await pf.get(path, { headers: { ...(after && { 'last-event-id': after }) } });

  expect([status, body.reason]).toEqual([reason === 'run_unknown' ? 404 : 400, reason]);
});

test('no token opens no stream, also not one in the address', async () => {
  expect((await pf.get('/events', { as: null })).status).toBe(401);
  expect((await pf.get(`/events?access_token=${tokens.full}`, { as: null })).status).toBe(401);
});

test('HEAD opens no stream', async () => {
  const { status, headers } = await fetch(`${pf.url}/events`, { method: 'HEAD' });

  expect([status, headers.get('allow')]).toEqual([405, 'GET']);
});

test('whoever comes back too late is told from where it goes on', async () => {
  await set('acme', 'ann');
  const stream = await open('/events', { after: '1000-0' });
  await seen(stream, 1);

  const [reset] = stream.blocks;
  expect(reset).toMatchObject({ event: 'reset', id: expect.any(String) });
  expect(JSON.parse(reset?.data ?? '')).toEqual({ from: reset?.id });
  expect((await open('/events', { after: reset?.id as string })).status).toBe(200);
});

test('more streams than a caller may have are refused, and a closed one makes room', async () => {
  const streams = await Promise.all(Array.from({ length: 5 }, () => follow('/events', { as: 'reader' })));
  const refused = await pf.get('/events', { as: 'reader' });
  expect(refused.status).toBe(429);
  expect(refused.body.reason).toBe('streams_busy');
  expect(refused.headers.get('retry-after')).toBeTruthy();
  const other = await follow('/events', { as: 'admin' });
  expect(other.status).toBe(200);

  streams[0]?.cut();

  await waitFor(async () => (await open('/events', { as: 'reader' })).status === 200, { what: 'room for another' });
});

test('the stream of a job ends after its outcome', async () => {
  // Somebody else writes this user for a moment.
  await redis.hset(keys.user('acme', 'ann'), { leaseJob: 'x', leaseUntil: `${Date.now() + 1_000}` });
  const job = await set('acme', 'ann', { prefer: 'respond-async' });
  const stream = await open(`/jobs/${job}/events`);
  expect((await pf.get(`/jobs/${job}`)).body.done).toBe(false);

  expect(await stream.ended).toBe('end');
  expect(stream.events()).toMatchObject([{ type: 'job.completed', user: 'ann', result: 'set' }]);
});

test('the stream of a job that is done tells it at once; whoever has it is sent away for good', async () => {
  const id = await set('acme', 'ann');
  const stream = await open(`/jobs/${id}/events`);
  await stream.ended;
  const [event] = stream.events();
  expect(event).toMatchObject({ job: id });

  expect((await open(`/jobs/${id}/events`, { after: event?.id as string })).status).toBe(204);
  const again = await open(`/jobs/${id}/events`, { after: '5-5' });
  await again.ended;
  expect(again.events()).toEqual([event]);
});

test('the event of a job is the same in its own stream and in that of all', async () => {
  const all = await follow('/events');
  const id = await set('acme', 'ann');
  await seen(all, 1);
  const own = await open(`/jobs/${id}/events`);
  await own.ended;

  expect(own.events()).toEqual(all.events());
});

test("the stream of another organization's job looks like that of none", async () => {
  const id = await set('globex', 'gil');

  const [theirs, none] = await Promise.all([
    pf.get(`/jobs/${id}/events`, { as: 'reader' }),
    pf.get(`/jobs/j0-${'0'.repeat(34)}/events`, { as: 'reader' }),
  ]);

  expect([theirs.status, theirs.body]).toEqual([404, none.body]);
});

test('streams work over HTTP/2, many on one connection', async () => {
  const session = http2.connect(pf.url);
  endings.push(() => session.destroy());
  const texts = ['', ''];
  texts.forEach((_, i) => {
    const stream = session.request({ ':path': '/events', authorization: `Bearer ${tokens.full}` });
    stream.on('data', (bytes) => {
      texts[i] += bytes;
    });
  });
  await waitFor(() => texts.every((text) => text.includes('event: start')), { what: 'both to begin' });

  const id = await set('acme', 'ann');

  await waitFor(() => texts.every((text) => text.includes(id)), { what: 'both to be told' });
});

test('Redis may restart in the middle: nothing is missing and nothing comes twice', async () => {
  const stream = await follow('/events');
  const one = await set('acme', 'ann');
  await seen(stream, 1);

  await pf.redis.restart();
  const two = await waitFor(() => set('acme', 'bob'), { what: 'a job after the restart' });
  await seen(stream, 2);

  expect(stream.events().map((each) => 'job' in each && each.job)).toEqual([one, two]);
});

test('forged entries are not told, and are logged', async () => {
  const stream = await follow('/events');
  const event = JSON.stringify({ type: 'job.completed', job: 'j', org: 'acme', user: 'ann', inEffect: true });
  const forged = await redis.xadd(keys.events, '*', 'e', event, 'm', 'x', 'n', '1');

  const job = await set('acme', 'ann');
  await seen(stream, 1);

  expect(stream.events()).toMatchObject([{ job }]);
  expect(pf.lines.some((line) => line.includes(forged as string))).toBe(true);
});
