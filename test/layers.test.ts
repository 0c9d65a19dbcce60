import { readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, test } from 'vitest';

/** The import rule: who may see whom, and which third party lives where. */

type Layer =
  | 'vocabulary'
  | 'tools'
  | 'embedded'
  | 'adapters'
  | 'producer'
  | 'worker'
  | 'sandbox'
  | 'client'
  | 'cli'
  | 'entry';

const layerPatterns: [Layer, RegExp][] = [
  ['vocabulary', /^(errors|secret|job|keys|ids|event|run|stage|migration)\.ts$/],
  [
    'tools',
    /^(seal|signature|page|row-outcome|redis|redis-check|within|listen|certificate|key-files|key-files\/[\w-]+|config|config\/[\w-]+|quota|client-address|log|metrics|admin|version|trace|outgoing|zitadel-ids|window|credential|follow|under|hashes\/[\w-]+|ledger\/[\w-]+)\.ts$/,
  ],
  ['entry', /^(index|work|serve|quarantine-process)\.ts$/],
  ...(['embedded', 'adapters', 'producer', 'worker', 'sandbox', 'client', 'cli'] as const).map(
    (name): [Layer, RegExp] => [name, new RegExp(`^${name}/`)],
  ),
];

const entries: Layer[] = ['entry', 'cli'];

/** Layer → the layers it may import; entries compose, so they see everything but the sandbox. */
const sees: Record<Layer, Layer[]> = {
  vocabulary: ['vocabulary'],
  tools: ['vocabulary', 'tools'],
  embedded: ['vocabulary', 'embedded'],
  adapters: ['vocabulary', 'tools', 'adapters'],
  producer: ['vocabulary', 'tools', 'producer'],
  worker: ['vocabulary', 'tools', 'worker', 'adapters'],
  sandbox: ['vocabulary', 'tools', 'sandbox'],
  client: ['vocabulary', 'client'],
  entry: ['vocabulary', 'tools', 'producer', 'worker', 'adapters', 'embedded', 'entry'],
  cli: ['vocabulary', 'tools', 'producer', 'worker', 'adapters', 'embedded', 'entry', 'sandbox', 'client', 'cli'],
};

