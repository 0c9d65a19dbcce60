import { readFileSync, statSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { PassferryError } from './errors.ts';
import type { Log } from './log.ts';

export interface Certificate {
  cert: string;
  key: string;
}

/**
 * Certificate and key of the port from their files; undefined when none are named. `follow` hands on what a renewal has written,
 * looked for every `lookMs`; a pair that does not fit together is told and leaves the old one in force. Error: `config_invalid`.
 */
export function followCertificate(
  { PASSFERRY_TLS_CERT_FILE: cert, PASSFERRY_TLS_KEY_FILE: key }: FilesOfCertificate,
  log: Log,
  lookMs = 30_000,
) {
  if (!cert || !key) return undefined;
  let timer: NodeJS.Timeout | undefined;
  const read = (): Certificate => {
    try {
      const pair = { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') };
      createSecureContext(pair);
      return pair;
    } catch (cause) {
      throw new PassferryError('config_invalid', {
        message: `The certificate ${cert} and the key ${key} cannot be read, or do not belong together.`,
        cause,
      });
    }
  };
  const stamp = () => [cert, key].map((path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs).join(' ');
  return {
    read,
    follow(renew: (pair: Certificate) => void) {
      let seen = stamp();
      timer = setInterval(() => {
        const now = stamp();
        if (now === seen) return;
        seen = now;
        try {
          renew(read());
          log.info('the certificate was renewed');
        } catch (err) {
          log.error({ err }, 'the old certificate stays');
        }
      }, lookMs);
      timer.unref();
    },
    stop: () => clearInterval(timer),
  };
}

interface FilesOfCertificate {
  PASSFERRY_TLS_CERT_FILE?: string | undefined;
  PASSFERRY_TLS_KEY_FILE?: string | undefined;
}
