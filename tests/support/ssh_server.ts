/**
 * OpenSSH's server as a process of the user who tests, and keys to sign in with.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { appendFile, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort, type Running, start, untilReady } from "./real.ts";

const BINARY = process.env.SSHD_BIN || "/usr/sbin/sshd";
/** Where a server of root's wants an empty folder. Debian's service makes it, too. */
const PRIVILEGE_FOLDER = "/run/sshd";

/** The server, or SSHD_BIN; undefined where there is none. */
export function sshServerBinary(): string | undefined {
  return existsSync(BINARY) ? BINARY : undefined;
}

/** Types of keys, as ssh-keygen names them. */
export type KeyType = "ed25519" | "ecdsa" | "rsa";

/** A running server. */
export interface SshServer {
  readonly port: number;
  /** Who tests, and may sign in. */
  readonly user: string;
  /** Keys and all else of the server's; a home folder for whoever signs in. */
  readonly folder: string;
  /** What the user comes to at sign-in. */
  readonly files: string;
  /** A known_hosts file that has the server's keys. */
  readonly knownHosts: string;
  /** A private key that it takes. */
  readonly keyPath: string;
  /** URL of a path below {@link files}, with that key and those known hosts. */
  url(path: string, parameters?: Record<string, string>): string;
  /** A key pair as a file of `name`, which the server takes. */
  makeKey(name: string, type: KeyType, ...flags: string[]): Promise<string>;
  /** A public key of the server's: type and base64. */
  hostKey(type: KeyType): Promise<string>;
  close(): Promise<void>;
}

/** How a server is started. */
export interface SshServerOptions {
  /** Flags of its file transfer, see sftp-server(8). */
  readonly flags?: string;
  /** Types of its own keys. */
  readonly types?: readonly KeyType[];
}

/** Starts a server on a free port of the loopback interface, over a temporary folder. */
export async function startSshServer(
  { flags = "", types = ["ed25519", "ecdsa"] }: SshServerOptions = {},
): Promise<SshServer> {
  const folder = await mkdtemp(join(tmpdir(), "ssh-"));
  const [files, authorized, knownHosts] = ["files", "authorized", "known_hosts"].map((name) =>
    join(folder, name)
  ) as [
    string,
    string,
    string,
  ];
  await mkdir(files);
  await writeFile(authorized, "");
  for (const type of types) generateKey(join(folder, `host_${type}`), type);
  const port = await freePort();
  const hostKey = async (type: KeyType) =>
    (await readFile(join(folder, `host_${type}.pub`), "utf8")).split(" ").slice(0, 2).join(" ");
  const lines = await Promise.all(types.map(async (type) => `[127.0.0.1]:${port} ${await hostKey(type)}\n`));
  await writeFile(knownHosts, lines.join(""));
  const config = join(folder, "sshd_config");
  await writeFile(config, configOf({ port, folder, authorized, files, types, flags }));
  if (process.getuid?.() === 0) mkdirSync(PRIVILEGE_FOLDER, { recursive: true, mode: 0o755 });
  const makeKey = async (name: string, type: KeyType, ...flags: string[]) => {
    const path = join(folder, name);
    generateKey(path, type, ...flags);
    await appendFile(authorized, await readFile(`${path}.pub`, "utf8"));
    return path;
  };
  const keyPath = await makeKey("id_test", "ed25519");
  const user = spawnSync("id", ["-un"], { encoding: "utf8" }).stdout.trim();
  const running = await run(config, { port, folder });
  return {
    port,
    user,
    folder,
    files,
    knownHosts,
    keyPath,
    hostKey,
    makeKey,
    url: (path, parameters = { keyPath, knownHosts }) =>
      `sftp://${user}@127.0.0.1:${port}/${path}?${new URLSearchParams(parameters)}`,
    async close() {
      await running.stop("SIGTERM");
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function run(config: string, { port, folder }: { port: number; folder: string }): Promise<Running> {
  const server = start(BINARY, ["-D", "-e", "-f", config]);
  await untilReady("sshd greets", server, folder, () => greets(port));
  return server;
}

function configOf(
  { port, folder, authorized, files, types, flags }: {
    port: number;
    folder: string;
    authorized: string;
    files: string;
    types: readonly KeyType[];
    flags: string;
  },
): string {
  return [
    `Port ${port}`,
    "ListenAddress 127.0.0.1",
    ...types.map((type) => `HostKey ${folder}/host_${type}`),
    "PidFile none",
    `AuthorizedKeysFile ${authorized}`,
    "StrictModes no",
    // Without PAM, a server that cannot read the shadow file takes the account for locked.
    `UsePAM ${process.getuid?.() === 0 ? "no" : "yes"}`,
    "PermitRootLogin yes",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "MaxStartups 100",
    `Subsystem sftp internal-sftp -d ${files} ${flags}`,
    "",
  ].join("\n");
}

function generateKey(path: string, type: KeyType, ...flags: string[]): void {
  const size = type === "rsa" ? ["-b", "2048"] : [];
  const phrase = flags.includes("-N") ? [] : ["-N", ""];
  const { status, stderr } = spawnSync("ssh-keygen", [
    "-q",
    "-t",
    type,
    ...size,
    ...phrase,
    ...flags,
    "-f",
    path,
  ]);
  if (status !== 0) throw new Error(`Cannot make a key: ssh-keygen ended with ${status}\n${stderr}`);
}

function greets(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once("error", () => end(false));
    socket.once("data", (data) => end(data.toString("latin1").startsWith("SSH-")));
    socket.once("close", () => end(false));
  });
}
