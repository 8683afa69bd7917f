#include "harness/phase.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/memory.h"
#include "harness/client.h"
#include "harness/hiccup.h"
#include "harness/interval_log.h"
#include "harness/process_stats.h"
#include "harness/ticks.h"

enum {
	NS_PER_SECOND = 1000000000,
	PROGRESS_NS = 100000000,
	READY_WAIT_NS = 2000000000, /* an engine that runs its tasks one by one never has all of them ready */
	COUNTERS_MAX = 128,
};

/* Draws that are repeated to tell the realised skew, and keys that they may fall on: about a second. */
static const uint64_t share_draws_max = 1u << 24;
static const uint64_t share_keys_max = 1u << 26;

struct counter_set {
	struct driver_counter counters[COUNTERS_MAX];
	size_t count;
};

struct measurement {
	struct phase_context *context;
	const struct phase *phase;
	struct phase_result *result;
	struct client_group group;
	pthread_t *threads;
	uint32_t thread_count;
	/* of the thread that runs all clients as tasks */
	void **arguments;
	struct status run_status;
	_Atomic uint32_t start_failures; /* clients whose handle could not be opened */
	struct status start_status;
	/* of the thread that waits until the engine is quiet */
	struct status idle_status;
	/* the state when measuring began */
	uint64_t begin_ns; /* 0: not yet */
	double cpu_begin;
	struct device_counters device_begin;
	struct counter_set counters_begin;
	struct hiccup *hiccup; /* NULL: no thread could be had for it */
	bool peak_is_exact;
	uint64_t peak_sampled;
	/* the second under way */
	uint64_t point_ns; /* when it began */
	uint64_t point_operations;
	double point_cpu;
	struct device_counters point_device;
	struct histogram *interval;		  /* of all operations */
	struct histogram *kinds[OPERATION_KINDS]; /* of each kind; NULL: none in this phase */
	struct histogram **before;		  /* of each client and histogram of it */
	size_t timeline_capacity;
	size_t interval_capacity;
	uint64_t progress_ns;
};

/* --- counters --- */

static void read_counters(struct driver *driver, struct counter_set *set)
{
	memset(set, 0, sizeof(*set));
	set->count = driver->ops->counters == NULL
			     ? 0
			     : driver->ops->counters(driver, set->counters, COUNTERS_MAX);
}

static const struct driver_counter *find_counter(const struct counter_set *set, const char *name, size_t near)
{
	if (near < set->count && strcmp(set->counters[near].name, name) == 0)
		return &set->counters[near];
	for (size_t i = 0; i < set->count; i++) {
		if (strcmp(set->counters[i].name, name) == 0)
			return &set->counters[i];
	}
	return NULL;
}

static void subtract_counters(struct measurement *run, const struct counter_set *end)
{
	struct phase_result *result = run->result;
	result->counter_count = end->count;
	for (size_t i = 0; i < end->count; i++) {
		const struct driver_counter *later = &end->counters[i];
		struct driver_counter *counter = &result->counters[i];
		*counter = *later;
		if (later->is_gauge)
			continue;
		const struct driver_counter *earlier = find_counter(&run->counters_begin, later->name, i);
		if (earlier != NULL && earlier->value <= later->value)
			counter->value = later->value - earlier->value;
	}
}

static uint64_t counter_or(const struct phase_result *result, const char *name, uint64_t otherwise)
{
	for (size_t i = 0; i < result->counter_count; i++) {
		if (strcmp(result->counters[i].name, name) == 0)
			return result->counters[i].value;
	}
	return otherwise;
}

/*
 * Reads: what the engine counts itself is exact, the kernel's numbers are the next best. Writes: the
 * kernel's, for an engine counts each time a page of its log that fills up goes to the page cache, and that
 * is no write of the device's.
 */
static void take_device_counters(struct measurement *run)
{
	struct phase_result *result = run->result;
	struct device_counters device = device_counters_difference(
		process_device_counters(run->context->data_path), run->device_begin);
	result->device_reads = counter_or(result, "io.reads", device.reads);
	result->device_writes =
		device.writes != UINT64_MAX ? device.writes : counter_or(result, "io.writes", UINT64_MAX);
	result->device_read_bytes = counter_or(result, "io.read_bytes", device.read_bytes);
	result->device_write_bytes = device.write_bytes != UINT64_MAX
					     ? device.write_bytes
					     : counter_or(result, "io.write_bytes", UINT64_MAX);
}

