import { CR, type Cutter, LF } from '../csv-cut.ts';
import { cutJsonArray } from '../json-cut.ts';
import type { Frame } from '../lines.ts';
import { fileError } from '../reasons.ts';
import type { ContainerInput } from './container.ts';

const QUOTE = 34;
const BACKSLASH = 92;
const OPEN_LIST = 91;

/** The longest key that is compared; a longer one is none of those that are looked for. */
const longestKey = 64;

/**
 * A JSON object → the elements of the list under one of the keys at its first level, while it arrives; what stands before the
 * list may be of any size. `{"realm": …, "users": [ … ], …}`
 * @throws source_list_missing, json_array_cut (also where the object is not closed), json_array_trailing
 */
export function cutListInObject({ place, lists, outer, list }: ContainerInput): Cutter<Frame> {
  const scan = levelScan((key) => outer?.(key));
  let { line, byte } = place;
  let lastCr = false;
  let inner: Cutter<Frame> | undefined;

  function* elements(chunk: Buffer, final: boolean): Generator<Frame> {
    let rest = chunk;
    if (!inner) {
      let at = 0;
      for (; at < chunk.length; at++) {
        const value = chunk[at] as number;
        if (value === LF || value === CR) {
          if (!(value === LF && lastCr)) line++;
        }
        lastCr = value === CR;
        if (value === OPEN_LIST && scan.atValueOf(lists)) break;
        scan.take(value);
      }
      byte += place.width ? place.width(chunk, 0, at) : at;
      chunk.fill(0, 0, at);
      if (at === chunk.length) {
        if (!final) return;
        throw fileError(scan.isOver() ? 'source_list_missing' : 'json_array_cut');
      }
      list?.(scan.key());
      inner = cutJsonArray({ ...place, line, byte }, (value) => scan.take(value));
      rest = chunk.subarray(at);
    }
    yield* inner.take(rest, false);
    if (!final) return;
    yield* inner.take(Buffer.alloc(0), true);
    if (!scan.isOver()) throw fileError('json_array_cut');
  }

  return { take: elements, close: () => inner?.close() };
}

/** Where a reader of JSON bytes stands, at its first level only. */
function levelScan(onKey: (key: string) => void) {
  let depth = 0;
  let inString = false;
  let escaped = false;
  let over = false;
  let text = '';
  let key = '';
  /** At the first level: after its colon, before the value. */
  let isValue = false;

  return {
    key: () => key,
    isOver: () => over,
    atValueOf: (keys: readonly string[]) => depth === 1 && isValue && !inString && keys.includes(key),
    take(byte: number): void {
      if (inString) {
        if (escaped) escaped = false;
        else if (byte === BACKSLASH) escaped = true;
        else if (byte === QUOTE) {
          inString = false;
          return;
        }
        if (depth === 1 && !isValue && text.length < longestKey) text += String.fromCharCode(byte);
        return;
      }
      const isSpace = byte === 32 || (byte >= 9 && byte <= 13);
      if (isSpace) return;
      if (over) throw fileError('json_array_trailing');
      if (byte === QUOTE) {
        inString = true;
        if (depth === 1 && !isValue) text = '';
        return;
      }
      if (byte === 123 || byte === OPEN_LIST) depth++;
      else if (byte === 125 || byte === 93) {
        depth--;
        over = depth <= 0;
      } else if (depth === 1 && byte === 58) {
        isValue = true;
        key = text;
        onKey(key);
      } else if (depth === 1 && byte === 44) isValue = false;
    },
  };
}
