import { setTimeout as pause } from 'node:timers/promises';
import type { Command } from 'commander';
import type { Delivery } from '../ledger/deliveries.ts';
import type { WebhookView } from '../producer/webhooks.ts';
import { type ApiClient, type ConnectionOptions, connect, problemOf, type Reply, withConnection } from './client.ts';
import { cliError, exitOf, exits, finish } from './exit.ts';
import { counted, grouped, note, printable, say, sayJson } from './output.ts';

type Options = ConnectionOptions & { json?: boolean; org?: string };
type AddOptions = Options & { event?: string[] };
type DisableOptions = Options & { reason: string };
type ReplayOptions = Options & { event?: string; since?: string; until?: string };
type DeliveriesOptions = Options & { failed?: boolean; limit: string };
type WithSecret = WebhookView & { secret: string };

/** How long `test` looks for the answer; one try of a worker takes up to 15 s. */
const testMs = 30_000;
const lookMs = 300;

/** `passferry webhooks …`: who is told when something ends. */
export function registerWebhooks(program: Command): void {
  const webhooks = program.command('webhooks').description('tell your own servers when jobs and imports end');
  const sub = (usage: string, description: string) =>
    withConnection(webhooks.command(usage).description(description).option('--json', 'print JSON'));

  sub('add <url>', 'add one; its secret is printed this once')
    .option('--event <type...>', 'job.completed, job.failed, run.completed, run.canceled, job.*, run.* (else all)')
    .option('--org <id>', 'organization (else the home of the token)')
    .action((url: string, options: AddOptions) => finish(() => add(url, options)));
  sub('list', 'all of an organization, and how they are')
    .option('--org <id>', 'organization (else the home of the token)')
    .action((options: Options) => finish(() => list(options)));
  sub('test <id>', 'send an event that only says hello, and show the answer').action((id: string, options: Options) =>
    finish(() => test(id, options)),
  );
  sub('rotate <id>', 'a new secret, printed this once; the old one signs too for 24 h').action(
    (id: string, options: Options) => finish(() => rotate(id, options)),
  );
  sub('disable <id>', 'send nothing until it is enabled')
    .requiredOption('--reason <text>', 'why (required, 1 to 200 characters): everyone who asks is told')
    .addHelpText('after', '\nExample: passferry webhooks disable w0-… --reason "receiver moves"')
    .action((id: string, options: DisableOptions) => finish(() => disable(id, options)));
  sub('enable <id>', 'send again from now on').action((id: string, options: Options) =>
    finish(() => enable(id, options)),
  );
  sub('remove <id>', 'remove it; nothing more is sent').action((id: string, options: Options) =>
    finish(() => remove(id, options)),
  );
  sub('replay <id>', 'send again what happened in the last 24 h, under the same ids')
    .option('--event <id>', 'one event')
    .option('--since <time>', 'all it wants since then, such as 2026-11-25T03:00:00Z')
    .option('--until <time>', 'and until then (else now)')
    .action((id: string, options: ReplayOptions) => finish(() => replay(id, options)));
  sub('deliveries <id>', 'what was sent, with what answer, and when it is tried again')
    .option('--failed', 'only those that failed for good')
    .option('--limit <n>', 'at most so many', '50')
    .action((id: string, options: DeliveriesOptions) => finish(() => deliveries(id, options)));
}

const path = (id: string, rest = '') => `/webhooks/${encodeURIComponent(id)}${rest}`;

async function add(url: string, options: AddOptions): Promise<number> {
  const { org, event: events } = options;
  const json = { url, ...(events && { events }), ...(org !== undefined && { org }) };
  const added = told(await connect(options).request<WithSecret>('POST', '/webhooks', { json }));
  if (options.json) sayJson(added);
  else {
    say(`${printable(added.id)} is told ${added.events.map(printable).join(', ')} of ${printable(added.org)}`);
    tellSecret(added.secret);
    note(`try it: passferry webhooks test ${printable(added.id)}`);
  }
  return exits.ok;
}

async function list(options: Options): Promise<number> {
  const query = options.org === undefined ? '' : `?${new URLSearchParams({ org: options.org })}`;
  const all = told(await connect(options).request<{ webhooks: WebhookView[] }>('GET', `/webhooks${query}`)).webhooks;
  for (const each of all) {
    if (options.json) sayJson(each);
    else for (const line of describe(each)) say(line);
  }
  if (!options.json && all.length === 0) say('no webhooks');
  return exits.ok;
}

function describe({ id, url, state, events, waiting, disabled, missed, oldSecretUntil }: WebhookView): string[] {
  const why = disabled && `since ${minute(disabled.at)}${disabled.by ? ` by ${disabled.by}` : ''}: ${disabled.reason}`;
  const facts = [
    events.join(', '),
    `${grouped(waiting)} waiting`,
    ...(oldSecretUntil ? [`the old secret signs until ${minute(oldSecretUntil)}`] : []),
    ...(missed ? [`MISSED ${grouped(missed.count)} events since ${missed.first}: replay them`] : []),
  ];
  return [
    `${printable(id)}  ${state === 'enabled' ? 'enabled' : 'DISABLED'}  ${printable(url)}`,
    ...(why ? [`    ${printable(why)}`] : []),
    `    ${printable(facts.join('; '))}`,
  ];
}

