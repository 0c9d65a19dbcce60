import type { PoolClient, PoolConfig } from 'pg';
import { Pool } from 'pg';
import { PassferryError } from '../../errors.ts';
import type { Effect } from './sql-errors.ts';
import { sqlError, stopIfAborted } from './sql-errors.ts';

/** Column → value. Our SQL casts times and bigints to text, because the two drivers parse them differently. */
export type Row = Record<string, unknown>;

/** Something that runs one statement and returns its rows. */
export interface SqlSession {
  query(text: string, params?: readonly unknown[], signal?: AbortSignal): Promise<Row[]>;
}

/** A database. Everything thrown is a `PassferryError` of scope `backend` that holds no text of the driver. */
export interface SqlClient extends SqlSession {
  /**
   * Runs `fn` between BEGIN and COMMIT on one session; whatever `fn` throws rolls back. An error has the effect `none`
   * until COMMIT was sent and `unknown` after.
   */
  transaction<T>(fn: (session: SqlSession) => Promise<T>, signal?: AbortSignal): Promise<T>;
  close(): Promise<void>;
}

export interface PgOptions {
  /** `postgres://user:password@host:port/database`. What it names, `sslmode` too, wins over the fields below. */
  connectionString?: string;
  host?: string;
  port?: number;
  user?: string;
  password?: string;
  database?: string;
  /** TLS: `true` verifies against the system's authorities; an object is passed to Node's TLS (`ca`, `cert`, `key` …). */
  ssl?: NonNullable<PoolConfig['ssl']>;
  /** Connections at most. Default 10. */
  max?: number;
  /** Bound of each statement, in ms. Default 10,000. */
  statementTimeoutMs?: number;
  /** Bound of connecting and of waiting for a free connection, in ms. Default 5,000. */
  connectTimeoutMs?: number;
}

/** A PostgreSQL server, by a connection string or options. Connects on first use; an outage only rejects what is asked. */
export function pgClient(target: string | PgOptions): SqlClient {
  const {
    statementTimeoutMs = 10_000,
    connectTimeoutMs = 5_000,
    ...rest
  } = typeof target === 'string' ? { connectionString: target } : target;
  const pool = new Pool({
    max: 10,
    application_name: 'passferry',
    ...rest,
    statement_timeout: statementTimeoutMs,
    // The server's timeout cannot reach us over a dead network, so the driver has one too.
    query_timeout: statementTimeoutMs + 1_000,
    // A frozen process must not keep a user's row locked.
    idle_in_transaction_session_timeout: statementTimeoutMs * 2,
    connectionTimeoutMillis: connectTimeoutMs,
    keepAlive: true,
  });
  // Without listeners a connection that dies (idle or checked out) would end the process.
  pool.on('error', () => {});
  pool.on('connect', (client) => client.on('error', () => {}));
  let closing: Promise<void> | undefined;
  const names = statementNames();

  async function withClient<T>(
    signal: AbortSignal | undefined,
    work: (client: PoolClient, progress: { effect: Effect }) => Promise<T>,
  ): Promise<T> {
    const progress: { effect: Effect } = { effect: 'none' };
    let client: PoolClient | undefined;
    // A connection is destroyed after any error: cheaper than knowing what state it is in, and the server rolls back.
    let broken = true;
    try {
      stopIfAborted(signal);
      const connecting = pool.connect();
      client = await orAborted(connecting, signal, () => connecting.then((late) => late.release(), ignore));
      const result = await work(client, progress);
      broken = false;
      return result;
    } catch (thrown) {
      names.failed(thrown);
      throw sqlError(thrown, progress.effect);
    } finally {
      client?.release(broken);
    }
  }

  return {
    query: (text, params = [], signal) =>
      withClient(signal, async (client) => (await orAborted(client.query<Row>(text, [...params]), signal)).rows),
    transaction: (fn, signal) =>
      withClient(signal, async (client, progress) => {
        await orAborted(client.query('begin'), signal);
        const result = await fn({
          query: async (text, params = [], own = signal) =>
            (await orAborted(client.query<Row>({ ...names.of(text), text, values: [...params] }), own)).rows,
        });
        stopIfAborted(signal);
        progress.effect = 'unknown';
        const { command } = await orAborted(client.query('commit'), signal);
        if (command !== 'COMMIT') {
          progress.effect = 'none';
          throw new PassferryError('backend_error', { scope: 'backend' });
        }
        return result;
      }),
    close: () => {
      closing ??= pool.end();
      return closing;
    },
  };
}

/**
 * PostgreSQL in this process (PGlite), for tries and tests: one process, one session. Without `dataDir` it lives in
 * memory. Statements from outside wait until a running transaction has ended.
 */
export async function pgliteClient(dataDir?: string): Promise<SqlClient> {
  // Loaded only when it is wanted: the WebAssembly build is large.
  const { PGlite } = await import('@electric-sql/pglite');
  const db = await PGlite.create(dataDir).catch((thrown: unknown) => {
    throw sqlError(thrown, 'none');
  });
  let closing: Promise<void> | undefined;

  return {
    async query(text, params = [], signal) {
      try {
        stopIfAborted(signal);
        return (await orAborted(db.query<Row>(text, [...params]), signal)).rows;
      } catch (thrown) {
        throw sqlError(thrown, 'none');
      }
    },
    async transaction(fn, signal) {
      let effect: Effect = 'none';
      try {
        stopIfAborted(signal);
        // Not raced against the signal: the one session must be back in order before anyone else uses it.
        return await db.transaction(async (tx) => {
          const result = await fn({
            query: async (text, params = [], own = signal) => {
              stopIfAborted(own);
              return (await tx.query<Row>(text, [...params])).rows;
            },
          });
          stopIfAborted(signal);
          effect = 'unknown';
          return result;
        });
      } catch (thrown) {
        throw sqlError(thrown, effect);
      }
    },
    close: () => {
      closing ??= db.close();
      return closing;
    },
  };
}

/** Writing one user takes a handful of statements; more of them are not kept. */
const mostNamed = 64;
/** What a pooler that hands over its connections between transactions makes of a name: unknown there, or there already. */
const nameless = new Set(['26000', '42P05']);

/** Names for statements: the server plans what has one once a connection, and a write costs it less than half. */
function statementNames() {
  const names = new Map<string, string>();
  let on = true;
  return {
    of(text: string): { name?: string } {
      let name = names.get(text);
      if (name === undefined && on && names.size < mostNamed) {
        name = `passferry_${names.size}`;
        names.set(text, name);
      }
      return on && name !== undefined ? { name } : {};
    },
    /** Behind such a pooler no name is given any more; what failed is tried again like all that a backend refuses. */
    failed(thrown: unknown): void {
      if (nameless.has(String((thrown as { code?: unknown } | null)?.code))) on = false;
    },
  };
}

const ignore = () => {};

/** Settles with the work, or rejects as soon as the signal aborts; the work is then left to end by itself. */
async function orAborted<T>(work: Promise<T>, signal: AbortSignal | undefined, onAbort = ignore): Promise<T> {
  if (!signal) return work;
  let stop = ignore;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => {
      onAbort();
      try {
        stopIfAborted(signal);
      } catch (error) {
        reject(error);
      }
    };
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
