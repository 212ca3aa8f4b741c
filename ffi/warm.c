/*
** Warm pages: copies in memory of those pages of a local file that are read again and again.
**
** PURPOSE   A page in a local file costs its reader a system call, which takes as long as all else that the shim does for a
**           look-up. A page that is asked for twice, with no other page of the same place in between, is kept here. A scan of more
**           pages than there are places asks for each once, and so leaves alone what is here.
** LAYOUT    A power of two of places; page n has place n mod that.
** THREADS   Any reader reads and keeps. A place is copied from under a pin, and changed only while there is none. The core drops
**           pages that it is about to write: then nobody has a view that reads them here (local.c), nor keeps them.
** MEMORY    What lsWarmNew() was told for the pages, of which the system gives each when it is first written; 12 bytes a place.
** ERRORS    None: what cannot be kept is not kept.
** LEFT OUT  An order of last use: it would cost a hit a write that all readers share.
*/
#include <stdlib.h>
#include <string.h>
#include "pages.h"

#define CHANGING (-1)        /* in place of a number of pins */

typedef struct Place {
  atomic_int nPin;           /* readers copying from it right now, or CHANGING */
  atomic_uint iPgno;         /* the page that is here; 0: none */
  atomic_uint iMissed;       /* the one that was asked for last, and was not here */
} Place;

struct LsWarm {
  uint32_t szPage;
  uint32_t nPlace;
  Place *aPlace;
  uint8_t *aData;            /* the pages, place by place; guarded by nPin */
};

static Place *placeOf(const LsWarm *p, uint32_t iPgno){ return &p->aPlace[iPgno & (p->nPlace-1)]; }

static uint8_t *dataOf(const LsWarm *p, uint32_t iPgno){
  return p->aData + (size_t)(iPgno & (p->nPlace-1))*p->szPage;
}

/* Room for nPage pages at most; NULL: no memory, or not one page. */
LsWarm *lsWarmNew(uint32_t szPage, uint32_t nPage){
  LsWarm *p = nPage>0 ? calloc(1, sizeof(*p)) : NULL;
  if( p==NULL ) return NULL;
  p->szPage = szPage;
  p->nPlace = 1;
  while( p->nPlace<=nPage/2 ) p->nPlace *= 2;
  p->aPlace = calloc(p->nPlace, sizeof(*p->aPlace));
  p->aData = malloc((size_t)p->nPlace*szPage);
  if( p->aPlace && p->aData ) return p;
  lsWarmFree(p);
  return NULL;
}

void lsWarmFree(LsWarm *p){
  if( p==NULL ) return;
  free(p->aPlace);
  free(p->aData);
  free(p);
}

/* Copies n bytes from byte iFrom of a page; whether it is here. */
int lsWarmRead(LsWarm *p, uint32_t iPgno, int iFrom, int n, uint8_t *aOut){
  Place *pPlace = placeOf(p, iPgno);
  int nPin, bHere;
  if( atomic_load_explicit(&pPlace->iPgno, memory_order_relaxed)!=iPgno ) return 0;
  nPin = atomic_load_explicit(&pPlace->nPin, memory_order_relaxed);
  do{
    if( nPin==CHANGING ) return 0;
  }while( !atomic_compare_exchange_weak_explicit(&pPlace->nPin, &nPin, nPin+1, memory_order_acquire, memory_order_relaxed) );
  bHere = atomic_load_explicit(&pPlace->iPgno, memory_order_relaxed)==iPgno;
  if( bHere ) memcpy(aOut, dataOf(p, iPgno)+iFrom, (size_t)n);
  atomic_fetch_sub_explicit(&pPlace->nPin, 1, memory_order_release);
  return bHere;
}

/* A whole page that was not here was read from the file: it is kept when it was the last one of its place that was not. */
void lsWarmKeep(LsWarm *p, uint32_t iPgno, const uint8_t *aPage){
  Place *pPlace = placeOf(p, iPgno);
  int nNone = 0;
  if( atomic_load_explicit(&pPlace->iMissed, memory_order_relaxed)!=iPgno ){
    atomic_store_explicit(&pPlace->iMissed, iPgno, memory_order_relaxed);
    return;
  }
  if( !atomic_compare_exchange_strong_explicit(&pPlace->nPin, &nNone, CHANGING, memory_order_acquire, memory_order_relaxed) ){
    return;
  }
  memcpy(dataOf(p, iPgno), aPage, p->szPage);
  atomic_store_explicit(&pPlace->iPgno, iPgno, memory_order_relaxed);
  atomic_store_explicit(&pPlace->nPin, 0, memory_order_release);
}

/* Pages from iPgno on are about to be written. */
void lsWarmDrop(LsWarm *p, uint32_t iPgno, uint32_t n){
  uint32_t i;
  for(i=iPgno; i<iPgno+n; i++){
    unsigned iHere = i;
    atomic_compare_exchange_strong_explicit(&placeOf(p, i)->iPgno, &iHere, 0, memory_order_relaxed, memory_order_relaxed);
  }
}
