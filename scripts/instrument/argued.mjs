/**
 * Mutants that make no difference, as tests/mutants/equivalent.json has them: entries `{ path, within, from, text, why }`, of which
 * `within` (the line), `from` and `text` (what is there, what the mutant has) may be left out for any.
 *
 * @module
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../project.mjs";

const PATH = join(ROOT, "tests", "mutants", "equivalent.json");
const NAMES = ["path", "within", "from", "text"];

/** Gives what tells whether a mutant is one of them. */
export function readArgued() {
  const entries = existsSync(PATH) ? JSON.parse(readFileSync(PATH, "utf8")) : [];
  return (mutant) =>
    entries.some((entry) => NAMES.every((name) => entry[name] === undefined || entry[name] === mutant[name]));
}
