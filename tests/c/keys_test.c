/*
** A process whose keys of threads are used up, by whoever: the shim refuses what it could not keep apart, and
** touches nobody else's.
*/
#include "harness.h"

static void neverEnded(void *p){
  (void)p;
  checkFailed(__FILE__, __LINE__, "somebody has set a value that is not theirs");
}

static void *useShim(void *pArg){
  (void)pArg;
  CHECK_INT(ls_core_start(), LS_NOMEM);
  return NULL;
}

static void coreRefused(void){
  pthread_t thread;
  NEED(pthread_create(&thread, NULL, useShim, NULL)==0);
  pthread_join(thread, NULL);
}

static void hostRefused(void){
  char *zErr = NULL;
  sqlite3 *db = NULL;
  NEED(sqlite3_auto_extension((void(*)(void))apiFind)==SQLITE_OK);
  NEED(sqlite3_open(":memory:", &db)==SQLITE_OK);
  NEED(pApiFound!=NULL);
  CHECK_INT(sqlite3_litestreamvfs_init(db, &zErr, pApiFound), SQLITE_NOMEM);
  CHECK_INT(ls_host_last(), 0);
  CHECK(sqlite3_vfs_find("litestream")==NULL);
  sqlite3_close(db);
}

int main(void){
  pthread_key_t key;
  int n = 0;
  while( pthread_key_create(&key, neverEnded)==0 ) n++;
  printf("# %d keys were left\n", n);
  RUN("no core is begun whose end nobody would notice", coreRefused);
  RUN("no SQLite is loaded into that could be taken for another thread's", hostRefused);
  return finish();
}
