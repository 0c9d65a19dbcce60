import type { Redis } from 'ioredis';
import { PassferryError } from '../errors.ts';
import type { Keys } from '../keys.ts';
import { type JobKey, verify } from '../signature.ts';
import { type AuditAction, type AuditFacts, type DecodedAudit, decodeAudit, type Origin } from './audit-record.ts';
import { redisError } from './evaluate.ts';

/** Which records of an organization; what is absent matches all. Times: ms since the epoch, `until` not included. */
export interface AuditFilter {
  org: string;
  user?: string;
  caller?: string;
  action?: AuditAction;
  since?: number;
  until?: number;
}

/**
 * A record as it is told. `forged`: not signed by us, or moved, so nothing of it is told and it may have been anybody's. `gap`:
 * records are missing here (`missing`, how many), or those from here back were trimmed for being too many (`trimmed`).
 */
export type AuditView =
  | (Omit<AuditFacts, 'org'> & { id: string; time: string; org: string; unverified?: true })
  | { id: string; time: string; result: 'forged' }
  | { id: string; time: string; result: 'gap'; reason: 'missing' | 'trimmed'; count?: number };

export interface AuditPage {
  /** Newest first. */
  records: AuditView[];
  /** Where to go on; absent when all were seen. */
  next?: string;
}

interface Seen {
  id: string;
  decoded: DecodedAudit;
}

const chunk = 500;
/** Looked at by one page at most, whatever matches: a call must end. */
const scanned = 5_000;
/** Requests that overlap are written in another order than they were numbered, but near each other. */
const nearby = 500;
/** What is younger may still be on its way. */
const settledMs = 10_000;
/** The clock of a process may be off from that of Redis by so much. */
const toleranceMs = 10 * 60_000;

export function createAuditReader({ redis, keys, jobKey }: { redis: Redis; keys: Keys; jobKey: JobKey }) {
  const decode = ([id, fields]: [string, string[]]): Seen => {
    const at = (name: string) => {
      const i = fields.indexOf(name);
      return i >= 0 && i % 2 === 0 ? fields[i + 1] : undefined;
    };
    const [body, mac, key] = [at('b'), at('m'), at('k')];
    const decoded =
      body !== undefined && mac !== undefined && key !== undefined
        ? decodeAudit(jobKey, { body, mac, key })
        : ({ kind: 'forged' } as const);
    const moved = decoded.kind !== 'forged' && Math.abs(decoded.origin.at - msOf(id)) > toleranceMs;
    return { id, decoded: moved ? { kind: 'forged' } : decoded };
  };

  async function range(from: string, to: string, count: number): Promise<Seen[]> {
    return (await redis.xrevrange(keys.audit, from, to, 'COUNT', count)).map(decode);
  }

  /** From the newest on, until `limit` match or enough was looked at. `ended`: nothing is older. */
  async function scan(filter: AuditFilter, limit: number, cursor: string | undefined) {
    const end = filter.since === undefined ? '-' : `${filter.since}-0`;
    let start = cursor !== undefined ? `(${cursor}` : filter.until === undefined ? '+' : `(${filter.until}-0`;
    const seen: Seen[] = [];
    let matched = 0;
    for (;;) {
      const found = await range(start, end, chunk);
      for (const [i, each] of found.entries()) {
        seen.push(each);
        if (tells(each, filter)) matched++;
        if (matched >= limit) return { seen, ended: found.length < chunk && i === found.length - 1 };
      }
      if (found.length < chunk) return { seen, ended: true };
      start = `(${found.at(-1)?.id}`;
      if (seen.length >= scanned) return { seen, ended: false };
    }
  }

  /** What is missing among these: numbers of a process between those that are there. */
  async function missing(seen: Seen[]): Promise<AuditView[]> {
    const [newest, oldest] = [seen[0]?.id, seen.at(-1)?.id];
    if (newest === undefined || oldest === undefined) return [];
    const older = await range(`(${oldest}`, '-', nearby);
    const newer = (await redis.xrange(keys.audit, `(${newest}`, '+', 'COUNT', nearby)).map(decode);
    const [seconds] = (await redis.time()) as unknown as [string, string];
    const settled = Number(seconds) * 1_000 - settledMs;

    const gaps: AuditView[] = [];
    for (const [process, here] of byProcess(seen)) {
      const around = new Map([
        ...(byProcess(older).get(process) ?? []),
        ...(byProcess(newer).get(process) ?? []),
        ...here,
      ]);
      const lowest = Math.min(...here.keys());
      const highest = Math.max(...here.keys());
      // So that one that is missing between two pages is told by one of them.
      const next = Math.min(...[...around.keys()].filter((number) => number > highest));
      const present = [...around.keys()].filter((number) => number >= lowest && (number <= highest || number === next));
      present.sort((a, b) => a - b);
      for (const [i, number] of present.entries()) {
        const before = present[i - 1];
        const id = around.get(number) as string;
        if (before === undefined || number === before + 1 || msOf(id) > settled) continue;
        gaps.push({ id, time: timeOf(id), result: 'gap', reason: 'missing', count: number - before - 1 });
      }
    }
    return gaps;
  }

  /** Told where the oldest record is, once records were trimmed before their time. */
  async function trimmed(filter: AuditFilter): Promise<AuditView[]> {
    const stored = await redis.get(keys.auditTrimmed);
    if (stored === null) return [];
    const [oldest] = await redis.xrange(keys.audit, '-', '+', 'COUNT', 1);
    const id = oldest?.[0] ?? '0-0';
    if (filter.since !== undefined && msOf(id) < filter.since) return [];
    const about = { id, time: timeOf(id) };
    return [isMark(jobKey, stored) ? { ...about, result: 'gap', reason: 'trimmed' } : { ...about, result: 'forged' }];
  }

  async function page(filter: AuditFilter, limit: number, cursor?: string): Promise<AuditPage> {
    if (cursor !== undefined && !/^\d{1,15}-\d{1,10}$/.test(cursor)) throw new PassferryError('cursor_invalid');
    const { seen, ended } = await scan(filter, limit, cursor);
    const twice = repeated(seen);
    const told = seen.filter((each) => tells(each, filter) && !twice.has(each.id)).map(view);
    const records = [...told, ...(await missing(seen)), ...(ended ? await trimmed(filter) : [])];
    const last = seen.at(-1)?.id;
    // Stable: a gap stands after the record that it goes before in time.
    records.sort((a, b) => compareIds(b.id, a.id));
    return { records, ...(!ended && last !== undefined && { next: last }) };
  }

  return {
    /** Newest first. Errors: `cursor_invalid`, `redis_down`. */
    page: (filter: AuditFilter, limit: number, cursor?: string): Promise<AuditPage> =>
      page(filter, limit, cursor).catch((error) => {
        throw redisError(error);
      }),
  };
}

