/*
** SQLite in the same WASM module as the shim: its mutexes, its system, and the shim as one of its extensions.
**
** BUILD     The amalgamation is part of this file; scripts/build_wasm.mjs has its options.
** PURPOSE   What a runtime's own SQLite has from its system. ffi/wasm.ts calls SQLite's own functions for all else.
** THREADS   A connection is used by the thread that opened it; what SQLite shares is guarded by mutexes of platform.h.
** LEFT OUT  Files: a database is a replica, or in memory; temporary ones are in memory, too (SQLITE_TEMP_STORE=3).
*/
#if defined(__wasm__)
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#undef __wasi__          /* or SQLite leaves out what it has no use for there: threads, and extensions such as ours */
#include <sqlite3.c>
#include "platform.h"
#include "shim.h"

#define EXPORT __attribute__((visibility("default")))
#define JULIAN_1970_MS 210866760000000LL

/* ------------------------------------------------------------------------------------------------- mutexes */

struct sqlite3_mutex {
  LsMutex mu;
  LsThread owner;                      /* read by others, too: equal to oneself only where one has it */
  int nHeld;
  int eType;
};

static sqlite3_mutex aStatic[SQLITE_MUTEX_STATIC_VFS3+1];

static int mutexInit(void){ return SQLITE_OK; }
static int mutexEnd(void){ return SQLITE_OK; }

static sqlite3_mutex *mutexAlloc(int eType){
  sqlite3_mutex *p;
  if( eType>SQLITE_MUTEX_RECURSIVE ) return &aStatic[eType];
  p = calloc(1, sizeof(*p));
  if( p ) p->eType = eType;
  return p;
}

static void mutexFree(sqlite3_mutex *p){ free(p); }

static LsThread ownerOf(sqlite3_mutex *p){ return __atomic_load_n(&p->owner, __ATOMIC_RELAXED); }

static int mutexHeld(sqlite3_mutex *p){ return ownerOf(p)==lsThreadSelf(); }
static int mutexNotHeld(sqlite3_mutex *p){ return !mutexHeld(p); }

static void mutexEnter(sqlite3_mutex *p){
  if( !mutexHeld(p) ){
    lsMutexLock(&p->mu);
    __atomic_store_n(&p->owner, lsThreadSelf(), __ATOMIC_RELAXED);
  }
  p->nHeld++;
}

static int mutexTry(sqlite3_mutex *p){
  if( !mutexHeld(p) ){
    if( !lsMutexTry(&p->mu) ) return SQLITE_BUSY;
    __atomic_store_n(&p->owner, lsThreadSelf(), __ATOMIC_RELAXED);
  }
  p->nHeld++;
  return SQLITE_OK;
}

static void mutexLeave(sqlite3_mutex *p){
  if( --p->nHeld>0 ) return;
  __atomic_store_n(&p->owner, 0, __ATOMIC_RELAXED);
  lsMutexUnlock(&p->mu);
}

static const sqlite3_mutex_methods mutexMethods = {
  mutexInit, mutexEnd, mutexAlloc, mutexFree, mutexEnter, mutexTry, mutexLeave, mutexHeld, mutexNotHeld,
};

/* -------------------------------------------------------------------------------------------------- system */

static int noneOpen(sqlite3_vfs *p, const char *zName, sqlite3_file *pFile, int flags, int *pOutFlags){
  (void)p;
  (void)zName;
  (void)flags;
  (void)pOutFlags;
  pFile->pMethods = NULL;
  return SQLITE_CANTOPEN;
}

static int noneDelete(sqlite3_vfs *p, const char *zName, int bSync){
  (void)p;
  (void)zName;
  (void)bSync;
  return SQLITE_IOERR_DELETE_NOENT;
}

static int noneAccess(sqlite3_vfs *p, const char *zName, int flags, int *pbOut){
  (void)p;
  (void)zName;
  (void)flags;
  *pbOut = 0;
  return SQLITE_OK;
}

