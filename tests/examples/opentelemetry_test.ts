/** What docs/examples/opentelemetry.ts hands to a tracer and a meter. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { IS_BUN, noiseSql } from "../replica/drivers.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { RATINGS, runExample } from "./example.ts";
import type { PrintedMetric, PrintedSpan } from "./printed_telemetry.ts";

test(
  "opentelemetry.ts: requests and transaction are children of the query's span",
  { timeout: 60_000 },
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(noiseSql(600));
      folder.record(RATINGS);
      folder.record((source) => {
        source.exec(
          "WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < 30000) " +
            "INSERT INTO ratings (sandwich, stars) SELECT hex(randomblob(8)), i % 5 FROM i",
        );
      });
      folder.snapshot();
      const preload = fileURLToPath(new URL("./printed_telemetry.ts", import.meta.url));
      const flags = [...(IS_BUN ? [] : ["run", "-A"]), "--preload", preload];
      const lines = await runExample("opentelemetry.ts", { args: [folder.url], flags });
      const told = lines.map((line) => JSON.parse(line));
      const spans = told.filter(({ id }) => id !== undefined) as PrintedSpan[];
      const measured = told.filter(({ metric }) => metric !== undefined) as PrintedMetric[];
      const [query] = spans.filter(({ name }) => name === "query") as [PrintedSpan];
      assert.match(String(query.attributes["db.query.text"]), /^SELECT sandwich/);
      const children = spans.filter(({ parent }) => parent === query.id);
      const [transaction] = children.filter(({ name }) => name === "transaction") as [PrintedSpan];
      const requests = children.filter(({ name }) => name === "read");
      assert.equal(requests.length, transaction.attributes["litestream.requests"]);
      assert.ok(requests.length > 0);
      const purposes = new Set(spans.map(({ attributes }) => attributes["litestream.request.purpose"]));
      assert.ok(
        purposes.has("open") && (purposes.has("page") || purposes.has("ahead")),
        [...purposes].join(),
      );
      for (const { startMs, kind, attributes, status } of requests) {
        assert.equal(kind, 2); // CLIENT
        assert.equal(status, undefined);
        assert.equal(attributes["litestream.transaction"], transaction.attributes["litestream.transaction"]);
        assert.ok(startMs >= query.startMs - 2 && startMs <= query.endMs + 2);
      }
      const roots = spans.filter(({ parent }) => parent === undefined);
      assert.ok(roots.some(({ attributes }) => attributes["litestream.request.purpose"] === "open"));
      const pages = measured.filter(({ metric }) => metric === "litestream.pages");
      const sources = pages.map(({ attributes }) => attributes["litestream.page.source"]);
      assert.deepEqual(sources, ["memory", "storage", "local"]);
      assert.ok(
        pages.every(({ attributes }) => String(attributes["litestream.replica"]).startsWith("file:")),
      );
      assert.equal(pages[1]!.value, transaction.attributes["litestream.pages.misses"]);
      assert.ok(measured.some(({ metric }) => metric === "litestream.lag"));
    }),
);
