/*
 * client.h: one client of a phase: a closed loop that takes the next operation as soon as the last one has
 * ended. It runs on a thread of its own, or as a task of the engine under test, where it must not block:
 * it owns all that it writes, and shares only atomics with its phase.
 *
 * Time. A service time runs from the call of the driver to its return. The loop is closed, so the end of one
 * operation serves as the start of the next when nothing but bookkeeping (a few ns) lies between; after
 * anything longer (drawing operations, making or verifying a value, giving way) the clock is read anew. An
 * open loop, in which operations are due at given times, must not do so. Times are readings of the stopwatch
 * (ticks.h).
 */
#ifndef CASCADE_HARNESS_CLIENT_H
#define CASCADE_HARNESS_CLIENT_H

#include <stdatomic.h>
#include <stdbool.h>

#include "harness/generator.h"
#include "harness/histogram.h"
#include "harness/value.h"
#include "harness/verify.h"
#include "harness/workload.h"

enum client_stage {
	STAGE_PREPARING, /* clients get ready */
	STAGE_WARMUP,	 /* they work, and nothing is counted */
	STAGE_MEASURING,
	STAGE_STOPPING, /* no operation begins any more */
};

enum {
	/* Operations of a task in a row: hits never suspend, so tasks have to give way themselves. */
	CLIENT_TASK_BURST = 4,
	/* Where the two halves of a read-modify-write are kept, so that `read` and `update` can have them and
	 * a timeline need not count them twice. */
	PART_RMW_READ = OPERATION_KINDS,
	PART_RMW_UPDATE,
	CLIENT_HISTOGRAMS,
};

struct client;

/* What the clients of a phase share. */
struct client_group {
	const struct workload *workload;
	const struct phase *phase;
	struct driver *driver;
	struct verifier *verifier; /* NULL: nothing is verified */
	struct value_maker *maker;
	struct generator generator; /* of run phases */
	struct client *clients;
	uint32_t count;
	bool track_inserts; /* somebody draws from a growing key space */
	int wake_fd;	    /* an eventfd, written when the last client has ended */
	_Alignas(64) _Atomic int stage;
	_Atomic uint32_t ready;	  /* clients that have reached their loop */
	_Atomic uint32_t running; /* clients that have not ended */
	_Alignas(64) _Atomic uint64_t next_insert;
	/*
	 * Key numbers below are acknowledged (or failed). It is the least of next_insert, read first, and of
	 * the inserts in flight: a client announces a lower bound of its number before it takes one, so a
	 * number that was taken before next_insert was read cannot be overlooked.
	 */
	_Alignas(64) _Atomic uint64_t acknowledged;
	/* What each client announces, UINT64_MAX: none. Close together, because each insert reads all. */
	_Atomic uint64_t *inserting;
};

struct client {
	_Alignas(64) struct client_group *group;
	struct driver_client *handle;
	const struct driver_ops *ops;
	uint32_t index;
	uint32_t batch_next, batch_count;
	uint64_t next;	    /* number of the next operation to be drawn, warm-up included */
	uint64_t quota;	    /* measured operations to do; UINT64_MAX: until stopped */
	uint64_t first;	    /* number of the first measured operation */
	uint64_t attempted; /* measured operations begun, with those that failed */
	uint64_t loaded;    /* load phases: key numbers tried; the next is index + loaded * count */
	uint64_t now;	    /* the last reading of the stopwatch ... */
	bool now_is_fresh;  /* ... still good as the start of an operation */
	bool measuring;
	uint64_t end;	 /* when the last measured operation ended, by the stopwatch */
	uint64_t end_ns; /* and by the clock; 0: there was none, or the client still runs */
	uint64_t failed;
	struct status first_failure;
	uint64_t failed_at; /* by the stopwatch */
	uint64_t bytes_written;
	uint8_t *value; /* workload->value_size bytes */
	struct generator_client draw;
	struct histogram *service[CLIENT_HISTOGRAMS]; /* NULL: no such operations in this phase */
	struct operation batch[GENERATOR_BATCH];
	_Alignas(64) _Atomic uint64_t operations; /* measured ones that succeeded; others read it */
};

/* Fills one client; group and index are set. NO_MEMORY; client_free in any case. */
MUST_CHECK struct status client_init(struct client *client);
void client_free(struct client *client);

/* The body: from PREPARING until the quota is reached or the phase stops. `argument`: the client. */
void client_run(struct driver *driver, struct driver_client *handle, void *argument);

/* The end of a client that never ran or has run; wakes the phase if it is the last. */
void client_end(struct client *client);

#endif
