import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { createV2Zitadel } from '../../src/adapters/v2-zitadel/index.ts';
import { loadWorkConfig } from '../../src/config.ts';
import { credential } from '../../src/credential.ts';
import { createKeyFiles } from '../../src/key-files.ts';
import { hashToken } from '../../src/producer/callers.ts';
import { startSandbox } from '../../src/sandbox/sandbox.ts';
import { work } from '../../src/work.ts';
import { atEnd, tempDir } from './files.ts';
import { tokens } from './fuzz-words.ts';
import { spawnNode } from './processes.ts';
import { startRedis } from './redis.ts';
import { waitFor } from './wait.ts';

/**
 * A producer in a process of its own, so that a crash is one; a worker here, over the sandbox, which knows one user
 * (`known` of acme): whatever is accepted for others ends without a hash.
 */
export async function startFuzzed() {
  const keysDir = join(tempDir(), 'keys');
  await createKeyFiles(keysDir);
  const callersFile = join(keysDir, 'callers.json');
  writeFileSync(callersFile, JSON.stringify(callers()));
  const redis = await startRedis();
  const sandbox = await startSandbox({
    bcryptCost: 4,
    tokens: { t: { userId: 'worker', roles: { instance: ['IAM_OWNER'] } } },
    orgs: ['acme', 'globex'],
    silentOrgs: ['acme', 'globex'],
    users: [{ id: 'known', org: 'acme', userName: 'known', password: 'Old-password-1' }],
  });
  atEnd(sandbox.close);
  const shared = {
    PASSFERRY_REDIS_URL: redis.url,
    PASSFERRY_KEYS_DIR: keysDir,
    PASSFERRY_STAGES: JSON.stringify({ default: 'v2', organizations: {} }),
    PASSFERRY_LOG_LEVEL: 'debug',
  };
  const v2 = createV2Zitadel({ url: sandbox.url, credential: credential({ value: 't' }), deadlineMs: 5_000 });
  const config = loadWorkConfig({ ...shared, PASSFERRY_V2_URL: sandbox.url, PASSFERRY_V2_TOKEN: 't' });
  const worker = await work(config, { v2 }, pino({ level: 'silent' }));
  atEnd(worker.close);
  await worker.ready;

  const heap = new URL('./fuzz-heap.mjs', import.meta.url).href;
  const serving = spawnNode(['--expose-gc', '--import', heap, 'src/cli/main.ts', 'serve'], {
    ...shared,
    PASSFERRY_LISTEN: '127.0.0.1:0',
    PASSFERRY_CALLERS_FILE: callersFile,
    PASSFERRY_WAIT: '10s',
    PASSFERRY_CALLER_RATE: 'off',
    PASSFERRY_AUTH_FAILURES: 'off',
    UV_THREADPOOL_SIZE: '4',
  });
  const said = await serving.waitForLine(/"serving"/);
  const { url } = JSON.parse(said) as { url: string };
  let ended = false;
  void serving.exited.then(() => {
    ended = true;
  });

  return {
    url,
    port: Number(new URL(url).port),
    lines: serving.lines,
    hasEnded: () => ended,
    works: (password: string) => sandbox.verify('known', password),
    /** What the producer holds after a collection, bytes. */
    async heapUsed(): Promise<number> {
      const before = heapLines().length;
      process.kill(serving.pid, 'SIGUSR2');
      const line = await waitFor(() => heapLines()[before], { what: 'the producer to say what it holds' });
      return Number(/\d+/.exec(line)?.[0]);
    },
  };

  function heapLines(): string[] {
    return serving.lines().filter((line) => line.startsWith('heap after collection'));
  }
}

function callers(): object {
  const everywhere = (...permissions: string[]) => ({ acme: permissions, globex: permissions });
  const grants = {
    full: everywhere('set', 'import', 'read'),
    reader: { acme: ['read'] },
    admin: everywhere('admin'),
    operator: { '*': ['operate'] },
  };
  return {
    callers: (Object.keys(tokens) as (keyof typeof tokens)[]).map((name) => {
      return { name, home: 'acme', tokenSha256: hashToken(tokens[name]), grants: grants[name] };
    }),
  };
}
