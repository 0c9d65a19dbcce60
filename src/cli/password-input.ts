import type { ReadStream } from 'node:tty';
import { PassferryError } from '../errors.ts';
import { checkPassword } from '../producer/validate.ts';
import { Secret } from '../secret.ts';
import { cliError, exits } from './exit.ts';

/** More than any password, so that a wrong pipe does not fill the memory. Bytes. */
const inputLimit = 64 * 1024;

/**
 * A password from whoever calls: asked twice without echo on a terminal, else all of standard input, of which one line
 * end at the end is dropped and everything else kept.
 * @throws PassferryError when no backend would take it; CliError on Ctrl-C or when the two differ.
 */
export async function readPassword(input: NodeJS.ReadStream = process.stdin): Promise<Secret> {
  const bytes = input.isTTY ? await askTwice(input as ReadStream) : await readPiped(input);
  const text = decode(bytes);
  const reason = text === undefined ? 'password_ill_formed' : checkPassword(text);
  const password = new Secret(bytes);
  if (!reason) return password;
  password.wipe();
  throw new PassferryError(reason);
}

function decode(bytes: Buffer): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

export async function readPiped(input: AsyncIterable<Buffer | string>): Promise<Buffer> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of input) {
    parts.push(typeof part === 'string' ? Buffer.from(part) : part);
    size += part.length;
    if (size > inputLimit) throw new PassferryError('password_too_long');
  }
  const all = Buffer.concat(parts);
  for (const part of parts) part.fill(0);
  if (all.at(-1) !== 10) return all;
  return all.subarray(0, all.at(-2) === 13 ? -2 : -1);
}

async function askTwice(tty: ReadStream): Promise<Buffer> {
  const first = await askHidden(tty, 'New password: ');
  const second = await askHidden(tty, 'Again: ');
  const same = first.equals(second);
  second.fill(0);
  if (!same) first.fill(0);
  if (!same) throw cliError(exits.usage, 'the two passwords differ; nothing was sent');
  return first;
}

/** One line without echo. The terminal is restored however it ends. */
export async function askHidden(tty: ReadStream, question: string): Promise<Buffer> {
  // Raw before the question shows: nothing typed is ever echoed, and Ctrl-C is ours.
  tty.setRawMode(true);
  process.stderr.write(question);
  let bytes: number[] = [];
  try {
    for await (const chunk of tty.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      // Arrow and function keys come as one chunk of their own.
      if (chunk[0] === 0x1b) continue;
      for (const [index, byte] of Buffer.from(chunk).entries()) {
        if (byte === 3 || (byte === 4 && bytes.length === 0))
          throw cliError(exits.canceled, 'cancelled; nothing was sent');
        if (byte === 13 || byte === 10) {
          // What was pasted after it answers the next question.
          if (index + 1 < chunk.length) tty.unshift(chunk.subarray(index + 1));
          return Buffer.from(bytes);
        }
        if (byte === 0x15) bytes = [];
        else if (byte === 8 || byte === 127) dropCharacter(bytes);
        else if (byte >= 32 && bytes.length < inputLimit) bytes.push(byte);
      }
    }
    throw cliError(exits.canceled, 'the terminal was closed; nothing was sent');
  } finally {
    tty.setRawMode(false);
    tty.pause();
    process.stderr.write('\n');
  }
}

/** Removes one UTF-8 character, not one byte. */
function dropCharacter(bytes: number[]): void {
  let byte = bytes.pop();
  while (byte !== undefined && (byte & 0xc0) === 0x80) byte = bytes.pop();
}
