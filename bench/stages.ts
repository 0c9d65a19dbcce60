/**
 * `npm run bench -- stages [--jobs 5000] [--rounds 5]`: what the comparison of the stage costs a job that does nothing: begin and commit
 * with it against begin and commit without, in turn; and how long a change of stage takes until the last write under the old one
 * has ended, with eight workers that begin all the time. One line of JSON.
 */
import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import type { SetPasswordData } from '../src/job.ts';
import { createKeyFiles, readJobKey } from '../src/key-files.ts';
import { redisKeys } from '../src/keys.ts';
import { createLedger } from '../src/ledger/ledger.ts';
import { createStageTable } from '../src/ledger/stages.ts';
import { connectRedis } from '../src/redis.ts';
import { jobParts, sign } from '../src/signature.ts';
import type { Stages } from '../src/stage.ts';
import { createKnownStages } from '../src/worker/stages.ts';
import { tempDir } from '../test/kit/files.ts';
import { startRedis } from '../test/kit/redis.ts';
import { median } from './import/file.ts';

const { values } = parseArgs({
  options: { jobs: { type: 'string', default: '5000' }, rounds: { type: 'string', default: '5' } },
});
const [jobs, rounds] = [Number(values.jobs), Number(values.rounds)];
const dir = tempDir();
await createKeyFiles(dir);
const jobKey = readJobKey(dir);
const server = await startRedis();
const redis = connectRedis({ url: server.url }, 'worker');
const keys = redisKeys('bench');
const ledger = createLedger({ redis, keys, jobKey, retentionMs: 60_000 });
await ledger.raiseFloor(0n);
const table = createStageTable(redis, keys, jobKey);
const stages: Stages = { default: 'v1', organizations: {} };
const org = 'acme';
let last = 0;

function job(): SetPasswordData {
  const now = Date.now();
  const unsigned: Omit<SetPasswordData, 'mac'> = {
    ...{ v: 1, name: 'set-password', jobId: `j0-${randomUUID()}`, caller: 'bench', org, user: randomUUID() },
    ...{ seq: String(now * 1_000 + (last++ % 1_000)), acceptedAt: now, expiresAt: now + 60_000 },
    ...{ changeRequired: false, admin: false, overwriteNewer: false, dataKey: '', sealed: '' },
  };
  return { ...unsigned, mac: sign(jobKey, 'job', jobParts(unsigned)) };
}

const lease = { leaseMs: 60_000, backend: 'v1', exact: true } as const;

async function walk(stage: string | undefined): Promise<number> {
  const all = Array.from({ length: jobs }, job);
  const startedAt = performance.now();
  for (const data of all) {
    const token = data.jobId;
    await ledger.begin(data, { token, ...lease, ...(stage !== undefined && { stage }) });
    await ledger.commit(data, { result: 'set', inEffect: true, backend: 'v1', at: 0 }, { token, changedAt: 1 });
  }
  return (performance.now() - startedAt) / jobs;
}

const { stored } = await table.of(org, stages);
await walk(stored);
const [withIt, without]: [number[], number[]] = [[], []];
for (let round = 0; round < rounds; round++) {
  withIt.push(await walk(stored));
  without.push(await walk(undefined));
}

// Workers of their own memory, each beginning one job after the other.
const reached: number[] = [];
const drained: number[] = [];
for (let round = 0; round < rounds; round++) {
  let going = true;
  let lastOld = 0;
  const before = await table.of(org, stages);
  const workers = Array.from({ length: 8 }, async () => {
    const known = createKnownStages(table, stages);
    while (going) {
      const data = job();
      const placed = await known.of(org);
      const begun = await ledger.begin(data, { token: data.jobId, ...lease, stage: placed.stored });
      if (begun.kind === 'stage_moved') await known.moved(org);
      else if (begun.kind === 'go') {
        await ledger.commit(data, { result: 'set', inEffect: true, backend: 'v1', at: 0 }, { token: data.jobId });
        if (placed.version === before.version) lastOld = performance.now();
      }
    }
  });
  await new Promise((resolve) => setTimeout(resolve, 100));
  const stage = before.stage === 'v1' ? 'dual-v1' : 'v1';
  await table.set(org, await table.stored(org), { stage, percent: 0, by: 'bench' }, before);
  const setAt = performance.now();
  while ((await table.draining()).size > 0);
  drained.push(performance.now() - setAt);
  await new Promise((resolve) => setTimeout(resolve, 100));
  going = false;
  await Promise.all(workers);
  reached.push(Math.max(0, lastOld - setAt));
}

console.log(
  JSON.stringify({
    jobs,
    usPerJobWith: Math.round(median(withIt) * 1_000),
    usPerJobWithout: Math.round(median(without) * 1_000),
    share: Number((median(withIt) / median(without) - 1).toFixed(4)),
    msUntilLastOldWrite: Number(median(reached).toFixed(1)),
    msUntilDrained: Number(median(drained).toFixed(1)),
  }),
);
redis.disconnect();
await server.stop();
process.exit(0);
