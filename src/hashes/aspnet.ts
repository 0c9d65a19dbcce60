import { fromBase64 } from './bytes.ts';
import type { Found } from './kinds.ts';
import { pbkdf2 } from './pbkdf2.ts';

const digests = ['sha1', 'sha256', 'sha512'];

/** ASP.NET Identity: a base64 blob whose first byte tells the version. v2: fixed; v3: a header of big-endian numbers. */
export function parseAspNet(text: string): Found | undefined {
  if (!/^A[A-Q][A-Za-z0-9+/]+={0,2}$/.test(text)) return undefined;
  const blob = fromBase64(text);
  if (blob?.length === 49 && blob[0] === 0) return v2(blob);
  if (!blob || blob.length < 13 + 16 + 16 || blob[0] !== 1) return undefined;
  const [prf, rounds, saltSize] = [blob.readUInt32BE(1), blob.readUInt32BE(5), blob.readUInt32BE(9)];
  const form = 'ASP.NET Identity v3';
  if (prf > 2 || saltSize > 128) return undefined;
  if (saltSize < 8 || blob.length < 13 + saltSize + 16) return { kind: 'pbkdf2', form, refused: 'hash_length' };
  return pbkdf2(digests[prf], rounds, blob.subarray(13, 13 + saltSize), blob.subarray(13 + saltSize), form);
}

function v2(blob: Buffer): Found {
  return pbkdf2('sha1', 1000, blob.subarray(1, 17), blob.subarray(17), 'ASP.NET Identity v2');
}
