import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { PassferryError } from './errors.ts';
import type { HashFacts } from './job.ts';
import type { MigrationMode } from './migration.ts';
import type { ResetMode } from './run.ts';
import { Secret } from './secret.ts';
import { type JobKey, sign, verify } from './signature.ts';

/** A third of the time of the default, for 3 % more bytes. */
const deflated = (plain: string | Buffer) => deflateRawSync(plain, { level: 3 });

/** Of the passwords of a page: more than most have. */
const firstBytes = 16 * 1024;

/** Rows of a page: row `n` of a run stands in page `pageOf(n)`, whatever became of the ones before. */
export const pageRows = 500;
/** Row number (from 1) → page number (from 0). */
export const pageOf = (row: number) => Math.floor((row - 1) / pageRows);
/** Place of a row in its page, from 0. */
export const placeOf = (row: number) => (row - 1) % pageRows;

/** What all rows of a page have in common; signed with the rest of it. */
export interface PageHead {
  v: 1;
  run: string;
  page: number;
  /** Rows in it, refused ones too. */
  rows: number;
  /** Sequence of its first row; row `n` has `base + placeOf(n)`. A decimal of up to 16 digits. */
  base: string;
  /** The organization that the run belongs to, and rows that name none. */
  org: string;
  caller: string;
  /** When the run was begun: Redis time, ms since the epoch. */
  runAt: number;
  /** When the page was: Redis time, ms since the epoch. */
  acceptedAt: number;
  expiresAt: number;
  overwriteNewer: boolean;
  /** Nothing is changed: its rows are only judged. */
  dryRun?: true;
  /** Share of the rows whose login is proved, 0 to 1. Default 0.01. */
  proofShare?: number;
  /** Workers hash its passwords with bcrypt of this cost, and send hashes. */
  hashHere?: number;
  /** Its rows name no passwords. `endSessions`: whoever is logged in has to log in again, where the backend can do that. */
  reset?: { mode: ResetMode; endSessions?: true };
  /**
   * Its rows are users of v1, and its sealed part is empty. `from`, `next`: where the users of this page and of the one after it begin;
   * without `next` it is the last one. `tally`: what was counted beside rows, over all pages so far, by field.
   */
  migration?: {
    mode: MigrationMode;
    create?: true;
    repair?: true;
    from?: string;
    next?: string;
    tally: Record<string, number>;
  };
  /** Key of the sealed part. */
  dataKey: string;
}

/** One row as it stands in the part that is not secret. */
export interface PageRow {
  /** Where it starts in the file: line from 1, byte from 0. */
  line: number;
  byte?: number;
  user?: string;
  /** Its sealed part is a hash. */
  hash?: HashFacts;
  /** Instead of `user`: looked up by a worker. E-mail addresses in lower case. */
  find?: { email: string } | { userName: string };
  /** Left out: that of the run. */
  org?: string;
  changeRequired?: boolean;
  /** The caller may set protected users there. */
  admin?: boolean;
  /** What the password was known to be then, ms since the epoch: a later choice of the user is kept. */
  asOf?: number;
  /** A generated password as a JWE, for the recipient of the run alone. */
  handout?: string;
  /** Refused when it was read, and in which column. */
  refused?: string;
  field?: string;
  /** The file's own columns without secrets, for the rejects; by name. */
  columns?: Record<string, string>;
}

/** A page as it is stored. */
export interface StoredPage {
  head: string;
  clear: Buffer;
  sealed: Buffer;
  mac: string;
}

/** A page that was verified. The sealed part is opened row by row. */
export interface Page {
  head: PageHead;
  rows: PageRow[];
  sealed: Buffer;
}

/** Rows as the part of a page that is not secret, before it is deflated. */
export function rowsText(rows: PageRow[]): string {
  count(rows, -1);
  const text = JSON.stringify(rows);
  count(rows, 1);
  return text;
}

/**
 * Places ↔ their distances from the row before, of the first from 0: equal numbers deflate to almost nothing. In the rows
 * themselves, for there may be millions of them.
 */
function count(rows: PageRow[], step: 1 | -1): void {
  let line = 0;
  let byte = 0;
  for (const row of rows) {
    const [givenLine, givenByte] = [row.line, row.byte];
    row.line = givenLine + step * line;
    line = step === 1 ? row.line : givenLine;
    if (givenByte === undefined) continue;
    row.byte = givenByte + step * byte;
    byte = step === 1 ? row.byte : givenByte;
  }
}

/**
 * Passwords of a page while it fills: length (2 bytes) and bytes of each; 0 for a refused row: an empty password is always
 * refused. Each is copied and wiped at once, so that nothing of a row outlives it.
 */
