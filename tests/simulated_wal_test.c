/*
 * simulated_wal_test.c: the log on a simulated disk, on one shard: crashes at many moments of a run, by loss
 * of power and by a kill, and what the log finds afterwards. Each image is opened, and then loses power once
 * more. (Some seconds.)
 */
#include "test.h"

#include <errno.h>
#include <string.h>

#include "base/hash.h"
#include "io/faulty.h"
#include "io/simulated.h"
#include "runtime/runtime.h"
#include "wal/wal.h"

enum {
	WRITERS = 3,
	APPENDS = 40, /* each */
	COMMITS_MAX = WRITERS * APPENDS,
	PAYLOAD_MAX = 3000,
	IMAGES_MAX = 200,
	EVENTS_PER_IMAGE = 2,
	SEEDS = 4,
};

#define SEED 20250303

/* What the device had when the image was taken, and what the log had promised. */
struct image {
	struct simulated_world *world;
	uint64_t seed;
	uint64_t flushed;
	uint64_t acknowledged; /* all commits up to this log number */
	bool ordered;
};

struct run {
	struct simulated_world *world;
	struct faulty *plan; /* of what passes; NULL: none */
	struct runtime *runtime;
	struct wal *wal;
	struct wal_options options;
	enum wal_durability durability;
	enum simulated_crash_kind crash;
	uint64_t seed;
	struct random random;

	uint64_t sequence;
	uint64_t truth[COMMITS_MAX]; /* checksum of the payload, by log number - 1 */
	uint64_t applied;
	uint64_t flushed; /* what a manifest would say */
	uint64_t groups;

	struct image images[IMAGES_MAX];
	unsigned image_count;

	/* Of the recovery of one image. */
	const struct image *image;
	uint64_t replayed;
	struct status status;
	unsigned lost; /* images that lack what was acknowledged */
	unsigned more; /* ... and that have more */
};

static uint64_t next_sequence(void *context)
{
	struct run *run = context;
	return ++run->sequence;
}

static void apply(void *context, const struct wal_commit *commit)
{
	struct run *run = context;
	assert_int_equal(commit->log_number, run->applied + 1);
	run->truth[run->applied++] = checksum64(commit->payload.data, commit->payload.size, 1);
}

static struct status replay(struct task *self, void *context, const struct wal_commit *commit)
{
	struct run *run = context;
	(void)self;
	/* No holes, nothing stale, nothing that was never appended. */
	assert_int_equal(commit->log_number, run->image->flushed + run->replayed + 1);
	assert_true(commit->log_number <= run->applied);
	assert_int_equal(checksum64(commit->payload.data, commit->payload.size, 1),
			 run->truth[commit->log_number - 1]);
	run->replayed++;
	return status_ok();
}

static void note_event(void *context, const struct simulated_event *event)
{
	struct run *run = context;
	if (event->number % EVENTS_PER_IMAGE != 0 || run->image_count == IMAGES_MAX)
		return;
	struct image *image = &run->images[run->image_count++];
	image->seed = random_mix(run->seed + event->number);
	image->ordered = image->seed % 4 == 0;
	image->flushed = run->flushed;
	image->acknowledged = run->applied;
	image->world = simulated_crash(run->world, &(struct simulated_crash) { .kind = run->crash,
									       .seed = image->seed,
									       .ordered = image->ordered });
}

/* --- the run --- */

static void append_all(struct task *self, void *argument)
{
	struct run *run = argument;
	uint8_t payload[PAYLOAD_MAX];
	for (unsigned i = 0; i < APPENDS; i++) {
		size_t size = (size_t)random_below(&run->random, i % 8 == 0 ? PAYLOAD_MAX : 300);
		memset(payload, (int)(1 + random_below(&run->random, 255)), size);
		struct slice piece = slice_make(payload, size);
		assert_ok(wal_append(self, run->wal, &piece, 1, run->durability, NULL));
		if (i % 10 == 9) {
			/* As a flush does: what tables cover must not be torn behind them. */
			uint64_t flushed = run->applied;
			assert_ok(wal_sync(self, run->wal));
			run->flushed = flushed > run->flushed ? flushed : run->flushed;
			wal_release(run->wal, run->flushed);
		}
	}
}

static const struct task_type writer_type = {
	.name = "writer",
	.run = append_all,
	.stack_bytes = 32 << 10,
};

static void run_writers(struct task *self, void *argument)
{
	struct run *run = argument;
	struct wal_replay_report report;
	assert_ok(wal_open(self, &run->options, true, 0, &run->wal, &report));
	simulated_observe(run->world, note_event, run);
	struct join join;
	join_init(&join);
	for (unsigned i = 0; i < WRITERS; i++)
		assert_ok(task_spawn(task_shard(self), &writer_type, run, TASK_FOREGROUND, &join));
	join_wait(self, &join);
	simulated_observe(run->world, NULL, NULL);
	assert_int_equal(run->applied, COMMITS_MAX);
	assert_true(wal_counters(run->wal)->laps > 0);
	assert_ok(wal_close(self, run->wal));
}

