import { createHash } from 'node:crypto';
import type { BackendName } from './job.ts';

/** Who is written, and which of both decides the outcome, on the way from v1 to v2. */
export const stageNames = ['v1', 'dual-v1', 'dual-v2', 'v2'] as const;
export type Stage = (typeof stageNames)[number];

/** Where an organization starts, by configuration. What was set since stands in Redis. */
export interface Stages {
  /** For organizations that are not named. */
  default: Stage;
  organizations: Record<string, Stage>;
}

/** Where an organization stands. */
export interface StageSetting {
  stage: Stage;
  /** Of its users, those that are on the next stage already: 0 to 99. */
  percent: number;
  /** Goes up with each change; 0: by configuration. */
  version: number;
  /** When it was set: Redis time, ms since the epoch; 0: by configuration. */
  since: number;
  by?: string;
  /** Since when both backends have been written without a break, as `since`; absent: only one is. 0: by configuration, nobody knows. */
  dualSince?: number;
  /** Why it was forced. */
  forced?: string;
}

/** The backend that decides the outcome at a stage. */
export function leader(stage: Stage): BackendName {
  return stage === 'v1' || stage === 'dual-v1' ? 'v1' : 'v2';
}

/** The backend that is kept in step; undefined: only one is written. */
export function follower(stage: Stage): BackendName | undefined {
  return stage === 'dual-v1' ? 'v2' : stage === 'dual-v2' ? 'v1' : undefined;
}

/** Both backends are written. */
export const isDual = (stage: Stage): boolean => follower(stage) !== undefined;

/** One step forward; undefined: it is the last. */
export function nextStage(stage: Stage): Stage | undefined {
  return stageNames[stageNames.indexOf(stage) + 1];
}

/** One step back; undefined: there is none. v2 has no way back: nothing is read from it. */
export function stageBefore(stage: Stage): Stage | undefined {
  return stage === 'v2' ? undefined : stageNames[stageNames.indexOf(stage) - 1];
}

/** Where a user stands: some are on the next stage already, always the same ones first. */
export function stageOfUser({ stage, percent }: StageSetting, org: string, user: string): Stage {
  if (percent <= 0) return stage;
  return percentile(org, user) < percent ? (nextStage(stage) ?? stage) : stage;
}

/** 0 to 99, the same for ever: who goes first does not depend on who asks. */
export function percentile(org: string, user: string): number {
  const digest = createHash('sha256')
    .update(JSON.stringify(['passferry-stage', org, user]))
    .digest();
  return digest.readUInt32BE(0) % 100;
}

/** By configuration alone. */
export function configured(stages: Stages, org: string): StageSetting {
  const named = Object.hasOwn(stages.organizations, org);
  const stage = named ? (stages.organizations[org] as Stage) : stages.default;
  return { stage, percent: 0, version: 0, since: 0, ...(isDual(stage) && { dualSince: 0 }) };
}
