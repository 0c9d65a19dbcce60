import { setTimeout as sleep } from 'node:timers/promises';
import { Argument, type Command, InvalidArgumentError } from 'commander';
import type { Condition, ConditionName } from '../producer/stages/conditions.ts';
import type { StagePlan, StageView } from '../producer/stages/desk.ts';
import { type Stage, stageNames } from '../stage.ts';
import { ask } from './ask.ts';
import { type ApiClient, type ConnectionOptions, connect, problemOf, type Reply, withConnection } from './client.ts';
import { cliError, exitOf, exits, finish } from './exit.ts';
import { note, parseDuration, printable, say, sayJson } from './output.ts';
import { conditionLines, lineOf, stageLines } from './stages-text.ts';

interface Options extends ConnectionOptions {
  json?: boolean;
  percent?: number;
  force?: boolean;
  reason?: string;
  writersStopped?: boolean;
  yesFinal?: boolean;
  wait?: number | true;
}

type SetReply = StageView & { overruled: ConditionName[] };

const lookEveryMs = 500;
/** Longer than any lease. */
const usualWaitMs = 120_000;

/** `passferry stages show|plan|set`: where organizations stand on their way from v1 to v2, and one step of it. */
export function registerStages(program: Command): void {
  const stages = program
    .command('stages')
    .description('where organizations stand on their way from v1 to v2: show, plan, set')
    .addHelpText(
      'after',
      '\nStages, one step at a time: v1 · dual-v1 · dual-v2 · v2 (final). The default of all others is named "*".',
    );
  const org = () => new Argument('<org>', 'organization, or "*": all that have no setting of their own');
  const stage = () => new Argument('<stage>', 'where to').choices(stageNames);

  const show = stages
    .command('show')
    .description('where logins go, who is written, what is not in step, what going back would cost')
    .argument('[org]', 'only this organization, or "*"')
    .option('--json', 'print one JSON object a line');
  withConnection(show).action((name: string | undefined, options: Options) => finish(() => showAll(name, options)));

  const plan = stages
    .command('plan')
    .description('every condition of a step; changes nothing')
    .addArgument(org())
    .addArgument(stage());
  withConnection(withStep(plan)).action((name: string, to: Stage, options: Options) =>
    finish(() => planStep(name, to, options)),
  );

  const set = stages
    .command('set')
    .description('one step, or a percentage of it; refused with every reason while conditions do not hold')
    .addArgument(org())
    .addArgument(stage())
    .option('--force', 'go over what can be gone over, with --reason; it stands in the audit log')
    .option('--reason <text>', 'why')
    .option('--wait [time]', 'until no write goes by the older setting (default 2m)', parseDuration)
    .addHelpText(
      'after',
      '\nExit codes: 0 set · 1 refused, or somebody was faster · 2 usage · 3 could not reach · 4 set, still draining',
    );
  withConnection(withStep(set)).action((name: string, to: Stage, options: Options) =>
    finish(() => setStep(name, to, options)),
  );
}

function withStep(command: Command): Command {
  return command
    .option(
      '--percent <n>',
      'so many percent of its users go on to the stage after that already (0 to 99)',
      parsePercent,
    )
    .option('--writers-stopped', 'nothing else writes v1 any more; set needs --reason with it')
    .option('--yes-final', 'v2 is final, and you know it')
    .option('--json', 'print JSON');
}

async function showAll(org: string | undefined, options: Options): Promise<number> {
  const api = connect(options);
  const found = org === undefined ? await all(api) : [told(await api.request<StageView>('GET', pathOf(org)))];
  if (options.json) for (const each of found) sayJson(each);
  else for (const line of stageLines(found)) say(line);
  return exits.ok;
}

async function all(api: ApiClient): Promise<StageView[]> {
  const found: StageView[] = [];
  let next: string | undefined;
  do {
    const query = next === undefined ? '' : `?cursor=${encodeURIComponent(next)}`;
    const page = told(await api.request<{ stages: StageView[]; next?: string }>('GET', `/stages${query}`));
    found.push(...page.stages);
    next = page.next;
  } while (next !== undefined);
  return found;
}

