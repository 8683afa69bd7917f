#include "sim/recovery.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "sim/caller.h"
#include "sim/check.h"
#include "sim/failure.h"
#include "sim/life.h"

enum { HOT_EVENTS = 64, NAME_WEIGHT = 10000 };

/* --- images --- */

static uint64_t event_weight(const struct simulated_event *event)
{
	switch (event->operation) {
	case IO_RENAME:
	case IO_UNLINK:
	case IO_SYNC_DIRECTORY:
	case IO_OPEN:
	case IO_ALLOCATE:
	case IO_MAKE_DIRECTORY:
		return 12;
	case IO_SYNC:
		return 4;
	case IO_READ:
		return 0;
	default:
		return strstr(event->path, "manifest") != NULL ? 12 : 2;
	}
}

/* What names are for: their ending, or all of one that has none. */
static uint32_t kind_of_name(const char *path)
{
	const char *name = strrchr(path, '/');
	const char *end = name != NULL ? strrchr(name, '.') : NULL;
	uint32_t kind = 0;
	for (const char *at = end != NULL ? end : path; *at != '\0'; at++)
		kind = kind * 31 + (uint8_t)*at;
	return kind;
}

/* For names: what is done to files of one kind weighs the less the more often it is done, so that the making
 * of the log's next segment is seen as well as that of the hundredth table. */
static uint64_t weight_for_names(struct camera *camera, const struct simulated_event *event)
{
	uint32_t kind;
	switch (event->operation) {
	case IO_OPEN:
		if ((event->flags & IO_OPEN_CREATE) == 0)
			return 0;
		kind = kind_of_name(event->path);
		break;
	case IO_RENAME:
	case IO_UNLINK:
	case IO_MAKE_DIRECTORY:
		kind = kind_of_name(event->path);
		break;
	case IO_SYNC_DIRECTORY:
		kind = camera->last_kind; /* of what was done there last */
		break;
	default:
		return 0;
	}
	if (event->operation != IO_SYNC_DIRECTORY)
		camera->last_kind = kind + (uint32_t)event->operation;
	uint64_t which = random_at(kind, (uint64_t)event->operation * 2 + (uint64_t)event->stage);
	return NAME_WEIGHT / ++camera->seen[which % CAMERA_KINDS];
}

static struct image take_image(struct camera *camera, enum camera_roll roll, enum simulated_keep keep)
{
	/* Of five: after an error it is rarely the cache that tells whether it was taken seriously. */
	static const uint8_t of_power[ROLL_COUNT] = { [ROLL_ANY] = 3, [ROLL_NAMES] = 2, [ROLL_FAULT] = 4 };
	const struct plan *plan = camera->machine->plan;
	uint64_t seed = random_next(&camera->random);
	bool power = keep != SIMULATED_KEEP_DRAWN || random_below(&camera->random, 5) < of_power[roll];
	struct image image = { .roll = roll,
			       .kind = power ? SIMULATED_POWER : SIMULATED_PROCESS,
			       .moment = model_moment(camera->model),
			       .seed = seed,
			       .creating = camera->creating };
	struct simulated_crash crash = { .kind = image.kind,
					 .keep = keep,
					 .seed = seed,
					 .ordered = plan->ordered,
					 /* Atomic units are what the log asks for: no garbage in them. */
					 .garbage = false };
	image.disk = simulated_crash(camera->machine->disk, &crash);
	return image;
}

static void add_image(struct camera *camera, struct image image)
{
	SIM_CHECK(camera->count < IMAGES_MAX);
	camera->images[camera->count++] = image;
}

/* The `which`-th of those of a roll. */
static struct image *image_of(struct camera *camera, enum camera_roll roll, uint64_t which)
{
	uint32_t at = 0;
	while (camera->images[at].roll != roll || which-- > 0)
		at++;
	return &camera->images[at];
}

