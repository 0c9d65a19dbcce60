import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PassferryError } from '../src/errors.ts';
import { noText, sqlFields } from '../src/producer/import/sources/sql-fields.ts';
import { recordsOf } from './kit/container.ts';
import { chunkSizes, chunksOf } from './kit/import-file.ts';

/** Each row without its place; refused ones by their reason. */
async function rowsOf(file: string | Buffer, chunk?: number): Promise<unknown[]> {
  return (await recordsOf(sqlFields, file, chunk)).map((each) => ('fields' in each ? each.fields : each.reason));
}

const refusal = (file: string | Buffer, chunk?: number) =>
  rowsOf(file, chunk).then(
    (rows) => rows,
    (error: unknown) => (error instanceof PassferryError ? error.reason : error),
  );

const mysql = `-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)
/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;
DROP TABLE IF EXISTS \`posts\`;
CREATE TABLE \`posts\` (\`id\` int, \`text\` longtext);
INSERT INTO \`posts\` VALUES (1,'it''s; INSERT INTO \\'users\\' VALUES (9,\\'x\\',\\'y\\');'),(2,'\\\\');
CREATE TABLE \`users\` (
  \`id\` bigint unsigned NOT NULL AUTO_INCREMENT,
  \`email\` varchar(255) COLLATE utf8mb4_unicode_ci NOT NULL DEFAULT 'a,b)',
  \`password\` varchar(255) NOT NULL,
  \`score\` decimal(10,2) DEFAULT NULL COMMENT 'x; y',
  PRIMARY KEY (\`id\`),
  UNIQUE KEY \`users_email_unique\` (\`email\`)
) ENGINE=InnoDB;
LOCK TABLES \`users\` WRITE;
/*!40000 ALTER TABLE \`users\` DISABLE KEYS */;
INSERT INTO \`users\` VALUES (1,'ann@example.com','p\\'a"),(\\n',NULL),(2,'bob@example.com','q;''r',-1.50);
INSERT INTO \`users\` VALUES (3,'eve@example.com',_binary 'z',0);
UNLOCK TABLES;
-- Dump completed
`;

const postgres = `--
-- PostgreSQL database dump
--

\\restrict Abc123

SET standard_conforming_strings = on;
CREATE FUNCTION auth.x() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN INSERT INTO auth.users (id, email, encrypted_password) VALUES ('no', 'it''s', $$x;$$); RETURN NEW; END;
$body$;
CREATE TABLE auth.users (
    id uuid NOT NULL,
    email character varying(255),
    encrypted_password character varying(255)
);
CREATE TABLE public.notes (id integer, text text);
COPY public.notes (id, text) FROM stdin;
1\ta;'b
2\t\\\\.
\\.


COPY auth.users (id, email, encrypted_password) FROM stdin;
a-1\tann@example.com\t$2a$10$x
a-2\tbob@example.com\t
a-3\t\\N\tback\\\\slash\\ttab\\nline
\\.

SELECT pg_catalog.setval('auth.seq', 1, false);
`;

const sqlite = `PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE IF NOT EXISTS "auth_user" ("id" integer NOT NULL PRIMARY KEY AUTOINCREMENT, "password" varchar(128) NOT NULL, "username" varchar(150) NOT NULL UNIQUE);
INSERT INTO auth_user VALUES(1,'pbkdf2\\x','ann');
INSERT INTO "auth_user" VALUES(2,'it''s','bob');
CREATE TRIGGER t AFTER INSERT ON auth_user BEGIN SELECT CASE WHEN 1 THEN 2 END; INSERT INTO auth_user VALUES(9,'no','no'); END;
INSERT INTO auth_user VALUES(3,'x','eve');
COMMIT;
`;

describe.each([
  [
    'mysqldump',
    mysql,
    [
      { id: '1', email: 'ann@example.com', password: 'p\'a"),(\n', score: null },
      { id: '2', email: 'bob@example.com', password: "q;'r", score: '-1.50' },
      { id: '3', email: 'eve@example.com', password: 'z', score: '0' },
    ],
  ],
  [
    'pg_dump',
    postgres,
    [
      { id: 'a-1', email: 'ann@example.com', encrypted_password: '$2a$10$x' },
      { id: 'a-2', email: 'bob@example.com', encrypted_password: '' },
      { id: 'a-3', email: null, encrypted_password: 'back\\slash\ttab\nline' },
    ],
  ],
  [
    'SQLite',
    sqlite,
    [
      { id: '1', password: 'pbkdf2\\x', username: 'ann' },
      { id: '2', password: "it's", username: 'bob' },
      { id: '3', password: 'x', username: 'eve' },
    ],
  ],
])('a dump of %s', (_name, file, rows) => {
  it.each([...chunkSizes, 2, 3, 64])('has the rows of its users and nothing else, in chunks of %i', async (chunk) => {
    expect(await rowsOf(file, chunk)).toEqual(rows);
  });
});