static int noneFullPathname(sqlite3_vfs *p, const char *zName, int nOut, char *zOut){
  (void)p;
  if( strlen(zName)>=(size_t)nOut ) return SQLITE_CANTOPEN;
  strcpy(zOut, zName);
  return SQLITE_OK;
}

static void *noneDlOpen(sqlite3_vfs *p, const char *zName){
  (void)p;
  (void)zName;
  return NULL;
}

static void noneDlError(sqlite3_vfs *p, int n, char *z){
  (void)p;
  if( n>0 ) z[0] = 0;
}

static void (*noneDlSym(sqlite3_vfs *p, void *h, const char *z))(void){
  (void)p;
  (void)h;
  (void)z;
  return NULL;
}

static void noneDlClose(sqlite3_vfs *p, void *h){
  (void)p;
  (void)h;
}

static int noneRandomness(sqlite3_vfs *p, int n, char *z){
  (void)p;
  lsRandom((uint8_t*)z, (size_t)n);
  return n;
}

static int noneSleep(sqlite3_vfs *p, int us){
  int iNever = 0;
  (void)p;
  __builtin_wasm_memory_atomic_wait32(&iNever, 0, (int64_t)us*1000);
  return us;
}

static int noneCurrentTimeInt64(sqlite3_vfs *p, sqlite3_int64 *pi){
  (void)p;
  *pi = (sqlite3_int64)lsNowMs() + JULIAN_1970_MS;
  return SQLITE_OK;
}

static int noneCurrentTime(sqlite3_vfs *p, double *pr){
  sqlite3_int64 i;
  noneCurrentTimeInt64(p, &i);
  *pr = (double)i/86400000.0;
  return SQLITE_OK;
}

static int noneGetLastError(sqlite3_vfs *p, int n, char *z){
  (void)p;
  (void)n;
  (void)z;
  return 0;
}

static sqlite3_vfs noneVfs = {
  .iVersion = 2, .szOsFile = sizeof(sqlite3_file), .mxPathname = 1024, .zName = "none",
  .xOpen = noneOpen, .xDelete = noneDelete, .xAccess = noneAccess, .xFullPathname = noneFullPathname,
  .xDlOpen = noneDlOpen, .xDlError = noneDlError, .xDlSym = noneDlSym, .xDlClose = noneDlClose,
  .xRandomness = noneRandomness, .xSleep = noneSleep, .xCurrentTime = noneCurrentTime,
  .xGetLastError = noneGetLastError, .xCurrentTimeInt64 = noneCurrentTimeInt64,
};

int sqlite3_os_init(void){ return sqlite3_vfs_register(&noneVfs, 1); }
int sqlite3_os_end(void){ return SQLITE_OK; }

/* --------------------------------------------------------------------------------------------------- start */

int sqlite3_litestreamvfs_init(sqlite3 *db, char **pzErr, const sqlite3_api_routines *pApi);
EXPORT int ls_sqlite_load(void);

static LsOnce once = LS_ONCE_INIT;
static int rcStart;

static void start(void){
  rcStart = sqlite3_config(SQLITE_CONFIG_MUTEX, &mutexMethods);
  if( rcStart==SQLITE_OK ) rcStart = sqlite3_initialize();
}

/* Starts SQLite when nobody has, and loads the shim into it; ls_host_last() tells the host then. An SQLite result code. */
int ls_sqlite_load(void){
  char *zErr = NULL;
  int rc;
  lsOnce(&once, start);
  if( rcStart ) return rcStart;
  rc = sqlite3_litestreamvfs_init(NULL, &zErr, &sqlite3Apis);
  sqlite3_free(zErr);
  return rc==SQLITE_OK_LOAD_PERMANENTLY ? SQLITE_OK : rc;
}

#else
typedef int LsNotWasmSqlite;  /* ISO C has no empty translation unit */
#endif
