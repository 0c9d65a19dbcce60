import { PassferryError } from '../../src/errors.ts';
import type { Detected, ParseOptions } from '../../src/producer/import/parse.ts';
import { isRejected, parseRows } from '../../src/producer/import/parse.ts';

/** Copies of the bytes, in pieces: what is read is zeroed. */
export async function* chunksOf(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield Buffer.from(bytes.subarray(at, at + size));
}

/** A file → its rows, passwords revealed, and what it was found to be. */
export async function readFile(file: string | Buffer, options: ParseOptions = {}, chunk = 65_536) {
  let detected: Detected | undefined;
  const rows = [];
  const onDetected = (found: Detected) => {
    detected = found;
  };
  const all = { ...options, onDetected };
  for await (const row of parseRows(chunksOf(Buffer.from(file as string), chunk), all)) {
    rows.push(isRejected(row) ? row : { ...row, password: row.password.reveal() });
  }
  return { rows, detected };
}

/** How each row ended when it was read: its reason or `ok`. */
export async function reasonsOf(file: string | Buffer, options?: ParseOptions, chunk?: number): Promise<string[]> {
  return (await readFile(file, options, chunk)).rows.map((row) => ('reason' in row ? row.reason : 'ok'));
}

/** The error that a file as a whole is refused with. */
export async function refusalOf(
  file: string | Buffer,
  options?: ParseOptions,
  chunk?: number,
): Promise<PassferryError> {
  const error = await readFile(file, options, chunk).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof PassferryError)) throw new Error(`not refused: ${error}`);
  return error;
}

export const chunkSizes = [1, 7, 65_536];
