/*
** Requests: how a reader waits for the core, and the replicas they speak of.
**
** PURPOSE   A reader fills a slot, queues it and waits. The core is woken by ls_core_wait(), takes what is queued,
**           and answers each slot. C holds no pointer into JavaScript: the core pulls, so a core that ended can be
**           missed but never called.
** THREADS   All slots of a core are guarded by the core's mutex; each has a condition of its own. The table of
**           replicas is guarded by tableLock, a replica's newest view by the replica's mutex.
** MEMORY    Slots are reused, never freed. A replica lives until it is closed and its last file is.
** ERRORS    Every wait ends: by the answer, its deadline, ls_replica_interrupt(), ls_replica_close(),
**           ls_core_stop(), the end of the core's thread, or because nobody took the request for UNTAKEN_MAX
**           seconds. The first line of an error's text is "Name: message".
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sqlite3.h>
#include "writer.h"

#define CORE_MAX     64
#define SLOT_MAX     4096
#define MARK_MAX     256               /* marks that lie untaken; more would take readers' slots */
#define REPLICA_MAX  65536
#define CORE_TURNS   8192              /* handles of one place; SLOT_MAX*CORE_MAX*CORE_TURNS is 2^31 */
#define RELOCATE_MAX 8
#define UNTAKEN_MAX  10                /* seconds a request may lie untaken before its core counts as gone */

enum { SLOT_FREE, SLOT_QUEUED, SLOT_TAKEN, SLOT_ANSWERED };

typedef struct LsSlot {
  LsCond cond;
  uint32_t iGen;
  int eState;
  LsWait *pWait;                       /* the reader's; NULL for a notification */
  int eKind;
  int iReplica;
  LsView *pCoreView;                   /* held for the core from taking to answering */
  LsObject *pObject;
  uint32_t iFrame;
  uint32_t iView, iPgno, iConnection, iIndexLeaf;  /* of an LS_REQUEST_MARK */
  int rc;
  struct LsSlot *pNext;
  int iIndex;
} LsSlot;

typedef struct LsCore {
  int iId;                             /* place in apCore + CORE_MAX * cores there before; changes under tableLock and mu */
  LsMutex mu;                  /* guards all below */
  LsCond cond;
  int bAttached;
  LsThread thread;
  int iSeq;                            /* counts requests; what ls_core_wait() waits to see change */
  LsSlot *pFirst, *pLast;
  LsSlot *pFree;
  int nSlot;
  int nMark;                           /* queued LS_REQUEST_MARK */
  LsSlot *apSlot[SLOT_MAX];
} LsCore;

typedef struct LsTicket {
  int iId;
  LsOpening opening;
  struct LsTicket *pNext;
} LsTicket;

static LsMutex tableLock = LS_MUTEX_INIT;

/* Guarded by tableLock; a core, once made, stays. */
static LsCore *apCore[CORE_MAX];
static LsReplica *apReplica[REPLICA_MAX];
static int iReplicaLast, nReplicaLive;
static LsTicket *pTickets;
static atomic_int iCoreDefault;
static int aiOffered[CORE_MAX];         /* cores that would serve databases opened by URI; guarded by tableLock */

static void copyText(char *zOut, const char *zText){
  snprintf(zOut, LS_ERROR_SIZE, "%s", zText ? zText : "");
}

static int textOut(const char *z, uint8_t *aOut, int nOut){
  int n = (int)strlen(z);
  if( n>nOut ) n = nOut;
  if( n>0 ) memcpy(aOut, z, (size_t)n);
  return n;
}

/* ---------------------------------------------------------------------------------------------- replicas */

static LsReplica *replicaById(int iReplica){
  return iReplica>0 && iReplica<REPLICA_MAX ? apReplica[iReplica] : NULL;
}

int ls_replica_new(int iCore, int msTimeout){
  LsReplica *p = calloc(1, sizeof(*p));
  int i;
  if( p==NULL ) return LS_NOMEM;
  lsMutexInit(&p->mu);
  p->iCore = iCore;
  p->msTimeout = msTimeout;
  lsMutexLock(&tableLock);
  for(i=1; i<REPLICA_MAX; i++){
    iReplicaLast = iReplicaLast%(REPLICA_MAX-1)+1;
    if( apReplica[iReplicaLast]==NULL ) break;
  }
  if( i<REPLICA_MAX ){
    p->iId = iReplicaLast;
    p->nFile = 1;                      /* the core's; ls_replica_close() gives it up */
    apReplica[p->iId] = p;
    nReplicaLive++;
  }
  lsMutexUnlock(&tableLock);
  if( p->iId==0 ){
    free(p);
    return LS_LIMIT;
  }
  return p->iId;
}

LsReplica *lsReplicaUse(int iReplica){
  LsReplica *p;
  lsMutexLock(&tableLock);
  p = replicaById(iReplica);
  if( p ) p->nFile++;
  lsMutexUnlock(&tableLock);
  return p;
}

void lsReplicaDone(LsReplica *p){
  int n;
  lsMutexLock(&tableLock);
  n = --p->nFile;
  if( n==0 ){
    apReplica[p->iId] = NULL;
    nReplicaLive--;
  }
  lsMutexUnlock(&tableLock);
  if( n==0 ){
    lsWriterFree(p);
    lsTransactionsFree(p);
    if( p->pNewest ) lsViewUnref(p->pNewest);
    lsMutexDestroy(&p->mu);
    free(p->zHydration);
    free(p);
  }
}

/* Gives up the core's reference, once. */
static void replicaLeave(LsReplica *p){
  if( !atomic_exchange(&p->bLeft, 1) ) lsReplicaDone(p);
}

LsView *lsReplicaSeen(LsReplica *p){
  LsView *pView;
  lsMutexLock(&p->mu);
  pView = p->pNewest ? lsViewRef(p->pNewest) : NULL;
  lsMutexUnlock(&p->mu);
  return pView;
}

LsView *lsReplicaNewest(int iReplica){
  LsReplica *p = lsReplicaUse(iReplica);
  LsView *pView = p ? lsReplicaSeen(p) : NULL;
  if( p ) lsReplicaDone(p);
  return pView;
}

