import type { Outcome } from '../../src/index.ts';
import type { ProcessWorld } from './process-world.ts';
import { waitFor } from './wait.ts';

/** Where the job in hand stood when its worker was killed. */
export const standings = ['v1', 'v2 not sent', 'v2 attempt open'] as const;
export type Standing = (typeof standings)[number];

export interface Recovered {
  outcome: Outcome;
  /** From the kill to the outcome, s. */
  seconds: number;
  /** What the open attempt had left of its deadline at the kill, s; 0 without one. */
  deadlineLeft: number;
  /** Times the password was changed. */
  changes: number;
}

const deadlineMs = 20_000;

/** kill -9 of a worker with one job in hand, while another worker is there. */
export async function recover(world: ProcessWorld, standing: Standing): Promise<Recovered> {
  const place = await world.installation();
  const org = standing === 'v1' ? 'acme' : 'globex';
  const user = await world.addUser(org);
  const env = { PASSFERRY_V2_DEADLINE: `${deadlineMs}ms` };
  const first = await place.work(env);
  const free = await stopAt(world, standing, user);
  const jobId = await place.ask(org, user);
  const inHand = await free.reached();
  const second = await place.work(env);

  first.kill9();
  const killedAt = performance.now();
  const deadlineLeft = standing === 'v2 attempt open' ? (inHand + deadlineMs - killedAt) / 1_000 : 0;
  await first.exited;
  await free.go();
  const outcome = await place.outcome(jobId);
  const seconds = (performance.now() - killedAt) / 1_000;
  second.kill9();
  await second.exited;
  return { outcome, seconds, deadlineLeft, changes: await world.changes(org, user) };
}

/** Makes the job of this user stop there; `reached` resolves with the time when it did. */
async function stopAt(world: ProcessWorld, standing: Standing, user: string) {
  const now = async (fact: () => Promise<unknown>, what: string) => {
    await waitFor(fact, { what });
    return performance.now();
  };
  if (standing === 'v1') {
    // Its transaction waits for the row; a lock of this session, so one at a time.
    await world.sql.query('insert into passferry_users (user_id) values ($1) on conflict do nothing', [user]);
    await world.sql.query('begin');
    await world.sql.query('select 1 from passferry_users where user_id = $1 for update', [user]);
    const waits = "select 1 from pg_stat_activity where wait_event_type = 'Lock'";
    return {
      reached: () => now(async () => (await world.sql.query(waits)).rows.length > 0, 'the row to be waited for'),
      go: () => world.sql.query('rollback'),
    };
  }
  const call = standing === 'v2 not sent' ? 'GetUserByID' : 'SetPassword';
  const remove = world.sandbox.faults.add({ call, user, times: 1, fault: { kind: 'latency', ms: 120_000 } });
  const arrived = () => world.sandbox.calls.some((each) => each.call === call && each.user === user);
  return { reached: () => now(async () => arrived(), `${call} to arrive`), go: async () => remove() };
}
