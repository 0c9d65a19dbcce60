import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { PassferryError } from '../errors.ts';
import { checkOrgId, parseIdempotencyKey } from '../producer/validate.ts';
import type { RunView } from '../run.ts';
import { ask } from './ask.ts';
import type { ApiClient, ConnectionOptions } from './client.ts';
import { connect, problemOf, withConnection } from './client.ts';
import { cliError, exits, finish } from './exit.ts';
import { bytesOf, describe, fileOf, formOf, mediaTypes } from './import-files.ts';
import { holdLines, waitsForPerson, watchOrAsk } from './import-hold.ts';
import { checkKnown, type KnownOptions } from './import-known.ts';
import { type Look, lookAt, refusal, showLook, warningLine } from './import-look.ts';
import { type AskOptions, checkAsked, parseOptionsOf, queryOf, withAskOptions } from './import-options.ts';
import { confirm, showPlan } from './import-plan.ts';
import { isOver, watch } from './import-watch.ts';
import { counted, grouped, note, parseDuration, printable, say, sayJson } from './output.ts';
import { type Rejects, rejectsPath, type Source, writeRejects } from './rejects.ts';
import { notInEffect, printReport, type Report, reportHtml, reportJson, reportLines } from './report.ts';

interface ImportOptions extends ConnectionOptions, AskOptions, KnownOptions {
  org?: string;
  key?: string;
  wait?: number;
  detach?: boolean;
  rejects?: string;
  withSecrets?: boolean;
  report?: string;
  passwords?: string;
  yes?: boolean;
  json?: boolean;
  quiet?: boolean;
}

/** `passferry import FILE`: sets the passwords of a whole file and says what is not in effect. */
export function registerImport(program: Command): void {
  const command = program
    .command('import')
    .description(
      'set the passwords in a file: CSV, NDJSON, JSON or the export of another product, also packed with gzip',
    )
    .argument('[file]', 'userId,password[,orgId][,noChangeRequired][,set_at]; - for standard input')
    .option('--passwords <file>', 'the same; with --users')
    .option('--org <id>', 'organization of rows that name none');
  withAskOptions(command)
    .option(
      '--known <user>',
      'of a file of hashes: a user whose password is known; it must match before anything is sent',
    )
    .option('--known-password-file <file>', 'that password; default: asked for on the terminal')
    .option('--key <key>', 'idempotency key: the same file with the same key resumes')
    .addOption(new Option('--wait <time>', 'longest wait, such as 10m; default: until done').argParser(parseDuration))
    .addOption(new Option('--detach', 'do not wait').conflicts('wait'))
    .option('--rejects <path>', 'where rows that are not in effect go; default: <file>.rejects.csv (or .ndjson, .json)')
    .option('--with-secrets', 'with their passwords, from the file that was sent')
    .option('--report <path>', 'write the report: .txt, .json or .html')
    .option('--yes', 'do not ask; without a terminal nothing is asked')
    .option('--json', 'print one JSON object')
    .option('--quiet', 'no progress');
  withConnection(command).action((file: string | undefined, options: ImportOptions) =>
    finish(() => runImport(fileOf(file, options), options)),
  );
}

