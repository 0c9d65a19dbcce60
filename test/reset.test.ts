import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { Redis } from 'ioredis';
import { compactDecrypt } from 'jose';
import { beforeAll, describe, expect, test } from 'vitest';
import type { RunView } from '../src/run.ts';
import { readRedis } from './kit/canary.ts';
import { type Passferry, startPassferry } from './kit/passferry.ts';
import { waitFor } from './kit/wait.ts';

let world: Passferry;
let n = 0;

beforeAll(async () => {
  world = await startPassferry();
});

const old = 'Old-password-1';

/** A user in globex, where v2 is. */
async function user(more: { email?: string; userName?: string; org?: string } = {}): Promise<string> {
  const id = `u${++n}`;
  await world.addV2({ id, org: 'globex', userName: id, password: old, ...more });
  return id;
}

const ask = (query: string, body: string, headers: Record<string, string> = {}, org = 'globex') =>
  world.post(`/resets?${query}`, body, { headers: { 'content-type': 'text/csv', 'x-zitadel-orgid': org, ...headers } });

const over = (id: string): Promise<RunView> =>
  waitFor(
    async () => {
      const { body } = await world.get(`/imports/${id}`);
      return body.state === 'completed' ? (body as RunView) : undefined;
    },
    { what: `run ${id} to be over` },
  );

async function reset(query: string, body: string, headers: Record<string, string> = {}): Promise<RunView> {
  const answer = await ask(query, body, headers);
  expect(answer.status, answer.text).toBe(202);
  return over(answer.body.id);
}

