import type { JobView, ToldOutcome } from '../job.ts';
import { PassferryClientError, record } from './error.ts';
import type { Answer, Http } from './http.ts';
import { now, type Patience, pause } from './patience.ts';

/** The server waits no longer than this by default. */
const longestPollMs = 25_000;
/** For the way there and back. */
const graceMs = 10_000;

/** The job as the API shows it. Errors: `job_unknown`, `job_gone`. */
export async function readJob(http: Http, id: string, patience: Patience): Promise<JobView> {
  return viewOf(await http.ask({ method: 'GET', path: pathOf(id) }, patience), id);
}

/** Errors: `job_done`, `job_begun`, `quarantined` (too late), `job_unknown`, `job_gone`. */
export async function cancelJob(http: Http, id: string, patience: Patience): Promise<JobView> {
  return viewOf(await http.ask({ method: 'DELETE', path: pathOf(id) }, patience), id);
}

/** Long-polls until the job has ended or the time is over: then undefined. A server that is away is waited for. */
export async function waitForJob(http: Http, id: string, patience: Patience): Promise<ToldOutcome | undefined> {
  const { until, signal } = patience;
  let tag: string | undefined;
  for (;;) {
    const startedAt = now();
    const seconds = Math.max(0, Math.floor(Math.min(until - startedAt, longestPollMs) / 1_000));
    const answer = await http.ask(
      {
        method: 'GET',
        path: pathOf(id),
        headers: { prefer: `wait=${seconds}`, 'if-none-match': tag },
        attemptMs: seconds * 1_000 + graceMs,
      },
      patience,
    );
    if (answer.status !== 304) {
      const view = viewOf(answer, id);
      if (view.done && view.outcome) return view.outcome;
      tag = answer.headers.get('etag') ?? undefined;
    }
    const rest = until - now();
    if (rest <= 0) return undefined;
    // A server that closes, or waits less than it was asked, is not asked without a break.
    if (now() - startedAt < 1_000) await pause(Math.min(1_000, rest), signal);
  }
}

function pathOf(id: string): string {
  // Anything else would be another path.
  if (!/^[\w-]{1,100}$/.test(id)) throw new PassferryClientError('job_unknown');
  return `/jobs/${id}`;
}

function viewOf({ status, body }: Answer, jobId: string): JobView {
  const { id, done } = record(body);
  if (id !== jobId || typeof done !== 'boolean') throw new PassferryClientError('answer_unreadable', { status, jobId });
  return body as JobView;
}
