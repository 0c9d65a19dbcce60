import type { z } from 'zod';
import { type HeaderName, headers, limitHeaders } from './headers.ts';
import { refTo } from './schema.ts';

/** An example: what it shows, and its value. */
export type Examples = Record<string, { summary: string; value: unknown }>;

/** Status → answer. */
export type Answers = Record<string, object>;

export type Paths = Record<string, Record<string, object>>;

export interface Operation {
  /** Name for generated clients. */
  id: string;
  tag: string;
  summary: string;
  description?: string;
  /** No token is asked for. */
  open?: true;
  parameters?: object[];
  body?: object;
  answers: Answers;
}

export function operation({ id, tag, summary, description, open, parameters, body, answers }: Operation): object {
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(description && { description }),
    ...(open && { security: [] }),
    ...(parameters && { parameters }),
    ...(body && { requestBody: body }),
    responses: open ? answers : Object.fromEntries(Object.entries(answers).map(limited)),
  };
}

/** What stands elsewhere in the document has them there. */
function limited([status, answer]: [string, { $ref?: string; headers?: object }]): [string, object] {
  if (answer.$ref) return [status, answer];
  return [status, { ...answer, headers: { ...answer.headers, ...headers(...limitHeaders) } }];
}

/** A JSON body. */
export function jsonBody(schema: z.ZodType, examples: Examples, required = true): object {
  return { required, content: { 'application/json': { schema: refTo(schema), examples } } };
}

/** A JSON answer. */
export function jsonAnswer(description: string, schema: z.ZodType, examples: Examples, ...told: HeaderName[]): object {
  return {
    description,
    ...(told.length > 0 && { headers: headers(...told) }),
    content: { 'application/json': { schema: refTo(schema), examples } },
  };
}
