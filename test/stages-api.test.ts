import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { beforeAll, describe, expect, it, test } from 'vitest';
import { readJobKey } from '../src/key-files.ts';
import { redisKeys } from '../src/keys.ts';
import type { Beat } from '../src/ledger/beats.ts';
import { createDivergences } from '../src/ledger/divergence.ts';
import { createMigrated } from '../src/ledger/migrated.ts';
import { createStageTable } from '../src/ledger/stages.ts';
import type { Migrated } from '../src/migration.ts';
import { hashToken } from '../src/producer/callers.ts';
import { type Condition, type ConditionName, conditionsOf } from '../src/producer/stages/conditions.ts';
import type { StepFacts } from '../src/producer/stages/facts.ts';
import { twoStagesOnly } from '../src/producer/stages/move-conditions.ts';
import { movesOf } from '../src/producer/stages/moves.ts';
import { percentile, type Stage, type StageSetting, stageNames, stageOfUser } from '../src/stage.ts';
import { newPassword } from './kit/conformance.ts';
import { atEnd } from './kit/files.ts';
import { type Passferry, startPassferry } from './kit/passferry.ts';
import { waitFor } from './kit/wait.ts';

const keys = redisKeys('passferry');
const json = { 'content-type': 'application/json' };
let pf: Passferry;
let redis: Redis;
let table: ReturnType<typeof createStageTable>;
let divergences: ReturnType<typeof createDivergences>;
let migrated: ReturnType<typeof createMigrated>;

beforeAll(async () => {
  pf = await startPassferry({ v1Cost: 10 });
  redis = new Redis(pf.redis.url);
  atEnd(async () => redis.disconnect());
  const jobKey = readJobKey(pf.keysDir);
  table = createStageTable(redis, keys, jobKey);
  divergences = createDivergences(redis, keys);
  migrated = createMigrated(redis, keys, jobKey);
  const file = join(pf.keysDir, 'callers.json');
  const { callers } = JSON.parse(readFileSync(file, 'utf8'));
  const caller = (name: string, grants: object) => ({
    name,
    home: 'acme',
    tokenSha256: hashToken(`pf_${name}`),
    grants,
  });
  const orgs = ['acme', 'globex', ...'abcdefghij'].map((org) => [org, ['migrate']]);
  const more = [caller('op', { '*': ['operate'] }), caller('mover', Object.fromEntries(orgs))];
  writeFileSync(file, JSON.stringify({ callers: [...callers, ...more] }));
});

const as = (name: string) => ({ as: null, headers: { ...json, authorization: `Bearer pf_${name}` } });
const put = (org: string, body: object, name = 'mover') =>
  pf.send('PUT', `/stages/${encodeURIComponent(org)}`, body, as(name));
const get = (path: string, name = 'mover') => pf.get(path, as(name));
async function plan(org: string, stage: Stage, more = ''): Promise<Record<string, Condition>> {
  const { body } = await get(`/stages/${org}:plan?stage=${stage}${more}`);
  return Object.fromEntries(body.conditions.map((each: Condition) => [each.condition, each]));
}
const open = (found: Record<string, Condition>) =>
  Object.values(found).flatMap(({ condition, holds }) => (holds ? [] : [condition]));
async function step(org: string, stage: Stage, more: object = {}): Promise<void> {
  const answer = await put(org, { stage, ...more });
  expect(answer.status, answer.text).toBe(200);
}
const force = { force: true, reason: 'test' };
/** A run over everybody that was over `ago` ms ago. */
async function ran(org: string, over: Partial<Migrated> = {}): Promise<void> {
  const [seconds, micros] = (await redis.time()) as unknown as [string, string];
  const now = Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
  const run = {
    run: 'r',
    kind: 'catch-up',
    startedAt: now,
    completedAt: now,
    seen: 3,
    notInStep: 0,
    differences: 0,
  } as const;
  await migrated.note({ org, ...run, ...over });
}

