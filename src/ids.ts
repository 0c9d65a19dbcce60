import { createHmac, randomFillSync, timingSafeEqual } from 'node:crypto';

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';

const pool = Buffer.alloc(4096);
let taken = pool.length;

/** From a pool: asking the system for a few bytes costs as much as for some thousand. For ids, never for keys. */
function randomBytes(length: number): Buffer {
  if (taken + length > pool.length) {
    randomFillSync(pool);
    taken = 0;
  }
  taken += length;
  return pool.subarray(taken - length, taken);
}

/** Crockford's base32, lower case, `length` characters of the leading bits. */
function base32(bytes: Buffer, length: number): string {
  let text = '';
  let bits = 0;
  let held = 0;
  for (const byte of bytes) {
    bits = (bits << 8) | byte;
    held += 8;
    while (held >= 5 && text.length < length) {
      held -= 5;
      text += alphabet[(bits >> held) & 31];
    }
    bits &= (1 << held) - 1;
  }
  return text;
}

/**
 * Job ids: `j`, the shard, time (10), randomness (16), and a tag (8) that proves time and organization to whoever has the
 * key: years later one can still say "yours, and gone". Never all digits, never a colon (BullMQ's rules).
 */
export function makeJobId(key: Buffer, org: string, now = Date.now()): string {
  const time = Buffer.alloc(8);
  time.writeBigUInt64BE(BigInt(now) << 14n);
  const head = base32(time, 10) + base32(randomBytes(10), 16);
  return `j0-${head}${tag(key, head, org)}`;
}

function tag(key: Buffer, head: string, org: string): string {
  return base32(
    createHmac('sha256', key)
      .update(JSON.stringify(['job-id', head, org]))
      .digest()
      .subarray(0, 5),
    8,
  );
}

/**
 * Was this id made under one of these keys for this organization? Needs no record, so it also tells of jobs that are long gone.
 * Rows of imports carry no tag: false.
 */
export function isJobIdOf(id: string, keys: readonly Buffer[], org: string): boolean {
  const [, head, given] = /^j0-([0-9a-z]{26})([0-9a-z]{8})$/.exec(id) ?? [];
  if (head === undefined || given === undefined) return false;
  return keys.some((key) => timingSafeEqual(Buffer.from(tag(key, head, org)), Buffer.from(given)));
}

export function isJobId(text: string): boolean {
  return /^(j0-[0-9a-z]{34}|r0-[0-9a-z]{26}-\d{1,9})$/.test(text);
}

/** The same caller, organization and key always name the same run; repeating an upload goes on with it. */
export function makeRunId(key: Buffer, caller: string, org: string, idempotencyKey: string): string {
  const digest = createHmac('sha256', key)
    .update(JSON.stringify(['run-id', caller, org, idempotencyKey]))
    .digest();
  return `r0-${base32(digest, 26)}`;
}

export function isRunId(text: string): boolean {
  return /^r0-[0-9a-z]{26}$/.test(text);
}

/** The run of a row's job; undefined for any other id. */
export function runOf(jobId: string): string | undefined {
  return /^(r0-[0-9a-z]{26})-\d{1,9}$/.exec(jobId)?.[1];
}

export function isRowJobId(text: string): boolean {
  return /^r0-[0-9a-z]{26}-\d{1,9}$/.test(text);
}

/** Deterministic: feeding a row again is harmless. */
export function rowJobId(runId: string, row: number): string {
  return `${runId}-${row}`;
}

export function makeWebhookId(): string {
  return `w0-${base32(randomBytes(17), 26)}`;
}

export function isWebhookId(text: string): boolean {
  return /^w0-[0-9a-z]{26}$/.test(text);
}

export function makeIdempotencyKey(): string {
  return `pf-${randomBytes(16).toString('hex')}`;
}