/* --- timeline and progress --- */

static uint64_t operations_so_far(const struct client_group *group)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < group->count; i++)
		sum += atomic_load_explicit(&group->clients[i].operations, memory_order_relaxed);
	return sum;
}

/* Adds what clients have recorded in their histogram `which` since the last call. */
static void collect_difference(struct measurement *run, uint32_t which, struct histogram *into)
{
	const struct client_group *group = &run->group;
	for (uint32_t i = 0; i < group->count && into != NULL; i++) {
		struct histogram *before = run->before[i * CLIENT_HISTOGRAMS + which];
		if (before != NULL)
			histogram_add_difference(into, group->clients[i].service[which], before);
	}
}

/* What was recorded since the last call. The halves of read-modify-writes are reads and updates, too, but
 * not operations of their own. */
static void collect_interval(struct measurement *run)
{
	histogram_reset(run->interval);
	for (uint32_t kind = 0; kind < OPERATION_KINDS; kind++) {
		if (run->kinds[kind] == NULL)
			continue;
		histogram_reset(run->kinds[kind]);
		collect_difference(run, kind, run->kinds[kind]);
		histogram_merge(run->interval, run->kinds[kind]);
	}
	collect_difference(run, PART_RMW_READ, run->kinds[OPERATION_READ]);
	collect_difference(run, PART_RMW_UPDATE, run->kinds[OPERATION_UPDATE]);
}

/* Keeps the interval's histograms for the log. Without memory for them it has a gap. */
static void add_intervals(struct measurement *run, uint64_t now_ns)
{
	struct phase_result *result = run->result;
	for (int kind = 0; kind < OPERATION_KINDS; kind++) {
		const struct histogram *histogram = run->kinds[kind];
		if (histogram == NULL || histogram->count == 0)
			continue;
		if (result->interval_count == run->interval_capacity) {
			size_t capacity = run->interval_capacity == 0 ? 64 : run->interval_capacity * 2;
			struct phase_interval *larger =
				memory_resize(result->intervals, capacity * sizeof(*larger));
			if (larger == NULL)
				return;
			result->intervals = larger;
			run->interval_capacity = capacity;
		}
		char *encoded = interval_log_encode(histogram);
		if (encoded == NULL)
			return;
		result->intervals[result->interval_count++] = (struct phase_interval) {
			.kind = (enum operation_kind)kind,
			.start = (double)(run->point_ns - run->begin_ns) / NS_PER_SECOND,
			.seconds = (double)(now_ns - run->point_ns) / NS_PER_SECOND,
			.max_ns = histogram->max_ns,
			.histogram = encoded,
		};
	}
}

static uint64_t bytes_between(uint64_t later, uint64_t earlier)
{
	return later == UINT64_MAX || earlier == UINT64_MAX || later < earlier ? UINT64_MAX : later - earlier;
}

static void sample_rss(struct measurement *run, uint64_t rss)
{
	if (rss != UINT64_MAX && rss > run->peak_sampled)
		run->peak_sampled = rss;
}

