/*
** The write log: threads that write, read and store at once, what is refused, what is synced, and disks that
** fail. Page 1 lists the transaction that wrote each page last, and a page is filled with its number and that
** one's; so any page tells whether it belongs to a state. What lies in the log's files is read by a reader of
** this file's own.
**
** SEED chooses what is done, ROUNDS how many transactions are committed under threads.
*/
#define _DEFAULT_SOURCE  /* syscall() */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "harness.h"
#include "writer.h"

#define PAGE_SIZE  4096
#define PAGES_MAX  900
#define HOT        32                      /* pages that most transactions write to */
#define FRAME_HEAD 40
#define FRAME_SIZE (PAGE_SIZE+FRAME_HEAD)
#define LOG_HEAD   64
#define BYTES_MAX  ((uint64_t)1<<40)
#define READERS    3
#define WRITERS    2
#define SYNCS_MAX  64
#define FILES_MAX  16384

static const uint8_t aBase[24] = "what the log is on top";

static TestCore core;
static LsReplica *pReplica;
static char zFolder[128], zPath[160];
static uint64_t seed;

static uint32_t get32(const uint8_t *a){
  return (uint32_t)a[0]<<24 | (uint32_t)a[1]<<16 | (uint32_t)a[2]<<8 | (uint32_t)a[3];
}
static uint64_t get64(const uint8_t *a){ return (uint64_t)get32(a)<<32 | get32(a+4); }
static void put32(uint8_t *a, uint32_t i){
  a[0] = (uint8_t)(i>>24); a[1] = (uint8_t)(i>>16); a[2] = (uint8_t)(i>>8); a[3] = (uint8_t)i;
}

static int openFiles(void){
  int i, n = 0;
  for(i=0; i<1024; i++) n += fcntl(i, F_GETFD)>=0;
  return n;
}

/* ------------------------------------------------------------------------------------------------- syncs */

/* What of each file of this replica is on the disk for sure. */
static struct {
  pthread_mutex_t mu;                      /* guards all below */
  ino_t aInode[FILES_MAX];
  uint64_t aByte[FILES_MAX];
  int n;
} disk = {.mu = PTHREAD_MUTEX_INITIALIZER};

static void diskBegin(void){
  pthread_mutex_lock(&disk.mu);
  disk.n = 0;
  pthread_mutex_unlock(&disk.mu);
}

/* Caller holds the mutex. */
static uint64_t *diskBytes(ino_t iInode){
  int i = disk.n;
  while( i>0 && disk.aInode[i-1]!=iInode ) i--;
  if( i>0 ) return &disk.aByte[i-1];
  NEED(disk.n<FILES_MAX);
  disk.aInode[disk.n] = iInode;
  disk.aByte[disk.n] = 0;
  return &disk.aByte[disk.n++];
}

/* A frame tells of no more than is on the disk when it is written. */
ssize_t pwrite(int fd, const void *pBuf, size_t n, off_t iAt){
  const uint8_t *a = pBuf;
  struct stat st;
  size_t i;
  NEED(fstat(fd, &st)==0);
  pthread_mutex_lock(&disk.mu);
  for(i=0; iAt>=LOG_HEAD && n%FRAME_SIZE==0 && i<n; i+=FRAME_SIZE){
    CHECK(get64(a+i+24)<=*diskBytes(st.st_ino));
  }
  pthread_mutex_unlock(&disk.mu);
  return (ssize_t)syscall(SYS_pwrite64, fd, pBuf, n, iAt);
}

int ftruncate(int fd, off_t n){
  struct stat st;
  uint64_t *pn;
  NEED(fstat(fd, &st)==0);
  pthread_mutex_lock(&disk.mu);
  pn = diskBytes(st.st_ino);
  if( *pn>(uint64_t)n ) *pn = (uint64_t)n;
  pthread_mutex_unlock(&disk.mu);
  return (int)syscall(SYS_ftruncate, fd, n);
}

/* fsync() and fdatasync() of the whole program are those below. */
static struct {
  pthread_mutex_t mu;                      /* guards all below */
  ino_t aInode[SYNCS_MAX];                 /* what was synced, in order */
  int n;
  int nFail;                               /* so many more fail */
  int bHold, bHeld;                        /* one is to wait; it does */
} syncs = {.mu = PTHREAD_MUTEX_INITIALIZER};

static int syncHeld(void){
  int b;
  pthread_mutex_lock(&syncs.mu);
  b = syncs.bHeld;
  pthread_mutex_unlock(&syncs.mu);
  return b;
}

static void syncHold(int bHold){
  pthread_mutex_lock(&syncs.mu);
  syncs.bHold = bHold;
  pthread_mutex_unlock(&syncs.mu);
}

static int syncBy(long eCall, int fd){
  struct stat st;
  int bFail;
  NEED(fstat(fd, &st)==0);
  pthread_mutex_lock(&syncs.mu);
  while( syncs.bHold ){
    syncs.bHeld = 1;
    pthread_mutex_unlock(&syncs.mu);
    sleepMs(1);
    pthread_mutex_lock(&syncs.mu);
  }
  syncs.bHeld = 0;
  bFail = syncs.nFail>0;
  syncs.nFail -= bFail;
  if( !bFail && syncs.n<SYNCS_MAX ) syncs.aInode[syncs.n++] = st.st_ino;
  pthread_mutex_unlock(&syncs.mu);
  if( bFail ) errno = EIO;
  if( bFail || syscall(eCall, fd) ) return -1;
  pthread_mutex_lock(&disk.mu);
  if( S_ISREG(st.st_mode) ) *diskBytes(st.st_ino) = (uint64_t)st.st_size;
  pthread_mutex_unlock(&disk.mu);
  return 0;
}

int fsync(int fd){ return syncBy(SYS_fsync, fd); }
int fdatasync(int fd){ return syncBy(SYS_fdatasync, fd); }

/* Forgets what was synced; the next nFail fail. */
static void syncsBegin(int nFail){
  pthread_mutex_lock(&syncs.mu);
  syncs.n = 0;
  syncs.nFail = nFail;
  pthread_mutex_unlock(&syncs.mu);
}

/* How often a file was synced since. */
static int syncsOf(const char *zFile){
  struct stat st;
  int i, n = 0;
  NEED(stat(zFile, &st)==0);
  pthread_mutex_lock(&syncs.mu);
  for(i=0; i<syncs.n; i++) n += syncs.aInode[i]==st.st_ino;
  pthread_mutex_unlock(&syncs.mu);
  return n;
}

static int syncsAll(void){
  int n;
  pthread_mutex_lock(&syncs.mu);
  n = syncs.n;
  pthread_mutex_unlock(&syncs.mu);
  return n;
}

/* ----------------------------------------------------------------------------------------- states and pages */

/* A state of the database: what page 1 tells of it. */
typedef struct State {
  uint32_t iTransaction, iCommit;          /* 0 and 0: there is none yet */
  uint32_t aLast[PAGES_MAX+1];             /* by pgno: who wrote it last; 0: nobody, it is all zeros */
} State;

static void fillPage(uint32_t iPgno, uint32_t iTransaction, uint8_t *aPage){
  int i;
  for(i=0; i<PAGE_SIZE; i+=8){
    put32(aPage+i, iTransaction ? iPgno : 0);
    put32(aPage+i+4, iTransaction);
  }
}

static void fillHead(const State *p, uint32_t iCounter, uint8_t *aPage){
  uint32_t i;
  memset(aPage, 0, PAGE_SIZE);
  aPage[16] = PAGE_SIZE>>8;
  put32(aPage+24, iCounter);
  put32(aPage+100, p->iTransaction);
  put32(aPage+104, p->iCommit);
  for(i=2; i<=p->iCommit; i++) put32(aPage+100+i*4, p->aLast[i]);
}

/* Whether page 1 is one. */
static int parseHead(const uint8_t *aPage, State *p){
  uint32_t i;
  memset(p, 0, sizeof(*p));
  p->iTransaction = get32(aPage+100);
  p->iCommit = get32(aPage+104);
  if( aPage[16]!=PAGE_SIZE>>8 || aPage[18]!=1 || aPage[19]!=1 || p->iCommit<1 || p->iCommit>PAGES_MAX ) return 0;
  if( get32(aPage+24)==0 || get32(aPage+24)!=get32(aPage+92) ) return 0;
  p->aLast[1] = p->iTransaction;
  for(i=2; i<=p->iCommit; i++) p->aLast[i] = get32(aPage+100+i*4);
  return 1;
}

static int isPage(const uint8_t *aPage, uint32_t iPgno, uint32_t iTransaction){
  uint8_t aWanted[PAGE_SIZE];
  fillPage(iPgno, iTransaction, aWanted);
  return memcmp(aPage, aWanted, PAGE_SIZE)==0;
}

/* ------------------------------------------------------------------------------------ the files of the log */

/* CRC-64/ISO by a table that crcBits() makes. */
static uint64_t aCrc[256];
static void crcSetUp(void){
  int i;
  for(i=0; i<256; i++){
    uint8_t a = (uint8_t)i;
    aCrc[i] = crcBits(0, &a, 1);
  }
}
static uint64_t crcOf(uint64_t c, const uint8_t *a, size_t n){
  for(; n>0; n--) c = aCrc[(c ^ *a++) & 0xff] ^ c>>8;
  return c;
}

static const char *logName(uint32_t iSeq){
  static _Thread_local char z[200];
  snprintf(z, sizeof(z), "%s.%u", zPath, iSeq);
  return z;
}

static uint64_t logSize(uint32_t iSeq){
  struct stat st;
  return stat(logName(iSeq), &st)==0 ? (uint64_t)st.st_size : 0;
}

/* A whole file, to be freed; NULL when there is none. */
static uint8_t *logBytes(uint32_t iSeq, size_t *pn){
  int fd = open(logName(iSeq), O_RDONLY);
  uint8_t *a;
  ssize_t k;
  size_t n = 0, nAlloc = (size_t)logSize(iSeq);
  if( fd<0 ) return NULL;
  a = malloc(nAlloc+1);
  NEED(a!=NULL);
  while( n<nAlloc && (k = read(fd, a+n, nAlloc-n))>0 ) n += (size_t)k;
  close(fd);
  *pn = n;
  return a;
}

/* Hears of a committed transaction: nFrame frames at aFrame, the last of which has the mark. */
typedef void (*LogSee)(void *pArg, const uint8_t *aFrame, uint32_t nFrame, uint64_t iTxid, uint32_t iCommit);

/* Goes through a file as its format says; returns where the last commit ends, 0 when the file is no log. */
static size_t logWalk(const uint8_t *a, size_t n, LogSee xSee, void *pArg){
  size_t iAt = LOG_HEAD, iEnd = LOG_HEAD;
  uint64_t crc;
  if( n<LOG_HEAD || memcmp(a, "LSWL", 4)!=0 || get32(a+4)!=1 || get32(a+8)!=PAGE_SIZE || get32(a+12)>1 ) return 0;
  if( memcmp(a+32, aBase, sizeof(aBase))!=0 || get64(a+56)!=~crcOf(~0ull, a, 56) ) return 0;
  crc = crcOf(~0ull, a, LOG_HEAD);
  for(; iAt+FRAME_SIZE<=n; iAt+=FRAME_SIZE){
    crc = crcOf(crcOf(crc, a+iAt, 32), a+iAt+FRAME_HEAD, PAGE_SIZE);
    if( get64(a+iAt+32)!=~crc ) break;
    if( get32(a+iAt+4)==0 ) continue;
    xSee(pArg, a+iEnd, (uint32_t)((iAt+FRAME_SIZE-iEnd)/FRAME_SIZE), get64(a+iAt+16), get32(a+iAt+4));
    iEnd = iAt+FRAME_SIZE;
  }
  return iEnd;
}

static void ignoreSee(void *pArg, const uint8_t *aFrame, uint32_t nFrame, uint64_t iTxid, uint32_t iCommit){
  (void)pArg; (void)aFrame; (void)nFrame; (void)iTxid; (void)iCommit;
}

/* Where the last commit of a file ends; what failed may have left something behind it. */
static uint64_t logEnd(uint32_t iSeq){
  size_t n = 0, iEnd;
  uint8_t *a = logBytes(iSeq, &n);
  iEnd = a ? logWalk(a, n, ignoreSee, NULL) : 0;
  free(a);
  return iEnd;
}

/* The newest file; 0: there is none. */
static uint32_t logLast(void){
  uint32_t i = 1;
  while( access(logName(i), F_OK)==0 ) i++;
  return i-1;
}

/* What a replay has made of the files so far. */
typedef struct Replay {
  State state;
  uint64_t iTxid;
  uint32_t nTransaction;
  const uint32_t *aLedger;                 /* the transactions that were committed, in order; NULL: not known */
  uint32_t nLedger;
} Replay;

static void replaySee(void *pArg, const uint8_t *aFrame, uint32_t nFrame, uint64_t iTxid, uint32_t iCommit){
  Replay *p = pArg;
  State head;
  const uint8_t *aHead = NULL;
  uint32_t i, nWrong = 0;
  for(i=0; i<nFrame; i++) if( get32(aFrame+i*FRAME_SIZE)==1 ) aHead = aFrame+i*FRAME_SIZE+FRAME_HEAD;
  CHECK(aHead!=NULL);
  if( aHead==NULL ) return;
  CHECK(parseHead(aHead, &head));
  CHECK_INT(iCommit, head.iCommit);
  CHECK(iTxid>=p->iTxid && iTxid<=p->iTxid+1);
  CHECK(head.iTransaction>p->state.iTransaction);
  if( p->aLedger && p->nTransaction<p->nLedger ) CHECK_INT(head.iTransaction, p->aLedger[p->nTransaction]);
  for(i=0; i<nFrame; i++){
    const uint8_t *a = aFrame+i*FRAME_SIZE;
    uint32_t iPgno = get32(a), iLast = get32(a+FRAME_HEAD+4);
    if( iPgno>PAGES_MAX ) nWrong++;
    if( iPgno==1 || iPgno>PAGES_MAX ) continue;
    nWrong += !isPage(a+FRAME_HEAD, iPgno, iLast) || (iLast!=0 && iLast!=head.iTransaction);
    p->state.aLast[iPgno] = iLast;
  }
  p->state.aLast[1] = p->state.iTransaction = head.iTransaction;
  p->state.iCommit = head.iCommit;
  for(i=head.iCommit+1; i<=PAGES_MAX; i++) p->state.aLast[i] = 0;
  CHECK_INT(nWrong, 0);
  CHECK(memcmp(&p->state, &head, sizeof(head))==0);
  p->iTxid = iTxid;
  p->nTransaction++;
}

