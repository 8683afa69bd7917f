#include "sim/small_scope.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "components/component.h"
#include "sim/caller.h"
#include "sim/check.h"
#include "sim/chooser.h"
#include "sim/failure.h"
#include "sim/machine.h"
#include "sim/model.h"
#include "sim/tally.h"

enum {
	KEYS = 6,
	VALUE_BYTES_MAX = 6 << 10,
	LARGE_BYTES_MIN = 3000,
	SMALL_BYTES_MAX = 300,
	WEAR_ROUNDS_MAX = 64,
	ENUMERATED_MAX = 64, /* images of one crash, or else some of them */
	SAMPLES = 6,	     /* beside those with nothing and with everything */
	USED_ONE_IN = 4,     /* recovered databases are written to */
	TEXT_BYTES = 64,
};

const struct scope_setting scope_settings[SCOPE_SETTING_COUNT] = {
	{ .name = "process", .level = CASCADE_DURABILITY_PROCESS, .crash = SIMULATED_PROCESS },
	{ .name = "power", .level = CASCADE_DURABILITY_POWER, .crash = SIMULATED_POWER },
	{ .name = "process-worn",
	  .level = CASCADE_DURABILITY_PROCESS,
	  .worn = true,
	  .crash = SIMULATED_PROCESS },
	{ .name = "power-worn", .level = CASCADE_DURABILITY_POWER, .worn = true, .crash = SIMULATED_POWER },
	{ .name = "mixed-worn",
	  .level = CASCADE_DURABILITY_PROCESS,
	  .mixed = true,
	  .worn = true,
	  .crash = SIMULATED_PROCESS },
};

const struct scope_setting *scope_find_setting(const char *name)
{
	for (unsigned i = 0; i < SCOPE_SETTING_COUNT; i++)
		if (strcmp(scope_settings[i].name, name) == 0)
			return &scope_settings[i];
	return NULL;
}

/* --- what is known of disks --- */

/* A disk as whoever opens it sees it, and which values recovery has found there. */
struct known {
	uint64_t hash; /* 0: a free place */
	bool is_recovered;
	uint32_t found[KEYS];
};

/* An image that has to be as the question says. */
struct record {
	uint64_t hash;
	enum simulated_crash_kind kind;
	enum model_promise promise;
	uint64_t moment;
	uint32_t boundary, image;
	uint32_t acknowledged[KEYS];
	uint32_t issued[KEYS];
	char choices[TEXT_BYTES];
};

/* An image that has to be recovered. */
struct disk {
	struct simulated_world *world;
	bool loses_power; /* once more, after the recovery */
	size_t record;	  /* the first one */
};

struct scope {
	const struct scope_setting *setting;
	uint64_t seed;
	struct scope_counts *counts;
	char *where;
	struct plan plan;
	struct tally tally;
	struct model start_model;
	struct simulated_world *start; /* NULL: an empty disk */

	/* Of the string. */
	const char *string;
	struct scope_limits limits;
	struct model model;
	struct machine *machine;
	uint32_t writes;
	uint32_t acknowledged[KEYS];
	uint32_t issued[KEYS];
	uint32_t state[MODEL_KEYS_MAX]; /* that the machine was found in */
	uint32_t found[MODEL_KEYS_MAX]; /* ... that an image was */

	/* Of the operation whose crashes are looked at. */
	uint32_t boundary;
	uint64_t crashed_at; /* model's moment of the crash of K, whose recovery is under way; else 0 */
	struct record *records;
	size_t record_count, record_capacity;
	struct disk *disks;
	size_t disk_count, disk_capacity;

	struct known *known; /* open addressing */
	size_t known_count, known_capacity;
};

static void *grow(void *array, size_t *capacity, size_t count, size_t size)
{
	if (count < *capacity)
		return array;
	*capacity = *capacity == 0 ? 64 : 2 * *capacity;
	void *larger = realloc(array, *capacity * size);
	if (larger == NULL)
		abort();
	return larger;
}

static struct known *known_place(struct known *known, size_t capacity, uint64_t hash)
{
	size_t at = hash & (capacity - 1);
	while (known[at].hash != 0 && known[at].hash != hash)
		at = (at + 1) & (capacity - 1);
	return &known[at];
}

