/*
** The rollback journal in memory: held against a plain array, with memory and disk that fail, and under
** SQLite, which must make of the same statements the same database as with a journal on disk.
**
** SEED chooses what is done, ROUNDS how many reads, writes and truncations there are.
*/
#include "harness.h"

/* ------------------------------------------------------------------- memory that is counted, and can fail */

#define ALLOC_HEAD 16

static int64_t nLive, nLiveMax;            /* bytes of the journal's own */
static int nUntilNomem;                    /* allocations until one fails; 0 for never */

static int allocFails(void){ return nUntilNomem>0 && --nUntilNomem==0; }

static size_t *allocHead(void *p){ return (size_t*)((uint8_t*)p-ALLOC_HEAD); }

static void *countedRealloc(void *pOld, size_t n){
  size_t nOld = pOld ? *allocHead(pOld) : 0;
  size_t *pNew;
  if( allocFails() ) return NULL;
  pNew = realloc(pOld ? allocHead(pOld) : NULL, n+ALLOC_HEAD);
  NEED(pNew!=NULL);
  *pNew = n;
  nLive += (int64_t)n-(int64_t)nOld;
  if( nLive>nLiveMax ) nLiveMax = nLive;
  return (uint8_t*)pNew+ALLOC_HEAD;
}
static void *countedMalloc(size_t n){ return countedRealloc(NULL, n); }
static void *countedCalloc(size_t n, size_t size){
  void *p = countedRealloc(NULL, n*size);
  if( p ) memset(p, 0, n*size);
  return p;
}
static void countedFree(void *p){
  if( p==NULL ) return;
  nLive -= (int64_t)*allocHead(p);
  free(allocHead(p));
}

#define malloc  countedMalloc
#define calloc  countedCalloc
#define realloc countedRealloc
#define free    countedFree
#include "../../ffi/journal.c"
#undef malloc
#undef calloc
#undef realloc
#undef free

/* --------------------------------------------------------------------- a base VFS that fails when told to */

typedef struct Fault {
  int rc;                          /* SQLITE_OK: none */
  int nUntil;                      /* calls that go well before it */
} Fault;

/* Temporary files of the real VFS, counted. */
static struct Disk {
  sqlite3_vfs vfs;
  sqlite3_vfs *pReal;
  int nOpen, nOpened;
  int bMethodsAnyway;              /* a failing xOpen sets pMethods, as it may */
  Fault open, write, read, truncate, size;
} disk;

typedef struct DiskFile {
  sqlite3_file base;
  sqlite3_file *pReal;             /* NULL after an open that failed */
} DiskFile;

static int faulty(Fault *p){
  if( p->rc==SQLITE_OK || p->nUntil-->0 ) return SQLITE_OK;
  p->nUntil = 0;
  return p->rc;
}

static sqlite3_file *realOf(sqlite3_file *pFile){ return ((DiskFile*)pFile)->pReal; }

static int diskClose(sqlite3_file *pFile){
  sqlite3_file *pReal = realOf(pFile);
  disk.nOpen--;
  if( pReal ) CHECK_INT(pReal->pMethods->xClose(pReal), SQLITE_OK);
  free(pReal);
  return SQLITE_OK;
}
static int diskRead(sqlite3_file *pFile, void *pOut, int iAmt, sqlite3_int64 iOfst){
  int rc = faulty(&disk.read);
  return rc ? rc : realOf(pFile)->pMethods->xRead(realOf(pFile), pOut, iAmt, iOfst);
}
/* A write that fails has written its first half, as on a full disk. */
static int diskWrite(sqlite3_file *pFile, const void *pIn, int iAmt, sqlite3_int64 iOfst){
  int rc = faulty(&disk.write);
  int rcReal = realOf(pFile)->pMethods->xWrite(realOf(pFile), pIn, rc ? iAmt/2 : iAmt, iOfst);
  return rc ? rc : rcReal;
}
static int diskTruncate(sqlite3_file *pFile, sqlite3_int64 nSize){
  int rc = faulty(&disk.truncate);
  return rc ? rc : realOf(pFile)->pMethods->xTruncate(realOf(pFile), nSize);
}
static int diskFileSize(sqlite3_file *pFile, sqlite3_int64 *pSize){
  int rc = faulty(&disk.size);
  return rc ? rc : realOf(pFile)->pMethods->xFileSize(realOf(pFile), pSize);
}

static const sqlite3_io_methods diskMethods = {
  .iVersion = 1,
  .xClose = diskClose,
  .xRead = diskRead,
  .xWrite = diskWrite,
  .xTruncate = diskTruncate,
  .xFileSize = diskFileSize,
};

