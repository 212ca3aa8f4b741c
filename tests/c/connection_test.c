/*
** Counters of connections, of their read transactions, and bounds: added to and read on other threads while connections
** come and go.
**
** ROUNDS: transactions of each reader.
*/
#include <sched.h>
#include "harness.h"

#define PAGES     64
#define PAGE_SIZE 512
#define READERS   4

static TestCore core;
static int iReplica, iObject, iView;
static LtxFile *pLtx;

static void fillPage(void *pArg, uint32_t iPgno, uint8_t *aPage, uint32_t szPage){
  (void)pArg;
  memset(aPage, (int)iPgno, szPage);
}

static void begin(void){
  uint32_t aPgno[PAGES], i;
  int iMap;
  memset(&core, 0, sizeof(core));
  coreBegin(&core);
  iReplica = ls_replica_new(core.iCore, 20000);
  for(i=0; i<PAGES; i++) aPgno[i] = i+1;
  pLtx = ltxBuild(PAGE_SIZE, PAGES, 1, aPgno, PAGES, fillPage, NULL, ENCODE_BLOCK);
  pthread_mutex_lock(&core.mu);
  iObject = ltxObject(pLtx, iReplica, 1000);
  iMap = ls_map_new(0, PAGE_SIZE);
  NEED(iReplica>0 && iObject>0 && ls_map_apply(iMap, iObject, 0, PAGES)==0);
  core.apFile[iObject] = pLtx;
  iView = ls_map_view(iMap, iReplica, 1, PAGES, (uint32_t)ls_stamp(), 0);
  NEED(iView>0 && ls_view_publish(iView)==0);
  pthread_mutex_unlock(&core.mu);
}

static void end(void){
  pthread_mutex_lock(&core.mu);
  coreDropObject(&core, iObject);
  ls_view_release(iView);
  ls_replica_close(iReplica);
  pthread_mutex_unlock(&core.mu);
  coreEnd(&core);
  ltxFree(pLtx);
  CHECK_EMPTY();
}

static void readPages(ReplicaFile *p, uint32_t iFirst, uint32_t iLast){
  uint8_t aPage[PAGE_SIZE];
  uint32_t i;
  for(i=iFirst; i<=iLast; i++) CHECK_INT(filePage(p, i, aPage, PAGE_SIZE), SQLITE_OK);
}

/* Counters of a connection, then of its transaction. */
static uint64_t aStat[2*LS_STAT_COUNT];
static const uint64_t *const aTransaction = aStat+LS_STAT_COUNT;

static void stats(const ReplicaFile *p){
  CHECK_INT(ls_connection_stats(iReplica, p->iConnection, aStat, 2*LS_STAT_COUNT), 2*LS_STAT_COUNT);
}

static uint64_t replicaStat(int iStat){
  uint64_t a[LS_STAT_COUNT];
  CHECK_INT(ls_replica_stats(iReplica, a, LS_STAT_COUNT), LS_STAT_COUNT);
  return a[iStat];
}

