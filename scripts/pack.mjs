/**
 * Makes the packages: `npm run pack [FOLDER]`, by default into build/.
 *
 *   FOLDER/jsr/                       what JSR is given: `deno publish` runs there
 *   FOLDER/npm/                       the same as JavaScript with declarations
 *   FOLDER/x-litestream-vfs-….tgz     that folder as npm publishes and installs it
 *
 * Both carry the core's worker laid together: as few modules, that it is loaded from; and as one, in a text, for programs that are
 * bundled to one file.
 *
 * @module
 */
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { COMPILED_IN, runtimePackages } from "./licences.mjs";
import { BUN, DENO, filesUnder, ROOT, run } from "./project.mjs";

/** The module that takes the core's bundle. */
const BUNDLE = "src/bridge/core_bundle.ts";
/** The module that names the worker's first one, and where those lie that are loaded in its place; relative to it. */
const ENTRY = "src/bridge/core_entry.ts";
const PACKED = "./core/core_worker.js";
/**
 * What stays a module of its own beside them, from where they lie: classes of errors, by which others know what a storage of the
 * user's has thrown, and the shims, which are as large as all else.
 */
const BESIDE = { "errors.ts": "../../errors.ts", "prebuilt/wasm.ts": "../../../ffi/prebuilt/wasm.ts" };
/** Where the npm package has what its module loads later. */
const FRONT = "src/front";
/** What stays a module of its own beside that, as others name it: classes of errors, what knows where it lies, and the shims. */
const FRONT_BESIDE = {
  "errors.js": "src/errors.js",
  "core_entry.js": "src/bridge/core_entry.js",
  ...Object.fromEntries(
    ["linux_x64", "linux_arm64", "macos_x64", "macos_arm64", "windows_x64", "wasm"].map((target) => [
      `prebuilt/${target}.js`,
      `ffi/prebuilt/${target}.js`,
    ]),
  ),
};
/** Packages that are loaded where they are installed: for some places or words only, and large. */
const INSTALLED = ["ssh2", "@nats-io/transport-node", "chrono-node/*"];
/** Parts of packages that are compiled where they are installed, and done without where they are not. */
const NATIVE = ["cpu-features", "*.node"];
/** A bundle that is loaded from memory has no file to resolve from; only what a runtime has built in is left to resolve. */
const RESOLVED_FROM = ["createRequire(import.meta.url)", 'createRequire("file:///litestream_vfs/core.js")'];
/** Where a module of a package says that it lies, as CommonJS has it; there are no files beside it in a bundle. */
const MODULES = { here: realpathSync(join(ROOT, "node_modules")), there: "/litestream_vfs/node_modules" };

/** Makes both packages in `folder`, which is emptied; returns `{ jsr, npm, tarball, sizes }`, sizes in bytes. */
export async function pack(folder = join(ROOT, "build")) {
  const [jsr, npm] = [join(folder, "jsr"), join(folder, "npm")];
  rmSync(folder, { recursive: true, force: true });
  const config = json(join(ROOT, "deno.json"));
  const project = json(join(ROOT, "package.json"));
  if (config.version !== project.version) {
    throw new Error(`Cannot pack: deno.json has version ${config.version}, package.json ${project.version}`);
  }
  stage(jsr, config);
  await Promise.all([bundleCore(join(jsr, BUNDLE)), layCoreTogether(join(jsr, ENTRY))]);
  writeFileSync(join(jsr, "THIRD_PARTY_LICENSES.txt"), thirdPartyLicenses());
  const published = await publishable(jsr);
  await toJavaScript(jsr, npm, project);
  await layFrontTogether(npm);
  refuseMachinePaths(npm);
  const tarball = await npmPack(npm, folder);
  const sizes = { jsr: published, npm: totalBytes(npm), tarball: readFileSync(tarball).length };
  return { jsr, npm, tarball, sizes };
}

/** Copies what is published. */
function stage(folder, config) {
  for (const path of config.publish.include) {
    const from = join(ROOT, path);
    if (existsSync(from)) cpSync(from, join(folder, path), { recursive: true });
  }
  rmSync(join(folder, "ffi", "build"), { recursive: true, force: true });
  symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
}