static int diskOpen(sqlite3_vfs *pVfs, const char *zName, sqlite3_file *pFile, int flags, int *pOutFlags){
  DiskFile *p = (DiskFile*)pFile;
  int rc = faulty(&disk.open);
  (void)pVfs;
  CHECK(zName==NULL);
  CHECK_INT(flags, SQLITE_OPEN_TEMP_JOURNAL|SQLITE_OPEN_READWRITE|SQLITE_OPEN_CREATE|SQLITE_OPEN_EXCLUSIVE
                   |SQLITE_OPEN_DELETEONCLOSE);
  memset(p, 0, sizeof(*p));
  if( rc!=SQLITE_OK && !disk.bMethodsAnyway ) return rc;
  p->base.pMethods = &diskMethods;
  disk.nOpen++;
  if( rc!=SQLITE_OK ) return rc;
  disk.nOpened++;
  p->pReal = calloc(1, (size_t)disk.pReal->szOsFile);
  NEED(p->pReal!=NULL);
  rc = disk.pReal->xOpen(disk.pReal, NULL, p->pReal, flags, pOutFlags);
  NEED(rc==SQLITE_OK);
  return rc;
}

static void diskSetUp(void){
  memset(&disk, 0, sizeof(disk));
  disk.pReal = sqlite3_vfs_find(NULL);
  NEED(disk.pReal!=NULL);
  disk.vfs.iVersion = 1;
  disk.vfs.szOsFile = (int)sizeof(DiskFile);
  disk.vfs.xOpen = diskOpen;
}

static void diskHeal(void){
  memset(&disk.open, 0, sizeof(disk.open));
  disk.write = disk.read = disk.truncate = disk.size = disk.open;
  disk.bMethodsAnyway = 0;
}

static void nothingLeft(void){
  CHECK_INT(disk.nOpen, 0);
  CHECK_INT(nLive, 0);
}

/* -------------------------------------------------------------------------------- a journal and its model */

#define MODEL_MAX  (1<<20)
#define AMOUNT_MAX 65536                   /* SQLite's largest; from 131072 on its unix VFS fails */

static uint64_t seed;
static uint8_t aModel[MODEL_MAX];          /* zero from nModel on */
static int nModel;
static _Alignas(8) uint8_t aBuffer[AMOUNT_MAX];
static sqlite3_file *pJournal;

static void modelOpen(int64_t nMemoryMax){
  memset(aModel, 0, sizeof(aModel));
  nModel = 0;
  nLiveMax = nLive;
  disk.nOpened = 0;
  pJournal = malloc((size_t)lsJournalSize());
  NEED(pJournal!=NULL);
  memset(pJournal, 0xa5, (size_t)lsJournalSize());     /* what SQLite gives is not cleared */
  lsJournalOpen(&disk.vfs, pJournal, nMemoryMax);
}

static void modelClose(void){
  CHECK_INT(pJournal->pMethods->xClose(pJournal), SQLITE_OK);
  free(pJournal);
  nothingLeft();
}

static int inMemory(void){ return disk.nOpen==0; }

/* No chunk is held without need; beside them there are their table and a file's struct. */
static void checkMemory(void){
  CHECK(nLive<=(inMemory() ? (nModel+CHUNK_SIZE-1)/CHUNK_SIZE*CHUNK_SIZE : 0)+1024);
}

static void checkRead(int iOfst, int iAmt){
  int n = iOfst<nModel ? nModel-iOfst : 0;
  memset(aBuffer, 0x5a, (size_t)iAmt);
  CHECK_INT(pJournal->pMethods->xRead(pJournal, aBuffer, iAmt, iOfst),
    n<iAmt ? SQLITE_IOERR_SHORT_READ : SQLITE_OK);
  if( n>iAmt ) n = iAmt;
  CHECK(memcmp(aBuffer, aModel+iOfst, (size_t)n)==0);
  for(; n<iAmt && aBuffer[n]==0; n++){}
  CHECK_INT(n, iAmt);
}

static void checkAll(void){
  sqlite3_int64 nSize = -1;
  int i;
  CHECK_INT(pJournal->pMethods->xFileSize(pJournal, &nSize), SQLITE_OK);
  CHECK_INT(nSize, nModel);
  for(i=0; i<nModel; i+=AMOUNT_MAX) checkRead(i, AMOUNT_MAX);
}

/* Writes bytes that differ from call to call; the model follows when it goes well. */
static int modelWrite(int iOfst, int iAmt){
  uint64_t *aWord = (uint64_t*)(void*)aBuffer;
  int i, rc;
  for(i=0; i<(iAmt+7)/8; i++) aWord[i] = randomNext(&seed);
  rc = pJournal->pMethods->xWrite(pJournal, aBuffer, iAmt, iOfst);
  if( rc!=SQLITE_OK ) return rc;
  memcpy(aModel+iOfst, aBuffer, (size_t)iAmt);
  if( nModel<iOfst+iAmt ) nModel = iOfst+iAmt;
  return rc;
}

