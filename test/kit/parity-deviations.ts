/** Where Passferry deviates from v1 on purpose: the rows of docs/api.md, in their order. */
export const deviations = {
  bytes: 'password over 72 bytes but not 72 characters',
  nul: 'NUL in the password',
  surrogate: 'half of a surrogate pair in the password',
  creationDate: '`creationDate`',
  key: '`Idempotency-Key`',
  prefer: '`Prefer`',
  wait: 'the outcome takes longer than the wait',
  order: 'a newer password was applied first, or the user chose one',
  expired: 'the wait was over and the job has expired since',
  protected: 'a user with administrative roles',
  ids: 'user or organization id with control characters or over 200',
  size: 'body over 64 KiB',
  roles: 'roles, memberships',
  orgs: 'the organization of the header',
  connect: 'Connect',
  headers: 'headers',
} as const;

export type DeviationName = keyof typeof deviations;