/* Ends the second under way. Without memory for it, the timeline just ends earlier. */
static void add_point(struct measurement *run, uint64_t now_ns)
{
	struct phase_result *result = run->result;
	if (result->timeline_count == run->timeline_capacity) {
		size_t capacity = run->timeline_capacity == 0 ? 64 : run->timeline_capacity * 2;
		struct timeline_point *larger =
			memory_resize(result->timeline, capacity * sizeof(*result->timeline));
		if (larger == NULL)
			return;
		result->timeline = larger;
		run->timeline_capacity = capacity;
	}
	collect_interval(run);
	add_intervals(run, now_ns);
	uint64_t operations = operations_so_far(&run->group);
	double cpu = process_cpu_seconds();
	struct device_counters device = process_device_counters(NULL);
	struct timeline_point *point = &result->timeline[result->timeline_count++];
	*point = (struct timeline_point) {
		.seconds = (double)(now_ns - run->begin_ns) / NS_PER_SECOND,
		.operations = operations - run->point_operations,
		.p50_ns = histogram_quantile(run->interval, 0.5),
		.p99_ns = histogram_quantile(run->interval, 0.99),
		.p999_ns = histogram_quantile(run->interval, 0.999),
		.max_ns = run->interval->max_ns,
		.cpu_seconds = cpu - run->point_cpu,
		.rss_bytes = process_rss_bytes(),
		.device_read_bytes = bytes_between(device.read_bytes, run->point_device.read_bytes),
		.device_write_bytes = bytes_between(device.write_bytes, run->point_device.write_bytes),
	};
	sample_rss(run, point->rss_bytes);
	run->point_ns = now_ns;
	run->point_operations = operations;
	run->point_cpu = cpu;
	run->point_device = device;
}

static void report_progress(struct measurement *run, uint64_t now_ns)
{
	struct phase_context *context = run->context;
	run->progress_ns = now_ns;
	if (context->progress == NULL)
		return;
	const struct phase *phase = run->phase;
	uint64_t total = phase->kind == PHASE_LOAD ? context->workload->records
			 : phase->duration_ns == 0 ? phase->operations
						   : 0;
	double seconds = run->begin_ns == 0 ? 0 : (double)(now_ns - run->begin_ns) / NS_PER_SECOND;
	context->progress(context->progress_context, phase, seconds, operations_so_far(&run->group), total);
}

/*
 * Sleeps until `until_ns`, the next tenth of a second, or an end that somebody announces on the eventfd;
 * does what is due then, and returns the time. Only the timeline is kept once measuring has begun.
 */
static uint64_t wait_a_little(struct measurement *run, uint64_t until_ns)
{
	uint64_t now_ns = clock_now_ns();
	uint64_t next_ns = run->progress_ns + PROGRESS_NS;
	if (run->begin_ns != 0 && run->point_ns + NS_PER_SECOND < next_ns)
		next_ns = run->point_ns + NS_PER_SECOND;
	if (until_ns < next_ns)
		next_ns = until_ns;
	if (next_ns > now_ns) {
		struct pollfd wake = { .fd = run->group.wake_fd, .events = POLLIN };
		struct timespec timeout = { .tv_sec = (time_t)((next_ns - now_ns) / NS_PER_SECOND),
					    .tv_nsec = (long)((next_ns - now_ns) % NS_PER_SECOND) };
		(void)ppoll(&wake, 1, &timeout, NULL);
		now_ns = clock_now_ns();
	}
	if (now_ns >= run->progress_ns + PROGRESS_NS)
		report_progress(run, now_ns);
	if (run->begin_ns != 0 && now_ns >= run->point_ns + NS_PER_SECOND)
		add_point(run, now_ns);
	return now_ns;
}

static bool stop_asked(const struct measurement *run)
{
	return run->context->stop != NULL && __atomic_load_n(run->context->stop, __ATOMIC_RELAXED) != 0;
}

/* --- threads --- */

static void *run_one_client(void *argument)
{
	struct client *client = argument;
	struct client_group *group = client->group;
	struct measurement *run = CONTAINER_OF(group, struct measurement, group);
	const struct driver_ops *ops = group->driver->ops;
	struct driver_client *handle = NULL;
	struct status status = ops->client_open(group->driver, &handle);
	if (!status_is_ok(status)) {
		if (atomic_fetch_add(&run->start_failures, 1) == 0)
			run->start_status = status;
		client_end(client);
		return NULL;
	}
	client_run(group->driver, handle, client);
	ops->client_close(handle);
	return NULL;
}

static void *run_all_tasks(void *argument)
{
	struct measurement *run = argument;
	struct client_group *group = &run->group;
	run->run_status =
		group->driver->ops->run_tasks(group->driver, group->count, client_run, run->arguments);
	/* Clients that were never started have not ended either. */
	if (atomic_exchange(&group->running, 0) > 0) {
		uint64_t one = 1;
		ssize_t written = write(group->wake_fd, &one, sizeof(one));
		(void)written;
	}
	return NULL;
}

