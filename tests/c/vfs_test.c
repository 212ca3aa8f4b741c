/*
** SQLite itself over the VFS.
**
** A database is made in memory; each state of it becomes an LTX file of the pages that changed, and a view. The moment
** "at N" is the state of TXID N, "beside N" the same as a view that never was the newest. OPENS: opens of each thread in the
** test of the default-VFS window. MOVES: states published in the test of moving connections.
*/
#include <sys/stat.h>
#include "harness.h"

static TestCore core;
static int iHost;
static char zFolder[128];

/* ---------------------------------------------------------------------------------- a database and its replica */

enum { FILES_MAX = 160 };

typedef struct Source {
  sqlite3 *db;                     /* the writer's */
  uint8_t *aLast;                  /* its state as last published */
  uint32_t nLast;                  /* in pages */
  uint32_t szPage;
  int iReplica, iView;
  uint64_t iTxid;
  uint32_t iStamp;
  int aObject[FILES_MAX];
  LtxFile *apLtx[FILES_MAX];
  int nObject;
  int bKeep;                       /* all states stay: the view of each TXID, and its content */
  int aPast[FILES_MAX];
  uint8_t *apPast[FILES_MAX];
  int iBeside;                     /* the last view made for "beside N" */
} Source;

static Source *apSource[4];                /* guarded by core.mu: whose moments can be asked for */

static void sql(sqlite3 *db, const char *zSql){
  char *zErr = NULL;
  int rc = sqlite3_exec(db, zSql, NULL, NULL, &zErr);
  if( rc!=SQLITE_OK ) checkFailed(__FILE__, __LINE__, "%s: %s", zSql, zErr ? zErr : sqlite3_errmsg(db));
  sqlite3_free(zErr);
}

/* The first column of the first row; "" for none, the words of an error after "error: ". */
static const char *value(sqlite3 *db, const char *zSql){
  static _Thread_local char z[4096];
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
  if( p->bKeep ){
    if( p->aPast[p->iTxid] ){              /* relocated */
      ls_view_release(p->aPast[p->iTxid]);
      free(p->apPast[p->iTxid]);
    }
    p->aPast[p->iTxid] = iNew;
    p->apPast[p->iTxid] = malloc((size_t)p->nLast*p->szPage);
    NEED(p->apPast[p->iTxid]!=NULL);
    memcpy(p->apPast[p->iTxid], p->aLast, (size_t)p->nLast*p->szPage);
  }else if( p->iView ){
    ls_view_release(p->iView);
  }
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
  NEED(p->nObject<FILES_MAX);
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
  NEED(aPgno!=NULL && p->nObject<FILES_MAX);
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

/* What relocate() does, for an earlier state. The files it was in stay where bKeepFiles says so. */
static void relocatePast(Source *p, int iTxid, int bKeepFiles){
  uint64_t a[LS_VIEW_WORDS];
  uint32_t *aPgno, i, nPage;
  int iMap, iObject, iNew;
  pthread_mutex_lock(&core.mu);
  NEED(ls_view_info(p->aPast[iTxid], a)==0 && p->nObject<FILES_MAX);
  nPage = (uint32_t)a[1];
  aPgno = malloc(sizeof(uint32_t)*nPage);
  NEED(aPgno!=NULL);
  for(i=0; i<nPage; i++) aPgno[i] = i+1;
  p->apLtx[p->nObject] = ltxBuild(p->szPage, nPage, 1, aPgno, nPage, copyPage, p->apPast[iTxid], ENCODE_FRAME);
  iObject = p->aObject[p->nObject] = ltxObject(p->apLtx[p->nObject], p->iReplica, 1000);
  NEED(iObject>0);
  for(i=0; !bKeepFiles && i<(uint32_t)p->nObject; i++) core.apFile[p->aObject[i]] = NULL;
  core.apFile[iObject] = p->apLtx[p->nObject++];
  iMap = ls_map_new(0, (int)p->szPage);
  NEED(iMap>0 && ls_map_apply(iMap, iObject, 0, 1000000)==0);
  iNew = ls_map_view(iMap, p->iReplica, a[0], nPage, (uint32_t)a[4], a[3]);
  NEED(iNew>0);
  CHECK_INT(ls_view_relocate(p->aPast[iTxid], iNew), 0);
  if( p->iView==p->aPast[iTxid] ) p->iView = iNew;
  ls_view_release(p->aPast[iTxid]);
  p->aPast[iTxid] = iNew;
  pthread_mutex_unlock(&core.mu);
  free(aPgno);
}

/* Runs in the core's thread, which holds core.mu. */
static int findMoment(TestCore *pCore, int iReplica, const char *zMoment, char *zShown){
  int i, iTxid = 0;
  Source *p = NULL;
  (void)pCore;
  for(i=0; i<4; i++) if( apSource[i] && apSource[i]->iReplica==iReplica ) p = apSource[i];
  NEED(p!=NULL);
  if( strcmp(zMoment, "latest")==0 ){
    strcpy(zShown, "never shown");
    return 0;
  }
  if( strcmp(zMoment, "quoted")==0 ){
    strcpy(zShown, "the \"second\" \\ state\n\tof it");
    return p->aPast[2];
  }
  if( strcmp(zMoment, "long")==0 ){
    memset(zShown, 'x', 1000);
    memset(zShown, '\1', 200);
    return p->aPast[2];
  }
  if( sscanf(zMoment, "at %d", &iTxid)==1 && iTxid>0 && iTxid<FILES_MAX && p->aPast[iTxid] ){
    snprintf(zShown, LS_ERROR_SIZE, "moment %d", iTxid);
    return p->aPast[iTxid];
  }
  if( sscanf(zMoment, "beside %d", &iTxid)==1 && iTxid>0 && iTxid<FILES_MAX && p->aPast[iTxid] ){
    uint64_t a[LS_VIEW_WORDS];
    if( p->iBeside ) ls_view_release(p->iBeside);
    NEED(ls_view_info(p->aPast[iTxid], a)==0);
    p->iBeside = ls_map_view(ls_map_new(p->aPast[iTxid], (int)p->szPage), iReplica, a[0], (uint32_t)a[1], (uint32_t)ls_stamp(), a[3]);
    NEED(p->iBeside>0);
    return p->iBeside;                     /* nothing shown: the time of the state is */
  }
  snprintf(zShown, LS_ERROR_SIZE, "TypeError: Cannot read time \"%s\": expected RFC 3339\ncause=none", zMoment);
  return -1;
}

static void sourceBegin(Source *p, uint32_t szPage, const char *zSql){
  char z[64];
  int i;
  memset(p, 0, sizeof(*p));
  p->szPage = szPage;
  NEED(sqlite3_open(":memory:", &p->db)==SQLITE_OK);
  snprintf(z, sizeof(z), "PRAGMA page_size=%u", szPage);
  sql(p->db, z);
  sql(p->db, zSql);
  p->iReplica = ls_replica_new(core.iCore, 20000);
  NEED(p->iReplica>0);
  pthread_mutex_lock(&core.mu);
  for(i=0; i<4 && apSource[i]; i++){}
  NEED(i<4);
  apSource[i] = p;
  pthread_mutex_unlock(&core.mu);
  publish(p);
}

/* From now on all states stay, the present one among them. */
static void keepStates(Source *p){
  pthread_mutex_lock(&core.mu);
  p->bKeep = 1;
  NEED(p->iTxid==1);
  p->aPast[1] = p->iView;
  p->apPast[1] = malloc((size_t)p->nLast*p->szPage);
  NEED(p->apPast[1]!=NULL);
  memcpy(p->apPast[1], p->aLast, (size_t)p->nLast*p->szPage);
  pthread_mutex_unlock(&core.mu);
}

static void sourceEnd(Source *p){
  int i;
  pthread_mutex_lock(&core.mu);
  for(i=0; i<4; i++) if( apSource[i]==p ) apSource[i] = NULL;
  for(i=0; i<p->nObject; i++) coreDropObject(&core, p->aObject[i]);
  if( p->iView && !p->bKeep ) ls_view_release(p->iView);
  if( p->iBeside ) ls_view_release(p->iBeside);
  for(i=0; i<FILES_MAX; i++){
    if( p->aPast[i] ) ls_view_release(p->aPast[i]);
    free(p->apPast[i]);
  }
  ls_replica_close(p->iReplica);
  pthread_mutex_unlock(&core.mu);
  for(i=0; i<p->nObject; i++) ltxFree(p->apLtx[i]);
  sqlite3_free(p->aLast);
  sqlite3_close(p->db);
}

/* Opens a path in a window of its own. */
static int openInWindow(const char *zPath, sqlite3 **pdb){
  int rc;
  NEED(ls_host_begin(iHost)==0);
  rc = sqlite3_open(zPath, pdb);
  CHECK_INT(ls_host_end(iHost), 0);
  return rc;
}

/* What connect() does. */
static sqlite3 *connectAt(const Source *p, const char *zMoment){
  sqlite3 *db = NULL;
  char zPath[64];
  snprintf(zPath, sizeof(zPath), "/sentinel/%d.db", ls_replica_ticket(p->iReplica, 20000, zMoment));
  if( openInWindow(zPath, &db)!=SQLITE_OK ) checkFailed(__FILE__, __LINE__, "open: %s", sqlite3_errmsg(db));
  return db;
}
static sqlite3 *connectTo(const Source *p){ return connectAt(p, ""); }

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

#define MENU_MORE "CREATE TABLE more AS WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<3000) " \
  "SELECT i, hex(zeroblob(60)) x FROM c"

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
  LsOpening opening;
  int iTicket;
  sourceBegin(&s, 1024, MENU);
  iTicket = ls_replica_ticket(s.iReplica, 1000, "");
  snprintf(zPath, sizeof(zPath), "/sentinel/%d.db", iTicket);
  CHECK_INT(ls_host_begin(iHost), 0);
  CHECK_INT(sqlite3_open(zPath, &db), SQLITE_OK);
  CHECK_INT(sqlite3_open(zPath, &db2), SQLITE_CANTOPEN);
  CHECK_TEXT(sqlite3_errmsg(db2), "used twice");
  CHECK_INT(ls_host_end(iHost), 0);
  sqlite3_close(db2);
  VALUE(db, "SELECT count(*) FROM menu", "500");
  sqlite3_close(db);
  iTicket = ls_replica_ticket(s.iReplica, 1000, "");     /* never taken: forgotten when the replica closes */
  CHECK(iTicket>0);
  sourceEnd(&s);
  CHECK_INT(ls_replica_ticket(s.iReplica, 1000, ""), LS_MISUSE);
  CHECK_INT(lsTicketTake(iTicket, &opening), LS_GONE);
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
  for(i=0; i<20000 && atomic_load(&core.nClosed)<nBefore+2; i++) sleepMs(1);
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
    snprintf(z, sizeof(z), "/sentinel/%d.db", ls_replica_ticket(s.iReplica, 1000, ""));
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
  iTicket = ls_replica_ticket(b.iReplica, 1000, "");
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

/* ------------------------------------------------------------------------------------------------ moments */

#define COUNT "SELECT count(*) FROM menu"
#define TXID "SELECT litestream_txid()"
#define TXID_1 "0000000000000001"
#define TXID_2 "0000000000000002"
#define TXID_3 "0000000000000003"
#define TXID_4 "0000000000000004"

static sqlite3_file *fileOf(sqlite3 *db){
  sqlite3_file *pFile = NULL;
  NEED(sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &pFile)==SQLITE_OK && pFile!=NULL);
  return pFile;
}

