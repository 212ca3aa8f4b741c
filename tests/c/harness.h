/*
** What the C tests share: checks, LTX files built in memory, a core thread that serves them, and SQLite with the
** shim linked in.
**
** A test is a function; RUN(name) prints "ok name" or "not ok name". finish() prints the sums and gives the exit code.
*/
#ifndef LITESTREAM_HARNESS_H
#define LITESTREAM_HARNESS_H

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <lz4.h>
#include <lz4frame.h>
#include <sqlite3.h>
#include "requests.h"

#define UNUSED __attribute__((unused))

/* ------------------------------------------------------------------------------------------------ checks */

static atomic_int nBadCheck;
static int nPassed, nFailed;

static void checkFailed(const char *zFile, int iLine, const char *zFormat, ...)
  __attribute__((format(printf,3,4)));
static void checkFailed(const char *zFile, int iLine, const char *zFormat, ...){
  va_list ap;
  if( atomic_fetch_add(&nBadCheck, 1)>20 ) return;     /* one cause, a thousand lines */
  flockfile(stdout);
  printf("# %s:%d: ", zFile, iLine);
  va_start(ap, zFormat);
  vprintf(zFormat, ap);
  va_end(ap);
  printf("\n");
  funlockfile(stdout);
}

#define CHECK(b) do{ if( !(b) ) checkFailed(__FILE__, __LINE__, "%s", #b); }while( 0 )
#define CHECK_INT(found, wanted) do{ \
    long long iFound_ = (long long)(found), iWanted_ = (long long)(wanted); \
    if( iFound_!=iWanted_ ) checkFailed(__FILE__, __LINE__, "%s is %lld, expected %lld", #found, iFound_, iWanted_); \
  }while( 0 )
#define CHECK_TEXT(found, part) do{ \
    const char *zFound_ = (found); \
    if( zFound_==NULL || strstr(zFound_, (part))==NULL ){ \
      checkFailed(__FILE__, __LINE__, "%s is \"%s\", expected it to contain \"%s\"", #found, \
        zFound_ ? zFound_ : "(null)", (part)); \
    } \
  }while( 0 )

/* Ends the program where going on makes no sense. */
#define NEED(b) do{ if( !(b) ){ printf("not ok %s:%d: %s\n0 passed, 1 failed\n", __FILE__, __LINE__, #b); exit(1); } }while( 0 )

#define RUN(zName, fn) runTest((zName), (fn))
static UNUSED void runTest(const char *zName, void (*xTest)(void)){
  atomic_store(&nBadCheck, 0);
  xTest();
  if( atomic_load(&nBadCheck) ) nFailed++; else nPassed++;
  printf("%s %s\n", atomic_load(&nBadCheck) ? "not ok" : "ok", zName);
  fflush(stdout);
}

static UNUSED int finish(void){
  printf("%d passed, %d failed\n", nPassed, nFailed);
  return nFailed ? 1 : 0;
}

/* A number from the environment, or its default. */
static UNUSED int setting(const char *zName, int iDefault){
  const char *z = getenv(zName);
  int i = z ? atoi(z) : 0;
  return i>0 ? i : iDefault;
}

static UNUSED int64_t nowMs(void){
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec*1000 + t.tv_nsec/1000000;
}

static UNUSED void sleepMs(int ms){
  struct timespec t;
  t.tv_sec = ms/1000;
  t.tv_nsec = (long)(ms%1000)*1000000;
  nanosleep(&t, NULL);
}

/* xorshift64*: the same numbers for the same seed everywhere. */
static UNUSED uint64_t randomNext(uint64_t *p){
  *p ^= *p>>12;
  *p ^= *p<<25;
  *p ^= *p>>27;
  return *p*0x2545F4914F6CDD1Dull;
}
static UNUSED uint32_t randomBelow(uint64_t *p, uint32_t n){
  return n ? (uint32_t)((randomNext(p)>>33) % n) : 0;
}

/* ---------------------------------------------------------------------------------------------- LTX files */

enum { ENCODE_BLOCK, ENCODE_FRAME };

