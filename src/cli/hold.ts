import { Argument, type Command } from 'commander';
import { backendNames, type Hold } from '../ledger/holds.ts';
import { type ConnectionOptions, connect, problemOf, type Reply, withConnection } from './client.ts';
import { cliError, exitOf, exits, finish } from './exit.ts';
import { note, printable, say, sayJson } from './output.ts';

type HoldOptions = ConnectionOptions & { reason: string };
type HoldsOptions = ConnectionOptions & { json?: boolean };

/** `passferry hold`, `release`, `holds`: a person stops and starts what is sent to a backend. */
export function registerHold(program: Command): void {
  const backend = () => new Argument('<backend>', 'which one').choices(backendNames);

  const hold = program
    .command('hold')
    .description('send nothing to a backend until it is released; accepting goes on')
    .addArgument(backend())
    .requiredOption('--reason <text>', 'why: everyone who asks is told');
  withConnection(hold).action((name: string, options: HoldOptions) =>
    finish(async () => {
      const { reason } = options;
      told(await connect(options).request<Hold>('PUT', `/holds/${name}`, { json: { reason } }));
      say(`${name} is on hold`);
      return exits.ok;
    }),
  );

  const release = program.command('release').description('let a held backend go on').addArgument(backend());
  withConnection(release).action((name: string, options: ConnectionOptions) =>
    finish(async () => {
      const { released } = told(await connect(options).request<{ released: boolean }>('DELETE', `/holds/${name}`));
      say(released ? `${name} is released` : `${name} was not on hold`);
      return exits.ok;
    }),
  );

  const list = program.command('holds').description('which backends are held, by whom and why');
  withConnection(list.option('--json', 'print JSON')).action((options: HoldsOptions) => finish(() => holds(options)));
}

async function holds(options: HoldsOptions): Promise<number> {
  const found = told(await connect(options).request<{ holds: Hold[]; forged: string[] }>('GET', '/holds'));
  if (options.json) sayJson(found);
  else {
    for (const { backend, by, at, reason } of found.holds) {
      say(`${printable(backend)}: held by ${printable(by)} since ${printable(at)}: ${printable(reason)}`);
    }
    if (found.holds.length === 0) say('nothing is on hold');
  }
  for (const name of found.forged) note(`${printable(name)}: a hold that is not signed by us was found and is ignored`);
  return exits.ok;
}

function told<T>(reply: Reply<T>): T {
  if (reply.ok) return reply.body;
  const problem = problemOf(reply);
  throw cliError(exitOf(problem.code), `${problem.message} (${problem.reason})`);
}
