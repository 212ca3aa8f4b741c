/*
** Readers copy pages out of a pool of 16 buffers while the core evicts, publishes and relocates.
**
** Every page is filled from (page, version), and which version a page has at a TXID is a formula, so a reader can check
** whatever it reads against the TXID that its view has. ROUNDS: transactions of each reader.
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
static int nPublish, nRelocate, nIdle;
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
  printf("# %llu hits, %llu misses, %llu transactions, %d evicted, %d passed over, %d published, %d relocated, %d lost\n",
    (unsigned long long)aStat[0], (unsigned long long)aStat[1], (unsigned long long)aStat[2], core.nEvicted,
    core.nBusy, nPublish, nRelocate, atomic_load(&nLost));
  CHECK_INT(aStat[2], READERS*setting("ROUNDS", 400));
  CHECK(core.nRun<=POOL+READERS);
  CHECK(atomic_load(&nLost)<READERS*setting("ROUNDS", 400)/4);
  CHECK(core.nEvicted>POOL && nPublish>2 && nRelocate>0);
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

int main(void){
  NEED(hostLoad()>0);
  NEED(ls_sentinel("/sentinel/")==1);
  RUN("ls_run_free() never takes a page from under a reader, and nothing is left", readersBesideEviction);
  return finish();
}