async function test(id: string, options: Options): Promise<number> {
  const api = connect(options);
  const { delivery } = told(await api.request<{ delivery: string }>('POST', path(id, ':test')));
  const until = performance.now() + testMs;
  for (;;) {
    const found = (await deliveriesOf(api, id, '?limit=500')).find((each) => each.id === delivery);
    const isOver = found && found.state !== 'waiting';
    if (isOver || performance.now() > until) {
      if (options.json) sayJson(found ?? { id: delivery });
      else if (found && isOver) say(`${found.state === 'delivered' ? 'taken' : 'NOT taken'}: ${answerOf(found)}`);
      else note('no worker has sent it yet; see: passferry webhooks deliveries');
      if (!isOver) return exits.pending;
      return found.state === 'delivered' ? exits.ok : exits.notInEffect;
    }
    await pause(lookMs);
  }
}

async function rotate(id: string, options: Options): Promise<number> {
  const rotated = told(await connect(options).request<WithSecret>('POST', path(id, ':rotate')));
  if (options.json) sayJson(rotated);
  else {
    say(
      `${printable(rotated.id)} has a new secret; the old one signs too until ${minute(rotated.oldSecretUntil ?? '')}`,
    );
    tellSecret(rotated.secret);
  }
  return exits.ok;
}

function tellSecret(secret: string): void {
  say(`secret: ${printable(secret)}`);
  note('it is not shown again; the receiver verifies signatures with it (Standard Webhooks)');
}

async function disable(id: string, options: DisableOptions): Promise<number> {
  const { reason } = options;
  const after = told(await connect(options).request<WebhookView>('POST', path(id, ':disable'), { json: { reason } }));
  if (options.json) sayJson(after);
  else say(`${printable(id)} is disabled`);
  return exits.ok;
}

async function enable(id: string, options: Options): Promise<number> {
  const api = connect(options);
  const before = told(await api.request<WebhookView>('GET', path(id)));
  const after = told(await api.request<WebhookView>('POST', path(id, ':enable')));
  if (options.json) sayJson(after);
  else {
    say(`${printable(id)} is enabled`);
    const since = before.disabled?.at;
    if (since) note(`what happened meanwhile: passferry webhooks replay ${printable(id)} --since ${printable(since)}`);
  }
  return exits.ok;
}

async function remove(id: string, options: Options): Promise<number> {
  told(await connect(options).request('DELETE', path(id)));
  if (options.json) sayJson({ id, removed: true });
  else say(`${printable(id)} is removed`);
  return exits.ok;
}

async function replay(id: string, { event, since, until, ...options }: ReplayOptions): Promise<number> {
  if ((event === undefined) === (since === undefined)) throw cliError(exits.usage, 'give either --event or --since');
  if (event !== undefined && until !== undefined) throw cliError(exits.usage, '--until goes with --since');
  const api = connect(options);
  const what = event === undefined ? { since, until: until ?? new Date().toISOString() } : { event };
  let replayed = 0;
  let cursor: string | undefined;
  do {
    const json = { ...what, ...(cursor !== undefined && { cursor }) };
    const page = await api.request<{ replayed: number; next?: string }>('POST', path(id, ':replay'), { json });
    if (!page.ok && replayed > 0) note(`${grouped(replayed)} are on their way already; go on after ${cursor}`);
    const body = told(page);
    replayed += body.replayed;
    cursor = body.next;
  } while (cursor !== undefined);
  if (options.json) sayJson({ replayed });
  else say(`${counted(replayed, 'event')} on the way again`);
  return exits.ok;
}

async function deliveries(id: string, options: DeliveriesOptions): Promise<number> {
  const query = new URLSearchParams({ limit: options.limit, ...(options.failed && { state: 'failed' }) });
  const all = await deliveriesOf(connect(options), id, `?${query}`);
  for (const each of all) {
    if (options.json) sayJson(each);
    else {
      const when = minute(each.lastAt ?? each.createdAt);
      const next = each.nextAt ? `; again ${minute(each.nextAt)}` : '';
      const tries = counted(each.attempts, 'attempt');
      const state = each.state === 'failed' ? 'FAILED' : each.state;
      say(`${when}  ${printable(each.event)}  ${printable(each.type)}  ${state}: ${answerOf(each)}, ${tries}${next}`);
    }
  }
  if (!options.json && all.length === 0) say('no deliveries');
  return exits.ok;
}

const deliveriesOf = async (api: ApiClient, id: string, query: string) =>
  told(await api.request<{ deliveries: Delivery[] }>('GET', path(id, `/deliveries${query}`))).deliveries;

function answerOf({ status, reason }: Delivery): string {
  const answer = status === undefined ? '' : `answer ${status}`;
  if (!reason || reason === 'answered') return answer || 'not sent yet';
  return `${printable(reason)}${answer && ` (${answer})`}`;
}

/** RFC 3339 → `2026-11-25 03:04 UTC`. */
const minute = (time: string) => `${printable(time).slice(0, 16).replace('T', ' ')} UTC`;

function told<T>(reply: Reply<T>): T {
  if (reply.ok) return reply.body;
  const problem = problemOf(reply);
  throw cliError(exitOf(problem.code), `${problem.message} (${problem.reason})`);
}
