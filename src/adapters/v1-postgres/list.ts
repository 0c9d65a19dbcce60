import type { LeftOut, ListedUser, UserPage, UserProfile } from '../port.ts';
import { several } from './id-map.ts';
import type { Row, SqlClient } from './sql.ts';
import { run, sql } from './sql-text.ts';
import type { Table } from './table.ts';

/** In the order of the primary key: each page is a short walk of its index, however many users there are. */
export async function listUsers(
  db: SqlClient,
  table: Table,
  after: string | undefined,
  limit: number,
  signal: AbortSignal,
): Promise<UserPage> {
  const id = sql`u.${table.idName}`;
  const from = after === undefined ? sql`` : sql`and ${id} > ${table.idValue(after)}`;
  const rows = await run(
    db,
    sql`select ${table.id} as "id", ${table.org} as "org", ${table.v2Column ? sql`${table.v2Column}::text` : null} as "v2",
          ${table.state} as "state", ${table.isMachine} as "isMachine", ${table.userName} as "userName",
          ${table.givenName} as "givenName", ${table.familyName} as "familyName", ${table.email} as "email",
          ${table.emailVerified} as "emailVerified"
        from ${table.from} u where ${table.only} ${from} order by ${id} limit ${limit}`,
    signal,
  );
  const twice = await claimedTwice(db, table, rows, signal);
  const users: ListedUser[] = [];
  const leftOut: LeftOut[] = [];
  for (const row of rows) {
    const id = String(row.id);
    const user = twice.has(String(row.v2)) ? several : table.userOf(id, row.v2);
    const why = whyNot(row, user);
    if (why) leftOut.push({ id, why, ...(row.org !== null && { org: String(row.org) }) });
    else users.push({ user: String(user), id, org: String(row.org), profile: profileOf(row) });
  }
  return { users, leftOut, ...(rows.length === limit && { next: String(rows.at(-1)?.id) }) };
}

function whyNot(row: Row, user: string | typeof several | undefined): LeftOut['why'] | undefined {
  if (row.state === 'deleted') return 'deleted';
  if (row.isMachine === true) return 'machine';
  if (user === several) return 'mapped_twice';
  return user === undefined || row.org === null ? 'unmapped' : undefined;
}

/** User ids of v2 on this page that more than one row claims, here or on another page. */
async function claimedTwice(db: SqlClient, table: Table, rows: Row[], signal: AbortSignal): Promise<Set<string>> {
  const { v2Column } = table;
  if (!v2Column || rows.length === 0) return new Set();
  const first = rows.at(0);
  const last = rows.at(-1);
  const id = sql`u.${table.idName}`;
  const found = await run(
    db,
    sql`select ${v2Column}::text as "v2" from ${table.from} u
        where ${table.only} and ${v2Column} in (
          select ${v2Column} from ${table.from} u where ${table.only}
            and ${id} between ${table.idValue(String(first?.id))} and ${table.idValue(String(last?.id))})
        group by 1 having count(*) > 1`,
    signal,
  );
  return new Set(found.map(({ v2 }) => String(v2)));
}

function profileOf(row: Row): UserProfile {
  const texts = (['userName', 'givenName', 'familyName', 'email'] as const).flatMap((key) =>
    typeof row[key] === 'string' && row[key] !== '' ? [[key, row[key]] as const] : [],
  );
  return {
    ...Object.fromEntries(texts),
    ...(typeof row.emailVerified === 'boolean' && { emailVerified: row.emailVerified }),
  };
}
