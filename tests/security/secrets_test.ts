/** No secret is told: not in errors and their causes, the log, events, counters, names, nor to other threads. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { inspect } from "node:util";
import { type LogEntry, type OpenOptions, openReplica } from "../../mod.ts";
import { rowsOf, thrownBy, valueOf, withConnection } from "../replica/drivers.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { FaultSchedule } from "../support/faults.ts";
import { freePort } from "../support/real.ts";
import { noiseSql } from "../replica/drivers.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { HostileServer } from "./hostile_server.ts";

const SECRET = "c2VjcmV0LWNhbmFyeS1vZi10ZXN0cw==";
const PASSWORD = "canary-pass-w0rd";
const TOKEN = "canary-session-token-0123456789";
const CUSTOMER_KEY = btoa("canary--canary--canary--canary--");

/** Every spelling in which one of them could slip through. */
const SPELLINGS = [SECRET, PASSWORD, TOKEN, CUSTOMER_KEY, "canary", "secret-of-a-file"].flatMap((secret) => [
  secret,
  encodeURIComponent(secret),
  btoa(secret).replace(/=+$/, ""),
  btoa(`user:${secret}`).replace(/=+$/, ""),
]);

function assertSilent(what: string, ...told: unknown[]): void {
  for (const each of told) {
    const texts = [
      inspect(each, { depth: 9, showHidden: true, maxStringLength: null }),
      JSON.stringify(each, (_, value) => typeof value === "bigint" ? String(value) : value) ?? "",
      each instanceof Error ? `${each.stack}` : "",
    ];
    for (const spelling of SPELLINGS) {
      for (const text of texts) assert.ok(!text.includes(spelling), `${what} tells "${spelling}":\n${text}`);
    }
  }
}

/** Opens what cannot be opened, with all that is told kept. */
async function openingOf(url: string, options: OpenOptions): Promise<{ error: Error; told: LogEntry[] }> {
  const told: LogEntry[] = [];
  const before = process.env.LITESTREAM_LOG_LEVEL;
  process.env.LITESTREAM_LOG_LEVEL = "debug";
  try {
    const bounds = { openTimeoutMs: 5_000, requestTimeoutMs: 300 };
    const opening = openReplica(url, { ...bounds, ...options, log: (entry) => void told.push(entry) });
    const error = await opening.then(() => assert.fail("it was opened"), (error) => error);
    return { error, told };
  } finally {
    if (before === undefined) delete process.env.LITESTREAM_LOG_LEVEL;
    else process.env.LITESTREAM_LOG_LEVEL = before;
  }
}

const credentials = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: SECRET, sessionToken: TOKEN };
const customerKey = `&sseCustomerKey=${encodeURIComponent(CUSTOMER_KEY)}`;

/** A request has 300 ms: on a busy machine they may pass before anything is sent, and it is opened once more. */
const OPENINGS_MAX = 10;

/** Replicas at a host, opened with secrets. */
const places: [name: string, url: (host: string) => string, options?: OpenOptions][] = [
  ["s3", (host) => `s3://bucket/db?endpoint=http://${host}${customerKey}`, { credentials }],
  ["gs", (host) => `gs://bucket/db?endpoint=http://${host}`, { credentials }],
  ["abs", (host) => `abs://account@container/db?endpoint=http://${host}/account`, { credentials }],
  ["oss", (host) => `oss://bucket/db?endpoint=http://${host}&region=cn-hangzhou`, { credentials }],
  ["webdav", (host) => `webdav://user:${PASSWORD}@${host}/db`],
  ["http", (host) => `http://user:${PASSWORD}@${host}/db`],
  ["http, a token", (host) => `http://${host}/db?token=${TOKEN}`],
];

