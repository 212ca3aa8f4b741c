/*
** SQLite itself over the VFS.
**
** A database is made in memory; each state of it becomes an LTX file of the pages that changed, and a view. OPENS: opens of
** each thread in the test of the default-VFS window.
*/
#include <sys/stat.h>
#include "harness.h"

static TestCore core;
static int iHost;
static char zFolder[128];

/* ---------------------------------------------------------------------------------- a database and its replica */

typedef struct Source {
  sqlite3 *db;                     /* the writer's */
  uint8_t *aLast;                  /* its state as last published */
  uint32_t nLast;                  /* in pages */
  uint32_t szPage;
  int iReplica, iView;
  uint64_t iTxid;
  uint32_t iStamp;
  int aObject[64];
  LtxFile *apLtx[64];
  int nObject;
} Source;

static void sql(sqlite3 *db, const char *zSql){
  char *zErr = NULL;
  int rc = sqlite3_exec(db, zSql, NULL, NULL, &zErr);
  if( rc!=SQLITE_OK ) checkFailed(__FILE__, __LINE__, "%s: %s", zSql, zErr ? zErr : sqlite3_errmsg(db));
  sqlite3_free(zErr);
}

/* The first column of the first row; "" for none, the words of an error after "error: ". */
static const char *value(sqlite3 *db, const char *zSql){
  static _Thread_local char z[512];
  sqlite3_stmt *pStmt = NULL;
  int rc = sqlite3_prepare_v2(db, zSql, -1, &pStmt, NULL);
  if( rc==SQLITE_OK ) rc = sqlite3_step(pStmt);
  if( rc==SQLITE_ROW ){
    const char *zText = (const char*)sqlite3_column_text(pStmt, 0);
    snprintf(z, sizeof(z), "%s", zText ? zText : "null");
  }else if( rc==SQLITE_DONE ){
    z[0] = 0;
  }else{
    snprintf(z, sizeof(z), "error: %s", sqlite3_errmsg(db));
  }
  sqlite3_finalize(pStmt);
  return z;
}
#define VALUE(db, zSql, zWanted) do{ \
    const char *zFound_ = value((db), (zSql)); \
    if( strcmp(zFound_, (zWanted))!=0 ){ \
      checkFailed(__FILE__, __LINE__, "%s gives \"%s\", expected \"%s\"", (zSql), zFound_, (zWanted)); \
    } \
  }while( 0 )

static void copyPage(void *pArg, uint32_t iPgno, uint8_t *aPage, uint32_t szPage){
  memcpy(aPage, (uint8_t*)pArg+(size_t)(iPgno-1)*szPage, szPage);
}

static void publishMap(Source *p, int iMap){
  int iNew = ls_map_view(iMap, p->iReplica, p->iTxid, p->nLast, p->iStamp, 1700000000123ull+p->iTxid);
  NEED(iNew>0);
  CHECK_INT(ls_view_publish(iNew), 0);
  if( p->iView ) ls_view_release(p->iView);
  p->iView = iNew;
}

/* Publishes what changed since the last call as the next TXID. */
static void publish(Source *p){
  sqlite3_int64 nByte = 0;
  uint8_t *a = sqlite3_serialize(p->db, "main", &nByte, 0);
  uint32_t nPage, *aPgno, n = 0, i;
  int iMap, iObject;
  NEED(a!=NULL);
  nPage = (uint32_t)(nByte/p->szPage);
  aPgno = malloc(sizeof(uint32_t)*(nPage+1));
  NEED(aPgno!=NULL);
  for(i=0; i<nPage; i++){
    size_t iAt = (size_t)i*p->szPage;
    if( i==0 || i>=p->nLast || memcmp(a+iAt, p->aLast+iAt, p->szPage)!=0 ) aPgno[n++] = i+1;
  }
  pthread_mutex_lock(&core.mu);
  NEED(p->nObject<64);
  p->iTxid++;
  p->iStamp = (uint32_t)ls_stamp();
  p->apLtx[p->nObject] = ltxBuild(p->szPage, nPage, p->nLast==0, aPgno, n, copyPage, a, ENCODE_BLOCK);
  iObject = p->aObject[p->nObject] = ltxObject(p->apLtx[p->nObject], p->iReplica, 1000);
  NEED(iObject>0);
  core.apFile[iObject] = p->apLtx[p->nObject++];
  iMap = ls_map_new(p->iView, (int)p->szPage);
  NEED(iMap>0 && ls_map_apply(iMap, iObject, 0, 1000000)==0 && ls_map_truncate(iMap, nPage)==0);
  sqlite3_free(p->aLast);
  p->aLast = a;
  p->nLast = nPage;
  publishMap(p, iMap);
  pthread_mutex_unlock(&core.mu);
  free(aPgno);
}

/* Publishes the same content at another place: one new file, all others given up. */
static void relocate(Source *p){
  uint32_t *aPgno = malloc(sizeof(uint32_t)*p->nLast), i;
  int iMap, iObject;
  NEED(aPgno!=NULL && p->nObject<64);
  for(i=0; i<p->nLast; i++) aPgno[i] = i+1;
  pthread_mutex_lock(&core.mu);
  p->apLtx[p->nObject] = ltxBuild(p->szPage, p->nLast, 1, aPgno, p->nLast, copyPage, p->aLast, ENCODE_FRAME);
  iObject = p->aObject[p->nObject] = ltxObject(p->apLtx[p->nObject], p->iReplica, 1000);
  NEED(iObject>0);
  for(i=0; i<(uint32_t)p->nObject; i++) core.apFile[p->aObject[i]] = NULL;
  core.apFile[iObject] = p->apLtx[p->nObject++];
  iMap = ls_map_new(0, (int)p->szPage);
  NEED(iMap>0 && ls_map_apply(iMap, iObject, 0, 1000000)==0);
  publishMap(p, iMap);
  pthread_mutex_unlock(&core.mu);
  free(aPgno);
}

static void sourceBegin(Source *p, uint32_t szPage, const char *zSql){
  char z[64];
  memset(p, 0, sizeof(*p));
  p->szPage = szPage;
  NEED(sqlite3_open(":memory:", &p->db)==SQLITE_OK);
  snprintf(z, sizeof(z), "PRAGMA page_size=%u", szPage);
  sql(p->db, z);
  sql(p->db, zSql);
  p->iReplica = ls_replica_new(core.iCore, 20000);
  NEED(p->iReplica>0);
  publish(p);
}

static void sourceEnd(Source *p){
  int i;
  pthread_mutex_lock(&core.mu);
  for(i=0; i<p->nObject; i++) coreDropObject(&core, p->aObject[i]);
  if( p->iView ) ls_view_release(p->iView);
  ls_replica_close(p->iReplica);
  pthread_mutex_unlock(&core.mu);
  for(i=0; i<p->nObject; i++) ltxFree(p->apLtx[i]);
  sqlite3_free(p->aLast);
  sqlite3_close(p->db);
}

