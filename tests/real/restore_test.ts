/** What restore() makes is, byte for byte, what `litestream restore` makes. */
import assert from "node:assert/strict";
import { createReadStream } from "node:fs";
import { mkdir, readdir, rm, stat, writeFile } from "node:fs/promises";
import { createHash } from "node:crypto";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { openReplica } from "../../mod.ts";
import { encodeFile, type LtxPage } from "../../src/ltx/encoder.ts";
import { formatLtxFileName, lockPgno } from "../../src/ltx/txid.ts";
import { nativeLz4 } from "../support/native_lz4.ts";
import { Random } from "../support/random.ts";
import {
  folderUrl,
  litestreamBinary,
  litestreamFrameBinary,
  replicate,
  restore,
  s3ServerBinary,
  skipWithout,
  startS3Server,
  withFolder,
} from "../support/real.ts";
import { makeReplicaZoo } from "../support/zoo.ts";

const noDaemon = skipWithout({ litestream: litestreamBinary() });
const noZoo = skipWithout({ litestream: litestreamBinary(), "older litestream": litestreamFrameBinary() });
const noS3 = skipWithout({ litestream: litestreamBinary(), "S3 server": s3ServerBinary() });
const isLong = process.env.LONG === "1" ? false : "Writes 2 GiB: set LONG=1";

async function digest(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest("hex");
}

/** When the oldest and the newest file under a folder were written, in ms since the epoch. */
async function storedSpan(folder: string): Promise<{ oldestMs: number; newestMs: number }> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  const found = await Promise.all(files.map((file) => stat(join(file.parentPath, file.name))));
  const times = found.map(({ mtimeMs }) => mtimeMs);
  return { oldestMs: Math.min(...times), newestMs: Math.max(...times) };
}

/** Both make the same of a moment. */
async function assertEqual(
  folder: string,
  url: string,
  moment: { txid?: bigint; timestamp?: string },
  env: Record<string, string> = {},
): Promise<void> {
  const [ours, theirs] = [join(folder, "ours.db"), join(folder, "theirs.db")];
  const credentials = env.LITESTREAM_ACCESS_KEY_ID
    ? { accessKeyId: env.LITESTREAM_ACCESS_KEY_ID, secretAccessKey: env.LITESTREAM_SECRET_ACCESS_KEY! }
    : undefined;
  await using replica = await openReplica(url, credentials ? { credentials } : {});
  const asOf = moment.txid ?? moment.timestamp;
  const { txid } = await replica.restore(ours, asOf === undefined ? {} : { asOf });
  await restore(url, theirs, { ...moment, env });
  assert.equal(await digest(ours), await digest(theirs), `${url}, TXID ${txid}`);
  await rm(ours);
  await rm(theirs);
}

test("restore() makes what Litestream makes of the zoo: page sizes, shrinks, VACUUM, LZ4 frames", {
  skip: noZoo,
  timeout: 300_000,
}, async () => {
  for (const { url, txid } of await makeReplicaZoo()) {
    await withFolder(async (folder) => {
      await assertEqual(folder, url, {});
      await assertEqual(folder, url, { txid });
      await using replica = await openReplica(url);
      for (const point of (await replica.points()).slice(0, -1).slice(-3)) {
        await assertEqual(folder, url, { txid: point.txid });
      }
    });
  }
});

for (const place of ["a folder", "a bucket"] as const) {
  test(`restore() makes what Litestream makes of every TXID and moment in ${place}`, {
    skip: place === "a folder" ? noDaemon : noS3,
    timeout: 300_000,
  }, () =>
    withFolder(async (folder) => {
      const server = place === "a bucket" ? await startS3Server() : undefined;
      try {
        const url = server?.url("db") ?? folderUrl(join(folder, "replica"));
        const env = server?.env ?? {};
        const random = new Random(3);
        await replicate({
          db: join(folder, "source.db"),
          url,
          env,
          pageSize: 1024,
          async run(sqlite, daemon) {
            sqlite.exec("CREATE TABLE t (i INTEGER PRIMARY KEY, x BLOB)");
            for (let i = 0; i < 12; i++) {
              if (i === 3) await sleep(2_500); // the moments of those to come are not of the first files' seconds
              sqlite.exec(
                `INSERT INTO t SELECT NULL, randomblob(${random.next(5000)}) FROM pragma_function_list`,
              );
              if (i === 9) await sleep(1_000); // nor are they of the last file's second
              if (i % 4 === 3) sqlite.exec(`DELETE FROM t WHERE i % 2 = 0; VACUUM`);
              await daemon.sync();
            }
          },
        });
        const credentials = {
          accessKeyId: server?.accessKey ?? "",
          secretAccessKey: server?.secretKey ?? "",
        };
        await using replica = await openReplica(url, server ? { credentials } : {});
        const points = await replica.points({ exact: true });
        assert.ok(points.length > 10);
        for (const { txid } of points) await assertEqual(folder, url, { txid }, env);
        // Litestream knows the moments between its oldest and newest file, by the store's clock in whole seconds; and goes
        // by the time of the upload for a bucket's first snapshot.
        const folderOfAll = server === undefined ? join(folder, "replica") : join(server.folder, "db");
        const { oldestMs, newestMs } = await storedSpan(folderOfAll);
        const fromMs = Math.max(points[0]!.time.getTime() + 2_000, Math.ceil(oldestMs / 1_000) * 1_000);
        const untilMs = Math.floor(newestMs / 1_000) * 1_000;
        const known = points.slice(1, -1).map(({ time }) => time.getTime() + 1)
          .filter((atMs) => atMs > fromMs && atMs <= untilMs);
        assert.ok(known.length > 0, `no moment between ${fromMs} and ${untilMs}`);
        for (const atMs of known.filter((_, i) => i % 3 === 0)) {
          await assertEqual(folder, url, { timestamp: new Date(atMs).toISOString() }, env);
        }
      } finally {
        await server?.close();
      }
    }));
}

test("restore() makes what Litestream makes of a database across the lock page", {
  skip: noDaemon || isLong,
  timeout: 300_000,
}, () =>
  withFolder(async (folder) => {
    const pageSize = 65_536;
    const commit = lockPgno(pageSize) + 40;
    const level = join(folder, "replica/ltx/9");
    const range = { minTxid: 1n, maxTxid: 1n };
    await mkdir(level, { recursive: true });
    const fields = { pageSize, commit, ...range, timestampMs: Date.now() };
    const file = encodeFile(fields, numberedPages(pageSize, commit), { lz4: await nativeLz4() });
    await writeFile(join(level, formatLtxFileName(range)), file);
    const url = folderUrl(join(folder, "replica"));
    await assertEqual(folder, url, {});
    await using replica = await openReplica(url);
    await replica.restore(join(folder, "out.db"));
    assert.equal((await stat(join(folder, "out.db"))).size, commit * pageSize);
  }));

/** Pages that begin with their number. */
function* numberedPages(pageSize: number, commit: number): Generator<LtxPage> {
  for (let pgno = 1; pgno <= commit; pgno++) {
    if (pgno === lockPgno(pageSize)) continue;
    const page = new Uint8Array(pageSize);
    new DataView(page.buffer).setUint32(0, pgno);
    yield { pgno, page };
  }
}
