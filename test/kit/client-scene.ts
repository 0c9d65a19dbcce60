import { Redis } from 'ioredis';
import { type Client, type ClientOptions, createClient } from '../../src/client/index.ts';
import { readJobKey } from '../../src/key-files.ts';
import { redisKeys } from '../../src/keys.ts';
import { createHolds } from '../../src/ledger/holds.ts';
import { atEnd, tempDir } from './files.ts';
import { startPassferry } from './passferry.ts';
import { startProxy } from './proxy.ts';

export type ClientScene = Awaited<ReturnType<typeof startClientScene>>;

/** The client library against a real producer, worker and Redis, through a proxy that breaks its connections. */
export async function startClientScene() {
  const passferry = await startPassferry();
  const proxy = await startProxy({ targetHost: '127.0.0.1', targetPort: Number(new URL(passferry.url).port) });
  const keys = redisKeys('passferry');
  const redis = new Redis(passferry.redis.url, { maxRetriesPerRequest: null });
  atEnd(() => redis.disconnect());
  const holds = () => createHolds(redis, keys, readJobKey(passferry.keysDir));
  let users = 0;

  function clientOf(token: ClientOptions['token'], more: Partial<ClientOptions> = {}): Client {
    return createClient({ baseUrl: `http://127.0.0.1:${proxy.port}`, token, timeoutMs: 20_000, ...more });
  }

  return {
    /** A folder of its own. */
    dir: tempDir(),
    passferry,
    proxy,
    redis,
    keys,
    clientOf,
    client: clientOf(passferry.token),
    /** A user of its own for each test. */
    async newUser(org: 'acme' | 'globex' = 'acme'): Promise<string> {
      const user = `u${++users}`;
      await passferry.addUser(org, user);
      return user;
    },
    /** Jobs of a user as the API lists them. */
    jobsOf: async (user: string): Promise<{ id: string }[]> => (await passferry.get(`/jobs?user=${user}`)).body.jobs,
    /** Nothing is sent to the backend until the hold is lifted. */
    hold: (backend: 'v1' | 'v2') => holds().put(backend, 'test', 'test'),
    lift: (backend: 'v1' | 'v2') => holds().lift(backend),
    async restore(): Promise<void> {
      await proxy.restore();
      for (const backend of ['v1', 'v2'] as const) await holds().lift(backend);
    },
  };
}