/* The disk's place, until the next call. *is_new: it was not known. */
static struct known *know(struct scope *scope, uint64_t hash, bool *is_new)
{
	if (2 * (scope->known_count + 1) > scope->known_capacity) {
		size_t capacity = scope->known_capacity == 0 ? 1024 : 2 * scope->known_capacity;
		struct known *larger = calloc(capacity, sizeof(*larger));
		if (larger == NULL)
			abort();
		for (size_t i = 0; i < scope->known_capacity; i++)
			if (scope->known[i].hash != 0)
				*known_place(larger, capacity, scope->known[i].hash) = scope->known[i];
		free(scope->known);
		scope->known = larger;
		scope->known_capacity = capacity;
	}
	struct known *place = known_place(scope->known, scope->known_capacity, hash);
	*is_new = place->hash == 0;
	if (*is_new) {
		place->hash = hash;
		scope->known_count++;
	}
	return place;
}

/* --- machines --- */

static void set_where(struct scope *scope, uint32_t boundary, uint32_t image, const char *choices)
{
	const char *string = scope->string[0] != '\0' ? scope->string : "-";
	if (boundary == 0)
		(void)snprintf(scope->where, SCOPE_WHERE_BYTES, "%s/%s", scope->setting->name, string);
	else
		(void)snprintf(scope->where, SCOPE_WHERE_BYTES, "%s/%s/%u/%u", scope->setting->name, string,
			       boundary, image);
	sim_failure_where("%s%s%s", scope->where, choices[0] != '\0' ? ", choices " : "", choices);
}

static struct plan make_plan(const struct scope_setting *setting, uint64_t seed)
{
	static const char *const levels[] = { "", "memory", "process", "power" };
	struct plan plan;
	plan_draw(&plan, seed, &(struct plan_limits) { .no_images = true });
	plan.faults = 0;
	plan.clients = 1;
	plan.keys = KEYS;
	plan.value_bytes_max = VALUE_BYTES_MAX;
	plan.shards = 1;
	plan.memtable = component_list(COMPONENT_MEMTABLE)[0]->name;
	plan.filter = component_list(COMPONENT_FILTER)[0]->name;
	plan.cache = component_list(COMPONENT_CACHE)[0]->name;
	plan.codec = component_list(COMPONENT_CODEC)[0]->name;
	plan.wal = setting->level == CASCADE_DURABILITY_POWER ? "direct" : "buffered";
	plan.level = setting->level;
	plan.durability = levels[setting->level];
	plan.memtable_bytes = 32 << 10;
	plan.cache_bytes = 256 << 10;
	plan.segment_bytes = 16 << 10;
	plan.table_bytes = 8 << 10;
	plan.block_bytes = 1024;
	plan.level0_tables = 2;
	plan.size_ratio = 4;
	plan.merges = 1;
	plan.direct = true;
	plan.unit_bytes = 512;
	plan.ordered = false;
	plan.policy = STEPPED_FIFO;
	return plan;
}

static struct machine *make_machine(struct scope *scope, struct simulated_world *disk)
{
	return machine_create(&scope->plan, &scope->tally, disk, scope->seed);
}

static struct simulated_world *crash(const struct simulated_world *disk, enum simulated_crash_kind kind,
				     enum simulated_keep keep, uint64_t seed)
{
	struct simulated_crash how = { .kind = kind, .keep = keep, .seed = seed };
	return simulated_crash(disk, &how);
}

/* --- keys and values --- */

static cascade_slice key_bytes(const struct scope *scope, uint32_t key)
{
	return cascade_bytes(scope->model.keys[key].bytes, scope->model.keys[key].size);
}

static uint32_t draw_value(struct scope *scope, uint32_t key, bool large, uint8_t *bytes, size_t *size)
{
	uint32_t value;
	do {
		value = model_draw_value(&scope->model);
		*size = model_fill_value(&scope->model, key, value, bytes);
	} while (large ? *size < LARGE_BYTES_MIN : *size > SMALL_BYTES_MAX);
	return value;
}

