import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import type { Backend } from '../../src/adapters/port.ts';
import type { NewUser } from '../../src/adapters/v1-postgres/index.ts';
import { createV1Postgres, pgliteClient } from '../../src/adapters/v1-postgres/index.ts';
import { createV2Zitadel } from '../../src/adapters/v2-zitadel/index.ts';
import type { WorkConfig } from '../../src/config.ts';
import { loadServeConfig, loadWorkConfig } from '../../src/config.ts';
import { credential } from '../../src/credential.ts';
import type { JobView } from '../../src/job.ts';
import { createKeyFiles, readJobKey, readPrivateKeys } from '../../src/key-files.ts';
import { redisKeys } from '../../src/keys.ts';
import { dataKeyStore } from '../../src/ledger/data-keys.ts';
import type { Log } from '../../src/log.ts';
import { describeError } from '../../src/log.ts';
import { hashToken } from '../../src/producer/callers.ts';
import { connectRedis } from '../../src/redis.ts';
import type { UserSeed } from '../../src/sandbox/sandbox.ts';
import { startSandbox } from '../../src/sandbox/sandbox.ts';
import { Secret } from '../../src/secret.ts';
import { serve } from '../../src/serve.ts';
import { work } from '../../src/work.ts';
import { createWorker } from '../../src/worker/worker.ts';
import { atEnd, tempDir } from './files.ts';
import type { FaultProxy } from './proxy.ts';
import { startProxy } from './proxy.ts';
import { startRedis } from './redis.ts';
import { waitFor } from './wait.ts';

/** Who may call: `full` sets, imports and reads in both organizations, `reader` only reads in acme, `admin` everything. */
export const tokens = { full: 'pf_test-full', reader: 'pf_test-reader', admin: 'pf_test-admin' } as const;
export type CallerName = keyof typeof tokens;

/** Service account of the worker in the sandbox. */
export const v2Token = 'token-of-the-worker';

/** Tests send more, and more bad tokens, than anybody else from one address. */
const unlimited = { PASSFERRY_CALLER_RATE: 'off', PASSFERRY_AUTH_FAILURES: 'off' };

export interface PassferryOptions {
  /** Fault proxies in front of Redis and the sandbox. Default none. */
  proxies?: boolean;
  /** Deadline of one backend call, ms. Default 2,000. */
  deadlineMs?: number;
  /** How long a lost answer is looked for, ms. Default: the worker's own. */
  settleMs?: number;
  /** More arguments of redis-server. */
  redisExtra?: string[];
  /** Cost of the hashes in v1. Default 4; v2 takes none below 10. */
  v1Cost?: number;
  /** v2 mails users whose password was changed, as ZITADEL does by default. Default: it does not. */
  mails?: true;
  /** More environment of the producer. */
  serveEnv?: Record<string, string>;
  /** … and of the worker. */
  workEnv?: Record<string, string>;
}

export interface RequestOptions {
  /** Default `full`; null sends no token. */
  as?: CallerName | null;
  headers?: Record<string, string>;
}