describe('one step after the other', () => {
  it('is seen by everybody from then on, and told who set it', async () => {
    expect((await get('/stages/acme')).body).toMatchObject({
      stage: 'v1',
      version: 0,
      from: 'configuration',
      since: null,
    });
    const { status, body } = await put('acme', { stage: 'dual-v1', percent: 0, version: 0 });
    expect(status).toBe(200);
    expect(body).toMatchObject({ stage: 'dual-v1', version: 1, by: 'mover', from: 'organization', overruled: [] });
    expect(body).toMatchObject({ leads: 'v1', follows: 'v2', back: { to: 'v1', people: 0 } });
    expect(body.draining).toEqual({ leases: 0, endsInMs: 0 });
    expect((await pf.get('/status?org=acme')).body.org).toMatchObject({ stage: 'dual-v1', backend: 'v1', percent: 0 });
    expect((await pf.get('/why?org=acme&user=u')).body).toMatchObject({ stage: 'dual-v1', leads: 'v1' });
    expect((await pf.get('/imports:plan?rows=1')).body).toMatchObject({ backend: 'v1' });
    const { records } = (await pf.get('/audit?action=stage', { as: 'admin' })).body;
    expect(records[0]).toMatchObject({
      action: 'stage',
      result: 'accepted',
      caller: 'mover',
      org: 'acme',
      stage: 'dual-v1',
    });
    await pf.addUser('acme', 'one');
    await pf.addV2({ id: 'one', org: 'acme', userName: 'one' });
    const password = newPassword();
    expect((await pf.set('acme', 'one', password)).status).toBe(200);
    expect(await pf.works('acme', 'one', password)).toBe(true);
    await waitFor(async () => (await divergences.of('acme', 'one')) === undefined, { what: 'v2 to follow' }).catch(
      async () => expect(await divergences.of('acme', 'one')).toBeUndefined(),
    );
    expect(await pf.sandbox.verify('one', password)).toBe(true);
  });

  it('what is so already changes nothing', async () => {
    expect((await put('acme', { stage: 'dual-v1' })).body).toMatchObject({ version: 1, overruled: [] });
  });

  it.each(['', 'force'])('never skips %s', async (how) => {
    const forced = how ? force : {};
    const { status, body } = await put('a', { stage: 'dual-v2', ...forced });
    expect([status, body.reason]).toEqual([409, 'stage_refused']);
    expect(body.conditions.map(({ condition }: Condition) => condition)).toContain('one_step');
    expect((await put('a', { stage: 'dual-v1', percent: 5, ...forced })).status).toBe(409);
    expect((await get('/stages/a')).body.version).toBe(0);
  });

  it('a refusal names every condition at once, and stands in the audit records', async () => {
    await step('b', 'dual-v1');
    await divergences.note(
      { org: 'b', user: 'u' },
      { follower: 'v2', seq: '1', tries: 1, cause: 'hash_refused' },
      undefined,
    );
    const { body } = await put('b', { stage: 'dual-v2' });
    const all = body.conditions as Condition[];
    expect(all.map(({ condition }) => condition)).toEqual(['backfilled', 'caught_up', 'nobody_behind']);
    for (const { why, todo, forcible } of all) expect([why !== '', todo !== '', forcible]).toEqual([true, true, true]);
    expect((await get('/stages/b')).body).toMatchObject({ divergence: { count: 1, byCause: { hash_refused: 1 } } });
    const forced = await put('b', { stage: 'dual-v2', ...force });
    expect(forced.body).toMatchObject({ forced: 'test', overruled: ['backfilled', 'caught_up', 'nobody_behind'] });
    const audit = await pf.get('/audit?action=stage&org=acme', { as: 'admin' });
    expect(audit.status).toBe(200);
    const { records } = JSON.parse(JSON.stringify(await readAudit('b')));
    expect(records[0]).toMatchObject({ result: 'accepted', stage: 'dual-v2', why: 'test' });
    expect(records[1]).toMatchObject({ result: 'refused', reason: 'stage_refused', stage: 'dual-v2' });
  });
});

