import { inflateRawSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { createV2Zitadel } from '../src/adapters/v2-zitadel/index.ts';
import { credential } from '../src/credential.ts';
import { verifiers } from '../src/hashes/kinds.ts';
import { makeHash } from '../src/hashes/make.ts';
import { recognise } from '../src/hashes/recognise.ts';
import { rejectsFile } from '../src/producer/import/rejects-file.ts';
import { names, type RunBackends, startRunBackends } from './kit/run-backends.ts';

/** Hashes from a file to a login: which are taken where, what is said of them, and what is never kept in clear. */

const known = 'Zebra-Crossing-7';

/** Kinds as cheap as the target allows. */
const kinds: [kind: string, cost: Record<string, number>][] = [
  ['bcrypt', { cost: 10 }],
  ['argon2i', { m: 8192, t: 1, p: 1 }],
  ['argon2id', { m: 8192, t: 1, p: 1 }],
  ['scrypt', { ln: 14, r: 8, p: 1 }],
  ['pbkdf2-sha1', { rounds: 1000 }],
  ['pbkdf2-sha224', { rounds: 1000 }],
  ['pbkdf2-sha256', { rounds: 1000 }],
  ['pbkdf2-sha384', { rounds: 1000 }],
  ['pbkdf2-sha512', { rounds: 1000 }],
  ['sha256-crypt', { rounds: 1000 }],
  ['sha512-crypt', { rounds: 1000 }],
  ['md5-crypt', {}],
  ['phpass', { log2: 8 }],
  ['drupal7', { rounds: 2 ** 12 }],
  ['md5', {}],
  ['md5-salt-last', {}],
  ['md5-salt-first', {}],
];

const hashed = async (kind: string, cost: Record<string, number>) =>
  (await makeHash(kind, cost, Buffer.from(known))) as string;

const ndjson = (rows: object[]) => rows.map((row) => JSON.stringify(row)).join('\n');

describe('hashes', () => {
  let scene: RunBackends;
  const columns = (kind: string, values: Record<string, string>) => scene.upload(kind as 'acme', ndjson([values]));

  beforeAll(async () => {
    scene = await startRunBackends({ verifiers });
    await scene.worker();
  });

  async function end(id: string, row = 1) {
    await scene.until(id, 'completed');
    return scene.ended(id, row);
  }

  it('each kind that v2 can check is stored there, tried before, and lets its user in', async () => {
    const ids = names('kind', kinds.length);
    await scene.addUsers('globex', ids);
    const rows = await Promise.all(
      kinds.map(async ([kind, cost], i) => ({ userId: ids[i], passwordHash: await hashed(kind, cost) })),
    );
    for (const [i, [kind]] of kinds.entries()) expect(recognise(rows[i]?.passwordHash ?? '').kind).toBe(kind);
    const id = await scene.upload('globex', ndjson(rows));
    const done = await scene.until(id, 'completed');
    expect(done).toMatchObject({ set: kinds.length, failed: 0, hashes: { rows: kinds.length, policyChecked: false } });
    expect(done.hashes?.proved).toBe('not_proved');
    expect(Object.values(done.hashes?.probes ?? {})).toEqual(kinds.map(() => 'works'));
    for (const user of ids) {
      expect(await scene.works('globex', user, known), user).toBe(true);
      expect(await scene.works('globex', user, 'Old-password-1'), user).toBe(false);
      // The user knows this password already.
      expect(scene.sandbox.users.get(user)).toMatchObject({ changeRequired: false });
    }
    const tried = [...scene.sandbox.users.values()].filter((user) => user.id.startsWith('passferry-probe-'));
    expect(tried.length).toBe(kinds.length);
    expect(tried.every(({ state, roles }) => state === 'inactive' && roles.length === 0)).toBe(true);
  });

  it('other products’ forms are stored in that of the target', async () => {
    const pbkdf2 = recognise(await hashed('pbkdf2-sha256', { rounds: 1000 }));
    const { salt, hash } = pbkdf2.recipe as { salt: Buffer; hash: Buffer };
    const text = Buffer.from('saltsaltsaltsalt');
    const again = recognise(`pbkdf2_sha256$1000$${text}$${hash.toString('base64')}`);
    expect(again.kind).toBe('pbkdf2-sha256');
    await scene.addUsers('globex', ['kc']);
    const credential = JSON.stringify({
      secretData: JSON.stringify({ value: hash.toString('base64'), salt: salt.toString('base64') }),
      credentialData: JSON.stringify({ hashIterations: 1000, algorithm: 'pbkdf2-sha256' }),
    });
    const id = await columns('globex', { userId: 'kc', passwordHash: credential });
    expect(await end(id)).toBe('set');
    expect(scene.sandbox.users.get('kc')?.hash).toMatch(/^\$pbkdf2-sha256\$1000\$/);
    expect(await scene.works('globex', 'kc', known)).toBe(true);
  });

  it('v1 takes bcrypt, $2y$ too, and nothing else; the dry run says so', async () => {
    const bcrypt = await hashed('bcrypt', { cost: 10 });
    const rows = [
      { userId: 'v1-1', passwordHash: bcrypt },
      { userId: 'v1-2', passwordHash: `$2y$${bcrypt.slice(4)}` },
      { userId: 'v1-3', passwordHash: await hashed('pbkdf2-sha256', { rounds: 1000 }) },
      { userId: 'v1-4', passwordHash: await hashed('bcrypt', { cost: 5 }) },
    ];
    await scene.addUsers('acme', names('v1', 4));
    const dry = await scene.upload('acme', ndjson(rows), { dryRun: true });
    const told = await scene.until(dry, 'completed');
    expect(told).toMatchObject({ wouldSet: 3, failed: 1, forecast: { unchecked: ['policy'] } });
    expect(await scene.ended(dry, 3)).toBe('hash_not_taken');
    expect(await scene.works('acme', 'v1-1', 'Old-password-1')).toBe(true);

    const id = await scene.upload('acme', ndjson(rows));
    const done = await scene.until(id, 'completed');
    expect(done).toMatchObject({ set: 3, failed: 1 });
    expect(done.proof).toBeUndefined();
    expect(await scene.ended(id, 3)).toBe('hash_not_taken');
    for (const user of ['v1-1', 'v1-2', 'v1-4']) expect(await scene.works('acme', user, known), user).toBe(true);
    expect(await scene.works('acme', 'v1-3', 'Old-password-1')).toBe(true);
  });

  it('a bcrypt hash that is too cheap for v2 is not sent there', async () => {
    await scene.addUsers('globex', ['cheap']);
    const before = scene.sandbox.calls.length;
    const id = await columns('globex', { userId: 'cheap', passwordHash: await hashed('bcrypt', { cost: 5 }) });
    expect(await end(id)).toBe('hash_refused');
    expect(scene.sandbox.calls.slice(before).filter(({ call }) => /Update|Create/.test(call))).toEqual([]);
  });

  it('a user is found by e-mail address or user name where the file has no id, exactly and once', async () => {
    const hash = await hashed('bcrypt', { cost: 10 });
    for (const [id, email] of [
      ['look-1', 'One@Example.org'],
      ['look-2', 'two@example.org'],
      ['look-3', 'shared@example.org'],
      ['look-4', 'shared@example.org'],
    ] as const) {
      await scene.sandbox.addUser({ id, org: 'globex', userName: `name-${id}`, email });
    }
    const emails = ['one@example.org', 'nobody@example.org', 'shared@example.org', 'no address'];
    const id = await scene.upload('globex', `email,passwordHash\n${emails.map((e) => `${e},${hash}`).join('\n')}\n`);
    await scene.until(id, 'completed');
    const ends = await Promise.all(emails.map((_, i) => scene.ended(id, i + 1)));
    expect(ends).toEqual(['set', 'user_not_found', 'user_ambiguous', 'email_invalid']);
    expect(await scene.works('globex', 'look-1', known)).toBe(true);
    for (const user of ['look-3', 'look-4']) expect(scene.sandbox.users.get(user)?.changes).toEqual([]);

    const plain = await scene.upload('globex', 'userName,password\nname-look-2,Other-Word-12!\n');
    expect(await end(plain)).toBe('set');
    expect(await scene.works('globex', 'look-2', 'Other-Word-12!')).toBe(true);
  });

  it('an id of its own counts, and other names of the user in the file do not', async () => {
    await scene.addUsers('globex', ['own-id']);
    const id = await scene.upload('globex', 'email,userId,password\nsomebody@else.org,own-id,Other-Word-13!\n');
    expect(await end(id)).toBe('set');
    const named = await scene.upload(
      'globex',
      'email,userId,password\nnobody@else.org,own-id,Other-Word-14!\n',
      {},
      {
        parse: { by: 'email' },
      },
    );
    expect(await end(named)).toBe('user_not_found');
  });

  it('a row has a password or a hash, and hashes that no login could use are refused where they are read', async () => {
    const bcrypt = await hashed('bcrypt', { cost: 10 });
    const cases: [Record<string, unknown>, string][] = [
      [{ password: 'Aa1!aaaa', passwordHash: bcrypt }, 'password_and_hash'],
      [{ password: '', passwordHash: '' }, 'password_missing'],
      [{ passwordHash: '' }, 'hash_empty'],
      [{ passwordHash: 7 }, 'field_type'],
      [{ passwordHash: '{SSHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g4rH0fJ0V0Jw==' }, 'digest_salted'],
      [{ passwordHash: bcrypt.slice(0, 40) }, 'hash_length'],
      [{ passwordHash: `!${bcrypt}` }, 'hash_locked'],
      [{ password: bcrypt }, 'password_is_hash'],
    ];
    const rows = cases.map(([values], i) => ({ userId: `bad-${i}`, ...values }));
    const id = await scene.upload('globex', ndjson(rows));
    const done = await scene.until(id, 'completed');
    expect(done).toMatchObject({ accepted: 0, rejected: cases.length });
    expect(done.hashes).toBeUndefined();
    for (const [i, [, reason]] of cases.entries()) expect(await scene.ended(id, i + 1)).toBe(reason);
    const row = await scene.producer.runs.row(done, 5);
    expect(row).toMatchObject({ code: 'invalid_argument', advice: expect.any(String), message: expect.any(String) });
  });

  it('of a file of hostile costs nothing is computed', async () => {
    const salt = 'MDEyMzQ1Njc4OWFiY2RlZg';
    const hostile = [
      `$2b$31$${'a'.repeat(53)}`,
      `$argon2id$v=19$m=4194304,t=100,p=1$${salt}$LaZlmT7vmDNv5u4IWAHoQA176+OO1vd+DS/jn991Wyw`,
      `$scrypt$ln=30,r=32,p=16$${salt}$G4pFxMNAs0kOPDCNIorA2x8GRuoe0nLcrBi56too1sc`,
      `$pbkdf2-sha256$999999999$${salt}$TcD85F1E1wImWy7T07ougLZSqjBGkgCpD0Iy6CmZcVs`,
      '$6$rounds=999999999$saltsaltsaltsalt$PlVoN3upBBT5FGplqfIWpdyM6HWEOjmBLKOifDcdgCK.2EEgwW/6AluT1tbtECM6fqDhEJwPHUxMFQb3DG9CP0',
    ];
    const id = await scene.upload(
      'globex',
      ndjson(hostile.map((passwordHash, i) => ({ userId: `h-${i}`, passwordHash }))),
    );
    expect(await scene.until(id, 'completed')).toMatchObject({ accepted: 0, rejected: hostile.length });
    for (const [i, text] of hostile.entries()) {
      expect(await scene.ended(id, i + 1)).toBe('cost_too_high');
      // Should such a row ever get further: none is made for a try either.
      const { kind, cost } = recognise(text);
      expect(await makeHash(kind, cost, Buffer.from(known))).toBeUndefined();
    }
  });

  it('needs the permission import-hash, row by row', async () => {
    await scene.addUsers('globex', ['may-1', 'may-2']);
    const rows = [
      { userId: 'may-1', passwordHash: await hashed('bcrypt', { cost: 10 }) },
      { userId: 'may-2', password: 'Other-Word-15!' },
    ];
    const id = await scene.upload('globex', ndjson(rows), {}, { hashes: false });
    await scene.until(id, 'completed');
    expect([await scene.ended(id, 1), await scene.ended(id, 2)]).toEqual(['hash_not_granted', 'set']);
    expect(scene.sandbox.users.get('may-2')?.changeRequired).toBe(true);
  });

  it('are changed at the next login only where that is said of them', async () => {
    await scene.addUsers('globex', ['ch-1', 'ch-2']);
    const passwordHash = await hashed('bcrypt', { cost: 10 });
    const rows = [{ userId: 'ch-1', passwordHash, changeRequired: true }];
    await scene.until(await scene.upload('globex', ndjson(rows)), 'completed');
    await scene.until(
      await scene.upload('globex', ndjson([{ userId: 'ch-2', passwordHash }]), { hashesChange: true }),
      'completed',
    );
    for (const user of ['ch-1', 'ch-2']) expect(scene.sandbox.users.get(user)?.changeRequired).toBe(true);
  });

  it('a lost answer of v2 is settled by reading: one effect', async () => {
    await scene.addUsers('globex', ['lost']);
    const away = scene.sandbox.faults.add({ call: 'UpdateUser', user: 'lost', times: 1, fault: { kind: 'cut-after' } });
    const id = await columns('globex', { userId: 'lost', passwordHash: await hashed('bcrypt', { cost: 10 }) });
    expect(await end(id)).toBe('set');
    away();
    expect(scene.sandbox.users.get('lost')?.changes.length).toBe(1);
    expect(await scene.works('globex', 'lost', known)).toBe(true);
  });

  it('a hash stands nowhere in Redis in clear, and nowhere in a log', async () => {
    const hash = await hashed('pbkdf2-sha512', { rounds: 1000 });
    await scene.addUsers('globex', ['secret']);
    const id = await scene.upload('globex', `userId,passwordHash\nsecret,${hash}\nnobody,${hash}\n`, {
      notBefore: Date.now() + 300_000,
    });
    const secret = hash.split('$').at(-1)?.slice(0, 24) as string;
    const texts: string[] = [scene.lines.join('\n')];
    for (const key of await scene.redis.keys('*')) {
      if ((await scene.redis.type(key)) !== 'hash') continue;
      for (const value of Object.values(await scene.redis.hgetallBuffer(key))) {
        texts.push(value.toString('latin1'));
        try {
          texts.push(inflateRawSync(value).toString('latin1'));
        } catch {
          // not deflated
        }
      }
    }
    expect(texts.join('\n')).toContain('pbkdf2-sha512');
    expect(texts.join('\n')).not.toContain(secret);
    await scene.producer.runs.order(id, 'cancel');
    await scene.until(id, 'cancelled');
  });

  it('the rejects have the column of hashes, blank', async () => {
    const hash = await hashed('bcrypt', { cost: 10 });
    const id = await scene.upload(
      'globex',
      `id;Hash;email\nno-such-user;${hash};a@b.org\n`,
      {},
      { parse: { keepColumns: ['email'] } },
    );
    const done = await scene.until(id, 'completed');
    const shape = rejectsFile(done.options);
    const row = await scene.producer.runs.row(done, 1);
    expect(shape.head.split(';').slice(0, 3)).toEqual(['id', 'Hash', 'email']);
    expect(
      shape
        .row(row as never)
        .split(';')
        .slice(0, 3),
    ).toEqual(['no-such-user', '', 'a@b.org']);
    expect(shape.row(row as never, '', hash)).toContain(`;${hash};`);
  });
});

describe('a target that is configured otherwise', () => {
  it('kinds that are not switched on are not sent; bcrypt is', async () => {
    const scene = await startRunBackends();
    await scene.worker();
    await scene.addUsers('globex', names('off', 2));
    const rows = [
      { userId: 'off-1', passwordHash: await hashed('pbkdf2-sha256', { rounds: 1000 }) },
      { userId: 'off-2', passwordHash: await hashed('bcrypt', { cost: 10 }) },
    ];
    const id = await scene.upload('globex', ndjson(rows));
    await scene.until(id, 'completed');
    expect([await scene.ended(id, 1), await scene.ended(id, 2)]).toEqual(['hash_not_taken', 'set']);
    expect(scene.sandbox.users.get('off-1')?.changes).toEqual([]);
  });

  it('what Passferry believes and the target does not do holds the run before anything is written', async () => {
    const scene = await startRunBackends();
    const believing = createV2Zitadel({
      ...{ url: scene.sandbox.url, credential: credential({ value: 'token-of-the-worker' }), deadlineMs: 2_000 },
      verifiers: ['bcrypt', 'pbkdf2'],
    });
    await scene.worker({ v2: believing });
    await scene.addUsers('globex', names('held', 8));
    const passwordHash = await hashed('pbkdf2-sha256', { rounds: 1000 });
    const id = await scene.upload('globex', ndjson(names('held', 8).map((userId) => ({ userId, passwordHash }))));
    const held = await scene.until(id, 'holding');
    expect(held).toMatchObject({ reason: 'hash_probe_failed', set: 0 });
    expect(Object.values(held.hashes?.probes ?? {})).toEqual(['fails']);
    for (const user of names('held', 8)) expect(scene.sandbox.users.get(user)?.changes).toEqual([]);
    await scene.producer.runs.order(id, 'resume');
    expect(await scene.until(id, 'completed')).toMatchObject({ set: 0, failed: 8 });
    expect(await scene.ended(id, 1)).toBe('hash_refused');
    await believing.close();
  });

  it('where no user may be made for it the run says that nothing was tried', async () => {
    const scene = await startRunBackends({ verifiers });
    const none = createV2Zitadel({
      ...{ url: scene.sandbox.url, credential: credential({ value: 'token-of-the-worker' }), deadlineMs: 2_000 },
      ...{ verifiers, probeUser: false as const },
    });
    await scene.worker({ v2: none });
    await scene.addUsers('globex', ['untried']);
    const passwordHash = await hashed('scrypt', { ln: 14, r: 8, p: 1 });
    const id = await scene.upload('globex', ndjson([{ userId: 'untried', passwordHash }]));
    const done = await scene.until(id, 'completed');
    expect(done).toMatchObject({ set: 1, hashes: { probes: { 'v2 scrypt ln=14 r=8 p=1': 'not_tried' } } });
    await none.close();
  });
});
