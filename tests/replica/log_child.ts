/** Opens a replica that is not there, with a log's sink where it is told `sink`. */
import process from "node:process";
import { openReplica } from "../../mod.ts";

const [endpoint = "", how = ""] = process.argv.slice(2);
try {
  await openReplica(undefined, {
    endpoint,
    credentials: { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" },
    requestTimeoutMs: 2_000,
    ...(how === "sink" ? { log: ({ level, message }) => console.log(`sink ${level} ${message}`) } : {}),
    ...(how === "throwing sink" ? { log: () => assertFails() } : {}),
  });
} catch (error) {
  console.log(`failed: ${(error as Error).name}`);
}
await new Promise((resolve) => setTimeout(resolve, 50)); // The last notices come after the answer.
process.exit();

function assertFails(): never {
  throw new Error("the sink is full");
}
