import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, test } from 'vitest';
import { makeWebhookId } from '../src/ids.ts';
import { hashToken } from '../src/producer/callers.ts';
import { openApiDocument } from '../src/producer/openapi/document.ts';
import {
  type Asker,
  askers,
  expected,
  type Relation,
  type Row,
  relations,
  type Things,
  table,
  webhookUrl,
} from './kit/matrix.ts';
import { type Passferry, startPassferry } from './kit/passferry.ts';
import { waitFor } from './kit/wait.ts';

/** Every route × every permission × own, other, ungranted and unknown organization (P5). */

const orgs: Record<Relation, string> = { own: 'acme', other: 'globex', ungranted: 'initech', unknown: 'nowhere' };
const tokenOf = (asker: Asker | 'owner') => `pf_matrix-${asker}`;
const json = { 'content-type': 'application/json' };
const { publicKey } = generateKeyPairSync('x25519');
const recipient = Buffer.from(JSON.stringify(publicKey.export({ format: 'jwk' }))).toString('base64url');

const endpoints = Object.entries(openApiDocument().paths).flatMap(([path, operations]) =>
  Object.entries(operations).map(([method, operation]) => ({
    name: `${method.toUpperCase()} ${path}`,
    open: 'security' in operation,
  })),
);
const closed = endpoints.filter(({ open }) => !open).map(({ name }) => name);

test('every endpoint of the document that asks for a token has its row in the table, and the other way round', () => {
  expect(Object.keys(table).sort()).toEqual(closed.sort());
});

describe('what is not granted looks like what does not exist', () => {
  let pf: Passferry;
  let things: Record<Relation, Things>;

  /** `null`: no token. The body of a stream is not waited for. */
  async function ask(asker: Asker | 'owner' | null, name: string, { ask: make }: Row, where: Things) {
    const { path, body, headers = {} } = await make(where);
    const response = await fetch(`${pf.url}${path}`, {
      method: name.split(' ')[0] as string,
      headers: { ...(asker && { authorization: `Bearer ${tokenOf(asker)}` }), ...headers },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    if (!response.headers.get('content-type')?.startsWith('text/event-stream')) {
      return { status: response.status, headers: response.headers, text: await response.text() };
    }
    await response.body?.cancel();
    return { status: response.status, headers: response.headers, text: '' };
  }

  const send = (method: string, path: string, body: unknown, headers: Record<string, string> = {}) =>
    pf.send(method, path, body, { as: null, headers: { authorization: `Bearer ${tokenOf('owner')}`, ...headers } });

  async function newWebhook(org: string): Promise<string> {
    const { status, text, body } = await send('POST', '/webhooks', { org, url: webhookUrl }, json);
    expect(status, text).toBe(201);
    return body.id;
  }

  async function thingsIn(org: string): Promise<Things> {
    const user = randomUUID();
    if (org === 'globex') await pf.addV2({ id: user, org, userName: user, password: 'Old-password-1' });
    else await pf.addV1({ id: user, org, password: 'Old-password-1' });
    const inOrg = { 'x-zitadel-orgid': org };
    const set = await send('POST', `/users/${user}/password`, { password: `Aa1-${randomUUID()}` }, inOrg);
    expect(set.status, set.text).toBe(200);
    const csv = { 'content-type': 'text/csv', ...inOrg };
    const run = (await send('POST', '/imports?asOf=now', `userId,password\n${user},Aa1-${randomUUID()}\n,x\n`, csv))
      .body.id;
    const isDone = async () => (await send('GET', `/imports/${run}`, undefined)).body.state === 'completed';
    await waitFor(isDone, { what: 'the import is completed' });
    const generating = await send('POST', `/resets?mode=generate&recipient=${recipient}`, `userId\n${user}\n`, csv);
    expect(generating.status, generating.text).toBe(202);
    const job = set.headers.get('passferry-job') ?? '';
    const webhook = await newWebhook(org);
    return { org, user, job, run, generating: generating.body.id, webhook, newWebhook: () => newWebhook(org) };
  }

  beforeAll(async () => {
    pf = await startPassferry({ serveEnv: { PASSFERRY_WEBHOOK_ALLOW: '127.0.0.0/8' } });
    const file = join(pf.keysDir, 'callers.json');
    const { callers } = JSON.parse(readFileSync(file, 'utf8'));
    const { own, other, ungranted } = orgs;
    const grantsOf = (asker: Asker) => {
      if (asker === 'nothing') return {};
      return asker === 'operate' ? { '*': ['operate'] } : { [own]: [asker], [other]: [asker] };
    };
    const entry = (name: Asker | 'owner', grants: object) => ({
      name,
      home: own,
      tokenSha256: hashToken(tokenOf(name)),
      grants,
    });
    const owner = entry('owner', { [own]: ['admin'], [other]: ['admin'], [ungranted]: ['admin'] });
    writeFileSync(
      file,
      JSON.stringify({ callers: [...callers, owner, ...askers.map((each) => entry(each, grantsOf(each)))] }),
    );
    things = {
      own: await thingsIn(own),
      other: await thingsIn(other),
      ungranted: await thingsIn(ungranted),
      unknown: {
        ...{ org: orgs.unknown, user: randomUUID(), job: `j0-${randomBytes(16).toString('hex')}` },
        ...{ run: 'r0-0123456789abcdefghjkmnpqrs', generating: 'r0-0123456789abcdefghjkmnpqrs' },
        ...{ webhook: makeWebhookId(), newWebhook: async () => makeWebhookId() },
      },
    };
  });

  it.each(closed)('%s', async (name) => {
    const row = table[name] as Row;
    const wrong: string[] = [];
    for (const relation of relations) {
      const { status } = await ask(null, name, row, things[relation]);
      if (status !== 401) wrong.push(`without a token, ${relation}: ${status}, not 401`);
    }
    for (const asker of askers) {
      const answers = new Map<Relation, Awaited<ReturnType<typeof ask>>>();
      for (const relation of relations) {
        const answer = await ask(asker, name, row, things[relation]);
        answers.set(relation, answer);
        const status = expected(row, asker, relation);
        if (answer.status !== status)
          wrong.push(`${asker}, ${relation}: ${answer.status}, not ${status}: ${answer.text}`);
      }
      const [hidden, none] = [answers.get('ungranted'), answers.get('unknown')];
      if (row.unknown === undefined && hidden && none && hidden.status >= 400) {
        const told = ({ headers, text }: typeof hidden) => [
          text.replaceAll(things.ungranted.org, things.unknown.org),
          ...keysOf(headers),
        ];
        if (told(hidden).join() !== told(none).join()) wrong.push(`${asker}: ${told(hidden)} is not ${told(none)}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it.each(endpoints.filter(({ open }) => open))('$name is open', async ({ name }) => {
    const path = name.split(' ')[1]?.replace('{file}', 'start.js') ?? '';
    expect((await fetch(`${pf.url}${path}`)).status).toBe(200);
  });
});

/** Names of headers, and the reason. */
function keysOf(headers: Headers): string[] {
  return [...headers.keys(), headers.get('passferry-reason') ?? ''].sort();
}
