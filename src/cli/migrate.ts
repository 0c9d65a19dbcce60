import { type Command, InvalidArgumentError, Option } from 'commander';
import type { RunView } from '../run.ts';
import { parseWindow } from '../window.ts';
import { ask } from './ask.ts';
import {
  type ApiClient,
  type ConnectionOptions,
  connect,
  problemOf,
  type Reply,
  told,
  withConnection,
} from './client.ts';
import { cliError, exitOf, exits, finish } from './exit.ts';
import { waitsForPerson } from './import-hold.ts';
import { mailsOption } from './import-options.ts';
import { watch } from './import-watch.ts';
import { commandOf, endLines, migrationLines, planLines } from './migrate-text.ts';
import { note, printable, say, sayJson } from './output.ts';

interface Options extends ConnectionOptions {
  org?: string[];
  allGranted?: boolean;
  execute?: boolean;
  yes?: boolean;
  create?: boolean;
  repair?: boolean;
  mails?: 'allow';
  rate?: number;
  concurrency?: number;
  window?: string;
  startAt?: string;
  maxFailures?: number;
  maxLatency?: number;
  wait?: boolean;
  json?: boolean;
  quiet?: boolean;
}

const path = '/migrations';
const pathOf = (id: string, more = '') => `${path}/${encodeURIComponent(id)}${more}`;

/** `passferry migrate …`: the users of v1 are brought to v2; without `--execute` it is a plan that changes nothing. */
export function registerMigrate(program: Command): void {
  const migrate = program
    .command('migrate')
    .description('bring the users of v1 to v2 by their hashes; without --execute only a plan')
    .enablePositionalOptions()
    .addHelpText(
      'after',
      '\nWindows are in UTC, or with an offset: --window 22:00-06:00+02:00\nExit codes: 0 nobody is left · 1 some are, or refused · 2 usage · 3 could not reach · 4 not over yet · 5 cancelled',
    );
  withOptions(migrate)
    .option('--execute', 'do it, after the same plan; asks before the first write')
    .option('--yes', 'do not ask')
    .option('--create', 'add users to v2 who are missing there; an existing one is never changed beyond the password')
    .addOption(mailsOption())
    .option('--start-at <time>', 'nobody is brought over before (RFC 3339)')
    .option('--max-failures <n>', 'hold when so many could not be brought over', whole)
    .option('--max-latency <ms>', 'hold while the slowest twentieth of changes takes longer; default 5000', whole)
    .action((options: Options) => finish(() => begin(options)));

  withOptions(migrate.command('reconcile').description('compare v1 and v2 for everyone, by reading alone'))
    .option('--repair', 'bring those in step who are behind')
    .action((options: Options, command: Command) => finish(() => reconcile(withParent(options, command))));

  const list = migrate
    .command('list')
    .description('migrations, the newest first')
    .option('--json', 'one JSON object a line');
  list.option('--org <id>', 'of this organization (else the home of the token)');
  withConnection(list).action((options: ConnectionOptions & { org?: string; json?: boolean }, command: Command) => {
    const { org } = options;
    return finish(() => listThem(withParent(options as unknown as Options, command), org));
  });

  const one = (verb: string, text: string, act: (api: ApiClient, id: string, options: Options) => Promise<number>) => {
    const command = migrate
      .command(verb)
      .description(text)
      .argument('<id>', 'migration id')
      .option('--json', 'print JSON');
    withConnection(command).action((id: string, options: Options, self: Command) => {
      const all = withParent(options, self);
      return finish(() => act(connect(all), id, all));
    });
    return command;
  };
  one('show', 'how it is', async (api, id, options) => {
    const view = good(await api.request<RunView>('GET', pathOf(id)));
    if (options.json) sayJson(view);
    else for (const line of [...migrationLines(view), ...planLines(view, commandOf(view)).slice(1)]) say(line);
    return exits.ok;
  });
  one('watch', 'follow it to its end', follow).option('--quiet', 'no progress');
  one('pause', 'nobody further begins', order('pause'));
  one('resume', 'go on, also from a hold: its reason is overruled', order('resume')).addOption(mailsOption());
  one('cancel', 'end it; who was brought over stays so', order('cancel'));
  one('rejects', 'who could not be brought over and why, one JSON object a line', async (api, id) => {
    const answer = await api.open(pathOf(id, '/rejects'));
    const text = await answer.text();
    if (!answer.ok) throw cliError(exits.notInEffect, `no rejects: the server answered ${answer.status}`);
    for (const line of text.split('\n')) if (line !== '') sayJson(JSON.parse(line));
    return exits.ok;
  });
  const tune = migrate
    .command('tune')
    .description('other limits while it runs, such as rate=50 concurrency=none window=22:00-06:00')
    .argument('<id>', 'migration id')
    .argument('<limits...>', 'rate, concurrency, window; none takes a limit away', addLimit);
  withConnection(tune).action((id: string, limits: Record<string, unknown>, options: Options, self: Command) =>
    finish(async () => {
      const view = good(
        await connect(withParent(options, self)).request<RunView>('POST', pathOf(id, ':tune'), { json: limits }),
      );
      for (const line of migrationLines(view)) say(line);
      return exits.ok;
    }),
  );
}

