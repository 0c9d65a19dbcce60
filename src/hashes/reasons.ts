/** Why a hash is not taken: reason → what it is, and what whoever holds it can do instead. Texts never hold a value. */
export const hashReasons = {
  hash_empty: [
    'there is no hash',
    'Nothing can be imported for this user: send a link (passferry reset --mode link), or generate a password.',
  ],
  hash_marker: [
    'a marker that says there is no usable password',
    'The user never had one here (social or directory login?), or it was taken away: leave the row out, or send a link.',
  ],
  hash_locked: [
    'a hash behind a lock mark: the source had locked this user',
    'Decide per user: leave it out, or remove the mark on purpose and import it.',
  ],
  hash_unknown: [
    'not recognised as a hash',
    'If it is a password in clear, import it as one. Else run passferry hash doctor with one known password.',
  ],
  hash_recipe_unknown: [
    'bytes of a hash without a word about how they were made',
    'Run passferry hash doctor with one known password and the salt of its row: it searches for the recipe.',
  ],
  hash_malformed: [
    'begins like a hash but does not go on like one',
    'Look for a column that was cut, a lost character (a spreadsheet, a shell that ate $) or a wrong encoding.',
  ],
  hash_length: [
    'a part of it has the wrong length',
    'It was probably cut: look at the width of the column it comes from, and export it again.',
  ],
  hash_too_long: [
    'longer than the 200 characters that the target takes',
    'No form of it is short enough: send a link, or set the password when the user next logs in at the source.',
  ],
  cost_too_low: [
    'cheaper than the target allows',
    'Widen the limits of the verifier in the configuration of the target, or let the user choose a new password.',
  ],
  cost_too_high: [
    'dearer than is allowed: one login would cost too much time or memory',
    'Nobody makes such hashes on purpose. Look where the row comes from; send a link to the user.',
  ],
  salt_unusable: [
    'its salt cannot be written in the form of the target',
    'An empty salt, or one with blanks, $ or binary bytes, has no form there: send a link to the user.',
  ],
  firebase_scrypt: [
    'the changed scrypt of Firebase, which no target can check',
    'Check the password against Firebase when the user next logs in and set it then, or send links.',
  ],
  digest_salted: [
    'a salted digest that no target can check',
    'Let the old directory check it at the next login and set the password then, or send links.',
  ],
  digest_plain: [
    'a digest without salt that no target can check',
    'Only MD5 of 16 bytes has a verifier. Send links; such digests can be guessed, so do it soon.',
  ],
  prehashed: [
    'bcrypt of something that the source made of the password first, so no target would find it equal',
    'Let the source check it at the next login and set the password then, or send links.',
  ],
  peppered: [
    'made with a secret (pepper) that no target can be told',
    'Let the source check it at the next login and set the password then, or send links.',
  ],
  recipe_foreign: [
    'the recipe is known, but no target follows it',
    'Let the source check it at the next login and set the password then, or send links.',
  ],
  password_changed: [
    'the source changes a password before it hashes it (blanks, case or Unicode form), the target does not',
    'Whoever types it as the source made it can log in. Import with that in mind, or send links to be sure.',
  ],
  wrapped: [
    'a hash of another hash: no target does the inner one first',
    'Users who logged in at the source since have a plain one. Send links to the others.',
  ],
  argon2d: ['argon2d, which targets refuse', 'Let the source check it at the next login, or send links.'],
  argon2_version: [
    'argon2 of a version other than 1.3 (v=19)',
    'Let the source check it at the next login, or send links.',
  ],
  bcrypt_bare: [
    'bcrypt of the first kind, without a letter ($2$), which targets do not parse',
    'It cannot be rewritten for certain: how it treats other than ASCII is not known. Send links.',
  ],
  bcrypt_flawed: [
    'bcrypt as an old PHP made it wrongly ($2x$)',
    'Other implementations do not find the same password equal. Send links.',
  ],
  no_verifier: [
    'a kind that no target can check',
    'Let the source check it at the next login and set the password then, or send links.',
  ],
  parameters_missing: [
    'its parameters are kept elsewhere at the source',
    'Find rounds, digest and salt length there; passferry hash doctor tells whether they are right.',
  ],
  password_in_clear: [
    'a password in clear behind a prefix',
    'Remove the prefix and import the column as passwords, not as hashes.',
  ],
  target_bcrypt_only: ['v1 checks bcrypt only', 'Import it into v2, whose verifiers are a matter of configuration.'],
} as const;

export type HashReason = keyof typeof hashReasons;
