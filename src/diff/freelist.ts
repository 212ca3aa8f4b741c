import { ByteReader } from "./byte_reader.ts";
import type { DatabaseState } from "./database_state.ts";
import { databaseFault } from "./fault.ts";
import { PageSet } from "./page_set.ts";

/**
 * Gives the free pages of a state, trunk pages among them; trunk pages are read.
 *
 * @throws {ReplicaError} a trunk page is out of range, met twice, or counts more pages than it holds
 * @see SQLite's file format, "The Freelist"
 */
export async function* freePages(state: DatabaseState): AsyncGenerator<number> {
  const trunks = new PageSet();
  for (let trunk = state.freelistPgno; trunk !== 0;) {
    const reader = new ByteReader(await state.page(trunk), state.usableSize, `freelist page ${trunk}`);
    if (!trunks.add(trunk)) {
      throw databaseFault("read freelist", `page ${trunk} is met twice`, "each page once");
    }
    yield trunk;
    trunk = reader.uint32();
    const count = reader.uint32();
    for (let i = 0; i < count; i++) yield reader.uint32();
  }
}
