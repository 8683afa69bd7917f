/*
 * sim_recovery_test.c: one by one, what the simulation has found: crashes at certain moments after which a
 * database did not open, or lost what an open had already shown. (About 5 s.)
 */
#include "test.h"

#include <string.h>

#include "sim/failure.h"
#include "sim/machine.h"
#include "sim/model.h"

enum { IMAGES_MAX = 400, VALUE_BYTES = 900 };

static struct plan plan;
static struct tally tally;

/* --- machines with little on them --- */

static struct machine *make_machine(cascade_durability level, struct simulated_world *disk)
{
	static const char *const names[] = { "", "memory", "process", "power" };
	plan_draw(&plan, 1, &(struct plan_limits) { 0 });
	plan.faults = 0;
	plan.shards = 1;
	plan.level = level;
	plan.durability = names[level];
	plan.segment_bytes = 64 << 10;
	plan.memtable_bytes = 128 << 10;
	plan.policy = STEPPED_FIFO;
	return machine_create(&plan, &tally, disk, 77);
}

static cascade_status put(struct machine *machine, unsigned key, unsigned version, cascade_durability level)
{
	char name[32];
	char value[VALUE_BYTES];
	cascade_write_options options = { .durability = level };
	(void)snprintf(name, sizeof(name), "key%03u", key);
	memset(value, (int)('a' + version % 26), sizeof(value));
	return cascade_put(machine->db, cascade_string(name), cascade_bytes(value, sizeof(value)), &options);
}

/* The version's letter; 0: not there. */
static char get(struct machine *machine, unsigned key)
{
	char name[32];
	cascade_value value;
	(void)snprintf(name, sizeof(name), "key%03u", key);
	cascade_status status = cascade_get(machine->db, cascade_string(name), NULL, &value);
	if (status == CASCADE_NOT_FOUND)
		return 0;
	assert_int_equal(status, CASCADE_OK);
	assert_int_equal(value.size, VALUE_BYTES);
	char letter = *(const char *)value.data;
	cascade_value_release(&value);
	return letter;
}

static void must_open(struct machine *machine)
{
	cascade_status status = machine_open(machine);
	if (status != CASCADE_OK)
		fail_msg("open: %s (%s)", cascade_strerror(status), cascade_error_message());
}

static void end(struct machine *machine)
{
	if (machine->db != NULL)
		(void)machine_close(machine);
	(void)machine_destroy(machine);
}

static struct simulated_world *crash(const struct simulated_world *disk, enum simulated_crash_kind kind,
				     enum simulated_keep keep, uint64_t seed)
{
	struct simulated_crash how = { .kind = kind, .keep = keep, .seed = seed };
	return simulated_crash(disk, &how);
}

/* --- images at every event --- */

struct images {
	const struct simulated_world *of;
	enum simulated_crash_kind kind;
	enum simulated_keep keep;
	const char *file; /* of events that concern this one; NULL: all */
	struct simulated_world *disks[IMAGES_MAX];
	unsigned count;
};

static void take_image(void *context, const struct simulated_event *event)
{
	struct images *images = context;
	if (images->file != NULL && strstr(event->path, images->file) == NULL)
		return;
	if (images->count < IMAGES_MAX)
		images->disks[images->count++] = crash(images->of, images->kind, images->keep, event->number);
}

static void observe(struct images *images, struct machine *machine)
{
	images->of = machine->disk;
	simulated_observe(machine->disk, take_image, images);
}

/* What an open has shown is there after a loss of power that takes all that is not durable. */
static void check_shown_is_durable(struct simulated_world *disk, cascade_durability level, unsigned keys)
{
	struct machine *first = make_machine(level, disk);
	must_open(first);
	struct machine *second =
		make_machine(level, crash(first->disk, SIMULATED_POWER, SIMULATED_KEEP_NONE, 1));
	must_open(second);
	for (unsigned key = 0; key < keys; key++) {
		machine_enter(first);
		char shown = get(first, key);
		machine_enter(second);
		assert_int_equal(get(second, key), shown);
	}
	end(second);
	machine_enter(first);
	end(first);
}

/* --- the tests --- */

/* A kill leaves edits of the manifest in a cache; an open must not rely on them before they are durable. */
static void edits_that_an_open_reads_are_durable(void **state)
{
	(void)state;
	struct images images = { .kind = SIMULATED_PROCESS, .keep = SIMULATED_KEEP_ALL, .file = "manifest" };
	struct machine *machine = make_machine(CASCADE_DURABILITY_MEMORY, NULL);
	must_open(machine);
	observe(&images, machine);
	for (unsigned version = 1; version < 4; version++) {
		for (unsigned key = 0; key < 8; key++)
			assert_int_equal(put(machine, key, version, CASCADE_DURABILITY_DEFAULT), CASCADE_OK);
		assert_int_equal(cascade_flush(machine->db), CASCADE_OK);
	}
	simulated_observe(machine->disk, NULL, NULL);
	end(machine);
	assert_true(images.count > 6);
	for (unsigned i = 0; i < images.count; i++)
		check_shown_is_durable(images.disks[i], CASCADE_DURABILITY_MEMORY, 8);
}

