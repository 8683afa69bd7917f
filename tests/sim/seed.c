/*
 * seed.c: a run is a row of rounds. In a round clients work side by side, at most one thing goes wrong beside
 * what always does, and images of the disk are taken. After it what had to be true meanwhile is checked, then
 * the images; and then the run goes on: as it is, with the database closed and opened, or in the place of one
 * of the images, as after a crash.
 */
#include "sim/seed.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "sim/check.h"
#include "sim/caller.h"
#include "sim/closing.h"
#include "sim/failure.h"
#include "sim/recovery.h"

enum {
	SECOND_NS = 1000 * 1000 * 1000,
	RESUME_SECONDS = 60, /* how long writes may take to be possible again */
};

struct run {
	struct plan plan;
	struct tally *tally;
	struct model model;
	struct machine *machine;
	struct camera camera;
	struct closing closing;
	struct random random;
	uint64_t images; /* numbered so far */
	uint64_t weight; /* of all events of a round, for the camera: of the last one */
	uint64_t trace;
	/* Of the round. */
	uint32_t round;
	enum sim_fault fault; /* SIM_FAULT_COUNT: none */
	uint64_t fired;
	bool failed; /* a shard takes no more writes */
	bool over;
	struct client *clients;
	uint32_t found[MODEL_KEYS_MAX];
};

/* --- what may be heard --- */

#define STATUS(name) (1u << CASCADE_##name)

static struct allowed allowed_with(enum sim_fault fault)
{
	const uint32_t trouble = STATUS(IO) | STATUS(READ_ONLY) | STATUS(BUSY);
	switch (fault) {
	case SIM_FAULT_COUNT:
		return (struct allowed) { 0 };
	case SIM_READ_ERROR:
	case SIM_CANCELED:
	case SIM_NAME_ERROR:
		return (struct allowed) { .reads = STATUS(IO), .writes = trouble };
	case SIM_FULL_DISK:
	case SIM_FULL_WRITES:
		return (struct allowed) { .writes = trouble | STATUS(NO_SPACE) };
	case SIM_SYNC_CLEAN_OLD:
		/* Of the log, by a verification: of what nobody has to read again before the next open. */
		return (struct allowed) { .writes = trouble | STATUS(CORRUPT) };
	case SIM_FLIP:
	case SIM_ZERO:
	case SIM_MISDIRECT:
	case SIM_LOSE:
		return (struct allowed) { .reads = STATUS(CORRUPT), .writes = trouble | STATUS(CORRUPT) };
	default:
		return (struct allowed) { .writes = trouble };
	}
}

static bool is_damage(enum sim_fault fault)
{
	return fault == SIM_MISDIRECT || fault == SIM_LOSE;
}

/* What the fault did may be seen until the database is opened again: wrong pages in the cache, or right ones
 * that a failed sync has taken out of the kernel's. */
static bool is_seen_until_reopened(enum sim_fault fault)
{
	return fault == SIM_FLIP || fault == SIM_ZERO || fault == SIM_SYNC_CLEAN_OLD;
}

/* --- a round --- */

/* One of the seed's faults, or none: every fourth round is without, and the first one mostly. */
static enum sim_fault draw_fault(struct run *run)
{
	enum sim_fault possible[SIM_FAULT_COUNT];
	unsigned count = 0;
	for (unsigned fault = SIM_QUIET_COUNT; fault < SIM_FAULT_COUNT; fault++)
		if ((run->plan.faults & 1u << fault) != 0)
			possible[count++] = (enum sim_fault)fault;
	uint64_t which = random_next(&run->random);
	uint64_t whether = random_below(&run->random, 4);
	if (count == 0 || (run->round == 0 ? whether != 0 : whether == 0))
		return SIM_FAULT_COUNT;
	return possible[which % count];
}

static void begin_fault(struct run *run)
{
	run->fault = draw_fault(run);
	run->fired = 0;
	run->failed = false;
	uint64_t seed = random_next(&run->random);
	if (run->fault == SIM_FAULT_COUNT)
		return;
	machine_fault(run->machine, run->fault, seed);
	if (run->fault == SIM_SYNC_LATE && run->model.lied == 0)
		run->model.lied = model_moment(&run->model);
	run->model.broken |= is_damage(run->fault);
}

static void work(struct run *run)
{
	uint64_t seed = random_next(&run->random);
	uint32_t share = run->plan.operations / run->plan.rounds / run->plan.clients;
	struct allowed allowed = allowed_with(run->fault);
	for (uint32_t i = 0; i < run->plan.clients; i++) {
		client_init(&run->clients[i], i, run->machine, &run->model, seed);
		run->clients[i].operations = share > 0 ? share : 1;
		run->clients[i].allowed = allowed;
	}
	sim_failure_where("round %u, with %s", run->round,
			  run->fault == SIM_FAULT_COUNT ? "no error" : sim_fault_name(run->fault));
	stepped_run_clients(run->machine->stepped, "client", client_run, run->clients, sizeof(struct client),
			    run->plan.clients);
}

