import { spawn } from 'node:child_process';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath, pathToFileURL } from 'node:url';
import ts from 'typescript';
import { beforeAll, describe, expect, test } from 'vitest';
import { tempDir } from './kit/files.ts';
import { spawnNode } from './kit/processes.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const readme = readFileSync(join(root, 'README.md'), 'utf8');
const blocks = (language: string) =>
  [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm'))].map((match) => match[1] as string);

/** npm's own lines are checked by name; all other shell snippets run, in order, as a reader would run them. */
const isNpm = (snippet: string) => snippet.startsWith('npm ');
const snippets = blocks('sh').filter((snippet) => !isNpm(snippet));
const [library = ''] = blocks('ts');

/** `# → text` in a snippet is what it prints; `…` stands for anything. */
function promised(snippet: string): RegExp[] {
  return [...snippet.matchAll(/^# → (.+)$/gm)].map(([, line]) => {
    const parts = (line as string).split('…').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
    return new RegExp(parts.join('.*'));
  });
}

// Looks like a clone in which `npm start` runs: the project's own files, and a data folder of its own.
const clone = tempDir();
for (const name of ['src', 'node_modules', 'package.json', 'tsconfig.json'])
  symlinkSync(join(root, name), join(clone, name));
const data = join(clone, '.passferry');
let url = '';

beforeAll(async () => {
  const up = spawnNode(['src/cli/main.ts', 'up', '--data', data, '--listen', '127.0.0.1:0'], {
    UV_THREADPOOL_SIZE: String(availableParallelism() + 2),
  });
  const line = await up.waitForLine(/^ +HTTP +http:/);
  url = /http:\S+/.exec(line)?.[0] ?? '';
});

/** Runs in the clone with nothing of ours in its environment but `env`. Both streams come back as one text. */
async function run(program: string, args: string[], env: Record<string, string> = {}) {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(PASSFERRY_|VITEST|NODE_ENV)/.test(name));
  const child = spawn(program, args, {
    cwd: clone,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...Object.fromEntries(inherited), ...env },
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const [out, err, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  return { code, printed: out + err };
}

describe('README', () => {
  test('names only scripts that package.json has', () => {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>;
    };
    const named = blocks('sh')
      .filter(isNpm)
      .flatMap((snippet) => [...snippet.matchAll(/npm (?:run )?([a-z]+)/g)].map((match) => match[1] as string))
      .filter((name) => name !== 'ci');
    expect(named).toEqual(['demo', 'test', 'start']);
    for (const name of named) expect(scripts).toHaveProperty(name);
  });

  test('has the snippets that these tests run', () => {
    expect(snippets.length).toBeGreaterThanOrEqual(5);
    expect(blocks('ts')).toHaveLength(1);
    for (const snippet of snippets) expect(promised(snippet), snippet).not.toEqual([]);
  });

  test.each(snippets.map((snippet, i) => [i + 1, snippet] as const))(
    'shell snippet %i runs and prints what it says',
    async (_number, snippet) => {
      const written = snippet.replaceAll('http://127.0.0.1:8080', url);
      const { code, printed } = await run('bash', ['-euc', written]);
      expect(code, printed).toBe(0);
      for (const line of promised(snippet)) expect(printed).toMatch(line);
    },
  );

  test('the rejects it speaks of are there, without passwords', () => {
    const rejects = readFileSync(join(clone, 'people.csv.rejects.csv'), 'utf8');
    expect(rejects).toContain('user_id_missing');
    expect(rejects).not.toContain('Import-pass');
  });

  test('the library snippet passes the type checker', () => {
    const file = join(clone, 'snippet.ts');
    writeFileSync(file, library);
    const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile);
    const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
    const program = ts.createProgram([file], {
      ...options,
      paths: { passferry: [join(root, 'src/index.ts')] },
      typeRoots: [join(root, 'node_modules/@types')],
    });
    const source = program.getSourceFile(file);
    const found = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
    expect(found.map((each) => ts.flattenDiagnosticMessageText(each.messageText, '\n'))).toEqual([]);
  });

  test('the library snippet runs', async () => {
    const settings = readFileSync(join(data, 'redis/redis.conf'), 'utf8');
    const setting = (name: string) => new RegExp(`^${name} "?([^\\s"]+)`, 'm').exec(settings)?.[1];
    writeFileSync(
      join(clone, 'run.ts'),
      library.replace("'passferry'", `'${pathToFileURL(join(root, 'src/index.ts'))}'`),
    );
    const { code, printed } = await run(process.execPath, ['--import', 'tsx', 'run.ts'], {
      PASSFERRY_REDIS_URL: `redis://:${setting('requirepass')}@127.0.0.1:${setting('port')}`,
    });
    expect(code, printed).toBe(0);
    expect(printed).toContain('in effect');
  });
});
