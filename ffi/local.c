/*
** Local files: pages of one database, each at its place in a plain SQLite file.
**
** PURPOSE   The core puts pages into the file while views still have them in LTX files; what it has put there, it then
**           enters into a page map, whose view reads them from the file. So a reader's page is either here, for as long as
**           its view is pinned, or it is elsewhere: a page that any living view has here is never written again.
** LAYOUT    zPath: page n at (n-1)*szPage, as in any database. zPath"-sums": a CRC-64 of each page, eight bytes, little
**           endian; 0: there is none. What a crash has torn does not fit to its checksum, and counts as not there.
** THREADS   Readers read. All else is the core's, on its thread. The lock on the checksums keeps other processes out.
** MEMORY    Counted: the core's reference, and one of each span; four bytes a page for what no view has yet. Pages that are
**           read often are kept as well where the core gives room for them (warm.c).
** ERRORS    LS_ codes; LS_REFUSED: ls_fault() has the system's words; LS_GONE: somebody else has cut the file.
** LEFT OUT  Which pages to put, and when: that is the core's.
*/
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include "pages.h"

#define LOCAL_MAX    256
#define SPAN_BITS    16
#define SPAN_SIZE    (1u<<SPAN_BITS)     /* pages of a span */
#define PGNO_MAX     (INT32_MAX-1u)      /* the next one is a result still */
#define BATCH_BYTES  (256*1024)
#define SUM_SIZE     8
#define ROLLBACK     1                   /* in bytes 18 and 19 of page 1 */

struct LsLocal {
  atomic_int nRef;
  int iReplica;
  int eFlag;
  LsFd fd;                   /* of the pages; until the last reference goes */
  LsFd fdSum;                /* of the checksums, locked for as long: a view has pages here that nobody may change */
  uint32_t szPage;
  uint64_t szFile;           /* bytes of the pages' file, unless somebody else has cut it */
  uint32_t nSpan;
  LsObject **apSpan;         /* counted; NULL where none was needed yet */
  uint32_t nPage;            /* pages that aHeld covers */
  uint32_t *aHeld;           /* the frame whose content is in the file, which no view has there yet; 0: none */
  uint64_t nPut;             /* pages put so far */
  uint64_t nHeld;            /* entries of aHeld that are not 0 */
  uint32_t *aPending;        /* their pages, page 1 aside, and others whose entries were set before */
  uint32_t nPending, nPendingAlloc;
  uint8_t *aFirst;           /* page 1, put last; NULL once it was */
  int bFirst;                /* aFirst holds it */
  uint8_t *aBatch;           /* neighbouring pages on their way */
  uint8_t *aSum;             /* their checksums */
  uint32_t *aFrame;          /* their frames */
  uint32_t nBatchMax;
  uint32_t iBatch, nBatch;   /* its first page, and how many */
  uint64_t aShift[8][256];   /* a CRC over a page of zeros, byte by byte of what it begins with */
  _Atomic(LsWarm*) pWarm;    /* what is read often; NULL until the core gives room. Made once */
};

static LsMutex tableLock = LS_MUTEX_INIT;
static LsLocal *apLocal[LOCAL_MAX];      /* guarded by tableLock; place 0 stays unused */

static LsLocal *localById(int iLocal){
  LsLocal *p = NULL;
  lsMutexLock(&tableLock);
  if( iLocal>0 && iLocal<LOCAL_MAX ) p = apLocal[iLocal];
  lsMutexUnlock(&tableLock);
  return p;
}

static LsWarm *warmOf(const LsLocal *p){ return atomic_load_explicit(&p->pWarm, memory_order_acquire); }

LsLocal *lsLocalRef(LsLocal *p){
  atomic_fetch_add_explicit(&p->nRef, 1, memory_order_relaxed);
  return p;
}

void lsLocalUnref(LsLocal *p){
  if( atomic_fetch_sub_explicit(&p->nRef, 1, memory_order_acq_rel)!=1 ) return;
  if( p->fd!=LS_NO_FILE ) lsFileClose(p->fd);
  if( p->fdSum!=LS_NO_FILE ) lsFileClose(p->fdSum);
  free(p->apSpan);
  free(p->aHeld);
  free(p->aPending);
  free(p->aFirst);
  free(p->aBatch);
  free(p->aSum);
  free(p->aFrame);
  lsWarmFree(warmOf(p));
  free(p);
}

static void holdSet(LsLocal *p, uint32_t iPgno, uint32_t iFrame);

static int refused(const char *zWhat){
  lsFaultSet("%s: %s", zWhat, lsSystemText());
  return LS_REFUSED;
}

