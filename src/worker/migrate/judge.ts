import type { BackendUser } from '../../adapters/port.ts';
import { PassferryError, toPassferryError } from '../../errors.ts';
import { readApplied } from '../../ledger/applied.ts';
import { createDivergences } from '../../ledger/divergence.ts';
import { countField } from '../../ledger/migrations.ts';
import { planFields } from '../../ledger/run-forecast.ts';
import { under } from '../../under.ts';
import { readFrom } from '../blame.ts';
import { costText } from '../hash-rows.ts';
import { type JudgedUser, judgeMirror } from '../mirror-user.ts';
import type { createProfiles } from './profiles.ts';
import type { MigrateDeps, MigrationRow, RowSaid } from './row.ts';

const askMs = 5_000;
/** Looked at again so soon. */
const busyMs = 250;

/** Rows of plans and reconciles: both sides are read, and nothing is changed (P8). */
export function createJudge(
  { redis, keys, jobKey, lanes, deadlineMs, v2Rate }: MigrateDeps,
  profiles: ReturnType<typeof createProfiles>,
) {
  const divergences = createDivergences(redis, keys);
  const mailing = new Map<string, Promise<boolean>>();

  /** Undefined: it was judged; else why it waits. */
  async function look({ at }: MigrationRow, signal: AbortSignal): Promise<JudgedUser | { waits: string; ms: number }> {
    const { v1, v2 } = lanes;
    if (!v1 || !v2) throw new PassferryError('ability_missing', { scope: 'backend' });
    for (const lane of [v1, v2]) {
      const wait = await lane.mustWait(at.org);
      // Told as it is: nobody waits for a permission in a plan.
      if (wait?.reason === 'backend_forbidden') return { judged: 'refused', reason: wait.reason };
      if (wait) return { waits: wait.reason, ms: wait.ms };
    }
    const source = readFrom(v1.backend);
    const leave = await v2.gate.enter('rows', signal, at.org);
    try {
      const stored = await redis.hmget(keys.user(at.org, at.user), 'v1', 'v2', 'mirrored');
      const applied = (name: 'v1' | 'v2', text: string | null | undefined) =>
        text ? readApplied(jobKey, at, name, text) : undefined;
      const known = { v1: applied('v1', stored[0]), v2: applied('v2', stored[1]), mirrored: stored[2] ?? undefined };
      const judged = await under([signal, AbortSignal.timeout(2 * deadlineMs)], (within) =>
        judgeMirror(at, known, { jobKey, v1: source.backend, v2: v2.backend }, within),
      );
      v1.worked(at.org);
      v2.worked(at.org);
      // Somebody of ours wrote the user while both were read: then what was read says nothing.
      if (judged.judged !== 'unchanged') {
        const [first, second, until] = await redis.hmget(keys.user(at.org, at.user), 'v1', 'v2', 'leaseUntil');
        if (Number(until ?? 0) > Date.now() || first !== stored[0] || second !== stored[1])
          return { waits: 'busy', ms: busyMs };
      }
      return judged;
    } catch (thrown) {
      const error = signal.aborted ? new PassferryError('aborted', { scope: 'backend' }) : toPassferryError(thrown);
      const [lane, other] = source.failed(thrown) ? [v1, v2] : [v2, v1];
      other.untried();
      const ms = signal.aborted ? 0 : lane.waitAfter(error, at.org);
      if (error.scope === 'organization') return { judged: 'refused', reason: error.reason };
      return { waits: error.reason, ms };
    } finally {
      leave();
    }
  }

  /** Would v2 mail this organization's users? Who cannot say counts as yes. */
  function mails(org: string): Promise<boolean> {
    const backend = lanes.v2?.backend;
    if (!backend?.mailsOnChange) return Promise.resolve(false);
    let known = mailing.get(org);
    if (!known) {
      if (mailing.size > 1_000) mailing.clear();
      known = backend.mailsOnChange(org, AbortSignal.timeout(askMs)).then(
        (told) => told ?? true,
        () => true,
      );
      mailing.set(org, known);
    }
    return known;
  }

  async function plan(row: MigrationRow, judged: JudgedUser, signal: AbortSignal): Promise<RowSaid> {
    const more = detailsOf(judged);
    const isDenied = judged.reason === 'backend_forbidden';
    // Where we may do nothing we do not know of mails either, and a run asks before it sends any.
    if (judged.judged === 'send' || isDenied) {
      if (await mails(row.at.org)) await redis.hincrby(keys.run(row.head.run), planFields.mails, 1);
    }
    if (judged.judged === 'send') {
      return { end: 'would_mirror', counter: 'wouldMirror', verdict: 'would_mirror', more };
    }
    if (judged.judged === 'unchanged') return { end: 'unchanged', counter: 'unchanged', verdict: 'unchanged', more };
    const { reason = 'refused' } = judged;
    if (reason === 'user_missing_in_v2' && row.head.migration?.create && judged.hash && lanes.v1) {
      const profile = await profiles(lanes.v1.backend, row.head, row.at, signal);
      if (profile?.email) return { end: 'would_create', counter: 'wouldMirror', verdict: 'would_create', more };
      return { end: 'profile_incomplete', counter: 'failed', verdict: 'profile_incomplete', more };
    }
    return { end: reason, counter: 'failed', verdict: reason, more };
  }

  async function reconcile({ at, head }: MigrationRow, judged: JudgedUser): Promise<RowSaid> {
    const more = [...detailsOf(judged), ...differences(judged)];
    const verdict = classOf(judged);
    if (verdict === 'equal') {
      // Found so by an earlier look, and no more.
      await divergences.settle(at, '0');
      return { end: 'equal', counter: 'equal', verdict, more };
    }
    // Whoever wants to go back must know of them: v1 cannot be given what they chose.
    if (verdict === 'ahead')
      await divergences.note(at, { follower: 'v2', seq: '0', tries: 1, cause: 'ahead' }, undefined);
    if (verdict === 'behind' && judged.judged === 'send' && head.migration?.repair) {
      await divergences.note(at, { follower: 'v2', seq: '0', tries: 0, cause: 'pending' }, 0);
    }
    const end = judged.reason ?? (verdict === 'behind' ? 'behind' : 'not_comparable');
    return { end, counter: 'differs', verdict, more };
  }

  return async (row: MigrationRow, signal: AbortSignal): Promise<RowSaid> => {
    const began = performance.now();
    const judged = await look(row, signal);
    if ('waits' in judged) return judged;
    if (row.head.migration?.mode === 'reconcile') return reconcile(row, judged);
    const run = keys.run(row.head.run);
    await redis
      .multi()
      .hincrby(run, planFields.users, 1)
      .hincrbyfloat(run, planFields.ms, Math.round(performance.now() - began))
      .hset(run, planFields.atOnce, lanes.v2?.gate.limit ?? 1, planFields.backendRate, v2Rate ?? 0)
      .exec();
    return plan(row, judged, signal);
  };
}

