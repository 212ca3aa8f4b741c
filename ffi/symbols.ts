/**
 * The ABI as data, each entry under its C prototype; `tests/ffi/symbols_test.ts` compares it with `shim.h`.
 *
 * @module
 */

/** Types that cross the border: integers, and buffers that the callee does not keep; to `bytes` it does not write either. */
export type AbiType = "i32" | "u32" | "u64" | "buffer" | "bytes";

/** One function of the ABI. */
export interface AbiSymbol {
  readonly parameters: readonly AbiType[];
  readonly result: "i32";
}

/** A table of the ABI's functions by name. */
export type Symbols = Readonly<Record<string, AbiSymbol>>;

/** What `ls_abi()` must answer. */
export const ABI_VERSION = 9;

/** Negative results of the shim's functions. */
export const LS = {
  NOMEM: -1,
  MISUSE: -2,
  FORMAT: -3,
  GONE: -4,
  BUSY: -5,
  LIMIT: -6,
  REFUSED: -7,
} as const;

/** Every function that the shim exports. */
export const symbols = {
  // int ls_abi(void)
  ls_abi: { parameters: [], result: "i32" },
  // int ls_core_start(void)
  ls_core_start: { parameters: [], result: "i32" },
  // int ls_core_wait(int iCore, int iSeen, int msTimeout)
  ls_core_wait: { parameters: ["i32", "i32", "i32"], result: "i32" },
  // int ls_core_take(int iCore, uint32_t *aRequest, int nMax)
  ls_core_take: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  // int ls_core_stop(int iCore, const char *zWhy)
  ls_core_stop: { parameters: ["i32", "bytes"], result: "i32" },
  // int ls_core_default(int iCore, int bOn)
  ls_core_default: { parameters: ["i32", "i32"], result: "i32" },
  // int ls_request_text(int iSlot, int iGen, uint8_t *aOut, int nOut)
  ls_request_text: { parameters: ["i32", "i32", "buffer", "i32"], result: "i32" },
  // int ls_answer(int iSlot, int iGen, int rc, int iValue, const char *zText)
  ls_answer: { parameters: ["i32", "i32", "i32", "i32", "bytes"], result: "i32" },
  // int ls_replica_new(int iCore, int msTimeout)
  ls_replica_new: { parameters: ["i32", "i32"], result: "i32" },
  // int ls_replica_close(int iReplica)
  ls_replica_close: { parameters: ["i32"], result: "i32" },
  // int ls_replica_interrupt(int iReplica)
  ls_replica_interrupt: { parameters: ["i32"], result: "i32" },
  // int ls_replica_error(int iReplica, uint8_t *aOut, int nOut)
  ls_replica_error: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  // int ls_replica_fail(int iReplica, const char *zText)
  ls_replica_fail: { parameters: ["i32", "bytes"], result: "i32" },
  // int ls_replica_stats(int iReplica, uint64_t *aOut, int nOut)
  ls_replica_stats: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  // int ls_replica_add(int iReplica, int iStat, int nAmount)
  ls_replica_add: { parameters: ["i32", "i32", "i32"], result: "i32" },
  // int ls_replica_view(int iReplica, uint64_t *aOut)
  ls_replica_view: { parameters: ["i32", "buffer"], result: "i32" },
  // int ls_replica_ticket(int iReplica, int msTimeout, const char *zMoment)
  ls_replica_ticket: { parameters: ["i32", "i32", "bytes"], result: "i32" },
  // int ls_ticket_drop(int iTicket)
  ls_ticket_drop: { parameters: ["i32"], result: "i32" },
  // int ls_open_error(uint8_t *aOut, int nOut)
  ls_open_error: { parameters: ["buffer", "i32"], result: "i32" },
  // int ls_replica_polled(int iReplica, const char *zWhy)
  ls_replica_polled: { parameters: ["i32", "bytes"], result: "i32" },
  // int ls_replica_seen(int iReplica, uint64_t msAgo)
  ls_replica_seen: { parameters: ["i32", "u64"], result: "i32" },
  // int ls_replica_lag(int iReplica, uint64_t *aOut)
  ls_replica_lag: { parameters: ["i32", "buffer"], result: "i32" },
  // int ls_replica_limit(int iReplica, int msStaleMax)
  ls_replica_limit: { parameters: ["i32", "i32"], result: "i32" },
  // int ls_replica_block(int iReplica, const char *zWhy)
  ls_replica_block: { parameters: ["i32", "bytes"], result: "i32" },
  // int ls_replica_nudge(int iReplica)
  ls_replica_nudge: { parameters: ["i32"], result: "i32" },
  // int ls_replica_renew(int iReplica)
  ls_replica_renew: { parameters: ["i32"], result: "i32" },
  // int ls_replica_pins(int iReplica, uint64_t *aOut, int nOut)
  ls_replica_pins: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  // int ls_replica_bound(int iReplica, int iStat, uint64_t nMax)
  ls_replica_bound: { parameters: ["i32", "i32", "u64"], result: "i32" },
  // int ls_replica_hydrate(int iReplica, const uint64_t *aWord, const char *zPath)
  ls_replica_hydrate: { parameters: ["i32", "bytes", "bytes"], result: "i32" },
  // int ls_replica_hydration(int iReplica, uint64_t *aOut)
  ls_replica_hydration: { parameters: ["i32", "buffer"], result: "i32" },
  // int ls_replica_hydration_file(int iReplica, uint8_t *aOut, int nOut)
  ls_replica_hydration_file: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  // int ls_replica_observe(int iReplica)
  ls_replica_observe: { parameters: ["i32"], result: "i32" },
  // int ls_replica_transactions(int iReplica, uint64_t *aOut, int nOut)
  ls_replica_transactions: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  // int ls_connection_add(int iReplica, uint32_t iConnection, int iStat, int nAmount)
  ls_connection_add: { parameters: ["i32", "u32", "i32", "i32"], result: "i32" },
  // int ls_connection_stats(int iReplica, uint32_t iConnection, uint64_t *aOut, int nOut)
  ls_connection_stats: { parameters: ["i32", "u32", "buffer", "i32"], result: "i32" },
  // int ls_connection_bound(int iReplica, uint32_t iConnection, int iStat, uint64_t nMax)
  ls_connection_bound: { parameters: ["i32", "u32", "i32", "u64"], result: "i32" },
  // int ls_connection_spent(int iReplica, uint32_t iConnection, uint64_t *aOut)
  ls_connection_spent: { parameters: ["i32", "u32", "buffer"], result: "i32" },
  // int ls_connection_fault(int iReplica, uint32_t iConnection, uint8_t *aOut, int nOut)
  ls_connection_fault: { parameters: ["i32", "u32", "buffer", "i32"], result: "i32" },
  // int ls_object_new(int iReplica, int szPage, uint32_t iCommit, int bSnapshot, uint64_t szFile)
  ls_object_new: { parameters: ["i32", "i32", "u32", "i32", "u64"], result: "i32" },
  // int ls_object_index(int iObject, const uint8_t *aIndex, int nIndex, int nMax)
  ls_object_index: { parameters: ["i32", "bytes", "i32", "i32"], result: "i32" },
  // int ls_object_count(int iObject)
  ls_object_count: { parameters: ["i32"], result: "i32" },
  // int ls_object_refs(int iObject)
  ls_object_refs: { parameters: ["i32"], result: "i32" },
  // int ls_object_offset(int iObject, int iFrame, uint64_t *aOut)
  ls_object_offset: { parameters: ["i32", "i32", "buffer"], result: "i32" },
  // int ls_object_frames(int iObject, int iView, int iFrame, int nMax, uint32_t *aFrame)
  ls_object_frames: { parameters: ["i32", "i32", "i32", "i32", "buffer"], result: "i32" },
  // int ls_object_local(int iObject)
  ls_object_local: { parameters: ["i32"], result: "i32" },
  // int ls_object_free(int iObject)
  ls_object_free: { parameters: ["i32"], result: "i32" },
  // int ls_map_new(int iView, int szPage)
  ls_map_new: { parameters: ["i32", "i32"], result: "i32" },
  // int ls_map_apply(int iMap, int iObject, int iFrame, int nMax)
  ls_map_apply: { parameters: ["i32", "i32", "i32", "i32"], result: "i32" },
  // int ls_map_truncate(int iMap, uint32_t iCommit)
  ls_map_truncate: { parameters: ["i32", "u32"], result: "i32" },
  // int ls_map_view(int iMap, int iReplica, uint64_t iTxid, uint32_t iCommit, uint32_t iStamp, uint64_t msTime)
  ls_map_view: { parameters: ["i32", "i32", "u64", "u32", "u32", "u64"], result: "i32" },
  // int ls_map_free(int iMap)
  ls_map_free: { parameters: ["i32"], result: "i32" },
  // int ls_view_publish(int iView)
  ls_view_publish: { parameters: ["i32"], result: "i32" },
  // int ls_view_relocate(int iFrom, int iTo)
  ls_view_relocate: { parameters: ["i32", "i32"], result: "i32" },
  // int ls_view_release(int iView)
  ls_view_release: { parameters: ["i32"], result: "i32" },
  // int ls_view_places(int iView, const uint32_t *aPgno, int nPage, uint32_t *aOut)
  ls_view_places: { parameters: ["i32", "bytes", "i32", "buffer"], result: "i32" },
  // int ls_view_local(int iView)
  ls_view_local: { parameters: ["i32"], result: "i32" },
  // int ls_view_hold(int iView)
  ls_view_hold: { parameters: ["i32"], result: "i32" },
  // int ls_view_info(int iView, uint64_t *aOut)
  ls_view_info: { parameters: ["i32", "buffer"], result: "i32" },
  // int ls_view_locate(int iView, uint32_t iPgno, uint32_t *aOut)
  ls_view_locate: { parameters: ["i32", "u32", "buffer"], result: "i32" },
  // int ls_view_page(int iView, uint32_t iPgno, uint8_t *aOut, int nOut)
  ls_view_page: { parameters: ["i32", "u32", "buffer", "i32"], result: "i32" },
  // int ls_view_changed(int iFrom, int iTo, uint32_t iPgno, uint32_t *aOut, int nMax)
  ls_view_changed: { parameters: ["i32", "i32", "u32", "buffer", "i32"], result: "i32" },
  // int ls_stamp(void)
  ls_stamp: { parameters: [], result: "i32" },
  // int ls_writer_stamp(void)
  ls_writer_stamp: { parameters: [], result: "i32" },
  // int ls_writer_open(int iReplica, const char *zPath, uint64_t iTxid, const uint8_t *aBase, uint64_t nByteMax)
  ls_writer_open: { parameters: ["i32", "bytes", "u64", "bytes", "u64"], result: "i32" },
  // int ls_writer_state(int iReplica, uint64_t *aOut)
  ls_writer_state: { parameters: ["i32", "buffer"], result: "i32" },
  // int ls_writer_seal(int iReplica, uint64_t *aOut)
  ls_writer_seal: { parameters: ["i32", "buffer"], result: "i32" },
  // int ls_writer_base(int iReplica, int iView, uint32_t iUpTo, uint64_t iTxid)
  ls_writer_base: { parameters: ["i32", "i32", "u32", "u64"], result: "i32" },
  // int ls_writer_settle(int iReplica, uint64_t iTxid)
  ls_writer_settle: { parameters: ["i32", "u64"], result: "i32" },
  // int ls_writer_fault(int iReplica, const char *zWhy)
  ls_writer_fault: { parameters: ["i32", "bytes"], result: "i32" },
  // int ls_writer_switch(int iReplica, int bOn)
  ls_writer_switch: { parameters: ["i32", "i32"], result: "i32" },
  // int ls_writer_close(int iReplica)
  ls_writer_close: { parameters: ["i32"], result: "i32" },
  // int ls_run_load(int iObject, int iFrame, int nFrame, const uint8_t *aByte, int nByte)
  ls_run_load: { parameters: ["i32", "i32", "i32", "bytes", "i32"], result: "i32" },
  // int ls_run_free(int iRun)
  ls_run_free: { parameters: ["i32"], result: "i32" },
  // int ls_run_move(int iRun, int iObject, int iFrame)
  ls_run_move: { parameters: ["i32", "i32", "i32"], result: "i32" },
  // int ls_run_touched(int iRun)
  ls_run_touched: { parameters: ["i32"], result: "i32" },
  // int ls_run_flag(int iRun, int iFrame, int nFrame, int eFlag)
  ls_run_flag: { parameters: ["i32", "i32", "i32", "i32"], result: "i32" },
  // int ls_run_count(int iRun, int eFlag, int eNot)
  ls_run_count: { parameters: ["i32", "i32", "i32"], result: "i32" },
  // int ls_run_types(int iRun, uint8_t *aOut, int nOut)
  ls_run_types: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  // int ls_run_chains(int iRun, int iObject, int iFrame, int szUsable, uint32_t iCommit, uint32_t *aOut, int nMax)
  ls_run_chains: { parameters: ["i32", "i32", "i32", "i32", "u32", "buffer", "i32"], result: "i32" },
  // int ls_object_flag(int iObject, int iFrame, int eFlag)
  ls_object_flag: { parameters: ["i32", "i32", "i32"], result: "i32" },
  // int ls_run_page(int iRun, int iFrame, uint8_t *aOut, int nOut)
  ls_run_page: { parameters: ["i32", "i32", "buffer", "i32"], result: "i32" },
  // int ls_pool_bytes(uint64_t *aOut)
  ls_pool_bytes: { parameters: ["buffer"], result: "i32" },
  // int ls_local_open(int iReplica, const char *zPath, int szPage, int eFlag)
  ls_local_open: { parameters: ["i32", "bytes", "i32", "i32"], result: "i32" },
  // int ls_local_put(int iLocal, int iView, int iObject, int iFrame, int nFrame, const uint8_t *aByte, int nByte, uint64_t *aCrc)
  ls_local_put: { parameters: ["i32", "i32", "i32", "i32", "i32", "bytes", "i32", "buffer"], result: "i32" },
  // int ls_local_take(int iLocal, int iView, int iObject, int iFrame, int nFrame)
  ls_local_take: { parameters: ["i32", "i32", "i32", "i32", "i32"], result: "i32" },
  // int ls_local_needs(int iLocal, int iView, int iObject, int iFrame, int nFrame, uint64_t *aOut)
  ls_local_needs: { parameters: ["i32", "i32", "i32", "i32", "i32", "buffer"], result: "i32" },
  // int ls_local_first(int iLocal)
  ls_local_first: { parameters: ["i32"], result: "i32" },
  // int ls_local_truncate(int iLocal, uint32_t iCommit)
  ls_local_truncate: { parameters: ["i32", "u32"], result: "i32" },
  // int ls_local_enter(int iMap, int iLocal, int nMax)
  ls_local_enter: { parameters: ["i32", "i32", "i32"], result: "i32" },
  // int ls_local_copy(int iMap, int iLocal, int iView, uint32_t iPgno, int nMax)
  ls_local_copy: { parameters: ["i32", "i32", "i32", "u32", "i32"], result: "i32" },
  // int ls_local_check(int iLocal, int iView, uint32_t iPgno, int nMax, uint64_t *aOut)
  ls_local_check: { parameters: ["i32", "i32", "u32", "i32", "buffer"], result: "i32" },
  // int ls_local_forget(int iLocal, int iObject, int iFrame, int nMax)
  ls_local_forget: { parameters: ["i32", "i32", "i32", "i32"], result: "i32" },
  // int ls_local_map(int iMap, int iLocal, uint32_t iCommit, uint32_t iPgno, int nMax)
  ls_local_map: { parameters: ["i32", "i32", "u32", "u32", "i32"], result: "i32" },
  // int ls_local_state(int iLocal, uint64_t *aOut)
  ls_local_state: { parameters: ["i32", "buffer"], result: "i32" },
  // int ls_local_warm(int iLocal, int nPage)
  ls_local_warm: { parameters: ["i32", "i32"], result: "i32" },
  // int ls_local_close(int iLocal)
  ls_local_close: { parameters: ["i32"], result: "i32" },
  // int ls_fault(uint8_t *aOut, int nOut)
  ls_fault: { parameters: ["buffer", "i32"], result: "i32" },
  // int ls_crc_add(const uint8_t *aByte, int nByte, uint64_t *aInOut)
  ls_crc_add: { parameters: ["bytes", "i32", "buffer"], result: "i32" },
  // int ls_file_verify(const uint8_t *aByte, int nByte)
  ls_file_verify: { parameters: ["bytes", "i32"], result: "i32" },
  // int ls_lz4_compress(const uint8_t *aSrc, int nSrc, uint8_t *aDst, int nDst)
  ls_lz4_compress: { parameters: ["bytes", "i32", "buffer", "i32"], result: "i32" },
  // int ls_lz4_block(const uint8_t *aSrc, int nSrc, uint8_t *aDst, int nDst)
  ls_lz4_block: { parameters: ["bytes", "i32", "buffer", "i32"], result: "i32" },
  // int ls_lz4_frame(const uint8_t *aSrc, int nSrc, uint8_t *aDst, int nDst)
  ls_lz4_frame: { parameters: ["bytes", "i32", "buffer", "i32"], result: "i32" },
  // int ls_host_last(void)
  ls_host_last: { parameters: [], result: "i32" },
  // int ls_host_begin(int iHost)
  ls_host_begin: { parameters: ["i32"], result: "i32" },
  // int ls_host_end(int iHost)
  ls_host_end: { parameters: ["i32"], result: "i32" },
  // int ls_host_default(int iHost, int bOn)
  ls_host_default: { parameters: ["i32", "i32"], result: "i32" },
  // int ls_sentinel(const char *zPrefix)
  ls_sentinel: { parameters: ["bytes"], result: "i32" },
  // int ls_census(uint32_t *aOut, int nOut)
  ls_census: { parameters: ["buffer", "i32"], result: "i32" },
} as const satisfies Symbols;
