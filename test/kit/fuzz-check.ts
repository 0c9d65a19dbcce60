import type { Input } from './fuzz-inputs.ts';
import type { Reply } from './fuzz-send.ts';
import { hidden, named, told as reasons } from './fuzz-words.ts';

/** What is wrong with an answer; undefined: nothing. */
export function fault(input: Input, { status, head, text }: Reply): string | undefined {
  // A cancel that comes too late shows its job to whoever may see it.
  const tooLate = status === 409 && /"job":\{"id":/.test(text);
  const good = status !== undefined && status < 300;
  const shown = good || tooLate;
  // Whoever sent a key is told it with every answer, as header or trailer.
  const [others, told] = [head, text].map((each) => each.replace(/^idempotency-key: .*$/gim, '')) as [string, string];
  const rest = shown ? withoutNames(told) : told;
  const all = `${others}\n${rest}`;
  if (all.includes(hidden)) return 'what was sent is said again';
  if (others.includes(named) || (!shown && (rest.includes(named) || rest.includes(reasons))))
    return 'a name is said again';
  if (/node_modules|\bat [^\n]*\.[jt]s:\d+/.test(all)) return 'a stack is shown';
  if (failedInside(status, head, text)) return 'failed inside';
  if (/^content-type: application\/(problem\+)?json/im.test(head) && text !== '' && !isJson(text, head))
    return 'JSON that is none';
  if (input.kind === 'socket' && input.mustRefuse) {
    if (good) return 'taken though its framing is ambiguous';
    if (text.includes('HTTP/1.1 ')) return 'answered twice';
  }
  return undefined;
}

/** Whatever somebody took for a user or gave as a reason is shown as one, and a reason is logged. */
export function withoutNames(json: string): string {
  return json.replace(/"(user|userId|reason)":"(?:[^"\\]|\\.)*"/g, '');
}

/** What gRPC itself calls internal: a frame that says it is compressed while no compression was named. */
const asGrpcSays = /received(%20| )compressed(%20| )envelope/;

/** 500, `internal` or `unknown`, however the protocol says it. */
function failedInside(status: number | undefined, head: string, text: string): boolean {
  return (
    status === 500 ||
    status === 502 ||
    /^passferry-reason: internal/im.test(head) ||
    (/grpc-status: *(2|13)\b/i.test(`${head}\n${text}`) && !asGrpcSays.test(`${head}\n${text}`)) ||
    /"code": *("internal"|"unknown"|2\b|13\b)/.test(text)
  );
}

function isJson(text: string, head: string): boolean {
  // In pieces with their lengths: whether they make JSON is not looked at.
  if (/^(transfer|content)-encoding: /im.test(head)) return true;
  try {
    JSON.parse(Buffer.from(text, 'latin1').toString());
    return true;
  } catch {
    return false;
  }
}

/** For a person who reads of a failure. */
export function describeInput(input: Input): string {
  const cut = (bytes: Buffer) =>
    JSON.stringify(bytes.toString('latin1', 0, 300)) + (bytes.length > 300 ? ` (${bytes.length})` : '');
  if (input.kind === 'socket') return `socket ${cut(input.bytes)}`;
  const { over, method, path, headers, body } = input;
  return `${over} ${method} ${path.slice(0, 300)}\n${JSON.stringify(headers).slice(0, 1_000)}\n${cut(body)}`;
}
