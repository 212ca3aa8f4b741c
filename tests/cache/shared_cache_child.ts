/**
 * One of the processes that share a cache in `shared_cache_test.ts`: opens the replica again and again, asks
 * for random rows until its time is over, and prints what came of it.
 *
 * `shared_cache_child.ts SETTINGS`
 *
 * @module
 */
import process from "node:process";
import { openReplica } from "../../mod.ts";
import { rowsOf } from "../replica/drivers.ts";
import { Random } from "../support/random.ts";

/** What a child is told. */
export interface SharedCacheSettings {
  readonly url: string;
  readonly cacheDir: string;
  readonly cacheDirBytesMax: number;
  readonly cacheBytesMax: number;
  readonly rowCount: number;
  readonly seed: number;
  readonly seconds: number;
}

/** What it tells. */
export interface SharedCacheReport {
  readonly queries: number;
  readonly openings: number;
  readonly wrong: string[];
  readonly diskReads: number;
  readonly getRequests: number;
  /** Most memory of the process in the first and the second half of its time, in bytes. */
  readonly rss: readonly [number, number];
}

/** Queries of one opening. */
const QUERIES = 40;

/** Openings at least, on a machine however busy. */
const OPENINGS_LEAST = 5;

/** What row `id` must have. */
export function contentOf(id: number): string {
  return `${(id * 2_654_435_761) % 4_294_967_296}`;
}

async function run(settings: SharedCacheSettings): Promise<SharedCacheReport> {
  const { url, rowCount, seed, seconds, ...options } = settings;
  const random = new Random(seed);
  const endMs = performance.now() + seconds * 1000;
  const wrong: string[] = [];
  let [queries, openings, diskReads, getRequests] = [0, 0, 0, 0];
  const rss: [number, number] = [0, 0];
  while (performance.now() < endMs || openings < OPENINGS_LEAST) {
    await using replica = await openReplica(url, { ...options, pollIntervalMs: 0 });
    openings++;
    const db = replica.connect();
    for (let i = 0; i < QUERIES; i++, queries++) {
      // Mostly what others want too, now and then what nobody does.
      const span = random.next(4) === 0 ? rowCount : Math.ceil(rowCount / 8);
      const id = 1 + random.next(span);
      for (const row of rowsOf(db, "SELECT id, content FROM t WHERE id BETWEEN ? AND ?", id, id + 3)) {
        if (row.content !== contentOf(Number(row.id))) wrong.push(`row ${row.id} is ${row.content}`);
      }
    }
    db.close();
    ({ diskReads, getRequests } = addTo({ diskReads, getRequests }, replica.stats()));
    const half = performance.now() < endMs - seconds * 500 ? 0 : 1;
    rss[half] = Math.max(rss[half], process.memoryUsage().rss);
  }
  return { queries, openings, wrong, diskReads, getRequests, rss };
}

type Reads = Pick<SharedCacheReport, "diskReads" | "getRequests">;

function addTo(a: Reads, b: Reads): Reads {
  return { diskReads: a.diskReads + b.diskReads, getRequests: a.getRequests + b.getRequests };
}

if (process.argv[2]?.startsWith("{")) {
  console.log(JSON.stringify(await run(JSON.parse(process.argv[2]) as SharedCacheSettings)));
}
