/*
** Flags of pages in the pool: what was used, what was loaded ahead, and marks, which are told to the core once.
**
** ROUNDS: marks set while readers run.
*/
#include <sched.h>
#include "harness.h"

#define PAGES     64
#define PAGE_SIZE 512
#define READERS   4

static TestCore core;
static int iReplica, iObject, iView;
static LtxFile *pLtx;
static int aTold[PAGES+1];                 /* marks told of, by page; guarded by core.mu, as are the next two */
static uint32_t iToldConnection;
static int nToldView;                      /* of these, with the view that is the newest */

static void fillPage(void *pArg, uint32_t iPgno, uint8_t *aPage, uint32_t szPage){
  (void)pArg;
  memset(aPage, (int)iPgno, szPage);
}

/* Runs in the core's thread, which holds core.mu. */
static void told(TestCore *p, const uint32_t *a){
  (void)p;
  CHECK_INT(a[3], iReplica);
  CHECK(a[5]>0 && a[5]<=PAGES);
  CHECK(a[8]!=0);
  if( a[5]<=PAGES ) aTold[a[5]]++;
  iToldConnection = a[8];
  nToldView += (int)a[4]==iView;
}

static LtxFile *allPages(void){
  uint32_t aPgno[PAGES], i;
  for(i=0; i<PAGES; i++) aPgno[i] = i+1;
  return ltxBuild(PAGE_SIZE, PAGES, 1, aPgno, PAGES, fillPage, NULL, ENCODE_BLOCK);
}

static int viewOf(int iOfObject){
  int iMap = ls_map_new(0, PAGE_SIZE), iNew;
  NEED(iMap>0 && ls_map_apply(iMap, iOfObject, 0, PAGES)==0);
  iNew = ls_map_view(iMap, iReplica, 1, PAGES, 77, 0);
  NEED(iNew>0);
  return iNew;
}

/* Takes the core's place: its thread waits meanwhile. */
static void asCore(void){ pthread_mutex_lock(&core.mu); }
static void leaveCore(void){ pthread_mutex_unlock(&core.mu); }

static void begin(void){
  memset(&core, 0, sizeof(core));
  memset(aTold, 0, sizeof(aTold));
  iToldConnection = 0;
  nToldView = 0;
  core.xMark = told;
  coreBegin(&core);
  iReplica = ls_replica_new(core.iCore, 20000);
  pLtx = allPages();
  asCore();
  iObject = ltxObject(pLtx, iReplica, 1000);
  NEED(iReplica>0 && iObject>0);
  core.apFile[iObject] = pLtx;
  iView = viewOf(iObject);
  CHECK_INT(ls_view_publish(iView), 0);
  leaveCore();
}

static void end(void){
  asCore();
  if( iObject ) coreDropObject(&core, iObject);
  CHECK_INT(ls_view_release(iView), 0);
  CHECK_INT(ls_replica_close(iReplica), 0);
  leaveCore();
  coreEnd(&core);
  ltxFree(pLtx);
  CHECK_EMPTY();
}

static void readPages(ReplicaFile *p, uint32_t iFirst, uint32_t iLast){
  uint8_t aPage[PAGE_SIZE];
  uint32_t i;
  for(i=iFirst; i<=iLast; i++){
    CHECK_INT(filePage(p, i, aPage, PAGE_SIZE), SQLITE_OK);
    CHECK_INT(aPage[PAGE_SIZE-1], i);
  }
}

static uint64_t statOf(int iStat){
  uint64_t a[LS_STAT_COUNT];
  CHECK_INT(ls_replica_stats(iReplica, a, LS_STAT_COUNT), LS_STAT_COUNT);
  return a[iStat];
}

static uint64_t storedBytes(uint32_t iFirst, uint32_t iLast){
  uint64_t iFrom, iTo;
  NEED(ls_object_offset(iObject, (int)iFirst-1, &iFrom)==0 && ls_object_offset(iObject, (int)iLast, &iTo)==0);
  return iTo-iFrom;
}

/* Waits until the core has been told of n marks on a page. */
static int toldOf(uint32_t iPgno, int n){
  int i, nNow = 0;
  for(i=0; i<2000; i++){
    asCore();
    nNow = aTold[iPgno];
    leaveCore();
    if( nNow>=n ) break;
    sleepMs(1);
  }
  return nNow;
}

/* ---------------------------------------------------------------------------------------------------- tests */

