import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const RUNTIME_NAMES = [
  /\b(?:Deno|Bun)\s*(?:\?\.|\.|\[)/,
  /["'](?:Deno|Bun)["']\s+in\b/,
  /\btypeof\s+(?:Deno|Bun)\b/,
  /["'`]bun:/,
];

function sourceFiles(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)))
    .sort();
}

/** Comments blanked out, lines kept; a `//` inside a string, as in `https://`, is preceded by a colon. */
function withoutComments(source: string): string {
  return source
    .replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, " "))
    .replace(/(^|[^:"'`])\/\/.*$/gm, "$1");
}

function linesNamingARuntime(source: string): number[] {
  return withoutComments(source)
    .split("\n")
    .flatMap((line, index) => RUNTIME_NAMES.some((name) => name.test(line)) ? [index + 1] : []);
}

test("src/ names a runtime only in src/drivers/", () => {
  const found = sourceFiles("src")
    .filter((path) => !path.startsWith(join("src", "drivers")))
    .flatMap((path) => {
      return linesNamingARuntime(readFileSync(join(ROOT, path), "utf8")).map((line) => `${path}:${line}`);
    });
  assert.deepEqual(found, []);
});

test("linesNamingARuntime() sees code and no comments", () => {
  const source = [
    "// Deno.open is not used",
    "/* nor",
    "   Bun.file */",
    'const url = "https://example"; const file = Bun.file(url);',
    'if ("Deno" in globalThis) globalThis.Deno?.exit();',
    'import { Database } from "bun:sqlite";',
    "const fine = 1; // as in Bun.file",
  ].join("\n");
  assert.deepEqual(linesNamingARuntime(source), [4, 5, 6]);
});

/** Of each hunk of a patch: the file, and the lines that it expects there. */
function expectedLines(patch: string): { path: string; lines: string }[] {
  const found: { path: string; lines: string }[] = [];
  let path = "";
  for (const part of patch.split(/^(?=--- |@@ )/m)) {
    path = /^--- a\/(.+)$/m.exec(part)?.[1] ?? path;
    if (!part.startsWith("@@ ")) continue;
    const lines = part.split("\n").slice(1).filter((line) => /^[ -]/.test(line));
    found.push({ path, lines: lines.map((line) => `${line.slice(1)}\n`).join("") });
  }
  return found;
}

test("Every mutant in tests/mutants/ is one of the code as it is now", () => {
  const folder = join(ROOT, "tests", "mutants");
  const names = readdirSync(folder).filter((name) => name.endsWith(".patch"));
  assert.ok(names.length > 40, `${names.length} mutants`);
  for (const name of names) {
    const hunks = expectedLines(readFileSync(join(folder, name), "utf8"));
    assert.ok(hunks.length > 0, name);
    for (const { path, lines } of hunks) {
      assert.notEqual(lines, "", `${name}: a hunk without a line to know its place by`);
      assert.ok(
        readFileSync(join(ROOT, path), "utf8").includes(lines),
        `${name} is not of ${path} as it is:\n${lines}`,
      );
    }
  }
});