static int readAll(LsFd fd, uint8_t *a, size_t n, uint64_t iAt){ return lsFileRead(fd, a, n, iAt) ? LS_GONE : 0; }

static int writeAll(LsFd fd, const uint8_t *a, size_t n, uint64_t iAt){
  return lsFileWrite(fd, a, n, iAt) ? refused("local file cannot be written") : 0;
}

/*
** Whether somebody else has cut the file. What is written behind the cut would have it read as zeros, where
** readers now fail, and so learn of it.
*/
static int isCut(const LsLocal *p){
  uint64_t sz;
  return lsFileSize(p->fd, &sz)!=0 || sz<p->szFile;
}

/* Writes pages from iPgno on, and their checksums. */
static int pagesWrite(LsLocal *p, uint32_t iPgno, uint32_t n, const uint8_t *aPage, const uint8_t *aSum){
  uint64_t iAt = (uint64_t)(iPgno-1)*p->szPage, szNew = iAt+(uint64_t)n*p->szPage;
  LsWarm *pWarm = warmOf(p);
  int rc;
  if( isCut(p) ) return LS_GONE;
  if( pWarm ) lsWarmDrop(pWarm, iPgno, n);
  rc = writeAll(p->fd, aPage, (size_t)n*p->szPage, iAt);
  if( rc==0 ) rc = writeAll(p->fdSum, aSum, (size_t)n*SUM_SIZE, (uint64_t)(iPgno-1)*SUM_SIZE);
  if( rc==0 && szNew>p->szFile ) p->szFile = szNew;
  return rc;
}

int lsLocalRead(const LsObject *p, uint32_t k, int iFrom, int n, uint8_t *aOut){
  LsWarm *pWarm = warmOf(p->pLocal);
  uint32_t iPgno = p->iPage0+k;
  int rc;
  if( pWarm && lsWarmRead(pWarm, iPgno, iFrom, n, aOut) ) return 0;
  rc = readAll(p->pLocal->fd, aOut, (size_t)n, lsObjectOffset(p, k)+(uint64_t)iFrom);
  if( rc==0 && pWarm && (uint32_t)n==p->szPage ) lsWarmKeep(pWarm, iPgno, aOut);
  return rc;
}

/* From now on up to nPage pages that are read often are kept in memory. Once for each file. */
int ls_local_warm(int iLocal, int nPage){
  LsLocal *p = localById(iLocal);
  LsWarm *pWarm;
  if( p==NULL || nPage<0 || warmOf(p) ) return LS_MISUSE;
  pWarm = lsWarmNew(p->szPage, (uint32_t)nPage);
  if( pWarm==NULL ) return nPage>0 ? LS_NOMEM : 0;
  atomic_store_explicit(&p->pWarm, pWarm, memory_order_release);
  return 0;
}

/* ------------------------------------------------------------------------------------------------ opening */

/* What a CRC becomes over a page of zeros is the sum of what each of its bits becomes. */
static void shiftTables(LsLocal *p){
  uint64_t aBit[64];
  int i, j;
  memset(p->aBatch, 0, p->szPage);
  for(i=0; i<64; i++) aBit[i] = lsCrc(1ull<<i, p->aBatch, p->szPage);
  for(i=0; i<8; i++){
    p->aShift[i][0] = 0;
    for(j=1; j<256; j++){
      int iLow = 0;
      while( ((j>>iLow) & 1)==0 ) iLow++;
      p->aShift[i][j] = p->aShift[i][j & (j-1)] ^ aBit[i*8+iLow];
    }
  }
}

/* A CRC that goes on over a page whose own CRC, from ~0 on, is known. */
static uint64_t crcOver(const LsLocal *p, uint64_t c, uint64_t crcPage){
  uint64_t v = ~c, r = crcPage;
  int i;
  for(i=0; i<8; i++, v>>=8) r ^= p->aShift[i][v & 0xff];
  return r;
}

/*
** Opens a plain file of this user's: a link in its place is not followed, and what somebody else has put there, in a folder
** where all may write, is not believed.
*/
static int fileOpen(const char *zPath, int eFlag, LsFd *pFd){
  return lsFileOpen(zPath, LS_FILE_PLAIN|eFlag, pFd) ? refused(zPath) : 0;
}

/* Opens the checksums, and locks them; LS_BUSY, too, when they were removed by who had the lock until now. */
static int sumsOpen(LsLocal *p, const char *zSum){
  int rc = fileOpen(zSum, 0, &p->fdSum);
  if( rc ) return rc;
  rc = lsFileLock(p->fdSum);
  if( rc ) return rc==LS_IO_BUSY ? LS_BUSY : refused(zSum);
  return lsFileIs(p->fdSum, zSum) ? 0 : LS_BUSY;
}

