/*
 * faulty.c: each request of the caller's travels as a request of ours, whose completion gives the result
 * back, changed or not. What fails at once waits in a queue for the next poll, as completions must.
 */
#include "io/faulty.h"

#include <errno.h>
#include <fnmatch.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/door.h"
#include "base/memory.h"
#include "base/random.h"
#include "io/backend.h"
#include "io/simulated.h"
#include "io/transfer.h"

enum { UNIT_BYTES = 512, FILE_CHAINS = 64, DELAY_NS_DEFAULT = 1000000 };

#define OPERATION(name) FAULTY_OPERATION(IO_##name)
#define ANY_OPERATION	(FAULTY_OPERATION(IO_MAKE_DIRECTORY + 1) - 1)

/* --- plans --- */

struct rule {
	struct faulty_rule rule;
	bool in_use;
	uint64_t met;
	uint64_t fired;
	uint64_t used; /* SPACE: bytes */
};

struct faulty {
	pthread_mutex_t mutex;
	struct random random;
	struct rule rules[FAULTY_RULES_MAX];
	uint64_t counts[FAULTY_KIND_COUNT];
	bool late_directory; /* the next sync of a directory reports a failure */
};

static struct faulty *installed;
static const char *installed_inner;

static const struct {
	const char *name;
	unsigned operations; /* to which it applies */
} kinds[FAULTY_KIND_COUNT] = {
	[FAULTY_ERROR] = { "error", ANY_OPERATION },
	[FAULTY_ERROR_DONE] = { "error though done", ANY_OPERATION },
	[FAULTY_PASSING] = { "passing error",
			     OPERATION(READ) | OPERATION(WRITE) | OPERATION(SYNC) | OPERATION(ALLOCATE) },
	[FAULTY_SHORT] = { "short transfer", OPERATION(READ) | OPERATION(WRITE) },
	[FAULTY_SPACE] = { "no space", OPERATION(WRITE) | OPERATION(ALLOCATE) },
	[FAULTY_SYNC_CLEAN_NEW] = { "sync: clean, new", OPERATION(SYNC) | OPERATION(SYNC_DIRECTORY) },
	[FAULTY_SYNC_CLEAN_OLD] = { "sync: clean, old", OPERATION(SYNC) | OPERATION(SYNC_DIRECTORY) },
	[FAULTY_SYNC_LATE] = { "sync: reported late", OPERATION(SYNC) | OPERATION(SYNC_DIRECTORY) },
	[FAULTY_SYNC_PARTLY] = { "sync: partly done", OPERATION(SYNC) | OPERATION(SYNC_DIRECTORY) },
	[FAULTY_SYNC_KEPT] = { "sync: kept", OPERATION(SYNC) | OPERATION(SYNC_DIRECTORY) },
	[FAULTY_STALL] = { "stall", ANY_OPERATION },
	[FAULTY_FLIP] = { "bit flip", OPERATION(READ) },
	[FAULTY_ZERO] = { "zeroed unit", OPERATION(READ) },
	[FAULTY_MISDIRECT] = { "misdirected write", OPERATION(WRITE) },
	[FAULTY_LOSE] = { "lost write", OPERATION(WRITE) },
};

static void *take(size_t size)
{
	void *memory = calloc(1, size);
	ASSERT(memory != NULL);
	return memory;
}

struct faulty *faulty_create(uint64_t seed)
{
	struct faulty *plan = take(sizeof(*plan));
	pthread_mutex_init(&plan->mutex, NULL);
	plan->random = random_stream(seed);
	return plan;
}

void faulty_destroy(struct faulty *plan)
{
	if (plan == NULL)
		return;
	if (plan == installed)
		installed = NULL;
	pthread_mutex_destroy(&plan->mutex);
	free(plan);
}

void faulty_install(struct faulty *plan, const char *inner)
{
	ASSERT(strcmp(inner, io_backend_faulty.name) != 0);
	installed = plan;
	installed_inner = inner;
	io_backend_add(&io_backend_faulty);
}