/* What connect() does. */
static sqlite3 *connectTo(const Source *p){
  sqlite3 *db = NULL;
  char zPath[64];
  int rc;
  snprintf(zPath, sizeof(zPath), "/sentinel/%d.db", ls_replica_ticket(p->iReplica, 20000));
  NEED(ls_host_begin(iHost)==0);
  rc = sqlite3_open(zPath, &db);
  CHECK_INT(ls_host_end(iHost), 0);
  if( rc!=SQLITE_OK ) checkFailed(__FILE__, __LINE__, "open: %s", sqlite3_errmsg(db));
  return db;
}

static void statsOf(const Source *p, uint64_t *a){
  CHECK_INT(ls_replica_stats(p->iReplica, a, LS_STAT_COUNT), LS_STAT_COUNT);
}

static const Source *pUriSource;           /* what an open by URI gives */
static char zUriText[1024];                /* its parameters, joined by '|' */

static int openUri(TestCore *p, const uint8_t *aText, int nText){
  int i;
  (void)p;
  memset(zUriText, 0, sizeof(zUriText));
  for(i=0; i<nText-1 && i<(int)sizeof(zUriText)-1; i++) zUriText[i] = aText[i] ? (char)aText[i] : '|';
  return pUriSource ? pUriSource->iReplica : 0;
}

static sqlite3 *openByUri(const char *zUri){
  sqlite3 *db = NULL;
  int rc = sqlite3_open_v2(zUri, &db, SQLITE_OPEN_READONLY|SQLITE_OPEN_URI, NULL);
  if( rc!=SQLITE_OK ) checkFailed(__FILE__, __LINE__, "%s: %s", zUri, sqlite3_errmsg(db));
  return db;
}

static char *path(const char *zName){
  return sqlite3_mprintf("%s/%s", zFolder, zName);
}

static void writeFile(const char *zPath, const void *a, size_t n){
  FILE *f = fopen(zPath, "wb");
  NEED(f!=NULL && fwrite(a, 1, n, f)==n && fclose(f)==0);
}
static sqlite3_int64 fileLength(const char *zPath){
  struct stat s;
  return stat(zPath, &s)==0 ? (sqlite3_int64)s.st_size : -1;
}
static uint8_t *readWhole(const char *zPath, size_t *pn){
  sqlite3_int64 n = fileLength(zPath);
  FILE *f = fopen(zPath, "rb");
  uint8_t *a = malloc(n>0 ? (size_t)n : 1);
  NEED(n>0 && f!=NULL && a!=NULL && fread(a, 1, (size_t)n, f)==(size_t)n);
  fclose(f);
  *pn = (size_t)n;
  return a;
}

#define MENU "CREATE TABLE menu(id INTEGER PRIMARY KEY, name TEXT, price INT);" \
  "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<500) " \
  "INSERT INTO menu SELECT i, 'sandwich '||i||hex(zeroblob(30)), i%17 FROM c;"

/* ---------------------------------------------------------------------------------------------------- tests */

static void connects(void){
  Source s;
  sqlite3 *db;
  char *z = NULL;
  sourceBegin(&s, 1024, MENU);
  db = connectTo(&s);
  VALUE(db, "SELECT count(*) FROM menu", "500");
  VALUE(db, "PRAGMA integrity_check", "ok");
  VALUE(db, "PRAGMA journal_mode", "delete");
  VALUE(db, "SELECT litestream_txid()", "0000000000000001");
  VALUE(db, "PRAGMA litestream_txid", "0000000000000001");
  VALUE(db, "SELECT litestream_time()", "2023-11-14T22:13:20.124Z");
  VALUE(db, "PRAGMA litestream_time", "2023-11-14T22:13:20.124Z");
  VALUE(db, "PRAGMA litestream_error", "");
  CHECK_TEXT(value(db, "PRAGMA litestream_txid=5"), "litestream_txid is read-only");
  CHECK_TEXT(value(db, "PRAGMA litestream_nonsense"), "unknown PRAGMA litestream_nonsense");
  CHECK_INT(sqlite3_file_control(db, "main", SQLITE_FCNTL_VFSNAME, &z), SQLITE_OK);
  CHECK_TEXT(z, "litestream");
  sqlite3_free(z);
  CHECK_INT(sqlite3_db_readonly(db, "main"), 1);
  sqlite3_close(db);
  sourceEnd(&s);
  CHECK_EMPTY();
}

static void sentinelOnce(void){
  Source s;
  sqlite3 *db, *db2 = NULL;
  char zPath[64];
  int iTicket;
  sourceBegin(&s, 1024, MENU);
  iTicket = ls_replica_ticket(s.iReplica, 1000);
  snprintf(zPath, sizeof(zPath), "/sentinel/%d.db", iTicket);
  CHECK_INT(ls_host_begin(iHost), 0);
  CHECK_INT(sqlite3_open(zPath, &db), SQLITE_OK);
  CHECK_INT(sqlite3_open(zPath, &db2), SQLITE_CANTOPEN);
  CHECK_TEXT(sqlite3_errmsg(db2), "used twice");
  CHECK_INT(ls_host_end(iHost), 0);
  sqlite3_close(db2);
  VALUE(db, "SELECT count(*) FROM menu", "500");
  sqlite3_close(db);
  iTicket = ls_replica_ticket(s.iReplica, 1000);     /* never taken: forgotten when the replica closes */
  CHECK(iTicket>0);
  sourceEnd(&s);
  CHECK_INT(ls_replica_ticket(s.iReplica, 1000), LS_MISUSE);
  CHECK_INT(lsTicketTake(iTicket, &iTicket, &iTicket), LS_GONE);
  CHECK_EMPTY();
}

static void uri(void){
  Source s;
  sqlite3 *db, *db2;
  int nBefore = atomic_load(&core.nClosed), i;
  sourceBegin(&s, 1024, MENU);
  pthread_mutex_lock(&core.mu);
  pUriSource = &s;
  pthread_mutex_unlock(&core.mu);
  ls_core_default(core.iCore, 1);
  db = openByUri("file:/x%20y.db?vfs=litestream&replica_url=s3://b/p&cache_size=1MB");
  VALUE(db, "SELECT count(*) FROM menu", "500");
  pthread_mutex_lock(&core.mu);
  CHECK_TEXT(zUriText, "/x y.db|vfs|litestream|replica_url|s3://b/p|cache_size|1MB");
  pthread_mutex_unlock(&core.mu);
  db2 = openByUri("file:/other.db?vfs=litestream");
  VALUE(db2, "SELECT count(*) FROM menu", "500");
  sqlite3_close(db);
  sqlite3_close(db2);
  for(i=0; i<2000 && atomic_load(&core.nClosed)<nBefore+2; i++) sleepMs(1);
  CHECK_INT(atomic_load(&core.nClosed), nBefore+2);
  sourceEnd(&s);
  ls_core_default(core.iCore, 0);
  pUriSource = NULL;
  CHECK_EMPTY();
}

