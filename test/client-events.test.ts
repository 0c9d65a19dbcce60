import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import ts from 'typescript';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Client, Event, Reset } from '../src/client/index.ts';
import { type ClientScene, startClientScene } from './kit/client-scene.ts';
import { spawnNode } from './kit/processes.ts';
import { waitFor } from './kit/wait.ts';

let scene: ClientScene;
let client: Client;
let proxy: ClientScene['proxy'];
let newUser: ClientScene['newUser'];

beforeAll(async () => {
  scene = await startClientScene();
  ({ client, newUser, proxy } = scene);
});
afterEach(() => scene.restore());

/** Reads until the condition holds of what was read so far. */
async function readUntil<T>(events: AsyncIterable<T>, enough: (found: T[]) => boolean): Promise<T[]> {
  const found: T[] = [];
  for await (const event of events) {
    found.push(event);
    if (enough(found)) break;
  }
  return found;
}

describe('events', () => {
  /** Streams that were opened by {@link watched}; from then on nothing is missed. */
  let opened = 0;
  const watched = () =>
    scene.clientOf(scene.passferry.token, {
      fetch: async (...request: Parameters<typeof fetch>) => {
        const response = await fetch(...request);
        if (response.ok && String(request[0]).includes('/events')) opened++;
        return response;
      },
    });
  beforeEach(() => {
    opened = 0;
  });

  test('are told as they happen, and over cuts without a gap or a repeat', async () => {
    const user = await newUser();
    const stopped = new AbortController();
    const found: (Event | Reset)[] = [];
    const reading = (async () => {
      for await (const event of watched().events({ user, signal: stopped.signal })) found.push(event);
    })();
    await waitFor(() => opened > 0, { what: 'the stream is open' });
    const ids: string[] = [];
    for (let i = 0; i < 4; i++) {
      const sent = await client.setPassword({ user, password: `New-password-${i}`, wait: true });
      ids.push(sent.id);
      if (i % 2 === 0) await waitFor(() => found.length > i, { what: `event ${i}` });
      // The stream too; every other event comes while it is away.
      proxy.cut();
      await proxy.restore();
    }
    await waitFor(() => found.length >= 4, { what: 'four events' });
    stopped.abort();
    await reading;
    expect(found.map((event) => 'job' in event && event.job)).toEqual(ids);
    expect(found[0]).toMatchObject({ type: 'job.completed', org: 'acme', user, result: 'set', inEffect: true });

    const [first] = found as Event[];
    const rest = await readUntil(client.events({ user, after: (first as Event).id }), (all) => all.length === 3);
    expect(rest).toEqual(found.slice(1));
  });

  test('are filtered by type', async () => {
    const user = await newUser();
    const events = watched().events({ types: ['job.failed'] });
    const first = events.next();
    await waitFor(() => opened > 0, { what: 'the stream is open' });
    await client.setPassword({ user, password: 'New-password-1', wait: true });
    const failed = await client.setPassword({ user: 'nobody', password: 'New-password-2', wait: true });
    expect(await first).toMatchObject({ value: { type: 'job.failed', job: failed.id, reason: 'COMMAND-G8dh3' } });
    await events.return(undefined);
  });

  test('that are not kept any more are told as a reset', async () => {
    await client.setPassword({ user: await newUser(), password: 'New-password-1', wait: true });
    const sent = await client.setPassword({ user: await newUser(), password: 'New-password-1', wait: true });
    await scene.redis.xtrim(scene.keys.events, 'MAXLEN', 1);
    const found = await readUntil(client.events({ after: '1-0' }), (all) => all.length === 2);
    expect(found).toMatchObject([{ type: 'reset' }, { type: 'job.completed', job: sent.id }]);
    const { id = '' } = found[0] as Reset;
    const again = await readUntil(client.events({ after: id }), (all) => all.some((event) => 'job' in event));
    expect(again.at(-1)).toEqual(found[1]);
  });

  test('end with an error where trying again cannot help', async () => {
    await expect(scene.clientOf('pf_wrong').events().next()).rejects.toMatchObject({ status: 401 });
  });
});

describe('passferry events', () => {
  const cli = (args: string[], token: string = scene.passferry.token) =>
    spawnNode(['src/cli/main.ts', 'events', '--url', scene.passferry.url, ...args], { PASSFERRY_TOKEN: token });

  test('prints a line each until it is stopped, and where to go on', async () => {
    const user = await newUser();
    await client.setPassword({ user, password: 'New-password-1', wait: true });
    const failed = await client.setPassword({ user: 'nobody-here', password: 'New-password-2', wait: true });
    const following = cli(['--after', '0-0']);
    const line = await following.waitForLine(/nobody-here/);
    expect(line).toMatch(/^\S+Z {2}job\.failed {2}nobody-here \(organization acme\): NOT set: COMMAND-G8dh3 {2}j0-/);
    expect(line).toContain(failed.id);
    expect(following.lines().join('\n')).toContain(`${user} (organization acme): set`);
    following.term();
    expect(await following.exited).toEqual({ code: 0, signal: null });
    await following.waitForLine(/^to go on from here: passferry events --after \d+-\d+$/);
  });

  test('prints JSON, filtered', async () => {
    const user = await newUser();
    await client.setPassword({ user, password: 'New-password-1', wait: true });
    const following = cli(['--after', '0-0', '--json', '--types', 'job.completed', '--user', user]);
    const line = await following.waitForLine(/"job"/);
    expect(JSON.parse(line)).toMatchObject({ type: 'job.completed', user, result: 'set' });
    following.term();
    await following.exited;
  });

  test('says what is wrong in one line', async () => {
    const refused = cli([], 'pf_wrong');
    expect((await refused.exited).code).toBe(1);
    expect(refused.lines()).toEqual([expect.stringMatching(/^passferry: .*\(AUTH-\w+\)$/)]);
    const wrong = cli(['--types', 'job.lost']);
    expect((await wrong.exited).code).toBe(2);
  });
});

describe('docs/api.md', () => {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const page = readFileSync(join(root, 'docs/api.md'), 'utf8');
  const [, snippet = ''] = /\n## Client library\n[\s\S]*?^```ts\n([\s\S]*?)^```/m.exec(page) ?? [];
  const index = join(root, 'src/client/index.ts');

  beforeAll(() => writeFileSync(join(scene.dir, 'package.json'), '{"type":"module"}'));

  test('the snippet of the client library passes the type checker', () => {
    const file = join(scene.dir, 'snippet.ts');
    writeFileSync(file, snippet);
    const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile);
    const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
    const paths = { 'passferry/client': [index] };
    const program = ts.createProgram([file], { ...options, paths, typeRoots: [join(root, 'node_modules/@types')] });
    const source = program.getSourceFile(file);
    const found = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
    expect(found.map((each) => ts.flattenDiagnosticMessageText(each.messageText, '\n'))).toEqual([]);
  });

  test('the snippet of the client library runs', async () => {
    for (const user of ['100000000000000001', '100000000000000002']) await scene.passferry.addUser('acme', user);
    const file = join(scene.dir, 'run.ts');
    writeFileSync(file, snippet.replace("'passferry/client'", `'${pathToFileURL(index)}'`));
    const running = spawnNode([file], { PASSFERRY_URL: scene.passferry.url, PASSFERRY_TOKEN: scene.passferry.token });
    expect(await running.exited, running.lines().join('\n')).toMatchObject({ code: 0 });
    expect(running.lines()).toEqual([
      ...[expect.stringMatching(/^j0-\w+ in effect$/), '1 set', expect.stringMatching(/^\d+-\d+ job\./)],
    ]);
  });
});
