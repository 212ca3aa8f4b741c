/**
 * The packages that `npm run pack` makes, made once and kept in `.tools/` for the test runs of both runtimes.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { cp, mkdir, readdir, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { pack } from "../../scripts/pack.mjs";
import { filesUnder } from "../../scripts/project.mjs";
import { TOOLS } from "./real.ts";

/** The checkout. */
export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** Where the packages are. */
export interface Packages {
  /** What JSR is given. */
  readonly jsr: string;
  /** What npm is given. */
  readonly npm: string;
  /** The same as one file. */
  readonly tarball: string;
}

/** Packages of an older state are kept for this long: somebody may be using them. */
const KEPT_MS = 3_600_000;
/** Longer than they take to make. */
const STALE_MS = 180_000;
const FOLDER = join(TOOLS, "packages");

/** Makes the packages of this checkout, unless they are there. Several processes may ask at once: one makes them. */
export async function packages(): Promise<Packages> {
  const folder = join(FOLDER, fingerprint());
  if (!existsSync(folder)) await makeOnce(folder);
  const tarball = (await readdir(folder)).find((name) => name.endsWith(".tgz"))!;
  return { jsr: join(folder, "jsr"), npm: join(folder, "npm"), tarball: join(folder, tarball) };
}

function fingerprint(): string {
  const hash = createHash("sha256");
  const own = [
    "mod.ts",
    "cli.ts",
    "deno.json",
    "package.json",
    "README.md",
    "CHANGELOG.md",
    "scripts/pack.mjs",
  ];
  const files = [...own, ...["src", "ffi"].flatMap((name) => filesUnder(name, /\.ts$/) as string[])];
  for (const path of files.filter((path) => existsSync(join(ROOT, path)))) {
    hash.update(`\n${path}\n`).update(readFileSync(join(ROOT, path)));
  }
  return hash.digest("hex").slice(0, 16);
}

async function makeOnce(folder: string): Promise<void> {
  const lock = `${folder}.lock`;
  await mkdir(FOLDER, { recursive: true });
  while (!await mkdir(lock).then(() => true, () => false)) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    if (existsSync(folder)) return;
    const { mtimeMs } = await stat(lock).catch(() => ({ mtimeMs: Infinity }));
    if (mtimeMs < Date.now() - STALE_MS) await rm(lock, { recursive: true, force: true }); // its maker was killed
  }
  try {
    if (existsSync(folder)) return;
    await removeOld();
    await pack(`${folder}.making`);
    await rename(`${folder}.making`, folder);
  } finally {
    await rm(lock, { recursive: true, force: true });
  }
}

async function removeOld(): Promise<void> {
  for (const name of await readdir(FOLDER)) {
    const path = join(FOLDER, name);
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Infinity }));
    if (mtimeMs < Date.now() - KEPT_MS) await rm(path, { recursive: true, force: true });
  }
}

/**
 * Installs the npm package into an empty project, as an installer lays it out: its tarball unpacked, and what it depends on
 * beside it, which is copied from where it is installed here rather than fetched.
 */
export async function install({ tarball }: Packages, project: string): Promise<void> {
  const folder = join(project, "node_modules", "@x", "litestream-vfs");
  await mkdir(folder, { recursive: true });
  const { status, stderr } = spawnSync("tar", ["-xzf", tarball, "--strip-components=1", "-C", folder]);
  if (status !== 0) throw new Error(`Cannot unpack ${tarball}: ${stderr}`);
  const { name, version, dependencies } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  await copyPackages(Object.keys(dependencies), project);
  const about = { type: "module", dependencies: { [name]: version } };
  await writeFile(join(project, "package.json"), JSON.stringify(about));
}

/** Packages as they are installed here, into a project. */
export async function copyPackages(names: readonly string[], project: string): Promise<void> {
  for (const name of names) {
    await cp(join(ROOT, "node_modules", name), join(project, "node_modules", name), { recursive: true });
  }
}

/** Lays out what `bun link` and npm's links make: the checkout under its name. */
export async function linkCheckout(project: string): Promise<void> {
  const link = join(project, "node_modules", "@x", "litestream-vfs");
  await mkdir(dirname(link), { recursive: true });
  await symlink(ROOT.replace(/\/$/, ""), link);
  await writeFile(join(project, "package.json"), JSON.stringify({ type: "module" }));
}
