import type { Backend, UserProfile } from '../../adapters/port.ts';
import type { PageHead } from '../../page.ts';
import { pageRows } from '../../page.ts';

const remembered = 8;

/** What new users are made from, read again from v1 where it is needed: nothing of it is stored. */
export function createProfiles() {
  const known = new Map<string, Promise<Map<string, UserProfile>>>();

  async function read(v1: Backend, { from, next }: NonNullable<PageHead['migration']>, signal: AbortSignal) {
    const found = new Map<string, UserProfile>();
    let after = from;
    do {
      const page = await v1.users?.(after, pageRows, signal);
      for (const { org, user, profile } of page?.users ?? []) if (profile) found.set(`${org}\n${user}`, profile);
      // Users were added or taken away since: a page ends where it ended.
      if (page?.next === undefined || (next !== undefined && atLeast(page.next, next))) break;
      after = page.next;
    } while (found.size < 100 * pageRows);
    return found;
  }

  return async (
    v1: Backend,
    { run, page, migration }: PageHead,
    at: { org: string; user: string },
    signal: AbortSignal,
  ): Promise<UserProfile | undefined> => {
    if (!migration) return undefined;
    const name = `${run} ${page}`;
    let all = known.get(name);
    if (!all) {
      if (known.size >= remembered) known.delete(known.keys().next().value as string);
      all = read(v1, migration, signal);
      known.set(name, all);
      all.catch(() => known.delete(name));
    }
    return (await all).get(`${at.org}\n${at.user}`);
  };
}

/** Numbers in their order, other ids in theirs; where that cannot be told a page more is read. */
const atLeast = (a: string, b: string) => (/^\d+$/.test(a) && /^\d+$/.test(b) ? BigInt(a) >= BigInt(b) : a === b);
