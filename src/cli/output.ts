import { InvalidArgumentError } from 'commander';

/** Text from elsewhere → text that cannot steer a terminal: control and direction characters become `\u{…}`. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, (c) => `\\u{${c.codePointAt(0)?.toString(16)}}`);
}

export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** For what is not the result: progress, hints. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Names of the API that texts of the server have → the flags of the command line. */
export function withFlags(text: string): string {
  return text
    .replaceAll('asOf (--as-of)', '--as-of')
    .replace(/(?<![-\w])mails=allow/g, '--mails=allow')
    .replace(/\boverwriteNewer\b/g, '--overwrite-newer')
    .replace(/\ballow suspicious ones\b/g, 'say --allow-suspicious');
}

/** One JSON object a line. Control characters are escaped by JSON itself. */
export function sayJson(value: unknown): void {
  say(JSON.stringify(value));
}

/** 1234567 → `1,234,567`, whatever the locale. */
export function grouped(n: number): string {
  return Math.round(n).toLocaleString('en-US');
}

/** `1 row`, `2 rows`. */
export function counted(n: number, noun: string): string {
  return `${grouped(n)} ${noun}${n === 1 ? '' : 's'}`;
}

/** ms → `42 s`, `3 min 5 s`, `2 h 10 min`. */
export function duration(ms: number): string {
  const s = Math.round(ms / 1000);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

const units: Record<string, number> = { ms: 1, s: 1000, m: 60_000, min: 60_000, h: 3_600_000 };

/** An option such as `60s`, `5m`, `1h`, `500ms` → ms. For commander: says what is wrong with it. */
export function parseDuration(text: string): number {
  const [, digits, unit] = /^(\d{1,9})(ms|s|min|m|h)$/.exec(text.trim()) ?? [];
  const factor = unit === undefined ? undefined : units[unit];
  if (digits === undefined || factor === undefined)
    throw new InvalidArgumentError('Give a time such as 60s, 5m or 1h.');
  return Number(digits) * factor;
}
