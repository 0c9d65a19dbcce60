import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { PassferryError } from '../errors.ts';
import { duplicatesOf, isRejected, type ParseOptions, parseRows } from '../producer/import/parse.ts';
import { createSeenUsers } from '../producer/import/seen-users.ts';
import type { ImportPlan } from '../producer/import-plan.ts';
import { ask } from './ask.ts';
import type { ApiClient } from './client.ts';
import { cliError, exits } from './exit.ts';
import { type AskOptions, parseOptionsOf } from './import-options.ts';
import { counted, duration, grouped, note, printable } from './output.ts';

/** Rows that are counted one by one; of what is longer the rest is reckoned. */
const mostCounted = 500_000;

/** What a file holds. */
interface Counted {
  rows: number;
  /** Not to be taken, and users who must change the password, among the rows that were counted. */
  bad: number;
  forced: number;
  /** Rows that name a user again, among those; and what becomes of such. */
  repeated: number;
  duplicates: 'last' | 'refuse';
  /** `about`: by the size of the file; `atLeast`: it is packed and longer than was counted. */
  how: 'exact' | 'about' | 'atLeast';
}

/** Reads a file as the server will. Undefined: it cannot be read to its end; the server says so. */
async function countRows(path: string, parse: ParseOptions, { changeRequired, duplicates }: AskOptions) {
  const found: Counted = { rows: 0, bad: 0, forced: 0, repeated: 0, duplicates: 'last', how: 'exact' };
  const seen = createSeenUsers();
  let [byte, packed] = [0, false];
  const onDetected: NonNullable<ParseOptions['onDetected']> = (detected) => {
    packed = detected.compression === 'gzip';
    found.duplicates = duplicatesOf(detected, duplicates);
  };
  try {
    for await (const row of parseRows(createReadStream(path), { ...parse, onDetected })) {
      found.rows++;
      byte = row.byte;
      if (isRejected(row)) found.bad++;
      else {
        row.password.wipe();
        const { userId, email, userName, org = '' } = row;
        if (seen.again(org, userId ?? (email === undefined ? `\0name ${userName}` : `\0email ${email}`)))
          found.repeated++;
        const { changeRequired: own = row.noChangeRequired === undefined ? undefined : !row.noChangeRequired } = row;
        if (own ?? changeRequired ?? !row.hash) found.forced++;
      }
      if (found.rows < mostCounted) continue;
      if (packed) return { ...found, how: 'atLeast' as const };
      const { size } = await stat(path);
      return { ...found, rows: Math.round((found.rows * size) / Math.max(1, byte)), how: 'about' as const };
    }
  } catch (thrown) {
    if (!(thrown instanceof PassferryError)) throw thrown;
    return undefined;
  }
  return found;
}

/** Says what an import would come to, before anything is sent; on stderr. Returns the rows that could be set, where they are known. */
export async function showPlan(
  api: ApiClient,
  path: string | undefined,
  options: AskOptions & { org?: string },
): Promise<number | undefined> {
  const { org, rate, mails, dryRun, hashHere, hashCost } = options;
  const found = path === undefined ? undefined : await countRows(path, parseOptionsOf(options), options);
  const refused = found && found.bad + (found.duplicates === 'refuse' ? found.repeated : 0);
  const rows = found && (found.how === 'exact' ? found.rows - (refused ?? 0) : found.rows);
  if (found) for (const line of countedLines(found)) note(`  ${line}`);
  if (dryRun) return rows;
  const query = new URLSearchParams({
    ...(rows !== undefined && { rows: String(rows) }),
    ...(rate !== undefined && { rate: String(rate) }),
    ...(hashHere && { hashHere: 'true' }),
    ...(hashCost !== undefined && { hashCost: String(hashCost) }),
  });
  const headers: Record<string, string> = org === undefined ? {} : { 'x-zitadel-orgid': org };
  const reply = await api.request<ImportPlan>('GET', `/imports:plan${query.size > 0 ? `?${query}` : ''}`, { headers });
  const plan = reply.ok ? reply.body : undefined;
  note(`  mails: ${mailsText(plan, mails)}`);
  note(`  time: ${plan ? timeText(plan, found?.how === 'atLeast', options.startAt) : 'unknown'}`);
  return rows;
}

function countedLines({ rows, bad, forced, repeated, duplicates, how }: Counted): string[] {
  const about = { exact: '', about: 'about ', atLeast: 'more than ' }[how];
  const refused = bad > 0 ? `, ${grouped(bad)} of them not to be taken` : '';
  return [
    `rows: ${about}${grouped(rows)}${refused}`,
    ...(repeated === 0
      ? []
      : [
          `named again: ${counted(repeated, 'row')}; ${duplicates === 'last' ? 'of each user the last one wins' : 'only the FIRST of each user is taken'}`,
        ]),
    ...(how === 'exact' ? [`change at the next login: ${forced === 0 ? 'nobody' : counted(forced, 'user')}`] : []),
  ];
}

/** Only workers can ask a backend, and they do before the first row. */
function mailsText(plan: ImportPlan | undefined, mails: 'allow' | undefined): string {
  if (mails === 'allow') return 'allowed, where the backend sends them';
  if (plan?.mails === 0) return 'none';
  return 'the backend is asked before the first row; if it would send any the import holds (--mails=allow lets it)';
}

function timeText(plan: ImportPlan, isLonger: boolean, startAt: string | undefined): string {
  const { rowsPerSecond, limitedBy, seconds, coreHours, org, reason, backend } = plan;
  const why = {
    hashing: 'limited by hashing',
    backend_rate: 'the limit of all imports',
    rate: 'as you asked',
  } as const;
  const speed = rowsPerSecond === null ? '' : `${target(backend)} does ${rowsPerSecond.toLocaleString('en-US')}/s`;
  const known = Object.hasOwn(why, limitedBy ?? '') ? `, ${why[limitedBy as keyof typeof why]}` : '';
  if (reason !== undefined) return `unknown, nothing would begin now (${printable(reason)})`;
  if (seconds === null) return speed === '' ? 'unknown until it runs' : `${speed}${known}`;
  const begins = startAt === undefined ? Date.now() : Math.max(Date.now(), Date.parse(startAt));
  const ends = isLonger ? '' : `, ends ${clock(begins + seconds * 1_000)}`;
  const hours = coreHours !== null && coreHours >= 1 ? `, ${grouped(coreHours)} core-hours` : '';
  return `about ${duration(seconds * 1_000)}${isLonger ? ' or more' : ''}${ends} (${speed}${known}${hours}; organization ${printable(org)})`;
}

const target = (backend: ImportPlan['backend']) => (backend === null ? 'the backend' : backend);

/** ms since the epoch → `02:40` by the clock of this machine, with the day when that is another one. */
function clock(ms: number): string {
  const two = (n: number) => String(n).padStart(2, '0');
  const at = new Date(ms);
  const time = `${two(at.getHours())}:${two(at.getMinutes())}`;
  if (at.toDateString() === new Date().toDateString()) return time;
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`;
}

/** Asks whoever sits at the terminal. @throws CliError with exit code 5 unless the answer is yes. */
export async function confirm(path: string, org: string | undefined, rows: number | undefined): Promise<void> {
  const where = org === undefined ? '' : ` in organization ${printable(org)}`;
  const whose = rows === undefined ? 'all users' : counted(rows, 'user');
  const answer = await ask(`Set the passwords of ${whose} in ${printable(path)}${where}? [y/N] `);
  if (!/^y(es)?$/i.test(answer.trim())) throw cliError(exits.canceled, 'cancelled; nothing was sent');
}
