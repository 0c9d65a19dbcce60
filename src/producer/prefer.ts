import { PassferryError } from '../errors.ts';

/** RFC 7240 as far as we honour it. */
export interface Preferences {
  respondAsync: boolean;
  /** How long to wait for the outcome, ms. */
  waitMs?: number;
}

export function parsePrefer(header: string | undefined): Preferences {
  const preferences: Preferences = { respondAsync: false };
  for (const part of (header ?? '').split(/[,;]/)) {
    const [name, value] = part
      .trim()
      .toLowerCase()
      .split('=')
      .map((piece) => piece?.trim());
    if (name === 'respond-async') preferences.respondAsync = true;
    if (name === 'wait') {
      if (!/^\d{1,4}$/.test(value ?? '')) throw new PassferryError('prefer_invalid');
      preferences.waitMs = Number(value) * 1_000;
    }
  }
  return preferences;
}
