/*
** The shim's operating system where it is POSIX: Linux and macOS; see platform.h.
**
** FILES     A lock is flock()'s: of the open file, not of the process, which may have a log and its reader at once.
** LEFT OUT  Record locks, which any close() of the same file gives up.
*/
#if !defined(_WIN32) && !defined(__wasm__)
#define _GNU_SOURCE      /* dladdr(), flock() */
#define _DARWIN_C_SOURCE /* likewise */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "platform.h"

#define NS 1000000000

#if defined(LS_OLD_GLIBC)
/* Functions since glibc 2.33; before, the same by other names, which musl has as well. */
# if defined(__x86_64__)
#  define STAT_VERSION 1
# else
#  define STAT_VERSION 0
# endif
int __fxstat(int iVersion, int fd, struct stat *p);
int __xstat(int iVersion, const char *zPath, struct stat *p);
# define fstat(fd, p) __fxstat(STAT_VERSION, fd, p)
# define stat(z, p)   __xstat(STAT_VERSION, z, p)
#endif

/* --------------------------------------------------------------------------------------- threads and clocks */

static int64_t clockNs(clockid_t eClock){
  struct timespec t;
  clock_gettime(eClock, &t);
  return (int64_t)t.tv_sec*NS + t.tv_nsec;
}

static struct timespec timespecOf(int64_t ns){
  struct timespec t;
  t.tv_sec = (time_t)(ns/NS);
  t.tv_nsec = (long)(ns%NS);
  return t;
}

int64_t lsMonotonicNs(void){ return clockNs(CLOCK_MONOTONIC); }
uint64_t lsNowNs(void){ return (uint64_t)clockNs(CLOCK_REALTIME); }

/* macOS's monotonic clock goes on while the machine sleeps, Linux's does not. */
int64_t lsBootMs(void){
#if defined(CLOCK_BOOTTIME)
  return clockNs(CLOCK_BOOTTIME)/1000000;
#else
  return clockNs(CLOCK_MONOTONIC)/1000000;
#endif
}

void lsUtc(int64_t s, struct tm *p){
  time_t t = (time_t)s;
  gmtime_r(&t, p);
}

#if defined(__APPLE__)
/* Its condition variables know the wall clock only, or how long. */
void lsCondInit(LsCond *p){ pthread_cond_init(p, NULL); }

int lsCondWaitUntil(LsCond *p, LsMutex *pMutex, int64_t nsEnd){
  int64_t ns = nsEnd-lsMonotonicNs();
  struct timespec t = timespecOf(ns>0 ? ns : 0);
  return pthread_cond_timedwait_relative_np(p, pMutex, &t)==ETIMEDOUT;
}
#else
void lsCondInit(LsCond *p){
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(p, &attr);
  pthread_condattr_destroy(&attr);
}

int lsCondWaitUntil(LsCond *p, LsMutex *pMutex, int64_t nsEnd){
  struct timespec t = timespecOf(nsEnd);
  return pthread_cond_timedwait(p, pMutex, &t)==ETIMEDOUT;
}
#endif

int lsThreadKeyMake(LsThreadKey *p, void (*xEnded)(void*)){ return pthread_key_create(p, xEnded); }
int lsThreadSet(LsThreadKey key, void *pValue){ return pthread_setspecific(key, pValue); }

static LsThreadKey ownKey;
static LsOnce onceOwn = LS_ONCE_INIT;
static int rcOwn;                      /* of making the key */

static void ownMake(void){ rcOwn = lsThreadKeyMake(&ownKey, free); }

LsOwn *lsOwn(void){
  static LsOwn ownOfAll = {.bShared = 1};
  LsOwn *p;
  lsOnce(&onceOwn, ownMake);
  p = rcOwn ? NULL : pthread_getspecific(ownKey);
  if( p ) return p;
  p = rcOwn ? NULL : calloc(1, sizeof(*p));
  if( p && lsThreadSet(ownKey, p)==0 ) return p;
  free(p);
  return &ownOfAll;
}

