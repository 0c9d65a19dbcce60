import { z } from 'zod';
import { runStates } from '../../run.ts';
import type { Evidence } from '../evidence.ts';
import { type AnyReason, errorAnswers, infrastructureErrors, tokenErrors } from './errors.ts';
import { pathParameter } from './headers.ts';
import { jsonAnswer, operation, type Paths } from './operation.ts';
import { count, type Fields, name, orgId, refTo, runId, sample, text, time } from './schema.ts';

const tag = 'imports';

export const evidence = name(
  'Evidence',
  z
    .object({
      v: z.literal(1),
      kind: z.enum(['import', 'migration']),
      run: runId,
      org: orgId,
      caller: text,
      state: z.enum(runStates),
      final: z.boolean().meta({ description: 'Nothing of it changes any more' }),
      begunAt: time,
      endedAt: time.exactOptional(),
      issuedAt: time,
      options: z.looseObject({ format: text, changeRequired: z.boolean(), overwriteNewer: z.boolean() }),
      counts: z.record(z.string(), count).meta({ description: 'Rows by what became of them' }),
      input: z
        .object({
          bytes: count.exactOptional(),
          hmac: text
            .meta({ description: 'Of the bytes as they came: `hmac-sha256:<id of the fingerprint key>:<hex>`' })
            .exactOptional(),
          content: text.meta({ description: 'Of all that is not secret: `sha256:<hex>`' }).exactOptional(),
        })
        .meta({ description: 'Absent while the input has not come to its end' }),
      proof: z.object({ share: z.number().exactOptional(), works: count, fails: count, unknown: count }),
      dataKeys: z
        .array(z.object({ id: text, dropped: z.boolean(), until: time }))
        .meta({ description: 'What its passwords were sealed under; once a key is dropped nobody can open them' }),
      signature: z.object({ algorithm: z.literal('hmac-sha256'), key: text, value: text }),
    } satisfies Fields<Evidence>)
    .meta({ description: 'What an import was and did, signed under the job key' }),
);

const verdict = name(
  'EvidenceVerdict',
  z.object({ run: runId, genuine: z.boolean(), verdict: z.enum(['genuine', 'altered', 'key_unknown']) }),
);

const example = {
  ...{ v: 1, kind: 'import', run: sample.runId, org: sample.org, caller: 'hr-sync', state: 'completed', final: true },
  ...{ begunAt: sample.acceptedAt, endedAt: sample.finishedAt, issuedAt: sample.finishedAt },
  options: { format: 'csv', changeRequired: true, overwriteNewer: false },
  counts: { received: 3, rejected: 1, accepted: 2, finished: 2, set: 2, notInEffect: 1 },
  input: { bytes: 96, hmac: `hmac-sha256:5d2c0a9be117:${'0'.repeat(64)}`, content: `sha256:${'0'.repeat(64)}` },
  proof: { works: 1, fails: 0, unknown: 0 },
  dataKeys: [{ id: 'k1', dropped: false, until: sample.expiresAt }],
  signature: { algorithm: 'hmac-sha256', key: '1f0c8a7d22be', value: 'c2lnbmVk' },
};

const oneRun = pathParameter('id', runId, sample.runId);
const seenErrors: AnyReason[] = [...tokenErrors, 'run_unknown', ...infrastructureErrors];

export const evidencePaths: Paths = {
  '/imports/{id}/evidence': {
    get: operation({
      id: 'getEvidence',
      tag,
      summary: 'Read the signed record of an import',
      description: 'Needs `import` or `read`. Also while it runs; `final` says whether anything can still change.',
      parameters: [oneRun],
      answers: {
        200: jsonAnswer('The record as of now', evidence, {
          final: { summary: 'Of an import that is over', value: example },
        }),
        ...errorAnswers('problem', seenErrors),
      },
    }),
  },
  '/imports/{id}/evidence:verify': {
    post: operation({
      id: 'verifyEvidence',
      tag,
      summary: 'Check a record',
      description: 'Needs `import` or `read`. Is it, value by value, what was issued? Its layout does not matter.',
      parameters: [oneRun],
      body: { required: true, content: { 'application/json': { schema: refTo(evidence), example } } },
      answers: {
        200: jsonAnswer('What became of it', verdict, {
          genuine: { summary: 'As it was issued', value: { run: sample.runId, genuine: true, verdict: 'genuine' } },
        }),
        ...errorAnswers('problem', ['body_not_json', 'body_too_large', 'media_type_unsupported', ...seenErrors]),
      },
    }),
  },
};
