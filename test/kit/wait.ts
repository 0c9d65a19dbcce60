import { setTimeout as pause } from 'node:timers/promises';

export interface WaitOptions {
  /** Default 120 s: it only ends a hang, and a busy machine takes ten times as long as a quiet one. */
  timeoutMs?: number;
  /** What is waited for: the text of the error. */
  what: string;
}

/** Asks `fn` until it answers with something truthy and returns that; what it throws counts as "not yet". */
export async function waitFor<T>(fn: () => T | Promise<T>, options: WaitOptions): Promise<NonNullable<T>> {
  const { timeoutMs = 120_000, what } = options;
  const deadline = Date.now() + timeoutMs;
  let cause: unknown;
  for (;;) {
    try {
      const value = await fn();
      if (value) return value;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    if (Date.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain: ${what}`, { cause });
    await pause(20);
  }
}
