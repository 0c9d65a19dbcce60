import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { beforeAll, describe, expect, it } from 'vitest';
import { startAdmin } from '../src/admin.ts';
import { up } from '../src/cli/up.ts';
import { loadServeConfig, loadWorkConfig } from '../src/config.ts';
import { codes, reasons } from '../src/errors.ts';
import { createLog } from '../src/log.ts';
import { queueMetrics, requestMetrics, workMetrics } from '../src/metrics.ts';
import { newPassword } from './kit/conformance.ts';
import { atEnd, tempDir } from './kit/files.ts';
import { parsePrometheus } from './kit/prometheus.ts';
import { waitFor } from './kit/wait.ts';

type Running = Awaited<ReturnType<typeof up>>;
let running: Running;
const dir = tempDir();

beforeAll(async () => {
  process.env.PASSFERRY_ADMIN_LISTEN = '127.0.0.1:0';
  running = await up({ dataDir: dir, listen: '127.0.0.1:0', bcryptCost: 4, log: createLog('silent', 'test') });
  delete process.env.PASSFERRY_ADMIN_LISTEN;
  atEnd(() => running.close());
});

async function numbers(url = running.metricsUrl as string) {
  const response = await fetch(url);
  expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  const families = parsePrometheus(await response.text());
  const value = (name: string, labels: Record<string, string> = {}) =>
    families.get(name)?.samples.find((each) => Object.entries(labels).every(([key, text]) => each.labels[key] === text))
      ?.value;
  return { families, value };
}

async function call(method: string, path: string, body?: object, more: Record<string, string> = {}) {
  const response = await fetch(`${running.url}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${readFileSync(running.tokenFile, 'utf8').trim()}`,
      ...(body && { 'content-type': 'application/json' }),
      ...more,
    },
    ...(body && { body: JSON.stringify(body) }),
  });
  return { status: response.status, text: await response.text() };
}
const set = (user: string, more: Record<string, string> = {}) =>
  call('POST', `/users/${user}/password`, { password: newPassword(), noChangeRequired: true }, more);

