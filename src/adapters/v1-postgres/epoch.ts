import type { EpochStore } from '../port.ts';
import type { SqlClient } from './sql.ts';

/** A row per namespace; the highest number stays. */
export function epochStore(sql: SqlClient): EpochStore {
  return {
    async read(namespace, signal) {
      const [row] = await sql.query(
        `select "epoch"::text as "epoch" from "passferry_epoch" where "namespace" = $1`,
        [namespace],
        signal,
      );
      return row && Number(row.epoch);
    },
    async write(namespace, epoch, signal) {
      await sql.query(
        `insert into "passferry_epoch" as e ("namespace", "epoch") values ($1, $2)
         on conflict ("namespace") do update set "epoch" = excluded."epoch", "at" = now()
         where e."epoch" < excluded."epoch"`,
        [namespace, epoch],
        signal,
      );
    },
  };
}
