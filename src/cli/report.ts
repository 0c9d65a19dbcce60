import type { RunForecast, RunView } from '../run.ts';
import { counted, duration, grouped, printable, say, sayJson } from './output.ts';
import type { Rejects } from './rejects.ts';

const explained = {
  rejected: 'could not be read or are not valid',
  failed: 'were refused by the backend or not allowed',
  expired: 'did not finish in time',
  canceled: 'were cancelled',
  superseded: 'gave way to a newer change',
  stale: 'gave way to a later change than the time they are of',
} as const;
const kinds = Object.keys(explained) as (keyof typeof explained)[];

/** Rows whose password is not the one in force. */
export function notInEffect(view: RunView): number {
  return kinds.reduce((sum, kind) => sum + (view[kind] ?? 0), 0);
}

/** What the last word on an import is made of. */
export interface Report {
  view: RunView;
  key?: string | undefined;
  rejects: Rejects;
}

function speedOf({ view }: Report) {
  const ms = view.finishedAt ? Date.parse(view.finishedAt) - Date.parse(view.acceptedAt) : undefined;
  const rows = view.set + view.unchanged + notInEffect(view);
  return { ms, rate: ms !== undefined && ms > 0 ? (rows / ms) * 1000 : undefined };
}

const byNumber = ({ reasons }: Rejects) => [...reasons].sort((a, b) => b[1].rows - a[1].rows);

export function reportJson(report: Report): object {
  const { view, key, rejects } = report;
  const { ms, rate } = speedOf(report);
  return {
    ...view,
    ...(key !== undefined && { key }),
    inEffect: view.set + view.unchanged,
    notInEffect: notInEffect(view),
    reasons: Object.fromEntries(byNumber(rejects).map(([reason, { rows }]) => [reason, rows])),
    ...(ms !== undefined && { seconds: ms / 1000 }),
    ...(rate !== undefined && { rowsPerSecond: Math.round(rate) }),
    ...(rejects.path !== undefined && { rejectsFile: rejects.path }),
    ...(rejects.hints.length > 0 && { hints: rejects.hints }),
  };
}

/** What went wrong comes first, then what to do. */
export function reportLines(report: Report): string[] {
  const { view, rejects } = report;
  const missing = notInEffect(view);
  const set = view.wouldSet ?? view.set + view.unchanged;
  const { ms, rate } = speedOf(report);
  const dry = view.options?.dryRun === true;
  const lines: string[] = [];
  if (dry) lines.push('dry run: nothing was changed');
  if (missing > 0) {
    lines.push(`${counted(missing, 'row')} ${dry ? 'would NOT be' : missing === 1 ? 'is NOT' : 'are NOT'} in effect`);
  }
  lines.push(`${counted(set, 'row')} ${dry ? 'would be set' : 'set'}`);
  if (view.forecast) lines.push(...forecastLines(view.forecast));
  for (const kind of kinds) {
    const n = view[kind] ?? 0;
    if (n > 0) lines.push(`${grouped(n)} ${kind}: ${explained[kind]}`);
  }
  if (view.hashes) lines.push(...hashLines(view.hashes));
  if (view.repeated) {
    const refuses = view.options?.duplicates === 'refuse';
    const which = refuses
      ? 'the FIRST row of each was taken and these refused; find out which is right'
      : 'of each user the last row wins';
    lines.push(`${counted(view.repeated, 'row')} named a user again: ${which}`);
  }
  for (const [reason, { rows, advice }] of byNumber(rejects)) {
    lines.push(`  ${grouped(rows)} × ${printable(reason)}${advice === undefined ? '' : `: ${printable(advice)}`}`);
  }
  if (rejects.path !== undefined && isForeign(view)) {
    lines.push(`what is wrong, row by row: ${printable(rejects.path)}`, ...sourceLines(view));
  } else if (rejects.path !== undefined) {
    lines.push(`rows to correct: ${printable(rejects.path)}`);
    lines.push(`then only these: passferry import ${printable(rejects.path)} --as-of …`);
    if (rejects.blank) {
      lines.push('their passwords are blank there; with them, from the file that was sent:');
      lines.push(`  passferry imports rejects ${printable(view.id)} --with-secrets --file FILE`);
    }
  }
  if (view.failed + view.expired > nameless(rejects) && view.state === 'completed' && !dry) {
    lines.push(`once the cause is gone: passferry imports retry ${printable(view.id)}`);
  }
  for (const hint of rejects.hints) lines.push(hint);
  const speed = ms === undefined ? '' : `, ${duration(ms)}${rate === undefined ? '' : `, ${grouped(rate)} rows/s`}`;
  lines.push(`import ${printable(view.id)} ${printable(view.state)}${speed}`);
  return lines;
}

