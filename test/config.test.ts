import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { allows, type Environment, loadServeConfig, loadWorkConfig } from '../src/config.ts';
import type { PassferryError } from '../src/errors.ts';
import { tempDir } from './kit/files.ts';

const serve: Environment = {
  PASSFERRY_REDIS_URL: 'redis://127.0.0.1:6379',
  PASSFERRY_KEYS_DIR: 'test',
  PASSFERRY_CALLERS_FILE: 'package.json',
};
const work: Environment = {
  PASSFERRY_REDIS_URL: 'redis://localhost:6379',
  PASSFERRY_KEYS_DIR: 'test',
  PASSFERRY_V1_URL: 'postgres://localhost/z',
};

/** The problems of a configuration, one a line. */
function problems(load: (env: Environment) => unknown, env: Environment): string[] {
  try {
    load(env);
    return [];
  } catch (error) {
    expect(error).toMatchObject({ code: 'invalid_argument', reason: 'config_invalid' });
    return (error as PassferryError).message
      .split('\n')
      .slice(1)
      .map((line) => line.replace('  - ', ''));
  }
}
const ofServe = (over: Environment) => problems(loadServeConfig, { ...serve, ...over });
const ofWork = (over: Environment) => problems(loadWorkConfig, { ...work, ...over });

test('what is not given has its default, and the value is frozen', () => {
  const config = loadServeConfig(serve);
  expect(config).toMatchObject({
    PASSFERRY_NAMESPACE: 'passferry',
    PASSFERRY_RETENTION: 7 * 86_400_000,
    PASSFERRY_WAIT: 25_000,
    PASSFERRY_LISTEN: { host: '127.0.0.1', port: 8080 },
    PASSFERRY_STAGES: { default: 'v1', organizations: {} },
    PASSFERRY_ALLOW_INSECURE: [],
  });
  expect(Object.isFrozen(config)).toBe(true);
  expect(loadWorkConfig(work)).toMatchObject({ PASSFERRY_V1_BCRYPT_COST: 12, PASSFERRY_V2_CONCURRENCY: 8 });
  expect(loadWorkConfig(work).PASSFERRY_PROTECTED_USERS).toBeUndefined();
});

test('an empty value is none, and foreign names are not read', () => {
  expect(ofServe({ PASSFERRY_LISTEN: '', HOME: '/', REDIS_URL: 'x' })).toEqual([]);
  expect(ofServe({ PASSFERRY_KEYS_DIR: '' })).toEqual(['PASSFERRY_KEYS_DIR is required']);
});

test('files that are not there are told with everything else, and unknown names of what is allowed', () => {
  const told = ofServe({
    PASSFERRY_LISTEN: 'x',
    PASSFERRY_KEYS_DIR: '/nowhere/keys',
    PASSFERRY_CALLERS_FILE: '/nowhere/callers.json',
    PASSFERRY_ALLOW_INSECURE: 'foo',
  });
  const names = ['PASSFERRY_ALLOW_INSECURE', 'PASSFERRY_CALLERS_FILE', 'PASSFERRY_KEYS_DIR', 'PASSFERRY_LISTEN'];
  expect(told.map((line) => line.split(' ')[0]).sort()).toEqual(names);
  expect(told.join()).not.toContain('nowhere');
});

test('all problems come together and no value is echoed', () => {
  const bad = {
    PASSFERRY_REDIS_URL: 'http://user:hunter22@h',
    PASSFERRY_NAMESPACE: 'hunter22 Ä',
    PASSFERRY_KEYS_DIR: undefined,
    PASSFERRY_RETENTION: 'hunter22',
    PASSFERRY_LISTEN: 'hunter22',
    PASSFERRY_STAGES: '{"default":"hunter22"}',
    PASSFERRY_LOG_LEVEL: 'hunter22',
  };
  const told = ofServe(bad);
  expect(told.map((line) => line.split(' ')[0]).sort()).toEqual(Object.keys(bad).sort());
  expect(told.join()).not.toContain('hunter22');
});

test.each([
  ['PASSFERRY_RETENTION', '90m', 5_400_000],
  ['PASSFERRY_RETENTION', '250ms', 250],
  ['PASSFERRY_RETENTION', '2d', 172_800_000],
  ['PASSFERRY_RETENTION', '7', undefined],
  ['PASSFERRY_RETENTION', '-1s', undefined],
  ['PASSFERRY_RETENTION', '1.5h', undefined],
  ['PASSFERRY_LISTEN', '[::1]:9', { host: '::1', port: 9 }],
  ['PASSFERRY_LISTEN', 'localhost:65535', { host: 'localhost', port: 65_535 }],
  ['PASSFERRY_LISTEN', 'localhost:65536', undefined],
  ['PASSFERRY_LISTEN', '8080', undefined],
  ['PASSFERRY_ALLOW_INSECURE', ' redis, ,listen ', ['redis', 'listen']],
  ['PASSFERRY_STAGES', '{"default":"v2","organizations":{"a":"v1"}}', { default: 'v2', organizations: { a: 'v1' } }],
  ['PASSFERRY_STAGES', '{"default":"v2","more":1}', undefined],
  ['PASSFERRY_STAGES', '{', undefined],
])('%s=%s', (name, text, value) => {
  if (value === undefined) expect(ofServe({ [name]: text })).toHaveLength(1);
  else expect(loadServeConfig({ ...serve, [name]: text })).toMatchObject({ [name]: value });
});