/* --- what must be true after it --- */

/* Any key of the shard. */
static bool key_of_shard(const struct model *model, uint32_t shard, uint32_t *key)
{
	for (*key = 0; *key < model->key_count; (*key)++)
		if (model->keys[*key].shard == shard)
			return true;
	return false;
}

/* A shard that failed stays so: no write after the first refusal is ever taken, until it is opened again. */
static void check_fail_stop(struct run *run, uint32_t key)
{
	for (unsigned i = 0; i < 3; i++) {
		cascade_sleep(run->machine->db, SECOND_NS);
		cascade_status status = client_put(run->machine, &run->model, key, run->plan.level);
		if (status == CASCADE_OK)
			sim_fail("shard %u took a write after it had said that it would take none",
				 run->model.keys[key].shard);
	}
	run->tally->events[TALLY_SHARD_FAILED]++;
	run->failed = true;
}

/* Writes resume when nothing is wrong any more, unless the shard failed for good. */
static void check_writes(struct run *run, uint32_t shard)
{
	uint32_t key;
	if (!key_of_shard(&run->model, shard, &key))
		return;
	cascade_status status = CASCADE_OK;
	for (unsigned i = 0; i < RESUME_SECONDS; i++) {
		status = client_put(run->machine, &run->model, key, run->plan.level);
		if (status == CASCADE_OK)
			return;
		if (run->fired == 0)
			break;
		if (status == CASCADE_READ_ONLY) {
			check_fail_stop(run, key);
			return;
		}
		cascade_sleep(run->machine->db, SECOND_NS);
	}
	/* Damage stays: a merge that cannot read its input holds up the writers behind it. */
	if (run->model.broken || is_seen_until_reopened(run->fault))
		return;
	sim_fail("shard %u still takes no writes after %s is over, which happened %llu times: %s (%s)", shard,
		 run->fault == SIM_FAULT_COUNT ? "nothing" : sim_fault_name(run->fault),
		 (unsigned long long)run->fired, cascade_strerror(status), cascade_error_message());
}

/* Everything that was acknowledged can be read, and nothing else. */
static void check_reads(struct run *run, bool thorough)
{
	uint64_t moment = model_moment(&run->model);
	struct model_question question = { .promise = MODEL_ACKNOWLEDGED,
					   .promised_until = moment,
					   .issued_until = moment };
	bool broken = run->model.broken;
	run->model.broken |= run->fault == SIM_FLIP || run->fault == SIM_ZERO;
	check_database(run->machine, &run->model, &question, thorough, run->found);
	run->model.broken = broken;
}

static void check_after(struct run *run)
{
	sim_failure_where("after round %u, with %s", run->round,
			  run->fault == SIM_FAULT_COUNT ? "no error" : sim_fault_name(run->fault));
	run->fired = machine_heal(run->machine);
	run->model.dropped |= run->fault == SIM_SYNC_CLEAN_OLD && run->fired > 0;
	if (is_damage(run->fault) && run->fired == 0)
		run->model.broken = false;
	/* Background work that failed tries again within a second. */
	if (run->fault != SIM_FAULT_COUNT)
		cascade_sleep(run->machine->db, 3ull * SECOND_NS);
	for (uint32_t shard = 0; shard < run->model.shards; shard++)
		check_writes(run, shard);
	check_reads(run, run->fault == SIM_FAULT_COUNT);
}

/* --- going on --- */

/* In the place of the image, as if that crash had ended the run. */
static void adopt(struct run *run, struct image *image)
{
	struct machine *old = run->machine;
	struct machine *next =
		recovery_check(&run->plan, run->tally, &run->model, image, true, old, &run->trace);
	machine_enter(old);
	(void)machine_close(old);
	run->trace = random_mix(run->trace ^ machine_destroy(old));
	run->machine = next;
	machine_enter(next);
	run->tally->events[TALLY_ADOPTED]++;
}

static bool is_wanted(const struct run *run, const struct image *image)
{
	return run->plan.limits.images_only == 0 || run->plan.limits.images_only == image->number;
}

static void check_images_of(struct run *run, struct camera *camera)
{
	for (uint32_t i = 0; i < camera->count; i++)
		if (camera->images[i].disk != NULL && is_wanted(run, &camera->images[i]))
			(void)recovery_check(&run->plan, run->tally, &run->model, &camera->images[i], false,
					     run->machine, &run->trace);
}

