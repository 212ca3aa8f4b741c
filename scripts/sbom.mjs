/**
 * The bill of materials, as CycloneDX 1.5 has it: what npm knows by the lock file, with licences that it leaves out, and what
 * the shim is compiled of.
 *
 *   npm run --silent sbom            to stdout
 *   node scripts/sbom.mjs FILE       into a file
 *
 * The same lock file gives the same bytes: no time but SOURCE_DATE_EPOCH's, a number made of the content.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { COMPILED_IN, runtimePackages } from "./licences.mjs";
import { ROOT } from "./project.mjs";

/** What npm writes. */
function npmBill() {
  const args = ["sbom", "--sbom-format", "cyclonedx", "--omit", "dev", "--package-lock-only"];
  const { status, stdout, stderr } = spawnSync("npm", args, { cwd: ROOT, encoding: "utf8" });
  if (status !== 0) {
    throw new Error(`Cannot make the bill of materials: npm sbom exited with ${status}\n${stderr}`);
  }
  return JSON.parse(stdout);
}

const licensesOf = (licence) => [{ license: { id: licence } }];

function compiledIn({ name, version, licence, use, how }) {
  return {
    "bom-ref": `${name}@${version}`,
    type: "library",
    name,
    version,
    scope: use,
    description: how,
    purl: `pkg:generic/${name}@${encodeURIComponent(version)}`,
    licenses: licensesOf(licence),
  };
}

/** An optional peer, or what one needs, which npm takes for this project's own tools. */
function ofPeers({ path, name, version, licence, integrity, isBuilt, peers }) {
  const use = isBuilt ? "does without it where it cannot be built" : "in the core's bundle";
  return {
    "bom-ref": `${name}@${version}`,
    type: "library",
    name,
    version,
    scope: "optional",
    description: peers.includes(name)
      ? `optional peer; ${use}`
      : `of optional peer ${peers.join(", ")}; ${use}`,
    purl: `pkg:npm/${name.replace("@", "%40")}@${version}`,
    properties: [{ name: "cdx:npm:package:path", value: path }],
    hashes: [{
      alg: "SHA-512",
      content: Buffer.from(integrity.slice("sha512-".length), "base64").toString("hex"),
    }],
    licenses: licensesOf(licence),
  };
}

/** The whole bill. */
function bill() {
  const bom = npmBill();
  const packages = runtimePackages();
  const peers = packages.filter(({ peers }) => peers.length > 0);
  const licences = new Map(packages.map(({ name, version, licence }) => [`${name}@${version}`, licence]));
  const { component, tools } = bom.metadata;
  component.name = component["bom-ref"].replace(/@[^@]*$/, ""); // npm takes the folder's
  component.properties = [];
  for (const each of bom.components) {
    each.licenses ??= licensesOf(licences.get(`${each.name}@${each.version}`));
    each.properties = [];
  }
  const told = new Set(bom.components.map((each) => each["bom-ref"]));
  const untold = peers.filter(({ name, version }) => !told.has(`${name}@${version}`));
  bom.components.push(...untold.map(ofPeers), ...COMPILED_IN.map(compiledIn));
  bom.dependencies.push(
    ...untold.map(({ name, version, needs }) => ({ ref: `${name}@${version}`, dependsOn: needs })),
  );
  const own = bom.dependencies.find(({ ref }) => ref === component["bom-ref"]);
  const first = [
    ...peers.filter(({ name, peers }) => peers.includes(name)),
    ...COMPILED_IN.filter(({ use }) => use === "required"),
  ].map(({ name, version }) => `${name}@${version}`);
  own.dependsOn.push(...first.filter((ref) => !own.dependsOn.includes(ref)));
  const epoch = process.env.SOURCE_DATE_EPOCH;
  const timestamp = epoch && new Date(Number(epoch) * 1000).toISOString();
  bom.metadata = { ...(timestamp && { timestamp }), tools, component };
  const hash = createHash("sha256").update(JSON.stringify([component, bom.components])).digest("hex");
  const version = `8${hash.slice(13, 16)}-a${hash.slice(17, 20)}`; // RFC 9562, version 8: what the maker says
  bom.serialNumber = `urn:uuid:${hash.slice(0, 8)}-${hash.slice(8, 12)}-${version}-${hash.slice(20, 32)}`;
  return `${JSON.stringify(bom, undefined, 2)}\n`;
}

const [path] = process.argv.slice(2);
if (path) writeFileSync(path, bill());
else process.stdout.write(bill());
