import type { Redis } from 'ioredis';
import type { Keys } from '../keys.ts';
import { endAt, type Pages } from '../ledger/pages.ts';
import { pageRows } from '../page.ts';
import { unpackRow } from '../row-outcome.ts';
import type { JobKey } from '../signature.ts';

/** The first page of which not every row has ended; the number of pages when there is none. */
export async function firstOpenPage(redis: Redis, keys: Keys, run: string, stored: number): Promise<number> {
  for (let page = 0; page < stored; page += 1_000) {
    const some = redis.pipeline();
    for (let i = page; i < Math.min(stored, page + 1_000); i++) some.hget(keys.page(run, i), 'open');
    const at = ((await some.exec()) ?? []).findIndex(([, open]) => open !== '0');
    if (at >= 0) return page + at;
  }
  return stored;
}

/** Numbers of a page's rows that have not ended; undefined: the page is not stored yet. */
export async function openRows(pages: Pages, jobKey: JobKey, run: string, page: number): Promise<number[] | undefined> {
  const ends = await pages.ends(run, page);
  if (ends.length === 0) return undefined;
  const rows: number[] = [];
  for (let place = 0; endAt(ends, place).length > 0; place++) {
    const row = page * pageRows + place + 1;
    const end = unpackRow(jobKey, run, row, endAt(ends, place));
    // One that was forged is open: whoever takes it looks again.
    if (end === undefined || end === 'forged') rows.push(row);
  }
  return rows;
}
