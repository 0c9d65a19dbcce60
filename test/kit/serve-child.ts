import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { loadServeConfig } from '../../src/config.ts';
import { createLog } from '../../src/log.ts';
import { serve } from '../../src/serve.ts';

/** `serve` with a second port that says what it holds; run with `--expose-gc`. */

const { gc } = globalThis as { gc?: () => void };
const serving = await serve(loadServeConfig(process.env), createLog('error', 'serve'));
const look = createServer((_request, response) => {
  gc?.();
  // What the first has made free may hold more.
  setImmediate(() => {
    gc?.();
    const { heapUsed } = process.memoryUsage();
    response.end(JSON.stringify({ heapUsed, held: process.getActiveResourcesInfo().length }));
  });
});
look.listen(0, '127.0.0.1', () => {
  const { port } = look.address() as AddressInfo;
  process.stdout.write(`${JSON.stringify({ url: serving.url, look: `http://127.0.0.1:${port}/` })}\n`);
});
