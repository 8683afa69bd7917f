#include "runtime/runtime.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "runtime/internal.h"

enum {
	INBOX_ENTRIES_DEFAULT = 1024,
	MAILBOX_ENTRIES_DEFAULT = 256,
	ENTRIES_MAX = 1 << 20,
	POLL_NS_DEFAULT = 50 * 1000,
};

_Static_assert(RUNTIME_SHARDS_MAX <= 64, "a bitmap of senders is one word");

struct stepper *runtime_stepper;

static uint32_t power_of_two(uint32_t value, uint32_t lowest)
{
	uint32_t power = lowest;
	while (power < value)
		power *= 2;
	return power;
}

/* --- memory --- */

static size_t ring_slots_bytes(const struct runtime *runtime)
{
	size_t pairs = (size_t)runtime->shard_count * runtime->shard_count;
	size_t bytes = pairs * 4 * runtime->mailbox_entries * sizeof(struct ring_slot);
	return (bytes + IO_PAGE_BYTES - 1) / IO_PAGE_BYTES * IO_PAGE_BYTES;
}

static void shard_free(struct shard *shard)
{
	if (shard == NULL)
		return;
	memory_free(shard->peers);
	memory_free(shard->inbox.slots);
	memory_free(shard);
}

static struct shard *shard_allocate(struct runtime *runtime, uint32_t index, uint32_t inbox_entries)
{
	struct shard *shard = memory_allocate_aligned(CACHE_LINE_BYTES, sizeof(*shard));
	if (shard == NULL)
		return NULL;
	memset(shard, 0, sizeof(*shard));
	shard->runtime = runtime;
	shard->index = index;
	shard->background_share = BACKGROUND_SHARE_DEFAULT;
	shard->poll_ns = runtime->poll_ns_max;
	shard->counted_busy = true;
	stack_pool_init(&shard->stacks);
	for (unsigned queue = 0; queue < QUEUE_COUNT; queue++)
		run_queue_init(&shard->ready[queue]);
	shard->peers =
		memory_allocate_aligned(CACHE_LINE_BYTES, runtime->shard_count * sizeof(*shard->peers));
	struct inbox_slot *slots = memory_allocate_zeroed(inbox_entries, sizeof(*slots));
	if (shard->peers == NULL || slots == NULL) {
		memory_free(slots);
		shard_free(shard);
		return NULL;
	}
	inbox_init(&shard->inbox, slots, inbox_entries);
	memset(shard->peers, 0, runtime->shard_count * sizeof(*shard->peers));
	for (uint32_t i = 0; i < runtime->shard_count; i++)
		wait_list_init(&shard->peers[i].room);
	return shard;
}

static void runtime_free(struct runtime *runtime)
{
	if (runtime->shards != NULL) {
		for (uint32_t i = 0; i < runtime->shard_count; i++)
			shard_free(runtime->shards[i]);
	}
	memory_free(runtime->shards);
	memory_free(runtime->mailboxes);
	memory_unmap(runtime->ring_slots, ring_slots_bytes(runtime));
	(void)pthread_cond_destroy(&runtime->changed);
	(void)pthread_mutex_destroy(&runtime->lock);
	memory_free(runtime);
}

static bool mailboxes_allocate(struct runtime *runtime)
{
	size_t pairs = (size_t)runtime->shard_count * runtime->shard_count;
	uint32_t entries = 2 * runtime->mailbox_entries; /* for each call, and for its cancel */
	runtime->mailboxes = memory_allocate_aligned(CACHE_LINE_BYTES, pairs * sizeof(*runtime->mailboxes));
	/* Mapped: only the pairs that talk to each other ever touch their pages. */
	runtime->ring_slots = memory_map(ring_slots_bytes(runtime));
	if (runtime->mailboxes == NULL || runtime->ring_slots == NULL)
		return false;
	struct ring_slot *slots = runtime->ring_slots;
	for (size_t i = 0; i < pairs; i++) {
		ring_init(&runtime->mailboxes[i].requests, slots, entries);
		ring_init(&runtime->mailboxes[i].replies, slots + entries, entries);
		slots += (size_t)2 * entries;
	}
	return true;
}

