import { fromJson } from '@bufbuild/protobuf';
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from '@connectrpc/connect';
import { ManagementService, SetHumanPasswordResponseSchema } from '@zitadel/proto/zitadel/management_pb';
import { PassferryError } from '../../errors.ts';
import { isFailure } from '../../job.ts';
import { callV1, type V1Deps } from '../v1-call.ts';
import { refusedJson } from './connect-json.ts';
import { connectError } from './errors.ts';
import { peerAddress } from './peer.ts';

/** Left of the caller's deadline for the answer to get there: afterwards nobody would hear the job's id. */
const answerMs = 250;

type Fields = { userId: string; password: string; noChangeRequired?: boolean };

/** The two calls that set a password; every other method says what is served here. */
export function registerManagement(router: ConnectRouter, deps: V1Deps): void {
  const set = (fields: Fields, context: HandlerContext) => setPassword(fields, context, deps);
  const others = ManagementService.methods
    .filter(({ localName }) => localName !== 'setHumanPassword' && localName !== 'setHumanInitialPassword')
    .map(({ localName }) => [localName, notServed]);
  router.service(ManagementService, {
    ...Object.fromEntries(others),
    setHumanPassword: set,
    // The initial password: the same change, and the user must always choose another one.
    setHumanInitialPassword: ({ userId, password }, context) => set({ userId, password }, context),
  });
}

function notServed(): never {
  throw new ConnectError(
    'Passferry serves SetHumanPassword and SetHumanInitialPassword of this API; ask ZITADEL for the others.',
    Code.Unimplemented,
  );
}

async function setPassword(
  { userId, password, noChangeRequired = false }: Fields,
  context: HandlerContext,
  deps: V1Deps,
) {
  const told = new Map<string, string>();
  try {
    const left = context.timeoutMs();
    const answered = await callV1(
      {
        user: userId,
        body: () => {
          const refused = context.values.get(refusedJson);
          if (refused) throw refused;
          return { password, noChangeRequired };
        },
        header: (name) => context.requestHeader.get(name) ?? undefined,
        tell: (name, value) => void told.set(name, value),
        asyncAnswers: false,
        ...(left !== undefined && { patienceMs: Math.max(1, left - answerMs) }),
        gone: context.signal,
        from: context.values.get(peerAddress),
      },
      deps,
    );
    if (answered.kind === 'accepted') throw new PassferryError('wait_over');
    const { outcome } = answered;
    if (isFailure(outcome)) throw new PassferryError(outcome.reason, { code: outcome.code, message: outcome.message });
    for (const [name, value] of told) context.responseHeader.set(name, value);
    return fromJson(SetHumanPasswordResponseSchema, { details: { ...outcome.details } });
  } catch (thrown) {
    if (!(thrown instanceof PassferryError)) deps.log.error({ err: thrown }, 'a call failed inside');
    throw connectError(thrown instanceof PassferryError ? thrown : new PassferryError('internal'), [...told]);
  }
}