static void *wait_until_idle(void *argument)
{
	struct measurement *run = argument;
	run->idle_status = run->group.driver->ops->wait_idle(run->group.driver);
	atomic_store(&run->group.running, 0);
	uint64_t one = 1;
	ssize_t written = write(run->group.wake_fd, &one, sizeof(one));
	(void)written;
	return NULL;
}

/* Signals are the main thread's business. */
static struct status start_thread(pthread_t *thread, void *(*body)(void *), void *argument)
{
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int error = pthread_create(thread, NULL, body, argument);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return error == 0 ? status_ok() : status_from_errno(error, "cannot start a client's thread", NULL);
}

static bool uses_tasks(const struct measurement *run)
{
	return run->context->workload->clients_as_tasks &&
	       (run->group.driver->ops->capabilities & DRIVER_TASKS) != 0;
}

static struct status start_clients(struct measurement *run)
{
	struct client_group *group = &run->group;
	uint32_t wanted = uses_tasks(run) ? 1 : group->count;
	run->threads = memory_allocate_zeroed(wanted, sizeof(*run->threads));
	if (run->threads == NULL)
		return status_make(STATUS_NO_MEMORY);
	for (uint32_t i = 0; i < wanted; i++) {
		struct status status =
			uses_tasks(run) ? start_thread(&run->threads[i], run_all_tasks, run)
					: start_thread(&run->threads[i], run_one_client, &group->clients[i]);
		if (!status_is_ok(status)) {
			atomic_fetch_sub(&group->running, uses_tasks(run) ? group->count : group->count - i);
			return status;
		}
		run->thread_count++;
	}
	return status_ok();
}

static void join_threads(struct measurement *run)
{
	for (uint32_t i = 0; i < run->thread_count; i++)
		pthread_join(run->threads[i], NULL);
	run->thread_count = 0;
}

/* --- stages --- */

static void set_stage(struct measurement *run, enum client_stage stage)
{
	atomic_store_explicit(&run->group.stage, stage, memory_order_release);
}

static bool all_ended(struct measurement *run)
{
	return atomic_load(&run->group.running) == 0;
}

static void wait_until_ready(struct measurement *run)
{
	struct client_group *group = &run->group;
	uint64_t deadline = clock_now_ns() + READY_WAIT_NS;
	while (atomic_load(&group->ready) < atomic_load(&group->running) && clock_now_ns() < deadline &&
	       !stop_asked(run))
		wait_a_little(run, clock_now_ns() + 200000);
}

static void begin_measuring(struct measurement *run)
{
	run->peak_is_exact = process_rss_peak_reset();
	sample_rss(run, process_rss_bytes());
	read_counters(run->group.driver, &run->counters_begin);
	run->device_begin = process_device_counters(run->context->data_path);
	run->point_device = run->device_begin;
	run->cpu_begin = process_cpu_seconds();
	run->point_cpu = run->cpu_begin;
	if (!status_is_ok(hiccup_start(&run->hiccup)))
		run->hiccup = NULL;
	run->result->start_unix_ns = clock_wall_ns();
	run->begin_ns = clock_now_ns();
	run->point_ns = run->begin_ns;
	set_stage(run, STAGE_MEASURING);
}

static void drain_wakes(struct measurement *run)
{
	uint64_t count;
	ssize_t got = read(run->group.wake_fd, &count, sizeof(count));
	(void)got; /* the descriptor is non-blocking and may be at zero */
}

/* From the first client's start to the last one's end. */
static void run_stages(struct measurement *run)
{
	const struct phase *phase = run->phase;
	wait_until_ready(run);
	uint64_t now_ns = clock_now_ns();
	if (phase->kind == PHASE_RUN && phase->warmup_ns > 0 && !stop_asked(run)) {
		uint64_t warm_ns = now_ns + phase->warmup_ns;
		set_stage(run, STAGE_WARMUP);
		while (now_ns < warm_ns && !stop_asked(run) && !all_ended(run))
			now_ns = wait_a_little(run, warm_ns);
	}
	begin_measuring(run);
	bool timed = phase->kind == PHASE_RUN && phase->duration_ns > 0;
	uint64_t end_ns = timed ? run->begin_ns + phase->duration_ns : UINT64_MAX;
	while (!all_ended(run) && now_ns < end_ns && !stop_asked(run))
		now_ns = wait_a_little(run, end_ns);
	run->result->stopped_early = stop_asked(run) && now_ns < end_ns && !all_ended(run);
	set_stage(run, STAGE_STOPPING);
	while (!all_ended(run))
		wait_a_little(run, UINT64_MAX);
	join_threads(run);
	drain_wakes(run);
}

