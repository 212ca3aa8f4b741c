/**
 * SftpSettings: a location and the process's variables → how the server is reached.
 *
 * @module
 */

import { homedir } from "node:os";
import type { BackendContext } from "../backend.ts";
import type { SftpLocation } from "../backend_location.ts";
import { StorageError } from "../../errors.ts";
import { type HostKeyTrust, pinnedHostKey } from "./host_key_check.ts";
import { KnownHosts, type SshHost } from "./known_hosts.ts";
import { SignIn } from "./sign_in.ts";

const KEY_FILES = ["id_ed25519", "id_ecdsa", "id_rsa"];
const KNOWN_HOSTS_SYSTEM = "/etc/ssh/ssh_known_hosts";

/** How a server is reached. */
export class SftpSettings {
  readonly host: SshHost;
  readonly user: string;
  readonly #location: SftpLocation;
  readonly #context: BackendContext;
  readonly #pinned: HostKeyTrust | undefined;
  #signIn: Promise<SignIn> | undefined;

  /** @throws {TypeError} parameter `hostKey` is malformed */
  constructor(location: SftpLocation, context: BackendContext) {
    const { host: name, port, user } = location;
    this.host = { name, port };
    this.user = user;
    this.#location = location;
    this.#context = context;
    const pinned = this.#parameter("hostKey", "host-key");
    this.#pinned = pinned === "" ? undefined : pinnedHostKey(pinned);
  }

  /** How the server is called in messages. */
  get place(): string {
    return `${this.user}@${this.host.name}:${this.host.port}`;
  }

  /** With what the user signs in; looked for again where that failed. */
  async signIn(): Promise<SignIn> {
    this.#signIn ??= this.#findSignIn();
    try {
      return await this.#signIn;
    } catch (error) {
      this.#signIn = undefined;
      throw error;
    }
  }

  /** What is known of the host's key: read anew for each connection, since it is where a user adds a line. */
  async trust(): Promise<HostKeyTrust> {
    if (this.#pinned !== undefined) return this.#pinned;
    const named = this.#parameter("knownHosts", "known-hosts");
    const paths = named === "" ? [this.#inHome("known_hosts"), KNOWN_HOSTS_SYSTEM] : [this.#expand(named)];
    const texts = await Promise.all(paths.map((path) => this.#readKnownHosts(path, named !== "")));
    return { kind: "files", knownHosts: new KnownHosts(texts.join("\n")), paths };
  }

  async #findSignIn(): Promise<SignIn> {
    const { env, readFile } = this.#context;
    const keyPath = this.#parameter("keyPath", "key-path") || env.LITESTREAM_SFTP_KEY_PATH || "";
    return await SignIn.find({
      user: this.user,
      password: this.#location.password || env.LITESTREAM_SFTP_PASSWORD || "",
      keyPath: keyPath === "" ? "" : this.#expand(keyPath),
      passphrase: env.LITESTREAM_SFTP_KEY_PASSPHRASE ?? "",
      agent: env.SSH_AUTH_SOCK ?? "",
      keyPathsDefault: KEY_FILES.map((name) => this.#inHome(name)),
      readFile,
    });
  }

  async #readKnownHosts(path: string, isNamed: boolean): Promise<string> {
    try {
      return await this.#context.readFile(path);
    } catch (cause) {
      const { code, name } = cause as { code?: unknown; name?: unknown };
      if (!isNamed && code === "ENOENT") return "";
      const details = { key: "", status: 0, code: "HostKey", retryable: false, cause };
      throw new StorageError(
        `Cannot read known hosts in "${path}": ${
          code === "ENOENT" ? "there is no such file" : code ?? name
        }, ` +
          "expected a file like ~/.ssh/known_hosts",
        details,
      );
    }
  }

  #parameter(...names: string[]): string {
    return names.map((name) => this.#location.parameters[name]).find((value) => value) ?? "";
  }

  #inHome(name: string): string {
    return `${this.#home()}/.ssh/${name}`;
  }

  #expand(path: string): string {
    return path.replace(/^~(?=\/)/, () => this.#home());
  }

  #home(): string {
    return this.#context.env.HOME || homedir();
  }
}
