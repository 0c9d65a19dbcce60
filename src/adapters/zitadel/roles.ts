import { create } from '@bufbuild/protobuf';
import { ListUserMembershipsRequestSchema, ManagementService } from '@zitadel/proto/zitadel/management_pb';
import { PassferryError } from '../../errors.ts';
import type { Call } from './call.ts';

/** Role names of the memberships that are visible from this organization: instance, organization, projects. */
export async function readRoles(call: Call, org: string, userId: string, signal: AbortSignal): Promise<string[]> {
  const request = create(ListUserMembershipsRequestSchema, { userId, query: { limit: pageSize } });
  const { details, result } = await call(ManagementService.method.listUserMemberships, request, signal, {
    'x-zitadel-orgid': org,
  }).catch((error: unknown) => {
    throw cannotRead(error) ? unreadable() : error;
  });
  // half of the roles would look like no protection
  if ((details?.totalResult ?? 0n) > BigInt(result.length)) throw unreadable();
  return [...new Set(result.flatMap(({ roles }) => roles))];
}

const pageSize = 1000;

function cannotRead(error: unknown): boolean {
  return error instanceof PassferryError && (error.code === 'permission_denied' || error.code === 'unimplemented');
}

function unreadable(): PassferryError {
  return new PassferryError('backend_forbidden', { scope: 'organization' });
}
