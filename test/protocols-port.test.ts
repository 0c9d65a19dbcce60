import { randomUUID } from 'node:crypto';
import http from 'node:http';
import { join } from 'node:path';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { ManagementService } from '@zitadel/proto/zitadel/management_pb';
import { expect, it } from 'vitest';
import { makeCertificate } from './kit/certificate.ts';
import { newPassword } from './kit/conformance.ts';
import { tempDir } from './kit/files.ts';
import { startPassferry, tokens } from './kit/passferry.ts';
import { connectTransports, rpcClients } from './kit/rpc-clients.ts';
import { waitFor } from './kit/wait.ts';

/** The port of a whole Passferry: with a certificate, under bad requests, at its end. */

const dir = tempDir();
const files = { cert: join(dir, 'cert.pem'), key: join(dir, 'key.pem') };
makeCertificate('passferry', files);
const [pf, secure] = await Promise.all([
  startPassferry(),
  startPassferry({ serveEnv: { PASSFERRY_TLS_CERT_FILE: files.cert, PASSFERRY_TLS_KEY_FILE: files.key } }),
]);
const authorization = `Bearer ${tokens.full}`;
const path = '/zitadel.management.v1.ManagementService/SetHumanPassword';

it.each(Object.keys(connectTransports))('serves %s under a certificate', async (name) => {
  const client = rpcClients.find((each) => each.name === name) as (typeof rpcClients)[number];
  const [user, password] = [randomUUID(), newPassword()];
  await secure.addUser('acme', user);
  expect(secure.url).toMatch(/^https:/);
  expect(await client.set(secure.url, { userId: user, password }, { token: tokens.full })).toMatchObject({ code: 0 });
  expect(await secure.works('acme', user, password)).toBe(true);
});

it('refuses a message over 64 KiB', async () => {
  const client = createClient(ManagementService, createGrpcTransport({ baseUrl: pf.url }));
  const call = client.setHumanPassword({ userId: 'a', password: 'x'.repeat(70_000) }, { headers: { authorization } });
  const error = ConnectError.from(await call.catch((thrown) => thrown));
  expect(error.code).toBe(Code.ResourceExhausted);
  expect(error.rawMessage).not.toContain('xxx');
});

it.each([
  ['an authority that is none', { host: 'a b:c' }, '{}'],
  ['bytes that are no protobuf', { 'content-type': 'application/proto' }, '\xff\xff\xff'],
  [
    'bytes that are not compressed as they say',
    { 'content-type': 'application/proto', 'content-encoding': 'br' },
    '\0',
  ],
  [
    'a frame nested too deep, and more after it',
    { 'content-type': 'application/grpc' },
    `\0\0\0\xea\x60${'#'.repeat(70_000)}`,
  ],
  ['a compression that is none', { 'content-type': 'application/grpc', 'grpc-encoding': 'x' }, '\x01\0\0\0\x01a'],
  ['a frame that is cut', { 'content-type': 'application/grpc-web' }, '\0\0\0\0\x09a'],
  ['bytes that are not UTF-8', { 'content-type': 'application/proto' }, '\x0a\x01a\x12\x02\xc3\x28'],
])('survives %s', async (_, headers, body) => {
  const answer = await new Promise<{ status: number; text: string }>((resolve, reject) => {
    const all = { 'content-type': 'application/json', authorization, ...headers };
    const request = http.request(`${pf.url}${path}`, { method: 'POST', headers: all }, (response) => {
      let text = '';
      response.on('data', (chunk) => {
        text += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    request.on('error', reject);
    request.end(Buffer.from(body, 'latin1'));
  });
  // gRPC says everything with 200.
  expect(answer.status).toBeLessThan(500);
  expect((await pf.get('/healthz')).status).toBe(200);
});

it('tells who still waits at its end which job to ask for, over open HTTP/2 sessions too', async () => {
  pf.sandbox.faults.add({ call: 'SetPassword', fault: { kind: 'latency', ms: 3_000 } });
  const users = [...rpcClients, 'rest'].map(() => randomUUID());
  await Promise.all(users.map((user) => pf.addUser('globex', user)));
  const org = { 'x-zitadel-orgid': 'globex' };
  const waiting = users.map((user, i) => {
    const client = rpcClients[i];
    const password = newPassword();
    return client
      ? client.set(pf.url, { userId: user, password }, { token: tokens.full, headers: org })
      : pf.set('globex', user, password).then(({ status, headers }) => ({ code: status, headers }));
  });
  const jobs = await Promise.all(
    users.map((user) =>
      waitFor(async () => (await pf.get(`/jobs?user=${user}&org=globex`)).body.jobs[0]?.id as string, {
        what: 'each to have its job',
      }),
    ),
  );
  await pf.close();
  const answers = await Promise.all(waiting);
  expect(answers.map(({ code }) => code)).toEqual([...rpcClients.map(() => Code.DeadlineExceeded), 504]);
  expect(answers.map(({ headers }) => headers.get('passferry-job'))).toEqual(jobs);
});
