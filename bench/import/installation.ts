import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { Redis } from 'ioredis';
import { redisKeys } from '../../src/keys.ts';
import { hashToken } from '../../src/producer/callers.ts';
import type { RunView } from '../../src/run.ts';
import { startProcessWorld } from '../../test/kit/process-world.ts';
import { build, startBuilt } from './built.ts';

const token = 'pf_bench';
export const poolSize = String(availableParallelism() + 2);

/** `serve` and `work` as processes of their own, in an empty Redis; organization acme stands in v1. */
export async function startInstallation({ bcryptCost }: { bcryptCost: number }) {
  const world = await startProcessWorld({ bcryptCost });
  const redis = new Redis(world.redis.url);
  await redis.config('SET', 'appendfsync', 'everysec');
  const namespace = `b${randomBytes(4).toString('hex')}`;
  const installation = await world.installation(namespace);
  // It confirms the order of changes; then nothing is taken away while others are counted.
  const first = await installation.work();
  first.term();
  await first.exited;

  const callersFile = join(world.keysDir, 'callers.json');
  const caller = { name: 'bench', home: 'acme', tokenSha256: hashToken(token), grants: { acme: ['set', 'import'] } };
  writeFileSync(callersFile, JSON.stringify({ callers: [caller] }));
  build();
  const shared = {
    PASSFERRY_REDIS_URL: world.redis.url,
    PASSFERRY_KEYS_DIR: world.keysDir,
    PASSFERRY_NAMESPACE: namespace,
    UV_THREADPOOL_SIZE: poolSize,
  };
  const serve = startBuilt(['serve'], {
    ...shared,
    PASSFERRY_LISTEN: '127.0.0.1:0',
    PASSFERRY_CALLERS_FILE: callersFile,
    PASSFERRY_CALLER_RATE: 'off',
  });
  const { url } = JSON.parse(await serve.line('"serving"')) as { url: string };

  const workEnv = {
    ...shared,
    PASSFERRY_STAGES: JSON.stringify({ default: 'v1' }),
    PASSFERRY_V1_URL: world.postgresUrl,
    PASSFERRY_V1_BCRYPT_COST: String(bcryptCost),
  };

  return {
    redis,
    serve,
    keys: redisKeys(namespace),
    addUser: () => world.addUser('acme'),
    addUsers: (ids: string[]) => world.addUsers('acme', ids),
    work: () => startBuilt(['work'], workEnv),
    /** Goes on although a run holds. */
    async resume(id: string): Promise<void> {
      await fetch(`${url}/imports/${id}:resume`, { method: 'POST', headers: { authorization: `Bearer ${token}` } });
    },
    async upload(file: AsyncIterable<Buffer>): Promise<RunView> {
      const response = await fetch(`${url}/imports?asOf=now&noChangeRequired=true`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'text/csv' },
        body: Readable.from(file),
        duplex: 'half',
      } as RequestInit & { duplex: 'half' });
      if (response.status !== 202)
        throw new Error(`the upload was answered ${response.status}: ${await response.text()}`);
      return (await response.json()) as RunView;
    },
    async close(): Promise<void> {
      redis.disconnect();
      await serve.end();
      await world.close();
    },
  };
}
