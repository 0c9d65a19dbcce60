import {
  auth,
  bad,
  badScheme,
  badToken,
  length,
  noMember,
  noOrg,
  noPermission,
  notFound,
  noUser,
  org,
  type ParityCase,
  password,
  withId,
  wrongMethod,
} from './parity-case.ts';
import { fields } from './parity-fields.ts';
import { http } from './parity-http.ts';

const callers: ParityCase[] = [
  { name: 'header absent: the home of the caller', headers: org(null), expect: 'set' },
  { name: 'header empty: the home of the caller', headers: org(''), expect: 'set' },
  { name: 'header names the home', headers: org('acme'), expect: 'set' },
  { name: 'header names another granted one', user: { org: 'globex' }, headers: org('globex'), expect: 'set' },
  { name: 'header names an unknown one', headers: org('nowhere'), expect: noOrg },
  {
    name: 'header names one that ZITADEL knows and Passferry does not',
    headers: org('unheard'),
    expect: noOrg,
    reference: noMember,
    deviation: 'orgs',
  },
  { name: 'header names a star', headers: org('*'), expect: noOrg },
  { name: 'header names a key of every object', headers: org('__proto__'), expect: noOrg },
  { name: 'header names a known one without any grant', headers: org('initech'), expect: noMember },
  { name: 'header names one that only has a stage', headers: org('staged'), expect: noMember },
  { name: 'header names one that is granted without set', headers: org('reading'), expect: noPermission },
  { name: 'no token', headers: auth(null), expect: { status: 401, code: 16, message: 'auth header missing' } },
  { name: 'Basic', headers: auth('Basic YTpi'), expect: badScheme },
  { name: 'bearer in lower case', headers: auth('bearer TOKEN'), expect: badScheme },
  { name: 'a token alone', headers: auth('TOKEN'), expect: badScheme },
  { name: 'two spaces before the token', headers: auth('Bearer  TOKEN'), expect: badToken },
  { name: 'an unknown token', headers: auth('Bearer nonsense'), expect: badToken },
];

const users: ParityCase[] = [
  { name: 'unknown user', user: null, expect: noUser },
  { name: 'user of another granted organization', user: { org: 'globex' }, expect: noUser },
  { name: 'user of the home, header of another one', headers: org('globex'), expect: noUser },
  { name: 'machine user', user: { machine: true }, expect: noUser },
  {
    name: 'deleted user',
    user: { state: 'deleted' },
    expect: noUser,
    unable: Object.fromEntries(
      (['v1-zitadel', 'v2-zitadel', 'reference'] as const).map((name) => [name, 'the sandbox keeps no deleted users']),
    ),
  },
  {
    name: 'user who is not initialized',
    user: { state: 'initial' },
    expect: withId(400, 9, 'COMMAND-M9dse', 'User is not yet initialized'),
  },
  { name: 'locked user', user: { state: 'locked' }, expect: 'set' },
  { name: 'inactive user', user: { state: 'inactive' }, expect: 'set' },
  {
    name: 'user with a manager role',
    user: { roles: ['ORG_OWNER'] },
    expect: {
      status: 403,
      code: 7,
      message: 'This user is protected: only a caller with the permission admin may set the password.',
    },
    reference: 'set',
    deviation: 'protected',
  },
  { name: 'id with slash, percent, space and letters beyond ASCII', id: (own) => `a/b% ü🐎${own}`, expect: 'set' },
  { name: 'id of 200 characters', id: (own) => own.padEnd(200, 'x'), expect: 'set' },
  { name: 'id of 200 characters beyond ASCII', id: (own) => own.padEnd(200, 'ü'), expect: 'set' },
  {
    name: 'id of 201 characters',
    user: null,
    id: (own) => own.padEnd(201, 'x'),
    expect: bad(),
    reference: noUser,
    deviation: 'ids',
  },
  {
    name: 'id with a control character',
    user: null,
    id: (own) => `${own}\n`,
    expect: bad(),
    reference: noUser,
    deviation: 'ids',
  },
];

const several: ParityCase[] = [
  { name: 'bad JSON and bad token', text: '{', headers: auth('Bearer nonsense'), expect: bad() },
  {
    name: 'wrong type and bad token',
    text: '{"userId":"ID","password":5}',
    headers: auth('Bearer nonsense'),
    expect: bad(),
  },
  {
    name: 'half of a surrogate pair and bad token',
    text: '{"password":"\\ud83d"}',
    headers: auth('Bearer nonsense'),
    expect: bad(),
  },
  { name: 'bad field and bad token', fields: password(''), headers: auth('Bearer nonsense'), expect: badToken },
  {
    name: 'unknown organization and bad token',
    headers: { ...auth('Bearer nonsense'), ...org('nowhere') },
    expect: badToken,
  },
  { name: 'unknown organization and bad field', fields: password(''), headers: org('nowhere'), expect: noOrg },
  {
    name: 'organization without a grant and bad field',
    fields: password(''),
    headers: org('initech'),
    expect: noMember,
  },
  { name: 'missing permission and bad field', fields: password(''), headers: org('reading'), expect: noPermission },
  { name: 'bad field and unknown user', user: null, fields: password(''), expect: length },
  { name: 'unknown user and broken policy', user: null, fields: password('aaa'), expect: noUser },
  {
    name: 'user who is not initialized and broken policy',
    user: { state: 'initial' },
    fields: password('aaa'),
    expect: withId(400, 9, 'COMMAND-M9dse', 'User is not yet initialized'),
  },
  {
    name: 'wrong method and bad token',
    rest: { method: 'GET' },
    headers: auth('Bearer nonsense'),
    expect: wrongMethod,
  },
  {
    name: 'unknown route and no token',
    rest: { path: () => '/management/v1/nothing' },
    headers: auth(null),
    expect: notFound,
  },
];

export const parityCases: readonly ParityCase[] = [...callers, ...users, ...fields, ...http, ...several];