/* Replays files iFrom … iTo on top of a state, TXID iTxid being its own. */
static void replay(Replay *p, const State *pOn, uint64_t iTxid, uint32_t iFrom, uint32_t iTo){
  uint32_t i;
  uint64_t crc = 0;
  p->state = *pOn;
  p->iTxid = iTxid;
  p->nTransaction = 0;
  for(i=iFrom; i<=iTo; i++){
    size_t n = 0, iEnd;
    uint8_t *a = logBytes(i, &n);
    CHECK(a!=NULL);
    if( a==NULL ) continue;
    iEnd = logWalk(a, n, replaySee, p);
    CHECK(iEnd>0);
    if( i>iFrom ) CHECK(get32(a+12)==1 && get64(a+24)==crc);     /* it goes on where the one before has ended */
    crc = iEnd>LOG_HEAD ? get64(a+iEnd-FRAME_SIZE+32) : ~crcOf(~0ull, a, LOG_HEAD);
    free(a);
  }
}

/* ---------------------------------------------------------------------------------------- the core's part */

static int iReplica, iView;
static uint64_t iTxidStored;
static LtxFile *apLtx[CORE_OBJECTS];
static int aObject[CORE_OBJECTS], nObject;
static int nSealed, nSealBusy;

/* The pages that a TXID changed. */
typedef struct Stored {
  uint64_t iTxid;
  uint32_t iCommit;
  const uint8_t *apPage[PAGES_MAX+1];
} Stored;

static void storedSee(void *pArg, const uint8_t *aFrame, uint32_t nFrame, uint64_t iTxid, uint32_t iCommit){
  Stored *p = pArg;
  uint32_t i;
  if( iTxid!=p->iTxid ) return;
  for(i=0; i<nFrame; i++){
    uint32_t iPgno = get32(aFrame+i*FRAME_SIZE);
    if( iPgno<=PAGES_MAX ) p->apPage[iPgno] = aFrame+i*FRAME_SIZE+FRAME_HEAD;
  }
  p->iCommit = iCommit;
}

static void storedFill(void *pArg, uint32_t iPgno, uint8_t *aPage, uint32_t szPage){
  memcpy(aPage, ((Stored*)pArg)->apPage[iPgno], szPage);
}

/* Objects that nothing but the core names any more go, with their pages. */
static void sweep(void){
  int i, n = 0;
  for(i=0; i<nObject; i++){
    int iObject = aObject[i];
    if( ls_object_refs(iObject)==1 ){
      coreDropObject(&core, iObject);
      ltxFree(apLtx[iObject]);
      apLtx[iObject] = NULL;
    }else{
      aObject[n++] = iObject;
    }
  }
  nObject = n;
}

/* Enters a state's file, all of whose pages are then in the pool; returns the view of it over the newest one. */
static int viewMake(Stored *pStored, int iOn, uint32_t iStamp){
  uint32_t aPgno[PAGES_MAX], n = 0, i;
  int iObject, iFrame, iMap;
  LtxFile *p;
  for(i=1; i<=pStored->iCommit; i++) if( pStored->apPage[i] ) aPgno[n++] = i;
  p = ltxBuild(PAGE_SIZE, pStored->iCommit, iOn==0, aPgno, n, storedFill, pStored, ENCODE_BLOCK);
  iObject = ltxObject(p, iReplica, PAGES_MAX);
  NEED(iObject>0 && iObject<CORE_OBJECTS && core.nRun+PAGES_MAX/64<CORE_RUNS);
  apLtx[iObject] = p;
  aObject[nObject++] = iObject;
  for(iFrame=0; iFrame<(int)n; iFrame+=64){
    int iRun = ltxLoad(p, iObject, iFrame, (int)n-iFrame<64 ? (int)n-iFrame : 64);
    NEED(iRun>0);
    core.aRun[core.nRun] = iRun;
    core.aRunObject[core.nRun++] = iObject;
  }
  iMap = ls_map_new(iOn, PAGE_SIZE);
  NEED(iMap>0 && ls_map_apply(iMap, iObject, 0, PAGES_MAX)==0);
  return ls_map_view(iMap, iReplica, pStored->iTxid, pStored->iCommit, iStamp, pStored->iTxid*1000);
}

/* The view takes the place of the newest one, which the core gives up. */
static void viewTake(int iNew){
  if( iView ) CHECK_INT(ls_view_release(iView), 0);
  iView = iNew;
  sweep();
}

/* Stores a TXID that was sealed, with seal's words, and publishes its view. */
static void store(const uint64_t *aWord){
  Stored stored;
  size_t n = 0;
  uint8_t *a = logBytes((uint32_t)aWord[4], &n);
  int iNew;
  NEED(a!=NULL);
  memset(&stored, 0, sizeof(stored));
  stored.iTxid = aWord[0];
  logWalk(a, n, storedSee, &stored);
  CHECK_INT(aWord[0], iTxidStored+1);
  NEED(stored.iCommit>0);
  iNew = viewMake(&stored, iTxidStored ? iView : 0, (uint32_t)aWord[6]);
  NEED(iNew>0);
  CHECK_INT(ls_writer_base(iReplica, iNew, (uint32_t)aWord[5], aWord[0]+1), 0);
  iTxidStored = aWord[0];
  viewTake(iNew);
  free(a);
  nSealed++;
}

/* Stores what waits, if anything does and no commit is under way. */
static int sync1(void){
  uint64_t aWord[LS_WRITER_WORDS];
  int rc = ls_writer_seal(iReplica, aWord);
  CHECK(rc==0 || rc==1 || rc==LS_BUSY);
  if( rc==1 ) store(aWord);
  nSealBusy += rc==LS_BUSY;
  return rc;
}

/* The same on the test's own thread. */
static int syncNow(void){
  int rc;
  pthread_mutex_lock(&core.mu);
  rc = sync1();
  pthread_mutex_unlock(&core.mu);
  return rc;
}

/* Makes and publishes a state with the pages 1 … iCommit, all of transaction 1. */
static void baseState(State *p, uint32_t iCommit){
  static uint8_t aPage[HOT+1][PAGE_SIZE];
  Stored stored;
  uint32_t i;
  int iStamp = ls_writer_stamp();
  memset(p, 0, sizeof(*p));
  memset(&stored, 0, sizeof(stored));
  p->iTransaction = 1;
  p->iCommit = stored.iCommit = iCommit;
  for(i=1; i<=iCommit; i++){
    p->aLast[i] = 1;
    fillPage(i, 1, aPage[i]);
    stored.apPage[i] = aPage[i];
  }
  fillHead(p, (uint32_t)iStamp, aPage[1]);
  put32(aPage[1]+92, (uint32_t)iStamp);
  aPage[1][18] = aPage[1][19] = 1;
  stored.iTxid = iTxidStored = 1;
  i = (uint32_t)viewMake(&stored, 0, (uint32_t)iStamp);
  CHECK_INT(ls_view_publish((int)i), 0);
  viewTake((int)i);
}

/* Opens a replica for writing, on top of nothing or of a state of HOT pages. */
static void replicaOpen(State *pOn, int bPages, uint64_t nByteMax){
  int iMap;
  memset(pOn, 0, sizeof(*pOn));
  diskBegin();
  pthread_mutex_lock(&core.mu);
  iReplica = ls_replica_new(core.iCore, 60000);
  NEED(iReplica>0);
  iView = nSealed = nSealBusy = 0;
  iTxidStored = 0;
  if( bPages ){
    baseState(pOn, HOT);
  }else{
    iMap = ls_map_new(0, PAGE_SIZE);
    iView = ls_map_view(iMap, iReplica, 0, 0, (uint32_t)ls_writer_stamp(), 0);
    NEED(iView>0 && ls_view_publish(iView)==0);
  }
  CHECK_INT(ls_writer_open(iReplica, zPath, iTxidStored+1, aBase, nByteMax), 0);
  pReplica = lsReplicaUse(iReplica);
  NEED(pReplica!=NULL);
  pthread_mutex_unlock(&core.mu);
}

/* Closes it; nothing is left, not even its files. */
static void replicaEnd(void){
  uint32_t i;
  char z[200];
  pthread_mutex_lock(&core.mu);
  CHECK_INT(ls_writer_close(iReplica), 0);
  CHECK_INT(ls_view_release(iView), 0);
  CHECK_INT(ls_replica_close(iReplica), 0);
  lsReplicaDone(pReplica);
  sweep();
  CHECK_INT(nObject, 0);
  pthread_mutex_unlock(&core.mu);
  CHECK_EMPTY();
  for(i=1; unlink(logName(i))==0; i++){}
  snprintf(z, sizeof(z), "%s.lock", zPath);
  CHECK_INT(unlink(z), 0);
}

/* ---------------------------------------------------------------------------------------------- transactions */

/* One connection's. It is the holder of its own reservation. */
typedef struct Side {
  LsSeen seen;
  LsView *pView;
  State state;                             /* what it sees, its own writes included */
  char zWhy[LS_ERROR_SIZE];
} Side;

static int readPage(Side *p, uint32_t iPgno, uint8_t *aOut){
  uint32_t iFrame;
  LsObject *pObject;
  LsRun *pRun;
  if( lsSeenHas(&p->seen, iPgno, &iFrame) ) return lsSeenRead(&p->seen, iFrame, 0, PAGE_SIZE, aOut);
  iFrame = lsViewFrame(p->pView, iPgno);
  if( iFrame==0 ) return SQLITE_NOTFOUND;
  pObject = lsFrameObject(iFrame);
  pRun = lsPin(pObject, iFrame-pObject->iFirst);
  if( pRun==NULL ) return SQLITE_IOERR_READ;
  memcpy(aOut, lsRunPage(pRun, iFrame-pObject->iFirst), PAGE_SIZE);
  lsUnpin(pRun);
  return SQLITE_OK;
}

/* Some pages, or all where nPage is 0, are those of p->state. */
static void checkPages(Side *p, int nPage, uint64_t *pSeed){
  uint8_t aPage[PAGE_SIZE];
  uint32_t i, iPgno, n = nPage ? (uint32_t)nPage : p->state.iCommit;
  for(i=0; i<n && p->state.iCommit>1; i++){
    iPgno = nPage ? 2+randomBelow(pSeed, p->state.iCommit-1) : i+1;
    if( iPgno==1 ) continue;
    CHECK_INT(readPage(p, iPgno, aPage), SQLITE_OK);
    if( !isPage(aPage, iPgno, p->state.aLast[iPgno]) ){
      checkFailed(__FILE__, __LINE__, "page %u is page %u of transaction %u, expected %u", iPgno, get32(aPage),
        get32(aPage+4), p->state.aLast[iPgno]);
    }
  }
}

/* Page 1 and the words beside it tell of one state, which becomes p->state. */
static void checkHead(Side *p){
  uint8_t aPage[PAGE_SIZE];
  memset(&p->state, 0, sizeof(p->state));
  if( p->seen.iCommit==0 ) return;
  CHECK_INT(p->seen.szPage, PAGE_SIZE);
  CHECK_INT(readPage(p, 1, aPage), SQLITE_OK);
  CHECK(parseHead(aPage, &p->state));
  CHECK_INT(p->seen.iCommit, p->state.iCommit);
  if( p->seen.bHead ) CHECK(memcmp(p->seen.aHead, aPage, LS_HEAD_SIZE)==0);
}

static void sideBegin(Side *p){
  memset(&p->seen, 0, sizeof(p->seen));
  p->pView = lsWriterBegin(pReplica, &p->seen, p->zWhy);
  NEED(p->pView!=NULL);
  checkHead(p);
}

static void sideEnd(Side *p){
  lsWriterRelease(&p->seen, p);
  lsWriterEnd(&p->seen);
  lsViewUnpin(p->pView);
  p->pView = NULL;
}

/* The side sees a state, whole. */
static void checkSees(Side *p, const State *pWanted){
  checkHead(p);
  CHECK_INT(p->state.iTransaction, pWanted->iTransaction);
  CHECK(memcmp(&p->state, pWanted, sizeof(*pWanted))==0);
  checkPages(p, 0, NULL);
}

/* A transaction that begins now sees a state, whole. */
static void checkNewest(const State *pWanted){
  static Side side;
  sideBegin(&side);
  checkSees(&side, pWanted);
  sideEnd(&side);
}

static int put(Side *p, uint32_t iPgno){
  uint8_t aPage[PAGE_SIZE];
  int rc;
  fillPage(iPgno, p->state.iTransaction, aPage);
  rc = lsWriterWrite(&p->seen, iPgno, aPage, PAGE_SIZE, p->zWhy);
  if( rc ) return rc;
  for(; p->state.iCommit<iPgno; p->state.aLast[p->state.iCommit] = 0) p->state.iCommit++;
  p->state.aLast[iPgno] = p->state.iTransaction;
  return SQLITE_OK;
}

