/**
 * SignIn: with what a user signs in, in which order, and what was tried.
 *
 * @module
 */

import { StorageError } from "../../errors.ts";
import { PrivateKeyError, readPrivateKey } from "./private_key.ts";
import type { Authentication, SshKey } from "./ssh_library.ts";

/** What may be signed in with. Where a key or a password is named, nothing else is tried. */
export interface SignInSources {
  readonly user: string;
  /** A secret; empty for none. */
  readonly password: string;
  /** A key file that was named; empty for none. */
  readonly keyPath: string;
  /** A secret; empty for none. */
  readonly passphrase: string;
  /** Socket of ssh-agent; empty for none. */
  readonly agent: string;
  /** Key files that are looked for where nothing is named. */
  readonly keyPathsDefault: readonly string[];
  readonly readFile: (path: string) => Promise<string>;
}

/** A way to sign in, and what it is called in messages. */
interface Way {
  readonly name: string;
  readonly method: "publickey" | "password" | "keyboard-interactive";
  /** Anew for each connection: an answer is given once. */
  readonly authentication: () => Authentication;
}

const WANTED = "a password in the URL or LITESTREAM_SFTP_PASSWORD, a key file (parameter keyPath, " +
  "LITESTREAM_SFTP_KEY_PATH, ~/.ssh/id_ed25519, id_ecdsa or id_rsa), or ssh-agent (SSH_AUTH_SOCK)";

/** The ways of one user, found once: opening an encrypted key takes a second. */
export class SignIn {
  readonly #ways: readonly Way[];
  /** What was not tried, and why. */
  readonly #passedOver: readonly string[];

  private constructor(ways: readonly Way[], passedOver: readonly string[]) {
    this.#ways = ways;
    this.#passedOver = passedOver;
  }

  /**
   * Finds the ways: keys before passwords, an agent's keys before files, as OpenSSH does.
   *
   * @throws {StorageError} there is none, or the file that was named is not usable
   */
  static async find(sources: SignInSources): Promise<SignIn> {
    const { user, password, keyPath, agent } = sources;
    const ways: Way[] = [];
    const passedOver: string[] = [];
    if (keyPath !== "") ways.push(keyWay(sources, keyPath, await readNamed(sources)));
    if (password !== "") ways.push(...passwordWays(user, password));
    if (ways.length === 0) {
      if (agent !== "") ways.push(agentWay(user, agent));
      for (const path of sources.keyPathsDefault) {
        const key = await readKey(sources, path).catch((error) => {
          if (!isAbsent(error)) passedOver.push(`${path} (${wordsOf(error)})`);
        });
        if (key) ways.push(keyWay(sources, path, key));
      }
    }
    const found = new SignIn(ways, passedOver);
    if (ways.length === 0) throw found.#error(`Cannot sign in as "${user}"`, "nothing to sign in with");
    return found;
  }

  /** Answers the server's question for the next way; `tried` gets what each is called. */
  handler(tried: { names: string[]; methods: readonly string[] }): (
    methods: readonly string[] | null,
  ) => Authentication | false {
    const left = [...this.#ways];
    return (methods) => {
      tried.methods = methods ?? [];
      for (let way = left.shift(); way !== undefined; way = left.shift()) {
        if (methods !== null && !methods.includes(way.method)) continue;
        tried.names.push(way.name);
        return way.authentication();
      }
      return false;
    };
  }

  /** The server has refused all of them. */
  refused(
    place: string,
    { names, methods }: { names: readonly string[]; methods: readonly string[] },
  ): StorageError {
    const tried = names.length === 0 ? "none of them is tried" : `tried: ${names.join(", ")}`;
    const takes = methods.length === 0 ? "" : `; it takes ${methods.join(", ")}`;
    return this.#error(`Cannot sign in to ${place}`, `it was refused (${tried})${takes}`);
  }

  /** The server takes the password no more. */
  expired(place: string): StorageError {
    const details = { key: "", status: 0, code: "SignIn", retryable: false };
    const found = "the password has expired";
    return new StorageError(
      `Cannot sign in to ${place}: ${found}, expected one that was renewed there`,
      details,
    );
  }

  #error(what: string, found: string): StorageError {
    const more = this.#passedOver.length === 0 ? "" : `; passed over: ${this.#passedOver.join(", ")}`;
    const details = { key: "", status: 0, code: "SignIn", retryable: false };
    return new StorageError(`${what}: ${found}${more}, expected ${WANTED}`, details);
  }
}

function keyWay({ user }: SignInSources, path: string, key: SshKey): Way {
  const authentication = () => ({ type: "publickey", username: user, key } as const);
  return { name: `${path} (${key.type})`, method: "publickey", authentication };
}

function agentWay(user: string, agent: string): Way {
  const authentication = () => ({ type: "agent", username: user, agent } as const);
  return { name: "ssh-agent", method: "publickey", authentication };
}

/** Some servers ask for it as a question. It is the answer to the first that shows no letters, once. */
function passwordWays(user: string, password: string): Way[] {
  return [
    {
      name: "the password",
      method: "password",
      authentication: () => ({ type: "password", username: user, password }),
    },
    {
      name: "the password as an answer",
      method: "keyboard-interactive",
      authentication: () => ({ type: "keyboard-interactive", username: user, prompt: answering(password) }),
    },
  ];
}

/** What else is asked for, such as a new password, is not known here. */
function answering(password: string): Extract<Authentication, { type: "keyboard-interactive" }>["prompt"] {
  let left = password;
  return (_name, _instructions, _language, prompts, answer) => {
    const answers = prompts.map(({ echo }) => {
      if (echo) return "";
      const said = left;
      left = "";
      return said;
    });
    answer(answers);
  };
}

async function readNamed(sources: SignInSources): Promise<SshKey> {
  const { keyPath } = sources;
  try {
    return await readKey(sources, keyPath);
  } catch (cause) {
    const isLocked = cause instanceof PrivateKeyError && cause.isLocked;
    const wanted = isLocked
      ? "its passphrase in LITESTREAM_SFTP_KEY_PASSPHRASE, or no keyPath where ssh-agent has it"
      : "a private key of OpenSSH's or PEM's form";
    const details = { key: "", status: 0, code: "SignIn", retryable: false, cause };
    throw new StorageError(
      `Cannot read key file "${keyPath}": ${wordsOf(cause)}, expected ${wanted}`,
      details,
    );
  }
}

async function readKey({ passphrase, readFile }: SignInSources, path: string): Promise<SshKey> {
  return readPrivateKey(await readFile(path), passphrase);
}

function isAbsent(error: unknown): boolean {
  return (error as { code?: unknown }).code === "ENOENT";
}

function wordsOf(error: unknown): string {
  if (error instanceof PrivateKeyError) return error.message;
  if (isAbsent(error)) return "there is none";
  const { code, name } = error as { code?: unknown; name?: unknown };
  return `it cannot be read (${code ?? name})`;
}
