/*
** Overflow chains: what ls_run_chains() tells of databases that SQLite made, held against chains followed
** page by page; and of pages whose bytes are anything.
**
** SEED chooses the damage, ROUNDS how many pages are damaged; LONG=1 makes it a million.
*/
#include "harness.h"

#define ENTRY_MAX 20000

static uint64_t seed;
static int nRounds;
static uint32_t aEntry[ENTRY_MAX*3];

/* A database's pages. */
typedef struct Made {
  uint8_t *aByte;
  uint32_t szPage;
  uint32_t szUsable;
  uint32_t nPage;
} Made;

static const uint8_t *madePage(const Made *p, uint32_t iPgno){
  return p->aByte+(size_t)(iPgno-1)*p->szPage;
}

static uint32_t word(const uint8_t *a){
  return ((uint32_t)a[0]<<24) | ((uint32_t)a[1]<<16) | ((uint32_t)a[2]<<8) | a[3];
}

static void fillMade(void *pArg, uint32_t iPgno, uint8_t *aPage, uint32_t szPage){
  memcpy(aPage, madePage(pArg, iPgno), szPage);
}

static void exec(sqlite3 *db, const char *zSql){
  char *zErr = NULL;
  if( sqlite3_exec(db, zSql, NULL, NULL, &zErr)!=SQLITE_OK ) checkFailed(__FILE__, __LINE__, "%s", zErr);
  sqlite3_free(zErr);
}

/* Rows of all lengths, in tables and an index; some deleted, others in their place. */
static Made make(uint32_t szPage, int nReserved){
  char zSize[64];
  int nKept = nReserved;                                 /* SQLite puts there what it was before */
  sqlite3 *db = NULL;
  sqlite3_int64 n = 0;
  uint8_t *a;
  Made made;
  NEED(sqlite3_open(":memory:", &db)==SQLITE_OK);
  snprintf(zSize, sizeof(zSize), "PRAGMA page_size=%u", szPage);
  exec(db, zSize);
  NEED(sqlite3_file_control(db, "main", SQLITE_FCNTL_RESERVE_BYTES, &nKept)==SQLITE_OK);
  exec(db, "CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)");
  exec(db, "CREATE TABLE k(w TEXT PRIMARY KEY, b BLOB) WITHOUT ROWID");
  exec(db, "CREATE INDEX by_b ON t(b)");
  exec(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<300)"
    " INSERT INTO t SELECT i, randomblob(i*i*7919%21001) FROM n");
  exec(db, "INSERT INTO t SELECT id+1000000000, randomblob(length(b)*7%3001) FROM t WHERE id%2=0");
  exec(db, "DELETE FROM t WHERE id%3=0");
  exec(db, "INSERT INTO t SELECT id+5000000000, randomblob(id*31%9001) FROM t LIMIT 90");
  exec(db, "INSERT INTO k SELECT hex(randomblob(id*104729%1501)) || id, randomblob(id%700)"
    " FROM t WHERE id<300");
  a = sqlite3_serialize(db, "main", &n, 0);
  NEED(a!=NULL);
  made.szPage = szPage;
  made.szUsable = szPage-(uint32_t)nReserved;
  made.nPage = (uint32_t)(n/szPage);
  made.aByte = malloc((size_t)n);
  NEED(made.aByte!=NULL);
  memcpy(made.aByte, a, (size_t)n);
  CHECK_INT(made.aByte[20], nReserved);
  sqlite3_free(a);
  sqlite3_close(db);
  return made;
}

/* Enters a database as one file, all of its pages in one run. */
static int enter(Made *p, int *piRun){
  uint32_t *aPgno = malloc(p->nPage*sizeof(*aPgno)), i;
  LtxFile *pFile;
  int iObject;
  NEED(aPgno!=NULL);
  for(i=0; i<p->nPage; i++) aPgno[i] = i+1;
  pFile = ltxBuild(p->szPage, p->nPage, 1, aPgno, p->nPage, fillMade, p, ENCODE_BLOCK);
  iObject = ltxObject(pFile, 1, 10000);
  NEED(iObject>0);
  *piRun = ltxLoad(pFile, iObject, 0, (int)p->nPage);
  NEED(*piRun>0);
  ltxFree(pFile);
  free(aPgno);
  return iObject;
}

static void leave(int iObject, int iRun){
  CHECK_INT(ls_run_free(iRun), 0);
  CHECK_INT(ls_object_free(iObject), 0);
}