/* --- images --- */

/* Takes the image, unless all is known of such a disk; there is a question about it in any case. */
static void consider(struct scope *scope, struct simulated_world *image, const struct record *record)
{
	struct record *added;
	bool loses_power = false;
	bool is_new;
	uint64_t hash = simulated_image(image);
	/* What is pending after a kill may still be lost: that disk is another one. */
	if (record->kind == SIMULATED_PROCESS) {
		struct simulated_world *durable = crash(image, SIMULATED_POWER, SIMULATED_KEEP_NONE, 1);
		uint64_t durable_hash = simulated_image(durable);
		simulated_destroy(durable);
		loses_power = durable_hash != hash;
		if (loses_power)
			hash = random_mix(hash ^ random_mix(durable_hash));
	}
	scope->records = grow(scope->records, &scope->record_capacity, scope->record_count, sizeof(*added));
	added = &scope->records[scope->record_count++];
	*added = *record;
	added->hash = hash;
	(void)know(scope, hash, &is_new);
	if (!is_new) {
		scope->counts->duplicates++;
		simulated_destroy(image);
		return;
	}
	scope->disks = grow(scope->disks, &scope->disk_capacity, scope->disk_count, sizeof(*scope->disks));
	scope->disks[scope->disk_count++] = (struct disk) { .world = image,
							    .loses_power = loses_power,
							    .record = scope->record_count - 1 };
}

/* What K did has happened before: a kill, or a loss of power. */
static enum model_promise promise_of(const struct scope *scope, enum simulated_crash_kind kind)
{
	if (kind == SIMULATED_POWER)
		return MODEL_POWER;
	return scope->crashed_at != 0 && scope->setting->crash == SIMULATED_POWER ? MODEL_POWER
										  : MODEL_PROCESS;
}

/* The next image of the boundary. */
static void offer(struct scope *scope, struct record *record, struct simulated_world *image,
		  const char *choices)
{
	record->image++;
	if (scope->limits.image != 0 && scope->limits.image != record->image) {
		simulated_destroy(image);
		return;
	}
	scope->counts->images_power += record->kind == SIMULATED_POWER;
	scope->counts->images_process += record->kind == SIMULATED_PROCESS;
	(void)snprintf(record->choices, TEXT_BYTES, "%s", choices);
	consider(scope, image, record);
}

/* Of crashes that can leave very much: everything, and some of it. */
static void take_samples(struct scope *scope, struct record *record)
{
	const struct simulated_world *disk = scope->machine->disk;
	offer(scope, record, crash(disk, record->kind, SIMULATED_KEEP_ALL, 1), "all");
	for (unsigned i = 0; i < SAMPLES; i++) {
		char text[TEXT_BYTES];
		uint64_t seed = random_at(scope->seed, (uint64_t)record->boundary * SAMPLES + i);
		(void)snprintf(text, sizeof(text), "by seed %llu", (unsigned long long)seed);
		offer(scope, record, crash(disk, record->kind, SIMULATED_KEEP_SOME, seed), text);
	}
}

static void take_crash(struct scope *scope, struct record *record, enum simulated_crash_kind kind)
{
	struct chooser chooser;
	struct simulated_crash how = { .kind = kind, .choose = chooser_choose, .context = &chooser };
	char text[TEXT_BYTES];
	record->kind = kind;
	record->promise = promise_of(scope, kind);
	/* With nothing of what may come through, which tells how much that is. */
	chooser_begin(&chooser);
	offer(scope, record, simulated_crash(scope->machine->disk, &how), "none");
	bool few = chooser_width(&chooser) <= ENUMERATED_MAX;
	scope->counts->enumerated += few;
	scope->counts->sampled += !few;
	if (!few)
		take_samples(scope, record);
	while (few && chooser_next(&chooser)) {
		struct simulated_world *image = simulated_crash(scope->machine->disk, &how);
		chooser_describe(&chooser, text, sizeof(text));
		offer(scope, record, image, text);
	}
}