static void counted(void){
  ReplicaFile f, f2;
  begin();
  fileOpen(&f, iReplica);
  CHECK_INT(ls_connection_add(iReplica, f.iConnection, LS_STAT_GET, 1), 0);
  stats(&f);
  CHECK_INT(aStat[LS_STAT_MISS], 1);                   /* page 1, with the ticket */
  CHECK_INT(aStat[LS_STAT_GET], 1);
  CHECK_INT(aTransaction[LS_STAT_MISS]+aTransaction[LS_STAT_GET], 0);
  CHECK_INT(replicaStat(LS_STAT_MISS), 1);
  fileShare(&f);
  readPages(&f, 2, 9);
  readPages(&f, 2, 5);
  stats(&f);                                           /* at once, though the transaction is open */
  CHECK_INT(aStat[LS_STAT_MISS], 9);
  CHECK_INT(aStat[LS_STAT_HIT], 4);
  CHECK_INT(aTransaction[LS_STAT_MISS], 8);
  CHECK_INT(aTransaction[LS_STAT_HIT], 4);
  CHECK_INT(aTransaction[LS_STAT_USED], aStat[LS_STAT_USED]);
  CHECK(aStat[LS_STAT_USED]>0);
  CHECK_INT(aStat[LS_STAT_TRANSACTION], 1);
  fileLeave(&f);
  CHECK_INT(ls_connection_add(iReplica, f.iConnection, LS_STAT_BYTE, 1000), 0);
  stats(&f);
  CHECK_INT(aTransaction[LS_STAT_BYTE], 1000);         /* what comes late is still the last transaction's */
  fileShare(&f);
  readPages(&f, 2, 2);
  CHECK_INT(ls_connection_add(iReplica, f.iConnection, LS_STAT_ROUND_TRIP, 3), 0);
  CHECK_INT(ls_connection_add(iReplica, f.iConnection, LS_STAT_ROUND_TRIP, -1), 0);
  stats(&f);
  CHECK_INT(aTransaction[LS_STAT_HIT], 1);
  CHECK_INT(aTransaction[LS_STAT_MISS], 0);
  CHECK_INT(aTransaction[LS_STAT_BYTE], 0);
  CHECK_INT(aTransaction[LS_STAT_USED], 0);
  CHECK_INT(aTransaction[LS_STAT_ROUND_TRIP], 2);
  CHECK_INT(aStat[LS_STAT_HIT], 5);
  CHECK_INT(aStat[LS_STAT_TRANSACTION], 2);
  fileLeave(&f);
  fileOpen(&f2, iReplica);                             /* another's are its own */
  CHECK(f2.iConnection!=f.iConnection);
  stats(&f2);
  CHECK_INT(aStat[LS_STAT_HIT]+aStat[LS_STAT_MISS]+aStat[LS_STAT_BYTE], 0);
  fileEnd(&f2);
  CHECK_INT(replicaStat(LS_STAT_HIT), 5);
  CHECK_INT(replicaStat(LS_STAT_MISS), 9);
  CHECK_INT(replicaStat(LS_STAT_TRANSACTION), 2);
  CHECK_INT(replicaStat(LS_STAT_BYTE), 0);             /* the core adds to the replica itself */
  fileEnd(&f);
  end();
}

static void refused(void){
  ReplicaFile f;
  uint64_t a[4];
  int iOther;
  begin();
  iOther = ls_replica_new(core.iCore, 1000);
  fileOpen(&f, iReplica);
  CHECK_INT(ls_connection_add(iReplica, f.iConnection, LS_STAT_HIT, 1), LS_MISUSE);    /* the reader's own */
  CHECK_INT(ls_connection_add(iReplica, f.iConnection, LS_STAT_COUNT, 1), LS_MISUSE);
  CHECK_INT(ls_connection_add(iReplica, f.iConnection, -1, 1), LS_MISUSE);
  CHECK_INT(ls_connection_add(iOther, f.iConnection, LS_STAT_GET, 1), LS_GONE);
  CHECK_INT(ls_connection_add(iReplica, 0, LS_STAT_GET, 1), LS_GONE);
  CHECK_INT(ls_connection_add(iReplica, f.iConnection+1024, LS_STAT_GET, 1), LS_GONE); /* of the same bucket */
  CHECK_INT(ls_connection_stats(iReplica, f.iConnection, aStat, 2*LS_STAT_COUNT-1), LS_MISUSE);
  CHECK_INT(ls_connection_stats(iOther, f.iConnection, aStat, 2*LS_STAT_COUNT), LS_GONE);
  CHECK_INT(ls_connection_bound(iReplica, f.iConnection, LS_STAT_HIT, 1), LS_MISUSE);
  CHECK_INT(ls_connection_bound(iOther, f.iConnection, LS_STAT_GET, 1), LS_GONE);
  CHECK_INT(ls_replica_bound(iReplica, LS_STAT_MISS, 1), LS_MISUSE);
  CHECK_INT(ls_replica_bound(0, LS_STAT_GET, 1), LS_MISUSE);
  CHECK_INT(ls_connection_spent(iOther, f.iConnection, a), LS_GONE);
  stats(&f);
  CHECK_INT(aStat[LS_STAT_GET], 0);
  fileEnd(&f);
  CHECK_INT(ls_connection_add(iReplica, f.iConnection, LS_STAT_GET, 1), LS_GONE);
  CHECK_INT(ls_connection_stats(iReplica, f.iConnection, aStat, 2*LS_STAT_COUNT), LS_GONE);
  CHECK_INT(ls_connection_bound(iReplica, f.iConnection, LS_STAT_GET, 1), LS_GONE);
  CHECK_INT(ls_connection_spent(iReplica, f.iConnection, a), LS_GONE);
  CHECK_INT(ls_replica_close(iOther), 0);
  end();
}

