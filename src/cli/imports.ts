import type { Command } from 'commander';
import { Option } from 'commander';
import { PassferryError } from '../errors.ts';
import { checkOrgId } from '../producer/validate.ts';
import type { RunView } from '../run.ts';
import { type ApiClient, type ConnectionOptions, connect, problemOf, type Reply, withConnection } from './client.ts';
import { addEvidence } from './evidence.ts';
import { cliError, exitOf, exits, finish } from './exit.ts';
import { exitOfRun } from './import.ts';
import { holdLines } from './import-hold.ts';
import { mailsOption } from './import-options.ts';
import { isOver, watch } from './import-watch.ts';
import { counted, duration, grouped, note, parseDuration, printable, say, sayJson, withFlags } from './output.ts';
import { standingOf } from './progress.ts';
import { rejectsPath, type Source, stampOf, writeRejects } from './rejects.ts';
import { isForeign, notInEffect, printReport, sourceLines } from './report.ts';

interface Options extends ConnectionOptions {
  json?: boolean;
  quiet?: boolean;
  wait?: number;
  org?: string;
  all?: boolean;
  row?: string;
  rejects?: string;
  file?: string;
  mails?: 'allow';
  withSecrets?: boolean;
}

/** `passferry imports …`: what was sent, how it is, and what a person does about it. */
export function registerImports(program: Command): void {
  const imports = program
    .command('imports')
    .description('imports: list, show, watch, pause, resume, cancel, retry, rejects');

  const list = imports
    .command('list')
    .description('the newest imports of an organization')
    .option('--org <id>', 'organization (else the home of the token)')
    .option('--all', 'every one, not just the newest 50')
    .option('--json', 'print one JSON object a line');
  withConnection(list).action((options: Options) => finish(() => listImports(options)));

  const of = (verb: string, description: string) =>
    imports.command(verb).description(description).argument('<id>', 'import id').option('--json', 'print JSON');
  const act = (command: Command, action: (api: ApiClient, id: string, options: Options) => Promise<number>) =>
    withConnection(command).action((id: string, options: Options) =>
      finish(() => action(connect(options), id, options)),
    );

  act(of('show', 'how an import is').option('--row <number>', 'one row of it'), show);
  act(
    of('watch', 'follow an import to its end, then report')
      .addOption(new Option('--wait <time>', 'longest wait, such as 10m; default: until done').argParser(parseDuration))
      .option('--quiet', 'no progress'),
    watchIt,
  );
  act(of('pause', 'let no further row begin; what has begun goes on to its end'), tell('pause'));
  act(of('resume', 'go on, also from a hold: its reason is overruled').addOption(mailsOption()), tell('resume'));
  act(of('cancel', 'end it: rows that have not begun are given up, their passwords destroyed'), tell('cancel'));
  act(of('retry', 'open the failed and expired rows of an import that is over again'), tell('retry'));
  act(
    of('rejects', 'write the rows that are not in effect to a file that can be corrected and imported')
      .option('--rejects <path>', 'where to; default: ./import-<id>.rejects.csv (or .ndjson, .json)')
      .option('--file <path>', 'the file that was imported, for --with-secrets')
      .option('--with-secrets', 'with their passwords, from --file'),
    rejects,
  );
  addEvidence(imports);
}

const pathOf = (id: string) => `/imports/${encodeURIComponent(id)}`;

async function listImports(options: Options): Promise<number> {
  const orgReason = options.org === undefined ? undefined : checkOrgId(options.org);
  if (orgReason) throw new PassferryError(orgReason);
  const api = connect(options);
  const headers: Record<string, string> = options.org === undefined ? {} : { 'x-zitadel-orgid': options.org };
  let cursor: string | undefined;
  let shown = 0;
  do {
    const query = cursor === undefined ? '' : `?${new URLSearchParams({ cursor })}`;
    const page = told(await api.request<{ imports: RunView[]; next?: string }>('GET', `/imports${query}`, { headers }));
    for (const view of page.imports) {
      shown++;
      if (options.json) sayJson(view);
      else for (const line of describe(view)) say(line);
    }
    cursor = page.next;
  } while (cursor !== undefined && (options.all || shown === 0));
  if (!options.json) {
    if (shown === 0) say('no imports');
    else if (cursor !== undefined) note('there are older ones: --all');
  }
  return exits.ok;
}

/** RFC 3339 → `2026-11-25 03:04 UTC`. */
const minute = (time: string) => `${printable(time).slice(0, 16).replace('T', ' ')} UTC`;

/** Two lines: how it is first, then whose it is and since when. */
function describe(view: RunView): string[] {
  const rows = `${grouped(view.finished)} of ${counted(view.received - view.rejected, 'row')}`;
  const eta = view.etaSeconds === undefined ? '' : `, ${duration(view.etaSeconds * 1_000)} left`;
  const dry = view.options.dryRun ? ', dry run' : '';
  return [
    `${printable(view.id)}  ${rows}, ${standingOf(view)}${eta}${dry}`,
    `    ${minute(view.acceptedAt)} by ${printable(view.caller)} (organization ${printable(view.org)}), ${view.finishedAt ? `ended ${minute(view.finishedAt)}` : `expires ${minute(view.expiresAt)}`}`,
  ];
}

