import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { PassferryError } from '../../errors.ts';
import type { Caller, Permission } from '../callers.ts';
import { permissions, placesOf } from '../callers-file.ts';
import { checkOrgId } from '../validate.ts';

/** What an issuer says of a token that is good. */
export type Claims = Record<string, unknown> & { sub: string };

const text = z.string().min(1).max(200);
/** A claim by its name, `{audience}` in it replaced; a list goes down into nested ones. */
const claim = z.union([text, z.array(text).min(1).max(5)]);
const inOrganization = z.enum(permissions.filter((each) => each !== 'operate'));

const mappingSchema = z.strictObject({
  /** Where a caller acts when a request names no organization. */
  organization: z.union([z.strictObject({ claim }), z.strictObject({ always: text })]),
  roles: z.strictObject({ claim }),
  /** Role → permissions, wherever the caller has that role. */
  permissions: z.record(text, z.array(inOrganization).min(1)),
  /** Whoever has this role in this one organization may hold and release backends. */
  operate: z.strictObject({ role: text, organization: text }).exactOptional(),
});

export type Mapping = z.infer<typeof mappingSchema>;

/**
 * For ZITADEL, the audience being a project's id. Its claim without an id holds the roles of the project that the *client*
 * belongs to, which another project could name as it likes; this one holds those of our project.
 */
export const zitadelMapping: Mapping = {
  organization: { claim: 'urn:zitadel:iam:user:resourceowner:id' },
  roles: { claim: 'urn:zitadel:iam:org:project:{audience}:roles' },
  permissions: {
    passferry_set: ['set'],
    passferry_import: ['import'],
    passferry_import_hash: ['import-hash'],
    passferry_migrate: ['migrate'],
    passferry_read: ['read'],
    passferry_admin: ['admin'],
  },
};

/** Error: `config_invalid`, which names file and place. */
export function readMapping(path: string): Mapping {
  let parsed: ReturnType<typeof mappingSchema.safeParse>;
  try {
    parsed = mappingSchema.safeParse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (cause) {
    throw new PassferryError('config_invalid', { message: `The mapping file ${path} cannot be read as JSON.`, cause });
  }
  if (parsed.success) return parsed.data;
  throw new PassferryError('config_invalid', {
    message: `The mapping file ${path} has errors: ${placesOf(parsed.error)}`,
  });
}

/** Claims → caller. What a claim has in a wrong shape grants nothing; a good token may have no grants at all. */
export function callerOf(claims: Claims, mapping: Mapping, issuer: string, audience: string): Caller {
  const { organization } = mapping;
  const said = 'always' in organization ? organization.always : claimAt(claims, organization.claim, audience);
  const own = isOrg(said) ? said : undefined;
  const roles = rolesOf(claimAt(claims, mapping.roles.claim, audience), own);
  const grants = new Map<string, Set<Permission>>();
  for (const [role, orgs] of roles) {
    const granted = Object.hasOwn(mapping.permissions, role) ? (mapping.permissions[role] as Permission[]) : [];
    for (const org of granted.length > 0 ? orgs : []) {
      grants.set(org, new Set([...(grants.get(org) ?? []), ...granted]));
    }
  }
  const { operate } = mapping;
  const operates =
    operate && roles.some(([role, orgs]) => role === operate.role && orgs.includes(operate.organization));
  const [only, ...others] = grants.keys();
  const home = own ?? (others.length === 0 ? only : undefined) ?? '';
  const all = [...grants].map(([org, list]) => [org, [...list]] as const);
  return {
    name: nameOf(issuer, claims.sub),
    home,
    grants: Object.fromEntries([
      ...all,
      ...(operates ? [['*', ['operate' as const]] as const] : []),
    ]) as Caller['grants'],
  };
}

/** As ZITADEL has them (role → organization → domain), or a list, or words: those hold in the caller's own organization. */
function rolesOf(value: unknown, own: string | undefined): [role: string, orgs: string[]][] {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return Object.entries(value).map(([role, orgs]) => [role, isRecord(orgs) ? Object.keys(orgs).filter(isOrg) : []]);
  }
  const list = typeof value === 'string' ? value.split(' ') : Array.isArray(value) ? value : [];
  const roles = list.filter((each): each is string => typeof each === 'string' && each !== '');
  return roles.map((role) => [role, own === undefined ? [] : [own]]);
}

function claimAt(claims: Claims, path: string | string[], audience: string): unknown {
  let value: unknown = claims;
  for (const step of typeof path === 'string' ? [path] : path) {
    const name = step.replaceAll('{audience}', audience);
    if (!isRecord(value) || !Object.hasOwn(value, name)) return undefined;
    value = value[name];
  }
  return value;
}

/** `*` is no organization: no claim reaches what concerns all of them. */
function isOrg(value: unknown): value is string {
  return typeof value === 'string' && value !== '*' && checkOrgId(value) === undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Has a colon, which no name of the callers file has: neither can be taken for the other. */
function nameOf(issuer: string, sub: string): string {
  const plain = /^[\w.@-]{1,128}$/.test(sub);
  const who = plain ? sub : `~${createHash('sha256').update(sub).digest('base64url')}`;
  return `oidc:${new URL(issuer).host}:${who}`;
}
