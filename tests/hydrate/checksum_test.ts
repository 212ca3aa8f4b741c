/** The checksum of each file that a copy takes most of is looked at, whatever comes in between. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { LocalFileError, type Replica } from "../../mod.ts";
import { recordPath } from "../../src/hydrate/hydration_record.ts";
import { noiseSql } from "../replica/drivers.ts";
import { until } from "../replica/following.ts";
import type { Fault } from "../support/faults.ts";
import type { FakeS3 } from "../support/fake_s3.ts";
import { SNAPSHOT } from "../support/replica_folder.ts";
import { bytesSent, Child, HELD_BYTES, type Place, readerOf, withServedPlace } from "./hydrating.ts";

const TIMEOUT = { timeout: 60_000 } as const;

type ServedPlace = Place & { readonly s3: FakeS3 };

/** Which byte of a file the copy asks for with many others; undefined where that is not what was asked for. */
function partOf({ log }: FakeS3): number | undefined {
  const [, first, last] = /(\d+)-(\d+)/.exec(log.at(-1)!.range) ?? [];
  return Number(last) - Number(first) > HELD_BYTES ? Number(first) : undefined;
}

/** Makes a snapshot of six parts; gives its size. */
function snapshotOfNoise({ folder }: Place): number {
  folder.record(noiseSql(6_000));
  folder.snapshot();
  return folder.sizeOf(SNAPSHOT, 1, 1);
}

/** Asserts that all rows of the copy are the database's. */
async function assertRight(replica: Replica, { folder }: Place): Promise<void> {
  await replica.hydrated({ timeoutMs: 30_000 });
  await using reader = await readerOf(replica);
  const wanted = folder.rows("SELECT id, hex(x) AS x FROM n");
  const found = await reader.ask("SELECT id, hex(x) AS x FROM n");
  assert.deepEqual(
    found.filter(({ x }, i) => x !== wanted[i]!.x).map(({ id }) => id),
    [],
    "rows that differ",
  );
  assert.equal(found.length, wanted.length);
}

/** Holds what lies behind a share of the snapshot back; gives a function that ends it. */
function holdBehind({ s3 }: ServedPlace, offset: number): () => void {
  const released = Promise.withResolvers<void>();
  s3.options.faults.pick = (): Fault | undefined =>
    (partOf(s3) ?? 0) > offset ? { kind: "held", until: released.promise } : undefined;
  return () => {
    s3.options.faults.pick = () => undefined;
    released.resolve();
  };
}

for (const end of ["closed", "killed"] as const) {
  for (const share of [0.3, 0.7]) {
    test(
      `A damaged file is found by a process that goes on with it, the one before was ${end} at ${
        share * 100
      } %`,
      TIMEOUT,
      () =>
        withServedPlace({}, async (place) => {
          const { folder } = place;
          const size = snapshotOfNoise(place);
          folder.damage({ level: SNAPSHOT, minTxid: 1, maxTxid: 1 }, (bytes) => {
            bytes[Math.floor(size * 0.1)]! ^= 1;
          });
          place.upload();
          const release = holdBehind(place, size * share);
          const enough = folder.commitAt(1) * (share - 0.2);
          if (end === "closed") {
            const first = await place.open();
            await until("so much is there", () => first.hydration!.pages > enough);
            await first.close();
          } else {
            await using child = new Child(place);
            await child.line("open");
            await until("so much is there", () => pagesKept(place) > enough);
            await child.kill();
          }
          release();
          await using replica = await place.open();
          await assert.rejects(replica.hydrated(), LocalFileError);
        }),
    );
  }
}

/** How many pages have a checksum beside the copy. */
function pagesKept({ path }: Place): number {
  try {
    const bytes = new Uint8Array(readFileSync(`${path}-sums`));
    return new BigUint64Array(bytes.buffer, 0, Math.floor(bytes.length / 8)).filter((sum) => sum !== 0n)
      .length;
  } catch {
    return 0; // it is not begun
  }
}

for (const share of [0.3, 0.7]) {
  test(
    `What was damaged on its way is found although storage fails at ${share * 100} % of the file`,
    TIMEOUT,
    () =>
      withServedPlace({}, async (place) => {
        const { s3 } = place;
        const size = snapshotOfNoise(place);
        place.upload();
        let [isFlipped, isAway] = [false, true];
        s3.options.faults.pick = (): Fault | undefined => {
          const first = partOf(s3);
          if (first === undefined) return undefined;
          if (isAway && first > size * share) return { kind: "status", status: 503 };
          if (isFlipped) return undefined;
          isFlipped = true;
          return { kind: "flipped", at: 5_000 };
        };
        const said: string[] = [];
        const log = ({ message }: { message: string }) => void said.push(message);
        await using replica = await place.open({ requestTimeoutMs: 1_000, log });
        await until("storage fails", () => said.some((text) => text.includes("has to wait")));
        isAway = false;
        await assertRight(replica, place);
        assert.ok(said.some((text) => /made anew: .* its checksum is/.test(text)), said.join("\n"));
      }),
  );
}

