import { setTimeout as pause } from 'node:timers/promises';
import type { Command } from 'commander';
import type { JobView } from '../job.ts';
import { isFailure } from '../job.ts';
import type { ConnectionOptions } from './client.ts';
import { connect, problemOf, withConnection } from './client.ts';
import { cliError, exitOf, exits, finish } from './exit.ts';
import { parseDuration, printable, say, sayJson } from './output.ts';

interface JobOptions extends ConnectionOptions {
  wait?: boolean;
  timeout: number;
  json?: boolean;
}

/** `passferry job ID`: what became of a request. */
export function registerJob(program: Command): void {
  const command = program
    .command('job')
    .description('show a job and its outcome')
    .argument('<id>', 'job id')
    .option('--wait', 'wait until it is done')
    .option('--timeout <time>', 'longest wait, such as 60s', parseDuration, 60_000)
    .option('--json', 'print JSON');
  withConnection(command).action((id: string, options: JobOptions) => finish(() => job(id, options)));
}

async function job(id: string, options: JobOptions): Promise<number> {
  const api = connect(options);
  const until = performance.now() + options.timeout;
  for (let delay = firstDelay; ; delay = nextDelay(delay)) {
    const reply = await api.request<JobView>('GET', `/jobs/${encodeURIComponent(id)}`);
    const retry = reply.status === 429 || reply.status === 503;
    if (!reply.ok && !(retry && options.wait)) {
      const problem = problemOf(reply);
      throw cliError(exitOf(problem.code), `${problem.message} (${problem.reason})`);
    }
    const rest = until - performance.now();
    if (reply.ok && (reply.body.done || !options.wait || rest <= 0)) {
      if (options.json) sayJson(reply.body);
      else say(line(reply.body));
      return exitOfJob(reply.body);
    }
    if (rest <= 0) throw cliError(exits.pending, 'the producer is busy and did not say how the job is; ask again');
    await pause(Math.min(retryAfter(reply.headers) ?? delay, Math.max(rest, 0)));
  }
}

const firstDelay = 500;

/** Polling: 500 ms, then slower, at most every 2 s. */
export function nextDelay(delay: number): number {
  return Math.min(delay * 1.5, 2000);
}

/** What the server asks us to wait, in ms (at most 60 s); undefined when it does not. */
export function retryAfter(headers: Headers): number | undefined {
  const seconds = headers.get('retry-after') ?? '';
  return /^\d{1,6}$/.test(seconds) ? Math.min(Number(seconds), 60) * 1000 : undefined;
}

function exitOfJob(view: JobView): number {
  const outcome = view.outcome;
  if (!outcome) return exits.pending;
  if (isFailure(outcome)) return exitOf(outcome.code);
  return outcome.inEffect ? exits.ok : exits.notInEffect;
}

function line(view: JobView): string {
  const who = `${printable(view.user)} (organization ${printable(view.org)})`;
  const outcome = view.outcome;
  if (!outcome) {
    const why = view.waitingFor ? `, waiting for ${printable(view.waitingFor)}` : '';
    return `${who}: ${view.state}${why}; sent ${view.attempts} times, expires ${printable(view.expiresAt)}`;
  }
  if (isFailure(outcome)) return `${who}: NOT set: ${printable(outcome.message)} (${printable(outcome.reason)})`;
  const when = view.finishedAt ? ` at ${printable(view.finishedAt)}` : '';
  return `${who}: ${outcome.result}${when}${outcome.inEffect ? '' : '; another password is in force'}`;
}
