/*
** Readers copy pages out of a pool of 16 buffers while the core evicts, publishes and relocates.
**
** Every page is filled from (page, version), and which version a page has at a TXID is a formula, so a reader can check
** whatever it reads against the TXID that its view has. ROUNDS: transactions of each reader; 250 times as many steps of
** the core where runs are moved.
*/
#include "harness.h"

#define PAGE_SIZE   512
#define COMMIT      2500                 /* three chunks of a page map */
#define READERS     8
#define POOL        16
#define OBJECTS_MAX 256

static TestCore core;
static int iReplica;
static int iView;                        /* the newest, ours */
static uint64_t iTxid;
static uint32_t iStamp;
static int aObject[OBJECTS_MAX];         /* live ones */
static int nObject;
static LtxFile *apLtx[CORE_OBJECTS];     /* by object */
static int nPublish, nRelocate, nIdle, nCarried;
static atomic_int nLost;                 /* transactions whose files were gone */

/* Whether TXID t changed a page, and the last one up to t that did. */
static int changed(uint64_t t, uint32_t iPgno){
  uint64_t x = (t*0x9E3779B97F4A7C15ull) ^ ((uint64_t)iPgno*0xD6E8FEB86659FD93ull);
  x ^= x>>29;
  return t==1 || iPgno==1 || (t%5==0 ? iPgno<=1024 && x%3==0 : x%97==0);   /* at times one chunk, at times a few of all */
}
static uint64_t version(uint64_t t, uint32_t iPgno){
  while( !changed(t, iPgno) ) t--;
  return t;
}
static uint64_t word(uint64_t iVersion, uint32_t iPgno, uint32_t i){
  return (iVersion<<40) ^ ((uint64_t)iPgno<<16) ^ i;
}

static void fillPage(void *pArg, uint32_t iPgno, uint8_t *aPage, uint32_t szPage){
  uint64_t v = version(*(uint64_t*)pArg, iPgno);
  uint32_t i;
  for(i=0; i<szPage/8; i++){
    uint64_t w = word(v, iPgno, i);
    memcpy(aPage+i*8, &w, 8);
  }
}

static void addObject(LtxFile *pFile, int *piObject){
  *piObject = ltxObject(pFile, iReplica, 100000);
  NEED(*piObject>0 && *piObject<CORE_OBJECTS && nObject<OBJECTS_MAX);
  aObject[nObject++] = *piObject;
  apLtx[*piObject] = pFile;
  core.apFile[*piObject] = pFile;
}

/* Gives up the objects that only we hold. */
static void sweep(void){
  int i, n = 0;
  for(i=0; i<nObject; i++){
    int iObject = aObject[i];
    if( ls_object_refs(iObject)==1 ){
      LtxFile *p = apLtx[iObject];
      apLtx[iObject] = NULL;
      coreDropObject(&core, iObject);
      ltxFree(p);
    }else{
      aObject[n++] = iObject;
    }
  }
  nObject = n;
}

static void publish(int iMap){
  int iNew = ls_map_view(iMap, iReplica, iTxid, COMMIT, iStamp, iTxid*1000);
  NEED(iNew>0);
  CHECK_INT(ls_view_publish(iNew), 0);
  if( iView ) CHECK_INT(ls_view_release(iView), 0);
  iView = iNew;
  sweep();
}

/* The next TXID: a few pages, on top of the view before. */
static void step(void){
  uint32_t aPgno[COMMIT], n = 0, i;
  int iMap, iObject;
  LtxFile *p;
  iTxid++;
  for(i=1; i<=COMMIT; i++) if( changed(iTxid, i) ) aPgno[n++] = i;
  p = ltxBuild(PAGE_SIZE, COMMIT, iTxid==1, aPgno, n, fillPage, &iTxid, iTxid & 1 ? ENCODE_BLOCK : ENCODE_FRAME);
  addObject(p, &iObject);
  iStamp = (uint32_t)ls_stamp();
  iMap = ls_map_new(iView, PAGE_SIZE);
  NEED(iMap>0 && ls_map_apply(iMap, iObject, 0, COMMIT)==0);
  publish(iMap);
  nPublish++;
}

