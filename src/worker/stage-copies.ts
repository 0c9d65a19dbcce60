import type { StageTable } from '../ledger/stages.ts';
import type { Log } from '../log.ts';

/** A copy of all stages outside Redis. */
export interface StageCopy {
  /** For the log. */
  name: string;
  read(): Promise<string | undefined>;
  write(text: string): Promise<void>;
}

/** Looked at so often whether something was set, ms. */
const everyMs = 2_000;

export type StageCopies = ReturnType<typeof createStageCopies>;

/**
 * Stages outlive a Redis that is lost: each setting is copied within seconds, and goes back where Redis has none, an older one or one
 * that is not ours. An organization never falls back to a stage that it has left.
 */
export function createStageCopies({ table, copies, log }: { table: StageTable; copies: StageCopy[]; log: Log }) {
  /** The newest that this process knows, as stored. */
  let known: Record<string, string> = {};
  let written: string | undefined;
  /** All copies were read once: before that nothing may be written over them. */
  let isRead = false;
  const failing = new Set<string>();
  let under: Promise<void> = Promise.resolve();

  /** Its step after those that are under way. */
  function queued(step: () => Promise<void>): Promise<void> {
    const next = under.then(step);
    under = next.catch(() => {});
    return next;
  }

  function decode({ name }: StageCopy, text: string | undefined): Record<string, string> {
    try {
      const stored = JSON.parse(text ?? '{}') as Record<string, unknown>;
      return Object.fromEntries(
        Object.entries(stored).filter((each): each is [string, string] => typeof each[1] === 'string'),
      );
    } catch {
      log.error({ copy: name }, 'a copy of the stages cannot be understood and is written anew');
      return {};
    }
  }

  async function putBack(mode: 'start' | 'tick' | 'check'): Promise<void> {
    const found: Record<string, string>[] = [known];
    let all = true;
    // What this process knows itself needs no reading: somebody waits for the answer.
    for (const copy of mode === 'check' ? [] : copies) {
      try {
        found.push(decode(copy, await copy.read()));
      } catch (err) {
        all = false;
        if (mode === 'start' && !isRead) throw err;
        if (!failing.has(copy.name)) log.warn({ copy: copy.name, err }, 'a copy of the stages cannot be read');
        failing.add(copy.name);
      }
    }
    if (mode !== 'check') isRead ||= all;
    const restored = new Set<string>();
    for (const each of found) for (const org of await table.restore(each)) restored.add(org);
    if (restored.size > 0) {
      log.error(
        { orgs: [...restored].slice(0, 100), count: restored.size },
        'stages in Redis were lost or older than their copy: put back',
      );
    }
    if (mode !== 'check') await table.signAnew();
  }

  async function follow(): Promise<void> {
    if (!isRead) return;
    const stamp = await table.stamp();
    if (stamp === written && failing.size === 0) return;
    // A Redis that was wiped just now must not be copied over what was there.
    await table.restore(known);
    known = await table.copy();
    const text = JSON.stringify(known);
    for (const copy of copies) {
      try {
        await copy.write(text);
        failing.delete(copy.name);
      } catch (err) {
        if (!failing.has(copy.name)) {
          log.warn(
            { copy: copy.name, err },
            'a copy of the stages cannot be written: a lost Redis would bring older ones back',
          );
        }
        failing.add(copy.name);
      }
    }
    written = stamp;
  }

  const timer = setInterval(() => {
    queued(follow).catch((err) => log.debug({ err }, 'the stages could not be copied; it is tried again'));
  }, everyMs);
  timer.unref();

  return {
    /** What a copy has and Redis has not, or has in an older version. Rejects at a start while a copy does not answer. */
    putBack: (mode: 'start' | 'tick' | 'check'): Promise<void> => queued(() => putBack(mode)),

    stop(): void {
      clearInterval(timer);
    },
  };
}
