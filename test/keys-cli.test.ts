import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { readPrivateKeys, readPublicKeys } from '../src/key-files.ts';
import { keyScene, keysDir } from './kit/key-scene.ts';
import { spawnNode } from './kit/processes.ts';
import { startRedis } from './kit/redis.ts';

const redis = await startRedis();

/** Only this part of the command line: the whole of it loads for seconds. */
const entry = `
  import { Command } from 'commander';
  import { registerKeys } from '${new URL('../src/cli/keys.ts', import.meta.url).href}';
  const program = new Command('passferry');
  registerKeys(program);
  await program.parseAsync(process.argv.slice(1), { from: 'user' });
`;

/** `passferry keys …`, as a process of its own. */
async function keys(args: string[], env: Record<string, string> = {}) {
  const child = spawnNode(['--input-type=module', '-e', entry, '--', 'keys', ...args], env);
  const { code } = await child.exited;
  return { code, text: child.lines().join('\n') };
}

describe('passferry keys', () => {
  let dir: string;
  let old: string;
  const withRedis = () => ({ PASSFERRY_KEYS_DIR: dir, PASSFERRY_REDIS_URL: redis.url, PASSFERRY_NAMESPACE: 'cli' });
  beforeAll(async () => {
    dir = await keysDir();
    old = (readPrivateKeys(dir)[0] as { kid: string }).kid;
    const { produce, ask } = await keyScene(dir, redis, 'cli');
    await ask(produce());
  });

  it('two at once lose nothing, also as two processes, and the files stay private', async () => {
    const both = await Promise.all([keys(['new', dir]), keys(['new'], { PASSFERRY_KEYS_DIR: dir })]);
    expect(both.map(({ code }) => code)).toEqual([0, 0]);
    const pairs = readPrivateKeys(dir);
    expect(pairs).toHaveLength(3);
    for (const { text } of both) expect(pairs.map(({ kid }) => kid)).toContain(text.split(' ')[0]);
    expect(readPublicKeys(dir).filter(({ state }) => state === 'active')).toHaveLength(1);
    for (const name of ['private.json', 'public.json']) expect(statSync(join(dir, name)).mode & 0o777).toBe(0o600);
  });

  it('list tells state, age and what depends on each pair, and no key', async () => {
    const { code, text } = await keys(['list', '--json'], withRedis());
    expect(code).toBe(0);
    const told = JSON.parse(text);
    expect(told.pairs).toHaveLength(3);
    expect(told.pairs).toContainEqual({ kid: old, state: 'accept', madeAt: expect.any(String), dataKeys: 1 });
    expect(told.jobKey).toEqual({ prepared: false });
    expect(text).not.toMatch(/jwk|"d"/);
    const plain = await keys(['list', dir]);
    expect(plain.text).toMatch(new RegExp(`${old}: accept, made \\d{4}-\\S+$`, 'm'));
  });

  it('destroy is refused while a live data key names the pair, or nobody can tell, and says what would be lost', async () => {
    const answers = await Promise.all([
      keys(['destroy', old], withRedis()),
      keys(['destroy', old, dir]),
      keys(['destroy', old], { ...withRedis(), PASSFERRY_REDIS_URL: 'redis://127.0.0.1:1' }),
    ]);
    expect(answers.map(({ code }) => code)).toEqual([1, 1, 1]);
    expect(answers[0]?.text).toMatch(/1 live data key names this pair.*--force.*lost.*\(key_refused\)/);
    expect(answers[1]?.text).toMatch(/PASSFERRY_REDIS_URL.*\(key_refused\)/);
    expect(answers[2]?.text).toMatch(/not reachable.*\(key_refused\)/);
    expect(readPrivateKeys(dir).find(({ kid }) => kid === old)).toHaveProperty('jwk');
  });

  it('destroy goes through unforced where nothing names the pair, and forced where something does', async () => {
    const spare = readPrivateKeys(dir).find(({ kid, state }) => kid !== old && state === 'accept') as { kid: string };
    expect((await keys(['destroy', spare.kid], withRedis())).code).toBe(0);
    const forced = await keys(['destroy', old, '--force'], withRedis());
    expect(forced).toMatchObject({ code: 0, text: expect.stringContaining('is destroyed') });
    for (const read of [readPrivateKeys, readPublicKeys]) {
      expect(read(dir).find(({ kid }) => kid === old)).toEqual({
        ...{ kid: old, state: 'destroyed' },
        ...{ madeAt: expect.any(String), destroyedAt: expect.any(String) },
      });
    }
  });

  it('changes the job key, prepared or at once, and refuses to do it again too soon', async () => {
    const before = JSON.parse(readFileSync(join(dir, 'shared.json'), 'utf8'));
    expect((await keys(['new', '--job-key', '--prepare', dir])).code).toBe(0);
    const { next } = JSON.parse(readFileSync(join(dir, 'shared.json'), 'utf8'));
    expect((await keys(['new', '--job-key', dir])).code).toBe(0);
    expect(JSON.parse(readFileSync(join(dir, 'shared.json'), 'utf8'))).toEqual({
      ...{ current: next, previous: before.current, rotatedAt: expect.any(String) },
    });
    const again = await keys(['new', '--job-key', dir]);
    expect(again).toMatchObject({ code: 1, text: expect.stringContaining('39 days') });
  });

  it('says what is wrong without a directory, with a broken file, and with an unknown or active pair', async () => {
    const active = readPrivateKeys(dir).find(({ state }) => state === 'active') as { kid: string };
    const [none, unknown, last, inUse] = await Promise.all([
      keys(['list']),
      keys(['retire', 'nobody', dir]),
      keys(['retire', active.kid, dir]),
      keys(['destroy', active.kid, '--force', dir]),
    ]);
    expect(none).toMatchObject({ code: 2, text: expect.stringContaining('PASSFERRY_KEYS_DIR') });
    expect(unknown).toMatchObject({ code: 1, text: expect.stringContaining('key_unknown') });
    expect(last).toMatchObject({ code: 1, text: expect.stringContaining('key_refused') });
    expect(inUse).toMatchObject({ code: 1, text: expect.stringContaining('key_refused') });
    writeFileSync(join(dir, 'private.json'), '{"keys": [ "secret-piece');
    const broken = await keys(['new', dir]);
    expect(broken).toMatchObject({ code: 1, text: expect.stringContaining('config_invalid') });
    expect(broken.text).not.toContain('secret-piece');
  });
});