async function runImport(file: string, options: ImportOptions): Promise<number> {
  const orgReason = options.org === undefined ? undefined : checkOrgId(options.org);
  if (orgReason) throw new PassferryError(orgReason);
  checkAsked(options);
  if (options.report !== undefined && !/\.(txt|json|html)$/.test(options.report)) {
    throw cliError(exits.usage, 'the report is written by its name: .txt, .json or .html');
  }
  const given = options.key === undefined ? `import-${randomUUID()}` : parseIdempotencyKey(options.key);
  // The real run that follows is another one, under the key as it stands.
  const key = options.dryRun ? `${given}.dry-run` : given;
  const source = file === '-' ? undefined : await describe(file);
  if (options.users !== undefined) await describe(options.users);
  if (options.hashParams !== undefined) await describe(options.hashParams);
  if (options.withSecrets && !source) throw cliError(exits.usage, '--with-secrets needs a file that can be read again');
  const api = connect(options);
  const look = source && (await firstLook(source.path, options));
  if (options.known !== undefined) {
    if (!source) throw cliError(exits.usage, '--known needs a file that can be read twice');
    await checkKnown(source.path, options.known, { ...options, parse: parseOptionsOf(options) });
    options.knownMatched = true;
  }
  const rows = options.quiet ? undefined : await showPlan(api, source?.path, options);
  const asks = !options.yes && process.stdin.isTTY && process.stderr.isTTY;
  if (source && asks) await confirm(source.path, options.org, rows);

  const files = options.users === undefined ? file : `--users ${options.users} --passwords ${file}`;
  const again = `passferry import ${printable(files)} --key ${key}`;
  note(`key ${key}; the same command with --key ${key} goes on where it stopped`);
  const interrupted = new AbortController();
  const onSignal = () => interrupted.abort(cliError(exits.pending, 'interrupted'));
  process.once('SIGINT', onSignal);
  let id: string | undefined;
  try {
    const accepted = await upload(api, source, look, key, options, interrupted.signal);
    id = accepted.id;
    if (options.detach) {
      tellAccepted(accepted, key, options.json === true);
      return exits.ok;
    }
    note(`import ${printable(id)}; watch it from elsewhere: passferry imports watch ${printable(id)}`);
    const view = await watchOrAsk(api, id, options, interrupted.signal);
    if (isOver(view)) return await report(api, { view, key }, options, source);
    if (options.json) sayJson({ ...view, key });
    else for (const line of goesOn(view)) say(line);
    return exits.pending;
  } catch (thrown) {
    if (!interrupted.signal.aborted) throw thrown;
    if (id === undefined) throw cliError(exits.pending, `stopped sending; what was stored goes on. The rest: ${again}`);
    return stopped(api, id, key, options, source);
  } finally {
    process.off('SIGINT', onSignal);
  }
}

/** Ctrl-C while it is watched: it goes on, unless somebody at a terminal wants it cancelled. */
async function stopped(
  api: ApiClient,
  id: string,
  key: string,
  options: ImportOptions,
  source: Source | undefined,
): Promise<number> {
  const watchIt = `passferry imports watch ${printable(id)}`;
  const answer = process.stdin.isTTY && process.stderr.isTTY ? await ask('\nLeave it running? [Y/c: cancel it] ') : '';
  if (!/^c/i.test(answer)) throw cliError(exits.pending, `stopped watching; the import goes on. Watch it: ${watchIt}`);
  const reply = await api.request<RunView>('POST', `/imports/${encodeURIComponent(id)}:cancel`);
  if (!reply.ok) {
    const { reason, message } = problemOf(reply);
    throw cliError(exits.pending, `it was not cancelled: ${message} (${reason}); watch it: ${watchIt}`);
  }
  const view = await watch(api, id, options, new AbortController().signal);
  return report(api, { view, key }, options, source);
}

async function report(
  api: ApiClient,
  about: { view: RunView; key?: string },
  options: Pick<ImportOptions, 'rejects' | 'withSecrets' | 'report' | 'json'>,
  source: Source | undefined,
): Promise<number> {
  const { view } = about;
  const rejects = await collectRejects(api, view, options, source);
  const all: Report = { ...about, rejects };
  printReport(all, options.json === true);
  if (options.report !== undefined) await writeReport(options.report, all);
  return exitOfRun(view);
}

export function exitOfRun(view: RunView): number {
  if (!isOver(view)) return exits.pending;
  return view.canceled > 0 ? exits.canceled : notInEffect(view) > 0 ? exits.notInEffect : exits.ok;
}

