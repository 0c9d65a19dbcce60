const day = 86_400_000;

type Reason = 'set_at_invalid' | 'set_at_ambiguous' | 'set_at_future';

/**
 * When the password was known to be this one → ms since the epoch; null: the row does not say.
 * RFC 3339 and ISO 8601 with the year first (UTC where no zone is named), or seconds (10 digits) or milliseconds (13) since
 * 1970, as text or number.
 */
export function parseSetAt(value: unknown, now = Date.now()): number | null | Reason {
  if (typeof value !== 'string' && typeof value !== 'number') return 'set_at_invalid';
  const text = String(value).trim();
  if (text === '') return null;
  const ms = /^\d+$/.test(text) ? fromEpoch(text) : fromIso(text);
  if (typeof ms === 'number' && ms > now + day) return 'set_at_future';
  return ms;
}

function fromEpoch(text: string): number | Reason {
  if (text.length === 9 || text.length === 10) return Number(text) * 1_000;
  return text.length === 12 || text.length === 13 ? Number(text) : 'set_at_invalid';
}

const iso =
  /^(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s?([Zz]|UTC|[+-]\d\d(?::?\d\d)?)?)?$/;

function fromIso(text: string): number | Reason {
  const found = iso.exec(text);
  if (!found) return /^\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b/.test(text) ? 'set_at_ambiguous' : 'set_at_invalid';
  const [, year, month, date, hour = '0', minute = '0', second = '0', fraction = '', zone = 'Z'] = found;
  const parts = [Number(year), Number(month) - 1, Number(date), Number(hour), Number(minute), Number(second)] as const;
  const ms = Date.UTC(...parts);
  const back = new Date(ms);
  // 30 February becomes 2 March; a leap second the next minute.
  const same = back.getUTCMonth() === parts[1] && back.getUTCDate() === parts[2] && back.getUTCHours() === parts[3];
  if (!same || parts[4] > 59 || parts[5] > 59) return 'set_at_invalid';
  const offset = /^([+-])(\d\d):?(\d\d)?$/.exec(zone);
  const minutes = offset ? Number(`${offset[1]}1`) * (Number(offset[2]) * 60 + Number(offset[3] ?? 0)) : 0;
  return ms + Number(fraction.padEnd(3, '0').slice(0, 3)) - minutes * 60_000;
}
