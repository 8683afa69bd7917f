/*
 * sweep_history.c: the histories of a sweep, and what must be true after each. The faults are there from the
 * first request of the history to the end of its work, and in every second run to the end of its close.
 */
#include <stdlib.h>

#include "base/random.h"
#include "sim/check.h"
#include "sim/failure.h"
#include "sim/story.h"

enum { RESUME_SECONDS = 60 };

/* --- what must be true afterwards --- */

static void check_image(struct story *story, enum simulated_crash_kind kind, enum simulated_keep keep)
{
	bool power = kind == SIMULATED_POWER;
	uint64_t seed = random_mix(story->it->n * 2 + power);
	struct simulated_crash crash = { .kind = kind, .keep = keep, .seed = seed };
	uint64_t moment = model_moment(&story->model);
	struct seen seen;
	struct machine *machine =
		story_machine(story, simulated_crash(story->machine->disk, &crash), seed, &seen);
	sim_failure_where("%s %s %llu%s: %s afterwards", sweep_history_name(story->it->history),
			  story->it->fault->name, (unsigned long long)story->it->n,
			  story->it->lasting ? " lasting" : "", power ? "loss of power" : "kill");
	cascade_status status = machine_open_late(machine, story_has(story, SWEEP_LATE));
	if (status != CASCADE_OK && !(story->model.broken && status == CASCADE_CORRUPT))
		sim_fail("the image does not open: %s (%s)", cascade_strerror(status),
			 cascade_error_message());
	if (status == CASCADE_OK) {
		struct model_question question = { .promise = power ? MODEL_POWER : MODEL_PROCESS,
						   .promised_until = moment,
						   .issued_until = moment };
		check_database(machine, &story->model, &question, true, story->found);
		(void)machine_close(machine);
		SIM_CHECK(seen.files == 0);
	}
	(void)machine_destroy(machine);
	machine_enter(story->machine);
}

static void check_images(struct story *story)
{
	static const enum simulated_keep keeps[] = { SIMULATED_KEEP_NONE, SIMULATED_KEEP_DRAWN,
						     SIMULATED_KEEP_SOME };
	check_image(story, SIMULATED_PROCESS, SIMULATED_KEEP_DRAWN);
	/* A device that has lied keeps no promise when it loses power; what a kill has left behind is made
	 * durable by an open; and a directory that a failed sync gave up cannot be made once more. */
	bool promised = story->opened || !story_is_recovery(story->it->history);
	if (story->model.lied == 0 && promised && !story->seen.directories_lost)
		check_image(story, SIMULATED_POWER, keeps[story->it->n % 3]);
}

/* A shard that refuses writes for good refuses them all. */
static void check_stopped(struct story *story, uint32_t key, cascade_status status)
{
	if (!story_has(story, SWEEP_STOPS))
		sim_fail("shard %u takes no more writes: %s (%s)", story->model.keys[key].shard,
			 cascade_strerror(status), cascade_error_message());
	for (unsigned i = 0; i < 2; i++) {
		cascade_sleep(story->machine->db, STORY_SECOND_NS);
		if (client_put(story->machine, &story->model, key, story->plan.level) == CASCADE_OK)
			sim_fail("shard %u took a write after it had said that it would take none",
				 story->model.keys[key].shard);
	}
	story->outcome->stopped++;
}

static uint32_t key_of_shard(const struct model *model, uint32_t shard)
{
	uint32_t key = 0;
	while (key < model->key_count && model->keys[key].shard != shard)
		key++;
	SIM_CHECK(key < model->key_count);
	return key;
}

static void check_writes(struct story *story, uint32_t shard)
{
	uint32_t key = key_of_shard(&story->model, shard);
	cascade_status status = CASCADE_OK;
	for (unsigned i = 0; i < RESUME_SECONDS; i++) {
		status = client_put(story->machine, &story->model, key, story->plan.level);
		if (status == CASCADE_OK)
			return;
		if (story->fired == 0)
			break;
		if (status == CASCADE_READ_ONLY || status == CASCADE_NO_MEMORY) {
			check_stopped(story, key, status);
			return;
		}
		cascade_sleep(story->machine->db, STORY_SECOND_NS);
	}
	/* Damage stays: a merge that cannot read its input holds up the writers behind it. */
	if (!story->model.broken && !story_has(story, SWEEP_LINGERS))
		sim_fail("shard %u still takes no writes: %s (%s)", shard, cascade_strerror(status),
			 cascade_error_message());
}