it('says where each row stands', async () => {
  for (const file of [mysql, postgres, sqlite]) {
    for (const chunk of chunkSizes) {
      const lines = file.split('\n');
      for (const { line, byte } of await recordsOf(sqlFields, file, chunk)) {
        const rest = Buffer.from(file).subarray(byte).toString().slice(0, 8);
        expect(rest).toMatch(/^(?:\(\d,'|a-\d\t)/);
        expect(lines[line - 1]).toContain(rest.split('\n')[0]);
      }
    }
  }
});

const pg = '-- PostgreSQL database dump\n';
const my = '-- MySQL dump\n';
it.each([
  [
    'names in the statement, in any case',
    `${pg}insert into public."users" (id, "Password") values ('1', 'a')`,
    [{ id: '1', Password: 'a' }],
  ],
  [
    'an escape string',
    `insert into users (id, password) values (1, E'a\\'b\\x41\\101\\u0041');`,
    [{ id: '1', password: "a'bAAA" }],
  ],
  ['a cast', `${pg}insert into users (id, password) values ('1'::uuid, 'a');`, [{ id: '1', password: 'a' }]],
  ['hexadecimal bytes', `${my}insert into users (id, password) values (X'6131', 0x62);`, [{ id: 'a1', password: 'b' }]],
  [
    'what only running it would tell',
    `${my}insert into users (id, password) values (1, MD5('secret')), (uuid(), 'b');`,
    [
      { id: '1', password: noText },
      { id: noText, password: 'b' },
    ],
  ],
  [
    'two strings in one field',
    `${my}insert into users (id, password) values (1, 'a' 'b');`,
    [{ id: '1', password: noText }],
  ],
  [
    'what follows its rows',
    `${my}insert ignore into users (id, password) values (1, 'a') ON DUPLICATE KEY UPDATE password = 'x;', id = (1); insert into users (id, password) values (2, 'b');`,
    [
      { id: '1', password: 'a' },
      { id: '2', password: 'b' },
    ],
  ],
  [
    'comments everywhere',
    `${my}/* a; ' */insert into users -- b;\n(id, password) values /* c */ (1, 'a'), -- d (\n (2, 'b'); # e ;'\n`,
    [
      { id: '1', password: 'a' },
      { id: '2', password: 'b' },
    ],
  ],
  [
    'a statement that is selected',
    `${my}insert into users (id, password) select 1, ';'; replace into users (id, password) values (2, 'b');`,
    [{ id: '2', password: 'b' }],
  ],
  [
    'another delimiter',
    `${my}DELIMITER ;;\nCREATE PROCEDURE p() BEGIN insert into users (id, password) values (9, 'no'); END;;\nDELIMITER ;\ninsert into users (id, password) values (1, 'a');`,
    [{ id: '1', password: 'a' }],
  ],
  [
    'a row with another number of columns',
    `${pg}insert into users (id, password) values (1), (2, 'b', 3), (4, 'd');`,
    ['row_columns', 'row_columns', { id: '4', password: 'd' }],
  ],
  [
    'a row that is too long',
    `${my}insert into users (id, password) values (1, '${"(x\\'),".repeat(20_000)}'), (2, 'b');`,
    ['line_too_long', { id: '2', password: 'b' }],
  ],
  [
    'bytes that are no text',
    Buffer.concat([
      Buffer.from(`${my}insert into users (id, password) values (_binary '`),
      Buffer.from([0xff]),
      Buffer.from("', 'b');"),
    ]),
    [{ id: noText, password: 'b' }],
  ],
  [
    'COPY with CRLF',
    `${pg}COPY users (id, password) FROM stdin;\r\n1\ta\r\n\\.\r\nselect 1;\r\n`,
    [{ id: '1', password: 'a' }],
  ],
  [
    'COPY with options, which is passed over',
    `${pg}COPY users (id, password) FROM stdin WITH (FORMAT csv);\n1,a\n\\.\nCOPY users (id, password) FROM stdin;\n2\tb\n\\.\n`,
    [{ id: '2', password: 'b' }],
  ],
  [
    'an empty table of others',
    `${pg}COPY public.x (a) FROM stdin;\n\\.\nCOPY users (id, password) FROM stdin;\n2\tb\n\\.`,
    [{ id: '2', password: 'b' }],
  ],
  [
    'a name of Object',
    `${my}insert into users (__proto__, password) values ('1', 'b');`,
    [JSON.parse('{"__proto__":"1","password":"b"}')],
  ],
])('reads %s', async (_name, file, rows) => {
  for (const chunk of [...chunkSizes, 5]) expect(await rowsOf(file, chunk)).toEqual(rows);
});

it.each([
  ['sql_cut', mysql.slice(0, mysql.indexOf("'bob@") + 3)],
  ['sql_cut', mysql.slice(0, mysql.indexOf(',(2,') + 1)],
  ['sql_cut', mysql.slice(0, mysql.indexOf('users_email'))],
  ['sql_cut', postgres.slice(0, postgres.indexOf('a-2') + 30)],
  ['sql_cut', postgres.slice(0, postgres.indexOf('RETURN NEW'))],
  ['sql_cut', postgres.slice(0, postgres.indexOf('a-3'))],
  ['sql_dialect', "insert into users (id, password) values (1, 'a\\'b');"],
  ['sql_dialect', "insert into posts (id) values ('a\\'b');"],
  ['sql_columns_unknown', `${pg}insert into users values (1, 'a');`],
])('refuses the file as a whole: %s', async (reason, file) => {
  for (const chunk of [...chunkSizes, 3]) expect(await refusal(file, chunk)).toBe(reason);
});

const nasty = fc.constantFrom(
  "'",
  '"',
  '\\',
  '`',
  ';',
  '(',
  ')',
  ',',
  '--',
  '/*',
  '*/',
  '$$',
  '$a$',
  '\n',
  '\r\n',
  '\t',
  '#',
  '\\N',
  '\\.',
  'é',
  '😀',
  '\0',
  'E',
  ' ',
  'VALUES',
  'NULL',
  'a',
);
const text = fc.array(nasty, { maxLength: 10 }).map((parts) => parts.join(''));
const value = fc.oneof(text, fc.constant(null));
const writers: Record<string, (rows: (string | null)[][]) => string> = {
  mysqldump: (rows) => {
    const escapes: Record<string, string> = {
      '\0': '\\0',
      '\n': '\\n',
      '\r': '\\r',
      '\\': '\\\\',
      "'": "\\'",
      '"': '\\"',
    };
    const literal = (each: string | null) =>
      each === null ? 'NULL' : `'${each.replaceAll(/[\0\n\r\\'"]/g, (found) => escapes[found] as string)}'`;
    return `-- MySQL dump 10.13\nINSERT INTO \`other\` VALUES ${rows.map((row) => `(${row.map(literal)})`).join(',')};\nINSERT INTO \`users\` (\`id\`, \`pass\`, \`more\`) VALUES ${rows.map((row) => `(${row.map(literal)})`).join(',')};\n`;
  },
  'pg_dump --inserts': (rows) => {
    const literal = (each: string | null) => (each === null ? 'NULL' : `'${each.replaceAll("'", "''")}'`);
    return `-- PostgreSQL database dump\n${rows.map((row) => `INSERT INTO public.other VALUES (${row.map(literal)});\nINSERT INTO public.users (id, pass, more) VALUES (${row.map(literal).join(', ')});\n`).join('')}`;
  },
  COPY: (rows) => {
    const escapes: Record<string, string> = { '\t': '\\t', '\n': '\\n', '\r': '\\r', '\\': '\\\\' };
    const field = (each: string | null) =>
      each === null ? '\\N' : each.replaceAll(/[\t\n\r\\]/g, (found) => escapes[found] as string);
    const block = rows.map((row) => `${row.map(field).join('\t')}\n`).join('');
    return `COPY public.other (a, b, c) FROM stdin;\n${block}\\.\n\nCOPY public.users (id, pass, more) FROM stdin;\n${block}\\.\n`;
  },
};

it.each(Object.entries(writers))('reads back whatever %s writes, whatever the chunks', async (_name, write) => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(value, value, value), { minLength: 1, maxLength: 5 }),
      fc.constantFrom(1, 2, 3, 7, 64, 65_536),
      async (rows, chunk) => {
        expect(await rowsOf(write(rows), chunk)).toEqual(rows.map(([id, pass, more]) => ({ id, pass, more })));
      },
    ),
    { numRuns: 300 },
  );
});

