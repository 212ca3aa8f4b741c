/*
** Connections: what each has read and what was fetched for it, so that any thread can tell.
**
** PURPOSE   A connection counts what it copies; the core adds what it fetches for it, by the connection's number.
**           What came since its last read transaction began is that transaction's, and may have bounds.
** THREADS   A counter has one side that writes it: the reader's thread for those below LS_STAT_CORE, the core for
**           the others. So a hit costs no atomic step and no lock. tableLock guards the table: who finds a
**           connection by its number uses it under that lock; it is freed after it has left the table under it, and
**           that is before SQLite frees the database: so a database in the table can be interrupted.
** MEMORY    Made with a ticket or an open by URI, freed by lsConnectionFree().
** ERRORS    A connection that has gone is LS_GONE.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sqlite3ext.h>
#include "requests.h"

#define BUCKET_COUNT 1024

struct LsConnection {
  uint32_t iId;
  int iReplica;                                /* 0 until it is known; guarded by tableLock */
  struct LsConnection *pNext;                  /* in its bucket; likewise */
  _Atomic uint64_t aStat[LS_STAT_COUNT];
  _Atomic uint64_t aBegun[LS_STAT_COUNT];      /* aStat as its last transaction began; the reader's thread writes it */
  uint64_t aCarried[LS_STAT_CORE];             /* of aStat, what the replica has; the reader's thread's */
  LsBounds bounds;
  sqlite3 *pDb;                                /* whose main database it is; NULL until it is open; guarded by tableLock */
  const sqlite3_api_routines *pApi;            /* of that SQLite; likewise */
};

const int lsConnectionStat[LS_CONNECTION_STATS] = {
  LS_STAT_HIT, LS_STAT_MISS, LS_STAT_TRANSACTION, LS_STAT_USED, LS_STAT_AHEAD, LS_STAT_GET, LS_STAT_BYTE,
  LS_STAT_ROUND_TRIP, LS_STAT_AHEAD_PAGE, LS_STAT_LOCAL
};

static LsMutex tableLock = LS_MUTEX_INIT;
static LsConnection *apBucket[BUCKET_COUNT];   /* guarded by tableLock, as is the next one */
static uint32_t nLive;
static atomic_uint iLast;

static uint64_t load(const _Atomic uint64_t *p){ return atomic_load_explicit(p, memory_order_relaxed); }
static void store(_Atomic uint64_t *p, uint64_t n){ atomic_store_explicit(p, n, memory_order_relaxed); }

/* A connection of this replica, or of none that is known yet (0), with the bounds that the replica gives. */
LsConnection *lsConnectionNew(LsReplica *pReplica){
  LsConnection *p = calloc(1, sizeof(*p));
  if( p==NULL ) return NULL;
  p->iId = atomic_fetch_add(&iLast, 1)+1;
  lsMutexLock(&tableLock);
  p->pNext = apBucket[p->iId%BUCKET_COUNT];
  apBucket[p->iId%BUCKET_COUNT] = p;
  nLive++;
  lsMutexUnlock(&tableLock);
  if( pReplica ) lsConnectionOf(p, pReplica);
  return p;
}

void lsConnectionOf(LsConnection *p, LsReplica *pReplica){
  store(&p->bounds.nRequest, load(&pReplica->bounds.nRequest));
  store(&p->bounds.nByte, load(&pReplica->bounds.nByte));
  lsMutexLock(&tableLock);
  p->iReplica = pReplica->iId;
  lsMutexUnlock(&tableLock);
}

void lsConnectionFree(LsConnection *p){
  LsConnection **pp;
  if( p==NULL ) return;
  lsMutexLock(&tableLock);
  for(pp=&apBucket[p->iId%BUCKET_COUNT]; *pp!=p; pp=&(*pp)->pNext){}
  *pp = p->pNext;
  nLive--;
  lsMutexUnlock(&tableLock);
  free(p);
}

void lsConnectionDatabase(LsConnection *p, sqlite3 *pDb, const sqlite3_api_routines *pApi){
  lsMutexLock(&tableLock);
  p->pDb = pDb;
  p->pApi = pApi;
  lsMutexUnlock(&tableLock);
}

/* Ends what runs right now on the replica's connections; takes no lock of SQLite's. */
void lsConnectionsInterrupt(int iReplica){
  const LsConnection *p;
  int i;
  lsMutexLock(&tableLock);
  for(i=0; i<BUCKET_COUNT; i++){
    for(p=apBucket[i]; p; p=p->pNext) if( p->iReplica==iReplica && p->pDb ) p->pApi->interruptx(p->pDb);
  }
  lsMutexUnlock(&tableLock);
}

uint32_t lsConnectionId(const LsConnection *p){ return p->iId; }

void lsConnectionCount(LsConnection *p, int iStat, uint64_t n){
  store(&p->aStat[iStat], load(&p->aStat[iStat])+n);
}

/* Whoever sees a value of aBegun sees aStat as it was then, or later: the difference is never below zero. */
void lsConnectionBegin(LsConnection *p){
  uint64_t nBegun = load(&p->aStat[LS_STAT_TRANSACTION]);
  int i;
  for(i=0; i<LS_CONNECTION_STATS; i++){
    int iStat = lsConnectionStat[i];
    uint64_t n = load(&p->aStat[iStat]);
    if( n!=load(&p->aBegun[iStat]) ) atomic_store_explicit(&p->aBegun[iStat], n, memory_order_release);
  }
  atomic_store_explicit(&p->aStat[LS_STAT_TRANSACTION], nBegun+1, memory_order_release);
}

