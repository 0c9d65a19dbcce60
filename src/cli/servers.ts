import { type Command, InvalidArgumentError } from 'commander';
import { type Verifier, verifiers } from '../hashes/kinds.ts';
import { keepHeapSmall } from './heap.ts';

const dataDirDefault = () => process.env.PASSFERRY_DATA ?? '.passferry';

/** The commands that stay: `up`, `serve`, `work`, `sandbox`. They are most of the code: each loads its own when it is asked for. */
export function registerServers(program: Command): void {
  const server = (name: string) => program.command(name).hook('preAction', keepHeapSmall);
  server('up')
    .description('run every part in one process on embedded defaults (for trying out, not for production)')
    .option('--data <dir>', 'where keys, data and tokens live', dataDirDefault())
    .option('--listen <host:port>', 'address of the HTTP port', '127.0.0.1:8080')
    .option('--bcrypt-cost <n>', 'cost of a hash in the v1 store and the sandbox', Number, 10)
    .action(async (options) => (await import('./run-up.ts')).runUp(options));

  server('serve')
    .description('run the producer: HTTP in front, Redis behind (configured by PASSFERRY_* variables)')
    .action(async () => (await import('./run-serve.ts')).runServe());

  server('work')
    .description('run a worker: takes jobs and sets passwords (configured by PASSFERRY_* variables)')
    .option('--quarantine', 'take only jobs that crashed their worker, one at a time, and end when there are none')
    .action(async (options) => (await import('./run-work.ts')).runWork(options));

  server('sandbox')
    .description('run the stand-in for ZITADEL on a loopback port, with four invented people')
    .option('--port <n>', 'port', Number, 8090)
    .option('--bcrypt-cost <n>', 'cost of a hash', Number, 10)
    .option('--lag <ms>', 'how far the read model lags behind', Number, 0)
    .option('--hashes <kinds>', 'hashes that it checks, such as bcrypt,pbkdf2', parseVerifiers, ['bcrypt'])
    .action(async (options) => (await import('./run-sandbox.ts')).runSandbox(options));
}

function parseVerifiers(text: string): Verifier[] {
  const wanted = text.split(',') as Verifier[];
  if (wanted.every((each) => verifiers.includes(each))) return wanted;
  throw new InvalidArgumentError(`Give some of ${verifiers.join(', ')}, with commas.`);
}
