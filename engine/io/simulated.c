/*
 * simulated.c: instances on a world, the calls under way, and the clock that moves from one to the next.
 *
 * A poll enters what was submitted: each kernel call gets a time at which it is due and goes into one heap
 * for the whole world. When the clock reaches that time the call has its effect, on whichever instance it
 * is, and its request, once it needs no further call, waits for its own instance's poll to run `complete`.
 */
#include "io/simulated.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/door.h"
#include "base/hash.h"
#include "base/memory.h"
#include "io/simulated_internal.h"

enum {
	POLL_NS_DEFAULT = 200,
	CLOCK_NS_DEFAULT = 20,
	SLOW_ONE_IN = 16, /* so many calls take ten times as long */
};

#define START_NS_DEFAULT     UINT64_C(1000000000)
#define STALL_NS_MAX_DEFAULT UINT64_C(5000000000)

/* --- memory that injected failures do not reach --- */

void *sim_take(size_t size)
{
	void *memory = calloc(1, size);
	ASSERT(memory != NULL);
	return memory;
}

void *sim_resize(void *memory, size_t size)
{
	memory = realloc(memory, size);
	ASSERT(memory != NULL);
	return memory;
}

void sim_drop(void *memory)
{
	free(memory);
}

char *sim_copy_text(const char *text, size_t size)
{
	char *copy = sim_take(size + 1);
	memcpy(copy, text, size);
	return copy;
}

/* --- the world --- */

static struct simulated_world *installed;

struct simulated_world *sim_world_create(const struct simulated_options *options)
{
	struct simulated_world *world = sim_take(sizeof(*world));
	world->options = *options;
	struct simulated_options *effective = &world->options;
	if (effective->unit_bytes == 0)
		effective->unit_bytes = 512;
	ASSERT(effective->unit_bytes == 512 || effective->unit_bytes == IO_PAGE_BYTES);
	if (effective->start_ns == 0)
		effective->start_ns = START_NS_DEFAULT;
	if (effective->poll_ns == 0)
		effective->poll_ns = POLL_NS_DEFAULT;
	if (effective->clock_ns == 0)
		effective->clock_ns = CLOCK_NS_DEFAULT;
	if (effective->stall_ns_max == 0)
		effective->stall_ns_max = STALL_NS_MAX_DEFAULT;
	world->random = random_stream(effective->seed);
	atomic_init(&world->now_ns, effective->start_ns);
	world->changes_end = &world->changes;
	return world;
}

struct simulated_world *simulated_create(const struct simulated_options *options)
{
	struct simulated_world *world = sim_world_create(options);
	world->root = sim_inode_create(world, true);
	sim_inode_use(world->root);
	return world;
}

void simulated_destroy(struct simulated_world *world)
{
	if (world == NULL)
		return;
	ASSERT(world->instances == 0);
	if (world == installed)
		simulated_install(NULL);
	while (world->changes != NULL) {
		struct sim_change *change = world->changes;
		world->changes = change->next;
		sim_change_free(world, change);
	}
	while (world->locks != NULL) {
		struct sim_lock *lock = world->locks;
		world->locks = lock->next;
		sim_inode_drop(world, lock->inode);
		sim_drop(lock);
	}
	for (size_t i = 0; i < world->handle_count; i++)
		if (world->handles[i].inode != NULL)
			sim_inode_leave(world, world->handles[i].inode);
	ASSERT(world->heap_count == 0);
	sim_names_clear(world, &world->root->seen, true);
	sim_names_clear(world, &world->root->durable, false);
	sim_inode_leave(world, world->root);
	ASSERT(world->inodes == NULL);
	sim_drop(world->heap);
	sim_drop(world->handles);
	sim_drop(world);
}

static uint64_t read_clock(void *context)
{
	struct simulated_world *world = context;
	return atomic_fetch_add_explicit(&world->now_ns, world->options.clock_ns, memory_order_relaxed);
}

static void sleep_on_clock(void *context, uint64_t ns)
{
	struct simulated_world *world = context;
	atomic_fetch_add_explicit(&world->now_ns, ns, memory_order_relaxed);
}

