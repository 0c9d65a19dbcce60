import type { Verifier } from '../hashes/kinds.ts';
import { listen } from '../listen.ts';
import type { TokenGrant } from './auth.ts';
import type { RecordedCall, World } from './calls.ts';
import type { Faults } from './faults.ts';
import { createFaults } from './faults.ts';
import { managementCalls } from './management-calls.ts';
import { newUserCalls } from './new-user-calls.ts';
import type { Policy } from './passwords.ts';
import { verifyPassword } from './passwords.ts';
import { type Mail, resetCalls } from './reset-calls.ts';
import { restListener } from './rest.ts';
import { rpcListener } from './rpc.ts';
import { sessionCalls } from './session-calls.ts';
import { notificationCalls, settingsCalls } from './settings-calls.ts';
import type { SandboxUser, UserSeed } from './state.ts';
import { createStore } from './state.ts';
import { userCalls } from './user-calls.ts';

export type { Fault } from './faults.ts';
export type { SandboxUser, UserSeed } from './state.ts';

export interface SandboxOptions {
  /** Default 127.0.0.1. */
  host?: string;
  /** Default 0: any free port. */
  port?: number;
  /** Default 4; ZITADEL's own default is 14. */
  bcryptCost?: number;
  /** How long GetUserByID shows the state before a change, ms. Default 0. */
  lagMs?: number;
  /** Bearer token → whom it stands for and its roles. */
  tokens: Record<string, TokenGrant>;
  orgs: string[];
  users?: UserSeed[];
  /** Policy of the instance; default 8 bytes, upper, lower, number, symbol. */
  policy?: Partial<Policy>;
  /** Policies of single organizations. */
  policies?: Record<string, Partial<Policy>>;
  /** Organizations that send no mail about a changed password. Default none. */
  silentOrgs?: string[];
  /** Accepted cost of imported bcrypt hashes. Default 10 to 16. */
  hashCosts?: { min: number; max: number };
  /** Kinds of hashes that are taken and checked at a login. Default bcrypt, as ZITADEL is installed. */
  verifiers?: readonly Verifier[];
  /** Calls by name that this generation does not know yet. Default none. */
  unknownCalls?: readonly string[];
  /** Seed of the random behind `rate` of faults. Default 1. */
  seed?: number;
}

export interface Sandbox {
  /** `http://host:port`. */
  url: string;
  port: number;
  /** Stops within 500 ms; late effects that are still outstanding never happen. */
  close(): Promise<void>;
  addUser(seed: UserSeed): Promise<SandboxUser>;
  /** The stored users by id, without any lag. */
  users: ReadonlyMap<string, SandboxUser>;
  /** Compares with the stored hash, as a login would, without counting an attempt. */
  verify(userId: string, password: string): Promise<boolean>;
  faults: Pick<Faults, 'add' | 'clear'>;
  /** Every call that arrived, the oldest first. */
  calls: readonly RecordedCall[];
  /** Mails with reset links that would have been sent, the oldest first. */
  mails: readonly Mail[];
  /** Open sessions: id → user. */
  sessions: ReadonlyMap<string, string>;
}

/** Starts a stand-in for ZITADEL: REST, Connect, gRPC and gRPC-Web on one port without TLS. */
export async function startSandbox(options: SandboxOptions): Promise<Sandbox> {
  const host = options.host ?? '127.0.0.1';
  const bcryptCost = options.bcryptCost ?? 4;
  const { orgs, policy, policies } = options;
  const store = createStore({
    orgs,
    bcryptCost,
    lagMs: options.lagMs ?? 0,
    ...(policy && { policy }),
    ...(policies && { policies }),
  });
  for (const seed of options.users ?? []) await store.addUser(seed);

  const timers = new Set<NodeJS.Timeout>();
  const faults = createFaults(options.seed ?? 1);
  const world: World = {
    store,
    faults,
    bcryptCost,
    silentOrgs: new Set(options.silentOrgs),
    tokens: options.tokens,
    calls: [],
    mails: [],
    sessions: new Map(),
    verifiers: options.verifiers ?? ['bcrypt'],
    hashCosts: options.hashCosts ?? { min: 10, max: 16 },
    later(ms, work) {
      const timer = setTimeout(() => {
        timers.delete(timer);
        work();
      }, ms);
      timers.add(timer);
    },
  };

  // v1 is no Connect service in ZITADEL, so it is none here
  const v1 = rpcListener(world, [...managementCalls, ...notificationCalls], false, restListener(world));
  const known = [...userCalls, ...newUserCalls, ...sessionCalls, ...resetCalls, ...settingsCalls].filter(
    ({ name }) => !options.unknownCalls?.includes(name),
  );
  const v2 = rpcListener(world, known, true, v1);
  const server = await listen({ host, port: options.port ?? 0 }, v2);
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${server.port}`,
    port: server.port,
    addUser: store.addUser,
    users: store.users,
    async verify(userId, password) {
      const hash = store.users.get(userId)?.hash;
      return hash !== undefined && verifyPassword(password, hash);
    },
    faults: { add: faults.add, clear: faults.clear },
    calls: world.calls,
    mails: world.mails,
    sessions: world.sessions,
    async close() {
      for (const timer of timers) clearTimeout(timer);
      await server.close();
    },
  };
}