static int modelTruncate(int nSize){
  int rc = pJournal->pMethods->xTruncate(pJournal, nSize);
  if( rc!=SQLITE_OK ) return rc;
  if( nSize<nModel ) memset(aModel+nSize, 0, (size_t)(nModel-nSize));
  nModel = nSize;
  return rc;
}

static int below(int n){ return (int)randomBelow(&seed, (uint32_t)n); }

/* Mostly appends, as SQLite does; also anywhere, and over a hole. */
static int writeAnything(void){
  int iAmt = below(20)==0 ? 1+below(AMOUNT_MAX) : 1+below(5000);
  int iOfst = below(3)==0 && nModel>0 ? below(nModel) : below(50)==0 ? nModel+below(150000) : nModel;
  if( iOfst>=MODEL_MAX ) iOfst = MODEL_MAX-1;
  if( iAmt>MODEL_MAX-iOfst ) iAmt = MODEL_MAX-iOfst;
  return modelWrite(iOfst, iAmt);
}

static int truncateAnything(void){
  int eKind = below(6);
  return modelTruncate(eKind==0 ? 0 : eKind==1 ? below(MODEL_MAX) : nModel ? below(nModel+1) : 0);
}

static int doAnything(void){
  int eKind = below(1000);
  if( eKind<15 ) return truncateAnything();
  if( eKind<400 ){
    checkRead(below(MODEL_MAX), 1+below(100));
    if( nModel>0 ) checkRead(below(nModel), 1+below(9000));
    return SQLITE_OK;
  }
  return writeAnything();
}

/* ---------------------------------------------------------------------------------------------- by itself */

static const int aBound[] = {
  1, 1000, CHUNK_SIZE-1, CHUNK_SIZE, CHUNK_SIZE+1, 200000, 300000, 600000, MODEL_MAX, 0
};
#define BOUNDS ((int)(sizeof(aBound)/sizeof(aBound[0])))

static void testModel(void){
  int nRounds = setting("ROUNDS", 100000)/BOUNDS, iBound, i;
  for(iBound=0; iBound<BOUNDS; iBound++){
    int nBound = aBound[iBound];
    modelOpen(nBound);
    for(i=0; i<nRounds; i++){
      int rc = doAnything();
      CHECK_INT(rc, SQLITE_OK);
      if( nModel==0 || nBound==0 ) CHECK(inMemory());
      if( nBound>0 && nModel>nBound ) CHECK(!inMemory());
      checkMemory();
      if( i%256==0 ) checkAll();
    }
    checkAll();
    CHECK(nBound==0 || nBound==MODEL_MAX ? disk.nOpened==0 : disk.nOpened>0);
    if( nBound>0 ) CHECK(nLiveMax<=nBound+CHUNK_SIZE+2048);
    modelClose();
  }
}

static void testNomem(void){
  static const int aBoundHere[] = {400000, MODEL_MAX, 1};
  int iBound, i, nMet = 0;
  for(iBound=0; iBound<3; iBound++){
    modelOpen(aBoundHere[iBound]);
    for(i=0; i<4000; i++){
      int rc;
      nUntilNomem = 1+below(6);
      rc = doAnything();
      nUntilNomem = 0;
      CHECK(rc==SQLITE_OK || rc==SQLITE_IOERR_NOMEM);
      checkMemory();
      if( below(30)==0 ) CHECK_INT(modelTruncate(0), SQLITE_OK);   /* memory is wanted anew */
      if( rc==SQLITE_OK && i%64 ) continue;
      nMet += rc!=SQLITE_OK;
      checkAll();
    }
    modelClose();
  }
  CHECK(nMet>50);
}

