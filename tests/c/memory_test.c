/*
** The write log without memory: what fails says so, and neither phase of a commit goes on as if nothing had.
*/
#include "harness.h"

static int bNoMemory;                      /* realloc() fails */

static void *fallibleRealloc(void *p, size_t n){ return bNoMemory ? NULL : realloc(p, n); }

#define realloc fallibleRealloc
#include "../../ffi/writer.c"
#undef realloc

#define PAGE_SIZE 8192                     /* 128 frames of it are spilled at once, and 256 are what is first made room for */
#define FRAMES    256

static TestCore core;
static char zFolder[128], zLog[160];

static void writePage(LsSeen *pSeen, uint32_t iPgno, int rcWanted){
  static uint8_t aPage[PAGE_SIZE];
  char zWhy[LS_ERROR_SIZE] = "";
  memset(aPage, (int)iPgno, sizeof(aPage));
  if( iPgno==1 ){
    aPage[16] = PAGE_SIZE>>8;
    aPage[17] = 0;
  }
  CHECK_INT(lsWriterWrite(pSeen, iPgno, aPage, PAGE_SIZE, zWhy), rcWanted);
}

/* A page finds no room just when all before it were written to the file, and who commits passes over that. */
static void commitWithoutLast(int bPrepare){
  static const uint8_t aBase[BASE_SIZE];
  char zWhy[LS_ERROR_SIZE] = "", z[200];
  LsReplica *pReplica;
  LsSeen seen;
  LsView *pView;
  uint32_t i;
  int iReplica = ls_replica_new(core.iCore, 1000), iMap = ls_map_new(0, PAGE_SIZE);
  int iView = ls_map_view(iMap, iReplica, 0, 0, (uint32_t)ls_writer_stamp(), 0);
  NEED(iView>0 && ls_view_publish(iView)==0);
  CHECK_INT(ls_writer_open(iReplica, zLog, 1, aBase, 1<<30), 0);
  pReplica = lsReplicaUse(iReplica);
  memset(&seen, 0, sizeof(seen));
  pView = lsWriterBegin(pReplica, &seen, zWhy);
  NEED(pView!=NULL);
  CHECK_INT(lsWriterReserve(&seen, &core, zWhy), SQLITE_OK);
  for(i=1; i<=FRAMES; i++) writePage(&seen, i, SQLITE_OK);
  bNoMemory = 1;
  writePage(&seen, FRAMES+1, SQLITE_IOERR_NOMEM);
  bNoMemory = 0;
  CHECK_INT(lsWriterOf(pReplica)->iFlushed, FRAMES);
  CHECK_INT(bPrepare ? lsWriterPrepare(&seen, zWhy) : lsWriterCommit(&seen, zWhy), SQLITE_IOERR_NOMEM);
  CHECK_TEXT(zWhy, "out of memory");
  if( bPrepare ) CHECK_INT(lsWriterOf(pReplica)->bPrepared, 0);
  CHECK_INT(lsWriterOf(pReplica)->bCommitting, 0);
  CHECK_INT(lsWriterOf(pReplica)->iCommitted, 0);
  lsWriterRelease(&seen, &core);
  lsWriterEnd(&seen);
  lsViewUnpin(pView);
  CHECK_INT(ls_writer_close(iReplica), 0);
  lsReplicaDone(pReplica);
  ls_view_release(iView);
  ls_replica_close(iReplica);
  snprintf(z, sizeof(z), "%s.1", zLog);
  CHECK_INT(unlink(z), 0);
  snprintf(z, sizeof(z), "%s.lock", zLog);
  CHECK_INT(unlink(z), 0);
  CHECK_EMPTY();
}

static void commitFails(void){ commitWithoutLast(0); }
static void prepareFails(void){ commitWithoutLast(1); }

int main(void){
  const char *zTemp = getenv("TMPDIR");
  snprintf(zFolder, sizeof(zFolder), "%s/memory_test.XXXXXX", zTemp ? zTemp : "/tmp");
  NEED(mkdtemp(zFolder)!=NULL);
  snprintf(zLog, sizeof(zLog), "%s/log", zFolder);
  coreBegin(&core);
  RUN("a commit fails whose last page found no room", commitFails);
  RUN("so does the first of its two phases", prepareFails);
  coreEnd(&core);
  rmdir(zFolder);
  return finish();
}