/* Makes a view the replica's newest. Same content as the one before: holders of that one are led here. */
int ls_view_publish(int iView){
  LsView *pView = lsViewById((uint32_t)iView);
  LsReplica *p = pView ? lsReplicaUse(pView->iReplica) : NULL;
  LsView *pOld;
  if( p==NULL ){
    if( pView ) lsViewUnref(pView);
    return LS_MISUSE;
  }
  lsMutexLock(&p->mu);
  if( atomic_load(&p->bClosed) ){      /* set before ls_replica_close() takes the mutex to drop the newest view */
    lsMutexUnlock(&p->mu);
    lsViewUnref(pView);
    lsReplicaDone(p);
    return LS_GONE;
  }
  pOld = p->pNewest;
  pView->iLineage = atomic_load(&p->iLineage);   /* nobody but the core has seen it yet */
  atomic_store(&pView->bPublished, 1);
  p->pNewest = pView;                  /* the reference just taken */
  lsMutexUnlock(&p->mu);
  if( pOld && pOld!=pView && pOld->iStamp==pView->iStamp ) ls_view_relocate((int)pOld->iId, iView);
  if( pOld ) lsViewUnref(pOld);
  lsReplicaDone(p);
  return 0;
}

/* Another database has taken the replica's place: views made from here on are of that one. */
int ls_replica_renew(int iReplica){
  LsReplica *p = lsReplicaUse(iReplica);
  if( p==NULL ) return LS_MISUSE;
  atomic_fetch_add(&p->iLineage, 1);
  lsReplicaDone(p);
  return 0;
}

void lsReplicaError(LsReplica *p, const char *zText){
  lsMutexLock(&p->mu);
  copyText(p->zError, zText);
  lsMutexUnlock(&p->mu);
}

int ls_replica_fail(int iReplica, const char *zText){
  LsReplica *p = lsReplicaUse(iReplica);
  if( p==NULL ) return LS_MISUSE;
  lsReplicaError(p, zText);
  lsReplicaDone(p);
  return 0;
}

int ls_replica_error(int iReplica, uint8_t *aOut, int nOut){
  LsReplica *p = lsReplicaUse(iReplica);
  int n;
  if( p==NULL ) return LS_MISUSE;
  lsMutexLock(&p->mu);
  n = textOut(p->zError, aOut, nOut);
  lsMutexUnlock(&p->mu);
  lsReplicaDone(p);
  return n;
}

/* The core tells how far the local copy is. */
int ls_replica_hydrate(int iReplica, const uint64_t *aWord, const char *zPath){
  LsReplica *p = lsReplicaUse(iReplica);
  int rc = 0;
  if( p==NULL ) return LS_MISUSE;
  lsMutexLock(&p->mu);
  memcpy(p->aHydration, aWord, sizeof(p->aHydration));
  if( p->zHydration==NULL || strcmp(p->zHydration, zPath)!=0 ){
    free(p->zHydration);
    p->zHydration = strdup(zPath);
    if( p->zHydration==NULL ) rc = LS_NOMEM;
  }
  lsMutexUnlock(&p->mu);
  lsReplicaDone(p);
  return rc;
}

int ls_replica_hydration(int iReplica, uint64_t *aOut){
  LsReplica *p = lsReplicaUse(iReplica);
  if( p==NULL ) return LS_MISUSE;
  lsMutexLock(&p->mu);
  memcpy(aOut, p->aHydration, sizeof(p->aHydration));
  lsMutexUnlock(&p->mu);
  lsReplicaDone(p);
  return 0;
}

int ls_replica_hydration_file(int iReplica, uint8_t *aOut, int nOut){
  LsReplica *p = lsReplicaUse(iReplica);
  int n;
  if( p==NULL ) return LS_MISUSE;
  lsMutexLock(&p->mu);
  n = textOut(p->zHydration ? p->zHydration : "", aOut, nOut);
  lsMutexUnlock(&p->mu);
  lsReplicaDone(p);
  return n;
}

int ls_replica_stats(int iReplica, uint64_t *aOut, int nOut){
  LsReplica *p = lsReplicaUse(iReplica);
  int i;
  if( p==NULL ) return LS_MISUSE;
  for(i=0; i<nOut && i<LS_STAT_COUNT; i++) aOut[i] = atomic_load_explicit(&p->aStat[i], memory_order_relaxed);
  lsReplicaDone(p);
  return i;
}

/* A bound (LS_STAT_GET or LS_STAT_BYTE) of each read transaction of connections to come; 0: any number. */
int ls_replica_bound(int iReplica, int iStat, uint64_t nMax){
  LsReplica *p = lsReplicaUse(iReplica);
  int rc = p ? lsBoundSet(&p->bounds, iStat, nMax) : LS_MISUSE;
  if( p ) lsReplicaDone(p);
  return rc;
}

int ls_replica_add(int iReplica, int iStat, int nAmount){
  LsReplica *p = iStat>=0 && iStat<LS_STAT_COUNT ? lsReplicaUse(iReplica) : NULL;
  if( p==NULL ) return LS_MISUSE;
  atomic_fetch_add_explicit(&p->aStat[iStat], (uint64_t)(int64_t)nAmount, memory_order_relaxed);
  lsReplicaDone(p);
  return 0;
}

/* The newest view: TXID, commit, page size, time in ms, stamp, view handle; LS_GONE when there is none yet. */
int ls_replica_view(int iReplica, uint64_t *aOut){
  LsView *p = lsReplicaNewest(iReplica);
  LsReplica *pReplica = p ? lsReplicaUse(iReplica) : NULL;
  if( p ){
    lsViewWords(p, aOut);
    lsViewUnref(p);
  }
  if( pReplica ){
    lsWriterWords(pReplica, aOut);
    lsReplicaDone(pReplica);
  }
  return p ? 0 : LS_GONE;
}

/* ---------------------------------------------------------------------------------------------- following */

/* The wall clock may be set back and the monotonic one stands still while a machine sleeps. */
int64_t lsClock(void){ return lsBootMs()+1; }

/* The follower has looked: with success when zWhy is empty. */
int ls_replica_polled(int iReplica, const char *zWhy){
  LsReplica *p = lsReplicaUse(iReplica);
  if( p==NULL ) return LS_MISUSE;
  if( zWhy[0]==0 ) atomic_store(&p->msPolled, lsClock());
  lsMutexLock(&p->mu);
  copyText(p->zPoll, zWhy);
  if( zWhy[0] ) copyText(p->zError, zWhy);
  lsMutexUnlock(&p->mu);
  lsReplicaDone(p);
  return 0;
}

/*
** The replica was last seen msAgo ms ago, by somebody else: before this machine was started, perhaps, so that
** the time may be below 0; it is never 0, which is "not yet".
*/
int ls_replica_seen(int iReplica, uint64_t msAgo){
  LsReplica *p = lsReplicaUse(iReplica);
  int64_t msSeen;
  if( p==NULL ) return LS_MISUSE;
  msSeen = lsClock() - (int64_t)(msAgo>INT64_MAX/2 ? INT64_MAX/2 : msAgo);
  atomic_store(&p->msPolled, msSeen ? msSeen : -1);
  lsReplicaDone(p);
  return 0;
}

