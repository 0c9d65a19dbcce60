import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { exportJWK, generateKeyPair } from 'jose';
import { expect, test, vi } from 'vitest';
import type { DataKeyStore, KeyPair, KeyPairs, StoredPair } from '../src/seal.ts';
import { createOpener, createSealer, pairNamedBy } from '../src/seal.ts';
import { Secret } from '../src/secret.ts';

async function makePair(kid: string): Promise<{ open: KeyPair; shut: KeyPair }> {
  const pair = await generateKeyPair('ECDH-ES+A256KW', { crv: 'X25519', extractable: true });
  const [open, shut] = await Promise.all([exportJWK(pair.privateKey), exportJWK(pair.publicKey)]);
  return { open: { kid, state: 'active', jwk: open }, shut: { kid, state: 'active', jwk: shut } };
}

function memoryStore() {
  const kept = new Map<string, { wrapped: string; until: number }>();
  const store: DataKeyStore = {
    put: async (id, wrapped, until) => void kept.set(id, { wrapped, until }),
    get: async (id) => kept.get(id)?.wrapped,
  };
  return { kept, store };
}

const pair = await makePair('one');
const other = await makePair('two');
const jobKey = { current: randomBytes(32) };
const identity = { jobId: 'j-1', org: 'o', user: 'u', seq: '17' };
const expiresAt = Date.now() + 60_000;
const password = 'Correct Horse 🐎 1!';
const { kept, store } = memoryStore();
const seal = createSealer([pair.shut], jobKey, store);
const sealed = await seal(Secret.fromString(password), identity, expiresAt);
/** A new one each time: an opener remembers data keys. */
const open = (keys: KeyPairs = [pair.open], key = jobKey, from = store) => createOpener(keys, key, from);
const fails = (reason: string) => expect.objectContaining({ reason });

test('what was sealed opens again, and holds nothing in clear', async () => {
  expect((await open()(sealed, identity)).reveal()).toBe(password);
  const stored =
    JSON.stringify([sealed, ...kept.values()]) + Buffer.from(sealed.sealed, 'base64url').toString('latin1');
  expect(stored).not.toContain(password.slice(0, 7));
});

test.each([
  ['another job', { jobId: 'j-2' }],
  ['another organization', { org: 'p' }],
  ['another user', { user: 'v' }],
  ['another sequence', { seq: '18' }],
  ['a shifted border between the parts', { org: 'ou', user: '' }],
])('moved to %s it does not open', async (_, over) => {
  await expect(open()(sealed, { ...identity, ...over })).rejects.toEqual(fails('sealed_unreadable'));
});

test('truncated, altered anywhere, or put under another data key it does not open', async () => {
  const raw = Buffer.from(sealed.sealed, 'base64url');
  const altered = [0, 11, 12, 40, raw.length - 1].map((at) => {
    const copy = Buffer.from(raw);
    copy[at] = (copy[at] as number) ^ 1;
    return copy;
  });
  for (const bytes of [raw.subarray(0, -1), raw.subarray(1), Buffer.alloc(0), ...altered]) {
    const text = bytes.toString('base64url');
    await expect(open()({ ...sealed, sealed: text }, identity)).rejects.toEqual(fails('sealed_unreadable'));
  }
  const second = await createSealer([pair.shut], jobKey, store)(Secret.fromString('x'), identity, expiresAt);
  expect(second.dataKey).not.toBe(sealed.dataKey);
  const mixed = { ...sealed, dataKey: second.dataKey };
  await expect(open()(mixed, identity)).rejects.toEqual(fails('sealed_unreadable'));
});

test('a forged data key counts as gone, also one that was made for the right public key', async () => {
  const foreign = memoryStore();
  const forger = createSealer([pair.shut], { current: randomBytes(32) }, foreign.store);
  const forged = await forger(Secret.fromString('chosen'), identity, expiresAt);
  await expect(open([pair.open], jobKey, foreign.store)(forged, identity)).rejects.toEqual(
    fails('sealed_key_destroyed'),
  );
  // A genuine one under another id.
  const moved: DataKeyStore = { put: store.put, get: () => store.get(sealed.dataKey) };
  const renamed = { ...sealed, dataKey: 'renamed' };
  await expect(open([pair.open], jobKey, moved)(renamed, identity)).rejects.toEqual(fails('sealed_key_destroyed'));
});

test('without its data key or its key pair it is gone for good', async () => {
  const gone = fails('sealed_key_destroyed');
  await expect(open([pair.open], jobKey, memoryStore().store)(sealed, identity)).rejects.toEqual(gone);
  const destroyed: StoredPair = { kid: 'one', state: 'destroyed', destroyedAt: '2026-01-01T00:00:00Z' };
  await expect(open([other.open, destroyed])(sealed, identity)).rejects.toEqual(gone);
  // A pair that nobody destroyed may only not be here yet: that ends no job.
  const missing = expect.objectContaining({ reason: 'sealed_key_unknown', scope: 'backend' });
  await expect(open([other.open])(sealed, identity)).rejects.toEqual(missing);
  await expect(open([])(sealed, identity)).rejects.toEqual(missing);
  const accepted: KeyPair[] = [other.open, { ...pair.open, state: 'accept' }];
  expect((await open(accepted)(sealed, identity)).reveal()).toBe(password);
});