static void take_boundary(struct scope *scope)
{
	scope->boundary++;
	if (scope->limits.boundary != 0 && scope->limits.boundary != scope->boundary)
		return;
	scope->counts->boundaries++;
	struct record record = { .moment = scope->crashed_at, .boundary = scope->boundary };
	if (record.moment == 0)
		record.moment = model_moment(&scope->model);
	memcpy(record.acknowledged, scope->acknowledged, sizeof(record.acknowledged));
	memcpy(record.issued, scope->issued, sizeof(record.issued));
	take_crash(scope, &record, SIMULATED_PROCESS);
	take_crash(scope, &record, SIMULATED_POWER);
}

/* Whether a crash after it can leave something else than one before it. */
static bool changes_something(const struct simulated_event *event)
{
	bool completed = event->stage == SIMULATED_COMPLETED;
	switch (event->operation) {
	case IO_READ:
	case IO_CLOSE:
		return false;
	case IO_SYNC:
	case IO_SYNC_DIRECTORY:
		return completed;
	case IO_OPEN:
		return (event->flags & IO_OPEN_CREATE) != 0;
	default:
		return true;
	}
}

static void see_event(void *context, const struct simulated_event *event)
{
	struct scope *scope = context;
	if (changes_something(event))
		take_boundary(scope);
}

static void watch(struct scope *scope, bool on)
{
	simulated_observe(scope->machine->disk, on ? see_event : NULL, scope);
}

/* --- recovering them --- */

static void end_recovery(struct machine *machine)
{
	cascade_status status = machine_close(machine);
	if (status != CASCADE_OK)
		sim_fail("the recovered database does not close: %s (%s)", cascade_strerror(status),
			 cascade_error_message());
	(void)machine_destroy(machine);
}

static void open_machine(struct machine *machine, const char *what)
{
	cascade_status status = machine_open(machine);
	if (status != CASCADE_OK)
		sim_fail("%s: %s (%s)", what, cascade_strerror(status), cascade_error_message());
}

/* What is written to a recovered database is behind what was recovered, and there after one more crash. The
 * model hears nothing of it. Closes and frees the machine. */
static void use(struct scope *scope, struct machine *machine, const uint32_t *before)
{
	static uint8_t bytes[VALUE_BYTES_MAX];
	size_t size;
	uint32_t next_value = scope->model.next_value;
	uint32_t value = draw_value(scope, 0, false, bytes, &size);
	SIM_CHECK_OK(cascade_put(machine->db, key_bytes(scope, 0), cascade_bytes(bytes, size), NULL));
	bool power = scope->setting->crash == SIMULATED_POWER;
	struct simulated_world *world = crash(machine->disk, scope->setting->crash,
					      power ? SIMULATED_KEEP_NONE : SIMULATED_KEEP_ALL, 1);
	end_recovery(machine);
	machine = make_machine(scope, world);
	open_machine(machine, "open after a write to a recovered database and a crash");
	SIM_CHECK_OK(client_scan(machine, &scope->model, NULL, scope->found));
	for (uint32_t k = 0; k < KEYS; k++) {
		uint32_t expected = k == 0 ? value : before[k];
		if (scope->found[k] != expected)
			sim_fail("after a write to a recovered database and a crash: key %u has value %u "
				 "instead of %u",
				 k, scope->found[k], expected);
	}
	scope->model.next_value = next_value;
	scope->counts->used++;
	end_recovery(machine);
}

/* Opens the disk, and finds some state that there was, whole in itself. `is_used`: it is written to, too.
 * `after`: what a loss of power right after the open leaves; NULL: not asked for. */
static void recover(struct scope *scope, struct simulated_world *world, bool is_used,
		    struct simulated_world **after, uint32_t *found)
{
	struct machine *machine = make_machine(scope, world);
	uint64_t trimmed = scope->tally.events[TALLY_TRIMMED];
	open_machine(machine, "the image does not open");
	scope->counts->recovered++;
	scope->counts->torn_tails += scope->tally.events[TALLY_TRIMMED] - trimmed;
	if (after != NULL)
		*after = crash(machine->disk, SIMULATED_POWER, SIMULATED_KEEP_NONE, 1);
	struct model_question any = { .promise = MODEL_NOTHING, .issued_until = UINT64_MAX };
	check_database(machine, &scope->model, &any, true, scope->found);
	memcpy(found, scope->found, KEYS * sizeof(*found));
	if (is_used)
		use(scope, machine, found);
	else
		end_recovery(machine);
}

