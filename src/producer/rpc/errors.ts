import { ConnectError } from '@connectrpc/connect';
import { ErrorDetailSchema } from '@zitadel/proto/zitadel/message_pb';
import type { PassferryError } from '../../errors.ts';
import { v1Words } from '../v1-texts.ts';

/** Our error → what ZITADEL's clients read: status, text, `ErrorDetail` where there is an id; `told` goes as metadata. */
export function connectError(error: PassferryError, told: [string, string][]): ConnectError {
  const { code, message, detail, headers } = v1Words(error);
  const metadata = new Headers([...told, ...Object.entries(headers)]);
  const details = detail ? [{ desc: ErrorDetailSchema, value: detail }] : [];
  // Codes of Connect are the numbers of gRPC.
  return new ConnectError(message, code, metadata, details);
}
