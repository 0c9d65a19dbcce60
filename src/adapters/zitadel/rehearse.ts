import { PassferryError } from '../../errors.ts';
import { errorFromZitadel } from '../../zitadel-ids.ts';
import { checkPolicy } from '../policy.ts';
import type { BackendUser, Change, Rehearsal, Unchecked } from '../port.ts';
import type { OrgPolicies } from './policies.ts';

/** What ZITADEL would say, from what can be read of it. Owner and staleness are the caller's. */
export async function rehearse(
  change: Change,
  readUser: () => Promise<BackendUser | 'machine'>,
  policiesOf: (org: string) => Promise<OrgPolicies>,
): Promise<Rehearsal> {
  let user: BackendUser | 'machine';
  try {
    user = await readUser();
  } catch (thrown) {
    if (thrown instanceof PassferryError && thrown.scope === 'user') return { end: thrown, unchecked: [] };
    throw thrown;
  }
  if (user === 'machine') return { end: refused('COMMAND-G8dh3'), state: 'machine', unchecked: [] };
  const about = { state: user.state, user };
  if (user.org !== change.org) return { ...about, end: refused('COMMAND-G8dh3'), unchecked: [] };
  if (user.state === 'initial') return { ...about, end: refused('COMMAND-M9dse'), unchecked: [] };
  const { policy, mails } = await policiesOf(change.org);
  // Whether it was used before only ZITADEL can tell.
  const unchecked: Unchecked[] = ['reuse'];
  if (!policy) unchecked.push('policy');
  if (mails === undefined) unchecked.push('mails');
  try {
    if (policy) checkPolicy(change.password.bytes(), policy);
  } catch (thrown) {
    if (thrown instanceof PassferryError) return { ...about, end: thrown, unchecked };
    throw thrown;
  }
  return { ...about, end: 'set', mail: mails ?? true, unchecked };
}

const refused = (id: string) => errorFromZitadel({ grpcCode: 9, id });
