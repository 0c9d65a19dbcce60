import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { spawnNode } from './kit/processes.ts';

const mib = 1024 * 1024;
const made = fileURLToPath(new URL('kit/endless-import.ts', import.meta.url));

it.each([
  ['one line', 200, 1, ''],
  ['one header', 0, 0, 'header_unreadable'],
  ['an open quote', 200, undefined, ''],
  ['blank lines', 200, 0, 'file_no_rows'],
  ['one JSON object', 200, 1, 'json_array_cut'],
  ['nested JSON', 100, 1, 'json_array_cut'],
  ['a lost JSON list', 200, 1, 'json_array_cut'],
  ['one NDJSON line', 200, 1, ''],
  ['keys that differ', 40, undefined, ''],
  ['rows', 60, undefined, ''],
  ['rows in gzip', 60, undefined, ''],
  ['rows in UTF-16', 60, undefined, ''],
  ['a realm that never ends', 60, undefined, 'json_array_cut'],
  ['a realm without a list', 60, 0, 'json_array_cut'],
  ['passwords of Auth0', 60, undefined, ''],
])(
  'keeps next to nothing of a file far larger than its memory: %s',
  async (name, size, rows, reason) => {
    const child = spawnNode(['--expose-gc', '--max-old-space-size=64', made, name]);
    const said = JSON.parse(await child.waitForLine(/^\{/));
    expect(said.reason).toBe(reason);
    expect(said.given).toBeGreaterThanOrEqual(size * mib);
    if (rows !== undefined) expect(said.read).toBe(rows);
    expect(said.kept).toBeLessThan(4 * mib);
  },
  400_000,
);
