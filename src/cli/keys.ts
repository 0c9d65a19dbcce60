import { resolve } from 'node:path';
import type { Command } from 'commander';
import { PassferryError } from '../errors.ts';
import {
  addPair,
  createKeyFiles,
  describeJobKey,
  destroyPair,
  listPairs,
  retirePair,
  rotateJobKey,
} from '../key-files.ts';
import { cliError, exits, finish } from './exit.ts';
import { countLive, type RedisOptions, redisGiven } from './keys-redis.ts';
import { counted, note, printable, say, sayJson } from './output.ts';

interface NewOptions {
  jobKey?: boolean;
  prepare?: boolean;
  force?: boolean;
}

/** `keys …`: local file commands; keys never travel through Redis or the API. */
export function registerKeys(program: Command): void {
  const keys = program.command('keys').description('key files of serve and work');
  keys
    .command('init')
    .description('make the missing key files in a directory (0600); touches nothing that is there')
    .argument('<dir>', 'the directory')
    .action(async (dir: string) => {
      await createKeyFiles(resolve(dir));
      process.stdout.write(
        `Key files are in ${resolve(dir)}.\n  serve needs public.json, shared.json, fingerprint.json\n  work needs private.json, shared.json\n`,
      );
    });

  withDir(keys.command('new').description('make a new active key pair, or change the job key; nothing restarts'))
    .option('--job-key', 'change the job key of shared.json instead')
    .option('--prepare', 'with --job-key: only add the next one, so that every machine knows it before it is used')
    .option('--force', 'with --job-key: although records signed before the last change would count as forged')
    .action((dir: string | undefined, options: NewOptions) => finish(() => makeNew(dirOf(dir), options)));

  withRedis(withDir(keys.command('list').description('the key pairs: state, age, and how much depends on them')))
    .option('--json', 'print JSON')
    .action((dir: string | undefined, options: RedisOptions & { json?: boolean }) =>
      finish(() => list(dirOf(dir), options)),
    );

  withDir(
    keys.command('retire').description('seal nothing more to a pair; it still opens').argument('<kid>', 'which'),
  ).action((kid: string, dir: string | undefined) =>
    finish(async () => {
      await retirePair(dirOf(dir), kid);
      say(`${printable(kid)} is retired: nothing more is sealed to it, what was still opens`);
      note('Copy public.json to every serve; what it does not have is not used.');
      return exits.ok;
    }),
  );

  const destroy = keys
    .command('destroy')
    .description('remove the private half of a retired pair for good: what was sealed to it opens no more, nowhere')
    .argument('<kid>', 'which');
  withRedis(withDir(destroy))
    .option('--force', 'although jobs that wait may be sealed to it: their passwords are lost')
    .action((kid: string, dir: string | undefined, options: RedisOptions & { force?: boolean }) =>
      finish(() => destroyOne(dirOf(dir), kid, options)),
    );
}

async function makeNew(dir: string, { jobKey = false, prepare = false, force = false }: NewOptions): Promise<number> {
  if (!jobKey && (prepare || force)) throw cliError(exits.usage, '--prepare and --force go with --job-key');
  if (jobKey) {
    await rotateJobKey(dir, { prepare, force });
    say(prepare ? 'the next job key is prepared' : 'the job key is changed; the one before is still accepted');
    note(
      prepare
        ? 'Copy shared.json to every serve and work, then run "passferry keys new --job-key".'
        : 'Copy shared.json to every serve and work that has its own.',
    );
    return exits.ok;
  }
  const kid = await addPair(dir);
  say(`${kid} is active; the pair before it still opens`);
  note('With copies on several machines: private.json to every work first, then public.json to every serve.');
  return exits.ok;
}

async function list(dir: string, options: RedisOptions & { json?: boolean }): Promise<number> {
  const pairs = listPairs(dir);
  const jobKey = describeJobKey(dir);
  let live: Map<string, number> | undefined;
  if (redisGiven(options)) {
    try {
      live = await countLive(options);
    } catch (error) {
      if (!isDown(error)) throw error;
      note('Redis is not reachable: live data keys are not counted');
    }
  }
  const told = pairs.map((pair) => ({ ...pair, ...(live && { dataKeys: live.get(pair.kid) ?? 0 }) }));
  if (options.json) {
    sayJson({ pairs: told, ...(jobKey && { jobKey }) });
    return exits.ok;
  }
  for (const pair of told) {
    const facts = [
      pair.state,
      `made ${pair.madeAt ?? 'at an unknown time'}`,
      ...('destroyedAt' in pair ? [`destroyed ${pair.destroyedAt}`] : []),
      ...(pair.dataKeys === undefined ? [] : [counted(pair.dataKeys, 'live data key')]),
    ];
    say(printable(`${pair.kid}: ${facts.join(', ')}`));
  }
  if (jobKey) {
    const changed = jobKey.rotatedAt ? `changed ${jobKey.rotatedAt}` : 'never changed';
    say(printable(`job key: ${changed}${jobKey.prepared ? ', the next one is prepared' : ''}`));
  }
  return exits.ok;
}

async function destroyOne(dir: string, kid: string, options: RedisOptions & { force?: boolean }): Promise<number> {
  await destroyPair(dir, kid, async () => {
    if (options.force) return;
    if (!redisGiven(options)) {
      throw refused('without PASSFERRY_REDIS_URL or --redis nobody knows whether jobs that wait need this pair');
    }
    const live = await countLive(options).catch((error: unknown) => {
      throw isDown(error) ? refused('Redis is not reachable, so jobs that wait may need this pair') : error;
    });
    const needed = live.get(kid) ?? 0;
    if (needed > 0) {
      throw refused(
        `${counted(needed, 'live data key')} ${needed === 1 ? 'names' : 'name'} this pair: jobs that wait, and failed ones that could be tried again, need it. They go by themselves 25 hours after the last job under them expires`,
      );
    }
  });
  say(`${printable(kid)} is destroyed`);
  note('Replace private.json on every work and remove all other copies of it: backups, images, your own.');
  return exits.ok;
}

function refused(why: string): PassferryError {
  return new PassferryError('key_refused', {
    message: `Not destroyed: ${why}. --force destroys it all the same: every password that is still sealed to it is lost, and its job ends sealed_key_destroyed.`,
  });
}

function isDown(error: unknown): boolean {
  return error instanceof PassferryError && error.reason === 'redis_down';
}

function withDir(command: Command): Command {
  return command.argument('[dir]', 'the directory (default: PASSFERRY_KEYS_DIR)');
}

function withRedis(command: Command): Command {
  return command
    .option('--redis <url>', 'address of Redis, without a password in it (default: PASSFERRY_REDIS_URL)')
    .option('--namespace <name>', 'default: PASSFERRY_NAMESPACE or passferry');
}

function dirOf(given: string | undefined): string {
  const dir = given ?? process.env.PASSFERRY_KEYS_DIR;
  if (!dir) throw cliError(exits.usage, 'name the directory of the key files, or set PASSFERRY_KEYS_DIR');
  return resolve(dir);
}
