import type { Redis } from 'ioredis';
import type { Backend } from '../adapters/port.ts';
import { toPassferryError } from '../errors.ts';
import type { BackendName } from '../job.ts';
import type { Pages } from '../ledger/pages.ts';
import type { RunControl } from '../ledger/run-control.ts';
import { optionsNow } from '../ledger/run-options.ts';
import { type HoldReason, passingHolds } from '../run.ts';
import type { Lane } from './lane.ts';
import { takesHashes } from './migrate/target.ts';
import type { KnownStages } from './stages.ts';

export type RunHolds = ReturnType<typeof createRunHolds>;

/** A backend that stumbles for less is no reason to hold. */
const patienceMs = 1_500;
const probeEveryMs = 1_000;
const probeMs = 5_000;
/** A backend that was too slow is left alone for so long, and until it answers within this. */
const slowHoldMs = 10_000;
const slowMs = 1_000;
const memoryEveryMs = 100;
/** Shares of Redis' `maxmemory` from which on runs hold, and below which they go on. */
const memoryFull = 0.9;
const memoryFree = 0.85;
/** Users that are looked for before the first row, and from how many on their absence says something. */
const lookedFor = 100;
const atLeast = 5;
const atOnce = 10;

const reasonOf: Record<string, HoldReason> = {
  held: 'backend_held',
  backend_limited: 'backend_limited',
  backend_unauthenticated: 'backend_unauthenticated',
};

