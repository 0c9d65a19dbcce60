import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Queue } from 'bullmq';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { afterEach, beforeAll, expect, it, vi } from 'vitest';
import { PassferryError, reasons, toPassferryError } from '../src/errors.ts';
import { type Outcome, queueNames, type SetPasswordData } from '../src/job.ts';
import { redisKeys } from '../src/keys.ts';
import { createEventLog } from '../src/ledger/event-log.ts';
import { createLedger } from '../src/ledger/ledger.ts';
import { createEventHub } from '../src/producer/event-hub.ts';
import { createWaiters } from '../src/producer/events.ts';
import { connectRedis } from '../src/redis.ts';
import { createBackoff } from '../src/worker/backoff.ts';
import { newPassword } from './kit/conformance.ts';
import { atEnd } from './kit/files.ts';
import { type Passferry, startPassferry } from './kit/passferry.ts';
import type { FaultProxy } from './kit/proxy.ts';
import { waitFor } from './kit/wait.ts';

/** Known ways in which queues fail, by number (see docs/reliability.md), that no other file tests. */

let pf: Passferry;
let redis: Redis;
let toRedis: FaultProxy;
const keys = redisKeys('passferry');

beforeAll(async () => {
  pf = await startPassferry({ proxies: true, deadlineMs: 1_000, settleMs: 300 });
  redis = new Redis(pf.redis.url);
  atEnd(() => redis.disconnect());
  toRedis = pf.redisProxy as FaultProxy;
});
afterEach(async () => {
  vi.useRealTimers();
  await toRedis.restore();
  await pf.v2Proxy?.restore();
});

async function addUser(): Promise<string> {
  const user = randomUUID();
  await pf.addUser('globex', user);
  return user;
}
const changes = (user: string) => pf.sandbox.users.get(user)?.changes.length;
const later = (key: string = randomUUID()) => ({ headers: { prefer: 'respond-async', 'idempotency-key': key } });
const inQueue = (queue: string, job: string) => `${keys.bullPrefix}:${queue}:${job}`;
/** Only the script that finishes a job names these. */
const finishing = ':interactive:metrics:completed';

it.each([
  ['is lost (F02, F03)', () => toRedis.dropReplies(1, finishing), () => toRedis.dropped() > 0],
  ['is an error (F04)', () => toRedis.injectReply(Buffer.from('-READONLY no\r\n'), finishing), () => true],
])(
  'the reply to the finishing of a job %s: one change, one outcome, and the job leaves the queue',
  async (_, fault, came) => {
    const [user, password] = [await addUser(), newPassword()];
    fault();
    const { body } = await pf.set('globex', user, password, later());
    expect(await pf.done(body.id)).toMatchObject({ attempts: 1, outcome: { result: 'set', inEffect: true } });
    await waitFor(async () => (await redis.exists(inQueue('interactive', body.id))) === 0, {
      what: 'the job to leave the queue',
    });
    expect(came()).toBe(true);
    expect(changes(user)).toBe(1);
    const next = newPassword();
    expect((await pf.set('globex', user, next)).status).toBe(200);
  },
);

it('what the queue has lost is put there again by the same request (F16, F18, F67)', async () => {
  const [user, password, key] = [await addUser(), newPassword(), randomUUID()];
  pf.v2Proxy?.cut();
  const { body } = await pf.set('globex', user, password, later(key));
  await waitFor(async () => (await pf.get(`/jobs/${body.id}`)).body.waitingFor === 'backend_down', {
    what: 'it to wait',
  });
  const queue = new Queue(queueNames.interactive, { connection: redis, prefix: keys.bullPrefix });
  await waitFor(
    async () => {
      await queue.obliterate({ force: true });
      return (await redis.exists(inQueue('interactive', body.id))) === 0;
    },
    { what: 'the queue to be empty' },
  );
  await pf.v2Proxy?.restore();
  const again = await pf.set('globex', user, password, later(key));
  expect(again.body.id).toBe(body.id);
  expect(await pf.done(body.id)).toMatchObject({ outcome: { result: 'set' } });
  expect(changes(user)).toBe(1);
});

it('who waits is answered without any event, and waits that end leave nothing (F36, F37, F38, F39)', async () => {
  const own = redisKeys('facts-waiters');
  const ledger = createLedger({ redis, keys: own, jobKey: { current: Buffer.alloc(32, 1) }, retentionMs: 60_000 });
  const connect = () => connectRedis({ url: pf.redis.url }, 'worker');
  const log = createEventLog(redis, own, { current: Buffer.alloc(32, 1) });
  const hub = createEventHub({ log, connect });
  const waiters = createWaiters({ connect, keys: own, ledger, hub });
  const given = Array.from({ length: 500 }, () => new AbortController());
  const abandoned = given.map(({ signal }, i) => waiters.wait(`j-none-${i}`, 60_000, signal));
  const set: Outcome = { result: 'set', inEffect: true, backend: 'v2', at: 0 };
  const before = waiters.wait('j-1', 20_000);
  await ledger.commit({ jobId: 'j-1', org: 'o', user: 'u', seq: '1' } as SetPasswordData, set);
  expect(await before).toMatchObject({ result: 'set' });
  expect(await waiters.wait('j-1', 20_000)).toMatchObject({ result: 'set' });
  for (const each of given) each.abort();
  expect(new Set(await Promise.all(abandoned))).toEqual(new Set([undefined]));
  expect(waiters.size()).toBe(0);
  await waiters.close();
  hub.close();
});