static void literalName(void){
  Source s;
  sqlite3 *db = NULL;
  char *zPlain = path("plain.db");
  sourceBegin(&s, 1024, MENU);
  pthread_mutex_lock(&core.mu);
  pUriSource = &s;
  pthread_mutex_unlock(&core.mu);
  ls_core_default(core.iCore, 1);
  CHECK_INT(ls_host_default(iHost, 1), 0);
  CHECK_INT(sqlite3_open_v2("file:my%20db?cache_size=2&vfs=litestream#x", &db, SQLITE_OPEN_READWRITE|SQLITE_OPEN_CREATE, NULL),
    SQLITE_OK);
  VALUE(db, "SELECT count(*) FROM menu", "500");
  pthread_mutex_lock(&core.mu);
  CHECK_TEXT(zUriText, "my db|cache_size|2|vfs|litestream");
  pthread_mutex_unlock(&core.mu);
  sqlite3_close(db);
  CHECK(access("file:my%20db?cache_size=2&vfs=litestream#x", F_OK)!=0);
  CHECK_INT(sqlite3_open("/some/folder/file:menu?vfs=litestream", &db), SQLITE_OK);   /* made absolute by its driver */
  pthread_mutex_lock(&core.mu);
  CHECK(strcmp(zUriText, "menu|vfs|litestream")==0);
  pthread_mutex_unlock(&core.mu);
  sqlite3_close(db);
  CHECK_INT(sqlite3_open("/some/folder/file:menu?vfs=litestreams", &db), SQLITE_CANTOPEN);
  sqlite3_close(db);
  CHECK_INT(sqlite3_open(zPlain, &db), SQLITE_OK);            /* any other name is a file */
  sql(db, "CREATE TABLE t(x); INSERT INTO t VALUES(1)");
  CHECK_TEXT(value(db, "SELECT litestream_txid()"), "no such function");
  sqlite3_close(db);
  CHECK(fileLength(zPlain)>0);
  CHECK_INT(ls_host_default(iHost, 0), 0);
  CHECK(sqlite3_vfs_find(NULL)!=sqlite3_vfs_find("litestream"));
  unlink(zPlain);
  sqlite3_free(zPlain);
  sourceEnd(&s);
  ls_core_default(core.iCore, 0);
  pUriSource = NULL;
  CHECK_EMPTY();
}

static atomic_int bFlipping;

static void *flip(void *pArg){
  (void)pArg;
  while( atomic_load(&bFlipping) ){
    ls_host_default(iHost, 1);
    ls_host_default(iHost, 0);
  }
  return NULL;
}

/* A registration that ends in the middle of an open. */
static void literalWhileEnding(void){
  sqlite3_vfs *pVfs = sqlite3_vfs_find("litestream");
  sqlite3_file *pFile = calloc(1, (size_t)pVfs->szOsFile);
  const char *z = "file:menu?vfs=litestream";
  sqlite3_filename zName = sqlite3_create_filename(z, "file:menu?vfs=litestream-journal", "file:menu?vfs=litestream-wal", 0, NULL);
  int i, nRound = 20*setting("OPENS", 500), flags;
  pthread_t thread;
  NEED(pFile!=NULL && zName!=NULL);
  atomic_store(&bFlipping, 1);
  NEED(pthread_create(&thread, NULL, flip, NULL)==0);
  for(i=0; i<nRound; i++){
    memset(pFile, 0, (size_t)pVfs->szOsFile);
    if( pVfs->xOpen(pVfs, zName, pFile, SQLITE_OPEN_MAIN_DB|SQLITE_OPEN_READONLY, &flags)==SQLITE_OK ){
      pFile->pMethods->xClose(pFile);              /* ours: without a core, a file that refuses */
    }else{
      CHECK(pFile->pMethods==NULL);
    }
  }
  atomic_store(&bFlipping, 0);
  pthread_join(thread, NULL);
  sqlite3_free_filename(zName);
  free(pFile);
  CHECK_EMPTY();
}

static void noCore(void){
  sqlite3 *db = NULL, *dbOther;
  char *zPath = path("beside.db");
  CHECK_INT(sqlite3_open_v2("file:/x.db?vfs=litestream", &db, SQLITE_OPEN_READONLY|SQLITE_OPEN_URI, NULL), SQLITE_CANTOPEN);
  CHECK_TEXT(sqlite3_errmsg(db), "register()");
  CHECK_TEXT(sqlite3_errmsg(db), "ReplicaClosedError");
  sqlite3_close(db);
  CHECK_INT(sqlite3_open_v2(zPath, &dbOther, SQLITE_OPEN_READWRITE|SQLITE_OPEN_CREATE|SQLITE_OPEN_URI, NULL), SQLITE_OK);
  CHECK_TEXT(value(dbOther, "ATTACH 'file:/x.db?vfs=litestream' AS r"), "unable to open database");
  sql(dbOther, "CREATE TABLE t(x); INSERT INTO t VALUES(1)");
  VALUE(dbOther, "SELECT x FROM t", "1");
  sqlite3_close(dbOther);
  unlink(zPath);
  sqlite3_free(zPath);
  CHECK_EMPTY();
}

/* P1: elsewhere a failed open closed a file that others still used. */
static void failedOpen(void){
  Source s;
  sqlite3 *db, *dbBad = NULL;
  sqlite3_stmt *pStmt;
  int i;
  sourceBegin(&s, 512, MENU);
  db = connectTo(&s);
  CHECK_INT(sqlite3_prepare_v2(db, "SELECT id FROM menu", -1, &pStmt, NULL), SQLITE_OK);
  CHECK_INT(sqlite3_step(pStmt), SQLITE_ROW);
  for(i=0; i<20; i++){
    CHECK_INT(sqlite3_open_v2("file:/x.db?vfs=litestream", &dbBad, SQLITE_OPEN_READONLY|SQLITE_OPEN_URI, NULL), SQLITE_CANTOPEN);
    sqlite3_close(dbBad);
    CHECK_INT(sqlite3_open_v2("/sentinel/999999.db", &dbBad, SQLITE_OPEN_READONLY, "litestream"), SQLITE_CANTOPEN);
    sqlite3_close(dbBad);
    CHECK_INT(sqlite3_open_v2("/nowhere/at/all.db", &dbBad, SQLITE_OPEN_READONLY, "litestream"), SQLITE_CANTOPEN);
    sqlite3_close(dbBad);
  }
  for(i=1; sqlite3_step(pStmt)==SQLITE_ROW; i++){}
  CHECK_INT(i, 500);
  sqlite3_finalize(pStmt);
  VALUE(db, "PRAGMA integrity_check", "ok");
  sqlite3_close(db);
  sourceEnd(&s);
  CHECK_EMPTY();
}