/* Three states: menu has 500 rows, then 400 and there is another table, then 3 of other columns. */
static void threeStates(Source *p){
  sourceBegin(p, 512, MENU);
  keepStates(p);
  sql(p->db, "DELETE FROM menu WHERE id%5=0; CREATE TABLE more AS SELECT id, name FROM menu");
  publish(p);
  sql(p->db, "DROP TABLE menu; DROP TABLE more; CREATE TABLE menu(dish TEXT, id INT, hot);"
    "INSERT INTO menu VALUES('soup', 1, 1), ('salad', 2, 0), ('tea', 3, 1)");
  publish(p);
}

/* How many transactions ls_replica_pins() tells of, in all. */
static int pinned(const Source *p){
  uint64_t a[16*LS_PIN_WORDS];
  int i, n = ls_replica_pins(p->iReplica, a, 16), nAll = 0;
  for(i=0; i<n; i++) nAll += (int)a[i*LS_PIN_WORDS+2];
  return nAll;
}

static void moments(void){
  Source s;
  sqlite3 *db;
  sqlite3_stmt *pStmt;
  threeStates(&s);
  db = connectTo(&s);
  VALUE(db, COUNT, "3");
  VALUE(db, "PRAGMA litestream_time='at 1'", "");
  VALUE(db, TXID, TXID_1);
  VALUE(db, "PRAGMA litestream_txid", TXID_1);
  VALUE(db, "SELECT litestream_time()", "moment 1");
  VALUE(db, "PRAGMA litestream_time", "moment 1");
  VALUE(db, COUNT, "500");
  VALUE(db, "SELECT name LIKE 'sandwich 500%' FROM menu WHERE id=500", "1");
  VALUE(db, "SELECT litestream_txid()||count(*) FROM menu", TXID_1 "500");
  CHECK_TEXT(value(db, "SELECT * FROM more"), "no such table: more");
  CHECK_TEXT(value(db, "SELECT dish FROM menu"), "no such column: dish");
  VALUE(db, "PRAGMA integrity_check", "ok");
  CHECK_INT(sqlite3_prepare_v2(db, "SELECT * FROM menu ORDER BY id DESC", -1, &pStmt, NULL), SQLITE_OK);
  CHECK_INT(sqlite3_step(pStmt), SQLITE_ROW);
  CHECK_INT(sqlite3_column_int(pStmt, 0), 500);
  sqlite3_reset(pStmt);
  VALUE(db, "SELECT litestream_set_time('at 2')", "null");
  VALUE(db, TXID, TXID_2);
  CHECK_INT(sqlite3_step(pStmt), SQLITE_ROW);                 /* the same statement, another state */
  CHECK_INT(sqlite3_column_int(pStmt, 0), 499);
  sqlite3_reset(pStmt);
  VALUE(db, "SELECT count(*) FROM more", "400");
  VALUE(db, "PRAGMA integrity_check", "ok");
  sql(db, "PRAGMA litestream_time='at 3'");
  CHECK_INT(sqlite3_step(pStmt), SQLITE_ROW);                 /* and another schema */
  CHECK_INT(sqlite3_column_count(pStmt), 3);
  CHECK_TEXT((const char*)sqlite3_column_text(pStmt, 0), "tea");
  sqlite3_reset(pStmt);
  sql(s.db, "DELETE FROM menu WHERE hot");
  publish(&s);
  VALUE(db, COUNT, "3");                                      /* a moment stays */
  VALUE(db, TXID, TXID_3);
  sql(db, "PRAGMA litestream_time=latest");
  VALUE(db, COUNT, "1");
  VALUE(db, TXID, TXID_4);
  VALUE(db, "SELECT litestream_time()", "2023-11-14T22:13:20.127Z");
  CHECK_INT(sqlite3_step(pStmt), SQLITE_ROW);
  CHECK_TEXT((const char*)sqlite3_column_text(pStmt, 0), "salad");
  sqlite3_reset(pStmt);
  sql(s.db, "DELETE FROM menu");
  publish(&s);
  VALUE(db, COUNT, "0");                                      /* and the newest goes on */
  sql(db, "PRAGMA litestream_time='beside 2'");               /* words of its own: the time of the state */
  VALUE(db, COUNT, "400");
  VALUE(db, "SELECT litestream_time()", "2023-11-14T22:13:20.125Z");
  sql(db, "PRAGMA litestream_time='at 2'");                   /* the same content, stamped otherwise */
  VALUE(db, COUNT, "400");
  sqlite3_finalize(pStmt);
  sqlite3_close(db);
  CHECK_INT(pinned(&s), 0);
  sourceEnd(&s);
  CHECK_EMPTY();
}

/* From here to there and back, with SQLite's cache full of the other state. */
static void momentsAtRandom(void){
  static const char *const azCount[] = {"", "500", "400", "3"};
  Source s;
  sqlite3 *db;
  uint64_t iSeed = 11;
  int i, iAt = 3;
  threeStates(&s);
  db = connectTo(&s);
  for(i=0; i<300; i++){
    if( randomBelow(&iSeed, 3)==0 ){
      char z[64];
      iAt = 1+(int)randomBelow(&iSeed, 3);
      snprintf(z, sizeof(z), "PRAGMA litestream_time='%s %d'", randomBelow(&iSeed, 2) ? "at" : "beside", iAt);
      sql(db, iAt==3 && randomBelow(&iSeed, 2) ? "PRAGMA litestream_time=latest" : z);
    }
    VALUE(db, COUNT, azCount[iAt]);
    if( i%5==0 ) VALUE(db, "PRAGMA integrity_check", "ok");
  }
  sqlite3_close(db);
  sourceEnd(&s);
  CHECK_EMPTY();
}

static void momentTicket(void){
  Source s;
  sqlite3 *db, *dbPast;
  uint8_t aError[LS_ERROR_SIZE];
  int n;
  threeStates(&s);
  dbPast = connectAt(&s, "at 1");
  VALUE(dbPast, COUNT, "500");
  VALUE(dbPast, "SELECT litestream_time()", "moment 1");
  CHECK_INT(ls_replica_ticket(s.iReplica, 20000, "some time"), LS_REFUSED);
  n = ls_replica_error(s.iReplica, aError, LS_ERROR_SIZE-1);
  CHECK(n>0);
  aError[n>0 ? n : 0] = 0;
  CHECK_TEXT((char*)aError, "TypeError: Cannot read time \"some time\": expected RFC 3339");
  db = connectAt(&s, "latest");
  VALUE(db, COUNT, "3");
  VALUE(dbPast, COUNT, "500");
  sqlite3_close(db);
  sqlite3_close(dbPast);
  sourceEnd(&s);
  CHECK_EMPTY();
}

