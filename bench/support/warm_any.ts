/**
 * Look-ups and scans of pages that are all in memory, on one system in this process; prints figures as JSON.
 *
 * A figure is the best of some passes, after one that warms. A local file is measured in `locking_mode=EXCLUSIVE` too.
 *
 * @module
 */
import process from "node:process";
import { openSystem } from "./systems.ts";

const { rows, lookUps, scans, ...argument } = JSON.parse(process.argv[2]!);
const { database, replica } = await openSystem(argument);
const PASSES = 4;
/** SQLite's own cache where nothing is said, in KiB. */
const CACHE_KIB = 2_000;
/** Ids spread over few enough pages that all of them stay in memory. */
const ids: number[] = Array.from({ length: lookUps }, (_, i) => 1 + (i * 7919) % Math.min(rows, 100_000));

/** The shortest of some passes in ms. */
function best(pass: () => void): number {
  let shortest = Infinity;
  for (let i = 0; i <= PASSES; i++) {
    const begin = performance.now();
    pass();
    if (i > 0) shortest = Math.min(shortest, performance.now() - begin);
  }
  return shortest;
}

function lookUpsASecond(): number {
  const statement = database.prepare("SELECT amount FROM orders WHERE id = ?");
  const ms = best(() => {
    for (const id of ids) statement.get(id);
  });
  return lookUps / ms * 1000;
}

function scanMs(): number {
  const statement = database.prepare(
    "SELECT count(*), sum(id), sum(amount), sum(length(note)) FROM orders NOT INDEXED",
  );
  return best(() => statement.get());
}

function measureAll(): Record<string, number> {
  const figures: Record<string, number> = { perSecond: lookUpsASecond() };
  database.exec("PRAGMA cache_size=0");
  figures.uncachedPerSecond = lookUpsASecond();
  database.exec(`PRAGMA cache_size=-${CACHE_KIB}`);
  if (scans) figures.scanMs = scanMs();
  return figures;
}

lookUpsASecond(); // what is read ahead has time to come
if (scans) scanMs();
const mark = replica?.stats();
const figures = measureAll();
if (replica) figures.requests = replica.stats(mark).getRequests;
if (argument.system === "local") {
  database.exec("PRAGMA locking_mode=EXCLUSIVE");
  for (const [name, value] of Object.entries(measureAll())) figures[`exclusive ${name}`] = value;
}
console.log(JSON.stringify(figures));
process.exit(0);
