/** A copy that was found damaged: until readers have left it nothing else counts, whatever comes in between. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { LocalFileError, type OpenOptions, type Replica } from "../../mod.ts";
import { noiseSql } from "../replica/drivers.ts";
import { until } from "../replica/following.ts";
import type { Fault } from "../support/faults.ts";
import type { FakeS3 } from "../support/fake_s3.ts";
import { HELD_BYTES, type Place, readerOf, withServedPlace } from "./hydrating.ts";

const TIMEOUT = { timeout: 60_000 } as const;

/** What tells any difference in the table of noise. */
const ROWS = "SELECT id, hex(x) AS x FROM n";

/** How a copy is kept. */
const KINDS: Record<string, OpenOptions> = { "a private copy": { hydrate: true }, "a copy at a path": {} };

/** Whether a request is one of the copy's for a part of a file. */
function isPart({ log }: FakeS3): boolean {
  const [, first, last] = /(\d+)-(\d+)/.exec(log.at(-1)!.range) ?? [];
  return Number(last) - Number(first) > HELD_BYTES;
}

/** Makes a snapshot of two parts. The first is published before its checksum is known. */
function snapshotOfNoise({ folder }: Place): void {
  folder.record(noiseSql(2_000));
  folder.snapshot();
}

async function assertRight(replica: Replica, { folder }: Place): Promise<void> {
  await replica.hydrated({ timeoutMs: 20_000 });
  await using reader = await readerOf(replica);
  const mark = replica.mark();
  const wanted = folder.rows(ROWS);
  const found = await reader.ask(ROWS);
  assert.deepEqual(
    found.filter(({ x }, i) => x !== wanted[i]!.x).map(({ id }) => id),
    [],
    "rows that differ",
  );
  assert.equal(found.length, wanted.length);
  assert.ok(replica.stats(mark).localReads > 0);
}

for (const [name, kind] of Object.entries(KINDS)) {
  test(
    `What was damaged on its way is left although a listing fails: ${name}`,
    TIMEOUT,
    () =>
      withServedPlace({}, async (place) => {
        const { s3 } = place;
        snapshotOfNoise(place);
        place.upload();
        let [parts, refused] = [0, 0];
        s3.options.faults.pick = ({ key }): Fault | undefined => {
          if (key !== "") return isPart(s3) && parts++ === 0 ? { kind: "flipped", at: 5_000 } : undefined;
          return parts > 0 && refused++ < 3
            ? { kind: "status", status: 403, code: "AccessDenied" }
            : undefined;
        };
        await using replica = await place.open(kind);
        await assertRight(replica, place);
        assert.ok(refused >= 3, `${refused} listings were refused`);
      }),
  );

  test(
    `What was damaged on its way is left although a transaction comes in between: ${name}`,
    TIMEOUT,
    () =>
      withServedPlace({}, async (place) => {
        const { folder, s3 } = place;
        snapshotOfNoise(place);
        place.upload();
        const [last, tail] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
        let [parts, tails] = [0, 0];
        s3.options.faults.pick = ({ key }): Fault | undefined => {
          const isTail = key.includes("/0000/") && !s3.log.at(-1)!.range.includes("=0-");
          if (isTail && ++tails > 0) return { kind: "held", until: tail.promise };
          if (!isPart(s3)) return undefined;
          parts++;
          if (parts === 1) return { kind: "flipped", at: 5_000 };
          return parts === 2 ? { kind: "held", until: last.promise } : undefined;
        };
        const said: string[] = [];
        await using replica = await place.open({ ...kind, log: ({ message }) => said.push(message) });
        await until("a part is read from the copy", () => replica.hydration!.pages > 0);
        folder.step("UPDATE n SET x = randomblob(900) WHERE id > 1500");
        place.upload();
        const seen = replica.refresh();
        await until("the transaction is being opened", () => tails > 0);
        last.resolve();
        await until("the damage is found", () => said.some((text) => text.includes("made anew")));
        tail.resolve();
        await seen;
        await assertRight(replica, place);
      }),
  );
}

test(
  "What came of a damaged file is left although a listing fails when the copy is given up",
  TIMEOUT,
  () =>
    withServedPlace({}, async (place) => {
      const { folder, s3 } = place;
      snapshotOfNoise(place);
      folder.damage({ level: 9, minTxid: 1, maxTxid: 1 }, (bytes) => {
        bytes[5_000]! ^= 1;
      });
      place.upload();
      let [parts, refused] = [0, 0];
      s3.options.faults.pick = ({ key }): Fault | undefined => {
        if (key !== "") parts += isPart(s3) ? 1 : 0;
        else if (parts === 8 && refused++ < 3) return { kind: "status", status: 403, code: "AccessDenied" };
        return undefined;
      };
      await using replica = await place.open();
      await assert.rejects(replica.hydrated(), LocalFileError);
      await until("readers are led back to storage", () => replica.hydration?.pages === 0);
      assert.ok(refused >= 3, `${refused} listings were refused`);
    }),
);