static uint64_t draw_entropy(void *context)
{
	struct simulated_world *world = context;
	return random_next(&world->random);
}

void simulated_install(struct simulated_world *world)
{
	installed = world;
	clock_set_source(world != NULL ? read_clock : NULL, world);
	clock_set_sleeper(world != NULL ? sleep_on_clock : NULL, world);
	random_set_entropy_source(world != NULL ? draw_entropy : NULL, world);
	if (world != NULL)
		io_backend_add(&io_backend_simulated);
}

struct simulated_world *simulated_world_of(const struct io *io)
{
	ASSERT(io->backend == &io_backend_simulated);
	return ((const struct simulated *)(const void *)io)->world;
}

uint64_t simulated_now_ns(const struct simulated_world *world)
{
	return atomic_load_explicit(&world->now_ns, memory_order_relaxed);
}

static void move_clock_to(struct simulated_world *world, uint64_t ns)
{
	uint64_t now = simulated_now_ns(world);
	while (now < ns && !atomic_compare_exchange_weak(&world->now_ns, &now, ns))
		;
}

void simulated_observe(struct simulated_world *world,
		       void (*each)(void *context, const struct simulated_event *event), void *context)
{
	world->observer = each;
	world->observer_context = context;
}

uint64_t simulated_trace(const struct simulated_world *world)
{
	return world->trace;
}

uint64_t simulated_count(const struct simulated_world *world, enum simulated_class class)
{
	return world->counts[class];
}

const char *simulated_class_name(enum simulated_class class)
{
	static const char *const names[SIMULATED_CLASS_COUNT] = {
		[SIMULATED_READ_TORN] = "read torn",
		[SIMULATED_SYNC_PARTIAL] = "sync partial",
		[SIMULATED_OVERTAKEN] = "overtaken",
		[SIMULATED_STALLED] = "stalled",
		[SIMULATED_NO_ROOM] = "no room",
		[SIMULATED_SYNC_FAILED] = "sync failed",
		[SIMULATED_UNIT_OLD] = "unit old",
		[SIMULATED_UNIT_BETWEEN] = "unit between",
		[SIMULATED_UNIT_NEWEST] = "unit newest",
		[SIMULATED_UNIT_GARBAGE] = "unit garbage",
		[SIMULATED_WRITE_TORN] = "write torn",
		[SIMULATED_WRITE_UNDER_WAY_KEPT] = "write under way kept",
		[SIMULATED_WRITE_UNDER_WAY_LOST] = "write under way lost",
		[SIMULATED_SIZE_OLD] = "size old",
		[SIMULATED_SIZE_NEW] = "size new",
		[SIMULATED_CREATE_KEPT] = "create kept",
		[SIMULATED_CREATE_LOST] = "create lost",
		[SIMULATED_RENAME_KEPT] = "rename kept",
		[SIMULATED_RENAME_LOST] = "rename lost",
		[SIMULATED_UNLINK_KEPT] = "unlink kept",
		[SIMULATED_UNLINK_LOST] = "unlink lost",
		[SIMULATED_DIRECTORY_KEPT] = "directory kept",
		[SIMULATED_DIRECTORY_LOST] = "directory lost",
	};
	return names[class];
}

/* --- the heap of calls under way --- */

static bool is_before(const struct sim_call *a, const struct sim_call *b)
{
	return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->number < b->number;
}

static void heap_add(struct simulated_world *world, struct sim_call *call)
{
	if (world->heap_count == world->heap_capacity) {
		world->heap_capacity = world->heap_capacity == 0 ? 64 : 2 * world->heap_capacity;
		world->heap = sim_resize(world->heap, world->heap_capacity * sizeof(struct sim_call *));
	}
	size_t at = world->heap_count++;
	for (; at > 0 && is_before(call, world->heap[(at - 1) / 2]); at = (at - 1) / 2)
		world->heap[at] = world->heap[(at - 1) / 2];
	world->heap[at] = call;
}