export function createJoiner() {
  let held = Buffer.allocUnsafeSlow(firstBytes);
  let used = 0;

  return {
    add(password: Secret | undefined): void {
      const bytes = password?.bytes();
      const length = bytes?.length ?? 0;
      if (used + 2 + length > held.length) {
        const wider = Buffer.allocUnsafeSlow((used + 2 + length) * 2);
        held.copy(wider, 0, 0, used);
        held.fill(0);
        held = wider;
      }
      used = held.writeUInt16BE(length, used);
      if (bytes) held.set(bytes, used);
      used += length;
      password?.wipe();
    },
    /** All of them; begins anew. Whoever takes them wipes them. */
    take(): Buffer {
      const all = held.subarray(0, used);
      held = Buffer.allocUnsafeSlow(Math.max(firstBytes, used));
      used = 0;
      return all;
    },
    wipe(): void {
      held.fill(0);
      used = 0;
    },
  };
}

/** Deflated, sealed and signed: `text` by {@link rowsText}, `plain` by {@link createJoiner}, which is wiped. */
export function makePage(jobKey: JobKey, dataKey: Buffer, head: PageHead, text: string, plain: Buffer): StoredPage {
  const clear = deflated(text);
  const packed = deflated(plain);
  plain.fill(0);
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', dataKey, nonce).setAAD(aad(head));
  const sealed = Buffer.concat([nonce, cipher.update(packed), cipher.final(), cipher.getAuthTag()]);
  packed.fill(0);
  const headText = JSON.stringify(head);
  return { head: headText, clear, sealed, mac: sign(jobKey, 'page', partsOf(headText, clear)) };
}

/** Without a sealed part: there is no secret in it. */
export function makeOpenPage(jobKey: JobKey, head: PageHead, rows: PageRow[]): StoredPage {
  const clear = deflated(rowsText(rows));
  return { ...resignPage(jobKey, head, clear), clear, sealed: Buffer.alloc(0) };
}

/** Another head for the same rows: only what the sealed part is not bound to may differ. `clear` as it is stored. */
export function resignPage(jobKey: JobKey, head: PageHead, clear: Buffer | null): Pick<StoredPage, 'head' | 'mac'> {
  const text = JSON.stringify(head);
  return { head: text, mac: sign(jobKey, 'page', partsOf(text, clear ?? Buffer.alloc(0))) };
}

/** Stored → verified; undefined when it is not signed by us. The sealed part is bound to the head by its own tag. */
export function readPage(jobKey: JobKey, run: string, page: number, stored: StoredPage): Page | undefined {
  if (!verify(jobKey, 'page', partsOf(stored.head, stored.clear), stored.mac)) return undefined;
  const head = JSON.parse(stored.head) as PageHead;
  // One page moved to the place of another.
  if (head.run !== run || head.page !== page) return undefined;
  const rows = JSON.parse(inflateRawSync(stored.clear).toString()) as PageRow[];
  count(rows, 1);
  return { head, rows, sealed: stored.sealed };
}

/** The password of one row. Error: `sealed_unreadable`. */
export function openRow(dataKey: Buffer, { head, sealed }: Page, row: number): Secret {
  let plain: Buffer | undefined;
  try {
    const decipher = createDecipheriv('aes-256-gcm', dataKey, sealed.subarray(0, 12))
      .setAAD(aad(head))
      .setAuthTag(sealed.subarray(-16));
    const packed = Buffer.concat([decipher.update(sealed.subarray(12, -16)), decipher.final()]);
    plain = inflateRawSync(packed);
    packed.fill(0);
    const secret = at(plain, placeOf(row));
    if (secret) return secret;
  } catch (cause) {
    throw new PassferryError('sealed_unreadable', { cause });
  } finally {
    plain?.fill(0);
  }
  throw new PassferryError('sealed_unreadable');
}

function at(plain: Buffer, place: number): Secret | undefined {
  let offset = 0;
  for (let i = 0; i < place; i++) offset += 2 + plain.readUInt16BE(offset);
  const length = plain.readUInt16BE(offset);
  return length === 0 ? undefined : new Secret(Buffer.from(plain.subarray(offset + 2, offset + 2 + length)));
}

function aad({ run, page, base, dataKey }: PageHead): Buffer {
  return Buffer.from(JSON.stringify(['passferry-page', 1, dataKey, run, page, base]));
}

function partsOf(head: string, clear: Buffer) {
  return [head, createHash('sha256').update(clear).digest('base64url')];
}
