/*
 * uring.c: the default backend: one io_uring per instance, entered by its owner alone.
 *
 * Submitting only queues. A poll moves what is queued into the submission ring, as far as `depth` and the
 * ring allow, and enters the kernel once: to submit, to have it post completions, and to wait if asked to.
 * With SINGLE_ISSUER and DEFER_TASKRUN completions appear only on such an entry; the ring's TASKRUN flag
 * says when one is worth while, so a poll with nothing to do reads a few words and makes no system call.
 * Older kernels get fewer flags, and those that lack something that is needed are reported as
 * STATUS_UNSUPPORTED.
 *
 * An io_wake reaches a sleeping owner through an eventfd that the ring reads. That read is armed by the
 * first poll that sleeps and stays armed until it is used. The completion ring is twice as large as what
 * can be under way, so it cannot overflow.
 *
 * Files get a slot in the ring's table and memory regions get an index, which saves the kernel a
 * reference count and the pinning of pages for each request. Both are optional everywhere.
 */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/memory.h"
#include "base/watched.h"
#include "io/backend.h"
#include "io/blocking.h"
#include "io/gate.h"
#include "io/transfer.h"

enum {
	RING_ENTRIES_MIN = 8,
	RING_ENTRIES_MAX = 128, /* a larger burst takes another system call, a larger ring more cache */
	SLOTS_MAX = 4096,
	SLOTS_MIN = 16,
	REGIONS_MAX = 64,
};

#define REGION_BYTES_MAX ((size_t)1 << 30) /* what the kernel takes as one buffer */

struct uring {
	struct io base;
	struct io_uring ring;
	bool direct;
	bool wake_armed; /* the ring reads the gate's event */
	bool congested;	 /* the last entry was refused for want of memory or room */
	unsigned depth;
	unsigned under_way;    /* entered or in the submission ring, without the wake */
	struct io_queue fresh; /* submitted, not begun */
	struct io_queue again; /* begun: they need another call */
	struct gate gate;
	uint64_t wake_count; /* where the ring reads the event to */

	unsigned free_slot_count;
	int free_slots[SLOTS_MAX];
	bool has_regions; /* the ring has a table of them */
	unsigned region_count;
	struct iovec regions[REGIONS_MAX];
};

static struct uring *uring_of(struct io *io)
{
	return (struct uring *)(void *)io;
}

/* --- entering --- */

static bool has_completion(const struct uring *uring)
{
	const struct io_uring_cq *cq = &uring->ring.cq;
	return *cq->khead != io_uring_smp_load_acquire(cq->ktail);
}