/* The engine becomes quiet while the timeline goes on; returns the time. */
static struct status run_idle_wait(struct measurement *run, uint64_t *end_ns)
{
	pthread_t waiter;
	atomic_store(&run->group.running, 1);
	TRY(start_thread(&waiter, wait_until_idle, run));
	while (!all_ended(run))
		wait_a_little(run, UINT64_MAX);
	pthread_join(waiter, NULL);
	*end_ns = clock_now_ns();
	return run->idle_status;
}

/* --- set-up --- */

/* The kind of operation that a client's histogram counts to in the log. */
static uint32_t kind_of_histogram(uint32_t which)
{
	return which == PART_RMW_READ ? OPERATION_READ : which == PART_RMW_UPDATE ? OPERATION_UPDATE : which;
}

static struct status allocate_befores(struct measurement *run, const struct client *client)
{
	for (uint32_t which = 0; which < CLIENT_HISTOGRAMS; which++) {
		if (client->service[which] == NULL)
			continue;
		struct histogram **before = &run->before[client->index * CLIENT_HISTOGRAMS + which];
		struct histogram **of_kind = &run->kinds[kind_of_histogram(which)];
		*before = histogram_create();
		if (*of_kind == NULL)
			*of_kind = histogram_create();
		if (*before == NULL || *of_kind == NULL)
			return status_make(STATUS_NO_MEMORY);
	}
	return status_ok();
}

static struct status allocate_clients(struct measurement *run)
{
	struct client_group *group = &run->group;
	size_t bytes = group->count * sizeof(*group->clients);
	group->clients = memory_allocate_aligned(64, bytes);
	if (group->clients != NULL)
		memset((void *)group->clients, 0, bytes);
	group->inserting = memory_allocate_zeroed(group->count, sizeof(*group->inserting));
	run->arguments = memory_allocate_zeroed(group->count, sizeof(*run->arguments));
	run->before = memory_allocate_zeroed(group->count, CLIENT_HISTOGRAMS * sizeof(run->before[0]));
	run->interval = histogram_create();
	if (group->clients == NULL || group->inserting == NULL || run->arguments == NULL ||
	    run->before == NULL || run->interval == NULL)
		return status_make(STATUS_NO_MEMORY);
	for (uint32_t i = 0; i < group->count; i++) {
		struct client *client = &group->clients[i];
		client->group = group;
		client->index = i;
		run->arguments[i] = client;
		TRY(client_init(client));
		TRY(allocate_befores(run, client));
	}
	return status_ok();
}

/* How many operations each client does; the first ones do the remainder. */
static void share_out(struct measurement *run)
{
	const struct phase *phase = run->phase;
	struct client_group *group = &run->group;
	uint64_t total = phase->kind == PHASE_LOAD ? run->context->workload->records
			 : phase->duration_ns == 0 ? phase->operations
						   : UINT64_MAX;
	for (uint32_t i = 0; i < group->count && total != UINT64_MAX; i++)
		group->clients[i].quota = total / group->count + (i < total % group->count);
}

static struct status check_phase(const struct phase_context *context, const struct phase *phase)
{
	if (phase->clients == 0)
		return status_error(STATUS_INVALID, "phase %s: no clients", phase->name);
	if (phase->kind == PHASE_RUN && phase->duration_ns == 0 && phase->operations == 0)
		return status_error(STATUS_INVALID, "phase %s: neither a duration nor operations",
				    phase->name);
	const struct driver_ops *ops = context->driver->ops;
	if (phase->kind == PHASE_RUN && phase->mix[OPERATION_SCAN] > 0 &&
	    (ops->capabilities & DRIVER_SCANS) == 0)
		return status_error(STATUS_UNSUPPORTED, "phase %s: %s cannot scan", phase->name, ops->name);
	return status_ok();
}

