/*
** Views, page maps, objects and the buffer pool.
**
** PURPOSE   A view is one state of the database: for each page the frame that holds it. Frames are named by 32-bit
**           ids, so a page map costs four bytes a page and shares its chunks with the views before it. An object
**           keeps, for each frame of one LTX file, where its bytes lie and which run of the buffer pool has it.
** THREADS   Readers pin views and runs; the core builds, publishes and evicts. One mutex, ioLock, guards the
**           tables of handles; no reader takes it on a hit. Objects of one replica are changed by one core only.
** MEMORY    Views, chunks and objects are counted. A run's pages are freed by the core and only when no reader has
**           it pinned: the core first unlinks the run from its frames, then looks at the pins; a reader first pins,
**           then looks whether the frame still names the run. Both use sequentially consistent atomics, so one of
**           the two always sees the other.
** ERRORS    LS_ codes; lsFaultSet() keeps the words, one a thread.
** LEFT OUT  Which pages to keep or to load: that is the core's.
*/
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "pages.h"

#define DIR_BITS    14
#define DIR_SIZE    (1u<<DIR_BITS)            /* groups of 64 frames a directory block covers */
#define DIR_MAX     (1u<<(32-6-DIR_BITS))
#define RUN_BITS    10
#define RUN_BLOCK   (1u<<RUN_BITS)
#define RUN_MAX     4096
#define MAP_BLOCK   256
#define MAP_BLOCKS  256
#define PLACE_MIN   64

/* A page map under construction. Touched by its core only. A chunk without a page may be NULL, in views none is. */
typedef struct LsMap {
  int bUsed;
  LsThread thread;            /* that builds it */
  uint32_t szPage;
  uint32_t nChunk;
  LsChunk **apChunk;
  uint32_t nMapped;           /* entries that are not 0 */
  uint32_t nObject;
  uint32_t nObjectAlloc;
  LsObject **apObject;
  uint32_t *aLive;
  uint32_t *aPlace;           /* hashed by the object's id: its index in apObject, and 1; 0 for none */
  uint32_t nPlace;            /* a power of 2, at least twice nObject */
} LsMap;

typedef struct FrameRange { uint32_t iFirst; uint32_t nGroup; } FrameRange;
typedef _Atomic(LsObject*) ObjectSlot;

static LsMutex ioLock = LS_MUTEX_INIT;

/* Guarded by ioLock. */
static LsView **apView;
static uint32_t nViewAlloc, nViewLive, iViewFree = 1;
static LsObject **apObject;
static uint32_t nObjectAlloc, nObjectLive, iObjectFree = 1;
static FrameRange *aFree;
static uint32_t nFree, nFreeAlloc;
static uint32_t iGroupNext = 1;               /* group 0 stays unused: frame id 0 is "none" */
static LsRun *pRunFree;
static uint32_t nRun;
static uint32_t nRunLive;

/* Written under ioLock, read without. */
static _Atomic(ObjectSlot*) apDirectory[DIR_MAX];
static _Atomic(LsRun*) apRunBlock[RUN_MAX];
static _Atomic(LsMap*) apMapBlock[MAP_BLOCKS];
static _Atomic uint64_t nPoolByte;
static _Atomic uint32_t nChunkLive;

void lsFaultSet(const char *zFormat, ...){
  va_list ap;
  va_start(ap, zFormat);
  vsnprintf(lsOwn()->zFault, LS_FAULT_SIZE, zFormat, ap);
  va_end(ap);
}

int ls_fault(uint8_t *aOut, int nOut){
  const char *zFault = lsOwn()->zFault;
  int n = (int)strlen(zFault);
  if( n>nOut ) n = nOut;
  if( n>0 ) memcpy(aOut, zFault, (size_t)n);
  return n;
}

uint32_t lsLockPage(uint32_t szPage){ return 0x40000000u/szPage + 1; }

/* --------------------------------------------------------------------------------------------- frame ids */

LsObject *lsFrameObject(uint32_t iFrame){
  uint32_t iGroup = iFrame>>6;
  ObjectSlot *aBlock = atomic_load_explicit(&apDirectory[iGroup>>DIR_BITS], memory_order_acquire);
  return atomic_load_explicit(&aBlock[iGroup & (DIR_SIZE-1)], memory_order_acquire);
}

/* Names the object of a range of groups. Caller holds ioLock. */
static int directorySet(uint32_t iGroup, uint32_t nGroup, LsObject *p){
  uint32_t i;
  for(i=iGroup; i<iGroup+nGroup; i++){
    ObjectSlot *aBlock = atomic_load_explicit(&apDirectory[i>>DIR_BITS], memory_order_relaxed);
    if( aBlock==NULL ){
      aBlock = calloc(DIR_SIZE, sizeof(ObjectSlot));
      if( aBlock==NULL ) return LS_NOMEM;
      atomic_store_explicit(&apDirectory[i>>DIR_BITS], aBlock, memory_order_release);
    }
    atomic_store_explicit(&aBlock[i & (DIR_SIZE-1)], p, memory_order_release);
  }
  return 0;
}

/* Takes nGroup groups of 64 frame ids: the first range that is large enough, or new ones. Caller holds ioLock. */
static int framesTake(uint32_t nGroup, uint32_t *piGroup){
  uint32_t i;
  for(i=0; i<nFree; i++){
    if( aFree[i].nGroup<nGroup ) continue;
    *piGroup = aFree[i].iFirst;
    aFree[i].iFirst += nGroup;
    aFree[i].nGroup -= nGroup;
    if( aFree[i].nGroup==0 ){
      memmove(&aFree[i], &aFree[i+1], (nFree-i-1)*sizeof(*aFree));
      nFree--;
    }
    return 0;
  }
  if( nGroup > (UINT32_MAX>>6) - iGroupNext ) return LS_LIMIT;
  *piGroup = iGroupNext;
  iGroupNext += nGroup;
  return 0;
}

/* Gives a range back, joined with its neighbours. Losing it for want of memory only costs ids. Caller holds ioLock. */
static void framesGive(uint32_t iGroup, uint32_t nGroup){
  uint32_t i = 0;
  while( i<nFree && aFree[i].iFirst<iGroup ) i++;
  if( i>0 && aFree[i-1].iFirst+aFree[i-1].nGroup==iGroup ){
    aFree[i-1].nGroup += nGroup;
    if( i<nFree && aFree[i-1].iFirst+aFree[i-1].nGroup==aFree[i].iFirst ){
      aFree[i-1].nGroup += aFree[i].nGroup;
      memmove(&aFree[i], &aFree[i+1], (nFree-i-1)*sizeof(*aFree));
      nFree--;
    }
    return;
  }
  if( i<nFree && iGroup+nGroup==aFree[i].iFirst ){
    aFree[i].iFirst = iGroup;
    aFree[i].nGroup += nGroup;
    return;
  }
  if( nFree==nFreeAlloc ){
    FrameRange *aNew = realloc(aFree, (nFreeAlloc*2+16)*sizeof(*aFree));
    if( aNew==NULL ) return;
    aFree = aNew;
    nFreeAlloc = nFreeAlloc*2+16;
  }
  memmove(&aFree[i+1], &aFree[i], (nFree-i)*sizeof(*aFree));
  aFree[i].iFirst = iGroup;
  aFree[i].nGroup = nGroup;
  nFree++;
}

/* ----------------------------------------------------------------------------------------------- objects */

LsObject *lsObjectById(int iObject){
  LsObject *p = NULL;
  lsMutexLock(&ioLock);
  if( iObject>0 && (uint32_t)iObject<nObjectAlloc ) p = apObject[iObject];
  lsMutexUnlock(&ioLock);
  return p;
}

/* Whether a frame's page can be had without a request. */
static int frameHere(const LsObject *p, uint32_t k){
  return p->pLocal!=NULL || atomic_load_explicit(&p->aRun[k], memory_order_relaxed)!=0;
}

/*
** Finds or makes a free place in a table of pointers; place 0 stays unused, and all below *piFree are taken. Caller holds
** ioLock.
*/
static int tablePlace(void ***papTable, uint32_t *pnAlloc, uint32_t *piFree, uint32_t *piPlace){
  uint32_t i;
  for(i=*piFree; i<*pnAlloc; i++) if( (*papTable)[i]==NULL ) break;
  if( i>=*pnAlloc ){
    uint32_t nNew = *pnAlloc*2 + 64;
    void **apNew = realloc(*papTable, nNew*sizeof(void*));
    if( apNew==NULL ) return LS_NOMEM;
    memset(apNew+*pnAlloc, 0, (nNew-*pnAlloc)*sizeof(void*));
    *papTable = apNew;
    i = *pnAlloc ? *pnAlloc : 1;
    *pnAlloc = nNew;
  }
  *piPlace = i;
  *piFree = i+1;
  return 0;
}