static struct runtime *runtime_allocate(const struct runtime_options *options)
{
	struct runtime *runtime = memory_allocate_zeroed(1, sizeof(*runtime));
	if (runtime == NULL)
		return NULL;
	(void)pthread_mutex_init(&runtime->lock, NULL);
	(void)pthread_cond_init(&runtime->changed, NULL);
	runtime->stepper = runtime_stepper;
	runtime->shard_count = options->shards;
	uint32_t mailbox_entries =
		options->mailbox_entries == 0 ? MAILBOX_ENTRIES_DEFAULT : options->mailbox_entries;
	runtime->mailbox_entries = power_of_two(mailbox_entries, 1);
	/* Steps that do nothing are no use to who explores. */
	runtime->quiet_looks = runtime->stepper != NULL ? 0 : QUIET_LOOKS;
	runtime->poll_ns_max = options->poll_ns_max == 0 ? POLL_NS_DEFAULT : options->poll_ns_max;
	runtime->stacks_ahead = options->stacks_ahead;
	runtime->io_options = options->io;
	runtime->io_backend = options->io_backend;
	uint32_t inbox_entries = options->inbox_entries == 0 ? INBOX_ENTRIES_DEFAULT : options->inbox_entries;
	runtime->shards = memory_allocate_zeroed(options->shards, sizeof(struct shard *));
	bool complete = runtime->shards != NULL && mailboxes_allocate(runtime);
	for (uint32_t i = 0; complete && i < options->shards; i++) {
		/* The slots' sequence numbers need at least two. */
		runtime->shards[i] = shard_allocate(runtime, i, power_of_two(inbox_entries, 2));
		complete = runtime->shards[i] != NULL;
	}
	if (!complete) {
		runtime_free(runtime);
		return NULL;
	}
	return runtime;
}

/* --- threads --- */

static struct status thread_start(struct shard *shard)
{
	int error = pthread_create(&shard->thread, NULL, shard_main, shard);
	if (error != 0)
		return status_from_errno(error, "cannot start a thread", NULL);
	shard->started = true;
	char name[16];
	(void)snprintf(name, sizeof(name), "cascade-%u", shard->index % 1000u);
	(void)pthread_setname_np(shard->thread, name);
	return status_ok();
}

/* Threads inherit the mask, so that no signal ever finds a shard on a small stack. */
static struct status threads_start(struct runtime *runtime)
{
	sigset_t all, before;
	struct status status = status_ok();
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	for (uint32_t i = 0; i < runtime->shard_count && status_is_ok(status); i++) {
		pthread_mutex_lock(&runtime->lock);
		runtime->starting++;
		pthread_mutex_unlock(&runtime->lock);
		status = thread_start(runtime->shards[i]);
		if (!status_is_ok(status)) {
			pthread_mutex_lock(&runtime->lock);
			runtime->starting--;
			pthread_mutex_unlock(&runtime->lock);
		}
	}
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_mutex_lock(&runtime->lock);
	while (runtime->starting > 0)
		pthread_cond_wait(&runtime->changed, &runtime->lock);
	pthread_mutex_unlock(&runtime->lock);
	return status;
}

static struct status shards_start(struct runtime *runtime)
{
	struct status status = status_ok();
	if (runtime->stepper != NULL)
		runtime->stepper->start(runtime->stepper, runtime);
	else
		status = threads_start(runtime);
	for (uint32_t i = 0; i < runtime->shard_count; i++)
		status_keep_first(&status, runtime->shards[i]->start_status);
	return status;
}

static void shards_stop(struct runtime *runtime)
{
	if (runtime->stepper != NULL) {
		runtime->stepper->stop(runtime->stepper, runtime);
		return;
	}
	for (uint32_t i = 0; i < runtime->shard_count; i++) {
		struct shard *shard = runtime->shards[i];
		atomic_store(&shard->exiting, 1);
		if (shard->io != NULL)
			io_wake(shard->io);
	}
	pthread_mutex_lock(&runtime->lock);
	runtime->may_free = true;
	pthread_cond_broadcast(&runtime->changed);
	pthread_mutex_unlock(&runtime->lock);
	for (uint32_t i = 0; i < runtime->shard_count; i++) {
		if (runtime->shards[i]->started)
			(void)pthread_join(runtime->shards[i]->thread, NULL);
	}
}

static bool is_quiet(void *argument)
{
	struct runtime *runtime = argument;
	for (uint32_t i = 0; i < runtime->shard_count; i++) {
		if (shard_is_busy(runtime->shards[i]))
			return false;
	}
	return true;
}

static void drain(struct runtime *runtime)
{
	if (runtime->stepper != NULL) {
		runtime->stepper->wait(runtime->stepper, is_quiet, runtime);
		return;
	}
	atomic_store(&runtime->busy, runtime->shard_count);
	atomic_store(&runtime->stopping, 1);
	for (uint32_t i = 0; i < runtime->shard_count; i++)
		io_wake(runtime->shards[i]->io);
	pthread_mutex_lock(&runtime->lock);
	while (atomic_load(&runtime->busy) > 0)
		pthread_cond_wait(&runtime->changed, &runtime->lock);
	pthread_mutex_unlock(&runtime->lock);
}

