import { randomUUID } from 'node:crypto';
import { type Permission, permissions } from '../../src/producer/callers.ts';

/** Where a request is for: an organization that is the caller's home, another one that is granted, one that is not, none at all. */
export const relations = ['own', 'other', 'ungranted', 'unknown'] as const;
export type Relation = (typeof relations)[number];

/** Everybody who asks: one with each permission (in own and other), with `operate`, and with nothing at all. */
export const askers = [...permissions, 'nothing'] as const;
export type Asker = (typeof askers)[number];

export interface Ask {
  path: string;
  body?: unknown;
  headers?: Record<string, string>;
}

/** What stands in an organization for tests to ask about: ids that are good in form, also where there is nothing. */
export interface Things {
  org: string;
  user: string;
  /** A job that has its end. */
  job: string;
  run: string;
  /** A run that generates passwords for a recipient. */
  generating: string;
  webhook: string;
  /** Another webhook, which may be removed. */
  newWebhook(): Promise<string>;
}

export interface Row {
  ask(things: Things): Ask | Promise<Ask>;
  /** With any of these it is answered `granted`. */
  may: readonly Permission[];
  granted: number;
  /** The organization is granted, this is not. Default 403. */
  lacking?: number;
  /** Of those that lack it, who is told that it is there and not theirs to do: 403. */
  sees?: readonly Permission[];
  /** Not granted. Default 404. */
  ungranted?: number;
  /** Does not exist. Default: as `ungranted`, word for word. */
  unknown?: number;
}

const json = { 'content-type': 'application/json' };
const inOrg = ({ org }: Things) => ({ 'x-zitadel-orgid': org });
const reason = { reason: 'test' };
const password = () => `Aa1-${randomUUID()}`;
const person = ['set', 'admin'] as const;

const v1 = (path: string, body: () => object): Row => ({
  ask: (things) => ({ path: path.replace('{userId}', things.user), body: body(), headers: inOrg(things) }),
  may: person,
  granted: 200,
  // The contract of v1 tells them apart.
  unknown: 403,
});

/** Of one job: who may not see it is told that there is none. Whoever only reads may do nothing with it. */
const ofJob = (verb: string, may: readonly Permission[], granted: number, more: Partial<Row> = {}): Row => ({
  ask: ({ job }) => ({ path: `/jobs/${job}${verb}`, ...(verb.startsWith(':') && { body: reason, headers: json }) }),
  ...{ may, granted, lacking: 404, ...more },
});

/** Of one webhook: for everybody but `admin` there is none. */
const ofWebhook = (rest: string, granted: number, body?: () => object): Row => ({
  ask: ({ webhook }) => ({ path: `/webhooks/${webhook}${rest}`, ...(body && { body: body(), headers: json }) }),
  ...{ may: ['admin'], granted, lacking: 404 },
});

/** Of one import, which is over. */
const ofRun = (rest: string, more: Partial<Row>): Row => ({
  ask: ({ run }) => ({ path: `/imports/${run}${rest}` }),
  ...{ may: ['import', 'admin'], granted: 409, lacking: 404, ...more },
});

/** A run that is no migration: there is none for anybody. */
const ofNoMigration = (rest: string): Row => ({
  ask: ({ run }) => ({ path: `/migrations/${run}${rest}` }),
  ...{ may: [], granted: 200, lacking: 404 },
});

const ofOrg = (path: string, may: readonly Permission[], granted = 200): Row => ({
  ask: (things) => ({ path: path.replace('{user}', things.user), headers: inOrg(things) }),
  ...{ may, granted },
});

/** Concerns every organization, so it is the same in each. */
const ofAll = (ask: Ask): Row => ({ ask: () => ask, may: ['operate'], granted: 200, lacking: 403, ungranted: 403 });