it('answers any text with rows or one reason, the same in any chunks', async () => {
  const words = fc.constantFrom(
    ...[
      'INSERT INTO users (id, pass) VALUES ',
      "(1,'a')",
      ',',
      ';',
      "'",
      '"',
      '`',
      '\\',
      '(',
      ')',
      '--',
      '\n',
      '/*',
      '*/',
      '$$',
      'COPY users (id, pass) FROM stdin;\n',
      '\\.\n',
      'CREATE TABLE users (id int, pass text);',
      'CREATE TRIGGER ',
      'BEGIN ',
      'END',
      'DELIMITER ;;\n',
      'DELIMITER ;\n',
      'SET standard_conforming_strings = off;',
      '-- MySQL\n',
      '-- PostgreSQL\n',
      ' ',
      '#',
      'E',
      "E'",
      '\t',
      '\r\n',
    ],
  );
  await fc.assert(
    fc.asyncProperty(fc.array(words, { maxLength: 25 }), async (parts) => {
      const file = parts.join('');
      const whole = await refusal(file);
      for (const chunk of [1, 3, 7]) expect(await refusal(file, chunk)).toEqual(whole);
    }),
    { numRuns: 2_000 },
  );
});

it('leaves zeros of what it has read', async () => {
  const pieces: Buffer[] = [];
  async function* source() {
    for await (const piece of chunksOf(Buffer.from(mysql), 50)) {
      pieces.push(piece);
      yield piece;
    }
  }
  const iterator = source();
  const peek = {
    peek: async () => Buffer.alloc(0),
    close: async () => undefined,
    next: async () => (await iterator.next()).value as Buffer | undefined,
  };
  let count = 0;
  for await (const batch of sqlFields.read(peek, { place: { line: 1, byte: 0 }, lists: [] }))
    for (const _ of batch) count++;
  expect(count).toBe(3);
  expect(Buffer.concat(pieces).every((byte) => byte === 0)).toBe(true);
});
