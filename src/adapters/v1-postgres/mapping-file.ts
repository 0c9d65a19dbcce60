import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { PassferryError } from '../../errors.ts';
import { type IdMap, readIdMap } from './id-map.ts';
import { type Mapping, mappingSchema } from './mapping.ts';

/** A mapping and what else it names, ready for use. */
export interface LoadedMapping {
  mapping: Mapping;
  idMap?: IdMap;
}

/** What can be wrong with a mapping before the database is asked: code → text. */
export const mappingProblems = {
  file_unreadable: 'the file cannot be read',
  file_not_json: 'the file is not valid JSON',
  field_missing: 'is required',
  field_unknown: 'has a name in it that nothing reads',
  field_invalid: 'has the wrong form',
  column_fixed: 'writes a column that tells who a user is: id, organization or v2 id',
  column_twice: 'writes a column that is written already',
  id_map_unreadable: 'the file of ids cannot be read',
  id_map_too_large: 'the file of ids is larger than 256 MiB or has more than 5,000,000 lines',
  id_map_header: 'the first line of the file of ids is not v1,v2',
  id_map_line: 'lines of the file of ids are not two ids with a comma between',
} as const;

export type MappingProblem = keyof typeof mappingProblems;

/** Where and what; lines are those of the file of ids. Never a value. */
interface Problem {
  code: MappingProblem;
  at?: string;
}

/**
 * Reads PASSFERRY_V1_MAPPING, once. A file of ids is looked for beside it.
 *
 * @throws PassferryError `config_invalid`: its text has every problem with its code, `fields` too.
 */
export function loadMapping(path: string): LoadedMapping {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    throw invalid([{ code: 'file_unreadable' }]);
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw invalid([{ code: 'file_not_json' }]);
  }
  return parseMapping(json, dirname(path));
}

/** @param folder where a file of ids is looked for. Errors as {@link loadMapping}. */
export function parseMapping(json: unknown, folder = '.'): LoadedMapping {
  const parsed = mappingSchema.safeParse(json);
  if (!parsed.success) throw invalid(parsed.error.issues.flatMap((issue) => problemsOf(issue, json)));
  const mapping = parsed.data;
  if (!mapping.ids || !('file' in mapping.ids)) return { mapping };
  const read = readIdMap(resolve(folder, mapping.ids.file));
  if ('problems' in read) throw invalid(read.problems);
  return { mapping, idMap: read };
}

type Issue = NonNullable<ReturnType<typeof mappingSchema.safeParse>['error']>['issues'][number];

function problemsOf(issue: Issue, json: unknown): Problem[] {
  const at = issue.path.join('.') || 'the file';
  if (issue.code === 'custom' && issue.params?.code !== undefined) {
    return [{ code: issue.params.code as MappingProblem, at }];
  }
  if (issue.code === 'unrecognized_keys') return [{ code: 'field_unknown', at }];
  const given = issue.path.reduce<unknown>((value, key) => (value as Record<PropertyKey, unknown>)?.[key], json);
  return [{ code: given === undefined ? 'field_missing' : 'field_invalid', at }];
}

function invalid(problems: readonly Problem[]): PassferryError {
  const lines = problems.map(({ code, at }) => `  - ${at ?? 'the file'}: ${mappingProblems[code]} (${code})`);
  return new PassferryError('config_invalid', {
    message: `PASSFERRY_V1_MAPPING has ${problems.length === 1 ? 'an error' : 'errors'}:\n${lines.join('\n')}`,
    fields: problems.map(({ code, at }) => ({ field: at ?? '', reason: code })),
  });
}
