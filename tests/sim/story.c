#include "sim/story.h"

#include "base/memory.h"
#include "sim/failure.h"

/* --- setups --- */

static const char *const history_names[SWEEP_HISTORY_COUNT] = {
	[SWEEP_CREATE_POWER] = "create-power",
	[SWEEP_CREATE_PROCESS] = "create-process",
	[SWEEP_RECOVER_POWER] = "recover-power",
	[SWEEP_RECOVER_PROCESS] = "recover-process",
};

const char *sweep_history_name(enum sweep_history history)
{
	return history_names[history];
}

bool story_is_recovery(enum sweep_history history)
{
	return history == SWEEP_RECOVER_POWER || history == SWEEP_RECOVER_PROCESS;
}

bool story_is_power(enum sweep_history history)
{
	return history == SWEEP_CREATE_POWER || history == SWEEP_RECOVER_POWER;
}

static struct plan make_plan(enum sweep_history history)
{
	struct plan plan = { .seed = STORY_SEED,
			     .clients = STORY_CLIENTS,
			     .keys = STORY_KEYS,
			     .value_bytes_max = STORY_VALUE_BYTES_MAX,
			     .shards = 2,
			     .memtable = "btree",
			     .filter = "cacheline",
			     .cache = "s3fifo",
			     .codec = "none",
			     .record_share = "0.125",
			     .wal = "buffered",
			     .durability = "process",
			     .level = CASCADE_DURABILITY_PROCESS,
			     .memtable_bytes = 32 << 10,
			     .cache_bytes = 256 << 10,
			     .segment_bytes = 16 << 10,
			     .table_bytes = 16 << 10,
			     .block_bytes = 2048,
			     .level0_tables = 2,
			     .size_ratio = 4,
			     .merges = 1,
			     .direct = true,
			     .unit_bytes = 512,
			     .policy = STEPPED_FIFO,
			     .write_timeout_ns = STORY_SECOND_NS / 2 };
	if (story_is_power(history)) {
		plan.shards = 1;
		plan.memtable = "skiplist";
		plan.filter = "block";
		plan.cache = "lru";
		plan.codec = "lz4";
		plan.wal = "direct";
		plan.durability = "power";
		plan.level = CASCADE_DURABILITY_POWER;
		plan.policy = STEPPED_RANDOM;
	}
	return plan;
}

void story_where(const struct story *story, const char *what)
{
	sim_failure_where("%s %s %llu%s: %s", sweep_history_name(story->it->history), story->it->fault->name,
			  (unsigned long long)story->it->n, story->it->lasting ? " lasting" : "", what);
}

void story_init(struct story *story, const struct sweep_case *it, struct sweep_outcome *outcome)
{
	*outcome = (struct sweep_outcome) { 0 };
	*story = (struct story) { .it = it, .outcome = outcome, .plan = make_plan(it->history) };
	story->options = plan_options(&story->plan);
	story_where(story, "the work");
}

void story_free(struct story *story)
{
	cascade_options_destroy(story->options);
	model_free(&story->model);
}

/* --- the fault --- */

uint64_t story_fired(const struct story *story)
{
	if (!story->armed)
		return story->fired;
	if (story->it->fault->of_memory)
		return memory_failures_fired();
	return faulty_fired(story->machine->faults, story->rule);
}

void story_arm(struct story *story)
{
	const struct sweep_case *it = story->it;
	struct faulty_rule rule = it->fault->rule;
	rule.nth = it->n;
	rule.times = it->lasting ? UINT64_MAX : 1;
	if (it->fault->of_memory)
		memory_fail_at(it->n, it->lasting);
	else
		story->rule = faulty_add(story->machine->faults, &rule);
	if (story_has(story, SWEEP_LATE))
		story->model.lied = model_moment(&story->model);
	story->model.broken = story_has(story, SWEEP_DAMAGES);
	story->armed = true;
}

void story_disarm(struct story *story)
{
	struct faulty *faults = story->machine->faults;
	bool of_memory = story->it->fault->of_memory;
	story->fired = story_fired(story);
	story->armed = false;
	story->outcome->fired = story->fired;
	story->outcome->met = of_memory ? memory_allocations_passed() : faulty_met(faults, story->rule);
	if (of_memory)
		memory_fail_at(0, 0);
	else
		faulty_remove(faults, story->rule);
	if (story->fired == 0) {
		story->model.lied = 0;
		story->model.broken = false;
	}
	story->model.dropped = story_has(story, SWEEP_DROPS) && story->fired > 0;
	story->machine->had_errors = story->fired > 0;
}

/* Whether what was heard can be explained. */
void story_hear(struct story *story, const char *what, cascade_status status, uint32_t allowed)
{
	story->outcome->heard |= 1u << (unsigned)status;
	if (status == CASCADE_OK)
		return;
	if (story_fired(story) == 0)
		sim_fail("%s: %s (%s), before anything went wrong", what, cascade_strerror(status),
			 cascade_error_message());
	if (!is_allowed(allowed, status))
		sim_fail("%s: %s (%s), which %s does not explain", what, cascade_strerror(status),
			 cascade_error_message(), story->it->fault->name);
}

/* --- files that are open --- */

static void see_event(void *context, const struct simulated_event *event)
{
	struct seen *seen = context;
	if (event->stage != SIMULATED_COMPLETED)
		return;
	if (event->result >= 0) {
		seen->files += event->operation == IO_OPEN;
		seen->files -= event->operation == IO_CLOSE;
		seen->directories_pending |= event->operation == IO_MAKE_DIRECTORY;
	}
	if (event->operation == IO_SYNC_DIRECTORY) {
		seen->directories_lost |= event->result < 0 && seen->directories_pending;
		seen->directories_pending &= event->result < 0;
	}
}

struct machine *story_machine(struct story *story, struct simulated_world *disk, uint64_t seed,
			      struct seen *seen)
{
	*seen = (struct seen) { 0 };
	struct machine *machine = machine_create(&story->plan, &story->tally, disk, seed);
	simulated_observe(machine->disk, see_event, seen);
	return machine;
}

/* --- open and close --- */

/* Tries again, as people do: what happened once is over then. */
bool story_open(struct story *story)
{
	for (unsigned tries = 0; tries < STORY_OPEN_TRIES; tries++) {
		uint64_t before = story_fired(story);
		cascade_status status = cascade_open(MACHINE_PATH, story->options, &story->machine->db);
		if (status == CASCADE_OK) {
			model_assign_shards(&story->model, story->machine->db);
			story->opened = true;
			return true;
		}
		story->machine->db = NULL;
		story_hear(story, "open", status, story->it->fault->changes);
		if (story->seen.files != 0)
			sim_fail("an open that failed left %lld files open", (long long)story->seen.files);
		if (story_fired(story) == before && !story_has(story, SWEEP_LATE) && !story->model.broken)
			sim_fail("open: %s (%s), again, though %s is over", cascade_strerror(status),
				 cascade_error_message(), story->it->fault->name);
	}
	return false;
}

cascade_status story_close(struct story *story)
{
	cascade_status status = cascade_close(story->machine->db);
	if (status == CASCADE_BUSY)
		sim_fail("close: %s", cascade_error_message());
	story->machine->db = NULL;
	if (story->seen.files != 0)
		sim_fail("a close left %lld files open", (long long)story->seen.files);
	return status;
}
