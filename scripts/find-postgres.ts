import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { findProgram, isExecutable } from '../src/embedded/find-program.ts';

/** Folders that hold one folder per version: where, which names, and what leads from there to the programs. */
const versioned: [folder: string, name: RegExp, inside: string][] = [
  ['/usr/lib/postgresql', /^\d+$/, 'bin'],
  ['/usr/libexec', /^postgresql\d+$/, ''],
  ['/usr', /^pgsql-\d+$/, 'bin'],
  ['/opt/homebrew/opt', /^postgresql@\d+$/, 'bin'],
  ['/usr/local/opt', /^postgresql@\d+$/, 'bin'],
];

/** The folder with `initdb` and `postgres`: PASSFERRY_POSTGRES_BIN, else the newest version found. */
export function findPostgresFolder(): string | undefined {
  const named = process.env.PASSFERRY_POSTGRES_BIN;
  if (named) return isComplete(named) ? named : undefined;
  const folders = versioned.flatMap(([folder, name, inside]) =>
    list(folder)
      .filter((each) => name.test(each))
      .map((each) => ({ version: Number(/\d+/.exec(each)?.[0]), path: join(folder, each, inside) })),
  );
  const newestFirst = folders.sort((a, b) => b.version - a.version).map(({ path }) => path);
  const onPath = findProgram(['initdb']);
  return [...newestFirst, ...(onPath ? [dirname(onPath)] : [])].find(isComplete);
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function isComplete(folder: string): boolean {
  return ['initdb', 'postgres'].every((program) => isExecutable(join(folder, program)));
}
