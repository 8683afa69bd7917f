/*
 * Every compaction policy. Input: 1 byte variant, 1 byte for each of up to 6 options, sizes of memtables,
 * tables and entries, then a tree, level by level from the last one up, and what happens to it: flushes,
 * merges as the policy picks them, several at a time, finished in any order, and other options. Afterwards
 * all that is due is merged.
 */
#include "components/compaction/policy.h"
#include "fuzz/fuzz.h"

#define SIM_CHECK(expression) FUZZ_CHECK(expression)
#define SIM_KEYS_MAX	      256
#define SIM_LEVEL_TABLES_MAX  2304
#include "components/compaction/policy_sim_test.h"

enum {
	VARIANTS_MAX = 64,
	OPTIONS_MAX = 6,
	STEPS_MAX = 60,
	FLUSH_MAX = 12,
	LEVEL_START_MAX = 12, /* tables of a level to begin with */
};

static const struct policy_ops *variants[VARIANTS_MAX];
static unsigned variant_count;

static void find_variants(void)
{
	const struct component *const *list = component_list(COMPONENT_COMPACTION);
	for (; list[variant_count] != NULL; variant_count++) {
		FUZZ_CHECK(variant_count < VARIANTS_MAX);
		variants[variant_count] = (const struct policy_ops *)(const void *)list[variant_count];
	}
}

/* The first few options as the input says; 0: as it is. */
static void take_options(struct sim *sim, struct fuzz_input *input)
{
	const struct component *component = &sim->ops->component;
	const struct option *option = component->options;
	for (unsigned i = 0; i < OPTIONS_MAX; i++) {
		uint64_t part = fuzz_number(input, 1);
		if (option == NULL || option->name == NULL)
			continue;
		double value = option->minimum +
			       (double)(uint64_t)((option->maximum - option->minimum) * (double)part / 255);
		if (part > 0)
			FUZZ_CHECK(status_is_ok(
				component_set_option(component, sim->options, option->name, value)));
		option++;
	}
}

/* A level of disjoint tables, newer than all that is there. */
static void take_level(struct sim *sim, struct fuzz_input *input, unsigned l)
{
	uint64_t tables = fuzz_number(input, 1) % (LEVEL_START_MAX + 1);
	uint64_t key = 0;
	for (uint64_t i = 0; i < tables; i++) {
		struct sim_entry entries[16];
		uint64_t shape = fuzz_number(input, 1);
		size_t count = 1 + shape % 16;
		key += shape / 16;
		if (key + count > KEYS_MAX)
			return;
		for (size_t j = 0; j < count; j++, key++) {
			entries[j] = (struct sim_entry) { .key = key,
							  .sequence = sim->next_sequence,
							  .is_delete = shape % 7 == 0 };
			sim->truth[key] = sim->next_sequence++;
		}
		level_insert_sorted(sim, l, sim_table_create(sim, entries, count));
	}
}

static void take_flush(struct sim *sim, struct fuzz_input *input, unsigned more)
{
	struct sim_entry entries[FLUSH_MAX];
	size_t count = 1 + more % FLUSH_MAX;
	uint64_t key = fuzz_number(input, 1);
	for (size_t i = 0; i < count; i++) {
		uint64_t step = fuzz_number(input, 1);
		entries[i] = (struct sim_entry) { .key = key, .is_delete = step % 8 == 0 };
		key = (key + step) % KEYS_MAX;
	}
	sim_flush(sim, entries, count);
}

static void run_step(struct sim *sim, struct fuzz_input *input)
{
	unsigned byte = (unsigned)fuzz_number(input, 1);
	unsigned more = byte / 8;
	switch (byte % 8) {
	case 0:
	case 1:
	case 2:
		take_flush(sim, input, more);
		break;
	case 3:
	case 4:
	case 5:
		if (sim->running_count < RUNNING_MAX)
			(void)sim_start(sim);
		break;
	case 6:
		if (sim->running_count > 0)
			sim_finish(sim, more % sim->running_count);
		break;
	default:
		/* As if the database had been opened with other options. */
		while (sim->running_count > 0)
			sim_finish(sim, 0);
		take_options(sim, input);
	}
	sim_check(sim);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	if (variant_count == 0)
		find_variants();
	const struct policy_ops *ops = variants[fuzz_number(&input, 1) % variant_count];
	struct sim *sim = sim_create(ops, 1, 2);
	take_options(sim, &input);
	sim->memtable_entries = 1 + fuzz_number(&input, 1) % 64;
	sim->table_entries = 2 + fuzz_number(&input, 1) % 64;
	sim->entry_bytes = 1ull << fuzz_number(&input, 1) % 41;
	sim->keep_versions = fuzz_number(&input, 1) % 2 == 1;
	for (unsigned l = LEVELS_MAX - 1; l >= 1; l--)
		take_level(sim, &input, l);
	sim_check(sim);
	for (unsigned i = 0; i < STEPS_MAX && input.left > 0; i++)
		run_step(sim, &input);
	sim_settle(sim);
	sim_check(sim);
	sim_destroy(sim);
	return 0;
}

/* Each variant: an empty tree that fills, a last level alone, all levels full, levels with gaps between them.
 */
size_t fuzz_seed(unsigned index, uint8_t *to)
{
	enum { SEEDS_EACH = 4, STEPS = 56 };
	static const uint8_t levels[SEEDS_EACH][LEVELS_MAX - 1] = {
		{ 0 }, { 12 }, { 12, 9, 8, 6, 4, 3, 2 }, { 10, 0, 8, 0, 0, 5, 1 }
	};
	if (variant_count == 0)
		find_variants();
	if (index / SEEDS_EACH >= variant_count)
		return FUZZ_NO_SEED;
	size_t size = fuzz_put(to, 0, index / SEEDS_EACH, 1);
	size = fuzz_put(to, size, 0, OPTIONS_MAX);
	/* Sizes of memtable, table and entry; versions kept every other time. */
	size = fuzz_put(to, size, 15 | 8 << 8 | 7 << 16 | (uint64_t)(index % 2) << 24, 4);
	uint64_t number = index + 1;
	for (unsigned l = 0; l < LEVELS_MAX - 1; l++) {
		size = fuzz_put(to, size, levels[index % SEEDS_EACH][l], 1);
		for (unsigned i = 0; i < levels[index % SEEDS_EACH][l]; i++)
			size = fuzz_put(to, size, 0x15 + i % 3, 1);
	}
	for (unsigned step = 0; step < STEPS; step++) {
		number = number * 6364136223846793005u + 1442695040888963407u;
		unsigned kind = (unsigned)(number >> 60) % 7;
		unsigned more = (unsigned)(number >> 40) % 16;
		size = fuzz_put(to, size, kind + 8 * more, 1);
		for (unsigned i = 0; kind < 3 && i < more + 2; i++)
			size = fuzz_put(to, size, number >> (8 * (i % 5)), 1);
	}
	return size;
}
