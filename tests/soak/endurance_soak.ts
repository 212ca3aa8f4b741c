/**
 * The endurance run: readers, readers with a local copy, and writers in both runtimes, for an hour or more after a warm-up
 * of 45 minutes, under storms of storage.
 *
 * `SOAK_MINUTES=105 npm run soak [-- FOLDER]`: samples and the result are written to the folder, and the curves as
 * `curves.svg`. `SOAK_SUBJECTS=reader-bun,writer-deno` picks some of the six processes, `SOAK_STORM=0` has storage go
 * wrong never (else so many seconds, as `SOAK_CALM` has it well), `SOAK_PACE=2` has all work with pauses twice as long,
 * `SOAK_HASTE=4` those of the processes a quarter as long in the first two thirds of the warm-up, `SEED=7` draws other
 * faults. Ends with 1 when something grew or went wrong.
 *
 * @module
 */
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import process from "node:process";
import { curvesOf } from "./endurance_curves.ts";
import { faultsOf, reportText, warmUpSeconds } from "./endurance_report.ts";
import { runEndurance, type SubjectOptions } from "./endurance_run.ts";

const SUBJECTS = ["reader", "hydrating", "writer"].flatMap((role) => [`${role}-bun`, `${role}-deno`]);

/** How much of the warm-up the processes hurry. */
const HASTE = 2 / 3;

const number = (name: string, otherwise: number) => Number(process.env[name] ?? otherwise);

function subjectOf(name: string): SubjectOptions {
  if (!SUBJECTS.includes(name)) throw new Error(`Cannot run ${name}: expected ${SUBJECTS.join(", ")}`);
  const [role, runtime] = name.split("-") as [SubjectOptions["role"], SubjectOptions["runtime"]];
  return { role, runtime };
}

const folder = process.argv[2] ? resolve(process.argv[2]) : await mkdtemp(join(tmpdir(), "soak-"));
await mkdir(folder, { recursive: true });
if ((await readdir(folder)).length > 0) throw new Error(`Cannot write to ${folder}: it is not empty`);
const seed = number("SEED", Date.now() % 1_000_000);
console.log(`seed ${seed}, samples in ${folder}`);
const seconds = number("SOAK_MINUTES", 105) * 60;
const result = await runEndurance({
  seconds,
  subjects: (process.env.SOAK_SUBJECTS?.split(",") ?? SUBJECTS).map(subjectOf),
  stormSeconds: number("SOAK_STORM", 150),
  calmSeconds: number("SOAK_CALM", 150),
  seed,
  folder,
  sampleMs: 5_000,
  pace: number("SOAK_PACE", 1),
  hasteSeconds: warmUpSeconds(seconds) * HASTE,
  haste: number("SOAK_HASTE", 4),
  writer: "bun",
});
await writeFile(join(folder, "result.json"), JSON.stringify(result));
await writeFile(join(folder, "curves.svg"), curvesOf(result));
console.log(reportText(result));
for (const name of await readdir(folder)) {
  if (name.endsWith(".files") || name.startsWith("primary.db")) {
    await rm(join(folder, name), { recursive: true, force: true });
  }
}
const faults = result.subjects.flatMap((subject) => faultsOf(subject, result));
for (const fault of faults) console.log(`FAILED ${fault}`);
process.exit(faults.length > 0 ? 1 : 0);