/** `admin` of one more organization, for its records. */
async function readAudit(org: string) {
  const file = join(pf.keysDir, 'callers.json');
  const { callers } = JSON.parse(readFileSync(file, 'utf8'));
  const name = `auditor-${org}`;
  const entry = { name, home: org, tokenSha256: hashToken(`pf_${name}`), grants: { [org]: ['admin'] } };
  writeFileSync(file, JSON.stringify({ callers: [...callers, entry] }));
  return (await get('/audit?action=stage', name)).body;
}

describe('to dual-v2', () => {
  it('asks for a run since both are written, a fresh scan without a difference, and nobody behind', async () => {
    await step('c', 'dual-v1');
    expect(open(await plan('c', 'dual-v2'))).toEqual(['backfilled', 'caught_up']);
    await ran('c', { startedAt: 5 });
    expect(open(await plan('c', 'dual-v2'))).toEqual(['backfilled']);
    await ran('c', { differences: 2 });
    expect(open(await plan('c', 'dual-v2'))).toEqual(['caught_up']);
    expect(open(await plan('c', 'dual-v2', '&writersStopped=true'))).toEqual([]);
    await ran('c', { completedAt: Date.now() - 700_000 });
    expect(open(await plan('c', 'dual-v2'))).toContain('caught_up');
    await ran('c', { notInStep: 1 });
    expect((await plan('c', 'dual-v2')).backfilled?.why).toContain('c (1)');
    await ran('c');
    expect(open(await plan('c', 'dual-v2'))).toEqual([]);
    // Just on its way: nothing is wrong.
    await divergences.note({ org: 'c', user: 'u' }, { follower: 'v2', seq: '1', tries: 0, cause: 'pending' }, 60_000);
    expect(open(await plan('c', 'dual-v2'))).toEqual([]);
    await redis.hset(keys.run('r-c'), { state: 'holding', reason: 'proof_failed', org: 'c', options: '{}' });
    await redis.zadd(keys.activeRuns, Date.now(), 'r-c');
    expect(open(await plan('c', 'dual-v2'))).toEqual(['proof_green']);
    await redis.zrem(keys.activeRuns, 'r-c');
    await redis.del(keys.run('r-c'));
    await divergences.settle({ org: 'c', user: 'u' }, '1');
    await step('c', 'dual-v2');
  });

  it('asks the same before the first percent', async () => {
    await step('d', 'dual-v1');
    expect((await put('d', { stage: 'dual-v1', percent: 1 })).status).toBe(409);
    await ran('d');
    await step('d', 'dual-v1', { percent: 40 });
    expect((await get('/stages/d')).body).toMatchObject({ stage: 'dual-v1', percent: 40, next: 'dual-v2', version: 2 });
    // Since when both are written does not begin anew.
    await step('d', 'dual-v2');
  });

  it('takes the word that nothing else writes v1 only with a reason', async () => {
    expect((await put('a', { stage: 'v1', writersStopped: true })).body).toMatchObject({ reason: 'reason_invalid' });
    await step('a', 'dual-v1');
    await ran('a', { differences: 1 });
    await step('a', 'dual-v2', { writersStopped: true, reason: 'the application is off' });
    expect((await readAudit('a')).records[0]).toMatchObject({ why: 'the application is off' });
  });
});