/* A shard that had no memory for a part of a batch serves no reads either: they would show the other part. */
static bool is_torn(struct story *story)
{
	bool torn = false;
	for (uint32_t key = 0; key < STORY_KEYS && story->it->fault->of_memory; key++) {
		uint32_t found;
		cascade_status status = client_get(story->machine, &story->model, key, NULL, &found);
		torn |= status == CASCADE_NO_MEMORY;
	}
	if (torn && story->outcome->stopped == 0)
		sim_fail("reads still say that memory ran out");
	story->outcome->torn += torn;
	return torn;
}

/* The database is still open, and nothing is wrong any more. */
static void check_alive(struct story *story)
{
	story_where(story, "while it is still open");
	if (story->fired > 0)
		cascade_sleep(story->machine->db, 3ull * STORY_SECOND_NS);
	for (uint32_t shard = 0; shard < story->model.shards; shard++)
		check_writes(story, shard);
	uint64_t moment = model_moment(&story->model);
	struct model_question question = { .promise = MODEL_ACKNOWLEDGED,
					   .promised_until = moment,
					   .issued_until = moment };
	bool lingers = story_has(story, SWEEP_LINGERS) && story->fired > 0;
	bool broken = story->model.broken;
	story->model.broken |= lingers;
	if (!is_torn(story))
		check_database(story->machine, &story->model, &question,
			       story->outcome->stopped == 0 && !story->model.dropped, story->found);
	story->model.broken = broken;
	cascade_status status = story_close(story);
	bool expected = story->outcome->stopped > 0 || broken || lingers || story->model.dropped ||
			(story_has(story, SWEEP_LATE) && story->fired > 0);
	if (status != CASCADE_OK && !expected)
		sim_fail("close: %s (%s)", cascade_strerror(status), cascade_error_message());
	story_hear(story, "close", status, story->it->fault->changes);
}

/* Whether every shard takes a write. One may hear only now that a sync had lied. */
static bool takes_writes(struct story *story)
{
	for (uint32_t shard = 0; shard < story->model.shards && !story->model.broken; shard++) {
		uint32_t key = key_of_shard(&story->model, shard);
		cascade_status status = client_put(story->machine, &story->model, key, story->plan.level);
		if (status != CASCADE_OK && story_has(story, SWEEP_LATE))
			return false;
		SIM_CHECK_OK(status);
	}
	return true;
}

/* Opened when nothing is wrong, it is whole, has what was promised and takes writes. */
static bool is_whole(struct story *story, enum model_promise promise)
{
	bool late = story_has(story, SWEEP_LATE);
	cascade_status status = machine_open_late(story->machine, late);
	if (status == CASCADE_CORRUPT && story->model.broken)
		return true;
	if (status != CASCADE_OK)
		sim_fail("open: %s (%s)", cascade_strerror(status), cascade_error_message());
	model_assign_shards(&story->model, story->machine->db);
	uint64_t moment = model_moment(&story->model);
	struct model_question question = { .promise = promise,
					   .promised_until = moment,
					   .issued_until = moment };
	check_database(story->machine, &story->model, &question, true, story->found);
	bool takes = takes_writes(story);
	status = story_close(story);
	if (status != CASCADE_OK && !story->model.broken && !late)
		sim_fail("close: %s (%s)", cascade_strerror(status), cascade_error_message());
	return takes && (status == CASCADE_OK || !late);
}

static void check_reopened(struct story *story, enum model_promise promise)
{
	story_where(story, "opened again");
	for (unsigned tries = 0; !is_whole(story, promise); tries++) {
		if (tries == STORY_OPEN_TRIES)
			sim_fail("it still takes no writes");
		promise = MODEL_PROCESS;
	}
}

/* --- one case --- */

/* What a kill in the middle of each history leaves, to begin the recoveries with. */
struct beginning {
	struct simulated_world *disk;
	struct model model;
};

static struct beginning beginnings[2];

/* The history up to its close; the close too if it is to meet the fault. Returns what holds afterwards. */
static enum model_promise run_history(struct story *story)
{
	bool recovery = story_is_recovery(story->it->history);
	story_make_stacks(story->machine);
	story_arm(story);
	if (!story_open(story))
		return MODEL_PROCESS;
	if (recovery)
		story_work_after_recovery(story);
	else
		story_work_after_creation(story);
	story_note_stats(story);
	if (story_fired(story) > 0 && (!story->it->lasting || story->it->n % 2 == 0))
		return MODEL_ACKNOWLEDGED;
	cascade_status status = story_close(story);
	story_hear(story, "close", status, story->it->fault->changes);
	if (recovery && story_open(story)) {
		story_scan(story, false);
		status = story_close(story);
		story_hear(story, "close", status, story->it->fault->changes);
	}
	/* What was refused may be in the log of a shard that took no more. */
	return story_fired(story) > 0 ? MODEL_PROCESS : MODEL_ACKNOWLEDGED;
}

