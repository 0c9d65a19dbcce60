import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { loadServeConfig, loadWorkConfig } from '../src/config.ts';
import { tempDir } from './kit/files.ts';

interface Service {
  image?: string;
  user?: string;
  command?: string[];
  environment?: Record<string, string | number>;
  secrets?: (string | { source: string; target: string })[];
  volumes?: string[];
  networks?: string[];
  ports?: string[];
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: { test: string[] };
  [key: string]: unknown;
}

interface Compose {
  services: Record<'redis' | 'postgres' | 'serve' | 'work', Service>;
  networks: Record<string, { internal?: boolean }>;
  volumes: Record<string, unknown>;
  secrets: Record<string, { file: string }>;
}

const path = (name: string) => fileURLToPath(new URL(`../${name}`, import.meta.url));
const text = (name: string) => readFileSync(path(name), 'utf8');
const compose = parse(text('docker-compose.yml'), { merge: true }) as Compose;
const services = Object.entries(compose.services);
const { redis, postgres, serve, work } = compose.services;
const validate = new Ajv({ allErrors: true, allowUnionTypes: true, strictTuples: false }).compile(
  JSON.parse(text('test/fixtures/compose-schema.json')),
);
const sourceOf = (secret: string | { source: string }) => (typeof secret === 'string' ? secret : secret.source);

describe('docker-compose.yml', () => {
  test('is what the Compose specification allows', () => {
    validate(compose);
    expect(validate.errors).toBeNull();
  });

  test('the schema finds what it does not allow', () => {
    const wrong = structuredClone(compose);
    wrong.services.serve.no_such_key = 1;
    wrong.services.work.stop_grace_period = '30 seconds';
    validate(wrong);
    expect(validate.errors?.map(({ instancePath }) => instancePath)).toEqual([
      '/services/serve',
      '/services/work/stop_grace_period',
    ]);
  });

  test('every name it refers to is declared, and every declared one is used', () => {
    const used = (of: (service: Service) => string[]) => [...new Set(services.flatMap(([, each]) => of(each)))].sort();
    const declared = (names: object) => Object.keys(names).sort();
    expect(used((each) => (each.secrets ?? []).map(sourceOf))).toEqual(declared(compose.secrets));
    expect(used((each) => each.networks ?? [])).toEqual(declared(compose.networks));
    expect(used((each) => (each.volumes ?? []).map((v) => v.split(':')[0] ?? ''))).toEqual(declared(compose.volumes));
    for (const name of used((each) => Object.keys(each.depends_on ?? {})))
      expect(compose.services).toHaveProperty(name);
  });

  test.each(services)(
    '%s runs without privileges, leaves no core file, has a health check and time to stop',
    (_, service) => {
      expect(service).toMatchObject({
        read_only: true,
        cap_drop: ['ALL'],
        security_opt: ['no-new-privileges:true'],
        ulimits: { core: 0 },
        stop_grace_period: '30s',
        healthcheck: { test: expect.any(Array) },
      });
      expect(service.user).toMatch(/^(node|redis|postgres)$/);
    },
  );

  test('Redis confirms only what is on disk, evicts nothing, and asks for a password', () => {
    const command = redis.command?.join(' ') ?? '';
    for (const setting of [
      '--appendonly yes',
      '--appendfsync always',
      '--maxmemory-policy noeviction',
      'requirepass',
    ]) {
      expect(command).toContain(setting);
    }
    expect(redis.volumes).toEqual(['redis-data:/data']);
    expect(postgres.image).toBe('postgres:16');
    expect(postgres.volumes).toEqual(['postgres-data:/var/lib/postgresql/data']);
  });

  test('the script of Redis is one that the shell takes, once Compose has undone its dollars', () => {
    const [shell, , script = ''] = redis.command ?? [];
    const health = redis.healthcheck?.test[1] ?? '';
    for (const each of [script, health]) {
      expect(each.replaceAll('$$', '')).not.toContain('$');
      expect(spawnSync(shell ?? '', ['-n', '-c', each.replaceAll('$$', '$')]).status).toBe(0);
    }
  });

  test('serve and work get exactly the settings they need', () => {
    expect(serve.command).toEqual(['serve']);
    expect(Object.keys(serve.environment ?? {}).sort()).toEqual([
      'PASSFERRY_ALLOW_INSECURE',
      'PASSFERRY_CALLERS_FILE',
      'PASSFERRY_KEYS_DIR',
      'PASSFERRY_LISTEN',
      'PASSFERRY_REDIS_URL_FILE',
      'PASSFERRY_STAGES',
    ]);
    expect(work.command).toEqual(['work']);
    expect(Object.keys(work.environment ?? {}).sort()).toEqual([
      'PASSFERRY_ALLOW_INSECURE',
      'PASSFERRY_HEALTH_LISTEN',
      'PASSFERRY_KEYS_DIR',
      'PASSFERRY_REDIS_URL_FILE',
      'PASSFERRY_STAGES',
      'PASSFERRY_V1_MIGRATE',
      'PASSFERRY_V1_URL_FILE',
      'PASSFERRY_V2_TOKEN_FILE',
      'PASSFERRY_V2_URL',
      'UV_THREADPOOL_SIZE',
    ]);
    expect(serve.depends_on).toEqual({ redis: { condition: 'service_healthy' } });
    expect(work.depends_on).toEqual({
      redis: { condition: 'service_healthy' },
      postgres: { condition: 'service_healthy' },
    });
  });

  test('the configuration takes these settings, with the secrets as the head of the file makes them', () => {
    const settings = ({ environment = {} }: Service, extra: Record<string, string>) => ({
      ...Object.fromEntries(
        Object.entries(environment)
          .filter(([name]) => !/_(URL|TOKEN)_FILE$/.test(name))
          .map(([name, value]) => [name, String(value).replace(/^\$\{\w+:-(.*)\}$/, '$1')]),
      ),
      PASSFERRY_REDIS_URL: 'redis://:0123@redis:6379',
      // Whatever is there: the containers' own paths are checked above.
      PASSFERRY_KEYS_DIR: path('test'),
      PASSFERRY_CALLERS_FILE: path('package.json'),
      ...extra,
    });
    expect(loadServeConfig(settings(serve, {})).PASSFERRY_STAGES.default).toBe('v1');
    const secrets = {
      PASSFERRY_V1_URL: 'postgres://passferry:0123@postgres:5432/passferry',
      PASSFERRY_V2_URL: 'https://zitadel.example.com',
      PASSFERRY_V2_TOKEN: 't',
    };
    expect(loadWorkConfig(settings(work, secrets)).PASSFERRY_V1_MIGRATE).toBe('true');
  });

  test('every file that a setting names is a secret of that very container', () => {
    for (const [, { environment = {}, secrets = [] }] of services) {
      const mounted = secrets.map((each) => (typeof each === 'string' ? each : each.target));
      const files = mounted.map((target) => (target.startsWith('/') ? target : `/run/secrets/${target}`));
      for (const [name, value] of Object.entries(environment)) {
        if (name.endsWith('_FILE')) expect(files).toContain(value);
        if (/PASSWORD|TOKEN|(REDIS|V1)_URL/.test(name)) expect(name).toMatch(/_FILE$/);
      }
    }
  });

  test('serve cannot open passwords, and work has no key of fingerprints', () => {
    expect((serve.secrets ?? []).map(sourceOf)).not.toContain('key_private');
    expect((work.secrets ?? []).map(sourceOf)).not.toContain('key_fingerprint');
  });

  test('the servers are inside only, and the API is on loopback', () => {
    expect(compose.networks.inside).toEqual({ internal: true });
    for (const server of [redis, postgres]) expect(server).toMatchObject({ networks: ['inside'] });
    expect(services.flatMap(([, { ports = [] }]) => ports)).toEqual(['127.0.0.1:8080:8080']);
  });

  test.each([
    ['serve', serve, 8080],
    ['work', work, 8081],
  ])('%s is asked for its health where it listens', (_, service, port) => {
    const { PASSFERRY_LISTEN, PASSFERRY_HEALTH_LISTEN } = service.environment ?? {};
    expect(PASSFERRY_LISTEN ?? PASSFERRY_HEALTH_LISTEN).toMatch(new RegExp(`:${port}$`));
    const [, node, flag, code = ''] = service.healthcheck?.test ?? [];
    expect([node, flag]).toEqual(['node', '-e']);
    expect(code).toContain(`http://127.0.0.1:${port}/healthz`);
    // Nobody listens here, so the check itself must say "not healthy".
    expect(spawnSync(process.execPath, ['-e', code.replace(String(port), '1')]).status).toBe(1);
  });
});