static int filesOpen(LsLocal *p, const char *zPath){
  size_t n = strlen(zPath)+8;
  char *zSum = malloc(n);
  int eNew = 0, rc;
  if( zSum==NULL ) return LS_NOMEM;
  snprintf(zSum, n, "%s-sums", zPath);
  rc = sumsOpen(p, zSum);
  if( rc==0 && (p->eFlag & LS_LOCAL_KEEP)==0 ){
    /* Who reads the old file goes on with it. */
    rc = lsFileCut(p->fdSum, 0);
    if( rc==0 ) rc = lsFileRemove(zPath);
    rc = rc && rc!=LS_IO_ABSENT ? refused(zPath) : 0;
    eNew = LS_FILE_NEW;
  }
  if( rc==0 ) rc = fileOpen(zPath, eNew, &p->fd);
  if( rc==0 ) (void)lsFileSize(p->fd, &p->szFile);
  if( rc==0 && (p->eFlag & LS_LOCAL_PRIVATE) ){
    (void)lsFileRemove(zSum);
    (void)lsFileRemove(zPath);
  }
  free(zSum);
  return rc;
}

/* Opens a file for a replica's pages: LS_BUSY when another process, or replica, has it. */
int ls_local_open(int iReplica, const char *zPath, int szPage, int eFlag){
  LsLocal *p;
  int i, rc;
  if( szPage<512 || szPage>65536 || (szPage & (szPage-1))!=0 ) return LS_MISUSE;
  p = calloc(1, sizeof(*p));
  if( p==NULL ) return LS_NOMEM;
  atomic_init(&p->nRef, 1);
  p->iReplica = iReplica;
  p->eFlag = eFlag;
  p->fd = p->fdSum = LS_NO_FILE;
  p->szPage = (uint32_t)szPage;
  p->nBatchMax = BATCH_BYTES/p->szPage;
  p->aBatch = malloc(BATCH_BYTES);
  p->aSum = malloc((size_t)p->nBatchMax*SUM_SIZE);
  p->aFrame = malloc((size_t)p->nBatchMax*sizeof(*p->aFrame));
  p->aFirst = eFlag & LS_LOCAL_APART ? NULL : malloc(p->szPage);
  rc = p->aBatch && p->aSum && p->aFrame && (p->aFirst || (eFlag & LS_LOCAL_APART)) ? filesOpen(p, zPath) : LS_NOMEM;
  if( rc==0 ){
    shiftTables(p);
    rc = LS_LIMIT;
    lsMutexLock(&tableLock);
    for(i=1; i<LOCAL_MAX && apLocal[i]; i++){}
    if( i<LOCAL_MAX ){
      apLocal[i] = p;
      rc = i;
    }
    lsMutexUnlock(&tableLock);
  }
  if( rc<0 ) lsLocalUnref(p);
  return rc;
}

/* Gives the core's reference up. Views that have pages here keep the file open, and locked. */
int ls_local_close(int iLocal){
  LsLocal *p;
  uint32_t i;
  lsMutexLock(&tableLock);
  p = iLocal>0 && iLocal<LOCAL_MAX ? apLocal[iLocal] : NULL;
  if( p ) apLocal[iLocal] = NULL;
  lsMutexUnlock(&tableLock);
  if( p==NULL ) return LS_MISUSE;
  for(i=1; p->nHeld>0; i++) holdSet(p, i, 0);
  for(i=0; i<p->nSpan; i++) if( p->apSpan[i] ) lsObjectUnref(p->apSpan[i]);
  p->nSpan = 0;
  lsLocalUnref(p);
  return 0;
}

void lsLocalsLeave(int iReplica){
  int i;
  for(i=1; i<LOCAL_MAX; i++){
    int bIts;
    lsMutexLock(&tableLock);
    bIts = apLocal[i] && apLocal[i]->iReplica==iReplica;
    lsMutexUnlock(&tableLock);
    if( bIts ) ls_local_close(i);
  }
}

/* ------------------------------------------------------------------------------------------------ putting */

