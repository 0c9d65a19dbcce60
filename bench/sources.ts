/**
 * `npm run bench -- --only sources [--rows 200000] [--rounds 5]`: how many records a second each reader of other products' files
 * reads, against bare csv-parse over a CSV of the same rows; each in turn. `whole`: hashes recognised and rows validated too. One line of
 * JSON with the medians.
 */
import { availableParallelism } from 'node:os';
import { Readable } from 'node:stream';
import { parseArgs } from 'node:util';
import { parse } from 'csv-parse';
import { isRejected, parseRows } from '../src/producer/import/parse.ts';
import { peekable } from '../src/producer/import/peekable.ts';
import type { ContainerReader } from '../src/producer/import/sources/container.ts';
import { containers } from '../src/producer/import/sources/containers.ts';
import { median, rounded } from './import/file.ts';

const { values } = parseArgs({
  options: { rows: { type: 'string', default: '200000' }, rounds: { type: 'string', default: '5' } },
});
const rows = Number(values.rows);
const hash = '$2y$10$92IXUNpkjO0rOQ5byMi.Ye4oKoEa3Ro9llC/.og/at2.uheWG/igi';
const people = Array.from({ length: rows }, (_, n) => [
  String(n),
  `Name of ${n}`,
  `user${n}@example.com`,
  hash,
  '2024-01-01 00:00:00',
]);
const columns = ['id', 'name', 'email', 'password', 'email_verified_at'];

const inserts: string[] = [];
for (let from = 0; from < rows; from += 1_000) {
  const part = people
    .slice(from, from + 1_000)
    .map(([id, ...rest]) => `(${id},${rest.map((text) => `'${text}'`).join(',')})`);
  inserts.push(`INSERT INTO \`users\` VALUES ${part.join(',')};\n`);
}
const create = `CREATE TABLE \`users\` (${columns.map((name) => `\`${name}\` varchar(255)`).join(',')});\n`;
const files: Record<string, Buffer> = {
  csv: Buffer.from(`${columns.join(',')}\n${people.map((row) => `${row.join(',')}\n`).join('')}`),
  insert: Buffer.from(`-- MySQL dump\n${create}${inserts.join('')}`),
  copy: Buffer.from(
    `-- PostgreSQL database dump\nCOPY public.users (${columns.join(', ')}) FROM stdin;\n${people.map((row) => `${row.join('\t')}\n`).join('')}\\.\n`,
  ),
  ldif: Buffer.from(
    people
      .map(
        ([id, name, mail, text, at]) =>
          `dn: uid=u${id},dc=example\nuid: u${id}\ncn: ${name}\nmail: ${mail}\nuserPassword: {CRYPT}${text}\ndescription: ${at}\n\n`,
      )
      .join(''),
  ),
};

/** Copies: what is read is zeroed. */
async function* chunks(file: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < file.length; at += 65_536) yield Buffer.from(file.subarray(at, at + 65_536));
}

async function bare(): Promise<number> {
  let read = 0;
  for await (const _ of Readable.from(chunks(files.csv as Buffer)).pipe(parse({ bom: true, from: 2 }))) read++;
  return read;
}

async function records(name: string, file: Buffer): Promise<number> {
  const reader = containers.find((each) => each.name === name) as ContainerReader;
  let read = 0;
  for await (const batch of reader.read(peekable(chunks(file)), { place: { line: 1, byte: 0 }, lists: [] })) {
    for (const record of batch) if ('fields' in record) read++;
  }
  return read;
}

async function whole(file: Buffer): Promise<number> {
  let read = 0;
  for await (const row of parseRows(chunks(file))) if (!isRejected(row)) read++;
  return read;
}

async function rate(run: () => Promise<number>): Promise<number> {
  const start = performance.now();
  const read = await run();
  if (read !== rows) throw new Error(`read ${read} of ${rows} rows`);
  return Math.round(rows / ((performance.now() - start) / 1_000));
}

const runs: Record<string, () => Promise<number>> = { bare };
for (const [name, file] of Object.entries(files)) {
  runs[name] = () => records(name === 'insert' || name === 'copy' ? 'sql' : name, file);
  runs[`${name} whole`] = () => whole(file);
}
const all: Record<string, number[]> = Object.fromEntries(Object.keys(runs).map((name) => [name, []]));
for (let n = 0; n < Number(values.rounds); n++)
  for (const [name, run] of Object.entries(runs)) all[name]?.push(await rate(run));
const base = all.bare as number[];
const ratios = Object.fromEntries(
  Object.entries(all).map(([name, rates]) => [
    name,
    { rowsPerSecond: median(rates), ratio: rounded(median(rates.map((each, n) => each / (base[n] as number)))) },
  ]),
);
process.stdout.write(`${JSON.stringify({ cores: availableParallelism(), rows, ...ratios })}\n`);
