/*
** Every wait ends, and with the right words.
**
** The core's side is played by the test itself, so that requests can be left untaken or unanswered.
*/
#include <limits.h>
#include "harness.h"

#define PAGES 64

static int iCore;
static int iReplica;
static int iObject, iView;
static LtxFile *pLtx;

static void fillPage(void *pArg, uint32_t iPgno, uint8_t *aPage, uint32_t szPage){
  (void)pArg;
  memset(aPage, (int)iPgno, szPage);
}

/* Threads of this test's cores: of those that were stopped, too, since all that a core holds goes with its thread. */
static pthread_t aCoreThread[8];
static int nCoreThread;
static atomic_int bCoresEnd;

/* The core's thread must be another than the readers', and live: threads are told apart by ids that are used again. */
static void *coreMainIdle(void *pArg){
  int rc, iSeen = 0;
  atomic_store((atomic_int*)pArg, ls_core_start());
  while( (rc = ls_core_wait(atomic_load((atomic_int*)pArg), iSeen, 10000))>=0 ) iSeen = rc;
  while( !atomic_load(&bCoresEnd) ) sleepMs(1);
  return NULL;
}
static int startCore(void){
  static atomic_int iStarted;
  atomic_store(&iStarted, 0);
  atomic_store(&bCoresEnd, 0);
  NEED(nCoreThread<8 && pthread_create(&aCoreThread[nCoreThread++], NULL, coreMainIdle, &iStarted)==0);
  while( atomic_load(&iStarted)==0 ) sleepMs(1);
  return atomic_load(&iStarted);
}
static void stopCore(const char *zWhy){ CHECK_INT(ls_core_stop(iCore, zWhy), 0); }

static void joinCores(void){
  atomic_store(&bCoresEnd, 1);
  while( nCoreThread>0 ) pthread_join(aCoreThread[--nCoreThread], NULL);
}

static void begin(void){
  uint32_t aPgno[PAGES], i;
  int iMap;
  iCore = startCore();
  NEED(iCore>0);
  iReplica = ls_replica_new(iCore, 5000);
  for(i=0; i<PAGES; i++) aPgno[i] = i+1;
  pLtx = ltxBuild(512, PAGES, 1, aPgno, PAGES, fillPage, NULL, ENCODE_BLOCK);
  iObject = ltxObject(pLtx, iReplica, 1000);
  iMap = ls_map_new(0, 512);
  NEED(iObject>0 && ls_map_apply(iMap, iObject, 0, PAGES)==0);
  iView = ls_map_view(iMap, iReplica, 1, PAGES, (uint32_t)ls_stamp(), 0);
  NEED(iView>0 && ls_view_publish(iView)==0);
}

static void end(void){
  ls_object_free(iObject);
  ls_view_release(iView);
  ls_replica_close(iReplica);
  stopCore("");
  joinCores();
  ltxFree(pLtx);
  CHECK_EMPTY();
}

/* ------------------------------------------------------------------------------------------------- a reader */

typedef struct Reader {
  pthread_t thread;
  LsWait wait;
  LsView *pView;
  int rc;
  int64_t ms;                        /* how long it waited */
  int bRight;                        /* the page had the right content */
} Reader;

static void *readerMain(void *pArg){
  Reader *p = pArg;
  int64_t msStart = nowMs();
  p->rc = lsWaitFor(iCore, &p->wait);
  p->ms = nowMs()-msStart;
  if( p->wait.pRun ){
    const uint8_t *a = lsRunPage(p->wait.pRun, p->wait.iPgno-1);
    p->bRight = a[0]==(uint8_t)p->wait.iPgno && a[511]==(uint8_t)p->wait.iPgno;
    lsUnpin(p->wait.pRun);
  }
  if( p->pView ) lsViewUnref(p->pView);
  if( p->wait.pReplica ) lsReplicaDone(p->wait.pReplica);
  return NULL;
}

static void readPage(Reader *p, uint32_t iPgno, int msTimeout){
  memset(p, 0, sizeof(*p));
  p->wait.eKind = LS_REQUEST_PAGE;
  p->wait.pReplica = lsReplicaUse(iReplica);
  NEED(p->wait.pReplica!=NULL);
  p->wait.pView = p->pView = lsReplicaSeen(p->wait.pReplica);
  p->wait.iPgno = iPgno;
  p->wait.iConnection = 7;
  p->wait.msTimeout = msTimeout;
  NEED(p->pView!=NULL);
  NEED(pthread_create(&p->thread, NULL, readerMain, p)==0);
}

static void openReplica(Reader *p, const char *aText, int nText, int msTimeout){
  memset(p, 0, sizeof(*p));
  p->wait.eKind = LS_REQUEST_OPEN;
  p->wait.aText = aText;
  p->wait.nText = nText;
  p->wait.msTimeout = msTimeout;
  NEED(pthread_create(&p->thread, NULL, readerMain, p)==0);
}

/* The next request, taken; nine words. */
static void takeOne(uint32_t *a){
  int iSeen = 0, i, n = 0;
  for(i=0; i<6000 && n==0; i++){
    iSeen = ls_core_wait(iCore, iSeen, 10);
    n = ls_core_take(iCore, a, 1);
  }
  NEED(n==1);
}

static int queuedSoFar(void){ return ls_core_wait(iCore, -1, 0); }

/* Until n requests were queued since iFrom were. */
static void untilQueued(int iFrom, int n){
  int i, iSeen = iFrom;
  for(i=0; i<6000 && iSeen<iFrom+n; i++) iSeen = ls_core_wait(iCore, iSeen, 10);
  NEED(iSeen>=iFrom+n);
}

static void ended(Reader *p, int rc, const char *zWords){
  pthread_join(p->thread, NULL);
  CHECK_INT(p->rc, rc);
  if( zWords ) CHECK_TEXT(p->wait.zError, zWords);
  if( rc!=SQLITE_OK ) CHECK(p->wait.pRun==NULL);
}

