import { passingHolds, type RunView } from '../run.ts';
import { ask } from './ask.ts';
import { type ApiClient, problemOf } from './client.ts';
import { cliError, exits } from './exit.ts';
import { watch } from './import-watch.ts';
import { counted, grouped, note, printable } from './output.ts';

/** It holds for a reason that only a person ends. */
export const waitsForPerson = ({ state, reason }: RunView) =>
  state === 'holding' && reason !== undefined && !passingHolds.has(reason);

/** What a person can say to an import that holds: a line each. */
export function holdLines({ id, reason, mails }: RunView): string[] {
  const [resume, cancel] = ['resume', 'cancel'].map((verb) => `passferry imports ${verb} ${printable(id)}`);
  if (reason === undefined || passingHolds.has(reason)) return [];
  if (reason !== 'mails_not_allowed') return [`go on: ${resume}`, `give up: ${cancel}`];
  return [
    ...(mails === undefined ? [] : [`${counted(mails, 'mail')} at most would be sent`]),
    `let it send them: ${resume} --mails=allow`,
    `the mail is turned off there: ${resume}`,
    `give up: ${cancel}`,
  ];
}

/**
 * Watches an import to its end, the longest wait, or a hold that waits for a person: nobody may ever come. Whoever sits at a terminal is
 * asked whether mails may be sent.
 */
export async function watchOrAsk(
  api: ApiClient,
  id: string,
  options: { wait?: number | undefined; quiet?: boolean | undefined },
  signal: AbortSignal,
): Promise<RunView> {
  for (;;) {
    const view = await watch(api, id, { ...options, until: waitsForPerson }, signal);
    const asks = view.reason === 'mails_not_allowed' && process.stdin.isTTY && process.stderr.isTTY;
    if (!waitsForPerson(view) || !asks) return view;
    const answer = await ask(`\nLet the backend send up to ${grouped(view.mails ?? 0)} mails to users? [y/N] `);
    if (!/^y(es)?$/i.test(answer.trim())) return view;
    const reply = await api.request('POST', `/imports/${encodeURIComponent(id)}:resume?mails=allow`);
    if (!reply.ok) {
      const { reason, message } = problemOf(reply);
      throw cliError(exits.pending, `it still holds: ${message} (${reason})`);
    }
    note('mails are allowed; it goes on');
  }
}
