/**
 * dial(): a connection to a server whose key is known, signed in, with a session of file transfer.
 *
 * @module
 */

import { connect, type Socket } from "node:net";
import { clearTimeout, setTimeout } from "node:timers";
import { StorageError } from "../../errors.ts";
import { HostKeyCheck } from "./host_key_check.ts";
import type { SftpSettings } from "./sftp_settings.ts";
import type { SignIn } from "./sign_in.ts";
import { type SftpSession, ssh, type SshClient } from "./ssh_library.ts";

/** What both runtimes compute, the fastest first; none with SHA-1. */
const KEY_EXCHANGES = [
  "curve25519-sha256",
  "curve25519-sha256@libssh.org",
  "ecdh-sha2-nistp256",
  "ecdh-sha2-nistp384",
  "diffie-hellman-group14-sha256",
  "diffie-hellman-group-exchange-sha256",
  "diffie-hellman-group16-sha512",
];
const MACS = [
  "hmac-sha2-256-etm@openssh.com",
  "hmac-sha2-512-etm@openssh.com",
  "hmac-sha2-256",
  "hmac-sha2-512",
];
/** Each of the steps, signing in and the session, may take so long. */
const READY_TIMEOUT_MS = 8_000;
/**
 * A connection that is not used is asked whether it is still there; it is dead after three of these without
 * an answer.
 */
const KEEP_ALIVE_MS = 10_000;

/** A connection that was made. */
export interface Dialled {
  readonly socket: Socket;
  readonly client: SshClient;
  readonly session: SftpSession;
}

/** What is known when a connection fails. */
interface Dialling {
  readonly settings: SftpSettings;
  readonly check: HostKeyCheck;
  readonly signIn: SignIn;
  readonly tried: { names: string[]; methods: readonly string[] };
}

/**
 * Connects and signs in; `signal` ends that.
 *
 * @throws {StorageError} code `HostKey`, `SignIn` or `Handshake`, for good: what the server is or takes;
 * `Network`: no connection
 */
export async function dial(
  settings: SftpSettings,
  signal: AbortSignal,
  readyTimeoutMs: number = READY_TIMEOUT_MS,
): Promise<Dialled> {
  const [signIn, trust] = await Promise.all([settings.signIn(), settings.trust()]);
  signal.throwIfAborted();
  const check = new HostKeyCheck(settings.host, trust);
  const dialling = { settings, check, signIn, tried: { names: [], methods: [] } };
  const socket = socketTo(settings);
  const client = new ssh.Client();
  const abort = () => socket.destroy();
  signal.addEventListener("abort", abort, { once: true });
  try {
    await signedIn(client, socket, dialling);
    return { socket, client, session: await sessionOf(client, settings, readyTimeoutMs) };
  } catch (error) {
    socket.destroy();
    throw signal.aborted ? signal.reason : error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** A runtime may refuse at once. */
function socketTo(settings: SftpSettings): Socket {
  const { name: host, port } = settings.host;
  try {
    return connect({ host, port, noDelay: true });
  } catch (error) {
    throw networkFault(settings, (error as Error).message, error);
  }
}

function signedIn(client: SshClient, socket: Socket, dialling: Dialling): Promise<void> {
  const { settings, check, signIn, tried } = dialling;
  return new Promise((resolve, reject) => {
    client.on("ready", resolve);
    client.on("error", (error) => {
      // Without an agent, the next way is tried.
      if (error.level !== "agent") reject(faultOf(error, dialling));
    });
    client.on("change password", () => reject(signIn.expired(settings.place)));
    client.on("close", () => reject(faultOf(new Error("the server closed the connection"), dialling)));
    client.connect({
      sock: socket,
      username: settings.user,
      readyTimeout: READY_TIMEOUT_MS,
      keepaliveInterval: KEEP_ALIVE_MS,
      keepaliveCountMax: 2,
      algorithms: { kex: KEY_EXCHANGES, serverHostKey: check.algorithms, hmac: MACS },
      hostVerifier: (key) => check.accepts(key),
      authHandler: signIn.handler(tried),
    });
  });
}

function sessionOf(client: SshClient, settings: SftpSettings, timeoutMs: number): Promise<SftpSession> {
  return new Promise((resolve, reject) => {
    const late = () => reject(networkFault(settings, `nothing came for ${timeoutMs} ms`));
    const timer = setTimeout(late, timeoutMs);
    client.on("close", () => {
      clearTimeout(timer);
      reject(networkFault(settings, "the server closed the connection"));
    });
    client.sftp((error, session) => {
      clearTimeout(timer);
      if (session !== undefined) return resolve(session);
      const found = error?.message ?? "no session";
      if (!/subsystem/i.test(found)) return reject(networkFault(settings, found, error));
      const details = { key: "", status: 0, code: "NotImplemented", retryable: false, cause: error };
      reject(
        new StorageError(
          `Cannot use ${settings.place}: ${found}, expected a server that offers SFTP`,
          details,
        ),
      );
    });
  });
}

function faultOf(
  error: Error & { level?: string },
  { settings, check, signIn, tried }: Dialling,
): StorageError {
  const { message, level } = error;
  if (check.refusal !== undefined) return check.refusal;
  if (level === "client-authentication" || /authentication failures/i.test(message)) {
    return signIn.refused(settings.place, tried);
  }
  if (level !== "handshake" || !/no matching/i.test(message)) return networkFault(settings, message, error);
  const details = { key: "", status: 0, code: "Handshake", retryable: false, cause: error };
  const wanted = "a server with algorithms of today (curve25519 or ECDH, AES-GCM or AES-CTR with SHA-2)";
  return new StorageError(`Cannot connect to ${settings.place}: ${message}, expected ${wanted}`, details);
}

function networkFault({ place }: SftpSettings, found: string, cause?: unknown): StorageError {
  const { name } = (cause ?? {}) as { name?: unknown };
  // A permission does not come by waiting.
  const retryable = name !== "NotCapable" && name !== "PermissionDenied";
  const details = { key: "", status: 0, code: "Network", retryable, cause };
  return new StorageError(
    `Cannot connect to ${place}: ${found}, expected an SSH server that answers`,
    details,
  );
}
