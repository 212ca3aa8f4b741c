import assert from "node:assert/strict";
import { test } from "node:test";
import { entryPoint, loadablePath } from "../../mod.ts";
import { allDrivers } from "../support/all_drivers.ts";

interface Loader {
  enableLoadExtension?: boolean;
  loadExtension(path: string, entryPoint: string): void;
  close(): void;
}

test("P3: a load that fails leaves the process as it was, and a later one works", async () => {
  const path = await loadablePath();
  for (const { name, Database } of await allDrivers()) {
    const open = () => {
      const options = name === "node:sqlite" ? [{ allowExtension: true }] : [];
      const database = new Database(":memory:", ...options) as unknown as Loader;
      if (name.includes("@db/sqlite")) database.enableLoadExtension = true;
      return database;
    };
    for (let round = 0; round < 25; round++) {
      const database = open();
      assert.throws(() => database.loadExtension(path, "sqlite3_no_such_init"), name);
      database.close();
    }
    const database = open();
    database.loadExtension(path, entryPoint);
    database.close();
    open().close();
  }
});
