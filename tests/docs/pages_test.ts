/** What docs/ says beside its examples, held to the code: names, defaults, classes, times, links, commands. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { EXIT } from "../../src/cli/exit_code.ts";
import { helpText } from "../../src/cli/help.ts";
import * as errors from "../../src/errors.ts";
import { makeConfig } from "../../src/replica_config.ts";
import { makeUriConfig } from "../../src/uri_config.ts";
import { parseMoment } from "../../src/time/time_expression.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");
const PAGES = [
  ...["README.md", "CHANGELOG.md", "bench/RESULTS.md"],
  ...readdirSync(join(ROOT, "docs")).filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`),
];

/** A part of a page, by its heading. */
function section(page: string, heading: string): string {
  const text = read(page);
  const level = /^#+/.exec(heading)![0];
  const start = text.indexOf(`\n${heading}\n`);
  assert.ok(start >= 0, `${page} has "${heading}"`);
  const rest = text.slice(start + heading.length + 2);
  const end = new RegExp(`^#{1,${level.length}} `, "m").exec(rest);
  return end ? rest.slice(0, end.index) : rest;
}

/** Cells of a text's tables, without heads. */
function rowsIn(text: string): string[][] {
  const lines = text.split("\n").filter((line) => line.startsWith("|"));
  return lines.filter((line, i) => !/^\| -/.test(line) && !/^\| -/.test(lines[i + 1] ?? ""))
    .map((line) => line.slice(1, -1).split(/(?<!\\)\|/).map((cell) => cell.trim()));
}

/** Words in code style. */
const codesIn = (text: string) => [...text.matchAll(/`([^`]+)`/g)].map(([, code]) => code!);

/** Members of an interface, as its source has them. */
function membersOf(path: string, name: string): string[] {
  const body = new RegExp(`interface ${name} [^{]*\\{\\n(.*?)^\\}`, "ms").exec(read(path))?.[1];
  assert.ok(body, `${path} has ${name}`);
  return [...body.matchAll(/^ {2}(?:readonly )?(\w+)\??:/gm)].map(([, member]) => member!);
}

const sorted = (names: Iterable<string>) => [...new Set(names)].sort();

test("docs/options.md has each option of openReplica(), and no other", () => {
  const told = rowsIn(section("docs/options.md", "## `openReplica()`")).map(([name]) => name!)
    .filter((name) => name !== "the URL");
  assert.deepEqual(sorted(told.flatMap(codesIn)), sorted(membersOf("src/options.ts", "OpenOptions")));
});

test("docs/options.md has each option of connect() and register(), and no other", () => {
  const of = (heading: string) =>
    rowsIn(section("docs/options.md", heading)).flatMap(([name]) => codesIn(name!));
  assert.deepEqual(sorted(of("## `connect()`")), sorted(membersOf("src/connections.ts", "ConnectOptions")));
  assert.deepEqual(sorted(of("## By URI")), sorted(membersOf("src/registration.ts", "RegisterOptions")));
});

test("docs/options.md has the defaults that are", () => {
  const config: Record<string, unknown> = {
    ...makeConfig("file:///r", {}, {}),
    ...makeConfig("file:///r", { write: true, bufferPath: "/l" }, {}).write,
  };
  let compared = 0;
  for (const [name, text] of rowsIn(section("docs/options.md", "## `openReplica()`"))) {
    const value = config[codesIn(name!)[0] ?? ""];
    if (typeof value === "number" && /^\d/.test(text!)) {
      assert.equal(Number.parseInt(text!), value, name);
      compared++;
    }
    if (typeof value === "string") assert.equal(text, `\`${JSON.stringify(value)}\``, name), compared++;
  }
  assert.ok(compared >= 14, `${compared}`);
});