/* ---------------------------------------------------------------------------------------------------- tests */

static void answered(void){
  Reader r;
  uint32_t a[REQUEST_WORDS], aPlace[3];
  int iRun;
  begin();
  readPage(&r, 5, 60000);
  takeOne(a);
  CHECK_INT(a[0], LS_REQUEST_PAGE);
  CHECK(a[1]!=0);
  CHECK_INT(a[3], iReplica);
  CHECK_INT(a[4], iView);
  CHECK_INT(a[5], 5);
  CHECK_INT(a[6], iObject);
  CHECK_INT(a[7], 4);
  CHECK_INT(a[8], 7);
  CHECK_INT(ls_answer((int)a[1], (int)a[2], 0, 0, ""), LS_BUSY);          /* the page is not there */
  iRun = ltxLoad(pLtx, iObject, 0, 10);
  CHECK(iRun>0);
  CHECK_INT(ltxLoad(pLtx, iObject, 4, 2), LS_MISUSE);                     /* twice */
  CHECK_INT(ls_view_locate(iView, 5, aPlace), 0);
  CHECK_INT(aPlace[2], 1);
  CHECK_INT(ls_answer((int)a[1], (int)a[2], 0, 0, ""), 0);
  ended(&r, SQLITE_OK, NULL);
  CHECK(r.bRight);
  CHECK_INT(ls_answer((int)a[1], (int)a[2], 0, 0, ""), LS_GONE);          /* once */
  CHECK_INT(ls_run_free(iRun), 0);
  CHECK_INT(ls_run_free(iRun), LS_MISUSE);
  end();
}

static void answeredWithError(void){
  Reader r;
  uint32_t a[REQUEST_WORDS];
  char z[3000];
  begin();
  readPage(&r, 5, 60000);
  takeOne(a);
  memset(z, 'x', sizeof(z));
  memcpy(z, "StorageError: status 503", 24);
  z[sizeof(z)-1] = 0;
  CHECK_INT(ls_answer((int)a[1], (int)a[2], SQLITE_IOERR_READ, 0, z), 0);
  ended(&r, SQLITE_IOERR_READ, "StorageError: status 503");
  CHECK_INT(strlen(r.wait.zError), LS_ERROR_SIZE-1);
  end();
}

static void deadline(void){
  Reader r, r2;
  uint32_t a[REQUEST_WORDS];
  begin();
  readPage(&r, 1, 150);                      /* never taken */
  ended(&r, SQLITE_IOERR_READ, "DeadlineError: Cannot read page: no answer within 150 ms");
  CHECK(r.ms>=149 && r.ms<5000);
  CHECK_INT(ls_core_take(iCore, a, 1), 0);   /* no longer queued */
  readPage(&r2, 2, 3000);                    /* taken, never answered */
  takeOne(a);
  ended(&r2, SQLITE_IOERR_READ, "DeadlineError");
  CHECK_INT(ls_answer((int)a[1], (int)a[2], 0, 0, ""), LS_GONE);
  readPage(&r2, 2, 0);
  ended(&r2, SQLITE_IOERR_READ, "DeadlineError");
  readPage(&r2, 2, INT_MIN);
  ended(&r2, SQLITE_IOERR_READ, "DeadlineError");
  end();
}

/* An answer to the one who waited in the slot before must not reach the one who waits there now. */
static void staleAnswer(void){
  Reader r;
  uint32_t a[REQUEST_WORDS], b[REQUEST_WORDS];
  begin();
  readPage(&r, 1, 100);
  takeOne(a);
  ended(&r, SQLITE_IOERR_READ, "DeadlineError");
  readPage(&r, 2, 60000);
  takeOne(b);
  CHECK_INT(b[1], a[1]);                     /* the slot is used again */
  CHECK(b[2]!=a[2]);
  CHECK_INT(ls_answer((int)a[1], (int)a[2], SQLITE_IOERR, 0, "stale"), LS_GONE);
  CHECK_INT(ls_answer((int)b[1], (int)b[2]+1, SQLITE_IOERR, 0, "other"), LS_GONE);
  CHECK_INT(ls_answer((int)b[1]+1, (int)b[2], SQLITE_IOERR, 0, "other"), LS_GONE);
  CHECK_INT(ls_answer(-1, (int)b[2], SQLITE_IOERR, 0, "other"), LS_GONE);
  CHECK_INT(ls_answer(INT_MIN, 0, SQLITE_IOERR, 0, "other"), LS_GONE);
  CHECK_INT(ls_answer(INT_MAX, 0, SQLITE_IOERR, 0, "other"), LS_GONE);
  CHECK_INT(ls_answer((int)b[1], (int)b[2], SQLITE_FULL, 0, "right"), 0);
  ended(&r, SQLITE_FULL, "right");
  end();
}

static void interrupted(void){
  Reader aReader[6];
  uint32_t a[REQUEST_WORDS];
  int i, iFrom;
  begin();
  iFrom = queuedSoFar();
  for(i=0; i<6; i++){
    readPage(&aReader[i], (uint32_t)i+1, 60000);
    if( i<3 ) takeOne(a);
  }
  untilQueued(iFrom, 6);
  CHECK_INT(ls_replica_interrupt(iReplica), 0);
  for(i=0; i<6; i++) ended(&aReader[i], SQLITE_INTERRUPT, "InterruptError");
  CHECK_INT(ls_core_take(iCore, a, 1), 0);
  readPage(&aReader[0], 1, 60000);            /* later ones are not */
  takeOne(a);
  CHECK_INT(ls_answer((int)a[1], (int)a[2], SQLITE_FULL, 0, "later"), 0);
  ended(&aReader[0], SQLITE_FULL, "later");
  CHECK_INT(ls_replica_interrupt(60000), LS_MISUSE);
  end();
}

