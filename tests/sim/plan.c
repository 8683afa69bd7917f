#include "sim/plan.h"

#include <string.h>

#include "base/random.h"
#include "components/component.h"
#include "components/memtable/memtable.h"
#include "database/options_internal.h"
#include "sim/failure.h"
#include "sim/model.h"

static const uint64_t second_ns = 1000ull * 1000 * 1000;

static const char *const fault_names[SIM_FAULT_COUNT] = {
	[SIM_SHORT] = "short",
	[SIM_AGAIN] = "again",
	[SIM_INTERRUPTED] = "interrupted",
	[SIM_STALL] = "stall",
	[SIM_READ_ERROR] = "read-error",
	[SIM_WRITE_ERROR] = "write-error",
	[SIM_WRITE_ERROR_DONE] = "write-error-done",
	[SIM_CANCELED] = "canceled",
	[SIM_NAME_ERROR] = "name-error",
	[SIM_ALLOCATE_ERROR] = "allocate-error",
	[SIM_FULL_DISK] = "full-disk",
	[SIM_FULL_WRITES] = "full-writes",
	[SIM_SYNC_CLEAN_NEW] = "sync-clean-new",
	[SIM_SYNC_CLEAN_OLD] = "sync-clean-old",
	[SIM_SYNC_LATE] = "sync-late",
	[SIM_SYNC_PARTLY] = "sync-partly",
	[SIM_SYNC_KEPT] = "sync-kept",
	[SIM_FLIP] = "flip",
	[SIM_ZERO] = "zero",
	[SIM_MISDIRECT] = "misdirect",
	[SIM_LOSE] = "lose",
};

const char *sim_fault_name(enum sim_fault fault)
{
	return fault_names[fault];
}

enum sim_fault sim_fault_find(const char *name)
{
	unsigned fault = 0;
	while (fault < SIM_FAULT_COUNT && strcmp(fault_names[fault], name) != 0)
		fault++;
	return (enum sim_fault)fault;
}

/* Which number of the seed's stream is for what: new ones are added at the end. */
enum draw {
	DRAW_OPERATIONS,
	DRAW_ROUNDS,
	DRAW_CLIENTS,
	DRAW_KEYS,
	DRAW_IMAGES,
	DRAW_PAUSE,
	DRAW_SHARDS,
	DRAW_MEMTABLE,
	DRAW_FILTER,
	DRAW_CACHE,
	DRAW_CODEC,
	DRAW_WAL,
	DRAW_DURABILITY,
	DRAW_MEMTABLE_BYTES,
	DRAW_CACHE_BYTES,
	DRAW_SEGMENT_BYTES,
	DRAW_TABLE_BYTES,
	DRAW_BLOCK_BYTES,
	DRAW_LEVEL0,
	DRAW_RATIO,
	DRAW_MERGES,
	DRAW_DIRECT,
	DRAW_UNIT,
	DRAW_ORDERED,
	DRAW_POLICY,
	DRAW_ERRORS,
	DRAW_FAULTS, /* and as many more as there are */
	DRAW_BEHIND_FAULTS = DRAW_FAULTS + 64,
	DRAW_MIX = DRAW_BEHIND_FAULTS,
	DRAW_RECORD_SHARE,
	DRAW_IMAGES_OF_NAMES,
	DRAW_IMAGES_AFTER_FAULT,
	DRAW_IMAGE_AT_END,
	DRAW_LIVES,
	DRAW_DAMAGED,
	DRAW_UNFLUSHED,
	DRAW_ZSTD,
	DRAW_BORROWS,
};

static uint64_t draw_below(const struct plan *plan, enum draw which, uint64_t bound)
{
	return random_at(plan->seed, (uint64_t)which) % bound;
}

static uint32_t draw_of(const struct plan *plan, enum draw which, const uint32_t *choices, size_t count)
{
	return choices[draw_below(plan, which, count)];
}

