import { CR, type Cutter, LF, type Place, recordLimit } from './csv-cut.ts';
import type { Frame } from './lines.ts';
import { fileError } from './reasons.ts';
import { createRemainder } from './remainder.ts';

const QUOTE = 34;
const BACKSLASH = 92;
const COMMA = 44;
const OPEN = 91;
const CLOSE = 93;
const OPEN_OBJECT = 123;
const CLOSE_OBJECT = 125;

const isSpace = (byte: number) => byte === 32 || (byte >= 9 && byte <= 13);

const modes = { before: 0, between: 1, element: 2, lost: 3, after: 4 } as const;

/**
 * A JSON array → its elements while they arrive, as bytes for JSON.parse. A line end inside a string cannot be: such an element
 * is refused, and reading goes on where a line begins with an object as far from the margin. An element over the limit is
 * skipped by its brackets.
 * `after` is told of each byte behind the list that is no blank; without it there must be none.
 * @throws json_array_cut, json_array_trailing
 */
export function cutJsonArray(place: Place, after?: (byte: number) => void): Cutter<Frame> {
  const remainder = createRemainder();
  let { line, byte } = place;
  const { width } = place;

  let mode: number = modes.before;
  let depth = 0;
  let inString = false;
  let escaped = false;
  let scalar = false;
  let tooLong = false;
  /** Bytes since the line began, and whether all of them were blank. */
  let column = 0;
  let margin = true;
  let lastCr = false;
  let elementLine = 0;
  let elementColumn = -1;
  /** Of the held bytes, how many were looked at. */
  let offset = 0;

  function* elements(buffer: Buffer, final: boolean): Generator<Frame> {
    /** Where the element starts; what is before it is counted already. */
    let start = 0;
    const goOn = (to: number) => {
      byte += width ? width(buffer, start, to) : to - start;
      start = to;
    };
    try {
      let i = offset;
      for (; i < buffer.length; i++) {
        const value = buffer[i] as number;
        if (value === LF || value === CR) {
          if (!(value === LF && lastCr)) line++;
          lastCr = value === CR;
          if (mode === modes.element && inString) {
            if (!tooLong) yield { line: elementLine, byte, reason: 'row_not_json' };
            mode = modes.lost;
            goOn(i);
          }
          if (mode === modes.element && scalar) {
            yield { line: elementLine, byte, bytes: buffer.subarray(start, i) };
            mode = modes.between;
          }
          column = 0;
          margin = true;
          continue;
        }
        lastCr = false;
        const space = isSpace(value);
        if (mode === modes.element) {
          if (inString) {
            if (escaped) escaped = false;
            else if (value === BACKSLASH) escaped = true;
            else if (value === QUOTE) inString = false;
          } else if (value === QUOTE) inString = true;
          else if (value === OPEN_OBJECT || value === OPEN) depth++;
          else if ((value === CLOSE_OBJECT || value === CLOSE) && depth > 0) depth--;
          else if (scalar && depth === 0 && (value === COMMA || value === CLOSE || space)) {
            if (!tooLong) yield { line: elementLine, byte, bytes: buffer.subarray(start, i) };
            goOn(i);
            tooLong = false;
            mode = value === CLOSE ? modes.after : modes.between;
            column++;
            continue;
          }
          if (!scalar && depth === 0 && !inString) {
            if (!tooLong) yield { line: elementLine, byte, bytes: buffer.subarray(start, i + 1) };
            goOn(i + 1);
            tooLong = false;
            mode = modes.between;
          } else if (!tooLong && i - start >= recordLimit) {
            yield { line: elementLine, byte, reason: 'line_too_long' };
            tooLong = true;
          }
        } else if (!space) {
          const opens = mode === modes.between || (mode === modes.lost && margin && value === OPEN_OBJECT);
          if (mode === modes.after) {
            if (!after) throw fileError('json_array_trailing');
            after(value);
          } else if (mode === modes.before) mode = modes.between;
          else if (mode === modes.lost && margin && value === CLOSE && column < Math.max(1, elementColumn)) {
            mode = modes.after;
          } else if (opens && value === CLOSE) mode = modes.after;
          else if (opens && value !== COMMA && (mode === modes.between || fits(column))) {
            goOn(i);
            mode = modes.element;
            elementLine = line;
            elementColumn = margin ? column : -1;
            tooLong = escaped = false;
            inString = value === QUOTE;
            depth = value === OPEN_OBJECT || value === OPEN ? 1 : 0;
            scalar = depth === 0 && !inString;
          }
        }
        column++;
        if (!space && value !== COMMA) margin = false;
      }
      if (mode !== modes.element || tooLong) goOn(i);
      offset = remainder.keep(buffer.subarray(start));
    } finally {
      // What was read is zeroed once the reader asks for more: it holds passwords (P4).
      buffer.fill(0);
    }
    if (final && mode !== modes.after) throw fileError('json_array_cut');
  }

  /** A nested object stands further from the margin than an element. */
  const fits = (at: number) => elementColumn < 0 || at <= elementColumn;

  return {
    take: (chunk, final) => elements(remainder.join(chunk), final),
    close: remainder.wipe,
  };
}
