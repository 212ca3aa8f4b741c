/*
** What shim.c and pages.c share: views, page maps, objects and the buffer pool. Nothing here is exported.
*/
#ifndef LITESTREAM_PAGES_H
#define LITESTREAM_PAGES_H

#include <stdatomic.h>
#include "platform.h"
#include "shim.h"

#define LS_CHUNK_BITS  10
#define LS_CHUNK_SIZE  (1u<<LS_CHUNK_BITS)   /* pages a chunk of a page map covers */
#define LS_HEAD_SIZE   100                   /* SQLite's database header */
#define LS_VIEW_WORDS  6                     /* what ls_replica_view() and ls_view_info() tell */
#define LS_PIN_WORDS   4                     /* what ls_replica_pins() tells of a view */

/* Counted by the views and maps that hold it. An entry is a frame id, 0 where the map has no page. */
typedef struct LsChunk {
  atomic_int nRef;
  uint32_t aFrame[LS_CHUNK_SIZE];
} LsChunk;

typedef struct LsLocal LsLocal;                /* local.c */

/*
** The frames of one LTX file. Immutable once ls_object_index() has answered 0, but for aRun.
** Frame k has the id iFirst+k; its bytes start at aBase[k/64]+aOffset[k] and end where frame k+1 starts.
** Or, with pLocal, a span of a local file: frame k is page iPage0+k as it stands there, and nothing of it is in the pool.
*/
typedef struct LsObject {
  atomic_int nRef;           /* the core's one, and one a view or map that names it */
  atomic_int bCore;          /* the core has not given up its one */
  uint32_t iId;
  int iReplica;
  uint32_t szPage;
  uint32_t iCommit;
  int bSnapshot;
  uint64_t szFile;
  uint32_t nFrame;
  uint32_t nAlloc;           /* frames allocated; shrunk to nFrame when complete */
  uint32_t iFirst;           /* multiple of 64 */
  uint32_t *aPgno;           /* NULL when dense: frame k is page k+1, or k+2 from the lock page on */
  uint32_t *aOffset;
  uint64_t *aBase;
  _Atomic uint32_t *aRun;    /* run that holds the decoded page, 0 for none */
  uint32_t nRunHeld;         /* runs that aRun names (core) */
  uint64_t iEnd;             /* where the next frame must start, while the index is read */
  int nIndexDone;            /* bytes of the index consumed so far */
  int bComplete;
  LsLocal *pLocal;           /* counted; NULL for an LTX file */
  uint32_t iPage0;
  uint32_t nHeld;            /* its frames that local files hold; with any, they have one reference (core) */
} LsObject;

/* Decoded pages of frames iFrame … iFrame+nFrame-1 of one object. The struct is never freed, only reused. */
typedef struct LsRun {
  atomic_int nPin;           /* readers copying from it right now */
  atomic_int bTouched;       /* a reader took a page since the core asked last */
  uint32_t iId;
  uint32_t iObject;
  uint32_t iFrame;
  uint32_t nFrame;
  uint32_t szPage;
  uint8_t *aData;
  atomic_uchar *aFlag;       /* LS_FLAG_ of each page; in the allocation of aData */
  struct LsRun *pNextFree;
} LsRun;

/* One immutable state of the database. */
typedef struct LsView {
  atomic_int nRef;
  atomic_int nCore;          /* references of these that the core has */
  atomic_int nPin;           /* transactions that see it right now */
  atomic_int bPublished;     /* it was a replica's newest */
  uint32_t iId;
  int iReplica;
  uint64_t iTxid;
  uint64_t msTime;
  uint32_t iCommit;
  uint32_t szPage;
  uint32_t iStamp;
  uint32_t iLineage;         /* of its replica when it was made; in another one equal schema versions mean nothing */
  uint32_t nChunk;
  LsChunk **apChunk;
  uint32_t nObject;
  LsObject **apObject;
  uint32_t *aLive;           /* pages that this view has in apObject[i] */
  struct LsView *pRelocated; /* same content elsewhere, counted; guarded by pages.c's lock */
  atomic_int eHead;          /* 0 unknown, 1 being written, 2 aHead is page 1's head, stamped */
  uint8_t aHead[LS_HEAD_SIZE];
} LsView;