#define DRAW_OF(plan, which, ...)                                \
	draw_of(plan, which, (const uint32_t[]) { __VA_ARGS__ }, \
		sizeof((const uint32_t[]) { __VA_ARGS__ }) / sizeof(uint32_t))

static const char *draw_variant(const struct plan *plan, enum draw which, enum component_kind kind)
{
	const struct component *const *list = component_list(kind);
	size_t count = 0;
	while (list[count] != NULL)
		count++;
	return list[draw_below(plan, which, count)]->name;
}

/* One that keeps what it is given. */
static const char *draw_memtable(const struct plan *plan)
{
	const struct component *const *list = component_list(COMPONENT_MEMTABLE);
	const char *names[COMPONENT_VARIANTS_MAX];
	size_t count = 0;
	for (; *list != NULL; list++) {
		if (((*list)->capabilities & MEMTABLE_FORGETS) == 0)
			names[count++] = (*list)->name;
	}
	return names[draw_below(plan, DRAW_MEMTABLE, count)];
}

static void draw_database(struct plan *plan)
{
	plan->shards = DRAW_OF(plan, DRAW_SHARDS, 1, 1, 2, 3);
	plan->memtable = draw_memtable(plan);
	plan->filter = draw_variant(plan, DRAW_FILTER, COMPONENT_FILTER);
	plan->cache = draw_variant(plan, DRAW_CACHE, COMPONENT_CACHE);
	plan->codec = draw_variant(plan, DRAW_CODEC, COMPONENT_CODEC);
	/* It takes as long as all the rest, and says no more about crashes than another one. */
	if (strcmp(plan->codec, "zstd") == 0 && draw_below(plan, DRAW_ZSTD, 3) != 0)
		plan->codec = "none";
	plan->wal = draw_below(plan, DRAW_WAL, 2) == 0 ? "direct" : "buffered";
	static const char *const levels[] = { "memory", "process", "power" };
	static const uint8_t chosen[] = { 0, 1, 1, 1, 1, 2, 2, 2 };
	unsigned level = chosen[draw_below(plan, DRAW_DURABILITY, sizeof(chosen))];
	plan->durability = levels[level];
	plan->level = (cascade_durability)(CASCADE_DURABILITY_MEMORY + level);
	static const enum plan_mix mixes[] = { PLAN_MIX_SOME, PLAN_MIX_SOME, PLAN_MIX_HALF, PLAN_MIX_NONE };
	plan->mix = mixes[draw_below(plan, DRAW_MIX, sizeof(mixes) / sizeof(mixes[0]))];
	plan->memtable_bytes = DRAW_OF(plan, DRAW_MEMTABLE_BYTES, 32 << 10, 32 << 10, 64 << 10, 128 << 10);
	/* What is above the pool's floor may be for single records: nothing, little that is soon full, much.
	 */
	static const char *const shares[] = { "0", "0.03", "0.125", "0.5" };
	plan->cache_bytes = DRAW_OF(plan, DRAW_CACHE_BYTES, 256 << 10, 288 << 10, 288 << 10, 512 << 10);
	plan->record_share = shares[draw_below(plan, DRAW_RECORD_SHARE, sizeof(shares) / sizeof(shares[0]))];
	plan->segment_bytes = DRAW_OF(plan, DRAW_SEGMENT_BYTES, 16 << 10, 16 << 10, 32 << 10, 64 << 10);
	plan->table_bytes = DRAW_OF(plan, DRAW_TABLE_BYTES, 8 << 10, 16 << 10, 64 << 10);
	plan->block_bytes = DRAW_OF(plan, DRAW_BLOCK_BYTES, 1024, 2048, 4096, 4096, 16384);
	plan->level0_tables = DRAW_OF(plan, DRAW_LEVEL0, 2, 2, 3, 4);
	plan->size_ratio = DRAW_OF(plan, DRAW_RATIO, 4, 4, 6, 10);
	plan->merges = DRAW_OF(plan, DRAW_MERGES, 1, 2, 2, 3);
	plan->direct = draw_below(plan, DRAW_DIRECT, 8) != 0;
	plan->value_bytes_max = plan->segment_bytes * 3 / 8;
}

