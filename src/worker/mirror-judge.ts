import type { Backend, BackendUser, StoredPassword } from '../adapters/port.ts';
import { recognise } from '../hashes/recognise.ts';
import type { MirrorTaken } from '../ledger/mirror.ts';
import { Secret } from '../secret.ts';
import { sameMs } from './peek.ts';

/** In the applied record of a hash that no change of ours had brought to v1. */
export const mirrorJob = 'mirror';

/** What a mirror would come to; nothing is written. */
export type Judged =
  | { kind: 'refused'; reason: string }
  | { kind: 'unchanged' }
  | { kind: 'send'; hash: Secret; changeRequired: boolean; before: number };

/** What the ledger knows of the user. */
export type MirrorKnown = Pick<Extract<MirrorTaken, { kind: 'go' }>, 'v1' | 'v2' | 'mirrored'>;

/** Both sides as they were read → what a mirror has to do. `mark`: of what v1 has now. */
export function judge(
  { user: inV1, hash, appliedSeq }: StoredPassword,
  inV2: BackendUser,
  known: MirrorKnown,
  mark: string,
  v2: Backend,
): Judged {
  if (!hash) return { kind: 'refused', reason: 'no_hash' };
  if (inV1.state === 'deleted') return { kind: 'refused', reason: 'user_deleted' };
  if (inV2.state === 'initial') return { kind: 'refused', reason: 'user_initial' };
  if (!isSamePerson(inV1, inV2)) return { kind: 'refused', reason: 'identity_mismatch' };
  const ours = known.v2?.changedAt ?? 0;
  const isForeign = inV2.passwordChangedAt !== undefined && inV2.passwordChangedAt > ours + sameMs;
  // The same hash was sent, or both have the same change of ours, each with a hash of its own.
  const sameChange = appliedSeq !== undefined && known.v2?.seq === appliedSeq;
  if (!isForeign && (known.mirrored === mark || sameChange)) return { kind: 'unchanged' };
  // v2 leads, and v1 has not got its newest password yet: the wrong way round.
  const foreignInV1 = appliedSeq === undefined && (inV1.passwordChangedAt ?? 0) > ours + sameMs;
  if (!foreignInV1 && (known.v2?.seq ?? 0n) > (appliedSeq ?? 0n) && known.v2?.jobId !== mirrorJob) {
    return { kind: 'refused', reason: 'v1_behind' };
  }
  // Chosen in v2 itself after what v1 has, or nobody can tell: never overwritten.
  const newerInV1 = (inV1.passwordChangedAt ?? 0) > (inV2.passwordChangedAt ?? 0) + sameMs;
  if (isForeign && !newerInV1) return { kind: 'refused', reason: 'ahead' };
  const found = recognise(hash.reveal());
  const { v2: takes } = found.targets;
  if (takes.takes === 'no' || !found.encoded)
    return { kind: 'refused', reason: takes.takes === 'no' ? takes.why : 'hash_refused' };
  const verifier = takes.takes === 'default' ? 'bcrypt' : takes.verifier;
  if (!v2.verifiers?.includes(verifier)) return { kind: 'refused', reason: 'verifier_off' };
  return {
    kind: 'send',
    hash: Secret.fromString(found.encoded),
    changeRequired: inV1.changeRequired ?? false,
    before: Math.max(inV2.passwordChangedAt ?? 0, ours),
  };
}

/** An id map that points one person's row at another's account must not hand over a password. */
function isSamePerson(inV1: BackendUser, inV2: BackendUser): boolean {
  const same = (a: string, b: string) => a.normalize('NFC').toLowerCase() === b.normalize('NFC').toLowerCase();
  if (inV1.email && inV2.email && !same(inV1.email, inV2.email)) return false;
  if (!inV1.userName || !inV2.userName) return true;
  // v2's login names may carry the domain of the organization.
  return (
    same(inV1.userName, inV2.userName) || inV2.userName.toLowerCase().startsWith(`${inV1.userName.toLowerCase()}@`)
  );
}
