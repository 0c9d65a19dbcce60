import type { Backend } from '../adapters/port.ts';
import { PassferryError } from '../errors.ts';
import type { BackendName } from '../job.ts';
import type { Holds } from '../ledger/holds.ts';
import type { Log } from '../log.ts';
import { trace } from '../trace.ts';
import type { LocalHold } from './hold-file.ts';

export interface Held {
  by: string;
  reason: string;
}

/** Asks, before a job starts and again before it sends, whether a person holds its backend. */
export interface Holding {
  held(backend: BackendName): Promise<Held | undefined>;
  /** The same backend, which sends nothing while it is held: error `held` (scope `backend`, no effect). */
  guard(backend: Backend): Backend;
  /** A hold of this worker alone, as it is now. */
  local(backend: BackendName): string | undefined;
  /** What was last seen: for health. */
  seen(backend: BackendName): boolean;
  /** ms after which a held job asks again: about a second, more for very many, so that they do not all ask at once. */
  askAgainMs(): number;
}

const askMs = 1_000;
const longestAskMs = 30_000;
/** Held jobs that ask again: at most one in this many ms. */
const spacingMs = 2;

export function createHolding(holds: Holds, local: LocalHold | undefined, log: Log): Holding {
  const last: Partial<Record<BackendName, string>> = {};
  const forged: Partial<Record<BackendName, string>> = {};
  let slot = 0;

  function note(backend: BackendName, held: Held | undefined): Held | undefined {
    const now = held && JSON.stringify(held);
    if (now !== last[backend]) {
      if (now === undefined) delete last[backend];
      else last[backend] = now;
      log.info({ backend, ...held }, held ? 'the backend is held: nothing is sent' : 'the backend is released');
    }
    return held;
  }

  function nearby(backend: BackendName): Held | undefined {
    const reason = local?.why(backend);
    return reason === undefined ? undefined : { by: 'this machine', reason };
  }

  async function held(backend: BackendName): Promise<Held | undefined> {
    const first = nearby(backend);
    if (first) return note(backend, first);
    const stored = await holds.read(backend);
    if (stored.kind !== 'forged') delete forged[backend];
    else if (forged[backend] !== stored.stored) {
      forged[backend] = stored.stored;
      log.error({ backend }, 'a hold in Redis is not signed by us and counts as absent');
      trace('ledger:forged', { jobId: '', reason: 'hold' });
    }
    const remote = stored.kind === 'hold' ? { by: stored.hold.by, reason: stored.hold.reason } : undefined;
    // Once more: the answer of Redis may have taken long.
    return note(backend, remote ?? nearby(backend));
  }

  async function stopIfHeld(backend: BackendName, signal: AbortSignal): Promise<void> {
    if (await held(backend)) throw new PassferryError('held', { scope: 'backend' });
    if (signal.aborted) throw new PassferryError('aborted', { scope: 'backend' });
  }

  function guard(backend: Backend): Backend {
    const guarded = Object.create(backend) as Backend;
    const mayBeSent = async (signal: AbortSignal) => {
      // Without a fence nothing may be waited for between the record of an attempt and its sending: a process frozen here
      // would send late (F30). Redis was asked just before the record.
      if (backend.exact) await stopIfHeld(backend.name, signal);
      else if (nearby(backend.name)) throw new PassferryError('held', { scope: 'backend' });
    };
    guarded.setPassword = async (change, signal) => {
      await mayBeSent(signal);
      return backend.setPassword(change, signal);
    };
    const { setHash } = backend;
    if (setHash) {
      guarded.setHash = async (change, signal) => {
        await mayBeSent(signal);
        return setHash.call(backend, change, signal);
      };
    }
    const { createUser } = backend;
    if (createUser) {
      guarded.createUser = async (user, signal) => {
        await stopIfHeld(backend.name, signal);
        return createUser.call(backend, user, signal);
      };
    }
    const { sendResetLink } = backend;
    if (sendResetLink) {
      // As with a password: asked for just before the record of the attempt.
      guarded.sendResetLink = async (org, user, signal) => {
        if (nearby(backend.name)) throw new PassferryError('held', { scope: 'backend' });
        return sendResetLink.call(backend, org, user, signal);
      };
    }
    const { readUser } = backend;
    if (readUser && !backend.exact) {
      // What is read here comes before the record of an attempt, and what is not sent must not count as one.
      guarded.readUser = async (org, user, signal) => {
        const found = await readUser.call(backend, org, user, signal);
        await stopIfHeld(backend.name, signal);
        return found;
      };
    }
    return guarded;
  }

  return {
    held,
    guard,
    local: (backend) => local?.why(backend),
    seen: (backend) => last[backend] !== undefined,
    askAgainMs() {
      const now = Date.now();
      slot = Math.min(now + longestAskMs, Math.max(now + askMs, slot + spacingMs));
      return slot - now;
    },
  };
}