/* Page 1, with the counter that SQLite would write. */
static int putHead(Side *p){
  uint8_t aPage[PAGE_SIZE];
  if( p->state.iCommit==0 ) p->state.iCommit = 1;
  p->state.aLast[1] = p->state.iTransaction;
  fillHead(&p->state, (p->seen.bHead ? get32(p->seen.aHead+24) : p->pView->iStamp)+1, aPage);
  return lsWriterWrite(&p->seen, 1, aPage, PAGE_SIZE, p->zWhy);
}

static void cut(Side *p, uint32_t iCommit){
  CHECK_INT(lsWriterTruncate(&p->seen, iCommit, p->zWhy), SQLITE_OK);
  for(; p->state.iCommit>iCommit; p->state.iCommit--) p->state.aLast[p->state.iCommit] = 0;
  for(; p->state.iCommit<iCommit; p->state.aLast[p->state.iCommit] = 0) p->state.iCommit++;
}

static atomic_uint iTransactionLast;

/* Reserves, and takes the next number. */
static int reserve(Side *p){
  int rc = lsWriterReserve(&p->seen, p, p->zWhy);
  if( rc==SQLITE_OK ) p->state.iTransaction = atomic_fetch_add(&iTransactionLast, 1)+1;
  return rc;
}

/* Begins, and writes pages iFrom … iTo and page 1. */
static void sideWrite(Side *p, uint32_t iFrom, uint32_t iTo){
  sideBegin(p);
  CHECK_INT(reserve(p), SQLITE_OK);
  for(; iFrom<=iTo; iFrom++) CHECK_INT(put(p, iFrom), SQLITE_OK);
  CHECK_INT(putHead(p), SQLITE_OK);
}

/* A transaction that is committed and is then the newest state. */
static void commitPages(State *pOut, uint32_t iFrom, uint32_t iTo){
  static Side side;
  sideWrite(&side, iFrom, iTo);
  CHECK_INT(lsWriterCommit(&side.seen, side.zWhy), SQLITE_OK);
  *pOut = side.state;
  sideEnd(&side);
}

/* ------------------------------------------------------------------------------------------------- threads */

static uint32_t nRound;
static uint32_t *aLedger;                  /* committed transactions, in order; the holder's */
static atomic_uint nCommitted, nRolledBack, nBusy, nRead, nRereadOver;
static atomic_int bDone;

static void idle(TestCore *p){
  (void)p;
  sync1();
}

/* What was written is read back, from the buffer or from the file. */
static void checkOwn(Side *p, uint32_t iPgno){
  uint8_t aPage[PAGE_SIZE];
  CHECK_INT(readPage(p, iPgno, aPage), SQLITE_OK);
  CHECK(isPage(aPage, iPgno, p->state.iTransaction));
}

/* Some pages again and again, at times so many that they do not stay in memory. */
static void writeSome(Side *p, uint64_t *pSeed, uint32_t nPage, uint32_t iMax){
  uint32_t iPgno = 2;
  for(; nPage>0; nPage--){
    iPgno = 2+randomBelow(pSeed, iMax-1);
    CHECK_INT(put(p, iPgno), SQLITE_OK);
    if( nPage%16==0 ) checkOwn(p, iPgno);
  }
  checkOwn(p, iPgno);
}

static void compose(Side *p, uint64_t *pSeed){
  uint32_t eKind = randomBelow(pSeed, 32), iCommit = p->state.iCommit;
  if( iCommit<HOT || eKind==0 ) cut(p, HOT+randomBelow(pSeed, 40));            /* mostly shrinks */
  if( randomBelow(pSeed, 3)==0 ) CHECK_INT(putHead(p), SQLITE_OK);
  if( eKind==1 && iCommit+20<PAGES_MAX ) CHECK_INT(put(p, iCommit+1+randomBelow(pSeed, 20)), SQLITE_OK);
  if( eKind==2 ) writeSome(p, pSeed, 300+randomBelow(pSeed, 300), 500);
  else writeSome(p, pSeed, 1+randomBelow(pSeed, 6), HOT);
  if( eKind==3 && p->state.iCommit+9<PAGES_MAX ) cut(p, p->state.iCommit+randomBelow(pSeed, 9));
  if( eKind==4 && p->state.iCommit>HOT ) cut(p, HOT);
  CHECK_INT(putHead(p), SQLITE_OK);
}

/* One transaction that has the reservation. */
static void transaction(Side *p, uint64_t *pSeed){
  State before = p->state;
  before.iTransaction = before.aLast[1];
  compose(p, pSeed);
  if( randomBelow(pSeed, 6)==0 ) CHECK_INT(lsWriterPrepare(&p->seen, p->zWhy), SQLITE_OK);
  if( randomBelow(pSeed, 4)==0 ){
    lsWriterRelease(&p->seen, p);
    checkHead(p);
    CHECK(memcmp(&p->state, &before, sizeof(before))==0);
    atomic_fetch_add(&nRolledBack, 1);
  }else{
    uint32_t n = atomic_load(&nCommitted);
    if( randomBelow(pSeed, 8)==0 ) lsWriterSync(&p->seen);
    aLedger[n] = p->state.iTransaction;
    CHECK_INT(lsWriterCommit(&p->seen, p->zWhy), SQLITE_OK);
    atomic_store(&nCommitted, n+1);
  }
  checkPages(p, 4, pSeed);
}

static void *writerMain(void *pArg){
  uint64_t s = seed*2+(uint64_t)(intptr_t)pArg*7919+1;
  Side *p = calloc(1, sizeof(*p));
  NEED(p!=NULL);
  while( atomic_load(&nCommitted)<nRound && atomic_load(&nBadCheck)==0 ){
    int rc;
    sideBegin(p);
    rc = reserve(p);
    if( rc==SQLITE_OK && atomic_load(&nCommitted)<nRound ) transaction(p, &s);
    if( rc ) atomic_fetch_add(&nBusy, 1);
    CHECK(rc==SQLITE_OK || rc==SQLITE_BUSY || rc==SQLITE_BUSY_SNAPSHOT);
    if( rc==SQLITE_BUSY && p->zWhy[0] ) CHECK_TEXT(p->zWhy, "BackpressureError");
    sideEnd(p);
    if( rc || randomBelow(&s, 3)==0 ) sleepMs(1);
  }
  free(p);
  return NULL;
}

/* Looks, waits for commits, and looks again: what is pinned has not changed. */
static void *readerMain(void *pArg){
  uint64_t s = seed*3+(uint64_t)(intptr_t)pArg*104729+1;
  Side *p = calloc(1, sizeof(*p));
  State *pFirst = malloc(sizeof(*pFirst));
  uint32_t iBefore = 0;
  NEED(p!=NULL && pFirst!=NULL);
  while( !atomic_load(&bDone) && atomic_load(&nBadCheck)==0 ){
    uint32_t nFrom, nOver = randomBelow(&s, 12);
    int nWait;
    sideBegin(p);
    nFrom = atomic_load(&nCommitted);
    *pFirst = p->state;
    CHECK(p->state.iTransaction>=iBefore);
    iBefore = p->state.iTransaction;
    checkPages(p, 12, &s);
    for(nWait=0; nWait<40 && atomic_load(&nCommitted)<nFrom+nOver && !atomic_load(&bDone); nWait++) sleepMs(1);
    checkHead(p);
    CHECK(memcmp(&p->state, pFirst, sizeof(*pFirst))==0);
    checkPages(p, 12, &s);
    atomic_fetch_add(&nRead, 1);
    if( atomic_load(&nCommitted)>nFrom ) atomic_fetch_add(&nRereadOver, 1);
    sideEnd(p);
  }
  free(p);
  free(pFirst);
  return NULL;
}

/* Files from iFrom on, replayed on the state they are on top of, hold what was committed and nothing else. */
static void checkReplayFrom(uint32_t iFrom, const State *pOn, const State *pWanted, uint64_t iTxid,
                            uint32_t nTransaction, const uint32_t *aWanted){
  static Replay r;
  uint64_t aWord[LS_WRITER_WORDS];
  CHECK_INT(ls_writer_state(iReplica, aWord), 0);
  r.aLedger = aWanted;
  r.nLedger = nTransaction;
  replay(&r, pOn, iTxid, iFrom, (uint32_t)aWord[4]);
  CHECK_INT(r.nTransaction, nTransaction);
  if( pWanted ) CHECK(memcmp(&r.state, pWanted, sizeof(*pWanted))==0);
}
static void checkReplay(const State *pOn, const State *pWanted, uint64_t iTxid, uint32_t nTransaction,
                        const uint32_t *aWanted){
  checkReplayFrom(1, pOn, pWanted, iTxid, nTransaction, aWanted);
}

static void threadsOver(int bPages, uint64_t nByteMax){
  static State on;
  static Side last;
  pthread_t aWriter[WRITERS], aReader[READERS];
  intptr_t i;
  int nFile = openFiles();
  replicaOpen(&on, bPages, nByteMax);
  atomic_store(&iTransactionLast, 1);
  atomic_store(&nCommitted, 0);
  atomic_store(&bDone, 0);
  aLedger = calloc(nRound, sizeof(*aLedger));
  NEED(aLedger!=NULL);
  pthread_mutex_lock(&core.mu);
  core.xIdle = idle;
  pthread_mutex_unlock(&core.mu);
  for(i=0; i<READERS; i++) NEED(pthread_create(&aReader[i], NULL, readerMain, (void*)i)==0);
  for(i=0; i<WRITERS; i++) NEED(pthread_create(&aWriter[i], NULL, writerMain, (void*)i)==0);
  for(i=0; i<WRITERS; i++) pthread_join(aWriter[i], NULL);
  atomic_store(&bDone, 1);
  for(i=0; i<READERS; i++) pthread_join(aReader[i], NULL);
  pthread_mutex_lock(&core.mu);
  core.xIdle = NULL;
  pthread_mutex_unlock(&core.mu);
  while( syncNow()!=0 ){}
  sideBegin(&last);
  CHECK_INT(last.state.iTransaction, aLedger[nRound-1]);
  checkPages(&last, 0, NULL);
  checkReplay(&on, &last.state, bPages ? 1 : 0, nRound, aLedger);
  sideEnd(&last);
  CHECK(nSealed>10);
  printf("# %u committed, %u rolled back, %u refused, %u read, %u over a commit, %d sealed, %d seals busy\n",
    atomic_load(&nCommitted), atomic_load(&nRolledBack), atomic_load(&nBusy), atomic_load(&nRead),
    atomic_load(&nRereadOver), nSealed, nSealBusy);
  CHECK(atomic_load(&nRead)>READERS && atomic_load(&nRereadOver)>0 && atomic_load(&nRolledBack)>0);
  replicaEnd();
  free(aLedger);
  CHECK_INT(openFiles(), nFile);
}

static void testThreads(void){ threadsOver(1, 4*1024*1024); }
static void testThreadsBounded(void){ threadsOver(0, 1024*1024); }

/* ------------------------------------------------------------------------------------------- one at a time */

static Side sideA, sideB;
static State on, stateNow;

static void words(uint64_t *aWord){ CHECK_INT(ls_writer_state(iReplica, aWord), 0); }

static void testTurns(void){
  replicaOpen(&on, 1, BYTES_MAX);
  sideBegin(&sideA);
  sideBegin(&sideB);
  CHECK_INT(lsWriterHeld(&sideB.seen), 0);
  CHECK_INT(reserve(&sideA), SQLITE_OK);
  CHECK_INT(reserve(&sideA), SQLITE_OK);
  CHECK_INT(lsWriterHeld(&sideB.seen), 1);
  CHECK_INT(reserve(&sideB), SQLITE_BUSY);
  CHECK_INT(sideB.zWhy[0], 0);
  lsWriterRelease(&sideB.seen, &sideB);                /* gives up nothing of another's */
  CHECK_INT(lsWriterHeld(&sideB.seen), 1);
  CHECK_INT(lsWriterChanged(&sideA.seen)+lsWriterHasHead(&sideA.seen), 0);
  CHECK_INT(put(&sideA, 7), SQLITE_OK);
  CHECK_INT(lsWriterHasHead(&sideA.seen), 0);
  CHECK_INT(putHead(&sideA), SQLITE_OK);
  CHECK_INT(lsWriterChanged(&sideA.seen), 1);
  CHECK_INT(lsWriterHasHead(&sideA.seen), 1);
  checkSees(&sideB, &on);
  checkNewest(&on);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
  CHECK_INT(lsWriterHeld(&sideB.seen), 1);
  CHECK_INT(reserve(&sideB), SQLITE_BUSY);
  checkNewest(&sideA.state);
  stateNow = sideA.state;
  sideEnd(&sideA);
  CHECK_INT(reserve(&sideB), SQLITE_BUSY_SNAPSHOT);
  checkSees(&sideB, &on);
  sideEnd(&sideB);
  commitPages(&stateNow, 3, 5);
  checkNewest(&stateNow);
  checkReplay(&on, &stateNow, 1, 2, NULL);
  replicaEnd();
}

/* Undone: a transaction in memory, one that went to the file, one that shrinks; and what comes after them. */
static void testRollback(void){
  int i;
  replicaOpen(&on, 1, BYTES_MAX);
  stateNow = on;
  for(i=0; i<6; i++){
    sideBegin(&sideA);
    CHECK_INT(reserve(&sideA), SQLITE_OK);
    if( i==2 ) cut(&sideA, 5);
    if( i!=2 ) CHECK_INT(putHead(&sideA), SQLITE_OK);
    for(uint32_t j=2; i!=2 && j<=(i%2 ? 700u : 4u); j++) CHECK_INT(put(&sideA, j), SQLITE_OK);
    CHECK_INT(sideA.seen.iCommit, sideA.state.iCommit);
    if( i%2 ) CHECK(logSize(logLast())>logEnd(logLast()));
    lsWriterRelease(&sideA.seen, &sideA);
    CHECK_INT(logSize(logLast()), logEnd(logLast()));  /* no litter */
    checkSees(&sideA, &stateNow);
    CHECK_INT(reserve(&sideA), SQLITE_OK);             /* the same connection goes on */
    lsWriterRelease(&sideA.seen, &sideA);
    sideEnd(&sideA);
    checkNewest(&stateNow);
    if( i>2 ) commitPages(&stateNow, 2, 9);
    if( i==4 ) CHECK_INT(syncNow(), 1);
    checkNewest(&stateNow);
  }
  checkReplay(&on, &stateNow, 1, 3, NULL);
  replicaEnd();
}

