/*
** The write log: committed transactions of a replica that are not in object storage yet.
**
** PURPOSE   A transaction's pages are appended to a local file as frames, the last one with the commit's mark; readers see
**           what was committed when they began, over the view that they pinned. The core reads the file itself, stores it
**           as one LTX file at the next TXID, and hands in the view that has it: from then on the frames up to there are
**           the view's. src/write/write_log.ts reads what is written here, after a crash as well.
** FORMAT    Big-endian. Header, 64 bytes: "LSWL", version 1, page size; 1 where it goes on from the file before, else 0; 8 bytes
**           of salt; 8 more, or the CRC where the last commit of the file before ends, by which it is known what that has lost;
**           24 bytes that the core gave (by which it is known whose the log is); CRC-64 of all before. Frames, 40 bytes and a page each: pgno, size in
**           pages after the commit (0: not the last frame of one), time in ms, TXID, bytes of the file that were on the disk
**           for sure when it was written, CRC-64 of those 32 bytes and the page, beginning with the CRC of what comes before.
**           So a frame counts only where all before it are whole; and where one is not, a later one that is tells whether a
**           crash can have left it so.
** THREADS   One mutex a writer, held for look-ups and never for I/O. Frames past the last commit, and the buffer that has
**           those not yet in the file, are the holder's of the reservation alone.
** MEMORY    Eight bytes a frame and a table by page; pages stay in the file. An epoch is a view's place in the log; frames
**           that the oldest pinned epoch has in its view are forgotten, and their file is closed.
** ERRORS    A commit that cannot be written fails and leaves nothing; where not even that is certain, the log takes no more.
** LEFT OUT  Reading the log, removing its files: the core's.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sqlite3.h>
#include "writer.h"

#define LOG_VERSION   1
#define LOG_HEADER    64
#define FRAME_HEADER  40
#define BASE_SIZE     24
#define NUDGE_SHARE   8            /* of the bound: when so much waits, the core need not wait for its time */
#define BUFFER_BYTES  (1024*1024)  /* of one transaction's frames, before they go to the file */
#define FRAMES_DROP_MIN 4096       /* fewer are forgotten only where they are most */

/* One file of the log. */
typedef struct LsSegment {
  struct LsSegment *pNext;         /* the next newer */
  LsFd fd;
  int bNamed;                      /* its name is on the disk, whatever happens */
  int bSynced;                     /* so are its frames */
  uint64_t nSynced;                /* bytes of it that are on the disk, whatever happens */
  int bLoose;                      /* a transaction was told committed whose frames are not */
  uint32_t szPage;                 /* of its frames */
  uint32_t iSeq;                   /* in its name */
  uint32_t iFirst;                 /* its first frame */
  uint32_t iLast;                  /* its last one, flushed or not */
} LsSegment;

struct LsEpoch {
  struct LsEpoch *pNext;           /* the next newer */
  uint32_t iFrom;                  /* frames up to this one are in the view */
  uint32_t iGeneration;            /* counts the times that a view came which the log did not lead to */
  int nPin;
  uint32_t iMost;                  /* the last frame that any of them sees */
};

struct LsWriter {
  LsReplica *pReplica;
  LsMutex mu;              /* guards all below */
  char *zPath;
  LsFd fdLock;
  uint8_t aBase[BASE_SIZE];
  uint64_t nByteMax;               /* bound on frames that are not in object storage */
  int bOff;                        /* writing is switched off */
  int bUnsettled;                  /* others made the newest state, and the core has not written down yet what that is */
  int bFault;                      /* zFault says why nothing can be written any more */
  char zFault[LS_ERROR_SIZE];
  LsSegment *pOldest, *pSegment;   /* pSegment is the newest, or NULL: the next frame begins a new file */
  LsSegment *pNewest;
  uint32_t iSeq;                   /* of the newest file ever made */
  uint64_t nEnd;                   /* bytes of pSegment that are committed */
  uint64_t crcEnd;                 /* the CRC there */
  LsEpoch *pEpochOldest, *pEpoch;
  uint32_t iGeneration;
  uint32_t iDropped;               /* frames up to this one are forgotten */
  uint32_t iCommitted;             /* the last committed frame */
  uint32_t iSealed;                /* the last one whose TXID has ended */
  int bNudged;                     /* the core was told that much waits */
  int bRotate;                     /* the next TXID is to begin a new file */
  int bSealAsked;                  /* it is to end with the commit under way */
  int bSealed;                     /* it has, and aSeal has what is to be told */
  uint64_t aSeal[LS_WRITER_WORDS];
  uint32_t nFrameAlloc;
  uint32_t *aPgno, *aPrev;         /* of frame iDropped+1+i: its page, and the frame that had it before */
  uint32_t nSlot, nSlotUsed;       /* a power of two */
  uint32_t *aSlotPgno, *aSlotFrame;/* open addressing: the newest frame of a page */
  /* The newest committed state. */
  uint32_t iCommit, szPage, iStamp;
  uint64_t iTxid, msTime;          /* TXID that the next commit will have */
  uint64_t iTxidSeen;              /* of the newest committed state */
  int bHead;
  uint8_t aHead[LS_HEAD_SIZE];
  /* The holder's. */
  const void *pHolder;
  LsSeen own;                      /* what it saw before it wrote */
  int bRefused;                    /* it may not write, and SQLite is about to roll back */
  int bFresh;                      /* it was asked whether it may write just now */
  int bPrepared;                   /* all of its commit is in the file but the mark */
  uint64_t crcLast;                /* the CRC before its last frame */
  size_t nLast;                    /* where that is in aBuffer */
  uint32_t iStampClaimed;          /* numbers up to this one were taken */
  uint32_t iNext;                  /* its last frame */
  uint32_t iFlushed;               /* the last one that is in the file */
  uint32_t iLow;                   /* least size so far, in pages */
  uint32_t iStampNext;             /* what page 1 was stamped with, 0: not written */
  int bSync;
  int bLitter;                     /* the file may have frames past its last commit */
  int bSpilling;                   /* frames of it are just being written */
  int bCommitting;                 /* its commit's frames have the TXID that they were given, which must not end meanwhile */
  uint64_t iTxidCommit, msCommit;
  uint64_t nFlushEnd, crcFlush;
  uint8_t *aBuffer;                /* frames iFlushed+1 … iNext, with room for their headers */
  size_t nBufferAlloc;
};

static void put32(uint8_t *a, uint32_t i){
  a[0] = (uint8_t)(i>>24); a[1] = (uint8_t)(i>>16); a[2] = (uint8_t)(i>>8); a[3] = (uint8_t)i;
}
static void put64(uint8_t *a, uint64_t i){
  put32(a, (uint32_t)(i>>32));
  put32(a+4, (uint32_t)i);
}
static uint32_t get32(const uint8_t *a){
  return (uint32_t)a[0]<<24 | (uint32_t)a[1]<<16 | (uint32_t)a[2]<<8 | (uint32_t)a[3];
}

LsWriter *lsWriterOf(LsReplica *p){ return atomic_load_explicit(&p->pWriter, memory_order_acquire); }

/* ------------------------------------------------------------------------------------------- pages and frames */

static uint32_t slotOf(const LsWriter *p, uint32_t iPgno){
  uint32_t i = (iPgno*2654435761u) & (p->nSlot-1);
  while( p->aSlotPgno[i] && p->aSlotPgno[i]!=iPgno ) i = (i+1) & (p->nSlot-1);
  return i;
}

