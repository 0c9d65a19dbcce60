import { resolve } from 'node:path';
import type { Command } from 'commander';
import { createKeyFiles } from '../key-files.ts';

/** `keys init`: a local file command; keys never travel through Redis or the API. */
export function registerKeys(program: Command): void {
  const keys = program.command('keys').description('key files of serve and work');
  keys
    .command('init')
    .description('make the missing key files in a directory (0600); touches nothing that is there')
    .argument('<dir>', 'the directory')
    .action(async (dir: string) => {
      await createKeyFiles(resolve(dir));
      process.stdout.write(
        `Key files are in ${resolve(dir)}.\n  serve needs public.json, shared.json, fingerprint.json\n  work needs private.json, shared.json\n`,
      );
    });
}