static void testGrow(void){
  uint64_t aWord[LS_WRITER_WORDS];
  int i;
  replicaOpen(&on, 0, BYTES_MAX);
  checkNewest(&on);
  CHECK_INT(syncNow(), 0);
  commitPages(&stateNow, 6, 6);                        /* 2 … 5 are holes */
  CHECK_INT(stateNow.iCommit, 6);
  CHECK_INT(stateNow.aLast[5], 0);
  for(i=0; i<2; i++){
    checkNewest(&stateNow);
    sideBegin(&sideA);
    CHECK_INT(reserve(&sideA), SQLITE_OK);
    cut(&sideA, 2);
    CHECK_INT(put(&sideA, 8), SQLITE_OK);              /* 6 was written once, and is a hole now */
    cut(&sideA, 10);
    CHECK_INT(putHead(&sideA), SQLITE_OK);
    CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
    stateNow = sideA.state;
    sideEnd(&sideA);
    checkNewest(&stateNow);
    CHECK_INT(syncNow(), 1);
    checkNewest(&stateNow);
    commitPages(&stateNow, 2, 6);
  }
  words(aWord);
  CHECK_INT(aWord[0], 3);
  CHECK_INT(aWord[1], 6);
  CHECK_INT(aWord[2], 6);
  CHECK_INT(aWord[3], 6*FRAME_SIZE);
  CHECK_INT(aWord[7], 2);
  checkReplay(&on, &stateNow, 0, 5, NULL);
  replicaEnd();
}

static void testSeal(void){
  uint64_t aFirst[LS_WRITER_WORDS], aSecond[LS_WRITER_WORDS];
  replicaOpen(&on, 1, BYTES_MAX);
  CHECK_INT(syncNow(), 0);
  CHECK_INT(ls_writer_seal(iReplica, aFirst), 0);
  commitPages(&stateNow, 2, 3);
  sideWrite(&sideA, 4, 400);                           /* goes to the file of that TXID, and is of the next */
  CHECK_INT(ls_writer_seal(iReplica, aFirst), 1);
  CHECK_INT(aFirst[0], 2);
  CHECK_INT(aFirst[1], 3);
  CHECK_INT(aFirst[5], 3);
  CHECK_INT(aFirst[7], 3);
  CHECK_INT(ls_writer_seal(iReplica, aSecond), 0);
  CHECK_INT(ls_writer_base(iReplica, iView, 4, 3), LS_MISUSE);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
  stateNow = sideA.state;
  CHECK_INT(sideA.seen.iTxid, 3);
  sideEnd(&sideA);
  pthread_mutex_lock(&core.mu);
  store(aFirst);
  CHECK_INT(ls_writer_base(iReplica, iView, 2, 3), LS_MISUSE);
  pthread_mutex_unlock(&core.mu);
  checkNewest(&stateNow);
  CHECK_INT(ls_writer_seal(iReplica, aSecond), 1);
  CHECK_INT(aSecond[0], 3);
  CHECK_INT(aSecond[4], aFirst[4]);
  CHECK_INT(aSecond[1], 398);
  CHECK_INT(aSecond[7], 2);
  pthread_mutex_lock(&core.mu);
  store(aSecond);
  pthread_mutex_unlock(&core.mu);
  commitPages(&stateNow, 5, 5);
  words(aSecond);
  CHECK_INT(aSecond[4], aFirst[4]+1);
  checkReplay(&on, &stateNow, 1, 3, NULL);
  replicaEnd();
}

/* Somebody has the reservation at each seal; at times it then commits. Each TXID begins a file still. */
static void testHeldSeals(void){
  uint64_t aWord[LS_WRITER_WORDS];
  uint32_t i, n = 0;
  replicaOpen(&on, 1, BYTES_MAX);
  for(i=1; i<=12; i++){
    commitPages(&stateNow, 2, 9);
    sideWrite(&sideA, 3, 5);
    CHECK_INT(syncNow(), 1);
    n++;
    words(aWord);
    CHECK_INT(aWord[4], i);
    if( i%3==0 ){
      CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
      stateNow = sideA.state;
      n++;
      words(aWord);
      CHECK_INT(aWord[4], i+1);                        /* which the next commit goes to as well */
    }
    sideEnd(&sideA);
    checkNewest(&stateNow);
  }
  checkReplay(&on, &stateNow, 1, n, NULL);
  replicaEnd();
}

/* Begins, and writes nPage pages of nByte bytes each that are nobody's. */
static void sideSpill(Side *p, uint32_t nPage, int nByte){
  static const uint8_t aPage[PAGE_SIZE];
  uint32_t i;
  sideBegin(p);
  CHECK_INT(reserve(p), SQLITE_OK);
  for(i=2; i<2+nPage; i++) CHECK_INT(lsWriterWrite(&p->seen, i, aPage, nByte, p->zWhy), SQLITE_OK);
}

static uint32_t logPageSize(uint32_t iSeq){
  size_t n = 0;
  uint8_t *a = logBytes(iSeq, &n);
  uint32_t sz = a && n>=LOG_HEAD ? get32(a+8) : 0;
  free(a);
  return sz;
}

/* A new database's first transaction went to the file and was undone; the next has pages of another size. */
static void testPageSize(void){
  uint64_t aWord[LS_WRITER_WORDS];
  replicaOpen(&on, 0, BYTES_MAX);
  sideSpill(&sideA, 2000, 1024);
  sideEnd(&sideA);
  CHECK_INT(logPageSize(1), 1024);
  sideSpill(&sideA, 500, PAGE_SIZE);
  sideEnd(&sideA);
  commitPages(&stateNow, 2, 9);
  CHECK_INT(logPageSize(1), 1024);
  CHECK_INT(logPageSize(2), PAGE_SIZE);
  words(aWord);
  CHECK_INT(aWord[4], 2);
  checkNewest(&stateNow);
  commitPages(&stateNow, 2, 400);
  checkReplayFrom(2, &on, &stateNow, 0, 2, NULL);
  CHECK_INT(syncNow(), 1);
  checkNewest(&stateNow);
  replicaEnd();
}

/* A commit after which a new database has no pages still: of what stayed in memory, and of what spilled. */
static void testNoPages(void){
  uint64_t aWord[LS_WRITER_WORDS];
  int i;
  replicaOpen(&on, 0, BYTES_MAX);
  for(i=0; i<2; i++){
    sideWrite(&sideA, 2, i ? 400 : 3);
    cut(&sideA, 0);
    CHECK_INT(lsWriterChanged(&sideA.seen), 1);
    CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
    CHECK_INT(lsWriterChanged(&sideA.seen), 0);
    checkSees(&sideA, &on);
    sideEnd(&sideA);
    words(aWord);
    CHECK_INT(aWord[1]+aWord[2]+aWord[5], 0);          /* nothing that could be stored */
    CHECK_INT(aWord[7], i ? 2 : 0);
    CHECK_INT(syncNow(), 0);
    checkNewest(&on);
  }
  CHECK_INT(logEnd(1), LOG_HEAD);
  commitPages(&stateNow, 2, 9);
  checkNewest(&stateNow);
  checkReplay(&on, &stateNow, 0, 1, NULL);
  replicaEnd();
}

/* A transaction keeps its view and the files under it while TXIDs are stored; then they are closed. */
static void testPinned(void){
  State first;
  uint32_t i;
  int nFile = openFiles(), nFilePinned;
  replicaOpen(&on, 1, BYTES_MAX);
  commitPages(&first, 2, 8);
  sideBegin(&sideB);
  for(i=0; i<8; i++){
    commitPages(&stateNow, 2, 2+i);
    CHECK_INT(syncNow(), 1);
    checkNewest(&stateNow);
    checkSees(&sideB, &first);
  }
  nFilePinned = openFiles();
  CHECK_INT(nFilePinned, nFile+1+1);                   /* the lock's and that of its own time */
  CHECK_INT(reserve(&sideB), SQLITE_BUSY_SNAPSHOT);
  sideEnd(&sideB);
  CHECK_INT(openFiles(), nFile+1);
  checkNewest(&stateNow);
  commitPages(&stateNow, 2, 9);
  checkNewest(&stateNow);
  checkReplay(&on, &stateNow, 1, 10, NULL);
  replicaEnd();
}

/* Frames that were forgotten while a transaction is under way. */
static void testStoredMeanwhile(void){
  replicaOpen(&on, 1, BYTES_MAX);
  commitPages(&stateNow, 2, 20);
  sideWrite(&sideA, 10, 30);
  CHECK_INT(syncNow(), 1);
  checkNewest(&stateNow);
  CHECK_INT(lsWriterChanged(&sideA.seen), 1);
  checkSees(&sideA, &sideA.state);
  lsWriterRelease(&sideA.seen, &sideA);
  checkSees(&sideA, &stateNow);
  CHECK_INT(reserve(&sideA), SQLITE_OK);               /* the view that came has the same content */
  CHECK_INT(put(&sideA, 5), SQLITE_OK);
  CHECK_INT(putHead(&sideA), SQLITE_OK);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
  stateNow = sideA.state;
  checkSees(&sideA, &stateNow);
  sideEnd(&sideA);
  checkNewest(&stateNow);
  CHECK_INT(syncNow(), 1);
  checkNewest(&stateNow);
  checkReplay(&on, &stateNow, 1, 2, NULL);
  replicaEnd();
}

static void testBound(void){
  int i, nNudged;
  replicaOpen(&on, 1, 8*FRAME_SIZE);
  nNudged = atomic_load(&core.nNudged);
  commitPages(&stateNow, 2, 8);
  for(i=0; i<20000 && atomic_load(&core.nNudged)==nNudged; i++) sleepMs(1);
  CHECK_INT(atomic_load(&core.nNudged), nNudged+1);
  commitPages(&stateNow, 2, 8);                        /* what waits is just the bound: one more is let in */
  sideBegin(&sideA);
  CHECK_INT(reserve(&sideA), SQLITE_BUSY);
  CHECK_TEXT(sideA.zWhy, "BackpressureError: Cannot write: 66176 bytes wait to be stored");
  CHECK_TEXT(sideA.zWhy, "expected at most 33088");
  sideEnd(&sideA);
  checkNewest(&stateNow);
  CHECK_INT(syncNow(), 1);
  commitPages(&stateNow, 2, 3);
  checkNewest(&stateNow);
  replicaEnd();
}

/* SQLite writes page 1 with each change; a change of the size alone could not be told from none. */
static void testTruncateAlone(void){
  replicaOpen(&on, 1, BYTES_MAX);
  commitPages(&stateNow, 2, 3);
  sideBegin(&sideA);
  CHECK_INT(reserve(&sideA), SQLITE_OK);
  cut(&sideA, 9);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_IOERR_WRITE);
  CHECK_TEXT(sideA.zWhy, "a size changed and page 1 was not written");
  CHECK_INT(lsWriterChanged(&sideA.seen), 0);
  checkSees(&sideA, &stateNow);
  checkNewest(&stateNow);
  CHECK_INT(logSize(1), LOG_HEAD+3*FRAME_SIZE);
  CHECK_INT(reserve(&sideA), SQLITE_OK);               /* it goes on */
  cut(&sideA, 9);
  CHECK_INT(putHead(&sideA), SQLITE_OK);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
  stateNow = sideA.state;
  sideEnd(&sideA);
  checkNewest(&stateNow);
  checkReplay(&on, &stateNow, 1, 2, NULL);
  replicaEnd();
}

static void testRefused(void){
  uint8_t aPage[PAGE_SIZE];
  uint32_t iLock = lsLockPage(PAGE_SIZE);
  replicaOpen(&on, 1, BYTES_MAX);
  sideBegin(&sideA);
  CHECK_INT(reserve(&sideA), SQLITE_OK);
  memset(aPage, 0, sizeof(aPage));
  CHECK_INT(lsWriterWrite(&sideA.seen, 2, aPage, 512, sideA.zWhy), SQLITE_IOERR_WRITE);
  CHECK_TEXT(sideA.zWhy, "a page of another size, expected one page size for life");
  aPage[16] = 2;
  CHECK_INT(lsWriterWrite(&sideA.seen, 1, aPage, PAGE_SIZE, sideA.zWhy), SQLITE_IOERR_WRITE);
  CHECK_TEXT(sideA.zWhy, "cannot change");
  CHECK_INT(lsWriterWrite(&sideA.seen, iLock, aPage, PAGE_SIZE, sideA.zWhy), SQLITE_IOERR_WRITE);
  CHECK_TEXT(sideA.zWhy, "1 GiB");
  CHECK_INT(lsWriterTruncate(&sideA.seen, 0, sideA.zWhy), SQLITE_IOERR_WRITE);
  CHECK_TEXT(sideA.zWhy, "without pages");
  CHECK_INT(lsWriterChanged(&sideA.seen), 0);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);      /* of nothing */
  CHECK_INT(ls_writer_seal(iReplica, (uint64_t[LS_WRITER_WORDS]){0}), 0);
  sideEnd(&sideA);
  checkNewest(&on);
  CHECK_INT(logSize(1), 0);
  replicaEnd();
}

