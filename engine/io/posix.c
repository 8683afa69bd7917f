/*
 * posix.c: the backend for kernels and sandboxes without io_uring: a few threads that make plain calls.
 *
 * The owner queues; each poll hands what is queued to the threads under one lock. A thread carries its
 * request through all its calls and pushes it onto a lock-free stack that the owner empties at its next
 * poll. Threads start when there is work for them, up to a small number; where not even one can be
 * started, the owner makes the calls itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "io/backend.h"
#include "io/blocking.h"
#include "io/gate.h"
#include "io/transfer.h"

enum { THREADS_MAX = 8, THREAD_STACK_BYTES = 256 << 10 };

struct posix {
	struct io base;
	bool direct;
	unsigned thread_limit;
	struct io_queue fresh; /* submitted, not handed over */
	struct gate gate;
	_Atomic(struct io_request *) done; /* newest first, through `next` */

	pthread_mutex_t mutex; /* guards all below */
	pthread_cond_t work;
	struct io_queue pending;
	unsigned idle; /* threads that wait for work */
	bool stopping;

	unsigned thread_count; /* the owner's */
	pthread_t threads[THREADS_MAX];
};

/* --- threads --- */

static void push_done(struct posix *posix, struct io_request *request)
{
	struct io_request *newest = atomic_load_explicit(&posix->done, memory_order_relaxed);
	do
		request->next = newest;
	while (!atomic_compare_exchange_weak(&posix->done, &newest, request));
	/* An older one that is still there has rung already. */
	if (newest == NULL)
		gate_nudge(&posix->gate);
}

static void *run_thread(void *argument)
{
	struct posix *posix = argument;
	pthread_mutex_lock(&posix->mutex);
	for (;;) {
		struct io_request *request = io_queue_take(&posix->pending);
		if (request != NULL) {
			pthread_mutex_unlock(&posix->mutex);
			blocking_carry_out(&posix->base, request);
			push_done(posix, request);
			pthread_mutex_lock(&posix->mutex);
		} else if (posix->stopping) {
			break;
		} else {
			posix->idle++;
			pthread_cond_wait(&posix->work, &posix->mutex);
			posix->idle--;
		}
	}
	pthread_mutex_unlock(&posix->mutex);
	return NULL;
}

/* The threads take no signals: those belong to the embedding program. */
static bool start_thread(struct posix *posix)
{
	pthread_attr_t attributes;
	if (pthread_attr_init(&attributes) != 0)
		return false;
	sigset_t all;
	sigset_t kept;
	sigfillset(&all);
	pthread_t *thread = &posix->threads[posix->thread_count];
	(void)pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &kept);
	bool started = pthread_create(thread, &attributes, run_thread, posix) == 0;
	pthread_sigmask(SIG_SETMASK, &kept, NULL);
	(void)pthread_attr_destroy(&attributes);
	if (!started)
		return false;
	(void)pthread_setname_np(*thread, "cascade-io");
	posix->thread_count++;
	return true;
}

/* --- poll --- */

static unsigned finish(struct posix *posix, struct io_request *request)
{
	posix->base.counters.submits += (unsigned)request->result;
	transfer_finish(&posix->base, request);
	return 1;
}

static unsigned perform_here(struct posix *posix, struct io_queue *ready)
{
	unsigned done = 0;
	struct io_request *request;
	while ((request = io_queue_take(ready)) != NULL) {
		blocking_carry_out(&posix->base, request);
		done += finish(posix, request);
	}
	return done;
}

static unsigned hand_over(struct posix *posix)
{
	unsigned done = 0;
	struct io_queue ready = { 0 };
	/* What completions submit meanwhile is left for the next poll, so that this one ends. */
	for (unsigned count = posix->fresh.count; count > 0; count--) {
		struct io_request *request = io_queue_take(&posix->fresh);
		if (transfer_begin(request, posix->direct))
			io_queue_add(&ready, request);
		else
			done += finish(posix, request);
	}
	if (ready.count == 0)
		return done;
	if (posix->thread_count == 0 && !start_thread(posix))
		return done + perform_here(posix, &ready);

	unsigned added = ready.count;
	struct io_request *request;
	pthread_mutex_lock(&posix->mutex);
	while ((request = io_queue_take(&ready)) != NULL)
		io_queue_add(&posix->pending, request);
	unsigned waiting = posix->pending.count;
	unsigned idle = posix->idle;
	for (unsigned i = 0; i < added && i < idle; i++)
		pthread_cond_signal(&posix->work);
	pthread_mutex_unlock(&posix->mutex);
	for (; waiting > idle && posix->thread_count < posix->thread_limit; waiting--)
		if (!start_thread(posix))
			break;
	return done;
}

