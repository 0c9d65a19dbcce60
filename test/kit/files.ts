import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

type Ending = () => unknown;
const endings: Ending[] = [];

/** Runs after the test file, last registered first (outside Vitest: never; call what you started by its `stop`). */
export function atEnd(ending: Ending): void {
  endings.push(ending);
}

if (process.env.VITEST) {
  const { afterAll } = await import('vitest');
  afterAll(async () => {
    for (const ending of endings.splice(0).reverse()) await ending();
  });
}

/** A fresh private folder, removed after the test file. */
export function tempDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'passferry-test-'));
  const remove = () => rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
  atEnd(remove);
  process.once('exit', remove);
  return dir;
}
