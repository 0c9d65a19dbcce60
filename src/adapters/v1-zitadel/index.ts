import { create } from '@bufbuild/protobuf';
import {
  GetUserByIDRequestSchema,
  HealthzRequestSchema,
  ManagementService,
  SetHumanPasswordRequestSchema,
} from '@zitadel/proto/zitadel/management_pb';
import { UserState } from '@zitadel/proto/zitadel/user_pb';
import { PassferryError } from '../../errors.ts';
import type { Applied, Backend, BackendUser, Change, UserState as OurState } from '../port.ts';
import type { Call } from '../zitadel/call.ts';
import { createCalls } from '../zitadel/call.ts';
import { ourDetails } from '../zitadel/details.ts';
import { epochMs, isMissing, noSuchUser } from '../zitadel/missing.ts';
import { checkOptions, type ZitadelOptions } from '../zitadel/options.ts';
import { createPolicies, mailsOnChange } from '../zitadel/policies.ts';
import { prove } from '../zitadel/prove.ts';
import { rehearse } from '../zitadel/rehearse.ts';
import { readRoles } from '../zitadel/roles.ts';

export type V1Zitadel = Backend & Required<Pick<Backend, 'readUser' | 'readRoles' | 'prove'>>;

/**
 * The deprecated call itself: ZITADEL's management v1 API over gRPC, with the organization of each change in its header. It has
 * no fence, so it is treated as v2 is: attempts on record, open ones settled by reading. No hash can be read or set there.
 *
 * @throws PassferryError `config_invalid`, see `checkOptions`.
 */
export function createV1Zitadel(options: ZitadelOptions): V1Zitadel {
  const { call, close } = createCalls(checkOptions(options));
  const policies = createPolicies(call);
  return {
    name: 'v1',
    exact: false,
    setPassword: (change, signal) => setPassword(call, change, signal),
    readUser: (org, user, signal) => readUser(call, org, user, signal),
    readRoles: (org, user, signal) => readRoles(call, org, user, signal),
    prove: (_org, user, password, signal) => prove(call, user, password, signal),
    rehearse: (change, signal) =>
      rehearse(
        change,
        () => readUser(call, change.org, change.user, signal),
        (org) => policies(org, signal),
      ),
    mailsOnChange: (org, signal) => mailsOnChange(call, org, signal),
    ping: async (signal) => {
      await call(ManagementService.method.healthz, create(HealthzRequestSchema), signal);
    },
    close: async () => close(),
  };
}

const inOrg = (org: string) => ({ 'x-zitadel-orgid': org });

async function setPassword(call: Call, change: Change, signal: AbortSignal): Promise<Applied> {
  const password = change.password.reveal();
  if (password === '') throw new PassferryError('password_missing');
  const request = create(SetHumanPasswordRequestSchema, {
    userId: change.user,
    password,
    noChangeRequired: !change.changeRequired,
  });
  const { details } = await call(ManagementService.method.setHumanPassword, request, signal, inOrg(change.org));
  return { result: 'set', details: ourDetails(details) };
}

const states: Record<UserState, OurState> = {
  [UserState.UNSPECIFIED]: 'unknown',
  [UserState.ACTIVE]: 'active',
  [UserState.INACTIVE]: 'inactive',
  [UserState.DELETED]: 'deleted',
  [UserState.LOCKED]: 'locked',
  [UserState.SUSPEND]: 'inactive',
  [UserState.INITIAL]: 'initial',
};

/** The header filters: a user of another organization is missing here. */
async function readUser(call: Call, org: string, userId: string, signal: AbortSignal): Promise<BackendUser> {
  const request = create(GetUserByIDRequestSchema, { id: userId });
  const { user } = await call(ManagementService.method.getUserByID, request, signal, inOrg(org)).catch(
    (error: unknown) => {
      throw isMissing(error) ? noSuchUser() : error;
    },
  );
  if (user?.type.case !== 'human') throw noSuchUser();
  const owner = user.details?.resourceOwner;
  if (!owner) throw new PassferryError('backend_error', { scope: 'backend' });
  const { passwordChanged, email } = user.type.value;
  return {
    user: userId,
    org: owner,
    state: states[user.state] ?? 'unknown',
    ...(passwordChanged && { passwordChangedAt: epochMs(passwordChanged) }),
    ...(user.userName && { userName: user.userName }),
    ...(email?.email && { email: email.email }),
  };
}
