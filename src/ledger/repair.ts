import type { Redis } from 'ioredis';
import { PassferryError } from '../errors.ts';
import { type BackendName, decodeJobData, type SetPasswordData } from '../job.ts';
import type { Keys } from '../keys.ts';
import { type JobKey, jobParts, verify } from '../signature.ts';
import { type Applied, type Place, readApplied, writeApplied } from './applied.ts';
import { evaluate } from './evaluate.ts';
import { prelude } from './lua.ts';

/** A user whose older change was made after a newer one. */
export interface Inverted extends Place {
  backend: BackendName;
}

/** All that is needed to set the newest password again; every part carries our signature. */
export interface Repairable {
  kind: 'repairable';
  /** The newest change: the one that must be in force. */
  newest: Applied;
  /** The older change that came after it. */
  late: Applied;
  /** Job data of the newest. */
  data: SetPasswordData;
}

export type Look =
  | Repairable
  /** Something newer was applied: nothing to repair. */
  | { kind: 'over' }
  /** The newest password is kept no longer, or a record is not ours: `jobId` is the newest job where it is known. */
  | { kind: 'lost'; jobId: string };

export type Taken =
  | { kind: 'busy' }
  | {
      kind: 'go';
      /** An earlier try whose answer nobody has; Redis times, ms. */
      attempt: { sentAt: number; deadline: number; before: number } | undefined;
      now: number;
    };

export type Repairs = ReturnType<typeof createRepairs>;

/** A payload that waits for its repair is kept so long from when the inversion was seen. */
const keptMs = 24 * 3_600_000;
/** As in the scripts of a job: an open attempt of a job blocks its user this much longer than its deadline. */
const settleGraceMs = 30_000;

/**
 * The steps of a repair. @param repairMs as in the ledger: how long an attempt that was looked for in vain may still land.
 */
