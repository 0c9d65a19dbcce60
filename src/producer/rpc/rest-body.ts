import { type DescMessage, fromJsonString } from '@bufbuild/protobuf';
import {
  SetHumanInitialPasswordRequestSchema,
  SetHumanPasswordRequestSchema,
} from '@zitadel/proto/zitadel/management_pb';
import { PassferryError } from '../../errors.ts';
import { checkTypes } from '../validate.ts';

/** REST body → fields of SetHumanPassword. Errors: those of `decode`. */
export const decodeSet = (body: Uint8Array): unknown => decode(SetHumanPasswordRequestSchema, body);

/** REST body → fields of SetHumanInitialPassword: the flag is none of them. Errors: those of `decode`. */
export const decodeInitial = (body: Uint8Array): unknown => decode(SetHumanInitialPasswordRequestSchema, body);

/**
 * As ZITADEL's gateway decodes it: an empty body has no fields, names come in both spellings, unknown ones are dropped,
 * null is absent, none may stand twice. Errors: `body_not_json`, `body_not_object`, `field_type`, `password_ill_formed`.
 */
function decode(schema: DescMessage, body: Uint8Array): unknown {
  try {
    const text = utf8.decode(body);
    const json = text.trim() === '' ? '{}' : text;
    // First, for its finer reasons.
    checkTypes(JSON.parse(json));
    return fromJsonString(schema, json, { ignoreUnknownFields: true });
  } catch (thrown) {
    // Foreign texts quote the body.
    throw thrown instanceof PassferryError ? thrown : new PassferryError('body_not_json');
  }
}

/** Refuses what is no UTF-8: replaced by a stand-in it would be another password. A byte order mark is no JSON. */
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
