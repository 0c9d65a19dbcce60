import type { Backend } from '../adapters/port.ts';
import type { PassferryError } from '../errors.ts';
import type { LaneFacts } from '../ledger/beats.ts';
import type { Log } from '../log.ts';
import { createBackoff } from './backoff.ts';
import { createGate } from './gate.ts';
import { createHashCost } from './hash-cost.ts';
import { canHashHere, hereCores } from './hash-here.ts';
import type { Holding } from './holding.ts';
import { createOrganizationPauses, createPause } from './pause.ts';
import { createReadAhead } from './read-ahead.ts';

const organizationLongestMs = 10 * 60_000;
/** A fault that is not the backend's: nothing else waits for it. */
const otherMs = 1_000;
/** A key file is copied by hand. */
const keyMs = 5_000;
/** What only somebody's change of a configuration or a table ends. Reading goes on meanwhile. */
const tableMs = 30_000;
const ofTable = new Set(['v1_read_only', 'v1_mapping_wrong', 'hash_encoding_unknown']);
const slowAgainMs = 1_000;
/** Faults that say something of the whole backend and pass by themselves. */
const backingOff = new Set(['backend_down', 'backend_timeout', 'backend_limited', 'backend_error']);

/** What not every backend can do, and a producer wants to know before it takes rows or changes a stage. */
const abilities = [
  ...(['findUser', 'sendResetLink', 'endSessions', 'mailsOnChange'] as const),
  ...(['readUser', 'setHash', 'makeHash', 'readHash', 'users', 'createUser'] as const),
] satisfies (keyof Backend)[];

export type Lane = ReturnType<typeof createLane>;

/** The way to one backend: how much goes at once, and everything that can make it wait. */
export function createLane(
  { backend: bare, limit }: { backend: Backend; limit: number },
  holding: Holding,
  log: Log,
  probeMs: number,
  organizationMs = 60_000,
) {
  const { name: backend } = bare;
  const backoff = createBackoff();
  /** Our credentials are refused: one job in a while tries. */
  const unauthenticated = createPause(probeMs, probeMs);
  /** Organizations in which we lack the permission; the others go on. */
  const forbidden = createOrganizationPauses(organizationMs, organizationLongestMs);
  const gate = createGate(limit);
  const ahead = createReadAhead(bare, gate);
  const cost = createHashCost(bare);
  let slowedAt = 0;
  let workedAt: number | undefined;

  /** Many are told at once that they were too many: once is enough. */
  function slowDown(): void {
    if (Date.now() - slowedAt < slowAgainMs) return;
    slowedAt = Date.now();
    gate.slow();
    ahead.slow();
    log.info({ by: 'worker', backend, room: gate.room(), limit }, 'the backend asks to slow down');
  }

  return {
    backend: holding.guard(bare),
    gate,
    ahead,
    cost,

    /** Does a person hold it? */
    held: async () => (await holding.held(backend)) !== undefined,

    /** Before a start: a person's hold, then what the worker found out by itself. Undefined: go. */
    async mustWait(org: string): Promise<{ ms: number; reason: string } | undefined> {
      if (await holding.held(backend)) return { ms: holding.askAgainMs(), reason: 'held' };
      const backoffMs = backoff.waitMs() * (1 + Math.random() / 4);
      if (backoffMs > 0) return { ms: backoffMs, reason: backoff.reason() ?? 'held' };
      const forbiddenMs = forbidden.waitMs(org);
      if (forbiddenMs > 0) return { ms: forbiddenMs, reason: 'backend_forbidden' };
      const ms = unauthenticated.waitMs();
      return ms > 0 ? { ms, reason: 'backend_unauthenticated' } : undefined;
    },

    /** For whoever feeds it: why nothing should be begun now, and ms until it may be tried again. Takes nobody's turn to try. */
    async stands(): Promise<{ reason: string; leftMs: number } | undefined> {
      if (await holding.held(backend)) return { reason: 'held', leftMs: Number.POSITIVE_INFINITY };
      if (unauthenticated.paused) return { reason: 'backend_unauthenticated', leftMs: unauthenticated.leftMs() };
      const reason = backoff.reason();
      return reason === undefined ? undefined : { reason, leftMs: backoff.leftMs() };
    },

    /** After a fault: how long its job waits, ms. What a hold or a repair ends is no case for the backoff. */
    waitAfter(error: PassferryError, org: string): number {
      const { reason } = error;
      if (reason === 'held') return holding.askAgainMs();
      if (reason === 'lease_lost') return 0;
      if (error.scope === 'organization') {
        log.info({ by: 'worker', backend, org, reason }, 'the organization waits');
        return forbidden.failed(org);
      }
      if (reason === 'backend_unauthenticated') {
        if (!unauthenticated.paused) log.info({ by: 'worker', backend, reason }, 'the backend waits');
        return unauthenticated.failed();
      }
      if (reason === 'sealed_key_unknown') return keyMs;
      if (ofTable.has(reason)) return tableMs;
      if (reason === 'backend_limited') slowDown();
      return backingOff.has(reason) ? backoff.failed(error) : otherMs;
    },

    /** A job that was let through left without asking the backend. */
    untried: () => backoff.untried(),

    /** An answer of the backend ends its pauses. */
    worked(org: string): void {
      workedAt = performance.now();
      backoff.succeeded();
      gate.well();
      ahead.well();
      if (unauthenticated.succeeded()) log.info({ by: 'worker', backend }, 'our credentials work again');
      if (forbidden.succeeded(org)) log.info({ by: 'worker', backend, org }, 'the organization works again');
    },

    /** As others are told. A hold in Redis is not among it: they read that themselves. */
    facts(): LaneFacts {
      const waitingFor = unauthenticated.paused ? 'backend_unauthenticated' : backoff.reason();
      const localHold = holding.local(backend);
      const [coreMs, here] = [cost.known(), cost.knownHere()];
      return {
        ...(waitingFor && { waitingFor, retryInMs: Math.round(Math.max(unauthenticated.leftMs(), backoff.leftMs())) }),
        ...(localHold && { localHold }),
        forbidden: forbidden.size(),
        inside: gate.inside(),
        room: gate.room(),
        limit,
        ...(coreMs !== undefined && { coreMs: Math.round(coreMs * 100) / 100, cores: hereCores(limit) }),
        ...(here !== undefined && { here: { coreMs: Math.round(here * 100) / 100, cores: hereCores(limit) } }),
        can: [
          ...abilities.filter((name) => bare[name] !== undefined),
          ...(canHashHere(bare) ? ['hashHere' as const] : []),
        ],
        ...(workedAt !== undefined && { lastOkMs: Math.round(performance.now() - workedAt) }),
      };
    },

    /** Why it gets nothing now, for health. */
    whyWaiting(): string | undefined {
      if (holding.seen(backend)) return 'held';
      return unauthenticated.paused ? 'backend_unauthenticated' : backoff.reason();
    },
  };
}
