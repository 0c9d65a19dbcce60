import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createV2Zitadel } from '../adapters/v2-zitadel/index.ts';
import { startAdmin } from '../admin.ts';
import { loadServeConfig, loadWorkConfig } from '../config.ts';
import { credential } from '../credential.ts';
import { startEmbeddedRedis } from '../embedded/redis.ts';
import { verifiers } from '../hashes/kinds.ts';
import { createKeyFiles } from '../key-files.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { hashToken } from '../producer/callers.ts';
import { type Sandbox, startSandbox } from '../sandbox/sandbox.ts';
import { serve } from '../serve.ts';
import { work } from '../work.ts';
import { sampleOrgs, samplePassword, samplePeople } from './up-people.ts';
import { openUpV1, type UpV1, v1Settings } from './up-v1.ts';

export interface UpOptions {
  /** Everything lives here: keys, Redis data, the v1 store, tokens. */
  dataDir: string;
  /** host:port of the HTTP port. Port 0 takes a free one. */
  listen: string;
  bcryptCost: number;
  log: Log;
  /** A Redis that is already there, instead of a private one. */
  redisUrl?: string | undefined;
}

/** All parts in one process on embedded defaults. */
export interface Up extends UpV1 {
  url: string;
  /** Where the numbers for Prometheus are, if they are on (PASSFERRY_ADMIN_LISTEN). */
  metricsUrl?: string;
  tokenFile: string;
  sandbox: Sandbox;
  close(): Promise<void>;
}

/**
 * A private Redis, the v1 store on PGlite (or a mapped table, by PASSFERRY_V1_MAPPING and PASSFERRY_V1_URL), the sandbox as v2, the
 * producer and a worker. Releases in reverse order.
 */
export async function up({ dataDir, listen, bcryptCost, log, redisUrl }: UpOptions): Promise<Up> {
  const v1Env = v1Settings(process.env);
  const dir = resolve(dataDir);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const releases: (() => Promise<unknown>)[] = [];
  const close = async () => {
    for (const release of releases.reverse().splice(0)) await release();
  };
  try {
    const keysDir = join(dir, 'keys');
    await createKeyFiles(keysDir);
    const token = secretFile(join(dir, 'token'), () => `pf_${randomBytes(24).toString('base64url')}`);
    const v2Token = secretFile(join(dir, 'v2-token'), () => randomBytes(24).toString('base64url'));

    const redis = redisUrl ? undefined : await startEmbeddedRedis({ dir: join(dir, 'redis') });
    if (redis) releases.push(() => redis.stop());

    const shared = {
      // Another address than loopback only when that is said twice: --listen, and PASSFERRY_ALLOW_INSECURE=listen.
      PASSFERRY_ALLOW_INSECURE: process.env.PASSFERRY_ALLOW_INSECURE,
      PASSFERRY_WEBHOOK_ALLOW: process.env.PASSFERRY_WEBHOOK_ALLOW,
      PASSFERRY_ADMIN_LISTEN: process.env.PASSFERRY_ADMIN_LISTEN,
      PASSFERRY_REDIS_URL: redisUrl ?? redis?.url,
      PASSFERRY_KEYS_DIR: keysDir,
      PASSFERRY_STAGES: JSON.stringify({ default: 'v1', organizations: { [sampleOrgs.v2]: 'v2' } }),
    };
    const workConfig = loadWorkConfig({
      ...shared,
      ...v1Env,
      // The sandbox is handed over below; its address only satisfies the check.
      PASSFERRY_V2_URL: 'http://127.0.0.1',
      PASSFERRY_V2_TOKEN_FILE: join(dir, 'v2-token'),
    });
    const opened = await openUpV1(workConfig, dir, bcryptCost, log);
    const { v1, table } = opened;
    releases.push(() => v1.close());
    const orgs = [...new Set([...opened.orgs, sampleOrgs.v2])];
    const callersFile = join(dir, 'callers.json');
    writeOnce(callersFile, JSON.stringify(sampleCallers(token, orgs), null, 2));

    const sandbox = await startSandbox({
      bcryptCost,
      // To try any file: as installed a ZITADEL checks bcrypt only.
      verifiers,
      tokens: { [v2Token]: { userId: 'passferry', roles: { instance: ['IAM_OWNER'] } } },
      orgs,
      // Those of v1 are known here too, and cannot log in: they can be brought over.
      users: samplePeople.flatMap((p) =>
        p.org === sampleOrgs.v2 ? [{ ...p, password: samplePassword }] : table === undefined ? [p] : [],
      ),
    });
    releases.push(() => sandbox.close());
    const v2 = createV2Zitadel({
      url: sandbox.url,
      credential: credential({ file: join(dir, 'v2-token') }),
      verifiers,
    });
    // One port for the numbers of both parts.
    const numbers: Metrics[] = [];
    const worker = await work(workConfig, { v1, v2 }, log, undefined, numbers);
    releases.push(() => worker.close());
    await worker.ready;

    const serving = await serve(
      loadServeConfig({ ...shared, PASSFERRY_LISTEN: listen, PASSFERRY_CALLERS_FILE: callersFile }),
      log,
      numbers,
    );
    releases.push(() => serving.close());
    const { PASSFERRY_ADMIN_LISTEN: adminListen } = workConfig;
    const admin = adminListen && (await startAdmin(adminListen, numbers));
    if (admin) releases.push(async () => admin.close());
    const tokenFile = join(dir, 'token');
    writeFileSync(join(dir, 'client.json'), JSON.stringify({ url: serving.url, tokenFile }), { mode: 0o600 });
    return { ...opened, url: serving.url, ...(admin && { metricsUrl: admin.url }), tokenFile, sandbox, close };
  } catch (error) {
    await close();
    throw error;
  }
}

function sampleCallers(token: string, orgs: string[]): object {
  const everything = ['set', 'import', 'read', 'admin'];
  const grants = Object.fromEntries(orgs.map((org) => [org, everything]));
  return {
    callers: [{ name: 'you', tokenSha256: hashToken(token), home: orgs[0], grants: { ...grants, '*': ['operate'] } }],
  };
}

function secretFile(path: string, make: () => string): string {
  writeOnce(path, `${make()}\n`);
  return readFileSync(path, 'utf8').trim();
}

function writeOnce(path: string, text: string): void {
  if (existsSync(path)) return;
  writeFileSync(path, text, { mode: 0o600 });
  chmodSync(path, 0o600);
}