/** The core's worker and all it may load as one module, put into the module at `path`. */
async function bundleCore(path) {
  const out = `${path}.js`;
  const flags = [
    "--target=node",
    "--format=esm",
    "--minify-whitespace",
    "--minify-syntax",
    `--outfile=${out}`,
  ];
  const external = NATIVE.flatMap((name) => ["--external", name]);
  await done(BUN, ["build", "src/bridge/core_worker.ts", ...flags, ...external], ROOT);
  const parts = readFileSync(out, "utf8").replaceAll(MODULES.here, MODULES.there).split(RESOLVED_FROM[0]);
  rmSync(out);
  if (parts.some((part) => part.includes(ROOT) || part.includes(dirname(MODULES.here)))) {
    throw new Error("Cannot bundle the core: it names the folder of this checkout");
  }
  if (parts.length !== 2) throw new Error(`Cannot bundle the core: ${parts.length - 1} require, expected 1`);
  const base64 = gzipSync(parts.join(RESOLVED_FROM[1]), { level: 9 }).toString("base64");
  const source = readFileSync(path, "utf8");
  const filled = source.replace(/(base64: string = )"";/, `$1"${base64}";`);
  if (filled === source) throw new Error(`Cannot bundle the core: no empty base64 in ${BUNDLE}`);
  writeFileSync(path, filled);
}

/**
 * The core's worker as few modules beside `entry`, which names them: what is loaded together is one, what is loaded later another.
 *
 * `entry` imports the first of them, too, where that is never run: Deno counts it among the program's modules all the same, so that
 * all of them are fetched, cached and compiled with it. A bundler does not, and must not, for it would then want what they load.
 */
async function layCoreTogether(entry) {
  const out = join(dirname(entry), dirname(PACKED));
  const beside = Object.keys(BESIDE).map((name) => `*/${name}`);
  const flags = ["--splitting", "--target=node", "--format=esm", "--minify-whitespace", "--minify-syntax"];
  const names = [`--outdir=${out}`, "--entry-naming=[name].[ext]", "--chunk-naming=[name]-[hash].[ext]"];
  const external = [...beside, ...INSTALLED].flatMap((name) => ["--external", name]);
  await done(BUN, ["build", "src/bridge/core_worker.ts", ...flags, ...names, ...external], ROOT);
  for (const path of filesUnder(".", /./, out)) {
    let source = readFileSync(join(out, path), "utf8");
    for (const [name, from] of Object.entries(BESIDE)) {
      source = source.replaceAll(importOf(name), JSON.stringify(from));
    }
    writeFileSync(join(out, path), source);
  }
  const source = readFileSync(entry, "utf8");
  const named = JSON.stringify(PACKED);
  const filled = source.replace(
    /(const PACKED: string \| undefined = )undefined;/,
    `$1${named};\n\n// deno-lint-ignore no-constant-condition\nif (false) void import(${named}); // for the graph of modules`,
  );
  if (filled === source) throw new Error(`Cannot lay the core together: no PACKED in ${ENTRY}`);
  writeFileSync(entry, filled);
}

/**
 * The package's module with all that it needs to open a replica, as one: fifty modules take Deno 8 ms longer to load. What
 * is loaded later lies in few others, in `FRONT`.
 */
async function layFrontTogether(npm) {
  const flags = ["--splitting", "--target=node", "--format=esm", "--minify-whitespace", "--minify-syntax"];
  const names = [
    `--outdir=${npm}`,
    "--entry-naming=[name].[ext]",
    `--chunk-naming=${FRONT}/[name]-[hash].[ext]`,
  ];
  const external = Object.keys(FRONT_BESIDE).flatMap((name) => ["--external", `*/${name}`]);
  await done(BUN, ["build", "mod.js", ...flags, ...names, ...external], npm);
  for (const path of ["mod.js", ...filesUnder(FRONT, /./, npm)]) {
    let source = readFileSync(join(npm, path), "utf8");
    for (const [name, lies] of Object.entries(FRONT_BESIDE)) {
      const from = path === "mod.js" ? `./${lies}` : relative(FRONT, lies);
      source = source.replaceAll(importOf(name), JSON.stringify(from));
    }
    writeFileSync(join(npm, path), source);
  }
}

/** A module as another one names it, quoted. */
function importOf(name) {
  return new RegExp(`"\\.[^"]*/${name.replaceAll(".", "\\.")}"`, "g");
}

