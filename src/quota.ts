/** How much may happen in a window of time. */
export interface Quota {
  count: number;
  /** Length of the window, s. */
  seconds: number;
}

const units = { s: 1, m: 60, h: 3_600 };

/** What its text must look like, for whoever reports that it does not. */
export const quotaForm = 'must be a number and a time such as 1000/5s or 30/1m (s, m, h), or off';

/** `1000/5s`, `200/s`, `30/1m` → quota; `off` → null: no limit. Undefined for anything else. */
export function parseQuota(text: string): Quota | null | undefined {
  if (text === 'off') return null;
  const [, number, length, unit] = /^(\d{1,9})\/(\d{0,5})([smh])$/.exec(text) ?? [];
  const count = Number(number);
  const seconds = Number(length || 1) * (units[unit as keyof typeof units] ?? 0);
  return count >= 1 && seconds >= 1 && seconds <= 86_400 ? { count, seconds } : undefined;
}
