/*
** An SQLite VFS whose pages come from another thread.
**
** PURPOSE   Serves databases out of views (pages.c). A page in the buffer pool is copied; for any other the reader
**           waits while the core fetches it (requests.c). What is written goes to the write log (writer.c).
**           Everything that is not a replica is handed to the VFS that
**           was the default when this one was registered, and never comes back here.
** BUILD     cc -std=c11 -shared -fPIC -fvisibility=hidden ffi/[a-z]*.c -Wl,-z,nodelete liblz4.a -pthread
**           (scripts/build_shim.mjs has the warnings). Entry point sqlite3_litestreamvfs_init.
** THREADS   Any number. A file is used by one thread at a time, as SQLite promises. Each SQLite copy in the process
**           that loads the shim is a host; what is global here is shared by all of them and guarded by globalLock.
** MEMORY    A file pins its view from SHARED to unlock. Reading allocates nothing.
** ERRORS    SQLite result codes; the words are kept for PRAGMA litestream_error and ls_replica_error(). An open that
**           fails gives a file that refuses every lock, so that the auto-extension can tell SQLite the reason; where
**           xOpen itself fails, pMethods stays 0.
** LEFT OUT  WAL, shared memory, memory mapping.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sqlite3ext.h>
#include "journal.h"
#include "writer.h"

#define VFS_NAME      "litestream"
#define HOST_MAX      16
#define HIDDEN_MIN    1024         /* places in the table of hidden names; a power of two */
#define MIN_VERSION   3032000
#define WINDOW_WAIT   30000        /* ms; no open takes that long, for what it reads came with its ticket */
#define OPEN_TIMEOUT  120000       /* ms; the core has shorter deadlines of its own */
#define INDEX_LEAF    0x0a         /* first byte of a page */
#define LOCAL_TRIES   8            /* how often a page is looked for anew that cannot be read from a local file */
#define JOURNAL_SUFFIX 8           /* strlen("-journal") */

/* One SQLite copy. Never freed. */
typedef struct LsHost {
  const sqlite3_api_routines *pApi;
  sqlite3_vfs *pBase;              /* the default VFS at registration; all that is not ours goes there */
  sqlite3_vfs vfs;
  atomic_int nDefault;             /* times it was made default for good; then "file:…?vfs=litestream" is a name too */
} LsHost;

/* An open replica database. base must be first. */
typedef struct LsFile {
  sqlite3_file base;
  LsHost *pHost;
  LsReplica *pReplica;             /* NULL when opening failed */
  LsView *pView;                   /* pinned; NULL while unlocked */
  LsSeen seen;                     /* what of the write log is over it */
  LsView *pPast;                   /* what transactions see in place of the newest state, or NULL */
  char zPast[LS_MOMENT_SIZE];      /* the moment as it is shown; empty for the newest state */
  int eLock;
  int bDurable;                    /* a commit waits until it is stored */
  int bKeeps;                      /* it was told to keep its lock from one transaction to the next */
  int bSticky;                     /* nolock or immutable: one view for life */
  int bUri;                        /* the core is told when this file closes */
  int msTimeout;
  LsConnection *pConnection;       /* owned; NULL when the ticket was none */
  LsTransaction transaction;       /* what is told of the one under way */
  uint32_t iIndexLeaf;             /* the index's leaf that was read last, until the core is told; 0 for none */
  uint32_t iLineage;               /* of the newest state that was last pinned */
  uint32_t nSchemaRead;            /* what it was when SQLite read page 1 */
  uint32_t nSchema;                /* how often equal schema versions ceased to mean equal schemas; see stampSchema() */
  const char *aHidden[2];          /* names of journal and WAL, which do not exist */
  int bHead;                       /* aHead came with the ticket, and no transaction has begun yet */
  uint8_t aHead[LS_HEAD_SIZE];
  char *zError;                    /* last error, LS_ERROR_SIZE bytes, or NULL */
} LsFile;

static LsMutex globalLock = LS_MUTEX_INIT;
static LsHost *apHost[HOST_MAX];              /* guarded by globalLock */
static const char **aHidden;                  /* likewise: open addressing by address */
static unsigned nHiddenAlloc, nHidden;        /* likewise; nHiddenAlloc is a power of two, or 0 */
static char zSentinel[512];                   /* written once, under globalLock, before bSentinel */
static atomic_int bSentinel;

/* The window in which a host's default VFS is ours: one in the process at a time, of one thread. */
static LsMutex windowLock = LS_MUTEX_INIT;
static LsCond windowCond;             /* it was closed */
static LsHost *pWindow;                       /* whose it is, NULL: none is open; guarded by windowLock, as are the next two */
static sqlite3_vfs *pWindowBefore;            /* the default VFS to put back */
static LsThread windowThread;
static LsThreadKey windowKey;               /* not NULL on the window's thread */
static LsOnce windowOnce = LS_ONCE_INIT;
static int rcWindow;                          /* of making the key */

static LsOnce onceSelf = LS_ONCE_INIT;         /* of keeping this library in the process */

static const sqlite3_io_methods fileMethods;

/* --------------------------------------------------------------------------------- names that do not exist */

/*
** SQLite asks at every transaction whether the journal exists, with the very pointer it keeps for the journal's
** name. Pointers, not strings: an ordinary database may have the same name as a replica.
*/
static unsigned hiddenNext(unsigned i){ return (i+1) & (nHiddenAlloc-1); }

/* The place of a name, or the free one where it would go. The caller holds globalLock, and there is a table. */
static unsigned hiddenPlace(const char *z){
  unsigned i = (unsigned)(((uintptr_t)z>>3)*2654435761u) & (nHiddenAlloc-1);
  while( aHidden[i] && aHidden[i]!=z ) i = hiddenNext(i);
  return i;
}

/* Doubles the table. A name that found no place would let a foreign journal be played into a replica. */
static int hiddenGrow(void){
  const char **aOld = aHidden;
  unsigned i, nOld = nHiddenAlloc;
  unsigned nNew = nOld ? nOld*2 : HIDDEN_MIN;
  const char **aNew = calloc(nNew, sizeof(*aNew));
  if( aNew==NULL ) return SQLITE_NOMEM;
  aHidden = aNew;
  nHiddenAlloc = nNew;
  for(i=0; i<nOld; i++) if( aOld[i] ) aHidden[hiddenPlace(aOld[i])] = aOld[i];
  free((void*)aOld);
  return SQLITE_OK;
}

static int hiddenAdd(const char *z){
  int rc = SQLITE_OK;
  if( z==NULL ) return SQLITE_OK;
  lsMutexLock(&globalLock);
  if( nHidden>=nHiddenAlloc/4*3 ) rc = hiddenGrow();
  if( rc==SQLITE_OK ){
    aHidden[hiddenPlace(z)] = z;
    nHidden++;
  }
  lsMutexUnlock(&globalLock);
  return rc;
}

static void hiddenRemove(const char *z){
  unsigned i;
  if( z==NULL ) return;
  lsMutexLock(&globalLock);
  i = hiddenPlace(z);
  if( aHidden[i] ){
    aHidden[i] = NULL;
    nHidden--;
    for(i=hiddenNext(i); aHidden[i]; i=hiddenNext(i)){
      const char *zMove = aHidden[i];
      aHidden[i] = NULL;
      aHidden[hiddenPlace(zMove)] = zMove;
    }
  }
  lsMutexUnlock(&globalLock);
}

static int hiddenHas(const char *z){
  int b;
  lsMutexLock(&globalLock);
  b = nHidden>0 && aHidden[hiddenPlace(z)]!=NULL;
  lsMutexUnlock(&globalLock);
  return b;
}

/* ------------------------------------------------------------------------------------------------- errors */

/* Keeps the words of a failure for this connection and for the replica; returns the code. */
static int fileError(LsFile *p, int rc, const char *zText){
  if( p->zError==NULL ) p->zError = malloc(LS_ERROR_SIZE);
  if( p->zError ) snprintf(p->zError, LS_ERROR_SIZE, "%s", zText);
  if( p->pReplica ) lsReplicaError(p->pReplica, zText);
  lsOpenError(zText);
  return rc;
}

/* ------------------------------------------------------------------------------------------------- page 1 */

/*
** SQLite keeps a schema while its version (bytes 40 to 43) stays the same. A primary that was restored, or made anew, can
** come to the same version with another schema; so the version that a connection sees changes with each move of its own,
** and with each replacement of the replica. Page 1 is read anew whenever the stamp changes.
*/
static void stampSchema(uint32_t nSchema, uint8_t *aOut, int iFrom, int n){
  if( nSchema==0 || iFrom>40 || iFrom+n<44 ) return;
  aOut[40-iFrom] ^= (uint8_t)(nSchema>>4);
  aOut[41-iFrom] ^= (uint8_t)(nSchema<<4);
}

/* The same as this connection is to see it; what it writes of page 1 is told from this again. */
static void schemaShow(LsFile *p, uint8_t *aOut, int iFrom, int n){
  if( iFrom<=40 && iFrom+n>=44 ) p->nSchemaRead = p->nSchema;
  stampSchema(p->nSchema, aOut, iFrom, n);
}

/* ------------------------------------------------------------------------------------------------- pinning */

static void fileUnpin(LsFile *p){
  if( p->transaction.nsBegun ) lsTransactionEnd(p->pReplica, p->pConnection, &p->transaction);
  lsWriterEnd(&p->seen);
  lsViewUnpin(p->pView);
  p->pView = NULL;
}