static int slotsGrow(LsWriter *p, uint32_t nNew){
  uint32_t *aPgno = p->aSlotPgno, *aFrame = p->aSlotFrame, nOld = p->nSlot, i;
  uint32_t *aNewPgno = calloc(nNew, sizeof(*aNewPgno));
  uint32_t *aNewFrame = calloc(nNew, sizeof(*aNewFrame));
  if( aNewPgno==NULL || aNewFrame==NULL ){
    free(aNewPgno);
    free(aNewFrame);
    return SQLITE_NOMEM;
  }
  p->aSlotPgno = aNewPgno;
  p->aSlotFrame = aNewFrame;
  p->nSlot = nNew;
  p->nSlotUsed = 0;
  for(i=0; i<nOld; i++){
    if( aPgno[i]==0 || aFrame[i]<=p->iDropped ) continue;
    uint32_t iSlot = slotOf(p, aPgno[i]);
    aNewPgno[iSlot] = aPgno[i];
    aNewFrame[iSlot] = aFrame[i];
    p->nSlotUsed++;
  }
  free(aPgno);
  free(aFrame);
  return SQLITE_OK;
}

/* Enters frame iNext+1. Caller holds the mutex. */
static int frameAdd(LsWriter *p, uint32_t iPgno){
  uint32_t i = p->iNext-p->iDropped, iSlot;
  if( p->iNext==UINT32_MAX ) return SQLITE_FULL;
  if( i==p->nFrameAlloc ){
    uint32_t nNew = p->nFrameAlloc ? p->nFrameAlloc*2 : 256;
    uint32_t *aNew = realloc(p->aPgno, nNew*sizeof(*aNew));
    if( aNew ) p->aPgno = aNew;
    aNew = aNew ? realloc(p->aPrev, nNew*sizeof(*aNew)) : NULL;
    if( aNew==NULL ) return SQLITE_NOMEM;
    p->aPrev = aNew;
    p->nFrameAlloc = nNew;
  }
  if( (p->nSlotUsed+1)*2>p->nSlot && slotsGrow(p, p->nSlot ? p->nSlot*2 : 1024) ) return SQLITE_NOMEM;
  iSlot = slotOf(p, iPgno);
  if( p->aSlotPgno[iSlot]==0 ) p->nSlotUsed++;
  p->aSlotPgno[iSlot] = iPgno;
  p->aPgno[i] = iPgno;
  p->aPrev[i] = p->aSlotFrame[iSlot];
  p->aSlotFrame[iSlot] = ++p->iNext;
  return SQLITE_OK;
}

/* Forgets frames past iTo, the newest first. Caller holds the mutex. */
static void framesUndo(LsWriter *p, uint32_t iTo){
  for(; p->iNext>iTo; p->iNext--){
    uint32_t i = p->iNext-p->iDropped-1;
    p->aSlotFrame[slotOf(p, p->aPgno[i])] = p->aPrev[i];
  }
}

/* The newest frame of a page in (iFrom, iTo], or 0. Caller holds the mutex. */
static uint32_t frameOf(const LsWriter *p, uint32_t iPgno, uint32_t iFrom, uint32_t iTo){
  uint32_t i;
  if( p->nSlot==0 ) return 0;
  i = p->aSlotFrame[slotOf(p, iPgno)];
  while( i>iTo && i>p->iDropped ) i = p->aPrev[i-p->iDropped-1];
  return i>iFrom && i>p->iDropped && i<=iTo ? i : 0;
}

int lsSeenHas(const LsSeen *pSeen, uint32_t iPgno, uint32_t *piFrame){
  LsWriter *p = pSeen->pWriter;
  *piFrame = 0;
  if( p==NULL || pSeen->iTo==pSeen->pEpoch->iFrom ) return 0;
  lsMutexLock(&p->mu);
  *piFrame = frameOf(p, iPgno, pSeen->pEpoch->iFrom, pSeen->iTo);
  lsMutexUnlock(&p->mu);
  return *piFrame!=0;
}

static size_t frameSizeOf(uint32_t szPage){ return (size_t)szPage+FRAME_HEADER; }
static size_t frameSize(const LsWriter *p){ return frameSizeOf(p->szPage); }

int lsSeenRead(const LsSeen *pSeen, uint32_t iFrame, int iFrom, int n, uint8_t *aOut){
  LsWriter *p = pSeen->pWriter;
  LsSegment *pSegment;
  LsFd fd = LS_NO_FILE;
  uint64_t iAt = 0;
  lsMutexLock(&p->mu);
  if( iFrame>p->iCommitted && iFrame>p->iFlushed ){      /* only its holder asks for it */
    const uint8_t *a = p->aBuffer + (size_t)(iFrame-p->iFlushed-1)*frameSize(p) + FRAME_HEADER;
    memcpy(aOut, a+iFrom, (size_t)n);
    lsMutexUnlock(&p->mu);
    return SQLITE_OK;
  }
  for(pSegment=p->pOldest; pSegment && iFrame>pSegment->iLast; pSegment=pSegment->pNext){}
  if( pSegment && iFrame>=pSegment->iFirst ){
    fd = pSegment->fd;
    iAt = LOG_HEADER + (uint64_t)(iFrame-pSegment->iFirst)*frameSizeOf(pSegment->szPage) + FRAME_HEADER + (uint64_t)iFrom;
  }
  lsMutexUnlock(&p->mu);
  if( fd==LS_NO_FILE ) return SQLITE_IOERR_READ;
  return lsFileRead(fd, aOut, (size_t)n, iAt) ? SQLITE_IOERR_READ : SQLITE_OK;   /* the pinned epoch keeps the file open */
}

/* ----------------------------------------------------------------------------------------------- what is seen */

/* Whether a frame of a file may yet be asked for. Caller holds the mutex. */
static int segmentNeeded(const LsWriter *p, const LsSegment *pSegment){
  const LsEpoch *pEpoch;
  if( pSegment==p->pSegment || pSegment->iLast>p->pEpoch->iFrom ) return 1;
  for(pEpoch=p->pEpochOldest; pEpoch!=p->pEpoch; pEpoch=pEpoch->pNext){
    if( pEpoch->nPin && pSegment->iLast>pEpoch->iFrom && pSegment->iFirst<=pEpoch->iMost ) return 1;
  }
  return 0;
}

/* Closes files that no pinned epoch sees: a reader that stays holds those of its own time alone. Caller holds the mutex. */
static void segmentsClose(LsWriter *p){
  LsSegment **pp = &p->pOldest, *pLast = NULL;
  while( *pp ){
    LsSegment *pSegment = *pp;
    if( segmentNeeded(p, pSegment) ){
      pLast = pSegment;
      pp = &pSegment->pNext;
      continue;
    }
    *pp = pSegment->pNext;
    lsFileClose(pSegment->fd);
    free(pSegment);
  }
  p->pNewest = pLast;
}

/* Forgets frames up to iKeep, in the order in which they came. Caller holds the mutex. */
static void framesDrop(LsWriter *p, uint32_t iKeep){
  uint32_t nDrop = iKeep-p->iDropped;
  uint32_t nLeft = p->iNext-iKeep;
  if( nDrop==0 || (nDrop<nLeft && nDrop<FRAMES_DROP_MIN) ) return;
  memmove(p->aPgno, p->aPgno+nDrop, nLeft*sizeof(*p->aPgno));
  memmove(p->aPrev, p->aPrev+nDrop, nLeft*sizeof(*p->aPrev));
  p->iDropped = iKeep;
  if( p->nSlot ) slotsGrow(p, p->nSlot);     /* where there is no memory, the old ones stay and mean nothing */
}

/* Forgets what every pinned epoch has in its view. Caller holds the mutex. */
static void prune(LsWriter *p){
  while( p->pEpochOldest!=p->pEpoch && p->pEpochOldest->nPin==0 ){
    LsEpoch *pOld = p->pEpochOldest;
    p->pEpochOldest = pOld->pNext;
    free(pOld);
  }
  segmentsClose(p);
  framesDrop(p, p->pEpochOldest->iFrom);
}

