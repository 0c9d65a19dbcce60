import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { QueueDepth } from '../ledger/queue-depth.ts';
import type { BackendHealth, Health } from '../producer/backend-health.ts';
import type { InstallationStatus, OrgStatus, Status } from '../producer/status.ts';
import { type ApiClient, type ConnectionOptions, connect, problemOf, withConnection } from './client.ts';
import { cliError, exitOf, exits, finish } from './exit.ts';
import { counted, duration, grouped, printable, say, sayJson } from './output.ts';

type StatusOptions = ConnectionOptions & { org?: string; json?: boolean; watch?: boolean };

const watchMs = 2_000;

/** `passferry status`: what is slow, why, and what to do. */
export function registerStatus(program: Command): void {
  const status = program
    .command('status')
    .description('is everything well? what is slow, why, and what to do about it')
    .option('--org <id>', 'organization (default: the one of the caller)')
    .option('--json', 'print JSON; with --watch one object a line')
    .option('--watch', 'again every two seconds, until Ctrl-C')
    .addHelpText('after', '\nExit codes: 0 healthy · 1 degraded: there is a problem · 2 usage · 3 could not reach');
  withConnection(status).action((options: StatusOptions) =>
    finish(async () => {
      const api = connect(options);
      if (options.watch) return watch(api, options);
      return show(await read(api, options), options);
    }),
  );
}

async function read(api: ApiClient, { org }: StatusOptions): Promise<Status> {
  const query = org === undefined ? '' : `?org=${encodeURIComponent(org)}`;
  const reply = await api.request<Status>('GET', `/status${query}`);
  if (reply.ok) return reply.body;
  const { code, message, reason } = problemOf(reply);
  throw cliError(exitOf(code), `${message} (${reason})`);
}

/** A moment without an answer does not end it: then more than ever somebody watches. */
async function watch(api: ApiClient, options: StatusOptions): Promise<number> {
  const screen = process.stdout.isTTY && !options.json;
  for (;;) {
    const found = await read(api, options).catch((error: Error) => error);
    if (screen) process.stdout.write('\x1b[H\x1b[2J');
    if (!(found instanceof Error)) show(found, options);
    else if (!options.json) say(`NO ANSWER ${printable(found.message)}`);
    await sleep(watchMs);
  }
}

function show(status: Status, { json }: StatusOptions): number {
  if (json) sayJson(status);
  else for (const line of linesOf(status)) say(line);
  return status.healthy ? exits.ok : exits.notInEffect;
}

/** One screen: first whether there is anything to do. */
export function linesOf({ healthy, at, problems, org, installation }: Status): string[] {
  return [
    `${healthy ? 'HEALTHY' : 'DEGRADED'}  ${printable(at)}`,
    ...problems.flatMap(({ backend, what, todo }) => [
      `! ${backend ? `${printable(backend)}: ` : ''}${printable(what)}`,
      `  → ${printable(todo)}`,
    ]),
    ...(installation ? installationLines(installation) : []),
    ...(org ? orgLines(org) : []),
  ];
}

function installationLines(all: InstallationStatus): string[] {
  return [
    '',
    ...all.backends.map(backendLine),
    '',
    'queue        waiting   active  delayed  oldest',
    ...Object.entries(all.queues).map(([name, depth]) => queueLine(name, depth)),
    '',
    `ended      ${grouped(all.ended.last1m)} in the last minute, ${grouped(all.ended.last5m)} in the last five`,
    `new job    ${waitText(all.expectedWaitMs)}${exceptions(all)}`,
    `open       ${grouped(all.open)}, failed and kept for a retry ${grouped(all.retriable)}, repairs ${grouped(all.repairs)}`,
    `workers    ${grouped(all.workersAlive)} alive${versions(all)}`,
  ];
}

function backendLine({
  backend,
  health,
  reason,
  hold,
  retryInMs,
  inside,
  room,
  limit,
  lastOkMs,
}: BackendHealth): string {
  const parts = [
    ...(reason ? [printable(reason)] : []),
    ...(hold ? [`by ${printable(hold.by)} since ${printable(hold.at)}: ${printable(hold.reason)}`] : []),
    ...(retryInMs ? [`next try in ${duration(retryInMs)}`] : []),
    `${inside} of ${room} at once${room < limit ? ` (usually ${limit})` : ''}`,
    lastOkMs === null ? 'no good answer yet' : `last good answer ${duration(lastOkMs)} ago`,
  ];
  return `${backend.padEnd(10)} ${health.toUpperCase().padEnd(8)} ${parts.join(', ')}`;
}

function queueLine(name: string, { waiting, active, delayed, oldestMs }: QueueDepth): string {
  const numbers = [waiting, active, delayed].map((n) => grouped(n).padStart(8)).join(' ');
  return `${name.padEnd(11)} ${numbers}  ${oldestMs === null ? '-' : duration(oldestMs)}`;
}

function orgLines({
  id,
  stage,
  percent,
  backend,
  health,
  reason,
  open,
  failed,
  quarantined,
  draining,
  notInStep,
  expectedWaitMs,
}: OrgStatus): string[] {
  const some = percent > 0 ? ` (${percent}% on the next)` : '';
  const place = backend ? `stage ${printable(stage ?? '')}${some}, led by ${printable(backend)}` : 'stage unknown';
  return [
    '',
    `${printable(id)}: ${place}, ${health}${reason ? ` (${printable(reason)})` : ''}`,
    `  ${counted(open, 'open job')}, ${grouped(failed)} failed, ${grouped(quarantined)} in quarantine, new job ${orgWait(backend, health, expectedWaitMs)}`,
    ...(draining > 0 ? [`  ${counted(draining, 'write')} still by an older stage`] : []),
    ...(notInStep > 0 ? [`  ${counted(notInStep, 'user')} not in step`] : []),
  ];
}

function versions({ workers }: InstallationStatus): string {
  const known = [...new Set(workers.map(({ version }) => printable(version)))];
  return known.length > 0 ? `, version ${known.join(' and ')}` : '';
}

const takesNone = ({ health }: Pick<BackendHealth, 'health'>) => health !== 'ok' && health !== 'slow';

/** The wait is that of backends that take jobs; of the others it says so. */
function exceptions({ expectedWaitMs, backends }: InstallationStatus): string {
  const names = backends.filter(takesNone).map(({ backend, health }) => `${backend} (${health})`);
  if (names.length === 0 || expectedWaitMs === null) return '';
  return `; for ${names.join(' and ')} it waits until that is over`;
}

function orgWait(backend: string | null, health: Health, ms: number | null): string {
  return health === 'held' && backend ? `waits until ${printable(backend)} is released` : waitText(ms);
}

function waitText(ms: number | null): string {
  if (ms === null) return 'waits nobody knows how long';
  return ms === 0 ? 'is next' : `waits about ${duration(ms)}`;
}
