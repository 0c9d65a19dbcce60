import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Backend } from '../adapters/port.ts';
import { PassferryError } from '../errors.ts';
import type { BackendName } from '../job.ts';
import type { Epoch } from '../ledger/epoch.ts';
import type { Log } from '../log.ts';
import { trace } from '../trace.ts';
import type { StageCopies, StageCopy } from './stage-copies.ts';

/** A copy of the epoch outside Redis. */
export interface EpochCopy {
  /** For the log. */
  name: string;
  read(): Promise<number | undefined>;
  write(epoch: number): Promise<void>;
  /** The stages beside it, where it keeps them. */
  stages?: StageCopy;
}

export interface EpochWatch {
  /** The epoch that Redis must have reached. */
  seen(): number;
  /** Compares and moves on, whoever has the tick. Rejects while Redis or a copy does not answer. */
  start(): Promise<void>;
  /**
   * Compares Redis with what this worker has seen, at once, by one question; holds the backends when it is behind. Error:
   * `ledger_not_ready` before the start.
   */
  check(): Promise<void>;
  /** Ends the ticks; what is under way ends with its connection. */
  stop(): void;
}

export interface EpochWatchOptions {
  epoch: Epoch;
  copies: readonly EpochCopy[];
  /** What is held when the ledger is lost. */
  backends: readonly BackendName[];
  /** After a loss: the order of acceptance must be confirmed anew. */
  onLost: () => Promise<void>;
  /** Put back before a loss is held: nothing may be written by an older stage. */
  stages?: Pick<StageCopies, 'putBack'>;
  log: Log;
  /** Time between two ticks, ms. Default 30,000. */
  everyMs?: number | undefined;
}

/**
 * Redis comes first, then the copies: whatever is cut short in between leaves Redis ahead, which means nothing. Redis behind
 * a copy, without an epoch where a copy has one, or with one that we did not sign, has lost what it knew.
 */
export function createEpochWatch(options: EpochWatchOptions): EpochWatch {
  const { epoch, copies, backends, onLost, stages, log, everyMs = 30_000 } = options;
  const unwritten = new Set<string>();
  let stopped = false;
  let least = 0;
  let running: Promise<void> = Promise.resolve();

  async function readCopies(strict: boolean): Promise<number> {
    const found = await Promise.all(
      copies.map((copy) =>
        copy.read().catch((err) => {
          if (strict) throw err;
          // What this process has seen still stands against a Redis that is behind.
          if (!stopped) log.warn({ copy: copy.name, err }, 'a copy of the epoch cannot be read');
          return undefined;
        }),
      ),
    );
    return Math.max(least, ...found.map((each) => each ?? 0));
  }

  async function writeCopies(reached: number): Promise<void> {
    least = Math.max(least, reached);
    for (const copy of copies) {
      try {
        await copy.write(reached);
        unwritten.delete(copy.name);
      } catch (err) {
        if (stopped || unwritten.has(copy.name)) continue;
        unwritten.add(copy.name);
        log.warn({ copy: copy.name, err }, 'a copy of the epoch cannot be written: a wiped Redis may go unseen');
      }
    }
  }

  async function look(mode: 'start' | 'tick' | 'check'): Promise<void> {
    if (mode === 'start') await stages?.putBack(mode);
    for (;;) {
      // The copies first: Redis, asked later, can only be further.
      const copied = mode === 'check' ? least : await readCopies(mode === 'start');
      const found = await epoch.read();
      const isFresh = found.kind === 'none' && copied === 0;
      if (!isFresh && (found.kind !== 'epoch' || found.epoch < copied)) {
        if (mode !== 'start') await stages?.putBack(mode);
        if (!(await epoch.declareLost(found, copied + 1, backends))) continue;
        const reached = found.kind === 'epoch' ? found.epoch : undefined;
        log.error(
          { found: found.kind, epoch: reached, copy: copied, backends },
          'ledger_lost: Redis was wiped or restored from an older copy; its backends are held, see docs/backup.md',
        );
        trace('ledger:lost', { jobId: '', reason: found.kind });
        await writeCopies(copied + 1);
        await onLost();
        return;
      }
      const now = found.kind === 'epoch' ? found.epoch : 0;
      if (mode === 'check') {
        least = now;
        return;
      }
      const isMine = isFresh || mode === 'start' || (mode === 'tick' && (await epoch.takeTick(everyMs * 0.9)));
      if (isMine && mode === 'tick') await stages?.putBack(mode);
      if (isMine && !(await epoch.advance(found, now + 1))) continue;
      await writeCopies(isMine ? now + 1 : now);
      return;
    }
  }

  /** One after the other; each sees what the one before has left. */
  function queued(mode: 'start' | 'tick' | 'check'): Promise<void> {
    const next = running.then(() => look(mode));
    running = next.catch(() => {});
    return next;
  }

  let checking: Promise<void> | undefined;
  let ticking = false;
  let timer: NodeJS.Timeout | undefined;
  const tick = () => {
    if (ticking) return;
    ticking = true;
    queued('tick')
      .catch((err) => {
        if (!stopped) log.warn({ err }, 'the epoch could not be compared; it is tried again');
      })
      .finally(() => {
        ticking = false;
      });
  };

  return {
    seen: () => least,
    async start() {
      await queued('start');
      timer ??= setInterval(tick, everyMs).unref();
    },
    async check() {
      // What the copies say is not known yet.
      if (timer === undefined) throw new PassferryError('ledger_not_ready', { scope: 'backend' });
      checking ??= queued('check').finally(() => {
        checking = undefined;
      });
      return checking;
    },
    stop() {
      stopped = true;
      clearInterval(timer);
    },
  };
}

