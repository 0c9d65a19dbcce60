import type { Condition } from '../producer/stages/conditions.ts';
import type { StageView } from '../producer/stages/desk.ts';
import { duration, grouped, printable } from './output.ts';

/** A table for tired eyes: where logins go, who is written, what is not as it should be, what going back would cost. */
export function stageLines(stages: StageView[]): string[] {
  if (stages.length === 0) return ['no organization is known'];
  const rows = stages.map((each) => [
    each.org === '*' ? '* (all others)' : printable(each.org),
    each.stage === null ? each.from.toUpperCase() : `${each.stage}${each.percent > 0 ? ` +${each.percent}%` : ''}`,
    each.leads === null ? '?' : loginsOf(each),
    each.leads === null ? '?' : each.follows === null ? each.leads : `${each.leads}, then ${each.follows}`,
    each.draining.leases === 0 ? '-' : `${each.draining.leases}, ${duration(each.draining.endsInMs)}`,
    behindText(each),
    backText(each),
    each.since === null ? 'configuration' : `${printable(each.since)} by ${printable(each.by ?? '?')}`,
  ]);
  const head = [
    'organization',
    'stage',
    'logins go to',
    'written',
    'draining',
    'not in step',
    'going back costs',
    'since',
  ];
  const widths = head.map((each, i) => Math.max(each.length, ...rows.map((row) => (row[i] as string).length)));
  const line = (cells: string[]) =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] as number))
      .join('  ')
      .trimEnd();
  const forced = stages.flatMap(({ org, forced: why }) =>
    why === undefined ? [] : [`${printable(org)} was forced: ${printable(why)}`],
  );
  return [line(head), ...rows.map(line), ...forced];
}

function loginsOf({ leads, percent, next }: StageView): string {
  const others = next === 'dual-v2' || next === 'v2' ? 'v2' : 'v1';
  return percent > 0 && others !== leads ? `${leads} (${percent}%: ${others})` : `${leads}`;
}

function behindText({ divergence: { count, byCause } }: StageView): string {
  if (count === 0) return '-';
  const [first] = Object.entries(byCause).sort((a, b) => b[1] - a[1]);
  return first ? `${grouped(count)} (${printable(first[0])})` : grouped(count);
}

function backText({ back: { to, people }, stage }: StageView): string {
  if (stage === null) return '?';
  if (to === null) return stage === 'v1' ? '-' : 'no way back';
  if (people === null) return 'nobody has looked';
  if (people === 0) return 'nothing';
  return people === 1 ? '1 newer password' : `${grouped(people)} newer passwords`;
}

/** One line while it drains. */
export const lineOf = ({ org, draining: { leases, endsInMs } }: StageView): string =>
  `${printable(org)}: ${leases} writes go by the older setting, ${duration(endsInMs)} at most`;

/** ✓ and ✗ with a word, for terminals that show neither. */
export function conditionLines(conditions: Condition[]): string[] {
  return conditions.flatMap(({ condition, holds, why, todo, forcible }) => [
    `${holds ? '✓ yes' : '✗ NO '}  ${condition.padEnd(16)} ${printable(why)}`,
    ...(holds ? [] : [`        → ${printable(todo)}${forcible ? '' : ' (no force goes over it)'}`]),
  ]);
}
