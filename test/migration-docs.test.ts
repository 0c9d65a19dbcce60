import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { migrationFacts } from '../src/producer/migration/reasons.ts';
import { stageNames } from '../src/stage.ts';
import { tempDir } from './kit/files.ts';
import { spawnNode } from './kit/processes.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const page = readFileSync(join(root, 'docs/migration.md'), 'utf8');
/** In the order of the page: each goes on from where the one before has come to. */
const snippets = [...page.matchAll(/^```sh\n([\s\S]*?)^```/gm)].map(([, snippet]) => snippet as string);
const definition = /^passferry\(\) \{.*\}$/m.exec(page)?.[0] ?? '';

/** `# → text` is what a snippet prints in one line; `…` stands for anything, and spaces for any number of them. */
function promised(snippet: string): RegExp[] {
  return [...snippet.matchAll(/^# → (.+)$/gm)].map(([, line]) => {
    const parts = (line as string).split('…').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
    return new RegExp(parts.join('.*').replace(/ +/g, ' +'));
  });
}

// Looks like a clone in which `npm start` runs.
const clone = tempDir();
for (const name of ['src', 'node_modules', 'package.json', 'tsconfig.json']) {
  symlinkSync(join(root, name), join(clone, name));
}
let sandbox = '';

beforeAll(async () => {
  const data = join(clone, '.passferry');
  const up = spawnNode(['src/cli/main.ts', 'up', '--data', data, '--listen', '127.0.0.1:0'], {
    UV_THREADPOOL_SIZE: String(availableParallelism() + 2),
  });
  const line = await up.waitForLine(/SANDBOX at http:/);
  sandbox = /http:[^\s,]+/.exec(line)?.[0] ?? '';
  await up.waitForLine(/Ctrl-C/);
});

async function run(snippet: string) {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(PASSFERRY_|VITEST|NODE_ENV)/.test(name));
  const written = snippet.replaceAll('http://127.0.0.1:8090', sandbox);
  const child = spawn('bash', ['-euc', `${definition}\n${written}`], {
    cwd: clone,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: Object.fromEntries(inherited),
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const [out, err, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  return { code, printed: `${out}\n${err}` };
}

describe('the runbook, word by word', () => {
  test('has commands at each step, and says what each screen shows', () => {
    expect(definition).not.toBe('');
    expect(snippets.length).toBeGreaterThanOrEqual(12);
    for (const snippet of snippets) expect(promised(snippet), snippet).not.toEqual([]);
  });

  test.each(snippets.map((snippet, i) => [i + 1, snippet] as const))(
    'snippet %i runs and shows what the page says',
    async (_number, snippet) => {
      const { code, printed } = await run(snippet);
      expect(code, printed).toBe(0);
      for (const line of promised(snippet)) expect(printed).toMatch(line);
    },
    400_000,
  );
});

describe('docs/migration.md', () => {
  test('says of each stage where logins go and what the way back costs', () => {
    for (const stage of stageNames) expect(page).toMatch(new RegExp(`^\\| \`${stage}\` \\|(?: [^|]+ \\|){4}$`, 'm'));
  });

  test('has every verdict about a user', () => {
    const [, verdicts = ''] = /^## Verdicts\n([\s\S]*?)^## /m.exec(page) ?? [];
    expect(Object.keys(migrationFacts).filter((reason) => !verdicts.includes(`\`${reason}\``))).toEqual([]);
  });

  test('names only words and options of the command line that there are', () => {
    const source = readdirSync(join(root, 'src/cli')).map((name) => readFileSync(join(root, 'src/cli', name), 'utf8'));
    const all = source.join('\n');
    const spans = [...page.matchAll(/`(passferry [^`]+)`/g)].map(([, span]) => span as string);
    expect(spans.length).toBeGreaterThan(15);
    for (const span of spans) {
      const [, word = '', second] = span.split(' ');
      expect(all, span).toMatch(new RegExp(`command\\('${word}`));
      if (word === 'migrate' && second && /^[a-z]+$/.test(second)) expect(all, span).toContain(`'${second}`);
      for (const [option] of span.matchAll(/--[a-z-]+/g)) expect(all, span).toContain(`'${option}`);
    }
  });

  test('uses none of the words that we do not use', () => {
    const prose = page
      .replace(/```[\s\S]*?```/g, '')
      .replace(/`[^`\n]*`/g, '')
      .replace(/service accounts?/g, '');
    const words = /\b(tasks?|messages?|services?|managers?|contexts?|strateg(y|ies)|repositor(y|ies)|controllers?)\b/gi;
    expect(prose.match(words) ?? []).toEqual([]);
  });
});