/* Gives a place back. Caller holds ioLock. */
static void tableGive(void **apTable, uint32_t *piFree, uint32_t iPlace){
  apTable[iPlace] = NULL;
  if( iPlace<*piFree ) *piFree = iPlace;
}

int ls_object_new(int iReplica, int szPage, uint32_t iCommit, int bSnapshot, uint64_t szFile){
  LsObject *p;
  uint32_t iPlace;
  int rc;
  if( szPage<512 || szPage>65536 || (szPage & (szPage-1))!=0 ) return LS_MISUSE;
  p = calloc(1, sizeof(*p));
  if( p==NULL ) return LS_NOMEM;
  p->iReplica = iReplica;
  p->szPage = (uint32_t)szPage;
  p->iCommit = iCommit;
  p->bSnapshot = bSnapshot;
  p->szFile = szFile;
  p->iEnd = 100;
  atomic_init(&p->nRef, 1);
  atomic_init(&p->bCore, 1);
  lsMutexLock(&ioLock);
  rc = tablePlace((void***)&apObject, &nObjectAlloc, &iObjectFree, &iPlace);
  if( rc==0 ){
    p->iId = iPlace;
    apObject[iPlace] = p;
    nObjectLive++;
  }
  lsMutexUnlock(&ioLock);
  if( rc!=0 ){
    free(p);
    return rc;
  }
  return (int)iPlace;
}

uint32_t lsObjectPgno(const LsObject *p, uint32_t k){
  if( p->pLocal ) return p->iPage0+k;
  if( p->aPgno ) return p->aPgno[k];
  return k+1 < lsLockPage(p->szPage) ? k+1 : k+2;
}

uint64_t lsObjectOffset(const LsObject *p, uint32_t k){
  if( p->pLocal ) return (uint64_t)(p->iPage0+k-1)*p->szPage;
  return k>=p->nFrame ? p->iEnd : p->aBase[k>>6] + p->aOffset[k];
}

/* Reads one varint of the index; LS_FORMAT when it runs past the end or past 2^53. */
static int indexVarint(const uint8_t *a, int n, int *pi, uint64_t *pOut){
  uint64_t v = 0;
  int i = *pi;
  int nShift = 0;
  for(;;){
    uint8_t b;
    if( i>=n ){
      lsFaultSet("varint at byte %d of the page index runs past its end", *pi);
      return LS_FORMAT;
    }
    b = a[i++];
    if( nShift>49 || (nShift==49 && (b & 0x7f)>0x0f) ){
      lsFaultSet("varint at byte %d of the page index is past 2^53", *pi);
      return LS_FORMAT;
    }
    v |= (uint64_t)(b & 0x7f) << nShift;
    if( b<0x80 ) break;
    nShift += 7;
  }
  *pi = i;
  *pOut = v;
  return 0;
}

/* Room for the frames that an index of nIndex bytes can name at most. */
static int indexAllocate(LsObject *p, int nIndex){
  uint32_t n = (uint32_t)(nIndex/3);
  if( n>p->iCommit ) n = p->iCommit;
  p->nAlloc = n;
  p->aOffset = malloc(((size_t)n+1)*sizeof(uint32_t));
  p->aBase = malloc(((size_t)n/64+1)*sizeof(uint64_t));
  if( !p->bSnapshot ) p->aPgno = malloc(((size_t)n+1)*sizeof(uint32_t));
  return p->aOffset && p->aBase && (p->bSnapshot || p->aPgno) ? 0 : LS_NOMEM;
}

/* Checks one entry and keeps it. */
static int indexEntry(LsObject *p, uint64_t iPgno, uint64_t iOffset, uint64_t nByte){
  uint32_t k = p->nFrame;
  uint32_t iPrevious = k ? lsObjectPgno(p, k-1) : 0;
  if( iPgno>p->iCommit || iPgno<=iPrevious || iPgno==lsLockPage(p->szPage) || k>=p->nAlloc ){
    lsFaultSet("page index names page %llu after page %u, expected a larger one up to %u and not page %u",
      (unsigned long long)iPgno, iPrevious, p->iCommit, lsLockPage(p->szPage));
    return LS_FORMAT;
  }
  if( iOffset!=p->iEnd ){
    lsFaultSet("page index puts page %llu at offset %llu, expected %llu where the frame before it ends",
      (unsigned long long)iPgno, (unsigned long long)iOffset, (unsigned long long)p->iEnd);
    return LS_FORMAT;
  }
  if( nByte<8 || nByte>2*(uint64_t)p->szPage+1024 ){
    lsFaultSet("page index gives page %llu %llu bytes, expected 8 to %llu",
      (unsigned long long)iPgno, (unsigned long long)nByte, 2*(unsigned long long)p->szPage+1024);
    return LS_FORMAT;
  }
  if( (k & 63)==0 ) p->aBase[k>>6] = iOffset;
  p->aOffset[k] = (uint32_t)(iOffset - p->aBase[k>>6]);
  if( p->aPgno ){
    p->aPgno[k] = (uint32_t)iPgno;
  }else if( lsObjectPgno(p, k)!=iPgno ){
    lsFaultSet("page index of a snapshot names page %llu, expected %u", (unsigned long long)iPgno, lsObjectPgno(p, k));
    return LS_FORMAT;
  }
  p->nFrame = k+1;
  p->iEnd = iOffset + nByte;
  return 0;
}

/* Shrinks the arrays, takes frame ids and enters the object into the directory. */
static int indexFinish(LsObject *p){
  uint32_t nGroup = (p->nFrame+63)/64;
  uint32_t iGroup = 0;
  uint32_t iLast = p->nFrame ? lsObjectPgno(p, p->nFrame-1) : 0;
  void *pNew;
  int rc = 0;
  if( p->aPgno && p->nFrame && p->aPgno[0]==1 ){
    uint32_t k = p->nFrame-1;
    if( iLast==(k+1<lsLockPage(p->szPage) ? k+1 : k+2) ){
      free(p->aPgno);         /* ascending from 1 to its own count: dense */
      p->aPgno = NULL;
    }
  }
  pNew = realloc(p->aOffset, ((size_t)p->nFrame+1)*sizeof(uint32_t));
  if( pNew ) p->aOffset = pNew;
  if( p->aPgno ){
    pNew = realloc(p->aPgno, ((size_t)p->nFrame+1)*sizeof(uint32_t));
    if( pNew ) p->aPgno = pNew;
  }
  pNew = realloc(p->aBase, ((size_t)p->nFrame/64+1)*sizeof(uint64_t));
  if( pNew ) p->aBase = pNew;
  p->aRun = calloc((size_t)p->nFrame+1, sizeof(*p->aRun));
  if( p->aRun==NULL ) return LS_NOMEM;
  if( nGroup>0 ){
    lsMutexLock(&ioLock);
    rc = framesTake(nGroup, &iGroup);
    if( rc==0 ){
      p->iFirst = iGroup<<6;
      rc = directorySet(iGroup, nGroup, p);
    }
    lsMutexUnlock(&ioLock);
  }
  if( rc==0 ) p->bComplete = 1;
  return rc;
}

/*
** Reads at most nMax entries of the page index, whose bytes (through the end marker) are aIndex. Call again with the
** same bytes while it answers 1; 0 means complete and checked.
*/
int ls_object_index(int iObject, const uint8_t *aIndex, int nIndex, int nMax){
  LsObject *p = lsObjectById(iObject);
  int i, n;
  if( p==NULL || p->bComplete || nIndex<1 ) return LS_MISUSE;
  if( p->aOffset==NULL ){
    if( (uint64_t)nIndex+100+6+24>p->szFile ){
      lsFaultSet("page index has %d bytes, the file %llu", nIndex, (unsigned long long)p->szFile);
      return LS_FORMAT;
    }
    if( indexAllocate(p, nIndex)!=0 ) return LS_NOMEM;
  }
  i = p->nIndexDone;
  for(n=0; n<nMax; n++){
    uint64_t iPgno, iOffset = 0, nByte = 0;
    int rc = indexVarint(aIndex, nIndex, &i, &iPgno);
    if( rc ) return rc;
    if( iPgno==0 ) break;
    if( (rc = indexVarint(aIndex, nIndex, &i, &iOffset))!=0 ) return rc;
    if( (rc = indexVarint(aIndex, nIndex, &i, &nByte))!=0 ) return rc;
    if( (rc = indexEntry(p, iPgno, iOffset, nByte))!=0 ) return rc;
    p->nIndexDone = i;
  }
  if( n==nMax ) return 1;
  if( i!=nIndex ){
    lsFaultSet("page index ends at its byte %d, expected %d", i, nIndex);
    return LS_FORMAT;
  }
  if( p->iEnd+6+(uint64_t)nIndex+24!=p->szFile ){
    lsFaultSet("frames end at offset %llu, expected %llu", (unsigned long long)p->iEnd,
      (unsigned long long)(p->szFile-6-(uint64_t)nIndex-24));
    return LS_FORMAT;
  }
  if( p->bSnapshot ){
    uint32_t nWant = p->iCommit - (lsLockPage(p->szPage)<=p->iCommit ? 1 : 0);
    if( p->nFrame!=nWant ){
      lsFaultSet("snapshot holds %u pages, expected %u", p->nFrame, nWant);
      return LS_FORMAT;
    }
  }
  return indexFinish(p);
}

