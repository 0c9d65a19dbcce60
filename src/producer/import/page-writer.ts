import { createHash, createHmac, scrypt } from 'node:crypto';
import { promisify } from 'node:util';
import { PassferryError } from '../../errors.ts';
import type { FingerprintKeys } from '../../key-files.ts';
import type { Pages } from '../../ledger/pages.ts';
import { createJoiner, makePage, type PageHead, type PageRow, pageRows, rowsText } from '../../page.ts';
import { packRow, rowBytes } from '../../row-outcome.ts';
import type { Secret } from '../../secret.ts';
import type { JobKey } from '../../signature.ts';

const stretch = promisify(scrypt) as (
  password: Buffer,
  salt: Buffer,
  length: number,
  options: { N: number; r: number; p: number },
) => Promise<Buffer>;

/** What the writer is told of its run. */
export type RunPlace = Pick<
  PageHead,
  'run' | 'org' | 'caller' | 'runAt' | 'expiresAt' | 'overwriteNewer' | 'dryRun' | 'hashHere' | 'proofShare' | 'reset'
> & { ttlMs: number };

/** Pages on their way at once: the thread pool and Redis work while the next rows are read. */
const pagesAtOnce = 4;

/** A page before it is sealed. */
interface Draft {
  number: number;
  rows: number;
  refused: { place: number; reason: string }[];
  text: string;
  /** Its passwords, joined. */
  plain: Buffer;
  /** What the same file would say again: without passwords that were made here, and what was made of them. */
  asked: { text: string; plain: Buffer };
}

/**
 * Rows in file order → pages, stored in that order, a few of them at once. A page that is there already must be the same
 * one, or the file is another: `idempotency_key_reused`.
 */
export function createPageWriter(options: {
  pages: Pages;
  jobKey: JobKey;
  place: RunPlace;
  /** The run's data key, made when the first page is stored. */
  newKey: () => Promise<{ id: string; bytes: Buffer }>;
  prints: FingerprintKeys;
  retentionMs: number;
}) {
  const { pages, jobKey, place, prints } = options;
  let page = 0;
  let rows: PageRow[] = [];
  const passwords = createJoiner();
  let dataKey: Promise<{ id: string; bytes: Buffer }> | undefined;
  const content = createHash('sha256');
  const onTheirWay: Promise<void>[] = [];
  /** The page before was handed to Redis. */
  let sent = Promise.resolve();
  let failed: { error: unknown } | undefined;

  /** Waits only when too many are on their way, or for one that failed. */
  function turnPage(): Promise<void> | undefined {
    const [text, plain] = [rowsText(rows), passwords.take()];
    const bare = ({ handout: _, ...row }: PageRow): PageRow => row;
    const asked = place.reset ? { text: rowsText(rows.map(bare)), plain: Buffer.alloc(0) } : { text, plain };
    const refused = rows.flatMap(({ refused: reason }, place) => (reason === undefined ? [] : [{ place, reason }]));
    const draft: Draft = { number: page++, rows: rows.length, refused, text, plain, asked };
    rows = [];
    content.update(asked.text).update('\n');
    const before = sent;
    const stored = { sent: () => {} };
    sent = new Promise((resolve) => {
      stored.sent = resolve;
    });
    const done = storePage(draft, before, stored.sent)
      .catch((error) => {
        failed ??= { error };
      })
      .finally(() => {
        stored.sent();
        draft.plain.fill(0);
      });
    onTheirWay.push(done);
    return onTheirWay.length < pagesAtOnce && !failed ? undefined : oneLess();
  }

  async function oneLess(): Promise<void> {
    await onTheirWay.shift();
    if (failed) throw failed.error;
  }

  async function storePage(draft: Draft, before: Promise<void>, sentNow: () => void): Promise<void> {
    const { number, refused } = draft;
    const { run, ttlMs } = place;
    const today = prints.current(options.retentionMs);
    const [reserved, print] = await Promise.all([
      pages.reserve(run, number, draft.rows, ttlMs),
      pagePrint(today, draft),
    ]);
    if (reserved.kind === 'stored') {
      const [id = ''] = reserved.print.split('.');
      const key = id === today.id ? undefined : prints.find(id);
      const mine = id === today.id ? print : key && (await pagePrint(key, draft));
      if (mine !== reserved.print) throw new PassferryError('idempotency_key_reused');
      return;
    }
    dataKey ??= options.newKey();
    const key = await dataKey;
    const { ttlMs: _, ...common } = place;
    const head: PageHead = {
      v: 1,
      ...common,
      page: number,
      rows: draft.rows,
      base: reserved.base,
      acceptedAt: reserved.acceptedAt,
      dataKey: key.id,
    };
    const ends = Buffer.alloc(draft.rows * rowBytes);
    for (const { place: at, reason } of refused) {
      packRow(jobKey, run, number * pageRows + at + 1, reason).bytes.copy(ends, at * rowBytes);
    }
    const made = makePage(jobKey, key.bytes, head, draft.text, draft.plain);
    await before;
    // None after one that failed: pages are stored without a gap.
    if (failed) return;
    const answer = pages.store(run, number, made, {
      ...{ print, ends, rejected: refused.length, accepted: draft.rows - refused.length, ttlMs },
    });
    sentNow();
    await answer;
  }

  return {
    /** The next row; its password is taken over and wiped. Wait for what is returned. */
    add(row: PageRow, password?: Secret): Promise<void> | undefined {
      rows.push(row);
      passwords.add(password);
      return rows.length >= pageRows ? turnPage() : undefined;
    },
    /** All rows are stored when this resolves. The last page may be short; after it nothing is added. */
    async flush(): Promise<void> {
      if (rows.length > 0) await turnPage();
      while (onTheirWay.length > 0) await oneLess();
      if (failed) throw failed.error;
    },
    /** Pages so far, those that were stored before too. */
    pages: () => page,
    /** SHA-256 of the parts of all pages that are not secret, each with a line feed after it; hexadecimal. Once, at the end. */
    content: () => content.digest('hex'),
    /** Given up: what is on its way is let go on, nothing of the rest stays in memory. */
    async discard(): Promise<void> {
      passwords.wipe();
      rows = [];
      await Promise.all(onTheirWay);
    },
  };
}

/** Who guesses one password of so many needs all others too. */
const manyRows = 100;

/**
 * "Is it the same page?": `<id of the key>.<mac>`, rows and passwords together; that of few rows is stretched as that of a
 * single request is.
 */
async function pagePrint(
  { id, key }: { id: string; key: Buffer },
  { rows, asked: { text, plain } }: Draft,
): Promise<string> {
  const mac = createHmac('sha256', key).update(text).update('\0').update(plain).digest();
  const stretched = await stretch(mac, key, 16, { N: rows < manyRows ? 1024 : 128, r: 8, p: 1 });
  return `${id}.${stretched.toString('base64url')}`;
}
