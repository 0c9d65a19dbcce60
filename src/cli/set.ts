import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { PassferryError } from '../errors.ts';
import type { Details } from '../job.ts';
import { checkOrgId, checkUserId } from '../producer/validate.ts';
import type { ConnectionOptions, Reply } from './client.ts';
import { connect, problemOf, withConnection } from './client.ts';
import { exitOf, exits, finish } from './exit.ts';
import { printable, say, sayJson } from './output.ts';
import { readPassword } from './password-input.ts';

interface SetOptions extends ConnectionOptions {
  org?: string;
  changeRequired: boolean;
  key?: string;
  async?: boolean;
  overwriteNewer?: boolean;
  json?: boolean;
}

/** The v1 answer, or the accepted job. */
interface SetReply {
  details?: Partial<Details>;
  id?: string;
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
    .option('--overwrite-newer', 'also when the user chose another one since (needs admin)')
    .option('--json', 'print JSON');
  withConnection(command).action((user: string, options: SetOptions) => finish(() => set(user, options)));
}

async function set(user: string, options: SetOptions): Promise<number> {
  const reason = checkUserId(user) ?? (options.org === undefined ? undefined : checkOrgId(options.org));
  if (reason) throw new PassferryError(reason);
  const api = connect(options);
  const key = options.key ?? `set-${randomUUID()}`;
  const password = await readPassword();
  const json = { password: password.reveal(), noChangeRequired: !options.changeRequired };
  password.wipe();
  const reply = await api.request<SetReply | undefined>(
    'POST',
    `/management/v1/users/${encodeURIComponent(user)}/password`,
    {
      json,
      headers: {
        'idempotency-key': key,
        ...(options.org !== undefined && { 'x-zitadel-orgid': options.org }),
        ...(options.async && { prefer: 'respond-async' }),
        ...(options.overwriteNewer && { 'passferry-overwrite-newer': 'true' }),
      },
    },
  );
  return report(reply, user, key, options.json === true);
}

function report(reply: Reply<SetReply | undefined>, user: string, key: string, json: boolean): number {
  const job = reply.headers.get('passferry-job') ?? reply.body?.id;
  const known = { user, key, ...(job !== undefined && { job }) };
  const who = printable(user);

  if (!reply.ok) {
    const { code, reason, message } = problemOf(reply);
    const exitCode = exitOf(code);
    if (json) sayJson({ ...known, inEffect: false, code, reason, message });
    else {
      const pending = exitCode === exits.pending || exitCode === exits.unreachable;
      say(`${who}: ${pending ? 'not set yet' : 'NOT set'}: ${printable(message)} (${printable(reason)})`);
      if (pending) say(`send it again with: --key ${printable(key)}`);
    }
    return exitCode;
  }
  if (reply.status === 202) {
    if (json) sayJson({ ...known, accepted: true });
    else say(`${who}: accepted${job === undefined ? '' : `; watch it with: passferry job ${printable(job)} --wait`}`);
    return exits.ok;
  }
  // The v1 body cannot say that another password is in force; the header does.
  const result = reply.headers.get('passferry-result') ?? 'set';
  const inEffect = result !== 'superseded' && result !== 'stale';
  const details = reply.body?.details;
  if (json) sayJson({ ...known, result, inEffect, details });
  else if (!inEffect) say(`${who}: ${printable(result)}; another password is in force`);
  else say(`${who}: ${printable(result)}${details?.sequence ? `, sequence ${printable(details.sequence)}` : ''}`);
  return inEffect ? exits.ok : exits.notInEffect;
}
