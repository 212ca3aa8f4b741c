/** What Deno must be allowed for each kind of use: no more than that, and what is missing is named. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ROOT } from "../support/packages.ts";
import { litestreamBinary, s3ServerBinary, skipWithout } from "../support/real.ts";
import { DENO, makeWorld, UserProject, type World } from "./user_project.ts";

const IS_BUN = "Bun" in globalThis;
if (IS_BUN) console.error("skipped: permissions: Bun has none");
const missing = skipWithout({ litestream: litestreamBinary(), "S3 server": s3ServerBinary() });
const skip = IS_BUN ? "Bun has no permissions" : missing;
const CHILD = join(ROOT, "tests", "packaging", "permission_child.ts");
const TIMEOUT_MS = 120_000;
let world: World;

before(async () => {
  if (!skip) world = await makeWorld();
}, { timeout: TIMEOUT_MS });
after(() => world?.close());

/** One use of a replica: what it needs, by flag, beside reading the package and FFI. */
interface Use {
  readonly act: "query" | "cache" | "write" | "hydrate" | "restore";
  readonly url?: string;
  readonly options?: Record<string, unknown>;
  /** Values of flags; `true`: without one. */
  readonly needs: Readonly<Record<string, readonly string[] | true>>;
  readonly env?: Record<string, string>;
}

async function told(
  project: UserProject,
  use: Use,
  without?: string,
  prefix: string[] = [],
): Promise<string> {
  const { act, url = world.given.folder, options = {}, env } = use;
  const package_ = ["mod.ts", "src", "ffi", "node_modules", "tests"].map((path) => join(ROOT, path));
  const { "allow-read": reads = [], ...others } = use.needs;
  const needs = { "allow-ffi": true, ...others, "allow-read": [...package_, ...reads as string[]] };
  const flags = Object.entries(needs).filter(([flag]) => flag !== without).map(([flag, values]) =>
    values === true ? `--${flag}` : `--${flag}=${(values as string[]).join()}`
  );
  const given = JSON.stringify({
    act,
    url,
    options: { sqlite: "native", ...options },
    path: join(project.work, "restored.db"),
  });
  const [command, ...args] = [...prefix, DENO, "run", "--no-check", ...flags, CHILD, given];
  return (await project.run(command!, args, env)).stdout;
}

/** With what it needs a use succeeds, and without any of it the flag is named. */
function suffices(name: string, use: (project: UserProject) => Use): void {
  test(
    `${name}: what it needs suffices, and what is missing is named`,
    { skip, timeout: TIMEOUT_MS },
    () =>
      UserProject.with(async (project) => {
        const made = use(project);
        assert.match(await told(project, made), /^ok$/m);
        await project.clear();
        const flags = Object.keys(made.needs).filter((flag) => flag !== "allow-read");
        if (flags.length === 0) flags.push("allow-ffi"); // which all uses need in the same way
        for (const flag of flags) {
          const found = await told(project, made, flag);
          assert.match(found, new RegExp(`--${flag}\\b`), `without --${flag}`);
          assert.doesNotMatch(found, /^ok$/m, `without --${flag}`);
          // native code is not held by Deno, and so must not be asked to
          if (flag === "allow-write") assert.deepEqual(readdirSync(project.work), [], "nothing was written");
        }
      }),
  );
}

const S3 = () => ({ url: world.given.s3 as string, options: { credentials: world.given.credentials } });

suffices("a folder", () => ({ act: "query", needs: { "allow-read": world.replica } }));

suffices("S3, keys by option", () => ({ act: "query", ...S3(), needs: { "allow-net": [world.host] } }));

suffices("S3, keys by variables, one by one", () => {
  const { accessKeyId, secretAccessKey } = world.given.credentials as Record<string, string>;
  return {
    act: "query",
    url: S3().url,
    env: { AWS_ACCESS_KEY_ID: accessKeyId!, AWS_SECRET_ACCESS_KEY: secretAccessKey! },
    needs: { "allow-net": [world.host], "allow-env": ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] },
  };
});

suffices("writing", ({ work }) => ({
  act: "write",
  url: `file://${work}/written`,
  options: { write: true, bufferPath: `${work}/log` },
  needs: { "allow-read": [work], "allow-write": [work, join(ROOT, "ffi", "build")] },
}));

suffices("a local copy", ({ work }) => ({
  act: "hydrate",
  ...S3(),
  options: { ...S3().options, hydrate: `${work}/copy.db` },
  needs: { "allow-read": [work], "allow-write": [work], "allow-net": [world.host] },
}));

suffices("a cache on disk", ({ work }) => ({
  act: "cache",
  ...S3(),
  options: { ...S3().options, cacheDir: `${work}/cache` },
  needs: { "allow-read": [work], "allow-write": [work], "allow-net": [world.host] },
}));

suffices("restoring", ({ work }) => ({
  act: "restore",
  needs: { "allow-read": [...world.replica, work], "allow-write": [work] },
}));

test(
  "nobody is asked for what can be done without",
  { skip, timeout: TIMEOUT_MS },
  () =>
    UserProject.with(async (project) => {
      const use: Use = { act: "query", needs: { "allow-read": world.replica } };
      const words = await told(project, { ...use, needs: { ...use.needs, "deny-env": true } });
      assert.match(words, /^ok$/m);
      // on a terminal, Deno asks for what is neither allowed nor denied
      const command = await told(project, use, undefined, ["node", "-e", QUOTE, "--"]);
      const seen = await project.must("script", ["-qec", command, "/dev/null"]);
      assert.match(seen, /^ok\r?$/m);
      assert.doesNotMatch(seen, /requests|Allow\?/);
    }),
);

/** Prints its arguments as a shell reads them. */
const QUOTE =
  `console.log(process.argv.slice(1).map((each) => "'" + each.replaceAll("'", "'\\\\''") + "'").join(" "))`;