int ls_object_count(int iObject){
  LsObject *p = lsObjectById(iObject);
  return p && p->bComplete ? (int)p->nFrame : LS_MISUSE;
}

/* Views and maps that name an object, and the core. What a local file holds of it does not count. */
int ls_object_refs(int iObject){
  LsObject *p = lsObjectById(iObject);
  return p ? atomic_load(&p->nRef)-(p->nHeld>0) : LS_MISUSE;
}

int ls_object_offset(int iObject, int iFrame, uint64_t *aOut){
  LsObject *p = lsObjectById(iObject);
  if( p==NULL || !p->bComplete || iFrame<0 || (uint32_t)iFrame>p->nFrame ) return LS_MISUSE;
  aOut[0] = lsObjectOffset(p, (uint32_t)iFrame);
  return 0;
}

/*
** Describes up to nMax frames from iFrame on, as view iView (0: the newest) has them, four words each; returns how many. Once
** nobody holds that view what was meant for it is the newest's readers': its number may be another replica's by then.
*/
int ls_object_frames(int iObject, int iView, int iFrame, int nMax, uint32_t *aFrame){
  LsObject *p = lsObjectById(iObject);
  LsView *pView;
  uint32_t k;
  int n = 0;
  if( p==NULL || !p->bComplete || iFrame<0 ) return LS_MISUSE;
  pView = iView ? lsViewFollow(iView) : NULL;
  if( pView && pView->iReplica!=p->iReplica ){
    lsViewUnref(pView);
    pView = NULL;
  }
  if( pView==NULL ) pView = lsReplicaNewest(p->iReplica);
  for(k=(uint32_t)iFrame; k<p->nFrame && n<nMax; k++, n++){
    uint32_t *a = &aFrame[n*4];
    a[0] = lsObjectPgno(p, k);
    a[1] = (uint32_t)(lsObjectOffset(p, k+1) - lsObjectOffset(p, k));
    a[2] = (uint32_t)frameHere(p, k);
    a[3] = pView!=NULL && lsViewFrame(pView, a[0])==p->iFirst+k;
  }
  if( pView ) lsViewUnref(pView);
  return n;
}

static LsRun *runById(uint32_t iRun);
static void runDrop(LsRun *p);

/* Gives up a reference; the last one frees the object with what of it is still in the pool: as a rule nothing. */
void lsObjectUnref(LsObject *p){
  uint32_t k;
  if( atomic_fetch_sub(&p->nRef, 1)!=1 ) return;
  for(k=0; p->nRunHeld>0 && k<p->nFrame; k++){
    uint32_t iRun = atomic_load(&p->aRun[k]);
    LsRun *pRun = iRun ? runById(iRun) : NULL;
    if( pRun==NULL || k!=pRun->iFrame+pRun->nFrame-1 ) continue;
    p->nRunHeld--;
    runDrop(pRun);
  }
  lsMutexLock(&ioLock);
  if( p->iFirst ){
    uint32_t nGroup = (p->nFrame+63)/64;
    directorySet(p->iFirst>>6, nGroup, NULL);
    framesGive(p->iFirst>>6, nGroup);
  }
  tableGive((void**)apObject, &iObjectFree, p->iId);
  nObjectLive--;
  lsMutexUnlock(&ioLock);
  free(p->aPgno);
  free(p->aOffset);
  free(p->aBase);
  free((void*)p->aRun);
  if( p->pLocal ) lsLocalUnref(p->pLocal);
  free(p);
}

/* A span of a local file: nPage pages from iPage0 on; the caller holds a reference. NULL: no memory, or no ids left. */
LsObject *lsSpanNew(LsLocal *pLocal, int iReplica, uint32_t szPage, uint32_t iPage0, uint32_t nPage){
  int iObject = ls_object_new(iReplica, (int)szPage, iPage0+nPage-1, 0, 0);
  LsObject *p = iObject>0 ? lsObjectById(iObject) : NULL;
  uint32_t nGroup = (nPage+63)/64, iGroup;
  int rc;
  if( p==NULL ) return NULL;
  p->pLocal = lsLocalRef(pLocal);
  p->iPage0 = iPage0;
  p->nFrame = nPage;
  lsMutexLock(&ioLock);
  rc = framesTake(nGroup, &iGroup);
  if( rc==0 ){
    p->iFirst = iGroup<<6;
    rc = directorySet(iGroup, nGroup, p);
  }
  lsMutexUnlock(&ioLock);
  if( rc!=0 ){
    lsObjectUnref(p);
    return NULL;
  }
  atomic_store(&p->bCore, 0);    /* it is the file's */
  p->bComplete = 1;
  return p;
}

/* Whether an object is a span of a local file. */
int ls_object_local(int iObject){
  LsObject *p = lsObjectById(iObject);
  return p ? p->pLocal!=NULL : LS_MISUSE;
}

/* Gives up the core's reference. Views that still name the object keep it; the core must not use it again. */
int ls_object_free(int iObject){
  LsObject *p = lsObjectById(iObject);
  if( p==NULL || !atomic_exchange(&p->bCore, 0) ) return LS_MISUSE;
  lsObjectUnref(p);
  return 0;
}

/* ------------------------------------------------------------------------------------------------- views */

LsView *lsViewRef(LsView *p){
  atomic_fetch_add_explicit(&p->nRef, 1, memory_order_relaxed);
  return p;
}

static void chunkUnref(LsChunk *p){
  if( p && atomic_fetch_sub_explicit(&p->nRef, 1, memory_order_acq_rel)==1 ){
    free(p);
    atomic_fetch_sub_explicit(&nChunkLive, 1, memory_order_relaxed);
  }
}

void lsViewUnref(LsView *p){
  while( p && atomic_fetch_sub_explicit(&p->nRef, 1, memory_order_acq_rel)==1 ){
    LsView *pNext;
    uint32_t i;
    lsMutexLock(&ioLock);
    pNext = p->pRelocated;
    tableGive((void**)apView, &iViewFree, p->iId);
    nViewLive--;
    lsMutexUnlock(&ioLock);
    for(i=0; i<p->nChunk; i++) chunkUnref(p->apChunk[i]);
    for(i=0; i<p->nObject; i++) lsObjectUnref(p->apObject[i]);
    free(p->apChunk);
    free(p->apObject);
    free(p->aLive);
    free(p);
    p = pNext;
  }
}

LsView *lsViewPin(LsView *p){
  atomic_fetch_add_explicit(&p->nPin, 1, memory_order_relaxed);
  return p;
}

void lsViewUnpin(LsView *p){
  atomic_fetch_sub_explicit(&p->nPin, 1, memory_order_relaxed);
  lsViewUnref(p);
}

LsView *lsViewById(uint32_t iId){
  LsView *p = NULL;
  lsMutexLock(&ioLock);
  if( iId>0 && iId<nViewAlloc ) p = apView[iId];
  if( p ){
    int n = atomic_load(&p->nRef);
    while( n>0 && !atomic_compare_exchange_weak(&p->nRef, &n, n+1) ){}
    if( n<=0 ) p = NULL;      /* another thread is freeing it */
  }
  lsMutexUnlock(&ioLock);
  return p;
}

uint32_t lsViewFrame(const LsView *p, uint32_t iPgno){
  uint32_t i = iPgno-1;
  if( iPgno==0 || iPgno>p->iCommit ) return 0;
  return p->apChunk[i>>LS_CHUNK_BITS]->aFrame[i & (LS_CHUNK_SIZE-1)];
}

static void put32(uint8_t *a, uint32_t v){
  a[0] = (uint8_t)(v>>24);
  a[1] = (uint8_t)(v>>16);
  a[2] = (uint8_t)(v>>8);
  a[3] = (uint8_t)v;
}

/*
** What depends on the view is stamped on the way out, never on the cached page, which other views share: rollback
** journal instead of WAL (18, 19), size in pages (28), change counter (24) and its copy (92).
*/
void lsHeadStamp(const LsView *pView, uint8_t *aOut, int iFrom, int n){
  uint8_t aWord[12];
  int i;
  static const uint8_t aPlace[][2] = {{24,0},{28,4},{92,8}};
  put32(aWord, pView->iStamp);
  put32(aWord+4, pView->iCommit);
  put32(aWord+8, pView->iStamp);
  for(i=18; i<20; i++) if( i>=iFrom && i<iFrom+n ) aOut[i-iFrom] = 1;
  for(i=0; i<12; i++){
    int at = aPlace[i/4][0]+(i & 3);
    if( at>=iFrom && at<iFrom+n ) aOut[at-iFrom] = aWord[aPlace[i/4][1]+(i & 3)];
  }
}

