/*
** Transactions that ended, for whoever observes a replica.
**
** PURPOSE   Where a replica is observed, each transaction leaves a record of when it was and what it took. The core takes
**           them in batches. Where nobody observes, a transaction costs one look at a pointer.
** THREADS   Readers put, the core takes; the log's mutex guards its ring. Nobody waits for the other side.
** MEMORY    The ring is made by ls_replica_observe() and freed with the replica.
** ERRORS    None: what finds no room is counted, and the count is told with the next batch.
*/
#include <stdlib.h>
#include <string.h>
#include "requests.h"

#define RING_SIZE 1024                       /* a power of two */

struct LsTransactionLog {
  LsMutex mu;                                  /* guards all below */
  uint64_t nPut, nTaken;                       /* the ring has the records from nTaken on */
  uint64_t nLost;                              /* not told yet */
  uint64_t aRecord[RING_SIZE][LS_TRANSACTION_WORDS];
};

static LsTransactionLog *logOf(LsReplica *p){
  return atomic_load_explicit(&p->pTransactions, memory_order_acquire);
}

/* From now on every transaction that begins is kept until the core takes it. */
int ls_replica_observe(int iReplica){
  LsReplica *p = lsReplicaUse(iReplica);
  LsTransactionLog *pLog;
  if( p==NULL ) return LS_MISUSE;
  pLog = logOf(p) ? NULL : calloc(1, sizeof(*pLog));
  if( pLog ){
    lsMutexInit(&pLog->mu);
    atomic_store_explicit(&p->pTransactions, pLog, memory_order_release);   /* only the core does */
  }
  pLog = logOf(p);
  lsReplicaDone(p);
  return pLog ? 0 : LS_NOMEM;
}

void lsTransactionsFree(LsReplica *p){
  LsTransactionLog *pLog = logOf(p);
  if( pLog==NULL ) return;
  lsMutexDestroy(&pLog->mu);
  free(pLog);
}

uint64_t lsTransactionBegin(LsReplica *p){ return logOf(p) ? lsNowNs() : 0; }

void lsTransactionEnd(LsReplica *p, const LsConnection *pConnection, LsTransaction *pDone){
  uint64_t aAll[LS_STAT_COUNT], aOwn[LS_STAT_COUNT];
  LsTransactionLog *pLog = logOf(p);
  uint64_t *aWord;
  int i;
  if( pDone->nsBegun==0 || pLog==NULL ) return;
  lsConnectionStats(pConnection, aAll, aOwn);
  lsMutexLock(&pLog->mu);
  if( pLog->nPut-pLog->nTaken<RING_SIZE ){
    aWord = pLog->aRecord[pLog->nPut++ % RING_SIZE];
    memset(aWord, 0, sizeof(pLog->aRecord[0]));
    aWord[0] = lsConnectionId(pConnection);
    aWord[1] = aAll[LS_STAT_TRANSACTION];
    aWord[2] = pDone->iTxid;
    aWord[3] = pDone->nsBegun;
    aWord[4] = lsNowNs();
    aWord[5] = (uint64_t)pDone->bWrite;
    for(i=0; i<LS_CONNECTION_STATS; i++) aWord[6+i] = aOwn[lsConnectionStat[i]];
  }else{
    pLog->nLost++;
  }
  lsMutexUnlock(&pLog->mu);
  pDone->nsBegun = 0;
  pDone->bWrite = 0;
}

/*
** Takes records, LS_TRANSACTION_WORDS words each, as many as nOut words hold after the first, which tells how many were lost
** since the call before; how many came.
*/
int ls_replica_transactions(int iReplica, uint64_t *aOut, int nOut){
  LsReplica *p = lsReplicaUse(iReplica);
  LsTransactionLog *pLog = p ? logOf(p) : NULL;
  int n = 0;
  if( pLog && nOut>0 ){
    lsMutexLock(&pLog->mu);
    aOut[0] = pLog->nLost;
    pLog->nLost = 0;
    for(; pLog->nTaken<pLog->nPut && (n+1)*LS_TRANSACTION_WORDS<nOut; n++){
      memcpy(aOut+1+n*LS_TRANSACTION_WORDS, pLog->aRecord[pLog->nTaken++ % RING_SIZE], sizeof(pLog->aRecord[0]));
    }
    lsMutexUnlock(&pLog->mu);
  }
  if( p ) lsReplicaDone(p);
  return pLog && nOut>0 ? n : LS_MISUSE;
}
