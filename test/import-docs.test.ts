import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { importAdvice } from '../src/producer/import/advice.ts';
import { aliases, columnName, columnNames } from '../src/producer/import/columns.ts';
import { fileReasons, importReasons, rowReasonFacts } from '../src/producer/import/reasons.ts';
import { warningTexts } from '../src/producer/import/suspicious.ts';
import { packRow } from '../src/row-outcome.ts';

const text = readFileSync(new URL('../docs/import.md', import.meta.url), 'utf8');

/** Cells of the table whose head begins so, without the quotes of code. */
function table(head: string): string[][] {
  const rest = text.split(`\n| ${head} |`)[1] ?? '';
  const lines = rest.split('\n').slice(2);
  return lines.slice(0, lines.indexOf('')).map((line) =>
    line
      .slice(2, -2)
      .split(' | ')
      .map((cell) => cell.replace(/^`([^`]*)`$/, '$1')),
  );
}

it('docs/import.md has every reason with its text and advice, and no other', () => {
  const expected = Object.entries(importAdvice).map(([reason, advice]) => {
    const { message } = rowReasonFacts(reason as keyof typeof importAdvice);
    return [reason, reason in fileReasons ? 'file' : 'row', message, advice];
  });
  expect(table('reason')).toEqual(expected);
  expect(Object.keys(importReasons).filter((reason) => !(reason in importAdvice))).toEqual([]);
  expect(expected.length).toBeGreaterThanOrEqual(60);
});

it('docs/import.md has every name of a column that is understood', () => {
  const understood = table('column')
    .slice(0, columnNames.length)
    .map(([name, list]) => [name, (list as string).replaceAll('`', '').split(' ')]);
  expect(understood).toEqual(columnNames.map((name) => [name, aliases[name]]));
});

it('docs/import.md has every warning with its text', () => {
  expect(table('warning')).toEqual(Object.entries(warningTexts));
});

it('no name of a column is understood as two of ours', () => {
  const all = Object.values(aliases).flat();
  expect(new Set(all).size).toBe(all.length);
  for (const name of columnNames) for (const alias of aliases[name]) expect(columnName(alias)).toBe(name);
});

it('every reason of a row has its number in a stored page', () => {
  const jobKey = { current: randomBytes(32) } as Parameters<typeof packRow>[0];
  const rows = Object.keys(importAdvice).filter((reason) => !(reason in fileReasons));
  expect(rows.filter((reason) => packRow(jobKey, 'r0-a', 1, reason).note !== '')).toEqual([]);
});
