#include "sim/recovery.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "sim/check.h"
#include "sim/failure.h"

/* --- images --- */

static uint64_t event_weight(const struct simulated_event *event)
{
	switch (event->operation) {
	case IO_RENAME:
	case IO_UNLINK:
	case IO_SYNC_DIRECTORY:
	case IO_OPEN:
	case IO_ALLOCATE:
		return 12;
	case IO_SYNC:
		return 4;
	case IO_READ:
		return 0;
	default:
		return strstr(event->path, "manifest") != NULL ? 12 : 2;
	}
}

static struct image take_image(struct camera *camera)
{
	const struct plan *plan = camera->machine->plan;
	uint64_t seed = random_next(&camera->random);
	struct image image = { .kind = random_below(&camera->random, 5) < 3 ? SIMULATED_POWER
									    : SIMULATED_PROCESS,
			       .moment = model_moment(camera->model),
			       .seed = seed,
			       .creating = camera->creating };
	struct simulated_crash crash = { .kind = image.kind,
					 .seed = seed,
					 .ordered = plan->ordered,
					 /* Atomic units are what the log asks for: no garbage in them. */
					 .garbage = false };
	image.disk = simulated_crash(camera->machine->disk, &crash);
	return image;
}

static void see_event(void *context, const struct simulated_event *event)
{
	struct camera *camera = context;
	uint64_t weight = event_weight(event);
	camera->events++;
	camera->weight += weight;
	if (camera->wanted == 0 || weight == 0)
		return;
	if (random_below(&camera->random, camera->weight) >= weight * camera->wanted)
		return;
	uint32_t at = camera->count;
	if (camera->count < camera->wanted) {
		camera->count++;
	} else {
		at = (uint32_t)random_below(&camera->random, camera->count);
		simulated_destroy(camera->images[at].disk);
	}
	camera->images[at] = take_image(camera);
}

void camera_start(struct camera *camera, struct machine *machine, struct model *model, uint64_t seed,
		  uint32_t wanted, uint64_t *numbers)
{
	SIM_CHECK(wanted <= IMAGES_MAX);
	memset(camera, 0, sizeof(*camera));
	camera->machine = machine;
	camera->model = model;
	camera->random = random_stream(seed);
	camera->wanted = wanted;
	camera->numbers = numbers;
	simulated_observe(machine->disk, see_event, camera);
}

void camera_stop(struct camera *camera)
{
	simulated_observe(camera->machine->disk, NULL, NULL);
	camera->machine->tally->events_of_io += camera->events;
	for (uint32_t i = 0; i < camera->count; i++)
		camera->images[i].number = ++*camera->numbers;
}

void camera_free(struct camera *camera)
{
	for (uint32_t i = 0; i < camera->count; i++)
		if (camera->images[i].disk != NULL)
			simulated_destroy(camera->images[i].disk);
	camera->count = 0;
}

/* --- opening one --- */

struct recovery {
	const struct plan *plan;
	struct tally *tally;
	struct model *model;
	struct image *image;
	struct random random;
	enum model_promise promise;
	struct machine *machine;
	struct camera again; /* takes an image inside the recovery */
	uint64_t numbers;
	uint32_t found[MODEL_KEYS_MAX];
};

static enum model_promise promise_of(enum simulated_crash_kind kind)
{
	return kind == SIMULATED_POWER ? MODEL_POWER : MODEL_PROCESS;
}

/* What the disk still has to say, or lacks, may keep it from opening once; then it opens. */
static void open_image(struct recovery *recovery)
{
	struct machine *machine = recovery->machine;
	cascade_status status = machine_open_late(machine, recovery->model->lied != 0);
	if (status == CASCADE_NO_SPACE) {
		/* A disk that was full when the image was taken is full still. */
		simulated_set_capacity(machine->disk, 0);
		recovery->tally->events[TALLY_RECOVERY_FAULT]++;
		status = machine_open(machine);
	}
	simulated_set_capacity(machine->disk, 0);
	if (status != CASCADE_OK)
		sim_fail("the image does not open: %s (%s)", cascade_strerror(status),
			 cascade_error_message());
}