describe('Dockerfile', () => {
  const last =
    text('Dockerfile')
      .split(/^FROM /m)
      .at(-1) ?? '';

  test('ends in a small image of Node 20 that runs as node', () => {
    expect(last).toMatch(/^node:20-slim\n/);
    expect(last).toMatch(/^USER node$/m);
    expect(last).toMatch(/^ENV NODE_ENV=production$/m);
  });

  test('makes no core file, no diagnostic report and no heap snapshot, also when the environment asks for them', () => {
    const [shell = '', ...args] = JSON.parse(/^ENTRYPOINT (.+)$/m.exec(last)?.[1] ?? '[]') as string[];
    const cwd = tempDir();
    mkdirSync(`${cwd}/dist/cli`, { recursive: true });
    // In the place of ours: tells how it was started.
    writeFileSync(
      `${cwd}/dist/cli/main.js`,
      `const { reportOnFatalError, reportOnSignal, reportOnUncaughtException } = process.report;
       const [, core] = /Max core file size +(\\S+ +\\S+)/.exec(require('fs').readFileSync('/proc/self/limits', 'utf8'));
       const { NODE_OPTIONS } = process.env;
       const reports = [reportOnFatalError, reportOnSignal, reportOnUncaughtException];
       console.log(JSON.stringify({ core, reports, NODE_OPTIONS, flags: process.execArgv, args: process.argv.slice(2) }));`,
    );
    const NODE_OPTIONS = '--report-on-signal --report-uncaught-exception --heapsnapshot-signal=SIGUSR2';
    const env = { ...process.env, NODE_OPTIONS };
    const { stdout } = spawnSync(shell, [...args, 'set', 'a b', '--org', '$x'], { cwd, env, encoding: 'utf8' });
    expect(JSON.parse(stdout)).toEqual({
      core: expect.stringMatching(/^0 +0$/),
      reports: [false, false, false],
      flags: ['--no-report-on-fatalerror', '--no-report-on-signal', '--no-report-uncaught-exception'],
      args: ['set', 'a b', '--org', '$x'],
    });
  });

  test('everything it copies exists and is let through by .dockerignore, and nothing else is', () => {
    const copied = [...text('Dockerfile').matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, names = '']) =>
      names.split(' '),
    );
    const allowed = text('.dockerignore')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    for (const name of copied) expect(existsSync(path(name)), name).toBe(true);
    expect(allowed).toEqual(['*', ...copied.map((name) => `!${name}`)]);
  });
});

test('.ci/run is executable, installs from the lock and runs the tests', () => {
  expect(statSync(path('.ci/run')).mode & 0o111).not.toBe(0);
  expect(text('.ci/run').trim().split('\n').slice(-2)).toEqual(['npm ci', 'npm test']);
});
