import type { Redis } from 'ioredis';
import { PassferryError } from '../../errors.ts';
import type { BackendName } from '../../job.ts';
import type { Keys } from '../../keys.ts';
import { createDivergences } from '../../ledger/divergence.ts';
import { type Tally, tallyOf } from '../../ledger/divergence-tally.ts';
import { createMigrated } from '../../ledger/migrated.ts';
import { type Draining, everyOrg, type Placed } from '../../ledger/stages.ts';
import type { JobKey } from '../../signature.ts';
import { follower, leader, nextStage, type Stage, stageBefore } from '../../stage.ts';
import type { Facts, StatusDesk } from '../status.ts';
import { type AskedStep, type Condition, type ConditionName, conditionsOf } from './conditions.ts';
import { factsOf, failedProofs, noLeases, type StepFacts } from './facts.ts';

/** Where an organization stands, as others see it. */
export interface StageView {
  /** `*`: all that have no setting of their own. */
  org: string;
  /** Null: nobody tells. */
  stage: Stage | null;
  /** Of its users, those on the next stage already. */
  percent: number;
  next: Stage | null;
  /** Goes up with each change; 0: by configuration. */
  version: number;
  since: string | null;
  by?: string;
  /** Why the step was forced. */
  forced?: string;
  from: Placed['from'] | 'forged' | 'unknown';
  leads: BackendName | null;
  follows: BackendName | null;
  /** Writes that still go by an older setting, and until when at most. None: every write goes where the setting says. */
  draining: Draining;
  /** Users who are not in step: exact; by cause of the first thousand. */
  divergence: { count: number; byCause: Record<string, number> };
  /**
   * What going back one step would cost: people who would lose a newer password. Null: it is not known, for nobody has looked who changed
   * it in v2 itself. Without `to` there is no way back.
   */
  back: { to: Stage | null; people: number | null };
}

export interface StagePlan {
  now: StageView;
  asked: { stage: Stage; percent: number };
  /** All that must hold do. */
  possible: boolean;
  /** With `force` and a reason. */
  forcible: boolean;
  conditions: Condition[];
}

export interface AskedChange extends AskedStep {
  by: string;
  /** Goes over what is forcible. */
  force: boolean;
  reason?: string;
  /** The version that was seen. */
  version?: number;
}

const looked = 1_000;
const listed = 200;

/** `refused`: every condition that does not hold. `overruled`: those that force went over. */
export type StageSet = { refused: Condition[] } | { stage: StageView; overruled: ConditionName[] };

