import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Expected, newPassword, oldPassword, type ParityCase } from './kit/parity-case.ts';
import { parityCases } from './kit/parity-cases.ts';
import { callOver, type ParityAnswer, type Protocol, protocols } from './kit/parity-clients.ts';
import { deviations } from './kit/parity-deviations.ts';
import { callerToken, type ParityWorld, startParityWorlds } from './kit/parity-world.ts';

let worlds: ParityWorld[];
/** What could not be expressed: told at the end. */
const left = new Set<string>();

beforeAll(async () => {
  worlds = await startParityWorlds();
});

describe('the v1 contract is the same on every backend, over every protocol, and that of ZITADEL', () => {
  it.each(parityCases)('$name', async (one) => {
    const answers = await Promise.all(worlds.map((world) => runIn(world, one)));
    expect(answers.flatMap((each) => each.seen)).toEqual(answers.flatMap((each) => each.wanted));
  });
});

interface Line {
  where: string;
  [fact: string]: unknown;
}

async function runIn(world: ParityWorld, one: ParityCase): Promise<{ seen: Line[]; wanted: Line[] }> {
  const why = one.unable?.[world.name];
  if (why !== undefined) {
    left.add(`${world.name}: ${one.name}: ${why}`);
    return { seen: [], wanted: [] };
  }
  const isReference = world.name === 'reference';
  const seen: Line[] = [];
  const wanted: Line[] = [];
  for (const protocol of protocolsOf(one, isReference)) {
    const unique = randomUUID();
    const id = one.id?.(unique) ?? unique;
    const org = one.user?.org ?? 'acme';
    if (one.user !== null) await world.addUser({ org, password: oldPassword, ...one.user, id });
    const fields = one.fields ?? { password: newPassword, noChangeRequired: true };
    const answer = await callOver(protocol, {
      url: world.url,
      user: id,
      initial: one.initial ?? false,
      headers: headersOf(one),
      fields,
      text: one.text?.replaceAll('ID', id),
      rest: { ...one.rest, path: one.rest?.path?.(id) } as { path?: string },
    });
    const expected = isReference ? (one.reference ?? one.expect) : one.expect;
    const where = `${world.name} ${protocol}`;
    const tried = String((one.text === undefined && fields.password) || newPassword);
    seen.push({ where, ...told(answer, one), ...(await effects(world, one, { org, id, tried })) });
    wanted.push({ where, ...wish(expected, protocol, one), ...wishedEffects(expected, one, tried) });
    if (expected === 'set') checkGood(answer, world, org);
    checkHeaders(answer, protocol, isReference, 'idempotency-key' in (one.headers ?? {}));
  }
  return { seen, wanted };
}

function protocolsOf(one: ParityCase, isReference: boolean): Protocol[] {
  // Before v2 ZITADEL has no Connect.
  const there = protocols.filter((each) => !(isReference && each === 'connect'));
  if (one.rest) return ['rest'];
  return one.text === undefined ? there : there.filter((each) => each === 'rest' || each === 'connect');
}

function headersOf({ headers = {} }: ParityCase): Record<string, string> {
  const all = { authorization: `Bearer ${callerToken}`, ...headers };
  const kept = Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== null);
  return Object.fromEntries(kept.map(([name, value]) => [name, value.replace('TOKEN', callerToken)]));
}

/** What the contract fixes of an answer. */
function told({ status, code, id, message, detail }: ParityAnswer, one: ParityCase): object {
  const fixed = one.expect !== 'set' && one.expect.message !== undefined;
  return {
    ...(status !== undefined && { status }),
    ...(!one.bodiless && { code, id }),
    ...(fixed && !one.bodiless && { message, detail }),
  };
}

function wish(expected: Expected, protocol: Protocol, one: ParityCase): object {
  const isHttp = protocol === 'rest' || protocol === 'connect';
  if (expected === 'set') return told({ ...(isHttp && { status: 200 }), code: 0, headers: new Headers() }, one);
  const { status, code, id, message } = expected;
  return told(
    {
      ...(isHttp && { status }),
      code,
      headers: new Headers(),
      ...(id !== undefined && { id }),
      ...(message !== undefined && { message: id ? `${message} (${id})` : message, ...(id && { detail: message }) }),
    },
    one,
  );
}

interface Tried {
  org: string;
  id: string;
  tried: string;
}

async function effects(world: ParityWorld, one: ParityCase, { org, id, tried }: Tried): Promise<object> {
  if (one.user === null || one.user?.machine || one.user?.state === 'deleted') return {};
  return {
    newWorks: tried.includes('\0') || (await world.works(org, id, tried)),
    oldWorks: await world.works(org, id, oldPassword),
    changeRequired: await world.changeRequired(org, id),
  };
}

function wishedEffects(expected: Expected, one: ParityCase, tried: string): object {
  if (one.user === null || one.user?.machine || one.user?.state === 'deleted') return {};
  const isSet = expected === 'set';
  return {
    newWorks: isSet || tried.includes('\0'),
    oldWorks: !isSet || tried === oldPassword,
    changeRequired: isSet && (one.changeRequired ?? false),
  };
}

const rfc3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/;

/** The shape of a good answer, to the key. */
function checkGood({ details }: ParityAnswer, world: ParityWorld, org: string): void {
  // Deviation: our own store knows when it was created.
  const creation = world.name === 'v1-postgres' ? { creationDate: expect.stringMatching(rfc3339) } : {};
  const changeDate = expect.stringMatching(rfc3339);
  expect(details).toEqual({
    sequence: expect.stringMatching(/^[1-9]\d*$/),
    ...creation,
    changeDate,
    resourceOwner: org,
  });
}

function checkHeaders(
  { status, code, message, headers }: ParityAnswer,
  protocol: Protocol,
  isReference: boolean,
  sentKey: boolean,
): void {
  if (protocol === 'rest') {
    expect(headers.get('cache-control')).toBe('no-store');
    expect(headers.get('content-type')).toBe('application/json');
    expect(headers.get('www-authenticate')).toBe(status === 401 ? message : null);
  }
  if (isReference || status === 404 || status === 405) return;
  // Also with an error: after a lost answer the caller can name the request.
  if (code === 0) expect(headers.get('passferry-result')).toBe('set');
  if (protocol === 'rest' && !sentKey) expect(headers.get('idempotency-key')).toMatch(/^pf-/);
}

describe('the list', () => {
  it('is long enough, and says each case once', () => {
    expect(parityCases.length).toBeGreaterThan(60);
    expect(new Set(parityCases.map(({ name }) => name)).size).toBe(parityCases.length);
    for (const line of left) console.info(`not expressible: ${line}`);
  });

  it("has no case that reaches the hasher's 500", () => {
    expect(parityCases.filter(({ expect: here }) => here !== 'set' && here.status >= 500)).toEqual([]);
  });

  it('deviates only where docs/api.md says so, and names it', () => {
    const text = readFileSync(new URL('../docs/api.md', import.meta.url), 'utf8');
    const [, section = ''] = text.split('\n## Deviations from v1\n');
    const rows = [...section.matchAll(/^\| (?!what |---)(.*?) \|.*$/gm)].map((match) => match[1]);
    expect(rows).toEqual(Object.values(deviations));
    for (const { name, reference, deviation } of parityCases) {
      if (reference !== undefined) expect(deviation, name).toBeDefined();
    }
  });
});
