/*
 * bench_memtable.c: the kind `memtable`.
 */
#include "harness/bench/bench_memtable.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "harness/allocate.h"
#include "harness/bench/bench_timing.h"
#include "harness/ticks.h"

enum {
	NOISE_BYTES = 4096,
	ENTRY_BYTES = 160,		/* of one with all that belongs to it, more or less */
	WARM_BYTES = 208,		/* for each entry: most variants need less */
	CHUNK_BYTES = MEMORY_HUGE_PAGE, /* as the engine's, of memtables that are not small */
	PIECE_BYTES = 64 << 10,		/* in which memory is warmed */
	PAGE_BYTES = 4096,
	LINE_BYTES = 64,
	LOADS = 5000,
	LOAD_SLICES = 40,
	QUICK_LOADS = 500,
	QUICK_LOAD_SLICES = 2,
};

static const struct bench_measure *const measures[] = { &bench_memtable_random, &bench_memtable_ascending,
							&bench_memtable_overwrite, &bench_memtable_engine,
							NULL };

const struct bench_kind bench_memtable = {
	.name = "memtable",
	.summary = "sorted maps of entries in memory, alone and in the engine",
	.measures = measures,
	.has_variants = true,
};

/* --- keys --- */

struct bench_keys bench_keys_make(uint64_t count)
{
	struct bench_keys keys = { .count = count };
	keys.texts = allocate_zeroed(count + 1, sizeof(*keys.texts));
	return keys;
}

static void write_key(uint8_t text[BENCH_RECORD_KEY_BYTES], uint64_t number)
{
	memcpy(text, "user", 4);
	for (int i = BENCH_RECORD_KEY_BYTES - 1; i >= 4; i--) {
		text[i] = (uint8_t)('0' + number % 10);
		number /= 10;
	}
}

void bench_key_random(uint8_t text[BENCH_RECORD_KEY_BYTES], uint64_t seed, uint64_t number)
{
	/* The mixer is a bijection, so no two numbers of a seed have the same key. */
	write_key(text, random_mix(random_mix(seed) + number));
}

void bench_key_ascending(uint8_t text[BENCH_RECORD_KEY_BYTES], uint64_t number)
{
	write_key(text, number);
}

struct bench_keys bench_keys_draw(const struct bench_keys *keys, uint64_t count, uint64_t seed)
{
	struct bench_keys drawn = bench_keys_make(count);
	struct random random = random_stream(seed);
	for (uint64_t i = 0; i < count; i++)
		memcpy(drawn.texts[i], keys->texts[random_below(&random, keys->count)],
		       BENCH_RECORD_KEY_BYTES);
	return drawn;
}

struct slice bench_value(uint64_t number)
{
	static uint8_t noise[NOISE_BYTES + BENCH_RECORD_VALUE_BYTES];
	if (noise[0] == 0) {
		for (size_t i = 0; i < sizeof(noise); i++)
			noise[i] = (uint8_t)random_at(NOISE_BYTES, i) | 1;
	}
	return slice_make(noise + number * 8 % NOISE_BYTES, BENCH_RECORD_VALUE_BYTES);
}

/* --- a memtable --- */

/* Has the pool's chunks touched, and gives them back to it. */
static void warm_pool(struct bench_table *table, uint64_t bytes)
{
	arena_init_pooled(&table->arena, &table->pool);
	for (uint64_t done = 0; done < bytes; done += PIECE_BYTES) {
		volatile uint8_t *piece = arena_allocate(&table->arena, PIECE_BYTES, LINE_BYTES);
		for (size_t at = 0; piece != NULL && at < PIECE_BYTES; at += PAGE_BYTES)
			piece[at] = 1;
	}
	arena_free(&table->arena);
}

