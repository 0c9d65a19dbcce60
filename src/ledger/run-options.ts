import type { RunOptions } from '../run.ts';

/** What may be changed while a run goes; null takes a limit away. */
export interface Tuning {
  rate?: number | null;
  concurrency?: number | null;
  window?: string | null;
}

/** Fields of a run → what goes for it now: as it was asked for, but for what was tuned since. */
export function optionsNow(f: Record<string, string | undefined>): RunOptions {
  const options = JSON.parse(f.options ?? '{}') as RunOptions;
  if (f.tuned === undefined) return options;
  const { rate: _r, concurrency: _c, window: _w, ...rest } = options;
  const tuned = { ...pick(options), ...(JSON.parse(f.tuned) as Tuning) };
  const kept = Object.entries(tuned).filter(([, value]) => value !== null && value !== undefined);
  return { ...rest, ...Object.fromEntries(kept) } as RunOptions;
}

function pick({ rate, concurrency, window }: RunOptions): Tuning {
  return {
    ...(rate !== undefined && { rate }),
    ...(concurrency !== undefined && { concurrency }),
    ...(window !== undefined && { window }),
  };
}