/* Room for page iPgno. */
static int grow(LsLocal *p, uint32_t iPgno){
  uint32_t nSpan = ((iPgno-1)>>SPAN_BITS)+1;
  if( iPgno>PGNO_MAX ) return LS_LIMIT;
  if( iPgno>p->nPage ){
    size_t n = (size_t)nSpan<<SPAN_BITS;
    uint32_t *aNew = realloc(p->aHeld, n*sizeof(*aNew));
    if( aNew==NULL ) return LS_NOMEM;
    memset(aNew+p->nPage, 0, (n-p->nPage)*sizeof(*aNew));
    p->aHeld = aNew;
    p->nPage = (uint32_t)n;
  }
  if( nSpan>p->nSpan ){
    LsObject **apNew = realloc(p->apSpan, nSpan*sizeof(*apNew));
    if( apNew==NULL ) return LS_NOMEM;
    memset(apNew+p->nSpan, 0, (nSpan-p->nSpan)*sizeof(*apNew));
    p->apSpan = apNew;
    p->nSpan = nSpan;
  }
  return 0;
}

static uint32_t heldOf(const LsLocal *p, uint32_t iPgno){
  return iPgno<=p->nPage ? p->aHeld[iPgno-1] : 0;
}

/* The object of a frame that is held stays, or its ids could come to name something else. */
static void holdSet(LsLocal *p, uint32_t iPgno, uint32_t iFrame){
  uint32_t *pi = &p->aHeld[iPgno-1];
  LsObject *pNew = iFrame ? lsFrameObject(iFrame) : NULL, *pOld = *pi ? lsFrameObject(*pi) : NULL;
  if( pNew ){
    p->nHeld++;
    if( pNew->nHeld++==0 ) atomic_fetch_add(&pNew->nRef, 1);
  }
  *pi = iFrame;
  if( pOld ){
    p->nHeld--;
    if( --pOld->nHeld==0 ) lsObjectUnref(pOld);
  }
}

/* Remembers that a page's content is in the file now. */
static int hold(LsLocal *p, uint32_t iPgno, uint32_t iFrame){
  if( iPgno>1 && heldOf(p, iPgno)==0 ){
    if( p->nPending==p->nPendingAlloc ){
      uint32_t nNew = p->nPendingAlloc*2+1024;
      uint32_t *aNew = realloc(p->aPending, nNew*sizeof(*aNew));
      if( aNew==NULL ) return LS_NOMEM;
      p->aPending = aNew;
      p->nPendingAlloc = nNew;
    }
    p->aPending[p->nPending++] = iPgno;
  }
  holdSet(p, iPgno, iFrame);
  return 0;
}

/* Whether a frame is a page of this file. */
static int isHere(const LsLocal *p, uint32_t iFrame){
  return iFrame!=0 && lsFrameObject(iFrame)->pLocal==p;
}

static void putSum(uint8_t *a, uint64_t c){
  int i;
  if( c==0 ) c = 1;
  for(i=0; i<SUM_SIZE; i++, c>>=8) a[i] = (uint8_t)c;
}

static int flush(LsLocal *p){
  uint32_t i;
  int rc;
  if( p->nBatch==0 ) return 0;
  for(i=0; i<p->nBatch; i++) holdSet(p, p->iBatch+i, 0);   /* half written it is nobody's */
  rc = pagesWrite(p, p->iBatch, p->nBatch, p->aBatch, p->aSum);
  for(i=0; rc==0 && i<p->nBatch; i++) rc = hold(p, p->iBatch+i, p->aFrame[i]);
  if( rc==0 ) p->nPut += p->nBatch;
  p->nBatch = 0;
  return rc;
}

/* Room for a page's bytes, beside those of the page before it where that is its neighbour. */
static uint8_t *batchNext(LsLocal *p, uint32_t iPgno, int *prc){
  if( p->nBatch>0 && (p->iBatch+p->nBatch!=iPgno || p->nBatch==p->nBatchMax) ) *prc = flush(p);
  if( p->nBatch==0 ) p->iBatch = iPgno;
  return p->aBatch + (size_t)p->nBatch*p->szPage;
}

/* Keeps what stands where batchNext() told. */
static void batchAdd(LsLocal *p, uint32_t iPgno, uint32_t iFrame, uint64_t crc){
  uint8_t *aPage = p->aBatch + (size_t)p->nBatch*p->szPage;
  if( iPgno==1 && (p->eFlag & LS_LOCAL_HEAD) ){
    aPage[18] = aPage[19] = ROLLBACK;
    crc = lsCrc(~0ull, aPage, p->szPage);
  }
  if( iPgno==1 && p->aFirst ){
    memcpy(p->aFirst, aPage, p->szPage);
    p->bFirst = 1;
    holdSet(p, 1, iFrame);
    return;
  }
  putSum(p->aSum+(size_t)p->nBatch*SUM_SIZE, crc);
  p->aFrame[p->nBatch++] = iFrame;
}

/* Whether a view has pages in the file. */
static int hasPages(const LsLocal *p, const LsView *pView){
  uint32_t i;
  for(i=0; i<pView->nObject; i++) if( pView->apObject[i]->pLocal==p ) return 1;
  return 0;
}

