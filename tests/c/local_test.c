/*
** Local files: what is put into them, what is read from them, what is made of one that was there.
**
** A page's content tells its version and its number. A state is a view and the version of each of its pages.
** First there is no reader but pins; then files without SQLite around them, and SQLite. ROUNDS: states of
** the last test.
*/
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "harness.h"

static TestCore core;
static char zFolder[128];

/* ---------------------------------------------------------------------------------------------- a replica */

enum { FILES_MAX = 400 };

typedef struct World {
  int iReplica, iView, iLocal;
  uint32_t szPage, nPage;
  uint64_t iTxid;
  uint32_t iStamp;
  int aObject[FILES_MAX];            /* 0: freed */
  LtxFile *apFile[FILES_MAX];
  uint8_t aFileVersion[FILES_MAX];
  int nObject;
  uint8_t *aVersion;                 /* of each page of the newest state */
} World;

/* A state that a transaction sees. */
typedef struct State {
  LsView *pView;
  uint32_t nPage;
  uint8_t *aVersion;
} State;

static void fill(void *pArg, uint32_t iPgno, uint8_t *aPage, uint32_t szPage){
  uint32_t iVersion = *(uint8_t*)pArg, i;
  for(i=0; i<szPage; i++) aPage[i] = (uint8_t)(i*(iVersion+1)+(i>>8)+iPgno*37);
  aPage[0] = (uint8_t)iVersion;
  for(i=1; i<5; i++) aPage[i] = (uint8_t)(iPgno>>(i*8-8));
  aPage[18] = aPage[19] = 2;         /* WAL */
}

static void pathOf(char *zOut, const char *zName){ snprintf(zOut, 200, "%s/%s", zFolder, zName); }

static int localOpen(const World *p, const char *zName, int eFlag){
  char z[200];
  pathOf(z, zName);
  return ls_local_open(p->iReplica, z, (int)p->szPage, eFlag);
}

static long long sizeOf(const char *zName){
  struct stat st;
  char z[200];
  pathOf(z, zName);
  return stat(z, &st)==0 ? (long long)st.st_size : -1;
}

/* Bytes of a file as they stand there. */
static void bytesOf(const char *zName, uint64_t iAt, uint8_t *aOut, size_t n){
  char z[200];
  int fd;
  pathOf(z, zName);
  fd = open(z, O_RDONLY);
  NEED(fd>=0);
  memset(aOut, 0xaa, n);
  CHECK_INT(pread(fd, aOut, n, (off_t)iAt), n);
  close(fd);
}

static void byteFlip(const char *zName, uint64_t iAt){
  char z[200];
  uint8_t b;
  int fd;
  pathOf(z, zName);
  fd = open(z, O_RDWR);
  NEED(fd>=0 && pread(fd, &b, 1, (off_t)iAt)==1);
  b ^= 0x40;
  NEED(pwrite(fd, &b, 1, (off_t)iAt)==1);
  close(fd);
}

static void cut(const char *zName, long long n){
  char z[200];
  pathOf(z, zName);
  NEED(truncate(z, (off_t)n)==0);
}

static void gone(const char *zName){
  char z[220];
  pathOf(z, zName);
  unlink(z);
  strcat(z, "-sums");
  unlink(z);
}

static void worldBegin(World *p, uint32_t szPage){
  memset(p, 0, sizeof(*p));
  p->szPage = szPage;
  p->iReplica = ls_replica_new(core.iCore, 20000);
  NEED(p->iReplica>0);
}

/* A file of these pages, for a database of nPage pages; returns its place. */
static int fileAdd(World *p, uint32_t nPage, const uint32_t *aPgno, uint32_t n, PageFill xFill, void *pArg,
                   int eEncoding){
  int i = p->nObject++;
  NEED(i<FILES_MAX);
  p->apFile[i] = ltxBuild(p->szPage, nPage, 0, aPgno, n, xFill, pArg, eEncoding);
  p->aObject[i] = ltxObject(p->apFile[i], p->iReplica, 1000);
  NEED(p->aObject[i]>0 && p->aObject[i]<CORE_OBJECTS);
  core.apFile[p->aObject[i]] = p->apFile[i];
  return i;
}

/* The same of pages iFirst … iLast in a version. */
static int fileOf(World *p, uint32_t nPage, uint32_t iFirst, uint32_t iLast, uint8_t iVersion){
  uint32_t *a = malloc(sizeof(uint32_t)*(iLast-iFirst+1)), iPgno, n = 0;
  int i;
  NEED(a!=NULL);
  for(iPgno=iFirst; iPgno<=iLast; iPgno++) if( iPgno!=lsLockPage(p->szPage) ) a[n++] = iPgno;
  i = fileAdd(p, nPage, a, n, fill, &iVersion, iVersion & 1 ? ENCODE_BLOCK : ENCODE_FRAME);
  p->aFileVersion[i] = iVersion;
  free(a);
  return i;
}

static void fileDrop(World *p, int k){
  if( p->aObject[k] ) coreDropObject(&core, p->aObject[k]);
  p->aObject[k] = 0;
}

/* Makes a map the newest view; what p says of the state is what it is to be. */
static void publishMap(World *p, int iMap){
  int iNew = ls_map_view(iMap, p->iReplica, p->iTxid, p->nPage, p->iStamp, 1700000000000ull+p->iTxid);
  NEED(iNew>0);
  CHECK_INT(ls_view_publish(iNew), 0);
  if( p->iView ) ls_view_release(p->iView);
  p->iView = iNew;
}

/* The next state: the newest one under a file's pages, cut to nPage. */
static void commit(World *p, int i, uint32_t nPage){
  int iMap = ls_map_new(p->iView, (int)p->szPage);
  LsObject *pObject = lsObjectById(p->aObject[i]);
  uint32_t k;
  NEED(iMap>0 && ls_map_apply(iMap, p->aObject[i], 0, 1<<30)==0 && ls_map_truncate(iMap, nPage)==0);
  p->aVersion = realloc(p->aVersion, (size_t)nPage+1);
  NEED(p->aVersion!=NULL);
  for(k=0; k<pObject->nFrame; k++) p->aVersion[lsObjectPgno(pObject, k)] = p->aFileVersion[i];
  p->nPage = nPage;
  p->iTxid++;
  p->iStamp = (uint32_t)ls_stamp();
  publishMap(p, iMap);
}

/* A new state of pages iFirst … iLast in a version; returns its file. */
static int change(World *p, uint32_t nPage, uint32_t iFirst, uint32_t iLast, uint8_t iVersion){
  int i = fileOf(p, nPage, iFirst, iLast, iVersion);
  commit(p, i, nPage);
  return i;
}

/* Puts frames of a file; their bytes end where the allocation does. */
static int putSome(World *p, int i, int iFrame, int nFrame, uint64_t *pCrc){
  uint64_t iStart, iEnd;
  uint8_t *a;
  int rc;
  NEED(ls_object_offset(p->aObject[i], iFrame, &iStart)==0);
  NEED(ls_object_offset(p->aObject[i], iFrame+nFrame, &iEnd)==0);
  a = malloc((size_t)(iEnd-iStart));
  NEED(a!=NULL);
  memcpy(a, p->apFile[i]->aByte+iStart, (size_t)(iEnd-iStart));
  rc = ls_local_put(p->iLocal, p->iView, p->aObject[i], iFrame, nFrame, a, (int)(iEnd-iStart), pCrc);
  free(a);
  return rc;
}
static int put(World *p, int i){
  uint64_t crc = ~0ull;
  return putSome(p, i, 0, ls_object_count(p->aObject[i]), &crc);
}

/* A map of the newest state with what was put, a few pages at a time. */
static int entered(World *p){
  int iMap = ls_map_new(p->iView, (int)p->szPage), rc;
  NEED(iMap>0);
  do rc = ls_local_enter(iMap, p->iLocal, 700); while( rc>0 );
  CHECK_INT(rc, 0);
  return iMap;
}

/* Has readers find in the file what was put. */
static void enter(World *p){ publishMap(p, entered(p)); }

static State stateTake(const World *p){
  State s;
  s.pView = lsViewPin(lsViewById((uint32_t)p->iView));
  s.nPage = p->nPage;
  s.aVersion = malloc((size_t)p->nPage+1);
  NEED(s.aVersion!=NULL);
  memcpy(s.aVersion, p->aVersion, (size_t)p->nPage+1);
  return s;
}
static void stateDrop(State *p){
  lsViewUnpin(p->pView);
  free(p->aVersion);
}

/* The object and frame of a page in this very view, wherever the same content lies by now. */
static LsObject *placeOf(const LsView *pView, uint32_t iPgno, uint32_t *pk){
  uint32_t iFrame = lsViewFrame(pView, iPgno);
  LsObject *p = iFrame ? lsFrameObject(iFrame) : NULL;
  *pk = p ? iFrame-p->iFirst : 0;
  return p;
}

/* How many pages a view has in a local file; each must be what its version says. */
static int localPages(const LsView *pView, uint32_t nPage, const uint8_t *aVersion, int bHead){
  uint8_t *aFound = malloc(65536), *aWant = malloc(65536);
  uint32_t iPgno, k;
  int n = 0;
  NEED(aFound!=NULL && aWant!=NULL);
  for(iPgno=1; iPgno<=nPage; iPgno++){
    LsObject *p = placeOf(pView, iPgno, &k);
    uint8_t iVersion = aVersion[iPgno];
    if( p==NULL || p->pLocal==NULL ) continue;
    n++;
    CHECK_INT(lsObjectPgno(p, k), iPgno);
    CHECK_INT(lsLocalRead(p, k, 0, (int)p->szPage, aFound), 0);
    fill(&iVersion, iPgno, aWant, p->szPage);
    if( bHead && iPgno==1 ) aWant[18] = aWant[19] = 1;
    if( memcmp(aFound, aWant, p->szPage)!=0 ){
      checkFailed(__FILE__, __LINE__, "page %u is of page %u in version %d, expected version %d", iPgno,
        (uint32_t)aFound[1]|(uint32_t)aFound[2]<<8|(uint32_t)aFound[3]<<16, aFound[0], iVersion);
    }
  }
  free(aFound);
  free(aWant);
  return n;
}
static int stateLocal(const State *p){ return localPages(p->pView, p->nPage, p->aVersion, 0); }
static int newestLocal(const World *p){
  LsView *pView = lsViewById((uint32_t)p->iView);
  int n = localPages(pView, p->nPage, p->aVersion, 0);
  lsViewUnref(pView);
  return n;
}

static uint64_t word(const World *p, int i){
  uint64_t a[3] = {0,0,0};
  CHECK_INT(ls_local_state(p->iLocal, a), 0);
  return a[i];
}
#define PUT   0
#define HELD  1
#define FIRST 2

static const char *fault(void){
  static char z[LS_FAULT_SIZE+1];
  int n = ls_fault((uint8_t*)z, LS_FAULT_SIZE);
  z[n] = 0;
  return z;
}

