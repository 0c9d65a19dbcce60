import { PassferryError, type Reason } from '../../../errors.ts';
import type { Tuning } from '../../../ledger/run-options.ts';
import { type MigrationMode, migrationModes } from '../../../migration.ts';
import { parseWindow } from '../../../window.ts';
import { checkOrgId } from '../../validate.ts';

type Fields = Record<string, unknown>;

/** What a body asks of a migration. Times are ms since the epoch. */
export interface AskedMigration extends Omit<Tuning, 'rate' | 'concurrency' | 'window'> {
  mode: MigrationMode;
  /** Undefined: all that are granted. */
  organizations?: string[];
  create?: true;
  repair?: true;
  mails?: 'allow';
  rate?: number;
  concurrency?: number;
  window?: string;
  notBefore?: number;
  maxFailures?: number;
  maxLatencyMs?: number;
  expiresInMs: number;
}

const known = new Set([
  ...['mode', 'organizations', 'allGranted', 'create', 'repair', 'mails', 'rate', 'concurrency', 'window'],
  ...['notBefore', 'maxFailures', 'maxLatencyMs', 'expiresIn'],
]);
const tunable = new Set(['rate', 'concurrency', 'window']);
const longestSeconds = 30 * 86_400;
const mostOrgs = 1_000;

/** Body of `POST /migrations`. Errors name the field: `option_unknown`, `field_type`, `options_contradict`, `org_id_invalid`, `expires_invalid`. */
export function parseMigration(body: unknown): AskedMigration {
  const given = objectOf(body, known);
  const mode = (given.mode ?? 'plan') as MigrationMode;
  if (!migrationModes.includes(mode)) throw bad('mode');
  if (given.allGranted !== undefined && given.allGranted !== true) throw bad('allGranted');
  if ((given.organizations === undefined) === (given.allGranted === undefined)) {
    throw new PassferryError('options_contradict', {
      fields: ['organizations', 'allGranted'].map((field) => ({ field, reason: 'options_contradict' as const })),
    });
  }
  const create = flag(given, 'create');
  const repair = flag(given, 'repair');
  if (create && mode === 'reconcile') throw bad('create', 'options_contradict');
  if (repair && mode !== 'reconcile') throw bad('repair', 'options_contradict');
  if (given.mails !== undefined && given.mails !== 'allow') throw bad('mails');
  const notBefore = given.notBefore === undefined ? undefined : Date.parse(text(given.notBefore, 'notBefore'));
  if (notBefore !== undefined && Number.isNaN(notBefore)) throw bad('notBefore');
  const maxFailures = number(given, 'maxFailures', 1, 1_000_000_000, true);
  const maxLatencyMs = number(given, 'maxLatencyMs', 1, 600_000, true);
  const { expiresIn = 3 * 86_400 } = given;
  if (!Number.isInteger(expiresIn) || (expiresIn as number) < 1 || (expiresIn as number) > longestSeconds) {
    throw bad('expiresIn', 'expires_invalid');
  }
  const { rate, concurrency, window } = limits(given, false);
  return {
    mode,
    ...(given.organizations !== undefined && { organizations: orgsOf(given.organizations) }),
    ...(create && { create: true as const }),
    ...(repair && { repair: true as const }),
    ...(given.mails !== undefined && { mails: 'allow' as const }),
    ...(typeof rate === 'number' && { rate }),
    ...(typeof concurrency === 'number' && { concurrency }),
    ...(typeof window === 'string' && { window }),
    ...(notBefore !== undefined && { notBefore }),
    ...(maxFailures !== undefined && { maxFailures }),
    ...(maxLatencyMs !== undefined && { maxLatencyMs }),
    expiresInMs: (expiresIn as number) * 1_000,
  };
}

/** Body of `POST /migrations/{id}:tune`: null takes a limit away. At least one. */
export function parseTuning(body: unknown): Tuning {
  const given = objectOf(body, tunable);
  if (Object.keys(given).length === 0) throw bad('body');
  return limits(given, true);
}

function limits(given: Fields, mayBeNull: boolean): Tuning {
  const tuning: Tuning = {};
  for (const [name, least, most, whole] of [
    ['rate', 0.01, 100_000, false],
    ['concurrency', 1, 10_000, true],
  ] as const) {
    if (mayBeNull && given[name] === null) tuning[name] = null;
    else {
      const value = number(given, name, least, most, whole);
      if (value !== undefined) tuning[name] = value;
    }
  }
  if (mayBeNull && given.window === null) tuning.window = null;
  else if (given.window !== undefined) {
    const window = text(given.window, 'window');
    if (!parseWindow(window)) throw bad('window');
    tuning.window = window;
  }
  return tuning;
}

function objectOf(body: unknown, names: Set<string>): Fields {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw new PassferryError('body_not_object');
  const unknown = Object.keys(body).find((name) => !names.has(name));
  if (unknown !== undefined) throw bad(/^[A-Za-z_-]{1,40}$/.test(unknown) ? unknown : 'body', 'option_unknown');
  return body as Fields;
}

function orgsOf(given: unknown): string[] {
  if (!Array.isArray(given) || given.length === 0 || given.length > mostOrgs) throw bad('organizations');
  given.forEach((org, i) => {
    if (typeof org !== 'string' || org === '*' || checkOrgId(org)) throw bad(`organizations[${i}]`, 'org_id_invalid');
  });
  return [...new Set(given as string[])].sort();
}

function flag(given: Fields, name: string): boolean {
  const value = given[name];
  if (value !== undefined && typeof value !== 'boolean') throw bad(name);
  return value === true;
}

function number(given: Fields, name: string, least: number, most: number, whole: boolean): number | undefined {
  const value = given[name];
  if (value === undefined) return undefined;
  const fits = typeof value === 'number' && value >= least && value <= most && (!whole || Number.isInteger(value));
  if (!fits) throw bad(name);
  return value;
}

function text(value: unknown, name: string): string {
  if (typeof value !== 'string' || value.length > 100) throw bad(name);
  return value;
}

function bad(field: string, reason: Reason = 'field_type'): PassferryError {
  return new PassferryError(reason, { fields: [{ field, reason }] });
}
