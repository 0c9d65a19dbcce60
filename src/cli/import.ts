import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, constants, stat } from 'node:fs/promises';
import { createInterface } from 'node:readline/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { type Command, Option } from 'commander';
import { PassferryError } from '../errors.ts';
import type { RunView } from '../run.ts';
import { checkOrgId, parseIdempotencyKey } from '../producer/validate.ts';
import type { ApiClient, ConnectionOptions } from './client.ts';
import { connect, problemOf, withConnection } from './client.ts';
import { type CliError, cliError, exits, finish } from './exit.ts';
import { nextDelay, retryAfter } from './job.ts';
import { counted, note, parseDuration, printable, say, sayJson } from './output.ts';
import { progressDisplay } from './progress.ts';
import type { Rejects, Source } from './rejects.ts';
import { stampOf, writeRejects } from './rejects.ts';
import { notInEffect, printReport } from './report.ts';

interface ImportOptions extends ConnectionOptions {
  org?: string;
  changeRequired: boolean;
  format?: 'csv' | 'ndjson';
  key?: string;
  wait?: number;
  detach?: boolean;
  rejects?: string;
  yes?: boolean;
  overwriteNewer?: boolean;
  json?: boolean;
  quiet?: boolean;
}

/** How long a producer that stopped answering is waited for, ms. */
const patience = 60_000;

/** `passferry import FILE`: sets the passwords of a whole file and says what is not in effect. */
export function registerImport(program: Command): void {
  const command = program
    .command('import')
    .description('set the passwords in a CSV or NDJSON file')
    .argument('<file>', 'userId,password[,orgId][,noChangeRequired]; - for standard input')
    .option('--org <id>', 'organization of rows that name none')
    .option('--no-change-required', 'users need not change it at the next login')
    .addOption(new Option('--format <format>', 'default: by name, then by content').choices(['csv', 'ndjson']))
    .option('--key <key>', 'idempotency key: the same file with the same key resumes')
    .addOption(new Option('--wait <time>', 'longest wait, such as 10m; default: until done').argParser(parseDuration))
    .addOption(new Option('--detach', 'do not wait').conflicts('wait'))
    .option('--rejects <path>', 'where rows that are not in effect go; default: <file>.rejects.csv')
    .option('--overwrite-newer', 'also for users who chose another one since (needs admin)')
    .option('--yes', 'do not ask')
    .option('--json', 'print one JSON object')
    .option('--quiet', 'no progress');
  withConnection(command).action((file: string, options: ImportOptions) => finish(() => runImport(file, options)));
}

async function runImport(file: string, options: ImportOptions): Promise<number> {
  const orgReason = options.org === undefined ? undefined : checkOrgId(options.org);
  if (orgReason) throw new PassferryError(orgReason);
  const key = options.key === undefined ? `import-${randomUUID()}` : parseIdempotencyKey(options.key);
  const source = file === '-' ? undefined : await describe(file, options.format);
  const api = connect(options);
  if (source && !options.yes && process.stdin.isTTY && process.stderr.isTTY) await confirm(source.path, options.org);

  const again = `passferry import ${printable(file)} --key ${key}`;
  note(`key ${key}; to resume or watch: ${again}`);
  const interrupted = new AbortController();
  const onSignal = () => interrupted.abort(cliError(exits.pending, 'interrupted'));
  process.once('SIGINT', onSignal);
  try {
    const accepted = await upload(api, source, key, options, interrupted.signal);
    if (options.detach) {
      if (options.json) sayJson({ ...accepted, key });
      else
        say(
          `import ${printable(accepted.id)} accepted: ${counted(accepted.received, 'row')}, ${accepted.rejected} rejected`,
        );
      return exits.ok;
    }
    const view = await watch(api, accepted.id, options, interrupted.signal);
    if (!isOver(view)) {
      if (options.json) sayJson({ ...view, key });
      else
        say(
          `import ${printable(view.id)} is accepted and goes on: ${view.finished} of ${counted(total(view), 'row')}; watch it: ${again}`,
        );
      return exits.pending;
    }
    const rejects = await collectRejects(api, view, options, source);
    printReport(view, key, rejects, options.json === true);
    return view.canceled > 0 ? exits.canceled : notInEffect(view) > 0 ? exits.notInEffect : exits.ok;
  } catch (thrown) {
    if (interrupted.signal.aborted)
      throw cliError(exits.pending, `stopped watching; what was accepted goes on. Watch it: ${again}`);
    throw thrown;
  } finally {
    process.off('SIGINT', onSignal);
  }
}

async function describe(path: string, format: ImportOptions['format']): Promise<Source> {
  try {
    const facts = await stat(path);
    if (facts.isDirectory()) throw cliError(exits.usage, `${path} is a directory`);
    await access(path, constants.R_OK);
    return {
      path,
      format: format ?? (/\.(ndjson|jsonl|json)$/i.test(path) ? 'ndjson' : 'csv'),
      stamp: await stampOf(path),
    };
  } catch (thrown) {
    const code = (thrown as NodeJS.ErrnoException).code;
    if (code === undefined) throw thrown;
    throw cliError(exits.usage, code === 'ENOENT' ? `there is no file ${path}` : `cannot read ${path} (${code})`);
  }
}

