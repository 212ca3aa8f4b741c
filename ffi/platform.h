/*
** What the shim asks of the operating system, and all of it: locks, threads, clocks, files.
**
** PURPOSE   One side for POSIX (platform_posix.c), one for Windows (platform_windows.c),
**           one for WASM (platform_wasm.c). Locks are inline: a wrapper costs
**           nothing. Everything else of the shim is C11 and SQLite.
** ERRORS    Functions on files give 0 or an LS_IO_ code, which is negative; lsSystemText() has the system's words then.
*/
#ifndef LITESTREAM_PLATFORM_H
#define LITESTREAM_PLATFORM_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#if defined(_WIN32)
# include "platform_windows.h"
#elif defined(__wasm__)
# include "platform_wasm.h"
#else
# include <pthread.h>

typedef pthread_mutex_t LsMutex;
typedef pthread_cond_t LsCond;
typedef pthread_once_t LsOnce;
typedef pthread_t LsThread;
typedef pthread_key_t LsThreadKey;
typedef int LsFd;

# define LS_MUTEX_INIT PTHREAD_MUTEX_INITIALIZER
# define LS_ONCE_INIT  PTHREAD_ONCE_INIT

static inline void lsMutexInit(LsMutex *p){ pthread_mutex_init(p, NULL); }
static inline void lsMutexDestroy(LsMutex *p){ pthread_mutex_destroy(p); }
static inline void lsMutexLock(LsMutex *p){ pthread_mutex_lock(p); }
static inline void lsMutexUnlock(LsMutex *p){ pthread_mutex_unlock(p); }
static inline void lsCondSignal(LsCond *p){ pthread_cond_signal(p); }
static inline void lsCondBroadcast(LsCond *p){ pthread_cond_broadcast(p); }
static inline void lsOnce(LsOnce *p, void (*x)(void)){ pthread_once(p, x); }
static inline LsThread lsThreadSelf(void){ return pthread_self(); }
static inline int lsThreadEqual(LsThread a, LsThread b){ return pthread_equal(a, b)!=0; }
#endif

#define LS_NO_FILE ((LsFd)-1)

/* --------------------------------------------------------------------------------------- threads and clocks */

void lsCondInit(LsCond *p);
/* Waits until it is signalled, or for no reason; or until nsEnd by lsMonotonicNs(): whether that has come. */
int lsCondWaitUntil(LsCond *p, LsMutex *pMutex, int64_t nsEnd);

/*
** Keys of a value that each thread has; NULL at first. xEnded is called with the value of a thread that ends, on that
** thread, unless it is NULL; not when the process ends. 0, or not.
*/
int lsThreadKeyMake(LsThreadKey *p, void (*xEnded)(void*));
int lsThreadSet(LsThreadKey key, void *pValue);

#define LS_ERROR_SIZE 1024                   /* of words that go to SQLite */
#define LS_FAULT_SIZE 256                    /* of words that go to the core */

/* What a thread has of its own; zeros at first. Not the language's thread-local storage, by which ELF names its loader. */
typedef struct LsOwn {
  int bShared;                               /* it is no thread's own: what is put there may be another's the next moment */
  int iHostLast;                             /* shim.c */
  int iSystem;                               /* what failed last, by the system's number, or below 0 for what we refuse */
  char zSystem[256];                         /* where lsSystemText() puts words together */
  char zFault[LS_FAULT_SIZE];                /* pages.c */
  char zOpenError[LS_ERROR_SIZE];            /* requests.c */
} LsOwn;

LsOwn *lsOwn(void);                          /* the calling thread's; one of all together when out of memory, or of keys */

int64_t lsMonotonicNs(void);                 /* may stand still while the machine sleeps */
int64_t lsBootMs(void);                      /* does not */
uint64_t lsNowNs(void);                      /* since 1970 */
static inline uint64_t lsNowMs(void){ return lsNowNs()/1000000; }
void lsUtc(int64_t s, struct tm *p);

static inline int64_t lsMonotonicIn(int ms){ return lsMonotonicNs() + (ms>0 ? (int64_t)ms*1000000 : 0); }

/* Keeps the library that has an address in the process for good; where that is the program itself, nothing is to do. */
void lsModulePin(const void *pAddress);

/* --------------------------------------------------------------------------------------------------- files */

#define LS_IO_FAILED  (-1)
#define LS_IO_FULL    (-2)                   /* no room on the disk */
#define LS_IO_ABSENT  (-3)                   /* no such file */
#define LS_IO_BUSY    (-4)                   /* locked by another */
#define LS_IO_SHORT   (-5)                   /* the file ends before */

#define LS_FILE_NEW   1                      /* there must be none yet */
#define LS_FILE_PLAIN 2                      /* a link, what is no plain file, and on POSIX another user's, is refused */

/* Opens a file for reading and writing, made if need be, for its owner alone; it may be removed while it is open. */
int lsFileOpen(const char *zPath, int eFlag, LsFd *pFd);
void lsFileClose(LsFd fd);
LsFd lsFileAgain(LsFd fd);                   /* another handle of an open file, or LS_NO_FILE */
int lsFileRead(LsFd fd, uint8_t *a, size_t n, uint64_t iAt);         /* all of it, or LS_IO_SHORT */
int lsFileWrite(LsFd fd, const uint8_t *a, size_t n, uint64_t iAt);  /* all of it */
int lsFileSize(LsFd fd, uint64_t *pn);
int lsFileCut(LsFd fd, uint64_t n);          /* gives it a size */
int lsFileSync(LsFd fd);                     /* its content is on the disk */
int lsFileSyncName(const char *zPath);       /* so is its name, where the system keeps names apart */
int lsFileRemove(const char *zPath);
int lsFileNamed(LsFd fd);                    /* whether it has a name still; -1: cannot be told */
int lsFileIs(LsFd fd, const char *zPath);    /* whether this name leads to it */
/* Takes the lock of a file for this handle, which its end gives up, whoever else may read and write it; LS_IO_BUSY. */
int lsFileLock(LsFd fd);
int lsRandom(uint8_t *a, size_t n);

/* What the system says of the last function on a file that failed on this thread. */
const char *lsSystemText(void);

#endif
