/** A copy that a process before has left: what of it is taken over, and what never is. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { sealRecord } from "../../src/hydrate/hydration_record.ts";
import { assertSame, noiseSql, rowsOf, withConnection } from "../replica/drivers.ts";
import { stepValue, until } from "../replica/following.ts";
import { rounds } from "../soak/soak_support.ts";
import type { Fault } from "../support/faults.ts";
import { Random } from "../support/random.ts";
import { ReplicaFolder, SNAPSHOT } from "../support/replica_folder.ts";
import {
  bytesSent,
  Child,
  type Place,
  shorten,
  smallSql,
  SUM,
  withPlace,
  withServedPlace,
} from "./hydrating.ts";

const TIMEOUT = { timeout: 120_000 } as const;

/** Opens it, and asserts that all it reads, before and after the copy is whole, is right; and the copy. */
async function assertResumes(place: Place): Promise<void> {
  const { folder } = place;
  const replica = await place.open();
  try {
    withConnection(
      replica,
      undefined,
      (db) => assert.deepEqual(shorten(rowsOf(db, SUM)), shorten(folder.rows(SUM))),
    );
    await replica.hydrated();
    withConnection(replica, undefined, (db) => assertSame(db, folder));
  } finally {
    await replica.close();
  }
  await place.assertCopy();
}

/** How many pages have a checksum beside the copy. */
function pagesKept({ path }: Place): number {
  if (!existsSync(`${path}-sums`)) return 0;
  const bytes = new Uint8Array(readFileSync(`${path}-sums`));
  return new BigUint64Array(bytes.buffer, 0, Math.floor(bytes.length / 8)).filter((sum) => sum !== 0n).length;
}

for (const share of [0.15, 0.5, 0.85]) {
  test(
    `A copy killed at ${share * 100} % goes on with the rest`,
    TIMEOUT,
    () =>
      withServedPlace({ bytesPerSecond: 1_500_000 }, async (place) => {
        const { folder, s3 } = place;
        folder.record(noiseSql(16_000));
        folder.snapshot();
        place.upload();
        const size = folder.sizeOf(SNAPSHOT, 1, 1);
        await using child = new Child(place);
        await child.line("open");
        await until("so much is kept", () => pagesKept(place) >= folder.commitAt(1) * share, 60_000);
        await child.kill();
        const lacking = 1 - pagesKept(place) / folder.commitAt(1);
        s3.options.bytesPerSecond = 0;
        s3.log.length = 0;
        await place.make();
        const [sent, most] = [bytesSent(s3), size * lacking + 3_000_000];
        assert.ok(sent < Math.min(most, size), `${sent} bytes for ${Math.round(lacking * 100)} % of ${size}`);
        await place.assertCopy();
      }),
  );
}

test("A copy that is killed again and again, while it is written, is right each time", TIMEOUT, async () => {
  const seed = rounds("HYDRATE_SEED", 1);
  const random = new Random(seed);
  await withPlace({ pageSize: 512 }, async (place) => {
    const { folder } = place;
    folder.step(smallSql(3_000));
    folder.snapshot();
    for (let round = 0; round < rounds("HYDRATE_KILLS", 5); round++) {
      const child = new Child(place, { sql: SUM });
      await child.line("open");
      for (let i = random.next(6); i >= 0; i--) {
        folder.step(
          `UPDATE v SET x = ${folder.txid + 1}; UPDATE k SET x = randomblob(400) WHERE id % 9 = ${
            random.next(9)
          }`,
        );
        if (random.next(5) === 0) folder.step("DELETE FROM k WHERE id % 3 = 0; VACUUM");
        if (random.next(4) === 0) folder.step("INSERT INTO k(x) SELECT randomblob(400) FROM k LIMIT 500");
        if (random.next(4) === 0) folder.snapshot();
        await new Promise((resolve) => setTimeout(resolve, random.next(30)));
      }
      if (random.next(3) === 0) await child.line("whole");
      await child.kill();
      if (round % 2 === 1) await assertResumes(place);
    }
    await assertResumes(place);
  });
});

interface Case {
  readonly name: string;
  /** What happens between two processes. */
  readonly between: (place: Place) => void | Promise<void>;
}

const update = "UPDATE v SET x = x + 1; UPDATE k SET x = randomblob(400) WHERE id % 40 = 3";

