import { cors as rpc } from '@connectrpc/connect';
import type { Listener } from '../../listen.ts';

/** Headers of every answer: it is data, is shown in no frame, and takes nobody's address along. */
const always = {
  'x-content-type-options': 'nosniff',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'x-frame-options': 'DENY',
};

const sent = [
  'Authorization',
  'Idempotency-Key',
  'If-None-Match',
  'Last-Event-ID',
  'Passferry-Expires-In',
  'Passferry-Overwrite-Newer',
  'Prefer',
  'x-zitadel-orgid',
];
const read = [
  'ETag',
  'Idempotency-Key',
  'Idempotency-Replayed',
  'Link',
  'Location',
  'Passferry-Expires',
  'Passferry-Job',
  'Passferry-Reason',
  'Passferry-Result',
  'Preference-Applied',
  'RateLimit',
  'RateLimit-Policy',
  'Retry-After',
];
const preflight = {
  'access-control-allow-methods': 'GET, HEAD, POST, PUT, DELETE',
  'access-control-allow-headers': [...sent, ...rpc.allowedHeaders].join(', '),
  'access-control-max-age': '7200',
};

export interface BrowserOptions {
  /** The port speaks TLS: browsers are told to use nothing else. */
  tls: boolean;
  /** Origins whose pages may call, exactly as browsers send them. None: no word about it in any answer. */
  origins: string[];
}

/** What browsers are told, whatever protocol is spoken and whoever answers. */
export function forBrowsers(listener: Listener, { tls, origins }: BrowserOptions): Listener {
  const headers = { ...always, ...(tls && { 'strict-transport-security': 'max-age=31536000' }) };
  const allowed = new Set(origins);
  return (request, response) => {
    const set = (more: Record<string, string>) => {
      for (const [name, value] of Object.entries(more)) response.setHeader(name, value);
    };
    set(headers);
    if (allowed.size === 0) return listener(request, response);
    set({ vary: 'Origin' });
    const { origin } = request.headers;
    if (origin === undefined || !allowed.has(origin)) return listener(request, response);
    set({ 'access-control-allow-origin': origin });
    if (request.method === 'OPTIONS' && request.headers['access-control-request-method'] !== undefined) {
      set(preflight);
      request.resume();
      response.statusCode = 204;
      response.end();
      return;
    }
    set({ 'access-control-expose-headers': [...read, ...rpc.exposedHeaders].join(', ') });
    listener(request, response);
  };
}
