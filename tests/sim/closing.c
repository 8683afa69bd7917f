#include "sim/closing.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "sim/caller.h"
#include "sim/check.h"
#include "sim/failure.h"

enum { SECOND_NS = 1000 * 1000 * 1000, LATE_WRITES_MAX = 16, FILES_MAX = 128 };

/* --- before it --- */

/* Little is in memory, and there is room in the log: then tables can no longer be written. */
static void block(struct closing *closing)
{
	struct machine *machine = closing->machine;
	struct model *model = closing->model;
	uint64_t began = model_moment(model);
	SIM_CHECK_OK(cascade_flush(machine->db));
	model_flushed(model, began);
	cascade_sleep(machine->db, SECOND_NS);
	uint64_t writes = 1 + random_below(&closing->random, LATE_WRITES_MAX);
	for (uint64_t i = 0; i < writes; i++) {
		static const cascade_durability levels[] = { CASCADE_DURABILITY_PROCESS,
							     CASCADE_DURABILITY_POWER };
		uint32_t key = (uint32_t)random_below(&closing->random, model->key_count);
		SIM_CHECK_OK(client_put(machine, model, key, levels[random_below(&closing->random, 2)]));
	}
	machine_block_tables(machine, random_next(&closing->random));
	closing->unflushed = true;
}

void closing_begin(struct closing *closing, const struct plan *plan, struct machine *machine,
		   struct model *model, uint64_t seed, bool whole, uint64_t *numbers)
{
	memset(closing, 0, sizeof(*closing));
	closing->plan = plan;
	closing->machine = machine;
	closing->model = model;
	closing->random = random_stream(seed);
	closing->whole = whole;
	uint64_t draw = random_below(&closing->random, 2);
	bool images = plan->images > 0 && random_below(&closing->random, 2) == 0;
	camera_start(&closing->camera, machine, model, random_next(&closing->random), images ? 1 : 0,
		     numbers);
	closing->camera.keeps_writes = true;
	if (whole && plan->unflushed && draw == 0 && plan->level != CASCADE_DURABILITY_MEMORY)
		block(closing);
}

/* --- damage --- */

struct place {
	char path[CAMERA_PATH_BYTES];
	uint64_t unit; /* offset */
};

struct files {
	struct {
		char path[CAMERA_PATH_BYTES];
		uint64_t size;
	} rows[FILES_MAX];
	uint32_t count;
};

static void note_file(void *context, const char *path, uint64_t size)
{
	struct files *files = context;
	if (size == 0 || files->count == FILES_MAX)
		return;
	(void)snprintf(files->rows[files->count].path, CAMERA_PATH_BYTES, "%s", path);
	files->rows[files->count++].size = size;
}

/* Where the disk goes bad: anywhere, or in what was written last, which has the fewest witnesses. */
static bool draw_place(struct closing *closing, const struct simulated_world *disk, struct place *place)
{
	uint64_t unit_bytes = closing->plan->unit_bytes;
	const struct camera *camera = &closing->camera;
	uint64_t recent = camera->write_count < CAMERA_WRITES ? camera->write_count : CAMERA_WRITES;
	uint64_t size;
	if (recent > 0 && random_below(&closing->random, 3) != 0) {
		const struct camera_write *write = &camera->writes[random_below(&closing->random, recent)];
		memcpy(place->path, write->path, sizeof(place->path));
		place->unit = write->offset + random_below(&closing->random, write->length);
	} else {
		struct files files = { 0 };
		simulated_list_files(disk, note_file, &files);
		if (files.count == 0)
			return false;
		uint64_t at = random_below(&closing->random, files.count);
		memcpy(place->path, files.rows[at].path, sizeof(place->path));
		place->unit = random_below(&closing->random, files.rows[at].size);
	}
	place->unit = place->unit / unit_bytes * unit_bytes;
	return simulated_size(disk, place->path, &size) && place->unit + unit_bytes <= size;
}

