import { createHash } from 'node:crypto';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { z } from 'zod';
import { PassferryError } from '../errors.ts';
import { replaceKeyFile, withLock } from '../key-files/store.ts';
import { parseQuota, quotaForm } from '../quota.ts';

export const permissions = ['set', 'import', 'import-hash', 'migrate', 'read', 'admin', 'operate'] as const;
export type Permission = (typeof permissions)[number];

/** Names of callers in the file. */
export const callerName = /^[\w.-]{1,64}$/;

/** SHA-256 of the token, hex. */
const tokenHash = z.string().regex(/^[0-9a-f]{64}$/);

/** A day (its first moment in UTC) or a moment. */
const moment = z
  .string()
  .refine(
    (text) =>
      /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d))?$/.test(text) &&
      !Number.isNaN(Date.parse(text)),
    { message: 'must be a date such as 2027-01-31 or 2027-01-31T12:00:00Z' },
  );

const storedCaller = z
  .strictObject({
    name: z.string().regex(callerName),
    tokenSha256: tokenHash,
    home: z.string().min(1).max(200),
    grants: z.record(z.string().min(1).max(200), z.array(z.enum(permissions)).min(1)),
    /** Instead of what holds for all. As written, since the file is written back. */
    limits: z
      .strictObject({
        rate: z
          .string()
          .refine((text) => parseQuota(text) !== undefined, { message: quotaForm })
          .exactOptional(),
        concurrency: z.int().min(1).max(100_000).exactOptional(),
      })
      .exactOptional(),
    /** From then on none of its tokens counts. */
    expiresAt: moment.exactOptional(),
    /** Tokens from before a rotation, until they end too. */
    previous: z.array(z.strictObject({ tokenSha256: tokenHash, expiresAt: moment })).exactOptional(),
  })
  .refine(
    ({ grants }) =>
      Object.entries(grants).every(([org, list]) =>
        org === '*' ? list.every((p) => p === 'operate') : !list.includes('operate'),
      ),
    { message: 'operate goes with the organization * and nothing else does', path: ['grants'] },
  );

const callersFile = z.strictObject({ callers: z.array(storedCaller) });

/** A caller as the callers file has it. */
export type StoredCaller = z.infer<typeof storedCaller>;

export function hashToken(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

/** Error: `config_invalid`, which names file and place and echoes no value. */
export function readCallersFile(path: string): StoredCaller[] {
  let parsed: ReturnType<typeof callersFile.safeParse>;
  try {
    parsed = callersFile.safeParse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (cause) {
    throw new PassferryError('config_invalid', { message: `The callers file ${path} cannot be read as JSON.`, cause });
  }
  if (!parsed.success) {
    throw new PassferryError('config_invalid', {
      message: `The callers file ${path} has errors: ${placesOf(parsed.error)}`,
    });
  }
  return parsed.data.callers;
}

/** Where a file is wrong and why; zod's texts quote no value, only names of fields that it does not know. */
export function placesOf({ issues }: z.ZodError): string {
  return issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; ');
}

/**
 * Changes the callers file in one step (0600), one writer at a time: what `change` leaves in the list is stored, unless it
 * throws. A file with an error is never replaced. A link is followed, so that it goes on pointing there.
 *
 * @param create makes the file when there is none. Default false.
 * Errors: `config_invalid` (the file, or what it would become), `caller_refused` (another writer stays).
 */
export async function changeCallersFile<T>(
  path: string,
  change: (callers: StoredCaller[]) => T,
  create = false,
): Promise<T> {
  const file = existsSync(path) ? realpathSync(path) : resolve(path);
  return withLock(`${file}.lock`, { what: 'these callers', refused: 'caller_refused' }, () => {
    const callers = create && !existsSync(file) ? [] : readCallersFile(file);
    const result = change(callers);
    const checked = callersFile.safeParse({ callers });
    if (!checked.success) {
      throw new PassferryError('config_invalid', {
        message: `The callers file would have errors: ${placesOf(checked.error)}`,
      });
    }
    replaceKeyFile(dirname(file), basename(file), { callers });
    return result;
  });
}
