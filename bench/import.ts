/**
 * `npm run bench -- import [--quick] [--json] [--part pages|feeding|hashes|memory] [--rows N]`: what an import costs beside the least that
 * it could cost, each in turn with it, and how much memory it takes. One line of JSON; ends with 1 where a goal is missed.
 * Memory: 10,000,000 rows, quick 200,000. `--rows` says how many for one `--part`, memory or hashes.
 */
import { availableParallelism, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { benchBuilt } from './import/built.ts';
import { benchFeeding } from './import/feeding.ts';
import { benchHashes, hashBare } from './import/hashes.ts';
import { benchMemory } from './import/memory.ts';
import { benchPages } from './import/pages.ts';

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean' },
    part: { type: 'string', multiple: true },
    rows: { type: 'string' },
    hashes: { type: 'string' },
    pages: { type: 'string' },
    rounds: { type: 'string', default: '1' },
  },
});

if (values.hashes !== undefined) {
  await hashBare(Number(values.hashes));
  process.exit(0);
}

if (values.pages !== undefined) {
  const measured = await benchPages({ rows: Number(values.pages), rounds: Number(values.rounds) });
  process.stdout.write(`${JSON.stringify(measured)}\n`);
  process.exit(0);
}

if (values.rows !== undefined && !['memory', 'hashes'].includes(String(values.part))) {
  process.stderr.write('--rows goes with --part memory or --part hashes\n');
  process.exit(2);
}

const { quick } = values;
const rounds = quick ? 3 : 7;
const parts = {
  pages: {
    goal: 0.5,
    run: () => benchBuilt(['--pages', quick ? '200000' : '500000', '--rounds', String(rounds)]) as Pages,
  },
  feeding: { goal: 0.6, run: () => benchFeeding({ rows: quick ? 60_000 : 200_000, rounds }) },
  hashes: { goal: 0.95, run: () => benchHashes({ rows: Number(values.rows ?? (quick ? 200 : 1_500)), rounds }) },
  memory: {
    run: () =>
      benchMemory({ rows: Number(values.rows ?? (quick ? 200_000 : 10_000_000)), workSeconds: quick ? 30 : 600 }),
  },
};

type Pages = Awaited<ReturnType<typeof benchPages>>;

const figures: Record<string, unknown> = {};
let missed = false;
for (const [name, part] of Object.entries(parts)) {
  if (values.part && !values.part.includes(name)) continue;
  const load = Math.round((loadavg()[0] as number) * 10) / 10;
  const measured = await part.run();
  const met = 'met' in measured ? measured.met : measured.ratio >= ('goal' in part ? part.goal : 0);
  missed ||= !met;
  figures[name] = { ...('goal' in part && { goal: part.goal }), met, load, ...measured };
}
process.stdout.write(`${JSON.stringify({ cores: availableParallelism(), quick, ...figures })}\n`);
process.exit(missed ? 1 : 0);
