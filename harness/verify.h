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
 * Scans. Rows must ascend from the start key, each with the value of its own key, not newer than issued. A
 * row may be older than its key's floor by no more than all floors together have advanced since the scan
 * began (its snapshot may be that old); without writes that is exact. If the start key was surely present it
 * must be the first row. A row missing from the middle is not noticed.
 *
 * Values under 8 bytes are compared with each version that is possible, up to 64 of them, and tell nothing
 * about a row of a scan. Empty values tell only that they are there.
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
#include "harness/workload.h"

struct verifier;

/* For a database that is empty now. Errors: NO_MEMORY. */
MUST_CHECK struct status verifier_create(const struct workload *workload, struct verifier **verifier);
void verifier_destroy(struct verifier *verifier); /* NULL is allowed */

/*
 * Room for clients 0 .. count - 1, and all totals at zero; between phases only, when nothing is in flight.
 * What is known about keys stays.
 */
MUST_CHECK struct status verifier_begin_phase(struct verifier *verifier, uint32_t count);

struct verify_totals {
	uint64_t checked;	  /* reads, misses and rows that were judged */
	uint64_t undecided;	  /* that could not be: see (f), unknown keys, short values */
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

struct verify_scan {
	struct verify_read first; /* of the start key */
	uint64_t advances;
	uint64_t rows;
	uint32_t key_size; /* of the row before */
	bool start_seen;
	uint8_t key[64];
};

/* `start`: the start key; borrowed until the end. */
void verify_scan_begin(struct verifier *verifier, uint64_t start_number, struct slice start,
		       struct verify_scan *scan);
bool verify_scan_row(struct verifier *verifier, uint32_t client, struct verify_scan *scan, struct slice start,
		     struct slice key, struct slice value);
/* After the engine has returned OK; `count`: rows asked for. */
bool verify_scan_end(struct verifier *verifier, uint32_t client, const struct verify_scan *scan,
		     uint64_t count);

#endif