/* What the holder saw before it wrote, again. Caller holds the mutex. */
static void seenRestore(const LsWriter *p, LsSeen *pSeen){
  LsEpoch *pEpoch = pSeen->pEpoch;
  *pSeen = p->own;
  pSeen->pEpoch = pEpoch;
}

/* What of the newest state is in the log. Caller holds the mutex. */
static void seenFill(LsWriter *p, LsSeen *pSeen){
  pSeen->iTo = p->iCommitted;
  pSeen->iCommit = p->iCommit;
  pSeen->szPage = p->szPage;
  pSeen->iTxid = p->iTxidSeen;
  pSeen->msTime = p->msTime;
  pSeen->bHead = p->bHead;
  if( p->bHead ) memcpy(pSeen->aHead, p->aHead, LS_HEAD_SIZE);
}

LsView *lsWriterBegin(LsReplica *pReplica, LsSeen *pSeen, char *zWhy){
  LsWriter *p = lsWriterOf(pReplica);
  LsView *pView;
  lsMutexLock(&p->mu);
  pView = lsReplicaBegin(pReplica, zWhy);
  if( pView ){
    pSeen->pWriter = p;
    pSeen->pEpoch = p->pEpoch;
    p->pEpoch->nPin++;
    seenFill(p, pSeen);
    if( pSeen->iTo>p->pEpoch->iMost ) p->pEpoch->iMost = pSeen->iTo;
  }
  lsMutexUnlock(&p->mu);
  return pView;
}

/* Whether others have made a state since a transaction began. Caller holds the mutex. */
static int isOutdated(const LsWriter *p, const LsSeen *pSeen){ return pSeen->pEpoch->iGeneration!=p->iGeneration; }

LsView *lsWriterPinNewest(LsSeen *pSeen){
  LsWriter *p = pSeen->pWriter;
  LsView *pView = NULL;
  char zWhy[LS_ERROR_SIZE];
  lsMutexLock(&p->mu);
  if( pSeen->pEpoch!=p->pEpoch && !isOutdated(p, pSeen) && pSeen->iTo==p->iCommitted ){
    pView = lsReplicaBegin(p->pReplica, zWhy);
  }
  if( pView ){
    pSeen->pEpoch->nPin--;
    pSeen->pEpoch = p->pEpoch;
    p->pEpoch->nPin++;
    if( pSeen->iTo>p->pEpoch->iMost ) p->pEpoch->iMost = pSeen->iTo;
    prune(p);
  }
  lsMutexUnlock(&p->mu);
  return pView;
}

void lsWriterEnd(LsSeen *pSeen){
  LsWriter *p = pSeen->pWriter;
  if( p==NULL ) return;
  lsMutexLock(&p->mu);
  pSeen->pEpoch->nPin--;
  prune(p);
  lsMutexUnlock(&p->mu);
  memset(pSeen, 0, sizeof(*pSeen));
}

void lsWriterWords(LsReplica *pReplica, uint64_t *aWord){
  LsWriter *p = lsWriterOf(pReplica);
  if( p==NULL ) return;
  lsMutexLock(&p->mu);
  aWord[0] = p->iTxidSeen;
  aWord[1] = p->iCommit;
  aWord[2] = p->szPage;
  aWord[3] = p->msTime;
  lsMutexUnlock(&p->mu);
}

int lsWriterOn(LsReplica *pReplica){
  LsWriter *p = lsWriterOf(pReplica);
  int b;
  if( p==NULL ) return 0;
  lsMutexLock(&p->mu);
  b = !p->bOff && !p->bFault;
  lsMutexUnlock(&p->mu);
  return b;
}

/* --------------------------------------------------------------------------------------------------- the file */

/* An SQLite result code for one of lsFileOpen() or lsFileWrite(). */
static int writeCode(int rc){ return rc==0 ? SQLITE_OK : rc==LS_IO_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE; }

static int writeAll(LsFd fd, const uint8_t *a, size_t n, uint64_t iAt){ return writeCode(lsFileWrite(fd, a, n, iAt)); }

static int syncFile(LsFd fd){ return lsFileSync(fd) ? SQLITE_IOERR_FSYNC : SQLITE_OK; }

/* The first reason stays. Caller holds the mutex. */
static void fault(LsWriter *p, const char *zWhy){
  if( p->bFault ) return;
  p->bFault = 1;
  snprintf(p->zFault, sizeof(p->zFault), "%s", zWhy);
}

static int failed(const LsWriter *p, int rc, const char *zWhat, char *zWhy){
  snprintf(zWhy, LS_ERROR_SIZE, "WriteLogError: Cannot %s write log \"%.600s\": %s", zWhat, p->zPath, lsSystemText());
  return rc;
}

static int outOfMemory(char *zWhy){
  snprintf(zWhy, LS_ERROR_SIZE, "WriteLogError: Cannot write: out of memory");
  return SQLITE_IOERR_NOMEM;
}

static char *segmentName(const LsWriter *p, uint32_t iSeq){
  size_t n = strlen(p->zPath)+16;
  char *z = malloc(n);
  if( z ) snprintf(z, n, "%s.%u", p->zPath, iSeq);
  return z;
}

/* The oldest file that has frames which are not on the disk for sure; NULL: none. Caller holds the mutex. */
static LsSegment *segmentUnsynced(const LsWriter *p){
  LsSegment *pSegment;
  for(pSegment=p->pOldest; pSegment && pSegment->bSynced; pSegment=pSegment->pNext){}
  return pSegment;
}

/* Has a new file's name on the disk. */
static int nameSync(const LsWriter *p, uint32_t iSeq){
  char *z = segmentName(p, iSeq);
  int rc = z==NULL ? SQLITE_IOERR_NOMEM : lsFileSyncName(z) ? SQLITE_IOERR_DIR_FSYNC : SQLITE_OK;
  free(z);
  return rc;
}

/*
** Has the log on the disk: older files as well, where they were written without syncs, for a transaction is nothing without
** those before it. Only the holder, so that none is written meanwhile; the core may close those that are stored by now.
*/
static int logSync(LsWriter *p){
  int rc = SQLITE_OK;
  while( rc==SQLITE_OK ){
    LsSegment *pSegment;
    uint32_t iSeq = 0;
    LsFd fd = LS_NO_FILE;
    int bNamed = 0;
    lsMutexLock(&p->mu);
    pSegment = segmentUnsynced(p);
    if( pSegment ){
      iSeq = pSegment->iSeq;
      bNamed = pSegment->bNamed;
      fd = pSegment==p->pSegment ? pSegment->fd : lsFileAgain(pSegment->fd);
    }
    lsMutexUnlock(&p->mu);
    if( pSegment==NULL ) return SQLITE_OK;
    rc = fd==LS_NO_FILE ? SQLITE_IOERR : syncFile(fd);
    if( rc==SQLITE_OK && !bNamed ) rc = nameSync(p, iSeq);
    lsMutexLock(&p->mu);
    if( fd!=LS_NO_FILE && (p->pSegment==NULL || fd!=p->pSegment->fd) ) lsFileClose(fd);
    for(pSegment=p->pOldest; pSegment && pSegment->iSeq!=iSeq; pSegment=pSegment->pNext){}
    if( rc==SQLITE_OK && pSegment ){
      pSegment->bNamed = pSegment->bSynced = 1;
      if( pSegment==p->pSegment ) pSegment->nSynced = p->nFlushEnd;
      pSegment->bLoose = 0;
    }
    lsMutexUnlock(&p->mu);
  }
  return rc;
}

