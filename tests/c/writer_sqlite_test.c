/*
** The write log under SQLite: what an application meets where a commit fails, and that the log's files,
** replayed into a database of their own, are what the connections see.
*/
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "harness.h"

#define PAGE_SIZE   4096
#define LOG_HEAD    64
#define FRAME_HEAD  40
#define PAGES_MAX   4096
#define FRAME_SIZE  (PAGE_SIZE+FRAME_HEAD)
#define BYTES_MAX   ((uint64_t)1<<40)
#define FILL "INSERT INTO t WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM s LIMIT 900)" \
  " SELECT i, zeroblob(3000) FROM s"       /* several times what stays in memory */

static const uint8_t aBase[24] = "what the log is on top";

static TestCore core;
static char zFolder[128];

typedef struct TestReplica {
  int iReplica, iView;
  char zPath[160];
} TestReplica;

static TestReplica aReplica[2], *pNow = aReplica;      /* the one that is meant below */
static LtxFile *apLtx[CORE_OBJECTS];
static int aObject[CORE_OBJECTS], nObject;

static uint32_t get32(const uint8_t *a){
  return (uint32_t)a[0]<<24 | (uint32_t)a[1]<<16 | (uint32_t)a[2]<<8 | (uint32_t)a[3];
}
static uint64_t get64(const uint8_t *a){ return (uint64_t)get32(a)<<32 | get32(a+4); }

/* ---------------------------------------------------------------------------------------- replica, SQLite */

/* A new database, of which nByteMax bytes may wait to be stored. */
static void replicaOpen(uint64_t nByteMax){
  int iMap;
  pthread_mutex_lock(&core.mu);
  pNow->iReplica = ls_replica_new(core.iCore, 60000);
  NEED(pNow->iReplica>0);
  iMap = ls_map_new(0, PAGE_SIZE);
  pNow->iView = ls_map_view(iMap, pNow->iReplica, 0, 0, (uint32_t)ls_writer_stamp(), 0);
  NEED(pNow->iView>0 && ls_view_publish(pNow->iView)==0);
  CHECK_INT(ls_writer_open(pNow->iReplica, pNow->zPath, 1, aBase, nByteMax), 0);
  pthread_mutex_unlock(&core.mu);
}

/* Objects that nothing but the core names any more go, with their pages. */
static void sweep(void){
  int i, n = 0;
  for(i=0; i<nObject; i++){
    if( ls_object_refs(aObject[i])==1 ){
      coreDropObject(&core, aObject[i]);
      ltxFree(apLtx[aObject[i]]);
    }else{
      aObject[n++] = aObject[i];
    }
  }
  nObject = n;
}

static const char *logName(int iSeq){
  static char z[200];
  snprintf(z, sizeof(z), "%s.%d", pNow->zPath, iSeq);
  return z;
}

static void replicaClose(void){
  char z[200];
  int i;
  pthread_mutex_lock(&core.mu);
  CHECK_INT(ls_writer_close(pNow->iReplica), 0);
  CHECK_INT(ls_view_release(pNow->iView), 0);
  CHECK_INT(ls_replica_close(pNow->iReplica), 0);
  sweep();
  pthread_mutex_unlock(&core.mu);
  for(i=1; unlink(logName(i))==0; i++){}
  snprintf(z, sizeof(z), "%s.lock", pNow->zPath);
  CHECK_INT(unlink(z), 0);
}

static void replicaEnd(void){
  replicaClose();
  CHECK_INT(nObject, 0);
  CHECK_EMPTY();
}

/* A name that SQLite opens the replica by, once. */
static const char *dbName(void){
  static char z[64];
  int iTicket = ls_replica_ticket(pNow->iReplica, 60000, "");
  NEED(iTicket>0);
  snprintf(z, sizeof(z), "/sentinel/%d.db", iTicket);
  return z;
}

static sqlite3 *dbOpen(void){
  sqlite3 *db = NULL;
  NEED(sqlite3_open_v2(dbName(), &db, SQLITE_OPEN_READWRITE, "litestream")==SQLITE_OK);
  sqlite3_extended_result_codes(db, 1);
  return db;
}

static int sql(sqlite3 *db, const char *z){ return sqlite3_exec(db, z, NULL, NULL, NULL); }

