import { z } from 'zod';
import type { RetriedRun } from '../../ledger/run-retry.ts';
import {
  type HoldReason,
  holdReasons,
  type MigrationView,
  type RunForecast,
  type RunView,
  runLimits,
  runStates,
} from '../../run.ts';
import { warningKinds } from '../import/suspicious.ts';
import type { RowView } from '../runs.ts';
import { code, reason } from './errors.ts';
import { count, type Fields, name, orgId, runId, text, time } from './schema.ts';

const forecast = z.object({
  rows: count.meta({ description: 'Rows that would be set' }),
  locked: count,
  inactive: count,
  initial: count,
  machine: count,
  changeRequired: count,
  mails: count,
  unchecked: z.array(z.enum(['policy', 'mails', 'reuse'])).meta({ description: 'What could not be looked at' }),
  coreHours: z.number().exactOptional(),
  seconds: z.number().exactOptional(),
  limitedBy: z.enum(['hashing', 'backend_rate', 'rate']).exactOptional(),
} satisfies Fields<RunForecast>);

export const run = name(
  'Import',
  z
    .object({
      id: runId,
      org: orgId,
      caller: text,
      state: z.enum(runStates),
      reason: z
        .enum(Object.keys(holdReasons) as [HoldReason, ...HoldReason[]])
        .meta({ description: 'Why it holds' })
        .exactOptional(),
      advice: text.meta({ description: 'What ends that' }).exactOptional(),
      mails: count
        .meta({
          description:
            'Mails that the backend would send at most, as far as was looked; absent: none, or nobody looked',
        })
        .exactOptional(),
      received: count.meta({ description: 'Rows read, those that were rejected too' }),
      hashes: z
        .strictObject({
          rows: count.meta({ description: 'Rows with a hash instead of a password' }),
          policyChecked: z.literal(false).meta({ description: 'Of a hash nobody can tell what the policy says' }),
          proved: z.enum(['known_password', 'not_proved']).meta({
            description: '`known_password`: the asker says that one known password matched its hash in the file',
          }),
          probes: z
            .record(z.string(), z.enum(['works', 'fails', 'not_tried']))
            .meta({
              description: 'Backend, kind and cost of a hash → what a login came to of a user made for the try',
              examples: [{ 'v2 pbkdf2-sha256 rounds=29000': 'works' }],
            })
            .exactOptional(),
          stored: z
            .strictObject({ seen: count, missing: count, unknown: count })
            .meta({ description: 'Of a sample in v2: was the change to be read after the hash was stored' })
            .exactOptional(),
        })
        .meta({ description: 'Known when the file has been read; absent: there are none' })
        .exactOptional(),
      repeated: count
        .meta({
          description: 'Rows that name a user again: the last of each wins, or with `duplicates` `refuse` the first',
        })
        .exactOptional(),
      rejected: count.meta({ description: 'Refused when they were read' }),
      accepted: count,
      inflight: count.meta({ description: 'Begun and not ended' }),
      finished: count,
      set: count,
      unchanged: count,
      superseded: count,
      stale: count,
      failed: count,
      expired: count,
      canceled: count,
      linkSent: count.meta({ description: 'Of a reset: links that were sent' }),
      sessionsEnded: count.exactOptional(),
      sessionsKept: count.exactOptional(),
      notInEffect: count.meta({ description: 'Rows whose password is not in force, or not yet' }),
      wouldSet: count.meta({ description: 'Of a dry run: rows that would be set' }).exactOptional(),
      forecast: forecast.meta({ description: 'Of a dry run: what the real one would come to' }).exactOptional(),
      proof: z
        .object({ works: count, fails: count, unknown: count })
        .meta({ description: 'Logins that were tried after a password was set' })
        .exactOptional(),
      limitedBy: z.enum(runLimits).meta({ description: 'What makes it go no faster now' }).exactOptional(),
      rate: z.number().meta({ description: 'Rows a second, lately' }).exactOptional(),
      etaSeconds: count.exactOptional(),
      options: z
        .looseObject({ format: text, changeRequired: z.boolean(), overwriteNewer: z.boolean() })
        .meta({ description: 'What was asked of it, and what its file was found to be' }),
      digest: text.meta({ description: 'Of its rows without passwords; once all of it is stored' }).exactOptional(),
      acceptedAt: time,
      expiresAt: time,
      finishedAt: time.exactOptional(),
    } satisfies Fields<Omit<RunView, keyof MigrationView>>)
    .meta({ description: 'A file, and what became of its rows; counters are exact' }),
);
export const accepted = name(
  'AcceptedImport',
  run
    .extend({
      warnings: z
        .partialRecord(z.enum(warningKinds), count)
        .meta({ description: 'What is odd, but was taken as it is: how often' })
        .exactOptional(),
    })
    .meta({ description: 'An import whose rows are all stored' }),
);
export const retried = name(
  'RetriedImport',
  run
    .extend({
      reopened: count.meta({ description: 'Rows that are on their way again' }),
      destroyed: count.meta({ description: 'Failed rows whose passwords are destroyed: import them again' }),
    } satisfies Fields<RetriedRun>)
    .meta({ description: 'An import that goes on' }),
);
export const list = name(
  'Imports',
  z
    .object({ imports: z.array(run), next: text.meta({ description: '`cursor` of the next page' }).exactOptional() })
    .meta({ description: 'Imports of one organization, the newest first' }),
);

export const row = name(
  'ImportRow',
  z
    .object({
      row: z.int().min(1),
      line: z.int().min(1).meta({ description: 'Where it starts in the file' }),
      byte: count.exactOptional(),
      userId: text.exactOptional(),
      org: orgId.exactOptional(),
      job: text.meta({ description: 'Its job, unless it was refused when it was read' }).exactOptional(),
      done: z.boolean(),
      result: text.exactOptional(),
      code: code.exactOptional(),
      reason: z.union([reason, text]).exactOptional(),
      message: text.exactOptional(),
      advice: text.meta({ description: 'What a person does about it' }).exactOptional(),
      field: text.meta({ description: 'The column that is wrong' }).exactOptional(),
      inEffect: z.boolean(),
      columns: z.record(text, text).meta({ description: "The file's own, without secrets" }).exactOptional(),
    } satisfies Fields<RowView>)
    .meta({ description: 'One row, and what became of it' }),
);
