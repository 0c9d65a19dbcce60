import { createReadStream } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { PassferryError } from '../../errors.ts';
import { openApiDocument } from '../openapi/document.ts';

const distribution = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'));

/** Only what the page needs of the package: name → content type. */
const files: Record<string, string> = {
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
  'swagger-ui.css': 'text/css; charset=utf-8',
  'favicon-32x32.png': 'image/png',
};

/** Nothing inline, nothing from elsewhere, in no frame. The package draws its signs as data: images. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const page = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Passferry</title>
    <link rel="stylesheet" href="docs/swagger-ui.css">
    <link rel="icon" type="image/png" href="docs/favicon-32x32.png">
  </head>
  <body>
    <div id="page"></div>
    <script src="docs/swagger-ui-bundle.js"></script>
    <script src="docs/start.js"></script>
  </body>
</html>
`;

/** The token is typed in, kept by the page alone and sent in its header; it is not shown again as a part of a call. */
const start = `SwaggerUIBundle({
  url: 'openapi.json',
  dom_id: '#page',
  presets: [SwaggerUIBundle.presets.apis],
  plugins: [() => ({ wrapComponents: { curl: () => () => null } })],
  layout: 'BaseLayout',
  validatorUrl: null,
  persistAuthorization: false,
  queryConfigEnabled: false,
  tryItOutEnabled: true,
  docExpansion: 'list',
  defaultModelsExpandDepth: 0,
});
`;

/** `GET /openapi.json`, `GET /docs` and its files: for everybody, they tell nothing of this installation. */
export function registerDocs(app: FastifyInstance): void {
  const document = JSON.stringify(openApiDocument());

  app.get('/openapi.json', async (_request, reply) => reply.type('application/json').send(document));
  app.get('/docs', async (_request, reply) => guarded(reply).type('text/html; charset=utf-8').send(page));
  app.get<{ Params: { file: string } }>('/docs/:file', async ({ params: { file } }, reply) => {
    if (file === 'start.js') return guarded(reply).type('text/javascript; charset=utf-8').send(start);
    const type = Object.hasOwn(files, file) ? files[file] : undefined;
    if (type !== undefined)
      return guarded(reply)
        .type(type)
        .send(createReadStream(join(distribution, file)));
    throw new PassferryError('route_unknown');
  });
}

function guarded(reply: FastifyReply): FastifyReply {
  return reply.header('content-security-policy', policy).header('referrer-policy', 'no-referrer');
}
