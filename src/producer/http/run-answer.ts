import type { FastifyReply, FastifyRequest } from 'fastify';
import type { RunView } from '../../run.ts';
import { under } from '../../under.ts';
import { parsePrefer } from '../prefer.ts';
import { goneWith, type HttpDeps, header } from './deps.ts';
import { etagOf, isKnown, isOver, untilNews } from './imports/watch.ts';

/**
 * One run as whoever asked sees it: at once, or with `Prefer: wait=n` when it has changed; 304 for what `If-None-Match` knows already.
 * @param read the run, if it may be seen.
 */
export async function answerRun(
  request: FastifyRequest,
  reply: FastifyReply,
  { producer, closing, waitMs }: Pick<HttpDeps, 'producer' | 'closing' | 'waitMs'>,
  read: () => Promise<RunView>,
) {
  let view = await read();
  const known = header(request, 'if-none-match');
  const preferred = parsePrefer(header(request, 'prefer')).waitMs;
  if (preferred !== undefined) {
    const patience = Math.min(preferred, waitMs);
    reply.header('preference-applied', `wait=${Math.floor(patience / 1_000)}`);
    await under([closing, goneWith(reply)], (signal) =>
      untilNews(() => producer.runs.view(view.id), known, patience, signal),
    );
    view = await read();
  }
  if (!isOver(view)) reply.header('retry-after', '1');
  const tag = etagOf(view);
  reply.header('etag', tag);
  return isKnown(known, tag) ? reply.code(304).send() : view;
}
