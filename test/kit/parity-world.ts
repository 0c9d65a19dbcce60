import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import type { Backend } from '../../src/adapters/port.ts';
import { createV1Postgres, pgliteClient } from '../../src/adapters/v1-postgres/index.ts';
import { createV1Zitadel } from '../../src/adapters/v1-zitadel/index.ts';
import { createV2Zitadel } from '../../src/adapters/v2-zitadel/index.ts';
import { loadServeConfig, loadWorkConfig } from '../../src/config.ts';
import { credential } from '../../src/credential.ts';
import { createKeyFiles } from '../../src/key-files.ts';
import { hashToken } from '../../src/producer/callers.ts';
import type { Sandbox } from '../../src/sandbox/sandbox.ts';
import { startSandbox } from '../../src/sandbox/sandbox.ts';
import { Secret } from '../../src/secret.ts';
import { serve } from '../../src/serve.ts';
import { work } from '../../src/work.ts';
import { atEnd, tempDir } from './files.ts';
import type { TestRedis } from './redis.ts';
import { startRedis } from './redis.ts';

/** Token of the one caller: it sets in acme (its home) and globex, only reads in reading, and has nothing elsewhere. */
export const callerToken = 'pf_test-parity';
const workerToken = 'token-of-the-worker';

/** Known to everybody: acme, globex, reading; initech belongs to another caller; staged only has a stage, unheard is only in ZITADEL. */
const orgs = ['acme', 'globex', 'reading', 'initech', 'staged', 'unheard'];

export interface ParityUser {
  id: string;
  org: string;
  state?: 'active' | 'locked' | 'inactive' | 'initial' | 'deleted';
  machine?: boolean;
  roles?: string[];
  password: string;
}

/** A place that answers the deprecated call, and the hands that reach behind it. */
export interface ParityWorld {
  name: 'v1-postgres' | 'v1-zitadel' | 'v2-zitadel' | 'reference';
  url: string;
  addUser(user: ParityUser): Promise<void>;
  works(org: string, id: string, password: string): Promise<boolean>;
  changeRequired(org: string, id: string): Promise<boolean | undefined>;
}

/** Passferry over each of the three backends, and the sandbox itself: the management API as ZITADEL serves it. */
export async function startParityWorlds(): Promise<ParityWorld[]> {
  const redis = await startRedis();
  const keysDir = join(tempDir(), 'keys');
  await createKeyFiles(keysDir);
  const callersFile = join(keysDir, 'callers.json');
  writeFileSync(callersFile, JSON.stringify(callers));
  const shared = { redis, keysDir, callersFile };
  return Promise.all([postgresWorld(shared), zitadelWorld('v1', shared), zitadelWorld('v2', shared), referenceWorld()]);
}

interface Shared {
  redis: TestRedis;
  keysDir: string;
  callersFile: string;
}

const callers = {
  callers: [
    {
      name: 'parity',
      home: 'acme',
      tokenSha256: hashToken(callerToken),
      grants: { acme: ['set'], globex: ['set'], reading: ['read'] },
    },
    { name: 'other', home: 'initech', tokenSha256: hashToken('pf_test-other'), grants: { initech: ['set'] } },
  ],
};

async function postgresWorld(shared: Shared): Promise<ParityWorld> {
  const v1 = await createV1Postgres({ sql: await pgliteClient(), bcryptCost: 4 });
  await v1.migrate();
  const url = await startPassferry('v1', v1, 'parity-v1-postgres', shared);
  return {
    name: 'v1-postgres',
    url,
    addUser: async ({ machine = false, ...user }) => void (await v1.addUsers([{ ...user, isMachine: machine }])),
    works: (org, id, password) => v1.prove(org, id, Secret.fromString(password), AbortSignal.timeout(5_000)),
    changeRequired: async (org, id) => (await v1.readUser(org, id, AbortSignal.timeout(5_000))).changeRequired,
  };
}

async function zitadelWorld(name: 'v1' | 'v2', shared: Shared): Promise<ParityWorld> {
  const sandbox = await startZitadel();
  const options = { url: sandbox.url, credential: credential({ value: workerToken }), deadlineMs: 5_000 };
  const backend = name === 'v1' ? createV1Zitadel(options) : createV2Zitadel(options);
  const url = await startPassferry(name, backend, `parity-${name}-zitadel`, shared);
  return { name: `${name}-zitadel`, url, ...handsIn(sandbox) };
}

async function referenceWorld(): Promise<ParityWorld> {
  const sandbox = await startZitadel();
  return { name: 'reference', url: sandbox.url, ...handsIn(sandbox) };
}

async function startZitadel(): Promise<Sandbox> {
  const mine = { acme: ['ORG_OWNER'], globex: ['ORG_OWNER'], reading: ['ORG_OWNER_VIEWER'] };
  const sandbox = await startSandbox({
    bcryptCost: 4,
    orgs,
    tokens: {
      [workerToken]: { userId: 'worker', roles: { instance: ['IAM_OWNER'] } },
      [callerToken]: { userId: 'caller', roles: { orgs: mine } },
    },
    users: [{ id: 'caller', org: 'acme', userName: 'caller', machine: true }],
  });
  atEnd(sandbox.close);
  return sandbox;
}

function handsIn(sandbox: Sandbox): Pick<ParityWorld, 'addUser' | 'works' | 'changeRequired'> {
  return {
    async addUser({ machine = false, state = 'active', id, org, password, roles = [] }) {
      if (state === 'deleted') throw new Error('the sandbox keeps no deleted users');
      await sandbox.addUser({ id, org, userName: id, state, machine, roles, ...(!machine && { password }) });
    },
    works: (_org, id, password) => sandbox.verify(id, password),
    changeRequired: async (_org, id) => sandbox.users.get(id)?.changeRequired,
  };
}

/** Producer and worker over one backend, which every organization is on. */
async function startPassferry(name: 'v1' | 'v2', backend: Backend, namespace: string, shared: Shared): Promise<string> {
  const log = pino({ level: 'silent' });
  const common = {
    PASSFERRY_REDIS_URL: shared.redis.url,
    PASSFERRY_KEYS_DIR: shared.keysDir,
    PASSFERRY_NAMESPACE: namespace,
    PASSFERRY_STAGES: JSON.stringify({ default: name, organizations: { staged: name } }),
  };
  const config = loadWorkConfig({
    ...common,
    // The backend is handed over below; these only satisfy the check.
    PASSFERRY_V1_URL: 'postgres://127.0.0.1/embedded',
    PASSFERRY_V2_URL: 'http://127.0.0.1:1',
    PASSFERRY_V2_TOKEN: workerToken,
    PASSFERRY_V2_DEADLINE: '5s',
  });
  const worker = await work(config, { [name]: backend }, log);
  atEnd(worker.close);
  await worker.ready;
  const serving = await serve(
    loadServeConfig({
      ...common,
      PASSFERRY_LISTEN: '127.0.0.1:0',
      PASSFERRY_CALLERS_FILE: shared.callersFile,
      PASSFERRY_CALLER_RATE: 'off',
      PASSFERRY_AUTH_FAILURES: 'off',
    }),
    log,
  );
  atEnd(serving.close);
  return serving.url;
}