/* The view of the connection's moment with a reference, or NULL when it has none. */
static LsView *filePast(LsFile *p){
  LsView *pMoved = p->pPast ? lsViewMoved(p->pPast) : NULL;
  if( pMoved ){
    lsViewUnref(p->pPast);
    p->pPast = pMoved;
  }
  return p->pPast ? lsViewRef(p->pPast) : NULL;
}

/* What the next transaction sees, with a reference, or NULL. */
static LsView *fileNext(LsFile *p){
  LsView *pPast = filePast(p);
  return pPast ? pPast : lsReplicaSeen(p->pReplica);
}

/* Size of what is seen, in pages, and of a page in bytes, which is 0 in a database without any. */
static uint32_t seenCommit(const LsFile *p, const LsView *pView){
  return p->seen.pWriter ? p->seen.iCommit : pView->iCommit;
}
static uint32_t seenPageSize(const LsFile *p, const LsView *pView){
  return p->seen.pWriter ? p->seen.szPage : pView->szPage;
}

/* TXID, size in pages, page size and time of what a statement sees, or the next one would: as lsViewWords(). */
static void seenWords(const LsFile *p, const LsView *pView, uint64_t *aWord){
  lsViewWords(pView, aWord);
  if( p->seen.pWriter ){
    aWord[0] = p->seen.iTxid;
    aWord[1] = p->seen.iCommit;
    aWord[2] = p->seen.szPage;
    aWord[3] = p->seen.msTime;
  }else if( p->pView==NULL && p->pPast==NULL ){
    lsWriterWords(p->pReplica, aWord);
  }
}

static uint64_t seenTxid(const LsFile *p, const LsView *pView){
  uint64_t aWord[LS_VIEW_WORDS];
  seenWords(p, pView, aWord);
  return aWord[0];
}
static uint64_t seenTime(const LsFile *p, const LsView *pView){
  uint64_t aWord[LS_VIEW_WORDS];
  seenWords(p, pView, aWord);
  return aWord[3];
}

static int fileHolds(const LsFile *p){ return p->eLock>SQLITE_LOCK_SHARED && p->seen.pWriter; }

/* ------------------------------------------------------------------------------------------------- reading */

/* The same out of the write log. */
static int logRead(LsFile *p, uint32_t iFrame, uint32_t iPgno, int iFrom, int n, uint8_t *aOut){
  int rc = SQLITE_OK;
  lsConnectionCount(p->pConnection, LS_STAT_HIT, 1);
  if( iPgno==1 && p->seen.bHead && iFrom+n<=LS_HEAD_SIZE ) memcpy(aOut, p->seen.aHead+iFrom, (size_t)n);
  else rc = lsSeenRead(&p->seen, iFrame, iFrom, n, aOut);
  if( rc ) return fileError(p, rc, "WriteLogError: Cannot read: a page of the write log cannot be read");
  if( iPgno==1 ) schemaShow(p, aOut, iFrom, n);
  return SQLITE_OK;
}

/*
** Waits for a page that the pool lacks, until *pmsEnd, which the first wait of a read sets. *ppView may become the same
** content at other places.
*/
static int pageWait(LsFile *p, LsView **ppView, uint32_t iPgno, int64_t *pmsEnd, LsRun **ppRun, uint32_t *pk){
  LsWait wait;
  int bPinned = p->pView==*ppView;
  int rc;
  lsConnectionCount(p->pConnection, LS_STAT_MISS, 1);
  wait.pReplica = p->pReplica;
  wait.iPgno = iPgno;
  wait.iConnection = lsConnectionId(p->pConnection);
  wait.iIndexLeaf = p->iIndexLeaf;
  p->iIndexLeaf = 0;
  wait.msTimeout = p->msTimeout;
  wait.msEnd = *pmsEnd;
  rc = lsPageWait(&wait, ppView, bPinned, pk);
  *pmsEnd = wait.msEnd;
  if( bPinned ) p->pView = *ppView;
  if( rc ) return fileError(p, rc, wait.zError);
  *ppRun = wait.pRun;
  return SQLITE_OK;
}

/* The same out of a local file; LS_GONE when it cannot be read there. */
static int localRead(LsFile *p, LsView *pView, const LsObject *pObject, uint32_t k, uint32_t iPgno, int iFrom, int n, uint8_t *aOut){
  uint8_t aHead[LS_HEAD_SIZE];
  int bHead = iPgno==1 && iFrom+n<=LS_HEAD_SIZE;
  int rc = bHead ? lsLocalRead(pObject, k, 0, LS_HEAD_SIZE, aHead) : lsLocalRead(pObject, k, iFrom, n, aOut);
  if( rc ) return rc;
  lsConnectionCount(p->pConnection, LS_STAT_LOCAL, 1);
  if( bHead ){
    lsHeadKeep(pView, aHead);
    memcpy(aOut, aHead+iFrom, (size_t)n);
  }
  if( iPgno==1 ){
    lsHeadStamp(pView, aOut, iFrom, n);
    schemaShow(p, aOut, iFrom, n);
  }
  return 0;
}

/* Copies n bytes from byte iFrom of a page. */
static int pageRead(LsFile *p, LsView **ppView, uint32_t iPgno, int iFrom, int n, uint8_t *aOut){
  uint32_t iFrame, k;
  LsObject *pObject;
  LsRun *pRun;
  int64_t msEnd = 0;
  int bHit, e, i;
  if( lsSeenHas(&p->seen, iPgno, &iFrame) ) return logRead(p, iFrame, iPgno, iFrom, n, aOut);
  if( iPgno==1 && iFrom+n<=LS_HEAD_SIZE && lsHeadKnown(*ppView) ){
    memcpy(aOut, (*ppView)->aHead+iFrom, (size_t)n);
    schemaShow(p, aOut, iFrom, n);
    return SQLITE_OK;
  }
  for(i=0, pRun=NULL; pRun==NULL; i++){
    int rc;
    iFrame = lsViewFrame(*ppView, iPgno);
    if( iFrame==0 ){
      memset(aOut, 0, (size_t)n);    /* the lock page, which is stored nowhere; or one that is about to be written */
      return SQLITE_OK;
    }
    pObject = lsFrameObject(iFrame);
    k = iFrame-pObject->iFirst;
    if( pObject->pLocal && localRead(p, *ppView, pObject, k, iPgno, iFrom, n, aOut)==0 ) return SQLITE_OK;
    pRun = lsPin(pObject, k);
    bHit = pRun!=NULL;
    if( bHit ){
      lsConnectionCount(p->pConnection, LS_STAT_HIT, 1);
      break;
    }
    if( i==LOCAL_TRIES ) return fileError(p, SQLITE_IOERR_READ, "ReplicaError: Cannot read page: its place keeps changing");
    rc = pageWait(p, ppView, iPgno, &msEnd, &pRun, &k);
    if( rc ) return rc;              /* OK without a run: the page lies in a local file by now */
  }
  e = lsRunTake(pRun, k);
  if( (e & LS_FLAG_USED)==0 ){
    lsConnectionCount(p->pConnection, LS_STAT_USED, lsFrameSize(lsFrameObject(lsViewFrame(*ppView, iPgno)), k));
    if( bHit && (e & LS_FLAG_AHEAD) ) lsConnectionCount(p->pConnection, LS_STAT_AHEAD, 1);
  }
  if( e & LS_FLAG_MARK ){
    lsNotifyMark(p->pReplica, *ppView, iPgno, lsConnectionId(p->pConnection), p->iIndexLeaf);
    p->iIndexLeaf = 0;
  }
  memcpy(aOut, lsRunPage(pRun, k)+iFrom, (size_t)n);
  if( lsRunPage(pRun, k)[0]==INDEX_LEAF ) p->iIndexLeaf = iPgno;
  if( iPgno==1 ){
    lsHeadKeep(*ppView, lsRunPage(pRun, k));
    lsHeadStamp(*ppView, aOut, iFrom, n);
    schemaShow(p, aOut, iFrom, n);
  }
  lsUnpin(pRun);
  return SQLITE_OK;
}

static int fileUsable(LsFile *p){
  if( p->pReplica==NULL ) return SQLITE_CANTOPEN;
  if( atomic_load_explicit(&p->pReplica->bClosed, memory_order_relaxed) ){
    return fileError(p, SQLITE_IOERR_READ, "ReplicaClosedError: Cannot read: the replica was closed");
  }
  return SQLITE_OK;
}

/* Begins a transaction, unless one has: pins what it sees. */
static int fileBegin(LsFile *p){
  char zWhy[LS_ERROR_SIZE];
  LsView *pPast;
  int rc = fileUsable(p);
  if( rc || p->pView ) return rc;
  pPast = filePast(p);
  if( pPast ) p->pView = lsViewPin(pPast);
  else if( lsWriterOf(p->pReplica) ) p->pView = lsWriterBegin(p->pReplica, &p->seen, zWhy);
  else p->pView = lsReplicaBegin(p->pReplica, zWhy);
  if( p->pView==NULL ) return fileError(p, SQLITE_IOERR_READ, zWhy);
  if( pPast==NULL && p->pView->iLineage!=p->iLineage ){
    p->iLineage = p->pView->iLineage;
    p->nSchema++;
  }
  p->bHead = 0;
  lsConnectionBegin(p->pConnection);
  p->transaction.nsBegun = lsTransactionBegin(p->pReplica);
  if( p->transaction.nsBegun ) p->transaction.iTxid = seenTxid(p, p->pView);
  return SQLITE_OK;
}