/* All live views of the replica that have pages in the file, each with a reference; -1: no memory. */
static int viewsHere(const LsLocal *p, LsView ***pap){
  int i, n = lsViewsOf(p->iReplica, pap), nHere = 0;
  for(i=0; i<n; i++){
    if( hasPages(p, (*pap)[i]) ) (*pap)[nHere++] = (*pap)[i];
    else lsViewUnref((*pap)[i]);
  }
  return n<0 ? n : nHere;
}

/* A view, all of its replica that have pages here, and an object, for as long as frames of it are looked at. */
typedef struct Looked {
  LsLocal *p;
  LsObject *pObject;
  LsView *pView;
  LsView **apView;
  int nView;
} Looked;

static void lookEnd(Looked *p){
  int i;
  for(i=0; i<p->nView; i++) lsViewUnref(p->apView[i]);
  free(p->apView);
  if( p->pView ) lsViewUnref(p->pView);
}

/* 0, or what was wrong with the handles; then there is nothing to end. */
static int look(Looked *p, int iLocal, int iView, int iObject, int iFrame, int nFrame){
  memset(p, 0, sizeof(*p));
  p->p = localById(iLocal);
  p->pObject = lsObjectById(iObject);
  if( p->p==NULL || p->pObject==NULL || !p->pObject->bComplete || p->pObject->pLocal ) return LS_MISUSE;
  if( p->pObject->szPage!=p->p->szPage || iFrame<0 || nFrame<1 ) return LS_MISUSE;
  if( (uint32_t)iFrame+(uint32_t)nFrame>p->pObject->nFrame ) return LS_MISUSE;
  p->pView = lsViewById((uint32_t)iView);
  if( p->pView==NULL || p->pView->iReplica!=p->p->iReplica ){
    lookEnd(p);
    return LS_MISUSE;
  }
  p->nView = viewsHere(p->p, &p->apView);
  if( p->nView>=0 ) return 0;
  p->nView = 0;
  lookEnd(p);
  return LS_NOMEM;
}

/* Whether the view has a frame's page there, and the file does not. */
static int isLacking(const Looked *p, uint32_t k){
  uint32_t iPgno = lsObjectPgno(p->pObject, k), iFrame = p->pObject->iFirst+k;
  return lsViewFrame(p->pView, iPgno)==iFrame && heldOf(p->p, iPgno)!=iFrame;
}

/* Whether a view has a page in this file, and so keeps it as it is. */
static int isSeen(const Looked *p, uint32_t iPgno){
  int i;
  for(i=0; i<p->nView; i++) if( isHere(p->p, lsViewFrame(p->apView[i], iPgno)) ) return 1;
  return 0;
}

/* Puts the page of a frame that the file lacks; passes over one that another view keeps. */
static int putPage(const Looked *p, uint32_t k, const uint8_t *aPage){
  uint32_t iPgno = lsObjectPgno(p->pObject, k);
  int rc = 0;
  uint8_t *aTo;
  if( isSeen(p, iPgno) ) return 0;
  rc = grow(p->p, iPgno);
  aTo = rc ? NULL : batchNext(p->p, iPgno, &rc);
  if( rc ) return rc;
  memcpy(aTo, aPage, p->p->szPage);
  batchAdd(p->p, iPgno, p->pObject->iFirst+k, lsCrc(~0ull, aTo, p->p->szPage));
  return 0;
}

/* The frames k0 … k1-1, whose stored bytes are aByte; see ls_local_put(). */
static int putFrames(const Looked *pLooked, uint32_t k0, uint32_t k1, const uint8_t *aByte, uint64_t *pCrc){
  LsLocal *p = pLooked->p;
  const LsObject *pObject = pLooked->pObject;
  uint64_t iStart = lsObjectOffset(pObject, k0);
  uint32_t k;
  int nBusy = 0, rc = 0;
  for(k=k0; k<k1; k++){
    const uint8_t *a = aByte + (lsObjectOffset(pObject, k)-iStart);
    uint32_t iPgno = lsObjectPgno(pObject, k);
    uint8_t *aPage;
    uint64_t crc;
    rc = grow(p, iPgno);
    if( rc ) return rc;
    aPage = batchNext(p, iPgno, &rc);
    if( rc==0 ) rc = lsFrameDecode(a, lsFrameSize(pObject, k), iPgno, p->szPage, aPage);
    if( rc ) return rc;
    crc = lsCrc(~0ull, aPage, p->szPage);
    *pCrc = crcOver(p, lsCrc(*pCrc, a, a[5]==1 ? 10 : 6), crc);   /* as lsFrameDecode() has found them */
    if( !isLacking(pLooked, k) ) continue;
    if( isSeen(pLooked, iPgno) ) nBusy++;
    else batchAdd(p, iPgno, pObject->iFirst+k, crc);
  }
  rc = flush(p);
  return rc ? rc : nBusy;
}