static void spent(const ReplicaFile *p, uint64_t nRequest, uint64_t nRequestMax, uint64_t nByte, uint64_t nByteMax){
  uint64_t a[4];
  CHECK_INT(ls_connection_spent(iReplica, p->iConnection, a), 0);
  CHECK_INT(a[0], nRequest);
  CHECK_INT(a[1], nRequestMax);
  CHECK_INT(a[2], nByte);
  CHECK_INT(a[3], nByteMax);
}

static void bounds(void){
  ReplicaFile f, f2, f3;
  begin();
  fileOpen(&f, iReplica);
  CHECK_INT(ls_replica_bound(iReplica, LS_STAT_GET, 20), 0);
  CHECK_INT(ls_replica_bound(iReplica, LS_STAT_BYTE, (uint64_t)1<<40), 0);
  spent(&f, 0, 0, 0, 0);                               /* it came before */
  fileOpen(&f2, iReplica);
  fileOpen(&f3, iReplica);
  CHECK_INT(ls_connection_bound(iReplica, f3.iConnection, LS_STAT_GET, 0), 0);
  spent(&f2, 0, 20, 0, (uint64_t)1<<40);
  spent(&f3, 0, 0, 0, (uint64_t)1<<40);
  CHECK_INT(ls_connection_bound(iReplica, f3.iConnection, LS_STAT_BYTE, 500), 0);
  CHECK_INT(ls_connection_add(iReplica, f3.iConnection, LS_STAT_GET, 7), 0);
  spent(&f3, 0, 0, 0, 500);                            /* no transaction yet */
  fileShare(&f3);
  spent(&f3, 0, 0, 0, 500);
  CHECK_INT(ls_connection_add(iReplica, f3.iConnection, LS_STAT_GET, 2), 0);
  CHECK_INT(ls_connection_add(iReplica, f3.iConnection, LS_STAT_BYTE, 600), 0);
  spent(&f3, 2, 0, 600, 500);
  spent(&f2, 0, 20, 0, (uint64_t)1<<40);
  fileLeave(&f3);
  spent(&f3, 2, 0, 600, 500);
  fileShare(&f3);                                      /* anew */
  spent(&f3, 0, 0, 0, 500);
  fileLeave(&f3);
  fileEnd(&f);
  fileEnd(&f2);
  fileEnd(&f3);
  end();
}

/* ------------------------------------------------------------------------------------------------- threads */

static _Atomic uint32_t aSeen[READERS];                /* connections that come and go */
static atomic_int bStop, nFinder;                      /* nFinder: threads that look and have found one */
static _Atomic uint64_t aSum[LS_STAT_COUNT];           /* what readers' connections had at their end */

static void *comeAndGo(void *pArg){
  size_t iReader = (size_t)pArg;
  uint64_t a[2*LS_STAT_COUNT], seed = iReader*7919+1;
  int i, j, nRound = setting("ROUNDS", 400)/20;
  for(i=0; i<nRound; i++){
    ReplicaFile f;
    fileOpen(&f, iReplica);
    atomic_store(&aSeen[iReader], f.iConnection);
    for(j=0; j<20; j++){
      uint32_t iPgno = 1+randomBelow(&seed, PAGES);
      fileShare(&f);
      readPages(&f, iPgno, iPgno+randomBelow(&seed, PAGES+1-iPgno));
      fileLeave(&f);
    }
    while( i==0 && atomic_load(&nFinder)<2 ) sched_yield();   /* on a busy machine all rounds may be over before */
    CHECK_INT(ls_connection_stats(iReplica, f.iConnection, a, 2*LS_STAT_COUNT), 2*LS_STAT_COUNT);
    for(j=0; j<LS_STAT_CORE; j++) atomic_fetch_add(&aSum[j], a[j]);
    fileEnd(&f);
  }
  return NULL;
}

