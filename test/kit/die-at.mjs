/**
 * Given to a process by NODE_OPTIONS=--import: kills it (SIGKILL) when it first comes to the trace point DIE_AT, such as
 * `job:begun`. Only a process that can make the file DIE_ONCE dies: the ones after it go on.
 */
import { subscribe } from 'node:diagnostics_channel';
import { closeSync, openSync } from 'node:fs';

const { DIE_AT: point, DIE_ONCE: file } = process.env;

subscribe(`passferry:${point}`, () => {
  try {
    closeSync(openSync(file, 'wx'));
  } catch {
    return;
  }
  process.kill(process.pid, 'SIGKILL');
});