async function rejects(run: RunView) {
  const { text } = await world.get(`/imports/${run.id}/rejects`);
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

const mailsTo = (id: string) => world.sandbox.mails.filter((mail) => mail.user === id).length;

function recipientOf(key: KeyObject): string {
  return Buffer.from(JSON.stringify(key.export({ format: 'jwk' }))).toString('base64url');
}

async function handout(run: RunView, key: KeyObject) {
  const { text } = await world.get(`/imports/${run.id}/handout`);
  const lines = text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  return Promise.all(
    lines.map(async (line) => {
      const { plaintext } = await compactDecrypt(line.jwe, key);
      return { line, opened: JSON.parse(new TextDecoder().decode(plaintext)) };
    }),
  );
}

describe('a reset by links', () => {
  test('lets the backend mail one link to each user, and sets no password', async () => {
    const [a, b] = [await user({ email: 'a@example.com' }), await user()];
    const run = await reset('mode=link', `userId\n${a}\n${b}\n`);
    expect(run).toMatchObject({ linkSent: 2, set: 0, failed: 0, notInEffect: 0 });
    expect([mailsTo(a), mailsTo(b)]).toEqual([1, 1]);
    expect(await world.works('globex', a, old)).toBe(true);
    expect(await rejects(run)).toEqual([]);
  });

  test('names the same user once only', async () => {
    const a = await user();
    const run = await reset('mode=link', `userId\n${a}\n${a}\n`);
    expect(run).toMatchObject({ linkSent: 1, rejected: 1 });
    expect((await rejects(run))[0]).toMatchObject({ line: 3, reason: 'user_repeated', field: 'userId' });
    expect(mailsTo(a)).toBe(1);
  });

  test('says what a row is told as: a link sent, which is no password in force', async () => {
    const run = await reset('mode=link', `userId\n${await user()}\n`);
    const { body } = await world.get(`/imports/${run.id}/rows/1`);
    expect(body).toMatchObject({ done: true, result: 'link_sent', inEffect: false });
  });

  test('does not send again what may have been sent', async () => {
    const a = await user();
    world.sandbox.faults.add({ call: 'PasswordReset', user: a, times: 1, fault: { kind: 'cut-after' } });
    const run = await reset('mode=link', `userId\n${a}\n`);
    expect(run).toMatchObject({ linkSent: 0, failed: 1 });
    expect((await rejects(run))[0]).toMatchObject({ reason: 'link_uncertain', code: 'unknown' });
    expect(mailsTo(a)).toBe(1);
  });

  test('goes on after an answer that says nothing was sent', async () => {
    const a = await user();
    world.sandbox.faults.add({ call: 'PasswordReset', user: a, times: 1, fault: { kind: '429' } });
    expect(await reset('mode=link', `userId\n${a}\n`)).toMatchObject({ linkSent: 1 });
    expect(mailsTo(a)).toBe(1);
  });

  test('is refused at once where no backend can send links', async () => {
    await waitFor(async () => (await ask('mode=link', 'userId\nx\n', {}, 'acme')).body.reason === 'ability_missing', {
      what: 'the worker to tell what it can',
    });
    const answer = await ask('mode=link', 'userId\nx\n', {}, 'acme');
    expect(answer).toMatchObject({ status: 501, body: { reason: 'ability_missing' } });
  });

  test('tells nobody of a user of another organization', async () => {
    await world.addV2({ id: 'other-org', org: 'initech', userName: 'other-org', password: old });
    const run = await reset('mode=link', 'userId\nother-org\n');
    expect((await rejects(run))[0]).toMatchObject({ reason: 'COMMAND-G8dh3' });
    expect(mailsTo('other-org')).toBe(0);
  });
});

describe('a reset to unknown passwords', () => {
  test('ends the old password and asks for a change at the next login', async () => {
    const a = await user();
    const run = await reset('mode=random', `userId\n${a}\n`);
    expect(run).toMatchObject({ set: 1, notInEffect: 0, options: { reset: { mode: 'random', by: 'id' } } });
    expect(await world.works('globex', a, old)).toBe(false);
    expect(world.sandbox.users.get(a)?.changeRequired).toBe(true);
  });

  test('works in v1 too', async () => {
    await world.addUser('acme', 'v1-user');
    const answer = await ask('mode=random&changeRequired=false', 'userId\nv1-user\n', {}, 'acme');
    expect(await over(answer.body.id)).toMatchObject({ set: 1 });
    expect(await world.works('acme', 'v1-user', old)).toBe(false);
  });

  test('is the same run when the same list comes again under its key', async () => {
    const a = await user();
    const headers = { 'idempotency-key': `again-${a}` };
    const run = await reset('mode=random', `userId\n${a}\n`, headers);
    expect((await reset('mode=random', `userId\n${a}\n`, headers)).id).toBe(run.id);
    expect(world.sandbox.users.get(a)?.changes).toHaveLength(1);
    const other = await ask('mode=random', `userId\n${a}x\n`, headers);
    expect(other.body.reason).toBe('idempotency_key_reused');
  });

  test('ends sessions where that is asked for', async () => {
    const [a, b] = [await user(), await user()];
    const sessions = world.sandbox.sessions as Map<string, string>;
    for (const [id, of] of Object.entries({ s1: a, s2: a, s3: b })) sessions.set(id, of);
    const run = await reset('mode=random&endSessions=true', `userId\n${a}\n`);
    expect(run.sessionsEnded).toBe(2);
    expect([...sessions.keys()]).toEqual(['s3']);
    sessions.clear();
  });

  test('counts whose sessions the backend could not end', async () => {
    await world.addUser('acme', 'v1-sessions');
    const answer = await ask('mode=random&endSessions=true', 'userId\nv1-sessions\n', {}, 'acme');
    expect(await over(answer.body.id)).toMatchObject({ set: 1, sessionsKept: 1 });
  });
});

describe('a reset to passwords that are handed out', () => {
  for (const [name, pair] of Object.entries({
    X25519: generateKeyPairSync('x25519'),
    RSA: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  })) {
    test(`lets whoever has the key (${name}) read them, and they log in`, async () => {
      const [a, b] = [await user(), await user()];
      const run = await reset(`mode=generate&recipient=${recipientOf(pair.publicKey)}`, `userId\n${a}\n${b}\n`);
      const opened = await handout(run, pair.privateKey);
      expect(opened.map(({ line, opened }) => [line.userId, opened.userId, opened.org])).toEqual([
        [a, a, 'globex'],
        [b, b, 'globex'],
      ]);
      for (const { opened: one } of opened) {
        expect(one.password).toHaveLength(24);
        expect(await world.works('globex', one.userId, one.password)).toBe(true);
      }
    });
  }

  test('leaves them nowhere else: not in Redis, its files, logs or answers', async () => {
    const pair = generateKeyPairSync('x25519');
    const run = await reset(`mode=generate&recipient=${recipientOf(pair.publicKey)}`, `userId\n${await user()}\n`);
    const [{ opened } = { opened: { password: '' } }] = await handout(run, pair.privateKey);
    const client = new Redis(world.redis.url);
    const places = await readRedis(client, world.redis.dir);
    client.disconnect();
    const all = { ...places, logs: world.lines.join('\n'), answers: world.answers.join('\n') };
    for (const [place, text] of Object.entries(all)) expect(text.includes(opened.password), place).toBe(false);
  });

  test('hands out only what is in force', async () => {
    const pair = generateKeyPairSync('x25519');
    const a = await user();
    const body = `userId\n${a}\nnobody\n`;
    const run = await reset(`mode=generate&recipient=${recipientOf(pair.publicKey)}`, body);
    expect((await handout(run, pair.privateKey)).map(({ line }) => line.userId)).toEqual([a]);
  });

  test('is for whoever may import, and for nobody who only reads', async () => {
    const pair = generateKeyPairSync('x25519');
    const run = await reset(`mode=generate&recipient=${recipientOf(pair.publicKey)}`, `userId\n${await user()}\n`);
    expect((await world.get(`/imports/${run.id}/handout`, { as: 'reader' })).body.reason).toBe('run_unknown');
    const readable = await ask(`mode=generate&recipient=${recipientOf(pair.publicKey)}`, 'userId\nx\n', {}, 'acme');
    const refused = await world.get(`/imports/${readable.body.id}/handout`, { as: 'reader' });
    expect([refused.status, refused.body.reason]).toEqual([403, 'AUTH-5mWD2']);
  });

  test.each([
    ['no key', 'mode=generate', 'recipient_missing'],
    ['a private key', () => recipientOf(generateKeyPairSync('x25519').privateKey), 'recipient_invalid'],
    ['a key for signing', () => recipientOf(generateKeyPairSync('ed25519').publicKey), 'recipient_invalid'],
    [
      'a small key',
      () => recipientOf(generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey),
      'recipient_invalid',
    ],
    ['nonsense', () => 'bm9uc2Vuc2U', 'recipient_invalid'],
  ])('needs a public key: %s is refused', async (_name, given, reason) => {
    const query = typeof given === 'string' ? given : `mode=generate&recipient=${given()}`;
    expect((await ask(query, 'userId\nx\n')).body.reason).toBe(reason);
  });
});

describe('a reset by names', () => {
  test('finds users by e-mail address, whatever its case', async () => {
    const a = await user({ email: 'Ann.Example@Example.com' });
    const run = await reset('mode=random&by=email', 'E-Mail\nann.example@example.COM\n');
    expect(run).toMatchObject({ set: 1 });
    expect(await world.works('globex', a, old)).toBe(false);
    expect((await world.get(`/imports/${run.id}/rows/1`)).body).toMatchObject({ userId: a, result: 'set' });
  });

  test('finds users by user name, exactly', async () => {
    const a = await user({ userName: 'Bob.Example' });
    const run = await reset('mode=random&by=username', 'user_name\nBob.Example\nbob.example\n');
    expect(run).toMatchObject({ set: 1, failed: 1 });
    expect(await world.works('globex', a, old)).toBe(false);
    expect((await rejects(run))[0]).toMatchObject({ line: 3, reason: 'user_not_found' });
  });

  test('never guesses: two users of one address are refused, as is one of none', async () => {
    const [a, b] = [await user({ email: 'two@example.com' }), await user({ email: 'TWO@example.com' })];
    const run = await reset('mode=link&by=email', 'email\ntwo@example.com\nnone@example.com\nno address\n');
    expect(run).toMatchObject({ linkSent: 0, failed: 2, rejected: 1 });
    expect((await rejects(run)).map((row) => [row.line, row.reason, row.columns])).toEqual([
      [2, 'user_ambiguous', { email: 'two@example.com' }],
      [3, 'user_not_found', { email: 'none@example.com' }],
      [4, 'email_invalid', undefined],
    ]);
    expect([mailsTo(a), mailsTo(b)]).toEqual([0, 0]);
  });

  test('does not find users of another organization', async () => {
    await world.addV2({ id: 'away', org: 'initech', userName: 'away', email: 'away@example.com', password: old });
    const run = await reset('mode=random&by=email', 'email\naway@example.com\n');
    expect((await rejects(run))[0]).toMatchObject({ reason: 'user_not_found' });
    expect(await world.sandbox.verify('away', old)).toBe(true);
  });

  test('hands out a password with the id that was found', async () => {
    const pair = generateKeyPairSync('x25519');
    const a = await user({ email: 'hand@example.com' });
    const run = await reset(
      `mode=generate&by=email&recipient=${recipientOf(pair.publicKey)}`,
      'email\nhand@example.com\n',
    );
    const [one] = await handout(run, pair.privateKey);
    expect(one?.line).toMatchObject({ userId: a, email: 'hand@example.com' });
    expect(await world.works('globex', a, one?.opened.password)).toBe(true);
  });
});

describe('a list', () => {
  test('is taken as NDJSON, as a JSON list and with semicolons', async () => {
    const ids = [await user(), await user(), await user()];
    const json = { 'content-type': 'application/json' };
    await reset('mode=random', `{"userId":"${ids[0]}"}\n`, { 'content-type': 'application/x-ndjson' });
    await reset('mode=random', `[{"user_id":"${ids[1]}"}]`, json);
    await reset('mode=random', `orgId;userId\nglobex;${ids[2]}\n`);
    for (const id of ids) expect(await world.works('globex', id, old)).toBe(false);
  });

  test.each([
    ['mode=link', 'email\na@example.com\n', 'list_column_missing'],
    ['mode=link', '', 'file_empty'],
    ['mode=link', 'userId\n', 'file_no_rows'],
    ['by=id', 'userId\nx\n', 'field_type'],
    ['mode=link&changeRequired=true', 'userId\nx\n', 'options_contradict'],
    ['mode=link&password=x', 'userId\nx\n', 'option_unknown'],
  ])('that cannot be taken is told why: %s', async (query, body, reason) => {
    expect((await ask(query, body)).body.reason).toBe(reason);
  });

  test('has its bad rows refused by line, and the rest goes on', async () => {
    const a = await user();
    const run = await reset('mode=random', `userId,orgId\n${a},\n1.5E+17,\n,\nx,not-granted\ny\n`);
    expect(run).toMatchObject({ set: 1, rejected: 4 });
    expect((await rejects(run)).map((row) => [row.line, row.reason])).toEqual([
      [3, 'user_id_e_notation'],
      [4, 'user_id_missing'],
      [5, 'org_not_granted'],
      [6, 'row_columns'],
    ]);
  });

  test('changes nothing in a dry run', async () => {
    const a = await user();
    const run = await reset('mode=link&dryRun=true', `userId\n${a}\n`);
    expect(run.linkSent).toBe(0);
    expect(mailsTo(a)).toBe(0);
  });
});
