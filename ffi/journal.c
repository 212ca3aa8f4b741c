/*
** A rollback journal in memory, for a database that another log keeps safe.
**
** PURPOSE   SQLite writes what pages held before, and reads it back to undo a transaction or a savepoint.
**           After a crash none is wanted: the write log holds committed transactions and nothing else.
** THREADS   One at a time a file, as SQLite promises. Files share nothing.
** MEMORY    Chunks, up to a bound. What would pass it moves to a temporary file of the base VFS, and stays
**           there until the journal is emptied or closed.
** ERRORS    SQLITE_IOERR with its extended codes and SQLITE_FULL, nothing else: these undo the statement or
**           the transaction. After any other, SQLite may go on with half a change to a tree, for it expects
**           none there. A write that fails leaves what was written before it, and the size while in memory.
** LEFT OUT  Locks and syncs: a journal has one user and outlives nothing.
*/
#include <stdlib.h>
#include <string.h>
#include "journal.h"

#define CHUNK_SIZE  65536
#define SPILL_FLAGS (SQLITE_OPEN_TEMP_JOURNAL|SQLITE_OPEN_READWRITE|SQLITE_OPEN_CREATE| \
                     SQLITE_OPEN_EXCLUSIVE|SQLITE_OPEN_DELETEONCLOSE)

/* base must be first. Chunks are held up to nSize, and bytes behind it are anything. */
typedef struct LsJournal {
  sqlite3_file base;
  sqlite3_vfs *pBase;
  sqlite3_file *pSpill;            /* owned: where all content is; NULL while it is in memory */
  int64_t nMemoryMax;
  int64_t nSize;                   /* of the content in memory */
  uint8_t **apChunk;
  uint32_t nChunk;
  uint32_t nChunkAlloc;
} LsJournal;

/* A base VFS's code as one of those that may end a write. */
static int fatalCode(int rc, int rcOther){
  switch( rc & 0xff ){
    case SQLITE_OK: case SQLITE_IOERR: case SQLITE_FULL: return rc;
    case SQLITE_NOMEM: return SQLITE_IOERR_NOMEM;
    default: return rcOther;
  }
}

/* Gives back the chunks that the first nSize bytes do not need. */
static void freeChunks(LsJournal *p, int64_t nSize){
  while( p->nChunk>0 && (int64_t)(p->nChunk-1)*CHUNK_SIZE>=nSize ) free(p->apChunk[--p->nChunk]);
}

static int addChunk(LsJournal *p){
  uint8_t *a;
  if( p->nChunk==p->nChunkAlloc ){
    uint32_t nNew = p->nChunkAlloc*2+16;
    uint8_t **apNew = realloc(p->apChunk, nNew*sizeof(*apNew));
    if( apNew==NULL ) return SQLITE_IOERR_NOMEM;
    p->apChunk = apNew;
    p->nChunkAlloc = nNew;
  }
  a = malloc(CHUNK_SIZE);
  if( a==NULL ) return SQLITE_IOERR_NOMEM;
  p->apChunk[p->nChunk++] = a;
  return SQLITE_OK;
}

/* Memory for nSize bytes. */
static int reserve(LsJournal *p, int64_t nSize){
  int rc = SQLITE_OK;
  while( rc==SQLITE_OK && (int64_t)p->nChunk*CHUNK_SIZE<nSize ) rc = addChunk(p);
  if( rc!=SQLITE_OK ) freeChunks(p, p->nSize);
  return rc;
}

/* Where byte iOfst lies. *pn, of the bytes that are wanted, becomes how many of them lie there. */
static uint8_t *chunkAt(const LsJournal *p, int64_t iOfst, int64_t *pn){
  int64_t iIn = iOfst%CHUNK_SIZE;
  if( *pn>CHUNK_SIZE-iIn ) *pn = CHUNK_SIZE-iIn;
  return p->apChunk[iOfst/CHUNK_SIZE]+iIn;
}

