import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify';
import { PassferryError } from '../../errors.ts';
import { noteRoute } from '../count-requests.ts';
import { refusedAtGuard } from '../guard.ts';
import { recordRequests, registerAudit } from './audit.ts';
import { registerBatch } from './batch.ts';
import type { HttpDeps } from './deps.ts';
import { registerDivergence } from './divergence.ts';
import { registerDocs } from './docs-page.ts';
import { problem, v1Error } from './errors.ts';
import { createStreams, defaultStreams } from './event-stream.ts';
import { registerEvents } from './events.ts';
import { registerEvidence } from './evidence.ts';
import { registerHolds } from './holds.ts';
import { registerImportPlan } from './import-plan.ts';
import { registerImports } from './imports.ts';
import { allowedOn, registerJobs } from './jobs.ts';
import { registerMigrations } from './migrations.ts';
import { registerResets } from './resets.ts';
import { registerStages } from './stages.ts';
import { registerStatus } from './status.ts';
import { registerV1 } from './v1.ts';
import { registerWebhooks } from './webhooks.ts';

const bodyLimit = 64 * 1024;

/** The HTTP edge: bytes in, answers out; no rule of its own. */
export function createHttp(deps: HttpDeps): FastifyInstance {
  const app: FastifyInstance = Fastify({
    loggerInstance: deps.log as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit,
    requestTimeout: 0,
    connectionTimeout: 0,
    forceCloseConnections: 'idle',
    // No limit beside that of all headers: what is too long is told by the check of the field.
    routerOptions: { maxParamLength: 64 * 1024 },
    frameworkErrors: (_error, request, reply) => {
      request.raw.resume();
      const tell = isOwnPath(request.url) ? problem : v1Error;
      const { status, headers, body } = tell(new PassferryError('route_unknown'));
      // No hook comes after this one.
      const sent = { 'content-type': 'application/json', ...headers, 'cache-control': 'no-store' };
      reply.raw.writeHead(status, sent).end(JSON.stringify(body));
    },
  });

  // Nothing here takes plain text: left to itself it would be read to its end, of an import without limit.
  app.removeContentTypeParser('text/plain');

  // Before its body is read, and after a key was made for it.
  app.addHook('preParsing', async (request) => {
    noteRoute(request.raw, request.routeOptions.url);
    const refused = refusedAtGuard(request.raw);
    if (refused) throw refused;
  });

  recordRequests(app, deps);
  app.addHook('onSend', async (request, reply) => {
    // A body that nobody read is let go, so that it is not shown to who traces the request.
    request.raw.resume();
    reply.header('cache-control', 'no-store');
    // As ZITADEL sends it; JSON has no other charset than this.
    const type = reply.getHeader('content-type');
    if (typeof type === 'string') reply.header('content-type', type.replace(/json; charset=utf-8$/, 'json'));
  });

  app.setErrorHandler((thrown: Error & { code?: string; statusCode?: number }, request, reply) => {
    const error = translate(thrown);
    if (error.reason === 'internal') request.log.error({ err: thrown }, 'a request failed inside');
    const { status, headers, body } = isV1Path(request.url) ? v1Error(error) : problem(error);
    return reply.code(status).headers(headers).send(body);
  });

  app.setNotFoundHandler((request, reply) => {
    const known = isV1Path(request.url) || isOwnPath(request.url);
    const error = new PassferryError(known ? 'method_not_allowed' : 'route_unknown');
    const allow = allowedOn(request.url);
    if (allow !== undefined) reply.header('allow', allow);
    const { status, headers, body } = isOwnPath(request.url) ? problem(error) : v1Error(error);
    return reply.code(status).headers(headers).send(body);
  });

  const streams = createStreams({ closing: deps.closing, perCaller: deps.streamsPerCaller ?? defaultStreams });

  registerV1(app, deps);
  registerJobs(app, deps);
  registerBatch(app, deps);
  registerEvents(app, deps, streams);
  registerImports(app, deps, streams);
  registerImportPlan(app, deps);
  registerResets(app, deps);
  registerEvidence(app, deps);
  registerHolds(app, deps);
  registerStages(app, deps);
  registerMigrations(app, deps);
  registerDivergence(app, deps);
  registerStatus(app, deps);
  registerWebhooks(app, deps);
  registerAudit(app, deps);
  registerDocs(app);

  app.get('/healthz', async () => ({ status: 'ok' }));
  app.get('/readyz', async (_request, reply) => {
    const ready = await deps.producer.isReady().catch(() => undefined);
    if (ready) return { status: 'ready' };
    const { status, headers, body } = problem(
      new PassferryError(ready === undefined ? 'redis_down' : 'ledger_not_ready'),
    );
    return reply.code(status).headers(headers).send(body);
  });
  return app;
}

function isV1Path(url: string): boolean {
  return /^(\/management\/v1)?\/users\/[^/?]+\/password(\/_initialize)?(\?|$)/.test(url);
}

function isOwnPath(url: string): boolean {
  return /^\/(jobs|jobs:retry|jobs\/[^/?]+(\/events)?|events|imports|imports:plan|imports\/[^/?]+(\/(rejects|handout|evidence|evidence:verify|events|rows\/[^/?]+))?|resets|holds|holds\/[^/?]+|stages|stages\/[^/?]+|divergence|divergence:redrive|status|why|audit|webhooks|webhooks\/[^/?]+(\/deliveries)?|healthz|readyz|openapi\.json|docs|docs\/[^/?]+)(\?|$)/.test(
    url,
  );
}

function translate(thrown: Error & { code?: string; statusCode?: number }): PassferryError {
  if (thrown instanceof PassferryError) return thrown;
  if (thrown.code === 'FST_ERR_CTP_BODY_TOO_LARGE') return new PassferryError('body_too_large');
  if (thrown.code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return new PassferryError('media_type_unsupported');
  // Whoever sent it has gone; nobody reads this.
  const gone =
    thrown.code === 'ERR_STREAM_PREMATURE_CLOSE' || (thrown.code === 'ECONNRESET' && thrown.message === 'aborted');
  if (gone) return new PassferryError('body_not_json');
  if (thrown.statusCode && thrown.statusCode < 500) return new PassferryError('body_not_json');
  return new PassferryError('internal', { cause: thrown });
}
