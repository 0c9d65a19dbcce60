import type { Redis } from 'ioredis';
import { PassferryError, toPassferryError } from '../errors.ts';
import { openFollow, readFollow, sealFollow } from '../follow.ts';
import type { BackendName, SetPasswordData } from '../job.ts';
import type { Keys } from '../keys.ts';
import { createDivergences, type Divergence } from '../ledger/divergence.ts';
import { keepDataKey } from '../ledger/failed.ts';
import { createMirrors, type MirrorPlace } from '../ledger/mirror.ts';
import type { Log } from '../log.ts';
import type { Opener } from '../seal.ts';
import type { JobKey } from '../signature.ts';
import { follower, type Stage, stageOfUser } from '../stage.ts';
import { trace } from '../trace.ts';
import { under } from '../under.ts';
import type { Lane } from './lane.ts';
import { createMirrorTurns, type TryEnd } from './mirror-turn.ts';
import type { Given } from './sending.ts';
import type { KnownStages } from './stages.ts';

export interface InStepDeps {
  redis: Redis;
  keys: Keys;
  jobKey: JobKey;
  open: Opener;
  lanes: Partial<Record<BackendName, Lane>>;
  stages: KnownStages;
  log: Log;
  deadlineMs: number;
  settleMs: number;
  leaseMs: number;
  stopping: AbortSignal;
}

/** What the commit of a change says of the backend that follows. */
export interface Following {
  backend: BackendName;
  cause: string;
  payload?: string;
}

/** Looked at again so often, ms; so many at once. */
const everyMs = 1_000;
const atOnce = 50;
/** More than these are not begun here: the list brings the others when there is room. */
const mostUnderWay = 500;
const longestMs = 10 * 60_000;
/** A hash that v1 has not got is kept for as long as it takes, month by month, ms. */
const keepKeyMs = 30 * 24 * 3_600_000;

export type InStep = ReturnType<typeof createInStep>;

/**
 * Keeps the follower of each user in step with its leader. The list of who is behind is the ledger's, written in the commit of the
 * change: it is the queue of this work, so nothing is lost with a process, and a follower that fails never fails a caller.
 */
