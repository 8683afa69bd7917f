/*
 * io.h: what storage can do. Everything above moves bytes only through this interface; `uring`, `posix`,
 * `simulated` and `faulty` stand behind it under one conformance suite.
 *
 * An instance belongs to one thread (its shard's resident): create, submit, poll and destroy are called
 * there and nowhere else; only io_wake may be called from any thread. Requests are structs of the
 * caller's; request and buffers stay untouched by the caller until `complete` ran, also when the
 * instance is being drained. `complete` runs inside io_poll, never inside io_submit, and may submit.
 *
 * The backend hides short transfers, EAGAIN and EINTR (bounded: 64 tries without progress, then
 * STATUS_IO). A read that meets the end of the file completes OK with `transferred` < `length`.
 * Completion order is unspecified. A sync covers only writes *completed* before it was submitted.
 */
#ifndef CASCADE_IO_IO_H
#define CASCADE_IO_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/status.h"

enum { IO_PAGE_BYTES = 4096, IO_PATH_MAX = 1024 };

enum io_operation {
	IO_READ,	   /* file, buffer or vectors, length, offset */
	IO_WRITE,	   /* the same; with IO_DURABLE durable on completion (RWF_DSYNC) */
	IO_SYNC,	   /* file: data, and the metadata needed to read it, are durable (fdatasync) */
	IO_OPEN,	   /* path, flags -> opened */
	IO_CLOSE,	   /* file: the handle is gone afterwards, whatever the status */
	IO_ALLOCATE,	   /* file, offset, length: reserve space (fallocate) and extend the size */
	IO_RENAME,	   /* path -> path_to, replacing it; durable after IO_SYNC_DIRECTORY */
	IO_UNLINK,	   /* path */
	IO_SYNC_DIRECTORY, /* path: creations, renames and unlinks in that directory are durable */
	IO_MAKE_DIRECTORY, /* path: mode 0755; STATUS_OK when it exists already */
};

enum io_flags {
	IO_OPEN_READ = 0,
	IO_OPEN_WRITE = 1 << 0,	   /* read and write */
	IO_OPEN_CREATE = 1 << 1,   /* must not exist yet (O_EXCL): else STATUS_INVALID */
	IO_OPEN_BUFFERED = 1 << 2, /* through the page cache: any alignment. Otherwise direct */
	IO_DURABLE = 1 << 3,	   /* IO_WRITE */
	IO_BULK = 1 << 5,	   /* IO_READ, IO_WRITE: much, and nobody waits for this one: see io_submit */
	IO_AT_ONCE = 1 << 4, /* IO_WRITE, IO_SYNC: somebody waits for it, and it is short: see io_do_alone */
};

/*
 * An open file of one instance, owned by the backend. Immutable while open, but for `direct`: it turns
 * false when the first read or write finds that the file system takes no direct I/O after all.
 */
struct io_file {
	uint64_t size_at_open; /* bytes */
	bool direct;	       /* false when the file system refused O_DIRECT: still page-aligned for us */
};

struct io_request;
struct transfer_bend;
typedef void io_complete(struct io_request *request);

struct io_request {
	enum io_operation operation;
	unsigned flags; /* enum io_flags */
	struct io_file *file;
	void *buffer;		     /* direct: 4096-aligned; unused when vector_count > 0 */
	const struct iovec *vectors; /* IO_READ, IO_WRITE: at most 64; each 4096-aligned when direct */
	unsigned vector_count;
	size_t length;	 /* bytes in total; direct: multiple of 4096 (else STATUS_INVALID); at most 1 GiB */
	uint64_t offset; /* direct: multiple of 4096 */
	const char *path;
	const char *path_to;
	io_complete *complete; /* NULL: completion is dropped (fire and forget) */
	void *context;	       /* the caller's */

	/* Results, valid in and after `complete`. */
	struct status status;
	size_t transferred;
	struct io_file *opened;

	/* Of wrappers alone, NULL everywhere else: bends the request's kernel calls (transfer.h). */
	const struct transfer_bend *bend;

	/* The backend's while the request is under way. */
	struct io_request *next;
	unsigned tries;
	int result;
	uint64_t private_words[2];
};

/* What the storage promises, for layers that can do less where it promises more. */
enum io_promises {
	IO_ATOMIC_512 = 1 << 0,	 /* a 512-byte aligned unit is never torn by power loss */
	IO_ATOMIC_4096 = 1 << 1, /* the same for a page */
};