export interface Answer {
  status: number;
  headers: Headers;
  /** Decoded JSON, undefined when there is none. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it by expectations
  body: any;
  text: string;
}

export type Passferry = Awaited<ReturnType<typeof startPassferry>>;

/**
 * All parts in this process on real sockets: a private Redis, the v1 store on PGlite (organization acme), the sandbox as
 * v2 (globex), a worker and the producer. Ended after the test file.
 */
export async function startPassferry(options: PassferryOptions = {}) {
  const { deadlineMs = 2_000 } = options;
  const lines: string[] = [];
  const log: Log = pino(
    { level: 'debug', serializers: { err: describeError, error: describeError } },
    { write: (line: string) => void lines.push(line) },
  );
  const keysDir = join(tempDir(), 'keys');
  await createKeyFiles(keysDir);
  const callersFile = join(keysDir, 'callers.json');
  writeFileSync(callersFile, JSON.stringify(callers()));

  const redis = await startRedis(options.redisExtra ? { extra: options.redisExtra } : {});
  const sandbox = await startSandbox({
    bcryptCost: 4,
    tokens: { [v2Token]: { userId: 'worker', roles: { instance: ['IAM_OWNER'] } } },
    orgs: ['acme', 'globex'],
    ...(!options.mails && { silentOrgs: ['acme', 'globex'] }),
  });
  const v1 = await createV1Postgres({ sql: await pgliteClient(), bcryptCost: options.v1Cost ?? 4 });
  await v1.migrate();

  let redisProxy: FaultProxy | undefined;
  let v2Proxy: FaultProxy | undefined;
  if (options.proxies) {
    redisProxy = await startProxy({ targetHost: '127.0.0.1', targetPort: redis.port });
    v2Proxy = await startProxy({ targetHost: '127.0.0.1', targetPort: sandbox.port });
  }
  const redisUrl = redisProxy ? `redis://127.0.0.1:${redisProxy.port}` : redis.url;
  const v2Url = v2Proxy ? `http://127.0.0.1:${v2Proxy.port}` : sandbox.url;

  const shared = {
    PASSFERRY_REDIS_URL: redisUrl,
    PASSFERRY_KEYS_DIR: keysDir,
    PASSFERRY_STAGES: JSON.stringify({ default: 'v1', organizations: { globex: 'v2' } }),
  };
  const config = loadWorkConfig({
    ...shared,
    // The stores are handed over below; these only satisfy the check.
    PASSFERRY_V1_URL: 'postgres://127.0.0.1/embedded',
    PASSFERRY_V2_URL: v2Url,
    PASSFERRY_V2_TOKEN: v2Token,
    PASSFERRY_V2_DEADLINE: `${deadlineMs}ms`,
    ...options.workEnv,
  });
  const v2 = createV2Zitadel({ url: v2Url, credential: credential({ value: v2Token }), deadlineMs });
  const backends = { v1, v2 };
  const { settleMs } = options;
  const worker = settleMs === undefined ? await work(config, backends, log) : workWith(config, backends, settleMs, log);
  await worker.ready;
  const serving = await serve(
    loadServeConfig({
      ...shared,
      PASSFERRY_LISTEN: '127.0.0.1:0',
      PASSFERRY_CALLERS_FILE: callersFile,
      ...unlimited,
      ...options.serveEnv,
    }),
    log,
  );

  const answers: string[] = [];
  async function send(method: string, path: string, body: unknown, { as = 'full', headers = {} }: RequestOptions = {}) {
    const response = await fetch(`${serving.url}${path}`, {
      method,
      headers: { ...(as && { authorization: `Bearer ${tokens[as]}` }), ...headers },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    answers.push(`${response.status} ${JSON.stringify([...response.headers])} ${text}`);
    const answer: Answer = { status: response.status, headers: response.headers, body: decode(text), text };
    return answer;
  }
  const get = (path: string, more: RequestOptions = {}) => send('GET', path, undefined, more);

  let closed = false;
  async function close(): Promise<void> {
    if (closed) return;
    closed = true;
    await redisProxy?.restore();
    await v2Proxy?.restore();
    await serving.close();
    await worker.close();
    await sandbox.close();
  }
  atEnd(close);

  return {
    url: serving.url,
    token: tokens.full,
    keysDir,
    redis,
    redisProxy,
    sandbox,
    v2Proxy,
    v1,
    /** Every log line of producer and worker, level debug and up. */
    lines,
    /** Status, headers and body of every answer that was given through this. */
    answers,
    send,
    /** A body that is no text is sent as JSON. */
    post: (path: string, body: unknown, more: RequestOptions = {}) => send('POST', path, body, more),
    get,
    /** The v1 call in an organization. */
    set: (org: string, user: string, password: string, more: RequestOptions = {}) =>
      send(
        'POST',
        `/management/v1/users/${encodeURIComponent(user)}/password`,
        { password },
        {
          ...more,
          headers: { 'x-zitadel-orgid': org, ...more.headers },
        },
      ),
    /** The job once it has its outcome. */
    done: (jobId: string, timeoutMs = 120_000): Promise<JobView> =>
      waitFor(
        async () => {
          const { body } = await get(`/jobs/${jobId}`);
          return body?.done ? (body as JobView) : undefined;
        },
        { what: `job ${jobId} to be done`, timeoutMs },
      ),
    addV1: (user: NewUser) => v1.addUsers([user]),
    addV2: (user: UserSeed) => sandbox.addUser(user),
    /** Adds a user with a password where the organization lives. */
    async addUser(org: 'acme' | 'globex', id: string, password = 'Old-password-1'): Promise<void> {
      if (org === 'acme') await v1.addUsers([{ id, org, password }]);
      else await sandbox.addUser({ id, org, userName: id, password });
    },
    /** Would a login work? Asks the store itself, past every proxy. */
    works: (org: string, user: string, password: string): Promise<boolean> =>
      org === 'globex'
        ? sandbox.verify(user, password)
        : v1.prove(org, user, Secret.fromString(password), AbortSignal.timeout(5_000)),
    close,
  };
}

/** `work` with the one setting that its configuration does not know. */
function workWith(config: WorkConfig, backends: { v1: Backend; v2: Backend }, settleMs: number, log: Log) {
  const keys = redisKeys('passferry');
  const connect = () => connectRedis({ url: config.PASSFERRY_REDIS_URL }, 'worker');
  const own = connect();
  const worker = createWorker({
    connect,
    keys,
    dataKeys: dataKeyStore(own, keys),
    privateKeys: readPrivateKeys(config.PASSFERRY_KEYS_DIR),
    jobKey: readJobKey(config.PASSFERRY_KEYS_DIR),
    retentionMs: config.PASSFERRY_RETENTION,
    backends: { v1: { backend: backends.v1, limit: 2 }, v2: { backend: backends.v2, limit: 8 } },
    stages: config.PASSFERRY_STAGES,
    deadlineMs: config.PASSFERRY_V2_DEADLINE,
    settleMs,
    log,
  });
  return {
    ...worker,
    async close() {
      await worker.close();
      own.disconnect();
      await Promise.all([backends.v1.close(), backends.v2.close()]);
    },
  };
}

function callers(): object {
  const grants = (...permissions: string[]) => ({ acme: permissions, globex: permissions });
  const granted = { full: grants('set', 'import', 'read'), reader: { acme: ['read'] }, admin: grants('admin') };
  return {
    callers: (Object.keys(tokens) as CallerName[]).map((name) => {
      return { name, home: 'acme', tokenSha256: hashToken(tokens[name]), grants: granted[name] };
    }),
  };
}

function decode(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