/* Flipped, lost, overwritten, or a sector of somewhere else. */
static const char *spoil(struct random *random, const struct simulated_world *disk, const struct place *place,
			 uint8_t *bytes, size_t size)
{
	size_t got;
	switch (random_below(random, 4)) {
	case 0:
		SIM_CHECK(simulated_read(disk, place->path, place->unit, bytes, size, &got) && got == size);
		bytes[random_below(random, size)] ^= (uint8_t)(1u << random_below(random, 8));
		return "has a flipped bit";
	case 1:
		for (size_t i = 0; i < size; i++)
			bytes[i] = (uint8_t)random_next(random);
		return "is garbage";
	case 2:
		/* The one before it in the file, or behind. */
		if (!simulated_read(disk, place->path, place->unit >= size ? place->unit - size : size, bytes,
				    size, &got) ||
		    got < size)
			memset(bytes, 0xff, size);
		return "is its neighbour";
	default:
		memset(bytes, 0, size);
		return "is zeros";
	}
}

static bool damage(struct closing *closing, struct simulated_world *disk)
{
	uint8_t bytes[IO_PAGE_BYTES];
	struct place place;
	if (!draw_place(closing, disk, &place))
		return false;
	const char *what = spoil(&closing->random, disk, &place, bytes, closing->plan->unit_bytes);
	SIM_CHECK(simulated_damage(disk, place.path, place.unit, bytes, closing->plan->unit_bytes));
	sim_failure_where("closed%s, and offset %llu of %s %s", closing->unflushed ? " unflushed" : "",
			  (unsigned long long)place.unit, place.path, what);
	return true;
}

/* --- after it --- */

static struct simulated_world *copy_disk(struct closing *closing, enum simulated_keep keep)
{
	struct simulated_crash crash = { .kind = SIMULATED_POWER,
					 .keep = keep,
					 .seed = random_next(&closing->random) };
	return simulated_crash(closing->machine->disk, &crash);
}

/* Everything acknowledged is there, but for what is said to be damaged. */
static void check_copy(struct closing *closing, struct simulated_world *disk, bool damaged, uint64_t *trace)
{
	struct model *model = closing->model;
	struct tally *tally = closing->machine->tally;
	uint32_t *found = calloc(MODEL_KEYS_MAX, sizeof(*found));
	if (found == NULL)
		abort();
	struct machine *machine = machine_create(closing->plan, tally, disk, random_next(&closing->random));
	cascade_status status = machine_open(machine);
	bool told = damaged && (status == CASCADE_CORRUPT || status == CASCADE_FORMAT);
	if (status != CASCADE_OK && !told)
		sim_fail("it does not open: %s (%s)", cascade_strerror(status), cascade_error_message());
	if (status == CASCADE_OK) {
		uint64_t moment = model_moment(model);
		struct model_question question = { .promise = MODEL_ACKNOWLEDGED,
						   .promised_until = moment,
						   .issued_until = moment };
		model->broken = damaged;
		check_database(machine, model, &question, false, found);
		model->broken = false;
		for (uint32_t k = 0; k < model->key_count; k++)
			told |= found[k] == MODEL_UNKNOWN;
		(void)machine_close(machine);
	}
	tally->events[TALLY_DAMAGED] += damaged;
	tally->events[TALLY_DAMAGE_TOLD] += told;
	*trace = random_mix(*trace ^ machine_destroy(machine));
	free(found);
}

void closing_end(struct closing *closing, cascade_status status, uint64_t *trace)
{
	struct machine *machine = closing->machine;
	camera_stop(&closing->camera);
	(void)machine_heal(machine);
	machine->tally->events[TALLY_UNFLUSHED] += closing->unflushed && status != CASCADE_OK;
	/* A close that says that it could not write a table has marked the end of the log all the same. */
	if (!closing->whole || (status != CASCADE_OK && !closing->unflushed))
		return;
	if (random_below(&closing->random, 2) == 0) {
		sim_failure_where("closed%s, and without power", closing->unflushed ? " unflushed" : "");
		check_copy(closing, copy_disk(closing, SIMULATED_KEEP_NONE), false, trace);
	}
	uint64_t wanted = random_below(&closing->random, closing->plan->damaged + 1);
	for (uint64_t i = 0; i < wanted; i++) {
		struct simulated_world *disk = copy_disk(closing, SIMULATED_KEEP_ALL);
		if (damage(closing, disk))
			check_copy(closing, disk, true, trace);
		else
			simulated_destroy(disk);
	}
	machine_enter(machine);
}
