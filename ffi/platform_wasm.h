/*
** Locks and threads where the shim is WASM, in a memory that several threads share; see platform.h, which includes it.
**
** THREADS   Each is an instance of the module, with a stack and a number of its own (ffi/wasm.ts gives both). No hook is
**           called when one ends.
** LOCKS     A word that is waited for by memory.atomic.wait32, in every runtime allowed on the main thread, too.
*/
#ifndef LITESTREAM_PLATFORM_WASM_H
#define LITESTREAM_PLATFORM_WASM_H

#include <stdatomic.h>

typedef struct LsMutex { atomic_int eState; } LsMutex;   /* 0 free, 1 held, 2 held and perhaps waited for */
typedef struct LsCond { atomic_int iSeq; } LsCond;       /* counts signals */
typedef struct LsOnce { atomic_int eState; } LsOnce;     /* 0 not yet, 1 under way, 2 done */
typedef int LsThread;
typedef int LsThreadKey;
typedef int LsFd;

#define LS_MUTEX_INIT {0}
#define LS_ONCE_INIT  {0}

void lsMutexWait(LsMutex *p);
void lsMutexWake(LsMutex *p);

static inline void lsMutexInit(LsMutex *p){ atomic_init(&p->eState, 0); }
static inline void lsMutexDestroy(LsMutex *p){ (void)p; }
static inline int lsMutexTry(LsMutex *p){
  int e = 0;
  return atomic_compare_exchange_strong(&p->eState, &e, 1);
}
static inline void lsMutexLock(LsMutex *p){ if( !lsMutexTry(p) ) lsMutexWait(p); }
static inline void lsMutexUnlock(LsMutex *p){ if( atomic_exchange(&p->eState, 0)==2 ) lsMutexWake(p); }
void lsCondSignal(LsCond *p);
void lsCondBroadcast(LsCond *p);
void lsOnce(LsOnce *p, void (*x)(void));
LsThread lsThreadSelf(void);
static inline int lsThreadEqual(LsThread a, LsThread b){ return a==b; }

#endif
