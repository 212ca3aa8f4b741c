/**
 * What this package is made of beside its own sources: packages that it runs with, and what the shim is compiled of.
 *
 *   node scripts/licences.mjs            the table of docs/licences.md
 *   node scripts/licences.mjs --write    puts it there
 *
 * @module
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ROOT } from "./project.mjs";

/** Licences that ask for no more than to be passed on with the text. */
export const ALLOWED = [
  "0BSD",
  "Apache-2.0",
  "BlueOak-1.0.0",
  "BSD-2-Clause",
  "BSD-3-Clause",
  "ISC",
  "MIT",
  "Unlicense",
  "blessing",
];

const LZ4_TEXT = `LZ4 Library
Copyright (c) 2011-2020, Yann Collet
All rights reserved.

Redistribution and use in source and binary forms, with or without modification,
are permitted provided that the following conditions are met:

* Redistributions of source code must retain the above copyright notice, this
  list of conditions and the following disclaimer.

* Redistributions in binary form must reproduce the above copyright notice, this
  list of conditions and the following disclaimer in the documentation and/or
  other materials provided with the distribution.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND
ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE IMPLIED
WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE FOR
ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES
(INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES;
LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON
ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT
(INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE OF THIS
SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.`;

const MUSL_TEXT = `musl, and wasi-libc, of which it is a part
Copyright (c) 2005-2020 Rich Felker, et al.

Permission is hereby granted, free of charge, to any person obtaining
a copy of this software and associated documentation files (the
"Software"), to deal in the Software without restriction, including
without limitation the rights to use, copy, modify, merge, publish,
distribute, sublicense, and/or sell copies of the Software, and to
permit persons to whom the Software is furnished to do so, subject to
the following conditions:

The above copyright notice and this permission notice shall be
included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND,
EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT.
IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY
CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT,
TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE
SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.`;

/** What the shim is compiled of; `text` is passed on with it. `use` is `"required"` where it is in the package. */
export const COMPILED_IN = [
  {
    name: "lz4",
    version: "1.9.4",
    licence: "BSD-2-Clause",
    use: "required",
    how: "linked into the shim",
    text: LZ4_TEXT,
  },
  {
    name: "sqlite",
    version: "3.54.1",
    licence: "blessing",
    use: "required",
    how: "in the public domain: its header in the shim, all of it in the one in WASM",
    text: "",
  },
  {
    name: "wasi-libc",
    version: "zig-0.11.0",
    licence: "MIT",
    use: "required",
    how: "the C library of the shim in WASM, as Zig 0.11.0 has it",
    text: MUSL_TEXT,
  },
  {
    name: "zig",
    version: "0.11.0",
    licence: "MIT",
    use: "excluded",
    how: "the compiler of the shims that are shipped",
    text: "",
  },
];

/** Packages whose manifests have no `license` as npm wants it. */
const STATED_ELSEWHERE = { buildcheck: "MIT", "cpu-features": "MIT", ssh2: "MIT" };

/** What npm says of each installed package, by its path. */
function lockedPackages() {
  return JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8")).packages;
}

/** Where a package finds another one, as runtimes look for it: in its own folder, else in those around it. */
function pathFrom(packages, from, name) {
  const inside = `${from === "" ? "" : `${from}/`}node_modules/${name}`;
  if (packages[inside]) return inside;
  if (from === "") return undefined;
  return pathFrom(packages, from.replace(/(^|\/)node_modules\/(?:@[^/]+\/)?[^/]+$/, ""), name);
}

/** Paths of what a package needs; optional packages that are not installed here have none. */
function needsOf(packages, path) {
  const { dependencies, optionalDependencies } = packages[path];
  return Object.keys({ ...dependencies, ...optionalDependencies })
    .map((name) => pathFrom(packages, path, name)).filter((found) => found !== undefined);
}

/** Adds the paths of a package and of all that it needs. */
function addClosure(packages, path, found) {
  if (found.has(path)) return;
  found.add(path);
  for (const needed of needsOf(packages, path)) addClosure(packages, needed, found);
}

/**
 * Packages that run with this one, by the lock file: its dependencies, and its optional peers, which the bundle of the core has
 * in it, each with all that it needs.
 *
 * `{ path, name, version, licence, integrity, installs, peers, isBuilt, needs }`: `peers` names the optional peers that alone
 * want it, none where all users get it; `isBuilt` where even they do without; `needs` has `name@version` of others.
 */
export function runtimePackages() {
  const packages = lockedPackages();
  const { dependencies, peerDependencies } = packages[""];
  const always = new Set();
  for (const name of Object.keys(dependencies)) addClosure(packages, pathFrom(packages, "", name), always);
  const wanted = new Map([...always].map((path) => [path, []]));
  for (const peer of Object.keys(peerDependencies)) {
    const found = new Set();
    addClosure(packages, pathFrom(packages, "", peer), found);
    for (const path of found) if (!always.has(path)) wanted.set(path, [...wanted.get(path) ?? [], peer]);
  }
  const order = (a, b) => a.name < b.name ? -1 : a.name > b.name ? 1 : a.version < b.version ? -1 : 1;
  return [...wanted].map(([path, peers]) => packageAt(packages, path, peers)).sort(order);
}

function packageAt(packages, path, peers) {
  const { version, license, integrity, optional = false, hasInstallScript: installs = false } =
    packages[path];
  const name = nameOf(path);
  const licence = license ?? installedLicence(path) ?? STATED_ELSEWHERE[name];
  const needs = needsOf(packages, path).map((each) => `${nameOf(each)}@${packages[each].version}`);
  return { path, name, version, licence, integrity, installs, peers, isBuilt: optional, needs };
}

function nameOf(path) {
  return path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);
}

function installedLicence(path) {
  const manifest = join(ROOT, path, "package.json");
  return existsSync(manifest) ? JSON.parse(readFileSync(manifest, "utf8")).license : undefined;
}

function howOf({ name, peers, isBuilt }) {
  if (peers.length === 0) return "";
  if (peers.includes(name)) return "optional peer: installed by who needs it";
  const of = `optional, of ${peers.map((peer) => `\`${peer}\``).join(" and ")}`;
  return isBuilt ? `${of}, which does without where it cannot be built` : of;
}

/** The table of docs/licences.md. */
export function licenceTable() {
  const rows = [
    ...runtimePackages().map((each) => [`\`${each.name}\``, each.version, each.licence ?? "?", howOf(each)]),
    ...COMPILED_IN.map(({ name, version, licence, how }) => [`\`${name}\``, version, licence, how]),
  ];
  const all = [["part", "version", "licence", "how"], ...rows];
  const widths = all[0].map((_, i) => Math.max(...all.map((row) => row[i].length)));
  const line = (cells) => `| ${cells.map((cell, i) => cell.padEnd(widths[i])).join(" | ")} |`;
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  return [line(all[0]), rule, ...rows.map(line)].join("\n");
}

/** Where the table stands in the page. */
export const TABLE = /\| part .*?\n(?=\n)/s;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const table = licenceTable();
  const path = join(ROOT, "docs/licences.md");
  if (process.argv.includes("--write")) {
    writeFileSync(path, readFileSync(path, "utf8").replace(TABLE, () => `${table}\n`));
  } else console.log(table);
}
