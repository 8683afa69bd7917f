/*
 * variants_test.c: whatever a database is assembled from, it gives the same answers. One random history of
 * puts, deletes, batches, gets, scans, flushes and reopenings, drawn from the seed alone, runs over
 * cascade.h against every variant of every kind, against variants and options drawn at random, and against a
 * database that comes back with other variants each time; a model knows every answer. Takes about 5 s.
 */
#include "database/database_test.h"

enum {
	KEYS = 500,
	STEPS = SANITIZED ? 1500 : 6000,
	STRETCH = 400, /* steps between reopenings, on average */
	RANDOM_CONFIGURATIONS = 4,
	REASSEMBLIES = 12,
	SETTINGS_MAX = 32,
	VALUE_MAX = 9000,
};

/* --- configurations --- */

struct setting {
	char name[48];
	char value[32];
};

struct configuration {
	struct setting settings[SETTINGS_MAX];
	size_t count;
};

static void configure(struct configuration *configuration, const char *name, const char *value)
{
	CHECK(configuration->count < SETTINGS_MAX);
	struct setting *setting = &configuration->settings[configuration->count++];
	(void)snprintf(setting->name, sizeof(setting->name), "%s", name);
	(void)snprintf(setting->value, sizeof(setting->value), "%s", value);
}

/* So small that flushes and merges go on all the time. */
static void configure_small(struct configuration *configuration)
{
	configuration->count = 0;
	configure(configuration, "shards", "1");
	configure(configuration, "memtable.size", "256 KiB");
	configure(configuration, "cache.size", "320 KiB");
	configure(configuration, "cache.record_share", "0.2");
	configure(configuration, "table.size", "64 KiB");
}

static void configure_variant(struct configuration *configuration, const cascade_component_info *variant)
{
	char name[48];
	(void)snprintf(name, sizeof(name), "%s.kind", variant->kind);
	configure(configuration, name, variant->name);
	for (size_t i = 0; i < variant->option_count; i++) {
		if (strcmp(variant->options[i].name, "level0_tables") == 0)
			configure(configuration, "compaction.level0_tables", "2");
	}
}

/* Each option of the variant at its default, its least or its largest value. */
static void configure_options(struct configuration *configuration, const cascade_component_info *variant,
			      struct random *random)
{
	/* How tables are merged may be set so that nothing ever is. */
	if (strcmp(variant->kind, "compaction") == 0)
		return;
	for (size_t i = 0; i < variant->option_count; i++) {
		const cascade_component_option *option = &variant->options[i];
		const double values[] = { option->default_value, option->minimum, option->maximum };
		char name[48];
		char value[32];
		(void)snprintf(name, sizeof(name), "%s.%s", variant->kind, option->name);
		(void)snprintf(value, sizeof(value), "%.15g", values[random_below(random, 3)]);
		if (strcmp(option->type, "boolean") == 0)
			(void)snprintf(value, sizeof(value), "%s", value[0] == '0' ? "false" : "true");
		configure(configuration, name, value);
	}
}

/* For each kind one of its variants, and options. */
static void configure_random(struct configuration *configuration, struct random *random)
{
	const cascade_component_info *list;
	size_t count = cascade_component_list(&list);
	configure_small(configuration);
	for (size_t from = 0; from < count;) {
		size_t end = from + 1;
		while (end < count && strcmp(list[end].kind, list[from].kind) == 0)
			end++;
		const cascade_component_info *variant = &list[from + random_below(random, end - from)];
		/* Those that forget come behind one that does not. */
		while (variant->forgets)
			variant--;
		configure_variant(configuration, variant);
		configure_options(configuration, variant, random);
		from = end;
	}
	configure(configuration, "table.block_size", random_below(random, 2) == 0 ? "1 KiB" : "16 KiB");
}

static void announce(const struct configuration *configuration)
{
	print_message("seed %llu:", (unsigned long long)seed);
	for (size_t i = 4; i < configuration->count; i++)
		print_message(" %s=%s", configuration->settings[i].name, configuration->settings[i].value);
	print_message("\n");
}

