import type { IncomingMessage, ServerResponse } from 'node:http';
import type { DescMessage, JsonValue, MessageShape } from '@bufbuild/protobuf';
import { create, fromJsonString, toJson } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import type { CallSpec, World } from './calls.ts';
import { runCall } from './calls.ts';
import { managementCalls } from './management-calls.ts';
import type { Listener, Request, Response } from './rpc.ts';
import { wireOf } from './rpc.ts';
import { sessionCalls } from './session-calls.ts';
import { userCalls } from './user-calls.ts';
import { bareError, restError } from './zitadel-errors.ts';

/** `{}` in the path is the value of `field`, which wins over the body. */
interface Route {
  verb: string;
  path: string;
  field?: string;
  spec: CallSpec;
  /** Default 200. */
  status?: number;
}

const routes: Route[] = [
  { verb: 'GET', path: '/management/v1/healthz', spec: named(managementCalls, 'Healthz') },
  {
    verb: 'POST',
    path: '/management/v1/users/{}/password',
    field: 'userId',
    spec: named(managementCalls, 'SetHumanPassword'),
  },
  { verb: 'GET', path: '/management/v1/users/{}', field: 'id', spec: named(managementCalls, 'GetUserByID') },
  {
    verb: 'POST',
    path: '/management/v1/users/{}/memberships/_search',
    field: 'userId',
    spec: named(managementCalls, 'ListUserMemberships'),
  },
  { verb: 'POST', path: '/v2/users/{}/password', field: 'userId', spec: named(userCalls, 'SetPassword') },
  { verb: 'PATCH', path: '/v2/users/{}', field: 'userId', spec: named(userCalls, 'UpdateUser') },
  { verb: 'GET', path: '/v2/users/{}', field: 'userId', spec: named(userCalls, 'GetUserByID') },
  { verb: 'PUT', path: '/v2/users/human/{}', field: 'userId', spec: named(userCalls, 'UpdateHumanUser') },
  { verb: 'POST', path: '/v2/sessions', spec: named(sessionCalls, 'CreateSession'), status: 201 },
  { verb: 'DELETE', path: '/v2/sessions/{}', field: 'sessionId', spec: named(sessionCalls, 'DeleteSession') },
];

const probes = ['/debug/healthz', '/debug/ready'];
const maxBodyBytes = 1024 * 1024;

/** The REST gateway: JSON in and out, unknown keys dropped as ZITADEL drops them, any Content-Type read as JSON. */
export function restListener(world: World): Listener {
  return (request, response) => {
    if (probes.includes(request.url ?? '')) return void (response as ServerResponse).end('ok');
    answer(world, request, response).catch((thrown: unknown) => {
      if (response.headersSent || response.destroyed) return;
      const error = ConnectError.from(thrown, Code.Internal);
      const { status, body } = restError(error);
      const wanted = error.metadata.get('retry-after');
      send(response, error.code === Code.Unimplemented ? 405 : status, body, {
        ...(error.code === Code.Unauthenticated && { 'www-authenticate': error.rawMessage }),
        ...(wanted !== null && { 'retry-after': wanted }),
      });
    });
  };
}

async function answer(world: World, request: Request, response: Response): Promise<void> {
  const { route, value } = match(request.method ?? 'GET', (request.url ?? '/').split('?', 1)[0] ?? '/');
  const { input, output } = route.spec.method;
  const sent = decode(input, route.verb === 'GET' ? Buffer.alloc(0) : await readBody(request));
  if (route.field) (sent as unknown as Record<string, unknown>)[route.field] = value;
  const headers = new Headers();
  for (const [name, text] of Object.entries(request.headers)) {
    if (typeof text === 'string' && !name.startsWith(':')) headers.set(name, text);
  }
  const result = await runCall(world, route.spec, sent, headers, wireOf(request, response, 'rest'));
  send(response, route.status ?? 200, toJson(output, create(output, result)), {});
}

function match(verb: string, path: string): { route: Route; value: string } {
  const fits = routes.flatMap((route) => {
    const value = pathValue(route.path, path);
    return value === undefined ? [] : [{ route, value }];
  });
  if (fits.length === 0) throw bareError(Code.NotFound, 'Not Found');
  const fit = fits.find(({ route }) => route.verb === verb);
  if (!fit) throw bareError(Code.Unimplemented, 'Method Not Allowed');
  return fit;
}

function pathValue(pattern: string, path: string): string | undefined {
  const wanted = pattern.split('/');
  const given = path.split('/');
  if (wanted.length !== given.length) return undefined;
  let value = '';
  for (const [i, part] of wanted.entries()) {
    if (part === '{}') value = given[i] ?? '';
    else if (part !== given[i]) return undefined;
  }
  if (pattern.includes('{}') && value === '') return undefined;
  try {
    return decodeURIComponent(value);
  } catch {
    return undefined;
  }
}

/** An empty body counts as `{}`. The text of the error is our own: the real one is unstable on purpose. */
function decode(schema: DescMessage, body: Buffer): MessageShape<DescMessage> {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
    return fromJsonString(schema, text.trim() === '' ? '{}' : text, { ignoreUnknownFields: true });
  } catch {
    throw bareError(Code.InvalidArgument, 'proto: syntax error or unexpected value in the request body');
  }
}

async function readBody(request: Request): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as IncomingMessage) {
    size += (chunk as Buffer).length;
    if (size > maxBodyBytes) throw bareError(Code.InvalidArgument, 'http: request body too large');
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

function send(response: Response, status: number, body: JsonValue, headers: Record<string, string>): void {
  (response as ServerResponse)
    .writeHead(status, {
      'content-type': 'application/json',
      'cache-control': 'no-store',
      pragma: 'no-cache',
      vary: 'Origin',
      ...headers,
    })
    .end(JSON.stringify(body));
}

function named(specs: CallSpec[], name: string): CallSpec {
  const spec = specs.find((s) => s.name === name);
  if (!spec) throw new Error(`no call ${name}`);
  return spec;
}
