import type { QueueName } from '../job.ts';

/** A limit on how much runs at once towards one backend; interactive jobs go first. */
export interface Gate {
  readonly limit: number;
  /** Resolves with a function that gives the place back, exactly once. Rejects when the signal fires while waiting. */
  enter(queue: QueueName, signal: AbortSignal): Promise<() => void>;
}

export function createGate(limit: number): Gate {
  let inside = 0;
  const lines: Record<QueueName, (() => void)[]> = { interactive: [], rows: [], quarantine: [] };

  function leave(): void {
    inside--;
    (lines.interactive.shift() ?? lines.rows.shift() ?? lines.quarantine.shift())?.();
  }

  return {
    limit,
    enter(queue, signal) {
      return new Promise((resolve, reject) => {
        const line = lines[queue];
        const go = () => {
          signal.removeEventListener('abort', leaveLine);
          inside++;
          let left = false;
          resolve(() => {
            if (left) return;
            left = true;
            leave();
          });
        };
        const leaveLine = () => {
          const place = line.indexOf(go);
          if (place >= 0) line.splice(place, 1);
          reject(signal.reason);
        };
        if (signal.aborted) reject(signal.reason);
        else if (inside < limit) go();
        else {
          signal.addEventListener('abort', leaveLine, { once: true });
          line.push(go);
        }
      });
    },
  };
}