static void closedReplica(void){
  Source s;
  sqlite3 *db;
  sourceBegin(&s, 512, MENU);
  db = connectTo(&s);
  VALUE(db, "SELECT count(*) FROM menu", "500");
  sourceEnd(&s);
  CHECK_TEXT(value(db, "SELECT sum(price) FROM menu"), "disk I/O error");
  CHECK_TEXT(value(db, "PRAGMA litestream_error"), "ReplicaClosedError: Cannot read: the replica was closed");
  sqlite3_close(db);
  CHECK_EMPTY();
}

/* P2, with the VFS the default, as it is while another thread connects. */
static void ordinary(void){
  static const char *const aMode[] = {"DELETE", "TRUNCATE", "PERSIST", "WAL", "MEMORY"};
  size_t i;
  sqlite3 *db, *db2;
  char *zPath = path("ordinary.db");
  for(i=0; i<sizeof(aMode)/sizeof(aMode[0]); i++){
    char z[64];
    CHECK_INT(ls_host_begin(iHost), 0);
    CHECK_INT(sqlite3_open(zPath, &db), SQLITE_OK);
    CHECK_INT(ls_host_end(iHost), 0);
    CHECK_INT(sqlite3_open(zPath, &db2), SQLITE_OK);          /* the same file by the VFS beneath */
    snprintf(z, sizeof(z), "PRAGMA journal_mode=%s", aMode[i]);
    sql(db, z);
    sql(db, "CREATE TABLE IF NOT EXISTS t(x); BEGIN IMMEDIATE; INSERT INTO t VALUES(1)");
    CHECK_TEXT(value(db2, "INSERT INTO t VALUES(2)"), "locked");
    VALUE(db2, "SELECT count(*)>=0 FROM t", "1");
    sql(db, "ROLLBACK");
    sql(db2, "INSERT INTO t VALUES(2)");
    sql(db, "BEGIN; INSERT INTO t VALUES(3); COMMIT");
    VALUE(db2, "PRAGMA integrity_check", "ok");
    CHECK_TEXT(value(db, "SELECT litestream_txid()"), "no such function");
    CHECK_TEXT(value(db, "PRAGMA litestream_txid"), "");
    sqlite3_close(db);
    sqlite3_close(db2);
  }
  CHECK_INT(ls_host_begin(iHost), 0);
  CHECK_INT(sqlite3_open(":memory:", &db), SQLITE_OK);
  CHECK_INT(sqlite3_open("", &db2), SQLITE_OK);
  CHECK_INT(ls_host_end(iHost), 0);
  sql(db, MENU "PRAGMA temp_store=FILE; CREATE TEMP TABLE tt AS SELECT * FROM menu; VACUUM");
  VALUE(db, "SELECT count(*) FROM tt", "500");
  sql(db2, "PRAGMA cache_size=10; PRAGMA cache_spill=1; " MENU);
  VALUE(db2, "PRAGMA integrity_check", "ok");
  sqlite3_close(db);
  sqlite3_close(db2);
  CHECK_INT(ls_host_begin(iHost), 0);
  CHECK_INT(sqlite3_open_v2("file:shared?mode=memory&cache=shared", &db, SQLITE_OPEN_READWRITE|SQLITE_OPEN_URI, NULL), SQLITE_OK);
  CHECK_INT(ls_host_end(iHost), 0);
  sql(db, MENU);
  sqlite3_close(db);
  unlink(zPath);
  sqlite3_free(zPath);
  CHECK_EMPTY();
}

/* SQLite checks lengths against the VFS's bound; the one beneath copies names into buffers of its own. */
static void longNames(void){
  char *z = sqlite3_mprintf("%s", zFolder), *zFile;
  sqlite3 *db = NULL;
  int i, rcPlain, rcOurs;
  for(i=0; i<6; i++){
    z = sqlite3_mprintf("%z/%0*d", z, 100, i);
    NEED(mkdir(z, 0700)==0);
  }
  zFile = sqlite3_mprintf("%s/x.db", z);
  rcPlain = sqlite3_open(zFile, &db);
  sqlite3_close(db);
  CHECK_INT(ls_host_begin(iHost), 0);
  rcOurs = sqlite3_open(zFile, &db);
  CHECK_INT(ls_host_end(iHost), 0);
  if( rcOurs==SQLITE_OK ) sql(db, "CREATE TABLE t(x); INSERT INTO t VALUES(1)");
  sqlite3_close(db);
  CHECK_INT(rcOurs, rcPlain);
  CHECK_INT(rcPlain, SQLITE_CANTOPEN);
  unlink(zFile);
  sqlite3_free(zFile);
  for(i=0; i<6; i++){
    rmdir(z);
    *strrchr(z, '/') = 0;
  }
  sqlite3_free(z);
}

/* P7: a lock that nobody can hold is not reported as held. */
static void reserved(void){
  Source s;
  sqlite3 *db;
  sqlite3_file *pFile = NULL;
  int b = 1;
  sourceBegin(&s, 512, MENU);
  db = connectTo(&s);
  CHECK_INT(sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &pFile), SQLITE_OK);
  CHECK_INT(pFile->pMethods->xCheckReservedLock(pFile, &b), SQLITE_OK);
  CHECK_INT(b, 0);
  CHECK_INT(pFile->pMethods->xLock(pFile, SQLITE_LOCK_SHARED), SQLITE_OK);
  CHECK_INT(pFile->pMethods->xLock(pFile, SQLITE_LOCK_RESERVED), SQLITE_READONLY);
  CHECK_INT(pFile->pMethods->xLock(pFile, SQLITE_LOCK_EXCLUSIVE), SQLITE_READONLY);
  CHECK_INT(pFile->pMethods->xCheckReservedLock(pFile, &b), SQLITE_OK);
  CHECK_INT(b, 0);
  CHECK_INT(pFile->pMethods->xUnlock(pFile, SQLITE_LOCK_NONE), SQLITE_OK);
  CHECK_INT(pFile->pMethods->xFileControl(pFile, 999, NULL), SQLITE_NOTFOUND);
  CHECK_INT(pFile->pMethods->xDeviceCharacteristics(pFile) & SQLITE_IOCAP_IMMUTABLE, 0);
  sqlite3_close(db);
  sourceEnd(&s);
  CHECK_EMPTY();
}

