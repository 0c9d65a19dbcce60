import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isAlive } from './is-alive.ts';

const heldHere = new Set<string>();

/**
 * The right to start a server on a folder, held only while it starts; afterwards the running server itself shows that the
 * folder is taken.
 *
 * @returns what gives the right back; undefined when another start is under way.
 */
export async function takeStartLock(dir: string): Promise<(() => Promise<void>) | undefined> {
  if (heldHere.has(dir)) return undefined;
  heldHere.add(dir);
  const file = join(dir, 'starting.lock');
  const release = async () => {
    await rm(file, { force: true });
    heldHere.delete(dir);
  };
  try {
    if (await create(file)) return release;
    const holder = Number(await readFile(file, 'utf8').catch(() => ''));
    // In a container our own number is often that of the process that crashed.
    const stale = holder === process.pid || !(holder > 0 && isAlive(holder));
    if (stale) {
      await rm(file, { force: true });
      if (await create(file)) return release;
    }
  } catch (error) {
    heldHere.delete(dir);
    throw error;
  }
  heldHere.delete(dir);
  return undefined;
}

async function create(file: string): Promise<boolean> {
  try {
    await writeFile(file, String(process.pid), { flag: 'wx', mode: 0o600 });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}
