/**
 * `npm run bench -- migrate [--users 2000] [--rounds 3] [--at-once 16] [--latency 20 --latency 0] [--fsync everysec|always] [--json]`:
 * users a second of a backfill, whose plan was made before, against a bare loop of the same `UpdateUser` calls, as many at once, in turn.
 * v2 is the sandbox in a process of its own, each call of which takes `latency` ms. Ends with 1 where the goal is missed at the first of
 * them; the others are told. Beside it the same loop where each user is read first, as a backfill must.
 */
import { availableParallelism, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { median, rounded } from './import/file.ts';
import { type Source, startSource } from './migrate/source.ts';
import { runTarget, startTarget } from './migrate/target.ts';

const { values } = parseArgs({
  options: {
    users: { type: 'string', default: '2000' },
    rounds: { type: 'string', default: '3' },
    'at-once': { type: 'string', default: '16' },
    latency: { type: 'string', multiple: true, default: ['20', '0'] },
    fsync: { type: 'string', default: 'everysec' },
    json: { type: 'boolean' },
    target: { type: 'string' },
  },
});
const goal = 0.9;
const [users, rounds, atOnce] = [Number(values.users), Number(values.rounds), Number(values['at-once'])];

interface Round {
  bare: number;
  reading: number;
  passferry: number;
  /** Of the worker, for each user. */
  cpuMs: number;
  ratio: number;
}

async function measure(source: Source, latencyMs: number) {
  const orgs = (kind: string) => Array.from({ length: rounds }, (_, n) => `${kind}${latencyMs}-${n}`);
  const [warm, bare, reading, ours] = [['warm'], orgs('bare'), orgs('reading'), orgs('ours')];
  const target = await startTarget({ latencyMs, users, orgs: [...warm, ...bare, ...reading, ...ours] });
  for (const org of ours) await source.addUsers(org, users);
  const worker = await source.worker(target, atOnce);
  for (const org of ours) await worker.run('plan', org, users);
  await target.bare('warm', source.hash, { atOnce, read: true, users: Math.min(users, 100) });
  const all: Round[] = [];
  for (let n = 0; n < rounds; n++) {
    const loops = {
      bare: Math.round(await target.bare(bare[n] as string, source.hash, { atOnce, read: false })),
      reading: Math.round(await target.bare(reading[n] as string, source.hash, { atOnce, read: true })),
    };
    const { rate, cpuMs } = await worker.run('execute', ours[n] as string, users);
    const one = { ...loops, passferry: Math.round(rate), cpuMs: rounded(cpuMs) };
    all.push({ ...one, ratio: rounded(one.passferry / one.bare) });
    process.stderr.write(`${JSON.stringify({ latencyMs, ...all.at(-1) })}\n`);
  }
  await worker.end();
  await target.end();
  const of = (name: keyof Round) => median(all.map((each) => each[name]));
  const ofReading = rounded(median(all.map(({ passferry, reading: each }) => passferry / each)));
  return { latencyMs, bare: of('bare'), passferry: of('passferry'), ratio: of('ratio'), ofReading, rounds: all };
}

if (values.target !== undefined) {
  await runTarget(JSON.parse(values.target));
} else {
  const load = Math.round((loadavg()[0] as number) * 10) / 10;
  const source = await startSource(values.fsync === 'always' ? 'always' : 'everysec');
  const all = [];
  for (const each of values.latency) all.push(await measure(source, Number(each)));
  await source.close();
  const met = (all[0]?.ratio ?? 0) >= goal;
  if (values.json) {
    process.stdout.write(`${JSON.stringify({ cores: availableParallelism(), load, users, atOnce, goal, met, all })}\n`);
  } else {
    for (const { latencyMs, bare, passferry, ratio, ofReading } of all) {
      console.log(
        `${latencyMs} ms a call: ${passferry} users/s, bare ${bare} (ratio ${ratio}; ${ofReading} of a loop that reads each user first)`,
      );
    }
    console.log(`goal ${goal} at ${all[0]?.latencyMs} ms: ${met ? 'met' : 'missed'}; load ${load}`);
  }
  process.exit(met ? 0 : 1);
}
