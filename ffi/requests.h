/*
** What shim.c and requests.c share: replicas, cores and the slots in which readers wait. Nothing here is exported.
*/
#ifndef LITESTREAM_REQUESTS_H
#define LITESTREAM_REQUESTS_H

#include "pages.h"

#define LS_MOMENT_SIZE 256
#define LS_CONNECTION_STATS 10       /* counters that a connection has: see lsConnectionStat */

/* What one read transaction may spend; 0: any number. */
typedef struct LsBounds {
  _Atomic uint64_t nRequest, nByte;
} LsBounds;

/* One open replica. Freed when it is closed and no file uses it. */
typedef struct LsReplica {
  int iId;
  int iCore;
  int msTimeout;                    /* longest wait of a read unless the connection says otherwise */
  atomic_int bClosed;
  atomic_int bLeft;                 /* the core's reference was given up */
  atomic_uint iLineage;             /* counts the databases that have had its place */
  int nFile;                        /* guarded by the table's lock */
  LsBounds bounds;                  /* of connections to come */
  _Atomic int64_t msPolled;         /* when the follower last looked and saw, by lsClock(); 0 never */
  atomic_int msStaleMax;            /* no transaction begins when that was longer ago; 0: any age will do */
  LsMutex mu;               /* guards all below but aStat */
  LsView *pNewest;                  /* counted; NULL until the first view is published */
  char zError[LS_ERROR_SIZE];       /* what failed last, a read or a look */
  char zPoll[LS_ERROR_SIZE];        /* why the follower cannot see right now; empty when it can */
  char zBlocked[LS_ERROR_SIZE];     /* why no transaction begins; empty: they do */
  int bEnded;                       /* its core has ended: it stays blocked */
  uint64_t aHydration[LS_HYDRATION_WORDS];
  char *zHydration;                 /* path of the local file, or NULL; owned */
  _Atomic uint64_t aStat[LS_STAT_COUNT];
  _Atomic(struct LsWriter*) pWriter;  /* set once, when the replica is opened for writing; owned */
  _Atomic(struct LsTransactionLog*) pTransactions;  /* set once, when the replica is observed; owned */
} LsReplica;

typedef struct LsConnection LsConnection;

/* What a reader hands in and gets back. */
typedef struct LsWait {
  int eKind;
  LsReplica *pReplica;              /* NULL when a replica is to be opened */
  LsView *pView;                    /* pinned by the reader while it waits */
  uint32_t iPgno;
  uint32_t iConnection;
  uint32_t iIndexLeaf;
  const char *aText;                /* parameters of LS_REQUEST_OPEN, the moment of LS_REQUEST_MOMENT */
  int nText;
  int msTimeout;                    /* of all that is asked for with it */
  int64_t msEnd;                    /* when that has passed; 0: not begun yet */
  LsRun *pRun;                      /* out: the page's run, pinned */
  LsView *pPast;                    /* out: the moment's view with a reference; NULL for the newest */
  int iValue;                       /* out */
  char zError[LS_ERROR_SIZE];       /* out, when the result is not 0; else the moment as it is to be shown */
} LsWait;

/* What a ticket lets a connection open. */
typedef struct LsOpening {
  int iReplica;
  int msTimeout;                    /* 0: the replica's */
  LsConnection *pConnection;        /* owned */
  LsView *pPast;                    /* counted; NULL: the newest state, and on */
  char zPast[LS_MOMENT_SIZE];       /* what is shown of the moment */
  int bHead;
  uint8_t aHead[LS_HEAD_SIZE];      /* page 1's head, stamped: what SQLite reads while it opens */
} LsOpening;

LsReplica *lsReplicaUse(int iReplica);        /* for a file; NULL when there is none */
void lsReplicaDone(LsReplica *p);
LsView *lsReplicaSeen(LsReplica *p);          /* its newest view with a reference, or NULL */
LsView *lsReplicaBegin(LsReplica *p, char *zWhy); /* the same, pinned; or NULL, and LS_ERROR_SIZE bytes say why */
void lsReplicaError(LsReplica *p, const char *zText);
int64_t lsClock(void);                        /* ms; goes on while the machine sleeps */
void lsOpenError(const char *zText);          /* why an open fails, for ls_open_error() on this thread */
int lsTicketTake(int iTicket, LsOpening *p);  /* LS_GONE: no such ticket; iReplica is 0 or whose it was */
/* The view of a moment, with a reference, or NULL for the newest, and what is shown of it (LS_MOMENT_SIZE bytes); an
** SQLite result code, with words in zWhy (LS_ERROR_SIZE bytes) when it is not 0. */
int lsMomentAsk(LsReplica *p, const char *zMoment, int msTimeout, LsView **ppPast, char *zPast, char *zWhy);
/* Waits until what is committed is stored; an SQLite result code, with words in zWhy when it is not 0. */
int lsSyncAsk(LsReplica *p, int msTimeout, char *zWhy);
int lsDefaultCore(void);
int lsWaitFor(int iCore, LsWait *p);          /* an SQLite result code */
/* Waits for page p->iPgno of *ppView, which may become the same content at other places; counted, or pinned where bPinned.
** p->pRun has the page as frame *pk. Of p the caller fills pReplica, iPgno, iConnection, iIndexLeaf,
** msTimeout and msEnd. */
int lsPageWait(LsWait *p, LsView **ppView, int bPinned, uint32_t *pk);
void lsNotifyClosed(int iCore, int iReplica);
void lsNotifyMark(LsReplica *p, const LsView *pView, uint32_t iPgno, uint32_t iConnection, uint32_t iIndexLeaf);
void lsRequestsCensus(uint32_t *aOut);

/* connections.c; but for the last, what a connection's own thread does with it */
extern const int lsConnectionStat[LS_CONNECTION_STATS];
LsConnection *lsConnectionNew(LsReplica *p);  /* NULL: of one to be told by lsConnectionOf(); NULL when out of memory */
void lsConnectionOf(LsConnection *p, LsReplica *pReplica);
void lsConnectionFree(LsConnection *p);       /* NULL is nothing */
struct sqlite3;
struct sqlite3_api_routines;
void lsConnectionDatabase(LsConnection *p, struct sqlite3 *pDb, const struct sqlite3_api_routines *pApi);  /* is open */
void lsConnectionsInterrupt(int iReplica);
uint32_t lsConnectionId(const LsConnection *p);   /* a number that no other connection has had for long */
void lsConnectionBegin(LsConnection *p);      /* a read transaction */
void lsConnectionCount(LsConnection *p, int iStat, uint64_t n);
void lsConnectionCarry(LsConnection *p, LsReplica *pReplica);   /* what is new on to the replica's counters */
int lsBoundSet(LsBounds *p, int iStat, uint64_t nMax);   /* LS_STAT_GET or LS_STAT_BYTE; LS_MISUSE for another */
void lsConnectionStats(const LsConnection *p, uint64_t *aAll, uint64_t *aOfTransaction);  /* LS_STAT_COUNT each */
uint32_t lsConnectionsCensus(void);

/* transactions.c */
typedef struct LsTransactionLog LsTransactionLog;
typedef struct LsTransaction {
  uint64_t nsBegun;                            /* what lsTransactionBegin() gave; 0: nobody observes it */
  uint64_t iTxid;                              /* what it saw */
  int bWrite;
} LsTransaction;
uint64_t lsTransactionBegin(LsReplica *p);
void lsTransactionEnd(LsReplica *p, const LsConnection *pConnection, LsTransaction *pDone);
void lsTransactionsFree(LsReplica *p);

#endif
