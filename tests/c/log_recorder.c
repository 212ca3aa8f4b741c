/*
** Records what a process does to the files beneath one folder: from it follows what a crash may leave.
**
** PURPOSE   A library that goes before the system's own (LD_PRELOAD): each call that changes a file, or has
**           it on the disk, is made, and recorded if it succeeded; tests/write/crash_disk.ts reads the trace.
** BUILD     cc -O1 -shared -fPIC -o log_recorder.so tests/c/log_recorder.c -ldl    (Linux)
** USE       RECORDER_FOLDER: the folder. RECORDER_TRACE: the file that records are appended to, elsewhere.
** FORMAT    A line each; numbers are decimal, a file is named by its inode, paths are relative to the folder:
**           "create INODE PATH", "write INODE OFFSET SIZE" and the bytes, "truncate INODE SIZE",
**           "sync INODE", "folder PATH" (a folder was synced), "link FROM TO", "rename FROM TO",
**           "unlink PATH".
** THREADS   One mutex is held while a call is made and recorded: the trace's order is that of what happened.
**           A sync begins late, now more, now less, as on a slow disk, and meanwhile others go on.
** ERRORS    A trace that cannot be written ends the process.
** LEFT OUT  Folders that are made, memory mapping, vectored writes, fallocate(): whoever uses the trace
**           compares what all of it leads to with what lies there in the end.
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SYNC_LATE_NS    1500000
#define SYNC_LATE_STEPS 4

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static char zFolder[PATH_MAX];
static size_t nFolder;             /* 0: nothing is recorded */
static int fdTrace = -1;

/* The system's own function of a name. */
static void *next(const char *zName){
  void *p = dlsym(RTLD_NEXT, zName);
  if( p==NULL ) abort();
  return p;
}

typedef int (*OpenAt)(int, const char*, int, ...);
typedef ssize_t (*Write)(int, const void*, size_t);
typedef ssize_t (*WriteAt)(int, const void*, size_t, off_t);
typedef int (*Truncate)(int, off_t);
typedef int (*OfFile)(int);
typedef int (*RenameAt)(int, const char*, int, const char*);
typedef int (*LinkAt)(int, const char*, int, const char*, int);
typedef int (*UnlinkAt)(int, const char*, int);

static struct {
  OpenAt openAt;
  Write write;
  WriteAt writeAt;
  Truncate truncate;
  OfFile sync, dataSync;
  RenameAt renameAt;
  LinkAt linkAt;
  UnlinkAt unlinkAt;
} os;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void begin(void){
  const char *zRoot = getenv("RECORDER_FOLDER"), *zTrace = getenv("RECORDER_TRACE");
  *(void**)&os.openAt = next("openat");
  *(void**)&os.write = next("write");
  *(void**)&os.writeAt = next("pwrite");
  *(void**)&os.truncate = next("ftruncate");
  *(void**)&os.sync = next("fsync");
  *(void**)&os.dataSync = next("fdatasync");
  *(void**)&os.renameAt = next("renameat");
  *(void**)&os.linkAt = next("linkat");
  *(void**)&os.unlinkAt = next("unlinkat");
  if( zRoot==NULL || zTrace==NULL || realpath(zRoot, zFolder)==NULL ) return;
  fdTrace = os.openAt(AT_FDCWD, zTrace, O_WRONLY|O_CREAT|O_APPEND|O_CLOEXEC, 0600);
  if( fdTrace<0 ) abort();
  nFolder = strlen(zFolder);
}

static void lock(void){
  pthread_once(&once, begin);
  pthread_mutex_lock(&mu);
}

/* Gives the call's errno back, whatever recording it did to it. */
static void unlock(int iErrno){
  pthread_mutex_unlock(&mu);
  errno = iErrno;
}

static void put(const void *p, size_t n){
  const char *a = p;
  while( n>0 ){
    ssize_t k = os.write(fdTrace, a, n);
    if( k<0 && errno==EINTR ) continue;
    if( k<=0 ) abort();
    a += k;
    n -= (size_t)k;
  }
}

static void record(const char *zFormat, ...){
  char z[2*PATH_MAX+64];
  va_list args;
  int n;
  va_start(args, zFormat);
  n = vsnprintf(z, sizeof(z), zFormat, args);
  va_end(args);
  if( n<0 || (size_t)n>=sizeof(z) ) abort();
  put(z, (size_t)n);
}

/* What a path is beneath the folder; NULL: it is not. */
static const char *beneath(const char *zPath){
  if( nFolder==0 || strncmp(zPath, zFolder, nFolder)!=0 || zPath[nFolder]!='/' ) return NULL;
  return zPath+nFolder+1;
}

/* Whether a descriptor is of something beneath the folder, or of the folder. */
static int isOurs(int fd, char *zPath, struct stat *pStat){
  char zLink[32];
  ssize_t n;
  if( nFolder==0 || fstat(fd, pStat) || !(S_ISREG(pStat->st_mode) || S_ISDIR(pStat->st_mode)) ) return 0;
  snprintf(zLink, sizeof(zLink), "/proc/self/fd/%d", fd);
  n = readlink(zLink, zPath, PATH_MAX-1);
  if( n<=0 ) return 0;
  zPath[n] = 0;
  return beneath(zPath)!=NULL;
}

