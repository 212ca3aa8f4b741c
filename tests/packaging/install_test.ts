/** Every way to install, each from an empty folder: this runtime's ones. */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { copyPackages, install, linkCheckout, type Packages, packages, ROOT } from "../support/packages.ts";
import { litestreamBinary, s3ServerBinary, skipWithout } from "../support/real.ts";
import { BUN, DENO, makeWorld, urlOf, UserProject, type World } from "./user_project.ts";

const IS_BUN = "Bun" in globalThis;
const skip = skipWithout({ litestream: litestreamBinary(), "S3 server": s3ServerBinary() });
const TIMEOUT_MS = 300_000;
const DENO_RUN = ["run", "-A", "--no-check"];
const TARGETS = ["linux_x64", "linux_arm64", "macos_x64", "macos_arm64", "windows_x64"];
/** Modules that the core's worker is laid together to. */
const CORE = "src/bridge/core";
/** Some of what is in them, each by the name of what it is begun with. */
const CORE_PARTS = [
  "core_worker",
  "folder",
  "writer",
  ...["abs", "gs", "http", "nats", "oss", "sftp", "webdav"].map((place) => `${place}_storage`),
];
let world: World;
let made: Packages;

before(async () => {
  if (!skip) [world, made] = await Promise.all([makeWorld(), packages()]);
}, { timeout: TIMEOUT_MS });
after(() => world?.close());

function way(name: string, ofBun: boolean, work: (project: UserProject) => Promise<void>): void {
  if (ofBun === IS_BUN) test(name, { skip, timeout: TIMEOUT_MS }, () => UserProject.with(work));
}

/** What a program may load when it is running, and a tool that gathers its modules must know before. */
async function loadedLate(): Promise<string[]> {
  const core = await readdir(join(made.jsr, CORE));
  for (const part of CORE_PARTS) assert.ok(core.some((name) => name.startsWith(part)), part);
  return [...core.map((name) => `${CORE}/${name}`), ...TARGETS.map((target) => `ffi/prebuilt/${target}.ts`)];
}

async function dependencies(): Promise<Record<string, string>> {
  return JSON.parse(await readFile(join(ROOT, "deno.json"), "utf8")).imports;
}

/** A project's deno.json. */
async function configure(project: UserProject, config: Record<string, unknown>): Promise<void> {
  await writeFile(join(project.folder, "deno.json"), JSON.stringify({ nodeModulesDir: "manual", ...config }));
}

