/*
** The ABI between the shim and TypeScript: all that is exported. ffi/symbols.ts repeats every prototype; a test
** compares the two files.
**
** All handles are small positive integers; 0 is "none". A function that returns int returns a value >= 0, or a
** negative LS_ code. Buffers belong to the caller and are not kept beyond the call.
**
** Functions marked (core) may be called only on the thread of the core that owns the replica or object; the
** others on any thread.
*/
#ifndef LITESTREAM_SHIM_H
#define LITESTREAM_SHIM_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#  define LS_API __declspec(dllexport)
#else
#  define LS_API __attribute__((visibility("default")))
#endif

#define LS_ABI_VERSION 9

/* Negative results. */
#define LS_NOMEM   (-1)   /* out of memory */
#define LS_MISUSE  (-2)   /* no such handle, or not in this state */
#define LS_FORMAT  (-3)   /* bytes break the LTX format; ls_fault() says where and how */
#define LS_GONE    (-4)   /* detached, closed, or no longer waited for */
#define LS_BUSY    (-5)   /* pinned by a reader */
#define LS_LIMIT   (-6)   /* a fixed bound of the shim was reached */
#define LS_REFUSED (-7)   /* ls_open_error() says why */

/* LsRequest.eKind */
#define LS_REQUEST_PAGE   1   /* a reader waits for page iPgno of view iView */
#define LS_REQUEST_OPEN   2   /* a connection opens a replica by URI; ls_request_text() has the parameters */
#define LS_REQUEST_CLOSED 3   /* a file of a replica that was opened by URI was closed; nobody waits */
#define LS_REQUEST_MOMENT 4   /* a connection moves to a moment; ls_request_text() names it */
#define LS_REQUEST_NUDGE  5   /* somebody wants the follower to look now; nobody waits */
#define LS_REQUEST_MARK   6   /* a reader took a marked page; nobody waits, and iView is held by nobody for the core */
#define LS_REQUEST_SYNC   7   /* a connection waits until what it has committed is stored */

/* One request as the core takes it: ten 32-bit words, repeated in src/bridge/protocol.ts. */
typedef struct LsRequest {
  uint32_t eKind;
  uint32_t iSlot;      /* to answer with; 0 when nobody waits */
  uint32_t iGen;       /* generation of the slot: an answer to another generation is dropped */
  uint32_t iReplica;
  uint32_t iView;      /* pinned for the core until the answer */
  uint32_t iPgno;
  uint32_t iObject;    /* where the view has the page: object and frame */
  uint32_t iFrame;
  uint32_t iConnection;/* counts connections; tells requests of one reader from another's */
  uint32_t iIndexLeaf; /* the index's leaf that it has read since the request before, which may have led here; 0 for none */
} LsRequest;

/* One frame as ls_object_frames() tells it: four 32-bit words. */
typedef struct LsFrame {
  uint32_t iPgno;
  uint32_t nByte;      /* length as stored, its header included */
  uint32_t bCached;    /* 1 when its page is in the buffer pool */
  uint32_t bCurrent;   /* 1 when the view has this page here */
} LsFrame;

/* One page as ls_view_places() tells it: six 32-bit words. */
typedef struct LsPlace {
  uint32_t iObject;    /* 0 when the view has no such page */
  uint32_t iFrame;
  uint32_t nByte;      /* as stored */
  uint32_t bCached;    /* 1 when the page is in the pool */
  uint32_t aOffset[2]; /* of the frame in its file; low word first */
} LsPlace;

/* What ls_run_flag() sets on a page of the pool. */
#define LS_FLAG_USED   1   /* a reader took it; set by the shim */
#define LS_FLAG_MARK   2   /* the first reader that takes it is told of as LS_REQUEST_MARK */
#define LS_FLAG_AHEAD  4   /* it was loaded before anybody asked for it */

