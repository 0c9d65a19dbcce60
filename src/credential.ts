import { readFile, stat } from 'node:fs/promises';
import { PassferryError } from './errors.ts';

/** A token that may change while we run. */
export interface Credential {
  get(): Promise<string>;
  /** Reads it again, whatever the file's time says. */
  refresh(): Promise<string>;
}

/** What fits into a header: visible ASCII. */
const tokenForm = /^[!-~]+$/;

/**
 * From a file (white space around it cut off; read again when it changes, and when it is refused) or a fixed value. A file
 * that cannot be used leaves the last token in force.
 *
 * @throws PassferryError `config_invalid` for a value that is no token; later `backend_unauthenticated` (scope `backend`) while
 * no token was ever read.
 */
export function credential(source: { file: string } | { value: string }): Credential {
  if ('value' in source) {
    const value = source.value.trim();
    if (!tokenForm.test(value)) throw new PassferryError('config_invalid', { scope: 'backend' });
    return { get: async () => value, refresh: async () => value };
  }
  const { file } = source;
  let token: string | undefined;
  let stamp = 0;

  async function read(): Promise<string> {
    try {
      const { mtimeMs } = await stat(file);
      if (token === undefined || mtimeMs !== stamp) {
        const text = (await readFile(file, 'utf8')).trim();
        // half written, or no token at all
        if (!tokenForm.test(text)) throw new Error('no token in the file');
        token = text;
        stamp = mtimeMs;
      }
      return token;
    } catch (cause) {
      if (token !== undefined) return token;
      throw new PassferryError('backend_unauthenticated', { scope: 'backend', cause });
    }
  }

  return {
    get: read,
    async refresh() {
      stamp = 0;
      return read();
    },
  };
}