/** Equal, behind, ahead, missing, unknown: by what can be read of both. */
function classOf({ judged, reason, inV1, inV2, hash }: JudgedUser): string {
  if (judged === 'unchanged') return 'equal';
  if (judged === 'send' || reason === 'v1_behind') return 'behind';
  if (reason === 'ahead') return 'ahead';
  if (reason === 'user_missing_in_v2' || reason === 'COMMAND-G8dh3') return 'missing';
  // Nobody has a password.
  if (reason === 'no_hash' && inV1 && !hash && inV2?.passwordChangedAt === undefined) return 'equal';
  return 'unknown';
}

/** Kind and cost of the hash, and states that deserve a look. */
function detailsOf({ hash, inV1, inV2 }: JudgedUser): string[] {
  const odd = (name: string, user?: BackendUser) =>
    user && user.state !== 'active' && user.state !== 'unknown' ? [countField.state(`${name} ${user.state}`)] : [];
  return [...(hash ? [countField.hash(costText({ by: '', ...hash }))] : []), ...odd('v1', inV1), ...odd('v2', inV2)];
}

function differences({ inV1, inV2 }: JudgedUser): string[] {
  if (!inV1 || !inV2) return [];
  const told = (user: BackendUser) => (user.state === 'unknown' ? 'active' : user.state);
  const flags = inV1.changeRequired !== undefined && inV2.changeRequired !== undefined;
  return [
    ...(told(inV1) === told(inV2) ? [] : [countField.state('state_differs')]),
    ...(flags && inV1.changeRequired !== inV2.changeRequired ? [countField.state('change_flag_differs')] : []),
  ];
}
