/** Sent at once to one webhook, by all workers together. */
const places = { quick: 16, unknown: 4, slow: 1 };
const quickMs = 1_000;
const slowMs = 5_000;
const shortestTurnMs = 100;
/** Until something is known. */
const guessMs = 20;
const longestTurnMs = 30_000;
const mostKnown = 10_000;

/** How long each webhook takes, as this process has seen it, and what follows for its turns. */
export function createPace() {
  const average = new Map<string, number>();
  function placesOf(id: string): number {
    const ms = average.get(id) ?? quickMs;
    if (ms > slowMs) return places.slow;
    return ms < quickMs ? places.quick : places.unknown;
  }
  return {
    places: placesOf,
    took(id: string, ms: number) {
      const known = average.get(id) ?? ms;
      average.delete(id);
      average.set(id, known + 0.3 * (ms - known));
      if (average.size > mostKnown) average.delete(average.keys().next().value as string);
    },
    /** When to ask again for a place, with so many in front: rather a little soon than late. */
    turnMs(id: string, open: number): number {
      const ms = ((average.get(id) ?? guessMs) * open) / placesOf(id);
      return Math.min(longestTurnMs, Math.max(shortestTurnMs, ms)) * (0.25 + Math.random() / 2);
    },
  };
}
