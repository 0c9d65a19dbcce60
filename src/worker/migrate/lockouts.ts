import type { Redis } from 'ioredis';
import type { BackendName } from '../../job.ts';
import type { Keys } from '../../keys.ts';
import type { RunControl } from '../../ledger/run-control.ts';
import type { Log } from '../../log.ts';
import { under } from '../../under.ts';
import type { Lane } from '../lane.ts';

export type Lockouts = ReturnType<typeof startLockouts>;

/** Users of a run that this worker looks at again, drawn evenly from all; so many a second, one after the other. */
const kept = 200;
const aSecond = 4;
/** So many of those that were looked at again, and this share of them, are no people who have forgotten a password. */
const atLeast = 5;
const share = 0.05;
const readMs = 5_000;
const mostRuns = 16;

interface Looked {
  org: string;
  user: string;
  /** Undefined: not looked at again yet. */
  locked?: boolean;
}

/**
 * Whoever cannot log in with a password that was brought over is locked by v2 after some tries. Looks again at users whom a run has found or
 * brought in step while v2 had not locked them; when v2 has locked more and more of them since, the run holds until a person has looked.
 */
export function startLockouts(options: {
  redis: Redis;
  keys: Keys;
  runs: RunControl;
  lanes: Partial<Record<BackendName, Lane>>;
  log: Log;
}) {
  const { redis, keys, runs, lanes, log } = options;
  const stopping = new AbortController();
  const samples = new Map<string, { seen: number; next: number; users: Looked[] }>();
  let working: Promise<void> | undefined;

  async function round(): Promise<void> {
    const lane = lanes.v2;
    if (samples.size === 0 || !lane?.backend.readUser || (await lane.stands())) return;
    for (const [run, sample] of samples) {
      const [state, overruled] = await redis.hmget(keys.run(run), 'state', 'overruled');
      if (!state || state === 'completed' || state === 'cancelled' || overruled?.includes(' users_locked ')) {
        samples.delete(run);
      } else if (state === 'running') await look(run, sample, lane);
    }
  }

  async function lookAt(at: Looked, lane: Lane, signal: AbortSignal): Promise<void> {
    const leave = await lane.gate.enter('rows', signal, at.org);
    try {
      const read = await lane.backend.readUser?.(at.org, at.user, signal);
      at.locked = read?.org === at.org && read.state === 'locked';
    } catch {
      // Rows tell what is wrong with v2; who is gone is locked no more.
      delete at.locked;
    } finally {
      leave();
    }
  }

  async function look(run: string, sample: { next: number; users: Looked[] }, lane: Lane): Promise<void> {
    const { users } = sample;
    for (let i = Math.min(aSecond, users.length); i > 0 && !stopping.signal.aborted; i--) {
      const at = users[sample.next++ % users.length] as Looked;
      await under([stopping.signal, AbortSignal.timeout(readMs)], (signal) => lookAt(at, lane, signal));
    }
    const locked = users.filter((each) => each.locked).length;
    const all = users.filter((each) => each.locked !== undefined).length;
    if (locked < atLeast || locked < all * share) return;
    samples.delete(run);
    if (await runs.hold(run, 'users_locked')) {
      log.warn({ runId: run, locked, of: all }, 'a migration holds: v2 has locked users since they were brought over');
    }
  }

  const timer = setInterval(() => {
    working ??= round()
      .catch((err) => log.debug({ err }, 'users who were brought over cannot be looked at now'))
      .finally(() => {
        working = undefined;
      });
  }, 1_000);
  timer.unref();

  return {
    /** Is in step now, and v2 had not locked the user before. */
    note(run: string, { org, user }: { org: string; user: string }): void {
      let sample = samples.get(run);
      if (!sample) {
        if (samples.size >= mostRuns) return;
        sample = { seen: 0, next: 0, users: [] };
        samples.set(run, sample);
      }
      sample.seen++;
      const place = sample.users.length < kept ? sample.users.length : Math.floor(Math.random() * sample.seen);
      if (place < kept) sample.users[place] = { org, user };
    },

    async stop(): Promise<void> {
      clearInterval(timer);
      stopping.abort();
      await working;
    },
  };
}
