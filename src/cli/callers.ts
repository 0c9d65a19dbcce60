import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { PassferryError } from '../errors.ts';
import {
  callerName,
  changeCallersFile,
  hashToken,
  type Permission,
  permissions,
  readCallersFile,
  type StoredCaller,
} from '../producer/callers-file.ts';
import { cliError, exits, finish } from './exit.ts';
import { note, printable, say, sayJson } from './output.ts';

interface FileOptions {
  file?: string;
  json?: boolean;
}
interface AddOptions extends FileOptions {
  org?: StoredCaller['grants'];
  home?: string;
  expires?: Date;
}
interface RotateOptions extends FileOptions {
  overlap: number;
  expires?: Date;
}

const dayMs = 86_400_000;

/** `callers …`: local file commands; a token is shown once and stored nowhere. */
export function registerCallers(program: Command): void {
  const callers = program.command('callers').description('who may call: the callers file of serve');

  withFile(
    callers.command('add').description('make a caller; its token is printed once').argument('<name>', 'its name'),
  )
    .option(
      '--org <org=permissions>',
      `an organization and what may be done there, such as acme=set,read; repeat it. ${takes}`,
      parseGrant,
    )
    .option('--home <org>', 'the organization acted in when a request names none (default: the first --org)')
    .option('--expires <when>', 'when it ends: 90d, 12h, 2027-01-31 (default: never)', parseEnd)
    .action((name: string, options: AddOptions) => finish(() => add(name, options)));

  withFile(callers.command('list').description('all callers, what they may do, and when they end; no tokens')).action(
    (options: FileOptions) => finish(async () => list(options)),
  );

  withFile(
    callers
      .command('rotate')
      .description('make a new token, printed once; the old one still counts for a while')
      .argument('<name>', 'whose'),
  )
    .option('--overlap <time>', 'how long the old one counts: 24h, 30m; 0 ends it now', parseTime, dayMs)
    .option('--expires <when>', 'when the caller ends from now on (default: as before)', parseEnd)
    .action((name: string, options: RotateOptions) => finish(() => rotate(name, options)));

  withFile(callers.command('revoke').description('remove a caller: its tokens end').argument('<name>', 'which'))
    .option('--old', 'only its tokens from before the last rotation')
    .action((name: string, options: FileOptions & { old?: boolean }) => finish(() => revoke(name, options)));
}

const takes = `Permissions: ${permissions.filter((each) => each !== 'operate').join(', ')}; '*=operate' for holds`;
const shownOnce = 'The token is on stdout and nowhere else: it cannot be shown again.';
const seen = 'serve sees the change within seconds; copy the file to every serve that has its own.';

async function add(name: string, { org: grants, home, expires, ...options }: AddOptions): Promise<number> {
  if (!grants) throw cliError(exits.usage, 'give at least one --org, such as --org acme=set,read');
  const own = home ?? Object.keys(grants).find((each) => each !== '*');
  if (own === undefined) throw cliError(exits.usage, 'give --home: there is no --org but *');
  if (!callerName.test(name)) throw cliError(exits.usage, 'a name has 1 to 64 of letters, digits, _ . and -');
  const token = makeToken();
  const caller: StoredCaller = {
    ...{ name, tokenSha256: hashToken(token), home: own, grants },
    ...(expires && { expiresAt: expires.toISOString() }),
  };
  await changeCallersFile(
    fileOf(options),
    (callers) => {
      if (callers.some((each) => each.name === name)) {
        throw refused(`There is a caller of this name. "passferry callers rotate" gives it a new token.`);
      }
      callers.push(caller);
    },
    true,
  );
  return tell(token, caller, options);
}

async function rotate(name: string, { overlap, expires, ...options }: RotateOptions): Promise<number> {
  const token = makeToken();
  const now = Date.now();
  const caller = await changeCallersFile(fileOf(options), (callers) => {
    const found = named(callers, name);
    const [one] = found;
    if (!one || found.length > 1) throw refused('Several callers have this name: change the file by hand.');
    if (expires) one.expiresAt = expires.toISOString();
    else if (hasEnded(one.expiresAt, now)) throw refused('This caller has ended: say --expires too.');
    const old = [...(one.previous ?? []), { tokenSha256: one.tokenSha256, expiresAt: iso(now + overlap) }];
    // No overlap is for a token that has leaked: none of the older ones lives on.
    const kept = overlap === 0 ? [] : old.filter((each) => !hasEnded(each.expiresAt, now));
    delete one.previous;
    if (kept.length > 0) one.previous = kept;
    one.tokenSha256 = hashToken(token);
    return one;
  });
  if (!options.json) {
    note(
      overlap === 0
        ? 'All older tokens of this caller have ended.'
        : `The old token counts until ${iso(now + overlap)}.`,
    );
  }
  return tell(token, caller, options);
}

