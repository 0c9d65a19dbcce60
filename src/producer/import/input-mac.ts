import { createHmac } from 'node:crypto';
import type { FingerprintKey } from '../../key-files.ts';

/**
 * HMAC-SHA-256 of an input while it arrives: a plain digest of a file with passwords could be guessed at. Under a key of
 * its own, made of the fingerprint key that it names.
 */
export function createInputMac({ id, key }: FingerprintKey) {
  const mac = createHmac('sha256', createHmac('sha256', key).update('passferry-input').digest());
  let bytes = 0;

  return {
    /** The same bytes; each chunk is taken into account before it is handed on, for it is zeroed there. */
    async *over(input: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
      for await (const chunk of input) {
        mac.update(chunk);
        bytes += chunk.length;
        yield chunk;
      }
    },
    bytes: () => bytes,
    /** `hmac-sha256:<id of the key>:<hex>`; once, at the end. */
    text: () => `hmac-sha256:${id}:${mac.digest('hex')}`,
  };
}
