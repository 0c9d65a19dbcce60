import { z } from 'zod';
import { parseNetwork } from './client-address.ts';
import { type Environment, missingFiles, withFiles } from './config/files.ts';
import { allows, insecureNames, isLoopback, unsafe, unsafeAdmin, unsafeRedis } from './config/unsafe.ts';
import { address, count, duration, json, list, quota, units, url } from './config/values.ts';
import { PassferryError } from './errors.ts';
import { type Verifier, verifiers } from './hashes/kinds.ts';
import { auditDefaults } from './ledger/audit.ts';
import { defaultOrgLimit } from './ledger/load.ts';
import { isAllowEntry } from './outgoing.ts';
import { follower, leader, stageNames } from './stage.ts';

export type { Environment } from './config/files.ts';
export { allows } from './config/unsafe.ts';

/** Reads the environment once, at an entry, into a frozen value; every problem is reported together, no value is echoed. */

const stage = z.enum(stageNames);
const stagesSchema = z.strictObject({ default: stage, organizations: z.record(z.string(), stage).default({}) });

const common = {
  PASSFERRY_REDIS_URL: url('redis:', 'rediss:'),
  PASSFERRY_NAMESPACE: z
    .string()
    .regex(/^[a-z0-9-]{1,32}$/, 'must have 1 to 32 of a-z, 0-9 and -')
    .default('passferry'),
  PASSFERRY_KEYS_DIR: z.string().min(1),
  PASSFERRY_RETENTION: duration.default(7 * units.d),
  PASSFERRY_STAGES: z
    .union([stage.transform((name) => ({ default: name, organizations: {} })), json(stagesSchema)])
    .default({ default: 'v1', organizations: {} }),
  /** Where webhooks may lead although it is not public, or not https. */
  PASSFERRY_WEBHOOK_ALLOW: list
    .refine((entries) => entries.every(isAllowEntry), { message: 'takes hosts, addresses and CIDRs' })
    .default([]),
  /** Numbers for Prometheus, without a token. */
  PASSFERRY_ADMIN_LISTEN: address.optional(),
  PASSFERRY_LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'silent']).default('info'),
  PASSFERRY_ALLOW_INSECURE: list
    .refine((names) => names.every((name) => (insecureNames as readonly string[]).includes(name)), {
      message: `takes ${insecureNames.join(', ')}`,
    })
    .default([]),
};

const serveSchema = z.object({
  ...common,
  PASSFERRY_LISTEN: address.default({ host: '127.0.0.1', port: 8080 }),
  PASSFERRY_TLS_CERT_FILE: z.string().min(1).optional(),
  PASSFERRY_TLS_KEY_FILE: z.string().min(1).optional(),
  PASSFERRY_CALLERS_FILE: z.string().min(1),
  PASSFERRY_OIDC_ISSUER: url('http:', 'https:').optional(),
  PASSFERRY_OIDC_AUDIENCE: z.string().min(1).optional(),
  PASSFERRY_OIDC_MAPPING_FILE: z.string().min(1).optional(),
  PASSFERRY_OIDC_CLIENT_ID: z.string().min(1).optional(),
  PASSFERRY_OIDC_CLIENT_SECRET_FILE: z.string().min(1).optional(),
  PASSFERRY_OIDC_ALGORITHMS: list
    .refine(
      (names) => names.length > 0 && names.every((name) => /^((RS|PS|ES)(256|384|512)|EdDSA|Ed25519)$/.test(name)),
      {
        message: 'takes asymmetric algorithms: RS256, PS256, ES256 (and 384, 512), EdDSA, Ed25519',
      },
    )
    .default(['RS256', 'ES256', 'EdDSA', 'PS256']),
  PASSFERRY_OIDC_LEEWAY: duration
    .refine((ms) => ms <= 5 * units.m, { message: 'must be at most 5m' })
    .default(30 * units.s),
  PASSFERRY_OIDC_CACHE: duration.refine((ms) => ms <= units.h, { message: 'must be at most 1h' }).default(30 * units.s),
  PASSFERRY_WAIT: duration.default(25 * units.s),
  PASSFERRY_AUDIT_RETENTION: duration.default(auditDefaults.retentionMs),
  PASSFERRY_AUDIT_MAX: count(100, 100_000_000).default(auditDefaults.max),
  PASSFERRY_STREAMS_PER_CALLER: count(1, 1_000_000).default(100),
  PASSFERRY_CALLER_RATE: quota.default({ count: 1_000, seconds: 5 }),
  PASSFERRY_CALLER_CONCURRENCY: count(1, 100_000).default(2_500),
  PASSFERRY_AUTH_FAILURES: quota.default({ count: 30, seconds: 60 }),
  PASSFERRY_MAX_CONNECTIONS: count(1, 1_000_000).default(10_000),
  PASSFERRY_TRUST_PROXY: list
    .transform((entries) => entries.map(parseNetwork))
    .refine((networks) => networks.every((each) => each !== undefined), { message: 'takes addresses and CIDRs' })
    .transform((networks) => networks.filter((each) => each !== undefined))
    .default([]),
  PASSFERRY_TRUST_PROXY_HEADER: z.enum(['x-forwarded-for', 'forwarded']).default('x-forwarded-for'),
  PASSFERRY_CORS_ORIGINS: list
    .refine((origins) => origins.every((each) => URL.canParse(each) && new URL(each).origin === each), {
      message: 'takes exact origins such as https://app.example.com, without a path',
    })
    .default([]),
  PASSFERRY_ORG_MAX_WAITING: count(1, 10_000_000).default(defaultOrgLimit.jobs),
  PASSFERRY_ORG_MAX_BYTES: count(1_000_000, Number.MAX_SAFE_INTEGER).default(defaultOrgLimit.bytes),
});

