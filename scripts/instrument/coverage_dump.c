/*
** Writes the counters of a shim that was compiled with --coverage to their files while it is used: runtimes end without what
** libraries do at the end, and some tests kill their processes.
*/
#include <pthread.h>
#include <time.h>

void __gcov_dump(void);
void __gcov_reset(void);

static void *dump(void *p){
  struct timespec t = { 0, 100*1000*1000 };
  for(;;){
    nanosleep(&t, 0);
    __gcov_dump();
    __gcov_reset();
  }
  return p;
}

__attribute__((constructor)) static void begin(void){
  pthread_t thread;
  if( pthread_create(&thread, 0, dump, 0)==0 ) pthread_detach(thread);
}
