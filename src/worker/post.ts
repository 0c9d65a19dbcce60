import { Agent, request } from 'undici';
import type { Destination } from '../outgoing.ts';
import { under } from '../under.ts';

/** What a receiver answered, as far as anybody wants to know. */
export interface Posted {
  status: number;
  /** What it asks us to wait, ms; not clamped. */
  retryAfterMs?: number;
}

const answerBytes = 4 * 1024;
/** The status is the answer; the rest is read for manners. */
const answerMs = 1_000;
const headerBytes = 16 * 1024;

/**
 * POSTs to the addresses that were checked and no others, over a connection of its own. No redirect is followed, and no more
 * than 4 KB of the answer are read. Rejects without an answer: `signal` is aborted then, or the connection failed.
 */
export async function post(
  { url, addresses }: Destination,
  headers: Record<string, string>,
  body: string,
  signal: AbortSignal,
): Promise<Posted> {
  const agent = new Agent({
    // The name stays for TLS, which proves whom we reached.
    connect: { lookup: (_host, _options, found) => found(null, addresses) },
    maxHeaderSize: headerBytes,
    pipelining: 0,
  });
  try {
    const answer = await request(url, { dispatcher: agent, method: 'POST', headers, body, signal });
    answer.body.on('error', () => {});
    await under([signal, AbortSignal.timeout(answerMs)], (patience) =>
      answer.body.dump({ limit: answerBytes, signal: patience }),
    ).catch(() => {});
    const asked = parseRetryAfter(answer.headers['retry-after'], Date.now());
    return { status: answer.statusCode, ...(asked !== undefined && { retryAfterMs: asked }) };
  } finally {
    // Not closed: an answer that does not end would keep it.
    agent.destroy().catch(() => {});
  }
}

/** Seconds or a date (RFC 9110) → ms from now. */
function parseRetryAfter(value: string | string[] | undefined, now: number): number | undefined {
  const text = Array.isArray(value) ? value[0] : value;
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1_000;
  const date = /GMT$/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