/* A whole LTX file. Its page index is aByte[iIndex .. iIndex+nIndex). */
#define REQUEST_WORDS ((int)(sizeof(LsRequest)/4))

typedef struct LtxFile {
  uint8_t *aByte;
  uint64_t nByte;
  uint64_t nAlloc;
  uint64_t iIndex;
  int nIndex;
  uint32_t szPage;
  uint32_t iCommit;
  int bSnapshot;
} LtxFile;

typedef void (*PageFill)(void *pArg, uint32_t iPgno, uint8_t *aPage, uint32_t szPage);

static void ltxPut(LtxFile *p, const void *a, size_t n){
  if( p->nByte+n>p->nAlloc ){
    p->nAlloc = (p->nByte+n)*2+1024;
    p->aByte = realloc(p->aByte, p->nAlloc);
    NEED(p->aByte!=NULL);
  }
  if( n ) memcpy(p->aByte+p->nByte, a, n);
  p->nByte += n;
}
static void ltxPut32(LtxFile *p, uint32_t v){
  uint8_t a[4] = {(uint8_t)(v>>24), (uint8_t)(v>>16), (uint8_t)(v>>8), (uint8_t)v};
  ltxPut(p, a, 4);
}
static void ltxPut64(LtxFile *p, uint64_t v){
  ltxPut32(p, (uint32_t)(v>>32));
  ltxPut32(p, (uint32_t)v);
}
static void ltxPutVarint(LtxFile *p, uint64_t v){
  uint8_t b;
  for(; v>=0x80; v>>=7){
    b = (uint8_t)(v | 0x80);
    ltxPut(p, &b, 1);
  }
  b = (uint8_t)v;
  ltxPut(p, &b, 1);
}

/* CRC-64/ISO, a bit at a time; the shim's is tabular. */
static uint64_t crcBits(uint64_t c, const uint8_t *a, size_t n){
  size_t i;
  int j;
  for(i=0; i<n; i++){
    c ^= a[i];
    for(j=0; j<8; j++) c = (c & 1) ? (c>>1) ^ 0xD800000000000000ull : c>>1;
  }
  return c;
}

/* One frame; returns what the file checksum becomes. */
static uint64_t ltxFrame(LtxFile *p, uint32_t iPgno, const uint8_t *aPage, int eEncoding, uint64_t crc){
  uint64_t iAt = p->nByte;
  size_t nMax = LZ4F_compressFrameBound(p->szPage, NULL)+(size_t)LZ4_compressBound((int)p->szPage);
  uint8_t *aPacked = malloc(nMax);
  uint8_t aFlag[2] = {0, eEncoding==ENCODE_BLOCK};
  size_t n;
  NEED(aPacked!=NULL);
  ltxPut32(p, iPgno);
  ltxPut(p, aFlag, 2);
  if( eEncoding==ENCODE_BLOCK ){
    n = (size_t)LZ4_compress_default((const char*)aPage, (char*)aPacked, (int)p->szPage, (int)nMax);
    ltxPut32(p, (uint32_t)n);
  }else{
    n = LZ4F_compressFrame(aPacked, nMax, aPage, p->szPage, NULL);
    NEED(!LZ4F_isError(n));
  }
  crc = crcBits(crc, p->aByte+iAt, (size_t)(p->nByte-iAt));
  ltxPut(p, aPacked, n);
  free(aPacked);
  return crcBits(crc, aPage, p->szPage);
}