struct io_options {
	unsigned depth; /* requests that may be under way at once; more are queued. 0: 256 */
	bool direct;	/* false: open every file buffered */
};

struct io_counters {
	uint64_t reads, writes, syncs;
	uint64_t read_bytes, write_bytes;
	uint64_t submits; /* system calls that entered requests */
	uint64_t retries; /* short, EAGAIN, EINTR */
};

enum { IO_GENTLE_REQUESTS = 128 }; /* with IO_BULK: 4 MiB, some ten milliseconds */

/* Requests with IO_BULK: those under way, and those that wait in line for them. */
struct io_bulk {
	uint64_t bytes;	 /* under way */
	uint32_t gentle; /* so many more go on gently */
	uint32_t haste;	 /* see io_set_haste */
	struct io_request *first, *last;
};

struct io;

struct io_backend {
	const char *name;
	const char *summary;
	MUST_CHECK struct status (*create)(const struct io_options *options, struct io **io);
	void (*destroy)(struct io *io); /* nothing is under way any more */
	void (*submit)(struct io *io, struct io_request *request);
	unsigned (*poll)(struct io *io, uint64_t wait_ns);
	void (*wake)(struct io *io);
	/* May be NULL: all must be submitted. */
	void (*carry_out)(const struct io *io, struct io_request *request);
	bool (*do_alone)(struct io *io); /* may be NULL: never worth while */
	MUST_CHECK struct status (*list)(struct io *io, const char *path,
					 void (*each)(void *context, const char *name), void *context);
	MUST_CHECK struct status (*lock)(struct io *io, const char *path, int *lock);
	void (*unlock)(struct io *io, int lock);
	void (*hold)(struct io *io, int lock); /* may be NULL: requests end with the process */
	MUST_CHECK struct status (*register_memory)(struct io *io, void *base, size_t size);
};

/* The first member of every backend's instance. */
struct io {
	const struct io_backend *backend;
	unsigned promises; /* enum io_promises */
	unsigned in_flight;
	bool memory_registered; /* at least one region is; false when refused: the record says so */
	struct io_bulk bulk;
	void (*before_sleep)(void *context); /* NULL: none */
	void (*after_sleep)(void *context);
	void *sleep_context;
	struct io_counters counters;
};

/*
 * Creates an instance of the backend of that name for the calling thread. "uring" where the kernel
 * refuses io_uring becomes "posix": `notice` (of `notice_size` bytes) then holds one line that says so,
 * else it is empty. STATUS_NOT_FOUND for an unknown name.
 */
MUST_CHECK struct status io_create(const char *backend, const struct io_options *options, struct io **io,
				   char *notice, size_t notice_size);

/* All backends that can be named, ended by NULL. */
extern const struct io_backend *io_backends[];

/*
 * Adds a backend that is not part of a release (simulated, faulty) behind the others; once more does
 * nothing. At most two. Before any other thread starts.
 */
void io_backend_add(const struct io_backend *backend);

/* From now on io_create makes this backend (a name, borrowed) where it is asked for one of a release; for
 * tests of what stands above. NULL: no more. */
void io_set_stand_in(const char *backend);

/* Whether it is one of a release: only their calls are counted where tasks get stacks that just suffice. */
bool io_is_of_release(const struct io *io);

static inline void io_destroy(struct io *io)
{
	io->backend->destroy(io);
}

/*
 * Queues the request. It reaches the kernel with the next io_poll at the latest. Never blocks.
 *
 * Devices serve requests in the order in which they come, so what somebody waits for queues behind all that
 * was asked for before. Of requests with IO_BULK therefore only 1 MiB is under way at a time, and 32 KiB to
 * 1 MiB, as io_set_haste says, while there are reads without it, and some time thereafter (or one that is
 * larger); the others wait in line.
 */
void io_submit(struct io *io, struct io_request *request);

/*
 * Enters what is queued and runs the completions that are there; waits for at least one completion or
 * an io_wake for up to `wait_ns` (0: does not wait; UINT64_MAX: without limit). Returns the number of
 * completions run.
 */
static inline unsigned io_poll(struct io *io, uint64_t wait_ns)
{
	return io->backend->poll(io, wait_ns);
}

/*
 * Somebody waits for this instance's thread or device, so that requests with IO_BULK go on gently for a
 * while: a long one keeps both for longer. Reads without IO_BULK say so by themselves.
 */
static inline void io_be_gentle(struct io *io)
{
	io->bulk.gentle = IO_GENTLE_REQUESTS;
}