static uint64_t get64le(const uint8_t *a){
  uint64_t c = 0;
  int i;
  for(i=7; i>=0; i--) c = c<<8 | a[i];
  return c;
}

/* Gives all up. A local file that is open is closed, and its names go. */
static void worldEnd(World *p, const char *zName){
  int i;
  if( p->iLocal>0 ) CHECK_INT(ls_local_close(p->iLocal), 0);
  if( p->iView ) ls_view_release(p->iView);
  CHECK_INT(ls_replica_close(p->iReplica), 0);
  for(i=0; i<p->nObject; i++) fileDrop(p, i);
  for(i=0; i<p->nObject; i++) ltxFree(p->apFile[i]);
  free(p->aVersion);
  if( zName ) gone(zName);
  CHECK_EMPTY();
}

/* ------------------------------------------------------------------------------------------------ putting */

/* Every byte of both files, page by page, is what the newest state says; but page 1 where it is held back. */
static void wholeFile(const World *p, const char *zName, int bFirst, int bHead){
  uint8_t *a = malloc(p->szPage), *aWant = malloc(p->szPage), aSum[8];
  uint32_t iPgno;
  NEED(a!=NULL && aWant!=NULL);
  for(iPgno=1+(uint32_t)!bFirst; iPgno<=p->nPage; iPgno++){
    uint8_t iVersion = p->aVersion[iPgno];
    uint64_t crc;
    if( iPgno==lsLockPage(p->szPage) ) continue;
    fill(&iVersion, iPgno, aWant, p->szPage);
    if( bHead && iPgno==1 ) aWant[18] = aWant[19] = 1;
    bytesOf(zName, (uint64_t)(iPgno-1)*p->szPage, a, p->szPage);
    CHECK(memcmp(a, aWant, p->szPage)==0);
    crc = crcBits(~0ull, aWant, p->szPage);
    bytesOf("f-sums", (uint64_t)(iPgno-1)*8, aSum, 8);
    CHECK(get64le(aSum)==crc);
  }
  free(a);
  free(aWant);
}

static void putting(void){
  World w;
  int iBase, iOver;
  uint8_t a[512], aSum[8];
  uint32_t i;
  worldBegin(&w, 512);
  iBase = change(&w, 300, 1, 300, 3);
  iOver = change(&w, 300, 100, 119, 4);
  w.iLocal = localOpen(&w, "f", LS_LOCAL_HEAD);
  CHECK(w.iLocal>0);
  CHECK_INT(word(&w, FIRST), 1);
  CHECK_INT(put(&w, iBase), 0);
  CHECK_INT(word(&w, PUT), 279);             /* neither page 1 nor what the other file is over */
  CHECK_INT(word(&w, HELD), 280);
  CHECK_INT(put(&w, iOver), 0);
  CHECK_INT(word(&w, PUT), 299);
  CHECK_INT(sizeOf("f"), 300*512);
  CHECK_INT(sizeOf("f-sums"), 300*8);
  wholeFile(&w, "f", 0, 1);
  bytesOf("f", 0, a, 512);
  bytesOf("f-sums", 0, aSum, 8);
  for(i=0; i<512; i++) CHECK_INT(a[i], 0);
  CHECK_INT(get64le(aSum), 0);
  enter(&w);
  CHECK_INT(newestLocal(&w), 299);           /* all but page 1 */
  CHECK_INT(word(&w, HELD), 1);
  CHECK_INT(ls_local_first(w.iLocal), 0);
  CHECK_INT(word(&w, FIRST), 0);
  CHECK_INT(word(&w, PUT), 300);
  wholeFile(&w, "f", 1, 1);
  enter(&w);
  {
    LsView *pView = lsViewById((uint32_t)w.iView);
    CHECK_INT(localPages(pView, w.nPage, w.aVersion, 1), 300);
    lsViewUnref(pView);
  }
  CHECK_INT(word(&w, HELD), 0);
  CHECK_INT(put(&w, iBase), 0);              /* nothing of it is wanted any more */
  CHECK_INT(put(&w, iOver), 0);
  CHECK_INT(word(&w, PUT), 300);
  CHECK_INT(put(&w, change(&w, 300, 1, 1, 5)), 0);
  wholeFile(&w, "f", 1, 1);                  /* page 1 written straight to its place */
  worldEnd(&w, "f");
}

/* Page 1 that is put anew while it is held back; and when it is not held back it goes like any other. */
static void firstPage(void){
  World w;
  int iNext;
  worldBegin(&w, 512);
  w.iLocal = localOpen(&w, "f", 0);
  iNext = change(&w, 9, 1, 9, 1);
  CHECK_INT(put(&w, iNext), 0);
  iNext = change(&w, 9, 1, 1, 2);
  CHECK_INT(put(&w, iNext), 0);
  enter(&w);
  CHECK_INT(newestLocal(&w), 8);
  CHECK_INT(ls_local_first(w.iLocal), 0);
  enter(&w);
  CHECK_INT(newestLocal(&w), 9);             /* in its second version */
  wholeFile(&w, "f", 1, 0);
  iNext = change(&w, 9, 1, 2, 3);
  CHECK_INT(newestLocal(&w), 7);
  CHECK_INT(put(&w, iNext), 0);
  enter(&w);
  CHECK_INT(newestLocal(&w), 9);
  CHECK_INT(ls_local_first(w.iLocal), 0);    /* there is none: nothing happens */
  CHECK_INT(newestLocal(&w), 9);
  iNext = change(&w, 9, 1, 1, 4);            /* held back, and then its state goes by: it is not entered */
  CHECK_INT(ls_local_close(w.iLocal), 0);
  CHECK_INT(localOpen(&w, "f", 0), LS_BUSY); /* the newest view has pages in it */
  w.iLocal = localOpen(&w, "g", 0);
  CHECK_INT(put(&w, iNext), 0);
  change(&w, 9, 1, 1, 5);
  CHECK_INT(ls_local_first(w.iLocal), 0);
  enter(&w);
  CHECK_INT(newestLocal(&w), 8);
  worldEnd(&w, "f");
  gone("g");
}

/* The lock page, past which a frame's number is not its page's; the file's gigabyte takes next to none. */
static void lockPage(void){
  World w;
  uint32_t iLock = lsLockPage(65536), i, *a = malloc(sizeof(uint32_t)*iLock);
  LtxFile *pIndex;
  uint8_t *aPage = malloc(65536), aSum[24];
  uint64_t nWhole = 0;
  int iObject, iMap, iLast, iNext;
  NEED(a!=NULL && aPage!=NULL);
  worldBegin(&w, 65536);
  for(i=1; i<iLock-1; i++) a[i-1] = i;
  pIndex = ltxIndexOnly(65536, iLock+2, 0, a, iLock-2, 40);
  iObject = ltxObject(pIndex, w.iReplica, 100000);
  iMap = ls_map_new(0, 65536);
  iLast = fileOf(&w, iLock+2, iLock-1, iLock+2, 7);
  NEED(ls_map_apply(iMap, iObject, 0, 1<<30)==0 && ls_map_apply(iMap, w.aObject[iLast], 0, 100)==0);
  w.nPage = iLock+2;
  w.aVersion = calloc(1, w.nPage+1);
  NEED(w.aVersion!=NULL);
  for(i=iLock-1; i<=iLock+2; i++) w.aVersion[i] = 7;
  publishMap(&w, iMap);
  w.iLocal = localOpen(&w, "f", 0);
  CHECK_INT(put(&w, iLast), 0);
  CHECK_INT(word(&w, PUT), 3);
  CHECK_INT(sizeOf("f"), (long long)(iLock+2)*65536);
  bytesOf("f", (uint64_t)(iLock-1)*65536, aPage, 65536);
  for(i=0; i<65536 && aPage[i]==0; i++){}
  CHECK_INT(i, 65536);
  bytesOf("f-sums", (uint64_t)(iLock-2)*8, aSum, 24);
  CHECK(get64le(aSum)!=0 && get64le(aSum+8)==0 && get64le(aSum+16)!=0);
  enter(&w);
  CHECK_INT(newestLocal(&w), 3);
  CHECK_INT(ls_view_page(w.iView, iLock, aPage, 65536), 0);
  for(i=0; i<65536 && aPage[i]==0; i++){}
  CHECK_INT(i, 65536);
  iNext = 1;
  do iNext = ls_local_check(w.iLocal, 0, (uint32_t)iNext, 5000, &nWhole); while( iNext>0 );
  CHECK_INT(iNext, 0);
  CHECK_INT(nWhole, 3);
  iMap = ls_map_new(0, 65536);
  iNext = 1;
  do iNext = ls_local_map(iMap, w.iLocal, iLock+2, (uint32_t)iNext, 1000); while( iNext>0 );
  CHECK_INT(iNext, 0);
  publishMap(&w, iMap);
  CHECK_INT(ls_local_truncate(w.iLocal, iLock+1), LS_BUSY);
  CHECK_INT(ls_view_page(w.iView, iLock, aPage, 65536), 0);
  for(i=0; i<65536 && aPage[i]==0; i++){}
  CHECK_INT(i, 65536);
  for(i=iLock-1; i<=iLock+2; i++){
    uint8_t iVersion = 7;
    uint8_t *aWant = malloc(65536);
    NEED(aWant!=NULL);
    fill(&iVersion, i, aWant, 65536);
    CHECK_INT(ls_view_page(w.iView, i, aPage, 65536), 0);
    if( i!=iLock ) CHECK(memcmp(aPage, aWant, 65536)==0);
    free(aWant);
  }
  ls_object_free(iObject);
  ltxFree(pIndex);
  free(aPage);
  free(a);
  worldEnd(&w, "f");
}

/* Some pages are in the file, the others are not: each is read where it is. */
static void partial(void){
  World w;
  uint64_t crc = ~0ull;
  int iBase, i;
  worldBegin(&w, 1024);
  iBase = change(&w, 5000, 1, 5000, 1);
  w.iLocal = localOpen(&w, "f", 0);
  for(i=0; i<5000; i+=50){
    State s = stateTake(&w);
    CHECK_INT(putSome(&w, iBase, (i*7)%5000, 30, &crc), 0);
    if( i%1000==0 ) enter(&w);
    stateDrop(&s);
  }
  enter(&w);
  CHECK_INT(newestLocal(&w), 3000-1);
  CHECK_INT(ls_object_refs(w.aObject[iBase]), 2);
  CHECK_INT(put(&w, iBase), 0);
  CHECK_INT(ls_local_first(w.iLocal), 0);
  enter(&w);
  CHECK_INT(newestLocal(&w), 5000);
  CHECK_INT(ls_object_refs(w.aObject[iBase]), 1);          /* no view names it any more */
  wholeFile(&w, "f", 1, 0);
  worldEnd(&w, "f");
}