/* Moving to the file fails: all stays in memory, and the next write tries again. */
static void testSpillFails(void){
  static const struct { int rc; int bOpen; int bMethods; int rcWanted; } aCase[] = {
    {SQLITE_CANTOPEN, 1, 0, SQLITE_IOERR_WRITE},
    {SQLITE_CANTOPEN, 1, 1, SQLITE_IOERR_WRITE},
    {SQLITE_IOERR_GETTEMPPATH, 1, 0, SQLITE_IOERR_GETTEMPPATH},
    {SQLITE_NOMEM, 1, 0, SQLITE_IOERR_NOMEM},
    {SQLITE_FULL, 0, 0, SQLITE_FULL},
    {SQLITE_IOERR_WRITE, 0, 0, SQLITE_IOERR_WRITE},
    {SQLITE_PERM, 0, 0, SQLITE_IOERR_WRITE},
  };
  size_t i;
  int nUntil, iAt;
  for(i=0; i<sizeof(aCase)/sizeof(aCase[0]); i++){
    for(nUntil=0; nUntil<(aCase[i].bOpen ? 1 : 5); nUntil++){
      Fault fault = {aCase[i].rc, nUntil};
      modelOpen(5*CHUNK_SIZE);
      for(iAt=0; iAt<5; iAt++) CHECK_INT(modelWrite(iAt*CHUNK_SIZE, CHUNK_SIZE-10), SQLITE_OK);
      *(aCase[i].bOpen ? &disk.open : &disk.write) = fault;
      disk.bMethodsAnyway = aCase[i].bMethods;
      CHECK_INT(modelWrite(nModel-5, 16), aCase[i].rcWanted);
      CHECK(inMemory());
      checkAll();
      if( aCase[i].bOpen ) CHECK_INT(modelTruncate(6*CHUNK_SIZE), aCase[i].rcWanted);
      checkAll();
      CHECK_INT(modelWrite(nModel-5, 15), SQLITE_OK);              /* what still fits goes on */
      CHECK(inMemory());
      diskHeal();
      CHECK_INT(modelWrite(nModel-5, 16), SQLITE_OK);
      CHECK(!inMemory());
      checkAll();
      modelClose();
    }
  }
}

/* The file fails once all is there. */
static void testFileFails(void){
  sqlite3_int64 nSize;
  int nBefore;
  modelOpen(1000);
  CHECK_INT(modelWrite(0, 5000), SQLITE_OK);
  CHECK(!inMemory());
  nBefore = nModel;
  disk.write.rc = SQLITE_FULL;
  CHECK_INT(modelWrite(5000, 4096), SQLITE_FULL);
  disk.write.rc = SQLITE_BUSY;
  CHECK_INT(modelWrite(5000, 4096), SQLITE_IOERR_WRITE);
  checkRead(0, nBefore);
  disk.read.rc = SQLITE_IOERR_CORRUPTFS;
  CHECK_INT(pJournal->pMethods->xRead(pJournal, aBuffer, 8, 0), SQLITE_IOERR_CORRUPTFS);
  disk.read.rc = SQLITE_PERM;
  CHECK_INT(pJournal->pMethods->xRead(pJournal, aBuffer, 8, 0), SQLITE_IOERR_READ);
  disk.truncate.rc = SQLITE_PERM;
  CHECK_INT(modelTruncate(10), SQLITE_IOERR_TRUNCATE);
  disk.size.rc = SQLITE_PERM;
  CHECK_INT(pJournal->pMethods->xFileSize(pJournal, &nSize), SQLITE_IOERR_FSTAT);
  diskHeal();
  CHECK_INT(modelWrite(nBefore, 4096), SQLITE_OK);
  checkAll();
  disk.truncate.rc = SQLITE_IOERR_TRUNCATE;
  CHECK_INT(modelTruncate(0), SQLITE_OK);                          /* the file is given up, not cut */
  CHECK(inMemory());
  checkAll();
  diskHeal();
  CHECK_INT(modelWrite(0, 1000), SQLITE_OK);
  CHECK(inMemory());
  checkAll();
  modelClose();
}

static void testRest(void){
  const sqlite3_io_methods *pMethods;
  int bReserved = 1, nPointer = 0;
  modelOpen(0);
  pMethods = pJournal->pMethods;
  CHECK_INT(pMethods->iVersion, 1);
  CHECK_INT(pMethods->xSync(pJournal, SQLITE_SYNC_FULL), SQLITE_OK);
  CHECK_INT(pMethods->xLock(pJournal, SQLITE_LOCK_SHARED), SQLITE_OK);
  CHECK_INT(pMethods->xUnlock(pJournal, SQLITE_LOCK_NONE), SQLITE_OK);
  CHECK_INT(pMethods->xCheckReservedLock(pJournal, &bReserved), SQLITE_OK);
  CHECK_INT(bReserved, 0);
  CHECK_INT(pMethods->xFileControl(pJournal, SQLITE_FCNTL_FILE_POINTER, &nPointer), SQLITE_NOTFOUND);
  CHECK_INT(pMethods->xSectorSize(pJournal), 512);
  CHECK_INT(pMethods->xDeviceCharacteristics(pJournal) & (SQLITE_IOCAP_ATOMIC|SQLITE_IOCAP_IMMUTABLE), 0);
  CHECK(pMethods->xDeviceCharacteristics(pJournal) & SQLITE_IOCAP_SAFE_APPEND);
  checkRead(0, 28);
  CHECK_INT(modelTruncate(0), SQLITE_OK);
  modelClose();
}

/* ------------------------------------------------------------------------------------------- under SQLite */