describe('GET /metrics', () => {
  it('equals what was done: outcomes by backend, requests by route and status', async () => {
    for (let i = 0; i < 3; i++) expect((await set('100000000000000001')).status).toBe(200);
    expect((await set('200000000000000001', { 'x-zitadel-orgid': 'globex' })).status).toBe(200);
    expect((await set('nobody-here')).status).toBe(400);
    expect((await call('GET', '/nowhere')).status).toBe(404);
    const grpc = await call('POST', '/zitadel.management.v1.ManagementService/SetHumanPassword', {
      userId: '100000000000000002',
      password: newPassword(),
    });
    expect(grpc.status).toBe(200);
    const { value, families } = await waitFor(
      async () => {
        const now = await numbers();
        const route = '/zitadel.management.v1.ManagementService/SetHumanPassword';
        return now.value('passferry_requests_total', { route }) ? now : undefined;
      },
      { what: 'the last request to be counted' },
    );
    const outcome = (outcome: string, backend: string) => value('passferry_outcomes_total', { outcome, backend });
    expect([outcome('set', 'v1'), outcome('set', 'v2'), outcome('failed_precondition', 'v1')]).toEqual([4, 1, 1]);
    const requests = (labels: Record<string, string>) => value('passferry_requests_total', labels);
    const routes = families.get('passferry_requests_total')?.samples.map((each) => each.labels.route) ?? [];
    const v1 = routes.find((each) => /^\/users\/:\w+\/password$/.test(each ?? '')) as string;
    expect(requests({ route: v1, method: 'POST', status: '200' })).toBe(4);
    expect(requests({ route: v1, status: '400' })).toBe(1);
    expect(requests({ route: 'unknown', status: '404' })).toBe(1);
  });

  it('has the queues, the gates, holds and what is usual of a process', async () => {
    const held = await call('PUT', '/holds/v1', { reason: 'upgrade' });
    expect(held.status).toBe(200);
    const jobs = await Promise.all(
      ['100000000000000001', '100000000000000002'].map((user) => set(user, { prefer: 'respond-async' })),
    );
    expect(jobs.map(({ status }) => status)).toEqual([202, 202]);
    const { value } = await waitFor(
      async () => {
        const now = await numbers();
        const jobsIn = (state: string) => now.value('passferry_queue_jobs', { queue: 'interactive', state }) ?? 0;
        const all = jobsIn('waiting') + jobsIn('active') + jobsIn('delayed') === 2;
        return all && now.value('passferry_held', { backend: 'v1' }) === 1 ? now : undefined;
      },
      { what: 'both to wait' },
    );
    expect(value('passferry_throttle', { backend: 'v1', reason: 'held' })).toBe(1);
    expect(value('passferry_held', { backend: 'v2' })).toBe(0);
    expect(value('passferry_put_off_total', { backend: 'v1', reason: 'held' })).toBeGreaterThanOrEqual(1);
    expect(value('passferry_queue_oldest_seconds', { queue: 'interactive' })).toBeGreaterThanOrEqual(0);
    expect(value('passferry_gate_room', { backend: 'v2' })).toBe(8);
    expect(value('passferry_gate_limit', { backend: 'v2' })).toBe(8);
    expect(value('passferry_breaker_open', { backend: 'v2' })).toBe(0);
    expect(value('passferry_redis_up')).toBe(1);
    expect(value('passferry_worker_healthy')).toBe(1);
    expect(value('process_resident_memory_bytes')).toBeGreaterThan(1_000_000);
    await call('DELETE', '/holds/v1');
    await waitFor(
      async () => (await numbers()).value('passferry_outcomes_total', { outcome: 'set', backend: 'v1' }) === 6,
      {
        what: 'both to be set',
      },
    );
  });

  it('has no series for what somebody sends, and names nobody', async () => {
    for (let i = 0; i < 30; i++) {
      await call('GET', `/jobs/${randomUUID()}`);
      await call('GET', `/${randomUUID()}`);
      await call('PROPFIND', `/jobs/${randomUUID()}`).catch(() => {});
    }
    const { families } = await numbers();
    for (const [name, { samples, help }] of families) {
      if (!name.startsWith('passferry_')) continue;
      expect(help.length).toBeGreaterThan(10);
      expect(samples.length, name).toBeLessThan(60);
      for (const text of samples.flatMap(({ labels }) => Object.values(labels))) {
        expect(text).not.toMatch(/acme|globex|you|j0-|[0-9a-f]{8}-|\d{6}/);
      }
    }
    const routes = new Set(families.get('passferry_requests_total')?.samples.map(({ labels }) => labels.route));
    expect([...routes]).toContain('/jobs/:id');
  });

  it('answers nothing else, and only on its own port', async () => {
    const port = new URL(running.metricsUrl as string);
    const at = (path: string, method = 'GET') => fetch(new URL(path, port), { method });
    expect((await at('/')).status).toBe(404);
    expect((await at('/metrics', 'POST')).status).toBe(405);
    expect((await at('/metrics', 'HEAD')).status).toBe(200);
    expect((await call('GET', '/metrics')).status).toBe(404);
  });
});

