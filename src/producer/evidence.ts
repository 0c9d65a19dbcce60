import { createHash, createHmac } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { Keys } from '../keys.ts';
import { readRunFacts } from '../ledger/run-evidence.ts';
import { type RunOptions, type RunState, type RunView, rowCounts } from '../run.ts';
import { acceptedKeys, type JobKey, sign, verify } from '../signature.ts';

/** What a run was and did, for whoever has to prove it later. Holds no password and no hash that could be guessed at. */
export interface Evidence {
  v: 1;
  kind: 'import' | 'migration';
  run: string;
  org: string;
  caller: string;
  state: RunState;
  /** Nothing of it changes any more. */
  final: boolean;
  begunAt: string;
  endedAt?: string;
  issuedAt: string;
  options: RunOptions;
  counts: Record<string, number>;
  input: { bytes?: number; hmac?: string; content?: string };
  /** Logins that were tried after a password was set. */
  proof: { share?: number; works: number; fails: number; unknown: number };
  /** What its passwords were sealed under. `dropped`: nobody can open them any more. */
  dataKeys: { id: string; dropped: boolean; until: string }[];
  /** `key`: which job key, without telling anything of it. */
  signature: { algorithm: 'hmac-sha256'; key: string; value: string };
}

/** `key_unknown`: signed under a job key that is not accepted any more, so nobody here can tell. */
export type EvidenceVerdict = 'genuine' | 'altered' | 'key_unknown';

/** Signed records of runs, and whether one is as it was issued. */
export function createEvidence(redis: Redis, keys: Keys, jobKey: JobKey) {
  return {
    /** Of a run as it is now; signed with the present job key. Error: `redis_down`. */
    async issue(view: RunView, now = Date.now()): Promise<Evidence> {
      const { bytes, mac, content, dataKeys } = await readRunFacts(redis, keys, view.id);
      const time = (ms: number) => new Date(ms).toISOString();
      const unsigned: Omit<Evidence, 'signature'> = {
        ...{
          v: 1,
          kind: view.options.migration ? 'migration' : 'import',
          run: view.id,
          org: view.org,
          caller: view.caller,
          state: view.state,
        },
        final: view.state === 'completed' || view.state === 'cancelled',
        begunAt: view.acceptedAt,
        ...(view.finishedAt !== undefined && { endedAt: view.finishedAt }),
        issuedAt: time(now),
        options: view.options,
        counts: countsOf(view),
        input: {
          ...(bytes !== undefined && { bytes }),
          ...(mac !== undefined && { hmac: mac }),
          ...(content !== undefined && { content }),
        },
        proof: {
          ...(view.options.proofShare !== undefined && { share: view.options.proofShare }),
          ...(view.proof ?? { works: 0, fails: 0, unknown: 0 }),
        },
        dataKeys: dataKeys.map((key) => ({ ...key, until: time(key.until) })),
      };
      const value = sign(jobKey, 'evidence', [canonical(unsigned)]);
      return { ...unsigned, signature: { algorithm: 'hmac-sha256', key: keyName(jobKey.current), value } };
    },

    /** Is this what was issued of this run, value by value? How it is laid out does not matter. */
    verdict(run: string, given: unknown): EvidenceVerdict {
      if (typeof given !== 'object' || given === null || Array.isArray(given)) return 'altered';
      const { signature, ...unsigned } = given as Partial<Evidence>;
      if (typeof signature?.value !== 'string' || unsigned.run !== run || unsigned.kind === undefined) return 'altered';
      if (verify(jobKey, 'evidence', [canonical(unsigned)], signature.value)) return 'genuine';
      return acceptedKeys(jobKey).some((key) => keyName(key) === signature.key) ? 'altered' : 'key_unknown';
    },
  };
}

function countsOf(view: RunView): Record<string, number> {
  const migrated = ['mirrored', 'wouldMirror', 'equal', 'differs'] as const;
  const names = ['received', 'rejected', 'accepted', 'finished', ...rowCounts, ...migrated, 'notInEffect'] as const;
  return Object.fromEntries(names.flatMap((name) => (view[name] === undefined ? [] : [[name, view[name]]])));
}

/** Names a key without helping anybody to guess it: it is 32 random bytes. */
function keyName(key: Buffer): string {
  return createHash('sha256')
    .update(createHmac('sha256', key).update('evidence-key').digest())
    .digest('hex')
    .slice(0, 12);
}

/** The same values, the same text: keys in order, no spaces. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) =>
    typeof each === 'object' && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
      : each,
  );
}
