/*
 * verify.h: whether what an engine returns can be what was written.
 *
 * Every value names its key number and the version of the write that made it (value.h). For each key the
 * verifier keeps the newest version issued and the oldest one that a read may still return, in 4 bytes: 10
 * million keys take 40 MB. Checks are exact where they can be and lenient where they cannot: an engine that
 * keeps its promises never causes a mismatch, however its writes overlap, fail, or are delayed.
 *
 * The word of a key holds `issued` and `floor` (14 bits each, wrapping) and three flags:
 *
 * - PRESENT: every write that a read may still see is a put, so NOT_FOUND is wrong.
 *
 * - SHARED: more than one write may carry the version `issued`.
 *
 * - FROZEN: a write of unknown outcome may take effect at any time; the floor stays where it is.
 *
 * A write w to key k by client c takes these steps:
 *
 * - Step 1: c's slot := {k, ISSUING}. One is added to the writes in flight of k's bucket.
 *
 * - Step 2, by compare-and-swap on the word: version(w) := ++issued, and SHARED is cleared. But if issued -
 * floor has reached LAG_MAX, issued stays, version(w) := issued, and SHARED is set. A delete clears PRESENT
 * in the same swap, and adds one to the deletes of k's bucket after it.
 *
 * - Step 3: c's slot := {k, IN_FLIGHT, version(w)}.
 *
 * - Step 4: lowest(w) := the least version in flight on k as all slots tell, version(w) included; unknown if
 * a slot says {k, ISSUING}. If the bucket counts only w, there is nobody else to look at.
 *
 * - Step 5: the engine is called and returns.
 *
 * - Step 6, by compare-and-swap. Acknowledged: floor := max(floor, lowest(w)), unless that is unknown or
 * FROZEN is set; if then floor = issued = version(w), w is a put and neither SHARED nor FROZEN is set,
 * PRESENT is set. Failed: FROZEN is set.
 *
 * - Step 7: c's slot is emptied. One is taken from the bucket's writes in flight.
 *
 * A read takes the word before the engine is called (begin) and after it has returned (end). A value is
 * right if floor(begin) <= version <= issued(end). NOT_FOUND is wrong if PRESENT was set at begin and no
 * delete was counted in k's bucket until end.
 *
 * Why this never accuses wrongly. Call a write dead when some write that was acknowledged had begun after
 * the first had been acknowledged: in every order that respects real time it is overwritten.
 *
 * - A. Versions do not decrease in the order of step 2, which is the order of the word's modifications.
 *
 * - B. If u took step 2 before w did, and has not finished step 6 when w is in step 4, then w sees u: u's
 * step 1 comes before u's step 2, and w's swap comes later in the word's modification order and acquires what
 * u's released. So the bucket counts at least two, and u's slot says ISSUING or IN_FLIGHT. Hence every u with
 * version(u) < lowest(w) had been acknowledged, or had failed and frozen the floor, before w called the
 * engine; and by A no later write has such a version.
 *
 * - C. So when w is acknowledged, all writes with versions below lowest(w) are dead. The floor takes only
 * such values; whatever lies below it is dead, and a read that begins later must not return it. A write that
 * failed is either seen by w's step 4 and bounds lowest(w), or has set FROZEN before, which w's step 6 sees.
 *
 * - D. A read returns only what some write has handed to the engine, after its step 2: a version of at most
 * issued(end).
 *
 * - E. When w sets PRESENT, floor = issued = version(w) and no other write has this version. By B and C all
 * others are dead, so the key is there. A delete clears PRESENT in step 2. If a read whose begin still had
 * PRESENT can see a delete, that delete's swap came after begin and its count before the engine saw it: the
 * count at end differs from that at begin, which was taken before the word.
 *
 * - F. Wrapping does no harm. By B, floor <= version(u) for each u in flight, so versions in flight lie
 * within LAG_MAX of the floor and of each other. During a read, issued may grow without bound, but each
 * multiple of CROSSING is counted in the bucket before it is issued. If at most one was counted, at most two
 * were passed (one may have been counted just before the read), so fewer than 3 * CROSSING versions were
 * issued, and LAG_MAX + 3 * CROSSING < 2^14. Otherwise the read is not judged by its version.
 *
 * Scans. Before the engine is called, the keys from the start key on are looked up in an index of all keys
 * (verify_index.h), as many as cover the rows asked for, and for each of them what a read would note. Rows
 * must ascend from the start key. Each row of a noted key is judged as a read of it would be; a noted key
 * that the rows step over, or that they end before though fewer came than were asked for, as a read that
 * found nothing. So a row that is missing, stale, twice there, misplaced or risen from the dead is noticed,
 * exactly as a read would notice it; of several missing rows at least the first. A row of a key that was not
 * noted (it was first written after the scan had begun, or lies behind those noted, because others were
 * removed meanwhile) must carry its key's value, not newer than issued, and older than its floor by no more
 * than all floors together have advanced since. The index takes a key before its first write begins, so every
 * key acknowledged before a scan is in it; of two first writes of one key at once only one does so, and a
 * scan may overlook the key until it has.
 *
 * Values under 8 bytes are compared with each version that is possible, up to 64 of them. Empty values tell
 * only that they are there.
 *
 * Threading: each client index is used by one client at a time. All functions on clients are thread-safe,
 * never wait, and suit tasks.
 */
