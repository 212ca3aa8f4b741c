/*
** What shim.c and writer.c share: the write log of a replica that is open for writing. Nothing here is exported.
*/
#ifndef LITESTREAM_WRITER_H
#define LITESTREAM_WRITER_H

#include "requests.h"

typedef struct LsWriter LsWriter;
typedef struct LsEpoch LsEpoch;

/* What a transaction sees of the log, over its view. */
typedef struct LsSeen {
  LsWriter *pWriter;               /* NULL: nothing, all is in the view */
  LsEpoch *pEpoch;                 /* pinned; later frames than its first are over the view */
  uint32_t iTo;                    /* and none past this one */
  uint32_t iCommit;                /* size in pages */
  uint32_t szPage;                 /* 0 in a database that has no pages yet */
  uint64_t iTxid;
  uint64_t msTime;
  int bHead;                       /* aHead is page 1's head */
  uint8_t aHead[LS_HEAD_SIZE];
} LsSeen;

void lsWriterFree(LsReplica *p);              /* with its replica */
LsWriter *lsWriterOf(LsReplica *p);           /* NULL: it is open for reading */
/* Pins the newest state: a view, and what of the log is over it. As lsReplicaBegin(). */
LsView *lsWriterBegin(LsReplica *p, LsSeen *pSeen, char *zWhy);
/* Has lsViewWords()' words of the newest view tell of the newest committed state. */
void lsWriterWords(LsReplica *p, uint64_t *aWord);
int lsWriterOn(LsReplica *p);                 /* whether writing is switched on */
/*
** The holder's transaction is committed, and what it sees the newest state: pins the newest view for it, which has more of the
** log. NULL where there is none other; else the view pinned before is the caller's to give up.
*/
LsView *lsWriterPinNewest(LsSeen *pSeen);
void lsWriterEnd(LsSeen *pSeen);              /* gives the log up; the view is the caller's */
int lsSeenHas(const LsSeen *p, uint32_t iPgno, uint32_t *piFrame);   /* the frame of a page; 0: the view has it */
int lsSeenRead(const LsSeen *p, uint32_t iFrame, int iFrom, int n, uint8_t *aOut);   /* an SQLite result code */

/*
** A write transaction, of one holder at a time. All give an SQLite result code; words go to zWhy (LS_ERROR_SIZE bytes)
** when it is neither SQLITE_OK nor SQLITE_BUSY. pSeen is of the holder, and follows what it writes.
*/
int lsWriterReserve(LsSeen *pSeen, const void *pHolder, char *zWhy);
void lsWriterAsk(LsSeen *pSeen);             /* the holder's next page may be of another transaction than it reserved for */
void lsWriterUndone(LsSeen *pSeen);          /* SQLite has ended a rollback of what was refused */
void lsWriterForget(LsSeen *pSeen);          /* or goes on without one: nothing of the transaction stays */
int lsWriterHeld(const LsSeen *pSeen);        /* whether anybody has the reservation */
int lsWriterWrite(LsSeen *pSeen, uint32_t iPgno, const uint8_t *aPage, int nByte, char *zWhy);
int lsWriterTruncate(LsSeen *pSeen, uint32_t iCommit, char *zWhy);
void lsWriterSync(LsSeen *pSeen);             /* the commit is to be on the disk before it is told */
int lsWriterHasHead(const LsSeen *pSeen);     /* whether page 1 was written */
int lsWriterChanged(const LsSeen *pSeen);     /* whether anything of the database is another than before */
int lsWriterPrepare(LsSeen *pSeen, char *zWhy);   /* so that lsWriterCommit() can hardly fail any more */
int lsWriterCommit(LsSeen *pSeen, char *zWhy);
void lsWriterRelease(LsSeen *pSeen, const void *pHolder);   /* what was not committed is forgotten */

#endif
