import { loadWorkConfig } from '../config.ts';
import { createLog } from '../log.ts';
import { quarantineProcess } from '../quarantine-process.ts';
import { openBackends, work } from '../work.ts';
import { untilStopped } from './until-stopped.ts';

/** `passferry work`. */
export async function runWork({ quarantine: inside }: { quarantine?: boolean }): Promise<void> {
  const config = loadWorkConfig(process.env);
  const log = createLog(config.PASSFERRY_LOG_LEVEL, inside ? 'quarantine' : 'work');
  const way = inside ? ({ kind: 'inside' } as const) : quarantineProcess(process.env);
  const worker = await work(config, await openBackends(config, log), log, way);
  await untilStopped(() => worker.close(), worker.idle);
}