/*
** The view to read: the pinned one, or for a single unlocked read the next one, which the caller gives back. bHead: SQLite
** so reads the header while it opens. That must succeed on a replica where no transaction may begin: the error would have
** no words, and no moment could be set.
*/
static int fileView(LsFile *p, LsView **ppView, int bHead){
  int bBegin = (p->bSticky && !bHead) || (p->pReplica && p->pPast==NULL && lsWriterOf(p->pReplica));
  int rc = bBegin ? fileBegin(p) : fileUsable(p);
  if( rc ) return rc;
  *ppView = p->pView ? p->pView : fileNext(p);
  if( *ppView==NULL ) return fileError(p, SQLITE_IOERR_READ, "ReplicaClosedError: Cannot read: the replica has no view");
  return SQLITE_OK;
}

/* Gives back what fileView() gave, unless a lock or the connection keeps it. */
static void fileViewDone(LsFile *p, LsView *pView){
  if( p->pView==NULL ) lsViewUnref(pView);
  else if( p->eLock==SQLITE_LOCK_NONE && !p->bSticky ) fileUnpin(p);
}

/*
** So SQLite asks whether its cache holds, when it has no transaction. Where it keeps its lock (locking_mode=EXCLUSIVE), the one
** before was given up; and without a journal (journal_mode=OFF), nothing else tells of that.
*/
static int isVersionRead(int nByte, sqlite3_int64 iOfst){ return iOfst==24 && nByte==16; }

static int fileRead(sqlite3_file *pFile, void *pBuf, int nByte, sqlite3_int64 iOfst){
  LsFile *p = (LsFile*)pFile;
  uint8_t *aOut = pBuf;
  LsView *pView;
  sqlite3_int64 nFile;
  uint32_t szPage;
  int rc;
  if( p->pReplica==NULL ){
    if( iOfst!=0 || nByte>LS_HEAD_SIZE ) return SQLITE_CANTOPEN;
    memset(pBuf, 0, (size_t)nByte);        /* so that the open goes on to where the reason can be told */
    return SQLITE_IOERR_SHORT_READ;
  }
  if( p->bHead && iOfst>=0 && iOfst+nByte<=LS_HEAD_SIZE ){
    rc = fileUsable(p);
    if( rc==SQLITE_OK ) memcpy(pBuf, p->aHead+iOfst, (size_t)nByte);   /* while a driver opens, nothing may wait */
    return rc;
  }
  if( isVersionRead(nByte, iOfst) && fileHolds(p) ) lsWriterForget(&p->seen);
  rc = fileView(p, &pView, iOfst>=0 && iOfst+nByte<=LS_HEAD_SIZE);
  if( rc ) return rc;
  szPage = seenPageSize(p, pView);
  nFile = (sqlite3_int64)seenCommit(p, pView)*szPage;
  while( nByte>0 && rc==SQLITE_OK ){
    sqlite3_int64 iPage;
    int iFrom, n;
    if( iOfst<0 || iOfst>=nFile ){
      memset(aOut, 0, (size_t)nByte);
      rc = SQLITE_IOERR_SHORT_READ;
      break;
    }
    iPage = iOfst/szPage;
    iFrom = (int)(iOfst%szPage);
    n = (int)szPage-iFrom;
    if( n>nByte ) n = nByte;
    rc = pageRead(p, &pView, (uint32_t)iPage+1, iFrom, n, aOut);
    aOut += n;
    iOfst += n;
    nByte -= n;
  }
  fileViewDone(p, pView);
  return rc;
}

static int fileSize(sqlite3_file *pFile, sqlite3_int64 *pSize){
  LsFile *p = (LsFile*)pFile;
  LsView *pView;
  int rc = fileView(p, &pView, 0);
  if( rc ) return rc;
  *pSize = (sqlite3_int64)seenCommit(p, pView)*seenPageSize(p, pView);
  fileViewDone(p, pView);
  return SQLITE_OK;
}

/* ------------------------------------------------------------------------------------------------- locking */

/* Whether this connection may write: its replica is open for that, and it sees the newest state. */
static int fileWritable(const LsFile *p){
  return p->pReplica && p->pPast==NULL && !p->bSticky && lsWriterOf(p->pReplica);
}

/* SHARED pins a view: the newest, or that of the connection's moment. From RESERVED on, nobody else writes; readers never wait. */
static int fileLock(sqlite3_file *pFile, int eLock){
  LsFile *p = (LsFile*)pFile;
  char zWhy[LS_ERROR_SIZE];
  int rc;
  if( eLock>SQLITE_LOCK_SHARED && !fileWritable(p) ) return SQLITE_READONLY;
  if( eLock<=p->eLock ) return SQLITE_OK;
  rc = fileBegin(p);
  if( rc==SQLITE_OK && eLock>SQLITE_LOCK_SHARED ){
    rc = lsWriterReserve(&p->seen, p, zWhy);
    if( rc && zWhy[0] ) fileError(p, rc, zWhy);
  }
  if( rc ) return rc;
  if( eLock>SQLITE_LOCK_SHARED && p->bKeeps ) lsWriterAsk(&p->seen);
  if( eLock>SQLITE_LOCK_SHARED ) p->transaction.bWrite = 1;
  p->eLock = eLock;
  return SQLITE_OK;
}

static int fileUnlock(sqlite3_file *pFile, int eLock){
  LsFile *p = (LsFile*)pFile;
  if( eLock>=p->eLock ) return SQLITE_OK;
  if( p->eLock>SQLITE_LOCK_SHARED && eLock<=SQLITE_LOCK_SHARED ) lsWriterRelease(&p->seen, p);
  p->eLock = eLock;
  if( eLock==SQLITE_LOCK_NONE && p->pView && !p->bSticky ) fileUnpin(p);
  if( p->pReplica ) lsConnectionCarry(p->pConnection, p->pReplica);
  return SQLITE_OK;
}

static int fileCheckReserved(sqlite3_file *pFile, int *pbOut){
  LsFile *p = (LsFile*)pFile;
  *pbOut = p->seen.pWriter ? lsWriterHeld(&p->seen) : 0;
  return SQLITE_OK;
}

/* ------------------------------------------------------------------------------------------------- writing */

static int fileWrite(sqlite3_file *pFile, const void *pBuf, int nByte, sqlite3_int64 iOfst){
  LsFile *p = (LsFile*)pFile;
  char zWhy[LS_ERROR_SIZE];
  uint8_t *aCopy = NULL;
  int rc;
  if( !fileHolds(p) ) return SQLITE_READONLY;
  if( nByte<512 || (nByte & (nByte-1)) || iOfst<0 || iOfst%nByte || iOfst/nByte>=UINT32_MAX ){
    return fileError(p, SQLITE_IOERR_WRITE, "ReplicaError: Cannot write: not a whole page, expected one at its place");
  }
  if( iOfst==0 && p->nSchemaRead ){
    aCopy = malloc((size_t)nByte);
    if( aCopy==NULL ) return SQLITE_IOERR_NOMEM;
    memcpy(aCopy, pBuf, (size_t)nByte);
    stampSchema(p->nSchemaRead, aCopy, 0, nByte);   /* back to the database's own */
  }
  rc = lsWriterWrite(&p->seen, (uint32_t)(iOfst/nByte)+1, aCopy ? aCopy : pBuf, nByte, zWhy);
  free(aCopy);
  return rc ? fileError(p, rc, zWhy) : SQLITE_OK;
}

static int fileTruncate(sqlite3_file *pFile, sqlite3_int64 nByte){
  LsFile *p = (LsFile*)pFile;
  char zWhy[LS_ERROR_SIZE];
  uint32_t szPage;
  int rc;
  if( !fileHolds(p) ) return SQLITE_READONLY;
  szPage = seenPageSize(p, p->pView);
  rc = lsWriterTruncate(&p->seen, szPage ? (uint32_t)((nByte+szPage-1)/szPage) : 0, zWhy);
  return rc ? fileError(p, rc, zWhy) : SQLITE_OK;
}

static int fileSync(sqlite3_file *pFile, int flags){
  LsFile *p = (LsFile*)pFile;
  (void)flags;
  if( fileHolds(p) ) lsWriterSync(&p->seen);
  return SQLITE_OK;
}

/*
** With locking_mode=EXCLUSIVE, SQLite leaves the counter in page 1 alone that tells others of a change: it is written here. What
** fails is SQLITE_FULL or an I/O error: after any other, SQLite keeps pages that are not committed.
*/
static int fileHead(LsFile *p){
  int szPage = (int)seenPageSize(p, p->pView);
  uint32_t nSchemaRead = p->nSchemaRead;
  uint8_t *aPage;
  int rc;
  if( !lsWriterChanged(&p->seen) || lsWriterHasHead(&p->seen) ) return SQLITE_OK;
  aPage = malloc((size_t)szPage);
  if( aPage==NULL ) return SQLITE_IOERR_NOMEM;
  rc = pageRead(p, &p->pView, 1, 0, szPage, aPage) ? SQLITE_IOERR_READ : fileWrite(&p->base, aPage, szPage, 0);
  p->nSchemaRead = nSchemaRead;                /* of the page that SQLite has */
  free(aPage);
  return rc;
}

