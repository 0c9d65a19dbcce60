import type { DescField, DescMessage, Message } from '@bufbuild/protobuf';
import { getOption, hasOption } from '@bufbuild/protobuf';
import { reflect } from '@bufbuild/protobuf/reflect';
import { FeatureSet_FieldPresence } from '@bufbuild/protobuf/wkt';
import { Code } from '@connectrpc/connect';
import { rules } from '@zitadel/proto/validate/validate_pb';
import { bareError } from './zitadel-errors.ts';

/** Enforces the published length rules of string fields, which the Connect server does not. Lengths are code points. */
export function checkFields(schema: DescMessage, request: Message): void {
  const reason = findBroken(schema, request);
  if (reason) throw bareError(Code.InvalidArgument, reason);
}

function findBroken(schema: DescMessage, value: Message): string | undefined {
  const reflected = reflect(schema, value);
  const type = schema.name;
  for (const field of schema.fields) {
    // an unset string of implicit presence counts as empty; all others count only when set
    if (field.presence !== FeatureSet_FieldPresence.IMPLICIT && !reflected.isSet(field)) continue;
    const path = `${type}.${pascal(field)}`;
    if (field.fieldKind === 'scalar') {
      const range = lengthRule(field);
      const text = reflected.get(field);
      if (!range || typeof text !== 'string') continue;
      const length = [...text].length;
      if (length < range.min || length > range.max) return `invalid ${path}: value length must be ${words(range)}`;
    } else if (field.fieldKind === 'message' && reflected.isSet(field)) {
      const inner = findBroken(field.message, (reflected.get(field) as { message: Message }).message);
      if (inner) return `invalid ${path}: embedded message failed validation | caused by: ${inner}`;
    }
  }
  return undefined;
}

interface LengthRange {
  min: number;
  max: number;
}

function lengthRule(field: DescField): LengthRange | undefined {
  if (!hasOption(field, rules)) return undefined;
  const { type } = getOption(field, rules);
  if (type.case !== 'string' || type.value.ignoreEmpty) return undefined;
  const min = Number(type.value.minLen);
  const max = Number(type.value.maxLen);
  return min === 0 && max === 0 ? undefined : { min, max: max || Number.POSITIVE_INFINITY };
}

function words({ min, max }: LengthRange): string {
  if (max === Number.POSITIVE_INFINITY) return `at least ${min} runes`;
  return min === 0 ? `at most ${max} runes` : `between ${min} and ${max} runes, inclusive`;
}

function pascal(field: DescField): string {
  return field.localName.charAt(0).toUpperCase() + field.localName.slice(1);
}
