import { execFileSync } from 'node:child_process';
import { readFileSync, renameSync } from 'node:fs';

/** A self-signed certificate for this machine under `name`, written where the files are; returns it as PEM. */
export function makeCertificate(name: string, files: { cert: string; key: string }): string {
  const [cert, key] = [`${files.cert}.${name}`, `${files.key}.${name}`];
  const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  execFileSync('openssl', ['req', '-x509', ...kind, ...subject, '-keyout', key, '-out', cert], { stdio: 'ignore' });
  renameSync(cert, files.cert);
  renameSync(key, files.key);
  return readFileSync(files.cert, 'utf8');
}
