import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { copyFile, mkdir, readFile, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { testStorage } from "../../src/contract/storage_contract.ts";
import { ReplicaClosedError, StorageError } from "../../src/errors.ts";
import { AdaptedStore } from "../../src/storage/adapted_store.ts";
import { type BackendContext, openBackend } from "../../src/storage/backend.ts";
import type { BackendLocation, SftpLocation } from "../../src/storage/backend_location.ts";
import { anyObject, type ListedObject, type ObjectStore } from "../../src/storage/object_store.ts";
import { parseReplicaUrl } from "../../src/storage/replica_url.ts";
import { RetryingStore } from "../../src/storage/retrying_store.ts";
import { dial } from "../../src/storage/sftp/sftp_dial.ts";
import { SftpSettings } from "../../src/storage/sftp/sftp_settings.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { sftpPlaces } from "../support/all_places.ts";
import { testPlace } from "../support/place_suite.ts";
import { skipWithout, until } from "../support/real.ts";
import { type SshServer, sshServerBinary, startSshServer } from "../support/ssh_server.ts";
import { type SignInStep, startSshStandIn } from "../support/ssh_stand_in.ts";
import { TcpGate } from "../support/tcp_gate.ts";

const parts = { "openssh-server": sshServerBinary() };
const skip = skipWithout(parts);
let server: SshServer;
before(async () => {
  if (!skip) server = await startSshServer({ types: ["ed25519", "ecdsa", "rsa"] });
});
after(() => server?.close());

function contextOf(env: Record<string, string> = {}): BackendContext {
  return {
    env: { HOME: server.folder, ...env },
    credentials: undefined,
    fetch: undefined,
    fetchInit: undefined,
    now: Date.now,
    log: undefined,
    readFile: (path) => readFile(path, "utf8"),
  };
}

/** A place as it is opened, with variables of its own: nothing of this machine's user is looked at. */
async function storageAt(url: string, env: Record<string, string> = {}): Promise<Storage> {
  const location = parseReplicaUrl(url) as BackendLocation;
  return await openBackend(location, contextOf(env));
}

async function withStore<T>(
  url: string,
  act: (store: RetryingStore) => Promise<T>,
  env: Record<string, string> = {},
): Promise<T> {
  const store = new RetryingStore(new AdaptedStore("the place", await storageAt(url, env)), { hedge: false });
  try {
    return await act(store);
  } finally {
    await store.close();
  }
}

async function listAll(store: ObjectStore, prefix = ""): Promise<ListedObject[]> {
  const objects: ListedObject[] = [];
  for await (const page of store.list(prefix)) objects.push(...page);
  return objects;
}

/** Signs in, and finds what lies in `signed/`. */
async function signsIn(url: string, env: Record<string, string> = {}): Promise<void> {
  await mkdir(join(server.files, "signed"), { recursive: true });
  await writeFile(join(server.files, "signed/in"), "yes");
  const keys = await withStore(url, async (store) => (await listAll(store)).map(({ key }) => key), env);
  assert.deepEqual(keys, ["in"]);
}

/** What signing in fails with, for good and at the first attempt. */
async function refusal(url: string, env: Record<string, string> = {}): Promise<StorageError> {
  return await withStore(url, async (store) => {
    const error = await store.read(anyObject("in"), { offset: 0, size: 1 }).catch((error) => error);
    assert.ok(error instanceof StorageError, String(error));
    assert.equal(error.retryable, false, error.message);
    assert.match(error.message, /^Cannot .*, expected /s);
    assert.equal(store.counts.retries, 0);
    return error;
  }, env);
}

const sftpTest = (title: string, body: () => Promise<void>) => test(`sftp: ${title}`, { skip }, body);

testStorage("sftp", async () => {
  const url = server.url(crypto.randomUUID());
  return { storage: await storageAt(url), other: await storageAt(url), close: async () => {} };
}, { skip, listedCount: 120, removedCount: 120 });

testPlace("sftp", sftpPlaces, { writes: true, parts });

sftpTest("keys of each type and form sign in", async () => {
  const passphrase = "correct horse";
  const knownHosts = server.knownHosts;
  const forms = [
    ["ed25519", []],
    ["ed25519", ["-N", passphrase, "-a", "1"]],
    ["rsa", []],
    ["rsa", ["-m", "PEM", "-N", passphrase]],
    ["ecdsa", ["-m", "PEM", "-N", passphrase]],
    ["ecdsa", ["-b", "384"]],
    ["ecdsa", ["-b", "521"]],
    // Every second one has a number whose first bit is set.
    ...Array.from({ length: 4 }, () => ["ecdsa", []] as const),
  ] as const;
  for (const [i, [type, flags]] of forms.entries()) {
    const keyPath = await server.makeKey(`id_${i}`, type, ...flags);
    await signsIn(server.url("signed", { keyPath, knownHosts }), {
      LITESTREAM_SFTP_KEY_PASSPHRASE: passphrase,
    });
  }
  await signsIn(server.url("signed", { knownHosts }), { LITESTREAM_SFTP_KEY_PATH: server.keyPath });
});

sftpTest("without a name, keys of the home folder and of ssh-agent sign in", async () => {
  const home = join(server.folder, "home");
  await mkdir(join(home, ".ssh"), { recursive: true });
  await copyFile(server.knownHosts, join(home, ".ssh/known_hosts"));
  const url = server.url("signed", {});
  const none = await refusal(url, { HOME: home });
  assert.equal(none.code, "SignIn");
  assert.match(none.message, /nothing to sign in with, expected a password .*keyPath.*SSH_AUTH_SOCK/);
  const socket = join(server.folder, "agent");
  const agent = spawn("ssh-agent", ["-D", "-a", socket], { stdio: "ignore" });
  try {
    await until("ssh-agent listens", () => existsSync(socket));
    const added = spawnSync("ssh-add", ["-q", server.keyPath], {
      env: { ...process.env, SSH_AUTH_SOCK: socket },
    });
    assert.equal(added.status, 0, String(added.stderr));
    await signsIn(url, { HOME: home, SSH_AUTH_SOCK: socket });
  } finally {
    agent.kill();
  }
  await writeFile(join(home, ".ssh/id_ed25519"), "no key");
  await copyFile(server.keyPath, join(home, ".ssh/id_rsa"));
  await signsIn(url, { HOME: home, SSH_AUTH_SOCK: join(server.folder, "gone") });
});

sftpTest("a key that is refused, locked or none at all is told, once and without secrets", async () => {
  const { knownHosts } = server;
  const locked = await server.makeKey("id_locked", "ed25519", "-N", "hush", "-a", "1");
  const stranger = join(server.folder, "id_stranger");
  spawnSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", stranger]);
  const cases: [keyPath: string, passphrase: string, words: RegExp][] = [
    [
      stranger,
      "",
      /Cannot sign in to .*: it was refused \(tried: .*id_stranger \(ssh-ed25519\)\); it takes publickey/,
    ],
    [locked, "", /id_locked": it is encrypted, expected its passphrase in LITESTREAM_SFTP_KEY_PASSPHRASE/],
    [locked, "not this", /id_locked": the passphrase does not open it/],
    [join(server.folder, "id_none"), "", /id_none": there is none, expected a private key/],
    [`${server.keyPath}.pub`, "", /id_test.pub": it is no private key/],
    [server.knownHosts, "", /known_hosts": it is (no private key|not in a form that is known)/],
  ];
  for (const [keyPath, passphrase, words] of cases) {
    const env = { LITESTREAM_SFTP_KEY_PASSPHRASE: passphrase };
    const error = await refusal(server.url("signed", { keyPath, knownHosts }), env);
    assert.equal(error.code, "SignIn");
    assert.match(error.message, words);
    assert.doesNotMatch(`${error.message} ${error.cause}`, /hush|not this|PRIVATE KEY/);
  }
  const secret = server.url("signed", { knownHosts }).replace("@", ":hush@");
  const error = await refusal(secret);
  assert.match(error.message, /it takes publickey/);
  assert.doesNotMatch(`${error.message} ${error.stack} ${error.cause}`, /hush/);
});

sftpTest("a password signs in, in whichever form it is asked for, and as a second step", async () => {
  const password = "hush/hush";
  const cases: [steps: SignInStep[], tried: string[]][] = [
    [[{ method: "password", password }], ["password"]],
    [[{ method: "keyboard-interactive", password }], ["password", "keyboard-interactive"]],
    [[{ method: "publickey" }, { method: "password", password }], ["publickey", "password"]],
    [[{ method: "keyboard-interactive", password, asksMore: true }], ["password", "keyboard-interactive"]],
  ];
  for (const [steps, tried] of cases) {
    const standIn = await startSshStandIn(steps);
    try {
      const { port, hostKey } = standIn;
      const parameters = new URLSearchParams({ hostKey });
      if (steps.length > 1) parameters.set("keyPath", server.keyPath);
      const urlOf = (secret: string) => `sftp://me${secret}@127.0.0.1:${port}/db?${parameters}`;
      await withStore(urlOf(`:${encodeURIComponent(password)}`), async (store) => {
        assert.deepEqual(await listAll(store), []);
        assert.deepEqual(standIn.tried, tried);
      });
      await withStore(urlOf(""), async (store) => assert.deepEqual(await listAll(store), []), {
        LITESTREAM_SFTP_PASSWORD: password,
      });
      const error = await refusal(urlOf(":wrong"));
      assert.match(error.message, /it was refused \(tried: .*the password.*\); it takes /);
      assert.doesNotMatch(`${error.message} ${error.stack} ${error.cause}`, /wrong/);
    } finally {
      await standIn.close();
    }
  }
});

sftpTest("a server that has no files to give is told for good", async () => {
  const standIn = await startSshStandIn([{ method: "password", password: "p" }], { hasFiles: false });
  try {
    const { port, hostKey } = standIn;
    const error = await refusal(`sftp://me:p@127.0.0.1:${port}/db?${new URLSearchParams({ hostKey })}`);
    assert.match(error.message, /expected a server that offers SFTP/);
  } finally {
    await standIn.close();
  }
});

sftpTest("a server that never says whether it has files to give is given up", async () => {
  const standIn = await startSshStandIn([{ method: "password", password: "p" }], { hasFiles: "never said" });
  try {
    const { port, hostKey } = standIn;
    const url = `sftp://me:p@127.0.0.1:${port}/db?${new URLSearchParams({ hostKey })}`;
    const settings = new SftpSettings(parseReplicaUrl(url) as SftpLocation, contextOf());
    await assert.rejects(dial(settings, new AbortController().signal, 500), {
      name: "StorageError",
      retryable: true,
      message: /nothing came for 500 ms, expected an SSH server that answers/,
    });
  } finally {
    await standIn.close();
  }
});

sftpTest("a host that is not known is refused, and what the message says to do makes it known", async () => {
  const home = join(server.folder, "stranger");
  const known = join(home, ".ssh/known_hosts");
  await mkdir(join(home, ".ssh"), { recursive: true });
  const { keyPath } = server;
  const env = { HOME: home };
  const error = await refusal(server.url("signed", { keyPath }), env);
  assert.equal(error.code, "HostKey");
  assert.match(error.message, /its host key \(ssh-ed25519 SHA256:[^)]{43}\) is not in .*known_hosts or /);
  const [command = ""] = /ssh-keyscan .* >> \S+/.exec(error.message) ?? [];
  assert.ok(command.includes(known), error.message);
  assert.equal(spawnSync("sh", ["-c", command]).status, 0, command);
  await signsIn(server.url("signed", { keyPath }), env);
  assert.equal(spawnSync("ssh-keygen", ["-q", "-H", "-f", known]).status, 0);
  assert.match(await readFile(known, "utf8"), /^\|1\|/m);
  await signsIn(server.url("signed", { keyPath }), env);

  const [, fingerprint = ""] = /(SHA256:\S+)\)/.exec(error.message) ?? [];
  const nobody = { HOME: join(server.folder, "nobody") };
  await signsIn(server.url("signed", { keyPath, hostKey: fingerprint }), nobody);
  for (const type of ["ed25519", "ecdsa", "rsa"] as const) {
    await signsIn(server.url("signed", { keyPath, hostKey: await server.hostKey(type) }), nobody);
  }
});

sftpTest("a host with another key, or a revoked one, is refused", async () => {
  const { keyPath, port } = server;
  const [own, rsa] = [await server.hostKey("ed25519"), await server.hostKey("rsa")];
  const other = join(server.folder, "other_host");
  spawnSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", other]);
  const another = (await readFile(`${other}.pub`, "utf8")).trim();
  const host = `[127.0.0.1]:${port}`;
  const knownHosts = join(server.folder, "known_other");
  const url = server.url("signed", { keyPath, knownHosts });
  const cases: [lines: string, words: RegExp][] = [
    [
      `${host} ${another}`,
      /is not the one in .*known_other, expected that one: either the server has a new key/,
    ],
    [`${host} ${own}\n@revoked * ${own}`, /is revoked in .*known_other, expected a key that is not/],
    [`@cert-authority * ${own}`, /a certificate authority for the host only, expected its own key/],
    [`${host},!${host} ${own}`, /is not in .*known_other, expected a host that is known/],
    ["", /is not in .*known_other/],
  ];
  for (const [lines, words] of cases) {
    await writeFile(knownHosts, `${lines}\n`);
    const error = await refusal(url);
    assert.equal(error.code, "HostKey");
    assert.match(error.message, words);
  }
  await writeFile(knownHosts, `${host} ${rsa}\n`);
  await signsIn(url);
  await rm(knownHosts);
  assert.match((await refusal(url)).message, /known_other": there is no such file/);
  const hostKey = `SHA256:${"A".repeat(43)}`;
  assert.match(
    (await refusal(server.url("signed", { keyPath, hostKey }))).message,
    /is another one, expected SHA256:A/,
  );
  await assert.rejects(storageAt(server.url("signed", { keyPath, hostKey: "md5:00" })), TypeError);
});

sftpTest("a connection that breaks is made anew, and what was under way is tried again", async () => {
  const gate = await TcpGate.start(server.port);
  try {
    await withStore(gateUrl(gate), async (store) => {
      const content = new Uint8Array(3_000_000).fill(7);
      await store.put("big", content);
      const reading = store.read(anyObject("big"), { offset: 0, size: content.length }, {
        onProgress: (() => {
          let isCut = false;
          return () => {
            if (!isCut) gate.cut();
            isCut = true;
          };
        })(),
      });
      assert.deepEqual((await reading).bytes, content);
      assert.equal(gate.connections, 2);
      assert.equal(store.counts.retries, 1);
      gate.cut();
      assert.equal((await listAll(store)).length, 1);
    });
  } finally {
    await gate.close();
  }
});

sftpTest("a connection on which nothing comes any more is given up for a new one", async () => {
  const gate = await TcpGate.start(server.port);
  try {
    await withStore(gateUrl(gate), async (store) => {
      await store.put("k", new Uint8Array(10), { replace: true });
      gate.stall();
      const given = { attemptTimeoutMs: 1_500, timeoutMs: 30_000 };
      assert.equal((await store.read(anyObject("k"), { offset: 0, size: 10 }, given)).bytes.length, 10);
      assert.equal(gate.connections, 2);
    });
  } finally {
    await gate.close();
  }
});

sftpTest("a server that never greets does not hold whoever gives up, or closes", async () => {
  const gate = await TcpGate.start(server.port);
  gate.shut();
  try {
    await withStore(gateUrl(gate), async (store) => {
      const controller = new AbortController();
      const enough = new Error("enough");
      const reading = store.read(anyObject("k"), { offset: 0, size: 1 }, { signal: controller.signal });
      const listing = listAll(store);
      listing.catch(() => {});
      await until("it has connected", () => gate.connections === 1);
      controller.abort(enough);
      await assert.rejects(reading, enough);
      await store.close();
      await assert.rejects(listing, ReplicaClosedError);
    });
  } finally {
    await gate.close();
  }
});

sftpTest("nobody listens: it is tried again until the deadline", async () => {
  const gate = await TcpGate.start(server.port);
  const url = gateUrl(gate);
  await gate.close();
  await withStore(url, async (store) => {
    const reading = store.read(anyObject("k"), { offset: 0, size: 1 }, { timeoutMs: 2_000 });
    await assert.rejects(reading, { name: "DeadlineError", message: /Cannot connect to .*ECONNREFUSED/ });
    assert.ok(store.counts.retries > 0);
  });
});

sftpTest("what a server does not allow is told for good", async () => {
  const cases = [
    [
      "-R",
      "PermissionDenied",
      /"Permission denied", expected a folder that can be written/,
    ],
    [
      "-P hardlink",
      "NotImplemented",
      /expected hard links \(hardlink@openssh\.com/,
    ],
    ["-P opendir", "PermissionDenied", /expected a folder that can be read/],
  ] as const;
  for (const [flags, code, words] of cases) {
    const strict = await startSshServer({ flags });
    try {
      await withStore(strict.url("below"), async (store) => {
        const asked = flags.endsWith("opendir") ? listAll(store) : store.put("k", new Uint8Array(1));
        await assert.rejects(asked, (error) => {
          assert.ok(error instanceof StorageError && !error.retryable);
          assert.equal(error.code, code);
          assert.match(error.message, words);
          return true;
        });
        if (code === "NotImplemented") await store.put("k", new Uint8Array(1), { replace: true });
      });
    } finally {
      await strict.close();
    }
  }
});

sftpTest("files are objects by Litestream's rules: times, unfinished ones, links, folders", async () => {
  const folder = join(server.files, "rules");
  const timestampMs = 1_700_000_000_999;
  await withStore(server.url("rules"), async (store) => {
    const made = await store.put("ltx/0/a", new Uint8Array(10), { timestampMs });
    assert.equal(made.modifiedMs, 1_700_000_000_000);
    assert.equal((await stat(join(folder, "ltx/0/a"))).mtimeMs, 1_700_000_000_000);
    await writeFile(join(folder, "ltx/0/b.1.2.tmp"), "unfinished");
    await symlink("a", join(folder, "ltx/0/c"));
    await symlink("nowhere", join(folder, "ltx/0/d"));
    const objects = await listAll(store, "ltx/");
    assert.deepEqual(objects.map(({ key, size, modifiedMs }) => [key, size, modifiedMs]), [
      ["ltx/0/a", 10, 1_700_000_000_000],
      ["ltx/0/c", 10, 1_700_000_000_000],
    ]);
    // Settled objects are known by now; one that takes the place of another in that very second is not
    // taken for it.
    await store.put("ltx/0/a", new Uint8Array(10).fill(1), { timestampMs, replace: true });
    const read = store.read(objects[0]!, { offset: 0, size: 10 });
    await assert.rejects(read, { name: "ObjectGoneError" });
    const [again] = await listAll(store, "ltx/");
    assert.notEqual(again!.etag, objects[0]!.etag);
    await assert.rejects(store.read(anyObject("ltx/0"), { offset: 0, size: 1 }), { name: "ObjectGoneError" });
    const outside = store.read(anyObject("../rules/ltx/0/a"), { offset: 0, size: 1 });
    await assert.rejects(outside, { code: "InvalidKey", retryable: false });
    await assert.rejects(store.put("ltx/0/a.tmp", new Uint8Array(1)), { code: "InvalidKey" });
  });
  const { keyPath, knownHosts } = server;
  const absolute = server.url(`${folder}/ltx`, { keyPath, knownHosts });
  assert.match(absolute, /\/\//);
  await withStore(absolute, async (store) => assert.equal((await listAll(store)).length, 2));
});

sftpTest("bytes of another object than the one that is wanted are never shown", async () => {
  await withStore(server.url("shown"), async (store) => {
    const size = 1_000_000;
    const timestampMs = 1_700_000_000_000;
    const first = await store.put("k", new Uint8Array(size), { timestampMs });
    const shown: number[] = [];
    const onProgress = (received: Uint8Array) => void shown.push(received.length);
    await store.read(first, { offset: 0, size }, { onProgress });
    assert.equal(Math.max(...shown), size);
    await store.put("k", new Uint8Array(size).fill(1), { timestampMs, replace: true });
    shown.length = 0;
    await assert.rejects(store.read(first, { offset: 0, size }, { onProgress }), { name: "ObjectGoneError" });
    assert.equal(Math.max(0, ...shown), 0);
  });
});

sftpTest("a listing reads the ends of objects that are new, and of others no more", async () => {
  const content = new Uint8Array(100);
  await withStore(server.url("many"), async (store) => {
    await store.put("old", content, { timestampMs: 1_700_000_000_000 });
  });
  const gate = await TcpGate.start(server.port);
  try {
    await withStore(gateUrl(gate, "many"), async (store) => {
      const [first] = await listAll(store);
      await writeFile(join(server.files, "many/old"), new Uint8Array(100).fill(1));
      await utimes(join(server.files, "many/old"), 1_700_000_000, 1_700_000_000);
      const [second] = await listAll(store);
      assert.equal(second!.etag, first!.etag, "it is not looked at again");
      await assert.rejects(store.read(first!, { offset: 0, size: 1 }), { name: "ObjectGoneError" });
      const [third] = await listAll(store);
      assert.notEqual(third!.etag, first!.etag, "what a read has seen is known");
    });
  } finally {
    await gate.close();
  }
});

/** The server's files, by way of a gate; its host key is known by itself. */
function gateUrl(gate: TcpGate, path = "gated"): string {
  const { user, keyPath } = server;
  const hostKey = spawnSync("ssh-keygen", ["-l", "-f", join(server.folder, "host_ed25519.pub")]).stdout
    .toString()
    .split(" ")[1]!;
  return `sftp://${user}@127.0.0.1:${gate.port}/${path}?${new URLSearchParams({ keyPath, hostKey })}`;
}