static void pinned(void){
  World w;
  State old, newer;
  uint64_t aNeed[2] = {0,0};
  int iBase, iOver, iAgain;
  worldBegin(&w, 512);
  iBase = change(&w, 200, 1, 200, 1);
  w.iLocal = localOpen(&w, "f", 0);
  CHECK_INT(put(&w, iBase), 0);
  CHECK_INT(ls_local_first(w.iLocal), 0);
  enter(&w);
  old = stateTake(&w);
  CHECK_INT(stateLocal(&old), 200);
  iOver = change(&w, 200, 11, 30, 2);
  CHECK_INT(change(&w, 230, 201, 230, 2), 2);
  CHECK_INT(newestLocal(&w), 180);
  CHECK_INT(ls_local_needs(w.iLocal, w.iView, w.aObject[iOver], 0, 20, aNeed), 0);
  CHECK(aNeed[0]==20 && aNeed[1]==20);
  CHECK_INT(put(&w, iOver), 20);                           /* all are seen where they would go */
  CHECK_INT(put(&w, 2), 0);                                /* past the old state's end nothing is */
  enter(&w);
  CHECK_INT(newestLocal(&w), 210);
  CHECK_INT(stateLocal(&old), 200);
  newer = stateTake(&w);
  iAgain = change(&w, 230, 26, 40, 3);                     /* 26 … 30 are not put yet, 31 … 40 are */
  CHECK_INT(put(&w, iOver), 15);
  CHECK_INT(put(&w, iAgain), 15);
  stateDrop(&old);
  CHECK_INT(put(&w, iAgain), 10);                          /* 31 … 40 the newer one sees */
  CHECK_INT(put(&w, iOver), 0);
  enter(&w);
  CHECK_INT(stateLocal(&newer), 210);
  CHECK_INT(newestLocal(&w), 220);
  CHECK_INT(ls_local_needs(w.iLocal, w.iView, w.aObject[iAgain], 0, 15, aNeed), 0);
  CHECK(aNeed[0]==30 && aNeed[1]==30);
  stateDrop(&newer);
  CHECK_INT(put(&w, iAgain), 0);
  enter(&w);
  CHECK_INT(newestLocal(&w), 230);
  wholeFile(&w, "f", 1, 0);
  worldEnd(&w, "f");
}

/* Byte iAt of a page as the newest state's readers have it. */
static uint8_t byteRead(const World *p, uint32_t iPgno, int iAt){
  LsView *pView = lsViewById((uint32_t)p->iView);
  uint32_t k;
  LsObject *pObject = placeOf(pView, iPgno, &k);
  uint8_t b = 0;
  NEED(pObject!=NULL && pObject->pLocal!=NULL);
  CHECK_INT(lsLocalRead(pObject, k, iAt, 1, &b), 0);
  lsViewUnref(pView);
  return b;
}

static void warm(void){
  World w;
  uint8_t b;
  int iBase, iOver, i;
  worldBegin(&w, 512);
  iBase = change(&w, 200, 1, 200, 1);
  w.iLocal = localOpen(&w, "f", 0);
  CHECK_INT(ls_local_warm(w.iLocal, -1), LS_MISUSE);
  CHECK_INT(ls_local_warm(w.iLocal, 0), 0);
  CHECK_INT(ls_local_warm(w.iLocal, 150), 0);              /* 128 places: pages 1 … 72 share theirs with 129 … 200 */
  CHECK_INT(ls_local_warm(w.iLocal, 150), LS_MISUSE);
  CHECK_INT(put(&w, iBase), 0);
  CHECK_INT(ls_local_first(w.iLocal), 0);
  enter(&w);
  for(i=0; i<3; i++) CHECK_INT(newestLocal(&w), 200);
  byteFlip("f", 99*512+7);                                 /* seen by nobody */
  byteFlip("f", 4*512+7);
  b = byteRead(&w, 5, 7);
  byteFlip("f", 4*512+7);
  CHECK(b!=byteRead(&w, 5, 7));
  CHECK_INT(newestLocal(&w), 200);
  iOver = change(&w, 200, 90, 110, 2);
  CHECK_INT(put(&w, iOver), 0);
  enter(&w);
  for(i=0; i<3; i++) CHECK_INT(newestLocal(&w), 200);
  wholeFile(&w, "f", 1, 0);
  worldEnd(&w, "f");
}

#define LONG_ 70000u   /* pages; the second span begins at 65537 */

static void shrinkAndGrow(void){
  World w;
  State old, cutOff;
  int iBase, iGrown;
  worldBegin(&w, 512);
  iBase = change(&w, LONG_, 1, LONG_, 1);
  w.iLocal = localOpen(&w, "f", 0);
  CHECK_INT(put(&w, iBase), 0);
  CHECK_INT(ls_local_first(w.iLocal), 0);
  enter(&w);
  CHECK_INT(newestLocal(&w), LONG_);
  old = stateTake(&w);
  change(&w, 100, 2, 2, 2);
  CHECK_INT(newestLocal(&w), 99);
  CHECK_INT(ls_local_truncate(w.iLocal, 100), LS_BUSY);
  cutOff = stateTake(&w);
  iGrown = change(&w, LONG_+100, 101, LONG_+100, 3);
  CHECK_INT(put(&w, iGrown), LONG_-100);
  enter(&w);
  CHECK_INT(newestLocal(&w), 199);                         /* the last hundred were new to the file */
  CHECK_INT(stateLocal(&old), LONG_);
  CHECK_INT(stateLocal(&cutOff), 99);
  stateDrop(&old);
  CHECK_INT(ls_local_truncate(w.iLocal, 100), LS_BUSY);    /* the newest state's own last pages */
  CHECK_INT(ls_local_truncate(w.iLocal, LONG_+99), LS_BUSY);
  CHECK_INT(put(&w, iGrown), 0);
  CHECK_INT(ls_local_truncate(w.iLocal, LONG_+100), 0);
  CHECK_INT(sizeOf("f"), (LONG_+100)*512);
  enter(&w);
  CHECK_INT(newestLocal(&w), LONG_+99);                    /* all but page 2 */
  CHECK_INT(stateLocal(&cutOff), 99);
  change(&w, 100, 3, 3, 4);                                /* shrinks for good */
  CHECK_INT(ls_local_truncate(w.iLocal, 100), 0);
  CHECK_INT(sizeOf("f"), 100*512);
  CHECK_INT(sizeOf("f-sums"), 100*8);
  CHECK_INT(stateLocal(&cutOff), 99);
  iGrown = change(&w, 66000, 101, 66000, 5);
  CHECK_INT(put(&w, iGrown), 0);
  enter(&w);
  CHECK_INT(newestLocal(&w), 66000-2);
  stateDrop(&cutOff);
  worldEnd(&w, "f");
}

static void truncating(void){
  World w;
  State old;
  int iBase, iCut;
  worldBegin(&w, 512);
  iBase = change(&w, 50, 1, 50, 1);
  w.iLocal = localOpen(&w, "f", 0);
  CHECK_INT(put(&w, iBase), 0);
  CHECK_INT(ls_local_truncate(w.iLocal, 60), 0);           /* longer, too */
  CHECK_INT(sizeOf("f"), 60*512);
  CHECK_INT(ls_local_truncate(w.iLocal, 40), 0);           /* nobody reads there yet: what was put is gone */
  CHECK_INT(word(&w, HELD), 40);
  enter(&w);
  CHECK_INT(newestLocal(&w), 39);
  CHECK_INT(put(&w, iBase), 0);
  CHECK_INT(ls_local_first(w.iLocal), 0);
  enter(&w);
  CHECK_INT(newestLocal(&w), 50);
  old = stateTake(&w);
  iCut = change(&w, 20, 20, 20, 2);
  CHECK_INT(put(&w, iCut), 1);
  CHECK_INT(ls_local_truncate(w.iLocal, 49), LS_BUSY);
  CHECK_INT(ls_local_truncate(w.iLocal, 0), LS_BUSY);
  CHECK_INT(ls_local_truncate(w.iLocal, 50), 0);
  CHECK_INT(ls_local_truncate(w.iLocal, UINT32_MAX), 0);
  CHECK_INT(stateLocal(&old), 50);
  stateDrop(&old);
  CHECK_INT(ls_local_truncate(w.iLocal, 19), 0);
  CHECK_INT(ls_local_truncate(w.iLocal, 18), LS_BUSY);
  CHECK_INT(put(&w, iCut), 0);
  enter(&w);
  CHECK_INT(newestLocal(&w), 20);
  CHECK_INT(ls_local_truncate(w.iLocal+1, 20), LS_MISUSE);
  worldEnd(&w, "f");
}

/* What was put for a state that went by before it was entered is not taken for the next one's. */
static void stale(void){
  World w;
  int i, iBase, iOver;
  worldBegin(&w, 512);
  iBase = change(&w, 64, 1, 64, 1);
  w.iLocal = localOpen(&w, "f", 0);
  CHECK_INT(put(&w, iBase), 0);
  CHECK_INT(word(&w, HELD), 64);
  change(&w, 64, 10, 20, 2);
  enter(&w);
  CHECK_INT(newestLocal(&w), 64-11-1);
  CHECK_INT(word(&w, HELD), 1);                            /* page 1, held back */
  CHECK_INT(ls_local_first(w.iLocal), 0);
  /* Each time the file has the version before, whose frame ids the next file takes over. */
  for(i=0; i<20; i++){
    iOver = change(&w, 64, 30, 40, (uint8_t)(10+i));
    CHECK_INT(put(&w, iOver), 0);
    change(&w, 64, 30, 40, (uint8_t)(50+i));
    fileDrop(&w, iOver);
    iOver = fileOf(&w, 64, 30, 40, (uint8_t)(100+i));      /* the freed ids, were they free */
    commit(&w, iOver, 64);
    enter(&w);
    CHECK_INT(newestLocal(&w), 64-11-11);
    CHECK_INT(word(&w, HELD), 0);
    CHECK_INT(put(&w, iOver), 0);
    enter(&w);
    CHECK_INT(newestLocal(&w), 64-11);
  }
  iOver = change(&w, 80, 65, 80, 3);
  CHECK_INT(put(&w, iOver), 0);
  change(&w, 64, 2, 2, 3);                                 /* shrinks before they are entered */
  fileDrop(&w, iOver);
  enter(&w);
  CHECK_INT(word(&w, HELD), 0);
  worldEnd(&w, "f");
}

