import { type Logger, pino } from 'pino';
import { PassferryError } from './errors.ts';

export type Log = Logger;

/**
 * An allow-list, not a deny-list: an error is logged as code, reason and fixed text; a foreign cause as its class and
 * code only, because its message, request or command may hold a payload (F53).
 */
export function createLog(level: string, name: string): Log {
  return pino({
    name,
    level,
    base: { name, pid: process.pid },
    serializers: { err: describeError, error: describeError },
  });
}

export function describeError(thrown: unknown): object {
  if (thrown instanceof PassferryError) {
    const { cause } = thrown;
    return { ...thrown.toJSON(), scope: thrown.scope, ...(cause !== undefined && { cause: classOf(cause) }) };
  }
  return classOf(thrown);
}

function classOf(thrown: unknown): object {
  if (!(thrown instanceof Error)) return { kind: typeof thrown };
  const code = (thrown as { code?: unknown }).code;
  // Only frames: a text of several lines stands in the stack too.
  const where = thrown.stack
    ?.split('\n')
    .filter((line) => /^\s+at /.test(line))
    .slice(0, 3)
    .map((line) => line.trim());
  return { kind: thrown.constructor.name, ...(typeof code === 'string' && { code }), ...(where && { where }) };
}
