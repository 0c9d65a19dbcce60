import type { BackendName } from '../job.ts';

/** Who is written. The dual stages come with migration; this is their place. */
export type Stage = 'v1' | 'v2';

export interface Stages {
  /** For organizations that are not named. */
  default: Stage;
  organizations: Record<string, Stage>;
}

export function stageOf(stages: Stages, org: string): Stage {
  return Object.hasOwn(stages.organizations, org) ? (stages.organizations[org] as Stage) : stages.default;
}

/** The backend that decides the outcome at a stage. */
export function leader(stage: Stage): BackendName {
  return stage;
}
