/*
** Page maps and views, without a reader.
*/
#include <malloc.h>
#include "harness.h"

static int iCore, iReplica;

static uint32_t *range(uint32_t iFirst, uint32_t iLast, uint32_t iSkip, uint32_t *pn){
  uint32_t *a = malloc(sizeof(uint32_t)*(iLast-iFirst+1));
  uint32_t i, n = 0;
  NEED(a!=NULL);
  for(i=iFirst; i<=iLast; i++) if( i!=iSkip ) a[n++] = i;
  *pn = n;
  return a;
}

/* An object with pages iFirst … iLast but iSkip. */
static int object(uint32_t szPage, uint32_t iCommit, int bSnapshot, uint32_t iFirst, uint32_t iLast, uint32_t iSkip){
  uint32_t n;
  uint32_t *a = range(iFirst, iLast, iSkip, &n);
  LtxFile *p = ltxIndexOnly(szPage, iCommit, bSnapshot, a, n, 40);
  int iObject = ltxObject(p, iReplica, 1000);
  ltxFree(p);
  free(a);
  return iObject;
}
static int onePage(uint32_t szPage, uint32_t iCommit, uint32_t iPgno){
  return object(szPage, iCommit, 0, iPgno, iPgno, 0);
}

static void apply(int iMap, int iObject){
  int i = 0;
  do i = ls_map_apply(iMap, iObject, i, 700); while( i>0 );
  CHECK_INT(i, 0);
}

static int viewOf(int iMap, uint32_t iCommit){
  return ls_map_view(iMap, iReplica, 1, iCommit, (uint32_t)ls_stamp(), 0);
}

/* The object that a view has a page in; 0 for none. */
static int at(int iView, uint32_t iPgno){
  uint32_t a[3];
  return ls_view_locate(iView, iPgno, a)==0 ? (int)a[0] : 0;
}

static uint32_t census(int i){
  uint32_t a[8];
  ls_census(a, 8);
  return a[i];
}
#define OBJECTS 1
#define CHUNKS 3

static const char *fault(void){
  static char z[256];
  int n = ls_fault((uint8_t*)z, 255);
  z[n] = 0;
  return z;
}

static void overlay(void){
  int iBase = object(512, 3000, 1, 1, 3000, 0);
  int iOver = object(512, 3000, 0, 1000, 1100, 1050);
  int iMap = ls_map_new(0, 512), iFirst, iSecond;
  uint32_t aFrame[4];
  apply(iMap, iBase);
  iFirst = viewOf(iMap, 3000);
  CHECK(iFirst>0);
  CHECK_INT(ls_map_free(iMap), LS_MISUSE);        /* used up */
  iMap = ls_map_new(iFirst, 512);
  apply(iMap, iOver);
  iSecond = viewOf(iMap, 3000);
  CHECK_INT(at(iFirst, 1000), iBase);
  CHECK_INT(at(iSecond, 999), iBase);
  CHECK_INT(at(iSecond, 1000), iOver);
  CHECK_INT(at(iSecond, 1050), iBase);
  CHECK_INT(at(iSecond, 1100), iOver);
  CHECK_INT(at(iSecond, 1101), iBase);
  CHECK_INT(at(iSecond, 3001), 0);
  CHECK_INT(at(iSecond, 0), 0);
  CHECK_INT(ls_object_refs(iBase), 3);
  CHECK_INT(ls_object_frames(iBase, iFirst, 999, 1, aFrame), 1);
  CHECK(aFrame[0]==1000 && aFrame[3]==1);
  CHECK_INT(ls_object_frames(iBase, iSecond, 999, 1, aFrame), 1);
  CHECK(aFrame[0]==1000 && aFrame[3]==0);         /* the other view has it elsewhere */
  ls_view_release(iFirst);
  CHECK_INT(ls_object_refs(iBase), 2);
  ls_view_release(iSecond);
  CHECK_INT(ls_object_refs(iBase), 1);
  ls_object_free(iBase);
  ls_object_free(iOver);
  CHECK_EMPTY();
}

static void sharing(void){
  int iBase = object(512, 10240, 1, 1, 10240, 0);
  int iOver = onePage(512, 10240, 5000);
  int iMap = ls_map_new(0, 512), aView[50], i;
  apply(iMap, iBase);
  aView[0] = viewOf(iMap, 10240);
  CHECK_INT(census(CHUNKS), 10);
  for(i=1; i<50; i++){
    iMap = ls_map_new(aView[i-1], 512);
    apply(iMap, iOver);
    aView[i] = viewOf(iMap, 10240);
    CHECK_INT(census(CHUNKS), 10+i);             /* one copied, nine shared */
  }
  for(i=0; i<50; i+=2) ls_view_release(aView[i]);
  CHECK_INT(census(CHUNKS), 9+25);
  CHECK_INT(at(aView[49], 5000), iOver);
  CHECK_INT(at(aView[49], 4999), iBase);
  for(i=1; i<50; i+=2) ls_view_release(aView[i]);
  CHECK_INT(census(CHUNKS), 0);
  iMap = ls_map_new(0, 512);
  apply(iMap, iBase);
  CHECK_INT(census(CHUNKS), 10);
  CHECK_INT(ls_map_free(iMap), 0);
  ls_object_free(iBase);
  ls_object_free(iOver);
  CHECK_EMPTY();
}

