/*
** The shim's operating system where it is Windows, 10 or later; see platform.h.
**
** FILES     Names are UTF-8. Who has a file open keeps nobody from opening, renaming or removing it, as POSIX has it. A lock
**           lies far behind any content, for Windows keeps others from reading what is locked. Others, such as virus
**           scanners, may hold a file for a moment: it is then tried again for a second.
** THREADS   A thread's end is told by fiber-local storage. When the process ends, Windows has killed all other threads,
**           perhaps with locks in their hands, and nothing is told.
** LEFT OUT  Rights of files: they are what their folder hands down. Syncs of names: the file system's journal has them.
*/
#if defined(_WIN32)
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "platform.h"
#include <bcrypt.h>

#define NS         1000000000
#define TRIES      40
#define TRY_MS     25
#define LOCK_PLACE 0x40000000                /* high half of the place of a lock */
#define CHUNK_MAX  (1u<<30)                  /* bytes of one call */
#define SHARE_ALL  (FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)
#define LONG_PATH  240                       /* characters from which on a path needs a prefix */
#define DISK_QUOTA_EXCEEDED 1295              /* older headers do not have its name */

/* --------------------------------------------------------------------------------------- threads and clocks */

typedef struct OnceCall { void (*x)(void); } OnceCall;

static BOOL CALLBACK onceCall(INIT_ONCE *p, void *pCall, void **ppOut){
  (void)p;
  (void)ppOut;
  ((OnceCall*)pCall)->x();
  return TRUE;
}

void lsOnce(LsOnce *p, void (*x)(void)){
  OnceCall call = {x};
  InitOnceExecuteOnce(p, onceCall, &call, NULL);
}

void lsCondInit(LsCond *p){ InitializeConditionVariable(p); }

int lsCondWaitUntil(LsCond *p, LsMutex *pMutex, int64_t nsEnd){
  int64_t ms = (nsEnd-lsMonotonicNs()+999999)/1000000;
  if( ms<0 ) ms = 0;
  if( ms>INT32_MAX ) ms = INT32_MAX;
  if( SleepConditionVariableSRW(p, pMutex, (DWORD)ms, 0) ) return 0;
  return lsMonotonicNs()>=nsEnd;
}

typedef struct ThreadValue {
  DWORD iSlot;
  void (*xEnded)(void*);
  void *pValue;
} ThreadValue;

static int processEnds(void){
  typedef BOOLEAN (NTAPI *InProgress)(void);
  HMODULE h = GetModuleHandleA("ntdll.dll");
  InProgress x = h ? (InProgress)(void(*)(void))GetProcAddress(h, "RtlDllShutdownInProgress") : NULL;
  return x && x();
}

/* Of several keys the one that ends later may yet ask for the values of those before. */
static void NTAPI threadEnded(void *pArg){
  ThreadValue *p = pArg;
  if( processEnds() ) return;
  FlsSetValue(p->iSlot, NULL);
  if( p->pValue ) p->xEnded(p->pValue);
  free(p);
}

int lsThreadKeyMake(LsThreadKey *p, void (*xEnded)(void*)){
  p->iSlot = FlsAlloc(threadEnded);
  p->xEnded = xEnded;
  return p->iSlot==FLS_OUT_OF_INDEXES;
}

int lsThreadSet(LsThreadKey key, void *pValue){
  ThreadValue *p = FlsGetValue(key.iSlot);
  if( p==NULL ){
    p = calloc(1, sizeof(*p));
    if( p==NULL || !FlsSetValue(key.iSlot, p) ){
      free(p);
      return 1;
    }
    p->iSlot = key.iSlot;
    p->xEnded = key.xEnded;
  }
  p->pValue = pValue;
  return 0;
}

static LsThreadKey ownKey;
static LsOnce onceOwn = LS_ONCE_INIT;
static int rcOwn;                            /* of making the key */

static void ownMake(void){ rcOwn = lsThreadKeyMake(&ownKey, free); }

LsOwn *lsOwn(void){
  static LsOwn ownOfAll = {.bShared = 1};
  ThreadValue *pValue;
  LsOwn *p;
  lsOnce(&onceOwn, ownMake);
  pValue = rcOwn ? NULL : FlsGetValue(ownKey.iSlot);
  if( pValue && pValue->pValue ) return pValue->pValue;
  p = rcOwn ? NULL : calloc(1, sizeof(*p));
  if( p && lsThreadSet(ownKey, p)==0 ) return p;
  free(p);
  return &ownOfAll;
}