/* A view of others' making: page 1 … HOT, all of transaction 1, as TXID 9. */
static int foreignView(void){
  Stored stored;
  static uint8_t aPage[HOT+1][PAGE_SIZE];
  Side *p = &sideB;
  uint32_t i;
  int iNew, iStamp = ls_writer_stamp();
  memset(&stored, 0, sizeof(stored));
  stored.iCommit = HOT;
  stored.iTxid = 9;
  sideBegin(p);
  for(i=1; i<=HOT; i++){
    fillPage(i, 1, aPage[i]);
    stored.apPage[i] = aPage[i];
  }
  fillHead(&on, (uint32_t)iStamp, aPage[1]);
  put32(aPage[1]+92, (uint32_t)iStamp);
  aPage[1][18] = aPage[1][19] = 1;
  sideEnd(p);
  iNew = viewMake(&stored, 0, (uint32_t)iStamp);
  NEED(iNew>0);
  return iNew;
}

static void testForeign(void){
  uint64_t aWord[LS_WRITER_WORDS];
  int iNew;
  replicaOpen(&on, 1, BYTES_MAX);
  commitPages(&stateNow, 2, 3);
  iNew = foreignView();
  CHECK_INT(ls_writer_base(iReplica, iNew, LS_WRITER_FOREIGN, 10), LS_BUSY);     /* something waits */
  checkNewest(&stateNow);
  CHECK_INT(syncNow(), 1);
  sideBegin(&sideA);
  CHECK_INT(reserve(&sideA), SQLITE_OK);
  CHECK_INT(put(&sideA, 2), SQLITE_OK);
  CHECK_INT(ls_writer_base(iReplica, iNew, LS_WRITER_FOREIGN, 10), 0);           /* nothing is committed */
  CHECK_INT(put(&sideA, 3), SQLITE_IOERR_WRITE);
  CHECK_TEXT(sideA.zWhy, "another writer has stored a newer state");
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_IOERR_WRITE);
  lsWriterRelease(&sideA.seen, &sideA);
  checkSees(&sideA, &stateNow);
  CHECK_INT(reserve(&sideA), SQLITE_BUSY_SNAPSHOT);    /* though the log has not grown */
  sideEnd(&sideA);
  pthread_mutex_lock(&core.mu);
  viewTake(iNew);
  iTxidStored = 9;
  pthread_mutex_unlock(&core.mu);
  checkNewest(&on);
  sideBegin(&sideA);
  CHECK_INT(reserve(&sideA), SQLITE_BUSY);             /* the core has not written down what that is */
  CHECK_INT(ls_writer_settle(iReplica, 9), 0);
  CHECK_INT(reserve(&sideA), SQLITE_BUSY);             /* nor by that of another */
  CHECK_INT(ls_writer_settle(iReplica, 10), 0);
  CHECK_INT(reserve(&sideA), SQLITE_OK);
  sideEnd(&sideA);
  words(aWord);
  CHECK_INT(aWord[0], 10);
  CHECK_INT(aWord[1]+aWord[2]+aWord[3], 0);
  commitPages(&stateNow, 5, 6);
  checkNewest(&stateNow);
  CHECK_INT(syncNow(), 1);
  checkNewest(&stateNow);
  CHECK_INT(iTxidStored, 10);
  CHECK_INT(ls_writer_base(iReplica, 0, 0, 0), LS_MISUSE);
  replicaEnd();
}

static void testSwitches(void){
  uint64_t aWord[LS_WRITER_WORDS];
  replicaOpen(&on, 1, BYTES_MAX);
  sideBegin(&sideA);
  CHECK_INT(ls_writer_switch(iReplica, 0), 0);
  CHECK_INT(lsWriterOn(pReplica), 0);
  CHECK_INT(reserve(&sideA), SQLITE_READONLY);
  CHECK_TEXT(sideA.zWhy, "litestream_write_enabled");
  CHECK_INT(ls_writer_switch(iReplica, 1), 0);
  CHECK_INT(lsWriterOn(pReplica), 1);
  CHECK_INT(reserve(&sideA), SQLITE_OK);
  CHECK_INT(ls_writer_switch(iReplica, 0), 1);         /* what is under way goes on */
  CHECK_INT(lsWriterReserve(&sideA.seen, &sideA, sideA.zWhy), SQLITE_OK);
  sideBegin(&sideB);
  CHECK_INT(reserve(&sideB), SQLITE_READONLY);
  sideEnd(&sideB);
  CHECK_INT(put(&sideA, 2), SQLITE_OK);
  CHECK_INT(putHead(&sideA), SQLITE_OK);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
  stateNow = sideA.state;
  sideEnd(&sideA);
  CHECK_INT(ls_writer_switch(iReplica, 1), 0);
  sideBegin(&sideA);
  CHECK_INT(ls_writer_fault(iReplica, "ConflictError: so it is"), 0);
  CHECK_INT(lsWriterOn(pReplica), 0);
  CHECK_INT(reserve(&sideA), SQLITE_IOERR);
  CHECK_TEXT(sideA.zWhy, "ConflictError: so it is");
  checkNewest(&stateNow);
  sideEnd(&sideA);
  CHECK_INT(ls_writer_fault(iReplica, "WriteLogError: something else"), 0);
  CHECK_INT(ls_writer_close(iReplica), 0);
  sideBegin(&sideA);
  CHECK_INT(reserve(&sideA), SQLITE_IOERR);
  CHECK_TEXT(sideA.zWhy, "ConflictError: so it is");   /* the first reason stays */
  sideEnd(&sideA);
  words(aWord);
  CHECK_INT(aWord[1], 2);
  checkReplay(&on, &stateNow, 1, 1, NULL);
  replicaEnd();
}

/* What is under way when writing ends cannot be committed, be it by a fault or by a close. */
static void testEnded(void){
  int iOther;
  replicaOpen(&on, 1, BYTES_MAX);
  commitPages(&stateNow, 2, 3);
  sideWrite(&sideA, 2, 9);
  CHECK_INT(ls_writer_fault(iReplica, "ConflictError: so it is"), 0);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_IOERR);
  CHECK_TEXT(sideA.zWhy, "ConflictError: so it is");
  checkSees(&sideA, &stateNow);
  sideEnd(&sideA);
  replicaEnd();
  replicaOpen(&on, 1, BYTES_MAX);
  commitPages(&stateNow, 2, 3);
  sideWrite(&sideA, 2, 9);
  CHECK_INT(ls_writer_close(iReplica), 0);
  iOther = ls_replica_new(core.iCore, 1000);
  CHECK_INT(ls_writer_open(iOther, zPath, 2, aBase, 1), 0);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_IOERR);
  CHECK_TEXT(sideA.zWhy, "ReplicaClosedError: Cannot write: the replica was closed");
  checkSees(&sideA, &stateNow);
  CHECK_INT(ls_replica_close(iOther), 0);
  sideEnd(&sideA);
  checkNewest(&stateNow);
  CHECK_INT(logSize(1), LOG_HEAD+3*FRAME_SIZE);
  replicaEnd();
}

static void *commitMain(void *pArg){
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
  return pArg;
}

/* The log's lock is kept, and a TXID does not end, while a commit is under way. */
static void testClosedMeanwhile(void){
  uint64_t aWord[LS_WRITER_WORDS];
  pthread_t thread;
  int i, iOther;
  replicaOpen(&on, 1, BYTES_MAX);
  commitPages(&stateNow, 2, 3);
  iOther = ls_replica_new(core.iCore, 1000);
  sideWrite(&sideA, 2, 9);
  lsWriterSync(&sideA.seen);
  syncHold(1);
  NEED(pthread_create(&thread, NULL, commitMain, NULL)==0);
  for(i=0; i<20000 && !syncHeld(); i++) sleepMs(1);
  CHECK_INT(syncHeld(), 1);
  CHECK_INT(ls_writer_seal(iReplica, aWord), LS_BUSY);
  CHECK_INT(ls_writer_close(iReplica), LS_BUSY);
  CHECK_INT(ls_writer_open(iOther, zPath, 2, aBase, 1), LS_BUSY);
  checkNewest(&stateNow);
  syncHold(0);
  NEED(pthread_join(thread, NULL)==0);
  stateNow = sideA.state;
  CHECK_INT(ls_writer_close(iReplica), 0);
  CHECK_INT(ls_writer_open(iOther, zPath, 2, aBase, 1), 0);
  CHECK_INT(ls_replica_close(iOther), 0);
  words(aWord);
  CHECK_INT(aWord[0], 3);                              /* the TXID ended with the commit */
  CHECK_INT(put(&sideA, 2), SQLITE_IOERR);
  CHECK_TEXT(sideA.zWhy, "ReplicaClosedError");
  sideEnd(&sideA);
  checkNewest(&stateNow);
  checkReplay(&on, &stateNow, 1, 2, NULL);
  CHECK_INT(syncNow(), 1);
  CHECK_INT(syncNow(), 0);
  checkNewest(&stateNow);
  replicaEnd();
}

static void *spillMain(void *pArg){
  uint32_t i;
  for(i=2; i<=400; i++) CHECK_INT(put(&sideA, i), SQLITE_OK);
  return pArg;
}

/* Nor is the log given up while a transaction spills: here it waits for what is before its file. */
static void testClosedSpilling(void){
  pthread_t thread;
  int i, iOther;
  replicaOpen(&on, 1, BYTES_MAX);
  commitPages(&stateNow, 2, 3);
  CHECK_INT(ls_writer_seal(iReplica, (uint64_t[LS_WRITER_WORDS]){0}), 1);
  iOther = ls_replica_new(core.iCore, 1000);
  sideBegin(&sideA);
  CHECK_INT(reserve(&sideA), SQLITE_OK);
  syncHold(1);
  NEED(pthread_create(&thread, NULL, spillMain, NULL)==0);
  for(i=0; i<20000 && !syncHeld(); i++) sleepMs(1);
  CHECK_INT(syncHeld(), 1);
  CHECK_INT(ls_writer_close(iReplica), LS_BUSY);
  CHECK_INT(ls_writer_open(iOther, zPath, 2, aBase, 1), LS_BUSY);
  checkNewest(&stateNow);
  syncHold(0);
  NEED(pthread_join(thread, NULL)==0);
  CHECK_INT(ls_writer_close(iReplica), 0);
  CHECK_INT(ls_writer_open(iOther, zPath, 2, aBase, 1), 0);
  CHECK_INT(ls_replica_close(iOther), 0);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_IOERR);
  CHECK_TEXT(sideA.zWhy, "ReplicaClosedError");
  sideEnd(&sideA);
  checkNewest(&stateNow);
  checkReplay(&on, &stateNow, 1, 1, NULL);
  replicaEnd();
}

static void testHandles(void){
  uint64_t aWord[LS_WRITER_WORDS];
  int iOther, nFile = openFiles();
  replicaOpen(&on, 1, BYTES_MAX);
  iOther = ls_replica_new(core.iCore, 1000);
  CHECK_INT(ls_writer_open(iReplica, zPath, 2, aBase, 1), LS_MISUSE);            /* it is open */
  CHECK_INT(ls_writer_open(iOther, zPath, 2, aBase, 1), LS_BUSY);
  CHECK_INT(ls_writer_open(iOther, "/nowhere/at/all/log", 2, aBase, 1), LS_REFUSED);
  CHECK_INT(ls_writer_state(iOther, aWord), LS_MISUSE);
  CHECK_INT(ls_writer_seal(iOther, aWord), LS_MISUSE);
  CHECK_INT(ls_writer_base(iOther, iView, 0, 1), LS_MISUSE);
  CHECK_INT(ls_writer_fault(iOther, "no"), LS_MISUSE);
  CHECK_INT(ls_writer_switch(iOther, 1), LS_MISUSE);
  CHECK_INT(ls_writer_close(iOther), LS_MISUSE);
  CHECK_INT(ls_writer_close(iReplica), 0);
  CHECK_INT(ls_writer_open(iOther, zPath, 2, aBase, 1), 0);                      /* the lock was given up */
  CHECK_INT(ls_replica_close(iOther), 0);
  CHECK_INT(ls_writer_open(iOther, zPath, 2, aBase, 1), LS_MISUSE);
  replicaEnd();
  CHECK_INT(openFiles(), nFile);
}

/* --------------------------------------------------------------------------------- connections that stay */

/* Writes a page and page 1 in a transaction of a connection that has the reservation, and commits it. */
static void commitMore(Side *p, uint32_t iPgno){
  CHECK_INT(reserve(p), SQLITE_OK);
  CHECK_INT(put(p, iPgno), SQLITE_OK);
  CHECK_INT(putHead(p), SQLITE_OK);
  CHECK_INT(lsWriterCommit(&p->seen, p->zWhy), SQLITE_OK);
  stateNow = p->state;
}

/* Who committed sees its own commits in files that are stored meanwhile, with the reservation or without. */
static void testCommitterStays(void){
  int i, nFile = openFiles();
  for(i=0; i<2; i++){
    replicaOpen(&on, 1, BYTES_MAX);
    sideWrite(&sideA, 2, 9);
    CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
    stateNow = sideA.state;
    if( i ) lsWriterRelease(&sideA.seen, &sideA);
    checkSees(&sideA, &stateNow);
    CHECK_INT(syncNow(), 1);
    checkSees(&sideA, &stateNow);
    if( i==0 ) commitMore(&sideA, 12);
    if( i==0 ) CHECK_INT(syncNow(), 1);
    if( i==0 ) commitMore(&sideA, 15);
    checkSees(&sideA, &stateNow);
    checkNewest(&stateNow);
    sideEnd(&sideA);
    checkReplay(&on, &stateNow, 1, i ? 1 : 3, NULL);
    replicaEnd();
    CHECK_INT(openFiles(), nFile);
  }
}

