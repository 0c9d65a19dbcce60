import { randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Code } from '@connectrpc/connect';
import { describe, expect, it } from 'vitest';
import { clientAddress, parseNetwork, type TrustedProxies } from '../src/client-address.ts';
import { loadServeConfig } from '../src/config.ts';
import { hashToken, loadCallers } from '../src/producer/callers.ts';
import { createLimits } from '../src/producer/limits.ts';
import { parseQuota } from '../src/quota.ts';
import { newPassword } from './kit/conformance.ts';
import { tempDir } from './kit/files.ts';
import { startPassferry, tokens } from './kit/passferry.ts';
import { rpcClients } from './kit/rpc-clients.ts';
import { waitFor } from './kit/wait.ts';

// Windows of a day: none ends while a test looks.
const pf = await startPassferry({
  proxies: true,
  deadlineMs: 60_000,
  serveEnv: { PASSFERRY_AUTH_FAILURES: '3/24h', PASSFERRY_TRUST_PROXY: '127.0.0.0/8' },
});
const v1Path = '/management/v1/users/nobody/password';

/** A caller of its own, with the limits of the callers file; its token. */
function newCaller(limits: { rate?: string; concurrency?: number }): string {
  const path = `${pf.keysDir}/callers.json`;
  const { callers } = JSON.parse(readFileSync(path, 'utf8'));
  const name = randomUUID();
  const token = `pf_${name}`;
  const grants = { acme: ['set', 'read'], globex: ['set', 'read'] };
  callers.push({ name, home: 'globex', grants, tokenSha256: hashToken(token), limits });
  writeFileSync(path, JSON.stringify({ callers }));
  return token;
}

