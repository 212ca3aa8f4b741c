/**
 * The SSH library: what is used of it, and its only import.
 *
 * It has no types of its own. Its optional native parts are not needed: ciphers are the runtime's.
 *
 * @see https://github.com/mscdex/ssh2
 * @module
 */

import type { Buffer } from "node:buffer";
import type { Socket } from "node:net";
// @ts-ignore: it has no types
import untyped from "ssh2";

/** What a request is answered with. */
export type Answer<T> = (error?: (Error & { code?: number }) | null, value?: T) => void;

/** A file's facts in version 3 of the protocol: times are whole seconds. */
export interface FileFacts {
  readonly mode?: number;
  readonly size?: number;
  readonly mtime?: number;
}

/** A name in a folder. */
export interface FolderEntry {
  readonly filename: string;
  readonly attrs: FileFacts;
}

/** A session of file transfer. Each request is answered once; requests are not ended. */
export interface SftpSession {
  open(path: string, flags: number, answer: Answer<Buffer>): void;
  close(handle: Buffer, answer: Answer<void>): void;
  read(
    handle: Buffer,
    into: Buffer,
    at: number,
    size: number,
    position: number,
    answer: Answer<number>,
  ): void;
  write(handle: Buffer, from: Buffer, at: number, size: number, position: number, answer: Answer<void>): void;
  fstat(handle: Buffer, answer: Answer<FileFacts>): void;
  stat(path: string, answer: Answer<FileFacts>): void;
  lstat(path: string, answer: Answer<FileFacts>): void;
  futimes(handle: Buffer, atime: number, mtime: number, answer: Answer<void>): void;
  opendir(path: string, answer: Answer<Buffer>): void;
  readdir(handle: Buffer, answer: Answer<readonly FolderEntry[]>): void;
  mkdir(path: string, answer: Answer<void>): void;
  unlink(path: string, answer: Answer<void>): void;
  ext_openssh_rename(from: string, to: string, answer: Answer<void>): void;
  ext_openssh_hardlink(from: string, to: string, answer: Answer<void>): void;
  ext_openssh_fsync(handle: Buffer, answer: Answer<void>): void;
  on(event: "error" | "close" | "end", listener: (error?: Error) => void): void;
}

/** A key as the library holds it. */
export interface SshKey {
  readonly type: string;
  isPrivateKey(): boolean;
  getPrivatePEM(): string | null;
  getPublicSSH(): Buffer;
  sign(bytes: Uint8Array, hash?: string): Uint8Array | Error;
}

/** One attempt to sign in. */
export type Authentication =
  | { readonly type: "publickey"; readonly username: string; readonly key: SshKey }
  | { readonly type: "agent"; readonly username: string; readonly agent: string }
  | { readonly type: "password"; readonly username: string; readonly password: string }
  | {
    readonly type: "keyboard-interactive";
    readonly username: string;
    readonly prompt: (
      name: string,
      instructions: string,
      language: string,
      prompts: readonly { readonly prompt: string; readonly echo: boolean }[],
      answer: (answers: readonly string[]) => void,
    ) => void;
  };

/** How a connection is made. */
export interface ConnectOptions {
  readonly sock: Socket;
  readonly username: string;
  readonly readyTimeout: number;
  readonly keepaliveInterval: number;
  readonly keepaliveCountMax: number;
  readonly algorithms: {
    readonly kex: readonly string[];
    readonly serverHostKey: readonly string[];
    readonly hmac: readonly string[];
  };
  readonly hostVerifier: (key: Buffer) => boolean;
  readonly authHandler: (methods: readonly string[] | null) => Authentication | false;
}

/** A connection; it says `error` any number of times, then `close`. */
export interface SshClient {
  connect(options: ConnectOptions): void;
  sftp(answer: Answer<SftpSession>): void;
  end(): void;
  on(event: "ready" | "close" | "end" | "change password", listener: () => void): void;
  on(event: "error", listener: (error: Error & { level?: string }) => void): void;
}

interface SshLibrary {
  readonly Client: new () => SshClient;
  readonly utils: { parseKey(text: string, passphrase?: string): SshKey | SshKey[] | Error };
}

/** The library. */
export const ssh: SshLibrary = untyped as SshLibrary;

/** Status codes of answers. */
export const STATUS = {
  EOF: 1,
  NO_SUCH_FILE: 2,
  PERMISSION_DENIED: 3,
  FAILURE: 4,
  BAD_MESSAGE: 5,
  OP_UNSUPPORTED: 8,
} as const;

/** How files are opened. */
export const OPEN = { READ: 1, WRITE: 2, CREATE: 8, EXCLUSIVE: 32 } as const;