static void draw_faults(struct plan *plan)
{
	/* A third of the seeds has no errors at all: there the strongest promises hold all the time. */
	bool errors = draw_below(plan, DRAW_ERRORS, 3) != 0;
	for (unsigned fault = 0; fault < SIM_FAULT_COUNT; fault++) {
		if (fault >= SIM_QUIET_COUNT && !errors)
			break;
		if (draw_below(plan, (enum draw)(DRAW_FAULTS + fault), 2) == 0)
			plan->faults |= 1u << fault;
	}
	plan->faults &= ~plan->limits.without;
}

static uint32_t at_most(uint32_t value, uint32_t limit)
{
	return limit != 0 && limit < value ? limit : value;
}

static void draw_images(struct plan *plan)
{
	plan->images = DRAW_OF(plan, DRAW_IMAGES, 2, 3, 3);
	plan->images_of_names = DRAW_OF(plan, DRAW_IMAGES_OF_NAMES, 0, 1, 1, 2);
	plan->images_after_fault = DRAW_OF(plan, DRAW_IMAGES_AFTER_FAULT, 0, 1, 2, 2);
	plan->image_at_end = draw_below(plan, DRAW_IMAGE_AT_END, 2) == 0;
	plan->lives = DRAW_OF(plan, DRAW_LIVES, 0, 1, 2, 3);
	plan->damaged = DRAW_OF(plan, DRAW_DAMAGED, 0, 2, 3);
	plan->unflushed = draw_below(plan, DRAW_UNFLUSHED, 2) == 0;
	plan->images = at_most(plan->images, plan->limits.images);
	if (!plan->limits.no_images)
		return;
	plan->images = plan->images_of_names = plan->images_after_fault = plan->damaged = 0;
	plan->image_at_end = false;
}

void plan_draw(struct plan *plan, uint64_t seed, const struct plan_limits *limits)
{
	*plan = (struct plan) { .seed = random_mix(seed + 0x636173636164), .limits = *limits };
	draw_database(plan);
	draw_faults(plan);
	plan->rounds = DRAW_OF(plan, DRAW_ROUNDS, 2, 3, 4, 6);
	plan->operations = 1200 + (uint32_t)draw_below(plan, DRAW_OPERATIONS, 1600);
	plan->clients = 1 + (uint32_t)draw_below(plan, DRAW_CLIENTS, 6);
	plan->keys = DRAW_OF(plan, DRAW_KEYS, 48, 128, 256, MODEL_KEYS_MAX);
	draw_images(plan);
	plan->pause = DRAW_OF(plan, DRAW_PAUSE, 5, 20, 100);
	plan->unit_bytes = DRAW_OF(plan, DRAW_UNIT, 512, 512, 4096);
	plan->ordered = draw_below(plan, DRAW_ORDERED, 5) == 0;
	plan->borrows_in_256 = DRAW_OF(plan, DRAW_BORROWS, 16, 128, 256, 256);
	plan->policy = (enum stepped_policy)draw_below(plan, DRAW_POLICY, STEPPED_POLICY_COUNT);
	/* Storage that stalls takes its time; on a full disk each write waits as long before it is refused.
	 */
	plan->write_timeout_ns = (plan->faults & 1u << SIM_STALL) != 0 ? 20 * second_ns : 4 * second_ns;
	plan->operations = at_most(plan->operations, limits->operations);
	plan->clients = at_most(plan->clients, limits->clients);
	plan->rounds = at_most(plan->rounds, limits->rounds);
}

