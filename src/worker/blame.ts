import type { Backend } from '../adapters/port.ts';

/**
 * A backend that is read while another one is written, and whether an error came from it: the wrong one must not be left alone for it,
 * nor the credentials of the wrong one be paused.
 */
export function readFrom(backend: Backend): { backend: Backend; failed(error: unknown): boolean } {
  const faults = new WeakSet<object>();
  const watched = Object.create(backend) as Backend;
  const { readHash } = backend;
  if (readHash) {
    watched.readHash = async (org, user, signal) => {
      try {
        return await readHash.call(backend, org, user, signal);
      } catch (thrown) {
        if (typeof thrown === 'object' && thrown !== null) faults.add(thrown);
        throw thrown;
      }
    };
  }
  return { backend: watched, failed: (error) => typeof error === 'object' && error !== null && faults.has(error) };
}