static void momentRefused(void){
  const char *zOpen = "ReplicaError: Cannot set litestream_time: a transaction is open on this connection, or a statement "
    "not at its end, expected it before the first read";
  Source s;
  sqlite3 *db;
  sqlite3_stmt *pStmt;
  char zLong[LS_MOMENT_SIZE+64], *z;
  threeStates(&s);
  db = connectTo(&s);
  sql(db, "BEGIN");
  sql(db, "PRAGMA litestream_time='at 2'");                   /* nothing was read yet */
  VALUE(db, COUNT, "400");
  CHECK_TEXT(value(db, "PRAGMA litestream_time='at 1'"), zOpen);
  CHECK_TEXT(value(db, "PRAGMA litestream_time=latest"), zOpen);
  CHECK_TEXT(value(db, "SELECT litestream_set_time('at 1')"), zOpen);
  VALUE(db, COUNT, "400");
  VALUE(db, "SELECT litestream_time()", "moment 2");
  sql(db, "COMMIT");
  sql(db, "BEGIN IMMEDIATE; ROLLBACK; BEGIN; SELECT litestream_set_time('at 1')");
  VALUE(db, COUNT, "500");
  sql(db, "COMMIT");
  CHECK_INT(sqlite3_prepare_v2(db, "SELECT id FROM menu", -1, &pStmt, NULL), SQLITE_OK);
  CHECK_INT(sqlite3_step(pStmt), SQLITE_ROW);
  CHECK_TEXT(value(db, "PRAGMA litestream_time='at 2'"), zOpen);
  CHECK_TEXT(value(db, "SELECT litestream_set_time('at 2')"), zOpen);
  while( sqlite3_step(pStmt)==SQLITE_ROW ){}
  VALUE(db, "SELECT litestream_set_time('at 2')", "null");    /* at its end, though not finalized */
  VALUE(db, COUNT, "400");
  sqlite3_finalize(pStmt);
  CHECK_TEXT(value(db, "SELECT litestream_set_time('at 1') FROM menu"), zOpen);
  CHECK_TEXT(value(db, "PRAGMA litestream_time='soon'"), "TypeError: Cannot read time \"soon\": expected RFC 3339");
  CHECK(strstr(value(db, "PRAGMA litestream_time='soon'"), "cause")==NULL);
  CHECK_TEXT(value(db, "PRAGMA litestream_time=''"), "TypeError: Cannot read time \"\"");
  CHECK_TEXT(value(db, "PRAGMA litestream_time=-5"), "TypeError: Cannot read time \"-5\"");
  CHECK_TEXT(value(db, "SELECT litestream_set_time('soon')"), "TypeError: Cannot read time \"soon\"");
  CHECK_TEXT(value(db, "SELECT litestream_set_time(NULL)"), "timestamp required");
  CHECK_TEXT(value(db, "SELECT litestream_set_time()"), "wrong number of arguments");
  memset(zLong, '5', LS_MOMENT_SIZE);
  zLong[LS_MOMENT_SIZE] = 0;
  z = sqlite3_mprintf("SELECT litestream_set_time(%Q)", zLong);
  CHECK_TEXT(value(db, z), "TypeError: Cannot read time: it is too long");
  sqlite3_free(z);
  zLong[LS_MOMENT_SIZE-1] = 0;
  z = sqlite3_mprintf("PRAGMA litestream_time=%Q", zLong);
  CHECK_TEXT(value(db, z), "TypeError: Cannot read time \"555");
  sqlite3_free(z);
  VALUE(db, COUNT, "400");                                    /* none of them moved it */
  VALUE(db, "SELECT litestream_time()", "moment 2");
  value(db, "PRAGMA locking_mode=EXCLUSIVE");
  VALUE(db, COUNT, "400");
  CHECK_TEXT(value(db, "PRAGMA litestream_time='at 1'"), zOpen);
  value(db, "PRAGMA locking_mode=NORMAL");
  VALUE(db, COUNT, "400");
  sql(db, "PRAGMA litestream_time='at 1'");
  VALUE(db, COUNT, "500");
  sqlite3_close(db);
  sourceEnd(&s);
  CHECK_EMPTY();
}

/* A connection that keeps one view for life takes its moment before the first read, and never another. */
static void momentForLife(void){
  Source s;
  sqlite3 *db;
  threeStates(&s);
  pthread_mutex_lock(&core.mu);
  pUriSource = &s;
  pthread_mutex_unlock(&core.mu);
  ls_core_default(core.iCore, 1);
  db = openByUri("file:/x.db?vfs=litestream&nolock=1");
  CHECK_INT(pinned(&s), 0);
  sql(db, "PRAGMA litestream_time='at 1'");
  VALUE(db, COUNT, "500");
  CHECK_TEXT(value(db, "PRAGMA litestream_time='at 2'"), "this connection keeps one state for life (nolock or immutable)");
  CHECK_TEXT(value(db, "SELECT litestream_set_time('latest')"), "keeps one state for life");
  VALUE(db, COUNT, "500");
  VALUE(db, "PRAGMA integrity_check", "ok");
  VALUE(db, TXID, TXID_1);
  CHECK_INT(pinned(&s), 1);
  sqlite3_close(db);
  CHECK_INT(pinned(&s), 0);
  db = openByUri("file:/x.db?vfs=litestream&immutable=1");    /* SQLite asks for the size while it opens */
  CHECK_INT(pinned(&s), 1);
  CHECK_TEXT(value(db, "PRAGMA litestream_time='at 1'"), "keeps one state for life");
  VALUE(db, COUNT, "3");
  sqlite3_close(db);
  CHECK_INT(pinned(&s), 0);
  sourceEnd(&s);
  ls_core_default(core.iCore, 0);
  pUriSource = NULL;
  CHECK_EMPTY();
}

static void momentsApart(void){
  Source s;
  sqlite3 *db1, *db2, *db;
  threeStates(&s);
  db1 = connectAt(&s, "at 1");
  db2 = connectAt(&s, "beside 2");
  db = connectTo(&s);
  sql(db1, "BEGIN");
  VALUE(db1, COUNT, "500");
  VALUE(db2, COUNT, "400");
  VALUE(db, COUNT, "3");
  sql(db2, "BEGIN");
  VALUE(db2, "SELECT count(*) FROM more", "400");
  VALUE(db1, "SELECT count(*), sum(length(name)) FROM menu", "500");
  VALUE(db, "SELECT dish FROM menu WHERE id=1", "soup");
  VALUE(db1, TXID, TXID_1);
  VALUE(db2, TXID, TXID_2);
  VALUE(db, TXID, TXID_3);
  VALUE(db1, "PRAGMA integrity_check", "ok");
  VALUE(db2, "PRAGMA integrity_check", "ok");
  sql(db1, "COMMIT");
  sql(db2, "COMMIT");
  sql(db1, "PRAGMA litestream_time=latest");                  /* of this one alone */
  VALUE(db1, COUNT, "3");
  VALUE(db2, COUNT, "400");
  sqlite3_close(db1);
  sqlite3_close(db2);
  sqlite3_close(db);
  sourceEnd(&s);
  CHECK_EMPTY();
}

static void momentAttached(void){
  Source s;
  sqlite3 *db;
  char z[96];
  threeStates(&s);
  db = connectTo(&s);
  snprintf(z, sizeof(z), "ATTACH '/sentinel/%d.db' AS aux", ls_replica_ticket(s.iReplica, 20000, ""));
  CHECK_INT(ls_host_begin(iHost), 0);
  sql(db, z);
  CHECK_INT(ls_host_end(iHost), 0);
  VALUE(db, "SELECT count(*) FROM aux.menu", "3");
  sql(db, "PRAGMA aux.litestream_time='at 1'");
  VALUE(db, "SELECT count(*) FROM aux.menu", "500");
  VALUE(db, "SELECT count(*) FROM main.menu", "3");
  VALUE(db, "SELECT m.dish||' was '||a.price FROM main.menu m JOIN aux.menu a USING(id) WHERE id=2", "salad was 2");
  VALUE(db, "PRAGMA aux.litestream_txid", TXID_1);
  VALUE(db, "PRAGMA main.litestream_txid", TXID_3);
  VALUE(db, "PRAGMA litestream_txid", TXID_3);
  VALUE(db, TXID, TXID_3);                                    /* the functions speak of main */
  VALUE(db, "PRAGMA aux.litestream_time", "moment 1");
  sql(db, "PRAGMA aux.litestream_time='at 2'");
  VALUE(db, "SELECT count(*) FROM aux.more", "400");
  sql(db, "BEGIN");
  VALUE(db, "SELECT count(*) FROM main.menu", "3");
  sql(db, "PRAGMA aux.litestream_time='at 1'");               /* aux was not read in it */
  VALUE(db, "SELECT count(*) FROM aux.menu", "500");
  CHECK_TEXT(value(db, "PRAGMA aux.litestream_time='at 2'"), "a transaction is open");
  CHECK_INT(pinned(&s), 2);
  sql(db, "COMMIT");
  CHECK_TEXT(value(db, "PRAGMA aux.litestream_time='soon'"), "TypeError: Cannot read time");
  sql(db, "DETACH aux");
  VALUE(db, COUNT, "3");
  snprintf(z, sizeof(z), "ATTACH '/sentinel/%d.db' AS aux", ls_replica_ticket(s.iReplica, 20000, "at 2"));
  CHECK_INT(ls_host_begin(iHost), 0);
  sql(db, z);
  CHECK_INT(ls_host_end(iHost), 0);
  VALUE(db, "SELECT count(*) FROM more", "400");
  sqlite3_close(db);
  CHECK_INT(pinned(&s), 0);
  sourceEnd(&s);
  CHECK_EMPTY();
}