/* Keeps page 1's head, stamped, unless another reader is at it. */
void lsHeadKeep(LsView *p, const uint8_t *aPage){
  int e = 0;
  if( !atomic_compare_exchange_strong(&p->eHead, &e, 1) ) return;
  memcpy(p->aHead, aPage, LS_HEAD_SIZE);
  lsHeadStamp(p, p->aHead, 0, LS_HEAD_SIZE);
  atomic_store_explicit(&p->eHead, 2, memory_order_release);
}

int lsHeadKnown(LsView *p){ return atomic_load_explicit(&p->eHead, memory_order_acquire)==2; }

/* Follows every relocation at once: a view pinned for long has been relocated many times. */
LsView *lsViewMoved(LsView *p){
  LsView *pEnd = NULL;
  lsMutexLock(&ioLock);
  while( p->pRelocated ) p = pEnd = p->pRelocated;
  if( pEnd ) lsViewRef(pEnd);
  lsMutexUnlock(&ioLock);
  return pEnd;
}

LsView *lsViewFollow(int iView){
  LsView *p = lsViewById((uint32_t)iView);
  LsView *pMoved = p ? lsViewMoved(p) : NULL;
  if( pMoved==NULL ) return p;
  lsViewUnref(p);
  return pMoved;
}

/* Where a view has a page: object, frame and whether its page is cached, three words. */
int ls_view_locate(int iView, uint32_t iPgno, uint32_t *aOut){
  LsView *p = lsViewFollow(iView);
  uint32_t iFrame;
  LsObject *pObject;
  if( p==NULL ) return LS_MISUSE;
  iFrame = lsViewFrame(p, iPgno);
  if( iFrame==0 ){
    lsViewUnref(p);
    return LS_GONE;
  }
  pObject = lsFrameObject(iFrame);
  aOut[0] = pObject->iId;
  aOut[1] = iFrame - pObject->iFirst;
  aOut[2] = (uint32_t)frameHere(pObject, aOut[1]);
  lsViewUnref(p);
  return 0;
}

/* Where a view has each of nPage pages: LsPlace, all zero for a page it has not. */
int ls_view_places(int iView, const uint32_t *aPgno, int nPage, uint32_t *aOut){
  LsView *p = lsViewFollow(iView);
  int i;
  if( p==NULL ) return LS_MISUSE;
  for(i=0; i<nPage; i++){
    uint32_t *a = &aOut[i*6];
    uint32_t iFrame = lsViewFrame(p, aPgno[i]);
    LsObject *pObject;
    uint64_t iOffset;
    memset(a, 0, 6*sizeof(*a));
    if( iFrame==0 ) continue;
    pObject = lsFrameObject(iFrame);
    a[0] = pObject->iId;
    a[1] = iFrame - pObject->iFirst;
    iOffset = lsObjectOffset(pObject, a[1]);
    a[2] = (uint32_t)(lsObjectOffset(pObject, a[1]+1) - iOffset);
    a[3] = (uint32_t)frameHere(pObject, a[1]);
    a[4] = (uint32_t)iOffset;
    a[5] = (uint32_t)(iOffset>>32);
  }
  lsViewUnref(p);
  return nPage;
}

/* How many of a view's pages lie in local files. */
int ls_view_local(int iView){
  LsView *p = lsViewById((uint32_t)iView);
  uint32_t i, n = 0;
  if( p==NULL ) return LS_MISUSE;
  for(i=0; i<p->nObject; i++) if( p->apObject[i]->pLocal ) n += p->aLive[i];
  lsViewUnref(p);
  return (int)n;
}

/* Takes a reference for the core, which ls_view_release() gives up. */
int ls_view_hold(int iView){
  LsView *p = lsViewById((uint32_t)iView);
  if( p==NULL ) return LS_MISUSE;
  atomic_fetch_add(&p->nCore, 1);
  return 0;
}

/* TXID, commit, page size, time in ms, stamp, handle. */
void lsViewWords(const LsView *p, uint64_t *aOut){
  aOut[0] = p->iTxid;
  aOut[1] = p->iCommit;
  aOut[2] = p->szPage;
  aOut[3] = p->msTime;
  aOut[4] = p->iStamp;
  aOut[5] = p->iId;
}

/* What a view is; LS_MISUSE when nobody holds it any more. */
int ls_view_info(int iView, uint64_t *aOut){
  LsView *p = lsViewById((uint32_t)iView);
  if( p==NULL ) return LS_MISUSE;
  lsViewWords(p, aOut);
  lsViewUnref(p);
  return 0;
}

/*
** Copies a page as it is stored, without a stamp; LS_BUSY when it is not in the pool, LS_GONE when it is in a local file that
** cannot be read. The lock page is zeros.
*/
int ls_view_page(int iView, uint32_t iPgno, uint8_t *aOut, int nOut){
  LsView *p = lsViewFollow(iView);
  int rc = LS_MISUSE;
  if( p==NULL ) return rc;
  if( iPgno>0 && iPgno<=p->iCommit && nOut==(int)p->szPage ){
    uint32_t iFrame = lsViewFrame(p, iPgno);
    LsObject *pObject = iFrame ? lsFrameObject(iFrame) : NULL;
    int bLocal = pObject && pObject->pLocal;
    LsRun *pRun = pObject && !bLocal ? lsPin(pObject, iFrame-pObject->iFirst) : NULL;
    if( bLocal ) rc = lsLocalRead(pObject, iFrame-pObject->iFirst, 0, nOut, aOut);
    else rc = pObject && pRun==NULL ? LS_BUSY : 0;
    if( bLocal ){
    }else if( pRun ){
      memcpy(aOut, lsRunPage(pRun, iFrame-pObject->iFirst), (size_t)nOut);
      lsUnpin(pRun);
    }else if( rc==0 ){
      memset(aOut, 0, (size_t)nOut);
    }
  }
  lsViewUnref(p);
  return rc;
}

/* Whether two chunks name the same frames: most often they are one. */
static int chunkEqual(const LsChunk *p, const LsChunk *pOther){
  return p==pOther || memcmp(p->aFrame, pOther->aFrame, sizeof(p->aFrame))==0;
}

/*
** Page numbers from iPgno on that two views have at different places, at most nMax; returns how many. Pages that only
** one of them has are among them.
*/
int ls_view_changed(int iFrom, int iTo, uint32_t iPgno, uint32_t *aOut, int nMax){
  LsView *pFrom = lsViewById((uint32_t)iFrom);
  LsView *pTo = lsViewById((uint32_t)iTo);
  int n = LS_MISUSE;
  if( pFrom && pTo && iPgno>0 ){
    uint32_t nPage = pFrom->iCommit>pTo->iCommit ? pFrom->iCommit : pTo->iCommit;
    uint64_t iFirst = iPgno-1;         /* wider than page numbers, which may end where 32 bits do */
    uint64_t i = iFirst;
    for(n=0; i<nPage && n<nMax; i++){
      uint64_t iChunk = i>>LS_CHUNK_BITS;
      int isBegun = iFirst==i || (i & (LS_CHUNK_SIZE-1))==0;   /* looked at as a whole once, not at each page */
      if( isBegun && iChunk<pFrom->nChunk && iChunk<pTo->nChunk
       && chunkEqual(pFrom->apChunk[iChunk], pTo->apChunk[iChunk]) ){
        i |= LS_CHUNK_SIZE-1;          /* past either's last page its entries are 0 */
        continue;
      }
      if( lsViewFrame(pFrom, (uint32_t)i+1)!=lsViewFrame(pTo, (uint32_t)i+1) ) aOut[n++] = (uint32_t)i+1;
    }
  }
  if( pFrom ) lsViewUnref(pFrom);
  if( pTo ) lsViewUnref(pTo);
  return n;
}

int lsViewsOf(int iReplica, LsView ***pap){
  LsView **ap;
  uint32_t i;
  int n = 0;
  lsMutexLock(&ioLock);
  ap = malloc((nViewLive+1)*sizeof(*ap));
  for(i=1; ap && i<nViewAlloc; i++){
    LsView *p = apView[i];
    int nRef = p && p->iReplica==iReplica ? atomic_load(&p->nRef) : 0;
    while( nRef>0 && !atomic_compare_exchange_weak(&p->nRef, &nRef, nRef+1) ){}
    if( nRef>0 ) ap[n++] = p;
  }
  lsMutexUnlock(&ioLock);
  *pap = ap;
  return ap ? n : -1;
}

