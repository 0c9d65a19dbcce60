import type { IdMap } from './id-map.ts';
import { several, v1Of, v2Of } from './id-map.ts';
import { canonical, idTypeOf } from './id-type.ts';
import type { Condition, Flag, Mapping } from './mapping.ts';
import { builtIn, columnOf } from './mapping.ts';
import type { Sql } from './sql-text.ts';
import { ident, join, sql, trusted } from './sql-text.ts';
import { mappedTwice, userMissing } from './user-errors.ts';

/** A table of users as pieces of SQL; the user's row has the alias `u`. */
export type Table = ReturnType<typeof createTable>;

/** @param types column → its type, in the database's own words. `side`: our own tables are there, too. */
export function createTable(mapping: Mapping, types: Readonly<Record<string, string>>, idMap?: IdMap) {
  const { columns, organization, ids, timeZone } = mapping;
  const column = (name: string) => sql`u.${ident(name)}`;
  const maybe = (name: string | undefined) => (name === undefined ? sql`null::text` : sql`${column(name)}::text`);
  const typed = (name: string, value: string | number | boolean | null) =>
    value === null ? sql`null` : sql`cast(${String(value)} as ${trusted(types[name] ?? 'text')})`;

  const from = mapping.schema === undefined ? ident(mapping.table) : ident(mapping.schema, mapping.table);
  const org = 'column' in organization ? sql`${column(organization.column)}::text` : sql`${organization.constant}`;
  const only = join([sql`true`, ...mapping.where.map(conditionOf)], sql` and `);
  const idType = idTypeOf(types[columns.id]);
  const v2Column = ids && 'column' in ids ? ids.column : undefined;

  function conditionOf(each: Condition): Sql {
    const subject = column(each.column);
    if (each.value === undefined) return sql`${subject} ${trusted(each.op)}`;
    if (Array.isArray(each.value)) {
      const list = each.value.map((value) => typed(each.column, value));
      return sql`${subject} ${trusted(each.op)} (${join(list, sql`, `)})`;
    }
    return sql`${subject} ${trusted(each.op)} ${typed(each.column, each.value)}`;
  }

  function flagOf(flag: Flag | undefined, notBoolean: 'null' | 'no'): Sql {
    if (flag === undefined) return sql`false`;
    const subject = column(columnOf(flag));
    if (typeof flag !== 'string') {
      return sql`coalesce(${subject}::text in (${join(
        flag.values.map((value) => sql`${value}`),
        sql`, `,
      )}), false)`;
    }
    if (types[flag] === 'boolean') return sql`coalesce(${subject}, false)`;
    // A time at which it became so, as e-mail addresses have it.
    return notBoolean === 'null'
      ? sql`${subject} is not null`
      : sql`coalesce(${subject}::text in ('true', '1'), false)`;
  }

  const required = columns.changeRequired;
  const requiredName = required && columnOf(required);
  const requiredValue = (yes: boolean) =>
    required === undefined || typeof required === 'string' ? yes : yes ? required.yes : required.no;
  const asZoned = (name: string) =>
    /with time zone/.test(types[name] ?? '') ? column(name) : sql`(${column(name)} at time zone ${timeZone})`;
  const fromZoned = (name: string, time: Sql) =>
    /with time zone/.test(types[name] ?? '') ? time : sql`((${time}) at time zone ${timeZone})`;

  function state(): Sql {
    const of = columns.state;
    if (!of) return sql`'active'`;
    const listed = Object.entries(of.values).map(
      ([value, means]) => sql` when ${column(of.column)}::text = ${value} then ${means}`,
    );
    return sql`case when ${column(of.column)} is null then ${of.null}${join(listed, sql``)} else ${of.otherwise} end`;
  }

  return {
    mapping,
    /** The one that we made. */
    isBuiltIn: mapping === builtIn,
    /** What stands in FROM and UPDATE, without its alias. */
    from,
    /** One of our own tables. */
    side: (name: `passferry_${string}`) =>
      mapping.sideSchema === undefined ? ident(name) : ident(mapping.sideSchema, name),
    /** Its id here, as text: what our own tables know the user by. */
    id: sql`${column(columns.id)}::text`,
    idName: ident(columns.id),
    org,
    state: state(),
    hash: sql`${column(columns.password)}::text`,
    isMachine: flagOf(columns.isMachine, 'no'),
    isAdmin: flagOf(columns.isAdmin, 'no'),
    userName: maybe(columns.userName),
    givenName: maybe(columns.givenName),
    familyName: maybe(columns.familyName),
    email: maybe(columns.email),
    emailVerified: columns.emailVerified === undefined ? sql`null::boolean` : flagOf(columns.emailVerified, 'null'),
    /** timestamptz; undefined: nothing says when a password was changed. */
    changedAt: columns.passwordChangedAt === undefined ? undefined : asZoned(columns.passwordChangedAt),
    /** Undefined: it is kept beside our own changes only. */
    changeRequired:
      requiredName === undefined
        ? undefined
        : sql`${column(requiredName)} is not distinct from ${typed(requiredName, requiredValue(true))}`,
    /** All rows that are users, as the mapping says. */
    only,

    /** Which v1 row, or rows, a user is; organization and conditions are part of it. Throws when no row can be. */
    who(asked: { org: string; user: string }): Sql {
      const at = v2Column ?? columns.id;
      const id = v2Column === undefined && idMap ? v1Of(idMap, asked.user) : asked.user;
      if (id === several) throw mappedTwice();
      const type = v2Column === undefined ? idType : idTypeOf(types[v2Column]);
      if (id === undefined || type === undefined || !canonical(type, id)) throw userMissing();
      return sql`${column(at)} = ${typedId(type, id)} and ${org} = ${asked.org} and ${only}`;
    },
    /** A value to compare the id column with. */
    idValue: (id: string) => typedId(idType ?? 'text', id),
    v2Column: v2Column === undefined ? undefined : column(v2Column),
    /** The user id of a row that is read by the column or the file of ids. */
    userOf: (id: string, v2: unknown): string | typeof several | undefined =>
      v2Column !== undefined ? (typeof v2 === 'string' && v2 !== '' ? v2 : undefined) : idMap ? v2Of(idMap, id) : id,
    /** What is written: hash, time, flag and whatever else the mapping says. */
    assignments(hash: string, changedAt: Sql, changeRequired: boolean): Sql {
      const set = [sql`${ident(columns.password)} = ${hash}`];
      const { passwordChangedAt } = columns;
      if (passwordChangedAt !== undefined) {
        set.push(sql`${ident(passwordChangedAt)} = ${fromZoned(passwordChangedAt, changedAt)}`);
      }
      if (requiredName !== undefined) {
        set.push(sql`${ident(requiredName)} = ${typed(requiredName, requiredValue(changeRequired))}`);
      }
      for (const each of mapping.set) {
        const value = 'now' in each ? fromZoned(each.column, changedAt) : typed(each.column, each.value);
        set.push(sql`${ident(each.column)} = ${value}`);
      }
      return join(set, sql`, `);
    },
  };
}

function typedId(type: string, id: string): Sql {
  return type === 'text' ? sql`${id}` : sql`cast(${id} as ${trusted(type)})`;
}
