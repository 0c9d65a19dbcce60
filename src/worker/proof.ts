import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import type { Backend } from '../adapters/port.ts';
import { PassferryError, toPassferryError } from '../errors.ts';
import type { BackendName, SetPasswordData } from '../job.ts';
import type { Keys } from '../keys.ts';
import type { RunControl } from '../ledger/run-control.ts';
import { storedFields } from '../ledger/run-view.ts';
import type { Log } from '../log.ts';
import type { Secret } from '../secret.ts';
import { trace } from '../trace.ts';
import { sameMs } from './peek.ts';

/** What a login with a password that was just set has shown. */
type Proof = 'works' | 'fails' | 'unknown';

export type Prover = Pick<ReturnType<typeof createProver>, 'check' | 'stored'>;

/** So many rows of a run are proved by each worker whatever the share. */
const always = 5;
const defaultShare = 0.01;
/** Runs whose first proofs are counted. */
const remembered = 64;

/** 200 is not proof (P9): tries the login of some rows of each run, and holds the run when one does not work. */
export function createProver(options: {
  redis: Redis;
  keys: Keys;
  runs: RunControl;
  log: Log;
  /** Share of the rows that is proved, 0 to 1; undefined: 0.01. */
  shareOf: (run: string, row: number) => Promise<number | undefined>;
  /** Share of the single requests that is proved where v1 follows v2, 0 to 1. Default 0.01. */
  liveShare?: number;
  /** How long what was changed may take to be read, ms. */
  settleMs: number;
  /** Holds a backend that lies. */
  hold: (backend: BackendName, reason: string) => Promise<unknown>;
}) {
  const { redis, keys, runs, log, liveShare = defaultShare } = options;
  const firsts = new Map<string, number>();

  async function isChosen(run: string, row: number): Promise<boolean> {
    const share = (await options.shareOf(run, row)) ?? defaultShare;
    // Nobody who says "none" wants the first ones either.
    return share > 0 && ((firsts.get(run) ?? 0) < always || placeInSample(run, row) < share);
  }

  function begunWith(run: string): void {
    if (firsts.size >= remembered && !firsts.has(run)) firsts.delete(firsts.keys().next().value as string);
    firsts.set(run, (firsts.get(run) ?? 0) + 1);
  }

  /** Single requests on the way from v1 to v2: a sample, the same for each look. A failed one holds the backend. */
  async function checkLive(
    data: SetPasswordData,
    backend: Backend,
    password: Secret | undefined,
    changedAt: number,
    signal: AbortSignal,
  ): Promise<void> {
    if (!password || inSample(data.jobId) >= liveShare) return;
    const proof = await prove(data, backend, password, changedAt, signal).catch((thrown: unknown): Proof => {
      if (signal.aborted) throw thrown;
      return 'unknown';
    });
    trace('job:proved', { jobId: data.jobId, backend: backend.name, reason: proof });
    if (proof !== 'fails') return;
    log.error(
      { jobId: data.jobId, backend: backend.name },
      'a password was said to be set, and a login with it failed',
    );
    await options.hold(backend.name, 'proof_failed: a login with a password that was said to be set does not work');
    throw new PassferryError('proof_failed');
  }

  return {
    // Single requests bring no hashes.
    live: { check: checkLive, stored: async () => {} },

    /**
     * After the backend said that it set the password at `changedAt` (ms; 0: unknown). Error `proof_failed`, scope `user`, when a
     * login shows that it did not; the run holds by then. What cannot be looked at proves nothing; a hash has no password to log in with
     * ({@link stored}).
     */
    async check(
      data: SetPasswordData,
      backend: Backend,
      password: Secret | undefined,
      changedAt: number,
      signal: AbortSignal,
    ): Promise<void> {
      const { run, row } = data;
      if (!password) return;
      if (run === undefined || row === undefined || !(await isChosen(run, row))) return;
      const proof = await prove(data, backend, password, changedAt, signal).catch((thrown: unknown): Proof => {
        if (signal.aborted) throw thrown;
        log.info({ run, row, reason: toPassferryError(thrown).reason }, 'a login could not be proved');
        return 'unknown';
      });
      await redis.hincrby(keys.run(run), countOf[proof], 1).catch(() => {});
      if (proof === 'unknown') return;
      begunWith(run);
      if (proof === 'works') return;
      log.error({ run, row, backend: backend.name }, 'a password was said to be set, and a login with it failed');
      await runs.hold(run, 'proof_failed');
      throw new PassferryError('proof_failed');
    },

    /**
     * After the backend said that it stored a hash: is its change to be read? `before`: the newest one that was known, ms. Error
     * `proof_failed` as above.
     */
    async stored(data: SetPasswordData, backend: Backend, before: number, signal: AbortSignal): Promise<void> {
      const { run, row } = data;
      if (run === undefined || row === undefined || !(await isChosen(run, row))) return;
      const seen = await readBack(data, backend, before, options.settleMs, signal).catch((thrown: unknown): Seen => {
        if (signal.aborted) throw thrown;
        log.info({ run, row, reason: toPassferryError(thrown).reason }, 'a change could not be read back');
        return 'unknown';
      });
      await redis.hincrby(keys.run(run), storedFields[seen], 1).catch(() => {});
      if (seen === 'unknown') return;
      begunWith(run);
      if (seen === 'seen') return;
      log.error({ run, row, backend: backend.name }, 'a hash was said to be stored, and no change is to be read');
      await runs.hold(run, 'proof_failed');
      throw new PassferryError('proof_failed');
    },
  };
}

/** Counters of a run. */
const countOf = { works: 'proofWorks', fails: 'proofFails', unknown: 'proofUnknown' } as const satisfies Record<
  Proof,
  string
>;

/** Locked and inactive users cannot log in, and a newer password is another story: looked at before and after. */
async function prove(
  { org, user }: SetPasswordData,
  backend: Backend,
  password: Secret,
  changedAt: number,
  signal: AbortSignal,
): Promise<Proof> {
  if (!backend.prove) return 'unknown';
  const canTell = async () => {
    const read = await backend.readUser?.(org, user, signal);
    if (!read) return true;
    return read.state === 'active' && (changedAt === 0 || (read.passwordChangedAt ?? 0) <= changedAt + sameMs);
  };
  if (!(await canTell())) return 'unknown';
  if (await backend.prove(org, user, password, signal)) return 'works';
  return (await canTell()) ? 'fails' : 'unknown';
}

type Seen = keyof typeof storedFields;

/** The read model lags, so a change that is not there yet is looked for again. */
async function readBack(
  { org, user }: SetPasswordData,
  backend: Backend,
  before: number,
  withinMs: number,
  signal: AbortSignal,
): Promise<Seen> {
  const until = performance.now() + withinMs;
  for (let pause = 20; ; pause = Math.min(500, pause * 2)) {
    const read = await backend.readUser?.(org, user, signal);
    if (!read) return 'unknown';
    if ((read.passwordChangedAt ?? 0) > before + sameMs) return 'seen';
    const left = until - performance.now();
    if (left <= 0) return 'missing';
    await sleep(Math.min(pause, Math.max(1, left)), undefined, { signal });
  }
}

/** The same for each look at a row: 0 to 1. */
function placeInSample(run: string, row: number): number {
  return inSample(`${run}\0${row}`);
}

function inSample(name: string): number {
  return createHash('sha256').update(`proof\0${name}`).digest().readUInt32BE(0) / 2 ** 32;
}
