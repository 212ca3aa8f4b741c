/*
** Damaged bytes: each decoder answers LS_FORMAT, or what is right; it never reads past its input.
**
** Every input lies in a buffer of exactly its size, so that the address sanitizer sees a byte too far. SEED chooses the
** mutations, ROUNDS their number (all decoders together); LONG=1 makes it a million.
*/
#include "harness.h"

#define PAGES_MAX 12

static uint64_t seed;
static int iReplica;
static int nAccepted, nRefused;

/* A page that compresses, or noise, or nothing, by its number. */
static void fillPage(void *pArg, uint32_t iPgno, uint8_t *aPage, uint32_t szPage){
  uint64_t r = iPgno*77777ull+1;
  uint32_t i;
  (void)pArg;
  for(i=0; i<szPage; i++){
    switch( iPgno%3 ){
      case 0: aPage[i] = (uint8_t)(i%7); break;
      case 1: aPage[i] = (uint8_t)randomNext(&r); break;
      default: aPage[i] = i%50==0 ? (uint8_t)iPgno : 0; break;
    }
  }
}

/* A small file; half of them snapshots. */
static LtxFile *makeFile(void){
  static const uint32_t aSize[] = {512, 512, 1024, 4096};
  uint32_t aPgno[PAGES_MAX], n = 1+randomBelow(&seed, PAGES_MAX-1), i, iPgno = 0;
  int bSnapshot = (int)randomBelow(&seed, 2);
  for(i=0; i<n; i++) aPgno[i] = iPgno += bSnapshot ? 1 : 1+randomBelow(&seed, 300);
  return ltxBuild(aSize[randomBelow(&seed, 4)], bSnapshot ? n : iPgno+randomBelow(&seed, 3), bSnapshot, aPgno, n, fillPage, NULL,
    (int)randomBelow(&seed, 2));
}

/* A damaged copy in a buffer of its own size, which is never 0. */
static uint8_t *damaged(const uint8_t *a, size_t n, size_t *pn){
  uint8_t *aOut = malloc(n*2+16), *aExact;
  size_t nOut = n;
  int i, nChange = 1+(int)randomBelow(&seed, 3);
  NEED(aOut!=NULL);
  memcpy(aOut, a, n);
  for(i=0; i<nChange; i++){
    uint32_t iAt = randomBelow(&seed, (uint32_t)nOut), k;
    switch( randomBelow(&seed, 8) ){
      case 0: aOut[iAt] ^= (uint8_t)(1u<<randomBelow(&seed, 8)); break;
      case 1: aOut[iAt] = (uint8_t)randomNext(&seed); break;
      case 2: aOut[iAt] = randomBelow(&seed, 2) ? 0xff : 0; break;
      case 3: aOut[iAt] = (uint8_t)(aOut[iAt]+1); break;
      case 4: nOut = iAt>0 ? iAt : 1; break;                                    /* cut */
      case 5:                                                                   /* a piece moved over another */
        k = randomBelow(&seed, (uint32_t)nOut);
        memmove(aOut+iAt, aOut+k, (nOut-(iAt>k ? iAt : k))/2);
        break;
      case 6:                                                                   /* longer */
        if( nOut+8<n*2 ) for(k=randomBelow(&seed, 8); k>0; k--) aOut[nOut++] = (uint8_t)randomNext(&seed);
        break;
      default:                                                                  /* a run of noise, or all ones */
        for(k=iAt; k<nOut && k<iAt+8; k++) aOut[k] = randomBelow(&seed, 2) ? 0xff : (uint8_t)randomNext(&seed);
        break;
    }
  }
  aExact = malloc(nOut);
  NEED(aExact!=NULL);
  memcpy(aExact, aOut, nOut);
  free(aOut);
  *pn = nOut;
  return aExact;
}

static void judged(int rc){
  if( rc<0 ) nRefused++; else nAccepted++;
}