static struct sim_call *heap_remove(struct simulated_world *world, size_t at)
{
	struct sim_call *removed = world->heap[at];
	struct sim_call *last = world->heap[--world->heap_count];
	if (removed == last)
		return removed;
	for (; at > 0 && is_before(last, world->heap[(at - 1) / 2]); at = (at - 1) / 2)
		world->heap[at] = world->heap[(at - 1) / 2];
	for (size_t child = 2 * at + 1; child < world->heap_count; child = 2 * at + 1) {
		if (child + 1 < world->heap_count && is_before(world->heap[child + 1], world->heap[child]))
			child++;
		if (!is_before(world->heap[child], last))
			break;
		world->heap[at] = world->heap[child];
		at = child;
	}
	world->heap[at] = last;
	return removed;
}

/* --- events --- */

static const char *path_of(const struct sim_call *call)
{
	return call->call.fd >= 0 ? transfer_file(call->request->file)->path : call->request->path;
}

static void tell(struct simulated_world *world, const struct sim_call *call, enum simulated_stage stage,
		 int result)
{
	const struct io_request *request = call->request;
	struct simulated_event event = {
		.stage = stage,
		.operation = request->operation,
		.instance = call->simulated->number,
		.number = ++world->events,
		.now_ns = simulated_now_ns(world),
		.path = path_of(call),
		.path_to = request->operation == IO_RENAME ? request->path_to : NULL,
		.flags = request->flags,
		.offset = call->call.offset,
		.length = call->call.length,
		.result = result,
	};
	uint64_t words[] = {
		world->trace,
		event.now_ns,
		(uint64_t)stage << 32 | (uint64_t)event.operation,
		(uint64_t)event.instance << 32 | event.flags,
		event.offset,
		event.length,
		(uint64_t)(int64_t)result,
		call->checksum,
		checksum64(event.path, strlen(event.path), 0),
	};
	world->trace = checksum64(words, sizeof(words), 0);
	if (world->observer != NULL)
		world->observer(world->observer_context, &event);
}

/* --- entering --- */

static uint64_t draw_between(struct random *random, uint64_t low_us, uint64_t high_us)
{
	return low_us * 1000 + random_below(random, (high_us - low_us) * 1000);
}

static uint64_t draw_latency(struct simulated_world *world, enum io_operation operation)
{
	struct random *random = &world->random;
	uint64_t ns;
	switch (operation) {
	case IO_READ:
		ns = draw_between(random, 10, 150);
		break;
	case IO_WRITE:
		ns = draw_between(random, 10, 100);
		break;
	case IO_SYNC:
	case IO_SYNC_DIRECTORY:
		ns = draw_between(random, 5, 600);
		break;
	default:
		ns = draw_between(random, 2, 60);
		break;
	}
	if (sim_one_in(random, SLOW_ONE_IN))
		ns *= 10;
	if (random_below(random, 1000000) < world->options.stalls_in_million) {
		ns += random_below(random, world->options.stall_ns_max);
		sim_note(world, SIMULATED_STALLED);
	}
	return ns;
}

static uint64_t checksum_of(const struct transfer_call *call)
{
	if (call->vector_count == 0)
		return checksum64(call->buffer, call->length, 0);
	uint64_t checksum = 0;
	for (unsigned i = 0; i < call->vector_count; i++)
		checksum = checksum64(call->vectors[i].iov_base, call->vectors[i].iov_len, checksum);
	return checksum;
}

static const struct sim_handle *handle_of(const struct simulated_world *world,
					  const struct transfer_call *call)
{
	ASSERT(call->fd >= 0 && (size_t)call->fd < world->handle_count);
	const struct sim_handle *handle = &world->handles[call->fd];
	ASSERT(handle->inode != NULL); /* an open file of this world */
	return handle;
}

/* What the call refers to is settled now; what it does to it, when it is due. */
static void enter(struct simulated_world *world, struct sim_call *call)
{
	struct io_request *request = call->request;
	transfer_describe(request, &call->call);
	int error;
	call->inode = NULL;
	if (call->call.fd >= 0)
		call->inode = handle_of(world, &call->call)->inode;
	else if (request->operation == IO_SYNC_DIRECTORY)
		call->inode = sim_find(world, request->path, &error);
	if (call->inode != NULL)
		sim_inode_hold(call->inode);
	call->checksum = request->operation == IO_WRITE ? checksum_of(&call->call) : 0;
	if (call->carried != NULL)
		call->carried->calls++;
	call->number = ++world->entered;
	call->due_ns = simulated_now_ns(world) + draw_latency(world, request->operation);
	heap_add(world, call);
	tell(world, call, SIMULATED_ENTERED, 0);
}