static void shrinkAndGrow(void){
  int iBase = object(512, 5000, 1, 1, 5000, 0);
  int iCut = onePage(512, 1500, 1);
  int iGrown = object(512, 2600, 0, 1501, 2600, 0);
  int iMap = ls_map_new(0, 512), iFirst, iSecond, iThird;
  apply(iMap, iBase);
  iFirst = viewOf(iMap, 5000);
  iMap = ls_map_new(iFirst, 512);
  apply(iMap, iCut);
  CHECK_INT(ls_map_truncate(iMap, 1500), 0);
  iSecond = viewOf(iMap, 1500);
  CHECK_INT(at(iSecond, 1500), iBase);
  CHECK_INT(at(iSecond, 1501), 0);
  iMap = ls_map_new(iSecond, 512);
  CHECK_INT(viewOf(iMap, 1501), LS_FORMAT);      /* what was cut off never comes back */
  CHECK_TEXT(fault(), "page 1501 of 1501 is in no file");
  apply(iMap, iGrown);
  iThird = viewOf(iMap, 2600);
  CHECK_INT(at(iThird, 1500), iBase);
  CHECK_INT(at(iThird, 1501), iGrown);
  CHECK_INT(at(iThird, 2600), iGrown);
  CHECK_INT(at(iFirst, 1501), iBase);            /* the old view is as it was */
  CHECK_INT(at(iFirst, 5000), iBase);
  ls_view_release(iFirst);
  ls_view_release(iSecond);
  ls_view_release(iThird);
  ls_object_free(iBase);
  ls_object_free(iCut);
  ls_object_free(iGrown);
  CHECK_EMPTY();
}

static void missingPage(void){
  int iBase = object(512, 2500, 0, 1, 2500, 2048);
  int iMap = ls_map_new(0, 512), iView, iPatch;
  apply(iMap, iBase);
  CHECK_INT(viewOf(iMap, 2500), LS_FORMAT);
  CHECK_TEXT(fault(), "page 2048 of 2500 is in no file");
  CHECK_INT(viewOf(iMap, 0), LS_FORMAT);
  CHECK_TEXT(fault(), "no pages");
  ls_map_free(iMap);
  iMap = ls_map_new(0, 512);                     /* a map that was refused stays, and can be completed */
  apply(iMap, iBase);
  CHECK_INT(viewOf(iMap, 2500), LS_FORMAT);
  iPatch = onePage(512, 2500, 2048);
  apply(iMap, iPatch);
  iView = viewOf(iMap, 2500);
  CHECK(iView>0);
  CHECK_INT(at(iView, 2048), iPatch);
  ls_view_release(iView);
  ls_object_free(iBase);
  ls_object_free(iPatch);
  CHECK_EMPTY();
}

/* As many pages as there should be, but one past the end in place of one that is missing. */
static void missingPageMadeUpFor(void){
  int iBase = object(512, 10, 0, 1, 10, 5);
  int iBeyond = onePage(512, 11, 11);
  int iMap = ls_map_new(0, 512);
  apply(iMap, iBase);
  apply(iMap, iBeyond);
  CHECK_INT(viewOf(iMap, 10), LS_FORMAT);
  CHECK_TEXT(fault(), "page 5 of 10 is in no file");
  ls_map_free(iMap);
  ls_object_free(iBase);
  ls_object_free(iBeyond);
  CHECK_EMPTY();
}

static void lockPage(void){
  uint32_t iLock = lsLockPage(65536);
  uint32_t aFrame[4];
  int iBase, iMap, iView;
  CHECK_INT(iLock, 16385);
  CHECK_INT(lsLockPage(4096), 262145);
  iBase = object(65536, 16390, 1, 1, 16390, iLock);
  CHECK(iBase>0);
  CHECK_INT(ls_object_count(iBase), 16389);
  CHECK_INT(ls_object_frames(iBase, 0, 16383, 1, aFrame), 1);
  CHECK_INT(aFrame[0], 16384);
  CHECK_INT(ls_object_frames(iBase, 0, 16384, 1, aFrame), 1);
  CHECK_INT(aFrame[0], 16386);
  iMap = ls_map_new(0, 65536);
  apply(iMap, iBase);
  iView = viewOf(iMap, 16390);
  CHECK(iView>0);
  CHECK_INT(at(iView, iLock), 0);
  CHECK_INT(at(iView, iLock-1), iBase);
  CHECK_INT(at(iView, iLock+1), iBase);
  CHECK_INT(at(iView, 16390), iBase);
  ls_view_release(iView);
  ls_object_free(iBase);
  CHECK_INT(object(65536, 16390, 1, 1, 16390, 0), LS_FORMAT);      /* a frame for the lock page */
  CHECK_TEXT(fault(), "not page 16385");
  CHECK_EMPTY();
}

/* The lock page begins a chunk of the page map: a database that ends with it has a chunk without a page. */
static void lockPageLast(void){
  static const uint32_t aSize[] = {512, 4096, 65536};
  size_t i;
  for(i=0; i<3; i++){
    uint32_t iLock = lsLockPage(aSize[i]);
    int iBase, iMap, iView, iNext;
    if( aSize[i]==512 && !getenv("LONG") ) continue;               /* two million pages */
    iBase = object(aSize[i], iLock, 1, 1, iLock-1, 0);
    CHECK(iBase>0);
    iMap = ls_map_new(0, (int)aSize[i]);
    apply(iMap, iBase);
    iView = viewOf(iMap, iLock);
    CHECK(iView>0);
    CHECK_INT(at(iView, iLock), 0);
    CHECK_INT(at(iView, iLock-1), iBase);
    iMap = ls_map_new(iView, (int)aSize[i]);
    iNext = onePage(aSize[i], iLock+1, iLock+1);
    apply(iMap, iNext);
    ls_view_release(iView);
    iView = viewOf(iMap, iLock+1);
    CHECK_INT(at(iView, iLock+1), iNext);
    ls_view_release(iView);
    ls_object_free(iBase);
    ls_object_free(iNext);
  }
  CHECK_EMPTY();
}

static void pruning(void){
  int aObject[40], i, iView = 0, iPrevious = 0;
  aObject[0] = object(512, 100, 1, 1, 100, 0);
  for(i=0; i<40; i++){
    int iMap = ls_map_new(iPrevious, 512);
    if( i>0 ) aObject[i] = onePage(512, 100, i%2 ? 1 : 2);
    apply(iMap, aObject[i]);
    iView = viewOf(iMap, 100);
    if( iPrevious ) ls_view_release(iPrevious);
    iPrevious = iView;
  }
  for(i=0; i<40; i++) CHECK_INT(ls_object_refs(aObject[i]), i==0 || i>=38 ? 2 : 1);
  for(i=0; i<40; i++) ls_object_free(aObject[i]);
  CHECK_INT(census(OBJECTS), 3);                 /* the view's */
  CHECK_INT(at(iView, 1), aObject[39]);
  CHECK_INT(at(iView, 3), aObject[0]);
  ls_view_release(iView);
  CHECK_EMPTY();
}

