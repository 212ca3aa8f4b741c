import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { nkeyAuthenticator, nkeys } from "@nats-io/transport-node";
import { StorageError } from "../../src/errors.ts";
import type { Storage } from "../../src/storage/storage.ts";
import {
  type NatsServer,
  natsServerBinary,
  type NatsServerOptions,
  natsStorage,
  startNatsServer,
} from "../support/nats_server.ts";
import { skipWithout } from "../support/real.ts";

const skip = skipWithout({ "nats-server": natsServerBinary() });
const PASSWORD = "p w:/@ü";
const TOKEN = "a-token-of-its-own";
const decoder = new TextDecoder();
const request = { signal: new AbortController().signal, onProgress: () => {} };
const servers: NatsServer[] = [];
after(() => Promise.all(servers.map((server) => server.close())));

async function startWith(options: NatsServerOptions): Promise<NatsServer> {
  const server = await startNatsServer(options);
  servers.push(server);
  await server.makeBucket("b");
  return server;
}

/** Puts and reads an object, so that all that is asked of a server was allowed. */
async function useIt(storage: Storage): Promise<void> {
  try {
    const bytes = Uint8Array.of(1, 2, 3);
    await storage.put!("k", bytes, { ...request, ifAbsent: false });
    assert.deepEqual((await storage.read("k", { offset: 1, size: 2 }, request))?.bytes, Uint8Array.of(2, 3));
  } finally {
    await storage.close!();
  }
}

/** That a person is told what to do, and no secret. */
async function isRefused(storage: Storage, wanted: RegExp, ...secrets: string[]): Promise<void> {
  try {
    await assert.rejects(useIt(storage), (error) => {
      assert.ok(error instanceof StorageError, String(error));
      assert.match(error.message, wanted);
      assert.equal(error.retryable, false);
      for (const secret of secrets) assert.ok(!error.message.includes(secret), error.message);
      return true;
    });
  } finally {
    await storage.close!();
  }
}

test("nats: a user and a password, from the URL or the environment", { skip }, async () => {
  const { host } = await startWith({
    config: [`authorization { users: [ { user: "ann", password: "${PASSWORD}" } ] }`],
    admin: { user: "ann", pass: PASSWORD },
  });
  const url = (password: string) => `nats://ann:${encodeURIComponent(password)}@${host}/b`;
  await useIt(await natsStorage(url(PASSWORD)));
  await useIt(await natsStorage(`nats://${host}/b`, { NATS_USER: "ann", NATS_PASSWORD: PASSWORD }));
  await isRefused(await natsStorage(url("wrong-one")), /expected a user that the server knows/, "wrong-one");
  await isRefused(await natsStorage(`nats://${host}/b`), /expected a user that the server knows/);
});

test("nats: a token, before the host, as a parameter or from the environment", { skip }, async () => {
  const { host } = await startWith({
    config: [`authorization { token: "${TOKEN}" }`],
    admin: { token: TOKEN },
  });
  await useIt(await natsStorage(`nats://${TOKEN}@${host}/b`));
  await useIt(await natsStorage(`nats://${host}/b?token=${TOKEN}`));
  await useIt(await natsStorage(`nats://${host}/b`, { NATS_TOKEN: TOKEN }));
  await isRefused(await natsStorage(`nats://no-token@${host}/b`), /expected a user that/, "no-token");
});

test("nats: an nkey, as a file or as a seed", { skip }, async () => {
  const user = nkeys.createUser();
  const seed = decoder.decode(user.getSeed());
  const { host, folder } = await startWith({
    config: [`authorization { users: [ { nkey: ${user.getPublicKey()} } ] }`],
    files: { "user.nk": `# a user\n${seed}\n`, "broken.nk": "SUxx" },
    admin: { authenticator: nkeyAuthenticator(user.getSeed()) },
  });
  await useIt(await natsStorage(`nats://${host}/b?nkey=${folder}/user.nk`));
  await useIt(await natsStorage(`nats://${host}/b`, { NATS_NKEY: `${folder}/user.nk` }));
  await useIt(await natsStorage(`nats://${host}/b?seed=${seed}`));
  await isRefused(
    await natsStorage(`nats://${host}/b?nkey=${folder}/broken.nk`),
    /broken\.nk holds nothing to sign in with/,
  );
  await isRefused(
    await natsStorage(`nats://${host}/b?nkey=${folder}/none.nk`),
    /none\.nk cannot be read.*expected/,
  );
  const other = decoder.decode(nkeys.createUser().getSeed());
  await isRefused(await natsStorage(`nats://${host}/b?seed=${other}`), /expected a user that/, other);
});