/* What was acknowledged at a level that outlives the process is there after a close, however it ended. */
static void reopen(struct run *run)
{
	struct closing *closing = &run->closing;
	bool whole = !run->failed && !run->model.broken && !run->model.dropped && run->model.lied == 0 &&
		     !is_seen_until_reopened(run->fault);
	sim_failure_where("closed and opened after round %u", run->round);
	closing_begin(closing, &run->plan, run->machine, &run->model, random_next(&run->random), whole,
		      &run->images);
	enum model_promise promise = MODEL_ACKNOWLEDGED;
	cascade_status status = machine_close(run->machine);
	if (status != CASCADE_OK && whole && !closing->unflushed)
		sim_fail("close: %s (%s)", cascade_strerror(status), cascade_error_message());
	/* What could not be written at close is as after a kill; but the log is closed if it is sound. */
	if ((status != CASCADE_OK && !closing->unflushed) || run->failed)
		promise = MODEL_PROCESS;
	closing_end(closing, status, &run->trace);
	sim_failure_where("closed%s and opened after round %u", closing->unflushed ? " unflushed" : "",
			  run->round);
	status = machine_open_late(run->machine, run->model.lied != 0);
	if (status != CASCADE_OK)
		sim_fail("open after close: %s (%s)", cascade_strerror(status), cascade_error_message());
	check_images_of(run, &closing->camera);
	camera_free(&closing->camera);
	sim_failure_where("closed%s and opened after round %u", closing->unflushed ? " unflushed" : "",
			  run->round);
	uint64_t moment = model_moment(&run->model);
	struct model_question question = { .promise = promise,
					   .promised_until = moment,
					   .issued_until = moment };
	check_database(run->machine, &run->model, &question, true, run->found);
	model_rebase(&run->model, run->found);
}

static void go_on(struct run *run)
{
	uint64_t draw = random_below(&run->random, 4);
	uint64_t which = random_next(&run->random);
	struct camera *camera = &run->camera;
	bool last = run->round + 1 == run->plan.rounds;
	/* Nothing can be promised any more on a disk that has lied, or lost something. */
	if (run->model.broken || run->model.lied != 0) {
		if (!run->model.broken)
			reopen(run);
		run->over = true;
		return;
	}
	if (draw < 2 && camera->count > 0 && !last) {
		struct image *image = &camera->images[which % camera->count];
		if (image->disk != NULL) {
			adopt(run, image);
			return;
		}
	}
	if (draw == 2 || last || run->failed || is_seen_until_reopened(run->fault))
		reopen(run);
}

/* The one that the run may go on with stays for later. */
static void check_images(struct run *run)
{
	struct camera *camera = &run->camera;
	uint32_t kept = (uint32_t)random_below(&run->random, camera->count + 1);
	struct image later = { 0 };
	if (kept < camera->count) {
		later = camera->images[kept];
		camera->images[kept].disk = NULL;
	}
	check_images_of(run, camera);
	if (kept < camera->count)
		camera->images[kept] = later;
}

static void do_round(struct run *run)
{
	uint64_t seed = random_next(&run->random);
	camera_start(&run->camera, run->machine, &run->model, seed, run->plan.images, &run->images);
	camera_expect(&run->camera, run->weight);
	camera_want(&run->camera, ROLL_NAMES, run->plan.images_of_names);
	begin_fault(run);
	if (run->fault != SIM_FAULT_COUNT)
		camera_want(&run->camera, ROLL_FAULT, run->plan.images_after_fault);
	work(run);
	if (run->plan.image_at_end)
		camera_take_worst(&run->camera);
	camera_stop(&run->camera);
	run->weight = run->camera.rolls[ROLL_ANY].weight;
	check_after(run);
	check_images(run);
	go_on(run);
	camera_free(&run->camera);
}

/* The first images show a database that is still being made. */
static void begin(struct run *run, uint64_t seed)
{
	struct camera *camera = &run->camera;
	run->machine = machine_create(&run->plan, run->tally, NULL, random_mix(seed));
	uint64_t wanted = run->plan.images > 0 ? random_at(seed, 1) % 2 : 0;
	camera_start(camera, run->machine, &run->model, random_mix(seed + 1), (uint32_t)wanted, &run->images);
	camera_want(camera, ROLL_NAMES, run->plan.images > 0 && wanted == 0);
	camera->creating = true;
	sim_failure_where("creation");
	cascade_status status = machine_open(run->machine);
	if (status != CASCADE_OK)
		sim_fail("create: %s (%s)", cascade_strerror(status), cascade_error_message());
	camera_stop(camera);
	model_assign_shards(&run->model, run->machine->db);
	check_images_of(run, camera);
	camera_free(camera);
}

uint64_t run_seed(uint64_t seed, const struct plan_limits *limits, struct tally *tally)
{
	struct run *run = calloc(1, sizeof(*run));
	if (run == NULL)
		abort();
	plan_draw(&run->plan, seed, limits);
	run->tally = tally;
	run->random = random_stream(random_mix(run->plan.seed + 7));
	run->clients = calloc(run->plan.clients, sizeof(*run->clients));
	if (run->clients == NULL)
		abort();
	model_init(&run->model, run->plan.seed, run->plan.clients, run->plan.keys, run->plan.value_bytes_max);
	begin(run, run->plan.seed);
	for (; run->round < run->plan.rounds && !run->over; run->round++)
		do_round(run);
	if (run->machine->db != NULL)
		(void)machine_close(run->machine);
	run->trace = random_mix(run->trace ^ machine_destroy(run->machine));
	uint64_t trace = run->trace;
	model_free(&run->model);
	free(run->clients);
	free(run);
	tally->seeds++;
	return trace;
}