/** Every endpoint that asks for a token: who is answered what. A new one needs its row here. */
export const table: Record<string, Row> = {
  'POST /management/v1/users/{userId}/password': v1('/management/v1/users/{userId}/password', () => ({
    password: password(),
  })),
  'POST /management/v1/users/{userId}/password/_initialize': v1(
    '/management/v1/users/{userId}/password/_initialize',
    () => ({ password: password() }),
  ),
  'POST /users/{userId}/password': v1('/users/{userId}/password', () => ({ password: password() })),
  'POST /users/{userId}/password/_initialize': v1('/users/{userId}/password/_initialize', () => ({
    password: password(),
  })),
  'GET /jobs': ofOrg('/jobs', ['set', 'read', 'admin']),
  // Each item by itself: none was accepted.
  'POST /jobs': {
    ask: ({ org, user }) => ({ path: '/jobs', body: { jobs: [{ org, user, password: password() }] }, headers: json }),
    ...{ may: person, granted: 202, lacking: 422, ungranted: 422 },
  },
  'GET /jobs/{id}': ofJob('', ['set', 'read', 'admin'], 200),
  'DELETE /jobs/{id}': ofJob('', person, 409),
  'POST /jobs/{id}:retry': ofJob(':retry', person, 400, { sees: ['read'] }),
  'POST /jobs/{id}:drop': ofJob(':drop', person, 400, { sees: ['read'] }),
  'POST /jobs/{id}:release': ofJob(':release', ['admin'], 400, { sees: ['read', 'set'] }),
  'POST /jobs:retry': {
    ask: ({ org }) => ({ path: '/jobs:retry', body: { org }, headers: json }),
    ...{ may: person, granted: 200 },
  },
  'GET /jobs/{id}/events': ofJob('/events', ['set', 'read', 'admin'], 200),
  'GET /events': ofOrg('/events', ['read', 'admin']),
  'POST /imports': {
    ask: (things) => ({
      path: '/imports?asOf=now',
      body: `userId,password\n${things.user},${password()}\n`,
      headers: { 'content-type': 'text/csv', ...inOrg(things) },
    }),
    ...{ may: ['import', 'admin'], granted: 202 },
  },
  'GET /imports': ofOrg('/imports', ['import', 'read', 'admin']),
  'POST /imports/{id}:pause': ofRun(':pause', { sees: ['read'] }),
  'POST /imports/{id}:resume': ofRun(':resume', { sees: ['read'] }),
  'POST /imports/{id}:cancel': ofRun(':cancel', { sees: ['read'] }),
  // Nothing of it failed: it goes on, and is over at once.
  'POST /imports/{id}:retry': ofRun(':retry', { granted: 200, sees: ['read'] }),
  'GET /imports/{id}/events': ofRun('/events', { granted: 200, may: ['import', 'read', 'admin'] }),
  'GET /imports/{id}/rows/{row}': ofRun('/rows/1', { granted: 200, may: ['import', 'read', 'admin'] }),
  'GET /imports/{id}': {
    ask: ({ run }) => ({ path: `/imports/${run}` }),
    ...{ may: ['import', 'read', 'admin'], granted: 200, lacking: 404 },
  },
  'GET /imports/{id}/rejects': {
    ask: ({ run }) => ({ path: `/imports/${run}/rejects` }),
    ...{ may: ['import', 'read', 'admin'], granted: 200, lacking: 404 },
  },
  'GET /imports:plan': ofOrg('/imports:plan?rows=1', ['import', 'admin']),
  'GET /imports/{id}/evidence': ofRun('/evidence', { granted: 200, may: ['import', 'read', 'admin'] }),
  'POST /imports/{id}/evidence:verify': {
    ask: ({ run }) => ({ path: `/imports/${run}/evidence:verify`, body: {}, headers: json }),
    ...{ may: ['import', 'read', 'admin'], granted: 200, lacking: 404 },
  },
  'POST /resets': {
    ask: (things) => ({
      path: '/resets?mode=random',
      body: `userId\n${things.user}\n`,
      headers: { 'content-type': 'text/csv', ...inOrg(things) },
    }),
    ...{ may: ['import', 'admin'], granted: 202 },
  },
  'GET /imports/{id}/handout': {
    ask: ({ generating }) => ({ path: `/imports/${generating}/handout` }),
    ...{ may: ['import', 'admin'], granted: 200, lacking: 404, sees: ['read'] },
  },
  'GET /holds': ofAll({ path: '/holds' }),
  'PUT /holds/{backend}': ofAll({ path: '/holds/v2', body: reason, headers: json }),
  'DELETE /holds/{backend}': ofAll({ path: '/holds/v2' }),
  // A list of what may be seen: of nothing it is empty.
  // `ungranted`: as with an organization that is named in a body, nobody learns whether it exists.
  'POST /migrations': {
    ask: ({ org }) => ({ path: '/migrations', body: { mode: 'plan', organizations: [org] }, headers: json }),
    ...{ may: ['migrate', 'admin'], granted: 202, lacking: 403, ungranted: 403 },
  },
  'GET /migrations': ofOrg('/migrations', ['migrate', 'read', 'admin']),
  'GET /migrations/{id}': ofNoMigration(''),
  'GET /migrations/{id}/rejects': ofNoMigration('/rejects'),
  'GET /migrations/{id}/evidence': ofNoMigration('/evidence'),
  'POST /migrations/{id}:pause': ofNoMigration(':pause'),
  'POST /migrations/{id}:resume': ofNoMigration(':resume'),
  'POST /migrations/{id}:cancel': ofNoMigration(':cancel'),
  'POST /migrations/{id}:tune': ofNoMigration(':tune'),
  'GET /stages': { ask: () => ({ path: '/stages' }), may: permissions, granted: 200, lacking: 200, ungranted: 200 },
  'GET /stages/{org}': {
    ask: ({ org }) => ({ path: `/stages/${org}` }),
    ...{ may: ['read', 'migrate', 'admin', 'operate'], granted: 200 },
  },
  'GET /stages/{org}:plan': {
    ask: ({ org }) => ({ path: `/stages/${org}:plan?stage=dual-v1` }),
    ...{ may: ['read', 'migrate', 'admin', 'operate'], granted: 200 },
  },
  // No stage at all: nothing moves.
  'PUT /stages/{org}': {
    ask: ({ org }) => ({ path: `/stages/${org}`, body: {}, headers: json }),
    ...{ may: ['migrate', 'admin', 'operate'], granted: 400 },
  },
  'GET /divergence': ofOrg('/divergence', ['read', 'migrate', 'admin']),
  'POST /divergence:redrive': {
    ask: ({ org }) => ({ path: '/divergence:redrive', body: { org }, headers: json }),
    ...{ may: ['migrate', 'admin', 'operate'], granted: 200 },
  },
  'POST /webhooks': {
    ask: ({ org }) => ({ path: '/webhooks', body: { org, url: webhookUrl }, headers: json }),
    ...{ may: ['admin'], granted: 201 },
  },
  'GET /webhooks': ofOrg('/webhooks', ['admin']),
  'GET /webhooks/{id}': ofWebhook('', 200),
  'DELETE /webhooks/{id}': {
    ask: async ({ newWebhook }) => ({ path: `/webhooks/${await newWebhook()}` }),
    ...{ may: ['admin'], granted: 204, lacking: 404 },
  },
  'GET /webhooks/{id}/deliveries': ofWebhook('/deliveries', 200),
  'POST /webhooks/{id}:test': ofWebhook(':test', 202, () => ({})),
  'POST /webhooks/{id}:rotate': ofWebhook(':rotate', 200, () => ({})),
  'POST /webhooks/{id}:disable': ofWebhook(':disable', 200, () => reason),
  'POST /webhooks/{id}:enable': ofWebhook(':enable', 200, () => ({})),
  'POST /webhooks/{id}:replay': ofWebhook(':replay', 200, () => ({ since: '2020-01-01T00:00:00Z' })),
  'GET /audit': ofOrg('/audit', ['admin']),
  'GET /status': ofOrg('/status', ['read', 'admin']),
  'GET /why': ofOrg('/why?user={user}', ['read', 'admin']),
};

export const webhookUrl = 'http://127.0.0.1:9/hook';

/** What the table says. */
export function expected(row: Row, asker: Asker, relation: Relation): number {
  const { may, granted, lacking = 403, sees = [], ungranted = 404, unknown = ungranted } = row;
  if (may.includes('operate') && asker === 'operate') return granted;
  if (relation === 'unknown') return unknown;
  // `operate` is in no organization.
  if (relation === 'ungranted' || asker === 'operate' || asker === 'nothing') return ungranted;
  if (may.includes(asker)) return granted;
  return sees.includes(asker) ? 403 : lacking;
}