/*
** The views of a replica that transactions see right now, at most nOut, LS_PIN_WORDS words each: TXID, stamp,
** transactions, whether it was ever the newest. Returns how many.
*/
int ls_replica_pins(int iReplica, uint64_t *aOut, int nOut){
  uint32_t i;
  int n = 0;
  lsMutexLock(&ioLock);
  for(i=1; i<nViewAlloc && n<nOut; i++){
    LsView *p = apView[i];
    int nPin = p && p->iReplica==iReplica ? atomic_load(&p->nPin) : 0;
    if( nPin<=0 ) continue;
    aOut[n*LS_PIN_WORDS] = p->iTxid;
    aOut[n*LS_PIN_WORDS+1] = p->iStamp;
    aOut[n*LS_PIN_WORDS+2] = (uint64_t)nPin;
    aOut[n*LS_PIN_WORDS+3] = (uint64_t)atomic_load(&p->bPublished);
    n++;
  }
  lsMutexUnlock(&ioLock);
  return n;
}

int ls_view_release(int iView){
  LsView *p = lsViewById((uint32_t)iView);
  int n = p ? atomic_load(&p->nCore) : 0;
  while( n>0 && !atomic_compare_exchange_weak(&p->nCore, &n, n-1) ){}
  if( p ) lsViewUnref(p);     /* the one just taken */
  if( n<=0 ) return LS_MISUSE;
  lsViewUnref(p);             /* the core's */
  return 0;
}

/* A view of a replica to which its core has references; those are the caller's from here on. NULL: none. */
static LsView *viewLeft(int iReplica, int *pn){
  LsView *p = NULL;
  uint32_t i;
  lsMutexLock(&ioLock);
  for(i=1; i<nViewAlloc && p==NULL; i++){
    if( apView[i]==NULL || apView[i]->iReplica!=iReplica ) continue;
    *pn = atomic_exchange(&apView[i]->nCore, 0);
    if( *pn>0 ) p = apView[i];
  }
  lsMutexUnlock(&ioLock);
  return p;
}

static LsObject *objectLeft(int iReplica){
  LsObject *p = NULL;
  uint32_t i;
  lsMutexLock(&ioLock);
  for(i=1; i<nObjectAlloc && p==NULL; i++){
    if( apObject[i] && apObject[i]->iReplica==iReplica && atomic_exchange(&apObject[i]->bCore, 0) ) p = apObject[i];
  }
  lsMutexUnlock(&ioLock);
  return p;
}

void lsCoreLeaves(int iReplica){
  LsView *pView;
  LsObject *pObject;
  int n = 0;
  while( (pView = viewLeft(iReplica, &n))!=NULL ) while( n-->0 ) lsViewUnref(pView);
  while( (pObject = objectLeft(iReplica))!=NULL ) lsObjectUnref(pObject);
}

/*
** Tells holders of iFrom, and of all views that they were led to before, that the same content now lies where
** iTo says: of readers that ask for new places at the same time, each may hold another of those views.
*/
int ls_view_relocate(int iFrom, int iTo){
  LsView *pFrom = lsViewById((uint32_t)iFrom);
  LsView *pTo = lsViewById((uint32_t)iTo);
  int rc = LS_MISUSE;
  if( pFrom && pTo && pFrom->iReplica==pTo->iReplica && pFrom->iTxid==pTo->iTxid && pFrom->iCommit==pTo->iCommit
   && pFrom->szPage==pTo->szPage && pFrom->iStamp==pTo->iStamp ){
    LsView *p = pTo, *pEnd = pFrom;
    lsMutexLock(&ioLock);
    while( pEnd->pRelocated ) pEnd = pEnd->pRelocated;
    while( p && p!=pEnd ) p = p->pRelocated;
    if( p==NULL ){            /* no circle, which nobody would ever leave or free */
      pEnd->pRelocated = lsViewRef(pTo);
      if( atomic_load(&pFrom->bPublished) ) atomic_store(&pTo->bPublished, 1);   /* the state that was the newest */
      rc = 0;
    }else if( pTo==pEnd && pTo!=pFrom ){
      rc = 0;                 /* they have been led there */
    }
    lsMutexUnlock(&ioLock);
  }
  if( pFrom ) lsViewUnref(pFrom);
  if( pTo ) lsViewUnref(pTo);
  return rc;
}

static atomic_uint iStampLast;

/* A number that no content of this process was ever stamped with; never 0. */
int ls_stamp(void){
  unsigned int i = atomic_fetch_add(&iStampLast, 1)+1;
  return i<0x7fffffffu ? (int)i : LS_LIMIT;
}

/*
** The same for a state of a replica that is written to: a multiple of LS_STAMP_STRIDE, and the numbers after it up to the next
** one are nobody's. SQLite counts up the number that it was shown and believes that its pages in memory are the content of
** that name: so no other content must ever have it.
*/
int ls_writer_stamp(void){
  unsigned int i = atomic_load(&iStampLast), iNew;
  do{
    iNew = (i/LS_STAMP_STRIDE+1)*LS_STAMP_STRIDE;
    if( iNew>=0x7fffffffu-LS_STAMP_STRIDE ) return LS_LIMIT;
  }while( !atomic_compare_exchange_weak(&iStampLast, &i, iNew+LS_STAMP_STRIDE-1) );
  return (int)iNew;
}

/* -------------------------------------------------------------------------------------------------- maps */

static LsMap *mapById(int iMap){
  LsMap *aBlock;
  if( iMap<=0 || iMap>=MAP_BLOCK*MAP_BLOCKS ) return NULL;
  aBlock = atomic_load_explicit(&apMapBlock[iMap/MAP_BLOCK], memory_order_acquire);
  return aBlock && aBlock[iMap%MAP_BLOCK].bUsed ? &aBlock[iMap%MAP_BLOCK] : NULL;
}

/* Takes the first map that is not used, empty; its id, or LS_LIMIT or LS_NOMEM. */
static int mapTake(LsMap **pp){
  int i, k, iMap = LS_LIMIT;
  lsMutexLock(&ioLock);
  for(i=0; i<MAP_BLOCKS && iMap==LS_LIMIT; i++){
    LsMap *aBlock = atomic_load_explicit(&apMapBlock[i], memory_order_relaxed);
    if( aBlock==NULL ){
      aBlock = calloc(MAP_BLOCK, sizeof(*aBlock));
      if( aBlock==NULL ){
        iMap = LS_NOMEM;
        break;
      }
      atomic_store_explicit(&apMapBlock[i], aBlock, memory_order_release);
    }
    k = i==0;                          /* 0 is no map */
    while( k<MAP_BLOCK && aBlock[k].bUsed ) k++;
    if( k==MAP_BLOCK ) continue;
    memset(&aBlock[k], 0, sizeof(*aBlock));
    aBlock[k].bUsed = 1;
    aBlock[k].thread = lsThreadSelf();
    *pp = &aBlock[k];
    iMap = i*MAP_BLOCK+k;
  }
  lsMutexUnlock(&ioLock);
  return iMap;
}

static void mapClear(LsMap *p){
  lsMutexLock(&ioLock);
  memset(p, 0, sizeof(*p));
  lsMutexUnlock(&ioLock);
}

/* Where an object's index stands, or would stand. There is always a place that is free. */
static uint32_t *mapSlot(const LsMap *p, const LsObject *pObject){
  uint32_t i = pObject->iId & (p->nPlace-1);
  while( p->aPlace[i] && p->apObject[p->aPlace[i]-1]!=pObject ) i = (i+1) & (p->nPlace-1);
  return &p->aPlace[i];
}

/* Makes room for nObject objects in the list and in what finds them there. */
static int mapReserve(LsMap *p, uint32_t nObject){
  uint32_t i, nNew = p->nPlace ? p->nPlace : PLACE_MIN;
  uint32_t *aNew;
  if( nObject>p->nObjectAlloc ){
    uint32_t nAlloc = nObject + nObject/2 + 16;
    LsObject **apNew = realloc(p->apObject, nAlloc*sizeof(*apNew));
    if( apNew==NULL ) return LS_NOMEM;
    p->apObject = apNew;
    aNew = realloc(p->aLive, nAlloc*sizeof(*aNew));
    if( aNew==NULL ) return LS_NOMEM;
    p->aLive = aNew;
    p->nObjectAlloc = nAlloc;
  }
  while( nNew<nObject*2 ) nNew *= 2;
  if( nNew==p->nPlace ) return 0;
  aNew = calloc(nNew, sizeof(*aNew));
  if( aNew==NULL ) return LS_NOMEM;
  free(p->aPlace);
  p->aPlace = aNew;
  p->nPlace = nNew;
  for(i=0; i<p->nObject; i++) *mapSlot(p, p->apObject[i]) = i+1;
  return 0;
}