/** Serves a folder as JSR serves modules; tells what was asked for. */
async function serve(folder: string): Promise<{ server: Server; url: string; asked: Set<string> }> {
  const asked = new Set<string>();
  const server = createServer(async (request, response) => {
    const path = new URL(request.url ?? "/", "http://host").pathname;
    asked.add(path);
    const content = await readFile(join(folder, path)).catch(() => undefined);
    const type = path.endsWith(".js") ? "text/javascript" : "application/typescript";
    response.writeHead(content ? 200 : 404, { "content-type": type }).end(content);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

way("Bun, npm's tarball: the program does all it should", true, async (project) => {
  await install(made, project.folder);
  await project.check(world, BUN, ["program.js"]);
});

/** A place whose package is for those who ask for it. */
const UNINSTALLED = `
import { openReplica } from "@x/litestream-vfs";
await openReplica("sftp://user:secret@127.0.0.1/db").then(() => console.log("open"), (error) => console.log(String(error)));
`;

test(
  "without its package, a place names it",
  { skip, timeout: TIMEOUT_MS },
  () =>
    UserProject.with(async (project) => {
      await install(made, project.folder);
      await writeFile(join(project.folder, "places.js"), UNINSTALLED);
      const [command, args] = IS_BUN ? [BUN, []] : [DENO, DENO_RUN];
      const told = await project.must(command, [...args, "places.js"]);
      assert.match(
        told,
        /^StorageError: Cannot open sftp:.*: package "ssh2" is not installed, expected it among/,
      );
      assert.doesNotMatch(told, /secret/);
    }),
);

way("Bun, linked to a checkout: the program does all it should", true, async (project) => {
  await linkCheckout(project.folder);
  await project.check(world, BUN, ["program.js"]);
});

way(
  "Bun, bundled to one file, as it is and minified: the bundle needs nothing else",
  true,
  async (project) => {
    await install(made, project.folder);
    for (const more of [[], ["--minify"]]) {
      await project.must(BUN, ["build", "program.js", "--target=bun", "--outfile=bundle.js", ...more]);
      await rm(join(project.folder, "node_modules"), { recursive: true, force: true });
      await project.check(world, BUN, ["bundle.js"]);
      await project.clear();
      await install(made, project.folder);
    }
  },
);

way("Bun, compiled: the program needs no Bun", true, async (project) => {
  await install(made, project.folder);
  await project.must(BUN, ["build", "--compile", "program.js", "--outfile=program"]);
  await rm(join(project.folder, "node_modules"), { recursive: true });
  await project.check(world, join(project.folder, "program"), []);
});

way("Bun, bundled from a checkout: the error says what to bundle", true, async (project) => {
  await linkCheckout(project.folder);
  await project.must(BUN, ["build", "program.js", "--target=bun", "--outfile=bundle.js"]);
  const given = JSON.stringify({ ...world.given, work: project.work });
  const { code, stderr } = await project.run(BUN, ["bundle.js", given]);
  assert.equal(code, 1);
  assert.match(
    stderr,
    /Cannot start core: this program is a bundle of a checkout, expected one of a package/,
  );
});

way("Deno, npm's tarball: the program does all it should", false, async (project) => {
  await install(made, project.folder);
  await project.check(world, DENO, [...DENO_RUN, "program.js"]);
});

way("Deno, linked to a checkout: the program does all it should", false, async (project) => {
  await copyPackages(Object.keys(await dependencies()), project.folder);
  const { version } = JSON.parse(await readFile(join(ROOT, "deno.json"), "utf8"));
  await configure(project, {
    links: [ROOT],
    imports: { "@x/litestream-vfs": `jsr:@x/litestream-vfs@${version}` },
  });
  await project.check(world, DENO, [...DENO_RUN, "program.js"]);
});

way(
  "Deno, over HTTP as from JSR: all modules are fetched with the program, and none later",
  false,
  async (project) => {
    await copyPackages(Object.keys(await dependencies()), project.folder);
    const { server, url, asked } = await serve(made.jsr);
    const imports = { "@x/litestream-vfs": `${url}/mod.ts`, ...await dependencies() };
    await configure(project, { imports });
    const host = new URL(url).host;
    await project.must(DENO, ["cache", "--no-check", `--allow-import=${host}`, "program.js"]);
    await new Promise((resolve) => server.close(resolve));
    for (const path of await loadedLate()) assert.ok(asked.has(`/${path}`), path);
    assert.ok(
      ![...asked].some((path) => path.startsWith("/src/live/live_replica")),
      "the core's own modules are not needed",
    );
    const { folder, work } = project;
    const cache = join(project.home, ".cache");
    await mkdir(cache, { recursive: true });
    const flags = [
      `--allow-import=${host}`,
      "--allow-ffi",
      `--allow-net=${world.host}`,
      "--no-prompt",
      "--allow-env=HOME",
    ];
    const paths = [`--allow-read=${[...world.replica, work, folder, cache].join()}`];
    const writes = [`--allow-write=${[work, join(cache, "litestream-vfs")].join()}`];
    await project.check(world, DENO, ["run", "--cached-only", ...flags, ...paths, ...writes, "program.js"]);
  },
);

way("Deno, bundled to one file: the bundle needs nothing else", false, async (project) => {
  await install(made, project.folder);
  await project.must(BUN, ["build", "program.js", "--target=node", "--outfile=bundle.js"]);
  await rm(join(project.folder, "node_modules"), { recursive: true });
  await project.check(world, DENO, [...DENO_RUN, "bundle.js"]);
});

way("Deno, compiled: the graph has all modules that a program may load", false, async (project) => {
  const graph = JSON.parse(await project.must(DENO, ["info", "--json", urlOf(join(made.jsr, "mod.ts"))]));
  const modules = new Set(graph.modules.map(({ specifier }: { specifier: string }) => specifier));
  for (const path of await loadedLate()) assert.ok(modules.has(urlOf(join(made.jsr, path))), path);
});

/** The program that `deno compile` puts a user's modules into; it comes with no package, and Deno fetches it elsewhere. */
const BASE = process.env.DENORT_BIN;
if (!IS_BUN && !BASE) console.error("skipped: Deno, compiled: DENORT_BIN names no denort of this version");
if (BASE) {
  way("Deno, compiled: the program needs no Deno", false, async (project) => {
    await install(made, project.folder);
    const env = { DENORT_BIN: BASE };
    await project.must(DENO, ["compile", "-A", "--no-check", "--output", "program", "program.js"], env);
    await rm(join(project.folder, "node_modules"), { recursive: true });
    await project.check(world, join(project.folder, "program"), []);
  });
}
