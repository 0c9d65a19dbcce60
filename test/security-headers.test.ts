import type { ServerResponse } from 'node:http';
import http2 from 'node:http2';
import { describe, expect, it } from 'vitest';
import { listen } from '../src/listen.ts';
import { type BrowserOptions, forBrowsers } from '../src/producer/http/browser.ts';
import { atEnd } from './kit/files.ts';
import { startPassferry } from './kit/passferry.ts';

const origin = 'https://app.example.com';
const pf = await startPassferry({ serveEnv: { PASSFERRY_CORS_ORIGINS: origin } });
const closed = await startPassferry();

const data = {
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'x-frame-options': 'DENY',
  'strict-transport-security': null,
};
const call = '/zitadel.management.v1.ManagementService/SetHumanPassword';

describe('every answer', () => {
  it.each([
    ['GET', '/healthz', 200],
    ['GET', '/openapi.json', 200],
    ['GET', '/jobs', 200],
    ['GET', '/jobs/unknown', 404],
    ['GET', '/nothing', 404],
    ['PATCH', '/jobs', 405],
    ['GET', '/%ff', 404],
    ['POST', '/users/nobody/password', 400],
    ['POST', call, 415],
    ['OPTIONS', '/jobs', 405],
  ])('is data that nobody shows in a frame: %s %s', async (method, path, status) => {
    const answer = await closed.send(method, path, undefined);
    expect(answer.status).toBe(status);
    const seen = Object.fromEntries(Object.keys(data).map((name) => [name, answer.headers.get(name)]));
    expect(seen).toEqual(data);
  });

  it('has them over HTTP/2 and with an RPC too', async () => {
    const session = http2.connect(closed.url);
    atEnd(() => session.destroy());
    const headers = { ':method': 'POST', ':path': call, 'content-type': 'application/json' };
    const stream = session.request(headers);
    stream.end('{}');
    const seen = await new Promise<http2.IncomingHttpHeaders>((resolve) => stream.on('response', resolve));
    expect(seen).toMatchObject({ ':status': 401, 'x-content-type-options': 'nosniff', 'x-frame-options': 'DENY' });
  });

  it('is a page under /docs, which may load what is its own', async () => {
    for (const path of ['/docs', '/docs/start.js', '/docs/swagger-ui.css']) {
      const answer = await closed.get(path);
      expect(answer.status).toBe(200);
      expect(answer.headers.get('content-security-policy')).toContain("script-src 'self'");
      expect(answer.headers.get('content-security-policy')).toContain("frame-ancestors 'none'");
      expect(answer.headers.get('x-frame-options')).toBe('DENY');
      expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
    }
  });
});

async function portWith(options: BrowserOptions): Promise<string> {
  const { port, close } = await listen(
    { host: '127.0.0.1', port: 0 },
    forBrowsers((_, response) => (response as ServerResponse).end('{}'), options),
  );
  atEnd(close);
  return `http://127.0.0.1:${port}`;
}

it('says that only TLS is to be used where the port has TLS', async () => {
  const answer = await fetch(await portWith({ tls: true, origins: [] }));
  expect(answer.headers.get('strict-transport-security')).toBe('max-age=31536000');
  expect(
    (await fetch(await portWith({ tls: false, origins: [] }))).headers.get('strict-transport-security'),
  ).toBeNull();
});

const corsOf = (headers: Headers) =>
  Object.fromEntries([...headers].filter(([name]) => name.startsWith('access-control-') || name === 'vary'));
const preflight = (from: string) => ({
  as: null,
  headers: {
    origin: from,
    'access-control-request-method': 'POST',
    'access-control-request-headers': 'authorization,content-type',
  },
});

describe('pages of other origins', () => {
  it('are told nothing unless they are named', async () => {
    const answer = await closed.get('/jobs', { headers: { origin } });
    expect(corsOf(answer.headers)).toEqual({});
    const asked = await closed.send('OPTIONS', '/jobs', undefined, preflight(origin));
    expect(asked.status).toBe(405);
    expect(corsOf(asked.headers)).toEqual({});
  });

  it('may call when they are named, with the headers that are needed and no cookies', async () => {
    const asked = await pf.send('OPTIONS', '/jobs', undefined, preflight(origin));
    expect(asked).toMatchObject({ status: 204, text: '' });
    const cors = corsOf(asked.headers);
    expect(cors).toMatchObject({ 'access-control-allow-origin': origin, vary: 'Origin' });
    for (const name of ['Authorization', 'Content-Type', 'Idempotency-Key', 'X-Grpc-Web', 'x-zitadel-orgid']) {
      expect(cors['access-control-allow-headers']?.split(', ')).toContain(name);
    }
    for (const name of ['GET', 'POST', 'DELETE', 'PUT']) expect(cors['access-control-allow-methods']).toContain(name);
    expect(cors['access-control-allow-credentials']).toBeUndefined();

    const answer = await pf.get('/jobs', { headers: { origin } });
    expect(answer.status).toBe(200);
    expect(corsOf(answer.headers)).toMatchObject({ 'access-control-allow-origin': origin, vary: 'Origin' });
    expect(answer.headers.get('access-control-expose-headers')).toContain('Passferry-Job');
  });

  it('may read errors too', async () => {
    const answer = await pf.get('/jobs', { as: null, headers: { origin } });
    expect(answer.status).toBe(401);
    expect(answer.headers.get('access-control-allow-origin')).toBe(origin);
  });

  it.each(['https://app.example.com.evil.example', 'http://app.example.com', 'https://APP.example.com', 'null'])(
    'may not call as %s when another one is named',
    async (other) => {
      const asked = await pf.send('OPTIONS', '/jobs', undefined, preflight(other));
      expect(asked.status).toBe(405);
      expect(corsOf(asked.headers)).toEqual({ vary: 'Origin' });
      expect(corsOf((await pf.get('/jobs', { headers: { origin: other } })).headers)).toEqual({ vary: 'Origin' });
    },
  );

  it('OPTIONS that asks for nothing answers as any unknown method', async () => {
    expect((await pf.send('OPTIONS', '/jobs', undefined, { headers: { origin } })).status).toBe(405);
  });
});
