/**
 * `npm run bench -- streams [--polls 2000] [--streams 500] [--rounds 3]`: what one serve process holds before, while and after
 * so many long-polls and event streams are open. One line of JSON, heap in MiB after a collection.
 */
import { parseArgs } from 'node:util';
import { type Held, startManyReaders } from '../test/kit/many-readers.ts';
import { waitFor } from '../test/kit/wait.ts';

const { values } = parseArgs({
  options: {
    polls: { type: 'string', default: '2000' },
    streams: { type: 'string', default: '500' },
    rounds: { type: 'string', default: '3' },
  },
});
/** A heap that grows by more than this from the first round to the last was not given back, MiB. */
const goal = 8;

const many = await startManyReaders();
const jobs = await Promise.all(
  Array.from({ length: 200 }, async () => many.installation.ask('acme', await many.world.addUser('acme'))),
);
const short = ({ heapUsed, ...rest }: Held) => ({ heapMiB: Math.round(heapUsed / 104_857.6) / 10, ...rest });
const start = short(await many.look());
const rounds: { open: object; closed: ReturnType<typeof short> }[] = [];
for (let n = 0; n < Number(values.rounds); n += 1) {
  const readers = await many.open(jobs, Number(values.polls), Number(values.streams));
  const open = short(await many.look());
  await readers.close();
  // The process hears of it a moment later.
  const closed = await waitFor(
    async () => {
      const now = await many.look();
      return now.held < start.held + 50 ? short(now) : undefined;
    },
    { what: 'serve to let go' },
  );
  rounds.push({ open, closed });
}
await many.close();
const grown = (rounds.at(-1)?.closed.heapMiB ?? 0) - (rounds[0]?.closed.heapMiB ?? 0);
process.stdout.write(`${JSON.stringify({ goal, start, rounds, grownMiB: Math.round(grown * 10) / 10 })}\n`);
process.exit(grown > goal ? 1 : 0);
