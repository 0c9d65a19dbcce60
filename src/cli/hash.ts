import type { Command } from 'commander';
import { finish } from './exit.ts';
import { type DoctorCliOptions, doctor } from './hash-doctor.ts';
import { type InspectOptions, inspect } from './hash-inspect.ts';

/** `hash …`: local; asks no server. Hashes and passwords come from files, prompts or pipes, never from arguments. */
export function registerHash(program: Command): void {
  const hash = program
    .command('hash')
    .description('password hashes of other systems: what they are, how they were made');
  hash
    .command('inspect')
    .description('what hashes are, what a check costs here, which target takes them')
    .argument('[file]', 'one hash a line, or a CSV with a column of hashes; without it: a prompt or standard input')
    .option('--column <name>', 'the column of the CSV that has the hashes')
    .option('--peppered', 'the source adds a secret to every password')
    .option('--encoded <file>', 'write the hashes as the target takes them, a line each (0600); - for standard output')
    .option('--json', 'print JSON')
    .action((file: string | undefined, options: InspectOptions) => finish(() => inspect(file, options)));
  hash
    .command('doctor')
    .description('finds out how a hash was made, from one password that is known')
    .argument('<row>', 'a file with one row: JSON, CSV with a header, or the hash and, a line below, its salt')
    .option(
      '--password-file <file>',
      'the password; one line end at its end is dropped. Else a prompt or standard input',
    )
    .option('--hash-column <name>', 'the column or field that has the hash')
    .option('--salt-column <name>', 'the one that has the salt')
    .option('--iterations <n>', 'rounds that the source makes')
    .option('--json', 'print JSON')
    .action((row: string, options: DoctorCliOptions) => finish(() => doctor(row, options)));
}