/* Builds a file with the pages aPgno[0..nPgno), which ascend. */
static UNUSED LtxFile *ltxBuild(uint32_t szPage, uint32_t iCommit, int bSnapshot, const uint32_t *aPgno, uint32_t nPgno,
                                PageFill xFill, void *pArg, int eEncoding){
  LtxFile *p = calloc(1, sizeof(*p));
  LtxFile index;
  uint8_t *aPage = malloc(szPage);
  uint64_t crc, iEnd;
  uint32_t i;
  NEED(p!=NULL && aPage!=NULL);
  memset(&index, 0, sizeof(index));
  p->szPage = szPage;
  p->iCommit = iCommit;
  p->bSnapshot = bSnapshot;
  ltxPut(p, "LTX1\0\0\0\0", 8);
  ltxPut32(p, szPage);
  ltxPut32(p, iCommit);
  while( p->nByte<100 ) ltxPut(p, "", 1);
  crc = crcBits(~0ull, p->aByte, 100);
  for(i=0; i<nPgno; i++){
    uint64_t iAt = p->nByte;
    memset(aPage, 0, szPage);
    xFill(pArg, aPgno[i], aPage, szPage);
    crc = ltxFrame(p, aPgno[i], aPage, eEncoding, crc);
    ltxPutVarint(&index, aPgno[i]);
    ltxPutVarint(&index, iAt);
    ltxPutVarint(&index, p->nByte-iAt);
  }
  ltxPut(&index, "", 1);
  iEnd = p->nByte;
  ltxPut(p, "\0\0\0\0\0\0", 6);
  p->iIndex = p->nByte;
  p->nIndex = (int)index.nByte;
  ltxPut(p, index.aByte, index.nByte);
  ltxPut64(p, index.nByte);
  ltxPut64(p, 0);
  crc = ~crcBits(crc, p->aByte+iEnd, (size_t)(p->nByte-iEnd)) | 0x8000000000000000ull;
  ltxPut64(p, crc);
  free(index.aByte);
  free(aPage);
  return p;
}

static UNUSED void ltxFree(LtxFile *p){
  if( p ) free(p->aByte);
  free(p);
}

/* Enters a file into the shim; returns the object. nSlice entries of the index at a time. */
static UNUSED int ltxObject(const LtxFile *p, int iReplica, int nSlice){
  int iObject = ls_object_new(iReplica, (int)p->szPage, p->iCommit, p->bSnapshot, p->nByte);
  int rc;
  NEED(iObject>0);
  do{
    rc = ls_object_index(iObject, p->aByte+p->iIndex, p->nIndex, nSlice);
  }while( rc==1 );
  if( rc!=0 ){
    ls_object_free(iObject);
    return rc;
  }
  return iObject;
}

/* Decodes nFrame frames of a file into the pool; returns the run. */
static UNUSED int ltxLoad(const LtxFile *p, int iObject, int iFrame, int nFrame){
  uint64_t iStart, iEnd;
  uint8_t *aExact;
  int iRun;
  NEED(ls_object_offset(iObject, iFrame, &iStart)==0 && ls_object_offset(iObject, iFrame+nFrame, &iEnd)==0);
  aExact = malloc((size_t)(iEnd-iStart));
  NEED(aExact!=NULL);
  memcpy(aExact, p->aByte+iStart, (size_t)(iEnd-iStart));
  iRun = ls_run_load(iObject, iFrame, nFrame, aExact, (int)(iEnd-iStart));
  free(aExact);
  return iRun;
}

/* A page index alone, for objects whose frames nobody reads: frames of nByte bytes each. */
static UNUSED LtxFile *ltxIndexOnly(uint32_t szPage, uint32_t iCommit, int bSnapshot, const uint32_t *aPgno, uint32_t nPgno,
                                    uint32_t nByte){
  LtxFile *p = calloc(1, sizeof(*p));
  uint64_t iAt = 100;
  uint32_t i;
  NEED(p!=NULL);
  p->szPage = szPage;
  p->iCommit = iCommit;
  p->bSnapshot = bSnapshot;
  for(i=0; i<nPgno; i++, iAt+=nByte){
    ltxPutVarint(p, aPgno[i]);
    ltxPutVarint(p, iAt);
    ltxPutVarint(p, nByte);
  }
  ltxPut(p, "", 1);
  p->nIndex = (int)p->nByte;
  p->nByte = iAt+6+(uint64_t)p->nIndex+24;     /* the size of the file there would be */
  return p;
}

/* ------------------------------------------------------------------------------------------------ the core */

#define CORE_OBJECTS 4096
#define CORE_RUNS    4096

typedef struct TestCore TestCore;

