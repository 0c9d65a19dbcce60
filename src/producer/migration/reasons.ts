import type { Code } from '../../errors.ts';

/** Why a user cannot be brought in step: reason → code, fixed text, what to do. */
export const migrationFacts = {
  unmapped: [
    'failed_precondition',
    'The row of v1 has no user id of v2 by the mapping, or no organization.',
    'Add it to the map of ids, or leave it out by the where-clause.',
  ],
  mapped_twice: [
    'failed_precondition',
    'More than one row of v1 has the user id of v2.',
    'Correct the map of ids: nobody can say which password is the right one.',
  ],
  no_hash: ['failed_precondition', 'The user has no password in v1.', 'Nothing, or send a link (passferry reset).'],
  user_deleted: ['failed_precondition', 'The user is deleted in v1.', 'Nothing.'],
  user_initial: [
    'failed_precondition',
    'The user is not initialized in v2 yet.',
    'Let the user be initialized first, then migrate again.',
  ],
  identity_mismatch: [
    'failed_precondition',
    'User name or e-mail address of both sides differ: these may be two people.',
    'Correct the map of ids, or the name on one side, then migrate again.',
  ],
  ahead: [
    'failed_precondition',
    'The user has chosen a later password in v2 itself; it is kept.',
    'Nothing: v2 has the newer one.',
  ],
  behind: ['failed_precondition', 'v2 does not have the password of v1.', 'Migrate, or reconcile with --repair.'],
  v1_behind: [
    'failed_precondition',
    'v2 has a newer change of ours that v1 has not got yet.',
    'Wait until v1 has it; passferry stages shows who is behind.',
  ],
  verifier_off: [
    'failed_precondition',
    'v2 does not check this kind of hash, as it is configured.',
    'Switch the verifier on in v2 and name it in PASSFERRY_V2_HASHES, then migrate again.',
  ],
  user_missing_in_v2: [
    'not_found',
    'The organization has no such user in v2.',
    'Add the user, or migrate with --create; or correct the map of ids.',
  ],
  not_followed: [
    'failed_precondition',
    'The user is on a stage at which only one backend is written.',
    'Look at the stage and the percentage of the organization.',
  ],
  not_comparable: [
    'failed_precondition',
    'Which of both sides has the newer password cannot be told by reading.',
    'Migrate: that brings v2 in step, or says why not.',
  ],
} as const satisfies Record<string, readonly [Code, string, string]>;

export type MigrationReason = keyof typeof migrationFacts;

export const migrationReasons = Object.fromEntries(
  Object.entries(migrationFacts).map(([reason, [code, text]]) => [reason, [code, text]]),
) as unknown as Readonly<Record<MigrationReason, readonly [Code, string]>>;

/** What a person does about it. */
export const migrationAdvice = Object.fromEntries(
  Object.entries(migrationFacts).map(([reason, [, , advice]]) => [reason, advice]),
) as Readonly<Record<string, string>>;
