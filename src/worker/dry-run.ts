import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { Change, Rehearsal } from '../adapters/port.ts';
import { PassferryError, toPassferryError } from '../errors.ts';
import type { BackendName, SetPasswordData } from '../job.ts';
import type { Keys } from '../keys.ts';
import { readApplied } from '../ledger/applied.ts';
import { createDryEnds } from '../ledger/dry-end.ts';
import { dryFields } from '../ledger/run-forecast.ts';
import { wouldSet } from '../row-outcome.ts';
import type { Opener } from '../seal.ts';
import { Secret } from '../secret.ts';
import type { JobKey } from '../signature.ts';
import { isStale } from './foreign.ts';
import { checkHashesHere, hereCores, hereMs } from './hash-here.ts';
import { checkTakesHash } from './hash-rows.ts';
import type { Lane } from './lane.ts';
import { checkProtected, type Protection } from './protect.ts';
import type { Rows } from './rows.ts';

/** Rows of dry runs: judged against the backend that would be written, and nothing is. */
export function createDryRun(options: {
  redis: Redis;
  keys: Keys;
  jobKey: JobKey;
  rows: Rows;
  open: Opener;
  protection: Protection;
  /** Rows a second towards v2 at most. */
  v2Rate?: number;
}) {
  const { redis, keys, jobKey, rows, open, protection } = options;
  const endRow = createDryEnds(redis, keys, jobKey);
  /** Runs that know already what a change costs here, by backend. */
  const told = new Set<string>();

  async function judge(data: SetPasswordData, lane: Lane, signal: AbortSignal): Promise<Rehearsal> {
    const { backend } = lane;
    if (!backend.rehearse || (data.reset?.mode === 'link' && !backend.sendResetLink)) {
      throw new PassferryError('ability_missing');
    }
    if (data.hash) checkTakesHash(data.hash, backend);
    if (data.hashHere !== undefined) checkHashesHere(backend);
    // A reset brings no password, and of a hash nobody knows it: one that every policy takes stands for it.
    const password =
      data.reset || data.hash
        ? new Secret(Buffer.from(`Aa1!${randomBytes(16).toString('hex')}`))
        : await open(data, data);
    try {
      await checkProtected(data, backend, protection, signal);
      const change: Change = {
        ...{ jobId: data.jobId, org: data.org, user: data.user, seq: BigInt(data.seq), acceptedAt: data.acceptedAt },
        ...{ password, changeRequired: data.changeRequired, overwriteNewer: data.overwriteNewer },
        ...(data.asOf !== undefined && { asOf: data.asOf, ownFrom: BigInt(data.runAt ?? 0) * 1_000n }),
      };
      const told = await backend.rehearse(change, signal);
      const said: Rehearsal = data.hash
        ? { ...told, unchecked: [...new Set([...told.unchecked, 'policy' as const])] }
        : told;
      return backend.exact || said.end !== 'set'
        ? said
        : { ...said, end: await olderOrNewer(data, backend.name, said) };
    } finally {
      password.wipe();
    }
  }

  /** Reads of the ledger only. */
  async function olderOrNewer(
    data: SetPasswordData,
    backend: BackendName,
    { user }: Rehearsal,
  ): Promise<Rehearsal['end']> {
    const stored = await redis.hget(keys.user(data.org, data.user), backend);
    const applied = stored ? readApplied(jobKey, data, backend, stored) : undefined;
    if (applied && applied.seq > BigInt(data.seq)) return 'superseded';
    return isStale(data, applied, user?.passwordChangedAt) ? 'stale' : 'set';
  }

  /** What a change costs on this machine, for the forecast; once for each run. `hashHere`: cost of the hashes that workers make. */
  async function tellCosts(run: string, { backend, gate, cost: timed }: Lane, hashHere: number | undefined) {
    const { name } = backend;
    const telling = `${run} ${name} ${hashHere ?? ''}`;
    if (told.has(telling)) return;
    if (told.size > 1_000) told.clear();
    told.add(telling);
    const here = hashHere === undefined ? undefined : await timed.measureHere();
    const cost = here === undefined || hashHere === undefined ? await timed.measure() : hereMs(here, hashHere);
    const cores = hereCores(gate.limit);
    const known: Record<string, string | number> = {
      ...(cost !== undefined && { [dryFields.coreMs(name)]: cost.toFixed(2), [dryFields.cores(name)]: cores }),
      ...(name === 'v2' && options.v2Rate !== undefined && { [dryFields.backendRate(name)]: options.v2Rate }),
    };
    if (Object.keys(known).length > 0) await redis.hset(keys.run(run), known).catch(() => told.delete(telling));
  }

  return {
    async isDry({ run, row }: SetPasswordData): Promise<boolean> {
      return run !== undefined && row !== undefined && (await rows.headOf(run, row))?.dryRun === true;
    },

    /**
     * Judges one row and ends it. `refused`: by what was looked up before. Throws what would put the job off.
     */
    async run(data: SetPasswordData, lane: Lane, refused: PassferryError | undefined, signal: AbortSignal) {
      const place = { run: data.run as string, row: data.row as number };
      await tellCosts(place.run, lane, data.hashHere);
      const said: Rehearsal = refused ? { end: refused, unchecked: [] } : await judge(data, lane, signal).catch(asEnd);
      const { name } = lane.backend;
      const counters = [
        ...(said.state ? [dryFields.state(said.state)] : []),
        ...said.unchecked.map(dryFields.unchecked),
      ];
      if (said.end === 'set') {
        counters.push(dryFields.rows(name));
        if (data.changeRequired) counters.push(dryFields.forced);
        if (said.mail) counters.push(dryFields.mails);
        return endRow(place, wouldSet, 'wouldSet', counters);
      }
      if (typeof said.end === 'string') return endRow(place, said.end, said.end, counters);
      return endRow(place, said.end.reason, 'failed', counters);
    },
  };
}

/** What would fail the row. */
function asEnd(thrown: unknown): Rehearsal {
  const error = toPassferryError(thrown);
  if (error.scope !== 'user') throw thrown;
  return { end: error, unchecked: [] };
}