/* The same content in another file: what the view before has in the local file, the new one has there. */
static void rebase(void){
  World w;
  State old;
  int iBase, iMap, iNext, i;
  worldBegin(&w, 512);
  iBase = change(&w, 3000, 1, 3000, 1);
  w.iLocal = localOpen(&w, "f", 0);
  CHECK_INT(put(&w, iBase), 0);
  change(&w, 3000, 500, 599, 2);
  CHECK_INT(ls_local_first(w.iLocal), 0);
  enter(&w);
  CHECK_INT(newestLocal(&w), 2900);
  old = stateTake(&w);
  i = fileOf(&w, 3000, 1, 3000, 1);
  commit(&w, i, 3000);                                     /* for its versions; the view is made below */
  for(iNext=500; iNext<600; iNext++) w.aVersion[iNext] = 2;
  iMap = ls_map_new(0, 512);
  NEED(ls_map_apply(iMap, w.aObject[i], 0, 1<<30)==0 && ls_map_apply(iMap, w.aObject[1], 0, 1<<30)==0);
  iNext = 1;
  do iNext = ls_local_copy(iMap, w.iLocal, (int)old.pView->iId, (uint32_t)iNext, 999); while( iNext>0 );
  CHECK_INT(iNext, 0);
  publishMap(&w, iMap);
  CHECK_INT(newestLocal(&w), 2900);
  CHECK_INT(stateLocal(&old), 2900);
  stateDrop(&old);
  CHECK_INT(ls_object_refs(w.aObject[i]), 1);              /* nothing of the new file is needed */
  CHECK_INT(ls_object_refs(w.aObject[iBase]), 1);
  CHECK_INT(put(&w, i), 0);
  CHECK_INT(put(&w, 1), 0);
  enter(&w);
  CHECK_INT(newestLocal(&w), 3000);
  wholeFile(&w, "f", 1, 0);
  worldEnd(&w, "f");
}

/* ----------------------------------------------------------------------------------------- the other ways */

/* The checksum goes over the frames of a whole file, in slices, whether their pages are wanted or not. */
static void checksums(void){
  static const uint32_t aSize[] = {512, 4096, 65536};
  int i, iVersion;
  for(i=0; i<3; i++){
    World w;
    State old;
    worldBegin(&w, aSize[i]);
    w.iLocal = localOpen(&w, "f", LS_LOCAL_HEAD);
    CHECK_INT(put(&w, change(&w, 25, 1, 25, 9)), 0);
    enter(&w);
    old = stateTake(&w);
    change(&w, 25, 7, 8, 4);
    for(iVersion=5; iVersion<7; iVersion++){               /* a block, a frame */
      int iFile = fileOf(&w, 25, 3, 25, (uint8_t)iVersion), k, n;
      const LtxFile *p = w.apFile[iFile];
      uint64_t crc = ~0ull, iEnd, iSeed = 77;
      uint8_t *a = p->aByte;
      if( iVersion==6 ) commit(&w, iFile, 25);
      CHECK_INT(ls_file_verify(a, (int)p->nByte), 0);
      CHECK_INT(ls_crc_add(a, 100, &crc), 0);
      for(k=0; k<23; k+=n){
        n = 1+(int)randomBelow(&iSeed, 5);
        if( n>23-k ) n = 23-k;
        CHECK_INT(putSome(&w, iFile, k, n, &crc), iVersion==5 ? 0 : n);
      }
      CHECK_INT(ls_object_offset(w.aObject[iFile], 23, &iEnd), 0);
      CHECK_INT(ls_crc_add(a+iEnd, (int)(p->nByte-8-iEnd), &crc), 0);
      crc = ~crc | 0x8000000000000000ull;
      for(k=0; k<8; k++) CHECK_INT(a[p->nByte-8+(uint64_t)k], (uint8_t)(crc>>(56-8*k)));
    }
    CHECK_INT(stateLocal(&old), 24);
    stateDrop(&old);
    worldEnd(&w, "f");
  }
}

static void damagedFrame(void){
  World w;
  uint64_t iAt = 0;
  int iBase;
  worldBegin(&w, 512);
  iBase = change(&w, 30, 1, 30, 1);
  w.iLocal = localOpen(&w, "f", 0);
  NEED(ls_object_offset(w.aObject[iBase], 20, &iAt)==0);
  w.apFile[iBase]->aByte[iAt+3] ^= 1;                      /* names another page */
  CHECK_INT(put(&w, iBase), LS_FORMAT);
  CHECK_TEXT(fault(), "frame names page");
  w.apFile[iBase]->aByte[iAt+3] ^= 1;
  CHECK_INT(word(&w, PUT), 0);                             /* the whole batch is left */
  CHECK_INT(put(&w, iBase), 0);
  CHECK_INT(ls_local_first(w.iLocal), 0);
  enter(&w);
  CHECK_INT(newestLocal(&w), 30);
  worldEnd(&w, "f");
}

/* What the pool has needs no bytes. */
static void taking(void){
  World w;
  State old;
  uint64_t aNeed[2] = {0,0};
  int iBase, iOver, aRun[3];
  worldBegin(&w, 512);
  iBase = change(&w, 40, 1, 40, 1);
  w.iLocal = localOpen(&w, "f", LS_LOCAL_HEAD);
  CHECK_INT(ls_local_needs(w.iLocal, w.iView, w.aObject[iBase], 0, 40, aNeed), 0);
  CHECK(aNeed[0]==40 && aNeed[1]==0);
  CHECK_INT(ls_local_take(w.iLocal, w.iView, w.aObject[iBase], 0, 40), 40);
  aRun[0] = ltxLoad(w.apFile[iBase], w.aObject[iBase], 0, 3);
  aRun[1] = ltxLoad(w.apFile[iBase], w.aObject[iBase], 10, 20);
  CHECK_INT(ls_local_take(w.iLocal, w.iView, w.aObject[iBase], 0, 15), 15-3-5);
  CHECK_INT(ls_local_take(w.iLocal, w.iView, w.aObject[iBase], 15, 25), 10);
  CHECK_INT(ls_local_needs(w.iLocal, w.iView, w.aObject[iBase], 0, 40, aNeed), 0);
  CHECK(aNeed[0]==40+17 && aNeed[1]==0);
  CHECK_INT(word(&w, PUT), 22);
  enter(&w);
  CHECK_INT(newestLocal(&w), 22);
  old = stateTake(&w);
  iOver = change(&w, 40, 5, 15, 2);
  aRun[2] = ltxLoad(w.apFile[iOver], w.aObject[iOver], 0, 11);
  CHECK_INT(ls_local_take(w.iLocal, w.iView, w.aObject[iOver], 0, 11), 5);   /* 11 … 15 are seen */
  CHECK_INT(put(&w, iBase), 0);
  CHECK_INT(ls_local_first(w.iLocal), 0);
  enter(&w);
  CHECK_INT(stateLocal(&old), 22);
  stateDrop(&old);
  CHECK_INT(ls_local_take(w.iLocal, w.iView, w.aObject[iOver], 0, 11), 0);
  enter(&w);
  {
    LsView *pView = lsViewById((uint32_t)w.iView);
    CHECK_INT(localPages(pView, w.nPage, w.aVersion, 1), 40);
    lsViewUnref(pView);
  }
  CHECK_INT(ls_run_free(aRun[0]), 0);
  CHECK_INT(ls_run_free(aRun[1]), 0);
  CHECK_INT(ls_run_free(aRun[2]), 0);
  worldEnd(&w, "f");
}

/* In a folder where all may write, somebody has put a file there first. */
static void foreign(void){
  static const char *const azName[] = {"foreign-sums", "foreign"};
  char z[200], zPlanted[200];
  size_t i;
  if( geteuid()!=0 ){
    printf("  only root can be two users: not run\n");
    return;
  }
  pathOf(z, "foreign");
  NEED(chmod(zFolder, 0777)==0);
  for(i=0; i<2; i++){
    int fd;
    pathOf(zPlanted, azName[i]);
    fd = open(zPlanted, O_RDWR|O_CREAT|O_EXCL, 0666);
    NEED(fd>=0 && fchmod(fd, 0666)==0 && close(fd)==0 && seteuid(65534)==0);
    CHECK_INT(ls_local_open(1, z, 4096, LS_LOCAL_KEEP), LS_REFUSED);
    CHECK_TEXT(fault(), "another user's");
    NEED(seteuid(0)==0 && unlink(zPlanted)==0);
    pathOf(zPlanted, azName[1-i]);
    unlink(zPlanted);
  }
  NEED(chmod(zFolder, 0700)==0);
}

static void misuse(void){
  World w, other;
  uint64_t crc = 0, a[3];
  char z[200];
  int iBase, iView, iSpan, iMap;
  uint32_t aPlace[3];
  worldBegin(&w, 512);
  worldBegin(&other, 512);
  iBase = change(&w, 10, 1, 10, 1);
  change(&other, 10, 1, 10, 1);
  pathOf(z, "f");
  CHECK_INT(ls_local_open(w.iReplica, z, 256, 0), LS_MISUSE);
  CHECK_INT(ls_local_open(w.iReplica, z, 131072, 0), LS_MISUSE);
  CHECK_INT(ls_local_open(w.iReplica, z, 1000, 0), LS_MISUSE);
  CHECK_INT(sizeOf("f"), -1);
  pathOf(z, "none/f");
  CHECK_INT(ls_local_open(w.iReplica, z, 512, 0), LS_REFUSED);
  CHECK_TEXT(fault(), "No such file");
  w.iLocal = localOpen(&w, "f", 0);
  iView = w.iView;
  w.iView = other.iView;
  CHECK_INT(put(&w, iBase), LS_MISUSE);                    /* whose readers would not be asked */
  w.iView = 9999;
  CHECK_INT(put(&w, iBase), LS_MISUSE);
  w.iView = iView;
  CHECK_INT(putSome(&w, iBase, 0, 5, &crc), 0);
  enter(&w);
  CHECK_INT(ls_view_locate(w.iView, 3, aPlace), 0);
  iSpan = (int)aPlace[0];
  CHECK_INT(ls_object_local(iSpan), 1);
  CHECK_INT(ls_object_local(w.aObject[iBase]), 0);
  CHECK_INT(ls_local_needs(w.iLocal, w.iView, iSpan, 0, 1, a), LS_MISUSE);
  CHECK_INT(ls_local_take(w.iLocal, w.iView, iSpan, 0, 1), LS_MISUSE);
  CHECK_INT(ls_local_forget(w.iLocal, iSpan, 0, 1), LS_MISUSE);
  CHECK_INT(ls_run_load(iSpan, 0, 1, (const uint8_t*)z, 512), LS_MISUSE);
  CHECK_INT(ls_local_take(w.iLocal, w.iView, w.aObject[iBase], 0, 11), LS_MISUSE);
  CHECK_INT(ls_local_take(w.iLocal, w.iView, w.aObject[iBase], -1, 2), LS_MISUSE);
  CHECK_INT(ls_local_take(w.iLocal, w.iView, w.aObject[iBase], 10, 1), LS_MISUSE);
  CHECK_INT(ls_local_take(w.iLocal, w.iView, w.aObject[iBase], 0x7fffffff, 0x7fffffff), LS_MISUSE);
  CHECK_INT(ls_local_put(w.iLocal, w.iView, w.aObject[iBase], 0, 5, (const uint8_t*)z, 5, &crc), LS_MISUSE);
  iMap = ls_map_new(0, 1024);
  CHECK_INT(ls_local_map(iMap, w.iLocal, 10, 1, 10), LS_MISUSE);     /* another page size */
  CHECK_INT(ls_local_enter(iMap+1, w.iLocal, 1), LS_MISUSE);
  CHECK_INT(ls_local_enter(iMap, w.iLocal, 0), LS_MISUSE);
  CHECK_INT(ls_map_free(iMap), 0);
  CHECK_INT(ls_local_close(w.iLocal), 0);
  CHECK_INT(ls_local_close(w.iLocal), LS_MISUSE);
  CHECK_INT(ls_local_close(0), LS_MISUSE);
  CHECK_INT(ls_local_close(256), LS_MISUSE);
  CHECK_INT(ls_local_close(-1), LS_MISUSE);
  CHECK_INT(ls_local_first(w.iLocal), LS_MISUSE);
  CHECK_INT(ls_local_warm(w.iLocal, 1), LS_MISUSE);
  CHECK_INT(ls_local_state(w.iLocal, a), LS_MISUSE);
  CHECK_INT(ls_local_truncate(w.iLocal, 1), LS_MISUSE);
  CHECK_INT(ls_local_check(w.iLocal, 0, 1, 1, a), LS_MISUSE);
  CHECK_INT(put(&w, iBase), LS_MISUSE);
  CHECK_INT(newestLocal(&w), 4);                           /* read all the same */
  w.iLocal = 0;
  ls_view_release(other.iView);
  ls_replica_close(other.iReplica);
  fileDrop(&other, 0);
  ltxFree(other.apFile[0]);
  free(other.aVersion);
  worldEnd(&w, "f");
}