/* ------------------------------------------------------------------------------------------------- pinning */

static atomic_int bWatching;
static atomic_int nWatched, nUnseen;

/* Whether a transaction that is open is ever not told of. */
static void *watchPins(void *pArg){
  while( atomic_load(&bWatching) ){
    if( pinned(pArg)<1 ) atomic_fetch_add(&nUnseen, 1);
    atomic_fetch_add(&nWatched, 1);
  }
  return NULL;
}

/* The files of a past state are given up, in a transaction, before it and after it. */
static void pastMoves(void){
  Source s;
  sqlite3 *db, *dbIdle;
  pthread_t thread;
  uint64_t a[LS_VIEW_WORDS], aPin[2*LS_PIN_WORDS];
  int i;
  threeStates(&s);
  db = connectAt(&s, "at 1");
  dbIdle = connectAt(&s, "at 1");
  VALUE(dbIdle, "SELECT price FROM menu WHERE id=20", "3");
  sql(db, "PRAGMA cache_size=1; BEGIN");
  VALUE(db, "SELECT price FROM menu WHERE id=10", "10");
  atomic_store(&bWatching, 1);
  NEED(pthread_create(&thread, NULL, watchPins, &s)==0);
  for(i=0; i<30; i++){
    relocatePast(&s, 1, 0);
    if( i%3==0 ) VALUE(db, "SELECT count(*), sum(length(name)) FROM menu", "500");
  }
  while( atomic_load(&nWatched)<100 ) sleepMs(1);
  atomic_store(&bWatching, 0);
  pthread_join(thread, NULL);
  CHECK_INT(atomic_load(&nUnseen), 0);
  VALUE(db, "PRAGMA integrity_check", "ok");
  VALUE(db, TXID, TXID_1);
  VALUE(db, "SELECT litestream_time()", "moment 1");
  CHECK_INT(ls_replica_pins(s.iReplica, aPin, 2), 1);
  CHECK(aPin[0]==1 && aPin[2]==1 && aPin[3]==1);
  CHECK_INT(ls_view_info(s.aPast[1], a), 0);
  CHECK_INT(a[4], aPin[1]);
  sql(db, "COMMIT");
  CHECK_INT(pinned(&s), 0);
  VALUE(dbIdle, "SELECT count(*), sum(length(name)) FROM menu", "500");    /* moved thirty times while it slept */
  relocatePast(&s, 1, 0);
  i = s.aObject[s.nObject-2];                                               /* where it lay before */
  CHECK(ls_object_refs(i)>1);
  VALUE(db, "SELECT name FROM menu WHERE id=499 AND price=499%17 AND length(name)=72", value(dbIdle,
    "SELECT name FROM menu WHERE id=499"));
  CHECK_INT(ls_object_refs(i), 1);                                          /* held by the core alone */
  sql(db, "PRAGMA litestream_time='at 1'");                                 /* where it lies now */
  VALUE(db, "PRAGMA integrity_check", "ok");
  sqlite3_close(db);
  sqlite3_close(dbIdle);
  CHECK_INT(pinned(&s), 0);
  sourceEnd(&s);
  CHECK_EMPTY();
}

static void pins(void){
  Source s;
  sqlite3 *db, *db2, *dbPast, *dbBeside;
  sqlite3_stmt *pStmt;
  uint64_t a[8*LS_PIN_WORDS], aView[LS_VIEW_WORDS];
  uint64_t iStamp;
  int i, nBeside = 0;
  sourceBegin(&s, 512, MENU);
  db = connectTo(&s);
  db2 = connectTo(&s);
  CHECK_INT(ls_replica_pins(s.iReplica, a, 8), 0);
  sql(db, "PRAGMA cache_size=1; BEGIN");
  CHECK_INT(ls_replica_pins(s.iReplica, a, 8), 0);            /* SQLite begins with the first read */
  VALUE(db, "SELECT name IS NULL FROM menu WHERE id=1", "0");
  CHECK_INT(ls_replica_pins(s.iReplica, a, 8), 1);
  iStamp = s.iStamp;
  CHECK(a[0]==1 && a[1]==iStamp && a[2]==1 && a[3]==1);
  CHECK_INT(sqlite3_prepare_v2(db2, "SELECT id FROM menu", -1, &pStmt, NULL), SQLITE_OK);
  CHECK_INT(sqlite3_step(pStmt), SQLITE_ROW);
  CHECK_INT(ls_replica_pins(s.iReplica, a, 8), 1);
  CHECK(a[2]==2);
  relocate(&s);                                               /* superseded: the same state elsewhere */
  for(i=0; i<3; i++) VALUE(db, "SELECT count(*), sum(length(name)) FROM menu", "500");
  CHECK_INT(pinned(&s), 2);
  sql(s.db, "DELETE FROM menu WHERE id%5=0");
  publish(&s);                                                /* superseded: another state */
  sqlite3_finalize(pStmt);
  CHECK_INT(ls_replica_pins(s.iReplica, a, 8), 1);
  CHECK(a[0]==1 && a[1]==iStamp && a[2]==1 && a[3]==1);
  sql(db2, "BEGIN");
  VALUE(db2, COUNT, "400");
  CHECK_INT(ls_replica_pins(s.iReplica, a, 8), 2);
  CHECK_INT(a[2]+a[LS_PIN_WORDS+2], 2);
  CHECK_INT(a[0]+a[LS_PIN_WORDS], 3);
  CHECK_INT(ls_replica_pins(s.iReplica, a, 1), 1);
  CHECK_INT(ls_replica_pins(s.iReplica, a, 0), 0);
  CHECK_INT(ls_replica_view(s.iReplica, aView), 0);           /* to look at it is no transaction */
  VALUE(db, TXID, TXID_1);
  CHECK_INT(pinned(&s), 2);
  sql(db, "COMMIT");
  sql(db2, "COMMIT");
  CHECK_INT(pinned(&s), 0);
  sqlite3_close(db);
  sqlite3_close(db2);
  sourceEnd(&s);
  threeStates(&s);
  dbPast = connectAt(&s, "at 1");
  dbBeside = connectAt(&s, "beside 1");
  sql(dbPast, "BEGIN");
  sql(dbBeside, "BEGIN");
  VALUE(dbPast, COUNT, "500");
  VALUE(dbBeside, COUNT, "500");
  CHECK_INT(ls_replica_pins(s.iReplica, a, 8), 2);
  for(i=0; i<2; i++) nBeside += a[i*LS_PIN_WORDS+3]==0;
  CHECK_INT(nBeside, 1);                                      /* one of the two was the newest once */
  CHECK(a[0]==1 && a[LS_PIN_WORDS]==1 && a[1]!=a[LS_PIN_WORDS+1]);
  sqlite3_close(dbPast);                                      /* in the midst of its transaction */
  sqlite3_close(dbBeside);
  CHECK_INT(pinned(&s), 0);
  sourceEnd(&s);
  CHECK_INT(ls_replica_pins(s.iReplica, a, 8), 0);
  CHECK_EMPTY();
}

/* ----------------------------------------------------------------------------------- blocked, stale, nudged */

/* A transaction does not begin; the words come after. */
#define REFUSED(db, zWords) do{ \
    CHECK_INT(sqlite3_exec((db), COUNT, NULL, NULL, NULL), SQLITE_IOERR); \
    CHECK_TEXT(value((db), "PRAGMA litestream_error"), (zWords)); \
  }while( 0 )