static void start(struct run *run, struct simulated_world *world)
{
	simulated_install(world);
	if (run->plan != NULL)
		faulty_install(run->plan, "simulated");
	struct runtime_options options = {
		.shards = 1,
		.io_backend = run->plan != NULL ? "faulty" : "simulated",
		.io = { .direct = true },
	};
	assert_ok(runtime_create(&options, &run->runtime, NULL, 0));
}

static void stop(struct run *run)
{
	runtime_destroy(run->runtime);
	run->runtime = NULL;
}

/* --- recovery --- */

static void recover(struct task *self, void *argument)
{
	struct run *run = argument;
	struct wal_replay_report report;
	run->replayed = 0;
	run->wal = NULL;
	run->status = wal_open(self, &run->options, false, run->image->flushed, &run->wal, &report);
	/* Closed by a crash: the image is all that is looked at afterwards. */
	if (status_is_ok(run->status))
		assert_ok(wal_close(self, run->wal));
}

/* The state right after the open: before the close, which syncs, could help. */
static void recover_and_lose_power(struct task *self, void *argument)
{
	struct run *run = argument;
	struct wal_replay_report report;
	run->replayed = 0;
	run->status = wal_open(self, &run->options, false, run->image->flushed, &run->wal, &report);
	if (!status_is_ok(run->status))
		return;
	struct simulated_crash worst = { .kind = SIMULATED_POWER, .keep = SIMULATED_KEEP_NONE };
	run->world = simulated_crash(run->image->world, &worst);
	assert_ok(wal_close(self, run->wal));
}

static void check_image(struct run *run, const struct image *image)
{
	run->image = image;
	start(run, image->world);
	runtime_run(run->runtime, 0, recover_and_lose_power, run);
	stop(run);
	if (!status_is_ok(run->status)) {
		char text[256];
		status_describe(run->status, text, sizeof(text));
		fail_msg("seed %llu, crash seed %llu: %s", (unsigned long long)run->seed,
			 (unsigned long long)image->seed, text);
	}
	uint64_t last = image->flushed + run->replayed;
	run->lost += last < image->acknowledged;
	run->more += last > image->acknowledged;
	/* What a recovery has found stays found: it was made durable before the open returned. */
	struct simulated_world *again = run->world;
	start(run, again);
	runtime_run(run->runtime, 0, recover, run);
	stop(run);
	assert_ok(run->status);
	assert_int_equal(image->flushed + run->replayed, last);
	simulated_destroy(again);
}

struct result {
	unsigned images;
	unsigned lost;
	unsigned more;
};

struct setting {
	enum wal_durability durability;
	bool buffered;
	bool faults; /* short transfers, EAGAIN and EINTR, stalls: nothing that the log should notice */
	enum simulated_crash_kind crash;
};

static struct faulty *plan_faults(uint64_t seed)
{
	static const struct faulty_rule rules[] = {
		{ .kind = FAULTY_SHORT, .in_million = 200000 },
		{ .kind = FAULTY_PASSING, .in_million = 100000, .row = 3 },
		{ .kind = FAULTY_PASSING, .in_million = 100000, .error = EINTR },
		{ .kind = FAULTY_STALL, .in_million = 50000, .delay_ns = 3000000 },
	};
	struct faulty *plan = faulty_create(seed);
	for (unsigned i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		(void)faulty_add(plan, &rules[i]);
	return plan;
}

static struct result run_with(uint64_t seed, const struct setting *setting)
{
	static struct run run;
	run = (struct run) {
		.seed = seed,
		.random = random_stream(seed),
		.durability = setting->durability,
		.crash = setting->crash,
	};
	run.options = (struct wal_options) {
		.directory = "/wal",
		.database_id = { 7, 8 },
		.segment_bytes = 16 << 10,
		.segments_max = 4,
		.group_bytes = 8192,
		.buffered = setting->buffered,
		.wait_ns_max = 2000000000,
		.next_sequence = next_sequence,
		.apply = apply,
		.replay = replay,
		.context = &run,
	};
	if (setting->faults)
		run.plan = plan_faults(seed);
	struct simulated_world *world = simulated_create(&(struct simulated_options) { .seed = seed });
	simulated_make_path(world, "/wal");
	run.world = world;
	start(&run, world);
	runtime_run(run.runtime, 0, run_writers, &run);
	stop(&run);
	for (unsigned i = 0; i < run.image_count; i++) {
		check_image(&run, &run.images[i]);
		simulated_destroy(run.images[i].world);
	}
	simulated_destroy(world);
	if (setting->faults)
		for (unsigned kind = 0; kind < FAULTY_KIND_COUNT; kind++)
			assert_int_equal(faulty_count(run.plan, kind) > 0, kind == FAULTY_SHORT ||
										   kind == FAULTY_PASSING ||
										   kind == FAULTY_STALL);
	faulty_destroy(run.plan);
	return (struct result) { .images = run.image_count, .lost = run.lost, .more = run.more };
}

static struct result run_seeds(const struct setting *setting)
{
	struct result total = { 0 };
	for (uint64_t i = 0; i < SEEDS; i++) {
		struct result one = run_with(test_seed(SEED) + i, setting);
		total.images += one.images;
		total.lost += one.lost;
		total.more += one.more;
	}
	print_message("%u images: %u lack acknowledged commits, %u have more\n", total.images, total.lost,
		      total.more);
	assert_true(total.images > 20 * SEEDS);
	return total;
}

static void power_survives_a_loss_of_power(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct setting setting = { .durability = WAL_POWER, .crash = SIMULATED_POWER };
		setting.buffered = i % 2 == 1;
		setting.faults = i / 2 == 1;
		struct result result = run_seeds(&setting);
		assert_int_equal(result.lost, 0);
		assert_true(result.more > 0); /* a crash may also leave what nobody was told of */
	}
}