test('what was opened before opens no more once its pair is destroyed', async () => {
  let pairs: StoredPair[] = [pair.open];
  const opener = open(() => pairs);
  expect((await opener(sealed, identity)).reveal()).toBe(password);
  pairs = [{ kid: 'one', state: 'destroyed', destroyedAt: '2026-01-01T00:00:00Z' }];
  await expect(opener(sealed, identity)).rejects.toEqual(fails('sealed_key_destroyed'));
});

test('the pair of the moment is asked for at each new data key, and a new one waits for nothing', async () => {
  const days = vi.spyOn(Date, 'now');
  try {
    let pairs: StoredPair[] = [pair.shut];
    const later = memoryStore();
    const sealer = createSealer(() => pairs, jobKey, later.store);
    const kids = async () => {
      const { dataKey } = await sealer(Secret.fromString('x'), identity, expiresAt);
      return pairNamedBy(later.kept.get(dataKey)?.wrapped as string);
    };
    expect(await kids()).toBe('one');
    pairs = [other.shut, { ...pair.shut, state: 'accept' }];
    expect(await kids()).toBe('one');
    days.mockReturnValue(Date.now() + 3_600_000);
    expect(await kids()).toBe('two');
    // And the worker: a list without the kid is asked for anew before anything is said.
    const fresh = vi.fn((now?: boolean) => (now ? [pair.open] : [other.open]));
    expect((await open(fresh)(sealed, identity)).reveal()).toBe(password);
  } finally {
    days.mockRestore();
  }
});

test('a failed look-up is not remembered', async () => {
  let back = false;
  const flaky: DataKeyStore = { put: store.put, get: async (id) => (back ? store.get(id) : undefined) };
  const opener = open([pair.open], jobKey, flaky);
  await expect(opener(sealed, identity)).rejects.toEqual(fails('sealed_key_destroyed'));
  back = true;
  expect((await opener(sealed, identity)).reveal()).toBe(password);
});

test('the public keys of a producer cannot open', async () => {
  await expect(open([pair.shut])(sealed, identity)).rejects.toEqual(fails('sealed_unreadable'));
});

test('a rotated job key still opens what the one before signed', async () => {
  const rotated = { current: randomBytes(32), previous: jobKey.current };
  expect((await open([pair.open], rotated)(sealed, identity)).reveal()).toBe(password);
});

test('the ciphertext does not tell how long the password is, and never repeats', async () => {
  const texts = ['a', 'a', 'a'.repeat(72), '💚'.repeat(18)];
  const all = await Promise.all(texts.map((text) => seal(Secret.fromString(text), identity, expiresAt)));
  expect(new Set(all.map((each) => each.sealed.length)).size).toBe(1);
  expect(new Set(all.map((each) => each.sealed)).size).toBe(texts.length);
});

test('only an active pair is sealed to, and a data key is kept beyond the last job under it', async () => {
  const accept: KeyPair = { ...pair.shut, state: 'accept' };
  await expect(createSealer([accept], jobKey, store)(Secret.fromString('x'), identity, expiresAt)).rejects.toEqual(
    fails('config_invalid'),
  );
  const later = memoryStore();
  const sealer = createSealer([accept, other.shut], jobKey, later.store);
  const ends = [expiresAt, expiresAt + 30 * 86_400_000];
  for (const end of ends) {
    const { dataKey } = await sealer(Secret.fromString('x'), identity, end);
    expect(later.kept.get(dataKey)?.until).toBeGreaterThan(end + 24 * 3_600_000);
  }
  expect(later.kept.size).toBe(1);
});

test('a secret prints as [secret] wherever something prints it', () => {
  const secret = Secret.fromString('hunter22');
  const printed: string[] = [];
  const spies = [process.stdout, process.stderr].map((stream) =>
    vi.spyOn(stream, 'write').mockImplementation((text) => printed.push(String(text)) > 0),
  );
  const logs = [vi.spyOn(console, 'log'), vi.spyOn(console, 'error')];
  for (const spy of logs) spy.mockImplementation((...all) => void printed.push(inspect(all)));
  console.log(secret, { secret });
  console.error('%s %o %j', secret, secret, secret);
  for (const spy of [...spies, ...logs]) spy.mockRestore();
  const shown = [
    ...[String(secret), `${secret}`, JSON.stringify({ secret }), inspect(secret), inspect({ deep: [{ secret }] })],
    ...[inspect(secret, { showHidden: true, depth: 9 }), `${[secret]}`, ...printed],
  ];
  for (const text of shown) expect(text).toMatch(/\[secret\]/);
  expect(shown.join()).not.toMatch(/hunter|104,\s*117|68 75 6e/);
  expect(Object.keys(secret)).toEqual([]);
  expect(structuredClone(secret)).toEqual({});
});

test('a wiped secret holds zeros only', () => {
  const bytes = Buffer.from('hunter22');
  const secret = new Secret(bytes);
  secret.wipe();
  expect(bytes).toEqual(Buffer.alloc(8));
});
