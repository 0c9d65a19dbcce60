import type { Backend } from '../../src/adapters/port.ts';
import type { Sandbox } from '../../src/sandbox/sandbox.ts';
import type { Fixture } from './conformance.ts';

/** What the conformance suite needs of a backend whose users live in the sandbox; `ferry` is the service account of ours. */
export function zitadelFixture(box: Sandbox, backend: Backend): Omit<Fixture, 'foreignChange'> {
  return {
    backend,
    async addUser({ id, org, state = 'active', password, isMachine }) {
      if (state === 'deleted') throw new Error('the sandbox keeps no deleted users');
      await box.addUser({
        id,
        org,
        userName: id,
        state,
        ...(password !== undefined && { password }),
        ...(isMachine !== undefined && { machine: isMachine }),
      });
    },
    effects: async (user) => box.users.get(user)?.changes.filter(({ by }) => by === 'ferry').length ?? 0,
    async close() {
      await backend.close();
      await box.close();
    },
  };
}
