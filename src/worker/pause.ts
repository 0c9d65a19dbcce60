/** Something is refused until a person repairs it: everything waits, and one job at a time looks whether it works again. */
export interface Pause {
  /** ms to wait; 0: go. When a pause is over only the first who asks goes, the others wait for what becomes of it. */
  waitMs(): number;
  /** ms until the next try. Only a look: nobody becomes the one that tries. */
  leftMs(): number;
  /** Returns ms until the next try. */
  failed(): number;
  /** True when this ended a pause. */
  succeeded(): boolean;
  readonly paused: boolean;
}

/** How long the one that tries has before the next one does: it may turn out to be expired or busy. */
const tryMs = 5_000;

/** Waits `firstMs`, doubling to `longestMs`, each with up to a quarter of jitter more. */
export function createPause(
  firstMs: number,
  longestMs: number,
  now: () => number = Date.now,
  random: () => number = Math.random,
): Pause {
  let failures = 0;
  let until = 0;
  /** The one that tries is on its way: its failure is a new one, not an echo. */
  let trying = false;

  return {
    waitMs() {
      if (failures === 0) return 0;
      if (now() < until) return until - now();
      trying = true;
      until = now() + Math.min(tryMs, firstMs);
      return 0;
    },
    failed() {
      // Many that were under way fail together: that is one failure.
      if (failures === 0 || trying || now() >= until) {
        failures++;
        until = now() + Math.min(longestMs, firstMs * 2 ** Math.min(20, failures - 1)) * (1 + random() / 4);
      }
      trying = false;
      return until - now();
    },
    leftMs: () => (failures === 0 ? 0 : Math.max(0, until - now())),
    succeeded() {
      const ended = failures > 0;
      failures = 0;
      until = 0;
      trying = false;
      return ended;
    },
    get paused() {
      return failures > 0;
    },
  };
}

/** A pause for each organization that needs one; the others are not slowed. */
export function createOrganizationPauses(firstMs: number, longestMs: number, now: () => number = Date.now) {
  const pauses = new Map<string, Pause>();
  return {
    waitMs: (org: string): number => pauses.get(org)?.waitMs() ?? 0,
    failed(org: string): number {
      let pause = pauses.get(org);
      if (!pause) {
        pause = createPause(firstMs, longestMs, now);
        pauses.set(org, pause);
      }
      return pause.failed();
    },
    /** How many wait. */
    size: () => pauses.size,
    /** True when this ended a pause. */
    succeeded: (org: string): boolean => pauses.delete(org),
  };
}
