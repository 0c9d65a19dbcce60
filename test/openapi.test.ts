import { readFileSync } from 'node:fs';
import { createConfig, lintFromString } from '@redocly/openapi-core';
import { describe, expect, it } from 'vitest';
import { createLog } from '../src/log.ts';
import type { HttpDeps } from '../src/producer/http/deps.ts';
import { createHttp } from '../src/producer/http/server.ts';
import { openApiDocument } from '../src/producer/openapi/document.ts';
import { type Document, openApi } from './kit/openapi.ts';

const document: Document = JSON.parse(JSON.stringify(openApiDocument()));
const api = openApi(document);

describe('the document', () => {
  it('passes the linter', async () => {
    const config = await createConfig({
      extends: ['recommended'],
      rules: {
        // Health and documents refuse nobody: they have no such answer.
        'operation-4xx-response': 'off',
      },
    });
    const found = await lintFromString({ source: JSON.stringify(document), absoluteRef: 'openapi.json', config });
    expect(found.map(({ ruleId, message, location }) => `${ruleId} ${location[0]?.pointer} ${message}`)).toEqual([]);
  });

  it('has valid examples', () => {
    const examples = api.examples();
    expect(examples.length).toBeGreaterThan(150);
    expect(
      examples.flatMap(({ schema, value }) => api.wrong(schema, value).map((each) => `${schema} ${each}`)),
    ).toEqual([]);
  });

  it('has every route, and no other', async () => {
    // Nothing is asked of it.
    const app = createHttp({ log: createLog('silent', 'test') } as HttpDeps);
    await app.ready();
    const inDocument = Object.entries(document.paths as Record<string, object>).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path.replace(/\}:[a-z]+$/, '}')}`),
    );
    expect([...new Set(inDocument)].sort()).toEqual(routesOf(app.printRoutes({ commonPrefix: false })).sort());
    await app.close();
  });

  it('has every header of docs/api.md', () => {
    const table = /\n## Headers\n([\s\S]*?)\n## /.exec(readFileSync('docs/api.md', 'utf8'))?.[1] ?? '';
    const names = [...table.matchAll(/^\| `([\w-]+)` \|/gm)].map(([, name]) => name as string);
    expect(names.length).toBeGreaterThan(15);
    // Of OpenAPI's own ways to say it, of addresses that are not in the document, and of what only browsers read.
    const elsewhere = [
      'Authorization',
      'Content-Type',
      'Content-Encoding',
      'Accept',
      'Allow',
      'Content-Security-Policy',
      'Strict-Transport-Security',
      'Referrer-Policy',
      'X-Frame-Options',
      'X-Content-Type-Options',
      'Access-Control-Request-Method',
    ];
    const { headers, parameters } = document.components;
    const known = [...Object.keys(headers), ...Object.values(parameters).map((each) => (each as Document).name)];
    expect(names.filter((name) => !known.includes(name) && !elsewhere.includes(name))).toEqual([]);
  });

  it('is compared with real answers to the letter', () => {
    const answer = (status: number, body: object, headers = {}) => ({
      ...{ status, body, text: JSON.stringify(body) },
      headers: new Headers({ 'content-type': 'application/json', ...headers }),
    });
    const differences = (...told: Parameters<typeof answer>) => api.differences('GET', '/healthz', answer(...told));
    expect(differences(200, { status: 'ok' })).toEqual([]);
    expect(differences(200, { status: 'ok', more: 1 })).toHaveLength(1);
    expect(differences(200, {})).toHaveLength(1);
    expect(differences(200, { status: 'ok' }, { etag: '"a"' })).toHaveLength(1);
    expect(differences(200, { status: 'ok' }, { 'content-type': 'text/plain' })).toHaveLength(1);
    expect(differences(500, { status: 'ok' })).toHaveLength(1);
    expect(api.differences('GET', '/nowhere', answer(200, {}))).toHaveLength(1);
  });

  it('marks every password as one', () => {
    const passwords = Object.values(document.components.schemas as Document).flatMap((schema) => {
      const { password } = (schema as Document).properties ?? {};
      return password ? [password] : [];
    });
    expect(passwords).toHaveLength(3);
    for (const each of passwords) expect(each).toMatchObject({ format: 'password', writeOnly: true });
  });
});

/** The tree that Fastify prints → `METHOD /path/{parameter}`; HEAD goes with GET. */
function routesOf(printed: string): string[] {
  const parts: string[] = [];
  return printed.split('\n').flatMap((line) => {
    const [, indent = '', part = '', methods = ''] = /^([│\s]*)[├└]── (\S+)(?: \((.+)\))?/.exec(line) ?? [];
    parts.length = indent.length / 4;
    parts.push(part);
    const path = parts.join('').replace(/(?<=\/):(\w+)/g, '{$1}');
    const all = methods === '' ? [] : methods.split(', ');
    return all.filter((method) => method !== 'HEAD').map((method) => `${method} ${path}`);
  });
}
