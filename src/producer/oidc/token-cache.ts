import { createHash } from 'node:crypto';

/** Answers about tokens, for a short time. Knows tokens by a hash only; the oldest go first when it is full. */
export interface TokenCache<T> {
  get(token: string): T | undefined;
  /** @param untilMs by the clock of `performance.now()`. */
  set(token: string, value: T, untilMs: number): void;
}

export function tokenCache<T>(most: number): TokenCache<T> {
  const known = new Map<string, { value: T; until: number }>();
  return {
    get(token) {
      const key = tokenKey(token);
      const found = known.get(key);
      if (found && found.until > performance.now()) return found.value;
      known.delete(key);
      return undefined;
    },
    set(token, value, until) {
      const key = tokenKey(token);
      known.delete(key);
      if (known.size >= most) known.delete(known.keys().next().value as string);
      known.set(key, { value, until });
    },
  };
}

export function tokenKey(token: string): string {
  return createHash('sha256').update(token).digest('base64url');
}
