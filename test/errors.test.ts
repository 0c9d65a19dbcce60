import { readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import type { Backend } from '../src/adapters/port.ts';
import {
  askAgain,
  type Code,
  codes,
  type Delays,
  PassferryError,
  putOff,
  reasons,
  toPassferryError,
} from '../src/errors.ts';
import { problem } from '../src/producer/http/errors.ts';
import { importReasons } from '../src/producer/import/reasons.ts';
import type { Holding } from '../src/worker/holding.ts';
import { createLane } from '../src/worker/lane.ts';
import { zitadelIds } from '../src/zitadel-ids.ts';

test.each(Object.entries(reasons))('%s has a code of ours and a fixed text', (reason, [code, text]) => {
  const error = new PassferryError(reason);
  expect(codes).toHaveProperty(code);
  expect(error).toMatchObject({ code, reason, message: text, scope: 'user', effect: 'none', fields: [] });
  expect(text).toMatch(/\S/);
});

test('every code but our own one has the number and the status of gRPC, each once', () => {
  const { expired, ...canonical } = codes;
  expect(
    Object.values(canonical)
      .map(({ grpc }) => grpc)
      .sort((a, b) => a - b),
  ).toEqual(Array.from({ length: 16 }, (_, i) => i + 1));
  expect(expired.http).not.toBe(codes.deadline_exceeded.http);
  for (const { exit, http } of Object.values(codes)) {
    expect(exit).toBeGreaterThan(0);
    expect(http).toBeGreaterThanOrEqual(400);
  }
});

test('an id of ZITADEL is a reason too; an unknown one gets a text of ours', () => {
  const known = new PassferryError('COMMAND-G8dh3', { code: 'failed_precondition', message: 'Password not found' });
  expect(known.toJSON()).toEqual({
    code: 'failed_precondition',
    reason: 'COMMAND-G8dh3',
    message: 'Password not found',
  });
  expect(new PassferryError('NEW-abc12')).toMatchObject({ code: 'unknown', message: reasons.refused[1] });
});

test('a cause is never printed and never sent', () => {
  const cause = new Error('ERR near: SET pw hunter22');
  const error = new PassferryError('redis_down', { scope: 'backend', cause });
  for (const text of [JSON.stringify(error), inspect(error), inspect({ error }, { depth: 9 }), `${error}`]) {
    expect(text).toContain(reasons.redis_down[1]);
    expect(text).not.toContain('hunter22');
  }
});

test('what is not ours becomes one of ours whose text says nothing of it', () => {
  const own = new PassferryError('held');
  expect(toPassferryError(own)).toBe(own);
  for (const thrown of [new Error('hunter22'), 'hunter22', undefined, { reason: 'held' }]) {
    const error = toPassferryError(thrown);
    expect(error).toMatchObject({ reason: 'internal', scope: 'backend', message: reasons.internal[1] });
  }
  expect(toPassferryError('x', 'refused', 'user')).toMatchObject({ reason: 'refused', scope: 'user' });
});

describe('the table of faults in docs/api.md', () => {
  const delays: Partial<Record<string, Delays>> = putOff;

  /** All that the code knows of one fault, as the table writes it. */
  function facts(reason: string, code: Code): string {
    const { status } = problem(new PassferryError(reason, { code }));
    const again = [...(delays[reason] ? ['we'] : []), ...(askAgain.has(reason) ? ['caller'] : [])].join(', ');
    const cells = [`\`${code}\``, status, codes[code].grpc, codes[code].exit, again || 'nobody', delays[reason] ?? ''];
    return cells.join(' | ');
  }

  const known: [string, Code][] = [
    ...Object.entries({ ...reasons, ...importReasons }).map(([reason, [code]]): [string, Code] => [reason, code]),
    ...Object.entries(zitadelIds).flatMap(([id, { code, scope = 'user' }]): [string, Code][] =>
      scope === 'user' ? [[id, code]] : [],
    ),
  ];
  const usual = (code: Code) => facts('', code);

  const written = (readFileSync(new URL('../docs/api.md', import.meta.url), 'utf8').split('\n### Faults\n')[1] ?? '')
    .split('\n#')[0]
    ?.split('\n')
    .filter((line) => /^\| .*\d{3}/.test(line))
    .map((line) => line.slice(2, -1).trim());

  test('has one row for every class of fault, and the facts of the code', () => {
    const rows = new Map<string, string[]>();
    for (const [reason, code] of known) {
      const row = facts(reason, code);
      const named = rows.get(row) ?? [];
      // What is as usual for its code goes without its name.
      rows.set(row, row === usual(code) ? ['any other'] : [...named, `\`${reason}\``]);
    }
    const order = Object.keys(codes);
    const codeOf = (row: string) => order.indexOf(/`(\w+)` \| \d{3}/.exec(row)?.[1] ?? '');
    const expected = [...rows].map(([row, names]) => `${names.join(', ')} | ${row}`.trim());
    const last = (row: string) => (row.startsWith('any other') ? 1 : 0);
    expected.sort((a, b) => codeOf(a) - codeOf(b) || last(a) - last(b));
    expect(written).toEqual(expected);
  });

  const holding = { guard: (bare: Backend) => bare, held: async () => false, askAgainMs: () => 1, seen: () => false };
  const waiting = Object.entries(putOff).filter(([, what]) => what !== 'hold');
  test.each(waiting)('after %s, %s waits, and nothing beyond', async (reason, what) => {
    const entry = { backend: { name: 'v1' } as Backend, limit: 1 };
    const lane = createLane(entry, holding as unknown as Holding, pino({ level: 'silent' }), 30_000);
    const scope = what === 'organization' ? 'organization' : 'backend';
    lane.waitAfter(new PassferryError(reason, { scope }), 'acme');
    const others = { backend: [true, true], organization: [true, false], job: [false, false] }[what as 'job'];
    const held = [await lane.mustWait('acme'), await lane.mustWait('globex')].map((wait) => wait !== undefined);
    expect(held).toEqual(others);
  });
});
