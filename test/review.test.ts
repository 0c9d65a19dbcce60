import { expect, it } from 'vitest';
import { createProducer } from '../src/index.ts';
import { describeError } from '../src/log.ts';
import { startPassferry } from './kit/passferry.ts';
import { waitFor } from './kit/wait.ts';

/** Faults that a stranger found, each with the whole of its kind. */

it('logs frames of a foreign error and nothing of its text, however many lines it has (P4)', () => {
  for (const text of ['one', 'bad row\nsecret-1\nmore', '\n\nsecret-1', '   at-secret-1']) {
    const error = new Error(text);
    const logged = JSON.stringify([describeError(error), describeError(Object.assign(error, { code: 'EX' }))]);
    expect(logged).not.toContain('secret-1');
  }
  expect(describeError('secret-1')).toEqual({ kind: 'string' });
});

it('says at once what is wrong with the library’s settings', async () => {
  const bad = (options: { redisUrl: string; keysDir: string }) =>
    createProducer(options).then(
      () => 'made',
      (error) => error.reason,
    );
  expect(await bad({ redisUrl: 'x', keysDir: '/nowhere' })).toBe('config_invalid');
  expect(await bad({ redisUrl: 'redis://127.0.0.1:1', keysDir: '/nowhere' })).toBe('config_invalid');
});

it('refuses another file under the key of an import, and keeps what the import was', async () => {
  const passferry = await startPassferry();
  await passferry.addV1({ id: 'u1', org: 'acme' });
  await passferry.addV1({ id: 'u2', org: 'acme' });
  const send = (row: string) =>
    passferry.post('/imports?asOf=now', `userId,password\n${row}\n`, {
      headers: { 'content-type': 'text/csv', 'idempotency-key': 'one-key' },
    });
  const first = await send('u1,Fresh-password-1');
  expect(first.status).toBe(202);
  const { id } = first.body as { id: string };
  const view = async () => (await passferry.get(`/imports/${id}`)).body as { state: string; set: number };
  await waitFor(async () => (await view()).state === 'completed', { what: 'the import to end' });
  const other = await send('u2,Fresh-password-2');
  expect(other).toMatchObject({ status: 422, body: { reason: 'idempotency_key_reused' } });
  expect(await view()).toMatchObject({ state: 'completed', set: 1, received: 1 });
  expect(await passferry.works('acme', 'u2', 'Fresh-password-2')).toBe(false);
  await passferry.close();
});

it('tells rejects of a row only to those who were granted its organization (P5)', async () => {
  const passferry = await startPassferry();
  const file = 'userId,password,orgId\nnobody-1,Fresh-password-1,acme\nnobody-2,Fresh-password-1,globex\n';
  const answer = await passferry.post('/imports?asOf=now', file, { headers: { 'content-type': 'text/csv' } });
  const { id } = answer.body as { id: string };
  const state = async () => ((await passferry.get(`/imports/${id}`)).body as { state: string }).state;
  await waitFor(async () => (await state()) === 'completed', { what: 'the import to end' });
  const full = await passferry.get(`/imports/${id}/rejects`);
  expect(full.text).toContain('nobody-2');
  const reader = await passferry.get(`/imports/${id}/rejects`, { as: 'reader' });
  expect(reader.text).toContain('nobody-1');
  expect(reader.text).not.toContain('nobody-2');
  await passferry.close();
});