test(
  "Nothing is kept of a file that was deleted before all of it was checked",
  TIMEOUT,
  () =>
    withServedPlace({}, async (place) => {
      const { folder, s3 } = place;
      const size = snapshotOfNoise(place);
      folder.step("CREATE TABLE v (x)"); // by its file the replica is known again
      place.upload();
      let isFlipped = false;
      s3.options.faults.pick = ({ key }): Fault | undefined => {
        const first = partOf(s3);
        if (first === undefined || !key.includes("/0009/")) return undefined;
        if (first > size * 0.6) {
          folder.write(1, 1, 1);
          folder.delete(SNAPSHOT, 1, 1);
          place.upload();
          s3.options.faults.pick = () => undefined;
        }
        if (isFlipped) return undefined;
        isFlipped = true;
        return { kind: "flipped", at: 5_000 };
      };
      await using replica = await place.open();
      await assertRight(replica, place);
      assert.ok(s3.keys().some((key) => key.includes("/0001/")));
    }),
);

test(
  "Nothing is kept of a file that the newest state lies in no more before all of it was checked",
  TIMEOUT,
  () =>
    withServedPlace({}, async (place) => {
      const { folder, s3 } = place;
      const size = snapshotOfNoise(place);
      place.upload();
      let isFlipped = false;
      s3.options.faults.pick = (): Fault | undefined => {
        const first = partOf(s3);
        if (first === undefined || isFlipped && first < size * 0.6) return undefined;
        if (isFlipped) return { kind: "status", status: 503 };
        isFlipped = true;
        return { kind: "flipped", at: 5_000 };
      };
      const said: string[] = [];
      const log = ({ message }: { message: string }) => void said.push(message);
      await using replica = await place.open({ requestTimeoutMs: 1_000, log });
      await until("storage fails", () => said.some((text) => text.includes("has to wait")));
      folder.step("CREATE TABLE v (x)");
      place.upload();
      await replica.refresh();
      folder.snapshot();
      folder.delete(SNAPSHOT, 1, 1);
      place.upload();
      s3.options.faults.pick = () => undefined;
      await replica.refresh();
      await assertRight(replica, place);
    }),
);

test(
  "Nothing is kept of a file that was deleted while nobody could check the rest of it",
  TIMEOUT,
  () =>
    withServedPlace({}, async (place) => {
      const { folder, s3 } = place;
      const size = snapshotOfNoise(place);
      folder.step("CREATE TABLE v (x)");
      place.upload();
      let isFlipped = false;
      s3.options.faults.pick = (): Fault | undefined => {
        const first = partOf(s3);
        if (first === undefined || isFlipped && first < size * 0.6) return undefined;
        if (isFlipped) return { kind: "silence" };
        isFlipped = true;
        return { kind: "flipped", at: 5_000 };
      };
      const first = await place.open();
      await until("so much is there", () => first.hydration!.pages > folder.commitAt(1) * 0.4);
      await first.close();
      s3.options.faults.pick = () => undefined;
      folder.write(1, 1, 1);
      folder.delete(SNAPSHOT, 1, 1);
      place.upload();
      await using replica = await place.open();
      await assertRight(replica, place);
    }),
);

test(
  "What was whole before a transaction stays where that one's file is gone in the middle",
  TIMEOUT,
  () =>
    withServedPlace({}, async (place) => {
      const { folder, s3 } = place;
      const size = snapshotOfNoise(place);
      place.upload();
      await using replica = await place.openWhole({ log: () => {} });
      const isKept = () => readFileSync(recordPath(place.path), "utf8").includes('"isWhole":true');
      await until("that it is whole is written down", isKept);
      const txid = folder.step("UPDATE n SET x = randomblob(900) WHERE id > 3000");
      place.upload();
      s3.options.faults.pick = ({ key }): Fault | undefined => {
        if (!key.includes("/0000/") || (partOf(s3) ?? 0) < folder.sizeOf(0, txid, txid) * 0.6) {
          return undefined;
        }
        s3.options.faults.pick = () => undefined;
        folder.step("UPDATE n SET x = randomblob(900) WHERE id = 1");
        folder.write(1, txid, txid + 1);
        folder.delete(0, txid, txid);
        folder.delete(0, txid + 1, txid + 1);
        place.upload();
        return undefined;
      };
      s3.log.length = 0;
      await replica.refresh();
      await until(
        "the state is there",
        () => replica.txid === BigInt(txid + 1) || replica.txid === BigInt(txid),
      );
      await replica.refresh();
      await assertRight(replica, place);
      const again = s3.log.filter(({ key }) => key.includes("/0009/")).reduce(
        (sum, { bytes }) => sum + bytes,
        0,
      );
      assert.ok(again < size / 2, `${again} bytes of the snapshot's ${size} came again`);
    }),
);