const CASES: readonly Case[] = [
  { name: "nothing", between: () => {} },
  {
    name: "transactions",
    between: ({ folder }) => {
      for (let i = 0; i < 5; i++) folder.step(update);
    },
  },
  {
    name: "transactions, in a newer snapshot alone",
    between: ({ folder }) => {
      for (let i = 0; i < 5; i++) folder.record(update);
      folder.clear();
      folder.snapshot();
    },
  },
  {
    name: "transactions, in a newer snapshot, and all before it",
    between: ({ folder }) => {
      for (let i = 0; i < 5; i++) folder.record(update);
      folder.snapshot();
    },
  },
  {
    name: "transactions, those on level 0 deleted",
    between: ({ folder }) => {
      for (let i = 0; i < 5; i++) folder.record(update);
      folder.write(1, 2, folder.txid);
    },
  },
  {
    name: "transactions that a file of level 2 holds with some before",
    between: ({ folder }) => {
      for (let i = 0; i < 5; i++) folder.record(update);
      folder.write(2, 1, folder.txid);
    },
  },
  {
    name: "VACUUM to a third",
    between: ({ folder }) => {
      folder.step("DELETE FROM k WHERE id % 3 > 0");
      folder.step("VACUUM");
    },
  },
  {
    name: "a shrink, then growth over the same pages",
    between: ({ folder }) => {
      folder.step("DELETE FROM k WHERE id > 10; VACUUM");
      folder.step(
        "INSERT INTO k(x) SELECT randomblob(400) FROM k a, k b, k c LIMIT 700",
      );
    },
  },
  {
    name: "pages of the copy changed",
    between: ({ path }) => {
      const bytes = readFileSync(path);
      for (let at = 100; at < bytes.length; at += 5_000) bytes[at]! ^= 1;
      writeFileSync(path, bytes);
    },
  },
  {
    name: "pages of the copy exchanged",
    between: ({ path }) => {
      const bytes = readFileSync(path);
      const page = bytes.subarray(5120, 5632).slice();
      bytes.copyWithin(5120, 10240, 10752);
      bytes.set(page, 10240);
      writeFileSync(path, bytes);
    },
  },
  { name: "the copy cut", between: ({ path }) => truncateSync(path, 100_000) },
  { name: "the copy cut within a page", between: ({ path }) => truncateSync(path, 100_001) },
  { name: "the copy emptied", between: ({ path }) => truncateSync(path, 0) },
  {
    name: "the copy longer",
    between: ({ path }) => writeFileSync(path, new Uint8Array(70_000), { flag: "a" }),
  },
  { name: "the copy deleted", between: ({ path }) => rmSync(path) },
  {
    name: "the checksums deleted, and the copy",
    between: ({ path }) => {
      rmSync(path);
      rmSync(`${path}-sums`);
    },
  },
  { name: "the checksums cut", between: ({ path }) => truncateSync(`${path}-sums`, 1_003) },
  { name: "the record deleted", between: ({ path }) => rmSync(`${path}-state`) },
  { name: "the record cut", between: ({ path }) => truncateSync(`${path}-state`, 100) },
  { name: "a record of numbers", between: ({ path }) => writeFileSync(`${path}-state`, "17") },
  { name: "a record without files", between: (place) => change(place, { files: [] }) },
  {
    name: "a record of another place",
    between: (place) => change(place, { name: "file:///elsewhere" }),
  },
  { name: "a record of another version", between: (place) => change(place, { version: 2 }) },
  {
    name: "a record ahead of the replica",
    between: (place) => change(place, { txid: "900", lastTxid: "900" }),
  },
  { name: "a record that is of no TXID", between: (place) => change(place, { txid: "x" }) },
  {
    name: "a record with files that are none",
    between: (place) => change(place, { files: [null, 3] }),
  },
  { name: "another replica with the same names", between: (place) => replace(place, 512) },
  { name: "another replica with larger pages", between: (place) => replace(place, 4096) },
];

function change(place: Place, fields: Record<string, unknown>): void {
  const { seal: _, ...record } = place.record() as Record<string, unknown>;
  writeFileSync(`${place.path}-state`, sealRecord(JSON.stringify({ ...record, ...fields })));
}

async function replace(place: Place, pageSize: number): Promise<void> {
  const other = await ReplicaFolder.make({ pageSize });
  const { folder } = place;
  other.step(smallSql(300));
  other.step(update);
  folder.replaceBy(other);
  (place as { folder: ReplicaFolder }).folder = borrowed(other, folder);
}

