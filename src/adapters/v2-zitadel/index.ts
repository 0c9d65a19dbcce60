import { create } from '@bufbuild/protobuf';
import {
  GetUserByIDRequestSchema,
  SetPasswordRequestSchema,
  UserService,
} from '@zitadel/proto/zitadel/user/v2/user_service_pb';
import { PassferryError } from '../../errors.ts';
import type { Verifier } from '../../hashes/kinds.ts';
import { checkPolicy } from '../policy.ts';
import type { Applied, Backend, Change } from '../port.ts';
import type { Call } from '../zitadel/call.ts';
import { createCalls } from '../zitadel/call.ts';
import { ourDetails } from '../zitadel/details.ts';
import type { ZitadelOptions } from '../zitadel/options.ts';
import { checkOptions } from '../zitadel/options.ts';
import { createPolicies, mailsOnChange } from '../zitadel/policies.ts';
import { prove } from '../zitadel/prove.ts';
import { rehearse } from '../zitadel/rehearse.ts';
import { readRoles } from '../zitadel/roles.ts';
import { createUser } from './create.ts';
import { findUser } from './find.ts';
import { createSetHash, takesHashes } from './hash.ts';
import { probeHash } from './probe.ts';
import { sendResetLink } from './reset.ts';
import { endSessions } from './sessions.ts';
import { readAnyUser, readUser } from './users.ts';

export type V2Zitadel = Backend &
  Required<
    Pick<
      Backend,
      | 'readUser'
      | 'readRoles'
      | 'prove'
      | 'findUser'
      | 'sendResetLink'
      | 'endSessions'
      | 'setHash'
      | 'takesHashes'
      | 'verifiers'
      | 'createUser'
      | 'probeHash'
      | 'checkPassword'
    >
  >;

export interface V2Options extends ZitadelOptions {
  /** Kinds of hashes that its hasher is configured to check. Default `bcrypt`, as installed. */
  verifiers?: readonly Verifier[];
  /** An existing user on whom hashes are tried. Default: one is made for each try. `false`: none is tried. */
  probeUser?: string | false;
}

/**
 * ZITADEL's user v2 API over gRPC. Connects with the first call. It does not compare the owner of a user with the organization of a
 * change, because v2 has no filter for that: read the user first.
 *
 * @throws PassferryError `config_invalid` for an address that is no http(s) URL, holds credentials, or is plain http to another machine.
 */
export function createV2Zitadel(options: V2Options): V2Zitadel {
  const { call, close } = createCalls(checkOptions(options));
  const policies = createPolicies(call);
  const setHash = createSetHash(call);
  return {
    name: 'v2',
    exact: false,
    setPassword: (change, signal) => setPassword(call, change, signal),
    setHash,
    takesHashes: (signal) => takesHashes(call, signal),
    verifiers: options.verifiers ?? ['bcrypt'],
    probeHash: (org, hash, password, signal) =>
      probeHash(call, setHash, options.probeUser, { org, hash, password }, signal),
    createUser: (user, signal) => createUser(call, user, signal),
    readUser: (_org, user, signal) => readUser(call, user, signal),
    readRoles: (org, user, signal) => readRoles(call, org, user, signal),
    prove: (_org, user, password, signal) => prove(call, user, password, signal),
    findUser: (org, by, signal) => findUser(call, org, by, signal),
    sendResetLink: (_org, user, signal) => sendResetLink(call, user, signal),
    endSessions: (_org, user, signal) => endSessions(call, user, signal),
    rehearse: (change, signal) =>
      rehearse(
        change,
        () => readAnyUser(call, change.user, signal),
        (org) => policies(org, signal),
      ),
    async checkPassword(org, password, signal) {
      const { policy } = await policies(org, signal);
      if (!policy) throw new PassferryError('backend_forbidden', { scope: 'organization' });
      checkPolicy(password.bytes(), policy);
    },
    mailsOnChange: (org, signal) => mailsOnChange(call, org, signal),
    ping: (signal) => ping(call, signal),
    close: async () => close(),
  };
}

async function setPassword(call: Call, change: Change, signal: AbortSignal): Promise<Applied> {
  const password = change.password.reveal();
  // ZITADEL answers a missing or empty one with 200 and locks the user out for good
  if (password === '') throw new PassferryError('password_missing');
  const request = create(SetPasswordRequestSchema, {
    userId: change.user,
    newPassword: { password, changeRequired: change.changeRequired },
  });
  const { details } = await call(UserService.method.setPassword, request, signal);
  return { result: 'set', details: ourDetails(details) };
}

/** Asks for a user that does not exist: "no such user" and "not for you" both come from a ZITADEL that works. */
async function ping(call: Call, signal: AbortSignal): Promise<void> {
  const request = create(GetUserByIDRequestSchema, { userId: 'passferry-ping' });
  try {
    await call(UserService.method.getUserByID, request, signal);
  } catch (error) {
    const alive = error instanceof PassferryError && error.scope !== 'backend';
    if (!alive) throw error;
  }
}
