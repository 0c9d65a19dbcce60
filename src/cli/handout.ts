import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open, readFile, rm } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import type { Command } from 'commander';
import { stringify } from 'csv-stringify/sync';
import { compactDecrypt } from 'jose';
import { neutralized } from '../producer/import/rejects-file.ts';
import type { HandoutLine } from '../producer/resets/handout.ts';
import { type ApiClient, type ConnectionOptions, connect, problemOf, withConnection } from './client.ts';
import { cliError, exits, finish } from './exit.ts';
import { counted, note, printable, say, sayJson } from './output.ts';

/** `passferry handout key|fetch|open`: passwords that a reset has generated, for whoever hands them out. */
export function registerHandout(program: Command): void {
  const handout = program.command('handout').description('generated passwords of a reset: key, fetch, open');

  handout
    .command('key')
    .description(
      'make a key pair here: FILE (private, 0600) and FILE.pub, which is given to passferry reset --recipient',
    )
    .argument('<file>', 'where the private key goes; nothing is overwritten')
    .action((file: string) => finish(() => makeKey(file)));

  const fetched = handout
    .command('fetch')
    .description('fetch the sealed passwords of a reset')
    .argument('<id>', 'its id')
    .argument('<file>', 'where they go (0600)');
  withConnection(fetched).action((id: string, file: string, options: ConnectionOptions) =>
    finish(async () => {
      const n = await fetchHandout(connect(options), id, file);
      say(`${counted(n, 'password')}, sealed: ${printable(file)}`);
      return exits.ok;
    }),
  );

  handout
    .command('open')
    .description('open the sealed passwords here, with the private key: nothing is sent')
    .argument('<file>', 'what was fetched')
    .requiredOption('--key <path>', 'private key: JWK or PEM')
    .option('--out <path>', 'CSV (0600); default: <file>.csv')
    .option('--json', 'print one JSON object')
    .action((file: string, options: OpenOptions) => finish(() => openHandout(file, options)));
}

interface OpenOptions {
  key: string;
  out?: string;
  json?: boolean;
}

async function makeKey(path: string): Promise<number> {
  const { publicKey, privateKey } = generateKeyPairSync('x25519');
  const text = (key: KeyObject) => `${JSON.stringify(key.export({ format: 'jwk' }))}\n`;
  const secret = await create(path);
  await secret.writeFile(text(privateKey));
  await secret.close();
  const open = await create(`${path}.pub`);
  await open.writeFile(text(publicKey));
  await open.close();
  say(`private key: ${printable(path)}`);
  say(`public key: ${printable(path)}.pub`);
  note('Whoever has the private key can read every password that is generated for it; without it nobody can.');
  return exits.ok;
}

/** Sealed passwords of a run → a file (0600); how many. Errors: those of the API, and of the file. */
export async function fetchHandout(api: ApiClient, id: string, path: string): Promise<number> {
  const response = await api.open(`/imports/${encodeURIComponent(id)}/handout`);
  if (!response.ok || !response.body) {
    const body = await response.json().catch(() => undefined);
    const { reason, message } = problemOf({ status: response.status, ok: false, headers: response.headers, body });
    throw cliError(exits.notInEffect, `cannot fetch the handout: ${message} (${reason})`);
  }
  // Fetched again it is the same and more.
  await rm(path, { force: true });
  const file = await create(path);
  let lines = 0;
  try {
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      for (const byte of chunk) if (byte === 10) lines++;
      await file.writeFile(chunk);
    }
  } finally {
    await file.close();
  }
  return lines;
}

async function openHandout(path: string, options: OpenOptions): Promise<number> {
  const key = await readKey(options.key);
  const out = options.out ?? `${path}.csv`;
  const input = createReadStream(path);
  await new Promise<void>((resolve, reject) => {
    input.once('open', () => resolve());
    input.once('error', (thrown: NodeJS.ErrnoException) =>
      reject(cliError(exits.usage, `cannot read ${path} (${thrown.code})`)),
    );
  });
  const file = await create(out);
  let [opened, unreadable] = [0, 0];
  try {
    await file.writeFile(stringify([['userId', 'email', 'userName', 'orgId', 'password']]));
    for await (const text of createInterface({ input })) {
      if (text.trim() === '') continue;
      const row = await openLine(text, key);
      if (!row) unreadable++;
      else {
        opened++;
        const names = [row.userId, row.email, row.userName, row.org].map((each) => neutralized(each ?? ''));
        await file.writeFile(stringify([[...names, row.password]]));
      }
    }
  } finally {
    await file.close();
  }
  if (opened === 0) await rm(out, { force: true });
  if (options.json) sayJson({ opened, unreadable, ...(opened > 0 && { file: out }) });
  else {
    if (unreadable > 0) say(`${counted(unreadable, 'line')} cannot be opened: made for another key, or altered`);
    if (opened > 0)
      say(`${counted(opened, 'password')} IN CLEAR: ${printable(out)}; delete it when they are handed out`);
  }
  return unreadable > 0 || opened === 0 ? exits.notInEffect : exits.ok;
}

/** Undefined: not for this key, or the line names another user than what is sealed in it. */
async function openLine(text: string, key: KeyObject): Promise<(HandoutLine & { password: string }) | undefined> {
  try {
    const line = JSON.parse(text) as HandoutLine;
    const { plaintext } = await compactDecrypt(line.jwe, key);
    const inside = JSON.parse(new TextDecoder().decode(plaintext)) as HandoutLine & { password: string };
    const named = (['userId', 'email', 'userName', 'org'] as const).every(
      (name) => inside[name] === undefined || inside[name] === line[name],
    );
    return named ? { ...line, password: inside.password } : undefined;
  } catch {
    return undefined;
  }
}

async function readKey(path: string): Promise<KeyObject> {
  const text = await readFile(path, 'utf8').catch((thrown: NodeJS.ErrnoException) => {
    throw cliError(exits.usage, `cannot read ${path} (${thrown.code})`);
  });
  try {
    return text.trimStart().startsWith('{')
      ? createPrivateKey({ key: JSON.parse(text), format: 'jwk' })
      : createPrivateKey(text);
  } catch {
    throw cliError(exits.usage, `${path} is no private key (JWK, or PEM without a passphrase)`);
  }
}

/** A new file of our own, 0600. */
async function create(path: string): Promise<FileHandle> {
  return open(path, 'wx', 0o600).catch((thrown: NodeJS.ErrnoException) => {
    const why = thrown.code === 'EEXIST' ? 'it is there already' : thrown.code;
    throw cliError(exits.usage, `cannot write ${path}: ${why}`);
  });
}
