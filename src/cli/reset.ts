import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { PassferryError } from '../errors.ts';
import { peekList } from '../producer/resets/list.ts';
import { checkOrgId, parseIdempotencyKey } from '../producer/validate.ts';
import { type ResetKind, type ResetMode, type RunView, resetKinds, resetModes } from '../run.ts';
import { ask } from './ask.ts';
import { type ApiClient, type ConnectionOptions, connect, problemOf, told, withConnection } from './client.ts';
import { cliError, exits, finish } from './exit.ts';
import { fetchHandout } from './handout.ts';
import { exitOfRun } from './import.ts';
import { holdLines, watchOrAsk } from './import-hold.ts';
import { mailsOption, positive, wholeNumber } from './import-options.ts';
import { isOver } from './import-watch.ts';
import { counted, grouped, note, parseDuration, printable, say, sayJson } from './output.ts';
import { type Rejects, rejectsPath, writeRejects } from './rejects.ts';
import { notInEffect, sessionsLine } from './report.ts';

interface ResetOptions extends ConnectionOptions {
  mode: ResetMode;
  by: ResetKind;
  org?: string;
  changeRequired: boolean;
  endSessions?: boolean;
  recipient?: string;
  handout?: string;
  dryRun?: boolean;
  maxFailures?: number;
  mails?: 'allow';
  rate?: number;
  key?: string;
  wait?: number;
  detach?: boolean;
  rejects?: string;
  yes?: boolean;
  json?: boolean;
  quiet?: boolean;
}

const plans: Record<ResetMode, string> = {
  link: 'each user is mailed a link by the backend; passwords stay as they are until it is used',
  random: 'each password is replaced by a random one that nobody learns; users have to ask for a reset themselves',
  generate: 'each password is replaced by a random one, which only the holder of the recipient key can read',
};

/** `passferry reset FILE`: a link, an unknown or a generated password for every user of a list. */
export function registerReset(program: Command): void {
  const command = program
    .command('reset')
    .description('reset the passwords of all users in a list: CSV, NDJSON or a JSON list, also packed with gzip')
    .argument('<file>', 'one column userId, email or userName[, and orgId]; - for standard input')
    .addOption(new Option('--mode <mode>', 'what each user gets').choices(resetModes).makeOptionMandatory())
    .addOption(new Option('--by <what>', 'what the list names users by').choices(resetKinds).default('id'))
    .option('--org <id>', 'organization of rows that name none')
    .option('--no-change-required', 'users need not change it at the next login')
    .option('--end-sessions', 'end the sessions of these users, where the backend can')
    .option('--recipient <path>', 'public key of whoever hands the passwords out: JWK or PEM (with --mode generate)')
    .option('--handout <path>', 'write what was generated, sealed to that key, to this file')
    .option('--dry-run', 'change nothing; say what would be')
    .option('--max-failures <n>', 'so many failed rows hold it', wholeNumber)
    .addOption(mailsOption())
    .option('--rate <n>', 'rows a second, at most', positive)
    .option('--key <key>', 'idempotency key: the same list with the same key resumes')
    .addOption(new Option('--wait <time>', 'longest wait, such as 10m; default: until done').argParser(parseDuration))
    .addOption(new Option('--detach', 'do not wait').conflicts('wait'))
    .option('--rejects <path>', 'where users go that were not reset; default: <file>.rejects.csv')
    .option('--yes', 'do not ask')
    .option('--json', 'print one JSON object')
    .option('--quiet', 'no plan and no progress');
  withConnection(command).action((file: string, options: ResetOptions) => finish(() => runReset(file, options)));
}

async function runReset(file: string, options: ResetOptions): Promise<number> {
  const orgReason = options.org === undefined ? undefined : checkOrgId(options.org);
  if (orgReason) throw new PassferryError(orgReason);
  const recipient = await readRecipient(options);
  const key = options.key === undefined ? `reset-${randomUUID()}` : parseIdempotencyKey(options.key);
  const path = file === '-' ? undefined : file;
  const rows = path === undefined ? undefined : await look(path, options.by);
  if (!options.quiet) tellPlan(rows, options);
  const api = connect(options);
  if (path !== undefined && !options.yes && !options.dryRun) await confirm(path, options);

  note(`key ${key}; the same command with --key ${key} goes on where it stopped`);
  const interrupted = new AbortController();
  const onSignal = () => interrupted.abort(cliError(exits.pending, 'interrupted'));
  process.once('SIGINT', onSignal);
  let id: string | undefined;
  try {
    const accepted = await send(api, path, key, options, recipient, interrupted.signal);
    id = accepted.id;
    const view = options.detach ? accepted : await watchOrAsk(api, id, options, interrupted.signal);
    if (options.detach || !isOver(view)) {
      if (options.json) sayJson({ ...view, key });
      else {
        say(`reset ${printable(id)} is ${view.state}; watch it: passferry imports watch ${printable(id)}`);
        for (const line of holdLines(view)) say(line);
      }
      return options.detach ? exits.ok : exits.pending;
    }
    return await report(api, view, key, options, path);
  } catch (thrown) {
    if (!interrupted.signal.aborted) throw thrown;
    const watchIt =
      id === undefined ? `the same command with --key ${key}` : `passferry imports watch ${printable(id)}`;
    throw cliError(exits.pending, `stopped watching; what was accepted goes on. Go on with: ${watchIt}`);
  } finally {
    process.off('SIGINT', onSignal);
  }
}