static const struct sweep_fault nothing = { .name = "nothing", .of_memory = true };

/* Runs the creation without a fault and keeps what a kill at its end leaves. */
static void make_beginning(struct beginning *beginning, enum sweep_history creation)
{
	struct sweep_case it = { .history = creation, .fault = &nothing, .n = UINT64_MAX };
	struct sweep_outcome outcome;
	struct story *story = malloc(sizeof(*story));
	SIM_CHECK(story != NULL);
	story_init(story, &it, &outcome);
	model_init(&story->model, STORY_SEED, STORY_CLIENTS, STORY_KEYS, STORY_VALUE_BYTES_MAX);
	story->machine = story_machine(story, NULL, STORY_SEED, &story->seen);
	story_arm(story);
	SIM_CHECK(story_open(story));
	story_work_after_creation(story);
	story_disarm(story);
	struct simulated_crash crash = { .kind = SIMULATED_PROCESS,
					 .keep = SIMULATED_KEEP_ALL,
					 .seed = STORY_SEED };
	beginning->disk = simulated_crash(story->machine->disk, &crash);
	story_scan(story, false);
	SIM_CHECK_OK(story_close(story));
	(void)machine_destroy(story->machine);
	model_rebase(&story->model, story->found);
	beginning->model = story->model;
	beginning->model.ops = NULL;
	beginning->model.writes = NULL;
	beginning->model.op_capacity = 0;
	beginning->model.write_capacity = 0;
	story_free(story);
	free(story);
}

static void begin(struct story *story)
{
	enum sweep_history history = story->it->history;
	struct simulated_world *disk = NULL;
	if (story_is_recovery(history)) {
		bool power = story_is_power(history);
		struct beginning *beginning = &beginnings[power];
		struct simulated_crash crash = { .kind = SIMULATED_PROCESS,
						 .keep = SIMULATED_KEEP_ALL,
						 .seed = STORY_SEED };
		if (beginning->disk == NULL)
			make_beginning(beginning, power ? SWEEP_CREATE_POWER : SWEEP_CREATE_PROCESS);
		disk = simulated_crash(beginning->disk, &crash);
		/* Else what a failed sync drops would be what was acknowledged without one. */
		if (story_has(story, SWEEP_DROPS))
			simulated_settle(disk);
		story->model = beginning->model;
	} else {
		model_init(&story->model, STORY_SEED, STORY_CLIENTS, STORY_KEYS, STORY_VALUE_BYTES_MAX);
	}
	story->machine = story_machine(story, disk, STORY_SEED, &story->seen);
}

void sweep_run_case(const struct sweep_case *it, struct sweep_outcome *outcome)
{
	struct story *story = malloc(sizeof(*story));
	SIM_CHECK(story != NULL);
	story_init(story, it, outcome);
	begin(story);
	enum model_promise promise = run_history(story);
	story_disarm(story);
	check_images(story);
	if (story->machine->db != NULL)
		check_alive(story);
	if (outcome->stopped > 0 || story->model.dropped || story->model.broken ||
	    story_has(story, SWEEP_LINGERS) || story_has(story, SWEEP_LATE))
		promise = MODEL_PROCESS;
	check_reopened(story, promise);
	outcome->trace = machine_destroy(story->machine);
	story_free(story);
	free(story);
}

void sweep_count(enum sweep_history history, uint64_t *counts)
{
	struct sweep_outcome outcome;
	for (unsigned first = 0; first < sweep_fault_count(); first += FAULTY_RULES_MAX / 2) {
		struct sweep_case it = { .history = history, .fault = &nothing, .n = UINT64_MAX };
		struct story *story = malloc(sizeof(*story));
		unsigned rules[FAULTY_RULES_MAX / 2];
		unsigned end = first + FAULTY_RULES_MAX / 2;
		SIM_CHECK(story != NULL);
		story_init(story, &it, &outcome);
		begin(story);
		for (unsigned i = first; i < end && i < sweep_fault_count(); i++) {
			struct faulty_rule rule = sweep_faults[i].rule;
			rule.nth = UINT64_MAX;
			rules[i - first] = faulty_add(story->machine->faults, &rule);
		}
		SIM_CHECK(run_history(story) == MODEL_ACKNOWLEDGED);
		story_disarm(story);
		for (unsigned i = first; i < end && i < sweep_fault_count(); i++)
			counts[i] = sweep_faults[i].of_memory
					    ? outcome.met
					    : faulty_met(story->machine->faults, rules[i - first]);
		check_reopened(story, MODEL_ACKNOWLEDGED);
		(void)machine_destroy(story->machine);
		story_free(story);
		free(story);
	}
}