/* Milliseconds since the follower last saw; LS_GONE before it ever has, and once the replica was closed. */
int ls_replica_lag(int iReplica, uint64_t *aOut){
  LsReplica *p = lsReplicaUse(iReplica);
  int64_t msPolled;
  if( p==NULL ) return LS_MISUSE;
  msPolled = atomic_load(&p->bClosed) ? 0 : atomic_load(&p->msPolled);
  lsReplicaDone(p);
  if( msPolled==0 ) return LS_GONE;
  aOut[0] = (uint64_t)(lsClock()-msPolled);
  return 0;
}

int ls_replica_limit(int iReplica, int msStaleMax){
  LsReplica *p = lsReplicaUse(iReplica);
  if( p==NULL ) return LS_MISUSE;
  atomic_store(&p->msStaleMax, msStaleMax>0 ? msStaleMax : 0);
  lsReplicaDone(p);
  return 0;
}

/* Caller holds the replica's mutex. */
static void block(LsReplica *p, const char *zWhy){
  copyText(p->zBlocked, zWhy);
  if( zWhy[0] ) copyText(p->zError, zWhy);
}

/* From now on no transaction begins on the newest state; an empty zWhy ends that. LS_GONE: its core has ended. */
int ls_replica_block(int iReplica, const char *zWhy){
  LsReplica *p = lsReplicaUse(iReplica);
  int bEnded;
  if( p==NULL ) return LS_MISUSE;
  lsMutexLock(&p->mu);
  bEnded = p->bEnded;
  if( !bEnded ) block(p, zWhy);
  lsMutexUnlock(&p->mu);
  lsReplicaDone(p);
  return bEnded ? LS_GONE : 0;
}

/* Nobody follows the replicas of a core that has ended: what they show would grow old in silence. */
static void replicasEnd(int iCore, const char *zWhy){
  int i, n;
  lsMutexLock(&tableLock);
  for(i=1, n=nReplicaLive; i<REPLICA_MAX && n>0; i++){
    LsReplica *p = apReplica[i];
    if( p==NULL ) continue;
    n--;
    if( p->iCore!=iCore ) continue;
    lsMutexLock(&p->mu);
    if( !p->bEnded ) block(p, zWhy[0] ? zWhy : "ReplicaClosedError: Cannot read: the replica's core has ended");
    p->bEnded = 1;
    lsMutexUnlock(&p->mu);
  }
  lsMutexUnlock(&tableLock);
}

/* Whether a transaction may begin on the newest state; zWhy says why not. Caller holds the replica's mutex. */
static int fresh(LsReplica *p, char *zWhy){
  int msMax = atomic_load_explicit(&p->msStaleMax, memory_order_relaxed);
  int64_t msPolled = atomic_load(&p->msPolled);
  int64_t ms;
  char zAgo[64];
  if( p->zBlocked[0] ){
    copyText(zWhy, p->zBlocked);
    return 0;
  }
  if( msMax==0 ) return 1;
  ms = lsClock()-msPolled;
  if( msPolled && ms<=msMax ) return 1;
  if( msPolled ) snprintf(zAgo, sizeof(zAgo), "was last seen %lld ms ago", (long long)ms);
  else snprintf(zAgo, sizeof(zAgo), "was not seen yet");
  snprintf(zWhy, LS_ERROR_SIZE, "StaleError: Cannot begin a transaction: the replica %s, expected at most maxStaleMs %d"
    "%s%.700s", zAgo, msMax, p->zPoll[0] ? "\ncause=" : "", p->zPoll);
  if( strlen(p->zPoll)>700 ){
    char *zLast = strrchr(zWhy, '\n');
    if( strncmp(zLast, "\ncause=", 7)!=0 ) *zLast = 0;       /* no fact is cut in two */
  }
  return 0;
}

/*
** Looked at and pinned in one step: once ls_replica_block() or ls_view_publish() has returned, ls_replica_pins() tells of
** every transaction that came before.
*/
LsView *lsReplicaBegin(LsReplica *p, char *zWhy){
  LsView *pView = NULL;
  lsMutexLock(&p->mu);
  if( p->pNewest==NULL ) copyText(zWhy, "ReplicaClosedError: Cannot read: the replica has no view");
  else if( fresh(p, zWhy) ) pView = lsViewPin(lsViewRef(p->pNewest));
  lsMutexUnlock(&p->mu);
  return pView;
}

/* ------------------------------------------------------------------------------------------------ tickets */

void lsOpenError(const char *zText){ copyText(lsOwn()->zOpenError, zText); }

/* Why ls_replica_ticket() refused last on this thread, or what has failed here since; empty since ls_host_begin(). */
int ls_open_error(uint8_t *aOut, int nOut){ return textOut(lsOwn()->zOpenError, aOut, nOut); }

static void ticketFree(LsTicket *p){
  if( p->opening.pPast ) lsViewUnref(p->opening.pPast);
  lsConnectionFree(p->opening.pConnection);
  free(p);
}

/* Page 1's head as a view shows it, waited for if need be. *ppView may become the same content at other places. */
static int headWait(LsReplica *pReplica, LsConnection *pConnection, LsView **ppView, int msTimeout, uint8_t *aHead, char *zWhy){
  LsWait wait;
  int i, rc = LS_GONE;
  wait.msEnd = 0;
  for(i=0; i<RELOCATE_MAX && rc!=SQLITE_OK; i++){
    uint32_t iFrame = lsViewFrame(*ppView, 1), k;
    LsObject *pObject = iFrame ? lsFrameObject(iFrame) : NULL;
    if( pObject==NULL ){
      copyText(zWhy, "ReplicaError: Cannot read page: the state has no page 1");
      return SQLITE_IOERR_READ;
    }
    k = iFrame-pObject->iFirst;
    if( pObject->pLocal ) rc = lsLocalRead(pObject, k, 0, LS_HEAD_SIZE, aHead);
    lsConnectionCount(pConnection, LS_STAT_LOCAL, rc==SQLITE_OK);
    if( rc==SQLITE_OK ) break;
    wait.pRun = lsPin(pObject, k);
    lsConnectionCount(pConnection, wait.pRun ? LS_STAT_HIT : LS_STAT_MISS, 1);
    if( wait.pRun==NULL ){
      int rcWait;
      wait.pReplica = pReplica;
      wait.iPgno = 1;
      wait.iConnection = lsConnectionId(pConnection);
      wait.iIndexLeaf = 0;
      wait.msTimeout = msTimeout;
      rcWait = lsPageWait(&wait, ppView, 0, &k);
      if( rcWait ){
        copyText(zWhy, wait.zError);
        return rcWait;
      }
      if( wait.pRun==NULL ) continue;  /* it lies in a local file by now */
    }
    memcpy(aHead, lsRunPage(wait.pRun, k), LS_HEAD_SIZE);
    lsUnpin(wait.pRun);
    rc = SQLITE_OK;
  }
  if( rc!=SQLITE_OK ){
    copyText(zWhy, "ReplicaError: Cannot read page: its place keeps changing");
    return SQLITE_IOERR_READ;
  }
  lsHeadKeep(*ppView, aHead);
  lsHeadStamp(*ppView, aHead, 0, LS_HEAD_SIZE);
  return SQLITE_OK;
}