const workSchema = z.object({
  ...common,
  /** PostgreSQL, or a ZITADEL whose management v1 call is used. */
  PASSFERRY_V1_URL: url('postgres:', 'postgresql:', 'http:', 'https:').optional(),
  PASSFERRY_V1_TOKEN: z.string().min(1).optional(),
  PASSFERRY_V1_TOKEN_FILE: z.string().min(1).optional(),
  PASSFERRY_V1_CONCURRENCY: count(1, 1_000).optional(),
  PASSFERRY_V1_BCRYPT_COST: count(4, 31).default(12),
  /** Where the users of an application stand, as a file. */
  PASSFERRY_V1_MAPPING: z.string().min(1).optional(),
  PASSFERRY_V1_MIGRATE: z.enum(['true', 'false']).default('false'),
  PASSFERRY_V2_URL: url('http:', 'https:').optional(),
  PASSFERRY_V2_TOKEN: z.string().min(1).optional(),
  PASSFERRY_V2_TOKEN_FILE: z.string().min(1).optional(),
  PASSFERRY_V2_CONCURRENCY: count(1, 1_000).default(8),
  PASSFERRY_V2_RATE: count(1, 100_000).optional(),
  /** Of single requests where v1 follows v2. */
  PASSFERRY_PROOF_SHARE: z
    .string()
    .regex(/^(0(\.\d{1,6})?|1)$/, 'must be 0 to 1')
    .default('0.01')
    .transform(Number),
  /** What the hasher of that ZITADEL is configured to check. */
  PASSFERRY_V2_HASHES: list
    .refine((names) => names.length > 0 && names.every((name) => (verifiers as readonly string[]).includes(name)), {
      message: `takes ${verifiers.join(', ')}`,
    })
    .transform((names) => names as Verifier[])
    .default(['bcrypt']),
  /** On whom hashes are tried: a user id, `none`, or users made for it. */
  PASSFERRY_V2_PROBE_USER: z.string().min(1).max(200).optional(),
  PASSFERRY_V2_DEADLINE: duration.default(20 * units.s),
  PASSFERRY_V2_SETTLE: duration.default(10 * units.s),
  PASSFERRY_PROTECTED_USERS: list.optional(),
  PASSFERRY_PROTECTED_ROLES: list
    .refine((names) => names.length > 0, { message: 'must name roles, or none' })
    .transform((names) => (names.length === 1 && names[0] === 'none' ? [] : names))
    .optional(),
  PASSFERRY_HEALTH_LISTEN: address.optional(),
  PASSFERRY_FAILED_SECRETS: duration
    .refine((ms) => ms <= 30 * units.d, { message: 'must be at most 30d' })
    .default(units.d),
  PASSFERRY_HOLD_FILE: z.string().min(1).optional(),
  PASSFERRY_EPOCH_FILE: z.string().min(1).optional(),
});

export type Stages = z.infer<typeof stagesSchema>;
export type ServeConfig = Readonly<
  Omit<z.infer<typeof serveSchema>, 'PASSFERRY_STAGES'> & { PASSFERRY_STAGES: Stages }
>;
export type WorkConfig = Readonly<Omit<z.infer<typeof workSchema>, 'PASSFERRY_STAGES'> & { PASSFERRY_STAGES: Stages }>;

export function loadServeConfig(env: Environment): ServeConfig {
  return load(serveSchema, env, (config) => [
    ...unsafeRedis(config),
    ...unsafeAdmin(config),
    ...(Boolean(config.PASSFERRY_TLS_CERT_FILE) === Boolean(config.PASSFERRY_TLS_KEY_FILE)
      ? []
      : ['PASSFERRY_TLS_CERT_FILE and PASSFERRY_TLS_KEY_FILE go together']),
    ...oidcProblems(config),
    ...(isLoopback(config.PASSFERRY_LISTEN.host) || config.PASSFERRY_TLS_CERT_FILE || allows(config, 'listen')
      ? []
      : ['PASSFERRY_LISTEN is not a loopback address and this port has no TLS (allow: listen, behind a TLS proxy)']),
  ]) as ServeConfig;
}