describe('a worker', () => {
  it('tells breaker and throttle of a backend that is down, and only known reasons', async () => {
    const lane = { forbidden: 2, inside: 1, room: 2, limit: 8, waitingFor: 'backend_down', retryInMs: 5 };
    const meter = workMetrics(() => ({
      lanes: { v2: lane },
      waitingFor: {},
      stuckForMs: 1_500,
      healthy: false,
      quarantined: 3,
    }));
    meter.putOff('v2', 'backend_down');
    meter.putOff('v2', randomUUID());
    meter.ended({ code: 'expired', reason: 'job_expired', message: '', inEffect: false, at: 0 });
    const admin = await startAdmin({ host: '127.0.0.1', port: 0 }, [meter]);
    atEnd(() => admin.close());
    const { value, families } = await numbers(admin.url);
    const reason = (name: string) => value('passferry_throttle', { backend: 'v2', reason: name });
    expect(['backend_down', 'backend_limited', 'backend_forbidden', 'held'].map(reason)).toEqual([1, 1, 1, undefined]);
    expect(value('passferry_breaker_open', { backend: 'v2' })).toBe(1);
    expect(value('passferry_gate_room', { backend: 'v2' })).toBe(2);
    expect(value('passferry_worker_stuck_seconds')).toBe(1.5);
    expect(value('passferry_quarantined_jobs')).toBe(3);
    expect(value('passferry_outcomes_total', { outcome: 'expired', backend: 'none' })).toBe(1);
    const known = new Set([...Object.keys(reasons), ...Object.keys(codes), 'busy', 'other']);
    const told = families.get('passferry_put_off_total')?.samples.map(({ labels }) => labels.reason ?? '') ?? [];
    expect(told.sort()).toEqual(['backend_down', 'other']);
    expect(told.every((each) => known.has(each))).toBe(true);
  });

  it('shows no old depth while Redis is away', async () => {
    let up = true;
    const depth = { waiting: 4, active: 1, delayed: 2, oldestMs: 9_000 };
    const queues = queueMetrics(async () => {
      if (!up) throw new Error('away');
      return { interactive: depth, rows: { ...depth, oldestMs: null }, quarantine: depth };
    });
    const requests = requestMetrics();
    requests.count(undefined, 'X'.repeat(9), 499, 'no number');
    const admin = await startAdmin({ host: '127.0.0.1', port: 0 }, [queues, requests]);
    atEnd(() => admin.close());
    const before = await numbers(admin.url);
    expect(before.value('passferry_queue_jobs', { queue: 'rows', state: 'delayed' })).toBe(2);
    expect(before.value('passferry_queue_oldest_seconds', { queue: 'interactive' })).toBe(9);
    expect(before.value('passferry_requests_total')).toBe(1);
    expect(before.families.get('passferry_requests_total')?.samples[0]?.labels).toEqual({
      ...{ route: 'unknown', method: 'other', status: '499', grpc_status: '' },
    });
    up = false;
    const after = await numbers(admin.url);
    expect(after.value('passferry_redis_up')).toBe(0);
    expect(after.families.get('passferry_queue_jobs')?.samples).toEqual([]);
  });
});

describe('PASSFERRY_ADMIN_LISTEN', () => {
  const base = { PASSFERRY_REDIS_URL: 'redis://127.0.0.1', PASSFERRY_KEYS_DIR: dir };
  const serve = (more: object) => loadServeConfig({ ...base, PASSFERRY_CALLERS_FILE: dir, ...more });
  const work = (more: object) => loadWorkConfig({ ...base, PASSFERRY_V1_URL: 'postgres://127.0.0.1/v1', ...more });

  it('is off unless it is asked for, and leaves this machine only when that is said twice', () => {
    for (const load of [serve, work]) {
      expect(load({}).PASSFERRY_ADMIN_LISTEN).toBeUndefined();
      const wide = { PASSFERRY_ADMIN_LISTEN: '0.0.0.0:9464' };
      expect(() => load(wide)).toThrow(/PASSFERRY_ADMIN_LISTEN is not a loopback address/);
      expect(load({ ...wide, PASSFERRY_ALLOW_INSECURE: 'admin' }).PASSFERRY_ADMIN_LISTEN).toMatchObject({ port: 9464 });
      expect(load({ PASSFERRY_ADMIN_LISTEN: '[::1]:9464' }).PASSFERRY_ADMIN_LISTEN).toMatchObject({ host: '::1' });
    }
  });

  it('says at the start when its port is taken', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    atEnd(() => taken.close());
    const { port } = taken.address() as AddressInfo;
    await expect(startAdmin({ host: '127.0.0.1', port }, [])).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });
});
