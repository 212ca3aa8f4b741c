/**
 * A user's project in an empty folder, and what its program must tell: see `program.js`.
 *
 * @module
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { ROOT } from "../support/packages.ts";
import { folderUrl, replicate, restore, type S3Server, startS3Server } from "../support/real.ts";
import { openPlain, type Row } from "../support/sqlite.ts";
import { makeReplicaZoo } from "../support/zoo.ts";

/** Programs that npm installs. */
export const DENO: string = join(ROOT, "node_modules", ".bin", "deno");
export const BUN: string = join(ROOT, "node_modules", ".bin", "bun");
const TIMEOUT_MS = 120_000;
const COUNT = "SELECT count(*) AS items, sum(length(body)) AS bytes FROM item";

/** The replicas that the program opens, each written by a real Litestream, and what it must see in them. */
export interface World {
  /** The program's argument, less its folder. */
  readonly given: Readonly<Record<string, unknown>>;
  /** The folder of the replica that is one, and where its links lead; both must be readable. */
  readonly replica: readonly string[];
  /** Host and port of the S3 server. */
  readonly host: string;
  /** What the program must tell. */
  readonly told: Readonly<Record<string, unknown>>;
  close(): Promise<void>;
}

/** Makes it. */
export async function makeWorld(): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), "packaging-world-"));
  const [zoo, server] = await Promise.all([makeReplicaZoo(), startS3Server()]);
  const { url, folder: replica, db, txid } = zoo.find(({ name }) => name === "page-size-4096")!;
  const past = txid / 2n;
  const before = join(folder, "before.db");
  const [inS3] = await Promise.all([fillS3(server, folder), restore(url, before, { txid: past })]);
  return {
    given: {
      folder: url,
      txid: String(past),
      s3: server.url("items"),
      credentials: { accessKeyId: server.accessKey, secretAccessKey: server.secretKey },
    },
    replica: [replica, await realpath(replica)],
    host: new URL(server.endpoint).host,
    told: {
      folder: await counted(db),
      past: await counted(before),
      txid: "1",
      written: [{ text: "kept" }],
      s3: await counted(inS3),
    },
    async close() {
      await server.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Replicates a small database; gives its path. */
async function fillS3(server: S3Server, folder: string): Promise<string> {
  const db = join(folder, "s3.db");
  await replicate({
    db,
    url: server.url("items"),
    env: server.env,
    waitFor: [0, 9],
    run(sqlite) {
      sqlite.exec("CREATE TABLE item(body); INSERT INTO item VALUES (randomblob(3000)), (randomblob(9000))");
    },
  });
  return db;
}

async function counted(path: string): Promise<Row[]> {
  const sqlite = await openPlain(path);
  try {
    return sqlite.all(COUNT).map((row) => ({ ...row }));
  } finally {
    sqlite.close();
  }
}

/** What a process told until its end. */
export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** An empty folder with a home of its own, in which nothing of this machine's settings is known. */
export class UserProject {
  /** Where commands run. */
  readonly folder: string;
  /** What the program may write to. */
  readonly work: string;
  readonly #root: string;

  private constructor(root: string) {
    this.#root = root;
    this.folder = join(root, "project");
    this.work = join(root, "work");
  }

  /** Makes one for `work`, and removes it. */
  static async with<T>(work: (project: UserProject) => Promise<T>): Promise<T> {
    const project = new UserProject(await realpath(await mkdtemp(join(tmpdir(), "packaging-"))));
    try {
      for (const path of [project.folder, project.work, project.home]) await mkdir(path);
      await cp(join(ROOT, "tests", "packaging", "program.js"), join(project.folder, "program.js"));
      return await work(project);
    } finally {
      await rm(project.#root, { recursive: true, force: true });
    }
  }

  /** HOME. */
  get home(): string {
    return join(this.#root, "home");
  }

  /** Empties what the program wrote to. */
  async clear(): Promise<void> {
    await rm(this.work, { recursive: true });
    await mkdir(this.work);
  }

  /** Runs a command; what it is told of the environment is PATH and its own folders. */
  async run(command: string, args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
    const child = spawn(command, args, {
      cwd: this.folder,
      env: {
        PATH: process.env.PATH,
        HOME: this.home,
        TMPDIR: this.home,
        DENO_NO_UPDATE_CHECK: "1",
        NO_COLOR: "1",
        ...env,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const text = { stdout: "", stderr: "" };
    child.stdout.on("data", (chunk) => text.stdout += chunk);
    child.stderr.on("data", (chunk) => text.stderr += chunk);
    const timer = setTimeout(() => child.kill("SIGKILL"), TIMEOUT_MS);
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", resolve);
    });
    clearTimeout(timer);
    return { code, ...text };
  }

  /** The same of a command that must succeed; gives what it printed. */
  async must(command: string, args: readonly string[], env?: Record<string, string>): Promise<string> {
    const { code, stdout, stderr } = await this.run(command, args, env);
    assert.equal(code, 0, `${command} ${args.join(" ")}\n${stdout}${stderr}`);
    return stdout;
  }

  /** Has a command that runs the program do so, and checks what it tells. */
  async check(
    world: World,
    command: string,
    args: readonly string[],
    env?: Record<string, string>,
  ): Promise<void> {
    const told = await this.must(
      command,
      [...args, JSON.stringify({ ...world.given, work: this.work })],
      env,
    );
    assert.deepEqual(JSON.parse(told.trim().split("\n").at(-1)!), world.told);
    assert.deepEqual(await counted(join(this.work, "restored.db")), world.told.folder);
  }
}

/** The URL of a path, for import maps. */
export const urlOf = folderUrl;