export function loadWorkConfig(env: Environment): WorkConfig {
  return load(workSchema, env, (config) => [
    ...unsafeRedis(config),
    ...unsafeAdmin(config),
    ...(config.PASSFERRY_V1_URL || config.PASSFERRY_V2_URL ? [] : ['PASSFERRY_V1_URL or PASSFERRY_V2_URL is required']),
    ...stageProblems(config as WorkConfig),
    ...(config.PASSFERRY_V2_URL && !config.PASSFERRY_V2_TOKEN && !config.PASSFERRY_V2_TOKEN_FILE
      ? ['PASSFERRY_V2_TOKEN_FILE is required with PASSFERRY_V2_URL']
      : []),
    ...(isZitadel(config.PASSFERRY_V1_URL) && !config.PASSFERRY_V1_TOKEN && !config.PASSFERRY_V1_TOKEN_FILE
      ? ['PASSFERRY_V1_TOKEN_FILE is required when PASSFERRY_V1_URL is a ZITADEL']
      : []),
    ...(config.PASSFERRY_V1_MAPPING && !/^postgres/.test(config.PASSFERRY_V1_URL ?? '')
      ? ['PASSFERRY_V1_MAPPING goes with a PostgreSQL in PASSFERRY_V1_URL']
      : []),
    ...unsafe(
      config,
      isZitadel(config.PASSFERRY_V1_URL) ? 'v1' : 'sql',
      'PASSFERRY_V1_URL',
      config.PASSFERRY_V1_URL,
      (u) => (isZitadel(u.href) ? u.protocol === 'http:' : !/sslmode=(require|verify)/.test(u.search)),
    ),
    ...unsafe(config, 'v2', 'PASSFERRY_V2_URL', config.PASSFERRY_V2_URL, (u) => u.protocol === 'http:'),
  ]) as WorkConfig;
}

/** Is v1 a ZITADEL rather than the tables of its own? */
export function isZitadel(url: string | undefined): boolean {
  return url !== undefined && /^https?:/.test(url);
}

function load<T extends z.ZodType>(schema: T, env: Environment, more: (config: z.infer<T>) => string[]): z.infer<T> {
  const problems: string[] = [];
  const given = withFiles(env, problems);
  problems.push(...missingFiles(given, (name) => name in ((schema as unknown as { shape: object }).shape ?? {})));
  const parsed = schema.safeParse(given);
  if (!parsed.success) {
    for (const issue of parsed.error.issues) {
      const name = String(issue.path[0]);
      const missing = issue.code === 'invalid_type' && given[name] === undefined;
      problems.push(missing ? `${name} is required` : `${name} ${issue.message}`);
    }
  } else problems.push(...more(parsed.data));
  if (problems.length > 0) {
    throw new PassferryError('config_invalid', {
      message: `The configuration has ${problems.length === 1 ? 'an error' : 'errors'}:\n${problems.map((p) => `  - ${p}`).join('\n')}`,
    });
  }
  return Object.freeze(parsed.data) as z.infer<T>;
}

function oidcProblems(config: Omit<ServeConfig, 'PASSFERRY_STAGES'>): string[] {
  const { PASSFERRY_OIDC_ISSUER: issuer, PASSFERRY_OIDC_AUDIENCE: audience } = config;
  const { PASSFERRY_OIDC_CLIENT_ID: client, PASSFERRY_OIDC_CLIENT_SECRET_FILE: secret } = config;
  const others = Boolean(audience || client || secret || config.PASSFERRY_OIDC_MAPPING_FILE);
  return [
    ...(others && !issuer ? ['PASSFERRY_OIDC_ISSUER is required with the other settings of OIDC'] : []),
    ...(issuer && !audience ? ['PASSFERRY_OIDC_AUDIENCE is required with PASSFERRY_OIDC_ISSUER'] : []),
    ...(Boolean(client) === Boolean(secret)
      ? []
      : ['PASSFERRY_OIDC_CLIENT_ID and PASSFERRY_OIDC_CLIENT_SECRET_FILE go together']),
    ...unsafe(config, 'oidc', 'PASSFERRY_OIDC_ISSUER', issuer, (u) => u.protocol === 'http:'),
  ];
}

function stageProblems(config: WorkConfig): string[] {
  const { default: fallback, organizations } = config.PASSFERRY_STAGES;
  const used = new Set([fallback, ...Object.values(organizations)]);
  if (!config.PASSFERRY_V1_URL && !config.PASSFERRY_V2_URL) return [];
  return [...used].flatMap((name) => {
    const needed = [leader(name), follower(name)].filter((backend) => backend !== undefined);
    const missing = needed.filter((backend) => !(backend === 'v1' ? config.PASSFERRY_V1_URL : config.PASSFERRY_V2_URL));
    const unreadable = needed.length > 1 && config.PASSFERRY_V1_URL && isZitadel(config.PASSFERRY_V1_URL);
    return [
      ...missing.map((each) => `PASSFERRY_STAGES uses ${name}, but PASSFERRY_${each.toUpperCase()}_URL is not set`),
      ...(unreadable ? [`PASSFERRY_STAGES uses ${name}, but no hash can be read from a ZITADEL as v1`] : []),
    ];
  });
}