static void blocked(void){
  const char *zWords = "DivergedError: Cannot go on: the writer began anew";
  Source s;
  sqlite3 *db, *dbOpen, *dbPast, *dbNew, *dbNewPast;
  char zError[LS_ERROR_SIZE] = "";
  threeStates(&s);
  db = connectTo(&s);
  dbOpen = connectTo(&s);
  dbPast = connectAt(&s, "at 1");
  sql(dbOpen, "PRAGMA cache_size=1; BEGIN");
  VALUE(dbOpen, COUNT, "3");
  CHECK_INT(ls_replica_block(s.iReplica, "DivergedError: Cannot go on: the writer began anew\ncause=secret"), 0);
  REFUSED(db, zWords);
  CHECK(strstr(value(db, "PRAGMA litestream_error"), "secret")==NULL);
  CHECK(ls_replica_error(s.iReplica, (uint8_t*)zError, LS_ERROR_SIZE-1)>0);
  CHECK_TEXT(zError, "cause=secret");
  CHECK_TEXT(value(db, "PRAGMA integrity_check"), "disk I/O error");
  VALUE(db, TXID, TXID_3);                                    /* what needs no page still answers */
  VALUE(dbOpen, "PRAGMA integrity_check", "ok");
  VALUE(dbOpen, "SELECT dish FROM menu WHERE id=2", "salad");
  VALUE(dbPast, COUNT, "500");
  VALUE(dbPast, "PRAGMA integrity_check", "ok");
  dbNewPast = connectAt(&s, "at 2");                          /* connections can still be opened */
  VALUE(dbNewPast, COUNT, "400");
  dbNew = connectTo(&s);
  REFUSED(dbNew, zWords);
  sql(dbNew, "PRAGMA litestream_time='at 1'");                /* and be moved to where they may read */
  VALUE(dbNew, COUNT, "500");
  sql(dbNew, "PRAGMA litestream_time=latest");
  REFUSED(dbNew, zWords);
  sql(dbOpen, "COMMIT");
  REFUSED(dbOpen, zWords);
  CHECK_INT(pinned(&s), 0);
  CHECK_INT(ls_replica_block(s.iReplica, "OtherError: for another reason"), 0);
  REFUSED(db, "OtherError: for another reason");
  CHECK_INT(ls_replica_block(s.iReplica, ""), 0);
  VALUE(db, COUNT, "3");
  VALUE(dbOpen, COUNT, "3");
  VALUE(dbNew, COUNT, "3");
  sqlite3_close(db);
  sqlite3_close(dbOpen);
  sqlite3_close(dbPast);
  sqlite3_close(dbNew);
  sqlite3_close(dbNewPast);
  sourceEnd(&s);
  CHECK_INT(ls_replica_block(s.iReplica, "x"), LS_MISUSE);
  CHECK_EMPTY();
}

/* nolock: the open itself goes well, and the first read has the words. immutable: the replica has them. */
static void blockedForLife(void){
  Source s;
  sqlite3 *db;
  char zError[LS_ERROR_SIZE] = "";
  threeStates(&s);
  pthread_mutex_lock(&core.mu);
  pUriSource = &s;
  pthread_mutex_unlock(&core.mu);
  ls_core_default(core.iCore, 1);
  ls_replica_block(s.iReplica, "DivergedError: Cannot go on");
  db = openByUri("file:/x.db?vfs=litestream&nolock=1");
  REFUSED(db, "DivergedError: Cannot go on");
  ls_replica_block(s.iReplica, "");
  VALUE(db, COUNT, "3");
  ls_replica_block(s.iReplica, "DivergedError: Cannot go on");
  sql(s.db, "DELETE FROM menu");
  publish(&s);
  VALUE(db, COUNT, "3");                                      /* one transaction, which goes on */
  sqlite3_close(db);
  CHECK_INT(sqlite3_open_v2("file:/x.db?vfs=litestream&immutable=1", &db, SQLITE_OPEN_READONLY|SQLITE_OPEN_URI, NULL),
    SQLITE_IOERR);                                            /* its one transaction begins here */
  sqlite3_close(db);
  CHECK(ls_replica_error(s.iReplica, (uint8_t*)zError, LS_ERROR_SIZE-1)>0);
  CHECK_TEXT(zError, "DivergedError: Cannot go on");
  sourceEnd(&s);
  ls_core_default(core.iCore, 0);
  pUriSource = NULL;
  CHECK_EMPTY();
}

static Source *pShared;
static atomic_int nRead;

static void *readOn(void *pArg){
  sqlite3 *db = connectTo(pShared);
  (void)pArg;
  while( atomic_load(&bWatching) ){
    int rc = sqlite3_exec(db, COUNT, NULL, NULL, NULL);
    CHECK(rc==SQLITE_OK || rc==SQLITE_IOERR);
    atomic_fetch_add(&nRead, rc==SQLITE_OK);
  }
  sqlite3_close(db);
  return NULL;
}

/* Once ls_replica_block() has returned, the transactions that ls_replica_pins() tells of become fewer, never more. */
static void blockedAtOnce(void){
  enum { THREADS = 4 };
  pthread_t aThread[THREADS];
  Source s;
  int i, j, nMore = 0;
  threeStates(&s);
  pShared = &s;
  atomic_store(&bWatching, 1);
  atomic_store(&nRead, 0);
  for(i=0; i<THREADS; i++) NEED(pthread_create(&aThread[i], NULL, readOn, NULL)==0);
  for(i=0; i<300; i++){
    int nLast, nBefore;
    ls_replica_block(s.iReplica, "DivergedError: Cannot go on");
    nLast = pinned(&s);
    for(j=0; j<50; j++){
      int n = pinned(&s);
      if( n>nLast ) nMore++;
      nLast = n;
    }
    nBefore = atomic_load(&nRead);
    ls_replica_block(s.iReplica, "");
    for(j=0; j<1000 && atomic_load(&nRead)==nBefore; j++) sleepMs(1);
  }
  atomic_store(&bWatching, 0);
  for(i=0; i<THREADS; i++) pthread_join(aThread[i], NULL);
  CHECK_INT(nMore, 0);
  CHECK(atomic_load(&nRead)>100);
  CHECK_INT(pinned(&s), 0);
  sourceEnd(&s);
  CHECK_EMPTY();
}

enum { COMPUTE_OPENING, COMPUTE_RUNNING, COMPUTE_ENDED };
static atomic_int eCompute;

/* Computes for ever without reading a page, on thirty connections, and closes each while it is interrupted once more. */
static void *computeOn(void *pArg){
  int i;
  (void)pArg;
  for(i=0; i<30; i++){
    sqlite3 *db = connectTo(pShared);
    atomic_store(&eCompute, COMPUTE_RUNNING);
    CHECK_INT(sqlite3_exec(db, "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT max(x) FROM c",
      NULL, NULL, NULL), SQLITE_INTERRUPT);
    sqlite3_close(db);
    atomic_store(&eCompute, COMPUTE_OPENING);
  }
  atomic_store(&eCompute, COMPUTE_ENDED);
  return NULL;
}

static void interruptsComputing(void){
  pthread_t thread;
  Source s, other;
  sqlite3 *db;
  int e;
  sourceBegin(&s, 1024, MENU);
  sourceBegin(&other, 1024, MENU);
  pShared = &s;
  atomic_store(&eCompute, COMPUTE_OPENING);
  db = connectTo(&other);
  NEED(pthread_create(&thread, NULL, computeOn, NULL)==0);
  while( (e = atomic_load(&eCompute))!=COMPUTE_ENDED ){
    if( e==COMPUTE_RUNNING ) CHECK_INT(ls_replica_interrupt(s.iReplica), 0);
    VALUE(db, "SELECT count(*) FROM menu", "500");       /* another replica's: nothing of it ends */
  }
  pthread_join(thread, NULL);
  sqlite3_close(db);
  sourceEnd(&other);
  sourceEnd(&s);
  CHECK_EMPTY();
}

