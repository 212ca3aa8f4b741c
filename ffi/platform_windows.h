/*
** What platform.h inlines where the system is Windows, 10 or later.
*/
#ifndef LITESTREAM_PLATFORM_WINDOWS_H
#define LITESTREAM_PLATFORM_WINDOWS_H

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

typedef SRWLOCK LsMutex;
typedef CONDITION_VARIABLE LsCond;
typedef INIT_ONCE LsOnce;
typedef DWORD LsThread;
typedef struct LsThreadKey {
  DWORD iSlot;
  void (*xEnded)(void*);
} LsThreadKey;
typedef intptr_t LsFd;                       /* a HANDLE */

#define LS_MUTEX_INIT SRWLOCK_INIT
#define LS_ONCE_INIT  INIT_ONCE_STATIC_INIT

static inline void lsMutexInit(LsMutex *p){ InitializeSRWLock(p); }
static inline void lsMutexDestroy(LsMutex *p){ (void)p; }
static inline void lsMutexLock(LsMutex *p){ AcquireSRWLockExclusive(p); }
static inline void lsMutexUnlock(LsMutex *p){ ReleaseSRWLockExclusive(p); }
static inline void lsCondSignal(LsCond *p){ WakeConditionVariable(p); }
static inline void lsCondBroadcast(LsCond *p){ WakeAllConditionVariable(p); }
void lsOnce(LsOnce *p, void (*x)(void));
static inline LsThread lsThreadSelf(void){ return GetCurrentThreadId(); }
static inline int lsThreadEqual(LsThread a, LsThread b){ return a==b; }

#endif
