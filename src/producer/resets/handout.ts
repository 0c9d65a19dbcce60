import type { Redis } from 'ioredis';
import { PassferryError } from '../../errors.ts';
import type { Keys } from '../../keys.ts';
import { createFoundUsers } from '../../ledger/found-users.ts';
import { endAt, type Pages } from '../../ledger/pages.ts';
import { rowEnd } from '../../ledger/row-end.ts';
import { pageRows } from '../../page.ts';
import { inEffect } from '../../row-outcome.ts';
import type { RunView } from '../../run.ts';
import type { JobKey } from '../../signature.ts';

/** One generated password that is in force: the recipient alone can open `jwe`. */
export interface HandoutLine {
  row: number;
  userId?: string;
  /** By which the list named the user. */
  email?: string;
  userName?: string;
  org: string;
  jwe: string;
}

/** What was generated for a recipient, in file order; only what is in force now. Error: `handout_unknown`. */
export function createHandouts(redis: Redis, keys: Keys, jobKey: JobKey, pages: Pages) {
  const found = createFoundUsers(redis, keys, jobKey);

  async function* lines(run: RunView): AsyncGenerator<HandoutLine> {
    for (let page = 0; page * pageRows < run.received; page++) {
      const read = await pages.read(run.id, page);
      if (!read) continue;
      for (const [place, { handout: jwe, user, find, org = read.page.head.org }] of read.page.rows.entries()) {
        const row = page * pageRows + place + 1;
        const bytes = endAt(read.ends, place);
        if (jwe === undefined) continue;
        if (!inEffect.has((await rowEnd(redis, keys, jobKey, { run: run.id, row, bytes })) ?? '')) continue;
        const userId = user ?? (await found.read({ run: run.id, row }));
        yield { row, ...(userId !== undefined && { userId }), ...find, org, jwe };
      }
    }
  }

  return (run: RunView): AsyncGenerator<HandoutLine> => {
    if (run.options.reset?.mode !== 'generate') throw new PassferryError('handout_unknown');
    return lines(run);
  };
}