/* Puts page 1's head into the ticket, waiting for it if need be. *ppView may become the same content at other places. */
static int ticketHead(LsReplica *pReplica, LsOpening *p, LsView **ppView, int msTimeout, char *zWhy){
  p->bHead = (*ppView)->iCommit>0;
  if( !p->bHead ) return SQLITE_OK;    /* a new database */
  if( !lsHeadKnown(*ppView) ) return headWait(pReplica, p->pConnection, ppView, msTimeout, p->aHead, zWhy);
  memcpy(p->aHead, (*ppView)->aHead, LS_HEAD_SIZE);
  return SQLITE_OK;
}

/* Fills in what a connection will need, waiting for it; words in zWhy when the result is not 0. */
static int ticketFill(LsReplica *pReplica, LsOpening *p, const char *zMoment, char *zWhy){
  int msTimeout = p->msTimeout>0 ? p->msTimeout : pReplica->msTimeout;
  LsView *pNewest;
  int bEnded, rc = SQLITE_OK;
  lsMutexLock(&pReplica->mu);
  bEnded = pReplica->bEnded;
  if( bEnded ) copyText(zWhy, pReplica->zBlocked);
  lsMutexUnlock(&pReplica->mu);
  if( bEnded ) return SQLITE_IOERR_READ;
  if( zMoment[0] ) rc = lsMomentAsk(pReplica, zMoment, msTimeout, &p->pPast, p->zPast, zWhy);
  if( rc ) return rc;
  if( p->pPast ) return ticketHead(pReplica, p, &p->pPast, msTimeout, zWhy);
  pNewest = lsReplicaSeen(pReplica);   /* whether a transaction may begin there or not */
  if( pNewest==NULL ){
    copyText(zWhy, "ReplicaClosedError: Cannot open replica: it has no view");
    return SQLITE_IOERR_READ;
  }
  rc = ticketHead(pReplica, p, &pNewest, msTimeout, zWhy);
  lsViewUnref(pNewest);
  return rc;
}

/*
** A number that lets one connection open the replica by sentinel path, once; it is the connection's own. All that may take time is done here, so that
** nobody waits for others in the open, where they wait for it: the core is asked for the moment, and for page 1, whose head
** SQLite reads as it opens. LS_REFUSED when that fails.
*/
int ls_replica_ticket(int iReplica, int msTimeout, const char *zMoment){
  LsReplica *pReplica;
  LsTicket *p;
  char zWhy[LS_ERROR_SIZE];
  int iId;
  lsOpenError("");
  if( strlen(zMoment)>=LS_MOMENT_SIZE ) return LS_LIMIT;
  pReplica = lsReplicaUse(iReplica);
  if( pReplica==NULL ) return LS_MISUSE;
  p = calloc(1, sizeof(*p));
  iId = p ? 0 : LS_NOMEM;
  if( p ){
    p->opening.iReplica = iReplica;
    p->opening.msTimeout = msTimeout;
    p->opening.pConnection = lsConnectionNew(pReplica);
    if( p->opening.pConnection==NULL ){
      iId = LS_NOMEM;
    }else if( !atomic_load(&pReplica->bClosed) && ticketFill(pReplica, &p->opening, zMoment, zWhy) ){
      lsReplicaError(pReplica, zWhy);
      lsOpenError(zWhy);
      iId = LS_REFUSED;
    }
    if( p->opening.pConnection ) lsConnectionCarry(p->opening.pConnection, pReplica);
  }
  lsMutexLock(&tableLock);
  if( iId==0 && !atomic_load(&pReplica->bClosed) && lsConnectionId(p->opening.pConnection)<0x7fffffff ){
    iId = p->iId = (int)lsConnectionId(p->opening.pConnection);
    p->pNext = pTickets;
    pTickets = p;
  }else if( iId==0 ){
    iId = LS_MISUSE;
  }
  lsMutexUnlock(&tableLock);
  if( iId<0 && p ) ticketFree(p);
  lsReplicaDone(pReplica);
  return iId;
}

/* Forgets the tickets of a replica that no connection took: its driver failed before the open. */
static void ticketsDrop(int iReplica){
  LsTicket **pp, *p, *pDropped = NULL;
  lsMutexLock(&tableLock);
  for(pp=&pTickets; (p = *pp)!=NULL; ){
    if( p->opening.iReplica==iReplica ){
      *pp = p->pNext;
      p->pNext = pDropped;
      pDropped = p;
    }else{
      pp = &p->pNext;
    }
  }
  lsMutexUnlock(&tableLock);
  while( (p = pDropped)!=NULL ){
    pDropped = p->pNext;
    ticketFree(p);
  }
}

/* Tickets taken last, so that a second use can be told of; guarded by tableLock. */
static struct { int iTicket, iReplica; } aTaken[64];

/* Takes a ticket off the list; NULL when it is not there. Caller holds tableLock. */
static LsTicket *ticketCut(int iTicket){
  LsTicket **pp, *p;
  for(pp=&pTickets; (p = *pp)!=NULL && p->iId!=iTicket; pp=&p->pNext){}
  if( p ) *pp = p->pNext;
  return p;
}

int lsTicketTake(int iTicket, LsOpening *pOpening){
  LsTicket *p;
  memset(pOpening, 0, sizeof(*pOpening));
  lsMutexLock(&tableLock);
  if( iTicket>0 && aTaken[iTicket%64].iTicket==iTicket ) pOpening->iReplica = aTaken[iTicket%64].iReplica;
  p = ticketCut(iTicket);
  if( p ){
    *pOpening = p->opening;            /* pPast's reference and the connection go along */
    aTaken[iTicket%64].iTicket = iTicket;
    aTaken[iTicket%64].iReplica = p->opening.iReplica;
  }
  lsMutexUnlock(&tableLock);
  if( p==NULL ) return LS_GONE;
  free(p);
  return 0;
}

/* Forgets a ticket and the moment that it holds: the driver has failed. LS_GONE: a connection took it before. */
int ls_ticket_drop(int iTicket){
  LsTicket *p;
  lsMutexLock(&tableLock);
  p = ticketCut(iTicket);
  lsMutexUnlock(&tableLock);
  if( p==NULL ) return LS_GONE;
  ticketFree(p);
  return 0;
}

