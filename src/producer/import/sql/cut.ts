import { CR, type Cutter, LF, type Place, recordLimit } from '../csv-cut.ts';
import { fileError, type ImportReason } from '../reasons.ts';
import { createRemainder } from '../remainder.ts';
import type { Backslash, SqlTable } from './head.ts';
import {
  BACKSLASH,
  closing,
  hintOf,
  hintThere,
  type Inside,
  interesting,
  isSpace,
  isWordByte,
  opening,
} from './lex.ts';
import { scanCopy, scanRow } from './row.ts';
import { createStatements } from './statement.ts';

const HASH = 35;
const OPEN = 40;
const CLOSE = 41;
const COMMA = 44;
const DOT = 46;
const SEMICOLON = 59;

/** One row of a table in the bytes that are held; used again for the next one. `bounds`: start, end, facts of each field. */
export interface SqlCut {
  table: SqlTable;
  /** From a COPY block, which has other escapes. */
  copied: boolean;
  buffer: Buffer;
  start: number;
  line: number;
  byte: number;
  fields: number;
  bounds: number[];
  reason: ImportReason | undefined;
}

/** `rows`: between the rows of an INSERT; `long`: in one that is too long; `delimited`: in what MySQL's client calls a body. */
type Mode = 'head' | 'skip' | 'rows' | 'long' | 'copy' | 'copyLong' | 'delimited';

/**
 * A dump → the rows of the tables that are wanted, while it arrives; all else is skipped, and nothing is ever run. Only a row, or
 * the beginning of a statement, is held. The same whatever the chunks.
 * @throws sql_cut, sql_dialect
 */
