import fc from 'fast-check';
import { expect, test } from 'vitest';
import { connectRedis } from '../src/redis.ts';
import { atEnd } from './kit/files.ts';
import { kinds, type Step, walk } from './kit/ledger-walk.ts';
import { startRedis } from './kit/redis.ts';

const server = await startRedis({ appendonly: false });
const redis = connectRedis({ url: server.url }, 'worker');
atEnd(() => redis.disconnect());

const interleavings = process.env.PASSFERRY_NIGHTLY === '1' ? 100_000 : 2_000;
/** Interleavings that are walked at the same time: the reply of one is awaited while the others go on. */
const atOnce = 16;
const seed = Number(process.env.PASSFERRY_SEED ?? Math.floor(Math.random() * 2 ** 31));

/** More starts than anything else, and most of what was started goes on. */
const weights: Partial<Record<Step['what'], number>> = { accept: 4, start: 8, 'go on': 14, crash: 2, arrive: 2 };
const step: fc.Arbitrary<Step> = fc.record({
  what: fc.oneof(...kinds.map((kind) => ({ weight: weights[kind] ?? 1, arbitrary: fc.constant(kind) }))),
  which: fc.nat(11),
  how: fc.nat(7),
});

test(`whatever the order of requests, starts, crashes and lapses: one outcome a job, one effect, the newest stays, exact counters`, {
  timeout: 7_200_000,
}, async () => {
  console.log(`ledger model: ${interleavings} interleavings, PASSFERRY_SEED=${seed}`);
  const property = fc.asyncProperty(fc.array(step, { minLength: 8, maxLength: 60, size: 'max' }), (steps) =>
    walk(redis, steps),
  );
  const details = await Promise.all(
    Array.from({ length: atOnce }, (_, i) =>
      fc.check(property, { numRuns: interleavings / atOnce, seed: seed + i, endOnFailure: true }),
    ),
  );
  const failed = details.find((each) => each.failed);
  if (failed) {
    const path = failed.counterexamplePath ?? '';
    const short = await fc.check(property, { seed: failed.seed, path, interruptAfterTimeLimit: 60_000 });
    // The history of the shortest interleaving that was found, with every reply.
    expect.fail(`PASSFERRY_SEED=${seed}: ${String(short.errorInstance ?? failed.errorInstance)}`);
  }
  expect(details.reduce((sum, { numRuns }) => sum + numRuns, 0)).toBe(interleavings);
});