/* A transaction over several files is about to be committed: what may fail has to fail now. */
static int filePrepare(LsFile *p){
  char zWhy[LS_ERROR_SIZE];
  int rc = fileHead(p);
  if( p->bDurable ) return fileError(p, SQLITE_ERROR, "ReplicaError: Cannot commit: litestream_durable is on and the transaction "
    "is of several databases, of which none could tell that it is not stored; expected one database, or 0");
  if( rc==SQLITE_OK && (rc = lsWriterPrepare(&p->seen, zWhy))!=SQLITE_OK ) fileError(p, rc, zWhy);
  return rc;
}

/* A connection that keeps its lock goes on from the newest view, so that the log behind it can go. */
static void fileMoveOn(LsFile *p){
  LsView *pView = lsWriterPinNewest(&p->seen);
  if( pView==NULL ) return;
  lsViewUnpin(p->pView);
  p->pView = pView;
}

/* SQLite has done away with its journal: the transaction is committed, unless this fails. */
static int fileCommit(LsFile *p){
  char zWhy[LS_ERROR_SIZE];
  int bChanged = lsWriterChanged(&p->seen);
  int rc = fileHead(p);
  if( rc ){
    lsWriterForget(&p->seen);                  /* SQLite has nothing left to undo it with */
    return rc;
  }
  rc = lsWriterCommit(&p->seen, zWhy);
  if( rc==SQLITE_OK ) fileMoveOn(p);
  if( rc==SQLITE_OK && bChanged && p->bDurable ) rc = lsSyncAsk(p->pReplica, p->msTimeout, zWhy);
  return rc ? fileError(p, rc, zWhy) : SQLITE_OK;
}

static int fileSectorSize(sqlite3_file *pFile){
  return fileWritable((LsFile*)pFile) ? 512 : 4096;      /* SQLite writes all pages of a sector */
}
static int fileDeviceCharacteristics(sqlite3_file *pFile){
  /* Never IMMUTABLE: the next view is another file. */
  return fileWritable((LsFile*)pFile) ? LS_JOURNAL_TRAITS : 0;
}

/* ----------------------------------------------------------------------------------- PRAGMAs and functions */

/* The view that a statement sees, or the next one would; with a reference, or NULL. */
static LsView *fileSeen(LsFile *p){
  if( p->pView ) return lsViewRef(p->pView);
  return p->pReplica ? fileNext(p) : NULL;
}

/* The same for whoever tells of it; NULL, and this connection's error says why, once the replica was closed. */
static LsView *fileTold(LsFile *p){
  LsView *pView = fileSeen(p);
  if( fileUsable(p)==SQLITE_OK ){
    if( pView ) return pView;
    fileError(p, SQLITE_IOERR_READ, "ReplicaClosedError: Cannot read: the replica has no view");
  }
  if( pView ) lsViewUnref(pView);
  return NULL;
}

/* RFC 3339 in UTC with milliseconds. */
static void timeText(uint64_t ms, char *zOut, size_t nOut){
  struct tm tm;
  char z[32];
  lsUtc((int64_t)(ms/1000), &tm);
  strftime(z, sizeof(z), "%Y-%m-%dT%H:%M:%S", &tm);
  snprintf(zOut, nOut, "%s.%03dZ", z, (int)(ms%1000));
}

/* First line of the last error of this connection; else why following fails; else the replica's last error. */
static void errorText(LsFile *p, char *zOut){
  char *zEnd;
  zOut[0] = 0;
  if( p->zError ){
    snprintf(zOut, LS_ERROR_SIZE, "%s", p->zError);
  }else if( p->pReplica ){
    LsReplica *pReplica = p->pReplica;
    lsMutexLock(&pReplica->mu);
    snprintf(zOut, LS_ERROR_SIZE, "%s", pReplica->zPoll[0] ? pReplica->zPoll : pReplica->zError);
    lsMutexUnlock(&pReplica->mu);
  }
  zEnd = strchr(zOut, '\n');
  if( zEnd ) *zEnd = 0;
}

/* Whole seconds since the follower last saw; -1 before it ever has. */
static int64_t fileLag(LsFile *p){
  uint64_t ms;
  if( p->pReplica==NULL || ls_replica_lag(p->pReplica->iId, &ms)<0 ) return -1;
  return (int64_t)(ms/1000);
}

/*
** Moves a connection to a moment, or by "latest" back to the newest state. What the connection has pinned stays what it
** is, so there must be nothing. The first line of why not goes to zWhy (LS_ERROR_SIZE bytes) when the result is not
** SQLITE_OK.
*/
static int fileMoment(LsFile *p, const char *zMoment, char *zWhy){
  LsView *pPast;
  char zPast[LS_MOMENT_SIZE];
  int rc;
  if( p->pView ){
    snprintf(zWhy, LS_ERROR_SIZE, "ReplicaError: Cannot set litestream_time: %s, expected it before the first read",
      p->bSticky ? "this connection keeps one state for life (nolock or immutable)"
                 : "a transaction is open on this connection, or a statement not at its end");
    return SQLITE_ERROR;
  }
  if( strlen(zMoment)>=LS_MOMENT_SIZE ){
    snprintf(zWhy, LS_ERROR_SIZE, "TypeError: Cannot read time: it is too long, expected RFC 3339 or words such as "
      "\"5 minutes ago\"");
    return SQLITE_ERROR;
  }
  rc = lsMomentAsk(p->pReplica, zMoment, p->msTimeout, &pPast, zPast, zWhy);
  if( rc ){
    char *zEnd = strchr(zWhy, '\n');
    if( zEnd ) *zEnd = 0;
    return rc;
  }
  if( p->pPast ) lsViewUnref(p->pPast);
  p->pPast = pPast;
  memcpy(p->zPast, zPast, sizeof(zPast));
  p->nSchema++;
  return SQLITE_OK;
}

/* What litestream_time shows: the moment that was set, else the time of the state that is seen. */
static void fileTime(const LsFile *p, uint64_t msTime, char *zOut, size_t nOut){
  if( p->zPast[0] ) snprintf(zOut, nOut, "%s", p->zPast);
  else timeText(msTime, zOut, nOut);
}

static const char *const azStat[LS_STAT_COUNT] = {
  "hits", "misses", "transactions", "bytesUsed", "aheadHits", "localReads", NULL, NULL,
  "listRequests", "getRequests", "bytes", "retries", "roundTrips", "pagesLoaded", "pagesEvicted",
  "polls", "failedPolls", "views", "aheadPages", "aheadWasted", "hedges", "diskReads", "diskBytes"
};

/* The counters of a connection, or of its transaction, as a JSON object under a name. */
static void connectionText(const sqlite3_api_routines *pApi, sqlite3_str *pOut, int bAll, const uint64_t *aStat){
  int i;
  pApi->str_appendf(pOut, ",\"%s\":{", bAll ? "connection" : "transaction");
  for(i=0; i<LS_CONNECTION_STATS; i++){
    int iStat = lsConnectionStat[i];
    if( iStat==LS_STAT_TRANSACTION && !bAll ) continue;
    pApi->str_appendf(pOut, "%s\"%s\":%llu", i ? "," : "", azStat[iStat], (unsigned long long)aStat[iStat]);
  }
  pApi->str_appendf(pOut, "}");
}

/* What goes between the quotes of a JSON string; the moment's words are the core's and perhaps the user's. */
static void jsonText(const char *z, char *zOut, size_t nOut){
  size_t n = 0;
  for(; *z && n+7<nOut; z++){
    unsigned char c = (unsigned char)*z;
    if( c<0x20 ){
      n += (size_t)snprintf(zOut+n, nOut-n, "\\u%04x", c);
    }else{
      if( c=='"' || c=='\\' ) zOut[n++] = '\\';
      zOut[n++] = *z;
    }
  }
  zOut[n] = 0;
}

/*
** One JSON object: what this connection sees, how old it is, the replica's counters, those of this connection, and of its
** current or last read transaction.
*/
static char *statsText(LsFile *p, const LsView *pView){
  const sqlite3_api_routines *pApi = p->pHost->pApi;
  char zTime[LS_MOMENT_SIZE], zJson[6*LS_MOMENT_SIZE+8];
  uint64_t aAll[LS_STAT_COUNT], aTransaction[LS_STAT_COUNT], aWord[LS_VIEW_WORDS];
  sqlite3_str *pOut = pApi->str_new(NULL);
  long long nAge;
  int i;
  seenWords(p, pView, aWord);
  nAge = (long long)(lsNowMs()/1000) - (long long)(aWord[3]/1000);
  lsConnectionCarry(p->pConnection, p->pReplica);
  lsConnectionStats(p->pConnection, aAll, aTransaction);
  fileTime(p, aWord[3], zTime, sizeof(zTime));
  jsonText(zTime, zJson, sizeof(zJson));
  pApi->str_appendf(pOut, "{\"txid\":\"%016llx\",\"time\":\"%s\",\"lagSeconds\":%lld,\"ageSeconds\":%lld,"
    "\"commit\":%u,\"pageSize\":%u", (unsigned long long)aWord[0], zJson, (long long)fileLag(p), nAge>0 ? nAge : 0,
    (unsigned)aWord[1], (unsigned)aWord[2]);
  for(i=0; i<LS_STAT_COUNT; i++){
    if( azStat[i]==NULL ) continue;
    pApi->str_appendf(pOut, ",\"%s\":%llu", azStat[i], (unsigned long long)atomic_load(&p->pReplica->aStat[i]));
  }
  connectionText(pApi, pOut, 1, aAll);
  connectionText(pApi, pOut, 0, aTransaction);
  pApi->str_appendf(pOut, "}");
  return pApi->str_finish(pOut);
}

