import { createContextKey } from '@connectrpc/connect';

/** The address that a call comes from, for its handler. */
export const peerAddress = createContextKey<string | undefined>(undefined, { description: 'address of the caller' });
