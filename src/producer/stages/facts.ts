import type { Redis } from 'ioredis';
import type { Keys } from '../../keys.ts';
import type { Beat } from '../../ledger/beats.ts';
import type { Divergences } from '../../ledger/divergence.ts';
import { type Tally, tallyOf } from '../../ledger/divergence-tally.ts';
import type { MigratedRecords } from '../../ledger/migrated.ts';
import type { Draining } from '../../ledger/stages.ts';
import type { Migrated } from '../../migration.ts';

/** What the conditions of a step rest on, for one organization. */
export interface OrgFacts {
  org: string;
  draining: Draining;
  tally: Tally;
  /** The newest run that saw everybody, of any kind. */
  seen: Migrated | undefined;
  /** Runs that hold because a login or a hash did not work. */
  proofFailed: string[];
}

export interface StepFacts {
  /** Redis time, ms. */
  now: number;
  beats: Beat[];
  /** The organization, or all that go by the default. */
  orgs: OrgFacts[];
  /** Anybody or anything knows it. */
  known: boolean;
}

export const noLeases: Draining = { leases: 0, endsInMs: 0 };

const proofHolds = new Set(['proof_failed', 'hash_probe_failed', 'users_locked']);
const mostRuns = 500;
const mostLooked = 100_000;

/** Open runs by organization that hold because a proof failed. */
export async function failedProofs(redis: Redis, keys: Keys): Promise<Map<string, string[]>> {
  const ids = await redis.zrange(keys.activeRuns, 0, mostRuns - 1);
  const all = await Promise.all(ids.map((id) => redis.hmget(keys.run(id), 'state', 'reason', 'org', 'options')));
  const by = new Map<string, string[]>();
  for (const [i, [state, reason, org, options]] of all.entries()) {
    if (state !== 'holding' || !org || !proofHolds.has(reason ?? '')) continue;
    for (const each of new Set([org, ...orgsOf(options ?? null)])) {
      by.set(each, [...(by.get(each) ?? []), ids[i] as string]);
    }
  }
  return by;
}

/** A migration goes over several organizations. */
function orgsOf(options: string | null): string[] {
  const { orgs, migration } = JSON.parse(options ?? '{}') as { orgs?: string[]; migration?: { orgs?: string[] } };
  return orgs ?? migration?.orgs ?? [];
}

interface FactDeps {
  divergences: Divergences;
  migrated: MigratedRecords;
  now: number;
  draining: Map<string, Draining>;
  proofs: Map<string, string[]>;
}

export async function factsOf(
  org: string,
  { divergences, migrated, now, draining, proofs }: FactDeps,
): Promise<OrgFacts> {
  const [tally, runs] = await Promise.all([tallyOf(divergences, org, { now, most: mostLooked }), migrated.of(org)]);
  const seen = Object.values(runs).reduce<Migrated | undefined>(
    (newest, each) => (newest && newest.completedAt >= each.completedAt ? newest : each),
    undefined,
  );
  return { org, tally, seen, draining: draining.get(org) ?? noLeases, proofFailed: proofs.get(org) ?? [] };
}