/** Twenty transactions, each in a file that is fetched whole. Of two what is read a second time has another bit. */
function smallFiles({ folder, s3 }: ServedPlace): () => number {
  folder.step("CREATE TABLE n (id INTEGER PRIMARY KEY, x BLOB)");
  for (let i = 0; i < 20; i++) {
    folder.step(
      "WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < 200)" +
        " INSERT INTO n(x) SELECT randomblob(900) FROM i",
    );
  }
  const seen = new Map<string, number>();
  let flipped = 0;
  s3.options.faults.pick = ({ key }): Fault | undefined => {
    const { range } = s3.log.at(-1)!;
    const [, first = "0", last = "0"] = /(\d+)-(\d+)/.exec(range) ?? [];
    if (Number(last) - Number(first) < 110_000) return undefined; // of less than half nothing is promised
    const times = (seen.get(key) ?? 0) + 1;
    seen.set(key, times);
    const isChosen = times === 2 && flipped < 2;
    flipped += isChosen ? 1 : 0;
    return isChosen ? { kind: "flipped", at: 40_000 } : undefined;
  };
  return () => flipped;
}

const SMALL = { cacheBytesMax: 1024 * 1024, prefetch: "off" } as const;

test(
  "A small file that is read once more is checked once more",
  TIMEOUT,
  () =>
    withServedPlace({}, async (place) => {
      const flipped = smallFiles(place);
      place.upload();
      await using replica = await place.open(SMALL);
      await assertRight(replica, place);
      assert.equal(flipped(), 2);
    }),
);

test(
  "restore(): a small file that is read once more is checked once more",
  TIMEOUT,
  () =>
    withServedPlace({}, async (place) => {
      const { folder } = place;
      const flipped = smallFiles(place);
      place.upload();
      await using replica = await place.open({ ...SMALL, hydrate: false });
      const path = join(folder.home, "restored.db");
      await replica.restore(path);
      assert.equal(Buffer.compare(readFileSync(path), folder.bytesAt(folder.txid)), 0);
      assert.equal(flipped(), 2);
    }),
);

test(
  "Between damages there are pauses, however often the replica changes meanwhile",
  TIMEOUT,
  () =>
    withServedPlace({}, async (place) => {
      const { folder, s3 } = place;
      snapshotOfNoise(place);
      folder.step("CREATE TABLE v (x)");
      place.upload();
      const begunMs: number[] = [];
      let at: number | undefined;
      s3.options.faults.pick = ({ key }): Fault | undefined => {
        if (!key.includes("/0009/") || begunMs.length === 3) return undefined;
        at ??= partOf(s3);
        if (at === undefined || partOf(s3) !== at) return undefined;
        begunMs.push(performance.now());
        return { kind: "flipped", at: 5_000 };
      };
      await using replica = await place.open({ pollIntervalMs: 10 });
      const changes = setInterval(() => {
        folder.step("INSERT INTO v VALUES (1)");
        place.upload();
      }, 40);
      try {
        await until("damaged three times", () => begunMs.length === 3);
      } finally {
        clearInterval(changes);
      }
      const [first, second, third] = begunMs;
      assert.ok(second! - first! >= 250, `${second! - first!} ms`);
      assert.ok(third! - second! >= 500, `${third! - second!} ms`);
      await assertRight(replica, place);
    }),
);

test(
  "A file that is answered as gone once, in its midst, is gone on with",
  TIMEOUT,
  () =>
    withServedPlace({}, async (place) => {
      const { s3 } = place;
      const size = snapshotOfNoise(place);
      place.upload();
      let isOver = false;
      s3.options.faults.pick = ({ key }): Fault | undefined => {
        if (isOver || !key.includes("/0009/") || (partOf(s3) ?? 0) < size * 0.6) return undefined;
        isOver = true;
        return { kind: "status", status: 404, code: "NoSuchKey" };
      };
      const said: string[] = [];
      await using replica = await place.open({ log: ({ message }) => void said.push(message) });
      await replica.hydrated({ timeoutMs: 30_000 });
      const bytes = bytesSent(s3);
      assert.ok(isOver && bytes < size * 1.6, `${bytes} bytes of ${size}: ${said.join("; ")}`);
      await assertRight(replica, place);
      assert.deepEqual(said.filter((text) => text.includes("made anew")), []);
    }),
);
