/**
 * `npm run bench -- parse [--rows 300000] [--rounds 5]`: how many rows a second are read and validated, against bare
 * csv-parse over the same bytes; each in turn. One line of JSON: the median of the ratios.
 */
import { availableParallelism, loadavg } from 'node:os';
import { Readable } from 'node:stream';
import { parseArgs } from 'node:util';
import { parse } from 'csv-parse';
import { isRejected, parseRows } from '../src/producer/import/parse.ts';

const goal = 0.5;
const chunkBytes = 64 * 1024;
const { values } = parseArgs({
  options: { rows: { type: 'string', default: '300000' }, rounds: { type: 'string', default: '5' } },
});
const rows = Number(values.rows);

const lines = Array.from({ length: rows }, (_, n) => {
  const id = `1041333912${String(n).padStart(8, '0')}`;
  return `${id},${n % 10 === 0 ? `"Quoted, ""pass"" ${n}"` : `Pass-word-${n}`},4711,true\n`;
});
const file = Buffer.from(`userId,password,orgId,noChangeRequired\n${lines.join('')}`);

/** Copies: what is read is zeroed. */
async function* chunks(): AsyncGenerator<Buffer> {
  for (let at = 0; at < file.length; at += chunkBytes) yield Buffer.from(file.subarray(at, at + chunkBytes));
}

async function bare(): Promise<number> {
  let read = 0;
  for await (const _ of Readable.from(chunks()).pipe(parse({ bom: true, from: 2 }))) read++;
  return read;
}

async function ours(): Promise<number> {
  let read = 0;
  for await (const row of parseRows(chunks())) if (!isRejected(row)) read++;
  return read;
}

async function rate(run: () => Promise<number>): Promise<number> {
  const start = performance.now();
  const read = await run();
  if (read !== rows) throw new Error(`read ${read} of ${rows} rows`);
  return Math.round(rows / ((performance.now() - start) / 1_000));
}

const all: { bare: number; passferry: number; ratio: number; load: number }[] = [];
for (let n = 0; n < Number(values.rounds); n++) {
  const one = { bare: await rate(bare), passferry: await rate(ours) };
  const ratio = Math.round((one.passferry / one.bare) * 1_000) / 1_000;
  all.push({ ...one, ratio, load: Math.round((loadavg()[0] as number) * 10) / 10 });
}
const sorted = all.map((one) => one.ratio).sort((a, b) => a - b);
const ratio = sorted[Math.floor(sorted.length / 2)] as number;
process.stdout.write(`${JSON.stringify({ cores: availableParallelism(), rows, goal, ratio, rounds: all })}\n`);
process.exit(ratio < goal ? 1 : 0);
