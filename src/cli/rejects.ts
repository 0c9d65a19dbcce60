import { existsSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { open, rename, rm, stat } from 'node:fs/promises';
import { frames } from '../producer/import/lines.ts';
import { rejectsFile } from '../producer/import/rejects-file.ts';
import type { RowView } from '../producer/runs.ts';
import type { RunOptions, RunView } from '../run.ts';
import type { ApiClient } from './client.ts';
import { problemOf } from './client.ts';
import { cliError, exits } from './exit.ts';
import { withFlags } from './output.ts';
import { type SourceRow, sourceRows } from './secrets.ts';

export interface Rejects {
  /** How many rows for each reason, and what to do. */
  reasons: Map<string, { rows: number; advice: string | undefined }>;
  /** The file that was written. */
  path?: string;
  /** The file holds blanks where passwords were. */
  blank?: true;
  hints: string[];
}

/** The file that was imported; undefined for standard input. */
export interface Source {
  path: string;
  /** As it was when it was sent: a changed file is not read again. */
  stamp: string;
}

export async function stampOf(path: string): Promise<string> {
  const { size, mtimeMs, ino } = await stat(path);
  return `${ino} ${size} ${mtimeMs}`;
}

/** Where rejects go when nobody says: beside the file, in its own format. */
export function rejectsPath(view: RunView, source: Source | undefined): string {
  const { extension } = rejectsFile(optionsOf(view));
  const name = source?.path ?? `./import-${view.id.replace(/[^\w-]/g, '_')}`;
  // Rejects of rejects are still of the file.
  const base = name.replace(/\.rejects(-\d+)?\.(csv|ndjson|json)$/, '');
  // What somebody has corrected is not written over.
  for (let n = 1; ; n++) {
    const path = `${base}.rejects${n === 1 ? '' : `-${n}`}.${extension}`;
    if (!existsSync(path)) return path;
  }
}

const optionsOf = (view: RunView): RunOptions =>
  view.options ?? { format: 'csv', changeRequired: true, overwriteNewer: false };

/**
 * Fetches what is not in effect and writes it to `path` (0600), in the format and the columns of the file that was sent. Passwords
 * are blank; with `secrets` they are taken from the file, when that is the one that was sent. `path` undefined: only counts.
 */
export async function writeRejects(
  api: ApiClient,
  view: RunView,
  path: string | undefined,
  secrets: Source | undefined,
): Promise<Rejects> {
  const reasons: Rejects['reasons'] = new Map();
  const shape = rejectsFile(optionsOf(view));
  const source = secrets && (await unchanged(secrets)) ? sourceRows(secrets.path, optionsOf(view)) : undefined;
  const hints =
    secrets && !source ? ['the file has changed since it was sent, so its passwords are not in the rejects'] : [];
  const out = path === undefined ? undefined : await create(path);
  try {
    await out?.write(shape.head);
    let last = 0;
    for await (const found of fetchRejects(api, view.id)) {
      if (found.row <= last) continue;
      const reject = found.advice === undefined ? found : { ...found, advice: withFlags(found.advice) };
      last = reject.row;
      const reason = reject.reason ?? reject.result ?? 'unknown';
      const rows = (reasons.get(reason)?.rows ?? 0) + 1;
      reasons.set(reason, { rows, advice: reject.advice });
      if (!out) continue;
      const { password, hash } = source ? await secretsOf(source, reject) : {};
      await out.write(shape.row(reject, password, hash));
    }
    await out?.write(shape.tail);
    await out?.end();
  } finally {
    await source?.return(undefined);
    await out?.close();
  }
  const blank = path !== undefined && !source && !optionsOf(view).reset;
  return { reasons, ...(path !== undefined && { path }), ...(blank && { blank }), hints };
}

const unchanged = async ({ path, stamp }: Source) => (await stampOf(path).catch(() => undefined)) === stamp;

/** Goes on to the row; what stands there must be where it stood. */
async function secretsOf(
  source: AsyncGenerator<SourceRow>,
  { row, line, byte }: RowView,
): Promise<Pick<SourceRow, 'password' | 'hash'>> {
  for (;;) {
    const { done, value } = await source.next();
    if (
      done ||
      value.row > row ||
      (value.row === row && !(value.line === line && (byte ?? value.byte) === value.byte))
    ) {
      throw cliError(exits.notInEffect, 'this is not the file that was imported: its rows stand elsewhere');
    }
    if (value.row === row) return value;
  }
}

async function* fetchRejects(api: ApiClient, id: string): AsyncGenerator<RowView> {
  const response = await api.open(`/imports/${encodeURIComponent(id)}/rejects`);
  if (!response.ok) {
    const body = await response.json().catch(() => undefined);
    const { reason, message } = problemOf({ status: response.status, ok: false, headers: response.headers, body });
    throw cliError(exits.notInEffect, `cannot fetch the rejected rows: ${message} (${reason})`);
  }
  if (!response.body) return;
  for await (const batch of frames(asBuffers(response.body), false)) {
    for (const frame of batch) {
      if (!('bytes' in frame)) throw cliError(exits.notInEffect, 'the list of rejected rows cannot be read');
      yield JSON.parse(frame.bytes.toString('utf8')) as RowView;
    }
  }
}

async function* asBuffers(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  for await (const chunk of stream) yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
}

/** Collects pieces and writes them in blocks; the file is there when all of it is. Errors name it, and what to do. */
async function create(path: string) {
  const failed = (thrown: unknown) => {
    const { code = 'failed' } = thrown as NodeJS.ErrnoException;
    return cliError(exits.notInEffect, `cannot write the rejects to ${path} (${code}); give --rejects another path`);
  };
  const part = `${path}.part`;
  const begin = async (): Promise<FileHandle> => {
    // What stood there may be open to others.
    await rm(part, { force: true });
    return open(part, 'wx', 0o600);
  };
  const file = await begin().catch((thrown) => {
    throw failed(thrown);
  });
  let held = '';
  let whole = false;
  const put = async () => {
    const block = held;
    held = '';
    await file.writeFile(block).catch((thrown) => {
      throw failed(thrown);
    });
  };
  return {
    async write(piece: string) {
      held += piece;
      if (held.length > 64 * 1024) await put();
    },
    async end() {
      await put();
      await rename(part, path).catch((thrown) => {
        throw failed(thrown);
      });
      whole = true;
    },
    async close() {
      await file.close();
      if (!whole) await rm(part, { force: true });
    },
  };
}
