import { PassferryError } from '../../errors.ts';
import type { CheckReport, Finding } from './check.ts';
import { findings } from './findings.ts';

/** A finding as a line for people. Ids are told, values of passwords never were read. */
export function findingText({ code, at, count, ids, kinds }: Finding): string {
  const some = ids && ids.length > 0 ? `: ${ids.join(', ')}${(count ?? 0) > ids.length ? ' …' : ''}` : '';
  const seen = kinds
    ? ` (${
        Object.entries(kinds)
          .map(([kind, n]) => `${n} ${kind}`)
          .join(', ') || 'none'
      })`
    : '';
  return `${at ?? 'table'}: ${count === undefined ? '' : `${count} `}${findings[code][1]}${some}${seen} (${code})`;
}

/**
 * Before a worker begins: everything that would go wrong with a mapped table, at once. A database that cannot be asked now stops nobody, as
 * it only delays jobs; the columns are looked at again on the first use.
 *
 * @returns what a person should hear all the same; undefined: it could not be asked.
 * @throws PassferryError `config_invalid` with every finding of level `error`.
 */
export async function requireFit(v1: { check(): Promise<CheckReport> }): Promise<Finding[] | undefined> {
  let report: CheckReport;
  try {
    report = await v1.check();
  } catch (thrown) {
    if (thrown instanceof PassferryError && thrown.scope === 'backend') return undefined;
    throw thrown;
  }
  const errors = report.findings.filter(({ level }) => level === 'error');
  if (errors.length > 0) {
    throw new PassferryError('config_invalid', {
      message: `PASSFERRY_V1_MAPPING does not fit the table:\n${errors.map((each) => `  - ${findingText(each)}`).join('\n')}`,
      fields: errors.map(({ code, at }) => ({ field: at ?? '', reason: code })),
    });
  }
  return report.findings;
}
