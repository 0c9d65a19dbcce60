import { createHmac, timingSafeEqual } from 'node:crypto';
import { type Code, PassferryError, reasons } from './errors.ts';
import type { Result } from './job.ts';
import { foretold } from './migration.ts';
import { acceptedKeys, type JobKey } from './signature.ts';
import { zitadelIds } from './zitadel-ids.ts';

/** Bytes of one row's end in its page: a number (2), and the beginning of its HMAC (6). Zeros: it has not ended. */
export const rowBytes = 8;

/**
 * The number of each result and reason is its place here, so nothing is ever moved or taken away: runs that are stored
 * would tell another end. New ones go to the end.
 */
const numbered: readonly string[] = [
  '',
  // results
  ...['set', 'unchanged', 'superseded', 'stale', 'mirrored'],
  // a reason that has no number: it is told beside the page
  'noted',
  // how a job can end
  ...['job_expired', 'job_canceled', 'dropped', 'run_canceled', 'wrong_organization', 'ability_missing', 'refused'],
  ...['hash_encoding_unknown', 'sealed_unreadable', 'sealed_key_destroyed', 'job_forged', 'protected_user'],
  ...['roles_unreadable', 'password_missing', 'password_too_long', 'password_too_many_bytes', 'password_nul'],
  ...['password_ill_formed', 'proof_failed'],
  // rows that were refused when they were read
  ...['line_too_long', 'csv_quote', 'csv_lone_cr', 'row_columns', 'row_not_utf8', 'row_not_json', 'row_not_object'],
  ...['field_repeated', 'field_type', 'user_id_not_text', 'org_id_not_text', 'user_id_e_notation'],
  ...['org_id_e_notation', 'user_id_missing', 'user_id_invalid', 'org_id_invalid', 'org_not_granted'],
  'user_repeated',
  // what ZITADEL answers about a user
  ...['COMMAND-G8dh3', 'COMMAND-M9dse', 'COMMAND-3M0fs', 'COMMAND-Aesh5', 'COMMAND-PwReuse', 'COMMAND-3n77z'],
  ...['COMMAND-JLK35', 'COMMAND-SFA3t', 'COMMAND-CahN2', 'CRYPT-5uV9n', 'CRYPT-r8Qm2', 'DOMAIN-HuJf6', 'DOMAIN-co3Xw'],
  ...['DOMAIN-VoaRj', 'DOMAIN-ZBv4H', 'DOMAIN-ZDLwA'],
  // rows of resets
  ...['link_sent', 'user_not_found', 'user_ambiguous', 'link_uncertain', 'COMMAND-SAF4f', 'COMMAND-Sfe4g'],
  ...['email_invalid', 'user_name_invalid', 'user_name_missing'],
  // more of the rows that were refused when they were read
  ...['csv_lone_lf', 'csv_backslash', 'row_empty', 'row_not_encoded', 'row_too_many_fields', 'change_twice'],
  ...['password_is_hash', 'password_marker', 'set_at_invalid', 'set_at_ambiguous', 'set_at_future'],
  'set_at_missing',
  // rows of dry runs
  'would_set',
  // rows of LDIF and of other products
  ...['ldif_line', 'ldif_base64', 'ldif_url', 'ldif_change', 'value_repeated'],
  // rows with hashes
  ...['password_and_hash', 'hash_not_granted', 'hash_refused', 'hash_not_taken', 'hash_empty'],
  ...['hash_marker', 'hash_locked', 'hash_unknown', 'hash_recipe_unknown', 'hash_malformed'],
  ...['hash_length', 'hash_too_long', 'cost_too_low', 'cost_too_high', 'salt_unusable'],
  ...['firebase_scrypt', 'digest_salted', 'digest_plain', 'prehashed', 'peppered', 'recipe_foreign'],
  ...['password_changed', 'wrapped', 'argon2d', 'argon2_version', 'bcrypt_bare', 'bcrypt_flawed'],
  ...['no_verifier', 'parameters_missing', 'password_in_clear', 'target_bcrypt_only'],
  // rows of two files
  ...['join_user_missing', 'join_user_ambiguous', 'join_password_repeated'],
  // rows of migrations
  ...['would_mirror', 'would_create', 'equal', 'behind', 'unmapped', 'mapped_twice', 'no_hash', 'user_deleted'],
  ...['user_initial', 'identity_mismatch', 'ahead', 'v1_behind', 'verifier_off', 'user_missing_in_v2'],
  ...['user_exists', 'profile_incomplete', 'user_mapped_twice', 'not_followed', 'backend_forbidden', 'not_comparable'],
];
const numbers = new Map(numbered.map((name, number) => [name, number]));
const noted = numbers.get('noted') as number;

const results: readonly string[] = [
  'set',
  'unchanged',
  'superseded',
  'stale',
  'mirrored',
  'link_sent',
] satisfies Result[];

/** Results with which the password of the row is in force. */
export const inEffect: ReadonlySet<string> = new Set<Result>(['set', 'unchanged', 'mirrored']);
/** Results with which what the row asked for is done: nothing is left to correct. A link that was sent sets no password. */
export const asAsked: ReadonlySet<string> = new Set([...inEffect, 'link_sent' satisfies Result]);

/** How the row ended → its bytes, and its reason as text when that has no number. */
export function packRow(jobKey: JobKey, run: string, row: number, end: string): { bytes: Buffer; note: string } {
  const number = numbers.get(end) ?? noted;
  const bytes = Buffer.alloc(rowBytes);
  bytes.writeUInt16BE(number, 0);
  macOf(jobKey.current, run, row, number).copy(bytes, 2);
  return { bytes, note: number === noted ? end : '' };
}

/** Its bytes → the result or reason; undefined: open. `forged`: not signed by us. `noted`: look beside the page. */
export function unpackRow(jobKey: JobKey, run: string, row: number, bytes: Buffer): string | undefined {
  if (bytes.length < rowBytes || bytes.every((byte) => byte === 0)) return undefined;
  const number = bytes.readUInt16BE(0);
  const given = bytes.subarray(2, rowBytes);
  const fits = () => acceptedKeys(jobKey).some((key) => timingSafeEqual(macOf(key, run, row, number), given));
  return fits() || (jobKey.refresh?.() === true && fits()) ? numbered[number] : 'forged';
}

function macOf(key: Buffer, run: string, row: number, number: number): Buffer {
  return createHmac('sha256', key)
    .update(`row\0${run}\0${row}\0${number}`)
    .digest()
    .subarray(0, rowBytes - 2);
}

/** A dry run has found nothing against the row. Neither a result nor a reason: nothing was set. */
export const wouldSet = 'would_set';
/** The same of a migration that only reads. */
export const onlyRead: ReadonlySet<string> = new Set([wouldSet, ...foretold]);

export function isResult(end: string): end is Result {
  return results.includes(end);
}

/** A reason → its code and text. What is known to nobody any more keeps its name. */
export function factsOf(
  reason: string,
  more: Readonly<Record<string, readonly [Code, string]>> = {},
): { code: Code; reason: string; message: string } {
  const own = (reasons as Readonly<Record<string, readonly [Code, string]>>)[reason] ?? more[reason];
  if (own) return { code: own[0], reason, message: own[1] };
  const theirs = Object.hasOwn(zitadelIds, reason) ? zitadelIds[reason] : undefined;
  if (theirs) return { code: theirs.code, reason, message: theirs.message };
  const { code, message } = new PassferryError('refused');
  return { code, reason, message };
}
