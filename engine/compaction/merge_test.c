/*
 * merge_test.c: the loser tree against a sort, over random inputs in memory. Takes about 2 s.
 */
#include <string.h>

#include "test.h"

#include "base/memory.h"
#include "compaction/merge.h"

enum { KEY_MAX = 48, INPUTS_MAX = 40 };

/* One version of one key, and which input it came from. */
struct row {
	uint8_t key[KEY_MAX];
	size_t key_size;
	uint64_t sequence;
	uint32_t input;
};

static struct slice row_key(const struct row *row)
{
	return slice_make(row->key, row->key_size);
}

static int compare_rows(const void *a, const void *b)
{
	const struct row *x = a;
	const struct row *y = b;
	return entry_compare(row_key(x), x->sequence, row_key(y), y->sequence);
}

/* --- an input: sorted rows in memory, which can be made to fail --- */

struct input {
	struct iterator base;
	const struct row *rows;
	size_t count;
	size_t at;
	uint64_t steps;	  /* seeks and nexts so far */
	uint64_t fail_at; /* the step that fails; 0: none does */
	unsigned *destroyed;
	uint8_t key[KEY_MAX]; /* a copy, overwritten at each move: whoever kept a slice would notice */
};

static struct status input_publish(struct input *input)
{
	memset(input->key, 0xee, sizeof(input->key));
	input->base.valid = false;
	if (++input->steps == input->fail_at)
		return status_error(STATUS_IO, "the input fails at step %llu",
				    (unsigned long long)input->steps);
	if (input->at == input->count)
		return status_ok();
	const struct row *row = &input->rows[input->at];
	memcpy(input->key, row->key, row->key_size);
	input->base.entry = (struct entry) { .key = slice_make(input->key, row->key_size),
					     .value = slice_make(&row->input, sizeof(row->input)),
					     .sequence = row->sequence,
					     .kind = ENTRY_PUT };
	input->base.valid = true;
	return status_ok();
}

static struct status input_seek(struct task *self, struct iterator *iterator, struct slice key,
				uint64_t sequence)
{
	(void)self;
	struct input *input = CONTAINER_OF(iterator, struct input, base);
	for (input->at = 0; input->at < input->count; input->at++) {
		const struct row *row = &input->rows[input->at];
		if (entry_compare(row_key(row), row->sequence, key, sequence) >= 0)
			break;
	}
	return input_publish(input);
}

static struct status input_next(struct task *self, struct iterator *iterator)
{
	(void)self;
	struct input *input = CONTAINER_OF(iterator, struct input, base);
	assert_true(iterator->valid);
	input->at++;
	return input_publish(input);
}

static void input_destroy(struct iterator *iterator)
{
	struct input *input = CONTAINER_OF(iterator, struct input, base);
	(*input->destroyed)++;
	free(input);
}

static const struct iterator_ops input_ops = {
	.seek = input_seek,
	.next = input_next,
	.destroy = input_destroy,
};

/* --- a world: rows spread over inputs, and the same rows in one sorted list --- */

struct world {
	size_t input_count;
	struct row *rows[INPUTS_MAX];
	size_t counts[INPUTS_MAX];
	struct row *all;
	size_t all_count;
	struct input *inputs[INPUTS_MAX];
	unsigned destroyed;
	struct iterator *merged;
};

/* How keys look: what they share decides what heads and prefixes have to bear. */
enum shape { SHAPE_SHORT, SHAPE_PREFIXED, SHAPE_COUNTED, SHAPE_EDGES, SHAPES };

