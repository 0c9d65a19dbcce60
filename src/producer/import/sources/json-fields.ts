import type { Cutter } from '../csv-cut.ts';
import { isBlank, parseObject } from '../json.ts';
import { cutJsonArray } from '../json-cut.ts';
import { cutLines, type Frame } from '../lines.ts';
import type { Peekable } from '../peekable.ts';
import type { ContainerInput, ContainerReader, FieldsRecord } from './container.ts';
import { cutListInObject } from './list-in-object.ts';

/** A list of objects, or an object with one at its first level. */
export const jsonFields: ContainerReader = {
  name: 'json',
  begins: (head) => head.startsWith('[') || (head.startsWith('{') && !isLineOfRecords(head)),
  async *read(source, input) {
    const first = (await firstByte(source)) === 0x5b;
    yield* readFrames(source, input, first ? cutJsonArray(input.place) : cutListInObject(input));
  },
};

/** One object a line. */
export const ndjsonFields: ContainerReader = {
  name: 'ndjson',
  begins: (head) => head.startsWith('{'),
  read: (source, input) => readFrames(source, input, cutLines(input.place)),
};

/** Is the first line an object of its own, and not the whole of an object that holds a list? */
function isLineOfRecords(head: string): boolean {
  const line = /^[^\r\n]*/.exec(head)?.[0] ?? '';
  try {
    const found = JSON.parse(line) as Record<string, unknown>;
    const isList = (value: unknown) => Array.isArray(value) && typeof (value[0] ?? {}) === 'object';
    return !(isList(found.users) || isList(found.result));
  } catch {
    return false;
  }
}

async function firstByte(source: Peekable): Promise<number | undefined> {
  for (let at = 0; ; at++) {
    const head = await source.peek(at + 1);
    if (at >= head.length) return undefined;
    const byte = head[at] as number;
    if (byte !== 32 && (byte < 9 || byte > 13)) return byte;
  }
}

async function* readFrames(
  source: Peekable,
  { place }: ContainerInput,
  cutter: Cutter<Frame>,
): AsyncGenerator<Iterable<FieldsRecord>> {
  const undecodable = place.width ? 'row_not_encoded' : 'row_not_utf8';
  function* records(frames: Iterable<Frame>): Generator<FieldsRecord> {
    for (const frame of frames) {
      const { line, byte } = frame;
      if ('reason' in frame) yield { line, byte, reason: frame.reason };
      else if (!isBlank(frame.bytes)) {
        const parsed = parseObject(frame.bytes, undecodable);
        yield typeof parsed === 'string' ? { line, byte, reason: parsed } : { line, byte, fields: parsed };
      }
    }
  }
  try {
    for (let chunk = await source.next(); chunk !== undefined; chunk = await source.next()) {
      yield records(cutter.take(chunk, false));
    }
    yield records(cutter.take(Buffer.alloc(0), true));
  } finally {
    cutter.close();
  }
}
