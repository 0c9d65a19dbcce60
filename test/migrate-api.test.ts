import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { beforeAll, describe, expect, it } from 'vitest';
import { readJobKey } from '../src/key-files.ts';
import { redisKeys } from '../src/keys.ts';
import { createDivergences } from '../src/ledger/divergence.ts';
import { createStageTable } from '../src/ledger/stages.ts';
import { hashToken } from '../src/producer/callers.ts';
import type { RunView } from '../src/run.ts';
import { newPassword } from './kit/conformance.ts';
import { atEnd } from './kit/files.ts';
import { type Passferry, startPassferry, v2Token } from './kit/passferry.ts';
import { names } from './kit/run-backends.ts';
import { waitFor } from './kit/wait.ts';

/** Migrations over HTTP: who may begin, see and change one, and what comes of it. */

const keys = redisKeys('passferry');
const passwordOf = (id: string) => `Old-password-of-${id}!`;
const json = { 'content-type': 'application/json' };
const asAdmin = { as: 'admin', headers: json } as const;
const asReader = { as: 'reader', headers: json } as const;
/** Another operator, who may migrate one of both organizations. */
const asSecond = { as: null, headers: { ...json, authorization: 'Bearer pf_test-second' } } as const;
const ok = names('ok', 12);

/** An hour that is not now. */
function nextHours(): string {
  const at = (ms: number) => new Date(Date.now() + ms).toISOString().slice(11, 16);
  return `${at(6 * 3_600_000)}-${at(7 * 3_600_000)}`;
}

async function stageBoth(pf: Passferry): Promise<Redis> {
  const redis = new Redis(pf.redis.url);
  atEnd(async () => redis.disconnect());
  const table = createStageTable(redis, keys, readJobKey(pf.keysDir));
  const before = { default: 'v1', organizations: { globex: 'v2' } } as const;
  const now = await table.of('acme', before);
  await table.set('acme', await table.stored('acme'), { stage: 'dual-v1', percent: 0, by: 'test' }, now);
  return redis;
}

async function addBoth(pf: Passferry, ids: string[]): Promise<void> {
  await pf.v1.addUsers(ids.map((id) => ({ id, org: 'acme', userName: id, password: passwordOf(id) })));
  for (const id of ids) await pf.sandbox.addUser({ id, org: 'acme', userName: id });
}

const begin = (pf: Passferry, body: object) => pf.post('/migrations', { organizations: ['acme'], ...body }, asAdmin);

function until(pf: Passferry, id: string, state: string): Promise<RunView> {
  return waitFor(
    async () => {
      const { body } = await pf.get(`/migrations/${id}`, asAdmin);
      return body?.state === state ? (body as RunView) : undefined;
    },
    { what: `migration ${id} to be ${state}` },
  );
}

async function done(pf: Passferry, body: object): Promise<RunView> {
  const begun = await begin(pf, body);
  expect(begun.status, begun.text).toBe(202);
  expect(begun.headers.get('location')).toBe(`/migrations/${begun.body.id}`);
  return until(pf, begun.body.id, 'completed');
}

async function rejects(pf: Passferry, id: string): Promise<Record<string, string>> {
  const { text } = await pf.get(`/migrations/${id}/rejects`, asAdmin);
  const rows = text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line)]));
  return Object.fromEntries(rows.map(({ userId, reason }) => [userId, reason]));
}

