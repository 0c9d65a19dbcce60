import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { PassferryError } from '../../../errors.ts';
import type { RunView } from '../../../run.ts';
import { rejectsFile } from '../../import/rejects-file.ts';
import type { RowView } from '../../runs.ts';
import { header } from '../deps.ts';

const forms = ['csv', 'ndjson', 'input'] as const;
type Form = (typeof forms)[number];

/**
 * The rejects of a run, streamed: `ndjson` (default) has every fact of a row, `csv` and `input` are files that can be corrected
 * and imported. Error: `field_type`.
 */
export function sendRejects(
  request: FastifyRequest,
  reply: FastifyReply,
  run: RunView,
  rows: AsyncIterable<RowView>,
): FastifyReply {
  const form = formOf(request);
  if (form === 'ndjson') {
    return reply.type('application/x-ndjson').send(Readable.from(lines(rows)));
  }
  const file = rejectsFile(form === 'csv' ? { ...run.options, format: 'csv' } : run.options);
  return reply
    .type(file.type === 'text/csv' ? 'text/csv; charset=utf-8; header=present' : file.type)
    .send(Readable.from(pieces(file, rows)));
}

function formOf(request: FastifyRequest): Form {
  const { format } = request.query as { format?: unknown };
  if (format !== undefined) {
    if (!(forms as readonly unknown[]).includes(format)) {
      throw new PassferryError('field_type', { fields: [{ field: 'format', reason: 'field_type' }] });
    }
    return format as Form;
  }
  return /^text\/csv\b/i.test(header(request, 'accept') ?? '') ? 'csv' : 'ndjson';
}

async function* lines(rows: AsyncIterable<RowView>): AsyncGenerator<string> {
  for await (const row of rows) yield `${JSON.stringify(row)}\n`;
}

async function* pieces(file: ReturnType<typeof rejectsFile>, rows: AsyncIterable<RowView>): AsyncGenerator<string> {
  if (file.head !== '') yield file.head;
  for await (const row of rows) yield file.row(row);
  if (file.tail !== '') yield file.tail;
}