/* Pages on the freelist, trunks too; each is noted in aSeen. */
static uint32_t freePages(const Made *p, uint8_t *aSeen){
  uint32_t iTrunk = word(p->aByte+32), n = 0, i;
  for(; iTrunk; iTrunk = word(madePage(p, iTrunk))){
    const uint8_t *a = madePage(p, iTrunk);
    aSeen[iTrunk] = 1;
    for(i=0; i<word(a+4); i++) aSeen[word(a+8+i*4)] = 1;
    n += 1+word(a+4);
  }
  return n;
}

/* Follows a chain; returns how many pages it has. */
static uint32_t follow(const Made *p, uint32_t iPgno, uint8_t *aSeen){
  uint32_t n = 0;
  for(; iPgno && n<p->nPage; iPgno = word(madePage(p, iPgno)), n++){
    NEED(iPgno<=p->nPage);
    CHECK_INT(aSeen[iPgno], 0);
    aSeen[iPgno] = 1;
  }
  return n;
}

/* Each entry's chain is as long as it says; with trees' pages and free ones, chains are all there is. */
static void wholeDatabase(uint32_t szPage, int nReserved){
  Made made = make(szPage, nReserved);
  uint8_t *aSeen = calloc(made.nPage+1, 1);
  uint8_t *aTold = calloc(made.nPage+1, 1);
  int iRun, iObject = enter(&made, &iRun), n, i, nChain = 0;
  uint32_t iPgno, iLast = 0, nFree;
  NEED(aSeen!=NULL && aTold!=NULL);
  nFree = freePages(&made, aSeen);
  n = ls_run_chains(iRun, iObject, 0, (int)made.szUsable, made.nPage, aEntry, ENTRY_MAX*3);
  NEED(n>0 && n<=ENTRY_MAX);
  for(i=0; i<n; i++){
    const uint32_t *a = &aEntry[i*3];
    int bFirst = a[0]!=iLast;
    CHECK(a[0]>=iLast && a[0]<=made.nPage);
    iLast = a[0];
    if( aSeen[a[0]]==1 ) continue;                       /* a free page keeps what it held */
    CHECK(bFirst || a[1]>0);
    aTold[a[0]] = 1;
    if( a[1]==0 ){
      CHECK_INT(a[2], 0);
      continue;
    }
    CHECK_INT(follow(&made, a[1], aSeen), a[2]);
    nChain++;
  }
  for(iPgno=1; iPgno<=made.nPage; iPgno++){
    uint8_t eType = madePage(&made, iPgno)[iPgno==1 ? 100 : 0];
    if( aSeen[iPgno] ) continue;
    CHECK(eType==0x0d || eType==0x0a || eType==0x05 || eType==0x02);
    CHECK_INT(aTold[iPgno], eType!=0x05);
  }
  printf("# %u pages of %u bytes, %d kept back: %d chains, %u free pages\n", made.nPage, szPage, nReserved,
    nChain, nFree);
  CHECK(nChain>100 || szPage==65536);
  leave(iObject, iRun);
  free(aSeen);
  free(aTold);
  free(made.aByte);
}

static void testSizes(void){
  wholeDatabase(512, 0);
  wholeDatabase(512, 32);
  wholeDatabase(1024, 12);
  wholeDatabase(4096, 0);
  wholeDatabase(4096, 255);
  wholeDatabase(16384, 1);
  wholeDatabase(65536, 0);
  CHECK_EMPTY();
}

/* A bound on entries changes how many are told, not how many there are; nothing is written behind them. */
static void testBounds(void){
  Made made = make(1024, 0);
  int iRun, iObject = enter(&made, &iRun), n, nPart, i;
  n = ls_run_chains(iRun, iObject, 0, 1024, made.nPage, aEntry, ENTRY_MAX*3);
  for(i=0; i<30; i++){
    uint32_t *a = malloc((size_t)i*sizeof(*a)+1);
    NEED(a!=NULL);
    CHECK_INT(ls_run_chains(iRun, iObject, 0, 1024, made.nPage, a, i), n);
    CHECK_INT(memcmp(a, aEntry, (size_t)(i/3)*12), 0);
    free(a);
  }
  nPart = ls_run_chains(iRun, iObject, (int)made.nPage/2, 1024, made.nPage, aEntry, ENTRY_MAX*3);
  CHECK(nPart>0 && nPart<n);
  CHECK(aEntry[0]>made.nPage/2);
  CHECK_INT(ls_run_chains(iRun, iObject, 0, 1024, 1, aEntry, 3) > 0, 1);
  CHECK_INT(aEntry[1], 0);                               /* no page past 1: no chain */
  CHECK_INT(ls_run_chains(iRun, iObject, (int)made.nPage, 1024, made.nPage, aEntry, 3), LS_MISUSE);
  CHECK_INT(ls_run_chains(iRun, iObject, -1, 1024, made.nPage, aEntry, 3), LS_MISUSE);
  CHECK_INT(ls_run_chains(iRun, iObject, 0, 2048, made.nPage, aEntry, 3), LS_MISUSE);
  CHECK_INT(ls_run_chains(iRun, iObject, 0, 479, made.nPage, aEntry, 3), LS_MISUSE);
  CHECK_INT(ls_run_chains(iRun, iObject, 0, 65537, made.nPage, aEntry, 3), LS_MISUSE);
  CHECK_INT(ls_run_chains(iRun, iObject, 0, 1024, made.nPage, aEntry, -1), LS_MISUSE);
  CHECK_INT(ls_run_chains(iRun, 0, 0, 1024, made.nPage, aEntry, 3), LS_MISUSE);
  leave(iObject, iRun);
  CHECK_INT(ls_run_chains(iRun, iObject, 0, 1024, made.nPage, aEntry, 3), LS_MISUSE);
  free(made.aByte);
  CHECK_EMPTY();
}

