/*
** Overflow chains, as the cells that begin them tell.
**
** PURPOSE   A cell whose payload is too long for its page ends with the number of the first of a chain of
**           pages; its payload's size tells how many there are. Who knows both can fetch a chain before the
**           reader follows it page by page.
** THREADS   Core only, as all that looks into runs without pinning them.
** ERRORS    LS_ codes. What is read are hints: a cell or page that breaks the format is passed over. Nothing
**           is read past a page's end, whatever its bytes are.
** LEFT OUT  Whether the pages of a chain follow one another: only they themselves know.
*/
#include <stdlib.h>
#include <string.h>
#include "pages.h"

#define CHAIN_WORDS    3
#define USABLE_MIN     480      /* SQLite's own limit */
#define PAGE_MAX       65536

#define INDEX_INTERIOR 0x02
#define INDEX_LEAF     0x0a
#define TABLE_LEAF     0x0d

/* A page whose cells are looked through. */
typedef struct ChainPage {
  const uint8_t *aByte;
  uint32_t iPgno;
  uint32_t iHead;           /* where the page's header begins */
  uint32_t szPage;
  uint32_t szUsable;
  uint32_t iCommit;
  uint8_t eType;
} ChainPage;

static uint32_t get16(const uint8_t *a){ return ((uint32_t)a[0]<<8) | a[1]; }
static uint32_t get32(const uint8_t *a){ return (get16(a)<<16) | get16(a+2); }

/* Reads a varint of a cell; returns the offset behind it, or 0 when it does not end within the page. */
static uint32_t cellVarint(const ChainPage *p, uint32_t iAt, uint64_t *pOut){
  uint64_t v = 0;
  int i;
  for(i=0; i<9 && iAt<p->szUsable; i++){
    uint8_t b = p->aByte[iAt++];
    if( i==8 ){
      *pOut = (v<<8) | b;
      return iAt;
    }
    v = (v<<7) | (b & 0x7f);
    if( b<0x80 ){
      *pOut = v;
      return iAt;
    }
  }
  return 0;
}

/* Bytes of a payload that its cell holds. SQLite's file format, "Cell Payload Overflow Pages". */
static uint32_t localSize(const ChainPage *p, uint64_t nPayload){
  uint32_t nMax = p->eType==TABLE_LEAF ? p->szUsable-35 : (p->szUsable-12)*64/255-23;
  uint32_t nMin = (p->szUsable-12)*32/255-23;
  uint32_t nFitted;
  if( nPayload<=nMax ) return (uint32_t)nPayload;
  nFitted = nMin + (uint32_t)((nPayload-nMin) % (p->szUsable-4));
  return nFitted<=nMax ? nFitted : nMin;
}

/* The chain of the cell at iAt: its first page and the number of its pages. Returns 0 where there is none. */
static int cellChain(const ChainPage *p, uint32_t iAt, uint32_t *piFirst, uint32_t *pnPage){
  uint64_t nPayload = 0, iRowid = 0, nPage;
  uint32_t nLocal;
  if( p->eType==INDEX_INTERIOR ) iAt += 4;
  iAt = cellVarint(p, iAt, &nPayload);
  if( iAt && p->eType==TABLE_LEAF ) iAt = cellVarint(p, iAt, &iRowid);
  if( iAt==0 || nPayload>INT32_MAX ) return 0;
  nLocal = localSize(p, nPayload);
  if( nLocal==nPayload || iAt+nLocal+4>p->szUsable ) return 0;
  nPage = (nPayload-nLocal+p->szUsable-5)/(p->szUsable-4);
  *piFirst = get32(p->aByte+iAt+nLocal);
  *pnPage = (uint32_t)nPage;
  return *piFirst>1 && *piFirst<=p->iCommit && *piFirst!=lsLockPage(p->szPage) && nPage<p->iCommit;
}

