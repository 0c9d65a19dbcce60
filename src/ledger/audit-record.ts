import { acceptedKeys, type JobKey, sign, verify } from '../signature.ts';

/** What callers do that is kept for whoever asks later. */
export const auditActions = [
  'set',
  'import',
  'retry',
  'cancel',
  'drop',
  'release',
  'hold',
  'lift',
  'webhook-add',
  'webhook-remove',
  'webhook-test',
  'webhook-rotate',
  'webhook-disable',
  'webhook-enable',
  'webhook-replay',
  'authenticate',
  'limit',
  'import-pause',
  'import-resume',
  'import-cancel',
  'import-retry',
  'reset',
  'migrate',
  'migration-pause',
  'migration-resume',
  'migration-cancel',
  'migration-tune',
  'stage',
  'redrive',
] as const;
export type AuditAction = (typeof auditActions)[number];

/** `unknown`: it was begun, and its process ended before it could say how. */
export type AuditResult = 'accepted' | 'refused' | 'unknown';

/** Names and ids only: never a secret, never a text of a caller but the ids it may choose. */
export interface AuditFacts {
  action: AuditAction;
  result: AuditResult;
  /** Why it was refused. */
  reason?: string;
  caller?: string;
  /** `*`: it concerns every organization, or none. */
  org: string;
  user?: string;
  job?: string;
  run?: string;
  backend?: string;
  webhook?: string;
  /** The address it came from. */
  from?: string;
  /** How many of the same kind this one stands for, when not one; of a retry by a filter, how many jobs. */
  count?: number;
  /** A request that was accepted before, sent again. */
  replayed?: true;
  /** The stage that was asked for, and how many percent of the next. */
  stage?: string;
  /** The reason that whoever asked has given for a step, or the cause of those that were tried again. */
  why?: string;
}

const names = [
  ...['action', 'result', 'reason', 'caller', 'org', 'user', 'job', 'run'],
  ...['backend', 'webhook', 'from', 'count', 'replayed'],
  ...['stage', 'why'],
] as const satisfies string[];

/** Which process wrote it, as its how manieth, and when by the clock of Redis as that process knows it (ms). */
export interface Origin {
  process: string;
  number: number;
  at: number;
}

/** As it is stored: `body` is JSON, `mac` its signature under the job key that `key` names. */
export interface StoredAudit {
  body: string;
  mac: string;
  key: string;
}

const version = 1;

export function encodeAudit(jobKey: JobKey, facts: AuditFacts, origin: Origin): StoredAudit {
  const body = bodyOf(facts, origin);
  const key = keyId(jobKey.current);
  return { body, key, mac: sign(jobKey, 'audit', [key, body]) };
}

function bodyOf(facts: AuditFacts, { process, number, at }: Origin): string {
  const values = names.map((name) => (facts as unknown as Record<string, unknown>)[name] ?? null);
  // The last ones mostly are not there.
  while (values.at(-1) === null) values.pop();
  return JSON.stringify([version, process, number, at, ...values]);
}

/** `unverified`: signed under a job key that is no longer kept, or so it says. */
export type DecodedAudit = { kind: 'known' | 'unverified'; facts: AuditFacts; origin: Origin } | { kind: 'forged' };

export function decodeAudit(jobKey: JobKey, { body, mac, key }: Partial<StoredAudit>): DecodedAudit {
  if (body === undefined || mac === undefined || key === undefined) return { kind: 'forged' };
  const fits = verify(jobKey, 'audit', [key, body], mac);
  // Asked for after that has looked at the file again.
  const kept = acceptedKeys(jobKey).some((each) => keyId(each) === key);
  if (!fits && kept) return { kind: 'forged' };
  try {
    const [v, process, number, at, ...values] = JSON.parse(body) as [number, string, number, number, ...unknown[]];
    const facts = Object.fromEntries(
      names.flatMap((name, i) => ((values[i] ?? null) === null ? [] : [[name, values[i]]])),
    ) as unknown as AuditFacts;
    const origin = { process, number, at };
    // What nobody signed is shown only when it is at least what we write.
    if (v !== version || bodyOf(facts, origin) !== body || !isWellFormed(facts, origin)) return { kind: 'forged' };
    return { kind: fits ? 'known' : 'unverified', facts, origin };
  } catch {
    return { kind: 'forged' };
  }
}

function isWellFormed({ count, replayed, ...texts }: AuditFacts, { process, number, at }: Origin): boolean {
  const numbers = [number, at, ...(count === undefined ? [] : [count])];
  return (
    (auditActions as readonly string[]).includes(texts.action) &&
    ['accepted', 'refused', 'unknown'].includes(texts.result) &&
    typeof texts.org === 'string' &&
    [process, ...Object.values(texts)].every((each) => typeof each === 'string' && each.length <= 400) &&
    numbers.every((each) => Number.isSafeInteger(each) && each >= 0) &&
    (replayed === undefined || replayed === true)
  );
}

/** Tells keys apart without telling them. */
function keyId(key: Buffer): string {
  const known = keyIds.get(key) ?? sign({ current: key }, 'audit-key', []).slice(0, 8);
  keyIds.set(key, known);
  return known;
}
const keyIds = new WeakMap<Buffer, string>();