static struct status set_up(struct measurement *run)
{
	struct phase_context *context = run->context;
	const struct phase *phase = run->phase;
	struct client_group *group = &run->group;
	*group = (struct client_group) {
		.workload = context->workload,
		.phase = phase,
		.driver = context->driver,
		.count = phase->clients,
		.wake_fd = -1,
	};
	/* An engine that keeps nothing has nothing to verify. */
	if ((context->driver->ops->capabilities & DRIVER_FORGETS) == 0)
		group->verifier = context->verifier;
	atomic_init(&group->stage, STAGE_PREPARING);
	atomic_init(&group->running, phase->clients);
	atomic_init(&group->next_insert, context->inserted);
	atomic_init(&group->acknowledged, context->inserted);
	if (phase->kind == PHASE_RUN) {
		TRY(generator_init(&group->generator, context->workload, phase, context->inserted));
		bool draws = false;
		for (int kind = 0; kind < OPERATION_KINDS; kind++)
			draws = draws || (kind != OPERATION_INSERT && phase->mix[kind] > 0);
		group->track_inserts = draws && phase->mix[OPERATION_INSERT] > 0;
	}
	group->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (group->wake_fd < 0)
		return status_from_errno(errno, "cannot create an eventfd", NULL);
	TRY(value_maker_create(context->workload->seed, context->workload->compressibility, &group->maker));
	bool scans = phase->kind == PHASE_RUN && phase->mix[OPERATION_SCAN] > 0;
	uint64_t scan_max = scans ? group->generator.scan_min + group->generator.scan_span - 1 : 0;
	if (group->verifier != NULL)
		TRY(verifier_begin_phase(group->verifier, group->count, scan_max));
	TRY(allocate_clients(run));
	share_out(run);
	return status_ok();
}

static void tear_down(struct measurement *run)
{
	struct client_group *group = &run->group;
	for (uint32_t i = 0; i < group->count; i++) {
		if (group->clients != NULL)
			client_free(&group->clients[i]);
		for (uint32_t which = 0; run->before != NULL && which < CLIENT_HISTOGRAMS; which++)
			histogram_free(run->before[i * CLIENT_HISTOGRAMS + which]);
	}
	for (uint32_t kind = 0; kind < OPERATION_KINDS; kind++)
		histogram_free(run->kinds[kind]);
	memory_free(group->clients);
	memory_free((void *)group->inserting);
	memory_free(run->arguments);
	memory_free(run->before);
	memory_free(run->threads);
	histogram_free(hiccup_stop(run->hiccup));
	histogram_free(run->interval);
	value_maker_free(group->maker);
	if (group->wake_fd >= 0)
		(void)close(group->wake_fd);
}

/* --- results --- */

static struct status merge_histogram(struct histogram **into, const struct histogram *from)
{
	if (from == NULL || from->count == 0)
		return status_ok();
	if (*into == NULL)
		*into = histogram_create();
	if (*into == NULL)
		return status_make(STATUS_NO_MEMORY);
	histogram_merge(*into, from);
	return status_ok();
}

static struct status collect_clients(struct measurement *run)
{
	struct phase_result *result = run->result;
	uint64_t first_failure = UINT64_MAX;
	for (uint32_t i = 0; i < run->group.count; i++) {
		const struct client *client = &run->group.clients[i];
		for (int kind = 0; kind < OPERATION_KINDS; kind++)
			TRY(merge_histogram(&result->service[kind], client->service[kind]));
		TRY(merge_histogram(&result->service[OPERATION_READ], client->service[PART_RMW_READ]));
		TRY(merge_histogram(&result->service[OPERATION_UPDATE], client->service[PART_RMW_UPDATE]));
		result->operations += client->operations;
		result->failed += client->failed;
		result->user_bytes_written += client->bytes_written;
		if (client->failed > 0 && client->failed_at < first_failure) {
			first_failure = client->failed_at;
			result->first_failure = client->first_failure;
		}
	}
	return status_ok();
}

