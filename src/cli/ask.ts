import { createInterface } from 'node:readline/promises';

/** One line from whoever sits at the terminal; Ctrl-C and Ctrl-D are an empty one. The question goes to stderr. */
export async function ask(question: string): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  // Ctrl-C and Ctrl-D would leave the question open for ever.
  const closed = new AbortController();
  lines.once('SIGINT', () => closed.abort()).once('close', () => closed.abort());
  const answer = await lines.question(question, { signal: closed.signal }).catch(() => '');
  lines.close();
  return answer;
}
