import { join } from 'node:path';
import {
  createV1Postgres,
  loadMapping,
  pgliteClient,
  type V1Mapped,
  type V1Postgres,
} from '../adapters/v1-postgres/index.ts';
import type { Environment, WorkConfig } from '../config.ts';
import { PassferryError } from '../errors.ts';
import type { Log } from '../log.ts';
import { openV1 } from '../work.ts';
import { sampleOrgs, samplePassword, samplePeople } from './up-people.ts';

/** v1 of `passferry up`, and what is told of it. */
export interface UpV1 {
  v1: V1Postgres | V1Mapped;
  /** Organizations that it has; the first one is the home of the caller. */
  orgs: string[];
  /** The table of an application; absent: our own embedded store. */
  table?: string;
}

/** Rows of a mapped table whose organizations are looked for. */
const looked = 500;
const readMs = 15_000;
const settings = ['PASSFERRY_V1_URL', 'PASSFERRY_V1_URL_FILE', 'PASSFERRY_V1_MIGRATE', 'PASSFERRY_V1_BCRYPT_COST'];

/**
 * What configures v1: the table of an application when a mapping is given, else only what satisfies the check, for the embedded store is
 * handed over. Error: `config_invalid` for a mapping without its PostgreSQL, before anything is started.
 */
export function v1Settings(env: Environment): Environment {
  const { PASSFERRY_V1_MAPPING: mapping } = env;
  if (!mapping) return { PASSFERRY_V1_URL: 'postgres://127.0.0.1/embedded' };
  if (!env.PASSFERRY_V1_URL && !env.PASSFERRY_V1_URL_FILE) {
    throw new PassferryError('config_invalid', {
      message:
        'PASSFERRY_V1_MAPPING goes with a PostgreSQL in PASSFERRY_V1_URL: the embedded store has tables of its own.',
    });
  }
  return { PASSFERRY_V1_MAPPING: mapping, ...Object.fromEntries(settings.map((name) => [name, env[name]])) };
}

/** Opens it; the embedded one with its people. A table that does not fit, or cannot be read, stops the start. */
export async function openUpV1(config: WorkConfig, dir: string, bcryptCost: number, log: Log): Promise<UpV1> {
  const { PASSFERRY_V1_MAPPING: path, PASSFERRY_V1_URL: url } = config;
  if (path === undefined || url === undefined) {
    const v1 = await createV1Postgres({ sql: await pgliteClient(join(dir, 'v1')), bcryptCost });
    await v1.migrate();
    const people = samplePeople.filter(({ org }) => org === sampleOrgs.v1);
    await v1.addUsers(people.map((person) => ({ ...person, password: samplePassword })));
    return { v1, orgs: [sampleOrgs.v1] };
  }
  const { table, organization } = loadMapping(path).mapping;
  const v1 = await openV1(config, url, log);
  try {
    if ('constant' in organization) {
      return { v1, table, orgs: [organization.constant] };
    }
    const { users, leftOut = [] } = await v1.users(undefined, looked, AbortSignal.timeout(readMs));
    const orgs = [...users, ...leftOut].flatMap(({ org }) => (org === undefined ? [] : [org]));
    return { v1, table, orgs: [...new Set(orgs)].sort() };
  } catch (error) {
    await v1.close();
    throw error;
  }
}
