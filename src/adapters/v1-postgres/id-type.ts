/** What an id column may hold: a type to compare with so that its index is used. */
export type IdType = 'text' | 'bpchar' | 'uuid' | 'bigint';

/** Undefined: ids of that type are not compared exactly (citext), or not one by one with their text (numeric). */
export function idTypeOf(type: string | undefined): IdType | undefined {
  if (type === undefined) return undefined;
  if (/^(text|character varying)/.test(type)) return 'text';
  if (/^(character|bpchar)\b/.test(type)) return 'bpchar';
  if (type === 'uuid') return 'uuid';
  return ['smallint', 'integer', 'bigint'].includes(type) ? 'bigint' : undefined;
}

const most = 2n ** 63n - 1n;

/** Is it written as the database writes it? Another way to write the same id would be another user to Passferry. */
export function canonical(type: IdType, id: string): boolean {
  if (type === 'uuid') return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id);
  if (type === 'bigint') return /^(0|-?[1-9]\d{0,18})$/.test(id) && BigInt(id) <= most && BigInt(id) >= -most;
  return !id.includes('\0') && (type === 'text' || !id.endsWith(' '));
}