/* An index of one entry may name any page: it must not cost a page map of all those before. */
static void sparse(void){
  int iObject = onePage(65536, 0xfffffffeu, 0xfffffffeu);
  int iMap = ls_map_new(0, 65536);
  CHECK(iObject>0);
  apply(iMap, iObject);
  CHECK_INT(census(CHUNKS), 1);
  CHECK_INT(viewOf(iMap, 0xfffffffeu), LS_FORMAT);
  CHECK_TEXT(fault(), "page 1 of 4294967294");
  CHECK_INT(viewOf(iMap, 0xffffffffu), LS_FORMAT);
  CHECK_INT(ls_map_truncate(iMap, 0xffffffffu), 0);
  CHECK_INT(census(CHUNKS), 1);
  CHECK_INT(ls_map_truncate(iMap, 5), 0);
  CHECK_INT(census(CHUNKS), 0);
  CHECK_INT(ls_map_free(iMap), 0);
  ls_object_free(iObject);
  CHECK_EMPTY();
}

static void otherPageSize(void){
  int iSmall = object(512, 10, 1, 1, 10, 0), iLarge = object(1024, 10, 1, 1, 10, 0);
  int iMap = ls_map_new(0, 512), iView, iOther;
  CHECK_INT(ls_map_apply(iMap, iLarge, 0, 10), LS_MISUSE);
  apply(iMap, iSmall);
  iView = viewOf(iMap, 10);
  CHECK_INT(ls_map_new(iView, 1024), LS_MISUSE);
  iMap = ls_map_new(0, 1024);
  apply(iMap, iLarge);
  iOther = ls_map_view(iMap, iReplica, 1, 10, 77, 0);
  CHECK_INT(ls_view_relocate(iView, iOther), LS_MISUSE);
  ls_view_release(iView);
  ls_view_release(iOther);
  ls_object_free(iSmall);
  ls_object_free(iLarge);
  CHECK_EMPTY();
}

static void circle(void){
  int iObject = object(512, 10, 1, 1, 10, 0), aView[3], i;
  for(i=0; i<3; i++){
    int iMap = ls_map_new(0, 512);
    apply(iMap, iObject);
    aView[i] = ls_map_view(iMap, iReplica, 1, 10, 5, 0);
  }
  CHECK_INT(ls_view_relocate(aView[0], aView[0]), LS_MISUSE);
  CHECK_INT(ls_view_relocate(aView[0], aView[1]), 0);
  CHECK_INT(ls_view_relocate(aView[1], aView[2]), 0);
  CHECK_INT(ls_view_relocate(aView[2], aView[0]), LS_MISUSE);
  CHECK_INT(ls_view_relocate(aView[0], aView[2]), 0);               /* elsewhere again */
  for(i=0; i<3; i++) ls_view_release(aView[i]);
  ls_object_free(iObject);
  CHECK_EMPTY();
}

/* Two readers hold views of one content, the second's being where the first's led to; the first one asks. */
static void everybodyIsLed(void){
  int aObject[3], aView[3], i;
  uint32_t aWhere[3];
  for(i=0; i<3; i++){
    int iMap = ls_map_new(0, 512);
    aObject[i] = object(512, 10, 1, 1, 10, 0);
    apply(iMap, aObject[i]);
    aView[i] = ls_map_view(iMap, iReplica, 1, 10, 5, 0);
  }
  CHECK_INT(ls_view_relocate(aView[0], aView[1]), 0);
  CHECK_INT(ls_view_relocate(aView[0], aView[2]), 0);
  for(i=0; i<3; i++){
    CHECK_INT(ls_view_locate(aView[i], 1, aWhere), 0);
    CHECK_INT(aWhere[0], aObject[2]);
  }
  for(i=0; i<3; i++) ls_view_release(aView[i]);
  for(i=0; i<3; i++) ls_object_free(aObject[i]);
  CHECK_EMPTY();
}

/* Handles are reused; frame ids too, so that years of compaction do not use them up. */
/* More maps at once than one block of them has, as when very many replicas are opened in one process. */
static void manyMaps(void){
  int iObject = object(512, 10, 1, 1, 10, 0), aMap[1000], aView[1000], i, k;
  for(i=0; i<1000; i++){
    aMap[i] = ls_map_new(0, 512);
    CHECK(aMap[i]>0);
    for(k=0; k<i; k+=97) CHECK(aMap[k]!=aMap[i]);
  }
  for(i=0; i<1000; i++) apply(aMap[i], iObject);
  for(i=0; i<1000; i++){
    aView[i] = viewOf(aMap[i], 10);
    CHECK(aView[i]>0);
    CHECK_INT(at(aView[i], 10), iObject);
  }
  CHECK_INT(ls_object_refs(iObject), 1001);
  for(i=0; i<1000; i++) CHECK_INT(ls_view_release(aView[i]), 0);
  CHECK_INT(ls_object_free(iObject), 0);
  CHECK_INT(ls_map_new(0, 512), aMap[0]);         /* the first place again */
  CHECK_INT(ls_map_free(aMap[0]), 0);
}