#ifndef CASCADE_HARNESS_VERIFY_H
#define CASCADE_HARNESS_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/status.h"
#include "harness/verify_index.h"
#include "harness/workload.h"

struct verifier;

/* For a database that is empty now. Errors: NO_MEMORY. */
MUST_CHECK struct status verifier_create(const struct workload *workload, struct verifier **verifier);
void verifier_destroy(struct verifier *verifier); /* NULL is allowed */

/*
 * Room for clients 0 .. count - 1, and all totals at zero; between phases only, when nothing is in flight.
 * What is known about keys stays. `scan_max`: the most rows of a scan; 0: nobody scans, and no index is made.
 * After an error no client may begin.
 */
MUST_CHECK struct status verifier_begin_phase(struct verifier *verifier, uint32_t count, uint64_t scan_max);

struct verify_totals {
	uint64_t checked;	  /* reads, misses and rows that were judged */
	uint64_t undecided;	  /* that could not be: see F; short values; rows not noted before */
	uint64_t mismatches;	  /* among `checked` */
	char first_mismatch[256]; /* "" if none */
};

/* Since verifier_begin_phase. */
void verifier_totals(const struct verifier *verifier, struct verify_totals *totals);

/* Asks for the key's word ahead of its use. */
void verify_prefetch(const struct verifier *verifier, uint64_t key_number);

/* --- writes --- */

struct verify_write {
	void *word; /* NULL: not tracked */
	uint64_t key_number;
	uint32_t version;
	uint32_t lowest;
	bool lowest_known;
	bool removes;
};

/* Steps 1 to 4. Returns the version that the value has to carry. */
uint32_t verify_write_begin(struct verifier *verifier, uint32_t client, uint64_t key_number, bool removes,
			    struct verify_write *write);

/* Steps 6 and 7. `acknowledged` false: the engine returned an error, and the outcome is unknown. */
void verify_write_end(struct verifier *verifier, uint32_t client, const struct verify_write *write,
		      bool acknowledged);

/* --- reads --- */

struct verify_read {
	void *word;
	uint64_t key_number;
	uint32_t begin;
	uint32_t crossings;
	uint32_t deletes;
};

void verify_read_begin(struct verifier *verifier, uint64_t key_number, struct verify_read *read);

/* After the engine has returned a value, or NOT_FOUND. False: a mismatch, which is counted and noted. */
bool verify_read_value(struct verifier *verifier, uint32_t client, const struct verify_read *read,
		       struct slice value);
bool verify_read_missing(struct verifier *verifier, uint32_t client, const struct verify_read *read);

/* --- scans --- */

/* A key that a scan should meet. */
struct verify_expected {
	struct verify_place place;
	struct verify_read read;
};

struct verify_scan {
	uint64_t start_number;
	uint64_t count;			  /* rows asked for */
	uint64_t rows;			  /* that came */
	uint64_t advances;		  /* of all floors */
	struct verify_place last;	  /* the start, then the last row in order */
	bool moved;			  /* there was such a row */
	struct verify_expected *expected; /* the client's */
	size_t expected_count, expected_next;
};

/* One scan at a time for each client. `count`: rows asked for. */
void verify_scan_begin(struct verifier *verifier, uint32_t client, uint64_t start_number, uint64_t count,
		       struct verify_scan *scan);
bool verify_scan_row(struct verifier *verifier, uint32_t client, struct verify_scan *scan, struct slice key,
		     struct slice value);
/* After the engine has returned OK. */
bool verify_scan_end(struct verifier *verifier, uint32_t client, struct verify_scan *scan);

#endif
