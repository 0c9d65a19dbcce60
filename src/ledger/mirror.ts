import { createHash, createHmac } from 'node:crypto';
import type { Redis } from 'ioredis';
import { PassferryError } from '../errors.ts';
import type { Keys } from '../keys.ts';
import type { JobKey } from '../signature.ts';
import { type Applied, readApplied, writeApplied } from './applied.ts';
import { type OpenAttempt, parseAttempt } from './begun.ts';
import { divergenceKeys, divergenceSteps, dueMember } from './divergence.ts';
import { evaluate } from './evaluate.ts';
import { prelude } from './lua.ts';
import { stageSteps } from './stages.ts';

/** A user, by the id that both backends are meant to know. */
export interface MirrorPlace {
  org: string;
  user: string;
}

export type MirrorTaken =
  | { kind: 'busy'; waitMs: number }
  | { kind: 'stage_moved' }
  | {
      kind: 'go';
      /** Redis time, ms. */
      now: number;
      /** What was applied last in each backend, as far as the ledger knows. */
      v1: Applied | undefined;
      v2: Applied | undefined;
      /** What was mirrored last, by {@link mirrorMark}. */
      mirrored: string | undefined;
      /** An earlier try whose answer nobody has. */
      attempt: OpenAttempt | undefined;
    };

/** As in the scripts of a job: an open attempt of a job blocks its user this much longer than its deadline. */
const settleGraceMs = 30_000;

export type Mirrors = ReturnType<typeof createMirrors>;

/**
 * The steps of bringing v2 in step with v1, under the user's lease. Errors: `redis_down`, `lease_lost`.
 * @param repairMs as in the ledger: how long an attempt that was looked for in vain may still land.
 */
export function createMirrors(redis: Redis, keys: Keys, jobKey: JobKey, repairMs = 600_000) {
  const run = (script: string, at: MirrorPlace, args: (string | number)[]) =>
    evaluate(
      redis,
      script,
      [keys.user(at.org, at.user), keys.stageTable, keys.writing, ...divergenceKeys(keys, at.org)],
      [at.org, at.user, dueMember(at.org, at.user), ...args],
    ) as Promise<string[]>;

  return {
    /** The user's lease, while the organization goes by the setting that was read. */
    async take(at: MirrorPlace, token: string, leaseMs: number, stage: string): Promise<MirrorTaken> {
      const reply = await run(take, at, [token, leaseMs, settleGraceMs, stage]);
      if (reply[0] === 'busy') return { kind: 'busy', waitMs: Number(reply[1]) };
      if (reply[0] === 'stage_moved') return { kind: 'stage_moved' };
      const [, now, v1, v2, mirrored, attempt] = reply;
      return {
        kind: 'go',
        now: Number(now),
        v1: v1 ? readApplied(jobKey, at, 'v1', v1) : undefined,
        v2: v2 ? readApplied(jobKey, at, 'v2', v2) : undefined,
        mirrored: mirrored || undefined,
        attempt: parseAttempt(attempt ?? ''),
      };
    },

    /** On record before it is sent, so that every other change waits for it. */
    async record(at: MirrorPlace, token: string, deadlineMs: number, before: number): Promise<void> {
      const [kind] = await run(record, at, [token, deadlineMs, before, repairMs]);
      if (kind !== 'ok') throw new PassferryError('lease_lost', { scope: 'backend' });
    },

    /** The try had no effect: by an answer, or (`mayLand`) it was looked for in vain. */
    async unrecord(at: MirrorPlace, token: string, mayLand = false): Promise<void> {
      await run(unrecord, at, [token, mayLand ? repairMs : 0]);
    },

    /** v1 has got a change that it followed: known as ours, unless something newer is. */
    async followed(at: MirrorPlace, change: { seq: string; jobId: string; changedAt: number }): Promise<void> {
      await run(followed, at, [writeApplied(jobKey, at, 'v1', change)]);
    },

    /** Gives the lease back; an attempt on record stays. */
    async release(at: MirrorPlace, token: string): Promise<void> {
      await run(release, at, [token]);
    },

    /**
     * v2 has what v1 has: known as ours from now on, and nobody is behind up to that change. @param changedAt when v2 says it was made.
     * @returns false: a newer change is not mirrored yet.
     */
    async done(
      at: MirrorPlace,
      token: string,
      change: { seq: string; jobId: string; changedAt: number; mark: string },
    ): Promise<boolean> {
      const applied = writeApplied(jobKey, at, 'v2', change);
      const [kind, settled] = await run(done, at, [token, applied, change.mark, change.seq]);
      if (kind !== 'ok') throw new PassferryError('lease_lost', { scope: 'backend' });
      return Number(settled) === 1;
    },
  };
}

/**
 * What tells that a hash with this flag was mirrored: keyed, for a bare digest of a weak hash could be searched.
 * @param key the job key; after its rotation a mark fits nothing and the hash is mirrored once more.
 */
