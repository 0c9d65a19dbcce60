import { askAgain } from '../errors.ts';
import { makeIdempotencyKey } from '../ids.ts';
import { errorOfItem, PassferryClientError, record, retryAfterOf, withFacts } from './error.ts';
import { backoff, type Http } from './http.ts';
import { now, type Patience, pause } from './patience.ts';

/** One request of a list. */
export interface ListedPassword {
  user: string;
  password: string;
  /** Default: the client's, else the caller's home. */
  org?: string;
  /** Default true. */
  changeRequired?: boolean;
  /** Default: one made here. */
  idempotencyKey?: string;
  /** Seconds, 1 to 2,592,000. Default 86,400. */
  expiresIn?: number;
}

/** What became of one item. */
export type SentItem =
  | { status: 'accepted'; id: string; idempotencyKey: string; replayed: boolean }
  | { status: 'refused'; idempotencyKey: string; error: PassferryClientError };

/** The word on each item, in the order of the list. */
export interface SentPasswords {
  accepted: number;
  refused: number;
  items: SentItem[];
}

interface Entry {
  index: number;
  item: ListedPassword;
  idempotencyKey: string;
}

const mostItems = 1_000;
/** The server takes 1 MiB. */
const mostBytes = 1_000_000;

/**
 * Sends any number of requests in lists of 1,000, one list after the other, so that the requests of one user keep their order.
 * Each is sent again under its own key while its fault is one that passes. Never throws for what a server says or does:
 * every item has its word.
 */
export async function setPasswords(
  http: Http,
  items: Iterable<ListedPassword>,
  org: string | undefined,
  patience: Patience,
): Promise<SentPasswords> {
  const entries = [...items].map((item, index): Entry => {
    return { index, item, idempotencyKey: item.idempotencyKey ?? makeIdempotencyKey() };
  });
  const told: SentItem[] = [];
  for (const list of lists(entries)) {
    let open = list;
    for (let tries = 0; open.length > 0; tries++) {
      const answered = await sendList(http, open, org, patience);
      for (const [entry, word] of answered) told[entry.index] = word;
      open = again(answered);
      const wait = Math.max(500, backoff(tries), ...answered.map(([, word]) => askedWait(word)));
      if (open.length === 0 || now() + wait >= patience.until) break;
      const stopped = await pause(wait, patience.signal).then(
        () => false,
        () => true,
      );
      if (stopped) break;
    }
  }
  const accepted = told.filter((each) => each.status === 'accepted').length;
  return { accepted, refused: told.length - accepted, items: told };
}

/** One `POST /jobs`. */
async function sendList(http: Http, list: Entry[], org: string | undefined, patience: Patience) {
  const { words, status, retryAfterMs, fault } = await post(http, list, org, patience);
  return list.map((entry, place): [Entry, SentItem] => {
    const { idempotencyKey, item } = entry;
    const word = record(words[place]);
    if (word.status === 'accepted' && typeof word.id === 'string') {
      return [entry, { status: 'accepted', id: word.id, idempotencyKey, replayed: word.replayed === true }];
    }
    const error = word.status === 'refused' ? errorOfItem(word, status, [item.password]) : fault;
    return [
      entry,
      {
        status: 'refused',
        idempotencyKey,
        error: withFacts(error, { idempotencyKey, retryAfterMs: passes(error) ? retryAfterMs : undefined }),
      },
    ];
  });
}

/** The server's words by place; `fault` is for the items that have none. */
async function post(http: Http, list: Entry[], org: string | undefined, patience: Patience) {
  const hasWords = (body: unknown) => Array.isArray(record(body).jobs);
  try {
    if (now() >= patience.until) throw new PassferryClientError('time_over');
    const { status, headers, body } = await http.ask(
      {
        method: 'POST',
        path: '/jobs',
        json: { jobs: list.map((entry) => fieldsOf(entry, org)) },
        // Nothing was accepted, and why stands with each item.
        isAnswer: hasWords,
        secrets: list.map(({ item }) => item.password),
        attemptMs: 30_000,
      },
      patience,
    );
    const words = hasWords(body) ? (record(body).jobs as unknown[]) : [];
    return {
      words,
      status,
      retryAfterMs: retryAfterOf(headers),
      fault: new PassferryClientError('answer_unreadable', { status }),
    };
  } catch (thrown) {
    return { words: [], status: 0, fault: thrown as PassferryClientError };
  }
}

/**
 * What is sent again: refused for a fault that passes, and nothing newer of the same user was accepted after it, which an older
 * password would replace.
 */
function again(answered: [Entry, SentItem][]): Entry[] {
  const newer = new Set<string>();
  return answered
    .toReversed()
    .filter(([{ item }, word]) => {
      if (word.status === 'accepted') newer.add(item.user);
      return word.status === 'refused' && passes(word.error) && !newer.has(item.user);
    })
    .map(([entry]) => entry)
    .toReversed();
}

const askedWait = (word: SentItem) => (word.status === 'refused' && word.error.retryAfterMs) || 0;

function passes({ reason, code }: PassferryClientError): boolean {
  return askAgain.has(reason) || code === 'resource_exhausted' || reason === 'unreachable';
}

function fieldsOf({ item, idempotencyKey }: Entry, org: string | undefined): object {
  const { user, password, changeRequired, expiresIn } = item;
  return { user, password, org: item.org ?? org, changeRequired, expiresIn, idempotencyKey };
}

function* lists(entries: Entry[]): Generator<Entry[]> {
  let list: Entry[] = [];
  let bytes = 0;
  for (const entry of entries) {
    const size = Buffer.byteLength(JSON.stringify(fieldsOf(entry, entry.item.org ?? ''))) + 250;
    if (list.length === mostItems || (list.length > 0 && bytes + size > mostBytes)) {
      yield list;
      list = [];
      bytes = 0;
    }
    list.push(entry);
    bytes += size;
  }
  if (list.length > 0) yield list;
}