/* Puts an entry down if there is room, and counts it in any case. */
static void chainPut(uint32_t *aOut, int nMax, int *pn, uint32_t iPgno, uint32_t iFirst, uint32_t nPage){
  if( *pn<nMax/CHAIN_WORDS ){
    uint32_t *a = &aOut[*pn*CHAIN_WORDS];
    a[0] = iPgno;
    a[1] = iFirst;
    a[2] = nPage;
  }
  ++*pn;
}

/* The chains of one page, in the order of its cells; one entry without a chain when it has none. */
static void pageChains(const ChainPage *p, uint32_t *aOut, int nMax, int *pn){
  uint32_t iCells = p->iHead + (p->eType==INDEX_INTERIOR ? 12 : 8);
  uint32_t nCell = get16(p->aByte+p->iHead+3);
  uint32_t i;
  int nBefore = *pn;
  if( iCells+nCell*2>p->szUsable ) return;
  for(i=0; i<nCell; i++){
    uint32_t iAt = get16(p->aByte+iCells+i*2);
    uint32_t iFirst, nPage;
    if( iAt<iCells+nCell*2 || iAt>=p->szUsable ) continue;
    if( cellChain(p, iAt, &iFirst, &nPage) ) chainPut(aOut, nMax, pn, p->iPgno, iFirst, nPage);
  }
  if( *pn==nBefore ) chainPut(aOut, nMax, pn, p->iPgno, 0, 0);
}

static int hasPayload(uint8_t eType){
  return eType==TABLE_LEAF || eType==INDEX_LEAF || eType==INDEX_INTERIOR;
}

/* Looks through a page of a run, if it is one whose cells have payload. */
static void frameChains(ChainPage *p, int iObject, int iFrame, uint32_t *aOut, int nMax, int *pn){
  uint32_t aFrame[4];
  if( !hasPayload(p->aByte[0]) && !hasPayload(p->aByte[LS_HEAD_SIZE]) ) return;
  if( ls_object_frames(iObject, 0, iFrame, 1, aFrame)!=1 ) return;
  p->iPgno = aFrame[0];
  p->iHead = p->iPgno==1 ? LS_HEAD_SIZE : 0;
  p->eType = p->aByte[p->iHead];
  if( hasPayload(p->eType) ) pageChains(p, aOut, nMax, pn);
}

/*
** The overflow chains that begin in pages of a run, from frame iFrame of object iObject, which the run stands
** for, to the run's last. An entry is three words: the page with the cell, the chain's first page, how many
** pages it has. Entries of one page stand together, in the order of its cells; a leaf or an index's page
** without chains is told as one entry whose other words are 0. A chain of iCommit pages or more, or that
** begins past it, is none. szUsable is the page size less byte 20 of page 1. Returns how many entries there
** are, of which the first nMax/3 are in aOut.
*/
int ls_run_chains(int iRun, int iObject, int iFrame, int szUsable, uint32_t iCommit, uint32_t *aOut, int nMax){
  uint8_t *aByte;
  ChainPage page;
  int szPage = 512, iLast = ls_object_count(iObject), i, n = 0;
  if( szUsable<USABLE_MIN || szUsable>PAGE_MAX || nMax<0 ) return LS_MISUSE;
  while( szPage<szUsable ) szPage *= 2;
  if( iFrame<0 || iFrame>=iLast ) return LS_MISUSE;
  aByte = malloc((size_t)szPage);
  if( aByte==NULL ) return LS_NOMEM;
  memset(&page, 0, sizeof(page));
  page.aByte = aByte;
  page.szPage = (uint32_t)szPage;
  page.szUsable = (uint32_t)szUsable;
  page.iCommit = iCommit;
  for(i=iFrame; i<iLast && ls_run_page(iRun, i, aByte, szPage)==0; i++){
    frameChains(&page, iObject, i, aOut, nMax, &n);
  }
  free(aByte);
  return i>iFrame ? n : LS_MISUSE;
}
