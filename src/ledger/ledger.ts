import type { Redis } from 'ioredis';
import { PassferryError } from '../errors.ts';
import { type BackendName, isFailure, type Outcome, type SetPasswordData } from '../job.ts';
import type { Keys } from '../keys.ts';
import { pageOf, placeOf } from '../page.ts';
import { packRow, rowBytes } from '../row-outcome.ts';
import { type JobKey, sign } from '../signature.ts';
import { type Applied, readApplied as appliedOf, writeApplied } from './applied.ts';
import { type Begun, parseAttempt, parseOther } from './begun.ts';
import { createCancel } from './cancel.ts';
import { divergenceKeys, divergenceText, dueMember } from './divergence.ts';
import { evaluate } from './evaluate.ts';
import { createFailed, keepDataKey } from './failed.ts';
import { loadKeys, storedBytes } from './load.ts';
import { createRecords, type OnForged } from './records.ts';
import { createReserve } from './reserve.ts';
import { rowEnd, toOutcome } from './row-end.ts';
import * as scripts from './scripts.ts';
import { entryOf } from './tell.ts';
import { createUserJobs } from './user-jobs.ts';

/** What was accepted and what was applied: the memory that outlives the queue's own (P6). */
export interface LedgerOptions {
  redis: Redis;
  keys: Keys;
  jobKey: JobKey;
  /** How long an outcome stays readable after it was recorded, ms. */
  retentionMs: number;
  /** How long the sealed password of a failed job is kept for a retry, ms. Default 24 h. */
  failedSecretMs?: number;
  /** How long an attempt that was looked for in vain may still land, ms: so long the newer change can be repaired. Default 10 min. */
  repairMs?: number;
  /** An older change was made after a newer one: who, by ids. */
  onInverted?: (seen: { older: string; newer: string }) => void;
  /** An outcome was recorded here: the first of its job. */
  onOutcome?: (outcome: Outcome) => void;
}

export type { Applied } from './applied.ts';

/** An open attempt of another job blocks its user this much longer than its deadline: time to be settled by its own job. */
const settleGraceMs = 30_000;

export type Ledger = ReturnType<typeof createLedger>;