/* A connection that keeps the reservation is asked again at each transaction's first page. */
static void testHolderAsked(void){
  replicaOpen(&on, 1, 3*FRAME_SIZE);
  sideWrite(&sideA, 2, 5);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
  stateNow = sideA.state;
  CHECK_INT(lsWriterReserve(&sideA.seen, &sideA, sideA.zWhy), SQLITE_OK);
  CHECK_INT(put(&sideA, 2), SQLITE_FULL);
  CHECK_TEXT(sideA.zWhy, "BackpressureError: Cannot write: 20680 bytes wait to be stored");
  CHECK_INT(lsWriterWrite(&sideA.seen, 2, sideA.seen.aHead, PAGE_SIZE, sideA.zWhy), SQLITE_OK);   /* written back: not looked at */
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_IOERR_WRITE);
  lsWriterUndone(&sideA.seen);
  CHECK_INT(lsWriterChanged(&sideA.seen), 0);
  CHECK_INT(syncNow(), 1);
  commitMore(&sideA, 2);
  CHECK_INT(ls_writer_switch(iReplica, 0), 1);
  CHECK_INT(put(&sideA, 3), SQLITE_IOERR_WRITE);
  CHECK_TEXT(sideA.zWhy, "litestream_write_enabled");
  lsWriterUndone(&sideA.seen);
  CHECK_INT(ls_writer_switch(iReplica, 1), 1);
  CHECK_INT(reserve(&sideA), SQLITE_OK);
  CHECK_INT(put(&sideA, 3), SQLITE_OK);
  CHECK_INT(ls_writer_switch(iReplica, 0), 1);         /* what is under way goes on */
  CHECK_INT(put(&sideA, 4), SQLITE_OK);
  CHECK_INT(putHead(&sideA), SQLITE_OK);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
  stateNow = sideA.state;
  CHECK_INT(ls_writer_fault(iReplica, "ConflictError: so it is"), 0);
  CHECK_INT(put(&sideA, 3), SQLITE_IOERR);
  CHECK_TEXT(sideA.zWhy, "ConflictError: so it is");
  checkSees(&sideA, &stateNow);
  sideEnd(&sideA);
  checkNewest(&stateNow);
  checkReplay(&on, &stateNow, 1, 3, NULL);
  replicaEnd();
}

/* Readers of several times keep what each sees; the files between them are closed. */
static void testPinnedApart(void){
  static Side aSide[3];
  static State aState[3];
  int i, j, nFile = openFiles();
  replicaOpen(&on, 1, BYTES_MAX);
  for(i=0; i<12; i++){
    commitPages(&stateNow, 2, 2+(uint32_t)i);
    if( i%4==1 ){
      sideBegin(&aSide[i/4]);
      aState[i/4] = stateNow;
    }
    CHECK_INT(syncNow(), 1);
  }
  CHECK_INT(openFiles(), nFile+1+3);                   /* the lock's, and of each that of its own time */
  for(i=0; i<3; i++){
    int iEnd = (i+1)%3;                                /* the one between first */
    for(j=0; j<3; j++) if( aSide[j].pView ) checkSees(&aSide[j], &aState[j]);
    sideEnd(&aSide[iEnd]);
    CHECK_INT(openFiles(), nFile+1+2-i);
  }
  checkNewest(&stateNow);
  replicaEnd();
  CHECK_INT(openFiles(), nFile);
}

/* Others' state comes while a connection has frames in the file: they are cut, and others go on. */
static void testForeignSpilled(void){
  uint64_t aWord[LS_WRITER_WORDS];
  int i, iNew;
  for(i=0; i<2; i++){
    replicaOpen(&on, 1, BYTES_MAX);
    commitPages(&stateNow, 2, 3);
    if( i ) CHECK_INT(syncNow(), 1);
    sideWrite(&sideA, 2, 400);                         /* into the file of what is stored, or into the next */
    if( !i ) CHECK_INT(syncNow(), 1);
    CHECK(logSize((uint32_t)i+1)>LOG_HEAD+3*FRAME_SIZE);
    iNew = foreignView();
    CHECK_INT(ls_writer_base(iReplica, iNew, LS_WRITER_FOREIGN, 10), 0);
    CHECK_INT(put(&sideA, 3), SQLITE_IOERR_WRITE);
    CHECK_TEXT(sideA.zWhy, "another writer has stored a newer state");
    CHECK_INT(lsWriterPrepare(&sideA.seen, sideA.zWhy), SQLITE_IOERR_WRITE);
    CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_IOERR_WRITE);
    checkSees(&sideA, &stateNow);
    sideEnd(&sideA);
    CHECK_INT(logSize((uint32_t)i+1), LOG_HEAD+(i ? 0 : 3*FRAME_SIZE));
    pthread_mutex_lock(&core.mu);
    viewTake(iNew);
    iTxidStored = 9;
    pthread_mutex_unlock(&core.mu);
    checkNewest(&on);
    CHECK_INT(ls_writer_settle(iReplica, 10), 0);
    commitPages(&stateNow, 2, 400);
    checkNewest(&stateNow);
    words(aWord);
    CHECK_INT(aWord[4], 2);                            /* never one with what was on top of another state */
    checkReplayFrom(2, &on, &stateNow, 10, 1, NULL);
    CHECK_INT(syncNow(), 1);
    checkNewest(&stateNow);
    replicaEnd();
  }
}

/* Writes page 1 with a counter; returns the one that it got. */
static uint32_t stampAsk(Side *p, uint32_t iCounter){
  uint8_t aPage[PAGE_SIZE];
  p->state.aLast[1] = p->state.iTransaction;
  fillHead(&p->state, iCounter, aPage);
  CHECK_INT(lsWriterWrite(&p->seen, 1, aPage, PAGE_SIZE, p->zWhy), SQLITE_OK);
  CHECK_INT(get32(p->seen.aHead+24), get32(p->seen.aHead+92));
  return get32(p->seen.aHead+24);
}

/* A number of a state's own: of ls_writer_stamp()'s making, or one that SQLite may have counted up to. */
static void testStamps(void){
  uint64_t aWord[LS_WRITER_WORDS], s = seed;
  uint32_t i, iBase, iGot = 0, iMost, nKept = 0;
  static uint8_t aGiven[65536];
  memset(aGiven, 0, sizeof(aGiven));
  replicaOpen(&on, 1, BYTES_MAX);
  words(aWord);
  iBase = iMost = (uint32_t)aWord[6];
  for(i=0; i<2000; i++){
    uint32_t iAsk = (randomBelow(&s, 3) ? iMost : iMost/8*8)+randomBelow(&s, 10)-1;
    sideBegin(&sideA);
    CHECK_INT(reserve(&sideA), SQLITE_OK);
    iGot = stampAsk(&sideA, iAsk);
    NEED(iGot>=iBase && iGot-iBase<sizeof(aGiven));
    CHECK_INT(aGiven[iGot-iBase]++, 0);
    CHECK(iGot%8!=7);
    CHECK(iGot%8==0 || iGot==iAsk);
    nKept += iGot%8!=0;
    CHECK_INT(stampAsk(&sideA, iGot), iGot);           /* the transaction's own */
    if( iGot>iMost ) iMost = iGot;
    if( randomBelow(&s, 2) ) CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
    words(aWord);
    CHECK(!lsWriterChanged(&sideA.seen) ? aWord[6]==iGot : aWord[6]!=iGot);
    sideEnd(&sideA);
  }
  CHECK(nKept>100);
  replicaEnd();
}

/* What SQLite counts up to after a rollback is not the number of what was rolled back. */
static void testStampRolledBack(void){
  uint64_t aWord[LS_WRITER_WORDS];
  uint32_t i;
  replicaOpen(&on, 1, BYTES_MAX);
  words(aWord);
  sideBegin(&sideA);
  CHECK_INT(reserve(&sideA), SQLITE_OK);
  CHECK_INT(stampAsk(&sideA, (uint32_t)aWord[6]+1), aWord[6]+1);
  sideEnd(&sideA);
  sideBegin(&sideA);
  CHECK_INT(reserve(&sideA), SQLITE_OK);
  i = stampAsk(&sideA, (uint32_t)aWord[6]+1);
  CHECK(i>aWord[6]+7);
  CHECK_INT(i%8, 0);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
  sideEnd(&sideA);
  CHECK_INT(syncNow(), 1);
  words(aWord);
  CHECK_INT(aWord[6], i);
  sideBegin(&sideA);
  CHECK_INT(sideA.pView->iStamp, i);                   /* no connection drops its pages for an upload */
  sideEnd(&sideA);
  replicaEnd();
}

/* --------------------------------------------------------------------------------- commits in two phases */

/* Begins, writes pages 1 … iTo, and prepares the commit. */
static void sidePrepare(Side *p, uint32_t iTo){
  sideWrite(p, 2, iTo);
  CHECK_INT(lsWriterPrepare(&p->seen, p->zWhy), SQLITE_OK);
}

static void testPrepared(void){
  uint64_t aWord[LS_WRITER_WORDS];
  uint32_t i;
  replicaOpen(&on, 1, BYTES_MAX);
  commitPages(&stateNow, 2, 3);
  for(i=1; i<=3; i++){
    syncsBegin(0);
    sidePrepare(&sideA, i==2 ? 700 : 9);
    CHECK_INT(syncsOf(logName(i)), 1);                 /* though nobody asked for one */
    CHECK_INT(syncsOf(zFolder), 1);
    words(aWord);
    CHECK_INT(aWord[7], 7);
    CHECK_INT(aWord[8], logEnd(i));
    CHECK(logSize(i)>logEnd(i));
    checkNewest(&stateNow);
    checkReplay(&on, &stateNow, 1, i, NULL);
    checkSees(&sideA, &sideA.state);
    CHECK_INT(ls_writer_base(iReplica, iView, LS_WRITER_FOREIGN, 10), LS_BUSY);
    CHECK_INT(ls_writer_seal(iReplica, aWord), i==1 ? LS_BUSY : 0);
    syncsBegin(0);
    CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
    CHECK_INT(syncsOf(logName(i)), 1);
    CHECK_INT(syncsAll(), 1);
    stateNow = sideA.state;
    checkSees(&sideA, &stateNow);
    sideEnd(&sideA);
    checkNewest(&stateNow);
    words(aWord);
    CHECK_INT(aWord[7] & 5, 0);
    CHECK_INT(logSize(i), logEnd(i));
    checkReplay(&on, &stateNow, 1, i+1, NULL);
    CHECK_INT(syncNow(), 1);
    CHECK_INT(syncNow(), 0);
    CHECK_INT(iTxidStored, i+1);
  }
  replicaEnd();
}

/* Writing ends between the phases: the commit counts, and the log's lock is kept until then. */
static void testPreparedEnded(void){
  int i, iOther;
  for(i=0; i<2; i++){
    replicaOpen(&on, 1, BYTES_MAX);
    iOther = ls_replica_new(core.iCore, 1000);
    sidePrepare(&sideA, 9);
    if( i ) CHECK_INT(ls_writer_fault(iReplica, "ConflictError: so it is"), 0);
    else CHECK_INT(ls_writer_close(iReplica), LS_BUSY);
    CHECK_INT(ls_writer_open(iOther, zPath, 2, aBase, 1), LS_BUSY);
    CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
    stateNow = sideA.state;
    CHECK_INT(ls_writer_close(iReplica), 0);
    CHECK_INT(ls_writer_open(iOther, zPath, 2, aBase, 1), 0);
    CHECK_INT(ls_replica_close(iOther), 0);
    CHECK_INT(put(&sideA, 2), SQLITE_IOERR);
    CHECK_TEXT(sideA.zWhy, i ? "ConflictError: so it is" : "ReplicaClosedError");
    sideEnd(&sideA);
    checkNewest(&stateNow);
    checkReplay(&on, &stateNow, 1, 1, NULL);
    CHECK_INT(syncNow(), 1);
    replicaEnd();
  }
}

/* What was prepared is rolled back: given up, written over, or cut. A TXID that was to end with it ends. */
static void testPreparedUndone(void){
  uint64_t aWord[LS_WRITER_WORDS];
  uint32_t i;
  replicaOpen(&on, 1, BYTES_MAX);
  for(i=0; i<6; i++){
    commitPages(&stateNow, 2, 5);
    CHECK_INT(logLast(), i+1);
    sidePrepare(&sideA, i%2 ? 700 : 9);
    CHECK_INT(ls_writer_seal(iReplica, aWord), LS_BUSY);
    if( i/2==1 ) CHECK_INT(put(&sideA, 2), SQLITE_OK);
    if( i/2==2 ) CHECK_INT(lsWriterTruncate(&sideA.seen, HOT, sideA.zWhy), SQLITE_OK);
    if( i/2==2 ) lsWriterUndone(&sideA.seen);          /* SQLite truncates before the second phase as well: only this ends it */
    if( i/2==0 ) lsWriterRelease(&sideA.seen, &sideA);
    words(aWord);
    CHECK_INT(aWord[7] & 4, 0);
    CHECK_INT(aWord[0], i+3);
    sideEnd(&sideA);
    CHECK_INT(logSize(i+1), logEnd(i+1));
    checkNewest(&stateNow);
    checkReplay(&on, &stateNow, 1, i+1, NULL);
    CHECK_INT(syncNow(), 1);
    CHECK_INT(iTxidStored, i+2);
    CHECK_INT(syncNow(), 0);
  }
  replicaEnd();
}

/* A connection writes on after what it had prepared, and commits that in one phase. */
static void testPreparedWrittenOn(void){
  uint32_t i;
  replicaOpen(&on, 1, BYTES_MAX);
  for(i=0; i<4; i++){
    sidePrepare(&sideA, i%2 ? 700 : 9);
    CHECK_INT(put(&sideA, 20), SQLITE_OK);
    CHECK_INT(putHead(&sideA), SQLITE_OK);
    if( i>1 ) CHECK_INT(lsWriterPrepare(&sideA.seen, sideA.zWhy), SQLITE_OK);
    CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
    stateNow = sideA.state;
    sideEnd(&sideA);
    checkNewest(&stateNow);
    checkReplay(&on, &stateNow, 1, i+1, NULL);
  }
  sidePrepare(&sideA, 9);
  lsWriterRelease(&sideA.seen, &sideA);
  checkSees(&sideA, &stateNow);
  commitMore(&sideA, 7);                               /* the next one was not prepared */
  sideEnd(&sideA);
  checkNewest(&stateNow);
  checkReplay(&on, &stateNow, 1, 5, NULL);
  replicaEnd();
}

