/**
 * The demo's writer, a process of its own: performs each line of SQL that comes in as a transaction, has it in the
 * replica, and answers with its TXID.
 *
 * @module
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { Primary } from "./demo_primary.ts";

const primary = await Primary.open(process.argv[2]!, Number(process.argv[3]));
for await (const sql of createInterface({ input: process.stdin })) {
  const txid = primary.perform(sql, Date.now());
  primary.write(0, txid, txid);
  console.log(txid);
}
primary.close();
