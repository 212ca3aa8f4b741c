/**
 * Reads moments in a process of its own, for `time_expression_test.ts`: the process's time zone must not matter.
 *
 * `time_expression_child.ts '[["5 minutes ago", 1795227276000], …]'` writes what each gives, as JSON.
 *
 * @module
 */
import process from "node:process";
import { readingOf } from "./time_expression_cases.ts";

const questions: [text: string, nowMs: number][] = JSON.parse(process.argv[2] ?? "[]");
const readings: string[] = [];
for (const [text, nowMs] of questions) readings.push(await readingOf(text, nowMs));
process.stdout.write(JSON.stringify({ offset: new Date(1767268800000).getTimezoneOffset(), readings }));