/* A COMMIT that fails in another file and is asked for again prepares this one once more. */
static void testPreparedTwice(void){
  uint32_t i;
  replicaOpen(&on, 1, BYTES_MAX);
  for(i=1; i<=2; i++){
    sidePrepare(&sideA, i==2 ? 700 : 9);
    CHECK_INT(lsWriterPrepare(&sideA.seen, sideA.zWhy), SQLITE_OK);
    CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
    stateNow = sideA.state;
    sideEnd(&sideA);
    checkNewest(&stateNow);
    checkReplay(&on, &stateNow, 1, i, NULL);
  }
  replicaEnd();
}

/* A new database that has no pages still, or a transaction of nothing, has nothing to prepare. */
static void testPreparedNothing(void){
  uint64_t aWord[LS_WRITER_WORDS];
  replicaOpen(&on, 0, BYTES_MAX);
  sideWrite(&sideA, 2, 3);
  cut(&sideA, 0);
  CHECK_INT(lsWriterPrepare(&sideA.seen, sideA.zWhy), SQLITE_OK);
  words(aWord);
  CHECK_INT(aWord[7], 1);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
  CHECK_INT(lsWriterPrepare(&sideA.seen, sideA.zWhy), SQLITE_OK);
  words(aWord);
  CHECK_INT(aWord[7], 1);
  sideEnd(&sideA);
  checkNewest(&on);
  CHECK_INT(logLast(), 0);
  replicaEnd();
}

/* ------------------------------------------------------------------------------------------ disks that fail */

/* No file may grow past nByte bytes; 0: any may. */
static void fileLimit(uint64_t nByte){
  struct rlimit limit;
  fflush(stdout);
  NEED(getrlimit(RLIMIT_FSIZE, &limit)==0);
  limit.rlim_cur = nByte ? (rlim_t)nByte : limit.rlim_max;
  NEED(setrlimit(RLIMIT_FSIZE, &limit)==0);
}

/* A transaction of pages 1 … nPage that meets a limit of nRoom bytes more; its code is returned. */
static int meetLimit(uint32_t nPage, uint64_t nRoom){
  uint64_t aWord[LS_WRITER_WORDS];
  uint32_t i;
  int rc = SQLITE_OK;
  words(aWord);
  sideBegin(&sideA);
  CHECK_INT(reserve(&sideA), SQLITE_OK);
  sideA.zWhy[0] = 0;
  lsWriterSync(&sideA.seen);
  fileLimit((aWord[7] & 2 ? logEnd((uint32_t)aWord[4]) : 0)+nRoom);
  rc = putHead(&sideA);
  for(i=2; rc==SQLITE_OK && i<=nPage; i++) rc = put(&sideA, i);
  if( rc==SQLITE_OK ) rc = lsWriterCommit(&sideA.seen, sideA.zWhy);
  fileLimit(0);
  CHECK_TEXT(sideA.zWhy, "WriteLogError: Cannot ");
  lsWriterRelease(&sideA.seen, &sideA);
  checkSees(&sideA, &stateNow);
  sideEnd(&sideA);
  return rc;
}

static void testFullDisk(void){
  static const uint64_t aRoom[] = {1, 24, 32, FRAME_SIZE-1, FRAME_SIZE, FRAME_SIZE+1, 5*FRAME_SIZE, 20*FRAME_SIZE-1};
  static const uint64_t aRoomLarge[] = {77, 100*FRAME_SIZE+9, 256*FRAME_SIZE, 300*FRAME_SIZE, 700*FRAME_SIZE-1};
  uint32_t i, n = 1;
  replicaOpen(&on, 1, BYTES_MAX);
  commitPages(&stateNow, 2, 20);
  for(i=0; i<sizeof(aRoom)/sizeof(*aRoom); i++){
    CHECK_INT(meetLimit(20, aRoom[i]), SQLITE_FULL);
    checkNewest(&stateNow);
    checkReplay(&on, &stateNow, 1, n, NULL);
    if( i%3==1 ) continue;                             /* twice in a row */
    commitPages(&stateNow, 2, 2+i%4);                  /* shorter than what failed */
    checkReplay(&on, &stateNow, 1, ++n, NULL);
  }
  for(i=0; i<sizeof(aRoomLarge)/sizeof(*aRoomLarge); i++){
    CHECK_INT(meetLimit(700, aRoomLarge[i]), SQLITE_FULL);
    checkNewest(&stateNow);
    checkReplay(&on, &stateNow, 1, n, NULL);
    commitPages(&stateNow, 2, i%2 ? 400 : 40);
    if( i==3 ) CHECK_INT(syncNow(), 1);
    checkNewest(&stateNow);
    checkReplay(&on, &stateNow, 1, ++n, NULL);
  }
  CHECK_INT(syncNow(), 1);
  checkNewest(&stateNow);
  replicaEnd();
}

/* A commit failed of which a part was in the file; its connection keeps the reservation and goes on. */
static void testCommitAgain(void){
  uint64_t nEnd;
  replicaOpen(&on, 1, BYTES_MAX);
  commitPages(&stateNow, 2, 3);
  nEnd = logSize(1);
  sideWrite(&sideA, 2, 400);
  CHECK(logSize(1)>nEnd);
  fileLimit(300*FRAME_SIZE);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_FULL);
  fileLimit(0);
  CHECK_INT(logSize(1), nEnd);
  CHECK_INT(lsWriterHeld(&sideA.seen), 1);
  CHECK_INT(lsWriterChanged(&sideA.seen)+lsWriterHasHead(&sideA.seen), 0);
  checkSees(&sideA, &stateNow);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);      /* of nothing */
  CHECK_INT(logSize(1), nEnd);
  checkSees(&sideA, &stateNow);
  checkReplay(&on, &stateNow, 1, 1, NULL);
  CHECK_INT(reserve(&sideA), SQLITE_OK);
  CHECK_INT(put(&sideA, 5), SQLITE_OK);
  CHECK_INT(putHead(&sideA), SQLITE_OK);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
  stateNow = sideA.state;
  checkSees(&sideA, &stateNow);
  sideEnd(&sideA);
  checkNewest(&stateNow);
  checkReplay(&on, &stateNow, 1, 2, NULL);
  replicaEnd();
}

/* The first phase meets a full disk: the transaction can be rolled back, and nothing of it stays. */
static void testPrepareFullDisk(void){
  static const uint64_t aRoom[] = {1, FRAME_SIZE, 9*FRAME_SIZE-1, 300*FRAME_SIZE, 699*FRAME_SIZE+7};
  uint64_t aWord[LS_WRITER_WORDS];
  uint32_t i;
  replicaOpen(&on, 1, BYTES_MAX);
  commitPages(&stateNow, 2, 5);
  for(i=0; i<sizeof(aRoom)/sizeof(*aRoom); i++){
    sideWrite(&sideA, 2, i<3 ? 9 : 700);
    fileLimit(logEnd(1)+aRoom[i]);
    CHECK_INT(lsWriterPrepare(&sideA.seen, sideA.zWhy), SQLITE_FULL);
    fileLimit(0);
    CHECK_TEXT(sideA.zWhy, "WriteLogError: Cannot append to write log");
    words(aWord);
    CHECK_INT(aWord[7], 3);
    lsWriterRelease(&sideA.seen, &sideA);
    checkSees(&sideA, &stateNow);
    sideEnd(&sideA);
    CHECK_INT(logSize(1), logEnd(1));
    checkReplay(&on, &stateNow, 1, i+1, NULL);
    commitPages(&stateNow, 2, 3);
    checkNewest(&stateNow);
  }
  checkReplay(&on, &stateNow, 1, i+1, NULL);
  replicaEnd();
}

/* Commits pages 2 … iTo, with a sync or without one; what was synced for it is then told of. */
static void commitSync(uint32_t iTo, int bSync){
  sideWrite(&sideA, 2, iTo);
  if( bSync ) lsWriterSync(&sideA.seen);
  syncsBegin(0);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
  stateNow = sideA.state;
  sideEnd(&sideA);
}

/* Ends a TXID, which is not stored. */
static void sealNow(void){
  uint64_t aWord[LS_WRITER_WORDS];
  CHECK_INT(ls_writer_seal(iReplica, aWord), 1);
}

/* A file's name is on the disk with its first commit that is, whoever began the file. */
static void testNameSynced(void){
  replicaOpen(&on, 1, BYTES_MAX);
  syncsBegin(0);
  sideWrite(&sideA, 2, 400);                           /* begins the file */
  CHECK(logSize(1)>LOG_HEAD);
  CHECK_INT(syncsAll(), 0);
  lsWriterSync(&sideA.seen);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
  CHECK_INT(syncsOf(logName(1)), 1);
  CHECK_INT(syncsOf(zFolder), 1);
  syncsBegin(0);
  CHECK_INT(reserve(&sideA), SQLITE_OK);
  CHECK_INT(putHead(&sideA), SQLITE_OK);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
  CHECK_INT(syncsAll(), 0);                            /* each transaction asks for its own */
  sideEnd(&sideA);
  commitSync(3, 1);
  CHECK_INT(syncsOf(logName(1)), 1);
  CHECK_INT(syncsAll(), 1);
  commitSync(3, 0);
  CHECK_INT(syncsAll(), 0);
  sealNow();
  commitSync(3, 0);
  CHECK_INT(syncsOf(logName(1)), 1);                   /* before the next file is begun */
  CHECK_INT(syncsAll(), 1);
  commitSync(3, 1);                                    /* not the file's first */
  CHECK_INT(syncsOf(logName(2)), 1);
  CHECK_INT(syncsOf(zFolder), 1);
  CHECK_INT(syncsAll(), 2);
  replicaEnd();
}

/* A transaction that is to be on the disk has those before it there as well, but for what is stored. */
static void testOlderSynced(void){
  replicaOpen(&on, 1, BYTES_MAX);
  commitSync(9, 0);
  CHECK_INT(syncNow(), 1);                             /* file 1 is closed */
  commitSync(9, 0);
  CHECK_INT(syncsAll(), 0);
  sealNow();
  syncsBegin(0);
  commitPages(&stateNow, 2, 400);                      /* a log must not end in the middle after a crash */
  CHECK_INT(syncsOf(logName(1)), 0);
  CHECK_INT(syncsOf(logName(2)), 1);
  CHECK_INT(syncsOf(zFolder), 1);
  CHECK_INT(syncsAll(), 2);
  sealNow();
  commitSync(9, 1);
  CHECK_INT(syncsOf(logName(3)), 1);
  CHECK_INT(syncsOf(logName(4)), 1);
  CHECK_INT(syncsOf(zFolder), 2);
  CHECK_INT(syncsAll(), 4);
  commitSync(9, 1);
  CHECK_INT(syncsOf(logName(4)), 1);
  CHECK_INT(syncsAll(), 1);
  commitSync(9, 0);
  sealNow();
  sideWrite(&sideA, 2, 9);
  lsWriterSync(&sideA.seen);
  syncsBegin(1);                                       /* the older one's fails */
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_IOERR_FSYNC);
  CHECK_TEXT(sideA.zWhy, "WriteLogError: Cannot sync write log");
  CHECK_TEXT(sideA.zWhy, strerror(EIO));
  CHECK_INT(syncsOf(logName(4)), 0);
  CHECK(access(logName(5), F_OK)!=0);
  checkSees(&sideA, &stateNow);
  sideEnd(&sideA);
  sideBegin(&sideA);
  CHECK_INT(reserve(&sideA), SQLITE_IOERR);            /* a transaction that was told may be lost: nothing goes on top of it */
  CHECK_TEXT(sideA.zWhy, "WriteLogError: Cannot sync write log");
  sideEnd(&sideA);
  checkNewest(&stateNow);
  checkReplay(&on, &stateNow, 1, 6, NULL);
  replicaEnd();
}

/* A commit whose sync fails is undone; where the undoing fails as well, nothing more is written. */
static void testSyncFails(void){
  replicaOpen(&on, 1, BYTES_MAX);
  commitSync(9, 1);
  sideWrite(&sideA, 2, 400);
  lsWriterSync(&sideA.seen);
  syncsBegin(1);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_IOERR_FSYNC);
  checkSees(&sideA, &stateNow);
  sideEnd(&sideA);
  CHECK_INT(logSize(1), LOG_HEAD+9*FRAME_SIZE);
  CHECK_INT(syncsOf(logName(1)), 1);                   /* of its undoing */
  commitSync(9, 1);
  checkReplay(&on, &stateNow, 1, 2, NULL);
  CHECK_INT(lsWriterOn(pReplica), 1);
  sideWrite(&sideA, 2, 9);
  lsWriterSync(&sideA.seen);
  syncsBegin(2);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_IOERR_FSYNC);
  sideEnd(&sideA);
  CHECK_INT(lsWriterOn(pReplica), 0);
  sideBegin(&sideA);
  CHECK_INT(reserve(&sideA), SQLITE_IOERR);
  CHECK_TEXT(sideA.zWhy, "WriteLogError: Cannot undo a commit that failed");
  checkSees(&sideA, &stateNow);
  sideEnd(&sideA);
  CHECK_INT(syncNow(), 1);
  checkNewest(&stateNow);
  replicaEnd();
}

