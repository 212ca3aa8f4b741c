/** What is loaded when: a place's code, and the packages it needs, only when a replica lies there; Node's modules when used. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const STORAGE = join(ROOT, "src/storage");
const BACKENDS = readdirSync(STORAGE, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name)
  .sort();

/** Modules of ours, names of packages and of what a runtime has built in. */
interface Graph {
  readonly modules: ReadonlySet<string>;
  readonly packages: ReadonlySet<string>;
  readonly builtins: ReadonlySet<string>;
}

/** What a module imports when it is loaded: neither types nor `import()`. */
function importsOf(source: string): string[] {
  const code = source.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
  const statements = code.matchAll(/^(?:import|export)\s+(?:([^"';]*?)\s*from\s*)?"([^"]+)"/gm);
  return [...statements].filter(([, names = ""]) => !isOfTypes(names)).map(([, , module]) => module!);
}

function isOfTypes(names: string): boolean {
  if (/^type\s/.test(names)) return true;
  const listed = /^\{([^}]*)\}$/s.exec(names.trim())?.[1]?.split(",").map((name) => name.trim()).filter(
    Boolean,
  );
  return listed !== undefined && listed.length > 0 && listed.every((name) => name.startsWith("type "));
}

/** All that is loaded with a module. */
function graphOf(entry: string): Graph {
  const modules = new Set<string>();
  const packages = new Set<string>();
  const builtins = new Set<string>();
  const visit = (path: string) => {
    if (modules.has(path)) return;
    modules.add(path);
    for (const name of importsOf(readFileSync(path, "utf8"))) {
      if (name.startsWith(".")) visit(join(dirname(path), name));
      else (/^(node|bun):/.test(name) ? builtins : packages).add(name);
    }
  };
  visit(join(ROOT, entry));
  return { modules, packages, builtins };
}

function backendsIn({ modules }: Graph): string[] {
  const folders = [...modules].map((path) => relative(STORAGE, path).split("/"));
  return [
    ...new Set(folders.filter((parts) => parts.length > 1 && parts[0] !== "..").map(([first]) => first!)),
  ];
}

test("neither the module nor its core loads a place's code before it is used", () => {
  assert.ok(BACKENDS.length >= 7, BACKENDS.join());
  for (const entry of ["mod.ts", "src/bridge/core_worker.ts", "src/storage/open_store.ts"]) {
    const graph = graphOf(entry);
    assert.deepEqual(backendsIn(graph), [], entry);
    console.log(
      `${entry}: ${graph.modules.size} modules, packages ${[...graph.packages].join(", ") || "none"}`,
    );
  }
});

test("an opening loads no module of Node's before storage has answered", () => {
  const asked = ["mod.ts", "src/bridge/core_worker.ts", "src/storage/s3.ts", "src/live/live_replica.ts"];
  for (const entry of asked) assert.deepEqual([...graphOf(entry).builtins], [], entry);
});

test("a place's code loads no other place's, and its packages are nobody else's", () => {
  const core = graphOf("src/bridge/core_worker.ts");
  const users = new Map<string, string[]>();
  for (const name of BACKENDS) {
    const entry = `src/storage/${name}/${name}_storage.ts`;
    if (!existsSync(join(ROOT, entry))) assert.fail(`${entry} is not there`);
    const graph = graphOf(entry);
    assert.deepEqual(backendsIn(graph), [name]);
    const added = [...graph.modules].filter((path) => !core.modules.has(path));
    for (const each of graph.packages) {
      assert.equal(core.packages.has(each) && each !== "aws4fetch", false, `${each} is the core's`);
      users.set(each, [...users.get(each) ?? [], name]);
    }
    console.log(
      `${name}: ${added.length} modules more, packages ${[...graph.packages].join(", ") || "none"}`,
    );
  }
  for (const [name, places] of users) {
    if (name !== "aws4fetch") assert.equal(places.length, 1, `${name} is used by ${places.join(" and ")}`);
  }
});