/* Of "litestream_write_enabled = v": 0, 1, or -1 when v is neither. */
static int switchValue(const sqlite3_api_routines *pApi, const char *z){
  static const char *const az[] = {"0","false","off","1","true","on"};
  int i;
  for(i=0; i<6; i++) if( pApi->stricmp(z, az[i])==0 ) return i>=3;
  return -1;
}

/* Refuses or accepts a value for a PRAGMA; the words are az[0]. */
static int pragmaSet(LsFile *p, char **az){
  const sqlite3_api_routines *pApi = p->pHost->pApi;
  char z[LS_ERROR_SIZE];
  int rc = SQLITE_ERROR;
  if( pApi->stricmp(az[1], "litestream_time")==0 ){
    rc = fileMoment(p, az[2], z);
    if( rc ) az[0] = pApi->mprintf("%s", z);
    return rc ? SQLITE_ERROR : SQLITE_NOTFOUND;
  }
  if( pApi->stricmp(az[1], "litestream_write_enabled")==0 ){
    int b = switchValue(pApi, az[2]);
    if( b>=0 && fileHolds(p) ){
      az[0] = pApi->mprintf("Cannot set litestream_write_enabled: this connection is writing, expected it between transactions");
      return SQLITE_ERROR;
    }
    if( b>=0 && fileWritable(p) ) return ls_writer_switch(p->pReplica->iId, b)>=0 ? SQLITE_NOTFOUND : SQLITE_ERROR;
    if( b==0 ) return SQLITE_NOTFOUND;
    az[0] = b<0 ? pApi->mprintf("Cannot set litestream_write_enabled: \"%s\", expected 0, 1, off, on, false or true", az[2])
                : pApi->mprintf("Cannot set litestream_write_enabled: this replica is open for reading only");
    return SQLITE_ERROR;
  }
  if( pApi->stricmp(az[1], "litestream_durable")==0 ){
    int b = switchValue(pApi, az[2]);
    if( b==0 || (b==1 && fileWritable(p)) ){
      p->bDurable = b;
      return SQLITE_NOTFOUND;
    }
    az[0] = b<0 ? pApi->mprintf("Cannot set litestream_durable: \"%s\", expected 0, 1, off, on, false or true", az[2])
                : pApi->mprintf("Cannot set litestream_durable: this replica is open for reading only");
    return SQLITE_ERROR;
  }
  az[0] = pApi->mprintf("Cannot set %s: it only tells, expected no value", az[1]);
  return SQLITE_ERROR;
}

/* "0" without a local copy, else how much of it is there in %; "100.0" is all. */
static void hydrationText(int iReplica, char *zOut, size_t nOut){
  uint64_t aWord[LS_HYDRATION_WORDS] = {0};
  uint64_t n;
  if( ls_replica_hydration(iReplica, aWord)<0 || aWord[0]==0 ){
    snprintf(zOut, nOut, "0");
    return;
  }
  n = aWord[2] ? aWord[1]*1000/aWord[2] : 0;
  if( aWord[0]==2 ) n = 1000;
  else if( n>999 ) n = 999;
  snprintf(zOut, nOut, "%llu.%llu", (unsigned long long)(n/10), (unsigned long long)(n%10));
}

/*
** A transaction that wrote nothing can end without a word to the file where SQLite keeps its lock: after a ROLLBACK, or with
** journal_mode=PERSIST. So it is the PRAGMA that tells; unqualified, it tells the main database alone.
*/
static void fileKeeps(LsFile *p, const char *zMode){
  const sqlite3_api_routines *pApi = p->pHost->pApi;
  if( pApi->stricmp(zMode, "exclusive")==0 ) p->bKeeps = 1;
  if( pApi->stricmp(zMode, "normal")==0 ) p->bKeeps = 0;
  if( p->bKeeps && fileHolds(p) ) lsWriterAsk(&p->seen);
}

static int filePragma(LsFile *p, char **az){
  static const char *const azName[] = {"txid", "lag", "time", "error", "stats", "hydration_progress", "hydration_file",
    "write_enabled", "durable"};
  const sqlite3_api_routines *pApi = p->pHost->pApi;
  char z[LS_ERROR_SIZE];
  LsView *pView;
  int i;
  if( az[2] && pApi->stricmp(az[1], "journal_mode")==0 && pApi->stricmp(az[2], "wal")==0 && fileWritable(p) ){
    az[0] = pApi->mprintf("delete");   /* under locking_mode=EXCLUSIVE SQLite would write its mark first, and look for a WAL then */
    return az[0] ? SQLITE_OK : SQLITE_NOMEM;
  }
  if( az[2] && pApi->stricmp(az[1], "locking_mode")==0 ) fileKeeps(p, az[2]);
  if( pApi->strnicmp(az[1], "litestream_", 11)!=0 ) return SQLITE_NOTFOUND;
  for(i=0; i<9 && pApi->stricmp(az[1]+11, azName[i])!=0; i++){}
  if( i==9 ){
    az[0] = pApi->mprintf("unknown PRAGMA %s", az[1]);
    return SQLITE_ERROR;
  }
  if( p->pReplica==NULL ) return SQLITE_CANTOPEN;
  pView = i==3 ? NULL : fileTold(p);   /* why not can be asked all the same */
  if( pView==NULL && i!=3 ){
    errorText(p, z);
    az[0] = pApi->mprintf("%s", z);
    return SQLITE_ERROR;
  }
  if( az[2] ){
    if( pView ) lsViewUnref(pView);
    return pragmaSet(p, az);
  }
  z[0] = 0;
  if( i==0 ) snprintf(z, sizeof(z), "%016llx", (unsigned long long)seenTxid(p, pView));
  else if( i==1 ) snprintf(z, sizeof(z), "%lld", (long long)fileLag(p));
  else if( i==2 ) fileTime(p, seenTime(p, pView), z, sizeof(z));
  else if( i==3 ) errorText(p, z);
  else if( i==5 ) hydrationText(p->pReplica->iId, z, sizeof(z));
  else if( i==6 ) z[ls_replica_hydration_file(p->pReplica->iId, (uint8_t*)z, sizeof(z)-1)] = 0;
  else if( i==8 ) snprintf(z, sizeof(z), "%d", p->bDurable);
  else if( i==7 ) snprintf(z, sizeof(z), "%d", fileWritable(p) && lsWriterOn(p->pReplica));
  az[0] = i==4 ? statsText(p, pView) : pApi->mprintf("%s", z);
  if( pView ) lsViewUnref(pView);
  return az[0] ? SQLITE_OK : SQLITE_NOMEM;
}

static int fileControl(sqlite3_file *pFile, int op, void *pArg){
  LsFile *p = (LsFile*)pFile;
  if( op==SQLITE_FCNTL_PRAGMA ) return filePragma(p, pArg);
  if( op==SQLITE_FCNTL_SYNC && pArg && fileHolds(p) ) return filePrepare(p);
  if( op==SQLITE_FCNTL_SYNC && fileHolds(p) ) lsWriterUndone(&p->seen);
  if( op==SQLITE_FCNTL_COMMIT_PHASETWO && fileHolds(p) ) return fileCommit(p);
  if( op==SQLITE_FCNTL_VFSNAME ){
    *(char**)pArg = p->pHost->pApi->mprintf("%s", VFS_NAME);
    return SQLITE_OK;
  }
  if( op==SQLITE_FCNTL_HAS_MOVED ){
    *(int*)pArg = 0;
    return SQLITE_OK;
  }
  return SQLITE_NOTFOUND;
}

/* The replica file behind "main", or NULL when it is another VFS's. */
static LsFile *mainFile(const sqlite3_api_routines *pApi, sqlite3 *db){
  sqlite3_file *pFile = NULL;
  if( pApi->file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &pFile)!=SQLITE_OK || pFile==NULL ) return NULL;
  return pFile->pMethods==&fileMethods ? (LsFile*)pFile : NULL;
}

static LsHost *hostById(int iHost){
  LsHost *p = NULL;
  lsMutexLock(&globalLock);
  if( iHost>0 && iHost<HOST_MAX ) p = apHost[iHost];
  lsMutexUnlock(&globalLock);
  return p;
}

/*
** litestream_txid(), litestream_time(), litestream_lag(), litestream_stats(), litestream_set_time(): evaluated at each step, where a PRAGMA is
** at prepare. A function learns its user data only through an API table, so each host has functions of its own.
*/
enum { FUNCTION_TXID, FUNCTION_TIME, FUNCTION_LAG, FUNCTION_STATS, FUNCTION_SET_TIME, FUNCTION_COUNT };

static void setTime(const sqlite3_api_routines *pApi, LsFile *p, sqlite3_context *pCtx, sqlite3_value *pValue){
  const char *z = (const char*)pApi->value_text(pValue);
  char zWhy[LS_ERROR_SIZE];
  if( z==NULL ) pApi->result_error(pCtx, "timestamp required", -1);
  else if( fileMoment(p, z, zWhy)!=SQLITE_OK ) pApi->result_error(pCtx, zWhy, -1);
}