/* Begins a file whose first frame is iFlushed+1. */
static int segmentMake(LsWriter *p, char *zWhy){
  LsSegment *pNew = calloc(1, sizeof(*pNew));
  uint8_t a[LOG_HEADER];
  char *z = segmentName(p, p->iSeq+1);
  int rc = pNew && z ? SQLITE_OK : outOfMemory(zWhy);
  if( rc==SQLITE_OK ){
    memset(a, 0, sizeof(a));
    memcpy(a, "LSWL", 4);
    put32(a+4, LOG_VERSION);
    put32(a+8, p->szPage);
    if( lsRandom(a+16, 16) ) rc = failed(p, SQLITE_IOERR_WRITE, "make a number for", zWhy);
    if( p->nEnd>0 ){
      put32(a+12, 1);
      put64(a+24, ~p->crcEnd);
    }
    memcpy(a+32, p->aBase, BASE_SIZE);
    put64(a+56, ~lsCrc(~(uint64_t)0, a, 56));
    if( rc==SQLITE_OK && (rc = writeCode(lsFileOpen(z, LS_FILE_NEW, &pNew->fd)))!=SQLITE_OK ) failed(p, rc, "make", zWhy);
  }
  if( rc==SQLITE_OK ){
    rc = writeAll(pNew->fd, a, sizeof(a), 0);
    if( rc ){
      failed(p, rc, "begin", zWhy);
      lsFileClose(pNew->fd);
      if( lsFileRemove(z) ) p->iSeq++;     /* the name is taken; without a header, nobody minds the file */
    }
  }
  free(z);
  if( rc ){
    free(pNew);
    return rc;
  }
  lsMutexLock(&p->mu);
  pNew->iSeq = ++p->iSeq;
  pNew->szPage = p->szPage;
  pNew->iFirst = p->iFlushed+1;
  pNew->iLast = p->iFlushed;
  if( p->pNewest ) p->pNewest->pNext = pNew;
  else p->pOldest = pNew;
  p->pNewest = p->pSegment = pNew;
  p->nEnd = p->nFlushEnd = LOG_HEADER;
  p->crcEnd = p->crcFlush = lsCrc(~(uint64_t)0, a, sizeof(a));
  lsMutexUnlock(&p->mu);
  return SQLITE_OK;
}

static int appendSync(LsWriter *p, char *zWhy);

/* Begins a file once those before are on the disk: a log must not end in the middle for who reads it after a crash. */
static int segmentNext(LsWriter *p, char *zWhy){
  int rc = appendSync(p, zWhy);
  return rc ? rc : segmentMake(p, zWhy);
}

/* Ends a frame; crc is of all before it. Returns that of all up to its end. */
static uint64_t frameSeal(const LsWriter *p, uint8_t *a, uint64_t crc){
  put64(a+24, p->pSegment->nSynced);
  crc = lsCrc(lsCrc(crc, a, 32), a+FRAME_HEADER, p->szPage);
  put64(a+32, ~crc);
  return crc;
}

/* Writes the holder's frames to the file; the last one with the commit's mark where iCommit is not 0. */
static int flush(LsWriter *p, uint32_t iCommit, char *zWhy){
  size_t szFrame = frameSize(p);
  uint32_t n = p->iNext-p->iFlushed, i;
  uint64_t crc;
  int rc = SQLITE_OK;
  if( n==0 ) return iCommit ? outOfMemory(zWhy) : SQLITE_OK;   /* a page was not taken, and its error passed over */
  if( p->pSegment==NULL ) rc = segmentNext(p, zWhy);
  if( rc ) return rc;
  crc = p->crcFlush;
  p->bLitter = 1;
  for(i=0; i<n; i++){
    uint8_t *a = p->aBuffer + (size_t)i*szFrame;
    int bLast = i+1==n && iCommit;
    put32(a+4, bLast ? iCommit : 0);
    put64(a+8, bLast ? p->msCommit : 0);
    put64(a+16, bLast ? p->iTxidCommit : 0);
    p->crcLast = crc;
    crc = frameSeal(p, a, crc);
  }
  rc = writeAll(p->pSegment->fd, p->aBuffer, n*szFrame, p->nFlushEnd);
  if( rc ) return failed(p, rc, "append to", zWhy);
  lsMutexLock(&p->mu);
  p->crcFlush = crc;
  p->nFlushEnd += n*szFrame;
  p->iFlushed = p->iNext;
  p->pSegment->iLast = p->iFlushed;
  p->pSegment->bSynced = 0;
  lsMutexUnlock(&p->mu);
  return SQLITE_OK;
}

/* ---------------------------------------------------------------------------------------------- transactions */

static int refused(const LsWriter *p, char *zWhy){
  if( p->bFault ){
    snprintf(zWhy, LS_ERROR_SIZE, "%s", p->zFault);
    return SQLITE_IOERR;
  }
  if( p->bOff ){
    snprintf(zWhy, LS_ERROR_SIZE, "ReplicaError: Cannot write: litestream_write_enabled is 0");
    return SQLITE_READONLY;
  }
  return SQLITE_OK;
}

/* Where the last TXID has ended and nothing is in the file behind it, the next one begins a new file. Caller holds the mutex. */
static void rotate(LsWriter *p){
  if( !p->bRotate || p->iCommitted!=p->iSealed || p->iFlushed!=p->iCommitted ) return;
  p->pSegment = NULL;
  p->bRotate = 0;
}

/* Bytes of the log that no view has. Caller holds the mutex. */
static uint64_t waiting(const LsWriter *p){ return (uint64_t)(p->iCommitted-p->pEpoch->iFrom)*frameSize(p); }

/* SQLITE_BUSY where too much waits. Caller holds the mutex. */
static int bounded(const LsWriter *p, char *zWhy){
  uint64_t nByte = waiting(p);
  if( nByte<=p->nByteMax ) return SQLITE_OK;
  snprintf(zWhy, LS_ERROR_SIZE, "BackpressureError: Cannot write: %llu bytes wait to be stored, expected at most %llu",
    (unsigned long long)nByte, (unsigned long long)p->nByteMax);
  return SQLITE_BUSY;
}

int lsWriterReserve(LsSeen *pSeen, const void *pHolder, char *zWhy){
  LsWriter *p = pSeen->pWriter;
  int rc;
  zWhy[0] = 0;
  lsMutexLock(&p->mu);
  rc = p->pHolder==pHolder ? SQLITE_OK : refused(p, zWhy);
  if( rc==SQLITE_OK && p->pHolder!=pHolder ){
    if( p->pHolder ) rc = SQLITE_BUSY;
    else if( pSeen->iTo!=p->iCommitted || isOutdated(p, pSeen) ) rc = SQLITE_BUSY_SNAPSHOT;
    else if( p->bUnsettled ) rc = SQLITE_BUSY;
    else rc = bounded(p, zWhy);
  }
  if( rc==SQLITE_OK && p->pHolder==NULL ){
    p->pHolder = pHolder;
    p->own = *pSeen;
    p->bFresh = 1;
    p->bRefused = 0;
    p->iNext = p->iFlushed = p->iCommitted;
    p->iLow = p->iCommit;
    p->iStampNext = 0;
    p->bSync = 0;
    p->nFlushEnd = p->nEnd;
    p->crcFlush = p->crcEnd;
    rotate(p);
  }
  lsMutexUnlock(&p->mu);
  return rc;
}

void lsWriterAsk(LsSeen *pSeen){ pSeen->pWriter->bFresh = 0; }

int lsWriterHeld(const LsSeen *pSeen){
  LsWriter *p = pSeen->pWriter;
  int b;
  lsMutexLock(&p->mu);
  b = p->pHolder!=NULL;
  lsMutexUnlock(&p->mu);
  return b;
}