/* ------------------------------------------------------------------------------------------------- cores */

static LsCore *coreById(int iCore){
  LsCore *p = NULL;
  lsMutexLock(&tableLock);
  if( iCore>0 ) p = apCore[iCore%CORE_MAX];
  if( p && p->iId!=iCore ) p = NULL;   /* ended, and another has its place */
  lsMutexUnlock(&tableLock);
  return p;
}

/* The same, locked; NULL, and nothing locked, when it has ended: another may have come to its place meanwhile. */
static LsCore *coreLock(int iCore){
  LsCore *p = coreById(iCore);
  if( p==NULL ) return NULL;
  lsMutexLock(&p->mu);
  if( p->iId==iCore ) return p;
  lsMutexUnlock(&p->mu);
  return NULL;
}

static int64_t monotonicMs(void){ return lsMonotonicNs()/1000000; }

static LsThreadKey coreKey;
static LsOnce coreOnce = LS_ONCE_INIT;
static int rcCoreKey;

/* A replica of a core whose reference nobody has given up, for a file; NULL when there is none. */
static LsReplica *replicaLeft(int iCore){
  LsReplica *p = NULL;
  int i, n;
  lsMutexLock(&tableLock);
  for(i=1, n=nReplicaLive; i<REPLICA_MAX && n>0 && p==NULL; i++){
    if( apReplica[i]==NULL ) continue;
    n--;
    if( apReplica[i]->iCore==iCore && !atomic_load(&apReplica[i]->bLeft) ) p = apReplica[i];
  }
  if( p ) p->nFile++;
  lsMutexUnlock(&tableLock);
  return p;
}

/*
** A core's thread has ended, perhaps in the middle of its work: a worker that is terminated says nothing. What the core held
** is given up, and goes with the last connection that reads it: pages in memory, indexes, files.
*/
static void coreThreadEnded(void *pCore){
  int iCore = (int)(intptr_t)pCore;
  LsReplica *p;
  ls_core_stop(iCore, "ReplicaClosedError: Cannot read page: the thread of the replica's core has ended");
  lsThreadLeaves();
  while( (p = replicaLeft(iCore))!=NULL ){
    ls_writer_close(p->iId);
    lsLocalsLeave(p->iId);
    lsCoreLeaves(p->iId);
    ticketsDrop(p->iId);
    replicaLeave(p);
    lsReplicaDone(p);
  }
}

static void coreKeyMake(void){ rcCoreKey = lsThreadKeyMake(&coreKey, coreThreadEnded); }

/*
** Attaches the calling thread as a core, until ls_core_stop() or the thread's end, which must be noticed: without a thread's
** key there is none. Handles do not come again for long.
*/
int ls_core_start(void){
  LsCore *p = NULL;
  int i;
  lsOnce(&coreOnce, coreKeyMake);
  if( rcCoreKey ) return LS_NOMEM;
  lsMutexLock(&tableLock);
  for(i=1; i<CORE_MAX; i++){
    p = apCore[i];
    if( p==NULL ){
      p = calloc(1, sizeof(*p));
      if( p==NULL ) break;
      lsMutexInit(&p->mu);
      lsCondInit(&p->cond);
      p->iId = i - CORE_MAX;
      apCore[i] = p;
    }
    lsMutexLock(&p->mu);
    if( !p->bAttached ){
      p->bAttached = 1;
      p->thread = lsThreadSelf();
      p->iId = (p->iId+CORE_MAX)%(CORE_MAX*CORE_TURNS);
      i = p->iId;
      lsMutexUnlock(&p->mu);
      break;
    }
    lsMutexUnlock(&p->mu);
  }
  lsMutexUnlock(&tableLock);
  if( p==NULL ) return LS_NOMEM;
  if( i==CORE_MAX ) return LS_LIMIT;
  if( lsThreadSet(coreKey, (void*)(intptr_t)i) ){
    ls_core_stop(i, "");
    return LS_NOMEM;
  }
  return i;
}

/* Of several the first serves, and once it does not any more one of the others. */
int ls_core_default(int iCore, int bOn){
  int i;
  if( coreById(iCore)==NULL ) return LS_MISUSE;
  lsMutexLock(&tableLock);
  aiOffered[iCore%CORE_MAX] = bOn ? iCore : 0;
  if( !bOn && atomic_load(&iCoreDefault)==iCore ) atomic_store(&iCoreDefault, 0);
  for(i=0; i<CORE_MAX && atomic_load(&iCoreDefault)==0; i++) atomic_store(&iCoreDefault, aiOffered[i]);
  lsMutexUnlock(&tableLock);
  return 0;
}

int lsDefaultCore(void){ return atomic_load(&iCoreDefault); }

/*
** Blocks until a request came after the one counted iSeen, and returns the new count; LS_GONE when the core is
** stopped. Any thread may wait on a core's behalf.
*/
int ls_core_wait(int iCore, int iSeen, int msTimeout){
  LsCore *p = coreLock(iCore);
  int64_t nsEnd = lsMonotonicIn(msTimeout);
  int rc = 0;
  if( p==NULL ) return LS_MISUSE;
  while( p->iId==iCore && p->bAttached && p->iSeq==iSeen && rc==0 ) rc = lsCondWaitUntil(&p->cond, &p->mu, nsEnd);
  rc = p->iId==iCore && p->bAttached ? p->iSeq : LS_GONE;
  lsMutexUnlock(&p->mu);
  return rc;
}

#if defined(__wasm__)
/* The address of a word that changes, and is notified, at each request and at the core's end; 0: no such core. */
int ls_core_bell(int iCore){
  LsCore *p = coreById(iCore);
  return p ? (int)(uintptr_t)&p->cond.iSeq : 0;
}
#endif

static void slotFree(LsCore *pCore, LsSlot *p){
  p->eState = SLOT_FREE;
  p->iGen++;
  p->pWait = NULL;
  p->pNext = pCore->pFree;
  pCore->pFree = p;
}

