import { ManagementService } from '@zitadel/proto/zitadel/management_pb';
import { SettingsService } from '@zitadel/proto/zitadel/settings/v2/settings_service_pb';
import { requirePermission } from './auth.ts';
import type { CallSpec } from './calls.ts';
import { defineCall } from './calls.ts';

/** What an organization asks of passwords: a v2 call that anybody with a token may make. */
export const settingsCalls: CallSpec[] = [
  defineCall({
    name: 'GetPasswordComplexitySettings',
    method: SettingsService.method.getPasswordComplexitySettings,
    userOf: () => undefined,
    async run(world, caller, request) {
      const owner = request.ctx?.resourceOwner;
      const policy = world.store.policyOf(owner?.case === 'orgId' ? owner.value : caller.org);
      return {
        settings: {
          minLength: BigInt(policy.minLength),
          requiresUppercase: policy.upper,
          requiresLowercase: policy.lower,
          requiresNumber: policy.number,
          requiresSymbol: policy.symbol,
        },
      };
    },
  }),
];

/** Whether it tells its users of a change by mail: a v1 call. */
export const notificationCalls: CallSpec[] = [
  defineCall({
    name: 'GetNotificationPolicy',
    method: ManagementService.method.getNotificationPolicy,
    userOf: () => undefined,
    admit: (caller) => requirePermission(caller, caller.org, 'policy.read', 'AUTH-5mWD2'),
    run: async (world, caller) => ({ policy: { passwordChange: !world.silentOrgs.has(caller.org) } }),
  }),
];
