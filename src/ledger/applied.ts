import type { BackendName } from '../job.ts';
import { type JobKey, sign, verify } from '../signature.ts';

/** The change that was applied last to a user in one backend. */
export interface Applied {
  seq: bigint;
  jobId: string;
  /** When the backend says that our change was made, ms with fraction; 0 when unknown. */
  changedAt: number;
}

/** Whose change, where. */
export interface Place {
  org: string;
  user: string;
}

/** `seq:jobId:changedAt:mac`, as the scripts read it. */
export function writeApplied(
  jobKey: JobKey,
  place: Place,
  backend: BackendName,
  of: { seq: string; jobId: string; changedAt: number },
): string {
  const parts = [place.org, place.user, backend, of.seq, of.jobId, of.changedAt];
  return `${of.seq}:${of.jobId}:${of.changedAt}:${sign(jobKey, 'applied', parts)}`;
}

/** Undefined when it does not carry our signature. */
export function readApplied(jobKey: JobKey, place: Place, backend: BackendName, value: string): Applied | undefined {
  const [seq, jobId, changedAt, mac] = value.split(':');
  if (!seq || !jobId || !changedAt || !mac) return undefined;
  const parts = [place.org, place.user, backend, seq, jobId, Number(changedAt)];
  return verify(jobKey, 'applied', parts, mac) ? { seq: BigInt(seq), jobId, changedAt: Number(changedAt) } : undefined;
}