static void refused(void){
  static const char *const aSql[] = {
    "INSERT INTO menu(name) VALUES('x')", "DELETE FROM menu", "CREATE TABLE t(x)", "DROP TABLE menu", "VACUUM",
    "PRAGMA user_version=3",
  };
  Source s;
  sqlite3 *db;
  sqlite3_file *pFile = NULL;
  size_t i;
  sourceBegin(&s, 512, MENU);
  db = connectTo(&s);
  for(i=0; i<sizeof(aSql)/sizeof(aSql[0]); i++){
    CHECK_INT(sqlite3_exec(db, aSql[i], NULL, NULL, NULL), SQLITE_READONLY);
    CHECK_TEXT(sqlite3_errmsg(db), "readonly");
  }
  CHECK_TEXT(value(db, "PRAGMA journal_mode=WAL"), "delete");
  CHECK_INT(sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &pFile), SQLITE_OK);
  CHECK_INT(pFile->pMethods->xWrite(pFile, "x", 1, 0), SQLITE_READONLY);
  CHECK_INT(pFile->pMethods->xTruncate(pFile, 0), SQLITE_READONLY);
  VALUE(db, "PRAGMA integrity_check", "ok");
  sqlite3_close(db);
  sourceEnd(&s);
  CHECK_EMPTY();
}

/*
** Leaves zTo with a hot journal beside it: a crash, copied from a live transaction. Its table t has one row, and two if
** the journal is ignored.
*/
static void makeHot(const char *zTo){
  char *zFrom = path("from.db"), *zJournal = path("from.db-journal"), *zToJournal = sqlite3_mprintf("%s-journal", zTo);
  sqlite3 *db;
  uint8_t *a;
  size_t n;
  CHECK_INT(sqlite3_open(zFrom, &db), SQLITE_OK);
  sql(db, "PRAGMA journal_mode=DELETE; PRAGMA cache_size=5; PRAGMA cache_spill=1; CREATE TABLE t(x); INSERT INTO t VALUES(1)");
  sql(db, "BEGIN; INSERT INTO t VALUES(2)");
  sql(db, "CREATE TABLE big AS WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<3000) "
          "SELECT i, hex(zeroblob(40)) h FROM c");
  CHECK(fileLength(zJournal)>512);
  a = readWhole(zFrom, &n);
  writeFile(zTo, a, n);
  free(a);
  a = readWhole(zJournal, &n);
  writeFile(zToJournal, a, n);
  free(a);
  sql(db, "ROLLBACK");
  sqlite3_close(db);
  unlink(zFrom);
  sqlite3_free(zFrom);
  sqlite3_free(zJournal);
  sqlite3_free(zToJournal);
}

static void hiddenJournal(void){
  Source s;
  sqlite3 *db, *dbPlain;
  char *zPath = path("same.db"), *zJournal = path("same.db-journal"), *zWal = path("same.db-wal");
  char *zUri = sqlite3_mprintf("file:%s?vfs=litestream", zPath);
  char *zNoLock = sqlite3_mprintf("%s&nolock=1", zUri);
  char *zImmutable = sqlite3_mprintf("%s&immutable=1", zUri);
  sqlite3_int64 nJournal;
  int i;
  sourceBegin(&s, 512, MENU);
  pthread_mutex_lock(&core.mu);
  pUriSource = &s;
  pthread_mutex_unlock(&core.mu);
  ls_core_default(core.iCore, 1);
  makeHot(zPath);
  nJournal = fileLength(zJournal);
  CHECK(nJournal>512);
  writeFile(zWal, "no WAL", 6);
  for(i=0; i<3; i++){
    db = openByUri(i==0 ? zUri : i==1 ? zNoLock : zImmutable);
    VALUE(db, "SELECT count(*) FROM menu", "500");
    VALUE(db, "PRAGMA integrity_check", "ok");
    value(db, "PRAGMA journal_mode=PERSIST");
    value(db, "PRAGMA journal_mode=DELETE");                 /* deletes the journal, without locks even unasked */
    value(db, "PRAGMA journal_mode=TRUNCATE");
    value(db, "PRAGMA journal_mode=MEMORY");
    VALUE(db, "SELECT count(*) FROM menu", "500");
    CHECK_INT(fileLength(zJournal), nJournal);
    CHECK_INT(fileLength(zWal), 6);
    sqlite3_close(db);
  }
  unlink(zWal);
  db = openByUri(zUri);
  CHECK_INT(ls_host_begin(iHost), 0);
  CHECK_INT(sqlite3_open(zPath, &dbPlain), SQLITE_OK);        /* an ordinary database of that very name, by our VFS */
  CHECK_INT(ls_host_end(iHost), 0);
  VALUE(dbPlain, "SELECT count(*) FROM t", "1");
  VALUE(dbPlain, "SELECT count(*) FROM sqlite_schema", "1");
  VALUE(dbPlain, "PRAGMA integrity_check", "ok");
  CHECK_INT(fileLength(zJournal), -1);
  VALUE(db, "SELECT count(*) FROM menu", "500");
  sqlite3_close(dbPlain);
  sqlite3_close(db);
  unlink(zPath);
  unlink(zJournal);
  sqlite3_free(zPath);
  sqlite3_free(zJournal);
  sqlite3_free(zWal);
  sqlite3_free(zUri);
  sqlite3_free(zNoLock);
  sqlite3_free(zImmutable);
  sourceEnd(&s);
  ls_core_default(core.iCore, 0);
  pUriSource = NULL;
  CHECK_EMPTY();
}

/* More files at once than any table was made for. */
static void manyFiles(void){
  enum { FILES = 2000 };
  sqlite3_vfs *pVfs = sqlite3_vfs_find("litestream");
  sqlite3_file **ap = calloc(FILES, sizeof(*ap));
  sqlite3_filename *az = calloc(FILES, sizeof(*az));
  char *zJournal = path("many.db-journal");
  Source s;
  int i, nBad = 0, nSeen = 0, b;
  NEED(ap!=NULL && az!=NULL);
  sourceBegin(&s, 512, "CREATE TABLE t(x)");
  writeFile(zJournal, "journal", 7);
  for(i=0; i<FILES; i++){
    char z[64];
    snprintf(z, sizeof(z), "/sentinel/%d.db", ls_replica_ticket(s.iReplica, 1000));
    ap[i] = calloc(1, (size_t)pVfs->szOsFile);
    az[i] = sqlite3_create_filename(z, zJournal, zJournal, 0, NULL);
    NEED(ap[i]!=NULL && az[i]!=NULL);
    nBad += pVfs->xOpen(pVfs, az[i], ap[i], SQLITE_OPEN_MAIN_DB|SQLITE_OPEN_READONLY, &b)!=SQLITE_OK;
  }
  CHECK_INT(nBad, 0);
  for(i=0; i<FILES; i++){
    b = 1;
    nBad += pVfs->xAccess(pVfs, sqlite3_filename_journal(az[i]), SQLITE_ACCESS_EXISTS, &b)!=SQLITE_OK;
    nSeen += b;
  }
  CHECK_INT(nSeen, 0);
  for(i=0; i<FILES; i+=2) ap[i]->pMethods->xClose(ap[i]);
  for(i=0, nSeen=0; i<FILES; i++){
    b = 0;
    nBad += pVfs->xAccess(pVfs, sqlite3_filename_journal(az[i]), SQLITE_ACCESS_EXISTS, &b)!=SQLITE_OK;
    nSeen += b!=(i%2==0);
  }
  CHECK_INT(nSeen, 0);
  for(i=1; i<FILES; i+=2) ap[i]->pMethods->xClose(ap[i]);
  for(i=0; i<FILES; i++){
    sqlite3_free_filename(az[i]);
    free(ap[i]);
  }
  CHECK_INT(nBad, 0);
  unlink(zJournal);
  sqlite3_free(zJournal);
  free(ap);
  free((void*)az);
  sourceEnd(&s);
  CHECK_EMPTY();
}