unsigned faulty_add(struct faulty *plan, const struct faulty_rule *rule)
{
	ASSERT(rule->kind < FAULTY_KIND_COUNT);
	pthread_mutex_lock(&plan->mutex);
	unsigned at = 0;
	while (at < FAULTY_RULES_MAX && plan->rules[at].in_use)
		at++;
	ASSERT(at < FAULTY_RULES_MAX);
	plan->rules[at] = (struct rule) { .rule = *rule, .in_use = true };
	pthread_mutex_unlock(&plan->mutex);
	return at;
}

void faulty_remove(struct faulty *plan, unsigned rule)
{
	ASSERT(rule < FAULTY_RULES_MAX);
	pthread_mutex_lock(&plan->mutex);
	plan->rules[rule].in_use = false;
	pthread_mutex_unlock(&plan->mutex);
}

void faulty_clear(struct faulty *plan)
{
	for (unsigned i = 0; i < FAULTY_RULES_MAX; i++)
		faulty_remove(plan, i);
}

static uint64_t read_count(struct faulty *plan, const uint64_t *count)
{
	pthread_mutex_lock(&plan->mutex);
	uint64_t read = *count;
	pthread_mutex_unlock(&plan->mutex);
	return read;
}

uint64_t faulty_met(struct faulty *plan, unsigned rule)
{
	ASSERT(rule < FAULTY_RULES_MAX);
	return read_count(plan, &plan->rules[rule].met);
}

uint64_t faulty_fired(struct faulty *plan, unsigned rule)
{
	ASSERT(rule < FAULTY_RULES_MAX);
	return read_count(plan, &plan->rules[rule].fired);
}

uint64_t faulty_count(struct faulty *plan, enum faulty_kind kind)
{
	return read_count(plan, &plan->counts[kind]);
}

const char *faulty_kind_name(enum faulty_kind kind)
{
	return kinds[kind].name;
}

/* --- instances --- */

struct known_file {
	struct known_file *next;
	struct io_file *file;
	bool late; /* its next sync reports a failure */
	char path[];
};

static const struct io_backend faulty_over_simulated;

struct faulty_io {
	struct io base;
	struct io *inner;
	struct faulty *plan;
	struct known_file *files[FILE_CHAINS];
	struct wrapped *failed; /* to be completed by the next poll, in order */
	struct wrapped **failed_end;
	struct wrapped *held; /* complete, but not yet told; the next to be told first */
	unsigned finished;    /* since this poll began */
};

struct wrapped {
	struct io_request inner; /* first: the bend finds the rest through it */
	struct faulty_io *io;
	struct io_request *outer;
	struct wrapped *next;
	bool fires;
	enum faulty_kind kind;
	int error;
	unsigned row;	   /* PASSING, SHORT: calls still to be bent */
	uint64_t drawn;	   /* what the rule's chance decided about the details */
	uint64_t room;	   /* SPACE: bytes of this request that find room */
	uint64_t delay_ns; /* STALL */
	uint64_t due_ns;
	bool withheld; /* of this kernel call: it does nothing, and `error` is its result */
	bool closing;  /* a file that was opened and must not be */
	struct status status;
};

static struct faulty_io *faulty_of(struct io *io)
{
	return (struct faulty_io *)(void *)io;
}

static bool is_simulated(const struct faulty_io *io)
{
	return io->inner->backend == &io_backend_simulated;
}

/* --- which file a request is about --- */

static struct known_file **chain_of(struct faulty_io *io, const struct io_file *file)
{
	return &io->files[random_mix((uintptr_t)file) % FILE_CHAINS];
}

static struct known_file *find_file(struct faulty_io *io, const struct io_file *file)
{
	struct known_file *known = *chain_of(io, file);
	while (known != NULL && known->file != file)
		known = known->next;
	ASSERT(known != NULL); /* an open file of this instance */
	return known;
}