/* What an index that was accepted must fulfil, whatever its bytes were. */
static void checkIndex(const LtxFile *p, int iObject, uint64_t nByte){
  int n = ls_object_count(iObject), i;
  uint32_t aFrame[4], iLast = 0;
  uint64_t iAt = 100, iFound = 0;
  CHECK(n>=0);
  for(i=0; i<n; i++){
    CHECK_INT(ls_object_frames(iObject, 0, i, 1, aFrame), 1);
    CHECK_INT(ls_object_offset(iObject, i, &iFound), 0);
    CHECK(aFrame[0]>iLast && aFrame[0]<=p->iCommit);
    CHECK_INT(iFound, iAt);
    CHECK(aFrame[1]>=8);
    iAt += aFrame[1];
    iLast = aFrame[0];
  }
  CHECK_INT(ls_object_offset(iObject, n, &iFound), 0);
  CHECK_INT(iFound, iAt);
  CHECK(iAt<nByte);
  if( p->bSnapshot ) CHECK_INT(n, p->iCommit);
}

static void fuzzIndex(const LtxFile *p){
  size_t n;
  uint8_t *a = damaged(p->aByte+p->iIndex, (size_t)p->nIndex, &n);
  uint64_t nFile = randomBelow(&seed, 4) ? p->nByte-(uint64_t)p->nIndex+n : randomNext(&seed)>>randomBelow(&seed, 60);
  int iObject = ls_object_new(iReplica, (int)p->szPage, p->iCommit, p->bSnapshot, nFile), rc, nCall = 0;
  NEED(iObject>0);
  do{
    rc = ls_object_index(iObject, a, (int)n, 1+(int)randomBelow(&seed, 5));
  }while( rc==1 && ++nCall<10000 );
  CHECK(rc==0 || rc==LS_FORMAT);
  judged(rc);
  if( rc==0 ) checkIndex(p, iObject, nFile);
  else CHECK_INT(ls_object_count(iObject), LS_MISUSE);
  ls_object_free(iObject);
  free(a);
}

static void fuzzRun(const LtxFile *p){
  int iObject = ltxObject(p, iReplica, 1000), n, iFirst, nFrame, iRun, i;
  uint64_t iStart = 0, iEnd = 0;
  size_t nDamaged;
  uint8_t *a;
  NEED(iObject>0);
  n = ls_object_count(iObject);
  iFirst = (int)randomBelow(&seed, (uint32_t)n);
  nFrame = 1+(int)randomBelow(&seed, (uint32_t)(n-iFirst));
  ls_object_offset(iObject, iFirst, &iStart);
  ls_object_offset(iObject, iFirst+nFrame, &iEnd);
  a = damaged(p->aByte+iStart, (size_t)(iEnd-iStart), &nDamaged);
  if( nDamaged!=iEnd-iStart ){
    CHECK_INT(ls_run_load(iObject, iFirst, nFrame, a, (int)nDamaged), LS_MISUSE);
    if( nDamaged>iEnd-iStart ) nDamaged = (size_t)(iEnd-iStart);
    free(a);
    a = malloc((size_t)(iEnd-iStart));                        /* as much as it should be, zeros at the end */
    NEED(a!=NULL);
    memset(a, 0, (size_t)(iEnd-iStart));
    memcpy(a, p->aByte+iStart, nDamaged/2);
    nDamaged = (size_t)(iEnd-iStart);
  }
  iRun = ls_run_load(iObject, iFirst, nFrame, a, (int)nDamaged);
  CHECK(iRun>0 || iRun==LS_FORMAT);
  judged(iRun);
  if( iRun>0 ){
    LsObject *pObject = lsFrameObject(64);                    /* the only object there is has the first frame ids */
    for(i=iFirst; i<iFirst+nFrame; i++){
      LsRun *pRun = lsPin(pObject, (uint32_t)i);
      volatile uint8_t c;
      NEED(pRun!=NULL);
      c = lsRunPage(pRun, (uint32_t)i)[p->szPage-1];
      (void)c;
      lsUnpin(pRun);
    }
    CHECK_INT(ls_run_free(iRun), 0);
  }
  ls_object_free(iObject);
  free(a);
}

