/**
 * Given to a worker process by NODE_OPTIONS=--import: kills it (SIGKILL) when the jobs of a line of POISON_FILE, joined by
 * `+`, have all begun in it and not ended. POISON_LOG gets a line a start and an end: `begun|committed|delayed pid jobId queue`.
 */
import { subscribe } from 'node:diagnostics_channel';
import { appendFileSync, readFileSync } from 'node:fs';

const { POISON_FILE: file, POISON_LOG: log } = process.env;
const queue = process.argv.includes('--quarantine') ? 'quarantine' : 'interactive';
const running = new Set();
const note = (what, jobId) => appendFileSync(log, `${what} ${process.pid} ${jobId} ${queue}\n`);

subscribe('passferry:job:begun', ({ jobId }) => {
  running.add(jobId);
  note('begun', jobId);
  const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean);
  if (lines.some((line) => line.split('+').every((id) => running.has(id)))) process.kill(process.pid, 'SIGKILL');
});

for (const point of ['committed', 'delayed']) {
  subscribe(`passferry:job:${point}`, ({ jobId }) => {
    running.delete(jobId);
    note(point, jobId);
  });
}
