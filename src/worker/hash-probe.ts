import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { Backend } from '../adapters/port.ts';
import { PassferryError, toPassferryError } from '../errors.ts';
import { makeHash } from '../hashes/make.ts';
import type { HashFacts, SetPasswordData } from '../job.ts';
import type { Keys } from '../keys.ts';
import type { RunControl } from '../ledger/run-control.ts';
import { probeField } from '../ledger/run-view.ts';
import type { Log } from '../log.ts';
import { Secret } from '../secret.ts';
import { costText } from './hash-rows.ts';

/** Before a hash is stored. Throws what puts the job off, also when the run holds since. */
export type HashProbe = (
  data: SetPasswordData,
  hash: HashFacts,
  backend: Backend,
  signal: AbortSignal,
) => Promise<void>;

type Said = 'works' | 'fails' | 'not_tried';

const remembered = 1_000;

/**
 * Tries each kind and cost of a run on a user of the target before the first such row is written: a random password, a hash of that kind
 * made here, a login. A failed one holds the run. Where it cannot be tried the run says so, and goes on.
 */
export function createHashProbe(options: { redis: Redis; keys: Keys; runs: RunControl; log: Log }): HashProbe {
  const { redis, keys, runs, log } = options;
  const known = new Map<string, Promise<Said>>();

  async function probe(
    run: string,
    org: string,
    hash: HashFacts,
    backend: Backend,
    signal: AbortSignal,
  ): Promise<Said> {
    const field = probeField(backend.name, costText(hash));
    const before = await redis.hget(keys.run(run), field);
    // What has failed is tried again once a person has let the run go on.
    if (before === 'works' || before === 'not_tried') return before;
    const said = await tryOn(org, hash, backend, signal);
    await redis.hset(keys.run(run), field, said);
    return said;
  }

  async function tryOn(org: string, hash: HashFacts, backend: Backend, signal: AbortSignal): Promise<Said> {
    if (!backend.probeHash) return 'not_tried';
    const password = new Secret(Buffer.from(`Aa1!${randomBytes(18).toString('base64url')}`));
    try {
      const made = await makeHash(hash.kind, hash.cost, password.bytes());
      if (made === undefined) return 'not_tried';
      return (await backend.probeHash(org, Secret.fromString(made), password, signal)) ? 'works' : 'fails';
    } catch (thrown) {
      const error = toPassferryError(thrown);
      if (error.reason === 'hash_refused') return 'fails';
      // No user may be made there, or none can be.
      if (error.scope === 'backend' && error.code !== 'unimplemented') throw error;
      log.info({ org, backend: backend.name, reason: error.reason }, 'no hash could be tried on a user of the target');
      return 'not_tried';
    } finally {
      password.wipe();
    }
  }

  return async ({ run, org }, hash, backend, signal) => {
    if (run === undefined) return;
    const name = `${run} ${backend.name} ${costText(hash)}`;
    let said = known.get(name);
    if (!said) {
      if (known.size >= remembered) known.clear();
      said = probe(run, org, hash, backend, signal);
      known.set(name, said);
      said.then(
        (end) => end === 'fails' && known.delete(name),
        () => known.delete(name),
      );
    }
    if ((await said) !== 'fails') return;
    const overruled = (await redis.hget(keys.run(run), 'overruled'))?.includes(' hash_probe_failed ');
    if (overruled) return;
    log.error(
      { run, backend: backend.name, kind: hash.kind },
      'a hash that was tried on a user of the target does not let it in',
    );
    await runs.hold(run, 'hash_probe_failed');
    throw new PassferryError('aborted', { scope: 'backend' });
  };
}
