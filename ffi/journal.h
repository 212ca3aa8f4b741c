/*
** What shim.c and journal.c share: the rollback journal of a replica that is open for writing. Nothing here
** is exported.
*/
#ifndef LITESTREAM_JOURNAL_H
#define LITESTREAM_JOURNAL_H

#include <stdint.h>
#include <sqlite3.h>

#define LS_JOURNAL_MEMORY (16*1024*1024)   /* bytes, where no bound is given */

/* What SQLite need not guard against in a journal that no crash leaves behind. It asks the database's file,
** never the journal's, so the former says it too. Not ATOMIC: some builds then do without the journal. */
#define LS_JOURNAL_TRAITS \
  (SQLITE_IOCAP_SAFE_APPEND|SQLITE_IOCAP_SEQUENTIAL|SQLITE_IOCAP_POWERSAFE_OVERWRITE)

int lsJournalSize(void);   /* bytes that szOsFile must have at least */
/* Makes pFile an empty journal, of at most nMemoryMax bytes in memory (0: LS_JOURNAL_MEMORY). A longer one is
** a temporary file of pBase. Never fails; xClose frees. */
void lsJournalOpen(sqlite3_vfs *pBase, sqlite3_file *pFile, int64_t nMemoryMax);

#endif