/* Takes up to nMax queued requests, nine words each; returns how many. */
int ls_core_take(int iCore, uint32_t *aRequest, int nMax){
  LsCore *pCore = coreLock(iCore);
  int n = 0;
  if( pCore==NULL ) return LS_MISUSE;
  while( n<nMax && pCore->pFirst ){
    LsSlot *p = pCore->pFirst;
    uint32_t *a = &aRequest[(size_t)n*(sizeof(LsRequest)/4)];
    pCore->pFirst = p->pNext;
    if( pCore->pFirst==NULL ) pCore->pLast = NULL;
    memset(a, 0, sizeof(LsRequest));
    a[0] = (uint32_t)p->eKind;
    a[3] = (uint32_t)p->iReplica;
    if( p->pWait==NULL ){
      if( p->eKind==LS_REQUEST_MARK ){
        pCore->nMark--;
        a[4] = p->iView;
        a[5] = p->iPgno;
        a[8] = p->iConnection;
        a[9] = p->iIndexLeaf;
      }
      slotFree(pCore, p);
    }else{
      p->eState = SLOT_TAKEN;
      a[1] = (uint32_t)(iCore*SLOT_MAX+p->iIndex);
      a[2] = p->iGen;
      a[8] = p->pWait->iConnection;
      if( p->pObject ){
        p->pCoreView = lsViewRef(p->pWait->pView);
        a[4] = p->pCoreView->iId;
        a[5] = p->pWait->iPgno;
        a[6] = p->pObject->iId;
        a[7] = p->iFrame;
        a[9] = p->pWait->iIndexLeaf;
      }
    }
    n++;
  }
  lsMutexUnlock(&pCore->mu);
  return n;
}

/* The slot a request names, its core locked; NULL (and nothing locked) when nobody waits there any more. */
static LsSlot *slotLock(int iSlot, int iGen, LsCore **ppCore){
  LsCore *pCore = coreLock(iSlot/SLOT_MAX);
  LsSlot *p;
  if( pCore==NULL ) return NULL;
  p = iSlot%SLOT_MAX<pCore->nSlot ? pCore->apSlot[iSlot%SLOT_MAX] : NULL;
  if( p==NULL || p->iGen!=(uint32_t)iGen || p->eState!=SLOT_TAKEN ){
    lsMutexUnlock(&pCore->mu);
    return NULL;
  }
  *ppCore = pCore;
  return p;
}

/* Parameters of an LS_REQUEST_OPEN: name, then key and value in turn, each ended by a zero byte. Or the moment's text. */
int ls_request_text(int iSlot, int iGen, uint8_t *aOut, int nOut){
  LsCore *pCore;
  LsSlot *p = slotLock(iSlot, iGen, &pCore);
  int n = LS_GONE;
  if( p==NULL ) return n;
  n = p->pWait->nText;
  if( n<=nOut ) memcpy(aOut, p->pWait->aText, (size_t)n);
  lsMutexUnlock(&pCore->mu);
  return n;
}

/* What a request was to do, for the words of its failure. */
static const char *verb(int eKind){
  if( eKind==LS_REQUEST_SYNC ) return "store the transaction";
  return eKind==LS_REQUEST_OPEN ? "open replica" : eKind==LS_REQUEST_MOMENT ? "find the moment" : "read page";
}

static void failText(char *zOut, const char *zName, int eKind, const char *zWhy){
  snprintf(zOut, LS_ERROR_SIZE, "%s: Cannot %s: %s", zName, verb(eKind), zWhy);
}

static void slotAnswer(LsSlot *p, int rc, int iValue, const char *zText){
  p->rc = rc;
  p->pWait->iValue = iValue;
  if( rc || p->eKind==LS_REQUEST_MOMENT ) copyText(p->pWait->zError, zText);
  p->eState = SLOT_ANSWERED;
  lsCondSignal(&p->cond);
}

/*
** Answers a request. rc 0: the page is in the pool (LS_BUSY when it is not: load it again), or, with iValue 1, the
** view was relocated; for an open, iValue is the replica; for a moment it is the view, or 0 for the newest, and the text
** is what litestream_time shows. Otherwise rc is an SQLite result code with its text. LS_MISUSE for a view that is not the
** replica's: the reader waits on.
*/
int ls_answer(int iSlot, int iGen, int rc, int iValue, const char *zText){
  LsCore *pCore;
  LsSlot *p = slotLock(iSlot, iGen, &pCore);
  LsView *pView;
  if( p==NULL ) return LS_GONE;
  if( rc==0 && iValue==0 && p->pObject ){
    p->pWait->pRun = lsPin(p->pObject, p->iFrame);
    if( p->pWait->pRun==NULL ){
      lsMutexUnlock(&pCore->mu);
      return LS_BUSY;
    }
  }
  if( rc==0 && iValue && p->eKind==LS_REQUEST_MOMENT ){
    LsView *pPast = lsViewById((uint32_t)iValue);
    if( pPast==NULL || pPast->iReplica!=p->iReplica ){
      lsMutexUnlock(&pCore->mu);
      if( pPast ) lsViewUnref(pPast);
      return LS_MISUSE;
    }
    p->pWait->pPast = pPast;
  }
  pView = p->pCoreView;
  p->pCoreView = NULL;
  slotAnswer(p, rc, iValue, zText);
  lsMutexUnlock(&pCore->mu);
  if( pView ) lsViewUnref(pView);
  return 0;
}

/*
** Ends every wait of a replica (0: all) on a core. Without zName, zText is all the words there are. Caller holds the
** core's mutex.
*/
static void slotsEnd(LsCore *pCore, int iReplica, int rc, const char *zName, const char *zText){
  char z[LS_ERROR_SIZE];
  int i;
  for(i=0; i<pCore->nSlot; i++){
    LsSlot *p = pCore->apSlot[i];
    if( p->pWait==NULL || (p->eState!=SLOT_QUEUED && p->eState!=SLOT_TAKEN) ) continue;
    if( iReplica && p->iReplica!=iReplica ) continue;
    if( p->eState==SLOT_QUEUED ){
      LsSlot **pp = &pCore->pFirst, *pPrevious = NULL;
      while( *pp && *pp!=p ){
        pPrevious = *pp;
        pp = &(*pp)->pNext;
      }
      if( *pp==p ){
        *pp = p->pNext;
        if( pCore->pLast==p ) pCore->pLast = pPrevious;
      }
    }
    if( zName ) failText(z, zName, p->eKind, zText);
    slotAnswer(p, rc, 0, zName ? z : zText);
  }
}

/* Ends a core: its replicas' waits, and all that would begin on their newest states. */
int ls_core_stop(int iCore, const char *zWhy){
  LsCore *p;
  ls_core_default(iCore, 0);
  p = coreLock(iCore);
  if( p==NULL ) return LS_MISUSE;
  p->bAttached = 0;
  slotsEnd(p, 0, SQLITE_IOERR_READ, NULL, zWhy);
  while( p->pFirst ){                  /* notifications: nothing for the core that comes next */
    LsSlot *pSlot = p->pFirst;
    p->pFirst = pSlot->pNext;
    slotFree(p, pSlot);
  }
  p->pLast = NULL;
  p->nMark = 0;
  lsCondBroadcast(&p->cond);
  lsMutexUnlock(&p->mu);
  replicasEnd(iCore, zWhy);
  return 0;
}

