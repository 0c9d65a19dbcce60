import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { beforeAll, describe, expect, it } from 'vitest';
import { makeJobId } from '../src/ids.ts';
import { readJobKey } from '../src/key-files.ts';
import { redisKeys } from '../src/keys.ts';
import { createDivergences } from '../src/ledger/divergence.ts';
import { createHolds } from '../src/ledger/holds.ts';
import { createHeldJobs } from '../src/ledger/quarantine.ts';
import { hashToken } from '../src/producer/callers.ts';
import { openApiDocument } from '../src/producer/openapi/document.ts';
import { findBrowser, visit } from './kit/browser.ts';
import { newPassword } from './kit/conformance.ts';
import { atEnd } from './kit/files.ts';
import { type Document, openApi } from './kit/openapi.ts';
import { type Answer, type Passferry, type RequestOptions, startPassferry } from './kit/passferry.ts';
import { waitFor } from './kit/wait.ts';

const document: Document = JSON.parse(JSON.stringify(openApiDocument()));
const api = openApi(document);
const json = { 'content-type': 'application/json' };

describe('real answers', () => {
  const keys = redisKeys('passferry');
  let pf: Passferry;
  let redis: Redis;
  const seen = new Map<string, Set<number>>();

  beforeAll(async () => {
    const allow = { PASSFERRY_WEBHOOK_ALLOW: '127.0.0.1' };
    pf = await startPassferry({ serveEnv: allow, workEnv: allow });
    redis = new Redis(pf.redis.url);
    atEnd(() => redis.disconnect());
    const file = join(pf.keysDir, 'callers.json');
    const known = JSON.parse(readFileSync(file, 'utf8'));
    const operator = { name: 'operator', home: 'acme', tokenSha256: hashToken('pf_op'), grants: { '*': ['operate'] } };
    writeFileSync(file, JSON.stringify({ callers: [...known.callers, operator] }));
  });

  /** Sends, and compares status, headers and body with the document. */
  async function ask(status: number, method: string, address: string, body?: unknown, more: RequestOptions = {}) {
    return checked(status, method, address, await pf.send(method, address, body, more));
  }

  function checked(status: number, method: string, address: string, answer: Answer): Answer {
    expect(api.differences(method, address, answer), `${method} ${address}\n${answer.text}`).toEqual([]);
    expect(answer.status, answer.text).toBe(status);
    const { id = '' } = api.operationOf(method, address) ?? {};
    seen.set(id, (seen.get(id) ?? new Set()).add(status));
    return answer;
  }

  /** Follows until an event of that type has come. */
  async function follow(address: string, type: string, act: () => Promise<unknown>): Promise<Answer> {
    const { status, headers, body } = await fetch(`${pf.url}${address}`, {
      headers: { authorization: `Bearer ${pf.token}` },
    });
    await act();
    let text = '';
    for await (const part of body?.pipeThrough(new TextDecoderStream()) ?? []) {
      text += part;
      if (text.includes(`event: ${type}\n`) && text.endsWith('\n\n')) break;
    }
    return checked(200, 'GET', address, { status, headers, body: undefined, text });
  }

  const holds = () => createHolds(redis, keys, readJobKey(pf.keysDir));
  const later = { headers: { prefer: 'respond-async' } };
  const asOperator = { as: null, headers: { authorization: 'Bearer pf_op', ...json } };
  async function person(): Promise<string> {
    const user = randomUUID();
    await pf.addUser('acme', user);
    return user;
  }
  const short = (user: string) => `/users/${user}/password`;

  it('of the v1 call are as the document says', async () => {
    for (const path of ['/management/v1/users', '/users']) {
      const address = `${path}/${await person()}/password`;
      await ask(200, 'POST', address, { password: newPassword(), noChangeRequired: true });
      await ask(200, 'POST', `${address}/_initialize`, { password: newPassword() });
      await ask(202, 'POST', address, { password: newPassword() }, later);
      await ask(400, 'POST', address, { password: '' });
      await ask(400, 'POST', `${path}/${randomUUID()}/password`, { password: newPassword() });
      await ask(401, 'POST', address, { password: newPassword() }, { as: null });
      await ask(403, 'POST', address, { password: newPassword() }, { as: 'reader' });
      await ask(403, 'POST', address, { password: newPassword() }, { headers: { 'x-zitadel-orgid': 'nobody' } });
      await ask(413, 'POST', address, { password: 'x'.repeat(70_000) });
      const key = { headers: { 'idempotency-key': randomUUID() } };
      await ask(200, 'POST', address, { password: newPassword() }, key);
      await ask(422, 'POST', address, { password: newPassword() }, key);
    }
    const globex = { as: 'reader', headers: { 'x-zitadel-orgid': 'globex' } } as const;
    await ask(404, 'POST', short('1'), { password: newPassword() }, globex);
    await holds().put('v1', 'test', 'test');
    await ask(504, 'POST', short(await person()), { password: newPassword() }, { headers: { prefer: 'wait=0' } });
    await holds().lift('v1');
  });

  it('of jobs are as the document says', async () => {
    const user = await person();
    await holds().put('v1', 'test', 'test');
    const { id } = (await ask(202, 'POST', short(user), { password: newPassword() }, later)).body;
    const { id: other } = (await ask(202, 'POST', short(await person()), { password: newPassword() }, later)).body;
    const job = `/jobs/${id}`;
    const isHeld = async () => (await ask(200, 'GET', job)).body.waitingFor === 'held';
    await waitFor(isHeld, { what: 'it is held' });
    const tag = (await pf.get(job)).headers.get('etag') ?? '';
    await ask(304, 'GET', job, undefined, { headers: { 'if-none-match': tag } });
    await ask(200, 'GET', job, undefined, { headers: { prefer: 'wait=0' } });
    await ask(400, 'GET', job, undefined, { headers: { prefer: 'wait=soon' } });
    await createHeldJobs(redis, keys).hold('acme', other);
    await ask(200, 'GET', '/jobs?state=quarantined');
    await ask(409, 'DELETE', `/jobs/${other}`);
    const why = { reason: 'test' };
    await ask(403, 'POST', `/jobs/${other}:release`, why, { headers: json });
    await ask(200, 'POST', `/jobs/${other}:drop`, why, { as: 'admin', headers: json });
    await ask(200, 'DELETE', job);
    await ask(200, 'DELETE', job);
    await holds().lift('v1');

    const failed = (await ask(202, 'POST', short(randomUUID()), { password: newPassword() }, later)).body.id;
    await pf.done(failed);
    await ask(200, 'GET', `/jobs/${failed}`);
    await ask(409, 'DELETE', `/jobs/${failed}`);
    await ask(200, 'GET', '/jobs?state=failed&limit=1');
    await ask(200, 'GET', `/jobs?user=${user}`);
    await ask(400, 'GET', '/jobs?state=waiting');
    await ask(400, 'GET', '/jobs?state=failed&cursor=x');
    await ask(404, 'GET', '/jobs?org=other');
    await ask(403, 'POST', `/jobs/${failed}:retry`, undefined, { as: 'reader' });
    await ask(200, 'POST', `/jobs/${failed}:retry`);
    await pf.done(failed);
    await ask(200, 'POST', '/jobs:retry', { reason: 'COMMAND-G8dh3', limit: 1 }, { headers: json });
    await ask(400, 'POST', '/jobs:retry', { limit: 0 }, { headers: json });
    await pf.done(failed);
    await ask(400, 'POST', `/jobs/${failed}:drop`, {}, { headers: json });
    await ask(400, 'POST', `/jobs/${failed}:release`, why, { as: 'admin', headers: json });
    await ask(200, 'POST', `/jobs/${failed}:drop`, why, { headers: json });
    await ask(404, 'GET', '/jobs/j0-00000000000000000000000000000000');
    await ask(410, 'GET', `/jobs/${makeJobId(readJobKey(pf.keysDir).current, 'acme')}`);
    await ask(401, 'GET', job, undefined, { as: null });
  });

  it('of released jobs are as the document says', async () => {
    await holds().put('v1', 'test', 'test');
    const { id } = (await ask(202, 'POST', short(await person()), { password: newPassword() }, later)).body;
    await waitFor(async () => (await pf.get(`/jobs/${id}`)).body.waitingFor === 'held', { what: 'it is held' });
    await createHeldJobs(redis, keys).hold('acme', id);
    await ask(200, 'POST', `/jobs/${id}:release`, { reason: 'test' }, { as: 'admin', headers: json });
    await holds().lift('v1');
  });

  it('of lists of requests are as the document says', async () => {
    const good = { user: await person(), password: newPassword(), idempotencyKey: randomUUID() };
    const bad = { user: await person(), password: 'x'.repeat(80) };
    await ask(202, 'POST', '/jobs', { jobs: [good, bad, { ...good, org: 'nobody' }] }, { headers: json });
    await ask(422, 'POST', '/jobs', { jobs: [bad] }, { headers: json });
    await ask(400, 'POST', '/jobs', { jobs: [] }, { headers: json });
    await ask(400, 'POST', '/jobs', '{', { headers: json });
    await ask(415, 'POST', '/jobs', 'x', { headers: { 'content-type': 'text/plain' } });
    await ask(401, 'POST', '/jobs', { jobs: [good] }, { as: null, headers: json });
  });

  it('of imports are as the document says', async () => {
    const csv = { headers: { 'content-type': 'text/csv' } };
    const lines = ['userId,password', `${await person()},${newPassword()}`, `${randomUUID()},${newPassword()}`, ',x'];
    const { id } = (await ask(202, 'POST', '/imports?asOf=now', `${lines.join('\n')}\n`, csv)).body;
    const completed = async () => (await ask(200, 'GET', `/imports/${id}`)).body.state === 'completed';
    await waitFor(completed, { what: 'the import is completed' });
    expect((await ask(200, 'GET', `/imports/${id}/rejects`)).text.trim().split('\n')).toHaveLength(2);
    await ask(400, 'POST', '/imports?asOf=now', '', csv);
    await ask(415, 'POST', '/imports?asOf=now', 'x', { headers: { 'content-type': 'text/html' } });
    await ask(403, 'POST', '/imports?asOf=now', 'userId,password\n', { as: 'reader', ...csv });
    await ask(404, 'GET', '/imports/r0-0123456789abcdefghjkmnpqrs');
    await ask(422, 'POST', '/imports', `${lines.join('\n')}\n`, csv);
    await ask(400, 'POST', '/imports?asOf=now&rate=x', 'x', csv);
    await ask(200, 'GET', '/imports?limit=1');
    await ask(400, 'GET', '/imports?limit=x');
    const { headers: of } = await ask(200, 'GET', `/imports/${id}`, undefined, { headers: { prefer: 'wait=1' } });
    await ask(304, 'GET', `/imports/${id}`, undefined, { headers: { 'if-none-match': of.get('etag') ?? '' } });
    await ask(200, 'GET', `/imports/${id}/rows/1`);
    await ask(404, 'GET', `/imports/${id}/rows/99`);
    await ask(200, 'GET', `/imports/${id}/rejects?format=csv`);
    await ask(200, 'GET', `/imports/${id}/events`);
    for (const verb of ['pause', 'resume', 'cancel']) await ask(409, 'POST', `/imports/${id}:${verb}`);
    await ask(200, 'POST', `/imports/${id}:retry`);
    await ask(403, 'POST', `/imports/${id}:pause`, undefined, { as: 'reader' });
    const later = `/imports?asOf=now&notBefore=${new Date(Date.now() + 3_600_000).toISOString()}`;
    const standing = (await ask(202, 'POST', later, 'userId,password\nnobody,Aa1-password\n', csv)).body.id;
    for (const verb of ['pause', 'resume', 'cancel']) await ask(200, 'POST', `/imports/${standing}:${verb}`);
    await ask(404, 'GET', '/imports/r0-0123456789abcdefghjkmnpqrs/rejects');
  });

  it('of plans and evidence of imports are as the document says', async () => {
    await ask(200, 'GET', '/imports:plan');
    await ask(200, 'GET', '/imports:plan?rows=200000&rate=5');
    await ask(400, 'GET', '/imports:plan?rows=x');
    await ask(403, 'GET', '/imports:plan', undefined, { as: 'reader' });
    await ask(404, 'GET', '/imports:plan', undefined, { headers: { 'x-zitadel-orgid': 'nobody' } });
    const csv = { headers: { 'content-type': 'text/csv' } };
    const file = `userId,password\n${await person()},${newPassword()}\n`;
    const { id } = (await ask(202, 'POST', '/imports?asOf=now', file, csv)).body;
    await ask(200, 'GET', `/imports/${id}/evidence`);
    await ask(200, 'GET', `/imports/${id}`, undefined, { headers: { prefer: 'wait=20' } });
    const { body: evidence } = await ask(200, 'GET', `/imports/${id}/evidence`);
    expect(evidence.final).toBe(true);
    const verify = `/imports/${id}/evidence:verify`;
    const genuine = await ask(200, 'POST', verify, evidence, { headers: json });
    const altered = await ask(200, 'POST', verify, { ...evidence, caller: 'other' }, { headers: json });
    expect([genuine.body.verdict, altered.body.verdict]).toEqual(['genuine', 'altered']);
    await ask(400, 'POST', verify, '{', { headers: json });
    await ask(413, 'POST', verify, { more: 'x'.repeat(70_000) }, { headers: json });
    await ask(415, 'POST', verify, 'x', { headers: { 'content-type': 'text/plain' } });
    await ask(404, 'GET', '/imports/r0-0123456789abcdefghjkmnpqrs/evidence');
    await ask(401, 'GET', `/imports/${id}/evidence`, undefined, { as: null });
  });

  it('of resets are as the document says', async () => {
    const csv = { headers: { 'content-type': 'text/csv' } };
    const { publicKey } = generateKeyPairSync('x25519');
    const recipient = Buffer.from(JSON.stringify(publicKey.export({ format: 'jwk' }))).toString('base64url');
    const generate = `/resets?mode=generate&recipient=${recipient}`;
    const { id } = (await ask(202, 'POST', generate, `userId\n${await person()}\n`, csv)).body;
    await ask(200, 'GET', `/imports/${id}`, undefined, { headers: { prefer: 'wait=20' } });
    expect((await ask(200, 'GET', `/imports/${id}/handout`)).text.trim().split('\n')).toHaveLength(1);
    await ask(403, 'GET', `/imports/${id}/handout`, undefined, { as: 'reader' });
    await ask(404, 'GET', '/imports/r0-0123456789abcdefghjkmnpqrs/handout');
    const random = (await ask(202, 'POST', '/resets?mode=random', `userId\n${await person()}\n`, csv)).body.id;
    await ask(404, 'GET', `/imports/${random}/handout`);
    await ask(400, 'POST', '/resets?mode=random', 'email\na@example.com\n', csv);
    await ask(400, 'POST', '/resets', 'userId\n1\n', csv);
    await ask(403, 'POST', '/resets?mode=random', 'userId\n1\n', { ...csv, as: 'reader' });
    await ask(415, 'POST', '/resets?mode=random', 'x', { headers: { 'content-type': 'text/html' } });
    await ask(501, 'POST', '/resets?mode=link', 'userId\n1\n', csv);
  });

  it('of events are as the document says', async () => {
    const csv = { headers: { 'content-type': 'text/csv' } };
    const user = await person();
    const { text } = await follow('/events', 'run.completed', async () => {
      await ask(200, 'POST', short(user), { password: newPassword() });
      await ask(202, 'POST', '/imports?asOf=now', `userId,password\n${user},${newPassword()}\n`, csv);
    });
    expect(text).toContain('event: job.completed\n');
    await ask(400, 'GET', '/events?types=x');
    await ask(400, 'GET', '/events', undefined, { headers: { 'last-event-id': 'x' } });
    await ask(401, 'GET', '/events', undefined, { as: null });
    await ask(404, 'GET', '/events', undefined, { headers: { 'x-zitadel-orgid': 'nobody' } });

    for (const of of [user, randomUUID()]) {
      const { id } = (await ask(202, 'POST', short(of), { password: newPassword() }, later)).body;
      const end = await ask(200, 'GET', `/jobs/${id}/events`);
      const known = /^id: (\S+)$/m.exec(end.text)?.[1] ?? '';
      await ask(204, 'GET', `/jobs/${id}/events`, undefined, { headers: { 'last-event-id': known } });
    }
    await ask(404, 'GET', '/jobs/j0-00000000000000000000000000000000/events');
  });

  it('of status, users and the audit are as the document says', async () => {
    const user = await person();
    await ask(200, 'POST', short(user), { password: newPassword() });
    await ask(200, 'GET', '/status');
    const everything = (await ask(200, 'GET', '/status', undefined, asOperator)).body;
    expect(everything.installation.workers).toHaveLength(1);
    await ask(400, 'GET', '/status?org=a&org=b');
    await ask(404, 'GET', '/status?org=nobody');
    expect((await ask(200, 'GET', `/why?user=${user}`)).body.known).toBe(true);
    await ask(200, 'GET', '/why?user=never');
    await ask(400, 'GET', '/why');
    await ask(404, 'GET', '/why?user=1&org=nobody');
    const admin = { as: 'admin' } as const;
    expect((await ask(200, 'GET', '/audit?limit=3', undefined, admin)).body.records).toHaveLength(3);
    await ask(200, 'GET', '/audit', undefined, { ...admin, headers: { accept: 'application/x-ndjson' } });
    await ask(200, 'GET', '/audit?org=*', undefined, asOperator);
    await ask(400, 'GET', '/audit?since=x', undefined, admin);
    await ask(403, 'GET', '/audit');
  });

  it('of holds are as the document says', async () => {
    await ask(200, 'PUT', '/holds/v2', { reason: 'test' }, asOperator);
    await ask(200, 'GET', '/holds', undefined, asOperator);
    await ask(400, 'PUT', '/holds/v2', { reason: '' }, asOperator);
    await ask(404, 'PUT', '/holds/v3', { reason: 'test' }, asOperator);
    await ask(200, 'DELETE', '/holds/v2', {}, asOperator);
    await ask(403, 'GET', '/holds');
  });

  it('of migrations are as the document says', async () => {
    const told = { as: 'admin', headers: json } as const;
    await person();
    const asked = { mode: 'plan', organizations: ['acme'] };
    const { id } = (await ask(202, 'POST', '/migrations', asked, told)).body;
    const one = `/migrations/${id}`;
    await ask(200, 'GET', one, undefined, { as: 'admin', headers: { prefer: 'wait=1' } });
    const over = async () => (await ask(200, 'GET', one, undefined, told)).body.state === 'completed';
    await waitFor(over, { what: 'the end of the plan' });
    const { headers: of } = await ask(200, 'GET', one, undefined, told);
    await ask(304, 'GET', one, undefined, { as: 'admin', headers: { 'if-none-match': of.get('etag') ?? '' } });
    await ask(200, 'GET', '/migrations', undefined, told);
    await ask(400, 'GET', '/migrations?limit=x', undefined, told);
    await ask(200, 'GET', `${one}/rejects`, undefined, told);
    await ask(200, 'GET', `${one}/evidence`, undefined, told);
    for (const verb of ['pause', 'resume', 'cancel']) await ask(409, 'POST', `${one}:${verb}`, {}, told);
    await ask(409, 'POST', `${one}:tune`, { rate: 5 }, told);
    await ask(400, 'POST', `${one}:tune`, { rate: 'x' }, told);
    await ask(400, 'POST', '/migrations', { ...asked, more: 1 }, told);
    await ask(415, 'POST', '/migrations', asked, { as: 'admin' });
    await ask(403, 'POST', '/migrations', asked, { as: 'reader', headers: json });
    await ask(409, 'POST', '/migrations', { ...asked, mode: 'execute' }, told);
    await ask(404, 'GET', '/migrations/r0-0123456789abcdefghjkmnpqrs', undefined, told);
    await ask(401, 'GET', one, undefined, { as: null });
    const paused = { mode: 'reconcile', organizations: ['acme'], window: nextHours() };
    const { id: standing } = (await ask(202, 'POST', '/migrations', paused, told)).body;
    await ask(409, 'POST', '/migrations', paused, told);
    await ask(200, 'POST', `/migrations/${standing}:tune`, { rate: 5, concurrency: null }, told);
    for (const verb of ['pause', 'resume', 'cancel']) {
      await ask(200, 'POST', `/migrations/${standing}:${verb}`, {}, told);
    }
  });

  it('of stages are as the document says', async () => {
    const told = { as: 'admin', headers: json } as const;
    const one = '/stages/acme';
    await ask(200, 'GET', '/stages', undefined, asOperator);
    await ask(200, 'GET', '/stages');
    await ask(400, 'GET', '/stages?cursor=a&cursor=b');
    await ask(200, 'GET', one);
    await ask(404, 'GET', '/stages/other');
    await ask(403, 'GET', '/stages/*');
    await ask(200, 'GET', `${one}:plan?stage=dual-v1`);
    await ask(400, 'GET', `${one}:plan?stage=v9`);
    await ask(403, 'PUT', one, { stage: 'v1' }, { as: 'reader', headers: json });
    await ask(400, 'PUT', one, { stage: 'v9' }, told);
    await ask(409, 'PUT', one, { stage: 'dual-v2' }, told);
    await ask(409, 'PUT', one, { stage: 'v1', version: 9 }, told);
    await ask(200, 'PUT', one, { stage: 'v1', reason: 'test' }, told);
    await ask(200, 'PUT', one, { stage: 'dual-v1', force: true, reason: 'test' }, told);
    await ask(200, 'PUT', one, { stage: 'v1' }, told);
    const at = { org: 'acme', user: 'behind' };
    const divergences = createDivergences(redis, keys);
    await divergences.note(at, { follower: 'v2', seq: '1', tries: 1, cause: 'no_hash' }, 600_000);
    await ask(200, 'GET', '/divergence');
    await ask(400, 'GET', '/divergence?cursor=x');
    await ask(404, 'GET', '/divergence?org=other');
    await ask(200, 'GET', '/status');
    await ask(200, 'GET', '/why?user=behind');
    await ask(200, 'POST', '/divergence:redrive', { cause: 'no_hash' }, told);
    await ask(403, 'POST', '/divergence:redrive', {}, { as: 'reader', headers: json });
    await ask(400, 'POST', '/divergence:redrive', { org: 'a\nb' }, told);
    await divergences.settle(at, '9999999999999999');
  });

  it('of webhooks are as the document says', async () => {
    const admin = { as: 'admin' } as const;
    const told = { as: 'admin', headers: json } as const;
    // Nobody listens there.
    const { id } = (await ask(201, 'POST', '/webhooks', { url: 'http://127.0.0.1:9/' }, told)).body;
    const one = `/webhooks/${id}`;
    await ask(200, 'GET', '/webhooks', undefined, admin);
    await ask(200, 'GET', one, undefined, admin);
    await ask(202, 'POST', `${one}:test`, undefined, admin);
    await ask(200, 'POST', `${one}:rotate`, undefined, admin);
    await ask(200, 'POST', `${one}:replay`, { since: new Date().toISOString() }, told);
    await ask(200, 'POST', `${one}:disable`, { reason: 'test' }, told);
    await ask(409, 'POST', `${one}:replay`, { since: new Date().toISOString() }, told);
    await ask(200, 'POST', `${one}:enable`, undefined, admin);
    await ask(200, 'GET', `${one}/deliveries`, undefined, admin);
    await ask(400, 'POST', '/webhooks', { url: 'https://10.0.0.1/' }, told);
    await ask(403, 'GET', '/webhooks');
    await ask(404, 'GET', one);
    await ask(204, 'DELETE', one, undefined, admin);
  });

  it('of health and documents are as the document says', async () => {
    for (const address of ['/healthz', '/readyz', '/docs', '/docs/start.js', '/docs/swagger-ui.css']) {
      await ask(200, 'GET', address, undefined, { as: null });
    }
    const served = await ask(200, 'GET', '/openapi.json', undefined, { as: null });
    expect(served.body).toEqual(document);
    await ask(404, 'GET', '/docs/index.html', undefined, { as: null });
  });

  it('were seen of every operation', () => {
    const all = Object.values(document.paths as Document).flatMap((operations) =>
      Object.values(operations as Document),
    );
    const unseen = all.map((each) => (each as Document).operationId).filter((id) => !seen.has(id));
    expect(unseen).toEqual([]);
  });

  it('make a page that asks nobody else', async () => {
    const page = await fetch(`${pf.url}/docs`);
    const policy = page.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'; script-src 'self'; style-src 'self';");
    expect(policy).not.toMatch(/unsafe|https?:|\*/);
    const html = await page.text();
    expect(html.match(/<script(?! src="docs\/[\w.-]+"><\/script>)|<style| style=| on\w+=|https?:/g)).toBeNull();
    for (const [, link] of html.matchAll(/(?:src|href)="([^"]+)"/g)) {
      expect((await fetch(new URL(link as string, page.url))).status, link).toBe(200);
    }

    const browser = findBrowser();
    if (!browser) return console.log('no chromium here: the page was only looked at by fetch');
    const seen = await visit(browser, `${pf.url}/docs`);
    expect(seen.dom.match(/class="opblock-summary-path"/g)).toHaveLength(
      Object.values(document.paths).flatMap((operations) => Object.keys(operations as object)).length,
    );
    expect(seen.console).toEqual([]);
    expect(seen.requests).toContain(`${pf.url}/openapi.json`);
    expect(seen.requests.filter((url) => new URL(url).origin !== pf.url)).toEqual([]);
    expect(seen.screenshot.length).toBeGreaterThan(20_000);
  });
});

/** Hours of which none is now. */
function nextHours(): string {
  const at = (ms: number) => new Date(Date.now() + ms).toISOString().slice(11, 16);
  return `${at(6 * 3_600_000)}-${at(7 * 3_600_000)}`;
}
