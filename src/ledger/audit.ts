import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { type PassferryError, toPassferryError } from '../errors.ts';
import type { Keys } from '../keys.ts';
import type { Log } from '../log.ts';
import { type JobKey, sign } from '../signature.ts';
import { type AuditFacts, encodeAudit, type StoredAudit } from './audit-record.ts';
import { evaluate } from './evaluate.ts';
import { prelude } from './lua.ts';

export interface AuditOptions {
  /** How long records are kept, ms. Default 90 days. */
  retentionMs?: number;
  /** How many are kept at most; older ones are trimmed, which is told to readers. Default 500,000. */
  max?: number;
  /** Gets every record as one line too (`audit: true`). Default: none. */
  log?: Log;
}

/** The record of one request. It is written once: what comes after its end changes nothing. */
export interface AuditEntry {
  readonly facts: Readonly<Partial<AuditFacts>>;
  /** Adds what is known by now. Without a caller nothing is written. */
  about(facts: Partial<AuditFacts>): void;
  /** For the script that accepts: what it must store in the same step. Its end is then `stored`. */
  accepting(facts: Partial<AuditFacts>): StoredAudit & { stream: string };
  /** Stored in case that this process ends before the end can be told. Error: `redis_down`, and nothing may be done. */
  begun(): Promise<void>;
  /** Resolves when it is stored, or cannot be. */
  accepted(facts?: Partial<AuditFacts>): Promise<void>;
  stored(facts?: Partial<AuditFacts>): void;
  refused(error: unknown): Promise<void>;
  /** Somebody else writes what has happened. */
  leave(): void;
}

export const auditDefaults = { retentionMs: 90 * 86_400_000, max: 500_000 };

export type Audit = ReturnType<typeof createAudit>;

const trimEveryMs = 60_000;

/**
 * Writes what callers asked for and what became of it: signed, numbered within this process so that a missing one is seen,
 * into one stream that is trimmed by age and by number. A record that cannot be stored stands in the log alone.
 */
export function createAudit({
  redis,
  keys,
  jobKey,
  log,
  retentionMs = auditDefaults.retentionMs,
  max = auditDefaults.max,
}: AuditOptions & { redis: Redis; keys: Keys; jobKey: JobKey }) {
  const process = randomBytes(6).toString('base64url');
  const pending = new Set<Promise<unknown>>();
  let numbers = 0;
  /** Clock of Redis less ours, ms. */
  let ahead = 0;

  const now = () => Date.now() + ahead;
  const encode = (facts: AuditFacts, number: number) =>
    encodeAudit(jobKey, facts, { process, number, at: Math.round(now()) });

  async function store({ body, mac, key }: StoredAudit, instead = ''): Promise<string> {
    const stored = evaluate(redis, write, [keys.audit], [body, mac, key, instead]) as Promise<string>;
    const settled = stored.catch(() => {}).finally(() => pending.delete(settled));
    pending.add(settled);
    return stored;
  }

  function tell(facts: AuditFacts): void {
    log?.info({ audit: true, ...facts }, 'audit');
  }

  function entry(first: Partial<AuditFacts>): AuditEntry {
    let facts = first;
    let number: number | undefined;
    let placeholder: string | undefined;
    let ended = false;

    const add = (more: Partial<AuditFacts> = {}) => {
      facts = { ...facts, ...more };
    };
    const whole = (result: AuditFacts['result'], reason?: string): AuditFacts => ({
      ...{ action: 'set', org: '*', ...facts, result },
      ...(reason !== undefined && { reason }),
    });
    async function end(result: 'accepted' | 'refused', reason?: string): Promise<void> {
      if (ended) return;
      ended = true;
      // Whoever has not said who he is could write any number of them.
      if (facts.caller === undefined && facts.action !== 'authenticate') return;
      const told = whole(result, reason);
      tell(told);
      number ??= ++numbers;
      await store(encode(told, number), placeholder).catch((err) => {
        log?.error({ err }, 'an audit record could not be stored; it stands in the log alone');
      });
    }

    return {
      get facts() {
        return facts;
      },
      about: add,
      accepting(more) {
        // Numbered when it is sent, so that the stream has them nearly in order.
        number ??= ++numbers;
        return { stream: keys.audit, ...encode({ ...whole('accepted'), ...more }, number) };
      },
      async begun() {
        if (placeholder !== undefined || ended) return;
        number ??= ++numbers;
        placeholder = await store(encode(whole('unknown'), number));
      },
      async accepted(more) {
        add(more);
        await end('accepted');
      },
      stored(more) {
        if (ended) return;
        ended = true;
        add(more);
        tell(whole('accepted'));
      },
      refused: (error) => end('refused', reasonOf(error)),
      leave() {
        ended = true;
      },
    };
  }

  async function trim(): Promise<void> {
    const before = Date.now();
    const mark = (at: number) => JSON.stringify({ at, mac: sign(jobKey, 'audit-trimmed', [at]) });
    for (;;) {
      const args = [retentionMs, max, mark(Math.round(now()))];
      const [at, removed] = (await evaluate(redis, trimming, [keys.audit, keys.auditTrimmed], args)) as number[];
      ahead = (at ?? before) - (before + Date.now()) / 2;
      if (!removed) return;
    }
  }
  const trimQuietly = () => void trim().catch((err) => log?.warn({ err }, 'the audit records could not be trimmed'));
  const timer = setInterval(trimQuietly, trimEveryMs);
  timer.unref();
  trimQuietly();

  return {
    entry,
    /** Runs one request and writes its record, unless that has ended already: accepted when it returns, else refused. */
    async around<T>(record: AuditEntry, run: () => Promise<T>): Promise<T> {
      try {
        const done = await run();
        await record.accepted();
        return done;
      } catch (error) {
        void record.refused(error);
        throw error;
      }
    },
    /** Trims now what is too old or too much; else every minute. */
    trim,
    /** Resolves when what was written so far is stored. */
    async flush(): Promise<void> {
      await Promise.all(pending);
    },
    async close(): Promise<void> {
      clearInterval(timer);
      await Promise.all(pending);
    },
  };
}

function reasonOf(error: unknown): string {
  return (toPassferryError(error) satisfies PassferryError).reason;
}

/** KEYS stream · ARGV body, mac, key, id of the placeholder that it takes the place of → id */
const write = `
if ARGV[4] ~= '' then redis.call('XDEL', KEYS[1], ARGV[4]) end
return redis.call('XADD', KEYS[1], '*', 'b', ARGV[1], 'm', ARGV[2], 'k', ARGV[3])
`;

/**
 * KEYS stream, mark · ARGV retentionMs, max, mark → {now, how many are gone}. By whole nodes and a thousand at a time: Redis has
 * others to answer. The mark says that records younger than their time are gone.
 */
const trimming = `${prelude}
local now = now_ms()
local gone = redis.call('XTRIM', KEYS[1], 'MINID', '~', text(math.max(0, now - tonumber(ARGV[1]))), 'LIMIT', 1000)
if redis.call('XLEN', KEYS[1]) > tonumber(ARGV[2]) then
  local over = redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[2], 'LIMIT', 1000)
  if over > 0 then redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[1]) end
  gone = gone + over
end
return {now, gone}
`;