static void note_recovered(struct scope *scope, uint64_t hash, const uint32_t *found)
{
	bool is_new;
	struct known *known = know(scope, hash, &is_new);
	known->is_recovered = true;
	memcpy(known->found, found, sizeof(known->found));
}

/* What a recovery has found stays found. */
static void recover_again(struct scope *scope, struct simulated_world *world, const uint32_t *before)
{
	bool is_new;
	uint32_t found[KEYS];
	uint64_t hash = simulated_image(world);
	const struct known *known = know(scope, hash, &is_new);
	if (known->is_recovered) {
		memcpy(found, known->found, sizeof(found));
		simulated_destroy(world);
	} else {
		scope->counts->again++;
		recover(scope, world, false, NULL, found);
		note_recovered(scope, hash, found);
	}
	for (uint32_t k = 0; k < KEYS; k++)
		if (found[k] != before[k])
			sim_fail("power was lost right after a recovery: key %u has value %u, and had %u", k,
				 found[k], before[k]);
}

static void recover_disk(struct scope *scope, const struct disk *disk)
{
	const struct record *record = &scope->records[disk->record];
	struct simulated_world *after = NULL;
	uint32_t found[KEYS];
	bool is_new;
	if (know(scope, record->hash, &is_new)->is_recovered) {
		simulated_destroy(disk->world);
		return;
	}
	set_where(scope, record->boundary, record->image, record->choices);
	bool is_used = record->hash % USED_ONE_IN == 0;
	recover(scope, disk->world, is_used, disk->loses_power ? &after : NULL, found);
	note_recovered(scope, record->hash, found);
	if (after != NULL)
		recover_again(scope, after, found);
}

static void check_record(struct scope *scope, const struct record *record)
{
	bool is_new;
	const struct known *known = know(scope, record->hash, &is_new);
	struct model_question question = { .found = known->found,
					   .promise = record->promise,
					   .promised_until = record->moment,
					   .issued_until = record->moment };
	set_where(scope, record->boundary, record->image, record->choices);
	model_check_state(&scope->model, &question);
	if (memcmp(known->found, record->acknowledged, sizeof(known->found)) == 0)
		scope->counts->exact++;
	else if (memcmp(known->found, record->issued, sizeof(known->found)) == 0)
		scope->counts->more++;
	else
		scope->counts->less++;
}

/* All images so far. Nothing is under way on the machine meanwhile. */
static void check_images(struct scope *scope)
{
	watch(scope, false);
	for (size_t i = 0; i < scope->disk_count; i++)
		recover_disk(scope, &scope->disks[i]);
	for (size_t i = 0; i < scope->record_count; i++)
		check_record(scope, &scope->records[i]);
	scope->disk_count = scope->record_count = 0;
	machine_enter(scope->machine);
	set_where(scope, 0, 0, "");
}

/* --- operations --- */

/* What the write asks for. */
static cascade_durability next_level(const struct scope *scope)
{
	return scope->setting->mixed && scope->writes % 2 == 1 ? CASCADE_DURABILITY_POWER : scope->plan.level;
}

static uint32_t issue(struct scope *scope)
{
	uint32_t write = model_issue(&scope->model, 0, 0, next_level(scope));
	memcpy(scope->issued, scope->acknowledged, sizeof(scope->issued));
	scope->writes++;
	return write;
}

static void add(struct scope *scope, uint32_t write, uint32_t key, uint32_t value)
{
	model_add_op(&scope->model, write, key, value);
	scope->issued[key] = value;
}

static void settle(struct scope *scope, uint32_t write, cascade_status status)
{
	if (status != CASCADE_OK)
		sim_fail("a write: %s (%s)", cascade_strerror(status), cascade_error_message());
	model_settle(&scope->model, write, status);
	memcpy(scope->acknowledged, scope->issued, sizeof(scope->acknowledged));
}

