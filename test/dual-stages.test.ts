import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { beforeAll, describe, expect, it } from 'vitest';
import { readJobKey } from '../src/key-files.ts';
import { redisKeys } from '../src/keys.ts';
import { createDivergences } from '../src/ledger/divergence.ts';
import { createStageTable } from '../src/ledger/stages.ts';
import { Secret } from '../src/secret.ts';
import type { Stage } from '../src/stage.ts';
import { newPassword } from './kit/conformance.ts';
import { atEnd } from './kit/files.ts';
import { type Passferry, startPassferry, v2Token } from './kit/passferry.ts';
import { waitFor } from './kit/wait.ts';

const keys = redisKeys('passferry');
const org = 'acme';
const signal = new AbortController().signal;

let pf: Passferry;
let table: ReturnType<typeof createStageTable>;
let divergences: ReturnType<typeof createDivergences>;

beforeAll(async () => {
  pf = await startPassferry({ proxies: true, deadlineMs: 2_000, v1Cost: 10, workEnv: { PASSFERRY_PROOF_SHARE: '1' } });
  const redis = new Redis(pf.redis.url);
  atEnd(async () => redis.disconnect());
  table = createStageTable(redis, keys, readJobKey(pf.keysDir));
  divergences = createDivergences(redis, keys);
});

async function stage(next: Stage, percent = 0): Promise<void> {
  const now = await table.of(org, { default: 'v1', organizations: {} });
  await table.set(org, await table.stored(org), { stage: next, percent, by: 'test' }, now);
}

/** Somebody whom both backends know. */
async function addUser(): Promise<string> {
  const id = randomUUID();
  await pf.v1.addUsers([{ id, org, userName: id }]);
  await pf.sandbox.addUser({ id, org, userName: id });
  return id;
}

