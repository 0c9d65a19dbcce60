import type { Command } from 'commander';
import type { HeldJob } from '../ledger/quarantine.ts';
import { type ConnectionOptions, connect, problemOf, type Reply, withConnection } from './client.ts';
import { cliError, exitOf, exits, finish } from './exit.ts';
import { counted, note, printable, say, sayJson } from './output.ts';

type ReleaseOptions = ConnectionOptions & { reason: string };
type ListOptions = ConnectionOptions & { org?: string; json?: boolean };

/** `passferry release-job`: a job that crashed its worker too often runs again. `drop` gives it up. */
export function registerQuarantine(program: Command): void {
  const release = program
    .command('release-job')
    .description('let a job run again that crashed its worker and waits for a person')
    .argument('<id>', 'job id')
    .requiredOption('--reason <text>', 'why: everyone who asks is told');
  withConnection(release).action((id: string, options: ReleaseOptions) =>
    finish(async () => {
      const { reason } = options;
      told(await connect(options).request('POST', `/jobs/${encodeURIComponent(id)}:release`, { json: { reason } }));
      say(`${printable(id)} is released; watch it: passferry job ${printable(id)} --wait`);
      return exits.ok;
    }),
  );
}

/** `passferry jobs --quarantined`. */
export async function listQuarantined(options: ListOptions): Promise<number> {
  const query = new URLSearchParams({ state: 'quarantined', ...(options.org !== undefined && { org: options.org }) });
  const { jobs } = told(await connect(options).request<{ jobs: HeldJob[] }>('GET', `/jobs?${query}`));
  for (const job of jobs) {
    if (options.json) sayJson(job);
    else {
      const since = `since ${printable(job.quarantinedAt)}, expires ${printable(job.expiresAt)}`;
      say(`${printable(job.id)}  user ${printable(job.user)}: crashed its worker ${job.starts} times; held ${since}`);
    }
  }
  if (options.json) return exits.ok;
  if (jobs.length === 0) say('no job waits for a person');
  else {
    note(`${counted(jobs.length, 'job')} waiting for a person`);
    note('again: passferry release-job ID --reason …; give up: passferry drop ID --reason …');
  }
  return exits.ok;
}

function told<T>(reply: Reply<T>): T {
  if (reply.ok) return reply.body;
  const problem = problemOf(reply);
  throw cliError(exitOf(problem.code), `${problem.message} (${problem.reason})`);
}
