import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { PassferryError } from '../src/errors.ts';
import { isRejected, type ParseOptions, parseRows } from '../src/producer/import/parse.ts';
import { sources } from '../src/producer/import/sources/all.ts';
import { sampleMakers } from './kit/samples/all.ts';
import { pick, randomOf } from './kit/samples/maker.ts';

const seed = Number(process.env.PASSFERRY_SEED ?? 7);
const files = 1_200;

interface Verdict {
  /** The source, or `none` where no row could be taken. */
  source: string;
  reason: string;
  taken: number;
  refused: string[];
}

/** A file as the server would read it, in pieces of any size. */
async function verdictOf(content: string | Buffer, options: ParseOptions = {}, piece = 64 * 1024): Promise<Verdict> {
  const bytes = Buffer.from(content);
  const pieces = Array.from({ length: Math.ceil(bytes.length / piece) }, (_, n) =>
    Buffer.from(bytes.subarray(n * piece, (n + 1) * piece)),
  );
  const found: Verdict = { source: 'none', reason: '', taken: 0, refused: [] };
  try {
    const rows = parseRows(Readable.from(pieces), {
      ...options,
      onDetected: ({ source }) => {
        found.source = source;
      },
    });
    for await (const row of rows) {
      if (isRejected(row)) found.refused.push(row.reason);
      else found.taken++;
    }
  } catch (error) {
    if (!(error instanceof PassferryError)) throw error;
    found.reason = error.reason;
  }
  return found.source === 'own' && found.taken === 0 ? { ...found, source: 'none' } : found;
}

describe(`${files} files of every product in every shape`, () => {
  const random = randomOf(seed);
  const made = Array.from({ length: files }, (_, n) => {
    const maker = sampleMakers[n % sampleMakers.length] as (typeof sampleMakers)[number];
    return { maker, content: maker.make(random), piece: pick(random, [64 * 1024, 1_000, 4_096, 37]) };
  });

  it('at least 99 % are recognised, and none is taken for another without asking', async () => {
    const wrong: string[] = [];
    let right = 0;
    for (const { maker, content, piece } of made) {
      const { source, reason } = await verdictOf(content, {}, piece);
      if (source === maker.source) right++;
      else if (source !== 'none') wrong.push(`${maker.source} (${maker.shape}) as ${source}`);
      else wrong.push(`asked ${maker.source} (${maker.shape}): ${reason}`);
    }
    expect(wrong.filter((line) => !line.startsWith('asked'))).toEqual([]);
    expect(right / files, wrong.join('\n')).toBeGreaterThanOrEqual(0.99);
  });

  it('every source has files here, and is what was named', async () => {
    const covered = new Set(sampleMakers.map(({ source }) => source));
    const able = sources.filter(({ resetsOnly }) => !resetsOnly);
    expect(able.map(({ name }) => name).filter((name) => !covered.has(name))).toEqual([]);
    const byShape = made.slice(0, sampleMakers.length).filter(({ maker }) => !['own', 'none'].includes(maker.source));
    for (const { maker, content } of byShape) {
      expect(await verdictOf(content, { from: maker.source }), maker.shape).toMatchObject({ source: maker.source });
    }
  });

  it('a wrong --from is refused, never believed', async () => {
    const first = made.slice(0, sampleMakers.length).filter(({ maker }) => !['own', 'none'].includes(maker.source));
    const taken: string[] = [];
    for (const { maker, content } of first) {
      for (const { name, recognise: _ } of sources) {
        if (name === maker.source) continue;
        const { source, taken: rows } = await verdictOf(content, { from: name });
        if (source !== 'none' && rows > 0) taken.push(`${maker.source} (${maker.shape}) as ${name}: ${rows}`);
      }
    }
    expect(taken).toEqual([]);
  });
});

it('is the same whatever the pieces a file comes in', async () => {
  const random = randomOf(seed + 1);
  for (const maker of sampleMakers) {
    const content = maker.make(random);
    const [whole, small] = [await verdictOf(content), await verdictOf(content, {}, 7)];
    expect(small, maker.shape).toEqual(whole);
  }
});
