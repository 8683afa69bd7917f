/*
 * driver.h: the contract between the bench and an engine under test. An engine is added with one file in
 * this folder and one line in drivers.c (and one in cmake/libraries.cmake if it is a library).
 *
 * The bench owns clocks, histograms, key and value generation, and verification; a driver only moves
 * bytes. One driver instance is open in a process at a time. Client functions are called by one client at
 * a time for each client handle, but by many clients at once for one driver.
 */
#ifndef CASCADE_HARNESS_DRIVER_H
#define CASCADE_HARNESS_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/status.h"

enum driver_capabilities {
	DRIVER_TASKS = 1 << 0, /* run_clients can run clients as tasks of the engine */
	DRIVER_SCANS = 1 << 1,
	DRIVER_FORGETS = 1 << 2,    /* `null`: reads find nothing; verification is impossible */
	DRIVER_COMPONENTS = 1 << 3, /* made of components: variants may come from shared objects */
};

/* One engine option of the workload file below `engine:`, flattened: "memtable.kind" = "btree". */
struct driver_option {
	const char *name;
	const char *value;
	int line; /* in the workload file, for messages */
};

struct driver_config {
	const char *path; /* directory for the database; exists, empty for a fresh one */
	const struct driver_option *options;
	size_t option_count;
	uint64_t expected_records;
};

/* The first member of every driver's instance. */
struct driver {
	const struct driver_ops *ops;
};

/* What a client works through: made on the thread (or task) that uses it. */
struct driver_client;

/* Body of one client. */
typedef void driver_client_body(struct driver *driver, struct driver_client *client, void *argument);

/* Named numbers that go to `counters.*` of the record. */
struct driver_counter {
	char name[64];
	uint64_t value;
	bool is_gauge; /* the record gets what it is at a phase's end, not by how much it grew */
};

struct driver_ops {
	const char *name;
	const char *summary;
	uint32_t capabilities;
	const char *library_version; /* of the library that is the engine, "7.8.3"; NULL: it is none */

	/* Checks option names and values without opening; on error the message names the option and *bad
	 * is its index (SIZE_MAX if none in particular), so that the caller can print its line. */
	MUST_CHECK struct status (*check)(const struct driver_config *config, size_t *bad);

	/* All options in effect, defaults included, as NAME=VALUE; for the resolved configuration. */
	void (*describe)(const struct driver_config *config,
			 void (*each)(void *context, const char *name, const char *value), void *context);

	MUST_CHECK struct status (*open)(const struct driver_config *config, struct driver **driver);
	MUST_CHECK struct status (*close)(struct driver *driver);

	/* A client handle for the calling thread or task. */
	MUST_CHECK struct status (*client_open)(struct driver *driver, struct driver_client **client);
	void (*client_close)(struct driver_client *client);

	/* `insert` and `update` set the whole value (blind). NOT_FOUND from read: no such key. The value read
	 * stays valid until the client's next call. */
	MUST_CHECK struct status (*insert)(struct driver_client *client, struct slice key,
					   struct slice value);
	MUST_CHECK struct status (*update)(struct driver_client *client, struct slice key,
					   struct slice value);
	MUST_CHECK struct status (*read)(struct driver_client *client, struct slice key, struct slice *value);
	MUST_CHECK struct status (*remove)(struct driver_client *client, struct slice key);

	/* Visits up to `count` rows from `key` on in order; returns early if `each` returns false. */
	MUST_CHECK struct status (*scan)(struct driver_client *client, struct slice key, uint64_t count,
					 bool (*each)(void *context, struct slice key, struct slice value),
					 void *context);

	/*
	 * Runs `count` clients as tasks of the engine, client i with arguments[i] and a handle of its own,
	 * and returns when all have ended. NULL without DRIVER_TASKS. The body calls the functions above,
	 * which suspend the task; it may also call yield and sleep below.
	 */
	MUST_CHECK struct status (*run_tasks)(struct driver *driver, uint32_t count, driver_client_body *body,
					      void *const *arguments);
	void (*task_yield)(struct driver_client *client);
	void (*task_sleep)(struct driver_client *client, uint64_t ns);

	/* Returns when no background work is due any more (flush, merge). */
	MUST_CHECK struct status (*wait_idle)(struct driver *driver);

	/* At most `capacity` counters, into zeroed structs; returns how many. */
	size_t (*counters)(struct driver *driver, struct driver_counter *counters, size_t capacity);

	/* Whether with these options the engine forgets what is written, as with DRIVER_FORGETS. May be NULL:
	 * that alone says it. */
	bool (*forgets)(const struct driver_config *config);

	/* One line that says what the environment refused, or "". */
	const char *(*notice)(struct driver *driver);

	/* Bytes of memory that the configuration grants the engine in all (0: unknown). */
	uint64_t (*memory_budget)(const struct driver_config *config);

	/*
	 * What a comparison with another engine should hold equal, as NAME=TEXT, in the words of the other
	 * drivers wherever the thing is the same: "version", "cache", "index_and_filters" ("in the cache" or
	 * "beside the cache"), "memtables" (all together), "durability", "log" ("off", "page cache",
	 * "direct"), "sync" ("never", "each write"), "compression", "filter", "direct_io" ("yes", "no"),
	 * "threads" (the engine's own), and whatever else a referee should know. What an engine does not
	 * have it leaves out. The bench adds memory, clients and allocator.
	 */
	void (*parity)(const struct driver_config *config,
		       void (*each)(void *context, const char *name, const char *text), void *context);
};

/* All drivers of this build, ended by NULL. */
extern const struct driver_ops *const drivers[];

/* The driver of that name, NULL if unknown or left out of this build. */
const struct driver_ops *driver_find(const char *name);

/* Why an engine that the bench knows of is not in this build, as a line to print. NULL: it is, or nobody
 * knows the name. */
const char *driver_absence(const char *name);

#endif
