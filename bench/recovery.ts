/**
 * `npx tsx bench/recovery.ts [--repeats 3]`: how long a job in hand takes to its outcome after kill -9 of its worker, while
 * another worker is there. One line of JSON; exit code 1 when a promised limit was missed.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { startProcessWorld } from '../test/kit/process-world.ts';
import { type Recovered, recover, standings } from '../test/kit/recovery.ts';

/** Beyond what an open attempt has left of its deadline, s. */
const limit = 15;

const { values } = parseArgs({ options: { repeats: { type: 'string', default: '3' } } });
const world = await startProcessWorld();
const figures: Record<string, object> = {};
let missed = false;
for (const standing of standings) {
  const all: Recovered[] = [];
  for (let i = 0; i < Number(values.repeats); i++) {
    const one = await recover(world, standing);
    process.stderr.write(`${standing}: ${one.seconds.toFixed(1)} s\n`);
    missed ||= one.seconds > one.deadlineLeft + limit || !('inEffect' in one.outcome && one.outcome.inEffect);
    all.push(one);
  }
  const round = (n: number) => Math.round(n * 10) / 10;
  figures[standing] = {
    seconds: all.map((one) => round(one.seconds)),
    ...(standing === 'v2 attempt open' && { deadlineLeft: all.map((one) => round(one.deadlineLeft)) }),
    changes: all.map((one) => one.changes),
    withinLimit: all.every((one) => one.seconds <= one.deadlineLeft + limit),
  };
}
await world.close();
process.stdout.write(`${JSON.stringify({ cores: availableParallelism(), limit, ...figures })}\n`);
process.exit(missed ? 1 : 0);
