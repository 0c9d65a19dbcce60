import { makeHash } from '../../src/hashes/make.ts';
import type { MigrationMode } from '../../src/migration.ts';
import type { RunOptions, RunView } from '../../src/run.ts';
import { type RunBackends, startRunBackends } from './run-backends.ts';

/** A person on one or both sides; with a password in v1 unless `none`. */
export interface Person {
  id: string;
  org?: string;
  userName?: string;
  email?: string;
  v1?: 'none' | string;
  /** Not there, without a password, or with one. */
  v2?: 'missing' | 'none' | string;
  state?: 'active' | 'locked' | 'inactive' | 'initial';
}

/** One of four: so many hashes of cost 10 take a while. */
export const passwordOf = (id: string) => `Old-password-${Buffer.from(id).reduce((sum, each) => sum + each, 0) % 4}!`;

const hashes = new Map<string, Promise<string>>();

/** As an application stores it, at the least cost that v2 takes. */
function hashOf(password: string): Promise<string> {
  let made = hashes.get(password);
  if (!made) {
    made = makeHash('bcrypt', { cost: 10 }, Buffer.from(password)).then((hash) => hash as string);
    hashes.set(password, made);
  }
  return made;
}

export type MigrationScene = Awaited<ReturnType<typeof startMigrationScene>>;

/** Users of v1 on a real PostgreSQL that are to be brought into the sandbox. */
export async function startMigrationScene(more: Parameters<typeof startRunBackends>[0] = {}) {
  const scene: RunBackends = await startRunBackends(more);
  const { v1, sql, sandbox, producer } = scene;
  let number = 0;

  async function setHash(hash: string, ids: string[]): Promise<void> {
    await sql.query(
      `update "users" set "password_hash" = $1, "password_changed_at" = now() where "id" = any($2::text[])`,
      [hash, ids],
    );
  }

  return {
    ...scene,

    async people(all: Person[]): Promise<void> {
      await v1.addUsers(
        all.map(({ id, org = 'acme', userName, email }) => ({
          ...{ id, org },
          ...(userName !== undefined && { userName }),
          ...(email !== undefined && { email }),
        })),
      );
      const byHash = new Map<string, string[]>();
      for (const { id, v1: inV1 = passwordOf(id) } of all) {
        if (inV1 === 'none') continue;
        const hash = await hashOf(inV1);
        byHash.set(hash, [...(byHash.get(hash) ?? []), id]);
      }
      for (const [hash, ids] of byHash) await setHash(hash, ids);
      for (const { id, org = 'acme', v2 = 'none', userName = id, email, state } of all) {
        if (v2 === 'missing') continue;
        await sandbox.addUser({
          ...{ id, org, userName },
          ...(v2 !== 'none' && { password: v2 }),
          ...(email !== undefined && { email }),
          ...(state && { state }),
        });
      }
    },

    /** Opens one; what the API does once it has asked who it is. */
    async migrate(
      mode: MigrationMode,
      orgs: string[],
      options: Partial<RunOptions> & { create?: true; repair?: true } = {},
    ): Promise<{ view: RunView } | { busy: string }> {
      const { create, repair, ...rest } = options;
      const org = orgs[0] as string;
      const id = await producer.runId('tester', org, `migration-${number++}`);
      return producer.migrations.open({
        ...{ id, caller: 'tester', org, expiresInMs: 600_000 },
        options: {
          ...{ format: 'migration', changeRequired: false, overwriteNewer: false, ...rest },
          migration: { mode, orgs, ...(create && { create }), ...(repair && { repair }) },
        },
      });
    },

    /** The same, to its end. */
    async done(
      mode: MigrationMode,
      orgs: string[],
      options: Partial<RunOptions> & { create?: true; repair?: true } = {},
    ): Promise<RunView> {
      const opened = await this.migrate(mode, orgs, options);
      if ('busy' in opened) throw new Error(`${opened.busy} is under way`);
      return scene.until(opened.view.id, 'completed');
    },

    /** Sets it in v1 as an application does that knows nothing of us. */
    writeV1: async (user: string, password: string): Promise<void> => setHash(await hashOf(password), [user]),

    /** Rejects: user or id in v1 → reason. */
    async rejects(view: RunView): Promise<Record<string, string>> {
      const found: Record<string, string> = {};
      for await (const row of producer.runs.rejects(view)) {
        found[row.userId ?? row.columns?.v1Id ?? `row ${row.row}`] = row.reason ?? '';
      }
      return found;
    },
  };
}