async function show(api: ApiClient, id: string, options: Options): Promise<number> {
  if (options.row !== undefined) {
    const row = told(
      await api.request<Record<string, unknown>>('GET', `${pathOf(id)}/rows/${encodeURIComponent(options.row)}`),
    );
    if (options.json) sayJson(row);
    else for (const [name, value] of Object.entries(row)) say(`${name}: ${printable(textOf(value))}`);
    return exits.ok;
  }
  const view = told(await api.request<RunView>('GET', pathOf(id)));
  if (options.json) sayJson(view);
  else {
    for (const line of describe(view)) say(line);
    for (const line of [...(view.advice === undefined ? [] : [withFlags(printable(view.advice))]), ...holdLines(view)])
      say(`    ${line}`);
    if (isOver(view) && notInEffect(view) > 0) {
      say(`    ${counted(notInEffect(view), 'row')} NOT in effect: passferry imports rejects ${printable(view.id)}`);
    }
  }
  return exitOfRun(view);
}

const textOf = (value: unknown) => (typeof value === 'object' ? JSON.stringify(value) : String(value));

async function watchIt(api: ApiClient, id: string, options: Options): Promise<number> {
  const stopped = new AbortController();
  const stop = () => stopped.abort(cliError(exits.pending, 'stopped watching; the import goes on'));
  process.once('SIGINT', stop);
  try {
    const view = await watch(api, id, options, stopped.signal);
    if (isOver(view)) {
      const counts = notInEffect(view) > 0 ? await writeRejects(api, view, undefined, undefined) : undefined;
      const hint = `rows to correct: passferry imports rejects ${printable(view.id)}`;
      const found = counts ? { ...counts, hints: [hint] } : { reasons: new Map(), hints: [] };
      printReport({ view, rejects: found }, options.json === true);
    } else if (options.json) sayJson(view);
    else for (const line of describe(view)) say(line);
    return exitOfRun(view);
  } catch (thrown) {
    throw stopped.signal.aborted ? stopped.signal.reason : thrown;
  } finally {
    process.off('SIGINT', stop);
  }
}

const said: Record<string, string> = {
  pausing: 'is pausing: what has begun goes on to its end',
  paused: 'is paused',
  cancelling: 'is being cancelled: what has begun goes on to its end',
  cancelled: 'is cancelled',
};

function tell(verb: 'pause' | 'resume' | 'cancel' | 'retry') {
  return async (api: ApiClient, id: string, options: Options): Promise<number> => {
    const view = told(
      await api.request<RunView & { reopened?: number; destroyed?: number }>(
        'POST',
        `${pathOf(id)}:${verb}${options.mails ? '?mails=allow' : ''}`,
      ),
    );
    if (options.json) sayJson(view);
    else {
      if (view.reopened !== undefined) say(`${counted(view.reopened, 'row')} on their way again`);
      if (view.destroyed)
        say(`${counted(view.destroyed, 'row')} left: their passwords are destroyed, import them again`);
      say(`import ${printable(view.id)} ${said[view.state] ?? `is ${standingOf(view)}`}`);
    }
    return view.destroyed ? exits.notInEffect : exits.ok;
  };
}

async function rejects(api: ApiClient, id: string, options: Options): Promise<number> {
  if (options.withSecrets && options.file === undefined) {
    throw cliError(exits.usage, '--with-secrets takes them from the file that was imported: name it with --file');
  }
  const view = told(await api.request<RunView>('GET', pathOf(id)));
  const source = options.withSecrets ? await sourceOf(options.file as string) : undefined;
  const path = options.rejects ?? rejectsPath(view, undefined);
  const { reasons, blank, hints } = await writeRejects(api, view, path, source);
  const rows = [...reasons.values()].reduce((sum, each) => sum + each.rows, 0);
  if (options.json) {
    const counts = Object.fromEntries([...reasons].map(([reason, each]) => [reason, each.rows]));
    sayJson({ id: view.id, rows, rejectsFile: path, reasons: counts });
  } else {
    say(`${counted(rows, 'row')} NOT in effect${isOver(view) ? '' : ' so far'}: ${printable(path)}`);
    for (const [reason, each] of reasons) {
      say(
        `  ${grouped(each.rows)} × ${printable(reason)}${each.advice === undefined ? '' : `: ${printable(each.advice)}`}`,
      );
    }
    for (const hint of hints) note(hint);
    if (rows > 0 && isForeign(view)) for (const line of sourceLines(view)) note(line);
    else if (blank && rows > 0)
      note('passwords are blank there; --with-secrets --file FILE joins them from the file that was sent');
  }
  return rows > 0 ? exits.notInEffect : exits.ok;
}

async function sourceOf(path: string): Promise<Source> {
  try {
    return { path, stamp: await stampOf(path) };
  } catch (thrown) {
    throw cliError(exits.usage, `cannot read ${path} (${(thrown as NodeJS.ErrnoException).code})`);
  }
}

function told<T>(reply: Reply<T>): T {
  if (reply.ok) return reply.body;
  const problem = problemOf(reply);
  throw cliError(exitOf(problem.code), `${problem.message} (${problem.reason})`);
}