export function createInStep(deps: InStepDeps) {
  const { redis, keys, jobKey, open, lanes, stages, log, deadlineMs, settleMs, leaseMs, stopping } = deps;
  const mirrors = createMirrors(redis, keys, jobKey);
  const mirror = createMirrorTurns({ mirrors, jobKey, lanes, stages, deadlineMs, settleMs, leaseMs });
  const divergences = createDivergences(redis, keys);
  const underWay = new Map<string, Promise<void>>();

  /** What v1 is to be given: the hash of a password, or the hash itself, sealed. Never fails the change that it follows. */
  async function payloadOf(data: SetPasswordData, given: Given): Promise<Following> {
    const { backend } = lanes.v1 ?? {};
    const none = (cause: string): Following => ({ backend: 'v1', cause });
    if (!backend?.setHash) return none('ability_missing');
    try {
      // What was hashed for v2 serves v1 too, unless it hashes something else than the password.
      const usable = given.password === undefined || backend.verifiers?.includes('bcrypt') ? given.hash : undefined;
      const hash = usable ?? (given.password && (await backend.makeHash?.(given.password, stopping)));
      if (!hash) return none('ability_missing');
      const follow = sealFollow(await open.keyOf(data.dataKey), data, hash);
      if (!usable) hash.wipe();
      return { backend: 'v1', cause: 'pending', payload: JSON.stringify(follow) };
    } catch (thrown) {
      return none(toPassferryError(thrown).reason);
    }
  }

  /** What v2 has and v1 has not, one user: v1 itself decides the order. */
  async function follow(at: MirrorPlace, seq: bigint, signal: AbortSignal): Promise<TryEnd> {
    const lane = lanes.v1;
    if (!lane?.backend.setHash) return { kind: 'refused', reason: 'ability_missing', seq: '0' };
    const stored = readFollow(await redis.get(keys.follow(at.org, at.user)));
    if (!stored || BigInt(stored.seq) < seq) return { kind: 'refused', reason: 'follow_lost', seq: String(seq) };
    const wait = await lane.mustWait(at.org);
    if (wait) {
      await keepDataKey(redis, keys, stored.dataKey, keepKeyMs);
      return { kind: 'waits', ...wait };
    }
    const leave = await lane.gate.enter('rows', signal, at.org);
    try {
      const hash = openFollow(await open.keyOf(stored.dataKey), stored);
      try {
        const { jobId, org, user, acceptedAt, changeRequired, overwriteNewer } = stored;
        const change = { jobId, org, user, seq: BigInt(stored.seq), acceptedAt, hash, changeRequired, overwriteNewer };
        const { setHash } = lane.backend;
        const applied = await under([signal, AbortSignal.timeout(deadlineMs)], (within) =>
          setHash.call(lane.backend, change, within),
        );
        lane.worked(org);
        trace('follow:made', { jobId, backend: 'v1', reason: applied.result });
        if (applied.result === 'stale') return { kind: 'refused', reason: 'ahead', seq: stored.seq };
        const changedAt = applied.details ? Date.parse(applied.details.changeDate) : 0;
        if (applied.result !== 'superseded') await mirrors.followed(at, { seq: stored.seq, jobId, changedAt });
        return { kind: applied.result === 'set' ? 'mirrored' : 'unchanged', seq: stored.seq, ours: true };
      } finally {
        hash.wipe();
      }
    } catch (thrown) {
      const error = signal.aborted ? new PassferryError('aborted', { scope: 'backend' }) : toPassferryError(thrown);
      await keepDataKey(redis, keys, stored.dataKey, keepKeyMs);
      if (error.scope === 'user') return { kind: 'refused', reason: error.reason, seq: stored.seq };
      return { kind: 'waits', reason: error.reason, ms: signal.aborted ? 0 : lane.waitAfter(error, at.org) };
    } finally {
      leave();
    }
  }

  /** One user who is behind, as far as the stage wants it. */
  async function bring(at: MirrorPlace): Promise<void> {
    const known = await divergences.of(at.org, at.user);
    if (!known) return;
    const stage = stageOfUser(await stages.of(at.org), at.org, at.user);
    const end = known.follower === 'v2' ? await toV2(at, stage) : await toV1(at, known, stage);
    if (end === 'left') return;
    await record(at, known, end);
  }

  async function toV2(at: MirrorPlace, stage: Stage): Promise<TryEnd> {
    // Where nobody follows, it stays what it is until somebody does.
    if (stage === 'v1' || stage === 'v2') return { kind: 'refused', reason: 'not_followed', seq: '0' };
    return mirror(at, stopping);
  }

  async function toV1(at: MirrorPlace, known: Divergence, stage: Stage): Promise<TryEnd | 'left'> {
    if (stage !== 'v2') return follow(at, known.seq, stopping);
    // There is no way back: nobody will read v1 again.
    await divergences.settle(at, String(known.seq));
    return 'left';
  }

  async function record(at: MirrorPlace, known: Divergence, end: TryEnd): Promise<void> {
    const { follower: name, seq, tries } = known;
    if (!('reason' in end)) {
      await divergences.settle(at, end.seq);
      return;
    }
    const said = { follower: name, seq: String(seq) };
    if (end.kind === 'waits') {
      const counts = end.reason !== 'busy' && end.reason !== 'stage_moved' && !stopping.aborted;
      const cause = counts ? end.reason : known.cause;
      const ms = Math.max(end.ms, counts ? Math.min(longestMs, everyMs * 2 ** Math.min(tries, 10)) : 0);
      await divergences.note(at, { ...said, cause, tries: tries + (counts ? 1 : 0) }, ms);
      return;
    }
    log.info(
      { org: at.org, reason: end.reason, backend: name },
      'a user is not in step, and waits for somebody to look',
    );
    await divergences.note(at, { ...said, cause: end.reason, tries: tries + 1 }, undefined);
  }

  /** Starts it and does not wait. */
  function drive(at: MirrorPlace): void {
    const name = JSON.stringify([at.org, at.user]);
    if (underWay.has(name) || underWay.size >= mostUnderWay || stopping.aborted) return;
    const trying = bring(at)
      .catch((err) => log.debug({ err }, 'a follower could not be brought in step; it is tried again'))
      .finally(() => underWay.delete(name));
    underWay.set(name, trying);
  }

  async function round(): Promise<void> {
    if (underWay.size >= atOnce) return;
    for (const at of await divergences.due(atOnce - underWay.size)) drive(at);
  }

  let looking: Promise<void> | undefined;
  const timer = setInterval(() => {
    looking ??= round()
      .catch((err) => log.debug({ err }, 'who is behind cannot be read now'))
      .finally(() => {
        looking = undefined;
      });
  }, everyMs);
  timer.unref();

  return {
    mirror,
    drive,

    /** What the commit of a change says of who follows; undefined: nobody does. */
    async following(data: SetPasswordData, stage: Stage, given: Given): Promise<Following | undefined> {
      const name = follower(stage);
      if (name === undefined) return undefined;
      return name === 'v2' ? { backend: 'v2', cause: 'pending' } : payloadOf(data, given);
    },

    async stop(): Promise<void> {
      clearInterval(timer);
      await Promise.all([looking, ...underWay.values()]);
    },
  };
}