static int openOne(int fdAt, const char *zPath, int flags, mode_t mode){
  const char *z;
  struct stat before, after;
  int fd, bWas, iErrno;
  lock();
  z = beneath(zPath);
  if( z==NULL || (flags & O_CREAT)==0 ){
    fd = os.openAt(fdAt, zPath, flags, mode);
    unlock(errno);
    return fd;
  }
  bWas = lstat(zPath, &before)==0;
  fd = os.openAt(fdAt, zPath, flags, mode);
  iErrno = errno;
  if( fd>=0 && fstat(fd, &after)==0 ){
    if( !bWas ) record("create %llu %s\n", (unsigned long long)after.st_ino, z);
    else if( flags & O_TRUNC ) record("truncate %llu 0\n", (unsigned long long)after.st_ino);
  }
  unlock(iErrno);
  return fd;
}

#define OPENED(fdAt) \
  mode_t mode = 0; \
  if( (flags & O_CREAT) || (flags & O_TMPFILE)==O_TMPFILE ){ \
    va_list args; \
    va_start(args, flags); \
    mode = va_arg(args, mode_t); \
    va_end(args); \
  } \
  return openOne(fdAt, zPath, flags, mode)

int open(const char *zPath, int flags, ...){ OPENED(AT_FDCWD); }
int open64(const char *zPath, int flags, ...){ OPENED(AT_FDCWD); }
int openat(int fdAt, const char *zPath, int flags, ...){ OPENED(fdAt); }
int openat64(int fdAt, const char *zPath, int flags, ...){ OPENED(fdAt); }

static void wrote(int fd, const void *a, ssize_t n, off_t iAt){
  char zPath[PATH_MAX];
  struct stat s;
  if( n<=0 || !isOurs(fd, zPath, &s) ) return;
  record("write %llu %lld %lld\n", (unsigned long long)s.st_ino, (long long)iAt, (long long)n);
  put(a, (size_t)n);
}

ssize_t write(int fd, const void *a, size_t n){
  ssize_t k;
  int iErrno;
  lock();
  k = os.write(fd, a, n);
  iErrno = errno;
  if( k>0 ) wrote(fd, a, k, lseek(fd, 0, SEEK_CUR)-k);
  unlock(iErrno);
  return k;
}

static ssize_t writeOne(int fd, const void *a, size_t n, off_t iAt){
  ssize_t k;
  int iErrno;
  lock();
  k = os.writeAt(fd, a, n, iAt);
  iErrno = errno;
  wrote(fd, a, k, iAt);
  unlock(iErrno);
  return k;
}
ssize_t pwrite(int fd, const void *a, size_t n, off_t iAt){ return writeOne(fd, a, n, iAt); }
ssize_t pwrite64(int fd, const void *a, size_t n, off64_t iAt){ return writeOne(fd, a, n, (off_t)iAt); }

static int truncateOne(int fd, off_t n){
  char zPath[PATH_MAX];
  struct stat s;
  int rc, iErrno;
  lock();
  rc = os.truncate(fd, n);
  iErrno = errno;
  if( rc==0 && isOurs(fd, zPath, &s) ){
    record("truncate %llu %lld\n", (unsigned long long)s.st_ino, (long long)n);
  }
  unlock(iErrno);
  return rc;
}
int ftruncate(int fd, off_t n){ return truncateOne(fd, n); }
int ftruncate64(int fd, off64_t n){ return truncateOne(fd, (off_t)n); }

static void beLate(void){
  static atomic_uint nCall;
  struct timespec late = {0, (long)(atomic_fetch_add(&nCall, 1)%SYNC_LATE_STEPS)*SYNC_LATE_NS};
  pthread_once(&once, begin);
  if( nFolder ) nanosleep(&late, NULL);
}

static int syncOne(int fd, int bData){
  char zPath[PATH_MAX];
  struct stat s;
  int rc, iErrno;
  beLate();
  lock();
  rc = bData ? os.dataSync(fd) : os.sync(fd);
  iErrno = errno;
  if( rc==0 && isOurs(fd, zPath, &s) ){
    if( S_ISDIR(s.st_mode) ) record("folder %s\n", beneath(zPath));
    else record("sync %llu\n", (unsigned long long)s.st_ino);
  }
  unlock(iErrno);
  return rc;
}
int fsync(int fd){ return syncOne(fd, 0); }
int fdatasync(int fd){ return syncOne(fd, 1); }

int renameat(int fdFrom, const char *zFrom, int fdTo, const char *zTo){
  int rc, iErrno;
  lock();
  rc = os.renameAt(fdFrom, zFrom, fdTo, zTo);
  iErrno = errno;
  if( rc==0 && beneath(zFrom) && beneath(zTo) ) record("rename %s %s\n", beneath(zFrom), beneath(zTo));
  unlock(iErrno);
  return rc;
}
int rename(const char *zFrom, const char *zTo){ return renameat(AT_FDCWD, zFrom, AT_FDCWD, zTo); }

int linkat(int fdFrom, const char *zFrom, int fdTo, const char *zTo, int flags){
  int rc, iErrno;
  lock();
  rc = os.linkAt(fdFrom, zFrom, fdTo, zTo, flags);
  iErrno = errno;
  if( rc==0 && beneath(zFrom) && beneath(zTo) ) record("link %s %s\n", beneath(zFrom), beneath(zTo));
  unlock(iErrno);
  return rc;
}
int link(const char *zFrom, const char *zTo){ return linkat(AT_FDCWD, zFrom, AT_FDCWD, zTo, 0); }

int unlinkat(int fdAt, const char *zPath, int flags){
  int rc, iErrno;
  lock();
  rc = os.unlinkAt(fdAt, zPath, flags);
  iErrno = errno;
  if( rc==0 && beneath(zPath) && (flags & AT_REMOVEDIR)==0 ) record("unlink %s\n", beneath(zPath));
  unlock(iErrno);
  return rc;
}
int unlink(const char *zPath){ return unlinkat(AT_FDCWD, zPath, 0); }