static void must(sqlite3 *db, const char *z){
  char *zErr = NULL;
  int rc = sqlite3_exec(db, z, NULL, NULL, &zErr);
  if( rc ) checkFailed(__FILE__, __LINE__, "%d %s: %s", rc, zErr ? zErr : "", z);
  sqlite3_free(zErr);
}

/* The first column of the first row; -1 when there is none. */
static sqlite3_int64 number(sqlite3 *db, const char *z){
  sqlite3_stmt *p = NULL;
  sqlite3_int64 i = -1;
  int rc = sqlite3_prepare_v2(db, z, -1, &p, NULL);
  if( rc==SQLITE_OK ) rc = sqlite3_step(p);
  if( rc==SQLITE_ROW ) i = sqlite3_column_int64(p, 0);
  else checkFailed(__FILE__, __LINE__, "%d %s: %s", rc, sqlite3_errmsg(db), z);
  sqlite3_finalize(p);
  return i;
}

static sqlite3_int64 rows(sqlite3 *db){ return number(db, "SELECT count(*) FROM t"); }
static sqlite3_int64 sum(sqlite3 *db){ return number(db, "SELECT total(a) FROM t"); }
static sqlite3_int64 tables(sqlite3 *db){ return number(db, "SELECT count(*) FROM sqlite_schema"); }
static sqlite3_int64 faults(sqlite3 *db){
  return number(db, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check<>'ok'");
}

/* ------------------------------------------------------------------------------------------------ the log */

/* A database as the log's files make it. */
typedef struct Image {
  uint8_t *aByte;
  uint32_t szPage, iCommit;
  int nTransaction;
} Image;

/* A whole file, to be freed; NULL when there is none. */
static uint8_t *logBytes(int iSeq, size_t *pn){
  struct stat st;
  uint8_t *a;
  ssize_t k = 0;
  int fd = open(logName(iSeq), O_RDONLY);
  if( fd<0 ) return NULL;
  NEED(fstat(fd, &st)==0);
  a = malloc((size_t)st.st_size+1);
  NEED(a!=NULL);
  for(*pn=0; (k = read(fd, a+*pn, (size_t)st.st_size-*pn))>0; *pn += (size_t)k){}
  NEED(k==0);
  close(fd);
  return a;
}

/* A transaction's frames; pages past its end are gone. */
static void imageApply(Image *p, const uint8_t *aFrame, size_t nFrame, uint32_t szPage, uint32_t iCommit){
  size_t i, szFrame = (size_t)szPage+FRAME_HEAD;
  NEED(iCommit<=PAGES_MAX);
  CHECK(p->szPage==0 || p->szPage==szPage);
  if( p->aByte==NULL ) p->aByte = sqlite3_malloc64((uint64_t)PAGES_MAX*szPage);
  NEED(p->aByte!=NULL);
  p->szPage = szPage;
  for(i=0; i<nFrame; i++){
    uint32_t iPgno = get32(aFrame+i*szFrame);
    if( iPgno<=iCommit ) memcpy(p->aByte+(size_t)(iPgno-1)*szPage, aFrame+i*szFrame+FRAME_HEAD, szPage);
  }
  p->iCommit = iCommit;
  p->nTransaction++;
}

/* Goes through a file as its format says; returns where its last commit ends. */
static size_t imageReplay(Image *p, int iSeq){
  size_t n = 0, iAt = LOG_HEAD, iEnd = LOG_HEAD, szFrame;
  uint8_t *a = logBytes(iSeq, &n);
  uint64_t crc;
  if( a==NULL ) return 0;
  NEED(n>=LOG_HEAD && memcmp(a, "LSWL", 4)==0 && get64(a+56)==~crcBits(~0ull, a, 56));
  szFrame = (size_t)get32(a+8)+FRAME_HEAD;
  crc = crcBits(~0ull, a, LOG_HEAD);
  for(; iAt+szFrame<=n; iAt+=szFrame){
    crc = crcBits(crcBits(crc, a+iAt, 32), a+iAt+FRAME_HEAD, szFrame-FRAME_HEAD);
    if( get64(a+iAt+32)!=~crc ) break;
    if( get32(a+iAt+4)==0 ) continue;
    imageApply(p, a+iEnd, (iAt+szFrame-iEnd)/szFrame, get32(a+8), get32(a+iAt+4));
    iEnd = iAt+szFrame;
  }
  free(a);
  return iEnd;
}

static size_t logEnd(int iSeq){
  Image image;
  size_t iEnd;
  memset(&image, 0, sizeof(image));
  iEnd = imageReplay(&image, iSeq);
  sqlite3_free(image.aByte);
  return iEnd;
}

/* The files hold so many transactions, which make the database that a new connection sees. */
static void checkLog(int nLog, int nTransaction){
  Image image;
  sqlite3 *db = dbOpen(), *dbImage = NULL;
  int i;
  memset(&image, 0, sizeof(image));
  for(i=1; i<=nLog; i++) CHECK(imageReplay(&image, i)>0);
  CHECK(access(logName(nLog+1), F_OK)!=0);
  CHECK_INT(image.nTransaction, nTransaction);
  NEED(image.aByte!=NULL && sqlite3_open(":memory:", &dbImage)==SQLITE_OK);
  NEED(sqlite3_deserialize(dbImage, "main", image.aByte, (sqlite3_int64)image.iCommit*image.szPage,
    (sqlite3_int64)PAGES_MAX*image.szPage, SQLITE_DESERIALIZE_FREEONCLOSE)==SQLITE_OK);
  CHECK_INT(faults(dbImage)+faults(db), 0);
  CHECK_INT(rows(dbImage), rows(db));
  CHECK_INT(sum(dbImage), sum(db));
  CHECK_INT(tables(dbImage), tables(db));
  CHECK_INT(number(dbImage, "PRAGMA page_count"), number(db, "PRAGMA page_count"));
  CHECK_INT(number(dbImage, "PRAGMA page_size"), number(db, "PRAGMA page_size"));
  sqlite3_close(dbImage);
  sqlite3_close(db);
}

static void imageFill(void *pArg, uint32_t iPgno, uint8_t *aPage, uint32_t szPage){
  memcpy(aPage, ((Image*)pArg)->aByte+(size_t)(iPgno-1)*szPage, szPage);
}

/* A view of what the files up to iLast make, over which nothing of the log is seen. Caller holds core.mu. */
static int viewMake(int iLast, uint64_t iTxid, uint32_t iStamp){
  static uint32_t aPgno[PAGES_MAX];
  Image image;
  LtxFile *p;
  int i, iObject, iMap;
  memset(&image, 0, sizeof(image));
  for(i=1; i<=iLast; i++) imageReplay(&image, i);
  for(i=0; i<(int)image.iCommit; i++) aPgno[i] = (uint32_t)i+1;
  p = ltxBuild(image.szPage, image.iCommit, 1, aPgno, image.iCommit, imageFill, &image, ENCODE_BLOCK);
  iObject = ltxObject(p, pNow->iReplica, PAGES_MAX);
  NEED(iObject>0 && iObject<CORE_OBJECTS);
  core.apFile[iObject] = apLtx[iObject] = p;
  aObject[nObject++] = iObject;
  iMap = ls_map_new(0, (int)image.szPage);
  NEED(iMap>0 && ls_map_apply(iMap, iObject, 0, PAGES_MAX)==0);
  i = ls_map_view(iMap, pNow->iReplica, iTxid, image.iCommit, iStamp, 1000);
  NEED(i>0);
  sqlite3_free(image.aByte);
  return i;
}

/* A view takes the place of the newest one. Caller holds core.mu. */
static void viewTake(int iNew, uint32_t iUpTo, uint64_t iTxid){
  CHECK_INT(ls_writer_base(pNow->iReplica, iNew, iUpTo, iTxid), 0);
  CHECK_INT(ls_view_release(pNow->iView), 0);
  pNow->iView = iNew;
  sweep();
}

/* A TXID ends, with which all that was committed is in a new view. */
static void store(void){
  uint64_t aWord[LS_WRITER_WORDS];
  pthread_mutex_lock(&core.mu);
  CHECK_INT(ls_writer_seal(pNow->iReplica, aWord), 1);
  viewTake(viewMake((int)aWord[4], aWord[0], (uint32_t)aWord[6]), (uint32_t)aWord[5], aWord[0]+1);
  pthread_mutex_unlock(&core.mu);
}

/* The same by another writer, who changed nothing. */
static void storeForeign(void){
  uint64_t aWord[LS_WRITER_WORDS];
  pthread_mutex_lock(&core.mu);
  CHECK_INT(ls_writer_state(pNow->iReplica, aWord), 0);
  viewTake(viewMake((int)aWord[4], aWord[0], (uint32_t)ls_writer_stamp()), LS_WRITER_FOREIGN, aWord[0]+1);
  CHECK_INT(ls_writer_settle(pNow->iReplica, aWord[0]+1), 0);
  pthread_mutex_unlock(&core.mu);
}

/* No file may grow past nByte bytes; 0: any may. */
static void fileLimit(uint64_t nByte){
  struct rlimit limit;
  fflush(stdout);
  NEED(getrlimit(RLIMIT_FSIZE, &limit)==0);
  limit.rlim_cur = nByte ? (rlim_t)nByte : limit.rlim_max;
  NEED(setrlimit(RLIMIT_FSIZE, &limit)==0);
}

/* The next commit begins a new file; what is there is not stored. */
static void seal(void){
  uint64_t aWord[LS_WRITER_WORDS];
  CHECK_INT(ls_writer_seal(pNow->iReplica, aWord), 1);
}

static void folderMove(int bAway){
  char z[160];
  snprintf(z, sizeof(z), "%s.away", zFolder);
  NEED(rename(bAway ? zFolder : z, bAway ? z : zFolder)==0);
}

/* ---------------------------------------------------------------------------------------------- the tests */

static void testPageSize(void){
  sqlite3 *db;
  Image image;
  replicaOpen(BYTES_MAX);
  db = dbOpen();
  must(db, "PRAGMA cache_size=10; BEGIN; CREATE TABLE t(a,b); " FILL);
  CHECK(logEnd(1)>0);
  must(db, "ROLLBACK");
  sqlite3_close(db);
  db = dbOpen();
  must(db, "PRAGMA page_size=1024; CREATE TABLE t(a,b); INSERT INTO t VALUES(1,2)");
  CHECK_INT(rows(db), 1);
  CHECK_INT(number(db, "PRAGMA page_size"), 1024);
  sqlite3_close(db);
  memset(&image, 0, sizeof(image));
  CHECK_INT(imageReplay(&image, 1), LOG_HEAD);
  CHECK_INT(image.nTransaction, 0);
  checkLog(2, 2);
  replicaEnd();
}

/*
** With locking_mode=EXCLUSIVE the reservation is kept over a commit that failed and what comes after it: it fails at its end
** where so many frames have place, else at one of its pages.
*/
static void exclusiveSpill(const char *zPragma, int nFrame){
  sqlite3 *db;
  size_t iEnd;
  replicaOpen(BYTES_MAX);
  db = dbOpen();
  must(db, zPragma);
  must(db, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA cache_size=2000; CREATE TABLE t(a,b)");
  must(db, "INSERT INTO t VALUES(0,0)");
  iEnd = logEnd(1);
  must(db, "BEGIN; " FILL);
  fileLimit(iEnd+(uint64_t)nFrame*FRAME_SIZE);
  CHECK_INT(sql(db, "COMMIT"), SQLITE_FULL);
  fileLimit(0);
  CHECK_INT(sqlite3_get_autocommit(db), 1);
  CHECK_INT(rows(db), 1);
  CHECK_INT(faults(db), 0);
  checkLog(1, 2);
  must(db, "INSERT INTO t VALUES(-1,0)");
  CHECK_INT(rows(db), 2);
  CHECK_INT(sum(db), -1);
  checkLog(1, 3);
  must(db, FILL);
  CHECK_INT(rows(db), 902);
  checkLog(1, 4);
  sqlite3_close(db);
  replicaEnd();
}

static void testExclusiveSpill(void){ exclusiveSpill("PRAGMA journal_mode=DELETE", 800); }
static void testExclusiveSpillOff(void){ exclusiveSpill("PRAGMA journal_mode=OFF", 600); }

static void testExclusiveSmall(void){
  sqlite3 *db;
  size_t iEnd;
  replicaOpen(BYTES_MAX);
  db = dbOpen();
  must(db, "PRAGMA locking_mode=EXCLUSIVE; CREATE TABLE t(a,b); INSERT INTO t VALUES(0,0)");
  iEnd = logEnd(1);
  must(db, "BEGIN; INSERT INTO t VALUES(5,5); INSERT INTO t VALUES(6,6)");
  fileLimit(iEnd+100);
  CHECK_INT(sql(db, "COMMIT"), SQLITE_FULL);
  fileLimit(0);
  CHECK_INT(rows(db), 1);
  checkLog(1, 2);
  must(db, "CREATE TABLE u(a)");
  CHECK_INT(rows(db), 1);
  CHECK_INT(number(db, "SELECT count(*) FROM u"), 0);
  checkLog(1, 3);
  sqlite3_close(db);
  replicaEnd();
}

/* SQLite has done away with its journal when page 1 alone has no place: the commit fails at that, and nothing of it stays. */
static void testExclusiveHead(void){
  sqlite3 *db;
  replicaOpen(BYTES_MAX);
  db = dbOpen();
  must(db, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA cache_size=2000; CREATE TABLE t(a,b); " FILL);
  must(db, "BEGIN; UPDATE t SET a=-a WHERE rowid BETWEEN 10 AND 263");       /* as many pages as are buffered */
  fileLimit(logEnd(1)+100);
  CHECK_INT(sql(db, "COMMIT"), SQLITE_FULL);
  fileLimit(0);
  CHECK_INT(sum(db), 405450);
  checkLog(1, 2);
  must(db, "INSERT INTO t VALUES(1000,0)");
  CHECK_INT(sum(db), 406450);
  CHECK_INT(faults(db), 0);
  checkLog(1, 3);
  sqlite3_close(db);
  replicaEnd();
}

/* SQLite would have a WAL then: it writes its mark into page 1 before it looks for one. */
static void testExclusiveWal(void){
  sqlite3 *db;
  replicaOpen(BYTES_MAX);
  db = dbOpen();
  must(db, "PRAGMA locking_mode=EXCLUSIVE; CREATE TABLE t(a,b); PRAGMA journal_mode=WAL; INSERT INTO t VALUES(0,0)");
  CHECK_INT(rows(db), 1);
  must(db, "PRAGMA main.journal_mode = 'wal'; INSERT INTO t VALUES(1,1)");
  CHECK_INT(rows(db), 2);
  sqlite3_close(db);
  replicaEnd();
}

static void testFolderGone(void){
  sqlite3 *db;
  replicaOpen(BYTES_MAX);
  db = dbOpen();
  must(db, "CREATE TABLE t(a,b); INSERT INTO t VALUES(1,1)");
  seal();
  folderMove(1);
  must(db, "BEGIN; INSERT INTO t VALUES(2,2)");
  CHECK_INT(sql(db, "COMMIT"), SQLITE_IOERR_WRITE);
  CHECK_INT(sqlite3_get_autocommit(db), 1);
  CHECK_INT(rows(db), 1);
  folderMove(0);
  checkLog(1, 2);
  must(db, "INSERT INTO t VALUES(3,3)");
  CHECK_INT(rows(db), 2);
  CHECK_INT(sum(db), 4);
  sqlite3_close(db);
  checkLog(2, 3);
  replicaEnd();
}

static void testExclusiveFolderGone(void){
  sqlite3 *db;
  replicaOpen(BYTES_MAX);
  db = dbOpen();
  must(db, "PRAGMA locking_mode=EXCLUSIVE; CREATE TABLE t(a,b)");
  sqlite3_close(db);
  seal();
  db = dbOpen();
  must(db, "PRAGMA locking_mode=EXCLUSIVE; SELECT * FROM t");
  folderMove(1);
  CHECK_INT(sql(db, "INSERT INTO t VALUES(2,2)"), SQLITE_IOERR_WRITE);
  folderMove(0);
  CHECK_INT(rows(db), 0);
  must(db, "INSERT INTO t VALUES(3,3)");
  CHECK_INT(rows(db), 1);
  checkLog(2, 2);
  sqlite3_close(db);
  replicaEnd();
}

/* A transaction that is under way can be committed; none can be begun. */
static void testSwitchedOff(void){
  sqlite3 *db;
  replicaOpen(BYTES_MAX);
  db = dbOpen();
  must(db, "CREATE TABLE t(a,b)");
  must(db, "BEGIN IMMEDIATE; INSERT INTO t VALUES(2,2)");
  CHECK_INT(ls_writer_switch(pNow->iReplica, 0), 1);
  must(db, "COMMIT");
  CHECK_INT(sql(db, "INSERT INTO t VALUES(3,3)"), SQLITE_READONLY);
  CHECK_INT(rows(db), 1);
  checkLog(1, 2);
  CHECK_INT(ls_writer_switch(pNow->iReplica, 1), 0);
  must(db, "INSERT INTO t VALUES(4,4)");
  CHECK_INT(sum(db), 6);
  sqlite3_close(db);
  checkLog(1, 3);
  replicaEnd();
}

/* What was written when writing ended cannot be committed, and is undone. */
static void faultOver(const char *zPragma){
  sqlite3 *db;
  replicaOpen(BYTES_MAX);
  db = dbOpen();
  must(db, zPragma);
  must(db, "CREATE TABLE t(a,b); BEGIN; " FILL);
  CHECK_INT(ls_writer_fault(pNow->iReplica, "ConflictError: so it is"), 0);
  CHECK_INT(sql(db, "COMMIT") & 0xff, SQLITE_IOERR);
  if( sqlite3_get_autocommit(db)==0 ) must(db, "ROLLBACK");
  CHECK_INT(rows(db), 0);
  CHECK_INT(sql(db, "INSERT INTO t VALUES(3,3)") & 0xff, SQLITE_IOERR);
  CHECK_INT(rows(db), 0);
  checkLog(1, 1);
  sqlite3_close(db);
  replicaEnd();
}

static void testFault(void){ faultOver("PRAGMA cache_size=10"); }
static void testFaultExclusive(void){ faultOver("PRAGMA cache_size=2000; PRAGMA locking_mode=EXCLUSIVE"); }

/* Who committed reads on in files that are stored by then: with a statement open, or with the reservation. */
static void testCommitterReads(void){
  sqlite3 *db;
  sqlite3_stmt *p = NULL;
  replicaOpen(BYTES_MAX);
  db = dbOpen();
  must(db, "PRAGMA cache_size=2; CREATE TABLE t(a,b); " FILL);
  NEED(sqlite3_prepare_v2(db, "SELECT a FROM t", -1, &p, NULL)==SQLITE_OK && sqlite3_step(p)==SQLITE_ROW);
  must(db, "UPDATE t SET a=-a");
  store();
  must(db, "UPDATE t SET a=-a");
  store();
  CHECK_INT(rows(db), 900);
  CHECK_INT(faults(db), 0);
  sqlite3_finalize(p);
  must(db, "PRAGMA locking_mode=EXCLUSIVE");
  must(db, "UPDATE t SET a=-a");
  store();
  must(db, "UPDATE t SET a=-a");
  store();
  must(db, "UPDATE t SET a=a+1");
  CHECK_INT(rows(db), 900);
  CHECK_INT(faults(db), 0);
  sqlite3_close(db);
  db = dbOpen();
  CHECK_INT(sum(db), 406350);
  sqlite3_close(db);
  replicaEnd();
}

/* EXCLUSIVE: too much waits, or writing is switched off: nothing more is committed until that is over. */
static void exclusiveBound(const char *zPragma){
  sqlite3 *db;
  int i;
  replicaOpen(40*FRAME_SIZE);
  db = dbOpen();
  must(db, zPragma);
  must(db, "PRAGMA locking_mode=EXCLUSIVE; CREATE TABLE t(a,b); " FILL);
  for(i=0; i<2; i++){
    CHECK(sql(db, "INSERT INTO t VALUES(1000,0)")!=SQLITE_OK);
    if( sqlite3_get_autocommit(db)==0 ) must(db, "ROLLBACK");
    must(db, "BEGIN; DELETE FROM t WHERE a<50");
    CHECK(sql(db, "COMMIT")!=SQLITE_OK);
    if( sqlite3_get_autocommit(db)==0 ) must(db, "ROLLBACK");
    CHECK_INT(rows(db), 900+i);
    CHECK_INT(faults(db), 0);
    checkLog(1+i, 2+i);
    if( i ) CHECK_INT(ls_writer_switch(pNow->iReplica, 1), 1);
    else store();
    must(db, i ? "INSERT INTO t VALUES(1001,1)" : "INSERT INTO t VALUES(1000,0)");
    checkLog(2, 3+i);
    CHECK_INT(ls_writer_switch(pNow->iReplica, 0), 1);
  }
  CHECK_INT(rows(db), 902);
  sqlite3_close(db);
  replicaEnd();
}

static void testExclusiveBound(void){ exclusiveBound("PRAGMA journal_mode=DELETE"); }
static void testExclusiveBoundOff(void){ exclusiveBound("PRAGMA journal_mode=OFF"); }

/* Another's state comes while a transaction is under way: nothing of it stays, and the next one goes on. */
static void foreignOver(int bExclusive, int bSpill){
  sqlite3 *db;
  replicaOpen(BYTES_MAX);
  db = dbOpen();
  must(db, "CREATE TABLE t(a,b); " FILL);
  store();
  if( bExclusive ) must(db, "PRAGMA locking_mode=EXCLUSIVE");
  if( bSpill ) must(db, "PRAGMA cache_size=10");
  must(db, "BEGIN; UPDATE t SET a=-a, b=zeroblob(3001)");
  storeForeign();
  CHECK(sql(db, "COMMIT")!=SQLITE_OK);
  if( sqlite3_get_autocommit(db)==0 ) sql(db, "ROLLBACK");
  CHECK_INT(sqlite3_get_autocommit(db), 1);
  CHECK_INT(sum(db), 405450);
  CHECK_INT(faults(db), 0);
  if( bExclusive ){
    CHECK(sql(db, "INSERT INTO t VALUES(1000,0)")!=SQLITE_OK);       /* until it sees the newest state */
    sqlite3_close(db);
    db = dbOpen();
  }
  must(db, "INSERT INTO t VALUES(1000,0)");
  checkLog(2, 3);
  CHECK_INT(rows(db), 901);
  sqlite3_close(db);
  replicaEnd();
}

static void testForeign(void){ foreignOver(0, 0); }
static void testForeignSpilled(void){ foreignOver(0, 1); }
static void testForeignExclusive(void){ foreignOver(1, 0); }
static void testForeignExclusiveSpilled(void){ foreignOver(1, 1); }

/* Two replicas in one connection, each with a table t of that many rows. */
static sqlite3 *attachedOpen(const char *zPragma){
  char z[200];
  sqlite3 *db;
  pNow = &aReplica[1];
  replicaOpen(BYTES_MAX);
  pNow = &aReplica[0];
  replicaOpen(BYTES_MAX);
  db = dbOpen();
  pNow = &aReplica[1];
  snprintf(z, sizeof(z), "ATTACH '%s' AS other", dbName());
  must(db, z);
  pNow = &aReplica[0];
  must(db, zPragma);
  must(db, "CREATE TABLE main.t(a,b); CREATE TABLE other.t(a,b)");
  return db;
}

static void attachedEnd(sqlite3 *db){
  sqlite3_close(db);
  pNow = &aReplica[1];
  replicaClose();
  pNow = &aReplica[0];
  replicaEnd();
}

/* The logs hold so many transactions, and each table so many rows. */
static void checkAttached(sqlite3 *db, int nMain, int nOther, int nRow){
  CHECK_INT(number(db, "SELECT count(*) FROM main.t"), nRow);
  CHECK_INT(number(db, "SELECT count(*) FROM other.t"), nRow);
  CHECK_INT(faults(db), 0);
  pNow = &aReplica[1];
  checkLog(1, nOther);
  pNow = &aReplica[0];
  checkLog(1, nMain);
}

/* A COMMIT over two replicas when the longer log cannot grow. */
static void commitFull(sqlite3 *db, int iLonger){
  size_t iEnd;
  pNow = &aReplica[iLonger];
  iEnd = logEnd(1);
  pNow = &aReplica[!iLonger];
  CHECK(logEnd(1)+20*FRAME_SIZE<iEnd);
  pNow = &aReplica[0];
  must(db, "BEGIN; INSERT INTO main.t VALUES(7,7); INSERT INTO other.t VALUES(7,7)");
  fileLimit(iEnd+100);
  CHECK_INT(sql(db, "COMMIT"), SQLITE_FULL);
  fileLimit(0);
  if( sqlite3_get_autocommit(db)==0 ) must(db, "ROLLBACK");
}

/* A COMMIT over two replicas is in both or, where one cannot be written, in neither. */
static void attachedOver(const char *zPragma){
  sqlite3 *db = attachedOpen(zPragma);
  must(db, "BEGIN; INSERT INTO main.t VALUES(1,1); INSERT INTO other.t VALUES(1,1); COMMIT");
  checkAttached(db, 2, 2, 1);
  must(db, "CREATE TABLE other.u AS WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM s LIMIT 100)"
    " SELECT zeroblob(3000) FROM s");
  commitFull(db, 1);
  checkAttached(db, 2, 3, 1);
  must(db, "BEGIN; INSERT INTO main.t VALUES(2,2); INSERT INTO other.t VALUES(2,2); COMMIT");
  checkAttached(db, 3, 4, 2);
  must(db, "CREATE TABLE main.u AS WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM s LIMIT 200)"
    " SELECT zeroblob(3000) FROM s");
  commitFull(db, 0);
  checkAttached(db, 4, 4, 2);
  must(db, "INSERT INTO main.t VALUES(3,3)");          /* alone, after what was rolled back */
  must(db, "INSERT INTO other.t VALUES(3,3)");
  checkAttached(db, 5, 5, 3);
  must(db, "BEGIN; INSERT INTO main.t VALUES(4,4); INSERT INTO other.t VALUES(4,4)");
  CHECK_INT(ls_writer_fault(aReplica[1].iReplica, "ConflictError: so it is"), 0);
  CHECK_INT(sql(db, "COMMIT") & 0xff, SQLITE_IOERR);
  if( sqlite3_get_autocommit(db)==0 ) must(db, "ROLLBACK");
  checkAttached(db, 5, 5, 3);
  must(db, "INSERT INTO main.t VALUES(5,5)");
  CHECK_INT(sql(db, "INSERT INTO other.t VALUES(5,5)") & 0xff, SQLITE_IOERR);
  checkLog(1, 6);
  attachedEnd(db);
}

static void testAttached(void){ attachedOver("PRAGMA locking_mode=NORMAL"); }
static void testAttachedExclusive(void){ attachedOver("PRAGMA locking_mode=EXCLUSIVE"); }
static void testAttachedSpill(void){ attachedOver("PRAGMA main.cache_size=1; PRAGMA other.cache_size=1"); }

int main(void){
  const char *zTemp = getenv("TMPDIR");
  int iHost;
  snprintf(zFolder, sizeof(zFolder), "%s/writer_sqlite_test.XXXXXX", zTemp ? zTemp : "/tmp");
  NEED(mkdtemp(zFolder)!=NULL);
  snprintf(aReplica[0].zPath, sizeof(aReplica[0].zPath), "%s/log", zFolder);
  snprintf(aReplica[1].zPath, sizeof(aReplica[1].zPath), "%s/other", zFolder);
  signal(SIGXFSZ, SIG_IGN);
  iHost = hostLoad();
  NEED(ls_host_begin(iHost)>=0);
  ls_sentinel("/sentinel/");
  coreBegin(&core);
  RUN("a new database takes another page size after a rollback of what had spilled", testPageSize);
  RUN("EXCLUSIVE: a commit that fails after a spill leaves the state before it, and the next one is whole",
    testExclusiveSpill);
  RUN("EXCLUSIVE: the same without a journal", testExclusiveSpillOff);
  RUN("EXCLUSIVE: the same of a small commit", testExclusiveSmall);
  RUN("EXCLUSIVE: the same of a commit that has no place for page 1 alone", testExclusiveHead);
  RUN("EXCLUSIVE: journal_mode=WAL answers as ever", testExclusiveWal);
  RUN("a commit fails without the log's folder, and the next one has it back", testFolderGone);
  RUN("EXCLUSIVE: the same", testExclusiveFolderGone);
  RUN("what is under way when writing is switched off is committed", testSwitchedOff);
  RUN("what is under way when writing ends is undone", testFault);
  RUN("EXCLUSIVE: what is under way when writing ends is undone", testFaultExclusive);
  RUN("who committed reads on when it is stored", testCommitterReads);
  RUN("EXCLUSIVE: a bound and a switch hold for each transaction", testExclusiveBound);
  RUN("EXCLUSIVE: the same without a journal, which would tell that a transaction is undone", testExclusiveBoundOff);
  RUN("what is under way when another's state comes is undone", testForeign);
  RUN("the same of what has spilled", testForeignSpilled);
  RUN("EXCLUSIVE: the same of another's state", testForeignExclusive);
  RUN("EXCLUSIVE: the same of another's state and what has spilled", testForeignExclusiveSpilled);
  RUN("a commit over two replicas is in both or in neither", testAttached);
  RUN("EXCLUSIVE: the same of two replicas", testAttachedExclusive);
  RUN("the same of two replicas that spill", testAttachedSpill);
  coreEnd(&core);
  CHECK_INT(rmdir(zFolder), 0);
  return finish();
}