/* Indexes into the counters of a replica, and of a connection. */
#define LS_STAT_HIT          0   /* pages copied out of the buffer pool without waiting */
#define LS_STAT_MISS         1   /* pages that a reader waited for */
#define LS_STAT_TRANSACTION  2   /* read transactions begun */
#define LS_STAT_USED         3   /* bytes, as stored, of pages that were taken at least once since they were loaded */
#define LS_STAT_AHEAD        4   /* pages that were loaded ahead, and taken without waiting */
#define LS_STAT_LOCAL        5   /* pages read from a local file */
#define LS_STAT_CORE         8   /* from here on the core's own: see src/pages/counters.ts */
#define LS_STAT_GET          9   /* requests made for pages */
#define LS_STAT_BYTE        10   /* bytes that came */
#define LS_STAT_ROUND_TRIP  12   /* length of the chain of requests that waited for one another */
#define LS_STAT_AHEAD_PAGE  18   /* pages loaded ahead */
#define LS_STAT_COUNT       32

LS_API int ls_abi(void);

/* Core: one an owning thread. */
LS_API int ls_core_start(void);
LS_API int ls_core_wait(int iCore, int iSeen, int msTimeout);
LS_API int ls_core_take(int iCore, uint32_t *aRequest, int nMax);
LS_API int ls_core_stop(int iCore, const char *zWhy);
LS_API int ls_core_default(int iCore, int bOn);
LS_API int ls_request_text(int iSlot, int iGen, uint8_t *aOut, int nOut);
LS_API int ls_answer(int iSlot, int iGen, int rc, int iValue, const char *zText);

/* Replica. */
LS_API int ls_replica_new(int iCore, int msTimeout);
LS_API int ls_replica_close(int iReplica);
LS_API int ls_replica_interrupt(int iReplica);
LS_API int ls_replica_error(int iReplica, uint8_t *aOut, int nOut);
LS_API int ls_replica_fail(int iReplica, const char *zText);
LS_API int ls_replica_stats(int iReplica, uint64_t *aOut, int nOut);
LS_API int ls_replica_add(int iReplica, int iStat, int nAmount);
LS_API int ls_replica_view(int iReplica, uint64_t *aOut);
LS_API int ls_replica_ticket(int iReplica, int msTimeout, const char *zMoment);
LS_API int ls_ticket_drop(int iTicket);
LS_API int ls_open_error(uint8_t *aOut, int nOut);
LS_API int ls_replica_polled(int iReplica, const char *zWhy);
LS_API int ls_replica_seen(int iReplica, uint64_t msAgo);
LS_API int ls_replica_lag(int iReplica, uint64_t *aOut);
LS_API int ls_replica_limit(int iReplica, int msStaleMax);
LS_API int ls_replica_block(int iReplica, const char *zWhy);
LS_API int ls_replica_nudge(int iReplica);
LS_API int ls_replica_renew(int iReplica);
LS_API int ls_replica_pins(int iReplica, uint64_t *aOut, int nOut);
LS_API int ls_replica_bound(int iReplica, int iStat, uint64_t nMax);

/*
** How far the local copy is: 0 there is none, 1 under way, 2 all pages are read from it, 3 given up; pages of the newest state
** that are read from it; pages of that state; its TXID when it was whole last, 0 for never.
*/
#define LS_HYDRATION_WORDS 4
LS_API int ls_replica_hydrate(int iReplica, const uint64_t *aWord, const char *zPath);
LS_API int ls_replica_hydration(int iReplica, uint64_t *aOut);
LS_API int ls_replica_hydration_file(int iReplica, uint8_t *aOut, int nOut);

/*
** One transaction as ls_replica_transactions() tells it: connection; its number there, from 1; TXID that it saw; begin and end
** in ns since the Unix epoch; 1 where it reserved the right to write; then hits, misses, transactions begun (no count), bytes
** used, hits of pages loaded ahead, requests, bytes, round trips, pages loaded ahead, local reads.
*/
#define LS_TRANSACTION_WORDS 16
LS_API int ls_replica_observe(int iReplica);
LS_API int ls_replica_transactions(int iReplica, uint64_t *aOut, int nOut);

