/** What is installed with this package: pinned, known by its checksum, under licences that are allowed, and told. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");
const project = JSON.parse(read("package.json"));
const deno = JSON.parse(read("deno.json"));
const lock = JSON.parse(read("package-lock.json"));

const EXACT = /^\d+\.\d+\.\d+$/;

/** What the lock file says of a package. */
interface LockEntry {
  readonly version: string;
  readonly integrity?: string;
  readonly resolved?: string;
  readonly link?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly os?: readonly string[];
  readonly cpu?: readonly string[];
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

const locked = Object.entries<LockEntry>(lock.packages);

/** Of another platform than those at hand when it was locked, from a registry that has only these. */
function isUnseen({ integrity, dev, optional, os, cpu }: LockEntry): boolean {
  const isHere = os?.includes("linux") && cpu?.includes("x64");
  return integrity === undefined && dev === true && optional === true && os !== undefined && !isHere;
}

interface RuntimePackage {
  readonly name: string;
  readonly version: string;
  readonly licence?: string;
  readonly integrity?: string;
  readonly installs: boolean;
  readonly peers: readonly string[];
}

interface CompiledIn {
  readonly name: string;
  readonly version: string;
  readonly licence: string;
  readonly text: string;
}

interface Licences {
  readonly ALLOWED: readonly string[];
  readonly COMPILED_IN: readonly CompiledIn[];
  licenceTable(): string;
  runtimePackages(): RuntimePackage[];
}

const licences: Licences = await import(new URL("../scripts/licences.mjs", import.meta.url).href);
const packages = licences.runtimePackages();

test("dependencies are pinned to one version, the same for both runtimes", () => {
  const pinned = { ...project.dependencies, ...project.devDependencies };
  for (const [name, version] of Object.entries(pinned)) assert.match(String(version), EXACT, name);
  for (const [name, specifier] of Object.entries<string>(deno.imports)) {
    const [, of, version] = /^npm:(@?[^@]+)@([^/]+)$/.exec(specifier) ?? [];
    assert.equal(of, name, specifier);
    assert.match(version!, EXACT, specifier);
    if (pinned[name]) assert.equal(version, pinned[name], name);
    else assert.ok(project.peerDependencies?.[name], `${name} is in package.json, too`);
  }
  for (const name of Object.keys(project.dependencies)) {
    assert.ok(deno.imports[name], `${name} is in deno.json`);
  }
});

test("the lock file knows each package by its checksum, and no registry", () => {
  const { "": root, ...others } = lock.packages;
  assert.deepEqual(root.dependencies, project.dependencies);
  assert.ok(Object.keys(others).length > 20);
  for (const [path, entry] of Object.entries<LockEntry>(others)) {
    const { integrity, resolved, link } = entry;
    if (!isUnseen(entry)) assert.match(integrity ?? "", /^sha512-[A-Za-z0-9+/]{86}==$/, path);
    assert.equal(resolved ?? link, undefined, path);
  }
});

test("the lock file has each package that is wanted anywhere, so that npm takes it for whole", () => {
  for (const [path, { dependencies, optionalDependencies, devDependencies }] of locked) {
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies, ...devDependencies })) {
      const around = path.split("/node_modules/").map((_, i, parts) =>
        parts.slice(0, i + 1).join("/node_modules/")
      );
      const places = ["", ...around].map((place) => `${place === "" ? "" : `${place}/`}node_modules/${name}`);
      assert.ok(places.some((place) => lock.packages[place]), `${name} of ${path || "this package"}`);
    }
  }
});

test("what is locked without a checksum is a tool's program for another platform, of an exact version", () => {
  const unseen = locked.filter(([path, entry]) => path !== "" && entry.integrity === undefined);
  for (const [path, entry] of unseen) {
    assert.ok(isUnseen(entry), path);
    const name = path.slice("node_modules/".length);
    const wanted = locked.flatMap(([, { optionalDependencies = {} }]) => optionalDependencies[name] ?? []);
    assert.deepEqual(wanted, [entry.version], path);
  }
});

