import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import { type Code, codes, putOff, reasons } from './errors.ts';
import { type BackendName, isFailure, type Outcome, type Result } from './job.ts';
import type { LaneFacts } from './ledger/beats.ts';
import type { Standing } from './ledger/divergence-tally.ts';
import type { QueueDepths } from './ledger/queue-depth.ts';

/**
 * Numbers for Prometheus. Labels are from closed lists: no user, organization, caller or job is ever in one, and whatever somebody
 * sends adds no series.
 */
export interface Metrics {
  readonly registry: Registry;
  /** Brings gauges up to date before they are read. */
  refresh?(): Promise<void>;
}

/** All parts as one text, with the numbers of this process. */
export async function metricsText(parts: readonly Metrics[]): Promise<string> {
  await Promise.all(parts.map((part) => part.refresh?.()));
  const text = await Registry.merge([processRegistry(), ...parts.map(({ registry }) => registry)]).metrics();
  // As the format has it; the library writes it otherwise.
  return text.replace(/ Nan$/gm, ' NaN');
}

export const metricsType = Registry.PROMETHEUS_CONTENT_TYPE;

let ofProcess: Registry | undefined;
/** They watch the process from the first time they are asked for. */
export function processRegistry(): Registry {
  if (!ofProcess) {
    ofProcess = new Registry();
    collectDefaultMetrics({ register: ofProcess });
  }
  return ofProcess;
}

const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']);

export interface RequestMetrics extends Metrics {
  /** @param route the pattern, or undefined when nothing is there; @param grpc its status number, when it is a call of gRPC. */
  count(route: string | undefined, method: string, status: number, grpc?: string): void;
}

export function requestMetrics(): RequestMetrics {
  const registry = new Registry();
  const requests = new Counter({
    name: 'passferry_requests_total',
    help: 'Answered requests; grpc_status is empty unless the protocol is gRPC. Status 499: the caller went first.',
    labelNames: ['route', 'method', 'status', 'grpc_status'],
    registers: [registry],
  });
  return {
    registry,
    count(route = 'unknown', method, status, grpc = '') {
      const known = methods.has(method) ? method : 'other';
      const number = /^(\d|1[0-6])$/.test(grpc) ? grpc : '';
      requests.inc({ route, method: known, status: String(status), grpc_status: number });
    },
  };
}

/** @param read what stands in the queues; when it fails the gauges are absent, and `passferry_redis_up` is 0. */
export function queueMetrics(read: () => Promise<QueueDepths>): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const up = new Gauge({ name: 'passferry_redis_up', help: 'Redis answered just now.', registers });
  const jobs = new Gauge({
    name: 'passferry_queue_jobs',
    help: 'Jobs in a queue by state.',
    labelNames: ['queue', 'state'],
    registers,
  });
  const oldest = new Gauge({
    name: 'passferry_queue_oldest_seconds',
    help: 'Age of the oldest job that is waiting or delayed, at least; 0 when there is none.',
    labelNames: ['queue'],
    registers,
  });
  return {
    registry,
    async refresh() {
      const depths = await read().catch(() => undefined);
      up.set(depths ? 1 : 0);
      jobs.reset();
      oldest.reset();
      for (const [queue, { waiting, active, delayed, oldestMs }] of Object.entries(depths ?? {})) {
        jobs.set({ queue, state: 'waiting' }, waiting);
        jobs.set({ queue, state: 'active' }, active);
        jobs.set({ queue, state: 'delayed' }, delayed);
        oldest.set({ queue }, (oldestMs ?? 0) / 1_000);
      }
    },
  };
}

const causesKnown = new Set<string>([
  ...Object.keys(reasons),
  ...[
    'pending',
    'unseen',
    'ahead',
    'busy',
    'follow_lost',
    'v1_behind',
    'no_hash',
    'user_missing_in_v2',
    'user_deleted',
  ],
  ...['user_initial', 'identity_mismatch', 'verifier_off', 'not_followed'],
]);

/** @param read who is not in step now; when it fails the gauge is absent. */
export function stepMetrics(read: () => Promise<Standing[]>): Metrics {
  const registry = new Registry();
  const users = new Gauge({
    name: 'passferry_not_in_step',
    help: 'Users whose other backend has not their newest password, by that backend and by cause.',
    labelNames: ['follower', 'cause'],
    registers: [registry],
  });
  return {
    registry,
    async refresh() {
      const found = await read().catch(() => []);
      users.reset();
      for (const { follower, cause, users: n } of found) {
        users.inc({ follower, cause: causesKnown.has(cause) ? cause : 'other' }, n);
      }
    },
  };
}