int64_t lsMonotonicNs(void){
  LARGE_INTEGER n, nPerSecond;
  QueryPerformanceFrequency(&nPerSecond);
  QueryPerformanceCounter(&n);
  return n.QuadPart/nPerSecond.QuadPart*NS + n.QuadPart%nPerSecond.QuadPart*NS/nPerSecond.QuadPart;
}

int64_t lsBootMs(void){ return (int64_t)GetTickCount64(); }

/* Of what counts steps of 100 ns since 1601. */
uint64_t lsNowNs(void){
  FILETIME t;
  GetSystemTimePreciseAsFileTime(&t);
  return (((uint64_t)t.dwHighDateTime<<32 | t.dwLowDateTime) - 116444736000000000u)*100;
}

void lsUtc(int64_t s, struct tm *p){
  time_t t = (time_t)s;
  gmtime_s(p, &t);
}

void lsModulePin(const void *pAddress){
  HMODULE h;
  DWORD f = GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS;
  (void)GetModuleHandleExA(f, (LPCSTR)pAddress, &h);
}

/* --------------------------------------------------------------------------------------------------- files */

static int fault(DWORD iError){
  lsOwn()->iSystem = (int)iError;
  switch( iError ){
    case ERROR_DISK_FULL: case ERROR_HANDLE_DISK_FULL: case DISK_QUOTA_EXCEEDED: return LS_IO_FULL;
    case ERROR_FILE_NOT_FOUND: case ERROR_PATH_NOT_FOUND: return LS_IO_ABSENT;
    case ERROR_LOCK_VIOLATION: return LS_IO_BUSY;
    default: return LS_IO_FAILED;
  }
}

const char *lsSystemText(void){
  LsOwn *p = lsOwn();
  WCHAR a[sizeof(p->zSystem)/3];
  DWORD f = FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS | FORMAT_MESSAGE_MAX_WIDTH_MASK;
  DWORD n = FormatMessageW(f, NULL, (DWORD)p->iSystem, 0, a, sizeof(a)/sizeof(a[0]), NULL);
  int k = WideCharToMultiByte(CP_UTF8, 0, a, (int)n, p->zSystem, sizeof(p->zSystem)-1, NULL, NULL);
  while( k>0 && (p->zSystem[k-1]==' ' || p->zSystem[k-1]=='.') ) k--;
  p->zSystem[k] = 0;
  if( k==0 ) snprintf(p->zSystem, sizeof(p->zSystem), "error %d", p->iSystem);
  return p->zSystem;
}

/* A full path as the system wants it, to be freed; NULL, and fault() was told. */
static WCHAR *widePath(const char *zPath){
  int n = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, zPath, -1, NULL, 0);
  WCHAR *aName = n>0 ? malloc((size_t)n*sizeof(WCHAR)) : NULL, *aFull = NULL;
  DWORD nFull = 0;
  if( aName && MultiByteToWideChar(CP_UTF8, 0, zPath, -1, aName, n)==n ) nFull = GetFullPathNameW(aName, 0, NULL, NULL);
  if( nFull ) aFull = malloc((nFull+8)*sizeof(WCHAR));
  if( aFull==NULL || GetFullPathNameW(aName, nFull, aFull, NULL)>=nFull ){
    fault(n>0 ? ERROR_NOT_ENOUGH_MEMORY : ERROR_INVALID_NAME);
    free(aFull);
    aFull = NULL;
  }else if( nFull>LONG_PATH && wcsncmp(aFull, L"\\\\", 2)!=0 ){
    memmove(aFull+4, aFull, nFull*sizeof(WCHAR));
    memcpy(aFull, L"\\\\?\\", 4*sizeof(WCHAR));
  }else if( nFull>LONG_PATH && wcsncmp(aFull, L"\\\\?\\", 4)!=0 && wcsncmp(aFull, L"\\\\.\\", 4)!=0 ){
    memmove(aFull+8, aFull+2, (nFull-2)*sizeof(WCHAR));
    memcpy(aFull, L"\\\\?\\UNC\\", 8*sizeof(WCHAR));
  }
  free(aName);
  return aFull;
}

