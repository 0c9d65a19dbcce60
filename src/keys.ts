/**
 * Every Redis key has its name here. All carry one hash tag, so that scripts work on a cluster; the tag names the shard
 * (`0`: one is built, the names leave room for more).
 */
export interface Keys {
  readonly namespace: string;
  /** BullMQ's prefix: its keys are `<prefix>:<queue>:…`. */
  readonly bullPrefix: string;
  /** Last sequence that was given out; absent until a worker has confirmed the floor. */
  readonly sequence: string;
  /** Open jobs by expiry (ms). */
  readonly open: string;
  /** What happened, for whoever asks later: accepted and finished counts by kind. */
  readonly counters: string;
  job(jobId: string): string;
  idempotency(digest: string): string;
  /** Applied sequences and the lease of one user, within one organization. */
  user(org: string, user: string): string;
  /** The newest jobs of a user that were asked for one by one, by sequence. */
  userJobs(org: string, user: string): string;
  dataKey(id: string): string;
  /** A person's hold of a backend. */
  hold(backend: string): string;
  /** How far this Redis has come, compared with a copy elsewhere: a wiped or restored one is behind (DESIGN §5). */
  readonly epoch: string;
  /** Whoever has it moves the epoch on; it ends by itself. */
  readonly epochTick: string;
  /** Failed and expired jobs of an organization by the time of their outcome (ms). */
  failed(org: string): string;
  /** The same of all organizations by the time at which their sealed password is destroyed (ms). */
  readonly failedSecrets: string;
  /** Reopened jobs that the queue may not know of yet, by the time of the reopening (ms). */
  readonly reopened: string;
  /** Jobs of an organization that crashed their process too often and wait for a person. */
  quarantined(org: string): string;
  /** Sealed newest change of a user, while an older attempt may still land. */
  repair(org: string, user: string): string;
  /** Users whose older change was made after a newer one, by the time this was seen (ms). */
  readonly inverted: string;
  run(runId: string): string;
  runRejects(runId: string): string;
}

/** @param namespace 1 to 32 of `[a-z0-9-]`; lets several installations share one Redis. */
export function redisKeys(namespace: string): Keys {
  const tag = `{${namespace}:0}`;
  return {
    namespace,
    bullPrefix: `${tag}:q`,
    sequence: `${tag}:sequence`,
    open: `${tag}:open`,
    counters: `${tag}:counters`,
    job: (jobId) => `${tag}:job:${jobId}`,
    idempotency: (digest) => `${tag}:key:${digest}`,
    // The organization is part of the name: a wrong organization must not touch the lease of the right one (P5).
    user: (org, user) => `${tag}:user:${encodeURIComponent(org)}:${encodeURIComponent(user)}`,
    userJobs: (org, user) => `${tag}:user-jobs:${encodeURIComponent(org)}:${encodeURIComponent(user)}`,
    dataKey: (id) => `${tag}:data-key:${id}`,
    hold: (backend) => `${tag}:hold:${backend}`,
    epoch: `${tag}:epoch`,
    epochTick: `${tag}:epoch-tick`,
    failed: (org) => `${tag}:failed:${encodeURIComponent(org)}`,
    failedSecrets: `${tag}:failed-secrets`,
    reopened: `${tag}:reopened`,
    quarantined: (org) => `${tag}:quarantined:${encodeURIComponent(org)}`,
    repair: (org, user) => `${tag}:repair:${encodeURIComponent(org)}:${encodeURIComponent(user)}`,
    inverted: `${tag}:inverted`,
    run: (runId) => `${tag}:run:${runId}`,
    runRejects: (runId) => `${tag}:run-rejects:${runId}`,
  };
}