/* Begins a map: empty, or with all that view iView has. */
int ls_map_new(int iView, int szPage){
  LsView *pView = iView ? lsViewById((uint32_t)iView) : NULL;
  LsMap *p = NULL;
  uint32_t i;
  int iMap;
  if( (iView && pView==NULL) || szPage<512 || szPage>65536 || (pView && pView->szPage!=(uint32_t)szPage) ){
    if( pView ) lsViewUnref(pView);
    return LS_MISUSE;
  }
  iMap = mapTake(&p);
  if( p ) p->szPage = (uint32_t)szPage;
  if( p && pView ){
    p->apChunk = malloc((pView->nChunk+1)*sizeof(*p->apChunk));
    if( p->apChunk==NULL || mapReserve(p, pView->nObject+1)!=0 ){
      ls_map_free(iMap);
      lsViewUnref(pView);
      return LS_NOMEM;
    }
    for(i=0; i<pView->nChunk; i++){
      p->apChunk[i] = pView->apChunk[i];
      atomic_fetch_add_explicit(&p->apChunk[i]->nRef, 1, memory_order_relaxed);
    }
    p->nChunk = pView->nChunk;
    for(i=0; i<pView->nObject; i++){
      p->apObject[i] = pView->apObject[i];
      p->aLive[i] = pView->aLive[i];
      p->nMapped += pView->aLive[i];
      *mapSlot(p, p->apObject[i]) = i+1;
      p->nObject = i+1;
      atomic_fetch_add(&p->apObject[i]->nRef, 1);
    }
  }
  if( pView ) lsViewUnref(pView);
  return iMap;
}

int ls_map_free(int iMap){
  LsMap *p = mapById(iMap);
  uint32_t i;
  if( p==NULL ) return LS_MISUSE;
  for(i=0; i<p->nChunk; i++) chunkUnref(p->apChunk[i]);
  for(i=0; i<p->nObject; i++) lsObjectUnref(p->apObject[i]);
  free(p->apChunk);
  free(p->apObject);
  free(p->aLive);
  free(p->aPlace);
  mapClear(p);
  return 0;
}

/* The first map, from iMap on, that the calling thread builds; 0 for none. */
static int mapOwn(int iMap){
  int iFound = 0;
  lsMutexLock(&ioLock);
  for(; iMap<MAP_BLOCK*MAP_BLOCKS && iFound==0; iMap++){
    LsMap *aBlock = atomic_load_explicit(&apMapBlock[iMap/MAP_BLOCK], memory_order_relaxed);
    if( aBlock==NULL ) break;          /* blocks are made one after the other */
    if( aBlock[iMap%MAP_BLOCK].bUsed && lsThreadEqual(aBlock[iMap%MAP_BLOCK].thread, lsThreadSelf()) ) iFound = iMap;
  }
  lsMutexUnlock(&ioLock);
  return iFound;
}

void lsThreadLeaves(void){
  int iMap = 0;
  while( (iMap = mapOwn(iMap+1))!=0 ) ls_map_free(iMap);
}

/* Index of an object in the map's list; nObject when it is not there. */
static uint32_t mapObject(const LsMap *p, const LsObject *pObject){
  uint32_t i = p->nPlace ? *mapSlot(p, pObject) : 0;
  return i ? i-1 : p->nObject;
}

static int mapAddObject(LsMap *p, LsObject *pObject){
  if( mapObject(p, pObject)<p->nObject ) return 0;
  if( mapReserve(p, p->nObject+1)!=0 ) return LS_NOMEM;
  p->apObject[p->nObject] = pObject;
  p->aLive[p->nObject] = 0;
  *mapSlot(p, pObject) = ++p->nObject;
  atomic_fetch_add(&pObject->nRef, 1);
  return 0;
}

/* The chunk of a page, owned by this map alone, so that it may be written. */
static LsChunk *mapChunk(LsMap *p, uint32_t iChunk){
  LsChunk *pOld, *pNew;
  if( iChunk>=p->nChunk ){
    LsChunk **apNew = realloc(p->apChunk, ((size_t)iChunk+1)*sizeof(*apNew));
    if( apNew==NULL ) return NULL;
    p->apChunk = apNew;
    while( p->nChunk<=iChunk ) p->apChunk[p->nChunk++] = NULL;
  }
  pOld = p->apChunk[iChunk];
  if( pOld==NULL ){
    pNew = calloc(1, sizeof(*pNew));
    if( pNew==NULL ) return NULL;
    atomic_init(&pNew->nRef, 1);
    atomic_fetch_add_explicit(&nChunkLive, 1, memory_order_relaxed);
    p->apChunk[iChunk] = pNew;
    return pNew;
  }
  if( atomic_load_explicit(&pOld->nRef, memory_order_acquire)==1 ) return pOld;
  pNew = malloc(sizeof(*pNew));
  if( pNew==NULL ) return NULL;
  memcpy(pNew->aFrame, pOld->aFrame, sizeof(pNew->aFrame));
  atomic_init(&pNew->nRef, 1);
  atomic_fetch_add_explicit(&nChunkLive, 1, memory_order_relaxed);
  p->apChunk[iChunk] = pNew;
  chunkUnref(pOld);
  return pNew;
}

static void mapForget(LsMap *p, uint32_t *piEntry){
  uint32_t i;
  if( *piEntry==0 ) return;
  i = mapObject(p, lsFrameObject(*piEntry));
  if( i<p->nObject ) p->aLive[i]--;
  p->nMapped--;
  *piEntry = 0;
}

/* Enters frames iFrame … of an object, at most nMax; returns the next frame to enter, or 0 when all are in. */
int ls_map_apply(int iMap, int iObject, int iFrame, int nMax){
  LsMap *p = mapById(iMap);
  LsObject *pObject = lsObjectById(iObject);
  uint32_t k, iAt;
  if( p==NULL || pObject==NULL || !pObject->bComplete || iFrame<0 || nMax<1 || pObject->szPage!=p->szPage ){
    return LS_MISUSE;
  }
  if( mapAddObject(p, pObject)!=0 ) return LS_NOMEM;
  iAt = mapObject(p, pObject);
  for(k=(uint32_t)iFrame; k<pObject->nFrame; k++){
    uint32_t i = lsObjectPgno(pObject, k)-1;
    LsChunk *pChunk;
    uint32_t *piEntry;
    if( k-(uint32_t)iFrame>=(uint32_t)nMax ) return (int)k;
    pChunk = mapChunk(p, i>>LS_CHUNK_BITS);
    if( pChunk==NULL ) return LS_NOMEM;
    piEntry = &pChunk->aFrame[i & (LS_CHUNK_SIZE-1)];
    mapForget(p, piEntry);
    *piEntry = pObject->iFirst+k;
    p->aLive[iAt]++;
    p->nMapped++;
  }
  return 0;
}

/* The frame of a page; 0 for none. */
uint32_t lsMapFrame(int iMap, uint32_t iPgno){
  LsMap *p = mapById(iMap);
  uint32_t i = iPgno-1;
  if( p==NULL || i>>LS_CHUNK_BITS>=p->nChunk || p->apChunk[i>>LS_CHUNK_BITS]==NULL ) return 0;
  return p->apChunk[i>>LS_CHUNK_BITS]->aFrame[i & (LS_CHUNK_SIZE-1)];
}

int lsMapIs(int iMap){ return mapById(iMap)!=NULL; }

/* Enters frame k of an object as a page's place. */
int lsMapSet(int iMap, uint32_t iPgno, LsObject *pObject, uint32_t k){
  LsMap *p = mapById(iMap);
  uint32_t i = iPgno-1, iAt;
  LsChunk *pChunk;
  if( p==NULL || pObject->szPage!=p->szPage ) return LS_MISUSE;
  pChunk = mapChunk(p, i>>LS_CHUNK_BITS);
  if( pChunk==NULL || mapAddObject(p, pObject)!=0 ) return LS_NOMEM;
  mapForget(p, &pChunk->aFrame[i & (LS_CHUNK_SIZE-1)]);
  iAt = mapObject(p, pObject);
  pChunk->aFrame[i & (LS_CHUNK_SIZE-1)] = pObject->iFirst+k;
  p->aLive[iAt]++;
  p->nMapped++;
  return 0;
}

/* Chunks that iCommit pages take; near 2^32 a sum would overflow. */
static uint32_t chunkCount(uint32_t iCommit){
  return (iCommit>>LS_CHUNK_BITS) + ((iCommit & (LS_CHUNK_SIZE-1))!=0);
}

