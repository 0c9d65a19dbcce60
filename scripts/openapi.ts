import { openApiDocument } from '../src/producer/openapi/document.ts';

/** Prints the OpenAPI document, as `GET /openapi.json` serves it. */
process.stdout.write(`${JSON.stringify(openApiDocument(), null, 2)}\n`);
