import { loadServeConfig } from '../config.ts';
import { createLog } from '../log.ts';
import { serve } from '../serve.ts';
import { untilStopped } from './until-stopped.ts';

/** `passferry serve`. */
export async function runServe(): Promise<void> {
  const config = loadServeConfig(process.env);
  const serving = await serve(config, createLog(config.PASSFERRY_LOG_LEVEL, 'serve'));
  await untilStopped(() => serving.close());
}