void plan_print(const struct plan *plan, FILE *to)
{
	static const char *const mix_names[PLAN_MIX_COUNT] = {
		[PLAN_MIX_SOME] = "some writes another",
		[PLAN_MIX_HALF] = "writes power and process",
		[PLAN_MIX_NONE] = "all writes",
	};
	(void)fprintf(
		to,
		"%u operations in %u rounds by %u clients on %u keys; images a round: %u, %u of names, %u "
		"after faults%s, %u lives behind one; after closes%s %u damaged; %u shards, durability %s "
		"(%s), wal %s %s %u KiB, memtable %s %u KiB, cache %s %u KiB (records %s), filter %s, codec "
		"%s, tables %u KiB, blocks %u B, level 0 of %u, ratio %u, %u merges; units of %u B%s; "
		"order %s, lent %u of 256; faults:",
		plan->operations, plan->rounds, plan->clients, plan->keys, plan->images,
		plan->images_of_names, plan->images_after_fault, plan->image_at_end ? ", one at its end" : "",
		plan->lives, plan->unflushed ? ", some unflushed," : "", plan->damaged, plan->shards,
		plan->durability, mix_names[plan->mix], plan->wal,
		plan->direct ? "past the cache" : "through the cache", plan->segment_bytes >> 10,
		plan->memtable, plan->memtable_bytes >> 10, plan->cache, plan->cache_bytes >> 10,
		plan->record_share, plan->filter, plan->codec, plan->table_bytes >> 10, plan->block_bytes,
		plan->level0_tables, plan->size_ratio, plan->merges, plan->unit_bytes,
		plan->ordered ? " in order" : "", stepped_policy_name(plan->policy), plan->borrows_in_256);
	for (unsigned fault = 0; fault < SIM_FAULT_COUNT; fault++)
		if ((plan->faults & 1u << fault) != 0)
			(void)fprintf(to, " %s", fault_names[fault]);
	(void)fprintf(to, "%s\n", plan->faults == 0 ? " none" : "");
}

static void set_number(cascade_options *options, const char *name, uint64_t value, const char *unit)
{
	char text[40];
	(void)snprintf(text, sizeof(text), "%llu%s", (unsigned long long)value, unit);
	SIM_CHECK_OK(cascade_options_set(options, name, text));
}

cascade_options *plan_options(const struct plan *plan)
{
	options_floors = (struct options_floors) { .memtable_bytes = 32 << 10,
						   .cache_bytes = 256 << 10,
						   .table_bytes = 8 << 10,
						   .segment_bytes = 16 << 10 };
	cascade_options *options;
	SIM_CHECK_OK(cascade_options_create(&options));
	const char *const texts[][2] = {
		{ "durability", plan->durability },
		{ "memtable.kind", plan->memtable },
		{ "filter.kind", plan->filter },
		{ "cache.kind", plan->cache },
		{ "codec.kind", plan->codec },
		{ "wal.kind", plan->wal },
		{ "cache.record_share", plan->record_share },
		{ "io.direct", plan->direct ? "true" : "false" },
	};
	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		SIM_CHECK_OK(cascade_options_set(options, texts[i][0], texts[i][1]));
	if (strcmp(plan->codec, "zstd") == 0)
		set_number(options, "codec.level", 1, "");
	set_number(options, "shards", plan->shards, "");
	set_number(options, "memtable.size", (uint64_t)plan->memtable_bytes * plan->shards, " B");
	set_number(options, "cache.size", (uint64_t)plan->cache_bytes * plan->shards, " B");
	set_number(options, "wal.segment_size", plan->segment_bytes, " B");
	set_number(options, "table.size", plan->table_bytes, " B");
	set_number(options, "table.block_size", plan->block_bytes, " B");
	set_number(options, "compaction.level0_tables", plan->level0_tables, "");
	set_number(options, "compaction.size_ratio", plan->size_ratio, "");
	set_number(options, "compaction.merges", plan->merges, "");
	set_number(options, "write_timeout", plan->write_timeout_ns, " ns");
	return options;
}
