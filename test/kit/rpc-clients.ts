import { type Client, ConnectError, createClient, type Transport } from '@connectrpc/connect';
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from '@connectrpc/connect-node';
import { createServerTransport } from '@zitadel/client/node';
import { createManagementServiceClient } from '@zitadel/client/v1';
import { createClientTransport } from '@zitadel/client/web';
import { createAccessTokenInterceptor, createManagementClient } from '@zitadel/node/dist/api/index.js';
import { ManagementService } from '@zitadel/proto/zitadel/management_pb';
import { ErrorDetailSchema } from '@zitadel/proto/zitadel/message_pb';

/** What a client showed of one call. */
export interface Told {
  /** gRPC number; 0 is good. */
  code: number;
  message?: string;
  id?: string;
  /** Of the change. */
  sequence?: bigint;
  owner?: string;
  /** Headers and trailers. */
  headers: Headers;
}

export interface CallOptions {
  token: string | null;
  headers?: Record<string, string>;
  timeoutMs?: number;
}

export type Fields = { userId: string; password: string; noChangeRequired?: boolean };

/** A client that we did not write. */
export interface RpcClient {
  name: string;
  set(url: string, fields: Fields, options: CallOptions): Promise<Told>;
  initial(url: string, fields: Omit<Fields, 'noChangeRequired'>, options: CallOptions): Promise<Told>;
}

const h2 = { httpVersion: '2' } as const;
const h1 = { httpVersion: '1.1' } as const;
/** For the certificates that tests make themselves. */
const trust = { nodeOptions: { rejectUnauthorized: false } };

/** By name: how to reach the address with connect-node. */
export const connectTransports = {
  'gRPC of connect-node': (baseUrl) => createGrpcTransport({ baseUrl, ...trust }),
  'gRPC-Web of connect-node over HTTP/1.1': (baseUrl) => createGrpcWebTransport({ baseUrl, ...h1, ...trust }),
  'gRPC-Web of connect-node over HTTP/2': (baseUrl) => createGrpcWebTransport({ baseUrl, ...h2, ...trust }),
  'Connect in protobuf over HTTP/1.1': (baseUrl) => createConnectTransport({ baseUrl, ...h1, ...trust }),
  'Connect in protobuf over HTTP/2': (baseUrl) => createConnectTransport({ baseUrl, ...h2, ...trust }),
  'Connect in JSON over HTTP/1.1': (baseUrl) =>
    createConnectTransport({ baseUrl, ...h1, useBinaryFormat: false, ...trust }),
  'Connect in JSON over HTTP/2': (baseUrl) =>
    createConnectTransport({ baseUrl, ...h2, useBinaryFormat: false, ...trust }),
} satisfies Record<string, (baseUrl: string) => Transport>;

type Management = Client<typeof ManagementService>;

function overConnect(name: string, connect: (url: string, token: string | null) => Management): RpcClient {
  const call = async (
    run: (client: Management, options: object) => ReturnType<Management['setHumanPassword']>,
    url: string,
    { token, headers = {}, timeoutMs = 60_000 }: CallOptions,
  ): Promise<Told> => {
    const seen = new Headers();
    const note = (more: Headers) => more.forEach((value, key) => void seen.set(key, value));
    try {
      const client = connect(url, token);
      const { details } = await run(client, { headers, timeoutMs, onHeader: note, onTrailer: note });
      return {
        code: 0,
        headers: seen,
        ...(details && { sequence: details.sequence, owner: details.resourceOwner }),
      };
    } catch (thrown) {
      const error = ConnectError.from(thrown);
      const [detail] = error.findDetails(ErrorDetailSchema);
      return { code: error.code, message: error.rawMessage, headers: error.metadata, ...(detail && { id: detail.id }) };
    }
  };
  return {
    name,
    set: (url, fields, options) => call((client, more) => client.setHumanPassword(fields, more), url, options),
    initial: (url, fields, options) =>
      call((client, more) => client.setHumanInitialPassword(fields, more) as never, url, options),
  };
}

type Middleware = ReturnType<typeof createAccessTokenInterceptor>;

/** nice-grpc on grpc-js: shows text and number; the rest comes in the trailers. */
function overGrpcJs(name: string): RpcClient {
  const call = async (
    run: (client: ReturnType<typeof createManagementClient>, options: object) => Promise<unknown>,
    url: string,
    { token, headers = {} }: CallOptions,
  ): Promise<Told> => {
    const seen = new Headers();
    const note = (more: Iterable<[string, unknown[]]>) => {
      for (const [key, values] of more) if (typeof values[0] === 'string') seen.set(key, values[0]);
    };
    const withHeaders: Middleware = async function* (one, options) {
      for (const [key, value] of Object.entries(headers)) options.metadata?.set(key, value);
      return yield* one.next(one.request, options);
    };
    // The last that is named comes first, and only the token's makes metadata.
    const chain = token === null ? [] : [withHeaders, createAccessTokenInterceptor(token)];
    const client = createManagementClient(url, ...chain);
    try {
      const answer = (await run(client, { onHeader: note, onTrailer: note })) as {
        details?: { sequence: { toString(): string }; resourceOwner: string };
      };
      const { details } = answer;
      return {
        code: 0,
        headers: seen,
        ...(details && { sequence: BigInt(details.sequence.toString()), owner: details.resourceOwner }),
      };
    } catch (thrown) {
      const { code, details } = thrown as { code: number; details: string };
      const id = /\(([A-Z]+-\w+)\)$/.exec(details)?.[1];
      return { code, message: details, headers: seen, ...(id && { id }) };
    }
  };
  return {
    name,
    set: (url, fields, options) =>
      call((client, more) => client.setHumanPassword({ noChangeRequired: false, ...fields }, more), url, options),
    initial: (url, fields, options) =>
      call((client, more) => client.setHumanInitialPassword(fields, more), url, options),
  };
}

/** `@zitadel/client` and `@zitadel/node` as they come, then connect-node in each of its ways. */
export const rpcClients: RpcClient[] = [
  overConnect('@zitadel/client over gRPC', (baseUrl, token) =>
    token === null
      ? createManagementServiceClient(createGrpcTransport({ baseUrl }))
      : createManagementServiceClient(createServerTransport(token, { baseUrl })),
  ),
  overConnect('@zitadel/client over gRPC-Web', (baseUrl, token) =>
    token === null
      ? createManagementServiceClient(createGrpcWebTransport({ baseUrl, httpVersion: '1.1' }))
      : createManagementServiceClient(createClientTransport(token, { baseUrl })),
  ),
  overGrpcJs('@zitadel/node over gRPC'),
  ...Object.entries(connectTransports).map(([name, open]) =>
    overConnect(name, (url, token) => {
      const transport = open(url);
      return createClient(ManagementService, {
        unary: (method, signal, timeoutMs, header, input, values) => {
          const headers = new Headers(header);
          if (token !== null) headers.set('authorization', `Bearer ${token}`);
          return transport.unary(method, signal, timeoutMs, headers, input, values);
        },
        stream: transport.stream.bind(transport),
      });
    }),
  ),
];
