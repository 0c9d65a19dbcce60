import { randomBytes } from 'node:crypto';
import type { Verifier } from '../hashes/kinds.ts';
import { startSandbox } from '../sandbox/sandbox.ts';
import { untilStopped } from './until-stopped.ts';
import { sampleOrgs, samplePassword, samplePeople } from './up-people.ts';

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