/* Returns how many were finished because they could not begin. What completions submit is left alone. */
static unsigned enter_fresh(struct simulated *simulated)
{
	unsigned done = 0;
	unsigned entered = 0;
	for (unsigned left = simulated->fresh_count; left > 0 && simulated->under_way < simulated->depth;
	     left--) {
		struct sim_call *call = simulated->fresh;
		simulated->fresh = call->next;
		if (simulated->fresh == NULL)
			simulated->fresh_end = &simulated->fresh;
		simulated->fresh_count--;
		if (transfer_begin(call->request, simulated->direct)) {
			simulated->under_way++;
			entered++;
			enter(simulated->world, call);
			continue;
		}
		struct io_request *request = call->request;
		sim_drop(call);
		done++;
		transfer_finish(&simulated->base, request);
	}
	simulated->base.counters.submits += entered > 0;
	return done;
}

/* --- effects --- */

/* Of the writes under way in that unit and the content that is there, one by chance. */
static const struct sim_call *draw_writer(struct simulated_world *world, const struct sim_inode *inode,
					  uint64_t start, uint64_t end)
{
	const struct sim_call *drawn = NULL;
	unsigned candidates = 1;
	for (size_t i = 0; i < world->heap_count; i++) {
		const struct sim_call *call = world->heap[i];
		if (call->request == NULL || call->request->operation != IO_WRITE || call->inode != inode)
			continue;
		if (call->call.offset >= end || call->call.offset + call->call.length <= start)
			continue;
		candidates++;
		if (sim_one_in(&world->random, candidates))
			drawn = call;
	}
	return drawn;
}

/* Copies what the write has for [start, start + length) of the file. */
static void copy_from_write(const struct transfer_call *write, uint64_t start, char *to, size_t length)
{
	uint64_t at = write->offset;
	struct iovec whole = { .iov_base = write->buffer, .iov_len = write->length };
	const struct iovec *vectors = write->vector_count > 0 ? write->vectors : &whole;
	unsigned count = write->vector_count > 0 ? write->vector_count : 1;
	for (unsigned i = 0; i < count; i++) {
		uint64_t from = at > start ? at : start;
		uint64_t end = at + vectors[i].iov_len;
		uint64_t until = end < start + length ? end : start + length;
		if (from < until)
			memcpy(to + (from - start), (const char *)vectors[i].iov_base + (from - at),
			       (size_t)(until - from));
		at = end;
	}
}

static bool has_writer(const struct simulated_world *world, const struct sim_inode *inode)
{
	for (size_t i = 0; i < world->heap_count; i++) {
		const struct sim_call *call = world->heap[i];
		if (call->request != NULL && call->request->operation == IO_WRITE && call->inode == inode)
			return true;
	}
	return false;
}

static void read_piece(struct simulated_world *world, const struct sim_inode *inode, uint64_t offset,
		       char *buffer, size_t length)
{
	sim_copy_seen(world, inode, offset, buffer, length);
	if (!has_writer(world, inode))
		return;
	uint64_t unit_bytes = world->options.unit_bytes;
	uint64_t end = offset + length;
	bool torn = false;
	for (uint64_t at = offset; at < end;) {
		uint64_t next = (at / unit_bytes + 1) * unit_bytes;
		uint64_t until = next < end ? next : end;
		const struct sim_call *writer = draw_writer(world, inode, at, until);
		if (writer != NULL)
			copy_from_write(&writer->call, at, buffer + (at - offset), (size_t)(until - at));
		torn |= writer != NULL;
		at = until;
	}
	if (torn)
		sim_note(world, SIMULATED_READ_TORN);
}