static void counts(void){
  ReplicaFile f;
  int iRun;
  begin();
  asCore();
  iRun = ltxLoad(pLtx, iObject, 0, 1);     /* the ticket's, which takes no page */
  leaveCore();
  CHECK(iRun>0);
  fileOpen(&f, iReplica);
  asCore();
  iRun = ltxLoad(pLtx, iObject, 10, 10);   /* pages 11 to 20 */
  CHECK_INT(ls_run_flag(iRun, 10, 10, LS_FLAG_AHEAD), 0);
  CHECK_INT(ls_run_count(iRun, LS_FLAG_AHEAD, 0), 10);
  CHECK_INT(ls_run_count(iRun, LS_FLAG_USED, 0), 0);
  CHECK_INT(ls_run_count(iRun, 0, 0), 10);
  leaveCore();
  fileShare(&f);
  readPages(&f, 12, 15);
  readPages(&f, 12, 15);                   /* once is enough */
  readPages(&f, 30, 31);                   /* misses */
  fileLeave(&f);
  asCore();
  CHECK_INT(ls_run_count(iRun, LS_FLAG_USED, 0), 4);
  CHECK_INT(ls_run_count(iRun, LS_FLAG_AHEAD, LS_FLAG_USED), 6);
  CHECK_INT(ls_run_count(iRun, LS_FLAG_AHEAD|LS_FLAG_USED, 0), 4);
  CHECK_INT(ls_run_count(iRun, LS_FLAG_MARK, 0), 0);
  leaveCore();
  CHECK_INT(statOf(LS_STAT_USED), storedBytes(12, 15)+storedBytes(30, 31));
  CHECK_INT(statOf(LS_STAT_AHEAD), 4);
  CHECK_INT(statOf(LS_STAT_MISS), 2);
  fileEnd(&f);
  end();
}

static void *readAll(void *pArg){
  ReplicaFile f;
  uint64_t seed = (uint64_t)(size_t)pArg*7919+1;
  uint32_t iFrom = randomBelow(&seed, PAGES);
  fileOpen(&f, iReplica);
  fileShare(&f);
  readPages(&f, iFrom+1, PAGES);
  readPages(&f, 1, iFrom);
  fileLeave(&f);
  fileEnd(&f);
  return NULL;
}

/* Whoever is first: a page counts once, a mark is told once. */
static void atOnce(void){
  pthread_t aThread[READERS];
  int iRun, iRound;
  size_t i;
  for(iRound=0; iRound<20; iRound++){
    begin();
    asCore();
    iRun = ltxLoad(pLtx, iObject, 0, PAGES);
    CHECK_INT(ls_run_flag(iRun, 0, PAGES, LS_FLAG_AHEAD), 0);
    CHECK_INT(ls_run_flag(iRun, 1, PAGES-1, LS_FLAG_MARK), 0);   /* not page 1, of which the ticket has the head */
    leaveCore();
    for(i=0; i<READERS; i++) NEED(pthread_create(&aThread[i], NULL, readAll, (void*)(i+1))==0);
    for(i=0; i<READERS; i++) pthread_join(aThread[i], NULL);
    for(i=2; i<=PAGES; i++) CHECK_INT(toldOf((uint32_t)i, 1), 1);
    CHECK_INT(nToldView, PAGES-1);
    CHECK_INT(ls_run_count(iRun, LS_FLAG_USED, LS_FLAG_MARK), PAGES);
    CHECK_INT(statOf(LS_STAT_USED), storedBytes(1, PAGES));
    CHECK_INT(statOf(LS_STAT_AHEAD), PAGES);
    end();
  }
}

static atomic_int bStop;

static void *readOn(void *pArg){
  ReplicaFile f;
  uint64_t seed = (uint64_t)(size_t)pArg*104729+1;
  fileOpen(&f, iReplica);
  while( !atomic_load(&bStop) ){
    int i;
    fileShare(&f);
    for(i=0; i<50; i++){
      uint32_t iPgno = 2+randomBelow(&seed, 8);
      readPages(&f, iPgno, iPgno);
    }
    fileLeave(&f);
  }
  fileEnd(&f);
  return NULL;
}

