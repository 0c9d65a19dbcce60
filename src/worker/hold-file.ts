import { readFileSync } from 'node:fs';
import type { BackendName } from '../job.ts';
import type { Log } from '../log.ts';

/** Holds of this process alone: they work with API and Redis down. */
export interface LocalHold {
  /** Why nothing may be sent to this backend now, or undefined. Reads the file every time: it is small and local. */
  why(backend: BackendName): string | undefined;
  /** Stops listening for the signal. */
  close(): void;
}

/**
 * A file and a signal. The file holds everything while it exists, or only the backends it names one a line when it holds
 * nothing else. SIGUSR2 holds everything in this process, and the next one releases it.
 */
export function createLocalHold({ file, log }: { file?: string | undefined; log: Log }): LocalHold {
  let bySignal = false;
  const toggle = () => {
    bySignal = !bySignal;
    log.info({ by: 'SIGUSR2', held: bySignal }, bySignal ? 'everything is on hold' : 'the hold of the signal is over');
  };
  process.on('SIGUSR2', toggle);
  return {
    why(backend) {
      if (bySignal) return 'signal';
      return file !== undefined && fileHolds(file, backend) ? 'file' : undefined;
    },
    close: () => void process.off('SIGUSR2', toggle),
  };
}

function fileHolds(file: string, backend: BackendName): boolean {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    // What is there but cannot be read was put there to stop us.
    const { code } = error as NodeJS.ErrnoException;
    return code !== 'ENOENT' && code !== 'ENOTDIR';
  }
  const names = text.split('\n').flatMap((line) => line.trim() || []);
  const onlyNames = names.length > 0 && names.every((name) => name === 'v1' || name === 'v2');
  return !onlyNames || names.includes(backend);
}