static void stale(void){
  enum { LIMIT = 400, LONG = 600000 };           /* ms: passed by waiting, and never passed */
  Source s;
  sqlite3 *db, *dbOpen, *dbPast, *dbNew;
  uint64_t ms = 99;
  threeStates(&s);
  db = connectTo(&s);
  dbOpen = connectTo(&s);
  dbPast = connectAt(&s, "at 1");
  CHECK_INT(ls_replica_lag(s.iReplica, &ms), LS_GONE);
  VALUE(db, "PRAGMA litestream_lag", "-1");                   /* the follower has not looked yet */
  VALUE(db, "SELECT litestream_lag()", "-1");
  VALUE(db, "SELECT typeof(litestream_lag())", "integer");
  CHECK_INT(ls_replica_polled(s.iReplica, "NetworkError: Cannot list: no route\ncause=secret"), 0);
  VALUE(db, "SELECT litestream_lag()", "-1");                 /* nor could it */
  VALUE(db, "PRAGMA litestream_error", "NetworkError: Cannot list: no route");
  VALUE(db, COUNT, "3");                                      /* any age will do */
  sql(dbOpen, "PRAGMA cache_size=1; BEGIN");
  VALUE(dbOpen, COUNT, "3");
  CHECK_INT(ls_replica_limit(s.iReplica, LIMIT), 0);
  REFUSED(db, "StaleError: Cannot begin a transaction: the replica was not seen yet, expected at most maxStaleMs 400");
  CHECK_INT(ls_replica_limit(s.iReplica, LONG), 0);
  CHECK_INT(ls_replica_polled(s.iReplica, ""), 0);
  VALUE(db, COUNT, "3");
  VALUE(db, "SELECT litestream_lag()", "0");
  CHECK_INT(ls_replica_lag(s.iReplica, &ms), 0);
  CHECK(ms<5000);
  sleepMs(LIMIT+100);
  CHECK_INT(ls_replica_limit(s.iReplica, LIMIT), 0);
  REFUSED(db, "StaleError: Cannot begin a transaction: the replica was last seen ");
  CHECK_TEXT(value(db, "PRAGMA litestream_error"), " ms ago, expected at most maxStaleMs 400");
  CHECK_INT(ls_replica_polled(s.iReplica, "NetworkError: Cannot list: no route"), 0);
  REFUSED(db, "StaleError: Cannot begin a transaction");      /* a look that saw nothing is none */
  dbNew = connectTo(&s);
  VALUE(dbNew, "PRAGMA litestream_error", "NetworkError: Cannot list: no route");
  REFUSED(dbNew, "StaleError: Cannot begin a transaction");
  VALUE(dbOpen, "PRAGMA integrity_check", "ok");
  VALUE(dbPast, COUNT, "500");
  sql(dbNew, "PRAGMA litestream_time='at 2'");
  VALUE(dbNew, COUNT, "400");
  sql(dbOpen, "COMMIT");
  REFUSED(dbOpen, "StaleError: ");
  sleepMs(600);
  VALUE(db, "SELECT litestream_lag()>0", "1");
  CHECK_INT(ls_replica_limit(s.iReplica, LONG), 0);
  CHECK_INT(ls_replica_polled(s.iReplica, ""), 0);
  VALUE(db, COUNT, "3");
  VALUE(dbOpen, COUNT, "3");
  sleepMs(LIMIT+100);
  CHECK_INT(ls_replica_limit(s.iReplica, LIMIT), 0);
  REFUSED(db, "StaleError: ");
  CHECK_INT(ls_replica_limit(s.iReplica, -1), 0);             /* no limit, as 0 */
  VALUE(db, COUNT, "3");
  sqlite3_close(db);
  sqlite3_close(dbOpen);
  sqlite3_close(dbPast);
  sqlite3_close(dbNew);
  sourceEnd(&s);
  CHECK_INT(ls_replica_polled(s.iReplica, ""), LS_MISUSE);
  CHECK_INT(ls_replica_lag(s.iReplica, &ms), LS_MISUSE);
  CHECK_INT(ls_replica_limit(s.iReplica, 1), LS_MISUSE);
  CHECK_EMPTY();
}

static void nudged(void){
  Source s;
  int nBefore = atomic_load(&core.nNudged), i;
  sourceBegin(&s, 512, "CREATE TABLE t(x)");
  CHECK_INT(ls_replica_nudge(s.iReplica), 0);
  for(i=0; i<20000 && atomic_load(&core.nNudged)==nBefore; i++) sleepMs(1);
  CHECK_INT(atomic_load(&core.nNudged), nBefore+1);
  sourceEnd(&s);
  CHECK_EMPTY();
}

/* --------------------------------------------------------------------------------------- PRAGMAs and views */

static void pragmas(void){
  static const char *const azTold[] = {"txid", "lag", "error", "stats", "hydration_progress", "hydration_file"};
  static const char *const azOff[] = {"0", "off", "false", "OFF"};
  static const char *const azOn[] = {"1", "on", "true", "'True'"};
  Source s;
  sqlite3 *db;
  char z[96], zWords[96];
  size_t i;
  threeStates(&s);
  db = connectTo(&s);
  for(i=0; i<6; i++){
    snprintf(z, sizeof(z), "PRAGMA Litestream_%s=5", azTold[i]);
    snprintf(zWords, sizeof(zWords), "Cannot set Litestream_%s: it only tells, expected no value", azTold[i]);
    CHECK_TEXT(value(db, z), zWords);
  }
  for(i=0; i<4; i++){
    sqlite3_stmt *pStmt = NULL;
    snprintf(z, sizeof(z), "PRAGMA litestream_write_enabled=%s", azOff[i]);
    CHECK_INT(sqlite3_prepare_v2(db, z, -1, &pStmt, NULL), SQLITE_OK);
    CHECK_INT(sqlite3_step(pStmt), SQLITE_DONE);              /* no row */
    sqlite3_finalize(pStmt);
    snprintf(z, sizeof(z), "PRAGMA litestream_write_enabled=%s", azOn[i]);
    CHECK_TEXT(value(db, z), "Cannot set litestream_write_enabled: this replica is open for reading only");
  }
  CHECK_TEXT(value(db, "PRAGMA litestream_write_enabled=maybe"),
    "Cannot set litestream_write_enabled: \"maybe\", expected 0, 1, off, on, false or true");
  VALUE(db, "PRAGMA litestream_write_enabled", "0");
  VALUE(db, "PRAGMA litestream_hydration_progress", "0");
  VALUE(db, "PRAGMA litestream_hydration_file", "");
  VALUE(db, "PRAGMA LITESTREAM_TXID", TXID_3);
  CHECK_TEXT(value(db, "PRAGMA litestream_nonsense"), "unknown PRAGMA litestream_nonsense");
  CHECK_TEXT(value(db, "PRAGMA litestream_nonsense=1"), "unknown PRAGMA litestream_nonsense");
  CHECK_TEXT(value(db, "PRAGMA litestream_"), "unknown PRAGMA litestream_");
  VALUE(db, COUNT, "3");
  sqlite3_close(db);
  sourceEnd(&s);
  CHECK_EMPTY();
}

/* One field of PRAGMA litestream_stats, as a connection without us reads it. */
static const char *stat1(const Source *p, const char *zJson, const char *zField){
  char *z = sqlite3_mprintf("SELECT json_extract(%Q, '$.%s')", zJson, zField);
  const char *zFound = value(p->db, z);
  sqlite3_free(z);
  return zFound;
}

static void statsJson(void){
  Source s;
  sqlite3 *db;
  uint64_t a[LS_STAT_COUNT];
  char z[4096], zNumber[32];
  char *zSql;
  int i;
  threeStates(&s);
  if( strncmp(value(s.db, "SELECT json_valid('{}')"), "error", 5)==0 ){
    printf("# SQLite without JSON\n");
    sourceEnd(&s);
    return;
  }
  db = connectTo(&s);
  VALUE(db, COUNT, "3");
  for(i=0; i<4; i++){
    static const char *const azMoment[] = {"latest", "quoted", "long", "at 1"};
    char zSet[64];
    snprintf(zSet, sizeof(zSet), "PRAGMA litestream_time='%s'", azMoment[i]);
    sql(db, zSet);
    snprintf(z, sizeof(z), "%s", value(db, "PRAGMA litestream_stats"));
    zSql = sqlite3_mprintf("SELECT json_valid(%Q) AND json_type(%Q)='object'", z, z);
    VALUE(s.db, zSql, "1");
    sqlite3_free(zSql);
    if( i==0 ) CHECK(strcmp(stat1(&s, z, "time"), "2023-11-14T22:13:20.126Z")==0);
    if( i==1 ) CHECK(strcmp(stat1(&s, z, "time"), "the \"second\" \\ state\n\tof it")==0);
    if( i==2 ) CHECK_INT(strlen(stat1(&s, z, "time")), LS_MOMENT_SIZE-1);
    if( i==2 ) CHECK_INT(stat1(&s, z, "time")[199], 1);
    CHECK(strcmp(stat1(&s, z, "txid"), i==0 ? TXID_3 : i==3 ? TXID_1 : TXID_2)==0);
    CHECK(strcmp(stat1(&s, z, "pageSize"), "512")==0);
    CHECK(strcmp(stat1(&s, z, "lagSeconds"), "-1")==0);
    CHECK(atoll(stat1(&s, z, "ageSeconds"))>0);
  }
  VALUE(db, "SELECT litestream_time()", "moment 1");
  VALUE(db, COUNT, "500");
  ls_replica_polled(s.iReplica, "");
  snprintf(z, sizeof(z), "%s", value(db, "PRAGMA litestream_stats"));
  statsOf(&s, a);
  snprintf(zNumber, sizeof(zNumber), "%llu", (unsigned long long)a[LS_STAT_TRANSACTION]);
  CHECK(strcmp(stat1(&s, z, "transactions"), zNumber)==0);
  snprintf(zNumber, sizeof(zNumber), "%llu", (unsigned long long)a[LS_STAT_MISS]);
  CHECK(strcmp(stat1(&s, z, "misses"), zNumber)==0);
  CHECK(strcmp(stat1(&s, z, "lagSeconds"), "0")==0);
  CHECK(atoi(stat1(&s, z, "commit"))>50);
  sqlite3_close(db);
  sourceEnd(&s);
  CHECK_EMPTY();
}