static bool kernel_has_work(const struct uring *uring)
{
	unsigned flags = IO_URING_READ_ONCE(*uring->ring.sq.kflags);
	return (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

/* What an entry returned: refusals for want of memory or room pass, the others would be our mistake. */
static void check_entry(struct uring *uring, int result)
{
	uring->congested = result == -EAGAIN || result == -EBUSY || result == -ENOMEM;
	ASSERT(result >= 0 || result == -ETIME || result == -EINTR || uring->congested);
}

/* Enters what is in the submission ring and has the kernel post what is complete. */
static void flush(struct uring *uring)
{
	if (io_uring_sq_ready(&uring->ring) > 0) {
		uring->base.counters.submits++;
		check_entry(uring, io_uring_submit_and_get_events(&uring->ring));
	} else if (kernel_has_work(uring)) {
		check_entry(uring, io_uring_get_events(&uring->ring));
	}
}

/* NULL: the submission ring is full and the kernel takes nothing now. */
static struct io_uring_sqe *get_entry(struct uring *uring)
{
	struct io_uring_sqe *entry = io_uring_get_sqe(&uring->ring);
	if (entry == NULL) {
		uring->base.counters.submits++;
		check_entry(uring, io_uring_submit(&uring->ring));
		entry = io_uring_get_sqe(&uring->ring);
	}
	return entry;
}

static bool arm_wake(struct uring *uring)
{
	if (uring->wake_armed)
		return true;
	struct io_uring_sqe *entry = get_entry(uring);
	if (entry == NULL)
		return false;
	io_uring_prep_read(entry, uring->gate.event, &uring->wake_count, sizeof(uring->wake_count), 0);
	io_uring_sqe_set_data(entry, NULL);
	uring->wake_armed = true;
	return true;
}

/* Enters and waits for a completion, which may be that of the wake. */
static void flush_and_wait(struct uring *uring, uint64_t left_ns)
{
	if (!arm_wake(uring)) {
		flush(uring);
		return;
	}
	if (!gate_announce(&uring->gate)) {
		gate_awake(&uring->gate);
		flush(uring);
		return;
	}
	if (io_uring_sq_ready(&uring->ring) > 0)
		uring->base.counters.submits++;
	int result;
	io_before_sleep(&uring->base);
	if (left_ns == UINT64_MAX) {
		result = io_uring_submit_and_wait(&uring->ring, 1);
	} else {
		struct __kernel_timespec left = { .tv_sec = (long long)(left_ns / 1000000000u),
						  .tv_nsec = (long long)(left_ns % 1000000000u) };
		struct io_uring_cqe *first;
		result = io_uring_submit_and_wait_timeout(&uring->ring, &first, 1, &left, NULL);
	}
	io_after_sleep(&uring->base);
	gate_awake(&uring->gate);
	check_entry(uring, result);
}

/* --- from requests to entries --- */

/* The index of the registered region that holds the buffer; -1: none does. */
static int find_region(const struct uring *uring, const void *buffer, size_t length)
{
	for (unsigned i = 0; i < uring->region_count; i++) {
		size_t at = (size_t)((uintptr_t)buffer - (uintptr_t)uring->regions[i].iov_base);
		if (at < uring->regions[i].iov_len && length <= uring->regions[i].iov_len - at)
			return (int)i;
	}
	return -1;
}

static void fill_transfer(const struct uring *uring, struct io_uring_sqe *entry,
			  const struct transfer_call *call)
{
	bool reads = call->kind == TRANSFER_READ;
	int fd = call->slot >= 0 ? call->slot : call->fd;
	if (call->vector_count > 0) {
		io_uring_prep_rw(reads ? IORING_OP_READV : IORING_OP_WRITEV, entry, fd, call->vectors,
				 call->vector_count, call->offset);
	} else {
		int region = find_region(uring, call->buffer, call->length);
		uint8_t plain = reads ? IORING_OP_READ : IORING_OP_WRITE;
		uint8_t fixed = reads ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED;
		io_uring_prep_rw(region < 0 ? plain : fixed, entry, fd, call->buffer, (unsigned)call->length,
				 call->offset);
		if (region >= 0)
			entry->buf_index = (uint16_t)region;
	}
	entry->rw_flags = call->flags;
	if (call->slot >= 0)
		entry->flags |= IOSQE_FIXED_FILE;
}

static void fill_entry(const struct uring *uring, struct io_uring_sqe *entry,
		       const struct transfer_call *call)
{
	switch (call->kind) {
	case TRANSFER_READ:
	case TRANSFER_WRITE:
		fill_transfer(uring, entry, call);
		break;
	case TRANSFER_SYNC:
		io_uring_prep_fsync(entry, call->fd, call->data_only ? IORING_FSYNC_DATASYNC : 0);
		break;
	case TRANSFER_OPEN:
		io_uring_prep_openat(entry, AT_FDCWD, call->path, call->flags, 0644);
		break;
	case TRANSFER_CLOSE:
		io_uring_prep_close(entry, call->fd);
		break;
	case TRANSFER_ALLOCATE:
		/* liburing 2.3 declares offset and length signed. */
		io_uring_prep_fallocate(entry, call->fd, 0, (off_t)call->offset, (off_t)call->length);
		break;
	case TRANSFER_RENAME:
		io_uring_prep_renameat(entry, AT_FDCWD, call->path, AT_FDCWD, call->path_to, 0);
		break;
	case TRANSFER_UNLINK:
		io_uring_prep_unlinkat(entry, AT_FDCWD, call->path, 0);
		break;
	case TRANSFER_MAKE_DIRECTORY:
		io_uring_prep_mkdirat(entry, AT_FDCWD, call->path, 0755);
		break;
	}
}

static void take_slot(struct uring *uring, struct transfer_file *file)
{
	if (uring->free_slot_count == 0)
		return;
	int slot = uring->free_slots[uring->free_slot_count - 1];
	if (io_uring_register_files_update(&uring->ring, (unsigned)slot, &file->fd, 1) != 1)
		return;
	file->slot = slot;
	uring->free_slot_count--;
}

/* The table would keep the file open past its close. */
static void give_slot_back(struct uring *uring, struct transfer_file *file)
{
	if (file->slot < 0)
		return;
	int none = -1;
	if (io_uring_register_files_update(&uring->ring, (unsigned)file->slot, &none, 1) == 1)
		uring->free_slots[uring->free_slot_count++] = file->slot;
	file->slot = -1;
}

static void enter_request(struct uring *uring, struct io_uring_sqe *entry, struct io_request *request)
{
	struct transfer_call call;
	if (request->operation == IO_CLOSE)
		give_slot_back(uring, transfer_file(request->file));
	transfer_describe(request, &call);
	fill_entry(uring, entry, &call);
	io_uring_sqe_set_data(entry, request);
	uring->under_way++;
}

/*
 * Moves requests into the submission ring. Returns how many were finished because they could not begin.
 * What completions submit meanwhile is left for the next poll, so that this one ends.
 */
static unsigned enter_queued(struct uring *uring)
{
	unsigned done = 0;
	unsigned fresh = uring->fresh.count;
	while (uring->under_way < uring->depth && (uring->again.count > 0 || fresh > 0)) {
		bool begun = uring->again.count > 0;
		struct io_request *request = begun ? uring->again.first : uring->fresh.first;
		if (!begun) {
			(void)io_queue_take(&uring->fresh);
			fresh--;
			if (!transfer_begin(request, uring->direct)) {
				transfer_finish(&uring->base, request);
				done++;
				continue;
			}
			io_queue_add(&uring->again, request);
		}
		struct io_uring_sqe *entry = get_entry(uring);
		if (entry == NULL)
			break;
		(void)io_queue_take(&uring->again);
		enter_request(uring, entry, request);
	}
	return done;
}

/* --- completions --- */

static unsigned take_completions(struct uring *uring)
{
	unsigned done = 0;
	const struct io_uring_cq *cq = &uring->ring.cq;
	while (has_completion(uring)) {
		const struct io_uring_cqe *completion = &cq->cqes[*cq->khead & *cq->kring_mask];
		struct io_request *request = io_uring_cqe_get_data(completion);
		int result = completion->res;
		/* Before `complete` runs, which may do anything. */
		io_uring_cq_advance(&uring->ring, 1);
		if (request == NULL) {
			uring->wake_armed = false;
			continue;
		}
		uring->under_way--;
		if (!transfer_take(request, result)) {
			io_queue_add(&uring->again, request);
			continue;
		}
		if (request->opened != NULL)
			take_slot(uring, transfer_file(request->opened));
		transfer_finish(&uring->base, request);
		done++;
	}
	return done;
}

/* The kernel had no room and nothing completed that would give it some. */
static void pause_briefly(void)
{
	struct timespec pause = { .tv_nsec = 100000 };
	(void)ppoll(NULL, 0, &pause, NULL);
}

static unsigned poll_slowly(struct uring *uring, uint64_t wait_ns)
{
	uint64_t deadline = io_deadline(wait_ns);
	for (;;) {
		unsigned done = enter_queued(uring);
		bool woken = gate_take(&uring->gate);
		uint64_t left = wait_ns == 0 ? 0 : io_time_left(deadline);
		if (left == 0 || done > 0 || woken || has_completion(uring))
			flush(uring);
		else
			flush_and_wait(uring, left);
		done += take_completions(uring);
		woken |= gate_take(&uring->gate);
		if (done > 0 || woken || left == 0)
			return done;
		if (uring->congested)
			pause_briefly();
	}
}

static bool is_quiet(const struct uring *uring)
{
	return uring->fresh.count + uring->again.count == 0 && !has_completion(uring) &&
	       !kernel_has_work(uring) && io_uring_sq_ready(&uring->ring) == 0 &&
	       !atomic_load_explicit(&uring->gate.signalled, memory_order_relaxed);
}

static unsigned uring_poll(struct io *io, uint64_t wait_ns)
{
	struct uring *uring = uring_of(io);
	if (wait_ns == 0 && is_quiet(uring))
		return 0;
	return poll_slowly(uring, wait_ns);
}

static bool uring_do_alone(struct io *io)
{
	struct uring *uring = uring_of(io);
	if (uring->fresh.count != 1 || (uring->fresh.first->flags & IO_AT_ONCE) == 0)
		return false;
	ASSERT(uring->under_way == 0 && uring->again.count == 0);
	struct io_request *request = io_queue_take(&uring->fresh);
	if (transfer_begin(request, uring->direct)) {
		io_before_sleep(io);
		blocking_carry_out(io, request);
		io_after_sleep(io);
		io->counters.submits += (unsigned)request->result;
	}
	transfer_finish(io, request);
	return true;
}

static void uring_submit(struct io *io, struct io_request *request)
{
	io_queue_add(&uring_of(io)->fresh, request);
}

static void uring_wake(struct io *io)
{
	gate_signal(&uring_of(io)->gate);
}

/* --- registered memory --- */

static struct status register_region(struct uring *uring, void *base, size_t size)
{
	if (uring->region_count == REGIONS_MAX)
		return status_error(STATUS_UNSUPPORTED, "io_uring: all %d memory regions are taken",
				    REGIONS_MAX);
	struct iovec region = { .iov_base = base, .iov_len = size };
	__u64 tag = 0;
	int result =
		io_uring_register_buffers_update_tag(&uring->ring, uring->region_count, &region, &tag, 1);
	if (result < 0)
		return status_from_errno(-result, "io_uring: register memory", NULL);
	uring->regions[uring->region_count++] = region;
	uring->base.memory_registered = true;
	return status_ok();
}

/*
 * The ring's own reference on the descriptor goes when the ring does, and the kernel keeps a dead process's
 * ring until its last request has ended. Without a file table the lock falls with the process.
 */
static void uring_hold(struct io *io, int lock)
{
	struct uring *uring = uring_of(io);
	if (uring->free_slot_count == 0)
		return;
	int slot = uring->free_slots[uring->free_slot_count - 1];
	if (io_uring_register_files_update(&uring->ring, (unsigned)slot, &lock, 1) == 1)
		uring->free_slot_count--;
}

static struct status uring_register_memory(struct io *io, void *base, size_t size)
{
	struct uring *uring = uring_of(io);
	ASSERT(((uintptr_t)base | size) % IO_PAGE_BYTES == 0);
	if (!uring->has_regions)
		return status_error(STATUS_UNSUPPORTED, "io_uring: this kernel has no table of buffers");
	for (size_t at = 0; at < size; at += REGION_BYTES_MAX) {
		size_t part = size - at < REGION_BYTES_MAX ? size - at : REGION_BYTES_MAX;
		TRY(register_region(uring, (char *)base + at, part));
	}
	return status_ok();
}

/* --- create and destroy --- */

static int set_up_ring(struct uring *uring, struct io_uring_params *params)
{
	static const unsigned ladder[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
			IORING_SETUP_SUBMIT_ALL,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
		0,
	};
	unsigned entries = uring->depth < RING_ENTRIES_MAX ? uring->depth : RING_ENTRIES_MAX;
	if (entries < RING_ENTRIES_MIN)
		entries = RING_ENTRIES_MIN;
	int result = -EINVAL;
	for (unsigned i = 0; i < sizeof(ladder) / sizeof(ladder[0]) && result == -EINVAL; i++) {
		memset(params, 0, sizeof(*params));
		params->flags = ladder[i] | IORING_SETUP_CQSIZE;
		params->cq_entries = 2 * (uring->depth > entries ? uring->depth : entries);
		result = io_uring_queue_init_params(entries, &uring->ring, params);
	}
	return result;
}

static bool supports_all(struct uring *uring, const struct io_uring_params *params)
{
	static const int needed[] = {
		IORING_OP_READ,	      IORING_OP_WRITE,	     IORING_OP_READV,	 IORING_OP_WRITEV,
		IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED, IORING_OP_FSYNC,	 IORING_OP_OPENAT,
		IORING_OP_CLOSE,      IORING_OP_FALLOCATE,   IORING_OP_RENAMEAT, IORING_OP_UNLINKAT,
		IORING_OP_MKDIRAT,
	};
	unsigned features = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_SUBMIT_STABLE;
	if ((params->features & features) != features)
		return false;
	struct io_uring_probe *probe = io_uring_get_probe_ring(&uring->ring);
	bool all = probe != NULL;
	for (unsigned i = 0; all && i < sizeof(needed) / sizeof(needed[0]); i++)
		all = io_uring_opcode_supported(probe, needed[i]) != 0;
	io_uring_free_probe(probe);
	return all;
}

/* As many slots as the limit on open files allows; none is fine too. */
static void set_up_tables(struct uring *uring)
{
	struct rlimit limit;
	unsigned slots = SLOTS_MAX;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < slots)
		slots = (unsigned)limit.rlim_cur;
	while (slots >= SLOTS_MIN && io_uring_register_files_sparse(&uring->ring, slots) != 0)
		slots /= 2;
	if (slots >= SLOTS_MIN)
		for (unsigned i = 0; i < slots; i++)
			uring->free_slots[uring->free_slot_count++] = (int)(slots - 1 - i);
	uring->has_regions = io_uring_register_buffers_sparse(&uring->ring, REGIONS_MAX) == 0;
	/* Saves a lookup for each entry; where it is refused, entries take the ordinary way. */
	(void)io_uring_register_ring_fd(&uring->ring);
}

static struct status refused(int error)
{
	char reason[96];
	return status_error(STATUS_UNSUPPORTED, "io_uring is refused here (%s)",
			    strerror_r(error, reason, sizeof(reason)));
}

static struct status open_ring(struct uring *uring)
{
	/* Lets tests and operators see the fallback on a kernel that has io_uring. */
	const char *disabled = getenv("CASCADE_IO_DISABLE_URING");
	if (disabled != NULL && strcmp(disabled, "1") == 0)
		return refused(EPERM);
	struct io_uring_params params;
	int result = set_up_ring(uring, &params);
	if (result == -ENOSYS || result == -EPERM || result == -EACCES)
		return refused(-result);
	if (result < 0)
		return status_from_errno(-result, "io_uring_setup", NULL);
	if (!supports_all(uring, &params)) {
		io_uring_queue_exit(&uring->ring);
		return status_error(STATUS_UNSUPPORTED, "this kernel's io_uring is too old");
	}
	set_up_tables(uring);
	return status_ok();
}

static struct status uring_create(const struct io_options *options, struct io **io)
{
	if (valgrind_watches())
		return status_error(STATUS_UNSUPPORTED,
				    "io_uring: under Valgrind who waits for a ring stops all");
	struct uring *uring = memory_allocate_zeroed(1, sizeof(*uring));
	if (uring == NULL)
		return status_make(STATUS_NO_MEMORY);
	uring->base.backend = &io_backend_uring;
	uring->base.promises = IO_ATOMIC_512;
	uring->direct = options->direct;
	uring->depth = io_depth(options);
	struct status status = gate_open(&uring->gate, 0);
	if (!status_is_ok(status))
		goto free_uring;
	status = open_ring(uring);
	if (!status_is_ok(status))
		goto close_gate;
	*io = &uring->base;
	return status_ok();

close_gate:
	gate_close(&uring->gate);
free_uring:
	memory_free(uring);
	return status;
}

static void uring_destroy(struct io *io)
{
	struct uring *uring = uring_of(io);
	ASSERT(io->in_flight == 0);
	/* The kernel must not read the event into memory that is freed, so the read is brought to its end. */
	if (uring->wake_armed)
		gate_ring(&uring->gate);
	while (uring->wake_armed) {
		check_entry(uring, io_uring_submit_and_wait(&uring->ring, 1));
		(void)take_completions(uring);
	}
	io_uring_queue_exit(&uring->ring);
	gate_close(&uring->gate);
	memory_free(uring);
}

const struct io_backend io_backend_uring = {
	.name = "uring",
	.summary = "io_uring: one system call enters and collects many requests",
	.create = uring_create,
	.destroy = uring_destroy,
	.submit = uring_submit,
	.poll = uring_poll,
	.wake = uring_wake,
	.carry_out = blocking_carry_out,
	.do_alone = uring_do_alone,
	.list = blocking_list,
	.lock = blocking_lock,
	.unlock = blocking_unlock,
	.register_memory = uring_register_memory,
	.hold = uring_hold,
};