static int do_read(struct simulated_world *world, const struct sim_call *call)
{
	const struct transfer_call *read = &call->call;
	const struct sim_inode *inode = call->inode;
	if (read->offset >= inode->size)
		return 0;
	uint64_t left = inode->size - read->offset;
	size_t length = read->length < left ? read->length : (size_t)left;
	if (read->vector_count == 0) {
		read_piece(world, inode, read->offset, read->buffer, length);
		return (int)length;
	}
	size_t done = 0;
	for (unsigned i = 0; i < read->vector_count && done < length; i++) {
		const struct iovec *vector = &read->vectors[i];
		size_t part = vector->iov_len < length - done ? vector->iov_len : length - done;
		read_piece(world, inode, read->offset + done, vector->iov_base, part);
		done += part;
	}
	return (int)length;
}

static int do_write(struct simulated_world *world, const struct sim_call *call)
{
	const struct transfer_call *write = &call->call;
	if (!handle_of(world, write)->writable)
		return -EBADF;
	/* The buffer belongs to the storage while the write is under way: nobody may have touched it. */
	ASSERT(checksum_of(write) == call->checksum);
	size_t length = (size_t)sim_room(world, call->inode, write->offset, write->length);
	if (length < write->length)
		sim_note(world, SIMULATED_NO_ROOM);
	if (length == 0)
		return write->length == 0 ? 0 : -ENOSPC;
	uint64_t stamp = ++world->stamp;
	sim_write(world, call->inode, write, length, stamp, NULL);
	sim_grow(call->inode, write->offset + length, stamp);
	if ((call->request->flags & IO_DURABLE) == 0)
		return (int)length;
	unsigned failure = call->request->flags & SIMULATED_SYNC_MASK;
	sim_sync_write(world, call->inode, write->offset, length, stamp, failure);
	if (failure == 0)
		return (int)length;
	sim_note(world, SIMULATED_SYNC_FAILED);
	call->inode->late_error |= failure == SIMULATED_SYNC_LATE;
	return failure == SIMULATED_SYNC_LATE ? (int)length : -EIO;
}

static int do_sync(struct simulated_world *world, const struct sim_call *call)
{
	struct sim_inode *inode = call->inode;
	unsigned failure = call->request->flags & SIMULATED_SYNC_MASK;
	if (inode == NULL)
		return -ENOENT;
	if (call->request->operation == IO_SYNC_DIRECTORY && !inode->is_directory)
		return -ENOTDIR;
	if (inode->is_directory)
		sim_sync_names(world, inode, call->submitted, failure);
	else
		sim_sync_file(world, inode, call->submitted, failure);
	bool late = inode->late_error;
	inode->late_error = failure == SIMULATED_SYNC_LATE;
	if (failure != 0)
		sim_note(world, SIMULATED_SYNC_FAILED);
	return late || (failure != 0 && failure != SIMULATED_SYNC_LATE) ? -EIO : 0;
}

static int do_allocate(struct simulated_world *world, const struct sim_call *call)
{
	const struct transfer_call *allocate = &call->call;
	if (!handle_of(world, allocate)->writable)
		return -EBADF;
	if (sim_room(world, call->inode, allocate->offset, allocate->length) < allocate->length) {
		sim_note(world, SIMULATED_NO_ROOM);
		return -ENOSPC;
	}
	uint64_t stamp = ++world->stamp;
	sim_reserve(world, call->inode, allocate->offset, allocate->length);
	sim_grow(call->inode, allocate->offset + allocate->length, stamp);
	return 0;
}

/* The handle's number or -errno. */
static int do_open(struct simulated_world *world, const struct io_request *request)
{
	int error = 0;
	struct sim_inode *inode = NULL;
	if ((request->flags & IO_OPEN_CREATE) != 0)
		error = -sim_create_file(world, request->path, &inode);
	else
		inode = sim_find(world, request->path, &error);
	if (inode == NULL)
		return -error;
	if (inode->is_directory)
		return -EISDIR;
	size_t at = 0;
	while (at < world->handle_count && world->handles[at].inode != NULL)
		at++;
	if (at == world->handle_count) {
		world->handle_count++;
		world->handles = sim_resize(world->handles, world->handle_count * sizeof(*world->handles));
	}
	sim_inode_use(inode);
	world->handles[at] = (struct sim_handle) {
		.inode = inode,
		.writable = (request->flags & IO_OPEN_WRITE) != 0,
	};
	return (int)at;
}