/* Thousands of files make up a view, then the next one; some of them twice, and in two maps at once. */
static void manyObjects(void){
  enum { N = 5000 };
  static int aObject[N+2];
  int i, iMap = ls_map_new(0, 512), iOther = ls_map_new(0, 512), iView, iNext, iOtherView;
  uint32_t nObject = census(OBJECTS);
  for(i=0; i<N; i++) aObject[i] = onePage(512, N, 1+(uint32_t)i);
  for(i=0; i<N; i++) apply(iMap, aObject[i]);
  for(i=N-1; i>=0; i--) apply(iOther, aObject[i]);
  for(i=0; i<N; i+=50) apply(iMap, aObject[i]);
  iView = viewOf(iMap, N);
  CHECK(iView>0);
  aObject[N] = object(512, N, 0, 101, 1100, 0);
  aObject[N+1] = onePage(512, N, 101);
  iMap = ls_map_new(iView, 512);
  apply(iMap, aObject[N]);
  apply(iMap, aObject[N+1]);
  iNext = viewOf(iMap, N);
  iOtherView = viewOf(iOther, N);
  for(i=0; i<N; i++){
    CHECK_INT(at(iView, 1+(uint32_t)i), aObject[i]);
    CHECK_INT(at(iOtherView, 1+(uint32_t)i), aObject[i]);
    CHECK_INT(at(iNext, 1+(uint32_t)i), aObject[i==100 ? N+1 : i>=100 && i<1100 ? N : i]);
  }
  CHECK_INT(ls_object_refs(aObject[99]), 4);
  CHECK_INT(ls_object_refs(aObject[100]), 3);     /* the next view has nothing left of it */
  for(i=0; i<N+2; i++) CHECK_INT(ls_object_free(aObject[i]), 0);
  CHECK_INT(ls_view_release(iView), 0);
  CHECK_INT(ls_view_release(iNext), 0);
  CHECK_INT(ls_view_release(iOtherView), 0);
  CHECK_INT(census(OBJECTS), nObject);
}

static void reuse(void){
  int i, iFirst = 0;
  for(i=0; i<20000; i++){
    int iObject = onePage(512, 100, 1+(uint32_t)i%100);
    if( i==0 ) iFirst = iObject;
    CHECK_INT(iObject, iFirst);
    ls_object_free(iObject);
  }
  CHECK_EMPTY();
}

static void indexRefusals(void){
  static const struct { uint32_t iCommit, a[4]; int n, bSnapshot; const char *zWords; } aCase[] = {
    {4, {1,2,3,5}, 4, 0, "names page 5 after page 3"},
    {4, {1,3,2,4}, 4, 0, "names page 2 after page 3"},
    {4, {1,1,2,3}, 4, 0, "names page 1 after page 1"},
    {4, {1,2,4,0}, 3, 1, "snapshot names page 4, expected 3"},
    {4, {1,2,3,0}, 3, 1, "snapshot holds 3 pages, expected 4"},
  };
  size_t i;
  for(i=0; i<sizeof(aCase)/sizeof(aCase[0]); i++){
    LtxFile *p = ltxIndexOnly(512, aCase[i].iCommit, aCase[i].bSnapshot, aCase[i].a, (uint32_t)aCase[i].n, 40);
    CHECK_INT(ltxObject(p, iReplica, 1), LS_FORMAT);
    CHECK_TEXT(fault(), aCase[i].zWords);
    ltxFree(p);
  }
  CHECK_INT(ls_object_new(iReplica, 1000, 1, 0, 1000), LS_MISUSE);
  CHECK_INT(ls_object_new(iReplica, 256, 1, 0, 1000), LS_MISUSE);
  CHECK_INT(ls_object_new(iReplica, 131072, 1, 0, 1000), LS_MISUSE);
  CHECK_INT(ls_object_index(0, (const uint8_t*)"", 1, 1), LS_MISUSE);
  CHECK_EMPTY();
}

/* Bytes in use, where the allocator can tell; sanitizers replace it by one that cannot. */
static size_t bytesInUse(void){
  struct mallinfo2 m = mallinfo2();
  return m.uordblks + m.hblkhd;
}

/* What the arrays take by count, for a build where the allocator cannot tell. */
static void memory(void){
  uint32_t n = 1000000, i, nPgno;
  uint32_t *a = range(1, n, lsLockPage(4096), &nPgno);
  LtxFile *p = ltxIndexOnly(4096, n, 1, a, nPgno, 2000);
  LtxFile *pSparse;
  uint32_t nChunk;
  size_t iBefore, iAfter;
  double rCounted, rSeen;
  int iObject, iSparse, iMap, iView;
  iBefore = bytesInUse();
  iObject = ltxObject(p, iReplica, 100000);
  iMap = ls_map_new(0, 4096);
  apply(iMap, iObject);
  iView = viewOf(iMap, n);
  CHECK(iView>0);
  iAfter = bytesInUse();
  nChunk = census(CHUNKS);
  /* offset, run, base of 64, directory of 64; map */
  rCounted = 4+4+8.0/64+8.0/64 + (double)nChunk*(sizeof(LsChunk)+8)/n;
  rSeen = iAfter>iBefore ? (double)(iAfter-iBefore)/n : rCounted;
  printf("# %.2f bytes a page by count, %.2f as the allocator has it, at %u pages\n", rCounted, rSeen, n);
  CHECK(rCounted<=16 && rSeen<=16);
  /* Each page once more, in a file that is no snapshot: 4 bytes a frame for its page number. */
  pSparse = ltxIndexOnly(4096, n, 0, a+1, nPgno-1, 2000);
  iSparse = ltxObject(pSparse, iReplica, 100000);
  ls_view_release(iView);
  iMap = ls_map_new(0, 4096);
  apply(iMap, iObject);
  apply(iMap, iSparse);
  iView = viewOf(iMap, n);
  for(i=2; i<=n; i+=99991) CHECK_INT(at(iView, i), i==lsLockPage(4096) ? 0 : iSparse);
  ls_view_release(iView);
  ls_object_free(iObject);
  ls_object_free(iSparse);
  ltxFree(p);
  ltxFree(pSparse);
  free(a);
  CHECK_EMPTY();
}

/* All that ls_view_changed() tells, nMax at a time; and that it agrees with a look at every page. */
static uint32_t *changed(int iFrom, int iTo, int nMax, uint32_t *pn){
  uint64_t aFrom[LS_VIEW_WORDS], aTo[LS_VIEW_WORDS];
  uint32_t nPage, i, n = 0, nAt = 0;
  uint32_t *a;
  int nMore;
  NEED(ls_view_info(iFrom, aFrom)==0 && ls_view_info(iTo, aTo)==0);
  nPage = (uint32_t)(aFrom[1]>aTo[1] ? aFrom[1] : aTo[1]);
  a = malloc(sizeof(uint32_t)*(nPage+1));
  NEED(a!=NULL);
  do{
    nMore = ls_view_changed(iFrom, iTo, n ? a[n-1]+1 : 1, a+n, nMax<(int)(nPage-n) ? nMax : (int)(nPage-n));
    CHECK(nMore>=0 && nMore<=nMax);
    n += (uint32_t)(nMore>0 ? nMore : 0);
  }while( nMore>0 && n<nPage );
  for(i=1; i<=nPage; i++){
    uint32_t aOld[3] = {0,0,0}, aNew[3] = {0,0,0};
    ls_view_locate(iFrom, i, aOld);
    ls_view_locate(iTo, i, aNew);
    if( aOld[0]==aNew[0] && aOld[1]==aNew[1] ) continue;
    CHECK(nAt<n && a[nAt]==i);
    nAt++;
  }
  CHECK_INT(n, nAt);
  *pn = n;
  return a;
}