static void closed(void){
  Reader aReader[6], late;
  uint32_t a[REQUEST_WORDS];
  int i, iOther, iFrom;
  begin();
  iOther = ls_replica_new(iCore, 1000);
  iFrom = queuedSoFar();
  for(i=0; i<6; i++){
    readPage(&aReader[i], (uint32_t)i+1, 60000);
    if( i<3 ) takeOne(a);
  }
  untilQueued(iFrom, 6);
  CHECK_INT(ls_replica_close(iOther), 0);    /* somebody else's */
  late.wait.pReplica = lsReplicaUse(iReplica);
  late.pView = lsReplicaSeen(late.wait.pReplica);
  CHECK_INT(ls_replica_close(iReplica), 0);
  for(i=0; i<6; i++) ended(&aReader[i], SQLITE_IOERR_READ, "ReplicaClosedError: Cannot read page: the replica was closed");
  CHECK_INT(ls_view_publish(iView), LS_GONE);/* a view that was on its way */
  CHECK(lsReplicaSeen(late.wait.pReplica)==NULL);
  late.wait.eKind = LS_REQUEST_PAGE;         /* a reader that was on its way, too */
  late.wait.pView = late.pView;
  late.wait.iPgno = 1;
  late.wait.msTimeout = 60000;
  NEED(pthread_create(&late.thread, NULL, readerMain, &late)==0);
  ended(&late, SQLITE_IOERR_READ, "ReplicaClosedError");
  CHECK(late.ms<1000);
  CHECK_INT(ls_replica_close(iReplica), LS_MISUSE);
  end();
}

/* A view and its object outlive everything but the reader that has them pinned. */
static void closedWhilePinned(void){
  LsReplica *p;
  LsView *pView;
  LsRun *pRun;
  uint32_t aCensus[8];
  begin();
  p = lsReplicaUse(iReplica);
  pView = lsReplicaSeen(p);
  CHECK(ltxLoad(pLtx, iObject, 0, PAGES)>0);
  pRun = lsPin(lsFrameObject(lsViewFrame(pView, 9)), 8);
  NEED(pRun!=NULL);
  CHECK_INT(ls_run_free((int)pRun->iId), LS_BUSY);
  ls_object_free(iObject);
  ls_view_release(iView);
  ls_replica_close(iReplica);
  stopCore("");
  ltxFree(pLtx);
  CHECK_INT(lsRunPage(pRun, 8)[100], 9);
  lsUnpin(pRun);
  ls_census(aCensus, 8);
  CHECK_INT(aCensus[0], 1);
  CHECK_INT(aCensus[1], 1);
  CHECK_INT(aCensus[2], 1);
  CHECK_INT(aCensus[4], 1);
  lsViewUnref(pView);
  lsReplicaDone(p);
  CHECK_EMPTY();
}

static void stopped(void){
  Reader aReader[4], r;
  uint32_t a[REQUEST_WORDS];
  int i, iOld, iFrom;
  begin();
  CHECK_INT(ls_core_default(iCore, 1), 0);
  CHECK_INT(lsDefaultCore(), iCore);
  iFrom = queuedSoFar();
  for(i=0; i<4; i++){
    readPage(&aReader[i], (uint32_t)i+1, 60000);
    if( i<2 ) takeOne(a);
  }
  untilQueued(iFrom, 4);
  lsNotifyClosed(iCore, 4711);               /* lies in the queue; the next core must not get it */
  stopCore("ReplicaClosedError: it ended");
  for(i=0; i<4; i++) ended(&aReader[i], SQLITE_IOERR_READ, "ReplicaClosedError: it ended");
  CHECK_INT(lsDefaultCore(), 0);
  CHECK_INT(ls_core_wait(iCore, 0, 1000), LS_GONE);
  readPage(&r, 1, 60000);
  ended(&r, SQLITE_IOERR_READ, "core has ended");
  CHECK(r.ms<1000);
  CHECK_INT(ls_answer((int)a[1], (int)a[2], 0, 0, ""), LS_GONE);
  iOld = iCore;
  iCore = startCore();
  CHECK(iCore!=iOld);
  CHECK_INT(iCore%64, iOld%64);              /* the place is used again, under another handle */
  CHECK_INT(ls_core_stop(iOld, "late"), LS_MISUSE);
  CHECK_INT(ls_core_wait(iOld, 0, 1), LS_MISUSE);
  CHECK_INT(ls_core_take(iCore, a, 1), 0);
  readPage(&r, 1, 60000);
  takeOne(a);
  CHECK_INT(ls_answer((int)a[1], (int)a[2], SQLITE_FULL, 0, "the new one"), 0);
  ended(&r, SQLITE_FULL, "the new one");
  end();
}

static void neverTaken(void){
  Reader r;
  begin();
  readPage(&r, 1, 60000);
  ended(&r, SQLITE_IOERR_READ, "the replica's core does not answer");
  CHECK(r.ms>=9000 && r.ms<30000);
  end();
}

static void ownThread(void){
  LsWait wait;
  LsReplica *p;
  uint32_t a[REQUEST_WORDS];
  int iSeen, iOther;
  memset(&wait, 0, sizeof(wait));
  iCore = ls_core_start();
  iReplica = ls_replica_new(iCore, 1000);
  p = lsReplicaUse(iReplica);
  wait.eKind = LS_REQUEST_OPEN;
  wait.pReplica = p;
  wait.msTimeout = 60000;
  CHECK_INT(lsWaitFor(iCore, &wait), SQLITE_IOERR_READ);
  CHECK_TEXT(wait.zError, "core's own thread");
  CHECK_INT(lsWaitFor(63, &wait), SQLITE_IOERR_READ);
  CHECK_TEXT(wait.zError, "core has ended");
  CHECK_INT(lsWaitFor(-1, &wait), SQLITE_IOERR_READ);
  CHECK_INT(ls_core_take(63, a, 1), LS_MISUSE);
  CHECK_INT(ls_core_wait(63, 0, 1), LS_MISUSE);
  iSeen = ls_core_wait(iCore, -1, 1);
  CHECK(iSeen>=0);
  CHECK_INT(ls_core_wait(iCore, iSeen, INT_MIN), iSeen);
  CHECK_INT(ls_core_stop(0, ""), LS_MISUSE);
  CHECK_INT(ls_core_default(0, 1), LS_MISUSE);
  iOther = startCore();
  CHECK_INT(ls_core_default(iOther, 1), 0);
  CHECK_INT(ls_core_default(iCore, 1), 0);
  CHECK_INT(lsDefaultCore(), iOther);              /* the first stays */
  CHECK_INT(ls_core_default(iOther, 0), 0);
  CHECK_INT(lsDefaultCore(), iCore);
  CHECK_INT(ls_core_default(iOther, 1), 0);
  CHECK_INT(lsDefaultCore(), iCore);
  CHECK_INT(ls_core_default(iCore, 0), 0);
  CHECK_INT(lsDefaultCore(), iOther);
  ls_core_stop(iOther, "");
  CHECK_INT(lsDefaultCore(), 0);
  joinCores();
  lsReplicaDone(p);
  ls_replica_close(iReplica);
  ls_core_stop(iCore, "");
  CHECK_EMPTY();
}

