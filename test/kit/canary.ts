import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inflateRawSync } from 'node:zlib';
import type { Redis } from 'ioredis';

/** The search for a password where none may be (P4): what to plant, how it may look, where to look. */

/** A random core between characters that every kind of escaping changes. */
export interface Canary {
  core: string;
  password: string;
}

export function makeCanary(core = `Cn9${randomBytes(9).toString('hex')}`): Canary {
  return { core, password: `é"\\/ %${core}&+<'=,` };
}

export const encodings: Record<string, (text: string) => string> = {
  raw: (text) => text,
  base64: (text) => Buffer.from(text).toString('base64'),
  base64url: (text) => Buffer.from(text).toString('base64url'),
  hex: (text) => Buffer.from(text).toString('hex'),
  'upper case hex': (text) => Buffer.from(text).toString('hex').toUpperCase(),
  'bytes as Node prints them': (text) => (Buffer.from(text).toString('hex').match(/../g) ?? []).join(' '),
  'URL-escaped': (text) => encodeURIComponent(text),
  form: (text) => new URLSearchParams({ text }).toString().slice(5),
  'JSON-escaped': (text) => JSON.stringify(text).slice(1, -1),
  'JSON-escaped twice': (text) => JSON.stringify(JSON.stringify(text)).slice(3, -3),
  CSV: (text) => text.replaceAll('"', '""'),
  'base64 within something': (text) => Buffer.from(`{"p":"${text}"}`).toString('base64'),
  'base64 one further': (text) => Buffer.from(`{"pw":"${text}"}`).toString('base64'),
  'base64 two further': (text) => Buffer.from(`{"pwd":"${text}"}`).toString('base64'),
  'UTF-16': (text) => Buffer.from(text, 'utf16le').toString('latin1'),
};

/** Names of the encodings in which the canary stands in a text of bytes (latin1). */
export function find(canary: Canary, text: string): string[] {
  return Object.keys(encodings).filter((name) => needles(canary)[name]?.some((needle) => text.includes(needle)));
}

const known = new Map<string, Record<string, string[]>>();
function needles(canary: Canary): Record<string, string[]> {
  let made = known.get(canary.core);
  if (!made) {
    made = Object.fromEntries(
      Object.entries(encodings).map(([name, encode]) => [
        name,
        // The core alone is also found when its surroundings were encoded together with it.
        [
          bytes(encode(canary.password)),
          ...(name.startsWith('base64') ? inBase64(canary.core) : [encode(canary.core)]),
        ],
      ]),
    );
    known.set(canary.core, made);
  }
  return made;
}

/** The digits that stand for these bytes alone, at each of the three places they can start. */
function inBase64(core: string): string[] {
  return [0, 1, 2].map((before) => {
    const digits = Buffer.from('x'.repeat(before) + core).toString('base64');
    return digits.slice(Math.ceil((before * 8) / 6), Math.floor(((before + core.length) * 8) / 6));
  });
}

/** Text → its UTF-8 bytes, as text: what {@link find} looks at. */
export const bytes = (text: string) => Buffer.from(text).toString('latin1');

/** Everything a reply of Redis holds, as bytes. */
function flat(reply: unknown): string {
  if (Buffer.isBuffer(reply)) return `${reply.toString('latin1')}\n`;
  return Array.isArray(reply) ? reply.map(flat).join('') : `${reply}\n`;
}

const readers: Record<string, (key: Buffer) => [string, ...(string | Buffer)[]]> = {
  string: (key) => ['GET', key],
  hash: (key) => ['HGETALL', key],
  list: (key) => ['LRANGE', key, '0', '-1'],
  set: (key) => ['SMEMBERS', key],
  zset: (key) => ['ZRANGE', key, '0', '-1', 'WITHSCORES'],
  stream: (key) => ['XRANGE', key, '-', '+'],
};

/** All keys and values, the slow log of all commands, the files: place → bytes. */
export async function readRedis(redis: Redis, dir: string): Promise<Record<string, string>> {
  const places: Record<string, string> = { values: '', streams: '' };
  for (const key of (await redis.callBuffer('KEYS', '*')) as Buffer[]) {
    const type = await redis.type(key);
    // A lock or marker of the queue that has ended meanwhile.
    if (type === 'none') continue;
    const reader = readers[type];
    if (!reader) throw new Error(`no reader for the type ${type}`);
    places[type === 'stream' ? 'streams' : 'values'] += flat(key) + flat(await redis.callBuffer(...reader(key)));
    // The open part of a page is deflated: nothing would be found in it as it stands.
    const clear = type === 'hash' ? await redis.hgetBuffer(key, 'clear') : null;
    if (clear) places.values += inflateRawSync(clear).toString('latin1');
  }
  places['slow log'] = flat(await redis.callBuffer('SLOWLOG', 'GET', '-1'));
  await redis.call('SAVE');
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  for (const file of files) places[file.name] = readFileSync(join(file.parentPath, file.name)).toString('latin1');
  return places;
}

const root = fileURLToPath(new URL('../..', import.meta.url));

/** `passferry set` with the password on standard input → exit code and all that it printed. */
export function runSet(user: string, password: string, env: Record<string, string>) {
  const args = ['--import', 'tsx', 'src/cli/main.ts', 'set', user, '--org', 'acme'];
  const child = spawn(process.execPath, args, { cwd: root, env: { ...process.env, ...env } });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (part) => (printed += part.toString('latin1')));
  child.stdin.end(`${password}\n`);
  return new Promise<{ code: number | null; printed: string }>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, printed }));
  });
}
