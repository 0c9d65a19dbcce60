import { type DescMessage, type DescMethodUnary, toJson } from '@bufbuild/protobuf';
import { Code, ConnectError, type Transport } from '@connectrpc/connect';
import { createGrpcTransport, createGrpcWebTransport } from '@connectrpc/connect-node';
import { ManagementService } from '@zitadel/proto/zitadel/management_pb';
import { ErrorDetailSchema } from '@zitadel/proto/zitadel/message_pb';

export const protocols = ['rest', 'grpc', 'grpc-web', 'connect'] as const;
export type Protocol = (typeof protocols)[number];

/** One call as every protocol can make it; what only HTTP can say stands in `text` and `rest`. */
export interface ParityCall {
  url: string;
  user: string;
  initial: boolean;
  headers: Record<string, string>;
  fields: Record<string, unknown>;
  /** Body of REST and Connect, instead of `fields`. */
  text: string | undefined;
  rest: { method?: string; path?: string; type?: string | null; latin1?: boolean };
}

/** What came back, said the same way for each protocol. */
export interface ParityAnswer {
  /** HTTP; undefined where the protocol always says 200. */
  status?: number;
  /** gRPC number; 0 is good; undefined where an answer has no body. */
  code?: number;
  message?: string;
  id?: string;
  /** Text of the detail. */
  detail?: string;
  /** Of a good answer, as JSON. */
  details?: Record<string, unknown>;
  headers: Headers;
}

export function callOver(protocol: Protocol, call: ParityCall): Promise<ParityAnswer> {
  switch (protocol) {
    case 'rest':
      return overRest(call);
    case 'connect':
      return overConnect(call);
    case 'grpc':
      return overRpc(createGrpcTransport({ baseUrl: call.url }), call);
    case 'grpc-web':
      return overRpc(createGrpcWebTransport({ baseUrl: call.url, httpVersion: '1.1' }), call);
  }
}

async function overRest(call: ParityCall): Promise<ParityAnswer> {
  const { method = 'POST', type = 'application/json' } = call.rest;
  const own = `/management/v1/users/${encodeURIComponent(call.user)}/password${call.initial ? '/_initialize' : ''}`;
  const body = call.text ?? JSON.stringify(call.fields);
  const response = await fetch(`${call.url}${call.rest.path ?? own}`, {
    method,
    headers: { ...call.headers, ...(type !== null && { 'content-type': type }) },
    // As bytes: text would get a content type of its own.
    ...(method !== 'GET' && method !== 'HEAD' && { body: Buffer.from(body, call.rest.latin1 ? 'latin1' : 'utf8') }),
  });
  const { status, headers } = response;
  const text = await response.text();
  if (text === '') return { status, headers };
  const answer = JSON.parse(text);
  if (response.ok) return { status, code: 0, headers, ...goodKeys(answer) };
  const { code, message, details, ...unknown } = answer;
  if (Object.keys(unknown).length > 0) throw new Error(`unknown keys in an error: ${Object.keys(unknown)}`);
  return { status, code, message, headers, ...detailOf(details) };
}

function detailOf(details: undefined | { '@type': string; id: string; message: string }[]): object {
  if (details === undefined) return {};
  const [first, ...others] = details;
  if (first?.['@type'] !== 'type.googleapis.com/zitadel.v1.ErrorDetail' || others.length > 0) {
    throw new Error('details are not one ErrorDetail');
  }
  return { id: first.id, detail: first.message };
}

function goodKeys(answer: { details: Record<string, unknown> }): object {
  if (Object.keys(answer).join() !== 'details') throw new Error(`keys of a good answer: ${Object.keys(answer)}`);
  return { details: answer.details };
}

async function overConnect(call: ParityCall): Promise<ParityAnswer> {
  const method = call.initial ? 'SetHumanInitialPassword' : 'SetHumanPassword';
  const response = await fetch(`${call.url}/zitadel.management.v1.ManagementService/${method}`, {
    method: 'POST',
    headers: { ...call.headers, 'content-type': 'application/json' },
    body: Buffer.from(call.text ?? JSON.stringify({ userId: call.user, ...call.fields })),
  });
  const { status, headers } = response;
  const answer = (await response.json()) as Record<string, unknown>;
  if (response.ok) return { status, code: 0, headers, ...goodKeys(answer as { details: Record<string, unknown> }) };
  const { message, details } = answer as { message?: string; details?: { type: string; debug: object }[] };
  if (details && details[0]?.type !== 'zitadel.v1.ErrorDetail') throw new Error('details are not one ErrorDetail');
  const debug = details?.[0]?.debug as { id: string; message: string } | undefined;
  return {
    status,
    headers,
    code: numbers[String(answer.code)] ?? -1,
    ...(message !== undefined && { message }),
    ...(debug && { id: debug.id, detail: debug.message }),
  };
}

const numbers: Record<string, number> = Object.fromEntries(
  Object.entries(Code).flatMap(([name, number]) =>
    typeof number === 'number' ? [[name.replace(/(?<=[a-z])[A-Z]/g, (c) => `_${c}`).toLowerCase(), number]] : [],
  ),
);

async function overRpc(transport: Transport, call: ParityCall): Promise<ParityAnswer> {
  const { setHumanPassword, setHumanInitialPassword } = ManagementService.method;
  const method = (call.initial ? setHumanInitialPassword : setHumanPassword) as DescMethodUnary<DescMessage>;
  const fields = { userId: call.user, ...call.fields };
  try {
    const answer = await transport.unary(method, undefined, 20_000, call.headers, fields as never);
    const json = toJson(method.output, answer.message) as { details: Record<string, unknown> };
    return { code: 0, headers: answer.header, details: json.details };
  } catch (thrown) {
    const error = ConnectError.from(thrown);
    const [detail] = error.findDetails(ErrorDetailSchema);
    return {
      code: error.code,
      message: error.rawMessage,
      headers: error.metadata,
      ...(detail && { id: detail.id, detail: detail.message }),
    };
  }
}
