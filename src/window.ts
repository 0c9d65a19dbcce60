/** Hours of a day, in minutes after midnight; `to` before `from`: over midnight. */
interface Window {
  from: number;
  to: number;
  /** Minutes east of UTC. */
  offset: number;
}

const dayMinutes = 1_440;

/** `22:00-06:00`, in UTC, or with `Z` or an offset such as `+02:00` behind it. Undefined: it is none. */
export function parseWindow(text: string): Window | undefined {
  const time = '([01]\\d|2[0-3]):([0-5]\\d)';
  const found = new RegExp(`^${time}-${time}(?:Z|([+-])(0\\d|1[0-4]):([0-5]\\d))?$`).exec(text);
  if (!found) return undefined;
  const [, h1, m1, h2, m2, sign, h3 = '0', m3 = '0'] = found;
  const [from, to] = [Number(h1) * 60 + Number(m1), Number(h2) * 60 + Number(m2)];
  const offset = (sign === '-' ? -1 : 1) * (Number(h3) * 60 + Number(m3));
  return from === to ? undefined : { from, to, offset };
}

/** Is it open at this time (ms since the epoch)? What is no window is always open. */
export function isWithin(text: string | undefined, now: number): boolean {
  const window = text === undefined ? undefined : parseWindow(text);
  if (!window) return true;
  const { from, to, offset } = window;
  const minute = (((Math.floor(now / 60_000) + offset) % dayMinutes) + dayMinutes) % dayMinutes;
  return from < to ? minute >= from && minute < to : minute >= from || minute < to;
}