async function planned(api: ApiClient, org: string, stage: Stage, options: Options): Promise<StagePlan> {
  const query = new URLSearchParams({
    ...{ stage, percent: `${options.percent ?? 0}`, writersStopped: `${options.writersStopped ?? false}` },
    ...(options.yesFinal && { confirm: 'final' }),
  });
  return told(await api.request<StagePlan>('GET', `${pathOf(org)}:plan?${query}`));
}

async function planStep(org: string, stage: Stage, options: Options): Promise<number> {
  const plan = await planned(connect(options), org, stage, options);
  if (options.json) sayJson(plan);
  else {
    for (const line of stageLines([plan.now])) say(line);
    say('');
    for (const line of conditionLines(plan.conditions)) say(line);
    say('');
    say(verdict(plan));
  }
  return plan.possible ? exits.ok : exits.notInEffect;
}

function verdict({ possible, forcible, conditions }: StagePlan): string {
  if (possible) return 'POSSIBLE: all conditions hold.';
  const open = conditions.filter(({ holds }) => !holds).length;
  return `NOT NOW: ${open} of ${conditions.length} conditions do not hold.${forcible ? ' With --force --reason it would go over them.' : ''}`;
}

async function setStep(org: string, stage: Stage, options: Options): Promise<number> {
  const { force, reason, writersStopped, percent = 0, wait } = options;
  if ((force || writersStopped) && !reason) throw cliError(exits.usage, '--force and --writers-stopped need --reason');
  const api = connect(options);
  const plan = await planned(api, org, stage, options);
  const confirm = await isFinal(plan, options);
  const reply = await api.request<SetReply>('PUT', pathOf(org), {
    json: {
      ...{ stage, percent, version: plan.now.version },
      ...(force && { force }),
      ...(reason !== undefined && { reason }),
      ...(writersStopped && { writersStopped }),
      ...(confirm && { confirm: 'final' }),
    },
  });
  const refused = (reply.body as { conditions?: Condition[] } | undefined)?.conditions;
  if (!reply.ok && refused) {
    if (options.json) sayJson(reply.body);
    else for (const line of conditionLines(refused)) say(line);
    note(
      `passferry: REFUSED, nothing was changed: ${printable(org)} stays at ${printable(plan.now.stage ?? 'an unknown stage')}`,
    );
    return exits.notInEffect;
  }
  const { overruled, ...view } = told(reply);
  if (overruled.length > 0)
    note(`gone over by force: ${overruled.map(printable).join(', ')}; it stands in the audit log`);
  const last = wait === undefined ? view : await drained(api, org, view, wait === true ? usualWaitMs : wait);
  if (options.json) sayJson(last);
  else for (const line of stageLines([last])) say(line);
  if (wait === undefined || last.draining.leases === 0) return exits.ok;
  note('some writes still go by the older setting');
  return exits.pending;
}

/** v2 has no way back: somebody has to say that he knows. */
async function isFinal({ conditions, now }: StagePlan, { yesFinal, json }: Options): Promise<boolean> {
  const final = conditions.find(({ condition }) => condition === 'final_confirmed');
  if (!final || yesFinal) return yesFinal ?? false;
  if (json || !process.stdin.isTTY || !process.stderr.isTTY) return false;
  note(printable(final.why));
  const answer = await ask(`Type ${printable(now.org)} to go to v2 for good: `);
  return answer.trim() === now.org;
}

async function drained(api: ApiClient, org: string, first: StageView, waitMs: number): Promise<StageView> {
  const until = performance.now() + waitMs;
  for (let view = first; ; view = told(await api.request<StageView>('GET', pathOf(org)))) {
    if (view.draining.leases === 0 || performance.now() > until) return view;
    note(lineOf(view));
    await sleep(lookEveryMs);
  }
}

const pathOf = (org: string) => `/stages/${encodeURIComponent(org)}`;

function parsePercent(text: string): number {
  if (!/^\d{1,2}$/.test(text)) throw new InvalidArgumentError('Give a whole number from 0 to 99.');
  return Number(text);
}

function told<T>(reply: Reply<T>): T {
  if (reply.ok) return reply.body;
  const problem = problemOf(reply);
  throw cliError(exitOf(problem.code), `${problem.message} (${problem.reason})`);
}