static void make_key(struct random *random, enum shape shape, struct row *row)
{
	switch (shape) {
	case SHAPE_SHORT: /* few distinct keys, also the empty one */
		row->key_size = random_below(random, 4);
		for (size_t i = 0; i < row->key_size; i++)
			row->key[i] = (uint8_t)random_below(random, 3);
		return;
	case SHAPE_PREFIXED: /* long shared beginnings of several lengths, one key the prefix of another */
		row->key_size = random_below(random, KEY_MAX - 4);
		memset(row->key, 'a', row->key_size);
		if (random_below(random, 2) == 0 && row->key_size > 0)
			row->key[row->key_size - 1] = (uint8_t)('a' + random_below(random, 3));
		return;
	case SHAPE_COUNTED: { /* as counters are written: the shared prefix changes at each carry */
		int size = snprintf((char *)row->key, KEY_MAX, "user%012llu",
				    (unsigned long long)random_below(random, 3000));
		row->key_size = (size_t)size;
		return;
	}
	default: /* heads of all ones, as an ended input has */
		row->key_size = 6 + random_below(random, 6);
		memset(row->key, 0xff, row->key_size);
		if (random_below(random, 2) == 0)
			row->key[random_below(random, row->key_size)] = (uint8_t)random_below(random, 256);
		return;
	}
}

static void world_fill(struct world *world, struct random *random, size_t inputs, size_t rows_max)
{
	*world = (struct world) { .input_count = inputs };
	enum shape shape = (enum shape)random_below(random, SHAPES);
	uint64_t sequence = 1;
	size_t capacity = inputs * rows_max + 1;
	world->all = calloc(capacity, sizeof(struct row));
	for (size_t i = 0; i < inputs; i++) {
		/* Some inputs are empty, some have a single row. */
		size_t count = random_below(random, 4) == 0 ? random_below(random, 2)
							    : random_below(random, rows_max + 1);
		world->rows[i] = calloc(count + 1, sizeof(struct row));
		world->counts[i] = count;
		for (size_t r = 0; r < count; r++) {
			struct row *row = &world->rows[i][r];
			make_key(random, shape, row);
			row->sequence = sequence++;
			row->input = (uint32_t)i;
			world->all[world->all_count++] = *row;
		}
		qsort(world->rows[i], count, sizeof(struct row), compare_rows);
	}
	qsort(world->all, world->all_count, sizeof(struct row), compare_rows);
}

static void world_merge(struct world *world)
{
	struct iterator *list[INPUTS_MAX];
	for (size_t i = 0; i < world->input_count; i++) {
		struct input *input = calloc(1, sizeof(*input));
		input->base.ops = &input_ops;
		input->rows = world->rows[i];
		input->count = world->counts[i];
		input->destroyed = &world->destroyed;
		world->inputs[i] = input;
		list[i] = &input->base;
	}
	assert_ok(merge_iterator_create(list, world->input_count, &world->merged));
	assert_false(world->merged->valid);
}

static void world_free(struct world *world)
{
	iterator_destroy(world->merged);
	assert_int_equal(world->destroyed, world->input_count);
	for (size_t i = 0; i < world->input_count; i++)
		free(world->rows[i]);
	free(world->all);
}

static size_t world_find(const struct world *world, struct slice key, uint64_t sequence)
{
	size_t at = 0;
	while (at < world->all_count &&
	       entry_compare(row_key(&world->all[at]), world->all[at].sequence, key, sequence) < 0)
		at++;
	return at;
}

/* The merge stands on the row of that number, or has ended. */
static void assert_stands(const struct world *world, size_t at)
{
	if (at == world->all_count) {
		assert_false(world->merged->valid);
		return;
	}
	const struct row *row = &world->all[at];
	assert_true(world->merged->valid);
	const struct entry *entry = &world->merged->entry;
	assert_int_equal(entry->key.size, row->key_size);
	assert_memory_equal(entry->key.data, row->key, row->key_size);
	assert_int_equal(entry->sequence, row->sequence);
	assert_int_equal(*(const uint32_t *)(const void *)entry->value.data, row->input);
}

static void walk(const struct world *world, size_t at, size_t steps)
{
	assert_stands(world, at);
	while (at < world->all_count && steps-- > 0) {
		assert_ok(iterator_next(NULL, world->merged));
		assert_stands(world, ++at);
	}
}

