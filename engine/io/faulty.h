/*
 * faulty.h: a backend around another one that makes chosen requests go wrong; for tests.
 *
 * A plan holds rules; an instance of "faulty" asks the installed plan about each request that is submitted.
 * What a healthy kernel does in the middle of a request (a short transfer, EAGAIN) is done to the kernel
 * calls of the inner backend, so that its own handling is what is tested; everything else happens between the
 * caller and the inner backend, whichever that is. At most one rule fires for a request: the first added.
 * Every rule and every kind counts how often it fired: a test that injects a fault asserts that it happened.
 *
 * A plan may be used by the threads of several instances at once. With one thread its choices depend on
 * nothing but its seed and the requests.
 */
#ifndef CASCADE_IO_FAULTY_H
#define CASCADE_IO_FAULTY_H

#include <stdbool.h>
#include <stdint.h>

#include "io/io.h"

/* "faulty"; what is inside is named by faulty_install. */
extern const struct io_backend io_backend_faulty;

enum faulty_kind {
	FAULTY_ERROR,	   /* fails with `error` and does nothing; a close closes all the same */
	FAULTY_ERROR_DONE, /* is carried out, and reported as failed with `error` */
	FAULTY_PASSING, /* a kernel call gives `error` (EAGAIN, EINTR), having happened or not; `row` times */
	FAULTY_SHORT,	/* a kernel call transfers less than it was asked to; `row` calls of the request */
	FAULTY_SPACE,	/* ENOSPC once `bytes` were written or allocated; a write is cut at a page first */
	/* A sync or durable write fails; over `simulated` as enum simulated_sync_failure says, ... */
	FAULTY_SYNC_CLEAN_NEW, /* ... elsewhere nothing is synced */
	FAULTY_SYNC_CLEAN_OLD, /* ... elsewhere nothing is synced, and a durable write is not made */
	FAULTY_SYNC_LATE,      /* ... nothing is synced; the next sync of the file reports it */
	FAULTY_SYNC_PARTLY,    /* ... elsewhere everything is synced */
	FAULTY_SYNC_KEPT,      /* ... nothing is synced; a later sync that succeeds can be trusted */
	FAULTY_STALL,	       /* completes up to `delay_ns` later than it would */
	FAULTY_FLIP,	       /* one bit of what was read is wrong */
	FAULTY_ZERO,	       /* one 512 byte unit of what was read is zeros */
	FAULTY_MISDIRECT,      /* a write lands on another page of the file; reported as done */
	FAULTY_LOSE,	       /* a write is reported as done and not made */
	FAULTY_KIND_COUNT
};

#define FAULTY_OPERATION(operation) (1u << (operation))

struct faulty_rule {
	enum faulty_kind kind;
	/* Of FAULTY_OPERATION; 0: all to which the kind applies. A durable write counts as a sync for its
	 * kinds. */
	unsigned operations;
	/* fnmatch pattern of the file's name, or of its whole path if it has a slash; NULL: any. Borrowed. */
	const char *file;
	uint64_t nth;	/* fires at the n-th request that matches from now on (1: the next); 0: by chance */
	uint64_t times; /* nth: that one and those after it, 0: 1. By chance: at most, 0: without limit */
	uint32_t in_million; /* the chance */
	int error;	     /* an errno value; 0: EIO; of PASSING: EAGAIN */
	unsigned row;	     /* PASSING, SHORT; 0: 1 */
	uint64_t bytes;	     /* SPACE */
	uint64_t delay_ns;   /* STALL; 0: 1 ms */
};

struct faulty;

/* A plan without rules: requests pass untouched. Aborts where there is no memory. */
struct faulty *faulty_create(uint64_t seed);
/* No instance uses it any more. */
void faulty_destroy(struct faulty *plan);

/* From now on io_create("faulty") makes an instance of `inner` (a name, borrowed) with this plan around it.
 */
void faulty_install(struct faulty *plan, const char *inner);

/* As simulated_is_ready, for an instance of "faulty" over one of "simulated". */
bool faulty_is_ready(const struct io *io);

enum { FAULTY_RULES_MAX = 32 };

/* Rules may come and go while requests are under way. Returns the rule's number. */
unsigned faulty_add(struct faulty *plan, const struct faulty_rule *rule);
void faulty_remove(struct faulty *plan, unsigned rule);
/* Takes all rules away. The counts of kinds stay. */
void faulty_clear(struct faulty *plan);

/* How many requests the rule matched, and at how many it fired. */
uint64_t faulty_met(struct faulty *plan, unsigned rule);
uint64_t faulty_fired(struct faulty *plan, unsigned rule);
/* Over all rules there ever were. */
uint64_t faulty_count(struct faulty *plan, enum faulty_kind kind);
const char *faulty_kind_name(enum faulty_kind kind);

#endif