static void oneViewForLife(void){
  Source s;
  sqlite3 *dbNoLock, *dbImmutable, *dbExclusive, *dbBegin, *db;
  const char *zCount = "SELECT count(*) FROM menu";
  sourceBegin(&s, 512, MENU);
  pthread_mutex_lock(&core.mu);
  pUriSource = &s;
  pthread_mutex_unlock(&core.mu);
  ls_core_default(core.iCore, 1);
  dbNoLock = openByUri("file:/x.db?vfs=litestream&nolock=1");
  dbImmutable = openByUri("file:/x.db?vfs=litestream&immutable=1");
  dbExclusive = connectTo(&s);
  dbBegin = connectTo(&s);
  db = connectTo(&s);
  value(dbExclusive, "PRAGMA locking_mode=EXCLUSIVE");
  sql(dbBegin, "BEGIN");
  VALUE(dbNoLock, zCount, "500");
  VALUE(dbImmutable, zCount, "500");
  VALUE(dbExclusive, zCount, "500");
  VALUE(dbBegin, zCount, "500");
  VALUE(db, zCount, "500");
  sql(s.db, "DELETE FROM menu WHERE id%5=0; CREATE TABLE more AS SELECT * FROM menu");
  publish(&s);
  VALUE(dbNoLock, zCount, "500");
  VALUE(dbNoLock, "PRAGMA integrity_check", "ok");
  VALUE(dbNoLock, "SELECT litestream_txid()", "0000000000000001");
  VALUE(dbImmutable, zCount, "500");
  VALUE(dbImmutable, "PRAGMA integrity_check", "ok");
  VALUE(dbExclusive, zCount, "500");
  VALUE(dbExclusive, "PRAGMA integrity_check", "ok");
  VALUE(dbBegin, zCount, "500");
  VALUE(dbBegin, "PRAGMA integrity_check", "ok");
  VALUE(db, zCount, "400");
  VALUE(db, "SELECT count(*) FROM more", "400");
  VALUE(db, "SELECT litestream_txid()", "0000000000000002");
  value(dbExclusive, "PRAGMA locking_mode=NORMAL");
  VALUE(dbExclusive, zCount, "500");                          /* unlocks after it */
  VALUE(dbExclusive, zCount, "400");
  sql(dbBegin, "COMMIT");
  VALUE(dbBegin, zCount, "400");
  sqlite3_close(dbNoLock);
  sqlite3_close(dbImmutable);
  sqlite3_close(dbExclusive);
  sqlite3_close(dbBegin);
  sqlite3_close(db);
  sourceEnd(&s);
  ls_core_default(core.iCore, 0);
  pUriSource = NULL;
  CHECK_EMPTY();
}

static void preparedOnce(void){
  Source s;
  sqlite3 *db;
  sqlite3_stmt *pStmt;
  sourceBegin(&s, 512, MENU);
  db = connectTo(&s);
  CHECK_INT(sqlite3_prepare_v2(db, "SELECT litestream_txid(), (SELECT count(*) FROM menu)", -1, &pStmt, NULL), SQLITE_OK);
  CHECK_INT(sqlite3_step(pStmt), SQLITE_ROW);
  CHECK_TEXT((const char*)sqlite3_column_text(pStmt, 0), "0000000000000001");
  CHECK_INT(sqlite3_column_int(pStmt, 1), 500);
  sqlite3_reset(pStmt);
  sql(s.db, "DELETE FROM menu WHERE id=7");
  publish(&s);
  CHECK_INT(sqlite3_step(pStmt), SQLITE_ROW);
  CHECK_TEXT((const char*)sqlite3_column_text(pStmt, 0), "0000000000000002");
  CHECK_INT(sqlite3_column_int(pStmt, 1), 499);
  sqlite3_finalize(pStmt);
  sqlite3_close(db);
  sourceEnd(&s);
  CHECK_EMPTY();
}

static uint32_t big32(const uint8_t *a){ return (uint32_t)a[0]<<24 | (uint32_t)a[1]<<16 | (uint32_t)a[2]<<8 | a[3]; }

/* Every way of reading the head: whole page, any 16 bytes, before and after it is kept. */
static void stamping(void){
  Source s;
  sqlite3 *db;
  sqlite3_file *pFile = NULL;
  uint8_t aPage[512], aPart[512];
  int i, n;
  sourceBegin(&s, 512, "PRAGMA user_version=9;" MENU);
  s.aLast[18] = s.aLast[19] = 2;                              /* as a database in WAL mode has it */
  relocate(&s);
  db = connectTo(&s);
  CHECK_INT(sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &pFile), SQLITE_OK);
  CHECK_INT(pFile->pMethods->xLock(pFile, SQLITE_LOCK_SHARED), SQLITE_OK);
  CHECK_INT(pFile->pMethods->xRead(pFile, aPage, 512, 0), SQLITE_OK);
  CHECK_INT(aPage[18], 1);
  CHECK_INT(aPage[19], 1);
  CHECK_INT(big32(aPage+24), s.iStamp);
  CHECK_INT(big32(aPage+92), s.iStamp);
  CHECK_INT(big32(aPage+28), s.nLast);
  for(i=0; i<512; i++){
    int bStamped = (i>=18 && i<20) || (i>=24 && i<32) || (i>=92 && i<96);
    if( !bStamped ) CHECK_INT(aPage[i], s.aLast[i]);
  }
  for(i=0; i<130; i++){
    for(n=1; n<130; n+=7){
      CHECK_INT(pFile->pMethods->xRead(pFile, aPart, n, i), SQLITE_OK);
      CHECK_INT(memcmp(aPart, aPage+i, (size_t)n), 0);
    }
  }
  CHECK_INT(pFile->pMethods->xRead(pFile, aPart, 512, 512), SQLITE_OK);
  CHECK_INT(memcmp(aPart, s.aLast+512, 512), 0);              /* no other page */
  CHECK_INT(pFile->pMethods->xUnlock(pFile, SQLITE_LOCK_NONE), SQLITE_OK);
  sqlite3_close(db);
  sourceEnd(&s);
  CHECK_EMPTY();
}