/* First with an error of the device, which it reports or survives. */
static void open_with_fault(struct recovery *recovery)
{
	static const enum sim_fault faults[] = { SIM_READ_ERROR, SIM_WRITE_ERROR, SIM_NAME_ERROR,
						 SIM_FULL_WRITES };
	enum sim_fault fault = faults[random_below(&recovery->random, 4)];
	struct machine *machine = recovery->machine;
	machine_fault(machine, fault, random_next(&recovery->random));
	cascade_status status = machine_open(machine);
	uint64_t fired = machine_heal(machine);
	if (status == CASCADE_OK) {
		(void)machine_close(machine);
	} else if (fired == 0 ||
		   (status != CASCADE_IO && status != CASCADE_NO_SPACE && status != CASCADE_READ_ONLY)) {
		sim_fail("the image does not open with %s, which happened %llu times: %s (%s)",
			 sim_fault_name(fault), (unsigned long long)fired, cascade_strerror(status),
			 cascade_error_message());
	} else {
		recovery->tally->events[TALLY_RECOVERY_FAULT]++;
	}
	open_image(recovery);
}

/* Whether the image holds something that nobody was promised, or lacks what was not promised. */
static void note_more_or_less(struct recovery *recovery)
{
	const struct model *model = recovery->model;
	const struct image *image = recovery->image;
	bool more = false;
	bool less = false;
	for (uint32_t k = 0; k < model->key_count; k++) {
		bool passed = false;
		for (uint32_t at = model->keys[k].last_op; at != 0; at = model->ops[at - 1].previous) {
			const struct model_op *op = &model->ops[at - 1];
			const struct model_write *write = &model->writes[op->write];
			bool acknowledged = write->outcome == MODEL_DONE && write->settled <= image->moment;
			if (op->value == recovery->found[k]) {
				more |= op->value != MODEL_ABSENT && !acknowledged;
				break;
			}
			passed |= acknowledged;
		}
		less |= passed;
	}
	recovery->tally->events[TALLY_UNACKNOWLEDGED] += more;
	recovery->tally->events[TALLY_LOST] += less;
}

static struct model_question question_of(const struct recovery *recovery)
{
	return (struct model_question) { .promise = recovery->promise,
					 .promised_until = recovery->image->moment,
					 .issued_until = recovery->image->moment };
}

/* What a recovery has found stays found: power is lost right after it, and nothing that was not durable comes
 * through. */
static void lose_power_after(struct recovery *recovery, uint64_t *trace)
{
	struct simulated_crash worst = { .kind = SIMULATED_POWER,
					 .keep = SIMULATED_KEEP_NONE,
					 .seed = random_next(&recovery->random) };
	struct simulated_world *disk = simulated_crash(recovery->machine->disk, &worst);
	struct machine *machine =
		machine_create(recovery->plan, recovery->tally, disk, random_next(&recovery->random));
	uint32_t *before = malloc(sizeof(recovery->found));
	if (before == NULL)
		abort();
	memcpy(before, recovery->found, sizeof(recovery->found));
	struct model_question question = question_of(recovery);
	struct machine *first = recovery->machine;
	recovery->machine = machine;
	open_image(recovery);
	check_database(machine, recovery->model, &question, false, recovery->found);
	for (uint32_t k = 0; k < recovery->model->key_count; k++)
		if (before[k] != recovery->found[k] && !recovery->model->broken)
			sim_fail("power was lost right after a recovery: key %u has value %u, and had %u", k,
				 recovery->found[k], before[k]);
	free(before);
	(void)machine_close(machine);
	*trace = random_mix(*trace ^ machine_destroy(machine));
	recovery->machine = first;
	machine_enter(first);
	recovery->tally->images_after++;
}

/* Images that were taken while the image was being opened. */
static void check_again(struct recovery *recovery, uint64_t *trace)
{
	for (uint32_t i = 0; i < recovery->again.count; i++) {
		struct image *second = &recovery->again.images[i];
		struct recovery inner = { .plan = recovery->plan,
					  .tally = recovery->tally,
					  .model = recovery->model,
					  .image = recovery->image,
					  .random = random_stream(second->seed),
					  .promise = recovery->promise };
		/* A kill and then a loss of power: what only outlives the process may be gone. */
		if (second->kind == SIMULATED_POWER)
			inner.promise = MODEL_POWER;
		sim_failure_where("image %llu, crashed again while recovering",
				  (unsigned long long)recovery->image->number);
		inner.machine = machine_create(recovery->plan, recovery->tally, second->disk,
					       random_next(&inner.random));
		second->disk = NULL;
		open_image(&inner);
		struct model_question question = question_of(&inner);
		check_database(inner.machine, recovery->model, &question, true, inner.found);
		(void)machine_close(inner.machine);
		*trace = random_mix(*trace ^ machine_destroy(inner.machine));
		recovery->tally->images_again++;
	}
}

