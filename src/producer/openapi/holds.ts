import { z } from 'zod';
import { backendNames, type Hold } from '../../ledger/holds.ts';
import { type AnyReason, bodyErrors, errorAnswers, infrastructureErrors, slowBody, tokenErrors } from './errors.ts';
import { pathParameter } from './headers.ts';
import { jsonAnswer, jsonBody, operation, type Paths } from './operation.ts';
import { type Fields, name, sample, spokenReason, text, time } from './schema.ts';

const tag = 'holds';
const backend = z.enum(backendNames);

const hold = name(
  'Hold',
  z
    .object({ backend, reason: spokenReason, by: text, at: time } satisfies Fields<Hold>)
    .meta({ description: "A person's word that nothing may be sent to a backend" }),
);
const holds = name(
  'Holds',
  z.object({
    holds: z.array(hold),
    forged: z.array(backend).meta({ description: 'Backends whose hold is not signed by us: it counts as absent' }),
  }),
);
const lifted = name('HoldLifted', z.object({ backend, released: z.boolean() }));
const body = name('HoldRequest', z.object({ reason: spokenReason }));

const example = { backend: 'v2', reason: 'upgrade', by: 'you', at: sample.acceptedAt };
const oneBackend = pathParameter('backend', backend, 'v2');
const errors: AnyReason[] = [...tokenErrors, 'org_not_granted', ...infrastructureErrors];
const description = 'Needs `operate` with the organization `*`.';

export const holdPaths: Paths = {
  '/holds': {
    get: operation({
      id: 'listHolds',
      tag,
      summary: 'Who holds a backend, and why',
      description,
      answers: {
        200: jsonAnswer('All holds', holds, {
          one: { summary: 'v2 is held', value: { holds: [example], forged: [] } },
        }),
        ...errorAnswers('problem', errors),
      },
    }),
  },
  '/holds/{backend}': {
    put: operation({
      id: 'putHold',
      tag,
      summary: 'Hold a backend',
      description: `${description} Accepting goes on; nothing is sent to it until somebody releases.`,
      parameters: [oneBackend],
      body: jsonBody(body, { reason: { summary: 'Why', value: { reason: 'upgrade' } } }),
      answers: {
        200: jsonAnswer('Held', hold, { held: { summary: 'The hold', value: example } }),
        ...errorAnswers('problem', [...errors, ...bodyErrors, 'backend_unknown', 'hold_reason_invalid']),
        ...slowBody(),
      },
    }),
    delete: operation({
      id: 'liftHold',
      tag,
      summary: 'Release a backend',
      description,
      parameters: [oneBackend],
      answers: {
        200: jsonAnswer('Nothing holds it now', lifted, {
          released: { summary: 'There was a hold', value: { backend: 'v2', released: true } },
        }),
        ...errorAnswers('problem', [...errors, ...bodyErrors, 'backend_unknown']),
        ...slowBody(),
      },
    }),
  },
};