static void add_file(struct faulty_io *io, struct io_file *file, const char *path)
{
	size_t size = strlen(path) + 1;
	struct known_file *known = take(sizeof(*known) + size);
	memcpy(known->path, path, size);
	known->file = file;
	struct known_file **chain = chain_of(io, file);
	known->next = *chain;
	*chain = known;
}

static void remove_file(struct faulty_io *io, const struct io_file *file)
{
	struct known_file *known = find_file(io, file);
	struct known_file **link = chain_of(io, file);
	while (*link != known)
		link = &(*link)->next;
	*link = known->next;
	free(known);
}

static bool has_file(const struct io_request *request)
{
	return request->operation <= IO_SYNC || request->operation == IO_CLOSE ||
	       request->operation == IO_ALLOCATE;
}

static const char *path_of(struct faulty_io *io, const struct io_request *request)
{
	return has_file(request) ? find_file(io, request->file)->path : request->path;
}

static bool name_fits(const char *pattern, const char *path)
{
	if (path == NULL)
		return false;
	const char *slash = strchr(pattern, '/') == NULL ? strrchr(path, '/') : NULL;
	return fnmatch(pattern, slash != NULL ? slash + 1 : path, 0) == 0;
}

/* --- choosing --- */

static bool is_sync_kind(enum faulty_kind kind)
{
	return kind >= FAULTY_SYNC_CLEAN_NEW && kind <= FAULTY_SYNC_KEPT;
}

static bool rule_matches(const struct faulty_rule *rule, const struct io_request *request, const char *path)
{
	unsigned asked = rule->operations != 0 ? rule->operations : kinds[rule->kind].operations;
	bool durable_write = request->operation == IO_WRITE && (request->flags & IO_DURABLE) != 0;
	if (is_sync_kind(rule->kind) && durable_write) {
		if ((asked & (OPERATION(SYNC) | OPERATION(WRITE))) == 0)
			return false;
	} else if ((asked & kinds[rule->kind].operations & FAULTY_OPERATION(request->operation)) == 0) {
		return false;
	}
	/* A request that gives nothing to cut, to flip or to lose would count as fired and change nothing. */
	bool needs_bytes = rule->kind >= FAULTY_FLIP || rule->kind == FAULTY_SHORT;
	size_t least = rule->kind != FAULTY_SHORT ? 0 : request->file->direct ? IO_PAGE_BYTES : 1;
	if (needs_bytes && request->length <= least)
		return false;
	if (rule->file == NULL)
		return true;
	return name_fits(rule->file, path) ||
	       (request->operation == IO_RENAME && name_fits(rule->file, request->path_to));
}

/* Whether the room is spent; `room` is what is left of it for this request, in whole pages. */
static bool space_is_spent(struct rule *rule, const struct io_request *request, uint64_t *room)
{
	uint64_t left = rule->rule.bytes > rule->used ? rule->rule.bytes - rule->used : 0;
	if (request->length <= left) {
		rule->used += request->length;
		return false;
	}
	*room = request->operation == IO_WRITE ? left / IO_PAGE_BYTES * IO_PAGE_BYTES : 0;
	rule->used += *room;
	return true;
}

static bool rule_fires(struct faulty *plan, struct rule *rule, const struct io_request *request,
		       uint64_t *room)
{
	const struct faulty_rule *asked = &rule->rule;
	rule->met++;
	if (asked->nth > 0) {
		uint64_t times = asked->times > 0 ? asked->times : 1;
		if (rule->met < asked->nth || rule->met - asked->nth >= times)
			return false;
	} else if (asked->kind != FAULTY_SPACE || asked->in_million > 0) {
		if (asked->times > 0 && rule->fired >= asked->times)
			return false;
		if (random_below(&plan->random, 1000000) >= asked->in_million)
			return false;
	}
	return asked->kind != FAULTY_SPACE || space_is_spent(rule, request, room);
}