/* The same where a sync has failed, after which a later one helps nothing. */
static void what_a_failed_sync_left_is_written_again(void **state)
{
	(void)state;
	static const char *const files[] = { "manifest*", "wal-*" };
	for (unsigned i = 0; i < 2; i++) {
		struct machine *machine = make_machine(CASCADE_DURABILITY_POWER, NULL);
		must_open(machine);
		assert_int_equal(put(machine, 0, 1, CASCADE_DURABILITY_DEFAULT), CASCADE_OK);
		struct faulty_rule rule = {
			.kind = FAULTY_SYNC_CLEAN_NEW, .file = files[i], .nth = 1, .times = 9
		};
		unsigned number = faulty_add(machine->faults, &rule);
		cascade_status written = put(machine, 1, 2, CASCADE_DURABILITY_DEFAULT);
		cascade_status flushed = cascade_flush(machine->db);
		assert_true(written != CASCADE_OK || flushed != CASCADE_OK);
		assert_true(faulty_fired(machine->faults, number) > 0);
		faulty_remove(machine->faults, number);
		(void)machine_close(machine);
		check_shown_is_durable(crash(machine->disk, SIMULATED_PROCESS, SIMULATED_KEEP_ALL, 1),
				       CASCADE_DURABILITY_POWER, 2);
		machine_enter(machine);
		end(machine);
	}
}

/* A flush does not sync the log: a loss of power may tear what it has made superfluous, and the commits
 * behind that are found all the same, and verified. */
static void commits_behind_torn_ones_are_found(void **state)
{
	(void)state;
	struct machine *machine = make_machine(CASCADE_DURABILITY_PROCESS, NULL);
	must_open(machine);
	for (unsigned key = 0; key < 12; key++)
		assert_int_equal(put(machine, key, 1, CASCADE_DURABILITY_PROCESS), CASCADE_OK);
	assert_int_equal(cascade_flush(machine->db), CASCADE_OK);
	for (unsigned key = 0; key < 12; key++)
		assert_int_equal(put(machine, key, 2, CASCADE_DURABILITY_PROCESS), CASCADE_OK);
	struct simulated_world *disks[100];
	for (unsigned i = 0; i < 100; i++)
		disks[i] = crash(machine->disk, SIMULATED_POWER, SIMULATED_KEEP_SOME, i);
	end(machine);
	for (unsigned i = 0; i < 100; i++) {
		machine = make_machine(CASCADE_DURABILITY_PROCESS, disks[i]);
		must_open(machine);
		for (unsigned key = 0; key < 12; key++)
			assert_true(get(machine, key) == 'b' || get(machine, key) == 'c');
		assert_int_equal(cascade_verify(machine->db), CASCADE_OK);
		end(machine);
	}
}

/* At any event of a creation, and then at every fifth of the open that follows it. */
static void creations_end_after_two_crashes(void **state)
{
	(void)state;
	for (unsigned way = 0; way < 4; way++) {
		enum simulated_crash_kind kind = way % 2 == 0 ? SIMULATED_POWER : SIMULATED_PROCESS;
		enum simulated_keep keep = way < 2 ? SIMULATED_KEEP_SOME : SIMULATED_KEEP_ALL;
		static struct images outer, inner;
		outer = (struct images) { .kind = kind, .keep = keep };
		struct machine *machine = make_machine(CASCADE_DURABILITY_POWER, NULL);
		observe(&outer, machine);
		must_open(machine);
		end(machine);
		for (unsigned i = 0; i < outer.count; i++) {
			inner = (struct images) { .kind = SIMULATED_POWER,
						  .keep = i % 2 == 0 ? SIMULATED_KEEP_NONE
								     : SIMULATED_KEEP_SOME };
			machine = make_machine(CASCADE_DURABILITY_POWER, outer.disks[i]);
			observe(&inner, machine);
			must_open(machine);
			simulated_observe(machine->disk, NULL, NULL);
			end(machine);
			for (unsigned j = 0; j < inner.count; j++) {
				if (j % 5 != i % 5) {
					simulated_destroy(inner.disks[j]);
					continue;
				}
				machine = make_machine(CASCADE_DURABILITY_POWER, inner.disks[j]);
				must_open(machine);
				end(machine);
			}
		}
	}
}

/* The directory's own name included. */
static void the_first_write_survives(void **state)
{
	(void)state;
	struct machine *machine = make_machine(CASCADE_DURABILITY_POWER, NULL);
	must_open(machine);
	assert_int_equal(put(machine, 0, 1, CASCADE_DURABILITY_POWER), CASCADE_OK);
	struct simulated_world *disk = crash(machine->disk, SIMULATED_POWER, SIMULATED_KEEP_NONE, 1);
	end(machine);
	machine = make_machine(CASCADE_DURABILITY_POWER, disk);
	must_open(machine);
	assert_int_equal(get(machine, 0), 'b');
	end(machine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(edits_that_an_open_reads_are_durable),
		cmocka_unit_test(what_a_failed_sync_left_is_written_again),
		cmocka_unit_test(commits_behind_torn_ones_are_found),
		cmocka_unit_test(creations_end_after_two_crashes),
		cmocka_unit_test(the_first_write_survives),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