static void openText(void){
  static const char aText[] = "/name\0vfs\0litestream\0cache_size\0" "1MB";
  Reader r;
  uint32_t a[REQUEST_WORDS];
  uint8_t aOut[64];
  begin();
  openReplica(&r, aText, (int)sizeof(aText), 60000);
  takeOne(a);
  CHECK_INT(a[0], LS_REQUEST_OPEN);
  CHECK_INT(a[3], 0);
  CHECK_INT(a[4], 0);
  CHECK_INT(ls_request_text((int)a[1], (int)a[2]+1, aOut, 64), LS_GONE);
  CHECK_INT(ls_request_text((int)a[1], (int)a[2], aOut, 3), sizeof(aText));    /* too small: tells the size */
  CHECK_INT(ls_request_text((int)a[1], (int)a[2], aOut, 64), sizeof(aText));
  CHECK_INT(memcmp(aOut, aText, sizeof(aText)), 0);
  CHECK_INT(ls_answer((int)a[1], (int)a[2], 0, 4711, ""), 0);
  ended(&r, SQLITE_OK, NULL);
  CHECK_INT(r.wait.iValue, 4711);
  CHECK_INT(ls_request_text((int)a[1], (int)a[2], aOut, 64), LS_GONE);
  openReplica(&r, aText, (int)sizeof(aText), 50);
  ended(&r, SQLITE_IOERR_READ, "Cannot open replica: no answer within 50 ms");
  end();
}

/* ------------------------------------------------------------------------------------- moments and nudges */

static void findMoment(Reader *p, const char *zMoment, int msTimeout){
  memset(p, 0, sizeof(*p));
  p->wait.eKind = LS_REQUEST_MOMENT;
  p->wait.pReplica = lsReplicaUse(iReplica);
  p->wait.aText = zMoment;
  p->wait.nText = (int)strlen(zMoment)+1;
  p->wait.iConnection = 9;
  p->wait.msTimeout = msTimeout;
  NEED(pthread_create(&p->thread, NULL, readerMain, p)==0);
}

static void momentAnswered(void){
  Reader r;
  uint32_t a[REQUEST_WORDS];
  uint8_t aOut[64];
  int iOther, iForeign, iMap;
  begin();
  iOther = ls_replica_new(iCore, 1000);
  iMap = ls_map_new(iView, 512);
  iForeign = ls_map_view(iMap, iOther, 1, PAGES, (uint32_t)ls_stamp(), 0);
  findMoment(&r, "5 minutes ago", 20000);
  takeOne(a);
  CHECK_INT(a[0], LS_REQUEST_MOMENT);
  CHECK(a[1]!=0);
  CHECK_INT(a[3], iReplica);
  CHECK_INT(a[4], 0);
  CHECK_INT(a[6], 0);
  CHECK_INT(a[8], 9);
  CHECK_INT(ls_request_text((int)a[1], (int)a[2], aOut, 64), 14);
  CHECK_INT(memcmp(aOut, "5 minutes ago", 14), 0);
  CHECK_INT(ls_answer((int)a[1], (int)a[2], 0, 4711, "no such view"), LS_MISUSE);
  CHECK_INT(ls_answer((int)a[1], (int)a[2], 0, iForeign, "another replica's"), LS_MISUSE);
  CHECK_INT(ls_answer((int)a[1], (int)a[2], 0, iView, "shown"), 0);
  ended(&r, SQLITE_OK, "shown");
  CHECK(r.wait.pPast!=NULL && (int)r.wait.pPast->iId==iView);
  lsViewUnref(r.wait.pPast);
  findMoment(&r, "latest", 20000);
  takeOne(a);
  CHECK_INT(ls_answer((int)a[1], (int)a[2], 0, 0, ""), 0);
  ended(&r, SQLITE_OK, NULL);
  CHECK(r.wait.pPast==NULL);
  findMoment(&r, "soon", 20000);
  takeOne(a);
  CHECK_INT(ls_answer((int)a[1], (int)a[2], SQLITE_ERROR, iView, "TypeError: no time"), 0);
  ended(&r, SQLITE_ERROR, "TypeError: no time");
  CHECK(r.wait.pPast==NULL);
  ls_view_release(iForeign);
  ls_replica_close(iOther);
  end();
}