/* What computes comes first: a read that fails must not be followed by the next one. */
int ls_replica_interrupt(int iReplica){
  LsReplica *p = lsReplicaUse(iReplica);
  LsCore *pCore;
  if( p ) lsConnectionsInterrupt(iReplica);
  pCore = p ? coreLock(p->iCore) : NULL;
  if( pCore ){
    slotsEnd(pCore, iReplica, SQLITE_INTERRUPT, "InterruptError", "replica.interrupt() was called");
    lsMutexUnlock(&pCore->mu);
  }
  if( p ) lsReplicaDone(p);
  return p ? 0 : LS_MISUSE;
}

/* Ends the replica's waits; later reads fail. */
int ls_replica_close(int iReplica){
  LsReplica *p = lsReplicaUse(iReplica);
  LsCore *pCore;
  LsView *pView = NULL;
  if( p==NULL ) return LS_MISUSE;
  if( atomic_exchange(&p->bClosed, 1) ){
    lsReplicaDone(p);
    return 0;
  }
  pCore = coreLock(p->iCore);
  if( pCore ){
    slotsEnd(pCore, iReplica, SQLITE_IOERR_READ, "ReplicaClosedError", "the replica was closed");
    lsMutexUnlock(&pCore->mu);
  }
  lsMutexLock(&p->mu);
  pView = p->pNewest;
  p->pNewest = NULL;
  lsMutexUnlock(&p->mu);
  if( pView ) lsViewUnref(pView);
  ticketsDrop(iReplica);
  replicaLeave(p);
  lsReplicaDone(p);
  return 0;
}

/* ------------------------------------------------------------------------------------------------- waits */

static LsSlot *slotTake(LsCore *pCore){
  LsSlot *p = pCore->pFree;
  if( p ){
    pCore->pFree = p->pNext;
    return p;
  }
  if( pCore->nSlot==SLOT_MAX ) return NULL;
  p = calloc(1, sizeof(*p));
  if( p==NULL ) return NULL;
  lsCondInit(&p->cond);
  p->iIndex = pCore->nSlot;
  pCore->apSlot[pCore->nSlot++] = p;
  return p;
}

static void slotQueue(LsCore *pCore, LsSlot *p){
  p->eState = SLOT_QUEUED;
  p->pNext = NULL;
  if( pCore->pLast ) pCore->pLast->pNext = p; else pCore->pFirst = p;
  pCore->pLast = p;
  pCore->iSeq = pCore->iSeq==0x7fffffff ? 0 : pCore->iSeq+1;
  lsCondBroadcast(&pCore->cond);
}

/* Waits until the slot is answered, ending it itself at the deadline. Caller holds the core's mutex. */
static void slotWait(LsCore *pCore, LsSlot *p, int msTimeout, int64_t msEnd){
  int nUntaken = 0;
  char zError[LS_ERROR_SIZE];
  while( p->eState!=SLOT_ANSWERED ){
    int64_t msLeft = msEnd-monotonicMs();
    int bLate;
    if( msLeft<=0 ){
      snprintf(zError, sizeof(zError), "DeadlineError: Cannot %s: no answer within %d ms", verb(p->eKind), msTimeout);
      break;
    }
    if( nUntaken>=UNTAKEN_MAX ){
      failText(zError, "ReplicaClosedError", p->eKind, "the replica's core does not answer");
      break;
    }
    bLate = lsCondWaitUntil(&p->cond, &pCore->mu, lsMonotonicIn(msLeft<1000 ? (int)msLeft : 1000));
    if( bLate && p->eState==SLOT_QUEUED ) nUntaken++;
  }
  if( p->eState==SLOT_ANSWERED ) return;
  if( p->eState==SLOT_QUEUED ){
    LsSlot **pp = &pCore->pFirst, *pPrevious = NULL;
    while( *pp!=p ){
      pPrevious = *pp;
      pp = &(*pp)->pNext;
    }
    *pp = p->pNext;
    if( pCore->pLast==p ) pCore->pLast = pPrevious;
  }
  slotAnswer(p, SQLITE_IOERR_READ, 0, zError);
}

/* Hands a request to the core and waits for its end; returns an SQLite result code. */
int lsWaitFor(int iCore, LsWait *pWait){
  LsCore *pCore = coreLock(iCore);
  LsSlot *p;
  LsView *pView;
  int rc = SQLITE_IOERR_READ;
  pWait->pRun = NULL;
  pWait->pPast = NULL;
  pWait->iValue = 0;
  if( pCore==NULL ){
    failText(pWait->zError, "ReplicaClosedError", pWait->eKind, "the replica's core has ended");
    return rc;
  }
  p = NULL;
  if( !pCore->bAttached ){
    failText(pWait->zError, "ReplicaClosedError", pWait->eKind, "the replica's core has ended");
  }else if( pWait->pReplica && atomic_load(&pWait->pReplica->bClosed) ){
    /* ls_replica_close() sets it before it ends the waits: who comes after that would wait in vain. */
    failText(pWait->zError, "ReplicaClosedError", pWait->eKind, "the replica was closed");
  }else if( lsThreadEqual(pCore->thread, lsThreadSelf()) ){
    failText(pWait->zError, "ReplicaError", pWait->eKind, "the query runs on the core's own thread, which it waits for");
  }else if( (p = slotTake(pCore))==NULL ){
    failText(pWait->zError, "ReplicaError", pWait->eKind, "too many readers wait at once");
  }
  if( p==NULL ){
    lsMutexUnlock(&pCore->mu);
    return rc;
  }
  p->pWait = pWait;
  p->eKind = pWait->eKind;
  p->iReplica = pWait->pReplica ? pWait->pReplica->iId : 0;
  p->pCoreView = NULL;
  p->pObject = NULL;
  if( pWait->pView ){
    uint32_t iFrame = lsViewFrame(pWait->pView, pWait->iPgno);
    p->pObject = lsFrameObject(iFrame);
    p->iFrame = iFrame - p->pObject->iFirst;
  }
  slotQueue(pCore, p);
  if( pWait->msEnd==0 ) pWait->msEnd = monotonicMs()+pWait->msTimeout;
  slotWait(pCore, p, pWait->msTimeout, pWait->msEnd);
  rc = p->rc;
  pView = p->pCoreView;
  p->pCoreView = NULL;
  slotFree(pCore, p);
  lsMutexUnlock(&pCore->mu);
  if( pView ) lsViewUnref(pView);
  return rc;
}

static int isLocal(const LsView *p, uint32_t iPgno){
  uint32_t iFrame = lsViewFrame(p, iPgno);
  return iFrame!=0 && lsFrameObject(iFrame)->pLocal!=NULL;
}

