/**
 * A stand-in for SSH servers that a user cannot run as a process: with passwords, several steps of sign-in,
 * or no file transfer.
 *
 * It has one folder, which is empty.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ssh2 from "ssh2";

/** What a user does to sign in; what is not taken is answered with the ways that are left. */
export type SignInStep =
  | { readonly method: "password"; readonly password: string }
  | {
    readonly method: "keyboard-interactive";
    readonly password: string;
    /** Whether something else is asked for after it, which shows no letters, either. */
    readonly asksMore?: boolean;
  }
  | { readonly method: "publickey" };

/** A running server. */
export interface SshStandIn {
  readonly port: number;
  /** Its key's fingerprint. */
  readonly hostKey: string;
  /** Ways that were tried, in order. */
  readonly tried: readonly string[];
  close(): Promise<void>;
}

// The library has no types of its own.
// deno-lint-ignore no-explicit-any
type Untyped = any;

/** Starts a server that wants these steps, one after the other. */
export async function startSshStandIn(
  steps: readonly SignInStep[],
  { hasFiles = true }: { readonly hasFiles?: boolean | "never said" } = {},
): Promise<SshStandIn> {
  const folder = await mkdtemp(join(tmpdir(), "ssh-stand-in-"));
  const keyPath = join(folder, "host");
  spawnSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", keyPath]);
  const [, hostKey = ""] = String(spawnSync("ssh-keygen", ["-l", "-f", keyPath]).stdout).split(" ");
  const tried: string[] = [];
  const { Server } = ssh2 as Untyped;
  const clients = new Set<Untyped>();
  const server = new Server({ hostKeys: [readFileSync(keyPath)] }, (client: Untyped) => {
    clients.add(client);
    let next = 0;
    client.on("error", () => {}).on("close", () => clients.delete(client));
    client.on("authentication", (context: Untyped) => {
      tried.push(context.method);
      const step = steps[next] as SignInStep;
      const settle = (isRight: boolean) => {
        if (isRight) next++;
        if (next === steps.length) context.accept();
        else context.reject([steps[next]!.method], isRight);
      };
      if (step.method !== context.method) settle(false);
      else if (step.method === "password") settle(context.password === step.password);
      else if (step.method === "publickey") settle(true);
      else {
        context.prompt([{ prompt: "Code, or none: ", echo: true }, { prompt: "Password: ", echo: false }], (
          [shown, hidden]: string[],
        ) => {
          const isRight = shown === "" && hidden === step.password;
          if (!step.asksMore) return settle(isRight);
          context.prompt(
            [{ prompt: "New password: ", echo: false }],
            ([more]: string[]) => settle(isRight && more === ""),
          );
        });
      }
    });
    client.on("session", (accept: Untyped) => {
      const session = accept();
      if (hasFiles === false) return;
      session.on("sftp", (accepted: Untyped) => {
        if (hasFiles === true) serveEmptyFolder(accepted());
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: server.address().port,
    hostKey,
    tried,
    async close() {
      for (const client of clients) client.end();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      await rm(folder, { recursive: true });
    },
  };
}

function serveEmptyFolder(files: Untyped): void {
  const END = 1;
  files.on("OPENDIR", (id: number) => files.handle(id, Buffer.from("folder")));
  files.on("READDIR", (id: number) => files.status(id, END));
  files.on("CLOSE", (id: number) => files.status(id, 0));
}