static void test_merges_as_a_sort_does(void **state)
{
	(void)state;
	uint64_t seed = test_seed(101);
	print_message("seed %llu\n", (unsigned long long)seed);
	struct random random = random_stream(seed);
	for (size_t inputs = 1; inputs <= INPUTS_MAX; inputs++) {
		for (unsigned round = 0; round < 12; round++) {
			struct world world;
			world_fill(&world, &random, inputs, 60);
			world_merge(&world);
			assert_ok(iterator_seek_first(NULL, world.merged));
			walk(&world, 0, SIZE_MAX);
			/* And once more from the start. */
			assert_ok(iterator_seek_first(NULL, world.merged));
			walk(&world, 0, SIZE_MAX);
			world_free(&world);
		}
	}
}

static void test_seeks_in_between(void **state)
{
	(void)state;
	uint64_t seed = test_seed(102);
	print_message("seed %llu\n", (unsigned long long)seed);
	struct random random = random_stream(seed);
	for (unsigned round = 0; round < 150; round++) {
		struct world world;
		world_fill(&world, &random, 1 + random_below(&random, INPUTS_MAX), 40);
		world_merge(&world);
		for (unsigned seek = 0; seek < 20; seek++) {
			/* To a row that is there, just behind it, or to a key of some other shape. */
			struct row target = { .sequence = random_below(&random, 2) == 0 ? SEQUENCE_MAX : 7 };
			if (world.all_count > 0 && random_below(&random, 3) > 0) {
				target = world.all[random_below(&random, world.all_count)];
				if (random_below(&random, 2) == 0)
					target.sequence--;
			} else {
				make_key(&random, (enum shape)random_below(&random, SHAPES), &target);
			}
			assert_ok(iterator_seek(NULL, world.merged, row_key(&target), target.sequence));
			walk(&world, world_find(&world, row_key(&target), target.sequence),
			     random_below(&random, 30));
		}
		world_free(&world);
	}
}

/* An error of any input, at any step, comes out; the merge is not valid then, and a new seek goes on. */
static void test_errors_of_an_input_come_out(void **state)
{
	(void)state;
	uint64_t seed = test_seed(103);
	print_message("seed %llu\n", (unsigned long long)seed);
	struct random random = random_stream(seed);
	unsigned failed = 0;
	for (unsigned round = 0; round < 400; round++) {
		struct world world;
		world_fill(&world, &random, 1 + random_below(&random, 10), 20);
		world_merge(&world);
		struct input *broken = world.inputs[random_below(&random, world.input_count)];
		broken->fail_at = 1 + random_below(&random, 12);
		size_t at = 0;
		struct status status = iterator_seek_first(NULL, world.merged);
		while (status_is_ok(status) && world.merged->valid) {
			assert_stands(&world, at++);
			status = iterator_next(NULL, world.merged);
		}
		if (status_is_ok(status)) {
			assert_int_equal(at, world.all_count);
			assert_true(broken->steps < broken->fail_at);
		} else {
			failed++;
			assert_status(status, STATUS_IO);
			assert_false(world.merged->valid);
			assert_ok(iterator_seek_first(NULL, world.merged));
			walk(&world, 0, SIZE_MAX);
		}
		world_free(&world);
	}
	assert_true(failed > 50);
}

/* Without memory the inputs are destroyed all the same. */
static void test_no_memory(void **state)
{
	(void)state;
	for (uint64_t n = 1; n <= 3; n++) {
		unsigned destroyed = 0;
		struct iterator *list[3];
		for (size_t i = 0; i < 3; i++) {
			struct input *input = calloc(1, sizeof(*input));
			input->base.ops = &input_ops;
			input->destroyed = &destroyed;
			list[i] = &input->base;
		}
		struct iterator *merged = NULL;
		memory_fail_at(n, 0);
		struct status status = merge_iterator_create(list, 3, &merged);
		memory_fail_at(0, 0);
		assert_status(status, STATUS_NO_MEMORY);
		assert_int_equal(destroyed, 3);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_merges_as_a_sort_does),
		cmocka_unit_test(test_seeks_in_between),
		cmocka_unit_test(test_errors_of_an_input_come_out),
		cmocka_unit_test(test_no_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