/* Drops every page past iCommit. */
int ls_map_truncate(int iMap, uint32_t iCommit){
  LsMap *p = mapById(iMap);
  uint32_t nKeep = chunkCount(iCommit);
  uint32_t i;
  if( p==NULL ) return LS_MISUSE;
  while( p->nChunk>nKeep ){
    LsChunk *pChunk = p->apChunk[--p->nChunk];
    for(i=0; pChunk && i<LS_CHUNK_SIZE; i++){
      uint32_t iEntry = pChunk->aFrame[i];
      mapForget(p, &iEntry);
    }
    chunkUnref(pChunk);
  }
  if( nKeep>0 && nKeep==p->nChunk && (iCommit & (LS_CHUNK_SIZE-1))!=0 && p->apChunk[nKeep-1] ){
    int bAny = 0;
    LsChunk *pChunk = p->apChunk[nKeep-1];
    for(i=iCommit & (LS_CHUNK_SIZE-1); i<LS_CHUNK_SIZE; i++) bAny |= pChunk->aFrame[i]!=0;
    if( bAny ){
      pChunk = mapChunk(p, nKeep-1);
      if( pChunk==NULL ) return LS_NOMEM;
      for(i=iCommit & (LS_CHUNK_SIZE-1); i<LS_CHUNK_SIZE; i++) mapForget(p, &pChunk->aFrame[i]);
    }
  }
  return 0;
}

/* Whether every page 1 … iCommit but the lock page has a frame. The map has been cut to iCommit. */
static int mapCheck(const LsMap *p, uint32_t iCommit, uint64_t iTxid){
  uint32_t iLock = lsLockPage(p->szPage);
  uint32_t i;
  if( iCommit==0 && iTxid==0 ) return 0;       /* a database that is not there yet */
  if( iCommit==0 ){
    lsFaultSet("database has no pages, expected at least 1");
    return LS_FORMAT;
  }
  if( p->nMapped==iCommit-(iLock<=iCommit) ) return 0;
  for(i=0; i<iCommit; i++){
    uint32_t iChunk = i>>LS_CHUNK_BITS;
    if( i+1==iLock ) continue;
    if( iChunk>=p->nChunk || p->apChunk[iChunk]==NULL ) break;
    if( p->apChunk[iChunk]->aFrame[i & (LS_CHUNK_SIZE-1)]==0 ) break;
  }
  lsFaultSet("page %u of %u is in no file", i+1, iCommit);
  return LS_FORMAT;
}

/* Drops objects that have no page left in the map, which is used up: nothing is looked for in it any more. */
static void mapPrune(LsMap *p){
  uint32_t i, n = 0;
  for(i=0; i<p->nObject; i++){
    if( p->aLive[i]==0 ){
      lsObjectUnref(p->apObject[i]);
      continue;
    }
    p->apObject[n] = p->apObject[i];
    p->aLive[n++] = p->aLive[i];
  }
  p->nObject = n;
  free(p->aPlace);
  p->aPlace = NULL;
  p->nPlace = 0;
}

/*
** Makes a view of a map, which is used up. The view is private to the core, which holds a reference, until it is
** published. A map that lacks pages stays, and LS_FORMAT is returned.
*/
int ls_map_view(int iMap, int iReplica, uint64_t iTxid, uint32_t iCommit, uint32_t iStamp, uint64_t msTime){
  LsMap *p = mapById(iMap);
  LsView *pView;
  uint32_t iPlace;
  int rc;
  if( p==NULL ) return LS_MISUSE;
  rc = ls_map_truncate(iMap, iCommit);
  if( rc==0 ) rc = mapCheck(p, iCommit, iTxid);
  if( rc ) return rc;
  /* The lock page begins a chunk; where it is the last page, nothing has made that chunk. */
  if( p->nChunk<chunkCount(iCommit) && mapChunk(p, p->nChunk)==NULL ) return LS_NOMEM;
  pView = calloc(1, sizeof(*pView));
  if( pView==NULL ) return LS_NOMEM;
  mapPrune(p);
  atomic_init(&pView->nRef, 1);
  atomic_init(&pView->nCore, 1);
  pView->iReplica = iReplica;
  pView->iTxid = iTxid;
  pView->msTime = msTime;
  pView->iCommit = iCommit;
  pView->szPage = p->szPage;
  pView->iStamp = iStamp;
  pView->nChunk = p->nChunk;
  pView->apChunk = p->apChunk;
  pView->nObject = p->nObject;
  pView->apObject = p->apObject;
  pView->aLive = p->aLive;
  lsMutexLock(&ioLock);
  rc = tablePlace((void***)&apView, &nViewAlloc, &iViewFree, &iPlace);
  if( rc==0 ){
    pView->iId = iPlace;
    apView[iPlace] = pView;
    nViewLive++;
    memset(p, 0, sizeof(*p));
  }
  lsMutexUnlock(&ioLock);
  if( rc!=0 ){
    free(pView);
    return rc;
  }
  return (int)iPlace;
}

/* ------------------------------------------------------------------------------------------- buffer pool */

static LsRun *runById(uint32_t iRun){
  LsRun *aBlock;
  if( iRun==0 || (iRun>>RUN_BITS)>=RUN_MAX ) return NULL;
  aBlock = atomic_load_explicit(&apRunBlock[iRun>>RUN_BITS], memory_order_acquire);
  return aBlock ? &aBlock[iRun & (RUN_BLOCK-1)] : NULL;
}

/* The run that holds frame k, pinned; NULL when the frame is not in the pool. */
LsRun *lsPin(LsObject *pObject, uint32_t k){
  if( pObject->pLocal ) return NULL;
  for(;;){
    uint32_t iRun = atomic_load(&pObject->aRun[k]);
    LsRun *p;
    if( iRun==0 ) return NULL;
    p = runById(iRun);
    atomic_fetch_add(&p->nPin, 1);
    if( atomic_load(&pObject->aRun[k])==iRun ){
      if( atomic_load_explicit(&p->bTouched, memory_order_relaxed)==0 ){
        atomic_store_explicit(&p->bTouched, 1, memory_order_relaxed);
      }
      return p;
    }
    atomic_fetch_sub(&p->nPin, 1);
  }
}

void lsUnpin(LsRun *p){
  atomic_fetch_sub(&p->nPin, 1);
}

/* A run struct from the free list, or a new one. */
static LsRun *runTake(void){
  LsRun *p;
  lsMutexLock(&ioLock);
  p = pRunFree;
  if( p ){
    pRunFree = p->pNextFree;
  }else if( nRun+1 < RUN_MAX*RUN_BLOCK ){
    uint32_t iRun = nRun+1;
    LsRun *aBlock = atomic_load_explicit(&apRunBlock[iRun>>RUN_BITS], memory_order_relaxed);
    if( aBlock==NULL ){
      aBlock = calloc(RUN_BLOCK, sizeof(*aBlock));
      if( aBlock ) atomic_store_explicit(&apRunBlock[iRun>>RUN_BITS], aBlock, memory_order_release);
    }
    if( aBlock ){
      nRun = iRun;
      p = &aBlock[iRun & (RUN_BLOCK-1)];
      p->iId = iRun;
    }
  }
  if( p ) nRunLive++;
  lsMutexUnlock(&ioLock);
  return p;
}

static void runGive(LsRun *p){
  lsMutexLock(&ioLock);
  p->pNextFree = pRunFree;
  pRunFree = p;
  nRunLive--;
  lsMutexUnlock(&ioLock);
}

/*
** Checks and decodes nFrame frames, whose stored bytes are exactly aByte, into a new run; returns its id. None of
** the frames may be in the pool yet.
*/
int ls_run_load(int iObject, int iFrame, int nFrame, const uint8_t *aByte, int nByte){
  LsObject *p = lsObjectById(iObject);
  uint8_t *aData;
  LsRun *pRun;
  uint64_t iStart;
  uint32_t k, k0 = (uint32_t)iFrame, k1;
  if( p==NULL || !p->bComplete || p->pLocal || iFrame<0 || nFrame<1 || k0+(uint32_t)nFrame>p->nFrame ) return LS_MISUSE;
  k1 = k0+(uint32_t)nFrame;
  iStart = lsObjectOffset(p, k0);
  if( (uint64_t)nByte!=lsObjectOffset(p, k1)-iStart ) return LS_MISUSE;
  for(k=k0; k<k1; k++) if( atomic_load(&p->aRun[k]) ) return LS_MISUSE;
  aData = malloc((size_t)nFrame*p->szPage + (size_t)nFrame*sizeof(atomic_uchar));
  if( aData==NULL ) return LS_NOMEM;
  for(k=k0; k<k1; k++){
    uint64_t iAt = lsObjectOffset(p, k);
    int rc = lsFrameDecode(aByte+(iAt-iStart), (uint32_t)(lsObjectOffset(p, k+1)-iAt), lsObjectPgno(p, k), p->szPage,
                           aData+(size_t)(k-k0)*p->szPage);
    if( rc ){
      free(aData);
      return rc;
    }
  }
  pRun = runTake();
  if( pRun==NULL ){
    free(aData);
    return LS_LIMIT;
  }
  pRun->iObject = p->iId;
  pRun->iFrame = k0;
  pRun->nFrame = (uint32_t)nFrame;
  pRun->szPage = p->szPage;
  pRun->aData = aData;
  pRun->aFlag = (atomic_uchar*)(aData + (size_t)nFrame*p->szPage);
  for(k=0; k<(uint32_t)nFrame; k++) atomic_init(&pRun->aFlag[k], 0);
  atomic_store_explicit(&pRun->bTouched, 0, memory_order_relaxed);
  atomic_fetch_add(&nPoolByte, (uint64_t)nFrame*p->szPage);
  for(k=k0; k<k1; k++) atomic_store(&p->aRun[k], pRun->iId);
  p->nRunHeld++;
  return (int)pRun->iId;
}