/* As the core does, and whoever looks at its own connections or others'. */
static void *addAndLook(void *pArg){
  uint64_t a[2*LS_STAT_COUNT], aSpent[4], seed = 99;
  int j, nFound = 0;
  (void)pArg;
  while( !atomic_load(&bStop) ){
    uint32_t iConnection = atomic_load(&aSeen[randomBelow(&seed, READERS)]);
    int rc = ls_connection_add(iReplica, iConnection, LS_STAT_GET, 1);
    CHECK(rc==0 || rc==LS_GONE);
    rc = ls_connection_bound(iReplica, iConnection, LS_STAT_GET, 10);
    CHECK(rc==0 || rc==LS_GONE);
    rc = ls_connection_spent(iReplica, iConnection, aSpent);
    CHECK(rc==LS_GONE || (rc==0 && aSpent[0]<1000000000));
    rc = ls_connection_stats(iReplica, iConnection, a, 2*LS_STAT_COUNT);
    CHECK(rc==2*LS_STAT_COUNT || rc==LS_GONE);
    for(j=0; j<LS_STAT_COUNT && rc>0; j++) CHECK(a[LS_STAT_COUNT+j]<=a[j]);   /* never below zero */
    if( rc>0 && nFound++==0 ) atomic_fetch_add(&nFinder, 1);
  }
  return NULL;
}

static void atOnce(void){
  pthread_t aThread[READERS], aLooking[2];
  size_t i;
  begin();
  atomic_store(&bStop, 0);
  atomic_store(&nFinder, 0);
  for(i=0; i<LS_STAT_COUNT; i++) atomic_store(&aSum[i], 0);
  for(i=0; i<READERS; i++) NEED(pthread_create(&aThread[i], NULL, comeAndGo, (void*)i)==0);
  for(i=0; i<2; i++) NEED(pthread_create(&aLooking[i], NULL, addAndLook, NULL)==0);
  for(i=0; i<READERS; i++) pthread_join(aThread[i], NULL);
  atomic_store(&bStop, 1);
  for(i=0; i<2; i++) pthread_join(aLooking[i], NULL);
  for(i=0; i<LS_STAT_CORE; i++) CHECK_INT(replicaStat((int)i), atomic_load(&aSum[i]));
  CHECK_INT(replicaStat(LS_STAT_TRANSACTION), READERS*(setting("ROUNDS", 400)/20)*20);
  end();
}

/* ------------------------------------------------------------------------------------------------ observed */

#define BATCH 50
static uint64_t aTaken[1+BATCH*LS_TRANSACTION_WORDS];

static int take(int nOut){ return ls_replica_transactions(iReplica, aTaken, nOut); }

static void transaction(ReplicaFile *p, uint32_t nPage){
  fileShare(p);
  readPages(p, 2, 1+nPage);
  fileLeave(p);
}

static void observed(void){
  const uint64_t *a = aTaken+1;
  ReplicaFile f;
  int i, n;
  begin();
  fileOpen(&f, iReplica);
  transaction(&f, 1);
  CHECK_INT(take(1+LS_TRANSACTION_WORDS), LS_MISUSE);  /* nobody observes */
  CHECK_INT(ls_replica_observe(0), LS_MISUSE);
  fileShare(&f);
  CHECK_INT(ls_replica_observe(iReplica), 0);
  CHECK_INT(ls_replica_observe(iReplica), 0);
  fileLeave(&f);                                       /* it began before */
  CHECK_INT(take(1+LS_TRANSACTION_WORDS), 0);
  transaction(&f, 4);
  CHECK_INT(take(0), LS_MISUSE);
  CHECK_INT(take(LS_TRANSACTION_WORDS), 0);            /* no room */
  CHECK_INT(take(1+LS_TRANSACTION_WORDS), 1);
  CHECK_INT(aTaken[0], 0);
  CHECK_INT(a[0], f.iConnection);
  CHECK_INT(a[1], 3);
  CHECK_INT(a[2], 1);
  CHECK(a[3]>1700000000000000000u && a[4]>=a[3]);
  CHECK_INT(a[5], 0);
  CHECK_INT(a[6], 1);                                  /* page 2 was there */
  CHECK_INT(a[7], 3);
  for(i=0; i<1100; i++) transaction(&f, 1);
  for(n=0; (i = take(1+BATCH*LS_TRANSACTION_WORDS))>0; n+=i) CHECK_INT(aTaken[0], n==0 ? 1100-1024 : 0);
  CHECK_INT(n, 1024);
  transaction(&f, 1);
  CHECK_INT(take(1+BATCH*LS_TRANSACTION_WORDS), 1);
  CHECK_INT(a[1], 1104);
  fileEnd(&f);
  end();
}

