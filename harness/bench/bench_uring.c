/*
 * bench_uring.c: the least that reading through io_uring can be: a ring entered by one thread, a registered
 * file, registered buffers, and a loop that reaps what is done and asks for as much again. By the kernel's
 * interface alone, without a library.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/random.h"
#include "harness/bench/bench_reads.h"
#include "harness/process_stats.h"
#include "harness/ticks.h"

struct bare_uring {
	int fd;
	void *rings; /* both, in one mapping */
	size_t rings_size;
	struct io_uring_sqe *entries;
	size_t entries_size;
	_Atomic unsigned *sq_tail, *cq_head, *cq_tail;
	unsigned sq_mask, cq_mask;
	unsigned *sq_array;
	const struct io_uring_cqe *completions;
	bool fixed_file, fixed_buffers;
};

struct reading {
	struct bare_uring ring;
	int fd;
	uint8_t *buffers;
	uint64_t pages;
	struct random random;
	uint64_t done;
	unsigned in_flight, queued;
};

/* --- the ring --- */

static struct status setup_problem(int error)
{
	bool refused = error == ENOSYS || error == EPERM || error == EINVAL;
	struct status status = status_from_errno(error, "io_uring", NULL);
	if (refused)
		status = status_error(STATUS_UNSUPPORTED, "io_uring is refused here: %s", strerror(error));
	return status;
}

static int setup(struct io_uring_params *params)
{
	*params =
		(struct io_uring_params) { .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN };
	int fd = (int)syscall(__NR_io_uring_setup, BENCH_READS_DEPTH, params);
	if (fd < 0 && errno == EINVAL) {
		/* Kernels before 6.1 know neither flag. */
		*params = (struct io_uring_params) { .flags = 0 };
		fd = (int)syscall(__NR_io_uring_setup, BENCH_READS_DEPTH, params);
	}
	return fd;
}

static void *at(const struct bare_uring *ring, unsigned offset)
{
	return (uint8_t *)ring->rings + offset;
}

static struct status map_rings(struct bare_uring *ring, const struct io_uring_params *params)
{
	size_t sq_size = params->sq_off.array + params->sq_entries * sizeof(unsigned);
	size_t cq_size = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
	ring->rings_size = sq_size > cq_size ? sq_size : cq_size;
	ring->entries_size = params->sq_entries * sizeof(struct io_uring_sqe);
	if ((params->features & IORING_FEAT_SINGLE_MMAP) == 0)
		return status_error(STATUS_UNSUPPORTED, "io_uring of this kernel is too old");
	ring->rings = mmap(NULL, ring->rings_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			   ring->fd, IORING_OFF_SQ_RING);
	ring->entries = mmap(NULL, ring->entries_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			     ring->fd, IORING_OFF_SQES);
	if (ring->rings == MAP_FAILED || ring->entries == MAP_FAILED)
		return status_from_errno(errno, "cannot map io_uring", NULL);
	ring->sq_tail = at(ring, params->sq_off.tail);
	ring->sq_mask = *(unsigned *)at(ring, params->sq_off.ring_mask);
	ring->sq_array = at(ring, params->sq_off.array);
	ring->cq_head = at(ring, params->cq_off.head);
	ring->cq_tail = at(ring, params->cq_off.tail);
	ring->cq_mask = *(unsigned *)at(ring, params->cq_off.ring_mask);
	ring->completions = at(ring, params->cq_off.cqes);
	return status_ok();
}

/* Both spare the kernel work for each request; without them it works as well. */
static void register_all(struct reading *reading)
{
	struct bare_uring *ring = &reading->ring;
	struct iovec buffers = { .iov_base = reading->buffers,
				 .iov_len = (size_t)BENCH_READS_DEPTH * BENCH_READ_BYTES };
	ring->fixed_file =
		syscall(__NR_io_uring_register, ring->fd, IORING_REGISTER_FILES, &reading->fd, 1) == 0;
	ring->fixed_buffers =
		syscall(__NR_io_uring_register, ring->fd, IORING_REGISTER_BUFFERS, &buffers, 1) == 0;
}

static void close_ring(struct bare_uring *ring)
{
	if (ring->rings != NULL && ring->rings != MAP_FAILED)
		(void)munmap(ring->rings, ring->rings_size);
	if (ring->entries != NULL && ring->entries != MAP_FAILED)
		(void)munmap(ring->entries, ring->entries_size);
	(void)close(ring->fd);
}

/* --- reads --- */