test("each package that runs with this one is under a licence that is allowed, and in the list", () => {
  const names = new Set(packages.map(({ name }) => name));
  for (const name of Object.keys(project.dependencies)) assert.ok(names.has(name), name);
  for (const { name, version, licence } of [...packages, ...licences.COMPILED_IN]) {
    assert.ok(licences.ALLOWED.includes(licence ?? ""), `${name} ${version}: ${licence}`);
  }
  const page = read("docs/licences.md");
  assert.ok(page.includes(licences.licenceTable()), "node scripts/licences.mjs --write brings it up to date");
  for (const { text } of licences.COMPILED_IN) assert.ok(page.includes(text));
});

test("optional peers and all that they need are in the list, marked as theirs", () => {
  const names = Object.keys(project.peerDependencies);
  assert.ok(names.length > 0 && names.every((name) => project.peerDependenciesMeta[name].optional));
  const told = new Map(packages.map((each) => [`${each.name}@${each.version}`, each]));
  const bundled = Object.entries<{ dependencies?: Record<string, string> }>(lock.packages);
  for (const [path, { dependencies = {} }] of bundled) {
    const name = path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);
    const parent = packages.find((each) => each.name === name && each.peers.length > 0);
    for (const needed of parent ? Object.keys(dependencies) : []) {
      assert.ok(packages.some((each) => each.name === needed), `${needed} of ${name}`);
    }
  }
  for (const name of names) {
    assert.deepEqual(told.get(`${name}@${project.devDependencies[name]}`)?.peers, [name]);
  }
  assert.deepEqual(packages.find(({ name }) => name === "bcrypt-pbkdf")?.peers, ["ssh2"]);
  const versions = packages.filter(({ name }) => name === "tweetnacl").map(({ version }) => version);
  assert.equal(versions.length, 2, "one of each peer");
  for (const name of Object.keys(project.dependencies)) {
    assert.deepEqual(packages.find((each) => each.name === name)?.peers, [], name);
  }
});

test("nothing of ours runs when it is installed, of others only what a faster cipher is built by", () => {
  const hooks = ["preinstall", "install", "postinstall", "prepare", "prepublish", "dependencies"];
  assert.deepEqual(Object.keys(project.scripts).filter((name) => hooks.includes(name)), []);
  const known = new Set(["ssh2", "cpu-features"]);
  assert.deepEqual(packages.filter(({ name, installs }) => installs && !known.has(name)), []);
});

test("the bill of materials has all of them, with version, licence and checksum, and is the same each time", async () => {
  const env = { ...process.env, SOURCE_DATE_EPOCH: "1790000000" };
  const make = () => promisify(execFile)("node", ["scripts/sbom.mjs"], { cwd: ROOT, env });
  const [first, second] = await Promise.all([make(), make()]);
  assert.equal(first.stdout, second.stdout);
  const bom = JSON.parse(first.stdout);
  assert.deepEqual([bom.bomFormat, bom.specVersion], ["CycloneDX", "1.5"]);
  assert.match(bom.serialNumber, /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(bom.metadata.component.name, project.name);
  assert.equal(bom.metadata.timestamp, new Date(1790000000 * 1000).toISOString());
  const told = new Map<string, Record<string, unknown>>(
    bom.components.map((each: { name: string; version: string }) => [`${each.name}@${each.version}`, each]),
  );
  for (const { name, version, licence } of [...packages, ...licences.COMPILED_IN]) {
    const component = told.get(`${name}@${version}`);
    assert.ok(component, `${name}@${version}`);
    assert.deepEqual(component.licenses, [{ license: { id: licence } }], name);
  }
  const refs = new Set(bom.components.map((each: { "bom-ref": string }) => each["bom-ref"]));
  assert.equal(refs.size, bom.components.length, "each once");
  for (const { ref, dependsOn = [] } of bom.dependencies) {
    assert.ok(refs.has(ref) || ref === bom.metadata.component["bom-ref"], ref);
    for (const each of dependsOn) assert.ok(refs.has(each), `${each} of ${ref}`);
  }
  for (const { name, version, peers } of packages) {
    const { scope } = told.get(`${name}@${version}`)!;
    assert.equal(scope === "optional", peers.length > 0, `${name}@${version}: ${scope}`);
  }
  for (const { name, version, integrity } of packages) {
    const { hashes } = told.get(`${name}@${version}`) as { hashes: { alg: string; content: string }[] };
    const hash = Uint8Array.from(atob(integrity!.slice("sha512-".length)), (c) => c.charCodeAt(0));
    const hex = Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
    assert.deepEqual(hashes, [{ alg: "SHA-512", content: hex }], name);
  }
});
