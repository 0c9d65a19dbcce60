import type { QueueName } from '../job.ts';

/**
 * A limit on how much runs at once towards one backend; interactive jobs go first. Asked to slow down it halves its room,
 * and takes it back one by one as things go well.
 */
export interface Gate {
  readonly limit: number;
  /** How many may be inside now: 1 to the limit. */
  room(): number;
  /** Too fast for the backend. What is inside stays. */
  slow(): void;
  /** One went well. */
  well(): void;
  /** Resolves with a function that gives the place back, exactly once. Rejects when the signal fires while waiting. */
  enter(queue: QueueName, signal: AbortSignal): Promise<() => void>;
}

export function createGate(limit: number): Gate {
  let inside = 0;
  let room = limit;
  let successes = 0;
  const lines: Record<QueueName, (() => void)[]> = { interactive: [], rows: [], quarantine: [] };

  function letIn(): void {
    while (inside < room) {
      const next = lines.interactive.shift() ?? lines.rows.shift() ?? lines.quarantine.shift();
      if (!next) return;
      next();
    }
  }

  function leave(): void {
    inside--;
    letIn();
  }

  return {
    limit,
    room: () => room,
    slow() {
      room = Math.max(1, Math.floor(room / 2));
      successes = 0;
    },
    well() {
      if (room === limit || ++successes < room) return;
      room++;
      successes = 0;
      letIn();
    },
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
        else if (inside < room) go();
        else {
          signal.addEventListener('abort', leaveLine, { once: true });
          line.push(go);
        }
      });
    },
  };
}
