import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { ReadStream } from 'node:tty';
import { recognise } from '../hashes/recognise.ts';
import { verifyHash } from '../hashes/verify.ts';
import { duplicatesOf, isRejected, type ParsedRow, type ParseOptions, parseRows } from '../producer/import/parse.ts';
import { Secret } from '../secret.ts';
import { cliError, exits } from './exit.ts';
import { note, printable } from './output.ts';
import { askHidden } from './password-input.ts';

/** One user of the source whose password is known. */
export interface KnownOptions {
  known?: string;
  knownPasswordFile?: string;
}

const tooLong = 4096;

/**
 * Looks for the row of that user that counts and compares the password with its hash as the target will have it. Password and hash stay in this
 * process. Errors, before anything was sent: no such row, no hash, no match, too costly.
 */
export async function checkKnown(
  path: string,
  user: string,
  how: { parse: ParseOptions; duplicates?: 'last' | 'refuse'; knownPasswordFile?: string },
): Promise<void> {
  const failed = (why: string) => cliError(exits.usage, `nothing was sent: ${why}`);
  const hash = await hashOf(path, user, how);
  if (hash === 'no row') throw failed('the file has no row of the user whom --known names, or it is refused');
  if (hash === 'no hash') throw failed('the row of the user whom --known names has a password, not a hash');
  const { recipe, kind } = recognise(hash.reveal());
  hash.wipe();
  const password = await knownPassword(how.knownPasswordFile);
  try {
    const verdict = recipe && (await verifyHash(recipe, password.bytes()));
    if (verdict === 'match') return note(`known password of ${printable(user)}: matches its hash (${printable(kind)})`);
    if (verdict === 'no_match') {
      throw failed(
        `the known password does not match the hash (${printable(kind)}) of this user: nobody could log in. passferry hash doctor finds out why; if the source adds a secret (pepper) to every password, say --peppered: its hashes are refused then`,
      );
    }
    throw failed('this hash costs too much to be tried here');
  } finally {
    password.wipe();
  }
}

async function hashOf(
  path: string,
  user: string,
  { parse, duplicates }: { parse: ParseOptions; duplicates?: 'last' | 'refuse' },
): Promise<Secret | 'no row' | 'no hash'> {
  let found: Secret | 'no row' | 'no hash' = 'no row';
  let refuses = false;
  const onDetected: NonNullable<ParseOptions['onDetected']> = (detected) => {
    refuses = duplicatesOf(detected, duplicates) === 'refuse';
  };
  for await (const row of parseRows(createReadStream(path), { ...parse, onDetected })) {
    if (isRejected(row)) continue;
    if (!isOf(row, user) || (refuses && found !== 'no row')) row.password.wipe();
    else {
      if (found instanceof Secret) found.wipe();
      found = row.hash ? row.password : 'no hash';
    }
  }
  return found;
}

const isOf = ({ userId, email, userName }: ParsedRow, user: string) =>
  email === undefined ? (userId ?? userName) === user : email === user.toLowerCase();

/** Of a file (one line end at its end is dropped), or asked for without echo. */
async function knownPassword(file: string | undefined): Promise<Secret> {
  if (file === undefined) {
    if (!process.stdin.isTTY)
      throw cliError(exits.usage, 'nothing was sent: without a terminal --known needs --known-password-file');
    return new Secret(await askHidden(process.stdin as ReadStream, 'Its password at the source: '));
  }
  const bytes = await readFile(file).catch(() => undefined);
  if (!bytes || bytes.length === 0 || bytes.length > tooLong) {
    throw cliError(
      exits.usage,
      'nothing was sent: the file of --known-password-file cannot be read, or holds no password',
    );
  }
  const end = bytes.at(-1) !== 10 ? bytes.length : bytes.at(-2) === 13 ? -2 : -1;
  return new Secret(bytes.subarray(0, end));
}
