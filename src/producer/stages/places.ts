import type { Redis } from 'ioredis';
import { PassferryError } from '../../errors.ts';
import type { BackendName } from '../../job.ts';
import type { Keys } from '../../keys.ts';
import { type Beat, createBeats } from '../../ledger/beats.ts';
import { redisError } from '../../ledger/evaluate.ts';
import { createStageTable, type Placed } from '../../ledger/stages.ts';
import type { JobKey } from '../../signature.ts';
import { leader, type Stage, stageOfUser } from '../../stage.ts';

/** The one place that says where an organization lives now: what was set, else what the workers are configured with. */
export function createPlaces(redis: Redis, keys: Keys, jobKey: JobKey) {
  const table = createStageTable(redis, keys, jobKey);
  const beats = createBeats(redis, keys, jobKey);

  /**
   * @param alive beats of workers. Undefined: nothing of its own was set, and no worker tells. Errors: `redis_down`, `stage_forged`.
   */
  async function of(org: string, alive: Beat[]): Promise<Placed | undefined> {
    const worker = alive.find(({ kind }) => kind === 'worker');
    const told = worker && (await beats.configured(worker.stages, org));
    const stage = (told?.placed.stage ?? 'v1') as Stage;
    const placed = await table.of(org, { default: stage, organizations: told?.named ? { [org]: stage } : {} });
    return told || placed.from === 'organization' ? placed : undefined;
  }

  return {
    table,
    of,

    /** The same where a setting that is not ours is no reason to fail: then nobody knows. */
    async known(org: string, alive: Beat[]): Promise<Placed | 'forged' | undefined> {
      return of(org, alive).catch((thrown: unknown) => {
        if (thrown instanceof PassferryError && thrown.reason === 'stage_forged') return 'forged' as const;
        throw redisError(thrown);
      });
    },

    /** Organizations that the configuration of the workers names. */
    async named(alive: Beat[]): Promise<string[]> {
      const worker = alive.find(({ kind }) => kind === 'worker');
      if (!worker || worker.stages.organizations === 0) return [];
      return redis.hkeys(keys.stages(worker.stages.digest)).catch((error) => {
        throw redisError(error);
      });
    },
  };
}

/** The backend that decides, of one user or of most of an organization. */
export function leaderOf(placed: Placed | 'forged' | undefined, org: string, user?: string): BackendName | undefined {
  if (placed === undefined || placed === 'forged') return undefined;
  return leader(user === undefined ? placed.stage : stageOfUser(placed, org, user));
}
