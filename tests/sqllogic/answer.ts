/**
 * Answers of two connections held against each other and against the script.
 *
 * @module
 */
import { type Answer, exactText } from "./connection.ts";
import type { Outcome } from "./outcome.ts";
import { mismatch, resultTexts } from "./result_text.ts";
import type { QueryRecord, Script, StatementRecord } from "./script.ts";

const TEXT_SHOWN = 300;

/** Notes what of a statement's outcome differs from plain SQLite's, or from what the script says. */
export function compareStatement(
  outcome: Outcome,
  script: Script,
  record: StatementRecord,
  [ours, plain]: readonly [Answer, Answer],
): void {
  outcome.statements++;
  if (ours.error !== plain.error) {
    outcome.differs(script, record, `"${ours.error}", with plain SQLite "${plain.error}"`);
  } else if (record.fails !== (plain.error !== "")) {
    outcome.differs(script, record, `"${plain.error}", expected ${record.fails ? "an error" : "none"}`);
  }
}

/** The same of a query; `labels` has what those before it gave. */
export function compareQuery(
  outcome: Outcome,
  script: Script,
  record: QueryRecord,
  [ours, plain]: readonly [Answer, Answer],
  labels: Map<string, string>,
): void {
  outcome.queries++;
  if (record.expected) outcome.expected++;
  const [found, wanted] = [exactText(ours.rows), exactText(plain.rows)];
  if (ours.error !== plain.error || found !== wanted) {
    outcome.differs(script, record, `${shown(ours, found)}, with plain SQLite ${shown(plain, wanted)}`);
    return;
  }
  if (plain.error !== "") {
    // SQLite's own scripts say of a query that fails that it gives nothing
    if (record.expected?.kind === "values" && record.expected.values.length === 0) return;
    outcome.differs(script, record, `fails: "${plain.error}", expected rows`);
    return;
  }
  const values = resultTexts(ours.rows, record.types, record.sort);
  const why = mismatch(record, values);
  if (why) outcome.differs(script, record, why);
  if (record.label === undefined) return;
  const text = values.join("\n");
  const before = labels.get(record.label);
  if (before !== undefined && before !== text) {
    outcome.differs(script, record, `differs from ${record.label}`);
  }
  labels.set(record.label, text);
}

function shown({ error }: Answer, text: string): string {
  return error === "" ? text.slice(0, TEXT_SHOWN) : `"${error}"`;
}