static void put(struct scope *scope, bool large)
{
	static uint8_t bytes[VALUE_BYTES_MAX];
	size_t size;
	uint32_t key = scope->writes % KEYS;
	cascade_write_options options = { .durability = next_level(scope) };
	uint32_t value = draw_value(scope, key, large, bytes, &size);
	uint32_t write = issue(scope);
	add(scope, write, key, value);
	settle(scope, write,
	       cascade_put(scope->machine->db, key_bytes(scope, key), cascade_bytes(bytes, size), &options));
}

/* Of the key that was written last. */
static void erase(struct scope *scope)
{
	uint32_t key = (scope->writes + KEYS - 1) % KEYS;
	cascade_write_options options = { .durability = next_level(scope) };
	uint32_t write = issue(scope);
	add(scope, write, key, MODEL_ABSENT);
	settle(scope, write, cascade_delete(scope->machine->db, key_bytes(scope, key), &options));
}

static void batch(struct scope *scope)
{
	static uint8_t bytes[VALUE_BYTES_MAX];
	size_t size;
	uint32_t first = scope->writes % KEYS;
	const uint32_t keys[] = { first, (first + KEYS - 1) % KEYS, (first + 2) % KEYS };
	cascade_write_options options = { .durability = next_level(scope) };
	cascade_batch *made;
	SIM_CHECK_OK(cascade_batch_create(&made));
	uint32_t write = issue(scope);
	for (unsigned i = 0; i < 3; i++) {
		cascade_slice key = key_bytes(scope, keys[i]);
		uint32_t value = MODEL_ABSENT;
		if (i != 1) {
			value = draw_value(scope, keys[i], false, bytes, &size);
			SIM_CHECK_OK(cascade_batch_put(made, key, cascade_bytes(bytes, size)));
		} else {
			SIM_CHECK_OK(cascade_batch_delete(made, key));
		}
		add(scope, write, keys[i], value);
	}
	settle(scope, write, cascade_write(scope->machine->db, made, &options));
	cascade_batch_destroy(made);
}

static void flush(struct scope *scope)
{
	uint64_t began = model_moment(&scope->model);
	SIM_CHECK_OK(cascade_flush(scope->machine->db));
	model_flushed(&scope->model, began);
}

/* The state that an open has found is the one from which everything is counted. */
static void start_over(struct scope *scope)
{
	check_images(scope);
	model_rebase(&scope->model, scope->state);
	memcpy(scope->acknowledged, scope->state, sizeof(scope->acknowledged));
	memcpy(scope->issued, scope->state, sizeof(scope->issued));
	scope->crashed_at = 0;
}

static void find_state(struct scope *scope, enum model_promise promise, uint64_t moment)
{
	struct model_question question = { .promise = promise,
					   .promised_until = moment,
					   .issued_until = moment };
	check_database(scope->machine, &scope->model, &question, false, scope->state);
}

static void reopen(struct scope *scope, bool watched)
{
	uint64_t began = model_moment(&scope->model);
	cascade_status status = machine_close(scope->machine);
	if (status != CASCADE_OK)
		sim_fail("close: %s (%s)", cascade_strerror(status), cascade_error_message());
	model_flushed(&scope->model, began);
	if (watched)
		take_boundary(scope);
	open_machine(scope->machine, "open after close");
	watch(scope, false);
	find_state(scope, MODEL_ACKNOWLEDGED, model_moment(&scope->model));
	start_over(scope);
}

/* Makes an image at the first write to the log, of which every other unit arrives. */
struct tear {
	struct scope *scope;
	struct simulated_world *image;
	uint64_t moment;
	uint32_t asked;
};

static uint32_t choose_every_other(void *context, uint32_t count)
{
	struct tear *tear = context;
	return tear->asked++ % 2 == 0 ? count - 1 : 0;
}

static void tear_write(void *context, const struct simulated_event *event)
{
	struct tear *tear = context;
	struct scope *scope = tear->scope;
	if (tear->image != NULL || event->stage != SIMULATED_ENTERED || event->operation != IO_WRITE ||
	    strstr(event->path, "/wal-") == NULL || event->length < LARGE_BYTES_MIN)
		return;
	struct simulated_crash how = { .kind = scope->setting->crash,
				       .choose = choose_every_other,
				       .context = tear };
	tear->image = simulated_crash(scope->machine->disk, &how);
	tear->moment = model_moment(&scope->model);
}

