import type { Redis } from 'ioredis';
import { PassferryError } from '../errors.ts';
import type { Keys } from '../keys.ts';
import { type JobKey, sign, verify } from '../signature.ts';
import { configured, isDual, type Stage, type StageSetting, type Stages } from '../stage.ts';
import { evaluate, redisError } from './evaluate.ts';
import { prelude } from './lua.ts';

/** Names the setting of all organizations that have none of their own. No organization has this id. */
export const everyOrg = '*';

/** Where an organization stands, and what a start of a job compares, letter by letter. */
export interface Placed extends StageSetting {
  /** Whose setting it is: the organization's own, that of all others, or configuration. */
  from: 'organization' | 'default' | 'configuration';
  /** As it is stored; empty: by configuration. */
  stored: string;
}

/** Leases under an older setting that may still write. */
export interface Draining {
  leases: number;
  /** Until the last of them ends by itself. */
  endsInMs: number;
}

export type StageTable = ReturnType<typeof createStageTable>;

/**
 * Stages in Redis, signed, with a version. An organization's own setting comes first, then its own in the configuration, then
 * the setting of all others, then the configured default. Errors of all: `redis_down`; `stage_forged`: a setting that is not
 * ours stops its organization, for a guess could write the wrong backend.
 */
export function createStageTable(redis: Redis, keys: Keys, jobKey: JobKey) {
  const parts = (name: string, body: string) => [keys.namespace, name, body];

  function decode(name: string, stored: string): StageSetting {
    const [, mac = '', body = ''] = /^(\S+) (.*)$/s.exec(stored) ?? [];
    if (!verify(jobKey, 'stage-setting', parts(name, body), mac)) {
      throw new PassferryError('stage_forged', { scope: 'organization' });
    }
    return JSON.parse(body) as StageSetting;
  }

  /** Undefined: not ours. */
  function read(name: string, stored: string | undefined): StageSetting | undefined {
    try {
      return stored === undefined ? undefined : decode(name, stored);
    } catch {
      return undefined;
    }
  }

  const encode = (name: string, body: string) => `${sign(jobKey, 'stage-setting', parts(name, body))} ${body}`;
  const swap = async (name: string, seen: string, stored: string, seenAll?: string) => {
    const compared = seenAll === undefined ? [] : [seenAll];
    return (
      (await evaluate(redis, replace, [keys.stageTable, keys.stageStamp], [name, seen, stored, ...compared])) === 1
    );
  };
  const copy = (): Promise<Record<string, string>> =>
    redis.hgetall(keys.stageTable).catch((error) => {
      throw redisError(error);
    });

  function place(org: string, stages: Stages, own: string | null, all: string | null): Placed {
    // What does not decide is left out: its change is none here.
    const stored = own === null ? `\n${all ?? ''}` : `${own}\n`;
    if (own !== null) return { ...decode(org, own), from: 'organization', stored };
    const usual = configured(stages, org);
    if (all === null || Object.hasOwn(stages.organizations, org)) return { ...usual, from: 'configuration', stored };
    return { ...decode(everyOrg, all), from: 'default', stored };
  }

  return {
    /** @param stages what is configured, for where nothing was set. */
    async of(org: string, stages: Stages): Promise<Placed> {
      const [own = null, all = null] = await redis.hmget(keys.stageTable, org, everyOrg).catch((error) => {
        throw redisError(error);
      });
      return place(org, stages, own, all);
    },

    /** All settings by organization; `*` is that of all others. Forged ones are left out and named. */
    async all(): Promise<{ settings: Map<string, StageSetting>; forged: string[] }> {
      const stored = await copy();
      const settings = new Map<string, StageSetting>();
      const forged: string[] = [];
      for (const [name, text] of Object.entries(stored).sort(([a], [b]) => (a < b ? -1 : 1))) {
        const setting = read(name, text);
        if (setting) settings.set(name, setting);
        else forged.push(name);
      }
      return { settings, forged };
    },

    /**
     * A new setting in the place of exactly the one that was seen. Error: `stage_changed`: somebody else was faster.
     * @param name an organization, or `*`. @param seen its stored text, empty: it had none.
     * @param seenAll that of all others, for who goes by it. Default: not compared.
     */
    async set(
      name: string,
      seen: string,
      next: { stage: Stage; percent: number; by: string; forced?: string },
      before: StageSetting,
      seenAll?: string,
    ): Promise<StageSetting> {
      const [seconds, micros] = (await redis.time().catch((error) => {
        throw redisError(error);
      })) as unknown as [string, string];
      const since = Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
      const dualSince = isDual(before.stage) ? (before.dualSince ?? 0) : since;
      const both = isDual(next.stage) ? { dualSince } : {};
      const setting: StageSetting = { ...next, version: before.version + 1, since, ...both };
      if (!(await swap(name, seen, encode(name, JSON.stringify(setting)), seenAll)))
        throw new PassferryError('stage_changed');
      return setting;
    },

    /** As stored: what {@link set} compares. */
    async stored(name: string): Promise<string> {
      return (await redis.hget(keys.stageTable, name)) ?? '';
    },

    /**
     * Puts back what a copy has and Redis has lost, or has in an older version. Returns whose settings those were; what in the copy is
     * not ours is left alone.
     */
    async restore(kept: Record<string, string>): Promise<string[]> {
      const there = await copy();
      const restored: string[] = [];
      for (const [name, text] of Object.entries(kept)) {
        const ours = read(name, text);
        if (!ours || (read(name, there[name])?.version ?? -1) >= ours.version) continue;
        if (await swap(name, there[name] ?? '', text)) restored.push(name);
      }
      return restored;
    },

    /** Signs anew what an earlier job key has signed: a key that is gone would make it a forgery. */
    async signAnew(): Promise<void> {
      for (const [name, text] of Object.entries(await copy())) {
        if (!read(name, text)) continue;
        const anew = encode(name, text.slice(text.indexOf(' ') + 1));
        if (anew !== text) await swap(name, text, anew);
      }
    },

    /** For a copy outside Redis: all settings as stored. */
    copy,

    /** Another one than before: something was set. */
    stamp: async (): Promise<string> => (await redis.get(keys.stageStamp)) ?? '',

    /** By organization, where there are leases that were given under another setting than the present one. */
    async draining(): Promise<Map<string, Draining>> {
      const found = (await evaluate(redis, older, [keys.writing, keys.stageTable], [])) as (string | number)[];
      const by = new Map<string, Draining>();
      for (let i = 0; i < found.length; i += 3) {
        by.set(String(found[i]), { leases: Number(found[i + 1]), endsInMs: Number(found[i + 2]) });
      }
      return by;
    },
  };
}