uint32_t lsLockPage(uint32_t szPage);
LsView *lsViewRef(LsView *p);
void lsViewUnref(LsView *p);
LsView *lsViewPin(LsView *p);              /* counts a transaction of whoever has a reference */
void lsViewUnpin(LsView *p);               /* gives both up */
LsView *lsViewById(uint32_t iId);          /* adds a reference; NULL when there is none */
LsView *lsViewMoved(LsView *p);            /* the place its content lies now, with a reference; NULL: here */
void lsHeadStamp(const LsView *p, uint8_t *aOut, int iFrom, int n);
void lsHeadKeep(LsView *p, const uint8_t *aPage);
int lsHeadKnown(LsView *p);                /* whether aHead can be copied */
#define LS_STAMP_STRIDE 8                  /* see ls_writer_stamp() */
uint32_t lsViewFrame(const LsView *p, uint32_t iPgno);
void lsViewWords(const LsView *p, uint64_t *aOut);
LsObject *lsFrameObject(uint32_t iFrame);
LsRun *lsPin(LsObject *pObject, uint32_t k);
void lsUnpin(LsRun *p);
int lsRunTake(LsRun *p, uint32_t k);       /* the flags of a page until now; from here on it is used, and not marked */
uint32_t lsFrameSize(const LsObject *p, uint32_t k);
static inline const uint8_t *lsRunPage(const LsRun *p, uint32_t k){
  return p->aData + (size_t)(k - p->iFrame) * p->szPage;
}
uint32_t lsObjectPgno(const LsObject *p, uint32_t k);
uint64_t lsObjectOffset(const LsObject *p, uint32_t k);
LsObject *lsObjectById(int iObject);       /* (core) */
LsObject *lsSpanNew(LsLocal *pLocal, int iReplica, uint32_t szPage, uint32_t iPage0, uint32_t nPage);
void lsObjectUnref(LsObject *p);
void lsCoreLeaves(int iReplica);           /* gives up all references of a core that has ended to objects and views */
void lsThreadLeaves(void);                 /* the same of the maps that the calling thread builds, which ends */
int lsViewsOf(int iReplica, LsView ***pap);/* all live views of a replica, each with a reference; -1: no memory */
LsView *lsViewFollow(int iView);           /* a view, or where its content lies now, with a reference; NULL: none */
uint32_t lsMapFrame(int iMap, uint32_t iPgno);
int lsMapIs(int iMap);                     /* whether there is such a map */
int lsMapSet(int iMap, uint32_t iPgno, LsObject *pObject, uint32_t k);
void lsFaultSet(const char *zFormat, ...) __attribute__((format(printf,1,2)));
void lsPagesCensus(uint32_t *aOut);

void lsLocalsLeave(int iReplica);          /* local.c: gives up the files of a replica whose core has ended */

/* local.c: bytes of a page as they stand in the file; 0, or LS_GONE when they cannot be had. */
int lsLocalRead(const LsObject *p, uint32_t k, int iFrom, int n, uint8_t *aOut);
void lsLocalUnref(LsLocal *p);
LsLocal *lsLocalRef(LsLocal *p);

/* warm.c: pages of a local file that are read often. */
typedef struct LsWarm LsWarm;
LsWarm *lsWarmNew(uint32_t szPage, uint32_t nPage);
void lsWarmFree(LsWarm *p);
int lsWarmRead(LsWarm *p, uint32_t iPgno, int iFrom, int n, uint8_t *aOut);
void lsWarmKeep(LsWarm *p, uint32_t iPgno, const uint8_t *aPage);
void lsWarmDrop(LsWarm *p, uint32_t iPgno, uint32_t n);

/* frames.c */
uint64_t lsCrc(uint64_t c, const uint8_t *a, size_t n);   /* CRC-64/ISO: start with ~0, invert the end */
int lsFrameDecode(const uint8_t *aByte, uint32_t nByte, uint32_t iPgno, uint32_t szPage, uint8_t *aOut);

/* shim.c: the newest view of a replica, with a reference, or NULL. */
LsView *lsReplicaNewest(int iReplica);

#endif
