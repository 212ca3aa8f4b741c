/*
** Local files: what is put into them, what may be put, what is read from them, and what is made of one that was there.
**
** A page's content tells its version and its number. A state is a view and the version of each of its pages. The first
** half has no reader but pins; then come files without SQLite around them, and SQLite. ROUNDS: states of the last test.
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

/* ------------------------------------------------------------------------------------------------ a replica */

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
static int fileAdd(World *p, uint32_t nPage, const uint32_t *aPgno, uint32_t n, PageFill xFill, void *pArg, int eEncoding){
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
  NEED(ls_object_offset(p->aObject[i], iFrame, &iStart)==0 && ls_object_offset(p->aObject[i], iFrame+nFrame, &iEnd)==0);
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

/* ------------------------------------------------------------------------------------------------- putting */

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

static void puts_(void){
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
  iNext = change(&w, 9, 1, 1, 4);            /* held back, and then its state goes by: what is put is not entered */
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

/* The lock page, past which a frame's number is not its page's, of a file of a gigabyte that takes next to none. */
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
  iAgain = change(&w, 230, 26, 40, 3);                     /* 26 … 30 over what never was put, 31 … 40 over what is */
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
  CHECK_INT(ls_object_refs(w.aObject[i]), 1);              /* of the new file, as of the old one, nothing is needed */
  CHECK_INT(ls_object_refs(w.aObject[iBase]), 1);
  CHECK_INT(put(&w, i), 0);
  CHECK_INT(put(&w, 1), 0);
  enter(&w);
  CHECK_INT(newestLocal(&w), 3000);
  wholeFile(&w, "f", 1, 0);
  worldEnd(&w, "f");
}
