/**
 * What somebody may have meant who mistyped a name.
 *
 * @module
 */
import { nearestName } from "../nearest_name.ts";

/** The end of a message about a table or column that is not there: `; did you mean "x"?`, or nothing. */
export function suggestName(message: string, names: () => unknown[]): string {
  const [, wanted] = /^no such (?:table|column): (?:main\.)?(.+)$/.exec(message) ?? [];
  if (wanted === undefined) return "";
  try {
    const nearest = nearestName(wanted, names().map(String));
    return nearest === undefined ? "" : `; did you mean "${nearest}"?`;
  } catch {
    return ""; // the schema cannot be read, and the first message says enough
  }
}
