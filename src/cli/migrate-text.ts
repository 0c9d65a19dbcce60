import { migrationFacts } from '../producer/migration/reasons.ts';
import type { RunView } from '../run.ts';
import { counted, duration, grouped, printable } from './output.ts';
import { standingOf } from './progress.ts';

const good = new Set(['would_mirror', 'would_create', 'mirrored', 'followed', 'created', 'unchanged', 'equal']);
const words: Record<string, string> = {
  would_mirror: 'would be brought over',
  would_create: 'would be added to v2',
  mirrored: 'brought over',
  followed: 'brought over, as Passferry had set it in v1',
  created: 'added to v2',
  unchanged: 'in step already',
  equal: 'equal on both sides',
  behind: 'v2 is behind',
  ahead: 'v2 is ahead: a later choice there, which is kept',
  missing: 'missing on one side',
  unknown: 'cannot be told by reading',
  backend_forbidden: 'in an organization in which we lack the permission in v2',
  cost_too_low: 'with a hash that is too cheap for v2',
};

function textOf(verdict: string): string {
  const facts = Object.hasOwn(migrationFacts, verdict)
    ? migrationFacts[verdict as keyof typeof migrationFacts]
    : undefined;
  return words[verdict] ?? facts?.[1] ?? verdict;
}

/** Numbers of users by what became of them, the good ones first. */
function verdictLines({ migration }: RunView): string[] {
  const all = Object.entries(migration?.verdicts ?? {}).sort(
    ([a, n], [b, m]) => Number(good.has(b)) - Number(good.has(a)) || m - n,
  );
  return all.map(([verdict, n]) => `${grouped(n).padStart(9)}  ${printable(verdict)}: ${printable(textOf(verdict))}`);
}

/** What a plan says: verdicts, hashes, states, organizations, and what it would take. @param command what would do it, for whoever wants it told */
export function planLines(view: RunView, command?: string): string[] {
  const { migration } = view;
  if (!migration) return [];
  const list = (counts: Record<string, number>) =>
    Object.entries(counts)
      .map(([name, n]) => `${grouped(n)} ${printable(name)}`)
      .join(', ');
  const { forecast, hashes, states, leftOut, organizations } = migration;
  const orgs = Object.entries(organizations);
  return [
    'plan: nothing was changed',
    ...verdictLines(view),
    ...(Object.keys(hashes).length > 0 ? [`hashes in v1: ${list(hashes)}`] : []),
    ...(Object.keys(states).length > 0 ? [`states that deserve a look: ${list(states)}`] : []),
    ...(Object.keys(leftOut).length > 0 ? [`rows of v1 left out: ${list(leftOut)}`] : []),
    ...(orgs.length > 1 ? orgs.map(([org, verdicts]) => `  ${printable(org)}: ${list(verdicts)}`) : []),
    ...(forecast?.mails
      ? [`${counted(forecast.mails, 'mail')} would be sent by v2: --mails=allow, or turn it off there`]
      : []),
    ...(forecast?.seconds === undefined
      ? []
      : [`it would take about ${duration(forecast.seconds * 1_000)} (limited by ${forecast.limitedBy})`]),
    ...(command === undefined ? [] : [`to do it: ${command}`]),
    ...((view.failed ?? 0) + view.rejected > 0
      ? [`who could not be brought over: passferry migrate rejects ${printable(view.id)}`]
      : []),
  ];
}

/** What would do what a plan tells of; undefined for all else. */
export function commandOf(view: RunView): string | undefined {
  if (view.migration?.mode !== 'plan') return undefined;
  const orgs = view.options.migration?.orgs ?? [];
  return `passferry migrate ${orgs.map((org) => `--org ${printable(org)} `).join('')}--execute`;
}

/** Where it stands, and what a person can do. */
export function migrationLines(view: RunView): string[] {
  const { migration, id } = view;
  const orgs = view.options.migration?.orgs ?? [];
  const some = orgs.length > 3 ? `${orgs.slice(0, 3).join(', ')} and ${orgs.length - 3} more` : orgs.join(', ');
  const eta = view.etaSeconds === undefined ? '' : `, ${duration(view.etaSeconds * 1_000)} left`;
  return [
    `${printable(id)}  ${migration?.mode ?? ''} of ${printable(some)}: ${grouped(view.finished)} of ${counted(view.accepted, 'user')}, ${standingOf(view)}${eta}`,
    ...(view.advice === undefined ? [] : [printable(view.advice)]),
  ];
}

/** The last word on one that is over. */
export function endLines(view: RunView): string[] {
  const left = (view.failed ?? 0) + view.rejected + (view.differs ?? 0);
  const probes = Object.entries(view.migration?.probes ?? {});
  return [
    ...verdictLines(view),
    ...probes.map(([what, said]) => `login with a hash of ${printable(what)}: ${printable(said)}`),
    ...(left > 0 ? [`each of them and why: passferry migrate rejects ${printable(view.id)}`] : []),
    `migration ${printable(view.id)} ${printable(view.state)}`,
  ];
}