/** Options that stand before the word of a command belong to it too. */
function withParent(options: Options, command: Command): Options {
  return { ...(command.parent?.opts() as Options), ...options };
}

function withOptions(command: Command): Command {
  return withConnection(command)
    .option('--org <id>', 'an organization; can be given again', (id: string, all: string[] = []) => [...all, id])
    .option('--all-granted', 'every organization in which the caller may migrate')
    .option('--rate <n>', 'users a second, at most', positive)
    .option('--concurrency <n>', 'users at work at once, at most', whole)
    .addOption(
      new Option('--window <hours>', 'only in these hours, such as 22:00-06:00; a plan is made at once').argParser(
        hours,
      ),
    )
    .option('--wait', 'follow it to its end; that is the default')
    .option('--no-wait', 'do not follow it')
    .option('--json', 'print JSON')
    .option('--quiet', 'no progress');
}

const order = (verb: string) => async (api: ApiClient, id: string, options: Options) => {
  const mails = verb === 'resume' && options.mails ? '?mails=allow' : '';
  const view = good(await api.request<RunView>('POST', pathOf(id, `:${verb}${mails}`)));
  if (options.json) sayJson(view);
  else for (const line of migrationLines(view)) say(line);
  return exits.ok;
};

async function begin(options: Options): Promise<number> {
  const api = connect(options);
  const plan = await start(api, 'plan', options);
  const planned = await end(api, plan, options);
  if (planned.state !== 'completed') return standing(planned, options);
  const args = process.argv
    .slice(2)
    .filter((each) => each !== '--execute')
    .map(printable)
    .join(' ');
  if (options.json && !options.execute) sayJson(planned);
  else {
    const command = options.execute ? undefined : `passferry ${args} --execute`;
    for (const line of planLines(planned, command)) (options.json ? note : say)(line);
  }
  if (!options.execute) return (planned.failed ?? 0) + planned.rejected > 0 ? exits.notInEffect : exits.ok;
  if (planned.migration?.forecast?.mails && !options.mails) {
    throw cliError(exits.notInEffect, 'v2 would mail users: give --mails=allow, or turn that mail off there');
  }
  if (!options.yes) {
    if (!process.stdin.isTTY) throw cliError(exits.usage, 'nobody is here to be asked: give --yes');
    const answer = await ask(`\nBring ${planned.wouldMirror ?? 0} users over? [y/N] `);
    if (!/^y(es)?$/i.test(answer.trim())) return exits.canceled;
  }
  return run(api, 'execute', options);
}

async function reconcile(options: Options): Promise<number> {
  return run(connect(options), 'reconcile', options);
}

async function run(api: ApiClient, mode: 'execute' | 'reconcile', options: Options): Promise<number> {
  const view = await start(api, mode, options);
  note(`migration ${printable(view.id)} has begun`);
  if (options.wait === false) {
    if (options.json) sayJson(view);
    else for (const line of migrationLines(view)) say(line);
    return exits.pending;
  }
  return standing(await end(api, view, options), options);
}