/* Marks come anew on pages in use: each is told once, set by run or by object. */
static void marksMeanwhile(void){
  pthread_t aThread[READERS];
  int nRound = setting("ROUNDS", 1000);
  int aSet[PAGES+1], iRun, iRound;
  int64_t msEnd = nowMs()+60000;
  uint64_t seed = 4711;
  size_t i;
  begin();
  memset(aSet, 0, sizeof(aSet));
  atomic_store(&bStop, 0);
  asCore();
  iRun = ltxLoad(pLtx, iObject, 0, PAGES);
  leaveCore();
  for(i=0; i<READERS; i++) NEED(pthread_create(&aThread[i], NULL, readOn, (void*)(i+1))==0);
  for(iRound=0; iRound<nRound && nowMs()<msEnd; ){
    uint32_t iPgno = 2+randomBelow(&seed, 8);
    asCore();
    if( aTold[iPgno]==aSet[iPgno] ){       /* two marks that nobody took in between are one */
      if( ++iRound%2 ) CHECK_INT(ls_run_flag(iRun, (int)iPgno-1, 1, LS_FLAG_MARK), 0);
      else CHECK_INT(ls_object_flag(iObject, (int)iPgno-1, LS_FLAG_MARK), 1);
      aSet[iPgno]++;
    }
    leaveCore();
    sched_yield();
  }
  CHECK_INT(iRound, nRound);
  for(i=2; i<10; i++) CHECK_INT(toldOf((uint32_t)i, aSet[i]), aSet[i]);
  atomic_store(&bStop, 1);
  for(i=0; i<READERS; i++) pthread_join(aThread[i], NULL);
  for(i=2; i<10; i++) CHECK(aSet[i]>1);
  for(i=2; i<10; i++) CHECK_INT(aTold[i], aSet[i]);
  end();
}

static void moved(void){
  ReplicaFile f;
  LtxFile *pOther = allPages();
  int iOther, iRun, iBefore;
  begin();
  fileOpen(&f, iReplica);
  asCore();
  iOther = ltxObject(pOther, iReplica, 1000);
  iRun = ltxLoad(pLtx, iObject, 20, 4);    /* pages 21 to 24 */
  CHECK_INT(ls_run_flag(iRun, 20, 4, LS_FLAG_AHEAD), 0);
  CHECK_INT(ls_run_flag(iRun, 22, 1, LS_FLAG_MARK), 0);
  leaveCore();
  fileShare(&f);
  readPages(&f, 21, 21);
  fileLeave(&f);
  asCore();
  CHECK_INT(ls_run_move(iRun, iOther, 20), 0);
  CHECK_INT(ls_run_count(iRun, LS_FLAG_AHEAD, 0), 4);
  CHECK_INT(ls_run_count(iRun, LS_FLAG_USED, 0), 1);
  CHECK_INT(ls_run_count(iRun, LS_FLAG_MARK, 0), 1);
  CHECK_INT(ls_object_flag(iObject, 22, LS_FLAG_MARK), 0);       /* not there any more */
  CHECK_INT(ls_object_flag(iOther, 21, LS_FLAG_MARK), 1);
  iBefore = iView;
  iView = viewOf(iOther);
  CHECK_INT(ls_view_publish(iView), 0);
  CHECK_INT(ls_view_release(iBefore), 0);
  coreDropObject(&core, iObject);
  iObject = iOther;
  core.apFile[iObject] = pOther;
  leaveCore();
  fileShare(&f);
  readPages(&f, 21, 24);
  fileLeave(&f);
  CHECK_INT(toldOf(22, 1), 1);
  CHECK_INT(toldOf(23, 1), 1);
  CHECK_INT(nToldView, 2);
  CHECK_INT(iToldConnection, f.iConnection);
  CHECK_INT(statOf(LS_STAT_AHEAD), 4);
  CHECK_INT(statOf(LS_STAT_MISS), 1);      /* the ticket's */
  fileEnd(&f);
  end();
  ltxFree(pOther);
}

/* Runs are flagged, freed and loaded anew while readers take their pages. */
static void freedMeanwhile(void){
  pthread_t aThread[READERS];
  int aRun[8], iStep, nFreed = 0, nRound = setting("ROUNDS", 1000)*2;
  uint64_t seed = 99;
  size_t i;
  begin();
  memset(aRun, 0, sizeof(aRun));
  atomic_store(&bStop, 0);
  for(i=0; i<READERS; i++) NEED(pthread_create(&aThread[i], NULL, readOn, (void*)(i+1))==0);
  for(iStep=0; iStep<nRound; iStep++){
    int k = 1+(int)randomBelow(&seed, 8);
    int iRun;
    uint32_t aFrame[4];
    asCore();
    NEED(ls_object_frames(iObject, 0, k, 1, aFrame)==1);
    if( aFrame[2]==0 ){
      iRun = ltxLoad(pLtx, iObject, k, 1);
      CHECK(iRun>0);
      core.aRun[core.nRun] = iRun;
      core.aRunObject[core.nRun++] = iObject;
    }else{
      LsView *pView = lsViewById((uint32_t)iView);
      iRun = (int)atomic_load(&lsFrameObject(lsViewFrame(pView, (uint32_t)k+1))->aRun[k]);
      lsViewUnref(pView);
    }
    CHECK_INT(ls_object_flag(iObject, k, LS_FLAG_MARK|LS_FLAG_AHEAD), 1);
    CHECK_INT(ls_run_flag(iRun, k, 1, LS_FLAG_MARK), 0);
    CHECK(ls_run_count(iRun, LS_FLAG_AHEAD, 0)==1);
    if( ls_run_free(iRun)==0 ){
      int j;
      for(j=0; j<core.nRun && core.aRun[j]!=iRun; j++){}
      NEED(j<core.nRun);
      core.aRun[j] = core.aRun[--core.nRun];
      CHECK_INT(ls_run_flag(iRun, k, 1, LS_FLAG_MARK), LS_MISUSE);
      CHECK_INT(ls_object_flag(iObject, k, LS_FLAG_MARK), 0);
      nFreed++;
    }
    leaveCore();
    if( iStep%8==0 ) sleepMs(1);           /* readers have their turn */
  }
  atomic_store(&bStop, 1);
  for(i=0; i<READERS; i++) pthread_join(aThread[i], NULL);
  printf("# %d of %d freed, %llu hits, %llu misses\n", nFreed, nRound, (unsigned long long)statOf(LS_STAT_HIT),
    (unsigned long long)statOf(LS_STAT_MISS));
  CHECK(nFreed>nRound/10 && statOf(LS_STAT_HIT)>100 && statOf(LS_STAT_MISS)>100);
  end();
}

