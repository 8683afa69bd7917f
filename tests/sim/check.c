#include "sim/check.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "sim/caller.h"
#include "sim/failure.h"

enum { FEW_KEYS = 32, IMAGE_GETS_ONE_IN = 4, LEVELS = 8, RING_LOOKS = 8, RING_LOOK_NS = 1000 * 1000 * 1000 };

/* --- files --- */

struct file_counts {
	uint64_t tables, segments, manifests, others;
	char other[128];
};

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text);
	size_t end_length = strlen(end);
	return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

static void count_file(void *context, const char *path, uint64_t size)
{
	struct file_counts *counts = context;
	const char *name = strrchr(path, '/') + 1;
	(void)size;
	if (ends_with(name, ".table")) {
		counts->tables++;
	} else if (strncmp(name, "wal-", 4) == 0) {
		counts->segments++;
	} else if (strncmp(name, "manifest", 8) == 0) {
		counts->manifests++;
	} else if (strcmp(name, "ROOT") != 0 && strcmp(name, "LOCK") != 0) {
		counts->others++;
		(void)snprintf(counts->other, sizeof(counts->other), "%s", path);
	}
}

static uint64_t live_files(struct machine *machine, uint64_t *segments)
{
	static const char *const names[LEVELS + 1] = {
		"level.0.tables", "level.1.tables", "level.2.tables", "level.3.tables", "level.4.tables",
		"level.5.tables", "level.6.tables", "level.7.tables", "wal.segments",
	};
	uint64_t values[LEVELS + 1];
	uint64_t tables = 0;
	machine_stats(machine, names, values, LEVELS + 1);
	for (unsigned level = 0; level < LEVELS; level++)
		tables += values[level];
	*segments = values[LEVELS];
	return tables;
}

static void check_files(struct machine *machine)
{
	struct file_counts counts = { 0 };
	uint64_t segments;
	uint64_t tables = live_files(machine, &segments);
	simulated_list_files(machine->disk, count_file, &counts);
	/* The log may be making its next segment ahead of need. */
	for (unsigned i = 0; i < RING_LOOKS && counts.segments != segments; i++) {
		cascade_sleep(machine->db, RING_LOOK_NS);
		counts = (struct file_counts) { 0 };
		simulated_list_files(machine->disk, count_file, &counts);
		segments = machine_stat(machine, "wal.segments");
	}
	if (counts.tables != tables)
		sim_fail("there are %llu table files, and %llu tables are live",
			 (unsigned long long)counts.tables, (unsigned long long)tables);
	if (counts.segments != segments)
		sim_fail("there are %llu files of the log, and %llu segments in its ring",
			 (unsigned long long)counts.segments, (unsigned long long)segments);
	if (counts.others > 0)
		sim_fail("nobody refers to %s", counts.other);
}

/* --- the state --- */

static void check_status(const struct model *model, cascade_status status, const char *what)
{
	if (status == CASCADE_OK || (model->broken && status == CASCADE_CORRUPT))
		return;
	sim_fail("%s: %s (%s), with no fault injected", what, cascade_strerror(status),
		 cascade_error_message());
}

void check_database(struct machine *machine, const struct model *model, const struct model_question *question,
		    bool thorough, uint32_t *found)
{
	struct model_question asked = *question;
	asked.found = found;
	check_status(model, client_scan(machine, model, NULL, found), "scan");
	/* There are many images, and gets take most of the time that one takes: some of them each time. */
	bool all = question->promise == MODEL_ACKNOWLEDGED || model->key_count <= FEW_KEYS;
	uint64_t one_in = all ? 1 : IMAGE_GETS_ONE_IN;
	for (uint32_t k = 0; k < model->key_count; k++) {
		uint32_t got;
		if (random_at(question->promised_until, k) % one_in != 0 && found[k] != MODEL_UNKNOWN)
			continue;
		check_status(model, client_get(machine, model, k, NULL, &got), "get");
		if (found[k] == MODEL_UNKNOWN)
			found[k] = got;
		else if (got != MODEL_UNKNOWN && got != found[k])
			sim_fail("key %u: a scan found value %u and a get value %u", k, found[k], got);
	}
	/* A device that has lied about a sync may lose any of it with the power, but never changes a value.
	 */
	if (model->lied == 0 || question->promise != MODEL_POWER)
		model_check_state(model, &asked);
	stepped_trace_mix(machine->stepped, found, model->key_count * sizeof(*found));
	if (!thorough || model->broken)
		return;
	check_status(model, cascade_wait_idle(machine->db), "wait_idle");
	if (!machine->had_errors)
		check_files(machine);
	check_status(model, cascade_verify(machine->db), "verify");
}

/* --- whether it can be used --- */

/* The model hears nothing of these: they are no part of the run that the image was taken from. */
static void put_some(struct machine *machine, struct model *model, struct random *random, uint32_t *found)
{
	static uint8_t buffer[1 << 16];
	for (unsigned i = 0; i < 24; i++) {
		uint32_t key = (uint32_t)random_below(random, model->key_count);
		const struct model_key *it = &model->keys[key];
		uint32_t value = model_draw_value(model);
		size_t size = model_fill_value(model, key, value, buffer);
		cascade_status status = cascade_put(machine->db, cascade_bytes(it->bytes, it->size),
						    cascade_bytes(buffer, size), NULL);
		if (status != CASCADE_OK)
			sim_fail("put after a recovery: %s (%s)", cascade_strerror(status),
				 cascade_error_message());
		found[key] = value;
	}
}

static void check_same(struct machine *machine, const struct model *model, const uint32_t *found,
		       const char *when)
{
	uint32_t *again = calloc(model->key_count, sizeof(*again));
	if (again == NULL)
		abort();
	check_status(model, client_scan(machine, model, NULL, again), when);
	for (uint32_t k = 0; k < model->key_count; k++)
		if (again[k] != found[k])
			sim_fail("%s: key %u has value %u instead of value %u", when, k, again[k], found[k]);
	free(again);
}

void check_usable(struct machine *machine, struct model *model, uint64_t seed, uint32_t *found)
{
	struct random random = random_stream(seed);
	put_some(machine, model, &random, found);
	check_same(machine, model, found, "after writes to a recovered database");
	if (random_below(&random, 2) == 0)
		SIM_CHECK_OK(cascade_flush(machine->db));
	SIM_CHECK_OK(machine_close(machine));
	SIM_CHECK_OK(machine_open(machine));
	check_same(machine, model, found, "after writes to a recovered database, closed and opened");
}
