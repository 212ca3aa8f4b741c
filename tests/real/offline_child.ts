/**
 * A process in a network namespace. Prints `reachable true` or `false`, `failed` and why where the replica cannot
 * be opened, else what it sees, as JSON: at once and each time that a line comes in. Or, with a socket and a port,
 * passes what comes to that port on to that socket, which a namespace does not keep from anybody.
 *
 * @module
 */
import { writeSync } from "node:fs";
import { connect, createServer } from "node:net";
import process from "node:process";
import { type OpenOptions, openReplica } from "../../mod.ts";
import { rowsOf } from "../replica/drivers.ts";

/** What a process is told. */
export type OfflineOrder =
  | { readonly url: string; readonly endpoint: string; readonly sql: string; readonly options: OpenOptions }
  | { readonly socket: string; readonly port: number };

/** What it sees. */
export interface Sight {
  readonly txid: string;
  readonly lagMs: number;
  /** What `litestream_lag()` says, in seconds. */
  readonly lagSeconds: number;
  readonly failedPolls: number;
  readonly rows: Record<string, unknown>[];
}

const tell = (line: string) => void writeSync(1, `${line}\n`);
const order = JSON.parse(process.argv[2]!) as OfflineOrder;
if ("socket" in order) forward(order);
else await see(order);

function forward({ socket, port }: { socket: string; port: number }): void {
  const server = createServer((client) => {
    const outside = connect(socket);
    for (const [one, other] of [[client, outside], [outside, client]] as const) {
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
      one.pipe(other);
    }
  });
  server.listen(port, "127.0.0.1", () => tell("listening"));
}

async function see({ url, endpoint, sql, options }: Extract<OfflineOrder, { url: string }>): Promise<void> {
  tell(`reachable ${await fetch(endpoint).then((answer) => answer.body?.cancel(), () => false) !== false}`);
  const replica = await openReplica(url, options).catch((error) => tell(`failed ${error.message}`));
  if (!replica) return;
  const db = replica.connect();
  const look = () => {
    const sight: Sight = {
      rows: rowsOf(db, sql),
      txid: String(replica.txid),
      lagMs: replica.lagMs,
      lagSeconds: Number(rowsOf(db, "SELECT litestream_lag() AS lag")[0]!.lag),
      failedPolls: replica.stats().failedPolls,
    };
    tell(JSON.stringify(sight));
  };
  look();
  process.stdin.on("data", look);
  process.stdin.on("end", async () => {
    db.close();
    await replica.close();
    process.exit(0);
  });
}
