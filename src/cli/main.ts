#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { PassferryError } from '../errors.ts';
import { registerAudit } from './audit.ts';
import { registerCallers } from './callers.ts';
import { registerCancel } from './cancel.ts';
import { registerDivergence } from './divergence.ts';
import { registerEvents } from './events.ts';
import { registerHandout } from './handout.ts';
import { registerHash } from './hash.ts';
import { registerHold } from './hold.ts';
import { registerImport } from './import.ts';
import { registerImports } from './imports.ts';
import { registerJob } from './job.ts';
import { registerJobs } from './jobs.ts';
import { registerKeys } from './keys.ts';
import { registerMigrate } from './migrate.ts';
import { registerQuarantine } from './quarantine.ts';
import { registerReset } from './reset.ts';
import { registerServers } from './servers.ts';
import { registerSet } from './set.ts';
import { registerStages } from './stages.ts';
import { registerStatus } from './status.ts';
import { withThreadPool } from './thread-pool.ts';
import { registerWebhooks } from './webhooks.ts';
import { registerWhy } from './why.ts';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

const program = new Command('passferry')
  .description('Sets passwords through a queue: v1 stores, ZITADEL v2, and the way from one to the other.')
  .version(version)
  .exitOverride()
  .addHelpText(
    'after',
    `
Exit codes: 0 all in effect · 1 some rejected, refused, superseded or stale · 2 usage · 3 could not start or reach
            4 accepted but not finished · 5 cancelled`,
  );
registerServers(program);
registerSet(program);
registerJob(program);
registerJobs(program);
registerCancel(program);
registerQuarantine(program);
registerImport(program);
registerReset(program);
registerHandout(program);
registerImports(program);
registerEvents(program);
registerHold(program);
registerStages(program);
registerMigrate(program);
registerDivergence(program);
registerWebhooks(program);
registerStatus(program);
registerWhy(program);
registerAudit(program);
registerKeys(program);
registerCallers(program);
registerHash(program);

/** Commands that hash need the thread pool sized before the process starts. */
const hashing = new Set(['up', 'work', 'sandbox']);

async function main(): Promise<void> {
  if (hashing.has(process.argv[2] ?? '') && !process.argv.includes('--help')) {
    const code = await withThreadPool();
    if (code !== undefined) process.exit(code);
  }
  try {
    await program.parseAsync();
  } catch (error) {
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
    else {
      const told = error instanceof PassferryError ? error : new PassferryError('internal', { cause: error });
      process.stderr.write(`passferry: ${told.message} (${told.reason})\n`);
      if (process.env.PASSFERRY_LOG_LEVEL === 'debug' && error instanceof Error)
        process.stderr.write(`${error.stack}\n`);
      process.exitCode = 3;
    }
  }
}

// A reader that has seen enough (`| head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

await main();