/* Any change at all breaks the file's checksum, unless it is none. */
static void fuzzFile(const LtxFile *p){
  size_t n;
  uint8_t *a = damaged(p->aByte, (size_t)p->nByte, &n);
  int rc = ls_file_verify(a, (int)n);
  int bSame = n==p->nByte && memcmp(a, p->aByte, n)==0;
  CHECK(rc==0 || rc==LS_FORMAT);
  if( bSame ) CHECK_INT(rc, 0);
  /* a shorter LZ4 encoding of the same page, or a bit of the index, may pass here: the index is checked elsewhere */
  if( rc==0 && !bSame ) CHECK(memcmp(a, "LTX1", 4)==0);
  judged(rc);
  free(a);
}

static void fuzzLz4(const LtxFile *p){
  uint32_t sz = p->szPage;
  size_t nMax = LZ4F_compressFrameBound(sz, NULL), nPacked, n;
  uint8_t *aPage = malloc(sz), *aPacked = malloc(nMax), *aOut, *a;
  int bFrame = (int)randomBelow(&seed, 2), rc, nOut = (int)sz;
  NEED(aPage!=NULL && aPacked!=NULL);
  fillPage(NULL, randomBelow(&seed, 100), aPage, sz);
  if( bFrame ){
    LZ4F_preferences_t preferences;
    memset(&preferences, 0, sizeof(preferences));
    preferences.frameInfo.contentChecksumFlag = randomBelow(&seed, 2) ? LZ4F_contentChecksumEnabled : LZ4F_noContentChecksum;
    preferences.frameInfo.contentSize = randomBelow(&seed, 2) ? sz : 0;
    preferences.frameInfo.blockSizeID = (LZ4F_blockSizeID_t)(4+randomBelow(&seed, 4));
    nMax = LZ4F_compressFrameBound(sz, &preferences);
    free(aPacked);
    aPacked = malloc(nMax);
    NEED(aPacked!=NULL);
    nPacked = LZ4F_compressFrame(aPacked, nMax, aPage, sz, &preferences);
    NEED(!LZ4F_isError(nPacked));
  }else{
    int m = ls_lz4_compress(aPage, (int)sz, aPacked, (int)nMax);
    NEED(m>0);
    nPacked = (size_t)m;
    CHECK_INT(ls_lz4_compress(aPage, (int)sz, aPacked, 1), LS_LIMIT);
    NEED(ls_lz4_compress(aPage, (int)sz, aPacked, (int)nMax)==m);
  }
  aOut = malloc(sz);
  NEED(aOut!=NULL);
  rc = bFrame ? ls_lz4_frame(aPacked, (int)nPacked, aOut, nOut) : ls_lz4_block(aPacked, (int)nPacked, aOut, nOut);
  CHECK_INT(rc, 0);
  CHECK_INT(memcmp(aOut, aPage, sz), 0);
  if( randomBelow(&seed, 4)==0 ){
    nOut = (int)randomBelow(&seed, sz+1);                     /* another size than the page's */
    free(aOut);
    aOut = malloc((size_t)nOut+1);
    NEED(aOut!=NULL);
  }
  a = damaged(aPacked, nPacked, &n);
  rc = bFrame ? ls_lz4_frame(a, (int)n, aOut, nOut) : ls_lz4_block(a, (int)n, aOut, nOut);
  CHECK(rc==0 || rc==LS_FORMAT);
  judged(rc);
  CHECK_INT(ls_lz4_block(a, -1, aOut, nOut), LS_MISUSE);
  CHECK_INT(ls_lz4_block(a, (int)n, aOut, -1), LS_MISUSE);
  CHECK_INT(ls_lz4_frame(a, -1, aOut, nOut), LS_MISUSE);
  CHECK_INT(ls_lz4_compress(a, -1, aOut, nOut), LS_MISUSE);
  free(a);
  free(aOut);
  free(aPage);
  free(aPacked);
}

static int nRounds;