/* What the weight so far has reached. */
static void take_due(struct camera *camera, uint64_t weight)
{
	uint32_t *count = &camera->rolls[ROLL_ANY].count;
	while (*count < camera->rolls[ROLL_ANY].wanted && camera->moments[*count] <= weight) {
		++*count;
		add_image(camera, take_image(camera, ROLL_ANY, SIMULATED_KEEP_DRAWN));
	}
}

/* The event is one for the roll, as likely as its weight says. */
static void consider(struct camera *camera, enum camera_roll roll, uint64_t weight)
{
	uint32_t wanted = camera->rolls[roll].wanted;
	if (wanted == 0 || weight == 0)
		return;
	camera->rolls[roll].weight += weight;
	if (roll == ROLL_ANY && camera->moments[0] != 0) {
		take_due(camera, camera->rolls[roll].weight);
		return;
	}
	if (random_below(&camera->random, camera->rolls[roll].weight) >= weight * wanted)
		return;
	enum simulated_keep keep = SIMULATED_KEEP_DRAWN;
	if (roll == ROLL_FAULT && random_below(&camera->random, 2) == 0)
		keep = SIMULATED_KEEP_NONE;
	if (camera->rolls[roll].count < wanted) {
		camera->rolls[roll].count++;
		add_image(camera, take_image(camera, roll, keep));
		return;
	}
	struct image *image = image_of(camera, roll, random_below(&camera->random, wanted));
	simulated_destroy(image->disk);
	*image = take_image(camera, roll, keep);
}

static void note_fault(struct camera *camera)
{
	uint64_t fired = machine_fired(camera->machine);
	if (camera->hot > 0)
		camera->hot--;
	if (fired != camera->fired)
		camera->hot = HOT_EVENTS;
	camera->fired = fired;
}

static void note_write(struct camera *camera, const struct simulated_event *event)
{
	if (event->operation != IO_WRITE || event->stage != SIMULATED_COMPLETED || event->result <= 0)
		return;
	struct camera_write *write = &camera->writes[camera->write_count++ % CAMERA_WRITES];
	*write = (struct camera_write) { .offset = event->offset, .length = (uint64_t)event->result };
	(void)snprintf(write->path, sizeof(write->path), "%s", event->path);
}

static void see_event(void *context, const struct simulated_event *event)
{
	struct camera *camera = context;
	camera->events++;
	if (camera->keeps_writes)
		note_write(camera, event);
	if (camera->rolls[ROLL_FAULT].wanted > 0)
		note_fault(camera);
	uint64_t weight = event_weight(event);
	consider(camera, ROLL_ANY, weight);
	consider(camera, ROLL_NAMES, weight_for_names(camera, event));
	consider(camera, ROLL_FAULT, weight != 0 && camera->hot > 0);
}

void camera_start(struct camera *camera, struct machine *machine, struct model *model, uint64_t seed,
		  uint32_t wanted, uint64_t *numbers)
{
	SIM_CHECK(wanted <= IMAGES_MAX);
	memset(camera, 0, sizeof(*camera));
	camera->machine = machine;
	camera->model = model;
	camera->random = random_stream(seed);
	camera->rolls[ROLL_ANY].wanted = wanted;
	camera->numbers = numbers;
	camera->fired = machine_fired(machine);
	simulated_observe(machine->disk, see_event, camera);
}

void camera_want(struct camera *camera, enum camera_roll roll, uint32_t wanted)
{
	camera->rolls[roll].wanted = wanted;
}

void camera_expect(struct camera *camera, uint64_t weight)
{
	uint32_t wanted = camera->rolls[ROLL_ANY].wanted;
	for (uint32_t i = 0; weight > 0 && i < wanted; i++) {
		uint64_t moment = 1 + random_below(&camera->random, weight);
		uint32_t at = i;
		for (; at > 0 && camera->moments[at - 1] > moment; at--)
			camera->moments[at] = camera->moments[at - 1];
		camera->moments[at] = moment;
	}
}

void camera_take_worst(struct camera *camera)
{
	add_image(camera, take_image(camera, ROLL_ANY, SIMULATED_KEEP_NONE));
}