export function createRepairs(redis: Redis, keys: Keys, jobKey: JobKey, repairMs = 600_000) {
  const all = (at: Inverted) => [keys.user(at.org, at.user), keys.inverted, keys.repair(at.org, at.user)];
  const run = (script: string, at: Inverted, args: (string | number)[]) =>
    evaluate(redis, script, all(at), [JSON.stringify([at.org, at.user, at.backend]), at.backend, ...args]) as Promise<
      string[]
    >;

  /** Job data in Redis → the same, when it is ours and the one that was applied. */
  function readPayload(at: Inverted, stored: string | null, newest: Applied): SetPasswordData | undefined {
    try {
      const data = decodeJobData(JSON.parse(stored ?? ''));
      const { mac, ...signed } = data;
      const fits = data.jobId === newest.jobId && BigInt(data.seq) === newest.seq;
      const mine = data.org === at.org && data.user === at.user;
      return fits && mine && verify(jobKey, 'job', jobParts(signed), mac) ? data : undefined;
    } catch {
      return undefined;
    }
  }

  return {
    /** Those to repair in one backend, the oldest first. */
    async inverted(backend: BackendName, limit: number): Promise<Inverted[]> {
      const members = await redis.zrange(keys.inverted, 0, limit - 1);
      const places = members.map((member) => ({ member, place: readPlace(member) }));
      const strange = places.flatMap(({ member, place }) => (place ? [] : [member]));
      if (strange.length > 0) await redis.zrem(keys.inverted, ...strange);
      return places.flatMap(({ place }) => (place?.backend === backend ? [place] : []));
    },

    async look(at: Inverted): Promise<Look> {
      const [known, inversion] = await redis.hmget(keys.user(at.org, at.user), at.backend, 'inversion');
      if (!inversion) return { kind: 'over' };
      const newest = known ? readApplied(jobKey, at, at.backend, known) : undefined;
      const late = readApplied(jobKey, at, at.backend, inversion);
      const data = newest && readPayload(at, await redis.get(keys.repair(at.org, at.user)), newest);
      if (!newest || !late || !data) return { kind: 'lost', jobId: newest?.jobId ?? '' };
      return { kind: 'repairable', newest, late, data };
    },

    /** The backend cannot be written now: the payload is kept a while longer. */
    async keep(at: Inverted): Promise<void> {
      await run(keepPayload, at, [repairMs, keptMs]);
    },

    /** The lease of the user, if nobody writes it and it is still that inversion. */
    async take(at: Inverted, found: Repairable, token: string, leaseMs: number): Promise<Taken> {
      const [kind, now, attempt] = await run(take, at, [token, leaseMs, found.newest.jobId, settleGraceMs]);
      if (kind !== 'go') return { kind: 'busy' };
      const [sentAt = 0, deadline = 0, before = 0] = (attempt ?? '').split(':').map(Number);
      return { kind: 'go', now: Number(now), attempt: attempt ? { sentAt, deadline, before } : undefined };
    },

    /** On record before it is sent, so that every other change waits for it. Error: `lease_lost`. */
    async record(at: Inverted, found: Repairable, token: string, deadlineMs: number, before: number): Promise<void> {
      const [kind] = await run(record, at, [token, deadlineMs, found.newest.jobId, before, repairMs]);
      if (kind !== 'ok') throw new PassferryError('lease_lost', { scope: 'backend' });
    },

    /** The try had no effect: by an answer, or (`mayLand`) it was looked for in vain. */
    async unrecord(at: Inverted, mayLand = false): Promise<void> {
      await run(unrecord, at, [mayLand ? repairMs : 0]);
    },

    /** Gives the lease back; an attempt on record stays. */
    async release(at: Inverted, token: string): Promise<void> {
      await run(release, at, [token]);
    },

    /**
     * The newest was set again. `inverted`: something newer still was applied meanwhile, and ours came after that: it is
     * listed again. @param answered false: the change was found by reading.
     */
    async done(
      at: Inverted,
      { newest }: Repairable,
      token: string,
      changedAt: number,
      answered: boolean,
    ): Promise<'ok' | 'newer' | 'inverted'> {
      const again = { seq: newest.seq.toString(), jobId: newest.jobId, changedAt };
      const value = writeApplied(jobKey, at, at.backend, again);
      const [kind] = await run(done, at, [token, value, answered ? 1 : 0, repairMs]);
      return kind as 'ok' | 'newer' | 'inverted';
    },

    /** Nothing is repaired any more; unless another inversion was seen meanwhile. */
    async drop(at: Inverted, late: Applied | undefined, token = ''): Promise<void> {
      await run(drop, at, [token, late ? `${late.seq}:${late.jobId}:${late.changedAt}:` : '']);
    },
  };
}

function readPlace(member: string): Inverted | undefined {
  try {
    const [org, user, backend] = JSON.parse(member) as unknown[];
    const strings = typeof org === 'string' && typeof user === 'string';
    return strings && (backend === 'v1' || backend === 'v2') ? { org, user, backend } : undefined;
  } catch {
    return undefined;
  }
}

/* Every script: KEYS user, inverted, payload · ARGV name of the user, backend, then its own. */

/** ARGV … repairMs, keptMs */
const keepPayload = `${prelude}
local since = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or '0')
if now_ms() < since + tonumber(ARGV[4]) then redis.call('PEXPIRE', KEYS[3], ARGV[3]) end
return {'ok'}
`;

/** ARGV … token, leaseMs, newest jobId, settleGraceMs → {busy} | {go, now, attempt} */
const take = `${prelude}
local now = now_ms()
local u = redis.call('HMGET', KEYS[1], 'leaseJob', 'leaseUntil', 'openJob', 'openUntil', ARGV[2], 'inversion', 'repairing')
if not u[6] or string.match(u[5] or '', '^%d+:([^:]*):') ~= ARGV[5] then return {'busy'} end
if u[1] and tonumber(u[2]) > now then return {'busy'} end
if u[3] then
  local grace = u[3] == 'repair' and 0 or tonumber(ARGV[6])
  if tonumber(u[4]) + grace > now then return {'busy'} end
end
redis.call('HSET', KEYS[1], 'leaseJob', 'repair', 'leaseToken', ARGV[3], 'leaseUntil', text(now + tonumber(ARGV[4])))
return {'go', text(now), u[7] or ''}
`;

