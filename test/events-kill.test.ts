import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createParser } from 'eventsource-parser';
import { expect, test } from 'vitest';
import { freePort } from '../src/embedded/free-port.ts';
import { hashToken } from '../src/producer/callers.ts';
import { atEnd } from './kit/files.ts';
import { startProcessWorld } from './kit/process-world.ts';
import { spawnNode } from './kit/processes.ts';
import { waitFor } from './kit/wait.ts';

const world = await startProcessWorld();
atEnd(() => world.close());

test('serve is killed between events: a reader that resumes misses none and sees none twice', async () => {
  const namespace = 'kill';
  const installation = await world.installation(namespace);
  await installation.work();
  const callersFile = join(world.keysDir, 'callers.json');
  const caller = { name: 'c', home: 'acme', tokenSha256: hashToken('pf_t'), grants: { acme: ['read'] } };
  writeFileSync(callersFile, JSON.stringify({ callers: [caller] }));
  const port = await freePort();
  async function serve() {
    const child = spawnNode(['src/cli/main.ts', 'serve'], {
      PASSFERRY_REDIS_URL: world.redis.url,
      PASSFERRY_KEYS_DIR: world.keysDir,
      PASSFERRY_NAMESPACE: namespace,
      PASSFERRY_LISTEN: `127.0.0.1:${port}`,
      PASSFERRY_CALLERS_FILE: callersFile,
    });
    await child.waitForLine(/"serving"/);
    return child;
  }
  const jobs: string[] = [];
  const told: string[] = [];
  let after: string | undefined;
  const reading = new AbortController();
  /** As every client of server-sent events does. */
  async function read(): Promise<void> {
    while (!reading.signal.aborted) {
      const parser = createParser({
        onEvent: ({ id, event, data }) => {
          after = id ?? after;
          if (event?.startsWith('job.')) told.push(JSON.parse(data).job);
          else if (event !== 'start') told.push(event ?? 'nothing');
        },
      });
      const headers = { authorization: 'Bearer pf_t', ...(after !== undefined && { 'last-event-id': after }) };
      try {
        const { body } = await fetch(`http://127.0.0.1:${port}/events`, { headers, signal: reading.signal });
        const decoder = new TextDecoder();
        for await (const bytes of body ?? []) parser.feed(decoder.decode(bytes as Uint8Array, { stream: true }));
      } catch {
        // Cut off: again, from where it was.
        await pause(100);
      }
    }
  }
  async function endSome(count: number): Promise<void> {
    for (let i = 0; i < count; i += 1) {
      const job = await installation.ask('acme', await world.addUser('acme'));
      await installation.outcome(job);
      jobs.push(job);
    }
  }

  let serving = await serve();
  const reader = read();
  await waitFor(() => after !== undefined, { what: 'the stream to begin' });
  for (let round = 0; round < 3; round += 1) {
    await endSome(2);
    await waitFor(() => told.length > round * 4, { what: 'some to be told' });
    serving.kill9();
    await serving.exited;
    await endSome(2);
    serving = await serve();
  }
  await waitFor(() => told.length >= jobs.length, { what: 'all to be told' });
  serving.term();
  expect((await serving.exited).code).toBe(0);
  reading.abort();
  await reader;

  expect(told).toEqual(jobs);
});