export function createLedger(options: LedgerOptions, onForged: OnForged = () => {}) {
  const { redis, keys, jobKey, retentionMs, failedSecretMs = 24 * 3_600_000, repairMs = 600_000 } = options;
  const { onInverted, onOutcome } = options;
  const run = (script: string, keyList: string[], args: (string | number | Buffer)[]) =>
    evaluate(redis, script, keyList, args);
  const runKey = (data: { run?: string }) => keys.run(data.run ?? '-');

  const records = createRecords(redis, keys, jobKey, onForged);
  const { readOutcome } = records;

  function readApplied(data: SetPasswordData, backend: BackendName, value: string): Applied | undefined {
    const applied = appliedOf(jobKey, data, backend, value);
    if (!applied) onForged('applied', data.jobId);
    return applied;
  }

  /** An older change of ours that came after it is ours too: not a person's. */
  function lastOfOurs(data: SetPasswordData, backend: BackendName, value: string, inversion: string | undefined) {
    const applied = readApplied(data, backend, value);
    const late = inversion ? readApplied(data, backend, inversion) : undefined;
    return applied && late && late.changedAt > applied.changedAt ? { ...applied, changedAt: late.changedAt } : applied;
  }

  /** Where a row has its end; of nothing for a job that is no row. */
  function pageKeys({ run: id = '-', row }: { run?: string; row?: number }) {
    const page = row === undefined ? 0 : pageOf(row);
    return {
      page,
      place: row === undefined ? 0 : placeOf(row) * rowBytes,
      key: keys.page(id, page),
      ends: keys.pageEnds(id, page),
      secret: keys.pageSecret(id, page),
    };
  }

  /** Undefined: forged. */
  async function rowOutcome({ run: id, row, jobId }: SetPasswordData, hex: string): Promise<Outcome | undefined> {
    if (id === undefined || row === undefined) return undefined;
    const end = await rowEnd(redis, keys, jobKey, { run: id, row, bytes: Buffer.from(hex, 'hex') });
    if (end === 'forged') onForged('outcome', jobId);
    return end === 'forged' || end === undefined ? undefined : toOutcome(end);
  }

  /** What was forged counts as absent; what took its place meanwhile stays. */
  const dropEnd = (data: SetPasswordData, hex: string) =>
    run(scripts.dropEnd, [pageKeys(data).ends], [pageKeys(data).place, Buffer.from(hex, 'hex')]);

  return {
    /** Confirms the order of changes on this Redis: the counter is at least `lowest` and the present time. */
    async raiseFloor(lowest: bigint): Promise<void> {
      await run(scripts.raiseFloor, [keys.sequence], [lowest.toString()]);
    },

    async isReady(): Promise<boolean> {
      return (await redis.exists(keys.sequence)) === 1;
    },

    /** Row 8 of the flow: is there anything to do, may we, and if so the lease. */
    async begin(
      data: SetPasswordData,
      options: {
        token: string;
        leaseMs: number;
        backend: BackendName;
        exact: boolean;
        /** The epoch this Redis must have reached. Default 0: any. */
        epoch?: number;
        /** The setting by which the backend was chosen, as stored. Default: not compared. */
        stage?: string;
        /** Cut-short starts from which on the job is `poison`. Default: never. */
        startLimit?: number;
      },
    ): Promise<Begun> {
      const reply = (await run(
        scripts.begin,
        [
          ...[keys.job(data.jobId), keys.user(data.org, data.user), keys.open, runKey(data), keys.epoch],
          ...loadKeys(keys),
          ...[pageKeys(data).ends, keys.events, keys.activeRuns, keys.stageTable, keys.writing],
        ],
        [
          data.jobId,
          data.seq,
          options.token,
          options.leaseMs,
          options.backend,
          options.exact ? '1' : '0',
          data.caller,
          data.org,
          data.user,
          data.acceptedAt,
          data.expiresAt,
          retentionMs,
          data.run ?? '',
          data.row ?? '',
          settleGraceMs,
          options.epoch ?? 0,
          options.startLimit ?? Number.MAX_SAFE_INTEGER,
          keys.job(''),
          storedBytes(data),
          pageKeys(data).page,
          pageKeys(data).place,
          options.stage ?? '',
        ],
      )) as [string, ...string[]];
      switch (reply[0]) {
        case 'row_ended': {
          const outcome = await rowOutcome(data, reply[1] as string);
          if (outcome) return { kind: 'done', outcome };
          await dropEnd(data, reply[1] as string);
          return this.begin(data, options);
        }
        case 'run_waits':
        case 'run_over':
          return { kind: reply[0] };
        case 'done': {
          const outcome = readOutcome(data.jobId, reply[1] as string, reply[2] ?? null, reply[3] ?? null);
          if (outcome) return { kind: 'done', outcome };
          // A forged outcome counts as absent: take it away and look again.
          await redis.hdel(keys.job(data.jobId), 'outcome', 'outcomeMac', 'finishedAt');
          return this.begin(data, options);
        }
        case 'busy':
          return { kind: 'busy', waitMs: Number(reply[1]) };
        case 'superseded': {
          if (readApplied(data, options.backend, reply[1] as string)) return { kind: 'superseded' };
          await redis.hdel(keys.user(data.org, data.user), options.backend);
          return this.begin(data, options);
        }
        case 'expired':
        case 'canceled':
        case 'ledger_lost':
        case 'stage_moved':
          return { kind: reply[0] };
        case 'poison':
          return { kind: 'poison', starts: Number(reply[1]) };
        default:
          return {
            kind: 'go',
            starts: Number(reply[1]),
            attempt: parseAttempt(reply[2] as string),
            applied: reply[3] ? lastOfOurs(data, options.backend, reply[3], reply[5]) : undefined,
            now: Number(reply[4]),
            other: parseOther(reply[6], reply[7], reply[8]),
          };
      }
    },

    /**
     * Another job's open attempt was found to have had its effect at `changedAt`: that change is known as ours from now on.
     * Error: `lease_lost`.
     */
    async adopt(
      data: SetPasswordData,
      other: { jobId: string; seq: string },
      token: string,
      backend: BackendName,
      changedAt: number,
    ): Promise<void> {
      const applied = writeApplied(jobKey, data, backend, { ...other, changedAt });
      const reply = (await run(
        scripts.adopt,
        [keys.user(data.org, data.user)],
        [token, backend, applied, other.jobId],
      )) as string[];
      if (reply[0] !== 'ok') throw new PassferryError('lease_lost', { scope: 'backend' });
    },

    /** Before anything is sent to a backend without a fence: the attempt is on record. Error: `lease_lost`. */
    async recordAttempt(data: SetPasswordData, token: string, deadlineMs: number, before: number): Promise<void> {
      const reply = (await run(
        scripts.recordAttempt,
        [keys.job(data.jobId), keys.user(data.org, data.user), keys.writing],
        [data.jobId, token, deadlineMs, before, repairMs],
      )) as string[];
      if (reply[0] !== 'ok') throw new PassferryError('lease_lost', { scope: 'backend' });
    },

    /** @param mayLand the attempt was only looked for in vain: a newer change is kept for a repair meanwhile. */
    async closeAttempt(data: SetPasswordData, token: string, mayLand = false): Promise<void> {
      const both = [keys.job(data.jobId), keys.user(data.org, data.user)];
      await run(scripts.closeAttempt, both, [data.jobId, mayLand ? repairMs : 0, token]);
    },

    /** @param effect `unknown`: that start may have made the change, so the job cannot be cancelled any more. */
    async release(
      data: SetPasswordData,
      token: string,
      waitingFor: string,
      effect: 'none' | 'unknown' = 'unknown',
    ): Promise<void> {
      await run(
        scripts.release,
        [
          ...[keys.job(data.jobId), keys.user(data.org, data.user), keys.open, runKey(data)],
          ...[keys.events, keys.activeRuns, keys.writing],
        ],
        [token, waitingFor, effect === 'none' ? '0' : '1', data.run === undefined ? '' : data.jobId],
      );
    },

    /**
     * Records the outcome; the first one stays and is what is returned. `changedAt` is given when our change was applied:
     * if something newer was applied meanwhile, the outcome becomes `superseded`. `repairable`: the backend has no fence, so
     * the newest change is kept sealed while an older attempt may still land.
     */
    async commit(
      data: SetPasswordData,
      outcome: Outcome,
      options: {
        token?: string;
        changedAt?: number;
        countAttempt?: boolean;
        repairable?: boolean;
        /** The applied record is written only where the ledger knows the user already. Default false. */
        onlyIfKnown?: boolean;
        /** Another backend is to follow: it is behind from this step on. `payload`: what it is to be given, sealed. */
        follow?: { backend: BackendName; cause: string; payload?: string };
        /** The outcome rests on reading, so the lease must still be ours. Error: `lease_lost`. */
        underLease?: boolean;
      } = {},
    ): Promise<Outcome> {
      const { at: _, ...stored } = outcome;
      const body = JSON.stringify(stored);
      const backend = outcome.backend ?? 'v1';
      const { changedAt } = options;
      const applied = changedAt === undefined ? '' : writeApplied(jobKey, data, backend, { ...data, changedAt });
      const answered = options.repairable && applied !== '' && !('assumed' in outcome && outcome.assumed);
      const counter = isFailure(outcome)
        ? outcome.code === 'expired' || outcome.code === 'canceled'
          ? outcome.code
          : 'failed'
        : outcome.result === 'link_sent'
          ? 'linkSent'
          : outcome.result;
      // A failed job can be retried for longer than its data key is kept without asking.
      if (isFailure(outcome) && failedSecretMs > 24 * 3_600_000 && data.dataKey !== '') {
        await keepDataKey(redis, keys, data.dataKey, failedSecretMs + 3_600_000);
      }
      const { run: runId, row } = data;
      const packed =
        runId !== undefined && row !== undefined
          ? packRow(jobKey, runId, row, isFailure(outcome) ? outcome.reason : outcome.result)
          : undefined;
      const reply = (await run(
        scripts.commit,
        [
          keys.job(data.jobId),
          keys.user(data.org, data.user),
          keys.open,
          runKey(data),
          keys.runNotes(data.run ?? '-'),
          keys.failed(data.org),
          keys.failedSecrets,
          keys.repair(data.org, data.user),
          keys.inverted,
          keys.quarantined(data.org),
          keys.events,
          ...loadKeys(keys),
          ...[pageKeys(data).key, pageKeys(data).ends, pageKeys(data).secret, keys.activeRuns, keys.writing],
          ...[...divergenceKeys(keys, data.org), keys.follow(data.org, data.user)],
        ],
        [
          data.jobId,
          body,
          sign(jobKey, 'outcome', [data.jobId, body]),
          retentionMs,
          options.token ?? '',
          backend,
          applied,
          counter,
          data.row ?? '',
          packed?.note ?? '',
          options.countAttempt ? '1' : '0',
          failedSecretMs,
          options.repairable ? JSON.stringify(data) : '',
          repairMs,
          JSON.stringify([data.org, data.user, backend]),
          answered ? '1' : '0',
          options.underLease ? '1' : '0',
          ...entryOf(jobKey, data, outcome),
          packed?.bytes ?? '',
          pageKeys(data).place,
          options.onlyIfKnown ? '1' : '0',
          ...(outcome.inEffect && options.follow
            ? [divergenceText(options.follow.backend, data.seq, 0, options.follow.cause), options.follow.payload ?? '']
            : ['', '']),
          ...[data.org, data.user, dueMember(data.org, data.user)],
        ],
      )) as [string, ...string[]];
      if (reply[0] === 'ok') {
        onOutcome?.(outcome);
        return { ...outcome, at: Number(reply[1]) };
      }
      if (reply[0] === 'lost') throw new PassferryError('lease_lost', { scope: 'backend' });
      const newer = appliedOf(jobKey, data, backend, (reply[0] === 'done' ? reply[4] : reply[2]) ?? '');
      if (reply[0] === 'row_ended') {
        if (newer) onInverted?.({ older: data.jobId, newer: newer.jobId });
        const first = await rowOutcome(data, reply[1] as string);
        if (first) return first;
        await dropEnd(data, reply[1] as string);
        return this.commit(data, outcome, options);
      }
      if (newer && reply[0] !== 'ok') onInverted?.({ older: data.jobId, newer: newer.jobId });
      if (reply[0] === 'done') {
        const first = readOutcome(data.jobId, reply[1] as string, reply[2] ?? null, reply[3] ?? null);
        return first ?? outcome;
      }
      if (readApplied(data, backend, reply[1] as string) === undefined) {
        await redis.hdel(keys.user(data.org, data.user), backend);
        return this.commit(data, outcome, options);
      }
      const { changedAt: __, ...rest } = options;
      return this.commit(data, { result: 'superseded', inEffect: false, backend, at: 0 }, rest);
    },

    ...records,
    ...createFailed(redis, keys, retentionMs, records),
    ...createReserve({ redis, keys, retentionMs, readOutcome }),
    ...createCancel({ redis, keys, jobKey, retentionMs, readOutcome }),
    ...createUserJobs(redis, keys, records),
  };
}
