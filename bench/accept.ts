/**
 * `npm run bench -- accept [--seconds 4] [--rounds 5]`: how many requests a second are accepted (202, nobody waits) against
 * bare Fastify, pino and BullMQ's `queue.add` on the same Redis; server and client are processes of their own, rounds take
 * turns. One line of JSON: the median of the ratios, for both ways in which Redis writes its file.
 */
import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { availableParallelism, loadavg } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Queue } from 'bullmq';
import Fastify from 'fastify';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { hashToken } from '../src/producer/callers.ts';
import { startProcessWorld } from '../test/kit/process-world.ts';
import { spawnNode } from '../test/kit/processes.ts';

const token = 'pf_bench';
const connections = 16;
const goal = 0.5;

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '5' },
    bare: { type: 'string' },
    load: { type: 'string' },
  },
});
if (values.bare !== undefined) await serveBare(values.bare);
else if (values.load !== undefined) await load(values.load, Number(values.seconds));
else await compare(Number(values.seconds), Number(values.rounds));

/** The least that accepts and stores: no check, no order, nothing sealed. */
async function serveBare(redisUrl: string): Promise<void> {
  const queue = new Queue('bare', { connection: new Redis(redisUrl, { maxRetriesPerRequest: null }) });
  const app = Fastify({ loggerInstance: pino(), disableRequestLogging: true });
  app.post<{ Params: { user: string }; Body: { password: string } }>('/users/:user/password', async (asked, reply) => {
    const { id } = await queue.add('set-password', { user: asked.params.user, password: asked.body.password });
    return reply.code(202).header('location', `/jobs/${id}`).send({ id });
  });
  process.stdout.write(
    `${JSON.stringify({ msg: 'serving', url: await app.listen({ port: 0, host: '127.0.0.1' }) })}\n`,
  );
}

/** Keeps some connections busy; says how many requests a second were answered 202. */
async function load(url: string, seconds: number): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const run = async (forMs: number): Promise<number> => {
    let accepted = 0;
    const until = performance.now() + forMs;
    await Promise.all(
      Array.from({ length: connections }, async () => {
        while (performance.now() < until) if ((await post(url, agent)) === 202) accepted += 1;
      }),
    );
    return accepted;
  };
  await run(1_000);
  const start = performance.now();
  const accepted = await run(seconds * 1_000);
  process.stdout.write(`rate ${Math.round(accepted / ((performance.now() - start) / 1_000))}\n`);
  process.exit(0);
}

function post(url: string, agent: Agent): Promise<number | undefined> {
  const body = JSON.stringify({ password: `A1-${randomUUID()}` });
  const headers = {
    authorization: `Bearer ${token}`,
    'content-type': 'application/json',
    'content-length': body.length,
    prefer: 'respond-async',
  };
  return new Promise((resolve, reject) => {
    const asked = request(`${url}/users/${randomUUID()}/password`, { method: 'POST', agent, headers }, (answer) => {
      answer.resume();
      answer.once('end', () => resolve(answer.statusCode));
    });
    asked.once('error', reject);
    asked.end(body);
  });
}

async function compare(seconds: number, rounds: number): Promise<void> {
  const world = await startProcessWorld();
  const namespace = 'accept';
  // It confirms the order of changes; then nothing is taken away while others are counted.
  const worker = await (await world.installation(namespace)).work();
  worker.term();
  await worker.exited;
  const callersFile = join(world.keysDir, 'callers.json');
  const caller = { name: 'bench', home: 'globex', tokenSha256: hashToken(token), grants: { globex: ['set'] } };
  writeFileSync(callersFile, JSON.stringify({ callers: [caller] }));
  const ours = spawnNode(['src/cli/main.ts', 'serve'], {
    PASSFERRY_REDIS_URL: world.redis.url,
    PASSFERRY_KEYS_DIR: world.keysDir,
    PASSFERRY_NAMESPACE: namespace,
    PASSFERRY_LISTEN: '127.0.0.1:0',
    PASSFERRY_CALLERS_FILE: callersFile,
    PASSFERRY_CALLER_RATE: 'off',
    UV_THREADPOOL_SIZE: String(availableParallelism() + 2),
  });
  const bare = spawnNode(['bench/accept.ts', '--bare', world.redis.url]);
  const urlOf = async (server: typeof ours) => JSON.parse(await server.waitForLine(/"serving"/, 60_000)).url as string;
  const urls = { passferry: await urlOf(ours), bare: await urlOf(bare) };
  const rate = async (url: string): Promise<number> => {
    const client = spawnNode(['bench/accept.ts', '--load', url, '--seconds', String(seconds)]);
    const line = await client.waitForLine(/^rate \d+/, 60_000 + seconds * 1_000);
    await client.exited;
    return Number(line.slice('rate '.length));
  };

  const redis = new Redis(world.redis.url);
  const figures: Record<string, { ratio: number }> = {};
  for (const appendfsync of ['everysec', 'always']) {
    await redis.config('SET', 'appendfsync', appendfsync);
    const all: { bare: number; passferry: number; ratio: number; load: number }[] = [];
    for (let n = 0; n < rounds; n++) {
      const one = { bare: await rate(urls.bare), passferry: await rate(urls.passferry) };
      const ratio = Math.round((one.passferry / one.bare) * 1_000) / 1_000;
      all.push({ ...one, ratio, load: Math.round((loadavg()[0] as number) * 10) / 10 });
    }
    const sorted = all.map((one) => one.ratio).sort((a, b) => a - b);
    figures[appendfsync] = { ratio: sorted[Math.floor(sorted.length / 2)] as number, ...{ rounds: all } };
  }
  redis.disconnect();
  ours.kill9();
  bare.kill9();
  await world.close();
  const missed = Object.values(figures).some(({ ratio }) => ratio < goal);
  process.stdout.write(`${JSON.stringify({ cores: availableParallelism(), seconds, goal, ...figures })}\n`);
  process.exit(missed ? 1 : 0);
}