struct status bench_table_init(struct bench_table *table, const struct bench_job *job, uint64_t entries)
{
	const struct component *component = component_find(COMPONENT_MEMTABLE, job->variant);
	if (component == NULL)
		return status_error(STATUS_NOT_FOUND, "there is no memtable '%s'", job->variant);
	*table = (struct bench_table) {
		.ops = (const struct memtable_ops *)(const void *)component,
		.forgets = (component->capabilities & MEMTABLE_FORGETS) != 0,
	};
	if (component->options_size > 0) {
		table->options = allocate_zeroed(1, component->options_size);
		component_default_options(component, table->options);
	}
	arena_pool_init(&table->pool, CHUNK_BYTES, SIZE_MAX);
	warm_pool(table, entries * WARM_BYTES + CHUNK_BYTES);
	arena_init_pooled(&table->arena, &table->pool);
	return bench_table_reset(table);
}

struct status bench_table_reset(struct bench_table *table)
{
	arena_free(&table->arena);
	arena_init_pooled(&table->arena, &table->pool);
	table->sequence = 0;
	table->memtable = table->ops->create(&table->arena, table->options);
	return table->memtable != NULL ? status_ok() : status_make(STATUS_NO_MEMORY);
}

void bench_table_free(struct bench_table *table)
{
	arena_free(&table->arena);
	arena_pool_free(&table->pool);
	memory_free(table->options);
}

struct status bench_table_walk(struct bench_table *table, bool backwards, double *ns)
{
	_Alignas(64) uint8_t room[MEMTABLE_ITERATOR_BYTES];
	struct memtable_iterator *iterator = (struct memtable_iterator *)(void *)room;
	const struct memtable_ops *ops = table->ops;
	uint64_t rows = 0, sum = 0, counted = ops->count(table->memtable);
	ops->iterator_init(table->memtable, iterator);
	uint64_t start = ticks_now();
	if (backwards)
		ops->seek_last(iterator);
	else
		ops->seek(iterator, slice_make(NULL, 0), SEQUENCE_MAX);
	for (; iterator->valid; rows++) {
		sum += (uint64_t)iterator->entry.key.data[0] + iterator->entry.value.data[0];
		if (backwards)
			ops->prev(iterator);
		else
			ops->next(iterator);
	}
	uint64_t ticks = ticks_now() - start;
	bench_use(sum);
	*ns = rows > 0 ? (double)ticks_to_ns(ticks) / (double)rows : NAN;
	if (rows != counted && !table->forgets)
		return status_error(STATUS_CORRUPT, "a walk met %llu entries of %llu",
				    (unsigned long long)rows, (unsigned long long)counted);
	return status_ok();
}

/* --- the memory itself --- */

struct loads {
	const uint8_t *memory;
	uint64_t lines, state;
};

static void load_work(void *argument, uint64_t count)
{
	struct loads *loads = argument;
	uint64_t state = loads->state;
	for (uint64_t i = 0; i < count; i++) {
		uint64_t found;
		state = (state + i) * 0x9e3779b97f4a7c15ull;
		uint64_t line = (uint64_t)(((unsigned __int128)state * loads->lines) >> 64);
		memcpy(&found, loads->memory + line * LINE_BYTES, sizeof(found));
		/* All that lies there is zero, but the processor has to wait to know it. */
		state += found;
	}
	loads->state = state;
	bench_use(state);
}

double bench_load_ns(uint64_t entries, uint64_t seed, bool quick)
{
	size_t bytes = (entries * ENTRY_BYTES / MEMORY_HUGE_PAGE + 1) * MEMORY_HUGE_PAGE;
	uint8_t *memory = memory_map_huge(bytes);
	if (memory == NULL)
		return NAN;
	memset(memory, 0, bytes);
	/* Of the last, perhaps part-filled huge page only what entries would take. */
	struct loads loads = { memory, entries * ENTRY_BYTES / LINE_BYTES + 1, seed };
	double ns = bench_time_slices(load_work, &loads, quick ? QUICK_LOADS : LOADS,
				      quick ? QUICK_LOAD_SLICES : LOAD_SLICES);
	memory_unmap(memory, bytes);
	return ns;
}
