import type { RunView } from '../run.ts';
import { counted, duration, grouped, printable, say, sayJson } from './output.ts';
import type { Rejects } from './rejects.ts';

const explained = {
  rejected: 'could not be read or are not valid',
  failed: 'were refused by the backend or not allowed',
  expired: 'did not finish in time',
  canceled: 'were cancelled',
  superseded: 'gave way to a newer change',
  stale: "gave way to the user's own later change",
} as const;

/** Rows whose password is not the one in force. */
export function notInEffect(view: RunView): number {
  return (Object.keys(explained) as (keyof typeof explained)[]).reduce((sum, kind) => sum + (view[kind] ?? 0), 0);
}

/** The last word on an import: on stdout, as text or as one JSON object. What went wrong comes first. */
export function printReport(view: RunView, key: string, rejects: Rejects, json: boolean): void {
  const missing = notInEffect(view);
  const set = view.set + view.unchanged;
  const ms = view.finishedAt ? Date.parse(view.finishedAt) - Date.parse(view.acceptedAt) : undefined;
  const rate = ms !== undefined && ms > 0 ? ((set + missing) / ms) * 1000 : undefined;

  if (json) {
    sayJson({
      ...view,
      key,
      inEffect: set,
      notInEffect: missing,
      reasons: Object.fromEntries(rejects.reasons),
      ...(ms !== undefined && { seconds: ms / 1000 }),
      ...(rate !== undefined && { rowsPerSecond: Math.round(rate) }),
      ...(rejects.path !== undefined && { rejectsFile: rejects.path }),
    });
    return;
  }
  if (missing > 0) say(`${counted(missing, 'row')} ${missing === 1 ? 'is' : 'are'} NOT in effect`);
  say(`${counted(set, 'row')} set`);
  for (const [kind, text] of Object.entries(explained)) {
    const n = view[kind as keyof typeof explained] ?? 0;
    if (n > 0) say(`${grouped(n)} ${kind}: ${text}`);
  }
  for (const [reason, n] of [...rejects.reasons].sort((a, b) => b[1] - a[1]))
    say(`  ${grouped(n)} × ${printable(reason)}`);
  if (rejects.path !== undefined) say(`rows to correct, without passwords: ${printable(rejects.path)}`);
  for (const hint of rejects.hints) say(hint);
  const speed = ms === undefined ? '' : `, ${duration(ms)}${rate === undefined ? '' : `, ${grouped(rate)} rows/s`}`;
  say(`import ${printable(view.id)} ${printable(view.state)}${speed}`);
}