it('a failed job stays small, without a stack, and a finished one leaves the queue (F42, F45)', async () => {
  const good = await addUser();
  const done = await pf.set('globex', good, newPassword());
  expect(done.status).toBe(200);
  const bad = await pf.set('globex', 'nobody-there', newPassword());
  const jobId = bad.headers.get('passferry-job') as string;
  await waitFor(async () => (await redis.hexists(inQueue('interactive', jobId), 'failedReason')) === 1, {
    what: 'its end',
  });
  const stored = await redis.hgetall(inQueue('interactive', jobId));
  expect(Object.values(stored).join('').length).toBeLessThan(3_000);
  expect(stored.failedReason).toMatch(/^[\w-]+$/);
  expect(stored.stacktrace ?? '[]').not.toMatch(/\n {4}at /);
  expect(await redis.zcard(`${keys.bullPrefix}:interactive:completed`)).toBe(0);
});

it('requests open no connections (F63)', async () => {
  const count = async () => ((await redis.client('LIST')) as string).trim().split('\n').length;
  const user = await addUser();
  await pf.set('globex', user, newPassword());
  const before = await count();
  await Promise.all(Array.from({ length: 100 }, () => pf.set('globex', user, newPassword(), later())));
  expect(await count()).toBeLessThanOrEqual(before);
});

it('a clock that is an hour off decides neither order nor expiry (F61)', async () => {
  const ledger = createLedger({
    ...{ redis, keys: redisKeys('facts-clock'), jobKey: { current: Buffer.alloc(32, 1) }, retentionMs: 60_000 },
  });
  const real = Date.now();
  let last = 0n;
  for (const off of [3_600_000, -3_600_000, 0]) {
    vi.useFakeTimers({ toFake: ['Date'], now: real + off });
    await ledger.raiseFloor(0n);
    const user = `u${off}`;
    const request = { keyDigest: user, jobId: `j-${user}`, fingerprint: 'f.1', caller: 'c', org: 'o', user };
    const job = await ledger.reserve({ ...request, expiresInMs: 60_000 });
    expect(Math.abs(job.acceptedAt - real)).toBeLessThan(600_000);
    expect(BigInt(job.seq)).toBeGreaterThan(last);
    last = BigInt(job.seq);
    const begun = await ledger.begin({ ...request, ...job } as unknown as SetPasswordData, {
      ...{ token: 't', leaseMs: 60_000, backend: 'v2', exact: false },
    });
    expect(begun.kind).toBe('go');
  }
});

it.each([-1, 0, Number.NaN, 1e12, Number.POSITIVE_INFINITY])(
  'a backend that asks for %d ms is left alone for 0 to 10 min (F47)',
  (retryAfterMs) => {
    const backoff = createBackoff();
    backoff.failed(new PassferryError('backend_down', { scope: 'backend', retryAfterMs }));
    expect(backoff.waitMs()).toBeGreaterThan(0);
    expect(backoff.waitMs()).toBeLessThanOrEqual(600_000);
  },
);

it('whatever is thrown becomes one of our reasons (F05, F51)', () => {
  const hostile = [
    new Proxy(
      {},
      {
        get: () => {
          throw new Error('trap');
        },
      },
    ),
    {
      get message() {
        throw new Error('getter');
      },
    },
    Object.create(null),
    10n,
    Symbol('s'),
  ];
  fc.assert(
    fc.property(fc.oneof(fc.anything(), fc.constantFrom(...hostile)), (thrown) => {
      const error = toPassferryError(thrown);
      expect(error).toBeInstanceOf(PassferryError);
      expect(Object.keys(reasons)).toContain(error.reason);
    }),
  );
});

it('jobs are added under ids of ours, never deduplicated, changed, listed or limited by the queue (F06, F17, F25, F34, F46, F52)', () => {
  const src = fileURLToPath(new URL('../src', import.meta.url));
  const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  const code = files
    .map((name) => readFileSync(join(src, name), 'utf8').replace(/^\s*(\/\/|\/?\*).*$/gm, ''))
    .join('\n');
  expect(code.match(/\b(deduplication|debounce|waitUntilFinished|rateLimit|getJobs|useWorkerThreads)\b/g)).toBeNull();
  const adds = [...code.matchAll(/queues?(?:\.\w+|\[\w+\])?\.add\(([^;]*);/g)].map(([, call]) => call as string);
  expect(adds.length).toBeGreaterThan(1);
  // A delivery's own id, with its round when a person sends it once more.
  const ids = /jobId: (data\.jobId|round === 0 \? id : `\$\{id\}-\$\{round\}`)/;
  expect(adds.filter((call) => !ids.test(call))).toEqual([]);
  // Only a failed job is changed, when a person sends it on its way again.
  const changing = files.filter((name) => /updateData\(/.test(readFileSync(join(src, name), 'utf8')));
  expect(changing.sort()).toEqual(['ledger/queued.ts', 'producer/retry.ts']);
  // The handler runs in this process: BullMQ would start a file in another one.
  expect(code).not.toMatch(/new Worker\([^,]+,\s*['"`]/);
});

it('all keys of an installation have one hash tag (F65)', () => {
  const { namespace: _, ...places } = keys;
  const named = Object.values(places).map((key) =>
    typeof key === 'function' ? (key as (...parts: string[]) => string)('a:{b}', 'c:{d}') : key,
  );
  expect(named.length).toBeGreaterThan(10);
  for (const key of named) expect(/^[^{]*\{([^}]+)\}/.exec(key)?.[1]).toBe('passferry:0');
});
