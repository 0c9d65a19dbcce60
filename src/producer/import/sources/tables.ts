import { type Fields, isBlank, type Sample, type Score } from './source.ts';

/** What sources of tables share: dumps, and CSV of one table. */

/** Does some record have all of these columns? In dumps tables are mixed. */
export function someHas({ container, names, records }: Sample, ...wanted: string[]): boolean {
  const has = (fields: Fields) => wanted.every((name) => Object.hasOwn(fields, name));
  return records.some(has) || (container === 'csv' && wanted.every((name) => names.includes(name)));
}

/** A dump in whose beginning no table has passwords: it may be of any product. */
export const nothingSeen = ({ container, records }: Sample): Score =>
  container === 'sql' && records.length === 0 ? 'maybe' : 'no';

/** The name of a table without its schema. */
export const tableName = (of: string | undefined) => of?.slice(of.lastIndexOf('.') + 1);

/** What names a user, as far as the record says it. */
export function named(
  id: unknown,
  email: unknown,
  userName?: unknown,
): { id?: unknown; email?: unknown; userName?: unknown } {
  return {
    ...(!isBlank(id) && { id }),
    ...(!isBlank(email) && { email }),
    ...(!isBlank(userName) && { userName }),
  };
}

/** What a column of hashes says; SQL NULL is no hash. */
export const hashIn = (value: unknown) => value ?? '';
