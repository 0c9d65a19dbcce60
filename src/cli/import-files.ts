import { randomBytes } from 'node:crypto';
import { closeSync, createReadStream, openSync, readSync } from 'node:fs';
import { access, constants, stat } from 'node:fs/promises';
import { hashParamsLimit, parseHashParams } from '../producer/import/sources/hash-params.ts';
import type { Container, Fields } from '../producer/import/sources/source.ts';
import { cliError, exits } from './exit.ts';
import { type Source, stampOf } from './rejects.ts';

/** What an import sends beside its file. */
export interface ImportFiles {
  /** The users of an export in two files. */
  users?: string;
  /** How the source hashes. */
  hashParams?: string;
}

/** A file while it is read; opened when the first byte is asked for, and again each time. */
export async function* bytesOf(path: string): AsyncGenerator<Buffer> {
  yield* createReadStream(path) as AsyncIterable<Buffer>;
}

/** The text of the file with the parameters. Error: exit code 2 when it cannot be read. */
function textOf(path: string): Buffer {
  let file: number | undefined;
  try {
    file = openSync(path, 'r');
    const buffer = Buffer.alloc(hashParamsLimit + 1);
    return buffer.subarray(0, readSync(file, buffer));
  } catch (thrown) {
    throw cliError(exits.usage, `cannot read ${path} (${(thrown as NodeJS.ErrnoException).code})`);
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** What the parser is given of them. Error: `hash_params_invalid`. */
export function filesForParser({ users, hashParams }: ImportFiles): {
  users?: AsyncIterable<Buffer>;
  hashParams?: Fields;
} {
  return {
    ...(users !== undefined && { users: bytesOf(users) }),
    ...(hashParams !== undefined && { hashParams: parseHashParams(textOf(hashParams).toString('utf8')) }),
  };
}

/** A form with the files in the order in which the server reads them; undefined: the file alone is the body. */
export function formOf(file: AsyncIterable<Buffer>, { users, hashParams }: ImportFiles) {
  if (users === undefined && hashParams === undefined) return undefined;
  const boundary = `passferry-${randomBytes(16).toString('hex')}`;
  async function* parts(): AsyncGenerator<Buffer> {
    const head = (name: string) =>
      Buffer.from(`--${boundary}\r\ncontent-disposition: form-data; name="${name}"; filename="${name}"\r\n\r\n`);
    const end = Buffer.from('\r\n');
    // Only what is understood of them: a signer key stays here.
    if (hashParams !== undefined) {
      const found = parseHashParams(textOf(hashParams).toString('utf8'));
      yield Buffer.concat([head('hashParams'), Buffer.from(JSON.stringify(found)), end]);
    }
    if (users !== undefined) {
      yield head('users');
      yield* bytesOf(users);
      yield end;
    }
    yield head(users === undefined ? 'file' : 'passwords');
    yield* file;
    yield Buffer.from(`\r\n--${boundary}--\r\n`);
  }
  return { type: `multipart/form-data; boundary=${boundary}`, body: parts() };
}

/** The file with the passwords, however it is named. Error: exit code 2. */
export function fileOf(file: string | undefined, { passwords, users }: ImportFiles & { passwords?: string }): string {
  if ((file === undefined) === (passwords === undefined)) {
    throw cliError(exits.usage, 'name one file with passwords: FILE, or --passwords FILE');
  }
  if (users === '-') throw cliError(exits.usage, 'standard input is for the passwords: give --users a file');
  return file ?? (passwords as string);
}

/** A file that can be read, as it is now. Error: exit code 2. */
export async function describe(path: string): Promise<Source> {
  try {
    const facts = await stat(path);
    if (facts.isDirectory()) throw cliError(exits.usage, `${path} is a directory`);
    await access(path, constants.R_OK);
    return { path, stamp: await stampOf(path) };
  } catch (thrown) {
    const code = (thrown as NodeJS.ErrnoException).code;
    if (code === undefined) throw thrown;
    throw cliError(exits.usage, code === 'ENOENT' ? `there is no file ${path}` : `cannot read ${path} (${code})`);
  }
}

export const mediaTypes: Record<Container, string> = {
  csv: 'text/csv',
  ndjson: 'application/x-ndjson',
  json: 'application/json',
  sql: 'application/octet-stream',
  ldif: 'application/octet-stream',
};