async function confirm(path: string, org: string | undefined): Promise<void> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  const where = org === undefined ? '' : ` in organization ${printable(org)}`;
  // Ctrl-C and Ctrl-D would leave the question open for ever.
  const closed = new AbortController();
  lines.once('SIGINT', () => closed.abort()).once('close', () => closed.abort());
  const answer = await lines
    .question(`Set the passwords of all users in ${printable(path)}${where}? [y/N] `, { signal: closed.signal })
    .catch(() => '');
  lines.close();
  if (!/^y(es)?$/i.test(answer.trim())) throw cliError(exits.canceled, 'cancelled; nothing was sent');
}

async function upload(
  api: ApiClient,
  source: Source | undefined,
  key: string,
  options: ImportOptions,
  signal: AbortSignal,
): Promise<Pick<RunView, 'id' | 'state' | 'received' | 'rejected'>> {
  const format = source?.format ?? options.format ?? 'csv';
  const reply = await api.request<RunView>(
    'POST',
    `/imports?${new URLSearchParams({
      ...(!options.changeRequired && { noChangeRequired: 'true' }),
      ...(options.overwriteNewer && { overwriteNewer: 'true' }),
    })}`,
    {
      stream: source ? createReadStream(source.path) : process.stdin,
      headers: {
        'content-type': format === 'csv' ? 'text/csv' : 'application/x-ndjson',
        'idempotency-key': key,
        ...(options.org !== undefined && { 'x-zitadel-orgid': options.org }),
      },
      signal,
    },
  );
  if (reply.ok) return reply.body;
  const { reason, message, fields } = problemOf(reply);
  const places = fields.length > 0 ? `; look at: ${fields.map((f) => f.field).join(', ')}` : '';
  throw cliError(exits.unreachable, `the import did not start: ${message} (${reason})${places}`);
}

/** Polls until the import is over or the longest wait is; a producer that is away for a moment is waited for. */
async function watch(api: ApiClient, id: string, options: ImportOptions, signal: AbortSignal): Promise<RunView> {
  const display = progressDisplay(options.quiet === true);
  const until = options.wait === undefined ? Number.POSITIVE_INFINITY : performance.now() + options.wait;
  let lastAnswer = performance.now();
  try {
    for (let delay = 500; ; delay = nextDelay(delay)) {
      const reply = await api
        .request<RunView>('GET', `/imports/${encodeURIComponent(id)}`, { signal })
        .catch((thrown: CliError) => {
          if (signal.aborted || performance.now() - lastAnswer > patience) throw thrown;
          return undefined;
        });
      const now = performance.now();
      if (reply?.ok) {
        lastAnswer = now;
        const view = reply.body;
        display.show({ state: view.state, total: total(view), finished: Math.min(view.finished, total(view)) });
        if (isOver(view) || now >= until) return view;
      } else if (reply && reply.status < 500 && reply.status !== 429) {
        const { reason, message } = problemOf(reply);
        throw cliError(exits.pending, `import ${id} was accepted but cannot be watched: ${message} (${reason})`);
      } else {
        display.hint('the producer does not answer; trying again');
        if (now - lastAnswer > patience || now >= until) {
          throw cliError(exits.pending, `import ${id} was accepted, but the producer does not answer any more`);
        }
      }
      const wanted = (reply && retryAfter(reply.headers)) ?? delay;
      await pause(Math.min(wanted, Math.max(until - performance.now(), 0)), undefined, { signal });
    }
  } finally {
    display.stop();
  }
}

const isOver = (view: RunView) => view.state === 'completed' || view.state === 'cancelled';

/** Rows that get an outcome: rejected ones never do. */
const total = (view: RunView) => Math.max(view.received - view.rejected, view.finished);

async function collectRejects(
  api: ApiClient,
  view: RunView,
  options: ImportOptions,
  source: Source | undefined,
): Promise<Rejects> {
  if (notInEffect(view) === 0) return { reasons: new Map(), hints: [] };
  const path =
    options.rejects ??
    (source ? `${source.path}.rejects.csv` : `./import-${view.id.replace(/[^\w-]/g, '_')}.rejects.csv`);
  try {
    return await writeRejects(api, view.id, path, source);
  } catch (thrown) {
    // The counts are known and must be told even when the list cannot be had. Foreign texts may hold rows.
    const ours = thrown instanceof PassferryError || (thrown instanceof Error && 'exitCode' in thrown);
    const why = ours ? printable((thrown as Error).message) : 'the list could not be read or written';
    return { reasons: new Map(), hints: [`no rejects file: ${why}`] };
  }
}