/** Of another product: its file cannot be written by us. */
export const isForeign = ({ options }: RunView) => options?.source !== undefined && options.reset === undefined;

/** How rows of such a file are corrected. Who is in effect must be older than the file says: else later choices would be lost. */
export function sourceLines({ options, acceptedAt }: RunView): string[] {
  const { asOf, asOfNow, dryRun, map = {} } = options;
  const said = asOf !== undefined ? new Date(asOf).toISOString() : asOfNow ? printable(acceptedAt) : undefined;
  const age = said === undefined ? (map.setAt === undefined ? ' --overwrite-newer' : '') : ` --as-of ${said}`;
  return [
    'correct these rows in the source file, and import that again:',
    `  passferry import FILE${age}`,
    ...(dryRun || age === ' --overwrite-newer'
      ? []
      : ['  (rows that are in effect end stale, unchanged or superseded then: they keep their password)']),
  ];
}

/** Rows whose name found nobody, or several: to send them again changes nothing. */
function nameless({ reasons }: Rejects): number {
  const rows = (reason: string) => reasons.get(reason)?.rows ?? 0;
  return rows('user_not_found') + rows('user_ambiguous');
}

/** What a report of hashes must not leave unsaid. */
function hashLines({ rows, proved, probes = {} }: NonNullable<RunView['hashes']>): string[] {
  const untried = Object.entries(probes).flatMap(([what, said]) => (said === 'works' ? [] : [what]));
  return [
    `${counted(rows, 'row')} had a hash: the password policy was not checked for them`,
    proved === 'known_password'
      ? 'a known password of the source matched its hash'
      : 'NOT PROVED that their users can log in: no known password of the source was given (--known USER)',
    ...(untried.length > 0 ? [`not tried on a user of the target: ${printable(untried.join(', '))}`] : []),
  ];
}

function forecastLines(forecast: RunForecast): string[] {
  const { seconds, coreHours, changeRequired, mails, unchecked } = forecast;
  const odd = (['locked', 'inactive', 'initial', 'machine'] as const).filter((state) => forecast[state] > 0);
  return [
    ...(seconds === undefined ? [] : [`the real run would take about ${duration(seconds * 1_000)}`]),
    ...(coreHours === undefined ? [] : [`hashing: about ${coreHours.toFixed(1)} core-hours`]),
    ...(changeRequired > 0 ? [`${counted(changeRequired, 'user')} would have to change it at the next login`] : []),
    ...(mails > 0 ? [`${counted(mails, 'mail')} would be sent by the backend`] : []),
    ...(odd.length > 0 ? [`users: ${odd.map((state) => `${grouped(forecast[state])} ${state}`).join(', ')}`] : []),
    ...(unchecked.length > 0 ? [`not looked at: ${unchecked.join(', ')}`] : []),
  ];
}

/** A page that stands alone: no script, nothing from elsewhere. */
export function reportHtml(report: Report): string {
  const escaped = (text: string) => text.replace(/[&<>"']/g, (c) => `&#${c.codePointAt(0)};`);
  const { view, rejects } = report;
  const row = (cells: (string | number)[]) =>
    `<tr>${cells.map((each) => `<td>${escaped(String(each))}</td>`).join('')}</tr>`;
  const counts = (['set', 'unchanged', ...kinds] as const).map((kind) => row([kind, grouped(view[kind])]));
  const reasons = byNumber(rejects).map(([reason, { rows, advice = '' }]) => row([reason, grouped(rows), advice]));
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Import ${escaped(view.id)}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:50em;margin:2em auto;padding:0 1em}td{padding:.2em 1em .2em 0;vertical-align:top}</style>
<h1>Import ${escaped(view.id)}</h1>
<pre>${escaped(reportLines(report).join('\n'))}</pre>
<p>Organization ${escaped(view.org)}, by ${escaped(view.caller)}, ${escaped(view.acceptedAt)} to ${escaped(view.finishedAt ?? '…')}</p>
<table>${counts.join('')}</table>
<h2>Reasons</h2><table>${reasons.join('')}</table>
</html>
`;
}

/** On stdout, as text or as one JSON object. */
export function printReport(report: Report, json: boolean): void {
  if (json) sayJson(reportJson(report));
  else for (const line of reportLines(report)) say(line);
}

/** Truthful about what a reset does not end. */
export function sessionsLine({ options, sessionsEnded = 0, sessionsKept = 0 }: RunView): string {
  if (!options.reset?.endSessions) return 'sessions and tokens stay valid';
  const kept = sessionsKept > 0 ? `; those of ${counted(sessionsKept, 'user')} could not be ended and stay valid` : '';
  return `${counted(sessionsEnded, 'session')} ended${kept}; tokens that were issued before stay valid until they expire`;
}