static uint32_t changedCount(int iFrom, int iTo, int nMax){
  uint32_t n, nBack;
  free(changed(iFrom, iTo, nMax, &n));
  free(changed(iTo, iFrom, nMax, &nBack));       /* the same whichever is the older */
  CHECK_INT(nBack, n);
  return n;
}

static void difference(void){
  int iBase = object(512, 5000, 1, 1, 5000, 0);
  int iOver = object(512, 5000, 0, 1000, 1100, 1050);
  int iGrown = object(512, 7500, 0, 5001, 7500, 0);
  int iMap = ls_map_new(0, 512), iView, iSame, iNext, iMore, iLess, iAgain, iOther;
  uint32_t *a, aOne[2], n;
  apply(iMap, iBase);
  iView = viewOf(iMap, 5000);
  iMap = ls_map_new(iView, 512);
  iSame = viewOf(iMap, 5000);                    /* every chunk shared */
  iMap = ls_map_new(iView, 512);
  apply(iMap, iOver);
  iNext = viewOf(iMap, 5000);
  iMap = ls_map_new(iNext, 512);
  apply(iMap, iGrown);
  iMore = viewOf(iMap, 7500);
  iMap = ls_map_new(iMore, 512);
  NEED(ls_map_truncate(iMap, 1020)==0);
  iLess = viewOf(iMap, 1020);
  iMap = ls_map_new(iMore, 512);
  NEED(ls_map_truncate(iMap, 5000)==0);
  iAgain = viewOf(iMap, 5000);                   /* what iNext has, through a view that was larger */
  iMap = ls_map_new(iMore, 512);
  NEED(ls_map_truncate(iMap, 4096)==0);
  iOther = viewOf(iMap, 4096);                   /* ends with a chunk */
  CHECK_INT(changedCount(iView, iView, 10), 0);
  CHECK_INT(changedCount(iView, iSame, 10), 0);
  CHECK_INT(changedCount(iView, iNext, 1), 100);
  CHECK_INT(changedCount(iView, iNext, 7), 100);
  CHECK_INT(changedCount(iNext, iMore, 1000), 2500);
  CHECK_INT(changedCount(iView, iMore, 99), 2600);
  CHECK_INT(changedCount(iMore, iLess, 1000), 7500-1020);
  CHECK_INT(changedCount(iView, iLess, 1000), 21+5000-1020);
  CHECK_INT(changedCount(iNext, iAgain, 10), 0);
  CHECK_INT(changedCount(iMore, iOther, 1000), 7500-4096);
  CHECK_INT(changedCount(iNext, iOther, 1000), 5000-4096);
  a = changed(iView, iNext, 1000, &n);
  CHECK_INT(a[0], 1000);
  CHECK_INT(a[49], 1049);
  CHECK_INT(a[50], 1051);
  CHECK_INT(a[99], 1100);
  free(a);
  CHECK_INT(ls_view_changed(iView, iNext, 1100, aOne, 2), 1);     /* from a page on */
  CHECK_INT(aOne[0], 1100);
  CHECK_INT(ls_view_changed(iView, iNext, 1101, aOne, 2), 0);
  CHECK_INT(ls_view_changed(iView, iNext, 5001, aOne, 2), 0);
  CHECK_INT(ls_view_changed(iView, iNext, UINT32_MAX, aOne, 2), 0);
  CHECK_INT(ls_view_changed(iView, iNext, 1, aOne, 0), 0);
  CHECK_INT(ls_view_changed(iView, iNext, 0, aOne, 2), LS_MISUSE);
  CHECK_INT(ls_view_changed(iView, 9999, 1, aOne, 2), LS_MISUSE);
  CHECK_INT(ls_view_changed(0, iView, 1, aOne, 2), LS_MISUSE);
  ls_view_release(iView);
  ls_view_release(iSame);
  ls_view_release(iNext);
  ls_view_release(iMore);
  ls_view_release(iLess);
  ls_view_release(iAgain);
  ls_view_release(iOther);
  ls_object_free(iBase);
  ls_object_free(iOver);
  ls_object_free(iGrown);
  CHECK_EMPTY();
}

/* The lock page is nowhere, so no view has it at another place. */
static void differenceAtLockPage(void){
  uint32_t iLock = lsLockPage(65536), aOut[8], i;
  int iBase = object(65536, iLock, 1, 1, iLock-1, 0);
  int iNext = onePage(65536, iLock+1, iLock+1);
  int iMap = ls_map_new(0, 65536), iShort, iLast, iPast;
  uint8_t *aPage = malloc(65536);
  NEED(aPage!=NULL);
  apply(iMap, iBase);
  iLast = viewOf(iMap, iLock);
  iMap = ls_map_new(iLast, 65536);
  apply(iMap, iNext);
  iPast = viewOf(iMap, iLock+1);
  iMap = ls_map_new(iLast, 65536);
  NEED(ls_map_truncate(iMap, iLock-1)==0);
  iShort = viewOf(iMap, iLock-1);
  CHECK_INT(ls_view_changed(iShort, iLast, 1, aOut, 8), 0);
  CHECK_INT(ls_view_changed(iLast, iPast, 1, aOut, 8), 1);
  CHECK_INT(aOut[0], iLock+1);
  CHECK_INT(ls_view_changed(iPast, iShort, 1, aOut, 8), 1);
  CHECK_INT(aOut[0], iLock+1);
  memset(aPage, 7, 65536);
  CHECK_INT(ls_view_page(iPast, iLock, aPage, 65536), 0);
  for(i=0; i<65536 && aPage[i]==0; i++){}
  CHECK_INT(i, 65536);
  CHECK_INT(ls_view_page(iPast, iLock-1, aPage, 65536), LS_BUSY);
  CHECK_INT(ls_view_page(iShort, iLock, aPage, 65536), LS_MISUSE);       /* past its end */
  ls_view_release(iShort);
  ls_view_release(iLast);
  ls_view_release(iPast);
  ls_object_free(iBase);
  ls_object_free(iNext);
  free(aPage);
  CHECK_EMPTY();
}