/* Every rule counts the request; the first that fires has it. */
static void choose(struct faulty *plan, struct wrapped *wrapped, const char *path)
{
	const struct io_request *request = wrapped->outer;
	pthread_mutex_lock(&plan->mutex);
	for (unsigned i = 0; i < FAULTY_RULES_MAX; i++) {
		struct rule *rule = &plan->rules[i];
		const struct faulty_rule *asked = &rule->rule;
		if (!rule->in_use || !rule_matches(asked, request, path))
			continue;
		if (wrapped->fires) {
			rule->met++;
			continue;
		}
		if (!rule_fires(plan, rule, request, &wrapped->room))
			continue;
		rule->fired++;
		plan->counts[asked->kind]++;
		wrapped->fires = true;
		wrapped->kind = asked->kind;
		wrapped->error = asked->error != 0		 ? asked->error
				 : asked->kind == FAULTY_PASSING ? EAGAIN
				 : asked->kind == FAULTY_SPACE	 ? ENOSPC
								 : EIO;
		wrapped->row = asked->row > 0 ? asked->row : 1;
		wrapped->drawn = random_next(&plan->random);
		uint64_t delay_ns = asked->delay_ns > 0 ? asked->delay_ns : DELAY_NS_DEFAULT;
		wrapped->delay_ns = 1 + wrapped->drawn % delay_ns;
	}
	pthread_mutex_unlock(&plan->mutex);
}

/* --- bending kernel calls --- */

/* The first `bytes` of the call; only whole vectors or a part of the first. */
static void limit_call(struct transfer_call *call, size_t bytes)
{
	if (bytes >= call->length)
		return;
	if (call->vector_count == 0) {
		call->length = bytes;
		return;
	}
	unsigned whole = 0;
	size_t length = 0;
	while (length + call->vectors[whole].iov_len <= bytes)
		length += call->vectors[whole++].iov_len;
	if (length > 0) {
		call->vector_count = whole;
		call->length = length;
		return;
	}
	call->buffer = call->vectors[0].iov_base;
	call->length = bytes;
	call->vector_count = 0;
}

/* How much of the call happens: less than all of it, and for a read, or nothing could be told from the end of
 * the file, something. */
static size_t draw_short(struct wrapped *wrapped, const struct transfer_call *call)
{
	size_t step = wrapped->inner.file->direct ? IO_PAGE_BYTES : 1;
	size_t steps = (call->length + step - 1) / step;
	size_t least = call->kind == TRANSFER_READ ? 1 : 0;
	if (steps <= least)
		return call->length;
	wrapped->drawn = random_mix(wrapped->drawn);
	return (least + (size_t)(wrapped->drawn % (steps - least))) * step;
}

static void bend_call(const struct io_request *request, struct transfer_call *call)
{
	struct wrapped *wrapped = (struct wrapped *)(uintptr_t)request;
	bool moves_bytes = call->kind == TRANSFER_READ || call->kind == TRANSFER_WRITE;
	wrapped->withheld = false;
	if (wrapped->kind == FAULTY_SPACE) {
		uint64_t left = wrapped->room - request->transferred;
		wrapped->withheld = left == 0;
		limit_call(call, (size_t)left);
	} else if (wrapped->row > 0) {
		wrapped->row--;
		if (wrapped->kind == FAULTY_SHORT) {
			limit_call(call, draw_short(wrapped, call));
			return;
		}
		wrapped->withheld = true;
		wrapped->drawn = random_mix(wrapped->drawn);
		/* The call has happened or it has not: both are possible when a signal ended it. */
		if (moves_bytes && wrapped->drawn % 2 == 0)
			limit_call(call, 0);
	}
}

static int bend_result(struct io_request *request, int result)
{
	const struct wrapped *wrapped = (const struct wrapped *)(void *)request;
	return wrapped->withheld ? -wrapped->error : result;
}

static const struct transfer_bend bend = { .describe = bend_call, .take = bend_result };

/* --- completing --- */

