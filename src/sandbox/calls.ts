import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import type { Timestamp } from '@bufbuild/protobuf/wkt';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { Code } from '@connectrpc/connect';
import type { Verifier } from '../hashes/kinds.ts';
import type { Caller, TokenGrant } from './auth.ts';
import { authenticate } from './auth.ts';
import type { Faults } from './faults.ts';
import { checkFields } from './field-rules.ts';
import type { Mail } from './reset-calls.ts';
import type { Store } from './state.ts';
import { bareError, refusal } from './zitadel-errors.ts';

/** One call that arrived; never its password. */
export interface RecordedCall {
  call: string;
  user: string | undefined;
  /** ms since the epoch. */
  at: number;
  over: 'rest' | 'rpc';
}

/** What all calls share. */
export interface World {
  store: Store;
  tokens: Record<string, TokenGrant>;
  faults: Faults;
  calls: RecordedCall[];
  /** Mails with reset links, the oldest first. */
  mails: Mail[];
  /** Open sessions: id → user. */
  sessions: Map<string, string>;
  hashCosts: { min: number; max: number };
  /** Kinds of hashes it can check. */
  verifiers: readonly Verifier[];
  bcryptCost: number;
  /** Organizations that send no mail about a changed password. */
  silentOrgs: ReadonlySet<string>;
  /** Runs later unless the sandbox closes first. */
  later(ms: number, work: () => void): void;
}

/** The transport under one request, for faults that happen beneath the protocol. */
export interface Wire {
  over: 'rest' | 'rpc';
  /** Destroys the connection. */
  cut(): void;
  /** Answers past the protocol, as a proxy in between would. */
  raw(status: number, headers: Record<string, string>, body: string): void;
}

/** One unary call, the same for REST and RPC. */
export interface CallSpec<I extends DescMessage = DescMessage, O extends DescMessage = DescMessage> {
  name: string;
  method: DescMethodUnary<I, O>;
  /** Needs no token. */
  open?: boolean;
  /** The user the call is about; for faults and records. */
  userOf(request: MessageShape<I>): string | undefined;
  /** Authorization that comes before the field rules: v1 only. */
  admit?(caller: Caller): void;
  /** `dry`: answer as if, change nothing. */
  run(world: World, caller: Caller, request: MessageShape<I>, dry: boolean): Promise<MessageInitShape<O>>;
}

/** Keeps the types of request and response inside, forgets them outside. */
export function defineCall<I extends DescMessage, O extends DescMessage>(spec: CallSpec<I, O>): CallSpec {
  return spec as unknown as CallSpec;
}

/** The order of every call: record, faults, token, organization, permission (v1), field rules, the call itself. */
export async function runCall(
  world: World,
  spec: CallSpec,
  request: MessageShape<DescMessage>,
  headers: Headers,
  wire: Wire,
): Promise<MessageInitShape<DescMessage>> {
  const user = spec.userOf(request);
  world.calls.push({ call: spec.name, user, at: Date.now(), over: wire.over });
  const effect = async (dry = false) => {
    const caller = spec.open ? nobody : authenticate(world.tokens, world.store, headers);
    spec.admit?.(caller);
    checkFields(spec.method.input, request);
    return spec.run(world, caller, request, dry);
  };

  const { latencyMs, fault } = world.faults.draw(spec.name, user);
  if (latencyMs > 0) await new Promise<void>((resolve) => world.later(latencyMs, resolve));
  switch (fault?.kind) {
    case undefined:
      return effect();
    case 'no-effect':
      return effect(true);
    case '503':
      throw bareError(Code.Unavailable, 'upstream connect error');
    case '429': {
      const retryAfter: Record<string, string> =
        fault.retryAfter === undefined ? {} : { 'retry-after': String(fault.retryAfter) };
      if (fault.edge) {
        wire.raw(429, { 'content-type': 'text/plain', ...retryAfter }, 'Too Many Requests');
        return unanswered();
      }
      const quota = refusal('QUOTA-vjAy8');
      for (const [name, value] of Object.entries(retryAfter)) quota.metadata.set(name, value);
      throw quota;
    }
    case 'html':
      wire.raw(502, { 'content-type': 'text/html' }, '<html><body><h1>502 Bad Gateway</h1></body></html>');
      return unanswered();
    case 'cut-before':
      wire.cut();
      return unanswered();
    case 'cut-after':
      await effect().catch(() => undefined);
      wire.cut();
      return unanswered();
    case 'late-effect':
      wire.cut();
      world.later(fault.ms, () => void effect().catch(() => undefined));
      return unanswered();
  }
}

const nobody: Caller = { userId: '', org: '', roles: {} };

/** The answer was given, or never will be, beneath the protocol. */
function unanswered(): Promise<never> {
  return new Promise(() => {});
}

/** Microseconds since the epoch → timestamp. */
export function stamp(micros: number): Timestamp {
  const timestamp = timestampFromMs(Math.floor(micros / 1000));
  timestamp.nanos += (micros % 1000) * 1000;
  return timestamp;
}
