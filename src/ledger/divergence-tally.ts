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
