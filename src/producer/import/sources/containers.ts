import type { ContainerReader } from './container.ts';
import { csvFields } from './csv-fields.ts';
import { jsonFields, ndjsonFields } from './json-fields.ts';
import { ldifFields } from './ldif-fields.ts';
import { sqlFields } from './sql-fields.ts';

/** In the order in which they are asked whether they know a file; CSV takes what is left. */
export const containers: readonly ContainerReader[] = [jsonFields, ndjsonFields, sqlFields, ldifFields, csvFields];