/** Package → the files that may import it; `values`: types are free. */
const confined: { name: RegExp; only: RegExp; values?: true }[] = [
  {
    name: /^bullmq$/,
    only: /^(producer\/(producer|events)|worker\/(worker|quarantine|failed|deliver|feed|rows|job-run))\.ts$/,
  },
  { name: /^ioredis$/, only: /^redis\.ts$/, values: true },
  { name: /^@node-rs\/bcrypt$/, only: /^(adapters\/v1-postgres|sandbox|hashes)\// },
  { name: /^hash-wasm$/, only: /^hashes\// },
  { name: /^@zitadel\/proto(\/|$)/, only: /^(adapters|sandbox|producer\/rpc)\// },
  { name: /^pino$/, only: /^log\.ts$/ },
  { name: /^openid-client$/, only: /^producer\/oidc\// },
  { name: /^prom-client$/, only: /^metrics\.ts$/ },
  { name: /^eventsource-parser$/, only: /^client\/events\.ts$/ },
  {
    name: /^zod$/,
    only: /^(config|config\/values|adapters\/v1-postgres\/mapping|producer\/callers-file|producer\/oidc\/[\w-]+|producer\/openapi\/[\w-]+)\.ts$/,
  },
];

/** Looking for programs of this machine is its business: PATH and the name of a binary. */
const readsPath = /^embedded\/(find-program|redis)\.ts$/;

function layerOf(file: string): Layer | undefined {
  return layerPatterns.find(([, pattern]) => pattern.test(file))?.[0];
}

/** `file` relative to src → everything it does that it may not, as `src/file:line what`. */
function violations(file: string, text: string): string[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const layer = layerOf(file);
  const found: string[] = [];
  const report = (node: ts.Node | number, what: string) => {
    const at = typeof node === 'number' ? node : node.getStart(source);
    found.push(`src/${file}:${source.getLineAndCharacterOfPosition(at).line + 1} ${what}`);
  };
  if (!layer) report(0, 'belongs to no layer: name it in test/layers.test.ts');

  for (const { 0: word, index } of text.matchAll(/deduplication|waitUntilFinished/g)) report(index, `uses ${word}`);

  let bullmq = false;
  function imported(node: ts.Node, specifier: string, typeOnly: boolean): void {
    if (specifier === 'bullmq') bullmq = true;
    if (specifier.startsWith('.')) {
      const target = posix.join(posix.dirname(file), specifier);
      if (layer) checkOwn(node, layer, target);
      return;
    }
    for (const { name, only, values } of confined) {
      if (name.test(specifier) && !only.test(file) && !(values && typeOnly)) report(node, `imports ${specifier}`);
    }
    if (/^(node:)?process$/.test(specifier)) report(node, 'imports process: the environment is for entries');
  }

  function checkOwn(node: ts.Node, from: Layer, target: string): void {
    const to = layerOf(target);
    if (!to) report(node, `imports ${target}, which belongs to no layer`);
    else if (!sees[from].includes(to)) report(node, `${from} imports ${to} (${target})`);
    else if (to === 'adapters' && from === 'worker' && target !== 'adapters/port.ts') {
      report(node, `reaches past adapters/port (${target})`);
    } else if (to === 'adapters' && from === 'adapters') {
      const [mine, theirs] = [folderOf(file), folderOf(target)];
      if (theirs && mine !== theirs) report(node, `one adapter imports another (${target})`);
    }
  }

  function visit(node: ts.Node): void {
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
      imported(node, node.moduleSpecifier.text, isTypeOnly(node));
    } else if (ts.isExportDeclaration(node) && node.moduleSpecifier && ts.isStringLiteral(node.moduleSpecifier)) {
      imported(node, node.moduleSpecifier.text, node.isTypeOnly);
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [target] = node.arguments;
      if (target && ts.isStringLiteral(target)) imported(node, target.text, false);
      else report(node, 'imports something that only running it tells');
    } else if (ts.isPropertyAccessExpression(node) && node.getText(source).replace(/\s/g, '') === 'process.env') {
      if (!(layer && entries.includes(layer)) && !readsPath.test(file)) report(node, 'reads process.env');
    }
    ts.forEachChild(node, visit);
  }
  visit(source);

  if (bullmq) eachAdd(source, (node) => report(node, 'adds to a queue without a jobId'));
  return found;
}

/** `queue.add` and the `opts` of `addBulk`: without an id of ours, sending again would make a second job. */
function eachAdd(source: ts.SourceFile, bad: (node: ts.Node) => void): void {
  function visit(node: ts.Node): void {
    if (ts.isCallExpression(node) && ts.isPropertyAccessExpression(node.expression)) {
      // One argument: a Set's add.
      const isAdd = node.expression.name.text === 'add' && node.arguments.length !== 1;
      if (isAdd && !hasJobId(node.arguments[2])) bad(node);
      if (node.expression.name.text === 'addBulk' && !/\bopts:/.test(source.text)) bad(node);
    }
    if (ts.isPropertyAssignment(node) && node.name.getText(source) === 'opts' && !hasJobId(node.initializer)) bad(node);
    ts.forEachChild(node, visit);
  }
  visit(source);
}

function hasJobId(options: ts.Node | undefined): boolean {
  return (
    options !== undefined &&
    ts.isObjectLiteralExpression(options) &&
    options.properties.some((property) => property.name?.getText() === 'jobId')
  );
}

function isTypeOnly({ importClause }: ts.ImportDeclaration): boolean {
  if (!importClause) return false;
  if (importClause.isTypeOnly) return true;
  const named = importClause.namedBindings;
  return (
    !importClause.name && !!named && ts.isNamedImports(named) && named.elements.every((element) => element.isTypeOnly)
  );
}

/** `adapters/v1-postgres/sql.ts` → `v1-postgres`; undefined for what adapters share. */
function folderOf(file: string): string | undefined {
  return /^adapters\/(?!zitadel\/)([^/]+)\//.exec(file)?.[1];
}

const root = fileURLToPath(new URL('../src', import.meta.url));
const sources = readdirSync(root, { recursive: true, encoding: 'utf8' })
  .map((file) => file.replaceAll('\\', '/'))
  .filter((file) => file.endsWith('.ts'));

/** What a module asks for before it runs: values only, no `import()`. */
function asksFor(file: string): string[] {
  const source = ts.createSourceFile(file, readFileSync(`${root}/${file}`, 'utf8'), ts.ScriptTarget.Latest);
  return source.statements.flatMap((node) => {
    if (ts.isImportDeclaration(node) && !isTypeOnly(node)) return [(node.moduleSpecifier as ts.StringLiteral).text];
    if (!ts.isExportDeclaration(node) || !node.moduleSpecifier || node.isTypeOnly) return [];
    return [(node.moduleSpecifier as ts.StringLiteral).text];
  });
}

/** Packages that are loaded with `entry`, each with the file that asks for it. */
function loadedWith(entry: string): Map<string, string> {
  const [packages, seen, open] = [new Map<string, string>(), new Set([entry]), [entry]];
  for (let file = open.pop(); file; file = open.pop()) {
    for (const specifier of asksFor(file)) {
      const target = posix.join(posix.dirname(file), specifier);
      if (!specifier.startsWith('.')) packages.set(specifier, file);
      else if (!seen.has(target)) open.push(target);
      seen.add(target);
    }
  }
  return packages;
}

test('every package that src imports comes with an installation', () => {
  const { dependencies } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  const asked = sources.flatMap(asksFor).filter((name) => !/^(\.|node:)/.test(name));
  const missing = asked.filter((name) => !Object.keys(dependencies).some((one) => `${name}/`.startsWith(`${one}/`)));
  expect(asked).toContain('fastify');
  expect(missing).toEqual([]);
});

test('a command that asks a server does not load one', () => {
  const loaded = loadedWith('cli/main.ts');
  const servers = /^(bullmq|ioredis|fastify|pg|undici|prom-client|openid-client|@zitadel|@connectrpc|@electric-sql)/;
  expect([...loaded.keys()]).toContain('commander');
  expect([...loaded].filter(([name]) => servers.test(name))).toEqual([]);
  expect([...loadedWith('cli/run-up.ts').keys()].filter((name) => servers.test(name)).length).toBeGreaterThan(5);
});

test('a server loads no other one', () => {
  const names = (file: string) => [...loadedWith(file).keys()];
  const of = (file: string, packages: RegExp) => names(file).filter((name) => packages.test(name));
  expect(of('cli/run-serve.ts', /^(pg|@electric-sql)/)).toEqual([]);
  expect(of('cli/run-work.ts', /^(fastify|@electric-sql)/)).toEqual([]);
  expect(names('cli/run-serve.ts')).toContain('fastify');
  expect(names('cli/run-work.ts')).toContain('pg');
});

test('no signal is kept as long as its process', () => {
  // Node 20 keeps what AbortSignal.any makes for as long as a source lives.
  const made = sources.filter((file) => /^[^*/]*AbortSignal\.any\(/m.test(readFileSync(`${root}/${file}`, 'utf8')));
  expect(made).toEqual([]);
});

test('every import of src keeps to the layers', () => {
  expect(sources.length).toBeGreaterThan(50);
  const all = sources.sort().flatMap((file) => violations(file, readFileSync(`${root}/${file}`, 'utf8')));
  expect(all, `\n${all.join('\n')}\n`).toEqual([]);
});

test.each([
  ['errors.ts', "import { connectRedis } from './redis.ts';"],
  ['seal.ts', "import type { Producer } from './producer/producer.ts';"],
  ['producer/producer.ts', "export { createGate } from '../worker/gate.ts';"],
  ['worker/worker.ts', "import type { Waiters } from '../producer/events.ts';"],
  ['worker/worker.ts', "import { openV1 } from '../adapters/v1-postgres/index.ts';"],
  ['adapters/v2-zitadel/users.ts', "import { millis } from '../v1-postgres/judge.ts';"],
  ['work.ts', "import { startSandbox } from './sandbox/sandbox.ts';"],
  ['worker/sweep.ts', "import type { Job } from 'bullmq';"],
  ['ledger/ledger.ts', "import { Redis } from 'ioredis';"],
  ['producer/row.ts', "const { hash } = await import('@node-rs/bcrypt');"],
  ['producer/http/v1.ts', "import type { User } from '@zitadel/proto/zitadel/user_pb';"],
  ['worker/gate.ts', "import { pino } from 'pino';"],
  ['producer/validate.ts', "import { z } from 'zod';"],
  ['client/http.ts', "import { seal } from '../seal.ts';"],
  ['config.ts', 'const url = process\n  .env.PASSFERRY_REDIS_URL;'],
  ['config.ts', "import { env } from 'node:process';"],
  ['producer/producer.ts', "import 'bullmq';\nawait queue.add('a', {}, { delay: 1 });"],
  ['producer/producer.ts', "import 'bullmq';\nawait queue.addBulk([{ name: 'a', opts: { delay: 1 } }]);"],
  ['producer/producer.ts', 'await job.waitUntilFinished(events);'],
  ['helpers.ts', ''],
])('would be seen: %s with %s', (file, text) => {
  expect(violations(file, text)).toHaveLength(1);
});
