/**
 * A process that restores: `<url> <path> <endpoint>`. Tells `done <TXID>`, or `failed <error>`.
 *
 * @module
 */
import { writeSync } from "node:fs";
import process from "node:process";
import { openReplica } from "../../mod.ts";

const [url, path, endpoint] = process.argv.slice(2);
const credentials = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "any" };
const replica = await openReplica(url, { endpoint: endpoint!, credentials });
try {
  writeSync(1, `done ${(await replica.restore(path!)).txid}\n`);
} catch (error) {
  writeSync(1, `failed ${error}\n`);
}
await replica.close();