/** ARGV … token, deadlineMs, newest jobId, before, danglingMs → {ok} | {lost} */
const record = `${prelude}
local now = now_ms()
local u = redis.call('HMGET', KEYS[1], 'leaseToken', 'leaseUntil', 'openJob', ARGV[2], 'inversion')
if u[1] ~= ARGV[3] or tonumber(u[2]) <= now then return {'lost'} end
if not u[5] or string.match(u[4] or '', '^%d+:([^:]*):') ~= ARGV[5] then return {'lost'} end
local deadline = now + tonumber(ARGV[4])
if u[3] and u[3] ~= 'repair' then redis.call('HSET', KEYS[1], 'danglingUntil', text(now + tonumber(ARGV[7]))) end
redis.call('HSET', KEYS[1], 'repairing', text(now) .. ':' .. text(deadline) .. ':' .. ARGV[6], 'openJob', 'repair',
  'openUntil', text(deadline), 'leaseUntil', text(math.max(tonumber(u[2]), deadline + 5000)))
return {'ok'}
`;

const close = `
redis.call('HDEL', KEYS[1], 'repairing')
if redis.call('HGET', KEYS[1], 'openJob') == 'repair' then redis.call('HDEL', KEYS[1], 'openJob', 'openUntil') end
`;

const giveBack = `
if redis.call('HGET', KEYS[1], 'leaseToken') == ARGV[3] then
  redis.call('HDEL', KEYS[1], 'leaseJob', 'leaseToken', 'leaseUntil')
end
`;

/** ARGV … danglingMs */
const unrecord = `${prelude}${close}
if tonumber(ARGV[3]) > 0 then redis.call('HSET', KEYS[1], 'danglingUntil', text(now_ms() + tonumber(ARGV[3]))) end
return {'ok'}
`;

/** ARGV … token */
const release = `${giveBack} return {'ok'}`;

/** ARGV … token, applied, answered, repairMs → {ok} | {newer} | {inverted} */
const done = `${prelude}${giveBack}${close}
local now = now_ms()
local u = redis.call('HMGET', KEYS[1], ARGV[2], 'danglingUntil', 'inversion')
if applied_seq(u[1]) > applied_seq(ARGV[4]) then
  if ARGV[5] ~= '1' or changed_at(ARGV[4]) <= changed_at(u[1]) - 1.5 then return {'newer'} end
  if changed_at(ARGV[4]) > changed_at(u[3]) then redis.call('HSET', KEYS[1], 'inversion', ARGV[4]) end
  redis.call('ZADD', KEYS[2], text(now), ARGV[1])
  redis.call('PEXPIRE', KEYS[3], ARGV[6])
  return {'inverted'}
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[4])
redis.call('PEXPIRE', KEYS[1], 2764800000)
-- An older change that came after this one is another case.
if changed_at(u[3]) <= changed_at(ARGV[4]) then
  redis.call('HDEL', KEYS[1], 'inversion')
  redis.call('ZREM', KEYS[2], ARGV[1])
  if tonumber(u[2] or '0') <= now then redis.call('DEL', KEYS[3]) end
end
return {'ok'}
`;

/** ARGV … token, beginning of the inversion (empty: any) */
const drop = `${giveBack}
local inversion = redis.call('HGET', KEYS[1], 'inversion')
if not inversion then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return {'ok'}
end
if ARGV[4] ~= '' and string.sub(inversion, 1, #ARGV[4]) ~= ARGV[4] then return {'kept'} end
redis.call('HDEL', KEYS[1], 'inversion', 'repairing')
if redis.call('HGET', KEYS[1], 'openJob') == 'repair' then redis.call('HDEL', KEYS[1], 'openJob', 'openUntil') end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
return {'ok'}
`;