/* Whatever ends the wait says what it was for, and an answer that comes too late leaves nothing behind. */
static void momentUnanswered(void){
  Reader r;
  uint32_t a[REQUEST_WORDS];
  begin();
  findMoment(&r, "noon", 60);
  ended(&r, SQLITE_IOERR_READ, "DeadlineError: Cannot find the moment: no answer within 60 ms");
  CHECK(r.wait.pPast==NULL);
  findMoment(&r, "noon", 3000);
  takeOne(a);
  ended(&r, SQLITE_IOERR_READ, "DeadlineError: Cannot find the moment: no answer within 3000 ms");
  CHECK_INT(ls_answer((int)a[1], (int)a[2], 0, iView, "late"), LS_GONE);
  findMoment(&r, "noon", 20000);
  takeOne(a);
  ls_replica_interrupt(iReplica);
  ended(&r, SQLITE_INTERRUPT, "InterruptError: Cannot find the moment: replica.interrupt() was called");
  findMoment(&r, "noon", 20000);
  takeOne(a);
  ls_replica_close(iReplica);
  ended(&r, SQLITE_IOERR_READ, "ReplicaClosedError: Cannot find the moment: the replica was closed");
  CHECK_INT(ls_answer((int)a[1], (int)a[2], 0, iView, "late"), LS_GONE);
  end();
}

/* Nudges that nobody takes do not use up the slots in which readers wait. */
static void nudges(void){
  uint32_t a[8*REQUEST_WORDS], aBefore[8], aAfter[8];
  Reader r;
  int i, iOther;
  begin();
  iOther = ls_replica_new(iCore, 1000);
  ls_census(aBefore, 8);
  for(i=0; i<10000; i++){
    CHECK_INT(ls_replica_nudge(iReplica), 0);
    CHECK_INT(ls_replica_nudge(iOther), 0);
  }
  lsNotifyClosed(iCore, iReplica);
  lsNotifyClosed(iCore, iReplica);               /* each of these counts */
  ls_census(aAfter, 8);
  CHECK(aAfter[5]<=aBefore[5]+4);
  readPage(&r, 5, 60000);
  for(i=0; i<1000; i++){                         /* until the reader has queued */
    ls_census(aAfter, 8);
    if( aAfter[5]>aBefore[5]+4 ) break;
    sleepMs(1);
  }
  CHECK_INT(ls_core_take(iCore, a, 4), 4);
  for(i=0; i<4; i++){
    CHECK_INT(a[i*REQUEST_WORDS], i<2 ? LS_REQUEST_NUDGE : LS_REQUEST_CLOSED);
    CHECK_INT(a[i*REQUEST_WORDS+1], 0);
    CHECK_INT(a[i*REQUEST_WORDS+3], i==1 ? iOther : iReplica);
  }
  takeOne(a);
  CHECK_INT(a[0], LS_REQUEST_PAGE);
  CHECK_INT(ls_answer((int)a[1], (int)a[2], SQLITE_IOERR, 0, "Name: no"), 0);
  ended(&r, SQLITE_IOERR, "Name: no");
  CHECK_INT(ls_core_take(iCore, a, 8), 0);
  CHECK_INT(ls_replica_nudge(iReplica), 0);      /* once taken, the next one counts */
  CHECK_INT(ls_core_take(iCore, a, 8), 1);
  CHECK_INT(a[0], LS_REQUEST_NUDGE);
  ls_replica_close(iOther);
  CHECK_INT(ls_replica_nudge(iOther), LS_MISUSE);
  CHECK_INT(ls_replica_nudge(0), LS_MISUSE);
  end();
}

/* What a core has left untaken is not held against the one that has its place next. */
static void marksOfBefore(void){
  uint32_t a[REQUEST_WORDS];
  LsReplica *p;
  LsView *pView;
  int i, iOld, iNew;
  begin();
  p = lsReplicaUse(iReplica);
  pView = lsReplicaSeen(p);
  for(i=0; i<300; i++) lsNotifyMark(p, pView, 1, 7, 0);
  iOld = iCore;
  stopCore("");
  p->iCore = iCore = iNew = startCore();
  CHECK_INT(iNew%64, iOld%64);
  lsNotifyMark(p, pView, 2, 7, 0);
  CHECK_INT(ls_core_take(iCore, a, 1), 1);
  CHECK_INT(a[0], LS_REQUEST_MARK);
  CHECK_INT(a[5], 2);
  lsViewUnref(pView);
  lsReplicaDone(p);
  end();
}

typedef struct Waiter {
  pthread_t thread;
  atomic_int bWaits;
  int iCore, rc;
} Waiter;

static void *waitMain(void *pArg){
  Waiter *p = pArg;
  int iSeen = ls_core_wait(p->iCore, -1, 0);
  atomic_store(&p->bWaits, 1);
  p->rc = ls_core_wait(p->iCore, iSeen, 2000);
  return NULL;
}

/* Who waits on a core's behalf is told of its end though another has come to its place by the time he looks. */
static void placeTaken(void){
  Waiter waiter;
  int i, iLast = ls_core_start();
  NEED(iLast>0);
  for(i=0; i<20; i++){
    int iOld = iLast;
    memset(&waiter, 0, sizeof(waiter));
    waiter.iCore = iOld;
    NEED(pthread_create(&waiter.thread, NULL, waitMain, &waiter)==0);
    while( !atomic_load(&waiter.bWaits) ) sleepMs(1);
    sleepMs(2);
    CHECK_INT(ls_core_stop(iOld, ""), 0);
    iLast = ls_core_start();
    CHECK_INT(iLast%64, iOld%64);
    pthread_join(waiter.thread, NULL);
    CHECK(waiter.rc<0);
  }
  ls_core_stop(iLast, "");
}

static void *takeTicket(void *pArg){
  int *pTicket = pArg;
  *pTicket = ls_replica_ticket(iReplica, 10000, "5 minutes ago");
  return NULL;
}

static void openError(char *z){
  int n = ls_open_error((uint8_t*)z, LS_ERROR_SIZE-1);
  z[n>0 ? n : 0] = 0;
}