/** The licences of what is in the core's bundle, and in the shims. */
function thirdPartyLicenses() {
  const packages = runtimePackages().filter(({ isBuilt }) => !isBuilt);
  const texts = packages.map(({ path, name, version, licence }) => {
    const folder = join(ROOT, path);
    const file = readdirSync(folder).find((each) => /^licen[cs]e(\.\w+)?$/i.test(each));
    const text = file ? readFileSync(join(folder, file), "utf8").trim() : `Licence: ${licence}`;
    return `${name} ${version}\n\n${text}\n`;
  });
  const compiled = COMPILED_IN.filter(({ use }) => use === "required").map(
    ({ name, version, licence, how, text }) =>
      `${name} ${version}: ${how}\n\n${text || `Licence: ${licence}`}\n`,
  );
  const head = `What ${BUNDLE} and the shims of ffi/prebuilt/ contain, and its licences.\n`;
  return [head, ...texts, ...compiled].join(`\n${"-".repeat(80)}\n\n`);
}

/** Has `deno publish` look at the folder as it would before it publishes; gives the bytes of the files it names. */
async function publishable(folder) {
  const output = await done(DENO, ["publish", "--dry-run", "--allow-dirty"], folder);
  const files = [...output.matchAll(/^\s+file:\/\/(\S+) \([\d.]+\w+\)$/gm)].map(([, path]) => path);
  if (files.length === 0) throw new Error(`Cannot pack: deno publish names no file\n${output}`);
  return files.reduce((sum, path) => sum + readFileSync(decodeURI(path)).length, 0);
}

/** The npm package: Deno makes JavaScript and declarations, what it does not know comes from package.json. */
async function toJavaScript(from, to, project) {
  const tarball = join(from, "deno.tgz");
  await done(DENO, ["pack", "--no-source-maps", "--allow-dirty", "--output", tarball], from);
  mkdirSync(to, { recursive: true });
  await done("tar", ["-xzf", tarball, "--strip-components=1", "-C", to], from);
  for (const path of [tarball, join(from, "node_modules")]) rmSync(path);
  for (const path of filesUnder(".", /(?<!\.d)\.ts$/, to)) rmSync(join(to, path)); // in no module's imports
  const { exports, main, types } = json(join(to, "package.json"));
  const { name, version, description, license, type, engines, dependencies } = project;
  const { peerDependencies, peerDependenciesMeta } = project;
  const bin = command(to, "cli.js");
  const about = { name, version, description, license, type, main, types, exports, bin, engines };
  const needed = { sideEffects: false, dependencies, peerDependencies, peerDependenciesMeta };
  writeFileSync(join(to, "package.json"), `${JSON.stringify({ ...about, ...needed }, undefined, 2)}\n`);
}

/** What npm links as a command: a program that says itself what runs it. Undefined where there is none. */
function command(folder, path) {
  if (!existsSync(join(folder, path))) return undefined;
  const source = readFileSync(join(folder, path), "utf8");
  if (!source.startsWith("#!")) writeFileSync(join(folder, path), `#!/usr/bin/env bun\n${source}`);
  chmodSync(join(folder, path), 0o755);
  return { "litestream-vfs": `./${path}` };
}

/** @throws {Error} a file tells where it was made */
function refuseMachinePaths(folder) {
  const told = filesUnder(".", /./, folder).find((path) => readFileSync(join(folder, path)).includes(ROOT));
  if (told) throw new Error(`Cannot pack: ${told} names the folder of this checkout`);
}

async function npmPack(folder, into) {
  const output = await done("npm", ["pack", folder, "--pack-destination", into, "--json"], into);
  const [{ filename }] = JSON.parse(output.slice(output.indexOf("[")));
  return join(into, filename);
}

async function done(command, args, cwd) {
  const { code, output } = await run(command, args, { cwd, env: { NO_COLOR: "1" } });
  if (code === 0) return output;
  throw new Error(`Cannot pack: ${[command, ...args].join(" ")} ended with ${code}\n${output}`);
}

function totalBytes(folder) {
  return filesUnder(".", /./, folder).reduce((sum, path) => sum + readFileSync(join(folder, path)).length, 0);
}

function json(path) {
  return JSON.parse(readFileSync(path, "utf8"));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { jsr, npm, tarball, sizes } = await pack(process.argv[2] && resolve(process.argv[2]));
  const kilobytes = (bytes) => `${(bytes / 1_000).toFixed(0)} kB`;
  console.log(`${dirname(jsr)}`);
  console.log(`  jsr/   ${kilobytes(sizes.jsr)}: cd there, deno publish`);
  console.log(
    `  npm/   ${kilobytes(sizes.npm)}, as ${tarball.slice(dirname(npm).length + 1)} ${
      kilobytes(sizes.tarball)
    }`,
  );
}
