/**
 * A replica that is written to, and a writer that is killed. `show FOLDER` starts this script as a writer of a new
 * replica, kills it in the middle, opens the replica again and checks that nothing is lost; `read FOLDER` is for the
 * other runtime.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { openReplica } from "../mod.ts";

const [act, folder] = process.argv.slice(2) as [string, string];
const IS_BUN = "Bun" in globalThis;
const version = IS_BUN ? `Bun ${process.versions.bun}` : `Deno ${process.versions.deno}`;
const url = `file://${join(folder, "notes")}`;
const options = { write: true, bufferPath: join(folder, "notes-log") };
const COUNT = "SELECT count(*) AS n FROM notes";

/** Commits notes and tells of each, until somebody kills it. */
async function write(): Promise<never> {
  const replica = await openReplica(url, { ...options, syncIntervalMs: 100 });
  const db = replica.connect();
  db.exec("CREATE TABLE IF NOT EXISTS notes(id INTEGER PRIMARY KEY, text TEXT)");
  for (;;) {
    db.exec("INSERT INTO notes(text) VALUES ('more mustard')");
    const { id } = db.prepare("SELECT max(id) AS id FROM notes").get();
    writeSync(1, `${id}\n`);
    if (id % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 5)); // the core stores beside it anyway
  }
}

/** Lets a writer commit so many notes, and kills it with no chance to tidy up; gives how many it told of. */
async function killWriter(notes: number): Promise<number> {
  const script = fileURLToPath(import.meta.url);
  const writer = spawn(process.execPath, [...(IS_BUN ? [] : ["run", "-A"]), script, "write", folder], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let told = "";
  writer.stdout.on("data", (data) => {
    told += data;
    if (told.split("\n").length > notes) writer.kill("SIGKILL");
  });
  await new Promise((resolve) => writer.once("close", resolve));
  return told.split("\n").filter(Boolean).length;
}

async function show(): Promise<void> {
  console.log(`\n${version}: a new replica, written to`);
  const told = await killWriter(400);
  console.log(`  a writer committed ${told} notes and was killed in the middle (SIGKILL)`);
  const replica = await openReplica(url, options);
  const db = replica.connect();
  const { n } = db.prepare(COUNT).get();
  if (n < told || n > told + 1) throw new Error(`WRONG: ${n} notes are there, ${told} were committed`);
  db.exec("INSERT INTO notes(text) VALUES ('and pickles')");
  const txid = await replica.sync();
  console.log(`  opened again: ${n} notes, none lost; one more, stored as TXID ${txid}`);
  db.close();
  await replica.close();
  writeFileSync(join(folder, "notes-count"), String(n + 1));
}

async function read(): Promise<void> {
  await using replica = await openReplica(url);
  const db = replica.connect();
  const { n } = db.prepare(COUNT).get();
  const wanted = Number(readFileSync(join(folder, "notes-count"), "utf8"));
  if (n !== wanted) throw new Error(`WRONG: ${n} notes, expected ${wanted}`);
  console.log(`  ${version} reads the same replica: ${n} notes`);
  db.close();
}

await { write, show, read }[act]!();
process.exit(0);