async function ask(path: string, token: string | null, { body, ...init }: RequestInit & { from?: string } = {}) {
  const answer = await fetch(`${pf.url}${path}`, {
    method: body === undefined ? 'GET' : 'POST',
    ...init,
    ...(body !== undefined && { body }),
    headers: {
      ...(token !== null && { authorization: `Bearer ${token}` }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...(init.from !== undefined && { 'x-forwarded-for': init.from }),
      ...(init.headers as object),
    },
  });
  const text = await answer.text();
  return { status: answer.status, headers: answer.headers, body: text === '' ? undefined : JSON.parse(text) };
}

const items = (count: number) =>
  JSON.stringify({ jobs: Array.from({ length: count }, () => ({ user: '', password: 'x' })) });

describe('a caller that sends more than its rate', () => {
  it('is told what is left, and then 429 with the time to wait', async () => {
    const token = newCaller({ rate: '2/24h' });
    const first = await ask('/jobs', token);
    expect(first.status).toBe(200);
    expect(first.headers.get('ratelimit-policy')).toBe('"rate";q=2;w=86400, "open";q=2500;qu="concurrent-requests"');
    expect(first.headers.get('ratelimit')).toMatch(/^"rate";r=1;t=86\d{3}, "open";r=2499$/);
    expect((await ask('/jobs', token)).headers.get('ratelimit')).toContain('"rate";r=0;');
    const over = await ask('/jobs', token);
    expect(over).toMatchObject({
      status: 429,
      body: { code: 'resource_exhausted', reason: 'caller_rate', status: 429 },
    });
    expect(over.headers.get('content-type')).toBe('application/problem+json');
    expect(over.headers.get('passferry-reason')).toBe('caller_rate');
    expect(Number(over.headers.get('retry-after'))).toBeGreaterThan(80_000);
    expect(over.headers.get('ratelimit')).toContain('"rate";r=0;');
    // Nobody else.
    expect((await ask('/jobs', tokens.full)).status).toBe(200);
  });

  it("is told in ZITADEL's shape by the v1 call, with its key, and nothing is accepted", async () => {
    const token = newCaller({ rate: '1/24h' });
    await ask('/jobs', token);
    const over = await ask(v1Path, token, { body: JSON.stringify({ password: newPassword() }) });
    expect(over).toMatchObject({ status: 429, body: { code: 8, message: expect.stringContaining('requests') } });
    expect(Object.keys(over.body)).toEqual(['code', 'message']);
    expect(over.headers.get('idempotency-key')).toMatch(/^pf-/);
    expect(over.headers.get('passferry-job')).toBeNull();
    expect(Number(over.headers.get('retry-after'))).toBeGreaterThan(80_000);
  });

  it.each(rpcClients)('is told RESOURCE_EXHAUSTED: $name', async (client) => {
    const token = newCaller({ rate: '1/24h' });
    await ask('/jobs', token);
    const told = await client.set(pf.url, { userId: 'nobody', password: newPassword() }, { token });
    expect(told.code).toBe(Code.ResourceExhausted);
  });

  it('counts a list as one, and one more for every 50 items', async () => {
    const token = newCaller({ rate: '10/24h' });
    expect((await ask('/jobs', token, { body: items(120) })).status).toBe(422);
    expect((await ask('/jobs', token)).headers.get('ratelimit')).toContain('"rate";r=6;');
    const over = await ask('/jobs', token, { body: items(400) });
    expect(over).toMatchObject({ status: 429, body: { reason: 'caller_rate' } });
  });

  it('can send a list that counts for more than its whole rate', async () => {
    const token = newCaller({ rate: '5/24h' });
    expect((await ask('/jobs', token, { body: items(1_000) })).status).toBe(422);
    expect((await ask('/jobs', token)).status).toBe(429);
  });
});

it('a caller with as many open requests as it may is told so until one ends, and it may wait with all', async () => {
  const token = newCaller({ concurrency: 2 });
  pf.v2Proxy?.blackhole();
  const wait = async (user: string, signal: AbortSignal) => {
    const body = JSON.stringify({ password: newPassword() });
    const headers = { prefer: 'wait=25' };
    return ask(`/users/${user}/password`, token, { body, headers, signal }).catch(() => undefined);
  };
  const users = [randomUUID(), randomUUID()];
  for (const user of users) await pf.addUser('globex', user);
  const gone = users.map(() => new AbortController());
  const waiting = users.map((user, i) => wait(user, (gone[i] as AbortController).signal));
  for (const user of users) {
    const accepted = async () => (await ask(`/jobs?org=globex&user=${user}`, tokens.full)).body.jobs?.length === 1;
    await waitFor(accepted, { what: 'both to be accepted' });
  }
  const busy = await ask('/jobs', token);
  expect(busy.status).toBe(429);
  expect(busy.body.reason).toBe('caller_busy');
  expect(busy.headers.get('retry-after')).toBe('1');
  expect(busy.headers.get('ratelimit')).toContain('"open";r=0');
  expect((await rpcClients[0]?.set(pf.url, { userId: 'x', password: 'y' }, { token }))?.code).toBe(8);
  expect((await ask('/jobs', tokens.full)).status).toBe(200);
  gone[0]?.abort();
  await waitFor(async () => (await ask('/jobs', token)).status === 200, { what: 'a place to be free' });
  gone[1]?.abort();
  await Promise.all(waiting);
  await pf.v2Proxy?.restore();
});

describe('refused tokens of one address', () => {
  const guess = (from: string, path = '/jobs', body?: string) =>
    ask(path, `guess-${randomUUID()}`, { from, ...(body !== undefined && { body }) });

  it('are limited, in the shape of the path', async () => {
    for (let i = 0; i < 3; i += 1) expect((await guess('192.0.2.1')).status).toBe(401);
    const own = await guess('192.0.2.1');
    expect(own).toMatchObject({ status: 429, body: { reason: 'auth_limited', code: 'resource_exhausted' } });
    expect(Number(own.headers.get('retry-after'))).toBeGreaterThan(80_000);
    const v1 = await guess('192.0.2.1', v1Path, '{"password":"x"}');
    expect(v1).toMatchObject({ status: 429, body: { code: 8 } });
    const headers = { 'x-forwarded-for': '192.0.2.1' };
    for (const client of rpcClients) {
      const told = await client.set(pf.url, { userId: 'x', password: 'y' }, { token: 'guess', headers });
      expect(told.code, client.name).toBe(Code.ResourceExhausted);
    }
  });

  it('are no matter of another address, of a good token, or of whoever sends none', async () => {
    for (let i = 0; i < 4; i += 1) await guess('192.0.2.2');
    expect((await guess('192.0.2.2')).status).toBe(429);
    expect((await guess('192.0.2.3')).status).toBe(401);
    expect((await ask('/jobs', tokens.full, { from: '192.0.2.2' })).status).toBe(200);
    expect((await ask('/jobs', null, { from: '192.0.2.2' })).status).toBe(401);
    expect((await ask('/healthz', 'guess', { from: '192.0.2.2' })).status).toBe(200);
  });

  it('count together for a /64 of IPv6, however the last part is chosen', async () => {
    for (let i = 0; i < 3; i += 1) expect((await guess(`2001:db8:0:1::${i}`)).status).toBe(401);
    expect((await guess('2001:db8:0:1:ffff::1')).status).toBe(429);
    expect((await guess('2001:db8:0:2::1')).status).toBe(401);
  });

  it('are not hidden by what the client itself wrote into the header of the proxy', async () => {
    for (let i = 0; i < 3; i += 1) expect((await guess(`10.9.8.${i}, 192.0.2.4`)).status).toBe(401);
    expect((await guess('10.9.8.7, 192.0.2.4')).status).toBe(429);
  });

  it('take bounded memory: of very many addresses some share a place', async () => {
    const limits = createLimits({ rate: null, concurrency: 1, failures: { count: 1, seconds: 60 } });
    let shared = 0;
    for (let i = 0; i < 17_000; i += 1) if (await limits.failed(`address ${i}`)) shared += 1;
    expect(shared).toBeGreaterThanOrEqual(17_000 - 16_384);
  });
});

describe('the address of a client', () => {
  const networks = ['10.0.0.0/8', 'fd00::/8', '127.0.0.1'].map((text) => {
    const network = parseNetwork(text);
    if (!network) throw new Error(text);
    return network;
  });
  const of = (remoteAddress: string, headers: Record<string, string>, trusted: Partial<TrustedProxies> = {}) =>
    clientAddress({ headers, socket: { remoteAddress } }, { networks, header: 'x-forwarded-for', ...trusted });

  it.each([
    ['no proxy is trusted unless it is named', '10.0.0.1', '192.0.2.1', [], '10.0.0.1'],
    ['not by whoever is none', '192.0.2.9', '192.0.2.1', networks, '192.0.2.9'],
    ['the rightmost that is no proxy', '10.0.0.1', '192.0.2.1, 192.0.2.2, 10.0.0.2', networks, '192.0.2.2'],
    ['the leftmost when all are proxies', '10.0.0.1', '10.0.0.3,10.0.0.2', networks, '10.0.0.3'],
    ['the proxy when nothing is told', '10.0.0.1', '', networks, '10.0.0.1'],
    ['the proxy when nonsense is told', '10.0.0.1', '192.0.2.1, unknown', networks, '10.0.0.1'],
    ['no shorthand of an address', '10.0.0.1', '127.1', networks, '10.0.0.1'],
    ['without a port', '10.0.0.1', '192.0.2.1:4711', networks, '192.0.2.1'],
    ['IPv4 inside IPv6 is IPv4', '::ffff:10.0.0.1', '::ffff:192.0.2.1', networks, '192.0.2.1'],
    ['the /64 of IPv6', 'fd00::1', '[2001:db8::abcd]:443', networks, '2001:db8:0:0::/64'],
    ['the zone does not matter', 'fe80::1%eth0', '', [], 'fe80:0:0:0::/64'],
  ])('%s', (_, remote, told, trusted, expected) => {
    expect(of(remote, { 'x-forwarded-for': told }, { networks: trusted })).toBe(expected);
  });

  it.each([
    ['for=192.0.2.1', '192.0.2.1'],
    ['for=192.0.2.1;proto=https, For="192.0.2.2:80";by=10.0.0.2', '192.0.2.2'],
    ['proto=https;for="[2001:db8::1]:4711"', '2001:db8:0:0::/64'],
    ['for=192.0.2.1, for=_hidden', '10.0.0.1'],
    ['for="192.0.2.1, for=192.0.2.3"', '10.0.0.1'],
    ['proto=https', '10.0.0.1'],
  ])('by Forwarded, when that is the header of the proxies: %s', (told, expected) => {
    const headers = { forwarded: told, 'x-forwarded-for': '192.0.2.7' };
    expect(of('10.0.0.1', headers, { header: 'forwarded' })).toBe(expected);
  });

  it('not by Forwarded when the proxies write the other one', () => {
    expect(of('10.0.0.1', { forwarded: 'for=192.0.2.1' })).toBe('10.0.0.1');
  });
});

it.each([
  ['1000/5s', { count: 1_000, seconds: 5 }],
  ['200/s', { count: 200, seconds: 1 }],
  ['30/1m', { count: 30, seconds: 60 }],
  ['3/24h', { count: 3, seconds: 86_400 }],
  ['off', null],
  ['0/s', undefined],
  ['5/0s', undefined],
  ['5/25h', undefined],
  ['5', undefined],
  ['5/1d', undefined],
  ['-5/s', undefined],
])('a rate is written as %s', (text, expected) => {
  expect(parseQuota(text)).toEqual(expected);
});

describe('what is wrong in the settings is said without its value', () => {
  const base = {
    PASSFERRY_REDIS_URL: 'redis://127.0.0.1',
    PASSFERRY_KEYS_DIR: '.',
    PASSFERRY_CALLERS_FILE: 'package.json',
  };

  it.each([
    ['PASSFERRY_CALLER_RATE', '17/x', 'must be a number and a time'],
    ['PASSFERRY_CALLER_CONCURRENCY', '0', 'must lie between'],
    ['PASSFERRY_AUTH_FAILURES', '17', 'must be a number and a time'],
    ['PASSFERRY_MAX_CONNECTIONS', '-17', 'must be a whole number'],
    ['PASSFERRY_TRUST_PROXY', '10.0.0.0/8, 17.17/99', 'takes addresses and CIDRs'],
    ['PASSFERRY_TRUST_PROXY_HEADER', 'x-17', 'expected one of'],
    ['PASSFERRY_CORS_ORIGINS', 'https://17.example/path', 'takes exact origins'],
    ['PASSFERRY_CORS_ORIGINS', '*', 'takes exact origins'],
  ])('%s=%s', (name, value, why) => {
    const load = () => loadServeConfig({ ...base, [name]: value });
    expect(load).toThrow(`${name} `);
    expect(load).toThrow(why);
    if (value.includes('17')) expect(load).not.toThrow('17');
  });

  it.each([{ rate: 'seventeen/s' }, { concurrency: 0 }, { concurrency: 1.5 }, { more: 1 }])(
    'limits of the callers file: %j',
    (limits) => {
      const path = join(tempDir(), 'callers.json');
      const caller = { name: 'a', home: 'o', tokenSha256: hashToken('t'), grants: { o: ['set'] }, limits };
      writeFileSync(path, JSON.stringify({ callers: [caller] }));
      const load = () => loadCallers(path, () => {});
      expect(load).toThrow(expect.objectContaining({ reason: 'config_invalid' }));
      expect(load).toThrow('callers.0.limits');
      expect(load).not.toThrow('seventeen');
    },
  );
});