/* A core thread. Whoever uses what belongs to the core from another thread holds mu. */
struct TestCore {
  int iCore;
  pthread_t thread;
  pthread_mutex_t mu;
  atomic_int bStop;
  const LtxFile *apFile[CORE_OBJECTS];     /* by object */
  int aRun[CORE_RUNS];                     /* by age */
  int aRunObject[CORE_RUNS];
  int nRun, nRunMax;
  int nEvicted, nBusy;
  int bMute;                               /* take requests and never answer */
  uint32_t aHeld[64*REQUEST_WORDS];                    /* requests taken while mute */
  int nHeld;
  int (*xOpen)(TestCore*, const uint8_t *aText, int nText);  /* gives a replica, or 0 with zOpenError */
  const char *zOpenError;
  int (*xMoment)(TestCore*, int iReplica, const char *zMoment, char *zShown);  /* a view, 0, or -1 with the error's words */
  atomic_int nClosed;                      /* LS_REQUEST_CLOSED taken */
  atomic_int nNudged;                      /* LS_REQUEST_NUDGE taken */
  void (*xMark)(TestCore*, const uint32_t*);   /* hears of each LS_REQUEST_MARK */
  void (*xIdle)(TestCore*);                /* called after each batch */
  void *pArg;
};

/* Makes room for one more run: the oldest that nobody touched or copies from. */
static UNUSED void coreEvict(TestCore *p){
  int nTry;
  for(nTry=p->nRun*2; p->nRun>=p->nRunMax && nTry>0; nTry--){
    int iRun = p->aRun[0], iObject = p->aRunObject[0];
    int rc = ls_run_touched(iRun)==1 ? LS_BUSY : ls_run_free(iRun);
    memmove(p->aRun, p->aRun+1, sizeof(int)*(size_t)(p->nRun-1));
    memmove(p->aRunObject, p->aRunObject+1, sizeof(int)*(size_t)(p->nRun-1));
    if( rc==LS_BUSY ){
      p->aRun[p->nRun-1] = iRun;
      p->aRunObject[p->nRun-1] = iObject;
      p->nBusy++;
    }else{
      CHECK_INT(rc, 0);
      p->nRun--;
      p->nEvicted++;
    }
  }
}

/* Frees an object and its runs; one being copied from goes with the object. */
static UNUSED void coreDropObject(TestCore *p, int iObject){
  int i, n = 0;
  for(i=0; i<p->nRun; i++){
    if( p->aRunObject[i]==iObject ){
      ls_run_free(p->aRun[i]);
    }else{
      p->aRun[n] = p->aRun[i];
      p->aRunObject[n++] = p->aRunObject[i];
    }
  }
  p->nRun = n;
  p->apFile[iObject] = NULL;
  CHECK_INT(ls_object_free(iObject), 0);
}

static void corePage(TestCore *p, const uint32_t *a){
  int iObject = (int)a[6], iFrame = (int)a[7];
  const LtxFile *pFile = iObject<CORE_OBJECTS ? p->apFile[iObject] : NULL;
  int rc;
  if( pFile==NULL ){
    ls_answer((int)a[1], (int)a[2], 0, 1, "");     /* given up: its view was relocated */
    return;
  }
  do{
    uint32_t aFrame[4];
    if( ls_object_frames(iObject, 0, iFrame, 1, aFrame)==1 && aFrame[2]==0 ){
      int iRun;
      coreEvict(p);
      iRun = ltxLoad(pFile, iObject, iFrame, 1);
      if( iRun<0 ){
        uint8_t aText[256];
        int n = ls_fault(aText, 255);
        aText[n>0 ? n : 0] = 0;
        ls_answer((int)a[1], (int)a[2], SQLITE_IOERR, 0, (const char*)aText);
        return;
      }
      p->aRun[p->nRun] = iRun;
      p->aRunObject[p->nRun++] = iObject;
    }
    rc = ls_answer((int)a[1], (int)a[2], 0, 0, "");
  }while( rc==LS_BUSY );
}

