import { SingleBar } from 'cli-progress';
import type { RunView } from '../run.ts';
import { counted, duration, grouped, note, printable } from './output.ts';

export interface ProgressDisplay {
  show(view: RunView): void;
  /** Something the reader must know now; does not tear the bar. */
  hint(line: string): void;
  stop(): void;
}

/** Time between plain lines, ms; a change of state is told at once. */
const lineEvery = 2000;

/** A bar on a terminal, a plain line every 2 s elsewhere, nothing when quiet. All on stderr. */
export function progressDisplay(quiet: boolean, tty = process.stderr.isTTY === true): ProgressDisplay {
  if (quiet) return { show: () => {}, hint: note, stop: () => {} };
  return tty ? bar() : lines();
}

/** Rows that get an outcome: rejected ones never do. */
const totalOf = (view: RunView) => Math.max(view.received - view.rejected, view.finished);

/** Rows a second and what is left: as the server says, else since the first look. */
function speedometer() {
  let from: { at: number; finished: number } | undefined;
  return (view: RunView): { rate: number; eta: string } => {
    const now = performance.now();
    from ??= { at: now, finished: view.finished };
    const seconds = (now - from.at) / 1000;
    const rate = view.rate ?? (seconds > 0 ? (view.finished - from.finished) / seconds : 0);
    const rest = totalOf(view) - view.finished;
    const left = rest === 0 ? 0 : (view.etaSeconds ?? (rate > 0 ? rest / rate : undefined));
    return { rate, eta: left === undefined ? 'unknown' : duration(left * 1000) };
  };
}

/** How it is in a few words: the state, why it stands still, what has gone wrong so far. */
export function standingOf(view: RunView): string {
  const slow = view.limitedBy === undefined ? '' : ` (limited by ${view.limitedBy})`;
  const why = view.reason === undefined ? slow : ` (${view.reason})`;
  const { notBefore } = view.options ?? {};
  const waits = view.state === 'running' && notBefore !== undefined && notBefore > Date.now();
  const state = waits
    ? `waits until ${new Date(notBefore).toISOString().slice(0, 16).replace('T', ' ')} UTC`
    : view.state;
  const bad = (['rejected', 'failed', 'expired', 'canceled', 'superseded', 'stale'] as const)
    .filter((name) => view[name] > 0)
    .map((name) => `${grouped(view[name])} ${name}`);
  return printable([`${state}${why}`, ...bad].join(', '));
}

function bar(): ProgressDisplay {
  const single = new SingleBar({
    format: '{bar} {percentage}% | {value} of {total} rows | {rate} rows/s | {eta_text} left | {state}',
    stream: process.stderr,
    hideCursor: true,
    barsize: 24,
    barCompleteChar: '#',
    barIncompleteChar: '.',
    fps: 5,
  });
  const speed = speedometer();
  let started = false;
  let advice: string | undefined;
  return {
    show(view) {
      const { rate, eta } = speed(view);
      const payload = { rate: grouped(rate), eta_text: eta, state: standingOf(view) };
      if (view.advice !== advice) {
        advice = view.advice;
        if (advice !== undefined) this.hint(printable(advice));
      }
      if (!started) single.start(totalOf(view), view.finished, payload);
      started = true;
      single.setTotal(totalOf(view));
      single.update(Math.min(view.finished, totalOf(view)), payload);
    },
    hint(line) {
      note(started ? `\n${line}` : line);
    },
    stop() {
      if (started) single.stop();
      started = false;
    },
  };
}

function lines(): ProgressDisplay {
  const speed = speedometer();
  let last = Number.NEGATIVE_INFINITY;
  let state = '';
  return {
    show(view) {
      const { rate, eta } = speed(view);
      const now = performance.now();
      const newState = `${view.state} ${view.reason ?? ''}`;
      if (now - last < lineEvery && newState === state) return;
      last = now;
      if (newState !== state && view.advice !== undefined) note(printable(view.advice));
      state = newState;
      note(
        `${grouped(view.finished)} of ${counted(totalOf(view), 'row')}, ${grouped(rate)} rows/s, ${eta} left; ${standingOf(view)}`,
      );
    },
    hint: note,
    stop: () => {},
  };
}