static uint64_t now_of(const struct faulty_io *io)
{
	return is_simulated(io) ? simulated_now_ns(simulated_world_of(io->inner)) : clock_now_ns();
}

/* The caller's request is complete. `wrapped` is gone afterwards. */
static void tell(struct wrapped *wrapped)
{
	struct faulty_io *io = wrapped->io;
	struct io_request *outer = wrapped->outer;
	outer->status = wrapped->status;
	outer->transferred = wrapped->inner.transferred;
	outer->opened = wrapped->inner.opened;
	if (outer->opened != NULL)
		add_file(io, outer->opened, outer->path);
	free(wrapped);
	io->finished++;
	io_finish(&io->base, outer);
}

static void fail_soon(struct wrapped *wrapped, struct status status)
{
	struct faulty_io *io = wrapped->io;
	wrapped->status = status;
	wrapped->next = NULL;
	*io->failed_end = wrapped;
	io->failed_end = &wrapped->next;
}

static struct status injected(const struct wrapped *wrapped, const char *path)
{
	return status_from_errno(wrapped->error, "injected", path);
}

static void hold_back(struct wrapped *wrapped)
{
	struct faulty_io *io = wrapped->io;
	wrapped->due_ns = now_of(io) + wrapped->delay_ns;
	struct wrapped **link = &io->held;
	while (*link != NULL && (*link)->due_ns <= wrapped->due_ns)
		link = &(*link)->next;
	wrapped->next = *link;
	*link = wrapped;
	if (is_simulated(io))
		simulated_alarm(io->inner, wrapped->due_ns);
}

/* The byte at that place of what the request transferred. */
static unsigned char *byte_at(const struct io_request *request, size_t at)
{
	if (request->vector_count == 0)
		return (unsigned char *)request->buffer + at;
	unsigned i = 0;
	while (at >= request->vectors[i].iov_len)
		at -= request->vectors[i++].iov_len;
	return (unsigned char *)request->vectors[i].iov_base + at;
}

static void spoil_read(const struct wrapped *wrapped)
{
	const struct io_request *request = &wrapped->inner;
	if (request->transferred == 0)
		return;
	size_t at = (size_t)(wrapped->drawn % request->transferred);
	if (wrapped->kind == FAULTY_FLIP) {
		*byte_at(request, at) ^= (unsigned char)(1u << (wrapped->drawn >> 60) % 8);
		return;
	}
	size_t first = at / UNIT_BYTES * UNIT_BYTES;
	for (size_t i = first; i < first + UNIT_BYTES && i < request->transferred; i++)
		*byte_at(request, i) = 0;
}

static void inner_complete(struct io_request *request)
{
	struct wrapped *wrapped = request->context;
	struct faulty_io *io = wrapped->io;
	if (!wrapped->closing)
		wrapped->status = request->status;
	bool went_well = status_is_ok(request->status) && !wrapped->closing;
	if (wrapped->fires && went_well) {
		switch (wrapped->kind) {
		case FAULTY_STALL:
			hold_back(wrapped);
			return;
		case FAULTY_FLIP:
		case FAULTY_ZERO:
			spoil_read(wrapped);
			break;
		case FAULTY_ERROR: /* a close */
		case FAULTY_ERROR_DONE:
			wrapped->status = injected(wrapped, wrapped->outer->path);
			break;
		default:
			break;
		}
	}
	if (request->opened != NULL && !status_is_ok(wrapped->status)) {
		struct io_file *file = request->opened;
		*request = (struct io_request) {
			.operation = IO_CLOSE, .file = file, .complete = inner_complete, .context = wrapped
		};
		wrapped->closing = true;
		io_submit(io->inner, request);
		return;
	}
	tell(wrapped);
}

/* --- syncs that fail --- */

