/** Runs the modules that it is given, one after the other, and tells of each what it has printed, or why it failed. */
import process from "node:process";
import { inspect } from "node:util";
import { pathToFileURL } from "node:url";

const { log } = console;
for (const path of process.argv.slice(2)) {
  const printed: unknown[] = [];
  console.log = (...parts) => void printed.push(...parts);
  let error = "";
  try {
    await import(pathToFileURL(path).href);
  } catch (thrown) {
    error = inspect(thrown, { depth: 4 });
  }
  const hasUndefined = printed.includes(undefined);
  log(JSON.stringify({ path, error, printed: printed.map((part) => inspect(part)), hasUndefined }));
}
process.exit(0);