/* The text of litestream_stats(), litestream_time() or litestream_txid(). */
static void tell(const sqlite3_api_routines *pApi, LsFile *p, const LsView *pView, int eFunction, sqlite3_context *pCtx){
  char z[LS_MOMENT_SIZE];
  if( eFunction==FUNCTION_STATS ){
    char *zStats = statsText(p, pView);
    if( zStats ) pApi->result_text(pCtx, zStats, -1, pApi->free);
    else pApi->result_error_nomem(pCtx);
    return;
  }
  if( eFunction==FUNCTION_TIME ) fileTime(p, seenTime(p, pView), z, sizeof(z));
  else snprintf(z, sizeof(z), "%016llx", (unsigned long long)seenTxid(p, pView));
  pApi->result_text(pCtx, z, -1, SQLITE_TRANSIENT);
}

static void sqlFunction(int iHost, int eFunction, sqlite3_context *pCtx, sqlite3_value **apArg){
  LsHost *pHost = hostById(iHost);
  const sqlite3_api_routines *pApi = pHost->pApi;
  LsFile *p = mainFile(pApi, pApi->context_db_handle(pCtx));
  LsView *pView;
  if( p==NULL || p->pReplica==NULL ){
    pApi->result_error(pCtx, "this connection's main database is not a replica", -1);
    return;
  }
  pView = fileTold(p);
  if( pView==NULL ){
    char zWhy[LS_ERROR_SIZE];
    errorText(p, zWhy);
    pApi->result_error(pCtx, zWhy, -1);
    return;
  }
  if( eFunction==FUNCTION_SET_TIME ) setTime(pApi, p, pCtx, apArg[0]);
  else if( eFunction==FUNCTION_LAG ) pApi->result_int64(pCtx, fileLag(p));
  else tell(pApi, p, pView, eFunction, pCtx);
  lsViewUnref(pView);
}

#define HOST_FUNCTION(i, e) \
  static void function##i##_##e(sqlite3_context *c, int n, sqlite3_value **a){ (void)n; sqlFunction(i, e, c, a); }
#define HOST_FUNCTIONS(i) \
  HOST_FUNCTION(i, 0) HOST_FUNCTION(i, 1) HOST_FUNCTION(i, 2) HOST_FUNCTION(i, 3) HOST_FUNCTION(i, 4)
#define HOST_ROW(i) {function##i##_0, function##i##_1, function##i##_2, function##i##_3, function##i##_4}
HOST_FUNCTIONS(1)
HOST_FUNCTIONS(2)
HOST_FUNCTIONS(3)
HOST_FUNCTIONS(4)
HOST_FUNCTIONS(5)
HOST_FUNCTIONS(6)
HOST_FUNCTIONS(7)

typedef void (*SqlFunction)(sqlite3_context*, int, sqlite3_value**);
static const SqlFunction aFunction[HOST_MAX][FUNCTION_COUNT] = {
  {NULL,NULL,NULL,NULL,NULL}, HOST_ROW(1), HOST_ROW(2), HOST_ROW(3), HOST_ROW(4), HOST_ROW(5), HOST_ROW(6), HOST_ROW(7)
};

/* Runs at the end of every open of a host: tells why a replica did not open, or adds its functions. */
static int onConnection(sqlite3 *db, char **pzErr, const sqlite3_api_routines *pApi){
  LsFile *p = mainFile(pApi, db);
  char z[LS_ERROR_SIZE];
  int i, e;
  if( p==NULL ) return SQLITE_OK;
  if( p->pReplica==NULL ){
    errorText(p, z);
    *pzErr = pApi->mprintf("%s", z);
    return SQLITE_CANTOPEN;
  }
  for(i=1; i<HOST_MAX && hostById(i)!=p->pHost; i++){}
  for(e=0; e<FUNCTION_COUNT; e++){
    static const char *const azName[] = {"litestream_txid", "litestream_time", "litestream_lag", "litestream_stats",
      "litestream_set_time"};
    int bSet = e==FUNCTION_SET_TIME;
    pApi->create_function_v2(db, azName[e], bSet, SQLITE_UTF8 | (bSet ? SQLITE_DIRECTONLY : SQLITE_INNOCUOUS), NULL,
      aFunction[i][e], NULL, NULL, NULL);
  }
  if( lsWriterOf(p->pReplica)==NULL ){
    /* What is only read is somebody else's: its views call no function of the application's unless that is asked for. */
    pApi->db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, (int*)NULL);
    pApi->db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, (int*)NULL);
  }
  lsConnectionDatabase(p->pConnection, db, pApi);
  return SQLITE_OK;
}

/* ------------------------------------------------------------------------------------------------- opening */

static int isSentinel(const char *z){
  return atomic_load_explicit(&bSentinel, memory_order_acquire) && strncmp(z, zSentinel, strlen(zSentinel))==0;
}

/*
** Where "file:NAME?...vfs=litestream..." begins in a plain name, from drivers that interpret no URI; NULL when it is
** none. Deno without all permissions puts the working directory before it.
*/
static const char *literalUri(const char *z){
  const char *zQuery, *zVfs;
  if( strncmp(z, "file:", 5)!=0 ){
    z = strstr(z, "/file:");
    if( z==NULL ) return NULL;
    z++;
  }
  if( (zQuery = strchr(z, '?'))==NULL ) return NULL;
  zVfs = strstr(zQuery, "vfs=" VFS_NAME);
  if( zVfs==NULL || (zVfs[-1]!='?' && zVfs[-1]!='&') ) return NULL;
  return strchr("&#", zVfs[4+sizeof(VFS_NAME)-1]) ? z : NULL;
}

static int hexDigit(char c){
  if( c>='0' && c<='9' ) return c-'0';
  c = (char)(c|0x20);
  return c>='a' && c<='f' ? c-'a'+10 : -1;
}

/* The name and parameters of a literal URI as SQLite would have parsed them. Returns the length. */
static int parseLiteral(const char *z, char *aOut, int nOut){
  int n = 0;
  int bValue = -1;                 /* -1 in the name, 0 in a key, 1 in a value */
  for(z+=5; *z && *z!='#' && n<nOut-3; z++){
    int c = (unsigned char)*z;
    if( bValue<0 && c=='?' ){
      aOut[n++] = 0;
      bValue = 0;
    }else if( bValue>=0 && c=='&' ){
      if( bValue==0 ) aOut[n++] = 0;
      aOut[n++] = 0;
      bValue = 0;
    }else if( bValue==0 && c=='=' ){
      aOut[n++] = 0;
      bValue = 1;
    }else if( c=='%' && hexDigit(z[1])>=0 && hexDigit(z[2])>=0 ){
      c = hexDigit(z[1])*16+hexDigit(z[2]);
      z += 2;
      if( c ) aOut[n++] = (char)c;
    }else{
      aOut[n++] = (char)c;
    }
  }
  if( bValue==0 ) aOut[n++] = 0;
  aOut[n++] = 0;
  return n;
}

/* Name and parameters as SQLite parsed them. */
static int parseUri(const sqlite3_api_routines *pApi, const char *zName, char *aOut, int nOut){
  int n = (int)strlen(zName)+1;
  int i;
  const char *zKey;
  if( n>nOut ) return 0;
  memcpy(aOut, zName, (size_t)n);
  for(i=0; (zKey = pApi->uri_key(zName, i))!=NULL; i++){
    const char *zValue = pApi->uri_parameter(zName, zKey);
    int nKey = (int)strlen(zKey)+1;
    int nValue = zValue ? (int)strlen(zValue)+1 : 0;
    if( n+nKey+nValue>nOut ) return 0;
    memcpy(aOut+n, zKey, (size_t)nKey);
    if( nValue ) memcpy(aOut+n+nKey, zValue, (size_t)nValue);
    n += nKey+nValue;
  }
  return n;
}

/* Asks the registered core for the replica that the parameters name. */
static int openByUri(LsFile *p, char *aText, int nText){
  LsWait wait;
  int rc;
  int iCore = lsDefaultCore();
  p->bUri = 1;
  if( iCore==0 ){
    return fileError(p, SQLITE_CANTOPEN, "ReplicaClosedError: Cannot open replica: no JavaScript core serves the "
      "litestream VFS in this process, expected a call of register() from @x/litestream-vfs before the first open");
  }
  if( nText==0 ) return fileError(p, SQLITE_CANTOPEN, "RangeError: Cannot open replica: its URI is too long");
  memset(&wait, 0, sizeof(wait));
  wait.eKind = LS_REQUEST_OPEN;
  wait.aText = aText;
  wait.nText = nText;
  wait.msTimeout = OPEN_TIMEOUT;
  rc = lsWaitFor(iCore, &wait);
  if( rc ) return fileError(p, rc, wait.zError);
  p->pReplica = lsReplicaUse(wait.iValue);
  if( p->pReplica==NULL ) return fileError(p, SQLITE_CANTOPEN, "ReplicaClosedError: Cannot open replica: it was closed");
  lsConnectionOf(p->pConnection, p->pReplica);
  p->msTimeout = p->pReplica->msTimeout;
  return SQLITE_OK;
}

static int openByTicket(LsFile *p, const char *zName){
  LsOpening opening;
  static const char zWhy[] = "ReplicaClosedError: Cannot open replica: it was closed, or its path was used twice, expected "
    "one connection for each call of connect()";
  int rc = lsTicketTake(atoi(zName+strlen(zSentinel)), &opening);
  LsReplica *pReplica = lsReplicaUse(opening.iReplica);
  if( rc || pReplica==NULL || atomic_load(&pReplica->bClosed) ){
    if( pReplica ){
      lsReplicaError(pReplica, zWhy);
      lsReplicaDone(pReplica);
    }
    if( opening.pPast ) lsViewUnref(opening.pPast);
    lsConnectionFree(opening.pConnection);
    return fileError(p, SQLITE_CANTOPEN, zWhy);
  }
  p->pReplica = pReplica;
  p->pPast = opening.pPast;
  memcpy(p->zPast, opening.zPast, sizeof(p->zPast));
  p->bHead = opening.bHead;
  memcpy(p->aHead, opening.aHead, sizeof(p->aHead));
  p->pConnection = opening.pConnection;
  p->msTimeout = opening.msTimeout>0 ? opening.msTimeout : pReplica->msTimeout;
  return SQLITE_OK;
}