/* Takes a number that SQLite counted up to, where no content has it: see ls_writer_stamp(). */
static int stampClaim(LsWriter *p, uint32_t iStamp){
  if( iStamp<=p->iStampClaimed || iStamp%LS_STAMP_STRIDE==0 || iStamp%LS_STAMP_STRIDE==LS_STAMP_STRIDE-1 ) return 0;
  p->iStampClaimed = iStamp;
  return 1;
}

/* Makes what page 1 tells of its content unlike that of any other content. */
static int stampHead(LsWriter *p, uint8_t *aPage){
  uint32_t iStamp = get32(aPage+24);
  int bOther = aPage[18]==2 || aPage[19]==2;    /* SQLite's cache must not keep what is not stored */
  if( bOther || (iStamp!=p->iStampNext && !stampClaim(p, iStamp)) ){
    int i = ls_writer_stamp();
    if( i<0 ) return SQLITE_FULL;
    iStamp = (uint32_t)i;
  }
  p->iStampNext = iStamp;
  put32(aPage+24, iStamp);
  put32(aPage+92, iStamp);
  aPage[18] = aPage[19] = 1;
  return SQLITE_OK;
}

static int outdated(char *zWhy){
  snprintf(zWhy, LS_ERROR_SIZE, "ReplicaError: Cannot write: another writer has stored a newer state since this transaction began");
  return SQLITE_BUSY_SNAPSHOT;
}

static int misuse(char *zWhy, const char *zFound){
  snprintf(zWhy, LS_ERROR_SIZE, "ReplicaError: Cannot write: %s", zFound);
  return SQLITE_IOERR_WRITE;
}

static void commitEnd(LsWriter *p);
static void forgotten(LsWriter *p, LsSeen *pSeen);

/* A commit that was prepared is none: it is rolled back. Caller holds the mutex. */
static void unprepare(LsWriter *p){
  if( !p->bPrepared ) return;
  p->bPrepared = 0;
  commitEnd(p);
}

/* Writes frames before their commit. The log's lock is not given up meanwhile. */
static int spill(LsWriter *p, char *zWhy){
  int rc;
  lsMutexLock(&p->mu);
  rc = p->bFault ? refused(p, zWhy) : SQLITE_OK;
  p->bSpilling = rc==SQLITE_OK;
  lsMutexUnlock(&p->mu);
  if( rc ) return rc;
  rc = flush(p, 0, zWhy);
  lsMutexLock(&p->mu);
  p->bSpilling = 0;
  lsMutexUnlock(&p->mu);
  return rc;
}

/*
** Whether the holder may go on writing. A connection with locking_mode=EXCLUSIVE does not ask for the reservation again: at
** the first page of each transaction it is asked what lsWriterReserve() asks the others. That was just asked (bFresh) in the
** transaction that reserved, if lsWriterAsk() does not say that it may be another.
*/
static int mayWrite(LsSeen *pSeen, char *zWhy){
  LsWriter *p = pSeen->pWriter;
  int rc = SQLITE_OK;
  lsMutexLock(&p->mu);
  unprepare(p);
  if( isOutdated(p, pSeen) ) rc = outdated(zWhy);
  else if( p->iNext==p->iCommitted && !p->bFresh ) rc = refused(p, zWhy);
  if( rc==SQLITE_OK && p->iNext==p->iCommitted && !p->bFresh ) rc = bounded(p, zWhy);
  p->bFresh = 0;
  if( rc ){
    forgotten(p, pSeen);
    p->bRefused = 1;                           /* SQLite writes back what there was: it is there */
    if( rc==SQLITE_BUSY ) rc = SQLITE_FULL;    /* after any other, SQLite goes on with pages that it could not undo */
    else if( (rc & 0xff)!=SQLITE_IOERR ) rc = SQLITE_IOERR_WRITE;
  }
  lsMutexUnlock(&p->mu);
  return rc;
}

/* SQLite has ended a rollback, or is about to commit. */
void lsWriterUndone(LsSeen *pSeen){
  LsWriter *p = pSeen->pWriter;
  lsMutexLock(&p->mu);
  p->bRefused = 0;
  unprepare(p);
  lsMutexUnlock(&p->mu);
}

/* The holder's transaction is over and was not committed; the next one is asked anew. */
void lsWriterForget(LsSeen *pSeen){
  LsWriter *p = pSeen->pWriter;
  lsMutexLock(&p->mu);
  p->bRefused = 0;
  p->bFresh = 0;
  unprepare(p);
  forgotten(p, pSeen);
  lsMutexUnlock(&p->mu);
}

int lsWriterWrite(LsSeen *pSeen, uint32_t iPgno, const uint8_t *aPage, int nByte, char *zWhy){
  LsWriter *p = pSeen->pWriter;
  uint8_t *a;
  size_t nNeed;
  int rc = p->bRefused ? SQLITE_OK : mayWrite(pSeen, zWhy);
  if( rc || p->bRefused ) return rc;
  if( p->own.iCommit==0 && p->iNext==p->iCommitted ){
    lsMutexLock(&p->mu);
    if( p->szPage!=(uint32_t)nByte ) p->pSegment = NULL;   /* its header has another size, and nothing is in it */
    p->szPage = (uint32_t)nByte;               /* of a new database */
    lsMutexUnlock(&p->mu);
  }
  if( p->szPage!=(uint32_t)nByte ) return misuse(zWhy, "a page of another size, expected one page size for life");
  if( iPgno==lsLockPage(p->szPage) ) return misuse(zWhy, "the page at 1 GiB is SQLite's own for locks");
  if( iPgno==1 ){
    uint32_t sz = (uint32_t)aPage[16]<<8 | aPage[17];
    if( (sz==1 ? 65536 : sz)!=p->szPage ) return misuse(zWhy, "the page size of a database with pages cannot change");
  }
  if( (size_t)(p->iNext-p->iFlushed)*frameSize(p)>=BUFFER_BYTES ){
    rc = spill(p, zWhy);
    if( rc ) return rc;
  }
  nNeed = (size_t)(p->iNext-p->iFlushed+1)*frameSize(p);
  if( nNeed>p->nBufferAlloc ){
    uint8_t *aNew = realloc(p->aBuffer, nNeed*2);
    if( aNew==NULL ) return outOfMemory(zWhy);
    p->aBuffer = aNew;
    p->nBufferAlloc = nNeed*2;
  }
  a = p->aBuffer + (nNeed-(size_t)nByte);
  put32(a-FRAME_HEADER, iPgno);
  memcpy(a, aPage, (size_t)nByte);
  if( iPgno==1 && stampHead(p, a) ) return misuse(zWhy, "no more states can be told apart in this process");
  lsMutexLock(&p->mu);
  rc = frameAdd(p, iPgno);
  lsMutexUnlock(&p->mu);
  if( rc==SQLITE_FULL ) return misuse(zWhy, "no more frames can be counted in this process");
  if( rc ) return outOfMemory(zWhy);
  pSeen->iTo = p->iNext;
  pSeen->szPage = p->szPage;
  if( iPgno>pSeen->iCommit ) pSeen->iCommit = iPgno;
  if( iPgno==1 ){
    pSeen->bHead = 1;
    memcpy(pSeen->aHead, a, LS_HEAD_SIZE);
  }
  return SQLITE_OK;
}

int lsWriterTruncate(LsSeen *pSeen, uint32_t iCommit, char *zWhy){
  LsWriter *p = pSeen->pWriter;
  if( p->bRefused ) return SQLITE_OK;
  if( iCommit==0 && p->own.iCommit>0 ) return misuse(zWhy, "a database without pages has no form in object storage");
  pSeen->iCommit = iCommit;
  if( iCommit<p->iLow ) p->iLow = iCommit;
  return SQLITE_OK;
}