describe('migrations over HTTP', () => {
  let pf: Passferry;
  let redis: Redis;

  beforeAll(async () => {
    pf = await startPassferry({ v1Cost: 10 });
    redis = await stageBoth(pf);
    const file = join(pf.keysDir, 'callers.json');
    const { callers } = JSON.parse(readFileSync(file, 'utf8'));
    const grants = { acme: ['migrate'] };
    callers.push({ name: 'second', home: 'acme', tokenSha256: hashToken('pf_test-second'), grants });
    writeFileSync(file, JSON.stringify({ callers }));
    await addBoth(pf, ok);
    await pf.v1.addUsers([
      { id: 'no-hash', org: 'acme', userName: 'no-hash' },
      { id: 'missing', org: 'acme', userName: 'missing', password: passwordOf('missing') },
      { id: 'ahead', org: 'acme', userName: 'ahead', password: passwordOf('ahead') },
    ]);
    await pf.sandbox.addUser({ id: 'no-hash', org: 'acme', userName: 'no-hash' });
    await pf.sandbox.addUser({ id: 'ahead', org: 'acme', userName: 'ahead', password: 'Chosen-in-v2-1!' });
  });

  const changed = () => [...pf.sandbox.users.values()].filter(({ changes }) => changes.length > 0).length;

  it('names each organization that is not granted before anything is stored', async () => {
    for (const mode of ['plan', 'execute', 'reconcile']) {
      const refused = await begin(pf, { mode, organizations: ['acme', 'initech'] });
      expect(refused.status).toBe(403);
      expect(refused.body).toMatchObject({
        reason: 'org_not_granted',
        fields: [{ field: 'organizations[1]', reason: 'org_not_granted' }],
      });
    }
    const whoReads = await pf.post('/migrations', { organizations: ['acme'] }, asReader);
    expect([whoReads.status, whoReads.body.reason]).toEqual([403, 'org_not_granted']);
    expect(await redis.exists(keys.migrations, keys.migrating)).toBe(0);
    expect((await pf.get('/migrations', asAdmin)).body.migrations).toEqual([]);
  });

  it('plans without a change, and counts by verdict', async () => {
    const plan = await done(pf, {});
    expect(plan).toMatchObject({ accepted: 15, finished: 15, wouldMirror: 12, failed: 3 });
    expect(plan.mirrored ?? 0).toBe(0);
    expect(plan.migration).toMatchObject({
      mode: 'plan',
      verdicts: { would_mirror: 12, no_hash: 1, user_missing_in_v2: 1, ahead: 1 },
      hashes: { 'bcrypt cost=10': 14 },
      forecast: { users: 12, mails: 0 },
    });
    expect(changed()).toBe(0);
    expect(await redis.keys('*:user:*')).toEqual([]);
  });

  it('refuses to execute where only one backend is written', async () => {
    const refused = await begin(pf, { mode: 'execute', organizations: ['acme', 'globex'] });
    expect(refused.status).toBe(409);
    expect(refused.body).toMatchObject({
      reason: 'stage_not_dual',
      fields: [{ field: 'organizations[1]', reason: 'stage_not_dual' }],
    });
  });

  it('is paused, tuned, resumed and cancelled, by whoever may, and stands in the way of a second operator', async () => {
    const begun = await begin(pf, { mode: 'execute', window: nextHours(), rate: 5 });
    expect(begun.status, begun.text).toBe(202);
    const one = `/migrations/${begun.body.id}`;

    const busy = await pf.post('/migrations', { mode: 'execute', organizations: ['acme'] }, asSecond);
    expect([busy.status, busy.body.reason, busy.body.migration]).toEqual([409, 'migration_open', begun.body.id]);
    expect(busy.headers.get('location')).toBe(one);

    // Whoever reads there sees it and changes nothing.
    expect((await pf.get(one, asReader)).body.id).toBe(begun.body.id);
    for (const verb of ['pause', 'resume', 'cancel', 'tune']) {
      expect((await pf.post(`${one}:${verb}`, { rate: 1 }, asReader)).status, verb).toBe(403);
    }
    expect((await pf.post(`${one}:stop`, {}, asAdmin)).status).toBe(405);

    expect((await pf.post(`${one}:pause`, {}, asSecond)).body.state).toMatch(/^paus(ing|ed)$/);
    await until(pf, begun.body.id, 'paused');
    const tuned = await pf.post(`${one}:tune`, { rate: null, concurrency: 3 }, asAdmin);
    expect(tuned.body.options).toMatchObject({ concurrency: 3, window: expect.any(String) });
    expect(tuned.body.options.rate).toBeUndefined();
    expect((await pf.post(`${one}:tune`, { rate: -1 }, asAdmin)).body.fields).toEqual([
      expect.objectContaining({ field: 'rate', reason: 'field_type' }),
    ]);
    expect((await pf.post(`${one}:resume`, {}, asAdmin)).body.state).toMatch(/^(running|receiving)$/);
    await pf.post(`${one}:cancel`, {}, asAdmin);
    const over = await until(pf, begun.body.id, 'cancelled');
    expect(over.finished).toBe(over.accepted);
    expect(over.mirrored ?? 0).toBe(0);
    expect(changed()).toBe(0);
    const late = await pf.post(`${one}:pause`, {}, asAdmin);
    expect([late.status, late.body.reason]).toEqual([409, 'run_ended']);
  });

  it('shows a migration of two organizations to nobody who knows only one', async () => {
    const begun = await begin(pf, { mode: 'plan', organizations: ['acme', 'globex'] });
    expect(begun.status, begun.text).toBe(202);
    const one = `/migrations/${begun.body.id}`;
    for (const who of [asSecond, asReader]) {
      for (const path of [one, `${one}/rejects`, `${one}/evidence`]) expect((await pf.get(path, who)).status).toBe(404);
      expect((await pf.post(`${one}:cancel`, {}, who)).status).toBe(404);
      const { body } = await pf.get('/migrations', who);
      expect(body.migrations.map(({ id }: RunView) => id)).not.toContain(begun.body.id);
    }
    await until(pf, begun.body.id, 'completed');
  });

  it('brings everybody over who can be, and lists the others with their reason', async () => {
    const over = await done(pf, { mode: 'execute' });
    expect(over).toMatchObject({ accepted: 15, finished: 15, mirrored: 12, failed: 3, notInEffect: 3 });
    expect(over.migration?.verdicts).toEqual({ mirrored: 12, no_hash: 1, user_missing_in_v2: 1, ahead: 1 });
    for (const id of ok) expect(await pf.sandbox.verify(id, passwordOf(id)), id).toBe(true);
    expect(await pf.sandbox.verify('ahead', 'Chosen-in-v2-1!')).toBe(true);
    expect(ok.map((id) => pf.sandbox.users.get(id)?.changes.length)).toEqual(ok.map(() => 1));
    const refused = { 'no-hash': 'no_hash', missing: 'user_missing_in_v2', ahead: 'ahead' };
    expect(await rejects(pf, over.id)).toEqual(refused);
    const { body, status } = await pf.get(`/migrations/${over.id}/evidence`, asAdmin);
    expect([status, JSON.stringify(body).includes(over.id)]).toEqual([200, true]);

    const again = await done(pf, { mode: 'execute' });
    expect(again).toMatchObject({ unchanged: 12, failed: 3 });
    expect(again.mirrored ?? 0).toBe(0);
  });

  it('compares by reading alone, and brings in step who is behind where repair is asked for', async () => {
    await addBoth(pf, ['late']);
    // As the user's own application would.
    const chosen = newPassword();
    const response = await fetch(`${pf.sandbox.url}/v2/users/ok-2/password`, {
      method: 'POST',
      headers: { authorization: `Bearer ${v2Token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ newPassword: { password: chosen } }),
    });
    expect(response.status).toBe(200);
    const divergences = createDivergences(redis, keys);
    // A cause that only a person ends.
    for (const user of ['missing', 'ahead']) await divergences.settle({ org: 'acme', user }, '9999999999999999');

    const found = await done(pf, { mode: 'reconcile' });
    expect(found.migration?.verdicts).toEqual({ equal: 12, behind: 1, ahead: 2, missing: 1 });
    expect(await rejects(pf, found.id)).toEqual({
      ...{ late: 'behind', missing: 'user_missing_in_v2', ahead: 'ahead', 'ok-2': 'ahead' },
    });
    expect(await divergences.of('acme', 'late')).toBeUndefined();
    expect(pf.sandbox.users.get('late')?.changes).toEqual([]);

    await done(pf, { mode: 'reconcile', repair: true });
    await waitFor(() => pf.sandbox.verify('late', passwordOf('late')), { what: 'late in step' });
    expect(await pf.sandbox.verify('ok-2', chosen)).toBe(true);
    // Nobody is behind; those who chose a later password in v2 are on record, for whoever wants to go back.
    await waitFor(async () => (await divergences.count('acme')) === 2, { what: 'nobody to be behind' });
    for (const user of ['ahead', 'ok-2']) expect((await divergences.of('acme', user))?.cause).toBe('ahead');
    expect((await done(pf, { mode: 'reconcile' })).migration?.verdicts).toMatchObject({ equal: 13, ahead: 2 });
  });

  it('shows no password and no hash', () => {
    const all = [...pf.answers, ...pf.lines].join('\n');
    for (const id of [...ok, 'ahead', 'missing', 'late']) expect(all).not.toContain(passwordOf(id));
    expect(all).not.toMatch(/\$2[aby]\$/);
  });
});

it('mails nobody who is migrated unless that is allowed', async () => {
  const pf = await startPassferry({ v1Cost: 10, mails: true });
  await stageBoth(pf);
  await addBoth(pf, ['one', 'two']);
  expect((await done(pf, {})).migration?.forecast).toMatchObject({ users: 2, mails: 2 });
  const begun = await begin(pf, { mode: 'execute' });
  expect(await until(pf, begun.body.id, 'holding')).toMatchObject({ reason: 'mails_not_allowed', finished: 0 });
  expect(pf.sandbox.users.get('one')?.changes).toEqual([]);
  // To go on is no word about mails.
  await pf.post(`/migrations/${begun.body.id}:resume`, {}, asAdmin);
  await until(pf, begun.body.id, 'holding');
  await pf.post(`/migrations/${begun.body.id}:resume?mails=allow`, {}, asAdmin);
  expect(await until(pf, begun.body.id, 'completed')).toMatchObject({ mirrored: 2 });
  expect(await pf.sandbox.verify('one', passwordOf('one'))).toBe(true);
});
