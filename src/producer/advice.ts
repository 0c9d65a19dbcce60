/**
 * What is wrong or open, in one line, and what a person does about it: the same words in the API and on the command line.
 * Decide by the name; texts may change.
 */
export const advice = {
  no_worker: ['No worker is alive: nothing is set.', 'Start `passferry work`, or look into its log.'],
  worker_starting: [
    'No worker takes jobs yet: the order of changes is being confirmed.',
    'Wait some seconds; if it stays, look whether the workers reach v1 and Redis.',
  ],
  ledger_not_ready: [
    'No worker has confirmed the order of changes on this Redis: nothing is accepted.',
    'Wait some seconds; if it stays, look whether the workers reach v1 and Redis.',
  ],
  ledger_lost: [
    'Redis was wiped or restored: its backends are held.',
    'Read docs/backup.md, then `passferry release BACKEND`.',
  ],
  held: ['A person holds the backend: nothing is sent.', 'When the reason is over: `passferry release BACKEND`.'],
  held_locally: [
    'A worker is held by its HOLD file or by a signal.',
    'Remove the file that PASSFERRY_HOLD_FILE names there, or send SIGUSR2 once more.',
  ],
  hold_forged: [
    'A hold in Redis is not signed by us and is ignored.',
    'Find out who writes to Redis; a hold from before two changes of the job key is put anew.',
  ],
  beat_forged: ['A worker in Redis is not signed by us and is ignored.', 'Find out who writes to Redis.'],
  backend_down: [
    'The backend is not reachable: its jobs wait.',
    'Look at the backend and the network; jobs go on alone.',
  ],
  backend_timeout: ['The backend does not answer in time: its jobs wait.', 'Look at the load of the backend.'],
  backend_limited: [
    'The backend asked to slow down: less is sent at once.',
    'Nothing, it recovers bit by bit; for good: a lower PASSFERRY_V2_CONCURRENCY.',
  ],
  backend_error: ['The backend fails: its jobs wait.', 'Look into the log of the backend.'],
  backend_unauthenticated: [
    'The backend refuses our credentials: its jobs wait.',
    'Renew the token in PASSFERRY_V2_TOKEN_FILE (or that of v1); no restart is needed.',
  ],
  backend_forbidden: [
    'The backend denies us the permission in some organizations: their jobs wait.',
    'Give the account of the worker its role there.',
  ],
  worker_stuck: ['A worker has jobs and none moves.', 'Look into its log, then restart it: nothing is lost.'],
  stages_differ: [
    'Workers have different PASSFERRY_STAGES: an organization may be written in two places.',
    'Give all workers the same table and restart those that have the old one.',
  ],
  stage_unknown: ['No worker tells where this organization lives.', 'Look at `passferry status`.'],
  stage_forged: [
    'The stage of this organization in Redis is not signed by us: its jobs wait.',
    'Workers put it back from their copy within a minute; else find out who writes to Redis and set it again with --force.',
  ],
  not_in_step: [
    'Some users have an older password in the backend that follows.',
    'Those just on their way follow by themselves; `passferry divergence list` says why the others do not.',
  ],
  behind: [
    'The backend that follows has not the newest password of this user yet.',
    'It is tried again by itself; `passferry divergence list` says why it fails.',
  ],
  ahead: [
    'The user chose another password in v2 itself: it is not overwritten there.',
    'At a stage that v1 leads it is not the one that logs in; the next change of the user settles it.',
  ],
  never_seen: [
    'Nothing is known of this user here: nothing was asked within the retention, nothing applied within 32 days.',
    'Compare user id and organization with what the caller sends.',
  ],
  quarantined: [
    'A job crashed its worker too often and waits for a person.',
    '`passferry release-job ID --reason …` when the cause is gone, else `passferry drop ID --reason …`.',
  ],
  busy: ['Another change of this user is under way.', 'Nothing: the next one follows by itself.'],
  queued: ['A job stands in the queue.', 'Nothing: a worker takes it in its turn.'],
  sealed_key_unknown: [
    'The key that the password was sealed to has not reached the worker.',
    'Copy private.json to every worker.',
  ],
  repair_pending: [
    'An older change was made after a newer one.',
    'Nothing: the newest password is sent again by itself.',
  ],
  attempt_open: [
    'It is not known yet whether the last change that was sent was made.',
    'Nothing: it is looked up before anything else is sent.',
  ],
  leader_behind: [
    'The backend that leads has an older password of ours than the other one.',
    'Set the password again: it goes to the backend that leads.',
  ],
  failed: ['The newest request failed.', 'Repair the cause, then `passferry retry ID`.'],
  failed_for_good: ['The newest request failed, and its password is gone.', 'Send the request again.'],
  stale: [
    'Somebody chose another password after the newest request was accepted: that one is in force.',
    'If ours must win: send it again.',
  ],
  job_waits: ['A job was put off.', 'Nothing: it is tried again by itself. `passferry status` says more.'],
  in_order: ['Nothing is open: the newest request is in effect.', 'Nothing.'],
} as const satisfies Record<string, readonly [what: string, todo: string]>;

export type AdviceName = keyof typeof advice;

export interface Advice {
  problem: AdviceName;
  what: string;
  todo: string;
}

/** @param names what stands for BACKEND and ID in the text. */
export function advise(problem: AdviceName, names: { backend?: string; id?: string } = {}): Advice {
  const fill = (text: string) =>
    text.replace('BACKEND', names.backend ?? 'BACKEND').replace(/\bID\b/, names.id ?? 'ID');
  const [what, todo] = advice[problem];
  return { problem, what: fill(what), todo: fill(todo) };
}

export function isAdvice(name: string): name is AdviceName {
  return Object.hasOwn(advice, name);
}
