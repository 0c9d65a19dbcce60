import { randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { beforeAll, describe, expect, it } from 'vitest';
import { linesOf } from '../src/cli/status.ts';
import { readJobKey } from '../src/key-files.ts';
import { redisKeys } from '../src/keys.ts';
import { createBeats } from '../src/ledger/beats.ts';
import { readDepths } from '../src/ledger/queue-depth.ts';
import { hashToken } from '../src/producer/callers.ts';
import type { Status } from '../src/producer/status.ts';
import { createStatus, expectedWait } from '../src/producer/status.ts';
import { sign } from '../src/signature.ts';
import { createTally } from '../src/worker/tally.ts';
import { newPassword } from './kit/conformance.ts';
import { atEnd } from './kit/files.ts';
import { type Passferry, startPassferry, tokens } from './kit/passferry.ts';
import { spawnNode } from './kit/processes.ts';
import { waitFor } from './kit/wait.ts';

const operator = 'pf_test-operator';
const keys = redisKeys('passferry');
const later = { headers: { prefer: 'respond-async' } };
let pf: Passferry;
let redis: Redis;

beforeAll(async () => {
  pf = await startPassferry({ proxies: true, deadlineMs: 1_000 });
  redis = new Redis(pf.redis.url);
  atEnd(async () => redis.disconnect());
  const file = join(pf.keysDir, 'callers.json');
  const known = JSON.parse(readFileSync(file, 'utf8')) as { callers: object[] };
  const grants = { '*': ['operate'] };
  known.callers.push({ name: 'operator', home: 'acme', tokenSha256: hashToken(operator), grants });
  writeFileSync(file, JSON.stringify(known));
});

async function ask(token: string, query = '', method = 'GET', body?: object) {
  const response = await fetch(`${pf.url}/${query}`, {
    method,
    headers: { authorization: `Bearer ${token}`, ...(body && { 'content-type': 'application/json' }) },
    ...(body && { body: JSON.stringify(body) }),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

const whole = async () => (await ask(operator, 'status')).body as unknown as Required<Status>;
const own = async (org: string) => (await ask(tokens.full, `status?org=${org}`)).body as unknown as Required<Status>;
const backendOf = (status: Required<Status>, name: string) =>
  status.installation.backends.find(({ backend }) => backend === name);
const until = (what: string, is: (status: Required<Status>) => unknown) =>
  waitFor(
    async () => {
      const status = await whole();
      return is(status) ? status : undefined;
    },
    { what },
  );
const well = () => until('all to be well', ({ healthy }) => healthy);

describe('GET /status', () => {
  it('is healthy with empty queues, and a new job is next', async () => {
    const status = await until('a word of the worker', ({ installation }) => installation.workers[0]?.ready);
    const none = { waiting: 0, active: 0, delayed: 0, oldestMs: null };
    expect(status).toMatchObject({ healthy: true, problems: [] });
    expect(status.installation).toMatchObject({
      ...{ open: 0, retriable: 0, repairs: 0, ended: { last1m: 0, last5m: 0 }, expectedWaitMs: 0 },
      queues: { interactive: none, rows: none, quarantine: none },
      workers: [{ kind: 'worker', ready: true, healthy: true, stuckForMs: 0 }],
    });
    expect(status.installation.backends.map(({ backend, health }) => [backend, health])).toEqual([
      ['v1', 'ok'],
      ['v2', 'ok'],
    ]);
    // Nobody asked for an organization, and none is granted to who operates.
    expect(status.org).toBeUndefined();
  });

  it('counts what ended', async () => {
    const user = randomUUID();
    await pf.addUser('acme', user);
    for (let i = 0; i < 3; i++) expect((await pf.set('acme', user, newPassword())).status).toBe(200);
    const status = await until('the three', ({ installation }) => installation.ended.last1m >= 3);
    expect(status.installation.ended).toEqual({ last1m: 3, last5m: 3 });
    expect(backendOf(status, 'v1')?.lastOkMs).toBeGreaterThanOrEqual(0);
    expect(backendOf(status, 'v2')?.lastOkMs).toBeNull();
  });

  it('tells a reader of their own organization and nothing of others', async () => {
    const mine = await ask(tokens.reader, 'status');
    expect(mine.status).toBe(200);
    expect(mine.body).toMatchObject({
      healthy: true,
      org: {
        id: 'acme',
        stage: 'v1',
        backend: 'v1',
        health: 'ok',
        open: 0,
        failed: 0,
        quarantined: 0,
        expectedWaitMs: 0,
      },
    });
    expect(mine.body.installation).toBeUndefined();
    const answers = await Promise.all(['globex', 'nowhere'].map((org) => ask(tokens.reader, `status?org=${org}`)));
    expect(answers[0]).toEqual(answers[1]);
    expect(answers[0]).toMatchObject({ status: 404, body: { reason: 'AUTHZ-cdgFk' } });
    // Operating grants no organization.
    expect((await ask(operator, 'status?org=acme')).status).toBe(404);
    expect((await ask(tokens.reader, `status?org=${'x'.repeat(201)}`)).body).toMatchObject({
      reason: 'org_id_invalid',
    });
    expect((await own('globex')).org).toMatchObject({ stage: 'v2', backend: 'v2' });
  });

  it('says that v2 is down, how many wait since when, and that nobody knows how long', async () => {
    const user = randomUUID();
    await pf.addUser('globex', user);
    await pf.v2Proxy?.stop();
    const { body: accepted } = await pf.set('globex', user, newPassword(), later);
    const status = await until('v2 to be down', (each) => backendOf(each, 'v2')?.health === 'down');
    expect(backendOf(status, 'v2')).toMatchObject({ reason: 'backend_down' });
    expect(backendOf(status, 'v2')?.retryInMs).toBeGreaterThanOrEqual(0);
    expect(status.problems).toMatchObject([{ problem: 'backend_down', backend: 'v2' }]);
    const waits = await until(
      'it to be counted',
      ({ installation }) => installation.queues.interactive.oldestMs !== null,
    );
    expect(waits.installation.open).toBe(1);
    expect(waits.installation.queues.interactive.oldestMs).toBeGreaterThanOrEqual(0);

    expect((await own('globex')).org).toMatchObject({ health: 'down', open: 1, expectedWaitMs: null });
    // The other organization is well, and is told nothing else.
    expect(await own('acme')).toMatchObject({ healthy: true, problems: [], org: { health: 'ok' } });
    await pf.v2Proxy?.restore();
    await pf.done(accepted.id);
    await well();
  });

  it('says who holds, since when and why; ledger_lost by its name', async () => {
    await ask(operator, 'holds/v2', 'PUT', { reason: 'upgrade' });
    const held = await until('the hold', (each) => backendOf(each, 'v2')?.health === 'held');
    expect(backendOf(held, 'v2')).toMatchObject({ reason: 'held', hold: { by: 'operator', reason: 'upgrade' } });
    expect(held.problems).toMatchObject([
      { problem: 'held', todo: 'When the reason is over: `passferry release v2`.' },
    ]);
    expect((await own('globex')).org.expectedWaitMs).toBeNull();
    await ask(operator, 'holds/v2', 'DELETE');
    await well();

    // Behind its copies: the worker holds both.
    await redis.del(keys.epoch);
    const user = randomUUID();
    await pf.addUser('acme', user);
    const { body } = await pf.set('acme', user, newPassword(), later);
    const lost = await until('the loss', (each) => backendOf(each, 'v1')?.reason === 'ledger_lost');
    expect(lost.problems.map(({ problem, backend }) => [problem, backend])).toEqual([
      ['ledger_lost', 'v1'],
      ['ledger_lost', 'v2'],
    ]);
    for (const backend of ['v1', 'v2']) await ask(operator, `holds/${backend}`, 'DELETE');
    await pf.done(body.id);
    await well();
  });

  it('tells of a hold at once, however lately it was asked', async () => {
    for (let i = 0; i < 5; i++) {
      await well();
      await ask(operator, 'holds/v2', 'PUT', { reason: 'upgrade' });
      expect((await whole()).problems).toMatchObject([{ problem: 'held', backend: 'v2' }]);
      await ask(operator, 'holds/v2', 'DELETE');
    }
    await well();
  });

  it('says that a backend asked to slow down, until it has all its room again', async () => {
    const user = randomUUID();
    await pf.addUser('globex', user);
    pf.sandbox.faults.add({ call: 'SetPassword', times: 1, fault: { kind: '429' } });
    const { body } = await pf.set('globex', user, newPassword(), later);
    const slow = await until('v2 to be slow', (each) => backendOf(each, 'v2')?.health === 'slow');
    const lane = backendOf(slow, 'v2');
    expect(lane).toMatchObject({ reason: 'backend_limited' });
    expect(lane?.room).toBeLessThan(lane?.limit ?? 0);
    await pf.done(body.id);
    const users = Array.from({ length: 60 }, () => randomUUID());
    for (const each of users) await pf.addUser('globex', each);
    await Promise.all(users.map((each) => pf.set('globex', each, newPassword())));
    await well();
  });

  it('counts as absent what says it is a worker and is not signed, or was signed long ago', async () => {
    const real = (await redis.zrange(keys.beats, 0, -1))[0] as string;
    const stored = (await redis.get(keys.beat(real))) as string;
    await redis.set(keys.beat('made-up'), stored, 'PX', 8_000);
    await redis.zadd(keys.beats, Date.now() + 60_000, 'made-up');
    const status = await until('the forgery', ({ problems }) =>
      problems.some(({ problem }) => problem === 'beat_forged'),
    );
    expect(status.installation.workersAlive).toBe(1);
    await redis.del(keys.beat('made-up'));
    await redis.zrem(keys.beats, 'made-up');

    const beats = createBeats(redis, keys, readJobKey(pf.keysDir));
    const [beat] = (await beats.alive()).beats;
    if (!beat) throw new Error('no worker');
    // Signed by us, a minute ago: put back by whoever may write Redis.
    const body = JSON.stringify({ ...beat, id: 'gone', at: Date.now() - 60_000 });
    const mac = sign(readJobKey(pf.keysDir), 'beat', [keys.namespace, 'gone', body]);
    await redis.set(keys.beat('gone'), `${mac} ${body}`, 'PX', 8_000);
    await redis.zadd(keys.beats, Date.now() + 60_000, 'gone');
    expect(await beats.alive()).toMatchObject({ beats: [{ id: beat.id }], forged: 1 });
    await redis.del(keys.beat('gone'));
    await redis.zrem(keys.beats, 'gone');

    await beats.tell({ ...beat, id: 'other', stages: { ...beat.stages, digest: 'another' } });
    expect((await until('both', ({ installation }) => installation.workersAlive === 2)).problems).toMatchObject([
      { problem: 'stages_differ' },
    ]);
    await beats.withdraw('other');
    await well();
  });

  it('tells where each organization lives by the table of the workers', async () => {
    const beats = createBeats(redis, keys, readJobKey(pf.keysDir));
    const [beat] = (await beats.alive()).beats;
    if (!beat) throw new Error('no worker');
    expect(await beats.configured(beat.stages, 'globex')).toEqual({
      placed: { stage: 'v2', leads: 'v2' },
      named: true,
    });
    expect(await beats.configured(beat.stages, 'anything')).toEqual({
      placed: { stage: 'v1', leads: 'v1' },
      named: false,
    });
    const line = (await redis.hget(keys.stages(beat.stages.digest), 'globex')) as string;
    await redis.hset(keys.stages(beat.stages.digest), 'initech', line);
    expect(await beats.configured(beat.stages, 'initech')).toBeUndefined();
    await redis.hdel(keys.stages(beat.stages.digest), 'initech');
    expect(await beats.configured({ ...beat.stages, digest: 'unknown' }, 'globex')).toBeUndefined();
  });
});

describe('passferry status', () => {
  const run = (...args: string[]) =>
    spawnNode(['src/cli/main.ts', 'status', '--url', pf.url, ...args], { PASSFERRY_TOKEN: operator });

  it('exits 0 when all is well and 1 when not, and says what to do', async () => {
    await well();
    const good = run();
    expect((await good.exited).code).toBe(0);
    expect(good.lines()[0]).toMatch(/^HEALTHY /);

    await ask(operator, 'holds/v1', 'PUT', { reason: 'why not' });
    const bad = run();
    expect((await bad.exited).code).toBe(1);
    expect(bad.lines()[0]).toMatch(/^DEGRADED /);
    expect(bad.lines().join('\n')).toContain('→ When the reason is over: `passferry release v1`.');
    expect(bad.lines().join('\n')).toMatch(/^new job +is next; for v1 \(held\) it waits until that is over$/m);
    expect(linesOf(await own('acme')).join('\n')).toContain('new job waits until v1 is released');
    const json = run('--json');
    expect((await json.exited).code).toBe(1);
    expect(JSON.parse(json.lines().join(''))).toMatchObject({ healthy: false, problems: [{ problem: 'held' }] });
    await ask(operator, 'holds/v1', 'DELETE');
  });

  it('goes on watching while the producer is away, one screen after the other', async () => {
    const watching = run('--watch');
    await watching.waitForLine(/^HEALTHY |^DEGRADED /);
    const away = spawnNode(['src/cli/main.ts', 'status', '--url', 'http://127.0.0.1:9', '--watch'], {
      PASSFERRY_TOKEN: operator,
    });
    await away.waitForLine(/^NO ANSWER could not reach/);
    for (const each of [watching, away]) {
      each.term();
      await each.exited;
    }
    const once = spawnNode(['src/cli/main.ts', 'status', '--url', 'http://127.0.0.1:9'], { PASSFERRY_TOKEN: operator });
    expect((await once.exited).code).toBe(3);
  });

  it('fits on one screen, and nothing in it steers the terminal', async () => {
    const status = await whole();
    const lines = linesOf({ ...status, org: (await own('acme')).org });
    expect(lines.length).toBeLessThan(24);
    const odd = { ...status, problems: [{ problem: 'held' as const, what: '\u001b[2J', todo: '\u202e' }] };
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what must not be there
    expect(linesOf(odd).join('\n')).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/);
  });
});

describe('the numbers', () => {
  it('of the queues are those that stand in Redis, whatever state they are in', async () => {
    const own = redisKeys(`depth-${randomUUID().slice(0, 8)}`);
    const [seconds] = (await redis.time()) as unknown as [string];
    const ages = { a: 50_000, b: 90_000, c: 20_000, d: 500_000 };
    for (const [id, age] of Object.entries(ages)) {
      await redis.hset(own.job(id), 'acceptedAt', Number(seconds) * 1_000 - age);
    }
    const queue = `${own.bullPrefix}:interactive`;
    await redis.lpush(`${queue}:wait`, 'a');
    await redis.zadd(own.line('interactive'), 1, 'b');
    await redis.zadd(`${queue}:delayed`, 1, 'c');
    await redis.lpush(`${queue}:active`, 'd');
    const { interactive, rows } = await readDepths(redis, own);
    expect({ ...interactive, oldestMs: 0 }).toEqual({ waiting: 2, active: 1, delayed: 1, oldestMs: 0 });
    expect(Math.round((interactive.oldestMs ?? 0) / 10_000)).toBe(9);
    expect(rows).toEqual({ waiting: 0, active: 0, delayed: 0, oldestMs: null });
  });

  it('of what ended are those of the last minute and of the last five', () => {
    let now = 1_000_000;
    const tally = createTally(() => now);
    for (let i = 0; i < 400; i++) {
      tally.ended();
      now += 1_000;
    }
    expect(tally.counts()).toEqual({ last1m: 59, last5m: 299 });
    now += 100_000;
    expect(tally.counts()).toEqual({ last1m: 0, last5m: 199 });
    now += 400_000;
    expect(tally.counts()).toEqual({ last1m: 0, last5m: 0 });
  });

  it('the expected wait comes from depth and rate, and is null when nobody can know', () => {
    const none = { waiting: 0, active: 0, delayed: 0, oldestMs: null };
    const depth = (waiting: number, active: number) => ({
      ...{ rows: none, quarantine: none },
      interactive: { ...none, waiting, active },
    });
    const beat = (last1m: number, upMs = 600_000, more = {}) =>
      ({ kind: 'worker', ready: true, healthy: true, upMs, ended: { last1m, last5m: last1m }, ...more }) as never;
    const backends = [{ room: 4 }] as never;
    const wait = (beats: never[], queues: ReturnType<typeof depth>) => expectedWait({ beats, queues, backends });
    expect(wait([], depth(0, 0))).toBeNull();
    expect(wait([beat(60, 1, { ready: false })], depth(5, 4))).toBeNull();
    expect(wait([beat(60)], depth(0, 4))).toBe(0);
    expect(wait([beat(60)], depth(6, 8))).toBe(10_000);
    expect(wait([beat(30), beat(30)], depth(6, 8))).toBe(10_000);
    expect(wait([beat(60, 6_000)], depth(10, 4))).toBe(1_000);
    expect(wait([beat(0)], depth(6, 8))).toBeNull();
  });
});

// The last: it has no worker any more.
it('says that no worker is alive as soon as the last one ends', async () => {
  const beats = createBeats(redis, keys, readJobKey(pf.keysDir));
  await well();
  await pf.close();
  expect((await beats.alive()).beats).toEqual([]);
  const { status } = createStatus(redis, keys, readJobKey(pf.keysDir), 60_000);
  expect(await status('acme', true)).toMatchObject({
    ...{ healthy: false, problems: [{ problem: 'no_worker' }] },
    org: { stage: null, backend: null, health: 'unknown', reason: 'no_worker', expectedWaitMs: null },
    installation: { workersAlive: 0, workers: [], backends: [], expectedWaitMs: null },
  });
});