/* The real VFS, but that a database's file does not sync and says of itself what eTraits says. In one of them
** journals are ours. */
static sqlite3_vfs journaled, plain;
static sqlite3_io_methods fileMethods;
static int eTraits, nJournal, nBound;
static char zFolder[128];

static int isJournal(const char *zName){
  size_t n = zName ? strlen(zName) : 0;
  return n>8 && strcmp(zName+n-8, "-journal")==0;
}

static int fileSync(sqlite3_file *pFile, int flags){
  (void)pFile; (void)flags;
  return SQLITE_OK;
}
static int fileTraits(sqlite3_file *pFile){
  (void)pFile;
  return eTraits;
}

static int vfsOpen(sqlite3_vfs *pVfs, const char *zName, sqlite3_file *pFile, int flags, int *pOutFlags){
  int rc;
  if( pVfs==&journaled && (flags & SQLITE_OPEN_MAIN_JOURNAL) ){
    nJournal++;
    lsJournalOpen(&disk.vfs, pFile, nBound);
    return SQLITE_OK;
  }
  rc = disk.pReal->xOpen(disk.pReal, zName, pFile, flags, pOutFlags);
  if( rc!=SQLITE_OK || (flags & SQLITE_OPEN_MAIN_DB)==0 ) return rc;
  fileMethods = *pFile->pMethods;
  fileMethods.xSync = fileSync;
  fileMethods.xDeviceCharacteristics = fileTraits;
  pFile->pMethods = &fileMethods;
  return rc;
}
static int vfsDelete(sqlite3_vfs *pVfs, const char *zName, int bSyncFolder){
  (void)pVfs;
  return isJournal(zName) ? SQLITE_OK : disk.pReal->xDelete(disk.pReal, zName, bSyncFolder);
}
static int vfsAccess(sqlite3_vfs *pVfs, const char *zName, int flags, int *pOut){
  (void)pVfs;
  *pOut = 0;
  return isJournal(zName) ? SQLITE_OK : disk.pReal->xAccess(disk.pReal, zName, flags, pOut);
}

static void vfsSetUp(void){
  plain = *disk.pReal;
  plain.zName = "plain";
  plain.xOpen = vfsOpen;
  journaled = plain;
  journaled.zName = "journaled";
  if( journaled.szOsFile<lsJournalSize() ) journaled.szOsFile = lsJournalSize();
  journaled.xDelete = vfsDelete;
  journaled.xAccess = vfsAccess;
  NEED(sqlite3_vfs_register(&plain, 0)==SQLITE_OK && sqlite3_vfs_register(&journaled, 0)==SQLITE_OK);
}

/* One way of using SQLite. */
typedef struct Setting {
  const char *zMode;
  const char *zLocking;
  const char *zSync;
  int szPage;
  int eTraits;
  int bAutoVacuum;
} Setting;

static char *pathOf(const char *zName){
  static char z[256];
  snprintf(z, sizeof(z), "%s/%s", zFolder, zName);
  return z;
}

static sqlite3 *dbOpen(const char *zName, const char *zVfs, const Setting *p, const char *zSync){
  char zSql[512];
  sqlite3 *db = NULL;
  NEED(sqlite3_open_v2(pathOf(zName), &db, SQLITE_OPEN_READWRITE|SQLITE_OPEN_CREATE, zVfs)==SQLITE_OK);
  snprintf(zSql, sizeof(zSql), "PRAGMA page_size=%d; PRAGMA locking_mode=%s; PRAGMA journal_mode=%s;"
    "PRAGMA auto_vacuum=%d; PRAGMA synchronous=%s; PRAGMA cache_size=10;"
    "CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b BLOB); CREATE UNIQUE INDEX ia ON t(a)",
    p->szPage, p->zLocking, p->zMode, p->bAutoVacuum, zSync);
  NEED(sqlite3_exec(db, zSql, NULL, NULL, NULL)==SQLITE_OK);
  return db;
}

/* Closes, and nothing is left of the database. */
static void dbEnd(sqlite3 *db, const char *zName){
  CHECK_INT(sqlite3_close(db), SQLITE_OK);
  CHECK_INT(unlink(pathOf(zName)), 0);
}

static void checkIntact(sqlite3 *db){
  sqlite3_stmt *pStmt = NULL;
  CHECK_INT(sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &pStmt, NULL), SQLITE_OK);
  CHECK_INT(sqlite3_step(pStmt), SQLITE_ROW);
  CHECK(strcmp((const char*)sqlite3_column_text(pStmt, 0), "ok")==0);
  sqlite3_finalize(pStmt);
}