/* Page numbers near the ends of 31 and 32 bits. */
static void bounds(void){
  static const uint32_t aPgno[] = {0x7ffffffeu, 0x7fffffffu, 0x80000000u, 0xfffffffeu};
  World w;
  LtxFile *p;
  uint64_t n = 0, aNeed[2] = {0,0};
  uint8_t a[300];
  uint64_t crc = 0;
  int iObject, iMap, i;
  worldBegin(&w, 512);
  change(&w, 4, 1, 4, 1);
  w.iLocal = localOpen(&w, "f", 0);
  CHECK_INT(put(&w, 0), 0);
  CHECK_INT(ls_local_first(w.iLocal), 0);
  p = ltxIndexOnly(512, 0xfffffffeu, 0, aPgno, 4, 40);
  iObject = ltxObject(p, w.iReplica, 10);
  iMap = ls_map_new(w.iView, 512);
  CHECK_INT(ls_map_apply(iMap, iObject, 0, 10), 0);
  CHECK_INT(ls_local_enter(iMap, w.iLocal, 100), 0);       /* a map as long as there can be one */
  for(i=1; i<=4; i++) CHECK(lsFrameObject(lsMapFrame(iMap, (uint32_t)i))->pLocal!=NULL);
  CHECK_INT(lsFrameObject(lsMapFrame(iMap, aPgno[3]))->iId, iObject);
  CHECK_INT(ls_local_map(iMap, w.iLocal, 0xfffffffeu, 1, 10), LS_LIMIT);
  CHECK_INT(ls_local_map(iMap, w.iLocal, 0x7fffffffu, 1, 10), LS_LIMIT);
  CHECK_INT(ls_local_map(iMap, w.iLocal, 4, 5, 10), 0);
  CHECK_INT(ls_local_map(iMap, w.iLocal, 4, 0, 10), LS_MISUSE);
  CHECK_INT(ls_local_map(iMap, w.iLocal, 4, UINT32_MAX, 0x7fffffff), 0);
  CHECK_INT(ls_local_copy(iMap, w.iLocal, w.iView, UINT32_MAX, 0x7fffffff), 0);
  CHECK_INT(ls_local_copy(iMap, w.iLocal, w.iView, 0, 10), LS_MISUSE);
  CHECK_INT(ls_local_check(w.iLocal, 0, UINT32_MAX, 0x7fffffff, &n), 0);
  CHECK_INT(ls_local_check(w.iLocal, 0, 0x7fffffffu, 1, &n), 0);
  CHECK_INT(ls_local_check(w.iLocal, 0, 5, 1, &n), 0);
  CHECK_INT(n, 0);
  CHECK_INT(ls_local_check(w.iLocal, 0, 4, 1, &n), 5);
  CHECK_INT(n, 1);
  CHECK_INT(ls_local_needs(w.iLocal, w.iView, iObject, 0, 4, aNeed), 0);
  CHECK(aNeed[0]==0 && aNeed[1]==0);
  memset(a, 0, sizeof(a));
  CHECK(ls_local_put(w.iLocal, w.iView, iObject, 1, 1, a, 40, &crc)<0);
  CHECK_INT(ls_local_truncate(w.iLocal, UINT32_MAX), 0);
  CHECK_INT(ls_local_check(w.iLocal, 0, 0x7ffffffdu, 1, &n), 0x7ffffffe);  /* zeros, and no checksum */
  CHECK_INT(ls_local_check(w.iLocal, 0, 0x7fffffffu, 1, &n), 0);
  CHECK_INT(n, 1);
  CHECK_INT(ls_map_free(iMap), 0);
  CHECK_INT(ls_local_truncate(w.iLocal, 4), 0);
  enter(&w);                                               /* what the map above had nobody has any more */
  CHECK_INT(newestLocal(&w), 0);
  iMap = ls_map_new(0, 512);                               /* a database that is not there yet */
  CHECK_INT(ls_local_enter(iMap, w.iLocal, 10), 0);
  CHECK_INT(ls_map_free(iMap), 0);
  ls_object_free(iObject);
  ltxFree(p);
  worldEnd(&w, "f");
}

/* ------------------------------------------------------------------------------------------------ opening */

/* Pages that a reopened file has, as bits: page 1 is bit 0. Each must be what it was. */
static uint32_t reopened(World *p){
  uint64_t nWhole = 0, nPut = 0;
  uint32_t bits = 0, iPgno;
  int iMap, n = 0;
  p->iLocal = localOpen(p, "f", LS_LOCAL_KEEP);
  NEED(p->iLocal>0);
  CHECK_INT(ls_local_check(p->iLocal, 0, 1, 1000, &nWhole), 0);
  CHECK_INT(ls_local_check(p->iLocal, p->iView, 1, 1000, &nPut), 0);
  CHECK_INT(nPut, nWhole);
  CHECK_INT(word(p, HELD), nPut);
  iMap = entered(p);
  for(iPgno=1; iPgno<=p->nPage; iPgno++){
    uint32_t iFrame = lsMapFrame(iMap, iPgno);
    LsObject *pObject = lsFrameObject(iFrame);
    uint8_t a[512], aWant[512], iVersion = p->aVersion[iPgno];
    if( pObject->pLocal==NULL ) continue;
    fill(&iVersion, iPgno, aWant, 512);
    CHECK_INT(lsLocalRead(pObject, iFrame-pObject->iFirst, 0, 512, a), 0);
    CHECK(memcmp(a, aWant, 512)==0);
    bits |= 1u<<(iPgno-1);
    n++;
  }
  CHECK_INT(n, nPut);
  CHECK_INT(word(p, FIRST), (bits & 1)==0);
  CHECK_INT(ls_map_free(iMap), 0);
  CHECK_INT(ls_local_close(p->iLocal), 0);
  p->iLocal = 0;
  return bits;
}

#define KEPT 6u   /* pages */

static void writeWhole(const char *zName, const uint8_t *a, size_t n){
  char z[200];
  FILE *f;
  pathOf(z, zName);
  f = fopen(z, "wb");
  NEED(f!=NULL && fwrite(a, 1, n, f)==n && fclose(f)==0);
}

static void keptBegin(World *p){
  worldBegin(p, 512);
  change(p, KEPT, 1, KEPT, 1);
  p->iLocal = localOpen(p, "f", 0);
  CHECK_INT(put(p, 0), 0);
  CHECK_INT(ls_local_first(p->iLocal), 0);
  CHECK_INT(ls_local_close(p->iLocal), 0);
}

/* Each byte of both files is flipped, each length is cut. */
static void damaged(void){
  World w;
  uint8_t aPage[KEPT*512], aSum[KEPT*8];
  uint32_t i;
  keptBegin(&w);
  CHECK_INT(reopened(&w), 0x3f);
  bytesOf("f", 0, aPage, sizeof(aPage));
  bytesOf("f-sums", 0, aSum, sizeof(aSum));
  for(i=0; i<sizeof(aPage); i++){
    byteFlip("f", i);
    CHECK_INT(reopened(&w), 0x3f & ~(1u<<i/512));
    byteFlip("f", i);
  }
  for(i=0; i<sizeof(aSum); i++){
    byteFlip("f-sums", i);
    CHECK_INT(reopened(&w), 0x3f & ~(1u<<i/8));
    byteFlip("f-sums", i);
  }
  for(i=0; i<sizeof(aPage); i+=7){
    cut("f", i);
    CHECK_INT(reopened(&w), (1u<<i/512)-1);
    writeWhole("f", aPage, sizeof(aPage));
  }
  for(i=0; i<sizeof(aSum); i++){
    cut("f-sums", i);
    CHECK_INT(reopened(&w), (1u<<i/8)-1);
    writeWhole("f-sums", aSum, sizeof(aSum));
  }
  CHECK_INT(reopened(&w), 0x3f);
  cut("f", 0);
  cut("f", sizeof(aPage));                                 /* a hole */
  CHECK_INT(reopened(&w), 0);
  worldEnd(&w, "f");
}