/* Frees the pages of a run that no frame names and nobody has pinned. */
static void runDrop(LsRun *p){
  atomic_fetch_sub(&nPoolByte, (uint64_t)p->nFrame*p->szPage);
  free(p->aData);
  p->aData = NULL;
  runGive(p);
}

/* Frees a run, or answers LS_BUSY and leaves it as it is while a reader copies from it. */
int ls_run_free(int iRun){
  LsRun *pRun = iRun>0 ? runById((uint32_t)iRun) : NULL;
  LsObject *p;
  uint32_t k;
  if( pRun==NULL || pRun->aData==NULL ) return LS_MISUSE;
  p = lsObjectById((int)pRun->iObject);
  if( p==NULL ) return LS_MISUSE;
  for(k=pRun->iFrame; k<pRun->iFrame+pRun->nFrame; k++) atomic_store(&p->aRun[k], 0);
  if( atomic_load(&pRun->nPin)!=0 ){
    for(k=pRun->iFrame; k<pRun->iFrame+pRun->nFrame; k++) atomic_store(&p->aRun[k], pRun->iId);
    return LS_BUSY;
  }
  p->nRunHeld--;
  runDrop(pRun);
  return 0;
}

/*
** Has the pages of a run stand for the frames iFrame … of another object, whose pages are the same: same numbers, same
** content. LS_BUSY, and all stays as it is, while a reader copies from it or one of those frames is in the pool.
*/
int ls_run_move(int iRun, int iObject, int iFrame){
  LsRun *pRun = iRun>0 ? runById((uint32_t)iRun) : NULL;
  LsObject *pTo = lsObjectById(iObject);
  LsObject *pFrom;
  uint32_t k, kFrom, kTo = (uint32_t)iFrame;
  if( pRun==NULL || pRun->aData==NULL || pTo==NULL || !pTo->bComplete || pTo->pLocal || iFrame<0 ) return LS_MISUSE;
  pFrom = lsObjectById((int)pRun->iObject);
  if( pFrom==NULL || pFrom==pTo || pFrom->iReplica!=pTo->iReplica || pTo->szPage!=pRun->szPage ) return LS_MISUSE;
  if( kTo+pRun->nFrame>pTo->nFrame ) return LS_MISUSE;
  kFrom = pRun->iFrame;
  for(k=0; k<pRun->nFrame; k++) if( lsObjectPgno(pFrom, kFrom+k)!=lsObjectPgno(pTo, kTo+k) ) return LS_MISUSE;
  for(k=0; k<pRun->nFrame; k++) if( atomic_load(&pTo->aRun[kTo+k]) ) return LS_BUSY;
  for(k=0; k<pRun->nFrame; k++) atomic_store(&pFrom->aRun[kFrom+k], 0);
  if( atomic_load(&pRun->nPin)!=0 ){   /* who pins from here on finds that the frame names the run no more */
    for(k=0; k<pRun->nFrame; k++) atomic_store(&pFrom->aRun[kFrom+k], pRun->iId);
    return LS_BUSY;
  }
  pRun->iObject = pTo->iId;
  pRun->iFrame = kTo;
  for(k=0; k<pRun->nFrame; k++) atomic_store(&pTo->aRun[kTo+k], pRun->iId);
  pFrom->nRunHeld--;
  pTo->nRunHeld++;
  return 0;
}

int lsRunTake(LsRun *p, uint32_t k){
  atomic_uchar *pFlag = &p->aFlag[k - p->iFrame];
  unsigned char e = atomic_load_explicit(pFlag, memory_order_relaxed);
  if( (e & (LS_FLAG_USED|LS_FLAG_MARK))==LS_FLAG_USED ) return e;
  /* Meanwhile the core may set a flag, or another reader take the page. */
  while( !atomic_compare_exchange_weak(pFlag, &e, (unsigned char)((e | LS_FLAG_USED) & ~LS_FLAG_MARK)) ){}
  return e;
}

uint32_t lsFrameSize(const LsObject *p, uint32_t k){
  return (uint32_t)(lsObjectOffset(p, k+1) - lsObjectOffset(p, k));
}

/* Sets a flag on pages iFrame … of a run. */
int ls_run_flag(int iRun, int iFrame, int nFrame, int eFlag){
  LsRun *p = iRun>0 ? runById((uint32_t)iRun) : NULL;
  uint32_t k, k0 = (uint32_t)iFrame;
  if( p==NULL || p->aData==NULL || iFrame<0 || nFrame<0 || k0<p->iFrame ) return LS_MISUSE;
  if( k0+(uint32_t)nFrame>p->iFrame+p->nFrame ) return LS_MISUSE;
  for(k=k0; k<k0+(uint32_t)nFrame; k++) atomic_fetch_or(&p->aFlag[k-p->iFrame], (unsigned char)eFlag);
  return 0;
}

/* How many pages of a run have the flags eFlag and none of eNot. */
int ls_run_count(int iRun, int eFlag, int eNot){
  LsRun *p = iRun>0 ? runById((uint32_t)iRun) : NULL;
  uint32_t k;
  int n = 0;
  if( p==NULL || p->aData==NULL ) return LS_MISUSE;
  for(k=0; k<p->nFrame; k++){
    int e = atomic_load_explicit(&p->aFlag[k], memory_order_relaxed);
    n += (e & eFlag)==eFlag && (e & eNot)==0;
  }
  return n;
}

/* The byte of each page that tells a b-tree page's type; returns how many pages. */
int ls_run_types(int iRun, uint8_t *aOut, int nOut){
  LsRun *p = iRun>0 ? runById((uint32_t)iRun) : NULL;
  LsObject *pObject = p && p->aData ? lsObjectById((int)p->iObject) : NULL;
  uint32_t k;
  if( pObject==NULL ) return LS_MISUSE;
  for(k=0; k<p->nFrame && k<(uint32_t)nOut; k++){
    int iAt = lsObjectPgno(pObject, p->iFrame+k)==1 ? LS_HEAD_SIZE : 0;
    aOut[k] = p->aData[(size_t)k*p->szPage + (size_t)iAt];
  }
  return (int)k;
}

/* Sets a flag on a frame's page; returns whether it is in the pool. */
int ls_object_flag(int iObject, int iFrame, int eFlag){
  LsObject *p = lsObjectById(iObject);
  LsRun *pRun;
  if( p==NULL || p->pLocal || iFrame<0 || (uint32_t)iFrame>=p->nFrame ) return LS_MISUSE;
  pRun = lsPin(p, (uint32_t)iFrame);
  if( pRun==NULL ) return 0;
  atomic_fetch_or(&pRun->aFlag[(uint32_t)iFrame-pRun->iFrame], (unsigned char)eFlag);
  lsUnpin(pRun);
  return 1;
}

/* Copies a page of a run as it is stored. */
int ls_run_page(int iRun, int iFrame, uint8_t *aOut, int nOut){
  LsRun *p = iRun>0 ? runById((uint32_t)iRun) : NULL;
  uint32_t k = (uint32_t)iFrame;
  if( p==NULL || p->aData==NULL || iFrame<0 || k<p->iFrame || k>=p->iFrame+p->nFrame ) return LS_MISUSE;
  if( nOut!=(int)p->szPage ) return LS_MISUSE;
  memcpy(aOut, lsRunPage(p, k), (size_t)nOut);
  return 0;
}

/* Whether a reader took a page of the run since the last call. */
int ls_run_touched(int iRun){
  LsRun *p = iRun>0 ? runById((uint32_t)iRun) : NULL;
  if( p==NULL ) return LS_MISUSE;
  return atomic_exchange_explicit(&p->bTouched, 0, memory_order_relaxed);
}

int ls_pool_bytes(uint64_t *aOut){
  aOut[0] = atomic_load(&nPoolByte);
  return 0;
}

void lsPagesCensus(uint32_t *aOut){
  lsMutexLock(&ioLock);
  aOut[0] = nViewLive;
  aOut[1] = nObjectLive;
  aOut[2] = nRunLive;
  aOut[3] = atomic_load(&nChunkLive);
  lsMutexUnlock(&ioLock);
}