export function mirrorMark(key: JobKey, { org, user }: MirrorPlace, hash: Buffer, changeRequired: boolean): string {
  const inner = createHash('sha256').update(hash).digest('base64url');
  return createHmac('sha256', key.current)
    .update(JSON.stringify(['mirror', org, user, inner, changeRequired]))
    .digest('base64url')
    .slice(0, 22);
}

/* Every script: KEYS user, stage table, writing, behind, due, divergent · ARGV org, user, member, then its own. */

/** ARGV … token, leaseMs, settleGraceMs, stage → {busy, ms} | {stage_moved} | {go, now, v1, v2, mirrored, attempt} */
const take = `${prelude}${stageSteps}
local now = now_ms()
local u = redis.call('HMGET', KEYS[1], 'leaseJob', 'leaseUntil', 'openJob', 'openUntil', 'v1', 'v2', 'mirrored', 'mirroring')
if u[1] and tonumber(u[2]) > now then return {'busy', text(tonumber(u[2]) - now)} end
if u[3] then
  local wait = tonumber(u[4]) + (u[3] == 'mirror' and 0 or tonumber(ARGV[6])) - now
  if wait > 0 then return {'busy', text(wait)} end
end
if stage_text(KEYS[2], ARGV[1]) ~= ARGV[7] then return {'stage_moved'} end
unmark_lease(KEYS[3], KEYS[1])
local until_ms = text(now + tonumber(ARGV[5]))
redis.call('HSET', KEYS[1], 'leaseJob', 'mirror', 'leaseToken', ARGV[4], 'leaseUntil', until_ms)
redis.call('PEXPIRE', KEYS[1], 2764800000)
mark_lease(KEYS[3], KEYS[1], ARGV[1], ARGV[7], until_ms, ARGV[4])
return {'go', text(now), u[5] or '', u[6] or '', u[7] or '', u[8] or ''}
`;

/** ARGV … token, deadlineMs, before, danglingMs → {ok} | {lost} */
const record = `${prelude}
local now = now_ms()
local u = redis.call('HMGET', KEYS[1], 'leaseToken', 'leaseUntil', 'openJob', 'leaseMark')
if u[1] ~= ARGV[4] or tonumber(u[2]) <= now then return {'lost'} end
local deadline = now + tonumber(ARGV[5])
if u[3] and u[3] ~= 'mirror' then redis.call('HSET', KEYS[1], 'danglingUntil', text(now + tonumber(ARGV[7]))) end
local until_ms = text(math.max(tonumber(u[2]), deadline + 5000))
redis.call('HSET', KEYS[1], 'mirroring', text(now) .. ':' .. text(deadline) .. ':' .. ARGV[6], 'openJob', 'mirror',
  'openUntil', text(deadline), 'leaseUntil', until_ms)
if u[4] then redis.call('ZADD', KEYS[3], 'XX', until_ms, u[4]) end
return {'ok'}
`;

const close = `
local function close()
  redis.call('HDEL', KEYS[1], 'mirroring')
  if redis.call('HGET', KEYS[1], 'openJob') == 'mirror' then redis.call('HDEL', KEYS[1], 'openJob', 'openUntil') end
end
local function give_back()
  unmark_lease(KEYS[3], KEYS[1])
  redis.call('HDEL', KEYS[1], 'leaseJob', 'leaseToken', 'leaseUntil')
end
local mine = redis.call('HGET', KEYS[1], 'leaseToken') == ARGV[4]
`;

/** ARGV … token, danglingMs */
const unrecord = `${prelude}${stageSteps}${close}
if not mine then return {'lost'} end
close()
if tonumber(ARGV[5]) > 0 then redis.call('HSET', KEYS[1], 'danglingUntil', text(now_ms() + tonumber(ARGV[5]))) end
return {'ok'}
`;

/** ARGV … applied */
const followed = `${prelude}
if applied_seq(redis.call('HGET', KEYS[1], 'v1')) < applied_seq(ARGV[4]) then redis.call('HSET', KEYS[1], 'v1', ARGV[4]) end
redis.call('PEXPIRE', KEYS[1], 2764800000)
return {'ok'}
`;

/** ARGV … token */
const release = `${stageSteps}${close} if mine then give_back() end return {'ok'}`;

/** ARGV … token, applied, mark, seq → {ok, settled} | {lost} */
const done = `${prelude}${stageSteps}${divergenceSteps}${close}
if not mine then return {'lost'} end
close()
give_back()
local known = redis.call('HGET', KEYS[1], 'v2')
if applied_seq(known) <= applied_seq(ARGV[5]) then redis.call('HSET', KEYS[1], 'v2', ARGV[5]) end
redis.call('HSET', KEYS[1], 'mirrored', ARGV[6])
return {'ok', converge(KEYS[4], KEYS[5], KEYS[6], ARGV[1], ARGV[2], ARGV[3], ARGV[7])}
`;