static int do_close(struct simulated_world *world, const struct sim_call *call)
{
	world->handles[call->call.fd].inode = NULL;
	sim_inode_leave(world, call->inode);
	return 0;
}

static int do_call(struct simulated_world *world, const struct sim_call *call)
{
	const struct io_request *request = call->request;
	switch (request->operation) {
	case IO_READ:
		return do_read(world, call);
	case IO_WRITE:
		return do_write(world, call);
	case IO_SYNC:
	case IO_SYNC_DIRECTORY:
		return do_sync(world, call);
	case IO_OPEN:
		return do_open(world, request);
	case IO_CLOSE:
		return do_close(world, call);
	case IO_ALLOCATE:
		return do_allocate(world, call);
	case IO_RENAME:
		return sim_rename(world, request->path, request->path_to);
	case IO_UNLINK:
		return sim_unlink(world, request->path);
	case IO_MAKE_DIRECTORY:
		return sim_make_directory(world, request->path);
	}
	assert_failed(__FILE__, __LINE__, __func__, "a known operation");
}

/* Whether the request is finished. The steps that look at a real descriptor are ended here instead. */
static bool take_result(struct simulated_world *world, struct io_request *request, int result)
{
	if (result >= 0 && request->operation == IO_OPEN) {
		transfer_opened(request, result, world->handles[result].inode->size);
		return true;
	}
	if (result >= 0 && request->operation == IO_SYNC_DIRECTORY)
		return true;
	return transfer_take(request, result);
}

static bool was_overtaken(const struct simulated_world *world, const struct sim_call *call)
{
	for (size_t i = 0; i < world->heap_count; i++)
		if (world->heap[i]->request != NULL && world->heap[i]->number < call->number)
			return true;
	return false;
}

static void perform(struct simulated_world *world, struct sim_call *call)
{
	struct simulated *simulated = call->simulated;
	struct io_request *request = call->request;
	if (request == NULL) {
		gate_signal(&simulated->gate);
		sim_drop(call);
		return;
	}
	if (was_overtaken(world, call))
		sim_note(world, SIMULATED_OVERTAKEN);
	int result = do_call(world, call);
	tell(world, call, SIMULATED_COMPLETED, result);
	if (call->inode != NULL)
		sim_inode_drop(world, call->inode);
	if (!take_result(world, request, result)) {
		enter(world, call);
		return;
	}
	struct sim_carried *carried = call->carried;
	sim_drop(call);
	if (carried != NULL) {
		carried->done = true;
		return;
	}
	simulated->under_way--;
	io_queue_add(&simulated->ready, request);
}

/* Everything that is due by now, in order. */
static void perform_due(struct simulated_world *world)
{
	while (world->heap_count > 0 && world->heap[0]->due_ns <= simulated_now_ns(world))
		perform(world, heap_remove(world, 0));
}

uint64_t simulated_next_event_ns(const struct simulated_world *world)
{
	return world->heap_count > 0 ? world->heap[0]->due_ns : UINT64_MAX;
}

bool simulated_advance(struct simulated_world *world)
{
	if (world->heap_count == 0)
		return false;
	move_clock_to(world, world->heap[0]->due_ns);
	perform_due(world);
	return true;
}

void simulated_advance_to(struct simulated_world *world, uint64_t ns)
{
	while (simulated_next_event_ns(world) <= ns)
		(void)simulated_advance(world);
	move_clock_to(world, ns);
}

/* --- the backend --- */

static unsigned finish_ready(struct simulated *simulated)
{
	unsigned done = 0;
	for (unsigned left = simulated->ready.count; left > 0; left--) {
		transfer_finish(&simulated->base, io_queue_take(&simulated->ready));
		done++;
	}
	return done;
}

/*
 * Nothing is under way in the whole world, and the wait has no end: only another thread can end it. The event
 * is opened here, before the announcement that makes others look at it.
 */
