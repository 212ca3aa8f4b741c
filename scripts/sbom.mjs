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

/** The whole bill. */
function bill() {
  const bom = npmBill();
  const licences = new Map(
    runtimePackages().map(({ name, version, licence }) => [`${name}@${version}`, licence]),
  );
  const { component, tools } = bom.metadata;
  component.name = component["bom-ref"].replace(/@[^@]*$/, ""); // npm takes the folder's
  component.properties = [];
  for (const each of bom.components) {
    each.licenses ??= licensesOf(licences.get(`${each.name}@${each.version}`));
    each.properties = [];
  }
  bom.components.push(...COMPILED_IN.map(compiledIn));
  bom.dependencies.find(({ ref }) => ref === component["bom-ref"]).dependsOn.push(
    ...COMPILED_IN.filter(({ use }) => use === "required").map(({ name, version }) => `${name}@${version}`),
  );
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
