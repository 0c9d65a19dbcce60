import { setTimeout as pause } from 'node:timers/promises';
import type { RunView } from '../run.ts';
import { type ApiClient, problemOf } from './client.ts';
import { type CliError, cliError, exits } from './exit.ts';
import { nextDelay, retryAfter } from './job.ts';
import { progressDisplay } from './progress.ts';

/** How long a producer that stopped answering is waited for, ms. */
const patience = 60_000;

export const isOver = ({ state }: RunView) => state === 'completed' || state === 'cancelled';

/** Polls until the import is over, `until` says so or the longest wait is; a producer that is away for a moment is waited for. */
export async function watch(
  api: ApiClient,
  id: string,
  options: {
    wait?: number | undefined;
    quiet?: boolean | undefined;
    until?: (view: RunView) => boolean;
    path?: string;
  },
  signal: AbortSignal,
): Promise<RunView> {
  const { wait, quiet, until: enough = () => false } = options;
  const run = `${options.path === '/migrations' ? 'migration' : 'import'} ${id}`;
  const display = progressDisplay(quiet === true);
  const until = wait === undefined ? Number.POSITIVE_INFINITY : performance.now() + wait;
  let lastAnswer = performance.now();
  try {
    for (let delay = 500; ; delay = nextDelay(delay)) {
      const reply = await api
        .request<RunView>('GET', `${options.path ?? '/imports'}/${encodeURIComponent(id)}`, { signal })
        .catch((thrown: CliError) => {
          if (signal.aborted || performance.now() - lastAnswer > patience) throw thrown;
          return undefined;
        });
      const now = performance.now();
      if (reply?.ok) {
        lastAnswer = now;
        display.show(reply.body);
        if (isOver(reply.body) || enough(reply.body) || now >= until) return reply.body;
      } else if (reply && reply.status < 500 && reply.status !== 429) {
        const { reason, message } = problemOf(reply);
        const exit = reply.status === 404 ? exits.notInEffect : exits.pending;
        throw cliError(exit, `${run} cannot be watched: ${message} (${reason})`);
      } else {
        display.hint('the producer does not answer; trying again');
        if (now - lastAnswer > patience || now >= until) {
          throw cliError(exits.pending, `${run} was accepted, but the producer does not answer any more`);
        }
      }
      const wanted = Math.min((reply && retryAfter(reply.headers)) ?? delay, delay);
      await pause(Math.min(wanted, Math.max(until - performance.now(), 0)), undefined, { signal });
    }
  } finally {
    display.stop();
  }
}