void lsWriterSync(LsSeen *pSeen){ pSeen->pWriter->bSync = 1; }
int lsWriterHasHead(const LsSeen *pSeen){ return pSeen->pWriter->iStampNext!=0; }
int lsWriterChanged(const LsSeen *pSeen){
  const LsWriter *p = pSeen->pWriter;
  return p->iNext!=p->iCommitted || pSeen->iCommit!=p->own.iCommit;
}

/* SQLite leaves out free pages at the end of a file that grows; an LTX file has them all. */
static int fillHoles(LsSeen *pSeen, char *zWhy){
  LsWriter *p = pSeen->pWriter;
  uint32_t iPgno;
  uint8_t *aZero = NULL;
  int rc = SQLITE_OK;
  for(iPgno=p->iLow+1; rc==SQLITE_OK && iPgno<=pSeen->iCommit; iPgno++){
    uint32_t iFrame;
    if( iPgno==lsLockPage(p->szPage) ) continue;
    if( lsSeenHas(pSeen, iPgno, &iFrame) && iFrame>p->iCommitted ) continue;
    if( aZero==NULL && (aZero = calloc(1, p->szPage))==NULL ) return outOfMemory(zWhy);
    rc = lsWriterWrite(pSeen, iPgno, aZero, (int)p->szPage, zWhy);
  }
  free(aZero);
  return rc;
}

/* After a commit that failed: what of it is in the file must not be taken for one after a crash. */
static void undoCommit(LsWriter *p){
  uint64_t n;
  if( p->pSegment==NULL ) return;
  if( lsFileSize(p->pSegment->fd, &n)==0 && n<=p->nEnd ) return;
  if( lsFileCut(p->pSegment->fd, p->nEnd)==0 && syncFile(p->pSegment->fd)==SQLITE_OK ) return;
  lsMutexLock(&p->mu);
  fault(p, "WriteLogError: Cannot undo a commit that failed, expected a disk that can be written; open the replica anew");
  lsMutexUnlock(&p->mu);
}

/* See shim.h. Caller holds the mutex. */
static void stateWords(const LsWriter *p, uint64_t *aOut){
  aOut[0] = p->iTxid;
  aOut[1] = p->iCommitted-p->iSealed;
  aOut[2] = p->iCommitted-p->pEpoch->iFrom;
  aOut[3] = waiting(p);
  aOut[4] = p->pSegment ? p->pSegment->iSeq : p->iSeq;
  aOut[5] = p->iCommitted;
  aOut[6] = p->iStamp;
  aOut[7] = (uint64_t)((p->pHolder!=NULL) | (p->pSegment!=NULL)<<1 | p->bCommitting<<2);
  aOut[8] = p->nEnd;
}

/* Ends a TXID. Caller holds the mutex; nothing uses the file just now where bRotate. */
static void seal(LsWriter *p, int bRotate, uint64_t *aOut){
  stateWords(p, aOut);
  p->iSealed = p->iCommitted;
  p->iTxid++;
  p->bRotate = 1;
  if( bRotate ) rotate(p);
}

/* No commit is under way any more; the TXID that was to end with it does. Caller holds the mutex. */
static void commitEnd(LsWriter *p){
  p->bCommitting = 0;
  if( p->bSealAsked && p->iCommitted>p->iSealed ){
    seal(p, 1, p->aSeal);
    p->bSealed = 1;
  }
  p->bSealAsked = 0;
}

/* The holder's frames are everybody's. Caller holds the mutex. */
static void committed(LsWriter *p, LsSeen *pSeen){
  p->iCommitted = p->iNext;
  p->nEnd = p->nFlushEnd;
  p->crcEnd = p->crcFlush;
  p->iCommit = pSeen->iCommit;
  p->iTxidSeen = p->iTxidCommit;
  p->msTime = p->msCommit;
  if( p->iStampNext ) p->iStamp = p->iStampNext;
  p->bHead = pSeen->bHead;
  p->bLitter = 0;
  if( !p->bSync && p->pSegment ) p->pSegment->bLoose = 1;
  memcpy(p->aHead, pSeen->aHead, LS_HEAD_SIZE);
  p->iLow = p->iCommit;
  p->iStampNext = 0;
  p->bSync = 0;
  seenFill(p, pSeen);
  if( pSeen->iTo>pSeen->pEpoch->iMost ) pSeen->pEpoch->iMost = pSeen->iTo;
  p->own = *pSeen;
}

/* What the holder wrote is nobody's any more. Caller holds the mutex. */
static void forgotten(LsWriter *p, LsSeen *pSeen){
  framesUndo(p, p->iCommitted);
  p->iFlushed = p->iCommitted;
  if( p->pSegment ) p->pSegment->iLast = p->iCommitted;
  if( p->pSegment && p->pSegment->nSynced>p->nEnd ) p->pSegment->nSynced = p->nEnd;   /* what was prepared is gone */
  p->nFlushEnd = p->nEnd;
  p->crcFlush = p->crcEnd;
  p->iLow = p->own.iCommit;
  p->iStampNext = 0;
  p->bSync = 0;
  seenRestore(p, pSeen);
}

/* Whether the newest file is still the one that its name leads to, with all that was committed to it. */
static int segmentThere(LsWriter *p, char *zWhy){
  uint64_t n;
  if( p->pSegment==NULL ) return SQLITE_OK;
  if( lsFileSize(p->pSegment->fd, &n)==0 && n>=p->nEnd && lsFileNamed(p->pSegment->fd)==1 ) return SQLITE_OK;
  snprintf(zWhy, LS_ERROR_SIZE, "WriteLogError: Cannot append to write log \"%.600s.%u\": it was deleted or cut, expected "
    "nobody else to touch it; what it had is lost unless it was stored", p->zPath, p->pSegment->iSeq);
  lsMutexLock(&p->mu);
  fault(p, zWhy);
  lsMutexUnlock(&p->mu);
  return SQLITE_IOERR_WRITE;
}

/*
** Has the log on the disk. Where that fails, the system may forget what was not on the disk, and say so once: where there are
** earlier transactions among it, nothing may be written on top of them.
*/
static int appendSync(LsWriter *p, char *zWhy){
  const LsSegment *pSegment;
  int rc = logSync(p);
  if( rc==SQLITE_OK ) return rc;
  failed(p, rc, "sync", zWhy);
  if( rc!=SQLITE_IOERR_FSYNC ) return rc;
  lsMutexLock(&p->mu);
  for(pSegment=p->pOldest; pSegment && !pSegment->bLoose; pSegment=pSegment->pNext){}
  if( pSegment ) fault(p, zWhy);
  lsMutexUnlock(&p->mu);
  return rc;
}

/* Has the holder's frames in the file, with the commit's mark if iCommit is not 0, and on the disk where that was asked for. */
static int append(LsWriter *p, uint32_t iCommit, char *zWhy){
  int rc = segmentThere(p, zWhy);
  if( rc==SQLITE_OK ) rc = flush(p, iCommit, zWhy);
  return rc==SQLITE_OK && p->bSync ? appendSync(p, zWhy) : rc;
}

/* Gives the last frame of a commit that was prepared its mark; its page is in the buffer still. */
static int markLast(LsWriter *p, uint32_t iCommit, char *zWhy){
  size_t szFrame = frameSize(p);
  uint8_t *a = p->aBuffer + p->nLast;
  uint64_t crc;
  int rc;
  put32(a+4, iCommit);
  put64(a+8, p->msCommit);
  put64(a+16, p->iTxidCommit);
  crc = frameSeal(p, a, p->crcLast);
  rc = writeAll(p->pSegment->fd, a, szFrame, p->nFlushEnd-szFrame);
  if( rc ) return failed(p, rc, "append to", zWhy);
  lsMutexLock(&p->mu);
  p->crcFlush = crc;
  p->pSegment->bSynced = 0;
  lsMutexUnlock(&p->mu);
  return appendSync(p, zWhy);
}