/** KEYS table, stamp · ARGV name, seen, stored, and that of all others as it was seen → 1 | 0 */
const replace = `
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
if ARGV[4] and (redis.call('HGET', KEYS[1], '*') or '') ~= ARGV[4] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('INCR', KEYS[2])
return 1
`;

/**
 * For scripts that give leases and take them back. Who writes is on record with the setting it goes by, until its lease ends:
 * `writing` has a member for each lease, by the time of its end.
 */
export const stageSteps = `
local function stage_text(tbl, org)
  local own = redis.call('HGET', tbl, org)
  return own and own .. '\\n' or '\\n' .. (redis.call('HGET', tbl, '*') or '')
end
local function mark_lease(writing, user, org, stored, until_ms, token)
  local mark = token .. '\\n' .. org .. '\\n' .. redis.sha1hex(stored)
  redis.call('HSET', user, 'leaseMark', mark)
  redis.call('ZADD', writing, until_ms, mark)
end
local function unmark_lease(writing, user)
  local mark = redis.call('HGET', user, 'leaseMark')
  if not mark then return end
  redis.call('ZREM', writing, mark)
  redis.call('HDEL', user, 'leaseMark')
end
`;

/** KEYS writing, table → org, leases, ms, … */
const older = `${prelude}${stageSteps}
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, now)
local present, at, out = {}, {}, {}
local marks = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 1, #marks, 2 do
  local org, under = string.match(marks[i], '^[^\\n]*\\n(.*)\\n(%x+)$')
  if org then
    present[org] = present[org] or redis.sha1hex(stage_text(KEYS[2], org))
    if under ~= present[org] then
      if not at[org] then
        at[org] = #out
        out[#out + 1], out[#out + 2], out[#out + 3] = org, 0, 0
      end
      local place = at[org]
      out[place + 2] = out[place + 2] + 1
      out[place + 3] = math.max(out[place + 3], tonumber(marks[i + 1]) - now)
    end
  end
end
return out
`;