/* A sync of the first phase fails: where it was of told transactions as well, nothing more is written. */
static void testPrepareSyncFails(void){
  int i;
  for(i=0; i<2; i++){
    replicaOpen(&on, 1, BYTES_MAX);
    commitSync(9, 0);
    commitSync(9, !i);
    sideWrite(&sideA, 2, 9);
    syncsBegin(1);
    CHECK_INT(lsWriterPrepare(&sideA.seen, sideA.zWhy), SQLITE_IOERR_FSYNC);
    CHECK_TEXT(sideA.zWhy, "WriteLogError: Cannot sync write log");
    lsWriterRelease(&sideA.seen, &sideA);
    sideEnd(&sideA);
    CHECK_INT(lsWriterOn(pReplica), !i);
    checkNewest(&stateNow);
    if( !i ) commitPages(&stateNow, 2, 4);
    checkReplay(&on, &stateNow, 1, i ? 2 : 3, NULL);
    replicaEnd();
  }
}

/* The second phase fails: this one of several files is without the transaction, and takes no more. */
static void testPhaseTwoFails(void){
  int i;
  for(i=0; i<3; i++){
    const char *zFailed = i ? "Cannot sync write log" : "Cannot append to write log";
    replicaOpen(&on, 1, BYTES_MAX);
    commitSync(9, 1);
    sidePrepare(&sideA, i==2 ? 700 : 9);
    syncsBegin(i ? 1 : 0);
    if( !i ) fileLimit(LOG_HEAD);
    CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), i ? SQLITE_IOERR_FSYNC : SQLITE_FULL);
    fileLimit(0);
    CHECK_TEXT(sideA.zWhy, zFailed);
    CHECK_INT(logSize(1), LOG_HEAD+9*FRAME_SIZE);
    checkSees(&sideA, &stateNow);
    CHECK_INT(put(&sideA, 2), SQLITE_IOERR);
    CHECK_TEXT(sideA.zWhy, zFailed);
    sideEnd(&sideA);
    CHECK_INT(lsWriterOn(pReplica), 0);
    checkNewest(&stateNow);
    checkReplay(&on, &stateNow, 1, 1, NULL);
    CHECK_INT(syncNow(), 1);                           /* what was committed before is stored still */
    replicaEnd();
  }
}

/* Bytes that were on the disk, as frame i of a file tells. */
static uint64_t syncedOf(uint32_t iSeq, uint32_t i){
  size_t n = 0;
  uint8_t *a = logBytes(iSeq, &n);
  size_t iAt = LOG_HEAD+(size_t)i*FRAME_SIZE;
  uint64_t nSynced = a && iAt+FRAME_SIZE<=n ? get64(a+iAt+24) : UINT64_MAX;
  free(a);
  return nSynced;
}

/* A frame tells what of its file was on the disk before it was written, and no more after a rollback. */
static void testSyncedTold(void){
  uint32_t i;
  replicaOpen(&on, 1, BYTES_MAX);
  commitSync(3, 0);
  commitSync(3, 0);
  for(i=0; i<6; i++) CHECK_INT(syncedOf(1, i), 0);     /* it never was */
  commitSync(3, 1);
  for(i=6; i<9; i++) CHECK_INT(syncedOf(1, i), 0);     /* it is only now */
  commitSync(3, 0);
  commitSync(3, 0);
  for(i=9; i<15; i++) CHECK_INT(syncedOf(1, i), LOG_HEAD+9*FRAME_SIZE);
  sidePrepare(&sideA, 3);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_OK);
  stateNow = sideA.state;
  sideEnd(&sideA);
  CHECK_INT(syncedOf(1, 16), LOG_HEAD+9*FRAME_SIZE);
  CHECK_INT(syncedOf(1, 17), LOG_HEAD+18*FRAME_SIZE);  /* the mark was written when all else was there */
  sidePrepare(&sideA, 9);
  sideEnd(&sideA);
  commitSync(3, 0);
  for(i=18; i<21; i++) CHECK_INT(syncedOf(1, i), LOG_HEAD+18*FRAME_SIZE);
  CHECK_INT(syncedOf(1, 21), UINT64_MAX);
  sealNow();
  commitSync(3, 0);
  for(i=0; i<3; i++) CHECK_INT(syncedOf(2, i), 0);     /* another file */
  checkReplay(&on, &stateNow, 1, 8, NULL);
  replicaEnd();
}

/* What was told committed is in the file before: that one's sync fails when the next is to be begun. */
static void testNextFails(void){
  int i;
  for(i=0; i<2; i++){
    replicaOpen(&on, 1, BYTES_MAX);
    commitSync(9, i);
    sealNow();
    commitSync(9, i);
    sealNow();
    sideBegin(&sideA);
    CHECK_INT(reserve(&sideA), SQLITE_OK);
    CHECK_INT(putHead(&sideA), SQLITE_OK);
    syncsBegin(1);
    CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), i ? SQLITE_OK : SQLITE_IOERR_FSYNC);
    if( i ) stateNow = sideA.state;
    sideEnd(&sideA);
    CHECK_INT(logLast(), i ? 3 : 2);
    CHECK_INT(lsWriterOn(pReplica), i);
    checkNewest(&stateNow);
    checkReplay(&on, &stateNow, 1, i ? 3 : 2, NULL);
    syncsBegin(0);
    replicaEnd();
  }
}

/* Somebody deleted or cut the newest file: nothing more is written to it. */
static void testDamaged(void){
  int i;
  for(i=0; i<4; i++){
    replicaOpen(&on, 1, BYTES_MAX);
    commitPages(&stateNow, 2, 3);
    sideWrite(&sideA, 2, 9);
    if( i%2 ) CHECK_INT(unlink(logName(1)), 0);
    else CHECK_INT(truncate(logName(1), LOG_HEAD+3*FRAME_SIZE-1), 0);
    if( i/2 ) CHECK_INT(lsWriterPrepare(&sideA.seen, sideA.zWhy), SQLITE_IOERR_WRITE);
    else CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_IOERR_WRITE);
    CHECK_TEXT(sideA.zWhy, "WriteLogError: Cannot append to write log");
    CHECK_TEXT(sideA.zWhy, "it was deleted or cut");
    sideEnd(&sideA);
    CHECK_INT(lsWriterOn(pReplica), 0);
    CHECK(logSize(1)<=LOG_HEAD+3*FRAME_SIZE);
    replicaEnd();
  }
}

/* The log was given up: what a connection had spilled is no longer this writer's to cut. */
static void testLitterAfterClose(void){
  uint64_t nByte;
  replicaOpen(&on, 1, BYTES_MAX);
  commitPages(&stateNow, 2, 3);
  sideWrite(&sideA, 2, 400);
  nByte = logSize(1);
  CHECK(nByte>logEnd(1));
  CHECK_INT(ls_writer_close(iReplica), 0);
  sideEnd(&sideA);
  CHECK_INT(logSize(1), nByte);
  checkNewest(&stateNow);
  checkReplay(&on, &stateNow, 1, 1, NULL);
  replicaEnd();
}

/* A file that cannot even be begun leaves nothing in its place. */
static void testFullDiskAtBegin(void){
  uint64_t nRoom;
  int nFile = openFiles();
  replicaOpen(&on, 1, BYTES_MAX);
  stateNow = on;
  for(nRoom=1; nRoom<LOG_HEAD; nRoom+=31){
    CHECK_INT(meetLimit(3, nRoom), SQLITE_FULL);
    CHECK(access(logName(1), F_OK)!=0);
    checkNewest(&on);
  }
  CHECK_INT(meetLimit(3, LOG_HEAD), SQLITE_FULL);
  CHECK_INT(meetLimit(3, 1), SQLITE_FULL);
  CHECK_INT(syncNow(), 0);
  commitPages(&stateNow, 2, 3);
  checkNewest(&stateNow);
  checkReplay(&on, &stateNow, 1, 1, NULL);
  CHECK_INT(syncNow(), 1);
  replicaEnd();
  CHECK_INT(openFiles(), nFile);
}

/* The log's folder is gone when the next file is to be begun, and comes back. */
static void testFolderGone(void){
  char zAway[160];
  replicaOpen(&on, 1, BYTES_MAX);
  commitPages(&stateNow, 2, 20);
  CHECK_INT(syncNow(), 1);
  snprintf(zAway, sizeof(zAway), "%s.away", zFolder);
  CHECK_INT(rename(zFolder, zAway), 0);
  sideWrite(&sideA, 2, 9);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_IOERR_WRITE);
  CHECK_TEXT(sideA.zWhy, "WriteLogError: Cannot make write log");
  CHECK_TEXT(sideA.zWhy, strerror(ENOENT));
  lsWriterRelease(&sideA.seen, &sideA);
  checkSees(&sideA, &stateNow);
  sideEnd(&sideA);
  checkNewest(&stateNow);
  CHECK_INT(syncNow(), 0);
  CHECK_INT(rename(zAway, zFolder), 0);
  commitPages(&stateNow, 3, 7);
  checkNewest(&stateNow);
  checkReplay(&on, &stateNow, 1, 2, NULL);
  sideWrite(&sideA, 2, 400);
  sealNow();
  lsWriterRelease(&sideA.seen, &sideA);
  sideEnd(&sideA);
  sideWrite(&sideA, 2, 400);                           /* begins file 3, whose name cannot be synced */
  lsWriterSync(&sideA.seen);
  CHECK_INT(rename(zFolder, zAway), 0);
  CHECK_INT(lsWriterCommit(&sideA.seen, sideA.zWhy), SQLITE_IOERR_DIR_FSYNC);
  CHECK_TEXT(sideA.zWhy, "WriteLogError: Cannot sync write log");
  CHECK_INT(rename(zAway, zFolder), 0);
  checkSees(&sideA, &stateNow);
  sideEnd(&sideA);
  commitSync(9, 1);
  CHECK_INT(syncsOf(zFolder), 1);                      /* that of file 2 was, before file 3 was begun */
  checkReplay(&on, &stateNow, 1, 3, NULL);
  replicaEnd();
}

int main(void){
  const char *zTemp = getenv("TMPDIR");
  seed = (uint64_t)setting("SEED", (int)(nowMs() & 0x3fffffff)+1);
  nRound = (uint32_t)setting("ROUNDS", 1000);
  printf("# SEED=%llu\n", (unsigned long long)seed);
  snprintf(zFolder, sizeof(zFolder), "%s/writer_test.XXXXXX", zTemp ? zTemp : "/tmp");
  NEED(mkdtemp(zFolder)!=NULL);
  snprintf(zPath, sizeof(zPath), "%s/log", zFolder);
  signal(SIGXFSZ, SIG_IGN);
  crcSetUp();
  coreBegin(&core);
  RUN("one connection writes at a time, on the newest state only", testTurns);
  RUN("what is rolled back is gone, from memory and from the file", testRollback);
  RUN("a database grows from nothing, and holes are zeros", testGrow);
  RUN("a seal ends a TXID; a transaction under way is of the next", testSeal);
  RUN("each TXID begins a file, also where somebody has the reservation at each seal", testHeldSeals);
  RUN("a new database whose page size changes after a spill that was undone begins a new file", testPageSize);
  RUN("a commit of no pages leaves a new database without any", testNoPages);
  RUN("a pinned state stays while others are stored, and its files close with it", testPinned);
  RUN("a transaction goes on while what it is on top of is stored", testStoredMeanwhile);
  RUN("what waits is bounded, and the core is told in time", testBound);
  RUN("pages that cannot be stored are refused", testRefused);
  RUN("a truncation without page 1 is refused, and leaves the state before it", testTruncateAlone);
  RUN("a state that others made is taken only where nothing waits", testForeign);
  RUN("writing is switched off, and ended by a fault", testSwitches);
  RUN("what is under way when writing ends is refused with its reason", testEnded);
  RUN("the log is not given up while a commit is under way", testClosedMeanwhile);
  RUN("nor while a transaction spills", testClosedSpilling);
  RUN("two writers cannot have one log, and handles are checked", testHandles);
  RUN("who committed sees it still when it is stored", testCommitterStays);
  RUN("a connection that keeps the reservation is asked again at each transaction", testHolderAsked);
  RUN("readers of several times keep their files, and no others", testPinnedApart);
  RUN("a state that others made ends a transaction that has spilled, and others go on", testForeignSpilled);
  RUN("no number of a state is given twice", testStamps);
  RUN("what comes after a rollback has a number of its own", testStampRolledBack);
  RUN("what was prepared is a commit with the second phase alone", testPrepared);
  RUN("what was prepared is committed though writing ended", testPreparedEnded);
  RUN("what was prepared can be rolled back, and a TXID ends with it", testPreparedUndone);
  RUN("what was prepared and written on is committed whole", testPreparedWrittenOn);
  RUN("what was prepared twice is one commit", testPreparedTwice);
  RUN("a transaction of nothing needs no preparing", testPreparedNothing);
  RUN("a commit that meets a full disk leaves the state before it", testFullDisk);
  RUN("a full disk fails the first phase, and nothing stays", testPrepareFullDisk);
  RUN("a connection whose commit failed after a spill can go on", testCommitAgain);
  RUN("a new file's name is synced, also where a spill began it", testNameSynced);
  RUN("a commit that is synced has what was written before it synced", testOlderSynced);
  RUN("a commit whose sync fails is undone, or nothing more is written", testSyncFails);
  RUN("a failing sync in the first phase fails it", testPrepareSyncFails);
  RUN("a second phase that fails ends writing", testPhaseTwoFails);
  RUN("a frame tells what of its file was on the disk", testSyncedTold);
  RUN("no file is begun after one that could not be synced", testNextFails);
  RUN("a file that was deleted or cut is not written to", testDamaged);
  RUN("a log that was given up is not cut", testLitterAfterClose);
  RUN("a full disk leaves no file without a header", testFullDiskAtBegin);
  RUN("a commit fails without the log's folder, and the next one has it back", testFolderGone);
  RUN("threads see whole states while others write and the core stores", testThreads);
  RUN("the same from nothing, and with less that may wait", testThreadsBounded);
  coreEnd(&core);
  CHECK_INT(rmdir(zFolder), 0);
  return finish();
}
