import { toJson } from '@bufbuild/protobuf';
import { type Timestamp, TimestampSchema } from '@bufbuild/protobuf/wkt';
import { PassferryError } from '../../errors.ts';
import type { Details } from '../../job.ts';

/** What v1 and v2 both say; the numbers of their fields differ, their names do not. */
interface ZitadelDetails {
  sequence: bigint;
  creationDate?: Timestamp;
  changeDate?: Timestamp;
  resourceOwner: string;
}

export function ourDetails(details: ZitadelDetails | undefined): Details {
  // a good answer that does not say what it did is not believed
  if (!details?.changeDate) throw new PassferryError('backend_error', { scope: 'backend', effect: 'unknown' });
  return {
    sequence: String(details.sequence),
    ...(details.creationDate && { creationDate: toJson(TimestampSchema, details.creationDate) }),
    changeDate: toJson(TimestampSchema, details.changeDate),
    resourceOwner: details.resourceOwner,
  };
}
