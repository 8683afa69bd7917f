/*
 * simulated_internal.h: the structs of a simulated world, shared by its files: simulated.c (instances, time),
 * simulated_contents.c, simulated_names.c (the disk), simulated_crash.c (what a crash leaves),
 * simulated_view.c (from outside).
 */
#ifndef CASCADE_IO_SIMULATED_INTERNAL_H
#define CASCADE_IO_SIMULATED_INTERNAL_H

#include <stdatomic.h>

#include "base/assert.h"
#include "base/random.h"
#include "io/backend.h"
#include "io/gate.h"
#include "io/simulated.h"
#include "io/transfer.h"

enum {
	LEAF_UNITS = 64,	   /* bits of a word */
	PENDING_VERSIONS_MAX = 12, /* of one unit; beyond that one in the middle is forgotten */
};

/* --- contents --- */

/* One unit's bytes; immutable once shared, so worlds share them. */
struct sim_cell {
	uint32_t references;
	uint8_t bytes[];
};

/* A content of a unit newer than the durable one. */
struct sim_version {
	struct sim_version *older;
	struct sim_cell *cell; /* NULL: zeros, here and below */
	uint64_t stamp;	       /* when its write completed */
	bool clean;	       /* a failed sync gave it up: no later one makes it durable */
};

struct sim_unit {
	struct sim_cell *durable;
	struct sim_version *newest; /* NULL: the durable one */
};

struct sim_leaf {
	uint64_t allocated; /* bit u: unit u takes room */
	uint64_t pending;   /* bit u: units[u].newest is not NULL */
	struct sim_unit units[LEAF_UNITS];
};

/* A size that the file had after a write that completed at `stamp`. Files only grow. */
struct sim_size {
	uint64_t size;
	uint64_t stamp;
	bool clean;
};

/* --- names --- */

struct sim_entry {
	char *name;
	struct sim_inode *inode;
};

struct sim_names {
	struct sim_entry *entries;
	size_t count;
	size_t capacity;
};

struct sim_inode {
	struct sim_inode *next;	 /* of the world's, newest first */
	struct sim_inode **link; /* what points to this one */
	struct sim_inode *copy;	 /* while a crash image is made: its counterpart */
	uint64_t number;
	unsigned references; /* entries of both planes, changes, handles, requests, locks */
	unsigned holders;    /* names that readers see, and handles: at 0 its room is free again */
	bool is_directory;

	/* A file. */
	uint64_t size; /* as readers see it */
	uint64_t durable_size;
	struct sim_size *sizes; /* pending, in order of stamp */
	size_t size_count;
	size_t size_capacity;
	struct sim_leaf **leaves;
	size_t leaf_count;
	uint64_t unit_count; /* that take room */
	bool late_error;     /* the next sync reports a failure */

	/* A directory. */
	struct sim_names seen;
	struct sim_names durable;
};

/* A pending change of names, in order of completion. */
struct sim_change {
	struct sim_change *next;
	enum io_operation operation; /* OPEN, RENAME, UNLINK, MAKE_DIRECTORY */
	uint64_t stamp;
	bool clean;
	struct sim_inode *directory;
	struct sim_inode *directory_to; /* RENAME; else NULL */
	struct sim_inode *inode;
	char *name;
	char *name_to;
};

/* --- the world --- */

struct sim_handle {
	struct sim_inode *inode; /* NULL: a free place */
	bool writable;
};

struct sim_lock {
	struct sim_lock *next;
	struct sim_inode *inode;
	int number;
};

struct simulated;

/* One kernel call of a request from its submission to its effect, or an alarm. */
/* A request that its caller carries out: nobody polls for it. */
struct sim_carried {
	bool done;
	int calls;
};

struct sim_call {
	struct sim_call *next;
	struct simulated *simulated;
	struct sim_carried *carried; /* NULL: the request was submitted */
	struct io_request *request;  /* NULL: an alarm */
	struct transfer_call call;
	struct sim_inode *inode; /* of the handle, or of the directory that is synced; may be NULL */
	uint64_t submitted;	 /* stamp */
	uint64_t due_ns;
	uint64_t number;   /* of its entry: earlier first among equals */
	uint64_t checksum; /* of the bytes of a write when it was entered */
};

struct simulated_world {
	struct simulated_options options;
	struct random random;
	_Atomic uint64_t now_ns;
	uint64_t stamp; /* counts submissions and completions */
	uint64_t entered;
	uint64_t events;
	uint64_t trace;
	uint64_t inode_numbers;
	unsigned instances;
	unsigned instance_numbers;

	struct sim_inode *inodes;
	struct sim_inode *root;
	struct sim_change *changes;
	struct sim_change **changes_end;
	struct sim_handle *handles;
	size_t handle_count;
	struct sim_lock *locks;
	int lock_numbers;
	uint64_t used_units;

	struct sim_call **heap; /* under way, the next to be due first */
	size_t heap_count;
	size_t heap_capacity;

	void (*observer)(void *context, const struct simulated_event *event);
	void *observer_context;
	uint64_t counts[SIMULATED_CLASS_COUNT];
};