static void misuse(void){
  uint8_t aType[PAGES], aPage[PAGE_SIZE];
  int iRun;
  begin();
  asCore();
  iRun = ltxLoad(pLtx, iObject, 10, 4);
  CHECK_INT(ls_run_flag(iRun, 9, 1, LS_FLAG_MARK), LS_MISUSE);
  CHECK_INT(ls_run_flag(iRun, 13, 2, LS_FLAG_MARK), LS_MISUSE);
  CHECK_INT(ls_run_flag(iRun, -1, 1, LS_FLAG_MARK), LS_MISUSE);
  CHECK_INT(ls_run_flag(iRun, 10, -1, LS_FLAG_MARK), LS_MISUSE);
  CHECK_INT(ls_run_flag(iRun, 14, 0, LS_FLAG_MARK), 0);
  CHECK_INT(ls_run_count(iRun, LS_FLAG_MARK, 0), 0);
  CHECK_INT(ls_run_types(iRun, aType, PAGES), 4);
  CHECK_INT(aType[0], 11);
  CHECK_INT(ls_run_types(iRun, aType, 2), 2);
  CHECK_INT(ls_run_page(iRun, 13, aPage, PAGE_SIZE), 0);
  CHECK_INT(aPage[0], 14);
  CHECK_INT(ls_run_page(iRun, 14, aPage, PAGE_SIZE), LS_MISUSE);
  CHECK_INT(ls_run_page(iRun, 9, aPage, PAGE_SIZE), LS_MISUSE);
  CHECK_INT(ls_run_page(iRun, 10, aPage, PAGE_SIZE-1), LS_MISUSE);
  CHECK_INT(ls_object_flag(iObject, PAGES, LS_FLAG_MARK), LS_MISUSE);
  CHECK_INT(ls_object_flag(iObject, -1, LS_FLAG_MARK), LS_MISUSE);
  CHECK_INT(ls_object_flag(0, 0, LS_FLAG_MARK), LS_MISUSE);
  CHECK_INT(ls_object_flag(iObject, 0, LS_FLAG_MARK), 0);
  CHECK_INT(ls_run_free(iRun), 0);
  CHECK_INT(ls_run_flag(iRun, 10, 1, LS_FLAG_MARK), LS_MISUSE);
  CHECK_INT(ls_run_count(iRun, 0, 0), LS_MISUSE);
  CHECK_INT(ls_run_types(iRun, aType, PAGES), LS_MISUSE);
  CHECK_INT(ls_run_page(iRun, 10, aPage, PAGE_SIZE), LS_MISUSE);
  CHECK_INT(ls_run_flag(0, 10, 1, LS_FLAG_MARK), LS_MISUSE);
  CHECK_INT(ls_run_count(-1, 0, 0), LS_MISUSE);
  leaveCore();
  end();
}

int main(void){
  NEED(hostLoad()>0);
  NEED(ls_sentinel("/sentinel/")==1);
  RUN("ls_run_count() tells what was taken and what was loaded ahead", counts);
  RUN("a page counts once and its mark is told once, whichever reader takes it", atOnce);
  RUN("a mark that is set anew is told anew, once", marksMeanwhile);
  RUN("ls_run_move() takes the flags along", moved);
  RUN("ls_run_flag() never touches a page that is gone", freedMeanwhile);
  RUN("flags refuse what is outside the run, or gone", misuse);
  return finish();
}
