import { PassferryError } from '../../errors.ts';
import type { PageRow } from '../../page.ts';
import type { ResetKind, ResetMode, RunOptions, RunView } from '../../run.ts';
import type { Secret } from '../../secret.ts';
import type { ImportAsker } from '../import/import.ts';
import { createSeenUsers } from '../import/seen-users.ts';
import { checkName as checkUserName } from '../import/user-name.ts';
import type { Producer } from '../producer.ts';
import { checkOrgId, checkUserId } from '../validate.ts';
import { type DetectedList, type ListRow, readList } from './list.ts';
import { makePassword } from './password.ts';
import type { Recipient } from './recipient.ts';

/** What is asked of a reset. */
export type ResetChoices = Pick<
  RunOptions,
  'dryRun' | 'maxFailures' | 'mails' | 'notBefore' | 'rate' | 'concurrency'
> & {
  mode: ResetMode;
  by: ResetKind;
  /** Of `random` and `generate`: the user must choose another one at the next login. */
  changeRequired: boolean;
  endSessions: boolean;
  /** Of `generate`: whom the passwords are sealed to. */
  recipient?: Recipient;
};

/**
 * Takes a list of users while it arrives, as an import takes a file, and makes the passwords here: what is stored is a run like any other.
 * The same list under the same key goes on where a cut upload stopped; rows that are stored keep the passwords they have. Errors: those of
 * the file, `idempotency_key_reused`, `accept_unknown`, `run_ended`.
 */
export async function resetUsers(
  producer: Producer,
  asker: ImportAsker & { idempotencyKey: string },
  file: AsyncIterable<Buffer>,
  how: { choices: ResetChoices; expiresInMs: number },
): Promise<RunView> {
  const { choices } = how;
  const { caller, org } = asker;
  const id = await producer.runId(caller, org, asker.idempotencyKey);
  const seen = createSeenUsers();
  let detected: DetectedList | undefined;
  let writer: Awaited<ReturnType<Producer['openRun']>> | undefined;
  // Opened at the first row: a list that cannot be read leaves no run behind.
  const opened = () =>
    producer.openRun({
      ...{ id, caller, org, options: optionsOf(detected as DetectedList, choices) },
      expiresInMs: how.expiresInMs,
    });
  const rows = readList(file, choices.by, (found) => {
    detected = found;
  });
  try {
    for await (const listed of rows) {
      const row = toRow(listed, asker, choices);
      if (row.refused === undefined && seen.again(row.org ?? org, nameOf(row) as string)) {
        // Two rows would be two mails, or a password that was handed out and does not work.
        Object.assign(row, { refused: 'user_repeated', field: fields[choices.by] });
      }
      const password = row.refused === undefined ? await passwordFor(row, org, choices) : undefined;
      writer ??= await opened();
      await writer.add(row, password);
    }
    writer ??= await opened();
    await writer.flush();
  } catch (error) {
    await writer?.discard();
    throw error instanceof PassferryError && error.reason === 'redis_down'
      ? new PassferryError('accept_unknown', { scope: 'backend', cause: error })
      : error;
  }
  await producer.runs.closeInput(id, writer.pages(), { content: `sha256:${writer.content()}` });
  const view = await producer.runs.view(id);
  if (!view) throw new PassferryError('accept_unknown', { scope: 'backend' });
  return view;
}

const fields: Record<ResetKind, string> = { id: 'userId', email: 'email', username: 'userName' };

/** What a row names its user by: an id, or what is looked up. */
const nameOf = ({ user, find }: PageRow) => user ?? (find && ('email' in find ? find.email : find.userName));

// Excel: 1.04133E+17.
const rounded = /^\s*[+-]?(?:\d+[.,]\d+E[+-]?\d+|\d+E\+\d+)\s*$/i;

function toRow(listed: ListRow, asker: ImportAsker, { by, mode, changeRequired }: ResetChoices): PageRow {
  const { line, byte } = listed;
  const refuse = (refused: string, field?: string): PageRow => ({ line, byte, refused, ...(field && { field }) });
  if ('reason' in listed) return refuse(listed.reason, listed.field);
  const { name, org: orgValue } = listed;
  const reason = typeof name === 'string' ? checkName(by, name) : 'user_id_not_text';
  if (reason) return refuse(reason, fields[by]);
  if (typeof orgValue !== 'string') return refuse('org_id_not_text', 'orgId');
  if (orgValue !== '' && checkOrgId(orgValue)) return refuse('org_id_invalid', 'orgId');
  const org = orgValue === '' ? asker.org : orgValue;
  const text = name as string;
  const named: Pick<PageRow, 'user' | 'find'> =
    by === 'id' ? { user: text } : { find: by === 'email' ? { email: text.toLowerCase() } : { userName: text } };
  if (!asker.mayImport(org)) return { line, byte, ...named, refused: 'org_not_granted', field: 'orgId' };
  return {
    ...{ line, byte },
    ...named,
    ...(org !== asker.org && { org }),
    ...(changeRequired && mode !== 'link' && { changeRequired }),
    ...(asker.isAdmin(org) && { admin: true }),
  };
}

function checkName(by: ResetKind, name: string): string | undefined {
  if (by !== 'id') return checkUserName(by, name);
  if (name === '') return 'user_id_missing';
  return rounded.test(name) ? 'user_id_e_notation' : checkUserId(name);
}

/** Nobody learns it, or only whoever can open the handout. */
async function passwordFor(
  row: PageRow,
  runOrg: string,
  { mode, recipient }: ResetChoices,
): Promise<Secret | undefined> {
  if (mode === 'link') return undefined;
  const password = makePassword();
  if (mode === 'generate' && recipient) {
    const { user, find, org = runOrg } = row;
    // With the user inside: nobody can put one password in another's place.
    const about = { ...(user !== undefined && { userId: user }), ...find, org };
    const text = Buffer.from(JSON.stringify(about));
    const sealed = Buffer.concat([
      text.subarray(0, -1),
      Buffer.from(',"password":"'),
      password.bytes(),
      Buffer.from('"}'),
    ]);
    row.handout = await recipient.seal(sealed);
  }
  return password;
}

/** What is stored of it, and compared with what is asked under the same key later: the same words in the same order. */
function optionsOf({ columns, ...found }: DetectedList, choices: ResetChoices): RunOptions {
  const { mode, by, changeRequired, endSessions, recipient, ...rest } = choices;
  return {
    ...found,
    ...{ map: columns, kept: [columns.userId, ...(columns.orgId === undefined ? [] : [columns.orgId])] },
    reset: {
      ...{ mode, by },
      ...(endSessions && { endSessions: true as const }),
      ...(recipient && { recipient: recipient.thumbprint }),
    },
    ...{ changeRequired: changeRequired && mode !== 'link', overwriteNewer: false },
    ...rest,
  };
}