static void wait_for_wake(struct simulated *simulated)
{
	struct gate *gate = &simulated->gate;
	if (gate->event < 0) {
		gate->event = eventfd(0, EFD_CLOEXEC);
		ASSERT(gate->event >= 0);
	}
	if (gate_announce(gate)) {
		uint64_t count;
		io_before_sleep(&simulated->base);
		ssize_t got = read(gate->event, &count, sizeof(count));
		ASSERT(got == (ssize_t)sizeof(count) || errno == EINTR);
		io_after_sleep(&simulated->base);
	}
	gate_awake(gate);
}

static unsigned simulated_poll(struct io *io, uint64_t wait_ns)
{
	struct simulated *simulated = simulated_of(io);
	struct simulated_world *world = simulated->world;
	move_clock_to(world, simulated_now_ns(world) + world->options.poll_ns);
	uint64_t now = simulated_now_ns(world);
	uint64_t deadline = wait_ns < UINT64_MAX - now ? now + wait_ns : UINT64_MAX;
	for (;;) {
		unsigned done = enter_fresh(simulated);
		perform_due(world);
		done += finish_ready(simulated);
		if (gate_take(&simulated->gate) || done > 0 || wait_ns == 0)
			return done;
		uint64_t next = simulated_next_event_ns(world);
		if (next <= deadline && next != UINT64_MAX) {
			(void)simulated_advance(world);
		} else if (deadline != UINT64_MAX) {
			move_clock_to(world, deadline);
			return 0;
		} else {
			wait_for_wake(simulated);
		}
	}
}

/* Of a task, whose stack has no room for an allocation. */
struct submission {
	struct simulated *simulated;
	struct io_request *request;
};

static void submit_on_thread_stack(void *argument)
{
	const struct submission *submission = argument;
	struct simulated *simulated = submission->simulated;
	struct sim_call *call = sim_take(sizeof(*call));
	call->simulated = simulated;
	call->request = submission->request;
	call->submitted = ++simulated->world->stamp;
	*simulated->fresh_end = call;
	simulated->fresh_end = &call->next;
	simulated->fresh_count++;
}

static void simulated_submit(struct io *io, struct io_request *request)
{
	call_on_thread_stack(submit_on_thread_stack, &(struct submission) { simulated_of(io), request });
}

/*
 * The caller stands still until the request is done, and with it whoever shares its thread: the clock moves
 * to that moment, and what is due before happens before. Completions wait for their polls as ever.
 */
static void simulated_carry_out(const struct io *io, struct io_request *request)
{
	struct simulated *simulated = (struct simulated *)(uintptr_t)io;
	struct sim_carried carried = { 0 };
	struct sim_call *call = sim_take(sizeof(*call));
	call->simulated = simulated;
	call->carried = &carried;
	call->request = request;
	call->submitted = ++simulated->world->stamp;
	enter(simulated->world, call);
	while (!carried.done) {
		bool moved = simulated_advance(simulated->world);
		ASSERT(moved);
	}
	request->result = carried.calls;
}

static void simulated_wake(struct io *io)
{
	gate_signal(&simulated_of(io)->gate);
}

bool simulated_is_ready(const struct io *io)
{
	const struct simulated *simulated = (const struct simulated *)(const void *)io;
	return simulated->ready.count > 0 ||
	       (simulated->fresh_count > 0 && simulated->under_way < simulated->depth) ||
	       atomic_load_explicit(&simulated->gate.signalled, memory_order_relaxed);
}

void simulated_alarm(struct io *io, uint64_t at_ns)
{
	struct simulated *simulated = simulated_of(io);
	struct simulated_world *world = simulated->world;
	struct sim_call *call = sim_take(sizeof(*call));
	call->simulated = simulated;
	call->number = ++world->entered;
	call->due_ns = at_ns;
	heap_add(world, call);
}

