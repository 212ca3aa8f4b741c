/*
** What shim.c and requests.c share: replicas, cores and the slots in which readers wait. Nothing here is exported.
*/
#ifndef LITESTREAM_REQUESTS_H
#define LITESTREAM_REQUESTS_H

#include "pages.h"

#define LS_ERROR_SIZE 1024

/* One open replica. Freed when it is closed and no file uses it. */
typedef struct LsReplica {
  int iId;
  int iCore;
  int msTimeout;                    /* longest wait of a read unless the connection says otherwise */
  atomic_int bClosed;
  int nFile;                        /* guarded by the table's lock */
  pthread_mutex_t mu;               /* guards pNewest and zError */
  LsView *pNewest;                  /* counted; NULL until the first view is published */
  char zError[LS_ERROR_SIZE];
  _Atomic uint64_t aStat[LS_STAT_COUNT];
} LsReplica;

/* What a reader hands in and gets back. */
typedef struct LsWait {
  int eKind;
  LsReplica *pReplica;              /* NULL when a replica is to be opened */
  LsView *pView;                    /* pinned by the reader while it waits */
  uint32_t iPgno;
  uint32_t iConnection;
  const char *aText;                /* parameters of LS_REQUEST_OPEN */
  int nText;
  int msTimeout;
  LsRun *pRun;                      /* out: the page's run, pinned */
  int iValue;                       /* out */
  char zError[LS_ERROR_SIZE];       /* out, when the result is not 0 */
} LsWait;

LsReplica *lsReplicaUse(int iReplica);        /* for a file; NULL when there is none */
void lsReplicaDone(LsReplica *p);
LsView *lsReplicaPin(LsReplica *p);
void lsReplicaError(LsReplica *p, const char *zText);
int lsTicketTake(int iTicket, int *piReplica, int *pmsTimeout);
int lsDefaultCore(void);
int lsWaitFor(int iCore, LsWait *p);          /* an SQLite result code */
void lsNotifyClosed(int iCore, int iReplica);
void lsRequestsCensus(uint32_t *aOut);

#endif