/* What of the newest view is in memory stands for the same pages of an object that has them all; runs are of one page. */
static void carry(int iObject){
  LsView *pView = lsViewById((uint32_t)iView);
  uint32_t iPgno;
  NEED(pView!=NULL);
  for(iPgno=1; iPgno<=COMMIT; iPgno++){
    uint32_t iFrame = lsViewFrame(pView, iPgno);
    LsObject *pFrom = lsFrameObject(iFrame);
    int iRun = (int)atomic_load(&pFrom->aRun[iFrame-pFrom->iFirst]);
    int rc = iRun ? ls_run_move(iRun, iObject, (int)iPgno-1) : LS_BUSY;
    int i;
    if( rc ) CHECK_INT(rc, LS_BUSY);
    for(i=0; i<core.nRun && rc==0; i++) if( core.aRun[i]==iRun ) core.aRunObject[i] = iObject;
    nCarried += rc==0;
  }
  lsViewUnref(pView);
}

/*
** The same content in one new file: what compaction does. Every other time the old files are gone for good: readers of
** this TXID are led to the new one, those of earlier ones must fail.
*/
static void relocate(void){
  uint32_t aPgno[COMMIT], i;
  int iMap, iObject;
  for(i=0; i<COMMIT; i++) aPgno[i] = i+1;
  addObject(ltxBuild(PAGE_SIZE, COMMIT, 1, aPgno, COMMIT, fillPage, &iTxid, ENCODE_BLOCK), &iObject);
  iMap = ls_map_new(0, PAGE_SIZE);
  NEED(iMap>0 && ls_map_apply(iMap, iObject, 0, COMMIT)==0);
  for(i=0; nRelocate%2 && (int)i<nObject-1; i++) core.apFile[aObject[i]] = NULL;
  carry(iObject);
  publish(iMap);
  nRelocate++;
}

static void idle(TestCore *p){
  (void)p;
  if( ++nIdle%8 ) return;
  if( nIdle%64==0 ) relocate(); else step();
}

static void checkPage(uint64_t t, uint32_t iPgno, const uint8_t *aPage, int iFrom, int n){
  uint64_t v = version(t, iPgno);
  int i;
  for(i=0; i<n; i++){
    int at = iFrom+i;
    uint64_t w = word(v, iPgno, (uint32_t)at/8);
    uint8_t aWord[8];
    if( iPgno==1 && at<100 ) continue;       /* stamped */
    memcpy(aWord, &w, 8);
    if( aWord[at & 7]!=aPage[i] ){
      checkFailed(__FILE__, __LINE__, "page %u byte %d at TXID %llu differs", iPgno, at, (unsigned long long)t);
      return;
    }
  }
}

static char *pragma(sqlite3_file *pFile, const char *zName){
  char z[32];
  char *az[3] = {NULL, z, NULL};
  snprintf(z, sizeof(z), "%s", zName);
  CHECK_INT(pFile->pMethods->xFileControl(pFile, SQLITE_FCNTL_PRAGMA, az), SQLITE_OK);
  return az[0];
}

static uint64_t txidOf(sqlite3_file *pFile){
  char *z = pragma(pFile, "litestream_txid");
  uint64_t t = z ? strtoull(z, NULL, 16) : 0;
  sqlite3_free(z);
  return t;
}

/* Whether it could be read; a TXID whose files are gone cannot. */
static int readOne(sqlite3_file *pFile, uint64_t t, uint64_t *pSeed){
  uint8_t aOut[PAGE_SIZE*3];
  uint32_t iPgno = 1+randomBelow(pSeed, randomBelow(pSeed, 2) ? 20 : COMMIT);
  int nPage = iPgno+2<=COMMIT && randomBelow(pSeed, 8)==0 ? 3 : 1;
  int rc = pFile->pMethods->xRead(pFile, aOut, nPage*PAGE_SIZE, (sqlite3_int64)(iPgno-1)*PAGE_SIZE);
  int i;
  if( rc!=SQLITE_OK ){
    char *zError = pragma(pFile, "litestream_error");
    CHECK_INT(rc, SQLITE_IOERR_READ);
    CHECK_TEXT(zError, "its place keeps changing");
    sqlite3_free(zError);
    atomic_fetch_add(&nLost, 1);
    return 0;
  }
  for(i=0; i<nPage; i++) checkPage(t, iPgno+(uint32_t)i, aOut+i*PAGE_SIZE, 0, PAGE_SIZE);
  return 1;
}

