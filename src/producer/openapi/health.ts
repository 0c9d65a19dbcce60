import { z } from 'zod';
import { errorAnswers } from './errors.ts';
import { pathParameter } from './headers.ts';
import { jsonAnswer, operation, type Paths } from './operation.ts';
import { name } from './schema.ts';

const healthy = name('Healthy', z.object({ status: z.literal('ok') }));
const ready = name('Ready', z.object({ status: z.literal('ready') }));

const file = (description: string, ...mediaTypes: string[]) => ({
  description,
  content: Object.fromEntries(mediaTypes.map((each) => [each, { schema: { type: 'string' } }])),
});

/** What asks for no token: health, this document and the page to try it. */
export const healthPaths: Paths = {
  '/healthz': {
    get: operation({
      id: 'health',
      tag: 'health',
      summary: 'Does the process answer?',
      open: true,
      answers: { 200: jsonAnswer('It does', healthy, { ok: { summary: 'Yes', value: { status: 'ok' } } }) },
    }),
  },
  '/readyz': {
    get: operation({
      id: 'readiness',
      tag: 'health',
      summary: 'Can it accept requests?',
      open: true,
      answers: {
        200: jsonAnswer('It can', ready, { ready: { summary: 'Yes', value: { status: 'ready' } } }),
        ...errorAnswers('problem', ['redis_down', 'ledger_not_ready']),
      },
    }),
  },
  '/openapi.json': {
    get: operation({
      id: 'openApiDocument',
      tag: 'documents',
      summary: 'This document',
      open: true,
      answers: { 200: { description: 'OpenAPI 3.1', content: { 'application/json': { schema: { type: 'object' } } } } },
    }),
  },
  '/docs': {
    get: operation({
      id: 'docsPage',
      tag: 'documents',
      summary: 'A page to try it',
      open: true,
      answers: { 200: file('The page', 'text/html') },
    }),
  },
  '/docs/{file}': {
    get: operation({
      id: 'docsFile',
      tag: 'documents',
      summary: 'What the page is made of',
      open: true,
      parameters: [pathParameter('file', z.string(), 'start.js')],
      answers: {
        200: file('A file of the page', 'text/javascript', 'text/css', 'image/png'),
        ...errorAnswers('problem', ['route_unknown']),
      },
    }),
  },
};