static cascade *open_configured(const struct configuration *configuration)
{
	cascade_options *options;
	cascade *db;
	CHECK_OK(cascade_options_create(&options));
	for (size_t i = 0; i < configuration->count; i++)
		CHECK_OK(cascade_options_set(options, configuration->settings[i].name,
					     configuration->settings[i].value));
	CHECK_OK(cascade_open(place, options, &db));
	cascade_options_destroy(options);
	return db;
}

/* --- the model: the number of each key's newest version; 0: not there --- */

struct history {
	cascade *db;
	struct random random;
	uint32_t versions[KEYS];
	uint32_t next_version;
	cascade_snapshot *snapshot; /* NULL: none */
	uint32_t snapshot_versions[KEYS];
	unsigned steps; /* of the current stretch */
	uint8_t value[VALUE_MAX];
};

/*
 * Key k of the history has the number 2k; odd numbers are keys that are never there. Every other key has a
 * longer beginning, so that not all of them begin alike.
 */
static cascade_slice make_key(char *key, size_t room, unsigned number)
{
	const char *beginning = number % 4 < 2 ? "user" : "user:with-a-longer-beginning:";
	int size = snprintf(key, room, "%s%06u", beginning, number);
	return cascade_bytes(key, (size_t)size);
}

static size_t make_value(uint8_t *to, uint32_t version)
{
	uint64_t shape = random_at(5, version);
	size_t size = shape % 97 == 0 ? shape % VALUE_MAX : shape % 11 == 0 ? 0 : shape % 1200;
	for (size_t i = 0; i < size; i++)
		to[i] = (uint8_t)(i % 32 < 16 ? version >> (i % 4 * 8)
					      : random_at(version, i / 8) >> (i % 8));
	return size;
}

static void check_version(struct history *h, const void *data, size_t size, uint32_t version)
{
	CHECK(version != 0);
	size_t expected = make_value(h->value, version);
	CHECK(size == expected);
	CHECK(size == 0 || memcmp(data, h->value, size) == 0);
}

/* --- steps --- */

/* A fifth of the keys are hot. */
static unsigned draw_key(struct history *h)
{
	uint64_t key = random_below(&h->random, 3) == 0 ? random_below(&h->random, KEYS / 5) * 5
							: random_below(&h->random, KEYS);
	return (unsigned)key;
}

static void step_put(struct history *h)
{
	char text[64];
	unsigned key = draw_key(h);
	uint32_t version = ++h->next_version;
	size_t size = make_value(h->value, version);
	CHECK_OK(cascade_put(h->db, make_key(text, sizeof(text), 2 * key), cascade_bytes(h->value, size),
			     NULL));
	h->versions[key] = version;
}

static void step_delete(struct history *h)
{
	char text[64];
	unsigned key = draw_key(h);
	CHECK_OK(cascade_delete(h->db, make_key(text, sizeof(text), 2 * key), NULL));
	h->versions[key] = 0;
}

static void step_batch(struct history *h)
{
	cascade_batch *batch;
	char text[64];
	CHECK_OK(cascade_batch_create(&batch));
	for (uint64_t left = random_below(&h->random, 20); left > 0; left--) {
		unsigned key = draw_key(h);
		cascade_slice name = make_key(text, sizeof(text), 2 * key);
		h->versions[key] = random_below(&h->random, 4) == 0 ? 0 : ++h->next_version;
		if (h->versions[key] == 0) {
			CHECK_OK(cascade_batch_delete(batch, name));
		} else {
			size_t size = make_value(h->value, h->versions[key]);
			CHECK_OK(cascade_batch_put(batch, name, cascade_bytes(h->value, size)));
		}
	}
	CHECK_OK(cascade_write(h->db, batch, NULL));
	cascade_batch_destroy(batch);
}

static void check_get(struct history *h, unsigned number, const cascade_snapshot *snapshot, uint32_t version)
{
	char text[64];
	cascade_value value;
	cascade_read_options options = { .snapshot = snapshot };
	cascade_status status = cascade_get(h->db, make_key(text, sizeof(text), number), &options, &value);
	CHECK_STATUS(status, version == 0 ? CASCADE_NOT_FOUND : CASCADE_OK);
	if (version == 0)
		return;
	check_version(h, value.data, value.size, version);
	cascade_value_release(&value);
}