static enum simulated_sync_failure simulated_failure(enum faulty_kind kind)
{
	switch (kind) {
	case FAULTY_SYNC_CLEAN_NEW:
		return SIMULATED_SYNC_CLEAN_NEW;
	case FAULTY_SYNC_CLEAN_OLD:
		return SIMULATED_SYNC_CLEAN_OLD;
	case FAULTY_SYNC_LATE:
		return SIMULATED_SYNC_LATE;
	case FAULTY_SYNC_PARTLY:
		return SIMULATED_SYNC_PARTLY;
	default:
		return SIMULATED_SYNC_KEPT;
	}
}

/* Over a real kernel: what is carried out, and what is said of it. True: the request goes on to the kernel.
 */
static bool fail_sync(struct wrapped *wrapped, const char *path)
{
	struct faulty_io *io = wrapped->io;
	bool is_write = wrapped->inner.operation == IO_WRITE;
	bool late = wrapped->kind == FAULTY_SYNC_LATE;
	if (late && wrapped->inner.operation == IO_SYNC_DIRECTORY) {
		pthread_mutex_lock(&io->plan->mutex);
		io->plan->late_directory = true;
		pthread_mutex_unlock(&io->plan->mutex);
	} else if (late) {
		find_file(io, wrapped->inner.file)->late = true;
	}
	bool goes_on =
		is_write ? wrapped->kind != FAULTY_SYNC_CLEAN_OLD : wrapped->kind == FAULTY_SYNC_PARTLY;
	if (!goes_on) {
		fail_soon(wrapped, late ? status_ok() : injected(wrapped, path));
		return false;
	}
	wrapped->inner.flags &= ~(unsigned)IO_DURABLE;
	if (late)
		wrapped->fires = false; /* from here on an ordinary write */
	else
		wrapped->kind = FAULTY_ERROR_DONE;
	return true;
}

/* Whether a sync that was reported as done before has its failure reported now. */
static bool reports_late(struct faulty_io *io, const struct io_request *request)
{
	bool late = false;
	if (request->operation == IO_SYNC) {
		struct known_file *known = find_file(io, request->file);
		late = known->late;
		known->late = false;
	} else if (request->operation == IO_SYNC_DIRECTORY) {
		pthread_mutex_lock(&io->plan->mutex);
		late = io->plan->late_directory;
		io->plan->late_directory = false;
		pthread_mutex_unlock(&io->plan->mutex);
	}
	return late;
}

/* --- submitting --- */

/* True: the inner request is to be submitted as it now stands. */
static bool apply(struct wrapped *wrapped, const char *path)
{
	struct io_request *inner = &wrapped->inner;
	if (is_sync_kind(wrapped->kind)) {
		if (!is_simulated(wrapped->io))
			return fail_sync(wrapped, path);
		inner->flags |= (unsigned)simulated_failure(wrapped->kind);
		return true;
	}
	switch (wrapped->kind) {
	case FAULTY_ERROR:
		if (inner->operation == IO_CLOSE)
			return true;
		fail_soon(wrapped, injected(wrapped, path));
		return false;
	case FAULTY_SPACE:
		if (wrapped->room == 0) {
			fail_soon(wrapped, injected(wrapped, path));
			return false;
		}
		inner->bend = &bend;
		return true;
	case FAULTY_PASSING:
	case FAULTY_SHORT:
		inner->bend = &bend;
		return true;
	case FAULTY_MISDIRECT:
		inner->offset ^= (uint64_t)IO_PAGE_BYTES << wrapped->drawn % 3;
		return true;
	case FAULTY_LOSE:
		inner->transferred = inner->length;
		fail_soon(wrapped, status_ok());
		return false;
	default:
		return true;
	}
}

static struct wrapped *wrap(struct faulty_io *io, struct io_request *request)
{
	struct wrapped *wrapped = take(sizeof(*wrapped));
	wrapped->inner = *request;
	wrapped->inner.complete = inner_complete;
	wrapped->inner.context = wrapped;
	wrapped->io = io;
	wrapped->outer = request;
	return wrapped;
}

/* Of a task, whose stack has no room for what follows. */
struct submission {
	struct faulty_io *io;
	struct io_request *request;
};