/* A page as ls_view_page() gives it is what SQLite reads, but for the stamp on page 1. */
static void viewPages(void){
  Source s;
  sqlite3 *db;
  sqlite3_file *pFile;
  uint64_t a[LS_VIEW_WORDS], aNewest[LS_VIEW_WORDS];
  uint8_t aRead[512], aStored[512];
  uint32_t i, nDifferent = 0;
  int iTxid, j, nBusy;
  threeStates(&s);
  for(iTxid=1; iTxid<=3; iTxid++){
    char zMoment[16];
    snprintf(zMoment, sizeof(zMoment), "at %d", iTxid);
    db = connectAt(&s, zMoment);
    pFile = fileOf(db);
    CHECK_INT(pFile->pMethods->xLock(pFile, SQLITE_LOCK_SHARED), SQLITE_OK);
    CHECK_INT(ls_view_info(s.aPast[iTxid], a), 0);
    CHECK_INT(a[0], iTxid);
    CHECK_INT(a[2], 512);
    CHECK_INT(a[3], 1700000000123ll+iTxid);
    CHECK_INT(a[5], s.aPast[iTxid]);
    for(i=1, nBusy=0; i<=(uint32_t)a[1]; i++){
      int rc = ls_view_page(s.aPast[iTxid], i, aStored, 512);
      CHECK(rc==0 || rc==LS_BUSY);
      nBusy += rc==LS_BUSY;
      CHECK_INT(pFile->pMethods->xRead(pFile, aRead, 512, (sqlite3_int64)(i-1)*512), SQLITE_OK);
      CHECK_INT(ls_view_page(s.aPast[iTxid], i, aStored, 512), 0);         /* now it is in the pool */
      CHECK_INT(memcmp(aStored, s.apPast[iTxid]+(size_t)(i-1)*512, 512), 0);
      for(j=0; j<512; j++){
        int bStamped = i==1 && ((j>=18 && j<20) || (j>=24 && j<32) || (j>=92 && j<96));
        nDifferent += aRead[j]!=aStored[j] && !bStamped;
      }
    }
    CHECK(iTxid>1 || nBusy>50);
    CHECK_INT(ls_view_page(s.aPast[iTxid], 0, aStored, 512), LS_MISUSE);
    CHECK_INT(ls_view_page(s.aPast[iTxid], (uint32_t)a[1]+1, aStored, 512), LS_MISUSE);
    CHECK_INT(ls_view_page(s.aPast[iTxid], 1, aStored, 511), LS_MISUSE);
    pFile->pMethods->xUnlock(pFile, SQLITE_LOCK_NONE);
    sqlite3_close(db);
  }
  CHECK_INT(nDifferent, 0);
  CHECK_INT(ls_view_page(0, 1, aStored, 512), LS_MISUSE);
  CHECK_INT(ls_view_page(9999, 1, aStored, 512), LS_MISUSE);
  CHECK_INT(ls_view_info(9999, a), LS_MISUSE);
  CHECK_INT(ls_view_info(s.aPast[3], a), 0);
  CHECK_INT(ls_replica_view(s.iReplica, aNewest), 0);
  CHECK_INT(memcmp(a, aNewest, sizeof(a)), 0);                /* the same six words */
  sourceEnd(&s);
  CHECK_EMPTY();
}

/* Who holds a view by its handle is led to where its content lies now. */
static void viewHeld(void){
  Source s;
  sqlite3 *db;
  uint64_t a[LS_VIEW_WORDS];
  uint32_t aPlace[3], i;
  uint8_t aStored[512];
  int iHeld;
  threeStates(&s);
  iHeld = s.aPast[1];
  CHECK_INT(ls_view_hold(iHeld), 0);
  relocatePast(&s, 1, 0);                                     /* gives its own reference up */
  CHECK(s.aPast[1]!=iHeld);
  CHECK_INT(ls_view_info(iHeld, a), 0);
  CHECK_INT(a[0], 1);
  db = connectAt(&s, "at 1");
  VALUE(db, "PRAGMA integrity_check", "ok");
  for(i=1; i<=(uint32_t)a[1]; i++){
    CHECK_INT(ls_view_locate(iHeld, i, aPlace), 0);
    CHECK_INT(aPlace[0], s.aObject[s.nObject-1]);
    CHECK_INT(aPlace[2], 1);
    CHECK_INT(ls_view_page(iHeld, i, aStored, 512), 0);
    CHECK_INT(memcmp(aStored, s.apPast[1]+(size_t)(i-1)*512, 512), 0);
  }
  sqlite3_close(db);
  CHECK_INT(ls_view_release(iHeld), 0);
  CHECK_INT(ls_view_info(iHeld, a), LS_MISUSE);
  CHECK_INT(ls_view_hold(iHeld), LS_MISUSE);
  sourceEnd(&s);
  CHECK_EMPTY();
}

/* ls_view_changed() names a page whenever its content differs, and none that no file wrote anew. */
static void viewChanges(void){
  Source s;
  uint64_t aFrom[LS_VIEW_WORDS], aTo[LS_VIEW_WORDS];
  uint32_t aPage[4096], i;
  int iFrom, iTo, n, nAt;
  threeStates(&s);
  for(i=0; i<3; i++){
    sql(s.db, i==0 ? "INSERT INTO menu(dish) VALUES('bread')" : i==1 ? MENU_MORE : "DROP TABLE more; VACUUM");
    publish(&s);
  }
  for(iFrom=1; iFrom<=6; iFrom++){
    for(iTo=1; iTo<=6; iTo++){
      CHECK_INT(ls_view_info(s.aPast[iFrom], aFrom), 0);
      CHECK_INT(ls_view_info(s.aPast[iTo], aTo), 0);
      n = ls_view_changed(s.aPast[iFrom], s.aPast[iTo], 1, aPage, 4096);
      CHECK(n>=0 && n<4096 && (n==0)==(iFrom==iTo));
      for(i=1, nAt=0; i<=aFrom[1] || i<=aTo[1]; i++){
        int bTold = nAt<n && aPage[nAt]==i;
        int bOther = i>aFrom[1] || i>aTo[1]
          || memcmp(s.apPast[iFrom]+(size_t)(i-1)*512, s.apPast[iTo]+(size_t)(i-1)*512, 512)!=0;
        CHECK(bTold || !bOther);
        nAt += bTold;
      }
      CHECK_INT(nAt, n);
    }
  }
  n = ls_view_changed(s.aPast[3], s.aPast[4], 1, aPage, 4096);
  CHECK(n>0 && n<6);                                          /* one row */
  CHECK_INT(aPage[0], 1);
  CHECK(aFrom[1]<3000);
  sourceEnd(&s);
  CHECK_EMPTY();
}

/* ------------------------------------------------------------------------------------------- many threads */

static atomic_int iNewestTxid;

/* The row says which state it is of; the function must say the same. */
static void checkState(sqlite3 *db, int iTxid){
  char zWanted[32];
  sqlite3_stmt *pStmt = NULL;
  int rc = sqlite3_prepare_v2(db, "SELECT v, litestream_txid(), (SELECT count(*) FROM filler WHERE v=(SELECT v FROM state)) "
    "FROM state", -1, &pStmt, NULL);
  if( rc==SQLITE_OK ) rc = sqlite3_step(pStmt);
  CHECK_INT(rc, SQLITE_ROW);
  if( rc==SQLITE_ROW ){
    int iFound = sqlite3_column_int(pStmt, 0);
    if( iTxid ) CHECK_INT(iFound, iTxid);
    snprintf(zWanted, sizeof(zWanted), "%016x", (unsigned)iFound);
    CHECK_TEXT((const char*)sqlite3_column_text(pStmt, 1), zWanted);
    CHECK_INT(sqlite3_column_int(pStmt, 2), 40);
  }
  sqlite3_finalize(pStmt);
}

static void *moveOn(void *pArg){
  uint64_t iSeed = 77+(uint64_t)(size_t)pArg;
  sqlite3 *db = connectTo(pShared);
  sql(db, "PRAGMA cache_size=4");
  while( atomic_load(&bWatching) ){
    char z[64];
    int iTxid = 1+(int)randomBelow(&iSeed, (uint32_t)atomic_load(&iNewestTxid));
    if( randomBelow(&iSeed, 4)==0 ) iTxid = 0;
    snprintf(z, sizeof(z), "PRAGMA litestream_time='at %d'", iTxid);
    sql(db, iTxid ? z : "PRAGMA litestream_time=latest");
    sql(db, "BEGIN");
    checkState(db, iTxid);
    checkState(db, iTxid);
    sql(db, "COMMIT");
    atomic_fetch_add(&nRead, 1);
  }
  sqlite3_close(db);
  return NULL;
}

static void *readNewest(void *pArg){
  sqlite3 *db = connectTo(pShared);
  (void)pArg;
  while( atomic_load(&bWatching) ){
    checkState(db, 0);
    atomic_fetch_add(&nRead, 1);
  }
  sqlite3_close(db);
  return NULL;
}

static void *lookOn(void *pArg){
  (void)pArg;
  while( atomic_load(&bWatching) ){
    uint64_t a[LS_VIEW_WORDS], msLag;
    uint32_t aPage[64];
    uint8_t aOut[512];
    int i;
    CHECK(pinned(pShared)<=6);
    for(i=1; i<40; i++){
      int rc = ls_view_info(i, a);
      CHECK(rc==0 || rc==LS_MISUSE);
      rc = ls_view_changed(i, i+1, 1, aPage, 64);
      CHECK(rc>=0 || rc==LS_MISUSE);
      rc = ls_view_page(i, 1, aOut, 512);
      CHECK(rc==0 || rc==LS_MISUSE || rc==LS_BUSY);
    }
    ls_replica_polled(pShared->iReplica, "");
    ls_replica_polled(pShared->iReplica, "NetworkError: no route");
    ls_replica_limit(pShared->iReplica, 1000000);
    CHECK_INT(ls_replica_lag(pShared->iReplica, &msLag), 0);
    ls_replica_nudge(pShared->iReplica);
    ls_replica_block(pShared->iReplica, "");
  }
  return NULL;
}