/** The other replica's source beside this one's folder. */
function borrowed(other: ReplicaFolder, { home, path, url }: ReplicaFolder): ReplicaFolder {
  return new Proxy(other, {
    get(target, name) {
      if (name === "home") return home;
      if (name === "path") return path;
      if (name === "url") return url;
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

for (const { name, between } of CASES) {
  test(`A copy is resumed after: ${name}`, TIMEOUT, () =>
    withPlace({ pageSize: 512 }, async (place) => {
      const { folder } = place;
      folder.step(smallSql(500));
      folder.step(update);
      await place.make();
      await between(place);
      const replica = await place.open();
      const mark = replica.mark();
      await replica.hydrated();
      const { pagesTotal } = replica.hydration!;
      withConnection(replica, undefined, (db) => assertSame(db, place.folder));
      assert.ok(replica.stats(mark).localReads > 0);
      await replica.close();
      assert.equal(pagesTotal, place.folder.commitAt(place.folder.txid));
      await place.assertCopy();
      await assertResumes(place);
      if (place.folder !== folder) place.folder.close();
    }));
}

test(
  "No byte of the checksums makes a wrong page right",
  TIMEOUT,
  () =>
    withPlace({ pageSize: 512 }, async (place) => {
      const { folder } = place;
      folder.step(smallSql(3));
      await place.make();
      const { length } = readFileSync(`${place.path}-sums`);
      for (let at = 0; at < length; at++) {
        for (const file of [place.path, `${place.path}-sums`]) {
          const bytes = readFileSync(file);
          const place8 = file === place.path ? Math.floor(at / 8) * 512 + 37 * (at % 8) : at;
          bytes[place8]! ^= 1 << at % 8;
          writeFileSync(file, bytes);
        }
        await assertResumes(place);
      }
    }),
);

test(
  "What was put of transactions that the replica has lost is not taken over",
  TIMEOUT,
  () =>
    withPlace({ pageSize: 512 }, async (place) => {
      const { folder } = place;
      folder.step(smallSql(500));
      await using child = new Child(place);
      await child.line("whole 1");
      folder.step("UPDATE k SET x = randomblob(400) WHERE id < 50");
      await child.line("whole 2");
      await child.kill();
      folder.delete(0, 2, 2);
      const replica = await place.openWhole();
      assert.equal(replica.txid, 1n);
      await replica.close();
      await place.assertCopy(1);
    }),
);

test(
  "A copy that could not be looked up at first is resumed all the same",
  TIMEOUT,
  () =>
    withServedPlace({}, async (place) => {
      const { folder, s3 } = place;
      folder.record(noiseSql(3_000));
      folder.snapshot();
      place.upload();
      await place.make();
      folder.step("CREATE TABLE v (x); INSERT INTO v VALUES (1)");
      for (let i = 0; i < 3; i++) stepValue(folder, folder.txid + 1);
      folder.write(1, 2, folder.txid);
      for (let txid = 2; txid < folder.txid; txid++) folder.delete(0, txid, txid);
      place.upload();
      s3.log.length = 0;
      const replica = await place.open();
      await replica.hydrated();
      assert.ok(bytesSent(s3) < 600_000, `${bytesSent(s3)} bytes`);
      await replica.close();
      await place.assertCopy();
    }),
);

/** How the first listings may tell of a place that is as it was: an opening lists once, and a look level by level. */
const ODD: Record<string, Fault> = {
  "told with another tag for a file": { kind: "mistaggedListing", keys: /\/0000\/0{15}2-/ },
  "told without its last transaction": { kind: "staleListing", hide: /\/0000\/0{15}4-/ },
};

for (const [what, fault] of Object.entries(ODD)) {
  for (const count of fault.kind === "mistaggedListing" ? [1] : [1, 2, 3, 4]) {
    test(
      `A copy is resumed where its place is ${what}, in ${count} listings`,
      TIMEOUT,
      () =>
        withServedPlace({}, async (place) => {
          const { folder, s3 } = place;
          folder.record(noiseSql(3_000));
          folder.snapshot();
          folder.step("CREATE TABLE v (x); INSERT INTO v VALUES (1)");
          stepValue(folder, 3);
          folder.write(1, 2, 3);
          stepValue(folder, 4);
          place.upload();
          await place.make();
          s3.log.length = 0;
          let lists = 0;
          s3.options.faults.pick = ({ key }) => key === "" && ++lists <= count ? fault : undefined;
          const replica = await place.open();
          await replica.hydrated();
          assert.ok(bytesSent(s3) < 600_000, `${bytesSent(s3)} bytes`);
          assert.ok(lists >= count, `${lists} listings`);
          await replica.close();
          await place.assertCopy();
        }),
    );
  }
}

test(
  "The record is there before any page is, and never says more than there is",
  TIMEOUT,
  () =>
    withServedPlace({}, async (place) => {
      const { folder } = place;
      folder.record(noiseSql(3_000));
      folder.snapshot();
      place.upload();
      const replica = await place.open();
      const release = place.hold();
      await until("the copy is begun", () => existsSync(`${place.path}-sums`));
      if (pagesKept(place) > 0) assert.equal(place.record().isWhole, false);
      release();
      await replica.hydrated();
      await replica.close();
      assert.equal(place.record().isWhole, true);
      assert.equal(place.record().txid, "1");
    }),
);
