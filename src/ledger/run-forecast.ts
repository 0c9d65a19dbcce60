import type { RunForecast, RunOptions } from '../run.ts';

/** Fields of a run that a dry run fills in. */
export const dryFields = {
  /** Rows that would be set in a backend. */
  rows: (backend: string) => `dryRows:${backend}`,
  coreMs: (backend: string) => `dryCoreMs:${backend}`,
  cores: (backend: string) => `dryCores:${backend}`,
  backendRate: (backend: string) => `dryRate:${backend}`,
  state: (state: string) => `dryState:${state}`,
  unchecked: (what: string) => `dryUnchecked:${what}`,
  forced: 'dryForced',
  mails: 'dryMails',
} as const;

/** Fields of a plan of a migration. */
export const planFields = {
  users: 'planUsers',
  /** Of reading both sides, all users together, ms. */
  ms: 'planMs',
  mails: 'planMails',
  /** Changes that go to v2 at once, by all workers that were seen; and rows a second towards it. */
  atOnce: 'planAtOnce',
  backendRate: 'planRate',
} as const;

/** What `execute` would come to, from what a plan has counted so far. Writing is taken to last as long as reading. */
export function migrationForecast(f: Record<string, string>, options: RunOptions) {
  const count = (name: string) => Number(f[name] ?? 0);
  const users = count('wouldMirror');
  const perUser = count(planFields.users) > 0 ? (2 * count(planFields.ms)) / count(planFields.users) : undefined;
  const atOnce = Math.min(count(planFields.atOnce) || 1, options.concurrency ?? Number.POSITIVE_INFINITY);
  const limits: ['rate' | 'backend_rate' | 'concurrency', number][] = [];
  if (perUser !== undefined) limits.push(['concurrency', (users * perUser) / atOnce / 1_000]);
  if (options.rate !== undefined) limits.push(['rate', users / options.rate]);
  if (count(planFields.backendRate) > 0) limits.push(['backend_rate', users / count(planFields.backendRate)]);
  const [limitedBy, seconds] = limits.sort((a, b) => b[1] - a[1])[0] ?? [];
  return {
    users,
    mails: count(planFields.mails),
    ...(seconds !== undefined && limitedBy && { seconds: Math.ceil(seconds), limitedBy }),
  };
}

/** What the real run would come to, from what its dry run has counted so far. */
export function forecastOf(f: Record<string, string>, options: RunOptions): RunForecast {
  const count = (name: string) => Number(f[name] ?? 0);
  const [v1, v2] = [count(dryFields.rows('v1')), count(dryFields.rows('v2'))];
  const rows = v1 + v2;
  // Of v2 only where workers hash for it.
  const coreSeconds = (backend: string, n: number) => (n * count(dryFields.coreMs(backend))) / 1_000;
  const timed = (backend: string) => f[dryFields.coreMs(backend)] !== undefined;
  const all = coreSeconds('v1', v1) + coreSeconds('v2', v2);
  // The way to each backend is its own; a limit of the run is one for all.
  const limits: [RunForecast['limitedBy'], number][] = [];
  for (const [backend, n] of Object.entries({ v1, v2 })) {
    if (n === 0 || !timed(backend)) continue;
    limits.push(['hashing', coreSeconds(backend, n) / Math.max(1, count(dryFields.cores(backend)))]);
  }
  const backendRate = count(dryFields.backendRate('v2'));
  if (v2 > 0 && backendRate > 0) limits.push(['backend_rate', v2 / backendRate]);
  if (options.rate !== undefined && rows > 0) limits.push(['rate', rows / options.rate]);
  // How fast a backend elsewhere is, only the real run can tell.
  const isKnown =
    (v1 === 0 || timed('v1') || options.rate !== undefined) &&
    (v2 === 0 || timed('v2') || backendRate > 0 || options.rate !== undefined);
  const [limitedBy, seconds] = limits.sort((a, b) => b[1] - a[1])[0] ?? [];
  const states = Object.fromEntries(
    (['locked', 'inactive', 'initial', 'machine'] as const).map((state) => [state, count(dryFields.state(state))]),
  ) as Pick<RunForecast, 'locked' | 'inactive' | 'initial' | 'machine'>;
  return {
    rows,
    ...states,
    changeRequired: count(dryFields.forced),
    mails: count(dryFields.mails),
    unchecked: (['policy', 'mails', 'reuse'] as const).filter((what) => count(dryFields.unchecked(what)) > 0),
    ...((timed('v1') || timed('v2')) && { coreHours: Math.round((all / 3_600) * 1_000) / 1_000 }),
    ...(isKnown && seconds !== undefined && { seconds: Math.ceil(seconds), ...(limitedBy && { limitedBy }) }),
  };
}