async function revoke(name: string, { old, ...options }: FileOptions & { old?: boolean }): Promise<number> {
  await changeCallersFile(fileOf(options), (callers) => {
    const found = named(callers, name);
    if (old) for (const each of found) delete each.previous;
    else callers.splice(0, callers.length, ...callers.filter((each) => !found.includes(each)));
  });
  if (options.json) sayJson({ name, revoked: old ? 'old' : 'all' });
  else say(printable(old ? `the older tokens of ${name} have ended` : `${name} is revoked`));
  note(seen);
  return exits.ok;
}

function list(options: FileOptions): number {
  const now = Date.now();
  const told = readCallersFile(fileOf(options)).map(({ tokenSha256: _, previous = [], ...caller }) => ({
    ...caller,
    ended: hasEnded(caller.expiresAt, now),
    oldTokens: previous.filter((each) => !hasEnded(each.expiresAt, now)).map((each) => ({ until: each.expiresAt })),
  }));
  if (options.json) {
    sayJson({ callers: told });
    return exits.ok;
  }
  if (told.length === 0) note('there are no callers');
  for (const { name, home, grants, expiresAt, ended, oldTokens } of told) {
    const facts = [
      ended ? `ENDED ${expiresAt}` : expiresAt ? `ends ${expiresAt}` : 'never ends',
      ...oldTokens.map(({ until }) => `an old token counts until ${until}`),
      `home ${home}`,
      ...Object.entries(grants).map(([org, may]) => `${org}=${may.join(',')}`),
    ];
    say(printable(`${name}: ${facts.join(' · ')}`));
  }
  return exits.ok;
}

function tell(token: string, { name, home, grants, expiresAt }: StoredCaller, { json }: FileOptions): number {
  if (json) sayJson({ name, token, home, grants, ...(expiresAt !== undefined && { expiresAt }) });
  else {
    say(token);
    note(printable(`${name} ${expiresAt === undefined ? 'never ends' : `ends ${expiresAt}`}. ${shownOnce}`));
  }
  note(seen);
  return exits.ok;
}

function makeToken(): string {
  return `pf_${randomBytes(32).toString('base64url')}`;
}

function named(callers: StoredCaller[], name: string): StoredCaller[] {
  const found = callers.filter((each) => each.name === name);
  if (found.length === 0) throw new PassferryError('caller_unknown');
  return found;
}

function hasEnded(expiresAt: string | undefined, now: number): boolean {
  return expiresAt !== undefined && Date.parse(expiresAt) <= now;
}

function refused(message: string): PassferryError {
  return new PassferryError('caller_refused', { message });
}

const iso = (ms: number) => new Date(ms).toISOString();

function withFile(command: Command): Command {
  return command
    .option(
      '--file <path>',
      'the callers file (default: PASSFERRY_CALLERS_FILE, else that of the local `passferry up`)',
    )
    .option('--json', 'print JSON');
}

function fileOf({ file }: FileOptions): string {
  const path = file ?? (process.env.PASSFERRY_CALLERS_FILE || localFile());
  if (!path) throw cliError(exits.usage, 'name the callers file with --file, or set PASSFERRY_CALLERS_FILE');
  return path;
}

/** What `up` has written to its data directory: PASSFERRY_DATA, else `.passferry`. */
function localFile(): string | undefined {
  const path = join(process.env.PASSFERRY_DATA || '.passferry', 'callers.json');
  return existsSync(path) ? path : undefined;
}

/** `acme=set,read`; the same organization twice adds up. */
function parseGrant(text: string, before: StoredCaller['grants'] = {}): StoredCaller['grants'] {
  const at = text.lastIndexOf('=');
  const org = text.slice(0, Math.max(0, at));
  const list = text.slice(at + 1).split(',');
  const isKnown = (name: string): name is Permission => (permissions as readonly string[]).includes(name);
  if (org === '' || !list.every(isKnown)) throw new InvalidArgumentError(`Give ORG=PERMISSIONS. ${takes}`);
  if (list.some((each) => (each === 'operate') !== (org === '*'))) {
    throw new InvalidArgumentError("operate goes with the organization * and nothing else does: '*=operate'");
  }
  const had = Object.hasOwn(before, org) ? (before[org] as Permission[]) : [];
  return Object.fromEntries([...Object.entries(before), [org, [...new Set([...had, ...list])]]]);
}

function parseTime(text: string): number {
  const ms = timeOf(text);
  if (ms === undefined) throw new InvalidArgumentError('Give a time such as 30m, 24h or 7d, or 0.');
  return ms;
}

function timeOf(text: string): number | undefined {
  if (text === '0') return 0;
  const [, digits, unit] = /^(\d{1,6})([mhd])$/.exec(text) ?? [];
  return digits === undefined
    ? undefined
    : Number(digits) * { m: 60_000, h: 3_600_000, d: dayMs }[unit as 'm' | 'h' | 'd'];
}

function parseEnd(text: string): Date {
  const isDay = /^\d{4}-\d\d-\d\d(T.+)?$/.test(text);
  const end = new Date(isDay ? text : Date.now() + (timeOf(text) ?? Number.NaN));
  if (!(end.getTime() > Date.now() && end.getTime() < Date.UTC(9999, 0))) {
    throw new InvalidArgumentError('Give a time to come, such as 90d or 2027-01-31.');
  }
  return end;
}