static void momentTickets(void){
  char zLong[LS_MOMENT_SIZE+1], zError[LS_ERROR_SIZE];
  uint32_t a[REQUEST_WORDS];
  LsOpening opening;
  pthread_t thread;
  int iTicket = 0, i;
  begin();
  memset(zLong, '5', LS_MOMENT_SIZE);
  zLong[LS_MOMENT_SIZE] = 0;
  CHECK_INT(ls_replica_ticket(iReplica, 10, zLong), LS_LIMIT);
  for(i=0; i<2; i++){                            /* the second failure has the words of the first */
    CHECK_INT(ls_replica_ticket(iReplica, 10, "nobody answers"), LS_REFUSED);
    openError(zError);
    CHECK_TEXT(zError, "DeadlineError: Cannot find the moment: no answer within 10 ms");
  }
  CHECK_INT(ls_replica_ticket(iReplica, 10, ""), LS_REFUSED);
  openError(zError);
  CHECK_TEXT(zError, "DeadlineError: Cannot read page: no answer within 10 ms");
  NEED(ltxLoad(pLtx, iObject, 0, 1)>0);
  iTicket = ls_replica_ticket(iReplica, 10, "");
  openError(zError);
  CHECK_INT(zError[0], 0);
  CHECK_INT(lsTicketTake(iTicket, &opening), 0);
  CHECK_INT(opening.iReplica, iReplica);
  CHECK_INT(lsConnectionId(opening.pConnection), iTicket);
  lsConnectionFree(opening.pConnection);
  CHECK_INT(opening.msTimeout, 10);
  CHECK(opening.pPast==NULL);
  CHECK_INT(opening.zPast[0], 0);
  CHECK_INT(opening.aHead[0], 1);
  CHECK_INT(opening.aHead[31], PAGES);           /* stamped */
  CHECK_INT(lsTicketTake(iTicket, &opening), LS_GONE);
  CHECK_INT(opening.iReplica, iReplica);
  pthread_create(&thread, NULL, takeTicket, &iTicket);
  while( ls_core_take(iCore, a, 1)!=1 ) ls_core_wait(iCore, -1, 1);
  CHECK_INT(a[0], LS_REQUEST_MOMENT);
  CHECK_INT(ls_answer((int)a[1], (int)a[2], 0, 0, ""), 0);
  pthread_join(thread, NULL);
  CHECK(iTicket>0);
  CHECK_INT(lsTicketTake(iTicket, &opening), 0);
  CHECK(opening.pPast==NULL);
  lsConnectionFree(opening.pConnection);
  end();
}

/* Each thread is told of its own failure, though the replica keeps but one. */
static void *refusedThread(void *pArg){
  char zMoment[32], zError[LS_ERROR_SIZE], zWanted[64];
  int i, ms = 5+(int)(intptr_t)pArg;
  snprintf(zMoment, sizeof(zMoment), "moment %d", ms);
  snprintf(zWanted, sizeof(zWanted), "no answer within %d ms", ms);
  for(i=0; i<20; i++){
    CHECK_INT(ls_replica_ticket(iReplica, ms, zMoment), LS_REFUSED);
    openError(zError);
    CHECK_TEXT(zError, zWanted);
  }
  return NULL;
}

static void refusedApart(void){
  pthread_t aThread[4];
  size_t i;
  begin();
  for(i=0; i<4; i++) NEED(pthread_create(&aThread[i], NULL, refusedThread, (void*)i)==0);
  for(i=0; i<4; i++) pthread_join(aThread[i], NULL);
  end();
}

/* What a core that has ended leaves behind is refused, also where all of it is in the pool. */
static void coreEnded(void){
  char zWhy[LS_ERROR_SIZE];
  LsReplica *p;
  LsView *pView;
  begin();
  NEED(ltxLoad(pLtx, iObject, 0, PAGES)>0);
  p = lsReplicaUse(iReplica);
  pView = lsReplicaBegin(p, zWhy);
  NEED(pView!=NULL);
  CHECK(ls_replica_ticket(iReplica, 10, "")>0);
  CHECK_INT(ls_replica_nudge(iReplica), 0);
  stopCore("ReplicaClosedError: Cannot read page: it is over");
  CHECK_INT(ls_core_stop(iCore, "Other: words"), 0);
  CHECK_INT(ls_replica_nudge(iReplica), LS_GONE);
  CHECK(lsReplicaBegin(p, zWhy)==NULL);
  CHECK_TEXT(zWhy, "ReplicaClosedError: Cannot read page: ");  /* its thread may have been the first to say so */
  CHECK_INT(ls_replica_block(iReplica, ""), LS_GONE);      /* nobody can mend it */
  CHECK(lsReplicaBegin(p, zWhy)==NULL);
  CHECK_INT(ls_replica_ticket(iReplica, 10, ""), LS_REFUSED);
  openError(zWhy);
  CHECK_TEXT(zWhy, "ReplicaClosedError: Cannot read page: ");
  CHECK_INT(ls_replica_ticket(iReplica, 10, "yesterday"), LS_REFUSED);
  lsViewUnpin(pView);
  lsReplicaDone(p);
  ls_object_free(iObject);
  ls_view_release(iView);
  ls_replica_close(iReplica);
  joinCores();
  ltxFree(pLtx);
  CHECK_EMPTY();
}

typedef struct Leaving {
  atomic_int iReplica, bMayEnd;
  char zPath[64];
} Leaving;

/* A core that is ended in the middle of its work: it holds views, objects, a map that is not done, a file, and a log. */
static void *leaveAll(void *pArg){
  Leaving *p = pArg;
  int iOwn = ls_core_start(), i = ls_replica_new(iOwn, 5000), iOf, iShown, iMap, iLocal;
  char zLog[80];
  NEED(i>0);
  iOf = ltxObject(pLtx, i, 1000);
  iMap = ls_map_new(0, 512);
  NEED(iOf>0 && ls_map_apply(iMap, iOf, 0, PAGES)==0);
  iShown = ls_map_view(iMap, i, 1, PAGES, (uint32_t)ls_stamp(), 0);
  NEED(iShown>0 && ls_view_publish(iShown)==0 && ls_view_hold(iShown)==0);
  NEED(ltxLoad(pLtx, iOf, 0, PAGES)>0);
  iMap = ls_map_new(iShown, 512);
  NEED(iMap>0 && ltxObject(pLtx, i, 1000)>0);
  iLocal = ls_local_open(i, p->zPath, 512, 0);
  NEED(iLocal>0);
  snprintf(zLog, sizeof(zLog), "%s-log", p->zPath);
  NEED(ls_writer_open(i, zLog, 2, (const uint8_t[52]){0}, 1<<20)>=0);
  atomic_store(&p->iReplica, i);
  while( !atomic_load(&p->bMayEnd) ) sleepMs(1);
  return NULL;
}

