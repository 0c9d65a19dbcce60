import type { QueueName } from '../job.ts';

/**
 * A limit on how much runs at once towards one backend; interactive jobs go first, and the organizations that wait go in turn.
 * Asked to slow down it halves its room, to no less than `least`, and takes it back one by one as things go well.
 */
export interface Gate {
  readonly limit: number;
  /** How many may be inside now: 1 to the limit. */
  room(): number;
  /** How many are inside. */
  inside(): number;
  /** Too fast for the backend. What is inside stays. */
  slow(): void;
  /** One went well. */
  well(): void;
  /** Resolves with a function that gives the place back, exactly once. Rejects when the signal fires while waiting. */
  enter(queue: QueueName, signal: AbortSignal, org?: string): Promise<() => void>;
}

type Go = () => void;
type Lines = ReturnType<typeof createLines>;

/** One line an organization, and the organizations in a line themselves. */
function createLines() {
  const byOrg = new Map<string, Go[]>();
  return {
    join(org: string, go: Go): void {
      const line = byOrg.get(org);
      if (line) line.push(go);
      else byOrg.set(org, [go]);
    },
    leave(org: string, go: Go): void {
      const rest = byOrg.get(org)?.filter((each) => each !== go) ?? [];
      if (rest.length > 0) byOrg.set(org, rest);
      else byOrg.delete(org);
    },
    /** The first of the organization whose turn it is; that one stands last then. */
    next(): Go | undefined {
      for (const [org, [first, ...rest]] of byOrg) {
        byOrg.delete(org);
        if (rest.length > 0) byOrg.set(org, rest);
        return first;
      }
      return undefined;
    },
  };
}

export function createGate(limit: number, least = 1): Gate {
  let inside = 0;
  let room = limit;
  let successes = 0;
  const lines: Record<QueueName, Lines> = {
    interactive: createLines(),
    rows: createLines(),
    quarantine: createLines(),
  };

  function letIn(): void {
    while (inside < room) {
      const next = lines.interactive.next() ?? lines.rows.next() ?? lines.quarantine.next();
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
    inside: () => inside,
    slow() {
      room = Math.max(least, Math.floor(room / 2));
      successes = 0;
    },
    well() {
      if (room === limit || ++successes < room) return;
      room++;
      successes = 0;
      letIn();
    },
    enter(queue, signal, org = '') {
      return new Promise((resolve, reject) => {
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
          lines[queue].leave(org, go);
          reject(signal.reason);
        };
        if (signal.aborted) reject(signal.reason);
        else if (inside < room) go();
        else {
          signal.addEventListener('abort', leaveLine, { once: true });
          lines[queue].join(org, go);
        }
      });
    },
  };
}
