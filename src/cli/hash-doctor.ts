import { open, readFile } from 'node:fs/promises';
import type { ReadStream } from 'node:tty';
import { PassferryError } from '../errors.ts';
import { type Diagnosis, type DoctorRow, diagnose, type Missing } from '../hashes/doctor.ts';
import { hashReasons } from '../hashes/reasons.ts';
import { cliError, exits } from './exit.ts';
import { firstRow, hashColumn, roundsColumn, saltColumn } from './hash-read.ts';
import { grouped, note, printable, say, sayJson } from './output.ts';
import { askHidden, readPiped } from './password-input.ts';

export interface DoctorCliOptions {
  passwordFile?: string;
  hashColumn?: string;
  saltColumn?: string;
  iterations?: string;
  json?: boolean;
}

/** One row needs no more. Bytes. */
const largest = 1024 * 1024;

/** Exit code 0 when the recipe is found and a target takes it. */
export async function doctor(path: string, options: DoctorCliOptions): Promise<number> {
  const row = await readRow(path, options);
  const password = await readKnown(options.passwordFile);
  const onProgress = (tried: number) => {
    if (process.stderr.isTTY) process.stderr.write(`\r${grouped(tried)} recipes tried `);
  };
  const found = await diagnose(row, password, { onProgress });
  if (process.stderr.isTTY) process.stderr.write('\r\u001b[K');
  if (options.json) sayJson(jsonOf(found));
  else show(found);
  return found.carried ? exits.ok : exits.notInEffect;
}

async function readRow(path: string, options: DoctorCliOptions): Promise<DoctorRow> {
  const text = (await readText(path)).replace(/^\ufeff/, '');
  const fields = await fieldsOf(text);
  const iterations = roundsOf(options.iterations);
  if (!fields) {
    const [hash = '', salt] = text.split(/\r\n|\n|\r/);
    if (hash.trim() === '') throw cliError(exits.usage, `${path} is empty: its first line should be the hash`);
    return { hash: hash.trim(), ...(salt && { salt }), ...(iterations && { iterations }) };
  }
  const names = Object.keys(fields);
  const hashName = options.hashColumn ?? hashColumn(names);
  const saltName = options.saltColumn ?? saltColumn(names);
  const roundsName = roundsColumn(names);
  const hash = hashName === undefined ? undefined : fields[hashName];
  if (hash === undefined) throw cliError(exits.usage, `${path} has no field for the hash; name it with --hash-column`);
  if (saltName !== undefined && fields[saltName] === undefined)
    throw cliError(exits.usage, `${path} has no field ${saltName} for the salt`);
  const salt = saltName === undefined ? undefined : fields[saltName];
  const rounds = iterations ?? (roundsName === undefined ? undefined : roundsOf(fields[roundsName]));
  const others = Object.fromEntries(
    Object.entries(fields).filter(([name]) => ![hashName, saltName, roundsName].includes(name)),
  );
  return { hash, others, ...(salt && { salt }), ...(rounds && { iterations: rounds }) };
}

function roundsOf(text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined;
  if (!/^[1-9]\d{0,7}$/.test(text))
    throw cliError(exits.usage, 'iterations must be a whole number from 1 to 99,999,999');
  return Number(text);
}

