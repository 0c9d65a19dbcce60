import type { Policy } from './passwords.ts';
import { checkPolicy, defaultPolicy, hashPassword } from './passwords.ts';
import { refusal } from './zitadel-errors.ts';

export type SandboxUserState = 'active' | 'inactive' | 'locked' | 'initial';

/** A user to start with. */
export interface UserSeed {
  id: string;
  org: string;
  userName: string;
  email?: string;
  /** Default true. */
  emailVerified?: boolean;
  /** Default the user name. */
  givenName?: string;
  familyName?: string;
  /** Default `active`. */
  state?: SandboxUserState;
  /** A machine user has no password and looks like no user at all to the password calls. */
  machine?: boolean;
  /** Stored as given: the policy is not asked. */
  password?: string;
  /** Instead of `password`, and as given too. */
  hash?: string;
  /** Default false. */
  changeRequired?: boolean;
  /** Administrative roles: `IAM_…` in the instance, all others in the user's organization. */
  roles?: string[];
}

/** One effect on a user. */
export interface PasswordChange {
  /** Microseconds since the epoch; never the same twice in one sandbox. */
  at: number;
  sequence: number;
  changeRequired: boolean;
  /** The call that made it. */
  call: string;
  /** User id of the caller. */
  by: string;
  /** A hash was sent, not a password. */
  hashed: boolean;
}

/** A user as stored now; what GetUserByID shows may lag behind. */
export interface SandboxUser {
  readonly id: string;
  readonly org: string;
  readonly userName: string;
  readonly email: string | undefined;
  readonly emailVerified: boolean;
  readonly givenName: string | undefined;
  readonly familyName: string | undefined;
  readonly machine: boolean;
  readonly roles: string[];
  /** Microseconds since the epoch. */
  readonly createdAt: number;
  /** Had a password from the start, and had to change it. */
  readonly seeded: boolean;
  readonly seededChange: boolean;
  state: SandboxUserState;
  hash: string | undefined;
  /** Microseconds since the epoch; undefined when no password was ever set. */
  passwordChanged: number | undefined;
  changeRequired: boolean;
  /** Moves by one with each change. */
  sequence: number;
  failedAttempts: number;
  /** Effects, the oldest first. The seed password is none. */
  readonly changes: PasswordChange[];
}

/** What the read model shows of the changing fields. */
export interface ReadUser {
  user: SandboxUser;
  sequence: number;
  changeDate: number;
  passwordChanged: number | undefined;
  changeRequired: boolean;
}

export interface Store {
  readonly orgs: ReadonlySet<string>;
  readonly users: Map<string, SandboxUser>;
  /** `dry`: makes one and keeps it not. */
  addUser(seed: UserSeed, dry?: boolean): Promise<SandboxUser>;
  policyOf(org: string): Policy;
  /** Microseconds, strictly rising. */
  now(): number;
  /** Policy, hashing and storing. `dry` does everything but the storing. An empty password skips the policy. */
  change(user: SandboxUser, change: NewPassword, dry: boolean): Promise<PasswordChange>;
  read(id: string): ReadUser | undefined;
}

export interface NewPassword {
  /** Exactly one of the two. */
  plain?: string;
  hash?: string;
  changeRequired: boolean;
  call: string;
  by: string;
}

export interface StoreOptions {
  orgs: string[];
  policy?: Partial<Policy>;
  policies?: Record<string, Partial<Policy>>;
  bcryptCost: number;
  lagMs: number;
}

export function createStore(options: StoreOptions): Store {
  const users = new Map<string, SandboxUser>();
  const orgs = new Set(options.orgs);
  let last = 0;

  function now(): number {
    last = Math.max(Date.now() * 1000, last + 1);
    return last;
  }

  function policyOf(org: string): Policy {
    return { ...defaultPolicy, ...options.policy, ...options.policies?.[org] };
  }

  return {
    orgs,
    users,
    now,
    policyOf,

    async addUser(seed, dry = false) {
      const hash = seed.password === undefined ? seed.hash : await hashPassword(seed.password, options.bcryptCost);
      const createdAt = now();
      const user: SandboxUser = {
        id: seed.id,
        org: seed.org,
        userName: seed.userName,
        email: seed.email,
        emailVerified: seed.emailVerified ?? true,
        givenName: seed.givenName,
        familyName: seed.familyName,
        machine: seed.machine ?? false,
        roles: seed.roles ?? [],
        createdAt,
        seeded: hash !== undefined,
        state: seed.state ?? 'active',
        hash,
        passwordChanged: hash === undefined ? undefined : createdAt,
        changeRequired: seed.changeRequired ?? false,
        seededChange: seed.changeRequired ?? false,
        sequence: 1,
        failedAttempts: 0,
        changes: [],
      };
      if (dry) return user;
      orgs.add(seed.org);
      users.set(seed.id, user);
      return user;
    },

    async change(user, { plain, hash: givenHash, changeRequired, call, by }, dry) {
      if (plain) checkPolicy(policyOf(user.org), plain);
      const hash = givenHash ?? (await hashPassword(plain ?? '', options.bcryptCost));
      const sequence = user.sequence + 1;
      const change = { at: now(), sequence, changeRequired, call, by, hashed: givenHash !== undefined };
      if (dry) return change;
      user.hash = hash;
      user.passwordChanged = change.at;
      user.changeRequired = changeRequired;
      user.sequence = sequence;
      user.failedAttempts = 0;
      user.changes.push(change);
      return change;
    },

    read(id) {
      const user = users.get(id);
      if (!user) return undefined;
      const horizon = (Date.now() - options.lagMs) * 1000;
      const seen = options.lagMs > 0 ? user.changes.findLast((c) => c.at <= horizon) : user.changes.at(-1);
      if (seen) {
        const { sequence, at, changeRequired } = seen;
        return { user, sequence, changeDate: at, passwordChanged: at, changeRequired };
      }
      const passwordChanged = user.seeded ? user.createdAt : undefined;
      return { user, sequence: 1, changeDate: user.createdAt, passwordChanged, changeRequired: user.seededChange };
    },
  };
}

/** The human that a password call acts on; a machine user or one of another organization looks missing. */
export function findHuman(store: Store, id: string, org?: string): SandboxUser | undefined {
  const user = store.users.get(id);
  return user && !user.machine && (org === undefined || user.org === org) ? user : undefined;
}

/** Steps that v1 and v2 SetPassword share before any permission: there is such a human and it is initialized. */
export function requireHuman(store: Store, id: string, org?: string): SandboxUser {
  const user = findHuman(store, id, org);
  if (!user) throw refusal('COMMAND-G8dh3');
  if (user.state === 'initial') throw refusal('COMMAND-M9dse');
  return user;
}