/* A database that had no pages has none still. */
static int nothing(LsWriter *p, LsSeen *pSeen){
  lsMutexLock(&p->mu);
  forgotten(p, pSeen);
  lsMutexUnlock(&p->mu);
  return SQLITE_OK;
}

/* Begins a commit: from here on its TXID stays. */
static int commitBegin(LsSeen *pSeen, char *zWhy){
  LsWriter *p = pSeen->pWriter;
  int rc = fillHoles(pSeen, zWhy);
  if( rc==SQLITE_OK && p->iNext==p->iCommitted ) rc = misuse(zWhy, "a size changed and page 1 was not written");
  lsMutexLock(&p->mu);
  if( rc==SQLITE_OK && p->bFault ) rc = refused(p, zWhy);
  if( rc==SQLITE_OK && isOutdated(p, pSeen) ){
    (void)outdated(zWhy);
    rc = SQLITE_IOERR_WRITE;                   /* after any other, SQLite keeps pages that were rolled back */
  }
  if( rc==SQLITE_OK ){
    rotate(p);
    p->bCommitting = 1;
    p->iTxidCommit = p->iTxid;
    p->msCommit = lsNowMs();
  }
  lsMutexUnlock(&p->mu);
  return rc;
}

/*
** The first of two phases: all that may fail is done, and on the disk. SQLite asks for it where a transaction is one of several
** files, and then passes over errors of the second.
*/
int lsWriterPrepare(LsSeen *pSeen, char *zWhy){
  LsWriter *p = pSeen->pWriter;
  int rc;
  if( p->bRefused ) return misuse(zWhy, "a page of it was refused");
  if( p->bPrepared || !lsWriterChanged(pSeen) || pSeen->iCommit==0 ) return SQLITE_OK;
  rc = commitBegin(pSeen, zWhy);
  if( rc==SQLITE_OK && p->iNext==p->iFlushed ) rc = outOfMemory(zWhy);   /* as in flush(): no frame is left for the mark */
  if( rc ){
    lsMutexLock(&p->mu);
    commitEnd(p);
    lsMutexUnlock(&p->mu);
    return rc;
  }
  p->bSync = 1;
  p->nLast = (size_t)(p->iNext-p->iFlushed-1)*frameSize(p);
  rc = append(p, 0, zWhy);
  lsMutexLock(&p->mu);
  if( rc ) commitEnd(p);
  else p->bPrepared = 1;
  lsMutexUnlock(&p->mu);
  return rc;
}

/* The second phase; what fails here fails one of several files alone, so nothing more is written to this one. */
static int finishPrepared(LsWriter *p, uint32_t iCommit, char *zWhy){
  int rc = markLast(p, iCommit, zWhy);
  p->bPrepared = 0;
  if( rc==SQLITE_OK ) return rc;
  lsMutexLock(&p->mu);
  fault(p, zWhy);
  lsMutexUnlock(&p->mu);
  return rc;
}

int lsWriterCommit(LsSeen *pSeen, char *zWhy){
  LsWriter *p = pSeen->pWriter;
  int rc = SQLITE_OK, bNudge;
  if( p->bRefused ) return misuse(zWhy, "a page of it was refused");
  if( !lsWriterChanged(pSeen) ){
    lsWriterAsk(pSeen);
    return SQLITE_OK;
  }
  if( pSeen->iCommit==0 ) return nothing(p, pSeen);
  if( p->bPrepared ){
    rc = finishPrepared(p, pSeen->iCommit, zWhy);
    if( rc ) undoCommit(p);
  }else{
    rc = commitBegin(pSeen, zWhy);
    if( rc==SQLITE_OK && (rc = append(p, pSeen->iCommit, zWhy))!=SQLITE_OK ) undoCommit(p);
  }
  lsMutexLock(&p->mu);
  if( rc==SQLITE_OK ) committed(p, pSeen);
  else forgotten(p, pSeen);
  commitEnd(p);
  bNudge = !p->bNudged && waiting(p)>p->nByteMax/NUDGE_SHARE;
  if( bNudge ) p->bNudged = 1;
  lsMutexUnlock(&p->mu);
  if( bNudge ) ls_replica_nudge(p->pReplica->iId);
  return rc;
}

void lsWriterRelease(LsSeen *pSeen, const void *pHolder){
  LsWriter *p = pSeen->pWriter;
  if( p==NULL ) return;
  lsMutexLock(&p->mu);
  if( p->pHolder==pHolder && p->pSegment && p->bLitter && p->fdLock!=LS_NO_FILE ){
    p->bLitter = lsFileCut(p->pSegment->fd, p->nEnd)!=0;                /* what stays is written over */
  }
  if( p->pHolder==pHolder ){
    unprepare(p);
    forgotten(p, pSeen);
    p->pHolder = NULL;
  }
  lsMutexUnlock(&p->mu);
}

/* ---------------------------------------------------------------------------------------------- the core's side */

static void writerFree(LsWriter *p){
  while( p->pOldest ){
    LsSegment *pOld = p->pOldest;
    p->pOldest = pOld->pNext;
    lsFileClose(pOld->fd);
    free(pOld);
  }
  while( p->pEpochOldest ){
    LsEpoch *pOld = p->pEpochOldest;
    p->pEpochOldest = pOld->pNext;
    free(pOld);
  }
  if( p->fdLock!=LS_NO_FILE ) lsFileClose(p->fdLock);
  lsMutexDestroy(&p->mu);
  free(p->zPath);
  free(p->aPgno);
  free(p->aPrev);
  free(p->aSlotPgno);
  free(p->aSlotFrame);
  free(p->aBuffer);
  free(p);
}

void lsWriterFree(LsReplica *p){
  LsWriter *pWriter = lsWriterOf(p);
  if( pWriter ) writerFree(pWriter);
}

/*
** Takes the lock that keeps two writers from one log: LS_BUSY when another has it. A file that is another user's is no lock,
** for neither is the log beside it then.
*/
static int lockTake(LsWriter *p){
  char *z = malloc(strlen(p->zPath)+8);
  int rc;
  if( z==NULL ) return LS_NOMEM;
  snprintf(z, strlen(p->zPath)+8, "%s.lock", p->zPath);
  rc = lsFileOpen(z, LS_FILE_PLAIN, &p->fdLock);
  free(z);
  if( rc==0 ) rc = lsFileLock(p->fdLock);
  if( rc==0 ) return 0;
  lsFaultSet("%s", lsSystemText());
  return rc==LS_IO_BUSY ? LS_BUSY : LS_REFUSED;
}