for (const [name, urlAt, options = {}] of places) {
  for (const [status, inCode] of [[400, true], [403, false], [500, false]] as const) {
    test(`${name}: a server that repeats all it was sent under status ${status} has nobody tell it`, async () => {
      await using server = await HostileServer.start(({ url, headers }) => {
        const sent = `${url.href} ${Object.entries(headers).map((pair) => pair.join(": ")).join(" ")}`;
        const text = sent.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
        return {
          status,
          headers: {
            "content-type": "application/xml",
            "x-ms-error-code": "Echo",
            "www-authenticate": "Basic",
          },
          body: `<Error><Code>${inCode ? text : "Echo"}</Code><Message>${text}</Message>` +
            `<ServerTime>${text}</ServerTime></Error>`,
        };
      });
      for (let opened = 0; server.asked.length === 0; opened++) {
        assert.ok(opened < OPENINGS_MAX, "the server was never asked");
        const { error, told } = await openingOf(urlAt(server.host), options);
        assertSilent(name, error, told);
      }
    });
  }

  test(`${name}: nobody there, told without a secret`, async () => {
    const { error, told } = await openingOf(urlAt(`127.0.0.1:${await freePort()}`), options);
    assertSilent(name, error, told);
  });
}

test("files that a URL names as keys show nothing of themselves where they are none", async () => {
  const folder = mkdtempSync(join(tmpdir(), "secrets-"));
  try {
    const path = join(folder, "passwd");
    writeFileSync(path, '{"root": secret-of-a-file}\nsecret-of-a-file:x:0:0\n');
    const port = await freePort();
    const urls = [
      `gs://bucket/db?credentialsFile=${path}`,
      `sftp://user@127.0.0.1:${port}/db?keyPath=${path}`,
      `sftp://user@127.0.0.1:${port}/db?knownHosts=${path}`,
      `nats://127.0.0.1:${port}/BUCKET?creds=${path}`,
      `nats://127.0.0.1:${port}/BUCKET?nkey=${path}`,
      `nats://127.0.0.1:${port}/BUCKET?root-cas=${path}&tls=true`,
      `nats://127.0.0.1:${port}/BUCKET?client-cert=${path}&client-key=${path}&tls=true`,
    ];
    for (const url of urls) {
      const { error, told } = await openingOf(url, {});
      assertSilent(url.split("?")[0]!, error, told);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("URLs that cannot be understood are told without what may be secret in them", async () => {
  const urls = [
    `s3://user:${PASSWORD}@bucket/db`,
    `s3://bucket/db?sseCustomerKey=${PASSWORD}`,
    `s3://bucket/db?endpoint=http://user:${PASSWORD}@host`,
    `sftp://user:${PASSWORD}@/db`,
    `webdav://user:${PASSWORD}/x@host/db`,
    `nats://user:${PASSWORD}@`,
    `ftp://user:${PASSWORD}@host/db?token=${TOKEN}`,
    `https://?token=${TOKEN}`,
  ];
  for (const url of urls) {
    const { error, told } = await openingOf(url, {});
    assert.ok(error instanceof TypeError, `${error}`);
    assertSilent("a URL", error, told);
  }
});

test("an open replica tells none: name, what is shared, counters, events, errors, SQL", () =>
  withReplicaFolder({}, async (folder) => {
    await using s3 = await FakeS3.start({ ...credentials });
    folder.record(noiseSql(2000));
    folder.snapshot();
    s3.put("db/0009/0000000000000001-0000000000000001.ltx", folder.encode(1, 1));
    const told: unknown[] = [];
    await using replica = await openReplica(s3.url("/db"), {
      credentials: () => Promise.resolve(credentials),
      readTimeoutMs: 6_000,
      requestTimeoutMs: 2_000,
      pollIntervalMs: 50,
      log: (entry) => void told.push(entry),
    });
    const failed = new Promise<unknown>((resolve) => replica.on("error", resolve));
    withConnection(replica, undefined, (db) => {
      told.push(
        replica,
        replica.name,
        replica.share(),
        replica.stats(),
        replica.stats({ connection: db }),
        db,
      );
      told.push(valueOf(db, "SELECT litestream_stats()"));
      const message = `${SECRET} ${TOKEN} ${encodeURIComponent(SECRET)}`;
      s3.options.faults = new FaultSchedule([{
        fault: { kind: "status", status: 403, code: "No", message },
      }]);
      told.push(thrownBy(() => rowsOf(db, "SELECT sum(length(x)) FROM n")));
      told.push(replica.lastError, valueOf(db, "PRAGMA litestream_error"));
    });
    told.push(await failed, await replica.refresh().catch((error) => error));
    assert.ok(replica.lastError !== undefined);
    assertSilent("an open replica", ...told);
  }));
