import { randomBytes, randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { PassferryError } from '../src/errors.ts';
import { failure, type SetPasswordData } from '../src/job.ts';
import { readFingerprintKey, readJobKey, readPublicKeys } from '../src/key-files.ts';
import { redisKeys } from '../src/keys.ts';
import { createLedger } from '../src/ledger/ledger.ts';
import { createProducer } from '../src/producer/producer.ts';
import { connectRedis } from '../src/redis.ts';
import { Secret } from '../src/secret.ts';
import { atEnd } from './kit/files.ts';
import type { Answer } from './kit/passferry.ts';
import { startPassferry } from './kit/passferry.ts';
import { waitFor } from './kit/wait.ts';

const pf = await startPassferry({ proxies: true });
const toV2 = pf.v2Proxy as NonNullable<typeof pf.v2Proxy>;
const redis = connectRedis({ url: pf.redis.url }, 'worker');
atEnd(() => redis.disconnect());
const retentionMs = 7 * 86_400_000;
const ledger = createLedger({
  ...{ redis, keys: redisKeys('passferry'), jobKey: readJobKey(pf.keysDir), retentionMs },
});

const newPassword = () => `New-${randomUUID()}-1`;
const keyed = (key: string, more: Record<string, string> = {}) => ({ headers: { 'idempotency-key': key, ...more } });
const reasonOf = (answer: Answer) => answer.headers.get('passferry-reason');
const jobOf = (answer: Answer) => answer.headers.get('passferry-job') as string;
const replayed = (answer: Answer) => answer.headers.get('idempotency-replayed');

async function person(org: 'acme' | 'globex' = 'acme') {
  const user = randomUUID();
  await pf.addUser(org, user);
  return user;
}

describe('the same request under the same key', () => {
  it('is the same job with the outcome that was recorded', async () => {
    const [user, password, key] = [await person(), newPassword(), randomUUID()];
    const first = await pf.set('acme', user, password, keyed(key));
    // Would the replay run, it would take this back.
    expect((await pf.set('acme', user, `${password}x`)).status).toBe(200);
    const again = await pf.set('acme', user, password, keyed(key));
    expect([first.status, again.status]).toEqual([200, 200]);
    expect([jobOf(again), again.body, replayed(first), replayed(again)]).toEqual([
      ...[jobOf(first), first.body, null, 'true'],
    ]);
    expect(await pf.works('acme', user, `${password}x`)).toBe(true);
  });

  it('gets the same refusal', async () => {
    const [user, key] = [await person(), randomUUID()];
    const answers = [await pf.set('acme', user, 'short', keyed(key)), await pf.set('acme', user, 'short', keyed(key))];
    expect(answers.map(({ status }) => status)).toEqual([400, 400]);
    expect(answers[1]?.body).toEqual(answers[0]?.body);
    expect(answers.map(replayed)).toEqual([null, 'true']);
    expect(answers.map(jobOf)[1]).toBe(answers.map(jobOf)[0]);
  });

  it('waits for the job that still runs, also from many at once', async () => {
    const [user, password, key] = [await person('globex'), newPassword(), randomUUID()];
    toV2.delay(300);
    const answers = await Promise.all([1, 2, 3, 4].map(() => pf.set('globex', user, password, keyed(key))));
    toV2.delay(0);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect(new Set(answers.map(jobOf)).size).toBe(1);
    expect(answers.filter((each) => replayed(each) === 'true')).toHaveLength(3);
  });

  it('runs again as a new job when the first ended expired; the old one stays readable', async () => {
    const [user, password, key] = [await person('globex'), newPassword(), randomUUID()];
    toV2.cut();
    const brief = { prefer: 'respond-async', 'passferry-expires-in': '1' };
    const first = await pf.set('globex', user, password, keyed(key, brief));
    expect(await pf.done(jobOf(first))).toMatchObject({ outcome: { code: 'expired' } });
    await toV2.restore();
    const both = await Promise.all([1, 2].map(() => pf.set('globex', user, password, keyed(key))));
    expect(both.map(({ status }) => status)).toEqual([200, 200]);
    expect(new Set(both.map(jobOf)).size).toBe(1);
    expect(both.map(jobOf)[0]).not.toBe(jobOf(first));
    expect(both.map(replayed).sort()).toEqual([null, 'true'].sort());
    expect(await pf.works('globex', user, password)).toBe(true);
    expect((await pf.get(`/jobs/${jobOf(first)}`)).body.outcome.code).toBe('expired');
    const [old, now] = await Promise.all([ledger.job(jobOf(first)), ledger.job(jobOf(both[0] as Answer))]);
    expect(BigInt(now?.seq ?? 0)).toBeGreaterThan(BigInt(old?.seq ?? 0));
    // Now the key has a good outcome, and that one stays.
    expect(jobOf(await pf.set('globex', user, password, keyed(key)))).toBe(both.map(jobOf)[0]);
  });

  it('stays canceled', async () => {
    const [user, password, key] = [await person('globex'), newPassword(), randomUUID()];
    toV2.cut();
    const first = await pf.set('globex', user, password, keyed(key, { prefer: 'respond-async' }));
    const jobId = jobOf(first);
    const data = { jobId, org: 'globex', user } as SetPasswordData;
    await ledger.commit(data, failure(new PassferryError('job_canceled'), 0));
    await toV2.restore();
    const again = await pf.set('globex', user, password, keyed(key));
    expect([again.status, reasonOf(again), jobOf(again), replayed(again)]).toEqual([
      ...[499, 'job_canceled', jobId, 'true'],
    ]);
    expect(await pf.works('globex', user, password)).toBe(false);
  });
});

describe('another request under the key', () => {
  it('is refused with 422 in the shape of v1, and after five of them everything is', async () => {
    const [user, other, password, key] = [await person(), await person(), newPassword(), randomUUID()];
    expect((await pf.set('acme', user, password, keyed(key))).status).toBe(200);
    const mismatches = [await pf.set('acme', other, password, keyed(key))];
    for (let i = 0; i < 4; i++) mismatches.push(await pf.set('acme', user, newPassword(), keyed(key)));
    for (const each of mismatches) {
      expect([each.status, reasonOf(each)]).toEqual([422, 'idempotency_key_reused']);
      expect(each.body).toEqual({ code: 9, message: expect.any(String) });
      expect(each.headers.get('idempotency-key')).toBe(key);
    }
    for (const each of [password, newPassword()]) {
      const locked = await pf.set('acme', user, each, keyed(key));
      expect([locked.status, reasonOf(locked), locked.body.code]).toEqual([422, 'idempotency_key_locked', 9]);
    }
    expect(await pf.works('acme', user, password)).toBe(true);
  });

  it("is no matter between callers or organizations: nobody learns of another one's key", async () => {
    const [user, there, key] = [await person(), await person('globex'), randomUUID()];
    const answers = [
      await pf.set('acme', user, newPassword(), keyed(key)),
      await pf.set('acme', user, newPassword(), { as: 'admin', ...keyed(key) }),
      await pf.set('globex', there, newPassword(), keyed(key)),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
    expect(answers.map(replayed)).toEqual([null, null, null]);
    expect(new Set(answers.map(jobOf)).size).toBe(3);
  });
});

describe('the key itself', () => {
  it('is made when none is sent, and told on errors too', async () => {
    const user = await person();
    const answers = [
      await pf.set('acme', user, newPassword()),
      await pf.set('acme', randomUUID(), newPassword()),
      await pf.set('acme', user, ''),
      await pf.post(`/users/${user}/password`, 'no json'),
      await pf.post(`/users/${user}/password`, { password: 'x'.repeat(70_000) }),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 400, 400, 400, 413]);
    const made = answers.map(({ headers }) => headers.get('idempotency-key'));
    for (const each of made) expect(each).toMatch(/^pf-[0-9a-f]{32}(\.\w+\.[\w-]{22})?$/);
    expect(new Set(made).size).toBe(made.length);
  });

  it('that was made proves which request it names, and nothing of the password is stored for that', async () => {
    const [user, password] = [await person(), newPassword()];
    const first = await pf.set('acme', user, password);
    const [key, job] = [first.headers.get('idempotency-key'), first.headers.get('passferry-job')] as [string, string];
    expect(await redis.hmget(redisKeys('passferry').job(job), 'fingerprint', 'joinable')).toEqual(['made.same', null]);

    const again = await pf.set('acme', user, password, keyed(key));
    expect([again.status, again.headers.get('passferry-job')]).toEqual([200, job]);
    const altered = key.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A'));
    const others = [
      await pf.set('acme', user, newPassword(), keyed(key)),
      await pf.set('acme', await person(), password, keyed(key)),
    ];
    expect(others.map((each) => [each.status, reasonOf(each)])).toEqual([
      [422, 'idempotency_key_reused'],
      [422, 'idempotency_key_reused'],
    ]);
    // One that only looks like ours is a key of its caller's.
    const own = await pf.set('acme', user, password, keyed(altered));
    expect(own.headers.get('passferry-job')).not.toBe(job);
    const fingerprint = await redis.hget(
      redisKeys('passferry').job(own.headers.get('passferry-job') as string),
      'fingerprint',
    );
    expect(fingerprint).not.toMatch(/^made/);
  });

  it.each([
    ['empty', ''],
    ['too long', 'k'.repeat(256)],
    ['with a tab', 'a\tb'],
    ['not ASCII', 'schlüssel'],
  ])('is refused when it is %s', async (_, key) => {
    const answer = await pf.set('acme', randomUUID(), newPassword(), keyed(key));
    expect([answer.status, reasonOf(answer), answer.body.code]).toEqual([400, 'idempotency_key_invalid', 3]);
    expect(answer.headers.get('idempotency-key')).toBeNull();
  });

  it('may have 255 characters', async () => {
    const answer = await pf.set('acme', await person(), newPassword(), keyed('k'.repeat(255)));
    expect(answer.status).toBe(200);
  });

  it('is remembered for the retention after the outcome at least', async () => {
    const [user, key] = [await person(), randomUUID()];
    const before = new Set(await redis.keys('*:key:*'));
    const answer = await pf.set('acme', user, newPassword(), keyed(key, { 'passferry-expires-in': '60' }));
    const mine = (await redis.keys('*:key:*')).filter((name) => !before.has(name));
    expect(mine).toHaveLength(1);
    expect(await redis.pttl(mine[0] as string)).toBeGreaterThan(retentionMs);
    const left = await redis.pttl(redisKeys('passferry').job(jobOf(answer)));
    expect(left).toBeGreaterThan(retentionMs - 60_000);
    expect(left).toBeLessThanOrEqual(retentionMs);
  });
});

/** A producer as another process would have it, with its own clock and job key. */
async function producerWith(over: { now?: () => number; jobKey?: { current: Buffer; previous?: Buffer } } = {}) {
  const own = connectRedis({ url: pf.redis.url }, 'producer');
  await new Promise((resolve) => own.once('ready', resolve));
  const producer = createProducer({
    redis: own,
    connectEvents: () => connectRedis({ url: pf.redis.url }, 'worker'),
    ...{ keys: redisKeys('passferry'), publicKeys: readPublicKeys(pf.keysDir), retentionMs },
    jobKey: over.jobKey ?? readJobKey(pf.keysDir),
    fingerprintKey: readFingerprintKey(pf.keysDir, over.now),
  });
  atEnd(() => producer.close());
  return (user: string, password: string, idempotencyKey: string) =>
    producer.setPassword(
      { caller: 'full', admin: false },
      { org: 'acme', user, password: Secret.fromString(password), changeRequired: true },
      { idempotencyKey },
    );
}

describe('rotation', () => {
  const dayMs = 86_400_000;

  it("knows the request of an earlier day, and refuses it once that day's key is gone", async () => {
    const [user, password, key] = [await person(), newPassword(), randomUUID()];
    const first = await pf.set('acme', user, password, keyed(key));
    const tomorrow = await producerWith({ now: () => Date.now() + dayMs });
    expect(await tomorrow(user, password, key)).toMatchObject({ jobId: jobOf(first), replayed: true });
    const reused = expect.objectContaining({ reason: 'idempotency_key_reused' });
    await expect(tomorrow(user, newPassword(), key)).rejects.toEqual(reused);
    // The producer of today finds the key that the other one has made.
    const other = randomUUID();
    const made = await tomorrow(user, password, other);
    const again = await pf.set('acme', user, password, keyed(other));
    expect([jobOf(again), replayed(again)]).toEqual([made.jobId, 'true']);

    const jobKey = redisKeys('passferry').job(jobOf(first));
    const [, mac] = ((await redis.hget(jobKey, 'fingerprint')) as string).split('.');
    await redis.hset(jobKey, 'fingerprint', `000000.${mac}`);
    for (let i = 0; i < 6; i++) await expect(tomorrow(user, password, key)).rejects.toEqual(reused);
  });

  it('of the job key leaves idempotency keys as they are', async () => {
    const [user, password, key] = [await person(), newPassword(), randomUUID()];
    const first = await pf.set('acme', user, password, keyed(key));
    await waitFor(async () => (await ledger.job(jobOf(first)))?.outcome, { what: 'the outcome' });
    const rotated = await producerWith({
      jobKey: { current: randomBytes(32), previous: readJobKey(pf.keysDir).current },
    });
    expect(await rotated(user, password, key)).toMatchObject({ jobId: jobOf(first), replayed: true });
    await expect(rotated(user, newPassword(), key)).rejects.toMatchObject({ reason: 'idempotency_key_reused' });
  });
});
