import type { Job } from 'bullmq';
import { PassferryError } from '../errors.ts';
import type { SetPasswordData } from '../job.ts';
import type { Pages } from '../ledger/pages.ts';
import { openRow, type Page, type PageHead, pageOf, placeOf } from '../page.ts';
import type { Opener } from '../seal.ts';
import { type JobKey, jobParts, sign } from '../signature.ts';

/** What a row's job stores in Redis: its id says the rest. */
export const rowJob = { v: 1, name: 'row' } as const;

/** Pages that are looked into again and again: without their secrets. */
const remembered = 32;

export type Rows = ReturnType<typeof createRows>;

/** Jobs of rows ↔ the pages in which their rows stand. */
export function createRows(pages: Pages, jobKey: JobKey, open: Opener) {
  const cache = new Map<string, Promise<Page | undefined>>();

  function pageFor(run: string, page: number): Promise<Page | undefined> {
    const name = `${run} ${page}`;
    let known = cache.get(name);
    if (!known) {
      if (cache.size >= remembered) cache.delete(cache.keys().next().value as string);
      known = pages.read(run, page).then((read) => read && { ...read.page, sealed: Buffer.alloc(0) });
      cache.set(name, known);
      known.then(
        (read) => read ?? cache.delete(name),
        () => cache.delete(name),
      );
    }
    return known;
  }

  return {
    /** Undefined: its page is gone, or this is no row that was accepted. */
    async decode(job: Job): Promise<SetPasswordData | undefined> {
      const [, run, number] = /^(r0-[0-9a-z]{26})-(\d{1,9})$/.exec(job.id ?? '') ?? [];
      if (run === undefined || number === undefined) throw new PassferryError('job_forged');
      const row = Number(number);
      let page = await pageFor(run, pageOf(row));
      // A retry may have given it more time.
      if (page && Date.now() > page.head.expiresAt && cache.delete(`${run} ${pageOf(row)}`))
        page = await pageFor(run, pageOf(row));
      const stored = page?.rows[placeOf(row)];
      if (!page || !stored || (stored.user ?? stored.find) === undefined || stored.refused !== undefined)
        return undefined;
      const { head } = page;
      const unsigned: Omit<SetPasswordData, 'mac'> = {
        v: 1,
        name: 'set-password',
        jobId: job.id as string,
        caller: head.caller,
        org: stored.org ?? head.org,
        user: stored.user ?? '',
        seq: String(BigInt(head.base) + BigInt(placeOf(row))),
        acceptedAt: head.acceptedAt,
        expiresAt: head.expiresAt,
        changeRequired: stored.changeRequired ?? false,
        admin: stored.admin ?? false,
        overwriteNewer: head.overwriteNewer,
        dataKey: head.dataKey,
        sealed: '',
        run,
        row,
        ...(head.reset && { reset: head.reset }),
        ...(stored.find && { find: stored.find }),
        ...(stored.hash && { hash: stored.hash }),
        ...(head.hashHere !== undefined && !stored.hash && { hashHere: head.hashHere }),
        ...(stored.asOf !== undefined && { asOf: stored.asOf, runAt: head.runAt }),
      };
      return { ...unsigned, mac: sign(jobKey, 'job', jobParts(unsigned)) };
    },

    /** What its page says of the whole run. Undefined: its page is gone. */
    async headOf(run: string, row: number): Promise<PageHead | undefined> {
      return (await pageFor(run, pageOf(row)))?.head;
    },

    /** Opens what belongs to a row from its page, and everything else as ever. */
    open: Object.assign(
      async (sealed: Parameters<Opener>[0], identity: Parameters<Opener>[1]) => {
        const { run, row } = identity as Partial<SetPasswordData>;
        if (run === undefined || row === undefined) return open(sealed, identity);
        const [page, bytes] = await Promise.all([pageFor(run, pageOf(row)), pages.sealed(run, pageOf(row))]);
        // Destroyed in its time, or with the run.
        if (!page || bytes.length === 0) throw new PassferryError('sealed_key_destroyed');
        return openRow(await open.keyOf(sealed.dataKey), { ...page, sealed: bytes }, row);
      },
      { keyOf: open.keyOf },
    ) satisfies Opener,
  };
}
