import type { Redis } from 'ioredis';
import { PassferryError } from '../../errors.ts';
import type { BackendName } from '../../job.ts';
import type { Keys } from '../../keys.ts';
import { createMigrations } from '../../ledger/migrations.ts';
import type { RunControl } from '../../ledger/run-control.ts';
import type { RunOptions, RunView } from '../../run.ts';
import { follower } from '../../stage.ts';
import type { StatusDesk } from '../status.ts';

/** What is asked of a migration, once it is known to be allowed. */
export interface AskedRun {
  id: string;
  caller: string;
  org: string;
  expiresInMs: number;
  options: RunOptions & Required<Pick<RunOptions, 'migration'>>;
}

/** What both sides must be able to do; by mode. */
const needed: Record<'read' | 'write', [BackendName, string][]> = {
  read: [
    ['v1', 'users'],
    ['v1', 'readHash'],
    ['v2', 'readUser'],
  ],
  write: [['v2', 'setHash']],
};

/**
 * Opens migrations: a worker fills them, for only workers know the backends. Everything that can be known without them is asked before
 * anything is stored.
 */
export function createMigrationDesk(redis: Redis, keys: Keys, runs: RunControl, status: StatusDesk) {
  const migrations = createMigrations(redis, keys);

  /** Errors: `hash_unreadable`, `ability_missing`. Where no worker tells, the run waits for one that does. */
  async function checkAbilities(mode: string): Promise<void> {
    const { beats } = await status.facts();
    const workers = beats.filter(({ kind }) => kind === 'worker');
    const lacks = ([backend, ability]: [BackendName, string]) =>
      workers.some(({ lanes }) => lanes[backend]?.can !== undefined) &&
      !workers.some(({ lanes }) => lanes[backend]?.can?.includes(ability));
    if (needed.read.some((each) => each[0] === 'v1' && lacks(each))) throw new PassferryError('hash_unreadable');
    const all = mode === 'execute' ? [...needed.read, ...needed.write] : needed.read;
    if (all.some(lacks)) throw new PassferryError('ability_missing');
    // No v2 at all, or no v1.
    const told = workers.filter(({ lanes }) => Object.keys(lanes).length > 0);
    if (told.length > 0 && !told.some(({ lanes }) => lanes.v1 && lanes.v2)) throw new PassferryError('backend_missing');
  }

  /** Each organization must be on a stage at which both are written. Error: `stage_not_dual`, with each that is not. */
  async function checkStages(orgs: string[]): Promise<void> {
    const { beats } = await status.facts();
    const placed = await Promise.all(orgs.map((org) => status.places.known(org, beats)));
    const fields = placed.flatMap((each, i) =>
      each !== undefined && each !== 'forged' && follower(each.stage) !== undefined
        ? []
        : [{ field: `organizations[${i}]`, reason: 'stage_not_dual' as const }],
    );
    if (fields.length > 0) throw new PassferryError('stage_not_dual', { fields });
  }

  return {
    /**
     * Errors: those above; `idempotency_key_reused`; `accept_unknown`. `busy`: an organization has an open migration already, which is that
     * one; nothing was stored.
     */
    async open({ id, caller, org, expiresInMs, options }: AskedRun): Promise<{ view: RunView } | { busy: string }> {
      const { mode, orgs } = options.migration;
      await checkAbilities(mode);
      if (mode === 'execute') await checkStages(orgs);
      const known = await runs.view(id);
      if (!known) {
        const { busy } = await migrations.take(id, orgs, mode !== 'plan');
        if (busy) return { busy: busy.run };
      }
      try {
        await runs.open({ id, caller, org, expiresInMs, options });
      } catch (error) {
        if (error instanceof PassferryError && error.reason !== 'redis_down') throw error;
        throw new PassferryError('accept_unknown', { scope: 'backend', cause: error as Error });
      }
      const view = await runs.view(id);
      if (!view) throw new PassferryError('accept_unknown', { scope: 'backend' });
      return { view };
    },
  };
}