/*
** Opens a replica for writing: files zPath.1, zPath.2 … hold the log, zPath.lock is locked. aBase (24 bytes) goes into each.
** The newest view is what is written on top of; a replica without any begins with page size and TXID as given. LS_BUSY:
** another writer has the log; LS_REFUSED: ls_fault() has the system's words.
*/
int ls_writer_open(int iReplica, const char *zPath, uint64_t iTxid, const uint8_t *aBase, uint64_t nByteMax){
  LsReplica *pReplica = lsReplicaUse(iReplica);
  LsWriter *p;
  LsView *pView;
  int rc;
  if( pReplica==NULL ) return LS_MISUSE;
  p = lsWriterOf(pReplica) ? NULL : calloc(1, sizeof(*p));
  if( p==NULL ){
    rc = lsWriterOf(pReplica) ? LS_MISUSE : LS_NOMEM;
    lsReplicaDone(pReplica);
    return rc;
  }
  lsMutexInit(&p->mu);
  p->fdLock = LS_NO_FILE;
  p->pReplica = pReplica;
  p->zPath = strdup(zPath);
  p->pEpoch = p->pEpochOldest = calloc(1, sizeof(*p->pEpoch));
  memcpy(p->aBase, aBase, BASE_SIZE);
  p->nByteMax = nByteMax;
  p->iTxid = iTxid;
  rc = p->zPath && p->pEpoch ? lockTake(p) : LS_NOMEM;
  if( rc ){
    writerFree(p);
    lsReplicaDone(pReplica);
    return rc;
  }
  pView = lsReplicaSeen(pReplica);
  if( pView ){
    p->iCommit = pView->iCommit;
    p->szPage = pView->szPage;
    p->iStamp = p->iStampClaimed = pView->iStamp;
    p->iTxidSeen = pView->iTxid;
    p->msTime = pView->msTime;
    lsViewUnref(pView);
  }
  atomic_store_explicit(&pReplica->pWriter, p, memory_order_release);
  lsReplicaDone(pReplica);
  return 0;
}

/* The writer of a replica, which is in use until lsReplicaDone(); NULL when there is none. */
static LsWriter *writerUse(int iReplica, LsReplica **ppReplica){
  LsWriter *p;
  *ppReplica = lsReplicaUse(iReplica);
  if( *ppReplica==NULL ) return NULL;
  p = lsWriterOf(*ppReplica);
  if( p==NULL ) lsReplicaDone(*ppReplica);
  return p;
}

/* Tells of the newest committed state and of what is not stored yet: LS_WRITER_WORDS words; see shim.h. */
int ls_writer_state(int iReplica, uint64_t *aOut){
  LsReplica *pReplica;
  LsWriter *p = writerUse(iReplica, &pReplica);
  if( p==NULL ) return LS_MISUSE;
  lsMutexLock(&p->mu);
  stateWords(p, aOut);
  lsMutexUnlock(&p->mu);
  lsReplicaDone(pReplica);
  return 0;
}

/*
** Ends a TXID: what was committed since the last one ended is to be stored, and what is committed from here on has the next.
** Tells ls_writer_state()'s words as they were. Returns 1; 0 where nothing was committed; LS_BUSY where a commit is under
** way, with which it ends: ask again.
*/
int ls_writer_seal(int iReplica, uint64_t *aOut){
  LsReplica *pReplica;
  LsWriter *p = writerUse(iReplica, &pReplica);
  int rc = 0;
  if( p==NULL ) return LS_MISUSE;
  lsMutexLock(&p->mu);
  if( p->bSealed ){
    memcpy(aOut, p->aSeal, sizeof(p->aSeal));
    p->bSealed = 0;
    rc = 1;
  }else if( p->iCommitted==p->iSealed ){
    rc = 0;
  }else if( p->bCommitting ){
    p->bSealAsked = 1;
    rc = LS_BUSY;
  }else{
    seal(p, p->pHolder==NULL, aOut);
    rc = 1;
  }
  lsMutexUnlock(&p->mu);
  lsReplicaDone(pReplica);
  return rc;
}

/*
** Publishes a view. It has what the log had up to frame iUpTo, which was sealed; or, by LS_WRITER_FOREIGN, it is a state
** that others made, and nothing may wait to be stored: LS_BUSY where something does.
*/
int ls_writer_base(int iReplica, int iView, uint32_t iUpTo, uint64_t iTxid){
  LsReplica *pReplica;
  LsWriter *p = writerUse(iReplica, &pReplica);
  LsView *pView = lsViewById((uint32_t)iView);
  LsEpoch *pNew = calloc(1, sizeof(*pNew));
  int bForeign = iUpTo==LS_WRITER_FOREIGN;
  int rc = 0;
  if( p==NULL || pView==NULL || pNew==NULL ){
    rc = pNew ? LS_MISUSE : LS_NOMEM;
  }else{
    lsMutexLock(&p->mu);
    if( bForeign ) rc = p->iCommitted>p->pEpoch->iFrom || p->bCommitting || (p->pHolder && pView->szPage!=p->szPage) ? LS_BUSY : 0;
    else if( iUpTo>p->iSealed || iUpTo<p->pEpoch->iFrom ) rc = LS_MISUSE;
    if( rc==0 ) rc = ls_view_publish(iView);
    if( rc==0 ){
      pNew->iFrom = bForeign ? p->iCommitted : iUpTo;
      if( bForeign ) p->iGeneration++;
      if( bForeign ) p->iTxid = iTxid;
      if( bForeign ) p->iSealed = p->iCommitted;
      if( bForeign ) p->bUnsettled = 1;
      pNew->iGeneration = p->iGeneration;
      p->bNudged = 0;
      p->pEpoch->pNext = pNew;
      p->pEpoch = pNew;
      if( pNew->iFrom==p->iCommitted && (p->pHolder==NULL || bForeign) ){
        if( p->szPage!=pView->szPage ) p->pSegment = NULL;
        p->iCommit = pView->iCommit;
        p->szPage = pView->szPage;
        p->iStamp = pView->iStamp;
        p->iTxidSeen = pView->iTxid;
        p->msTime = pView->msTime;
        p->bHead = 0;
      }
      pNew = NULL;
      prune(p);
    }
    lsMutexUnlock(&p->mu);
  }
  free(pNew);
  if( pView ) lsViewUnref(pView);
  if( p ) lsReplicaDone(pReplica);
  return rc;
}

/* The core has written down what state with next TXID iTxid others made: it may be written on top of. */
int ls_writer_settle(int iReplica, uint64_t iTxid){
  LsReplica *pReplica;
  LsWriter *p = writerUse(iReplica, &pReplica);
  if( p==NULL ) return LS_MISUSE;
  lsMutexLock(&p->mu);
  if( p->iTxid==iTxid ) p->bUnsettled = 0;
  lsMutexUnlock(&p->mu);
  lsReplicaDone(pReplica);
  return 0;
}

/* Nothing more is written, for the reason given; the first one stays. */
int ls_writer_fault(int iReplica, const char *zWhy){
  LsReplica *pReplica;
  LsWriter *p = writerUse(iReplica, &pReplica);
  if( p==NULL ) return LS_MISUSE;
  lsMutexLock(&p->mu);
  fault(p, zWhy);
  lsMutexUnlock(&p->mu);
  lsReplicaDone(pReplica);
  return 0;
}

/* Switches writing on or off; returns whether a transaction is under way, which goes on. */
int ls_writer_switch(int iReplica, int bOn){
  LsReplica *pReplica;
  LsWriter *p = writerUse(iReplica, &pReplica);
  int b;
  if( p==NULL ) return LS_MISUSE;
  lsMutexLock(&p->mu);
  p->bOff = !bOn;
  b = p->pHolder!=NULL;
  lsMutexUnlock(&p->mu);
  lsReplicaDone(pReplica);
  return b;
}

/* Nothing more is written, and the log's lock is given up; LS_BUSY where it is just written to: ask again. */
int ls_writer_close(int iReplica){
  LsReplica *pReplica;
  LsWriter *p = writerUse(iReplica, &pReplica);
  int bBusy;
  if( p==NULL ) return LS_MISUSE;
  lsMutexLock(&p->mu);
  fault(p, "ReplicaClosedError: Cannot write: the replica was closed");
  bBusy = p->bCommitting || p->bSpilling;
  if( !bBusy && p->fdLock!=LS_NO_FILE ){
    lsFileClose(p->fdLock);
    p->fdLock = LS_NO_FILE;
  }
  lsMutexUnlock(&p->mu);
  lsReplicaDone(pReplica);
  return bBusy ? LS_BUSY : 0;
}