static void movesWhileOthersRead(void){
  enum { THREADS = 6 };
  pthread_t aThread[THREADS];
  int nMove = setting("MOVES", 30), i, j;
  Source s;
  if( nMove>FILES_MAX/3 ) nMove = FILES_MAX/3;
  sourceBegin(&s, 512, "CREATE TABLE state(v); INSERT INTO state VALUES(1); CREATE TABLE filler(v, x);"
    "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<40) INSERT INTO filler SELECT 1, zeroblob(200) FROM c");
  keepStates(&s);
  pShared = &s;
  atomic_store(&iNewestTxid, 1);
  atomic_store(&nRead, 0);
  atomic_store(&bWatching, 1);
  for(i=0; i<THREADS; i++){
    NEED(pthread_create(&aThread[i], NULL, i<2 ? moveOn : i<5 ? readNewest : lookOn, (void*)(size_t)i)==0);
  }
  for(i=2; i<=nMove; i++){
    int nBefore = atomic_load(&nRead);
    sql(s.db, "UPDATE state SET v=v+1; UPDATE filler SET v=v+1");
    publish(&s);
    atomic_store(&iNewestTxid, i);
    relocatePast(&s, 1+i/2, 1);                               /* while it is read, perhaps */
    for(j=0; j<30000 && atomic_load(&nRead)<nBefore+4; j++) sleepMs(1);
    CHECK(atomic_load(&nRead)>=nBefore+4);
  }
  atomic_store(&bWatching, 0);
  for(i=0; i<THREADS; i++) pthread_join(aThread[i], NULL);
  CHECK_INT(pinned(&s), 0);
  printf("# %d transactions at %d states\n", atomic_load(&nRead), nMove);
  sourceEnd(&s);
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

/* With a store that hangs, and with states that come and go, all an open reads is with its ticket. */
static void openReadsNothing(void){
  static const char *const azMoment[] = {"", "at 1", "beside 2", "latest"};
  Source s;
  sqlite3 *adb[4];
  char azPath[4][64], z[LS_ERROR_SIZE];
  int64_t msStart;
  int i, n;
  threeStates(&s);
  for(i=0; i<4; i++) snprintf(azPath[i], sizeof(azPath[i]), "/sentinel/%d.db", ls_replica_ticket(s.iReplica, 20000, azMoment[i]));
  sql(s.db, "INSERT INTO menu(dish) VALUES('newer')");
  publish(&s);
  pthread_mutex_lock(&core.mu);
  core.bMute = 1;
  core.nHeld = 0;
  pthread_mutex_unlock(&core.mu);
  msStart = nowMs();
  for(i=0; i<4; i++) CHECK_INT(openInWindow(azPath[i], &adb[i]), SQLITE_OK);
  CHECK(nowMs()-msStart<5000);
  pthread_mutex_lock(&core.mu);
  CHECK_INT(core.nHeld, 0);
  pthread_mutex_unlock(&core.mu);
  for(i=0; i<2; i++){                              /* page 1 of the newer state is nowhere yet */
    CHECK_INT(ls_replica_ticket(s.iReplica, 30, ""), LS_REFUSED);
    n = ls_open_error((uint8_t*)z, LS_ERROR_SIZE-1);
    z[n>0 ? n : 0] = 0;
    CHECK_TEXT(z, "DeadlineError: Cannot read page: no answer within 30 ms");
  }
  pthread_mutex_lock(&core.mu);
  CHECK_INT(core.nHeld, 2);
  core.bMute = 0;
  core.nHeld = 0;
  pthread_mutex_unlock(&core.mu);
  VALUE(adb[0], COUNT, "4");
  VALUE(adb[1], COUNT, "500");
  VALUE(adb[2], TXID, "0000000000000002");
  VALUE(adb[3], COUNT, "4");
  for(i=0; i<4; i++) sqlite3_close(adb[i]);
  sourceEnd(&s);
  CHECK_EMPTY();
}

static void *leavesWindow(void *pArg){
  (void)pArg;
  CHECK_INT(ls_host_begin(iHost), 0);
  CHECK_INT(ls_host_begin(iHost), LS_MISUSE);      /* not twice on one thread */
  CHECK(sqlite3_vfs_find(NULL)==sqlite3_vfs_find("litestream"));
  return NULL;
}

static void *endsForeignWindow(void *pArg){
  (void)pArg;
  CHECK_INT(ls_host_end(iHost), LS_MISUSE);
  return NULL;
}

/* A worker that is terminated in connect() ends there. */
static void windowThreadEnds(void){
  sqlite3_vfs *pDefault = sqlite3_vfs_find(NULL);
  pthread_t thread, threadOther;
  int64_t msStart = nowMs();
  int i;
  for(i=0; i<20; i++){
    NEED(pthread_create(&thread, NULL, leavesWindow, NULL)==0);
    if( i%2 ) pthread_join(thread, NULL);
    if( i%2 ) CHECK(sqlite3_vfs_find(NULL)==pDefault);
    CHECK_INT(ls_host_begin(iHost), 0);            /* waits for that thread's end, perhaps */
    NEED(pthread_create(&threadOther, NULL, endsForeignWindow, NULL)==0);
    pthread_join(threadOther, NULL);
    CHECK_INT(ls_host_end(iHost), 0);
    if( i%2==0 ) pthread_join(thread, NULL);
    CHECK(sqlite3_vfs_find(NULL)==pDefault);
  }
  CHECK(nowMs()-msStart<10000);
}

/* What is set while a window is open holds from its end on. */
static void windowAndDefault(void){
  sqlite3_vfs *pDefault = sqlite3_vfs_find(NULL), *pOurs = sqlite3_vfs_find("litestream");
  CHECK_INT(ls_host_begin(iHost), 0);
  CHECK_INT(ls_host_default(iHost, 1), 0);
  CHECK_INT(ls_host_end(iHost), 0);
  CHECK(sqlite3_vfs_find(NULL)==pOurs);
  CHECK_INT(ls_host_begin(iHost), 0);
  CHECK_INT(ls_host_default(iHost, 0), 0);
  CHECK(sqlite3_vfs_find(NULL)==pOurs);
  CHECK_INT(ls_host_end(iHost), 0);
  CHECK(sqlite3_vfs_find(NULL)==pDefault);
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
  core.xMoment = findMoment;
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
  RUN("ls_replica_interrupt() ends what computes, and nothing else", interruptsComputing);
  RUN("ATTACH of a local file and VACUUM INTO work", attachAndVacuum);
  RUN("a transaction survives thirty relocations", relocatedOften);
  RUN("replicas of two page sizes live side by side", twoPageSizes);
  RUN("moments: a connection moves to a moment, to another and back to the newest", moments);
  RUN("moments: three hundred reads at moments chosen at random", momentsAtRandom);
  RUN("moments: a ticket opens at a moment, or is refused with words", momentTicket);
  RUN("moments: refused with words, and the connection stays where it was", momentRefused);
  RUN("moments: a connection with one view for life takes one before its first read", momentForLife);
  RUN("moments: connections of one replica are at different ones", momentsApart);
  RUN("moments: an attached replica has a moment of its own", momentAttached);
  RUN("pins: a past state is read on while its files move", pastMoves);
  RUN("pins: ls_replica_pins() counts the transactions of each view", pins);
  RUN("block: nothing begins on the newest state, what is open goes on", blocked);
  RUN("block: a connection with one view for life opens, and reads when it may", blockedForLife);
  RUN("block: no transaction begins once ls_replica_block() has returned", blockedAtOnce);
  RUN("stale: nothing begins on a state last seen too long ago", stale);
  RUN("nudge: the core hears of it", nudged);
  RUN("PRAGMAs: what cannot be set says so", pragmas);
  RUN("PRAGMAs: litestream_stats is a JSON object whatever the moment's words", statsJson);
  RUN("views: ls_view_page() gives what SQLite reads, unstamped", viewPages);
  RUN("views: a handle leads to where the content lies now", viewHeld);
  RUN("views: ls_view_changed() names every page whose content differs", viewChanges);
  RUN("threads: connections move between moments while others read and states are published", movesWhileOthersRead);
  RUN("window: an open asks the core for nothing", openReadsNothing);
  RUN("window: it closes with its thread", windowThreadEnds);
  RUN("window: ls_host_default() meanwhile holds from its end on", windowAndDefault);
  RUN("the default VFS stays what it was under eight threads of opens", window);
  coreEnd(&core);
  rmdir(zFolder);
  return finish();
}