test("docs/options.md has each URI parameter and each variable of ours, and no other", () => {
  const source = read("src/uri_config.ts").slice(
    read("src/uri_config.ts").indexOf("export function makeUriConfig"),
  );
  const parameters = [...source.matchAll(/(?:get|bytes|duration)\("(\w+)"\)/g)].map(([, name]) => name!);
  assert.ok(parameters.length > 9);
  const last = rowsIn(section("docs/options.md", "## `openReplica()`")).flatMap((cells) =>
    codesIn(cells[3] ?? "")
  );
  assert.deepEqual(sorted(last.filter((name) => /^[a-z_]+$/.test(name))), sorted(parameters));
  makeUriConfig(new Map([["replica_url", "file:///r"]]), {});
  const files = readdirSync(join(ROOT, "src"), { recursive: true }).map(String).filter((name) =>
    name.endsWith(".ts")
  );
  const code = files.map((name) => read(join("src", name))).join("\n").replace(/\/\*.*?\*\//gs, "");
  const used = [...code.matchAll(/\bLITESTREAM_[A-Z0-9_]*[A-Z0-9]\b/g)].map(([name]) => name);
  const pages = read("docs/options.md") + read("docs/places.md");
  for (const name of sorted(used)) {
    if (name === "LITESTREAM_S3") continue; // the beginning of others
    assert.ok(pages.includes(name), `${name} is in docs/options.md, or docs/places.md`);
  }
  for (const name of sorted(pages.match(/\bLITESTREAM_[A-Z0-9_]*[A-Z0-9]\b/g)!)) {
    if (name.endsWith("_ACCESS_KEY_ID") || name.endsWith("_SECRET_ACCESS_KEY")) continue; // made of two parts
    assert.ok(code.includes(name), `${name} is read somewhere`);
  }
});

test("docs/options.md has each function and PRAGMA, and no other", () => {
  const shim = read("ffi/shim.c");
  const told = codesIn(
    section("docs/options.md", "## In SQL").split("\n").filter((line) => line.startsWith("|")).join("\n"),
  );
  const functions = /azName\[\] = \{("litestream_txid"[^}]*)\}/.exec(shim)![1]!.match(/litestream_\w+/g)!;
  assert.deepEqual(
    sorted(told.map((text) => /^(litestream_\w+)\(/.exec(text)?.[1] ?? "").filter(Boolean)),
    sorted(functions),
  );
  const pragmas = told.filter((text) => !text.includes("(") && text.startsWith("litestream_"))
    .map((text) => text.replace(/ = .*/, ""));
  const known = /azName\[\] = \{("txid"[^}]*)\}/.exec(shim)![1]!.match(/\w+/g)!.map((name) =>
    `litestream_${name}`
  );
  assert.deepEqual(sorted(pragmas), sorted(known));
});

test("docs/errors.md has each class of errors, and each fault of a plan", () => {
  const classes = Object.keys(errors).filter((name) => name !== "ReplicaError");
  const told = rowsIn(read("docs/errors.md")).map(([name]) => codesIn(name!)[0]!).filter((name) =>
    /^[A-Z]/.test(name)
  );
  assert.deepEqual(sorted(told), sorted(classes));
  const faults = /RestorePlanFault = ([^;]*);/.exec(read("src/errors.ts"))![1]!.match(/"[^"]+"/g)!;
  const rows = rowsIn(section("docs/errors.md", "## RestorePlanError")).map(([name]) => codesIn(name!)[0]!);
  assert.deepEqual(sorted(rows), sorted(faults));
});

test("docs/cli.md has each command and exit code, and no other", () => {
  const commands = rowsIn(section("docs/cli.md", "## Commands")).flatMap(([name]) => codesIn(name!));
  const overview = /Commands:\n(.*?)\n\n/s.exec(helpText(undefined))![1]!;
  const known = [...overview.matchAll(/^ {2}(\w+)/gm)].map(([, name]) => name!);
  assert.ok(known.length > 6, overview);
  assert.deepEqual(sorted(commands.map((usage) => usage.split(" ")[0]!)), sorted(known));
  const codes = rowsIn(section("docs/cli.md", "## Exit codes")).map(([code]) => Number.parseInt(code!));
  assert.deepEqual(codes, Object.values(EXIT));
});

test("docs/options.md has times that are understood", async () => {
  const times = codesIn(section("docs/options.md", "## Times")).filter((text) =>
    !/litestream_time|diff\(\)|asOf|^latest$/.test(text)
  );
  assert.ok(times.length >= 8, times.join());
  const nowMs = Date.UTC(2026, 10, 22, 12);
  for (const text of times) {
    const moment = await parseMoment(text, nowMs);
    assert.ok(moment !== "latest" && moment.ms !== undefined, text);
    assert.ok(
      moment.ms > Date.UTC(2025, 0) && moment.ms <= nowMs,
      `${text}: ${new Date(moment.ms).toISOString()}`,
    );
  }
});

test("links within the pages lead somewhere", () => {
  let count = 0;
  for (const page of PAGES) {
    const text = read(page).replace(/^```.*?^```$/gms, "");
    for (const [, target] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target!)) continue;
      const [path, anchor] = target!.split("#");
      const file = path === "" ? page : relative(ROOT, join(ROOT, dirname(page), path!));
      assert.ok(existsSync(join(ROOT, file)), `${page}: ${target}`);
      if (anchor !== undefined) assert.ok(anchorsOf(file).includes(anchor), `${page}: ${target}`);
      count++;
    }
  }
  assert.ok(count > 30, `${count}`);
});

function anchorsOf(page: string): string[] {
  return [...read(page).matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading!.toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, "").replaceAll(" ", "-")
  );
}

test("commands and files that the pages name are there", () => {
  const { scripts } = JSON.parse(read("package.json"));
  let count = 0;
  for (const page of PAGES) {
    const text = read(page);
    for (const [, name] of text.matchAll(/npm (?:--silent )?run (?:--silent )?([a-z]+)\b/g)) {
      assert.ok(scripts[name!], `${page}: npm run ${name}`);
      count++;
    }
    for (
      const [, path] of text.matchAll(
        /\b((?:tests|scripts|src|ffi|bench|docs)\/[\w/-]+\.(?:mjs|ts|c|h|md|svg))\b/g,
      )
    ) {
      assert.ok(existsSync(join(ROOT, path!)), `${page}: ${path}`);
      count++;
    }
  }
  assert.ok(count > 20, `${count}`);
});
