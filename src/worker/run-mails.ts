import type { Redis } from 'ioredis';
import { toPassferryError } from '../errors.ts';
import type { BackendName } from '../job.ts';
import type { Keys } from '../keys.ts';
import type { Pages } from '../ledger/pages.ts';
import type { RunControl } from '../ledger/run-control.ts';
import type { Log } from '../log.ts';
import type { RunOptions } from '../run.ts';
import type { Lane } from './lane.ts';
import type { KnownStages } from './stages.ts';

export type RunMails = ReturnType<typeof createRunMails>;

const reason = 'mails_not_allowed';
/** Looked at in one round: other runs want to be fed too. */
const roundMs = 100;
const askMs = 5_000;
const toldOrgs = 20;

/** How far the rows of a run were looked at. */
interface Look {
  pages: number;
  /** Everything that was stored was looked at once. */
  caughtUp: boolean;
  mails: number;
  held: boolean;
  /** Its rows go to v2, whoever leads. */
  isMigration: boolean;
  orgs: Map<string, boolean>;
}

/**
 * Keeps rows back that the backend would mail users about, unless the run may send mails. Each organization is asked once a run; what
 * cannot be read counts as on. Asked by whoever feeds runs.
 */
export function createRunMails(options: {
  redis: Redis;
  keys: Keys;
  pages: Pages;
  runs: RunControl;
  stages: KnownStages;
  lanes: Partial<Record<BackendName, Lane>>;
  log: Log;
}) {
  const { redis, keys, pages, runs, stages, lanes, log } = options;
  const looks = new Map<string, Look>();
  const anyTells = Object.values(lanes).some(({ backend }) => backend.mailsOnChange);

  /** Undefined: it cannot be asked now. */
  async function sends(look: Look, org: string): Promise<boolean | undefined> {
    const known = look.orgs.get(org);
    if (known !== undefined) return known;
    const lane = lanes[look.isMigration ? 'v2' : stages.leaderOf(org)];
    let told: boolean | undefined = false;
    if (lane?.backend.mailsOnChange) {
      if (((await lane.stands())?.leftMs ?? 0) > 0) return undefined;
      try {
        told = await lane.backend.mailsOnChange(org, AbortSignal.timeout(askMs));
      } catch (thrown) {
        lane.waitAfter(toPassferryError(thrown), org);
        return undefined;
      }
    }
    look.orgs.set(org, told ?? true);
    return told ?? true;
  }

  /** False: it cannot be looked at now. */
  async function lookAt(run: string, look: Look): Promise<boolean> {
    const read = await pages.read(run, look.pages);
    const rows = new Map<string, number>();
    for (const { org = read?.page.head.org as string, refused } of read?.page.rows ?? []) {
      if (refused === undefined) rows.set(org, (rows.get(org) ?? 0) + 1);
    }
    let mails = 0;
    for (const [org, n] of rows) {
      const answer = await sends(look, org);
      if (answer === undefined) return false;
      if (answer) mails += n;
    }
    look.mails += mails;
    look.pages++;
    return true;
  }

  return {
    /**
     * So many pages, from the first one, may be fed; `f` are the fields of the run. Holds the run when its rows would send mails, and goes
     * on counting them while it holds. What was stored before the first look is looked at as a whole before a row begins.
     */
    async fence(run: string, f: Record<string, string>): Promise<number> {
      const stored = Number(f.pages ?? 0);
      const { dryRun, mails, reset, migration } = JSON.parse(f.options ?? '{}') as RunOptions;
      const allowed = mails === 'allow' || f.overruled?.includes(` ${reason} `) === true;
      // A link is a mail that was asked for.
      if (!anyTells || dryRun || allowed || reset?.mode === 'link') return stored;
      if (migration && migration.mode !== 'execute') return stored;
      if (f.state !== 'running' && !(f.state === 'holding' && f.reason === reason)) return 0;
      let look = looks.get(run);
      if (!look || (look.held && f.state === 'running')) {
        if (looks.size > 1_000) looks.clear();
        look = {
          pages: 0,
          caughtUp: false,
          mails: 0,
          held: f.state === 'holding',
          isMigration: migration !== undefined,
          orgs: new Map(),
        };
        looks.set(run, look);
      }
      const until = performance.now() + roundMs;
      while (look.pages < stored && performance.now() < until) if (!(await lookAt(run, look))) break;
      look.caughtUp ||= look.pages >= stored;
      const isMore = look.mails > Number(f.mails ?? 0) || (look.caughtUp && f.mails !== undefined);
      if (isMore && String(look.mails) !== f.mails) await redis.hset(keys.run(run), 'mails', look.mails);
      if (look.mails > 0) {
        if (f.state === 'running' && (await runs.hold(run, reason))) {
          look.held = true;
          const orgs = [...look.orgs].flatMap(([org, mailed]) => (mailed ? [org] : [])).slice(0, toldOrgs);
          log.info({ runId: run, orgs, mails: look.mails }, 'a run would send mails that nobody allowed; it holds');
        }
        return 0;
      }
      return look.caughtUp ? look.pages : 0;
    },
  };
}
