import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { loadServeConfig, loadWorkConfig } from '../src/config.ts';
import { type Code, codes, PassferryError, reasons } from '../src/errors.ts';
import { problem } from '../src/producer/http/errors.ts';
import { importReasons } from '../src/producer/import/reasons.ts';
import { zitadelIds } from '../src/zitadel-ids.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (name: string) => readFileSync(join(root, name), 'utf8');
const documents = [
  'README.md',
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  'docs/architecture.md',
  'docs/api.md',
  'docs/configuration.md',
  'docs/import.md',
  'docs/hashes.md',
  'docs/backup.md',
  'docs/security.md',
  'docs/v1-tables.md',
  'docs/migration.md',
  ...readdirSync(join(root, 'docs/import')).map((name) => `docs/import/${name}`),
];

function sourceFiles(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    return entry.isDirectory() ? sourceFiles(path) : path.endsWith('.ts') ? [path] : [];
  });
}

/** From a heading to the next one of the same or a higher level. */
function section(text: string, heading: string): string {
  const level = heading.indexOf(' ');
  const start = text.indexOf(`\n${heading}\n`);
  if (start < 0) throw new Error(`no section ${heading}`);
  const rest = text.slice(start + heading.length + 1);
  const end = rest.search(new RegExp(`^#{1,${level}} `, 'm'));
  return end < 0 ? rest : rest.slice(0, end);
}

/** Cells of the table rows whose first cell is a code span; the span without its quotes. */
function rows(text: string): string[][] {
  return [...text.matchAll(/^\| `[^\n]*\|$/gm)].map(([line]) =>
    line
      .slice(1, -1)
      .split(/(?<!\\)\|/)
      .map((cell) => cell.trim().replace(/^`(.*)`$/, '$1')),
  );
}

const namesIn = (text: string) => new Set(text.match(/PASSFERRY_[A-Z0-9_]*[A-Z0-9]/g) ?? []);

describe('docs/configuration.md', () => {
  const text = read('docs/configuration.md');
  const inSource = new Set(
    [...sourceFiles('src'), ...sourceFiles('scripts')].flatMap((file) => [...namesIn(read(file))]),
  );
  const schema = [...namesIn(read('src/config.ts'))].filter((name) => !name.endsWith('_FILE'));

  const base = { PASSFERRY_REDIS_URL: 'redis://127.0.0.1', PASSFERRY_KEYS_DIR: root };
  const serve = (more = {}) =>
    loadServeConfig({ ...base, PASSFERRY_CALLERS_FILE: join(root, 'package.json'), ...more });
  const work = (more = {}) => loadWorkConfig({ ...base, PASSFERRY_V1_URL: 'postgres://127.0.0.1/v1', ...more });

  /** Is the value of `name` taken from the file that `name_FILE` names? */
  function hasFileForm(name: string): boolean {
    try {
      loadWorkConfig({ [`${name}_FILE`]: join(root, 'no such file') });
      return false;
    } catch (error) {
      return (error as Error).message.includes(`${name}_FILE cannot be read`);
    }
  }

  test('has every variable that the code reads, and no other', () => {
    const known = new Set([...inSource, ...schema.filter(hasFileForm).map((name) => `${name}_FILE`)]);
    expect([...namesIn(text)].sort()).toEqual([...known].sort());
  });

  test('has the defaults that the code has', () => {
    const documented = ['## Both serve and work', '## serve', '## work'].flatMap((heading) =>
      rows(section(text, heading)).flatMap(([name, value]) =>
        name && value && !/^(required|none)$/.test(value) ? [[name, value] as const] : [],
      ),
    );
    expect(documented.length).toBeGreaterThan(8);
    for (const [name, value] of documented) {
      const load = name in serve() ? serve : work;
      expect((load({ [name]: value }) as Record<string, unknown>)[name], name).toEqual(
        (load() as Record<string, unknown>)[name],
      );
    }
  });

  test('names as required what the code requires', () => {
    for (const [heading, load] of [
      ['## Both serve and work', loadWorkConfig],
      ['## serve', loadServeConfig],
    ] as const) {
      const required = rows(section(text, heading)).flatMap(([name, value]) => (value === 'required' ? [name] : []));
      let message = '';
      try {
        load({});
      } catch (error) {
        message = (error as Error).message;
      }
      for (const name of required) expect(message).toContain(`${name} is required`);
    }
  });
});

describe('docs/api.md', () => {
  const text = read('docs/api.md');

  test('has every code with its numbers', () => {
    const expected = Object.entries(codes).map(([code, { grpc, http, exit }]) => [
      code,
      `${grpc}`,
      `${http}`,
      `${exit}`,
    ]);
    expect(rows(section(text, '### Codes'))).toEqual(expected);
  });

  test('has every reason with code, status and text, and no other', () => {
    const known: Record<string, readonly [Code, string]> = { ...reasons, ...importReasons };
    const expected = Object.entries(known).map(([reason, [code, message]]) => {
      const { status } = problem(new PassferryError(reason, { code, message }));
      return [reason, code, `${status}`, message];
    });
    expect(rows(section(text, '### Codes and reasons'))).toEqual(expected);
  });

  test('has every id of ZITADEL that can be an outcome', () => {
    const documented = rows(section(text, '### Ids of ZITADEL'));
    for (const [id, { code, message, scope = 'user' }] of Object.entries(zitadelIds)) {
      // The successor call's "not found" leaves as v1's.
      if (scope !== 'user' || id === 'COMMAND-ugjs0upun6') continue;
      expect(documented).toContainEqual([id, code, `${codes[code].http}`, message]);
    }
    const ids = new Set([...Object.keys(zitadelIds)]);
    expect(documented.filter(([id]) => !ids.has(id as string))).toEqual([]);
  });

  test('has every header that the code sets or reads', () => {
    const known = rows(section(text, '## Headers')).map(([name]) => name?.toLowerCase());
    const source = sourceFiles('src/producer/http').map(read).join('\n');
    const ours = [
      ...source.matchAll(/header\((?:request, )?'([\w-]+)'/g),
      ...source.matchAll(/headers(?:: Record<string, string> = \{ |\[)'([\w-]+)'/g),
    ].map((match) => match[1]);
    expect(ours.length).toBeGreaterThan(8);
    const standard = ['cache-control', 'x-content-type-options'];
    expect(ours.filter((name) => !known.includes(name) && !standard.includes(name as string))).toEqual([]);
  });

  test('has every route', () => {
    const routes = sourceFiles('src/producer/http').flatMap((file) =>
      [...read(file).matchAll(/'(\/[\w/:]+)'/g)].map((match) =>
        // `::` is a colon itself.
        (match[1] as string).replace(/(?<!:):(\w+)/g, '{$1}').replaceAll('::', ':'),
      ),
    );
    expect(routes.length).toBeGreaterThan(6);
    for (const route of routes) expect(text).toContain(route);
  });
});

describe('docs/architecture.md', () => {
  const text = read('docs/architecture.md');

  /** Lines of the tree → paths, by indentation. */
  const tree = (() => {
    const block = /```text\n([\s\S]*?)```/.exec(section(text, '## Tree'))?.[1] ?? '';
    const folders: string[] = [];
    return block.split('\n').flatMap((line) => {
      const [, indent, name] = /^( *)(\S+)/.exec(line) ?? [];
      if (indent === undefined || name === undefined) return [];
      const depth = indent.length / 2;
      folders.length = depth;
      if (name.endsWith('/')) folders[depth] = name.slice(0, -1);
      return [[...folders.slice(0, depth), name].join('/')];
    });
  })();

  test('its tree names what exists', () => {
    expect(tree.length).toBeGreaterThan(40);
    expect(tree.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });

  test('its tree has everything at the top of src', () => {
    const top = readdirSync(join(root, 'src'), { withFileTypes: true }).map((entry) =>
      entry.isDirectory() ? `src/${entry.name}/` : `src/${entry.name}`,
    );
    expect(top.filter((path) => !tree.includes(path))).toEqual([]);
  });

  test('the flow has fourteen rows and names files that exist', () => {
    const flow = section(text, '## How one request flows');
    expect(flow.match(/^\| \d+ \|/gm)).toHaveLength(14);
    const files = [...flow.matchAll(/`(src\/[^`]+)`/g)].map((match) => match[1] as string);
    expect(files.filter((file) => !existsSync(join(root, file)))).toEqual([]);
  });

  test('has the eleven promises', () => {
    expect(section(text, '## Promises').match(/^\| P\d+ \|/gm)).toHaveLength(11);
  });
});