static void copyOut(const LsJournal *p, uint8_t *aOut, int64_t n, int64_t iOfst){
  int64_t nNow;
  for(; n>0; n-=nNow, aOut+=nNow, iOfst+=nNow){
    const uint8_t *a;
    nNow = n;
    a = chunkAt(p, iOfst, &nNow);
    memcpy(aOut, a, (size_t)nNow);
  }
}

static void copyIn(LsJournal *p, const uint8_t *aIn, int64_t n, int64_t iOfst){
  int64_t nNow;
  for(; n>0; n-=nNow, aIn+=nNow, iOfst+=nNow){
    uint8_t *a;
    nNow = n;
    a = chunkAt(p, iOfst, &nNow);
    memcpy(a, aIn, (size_t)nNow);
  }
}

/* Makes the content nSize bytes long at least, with zeros. */
static int extend(LsJournal *p, int64_t nSize){
  int64_t nNow;
  int rc = reserve(p, nSize);
  if( rc!=SQLITE_OK ) return rc;
  for(; p->nSize<nSize; p->nSize+=nNow){
    uint8_t *a;
    nNow = nSize-p->nSize;
    a = chunkAt(p, p->nSize, &nNow);
    memset(a, 0, (size_t)nNow);
  }
  return SQLITE_OK;
}

/* Closes and frees a file of the base VFS, which is deleted by that. */
static void dropFile(sqlite3_file *pFile){
  if( pFile->pMethods ) pFile->pMethods->xClose(pFile);
  free(pFile);
}

static int copyToFile(const LsJournal *p, sqlite3_file *pFile){
  int64_t iAt;
  int rc = SQLITE_OK;
  for(iAt=0; rc==SQLITE_OK && iAt<p->nSize; iAt+=CHUNK_SIZE){
    int64_t nNow = p->nSize-iAt;
    const uint8_t *a = chunkAt(p, iAt, &nNow);
    rc = pFile->pMethods->xWrite(pFile, a, (int)nNow, iAt);
  }
  return rc;
}

/* Moves the content to a temporary file; on failure it stays in memory. */
static int spill(LsJournal *p){
  sqlite3_file *pFile = calloc(1, (size_t)p->pBase->szOsFile);
  int flags = 0, rc;
  if( pFile==NULL ) return SQLITE_IOERR_NOMEM;
  rc = p->pBase->xOpen(p->pBase, NULL, pFile, SPILL_FLAGS, &flags);
  if( rc==SQLITE_OK ) rc = copyToFile(p, pFile);
  if( rc!=SQLITE_OK ){
    dropFile(pFile);
    return fatalCode(rc, SQLITE_IOERR_WRITE);
  }
  p->pSpill = pFile;
  p->nSize = 0;
  freeChunks(p, 0);
  return SQLITE_OK;
}

static int journalClose(sqlite3_file *pFile){
  LsJournal *p = (LsJournal*)pFile;
  if( p->pSpill ) dropFile(p->pSpill);
  freeChunks(p, 0);
  free(p->apChunk);
  memset(p, 0, sizeof(*p));
  return SQLITE_OK;
}

static int journalRead(sqlite3_file *pFile, void *pOut, int iAmt, sqlite3_int64 iOfst){
  LsJournal *p = (LsJournal*)pFile;
  int64_t n = p->nSize>iOfst ? p->nSize-iOfst : 0;
  if( p->pSpill ){
    return fatalCode(p->pSpill->pMethods->xRead(p->pSpill, pOut, iAmt, iOfst), SQLITE_IOERR_READ);
  }
  if( n>iAmt ) n = iAmt;
  copyOut(p, pOut, n, iOfst);
  if( n==iAmt ) return SQLITE_OK;
  memset((uint8_t*)pOut+n, 0, (size_t)(iAmt-n));
  return SQLITE_IOERR_SHORT_READ;
}

