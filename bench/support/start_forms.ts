/**
 * The ways in which a program has this package, each a folder with a program in it, ready to run.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { copyPackages, install, linkCheckout, packages, ROOT } from "../../tests/support/packages.ts";
import { childEnvironment, folderUrl } from "../../tests/support/real.ts";
import { executable } from "./measure.ts";

/** A runtime. */
export type Runtime = "bun" | "deno";

/** A folder with a program, and the words that run it. */
export interface Form {
  readonly name: string;
  readonly runtime: Runtime;
  readonly folder: string;
  /** The command, less the program's argument. */
  readonly command: readonly string[];
  /** What Deno caches is kept in the folder. */
  readonly env: Record<string, string>;
}

const PROGRAM = "start_any.js";
const DENO_RUN = ["run", "-A", "--no-check"];

/** Makes all of them. */
export async function startForms(): Promise<Form[]> {
  const made = await packages();
  const checkout = folderUrl(join(ROOT, "mod.ts"));
  return [
    await makeForm("checkout", "bun", ({ folder }) => linkCheckout(folder)),
    await makeForm("npm", "bun", ({ folder }) => install(made, folder)),
    await makeForm("checkout", "deno", ({ folder }) => mapTo(folder, checkout)),
    await makeForm("npm", "deno", ({ folder }) => install(made, folder)),
    await makeForm("JSR", "deno", (form) => cacheFrom(made.jsr, form), ["--cached-only"]),
  ];
}

/** Removes them. */
export async function removeForms(forms: readonly Form[]): Promise<void> {
  for (const { folder } of forms) await rm(folder, { recursive: true });
}

async function makeForm(
  name: string,
  runtime: Runtime,
  furnish: (form: Form) => Promise<void>,
  flags: readonly string[] = [],
): Promise<Form> {
  const folder = await mkdtemp(join(tmpdir(), "start-bench-"));
  await cp(join(ROOT, "bench", "support", PROGRAM), join(folder, PROGRAM));
  const words = runtime === "deno" ? [...DENO_RUN, ...flags] : [];
  const command = [executable(runtime), ...words, PROGRAM];
  const form = { name, runtime, folder, command, env: { DENO_DIR: join(folder, ".deno") } };
  await furnish(form);
  return form;
}

/** A program of Deno whose import map names the package's module, and what that imports. */
async function mapTo(folder: string, url: string): Promise<void> {
  const { imports } = JSON.parse(await readFile(join(ROOT, "deno.json"), "utf8"));
  await copyPackages(Object.keys(imports), folder);
  const config = { nodeModulesDir: "manual", imports: { ...imports, "@x/litestream-vfs": url } };
  await writeFile(join(folder, "deno.json"), JSON.stringify(config));
}

/** The same with what JSR is given, fetched from a server and cached. */
async function cacheFrom(published: string, { folder, env }: Form): Promise<void> {
  const server = createServer(async (request, response) => {
    const path = new URL(request.url ?? "/", "http://host").pathname;
    const content = await readFile(join(published, path)).catch(() => undefined);
    const type = path.endsWith(".js") ? "text/javascript" : "application/typescript";
    response.writeHead(content ? 200 : 404, { "content-type": type }).end(content);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    await mapTo(folder, `http://127.0.0.1:${(server.address() as AddressInfo).port}/mod.ts`);
    await done([executable("deno"), "cache", "--no-check", "--allow-import", PROGRAM], { cwd: folder, env });
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
}

async function done(
  [command, ...args]: string[],
  { cwd, env }: { cwd: string; env: Record<string, string> },
): Promise<void> {
  const child = spawn(command!, args, {
    cwd,
    env: childEnvironment(env),
    stdio: ["ignore", "ignore", "inherit"],
  });
  const code = await new Promise((resolve) => child.once("close", resolve));
  if (code !== 0) throw new Error(`Cannot prepare ${cwd}: ${command} ${args.join(" ")} ended with ${code}`);
}
