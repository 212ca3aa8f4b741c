/**
 * An {@link InvariantWriter} in a process of its own, until its standard input ends. Prints its generation as JSON: once
 * the database is there, and at the end.
 *
 * @module
 */
import process from "node:process";
import { InvariantWriter, pauseAfter } from "./invariant_writer.ts";

const { path, seed, vacuumMs, pauseMs } = JSON.parse(process.argv[2]!) as {
  path: string;
  seed: number;
  vacuumMs: number;
  /** The same pause after each transaction; otherwise the writer has a pace of its own. */
  pauseMs?: number;
};
const writer = await InvariantWriter.open(path, { seed, vacuumMs });
const tell = () => console.log(JSON.stringify({ generation: writer.generation }));
tell();

let isOver = false;
process.stdin.on("end", () => isOver = true);
process.stdin.resume();
const startMs = Date.now();
while (!isOver) {
  const pauseUntilMs = Date.now() + (pauseMs ?? pauseAfter(Date.now() - startMs));
  while (!isOver && Date.now() < pauseUntilMs) await new Promise((resolve) => setTimeout(resolve, 10));
  if (!isOver) writer.step();
}
tell();
writer.close();
process.exit(0);