struct status runtime_create(const struct runtime_options *options, struct runtime **created, char *notice,
			     size_t notice_size)
{
	*created = NULL;
	if (notice_size > 0)
		notice[0] = '\0';
	if (options->shards == 0 || options->shards > RUNTIME_SHARDS_MAX)
		return status_error(STATUS_INVALID, "%u shards: 1 to %d are possible", options->shards,
				    RUNTIME_SHARDS_MAX);
	if (options->inbox_entries > ENTRIES_MAX || options->mailbox_entries > ENTRIES_MAX)
		return status_error(STATUS_INVALID, "inboxes and mailboxes have at most %d entries",
				    ENTRIES_MAX);
	set_thread_stack_caller(thread_stack_call);
	struct runtime *runtime = runtime_allocate(options);
	if (runtime == NULL)
		return status_make(STATUS_NO_MEMORY);
	runtime->notice = notice;
	runtime->notice_size = notice_size;
	struct status status = shards_start(runtime);
	runtime->notice_size = 0;
	runtime->io_backend = NULL;
	if (!status_is_ok(status)) {
		shards_stop(runtime);
		runtime_free(runtime);
		return status;
	}
	*created = runtime;
	return status_ok();
}

void runtime_destroy(struct runtime *runtime)
{
	if (runtime == NULL)
		return;
	ASSERT(shard_current() == NULL || shard_current()->runtime != runtime);
	drain(runtime);
	shards_stop(runtime);
	runtime_free(runtime);
}

void runtime_cancel_all(struct runtime *runtime)
{
	for (uint32_t i = 0; i < runtime->shard_count; i++) {
		atomic_store(&runtime->shards[i]->cancel_all, 1);
		(void)shard_notify(runtime->shards[i]);
	}
}

uint32_t runtime_shard_count(const struct runtime *runtime)
{
	return runtime->shard_count;
}

struct shard *runtime_shard(struct runtime *runtime, uint32_t index)
{
	ASSERT(index < runtime->shard_count);
	return runtime->shards[index];
}

/* --- requests from foreign threads --- */

static bool try_submit(struct shard *shard, struct request *request)
{
	request->future.bell = &shard->bell;
	if (!inbox_push(&shard->inbox, request)) {
		request->future.bell = NULL;
		return false;
	}
	(void)shard_notify(shard);
	return true;
}

struct status runtime_submit(struct runtime *runtime, uint32_t index, struct request *request)
{
	ASSERT(index < runtime->shard_count);
	DASSERT((atomic_load(&request->future.state) & ~(uint32_t)FUTURE_CALLBACK) == 0);
	return try_submit(runtime->shards[index], request) ? status_ok() : status_make(STATUS_BUSY);
}

struct submission {
	struct shard *shard;
	struct request *request;
};

static bool is_submitted(void *argument)
{
	struct submission *submission = argument;
	return try_submit(submission->shard, submission->request);
}

static void submit_when_room(struct shard *shard, struct request *request)
{
	struct inbox *inbox = &shard->inbox;
	struct stepper *stepper = shard->runtime->stepper;
	if (stepper != NULL) {
		stepper->wait(stepper, is_submitted, &(struct submission) { shard, request });
		return;
	}
	atomic_fetch_add(&inbox->waiting, 1);
	for (;;) {
		uint32_t room = atomic_load(&inbox->room);
		if (try_submit(shard, request))
			break;
		futex_wait(&inbox->room, room, UINT64_MAX);
	}
	atomic_fetch_sub(&inbox->waiting, 1);
}

static struct status run_request(struct runtime *runtime, uint32_t index, struct request *request)
{
	ASSERT(index < runtime->shard_count);
	ASSERT(shard_current() == NULL);
	struct shard *shard = runtime->shards[index];
	if (!try_submit(shard, request))
		submit_when_room(shard, request);
	future_wait(&request->future);
	return request->status;
}

struct status runtime_run(struct runtime *runtime, uint32_t index, task_function *run, void *argument)
{
	struct request request;
	request_init(&request, run, argument);
	return run_request(runtime, index, &request);
}

struct status runtime_run_type(struct runtime *runtime, uint32_t index, const struct task_type *type,
			       void *argument)
{
	struct request request;
	request_init_type(&request, type, argument);
	return run_request(runtime, index, &request);
}
