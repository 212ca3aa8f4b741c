/**
 * Queries the replica that demo_replica.ts made, shows what each query fetched, and checks every result against the
 * database the replica was made from. Runs in Deno and in Bun.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import {
  type DatabaseClass,
  LtxFormatError,
  openReplica,
  type Replica,
  type ReplicaDatabase,
  type ReplicaStats,
} from "../mod.ts";

const IS_BUN = "Bun" in globalThis;
const driver = IS_BUN ? "bun:sqlite" : "node:sqlite"; // not literals: each runtime has only its own
const module = await import(driver);
const Database: DatabaseClass<ReplicaDatabase> = module.Database ?? module.DatabaseSync;
const version = IS_BUN ? `Bun ${process.versions.bun}` : `Deno ${process.versions.deno}`;
const folder = process.argv[2]!;
const WRITER = fileURLToPath(new URL("./demo_writer.ts", import.meta.url));

/** Ends the demo with words, and a code that is not 0. */
function fail(what: string): never {
  console.error(`WRONG: ${what}`);
  process.exit(1);
}

const kilobytes = (bytes: number) => `${(bytes / 1000).toFixed(bytes < 100_000 ? 1 : 0)} kB`;

/** What a query cost: `pages` are those of the database that were brought into memory. */
function cost(stats: ReplicaStats, replica: Replica): string {
  const { commit } = replica.size;
  const { listRequests, getRequests, bytes, roundTrips, pagesLoaded } = stats;
  const requests = listRequests + getRequests;
  if (requests === 0) return "fetched  nothing: no request, 0 bytes";
  const share = (100 * pagesLoaded / commit).toFixed(1);
  return `fetched  ${kilobytes(bytes)} in ${requests} requests, ${roundTrips} round trips: ` +
    `${pagesLoaded} of ${commit} pages (${share} %), ${commit - pagesLoaded} not`;
}

const tidy = (sql: string) => sql.replaceAll(/\s+/g, " ").trim();

/** Runs a query on replica and source, compares, and shows rows and cost. */
function query(title: string, sql: string, ...parameters: number[]): ReplicaStats {
  const mark = replica.stats();
  const rows = db.prepare(sql).all(...parameters);
  const stats = replica.stats(mark);
  const wanted = JSON.stringify(source.prepare(sql).all(...parameters));
  if (rows.length === 0 || JSON.stringify(rows) !== wanted) {
    fail(`${title}: ${JSON.stringify(rows)}, expected ${wanted}`);
  }
  console.log(`\n  ${title}`);
  for (const row of rows.slice(0, 3)) console.log(`    ${Object.values(row).join(" | ")}`);
  if (rows.length > 3) console.log(`    … ${rows.length} rows`);
  console.log(`    ${cost(stats, replica)}`);
  return stats;
}

const replica = await openReplica(`file://${join(folder, "replica")}`);
const txid = replica.txid.toString(16).padStart(16, "0");
console.log(`\n${version}, ${driver}`);
console.log(`  openReplica("file://…/replica") sees TXID ${txid}\n    ${cost(replica.stats(), replica)}`);
if (replica.txid !== 5n) fail(`TXID is ${replica.txid}, expected 5`);

const db = replica.connect(Database);
const source = new Database(join(folder, "source.db"));

query("A point query by primary key", "SELECT * FROM ratings WHERE id = ?", 31_337);
query(
  "An indexed query",
  "SELECT taster, comment FROM ratings WHERE sandwich_id = ? AND stars = 5 LIMIT 5",
  17,
);
const AGGREGATE = `
  SELECT s.name, round(avg(r.stars), 3) AS stars, count(*) AS n FROM ratings r JOIN sandwiches s ON s.id = r.sandwich_id
  GROUP BY r.sandwich_id ORDER BY stars DESC, s.id LIMIT 3`;
const first = query("An aggregate over one index", AGGREGATE);
const again = query("The same once more", AGGREGATE);
if (first.getRequests === 0 || again.getRequests + again.listRequests !== 0) {
  fail(`the second run made ${again.getRequests} requests, expected 0 (the first made ${first.getRequests})`);
}

const local = join(folder, `favourites-${IS_BUN ? "bun" : "deno"}.db`);
const favourites = new Database(local);
favourites.exec("CREATE TABLE favourites (sandwich_id INTEGER, who TEXT)");
favourites.exec("INSERT INTO favourites VALUES (1, 'Ada'), (23, 'Grace')");
favourites.close();
for (const each of [db, source]) each.exec(`ATTACH '${local}' AS mine`);
query(
  "A join with a table of a local database, attached",
  "SELECT who, name, bread FROM mine.favourites JOIN sandwiches ON id = sandwich_id ORDER BY who",
);