async function writeReport(path: string, about: Report): Promise<void> {
  const text = path.endsWith('.html')
    ? reportHtml(about)
    : path.endsWith('.json')
      ? `${JSON.stringify(reportJson(about), null, 2)}\n`
      : `${reportLines(about).join('\n')}\n`;
  await writeFile(path, text, { mode: 0o600 }).catch((thrown: NodeJS.ErrnoException) => {
    note(`cannot write the report to ${printable(path)} (${thrown.code})`);
  });
}

function tellAccepted(accepted: RunView, key: string, json: boolean): void {
  if (json) sayJson({ ...accepted, key });
  else {
    const { id, received, rejected } = accepted;
    say(`import ${printable(id)} accepted: ${counted(received, 'row')}, ${grouped(rejected)} rejected`);
  }
}

function goesOn(view: RunView): string[] {
  const rows = `${grouped(view.finished)} of ${counted(view.received - view.rejected, 'row')}`;
  const id = printable(view.id);
  if (waitsForPerson(view)) return [`import ${id} HOLDS (${view.reason}): ${rows}`, ...holdLines(view)];
  return [`import ${id} is accepted and goes on: ${rows}; watch it: passferry imports watch ${id}`];
}

/** What cannot be taken is said here, before a byte is sent. */
async function firstLook(path: string, options: ImportOptions): Promise<Look> {
  const look = await lookAt(path, parseOptionsOf(options)).catch((thrown) => {
    if (!(thrown instanceof PassferryError)) throw thrown;
    throw cliError(exits.unreachable, `nothing was sent: ${refusal(thrown)}`);
  });
  if (!options.quiet) showLook(path, look, options);
  if (options.withSecrets && look.detected.source !== 'own') {
    throw cliError(exits.usage, 'nothing was sent: --with-secrets is for files of our own formats');
  }
  if (options.asOf === undefined && !options.overwriteNewer && look.detected.columns.setAt === undefined) {
    throw cliError(
      exits.usage,
      'nothing was sent: how old are these passwords? Say --as-of now when they are those of this moment, --as-of DATE when they were exported then; or add a column set_at',
    );
  }
  return look;
}

async function upload(
  api: ApiClient,
  source: Source | undefined,
  look: Look | undefined,
  key: string,
  options: ImportOptions,
  signal: AbortSignal,
): Promise<RunView> {
  const format = look?.detected.format ?? options.format;
  const query = queryOf(options);
  const file = source ? bytesOf(source.path) : (process.stdin as AsyncIterable<Buffer>);
  const form = formOf(file, options);
  const reply = await api.request<RunView & { warnings?: Record<string, number> }>(
    'POST',
    `/imports${query.size > 0 ? `?${query}` : ''}`,
    {
      stream: form?.body ?? file,
      headers: {
        'content-type': form?.type ?? (format === undefined ? 'application/octet-stream' : mediaTypes[format]),
        'idempotency-key': key,
        ...(options.org !== undefined && { 'x-zitadel-orgid': options.org }),
      },
      signal,
    },
  );
  if (!reply.ok) throw cliError(exits.unreachable, `the import did not start: ${refusal(problemOf(reply))}`);
  const { warnings = {}, ...view } = reply.body;
  for (const [kind, n] of Object.entries(warnings)) note(warningLine(kind, n));
  return view;
}

async function collectRejects(
  api: ApiClient,
  view: RunView,
  options: Pick<ImportOptions, 'rejects' | 'withSecrets'>,
  source: Source | undefined,
): Promise<Rejects> {
  if (notInEffect(view) === 0) return { reasons: new Map(), hints: [] };
  const path = options.rejects ?? rejectsPath(view, source);
  try {
    return await writeRejects(api, view, path, options.withSecrets ? source : undefined);
  } catch (thrown) {
    // The counts are known and must be told even when the list cannot be had. Foreign texts may hold rows.
    const ours = thrown instanceof PassferryError || (thrown instanceof Error && 'exitCode' in thrown);
    const why = ours ? printable((thrown as Error).message) : 'the list could not be read or written';
    return { reasons: new Map(), hints: [`no rejects file: ${why}`] };
  }
}
