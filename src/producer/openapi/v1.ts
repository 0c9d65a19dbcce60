import { z } from 'zod';
import type { Details } from '../../job.ts';
import { zitadelIds } from '../../zitadel-ids.ts';
import { type AnyReason, errorAnswers, infrastructureErrors, orgErrors, tokenErrors } from './errors.ts';
import { type HeaderName, parameter, pathParameter } from './headers.ts';
import { jsonAnswer, jsonBody, operation, type Paths } from './operation.ts';
import { type Fields, jobId, name, orgId, password, sample, time, userId } from './schema.ts';

export const details = name(
  'Details',
  z
    .object({
      sequence: z.string().regex(/^\d+$/),
      creationDate: time.exactOptional(),
      changeDate: time,
      resourceOwner: orgId,
    } satisfies Fields<Details>)
    .meta({ description: 'Number and times of the change, owner of the user' }),
);

const answer = name(
  'SetPasswordAnswer',
  z.object({
    details: details.partial().meta({ description: 'Empty when another password is in force, or v2 was read to know' }),
  }),
);

const accepted = name(
  'AcceptedRequest',
  z.object({ id: jobId, acceptedAt: time, expiresAt: time }).meta({ description: 'Stored, and on its way' }),
);

const setBody = name(
  'SetPasswordRequest',
  z
    .object({
      password,
      noChangeRequired: z
        .boolean()
        .default(false)
        .meta({ description: 'false: the user must choose another one at the next login' }),
    })
    .meta({ description: 'Also in snake_case; unknown fields are dropped, null counts as absent' }),
);
const initialBody = name('SetInitialPasswordRequest', z.object({ password }));

/** Ends of a job that are about the request; the ids are those of ZITADEL about a user. */
const outcomeErrors: AnyReason[] = [
  ...(Object.keys(zitadelIds) as AnyReason[]).filter((id) => (zitadelIds[id]?.scope ?? 'user') === 'user'),
  'protected_user',
  'roles_unreadable',
  'job_expired',
  'job_canceled',
  'dropped',
  'wrong_organization',
  'refused',
  'hash_encoding_unknown',
  'sealed_unreadable',
  'sealed_key_destroyed',
  'job_forged',
];

const callErrors: AnyReason[] = [
  'body_not_json',
  'body_not_object',
  'body_too_large',
  'body_slow',
  'field_type',
  'user_id_invalid',
  'password_missing',
  'password_too_long',
  'password_too_many_bytes',
  'password_nul',
  'password_ill_formed',
  'prefer_invalid',
  'expires_invalid',
  'idempotency_key_invalid',
  'idempotency_key_reused',
  'idempotency_key_locked',
  'accept_unknown',
  'ledger_not_ready',
  'org_quota',
];

const told: HeaderName[] = [
  'Idempotency-Key',
  'Idempotency-Replayed',
  'Passferry-Job',
  'Passferry-Expires',
  'Preference-Applied',
];

const all = [
  ...callErrors,
  ...tokenErrors,
  'AUTH-Bs7Ds',
  ...orgErrors,
  ...infrastructureErrors,
  ...outcomeErrors,
] as AnyReason[];
const errors = {
  ...errorAnswers('v1', all, { headers: told }),
  ...errorAnswers('v1', ['wait_over'], { headers: [...told, 'Link'] }),
};

/** The four calls share their errors: each stands once in the document. */
export const v1Responses = Object.fromEntries(
  Object.entries(errors).map(([status, answer]) => [`V1Error${status}`, answer]),
);
const errorRefs = Object.fromEntries(
  Object.keys(errors).map((status) => [status, { $ref: `#/components/responses/V1Error${status}` }]),
);

function call(id: string, summary: string, body: object): object {
  return operation({
    id,
    tag: 'v1',
    summary,
    description:
      'Needs `set`. Waits for the outcome and answers as ZITADEL does; with `Prefer: respond-async` 202 as soon as it is stored. Any content type is read as JSON.',
    parameters: [
      pathParameter('userId', userId, sample.user),
      parameter('organization'),
      parameter('idempotencyKey'),
      parameter('prefer'),
      parameter('expiresIn'),
      parameter('overwriteNewer'),
    ],
    body,
    answers: {
      200: jsonAnswer(
        'It has ended well; `Passferry-Result` says how',
        answer,
        {
          set: {
            summary: 'The password is in force',
            value: {
              details: {
                sequence: '7',
                creationDate: '2026-11-25T10:02:28.731000Z',
                changeDate: '2026-11-25T10:02:29.245000Z',
                resourceOwner: sample.org,
              },
            },
          },
          superseded: { summary: 'A newer one was set first', value: { details: {} } },
        },
        ...told,
        'Passferry-Result',
      ),
      202: jsonAnswer(
        'Stored; read the job for its outcome',
        accepted,
        {
          accepted: {
            summary: 'With `Prefer: respond-async`',
            value: { id: sample.jobId, acceptedAt: sample.acceptedAt, expiresAt: sample.expiresAt },
          },
        },
        ...told,
        'Location',
        'Retry-After',
      ),
      ...errorRefs,
    },
  });
}

const set = jsonBody(setBody, {
  reset: {
    summary: 'The user need not change it',
    value: { password: sample.password, noChangeRequired: true },
  },
});
const initial = jsonBody(initialBody, {
  initial: { summary: 'The user must change it', value: { password: sample.password } },
});

export const v1Paths: Paths = {
  '/management/v1/users/{userId}/password': { post: call('setPassword', 'Set the password of a user', set) },
  '/management/v1/users/{userId}/password/_initialize': {
    post: call('setInitialPassword', 'Set an initial password, to be changed at the next login', initial),
  },
  '/users/{userId}/password': { post: call('setPasswordShort', 'Set the password of a user (short path)', set) },
  '/users/{userId}/password/_initialize': {
    post: call('setInitialPasswordShort', 'Set an initial password (short path)', initial),
  },
};
