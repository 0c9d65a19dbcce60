import { Ajv2020 } from 'ajv/dist/2020.js';
import type { Answer } from './passferry.ts';

// biome-ignore lint/suspicious/noExplicitAny: a document is looked into by path
export type Document = any;

/** Compares with a document; its objects have no other fields than it says. */
export function openApi(document: Document) {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  ajv.addFormat('date-time', (text) => !Number.isNaN(Date.parse(text)));
  ajv.addFormat('password', true);
  ajv.addSchema(closed(document) as object, 'openapi');

  /** What is wrong with a value for the schema at a place of the document. */
  function wrong(pointer: string[], value: unknown): string[] {
    const validate = ajv.compile({ $ref: `openapi#/${pointer.map(escaped).join('/')}` });
    if (validate(value)) return [];
    return (validate.errors ?? []).map(
      (error) => `${error.instancePath} ${error.message} ${JSON.stringify(error.params)}`,
    );
  }

  const header = new Set(Object.keys(document.components.headers).map((name) => name.toLowerCase()));

  /** Address → the operation of the document, and where it stands. */
  function operationOf(method: string, address: string) {
    const path = Object.keys(document.paths).find((template) => matches(template, address.split('?')[0] as string));
    const operation = path && document.paths[path][method.toLowerCase()];
    return (
      operation && { operation, place: ['paths', path, method.toLowerCase()], id: operation.operationId as string }
    );
  }

  return {
    wrong,
    operationOf,

    /** Everything in which a real answer differs from what the document says. */
    differences(method: string, address: string, { status, headers, text }: Answer): string[] {
      const found = operationOf(method, address);
      if (!found) return [`${method} ${address} is not in the document`];
      let place = [...found.place, 'responses', `${status}`];
      let answer = found.operation.responses[status];
      if (!answer) return [`${found.id} does not say ${status}`];
      if (answer.$ref) {
        place = answer.$ref.slice(2).split('/');
        answer = document.components.responses[place[2] as string];
      }
      const told = new Set(Object.keys(answer.headers ?? {}).map((name) => name.toLowerCase()));
      const untold = [...headers.keys()].filter((name) => header.has(name) && !told.has(name));
      const differences = untold.map((name) => `${found.id} ${status} does not say ${name}`);
      if (text === '' && !answer.content) return differences;
      const mediaType = headers.get('content-type')?.split(';')[0] ?? '';
      if (!answer.content?.[mediaType]) return [...differences, `${found.id} ${status} does not say ${mediaType}`];
      const schema = [...place, 'content', mediaType, 'schema'];
      const lines = text.split('\n');
      let values: unknown[] = [text];
      if (mediaType.endsWith('ndjson')) values = lines.filter((line) => line !== '').map((line) => JSON.parse(line));
      else if (mediaType.endsWith('json')) values = [JSON.parse(text)];
      else if (mediaType === 'text/event-stream') {
        values = lines.filter((line) => line.startsWith('data: ')).map((line) => JSON.parse(line.slice(6)));
        schema.push('contentSchema');
      }
      return [
        ...differences,
        ...values.flatMap((value) => wrong(schema, value).map((each) => `${found.id} ${status}${each}`)),
      ];
    },

    /** Every example: the place of its schema, and the value. */
    examples(): { schema: string[]; value: unknown }[] {
      const found: { schema: string[]; value: unknown }[] = [];
      walk(document, [], (node, place) => {
        if (Array.isArray(node.examples)) found.push(...node.examples.map((value) => ({ schema: place, value })));
        if (!('schema' in node)) return;
        const schema = [...place, 'schema'];
        if ('example' in node) found.push({ schema, value: node.example });
        for (const { value } of Object.values((node.examples ?? {}) as Record<string, { value: unknown }>)) {
          found.push({ schema, value });
        }
      });
      return found;
    },
  };
}

type Node = Record<string, unknown>;

function walk(node: unknown, place: string[], visit: (node: Node, place: string[]) => void): void {
  if (typeof node !== 'object' || node === null) return;
  if (!Array.isArray(node)) visit(node as Node, place);
  for (const [key, each] of Object.entries(node)) walk(each, [...place, key], visit);
}

/** Copies; an object with named fields takes no others. */
function closed(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(closed);
  if (typeof node !== 'object' || node === null) return node;
  const copy: Node = Object.fromEntries(Object.entries(node).map(([key, each]) => [key, closed(each)]));
  return copy.type === 'object' && copy.properties ? { additionalProperties: false, ...copy } : copy;
}

/** A segment ends at a colon: the verbs stand behind one. */
function matches(template: string, path: string): boolean {
  return new RegExp(`^${template.replace(/[.]/g, '\\.').replace(/\{\w+\}/g, '[^/:]+')}$`).test(path);
}

const escaped = (part: string) => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'));
