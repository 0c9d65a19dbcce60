import type { Command } from 'commander';
import type { UserJob, Why } from '../producer/why.ts';
import { type ConnectionOptions, connect, problemOf, withConnection } from './client.ts';
import { cliError, exitOf, exits, finish } from './exit.ts';
import { grouped, printable, say, sayJson } from './output.ts';

type WhyOptions = ConnectionOptions & { org?: string; json?: boolean };

/** `passferry why USER`: where the user's password stands, and what is next. */
export function registerWhy(program: Command): void {
  const why = program
    .command('why')
    .description('where the password of a user stands: last applied, open, failed, and what is next')
    .argument('<user>', "the user's id")
    .option('--org <id>', 'organization (default: the one of the caller)')
    .option('--json', 'print JSON');
  withConnection(why).action((user: string, options: WhyOptions) =>
    finish(async () => {
      const query = new URLSearchParams({ user, ...(options.org !== undefined && { org: options.org }) });
      const reply = await connect(options).request<Why>('GET', `/why?${query}`);
      if (!reply.ok) {
        const { code, message, reason } = problemOf(reply);
        throw cliError(exitOf(code), `${message} (${reason})`);
      }
      if (options.json) sayJson(reply.body);
      else for (const line of linesOf(reply.body)) say(line);
      return exits.ok;
    }),
  );
}

/** One screen: what to know and to do comes last, where the eye is. */
export function linesOf(why: Why): string[] {
  const {
    user,
    org,
    stage,
    leads,
    applied,
    ahead,
    forged,
    lease,
    attempt,
    repair,
    divergence,
    open,
    openCount,
    failed,
    latest,
    next,
  } = why;
  const place = leads
    ? `stage ${printable(stage ?? '')}, led by ${printable(leads)}`
    : 'stage unknown: no worker tells';
  const lines = [`${printable(user)} in ${printable(org)}: ${place}`];
  if (why.known) {
    lines.push(
      ...applied.map(
        (each) =>
          `applied in ${each.backend}${each.leads ? ' (leads)' : ''}: ${each.at ? printable(each.at) : 'time unknown'} by ` +
          `${each.by ? printable(each.by) : 'unknown'}, job ${printable(each.job)}, sequence ${printable(each.sequence)}`,
      ),
      ...(applied.length === 0 ? ['applied: nothing of ours'] : []),
      ...(ahead !== null && ahead !== 'equal' && leads && ahead !== leads ? [`${leads} is behind ${ahead}`] : []),
      ...forged.map((backend) => `${backend}: the record of what was applied is not signed by us and is ignored`),
      ...(lease ? [`at work now: ${printable(lease.by)}, until ${printable(lease.until)} at most`] : []),
      ...(attempt ? [`sent and not settled: ${printable(attempt.by)}, until ${printable(attempt.until)}`] : []),
      ...(divergence
        ? [
            `not in ${divergence.backend} yet: ${printable(divergence.cause)}, since ${printable(divergence.since)}, ` +
              (divergence.nextTry ? `next try ${printable(divergence.nextTry)}` : 'waits for somebody'),
          ]
        : []),
      ...(repair ? [`repair pending in ${repair.backend} since ${printable(repair.since)}`] : []),
      ...open.map((job) => `open: ${jobLine(job)}${job.waitingFor ? `, waits: ${printable(job.waitingFor)}` : ''}`),
      ...(openCount > open.length ? [`open: ${grouped(openCount - open.length)} more`] : []),
      ...(latest ? [`ended last: ${jobLine(latest)}: ${endText(latest)}`] : []),
      ...failed.filter(({ id }) => id !== latest?.id).map((job) => `failed: ${jobLine(job)}: ${endText(job)}`),
    );
  }
  return [...lines, '', printable(next.what), `→ ${printable(next.todo)}`];
}

const jobLine = ({ id, by, acceptedAt }: UserJob) =>
  `job ${printable(id)} by ${printable(by)}, accepted ${printable(acceptedAt)}`;

const endText = ({ ended, reason, retryUntil }: UserJob) =>
  `${printable(ended ?? '')}${reason ? ` (${printable(reason)})` : ''}${retryUntil ? `, retry until ${printable(retryUntil)}` : ''}`;