static void note_counters(struct scope *scope)
{
	static const char *const names[] = { "flushes", "merges", "wal.laps" };
	uint64_t values[3];
	for (unsigned i = 0; i < 3; i++)
		values[i] = machine_stat(scope->machine, names[i]);
	scope->counts->flushes += values[0];
	scope->counts->merges += values[1];
	scope->counts->laps += values[2];
}

static void end_machine(struct scope *scope)
{
	machine_enter(scope->machine);
	note_counters(scope);
	SIM_CHECK_OK(machine_close(scope->machine));
	(void)machine_destroy(scope->machine);
	scope->machine = NULL;
}

static void crash_torn(struct scope *scope, bool watched)
{
	struct tear tear = { .scope = scope };
	uint32_t before[KEYS];
	memcpy(before, scope->acknowledged, sizeof(before));
	simulated_observe(scope->machine->disk, tear_write, &tear);
	put(scope, true);
	memcpy(scope->acknowledged, before, sizeof(before));
	simulated_observe(scope->machine->disk, NULL, NULL);
	if (tear.image == NULL)
		sim_fail("a large put wrote nothing to the log");
	end_machine(scope);
	scope->machine = make_machine(scope, tear.image);
	scope->crashed_at = tear.moment;
	watch(scope, watched);
	open_machine(scope->machine, "open after a crash");
	watch(scope, false);
	find_state(scope, promise_of(scope, SIMULATED_PROCESS), tear.moment);
	start_over(scope);
}

static void operate(struct scope *scope, char letter, bool watched)
{
	watch(scope, watched);
	scope->boundary = 0;
	scope->counts->operations++;
	switch (letter) {
	case 'P':
		put(scope, false);
		break;
	case 'L':
		put(scope, true);
		break;
	case 'D':
		erase(scope);
		break;
	case 'B':
		batch(scope);
		break;
	case 'F':
		flush(scope);
		break;
	case 'W':
		SIM_CHECK_OK(cascade_wait_idle(scope->machine->db));
		break;
	case 'R':
		reopen(scope, watched);
		break;
	case 'K':
		crash_torn(scope, watched);
		break;
	default:
		sim_fail("'%c' is no operation", letter);
	}
	watch(scope, false);
	if (!watched)
		return;
	/* It has returned, and nobody has done anything since. */
	take_boundary(scope);
	check_images(scope);
}

/* --- starts --- */

/* The log comes round, flushes and merges have made tables, and the log holds what no table has. */
static void wear(struct scope *scope)
{
	cascade *db = scope->machine->db;
	for (unsigned round = 0; machine_stat(scope->machine, "wal.laps") < 6; round++) {
		SIM_CHECK(round < WEAR_ROUNDS_MAX);
		for (unsigned i = 0; i < 3; i++)
			put(scope, true);
		SIM_CHECK_OK(cascade_flush(db));
		SIM_CHECK_OK(cascade_wait_idle(db));
	}
	while (machine_stat(scope->machine, "level.0.tables") != 1) {
		put(scope, false);
		SIM_CHECK_OK(cascade_flush(db));
		SIM_CHECK_OK(cascade_wait_idle(db));
	}
	SIM_CHECK(machine_stat(scope->machine, "merges") > 0);
	batch(scope);
	put(scope, true);
	erase(scope);
}

/* A database that was killed, and nothing of which can get lost any more. */
static void make_worn_start(struct scope *scope)
{
	scope->model = scope->start_model;
	scope->machine = make_machine(scope, NULL);
	open_machine(scope->machine, "create");
	model_assign_shards(&scope->model, scope->machine->db);
	wear(scope);
	find_state(scope, MODEL_ACKNOWLEDGED, model_moment(&scope->model));
	scope->start = crash(scope->machine->disk, SIMULATED_PROCESS, SIMULATED_KEEP_ALL, 1);
	simulated_settle(scope->start);
	end_machine(scope);
	model_rebase(&scope->model, scope->state);
	scope->start_model = scope->model;
	scope->start_model.ops = NULL;
	scope->start_model.op_capacity = 0;
	scope->start_model.writes = NULL;
	scope->start_model.write_capacity = 0;
	model_free(&scope->model);
}