/* Takes until all readers have ended, and then the rest; gives what was taken or lost. */
static void *takeAll(void *pArg){
  static uint64_t aOwn[1+BATCH*LS_TRANSACTION_WORDS];
  uint64_t *pnSeen = pArg;
  int bLast, i, n;
  do{
    bLast = atomic_load(&bStop);
    while( (n = ls_replica_transactions(iReplica, aOwn, 1+BATCH*LS_TRANSACTION_WORDS))>0 || aOwn[0]>0 ){
      *pnSeen += (uint64_t)n+aOwn[0];
      for(i=0; i<n; i++) CHECK(aOwn[1+i*LS_TRANSACTION_WORDS]>0 && aOwn[1+i*LS_TRANSACTION_WORDS+1]>0);
      aOwn[0] = 0;
    }
    sched_yield();
  }while( !bLast );
  return NULL;
}

static void observedAtOnce(void){
  pthread_t aThread[READERS], taker;
  uint64_t nSeen = 0;
  size_t i;
  begin();
  CHECK_INT(ls_replica_observe(iReplica), 0);
  atomic_store(&bStop, 0);
  atomic_store(&nFinder, 2);                           /* nobody looks */
  for(i=0; i<READERS; i++) NEED(pthread_create(&aThread[i], NULL, comeAndGo, (void*)i)==0);
  NEED(pthread_create(&taker, NULL, takeAll, &nSeen)==0);
  for(i=0; i<READERS; i++) pthread_join(aThread[i], NULL);
  atomic_store(&bStop, 1);
  pthread_join(taker, NULL);
  CHECK_INT(nSeen, READERS*(setting("ROUNDS", 400)/20)*20);
  end();
}

/* A ticket that nobody takes, or that is taken by a connection that cannot open, leaves none behind. */
static void dropped(void){
  uint32_t a[8];
  LsOpening opening;
  int iTicket;
  begin();
  CHECK(ls_replica_ticket(iReplica, 20000, "")>0);
  CHECK_INT(ls_replica_ticket(iReplica, 20000, "no such moment"), LS_REFUSED);
  CHECK(ls_census(a, 8)==8 && a[7]==1);
  iTicket = ls_replica_ticket(iReplica, 20000, "");
  CHECK_INT(ls_connection_bound(iReplica, (uint32_t)iTicket, LS_STAT_GET, 5), 0);
  CHECK_INT(lsTicketTake(iTicket, &opening), 0);
  CHECK(ls_census(a, 8)==8 && a[7]==2);
  lsConnectionFree(opening.pConnection);
  CHECK_INT(ls_ticket_drop(iTicket), LS_GONE);
  iTicket = ls_replica_ticket(iReplica, 20000, "");
  CHECK(ls_census(a, 8)==8 && a[7]==2);
  CHECK_INT(ls_ticket_drop(iTicket), 0);
  CHECK(ls_census(a, 8)==8 && a[7]==1);
  CHECK_INT(ls_ticket_drop(iTicket), LS_GONE);
  CHECK_INT(lsTicketTake(iTicket, &opening), LS_GONE);
  CHECK_INT(ls_ticket_drop(0), LS_GONE);
  CHECK_INT(ls_census(a, 7), LS_MISUSE);
  end();                                               /* which looks */
}

int main(void){
  NEED(hostLoad()>0);
  NEED(ls_sentinel("/sentinel/")==1);
  RUN("ls_connection_stats() tells what a connection and its transaction took", counted);
  RUN("ls_connection_…() of one that has gone, or is another replica's, is LS_GONE", refused);
  RUN("ls_connection_spent() begins anew with each transaction", bounds);
  RUN("connections come and go under those who add and look", atOnce);
  RUN("ls_replica_transactions() tells what ended since somebody observes, and counts what found no room", observed);
  RUN("transactions of several threads are all told", observedAtOnce);
  RUN("tickets leave no connection behind", dropped);
  return finish();
}