/** What a run waits for by itself, and what it goes on by itself after. Asked by whoever feeds runs. */
export function createRunHolds(options: {
  redis: Redis;
  pages: Pages;
  runs: RunControl;
  stages: KnownStages;
  lanes: Partial<Record<BackendName, Lane>>;
}) {
  const { redis, pages, runs, stages, lanes } = options;
  const standingSince: Partial<Record<BackendName, number>> = {};
  const probes: Partial<Record<BackendName, { at: number; answered: boolean; busy: boolean; tookMs: number }>> = {};
  const known = new Map<string, { page: number; backends: Set<BackendName> }>();
  let memory = { at: Number.NEGATIVE_INFINITY, used: 0 };

  const backendOf = (org: string) => stages.leaderOf(org);

  /** Where the rows of the page go that is next. */
  async function backendsOf(run: string, f: Record<string, string>): Promise<Set<BackendName>> {
    if (optionsNow(f).migration) return new Set(['v1', 'v2']);
    const page = Math.max(0, Math.min(Number(f.feedPage ?? 0), Number(f.pages ?? 0) - 1));
    const last = known.get(run);
    if (last?.page === page) return last.backends;
    const rows = (await pages.read(run, page))?.page.rows ?? [];
    const accepted = rows.filter((row) => row.refused === undefined);
    const backends = new Set(accepted.map((row) => backendOf(row.org ?? (f.org as string))));
    if (backends.size === 0) backends.add(backendOf(f.org as string));
    if (known.size > 1_000) known.clear();
    if (rows.length > 0) known.set(run, { page, backends });
    return backends;
  }

  /** Nobody else would find out that it is back while its runs hold. */
  function answers(name: BackendName, backend: Backend): boolean {
    const now = performance.now();
    const last = probes[name];
    if (last && (last.busy || now - last.at < probeEveryMs)) return last.answered;
    const probe = { at: now, answered: false, busy: true, tookMs: Number.POSITIVE_INFINITY };
    probes[name] = probe;
    backend.ping(AbortSignal.timeout(probeMs)).then(
      () => {
        const at = performance.now();
        Object.assign(probe, { answered: true, busy: false, at, tookMs: at - now });
      },
      () => Object.assign(probe, { busy: false, at: performance.now() }),
    );
    return false;
  }

  /** After a while, and when it answers soon. */
  function isFast(f: Record<string, string>, name: BackendName, backend: Backend): boolean {
    return (
      answers(name, backend) && (probes[name]?.tookMs ?? slowMs) < slowMs && Date.now() - Number(f.heldAt) > slowHoldMs
    );
  }

  async function ofBackend(name: BackendName, isHeld: boolean): Promise<HoldReason | undefined> {
    const lane = lanes[name];
    if (!lane) return undefined;
    const stands = await lane.stands();
    if (!stands) {
      delete standingSince[name];
      return undefined;
    }
    const reason = reasonOf[stands.reason] ?? 'backend_down';
    if (stands.reason === 'held') return reason;
    const now = performance.now();
    standingSince[name] ??= now;
    if (stands.leftMs > 0) return isHeld || now - standingSince[name] > patienceMs ? reason : undefined;
    return isHeld && !answers(name, lane.backend) ? reason : undefined;
  }

  async function memoryUsed(): Promise<number> {
    const now = performance.now();
    if (now - memory.at < memoryEveryMs) return memory.used;
    const info = await redis.info('memory');
    const number = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1] ?? 0);
    const most = number('maxmemory');
    memory = { at: now, used: most === 0 ? 0 : number('used_memory') / most };
    return memory.used;
  }

  /** All of its backends wait, or Redis is full. */
  async function why(
    run: string,
    f: Record<string, string>,
    held: string | undefined,
  ): Promise<HoldReason | undefined> {
    if ((await memoryUsed()) > (held === 'redis_memory' ? memoryFree : memoryFull)) return 'redis_memory';
    let first: HoldReason | undefined;
    if (held === 'backend_slow' && lanes.v2 && !isFast(f, 'v2', lanes.v2.backend)) return held;
    // A migration needs both of them.
    const needsAll = optionsNow(f).migration !== undefined;
    for (const name of await backendsOf(run, f)) {
      const reason = await ofBackend(name, held !== undefined);
      if (!reason && needsAll) continue;
      if (!reason) return undefined;
      first ??= reason;
    }
    return first;
  }

  return {
    backendsOf,

    /** Holds a run that runs, or lets one go on that holds by itself; `f` are its fields. True: rows may be fed. */
    async mayFeed(run: string, f: Record<string, string>): Promise<boolean> {
      const held = f.state === 'holding' && passingHolds.has(f.reason ?? '') ? (f.reason as HoldReason) : undefined;
      if (f.state !== 'running' && !held) return true;
      const reason = await why(run, f, held);
      if (reason === held) return held === undefined;
      if (held) await runs.unhold(run, held);
      // Overruled by a person: its rows wait one by one.
      return reason ? !(await runs.hold(run, reason)) && !held : false;
    },

    /**
     * Before the first row: of the first users of the file, is there one in the backend? Of a migration: does v2 take hashes? Holds the
     * run when not. False also when it cannot be asked now.
     */
    async mayBegin(run: string, f: Record<string, string>): Promise<boolean> {
      if (optionsNow(f).migration) return takesHashes(lanes.v2, runs, run, f);
      const read = await pages.read(run, 0);
      if (!read) return true;
      const users = new Map<string, { org: string; user: string }>();
      for (const { user, org = read.page.head.org, refused } of read.page.rows) {
        if (user === undefined || refused !== undefined) continue;
        if (lanes[backendOf(org)]?.backend.readUser) users.set(`${org} ${user}`, { org, user });
        if (users.size >= lookedFor) break;
      }
      const all = [...users.values()];
      if (all.length < atLeast) return true;
      const signal = AbortSignal.timeout(probeMs * 4);
      for (let i = 0; i < all.length; i += atOnce) {
        const found = await Promise.all(all.slice(i, i + atOnce).map(({ org, user }) => exists(org, user, signal)));
        if (found.includes(true)) return true;
        if (found.includes(undefined)) return false;
      }
      return !(await runs.hold(run, 'columns_swapped'));
    },
  };

  /** Undefined: the backend cannot say; then its lane waits, as after a job. */
  async function exists(org: string, user: string, signal: AbortSignal): Promise<boolean | undefined> {
    const lane = lanes[backendOf(org)];
    try {
      await lane?.backend.readUser?.(org, user, signal);
      return true;
    } catch (thrown) {
      const error = toPassferryError(thrown);
      // A machine, or one of another organization, looks the same: no row could be set.
      if (error.scope === 'user') return false;
      lane?.waitAfter(error, org);
      return undefined;
    }
  }
}