static void step_get(struct history *h)
{
	unsigned key = draw_key(h);
	check_get(h, 2 * key, NULL, h->versions[key]);
	check_get(h, 2 * key + 1, NULL, 0);
	if (h->snapshot != NULL)
		check_get(h, 2 * key, h->snapshot, h->snapshot_versions[key]);
}

/* The key at a place in their order: even ones come first, since a digit comes before a colon. */
static unsigned key_at(unsigned rank)
{
	unsigned even = (KEYS + 1) / 2;
	return rank < even ? 2 * rank : 2 * (rank - even) + 1;
}

static void step_scan(struct history *h)
{
	bool old = h->snapshot != NULL && random_below(&h->random, 2) == 0;
	const uint32_t *versions = old ? h->snapshot_versions : h->versions;
	unsigned at = (unsigned)random_below(&h->random, KEYS);
	unsigned end = random_below(&h->random, 3) == 0 ? KEYS : at + (unsigned)random_below(&h->random, 60);
	uint64_t rows = 1 + random_below(&h->random, 80);
	char first[64];
	char last[64];
	cascade_iterator *iterator;
	cascade_iterator_options options = { .snapshot = old ? h->snapshot : NULL, .rows_hint = rows };
	if (end < KEYS) {
		options.upper = make_key(last, sizeof(last), 2 * key_at(end));
		options.has_upper = true;
	} else {
		end = KEYS;
	}
	CHECK_OK(cascade_iterator_create(h->db, &options, &iterator));
	CHECK_OK(cascade_iterator_seek(iterator, make_key(first, sizeof(first), 2 * key_at(at))));
	for (; rows > 0; rows--, at++) {
		while (at < end && versions[key_at(at)] == 0)
			at++;
		CHECK(cascade_iterator_valid(iterator) == (at < end));
		if (at == end)
			break;
		cascade_slice expected = make_key(first, sizeof(first), 2 * key_at(at));
		cascade_slice key = cascade_iterator_key(iterator);
		cascade_slice value = cascade_iterator_value(iterator);
		CHECK(key.size == expected.size && memcmp(key.data, expected.data, key.size) == 0);
		check_version(h, value.data, value.size, versions[key_at(at)]);
		CHECK_OK(cascade_iterator_next(iterator));
	}
	CHECK_OK(cascade_iterator_status(iterator));
	cascade_iterator_destroy(iterator);
}

static void drop_snapshot(struct history *h)
{
	cascade_snapshot_release(h->snapshot);
	h->snapshot = NULL;
}

static void step_snapshot(struct history *h)
{
	if (h->snapshot != NULL) {
		drop_snapshot(h);
		return;
	}
	CHECK_OK(cascade_snapshot_create(h->db, &h->snapshot));
	memcpy(h->snapshot_versions, h->versions, sizeof(h->versions));
}

static void run_steps(cascade *db, void *argument)
{
	struct history *h = argument;
	(void)db;
	for (; h->steps > 0; h->steps--) {
		uint64_t dice = random_below(&h->random, 1000);
		if (dice < 450)
			step_put(h);
		else if (dice < 530)
			step_delete(h);
		else if (dice < 560)
			step_batch(h);
		else if (dice < 900)
			step_get(h);
		else if (dice < 980)
			step_scan(h);
		else if (dice < 995)
			step_snapshot(h);
		else
			CHECK_OK(cascade_flush(h->db));
	}
}

/* Steps from a task of the shard, where nothing waits for another thread. */
static void run_stretch(struct history *h, unsigned steps)
{
	h->steps = steps;
	CHECK_OK(cascade_run(h->db, cascade_string(""), run_steps, h));
}

/* Every key and every scan over all, and the database's own check. */
static void check_all(struct history *h)
{
	for (unsigned key = 0; key < KEYS; key++)
		check_get(h, 2 * key, NULL, h->versions[key]);
	CHECK_OK(cascade_verify(h->db));
}

/* What a run was made for. */
static void count_upkeep(struct history *h, uint64_t *flushes, uint64_t *merges)
{
	*flushes += stat_of(h->db, "flushes");
	*merges += stat_of(h->db, "merges");
}

static void history_begin(struct history *h)
{
	memset(h, 0, sizeof(*h));
	h->random = random_stream(seed);
}

