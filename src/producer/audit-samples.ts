import { PassferryError } from '../errors.ts';
import type { Audit } from '../ledger/audit.ts';
import type { AuditFacts } from '../ledger/audit-record.ts';

/** What anybody can make any number of: counted, not written one by one. */
export interface AuditSamples {
  /** A token that was refused, from an address. */
  refusedToken(reason: string, from: string | undefined): void;
  /** A request over the limits of its caller. */
  overLimit(reason: string, caller: string, from: string | undefined): void;
  /** Writes what was counted. */
  flush(): void;
  close(): void;
}

const windowMs = 10 * 60_000;
/** Told apart in one window; the others are counted together. */
const most = 20;

/**
 * The first of a kind is written at once; how many more came in the same ten minutes, at their end. So an attacker makes few
 * records, however many addresses he has.
 */
export function createSamples(audit: Audit): AuditSamples {
  const counts = new Map<string, { facts: Partial<AuditFacts>; more: number }>();

  function write(facts: Partial<AuditFacts>, count: number): void {
    const { reason = 'internal', ...others } = facts;
    void audit.entry({ org: '*', ...others, ...(count > 1 && { count }) }).refused(new PassferryError(reason));
  }

  function note(facts: Partial<AuditFacts>): void {
    const own = JSON.stringify(facts);
    const { from: _, ...rest } = facts;
    const name = counts.has(own) || counts.size < most ? own : JSON.stringify([facts.action]);
    const known = counts.get(name);
    if (known) known.more++;
    else {
      counts.set(name, { facts: name === own ? facts : rest, more: 0 });
      write(name === own ? facts : rest, 1);
    }
  }

  function flush(): void {
    for (const { facts, more } of counts.values()) if (more > 0) write(facts, more);
    counts.clear();
  }
  const timer = setInterval(flush, windowMs);
  timer.unref();

  const at = (from: string | undefined) => (from === undefined ? {} : { from });
  return {
    refusedToken: (reason, from) => note({ action: 'authenticate', reason, ...at(from) }),
    overLimit: (reason, caller, from) => note({ action: 'limit', reason, caller, ...at(from) }),
    flush,
    close() {
      clearInterval(timer);
      flush();
    },
  };
}