/* As CreateFileW(), tried again while another keeps the file. */
static HANDLE openTried(const WCHAR *aPath, DWORD eAccess, DWORD eCreate, DWORD eFlag){
  int i;
  for(i=1;; i++){
    HANDLE h = CreateFileW(aPath, eAccess, SHARE_ALL, NULL, eCreate, eFlag, NULL);
    DWORD e = h==INVALID_HANDLE_VALUE ? GetLastError() : 0;
    if( (e!=ERROR_SHARING_VIOLATION && e!=ERROR_DELETE_PENDING) || i==TRIES ) return h;
    Sleep(TRY_MS);
  }
}

static int isPlain(HANDLE h){
  BY_HANDLE_FILE_INFORMATION info;
  DWORD eOther = FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_REPARSE_POINT;
  return GetFileType(h)==FILE_TYPE_DISK && GetFileInformationByHandle(h, &info) && (info.dwFileAttributes & eOther)==0;
}

int lsFileOpen(const char *zPath, int eFlag, LsFd *pFd){
  WCHAR *aPath = widePath(zPath);
  DWORD e = FILE_ATTRIBUTE_NORMAL | (eFlag & LS_FILE_PLAIN ? FILE_FLAG_OPEN_REPARSE_POINT : 0);
  HANDLE h;
  int rc = 0;
  *pFd = LS_NO_FILE;
  if( aPath==NULL ) return LS_IO_FAILED;
  h = openTried(aPath, GENERIC_READ | GENERIC_WRITE, eFlag & LS_FILE_NEW ? CREATE_NEW : OPEN_ALWAYS, e);
  if( h==INVALID_HANDLE_VALUE ) rc = fault(GetLastError());
  free(aPath);
  if( rc ) return rc;
  if( (eFlag & LS_FILE_PLAIN) && !isPlain(h) ){
    CloseHandle(h);
    return fault(ERROR_BAD_FILE_TYPE);
  }
  *pFd = (LsFd)h;
  return 0;
}

void lsFileClose(LsFd fd){ CloseHandle((HANDLE)fd); }

LsFd lsFileAgain(LsFd fd){
  HANDLE h, hProcess = GetCurrentProcess();
  if( DuplicateHandle(hProcess, (HANDLE)fd, hProcess, &h, 0, FALSE, DUPLICATE_SAME_ACCESS) ) return (LsFd)h;
  fault(GetLastError());
  return LS_NO_FILE;
}

static OVERLAPPED placeOf(uint64_t iAt){
  OVERLAPPED o;
  memset(&o, 0, sizeof(o));
  o.Offset = (DWORD)iAt;
  o.OffsetHigh = (DWORD)(iAt>>32);
  return o;
}

int lsFileRead(LsFd fd, uint8_t *a, size_t n, uint64_t iAt){
  while( n>0 ){
    OVERLAPPED o = placeOf(iAt);
    DWORD k = 0;
    if( !ReadFile((HANDLE)fd, a, n<CHUNK_MAX ? (DWORD)n : CHUNK_MAX, &k, &o) && GetLastError()!=ERROR_HANDLE_EOF ){
      return fault(GetLastError());
    }
    if( k==0 ) return LS_IO_SHORT;
    a += k;
    n -= k;
    iAt += k;
  }
  return 0;
}

int lsFileWrite(LsFd fd, const uint8_t *a, size_t n, uint64_t iAt){
  while( n>0 ){
    OVERLAPPED o = placeOf(iAt);
    DWORD k = 0;
    if( !WriteFile((HANDLE)fd, a, n<CHUNK_MAX ? (DWORD)n : CHUNK_MAX, &k, &o) ) return fault(GetLastError());
    if( k==0 ) return fault(ERROR_WRITE_FAULT);
    a += k;
    n -= k;
    iAt += k;
  }
  return 0;
}

int lsFileSize(LsFd fd, uint64_t *pn){
  LARGE_INTEGER n;
  if( !GetFileSizeEx((HANDLE)fd, &n) ) return fault(GetLastError());
  *pn = (uint64_t)n.QuadPart;
  return 0;
}

int lsFileCut(LsFd fd, uint64_t n){
  FILE_END_OF_FILE_INFO info;
  info.EndOfFile.QuadPart = (LONGLONG)n;
  return SetFileInformationByHandle((HANDLE)fd, FileEndOfFileInfo, &info, sizeof(info)) ? 0 : fault(GetLastError());
}

int lsFileSync(LsFd fd){ return FlushFileBuffers((HANDLE)fd) ? 0 : fault(GetLastError()); }

