import { z } from 'zod';
import { type Code, codes, PassferryError, type Reason, reasons } from '../../errors.ts';
import { zitadelIds } from '../../zitadel-ids.ts';
import { problem, v1Error } from '../http/errors.ts';
import { type ImportReason, importReasons } from '../import/reasons.ts';
import { type HeaderName, headersOf, limitHeaders } from './headers.ts';
import { type Fields, name, refTo, text } from './schema.ts';

const known: Record<string, readonly [Code, string]> = { ...reasons, ...importReasons };
const codeNames = Object.keys(codes) as [Code, ...Code[]];
const reasonNames = Object.keys(known) as [string, ...string[]];

/** A reason of ours, of imports, or an id of ZITADEL that this code knows. */
export type AnyReason = Reason | ImportReason | `${Uppercase<string>}-${string}`;

function errorOf(reason: AnyReason): PassferryError {
  const id = zitadelIds[reason];
  if (id) return new PassferryError(reason, { code: id.code, message: id.message });
  const [code, message] = known[reason] ?? [];
  if (!code || !message) throw new Error(`the document names an unknown reason: ${reason}`);
  return new PassferryError(reason, { code, message });
}

function table(head: string[], lines: (string | number)[][]): string {
  return [head, head.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

export const code = name(
  'Code',
  z.enum(codeNames).meta({
    description: `How something ended badly.\n\n${table(
      ['code', 'gRPC', 'HTTP'],
      codeNames.map((each) => [`\`${each}\``, codes[each].grpc, codes[each].http]),
    )}`,
  }),
);

export const reason = name(
  'Reason',
  z
    .union([
      z.enum(reasonNames),
      z
        .string()
        .regex(/^[A-Z][A-Z0-9]*-[A-Za-z0-9]+$/)
        .meta({ description: 'An id of ZITADEL' }),
    ])
    .meta({
      description: `The finer name beside a code: decide by it, texts may change.\n\n${table(
        ['reason', 'code', 'HTTP', 'text'],
        reasonNames.map((each) => {
          const error = errorOf(each as AnyReason);
          return [`\`${each}\``, `\`${error.code}\``, problem(error).status, error.message];
        }),
      )}`,
    }),
);

export const field = z.object({ field: text, reason } satisfies Fields<{ field: string; reason: string }>);

export const problemSchema = name(
  'Problem',
  z
    .object({
      type: z.literal('about:blank'),
      title: text,
      status: z.int().min(400).max(599),
      code,
      reason,
      fields: z.array(field).min(1).exactOptional().meta({ description: 'The bad fields, never their values' }),
    })
    .meta({ description: 'RFC 9457' }),
);

const v1ErrorSchema = name(
  'V1Error',
  z
    .object({
      code: z.int().min(1).max(16).meta({ description: 'The number of gRPC' }),
      message: text,
      details: z
        .array(
          z.object({
            '@type': z.literal('type.googleapis.com/zitadel.v1.ErrorDetail'),
            id: text,
            message: text,
          }),
        )
        .length(1)
        .exactOptional()
        .meta({ description: 'Only where the reason is an id of ZITADEL' }),
    })
    .meta({ description: "ZITADEL's shape of an error" }),
);

const shapes = {
  v1: { tell: v1Error, schema: v1ErrorSchema, mediaType: 'application/json' },
  problem: { tell: problem, schema: problemSchema, mediaType: 'application/problem+json' },
} as const;
export type Shape = keyof typeof shapes;

interface Beside {
  /** Headers that go with each of them. */
  headers?: HeaderName[];
  /** The shape, when it has more than the usual fields, and these of an example. */
  schema?: z.ZodType;
  fields?: (reason: AnyReason) => object;
}

/** Reasons → answers by status. Status, headers, body and text come from what really answers. */
export function errorAnswers(shape: Shape, all: readonly AnyReason[], beside: Beside = {}): Record<string, object> {
  const { tell, schema, mediaType } = shapes[shape];
  const byStatus = new Map<number, AnyReason[]>();
  for (const each of new Set(all)) {
    const { status } = tell(errorOf(each));
    byStatus.set(status, [...(byStatus.get(status) ?? []), each]);
  }
  const answer = (ofStatus: AnyReason[]) => ({
    description: ofStatus.map((each) => `\`${each}\`: ${errorOf(each).message}`).join('\n\n'),
    headers: headersOf([
      ...(beside.headers ?? []),
      ...ofStatus.flatMap((each) => Object.keys(tell(errorOf(each)).headers)),
      ...limitHeaders,
    ]),
    content: {
      [mediaType]: { schema: refTo(beside.schema ?? schema), examples: Object.fromEntries(ofStatus.map(example)) },
    },
  });
  function example(each: AnyReason): [string, object] {
    const error = errorOf(each);
    return [each, { summary: error.message, value: { ...tell(error).body, ...beside.fields?.(each) } }];
  }
  return Object.fromEntries([...byStatus].map(([status, ofStatus]) => [`${status}`, answer(ofStatus)]));
}

/** What every endpoint may answer that asks for a token. */
export const tokenErrors: AnyReason[] = [
  'auth_header_missing',
  'AUTH-toLo1',
  'AUTH-7fs1e',
  'auth_unavailable',
  'auth_limited',
  'caller_rate',
  'caller_busy',
];
/** … that acts in an organization. */
export const orgErrors: AnyReason[] = ['AUTH-5mWD2', 'AUTHZ-cdgFk'];
export const infrastructureErrors: AnyReason[] = ['internal', 'redis_down'];
/** … that takes a JSON body on our own paths. */
export const bodyErrors: AnyReason[] = ['body_not_json', 'body_not_object', 'body_too_large', 'media_type_unsupported'];

/** A body that is too slow is told before it is known whose path it is: always in ZITADEL's shape. */
export const slowBody = () => errorAnswers('v1', ['body_slow']);