static unsigned take_done(struct posix *posix)
{
	if (atomic_load_explicit(&posix->done, memory_order_relaxed) == NULL)
		return 0;
	struct io_request *newest = atomic_exchange(&posix->done, NULL);
	struct io_request *oldest = NULL;
	while (newest != NULL) {
		struct io_request *next = newest->next;
		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	unsigned done = 0;
	while (oldest != NULL) {
		struct io_request *next = oldest->next;
		done += finish(posix, oldest);
		oldest = next;
	}
	return done;
}

/* Waits for a nudge; a stale one only makes the caller look again. */
static void sleep_until(struct posix *posix, uint64_t left_ns)
{
	if (gate_announce(&posix->gate) && atomic_load(&posix->done) == NULL) {
		struct pollfd event = { .fd = posix->gate.event, .events = POLLIN };
		struct timespec left = { .tv_sec = (time_t)(left_ns / 1000000000u),
					 .tv_nsec = (long)(left_ns % 1000000000u) };
		io_before_sleep(&posix->base);
		if (ppoll(&event, 1, left_ns == UINT64_MAX ? NULL : &left, NULL) > 0) {
			uint64_t count;
			ssize_t got = read(posix->gate.event, &count, sizeof(count));
			(void)got;
		}
		io_after_sleep(&posix->base);
	}
	gate_awake(&posix->gate);
}

static unsigned posix_poll(struct io *io, uint64_t wait_ns)
{
	struct posix *posix = (struct posix *)io;
	uint64_t deadline = io_deadline(wait_ns);
	for (;;) {
		unsigned done = 0;
		if (posix->fresh.first != NULL)
			done = hand_over(posix);
		done += take_done(posix);
		if (gate_take(&posix->gate) || done > 0 || wait_ns == 0)
			return done;
		uint64_t left = io_time_left(deadline);
		if (left == 0)
			return 0;
		sleep_until(posix, left);
	}
}

static void posix_submit(struct io *io, struct io_request *request)
{
	io_queue_add(&((struct posix *)io)->fresh, request);
}

static void posix_wake(struct io *io)
{
	gate_signal(&((struct posix *)io)->gate);
}

/* --- create and destroy --- */

static struct status posix_create(const struct io_options *options, struct io **io)
{
	struct posix *posix = memory_allocate_zeroed(1, sizeof(*posix));
	if (posix == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct status status = gate_open(&posix->gate, EFD_NONBLOCK);
	if (!status_is_ok(status)) {
		memory_free(posix);
		return status;
	}
	posix->base.backend = &io_backend_posix;
	posix->base.promises = IO_ATOMIC_512;
	posix->direct = options->direct;
	posix->thread_limit = io_depth(options) < THREADS_MAX ? io_depth(options) : THREADS_MAX;
	pthread_mutex_init(&posix->mutex, NULL);
	pthread_cond_init(&posix->work, NULL);
	*io = &posix->base;
	return status_ok();
}

static void posix_destroy(struct io *io)
{
	struct posix *posix = (struct posix *)io;
	ASSERT(io->in_flight == 0);
	pthread_mutex_lock(&posix->mutex);
	posix->stopping = true;
	pthread_cond_broadcast(&posix->work);
	pthread_mutex_unlock(&posix->mutex);
	for (unsigned i = 0; i < posix->thread_count; i++)
		pthread_join(posix->threads[i], NULL);
	pthread_cond_destroy(&posix->work);
	pthread_mutex_destroy(&posix->mutex);
	gate_close(&posix->gate);
	memory_free(posix);
}

static struct status posix_register_memory(struct io *io, void *base, size_t size)
{
	(void)io;
	(void)base;
	(void)size;
	return status_error(STATUS_UNSUPPORTED, "the I/O backend \"posix\" has no registered memory");
}

const struct io_backend io_backend_posix = {
	.name = "posix",
	.summary = "plain system calls from a few threads",
	.create = posix_create,
	.destroy = posix_destroy,
	.submit = posix_submit,
	.poll = posix_poll,
	.wake = posix_wake,
	.list = blocking_list,
	.lock = blocking_lock,
	.unlock = blocking_unlock,
	.carry_out = blocking_carry_out,
	.register_memory = posix_register_memory,
};