static uint64_t last_end(const struct client_group *group)
{
	uint64_t end_ns = 0;
	for (uint32_t i = 0; i < group->count; i++) {
		if (group->clients[i].end_ns > end_ns)
			end_ns = group->clients[i].end_ns;
	}
	return end_ns;
}

/* What is acknowledged now. A load that was stopped has holes above the slowest client's place. */
static void count_inserted(struct measurement *run)
{
	struct client_group *group = &run->group;
	uint64_t inserted = atomic_load(&group->next_insert);
	if (run->phase->kind == PHASE_LOAD) {
		inserted = run->context->workload->records;
		for (uint32_t i = 0; i < group->count; i++) {
			uint64_t next = i + group->clients[i].loaded * group->count;
			if (next < inserted)
				inserted = next;
		}
	}
	if (inserted > run->context->inserted)
		run->context->inserted = inserted;
}

static void collect_verification(struct measurement *run)
{
	struct phase_result *result = run->result;
	if (run->group.verifier == NULL)
		return;
	struct verify_totals totals;
	verifier_totals(run->group.verifier, &totals);
	result->verify_checked = totals.checked;
	result->verify_mismatches = totals.mismatches;
	memcpy(result->first_mismatch, totals.first_mismatch, sizeof(result->first_mismatch));
}

/*
 * The realised skew, from repeating the draws of the measured operations (op i of client c is a function of
 * c and i), which costs nothing while clocks run. Where the key space grew, the acknowledged prefix is taken
 * to have grown evenly. Beyond share_draws_max operations, an even sample of that many; chance makes the
 * most drawn keys of a sample look hotter, and the less so, the more draws there are for each key.
 */
static void count_draws(struct measurement *run, uint64_t before, uint64_t after, uint32_t *counts)
{
	const struct client_group *group = &run->group;
	uint64_t each = share_draws_max / group->count;
	for (uint32_t i = 0; i < group->count; i++) {
		const struct client *client = &group->clients[i];
		uint64_t sample = client->attempted < each ? client->attempted : each;
		struct generator_client draw;
		generator_client_init(&group->generator, &draw, i);
		for (uint64_t k = 0; k < sample && !stop_asked(run); k++) {
			double share = (double)k / (double)sample;
			uint64_t number =
				client->attempted <= each ? k : (uint64_t)(share * (double)client->attempted);
			uint64_t acknowledged = before + (uint64_t)(share * (double)(after - before));
			struct operation operation;
			generator_draw(&group->generator, &draw, client->first + number, acknowledged,
				       &operation);
			if (operation.kind != OPERATION_INSERT && operation.key_number < after)
				counts[operation.key_number]++;
		}
	}
}

static void compute_shares(struct measurement *run, uint64_t before, uint64_t after)
{
	struct phase_result *result = run->result;
	const struct phase *phase = run->phase;
	result->top1_share = NAN;
	result->top1pct_share = NAN;
	result->top10pct_share = NAN;
	if (phase->kind != PHASE_RUN || phase->distribution == DISTRIBUTION_SEQUENTIAL || before == 0 ||
	    after > share_keys_max || result->stopped_early)
		return;
	uint32_t *counts = memory_allocate_zeroed(after, sizeof(*counts));
	if (counts == NULL)
		return;
	count_draws(run, before, after, counts);
	struct key_shares shares = key_shares_of(counts, after);
	result->top1_share = shares.top1;
	result->top1pct_share = shares.top1pct;
	result->top10pct_share = shares.top10pct;
	memory_free(counts);
}

static void add_bytes(uint64_t *sum, uint64_t more)
{
	*sum = *sum == UINT64_MAX || more == UINT64_MAX ? UINT64_MAX : *sum + more;
}

/*
 * What came after the last whole second. As a point of its own it would say nothing if it is very short, so
 * the point before is then stretched over it: no operation falls out of the timeline.
 */