static int fileClose(sqlite3_file *pFile){
  LsFile *p = (LsFile*)pFile;
  LsReplica *pReplica = p->pReplica;
  hiddenRemove(p->aHidden[0]);
  hiddenRemove(p->aHidden[1]);
  if( p->pView ) fileUnpin(p);
  if( p->pPast ) lsViewUnref(p->pPast);
  p->pPast = NULL;
  if( pReplica ){
    lsConnectionCarry(p->pConnection, pReplica);
    if( p->bUri ) lsNotifyClosed(pReplica->iCore, pReplica->iId);
    lsReplicaDone(pReplica);
  }
  lsConnectionFree(p->pConnection);
  free(p->zError);
  p->pConnection = NULL;
  p->pReplica = NULL;
  p->zError = NULL;
  return SQLITE_OK;
}

static int replicaOpen(LsHost *pHost, const char *zName, LsFile *p, int flags, int *pOutFlags, int eKind){
  const sqlite3_api_routines *pApi = pHost->pApi;
  const char *zCache;
  char *aText = NULL;
  int i;
  memset(p, 0, sizeof(*p));
  p->pHost = pHost;
  if( eKind==1 ){
    openByTicket(p, zName);
  }else{
    p->pConnection = lsConnectionNew(NULL);
    aText = malloc(8192);
    if( p->pConnection==NULL || aText==NULL ){
      lsConnectionFree(p->pConnection);
      free(aText);
      return SQLITE_NOMEM;
    }
    zCache = eKind==2 ? pApi->uri_parameter(zName, "cache") : NULL;
    if( zCache && strcmp(zCache, "shared")==0 ) fileError(p, SQLITE_CANTOPEN, "TypeError: Cannot open replica: cache=shared "
      "in its URI, expected a cache for each connection");
    else openByUri(p, aText, eKind==2 ? parseUri(pApi, zName, aText, 8192) : parseLiteral(literalUri(zName), aText, 8192));
    p->bSticky = eKind==2 && (pApi->uri_boolean(zName, "nolock", 0) || pApi->uri_boolean(zName, "immutable", 0));
    free(aText);
  }
  for(i=0; i<2; i++){
    const char *z = i==0 ? pApi->filename_journal(zName) : pApi->filename_wal(zName);
    if( hiddenAdd(z)!=SQLITE_OK ){
      fileClose(&p->base);
      return SQLITE_NOMEM;
    }
    p->aHidden[i] = z;
  }
  if( pOutFlags && (flags & SQLITE_OPEN_READWRITE) && fileWritable(p) ) *pOutFlags = flags;
  else if( pOutFlags ) *pOutFlags = (flags & ~(SQLITE_OPEN_READWRITE|SQLITE_OPEN_CREATE)) | SQLITE_OPEN_READONLY;
  p->base.pMethods = &fileMethods;
  return SQLITE_OK;
}

static const sqlite3_io_methods fileMethods = {
  1, fileClose, fileRead, fileWrite, fileTruncate, fileSync, fileSize, fileLock, fileUnlock, fileCheckReserved,
  fileControl, fileSectorSize, fileDeviceCharacteristics,
  NULL, NULL, NULL, NULL, NULL, NULL
};

/* ---------------------------------------------------------------------------------------------- VFS methods */

/* The journal of a transaction over several files, the first of which is a replica that connect() opened. */
static int isSuper(const char *zName, int flags){
  return (flags & SQLITE_OPEN_SUPER_JOURNAL) && isSentinel(zName);
}

static const sqlite3_io_methods *pJournalMethods;
static sqlite3_io_methods superMethods;
static LsOnce onceSuper = LS_ONCE_INIT;

/*
** SQLite writes the journals of all files of the transaction here, by the pointers that it keeps for their names. An
** ordinary file's would name a journal that no crash leaves behind, and would not be rolled back after one: its
** transaction fails instead.
*/
static int superWrite(sqlite3_file *pFile, const void *pBuf, int nByte, sqlite3_int64 iOfst){
  return hiddenHas(pBuf) ? pJournalMethods->xWrite(pFile, pBuf, nByte, iOfst) : SQLITE_IOERR_WRITE;
}

static void superMake(void){
  superMethods = *pJournalMethods;
  superMethods.xWrite = superWrite;
}

static void superGuard(sqlite3_file *pFile){
  lsMutexLock(&globalLock);
  pJournalMethods = pFile->pMethods;
  lsMutexUnlock(&globalLock);
  lsOnce(&onceSuper, superMake);
  pFile->pMethods = &superMethods;
}

static int vfsOpen(sqlite3_vfs *pVfs, const char *zName, sqlite3_file *pFile, int flags, int *pOutFlags){
  LsHost *pHost = pVfs->pAppData;
  int eKind = 0;
  pFile->pMethods = NULL;
  if( zName && (flags & SQLITE_OPEN_MAIN_DB) ){
    const char *zVfs = pHost->pApi->uri_parameter(zName, "vfs");
    if( isSentinel(zName) ) eKind = 1;
    else if( (zVfs && strcmp(zVfs, VFS_NAME)==0) || pHost->pApi->uri_parameter(zName, "replica_url") ) eKind = 2;
    else if( atomic_load(&pHost->nDefault) && literalUri(zName) ) eKind = 3;
  }else if( zName && (flags & SQLITE_OPEN_WAL) && hiddenHas(zName) ){
    return SQLITE_CANTOPEN;
  }else if( zName && ((flags & SQLITE_OPEN_MAIN_JOURNAL) ? hiddenHas(zName) : isSuper(zName, flags)) ){
    lsJournalOpen(pHost->pBase, pFile, 0);   /* nothing of it has to outlive the process: the write log does */
    if( isSuper(zName, flags) ) superGuard(pFile);
    if( pOutFlags ) *pOutFlags = flags;
    return SQLITE_OK;
  }
  if( eKind ) return replicaOpen(pHost, zName, (LsFile*)pFile, flags, pOutFlags, eKind);
  return pHost->pBase->xOpen(pHost->pBase, zName, pFile, flags, pOutFlags);
}

static int vfsAccess(sqlite3_vfs *pVfs, const char *zName, int flags, int *pbOut){
  LsHost *pHost = pVfs->pAppData;
  if( zName && (hiddenHas(zName) || isSentinel(zName)) ){
    *pbOut = 0;
    return SQLITE_OK;
  }
  return pHost->pBase->xAccess(pHost->pBase, zName, flags, pbOut);
}

/*
** Names of replicas may be longer than those of files. For the others the base's bound holds, which SQLite checks
** against ours: the unix VFS copies names into buffers of just its own size.
*/
static int vfsFullPathname(sqlite3_vfs *pVfs, const char *zName, int nOut, char *zOut){
  LsHost *pHost = pVfs->pAppData;
  int rc, nMax;
  if( isSentinel(zName) || (atomic_load(&pHost->nDefault) && literalUri(zName)) ){
    if( (int)strlen(zName)>=nOut ) return SQLITE_CANTOPEN;
    memcpy(zOut, zName, strlen(zName)+1);
    return SQLITE_OK;
  }
  nMax = pHost->pBase->mxPathname;
  rc = pHost->pBase->xFullPathname(pHost->pBase, zName, nOut<=nMax ? nOut : nMax+1, zOut);
  if( (rc & 0xff)==SQLITE_OK && (int)strlen(zOut)+JOURNAL_SUFFIX>nMax ) rc = SQLITE_CANTOPEN;
  return rc;
}

#define BASE(pVfs) (((LsHost*)(pVfs)->pAppData)->pBase)

/* Changing the journal mode deletes the journal, and without locks it does so unasked. */
static int vfsDelete(sqlite3_vfs *p, const char *z, int bSync){
  return hiddenHas(z) || isSentinel(z) ? SQLITE_OK : BASE(p)->xDelete(BASE(p), z, bSync);
}
static void *vfsDlOpen(sqlite3_vfs *p, const char *z){ return BASE(p)->xDlOpen(BASE(p), z); }
static void vfsDlError(sqlite3_vfs *p, int n, char *z){ BASE(p)->xDlError(BASE(p), n, z); }
static void (*vfsDlSym(sqlite3_vfs *p, void *h, const char *z))(void){ return BASE(p)->xDlSym(BASE(p), h, z); }
static void vfsDlClose(sqlite3_vfs *p, void *h){ BASE(p)->xDlClose(BASE(p), h); }
static int vfsRandomness(sqlite3_vfs *p, int n, char *z){ return BASE(p)->xRandomness(BASE(p), n, z); }
static int vfsSleep(sqlite3_vfs *p, int us){ return BASE(p)->xSleep(BASE(p), us); }
static int vfsCurrentTime(sqlite3_vfs *p, double *r){ return BASE(p)->xCurrentTime(BASE(p), r); }
static int vfsGetLastError(sqlite3_vfs *p, int n, char *z){ return BASE(p)->xGetLastError(BASE(p), n, z); }
static int vfsCurrentTimeInt64(sqlite3_vfs *p, sqlite3_int64 *i){
  return BASE(p)->xCurrentTimeInt64(BASE(p), i);
}
static int vfsSetSystemCall(sqlite3_vfs *p, const char *z, sqlite3_syscall_ptr x){
  return BASE(p)->xSetSystemCall(BASE(p), z, x);
}
static sqlite3_syscall_ptr vfsGetSystemCall(sqlite3_vfs *p, const char *z){
  return BASE(p)->xGetSystemCall(BASE(p), z);
}
static const char *vfsNextSystemCall(sqlite3_vfs *p, const char *z){ return BASE(p)->xNextSystemCall(BASE(p), z); }