static void submit_on_thread_stack(void *argument)
{
	struct faulty_io *io = ((const struct submission *)argument)->io;
	struct io_request *request = ((const struct submission *)argument)->request;
	struct wrapped *wrapped = wrap(io, request);
	const char *path = path_of(io, request);
	choose(io->plan, wrapped, path);
	bool goes_on = true;
	if (reports_late(io, request)) {
		wrapped->error = EIO;
		fail_soon(wrapped, injected(wrapped, path));
		goes_on = false;
	} else if (wrapped->fires) {
		goes_on = apply(wrapped, path);
	}
	if (request->operation == IO_CLOSE)
		remove_file(io, request->file);
	if (goes_on)
		io_submit(io->inner, &wrapped->inner);
}

static void faulty_submit(struct io *base, struct io_request *request)
{
	call_on_thread_stack(submit_on_thread_stack, &(struct submission) { faulty_of(base), request });
}

/* --- requests that their callers carry out --- */

/* The latest that is to fail soon: what fails here is not to wait for a poll. */
static void take_back(struct wrapped *wrapped)
{
	struct wrapped **link = &wrapped->io->failed;
	while (*link != wrapped)
		link = &(*link)->next;
	ASSERT(wrapped->next == NULL);
	*link = NULL;
	wrapped->io->failed_end = link;
}

/* What goes wrong once the inner backend is done. */
static void spoil_carried(struct wrapped *wrapped, const char *path)
{
	struct simulated_world *world = simulated_world_of(wrapped->io->inner);
	if (!wrapped->fires || !status_is_ok(wrapped->status))
		return;
	switch (wrapped->kind) {
	case FAULTY_STALL:
		simulated_advance_to(world, simulated_now_ns(world) + wrapped->delay_ns);
		break;
	case FAULTY_FLIP:
	case FAULTY_ZERO:
		spoil_read(wrapped);
		break;
	case FAULTY_ERROR_DONE:
		wrapped->status = injected(wrapped, path);
		break;
	default:
		break;
	}
}

/* Over the simulated disk alone, which is of one thread: nobody touches `files` and `failed` meanwhile. */
static void faulty_carry_out(const struct io *base, struct io_request *request)
{
	struct faulty_io *io = faulty_of((struct io *)(uintptr_t)base);
	struct wrapped *wrapped = wrap(io, request);
	const char *path = path_of(io, request);
	choose(io->plan, wrapped, path);
	if (!wrapped->fires || apply(wrapped, path)) {
		io_carry_out(io->inner, &wrapped->inner);
		wrapped->status = wrapped->inner.status;
		spoil_carried(wrapped, path);
	} else {
		take_back(wrapped);
	}
	request->status = wrapped->status;
	request->transferred = wrapped->inner.transferred;
	request->result = wrapped->inner.result;
	memcpy(request->private_words, wrapped->inner.private_words, sizeof(request->private_words));
	free(wrapped);
}

/* --- the backend --- */

static void finish_failed(struct faulty_io *io)
{
	/* What completions submit meanwhile is left for the next poll. */
	struct wrapped *failed = io->failed;
	io->failed = NULL;
	io->failed_end = &io->failed;
	while (failed != NULL) {
		struct wrapped *next = failed->next;
		tell(failed);
		failed = next;
	}
}

static void finish_held(struct faulty_io *io)
{
	uint64_t now = now_of(io);
	while (io->held != NULL && io->held->due_ns <= now) {
		struct wrapped *held = io->held;
		io->held = held->next;
		tell(held);
	}
}