/* R9: two transactions on the same content cost nothing the second time. */
static void cacheSurvives(void){
  Source s;
  sqlite3 *db;
  uint64_t aBefore[LS_STAT_COUNT], aAfter[LS_STAT_COUNT];
  int i;
  sourceBegin(&s, 512, MENU);
  db = connectTo(&s);
  VALUE(db, "SELECT count(*), sum(length(name)) FROM menu", "500");
  statsOf(&s, aBefore);
  CHECK(aBefore[LS_STAT_MISS]>50);
  for(i=0; i<10; i++) VALUE(db, "SELECT count(*), sum(length(name)) FROM menu", "500");
  statsOf(&s, aAfter);
  CHECK_INT(aAfter[LS_STAT_HIT], aBefore[LS_STAT_HIT]);
  CHECK_INT(aAfter[LS_STAT_MISS], aBefore[LS_STAT_MISS]);
  CHECK_INT(aAfter[LS_STAT_TRANSACTION], aBefore[LS_STAT_TRANSACTION]+10);
  relocate(&s);                                               /* other places, same content: same stamp */
  VALUE(db, "SELECT count(*), sum(length(name)) FROM menu", "500");
  statsOf(&s, aAfter);
  CHECK_INT(aAfter[LS_STAT_HIT], aBefore[LS_STAT_HIT]);
  CHECK(aAfter[LS_STAT_MISS]<=aBefore[LS_STAT_MISS]+1);       /* the new view's head */
  aBefore[LS_STAT_MISS] = aAfter[LS_STAT_MISS];
  sql(s.db, "UPDATE menu SET price=99 WHERE id=400");         /* other content */
  publish(&s);
  VALUE(db, "SELECT price FROM menu WHERE id=400", "99");
  VALUE(db, "SELECT count(*), sum(length(name)) FROM menu", "500");
  statsOf(&s, aAfter);
  CHECK(aAfter[LS_STAT_HIT]+aAfter[LS_STAT_MISS]>aBefore[LS_STAT_HIT]+aBefore[LS_STAT_MISS]+50);
  statsOf(&s, aBefore);
  for(i=0; i<5; i++) VALUE(db, "SELECT count(*), sum(length(name)) FROM menu", "500");
  statsOf(&s, aAfter);
  CHECK_INT(aAfter[LS_STAT_HIT]+aAfter[LS_STAT_MISS], aBefore[LS_STAT_HIT]+aBefore[LS_STAT_MISS]);
  sqlite3_close(db);
  sourceEnd(&s);
  CHECK_EMPTY();
}

/* R6, R10: the size is commit × page size, whatever pages earlier files named. */
static void sizes(void){
  Source s;
  sqlite3 *db;
  sqlite3_file *pFile = NULL;
  sqlite3_int64 n = 0;
  uint8_t aOut[600];
  uint32_t nBefore;
  char z[32];
  sourceBegin(&s, 512, MENU);
  nBefore = s.nLast;
  db = connectTo(&s);
  CHECK_INT(sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &pFile), SQLITE_OK);
  CHECK_INT(pFile->pMethods->xFileSize(pFile, &n), SQLITE_OK);
  CHECK_INT(n, nBefore*512);
  sql(s.db, "DELETE FROM menu WHERE id>50; VACUUM");
  publish(&s);
  CHECK(s.nLast<nBefore/2);
  CHECK_INT(pFile->pMethods->xFileSize(pFile, &n), SQLITE_OK);
  CHECK_INT(n, s.nLast*512);
  snprintf(z, sizeof(z), "%u", s.nLast);
  VALUE(db, "PRAGMA page_count", z);
  VALUE(db, "PRAGMA integrity_check", "ok");
  VALUE(db, "SELECT count(*) FROM menu", "50");
  memset(aOut, 7, sizeof(aOut));                              /* a read past the end says so, and gives zeros */
  CHECK_INT(pFile->pMethods->xRead(pFile, aOut, 600, n-100), SQLITE_IOERR_SHORT_READ);
  CHECK_INT(memcmp(aOut, s.aLast+n-100, 100), 0);
  CHECK(aOut[100]==0 && aOut[599]==0);
  CHECK_INT(pFile->pMethods->xRead(pFile, aOut, 600, n+512), SQLITE_IOERR_SHORT_READ);
  sql(s.db, "WITH RECURSIVE c(i) AS (SELECT 1001 UNION ALL SELECT i+1 FROM c WHERE i<1300) "
    "INSERT INTO menu SELECT i, hex(zeroblob(90)), 1 FROM c");
  publish(&s);
  VALUE(db, "SELECT count(*) FROM menu", "350");
  VALUE(db, "PRAGMA integrity_check", "ok");
  sqlite3_close(db);
  sourceEnd(&s);
  CHECK_EMPTY();
}

static void attachAndVacuum(void){
  Source s;
  sqlite3 *db;
  char *zLocal = path("local.db"), *zCopy = path("copy.db");
  char *z;
  sourceBegin(&s, 512, MENU);
  db = connectTo(&s);
  z = sqlite3_mprintf("ATTACH %Q AS local", zLocal);
  sql(db, z);
  sqlite3_free(z);
  sql(db, "PRAGMA local.journal_mode=WAL; CREATE TABLE local.mine(id, note); INSERT INTO mine VALUES(3, 'good')");
  VALUE(db, "SELECT name FROM menu JOIN mine USING(id)",
    "sandwich 3000000000000000000000000000000000000000000000000000000000000");
  sql(db, "BEGIN; INSERT INTO mine SELECT id, 'all' FROM menu; COMMIT");
  sql(db, "CREATE TEMP TABLE t AS SELECT * FROM menu ORDER BY name DESC");
  VALUE(db, "SELECT count(*) FROM mine", "501");
  sql(db, "DETACH local");
  z = sqlite3_mprintf("VACUUM INTO %Q", zCopy);
  sql(db, z);
  sqlite3_free(z);
  sqlite3_close(db);
  CHECK_INT(sqlite3_open(zCopy, &db), SQLITE_OK);
  VALUE(db, "SELECT count(*) FROM menu", "500");
  VALUE(db, "PRAGMA integrity_check", "ok");
  sql(db, "INSERT INTO menu(name) VALUES('its own')");
  sqlite3_close(db);
  CHECK_INT(sqlite3_open(zLocal, &db), SQLITE_OK);
  VALUE(db, "SELECT count(*) FROM mine", "501");
  sqlite3_close(db);
  unlink(zLocal);
  unlink(zCopy);
  sqlite3_free(zLocal);
  sqlite3_free(zCopy);
  sourceEnd(&s);
  CHECK_EMPTY();
}

