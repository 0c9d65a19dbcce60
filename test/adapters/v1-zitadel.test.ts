import { expect, test } from 'vitest';
import { createV1Zitadel } from '../../src/adapters/v1-zitadel/index.ts';
import { credential } from '../../src/credential.ts';
import { startSandbox } from '../../src/sandbox/sandbox.ts';
import { Secret } from '../../src/secret.ts';
import { changeOf, errorOf, testBackend } from '../kit/conformance.ts';
import { zitadelFixture } from '../kit/zitadel-fixture.ts';

const signal = new AbortController().signal;
const start = () =>
  startSandbox({
    bcryptCost: 4,
    orgs: ['org-1', 'org-2', 'org-3'],
    tokens: {
      root: { userId: 'ferry', roles: { instance: ['IAM_OWNER'] } },
      other: { userId: 'somebody', roles: { instance: ['IAM_OWNER'] } },
      one: { userId: 'boss', roles: { orgs: { 'org-1': ['ORG_OWNER'] } } },
    },
  });

testBackend(
  'v1-zitadel',
  async () => {
    const box = await start();
    const backend = createV1Zitadel({ url: box.url, credential: credential({ value: 'root' }) });
    return {
      ...zitadelFixture(box, backend),
      async foreignChange(org, user, password) {
        const response = await fetch(`${box.url}/management/v1/users/${user}/password`, {
          method: 'POST',
          headers: { authorization: 'Bearer other', 'x-zitadel-orgid': org },
          body: JSON.stringify({ password }),
        });
        expect(response.status).toBe(200);
      },
    };
  },
  { exact: false },
);

test('sends the flag of v1, the organization in its header, and reads what it needs to settle', async () => {
  const box = await start();
  const backend = createV1Zitadel({ url: box.url, credential: credential({ value: 'root' }) });
  await box.addUser({ id: 'u1', org: 'org-2', userName: 'u1' });
  await backend.setPassword(changeOf({ id: 'u1', org: 'org-2' }, 1n, { changeRequired: true }), signal);
  expect(box.users.get('u1')?.changes).toMatchObject([{ changeRequired: true, call: 'SetHumanPassword' }]);
  const read = await backend.readUser('org-2', 'u1', signal);
  expect(read).toMatchObject({ org: 'org-2', state: 'active', passwordChangedAt: expect.any(Number) });
  expect((await errorOf(backend.readUser('org-1', 'u1', signal))).reason).toBe('COMMAND-G8dh3');
  await backend.close();
  await box.close();
});

test('an organization without our permission waits, an empty password is never sent', async () => {
  const box = await start();
  const backend = createV1Zitadel({ url: box.url, credential: credential({ value: 'one' }) });
  await box.addUser({ id: 'u3', org: 'org-3', userName: 'u3' });
  const refused = await errorOf(backend.setPassword(changeOf({ id: 'u3', org: 'org-3' }, 1n), signal));
  expect(refused).toMatchObject({ reason: 'backend_forbidden', scope: 'organization', effect: 'none' });
  const empty = changeOf({ id: 'u3', org: 'org-3' }, 2n, { password: Secret.fromString('') });
  expect(await errorOf(backend.setPassword(empty, signal))).toMatchObject({ reason: 'password_missing' });
  await backend.close();
  await box.close();
});