/*
** Puts those of an object's frames into the file that view iView has there; aByte is exactly their stored bytes. Returns how
** many were left because another view has their pages in the file. aCrc[0] goes on over all frames, as a file's checksum does.
*/
int ls_local_put(int iLocal, int iView, int iObject, int iFrame, int nFrame, const uint8_t *aByte, int nByte, uint64_t *aCrc){
  Looked looked;
  uint32_t k0 = (uint32_t)iFrame, k1 = k0+(uint32_t)nFrame;
  int rc = look(&looked, iLocal, iView, iObject, iFrame, nFrame);
  if( rc ) return rc;
  if( (uint64_t)nByte!=lsObjectOffset(looked.pObject, k1)-lsObjectOffset(looked.pObject, k0) ) rc = LS_MISUSE;
  else rc = putFrames(&looked, k0, k1, aByte, aCrc);
  looked.p->nBatch = 0;
  lookEnd(&looked);
  return rc;
}

/*
** Puts those of an object's frames that are in the pool, likewise. Returns how many the file lacks still.
*/
int ls_local_take(int iLocal, int iView, int iObject, int iFrame, int nFrame){
  Looked looked;
  uint32_t k;
  int n = 0, rc = look(&looked, iLocal, iView, iObject, iFrame, nFrame);
  if( rc ) return rc;
  for(k=(uint32_t)iFrame; rc==0 && k<(uint32_t)iFrame+(uint32_t)nFrame; k++){
    LsRun *pRun = isLacking(&looked, k) ? lsPin(looked.pObject, k) : NULL;
    if( pRun ){
      rc = putPage(&looked, k, lsRunPage(pRun, k));
      lsUnpin(pRun);
    }
  }
  if( rc==0 ) rc = flush(looked.p);
  for(k=(uint32_t)iFrame; k<(uint32_t)iFrame+(uint32_t)nFrame; k++) n += isLacking(&looked, k);
  looked.p->nBatch = 0;
  lookEnd(&looked);
  return rc ? rc : n;
}

/*
** aOut[0] grows by how many of an object's frames view iView has there, and the file lacks; aOut[1] by those of them that
** cannot be put yet, because another view has their pages in the file.
*/
int ls_local_needs(int iLocal, int iView, int iObject, int iFrame, int nFrame, uint64_t *aOut){
  Looked looked;
  uint32_t k;
  int rc = look(&looked, iLocal, iView, iObject, iFrame, nFrame);
  if( rc ) return rc;
  for(k=(uint32_t)iFrame; k<(uint32_t)iFrame+(uint32_t)nFrame; k++){
    if( !isLacking(&looked, k) ) continue;
    aOut[0]++;
    aOut[1] += (uint64_t)isSeen(&looked, lsObjectPgno(looked.pObject, k));
  }
  lookEnd(&looked);
  return 0;
}

/* Puts page 1, which was held back: until all others are there, nobody should take the file for a database. */
int ls_local_first(int iLocal){
  LsLocal *p = localById(iLocal);
  uint8_t aSum[SUM_SIZE];
  int rc = 0;
  if( p==NULL ) return LS_MISUSE;
  if( p->aFirst && p->bFirst ){
    putSum(aSum, lsCrc(~0ull, p->aFirst, p->szPage));
    rc = pagesWrite(p, 1, 1, p->aFirst, aSum);
    if( rc==0 ) p->nPut++;
  }
  if( rc==0 ){
    free(p->aFirst);
    p->aFirst = NULL;
  }
  return rc;
}

/* Gives the file its size; LS_BUSY when a view has pages in it that would go. */
int ls_local_truncate(int iLocal, uint32_t iCommit){
  LsLocal *p = localById(iLocal);
  LsView **ap = NULL;
  uint32_t iPgno;
  int i, n, rc = 0;
  if( p==NULL ) return LS_MISUSE;
  n = viewsHere(p, &ap);
  if( n<0 ) return LS_NOMEM;
  for(i=0; i<n; i++){
    for(iPgno=iCommit+1; rc==0 && iPgno>0 && iPgno<=ap[i]->iCommit; iPgno++){
      if( isHere(p, lsViewFrame(ap[i], iPgno)) ) rc = LS_BUSY;
    }
    lsViewUnref(ap[i]);
  }
  free(ap);
  if( rc ) return rc;
  if( isCut(p) ) return LS_GONE;
  for(iPgno=iCommit+1; iPgno>0 && iPgno<=p->nPage; iPgno++) holdSet(p, iPgno, 0);
  if( lsFileCut(p->fd, (uint64_t)iCommit*p->szPage) ) return refused("local file cannot be given its size");
  p->szFile = (uint64_t)iCommit*p->szPage;
  if( lsFileCut(p->fdSum, (uint64_t)iCommit*SUM_SIZE) ) return refused("checksums of a local file cannot be given their size");
  return 0;
}