void lsModulePin(const void *pAddress){
  Dl_info info;
  if( dladdr(pAddress, &info) && info.dli_fname ) (void)dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

/* --------------------------------------------------------------------------------------------------- files */

enum { NO_PLAIN_FILE = -1, NOT_OURS = -2 };       /* in place of an errno */

static int fault(int iErrno){
  lsOwn()->iSystem = iErrno;
  switch( iErrno ){
    case ENOSPC: case EDQUOT: case EFBIG: return LS_IO_FULL;
    case ENOENT: return LS_IO_ABSENT;
    case EWOULDBLOCK: return LS_IO_BUSY;
    default: return LS_IO_FAILED;
  }
}

const char *lsSystemText(void){
  int i = lsOwn()->iSystem;
  return i==NO_PLAIN_FILE ? "no plain file" : i==NOT_OURS ? "it is another user's" : strerror(i);
}

int lsFileOpen(const char *zPath, int eFlag, LsFd *pFd){
  int e = O_RDWR|O_CREAT|O_CLOEXEC;
  struct stat st;
  if( eFlag & LS_FILE_NEW ) e |= O_EXCL;
  if( eFlag & LS_FILE_PLAIN ) e |= O_NOFOLLOW|O_NONBLOCK;   /* a pipe would have us wait for who writes to it */
  *pFd = open(zPath, e, 0600);
  if( *pFd<0 ) return fault(errno);
  if( (eFlag & LS_FILE_PLAIN)==0 ) return 0;
  e = fstat(*pFd, &st)!=0 || !S_ISREG(st.st_mode) ? NO_PLAIN_FILE : 0;
  if( e==0 && st.st_uid!=geteuid() && geteuid()!=0 ) e = NOT_OURS;  /* who is root may have been given another's */
  if( e==0 ) return 0;
  close(*pFd);
  *pFd = LS_NO_FILE;
  return fault(e);
}

void lsFileClose(LsFd fd){ close(fd); }

LsFd lsFileAgain(LsFd fd){
  int fdNew = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if( fdNew<0 ) fault(errno);
  return fdNew;
}

int lsFileRead(LsFd fd, uint8_t *a, size_t n, uint64_t iAt){
  while( n>0 ){
    ssize_t k = pread(fd, a, n, (off_t)iAt);
    if( k<0 && errno==EINTR ) continue;
    if( k<=0 ) return k<0 ? fault(errno) : LS_IO_SHORT;
    a += k;
    n -= (size_t)k;
    iAt += (uint64_t)k;
  }
  return 0;
}

int lsFileWrite(LsFd fd, const uint8_t *a, size_t n, uint64_t iAt){
  while( n>0 ){
    ssize_t k = pwrite(fd, a, n, (off_t)iAt);
    if( k<0 && errno==EINTR ) continue;
    if( k<=0 ) return fault(k<0 ? errno : EIO);
    a += k;
    n -= (size_t)k;
    iAt += (uint64_t)k;
  }
  return 0;
}

int lsFileSize(LsFd fd, uint64_t *pn){
  struct stat st;
  if( fstat(fd, &st)!=0 ) return fault(errno);
  *pn = (uint64_t)st.st_size;
  return 0;
}

int lsFileCut(LsFd fd, uint64_t n){ return ftruncate(fd, (off_t)n)!=0 ? fault(errno) : 0; }

/* macOS's fsync() leaves the content in the disk's own cache; not every file system there knows the other. */
int lsFileSync(LsFd fd){
#if defined(__APPLE__)
  return fcntl(fd, F_FULLFSYNC)==-1 && fsync(fd)!=0 ? fault(errno) : 0;
#else
  return fdatasync(fd)!=0 ? fault(errno) : 0;
#endif
}

int lsFileSyncName(const char *zPath){
  char *z = strdup(zPath);
  char *zSlash = z ? strrchr(z, '/') : NULL;
  int fd, rc;
  if( z==NULL ) return fault(ENOMEM);
  if( zSlash ) zSlash[zSlash==z] = 0;
  fd = open(zSlash ? z : ".", O_RDONLY|O_CLOEXEC);
  free(z);
  if( fd<0 ) return fault(errno);
  rc = fsync(fd)!=0 ? fault(errno) : 0;
  close(fd);
  return rc;
}

int lsFileRemove(const char *zPath){ return unlink(zPath)!=0 ? fault(errno) : 0; }

int lsFileNamed(LsFd fd){
  struct stat st;
  return fstat(fd, &st)!=0 ? -1 : st.st_nlink>0;
}

int lsFileIs(LsFd fd, const char *zPath){
  struct stat st, stNow;
  return fstat(fd, &st)==0 && stat(zPath, &stNow)==0 && st.st_dev==stNow.st_dev && st.st_ino==stNow.st_ino;
}

int lsFileLock(LsFd fd){ return flock(fd, LOCK_EX|LOCK_NB)!=0 ? fault(errno) : 0; }

int lsRandom(uint8_t *a, size_t n){
  int fd = open("/dev/urandom", O_RDONLY|O_CLOEXEC);
  int rc = fd<0 ? fault(errno) : lsFileRead(fd, a, n, 0);
  if( fd>=0 ) close(fd);
  return rc;
}

#else
typedef int LsNotPosix;  /* ISO C has no empty translation unit */
#endif