/** By name; undefined for a bare hash. A credential of Keycloak is a hash as a whole. */
async function fieldsOf(text: string): Promise<Record<string, string> | undefined> {
  if (/^\s*\{\s*"/.test(text)) {
    let parsed: Record<string, unknown>;
    try {
      parsed = JSON.parse(text) as Record<string, unknown>;
    } catch {
      throw cliError(exits.usage, 'the row is no valid JSON');
    }
    if (['secretData', 'hashedSaltedValue', 'hashIterations', 'custom_password_hash'].some((name) => name in parsed))
      return { hash: JSON.stringify(parsed) };
    const plain = Object.entries(parsed).filter(([, value]) => typeof value === 'string' || typeof value === 'number');
    return Object.fromEntries(plain.map(([name, value]) => [name, String(value)]));
  }
  const [head = '', next] = text.split(/\r\n|\n|\r/);
  if (/^[${]/.test(head) || !next || !/[,;\t|]/.test(head)) return undefined;
  return firstRow(text);
}

async function readText(path: string): Promise<string> {
  try {
    const file = await open(path);
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(largest), 0, largest, 0);
      return buffer.toString('utf8', 0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (thrown) {
    throw cliError(exits.usage, `cannot read ${path} (${(thrown as { code?: string }).code})`);
  }
}

/** Policies do not apply: it is whatever the source once took. */
async function readKnown(path: string | undefined): Promise<string> {
  let bytes: Buffer;
  if (path !== undefined) {
    bytes = await readFile(path).catch((thrown: { code?: string }) => {
      throw cliError(exits.usage, `cannot read ${path} (${thrown.code})`);
    });
    if (bytes.at(-1) === 10) bytes = bytes.subarray(0, bytes.at(-2) === 13 ? -2 : -1);
  } else if (process.stdin.isTTY) bytes = await askHidden(process.stdin as ReadStream, 'The known password: ');
  else bytes = await readPiped(process.stdin);
  if (bytes.length === 0) throw new PassferryError('password_missing');
  if (bytes.length > 1024) throw new PassferryError('password_too_long');
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new PassferryError('password_ill_formed');
  } finally {
    bytes.fill(0);
  }
}

const missingTexts: Record<Missing, string> = {
  password: 'the password: is it the one of this row, and newer than the hash?',
  salt: 'the salt: no column and no part of the hash looks like one. Give the whole row, or --salt-column',
  pepper: 'a secret of the application (pepper): look into its configuration, and put it into the row as a column',
  iterations: 'the number of rounds: give it with --iterations',
  time: 'time: the last recipes were not tried. The number of rounds or the salt would make the search shorter',
};

function jsonOf({ hash, carried, refused, ...rest }: Diagnosis) {
  const why = refused && { reason: refused, text: hashReasons[refused][0], advice: hashReasons[refused][1] };
  const told = carried && {
    kind: carried.kind,
    cost: carried.cost,
    targets: carried.targets,
    encoded: carried.encoded,
  };
  return {
    found: rest.how !== undefined,
    kind: hash.kind,
    ...rest,
    ...(told && { carried: told }),
    ...(why && { refused: why }),
  };
}

function show({ hash, how, carried, refused, missing, tried, ms, complete }: Diagnosis): void {
  const effort = `${grouped(tried)} ${tried === 1 ? 'recipe' : 'recipes'}, ${(ms / 1000).toFixed(1)} s`;
  if (!how) {
    say(`NOT FOUND (${effort}${complete ? '' : ', not all were tried'}); the hash is ${printable(hash.kind)}`);
    if (hash.refused) say(`  ${hashReasons[hash.refused][0]} (${hash.refused})`);
    say('What may be missing:');
    for (const one of missing) say(`  ${missingTexts[one]}`);
    return;
  }
  say(`FOUND (${effort}): ${printable(['password', ...how].join(' → '))}`);
  if (carried) {
    const { v2 } = carried.targets;
    say(
      `  v1: ${carried.targets.v1.takes === 'default' ? 'takes it' : 'no'}; v2: ${v2.takes === 'with-verifier' ? `takes it with the verifier ${v2.verifier}` : v2.takes === 'default' ? 'takes it' : `no (${v2.why})`}`,
    );
    say(`  as the target takes it: ${printable(carried.encoded ?? '')}`);
  } else if (refused) {
    say(`  NO target takes it: ${hashReasons[refused][0]} (${refused})`);
    say(`  what to do: ${hashReasons[refused][1]}`);
  }
  if (carried) note('Inspect the whole file next: passferry hash inspect FILE');
}
