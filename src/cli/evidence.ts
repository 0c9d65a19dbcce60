import { readFile, writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import type { Evidence, EvidenceVerdict } from '../producer/evidence.ts';
import { type ApiClient, type ConnectionOptions, connect, problemOf, type Reply, withConnection } from './client.ts';
import { cliError, exitOf, exits, finish } from './exit.ts';
import { note, printable, say, sayJson } from './output.ts';

interface Options extends ConnectionOptions {
  json?: boolean;
  out?: string;
  verify?: string;
}

/** `passferry imports evidence`: the signed record of an import, and whether one is as it was issued. */
export function addEvidence(imports: Command): void {
  const command = imports
    .command('evidence')
    .description('the signed record of an import: who, when, what came in, what became of it')
    .argument('[id]', 'import id; with --verify it is read from the file')
    .option('--out <file>', 'write it there instead of to standard output')
    .option('--verify <file>', 'ask the server whether this record is as it was issued')
    .option('--json', 'with --verify: print JSON');
  withConnection(command).action((id: string | undefined, options: Options) =>
    finish(() => (options.verify === undefined ? write(id, options) : verify(options.verify, id, options))),
  );
}

const pathOf = (id: string) => `/imports/${encodeURIComponent(id)}/evidence`;

async function write(id: string | undefined, options: Options): Promise<number> {
  if (id === undefined) throw cliError(exits.usage, 'give the id of the import, or --verify FILE');
  const evidence = told(await connect(options).request<Evidence>('GET', pathOf(id)));
  const text = JSON.stringify(evidence, null, 2);
  if (options.out === undefined) say(text);
  else {
    await writeFile(options.out, `${text}\n`).catch((thrown: NodeJS.ErrnoException) => {
      throw cliError(exits.notInEffect, `cannot write ${options.out} (${thrown.code}); give --out another path`);
    });
    note(`written to ${printable(options.out)}; to check it later: passferry imports evidence --verify FILE`);
  }
  if (!evidence.final) note(`the import is ${printable(evidence.state)}: this record is not its last`);
  return exits.ok;
}

const verdicts: Record<EvidenceVerdict, string> = {
  genuine: 'genuine: every value is as it was issued',
  altered: 'ALTERED: this is not what was issued for this import',
  key_unknown: 'UNKNOWN: the key that signed it is not accepted any more, so nobody can tell',
};

async function verify(path: string, id: string | undefined, options: Options): Promise<number> {
  const evidence = await read(path);
  const run = id ?? evidence.run;
  if (typeof run !== 'string') throw cliError(exits.usage, `${path} names no import: it is no record of one`);
  const api: ApiClient = connect(options);
  const reply = await api.request<{ verdict: EvidenceVerdict }>('POST', `${pathOf(run)}:verify`, { json: evidence });
  const answer = told(reply);
  if (options.json) sayJson(answer);
  else
    say(
      `${printable(run)}  ${verdicts[answer.verdict] ?? 'the server says something that this version does not know'}`,
    );
  return answer.verdict === 'genuine' ? exits.ok : exits.notInEffect;
}

async function read(path: string): Promise<{ run?: unknown }> {
  const text = await readFile(path, 'utf8').catch((thrown: NodeJS.ErrnoException) => {
    throw cliError(exits.usage, `cannot read ${path} (${thrown.code})`);
  });
  try {
    const found: unknown = JSON.parse(text);
    if (typeof found === 'object' && found !== null && !Array.isArray(found)) return found;
  } catch {
    // Told below.
  }
  throw cliError(exits.usage, `${path} is no record of an import: it is not a JSON object`);
}

function told<T>(reply: Reply<T>): T {
  if (reply.ok) return reply.body;
  const { code, reason, message } = problemOf(reply);
  throw cliError(exitOf(code), `${message} (${reason})`);
}
