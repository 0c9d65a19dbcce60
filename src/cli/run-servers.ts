import { randomBytes } from 'node:crypto';
import { loadServeConfig, loadWorkConfig } from '../config.ts';
import type { Verifier } from '../hashes/kinds.ts';
import { createLog } from '../log.ts';
import { quarantineProcess } from '../quarantine-process.ts';
import { startSandbox } from '../sandbox/sandbox.ts';
import { serve } from '../serve.ts';
import { openBackends, work } from '../work.ts';
import { untilStopped } from './until-stopped.ts';
import { type Up, up } from './up.ts';
import { sampleOrgs, samplePassword, samplePeople } from './up-people.ts';

/** `passferry up`. */
export async function runUp(options: { data: string; listen: string; bcryptCost: number }): Promise<void> {
  const { data: dataDir, listen, bcryptCost } = options;
  const log = createLog(process.env.PASSFERRY_LOG_LEVEL ?? 'warn', 'up');
  const running = await up({ dataDir, listen, bcryptCost, log });
  process.stdout.write(welcome(running));
  await untilStopped(() => running.close());
}

/** `passferry serve`. */
export async function runServe(): Promise<void> {
  const config = loadServeConfig(process.env);
  const serving = await serve(config, createLog(config.PASSFERRY_LOG_LEVEL, 'serve'));
  await untilStopped(() => serving.close());
}

/** `passferry work`. */
export async function runWork({ quarantine: inside }: { quarantine?: boolean }): Promise<void> {
  const config = loadWorkConfig(process.env);
  const log = createLog(config.PASSFERRY_LOG_LEVEL, inside ? 'quarantine' : 'work');
  const way = inside ? ({ kind: 'inside' } as const) : quarantineProcess(process.env);
  const worker = await work(config, await openBackends(config, log), log, way);
  await untilStopped(() => worker.close(), worker.idle);
}

interface SandboxOptions {
  port: number;
  bcryptCost: number;
  /** Milliseconds. */
  lag: number;
  hashes: Verifier[];
}

/** `passferry sandbox`. */
export async function runSandbox({ port, bcryptCost, lag, hashes }: SandboxOptions): Promise<void> {
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
}

function welcome({ url, metricsUrl, tokenFile, table, orgs, sandbox: { url: sandboxUrl } }: Up): string {
  const user = table === undefined ? samplePeople[0]?.id : 'USER-ID';
  const v1 =
    table === undefined
      ? `embedded PostgreSQL (PGlite), organization "${sampleOrgs.v1}"`
      : `PostgreSQL, table ${JSON.stringify(table)} by PASSFERRY_V1_MAPPING, organizations ${JSON.stringify(orgs)}`;
  return `Passferry is up.

  HTTP     ${url}
  v1       ${v1}
  v2       SANDBOX at ${sandboxUrl}, not ZITADEL, organization "${sampleOrgs.v2}"
  token    in ${tokenFile}${metricsUrl ? `\n  numbers  ${metricsUrl}` : ''}

Try it in another terminal:

  curl -sS ${url}/users/${user}/password \\
    -H "Authorization: Bearer $(cat ${tokenFile})" \\
    -d '{"password":"New-password-1"}'

Ctrl-C stops it; the data stays.
`;
}
