/** What needs a process of its own: what is printed, what is left behind, what a registration does to the others. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type ReplicaFolder, withReplicaFolder } from "../support/replica_folder.ts";
import { IS_BUN, tableSql } from "./drivers.ts";

const CHILD = fileURLToPath(new URL("./child.ts", import.meta.url));
const TIMEOUT_MS = 60_000;

interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs one of the children in an empty folder, which is its folder for temporary files' parent too. */
function runChild(
  folder: ReplicaFolder,
  name: string,
  environment: Record<string, string> = {},
): Promise<Ended> {
  const [work, temp, empty] = ["work", "temp", "empty"].map((part) => join(folder.home, part)) as [
    string,
    string,
    string,
  ];
  for (const path of [work, temp, empty]) mkdirSync(path, { recursive: true });
  const before = IS_BUN ? [CHILD] : ["run", "-A", "--no-check", CHILD];
  const child = spawn(process.execPath, [...before, name, folder.url, `file://${empty}`], {
    cwd: work,
    env: { ...process.env, TMPDIR: temp, SQLITE_TMPDIR: temp, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const text = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk) => text.stdout += chunk);
  child.stderr.on("data", (chunk) => text.stderr += chunk);
  const timer = setTimeout(() => child.kill("SIGKILL"), TIMEOUT_MS - 10_000);
  return new Promise((resolve) => {
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, ...text });
    });
  });
}

/** A child that must end well, on a replica with 200 rows in `t`. */
function childTest(
  title: string,
  name: string,
  check: (ended: Ended, folder: ReplicaFolder) => void = () => {},
  environment: (folder: ReplicaFolder) => Record<string, string> = () => ({}),
): void {
  test(title, { timeout: TIMEOUT_MS }, () =>
    withReplicaFolder({}, async (folder) => {
      folder.step(tableSql(200));
      const ended = await runChild(folder, name, environment(folder));
      assert.deepEqual([ended.code, ended.signal], [0, null], ended.stderr);
      check(ended, folder);
    }));
}

function nothingLeft(_: Ended, folder: ReplicaFolder): void {
  assert.deepEqual(readdirSync(join(folder.home, "temp")), []);
  assert.deepEqual(readdirSync(join(folder.home, "work")), []);
}

childTest(
  "P6: nothing is printed, neither to standard output nor to standard error",
  "quiet",
  ({ stdout, stderr }) => {
    assert.equal(stdout, "");
    assert.equal(stderr, "");
  },
);

childTest("P5: nothing is left in the folder for temporary files", "quiet", nothingLeft);

childTest("P5: nothing is left by a process that exits with everything open", "exit", nothingLeft);

childTest("An open replica does not keep a process from ending", "idle", nothingLeft);

childTest(
  "An open replica does not keep a process from ending whose workers are strange",
  "strangeWorkers",
  nothingLeft,
);

childTest("Variables that only process.env knows are the replica's", "ownVariables", nothingLeft);

childTest("cache=shared is refused", "sharedCache", nothingLeft);

childTest("Registrations of several threads end one by one", "registrationsOfThreads", nothingLeft);

childTest("A registration takes the variables as they are by then", "changedEnvironment", nothingLeft);

if (!IS_BUN) childTest("A program may have replaced globalThis.process", "otherProcess", nothingLeft);

childTest("Replicas opened at once by several shims are each opened by theirs", "shimsAtOnce", nothingLeft);

childTest("An opening without a shim fails, and keeps no process from ending", "noShim", nothingLeft);

childTest(
  "An opening that is given up at any moment leaves nothing in the way of the next",
  "givenUp",
  nothingLeft,
);

childTest("P1: opens that fail leave the connections that stand as they are", "failedOpens", nothingLeft);

childTest(
  "P2: ordinary databases work in every journal mode beside register() and openReplica()",
  "ordinaryDatabases",
);

childTest("register(): a URI opens a replica in every driver", "uri", nothingLeft);

childTest(
  "register(): a misspelt parameter of a replica's URL is told once",
  "misspelt",
  ({ stderr }) => {
    assert.match(
      stderr,
      /^\S+ WARN litestream-vfs: A parameter of the replica URL is not used: "endpont", .*\n$/,
    );
  },
);

childTest("register(): LITESTREAM_REPLICA_URL names the replica", "environment", nothingLeft, ({ url }) => ({
  LITESTREAM_REPLICA_URL: url,
}));

childTest(
  "register({ default: true }): the bare name opens a replica",
  "default",
  nothingLeft,
  ({ url }) => ({
    LITESTREAM_REPLICA_URL: url,
  }),
);

childTest(
  "register().close() ends what was opened by URI and nothing else",
  "endOfRegistration",
  nothingLeft,
);

childTest("P4: without register() the error names it", "unregistered", nothingLeft);