static void *reader(void *pArg){
  int nRound = setting("ROUNDS", 400);
  uint64_t seed = (uint64_t)(size_t)pArg*7919+1;
  sqlite3_vfs *pVfs = sqlite3_vfs_find("litestream");
  sqlite3_file *pFile = calloc(1, (size_t)pVfs->szOsFile);
  char zPath[64], zJournal[80], zWal[80];
  sqlite3_filename zName;
  int i, j, flags = 0;
  NEED(pFile!=NULL);
  snprintf(zPath, sizeof(zPath), "/sentinel/%d.db", ls_replica_ticket(iReplica, 60000, ""));
  snprintf(zJournal, sizeof(zJournal), "%s-journal", zPath);
  snprintf(zWal, sizeof(zWal), "%s-wal", zPath);
  zName = sqlite3_create_filename(zPath, zJournal, zWal, 0, NULL);
  NEED(pVfs->xOpen(pVfs, zName, pFile, SQLITE_OPEN_MAIN_DB|SQLITE_OPEN_READWRITE, &flags)==SQLITE_OK);
  CHECK(flags & SQLITE_OPEN_READONLY);
  for(i=0; i<nRound; i++){
    uint64_t t;
    uint8_t aHead[16];
    uint32_t iBefore, iAfter;
    int bAll = 1;
    CHECK_INT(pFile->pMethods->xLock(pFile, SQLITE_LOCK_SHARED), SQLITE_OK);
    t = txidOf(pFile);
    bAll = pFile->pMethods->xRead(pFile, aHead, 16, 24)==SQLITE_OK;
    memcpy(&iBefore, aHead, 4);
    for(j=(int)randomBelow(&seed, i%50==0 ? 200 : 12); j>=0 && bAll; j--) bAll = readOne(pFile, t, &seed);
    if( bAll ){
      CHECK_INT(pFile->pMethods->xRead(pFile, aHead, 16, 24), SQLITE_OK);
      memcpy(&iAfter, aHead, 4);
      CHECK_INT(iAfter, iBefore);
    }
    CHECK_INT(txidOf(pFile), t);
    CHECK_INT(pFile->pMethods->xUnlock(pFile, SQLITE_LOCK_NONE), SQLITE_OK);
  }
  CHECK_INT(pFile->pMethods->xClose(pFile), SQLITE_OK);
  sqlite3_free_filename(zName);
  free(pFile);
  return NULL;
}

static void readersBesideEviction(void){
  pthread_t aThread[READERS];
  uint64_t aStat[LS_STAT_COUNT];
  size_t i;
  memset(&core, 0, sizeof(core));
  core.nRunMax = POOL;
  coreBegin(&core);
  iReplica = ls_replica_new(core.iCore, 60000);
  NEED(iReplica>0);
  pthread_mutex_lock(&core.mu);
  step();
  core.xIdle = idle;
  pthread_mutex_unlock(&core.mu);
  for(i=0; i<READERS; i++) NEED(pthread_create(&aThread[i], NULL, reader, (void*)(i+1))==0);
  for(i=0; i<READERS; i++) pthread_join(aThread[i], NULL);
  pthread_mutex_lock(&core.mu);
  core.xIdle = NULL;
  CHECK(ls_replica_stats(iReplica, aStat, LS_STAT_COUNT)==LS_STAT_COUNT);
  printf("# %llu hits, %llu misses, %llu transactions, %d evicted, %d passed over, %d published, %d relocated, %d carried over, %d lost\n",
    (unsigned long long)aStat[0], (unsigned long long)aStat[1], (unsigned long long)aStat[2], core.nEvicted,
    core.nBusy, nPublish, nRelocate, nCarried, atomic_load(&nLost));
  CHECK_INT(aStat[2], READERS*setting("ROUNDS", 400));
  CHECK(core.nRun<=POOL+READERS);
  CHECK(atomic_load(&nLost)<READERS*setting("ROUNDS", 400)/4);
  CHECK(core.nEvicted>POOL && nPublish>2 && nRelocate>0 && nCarried>0);
  sweep();
  while( nObject>0 ){
    LtxFile *p = apLtx[aObject[--nObject]];
    coreDropObject(&core, aObject[nObject]);
    ltxFree(p);
  }
  CHECK_INT(ls_view_release(iView), 0);
  CHECK_INT(ls_replica_close(iReplica), 0);
  pthread_mutex_unlock(&core.mu);
  coreEnd(&core);
  CHECK_EMPTY();
}

