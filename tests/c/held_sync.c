/*
** A disk whose syncs wait: fdatasync() returns once a file is gone.
**
** PURPOSE   A library that goes before the system's own (LD_PRELOAD): holds commits as long as a test wants.
** BUILD     cc -O1 -shared -fPIC -o held_sync.so tests/c/held_sync.c -ldl    (Linux)
** USE       HELD_SYNC: path of the file. While it is there, who syncs makes HELD_SYNC.held and waits.
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int fdatasync(int fd){
  int (*xNext)(int);
  const char *zHold = getenv("HELD_SYNC");
  char zHeld[PATH_MAX];
  *(void**)&xNext = dlsym(RTLD_NEXT, "fdatasync");
  if( xNext==NULL ) abort();
  if( zHold && access(zHold, F_OK)==0 ){
    snprintf(zHeld, sizeof(zHeld), "%s.held", zHold);
    close(open(zHeld, O_CREAT|O_WRONLY, 0600));
    while( access(zHold, F_OK)==0 ) usleep(1000);
  }
  return xNext(fd);
}