static void ask(struct reading *reading, unsigned slot)
{
	struct bare_uring *ring = &reading->ring;
	unsigned tail = atomic_load_explicit(ring->sq_tail, memory_order_relaxed);
	unsigned index = tail & ring->sq_mask;
	uint64_t page = random_below(&reading->random, reading->pages);
	ring->entries[index] = (struct io_uring_sqe) {
		.opcode = ring->fixed_buffers ? IORING_OP_READ_FIXED : IORING_OP_READ,
		.flags = ring->fixed_file ? IOSQE_FIXED_FILE : 0,
		.fd = ring->fixed_file ? 0 : reading->fd,
		.off = page * BENCH_READ_BYTES,
		.addr = (uintptr_t)(reading->buffers + (size_t)slot * BENCH_READ_BYTES),
		.len = BENCH_READ_BYTES,
		.user_data = slot,
	};
	ring->sq_array[index] = index;
	atomic_store_explicit(ring->sq_tail, tail + 1, memory_order_release);
	reading->queued++;
	reading->in_flight++;
}

static struct status enter(struct reading *reading)
{
	long entered = syscall(__NR_io_uring_enter, reading->ring.fd, reading->queued, 1,
			       IORING_ENTER_GETEVENTS, NULL, 0);
	if (entered < 0 && errno != EINTR && errno != EAGAIN && errno != EBUSY)
		return status_from_errno(errno, "io_uring_enter", NULL);
	if (entered > 0)
		reading->queued -= (unsigned)entered;
	return status_ok();
}

/* Takes what is complete, and asks for as much again unless the end has come. */
static struct status reap(struct reading *reading, bool again)
{
	struct bare_uring *ring = &reading->ring;
	unsigned head = atomic_load_explicit(ring->cq_head, memory_order_relaxed);
	unsigned tail = atomic_load_explicit(ring->cq_tail, memory_order_acquire);
	struct status status = status_ok();
	for (; head != tail; head++) {
		const struct io_uring_cqe *completion = &ring->completions[head & ring->cq_mask];
		unsigned slot = (unsigned)completion->user_data;
		if (completion->res != BENCH_READ_BYTES)
			status_keep_first(&status,
					  status_error(STATUS_IO, "a read gave %d instead of %d bytes",
						       completion->res, BENCH_READ_BYTES));
		reading->in_flight--;
		reading->done++;
		if (again)
			ask(reading, slot);
	}
	atomic_store_explicit(ring->cq_head, head, memory_order_release);
	return status;
}

static struct status read_for(struct reading *reading, uint64_t ns)
{
	uint64_t start = ticks_now();
	while (ticks_to_ns(ticks_now() - start) < ns) {
		TRY(enter(reading));
		TRY(reap(reading, true));
	}
	return status_ok();
}

static struct status measure(struct reading *reading, const struct bench_job *job, double *numbers)
{
	for (unsigned slot = 0; slot < BENCH_READS_DEPTH; slot++)
		ask(reading, slot);
	TRY(read_for(reading, (uint64_t)BENCH_READS_RAMP_MS * 1000000u));
	uint64_t before = reading->done, start = ticks_now();
	double cpu = process_cpu_seconds();
	TRY(read_for(reading, bench_reads_ms(job) * 1000000u));
	double reads = (double)(reading->done - before);
	numbers[0] = reads * 1e9 / (double)ticks_to_ns(ticks_now() - start);
	numbers[1] = (process_cpu_seconds() - cpu) * 1e9 / reads;
	while (reading->in_flight > 0) {
		TRY(enter(reading));
		TRY(reap(reading, false));
	}
	return status_ok();
}

static struct status with_ring(struct reading *reading, struct bench_job *job, double *numbers)
{
	struct io_uring_params params;
	reading->ring.fd = setup(&params);
	if (reading->ring.fd < 0)
		return setup_problem(errno);
	struct status status = map_rings(&reading->ring, &params);
	if (status_is_ok(status)) {
		register_all(reading);
		status = measure(reading, job, numbers);
	}
	close_ring(&reading->ring);
	return status;
}

struct status bench_reads_bare(struct bench_job *job, double numbers[BENCH_NUMBERS_MAX])
{
	struct reading reading = { .pages = job->file_bytes / BENCH_READ_BYTES,
				   .random = random_stream(job->seed) };
	size_t size = (size_t)BENCH_READS_DEPTH * BENCH_READ_BYTES;
	TRY(bench_reads_open(job, &reading.fd));
	reading.buffers = memory_map(size);
	struct status status =
		reading.buffers == NULL ? status_make(STATUS_NO_MEMORY) : with_ring(&reading, job, numbers);
	memory_unmap(reading.buffers, size);
	(void)close(reading.fd);
	return status;
}
