import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { PassferryError } from './errors.ts';
import type { SetPasswordData } from './job.ts';
import { Secret } from './secret.ts';

/** A change that the leader has and v1 has not got yet: its hash, sealed, with all that is needed to make it. */
export interface Follow {
  v: 1;
  jobId: string;
  org: string;
  user: string;
  seq: string;
  acceptedAt: number;
  changeRequired: boolean;
  overwriteNewer: boolean;
  /** Key of the sealed hash: that of its job. */
  dataKey: string;
  /** AES-256-GCM, bound to all of the above; base64url. */
  sealed: string;
}

/** Padded, so that the kind of a hash cannot be told from its length. */
const paddedBytes = 256;

export function sealFollow(key: Buffer, data: SetPasswordData, hash: Secret): Follow {
  const { jobId, org, user, seq, acceptedAt, changeRequired, overwriteNewer, dataKey } = data;
  const bare = { v: 1 as const, jobId, org, user, seq, acceptedAt, changeRequired, overwriteNewer, dataKey };
  const bytes = hash.bytes();
  if (bytes.length > paddedBytes - 2) throw new PassferryError('hash_refused');
  const plain = Buffer.alloc(paddedBytes);
  plain.writeUInt16BE(bytes.length, 0);
  bytes.copy(plain, 2);
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(aad(bare));
  const sealed = Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
  plain.fill(0);
  return { ...bare, sealed: sealed.toString('base64url') };
}

/** Stored → what it says; undefined: nothing we could have written. It proves itself when it is opened. */
export function readFollow(stored: string | null): Follow | undefined {
  try {
    const follow = JSON.parse(stored ?? '') as Follow;
    const texts = [follow.jobId, follow.org, follow.user, follow.seq, follow.dataKey, follow.sealed];
    return follow.v === 1 && texts.every((text) => typeof text === 'string') && /^\d{1,17}$/.test(follow.seq)
      ? follow
      : undefined;
  } catch {
    return undefined;
  }
}

/** Error: `sealed_unreadable`: altered, or of another user or change. */
export function openFollow(key: Buffer, { sealed, ...bare }: Follow): Secret {
  const raw = Buffer.from(sealed, 'base64url');
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, raw.subarray(0, 12))
      .setAAD(aad(bare))
      .setAuthTag(raw.subarray(-16));
    const plain = Buffer.concat([decipher.update(raw.subarray(12, -16)), decipher.final()]);
    const hash = Buffer.from(plain.subarray(2, 2 + plain.readUInt16BE(0)));
    plain.fill(0);
    return new Secret(hash);
  } catch (cause) {
    throw new PassferryError('sealed_unreadable', { cause });
  }
}

function aad(bare: Omit<Follow, 'sealed'>): Buffer {
  const { v, dataKey, jobId, org, user, seq, acceptedAt, changeRequired, overwriteNewer } = bare;
  return Buffer.from(
    JSON.stringify(['passferry-follow', v, dataKey, jobId, org, user, seq, acceptedAt, changeRequired, overwriteNewer]),
  );
}
