import { setFlagsFromString } from 'node:v8';

/** Old objects are looked for when the heap has grown by so many percent. */
const growth = 30;

/**
 * A server stays small however long it runs: by itself V8 lets the heap of a machine with much memory grow to four times of what
 * lives in it before it looks. V8 reads this at each collection, so it may be said while the process runs.
 */
export function keepHeapSmall(): void {
  setFlagsFromString(`--heap-growing-percent=${growth}`);
}