/* Connections: one a file that SQLite opened. */
LS_API int ls_connection_add(int iReplica, uint32_t iConnection, int iStat, int nAmount);
LS_API int ls_connection_stats(int iReplica, uint32_t iConnection, uint64_t *aOut, int nOut);
LS_API int ls_connection_bound(int iReplica, uint32_t iConnection, int iStat, uint64_t nMax);
LS_API int ls_connection_spent(int iReplica, uint32_t iConnection, uint64_t *aOut);
LS_API int ls_connection_fault(int iReplica, uint32_t iConnection, uint8_t *aOut, int nOut);

/* Objects: the frames of one LTX file. */
LS_API int ls_object_new(int iReplica, int szPage, uint32_t iCommit, int bSnapshot, uint64_t szFile);
LS_API int ls_object_index(int iObject, const uint8_t *aIndex, int nIndex, int nMax);
LS_API int ls_object_count(int iObject);
LS_API int ls_object_refs(int iObject);
LS_API int ls_object_offset(int iObject, int iFrame, uint64_t *aOut);
LS_API int ls_object_frames(int iObject, int iView, int iFrame, int nMax, uint32_t *aFrame);
LS_API int ls_object_local(int iObject);
LS_API int ls_object_free(int iObject);

/* Page maps and views. */
LS_API int ls_map_new(int iView, int szPage);
LS_API int ls_map_apply(int iMap, int iObject, int iFrame, int nMax);
LS_API int ls_map_truncate(int iMap, uint32_t iCommit);
LS_API int ls_map_view(int iMap, int iReplica, uint64_t iTxid, uint32_t iCommit, uint32_t iStamp, uint64_t msTime);
LS_API int ls_map_free(int iMap);
LS_API int ls_view_publish(int iView);
LS_API int ls_view_relocate(int iFrom, int iTo);
LS_API int ls_view_release(int iView);
LS_API int ls_view_places(int iView, const uint32_t *aPgno, int nPage, uint32_t *aOut);
LS_API int ls_view_local(int iView);
LS_API int ls_view_hold(int iView);
LS_API int ls_view_info(int iView, uint64_t *aOut);
LS_API int ls_view_locate(int iView, uint32_t iPgno, uint32_t *aOut);
LS_API int ls_view_page(int iView, uint32_t iPgno, uint8_t *aOut, int nOut);
LS_API int ls_view_changed(int iFrom, int iTo, uint32_t iPgno, uint32_t *aOut, int nMax);
LS_API int ls_stamp(void);
LS_API int ls_writer_stamp(void);

/*
** Write log (core): what a writer committed and object storage does not have yet. ls_writer_state() and ls_writer_seal()
** tell LS_WRITER_WORDS words: TXID of the next commit; frames committed since the last TXID ended; frames, and bytes, that
** no view has; number of the newest file; the last committed frame; its state's stamp; 1 while a transaction is under way, 2
** while frames may yet go to that file, and 4 while a commit is under way; bytes of that file that are committed.
*/
#define LS_WRITER_WORDS 9
#define LS_WRITER_FOREIGN 0xffffffffu  /* a view that the log did not lead to */
LS_API int ls_writer_open(int iReplica, const char *zPath, uint64_t iTxid, const uint8_t *aBase, uint64_t nByteMax);
LS_API int ls_writer_state(int iReplica, uint64_t *aOut);
LS_API int ls_writer_seal(int iReplica, uint64_t *aOut);
LS_API int ls_writer_base(int iReplica, int iView, uint32_t iUpTo, uint64_t iTxid);
LS_API int ls_writer_settle(int iReplica, uint64_t iTxid);
LS_API int ls_writer_fault(int iReplica, const char *zWhy);
LS_API int ls_writer_switch(int iReplica, int bOn);
LS_API int ls_writer_close(int iReplica);

