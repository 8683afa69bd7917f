/*
 * Options of the engine: lines NAME=VALUE. What is set is what get says; what resolves, resolves to the same
 * again when all that get says is set.
 */
#include "cascade.h"
#include "database/options_internal.h"
#include "fuzz/fuzz.h"

enum { LINES_MAX = 128 };

static cascade_options *make_options(void)
{
	cascade_options *options;
	FUZZ_CHECK(cascade_options_create(&options) == CASCADE_OK);
	return options;
}

static void set_lines(cascade_options *options, char *text)
{
	char *rest = NULL;
	unsigned lines = 0;
	for (char *line = strtok_r(text, "\n", &rest); line != NULL && lines < LINES_MAX;
	     line = strtok_r(NULL, "\n", &rest), lines++) {
		char *value = strchr(line, '=');
		if (value == NULL)
			continue;
		*value++ = '\0';
		cascade_status status = cascade_options_set(options, line, value);
		FUZZ_CHECK(status == CASCADE_OK || status == CASCADE_INVALID);
		if (status == CASCADE_OK) {
			const char *said = cascade_options_get(options, line);
			FUZZ_CHECK(said != NULL && strcmp(said, value) == 0);
		} else {
			FUZZ_CHECK(strlen(cascade_error_message()) > 0);
		}
	}
}

static void check_same(const struct resolved_options *a, const struct resolved_options *b)
{
	FUZZ_CHECK(a->create == b->create && a->direct == b->direct && a->shards == b->shards);
	FUZZ_CHECK(a->durability == b->durability && a->write_timeout_ns == b->write_timeout_ns);
	FUZZ_CHECK(a->memory == b->memory && a->memtable_bytes == b->memtable_bytes);
	FUZZ_CHECK(a->cache_bytes == b->cache_bytes && a->table_bytes == b->table_bytes);
	FUZZ_CHECK(a->wal_buffered == b->wal_buffered && a->segment_bytes == b->segment_bytes);
	FUZZ_CHECK(a->block_bytes == b->block_bytes && a->merges_max == b->merges_max);
	for (unsigned kind = 0; kind < COMPONENT_KIND_COUNT; kind++) {
		FUZZ_CHECK(a->components[kind] == b->components[kind]);
		FUZZ_CHECK(memcmp(a->component_options[kind], b->component_options[kind],
				  a->components[kind]->options_size) == 0);
	}
}

/* Bounds that the layers below take for granted. */
static void check_sane(const struct resolved_options *resolved)
{
	FUZZ_CHECK(resolved->shards >= 1 && resolved->shards <= 64);
	FUZZ_CHECK(resolved->memtable_bytes / resolved->shards >= 256 << 10);
	FUZZ_CHECK(resolved->cache_bytes / resolved->shards >= 256 << 10);
	FUZZ_CHECK(resolved->memtable_bytes + resolved->cache_bytes < resolved->memory);
	FUZZ_CHECK(resolved->segment_bytes % 4096 == 0 && resolved->segment_bytes >= 2 << 20);
	FUZZ_CHECK(resolved->table_bytes >= 64 << 10);
	FUZZ_CHECK(resolved->block_bytes >= 1024 && resolved->block_bytes <= 65536);
	FUZZ_CHECK(resolved->merges_max >= 1 && resolved->merges_max <= 8);
}

/* Sets every option of a second set to what the first one says. */
static void copy_options(const cascade_options *from, cascade_options *to)
{
	const cascade_option_info *list;
	size_t count = cascade_option_list(&list);
	for (size_t i = 0; i < count; i++)
		FUZZ_CHECK(cascade_options_set(to, list[i].name, cascade_options_get(from, list[i].name)) ==
			   CASCADE_OK);
	const cascade_component_info *components;
	count = cascade_component_list(&components);
	for (size_t i = 0; i < count; i++) {
		char name[128];
		(void)snprintf(name, sizeof(name), "%s.kind", components[i].kind);
		const char *chosen = cascade_options_get(from, name);
		if (chosen == NULL || strcmp(chosen, components[i].name) != 0)
			continue;
		for (size_t o = 0; o < components[i].option_count; o++) {
			(void)snprintf(name, sizeof(name), "%s.%s", components[i].kind,
				       components[i].options[o].name);
			FUZZ_CHECK(cascade_options_set(to, name, cascade_options_get(from, name)) ==
				   CASCADE_OK);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct resolved_options resolved, again;
	char *text = malloc(size + 1);
	FUZZ_CHECK(text != NULL);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	cascade_options *options = make_options();
	set_lines(options, text);
	struct status status = options_resolve(options, 0, &resolved);
	FUZZ_CHECK(status_is_ok(status) || status_is(status, STATUS_INVALID) ||
		   status_is(status, STATUS_UNSUPPORTED));
	cascade_status public = cascade_options_resolve(options);
	FUZZ_CHECK((int)public == status.code);
	if (public == CASCADE_OK) {
		check_sane(&resolved);
		cascade_options *copy = make_options();
		copy_options(options, copy);
		FUZZ_CHECK(status_is_ok(options_resolve(copy, 0, &again)));
		check_same(&resolved, &again);
		cascade_options_destroy(copy);
	}
	cascade_options_destroy(options);
	free(text);
	return 0;
}

size_t fuzz_seed(unsigned index, uint8_t *to)
{
	static const char *const texts[] = {
		"",
		"create=false\nshards=2\nmemory=1 GiB\ndurability=power\nwrite_timeout=5 s\n",
		"memtable.kind=btree\nmemtable.size=64 MiB\nfilter.kind=cacheline\nfilter.bits_per_key=12.5\n"
		"cache.kind=clock\ncache.size=128 MiB\ncache.record_share=0\n",
		"codec.kind=lz4\ncodec.acceleration=3\ncompaction.kind=leveled\ncompaction.merges=8\n"
		"compaction.size_ratio=4\ncompaction.level0_tables=2\n",
		"table.size=64 KiB\ntable.block_size=65536\nwal.kind=buffered\nwal.segment_size=2 MiB\n"
		"value_log.enabled=false\nvalue_log.threshold=1 KiB\nio.kind=posix\nio.direct=no\n",
		"memory=auto\nmemtable.size=auto\ncache.size=16777215 TiB\nshards=64\n",
		"memory=18446744073709551615\nmemtable.size=9223372036854775808\n",
		"filter.kind=block\nfilter.bits_per_key=32\nfilter.bits_per_key=1e308\ncodec.level=3\n",
		"nothing=1\nmemory=\n=\nmemory=-1\n.=1\nfilter.=1\n",
		NULL,
	};
	return fuzz_text_seed(texts, index, to);
}
