import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, test } from 'vitest';
import { tempDir } from './kit/files.ts';

/** `passferry/client` as a stranger installs it: no server code, nothing but its one package. */

const root = fileURLToPath(new URL('..', import.meta.url));
const entry = join(root, 'src/client/index.ts');

/** Every file and package that a file leads to, whether for values or for types. */
function reached(file: string, seen = new Set<string>()): Set<string> {
  if (seen.has(file)) return seen;
  seen.add(file);
  for (const { fileName } of ts.preProcessFile(readFileSync(file, 'utf8'), true, true).importedFiles) {
    if (fileName.startsWith('.')) reached(join(file, '..', fileName), seen);
    else seen.add(fileName);
  }
  return seen;
}

test('leads to its own files, the vocabulary, node and one package', () => {
  const all = [...reached(entry)].map((each) => (each.startsWith('/') ? relative(root, each) : each));
  const own = /^src\/client\/[\w-]+\.ts$|^src\/(errors|event|ids|job)\.ts$|^node:|^eventsource-parser$/;
  expect(all.filter((each) => !own.test(each))).toEqual([]);
  expect(all).toContain('eventsource-parser');
});

test('built, it is loaded and typed where nothing else is installed', () => {
  const dir = tempDir();
  const installed = join(dir, 'node_modules/passferry');
  mkdirSync(join(installed, 'dist'), { recursive: true });
  cpSync(join(root, 'package.json'), join(installed, 'package.json'));
  symlinkSync(join(root, 'node_modules/eventsource-parser'), join(dir, 'node_modules/eventsource-parser'));

  const { config } = ts.readConfigFile(join(root, 'tsconfig.build.json'), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
  const built = ts.createProgram([entry], { ...options, outDir: join(installed, 'dist') });
  expect(built.emit().diagnostics).toEqual([]);

  writeFileSync(
    join(dir, 'use.mjs'),
    `import { createClient, PassferryClientError } from 'passferry/client';
     const client = createClient({ baseUrl: 'http://127.0.0.1:1', token: 'none', timeoutMs: 1 });
     const error = await client.job('j0-a').catch((thrown) => thrown);
     console.log(error instanceof PassferryClientError, error.reason);`,
  );
  expect(execFileSync(process.execPath, ['use.mjs'], { cwd: dir, encoding: 'utf8' })).toBe('true unreachable\n');

  const typed = join(dir, 'use.mts');
  writeFileSync(
    typed,
    `import { createClient, type Event, type Reset } from 'passferry/client';
     const client = createClient({ baseUrl: 'http://127.0.0.1:1', token: async () => 'none' });
     export const sent: { id: string } = await client.setPassword({ user: '1', password: 'x', wait: true });
     export const events: AsyncGenerator<Event | Reset> = client.events({ types: ['job.failed'] });`,
  );
  const using = ts.createProgram([typed], {
    ...{ module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext, strict: true },
    ...{ target: ts.ScriptTarget.ES2023, noEmit: true, types: ['node'] },
    typeRoots: [join(root, 'node_modules/@types')],
  });
  const found = ts.getPreEmitDiagnostics(using);
  expect(found.map((each) => ts.flattenDiagnosticMessageText(each.messageText, '\n'))).toEqual([]);
});