/* Returns early, with nothing finished, when the inner poll did: it may have used up a wake. */
static unsigned faulty_poll(struct io *base, uint64_t wait_ns)
{
	struct faulty_io *io = faulty_of(base);
	uint64_t start = now_of(io);
	uint64_t deadline = wait_ns < UINT64_MAX - start ? start + wait_ns : UINT64_MAX;
	io->finished = 0;
	/* It is the inner one that sleeps. */
	io_around_sleep(io->inner, base->before_sleep, base->after_sleep, base->sleep_context);
	for (;;) {
		finish_failed(io);
		finish_held(io);
		uint64_t until =
			io->held != NULL && io->held->due_ns < deadline ? io->held->due_ns : deadline;
		uint64_t now = now_of(io);
		uint64_t left = until == UINT64_MAX ? UINT64_MAX : until > now ? until - now : 0;
		if (wait_ns == 0 || io->finished > 0)
			left = 0;
		unsigned inner = io_poll(io->inner, left);
		base->counters.submits = io->inner->counters.submits;
		base->counters.retries = io->inner->counters.retries;
		if (wait_ns == 0 || io->finished > 0 || inner > 0)
			return io->finished;
		now = now_of(io);
		if (now < until || now >= deadline)
			return 0;
	}
}

bool faulty_is_ready(const struct io *base)
{
	ASSERT(base->backend == &faulty_over_simulated);
	const struct faulty_io *io = (const struct faulty_io *)(const void *)base;
	return io->failed != NULL || simulated_is_ready(io->inner) ||
	       (io->held != NULL && io->held->due_ns <= simulated_now_ns(simulated_world_of(io->inner)));
}

static void faulty_wake(struct io *base)
{
	io_wake(faulty_of(base)->inner);
}

static struct status faulty_list(struct io *base, const char *path,
				 void (*each)(void *context, const char *name), void *context)
{
	return io_list(faulty_of(base)->inner, path, each, context);
}

static struct status faulty_lock(struct io *base, const char *path, int *lock)
{
	return io_lock(faulty_of(base)->inner, path, lock);
}

static void faulty_unlock(struct io *base, int lock)
{
	io_unlock(faulty_of(base)->inner, lock);
}

static void faulty_hold(struct io *base, int lock)
{
	io_hold(faulty_of(base)->inner, lock);
}

static struct status faulty_register_memory(struct io *base, void *memory, size_t size)
{
	struct io *inner = faulty_of(base)->inner;
	struct status status = io_register_memory(inner, memory, size);
	base->memory_registered = inner->memory_registered;
	return status;
}

static struct status faulty_create_instance(const struct io_options *options, struct io **made)
{
	if (installed == NULL)
		return status_error(STATUS_NOT_FOUND, "no plan of faults is installed");
	struct faulty_io *io = memory_allocate_zeroed(1, sizeof(*io));
	if (io == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct status status = io_create_as_named(installed_inner, options, &io->inner, NULL, 0);
	if (!status_is_ok(status)) {
		memory_free(io);
		return status;
	}
	io->base.backend = is_simulated(io) ? &faulty_over_simulated : &io_backend_faulty;
	io->base.promises = io->inner->promises;
	io->plan = installed;
	io->failed_end = &io->failed;
	*made = &io->base;
	return status_ok();
}

static void faulty_destroy_instance(struct io *base)
{
	struct faulty_io *io = faulty_of(base);
	ASSERT(base->in_flight == 0);
	for (unsigned i = 0; i < FILE_CHAINS; i++) {
		while (io->files[i] != NULL)
			remove_file(io, io->files[i]->file);
	}
	io_destroy(io->inner);
	memory_free(io);
}

#define FAULTY_ROW                                                                                     \
	.name = "faulty", .summary = "another backend, of which chosen requests go wrong",             \
	.create = faulty_create_instance, .destroy = faulty_destroy_instance, .submit = faulty_submit, \
	.poll = faulty_poll, .wake = faulty_wake, .list = faulty_list, .lock = faulty_lock,            \
	.unlock = faulty_unlock, .hold = faulty_hold, .register_memory = faulty_register_memory

const struct io_backend io_backend_faulty = { FAULTY_ROW };

/* What its instances over the simulated disk have. */
static const struct io_backend faulty_over_simulated = { FAULTY_ROW, .carry_out = faulty_carry_out };