test.each([
  ['PASSFERRY_V1_BCRYPT_COST', '3'],
  ['PASSFERRY_V1_BCRYPT_COST', '32'],
  ['PASSFERRY_V1_BCRYPT_COST', '1e1'],
  ['PASSFERRY_V2_CONCURRENCY', '0'],
  ['PASSFERRY_V1_MIGRATE', 'yes'],
  ['PASSFERRY_V1_URL', 'mysql://localhost/z'],
  ['PASSFERRY_V2_URL', 'localhost'],
])('work refuses %s=%s', (name, text) => {
  expect(ofWork({ [name]: text })).toEqual([expect.stringContaining(name)]);
});

test('a worker needs a backend, a token for v2, and a backend for every stage that is used', () => {
  expect(ofWork({ PASSFERRY_V1_URL: undefined })).toEqual(['PASSFERRY_V1_URL or PASSFERRY_V2_URL is required']);
  expect(ofWork({ PASSFERRY_V2_URL: 'https://z.example' })).toEqual([
    'PASSFERRY_V2_TOKEN_FILE is required with PASSFERRY_V2_URL',
  ]);
  expect(ofWork({ PASSFERRY_STAGES: '{"default":"v1","organizations":{"a":"v2","b":"v2"}}' })).toEqual([
    'PASSFERRY_STAGES uses v2, but PASSFERRY_V2_URL is not set',
  ]);
});

const v2 = { PASSFERRY_V2_TOKEN: 't' };
test.each([
  [ofServe, 'redis', { PASSFERRY_REDIS_URL: 'redis://:pw@r.example' }],
  [ofServe, 'redis', { PASSFERRY_REDIS_URL: 'rediss://r.example' }],
  [ofServe, 'listen', { PASSFERRY_LISTEN: '0.0.0.0:80' }],
  [ofWork, 'redis', { PASSFERRY_REDIS_URL: 'redis://127.0.0.1.example' }],
  [ofWork, 'sql', { PASSFERRY_V1_URL: 'postgres://db.example/z' }],
  [ofWork, 'sql', { PASSFERRY_V1_URL: 'postgres://db.example/z?sslmode=prefer' }],
  [ofWork, 'v2', { ...v2, PASSFERRY_V2_URL: 'http://z.example' }],
])('%o: unsafe over a network unless allowed by name: %s', (of, name, env) => {
  expect(of(env)).toEqual([expect.stringContaining(name)]);
  expect(of({ ...env, PASSFERRY_ALLOW_INSECURE: name })).toEqual([]);
  expect(of({ ...env, PASSFERRY_ALLOW_INSECURE: 'durability' })).toHaveLength(1);
});

test.each([
  [ofServe, { PASSFERRY_REDIS_URL: 'rediss://:pw@r.example' }],
  [ofWork, { PASSFERRY_V1_URL: 'postgres://db.example/z?sslmode=verify-full' }],
  [ofWork, { PASSFERRY_V1_URL: 'postgres://127.0.0.1/z' }],
  [ofWork, { ...v2, PASSFERRY_V2_URL: 'https://z.example' }],
  [ofWork, { ...v2, PASSFERRY_V2_URL: 'http://[::1]:8080' }],
])('%o takes what is safe: %j', (of, env) => {
  expect(of(env)).toEqual([]);
});

test('a value may stand in a file; the value itself wins; a file that is not there is a problem', () => {
  const file = join(tempDir(), 'url');
  writeFileSync(file, 'redis://localhost:7\n');
  const { PASSFERRY_REDIS_URL: _, ...rest } = serve;
  const fromFile = { ...rest, PASSFERRY_REDIS_URL_FILE: file };
  expect(loadServeConfig(fromFile).PASSFERRY_REDIS_URL).toBe('redis://localhost:7');
  expect(loadServeConfig({ ...fromFile, ...serve }).PASSFERRY_REDIS_URL).toBe(serve.PASSFERRY_REDIS_URL);
  expect(problems(loadServeConfig, { ...rest, PASSFERRY_REDIS_URL_FILE: `${file}.gone` })).toContain(
    'PASSFERRY_REDIS_URL_FILE cannot be read',
  );
});

test('allows looks for the name', () => {
  expect(allows({ PASSFERRY_ALLOW_INSECURE: ['sql'] }, 'sql')).toBe(true);
  expect(allows({ PASSFERRY_ALLOW_INSECURE: ['sql'] }, 'v2')).toBe(false);
});

test.each([
  ['127.0.0.1:80', true],
  ['127.8.8.8:80', true],
  ['[::1]:80', true],
  ['localhost:80', true],
  ['0.0.0.0:80', false],
  ['127.0.0.1.example:80', false],
  ['localhost.example:80', false],
  ['[::]:80', false],
])('%s is an address of this machine only: %s', (listen, expected) => {
  expect(ofServe({ PASSFERRY_LISTEN: listen })).toHaveLength(expected ? 0 : 1);
});