static uint8_t *image(sqlite3 *db, sqlite3_int64 *pn){
  uint8_t *a = sqlite3_serialize(db, "main", pn, 0);
  NEED(a!=NULL);
  return a;
}

static void checkSame(sqlite3 *db, sqlite3 *dbPlain){
  sqlite3_int64 n = 0, nPlain = 0;
  uint8_t *a = image(db, &n), *aPlain = image(dbPlain, &nPlain);
  CHECK_INT(n, nPlain);
  CHECK(n==nPlain && memcmp(a, aPlain, (size_t)n)==0);
  sqlite3_free(a);
  sqlite3_free(aPlain);
}

/* A statement that changes many pages; some fail half way, at a value of "a" that is there already. */
static void makeStatement(char *z, size_t n){
  int iFrom = below(400), nRow = 1+below(120), nByte = below(3)==0 ? below(6000) : below(300);
  char zWhere[64];
  snprintf(zWhere, sizeof(zWhere), "id BETWEEN %d AND %d", iFrom, iFrom+nRow);
  switch( below(6) ){
    case 0: case 1:
      snprintf(z, n, "INSERT OR IGNORE INTO t SELECT value, value*7+%d, zeroblob(%d) FROM"
        " (WITH RECURSIVE s(value) AS (SELECT %d UNION ALL SELECT value+1 FROM s LIMIT %d)"
        " SELECT value FROM s)",
        below(3), nByte, iFrom, nRow);
      break;
    case 2: snprintf(z, n, "UPDATE t SET b=zeroblob(%d)||a WHERE %s", nByte, zWhere); break;
    case 3: snprintf(z, n, "UPDATE t SET a=a+7 WHERE %s", zWhere); break;
    case 4: snprintf(z, n, "DELETE FROM t WHERE %s", zWhere); break;
    default: snprintf(z, n, "UPDATE t SET a=-a WHERE id%%%d=0", 1+below(9)); break;
  }
}

static void both(sqlite3 *db, sqlite3 *dbPlain, const char *zSql){
  int rc = sqlite3_exec(db, zSql, NULL, NULL, NULL);
  int rcPlain = sqlite3_exec(dbPlain, zSql, NULL, NULL, NULL);
  if( rc!=rcPlain ) checkFailed(__FILE__, __LINE__, "%s gives %d, expected %d", zSql, rc, rcPlain);
}

/* One transaction, with savepoints up to three deep. */
static void transaction(sqlite3 *db, sqlite3 *dbPlain){
  char z[512];
  int nDeep = 0, nStep = 2+below(10);
  both(db, dbPlain, below(2) ? "BEGIN" : "BEGIN IMMEDIATE");
  for(; nStep>0; nStep--){
    int eKind = below(10);
    if( eKind<2 && nDeep<3 ){
      snprintf(z, sizeof(z), "SAVEPOINT s%d", ++nDeep);
    }else if( eKind==2 && nDeep>0 ){
      snprintf(z, sizeof(z), "ROLLBACK TO s%d", nDeep);
    }else if( eKind==3 && nDeep>0 ){
      snprintf(z, sizeof(z), "RELEASE s%d", nDeep--);
    }else{
      makeStatement(z, sizeof(z));
    }
    both(db, dbPlain, z);
  }
  both(db, dbPlain, below(3)==0 ? "ROLLBACK" : "COMMIT");
}

static void work(const Setting *p, int nTransaction){
  sqlite3 *db, *dbPlain;
  int i;
  eTraits = p->eTraits;
  db = dbOpen("journaled.db", "journaled", p, p->zSync);
  dbPlain = dbOpen("plain.db", "plain", p, "OFF");
  for(i=0; i<nTransaction; i++){
    transaction(db, dbPlain);
    if( i%16==15 ) both(db, dbPlain, "VACUUM");
    checkSame(db, dbPlain);
    CHECK(access(pathOf("journaled.db-journal"), F_OK)!=0);
  }
  checkIntact(db);
  dbEnd(db, "journaled.db");
  dbEnd(dbPlain, "plain.db");
  nothingLeft();
}

/* All ways to finalise a journal, each with what a database's file may say of itself. */
static void testSqlite(void){
  static const char *const azMode[] = {"DELETE", "TRUNCATE", "PERSIST", "MEMORY"};
  static const char *const azLocking[] = {"NORMAL", "EXCLUSIVE"};
  static const char *const azSync[] = {"FULL", "NORMAL", "OFF"};
  static const int aTraits[] = {0, LS_JOURNAL_TRAITS, LS_JOURNAL_TRAITS|SQLITE_IOCAP_UNDELETABLE_WHEN_OPEN};
  static const int aszPage[] = {512, 4096, 1024, 16384, 65536};
  int i, nSpill = 0;
  for(i=0; i<24; i++){
    Setting s = {azMode[i%4], azLocking[i/4%2], azSync[i%3], aszPage[i%5], aTraits[i/8], i%3==1};
    nBound = i%2 ? 20000 : 80000;
    nJournal = disk.nOpened = 0;
    work(&s, 24);
    if( i%4==3 ) CHECK_INT(nJournal, 0); else CHECK(nJournal>0);
    nSpill += disk.nOpened;
  }
  CHECK(nSpill>50);
}

