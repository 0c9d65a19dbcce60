import { z } from 'zod';

/** Schemas under their names: each stands once in the document, wherever it is used. */
const named = z.registry<{ id: string }>();

/** The shape of a schema for a type of the code: exactly its fields, each of its type. */
export type Fields<T> = { [K in keyof T]-?: z.ZodType<T[K]> };

export type JsonSchema = Record<string, unknown>;
export interface Reference {
  $ref: string;
}

/** Gives a schema its name in the document, which must be free. */
export function name<S extends z.ZodType>(id: string, schema: S): S {
  named.add(schema, { id });
  return schema;
}

/** How the document refers to a schema that has a name. */
export function refTo(schema: z.ZodType): Reference {
  const known = named.get(schema);
  if (!known) throw new Error('a schema of the document has no name');
  return { $ref: place(known.id) };
}

/** All schemas that have a name, as JSON Schema 2020-12. */
export function namedSchemas(): Record<string, JsonSchema> {
  const { schemas } = z.toJSONSchema(named, { uri: place, io: 'input' });
  return Object.fromEntries(
    Object.entries(schemas).map(([id, { $schema, $id, ...schema }]) => [id, withoutSafeInteger(schema) as JsonSchema]),
  );
}

/** A schema without a name: of a parameter or header. */
export function inline(schema: z.ZodType): JsonSchema {
  const { $schema, ...rest } = z.toJSONSchema(schema, { io: 'input' });
  return withoutSafeInteger(rest) as JsonSchema;
}

const place = (id: string) => `#/components/schemas/${id}`;

/** The bounds of numbers in JavaScript say nothing to a reader. */
function withoutSafeInteger(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutSafeInteger);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key, each]) => !(key === 'maximum' && each === Number.MAX_SAFE_INTEGER))
      .map(([key, each]) => [key, withoutSafeInteger(each)]),
  );
}

// What several resources have.

export const time = z.string().meta({ format: 'date-time', description: 'RFC 3339' });
export const count = z.int().min(0);
/** A text that the reader should not decide by. */
export const text = z.string();
const id = (description: string) =>
  z
    .string()
    .min(1)
    .max(200)
    .regex(/^\P{Cc}+$/u)
    .meta({ description: `${description}; no control characters` });
export const userId = id("The user's id");
export const orgId = id('Id of an organization');
export const jobId = z
  .string()
  .regex(/^(j0-[0-9a-z]{34}|r0-[0-9a-z]{26}-\d{1,9})$/)
  .meta({ description: 'Id of a job; of a row of an import: the id of the import and the number of the row' });
export const runId = z
  .string()
  .regex(/^r0-[0-9a-z]{26}$/)
  .meta({ description: 'Id of an import' });
export const idempotencyKey = z
  .string()
  .min(1)
  .max(255)
  .regex(/^[!-~]+$/)
  .meta({ description: 'Visible ASCII; the same key and request is the same job' });
export const password = z.string().min(1).max(72).meta({
  format: 'password',
  writeOnly: true,
  description: '1 to 72 characters and at most 72 bytes of UTF-8; it is stored sealed and never answered',
});
/** Why a person does something. */
export const spokenReason = z.string().min(1).max(200).meta({ description: 'Why; everybody who asks is told' });

/** Invented, for the examples. */
export const sample = {
  user: '100000000000000001',
  otherUser: '100000000000000002',
  org: 'acme',
  jobId: 'j0-01m892g834tfxs5c3k1y9e5cpeh0kek41s',
  otherJobId: 'j0-01m892g9d0b7q2w4r6t8y0p1s3d5f7h9k2',
  runId: 'r0-0123456789abcdefghjkmnpqrs',
  password: 'New-password-1',
  acceptedAt: '2026-11-25T10:02:29.350Z',
  finishedAt: '2026-11-25T10:02:29.612Z',
  expiresAt: '2026-11-26T10:02:29.350Z',
} as const;
