import { SingleBar } from 'cli-progress';
import { counted, duration, grouped, note } from './output.ts';

/** How far an import is. `total` grows while rows are received. */
export interface Progress {
  state: string;
  total: number;
  finished: number;
}

export interface ProgressDisplay {
  show(progress: Progress): void;
  /** Something the reader must know now; does not tear the bar. */
  hint(line: string): void;
  stop(): void;
}

/** Time between plain lines, ms. */
const lineEvery = 2000;

/** A bar on a terminal, a plain line every 2 s elsewhere, nothing when quiet. All on stderr. */
export function progressDisplay(quiet: boolean, tty = process.stderr.isTTY === true): ProgressDisplay {
  if (quiet) return { show: () => {}, hint: note, stop: () => {} };
  return tty ? bar() : lines();
}

/** Rows a second since the first look, and what is left at that speed. */
function speedometer() {
  let from: { at: number; finished: number } | undefined;
  return ({ finished, total }: Progress): { rate: number; eta: string } => {
    const now = performance.now();
    from ??= { at: now, finished };
    const seconds = (now - from.at) / 1000;
    const rate = seconds > 0 ? (finished - from.finished) / seconds : 0;
    return { rate, eta: rate > 0 ? duration(((total - finished) / rate) * 1000) : 'unknown' };
  };
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
  return {
    show(progress) {
      const { rate, eta } = speed(progress);
      const payload = { rate: grouped(rate), eta_text: eta, state: progress.state };
      if (!started) single.start(progress.total, progress.finished, payload);
      started = true;
      single.setTotal(progress.total);
      single.update(progress.finished, payload);
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
  return {
    show(progress) {
      const { rate, eta } = speed(progress);
      const now = performance.now();
      if (now - last < lineEvery) return;
      last = now;
      const { state, finished, total } = progress;
      note(`${state}: ${grouped(finished)} of ${counted(total, 'row')}, ${grouped(rate)} rows/s, ${eta} left`);
    },
    hint: note,
    stop: () => {},
  };
}