static void vfsFill(LsHost *p){
  sqlite3_vfs *v = &p->vfs;
  v->iVersion = p->pBase->iVersion<3 ? p->pBase->iVersion : 3;
  v->szOsFile = p->pBase->szOsFile>(int)sizeof(LsFile) ? p->pBase->szOsFile : (int)sizeof(LsFile);
  if( v->szOsFile<lsJournalSize() ) v->szOsFile = lsJournalSize();
  v->mxPathname = p->pBase->mxPathname>4096 ? p->pBase->mxPathname : 4096;
  v->zName = VFS_NAME;
  v->pAppData = p;
  v->xOpen = vfsOpen;
  v->xDelete = vfsDelete;
  v->xAccess = vfsAccess;
  v->xFullPathname = vfsFullPathname;
  v->xDlOpen = vfsDlOpen;
  v->xDlError = vfsDlError;
  v->xDlSym = vfsDlSym;
  v->xDlClose = vfsDlClose;
  v->xRandomness = vfsRandomness;
  v->xSleep = vfsSleep;
  v->xCurrentTime = vfsCurrentTime;
  v->xGetLastError = vfsGetLastError;
  v->xCurrentTimeInt64 = vfsCurrentTimeInt64;
  v->xSetSystemCall = vfsSetSystemCall;
  v->xGetSystemCall = vfsGetSystemCall;
  v->xNextSystemCall = vfsNextSystemCall;
}

/* --------------------------------------------------------------------------------------------------- hosts */

/*
** Makes a host of an SQLite copy that loads the shim for the first time; returns its number. The copy stays in the process for
** good, as its host does: a runtime may unload libraries with the thread that loaded them, and the next one's copy would be
** another host each time.
*/
static int hostMake(const sqlite3_api_routines *pApi){
  LsHost *p;
  int i;
  lsMutexLock(&globalLock);
  for(i=1; i<HOST_MAX && apHost[i] && apHost[i]->pApi!=pApi; i++){}
  if( i<HOST_MAX && aFunction[i][0]==NULL ) i = HOST_MAX;
  if( i<HOST_MAX && apHost[i]==NULL ){
    p = calloc(1, sizeof(*p));
    if( p ){
      p->pApi = pApi;
      p->pBase = pApi->vfs_find(NULL);
    }
    if( p==NULL || p->pBase==NULL ){
      free(p);
      i = HOST_MAX;
    }else{
      vfsFill(p);
      lsModulePin(pApi);
      apHost[i] = p;
    }
  }
  lsMutexUnlock(&globalLock);
  return i<HOST_MAX ? i : LS_LIMIT;
}

/* SQLite, or a runtime, may unload a library while threads still run in it, or its VFS is registered. */
static void selfPin(void){ lsModulePin(&onceSelf); }

LS_API int sqlite3_litestreamvfs_init(sqlite3 *db, char **pzErr, const sqlite3_api_routines *pApi);

int sqlite3_litestreamvfs_init(sqlite3 *db, char **pzErr, const sqlite3_api_routines *pApi){
  int iHost, rc;
  LsHost *pHost;
  (void)db;
  if( lsOwn()->bShared ) return SQLITE_NOMEM;  /* ls_host_last() would tell another thread's */
  lsOwn()->iHostLast = 0;
  lsOnce(&onceSelf, selfPin);
  if( pApi->libversion_number()<MIN_VERSION ){
    *pzErr = pApi->mprintf("litestream VFS requires SQLite 3.32.0 or later (found %s)", pApi->libversion());
    return SQLITE_ERROR;
  }
  iHost = hostMake(pApi);
  if( iHost<0 ){
    *pzErr = pApi->mprintf("litestream VFS: too many copies of SQLite in this process, or no default VFS");
    return SQLITE_ERROR;
  }
  pHost = hostById(iHost);
  rc = SQLITE_OK;
  if( pApi->vfs_find(VFS_NAME)!=&pHost->vfs ) rc = pApi->vfs_register(&pHost->vfs, 0);
  if( rc==SQLITE_OK ) rc = pApi->auto_extension((void(*)(void))onConnection);
  if( rc!=SQLITE_OK ) return rc;
  lsOwn()->iHostLast = iHost;
  return SQLITE_OK_LOAD_PERMANENTLY;
}

int ls_abi(void){
  lsOnce(&onceSelf, selfPin);
  return LS_ABI_VERSION;
}

/* The host whose SQLite loaded the shim last on this thread. */
int ls_host_last(void){ return lsOwn()->iHostLast; }

/* Closes the window when it is the calling thread's. */
static int windowClose(void){
  int b;
  lsMutexLock(&windowLock);
  b = pWindow!=NULL && lsThreadEqual(windowThread, lsThreadSelf());
  if( b ){
    if( pWindowBefore!=&pWindow->vfs ) pWindow->pApi->vfs_register(pWindowBefore, 1);
    pWindow = NULL;
    lsCondSignal(&windowCond);
  }
  lsMutexUnlock(&windowLock);
  return b;
}

/* A thread ends in its window: a worker that is terminated runs no more JavaScript, not even what would close it. */
static void windowThreadEnded(void *p){
  (void)p;
  windowClose();
}

static void windowMake(void){
  lsCondInit(&windowCond);
  rcWindow = lsThreadKeyMake(&windowKey, windowThreadEnded);
}

/*
** Opens the window in which this VFS is its host's default, and forgets what ls_open_error() tells. LS_BUSY: another
** thread's stays open; LS_MISUSE: this thread has one open.
*/
int ls_host_begin(int iHost){
  LsHost *p = hostById(iHost);
  int64_t nsEnd = lsMonotonicIn(WINDOW_WAIT);
  int rc = 0;
  if( p==NULL ) return LS_MISUSE;
  lsOnce(&windowOnce, windowMake);
  if( rcWindow ) return LS_LIMIT;
  lsMutexLock(&windowLock);
  if( pWindow && lsThreadEqual(windowThread, lsThreadSelf()) ) rc = LS_MISUSE;
  while( rc==0 && pWindow ) if( lsCondWaitUntil(&windowCond, &windowLock, nsEnd) && pWindow ) rc = LS_BUSY;
  if( rc==0 && lsThreadSet(windowKey, p) ) rc = LS_NOMEM;
  if( rc==0 ){
    pWindow = p;
    windowThread = lsThreadSelf();
    pWindowBefore = p->pApi->vfs_find(NULL);
    p->pApi->vfs_register(&p->vfs, 1);
    lsOpenError("");
  }
  lsMutexUnlock(&windowLock);
  return rc;
}

int ls_host_end(int iHost){
  LsHost *p = hostById(iHost);
  if( p==NULL || !windowClose() ) return LS_MISUSE;
  lsThreadSet(windowKey, NULL);
  return 0;
}

/* Makes this VFS its host's default for good, or, once for each time that was done, no longer. */
int ls_host_default(int iHost, int bOn){
  LsHost *p = hostById(iHost);
  sqlite3_vfs *pNow;
  if( p==NULL ) return LS_MISUSE;
  lsMutexLock(&windowLock);
  pNow = p==pWindow ? pWindowBefore : p->pApi->vfs_find(NULL);
  if( bOn ){
    p->nDefault++;
    pNow = &p->vfs;
  }else if( p->nDefault>0 && --p->nDefault==0 && pNow==&p->vfs ){
    pNow = p->pBase;
  }
  if( p==pWindow ) pWindowBefore = pNow;       /* from its end on */
  else if( pNow!=p->pApi->vfs_find(NULL) ) p->pApi->vfs_register(pNow, 1);
  lsMutexUnlock(&windowLock);
  return 0;
}

/* The prefix of the paths that connect() opens; the first one given stays. Returns whether it is zPrefix now. */
int ls_sentinel(const char *zPrefix){
  int b;
  lsMutexLock(&globalLock);
  if( zSentinel[0]==0 && zPrefix[0] && strlen(zPrefix)<sizeof(zSentinel) ){
    snprintf(zSentinel, sizeof(zSentinel), "%s", zPrefix);
    atomic_store_explicit(&bSentinel, 1, memory_order_release);
  }
  b = strcmp(zSentinel, zPrefix)==0;
  lsMutexUnlock(&globalLock);
  return b;
}

/* Live views, objects, runs, chunks, replicas; slots ever made; hidden names, two a file; connections. */
int ls_census(uint32_t *aOut, int nOut){
  if( nOut<8 ) return LS_MISUSE;
  lsPagesCensus(aOut);
  lsRequestsCensus(aOut+4);
  lsMutexLock(&globalLock);
  aOut[6] = nHidden;
  lsMutexUnlock(&globalLock);
  aOut[7] = lsConnectionsCensus();
  return 8;
}
