/** What goes wrong. `cut-…` destroys the connection, which also ends other calls on the same HTTP/2 connection. */
export type Fault =
  | { kind: 'latency'; ms: number }
  /** ZITADEL's own quota answer; with `edge` the plain answer of a proxy. `retryAfter` in seconds. */
  | { kind: '429'; retryAfter?: number; edge?: boolean }
  | { kind: '503' }
  /** No effect, no answer. */
  | { kind: 'cut-before' }
  /** Effect, no answer. */
  | { kind: 'cut-after' }
  /** No answer; the effect `ms` later. */
  | { kind: 'late-effect'; ms: number }
  /** A good answer, no effect. */
  | { kind: 'no-effect' }
  /** A 502 page of a proxy in HTML. */
  | { kind: 'html' };

export interface FaultRule {
  /** Name of the call, for instance `SetPassword`. Default: every call. */
  call?: string;
  /** User id that the call is about. Default: every user. */
  user?: string;
  /** How often it strikes. Default: no limit. */
  times?: number;
  /** Share of the matching calls it strikes, 0..1, drawn from the seeded random. Default 1. */
  rate?: number;
  fault: Fault;
}

export interface Faults {
  /** Returns a function that takes the rule away again. */
  add(rule: FaultRule): () => void;
  clear(): void;
  /** All latencies that apply and the first other fault; counts them as used. */
  draw(call: string, user: string | undefined): { latencyMs: number; fault?: Exclude<Fault, { kind: 'latency' }> };
}

export function createFaults(seed: number): Faults {
  const rules = new Set<FaultRule>();
  const left = new WeakMap<FaultRule, number>();
  const random = seededRandom(seed);

  function strikes(rule: FaultRule, call: string, user: string | undefined): boolean {
    if (rule.call !== undefined && rule.call !== call) return false;
    if (rule.user !== undefined && rule.user !== user) return false;
    const remaining = left.get(rule) ?? rule.times ?? Number.POSITIVE_INFINITY;
    if (remaining <= 0) return false;
    if (rule.rate !== undefined && random() >= rule.rate) return false;
    left.set(rule, remaining - 1);
    return true;
  }

  return {
    add(rule) {
      const own = { ...rule };
      rules.add(own);
      return () => void rules.delete(own);
    },
    clear() {
      rules.clear();
    },
    draw(call, user) {
      let latencyMs = 0;
      for (const rule of rules) {
        if (!strikes(rule, call, user)) continue;
        if (rule.fault.kind !== 'latency') return { latencyMs, fault: rule.fault };
        latencyMs += rule.fault.ms;
      }
      return { latencyMs };
    },
  };
}

/** mulberry32: small, and the same numbers for the same seed. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
