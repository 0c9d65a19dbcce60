import { channel } from 'node:diagnostics_channel';

/** Named points in a job's life: metrics and tests listen, nobody else pays. */
export type TracePoint =
  | 'job:begun'
  | 'job:settling'
  | 'job:attempted'
  | 'job:applied'
  | 'job:committed'
  | 'job:delayed'
  | 'ledger:forged';

export interface TraceFacts {
  jobId: string;
  backend?: string;
  reason?: string;
}

export function trace(point: TracePoint, facts: TraceFacts): void {
  const named = channel(`passferry:${point}`);
  if (named.hasSubscribers) named.publish(facts);
}
