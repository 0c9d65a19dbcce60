import { randomUUID } from 'node:crypto';
import { Code } from '@connectrpc/connect';
import { beforeEach, describe, expect, it } from 'vitest';
import { newPassword } from './kit/conformance.ts';
import { startPassferry, tokens } from './kit/passferry.ts';
import { type CallOptions, type Fields, rpcClients, type Told } from './kit/rpc-clients.ts';

// Globex's backend is a black hole until a test opens it.
const pf = await startPassferry({ proxies: true, deadlineMs: 60_000 });
const toV2 = pf.v2Proxy as NonNullable<typeof pf.v2Proxy>;
const grpc = rpcClients[0] as (typeof rpcClients)[number];
const inGlobex = { 'x-zitadel-orgid': 'globex' };

const set = (fields: Fields, { headers, ...options }: Partial<CallOptions> = {}) =>
  grpc.set(pf.url, fields, {
    ...{ token: tokens.full, timeoutMs: 20_000 },
    ...options,
    // Without a deadline of its own a request is only left there.
    headers: { ...inGlobex, ...(options.timeoutMs === undefined && { prefer: 'wait=0' }), ...headers },
  });
const jobOf = (told: Told) => told.headers.get('passferry-job') as string;

async function request(): Promise<Fields> {
  const user = randomUUID();
  await pf.addUser('globex', user);
  return { userId: user, password: newPassword() };
}

beforeEach(async () => {
  await toV2.restore();
});

describe('a caller with a deadline', () => {
  it('hears of its job before that, and the same key picks it up', async () => {
    const fields = await request();
    toV2.blackhole();
    const pending = await set(fields, { timeoutMs: 2_000 });
    expect(pending).toMatchObject({ code: Code.DeadlineExceeded, message: expect.stringContaining('accepted') });
    expect(pending.id).toBeUndefined();
    const { headers } = pending;
    expect(headers.get('passferry-job')).toMatch(/^j0-/);
    expect(headers.get('idempotency-key')).toMatch(/^pf-/);
    expect(headers.get('link')).toBe(`</jobs/${jobOf(pending)}>; rel="monitor"`);
    expect(headers.get('retry-after')).toBe('2');
    expect(headers.get('passferry-reason')).toBe('wait_over');

    await toV2.restore();
    const key = { 'idempotency-key': headers.get('idempotency-key') as string };
    const picked = await set(fields, { timeoutMs: 20_000, headers: key });
    expect(picked).toMatchObject({ code: 0, owner: 'globex' });
    expect(jobOf(picked)).toBe(jobOf(pending));
    expect(picked.headers.get('idempotency-replayed')).toBe('true');
    expect(await pf.works('globex', fields.userId, fields.password)).toBe(true);
  });

  it('hears the same over REST by Prefer: wait', async () => {
    const fields = await request();
    toV2.blackhole();
    const answer = await pf.set('globex', fields.userId, fields.password, { headers: { prefer: 'wait=0' } });
    expect(answer).toMatchObject({ status: 504, body: { code: 4 } });
    expect(answer.headers.get('link')).toBe(`</jobs/${answer.headers.get('passferry-job')}>; rel="monitor"`);
    expect(answer.headers.get('retry-after')).toBe('2');
    expect(answer.headers.get('preference-applied')).toBe('wait=0');
  });
});

describe('without a key', () => {
  it('an equal request joins the open job of its caller, over any protocol, until that ends', async () => {
    const fields = await request();
    toV2.blackhole();
    const first = await set({ ...fields, noChangeRequired: true });
    const again = await set({ ...fields, noChangeRequired: true });
    const { userId, password } = fields;
    const rest = await pf.post(
      `/users/${userId}/password`,
      { password, noChangeRequired: true },
      { headers: { ...inGlobex, prefer: 'wait=0' } },
    );
    expect([jobOf(again), rest.headers.get('passferry-job')]).toEqual([jobOf(first), jobOf(first)]);
    // Each has a key of its own, and each of them names the job.
    const keys = [first.headers.get('idempotency-key'), again.headers.get('idempotency-key')];
    expect(new Set(keys).size).toBe(2);

    await toV2.restore();
    expect((await pf.done(jobOf(first))).outcome).toMatchObject({ inEffect: true });
    for (const key of keys) {
      const named = await set(
        { ...fields, noChangeRequired: true },
        {
          timeoutMs: 20_000,
          headers: { 'idempotency-key': key as string },
        },
      );
      expect([named.code, jobOf(named)]).toEqual([0, jobOf(first)]);
    }
    const later = await set({ ...fields, noChangeRequired: true }, { timeoutMs: 20_000 });
    expect(later.code).toBe(0);
    expect(jobOf(later)).not.toBe(jobOf(first));
  });

  it.each<[string, (fields: Fields) => [Fields, Partial<CallOptions>]]>([
    ['another password', (fields) => [{ ...fields, password: newPassword() }, {}]],
    ['the other flag', (fields) => [{ ...fields, noChangeRequired: true }, {}]],
    ['another caller', (fields) => [fields, { token: tokens.admin }]],
    ['a key', (fields) => [fields, { headers: { 'idempotency-key': randomUUID() } }]],
  ])('a request with %s is a job of its own', async (_, other) => {
    const fields = await request();
    toV2.blackhole();
    const first = await set(fields);
    const second = await set(...other(fields));
    expect([first.code, second.code]).toEqual([Code.DeadlineExceeded, Code.DeadlineExceeded]);
    expect(jobOf(second)).not.toBe(jobOf(first));
  });

  it('an older equal request is not joined past a newer one', async () => {
    const fields = await request();
    toV2.blackhole();
    const first = await set(fields);
    await set({ ...fields, password: newPassword() });
    expect(jobOf(await set(fields))).not.toBe(jobOf(first));
  });
});

describe('what v1 has no word for', () => {
  it('is good with its result: superseded', async () => {
    const fields = { userId: randomUUID(), password: newPassword() };
    const key = { 'idempotency-key': randomUUID() };
    const options = { timeoutMs: 20_000, headers: key };
    const refused = await set(fields, options);
    expect(refused).toMatchObject({ code: Code.FailedPrecondition, id: 'COMMAND-G8dh3' });
    await pf.addUser('globex', fields.userId);
    expect(await set({ ...fields, password: newPassword() }, { timeoutMs: 20_000 })).toMatchObject({ code: 0 });
    await pf.post(`/jobs/${jobOf(refused)}:retry`, undefined);
    expect((await pf.done(jobOf(refused))).outcome).toMatchObject({ result: 'superseded', inEffect: false });
    const told = await set(fields, options);
    expect(told.code).toBe(0);
    expect(told.headers.get('passferry-result')).toBe('superseded');
    expect(jobOf(told)).toBe(jobOf(refused));
  });
});
