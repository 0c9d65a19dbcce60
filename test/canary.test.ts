import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { exits } from '../src/cli/exit.ts';
import { bytes, encodings, find, makeCanary, readRedis, runSet } from './kit/canary.ts';
import type { Passferry } from './kit/passferry.ts';
import { startPassferry } from './kit/passferry.ts';
import type { FaultProxy } from './kit/proxy.ts';
import { waitFor } from './kit/wait.ts';

/** P4: a password is sent on every way in, and then looked for wherever it must not be. */

const canary = makeCanary();
const { password } = canary;
let pf: Passferry;
let toV2: FaultProxy;
let redis: Redis;
/** The slow log cuts long arguments off, this does not. */
let monitor: Socket;
let monitored = '';

beforeAll(async () => {
  // Uncompressed, so that what the files hold can be seen.
  const slow = ['--slowlog-log-slower-than', '0', '--slowlog-max-len', '100000'];
  pf = await startPassferry({
    proxies: true,
    deadlineMs: 1_000,
    settleMs: 300,
    redisExtra: [...slow, '--rdbcompression', 'no'],
  });
  toV2 = pf.v2Proxy as FaultProxy;
  redis = new Redis(pf.redis.url);
  monitor = connect(pf.redis.port, '127.0.0.1');
  monitor.on('data', (part) => {
    monitored += part.toString('latin1');
  });
  monitor.write('MONITOR\r\n');
  await waitFor(() => monitored.startsWith('+OK'), { what: 'the monitor to begin' });
});
afterAll(() => {
  redis?.disconnect();
  monitor?.destroy();
});

async function addUser(org: 'acme' | 'globex'): Promise<string> {
  const user = randomUUID();
  await pf.addUser(org, user);
  return user;
}

function expectNowhere(places: Record<string, string>): void {
  for (const [place, text] of Object.entries(places)) {
    expect(text.length, `${place} holds something`).toBeGreaterThan(0);
    expect(find(canary, text), place).toEqual([]);
  }
}

it('finds a planted password in every encoding and every place', async () => {
  const control = makeCanary();
  const names = Object.keys(encodings);
  for (const [name, encode] of Object.entries(encodings)) {
    const text = name === 'UTF-16' ? Buffer.from(control.password, 'utf16le') : encode(control.password);
    await redis.set(`control:${name}`, text);
    await redis.hset('control:hash', name, text);
    await redis.xadd('control:stream', '*', 'field', text);
    // Within something, as a JSON body would be.
    expect(find(control, `{"x":"${Buffer.from(text).toString('latin1')}"}`), name).toContain(name);
  }
  const places = await readRedis(redis, pf.redis.dir);
  const [aof, rdb] = [/\.incr\.aof$/, /^dump\.rdb$/].map((name) => Object.keys(places).find((p) => name.test(p)));
  for (const place of ['values', 'streams', 'slow log', aof as string, rdb as string]) {
    expect(find(control, places[place] as string), place).toEqual(names);
    expect(find(canary, places[place] as string), place).toEqual([]);
  }
  await waitFor(() => find(control, monitored).includes('raw'), { what: 'the monitor to see the planted password' });
});

it('never lets a password out of memory', async () => {
  const [one, two] = [await addUser('acme'), await addUser('globex')];
  const [three, four] = [await addUser('acme'), await addUser('globex')];

  // Both organizations, and answers that fail for good.
  expect((await pf.set('acme', one, password)).status).toBe(200);
  expect((await pf.set('globex', two, password)).status).toBe(200);
  expect((await pf.set('acme', 'nobody', password)).status).toBe(400);
  expect((await pf.set('globex', 'nobody', password)).status).toBe(400);
  expect((await pf.post('/users/x/password', `{"password":${JSON.stringify(password)},`)).status).toBe(400);
  expect((await pf.post('/users/x/password', { password: password.repeat(9) })).status).toBe(400);
  expect((await pf.post('/users/x/password', { password: [password] })).status).toBe(400);

  // A backend that fails for a while, with its error in the log.
  pf.sandbox.faults.add({ call: 'SetPassword', user: four, times: 1, fault: { kind: 'html' } });
  expect((await pf.set('globex', four, password)).status).toBe(200);

  // The command line.
  const env = { PASSFERRY_URL: pf.url, PASSFERRY_TOKEN: pf.token };
  const good = await runSet(three, password, env);
  const bad = await runSet('nobody', password, env);
  expect([good.code, bad.code]).toEqual([exits.ok, 1]);

  // Jobs that wait, so that their data stands in Redis while we look.
  toV2.cut();
  const waiting = await pf.set('globex', two, password, { headers: { prefer: 'respond-async' } });
  const rows = [
    { userId: one, password },
    { userId: 'nobody', password },
    { userId: two, orgId: 'globex', password },
    { userId: one, orgId: 'initech', password },
    { userId: one, password, noChangeRequired: password },
  ];
  const headers = { 'content-type': 'application/x-ndjson' };
  const run = await pf.post('/imports?asOf=now', rows.map((row) => JSON.stringify(row)).join('\n'), { headers });
  expect(run.status).toBe(202);
  await waitFor(async () => (await pf.get(`/jobs/${waiting.body.id}`)).body.waitingFor, { what: 'the job to wait' });
  const during = await readRedis(redis, pf.redis.dir);
  expect(during.values).toContain('"sealed"');

  await toV2.restore();
  await pf.done(waiting.body.id);
  const done = async () => (await pf.get(`/imports/${run.body.id}`)).body.state === 'completed';
  await waitFor(done, { what: 'the import to complete' });
  await pf.get(`/imports/${run.body.id}/rejects`);
  for (const user of [one, three]) expect(await pf.works('acme', user, password)).toBe(true);
  for (const user of [two, four]) expect(await pf.works('globex', user, password)).toBe(true);

  const after = await readRedis(redis, pf.redis.dir);
  expect(pf.lines.join('')).toContain('job put off');
  for (const places of [during, after]) expectNowhere(places);
  expectNowhere({
    'every command to Redis': monitored,
    log: bytes(pf.lines.join('')),
    answers: bytes(pf.answers.join('\n')),
    'what the command line printed': good.printed + bad.printed,
  });
});
