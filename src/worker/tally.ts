/** How much ended lately, by seconds of the last five minutes. */
export interface Tally {
  ended(): void;
  counts(): { last1m: number; last5m: number };
}

const kept = 300;

/** @param now ms, of a clock that never goes back. */
export function createTally(now: () => number = () => performance.now()): Tally {
  const seconds = new Map<number, number>();
  const second = () => Math.floor(now() / 1_000);

  return {
    ended() {
      const at = second();
      for (const [old] of seconds) {
        if (old > at - kept) break;
        seconds.delete(old);
      }
      seconds.set(at, (seconds.get(at) ?? 0) + 1);
    },
    counts() {
      const at = second();
      const since = (span: number) => {
        let sum = 0;
        for (const [each, count] of seconds) if (each > at - span) sum += count;
        return sum;
      };
      return { last1m: since(60), last5m: since(kept) };
    },
  };
}
