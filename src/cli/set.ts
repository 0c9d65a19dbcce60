import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { PassferryError } from '../errors.ts';
import type { Details, JobView, Outcome } from '../job.ts';
import { isFailure } from '../job.ts';
import { checkOrgId, checkUserId } from '../producer/validate.ts';
import type { ApiClient, ConnectionOptions, Reply } from './client.ts';
import { connect, problemOf, withConnection } from './client.ts';
import { exitOf, exits, finish } from './exit.ts';
import { outcomeIn } from './job.ts';
import { printable, say, sayJson } from './output.ts';
import { readPassword } from './password-input.ts';

interface SetOptions extends ConnectionOptions {
  org?: string;
  changeRequired: boolean;
  key?: string;
  async?: boolean;
  json?: boolean;
}

/** `passferry set USER`: one password, read from a hidden prompt or standard input, never from the command line. */
export function registerSet(program: Command): void {
  const command = program
    .command('set')
    .description('set the password of one user (asked for, or from standard input)')
    .argument('<user>', 'user id')
    .option('--org <id>', 'organization of the user')
    .option('--no-change-required', 'the user need not change it at the next login')
    .option('--key <key>', 'idempotency key: sending again with it sets nothing twice')
    .option('--async', 'do not wait for the outcome')
    .option('--json', 'print JSON');
  withConnection(command).action((user: string, options: SetOptions) => finish(() => set(user, options)));
}

async function set(user: string, options: SetOptions): Promise<number> {
  const reason = checkUserId(user) ?? (options.org === undefined ? undefined : checkOrgId(options.org));
  if (reason) throw new PassferryError(reason);
  const api = connect(options);
  const key = options.key ?? `set-${randomUUID()}`;
  const password = await readPassword();
  const reply = await api.request<{ details?: Details } & Partial<JobView>>(
    'POST',
    `/management/v1/users/${encodeURIComponent(user)}/password`,
    {
      json: { password: password.reveal(), noChangeRequired: !options.changeRequired },
      headers: {
        'idempotency-key': key,
        ...(options.org !== undefined && { 'x-zitadel-orgid': options.org }),
        ...(options.async && { prefer: 'respond-async' }),
      },
    },
  );
  password.wipe();
  return report(api, reply, user, key, options.json === true);
}

async function report(
  api: ApiClient,
  reply: Reply<{ details?: Details } & Partial<JobView>>,
  user: string,
  key: string,
  json: boolean,
): Promise<number> {
  const job = reply.body?.id ?? /\/jobs\/([^/?]+)/.exec(reply.headers.get('location') ?? '')?.[1];
  const known = { user, key, ...(job !== undefined && { job }) };
  const who = printable(user);

  if (!reply.ok) {
    const problem = problemOf(reply);
    const exitCode = exitOf(problem.code);
    const { code, reason, message } = problem;
    if (json) sayJson({ ...known, inEffect: false, code, reason, message });
    else {
      say(`${who}: NOT set: ${printable(message)} (${printable(reason)})`);
      if (exitCode === exits.pending || exitCode === exits.unreachable)
        say(`send it again with: --key ${printable(key)}`);
    }
    return exitCode;
  }
  if (reply.status === 202) {
    if (json) sayJson({ ...known, accepted: true });
    else say(`${who}: accepted${job === undefined ? '' : `; watch it with: passferry job ${printable(job)} --wait`}`);
    return exits.ok;
  }
  // A v1 answer cannot say that another password is in force; the job can.
  const outcome = await outcomeOf(api, job);
  const result = outcome && !isFailure(outcome) ? outcome.result : 'set';
  const inEffect = outcome?.inEffect ?? true;
  const details = reply.body?.details;
  if (json) sayJson({ ...known, result, inEffect, details });
  else if (inEffect) say(`${who}: ${result}${details ? `, sequence ${printable(details.sequence)}` : ''}`);
  else say(`${who}: ${result}: another password is in force`);
  return inEffect ? exits.ok : exits.notInEffect;
}

async function outcomeOf(api: ApiClient, job: string | undefined): Promise<Outcome | undefined> {
  if (job === undefined) return undefined;
  const reply = await api.request<JobView>('GET', `/jobs/${encodeURIComponent(job)}`).catch(() => undefined);
  return reply?.ok ? outcomeIn(reply.body) : undefined;
}