/* Runs one decoder for its share of the rounds, on a new file now and then. */
static void fuzz(void (*xOne)(const LtxFile*), int nShare){
  LtxFile *p = NULL;
  int i;
  nAccepted = nRefused = 0;
  for(i=0; i<nShare; i++){
    if( i%50==0 ){
      ltxFree(p);
      p = makeFile();
      CHECK_INT(ls_file_verify(p->aByte, (int)p->nByte), 0);
    }
    xOne(p);
  }
  ltxFree(p);
  printf("# %d accepted, %d refused\n", nAccepted, nRefused);
  CHECK(nRefused>nShare/4);
  CHECK_EMPTY();
}
static void testIndex(void){ fuzz(fuzzIndex, nRounds/10*4); }
static void testRun(void){ fuzz(fuzzRun, nRounds/10*2); }
static void testFile(void){ fuzz(fuzzFile, nRounds/10*2); }
static void testLz4(void){ fuzz(fuzzLz4, nRounds/10*2); }

/* Whether all frames of a changed file, which lie where the original has them, still give the right pages. */
static int samePages(const LtxFile *p, int iObject, const uint8_t *a){
  uint8_t aFound[512], aWanted[512];
  uint32_t i;
  for(i=0; i<p->iCommit; i++){
    uint64_t iStart = 0, iEnd = 0;
    ls_object_offset(iObject, (int)i, &iStart);
    ls_object_offset(iObject, (int)i+1, &iEnd);
    if( lsFrameDecode(a+iStart, (uint32_t)(iEnd-iStart), i+1, 512, aFound)!=0 ) return 0;
    fillPage(NULL, i+1, aWanted, 512);
    if( memcmp(aFound, aWanted, 512)!=0 ) return 0;
  }
  return 1;
}

/*
** Each byte flipped in each bit, each length cut: one small file of both encodings. The file checksum is over pages, so
** what LZ4 may say in two ways passes, but nothing that changes a page.
*/
static void everyByte(void){
  static const uint32_t aPgno[] = {1, 2, 3};
  int e;
  for(e=ENCODE_BLOCK; e<=ENCODE_FRAME; e++){
    LtxFile *p = ltxBuild(512, 3, 1, aPgno, 3, fillPage, NULL, e);
    int iObject = ltxObject(p, iReplica, 10);
    uint64_t i;
    int j;
    NEED(iObject>0);
    for(i=0; i<p->nByte; i++){
      uint8_t *a = malloc((size_t)p->nByte);
      NEED(a!=NULL);
      memcpy(a, p->aByte, (size_t)p->nByte);
      for(j=0; j<8; j++){
        a[i] ^= (uint8_t)(1u<<j);
        if( ls_file_verify(a, (int)p->nByte)==0 && (i<100 || i>=p->iIndex-6 || !samePages(p, iObject, a)) ){
          checkFailed(__FILE__, __LINE__, "bit %d of byte %llu flipped unseen", j, (unsigned long long)i);
        }
        a[i] ^= (uint8_t)(1u<<j);
      }
      free(a);
      a = malloc(i>0 ? (size_t)i : 1);
      NEED(a!=NULL);
      memcpy(a, p->aByte, (size_t)i);
      CHECK_INT(ls_file_verify(a, (int)i), LS_FORMAT);
      free(a);
    }
    ls_object_free(iObject);
    ltxFree(p);
  }
}

int main(void){
  seed = (uint64_t)setting("SEED", (int)(nowMs() & 0x3fffffff)+1);
  nRounds = setting("ROUNDS", getenv("LONG") ? 1000000 : 200000);
  printf("# SEED=%llu ROUNDS=%d\n", (unsigned long long)seed, nRounds);
  iReplica = 1;                    /* objects only carry it */
  RUN("ls_file_verify() refuses every flipped bit and every cut", everyByte);
  RUN("ls_object_index() takes no index that breaks its rules", testIndex);
  RUN("ls_run_load() gives pages or LS_FORMAT", testRun);
  RUN("ls_file_verify() survives damaged files", testFile);
  RUN("ls_lz4_block() and ls_lz4_frame() stay in their bounds", testLz4);
  return finish();
}
