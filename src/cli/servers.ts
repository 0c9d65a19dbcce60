import { randomBytes } from 'node:crypto';
import { type Command, InvalidArgumentError } from 'commander';
import { loadServeConfig, loadWorkConfig } from '../config.ts';
import { type Verifier, verifiers } from '../hashes/kinds.ts';
import { createLog } from '../log.ts';
import { quarantineProcess } from '../quarantine-process.ts';
import { startSandbox } from '../sandbox/sandbox.ts';
import { serve } from '../serve.ts';
import { openBackends, work } from '../work.ts';
import { untilStopped } from './until-stopped.ts';
import { type Up, up } from './up.ts';
import { sampleOrgs, samplePassword, samplePeople } from './up-people.ts';

const dataDirDefault = () => process.env.PASSFERRY_DATA ?? '.passferry';

/** The commands that stay: `up`, `serve`, `work`, `sandbox`. */
export function registerServers(program: Command): void {
  program
    .command('up')
    .description('run every part in one process on embedded defaults (for trying out, not for production)')
    .option('--data <dir>', 'where keys, data and tokens live', dataDirDefault())
    .option('--listen <host:port>', 'address of the HTTP port', '127.0.0.1:8080')
    .option('--bcrypt-cost <n>', 'cost of a hash in the v1 store and the sandbox', Number, 10)
    .action(async ({ data, listen, bcryptCost }) => {
      const log = createLog(process.env.PASSFERRY_LOG_LEVEL ?? 'warn', 'up');
      const running = await up({ dataDir: data, listen, bcryptCost, log });
      process.stdout.write(welcome(running));
      await untilStopped(() => running.close());
    });

  program
    .command('serve')
    .description('run the producer: HTTP in front, Redis behind (configured by PASSFERRY_* variables)')
    .action(async () => {
      const config = loadServeConfig(process.env);
      const serving = await serve(config, createLog(config.PASSFERRY_LOG_LEVEL, 'serve'));
      await untilStopped(() => serving.close());
    });

  program
    .command('work')
    .description('run a worker: takes jobs and sets passwords (configured by PASSFERRY_* variables)')
    .option('--quarantine', 'take only jobs that crashed their worker, one at a time, and end when there are none')
    .action(async ({ quarantine: inside }: { quarantine?: boolean }) => {
      const config = loadWorkConfig(process.env);
      const log = createLog(config.PASSFERRY_LOG_LEVEL, inside ? 'quarantine' : 'work');
      const way = inside ? ({ kind: 'inside' } as const) : quarantineProcess(process.env);
      const worker = await work(config, await openBackends(config, log), log, way);
      await untilStopped(() => worker.close(), worker.idle);
    });

  program
    .command('sandbox')
    .description('run the stand-in for ZITADEL on a loopback port, with four invented people')
    .option('--port <n>', 'port', Number, 8090)
    .option('--bcrypt-cost <n>', 'cost of a hash', Number, 10)
    .option('--lag <ms>', 'how far the read model lags behind', Number, 0)
    .option('--hashes <kinds>', 'hashes that it checks, such as bcrypt,pbkdf2', parseVerifiers, ['bcrypt'])
    .action(async ({ port, bcryptCost, lag, hashes }) => {
      const token = process.env.PASSFERRY_SANDBOX_TOKEN ?? randomBytes(24).toString('base64url');
      const sandbox = await startSandbox({
        port,
        bcryptCost,
        lagMs: lag,
        verifiers: hashes,
        tokens: { [token]: { userId: 'passferry', roles: { instance: ['IAM_OWNER'] } } },
        orgs: Object.values(sampleOrgs),
        users: samplePeople.map((person) => ({ ...person, password: samplePassword })),
      });
      process.stdout.write(`SANDBOX, not ZITADEL: ${sandbox.url}\n`);
      if (!process.env.PASSFERRY_SANDBOX_TOKEN) process.stdout.write(`token of its service account: ${token}\n`);
      await untilStopped(() => sandbox.close());
    });
}

function parseVerifiers(text: string): Verifier[] {
  const wanted = text.split(',') as Verifier[];
  if (wanted.every((each) => verifiers.includes(each))) return wanted;
  throw new InvalidArgumentError(`Give some of ${verifiers.join(', ')}, with commas.`);
}

function welcome({ url, metricsUrl, tokenFile, sandbox: { url: sandboxUrl } }: Up): string {
  const [person] = samplePeople;
  return `Passferry is up.

  HTTP     ${url}
  v1       embedded PostgreSQL (PGlite), organization "${sampleOrgs.v1}"
  v2       SANDBOX at ${sandboxUrl}, not ZITADEL, organization "${sampleOrgs.v2}"
  token    in ${tokenFile}${metricsUrl ? `\n  numbers  ${metricsUrl}` : ''}

Try it in another terminal:

  curl -sS ${url}/users/${person?.id}/password \\
    -H "Authorization: Bearer $(cat ${tokenFile})" \\
    -d '{"password":"New-password-1"}'

Ctrl-C stops it; the data stays.
`;
}
