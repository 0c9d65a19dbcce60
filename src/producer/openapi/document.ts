import { readFileSync } from 'node:fs';
import { auditPaths } from './audit.ts';
import { batchPaths } from './batch.ts';
import { divergencePaths } from './divergence.ts';
import { eventPaths } from './events.ts';
import { evidencePaths } from './evidence.ts';
import { headerComponents, parameterComponents } from './headers.ts';
import { healthPaths } from './health.ts';
import { holdPaths } from './holds.ts';
import { importPlanPaths } from './import-plan.ts';
import { importPaths } from './imports.ts';
import { jobPaths } from './jobs.ts';
import { migrationPaths } from './migrations.ts';
import type { Paths } from './operation.ts';
import { resetPaths } from './resets.ts';
import { namedSchemas } from './schema.ts';
import { stagePaths } from './stages.ts';
import { statusPaths } from './status.ts';
import { v1Paths, v1Responses } from './v1.ts';
import { webhookPaths } from './webhooks.ts';
import { whyPaths } from './why.ts';

const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

const description = `Sets passwords through a queue. The v1 call answers as ZITADEL's deprecated one does; everything else is
Passferry's own.

Errors of the v1 call and of unknown addresses have ZITADEL's shape, those of our own endpoints are problem details (RFC 9457).
Decide by \`code\` and \`reason\` (header \`Passferry-Reason\`): texts may change. No answer repeats a value that was sent. Every
answer has \`cache-control: no-store\`.`;

const tags = {
  v1: 'The deprecated call, under its own path and a short one',
  jobs: 'Stored requests and their outcomes',
  events: 'What ends, while it ends',
  imports: 'Whole files',
  resets: 'Links, unknown or generated passwords for lists of users',
  holds: 'Stopping what is sent to a backend',
  migrations: 'Everybody of v1 is brought to v2, by hash',
  stages: 'Which backend is written and which one leads, on the way from v1 to v2',
  status: 'What is slow, why, and what to do',
  audit: 'Who asked for what, and what became of it',
  webhooks: 'Who is told when something ends',
  health: 'For whoever watches the process',
  documents: 'This description',
};

/** The OpenAPI 3.1 document of the HTTP API, made from the code: a plain object. */
export function openApiDocument() {
  const paths: Paths = {};
  for (const part of [
    v1Paths,
    jobPaths,
    eventPaths,
    batchPaths,
    importPaths,
    importPlanPaths,
    resetPaths,
    evidencePaths,
    holdPaths,
    migrationPaths,
    stagePaths,
    divergencePaths,
    statusPaths,
    whyPaths,
    webhookPaths,
    auditPaths,
    healthPaths,
  ]) {
    for (const [path, operations] of Object.entries(part)) paths[path] = { ...paths[path], ...operations };
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Passferry', version, description, license: { name: 'MIT', identifier: 'MIT' } },
    servers: [{ url: '/', description: 'Where this document comes from' }],
    security: [{ token: [] }],
    tags: Object.entries(tags).map(([name, description]) => ({ name, description })),
    paths,
    components: {
      securitySchemes: {
        token: {
          type: 'http',
          scheme: 'bearer',
          description: "The caller's token: of the callers file, or of the configured issuer",
        },
      },
      schemas: namedSchemas(),
      parameters: parameterComponents,
      headers: headerComponents,
      responses: v1Responses,
    },
  };
}