void lsConnectionCarry(LsConnection *p, LsReplica *pReplica){
  int i;
  for(i=0; i<LS_STAT_CORE; i++){
    uint64_t n = load(&p->aStat[i]);
    if( n==p->aCarried[i] ) continue;
    atomic_fetch_add_explicit(&pReplica->aStat[i], n-p->aCarried[i], memory_order_relaxed);
    p->aCarried[i] = n;
  }
}

/* What a counter has had since the last transaction began; 0 before the first. */
static uint64_t sinceBegun(const LsConnection *p, int iStat){
  uint64_t n;
  if( atomic_load_explicit(&p->aStat[LS_STAT_TRANSACTION], memory_order_acquire)==0 ) return 0;
  n = atomic_load_explicit(&p->aBegun[iStat], memory_order_acquire);
  return load(&p->aStat[iStat])-n;
}

void lsConnectionStats(const LsConnection *p, uint64_t *aAll, uint64_t *aTransaction){
  int i;
  memset(aAll, 0, LS_STAT_COUNT*sizeof(*aAll));
  memset(aTransaction, 0, LS_STAT_COUNT*sizeof(*aTransaction));
  for(i=0; i<LS_CONNECTION_STATS; i++){
    int iStat = lsConnectionStat[i];
    aTransaction[iStat] = sinceBegun(p, iStat);
    aAll[iStat] = load(&p->aStat[iStat]);
  }
}

/* The replica's connection of that number, or NULL. Caller holds tableLock. */
static LsConnection *connectionById(int iReplica, uint32_t iConnection){
  LsConnection *p = apBucket[iConnection%BUCKET_COUNT];
  while( p && p->iId!=iConnection ) p = p->pNext;
  return p && p->iReplica==iReplica ? p : NULL;
}

/* The core adds to one of its own counters of a connection. */
int ls_connection_add(int iReplica, uint32_t iConnection, int iStat, int nAmount){
  LsConnection *p;
  if( iStat<LS_STAT_CORE || iStat>=LS_STAT_COUNT ) return LS_MISUSE;
  lsMutexLock(&tableLock);
  p = connectionById(iReplica, iConnection);
  if( p ) lsConnectionCount(p, iStat, (uint64_t)(int64_t)nAmount);
  lsMutexUnlock(&tableLock);
  return p ? 0 : LS_GONE;
}

/* LS_STAT_COUNT counters of a connection, then what its current or last read transaction has of each. */
int ls_connection_stats(int iReplica, uint32_t iConnection, uint64_t *aOut, int nOut){
  LsConnection *p;
  if( nOut<2*LS_STAT_COUNT ) return LS_MISUSE;
  lsMutexLock(&tableLock);
  p = connectionById(iReplica, iConnection);
  if( p ) lsConnectionStats(p, aOut, aOut+LS_STAT_COUNT);
  lsMutexUnlock(&tableLock);
  return p ? 2*LS_STAT_COUNT : LS_GONE;
}

/*
** What SQLite says of the connection's last call: its extended code, a space and the words; nothing when that went well.
** For the connection's own thread. Returns the length.
*/
int ls_connection_fault(int iReplica, uint32_t iConnection, uint8_t *aOut, int nOut){
  LsConnection *p;
  int n = 0;
  lsMutexLock(&tableLock);
  p = connectionById(iReplica, iConnection);
  if( p && p->pDb ){
    int rc = p->pApi->extended_errcode(p->pDb);
    if( rc!=SQLITE_OK && rc!=SQLITE_ROW && rc!=SQLITE_DONE ){
      n = snprintf((char*)aOut, (size_t)nOut, "%d %s", rc, p->pApi->errmsg(p->pDb));
      if( n>=nOut ) n = nOut-1;
    }
  }
  lsMutexUnlock(&tableLock);
  return p ? n : LS_GONE;
}

int lsBoundSet(LsBounds *p, int iStat, uint64_t nMax){
  if( iStat!=LS_STAT_GET && iStat!=LS_STAT_BYTE ) return LS_MISUSE;
  store(iStat==LS_STAT_GET ? &p->nRequest : &p->nByte, nMax);
  return 0;
}

/* A bound of each read transaction of a connection, in place of the replica's: of LS_STAT_GET or _BYTE. */
int ls_connection_bound(int iReplica, uint32_t iConnection, int iStat, uint64_t nMax){
  LsConnection *p;
  int rc;
  lsMutexLock(&tableLock);
  p = connectionById(iReplica, iConnection);
  rc = p ? lsBoundSet(&p->bounds, iStat, nMax) : LS_GONE;
  lsMutexUnlock(&tableLock);
  return rc;
}

/* What the connection's transaction has spent: requests, their bound, bytes, their bound; a bound of 0 is none. */
int ls_connection_spent(int iReplica, uint32_t iConnection, uint64_t *aOut){
  LsConnection *p;
  lsMutexLock(&tableLock);
  p = connectionById(iReplica, iConnection);
  if( p ){
    aOut[0] = sinceBegun(p, LS_STAT_GET);
    aOut[1] = load(&p->bounds.nRequest);
    aOut[2] = sinceBegun(p, LS_STAT_BYTE);
    aOut[3] = load(&p->bounds.nByte);
  }
  lsMutexUnlock(&tableLock);
  return p ? 0 : LS_GONE;
}

uint32_t lsConnectionsCensus(void){
  uint32_t n;
  lsMutexLock(&tableLock);
  n = nLive;
  lsMutexUnlock(&tableLock);
  return n;
}