/* Whether the content of a view has been led to where a page lies in a local file: no request is needed there. */
static int movedLocal(LsView *p, uint32_t iPgno){
  LsView *pMoved = lsViewMoved(p);
  int b = pMoved && isLocal(pMoved, iPgno);
  if( pMoved ) lsViewUnref(pMoved);
  return b;
}

/* Why a page cannot be found: where its view has it, after so many requests. */
static void placeText(char *zError, const LsView *pView, uint32_t iPgno, int nAsked){
  LsObject *pObject = lsFrameObject(lsViewFrame(pView, iPgno));
  snprintf(zError, LS_ERROR_SIZE, "ReplicaError: Cannot read page: its place keeps changing: page %u of view %u, stamp %u, "
    "lies in object %u%s after %d requests", iPgno, pView->iId, pView->iStamp, pObject->iId,
    pObject->pLocal ? " of the local copy" : "", nAsked);
}

int lsPageWait(LsWait *p, LsView **ppView, int bPinned, uint32_t *pk){
  int i, rc;
  p->eKind = LS_REQUEST_PAGE;
  for(i=0; i<RELOCATE_MAX; i++){
    LsView *pMoved = lsViewMoved(*ppView);
    if( pMoved ){
      if( bPinned ) lsViewPin(pMoved); /* seen from outside the transaction is never gone */
      if( bPinned ) lsViewUnpin(*ppView); else lsViewUnref(*ppView);
      *ppView = pMoved;
    }else if( i>0 ){
      break;                           /* told to look again, and nothing has moved */
    }
    p->pView = *ppView;
    p->pRun = NULL;
    if( pMoved && isLocal(pMoved, p->iPgno) ) return SQLITE_OK;
    rc = lsWaitFor(p->pReplica->iCore, p);
    if( rc ){
      if( p->pRun ) lsUnpin(p->pRun);
      if( rc!=SQLITE_INTERRUPT && movedLocal(*ppView, p->iPgno) ) continue;  /* the request came to nothing, the page came */
      return rc;
    }
    if( p->pRun ){
      uint32_t iFrame = lsViewFrame(*ppView, p->iPgno);
      *pk = iFrame - lsFrameObject(iFrame)->iFirst;
      return SQLITE_OK;
    }
  }
  placeText(p->zError, *ppView, p->iPgno, i);
  return SQLITE_IOERR_READ;
}

int lsMomentAsk(LsReplica *p, const char *zMoment, int msTimeout, LsView **ppPast, char *zPast, char *zWhy){
  LsWait wait;
  int rc;
  memset(&wait, 0, sizeof(wait));
  wait.eKind = LS_REQUEST_MOMENT;
  wait.pReplica = p;
  wait.aText = zMoment;
  wait.nText = (int)strlen(zMoment)+1;
  wait.msTimeout = msTimeout;
  rc = lsWaitFor(p->iCore, &wait);
  *ppPast = rc ? NULL : wait.pPast;
  snprintf(zPast, LS_MOMENT_SIZE, "%.*s", LS_MOMENT_SIZE-1, *ppPast ? wait.zError : "");
  if( rc ) copyText(zWhy, wait.zError);
  return rc;
}

int lsSyncAsk(LsReplica *p, int msTimeout, char *zWhy){
  LsWait wait;
  int rc;
  memset(&wait, 0, sizeof(wait));
  wait.eKind = LS_REQUEST_SYNC;
  wait.pReplica = p;
  wait.msTimeout = msTimeout;
  rc = lsWaitFor(p->iCore, &wait);
  if( rc ) copyText(zWhy, wait.zError);
  return rc;
}

/*
** Queues a request for whose answer nobody waits. One nudge that lies untaken is enough: more would take readers' slots.
** LS_GONE when the core has ended.
*/
static int notify(int iCore, int iReplica, int eKind){
  LsCore *pCore = coreLock(iCore);
  LsSlot *p = NULL, *pSame = NULL;
  int bAttached;
  if( pCore==NULL ) return LS_GONE;
  if( eKind==LS_REQUEST_NUDGE ){
    for(pSame=pCore->pFirst; pSame && (pSame->eKind!=eKind || pSame->iReplica!=iReplica); pSame=pSame->pNext){}
  }
  bAttached = pCore->bAttached;
  if( bAttached && pSame==NULL ) p = slotTake(pCore);
  if( p ){
    p->pWait = NULL;
    p->pObject = NULL;
    p->eKind = eKind;
    p->iReplica = iReplica;
    slotQueue(pCore, p);
  }
  lsMutexUnlock(&pCore->mu);
  return bAttached ? 0 : LS_GONE;
}

/* Tells the core that a reader took a marked page. */
void lsNotifyMark(LsReplica *pReplica, const LsView *pView, uint32_t iPgno, uint32_t iConnection, uint32_t iIndexLeaf){
  LsCore *pCore = coreLock(pReplica->iCore);
  LsSlot *p = NULL;
  if( pCore==NULL ) return;
  if( pCore->bAttached && pCore->nMark<MARK_MAX ) p = slotTake(pCore);
  if( p ){
    pCore->nMark++;
    p->pWait = NULL;
    p->pObject = NULL;
    p->eKind = LS_REQUEST_MARK;
    p->iReplica = pReplica->iId;
    p->iView = pView->iId;
    p->iPgno = iPgno;
    p->iConnection = iConnection;
    p->iIndexLeaf = iIndexLeaf;
    slotQueue(pCore, p);
  }
  lsMutexUnlock(&pCore->mu);
}

/* Tells the core that a file opened by URI was closed. */
void lsNotifyClosed(int iCore, int iReplica){
  notify(iCore, iReplica, LS_REQUEST_CLOSED);
}

/* Asks for a look at the replica now; LS_GONE when its core has ended. */
int ls_replica_nudge(int iReplica){
  LsReplica *p = lsReplicaUse(iReplica);
  int rc;
  if( p==NULL ) return LS_MISUSE;
  rc = notify(p->iCore, iReplica, LS_REQUEST_NUDGE);
  lsReplicaDone(p);
  return rc;
}

void lsRequestsCensus(uint32_t *aOut){
  int i;
  uint32_t nSlot = 0;
  lsMutexLock(&tableLock);
  for(i=1; i<CORE_MAX && apCore[i]; i++){
    lsMutexLock(&apCore[i]->mu);
    nSlot += (uint32_t)apCore[i]->nSlot;
    lsMutexUnlock(&apCore[i]->mu);
  }
  aOut[0] = (uint32_t)nReplicaLive;
  aOut[1] = nSlot;
  lsMutexUnlock(&tableLock);
}
