import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RunView } from '../../../run.ts';

/** How often a run is looked at while somebody waits, ms. */
const lookMs = 250;
/** Progress is told at most so often, ms. */
const tellMs = 1_000;

export const isOver = ({ state }: RunView) => state === 'completed' || state === 'cancelled';

/** Changes whenever the view does. */
export function etagOf(view: RunView): string {
  return `"${createHash('sha256').update(JSON.stringify(view)).digest('base64url').slice(0, 27)}"`;
}

/** `If-None-Match`: a list of tags, weak ones too, or `*`. */
export function isKnown(condition: string | undefined, tag: string): boolean {
  const tags = condition?.split(',').map((each) => each.trim().replace(/^W\//, '')) ?? [];
  return tags.includes('*') || tags.includes(tag);
}

/** Waits until the view is another than the known one or, where none is known, until the run is over; at most `waitMs`. */
export async function untilNews(
  read: () => Promise<RunView | undefined>,
  known: string | undefined,
  waitMs: number,
  signal: AbortSignal,
): Promise<void> {
  const until = performance.now() + waitMs;
  while (!signal.aborted) {
    const view = await read();
    if (!view || isOver(view) || (known !== undefined && !isKnown(known, etagOf(view)))) return;
    const left = until - performance.now();
    if (left <= 0) return;
    await sleep(Math.min(lookMs, left), undefined, { signal }).catch(() => {});
  }
}

/** Told once more only by its id: a reader that has the end stops there. */
export function endId({ finishedAt }: RunView): string | undefined {
  return finishedAt === undefined ? undefined : `${Date.parse(finishedAt)}-0`;
}

/** Server-sent events of one run: `state` when that changes, `progress` when a number does; the last is its end. */
export async function* runEvents(
  read: () => Promise<RunView | undefined>,
  signal: AbortSignal,
): AsyncGenerator<string, void> {
  let [state, tag] = ['', ''];
  while (!signal.aborted) {
    const view = await read().catch(() => 'unknown' as const);
    if (view === undefined) return;
    if (view !== 'unknown') {
      const [newState, newTag] = [`${view.state} ${view.reason ?? ''}`, etagOf(view)];
      if (newTag !== tag) {
        const id = isOver(view) ? endId(view) : undefined;
        const type = newState === state ? 'progress' : 'state';
        yield `${id === undefined ? '' : `id: ${id}\n`}event: ${type}\ndata: ${JSON.stringify(view)}\n\n`;
      }
      if (isOver(view)) return;
      [state, tag] = [newState, newTag];
    }
    await sleep(tellMs, undefined, { signal }).catch(() => {});
  }
}
