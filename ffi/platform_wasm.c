/*
** The shim's operating system where it is WASM: what the instance imports, and locks in shared memory; see platform.h.
**
** BUILD     scripts/build_wasm.mjs. malloc() and its kin are the C library's, one caller at a time: that library knows
**           no threads.
** FILES     Those of the runtime, for restores; a handle is its thread's. Their locks hold nobody off.
** THREADS   A worker can be terminated anywhere, a lock in its hands, and nobody is told. No lock is held for as long as
**           HELD_MAX: who waits for longer leaves by an exception that says so, and so do all who come to that lock later.
** LEFT OUT  The write log. The end of threads: what else they hold is given up by the core's own end, and by deadlines.
**           Sleep of the machine: no clock that all runtimes have goes on meanwhile.
*/
#if defined(__wasm__)
#include <stdlib.h>
#include <string.h>
#include "platform.h"

#define IMPORT(NAME) __attribute__((import_module("env"), import_name(NAME)))

IMPORT("lockLost") void importLockLost(int nSecond);     /* throws */
IMPORT("monotonicMs") double importMonotonicMs(void);
IMPORT("nowMs") double importNowMs(void);
IMPORT("random") int importRandom(uint8_t *a, int n);
IMPORT("fileOpen") int importFileOpen(const char *zPath, int eFlag);
IMPORT("fileClose") int importFileClose(int fd);
IMPORT("fileRead") int importFileRead(int fd, uint8_t *a, int n, double iAt);
IMPORT("fileWrite") int importFileWrite(int fd, const uint8_t *a, int n, double iAt);
IMPORT("fileSize") double importFileSize(int fd);
IMPORT("fileCut") int importFileCut(int fd, double n);
IMPORT("fileSync") int importFileSync(int fd);
IMPORT("fileRemove") int importFileRemove(const char *zPath);
IMPORT("fileIs") int importFileIs(int fd, const char *zPath);
IMPORT("fileFault") int importFileFault(char *z, int n);
IMPORT("zoneMinutes") int importZoneMinutes(double ms);   /* east of Greenwich, at a time since 1970 */

/* --------------------------------------------------------------------------------------- threads and clocks */

#define SECOND   1000000000
#define HELD_MAX 5                           /* seconds; a suspended process counts one of them */

static _Thread_local int iThread;
static atomic_int iThreadLast;

/* A wait ends when the word has changed, by a wake, or after ns (below 0: never); whether by the latter. */
static int waitWord(atomic_int *p, int iSeen, int64_t ns){
  return __builtin_wasm_memory_atomic_wait32((int*)p, iSeen, ns)==2;
}

static void wake(atomic_int *p, unsigned n){ __builtin_wasm_memory_atomic_notify((int*)p, n); }

/* Waits for a word to change, which takes no time unless the thread that was to change it is no more. */
static void waitBriefly(atomic_int *p, int iSeen, int *pnSecond){
  if( waitWord(p, iSeen, SECOND) && ++*pnSecond==HELD_MAX ) importLockLost(HELD_MAX);
}

void lsMutexWait(LsMutex *p){
  int n = 0;
  while( atomic_exchange(&p->eState, 2)!=0 ) waitBriefly(&p->eState, 2, &n);
}

void lsMutexWake(LsMutex *p){ wake(&p->eState, 1); }

void lsCondInit(LsCond *p){ atomic_init(&p->iSeq, 0); }

void lsCondSignal(LsCond *p){
  atomic_fetch_add(&p->iSeq, 1);
  wake(&p->iSeq, 1);
}

void lsCondBroadcast(LsCond *p){
  atomic_fetch_add(&p->iSeq, 1);
  wake(&p->iSeq, ~0u);
}

int lsCondWaitUntil(LsCond *p, LsMutex *pMutex, int64_t nsEnd){
  int iSeen = atomic_load(&p->iSeq);
  int64_t ns = nsEnd-lsMonotonicNs();
  int bLate;
  lsMutexUnlock(pMutex);
  bLate = ns<=0 || waitWord(&p->iSeq, iSeen, ns);
  lsMutexLock(pMutex);
  return bLate;
}

void lsOnce(LsOnce *p, void (*x)(void)){
  int e = 0, n = 0;
  if( atomic_load(&p->eState)==2 ) return;
  if( atomic_compare_exchange_strong(&p->eState, &e, 1) ){
    x();
    atomic_store(&p->eState, 2);
    wake(&p->eState, ~0u);
  }
  while( atomic_load(&p->eState)==1 ) waitBriefly(&p->eState, 1, &n);
}

LsThread lsThreadSelf(void){
  if( iThread==0 ) iThread = atomic_fetch_add(&iThreadLast, 1)+1;
  return iThread;
}

