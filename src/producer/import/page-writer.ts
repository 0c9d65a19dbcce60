import { createHmac, scrypt } from 'node:crypto';
import { promisify } from 'node:util';
import { PassferryError } from '../../errors.ts';
import type { FingerprintKeys } from '../../key-files.ts';
import type { Pages } from '../../ledger/pages.ts';
import { makePage, type PageHead, type PageRow, pageRows } from '../../page.ts';
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
export type RunPlace = Pick<PageHead, 'run' | 'org' | 'caller' | 'runAt' | 'expiresAt' | 'overwriteNewer'> & {
  ttlMs: number;
};

/**
 * Rows in file order → pages, each stored before the next is begun. A page that is there already must be the same one, or the
 * file is another: `idempotency_key_reused`.
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
  let passwords: (Secret | undefined)[] = [];
  let dataKey: Promise<{ id: string; bytes: Buffer }> | undefined;

  async function flush(): Promise<void> {
    if (rows.length === 0) return;
    const [taken, secrets] = [rows, passwords];
    rows = [];
    passwords = [];
    try {
      await storePage(page++, taken, secrets);
    } finally {
      for (const secret of secrets) secret?.wipe();
    }
  }

  async function storePage(number: number, taken: PageRow[], secrets: (Secret | undefined)[]): Promise<void> {
    const { run, ttlMs } = place;
    const reserved = await pages.reserve(run, number, taken.length, ttlMs);
    if (reserved.kind === 'stored') {
      const [id = ''] = reserved.print.split('.');
      const key = prints.find(id);
      if (!key || (await pagePrint(key, taken, secrets)) !== reserved.print) {
        throw new PassferryError('idempotency_key_reused');
      }
      return;
    }
    dataKey ??= options.newKey();
    const key = await dataKey;
    const { ttlMs: _, ...common } = place;
    const head: PageHead = {
      v: 1,
      ...common,
      page: number,
      rows: taken.length,
      base: reserved.base,
      acceptedAt: reserved.acceptedAt,
      dataKey: key.id,
    };
    const ends = Buffer.alloc(taken.length * rowBytes);
    let rejected = 0;
    taken.forEach((row, i) => {
      if (row.refused === undefined) return;
      rejected++;
      packRow(jobKey, run, number * pageRows + i + 1, row.refused).bytes.copy(ends, i * rowBytes);
    });
    await pages.store(run, number, makePage(jobKey, key.bytes, head, taken, secrets), {
      print: await pagePrint(prints.current(options.retentionMs), taken, secrets),
      ...{ ends, rejected, accepted: taken.length - rejected, ttlMs },
    });
  }

  return {
    /** The next row; its password is wiped once it is sealed. */
    async add(row: PageRow, password?: Secret): Promise<void> {
      rows.push(row);
      passwords.push(password);
      if (rows.length >= pageRows) await flush();
    },
    /** The last page may be short; after it nothing is added. */
    flush,
    /** Pages so far, those that were stored before too. */
    pages: () => page,
    /** Given up: nothing of what was not stored stays in memory. */
    discard(): void {
      for (const secret of passwords) secret?.wipe();
      rows = [];
      passwords = [];
    },
  };
}

/** "Is it the same page?": `<id of the key>.<mac>`, stretched as that of a single request is; rows and passwords together. */
async function pagePrint(
  { id, key }: { id: string; key: Buffer },
  rows: PageRow[],
  passwords: (Secret | undefined)[],
): Promise<string> {
  const mac = createHmac('sha256', key).update(JSON.stringify(rows));
  for (const secret of passwords) {
    const bytes = secret?.bytes() ?? Buffer.alloc(0);
    mac.update(`${bytes.length}:`).update(bytes);
  }
  const stretched = await stretch(mac.digest(), key, 16, { N: 1024, r: 8, p: 1 });
  return `${id}.${stretched.toString('base64url')}`;
}