test("nats: a credentials file, or a JWT with its seed", { skip }, async () => {
  const [operator, account, user] = [nkeys.createOperator(), nkeys.createAccount(), nkeys.createUser()];
  const sign = (by: typeof operator, of: typeof operator, nats: Record<string, unknown>) => {
    const encode = (part: unknown) => Buffer.from(JSON.stringify(part)).toString("base64url");
    const claims = { jti: "x", iat: 1, iss: by.getPublicKey(), name: "x", sub: of.getPublicKey(), nats };
    const text = `${encode({ typ: "JWT", alg: "ed25519-nkey" })}.${encode(claims)}`;
    return `${text}.${Buffer.from(by.sign(new TextEncoder().encode(text))).toString("base64url")}`;
  };
  const any = { subs: -1, data: -1, payload: -1 };
  const limits = { ...any, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 };
  const disk = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 };
  const accountJwt = sign(operator, account, {
    type: "account",
    version: 2,
    limits: { ...limits, ...disk },
  });
  const system = nkeys.createAccount();
  const systemJwt = sign(operator, system, { type: "account", version: 2, limits });
  const jwt = sign(account, user, { type: "user", version: 2, ...any });
  const seed = decoder.decode(user.getSeed());
  const creds = [
    "-----BEGIN NATS USER JWT-----",
    jwt,
    "------END NATS USER JWT------",
    "",
    "-----BEGIN USER NKEY SEED-----",
    seed,
    "------END USER NKEY SEED------",
    "",
  ].join("\n");
  const { host, folder } = await startWith({
    config: [
      `operator: ${sign(operator, operator, { type: "operator", version: 2 })}`,
      `system_account: ${system.getPublicKey()}`,
      "resolver: MEMORY",
      `resolver_preload: { ${account.getPublicKey()}: ${accountJwt}, ${system.getPublicKey()}: ${systemJwt} }`,
    ],
    files: { "user.creds": creds, "broken.creds": seed },
    admin: {
      authenticator: (nonce) => ({ jwt, ...nkeyAuthenticator(user.getSeed())(nonce) as object }) as never,
    },
  });
  await useIt(await natsStorage(`nats://${host}/b?creds=${folder}/user.creds`));
  await useIt(await natsStorage(`nats://${host}/b`, { NATS_CREDS: `${folder}/user.creds` }));
  await useIt(await natsStorage(`nats://${host}/b?jwt=${jwt}&seed=${seed}`));
  const broken = await natsStorage(`nats://${host}/b?creds=${folder}/broken.creds`);
  await isRefused(broken, /broken\.creds holds nothing to sign in with/, seed);
});

const openssl = (() => {
  try {
    return execFileSync("openssl", ["version"]).toString();
  } catch {
    return undefined;
  }
})();

test("nats: TLS, its authority and a client's certificate", {
  skip: skip || skipWithout({ openssl }),
}, async () => {
  const { files, folder } = certificates();
  try {
    const tls = (more = "") => [
      `tls { cert_file: "FOLDER/server.pem", key_file: "FOLDER/server.key", ca_file: "FOLDER/ca.pem"${more} }`,
    ];
    const [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map((name) =>
      readFileSync(join(folder, name), "utf8")
    );
    const plain = await startWith({ config: tls(), files, admin: { tls: { ca: ca! } } });
    await useIt(await natsStorage(`nats://${plain.host}/b?root-cas=${folder}/ca.pem`));
    await useIt(await natsStorage(`nats://${plain.host}/b`, { NATS_CA: `${folder}/ca.pem` }));
    await isRefused(await natsStorage(`nats://${plain.host}/b?tls=true`), /certificate.*expected a server/i);
    const both = await startWith({
      config: tls(", verify: true"),
      files,
      admin: { tls: { ca: ca!, cert: cert!, key: key! } },
    });
    const client = `client-cert=${folder}/client.pem&client-key=${folder}/client.key`;
    await useIt(await natsStorage(`nats://${both.host}/b?root-cas=${folder}/ca.pem&${client}`));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("nats: TLS is not left out where a server has none", { skip }, async () => {
  const { host } = await startWith({});
  await isRefused(await natsStorage(`nats://${host}/b?tls=true`), /tls.*expected a server/i);
});

test(
  "nats: a client's certificate without its key is refused before anything is asked",
  { skip },
  async () => {
    const storage = await natsStorage(`nats://127.0.0.1:1/b?client-cert=/x`);
    await assert.rejects(useIt(storage), /client-cert alone, without the other/);
  },
);

/** An authority, and a certificate of its each for 127.0.0.1 and for a client. */
function certificates(): { files: Record<string, string>; folder: string } {
  const folder = mkdtempSync(join(tmpdir(), "certificates-"));
  const run = (...args: string[]) => execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  run(
    "req",
    "-x509",
    ...curve,
    "-keyout",
    "ca.key",
    "-out",
    "ca.pem",
    "-days",
    "2",
    "-subj",
    "/CN=test authority",
  );
  for (const [name, use] of [["server", "serverAuth"], ["client", "clientAuth"]] as const) {
    writeFileSync(join(folder, "ext"), `subjectAltName=IP:127.0.0.1\nextendedKeyUsage=${use}\n`);
    run("req", ...curve, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${name}`);
    run(
      "x509",
      "-req",
      "-in",
      `${name}.csr`,
      "-CA",
      "ca.pem",
      "-CAkey",
      "ca.key",
      "-CAcreateserial",
      "-days",
      "2",
      "-extfile",
      "ext",
      "-out",
      `${name}.pem`,
    );
  }
  const names = ["ca.pem", "server.pem", "server.key"];
  return {
    folder,
    files: Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name), "utf8")])),
  };
}