export function cutSql(place: Place, wanted: (table: SqlTable) => boolean): Cutter<SqlCut> {
  const remainder = createRemainder();
  const statements = createStatements();
  const { width } = place;
  let { line, byte } = place;
  let mode: Mode = 'head';
  let inside: Inside | undefined;
  let backslash: Backslash;
  let table: SqlTable = { name: '', path: '' };
  let isWanted = false;
  /** Brackets of a row that is too long; `BEGIN` and `CASE` of a body, if it is one. */
  let depth = 0;
  let body = false;
  let afterComma = false;
  /** Not looked at again before so many bytes are held: a row in many chunks would cost their square. */
  let enough = 0;
  /** Bytes that are held before: they tell whether a string has escapes, and whether a dollar belongs to a name. */
  let before = 0;
  /** Rows that are not wanted: they end with a semicolon. */
  let data = false;
  const bounds: number[] = [];
  const cut: SqlCut = {
    ...{ table, copied: false, buffer: Buffer.alloc(0), start: 0, line, byte, fields: 0, bounds, reason: undefined },
  };

  function* rows(buffer: Buffer, final: boolean): Generator<SqlCut> {
    let start = before;
    // Known ahead: rows of one line are not searched to its end again and again.
    let lineEnd = -2;
    const goOn = (to: number) => {
      byte += width ? width(buffer, start, to) : to - start;
      if (lineEnd === -2) lineEnd = buffer.indexOf(LF, start);
      for (; lineEnd >= 0 && lineEnd < to; lineEnd = buffer.indexOf(LF, lineEnd + 1)) line++;
      start = to;
      enough = 0;
    };
    const tell = (fields: number, reason?: ImportReason): SqlCut =>
      Object.assign(cut, { table, copied: mode.startsWith('copy'), buffer, start, line, byte, fields, reason });
    /** Nothing more can be said before the next bytes are there. */
    const wait = () => {
      if (final) throw fileError('sql_cut');
      enough = Math.min(recordLimit + 1, (buffer.length - start) * 2);
    };
    const tooLong = () => buffer.length - start > recordLimit;
    /** Too little of it is there to be begun: what it tells of the program would hang on the chunks. */
    const unsure = (next: ReturnType<typeof opening>) =>
      next === 'more' || (next !== undefined && !final && !hintThere(buffer, next));
    const begin = (next: Inside) => {
      const hint = hintOf(buffer, next);
      backslash ??= hint;
      goOn(next.from);
      inside = next;
    };

    try {
      while (start < buffer.length && (final || buffer.length - start >= enough)) {
        if (inside) {
          const { at, closed } = closing(buffer, inside, start, final);
          goOn(at);
          if (closed) inside = undefined;
          else if (final && inside.kind !== 'line') throw fileError('sql_cut');
          else break;
        } else if (mode === 'copy' || mode === 'copyLong') {
          const end = buffer.indexOf(LF, start);
          if (end < 0 && !final) {
            if (tooLong() && mode === 'copy') {
              if (isWanted) yield tell(0, 'line_too_long');
              mode = 'copyLong';
            }
            if (mode === 'copyLong') goOn(buffer.length);
            break;
          }
          // Without its line end the row may be cut.
          if (end < 0 && !/^\\\.\r?$/.test(buffer.toString('latin1', start, start + 4))) throw fileError('sql_cut');
          let stop = end < 0 ? buffer.length : end;
          if (stop > start && buffer[stop - 1] === CR) stop--;
          const isEnd =
            mode === 'copy' && stop - start === 2 && buffer[start] === BACKSLASH && buffer[start + 1] === DOT;
          if (mode === 'copy' && !isEnd && isWanted) {
            yield stop - start > recordLimit ? tell(0, 'line_too_long') : tell(scanCopy(buffer, start, stop, cut));
          }
          goOn(end < 0 ? buffer.length : end + 1);
          mode = isEnd ? 'head' : 'copy';
        } else if (mode === 'delimited') {
          const end = buffer.indexOf(LF, start);
          if (end < 0 && !final && !tooLong()) break;
          const to = end < 0 ? buffer.length : end + 1;
          if (/^\s*delimiter\s+;\s*$/i.test(buffer.toString('latin1', start, Math.min(to, start + 100)))) mode = 'head';
          goOn(to);
        } else if (mode === 'rows') {
          const value = buffer[start] as number;
          if (value === OPEN) {
            const end = scanRow(buffer, start, backslash, final, cut);
            if (end >= 0) {
              afterComma = false;
              yield end - start > recordLimit ? tell(0, 'line_too_long') : tell(cut.fields);
              goOn(end);
            } else if (tooLong()) {
              yield tell(0, 'line_too_long');
              mode = 'long';
            } else wait();
          } else if (value === COMMA || isSpace(value)) {
            afterComma ||= value === COMMA;
            goOn(start + 1);
          } else if (value === SEMICOLON) {
            mode = 'head';
            goOn(start + 1);
          } else {
            const next = opening(buffer, start, backslash, final);
            if (unsure(next)) break;
            if (next) begin(next as Inside);
            else {
              data = false;
              mode = 'skip';
            }
          }
        } else if (mode === 'head') {
          let at = start;
          while (at < buffer.length && (isSpace(buffer[at] as number) || buffer[at] === SEMICOLON)) at++;
          if (at > start) {
            goOn(at);
            continue;
          }
          // A comment of MySQL; what psql does by itself.
          const isLine = buffer[start] === HASH || buffer[start] === BACKSLASH;
          const next = isLine
            ? ({ kind: 'line', from: start + 1, quote: 0, escapes: false, tag: '' } as const)
            : opening(buffer, start, backslash, final);
          if (unsure(next)) break;
          if (next) begin(next as Inside);
          else {
            const found = statements.scan(buffer, start, backslash, final);
            backslash ??= found.backslash;
            if (found.kind === 'more') {
              if (tooLong()) {
                body = data = false;
                depth = 0;
                mode = 'skip';
              } else wait();
              continue;
            }
            body = found.kind === 'body';
            data = found.kind === 'rows';
            depth = 0;
            if (found.table) table = found.table;
            isWanted = found.table !== undefined && found.kind !== 'over' && wanted(found.table);
            if (found.kind === 'rows') mode = isWanted ? 'rows' : 'skip';
            else if (found.kind === 'copy') mode = 'copy';
            else if (found.kind === 'delimiter') mode = 'delimited';
            else if (found.kind !== 'over') mode = 'skip';
            afterComma = false;
            goOn(found.at);
          }
        } else {
          let at = start;
          if (body)
            while (at < buffer.length && !isWordByte(buffer[at] as number) && interesting[buffer[at] as number] === 0)
              at++;
          else while (at < buffer.length && interesting[buffer[at] as number] === 0) at++;
          goOn(at);
          if (at === buffer.length) break;
          const value = buffer[at] as number;
          const next = opening(buffer, at, backslash, final);
          if (unsure(next)) break;
          if (next) begin(next as Inside);
          else if (isWordByte(value)) {
            let end = at;
            while (end < buffer.length && isWordByte(buffer[end] as number)) end++;
            if (end === buffer.length && !final && !tooLong()) break;
            const word = end - at < 8 ? buffer.toString('latin1', at, end).toUpperCase() : '';
            if (word === 'BEGIN' || word === 'CASE') depth++;
            else if (word === 'END') depth--;
            goOn(end);
          } else {
            goOn(at + 1);
            if (mode === 'long' && value === OPEN) depth++;
            else if (mode === 'long' && value === CLOSE && --depth === 0) mode = 'rows';
            else if (mode === 'skip' && value === SEMICOLON && depth <= 0) mode = 'head';
          }
        }
      }
      if (final) {
        const rest = mode === 'rows' ? afterComma : mode === 'skip' && data;
        const open = rest || mode === 'copy' || mode === 'copyLong' || mode === 'long';
        if (open || (inside && inside.kind !== 'line')) throw fileError('sql_cut');
      }
      before = Math.min(2, start);
      remainder.keep(buffer.subarray(start - before));
    } finally {
      // What was read is zeroed once the reader asks for more: it holds passwords (P4).
      buffer.fill(0);
    }
  }

  return { take: (chunk, final) => rows(remainder.join(chunk), final), close: remainder.wipe };
}
