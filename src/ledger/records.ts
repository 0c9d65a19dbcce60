import type { Redis } from 'ioredis';
import type { Outcome, SetPasswordData } from '../job.ts';
import type { Keys } from '../keys.ts';
import { type JobKey, verify } from '../signature.ts';
import { forgetOpen } from './load.ts';

/** Called when a record in Redis does not carry our signature: it counts as absent. */
export type OnForged = (what: 'outcome' | 'applied', jobId: string) => void;

/** What the ledger keeps of a job: its identity and its course, never its secret. */
export type JobRecord = Pick<
  SetPasswordData,
  'jobId' | 'caller' | 'org' | 'user' | 'seq' | 'acceptedAt' | 'expiresAt' | 'run' | 'row'
> & {
  attempts: number;
  starts: number;
  waitingFor?: string;
  outcome?: Outcome;
  /** Where its end stands in the event log; none for rows of runs. */
  event?: string;
  /** How often a person sent it on its way again after it had failed, and who did last. */
  reopened?: number;
  reopenedBy?: string;
  /** Who asked that a person's later choice be overwritten. */
  overwriteNewerBy?: string;
  /** Who gave it up, and why. */
  droppedBy?: string;
  dropReason?: string;
  /** The sealed password is gone, or about to be. */
  secretDestroyed?: true;
  /** In the line of rows although it belongs to no run: it came with many others. */
  queue?: 'rows';
  /** It crashed its process too often and waits for a person, since then (ms). */
  quarantined?: number;
};

export type Records = ReturnType<typeof createRecords>;

/** Reading what the ledger holds of jobs. */
export function createRecords(redis: Redis, keys: Keys, jobKey: JobKey, onForged: OnForged) {
  /** Stored outcome + signature → outcome, or undefined when it is not ours. */
  function readOutcome(jobId: string, stored: string, mac: string | null, at: string | null): Outcome | undefined {
    if (!mac || !verify(jobKey, 'outcome', [jobId, stored], mac)) {
      onForged('outcome', jobId);
      return undefined;
    }
    return { ...(JSON.parse(stored) as Outcome), at: Number(at) };
  }

  return {
    readOutcome,

    /** What is known of a job, or undefined after its retention. */
    async job(jobId: string): Promise<JobRecord | undefined> {
      return toRecord(jobId, await redis.hgetall(keys.job(jobId)));
    },

    /** Outcomes of many jobs in one round trip; undefined where there is none yet. */
    async outcomes(jobIds: string[]): Promise<(Outcome | undefined)[]> {
      const pipeline = redis.pipeline();
      for (const id of jobIds) pipeline.hmget(keys.job(id), 'outcome', 'outcomeMac', 'finishedAt');
      const replies = (await pipeline.exec()) ?? [];
      return jobIds.map((id, i) => {
        const [error, fields] = replies[i] ?? [];
        const [body, mac, at] = (error ? [] : (fields as (string | null)[])) ?? [];
        return body ? readOutcome(id, body, mac ?? null, at ?? null) : undefined;
      });
    },

    /** Open jobs whose expiry has passed by `graceMs`, oldest first. */
    async overdue(limit: number, graceMs: number, offset = 0): Promise<JobRecord[]> {
      const [seconds] = (await redis.time()) as unknown as [string, string];
      const ids = await redis.zrangebyscore(keys.open, 0, Number(seconds) * 1000 - graceMs, 'LIMIT', offset, limit);
      const records = await Promise.all(
        ids.map(async (id) => {
          const record = toRecord(id, await redis.hgetall(keys.job(id)));
          if (!record) await forgetOpen(redis, keys, id);
          return record;
        }),
      );
      return records.filter((record): record is JobRecord => record !== undefined);
    },
  };

  function toRecord(jobId: string, fields: Record<string, string>): JobRecord | undefined {
    if (!fields.seq) return undefined;
    const outcome = fields.outcome
      ? readOutcome(jobId, fields.outcome, fields.outcomeMac ?? null, fields.finishedAt ?? null)
      : undefined;
    return {
      jobId,
      caller: fields.caller ?? '',
      org: fields.org ?? '',
      user: fields.user ?? '',
      seq: fields.seq,
      acceptedAt: Number(fields.acceptedAt),
      expiresAt: Number(fields.expiresAt),
      attempts: Number(fields.attempts ?? 0),
      starts: Number(fields.starts ?? 0),
      ...(fields.run && { run: fields.run, row: Number(fields.row) }),
      ...(fields.waitingFor && { waitingFor: fields.waitingFor }),
      ...(outcome && { outcome }),
      ...(outcome && fields.event && { event: fields.event }),
      ...(fields.reopened && { reopened: Number(fields.reopened) }),
      ...(fields.reopenedBy && { reopenedBy: fields.reopenedBy }),
      ...(fields.overwriteNewerBy && { overwriteNewerBy: fields.overwriteNewerBy }),
      ...(fields.droppedBy && { droppedBy: fields.droppedBy, dropReason: fields.dropReason ?? '' }),
      ...(fields.secretDestroyed && { secretDestroyed: true as const }),
      ...(fields.queue === 'rows' && { queue: 'rows' as const }),
      ...(fields.quarantined && { quarantined: Number(fields.quarantined) }),
    };
  }
}

/** What the ledger needs of a job to end it; nothing here was ever secret. */
export function asData(record: JobRecord): SetPasswordData {
  return {
    v: 1,
    name: 'set-password',
    jobId: record.jobId,
    caller: record.caller,
    org: record.org,
    user: record.user,
    seq: record.seq,
    acceptedAt: record.acceptedAt,
    expiresAt: record.expiresAt,
    changeRequired: true,
    admin: false,
    overwriteNewer: false,
    dataKey: '',
    sealed: '',
    mac: '',
    ...(record.run !== undefined && record.row !== undefined ? { run: record.run, row: record.row } : {}),
  };
}
