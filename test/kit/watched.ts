/**
 * Loaded into a process under test by `--import`: hands over what an observer inside that process could get.
 *
 * - `traces`: every diagnostics channel, as a tracing exporter would write it
 * - `idle.heapsnapshot`: on SIGWINCH, after a forced collection
 *
 * Environment: WATCH_DIR (where to), WATCH_CONTROL (core of a planted canary: a search that does not find it proves
 * nothing).
 */
import diagnostics from 'node:diagnostics_channel';
import { appendFileSync, renameSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { setFlagsFromString, writeHeapSnapshot } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { encodings, makeCanary } from './canary.ts';

const dir = process.env.WATCH_DIR as string;
const control = makeCanary(process.env.WATCH_CONTROL);

const seen = new Set<string>();
const write = (facts: unknown, name: string | symbol) => {
  const shown = inspect(facts, { depth: 5, maxStringLength: null, maxArrayLength: null, breakLength: Infinity });
  appendFileSync(join(dir, 'traces'), `${String(name)} ${shown}\n`);
};

/** Listens before anybody publishes: whoever asks for a channel gets one with us on it. */
const { channel, tracingChannel } = diagnostics;
function listen(name: string | symbol) {
  const asked = channel(name);
  if (!seen.has(String(name))) asked.subscribe(write);
  seen.add(String(name));
  return asked;
}
diagnostics.channel = listen;
diagnostics.tracingChannel = ((named: string) => {
  for (const event of ['start', 'end', 'asyncStart', 'asyncEnd', 'error']) listen(`tracing:${named}:${event}`);
  return tracingChannel(named);
}) as typeof tracingChannel;
syncBuiltinESMExports();

// Node's own exist before we come.
const own = {
  http: ['client.request.start', 'client.response.finish', 'server.request.start', 'server.response.finish'],
  net: ['client.socket', 'server.socket'],
};
for (const [module, names] of Object.entries(own)) for (const name of names) listen(`${module}.${name}`);
const undici = ['request:create', 'request:bodySent', 'request:headers', 'request:error', 'client:sendHeaders'];
for (const name of undici) listen(`undici:${name}`);

// The control, in every place and every encoding.
const planted = Object.values(encodings).map((encode) => encode(control.password));
diagnostics.channel('watched:control').publish(planted);
console.log(planted.join('\n'));
writeFileSync(join(tmpdir(), 'control'), planted.join('\n'));
Object.assign(globalThis, { planted });

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
process.on('SIGWINCH', () => {
  collect();
  // Once more after what the first one set free has told so.
  setImmediate(() => {
    collect();
    const written = writeHeapSnapshot(join(dir, 'writing.heapsnapshot'));
    renameSync(written, join(dir, 'idle.heapsnapshot'));
  });
});
