import { type Command, InvalidArgumentError, Option } from 'commander';
import type { AuditPage, AuditView } from '../ledger/audit-read.ts';
import { auditActions } from '../ledger/audit-record.ts';
import { type ConnectionOptions, connect, problemOf, withConnection } from './client.ts';
import { cliError, exitOf, exits, finish } from './exit.ts';
import { counted, note, printable, say, sayJson } from './output.ts';

interface AuditOptions extends ConnectionOptions {
  org?: string;
  user?: string;
  caller?: string;
  action?: string;
  since?: string;
  until?: string;
  all?: boolean;
  json?: boolean;
}

const most = 100;

/** `passferry audit`: who asked for what, and what became of it. */
export function registerAudit(program: Command): void {
  const command = program
    .command('audit')
    .description('who asked for what, and what became of it; newest first (needs admin)')
    .option('--org <id>', "organization (else the home of the token); '*': what belongs to none (needs operate)")
    .option('--user <id>', 'only about this user')
    .option('--caller <name>', 'only by this caller')
    .addOption(new Option('--action <action>', 'only of this kind').choices(auditActions))
    .option('--since <time>', 'not older than: 2h, 7d, or 2026-11-25T03:04:00Z', parseTime)
    .option('--until <time>', 'older than: the same', parseTime)
    .option('--all', 'every record, not just the newest 100')
    .option('--json', 'print one JSON object a line');
  withConnection(command).action((options: AuditOptions) => finish(() => list(options)));
}

/** 1 when something is missing or was tampered with: whoever runs it every day wants to hear of that. */
async function list(options: AuditOptions): Promise<number> {
  const api = connect(options);
  const { org, user, caller, action, since, until } = options;
  const given = Object.entries({ org, user, caller, action, since, until });
  const filter = given.filter((each): each is [string, string] => each[1] !== undefined);
  let shown = 0;
  let bad = 0;
  let cursor: string | undefined;
  do {
    const limit = options.all ? 500 : most - shown;
    const query = new URLSearchParams({ ...Object.fromEntries(filter), limit: `${limit}`, ...(cursor && { cursor }) });
    const reply = await api.request<AuditPage>('GET', `/audit?${query}`);
    if (!reply.ok) {
      const problem = problemOf(reply);
      throw cliError(exitOf(problem.code), `${problem.message} (${problem.reason})`);
    }
    for (const each of reply.body.records) {
      if ('action' in each) shown++;
      else if (!isTrimmed(each)) bad++;
      if (options.json) sayJson(each);
      else say(describe(each));
    }
    cursor = reply.body.next;
  } while (cursor !== undefined && (options.all || shown < most));
  if (!options.json) {
    if (shown === 0) say('no records');
    else note(`${counted(shown, 'record')}${cursor === undefined ? '' : '; there are older ones: --all'}`);
    if (bad > 0) note('Somebody may have written to Redis: compare with the log (lines with "audit":true).');
  }
  return bad > 0 ? exits.notInEffect : exits.ok;
}

const isTrimmed = (each: AuditView) => each.result === 'gap' && each.reason === 'trimmed';

/** One line: when, by whom, what, how it went; then what helps to find it elsewhere. */
function describe(each: AuditView): string {
  const when = `${printable(each.time).slice(0, 19).replace('T', ' ')} UTC`;
  if (!('action' in each)) {
    if (each.result === 'forged') return `${when}  FORGED: a record that is not ours, or was moved`;
    if (each.reason === 'trimmed') return `${when}  GAP: older records were trimmed for being too many`;
    return `${when}  GAP: ${counted(each.count ?? 1, 'record')} missing before this`;
  }
  const { result, reason, caller, user, backend, webhook, job, run, from, count, stage, why } = each;
  const about = user ?? backend ?? webhook ?? (stage === undefined ? undefined : `of ${each.org} to ${stage}`);
  const how = result === 'refused' ? `REFUSED (${printable(reason ?? '')})` : result;
  const found = [
    ...(job !== undefined ? [`job ${job}`] : []),
    ...(run !== undefined ? [`run ${run}`] : []),
    ...(from !== undefined ? [`from ${from}`] : []),
    ...(count !== undefined ? [`${count} times`] : []),
    ...(each.replayed ? ['again'] : []),
    ...(why !== undefined ? [`because: ${why}`] : []),
    ...(each.unverified ? ['NOT VERIFIED: signed under a key that is gone'] : []),
  ];
  const what = `${each.action}${about === undefined ? '' : ` ${about}`}`;
  return printable(`${when}  ${caller ?? 'nobody'}: ${what}: ${how}${found.length > 0 ? `  ${found.join(', ')}` : ''}`);
}

const units: Record<string, number> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `2h` before now, or a time → RFC 3339. */
function parseTime(text: string): string {
  const [, digits, unit = ''] = /^(\d{1,6})([mhd])$/.exec(text) ?? [];
  const ms = digits === undefined ? Date.parse(text) : Date.now() - Number(digits) * (units[unit] as number);
  if (Number.isNaN(ms)) throw new InvalidArgumentError('Give a time such as 2h, 7d or 2026-11-25T03:04:00Z.');
  return new Date(ms).toISOString();
}