/* A state that was once the newest stays known as such wherever it lies. */
static void published(void){
  int iBase = object(512, 10, 1, 1, 10, 0);
  int iFirst, iSecond, iThird, iMap;
  uint64_t a[LS_PIN_WORDS];
  LsView *pFirst, *pThird;
  iMap = ls_map_new(0, 512);
  apply(iMap, iBase);
  iFirst = ls_map_view(iMap, iReplica, 5, 10, 77, 0);
  iMap = ls_map_new(iFirst, 512);
  iSecond = ls_map_view(iMap, iReplica, 5, 10, 77, 0);
  iMap = ls_map_new(iFirst, 512);
  iThird = ls_map_view(iMap, iReplica, 5, 10, 77, 0);
  pThird = lsViewPin(lsViewById((uint32_t)iThird));
  CHECK_INT(ls_view_relocate(iSecond, iThird), 0);
  CHECK_INT(ls_replica_pins(iReplica, a, 1), 1);
  CHECK(a[0]==5 && a[1]==77 && a[2]==1 && a[3]==0);
  CHECK_INT(ls_replica_pins(iReplica, a, 0), 0);
  CHECK_INT(ls_replica_pins(iReplica+1, a, 1), 0);
  pFirst = lsViewById((uint32_t)iFirst);
  atomic_store(&pFirst->bPublished, 1);          /* as ls_view_publish() does; the replica is closed */
  CHECK_INT(ls_view_relocate(iFirst, iThird), 0);
  CHECK_INT(ls_replica_pins(iReplica, a, 1), 1);
  CHECK_INT(a[3], 1);
  lsViewUnref(pFirst);
  ls_view_release(iFirst);
  ls_view_release(iSecond);
  lsViewUnpin(pThird);
  ls_view_release(iThird);
  ls_object_free(iBase);
  CHECK_EMPTY();
}

/* ------------------------------------------------------------------------------------------- runs that move */

#define MOVED_COMMIT 40

static void fillNumber(void *pArg, uint32_t iPgno, uint8_t *aPage, uint32_t szPage){
  (void)pArg;
  memset(aPage, (int)(iPgno*7+1), szPage);
}

/* A file with pages iFirst … iLast but iSkip, whose frames can be decoded, and its object. */
static LtxFile *filled(uint32_t szPage, uint32_t iFirst, uint32_t iLast, uint32_t iSkip, int *piObject){
  uint32_t n;
  uint32_t *a = range(iFirst, iLast, iSkip, &n);
  LtxFile *p = ltxBuild(szPage, MOVED_COMMIT, 0, a, n, fillNumber, NULL, ENCODE_BLOCK);
  *piObject = ltxObject(p, iReplica, 1000);
  NEED(*piObject>0);
  free(a);
  return p;
}

static uint64_t poolBytes(void){
  uint64_t n = 0;
  ls_pool_bytes(&n);
  return n;
}

/* Which of an object's frames are in the pool, as bits. */
static uint64_t cached(int iObject){
  uint32_t a[MOVED_COMMIT*4];
  int i, n = ls_object_frames(iObject, 0, 0, MOVED_COMMIT, a);
  uint64_t bits = 0;
  for(i=0; i<n; i++) if( a[i*4+2] ) bits |= 1ull<<i;
  return bits;
}

/* Whether a view has a page in the pool, with its own content. */
static int pageOf(int iView, uint32_t iPgno){
  uint8_t aPage[512], aWant[512];
  int rc = ls_view_page(iView, iPgno, aPage, 512);
  fillNumber(NULL, iPgno, aWant, 512);
  if( rc==0 ) CHECK(memcmp(aPage, aWant, 512)==0);
  return rc;
}

/* A view of pages 1 … MOVED_COMMIT in one object, or in a base under it. */
static int movedView(int iBase, int iObject){
  int iMap = ls_map_new(0, 512), iView;
  if( iBase ) apply(iMap, iBase);
  apply(iMap, iObject);
  iView = viewOf(iMap, MOVED_COMMIT);
  CHECK(iView>0);
  return iView;
}

static LsObject *objectOf(int iView, uint32_t iPgno, uint32_t *pk){
  LsView *p = lsViewById((uint32_t)iView);
  uint32_t iFrame = lsViewFrame(p, iPgno);
  LsObject *pObject = lsFrameObject(iFrame);
  *pk = iFrame - pObject->iFirst;
  lsViewUnref(p);
  return pObject;
}