static void process_survives_a_kill(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct setting setting = { .durability = WAL_PROCESS, .crash = SIMULATED_PROCESS };
		setting.buffered = i % 2 == 1;
		setting.faults = i / 2 == 1;
		assert_int_equal(run_seeds(&setting).lost, 0);
	}
}

/* Nor is it promised to: a test that could not tell would tell nothing above. */
static void process_does_not_survive_a_loss_of_power(void **state)
{
	(void)state;
	struct setting setting = { .durability = WAL_PROCESS, .buffered = true, .crash = SIMULATED_POWER };
	assert_true(run_seeds(&setting).lost > 0);
}

/* --- groups that wait for those who come back --- */

enum { THINKERS = 8, THOUGHTS = 24, THINK_NS = 8 * 1000 };

static void think_and_append(struct task *self, void *argument)
{
	struct run *run = argument;
	static const uint8_t payload[100] = { 1 };
	struct slice piece = slice_make(payload, sizeof(payload));
	for (unsigned i = 0; i < THOUGHTS; i++) {
		assert_ok(wal_append(self, run->wal, &piece, 1, WAL_POWER, NULL));
		task_sleep(self, random_below(&run->random, THINK_NS));
	}
}

static const struct task_type thinker_type = {
	.name = "thinker",
	.run = think_and_append,
	.stack_bytes = 32 << 10,
};

static void count_one(void *context, const struct wal_commit *commit)
{
	struct run *run = context;
	run->applied = commit->log_number;
}

static void run_thinkers(struct task *self, void *argument)
{
	struct run *run = argument;
	struct wal_replay_report report;
	assert_ok(wal_open(self, &run->options, true, 0, &run->wal, &report));
	struct join join;
	join_init(&join);
	for (unsigned i = 0; i < THINKERS; i++)
		assert_ok(task_spawn(task_shard(self), &thinker_type, run, TASK_FOREGROUND, &join));
	join_wait(self, &join);
	assert_int_equal(run->applied, THINKERS * THOUGHTS);
	run->groups = wal_counters(run->wal)->groups;
	assert_ok(wal_close(self, run->wal));
}

/* Else those who come back during a sync and those who wait for it would take turns for ever: half of them in
 * each group. */
static void who_comes_back_soon_shares_a_sync(void **state)
{
	(void)state;
	uint64_t groups = 0;
	for (uint64_t i = 0; i < SEEDS; i++) {
		static struct run run;
		run = (struct run) { .seed = test_seed(SEED) + i };
		run.random = random_stream(run.seed);
		run.options = (struct wal_options) {
			.directory = "/wal",
			.database_id = { 7, 8 },
			.segment_bytes = 1 << 20,
			.segments_max = 4,
			.group_bytes = 64 << 10,
			.wait_ns_max = 2000000000,
			.next_sequence = next_sequence,
			.apply = count_one,
			.context = &run,
		};
		run.world = simulated_create(&(struct simulated_options) { .seed = run.seed });
		simulated_make_path(run.world, "/wal");
		start(&run, run.world);
		runtime_run(run.runtime, 0, run_thinkers, &run);
		stop(&run);
		simulated_destroy(run.world);
		groups += run.groups;
	}
	print_message("%.2f commits a group\n", (double)(SEEDS * THINKERS * THOUGHTS) / (double)groups);
	assert_true(groups <= SEEDS * THINKERS * THOUGHTS / (THINKERS * 3 / 4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_comes_back_soon_shares_a_sync),
		cmocka_unit_test(power_survives_a_loss_of_power),
		cmocka_unit_test(process_survives_a_kill),
		cmocka_unit_test(process_does_not_survive_a_loss_of_power),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
