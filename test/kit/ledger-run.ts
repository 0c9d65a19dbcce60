import { randomBytes } from 'node:crypto';
import { expect } from 'vitest';
import type { Outcome, SetPasswordData } from '../../src/job.ts';
import { redisKeys } from '../../src/keys.ts';
import { createLedger } from '../../src/ledger/ledger.ts';
import { connectRedis } from '../../src/redis.ts';
import { atEnd } from './files.ts';
import { pageScene, runOptions } from './pages.ts';

const jobKey = { current: randomBytes(32) };
const set: Outcome = { result: 'set', inEffect: true, backend: 'v1', at: 0 };
export type LedgerRun = Awaited<ReturnType<ReturnType<typeof ledgerRuns>['ledgerRun']>>;

/** Runs of the ledger alone, each in a namespace of its own. */
export function ledgerRuns(server: { url: string }) {
  const redis = connectRedis({ url: server.url }, 'worker');
  atEnd(() => redis.disconnect());

  /** A run of four rows, of which one was refused, and one may be at work; no worker. */
  async function ledgerRun(more: { expiresInMs?: number; maxFailures?: number } = {}) {
    const keys = redisKeys(`s${randomBytes(6).toString('hex')}`);
    const ledger = createLedger({ redis, keys, jobKey, retentionMs: 60_000 });
    await ledger.raiseFloor(0n);
    const { runs, store, job } = pageScene(redis, keys, jobKey);
    const id = `r0-${randomBytes(13).toString('hex')}`;
    const { maxFailures, ...rest } = more;
    const options = { ...runOptions, ...(maxFailures !== undefined && { maxFailures }) };
    const rows = ['a', 'b', 'c'].map((user, i) => ({ line: i + 1, user }));
    await store({ id, org: 'o', options, ...rest }, [...rows, { line: 4, refused: 'user_id_missing' }]);
    const begin = (data: SetPasswordData, token = data.jobId) =>
      ledger.begin(data, { token, leaseMs: 60_000, backend: 'v1', exact: true });
    return {
      ...{ keys, ledger, runs, id, begin },
      row: (row: number) => job(id, row),
      /** One row goes to work. */
      async start(row = 1): Promise<SetPasswordData> {
        const data = await job(id, row);
        expect(await begin(data)).toMatchObject({ kind: 'go' });
        return data;
      },
      commit: (data: SetPasswordData, outcome: Outcome = set) => ledger.commit(data, outcome, { token: data.jobId }),
      close: () => runs.closeInput(id, 1),
      state: async () => (await runs.view(id))?.state,
      events: async () => (await redis.xrange(keys.events, '-', '+')).filter(([, fields]) => fields[0] === 'r').length,
    };
  }

  return { redis, ledgerRun };
}
