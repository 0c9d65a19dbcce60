import type { EpochStore } from '../port.ts';
import type { SqlClient } from './sql.ts';
import type { Sql } from './sql-text.ts';
import { run, sql } from './sql-text.ts';

/** A row per namespace; the highest number stays. @param table the name of `passferry_epoch`. */
export function epochStore(db: SqlClient, table: Sql): EpochStore {
  return {
    async read(namespace, signal) {
      const [row] = await run(
        db,
        sql`select "epoch"::text as "epoch" from ${table} where "namespace" = ${namespace}`,
        signal,
      );
      return row && Number(row.epoch);
    },
    async write(namespace, epoch, signal) {
      await run(
        db,
        sql`insert into ${table} as e ("namespace", "epoch") values (${namespace}, ${epoch})
            on conflict ("namespace") do update set "epoch" = excluded."epoch", "at" = now()
            where e."epoch" < excluded."epoch"`,
        signal,
      );
    },
    async readStages(namespace, signal) {
      const [row] = await run(db, sql`select "stages" from ${table} where "namespace" = ${namespace}`, signal);
      return typeof row?.stages === 'string' ? row.stages : undefined;
    },
    async writeStages(namespace, text, signal) {
      // The number stays what it is; 0: there is none yet.
      await run(
        db,
        sql`insert into ${table} ("namespace", "epoch", "stages") values (${namespace}, 0, ${text})
            on conflict ("namespace") do update set "stages" = excluded."stages"`,
        signal,
      );
    },
  };
}