/* With its thread goes what a core held, but for what is read right now; that goes with its reader. */
static void threadEnded(void){
  Leaving leaving;
  pthread_t thread;
  char zWhy[LS_ERROR_SIZE], zSums[80];
  uint32_t aPgno[PAGES], aNow[8], i;
  LsReplica *p;
  LsView *pView;
  LsRun *pRun;
  memset(&leaving, 0, sizeof(leaving));
  snprintf(leaving.zPath, sizeof(leaving.zPath), "/tmp/leaving-%d.db", (int)getpid());
  for(i=0; i<PAGES; i++) aPgno[i] = i+1;
  pLtx = ltxBuild(512, PAGES, 1, aPgno, PAGES, fillPage, NULL, ENCODE_BLOCK);
  NEED(pthread_create(&thread, NULL, leaveAll, &leaving)==0);
  while( (iReplica = atomic_load(&leaving.iReplica))==0 ) sleepMs(1);
  p = lsReplicaUse(iReplica);
  pView = lsReplicaBegin(p, zWhy);
  NEED(pView!=NULL);
  atomic_store(&leaving.bMayEnd, 1);
  pthread_join(thread, NULL);
  ls_census(aNow, 8);
  CHECK_INT(aNow[0], 1);                       /* views */
  CHECK_INT(aNow[1], 1);                       /* objects */
  CHECK_INT(aNow[4], 1);                       /* replicas */
  pRun = lsPin(lsFrameObject(lsViewFrame(pView, 1)), 0);
  CHECK(pRun!=NULL);                           /* what is in memory can be read on */
  if( pRun ) lsUnpin(pRun);
  CHECK(lsReplicaBegin(p, zWhy)==NULL);
  CHECK_TEXT(zWhy, "the thread of the replica's core has ended");
  CHECK_INT(ls_replica_close(iReplica), 0);    /* the opener's, who knows nothing of it */
  CHECK_INT(ls_replica_close(iReplica), 0);
  lsViewUnpin(pView);
  lsReplicaDone(p);
  CHECK_INT(ls_replica_close(iReplica), LS_MISUSE);
  ltxFree(pLtx);
  CHECK_EMPTY();
  unlink(leaving.zPath);
  snprintf(zSums, sizeof(zSums), "%s-sums", leaving.zPath);
  unlink(zSums);
  snprintf(zSums, sizeof(zSums), "%s-log.lock", leaving.zPath);
  unlink(zSums);
}

static atomic_int bServing;

static void *serve(void *pArg){
  uint32_t a[32*REQUEST_WORDS];
  int iSeen = 0;
  (void)pArg;
  while( atomic_load(&bServing) ){
    int i, n;
    iSeen = ls_core_wait(iCore, iSeen, 5);
    while( (n = ls_core_take(iCore, a, 32))>0 ){
      for(i=0; i<n; i++){
        const uint32_t *r = &a[i*REQUEST_WORDS];
        int rc;
        switch( r[5]%4 ){
          case 0:
            rc = ls_answer((int)r[1], (int)r[2], SQLITE_FULL, 0, "Name: fourth");
            break;
          case 1:
            rc = ls_answer((int)r[1], (int)r[2], 0, 1, "");
            break;
          default:
            ltxLoad(pLtx, (int)r[6], (int)r[7], 1);
            rc = ls_answer((int)r[1], (int)r[2], 0, 0, "");
            break;
        }
        CHECK(rc==0 || rc==LS_GONE);
      }
    }
  }
  return NULL;
}

static void many(void){
  enum { THREADS = 64 };
  static Reader aReader[THREADS];
  int nRound = setting("ROUNDS", 40), iRound, i, nDeadline = 0;
  pthread_t server;
  begin();
  atomic_store(&bServing, 1);
  NEED(pthread_create(&server, NULL, serve, NULL)==0);
  for(iRound=0; iRound<nRound; iRound++){
    for(i=0; i<THREADS; i++) readPage(&aReader[i], (uint32_t)i%PAGES+1, i%8==7 ? 1 : 20000);
    if( iRound%4==3 ) ls_replica_interrupt(iReplica);
    for(i=0; i<THREADS; i++){
      Reader *r = &aReader[i];
      pthread_join(r->thread, NULL);
      if( r->rc==SQLITE_IOERR_READ ){
        CHECK_INT(i%8, 7);
        CHECK_TEXT(r->wait.zError, "DeadlineError");
        nDeadline++;
      }else if( r->rc==SQLITE_INTERRUPT ){
        CHECK_INT(iRound%4, 3);
      }else{
        switch( r->wait.iPgno%4 ){
          case 0: CHECK_INT(r->rc, SQLITE_FULL); CHECK_TEXT(r->wait.zError, "Name: fourth"); break;
          case 1: CHECK_INT(r->rc, SQLITE_OK); CHECK_INT(r->wait.iValue, 1); CHECK(r->wait.pRun==NULL); break;
          default: CHECK_INT(r->rc, SQLITE_OK); CHECK_INT(r->bRight, 1); break;
        }
      }
    }
  }
  atomic_store(&bServing, 0);
  pthread_join(server, NULL);
  printf("# %d of %d waits met a deadline of 1 ms\n", nDeadline, nRound*THREADS/8);
  end();
}

