import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { hashWarnings, verifiers } from '../src/hashes/kinds.ts';
import { hashReasons } from '../src/hashes/reasons.ts';
import { bounds } from '../src/hashes/targets.ts';

const text = readFileSync(new URL('../docs/hashes.md', import.meta.url), 'utf8');

test('docs/hashes.md has every reason and note as they are told', () => {
  const rows = [
    ...Object.entries(hashReasons).map(([reason, [what, advice]]) => `| \`${reason}\` | ${what} | ${advice} |`),
    ...Object.entries(hashWarnings).map(([name, what]) => `| \`${name}\` | ${what} |`),
  ];
  const documented = text.slice(text.indexOf('\n## Reasons')).match(/^\| `.*\|$/gm);
  expect(documented).toEqual(rows);
});

test('docs/hashes.md names every verifier and its bounds', () => {
  const kinds = text.slice(text.indexOf('\n## Kinds'), text.indexOf('\n## Reasons'));
  for (const verifier of verifiers) expect(kinds).toContain(verifier);
  for (const limits of Object.values(bounds)) {
    // The upper ends of sha2 and phpass lie beyond what one check may cost.
    for (const [least, most] of Object.values(limits)) {
      expect(kinds).toContain(least.toLocaleString('en-US'));
      if (most !== 999_999_999 && most !== 31) expect(kinds).toContain(most.toLocaleString('en-US'));
    }
  }
});