/* Buffer pool: decoded pages in runs of neighbouring frames. */
LS_API int ls_run_load(int iObject, int iFrame, int nFrame, const uint8_t *aByte, int nByte);
LS_API int ls_run_free(int iRun);
LS_API int ls_run_move(int iRun, int iObject, int iFrame);
LS_API int ls_run_touched(int iRun);
LS_API int ls_run_flag(int iRun, int iFrame, int nFrame, int eFlag);
LS_API int ls_run_count(int iRun, int eFlag, int eNot);
LS_API int ls_run_types(int iRun, uint8_t *aOut, int nOut);
LS_API int ls_run_chains(int iRun, int iObject, int iFrame, int szUsable, uint32_t iCommit, uint32_t *aOut, int nMax);
LS_API int ls_object_flag(int iObject, int iFrame, int eFlag);
LS_API int ls_run_page(int iRun, int iFrame, uint8_t *aOut, int nOut);
LS_API int ls_pool_bytes(uint64_t *aOut);

/*
** Local files (core): pages of a database, each at its place in a plain file, and beside it zPath"-sums" with a checksum
** of each. See local.c.
*/
#define LS_LOCAL_KEEP    1   /* what is there stays; else both files are made anew */
#define LS_LOCAL_HEAD    2   /* page 1 names a rollback journal, so that the file can be opened as it is */
#define LS_LOCAL_PRIVATE 4   /* nobody else finds it, and it ends with its last user */
#define LS_LOCAL_APART   8   /* its name says that it is not whole yet: page 1 is put like any other */
LS_API int ls_local_open(int iReplica, const char *zPath, int szPage, int eFlag);
LS_API int ls_local_put(int iLocal, int iView, int iObject, int iFrame, int nFrame, const uint8_t *aByte, int nByte, uint64_t *aCrc);
LS_API int ls_local_take(int iLocal, int iView, int iObject, int iFrame, int nFrame);
LS_API int ls_local_needs(int iLocal, int iView, int iObject, int iFrame, int nFrame, uint64_t *aOut);
LS_API int ls_local_first(int iLocal);
LS_API int ls_local_truncate(int iLocal, uint32_t iCommit);
LS_API int ls_local_enter(int iMap, int iLocal, int nMax);
LS_API int ls_local_copy(int iMap, int iLocal, int iView, uint32_t iPgno, int nMax);
LS_API int ls_local_check(int iLocal, int iView, uint32_t iPgno, int nMax, uint64_t *aOut);
LS_API int ls_local_forget(int iLocal, int iObject, int iFrame, int nMax);
LS_API int ls_local_map(int iMap, int iLocal, uint32_t iCommit, uint32_t iPgno, int nMax);
LS_API int ls_local_state(int iLocal, uint64_t *aOut);
LS_API int ls_local_warm(int iLocal, int nPage);
LS_API int ls_local_close(int iLocal);

/* Codec. */
LS_API int ls_fault(uint8_t *aOut, int nOut);
LS_API int ls_crc_add(const uint8_t *aByte, int nByte, uint64_t *aInOut);
LS_API int ls_file_verify(const uint8_t *aByte, int nByte);
LS_API int ls_lz4_compress(const uint8_t *aSrc, int nSrc, uint8_t *aDst, int nDst);
LS_API int ls_lz4_block(const uint8_t *aSrc, int nSrc, uint8_t *aDst, int nDst);
LS_API int ls_lz4_frame(const uint8_t *aSrc, int nSrc, uint8_t *aDst, int nDst);

/* Hosts: the SQLite copies that loaded the shim. */
LS_API int ls_host_last(void);
LS_API int ls_host_begin(int iHost);
LS_API int ls_host_end(int iHost);
LS_API int ls_host_default(int iHost, int bOn);
LS_API int ls_sentinel(const char *zPrefix);

/* What the tests of the shim look at: live slots, views, objects, runs, files, replicas, connections. */
LS_API int ls_census(uint32_t *aOut, int nOut);

#endif
