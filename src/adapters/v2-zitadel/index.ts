import type { SecureContextOptions } from 'node:tls';
import { create, toJson } from '@bufbuild/protobuf';
import { TimestampSchema } from '@bufbuild/protobuf/wkt';
import type { Details as ZitadelDetails } from '@zitadel/proto/zitadel/object/v2/object_pb';
import {
  GetUserByIDRequestSchema,
  SetPasswordRequestSchema,
  UserService,
} from '@zitadel/proto/zitadel/user/v2/user_service_pb';
import type { Credential } from '../../credential.ts';
import { PassferryError } from '../../errors.ts';
import type { Details } from '../../job.ts';
import type { Applied, Backend, Change } from '../port.ts';
import type { Call } from './call.ts';
import { createCalls } from './call.ts';
import { prove } from './prove.ts';
import { readRoles, readUser } from './users.ts';

export interface V2Options {
  /** Base address of ZITADEL, `https://…`; plain `http://` only to this machine. */
  url: string;
  /** Token of a service account with `user.write` and `user.read` where it is to act. */
  credential: Credential;
  /** How long one call may take, ms. Default 20000: their hashing takes a second or more, and their store up to 15. */
  deadlineMs?: number;
  /** Certificates of a private authority, or our own. */
  tls?: SecureContextOptions;
  /** Send passwords in clear over a network. Default false. */
  allowPlaintext?: boolean;
}

export type V2Zitadel = Backend & Required<Pick<Backend, 'readUser' | 'readRoles' | 'prove'>>;

/**
 * ZITADEL's user v2 API over gRPC. Connects with the first call. It does not compare the owner of a user with the organization of a
 * change, because v2 has no filter for that: read the user first.
 *
 * @throws PassferryError `config_invalid` for an address that is no http(s) URL, holds credentials, or is plain http to another machine.
 */
export function createV2Zitadel(options: V2Options): V2Zitadel {
  const { credential, deadlineMs = 20_000, tls, allowPlaintext = false } = options;
  const url = checkUrl(options.url, allowPlaintext);
  if (!(deadlineMs > 0)) throw invalid('deadlineMs');
  const { call, close } = createCalls({ url, credential, deadlineMs, tls });
  return {
    name: 'v2',
    exact: false,
    setPassword: (change, signal) => setPassword(call, change, signal),
    readUser: (_org, user, signal) => readUser(call, user, signal),
    readRoles: (org, user, signal) => readRoles(call, org, user, signal),
    prove: (_org, user, password, signal) => prove(call, user, password, signal),
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

function ourDetails(details: ZitadelDetails | undefined): Details {
  // a good answer that does not say what it did is not believed
  if (!details?.changeDate) throw new PassferryError('backend_error', { scope: 'backend', effect: 'unknown' });
  return {
    sequence: String(details.sequence),
    ...(details.creationDate && { creationDate: toJson(TimestampSchema, details.creationDate) }),
    changeDate: toJson(TimestampSchema, details.changeDate),
    resourceOwner: details.resourceOwner,
  };
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

function checkUrl(text: string, allowPlaintext: boolean): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !['http:', 'https:'].includes(url.protocol) || url.username || url.password) throw invalid('url');
  const local = url.hostname === 'localhost' || url.hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(url.hostname);
  if (url.protocol === 'http:' && !local && !allowPlaintext) throw invalid('url');
  return url;
}

function invalid(field: string): PassferryError {
  return new PassferryError('config_invalid', { scope: 'backend', fields: [{ field, reason: 'config_invalid' }] });
}
