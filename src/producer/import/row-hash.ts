import { recognise } from '../../hashes/recognise.ts';
import type { HashFacts } from '../../job.ts';
import { Secret } from '../../secret.ts';
import type { RowReason } from './reasons.ts';
import type { WarningKind } from './suspicious.ts';

/**
 * A hash as a file has it → what is stored of it: its facts in clear, and itself as the targets take it. Nothing is computed,
 * whatever its cost.
 */
export function readHash(
  given: unknown,
  warn: (kind: WarningKind) => void,
  peppered = false,
): { password: Secret; hash: HashFacts } | { reason: RowReason } {
  // Credentials that are an object of the file itself.
  const text = typeof given === 'object' && given !== null ? JSON.stringify(given) : given;
  if (typeof text !== 'string') return { reason: 'field_type' };
  const { kind, cost, encoded, refused, targets, warnings } = recognise(text, { peppered });
  if (refused !== undefined || encoded === undefined) return { reason: refused ?? 'hash_unknown' };
  if (warnings.includes('unmarked')) warn('hash_unmarked');
  if (warnings.includes('weak')) warn('hash_weak');
  const { v2 } = targets;
  const by = v2.takes === 'with-verifier' ? v2.verifier : 'bcrypt';
  const hash: HashFacts = { by, kind, cost, ...(v2.takes === 'no' && { v1Only: true as const }) };
  return { password: Secret.fromString(encoded), hash };
}
