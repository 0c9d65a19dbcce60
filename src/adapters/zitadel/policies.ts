import { create } from '@bufbuild/protobuf';
import { GetNotificationPolicyRequestSchema, ManagementService } from '@zitadel/proto/zitadel/management_pb';
import {
  GetPasswordComplexitySettingsRequestSchema,
  SettingsService,
} from '@zitadel/proto/zitadel/settings/v2/settings_service_pb';
import { PassferryError } from '../../errors.ts';
import type { Policy } from '../policy.ts';
import type { Call } from './call.ts';

const keptMs = 60_000;

/** What an organization asks of passwords, and whether a change is told by mail. */
export interface OrgPolicies {
  /** Undefined: we may not read it. */
  policy: Policy | undefined;
  mails: boolean | undefined;
}

/** Policies by organization, read again after a minute. */
export function createPolicies(call: Call) {
  const known = new Map<string, { at: number; read: Promise<OrgPolicies> }>();

  return (org: string, signal: AbortSignal): Promise<OrgPolicies> => {
    const last = known.get(org);
    if (last && performance.now() - last.at < keptMs) return last.read;
    if (known.size > 1_000) known.clear();
    const read = readBoth(call, org, signal);
    known.set(org, { at: performance.now(), read });
    read.catch(() => known.delete(org));
    return read;
  };
}

async function readBoth(call: Call, org: string, signal: AbortSignal): Promise<OrgPolicies> {
  const complexity = create(GetPasswordComplexitySettingsRequestSchema, {
    ctx: { resourceOwner: { case: 'orgId', value: org } },
  });
  const [settings, mails] = await Promise.all([
    call(SettingsService.method.getPasswordComplexitySettings, complexity, signal, inOrg(org)).catch(unreadable),
    mailsOnChange(call, org, signal),
  ]);
  const rules = settings?.settings;
  return {
    policy: rules && {
      minLength: Number(rules.minLength),
      lower: rules.requiresLowercase,
      upper: rules.requiresUppercase,
      number: rules.requiresNumber,
      symbol: rules.requiresSymbol,
    },
    mails,
  };
}

/** Asked anew each time: somebody may just have turned it off. Undefined: we may not read it. */
export async function mailsOnChange(call: Call, org: string, signal: AbortSignal): Promise<boolean | undefined> {
  const request = create(GetNotificationPolicyRequestSchema);
  const read = await call(ManagementService.method.getNotificationPolicy, request, signal, inOrg(org)).catch(
    unreadable,
  );
  return read?.policy?.passwordChange;
}

const inOrg = (org: string) => ({ 'x-zitadel-orgid': org });

/** A refusal of any kind: said in the end, never a reason to stop. */
function unreadable(thrown: unknown): undefined {
  const error = thrown as PassferryError;
  const refused = error.scope !== 'backend' || error.code === 'unimplemented' || error.code === 'permission_denied';
  if (error instanceof PassferryError && refused) return undefined;
  throw thrown;
}
