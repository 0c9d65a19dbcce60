import { z } from 'zod';
import { bodyErrors, errorAnswers, slowBody } from './errors.ts';
import { parameter, queryParameter } from './headers.ts';
import { jsonAnswer, jsonBody, operation, type Paths } from './operation.ts';
import { count, name, orgId, sample, text, time, userId } from './schema.ts';
import { backend, orgParameters, orgQueryErrors } from './status.ts';

const tag = 'stages';
const cause = text.max(400).meta({
  description:
    '`pending` until it was tried, `ahead`: a later choice of the user in v2, else the reason of the last try',
});
const behind = name(
  'Divergence',
  z.object({
    user: userId,
    backend: backend.meta({ description: 'The one that lacks the newest password' }),
    cause,
    since: time,
    tries: count.meta({ description: 'In vain' }),
    nextTry: time.exactOptional().meta({ description: 'Absent: when somebody asks' }),
  }),
);
const list = name(
  'Divergences',
  z.object({
    org: orgId,
    count: count.meta({ description: 'Users who are not in step: exact, whatever the filter' }),
    users: z.array(behind),
    next: text.exactOptional().meta({ description: '`cursor` of the rest; absent when all were seen' }),
  }),
);
const request = name('RedriveRequest', z.object({ org: orgId.exactOptional(), cause: cause.exactOptional() }));
const redriven = name('Redriven', z.object({ org: orgId, redriven: count }));

const example = {
  ...{ user: sample.user, backend: 'v2', cause: 'user_missing_in_v2', since: sample.acceptedAt, tries: 1 },
};

export const divergencePaths: Paths = {
  '/divergence': {
    get: operation({
      id: 'listDivergence',
      tag,
      summary: 'Users who are not in step, and why',
      description:
        'Needs `read` or `migrate`. In no order; a page may have a few more than a hundred, or none and yet a `next`. Never a secret.',
      parameters: [
        ...orgParameters,
        queryParameter('cause', cause, 'Only with this cause', 'user_missing_in_v2'),
        queryParameter('cursor', z.string().regex(/^\d{1,20}$/), '`next` of the answer before', '17'),
      ],
      answers: {
        200: jsonAnswer('Some of them', list, {
          one: { summary: 'One', value: { org: sample.org, count: 1, users: [example] } },
        }),
        ...errorAnswers('problem', [...orgQueryErrors, 'cursor_invalid']),
      },
    }),
  },
  '/divergence:redrive': {
    post: operation({
      id: 'redriveDivergence',
      tag,
      summary: 'Try them now',
      description: 'Needs `migrate`, or `operate`. All of the organization, or those with one cause.',
      parameters: [parameter('organization')],
      body: jsonBody(
        request,
        { all: { summary: 'One cause', value: { org: sample.org, cause: example.cause } } },
        false,
      ),
      answers: {
        200: jsonAnswer('So many are tried', redriven, {
          one: { summary: 'One', value: { org: sample.org, redriven: 1 } },
        }),
        ...errorAnswers('problem', [...orgQueryErrors, ...bodyErrors]),
        ...slowBody(),
      },
    }),
  },
};
