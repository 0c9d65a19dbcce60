import type { Redis } from 'ioredis';
import type { Keys } from '../../keys.ts';
import { createMigrated } from '../../ledger/migrated.ts';
import { readCounts } from '../../ledger/migrations.ts';
import type { Migrated, MigrationOptions } from '../../migration.ts';
import type { JobKey } from '../../signature.ts';

/** Of these nothing is to be brought anywhere. */
const calm = new Set(['unchanged', 'equal', 'followed', 'no_hash', 'user_deleted']);
const inStep = new Set([...calm, 'mirrored', 'created']);

/** Puts on record what a run has seen of each of its organizations, once it has gone over all users. Repeating is harmless. */
export function createCompletion(redis: Redis, keys: Keys, jobKey: JobKey) {
  const migrated = createMigrated(redis, keys, jobKey);

  return async (run: string, f: Record<string, string>, { mode, orgs }: MigrationOptions): Promise<void> => {
    const isWhole = f.state === 'completed' && Number(f.expired ?? 0) === 0 && Number(f.canceled ?? 0) === 0;
    if (mode === 'plan' || !isWhole) return;
    const { organizations } = await readCounts(redis, keys, run);
    for (const org of orgs) {
      const verdicts = Object.entries(organizations[org] ?? {});
      const sum = (but: ReadonlySet<string>) => verdicts.reduce((all, [name, n]) => (but.has(name) ? all : all + n), 0);
      const first = (await migrated.of(org)).backfill;
      const kind: Migrated['kind'] =
        mode === 'reconcile' ? 'reconcile' : first && first.run !== run ? 'catch-up' : 'backfill';
      await migrated.note({
        ...{ org, run, kind, startedAt: Number(f.acceptedAt), completedAt: Number(f.finishedAt) },
        ...{ seen: sum(new Set()), notInStep: sum(inStep), differences: sum(calm) },
      });
    }
  };
}
