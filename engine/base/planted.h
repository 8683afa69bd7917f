/*
 * planted.h: mistakes that are made on purpose, to see whether the tests find them (scripts/mutants.sh).
 *
 * PLANTED(M4) stands where the mistake M4 of the list below would be made, and holds while that one is
 * chosen. Only a build with CASCADE_PLANTED (cmake -DCASCADE_PLANTED=ON) knows any of them, and chooses at
 * run time: the variable CASCADE_PLANT of the environment names one (planted.c), or a test does with
 * planted_choose. In every other build PLANTED is the constant 0, the code behind it is gone, and the test
 * `no_planted_bugs` looks for remains in what is shipped. Such a use is one or two lines and never inside an
 * ASSERT, whose text would stay behind.
 *
 * M1 to M18 are mistakes that storage engines are known to have made (M12 is one of value logs); N1 and so on
 * are those that would be easy to make in this one. A real bug that was found late joins the list.
 */
#ifndef CASCADE_BASE_PLANTED_H
#define CASCADE_BASE_PLANTED_H

#define PLANTED_BUGS(BUG)                                                             \
	BUG(M1, "a group is acknowledged first and synced then")                      \
	BUG(M2, "a table's sync does not wait for its last writes")                   \
	BUG(M3, "a new table's directory is not synced")                              \
	BUG(M4, "a table is not synced before the edit that names it")                \
	BUG(M5, "a segment is given back before the manifest covers it")              \
	BUG(M6, "groups of an earlier lap are taken for good")                        \
	BUG(M7, "groups are appended behind a torn tail")                             \
	BUG(M8, "a short write counts as a whole one")                                \
	BUG(M9, "EAGAIN counts as done")                                              \
	BUG(M10, "a failed sync of the log is ignored")                               \
	BUG(M11, "a failed sync of the log is tried again and then trusted")          \
	BUG(M13, "a tombstone goes though the level below may hold its key")          \
	BUG(M14, "the filter lacks the last key of a table")                          \
	BUG(M15, "pages of a closed file are found for one that got its id")          \
	BUG(M16, "the version that an edit waited with replaces a newer one")         \
	BUG(M17, "an open makes a new log over the old one")                          \
	BUG(M18, "who comes after the seal is acknowledged with the sealed group")    \
	BUG(N1, "a flush covers what was applied meanwhile to the next memtable")     \
	BUG(N2, "a group written at once is applied whether the write failed or not") \
	BUG(N3, "a get does not hold the version while it reads")                     \
	BUG(N4, "a clean close leaves one marker")                                    \
	BUG(N5, "an edit of the manifest is written once")                            \
	BUG(N6, "recovery does not sync the log's directory")                         \
	BUG(N7, "trimmed groups count as valid later")                                \
	BUG(N8, "a new run of the engine heads segments as the first one did")        \
	BUG(N9, "a read at a snapshot does not wait for what was drawn before it")    \
	BUG(N10, "a scan at a snapshot passes over keys that were written later")     \
	BUG(N11, "a segment counts as synced by a sync that began before the write")  \
	BUG(N12, "a merge drops what only the snapshot of that very sequence sees")   \
	BUG(N13, "recovery does not sync what it has replayed")                       \
	BUG(N14, "tables that lie behind the manifest's next number are not noticed") \
	BUG(N15, "a write does not take its key out of the record cache")             \
	BUG(N16, "a record is kept though a memtable was rotated since its read began")

#ifdef CASCADE_PLANTED

#include <stdbool.h>

#define PLANTED_NUMBER(name, what) PLANTED_##name,
enum planted { PLANTED_NONE, PLANTED_BUGS(PLANTED_NUMBER) PLANTED_COUNT };
#undef PLANTED_NUMBER

/* Of the whole process; changed only while no engine runs. */
extern enum planted planted_chosen;

/* From now on that one is there; NULL: none. False: there is none of that name. */
bool planted_choose(const char *name);

/* Counts that the chosen one was met; true. */
bool planted_meet(void);

#define PLANTED(name) (planted_chosen == PLANTED_##name && planted_meet())

#else

#define PLANTED(name) 0

#endif

#endif