describe('back', () => {
  it('asks who changed the password in v2 itself and who is behind in v1', async () => {
    expect(open(await plan('c', 'dual-v1'))).toEqual(['ahead_known']);
    expect((await get('/stages/c')).body.back).toEqual({ to: 'dual-v1', people: null });
    await ran('c', { kind: 'reconcile' });
    expect(open(await plan('c', 'dual-v1'))).toEqual([]);
    await divergences.note(
      { org: 'c', user: 'x' },
      { follower: 'v1', seq: '1', tries: 3, cause: 'backend_down' },
      undefined,
    );
    await divergences.note({ org: 'c', user: 'y' }, { follower: 'v1', seq: '1', tries: 1, cause: 'ahead' }, undefined);
    expect(open(await plan('c', 'dual-v1'))).toEqual(['nobody_behind', 'nobody_ahead']);
    expect((await get('/stages/c')).body.back).toEqual({ to: 'dual-v1', people: 2 });
    await step('c', 'dual-v1', force);
    await step('c', 'v1');
  });

  it('there is none from v2, by no force, and v2 is said to be final before', async () => {
    await ran('d', { kind: 'reconcile' });
    const asked = await plan('d', 'v2');
    expect(open(asked)).toEqual(['final_confirmed']);
    expect(asked.final_confirmed?.why).toContain('no way back');
    expect((await put('d', { stage: 'v2', ...force })).status).toBe(409);
    await step('d', 'dual-v2', { percent: 1, confirm: 'final' });
    for (const back of [{ stage: 'dual-v2' }, { stage: 'dual-v1' }]) {
      const refused = await put('d', { ...back, ...force });
      expect(refused.body.conditions.map(({ condition }: Condition) => condition)).toContain('v2_is_final');
    }
    expect((await get('/stages/d')).body.back).toEqual({ to: null, people: null });
    await step('d', 'v2', { confirm: 'final' });
    expect((await put('d', { stage: 'dual-v2', ...force, confirm: 'final' })).status).toBe(409);
    expect((await get('/stages/globex')).body).toMatchObject({ stage: 'v2', follows: null, back: { to: null } });
  });
});

