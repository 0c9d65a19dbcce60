import type { MigrationCounts, MigrationMode } from '../migration.ts';
import {
  type HoldReason,
  holdReasons,
  type RunLimit,
  type RunOptions,
  type RunState,
  type RunView,
  rowCounts,
} from '../run.ts';
import { forecastOf, migrationForecast } from './run-forecast.ts';
import { optionsNow } from './run-options.ts';

/** Field of a run: what became of the hash that was tried on a user of a backend. */
export const probeField = (backend: string, what: string) => `probe:${backend} ${what}`;

function probesOf(f: Record<string, string>): Record<string, 'works' | 'fails' | 'not_tried'> {
  return Object.fromEntries(
    Object.entries(f).flatMap(([name, said]) =>
      name.startsWith('probe:') ? [[name.slice('probe:'.length), said as 'works']] : [],
    ),
  );
}

/** Counters of hashes that were looked for after they were stored. */
export const storedFields = { seen: 'hashSeen', missing: 'hashMissing', unknown: 'hashUnseen' } as const;

function hashesOf(f: Record<string, string>, { known }: RunOptions): Pick<RunView, 'hashes'> {
  if (!Number(f.hashes ?? 0)) return {};
  const probes = probesOf(f);
  const stored = Object.fromEntries(
    Object.entries(storedFields).map(([name, field]) => [name, Number(f[field] ?? 0)]),
  ) as Record<keyof typeof storedFields, number>;
  return {
    hashes: {
      rows: Number(f.hashes),
      policyChecked: false,
      proved: known === 'matched' ? 'known_password' : 'not_proved',
      ...(Object.keys(probes).length > 0 && { probes }),
      ...(Object.values(stored).some((count) => count > 0) && { stored }),
    },
  };
}

/** A run as its callers see it. @param f the fields of its record */
export function toView(f: Record<string, string>): RunView {
  const count = (name: string) => Number(f[name] ?? 0);
  const time = (name: string) => new Date(count(name)).toISOString();
  const counts = Object.fromEntries(rowCounts.map((name) => [name, count(name)])) as Record<
    (typeof rowCounts)[number],
    number
  >;
  const state = (f.state === 'running' && f.input === 'open' ? 'receiving' : f.state) as RunState;
  const reason = state === 'holding' && f.reason && f.reason in holdReasons ? (f.reason as HoldReason) : undefined;
  const rate = state === 'running' || state === 'receiving' ? Number(f.rate ?? 0) : 0;
  const left = count('accepted') - count('finished');
  const options = optionsNow(f);
  const proofs = count('proofWorks') + count('proofFails') + count('proofUnknown');
  return {
    id: f.id as string,
    org: f.org as string,
    caller: f.caller as string,
    state,
    ...(reason && { reason, advice: holdReasons[reason] }),
    ...(f.mails !== undefined && { mails: count('mails') }),
    received: count('accepted') + count('rejected'),
    rejected: count('rejected'),
    ...(count('repeated') > 0 && { repeated: count('repeated') }),
    ...hashesOf(f, options),
    accepted: count('accepted'),
    finished: count('finished'),
    inflight: Math.max(0, count('inflight')),
    ...counts,
    notInEffect:
      count('accepted') +
      count('rejected') -
      [...['set', 'unchanged', 'linkSent', 'wouldSet'], ...['mirrored', 'wouldMirror', 'equal']].reduce(
        (sum, name) => sum + count(name),
        0,
      ),
    ...(f.sessionsEnded !== undefined && { sessionsEnded: count('sessionsEnded') }),
    ...(f.sessionsKept !== undefined && { sessionsKept: count('sessionsKept') }),
    ...(options.dryRun && { wouldSet: count('wouldSet'), forecast: forecastOf(f, options) }),
    ...(proofs > 0 && {
      proof: { works: count('proofWorks'), fails: count('proofFails'), unknown: count('proofUnknown') },
    }),
    ...(state === 'running' && f.limitedBy !== undefined && { limitedBy: f.limitedBy as RunLimit }),
    ...(rate > 0 && { rate: Math.round(rate * 10) / 10 }),
    ...(rate > 0 && f.input === 'closed' && { etaSeconds: Math.ceil(left / rate) }),
    options,
    ...(f.content && { digest: f.content }),
    acceptedAt: time('acceptedAt'),
    expiresAt: time('expiresAt'),
    ...(f.finishedAt && { finishedAt: time('finishedAt') }),
  };
}

/** What only a migration has. */
export function withMigration(
  view: RunView,
  f: Record<string, string>,
  mode: MigrationMode,
  counts: MigrationCounts,
): RunView {
  const names = ['mirrored', 'wouldMirror', 'equal', 'differs'] as const;
  const probes = probesOf(f);
  return {
    ...view,
    ...Object.fromEntries(names.flatMap((name) => (f[name] === undefined ? [] : [[name, Number(f[name])]]))),
    migration: {
      mode,
      ...counts,
      ...(Object.keys(probes).length > 0 && { probes }),
      ...(mode === 'plan' && { forecast: migrationForecast(f, view.options) }),
    },
  };
}
