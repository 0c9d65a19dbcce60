import type { BackendName } from '../job.ts';
import type { Beat, LaneFacts } from '../ledger/beats.ts';
import { backendNames, type Hold, isLedgerLost } from '../ledger/holds.ts';

/**
 * `ok`: nothing is in the way, or no job has met it yet · `slow`: it goes on with less, or not everywhere · `down`: its jobs
 * wait until it answers · `held`: until a person releases it · `unknown`: no worker is alive that knows it.
 */
export type Health = 'ok' | 'slow' | 'down' | 'held' | 'unknown';

export interface BackendHealth {
  backend: BackendName;
  health: Health;
  /** Why it is not `ok`: a name of `advice`. */
  reason?: string;
  /** Who holds it, since when and why. */
  hold?: { by: string; at: string; reason: string };
  /** Until one job tries again, ms; 0: the next job that comes tries. */
  retryInMs?: number;
  /** Changes under way, how many may be now, and how many at most, of all workers. */
  inside: number;
  room: number;
  limit: number;
  /** Workers that write it. */
  workers: number;
  /** Since it answered well, ms; null: it has not since the workers started. */
  lastOkMs: number | null;
}

/** What the workers and a person say of each backend that anybody knows. */
export function healthOf(beats: Beat[], holds: Hold[]): BackendHealth[] {
  return backendNames.flatMap((backend) => {
    const lanes = beats.flatMap(({ kind, lanes }) => (kind === 'worker' ? (lanes[backend] ?? []) : []));
    const hold = holds.find((each) => each.backend === backend);
    return lanes.length > 0 || hold ? [merge(backend, lanes, hold)] : [];
  });
}

function merge(backend: BackendName, lanes: LaneFacts[], hold: Hold | undefined): BackendHealth {
  const sum = (of: (lane: LaneFacts) => number) => lanes.reduce((total, lane) => total + of(lane), 0);
  const answered = lanes.flatMap(({ lastOkMs }) => lastOkMs ?? []);
  const counts = {
    inside: sum(({ inside }) => inside),
    room: sum(({ room }) => room),
    limit: sum(({ limit }) => limit),
    workers: lanes.length,
    lastOkMs: answered.length > 0 ? Math.min(...answered) : null,
  };
  return { backend, ...judge(lanes, hold), ...counts };
}

type Judged = Pick<BackendHealth, 'health' | 'reason' | 'hold' | 'retryInMs'>;

function judge(lanes: LaneFacts[], hold: Hold | undefined): Judged {
  if (hold) {
    const { by, at, reason } = hold;
    return { health: 'held', reason: isLedgerLost(hold) ? 'ledger_lost' : 'held', hold: { by, at, reason } };
  }
  if (lanes.length === 0) return { health: 'unknown', reason: 'no_worker' };
  const local = lanes.filter(({ localHold }) => localHold !== undefined);
  if (local.length > 0) return { health: local.length === lanes.length ? 'held' : 'slow', reason: 'held_locally' };
  const waiting = lanes.filter(({ waitingFor }) => waitingFor !== undefined);
  if (waiting.length > 0) {
    const reason = waiting[0]?.waitingFor as string;
    const retryInMs = Math.min(...waiting.map((lane) => lane.retryInMs ?? 0));
    const goesOn = waiting.length < lanes.length || reason === 'backend_limited';
    return { health: goesOn ? 'slow' : 'down', reason, retryInMs };
  }
  if (lanes.some(({ room, limit }) => room < limit)) return { health: 'slow', reason: 'backend_limited' };
  if (lanes.some(({ forbidden }) => forbidden > 0)) return { health: 'slow', reason: 'backend_forbidden' };
  return { health: 'ok' };
}