export type AuditReader = ReturnType<typeof createAuditReader>;

function tells({ decoded }: Seen, filter: AuditFilter): boolean {
  // It cannot be known whom it concerned.
  if (decoded.kind === 'forged') return true;
  const { facts } = decoded;
  return (['org', 'user', 'caller', 'action'] as const).every(
    (name) => filter[name] === undefined || facts[name] === filter[name],
  );
}

function view({ id, decoded }: Seen): AuditView {
  const time = timeOf(id);
  if (decoded.kind === 'forged') return { id, time, result: 'forged' };
  return { id, time, ...decoded.facts, ...(decoded.kind === 'unverified' && { unverified: true as const }) };
}

/** Process → number → id; only what is signed by us counts. */
function byProcess(seen: Seen[]): Map<string, Map<number, string>> {
  const found = new Map<string, Map<number, string>>();
  for (const { id, decoded } of seen) {
    if (decoded.kind !== 'known') continue;
    const { process, number }: Origin = decoded.origin;
    const numbers = found.get(process) ?? new Map<number, string>();
    numbers.set(number, id);
    found.set(process, numbers);
  }
  return found;
}

/** Ids of records that stand there again: sent twice over a broken connection, or copied. The first one counts. */
function repeated(seen: Seen[]): Set<string> {
  const twice = new Set<string>();
  const newest = new Map<string, string>();
  for (const { id, decoded } of seen) {
    if (decoded.kind === 'forged') continue;
    const name = `${decoded.origin.process} ${decoded.origin.number}`;
    const before = newest.get(name);
    if (before !== undefined) twice.add(before);
    newest.set(name, id);
  }
  return twice;
}

function isMark(jobKey: JobKey, stored: string): boolean {
  try {
    const { at, mac } = JSON.parse(stored) as { at?: unknown; mac?: unknown };
    return typeof at === 'number' && typeof mac === 'string' && verify(jobKey, 'audit-trimmed', [at], mac);
  } catch {
    return false;
  }
}

const msOf = (id: string) => Number(id.split('-')[0]);
// A stored id may be beyond what a date can be.
const timeOf = (id: string) => new Date(Math.min(msOf(id), 8.64e15)).toISOString();

function compareIds(a: string, b: string): number {
  const number = (id: string) => Number(id.split('-')[1] ?? 0);
  return msOf(a) - msOf(b) || number(a) - number(b);
}
