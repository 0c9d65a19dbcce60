/**
 * Health is progress: a process that runs, with connections that are up, may still do nothing (F20). Progress is a job that
 * ended or was put off for a known reason, or Redis saying that nothing waits. An idle worker makes progress by that.
 */
export interface Pulse {
  /** A job ended, or waits for a known reason. */
  moved(): void;
  /** How long there was none, ms. A Redis that does not answer is no progress either. */
  stuckForMs(): number;
  stop(): void;
}

const everyMs = 2_000;

/** @param anyWaits Does any job wait for a worker? May hang or reject: it is asked again, one question at a time. */
export function startPulse(anyWaits: () => Promise<boolean>): Pulse {
  let last = performance.now();
  let asking = false;
  const moved = () => {
    last = performance.now();
  };
  async function look(): Promise<void> {
    if (asking) return;
    asking = true;
    try {
      if (!(await anyWaits())) moved();
    } catch {
      // No answer, no progress.
    } finally {
      asking = false;
    }
  }
  const timer = setInterval(look, everyMs);
  timer.unref();
  return {
    moved,
    // The look itself comes every two seconds: less is not stuck.
    stuckForMs: () => Math.max(0, Math.round(performance.now() - last - everyMs)),
    stop: () => clearInterval(timer),
  };
}