static void forgetting(void){
  World w;
  uint64_t nWhole = 0;
  uint8_t aSum[KEPT*8];
  int iOver, iMap;
  keptBegin(&w);
  iOver = fileOf(&w, KEPT, 2, 4, 2);                       /* whether it was put is not known */
  w.iLocal = localOpen(&w, "f", LS_LOCAL_KEEP);
  CHECK_INT(ls_local_check(w.iLocal, w.iView, 1, 4, &nWhole), 5);
  CHECK_INT(ls_local_check(w.iLocal, w.iView, 5, 4, &nWhole), 0);
  CHECK_INT(nWhole, 6);
  CHECK_INT(ls_local_forget(w.iLocal, w.aObject[iOver], 0, 2), 2);
  CHECK_INT(word(&w, HELD), 4);
  CHECK_INT(ls_local_forget(w.iLocal, w.aObject[iOver], 2, 2), 0);
  CHECK_INT(word(&w, HELD), 3);
  bytesOf("f-sums", 0, aSum, sizeof(aSum));
  CHECK(get64le(aSum+8)==0 && get64le(aSum+16)==0 && get64le(aSum+24)==0);
  CHECK(get64le(aSum)!=0 && get64le(aSum+32)!=0 && get64le(aSum+40)!=0);
  enter(&w);
  CHECK_INT(newestLocal(&w), 3);
  CHECK_INT(put(&w, 0), 0);
  enter(&w);
  CHECK_INT(newestLocal(&w), 6);
  nWhole = 0;
  CHECK_INT(ls_local_check(w.iLocal, w.iView, 1, 100, &nWhole), 0);
  CHECK_INT(nWhole, 0);                                    /* the view has them there already */
  ls_view_release(w.iView);                                /* a start without any file but this one */
  CHECK_INT(ls_local_close(w.iLocal), 0);
  w.iView = 0;
  w.iStamp = (uint32_t)ls_stamp();
  CHECK_INT(localOpen(&w, "f", LS_LOCAL_KEEP), LS_BUSY);   /* as the newest view the replica has it still */
  iMap = ls_map_new(0, 512);
  NEED(ls_map_apply(iMap, w.aObject[0], 0, 100)==0);
  publishMap(&w, iMap);
  w.iLocal = localOpen(&w, "f", LS_LOCAL_KEEP);
  CHECK_INT(ls_local_check(w.iLocal, 0, 1, 100, &nWhole), 0);
  CHECK_INT(nWhole, 6);
  CHECK_INT(word(&w, HELD), 0);
  CHECK_INT(word(&w, FIRST), 0);
  iMap = ls_map_new(0, 512);
  CHECK_INT(ls_local_map(iMap, w.iLocal, KEPT, 1, 4), 5);
  CHECK_INT(ls_local_map(iMap, w.iLocal, KEPT, 5, 4), 0);
  publishMap(&w, iMap);
  CHECK_INT(newestLocal(&w), 6);
  worldEnd(&w, "f");
}

static void locked(void){
  World w;
  State old;
  keptBegin(&w);
  w.iLocal = localOpen(&w, "f", LS_LOCAL_KEEP);
  CHECK_INT(localOpen(&w, "f", LS_LOCAL_KEEP), LS_BUSY);
  CHECK_INT(localOpen(&w, "f", 0), LS_BUSY);
  CHECK_INT(localOpen(&w, "f", LS_LOCAL_PRIVATE), LS_BUSY);
  CHECK_INT(sizeOf("f"), KEPT*512);                        /* whoever comes too late changes nothing */
  CHECK_INT(sizeOf("f-sums"), KEPT*8);
  CHECK_INT(ls_local_close(w.iLocal), 0);
  CHECK_INT(reopened(&w), 0x3f);
  w.iLocal = localOpen(&w, "f", 0);                        /* anew */
  CHECK(w.iLocal>0);
  CHECK_INT(sizeOf("f"), 0);
  CHECK_INT(sizeOf("f-sums"), 0);
  CHECK_INT(put(&w, 0), 0);
  CHECK_INT(ls_local_first(w.iLocal), 0);
  enter(&w);
  old = stateTake(&w);
  change(&w, KEPT, 1, KEPT, 2);
  CHECK_INT(ls_local_close(w.iLocal), 0);
  CHECK_INT(localOpen(&w, "f", LS_LOCAL_KEEP), LS_BUSY);   /* it could change what the old state has */
  CHECK_INT(stateLocal(&old), KEPT);
  stateDrop(&old);
  w.iLocal = localOpen(&w, "f", LS_LOCAL_KEEP);
  CHECK(w.iLocal>0);
  CHECK_INT(put(&w, 1), 0);
  CHECK_INT(ls_local_first(w.iLocal), 0);
  enter(&w);
  CHECK_INT(newestLocal(&w), KEPT);
  worldEnd(&w, "f");
}

static void unnamed(void){
  World w;
  State old;
  int iOther;
  worldBegin(&w, 512);
  change(&w, 20, 1, 20, 1);
  w.iLocal = localOpen(&w, "f", LS_LOCAL_PRIVATE);
  CHECK_INT(sizeOf("f"), -1);
  CHECK_INT(sizeOf("f-sums"), -1);
  iOther = localOpen(&w, "f", LS_LOCAL_PRIVATE);           /* another one */
  CHECK(iOther>0);
  CHECK_INT(put(&w, 0), 0);
  CHECK_INT(ls_local_first(w.iLocal), 0);
  enter(&w);
  CHECK_INT(ls_local_close(iOther), 0);
  old = stateTake(&w);
  CHECK_INT(ls_local_close(w.iLocal), 0);
  CHECK_INT(stateLocal(&old), 20);
  CHECK_INT(newestLocal(&w), 20);
  w.iLocal = localOpen(&w, "f", 0);
  change(&w, 20, 2, 20, 2);
  CHECK_INT(put(&w, 1), 0);                                /* what the old state has is in another file */
  enter(&w);
  CHECK_INT(newestLocal(&w), 20);
  CHECK_INT(stateLocal(&old), 20);
  stateDrop(&old);
  worldEnd(&w, "f");
}

/* -------------------------------------------------------------------------------------------- a full disk */

static void sizeLimit(long long n){
  struct rlimit r;
  NEED(getrlimit(RLIMIT_FSIZE, &r)==0);
  r.rlim_cur = n<0 ? r.rlim_max : (rlim_t)n;
  NEED(setrlimit(RLIMIT_FSIZE, &r)==0);
}

static void refusing(void){
  World w;
  int iBase, iOver, iMap;
  LsView *pOld;
  State old;
  worldBegin(&w, 512);
  iBase = change(&w, 1000, 1, 1000, 1);
  w.iLocal = localOpen(&w, "f", 0);
  fflush(stdout);
  signal(SIGXFSZ, SIG_IGN);
  sizeLimit(700*512+100);
  CHECK_INT(put(&w, iBase), LS_REFUSED);
  CHECK_TEXT(fault(), "File too large");
  sizeLimit(-1);
  CHECK_INT(word(&w, PUT), 512);                           /* a batch; page 1 is held back */
  enter(&w);
  CHECK_INT(newestLocal(&w), 512);
  sizeLimit(100);
  CHECK_INT(ls_local_first(w.iLocal), LS_REFUSED);
  CHECK_INT(ls_local_truncate(w.iLocal, 2000), LS_REFUSED);
  CHECK_INT(ls_local_forget(w.iLocal, w.aObject[iBase], 900, 1), LS_REFUSED);
  sizeLimit(-1);
  CHECK_INT(word(&w, FIRST), 1);
  CHECK_INT(put(&w, iBase), 0);
  CHECK_INT(word(&w, PUT), 999);
  /* 700 … 900 are in the file for the state before; they are written over, to the middle of page 800. */
  old = stateTake(&w);
  iOver = change(&w, 1000, 700, 900, 2);
  fflush(stdout);
  sizeLimit(800*512-100);
  CHECK_INT(put(&w, iOver), LS_REFUSED);
  sizeLimit(-1);
  iMap = ls_map_new((int)old.pView->iId, 512);
  while( ls_local_enter(iMap, w.iLocal, 100)>0 ){}
  pOld = lsViewById((uint32_t)ls_map_view(iMap, w.iReplica, 1, 1000, old.pView->iStamp, 0));
  CHECK_INT(localPages(pOld, 1000, old.aVersion, 0), 999-201);
  CHECK_INT(put(&w, iOver), 0);
  CHECK_INT(ls_local_first(w.iLocal), 0);
  enter(&w);
  CHECK_INT(newestLocal(&w), 1000-(999-201-512));          /* the old state's map took the rest */
  ls_view_release((int)pOld->iId);
  lsViewUnref(pOld);
  stateDrop(&old);
  worldEnd(&w, "f");
}

/* ------------------------------------------------------------------------- readers, without SQLite around */

static World served;                       /* guarded by core.mu */
static void (*xMoved)(World*);             /* what the core does before it tells a reader to look again */
static int nMoved;                         /* how often; guarded by core.mu */
static int bLate;                          /* readers may have given up by then; guarded by core.mu */

/* Answers what the core has taken: a page of a replica's file is loaded; for any other the content moves. */
static void serve(TestCore *p){
  int i, rc;
  for(i=0; i<p->nHeld; i++){
    const uint32_t *a = &p->aHeld[i*REQUEST_WORDS];
    int bLocal = ls_object_local((int)a[6])==1;
    if( xMoved && (bLocal || nMoved==0) ){
      nMoved++;
      xMoved(&served);
      rc = ls_answer((int)a[1], (int)a[2], 0, 1, "");
      CHECK_INT(rc, rc && bLate ? LS_GONE : 0);
    }else{
      corePage(p, a);
    }
  }
  p->nHeld = 0;
}

/* The newest state in the files of the replica alone. */
static void moveAway(World *p){
  int iMap = ls_map_new(0, (int)p->szPage), i;
  for(i=0; i<p->nObject; i++) NEED(ls_map_apply(iMap, p->aObject[i], 0, 1<<30)==0);
  publishMap(p, iMap);
}

/* The same as it is, under another handle. */
static void moveNowhere(World *p){ publishMap(p, ls_map_new(p->iView, (int)p->szPage)); }

/* That, late. */
static void moveLate(World *p){
  bLate = 1;
  sleepMs(60);
  moveNowhere(p);
}

/* All of it in the local file. */
static void moveHere(World *p){
  int i;
  for(i=0; i<p->nObject; i++) CHECK_INT(put(p, i), 0);
  CHECK_INT(ls_local_first(p->iLocal), 0);
  enter(p);
}

/* A state of 60 pages, of which some lie in a second file. */
static void servedBegin(int bHere, void (*x)(World*)){
  pthread_mutex_lock(&core.mu);
  worldBegin(&served, 512);
  change(&served, 60, 1, 60, 1);
  change(&served, 60, 40, 50, 2);
  served.iLocal = localOpen(&served, "f", 0);
  if( bHere ) moveHere(&served);
  xMoved = x;
  nMoved = bLate = 0;
  pthread_mutex_unlock(&core.mu);
}
static void servedEnd(void){
  pthread_mutex_lock(&core.mu);
  worldEnd(&served, "f");
  pthread_mutex_unlock(&core.mu);
}

static int movedCount(void){
  int n;
  pthread_mutex_lock(&core.mu);
  n = nMoved;
  pthread_mutex_unlock(&core.mu);
  return n;
}

static uint64_t statOf(int i){
  uint64_t a[LS_STAT_COUNT];
  CHECK_INT(ls_replica_stats(served.iReplica, a, LS_STAT_COUNT), LS_STAT_COUNT);
  return a[i];
}

