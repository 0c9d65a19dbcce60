import type { Command } from 'commander';
import { PassferryError } from '../errors.ts';
import type { JobView } from '../job.ts';
import { isFailure } from '../job.ts';
import { checkOrgId } from '../producer/validate.ts';
import { type ApiClient, type ConnectionOptions, connect, problemOf, type Reply, withConnection } from './client.ts';
import { cliError, exitOf, exits, finish } from './exit.ts';
import { counted, grouped, note, printable, say, sayJson } from './output.ts';
import { listQuarantined } from './quarantine.ts';

interface Filter extends ConnectionOptions {
  org?: string;
  reason?: string;
  user?: string;
}
type JobsOptions = Filter & { failed?: boolean; quarantined?: boolean; all?: boolean; json?: boolean };
type RetryOptions = Filter & { all?: boolean; overwriteNewer?: boolean; json?: boolean };
type DropOptions = ConnectionOptions & { reason: string };

interface Counts {
  matched: number;
  retried: number;
  skipped: Record<string, number>;
  next?: string;
}

const page = 100;
const retriedAtOnce = 500;

/** `passferry jobs`, `retry`, `drop`: what failed, why, and what a person does about it. */
export function registerJobs(program: Command): void {
  const jobs = program
    .command('jobs')
    .description('failed and expired jobs: which, and why')
    .option('--failed', 'those that failed or expired (the default)')
    .option('--quarantined', 'those that crashed their worker too often and wait for a person')
    .option('--all', 'every one, not just the newest 100')
    .option('--json', 'print one JSON object a line');
  withFilter(jobs).action((options: JobsOptions) =>
    finish(() => (options.quarantined ? listQuarantined(options) : list(options))),
  );

  const retry = program
    .command('retry')
    .description('send failed or expired jobs on their way again; one never overtakes a newer change')
    .argument('[ids...]', 'job ids; or --all')
    .option('--all', 'every failed job that matches')
    .option('--overwrite-newer', 'also for users who chose another password since (needs admin)')
    .option('--json', 'print one JSON object');
  withFilter(retry).action((ids: string[], options: RetryOptions) =>
    finish(() => (options.all ? retryAll(ids, options) : retryEach(ids, options))),
  );

  const drop = program
    .command('drop')
    .description('give a failed job up: its password is destroyed at once')
    .argument('<id>', 'job id')
    .requiredOption('--reason <text>', 'why: everyone who asks is told');
  withConnection(drop).action((id: string, options: DropOptions) =>
    finish(async () => {
      const { reason } = options;
      told(await connect(options).request('POST', `/jobs/${encodeURIComponent(id)}:drop`, { json: { reason } }));
      say(`${printable(id)} is dropped`);
      return exits.ok;
    }),
  );
}

function withFilter(command: Command): Command {
  return withConnection(
    command
      .option('--org <id>', 'organization (else the home of the token)')
      .option('--reason <reason>', 'only those that failed for this, such as COMMAND-G8dh3')
      .option('--user <id>', 'only those of this user'),
  );
}

function filterOf({ org, reason, user }: Filter): Record<string, string> {
  const orgReason = org === undefined ? undefined : checkOrgId(org);
  if (orgReason) throw new PassferryError(orgReason);
  const given = { org, reason, user };
  return Object.fromEntries(Object.entries(given).filter((each): each is [string, string] => each[1] !== undefined));
}

async function list(options: JobsOptions): Promise<number> {
  const api = connect(options);
  const filter = filterOf(options);
  const reasons = new Map<string, number>();
  let shown = 0;
  let cursor: string | undefined;
  do {
    const query = new URLSearchParams({ state: 'failed', limit: `${page}`, ...filter, ...(cursor && { cursor }) });
    const found = told(await api.request<{ jobs: JobView[]; next?: string }>('GET', `/jobs?${query}`));
    for (const job of found.jobs) {
      shown++;
      const reason = reasonOf(job);
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
      if (options.json) sayJson(job);
      else for (const line of describe(job)) say(line);
    }
    cursor = found.next;
  } while (cursor !== undefined && (options.all || shown === 0));
  if (options.json) return exits.ok;
  if (shown === 0) say('no failed jobs');
  else {
    const each = [...reasons].sort((a, b) => b[1] - a[1]).map(([name, n]) => `${grouped(n)} ${printable(name)}`);
    note(`${counted(shown, 'failed job')}: ${each.join(', ')}${cursor === undefined ? '' : '; there are more: --all'}`);
    note('again: passferry retry ID, or retry --all --reason …; give up: passferry drop ID --reason …');
  }
  return exits.ok;
}

