import { createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { UserService } from '@zitadel/proto/zitadel/user/v2/user_service_pb';
import { startSandbox } from '../../src/sandbox/sandbox.ts';
import { spawnNode } from '../../test/kit/processes.ts';

export interface TargetOptions {
  /** Of each call, ms. */
  latencyMs: number;
  orgs: string[];
  /** In each organization. */
  users: number;
}

export type Target = Awaited<ReturnType<typeof startTarget>>;

export const idOf = (org: string, n: number) => `${org}-${n}`;

/** The sandbox in a process of its own, with users who have no password yet. */
export async function startTarget(options: TargetOptions) {
  const child = spawnNode(['bench/migrate.ts', '--target', JSON.stringify(options)]);
  const { url } = JSON.parse(await child.waitForLine(/"url"/)) as { url: string };
  const client = createClient(UserService, createGrpcTransport({ baseUrl: url }));

  return {
    url,

    /** Users a second of a bare loop of the calls that a mirror cannot do without: each stores a hash; with `read` the user is read before. */
    async bare(org: string, hash: string, given: { atOnce: number; read: boolean; users?: number }): Promise<number> {
      const { atOnce, read, users = options.users } = given;
      const headers = { authorization: 'Bearer t' };
      const password = { passwordType: { case: 'hashedPassword' as const, value: { hash, changeRequired: false } } };
      let next = 0;
      const start = performance.now();
      await Promise.all(
        Array.from({ length: atOnce }, async () => {
          while (next < users) {
            const userId = idOf(org, next++);
            if (read) await client.getUserByID({ userId }, { headers });
            await client.updateUser(
              { userId, userType: { case: 'human', value: { password } } },
              { headers, timeoutMs: 20_000 },
            );
          }
        }),
      );
      return users / ((performance.now() - start) / 1_000);
    },

    async end(): Promise<void> {
      child.kill9();
      await child.exited;
    },
  };
}

/** What runs in that process. */
export async function runTarget({ latencyMs, orgs, users }: TargetOptions): Promise<void> {
  const sandbox = await startSandbox({
    ...{ bcryptCost: 4, orgs, silentOrgs: orgs },
    tokens: { t: { userId: 'passferry', roles: { instance: ['IAM_OWNER'] } } },
    users: orgs.flatMap((org) =>
      Array.from({ length: users }, (_, n) => ({ id: idOf(org, n), org, userName: idOf(org, n) })),
    ),
  });
  if (latencyMs > 0) sandbox.faults.add({ fault: { kind: 'latency', ms: latencyMs } });
  process.stdout.write(`${JSON.stringify({ url: sandbox.url })}\n`);
}