static void coreOpen(TestCore *p, const uint32_t *a){
  uint8_t aText[8192];
  int n = ls_request_text((int)a[1], (int)a[2], aText, (int)sizeof(aText));
  int iReplica = p->xOpen && n>0 ? p->xOpen(p, aText, n) : 0;
  if( iReplica>0 ){
    ls_answer((int)a[1], (int)a[2], 0, iReplica, "");
  }else{
    ls_answer((int)a[1], (int)a[2], SQLITE_CANTOPEN, 0, p->zOpenError ? p->zOpenError : "ReplicaError: none here");
  }
}

static void coreMoment(TestCore *p, const uint32_t *a){
  uint8_t aText[LS_MOMENT_SIZE];
  char zShown[2*LS_ERROR_SIZE] = "";
  int n = ls_request_text((int)a[1], (int)a[2], aText, (int)sizeof(aText));
  int iView;
  if( n<0 ) return;                        /* nobody waits any more */
  CHECK(n>0 && n<=LS_MOMENT_SIZE && aText[n-1]==0);
  iView = p->xMoment ? p->xMoment(p, (int)a[3], (const char*)aText, zShown) : -1;
  ls_answer((int)a[1], (int)a[2], iView<0 ? SQLITE_ERROR : SQLITE_OK, iView<0 ? 0 : iView, zShown);
}

static void *coreMain(void *pArg){
  TestCore *p = pArg;
  uint32_t aRequest[16*REQUEST_WORDS];
  int iSeen = 0;
  pthread_mutex_lock(&p->mu);
  p->iCore = ls_core_start();
  pthread_mutex_unlock(&p->mu);
  while( !atomic_load(&p->bStop) ){
    int i, n, rc = ls_core_wait(p->iCore, iSeen, 2);
    if( rc<0 ) break;
    iSeen = rc;
    pthread_mutex_lock(&p->mu);
    while( (n = ls_core_take(p->iCore, aRequest, 16))>0 ){
      for(i=0; i<n; i++){
        const uint32_t *a = &aRequest[i*REQUEST_WORDS];
        if( a[0]==LS_REQUEST_CLOSED ){
          atomic_fetch_add(&p->nClosed, 1);
        }else if( a[0]==LS_REQUEST_NUDGE ){
          CHECK_INT(a[1], 0);
          atomic_fetch_add(&p->nNudged, 1);
        }else if( a[0]==LS_REQUEST_MARK ){
          CHECK_INT(a[1], 0);
          if( p->xMark ) p->xMark(p, a);
        }else if( p->bMute ){
          if( p->nHeld<64 ) memcpy(&p->aHeld[p->nHeld++*REQUEST_WORDS], a, sizeof(LsRequest));
        }else if( a[0]==LS_REQUEST_OPEN ){
          coreOpen(p, a);
        }else if( a[0]==LS_REQUEST_MOMENT ){
          coreMoment(p, a);
        }else{
          corePage(p, a);
        }
      }
    }
    if( p->xIdle ) p->xIdle(p);
    pthread_mutex_unlock(&p->mu);
  }
  return NULL;
}

static UNUSED void coreBegin(TestCore *p){
  if( p->nRunMax==0 ) p->nRunMax = CORE_RUNS;
  pthread_mutex_init(&p->mu, NULL);
  p->iCore = 0;
  atomic_store(&p->bStop, 0);
  NEED(pthread_create(&p->thread, NULL, coreMain, p)==0);
  for(;;){
    int i;
    pthread_mutex_lock(&p->mu);
    i = p->iCore;
    pthread_mutex_unlock(&p->mu);
    if( i ) break;
    sleepMs(1);
  }
  NEED(p->iCore>0);
}

static UNUSED void coreEnd(TestCore *p){
  atomic_store(&p->bStop, 1);
  pthread_join(p->thread, NULL);
  ls_core_stop(p->iCore, "ReplicaClosedError: Cannot read page: the replica's core has ended");
}

/* ------------------------------------------------------------------------------------------------- SQLite */

static const sqlite3_api_routines *pApiFound;