/* ------------------------------------------------------------------------- runs that move under their readers */

#define MOVE_COMMIT  96
#define MOVE_READERS 4
#define MOVE_RUNS    24
#define MOVE_PAGES   48                  /* pages of a run at most */

/* One of two objects with the same pages, and a view that has them there. */
typedef struct Side {
  LtxFile *pFile;
  uint32_t iFirst;                       /* the page of frame 0 */
  int iObject;
  int iView;
} Side;

typedef struct MovedRun { int iRun; int iSide; uint32_t iPgno; } MovedRun;

static Side aSide[2];
static int iHead;                        /* an object with page 1 alone, for the side that lacks it */
static MovedRun aMoved[MOVE_RUNS];
static int nMoved;
static atomic_int aSeen[2];              /* the sides' views */
static atomic_int bMoveStop;
static atomic_int nMoveRead;

static void fillMoved(void *pArg, uint32_t iPgno, uint8_t *aPage, uint32_t szPage){
  uint32_t i;
  (void)pArg;
  for(i=0; i<szPage/8; i++){
    uint64_t w = word(1, iPgno, i);
    memcpy(aPage+i*8, &w, 8);
  }
}

static LtxFile *moveFile(uint32_t iFirst, uint32_t iLast){
  uint32_t aPgno[MOVE_COMMIT], n = 0, i;
  for(i=iFirst; i<=iLast; i++) aPgno[n++] = i;
  return ltxBuild(PAGE_SIZE, MOVE_COMMIT, 0, aPgno, n, fillMoved, NULL, ENCODE_BLOCK);
}

static void sideMake(int iSide){
  Side *p = &aSide[iSide];
  int iMap = ls_map_new(0, PAGE_SIZE);
  p->iObject = ltxObject(p->pFile, iReplica, 1000);
  NEED(p->iObject>0 && iMap>0);
  if( p->iFirst>1 ) CHECK_INT(ls_map_apply(iMap, iHead, 0, MOVE_COMMIT), 0);
  CHECK_INT(ls_map_apply(iMap, p->iObject, 0, MOVE_COMMIT), 0);
  p->iView = ls_map_view(iMap, iReplica, 1, MOVE_COMMIT, 1, 0);
  NEED(p->iView>0);
  atomic_store(&aSeen[iSide], p->iView);
}

static int moveOne(MovedRun *p){
  Side *pTo = &aSide[!p->iSide];
  int rc = ls_run_move(p->iRun, pTo->iObject, (int)p->iPgno-(int)pTo->iFirst);
  if( p->iPgno<pTo->iFirst ) CHECK_INT(rc, LS_MISUSE);
  else if( rc ) CHECK_INT(rc, LS_BUSY);
  if( rc==0 ) p->iSide = !p->iSide;
  return rc;
}

/* Gives up one side: its runs go over, or go; one that is being copied from goes with the object. */
static void sideDrop(int iSide){
  int i, n = 0;
  for(i=0; i<nMoved; i++){
    int bStays = aMoved[i].iSide!=iSide || moveOne(&aMoved[i])==0;
    if( bStays ) aMoved[n++] = aMoved[i];
    else ls_run_free(aMoved[i].iRun);
  }
  nMoved = n;
  atomic_store(&aSeen[iSide], 0);
  CHECK_INT(ls_view_release(aSide[iSide].iView), 0);
  CHECK_INT(ls_object_free(aSide[iSide].iObject), 0);
}

static void *moveReader(void *pArg){
  uint64_t seed = (uint64_t)(size_t)pArg*104729+1;
  uint8_t aOut[PAGE_SIZE], aWant[PAGE_SIZE];
  while( !atomic_load(&bMoveStop) ){
    uint32_t iPgno = 1+randomBelow(&seed, MOVE_COMMIT);
    int rc = ls_view_page(atomic_load(&aSeen[randomBelow(&seed, 2)]), iPgno, aOut, PAGE_SIZE);
    if( rc==0 ){
      fillMoved(NULL, iPgno, aWant, PAGE_SIZE);
      if( memcmp(aOut, aWant, PAGE_SIZE)!=0 ) checkFailed(__FILE__, __LINE__, "page %u differs", iPgno);
      atomic_fetch_add_explicit(&nMoveRead, 1, memory_order_relaxed);
    }else{
      CHECK(rc==LS_BUSY || rc==LS_MISUSE);       /* not in memory here, or given up a moment ago */
    }
  }
  return NULL;
}

