/**
 * How a script's database lies, and how it is read: what all must give the same.
 *
 * @module
 */
import type { OpenOptions } from "../../mod.ts";
import type { ScriptConnection } from "./connection.ts";

const MEGABYTE = 1024 * 1024;

/** One way. */
export interface Setting {
  readonly name: string;
  /** Bytes. */
  readonly pageSize: number;
  readonly open: Pick<OpenOptions, "cacheBytesMax" | "prefetch" | "hydrate">;
  /** SQLite's own cache, in pages; the default one when undefined. */
  readonly sqlitePages?: number;
}

/** All ways; the first three differ most. */
export const SETTINGS: readonly Setting[] = [
  {
    name: "pages of 512 bytes, least memory, no prefetch",
    pageSize: 512,
    open: { cacheBytesMax: MEGABYTE, prefetch: "off" },
    sqlitePages: 2,
  },
  { name: "pages of 4096 bytes", pageSize: 4096, open: {} },
  {
    name: "pages of 65536 bytes, least memory",
    pageSize: 65_536,
    open: { cacheBytesMax: MEGABYTE },
    sqlitePages: 2,
  },
  {
    name: "pages of 4096 bytes, least memory",
    pageSize: 4096,
    open: { cacheBytesMax: MEGABYTE },
    sqlitePages: 2,
  },
  { name: "pages of 512 bytes", pageSize: 512, open: {} },
  {
    name: "pages of 65536 bytes, no prefetch",
    pageSize: 65_536,
    open: { prefetch: "off" },
    sqlitePages: 10,
  },
  { name: "pages of 4096 bytes, a local copy", pageSize: 4096, open: { hydrate: true }, sqlitePages: 2 },
];

/** Makes a connection's own cache as a setting has it. */
export function applySetting(connection: ScriptConnection, { sqlitePages }: Setting): void {
  if (sqlitePages === undefined) return;
  connection.rows(`PRAGMA cache_size = ${sqlitePages}`);
  connection.rows("PRAGMA cache_spill = 1");
}
