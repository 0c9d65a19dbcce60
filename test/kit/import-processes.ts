import { randomUUID } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { followJobKey, followPublicKeys, readFingerprintKey } from '../../src/key-files.ts';
import { redisKeys } from '../../src/keys.ts';
import { hashToken } from '../../src/producer/callers.ts';
import { createProducer } from '../../src/producer/producer.ts';
import { connectRedis } from '../../src/redis.ts';
import type { RunView } from '../../src/run.ts';
import { atEnd, tempDir } from './files.ts';
import type { ProcessWorld } from './process-world.ts';
import { spawnNode, type TestProcess } from './processes.ts';
import { waitFor } from './wait.ts';

const token = 'pf_import-processes';
/** Soon after the last word of a request that was cut short, its job settles it by reading. */
const quick = { PASSFERRY_V2_DEADLINE: '5s', PASSFERRY_V2_SETTLE: '1s' };

/** `serve` and `work` as processes that may be killed, and files that are sent to the one and set by the other. */
export async function importProcesses(world: ProcessWorld) {
  const namespace = `i${randomUUID().slice(0, 8)}`;
  const keys = redisKeys(namespace);
  const dir = join(tempDir(), 'callers');
  mkdirSync(dir);
  const callersFile = join(dir, 'callers.json');
  const grants = { acme: ['import', 'read'], globex: ['import', 'read'] };
  const caller = { name: 'files', tokenSha256: hashToken(token), home: 'acme', grants };
  writeFileSync(callersFile, JSON.stringify({ callers: [caller] }));
  const place = await world.installation(namespace);
  const connect = () => connectRedis({ url: world.redis.url }, 'worker');
  const producer = createProducer({
    ...{ redis: connect(), connectEvents: connect, keys, retentionMs: 600_000, jobKey: followJobKey(world.keysDir) },
    ...{ publicKeys: followPublicKeys(world.keysDir), fingerprintKey: readFingerprintKey(world.keysDir) },
  });
  atEnd(() => producer.close());
  const runId = (key: string) => producer.runId('files', 'acme', key);
  const view = async (key: string): Promise<RunView | undefined> => producer.runs.view(await runId(key));
  let serving: { child: TestProcess; url: string };

  async function serve(): Promise<void> {
    const child = spawnNode(['src/cli/main.ts', 'serve'], {
      ...{ PASSFERRY_REDIS_URL: world.redis.url, PASSFERRY_KEYS_DIR: world.keysDir, PASSFERRY_NAMESPACE: namespace },
      ...{ PASSFERRY_LISTEN: '127.0.0.1:0', PASSFERRY_CALLERS_FILE: callersFile },
      PASSFERRY_STAGES: JSON.stringify({ default: 'v1', organizations: { globex: 'v2' } }),
    });
    serving = { child, url: JSON.parse(await child.waitForLine(/"serving"/)).url as string };
  }

  /** Status of the answer; undefined: there was none. `cutAfter` bytes the connection is destroyed, once they are read. */
  function send(file: Buffer, key: string, cutAfter?: number): Promise<number | undefined> {
    return new Promise((resolve) => {
      const post = request(`${serving.url}/imports?asOf=now&noChangeRequired=true`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'text/csv', 'idempotency-key': key },
      });
      post.on('error', () => resolve(undefined));
      post.on('response', (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      if (cutAfter === undefined) post.end(file);
      else post.write(file.subarray(0, cutAfter), () => post.destroy());
    });
  }

  return {
    ...{ keys, producer, runId, view, serve, send },
    work: () => place.work(quick),
    killServe: async () => {
      serving.child.kill9();
      await serving.child.exited;
    },
    /** Sends it until it is taken, as any client does. */
    upload: (file: Buffer, key: string) =>
      waitFor(
        async () => {
          const status = await send(file, key);
          if (status !== undefined && status < 500 && status !== 202) throw new Error(`refused with ${status}`);
          return status === 202;
        },
        { what: `file ${key} to be taken` },
      ),
    /** What is left of a run: its counters, and each row that is not in effect. */
    async result(key: string) {
      const run = (await view(key)) as RunView;
      const rejects: string[] = [];
      for await (const { row, reason } of producer.runs.rejects(run)) rejects.push(`${row} ${reason}`);
      const { state, received, rejected, accepted, finished, inflight, set, failed, notInEffect } = run;
      const { unchanged, superseded, stale, expired, canceled } = run;
      return {
        ...{ state, received, rejected, accepted, finished, inflight, set, failed, notInEffect },
        ...{ unchanged, superseded, stale, expired, canceled, rejects },
      };
    },
  };
}