/** What a worker is asked when its numbers are read. */
export interface WorkFacts {
  lanes: Partial<Record<BackendName, LaneFacts>>;
  /** Backends that are held as this worker last saw it. */
  waitingFor: Partial<Record<BackendName, string>>;
  stuckForMs: number;
  healthy: boolean;
  quarantined: number;
}

export interface WorkMetrics extends Metrics {
  ended(outcome: Outcome): void;
  putOff(backend: BackendName, reason: string): void;
}

const results = ['set', 'unchanged', 'superseded', 'stale', 'mirrored', 'link_sent'] as const satisfies Result[];
const reasonsKnown = new Set<string>([...Object.keys(putOff), 'busy']);
const known = (reason: string) => (reasonsKnown.has(reason) ? reason : 'other');

/** @param facts undefined before the worker is there. */
export function workMetrics(facts: () => WorkFacts | undefined): WorkMetrics {
  const registry = new Registry();
  const registers = [registry];
  const gauge = (name: string, help: string, ...labelNames: string[]) =>
    new Gauge({ name: `passferry_${name}`, help, labelNames, registers });
  const outcomes = new Counter({
    name: 'passferry_outcomes_total',
    help: 'Outcomes that this worker recorded, by result or code and backend (none: it was never sent to one).',
    labelNames: ['outcome', 'backend'],
    registers,
  });
  const delays = new Counter({
    name: 'passferry_put_off_total',
    help: 'How often a job was put off, by backend and reason.',
    labelNames: ['backend', 'reason'],
    registers,
  });
  const breaker = gauge('breaker_open', 'Nothing is sent until the backend is tried again.', 'backend');
  const throttle = gauge('throttle', 'Why jobs of a backend wait or get less at once.', 'backend', 'reason');
  const held = gauge('held', 'A person holds the backend, as this worker last saw it.', 'backend');
  const room = gauge('gate_room', 'Changes that may be under way at once now.', 'backend');
  const limit = gauge('gate_limit', 'Changes that may be under way at once when all is well.', 'backend');
  const inside = gauge('gate_inside', 'Changes under way.', 'backend');
  const healthy = gauge('worker_healthy', 'Jobs move, or none waits.');
  const stuck = gauge('worker_stuck_seconds', 'How long jobs have waited and none moved on.');
  const quarantined = gauge('quarantined_jobs', 'Jobs in quarantine that still want to run, as last seen.');

  function lane(backend: string, facts: LaneFacts, isHeld: boolean): void {
    breaker.set({ backend }, facts.waitingFor ? 1 : 0);
    held.set({ backend }, isHeld ? 1 : 0);
    room.set({ backend }, facts.room);
    limit.set({ backend }, facts.limit);
    inside.set({ backend }, facts.inside);
    if (isHeld) throttle.set({ backend, reason: 'held' }, 1);
    if (facts.waitingFor) throttle.set({ backend, reason: known(facts.waitingFor) }, 1);
    if (facts.room < facts.limit) throttle.set({ backend, reason: 'backend_limited' }, 1);
    if (facts.forbidden > 0) throttle.set({ backend, reason: 'backend_forbidden' }, 1);
  }

  return {
    registry,
    ended(outcome) {
      const name = isFailure(outcome) ? codeOf(outcome.code) : resultOf(outcome.result);
      outcomes.inc({ outcome: name, backend: outcome.backend ?? 'none' });
    },
    putOff: (backend, reason) => delays.inc({ backend, reason: known(reason) }),
    async refresh() {
      throttle.reset();
      const now = facts();
      if (!now) return;
      for (const [backend, each] of Object.entries(now.lanes)) {
        lane(backend, each, each.localHold !== undefined || now.waitingFor[backend as BackendName] === 'held');
      }
      healthy.set(now.healthy ? 1 : 0);
      stuck.set(now.stuckForMs / 1_000);
      quarantined.set(now.quarantined);
    },
  };
}

const codeOf = (code: Code) => (Object.hasOwn(codes, code) ? code : 'other');
const resultOf = (result: Result) => (results.includes(result) ? result : 'other');