/** Errors of all: `redis_down`. */
export function createStageDesk(redis: Redis, keys: Keys, jobKey: JobKey, status: StatusDesk) {
  const { places } = status;
  const { table } = places;
  const divergences = createDivergences(redis, keys);
  const migrated = createMigrated(redis, keys, jobKey);

  async function view(org: string, placed: Placed | 'forged' | undefined, now: number, all: Map<string, Draining>) {
    const draining = org === everyOrg ? await ofDefault(all) : (all.get(org) ?? noLeases);
    const tally = await tallyOf(divergences, org, { now, most: looked });
    const common = { org, draining, divergence: { count: tally.count, byCause: tally.byCause } };
    if (placed === undefined || placed === 'forged') {
      const nothing = { stage: null, percent: 0, next: null, version: 0, since: null, leads: null, follows: null };
      const from = placed === undefined ? 'unknown' : 'forged';
      return { ...common, ...nothing, from, back: { to: null, people: null } } satisfies StageView;
    }
    const { stage, percent, version, since, by, forced, from } = placed;
    return {
      ...common,
      ...{ stage, percent, next: nextStage(stage) ?? null, version },
      since: since > 0 ? new Date(since).toISOString() : null,
      ...(by !== undefined && { by }),
      ...(forced !== undefined && { forced }),
      ...{ from, leads: leader(stage), follows: follower(stage) ?? null },
      back: await costOfBack(org, placed, tally),
    } satisfies StageView;
  }

  async function costOfBack(org: string, { stage, percent, since }: Placed, tally: Tally): Promise<StageView['back']> {
    // Users who are at v2 already have no way back.
    const to = stage === 'dual-v2' && percent > 0 ? null : (stageBefore(stage) ?? null);
    if (stage !== 'dual-v2' || to === null) return { to, people: to === null ? null : 0 };
    const runs = Object.values(await migrated.of(org));
    const isKnown = runs.some(({ startedAt }) => startedAt >= since) && tally.looked >= tally.count;
    return { to, people: isKnown ? tally.ahead + tally.lasting.v1 : null };
  }

  /** Of who has no setting of its own. */
  async function ofDefault(all: Map<string, Draining>): Promise<Draining> {
    const { settings } = await table.all();
    const those = [...all].filter(([org]) => !settings.has(org)).map(([, draining]) => draining);
    const leases = those.reduce((sum, each) => sum + each.leases, 0);
    return { leases, endsInMs: Math.max(0, ...those.map(({ endsInMs }) => endsInMs)) };
  }

  async function one(org: string): Promise<StageView> {
    const facts = await status.facts();
    const [placed, draining] = await Promise.all([places.known(org, facts.beats), table.draining()]);
    return view(org, placed, facts.now, draining);
  }

  /** Organizations that are known, whoever knows them. */
  async function known(beats: Facts['beats'], granted: readonly string[]): Promise<Set<string>> {
    const [named, { settings, forged }, divergent] = await Promise.all([
      places.named(beats),
      table.all(),
      divergences.organizations(),
    ]);
    const all = new Set([...granted, ...named, ...settings.keys(), ...forged, ...divergent]);
    all.delete(everyOrg);
    return all;
  }

  async function stepFacts(org: string, granted: readonly string[]): Promise<StepFacts> {
    // What was so a second ago is not good enough for a step.
    const { now, beats } = await status.look();
    const [draining, proofs, all] = await Promise.all([
      table.draining(),
      failedProofs(redis, keys),
      known(beats, granted),
    ]);
    const orgs = org === everyOrg ? await goByDefault([...all], beats) : [org];
    const deps = { divergences, migrated, now, draining, proofs };
    const facts = await Promise.all(orgs.map((each) => factsOf(each, deps)));
    return { now, beats, orgs: facts, known: org === everyOrg || all.has(org) };
  }

  async function goByDefault(all: string[], beats: Facts['beats']): Promise<string[]> {
    const { settings } = await table.all();
    const named = new Set(await places.named(beats));
    return all.filter((org) => !settings.has(org) && !named.has(org)).sort();
  }

  async function judged(org: string, asked: AskedStep, granted: readonly string[]) {
    const facts = await stepFacts(org, granted);
    const placed = await places.known(org, facts.beats);
    return { placed, conditions: conditionsOf(asked, placed, facts) };
  }

  return {
    one,

    /** @param granted what the caller may see; with `whole` every organization that is known beside. */
    async list(
      granted: readonly string[],
      whole: boolean,
      after?: string,
    ): Promise<{ stages: StageView[]; next?: string }> {
      const facts = await status.facts();
      const found = whole ? [everyOrg, ...(await known(facts.beats, granted))] : granted;
      const all = [...new Set(found)].sort().filter((org) => after === undefined || org > after);
      const some = all.slice(0, listed);
      const draining = await table.draining();
      const stages: StageView[] = [];
      for (const org of some) stages.push(await view(org, await places.known(org, facts.beats), facts.now, draining));
      const last = all.length > some.length ? some.at(-1) : undefined;
      return { stages, ...(last !== undefined && { next: last }) };
    },

    /** Every condition of a step; nothing is changed. */
    async plan(org: string, asked: AskedStep, granted: readonly string[]): Promise<StagePlan> {
      const [now, { conditions }] = await Promise.all([one(org), judged(org, asked, granted)]);
      const open = conditions.filter(({ holds }) => !holds);
      return {
        ...{ now, asked: { stage: asked.stage, percent: asked.percent }, conditions },
        possible: open.length === 0,
        forcible: open.every(({ forcible }) => forcible),
      };
    },

    /**
     * What is so already changes nothing. Error: `stage_changed`. @param begun called before anything is changed.
     * @param granted organizations that callers are granted.
     */
    async set(
      org: string,
      asked: AskedChange,
      granted: readonly string[],
      begun: () => Promise<void>,
    ): Promise<StageSet> {
      const { placed, conditions } = await judged(org, asked, granted);
      const present = placed === 'forged' ? undefined : placed;
      if (asked.version !== undefined && asked.version !== (present?.version ?? 0))
        throw new PassferryError('stage_changed');
      if (present?.from === 'organization' && present.stage === asked.stage && present.percent === asked.percent) {
        return { stage: await one(org), overruled: [] };
      }
      const open = conditions.filter(({ holds }) => !holds);
      const refused = asked.force ? open.some(({ forcible }) => !forcible) : open.length > 0;
      if (refused) return { refused: open };
      await begun();
      const { stage, percent, by, reason } = asked;
      const forced = open.length > 0 && reason !== undefined ? { forced: reason } : {};
      await replace(org, placed, { stage, percent, by, ...forced });
      return { stage: await one(org), overruled: open.map(({ condition }) => condition) };
    },
  };

  async function replace(
    org: string,
    placed: Placed | 'forged' | undefined,
    next: { stage: Stage; percent: number; by: string; forced?: string },
  ): Promise<void> {
    if (placed === 'forged') {
      const seen = await table.stored(org);
      await table.set(org, seen, next, { stage: next.stage, percent: 0, version: versionIn(seen), since: 0 });
      return;
    }
    // That nobody tells where it stands is a condition that nothing goes over.
    if (!placed) throw new PassferryError('internal');
    const [own, all] = placed.from === 'organization' ? [placed.stored.slice(0, -1)] : ['', placed.stored.slice(1)];
    await table.set(org, own, next, placed, org === everyOrg ? undefined : all);
  }
}

/** Of a setting that is not ours: a copy of the real one must not come after what a person says now. */
function versionIn(stored: string): number {
  const version = Number(/"version":(\d{1,9})\b/.exec(stored)?.[1] ?? 0);
  return version < 1_000_000 ? version : 0;
}