describe.each(documents)('%s', (name) => {
  const text = read(name);

  test('uses none of the words that we do not use', () => {
    const own = name === 'CONTRIBUTING.md' ? text.replace(section(text, '## Words not used'), '') : text;
    const prose = own
      .replace(/```[\s\S]*?```/g, '')
      .replace(/`[^`\n]*`/g, '')
      .replace(/\b(service account|user service)s?\b/g, '');
    const words = /\b(tasks?|messages?|services?|managers?|contexts?|strateg(y|ies)|repositor(y|ies)|controllers?)\b/gi;
    expect(prose.match(words) ?? []).toEqual([]);
  });

  test('its links lead somewhere', () => {
    const anchors = (of: string) =>
      [...read(of).matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
        (heading as string)
          .toLowerCase()
          .replace(/[^\w\- ]/g, '')
          .replaceAll(' ', '-'),
      );
    for (const [, link] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      const [path, anchor] = (link as string).split('#');
      const target = path ? join(name, '..', path) : name;
      expect(existsSync(join(root, target)), `${link}`).toBe(true);
      if (anchor) expect(anchors(target), `${link}`).toContain(anchor);
    }
  });

  test('names no place of one machine', () => {
    expect(text.match(/\/(work|home|Users|root)\/\S*/g) ?? []).toEqual([]);
  });
});

describe('docs/reliability.md', () => {
  const rows = [...read('docs/reliability.md').matchAll(/^\| (?:P\d+|all) \| .* \| `(test\/[^`]+)`: (.+) \|$/gm)];

  test('names a test that exists for each promise that stands', () => {
    expect(rows.length).toBeGreaterThan(10);
    for (const [, file = '', title = ''] of rows) expect(read(file).replaceAll("\\'", "'"), file).toContain(title);
  });
});
