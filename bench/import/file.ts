import { createHash } from 'node:crypto';

const rowsAChunk = 500;

/** Rows of a file as a customer would send it, made while it is read: ids that count up, passwords that do not deflate. */
export async function* importFile(rows: number, org?: string, named = idOf) {
  yield Buffer.from(`userId,password${org === undefined ? '' : ',orgId'}\n`);
  const tail = org === undefined ? '\n' : `,${org}\n`;
  for (let from = 0; from < rows; from += rowsAChunk) {
    let text = '';
    for (let n = from; n < Math.min(rows, from + rowsAChunk); n++) text += `${named(n)},${passwordOf(n)}${tail}`;
    yield Buffer.from(text);
  }
}

export const idOf = (n: number) => `1041333912${String(n).padStart(8, '0')}`;

function passwordOf(n: number): string {
  return `Ab1-${createHash('sha1').update(String(n)).digest('base64').slice(0, 12)}`;
}

/** Rows a second. */
export async function rate(rows: number, run: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await run();
  return Math.round(rows / ((performance.now() - start) / 1_000));
}

export function median(all: number[]): number {
  return [...all].sort((a, b) => a - b)[Math.floor(all.length / 2)] as number;
}

export const rounded = (ratio: number) => Math.round(ratio * 1_000) / 1_000;
