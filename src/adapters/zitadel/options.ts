import type { SecureContextOptions } from 'node:tls';
import type { Credential } from '../../credential.ts';
import { PassferryError } from '../../errors.ts';
import type { CallOptions } from './call.ts';

export interface ZitadelOptions {
  /** Base address of ZITADEL, `https://…`; plain `http://` only to this machine. */
  url: string;
  /** Token of a service account with `user.write` and `user.read` where it is to act. */
  credential: Credential;
  /** How long one call may take, ms. Default 20000: their hashing takes a second or more, and their store up to 15. */
  deadlineMs?: number;
  /** Certificates of a private authority, or our own. */
  tls?: SecureContextOptions;
  /** Send passwords in clear over a network. Default false. */
  allowPlaintext?: boolean;
}

/** @throws PassferryError `config_invalid` for an address that is no http(s) URL, holds credentials, or is plain http to another machine. */
export function checkOptions({
  credential,
  deadlineMs = 20_000,
  tls,
  allowPlaintext = false,
  url,
}: ZitadelOptions): CallOptions {
  if (!(deadlineMs > 0)) throw invalid('deadlineMs');
  return { url: checkUrl(url, allowPlaintext), credential, deadlineMs, tls };
}

function checkUrl(text: string, allowPlaintext: boolean): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !['http:', 'https:'].includes(url.protocol) || url.username || url.password) throw invalid('url');
  const local = url.hostname === 'localhost' || url.hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(url.hostname);
  if (url.protocol === 'http:' && !local && !allowPlaintext) throw invalid('url');
  return url;
}

function invalid(field: string): PassferryError {
  return new PassferryError('config_invalid', { scope: 'backend', fields: [{ field, reason: 'config_invalid' }] });
}