int lsThreadKeyMake(LsThreadKey *p, void (*xEnded)(void*)){
  (void)xEnded;
  *p = 0;
  return 0;
}

int lsThreadSet(LsThreadKey key, void *pValue){
  (void)key;
  (void)pValue;
  return 0;
}

LsOwn *lsOwn(void){
  static _Thread_local LsOwn own;
  return &own;
}

int64_t lsMonotonicNs(void){ return (int64_t)(importMonotonicMs()*1e6); }
int64_t lsBootMs(void){ return (int64_t)importMonotonicMs(); }
uint64_t lsNowNs(void){ return (uint64_t)(importNowMs()*1e6); }

void lsUtc(int64_t s, struct tm *p){
  time_t t = (time_t)s;
  gmtime_r(&t, p);
}

/* For SQLite's modifiers; the C library knows no zone but UTC. */
struct tm *localtime_r(const time_t *pt, struct tm *p){
  time_t t = *pt + (time_t)importZoneMinutes((double)*pt*1000)*60;
  return gmtime_r(&t, p);
}

void lsModulePin(const void *pAddress){ (void)pAddress; }

/* -------------------------------------------------------------------------------------------------- memory */

#undef malloc      /* the build calls the functions below by these names everywhere else */
#undef calloc
#undef realloc
#undef free
void *malloc(size_t n);
void *calloc(size_t n, size_t sz);
void *realloc(void *p, size_t n);
void free(void *p);

void *lsHeapAlloc(size_t n);
void *lsHeapZeroed(size_t n, size_t sz);
void *lsHeapResize(void *p, size_t n);
void lsHeapFree(void *p);
char *lsHeapText(const char *z);

static LsMutex heapLock = LS_MUTEX_INIT;

void *lsHeapAlloc(size_t n){
  void *p;
  lsMutexLock(&heapLock);
  p = malloc(n);
  lsMutexUnlock(&heapLock);
  return p;
}

void *lsHeapZeroed(size_t n, size_t sz){
  void *p;
  lsMutexLock(&heapLock);
  p = calloc(n, sz);
  lsMutexUnlock(&heapLock);
  return p;
}

void *lsHeapResize(void *pOld, size_t n){
  void *p;
  lsMutexLock(&heapLock);
  p = realloc(pOld, n);
  lsMutexUnlock(&heapLock);
  return p;
}

void lsHeapFree(void *p){
  lsMutexLock(&heapLock);
  free(p);
  lsMutexUnlock(&heapLock);
}

char *lsHeapText(const char *z){
  size_t n = strlen(z)+1;
  char *zNew = lsHeapAlloc(n);
  return zNew ? memcpy(zNew, z, n) : NULL;
}

/* --------------------------------------------------------------------------------------------------- files */

const char *lsSystemText(void){
  LsOwn *p = lsOwn();
  importFileFault(p->zSystem, (int)sizeof(p->zSystem));
  return p->zSystem;
}

int lsFileOpen(const char *zPath, int eFlag, LsFd *pFd){
  int fd = importFileOpen(zPath, eFlag);
  *pFd = fd<0 ? LS_NO_FILE : fd;
  return fd<0 ? fd : 0;
}

void lsFileClose(LsFd fd){ importFileClose(fd); }
int lsFileRead(LsFd fd, uint8_t *a, size_t n, uint64_t iAt){ return importFileRead(fd, a, (int)n, (double)iAt); }
int lsFileWrite(LsFd fd, const uint8_t *a, size_t n, uint64_t iAt){ return importFileWrite(fd, a, (int)n, (double)iAt); }

int lsFileSize(LsFd fd, uint64_t *pn){
  double n = importFileSize(fd);
  if( n<0 ) return (int)n;
  *pn = (uint64_t)n;
  return 0;
}

int lsFileCut(LsFd fd, uint64_t n){ return importFileCut(fd, (double)n); }
int lsFileSync(LsFd fd){ return importFileSync(fd); }
int lsFileRemove(const char *zPath){ return importFileRemove(zPath); }
int lsFileIs(LsFd fd, const char *zPath){ return importFileIs(fd, zPath)==1; }

/* Runtimes have no lock of an open file in common. */
int lsFileLock(LsFd fd){
  (void)fd;
  return 0;
}

/* Of the write log, which there is none of here. */
LsFd lsFileAgain(LsFd fd){
  (void)fd;
  return LS_NO_FILE;
}

int lsFileSyncName(const char *zPath){
  (void)zPath;
  return LS_IO_FAILED;
}

int lsFileNamed(LsFd fd){
  (void)fd;
  return -1;
}

int lsRandom(uint8_t *a, size_t n){
  importRandom(a, (int)n);
  return 0;
}

#else
typedef int LsNotWasm;  /* ISO C has no empty translation unit */
#endif