struct simulated {
	struct io base;
	struct simulated_world *world;
	unsigned number;
	unsigned depth;
	bool direct;
	unsigned under_way;
	struct sim_call *fresh; /* submitted, not entered */
	struct sim_call **fresh_end;
	unsigned fresh_count;
	struct io_queue ready; /* had their effect, `complete` did not run */
	struct gate gate;      /* its event is opened by the first real wait */
};

static inline struct simulated *simulated_of(struct io *io)
{
	return (struct simulated *)(void *)io;
}

/* Zeroed; never NULL. */
void *sim_take(size_t size);
void *sim_resize(void *memory, size_t size);
void sim_drop(void *memory);
char *sim_copy_text(const char *text, size_t size);

static inline void sim_note(struct simulated_world *world, enum simulated_class class)
{
	world->counts[class]++;
}

static inline bool sim_one_in(struct random *random, uint64_t n)
{
	return random_below(random, n) == 0;
}

/* --- simulated.c --- */

struct simulated_world *sim_world_create(const struct simulated_options *options);

/* --- simulated_contents.c --- */

struct sim_cell *sim_cell_make(const struct simulated_world *world, const void *bytes);
struct sim_cell *sim_cell_share(struct sim_cell *cell);
void sim_cell_drop(struct sim_cell *cell);

/* NULL: nothing was ever written there. */
struct sim_unit *sim_unit_find(const struct sim_inode *inode, uint64_t unit);
struct sim_unit *sim_unit_get(struct sim_inode *inode, uint64_t unit);
void sim_unit_push(struct sim_inode *inode, uint64_t unit, struct sim_cell *cell, uint64_t stamp, bool clean);
/* Takes away all that is pending. The bit in the leaf is the caller's. */
void sim_unit_drop_pending(struct sim_unit *unit);

static inline struct sim_cell *sim_unit_seen(const struct sim_unit *unit)
{
	return unit->newest != NULL ? unit->newest->cell : unit->durable;
}

void sim_copy_seen(const struct simulated_world *world, const struct sim_inode *inode, uint64_t offset,
		   void *buffer, size_t length);

/* Which units of a write happen: all but those that the seed leaves out, or the crash's `choose`. NULL: all.
 */
struct sim_sieve {
	uint64_t seed;
	uint32_t keep; /* of 2^16 */
	uint64_t kept; /* units, counted */
	uint64_t left_out;
	const struct simulated_crash *crash;
	uint64_t chosen_unit; /* the last that was asked for, plus one */
	bool chosen_passes;
};

/* The first `length` bytes of a write, pending as of `stamp`. */
void sim_write(struct simulated_world *world, struct sim_inode *inode, const struct transfer_call *call,
	       size_t length, uint64_t stamp, struct sim_sieve *sieve);
/* As readers see it, pending as of `stamp`. Files only grow. */
void sim_grow(struct sim_inode *inode, uint64_t size, uint64_t stamp);
void sim_reserve(struct simulated_world *world, struct sim_inode *inode, uint64_t offset, uint64_t length);
/* How many of the bytes find room; the rest begins on a page. */
uint64_t sim_room(const struct simulated_world *world, const struct sim_inode *inode, uint64_t offset,
		  uint64_t length);
/* What completed up to `stamp` becomes durable, or what `failure` says (enum simulated_sync_failure, 0:
 * none). */
void sim_sync_file(struct simulated_world *world, struct sim_inode *inode, uint64_t stamp, unsigned failure);
/* The same for the units of one write alone, which completed at `stamp`. */
void sim_sync_write(struct simulated_world *world, struct sim_inode *inode, uint64_t offset, uint64_t length,
		    uint64_t stamp, unsigned failure);

/* --- simulated_names.c --- */

struct sim_inode *sim_inode_create(struct simulated_world *world, bool is_directory);
void sim_inode_hold(struct sim_inode *inode);
void sim_inode_drop(struct simulated_world *world, struct sim_inode *inode);
/* For what readers can reach it by: a name or a handle. */
void sim_inode_use(struct sim_inode *inode);
void sim_inode_leave(struct simulated_world *world, struct sim_inode *inode);

struct sim_entry *sim_names_find(const struct sim_names *names, const char *name);
/* Puts it there, in place of what the name stood for; NULL: takes it away. `seen`: counts as a holder. */
void sim_names_set(struct simulated_world *world, struct sim_names *names, const char *name,
		   struct sim_inode *inode, bool seen);
void sim_names_clear(struct simulated_world *world, struct sim_names *names, bool seen);

/* NULL and an errno value: not there. */
struct sim_inode *sim_find(const struct simulated_world *world, const char *path, int *error);

/* As the kernel's calls, on the readers' plane and with a pending change: 0 or -errno. */
int sim_create_file(struct simulated_world *world, const char *path, struct sim_inode **created);
int sim_make_directory(struct simulated_world *world, const char *path);
int sim_rename(struct simulated_world *world, const char *path, const char *path_to);
int sim_unlink(struct simulated_world *world, const char *path);

void sim_change_apply(struct simulated_world *world, const struct sim_change *change);
void sim_change_free(struct simulated_world *world, struct sim_change *change);
void sim_sync_names(struct simulated_world *world, const struct sim_inode *directory, uint64_t stamp,
		    unsigned failure);

#endif