static void readersBesideMoves(void){
  pthread_t aThread[MOVE_READERS];
  uint64_t seed = 4711, nByte = 0;
  LtxFile *pHead = moveFile(1, 1);
  int nStep = setting("ROUNDS", 400)*250, nTaken = 0, nPinned = 0, nFreed = 0, nDropped = 0;
  int iStep;
  size_t i;
  iHead = ltxObject(pHead, iReplica, 1000);
  for(i=0; i<2; i++){
    aSide[i].iFirst = (uint32_t)i+1;
    aSide[i].pFile = moveFile(aSide[i].iFirst, MOVE_COMMIT);
    sideMake((int)i);
  }
  for(i=0; i<MOVE_READERS; i++) NEED(pthread_create(&aThread[i], NULL, moveReader, (void*)(i+1))==0);
  for(iStep=0; iStep<nStep || atomic_load(&nMoveRead)<1000; iStep++){
    uint32_t eKind = randomBelow(&seed, 40);
    int iRun = (int)randomBelow(&seed, (uint32_t)nMoved);
    if( iStep%1000==999 ){
      int iSide = (int)randomBelow(&seed, 2);
      sideDrop(iSide);
      sideMake(iSide);
      nDropped++;
    }else if( nMoved<MOVE_RUNS && (eKind<3 || nMoved==0) ){
      MovedRun *p = &aMoved[nMoved];
      uint32_t nPage = 1+randomBelow(&seed, MOVE_PAGES);
      Side *pSide;
      p->iSide = (int)randomBelow(&seed, 2);
      pSide = &aSide[p->iSide];
      p->iPgno = pSide->iFirst+randomBelow(&seed, MOVE_COMMIT-MOVE_PAGES);
      p->iRun = ltxLoad(pSide->pFile, pSide->iObject, (int)(p->iPgno-pSide->iFirst), (int)nPage);
      if( p->iRun>0 ) nMoved++;
      else CHECK_INT(p->iRun, LS_MISUSE);        /* one of these pages is there already */
    }else if( eKind==3 ){
      int rc = ls_run_free(aMoved[iRun].iRun);
      if( rc ) CHECK_INT(rc, LS_BUSY);
      else aMoved[iRun] = aMoved[--nMoved];
      nFreed += rc==0;
    }else{
      int rc = moveOne(&aMoved[iRun]);
      nTaken += rc==0;
      nPinned += rc==LS_BUSY;
    }
  }
  atomic_store(&bMoveStop, 1);
  for(i=0; i<MOVE_READERS; i++) pthread_join(aThread[i], NULL);
  printf("# %d moved, %d left as they were, %d freed, %d objects given up, %d pages read\n", nTaken, nPinned, nFreed,
    nDropped, atomic_load(&nMoveRead));
  CHECK(nTaken>1000 && nFreed>10 && nDropped>10);
  for(i=0; i<(size_t)nMoved; i++){
    uint64_t nBefore, nAfter;
    ls_pool_bytes(&nBefore);
    CHECK_INT(ls_run_free(aMoved[i].iRun), 0);   /* nobody has a pin left */
    ls_pool_bytes(&nAfter);
    CHECK(nAfter<nBefore && (nBefore-nAfter)%PAGE_SIZE==0);
  }
  nMoved = 0;
  ls_pool_bytes(&nByte);
  CHECK_INT(nByte, 0);
  for(i=0; i<2; i++){
    sideDrop((int)i);
    ltxFree(aSide[i].pFile);
  }
  CHECK_INT(ls_object_free(iHead), 0);
  ltxFree(pHead);
  CHECK_EMPTY();
}

int main(void){
  NEED(hostLoad()>0);
  NEED(ls_sentinel("/sentinel/")==1);
  RUN("ls_run_free() never takes a page from under a reader, and nothing is left", readersBesideEviction);
  RUN("ls_run_move() never moves a page from under a reader, and nothing is left", readersBesideMoves);
  return finish();
}