console.log("\n  A write");
try {
  db.exec("DELETE FROM ratings");
  fail("a write was accepted");
} catch (error) {
  console.log(`    refused: ${(error as Error).message}`);
}

// ------------------------------------------------------------------------------------- the writer goes on

const writer = spawn(process.execPath, [...(IS_BUN ? [] : ["run", "-A"]), WRITER, folder, "5"], {
  stdio: ["pipe", "pipe", "inherit"],
});
const answers = createInterface({ input: writer.stdout })[Symbol.asyncIterator]();

/** Has the writer commit, and waits until the reader sees it; returns the TXID. */
async function commit(sql: string): Promise<bigint> {
  writer.stdin.write(`${tidy(sql)}\n`);
  const txid = BigInt((await answers.next()).value as string);
  const written = performance.now();
  await new Promise<void>((resolve) => {
    const done = replica.on("commit", (event) => {
      if (event.txid < txid) return;
      done();
      resolve();
    });
    if (replica.txid >= txid) resolve();
  });
  console.log(`    TXID ${txid} is seen ${Math.round(performance.now() - written)} ms after it was written`);
  return txid;
}

console.log("\n  A writer goes on, in a process of its own");
const loved = await commit("INSERT INTO ratings VALUES (60003, 2, 5, 'taster 0003', 'worth the wait')");
query("Its row is there", "SELECT taster, comment FROM ratings WHERE id = ?", 60_003);

console.log("\n  Then somebody forgets a WHERE");
const AVERAGE = "SELECT count(*) AS n, round(avg(stars), 3) AS stars FROM ratings";
const before = db.prepare(AVERAGE).all();
await commit("UPDATE ratings SET stars = 1");
query("Every sandwich has one star", AVERAGE);

const told = [...db.prepare("SELECT litestream_txid() AS txid, litestream_time() AS time").all()];
console.log(`    litestream_txid(), litestream_time(): ${Object.values(told[0]).join(", ")}`);

/** Runs a query that must give these rows. */
function expectRows(title: string, on: ReplicaDatabase, sql: string, wanted: unknown): void {
  const rows = on.prepare(sql).all();
  if (JSON.stringify(rows) !== JSON.stringify(wanted)) {
    fail(`${title}: ${JSON.stringify(rows)}, expected ${JSON.stringify(wanted)}`);
  }
  console.log(`\n  ${title}`);
  for (const row of rows) console.log(`    ${Object.values(row).join(" | ")}`);
}

const past = replica.connect(Database, { asOf: loved });
expectRows("A second connection, before that: nothing is lost", past, AVERAGE, before);
past.exec("PRAGMA litestream_time = '5 minutes ago'");
const recipe = "SELECT name FROM sandwiches WHERE id = 1";
expectRows("PRAGMA litestream_time = '5 minutes ago'", past, recipe, [{ name: "Reuben on rye" }]);
past.exec("PRAGMA litestream_time = latest");
expectRows("PRAGMA litestream_time = latest", past, recipe, source.prepare(recipe).all());

const changes: Record<string, number> = {};
for await (const { kind, table } of replica.diff(loved)) {
  changes[`${kind} ${table}`] = (changes[`${kind} ${table}`] ?? 0) + 1;
}
console.log(`\n  replica.diff(TXID ${loved}): ${JSON.stringify(changes)}`);
const damaged = past.prepare("SELECT count(*) AS n FROM ratings WHERE stars = 1").all()[0];
if (damaged.n !== 60_003 || !(changes["update ratings"]! > 10_000)) fail(`the damage is ${damaged.n} rows`);
const points = await replica.points({ exact: true });
console.log(`  replica.points(): ${points.length} states, from ${points[0]!.time.toISOString()} on`);
if (points.length !== 6) fail(`${points.length} states can be reached, expected 6`);
past.close();
db.close();
source.close();
writer.stdin.end();

const all = replica.stats();
console.log(
  `\n  In all\n    fetched  ${
    kilobytes(all.bytes)
  } in ${all.getRequests} reads and ${all.listRequests} listings, ` +
    `${all.polls} looks for news`,
);
await replica.close();

console.log("\n  One byte flipped in a copy of the replica");
const broken = join(folder, `broken-${IS_BUN ? "bun" : "deno"}`);
cpSync(join(folder, "replica"), broken, { recursive: true });
const victim = join(broken, "ltx/0", readdirSync(join(broken, "ltx/0")).sort()[0]!);
const bytes = readFileSync(victim);
bytes[Math.floor(bytes.length / 2)]! ^= 1;
writeFileSync(victim, bytes);
try {
  await openReplica(`file://${broken}`);
  fail("a damaged replica was opened");
} catch (error) {
  if (!(error instanceof LtxFormatError)) throw error;
  console.log(`    ${error.name}: ${tidy(error.message)}\n`);
}