/* Damages pages, most often where it matters: in headers and pointers. */
static void damage(Made *p){
  uint32_t iPgno;
  for(iPgno=1; iPgno<=p->nPage; iPgno++){
    uint8_t *a = p->aByte+(size_t)(iPgno-1)*p->szPage;
    uint32_t i, n = randomBelow(&seed, 20);
    if( randomBelow(&seed, 8)==0 ){
      for(i=0; i<p->szPage; i++) a[i] = (uint8_t)randomNext(&seed);
      a[iPgno==1 ? 100 : 0] = (uint8_t)(randomBelow(&seed, 2) ? 0x0d : 0x0a-8*randomBelow(&seed, 2));
      if( randomBelow(&seed, 2) ) a[iPgno==1 ? 103 : 3] = 0;
    }
    for(i=0; i<n; i++){
      uint32_t iAt = randomBelow(&seed, randomBelow(&seed, 2) ? 40 : p->szPage);
      a[iAt] = (uint8_t)(randomBelow(&seed, 2) ? 0xff : randomNext(&seed));
    }
  }
}

/* Whatever the bytes are, entries are plausible, and the sanitizers see that nothing else was read. */
static void testDamage(void){
  static const int aSize[] = {512, 1024, 4096};
  int nDone = 0, nChain = 0, k = 0;
  while( nDone<nRounds ){
    int nReserved = (int)randomBelow(&seed, 33), iRun, iObject, n, i, j;
    Made made = make((uint32_t)aSize[k++%3], nReserved);
    uint8_t *aWhole = malloc((size_t)made.nPage*made.szPage);
    NEED(aWhole!=NULL);
    memcpy(aWhole, made.aByte, (size_t)made.nPage*made.szPage);
    for(j=0; j<10 && nDone<nRounds; j++){
      memcpy(made.aByte, aWhole, (size_t)made.nPage*made.szPage);
      damage(&made);
      iObject = enter(&made, &iRun);
      n = ls_run_chains(iRun, iObject, 0, (int)made.szUsable, made.nPage, aEntry, ENTRY_MAX*3);
      NEED(n>=0 && n<=ENTRY_MAX);
      for(i=0; i<n; i++){
        const uint32_t *a = &aEntry[i*3];
        CHECK(a[0]>0 && a[0]<=made.nPage && a[1]!=1 && a[1]<=made.nPage && a[2]<made.nPage);
        CHECK((a[1]==0)==(a[2]==0));
        nChain += a[1]>0;
      }
      nDone += (int)made.nPage;
      leave(iObject, iRun);
    }
    free(aWhole);
    free(made.aByte);
  }
  printf("# %d pages damaged, %d chains in them\n", nDone, nChain);
  CHECK(nChain>nDone/100);
  CHECK_EMPTY();
}

int main(void){
  seed = (uint64_t)setting("SEED", (int)(nowMs() & 0x3fffffff)+1);
  nRounds = setting("ROUNDS", getenv("LONG") ? 1000000 : 100000);
  printf("# SEED=%llu ROUNDS=%d\n", (unsigned long long)seed, nRounds);
  RUN("ls_run_chains() tells every chain of a database and its length", testSizes);
  RUN("ls_run_chains() fills what it is given and counts the rest", testBounds);
  RUN("ls_run_chains() tells plausible chains of damaged pages", testDamage);
  return finish();
}
