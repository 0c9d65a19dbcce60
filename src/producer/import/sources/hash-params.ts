import { fileError } from '../reasons.ts';
import { firebaseAlgorithms } from './firebase-hash.ts';
import { type Fields, objectIn } from './source.ts';

/** The most that a file with them may have, bytes. */
export const hashParamsLimit = 16 * 1024;

/** Whole numbers among them, and the most that is believed: costs are bounded again where hashes are read. */
const numbers = ['rounds', 'memCost', 'blockSize', 'parallelization'];
const needed: Record<string, readonly string[]> = {
  PBKDF_SHA1: ['rounds'],
  PBKDF2_SHA256: ['rounds'],
  STANDARD_SCRYPT: ['memCost', 'blockSize', 'parallelization'],
};

/**
 * How a project hashes → its parameters by their names in one spelling (`mem_cost` is `memCost`). JSON, also below `hash_config`, or
 * the text that the console of Firebase shows. A signer key is not kept: nothing here could use it. Error: `hash_params_invalid`.
 */
export function parseHashParams(text: string): Fields {
  const all = objectIn(text) ?? shown(text);
  const given = objectIn(all?.hash_config) ?? objectIn(all?.hashConfig) ?? all;
  if (!given || text.length > hashParamsLimit) throw fileError('hash_params_invalid');
  const found: Fields = {};
  for (const [name, value] of Object.entries(given)) {
    const camel = name.replaceAll(/[_-]([a-z])/gi, (_, letter: string) => letter.toUpperCase());
    if (camel === 'algorithm' || camel === 'hashAlgo') {
      const plain = String(value).toUpperCase().replaceAll('-', '_');
      found.algorithm = plain === 'PBKDF2_SHA1' ? 'PBKDF_SHA1' : plain;
    } else if (numbers.includes(camel)) found[camel] = Number(value);
    else if (camel === 'id' && typeof value === 'string') found.id = value;
    else if (camel === 'passwordHashOrder' || camel === 'hashInputOrder') found.passwordHashOrder = String(value);
  }
  const algorithm = found.algorithm as string;
  // Of directories: nothing else is needed.
  const named = found.id !== undefined;
  const bad = [
    ...(firebaseAlgorithms.includes(algorithm) || (algorithm === undefined && named) ? [] : ['algorithm']),
    ...numbers.filter((name) => !isCount(found[name], needed[algorithm]?.includes(name) ?? false)),
  ];
  if (bad.length === 0) return found;
  throw fileError('hash_params_invalid', { fields: bad.map((field) => ({ field, reason: 'hash_params_invalid' })) });
}

const isCount = (value: unknown, must: boolean) =>
  value === undefined ? !must : Number.isSafeInteger(value) && (value as number) > 0;

/** `hash_config { algorithm: SCRYPT, rounds: 8, … }`, a line each. */
function shown(text: string): Fields | undefined {
  const pairs = [...text.matchAll(/^[ \t]*(\w{1,40})[ \t]*:[ \t]*"?([^\s,"{}]{1,400})"?,?[ \t]*\r?$/gm)];
  return pairs.length === 0 ? undefined : Object.fromEntries(pairs.map(([, name, value]) => [name, value]));
}