static int journalWrite(sqlite3_file *pFile, const void *pIn, int iAmt, sqlite3_int64 iOfst){
  static const uint8_t aMagic[8] = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7}, aNone[8];
  LsJournal *p = (LsJournal*)pFile;
  int rc = SQLITE_OK;
  /* Alone it ends a super-journal's name; where that file is not found, SQLite takes a rollback for a commit. */
  if( iAmt==8 && memcmp(pIn, aMagic, 8)==0 ) pIn = aNone;
  if( p->pSpill==NULL && iOfst>p->nMemoryMax-iAmt ) rc = spill(p);
  if( rc!=SQLITE_OK ) return rc;
  if( p->pSpill ){
    return fatalCode(p->pSpill->pMethods->xWrite(p->pSpill, pIn, iAmt, iOfst), SQLITE_IOERR_WRITE);
  }
  rc = reserve(p, iOfst+iAmt);
  if( rc!=SQLITE_OK ) return rc;
  if( iOfst>p->nSize ) extend(p, iOfst);
  copyIn(p, pIn, iAmt, iOfst);
  if( p->nSize<iOfst+iAmt ) p->nSize = iOfst+iAmt;
  return SQLITE_OK;
}

/* A journal that is emptied is in memory again. */
static int journalTruncate(sqlite3_file *pFile, sqlite3_int64 nSize){
  LsJournal *p = (LsJournal*)pFile;
  int rc = SQLITE_OK;
  if( p->pSpill && nSize==0 ){
    dropFile(p->pSpill);
    p->pSpill = NULL;
  }
  if( p->pSpill==NULL && nSize>p->nMemoryMax ) rc = spill(p);
  if( rc!=SQLITE_OK ) return rc;
  if( p->pSpill ){
    return fatalCode(p->pSpill->pMethods->xTruncate(p->pSpill, nSize), SQLITE_IOERR_TRUNCATE);
  }
  if( nSize>p->nSize ) return extend(p, nSize);
  p->nSize = nSize;
  freeChunks(p, nSize);
  return SQLITE_OK;
}

static int journalFileSize(sqlite3_file *pFile, sqlite3_int64 *pSize){
  LsJournal *p = (LsJournal*)pFile;
  if( p->pSpill ) return fatalCode(p->pSpill->pMethods->xFileSize(p->pSpill, pSize), SQLITE_IOERR_FSTAT);
  *pSize = p->nSize;
  return SQLITE_OK;
}

static int journalSync(sqlite3_file *pFile, int flags){
  (void)pFile; (void)flags;
  return SQLITE_OK;
}

static int journalLock(sqlite3_file *pFile, int eLock){
  (void)pFile; (void)eLock;
  return SQLITE_OK;
}

static int journalReserved(sqlite3_file *pFile, int *pOut){
  (void)pFile;
  *pOut = 0;
  return SQLITE_OK;
}

static int journalControl(sqlite3_file *pFile, int op, void *pArg){
  (void)pFile; (void)op; (void)pArg;
  return SQLITE_NOTFOUND;
}

static int journalSectorSize(sqlite3_file *pFile){
  (void)pFile;
  return 512;
}

static int journalTraits(sqlite3_file *pFile){
  (void)pFile;
  return LS_JOURNAL_TRAITS;
}

static const sqlite3_io_methods journalMethods = {
  .iVersion = 1,
  .xClose = journalClose,
  .xRead = journalRead,
  .xWrite = journalWrite,
  .xTruncate = journalTruncate,
  .xSync = journalSync,
  .xFileSize = journalFileSize,
  .xLock = journalLock,
  .xUnlock = journalLock,
  .xCheckReservedLock = journalReserved,
  .xFileControl = journalControl,
  .xSectorSize = journalSectorSize,
  .xDeviceCharacteristics = journalTraits,
};

int lsJournalSize(void){ return (int)sizeof(LsJournal); }

void lsJournalOpen(sqlite3_vfs *pBase, sqlite3_file *pFile, int64_t nMemoryMax){
  LsJournal *p = (LsJournal*)pFile;
  memset(p, 0, sizeof(*p));
  p->pBase = pBase;
  p->nMemoryMax = nMemoryMax>0 ? nMemoryMax : LS_JOURNAL_MEMORY;
  p->base.pMethods = &journalMethods;
}
