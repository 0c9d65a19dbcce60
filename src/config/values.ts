import { z } from 'zod';
import { parseQuota, quotaForm } from '../quota.ts';

/** Kinds of values: how a text of the environment becomes one, and what is said when it does not. */

export const duration = z
  .string()
  .regex(/^\d+(ms|s|m|h|d)$/, 'must be a number with ms, s, m, h or d, such as 25s')
  .transform((text) => {
    const [, number, unit] = /^(\d+)(\D+)$/.exec(text) as unknown as [string, string, keyof typeof units];
    return Number(number) * units[unit];
  });
export const units = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

export const count = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d+$/, 'must be a whole number')
    .transform(Number)
    .refine((n) => n >= min && n <= max, `must lie between ${min} and ${max}`);

export const quota = z.string().transform((text, ctx) => {
  const parsed = parseQuota(text);
  if (parsed !== undefined) return parsed;
  ctx.addIssue({ code: 'custom', message: quotaForm });
  return z.NEVER;
});

export const address = z
  .string()
  .regex(/^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$/, 'must be host:port')
  .transform((text) => {
    const at = text.lastIndexOf(':');
    return { host: text.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(text.slice(at + 1)) };
  })
  .refine(({ port }) => port <= 65_535, 'has a port above 65535');

export const url = (...protocols: string[]) =>
  z.string().refine((text) => URL.canParse(text) && protocols.includes(new URL(text).protocol), {
    message: `must be a URL with ${protocols.join(' or ')}`,
  });

export const json = (schema: z.ZodType) =>
  z.string().transform((text, ctx) => {
    try {
      const parsed = schema.safeParse(JSON.parse(text));
      if (parsed.success) return parsed.data;
      ctx.addIssue({ code: 'custom', message: 'has the wrong shape' });
    } catch {
      ctx.addIssue({ code: 'custom', message: 'is not valid JSON' });
    }
    return z.NEVER;
  });

export const list = z.string().transform((text) =>
  text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== ''),
);