interface Kept {
  keys: { namespace: string };
  backends: Partial<Record<BackendName, { backend: Backend }>>;
  epochFile?: string;
}

/** Every place that keeps a copy: the backends that can, and the file. */
export function epochCopies({ keys, backends, epochFile }: Kept, deadlineMs: number): EpochCopy[] {
  const kept = Object.values(backends).flatMap(({ backend: { name, epoch } }): EpochCopy[] => {
    if (!epoch) return [];
    const signal = () => AbortSignal.timeout(deadlineMs);
    return [
      {
        name,
        read: () => epoch.read(keys.namespace, signal()),
        write: (reached) => epoch.write(keys.namespace, reached, signal()),
        ...(epoch.readStages && {
          stages: {
            name,
            read: async () => epoch.readStages?.(keys.namespace, signal()),
            write: async (text) => epoch.writeStages?.(keys.namespace, text, signal()),
          },
        }),
      },
    ];
  });
  return epochFile ? [...kept, fileCopy(epochFile)] : kept;
}

/** A file with the number (0600), replaced in one step, and one with the stages beside it. Several workers may share it; the highest number stays. */
function fileCopy(path: string): EpochCopy {
  const read = (): number | undefined => {
    let text: string;
    try {
      text = readFileSync(path, 'utf8').trim();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    // Guessing would hide a loss, or invent one.
    if (!/^\d{1,15}$/.test(text)) {
      throw new PassferryError('config_invalid', {
        scope: 'backend',
        message: `The epoch file ${path} does not hold a number. Remove it only if Redis was neither wiped nor restored.`,
      });
    }
    return Number(text);
  };
  return {
    name: 'file',
    read: async () => read(),
    async write(reached) {
      if ((read() ?? -1) < reached) replaceFile(path, `${reached}\n`);
    },
    stages: {
      name: 'file',
      async read() {
        try {
          return readFileSync(`${path}.stages`, 'utf8');
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
          throw error;
        }
      },
      write: async (text) => replaceFile(`${path}.stages`, text),
    },
  };
}

function replaceFile(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const next = `${path}.${process.pid}.new`;
  const file = openSync(next, 'w', 0o600);
  try {
    writeFileSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(next, path);
}