int lsFileSyncName(const char *zPath){
  (void)zPath;
  return 0;
}

/* Gives a file that is about to be removed another name beside its own. */
static void renameAway(HANDLE h, const WCHAR *aPath){
  static const WCHAR aHex[] = L"0123456789abcdef";
  size_t i, n = wcslen(aPath);
  uint8_t aRandom[8];
  FILE_RENAME_INFO *p = calloc(1, sizeof(*p) + (n+20)*sizeof(WCHAR));
  if( p==NULL || lsRandom(aRandom, sizeof(aRandom)) ){
    free(p);
    return;
  }
  memcpy(p->FileName, aPath, n*sizeof(WCHAR));
  p->FileName[n++] = '.';
  for(i=0; i<sizeof(aRandom); i++){
    p->FileName[n++] = aHex[aRandom[i]>>4];
    p->FileName[n++] = aHex[aRandom[i] & 15];
  }
  p->FileNameLength = (DWORD)(n*sizeof(WCHAR));
  (void)SetFileInformationByHandle(h, FileRenameInfo, p, (DWORD)(sizeof(*p) + n*sizeof(WCHAR)));
  free(p);
}

/*
** The name is free at once, as in POSIX, where the file system knows how (NTFS since Windows 10); elsewhere a file goes when
** nobody has it open any more, and until then by another name.
*/
static int removeOpen(HANDLE h, const WCHAR *aPath){
  struct { DWORD Flags; } info = {0x1 | 0x2 | 0x10};       /* DELETE, POSIX_SEMANTICS, IGNORE_READONLY_ATTRIBUTE */
  FILE_DISPOSITION_INFO infoOld = {TRUE};
  if( SetFileInformationByHandle(h, (FILE_INFO_BY_HANDLE_CLASS)21 /* FileDispositionInfoEx */, &info, sizeof(info)) ) return 0;
  renameAway(h, aPath);
  return SetFileInformationByHandle(h, FileDispositionInfo, &infoOld, sizeof(infoOld)) ? 0 : fault(GetLastError());
}

int lsFileRemove(const char *zPath){
  WCHAR *aPath = widePath(zPath);
  HANDLE h;
  int rc;
  if( aPath==NULL ) return LS_IO_FAILED;
  h = openTried(aPath, DELETE, OPEN_EXISTING, FILE_FLAG_OPEN_REPARSE_POINT);
  rc = h==INVALID_HANDLE_VALUE ? fault(GetLastError()) : removeOpen(h, aPath);
  free(aPath);
  if( h!=INVALID_HANDLE_VALUE ) CloseHandle(h);
  return rc;
}

int lsFileNamed(LsFd fd){
  FILE_STANDARD_INFO info;
  if( !GetFileInformationByHandleEx((HANDLE)fd, FileStandardInfo, &info, sizeof(info)) ) return -1;
  return info.NumberOfLinks>0 && !info.DeletePending;
}

int lsFileIs(LsFd fd, const char *zPath){
  BY_HANDLE_FILE_INFORMATION info, infoNow;
  WCHAR *aPath = widePath(zPath);
  HANDLE h = aPath ? openTried(aPath, 0, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS) : INVALID_HANDLE_VALUE;
  int b;
  free(aPath);
  if( h==INVALID_HANDLE_VALUE ) return 0;
  b = GetFileInformationByHandle((HANDLE)fd, &info) && GetFileInformationByHandle(h, &infoNow)
    && info.dwVolumeSerialNumber==infoNow.dwVolumeSerialNumber
    && info.nFileIndexHigh==infoNow.nFileIndexHigh && info.nFileIndexLow==infoNow.nFileIndexLow;
  CloseHandle(h);
  return b;
}

int lsFileLock(LsFd fd){
  OVERLAPPED o = placeOf((uint64_t)LOCK_PLACE<<32);
  DWORD e = LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY;
  return LockFileEx((HANDLE)fd, e, 0, 1, 0, &o) ? 0 : fault(GetLastError());
}

int lsRandom(uint8_t *a, size_t n){
  return BCryptGenRandom(NULL, a, (ULONG)n, BCRYPT_USE_SYSTEM_PREFERRED_RNG) ? fault(ERROR_GEN_FAILURE) : 0;
}

#else
typedef int LsNotWindows;  /* ISO C has no empty translation unit */
#endif
