import { channel } from 'node:diagnostics_channel';

/** Named points in a job's life: metrics and tests listen, nobody else pays. */
export type TracePoint =
  | 'accept:received'
  | 'accept:reserved'
  | 'accept:sealed'
  | 'accept:added'
  | 'job:taken'
  | 'job:decoded'
  | 'job:begun'
  | 'job:settling'
  | 'job:opened'
  | 'job:attempted'
  | 'job:applied'
  | 'job:proved'
  | 'job:committed'
  | 'job:settled'
  | 'job:delayed'
  | 'job:quarantined'
  | 'job:held'
  | 'repair:detected'
  | 'repair:sent'
  | 'repair:done'
  | 'repair:dropped'
  | 'repair:failed'
  | 'migration:page'
  | 'migration:row'
  | 'mirror:begun'
  | 'mirror:recorded'
  | 'mirror:sent'
  | 'follow:made'
  | 'delivery:stored'
  | 'delivery:begun'
  | 'delivery:sent'
  | 'delivery:recorded'
  | 'ledger:forged'
  | 'ledger:lost';

export interface TraceFacts {
  jobId: string;
  backend?: string;
  reason?: string;
}

export function trace(point: TracePoint, facts: TraceFacts): void {
  const named = channel(`passferry:${point}`);
  if (named.hasSubscribers) named.publish(facts);
}
