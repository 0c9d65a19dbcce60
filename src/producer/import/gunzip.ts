import { createGunzip } from 'node:zlib';
import type { Peekable } from './peekable.ts';
import { fileError } from './reasons.ts';

const mib = 1024 * 1024;
/** A bomb is called one after so much output, in bytes, at more than so many times the input. */
const bomb = { after: 64 * mib, ratio: 1_000 };

/**
 * gzip (one member or several) → what is in it, a chunk at a time; chunks taken from the source are zeroed.
 * @throws gzip_cut, gzip_broken, gzip_bomb; whatever the source throws.
 */
export async function* gunzip(source: Peekable): AsyncGenerator<Buffer> {
  const engine = createGunzip({ chunkSize: 64 * 1024 });
  let input = 0;
  let output = 0;
  let failed: { error: unknown } | undefined;
  let stopped = false;

  const feed = async () => {
    try {
      while (!stopped) {
        const chunk = await source.next();
        if (chunk === undefined) break;
        input += chunk.length;
        await new Promise<void>((resolve) => {
          engine.once('close', resolve);
          engine.write(chunk, () => {
            engine.off('close', resolve);
            resolve();
          });
        });
        chunk.fill(0);
      }
      engine.end();
    } catch (error) {
      failed = { error };
      engine.destroy();
    }
  };

  const feeding = feed();
  try {
    for await (const chunk of engine as AsyncIterable<Buffer>) {
      output += chunk.length;
      if (output > bomb.after && output > bomb.ratio * input) throw fileError('gzip_bomb');
      yield chunk;
    }
    await feeding;
  } catch (error) {
    if (failed) throw failed.error;
    throw translated(error);
  } finally {
    stopped = true;
    engine.destroy();
  }
  // Bytes after the end of the archive are rows that somebody expects.
  if (engine.bytesWritten < input) throw fileError('gzip_broken');
}

function translated(error: unknown): unknown {
  const { code } = error as { code?: string };
  if (code === 'Z_BUF_ERROR') return fileError('gzip_cut');
  return code?.startsWith('Z_') ? fileError('gzip_broken') : error;
}
