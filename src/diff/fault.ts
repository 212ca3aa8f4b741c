import { ReplicaError } from "../errors.ts";

/** Makes the one kind of error this folder throws about the bytes of a database, in the one form messages have. */
export function databaseFault(act: string, found: string, expected: string): ReplicaError {
  return new ReplicaError(`Cannot ${act}: ${found}, expected ${expected}`);
}
