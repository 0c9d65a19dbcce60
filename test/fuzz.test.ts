import net from 'node:net';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { listen } from '../src/listen.ts';
import { atEnd } from './kit/files.ts';
import { describeInput, fault, withoutNames } from './kit/fuzz-check.ts';
import { type Input, inputs } from './kit/fuzz-inputs.ts';
import { createSender } from './kit/fuzz-send.ts';
import { hidden, tokens } from './kit/fuzz-words.ts';
import { startFuzzed } from './kit/fuzz-world.ts';

const nightly = process.env.PASSFERRY_NIGHTLY === '1';
const count = nightly ? 50_000 : 3_000;
/** Sent at the same time. */
const atOnce = 20;
const seed = Number(process.env.PASSFERRY_SEED ?? Math.floor(Math.random() * 2 ** 31));
/** What the producer may hold more after all of them than after the first part, bytes. */
const heapGrowth = 48 * 1024 * 1024;

const passferry = await startFuzzed();
const sender = createSender(passferry.port);
atEnd(sender.close);

const as = (token: string, more: object = {}) => ({ authorization: `Bearer ${token}`, ...more });

/** A job that failed, one that nobody here may see, a run: what ids lead to. */
async function knownIds() {
  const set = (user: string, org: string) =>
    fetch(`${passferry.url}/users/${user}/password`, {
      method: 'POST',
      headers: as(tokens.admin, { 'x-zitadel-orgid': org }),
      body: JSON.stringify({ password: `${hidden}-a1` }),
    });
  const jobs = await Promise.all([set('nobody', 'acme'), set('nobody', 'globex')]);
  const run = await fetch(`${passferry.url}/imports?asOf=now`, {
    method: 'POST',
    headers: as(tokens.full, { 'content-type': 'text/csv' }),
    body: `userId,password\nnobody,${hidden}-a1\n,${hidden}\n`,
  });
  const { id } = (await run.json()) as { id: string };
  return { jobs: jobs.map(({ headers }) => headers.get('passferry-job') as string), runs: [id] };
}

async function tryOne(input: Input): Promise<void> {
  const reply = await sender.send(input);
  const wrong = fault(input, reply);
  if (wrong)
    throw new Error(`${wrong}: ${reply.status} ${reply.head}\n${reply.text.slice(0, 1_000)}\n${describeInput(input)}`);
  if (passferry.hasEnded()) throw new Error(`the producer has ended:\n${passferry.lines().slice(-5).join('\n')}`);
}

async function tryMany(arbitrary: fc.Arbitrary<Input>, many: number, from: number): Promise<number> {
  const property = fc.asyncProperty(arbitrary, tryOne);
  const details = await Promise.all(
    Array.from({ length: atOnce }, (_, i) =>
      fc.check(property, { numRuns: many / atOnce, seed: from + i, endOnFailure: true }),
    ),
  );
  const failed = details.find((each) => each.failed);
  if (!failed) return details.reduce((sum, { numRuns }) => sum + numRuns, 0);
  const path = failed.counterexamplePath ?? '';
  const short = await fc.check(property, { seed: failed.seed, path, interruptAfterTimeLimit: 60_000 });
  const [input] = short.counterexample ?? failed.counterexample ?? [];
  const error = short.errorInstance ?? failed.errorInstance;
  return expect.fail(`PASSFERRY_SEED=${seed}: ${String(error)}${input ? `\nshortest: ${describeInput(input)}` : ''}`);
}

test('an HTTP/2 connection that its peer has broken is closed, though Node would keep it', async () => {
  const server = await listen({ host: '127.0.0.1', port: 0, idleMs: 100 }, (_request, response) => response.destroy());
  atEnd(server.close);
  const socket = net.connect(server.port, '127.0.0.1');
  atEnd(() => socket.destroy());
  const closed = new Promise((resolve) => socket.once('close', () => resolve('closed')));
  socket.resume();
  // The preface, settings, and a frame that is longer than any may be.
  socket.write(
    Buffer.from('505249202a20485454502f322e300d0a0d0a534d0d0a0d0a000000040000000000ffffff010000000001', 'hex'),
  );
  expect(await closed).toBe('closed');
});

test('whatever is sent is answered or cut off: nothing hangs, fails inside, crashes, or is said again', {
  timeout: 7_200_000,
}, async () => {
  console.log(`fuzz: ${count} inputs, PASSFERRY_SEED=${seed}`);
  const arbitrary = inputs(await knownIds());
  const first = count / 5;
  let tried = await tryMany(arbitrary, first, seed);
  const held = await passferry.heapUsed();
  tried += await tryMany(arbitrary, count - first, seed + atOnce);
  expect(tried).toBe(count);

  expect((await fetch(`${passferry.url}/healthz`)).status).toBe(200);
  const lines = passferry.lines();
  expect(lines.filter((line) => withoutNames(line).includes(hidden))).toEqual([]);
  expect(lines.filter((line) => /"level":(50|60)/.test(line))).toEqual([]);
  if (nightly) expect((await passferry.heapUsed()) - held).toBeLessThan(heapGrowth);

  const answer = await fetch(`${passferry.url}/users/known/password`, {
    method: 'POST',
    headers: as(tokens.full),
    body: JSON.stringify({ password: 'New-password-1' }),
  });
  expect(answer.status).toBe(200);
  expect(await passferry.works('New-password-1')).toBe(true);
});