static int apiFind(sqlite3 *db, char **pzErr, const sqlite3_api_routines *pApi){
  (void)db; (void)pzErr;
  pApiFound = pApi;
  return SQLITE_OK;
}

int sqlite3_litestreamvfs_init(sqlite3 *db, char **pzErr, const sqlite3_api_routines *pApi);

/* Loads the shim, which is linked in, as SQLite would load an extension. Returns the host. */
static UNUSED int hostLoad(void){
  sqlite3 *db = NULL;
  char *zErr = NULL;
  int rc;
  NEED(sqlite3_auto_extension((void(*)(void))apiFind)==SQLITE_OK);
  NEED(sqlite3_open(":memory:", &db)==SQLITE_OK);
  sqlite3_cancel_auto_extension((void(*)(void))apiFind);
  NEED(pApiFound!=NULL);
  rc = sqlite3_litestreamvfs_init(db, &zErr, pApiFound);
  NEED(rc==SQLITE_OK_LOAD_PERMANENTLY);
  sqlite3_close(db);
  return ls_host_last();
}

/* A file of a replica, opened without SQLite around it. The sentinel is "/sentinel/". */
typedef struct ReplicaFile {
  sqlite3_file *pFile;
  sqlite3_filename zName;
  uint32_t iConnection;
} ReplicaFile;

static UNUSED void fileOpen(ReplicaFile *p, int iReplica){
  sqlite3_vfs *pVfs = sqlite3_vfs_find("litestream");
  char zPath[64], zJournal[80], zWal[80];
  int flags = 0, iTicket = ls_replica_ticket(iReplica, 60000, "");
  NEED(iTicket>0);
  p->iConnection = (uint32_t)iTicket;
  p->pFile = calloc(1, (size_t)pVfs->szOsFile);
  NEED(p->pFile!=NULL);
  snprintf(zPath, sizeof(zPath), "/sentinel/%d.db", iTicket);
  snprintf(zJournal, sizeof(zJournal), "%s-journal", zPath);
  snprintf(zWal, sizeof(zWal), "%s-wal", zPath);
  p->zName = sqlite3_create_filename(zPath, zJournal, zWal, 0, NULL);
  NEED(pVfs->xOpen(pVfs, p->zName, p->pFile, SQLITE_OPEN_MAIN_DB|SQLITE_OPEN_READWRITE, &flags)==SQLITE_OK);
}

static UNUSED void fileEnd(ReplicaFile *p){
  CHECK_INT(p->pFile->pMethods->xClose(p->pFile), SQLITE_OK);
  sqlite3_free_filename(p->zName);
  free(p->pFile);
}

static UNUSED void fileShare(ReplicaFile *p){ CHECK_INT(p->pFile->pMethods->xLock(p->pFile, SQLITE_LOCK_SHARED), SQLITE_OK); }
static UNUSED void fileLeave(ReplicaFile *p){ CHECK_INT(p->pFile->pMethods->xUnlock(p->pFile, SQLITE_LOCK_NONE), SQLITE_OK); }

/* Reads one page. */
static UNUSED int filePage(ReplicaFile *p, uint32_t iPgno, uint8_t *aOut, int szPage){
  return p->pFile->pMethods->xRead(p->pFile, aOut, szPage, (sqlite3_int64)(iPgno-1)*szPage);
}

/* Live views, objects, runs, chunks, replicas, hidden names and connections must all be gone. */
#define CHECK_EMPTY() do{ \
    uint32_t aCensus_[8]; \
    uint64_t nByte_ = 1; \
    CHECK_INT(ls_census(aCensus_, 8), 8); \
    ls_pool_bytes(&nByte_); \
    CHECK_INT(aCensus_[0], 0); CHECK_INT(aCensus_[1], 0); CHECK_INT(aCensus_[2], 0); CHECK_INT(aCensus_[3], 0); \
    CHECK_INT(aCensus_[4], 0); CHECK_INT(aCensus_[6], 0); CHECK_INT(aCensus_[7], 0); CHECK_INT(nByte_, 0); \
  }while( 0 )

#endif