/** base64url of the key, as the API takes it. */
async function readRecipient({ mode, recipient, handout }: ResetOptions): Promise<string | undefined> {
  if (mode !== 'generate') {
    if (recipient !== undefined || handout !== undefined) {
      throw cliError(exits.usage, '--recipient and --handout go with --mode generate');
    }
    return undefined;
  }
  if (recipient === undefined) {
    throw cliError(
      exits.usage,
      'generated passwords need --recipient, the public key of whoever hands them out; make a pair with: passferry handout key FILE',
    );
  }
  const text = await readFile(recipient).catch((thrown: NodeJS.ErrnoException) => {
    throw cliError(exits.usage, `cannot read ${recipient} (${thrown.code})`);
  });
  // It must not leave this machine.
  if (/PRIVATE|"d"\s*:/.test(text.toString('latin1'))) {
    throw cliError(exits.usage, `${recipient} holds a private key; give the public one`);
  }
  return text.toString('base64url');
}

/** What cannot be taken is said here, before a byte is sent. Returns how many rows it has. */
async function look(path: string, by: ResetKind): Promise<number> {
  const facts = await stat(path).catch((thrown: NodeJS.ErrnoException) => {
    throw cliError(
      exits.usage,
      thrown.code === 'ENOENT' ? `there is no file ${path}` : `cannot read ${path} (${thrown.code})`,
    );
  });
  if (facts.isDirectory()) throw cliError(exits.usage, `${path} is a directory`);
  return peekList(createReadStream(path), by).catch((thrown) => {
    if (!(thrown instanceof PassferryError)) throw thrown;
    throw cliError(exits.unreachable, `nothing was sent: ${thrown.message} (${thrown.reason})`);
  });
}

function tellPlan(rows: number | undefined, options: ResetOptions): void {
  const { mode, by, changeRequired, endSessions, dryRun } = options;
  const users = rows === undefined ? 'users' : counted(rows, 'user');
  note(`${dryRun ? 'dry run: ' : ''}${users}, found by ${by}: ${plans[mode]}`);
  if (mode !== 'link')
    note(changeRequired ? 'a change at the next login is required' : 'no change at the next login is required');
  note(
    endSessions
      ? 'sessions are ended where the backend can; tokens that were issued before stay valid until they expire'
      : 'sessions and tokens stay valid',
  );
}

async function confirm(path: string, { mode }: ResetOptions): Promise<void> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return;
  const what = mode === 'link' ? 'Mail reset links to' : 'Reset the passwords of';
  const answer = await ask(`${what} all users in ${printable(path)}? [y/N] `);
  if (!/^y(es)?$/i.test(answer.trim())) throw cliError(exits.canceled, 'cancelled; nothing was sent');
}

async function send(
  api: ApiClient,
  path: string | undefined,
  key: string,
  options: ResetOptions,
  recipient: string | undefined,
  signal: AbortSignal,
): Promise<RunView> {
  const { mode, by, changeRequired, endSessions, dryRun, maxFailures, mails, rate, org } = options;
  const query = new URLSearchParams({
    ...{ mode, by },
    ...(!changeRequired && mode !== 'link' && { changeRequired: 'false' }),
    ...(endSessions && { endSessions: 'true' }),
    ...(dryRun && { dryRun: 'true' }),
    ...(maxFailures !== undefined && { maxFailures: String(maxFailures) }),
    ...(mails && { mails }),
    ...(rate !== undefined && { rate: String(rate) }),
    ...(recipient !== undefined && { recipient }),
  });
  const reply = await api.request<RunView>('POST', `/resets?${query}`, {
    stream: path === undefined ? process.stdin : createReadStream(path),
    headers: {
      'content-type': 'application/octet-stream',
      'idempotency-key': key,
      ...(org !== undefined && { 'x-zitadel-orgid': org }),
    },
    signal,
  });
  if (reply.ok) return reply.body;
  throw cliError(exits.unreachable, `the reset did not start: ${told(problemOf(reply))}`);
}

async function report(
  api: ApiClient,
  view: RunView,
  key: string,
  options: ResetOptions,
  path: string | undefined,
): Promise<number> {
  const source = path === undefined ? undefined : { path, stamp: '' };
  const missing = notInEffect(view);
  const rejects: Rejects =
    missing === 0
      ? { reasons: new Map(), hints: [] }
      : await writeRejects(api, view, options.rejects ?? rejectsPath(view, source), undefined);
  const written = options.handout === undefined ? undefined : await fetchHandout(api, view.id, options.handout);
  if (options.json) {
    sayJson({
      ...view,
      key,
      reasons: Object.fromEntries([...rejects.reasons].map(([reason, { rows }]) => [reason, rows])),
      ...(rejects.path !== undefined && { rejectsFile: rejects.path }),
      ...(written !== undefined && { handoutFile: options.handout, handedOut: written }),
    });
    return exitOfRun(view);
  }
  const dry = options.dryRun === true;
  if (dry) say('dry run: nothing was changed');
  if (missing > 0)
    say(`${counted(missing, 'user')} ${dry ? 'would NOT be' : missing === 1 ? 'is NOT' : 'are NOT'} reset`);
  if (!dry) {
    if (options.mode === 'link') say(`${counted(view.linkSent, 'link')} sent; no password was changed by that`);
    else say(`${counted(view.set + view.unchanged, 'password')} set`);
  }
  for (const [reason, { rows, advice }] of rejects.reasons) {
    say(`  ${grouped(rows)} × ${printable(reason)}${advice === undefined ? '' : `: ${printable(advice)}`}`);
  }
  if (rejects.path !== undefined) say(`users that are left: ${printable(rejects.path)}`);
  if (!dry) say(sessionsLine(view));
  if (written !== undefined)
    say(`${counted(written, 'password')} to hand out, sealed: ${printable(options.handout as string)}`);
  say(`reset ${printable(view.id)} ${printable(view.state)}`);
  return exitOfRun(view);
}
