/** One value of a family. */
export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

export interface Family {
  type: 'counter' | 'gauge' | 'histogram' | 'summary';
  help: string;
  samples: Sample[];
}

const label = /([a-zA-Z_]\w*)="((?:[^"\\\n]|\\[\\"n])*)"/g;
const line =
  /^([a-zA-Z_:][\w:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|NaN|[+-]Inf)$/;

/** Prometheus text 0.0.4 → families. Strict: throws at the first line that is not exactly as it must be. */
export function parsePrometheus(text: string): Map<string, Family> {
  if (!text.endsWith('\n')) throw new Error('does not end with a line end');
  const families = new Map<string, Family>();
  const helps = new Map<string, string>();
  const seen = new Set<string>();
  let current: string | undefined;
  for (const each of text.split('\n').slice(0, -1)) {
    if (each === '') continue;
    const help = /^# HELP (\S+) (.+)$/.exec(each);
    const type = /^# TYPE (\S+) (counter|gauge|histogram|summary)$/.exec(each);
    if (help) {
      const [, name = '', said = ''] = help;
      if (helps.has(name)) throw new Error(`HELP twice: ${name}`);
      helps.set(name, said);
    } else if (type) {
      const [, name = '', kind] = type;
      if (families.has(name) || !helps.has(name)) throw new Error(`TYPE twice or without HELP: ${name}`);
      families.set(name, { type: kind as Family['type'], help: helps.get(name) as string, samples: [] });
      current = name;
    } else {
      const [, name = '', labels = '', value = ''] = line.exec(each) ?? [];
      const family = current === undefined ? undefined : families.get(current);
      if (!name || !family || !name.startsWith(current as string)) throw new Error(`not a sample: ${each}`);
      const suffix = name.slice((current as string).length);
      if (suffix !== '' && !(family.type === 'histogram' || family.type === 'summary'))
        throw new Error(`stray: ${each}`);
      if (seen.has(`${name}{${labels}}`)) throw new Error(`twice: ${each}`);
      seen.add(`${name}{${labels}}`);
      const pairs = [...labels.matchAll(label)].map(([, key = '', text = '']) => [key, text]);
      family.samples.push({ name, labels: Object.fromEntries(pairs), value: Number(value.replace('Inf', 'Infinity')) });
    }
  }
  return families;
}
