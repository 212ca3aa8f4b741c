/**
 * What running a script came to: how much was compared, and what differed.
 *
 * @module
 */
import type { Script, ScriptRecord } from "./script.ts";

const DIFFERENCES_MAX = 20;
const SQL_SHOWN = 200;

/** Counts, and differences in words. */
export class Outcome {
  /** Statements that ran. */
  statements = 0;
  /** Queries whose answers were compared with plain SQLite's. */
  queries = 0;
  /** Of these, those whose answers the script itself says. */
  expected = 0;
  /** Records that do not apply to this SQLite, or cannot be asked of a reader. */
  skipped = 0;
  /** The first of what differed. */
  readonly differences: string[] = [];
  /** All that differed. */
  differenceCount = 0;

  /** Notes a difference. */
  differs(script: Script, record: ScriptRecord, what: string): void {
    const sql = "sql" in record ? record.sql.slice(0, SQL_SHOWN) : record.kind;
    this.note(`${script.name}:${record.line}: ${what}\n    ${sql}`);
  }

  /** Notes a difference of the whole. */
  note(text: string): void {
    this.differenceCount++;
    if (this.differences.length < DIFFERENCES_MAX) this.differences.push(text);
  }

  /** Adds what another came to. */
  add(other: Outcome): void {
    this.statements += other.statements;
    this.queries += other.queries;
    this.expected += other.expected;
    this.skipped += other.skipped;
    const more = other.differenceCount - other.differences.length;
    for (const text of other.differences) this.note(text);
    this.differenceCount += more;
  }
}
