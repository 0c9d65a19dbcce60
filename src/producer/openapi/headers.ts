import { z } from 'zod';
import { idempotencyKey, inline, jobId, orgId, type Reference, sample, time } from './schema.ts';

/** Headers of answers; each stands once in the document. */
const answers = {
  'Idempotency-Key': {
    description: 'The key of this request, made here when none was sent',
    schema: inline(idempotencyKey),
  },
  'Idempotency-Replayed': {
    description: 'The request was accepted before under this key',
    schema: inline(z.literal('true')),
  },
  'Preference-Applied': {
    description: 'What was honoured of `Prefer`: `respond-async`, `wait=n`',
    schema: inline(z.string()),
  },
  'Passferry-Job': { description: 'Id of the job, once it is accepted, also with an error', schema: inline(jobId) },
  'Passferry-Expires': { description: 'When the job ends `expired`', schema: inline(time) },
  'Passferry-Result': {
    description: 'With `superseded` and `stale` another password is in force',
    schema: inline(z.enum(['set', 'unchanged', 'superseded', 'stale', 'mirrored'])),
  },
  'Passferry-Reason': { description: 'The reason, with every error', schema: inline(z.string()) },
  RateLimit: {
    description: 'What is left to the caller now, by draft-ietf-httpapi-ratelimit-headers',
    schema: inline(z.string()),
  },
  'RateLimit-Policy': { description: 'What it may', schema: inline(z.string()) },
  'Retry-After': { description: 'Seconds', schema: inline(z.string().regex(/^\d+$/)) },
  'WWW-Authenticate': {
    description: 'With 401: the text of the error in the v1 call, `Bearer` elsewhere',
    schema: inline(z.string()),
  },
  Location: { description: 'Where the job, the import or the migration is read', schema: inline(z.string()) },
  Link: { description: 'The job of a call that is not finished, as `rel="monitor"`', schema: inline(z.string()) },
  'X-Accel-Buffering': { description: 'Proxies keep no events back', schema: inline(z.literal('no')) },
  ETag: { description: 'Changes whenever the answer would', schema: inline(z.string()) },
} as const;

export type HeaderName = keyof typeof answers;

/** Of every answer to a known caller. */
export const limitHeaders = ['RateLimit', 'RateLimit-Policy'] as const satisfies HeaderName[];

export const headerComponents = answers;

export function headers(...names: HeaderName[]): Record<string, Reference> {
  return Object.fromEntries(names.map((each) => [each, { $ref: `#/components/headers/${each}` }]));
}

/** Headers of an error by their names in any case. */
export function headersOf(names: string[]): Record<string, Reference> {
  const asked = new Set(names.map((each) => each.toLowerCase()));
  return headers(...(Object.keys(answers) as HeaderName[]).filter((each) => asked.has(each.toLowerCase())));
}

const header = (name: string, schema: z.ZodType, description: string, example: string) => {
  return { name, in: 'header', required: false, description, schema: { ...inline(schema), examples: [example] } };
};

/** Parameters that several endpoints take. */
const parameters = {
  organization: header('x-zitadel-orgid', orgId, "The organization acted in; absent: the caller's home", sample.org),
  idempotencyKey: header(
    'Idempotency-Key',
    idempotencyKey,
    'The same key and request is the same job and its outcome; made here when absent',
    'reset-1',
  ),
  prefer: header(
    'Prefer',
    z.string(),
    '`respond-async`: do not wait; `wait=n`: wait at most n seconds; both: wait, then 202. Reading a job: `wait=n`',
    'respond-async',
  ),
  expiresIn: header(
    'Passferry-Expires-In',
    z.string().regex(/^\d{1,7}$/),
    'Seconds, 1 to 2592000, until a job that has not finished ends `expired`',
    '3600',
  ),
  overwriteNewer: header(
    'Passferry-Overwrite-Newer',
    z.enum(['true', 'false']),
    'A password that the user chose after acceptance is overwritten; needs `admin`',
    'false',
  ),
  ifNoneMatch: header('If-None-Match', z.string(), 'Tags that are known', '"XhLp3vQ0s1kT9bW2yZr4nA6dE8f"'),
  lastEventId: header(
    'Last-Event-ID',
    z.string().regex(/^\d{1,16}-\d{1,16}$/),
    'The last event that is known: the stream goes on after it',
    '1795600949350-0',
  ),
  jobId: pathParameter('id', jobId, sample.jobId),
} as const;

export const parameterComponents = parameters;

export function parameter(name: keyof typeof parameters): Reference {
  return { $ref: `#/components/parameters/${name}` };
}

export function pathParameter(name: string, schema: z.ZodType, example: string) {
  return { name, in: 'path', required: true, schema: inline(schema), example };
}

export function queryParameter(name: string, schema: z.ZodType, description: string, example: string | number) {
  return { name, in: 'query', required: false, description, schema: { ...inline(schema), examples: [example] } };
}