enum { IO_HASTE_MAX = 5 };

/*
 * How much of IO_BULK may be under way while others read: 32 KiB << haste. With 0, at first, it disturbs
 * least; with IO_HASTE_MAX it goes on as if nobody read.
 */
static inline void io_set_haste(struct io *io, uint32_t haste)
{
	io->bulk.haste = haste < IO_HASTE_MAX ? haste : IO_HASTE_MAX;
}

/* How long requests with IO_BULK should be at most: 256 KiB, or what may be under way if that is less. */
size_t io_bulk_length(const struct io *io);

/*
 * Where all that is under way is one request with IO_AT_ONCE, and the kernel has not got it yet: carries it
 * out on this thread, which sleeps meanwhile as in io_poll. A ring would hand a sync to a worker, and hear of
 * a write's end from another: two wakes, which cost half as much as the sync. But an io_wake does not end it.
 * True: the request is complete. False: nothing happened.
 */
static inline bool io_do_alone(struct io *io)
{
	return io->in_flight == 1 && io->backend->do_alone != NULL && io->backend->do_alone(io);
}

/*
 * Functions that are called around each sleep of io_poll in the kernel, on the instance's thread: between
 * them the backend touches nothing that anybody else may use. A backend that never sleeps calls neither.
 */
static inline void io_around_sleep(struct io *io, void (*before)(void *context), void (*after)(void *context),
				   void *context)
{
	io->before_sleep = before;
	io->after_sleep = after;
	io->sleep_context = context;
}

/*
 * Requests that a thread carries out itself: worth while where handing one over and being told of its end
 * costs more than to wait. io_begin and io_end use the instance, so nobody else does at that time (its own
 * thread may sleep, see io_around_sleep); io_carry_out between them does not, and any thread may call it.
 * Reads and writes only. `complete`, if any, runs in io_end.
 */
static inline bool io_can_carry_out(const struct io *io)
{
	return io->backend->carry_out != NULL;
}

void io_begin(struct io *io, struct io_request *request);
void io_carry_out(const struct io *io, struct io_request *request);
void io_end(struct io *io, struct io_request *request);

/* All three. Returns request->status. */
MUST_CHECK static inline struct status io_perform(struct io *io, struct io_request *request)
{
	io_begin(io, request);
	io_carry_out(io, request);
	io_end(io, request);
	return request->status;
}

/* Ends a waiting io_poll, or makes the next one return at once. Any thread; async-signal-safe. */
static inline void io_wake(struct io *io)
{
	/* The one look at an instance from outside its thread, where a wrapper may just take its place. */
	__atomic_load_n(&io->backend, __ATOMIC_RELAXED)->wake(io);
}

/*
 * Submits and polls until the request is complete; for threads without tasks (open, tools, tests). Not in
 * a completion. `complete` and `context` are left as they were, and `complete` is not run.
 */
MUST_CHECK struct status io_execute(struct io *io, struct io_request *request);

/* The same for two operations. What is not there counts as unlinked. */
MUST_CHECK struct status io_unlink(struct io *io, const char *path);
MUST_CHECK struct status io_sync_directory(struct io *io, const char *path);

/* Blocking: calls `each` with every name in the directory but "." and "..". Order unspecified. */
MUST_CHECK struct status io_list(struct io *io, const char *path,
				 void (*each)(void *context, const char *name), void *context);

/* Blocking: creates `path` if need be and locks it against every other holder, in this process too:
 * STATUS_LOCKED. The lock falls with the process. */
MUST_CHECK static inline struct status io_lock(struct io *io, const char *path, int *lock)
{
	return io->backend->lock(io, path, lock);
}

/*
 * Ties a lock to the requests of this instance: when the process is killed, the lock falls only after the
 * last of them has ended. The kernel may carry out what a dead process had under way, and whoever takes the
 * lock next must not read what such a write is about to change. Ends with io_unlock or io_destroy.
 */
void io_hold(struct io *io, int lock);

/* Before it, nothing may be under way in any instance that holds the lock. */
static inline void io_unlock(struct io *io, int lock)
{
	io->backend->unlock(io, lock);
}

/*
 * Tells the backend that requests will use buffers inside [base, base + size): page-aligned, mapped
 * until destroy. A refusal (limits, no support) is not an error for the caller: reads and writes work
 * all the same; the status says why.
 */
MUST_CHECK struct status io_register_memory(struct io *io, void *base, size_t size);

#endif