struct scope *scope_create(const struct scope_setting *setting, uint64_t seed, struct scope_counts *counts,
			   char *where)
{
	struct scope *scope = calloc(1, sizeof(*scope));
	struct scope_counts wear_counts = { 0 };
	if (scope == NULL)
		abort();
	scope->setting = setting;
	scope->seed = seed;
	scope->counts = &wear_counts;
	scope->where = where;
	scope->string = "-";
	set_where(scope, 0, 0, "");
	scope->plan = make_plan(setting, seed);
	model_init(&scope->start_model, scope->seed, 1, KEYS, VALUE_BYTES_MAX);
	if (setting->worn)
		make_worn_start(scope);
	scope->counts = counts;
	return scope;
}

void scope_destroy(struct scope *scope)
{
	simulated_destroy(scope->start);
	model_free(&scope->start_model);
	free(scope->records);
	free(scope->disks);
	free(scope->known);
	free(scope);
}

/* --- strings --- */

static void begin(struct scope *scope, bool watched)
{
	scope->model = scope->start_model;
	scope->writes = 0;
	scope->crashed_at = 0;
	scope->boundary = 0;
	for (uint32_t k = 0; k < KEYS; k++)
		scope->acknowledged[k] = scope->issued[k] = scope->model.keys[k].base;
	struct simulated_world *disk = NULL;
	if (scope->start != NULL)
		disk = crash(scope->start, SIMULATED_POWER, SIMULATED_KEEP_ALL, scope->seed);
	scope->machine = make_machine(scope, disk);
	watch(scope, watched);
	open_machine(scope->machine, "open");
	model_assign_shards(&scope->model, scope->machine->db);
	/* Recovery begins a segment; these nearly fill it. */
	if (scope->setting->worn) {
		put(scope, true);
		put(scope, true);
	}
	watch(scope, false);
	if (!watched)
		return;
	take_boundary(scope);
	check_images(scope);
}

uint64_t scope_run(struct scope *scope, const char *string, const struct scope_limits *limits)
{
	size_t length = strlen(string);
	SIM_CHECK(length <= SCOPE_LENGTH_MAX);
	scope->string = string;
	scope->limits = *limits;
	set_where(scope, 0, 0, "");
	begin(scope, length == 0);
	for (size_t i = 0; i < length; i++)
		operate(scope, string[i], i + 1 == length);
	uint64_t trace = stepped_trace(scope->machine->stepped);
	end_machine(scope);
	model_free(&scope->model);
	scope->counts->strings++;
	return trace;
}

/* --- counts --- */

enum { COUNT_WORDS = sizeof(struct scope_counts) / sizeof(uint64_t) };

void scope_counts_add(struct scope_counts *to, const struct scope_counts *from)
{
	uint64_t *sum = (uint64_t *)(void *)to;
	const uint64_t *more = (const uint64_t *)(const void *)from;
	for (unsigned i = 0; i < COUNT_WORDS; i++)
		sum[i] += more[i];
}

void scope_counts_print(const struct scope_counts *counts, FILE *to)
{
	static const char *const names[COUNT_WORDS] = { "strings",
							"operations",
							"boundaries",
							"crashes gone through",
							"crashes sampled",
							"images of kills",
							"images of power losses",
							"images known already",
							"recovered",
							"recovered again",
							"written to and recovered",
							"as acknowledged",
							"with what was under way",
							"with less",
							"torn tails cut",
							"flushes",
							"merges",
							"segments used again" };
	const uint64_t *words = (const uint64_t *)(const void *)counts;
	for (unsigned i = 0; i < COUNT_WORDS; i++)
		(void)fprintf(to, "%s%llu %s", i > 0 ? ", " : "", (unsigned long long)words[i], names[i]);
	(void)fprintf(to, "\n");
}