/* Replicas are opened, published and closed while others read them by handle. */
static void *bystander(void *pArg){
  (void)pArg;
  while( atomic_load(&bServing) ){
    uint64_t aView[6], aStat[LS_STAT_COUNT];
    uint8_t aText[64];
    uint32_t aCensus[8];
    int i;
    for(i=1; i<60; i++){
      int iTicket, rc = ls_replica_view(i, aView);
      LsOpening opening;
      uint64_t aPin[4*LS_PIN_WORDS], msLag;
      CHECK(rc==0 || rc==LS_GONE);
      rc = ls_replica_stats(i, aStat, LS_STAT_COUNT);
      CHECK(rc==LS_STAT_COUNT || rc==LS_MISUSE);
      rc = ls_replica_error(i, aText, 64);
      CHECK(rc>=0 || rc==LS_MISUSE);
      ls_replica_fail(i, "Name: failed");
      ls_replica_interrupt(i);
      rc = ls_replica_polled(i, i%2 ? "" : "Name: failed");
      CHECK(rc==0 || rc==LS_MISUSE);
      rc = ls_replica_lag(i, &msLag);
      CHECK(rc==0 || rc==LS_GONE || rc==LS_MISUSE);
      ls_replica_limit(i, 1000);
      ls_replica_block(i, i%3 ? "" : "Name: blocked");
      ls_replica_nudge(i);
      CHECK_INT(ls_replica_pins(i, aPin, 4), 0);
      iTicket = ls_replica_ticket(i, 10, "");
      if( iTicket>0 && i%2 && lsTicketTake(iTicket, &opening)==0 ) lsConnectionFree(opening.pConnection);
    }
    ls_census(aCensus, 8);
  }
  return NULL;
}

static void openAndClose(void){
  enum { THREADS = 3 };
  pthread_t aThread[THREADS];
  int nRound = setting("ROUNDS", 300), i;
  begin();
  NEED(ltxLoad(pLtx, iObject, 0, 1)>0);          /* what a ticket needs */
  atomic_store(&bServing, 1);
  for(i=0; i<THREADS; i++) NEED(pthread_create(&aThread[i], NULL, bystander, NULL)==0);
  for(i=0; i<nRound; i++){
    int iNew = ls_replica_new(iCore, 100), iMap, iFirst, iSecond;
    iMap = ls_map_new(iView, 512);
    iFirst = ls_map_view(iMap, iNew, 1, PAGES, 1, 0);
    iMap = ls_map_new(iView, 512);
    iSecond = ls_map_view(iMap, iNew, 1, PAGES, 1, 0);
    CHECK_INT(ls_view_publish(iFirst), 0);
    CHECK_INT(ls_view_publish(iSecond), 0);      /* relocates the first */
    if( i%2 ) ls_replica_close(iNew);
    ls_view_release(iFirst);
    ls_view_release(iSecond);
    if( i%2==0 ) ls_replica_close(iNew);
  }
  atomic_store(&bServing, 0);
  for(i=0; i<THREADS; i++) pthread_join(aThread[i], NULL);
  end();
}

/* A reader is led to a view while that place is given up for yet another. */
static void *follower(void *pArg){
  LsView *p = pArg;
  while( atomic_load(&bServing) ){
    LsView *pMoved = lsViewMoved(p);
    if( pMoved ){
      CHECK(lsViewFrame(pMoved, 1)!=0);
      lsViewUnref(pMoved);
    }
  }
  return NULL;
}

static void relocatedMeanwhile(void){
  enum { THREADS = 3 };
  pthread_t aThread[THREADS];
  int nRound = setting("ROUNDS", 3000), i, iMap, iFrom;
  LsView *pFrom;
  begin();
  iMap = ls_map_new(iView, 512);
  iFrom = ls_map_view(iMap, iReplica, 9, PAGES, 9, 0);
  pFrom = lsViewById((uint32_t)iFrom);
  atomic_store(&bServing, 1);
  for(i=0; i<THREADS; i++) NEED(pthread_create(&aThread[i], NULL, follower, pFrom)==0);
  for(i=0; i<nRound; i++){
    int iTo;
    iMap = ls_map_new(iView, 512);
    iTo = ls_map_view(iMap, iReplica, 9, PAGES, 9, 0);
    CHECK_INT(ls_view_relocate(iFrom, iTo), 0);
    ls_view_release(iTo);
  }
  atomic_store(&bServing, 0);
  for(i=0; i<THREADS; i++) pthread_join(aThread[i], NULL);
  lsViewUnref(pFrom);
  ls_view_release(iFrom);
  end();
}

int main(void){
  RUN("a wait ends by its answer, with the page pinned", answered);
  RUN("a wait ends by an error's words, cut to size", answeredWithError);
  RUN("a wait ends at its deadline, taken or not", deadline);
  RUN("ls_answer() to an earlier generation is dropped", staleAnswer);
  RUN("ls_replica_interrupt() ends the waits of now", interrupted);
  RUN("ls_replica_close() ends the waits, and those just beginning", closed);
  RUN("a closed replica's view lives while it is pinned", closedWhilePinned);
  RUN("ls_core_stop() ends the waits and leaves nothing to the next core", stopped);
  RUN("a core that never takes counts as gone after 10 s", neverTaken);
  RUN("a wait on the core's own thread fails at once", ownThread);
  RUN("ls_request_text() gives the parameters of an open", openText);
  RUN("a moment is answered with a view of the replica, or the newest", momentAnswered);
  RUN("a moment's wait ends with words of its own", momentUnanswered);
  RUN("a ticket asks for its moment and for page 1 at once", momentTickets);
  RUN("a refused ticket's words are the thread's own", refusedApart);
  RUN("a core that has ended blocks its replicas for good", coreEnded);
  RUN("what a core held goes with its thread, and with who reads it", threadEnded);
  RUN("marks that lay untaken at a core's end do not count against the next", marksOfBefore);
  RUN("a wait on a core's behalf ends with it, though another takes its place", placeTaken);
  RUN("ls_replica_nudge() queues one request until it is taken", nudges);
  RUN("64 threads wait at once", many);
  RUN("replicas close under those who look at them", openAndClose);
  RUN("ls_view_relocate() does not free the place a reader is led to", relocatedMeanwhile);
  return finish();
}
