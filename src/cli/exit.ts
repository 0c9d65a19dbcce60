import type { Code } from '../errors.ts';
import { codes, PassferryError } from '../errors.ts';
import { printable } from './output.ts';

/** Exit codes of the command line. */
export const exits = {
  /** Everything that was asked for is in effect. */
  ok: 0,
  /** Something was rejected, superseded, stale or failed. */
  notInEffect: 1,
  /** Called wrongly. */
  usage: 2,
  /** Could not start or reach the producer. */
  unreachable: 3,
  /** Accepted, not finished yet. */
  pending: 4,
  canceled: 5,
} as const;

/** An error whose text may be shown as it is, with the exit code it means. */
export type CliError = Error & { exitCode: number };

export function cliError(exitCode: number, line: string): CliError {
  return Object.assign(new Error(line), { exitCode });
}

/** Exit code for a code of the API; 1 for what this version does not know. */
export function exitOf(code: string | undefined): number {
  return code !== undefined && Object.hasOwn(codes, code) ? codes[code as Code].exit : exits.notInEffect;
}

/** Runs an action of a command: its return value or its error becomes `process.exitCode`; an error is one line on stderr. */
export async function finish(action: () => Promise<number>): Promise<void> {
  try {
    process.exitCode = await action();
  } catch (thrown) {
    const [line, code] = explain(thrown);
    process.stderr.write(`passferry: ${printable(line)}\n`);
    process.exitCode = code;
  }
}

function explain(thrown: unknown): [string, number] {
  if (thrown instanceof PassferryError) return [`${thrown.message} (${thrown.reason})`, exitOf(thrown.code)];
  if (thrown instanceof Error && 'exitCode' in thrown) return [thrown.message, thrown.exitCode as number];
  // The text of a foreign error may hold anything; its name and code do not.
  const { name = 'error', code = '' } = thrown as { name?: string; code?: string };
  return [`failed inside: ${name} ${code}`.trim(), exits.notInEffect];
}