static void close_history(struct history *h)
{
	drop_snapshot(h);
	CHECK_OK(cascade_close(h->db));
}

/* One configuration for the whole of the history. */
static void run_configuration(const struct configuration *configuration)
{
	struct history *h = calloc(1, sizeof(*h));
	uint64_t flushes = 0;
	uint64_t merges = 0;
	CHECK(h != NULL);
	announce(configuration);
	history_begin(h);
	for (unsigned left = STEPS; left > 0;) {
		unsigned steps = 1 + (unsigned)random_below(&h->random, 2 * STRETCH);
		steps = steps < left ? steps : left;
		left -= steps;
		h->db = open_configured(configuration);
		run_stretch(h, steps);
		if (left == 0)
			CHECK_OK(cascade_wait_idle(h->db));
		count_upkeep(h, &flushes, &merges);
		if (left == 0)
			check_all(h);
		close_history(h);
	}
	CHECK(flushes > 0 && merges > 0);
	free(h);
	remove_place(place);
	CHECK(mkdir(place, 0755) == 0);
}

/* --- the tests --- */

/* Every variant of every kind, the other kinds at their defaults. */
static void test_each_variant(void **state)
{
	(void)state;
	seed = test_seed(20231);
	const cascade_component_info *list;
	size_t count = cascade_component_list(&list);
	CHECK(count > 0);
	bool default_done = false;
	for (size_t i = 0; i < count; i++) {
		struct configuration configuration;
		/* All variants at their defaults are one and the same configuration. */
		if ((list[i].is_default && default_done) || list[i].forgets)
			continue;
		default_done |= list[i].is_default;
		configure_small(&configuration);
		if (strcmp(list[i].kind, "compaction") != 0)
			configure(&configuration, "compaction.level0_tables", "2");
		configure_variant(&configuration, &list[i]);
		run_configuration(&configuration);
	}
}

static void test_random_configurations(void **state)
{
	(void)state;
	uint64_t first = test_seed(20232);
	for (uint64_t i = 0; i < (SANITIZED ? 2 : RANDOM_CONFIGURATIONS); i++) {
		struct configuration configuration;
		seed = first + i;
		struct random random = random_stream(seed);
		configure_random(&configuration, &random);
		run_configuration(&configuration);
	}
}

/* Tables that one assembly wrote, and a log that it left, are read by the next. */
static void test_reassembled(void **state)
{
	(void)state;
	seed = test_seed(20233);
	struct random random = random_stream(seed + 1);
	struct history *h = calloc(1, sizeof(*h));
	CHECK(h != NULL);
	history_begin(h);
	for (unsigned i = 0; i < (SANITIZED ? 4 : REASSEMBLIES); i++) {
		struct configuration configuration;
		configure_random(&configuration, &random);
		announce(&configuration);
		h->db = open_configured(&configuration);
		check_all(h);
		run_stretch(h, STRETCH);
		check_all(h);
		close_history(h);
	}
	free(h);
}

/* A kind without a second variant would leave this test with nothing to compare. */
static void test_there_is_a_choice(void **state)
{
	(void)state;
	const char *const kinds[] = { "memtable", "filter", "cache", "codec", "io" };
	const cascade_component_info *list;
	size_t count = cascade_component_list(&list);
	for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
		unsigned variants = 0;
		for (size_t i = 0; i < count; i++)
			variants += strcmp(list[i].kind, kinds[kind]) == 0;
		CHECK(variants >= 2);
	}
}

/* CASCADE_TEST_COMPONENTS=PATH.so[:PATH.so]...: with the variants in these as well. */
static int load_components(void **state)
{
	const char *given = getenv("CASCADE_TEST_COMPONENTS");
	char *paths = strdup(given != NULL ? given : ""), *rest = NULL;
	(void)state;
	for (char *path = strtok_r(paths, ":", &rest); path != NULL; path = strtok_r(NULL, ":", &rest))
		CHECK_OK(cascade_component_load(path));
	free(paths);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_there_is_a_choice),
		TEST(test_each_variant),
		TEST(test_random_configurations),
		TEST(test_reassembled),
	};
	return cmocka_run_group_tests(tests, load_components, NULL);
}