void camera_stop(struct camera *camera)
{
	simulated_observe(camera->machine->disk, NULL, NULL);
	if (camera->moments[0] != 0)
		take_due(camera, UINT64_MAX);
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
	/* Background work that met it tries again within a second. */
	if (simulated_count(machine->disk, SIMULATED_NO_ROOM) > 0)
		cascade_sleep(machine->db, 3ull * 1000 * 1000 * 1000);
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

/* One more write, as durable as can be: it stands on all that the recovery has left. */
static void put_one(struct recovery *recovery)
{
	struct machine *machine = recovery->machine;
	struct model *model = recovery->model;
	static uint8_t buffer[1 << 16];
	uint32_t key = (uint32_t)random_below(&recovery->random, model->key_count);
	uint32_t value = model_draw_value(model);
	size_t size = model_fill_value(model, key, value, buffer);
	cascade_write_options options = { .durability = CASCADE_DURABILITY_POWER };
	if (machine->plan->level == CASCADE_DURABILITY_MEMORY)
		return;
	SIM_CHECK_OK(cascade_put(machine->db, cascade_bytes(model->keys[key].bytes, model->keys[key].size),
				 cascade_bytes(buffer, size), &options));
	recovery->found[key] = value;
}

/* What a recovery has found stays found: power is lost right after it, and nothing that was not durable comes
 * through. */
static void lose_power_after(struct recovery *recovery, uint64_t *trace)
{
	put_one(recovery);
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
	struct machine *first = recovery->machine;
	recovery->machine = machine;
	open_image(recovery);
	SIM_CHECK_OK(client_scan(machine, recovery->model, NULL, recovery->found));
	for (uint32_t k = 0; k < recovery->model->key_count; k++)
		if (before[k] != recovery->found[k])
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
	uint64_t one_in = recovery->image->roll == ROLL_NAMES ? 2 : 4;
	bool again = random_below(&recovery->random, one_in) == 0 && recovery->model->lied == 0;
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
	recovery->tally->events[TALLY_AFTER_FAULT] += recovery->image->roll == ROLL_FAULT;
	recovery->tally->events[TALLY_CREATIONS] += recovery->image->creating;
}

/* What else is done with an image that nobody goes on with. */
static void use_up(struct recovery *recovery, uint64_t *trace)
{
	bool whole = recovery->machine->db != NULL && !recovery->model->broken && recovery->model->lied == 0;
	uint64_t draw = random_below(&recovery->random, 6);
	uint64_t seed = random_next(&recovery->random);
	bool names = recovery->image->roll == ROLL_NAMES;
	if (whole && (draw < 3 || names) && recovery->plan->lives > 0) {
		recovery->machine = lives_run(recovery->machine, recovery->model, recovery->found, seed,
					      recovery->image->number, trace);
	} else if (whole && draw == 3) {
		check_usable(recovery->machine, recovery->model, seed, recovery->found);
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
	uint32_t next_value = model->next_value;
	/* A device that reports a failed sync late has lost what it had promised to keep. */
	if (model->broken || (model->lied != 0 && image->kind == SIMULATED_POWER))
		check_broken(recovery);
	else
		open_and_check(recovery);
	count_image(recovery);
	/* A name that an open relies on is gone with the power unless the open has seen to it. */
	uint64_t often = image->roll == ROLL_NAMES ? 2 : 1;
	if (!model->broken && model->lied == 0 && random_below(&recovery->random, 3) < often)
		lose_power_after(recovery, trace);
	struct machine *kept = NULL;
	if (adopt) {
		kept = recovery->machine;
		camera_free(&recovery->again);
		model_rebase(model, recovery->found);
	} else {
		use_up(recovery, trace);
		machine_enter(back);
		/* Its values are of no use to anybody else: whether it is checked changes nothing else. */
		model->next_value = next_value;
	}
	free(recovery);
	return kept;
}
