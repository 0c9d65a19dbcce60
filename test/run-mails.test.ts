import { beforeAll, describe, expect, it } from 'vitest';
import { createV2Zitadel } from '../src/adapters/v2-zitadel/index.ts';
import { credential } from '../src/credential.ts';
import { startSandbox } from '../src/sandbox/sandbox.ts';
import { names, type RunBackends, startRunBackends } from './kit/run-backends.ts';
import { waitFor } from './kit/wait.ts';

/** A run sends no mails that nobody allowed: ZITADEL mails whoever's password was changed, v1 does not. */

describe('a run whose rows would have users mailed', () => {
  let scene: RunBackends;
  /** The notification policy of globex, as somebody may turn it off. */
  const policy = { mails: true as boolean | undefined };

  beforeAll(async () => {
    scene = await startRunBackends({ mails: true });
    const v2 = Object.create(scene.v2);
    v2.mailsOnChange = async (org: string, signal: AbortSignal) => {
      const told = await scene.v2.mailsOnChange?.(org, signal);
      return policy.mails === true ? told : policy.mails;
    };
    await scene.worker({ v2 });
  });

  async function users(org: 'acme' | 'globex', prefix: string, n: number) {
    const ids = names(prefix, n);
    await scene.addUsers(org, ids);
    return ids.map((user) => ({ user }));
  }

  const sent = (prefix: string) =>
    scene.sandbox.calls.filter(({ call, user }) => call === 'SetPassword' && user?.startsWith(prefix)).length;

  it('holds before its first row, and says how many mails and what to do', async () => {
    const id = await scene.run('globex', await users('globex', 'first', 12));
    const held = await scene.until(id, 'holding');
    expect(held).toMatchObject({ reason: 'mails_not_allowed', mails: 12, finished: 0, inflight: 0 });
    expect(held.advice).toContain('mails=allow');
    expect(sent('first')).toBe(0);
    await scene.producer.runs.order(id, 'resume', { mails: 'allow' });
    expect(await scene.until(id, 'completed')).toMatchObject({ set: 12 });
  });

  it('counts the rows of such organizations alone, refused ones not', async () => {
    const rows = [
      ...(await users('acme', 'mixed-a', 520)),
      ...(await users('globex', 'mixed-g', 3)).map((row) => ({ ...row, org: 'globex' })),
      { user: '', org: 'globex', refused: 'user_id_missing' },
    ];
    const id = await scene.run('acme', rows);
    expect(await scene.until(id, 'holding')).toMatchObject({ reason: 'mails_not_allowed', mails: 3, finished: 0 });
    await scene.producer.runs.order(id, 'cancel');
    expect(await scene.until(id, 'cancelled')).toMatchObject({ canceled: 523, set: 0 });
  });

  it('holds again when it is resumed without a word of mails, and goes on when the policy was turned off', async () => {
    const id = await scene.run('globex', await users('globex', 'again', 4));
    await scene.until(id, 'holding');
    await scene.producer.runs.order(id, 'resume');
    expect(await scene.until(id, 'holding')).toMatchObject({ reason: 'mails_not_allowed', mails: 4 });
    policy.mails = false;
    await scene.producer.runs.order(id, 'resume');
    expect(await scene.until(id, 'completed')).toMatchObject({ set: 4, mails: 0 });
    policy.mails = true;
  });

  it('counts what cannot be read as on', async () => {
    policy.mails = undefined;
    const id = await scene.run('globex', await users('globex', 'unread', 2));
    expect(await scene.until(id, 'holding')).toMatchObject({ reason: 'mails_not_allowed', mails: 2 });
    policy.mails = true;
    await scene.producer.runs.order(id, 'cancel');
  });

  it('does not hold when it may send them, towards v1, as a dry run, or when it was allowed in time', async () => {
    const allowed = await scene.run('globex', await users('globex', 'allowed', 3), { mails: 'allow' });
    const v1 = await scene.run('acme', await users('acme', 'silent', 3));
    const dry = await scene.run('globex', await users('globex', 'dry', 3), { dryRun: true });
    expect(await scene.until(allowed, 'completed')).toMatchObject({ set: 3 });
    expect(await scene.until(v1, 'completed')).toMatchObject({ set: 3 });
    expect(await scene.until(dry, 'completed')).toMatchObject({ wouldSet: 3, forecast: { mails: 3 } });
    for (const id of [allowed, v1, dry]) expect((await scene.view(id)).mails).toBeUndefined();
  });

  it('holds for a reset to random passwords too, and not for links that were asked for', async () => {
    const rows = await users('globex', 'random', 2);
    const random = await scene.run('globex', rows, { reset: { mode: 'random', by: 'id' } });
    expect(await scene.until(random, 'holding')).toMatchObject({ reason: 'mails_not_allowed', mails: 2 });
    await scene.producer.runs.order(random, 'cancel');
    const link = await scene.run('globex', rows, { reset: { mode: 'link', by: 'id' } });
    expect(await scene.until(link, 'completed')).not.toHaveProperty('mails');
  });

  it('is not asked about a backend that does not answer: it waits for that first', async () => {
    const rows = await users('globex', 'down', 2);
    const away = scene.sandbox.faults.add({ call: 'GetNotificationPolicy', fault: { kind: '503' } });
    const id = await scene.run('globex', rows);
    const asked = () => scene.sandbox.calls.some(({ call }) => call === 'GetNotificationPolicy');
    await waitFor(asked, { what: 'the policy to be asked for' });
    expect(sent('down')).toBe(0);
    away();
    const held = async () => (await scene.view(id)).reason === 'mails_not_allowed';
    await waitFor(held, { what: 'the run to hold for mails' });
    await scene.producer.runs.order(id, 'cancel');
  });
});

it('a policy that may not be read is told as unknown, one that is off as off', async () => {
  const box = await startSandbox({
    ...{ bcryptCost: 4, orgs: ['globex', 'quiet'], silentOrgs: ['quiet'] },
    tokens: {
      weak: { userId: 'w', roles: { instance: ['IAM_USER_MANAGER'] } },
      strong: { userId: 's', roles: { instance: ['IAM_OWNER'] } },
    },
  });
  const told = async (value: string, org: string) => {
    const v2 = createV2Zitadel({ url: box.url, credential: credential({ value }) });
    const answer = await v2.mailsOnChange?.(org, AbortSignal.timeout(5_000));
    await v2.close();
    return answer;
  };
  expect([await told('weak', 'globex'), await told('strong', 'globex'), await told('strong', 'quiet')]).toEqual([
    undefined,
    true,
    false,
  ]);
  await box.close();
});
