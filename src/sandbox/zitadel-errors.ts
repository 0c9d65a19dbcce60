import type { DescMessage, JsonObject, MessageInitShape } from '@bufbuild/protobuf';
import { create, toJson } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { CredentialsCheckErrorSchema, ErrorDetailSchema } from '@zitadel/proto/zitadel/message_pb';
import { codes } from '../errors.ts';

/** Every refusal of the real thing that the sandbox can give: id → gRPC code and English text. */
const refusals = {
  // authentication and authorization
  'AUTH-toLo1': [Code.Unauthenticated, 'invalid auth header'],
  'AUTH-7fs1e': [Code.Unauthenticated, 'Errors.Token.Invalid'],
  'AUTH-Bs7Ds': [Code.PermissionDenied, "Organisation doesn't exist"],
  'AUTH-5mWD2': [Code.PermissionDenied, 'No matching permissions found'],
  'AUTH-AWfge': [Code.PermissionDenied, 'No matching permissions found'],
  'AUTHZ-cdgFk': [Code.NotFound, 'membership not found'],
  'QUOTA-vjAy8': [Code.ResourceExhausted, 'Quota.Access.Exhausted'],
  // the user
  'COMMAND-G8dh3': [Code.FailedPrecondition, 'Password not found'],
  'COMMAND-M9dse': [Code.FailedPrecondition, 'User is not yet initialized'],
  'COMMAND-ugjs0upun6': [Code.NotFound, 'User could not be found'],
  'COMMAND-3n77z': [Code.FailedPrecondition, 'User could not be found'],
  'COMMAND-SAF4f': [Code.NotFound, 'User could not be found'],
  'COMMAND-Sfe4g': [Code.FailedPrecondition, 'User is not yet initialized'],
  'QUERY-Dfbg2': [Code.NotFound, 'User could not be found'],
  'COMMAND-7yiox1isql': [Code.AlreadyExists, 'User already exists'],
  'COMMAND-3M9sf': [Code.FailedPrecondition, 'User is already inactive'],
  'SESSION-Gj4ko': [Code.FailedPrecondition, 'User is not active'],
  'COMMAND-JLK35': [Code.FailedPrecondition, 'User is locked'],
  // proof of the old password
  'COMMAND-3M0fs': [Code.InvalidArgument, 'Password is empty'],
  'COMMAND-Mf0sd': [Code.InvalidArgument, 'Password is empty'],
  'COMMAND-3nJ4t': [Code.FailedPrecondition, 'User has not set a password'],
  'COMMAND-Aesh5': [Code.FailedPrecondition, 'New password cannot be the same as your current password'],
  'COMMAND-2M9fs': [Code.FailedPrecondition, 'Code not found'],
  // the new password
  'COMMAND-3klek4sbns': [Code.InvalidArgument, 'Password is empty'],
  'DOMAIN-HuJf6': [Code.InvalidArgument, 'Password is too short'],
  'DOMAIN-co3Xw': [Code.InvalidArgument, 'Password must contain lower case'],
  'DOMAIN-VoaRj': [Code.InvalidArgument, 'Password must contain upper case'],
  'DOMAIN-ZBv4H': [Code.InvalidArgument, 'Password must contain number'],
  'DOMAIN-ZDLwA': [Code.InvalidArgument, 'Password must contain symbol'],
  'COMMAND-CahN2': [Code.Internal, 'An internal error occurred'],
  'USER-oz74onzvqr': [Code.InvalidArgument, 'Password hash encoding not supported'],
  'USER-JDk4t': [Code.InvalidArgument, 'Password hash encoding not supported'],
  'CRYPT-2xK7d': [Code.InvalidArgument, 'Password hash encoding not supported'],
  'CRYPT-5uV9n': [Code.InvalidArgument, 'Password is invalid'],
  'CRYPT-r8Qm2': [Code.InvalidArgument, 'Password is invalid'],
} as const satisfies Record<string, readonly [Code, string]>;

export type RefusalId = keyof typeof refusals;

/** The error for a known id, with its detail. */
export function refusal(id: RefusalId): ConnectError {
  const [code, text] = refusals[id];
  const detail = { desc: ErrorDetailSchema, value: { id, message: text } };
  return new ConnectError(`${text} (${id})`, code, undefined, [detail]);
}

/** A wrong password: its detail also counts the failed attempts. */
export function wrongPassword(failedAttempts: number): ConnectError {
  const value = { id: 'COMMAND-3M0fs', message: 'Password is invalid', failedAttempts };
  const detail = { desc: CredentialsCheckErrorSchema, value };
  return new ConnectError('Password is invalid (COMMAND-3M0fs)', Code.InvalidArgument, undefined, [detail]);
}

/** Field validation, missing header, unknown route, unavailable: errors without an id and without details. */
export function bareError(code: Code, text: string): ConnectError {
  return new ConnectError(text, code);
}

/** The body and HTTP status that the REST gateway makes of an error. `details` is absent when there are none. */
export function restError(error: ConnectError): { status: number; body: JsonObject } {
  const details = error.details.flatMap((detail) => {
    if (!('desc' in detail)) return [];
    const desc: DescMessage = detail.desc;
    const json = toJson(desc, create(desc, detail.value as MessageInitShape<DescMessage>)) as JsonObject;
    return [{ '@type': `type.googleapis.com/${desc.typeName}`, ...json }];
  });
  const status = Object.values(codes).find((facts) => facts.grpc === error.code)?.http ?? 500;
  return {
    status,
    body: { code: error.code, message: error.rawMessage, ...(details.length > 0 && { details }) },
  };
}
