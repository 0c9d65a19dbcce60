import { fileError } from '../reasons.ts';
import type { Backslash } from './head.ts';
import { BACKSLASH, closing, isSpace, opening, SINGLE } from './lex.ts';
import { doubledQuote, backslash as hasBackslash, hasString, isExpression } from './value.ts';

const TAB = 9;
const OPEN = 40;
const CLOSE = 41;
const COMMA = 44;

/** Three numbers a field: start and end without blanks, from the start of the row, and what is known. */
export interface RowBounds {
  bounds: number[];
  fields: number;
}

/**
 * `(1, 'a', NULL)` → where its fields stand; the place after it, or -1: it does not end here.
 * @throws sql_dialect
 */
export function scanRow(buffer: Buffer, start: number, known: Backslash, final: boolean, into: RowBounds): number {
  const { bounds } = into;
  let depth = 1;
  let fieldStart = -1;
  let fieldEnd = start;
  let facts = 0;
  into.fields = 0;
  const endField = () => {
    const at = into.fields++ * 3;
    bounds[at] = (fieldStart < 0 ? fieldEnd : fieldStart) - start;
    bounds[at + 1] = fieldEnd - start;
    bounds[at + 2] = facts;
    fieldStart = -1;
    facts = 0;
  };
  for (let i = start + 1; i < buffer.length; ) {
    const value = buffer[i] as number;
    if (value === COMMA && depth === 1) {
      if (fieldStart < 0) fieldEnd = i;
      endField();
    } else if (value === CLOSE && depth === 1) {
      if (fieldStart < 0) fieldEnd = i;
      endField();
      return i + 1;
    } else if (value === OPEN || value === CLOSE) {
      depth += value === OPEN ? 1 : -1;
      facts |= isExpression;
      if (fieldStart < 0) fieldStart = i;
      fieldEnd = i + 1;
    } else if (!isSpace(value)) {
      if (fieldStart < 0) fieldStart = i;
      // Nearly all there is.
      if (value === SINGLE && fieldStart === i) {
        const at = stringEnd(buffer, i + 1, known, final);
        if (at < 0) return -1;
        facts = hasString | factsOf(buffer, i + 1, at - 1, known === true);
        i = fieldEnd = at;
        continue;
      }
      const inside = opening(buffer, i, known, final);
      if (inside === 'more') return -1;
      if (inside) {
        const { at, closed } = closing(buffer, inside, inside.from, final);
        if (!closed) return -1;
        if (inside.kind !== 'quote' || inside.quote !== SINGLE || (facts & hasString) !== 0) facts |= isExpression;
        facts |= hasString | factsOf(buffer, inside.from, at - 1, inside.escapes === true);
        i = fieldEnd = at;
        continue;
      }
      fieldEnd = i + 1;
    }
    i++;
  }
  return -1;
}

function factsOf(buffer: Buffer, from: number, to: number, escapes: boolean): number {
  let facts = 0;
  for (let i = from; i < to; i++) {
    const value = buffer[i];
    if (value === SINGLE) facts |= doubledQuote;
    else if (escapes && value === BACKSLASH) {
      facts |= hasBackslash;
      i++;
    }
  }
  return facts;
}

/** After its closing quote; -1: it is not there. */
function stringEnd(buffer: Buffer, from: number, known: Backslash, final: boolean): number {
  for (let i = from; i < buffer.length; i++) {
    const value = buffer[i];
    if (value === SINGLE) {
      if (buffer[i + 1] !== SINGLE) return i + 1 < buffer.length || final ? i + 1 : -1;
      i++;
    } else if (value === BACKSLASH && known !== false) {
      if (known === undefined) throw fileError('sql_dialect');
      i++;
    }
  }
  return -1;
}

/** A line of a COPY block → how many fields it has. */
export function scanCopy(buffer: Buffer, start: number, stop: number, into: RowBounds): number {
  const { bounds } = into;
  let fields = 0;
  for (let from = start; ; ) {
    const tab = buffer.indexOf(TAB, from);
    const to = tab < 0 || tab > stop ? stop : tab;
    bounds[fields * 3] = from - start;
    bounds[fields * 3 + 1] = to - start;
    bounds[fields * 3 + 2] = 0;
    fields++;
    if (to === stop) return fields;
    from = to + 1;
  }
}
