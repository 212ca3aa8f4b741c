/** Every example of README, docs/ and docstrings, run as it stands: only places, paths and the package's name are those of this machine. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { IS_BUN } from "../replica/drivers.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { ReplicaFolder } from "../support/replica_folder.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const CHILD = fileURLToPath(new URL("./examples_child.ts", import.meta.url));
const SOURCES = ["mod.ts", "src/replica.ts", "src/open_replica.ts", "src/registration.ts"];
const pages = readdirSync(join(ROOT, "docs")).filter((name) => name.endsWith(".md")).sort();
const examples = [
  ...["README.md", ...pages.map((name) => `docs/${name}`)].flatMap(examplesOf),
  ...SOURCES.flatMap(docExamplesOf),
];

interface Example {
  readonly name: string;
  readonly code: string;
}

/** What the child tells. */
interface Outcome {
  readonly path: string;
  readonly error: string;
  readonly printed: readonly string[];
  readonly hasUndefined: boolean;
}

/** The blocks of a page; those marked `ignore` are parts of something that is run elsewhere. */
function examplesOf(page: string): Example[] {
  const blocks = readFileSync(join(ROOT, page), "utf8").matchAll(/^```ts\n(.*?)^```$/gms);
  return [...blocks].map(([, code], i) => {
    assert.ok(!code!.includes("…"), `${page}: an example that leaves something out cannot run`);
    return { name: `${page}, example ${i + 1}`, code: code! };
  });
}

/** Those of docstrings, where names that the module itself exports are not imported. */
function docExamplesOf(path: string): Example[] {
  const source = readFileSync(join(ROOT, path), "utf8");
  return [...source.matchAll(/^( *) \* ```ts ignore\n(.*?)^\1 \* ```$/gms)].map(([, , lines], i) => {
    const code = lines!.replace(/^ *\* ?/gm, "").replaceAll(
      /: RestoreProgress\b/g,
      ": Record<string, number>",
    );
    const imports = code.includes("import ") ? "" : 'import { openReplica } from "@x/litestream-vfs";\n';
    return { name: `${path}, example ${i + 1}`, code: imports + code };
  });
}

let home = "";
let s3: FakeS3;
let folder: ReplicaFolder;
let outcomes: ReadonlyMap<string, Outcome>;

/** The database of the examples, as a replica in a bucket and in a folder; its transactions are minutes old. */
before(async () => {
  home = mkdtempSync(join(tmpdir(), "docs-examples-"));
  mkdirSync(join(home, "cache"), { mode: 0o700 });
  s3 = await FakeS3.start();
  folder = await ReplicaFolder.make();
  folder.step("CREATE TABLE ratings (id INTEGER PRIMARY KEY, sandwich TEXT, stars INTEGER)");
  folder.step("INSERT INTO ratings VALUES (1, 'BLT', 3), (2, 'Reuben', 5), (7, 'Elvis', 2)");
  folder.step("UPDATE ratings SET stars = 4 WHERE id = 1");
  for (let txid = 1; txid <= folder.txid; txid++) {
    const name = String(txid).padStart(16, "0");
    const modifiedMs = Date.now() - (folder.txid + 3 - txid) * 60_000;
    s3.put(`sandwiches/0000/${name}-${name}.ltx`, folder.encode(txid, txid), { modifiedMs });
  }
  const here = examples.map((example, i) => ({ ...example, path: join(home, `example-${i}.ts`) }))
    .filter(({ code }) => runsHere(code));
  for (const { code, path } of here) writeFileSync(path, onThisMachine(code));
  const { stdout } = await run([CHILD, ...here.map(({ path }) => path)], ["-A"]);
  const told = stdout.trim().split("\n").map((line) => JSON.parse(line) as Outcome);
  outcomes = new Map(here.map(({ name, path }) => [name, told.find((each) => each.path === path)!]));
});

after(async () => {
  folder.close();
  await s3.close();
  rmSync(home, { recursive: true, force: true });
});

/** Runs a module in this runtime, beside this process, which serves the bucket meanwhile. */
async function run(
  args: readonly string[],
  permissions: readonly string[],
): Promise<{ stdout: string; stderr: string }> {
  const { accessKeyId, secretAccessKey } = s3.options;
  const env = {
    ...process.env,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    LITESTREAM_REPLICA_URL: s3.url("/sandwiches"),
    XDG_STATE_HOME: join(home, "state"),
    NO_COLOR: "1",
  };
  const config = ["--no-prompt", "--no-check", "--config", join(ROOT, "deno.json")];
  const flags = IS_BUN ? [] : ["run", ...config, ...permissions];
  return await promisify(execFile)(process.execPath, [...flags, ...args], { cwd: ROOT, env });
}

function onThisMachine(code: string): string {
  const module = (path: string) => JSON.stringify(pathToFileURL(join(ROOT, path)).href);
  const here: Record<string, string> = {
    '"@x/litestream-vfs"': module("mod.ts"),
    '"@x/litestream-vfs/static-index"': module("src/storage/http/folder_index.ts"),
    "/srv/www/sandwiches": folder.path,
    "s3://bucket/sandwiches": s3.url("/sandwiches"),
    "file:///srv/replicas/sandwiches": folder.url,
    "file:///srv/replicas/": `${pathToFileURL(home).href}/`,
    "/var/cache/": `${join(home, "cache")}/`,
    "/tmp/": `${home}/`,
  };
  const names = Object.keys(here).sort((a, b) => b.length - a.length);
  return code.replace(new RegExp(names.join("|"), "g"), (found) => here[found]!);
}

/** Whether this runtime has what an example asks for. */
function runsHere(code: string): boolean {
  return IS_BUN || !code.includes('from "bun:sqlite"');
}

test("there are examples, most of them for both runtimes", () => {
  assert.ok(examples.length > 20, `${examples.length}`);
  assert.ok(examples.filter(({ code }) => !code.includes("bun:sqlite")).length > 18);
});

for (const { name, code } of examples) {
  if (!runsHere(code)) {
    console.log(`${name}: it is for Bun`);
    continue;
  }
  test(`${name} runs as it stands`, () => {
    const { error, printed, hasUndefined } = outcomes.get(name)!;
    assert.equal(error, "");
    assert.equal(hasUndefined, false, printed.join("\n"));
    if (code.includes("console.log(") && !code.includes("replica.on(")) {
      assert.ok(printed.length > 0, "it prints something");
    }
  });
}

if (IS_BUN) console.log("docs/permissions.md: Bun has no permissions, nothing to refuse");
else {
  test("the example of docs/permissions.md runs with what the page asks for a reader, and no more", async () => {
    const { code } = examples.find(({ name }) => name.startsWith("docs/permissions.md"))!;
    const path = join(home, "permissions.ts");
    const flags = ["--allow-ffi", "--allow-read", "--allow-env", `--allow-net=${new URL(s3.endpoint).host}`];
    writeFileSync(path, onThisMachine(code));
    const { stdout, stderr } = await run([path], flags);
    assert.match(stdout, /stars: \d/, stderr);
  });
}