static void finish_timeline(struct measurement *run, uint64_t end_ns)
{
	struct phase_result *result = run->result;
	size_t points = result->timeline_count;
	uint64_t now_ns = end_ns > run->point_ns ? end_ns : run->point_ns;
	uint64_t rest_ns = now_ns - run->point_ns;
	add_point(run, now_ns);
	if (points == 0 || result->timeline_count == points || rest_ns >= NS_PER_SECOND / 20)
		return;
	struct timeline_point *last = &result->timeline[points - 1];
	const struct timeline_point *rest = &result->timeline[points];
	last->seconds = rest->seconds;
	last->operations += rest->operations;
	last->cpu_seconds += rest->cpu_seconds;
	last->rss_bytes = rest->rss_bytes;
	add_bytes(&last->device_read_bytes, rest->device_read_bytes);
	add_bytes(&last->device_write_bytes, rest->device_write_bytes);
	if (rest->max_ns > last->max_ns)
		last->max_ns = rest->max_ns;
	result->timeline_count = points;
}

/* Everything that has to be read at the moment when the phase ends. */
static void end_measuring(struct measurement *run, uint64_t end_ns)
{
	struct phase_result *result = run->result;
	result->cpu_seconds = process_cpu_seconds() - run->cpu_begin;
	sample_rss(run, process_rss_bytes());
	uint64_t peak = process_rss_peak_bytes();
	result->rss_peak_bytes = run->peak_is_exact && peak != UINT64_MAX ? peak : run->peak_sampled;
	struct counter_set end;
	read_counters(run->group.driver, &end);
	subtract_counters(run, &end);
	take_device_counters(run);
	result->seconds = (double)(end_ns - run->begin_ns) / NS_PER_SECOND;
	finish_timeline(run, end_ns);
	result->hiccups = hiccup_stop(run->hiccup);
	run->hiccup = NULL;
	report_progress(run, clock_now_ns());
}

static struct status measure(struct measurement *run)
{
	struct phase_result *result = run->result;
	struct status status = start_clients(run);
	if (!status_is_ok(status)) {
		set_stage(run, STAGE_STOPPING);
		join_threads(run);
		return status;
	}
	run_stages(run);
	TRY(run->run_status);
	if (atomic_load(&run->start_failures) > 0)
		return run->start_status;
	uint64_t work_end_ns = last_end(&run->group);
	if (work_end_ns < run->begin_ns)
		work_end_ns = run->begin_ns;
	uint64_t end_ns = work_end_ns;
	if (run->phase->wait_idle && !result->stopped_early && run->group.driver->ops->wait_idle != NULL) {
		TRY(run_idle_wait(run, &end_ns));
		result->idle_wait_seconds = (double)(end_ns - work_end_ns) / NS_PER_SECOND;
	}
	end_measuring(run, end_ns);
	TRY(collect_clients(run));
	collect_verification(run);
	uint64_t before = run->context->inserted;
	count_inserted(run);
	compute_shares(run, before, run->context->inserted);
	return status_ok();
}

struct status phase_run(struct phase_context *context, const struct phase *phase, struct phase_result *result)
{
	memset(result, 0, sizeof(*result));
	TRY(check_phase(context, phase));
	struct measurement *run = memory_allocate_aligned(64, sizeof(*run));
	if (run == NULL)
		return status_make(STATUS_NO_MEMORY);
	memset((void *)run, 0, sizeof(*run));
	run->context = context;
	run->phase = phase;
	run->result = result;
	ticks_calibrate();
	struct status status = set_up(run);
	if (status_is_ok(status))
		status = measure(run);
	tear_down(run);
	memory_free(run);
	if (!status_is_ok(status))
		phase_result_free(result);
	return status;
}

void phase_result_free(struct phase_result *result)
{
	for (int kind = 0; kind < OPERATION_KINDS; kind++) {
		histogram_free(result->service[kind]);
		result->service[kind] = NULL;
	}
	histogram_free(result->hiccups);
	result->hiccups = NULL;
	memory_free(result->timeline);
	result->timeline = NULL;
	result->timeline_count = 0;
	for (size_t i = 0; i < result->interval_count; i++)
		memory_free(result->intervals[i].histogram);
	memory_free(result->intervals);
	result->intervals = NULL;
	result->interval_count = 0;
}