/* A page as a reader gets it; of page 1 what is not stamped. */
static int reads(ReplicaFile *p, uint32_t iPgno, uint8_t iVersion){
  uint8_t a[512], aWant[512];
  int rc = filePage(p, iPgno, a, 512), iFrom = iPgno==1 ? LS_HEAD_SIZE : 0;
  fill(&iVersion, iPgno, aWant, 512);
  if( rc==SQLITE_OK ) CHECK(memcmp(a+iFrom, aWant+iFrom, (size_t)(512-iFrom))==0);
  if( rc==SQLITE_OK && iPgno==1 ){
    uint8_t aStamp[16];
    CHECK_INT(p->pFile->pMethods->xRead(p->pFile, aStamp, 16, 24), SQLITE_OK);
    CHECK(memcmp(a, aWant, 18)==0 && a[18]==1 && a[19]==1 && a[31]==60);
    CHECK(memcmp(a+24, aStamp, 8)==0 && memcmp(a+92, aStamp, 4)==0);
  }
  return rc;
}

static void readsLocal(void){
  ReplicaFile f;
  uint32_t i;
  servedBegin(1, NULL);
  fileOpen(&f, served.iReplica);
  CHECK_INT(statOf(LS_STAT_LOCAL), 1);                     /* the head */
  fileShare(&f);
  for(i=1; i<=60; i++) CHECK_INT(reads(&f, i, i>=40 && i<=50 ? 2 : 1), SQLITE_OK);
  fileLeave(&f);
  CHECK_INT(statOf(LS_STAT_LOCAL), 61);
  CHECK_INT(statOf(LS_STAT_HIT)+statOf(LS_STAT_MISS), 0);
  fileEnd(&f);
  servedEnd();
}

/* A file that somebody cuts short: what it lacks is read where it was. */
static void cutShort(void){
  ReplicaFile f, other;
  uint8_t a[512];
  servedBegin(1, moveAway);
  fileOpen(&f, served.iReplica);
  fileOpen(&other, served.iReplica);
  fileShare(&f);
  fileShare(&other);
  CHECK_INT(reads(&f, 30, 1), SQLITE_OK);
  cut("f", 9*512+300);
  CHECK_INT(reads(&f, 9, 1), SQLITE_OK);
  CHECK_INT(movedCount(), 0);
  CHECK_INT(reads(&f, 10, 1), SQLITE_OK);                  /* its first half is there */
  CHECK_INT(movedCount(), 1);
  CHECK_INT(reads(&f, 45, 2), SQLITE_OK);
  CHECK_INT(reads(&f, 1, 1), SQLITE_OK);
  CHECK_INT(reads(&other, 9, 1), SQLITE_OK);               /* its own view has it in the file still */
  CHECK_INT(reads(&other, 60, 1), SQLITE_OK);
  CHECK_INT(movedCount(), 1);                              /* it has moved already */
  fileLeave(&f);
  fileLeave(&other);
  fileEnd(&f);
  fileEnd(&other);
  pthread_mutex_lock(&core.mu);
  enter(&served);
  CHECK_INT(newestLocal(&served), 0);                      /* the core has to put it all anew */
  pthread_mutex_unlock(&core.mu);
  servedEnd();
  servedBegin(1, NULL);
  cut("f", 512);
  pthread_mutex_lock(&core.mu);
  CHECK_INT(ls_view_page(served.iView, 2, a, 512), LS_GONE);
  CHECK_INT(ls_view_page(served.iView, 1, a, 512), 0);
  pthread_mutex_unlock(&core.mu);
  servedEnd();
}

/* The same while a connection is being opened, which asks for page 1's head. */
static void cutTicket(void){
  ReplicaFile f;
  uint8_t aHead[LS_HEAD_SIZE], aWant[512], iVersion = 1;
  servedBegin(1, moveAway);
  cut("f", 50);
  fileOpen(&f, served.iReplica);
  CHECK_INT(movedCount(), 1);
  CHECK_INT(f.pFile->pMethods->xRead(f.pFile, aHead, LS_HEAD_SIZE, 0), SQLITE_OK);
  fill(&iVersion, 1, aWant, 512);
  CHECK(memcmp(aHead, aWant, 18)==0);
  fileShare(&f);
  CHECK_INT(reads(&f, 1, 1), SQLITE_OK);
  CHECK_INT(reads(&f, 50, 2), SQLITE_OK);
  CHECK_INT(movedCount(), 1);
  fileLeave(&f);
  fileEnd(&f);
  servedEnd();
}

/* The other way: while a reader waits for a page, all of it comes into the file. */
static void comesHere(void){
  ReplicaFile f;
  servedBegin(0, moveHere);
  fileOpen(&f, served.iReplica);                           /* the head is waited for */
  CHECK_INT(movedCount(), 1);
  CHECK_INT(statOf(LS_STAT_LOCAL), 1);
  fileShare(&f);
  CHECK_INT(reads(&f, 41, 2), SQLITE_OK);
  fileLeave(&f);
  fileEnd(&f);
  servedEnd();
  servedBegin(0, NULL);
  fileOpen(&f, served.iReplica);
  pthread_mutex_lock(&core.mu);
  xMoved = moveHere;
  pthread_mutex_unlock(&core.mu);
  fileShare(&f);
  CHECK_INT(reads(&f, 30, 1), SQLITE_OK);
  CHECK_INT(movedCount(), 1);
  CHECK_INT(reads(&f, 42, 2), SQLITE_OK);
  CHECK_INT(reads(&f, 1, 1), SQLITE_OK);
  fileLeave(&f);
  CHECK_INT(statOf(LS_STAT_LOCAL), 4);                     /* page 1 was asked for twice */
  fileEnd(&f);
  servedEnd();
}

/* A core that leads readers back to what cannot be read, for ever: they end with words. */
static void ledBack(void){
  ReplicaFile f;
  char z[LS_ERROR_SIZE+1];
  int n;
  servedBegin(1, moveNowhere);
  fileOpen(&f, served.iReplica);
  fileShare(&f);
  cut("f", 0);
  CHECK_INT(reads(&f, 30, 1), SQLITE_IOERR_READ);
  n = ls_replica_error(served.iReplica, (uint8_t*)z, LS_ERROR_SIZE);
  z[n>0 ? n : 0] = 0;
  CHECK_TEXT(z, "Cannot read page: its place keeps changing");
  fileLeave(&f);
  fileEnd(&f);
  CHECK_INT(ls_replica_ticket(served.iReplica, 20000, ""), LS_REFUSED);
  n = ls_open_error((uint8_t*)z, LS_ERROR_SIZE);
  z[n>0 ? n : 0] = 0;
  CHECK_TEXT(z, "Cannot read page: its place keeps changing");
  servedEnd();
  servedBegin(1, moveLate);                                /* not longer than one read may take */
  cut("f", 0);
  CHECK_INT(ls_replica_ticket(served.iReplica, 150, ""), LS_REFUSED);
  n = ls_open_error((uint8_t*)z, LS_ERROR_SIZE);
  z[n>0 ? n : 0] = 0;
  CHECK_TEXT(z, "DeadlineError: Cannot read page: no answer within 150 ms");
  servedEnd();
}

/* -------------------------------------------------------------------------------------- readers in SQLite */

static atomic_int bDone;
static sqlite3 *dbSource;
static uint8_t *aLast;                     /* the newest state, of served.nPage pages */

static void sql(sqlite3 *db, const char *zSql){
  char *zErr = NULL;
  int rc = sqlite3_exec(db, zSql, NULL, NULL, &zErr);
  if( rc!=SQLITE_OK ) checkFailed(__FILE__, __LINE__, "%s: %s", zSql, zErr ? zErr : sqlite3_errmsg(db));
  sqlite3_free(zErr);
}

static void sqlF(sqlite3 *db, const char *zFormat, int i){
  char z[500];
  snprintf(z, sizeof(z), zFormat, i, i, i);
  sql(db, z);
}

/* Up to four numbers of the first row. */
static void numbers(sqlite3 *db, const char *zSql, sqlite3_int64 *a){
  sqlite3_stmt *pStmt = NULL;
  int i, rc = sqlite3_prepare_v2(db, zSql, -1, &pStmt, NULL);
  if( rc==SQLITE_OK ) rc = sqlite3_step(pStmt);
  if( rc!=SQLITE_ROW ) checkFailed(__FILE__, __LINE__, "%s: %s", zSql, sqlite3_errmsg(db));
  for(i=0; i<4; i++) a[i] = rc==SQLITE_ROW ? sqlite3_column_int64(pStmt, i) : -1;
  sqlite3_finalize(pStmt);
}

/* All rows have one number, and are as many and as much as is said of them: so all pages are of one state. */
#define ONE_STATE "SELECT min(n)=max(n) AND max(n)=(SELECT n FROM said), count(*)=(SELECT rows FROM said), " \
  "sum(length(x))=(SELECT bytes FROM said), max(n) FROM t"

static sqlite3_int64 oneState(sqlite3 *db){
  sqlite3_int64 a[4];
  numbers(db, ONE_STATE, a);
  if( a[0]!=1 || a[1]!=1 || a[2]!=1 ){
    checkFailed(__FILE__, __LINE__, "a transaction sees several states, around %lld", (long long)a[3]);
  }
  return a[3];
}

static void copyPage(void *pArg, uint32_t iPgno, uint8_t *aPage, uint32_t szPage){
  memcpy(aPage, (uint8_t*)pArg+(size_t)(iPgno-1)*szPage, szPage);
}

static sqlite3 *connectTo(int iReplica){
  sqlite3 *db = NULL;
  char z[64];
  int iTicket = ls_replica_ticket(iReplica, 20000, "");
  NEED(iTicket>0);
  snprintf(z, sizeof(z), "/sentinel/%d.db", iTicket);
  if( sqlite3_open_v2(z, &db, SQLITE_OPEN_READONLY, "litestream")!=SQLITE_OK ){
    checkFailed(__FILE__, __LINE__, "open: %s", sqlite3_errmsg(db));
  }
  sql(db, "PRAGMA cache_size=10");
  return db;
}

/* What the source has changed, as the next state. */
static void follow(World *p){
  sqlite3_int64 nByte = 0;
  uint8_t *a = sqlite3_serialize(dbSource, "main", &nByte, 0);
  uint32_t nPage = (uint32_t)(nByte/p->szPage), *aPgno = malloc(sizeof(uint32_t)*(nPage+1)), n = 0, i;
  int iFile, iMap;
  NEED(a!=NULL && aPgno!=NULL);
  for(i=0; i<nPage; i++){
    size_t iAt = (size_t)i*p->szPage;
    if( i==0 || i>=p->nPage || memcmp(a+iAt, aLast+iAt, p->szPage)!=0 ) aPgno[n++] = i+1;
  }
  iFile = fileAdd(p, nPage, aPgno, n, copyPage, a, ENCODE_BLOCK);
  iMap = ls_map_new(p->iView, (int)p->szPage);
  NEED(iMap>0 && ls_map_apply(iMap, p->aObject[iFile], 0, 1<<30)==0 && ls_map_truncate(iMap, nPage)==0);
  p->nPage = nPage;
  p->iTxid++;
  p->iStamp = (uint32_t)ls_stamp();
  publishMap(p, iMap);
  sqlite3_free(aLast);
  aLast = a;
  free(aPgno);
}