static void moving(void){
  int iFrom, iTo, iViewFrom, iViewTo, iRun, i;
  LtxFile *pFrom = filled(512, 1, MOVED_COMMIT, 0, &iFrom);
  LtxFile *pTo = filled(512, 3, MOVED_COMMIT, 0, &iTo);      /* frame k is page k+3 */
  iViewFrom = movedView(0, iFrom);
  iViewTo = movedView(iFrom, iTo);
  iRun = ltxLoad(pFrom, iFrom, 9, 5);                        /* pages 10 … 14 */
  CHECK(iRun>0);
  ls_run_touched(iRun);
  CHECK_INT(ls_run_move(iRun, iTo, 7), 0);
  CHECK_INT(cached(iFrom), 0);
  CHECK_INT(cached(iTo), 0x1full<<7);
  CHECK_INT(poolBytes(), 5*512);
  CHECK_INT(census(2), 1);
  for(i=10; i<15; i++){
    CHECK_INT(pageOf(iViewFrom, (uint32_t)i), LS_BUSY);
    CHECK_INT(pageOf(iViewTo, (uint32_t)i), 0);
  }
  CHECK_INT(pageOf(iViewTo, 9), LS_BUSY);
  CHECK_INT(pageOf(iViewTo, 15), LS_BUSY);
  CHECK_INT(ls_run_touched(iRun), 1);                        /* asked for where it is now */
  CHECK_INT(ls_run_move(iRun, iFrom, 9), 0);                 /* and back */
  CHECK_INT(cached(iFrom), 0x1full<<9);
  CHECK_INT(cached(iTo), 0);
  CHECK_INT(pageOf(iViewFrom, 12), 0);
  CHECK_INT(ls_run_move(iRun, iTo, 7), 0);
  CHECK_INT(ls_run_free(iRun), 0);
  CHECK_INT(cached(iTo), 0);
  CHECK_INT(poolBytes(), 0);
  CHECK_INT(census(2), 0);
  CHECK_INT(ls_run_move(iRun, iFrom, 9), LS_MISUSE);         /* freed */
  iRun = ltxLoad(pFrom, iFrom, 9, 5);                        /* where it was before is free to load again */
  CHECK(iRun>0);
  CHECK_INT(ls_run_free(iRun), 0);
  iRun = ltxLoad(pTo, iTo, MOVED_COMMIT-3, 1);               /* the last frame of both */
  CHECK_INT(ls_run_move(iRun, iFrom, MOVED_COMMIT-1), 0);
  CHECK_INT(pageOf(iViewFrom, MOVED_COMMIT), 0);
  CHECK_INT(ls_run_free(iRun), 0);
  ls_view_release(iViewFrom);
  ls_view_release(iViewTo);
  ls_object_free(iFrom);
  ls_object_free(iTo);
  ltxFree(pFrom);
  ltxFree(pTo);
  CHECK_EMPTY();
}

/* A reader that has the run pinned, at each of its frames: nothing moves, and its page stays what it was. */
static void movingPinned(void){
  int iFrom, iTo, iView, iRun;
  LtxFile *pFrom = filled(512, 1, MOVED_COMMIT, 0, &iFrom);
  LtxFile *pTo = filled(512, 1, MOVED_COMMIT, 0, &iTo);
  LtxFile *pThird = filled(512, 2, MOVED_COMMIT, 0, &iRun);
  int iThird = iRun;
  uint32_t iPgno;
  iView = movedView(0, iFrom);
  iRun = ltxLoad(pFrom, iFrom, 9, 5);
  for(iPgno=10; iPgno<15; iPgno++){
    uint32_t k;
    LsObject *pObject = objectOf(iView, iPgno, &k);
    LsRun *pRun = lsPin(pObject, k);
    uint8_t aWant[512];
    NEED(pRun!=NULL);
    fillNumber(NULL, iPgno, aWant, 512);
    CHECK_INT(ls_run_move(iRun, iTo, 9), LS_BUSY);
    CHECK_INT(cached(iFrom), 0x1full<<9);
    CHECK_INT(cached(iTo), 0);
    CHECK(memcmp(lsRunPage(pRun, k), aWant, 512)==0);
    lsUnpin(pRun);
    CHECK_INT(pageOf(iView, iPgno), 0);
  }
  /* One of the frames it would stand for is there already: at either end and in between. */
  for(iPgno=10; iPgno<15; iPgno+=2){
    int iOther = ltxLoad(pTo, iTo, (int)iPgno-1, 1);
    CHECK(iOther>0);
    CHECK_INT(ls_run_move(iRun, iTo, 9), LS_BUSY);
    CHECK_INT(cached(iFrom), 0x1full<<9);
    CHECK_INT(cached(iTo), 1ull<<(iPgno-1));
    CHECK_INT(pageOf(iView, 12), 0);
    CHECK_INT(poolBytes(), 6*512);
    CHECK_INT(ls_run_free(iOther), 0);
  }
  CHECK_INT(ls_run_move(iRun, iTo, 9), 0);                   /* nothing of all that is left in the way */
  CHECK_INT(ls_run_move(iRun, iThird, 8), 0);
  CHECK_INT(cached(iTo), 0);
  CHECK_INT(cached(iThird), 0x1full<<8);
  ls_view_release(iView);
  ls_object_free(iFrom);
  ls_object_free(iTo);
  CHECK_INT(poolBytes(), 5*512);
  ls_object_free(iThird);                                    /* with all that has moved there */
  ltxFree(pFrom);
  ltxFree(pTo);
  ltxFree(pThird);
  CHECK_EMPTY();
}

