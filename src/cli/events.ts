import { type Command, InvalidArgumentError } from 'commander';
import { createClient, PassferryClientError, type Reset } from '../client/index.ts';
import { type Event, type EventType, eventTypes } from '../event.ts';
import { type ConnectionOptions, connectionOf, withConnection } from './client.ts';
import { cliError, exitOf, exits, finish } from './exit.ts';
import { note, printable, say, sayJson } from './output.ts';

interface EventsOptions extends ConnectionOptions {
  types?: EventType[];
  user?: string;
  org?: string;
  after?: string;
  json?: boolean;
}

/** `passferry events`: what ends, as it ends. */
export function registerEvents(program: Command): void {
  const command = program
    .command('events')
    .description('follow what ends, one line each, until Ctrl-C; goes on by itself when the connection breaks')
    .option('--types <list>', `only these, with commas between: ${eventTypes.join(', ')}`, parseTypes)
    .option('--user <id>', "only this user's jobs")
    .option('--org <id>', 'organization (else the home of the token)')
    .option('--after <id>', 'begin after this event (kept for 24 h); default: what ends from now on', parseId)
    .option('--json', 'print one JSON object a line');
  withConnection(command).action((options: EventsOptions) => finish(() => follow(options)));
}

async function follow(options: EventsOptions): Promise<number> {
  const { url, token } = connectionOf(options);
  const { types, user, org, after, json } = options;
  const stopped = new AbortController();
  const stop = () => stopped.abort();
  process.once('SIGINT', stop).once('SIGTERM', stop);
  let last = after;
  try {
    const events = createClient({ baseUrl: url, token }).events({
      signal: stopped.signal,
      ...(types && { types }),
      ...(user !== undefined && { user }),
      ...(org !== undefined && { org }),
      ...(after !== undefined && { after }),
    });
    for await (const event of events) {
      last = event.id ?? last;
      if (json) sayJson(event);
      else if (event.type === 'reset') note(missed(event));
      else say(line(event));
    }
  } catch (thrown) {
    if (!(thrown instanceof PassferryClientError)) throw thrown;
    throw cliError(exitOf(thrown.code), `${thrown.message} (${thrown.reason})`);
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop);
    if (last !== undefined) note(`to go on from here: passferry events --after ${last}`);
  }
  return exits.ok;
}

function line(event: Event): string {
  const head = `${printable(event.time)}  ${event.type}`;
  if ('counts' in event) {
    const counts = Object.entries(event.counts).map(([name, count]) => `${count} ${name}`);
    return `${head}  import ${printable(event.run)} (organization ${printable(event.org)}): ${printable(counts.join(', '))}`;
  }
  const how =
    event.result === undefined
      ? `NOT set: ${printable(event.reason ?? event.code ?? 'unknown')}`
      : `${printable(event.result)}${event.inEffect ? '' : '; another password is in force'}`;
  return `${head}  ${printable(event.user)} (organization ${printable(event.org)}): ${how}  ${printable(event.job)}`;
}

function missed({ id }: Reset): string {
  const where = id === undefined ? '' : ` up to ${id}`;
  return `events${where} may be missing here: they are not kept any more; \`passferry jobs\` lists what failed`;
}

function parseTypes(text: string): EventType[] {
  const types = text.split(',').map((each) => each.trim()) as EventType[];
  if (types.some((type) => !eventTypes.includes(type))) {
    throw new InvalidArgumentError(`Give some of ${eventTypes.join(', ')}.`);
  }
  return types;
}

function parseId(text: string): string {
  if (!/^\d{1,16}-\d{1,16}$/.test(text))
    throw new InvalidArgumentError('Give the id of an event, such as 1795600949350-0.');
  return text;
}