/* The same content in one new file; what of it is in the local file stays there. */
static void compact(World *p){
  uint32_t *aPgno = malloc(sizeof(uint32_t)*p->nPage), i;
  int iFile, iMap, iNext = 1;
  NEED(aPgno!=NULL);
  for(i=0; i<p->nPage; i++) aPgno[i] = i+1;
  iFile = fileAdd(p, p->nPage, aPgno, p->nPage, copyPage, aLast, ENCODE_FRAME);
  iMap = ls_map_new(0, (int)p->szPage);
  NEED(iMap>0 && ls_map_apply(iMap, p->aObject[iFile], 0, 1<<30)==0);
  do iNext = ls_local_copy(iMap, p->iLocal, p->iView, (uint32_t)iNext, 50); while( iNext>0 );
  CHECK_INT(iNext, 0);
  publishMap(p, iMap);
  free(aPgno);
}

/* Every page that the newest state has in the local file is as it should be; returns how many they are. */
static uint32_t localAsSource(const World *p){
  LsView *pView = lsViewById((uint32_t)p->iView);
  uint8_t a[512];
  uint32_t iPgno, k, n = 0;
  for(iPgno=2; iPgno<=p->nPage; iPgno++){
    LsObject *pObject = placeOf(pView, iPgno, &k);
    if( pObject->pLocal==NULL ) continue;
    CHECK_INT(lsLocalRead(pObject, k, 0, 512, a), 0);
    CHECK(memcmp(a, aLast+(size_t)(iPgno-1)*512, 512)==0);
    n++;
  }
  lsViewUnref(pView);
  return n;
}

/* One turn of the core: a state, what goes into the file, what is let go. Gives how many pages it left. */
static int turn(World *p, int i){
  uint64_t iSeed = (uint64_t)i*7919+1, crc = 0;
  int k, nBusy = 0;
  follow(p);
  for(k=0; k<p->nObject; k++){
    int n = p->aObject[k] ? ls_object_count(p->aObject[k]) : 0, iFrom, nSome, rc;
    if( n==0 ) continue;
    iFrom = i%3==0 ? 0 : (int)randomBelow(&iSeed, (uint32_t)n);
    nSome = i%3==0 ? n : 1+(int)randomBelow(&iSeed, (uint32_t)(n-iFrom));
    if( i%4==3 ) rc = ls_local_take(p->iLocal, p->iView, p->aObject[k], iFrom, nSome);
    else rc = putSome(p, k, iFrom, nSome, &crc);
    CHECK(rc>=0);
    if( i%4!=3 ) nBusy += rc;
  }
  if( i==5 ) CHECK_INT(ls_local_first(p->iLocal), 0);
  if( i%2 ) enter(p);
  if( i%11==10 ) compact(p);
  if( i%5==4 ){
    k = ls_local_truncate(p->iLocal, p->nPage);
    CHECK(k==0 || k==LS_BUSY);
  }
  for(k=0; k<p->nObject; k++) if( p->aObject[k] && ls_object_refs(p->aObject[k])<=1 ) fileDrop(p, k);
  localAsSource(p);
  return nBusy;
}

static void *readLoop(void *pArg){
  sqlite3 *db = connectTo(served.iReplica);
  int nInside = (int)(intptr_t)pArg;       /* how often it looks in one transaction */
  sqlite3_int64 iState = 0;
  do{
    sqlite3_int64 iFound;
    int i;
    sql(db, "BEGIN");
    iFound = oneState(db);
    CHECK(iFound>=iState);
    iState = iFound;
    for(i=1; i<nInside; i++) CHECK_INT(oneState(db), iState);
    sql(db, "COMMIT");
  }while( !atomic_load(&bDone) );
  sqlite3_close(db);
  return NULL;
}

#define SAY "UPDATE said SET n=%d, rows=(SELECT count(*) FROM t), bytes=(SELECT sum(length(x)) FROM t)"

static void readsWhilePut(void){
  int nRound = setting("ROUNDS", 120), i, nBusy = 0;
  pthread_t aThread[3];
  sqlite3 *dbHeld;
  sqlite3_int64 iHeld = 0, a[4];
  uint64_t aStat[LS_STAT_COUNT];
  NEED(nRound<FILES_MAX*10/11-2);
  NEED(sqlite3_open(":memory:", &dbSource)==SQLITE_OK);
  sql(dbSource, "PRAGMA page_size=512; PRAGMA auto_vacuum=FULL;"
    "CREATE TABLE said(n INT, rows INT, bytes INT);"
    "INSERT INTO said VALUES(0, 0, 0); CREATE TABLE t(id INTEGER PRIMARY KEY, n INT, x BLOB);"
    "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<200) "
    "INSERT INTO t SELECT i, 0, randomblob(150) FROM c");
  sqlF(dbSource, SAY, 0);
  pthread_mutex_lock(&core.mu);
  worldBegin(&served, 512);
  xMoved = NULL;
  nMoved = 0;
  follow(&served);
  served.iLocal = localOpen(&served, "f", LS_LOCAL_HEAD);
  NEED(served.iLocal>0);
  CHECK_INT(ls_local_warm(served.iLocal, 64), 0);
  pthread_mutex_unlock(&core.mu);
  atomic_store(&bDone, 0);
  for(i=0; i<3; i++) NEED(pthread_create(&aThread[i], NULL, readLoop, (void*)(intptr_t)(1+i*i*4))==0);
  dbHeld = connectTo(served.iReplica);
  for(i=1; i<=nRound; i++){
    sql(dbSource, "BEGIN");
    if( i%20==19 ) sql(dbSource, "DELETE FROM t WHERE id%3");
    if( i%20==9 ) sql(dbSource, "INSERT INTO t SELECT NULL, 0, randomblob(200) FROM t WHERE id<=300");
    if( i%2 ) sqlF(dbSource, "UPDATE t SET n=%d", i);
    else sqlF(dbSource, "UPDATE t SET n=%d, x=zeroblob(length(x))", i);
    sqlF(dbSource, SAY, i);
    sql(dbSource, "COMMIT");
    pthread_mutex_lock(&core.mu);
    nBusy += turn(&served, i);
    pthread_mutex_unlock(&core.mu);
    if( i%6==1 ){                          /* one that stays for a few states */
      sql(dbHeld, "BEGIN");
      numbers(dbHeld, "SELECT n FROM said", a);
      iHeld = a[0];
      CHECK_INT(iHeld, i);
    }
    if( i%6==5 ){
      CHECK_INT(oneState(dbHeld), iHeld);
      sql(dbHeld, "COMMIT");
    }
  }
  atomic_store(&bDone, 1);
  for(i=0; i<3; i++) pthread_join(aThread[i], NULL);
  sqlite3_close(dbHeld);
  CHECK_INT(ls_replica_stats(served.iReplica, aStat, LS_STAT_COUNT), LS_STAT_COUNT);
  CHECK(aStat[LS_STAT_LOCAL]>0 && aStat[LS_STAT_MISS]>0 && nBusy>0);
  pthread_mutex_lock(&core.mu);
  for(i=0; i<served.nObject; i++){
    if( served.aObject[i] ) CHECK_INT(put(&served, i), 0);   /* nobody is in the way */
  }
  enter(&served);
  CHECK_INT(localAsSource(&served), served.nPage-1);
  CHECK_INT(ls_local_truncate(served.iLocal, served.nPage), 0);
  sqlite3_free(aLast);
  aLast = NULL;
  pthread_mutex_unlock(&core.mu);
  dbHeld = NULL;
  {
    char z[200];                           /* and the file is a database as it stands */
    pathOf(z, "f");
    NEED(sqlite3_open_v2(z, &dbHeld, SQLITE_OPEN_READONLY, NULL)==SQLITE_OK);
    CHECK_INT(oneState(dbHeld), nRound);
    numbers(dbHeld, "SELECT count(*)=1 AND max(integrity_check)='ok' FROM pragma_integrity_check", a);
    CHECK_INT(a[0], 1);
    sqlite3_close(dbHeld);
  }
  sqlite3_close(dbSource);
  servedEnd();
}

int main(void){
  const char *zTemp = getenv("TMPDIR");
  core.iCore = ls_core_start();
  snprintf(zFolder, sizeof(zFolder), "%s/local_test.XXXXXX", zTemp ? zTemp : "/tmp");
  NEED(mkdtemp(zFolder)!=NULL);
  RUN("ls_local_put() puts each page of the state at its place, page 1 last", putting);
  RUN("ls_local_first() puts page 1 as it was put last", firstPage);
  RUN("a local file leaves the lock page out", lockPage);
  RUN("ls_local_enter() has a view read what was put, and the rest where it was", partial);
  RUN("ls_local_put() never changes a page that a view has in the file", pinned);
  RUN("ls_local_warm() keeps a page that is read again and again until it is put anew", warm);
  RUN("a database shrinks and grows across spans beside views that are pinned", shrinkAndGrow);
  RUN("ls_local_truncate() refuses to cut off what a view reads", truncating);
  RUN("ls_local_enter() forgets what was put for another state", stale);
  RUN("ls_local_enter() takes over what a view of the same content has", rebase);
  RUN("ls_local_put() goes on with a file's checksum over all frames", checksums);
  RUN("ls_local_put() refuses a damaged frame", damagedFrame);
  RUN("ls_local_take() puts what the pool has", taking);
  RUN("local files refuse what is not theirs", misuse);
  RUN("ls_local_open() refuses what another user has put in its place", foreign);
  RUN("local files end where page numbers do", bounds);
  RUN("ls_local_check() takes no page that is not whole: each byte flipped, each length cut", damaged);
  RUN("ls_local_forget() and ls_local_map(): a file that was there before", forgetting);
  RUN("ls_local_open() locks until the last view has left", locked);
  RUN("ls_local_open() makes a file that nobody finds", unnamed);
  RUN("LS_REFUSED: what could not be written is entered nowhere", refusing);
  ls_core_stop(core.iCore, "ReplicaClosedError: Cannot read page: the core has ended");
  NEED(hostLoad()>0 && ls_sentinel("/sentinel/")==1);
  core.bMute = 1;
  core.xIdle = serve;
  coreBegin(&core);
  RUN("readers: a page of a local file is read without the core", readsLocal);
  RUN("readers: what a local file lacks is asked of the core", cutShort);
  RUN("readers: a ticket asks the core for a head that the local file lacks", cutTicket);
  RUN("readers: what comes into the file while they wait for it is read there", comesHere);
  RUN("readers: who is led back to a broken file for ever ends with words", ledBack);
  RUN("threads: each transaction sees one state while others are put, published and cut", readsWhilePut);
  coreEnd(&core);
  rmdir(zFolder);
  return finish();
}
