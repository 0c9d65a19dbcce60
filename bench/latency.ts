/**
 * `npm run bench -- latency [--calls 300] [--rounds 3]`: what Passferry adds to a direct v2 call. One after the other, in
 * turn: `SetPassword` by gRPC to the sandbox, and the v1 call by REST to a producer and a worker in processes of their own.
 * One line of JSON, ms; Redis as `up` runs it, with a write to disk for each command.
 */
import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { UserService } from '@zitadel/proto/zitadel/user/v2/user_service_pb';
import { hashToken } from '../src/producer/callers.ts';
import { startProcessWorld } from '../test/kit/process-world.ts';
import { spawnNode } from '../test/kit/processes.ts';

const { values } = parseArgs({
  options: { calls: { type: 'string', default: '300' }, rounds: { type: 'string', default: '3' } },
});
const calls = Number(values.calls);
const goal = 5;

const world = await startProcessWorld();
const namespace = 'latency';
await (await world.installation(namespace)).work();
const callersFile = join(world.keysDir, 'callers.json');
const token = 'pf_bench';
const grants = { globex: ['set'] };
writeFileSync(
  callersFile,
  JSON.stringify({ callers: [{ name: 'bench', home: 'globex', tokenSha256: hashToken(token), grants }] }),
);
const serving = spawnNode(['src/cli/main.ts', 'serve'], {
  PASSFERRY_REDIS_URL: world.redis.url,
  PASSFERRY_KEYS_DIR: world.keysDir,
  PASSFERRY_NAMESPACE: namespace,
  PASSFERRY_STAGES: JSON.stringify({ default: 'v2', organizations: {} }),
  PASSFERRY_LISTEN: '127.0.0.1:0',
  PASSFERRY_CALLERS_FILE: callersFile,
  PASSFERRY_CALLER_RATE: 'off',
});
const { url } = JSON.parse(await serving.waitForLine(/"serving"/, 60_000)) as { url: string };
const v2 = createClient(UserService, createGrpcTransport({ baseUrl: world.sandbox.url }));

const password = () => `A1-${randomUUID()}`;

async function direct(userId: string): Promise<void> {
  const newPassword = { password: password(), changeRequired: false };
  await v2.setPassword({ userId, newPassword }, { headers: { authorization: 'Bearer t' } });
}

async function through(user: string): Promise<void> {
  const answer = await fetch(`${url}/management/v1/users/${user}/password`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ password: password() }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`answered ${answer.status} ${text}`);
}

async function timed(call: (user: string) => Promise<void>, user: string): Promise<number> {
  const start = performance.now();
  await call(user);
  return performance.now() - start;
}

const round = (n: number) => Math.round(n * 100) / 100;
function percentiles(all: number[]): { p50: number; p95: number } {
  const sorted = [...all].sort((a, b) => a - b);
  const at = (share: number) => round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] as number);
  return { p50: at(0.5), p95: at(0.95) };
}

const users = await Promise.all(Array.from({ length: 20 }, () => world.addUser('globex')));
const others = await Promise.all(Array.from({ length: 20 }, () => world.addUser('globex')));
// Until both processes are warm: the first thousand calls cost half as much again.
for (let i = 0; i < 1_000; i++) {
  await direct(users[i % users.length] as string);
  await through(others[i % others.length] as string);
}
const rounds: object[] = [];
const added: number[] = [];
for (let n = 0; n < Number(values.rounds); n++) {
  const one: number[] = [];
  const two: number[] = [];
  for (let i = 0; i < calls; i++) {
    // Not the same users: a change of ours in v2 itself would be a person's later choice.
    one.push(await timed(direct, users[i % users.length] as string));
    two.push(await timed(through, others[i % others.length] as string));
  }
  const differences = two.map((ms, i) => ms - (one[i] as number));
  const of = percentiles(differences);
  added.push(of.p50);
  rounds.push({ direct: percentiles(one), through: percentiles(two), added: of, load: round(loadavg()[0] as number) });
}
serving.kill9();
await world.close();
const p50 = percentiles(added).p50;
process.stdout.write(`${JSON.stringify({ cores: availableParallelism(), calls, rounds, p50, goal })}\n`);
process.exit(p50 < goal ? 0 : 1);
