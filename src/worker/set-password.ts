import type { Backend } from '../adapters/port.ts';
import { toPassferryError } from '../errors.ts';
import { failure, type Outcome, type SetPasswordData } from '../job.ts';
import type { Begun } from '../ledger/begun.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Opener } from '../seal.ts';
import { trace } from '../trace.ts';
import { under } from '../under.ts';
import { checkHashesHere } from './hash-here.ts';
import type { HashProbe } from './hash-probe.ts';
import { checkTakesHash } from './hash-rows.ts';
import type { Following } from './in-step.ts';
import type { Peek } from './peek.ts';
import type { Prover } from './proof.ts';
import { checkProtected, type Protection } from './protect.ts';
import { type Given, givenBy, passwordOf, type Sending, sendingOf, sendTo } from './sending.ts';
import { setRecorded } from './set-recorded.ts';

/** What the handler needs; each is a capability, none a container. */
export interface SetPasswordDeps {
  ledger: Ledger;
  open: Opener;
  backend: Backend;
  protection: Protection;
  /** Before the first row with a hash of a kind: is it tried, and does it work? Default: not asked. */
  probe?: HashProbe;
  /** Proves logins of rows of runs. Default: nobody. */
  prover?: Prover;
  /** What the commit says of the backend that follows. Default: none does. */
  following?: (given: Given) => Promise<Following | undefined>;
  /** How long a lost answer of v2 is looked for by reading, ms. */
  settleMs: number;
  /** Longest time one call to the backend may take, ms: shorter than the lease. */
  deadlineMs: number;
}

type Go = Extract<Begun, { kind: 'go' }>;

/**
 * Sets one password while the lease is held (rows 9 to 12 of the flow). Returns the recorded outcome; throws what should
 * put the job off (scope `backend` or `organization`). Answers about this user become the outcome.
 */
export async function setPassword(
  data: SetPasswordData,
  begun: Go,
  token: string,
  deps: SetPasswordDeps,
  signal: AbortSignal,
  peek?: Peek,
): Promise<Outcome> {
  const { ledger, backend } = deps;
  try {
    if (data.hash) checkTakesHash(data.hash, backend);
    if (data.hashHere !== undefined) checkHashesHere(backend);
    const secret = await deps.open(data, data);
    trace('job:opened', { jobId: data.jobId, backend: backend.name });
    try {
      const change = sendingOf(data, secret);
      await (peek?.allowed ?? checkProtected(data, backend, deps.protection, signal));
      if (data.hash) await deps.probe?.(data, data.hash, backend, signal);
      return backend.exact
        ? await setExact(data, change, token, deps, signal)
        : await setRecorded(data, change, begun, token, deps, signal, peek);
    } finally {
      secret.wipe();
    }
  } catch (thrown) {
    const error = toPassferryError(thrown);
    if (error.scope !== 'user') throw error;
    // Without a fence a refusal counts only while no other start of this job can have something under way.
    return ledger.commit(data, failure(error, 0, backend.name), { token, underLease: !backend.exact });
  }
}

/** v1: order, staleness and repetition are decided in the transaction of the change. */
async function setExact(
  data: SetPasswordData,
  change: Sending,
  token: string,
  { ledger, backend, deadlineMs, prover, following }: SetPasswordDeps,
  signal: AbortSignal,
): Promise<Outcome> {
  const applied = await under([signal, AbortSignal.timeout(deadlineMs)], (within) => sendTo(backend, change, within));
  trace('job:applied', { jobId: data.jobId, backend: backend.name });
  const inEffect = applied.result === 'set' || applied.result === 'unchanged';
  const outcome: Outcome = {
    result: applied.result,
    inEffect,
    backend: backend.name,
    at: 0,
    ...(inEffect && applied.details && { details: applied.details }),
  };
  const changedAt = applied.details ? Date.parse(applied.details.changeDate) : 0;
  if (applied.result === 'set') await prover?.check(data, backend, passwordOf(change), changedAt, signal);
  const follow = inEffect ? await following?.(givenBy(change)) : undefined;
  return ledger.commit(data, outcome, {
    ...{ token, countAttempt: true },
    ...(follow && { follow }),
    ...(inEffect && { changedAt }),
    // The store itself knows the order, and a record for each row of a file would fill Redis.
    onlyIfKnown: data.run !== undefined && !follow,
  });
}
