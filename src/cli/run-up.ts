import { createLog } from '../log.ts';
import { untilStopped } from './until-stopped.ts';
import { type Up, up } from './up.ts';
import { sampleOrgs, samplePeople } from './up-people.ts';

/** `passferry up`. */
export async function runUp(options: { data: string; listen: string; bcryptCost: number }): Promise<void> {
  const { data: dataDir, listen, bcryptCost } = options;
  const log = createLog(process.env.PASSFERRY_LOG_LEVEL ?? 'warn', 'up');
  const running = await up({ dataDir, listen, bcryptCost, log });
  process.stdout.write(welcome(running));
  await untilStopped(() => running.close());
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
