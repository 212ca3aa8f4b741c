/*
** Loads a shim into an SQLite that is compiled in, as a driver does: load_shim PATH. Exit code 0 where its VFS is registered,
** tells its own words, and threads that come and go as its core leave nothing behind. For systems that no runtime runs on.
*/
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sqlite3.h>

static int (*xStart)(void);
static int (*xWait)(int, int, int);

static int nBad;
static void check(const char *zWhat, int b){
  printf("%s %s\n", b ? "ok" : "not ok", zWhat);
  if( !b ) nBad++;
}

static void *asCore(void *p){
  *(int*)p = xStart();
  return NULL;
}

int main(int nArg, char **azArg){
  sqlite3 *db = NULL, *dbReplica = NULL;
  char *zError = NULL;
  void *pShim;
  int (*xAbi)(void);
  int i, rc, aCore[50];
  if( nArg!=2 || sqlite3_open(":memory:", &db) || sqlite3_enable_load_extension(db, 1) ) return 2;
  rc = sqlite3_load_extension(db, azArg[1], "sqlite3_litestreamvfs_init", &zError);
  check(zError ? zError : "SQLite loads it", rc==SQLITE_OK);
  pShim = dlopen(azArg[1], RTLD_NOW);
  if( rc || pShim==NULL ) return 1;
  *(void**)&xAbi = dlsym(pShim, "ls_abi");
  *(void**)&xStart = dlsym(pShim, "ls_core_start");
  *(void**)&xWait = dlsym(pShim, "ls_core_wait");
  check("it tells its ABI", xAbi && xAbi()>0);
  check("its VFS is registered", sqlite3_vfs_find("litestream")!=NULL);
  rc = sqlite3_open_v2("file:x.db?vfs=litestream", &dbReplica, SQLITE_OPEN_READONLY|SQLITE_OPEN_URI, NULL);
  if( rc==SQLITE_OK ) rc = sqlite3_exec(dbReplica, "SELECT * FROM sqlite_schema", NULL, NULL, NULL);
  printf("# %s\n", sqlite3_errmsg(dbReplica));
  check("a replica without a core is refused in words", rc!=SQLITE_OK && strstr(sqlite3_errmsg(dbReplica), "register()"));
  sqlite3_close(dbReplica);
  for(i=0; i<50; i++){
    pthread_t t;
    pthread_create(&t, NULL, asCore, &aCore[i]);
    pthread_join(t, NULL);
  }
  for(i=rc=0; i<50; i++) rc += aCore[i]>0 && xWait(aCore[i], 0, 1000)<0;
  check("50 cores whose threads have ended are known to have", rc==50);
  sqlite3_close(db);
  printf("SQLite %s\n", sqlite3_libversion());
  return nBad!=0;
}