const inV1 = (user: string, password: string) => pf.v1.prove?.(org, user, Secret.fromString(password), signal);
const inV2 = (user: string, password: string) => pf.sandbox.verify(user, password);
/** As the user's own application would. */
async function setInV2(user: string, password: string): Promise<void> {
  const response = await fetch(`${pf.sandbox.url}/v2/users/${user}/password`, {
    method: 'POST',
    headers: { authorization: `Bearer ${v2Token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ newPassword: { password } }),
  });
  expect(response.status).toBe(200);
}
const changes = (user: string) => pf.sandbox.users.get(user)?.changes ?? [];
const inStep = () => waitFor(async () => (await divergences.count(org)) === 0, { what: 'all to be in step' });
const cause = (user: string, is: string) =>
  waitFor(async () => (await divergences.of(org, user))?.cause === is, { what: is });

describe('at dual-v1', () => {
  beforeAll(() => stage('dual-v1'));

  it('brings the hash of v1 to v2, with the change flag', async () => {
    const user = await addUser();
    const password = newPassword();
    expect((await pf.set(org, user, password)).status).toBe(200);
    await inStep();
    expect(await inV1(user, password)).toBe(true);
    expect(await inV2(user, password)).toBe(true);
    expect(changes(user).map(({ hashed, changeRequired }) => [hashed, changeRequired])).toEqual([[true, true]]);
  });

  it('answers the caller though v2 is down, knows who is behind, and makes up for it', async () => {
    await pf.v2Proxy?.cut();
    const users = [await addUser(), await addUser(), await addUser()];
    const passwords = users.map(() => newPassword());
    for (const [i, user] of users.entries()) expect((await pf.set(org, user, passwords[i] as string)).status).toBe(200);
    expect(await divergences.count(org)).toBe(3);
    await cause(users[0] as string, 'backend_down');
    await pf.v2Proxy?.restore();
    await inStep();
    for (const [i, user] of users.entries()) {
      expect(await inV2(user, passwords[i] as string)).toBe(true);
      expect(changes(user)).toHaveLength(1);
    }
  });

  it('never overwrites what the user chose in v2 itself', async () => {
    const user = await addUser();
    await pf.set(org, user, newPassword());
    await inStep();
    const chosen = newPassword();
    await setInV2(user, chosen);
    await divergences.note({ org, user }, { follower: 'v2', seq: '1', tries: 0, cause: 'pending' }, 0);
    await cause(user, 'ahead');
    expect(await inV2(user, chosen)).toBe(true);
    await divergences.settle({ org, user }, '1');
  });

  it('says who is unknown in v2, and whose names differ', async () => {
    const missing = randomUUID();
    await pf.v1.addUsers([{ id: missing, org, userName: missing }]);
    const other = randomUUID();
    await pf.v1.addUsers([{ id: other, org, userName: 'somebody', email: 'a@example.com' }]);
    await pf.sandbox.addUser({ id: other, org, userName: 'another', email: 'b@example.com' });
    for (const user of [missing, other]) expect((await pf.set(org, user, newPassword())).status).toBe(200);
    await cause(missing, 'user_missing_in_v2');
    await cause(other, 'identity_mismatch');
    expect(changes(other)).toEqual([]);
    expect((await divergences.list(org, '0', 100)).list.map(({ user, nextTry }) => [user, nextTry])).toEqual(
      expect.arrayContaining([
        [missing, undefined],
        [other, undefined],
      ]),
    );
    await pf.sandbox.addUser({ id: missing, org, userName: missing });
    expect(await divergences.redrive(org, 'user_missing_in_v2')).toBe(1);
    await waitFor(async () => (await divergences.count(org)) === 1, { what: 'one of them' });
    await divergences.settle({ org, user: other }, '9999999999999999');
  });
});

describe('at dual-v2', () => {
  beforeAll(() => stage('dual-v2'));

  it('sets the password in v2 and gives v1 a hash of its own', async () => {
    const user = await addUser();
    const password = newPassword();
    expect((await pf.set(org, user, password)).status).toBe(200);
    await inStep();
    expect(await inV1(user, password)).toBe(true);
    expect(await inV2(user, password)).toBe(true);
    expect(changes(user).map(({ hashed }) => hashed)).toEqual([false]);
    expect((await pf.v1.readUser(org, user, signal)).changeRequired).toBe(true);
  });

  it('keeps the sealed hash while v1 cannot be written, and loses nothing', async () => {
    const redis = new Redis(pf.redis.url);
    const user = randomUUID();
    await pf.sandbox.addUser({ id: user, org, userName: user });
    const password = newPassword();
    expect((await pf.set(org, user, password)).status).toBe(200);
    await cause(user, 'COMMAND-G8dh3');
    // What is in step up to an older change is not in step with this one.
    await divergences.settle({ org, user }, '0');
    expect(await redis.get(keys.follow(org, user))).toMatch(/"sealed"/);
    await pf.v1.addUsers([{ id: user, org, userName: user }]);
    await divergences.redrive(org);
    await inStep();
    expect(await inV1(user, password)).toBe(true);
    expect(await redis.exists(keys.follow(org, user))).toBe(0);
    redis.disconnect();
  });

  it('holds a v2 that says it set a password and did not', async () => {
    const user = await addUser();
    await pf.set(org, user, newPassword());
    await inStep();
    pf.sandbox.faults.add({ call: 'SetPassword', times: 1, fault: { kind: 'no-effect' } });
    const { body } = await pf.set(org, user, newPassword(), { headers: { prefer: 'respond-async' } });
    expect((await pf.done(body.id)).outcome).toMatchObject({ reason: 'proof_failed', inEffect: false });
    const redis = new Redis(pf.redis.url);
    expect(await redis.get(keys.hold('v2'))).toMatch(/proof_failed/);
    await redis.del(keys.hold('v2'));
    redis.disconnect();
  });

  it('goes back to dual-v1 with nothing lost', async () => {
    const user = await addUser();
    const [first, second, third] = [newPassword(), newPassword(), newPassword()];
    await pf.set(org, user, first);
    await inStep();
    await stage('dual-v1');
    await pf.set(org, user, second);
    await inStep();
    expect([await inV1(user, second), await inV2(user, second)]).toEqual([true, true]);
    await stage('dual-v2');
    await pf.set(org, user, third);
    await inStep();
    expect([await inV1(user, third), await inV2(user, third)]).toEqual([true, true]);
  });
});

describe('while the stage changes', () => {
  it('writes each user by one setting at a time, and everybody ends in step', async () => {
    const users = await Promise.all(Array.from({ length: 20 }, addUser));
    const last = new Map<string, string>();
    const steps: Stage[] = ['dual-v1', 'dual-v2', 'dual-v1', 'dual-v2', 'dual-v1'];
    let moving = true;
    const writing = Promise.all(
      users.map(async (user) => {
        while (moving) {
          const password = newPassword();
          const { status } = await pf.set(org, user, password);
          if (status === 200) last.set(user, password);
          else expect(status).toBe(200);
        }
      }),
    );
    for (const [i, next] of steps.entries()) {
      await stage(next, i === 2 ? 50 : 0);
      const done = last.size;
      await waitFor(() => last.size >= Math.min(done, users.length) && last.size > 0, { what: 'changes to go on' });
    }
    moving = false;
    await writing;
    await inStep();
    for (const [user, password] of last) {
      expect([user, await inV1(user, password), await inV2(user, password)]).toEqual([user, true, true]);
    }
  });
});