/* A transaction that lives through more relocations than anyone expected. */
static void relocatedOften(void){
  Source s;
  sqlite3 *db;
  int i;
  sourceBegin(&s, 512, MENU);
  db = connectTo(&s);
  sql(db, "PRAGMA cache_size=1; BEGIN");
  VALUE(db, "SELECT name IS NULL FROM menu WHERE id=1", "0");
  for(i=0; i<30; i++) relocate(&s);
  VALUE(db, "SELECT count(*), sum(length(name)) FROM menu", "500");
  VALUE(db, "PRAGMA integrity_check", "ok");
  VALUE(db, "SELECT litestream_txid()", "0000000000000001");
  sql(db, "COMMIT");
  sqlite3_close(db);
  sourceEnd(&s);
  CHECK_EMPTY();
}

static void twoPageSizes(void){
  Source a, b;
  sqlite3 *db, *db2;
  char z[96];
  int iTicket;
  sourceBegin(&a, 512, MENU);
  sourceBegin(&b, 65536, MENU "DELETE FROM menu WHERE id>9");
  db = connectTo(&a);
  db2 = connectTo(&b);
  VALUE(db, "SELECT count(*) FROM menu", "500");
  VALUE(db2, "SELECT count(*) FROM menu", "9");
  iTicket = ls_replica_ticket(b.iReplica, 1000);
  snprintf(z, sizeof(z), "ATTACH '/sentinel/%d.db' AS b", iTicket);
  sql(db, z);
  VALUE(db, "SELECT count(*) FROM menu JOIN b.menu AS m USING(id)", "9");
  VALUE(db, "PRAGMA b.page_size", "65536");
  VALUE(db, "PRAGMA integrity_check", "ok");
  sqlite3_close(db);
  sqlite3_close(db2);
  sourceEnd(&a);
  sourceEnd(&b);
  CHECK_EMPTY();
}

/* ------------------------------------------------------------------------------------------------- the window */

static Source windowSource;

static void *windowThread(void *pArg){
  int iThread = (int)(size_t)pArg, nRound = setting("OPENS", 500), i;
  int nWritten = 0;
  char *zPath, *z;
  sqlite3 *db;
  char zName[32];
  snprintf(zName, sizeof(zName), "thread%d.db", iThread);
  zPath = path(zName);
  CHECK_INT(sqlite3_open(zPath, &db), SQLITE_OK);
  sql(db, "PRAGMA synchronous=OFF; CREATE TABLE t(x)");
  sqlite3_close(db);
  for(i=0; i<nRound; i++){
    switch( (i+iThread)%3 ){
      case 0:
        db = connectTo(&windowSource);
        VALUE(db, "SELECT count(*) FROM menu", "500");
        break;
      case 1:                                     /* a bystander, who may or may not be in somebody's window */
        CHECK_INT(sqlite3_open(zPath, &db), SQLITE_OK);
        sql(db, "PRAGMA synchronous=OFF; INSERT INTO t VALUES(1)");
        CHECK_TEXT(value(db, "SELECT litestream_txid()"), "no such function");
        nWritten++;
        break;
      default:
        CHECK_INT(sqlite3_open(":memory:", &db), SQLITE_OK);
        z = sqlite3_mprintf("ATTACH %Q AS a; PRAGMA a.synchronous=OFF; INSERT INTO a.t VALUES(2)", zPath);
        sql(db, z);
        sqlite3_free(z);
        nWritten++;
        break;
    }
    sqlite3_close(db);
  }
  CHECK_INT(sqlite3_open(zPath, &db), SQLITE_OK);
  VALUE(db, "PRAGMA integrity_check", "ok");
  CHECK_INT(atoi(value(db, "SELECT count(*) FROM t")), nWritten);
  sqlite3_close(db);
  unlink(zPath);
  sqlite3_free(zPath);
  return NULL;
}

static void window(void){
  pthread_t aThread[8];
  sqlite3_vfs *pDefault = sqlite3_vfs_find(NULL);
  size_t i;
  CHECK_INT(ls_host_end(iHost), LS_MISUSE);        /* none is open */
  sourceBegin(&windowSource, 512, MENU);
  for(i=0; i<8; i++) NEED(pthread_create(&aThread[i], NULL, windowThread, (void*)i)==0);
  for(i=0; i<8; i++) pthread_join(aThread[i], NULL);
  CHECK(sqlite3_vfs_find(NULL)==pDefault);
  CHECK(sqlite3_vfs_find("litestream")!=pDefault);
  sourceEnd(&windowSource);
  CHECK_EMPTY();
}

int main(void){
  const char *zTemp = getenv("TMPDIR");
  snprintf(zFolder, sizeof(zFolder), "%s/vfs_test.XXXXXX", zTemp ? zTemp : "/tmp");
  NEED(mkdtemp(zFolder)!=NULL);
  iHost = hostLoad();
  NEED(iHost>0 && hostLoad()==iHost);              /* twice is once */
  NEED(ls_sentinel("/sentinel/")==1);
  NEED(ls_sentinel("/other/")==0);
  core.xOpen = openUri;
  coreBegin(&core);
  RUN("connect: a sentinel path opens a replica", connects);
  RUN("connect: a ticket is good for one open", sentinelOnce);
  RUN("connect: nothing is read from a closed replica, with words", closedReplica);
  RUN("uri: file:x?vfs=litestream asks the registered core", uri);
  RUN("uri: a literal file:x?vfs=litestream is a replica while the VFS is default", literalName);
  RUN("uri: a literal name is opened while the VFS ceases to be default", literalWhileEnding);
  RUN("uri: an open without a core says register()", noCore);
  RUN("P1: a failed open leaves other connections untouched", failedOpen);
  RUN("P2: ordinary databases are unaffected", ordinary);
  RUN("P2: long names are refused as without us", longNames);
  RUN("P2: a journal of the replica's name belongs to the ordinary database alone", hiddenJournal);
  RUN("P2: the journals of 2000 files stay hidden", manyFiles);
  RUN("P7: nobody holds a reserved lock", reserved);
  RUN("writes are refused with SQLITE_READONLY", refused);
  RUN("nolock, immutable, exclusive and BEGIN keep one view", oneViewForLife);
  RUN("litestream_txid() answers anew at each step", preparedOnce);
  RUN("page 1 is stamped in every kind of read", stamping);
  RUN("R9: SQLite's cache lives as long as the content", cacheSurvives);
  RUN("R6, R10: file size is commit times page size", sizes);
  RUN("ATTACH of a local file and VACUUM INTO work", attachAndVacuum);
  RUN("a transaction survives thirty relocations", relocatedOften);
  RUN("replicas of two page sizes live side by side", twoPageSizes);
  RUN("the default VFS stays what it was under eight threads of opens", window);
  coreEnd(&core);
  rmdir(zFolder);
  return finish();
}