async function start(api: ApiClient, mode: string, options: Options): Promise<RunView> {
  const { org, allGranted, create, repair, mails, rate, concurrency, window, startAt, maxFailures, maxLatency } =
    options;
  if ((org === undefined) === (allGranted === undefined)) throw cliError(exits.usage, 'give --org, or --all-granted');
  const organizations = org && [...new Set(org)].sort();
  const reply = await api.request<RunView & { migration?: unknown }>('POST', path, {
    json: {
      mode,
      ...(organizations ? { organizations } : { allGranted: true }),
      ...(create && mode !== 'reconcile' && { create }),
      ...(repair && { repair }),
      ...(mails && mode === 'execute' && { mails }),
      ...{
        rate,
        concurrency,
        // A plan is wanted now: whoever waits for it would wait for the hours.
        window: mode === 'plan' ? undefined : window,
        notBefore: mode === 'execute' ? startAt : undefined,
        maxFailures: mode === 'execute' ? maxFailures : undefined,
      },
      ...(maxLatency !== undefined && { maxLatencyMs: maxLatency }),
    },
  });
  if (reply.ok) return reply.body;
  const problem = problemOf(reply);
  const busy = (reply.body as { migration?: unknown }).migration;
  if (typeof busy === 'string') note(`it is ${printable(busy)}: passferry migrate watch ${printable(busy)}`);
  const named = problem.fields.map((each) => {
    const at = /^organizations\[(\d+)\]$/.exec(each.field)?.[1];
    return { ...each, field: at === undefined ? each.field : printable(organizations?.[Number(at)] ?? each.field) };
  });
  throw cliError(exitOf(problem.code), told({ ...problem, fields: named }));
}

async function end(api: ApiClient, { id }: RunView, { quiet }: Options): Promise<RunView> {
  return watch(api, id, { quiet, until: waitsForPerson, path }, new AbortController().signal);
}

async function follow(api: ApiClient, id: string, options: Options): Promise<number> {
  return standing(await end(api, { id } as RunView, options), options);
}

/** The last word, and the exit code. */
function standing(view: RunView, { json }: Options): number {
  if (json) sayJson(view);
  else if (view.state === 'completed' || view.state === 'cancelled') for (const line of endLines(view)) say(line);
  else {
    for (const line of migrationLines(view)) say(line);
    say(`go on: passferry migrate resume ${printable(view.id)}`);
    say(`give up: passferry migrate cancel ${printable(view.id)}`);
  }
  if (view.state === 'cancelled') return exits.canceled;
  if (view.state !== 'completed') return exits.pending;
  return (view.failed ?? 0) + view.rejected + view.expired + (view.differs ?? 0) > 0 ? exits.notInEffect : exits.ok;
}

async function listThem(options: Options, org: string | undefined): Promise<number> {
  const api = connect(options);
  const headers: Record<string, string> = org === undefined ? {} : { 'x-zitadel-orgid': org };
  const page = good(await api.request<{ migrations: RunView[] }>('GET', path, { headers }));
  for (const view of page.migrations) {
    if (options.json) sayJson(view);
    else for (const line of migrationLines(view)) say(line);
  }
  if (!options.json && page.migrations.length === 0) say('no migrations');
  return exits.ok;
}

function good<T>(reply: Reply<T>): T {
  if (reply.ok) return reply.body;
  const problem = problemOf(reply);
  throw cliError(exitOf(problem.code), told(problem));
}

function addLimit(text: string, before: Record<string, unknown> | undefined): Record<string, unknown> {
  const [, name = '', value = ''] = /^(rate|concurrency|window)=(.+)$/.exec(text) ?? [];
  if (name === '') throw new InvalidArgumentError('Give rate=, concurrency= or window=.');
  const limit =
    value === 'none' ? null : name === 'window' ? hours(value) : name === 'rate' ? positive(value) : whole(value);
  return { ...before, [name]: limit };
}

function hours(text: string): string {
  if (!parseWindow(text)) throw new InvalidArgumentError('Give hours such as 22:00-06:00 (UTC) or 22:00-06:00+02:00.');
  return text;
}

function positive(text: string): number {
  const n = Number(text);
  if (!(n >= 0.01 && n <= 100_000)) throw new InvalidArgumentError('Give a number from 0.01 to 100000.');
  return n;
}

function whole(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('Give a whole number from 1.');
  return Number(text);
}
