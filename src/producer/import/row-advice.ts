import { migrationAdvice } from '../migration/reasons.ts';
import { importAdvice } from './advice.ts';

/** What to do about a row whose password is not in force, once it was sent on its way. */
const ended: Readonly<Record<string, string>> = {
  superseded: 'Nothing, if the newer password is the right one.',
  stale: 'Nothing, if the choice of the user counts; else import the row with overwriteNewer (needs admin).',
  job_expired: 'Look why it took so long, then retry the run or import the row again.',
  run_canceled: 'Import the row again if it is still wanted.',
  job_canceled: 'Import the row again if it is still wanted.',
  dropped: 'Ask who gave it up, and import the row again if it is still wanted.',
  wrong_organization: 'Correct the organization of the row: the user belongs to another one.',
  ability_missing: 'Ask who runs the backend.',
  refused: 'Look into the log of the backend.',
  hash_refused:
    'Look at the verifiers and limits in the configuration of the backend, or send links (passferry reset).',
  hash_not_taken:
    'Switch the verifier on in the backend and name it in PASSFERRY_V2_HASHES, or send links (passferry reset).',
  hash_encoding_unknown: 'Name the encoding of the v1 store, then import the row again.',
  sealed_unreadable: 'Import the row again.',
  sealed_key_destroyed: 'Import the row again.',
  job_forged: 'Tell who runs Passferry: somebody else may have written to Redis.',
  protected_user: 'Have it imported by a caller with the permission admin.',
  roles_unreadable: 'Have it imported by a caller with the permission admin, or let the worker read roles.',
  proof_failed: 'Look at the backend: it stored something else than it was sent.',
  user_not_found:
    'Look for a slip in the name, and whether the user is in this organization; or name the user by id (--by id).',
  user_ambiguous: 'Name this user by id: take the row into a list of its own (--by id).',
  'COMMAND-G8dh3': 'Look whether the user id is right and the user exists in this organization.',
  'COMMAND-M9dse': 'Let the user be initialized first.',
  'COMMAND-3M0fs': 'Choose a password that fits the policy.',
  'COMMAND-Aesh5': 'Nothing if it is the right one already; else choose another password.',
  'COMMAND-PwReuse': 'Choose a password that was not used before.',
  'COMMAND-3n77z': 'Look whether the user id is right.',
  'COMMAND-JLK35': 'Unlock the user, then import the row again.',
  'COMMAND-SFA3t': 'Unlock the user, then import the row again.',
  'DOMAIN-HuJf6': 'Choose a longer password.',
  'DOMAIN-co3Xw': 'Add a lower case letter.',
  'DOMAIN-VoaRj': 'Add an upper case letter.',
  'DOMAIN-ZBv4H': 'Add a number.',
  'DOMAIN-ZDLwA': 'Add a symbol.',
};

/** A reason or result → what a person does about it, in one sentence; undefined: nothing is to be done. */
export function rowAdvice(reason: string): string | undefined {
  if (Object.hasOwn(ended, reason)) return ended[reason];
  if (Object.hasOwn(migrationAdvice, reason)) return migrationAdvice[reason];
  return Object.hasOwn(importAdvice, reason) ? (importAdvice as Record<string, string>)[reason] : undefined;
}
