import type { Command } from 'commander';
import { type ConnectionOptions, connect, problemOf, type Reply, withConnection } from './client.ts';
import { cliError, exitOf, exits, finish } from './exit.ts';
import { counted, note, printable, say, sayJson } from './output.ts';

interface Options extends ConnectionOptions {
  org?: string;
  cause?: string;
  all?: boolean;
  json?: boolean;
}

interface User {
  user: string;
  backend: string;
  cause: string;
  since: string;
  tries: number;
  nextTry?: string;
}

interface Page {
  org: string;
  count: number;
  users: User[];
  next?: string;
}

const most = 100;

/** `passferry divergence list|redrive`: users whose other backend has not their newest password. */
export function registerDivergence(program: Command): void {
  const divergence = program
    .command('divergence')
    .description('users who are not in step: which backend lacks their newest password, and why');
  const of = (verb: string, description: string) =>
    divergence
      .command(verb)
      .description(description)
      .option('--org <id>', 'organization (else the home of the token)')
      .option('--cause <name>', 'only with this cause, such as user_missing_in_v2 or ahead')
      .option('--json', 'print JSON');

  const list = of('list', 'who, why, since when, and when it is tried again').option(
    '--all',
    'every one, not just the first 100',
  );
  withConnection(
    list.addHelpText('after', '\nExit codes: 0 everybody is in step · 1 somebody is not · 2 usage · 3 could not reach'),
  ).action((options: Options) => finish(() => listAll(options)));

  withConnection(of('redrive', 'try them now')).action((options: Options) =>
    finish(async () => {
      const { org, cause } = options;
      const json = { ...(org !== undefined && { org }), ...(cause !== undefined && { cause }) };
      const done = told(
        await connect(options).request<{ org: string; redriven: number }>('POST', '/divergence:redrive', { json }),
      );
      if (options.json) sayJson(done);
      else
        say(
          `${counted(done.redriven, 'user')} of ${printable(done.org)} tried now; watch it: passferry divergence list --org ${printable(done.org)}`,
        );
      return exits.ok;
    }),
  );
}

async function listAll(options: Options): Promise<number> {
  const api = connect(options);
  const { org, cause } = options;
  let cursor: string | undefined;
  let shown = 0;
  let count = 0;
  do {
    const query = new URLSearchParams(
      Object.entries({ org, cause, cursor }).filter((each): each is [string, string] => each[1] !== undefined),
    );
    const page = told(await api.request<Page>('GET', `/divergence?${query}`));
    count = page.count;
    for (const each of page.users) {
      shown++;
      if (options.json) sayJson(each);
      else say(lineOf(each));
    }
    cursor = page.next;
  } while (cursor !== undefined && (options.all || shown < most));
  if (!options.json) {
    if (count === 0) say('everybody is in step');
    else
      note(`${counted(count, 'user')} not in step, ${shown} shown${cursor === undefined ? '' : '; the rest: --all'}`);
  }
  return count === 0 ? exits.ok : exits.notInEffect;
}

function lineOf({ user, backend, cause, since, tries, nextTry }: User): string {
  const next =
    nextTry === undefined ? 'waits for somebody: redrive it when the cause is gone' : `next try ${printable(nextTry)}`;
  return `${printable(user)}  not in ${printable(backend)}: ${printable(cause)}, since ${printable(since)}, ${counted(tries, 'try').replace('trys', 'tries')}, ${next}`;
}

function told<T>(reply: Reply<T>): T {
  if (reply.ok) return reply.body;
  const problem = problemOf(reply);
  throw cliError(exitOf(problem.code), `${problem.message} (${problem.reason})`);
}
