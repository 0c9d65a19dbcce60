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
  /** Open jobs that were asked for one by one: how much each counts, and for which organization. */
  readonly counted: string;
  /** What each organization has open of them: number, bytes, and the turn of its last one. */
  readonly load: string;
  /** The last turn in the line of rows that each organization was given. */
  readonly rowTurns: string;
  /** BullMQ's waiting jobs with a priority. */
  line(queue: string): string;
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
  /** A webhook: where, what for, its sealed secrets; signed. */
  webhook(id: string): string;
  /** Ids of the webhooks of an organization. */
  webhooks(org: string): string;
  /** Ids of all webhooks. */
  readonly allWebhooks: string;
  /** The last event whose deliveries are stored; absent while there was never a webhook. */
  readonly webhookCursor: string;
  /** Whoever has it reads the event log for the webhooks; it ends by itself. */
  readonly webhookTick: string;
  /** Events that a webhook missed because too many deliveries were waiting. */
  webhookMissed(id: string): string;
  /** There while the receiver has asked to be left alone. */
  webhookPause(id: string): string;
  /** What is being sent to a webhook right now, by the time at which its place ends (ms). */
  webhookBusy(id: string): string;
  /** The newest deliveries of a webhook, by their last change (ms). */
  deliveries(webhookId: string): string;
  /** Those that have not ended, by the time of the next try (ms). */
  deliveriesOpen(webhookId: string): string;
  /** How far one delivery has come. */
  delivery(id: string): string;
  /** Workers by their last word (ms). */
  readonly beats: string;
  /** What a worker says of itself; signed, ends by itself. */
  beat(id: string): string;
  /** A table of stages, by the digest that workers name; each line signed. */
  stages(digest: string): string;
  /** Where each organization stands on its way from v1 to v2; signed, by organization, `*` for all others. */
  readonly stageTable: string;
  /** Goes up with each change of a stage: what tells that copies are old. */
  readonly stageStamp: string;
  /** Leases that may write, with the setting each goes by, by the time of their end (ms). */
  readonly writing: string;
  /** Users of an organization whose other backend is not in step: what is known of each. */
  behind(org: string): string;
  /** Those that are brought in step without being asked, by the time of the next try (ms), over all organizations. */
  readonly mirrorDue: string;
  /** Organizations with users who are not in step. */
  readonly divergent: string;
  /** What completed migrations have seen of each organization; signed. */
  readonly migrated: string;
  /** The open migration of each organization. */
  readonly migrating: string;
  /** Migrations that are not over, or whose end is not on record yet, by the time they were begun (ms). */
  readonly migrations: string;
  /** Whoever has it reads v1 for migrations; it ends by itself. */
  readonly fillLease: string;
  /** What the rows of a migration came to. */
  runVerdicts(runId: string): string;
  /** The sealed hash that v1 has not got yet. */
  follow(org: string, user: string): string;
  /** What ended, in order, for whoever follows (a stream). */
  readonly events: string;
  /** What callers asked for and what became of it (a stream). */
  readonly audit: string;
  /** There when records were trimmed before their time. */
  readonly auditTrimmed: string;
  run(runId: string): string;
  /** A page of a run: some hundred rows without their secrets. */
  page(runId: string, page: number): string;
  /** The sealed passwords of a page. */
  pageSecret(runId: string, page: number): string;
  /** How the rows of a page have ended, some bytes each. */
  pageEnds(runId: string, page: number): string;
  /** Why rows ended whose reason has no number, by row. */
  runNotes(runId: string): string;
  /** Rows that named no id: the ids that were found for them. */
  runFound(runId: string): string;
  /** Runs that are not over, by the time of their first page (ms). */
  readonly activeRuns: string;
  /** Whoever has it feeds the pages of runs to the queue; it ends by itself. */
  readonly feedLease: string;
  /** The runs of an organization, by the time they were begun (ms). */
  orgRuns(org: string): string;
}

/** @param namespace 1 to 32 of `[a-z0-9-]`; lets several installations share one Redis. */
export function redisKeys(namespace: string): Keys {
  const tag = `{${namespace}:0}`;
  return {
    namespace,
    bullPrefix: `${tag}:q`,
    sequence: `${tag}:sequence`,
    open: `${tag}:open`,
    counted: `${tag}:counted`,
    load: `${tag}:load`,
    rowTurns: `${tag}:row-turns`,
    line: (queue) => `${tag}:q:${queue}:prioritized`,
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
    webhook: (id) => `${tag}:webhook:${id}`,
    webhooks: (org) => `${tag}:webhooks:${encodeURIComponent(org)}`,
    allWebhooks: `${tag}:all-webhooks`,
    webhookCursor: `${tag}:webhook-cursor`,
    webhookTick: `${tag}:webhook-tick`,
    webhookMissed: (id) => `${tag}:webhook-missed:${id}`,
    webhookPause: (id) => `${tag}:webhook-pause:${id}`,
    webhookBusy: (id) => `${tag}:webhook-busy:${id}`,
    deliveries: (webhookId) => `${tag}:deliveries:${webhookId}`,
    deliveriesOpen: (webhookId) => `${tag}:deliveries-open:${webhookId}`,
    delivery: (id) => `${tag}:delivery:${id}`,
    beats: `${tag}:beats`,
    beat: (id) => `${tag}:beat:${id}`,
    stages: (digest) => `${tag}:stages:${digest}`,
    stageTable: `${tag}:stage-table`,
    stageStamp: `${tag}:stage-stamp`,
    writing: `${tag}:writing`,
    behind: (org) => `${tag}:behind:${encodeURIComponent(org)}`,
    mirrorDue: `${tag}:mirror-due`,
    divergent: `${tag}:divergent`,
    migrated: `${tag}:migrated`,
    migrating: `${tag}:migrating`,
    migrations: `${tag}:migrations`,
    fillLease: `${tag}:fill-lease`,
    runVerdicts: (runId) => `${tag}:run-verdicts:${runId}`,
    follow: (org, user) => `${tag}:follow:${encodeURIComponent(org)}:${encodeURIComponent(user)}`,
    events: `${tag}:events`,
    audit: `${tag}:audit`,
    auditTrimmed: `${tag}:audit-trimmed`,
    run: (runId) => `${tag}:run:${runId}`,
    page: (runId, page) => `${tag}:page:${runId}:${page}`,
    pageSecret: (runId, page) => `${tag}:page-secret:${runId}:${page}`,
    pageEnds: (runId, page) => `${tag}:page-ends:${runId}:${page}`,
    runNotes: (runId) => `${tag}:run-notes:${runId}`,
    runFound: (runId) => `${tag}:run-found:${runId}`,
    activeRuns: `${tag}:active-runs`,
    feedLease: `${tag}:feed-lease`,
    orgRuns: (org) => `${tag}:org-runs:${encodeURIComponent(org)}`,
  };
}
