/**
 * The follow soak's result as tables.
 *
 * @module
 */
import type { Distribution } from "./follow_delays.ts";
import type { FollowResult, ProcessResult } from "./follow_run.ts";
import { type Cells, table } from "./text_table.ts";

const sum = (counts: Record<string, number>) =>
  Object.values(counts).reduce((total, count) => total + count, 0);

/** What must not have happened to a process of ours, in words; empty when all is well. */
export function faultsOf(result: ProcessResult): string[] {
  const found = (isBad: boolean, text: string) => isBad ? [`${result.name}: ${text}`] : [];
  return [
    ...found(sum(result.violations) > 0, `violations ${JSON.stringify(result.violations)}`),
    ...found(sum(result.errors) > 0, `errors ${JSON.stringify(result.errors)}`),
    ...found(
      result.stuck > 0 || result.hung > 0,
      `${result.stuck} readers stuck, ${result.hung} threads hung`,
    ),
    ...found(result.missed > 0, `${result.missed} uploads never seen`),
    ...found(!result.hasArrived, "the writer's last generation was not seen"),
    ...found(result.end !== "0", `ended with ${result.end}`),
    ...found(result.unlisted > 0, `${result.unlisted} more`),
    ...found(result.transactions === 0, "no transaction"),
  ];
}

function counts(result: ProcessResult): Cells {
  const { violations, errors, lost, disturbed, stuck, transactions, integrityChecks, txids } = result;
  const backwards = violations.backwards ?? 0;
  return [
    result.name,
    transactions,
    integrityChecks,
    txids,
    sum(violations) - backwards,
    backwards,
    stuck + result.hung,
    sum(errors),
    lost,
    disturbed,
    result.hasArrived ? "yes" : "no",
    result.end.slice(0, 20),
    (result.longestStandstillMs / 1000).toFixed(1),
    (result.slowestMs / 1000).toFixed(1),
    result.stats ? `${result.stats.getRequests} / ${result.stats.listRequests}` : "",
  ];
}

function delays(name: string, what: string, { count, median, p90, p99, max }: Distribution): Cells {
  return [name, what, count, median, p90, p99, max];
}

/** The result in Markdown, then the texts of what went wrong. */
export function reportText(result: FollowResult): string {
  const { processes } = result;
  const levels = Object.entries(result.filesMax).map(([level, count]) => `${Number(level)}: ${count}`).join(
    ", ",
  );
  const pausedMs = result.pauses.reduce((total, [fromMs, toMs]) => total + toMs - fromMs, 0);
  const texts = processes.flatMap(({ name, errors, violations }) =>
    Object.entries({ ...violations, ...errors }).map(([text, count]) => `${name}: ${count} × ${text}`)
  );
  texts.push(
    ...processes.filter(({ unlisted }) => unlisted > 0).map(({ name, unlisted }) =>
      `${name}: ${unlisted} more`
    ),
  );
  return [
    `${result.seconds} s, ${result.generations} transactions of the writer, ${result.uploads} uploads to level 0; files at ` +
    `once, at most, by level: ${levels}; TXIDs with different data: ${result.ambiguous.length}; the machine stood still for ${
      Math.round(pausedMs / 1000)
    } s`,
    table([
      [
        "process",
        "transactions",
        "integrity checks",
        "TXIDs seen",
        "violations",
        "backwards",
        "stuck",
        "errors",
        "state gone",
        "disturbed",
        "arrived",
        "end",
        "longest standstill s",
        "slowest check s",
        "GET / LIST",
      ],
      ...processes.map(counts),
    ]),
    table([
      ["process", "delay in ms", "count", "median", "p90", "p99", "max"],
      ...processes.flatMap(({ name, toEvent, toRead, fromWriter }) => [
        ...(toEvent.count > 0 ? [delays(name, "upload → commit event", toEvent)] : []),
        delays(name, "upload → transaction", toRead),
        delays(name, "writer's commit → transaction", fromWriter),
      ]),
    ]),
    ...texts,
  ].join("\n\n");
}
