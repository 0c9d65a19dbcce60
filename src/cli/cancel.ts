import type { Command } from 'commander';
import type { JobView } from '../job.ts';
import { type ConnectionOptions, connect, problemOf, withConnection } from './client.ts';
import { exitOf, exits, finish } from './exit.ts';
import { printable, say, sayJson } from './output.ts';

type CancelOptions = ConnectionOptions & { json?: boolean };

/** `passferry cancel ID…`: takes back what no worker has begun. */
export function registerCancel(program: Command): void {
  const command = program
    .command('cancel')
    .description('take requests back that no worker has begun; their passwords are destroyed')
    .argument('<ids...>', 'job ids')
    .option('--json', 'print one JSON object a line');
  withConnection(command).action((ids: string[], options: CancelOptions) => finish(() => cancelEach(ids, options)));
}

/** 0 when all are cancelled, also those that were before; else the highest exit code of what was too late or refused. */
async function cancelEach(ids: string[], options: CancelOptions): Promise<number> {
  const api = connect(options);
  let exitCode: number = exits.ok;
  for (const id of ids) {
    const reply = await api.request<JobView & { job?: JobView }>('DELETE', `/jobs/${encodeURIComponent(id)}`);
    const problem = reply.ok ? undefined : problemOf(reply);
    const { ended } = reply.body?.job ?? {};
    if (options.json) sayJson(problem ? { id, ...problem, ...(ended && { ended }) } : reply.body);
    else if (problem) {
      const end = ended ? `; it ended ${printable(ended)}` : '';
      say(`${printable(id)}: NOT cancelled: ${printable(problem.message)} (${printable(problem.reason)})${end}`);
    } else say(`${printable(id)}: cancelled; its password is not set`);
    if (problem) exitCode = Math.max(exitCode, exitOf(problem.code));
  }
  return exitCode;
}
