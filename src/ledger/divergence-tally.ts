import type { BackendName } from '../job.ts';
import type { Divergences } from './divergence.ts';

/** Who is not in step in an organization, counted. */
export interface Tally {
  /** Exact. */
  count: number;
  /** So many of them were looked at for what follows. */
  looked: number;
  byCause: Record<string, number>;
  /** Those who are not just on their way, by the backend that lacks their newest password. */
  lasting: Record<BackendName, number>;
  /** Users with a later choice in the backend that follows, or that it is not to lose. */
  ahead: number;
}

/** A follower usually has a change within moments: before that nothing is wrong, ms. */
const onItsWayMs = 10_000;
const chunk = 1_000;

/** @param most looked at so many at most. @param now Redis time, ms. Errors: `redis_down`. */
export async function tallyOf(
  divergences: Pick<Divergences, 'count' | 'list'>,
  org: string,
  { now, most }: { now: number; most: number },
): Promise<Tally> {
  const tally: Tally = {
    count: await divergences.count(org),
    looked: 0,
    byCause: {},
    lasting: { v1: 0, v2: 0 },
    ahead: 0,
  };
  let cursor = '0';
  while (tally.count > 0 && tally.looked < most) {
    const found = await divergences.list(org, cursor, Math.min(chunk, most));
    for (const { follower, cause, tries, since } of found.list) {
      tally.looked++;
      tally.byCause[cause] = (tally.byCause[cause] ?? 0) + 1;
      if (cause === 'ahead') tally.ahead++;
      else if (tries > 0 || cause !== 'pending' || now - since > onItsWayMs) tally.lasting[follower]++;
    }
    cursor = found.cursor;
    if (cursor === '0') break;
  }
  return tally;
}

export interface Standing {
  follower: BackendName | 'unknown';
  cause: string;
  users: number;
}

/** All organizations together. Who was not looked at any more has the cause `unseen`, so that the sum is exact. */
export async function standingOfAll(divergences: Divergences, most = 10_000): Promise<Standing[]> {
  const by = new Map<string, Standing>();
  const add = (follower: Standing['follower'], cause: string, users: number) => {
    const name = `${follower} ${cause}`;
    by.set(name, { follower, cause, users: (by.get(name)?.users ?? 0) + users });
  };
  let left = most;
  for (const org of await divergences.organizations()) {
    const all = await divergences.count(org);
    let looked = 0;
    let cursor = '0';
    while (left > 0 && looked < all) {
      const found = await divergences.list(org, cursor, chunk);
      for (const { follower, cause } of found.list) add(follower, cause, 1);
      looked += found.list.length;
      left -= found.list.length;
      cursor = found.cursor;
      if (cursor === '0') break;
    }
    if (all > looked) add('unknown', 'unseen', all - looked);
  }
  return [...by.values()];
}