static void open_and_check(struct recovery *recovery)
{
	bool again = random_below(&recovery->random, 4) == 0 && recovery->model->lied == 0;
	camera_start(&recovery->again, recovery->machine, recovery->model, random_next(&recovery->random),
		     again ? 1 : 0, &recovery->numbers);
	if (!again && recovery->model->lied == 0 && random_below(&recovery->random, 5) == 0)
		open_with_fault(recovery);
	else
		open_image(recovery);
	camera_stop(&recovery->again);
	struct model_question question = question_of(recovery);
	check_database(recovery->machine, recovery->model, &question, true, recovery->found);
	note_more_or_less(recovery);
}

/* Damage may keep it from opening; then it says so. */
static bool opens_broken(struct recovery *recovery)
{
	simulated_set_capacity(recovery->machine->disk, 0);
	cascade_status status = machine_open_late(recovery->machine, recovery->model->lied != 0);
	if (status != CASCADE_OK && status != CASCADE_CORRUPT)
		sim_fail("a damaged image does not open: %s (%s)", cascade_strerror(status),
			 cascade_error_message());
	return status == CASCADE_OK;
}

static void check_broken(struct recovery *recovery)
{
	if (!opens_broken(recovery))
		return;
	struct model_question question = question_of(recovery);
	bool broken = recovery->model->broken;
	recovery->model->broken = true;
	check_database(recovery->machine, recovery->model, &question, false, recovery->found);
	recovery->model->broken = broken;
}

static void count_image(struct recovery *recovery)
{
	bool power = recovery->image->kind == SIMULATED_POWER;
	recovery->tally->images_power += power;
	recovery->tally->images_process += !power;
	recovery->tally->events[TALLY_CREATIONS] += recovery->image->creating;
}

/* What else is done with an image that nobody goes on with. */
static void use_up(struct recovery *recovery, uint64_t *trace)
{
	bool whole = recovery->machine->db != NULL && !recovery->model->broken && recovery->model->lied == 0;
	uint64_t draw = random_below(&recovery->random, 6);
	if (whole && draw < 2) {
		/* Its values are of no use to anybody else: whether it is checked changes nothing else. */
		uint32_t next_value = recovery->model->next_value;
		check_usable(recovery->machine, recovery->model, random_next(&recovery->random),
			     recovery->found);
		recovery->model->next_value = next_value;
		recovery->tally->images_used++;
	}
	if (recovery->machine->db != NULL)
		(void)machine_close(recovery->machine);
	*trace = random_mix(*trace ^ machine_destroy(recovery->machine));
	recovery->machine = NULL;
	check_again(recovery, trace);
}

struct machine *recovery_check(const struct plan *plan, struct tally *tally, struct model *model,
			       struct image *image, bool adopt, struct machine *back, uint64_t *trace)
{
	struct recovery *recovery = calloc(1, sizeof(*recovery));
	if (recovery == NULL)
		abort();
	*recovery = (struct recovery) { .plan = plan,
					.tally = tally,
					.model = model,
					.image = image,
					.random = random_stream(image->seed),
					.promise = promise_of(image->kind) };
	sim_failure_where("image %llu, %s at moment %llu%s", (unsigned long long)image->number,
			  image->kind == SIMULATED_POWER ? "loss of power" : "kill",
			  (unsigned long long)image->moment, image->creating ? ", while created" : "");
	recovery->machine = machine_create(plan, tally, image->disk, random_next(&recovery->random));
	image->disk = NULL;
	/* A device that reports a failed sync late has lost what it had promised to keep. */
	if (model->broken || (model->lied != 0 && image->kind == SIMULATED_POWER))
		check_broken(recovery);
	else
		open_and_check(recovery);
	count_image(recovery);
	if (!model->broken && model->lied == 0 && random_below(&recovery->random, 3) == 0)
		lose_power_after(recovery, trace);
	struct machine *kept = NULL;
	if (adopt) {
		kept = recovery->machine;
		camera_free(&recovery->again);
		model_rebase(model, recovery->found);
	} else {
		use_up(recovery, trace);
		machine_enter(back);
	}
	free(recovery);
	return kept;
}
