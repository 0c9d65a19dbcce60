import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (name: string) => readFileSync(join(root, name), 'utf8');
const rows = [...read('docs/reliability.md').matchAll(/^\| F(\d\d) \| (.+?) \| (.+) \| (.+?) \|$/gm)];

test('docs/reliability.md has each known way to fail once, in order', () => {
  expect(rows.map(([, number]) => Number(number))).toEqual(Array.from({ length: 71 }, (_, i) => i + 1));
});

test.each(rows.map(([, number, , , proof]) => [number as string, proof as string]))(
  'F%s names a test that exists, or says why there is none',
  (_, proof) => {
    if (/^no test: \S/.test(proof)) return;
    const [, file = '', title = ''] = /^`(test\/[\w/-]+\.test\.ts)`: (.+)$/.exec(proof) ?? [];
    expect(title.length).toBeGreaterThan(10);
    // As it is called there: in one piece, not in a comment.
    const titles = [...read(file).matchAll(/(['"`])((?:\\.|(?!\1).)*)\1/g)].map(([, , text = '']) =>
      text.replaceAll("\\'", "'"),
    );
    expect(titles, file).toContain(title);
  },
);
