import { existsSync, readFileSync } from 'node:fs';

export type Environment = Record<string, string | undefined>;

/** `NAME_FILE` holds the path of a file with the value: secrets need not stand in the environment. */
export function withFiles(env: Environment, problems: string[]): Environment {
  const given: Environment = {};
  for (const [name, value] of Object.entries(env))
    if (name.startsWith('PASSFERRY_') && value !== '') given[name] = value;
  for (const name of ['PASSFERRY_REDIS_URL', 'PASSFERRY_V1_URL', 'PASSFERRY_STAGES']) {
    const file = given[`${name}_FILE`];
    if (!file || given[name]) continue;
    try {
      given[name] = readFileSync(file, 'utf8').trim();
    } catch {
      problems.push(`${name}_FILE cannot be read`);
    }
  }
  return given;
}

/** Files that a setting names and that are not there; said together with everything else. */
export function missingFiles(given: Environment, takes: (name: string) => boolean): string[] {
  return [
    'PASSFERRY_CALLERS_FILE',
    'PASSFERRY_OIDC_MAPPING_FILE',
    'PASSFERRY_OIDC_CLIENT_SECRET_FILE',
    'PASSFERRY_KEYS_DIR',
    'PASSFERRY_TLS_CERT_FILE',
    'PASSFERRY_TLS_KEY_FILE',
    'PASSFERRY_V1_TOKEN_FILE',
    'PASSFERRY_V1_MAPPING',
    'PASSFERRY_V2_TOKEN_FILE',
  ]
    .filter((name) => takes(name) && given[name] !== undefined && !existsSync(given[name]))
    .map((name) => `${name} names something that does not exist`);
}
