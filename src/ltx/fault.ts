import { LtxFormatError } from "../errors.ts";

/** Where a fault stands; both parts are optional. */
export interface FaultPlace {
  /** Object key or path of the file. */
  key?: string;
  /** Byte offset from the file's start. */
  offset?: number;
}

/** Makes the one kind of error this folder throws, in the one form its messages have. */
export function ltxFault(
  act: string,
  found: string,
  expected: string,
  place: FaultPlace = {},
): LtxFormatError {
  const name = place.key ? ` of "${place.key}"` : "";
  return new LtxFormatError(`Cannot ${act}${name}: ${found}, expected ${expected}`, place);
}
