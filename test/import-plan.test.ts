import { spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Redis } from 'ioredis';
import { beforeAll, describe, expect, it } from 'vitest';
import { redisKeys } from '../src/keys.ts';
import { type Beat, createBeats, digestOf, type LaneFacts, type StageTable } from '../src/ledger/beats.ts';
import { createImportPlans } from '../src/producer/import-plan.ts';
import { createStatus } from '../src/producer/status.ts';
import { newPassword } from './kit/conformance.ts';
import { atEnd, tempDir } from './kit/files.ts';
import { type Passferry, startPassferry } from './kit/passferry.ts';
import { waitFor } from './kit/wait.ts';

/** What an import would come to is said before it begins, from what workers say; what nobody knows is not made up. */

let pf: Passferry;
let redis: Redis;

beforeAll(async () => {
  pf = await startPassferry({ mails: true, workEnv: { PASSFERRY_V2_RATE: '20', PASSFERRY_V1_CONCURRENCY: '4' } });
  redis = new Redis(pf.redis.url);
  atEnd(async () => redis.disconnect());
});

describe('a plan', () => {
  const table: StageTable = {
    default: { stage: 'v1', leads: 'v1' },
    organizations: { globex: { stage: 'v2', leads: 'v2' } },
  };
  const lane = (more: Partial<LaneFacts>): LaneFacts => ({
    ...{ forbidden: 0, inside: 0, room: 4, limit: 4, can: [] },
    ...more,
  });

  /** Workers that say this, and nothing else in Redis. */
  async function scene(workers: Beat['lanes'][]) {
    const keys = redisKeys(`p${randomBytes(6).toString('hex')}`);
    const jobKey = { current: randomBytes(32) };
    const beats = createBeats(redis, keys, jobKey);
    const digest = digestOf(table);
    await beats.tellStages(digest, table);
    for (const lanes of workers) {
      const stages = { digest, default: table.default, organizations: 1 };
      const ended = { last1m: 0, last5m: 0 };
      const well = { kind: 'worker' as const, version: '0', upMs: 1, ready: true, healthy: true, stuckForMs: 0 };
      await beats.tell({ id: randomUUID(), ...well, ended, lanes, stages });
    }
    return { keys, plan: createImportPlans(redis, keys, createStatus(redis, keys, jobKey, 60_000)) };
  }

  it('reckons with the hashes that all workers make', async () => {
    const { plan } = await scene([{ v1: lane({ coreMs: 250 }) }, { v1: lane({ coreMs: 500, limit: 2 }) }]);
    const told = await plan('acme', { rows: 2_000 });
    expect(told).toMatchObject({ backend: 'v1', rowsPerSecond: 20, limitedBy: 'hashing', seconds: 100, mails: 0 });
    expect(told.coreHours).toBeCloseTo((2_000 * 0.375) / 3_600, 2);
    expect(Date.parse(told.endsAt as string)).toBeGreaterThan(Date.now());
  });

  it('reckons with no more hashes at once than there are cores', async () => {
    const { plan } = await scene([{ v1: lane({ coreMs: 250, cores: 2 }) }]);
    expect(await plan('acme', { rows: 80 })).toMatchObject({ rowsPerSecond: 8, limitedBy: 'hashing', seconds: 10 });
  });

  it('reckons with the rate of the backend, and with the one that is asked for', async () => {
    const { plan } = await scene([{ v2: lane({ rate: 20, can: ['mailsOnChange'] }) }]);
    expect(await plan('globex', { rows: 200 })).toMatchObject({
      ...{ rowsPerSecond: 20, limitedBy: 'backend_rate', seconds: 10, coreHours: null, mails: null },
    });
    expect(await plan('globex', { rows: 200, rate: 5 })).toMatchObject({ limitedBy: 'rate', seconds: 40 });
  });

  it('reckons with imports that run towards the same backend, and not with others', async () => {
    const { keys, plan } = await scene([{ v1: lane({ coreMs: 400 }), v2: lane({ rate: 10 }) }]);
    const run = async (id: string, org: string, state: string, accepted: number) => {
      await redis.zadd(keys.activeRuns, 1, id);
      await redis.hset(keys.run(id), { id, org, state, accepted, finished: 10, options: '{}' });
    };
    await run('a', 'acme', 'running', 60);
    await run('b', 'acme', 'running', 10_010);
    await run('c', 'acme', 'paused', 1_000);
    await run('d', 'globex', 'running', 1_000);
    // 100 of its own, 50 of one, and 100 of the other in turn.
    expect((await plan('acme', { rows: 100 })).seconds).toBe(25);
  });

  it.each<[string, Beat['lanes'][], string | undefined]>([
    ['no worker is there', [], 'no_worker'],
    ['hashes were not timed and no rate is set', [{ v1: lane({}) }], undefined],
    ['the backend is down', [{ v1: lane({ coreMs: 1, waitingFor: 'backend_down' }) }], 'backend_down'],
  ])('says that it does not know when %s', async (_, workers, reason) => {
    const { plan } = await scene(workers);
    const told = await plan('acme', { rows: 100 });
    expect([told.seconds, told.endsAt, told.reason]).toEqual([null, null, reason]);
  });

  it('is asked for over HTTP by whoever may import there, once hashes are timed', async () => {
    const known = async () => {
      const { status, body } = await pf.get('/imports:plan?rows=1000');
      expect(status).toBe(200);
      return body.limitedBy === 'hashing' ? body : undefined;
    };
    const told = await waitFor(known, { what: 'hashes to be timed' });
    expect(told).toMatchObject({ rows: 1_000, org: 'acme', backend: 'v1', mails: 0 });
    const globex = await pf.get('/imports:plan', { headers: { 'x-zitadel-orgid': 'globex' } });
    expect(globex.body).toMatchObject({ rows: null, limitedBy: 'backend_rate', rowsPerSecond: 20, seconds: null });
    expect(await pf.get('/imports:plan', { as: 'reader' })).toMatchObject({ status: 403 });
    expect(await pf.get('/imports:plan?rows=many')).toMatchObject({ status: 400, body: { reason: 'field_type' } });
    expect(await pf.get('/imports:plan', { as: null })).toMatchObject({ status: 401 });
  });
});