/* --------------------------------------------------------------------------------------------- publishing */

/* The span of a page, made if need be; NULL: no memory. */
static LsObject *spanOf(LsLocal *p, uint32_t iPgno){
  uint32_t i = (iPgno-1)>>SPAN_BITS;
  if( grow(p, iPgno)!=0 ) return NULL;
  if( p->apSpan[i]==NULL ) p->apSpan[i] = lsSpanNew(p, p->iReplica, p->szPage, (i<<SPAN_BITS)+1, SPAN_SIZE);
  return p->apSpan[i];
}

static int enter(int iMap, LsLocal *p, uint32_t iPgno){
  LsObject *pSpan = spanOf(p, iPgno);
  return pSpan ? lsMapSet(iMap, iPgno, pSpan, iPgno-pSpan->iPage0) : LS_NOMEM;
}

/* Enters a page into a map if what was put for it is what the map has; forgets it in any case. */
static int enterHeld(int iMap, LsLocal *p, uint32_t iPgno){
  uint32_t iHeld = heldOf(p, iPgno);
  if( iHeld==0 || (iPgno==1 && p->aFirst) ) return 0;
  holdSet(p, iPgno, 0);
  return iHeld==lsMapFrame(iMap, iPgno) ? enter(iMap, p, iPgno) : 0;
}

/*
** Enters what was put into a map, at most nMax pages: those whose frame the map has; what was put for another is forgotten.
** Returns whether there is more: call it again.
*/
int ls_local_enter(int iMap, int iLocal, int nMax){
  LsLocal *p = localById(iLocal);
  int rc;
  if( p==NULL || nMax<1 || !lsMapIs(iMap) ) return LS_MISUSE;
  rc = enterHeld(iMap, p, 1);
  for(; rc==0 && p->nPending>0 && nMax>0; nMax--) rc = enterHeld(iMap, p, p->aPending[--p->nPending]);
  return rc ? rc : p->nPending>0;
}

/*
** Enters those pages from iPgno on into a map, at most nMax, that a view has in the file whose content is the map's. Returns
** the next page, or 0 at the end.
*/
int ls_local_copy(int iMap, int iLocal, int iView, uint32_t iPgno, int nMax){
  LsLocal *p = localById(iLocal);
  LsView *pView;
  uint32_t nPage;
  int n, rc = 0;
  if( p==NULL || iPgno<1 || nMax<1 || !lsMapIs(iMap) ) return LS_MISUSE;
  pView = lsViewById((uint32_t)iView);
  if( pView==NULL ) return LS_MISUSE;
  nPage = pView->iCommit<PGNO_MAX ? pView->iCommit : PGNO_MAX;
  for(n=0; rc==0 && n<nMax && iPgno<=nPage; n++, iPgno++){
    if( isHere(p, lsViewFrame(pView, iPgno)) && !isHere(p, lsMapFrame(iMap, iPgno)) ) rc = enter(iMap, p, iPgno);
  }
  if( rc==0 && iPgno<=nPage ) rc = (int)iPgno;
  lsViewUnref(pView);
  return rc;
}

/* The same of all pages of a database that the file has whole. */
int ls_local_map(int iMap, int iLocal, uint32_t iCommit, uint32_t iPgno, int nMax){
  LsLocal *p = localById(iLocal);
  int n;
  if( p==NULL || iPgno<1 || nMax<1 ) return LS_MISUSE;
  if( iCommit>PGNO_MAX ) return LS_LIMIT;
  for(n=0; n<nMax && iPgno<=iCommit; n++, iPgno++){
    int rc = iPgno==lsLockPage(p->szPage) ? 0 : enter(iMap, p, iPgno);
    if( rc ) return rc;
  }
  return iPgno>iCommit ? 0 : (int)iPgno;
}

/* ------------------------------------------------------------------------------------- what was there before */

static uint64_t getSum(const uint8_t *a){
  uint64_t c = 0;
  int i;
  for(i=SUM_SIZE-1; i>=0; i--) c = c<<8 | a[i];
  return c;
}

