import type { Timestamp } from '@bufbuild/protobuf/wkt';
import { PassferryError } from '../../errors.ts';
import { errorFromZitadel } from '../../zitadel-ids.ts';

export function isMissing(error: unknown): boolean {
  return error instanceof PassferryError && error.scope === 'user' && error.code === 'not_found';
}

export function noSuchUser(): PassferryError {
  return errorFromZitadel({ grpcCode: 9, id: 'COMMAND-G8dh3' });
}

/** With the fraction below the millisecond. */
export function epochMs({ seconds, nanos }: Timestamp): number {
  return Number(seconds) * 1000 + nanos / 1e6;
}