describe('two operators', () => {
  it('at once: one is told that the other was faster', async () => {
    const both = await Promise.all([0, 0].map((version) => put('e', { stage: 'dual-v1', version })));
    const answers = both.map(({ status, body }) => [status, body.reason]);
    expect(answers).toContainEqual([200, undefined]);
    expect((await get('/stages/e')).body.version).toBe(1);
    const late = await put('e', { stage: 'v1', version: 0 });
    expect([late.status, late.body.reason]).toEqual([409, 'stage_changed']);
  });

  it('a setting that was seen is replaced once', async () => {
    const now = await table.of('f', { default: 'v1', organizations: {} });
    const all = await Promise.allSettled(
      Array.from({ length: 8 }, (_, i) => table.set('f', '', { stage: 'dual-v1', percent: i, by: 'x' }, now)),
    );
    expect(all.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });
});

describe('the default of all others', () => {
  it('is for whoever operates alone, and asks for every organization that goes by it', async () => {
    expect((await put('*', { stage: 'dual-v1' })).status).toBe(403);
    expect((await get('/stages/*')).status).toBe(403);
    expect((await put('*', { stage: 'dual-v1' }, 'op')).body).toMatchObject({ org: '*', version: 1 });
    expect((await get('/stages/g')).body).toMatchObject({ stage: 'dual-v1', from: 'default' });
    // The configuration names it.
    expect((await get('/stages/globex')).body).toMatchObject({ stage: 'v2', from: 'configuration' });
    const { conditions } = (await get('/stages/*:plan?stage=dual-v2', 'op')).body;
    const without = conditions.find(({ condition }: Condition) => condition === 'backfilled');
    expect(without).toMatchObject({ holds: false });
    expect(without.why).toMatch(/g, h, i, j/);
    await put('*', { stage: 'v1' }, 'op');
  });

  it('lists what may be seen', async () => {
    const ids = async (name: string) => (await get('/stages', name)).body.stages.map(({ org }: { org: string }) => org);
    expect(await ids('mover')).toEqual(['a', 'acme', 'b', 'c', 'd', 'e', 'f', 'g', 'globex', 'h', 'i', 'j']);
    expect(await ids('op')).toEqual(expect.arrayContaining(['*', 'acme', 'globex', 'j']));
    expect((await pf.get('/stages', { as: 'reader' })).body.stages).toHaveLength(1);
  });
});

describe('bad input', () => {
  it.each([
    [{}, 'stage'],
    [{ stage: 'v3' }, 'stage'],
    [{ stage: 'dual-v1', percent: 100 }, 'percent'],
    [{ stage: 'dual-v1', percent: 0.5 }, 'percent'],
    [{ stage: 'dual-v1', percent: '5' }, 'percent'],
    [{ stage: 'dual-v1', force: 'maybe' }, 'force'],
    [{ stage: 'dual-v1', confirm: true }, 'confirm'],
    [{ stage: 'dual-v1', version: -1 }, 'version'],
    [{ stage: 'dual-v1', persent: 1 }, 'persent'],
    [{ stage: 'dual-v1', force: true }, 'reason'],
  ])('%j', async (body, field) => {
    const answer = await put('h', body);
    expect(answer.status).toBe(400);
    expect(answer.body.fields[0].field).toBe(field);
  });

  it('an organization that nobody knows is told before anything changes', async () => {
    const { status, body } = await put('nowhere', { stage: 'dual-v1' }, 'op');
    expect([status, body.conditions[0].condition]).toEqual([409, 'org_known']);
    expect((await put('nowhere', { stage: 'dual-v1' })).status).toBe(404);
    expect((await get('/stages/h:plan?stage=no')).status).toBe(400);
    expect((await get('/stages/h:plan?stage=v1&percent=x')).status).toBe(400);
  });

  it('a setting that is not ours stops its organization, and is set again by force alone', async () => {
    await step('i', 'dual-v1');
    await redis.hset(keys.stageTable, 'i', (await redis.hget(keys.stageTable, 'e')) as string);
    expect((await get('/stages/i')).body).toMatchObject({ stage: null, from: 'forged' });
    expect((await put('i', { stage: 'dual-v1' })).body.conditions[0].condition).toBe('stage_known');
    await step('i', 'dual-v1', force);
    expect((await get('/stages/i')).body).toMatchObject({ stage: 'dual-v1', from: 'organization' });
  });
});

describe('who is not in step', () => {
  it('is counted and listed exactly, by cause too, and tried again', async () => {
    for (let i = 0; i < 250; i++) {
      const cause = i % 5 === 0 ? 'no_hash' : 'user_missing_in_v2';
      await divergences.note({ org: 'j', user: `u${i}` }, { follower: 'v2', seq: '1', tries: 1, cause }, undefined);
    }
    async function all(query: string) {
      const users: { user: string }[] = [];
      let cursor: string | undefined;
      do {
        const { body } = await get(`/divergence?org=j${query}${cursor ? `&cursor=${cursor}` : ''}`);
        expect(body.count).toBe(250);
        users.push(...body.users);
        cursor = body.next;
      } while (cursor);
      return new Set(users.map(({ user }) => user));
    }
    expect((await all('')).size).toBe(250);
    expect((await all('&cause=no_hash')).size).toBe(50);
    const body = { org: 'j', cause: 'no_hash' };
    expect((await pf.send('POST', '/divergence:redrive', body, as('mover'))).body).toEqual({ org: 'j', redriven: 50 });
    expect((await pf.send('POST', '/divergence:redrive', { org: 'j' }, as('op'))).body.redriven).toBe(250);
    expect((await get('/divergence?org=j', 'op')).status).toBe(404);
    expect((await get('/divergence?org=j&cursor=x')).status).toBe(400);
    expect((await pf.get('/why?user=u1&org=acme')).body).not.toHaveProperty('divergence');
    expect((await readAudit('j')).records).toEqual([]);
  });

  it('why tells of one user', async () => {
    const at = { org: 'acme', user: 'left' };
    await divergences.note(at, { follower: 'v2', seq: '1', tries: 2, cause: 'ahead' }, undefined);
    expect((await pf.get('/why?user=left&org=acme')).body).toMatchObject({
      ...{ known: true, next: { problem: 'ahead' } },
      divergence: { backend: 'v2', cause: 'ahead', tries: 2, since: expect.any(String) },
    });
    expect((await pf.get('/status?org=acme')).body).toMatchObject({
      ...{
        org: { notInStep: 1, lasting: 1 },
        problems: expect.arrayContaining([expect.objectContaining({ problem: 'not_in_step' })]),
      },
    });
    await divergences.settle(at, '1');
  });
});

/** What the conditions say of workers that are not at hand here. */
describe('workers', () => {
  const lanes = (v1: string[] | undefined, v2: string[] | undefined) =>
    ({
      ...{ kind: 'worker', ready: true },
      lanes: { ...(v1 && { v1: { can: v1 } }), ...(v2 && { v2: { can: v2 } }) },
    }) as unknown as Beat;
  const full = lanes(['readHash', 'setHash', 'makeHash'], ['readUser', 'setHash']);
  const facts = (...beats: Beat[]): StepFacts => ({
    ...{ now: 0, beats, known: true },
    orgs: [
      {
        ...{ org: 'o', draining: { leases: 0, endsInMs: 0 }, seen: undefined, proofFailed: [] },
        tally: { count: 0, looked: 0, byCause: {}, lasting: { v1: 0, v2: 0 }, ahead: 0 },
      },
    ],
  });
  const at = (stage: Stage): StageSetting => ({ stage, percent: 0, version: 1, since: 0 });
  const refused = (stage: Stage, from: Stage, ...beats: Beat[]): ConditionName[] =>
    conditionsOf({ stage, percent: 0, confirmed: true }, at(from), facts(...beats)).flatMap((each) =>
      each.holds ? [] : [each.condition],
    );

  it.each([
    ['none is alive', [], ['worker_alive']],
    ['one can', [full], []],
    ['one lacks v2', [full, lanes(['readHash'], undefined)], ['workers_can']],
    ['one is of an older version', [full, lanes(['readHash'], [])], ['workers_can']],
  ])('%s', (_, beats, expected) => {
    expect(refused('dual-v1', 'v1', ...beats)).toEqual(expected);
  });

  it('of a v1 without hashes there are two stages, and that is said', () => {
    const zitadel = lanes([], ['readUser', 'setHash']);
    const dual = conditionsOf({ stage: 'dual-v1', percent: 0 }, at('v1'), facts(zitadel));
    expect(dual.find(({ condition }) => condition === 'v1_readable')).toMatchObject({
      holds: false,
      forcible: false,
      why: twoStagesOnly,
    });
    expect(refused('v2', 'v1', zitadel)).toEqual([]);
    const final = conditionsOf({ stage: 'v2', percent: 0 }, at('v1'), facts(zitadel));
    expect(final.find(({ condition }) => condition === 'final_confirmed')?.why).toContain('moves no data');
    expect(refused('v2', 'v1', full)).toContain('one_step');
  });

  it('where nobody tells where it stands, nothing is done by force', () => {
    const [first] = conditionsOf({ stage: 'v1', percent: 0 }, undefined, facts()).filter(({ holds }) => !holds);
    expect(first).toMatchObject({ condition: 'stage_known', forcible: false });
  });
});

test('the moves of a change are those that its users make', () => {
  const spots = stageNames.flatMap((stage) =>
    [0, 1, 50, 99].map((percent) => ({ stage, percent, version: 1, since: 0 })),
  );
  // One user at each of a hundred places.
  const places = new Map(Array.from({ length: 3_000 }, (_, i) => [percentile('o', `u${i}`), `u${i}`]));
  const users = [...places.values()];
  expect(users).toHaveLength(100);
  for (const before of spots) {
    for (const next of spots) {
      const moved = new Set(
        users.flatMap((user) => {
          const [from, to] = [stageOfUser(before, 'o', user), stageOfUser(next, 'o', user)];
          return from === to ? [] : [`${from} ${to}`];
        }),
      );
      const foretold = new Set(movesOf(before, next).map(({ from, to }) => `${from} ${to}`));
      expect([...moved].filter((each) => !foretold.has(each))).toEqual([]);
      expect(foretold).toEqual(moved);
    }
  }
});
