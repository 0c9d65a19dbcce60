import type { Redis } from 'ioredis';
import type { Backend, UserName } from '../adapters/port.ts';
import { PassferryError } from '../errors.ts';
import type { SetPasswordData } from '../job.ts';
import type { Keys } from '../keys.ts';
import { redisError } from '../ledger/evaluate.ts';
import { createFoundUsers } from '../ledger/found-users.ts';
import { type JobKey, jobParts, sign } from '../signature.ts';

/** `refused`: the answer of the backend is final, and the row ends with it. A row that still has `find` must not go on. */
export interface LookedUp {
  data: SetPasswordData;
  refused?: PassferryError;
}

/**
 * Rows that name their user by e-mail address or user name → rows with an id, before they are begun: the lease is one on the
 * user, so who that is must be known first. Errors: `redis_down`, and those of the backend that put a job off.
 */
export function createLookUps(redis: Redis, keys: Keys, jobKey: JobKey) {
  const found = createFoundUsers(redis, keys, jobKey);

  function withUser({ find, ...rest }: SetPasswordData, user: string): SetPasswordData {
    const { mac: _, ...unsigned } = { ...rest, user };
    return { ...unsigned, mac: sign(jobKey, 'job', jobParts(unsigned)) };
  }

  /** Nobody has such an id: it takes a lease of its own. */
  const nobody = (data: SetPasswordData, find: UserName): SetPasswordData => ({
    ...data,
    user: `\0${find.email ?? find.userName}`,
  });

  const lookUp = async (data: SetPasswordData, backend: Backend, signal: AbortSignal): Promise<LookedUp> => {
    const { run, row, find } = data as SetPasswordData & { find?: UserName };
    if (!find || run === undefined || row === undefined) return { data };
    const at = { run, row };
    const known = await found.read(at);
    if (known !== undefined) return { data: withUser(data, known) };
    // Where nothing begins nobody is looked for: the start is told so.
    const state = await redis.hget(keys.run(run), 'state').catch((error) => {
      throw redisError(error);
    });
    if (state !== 'running') return { data: nobody(data, find) };
    try {
      if (!backend.findUser) throw new PassferryError('ability_missing');
      return { data: withUser(data, await found.keep(at, await backend.findUser(data.org, find, signal))) };
    } catch (thrown) {
      if (!(thrown instanceof PassferryError) || thrown.scope !== 'user') throw thrown;
      return { data: nobody(data, find), refused: thrown };
    }
  };

  return Object.assign(lookUp, {
    /** With the id, where it was found before; nobody is asked. Error: `redis_down`. */
    async known(data: SetPasswordData): Promise<SetPasswordData> {
      const { run, row, find } = data;
      if (!find || run === undefined || row === undefined) return data;
      const user = await found.read({ run, row });
      return user === undefined ? data : withUser(data, user);
    },
  });
}