static struct status simulated_list(struct io *io, const char *path,
				    void (*each)(void *context, const char *name), void *context)
{
	struct simulated_world *world = simulated_of(io)->world;
	int error;
	const struct sim_inode *directory = sim_find(world, path, &error);
	if (directory != NULL && !directory->is_directory)
		error = ENOTDIR;
	if (directory == NULL || error != 0)
		return status_from_errno(error, "list", path);
	/* In no order that a caller could come to rely on. */
	const struct sim_names *names = &directory->seen;
	size_t count = names->count;
	if (count == 0)
		return status_ok();
	size_t *order = sim_take(count * sizeof(*order));
	for (size_t i = 0; i < count; i++) {
		size_t other = (size_t)random_below(&world->random, i + 1);
		order[i] = order[other];
		order[other] = i;
	}
	for (size_t i = 0; i < count; i++)
		each(context, names->entries[order[i]].name);
	sim_drop(order);
	return status_ok();
}

static struct status simulated_lock(struct io *io, const char *path, int *lock)
{
	struct simulated_world *world = simulated_of(io)->world;
	int error;
	struct sim_inode *inode = sim_find(world, path, &error);
	if (inode == NULL) {
		error = -sim_create_file(world, path, &inode);
		if (error != 0)
			return status_from_errno(error, "lock", path);
	}
	for (const struct sim_lock *held = world->locks; held != NULL; held = held->next)
		if (held->inode == inode)
			return status_error(STATUS_LOCKED, "%s: lock: another holder has it", path);
	struct sim_lock *added = sim_take(sizeof(*added));
	sim_inode_hold(inode);
	*added = (struct sim_lock) { .next = world->locks, .inode = inode, .number = ++world->lock_numbers };
	world->locks = added;
	*lock = added->number;
	return status_ok();
}

static void simulated_unlock(struct io *io, int lock)
{
	struct simulated_world *world = simulated_of(io)->world;
	struct sim_lock **link = &world->locks;
	while (*link != NULL && (*link)->number != lock)
		link = &(*link)->next;
	struct sim_lock *held = *link;
	ASSERT(held != NULL);
	*link = held->next;
	sim_inode_drop(world, held->inode);
	sim_drop(held);
}

static struct status simulated_register_memory(struct io *io, void *base, size_t size)
{
	(void)io;
	(void)base;
	(void)size;
	return status_error(STATUS_UNSUPPORTED, "the I/O backend \"simulated\" has no registered memory");
}

static struct status simulated_create_instance(const struct io_options *options, struct io **io)
{
	if (installed == NULL)
		return status_error(STATUS_NOT_FOUND, "no simulated world is installed");
	struct simulated *simulated = memory_allocate_zeroed(1, sizeof(*simulated));
	if (simulated == NULL)
		return status_make(STATUS_NO_MEMORY);
	simulated->base.backend = &io_backend_simulated;
	simulated->base.promises = IO_ATOMIC_512;
	if (installed->options.unit_bytes == IO_PAGE_BYTES)
		simulated->base.promises |= IO_ATOMIC_4096;
	simulated->world = installed;
	simulated->number = installed->instance_numbers++;
	installed->instances++;
	simulated->depth = io_depth(options);
	simulated->direct = options->direct;
	simulated->fresh_end = &simulated->fresh;
	atomic_init(&simulated->gate.signalled, false);
	atomic_init(&simulated->gate.asleep, false);
	simulated->gate.event = -1;
	*io = &simulated->base;
	return status_ok();
}

static void simulated_destroy_instance(struct io *io)
{
	struct simulated *simulated = simulated_of(io);
	struct simulated_world *world = simulated->world;
	ASSERT(io->in_flight == 0);
	for (size_t i = 0; i < world->heap_count;) {
		if (world->heap[i]->simulated != simulated) {
			i++;
			continue;
		}
		sim_drop(heap_remove(world, i)); /* an alarm; others have moved */
		i = 0;
	}
	world->instances--;
	if (simulated->gate.event >= 0)
		gate_close(&simulated->gate);
	memory_free(simulated);
}

const struct io_backend io_backend_simulated = {
	.name = "simulated",
	.summary = "a disk in memory that loses what was not synced, with a clock of its own",
	.create = simulated_create_instance,
	.destroy = simulated_destroy_instance,
	.submit = simulated_submit,
	.poll = simulated_poll,
	.wake = simulated_wake,
	.carry_out = simulated_carry_out,
	.list = simulated_list,
	.lock = simulated_lock,
	.unlock = simulated_unlock,
	.register_memory = simulated_register_memory,
};
