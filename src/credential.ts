import { readFile, stat } from 'node:fs/promises';
import { PassferryError } from './errors.ts';

/** A token that may change while we run. */
export interface Credential {
  get(): Promise<string>;
  /** Reads it again, whatever the file's time says. */
  refresh(): Promise<string>;
}

/** From a file (read again when it changes, and when it is refused) or a fixed value. */
export function credential(source: { file: string } | { value: string }): Credential {
  if ('value' in source) {
    const value = source.value;
    return { get: async () => value, refresh: async () => value };
  }
  const { file } = source;
  let token: string | undefined;
  let stamp = 0;

  async function read(): Promise<string> {
    try {
      const { mtimeMs } = await stat(file);
      if (token === undefined || mtimeMs !== stamp) {
        token = (await readFile(file, 'utf8')).trim();
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
