import { setTimeout as sleep } from 'node:timers/promises';
import { PassferryError, toPassferryError } from '../errors.ts';
import { failure, type Outcome, type SetPasswordData } from '../job.ts';
import type { Begun } from '../ledger/begun.ts';
import { trace } from '../trace.ts';
import { under } from '../under.ts';
import { type Peek, stillTrue } from './peek.ts';
import { checkProtected } from './protect.ts';
import type { SetPasswordDeps } from './set-password.ts';

/** No change of the user's password is ever taken for the effect of a mail. */
const neverOurs = Number.MAX_SAFE_INTEGER;

/**
 * Lets the backend mail a reset link while the lease is held. A mail cannot be looked for by reading, and two are worse than one
 * that a person asks for: an attempt whose answer is lost ends `link_uncertain` and is not repeated (P2).
 */
export async function sendLink(
  data: SetPasswordData,
  begun: Extract<Begun, { kind: 'go' }>,
  token: string,
  deps: Pick<SetPasswordDeps, 'ledger' | 'backend' | 'protection' | 'deadlineMs'>,
  signal: AbortSignal,
  peek?: Peek,
): Promise<Outcome> {
  const { ledger, backend, deadlineMs } = deps;
  try {
    if (begun.attempt) {
      // The start before this one may still be at it, and then it is the one that knows.
      await sleep(Math.max(0, begun.attempt.deadline - begun.now), undefined, { signal });
      throw new PassferryError('link_uncertain');
    }
    const { sendResetLink, readUser } = backend;
    if (!sendResetLink || !readUser) throw new PassferryError('ability_missing');
    await (peek?.allowed ?? checkProtected(data, backend, deps.protection, signal));
    const user = (await stillTrue(peek, begun)) ?? (await readUser.call(backend, data.org, data.user, signal));
    if (user.org !== data.org) throw new PassferryError('COMMAND-G8dh3', { code: 'failed_precondition' });

    const asked = performance.now();
    await ledger.recordAttempt(data, token, deadlineMs, neverOurs);
    const left = deadlineMs - (performance.now() - asked);
    // This process stood still: nothing was sent, and nothing is sent late.
    if (left < deadlineMs / 4) {
      await ledger.closeAttempt(data, token);
      throw new PassferryError('lease_lost', { scope: 'backend' });
    }
    trace('job:attempted', { jobId: data.jobId, backend: backend.name });
    try {
      await under([signal, AbortSignal.timeout(Math.floor(left))], (within) =>
        sendResetLink.call(backend, data.org, data.user, within),
      );
    } catch (thrown) {
      if (thrown instanceof PassferryError && thrown.effect === 'none') await ledger.closeAttempt(data, token);
      throw thrown;
    }
    trace('job:applied', { jobId: data.jobId, backend: backend.name });
    return ledger.commit(data, { result: 'link_sent', inEffect: false, backend: backend.name, at: 0 }, { token });
  } catch (thrown) {
    const error = toPassferryError(thrown);
    if (error.scope !== 'user') throw error;
    return ledger.commit(data, failure(error, 0, backend.name), { token, underLease: true });
  }
}