static void movingRefused(void){
  int iFrom, iTo, iHoles, iShort, iLarge, iOpen, iRun, iOther;
  LtxFile *pFrom = filled(512, 1, MOVED_COMMIT, 0, &iFrom);
  LtxFile *pTo = filled(512, 1, MOVED_COMMIT, 0, &iTo);
  LtxFile *pHoles = filled(512, 1, MOVED_COMMIT, 12, &iHoles);   /* frame 11 is page 13 */
  LtxFile *pShort = filled(512, 1, 12, 0, &iShort);
  LtxFile *pLarge = filled(1024, 1, MOVED_COMMIT, 0, &iLarge);
  iOpen = ls_object_new(iReplica, 512, MOVED_COMMIT, 0, pTo->nByte);
  iOther = ltxObject(pTo, iReplica+1, 1000);
  iRun = ltxLoad(pFrom, iFrom, 9, 5);
  CHECK_INT(ls_run_move(iRun, iTo, 8), LS_MISUSE);           /* other pages */
  CHECK_INT(ls_run_move(iRun, iTo, 10), LS_MISUSE);
  CHECK_INT(ls_run_move(iRun, iHoles, 9), LS_MISUSE);        /* the same first page, not the same all along */
  CHECK_INT(ls_run_move(iRun, iLarge, 9), LS_MISUSE);        /* another page size */
  CHECK_INT(ls_run_move(iRun, iTo, -1), LS_MISUSE);          /* out of range */
  CHECK_INT(ls_run_move(iRun, iShort, 9), LS_MISUSE);
  CHECK_INT(ls_run_move(iRun, iTo, MOVED_COMMIT-4), LS_MISUSE);
  CHECK_INT(ls_run_move(iRun, iTo, MOVED_COMMIT), LS_MISUSE);
  CHECK_INT(ls_run_move(iRun, iTo, 0x7fffffff), LS_MISUSE);
  CHECK_INT(ls_run_move(iRun, iFrom, 9), LS_MISUSE);         /* where it is */
  CHECK_INT(ls_run_move(iRun, iOpen, 9), LS_MISUSE);         /* its index is not read */
  CHECK_INT(ls_run_move(iRun, iOther, 9), LS_MISUSE);        /* another replica's */
  CHECK_INT(ls_run_move(0, iTo, 9), LS_MISUSE);              /* no such handles */
  CHECK_INT(ls_run_move(-1, iTo, 9), LS_MISUSE);
  CHECK_INT(ls_run_move(iRun+1, iTo, 9), LS_MISUSE);
  CHECK_INT(ls_run_move(0x7fffffff, iTo, 9), LS_MISUSE);
  CHECK_INT(ls_run_move(iRun, 0, 9), LS_MISUSE);
  CHECK_INT(ls_run_move(iRun, -1, 9), LS_MISUSE);
  CHECK_INT(ls_run_move(iRun, 9999, 9), LS_MISUSE);
  CHECK_INT(cached(iFrom), 0x1full<<9);
  CHECK_INT(cached(iTo), 0);
  CHECK_INT(cached(iHoles), 0);
  CHECK_INT(cached(iShort), 0);
  CHECK_INT(poolBytes(), 5*512);
  CHECK_INT(ls_run_move(iRun, iTo, 9), 0);
  ls_object_free(iFrom);
  ls_object_free(iTo);
  ls_object_free(iHoles);
  ls_object_free(iShort);
  ls_object_free(iLarge);
  ls_object_free(iOpen);
  ls_object_free(iOther);
  ltxFree(pFrom);
  ltxFree(pTo);
  ltxFree(pHoles);
  ltxFree(pShort);
  ltxFree(pLarge);
  CHECK_EMPTY();
}

/* The object it came from goes, handle and frame ids are used again, and the pages stay with the new one. */
static void movingOut(void){
  int iFrom, iTo, iAgain, iView, i, aRun[3];
  LtxFile *pFrom = filled(512, 1, MOVED_COMMIT, 0, &iFrom);
  LtxFile *pTo = filled(512, 1, MOVED_COMMIT, 0, &iTo);
  for(i=0; i<3; i++) aRun[i] = ltxLoad(pFrom, iFrom, i*8, 8);
  CHECK_INT(ls_run_move(aRun[0], iTo, 0), 0);
  CHECK_INT(ls_run_move(aRun[2], iTo, 16), 0);
  CHECK_INT(poolBytes(), 24*512);
  CHECK_INT(ls_object_free(iFrom), 0);                       /* with the run in the middle */
  CHECK_INT(poolBytes(), 16*512);
  CHECK_INT(census(2), 2);
  ltxFree(pFrom);
  pFrom = filled(512, 1, MOVED_COMMIT, 0, &iAgain);
  CHECK_INT(iAgain, iFrom);
  CHECK_INT(cached(iAgain), 0);
  CHECK_INT(cached(iTo), 0xff00ffull);
  iView = movedView(0, iTo);
  for(i=1; i<=24; i++) CHECK_INT(pageOf(iView, (uint32_t)i), i>8 && i<=16 ? LS_BUSY : 0);
  CHECK_INT(ls_object_free(iTo), 0);                         /* the view has it still */
  CHECK_INT(pageOf(iView, 20), 0);
  CHECK_INT(poolBytes(), 16*512);
  ls_view_release(iView);
  CHECK_INT(poolBytes(), 0);
  CHECK_INT(census(2), 0);
  ls_object_free(iAgain);
  ltxFree(pFrom);
  ltxFree(pTo);
  CHECK_EMPTY();
}

int main(void){
  iCore = ls_core_start();
  iReplica = ls_replica_new(iCore, 1000);
  NEED(iReplica>0);
  /* CHECK_EMPTY() wants no replica: objects and views only carry its number */
  NEED(ls_replica_close(iReplica)==0);
  RUN("ls_map_apply() lays later frames over earlier ones", overlay);
  RUN("ls_map_new() shares the chunks that do not change", sharing);
  RUN("ls_map_truncate() cuts for good, and a map grows again", shrinkAndGrow);
  RUN("ls_map_view() refuses a map that lacks a page", missingPage);
  RUN("ls_map_view() is not deceived by a page past the end", missingPageMadeUpFor);
  RUN("ls_map_view() leaves the lock page out", lockPage);
  RUN("ls_map_view() takes a database that ends with the lock page", lockPageLast);
  RUN("ls_map_view() drops objects without a live page", pruning);
  RUN("ls_map_apply() of one far page costs one chunk", sparse);
  RUN("ls_map_apply() and ls_map_new() refuse another page size", otherPageSize);
  RUN("ls_view_relocate() refuses a circle", circle);
  RUN("ls_view_relocate() leads who holds the view that another one led to", everybodyIsLed);
  RUN("ls_map_new() gives as many maps as are wanted at once", manyMaps);
  RUN("ls_map_apply() finds each of thousands of objects, in two maps at once", manyObjects);
  RUN("ls_object_free() gives handle and frame ids back", reuse);
  RUN("ls_object_index() refuses what breaks the order", indexRefusals);
  RUN("ls_view_changed() tells the pages at other places, and no others", difference);
  RUN("ls_view_changed() and ls_view_page() know the lock page", differenceAtLockPage);
  RUN("ls_replica_pins() knows a state that was the newest wherever it lies", published);
  RUN("ls_run_move() has pages stand for another object's frames", moving);
  RUN("ls_run_move() leaves all as it was while a reader copies or a frame is there already", movingPinned);
  RUN("ls_run_move() refuses other pages, page sizes, replicas and handles", movingRefused);
  RUN("ls_run_move() leaves nothing behind: pages go with the object they moved to", movingOut);
  RUN("R11: a million pages take at most 16 bytes each", memory);
  return finish();
}