describe('the command line', () => {
  const dir = tempDir();
  const root = new URL('..', import.meta.url).pathname;

  async function passferry(...args: string[]) {
    const child = spawn(process.execPath, ['--import', 'tsx', join(root, 'src/cli/main.ts'), ...args], {
      cwd: root,
      env: { PATH: process.env.PATH, PASSFERRY_URL: pf.url, PASSFERRY_TOKEN: pf.token },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const code = new Promise<number | null>((resolve) => child.once('close', resolve));
    const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
    return { code: await code, out, err };
  }

  async function file(name: string, org: 'acme' | 'globex', n: number) {
    const users = Array.from({ length: n }, () => randomUUID());
    for (const user of users) await pf.addUser(org, user);
    const rows = users.map((user, i) => `${user},${newPassword()},${i === 0}`);
    const path = join(dir, name);
    writeFileSync(path, ['userId,password,noChangeRequired', ...rows, `,${newPassword()},`].join('\n'));
    return path;
  }

  it('says rows, forced changes, mails and time before it begins', async () => {
    const { code, err } = await passferry('import', await file('plan.csv', 'acme', 3), '--as-of', 'now', '--yes');
    expect(code, err).toBe(1);
    expect(err).toContain('rows: 4, 1 of them not to be taken');
    expect(err).toContain('change at the next login: 2 users');
    expect(err).toContain('mails: none');
    expect(err).toMatch(/time: about \d+ s, ends .*\d\d:\d\d \(v1 does .*\/s, limited by hashing; organization acme\)/);
  });

  it('ends at a hold for mails with what a person can do, and goes on when they are allowed', async () => {
    const args = ['--as-of', 'now', '--org', 'globex', '--yes'];
    const held = await passferry('import', await file('mails.csv', 'globex', 3), ...args);
    expect(held.code, held.err).toBe(4);
    expect(held.err).toContain('--mails=allow lets it');
    expect(held.err).toContain('the limit of all imports');
    const [, id = ''] = /^import (r0-\S+) HOLDS \(mails_not_allowed\): 0 of 3 rows$/m.exec(held.out) ?? [];
    expect(held.out).toContain(`3 mails at most would be sent`);
    expect(held.out).toContain(`passferry imports resume ${id} --mails=allow`);
    expect((await passferry('imports', 'show', id)).out).toContain(`resume ${id} --mails=allow`);
    expect(await passferry('imports', 'resume', id, '--mails=allow')).toMatchObject({ code: 0 });
    expect((await passferry('imports', 'watch', id)).out).toContain('3 rows set');

    const allowed = await passferry('import', await file('allowed.csv', 'globex', 2), ...args, '--mails=allow');
    expect(allowed).toMatchObject({ code: 1, out: expect.stringContaining('2 rows set') });
  });

  it('refuses another word than allow, over HTTP too', async () => {
    expect(await passferry('import', 'x.csv', '--mails=maybe')).toMatchObject({ code: 2 });
    const answer = await pf.post(`/imports?asOf=now&mails=maybe`, 'userId,password\n', {
      headers: { 'content-type': 'text/csv' },
    });
    expect(answer).toMatchObject({ status: 400, body: { fields: [{ field: 'mails', reason: 'field_type' }] } });
  });
});