const reasonOf = ({ outcome }: JobView) => (outcome && isFailure(outcome) ? outcome.reason : 'unknown');

/** Two lines: who and why first, then what one needs to act. */
function describe(job: JobView): string[] {
  const { outcome } = job;
  const why = outcome && isFailure(outcome) ? outcome.message : '';
  const until = job.retryUntil ? `can be retried until ${minute(job.retryUntil)}` : 'password destroyed: send it again';
  const facts = [
    ...(job.run ? [`row ${job.row} of ${printable(job.run)}`] : []),
    `sent ${job.attempts} ${job.attempts === 1 ? 'time' : 'times'}`,
    ...(job.reopened ? [`retried ${job.reopened} ${job.reopened === 1 ? 'time' : 'times'}`] : []),
    until,
  ];
  const when = job.finishedAt ? minute(job.finishedAt) : '';
  return [
    `${printable(job.id)}  ${when}  user ${printable(job.user)}: ${printable(why)} (${printable(reasonOf(job))})`,
    `    ${facts.join(', ')}`,
  ];
}

/** RFC 3339 → `2026-11-25 03:04 UTC`. */
const minute = (time: string) => `${printable(time).slice(0, 16).replace('T', ' ')} UTC`;

async function retryEach(ids: string[], options: RetryOptions): Promise<number> {
  if (ids.length === 0) throw cliError(exits.usage, 'name the jobs, or --all with what they have in common');
  const filtered = Object.keys(filterOf(options)).map((name) => `--${name}`);
  if (filtered.length > 0) throw cliError(exits.usage, `${filtered.join(', ')} only with --all`);
  const api = connect(options);
  const json = { overwriteNewer: options.overwriteNewer === true };
  let exitCode: number = exits.ok;
  for (const id of ids) {
    const reply = await api.request<JobView>('POST', `/jobs/${encodeURIComponent(id)}:retry`, { json });
    const problem = reply.ok ? undefined : problemOf(reply);
    if (options.json) sayJson(problem ? { id, ...problem } : reply.body);
    else if (problem)
      say(`${printable(id)}: NOT retried: ${printable(problem.message)} (${printable(problem.reason)})`);
    else say(`${printable(id)}: on its way again; watch it: passferry job ${printable(id)} --wait`);
    if (problem) exitCode = Math.max(exitCode, exitOf(problem.code));
  }
  return exitCode;
}

async function retryAll(ids: string[], options: RetryOptions): Promise<number> {
  if (ids.length > 0) throw cliError(exits.usage, 'either job ids or --all');
  const api = connect(options);
  const filter = filterOf(options);
  const sum: Counts = { matched: 0, retried: 0, skipped: {} };
  let cursor: string | undefined;
  do {
    const counts = await retryPage(api, filter, options.overwriteNewer === true, cursor, sum);
    sum.matched += counts.matched;
    sum.retried += counts.retried;
    for (const [reason, n] of Object.entries(counts.skipped)) sum.skipped[reason] = (sum.skipped[reason] ?? 0) + n;
    cursor = counts.next;
    if (cursor !== undefined) note(`${grouped(sum.retried)} of ${counted(sum.matched, 'job')} so far are on their way`);
  } while (cursor !== undefined);
  const skipped = Object.entries(sum.skipped);
  if (options.json) sayJson(sum);
  else {
    say(`${grouped(sum.retried)} of ${counted(sum.matched, 'failed job')} on their way again`);
    for (const [reason, n] of skipped) say(`left: ${grouped(n)} ${printable(reason)}`);
  }
  return skipped.length > 0 ? exits.notInEffect : exits.ok;
}

async function retryPage(
  api: ApiClient,
  filter: Record<string, string>,
  overwriteNewer: boolean,
  cursor: string | undefined,
  sofar: Counts,
): Promise<Counts> {
  const json = { ...filter, overwriteNewer, limit: retriedAtOnce, ...(cursor && { cursor }) };
  const reply = await api.request<Counts>('POST', '/jobs:retry', { json });
  if (reply.ok) return reply.body;
  if (sofar.matched > 0) note(`${grouped(sofar.retried)} jobs are on their way already; the same again goes on`);
  return told(reply);
}

function told<T>(reply: Reply<T>): T {
  if (reply.ok) return reply.body;
  const problem = problemOf(reply);
  throw cliError(exitOf(problem.code), `${problem.message} (${problem.reason})`);
}
