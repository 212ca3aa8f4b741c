/**
 * Names of regions, which become a part of hosts and of signatures.
 *
 * @module
 */

/** Stores of one's own name theirs with underscores, too. */
const REGION = /^[a-z0-9_-]*$/i;

/**
 * A region without spaces around it, as a line break at the end of a file leaves them; `from` says who named it. Empty for
 * none.
 *
 * @throws {TypeError} it is no name: neither a host nor a signature could hold it
 */
export function cleanRegion(from: string, region: string): string {
  const name = region.trim();
  if (REGION.test(name)) return name;
  throw new TypeError(
    `Cannot use ${from}: ${JSON.stringify(name.slice(0, 100))}, expected a region such as eu-west-1`,
  );
}