/* Whether the page that stands at a place of the batch fits to its checksum. */
static int isWhole(const LsLocal *p, uint32_t i){
  uint8_t aSum[SUM_SIZE];
  uint64_t c = getSum(p->aSum+(size_t)i*SUM_SIZE);
  if( c==0 ) return 0;
  putSum(aSum, lsCrc(~0ull, p->aBatch+(size_t)i*p->szPage, p->szPage));
  return getSum(aSum)==c;
}

/* Reads as many pages and checksums as there are, at most a batch. */
static uint32_t batchRead(LsLocal *p, uint32_t iPgno, uint32_t nMax){
  uint64_t n = 0, nSum = 0;
  if( lsFileSize(p->fd, &n) || lsFileSize(p->fdSum, &nSum) ) return 0;
  n /= p->szPage;
  nSum /= SUM_SIZE;
  if( n>nSum ) n = nSum;
  if( n>PGNO_MAX ) n = PGNO_MAX;
  n = n>=iPgno ? n-iPgno+1 : 0;
  if( n>nMax ) n = nMax;
  if( n>p->nBatchMax ) n = p->nBatchMax;
  if( n==0 ) return 0;
  if( readAll(p->fd, p->aBatch, (size_t)n*p->szPage, (uint64_t)(iPgno-1)*p->szPage) ) return 0;
  if( readAll(p->fdSum, p->aSum, (size_t)n*SUM_SIZE, (uint64_t)(iPgno-1)*SUM_SIZE) ) return 0;
  return (uint32_t)n;
}

/*
** Looks which pages from iPgno on are whole, at most nMax. With iView they count as put for the frames that this view has.
** aOut[0] grows by their number. Returns the next page, or 0 at the end of the file or the view.
*/
int ls_local_check(int iLocal, int iView, uint32_t iPgno, int nMax, uint64_t *aOut){
  LsLocal *p = localById(iLocal);
  LsView *pView = NULL;
  int rc = 0;
  if( p==NULL || iPgno<1 || nMax<1 ) return LS_MISUSE;
  if( iView && (pView = lsViewById((uint32_t)iView))==NULL ) return LS_MISUSE;
  while( nMax>0 && rc==0 ){
    uint32_t i, n = batchRead(p, iPgno, (uint32_t)nMax);
    if( n==0 || (pView && iPgno>pView->iCommit) ) break;
    if( pView ) rc = grow(p, iPgno+n-1);
    for(i=0; i<n && rc==0; i++){
      uint32_t iFrame = pView ? lsViewFrame(pView, iPgno+i) : 0;
      if( !isWhole(p, i) || (pView && (iFrame==0 || isHere(p, iFrame))) ) continue;
      if( pView && (rc = hold(p, iPgno+i, iFrame))!=0 ) break;
      if( iPgno+i==1 ){
        free(p->aFirst);               /* it stands in its place */
        p->aFirst = NULL;
      }
      aOut[0]++;
    }
    iPgno += n;
    nMax -= (int)n;
  }
  if( pView ) lsViewUnref(pView);
  if( rc ) return rc;
  return nMax>0 ? 0 : (int)iPgno;
}

/* Has pages count as not there: those of an object's frames from iFrame on, at most nMax. Returns the next frame, or 0. */
int ls_local_forget(int iLocal, int iObject, int iFrame, int nMax){
  static const uint8_t aNone[SUM_SIZE];
  LsLocal *p = localById(iLocal);
  LsObject *pObject = lsObjectById(iObject);
  uint32_t k;
  if( p==NULL || pObject==NULL || !pObject->bComplete || pObject->pLocal || iFrame<0 || nMax<1 ) return LS_MISUSE;
  for(k=(uint32_t)iFrame; k<pObject->nFrame; k++){
    uint32_t iPgno = lsObjectPgno(pObject, k);
    int rc;
    if( k-(uint32_t)iFrame>=(uint32_t)nMax ) return (int)k;
    if( iPgno<=p->nPage ) holdSet(p, iPgno, 0);
    rc = writeAll(p->fdSum, aNone, SUM_SIZE, (uint64_t)(iPgno-1)*SUM_SIZE);
    if( rc ) return rc;
  }
  return 0;
}

/* Pages put so far; pages put that no view has there yet; 1 while page 1 is held back. */
int ls_local_state(int iLocal, uint64_t *aOut){
  LsLocal *p = localById(iLocal);
  if( p==NULL ) return LS_MISUSE;
  aOut[0] = p->nPut;
  aOut[1] = p->nHeld;
  aOut[2] = p->aFirst!=NULL;
  return 0;
}
