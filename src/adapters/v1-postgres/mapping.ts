import { z } from 'zod';
import { encodings } from './encodings.ts';

/**
 * Where the users of an application stand, and what they are called there (docs/v1-tables.md). A part of the worker's own configuration:
 * nobody who sends requests can say any of it.
 */

/** PostgreSQL cuts longer names, and what is left may be the name of something else. Bytes. */
const longestName = 63;
const clean = (text: string) => !text.includes('\0');
const name = z
  .string()
  .min(1)
  .refine((text) => Buffer.byteLength(text) <= longestName && clean(text), { message: 'name' });
const text = z.string().max(1_000).refine(clean);
const scalar = z.union([text, z.number(), z.boolean()]);

/** A column that says yes or no: a boolean one, or one with any of these values. */
const flag = z.union([name, z.strictObject({ column: name, values: z.array(text).min(1).max(100) })]);

const state = z.enum(['active', 'inactive', 'locked', 'initial', 'deleted', 'unknown']);

/** A list of conditions and not SQL: there is no place in it where a slip or a stranger could write a statement. */
const condition = z.union([
  z.strictObject({ column: name, op: z.enum(['=', '!=', '<', '<=', '>', '>=']), value: scalar }),
  z.strictObject({ column: name, op: z.enum(['in', 'not in']), value: z.array(scalar).min(1).max(1_000) }),
  z.strictObject({ column: name, op: z.enum(['is null', 'is not null']), value: z.undefined().optional() }),
]);

const also = z.union([
  z.strictObject({ column: name, value: scalar.nullable() }),
  z.strictObject({ column: name, now: z.literal(true) }),
]);

export const mappingSchema = z
  .strictObject({
    /** Default: the search path. */
    schema: name.optional(),
    table: name,
    /** Where our own tables are. Default: the search path. */
    sideSchema: name.optional(),
    readOnly: z.boolean().default(false),
    encoding: z.enum(encodings).optional(),
    /** Of columns without a time zone. */
    timeZone: z
      .string()
      .regex(/^[A-Za-z0-9_+/-]{1,60}$/)
      .default('UTC'),
    organization: z.union([z.strictObject({ column: name }), z.strictObject({ constant: text.min(1) })]),
    columns: z.strictObject({
      id: name,
      password: name,
      state: z
        .strictObject({
          column: name,
          values: z.record(z.string(), state).default({}),
          null: state.default('unknown'),
          otherwise: state.default('unknown'),
        })
        .optional(),
      userName: name.optional(),
      givenName: name.optional(),
      familyName: name.optional(),
      email: name.optional(),
      emailVerified: flag.optional(),
      passwordChangedAt: name.optional(),
      changeRequired: z.union([name, z.strictObject({ column: name, yes: scalar, no: scalar.nullable() })]).optional(),
      isMachine: flag.optional(),
      isAdmin: flag.optional(),
    }),
    /** Part of every statement. */
    where: z.array(condition).max(20).default([]),
    /** What else is written with a password. */
    set: z.array(also).max(20).default([]),
    /** v1 id → v2 user id. Default: they are the same. */
    ids: z.union([z.strictObject({ column: name }), z.strictObject({ file: z.string().min(1) })]).optional(),
  })
  .superRefine((mapping, ctx) => {
    const { columns, organization, ids } = mapping;
    const written = [
      columns.password,
      columns.passwordChangedAt,
      columns.changeRequired && columnOf(columns.changeRequired),
      ...mapping.set.map(({ column }) => column),
    ].filter((each) => each !== undefined);
    const fixed = [columns.id, 'column' in organization && organization.column, ids && 'column' in ids && ids.column];
    for (const [n, column] of written.entries()) {
      if (fixed.includes(column)) ctx.addIssue({ code: 'custom', params: { code: 'column_fixed' }, path: ['set'] });
      if (written.indexOf(column) !== n)
        ctx.addIssue({ code: 'custom', params: { code: 'column_twice' }, path: ['set'] });
    }
  });

/** A mapping as it is written. */
export type MappingInput = z.input<typeof mappingSchema>;
/** … with its defaults. */
export type Mapping = z.output<typeof mappingSchema>;
export type Flag = z.output<typeof flag>;
export type Condition = z.output<typeof condition>;

export const columnOf = (column: string | { column: string }) => (typeof column === 'string' ? column : column.column);

/** Every column that a mapping names, with the place where it does. */
export function namedColumns({ organization, columns, where, set, ids }: Mapping): { column: string; at: string }[] {
  const named = Object.entries(columns).flatMap(([key, value]) =>
    value === undefined ? [] : [{ column: columnOf(value), at: `columns.${key}` }],
  );
  if ('column' in organization) named.push({ column: organization.column, at: 'organization' });
  if (ids && 'column' in ids) named.push({ column: ids.column, at: 'ids' });
  named.push(...where.map(({ column }, n) => ({ column, at: `where.${n}` })));
  named.push(...set.map(({ column }, n) => ({ column, at: `set.${n}` })));
  return named;
}

/** The table that Passferry makes itself. */
export const builtIn: Mapping = mappingSchema.parse({
  table: 'users',
  encoding: 'bcrypt-2b',
  organization: { column: 'organization' },
  columns: {
    id: 'id',
    password: 'password_hash',
    state: {
      column: 'state',
      values: { active: 'active', inactive: 'inactive', locked: 'locked', initial: 'initial', deleted: 'deleted' },
    },
    userName: 'user_name',
    email: 'email',
    passwordChangedAt: 'password_changed_at',
    changeRequired: 'change_required',
    isMachine: 'is_machine',
  },
} satisfies MappingInput);

/** … and what its columns hold. */
export const builtInTypes: Readonly<Record<string, string>> = {
  id: 'text',
  organization: 'text',
  user_name: 'text',
  email: 'text',
  state: 'text',
  password_hash: 'text',
  password_changed_at: 'timestamp with time zone',
  change_required: 'boolean',
  is_machine: 'boolean',
};
