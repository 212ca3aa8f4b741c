/**
 * The core's worker with garbage collection forced every 20 ms.
 *
 * @module
 */
import { collectGarbage } from "./garbage.ts";

setInterval(collectGarbage, 20);
await import("../../src/bridge/core_worker.ts");