/* -------------------------------------------------------------------- under SQLite, while something fails */

static const Setting common = {"DELETE", "NORMAL", "FULL", 1024, LS_JOURNAL_TRAITS, 0};

static sqlite3 *dbFilled(void){
  const char *zFill = "INSERT INTO t SELECT value, value, zeroblob(700) FROM (WITH RECURSIVE s(value) AS"
    " (SELECT 1 UNION ALL SELECT value+1 FROM s LIMIT 300) SELECT value FROM s);"
    "CREATE TABLE u AS SELECT b FROM t; CREATE TABLE w(b); INSERT INTO w VALUES(zeroblob(400000));"
    "PRAGMA secure_delete=ON";
  sqlite3 *db;
  eTraits = common.eTraits;
  db = dbOpen("failing.db", "journaled", &common, common.zSync);
  NEED(sqlite3_exec(db, zFill, NULL, NULL, NULL)==SQLITE_OK);
  return db;
}

static sqlite3_int64 number(sqlite3 *db, const char *zSql){
  sqlite3_stmt *pStmt = NULL;
  sqlite3_int64 i;
  CHECK_INT(sqlite3_prepare_v2(db, zSql, -1, &pStmt, NULL), SQLITE_OK);
  CHECK_INT(sqlite3_step(pStmt), SQLITE_ROW);
  i = sqlite3_column_int64(pStmt, 0);
  sqlite3_finalize(pStmt);
  return i;
}

/* Each overwrites more than the journals below hold in memory. The second frees one long chain of pages, each
** of which is journaled, and has no statement journal: to SQLite's mind nothing in it could fail half way. */
static const char *const azChange[] = {
  "UPDATE u SET b=zeroblob(701)",
  "UPDATE w SET b='x' WHERE rowid=1",
};

