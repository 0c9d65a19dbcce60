/**
 * Lets one call in `everyMs` through and counts the others: an outage repeats one error and must not fill the disk with it
 * (F41). `more` says how many were kept back before this one.
 */
export function seldom<T>(everyMs: number, say: (value: T, more: number) => void): (value: T) => void {
  let last = Number.NEGATIVE_INFINITY;
  let more = 0;
  return (value) => {
    const now = performance.now();
    if (now - last < everyMs) {
      more++;
      return;
    }
    last = now;
    say(value, more);
    more = 0;
  };
}