/* A transaction that meets a failure keeps no half change, and is undone as a whole, at once or by ROLLBACK;
** returns the code it met. */
static int failingTransaction(sqlite3 *db, const char *zChange){
  sqlite3_int64 n = 0, nAfter = 0;
  uint8_t *a = image(db, &n), *aAfter;
  int rc = sqlite3_exec(db, "BEGIN; UPDATE t SET b=zeroblob(1) WHERE id=7", NULL, NULL, NULL);
  if( rc==SQLITE_OK ) rc = sqlite3_exec(db, zChange, NULL, NULL, NULL);
  rc = rc==SQLITE_OK ? rc : sqlite3_extended_errcode(db);
  nUntilNomem = 0;
  diskHeal();
  if( !sqlite3_get_autocommit(db) ){
    CHECK_INT(number(db, "SELECT count(*) FROM u WHERE length(b)=701") % 300, 0);
    checkIntact(db);
    CHECK_INT(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
  }
  aAfter = image(db, &nAfter);
  CHECK_INT(nAfter, n);
  CHECK(nAfter==n && memcmp(a, aAfter, (size_t)n)==0);
  checkIntact(db);
  sqlite3_free(a);
  sqlite3_free(aAfter);
  return rc;
}

/* Fails at the first write to disk, at a later one, and so on until there are no more; returns how often. */
static int failAtEach(sqlite3 *db, const char *zChange, int rcDisk, int rcWanted){
  int nUntil, rc = SQLITE_ERROR, nMet = 0;
  for(nUntil=0; rc!=SQLITE_OK && nUntil<2000; nUntil=nUntil*3/2+1){
    disk.write.rc = rcDisk;
    disk.write.nUntil = nUntil;
    rc = failingTransaction(db, zChange);
    CHECK(rc==SQLITE_OK || rc==rcWanted);
    nMet += rc!=SQLITE_OK;
  }
  CHECK_INT(rc, SQLITE_OK);
  return nMet;
}

static void testSqliteFails(void){
  sqlite3 *db = dbFilled();
  int i;
  nBound = 100000;
  for(i=0; i<2; i++){
    disk.open.rc = SQLITE_CANTOPEN;
    CHECK_INT(failingTransaction(db, azChange[i]), SQLITE_IOERR_WRITE);
    CHECK(failAtEach(db, azChange[i], SQLITE_FULL, SQLITE_FULL)>5);
    CHECK(failAtEach(db, azChange[i], SQLITE_IOERR_WRITE, SQLITE_IOERR_WRITE)>5);
    CHECK(failAtEach(db, azChange[i], SQLITE_PERM, SQLITE_IOERR_WRITE)>5);
  }
  dbEnd(db, "failing.db");
  nothingLeft();
}

static void testSqliteNomem(void){
  sqlite3 *db = dbFilled();
  int i, nMet = 0, rc = SQLITE_ERROR;
  nBound = 200000;
  for(i=1; rc!=SQLITE_OK && i<100; i++){
    nUntilNomem = i;
    rc = failingTransaction(db, azChange[i%2]);
    nMet += rc!=SQLITE_OK;
    CHECK(rc==SQLITE_OK || rc==SQLITE_IOERR_NOMEM || rc==SQLITE_NOMEM);
  }
  CHECK_INT(rc, SQLITE_OK);
  CHECK(nMet>3);
  dbEnd(db, "failing.db");
  nothingLeft();
}

/* Two files: the journals name a super-journal, which is an ordinary file. */
static void testAttached(void){
  sqlite3 *db = dbFilled();
  int i;
  char zSql[512];
  nBound = 100000;
  snprintf(zSql, sizeof(zSql), "ATTACH '%s' AS other; CREATE TABLE other.t AS SELECT * FROM main.t",
    pathOf("other.db"));
  CHECK_INT(sqlite3_exec(db, zSql, NULL, NULL, NULL), SQLITE_OK);
  for(i=0; i<6; i++){
    nJournal = 0;
    snprintf(zSql, sizeof(zSql), "BEGIN; UPDATE t SET b=zeroblob(%d); UPDATE other.t SET b=zeroblob(%d); %s",
      701+i, 701+i, i%2 ? "ROLLBACK" : "COMMIT");
    CHECK_INT(sqlite3_exec(db, zSql, NULL, NULL, NULL), SQLITE_OK);
    CHECK_INT(nJournal, 2);
    CHECK_INT(number(db, "SELECT sum(length(b)) FROM t"), 300*(701+i/2*2));
    CHECK_INT(number(db, "SELECT sum(length(b)) FROM other.t"), 300*(701+i/2*2));
    checkIntact(db);
  }
  dbEnd(db, "failing.db");
  CHECK_INT(unlink(pathOf("other.db")), 0);
  nothingLeft();
}

/* VACUUM journals the whole database. */
static void testVacuum(void){
  sqlite3 *db = dbFilled();
  sqlite3_int64 nPage;
  int i;
  for(i=0; i<4; i++){
    const char *zDouble = "INSERT INTO t(a,b) SELECT -(SELECT max(id) FROM t)-id, b FROM t";
    CHECK_INT(sqlite3_exec(db, zDouble, NULL, NULL, NULL), SQLITE_OK);
  }
  nPage = number(db, "PRAGMA page_count");
  CHECK(nPage>4000);
  nBound = 500000;
  nLiveMax = nLive;
  disk.nOpened = 0;
  CHECK_INT(sqlite3_exec(db, "DELETE FROM t WHERE id%2; VACUUM", NULL, NULL, NULL), SQLITE_OK);
  CHECK(disk.nOpened>0);
  CHECK(nLiveMax<=nBound+CHUNK_SIZE+2048);
  checkIntact(db);
  dbEnd(db, "failing.db");
  nothingLeft();
}

int main(void){
  const char *zTemp = getenv("TMPDIR");
  seed = (uint64_t)setting("SEED", (int)(nowMs() & 0x3fffffff)+1);
  printf("# SEED=%llu\n", (unsigned long long)seed);
  snprintf(zFolder, sizeof(zFolder), "%s/journal_test.XXXXXX", zTemp ? zTemp : "/tmp");
  NEED(mkdtemp(zFolder)!=NULL);
  sqlite3_initialize();
  diskSetUp();
  vfsSetUp();
  RUN("a journal reads back what a plain array would, through spills and truncations", testModel);
  RUN("memory that cannot be had loses nothing of what was written", testNomem);
  RUN("a spill that fails leaves all in memory, and is tried again", testSpillFails);
  RUN("a temporary file that fails gives only codes that SQLite expects", testFileFails);
  RUN("an empty journal reads as zeros, and its other methods have nothing to do", testRest);
  RUN("SQLite makes the same database as with a journal on disk, in every journal mode", testSqlite);
  RUN("SQLite undoes a transaction whose journal met a full or broken disk", testSqliteFails);
  RUN("SQLite undoes a transaction whose journal ran out of memory", testSqliteNomem);
  RUN("SQLite commits and undoes a transaction over two files", testAttached);
  RUN("VACUUM of a large database stays within the bound", testVacuum);
  CHECK_INT(rmdir(zFolder), 0);
  return finish();
}
