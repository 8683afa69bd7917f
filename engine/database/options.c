#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/units.h"
#include "components/codec/codec.h"
#include "components/memtable/memtable.h"
#include "database/database_internal.h"
#include "database/options_internal.h"
#include "trace/trace_format.h"

#include "base/poison.h"

/* The names of the options, in the order of the table below. */
enum option_id {
	OPT_CREATE,
	OPT_SHARDS,
	OPT_MEMORY,
	OPT_DURABILITY,
	OPT_WRITE_TIMEOUT,
	OPT_MEMTABLE_KIND,
	OPT_MEMTABLE_SIZE,
	OPT_FILTER_KIND,
	OPT_CACHE_KIND,
	OPT_CACHE_SIZE,
	OPT_CACHE_RECORD_SHARE,
	OPT_CODEC_KIND,
	OPT_COMPACTION_KIND,
	OPT_COMPACTION_MERGES,
	OPT_TABLE_SIZE,
	OPT_TABLE_BLOCK_SIZE,
	OPT_WAL_KIND,
	OPT_WAL_SEGMENT_SIZE,
	OPT_VALUE_LOG_ENABLED,
	OPT_VALUE_LOG_THRESHOLD,
	OPT_IO_KIND,
	OPT_IO_DIRECT,
	OPT_TRACE_PATH,
	OPT_TRACE_KINDS,
	OPT_COUNT
};

static const cascade_option_info option_table[OPT_COUNT] = {
	[OPT_CREATE] = { "create", "boolean", "true", NULL, "make the database if there is none" },
	[OPT_SHARDS] = { "shards", "integer", "auto", NULL,
			 "slices of the keys, each with a thread; fixed at creation; auto: one a core, up to "
			 "8" },
	[OPT_MEMORY] = { "memory", "size", "auto", NULL,
			 "bound on all memory of the engine; auto: what its parts ask for, else 256 MiB" },
	[OPT_DURABILITY] = { "durability", "choice", "process", "memory process power",
			     "what an acknowledged write survives: nothing, the process's end, power loss" },
	[OPT_WRITE_TIMEOUT] = { "write_timeout", "time", "30 s", NULL,
				"how long a write waits for room before it fails with BUSY" },
	[OPT_MEMTABLE_KIND] = { "memtable.kind", "component", NULL, NULL, "variant of the memtable" },
	[OPT_MEMTABLE_SIZE] = { "memtable.size", "size", "auto", NULL,
				"all memtables together, immutable ones included; auto: a quarter of "
				"memory, or what the buffers leave" },
	[OPT_FILTER_KIND] = { "filter.kind", "component", NULL, NULL, "variant of the filters" },
	[OPT_CACHE_KIND] = { "cache.kind", "component", NULL, NULL, "strategy of the buffer pool" },
	[OPT_CACHE_SIZE] = { "cache.size", "size", "auto", NULL,
			     "the buffer pool, index and filters included; auto: half of memory" },
	[OPT_CACHE_RECORD_SHARE] = { "cache.record_share", "real", "0.125", NULL,
				     "share of the cache, 0 to 0.75, for single records that are read often, "
				     "without the blocks around them" },
	[OPT_CODEC_KIND] = { "codec.kind", "component", NULL, NULL, "compression of table blocks" },
	[OPT_COMPACTION_KIND] = { "compaction.kind", "component", NULL, NULL,
				  "which tables are merged when" },
	[OPT_COMPACTION_MERGES] = { "compaction.merges", "integer", "2", NULL,
				    "merges that a shard runs at the same time, 1 to 8" },
	[OPT_TABLE_SIZE] = { "table.size", "size", "auto", NULL,
			     "size of a merge's output tables; auto: a memtable's, 4 MiB to 64 MiB" },
	[OPT_TABLE_BLOCK_SIZE] = { "table.block_size", "size", "4 KiB", NULL,
				   "raw size of a logical block, 1 KiB to 64 KiB" },
	[OPT_WAL_KIND] = { "wal.kind", "choice", "auto", "auto direct buffered",
			   "how the log's bytes reach the device; auto: buffered, which outlives the process "
			   "and waits for no device, unless durability is power" },
	[OPT_WAL_SEGMENT_SIZE] = { "wal.segment_size", "size", "auto", NULL,
				   "one file of the log's ring; auto: an eighth of a shard's memtables, "
				   "2 MiB to 16 MiB" },
	[OPT_VALUE_LOG_ENABLED] = { "value_log.enabled", "boolean", "false", NULL,
				    "keep large values apart; this version takes false only" },
	[OPT_VALUE_LOG_THRESHOLD] = { "value_log.threshold", "size", "512 B", NULL,
				      "values of at least this size go to the value log" },
	[OPT_IO_KIND] = { "io.kind", "choice", "uring", "uring posix", "I/O backend" },
	[OPT_IO_DIRECT] = { "io.direct", "boolean", "true", NULL, "past the kernel's page cache" },
	[OPT_TRACE_PATH] = { "trace.path", "path", "off", NULL,
			     "file to record in what reaches parts of the engine, from open to close, for "
			     "cascade bench KIND --trace; off: nothing is recorded" },
	[OPT_TRACE_KINDS] = { "trace.kinds", "choices", "all", "all memtable cache filter",
			      "what is recorded there; several with blanks between them" },
};

/* Which option names the variant of a kind. */
static const enum option_id kind_option[COMPONENT_KIND_COUNT] = {
	[COMPONENT_MEMTABLE] = OPT_MEMTABLE_KIND,     [COMPONENT_FILTER] = OPT_FILTER_KIND,
	[COMPONENT_CACHE] = OPT_CACHE_KIND,	      [COMPONENT_CODEC] = OPT_CODEC_KIND,
	[COMPONENT_COMPACTION] = OPT_COMPACTION_KIND,
};

enum {
	COMPONENT_SETTINGS_MAX = 64,
	OPTION_NAME_BYTES = 64,
	CHOICES_BYTES = COMPONENT_VARIANTS_MAX * (COMPONENT_NAME_MAX + 1),
};

_Static_assert((int)COMPONENT_NAME_MAX < OPTION_VALUE_BYTES && (int)COMPONENT_NAME_MAX < OPTION_NAME_BYTES,
	       "every name that the registry takes fits");

/* A component's option as given: checked against the chosen variant when resolved. */
struct component_setting {
	enum component_kind kind;
	char name[OPTION_NAME_BYTES]; /* without the kind */
	char value[OPTION_VALUE_BYTES];
};

struct cascade_options {
	char values[OPT_COUNT][OPTION_VALUE_BYTES]; /* empty: the default */
	char trace_path[IO_PATH_MAX];		    /* the value of the one option that may be longer */
	struct component_setting settings[COMPONENT_SETTINGS_MAX];
	size_t setting_count;
	struct resolved_options resolved; /* valid while is_resolved */
	bool is_resolved;
	char text[OPTION_VALUE_BYTES]; /* what get returns */
};

/* --- lists --- */

static const char *default_variant(enum component_kind kind)
{
	return component_list(kind)[0]->name;
}

/* The kind whose variant the option chooses; COMPONENT_KIND_COUNT: it is no such option. */
static unsigned option_kind(unsigned id)
{
	unsigned kind = 0;
	while (kind < COMPONENT_KIND_COUNT && kind_option[kind] != id)
		kind++;
	return kind;
}

static const char *default_text(unsigned id)
{
	unsigned kind = option_kind(id);
	return kind < COMPONENT_KIND_COUNT ? default_variant((enum component_kind)kind)
					   : option_table[id].default_value;
}

/* Defaults of variants come from the registry, so the public list is put together when it is asked for. */
static cascade_option_info public_options[OPT_COUNT];
static char public_choices[COMPONENT_KIND_COUNT][CHOICES_BYTES];
static atomic_int public_options_state; /* 0: not made, 1: being made, 2: ready */

/* The names of a kind's variants with blanks between them. */
static const char *list_choices(unsigned kind)
{
	char *text = public_choices[kind];
	size_t used = 0;
	const struct component *const *list = component_list((enum component_kind)kind);
	for (size_t i = 0; list[i] != NULL; i++) {
		int added =
			snprintf(text + used, CHOICES_BYTES - used, "%s%s", i > 0 ? " " : "", list[i]->name);
		ASSERT(added > 0 && (size_t)added < CHOICES_BYTES - used);
		used += (size_t)added;
	}
	return text;
}

size_t cascade_option_list(const cascade_option_info **options)
{
	int expected = 0;
	if (atomic_compare_exchange_strong(&public_options_state, &expected, 1)) {
		for (unsigned id = 0; id < OPT_COUNT; id++) {
			public_options[id] = option_table[id];
			public_options[id].default_value = default_text(id);
			unsigned kind = option_kind(id);
			if (kind < COMPONENT_KIND_COUNT) {
				public_options[id].type = "choice";
				public_options[id].choices = list_choices(kind);
			}
		}
		atomic_store(&public_options_state, 2);
	}
	while (atomic_load(&public_options_state) != 2)
		;
	*options = public_options;
	return OPT_COUNT;
}

enum {
	IO_BACKENDS_MAX = 8,
	COMPONENTS_LISTED_MAX = COMPONENT_KIND_COUNT * COMPONENT_VARIANTS_MAX + IO_BACKENDS_MAX,
	COMPONENT_OPTIONS_LISTED_MAX = COMPONENT_KIND_COUNT * COMPONENT_VARIANTS_MAX * COMPONENT_OPTIONS_MAX,
};

static cascade_component_info public_components[COMPONENTS_LISTED_MAX];
static cascade_component_option public_component_options[COMPONENT_OPTIONS_LISTED_MAX];
static size_t public_component_count;
static atomic_int public_components_state;

static const char *option_type_name(enum option_type type)
{
	switch (type) {
	case OPTION_INTEGER:
		return "integer";
	case OPTION_SIZE:
		return "size";
	case OPTION_REAL:
		return "real";
	case OPTION_BOOLEAN:
		return "boolean";
	}
	return "unknown";
}

static size_t list_component_options(const struct component *component, size_t *used)
{
	size_t count = 0;
	for (const struct option *o = component->options; o != NULL && o->name != NULL; o++) {
		ASSERT(*used < COMPONENT_OPTIONS_LISTED_MAX);
		public_component_options[(*used)++] =
			(cascade_component_option) { .name = o->name,
						     .type = option_type_name(o->type),
						     .help = o->help,
						     .default_value = o->default_value,
						     .minimum = o->minimum,
						     .maximum = o->maximum };
		count++;
	}
	return count;
}

static void list_components(void)
{
	size_t used = 0;
	size_t count = 0;
	for (unsigned kind = 0; kind < COMPONENT_KIND_COUNT; kind++) {
		const struct component *const *list = component_list((enum component_kind)kind);
		for (size_t i = 0; list[i] != NULL; i++) {
			ASSERT(count < COMPONENTS_LISTED_MAX);
			const cascade_component_option *first = &public_component_options[used];
			size_t options = list_component_options(list[i], &used);
			public_components[count++] = (cascade_component_info) {
				.kind = component_kind_name((enum component_kind)kind),
				.name = list[i]->name,
				.summary = list[i]->summary,
				.options = first,
				.option_count = options,
				.is_default = i == 0,
				.forgets = kind == COMPONENT_MEMTABLE &&
					   (list[i]->capabilities & MEMTABLE_FORGETS) != 0
			};
		}
	}
	for (size_t i = 0; io_backends[i] != NULL; i++) {
		ASSERT(count < COMPONENTS_LISTED_MAX);
		public_components[count++] = (cascade_component_info) { .kind = "io",
									.name = io_backends[i]->name,
									.summary = io_backends[i]->summary,
									.is_default = i == 0 };
	}
	public_component_count = count;
}

size_t cascade_component_list(const cascade_component_info **components)
{
	int expected = 0;
	if (atomic_compare_exchange_strong(&public_components_state, &expected, 1)) {
		list_components();
		atomic_store(&public_components_state, 2);
	}
	while (atomic_load(&public_components_state) != 2)
		;
	*components = public_components;
	return public_component_count;
}

void options_renew_lists(void)
{
	atomic_store(&public_options_state, 0);
	atomic_store(&public_components_state, 0);
}

struct status options_check_component(enum component_kind kind, const struct component *component)
{
	const char *name = component_kind_name(kind);
	size_t length = strlen(name);
	for (const struct option *o = component->options; o != NULL && o->name != NULL; o++) {
		for (unsigned id = 0; id < OPT_COUNT; id++) {
			const char *own = option_table[id].name;
			if (strncmp(own, name, length) == 0 && own[length] == '.' &&
			    strcmp(own + length + 1, o->name) == 0)
				return status_error(STATUS_INVALID,
						    "%s %s: its option \"%s\" would be %s, which is the "
						    "engine's",
						    name, component->name, o->name, own);
		}
	}
	return status_ok();
}

/* --- set and get --- */

cascade_status cascade_options_create(cascade_options **options)
{
	if (options == NULL)
		return database_report(status_error(STATUS_INVALID, "options must be given"));
	*options = memory_allocate_zeroed(1, sizeof(**options));
	return database_report(status_make(*options != NULL ? STATUS_OK : STATUS_NO_MEMORY));
}

void cascade_options_destroy(cascade_options *options)
{
	memory_free(options);
}

static unsigned option_find(const char *name)
{
	for (unsigned id = 0; id < OPT_COUNT; id++) {
		if (strcmp(option_table[id].name, name) == 0)
			return id;
	}
	return OPT_COUNT;
}

/* Splits "filter.bits_per_key" when the part before the dot is a kind. */
static const char *component_option_name(const char *name, enum component_kind *kind)
{
	const char *dot = strchr(name, '.');
	if (dot == NULL)
		return NULL;
	for (unsigned k = 0; k < COMPONENT_KIND_COUNT; k++) {
		const char *kind_name = component_kind_name((enum component_kind)k);
		if (strlen(kind_name) == (size_t)(dot - name) &&
		    memcmp(kind_name, name, (size_t)(dot - name)) == 0) {
			*kind = (enum component_kind)k;
			return dot + 1;
		}
	}
	return NULL;
}

/* The option of that name of the variant, NULL if it has none. */
static const struct option *variant_option(const struct component *component, const char *name)
{
	for (const struct option *o = component->options; o != NULL && o->name != NULL; o++) {
		if (strcmp(o->name, name) == 0)
			return o;
	}
	return NULL;
}

/* Puts the option's name, which may come in two parts, before what is wrong with its value. */
static struct status prefix_message(struct status status, const char *name, const char *own)
{
	char reason[160];
	status_describe(status, reason, sizeof(reason));
	return status_error(STATUS_INVALID, "%s%s%s: %s", name, own != NULL ? "." : "",
			    own != NULL ? own : "", reason);
}

/* A component option's text as the number that component_set_option takes. */
static struct status parse_component_value(enum option_type type, const char *value, double *number)
{
	uint64_t whole = 0;
	bool boolean = false;
	switch (type) {
	case OPTION_SIZE:
		TRY(units_parse_size(value, &whole));
		*number = (double)whole;
		break;
	case OPTION_INTEGER:
		TRY(units_parse_count(value, &whole));
		*number = (double)whole;
		break;
	case OPTION_BOOLEAN:
		TRY(units_parse_boolean(value, &boolean));
		*number = boolean;
		break;
	case OPTION_REAL:
		return units_parse_real(value, number);
	}
	return status_ok();
}

/*
 * Whether the value has the form that some variant of the kind takes in its option of that name; several may
 * have one, each of a type of its own. NOT_FOUND: none has.
 */
static struct status check_component_value(enum component_kind kind, const char *name, const char *value)
{
	const struct component *const *list = component_list(kind);
	struct status status = status_make(STATUS_NOT_FOUND);
	double number;
	for (size_t i = 0; list[i] != NULL && !status_is_ok(status); i++) {
		const struct option *option = variant_option(list[i], name);
		if (option != NULL)
			status = parse_component_value(option->type, value, &number);
	}
	return status;
}

static struct status unknown_option(const char *name)
{
	return status_error(STATUS_INVALID, "unknown option '%.64s'", name);
}

static struct status set_component_option(cascade_options *options, const char *name, const char *value)
{
	enum component_kind kind;
	const char *own = component_option_name(name, &kind);
	if (own == NULL || strlen(own) >= OPTION_NAME_BYTES)
		return unknown_option(name);
	/* Its form now, its range when it is known which variant takes it. */
	struct status status = check_component_value(kind, own, value);
	if (status_is(status, STATUS_NOT_FOUND))
		return unknown_option(name);
	if (!status_is_ok(status))
		return prefix_message(status, component_kind_name(kind), own);
	struct component_setting *setting = NULL;
	for (size_t i = 0; i < options->setting_count; i++) {
		if (options->settings[i].kind == kind && strcmp(options->settings[i].name, own) == 0)
			setting = &options->settings[i];
	}
	if (setting == NULL) {
		if (options->setting_count == COMPONENT_SETTINGS_MAX)
			return status_error(STATUS_INVALID, "%s: too many component options", name);
		setting = &options->settings[options->setting_count++];
	}
	setting->kind = kind;
	(void)snprintf(setting->name, sizeof(setting->name), "%s", own);
	(void)snprintf(setting->value, sizeof(setting->value), "%s", value);
	return status_ok();
}

static struct status check_choice(const cascade_option_info *info, const char *value)
{
	size_t length = strlen(value);
	for (const char *at = info->choices; *at != '\0';) {
		size_t word = strcspn(at, " ");
		if (word == length && memcmp(at, value, word) == 0)
			return status_ok();
		at += word + (at[word] == ' ');
	}
	return status_error(STATUS_INVALID, "%s: '%.40s' is none of: %s", info->name, value, info->choices);
}

static struct status check_variant(unsigned id, const char *value)
{
	unsigned kind = option_kind(id);
	if (kind == COMPONENT_KIND_COUNT || component_find((enum component_kind)kind, value) != NULL)
		return status_ok();
	return status_error(STATUS_INVALID, "%s: unknown variant '%.40s', did you mean '%s'?",
			    option_table[id].name, value,
			    component_nearest((enum component_kind)kind, value));
}

/* Each word is a choice, and there is one. */
static struct status check_choices(const cascade_option_info *info, const char *value)
{
	char word[OPTION_VALUE_BYTES];
	const char *at = value + strspn(value, " ");
	do {
		size_t size = strcspn(at, " ");
		(void)snprintf(word, sizeof(word), "%.*s", (int)size, at);
		TRY(check_choice(info, word));
		at += size;
		at += strspn(at, " ");
	} while (*at != '\0');
	return status_ok();
}

/* The value's form, as far as it can be judged alone. */
static struct status check_value(unsigned id, const char *value)
{
	const cascade_option_info *info = &option_table[id];
	uint64_t number;
	double real;
	bool boolean;
	struct status status = status_ok();
	if (info->default_value != NULL && strcmp(info->default_value, "auto") == 0 &&
	    strcmp(value, "auto") == 0)
		return status_ok();
	if (strcmp(info->type, "choice") == 0)
		return check_choice(info, value);
	if (strcmp(info->type, "choices") == 0)
		return check_choices(info, value);
	if (strcmp(info->type, "path") == 0)
		return value[0] != '\0' ? status_ok()
					: status_error(STATUS_INVALID, "%s: a path is expected", info->name);
	if (strcmp(info->type, "component") == 0)
		return check_variant(id, value);
	if (strcmp(info->type, "size") == 0)
		status = units_parse_size(value, &number);
	else if (strcmp(info->type, "time") == 0)
		status = units_parse_time(value, &number);
	else if (strcmp(info->type, "integer") == 0)
		status = units_parse_count(value, &number);
	else if (strcmp(info->type, "real") == 0)
		status = units_parse_real(value, &real);
	else
		status = units_parse_boolean(value, &boolean);
	if (status_is_ok(status))
		return status;
	return prefix_message(status, info->name, NULL);
}

cascade_status cascade_options_set(cascade_options *options, const char *name, const char *value)
{
	if (options == NULL || name == NULL || value == NULL)
		return database_report(status_error(STATUS_INVALID, "options, name and value must be given"));
	unsigned id = option_find(name);
	if (strlen(value) >= (id == OPT_TRACE_PATH ? sizeof(options->trace_path) : OPTION_VALUE_BYTES))
		return database_report(status_error(STATUS_INVALID, "%.64s: the value is too long", name));
	struct status status =
		id == OPT_COUNT ? set_component_option(options, name, value) : check_value(id, value);
	if (status_is_ok(status)) {
		if (id == OPT_TRACE_PATH)
			(void)snprintf(options->trace_path, sizeof(options->trace_path), "%s", value);
		else if (id != OPT_COUNT)
			(void)snprintf(options->values[id], OPTION_VALUE_BYTES, "%s", value);
		options->is_resolved = false;
	}
	return database_report(status);
}

/* --- resolve --- */

static const char *text_of(const cascade_options *options, unsigned id)
{
	const char *value = "";
	if (options != NULL)
		value = id == OPT_TRACE_PATH ? options->trace_path : options->values[id];
	return value[0] != '\0' ? value : default_text(id);
}

static bool is_auto(const cascade_options *options, unsigned id)
{
	return strcmp(text_of(options, id), "auto") == 0;
}

/* Texts were checked when they were set; a default that does not parse is a bug. */
static uint64_t size_of(const cascade_options *options, unsigned id)
{
	uint64_t bytes = 0;
	struct status status = units_parse_size(text_of(options, id), &bytes);
	ASSERT(status_is_ok(status));
	return bytes;
}

static uint64_t count_of(const cascade_options *options, unsigned id)
{
	uint64_t count = 0;
	struct status status = units_parse_count(text_of(options, id), &count);
	ASSERT(status_is_ok(status));
	return count;
}

static bool boolean_of(const cascade_options *options, unsigned id)
{
	bool boolean = false;
	struct status status = units_parse_boolean(text_of(options, id), &boolean);
	ASSERT(status_is_ok(status));
	return boolean;
}

uint32_t options_default_shards(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	if (cores < 1)
		return 1;
	return cores > 8 ? 8 : (uint32_t)cores;
}

static struct status resolve_component(const cascade_options *options, enum component_kind kind,
				       struct resolved_options *resolved)
{
	const struct component *component = component_find(kind, text_of(options, kind_option[kind]));
	ASSERT(component != NULL);
	ASSERT(component->options_size <= COMPONENT_OPTIONS_BYTES);
	void *values = resolved->component_options[kind];
	resolved->components[kind] = component;
	component_default_options(component, values);
	for (size_t i = 0; options != NULL && i < options->setting_count; i++) {
		const struct component_setting *setting = &options->settings[i];
		if (setting->kind != kind)
			continue;
		const struct option *option = variant_option(component, setting->name);
		if (option == NULL)
			return status_error(STATUS_INVALID, "%s.%s: '%s' has no such option",
					    component_kind_name(kind), setting->name, component->name);
		double number = 0;
		struct status status = parse_component_value(option->type, setting->value, &number);
		if (!status_is_ok(status))
			return prefix_message(status, component_kind_name(kind), setting->name);
		TRY(component_set_option(component, values, setting->name, number));
	}
	return status_ok();
}

static void resolve_trace(const cascade_options *options, struct resolved_options *resolved)
{
	static const struct {
		const char *name;
		uint32_t kinds;
	} names[] = {
		{ "all", TRACE_ALL },
		{ "memtable", TRACE_MEMTABLE },
		{ "cache", TRACE_CACHE },
		{ "filter", TRACE_FILTER },
	};
	const char *path = text_of(options, OPT_TRACE_PATH);
	const char *kinds = text_of(options, OPT_TRACE_KINDS);
	if (strcmp(path, "off") != 0)
		(void)snprintf(resolved->trace_path, sizeof(resolved->trace_path), "%s", path);
	/* No name is a part of another, and there is nothing else: that was checked when it was set. */
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strstr(kinds, names[i].name) != NULL)
			resolved->trace_kinds |= names[i].kinds;
	}
}

static struct status check_range(const char *name, uint64_t value, uint64_t low, uint64_t high)
{
	if (value >= low && value <= high)
		return status_ok();
	return status_error(STATUS_INVALID, "%s: %llu is out of range, expected %llu to %llu", name,
			    (unsigned long long)value, (unsigned long long)low, (unsigned long long)high);
}

/* The pool holds index and filters as well, and the pages of whatever is under way. */
static const double record_share_max = 0.75;

static struct status resolve_plain(const cascade_options *options, struct resolved_options *resolved)
{
	resolved->create = boolean_of(options, OPT_CREATE);
	resolved->direct = boolean_of(options, OPT_IO_DIRECT);
	resolved->io_backend = strcmp(text_of(options, OPT_IO_KIND), "uring") == 0 ? "uring" : "posix";
	resolved->shards_given = !is_auto(options, OPT_SHARDS);
	uint64_t shards = resolved->shards_given ? count_of(options, OPT_SHARDS) : options_default_shards();
	TRY(check_range("shards", shards, 1, RUNTIME_SHARDS_MAX));
	resolved->shards = (uint32_t)shards;
	const char *durability = text_of(options, OPT_DURABILITY);
	resolved->durability = durability[0] == 'm'   ? WAL_MEMORY
			       : durability[1] == 'r' ? WAL_PROCESS
						      : WAL_POWER;
	struct status status =
		units_parse_time(text_of(options, OPT_WRITE_TIMEOUT), &resolved->write_timeout_ns);
	ASSERT(status_is_ok(status));
	uint64_t merges = count_of(options, OPT_COMPACTION_MERGES);
	TRY(check_range("compaction.merges", merges, 1, 8));
	resolved->merges_max = (uint32_t)merges;
	resolved->block_bytes = size_of(options, OPT_TABLE_BLOCK_SIZE);
	TRY(check_range("table.block_size", resolved->block_bytes, 1024, 65536));
	double share = 0;
	TRY(units_parse_real(text_of(options, OPT_CACHE_RECORD_SHARE), &share));
	if (!(share >= 0 && share <= record_share_max))
		return status_error(STATUS_INVALID, "cache.record_share: out of range, 0 to %g are possible",
				    record_share_max);
	resolved->record_share = share;
	if (boolean_of(options, OPT_VALUE_LOG_ENABLED))
		return status_error(STATUS_UNSUPPORTED, "value_log.enabled: this version takes false only");
	return status_ok();
}

enum {
	GROUP_BYTES = 256 << 10,    /* of one log group buffer; two each shard */
	STREAM_BYTES = 512 << 10,   /* of one merge input */
	BUILDER_BYTES = 1536 << 10, /* of one table being written */
	INPUTS_PER_MERGE = 6,	    /* inputs of a merge at the same time, usually */
};

struct options_floors options_floors = {
	.memtable_bytes = 256 << 10,
	.cache_bytes = 256 << 10,
	.table_bytes = 64 << 10,
	.segment_bytes = 2 << 20, /* the largest batch must fit into one */
};

uint64_t options_shard_overhead(const struct resolved_options *resolved)
{
	const struct codec_ops *codec = (const void *)resolved->components[COMPONENT_CODEC];
	uint64_t builder = BUILDER_BYTES + codec->context_size(resolved->component_options[COMPONENT_CODEC]);
	return 2 * GROUP_BYTES + codec->context_size(NULL) + builder +
	       (uint64_t)resolved->merges_max * (builder + INPUTS_PER_MERGE * STREAM_BYTES);
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Parts left at "auto" get their usual share of a given bound, or what the others leave of it. */
static void split_memory(struct resolved_options *resolved, uint64_t memory, uint64_t overhead,
			 bool memtable_auto, bool cache_auto)
{
	uint64_t given = overhead + (memtable_auto ? 0 : resolved->memtable_bytes) +
			 (cache_auto ? 0 : resolved->cache_bytes);
	uint64_t rest = memory > given ? memory - given : 0;
	if (memtable_auto) {
		resolved->memtable_bytes = smaller(memory / 4, cache_auto ? rest / 3 : rest);
		rest -= resolved->memtable_bytes;
	}
	if (cache_auto)
		resolved->cache_bytes = smaller(memory / 2, rest);
}

static struct status resolve_memory(const cascade_options *options, struct resolved_options *resolved)
{
	uint64_t overhead = resolved->shards * options_shard_overhead(resolved);
	bool memtable_auto = is_auto(options, OPT_MEMTABLE_SIZE);
	bool cache_auto = is_auto(options, OPT_CACHE_SIZE);
	bool memory_auto = is_auto(options, OPT_MEMORY);
	uint64_t memory = 256ull << 20;
	resolved->memtable_bytes = memtable_auto ? memory / 4 : size_of(options, OPT_MEMTABLE_SIZE);
	resolved->cache_bytes = cache_auto ? memory / 2 : size_of(options, OPT_CACHE_SIZE);
	if (!memory_auto) {
		memory = size_of(options, OPT_MEMORY);
		split_memory(resolved, memory, overhead, memtable_auto, cache_auto);
	} else if (!memtable_auto && !cache_auto) {
		memory = 0; /* what the parts ask for */
	}
	/* Parts that were asked for may be larger than the default memory; a given bound they may not pass.
	 */
	uint64_t sum = resolved->memtable_bytes + resolved->cache_bytes + overhead;
	if (!memory_auto && sum > memory)
		return status_error(
			STATUS_INVALID,
			"memory: %llu MiB is too small for memtables %llu MiB, cache %llu MiB and "
			"buffers %llu MiB",
			(unsigned long long)(memory >> 20),
			(unsigned long long)(resolved->memtable_bytes >> 20),
			(unsigned long long)(resolved->cache_bytes >> 20),
			(unsigned long long)(overhead >> 20));
	resolved->memory = sum > memory ? sum : memory;
	TRY(check_range("memtable.size", resolved->memtable_bytes,
			resolved->shards * options_floors.memtable_bytes, 1ull << 40));
	TRY(check_range("cache.size", resolved->cache_bytes, resolved->shards * options_floors.cache_bytes,
			1ull << 44));
	uint64_t records = (uint64_t)((double)resolved->cache_bytes * resolved->record_share);
	uint64_t pool_least = resolved->shards * options_floors.cache_bytes;
	resolved->record_bytes = smaller(records, resolved->cache_bytes - pool_least);
	return status_ok();
}

static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high)
{
	return value < low ? low : value > high ? high : value;
}

static struct status resolve_sizes(const cascade_options *options, struct resolved_options *resolved)
{
	uint64_t shard_memtables = resolved->memtable_bytes / resolved->shards;
	resolved->table_bytes = is_auto(options, OPT_TABLE_SIZE)
					? clamp(shard_memtables / 2, 4 << 20, 64 << 20)
					: size_of(options, OPT_TABLE_SIZE);
	TRY(check_range("table.size", resolved->table_bytes, options_floors.table_bytes, 4ull << 30));
	resolved->wal_buffered = is_auto(options, OPT_WAL_KIND)
					 ? resolved->durability != WAL_POWER
					 : strcmp(text_of(options, OPT_WAL_KIND), "buffered") == 0;
	resolved->segment_bytes = is_auto(options, OPT_WAL_SEGMENT_SIZE)
					  ? clamp(shard_memtables / 8, 2 << 20, 16 << 20)
					  : size_of(options, OPT_WAL_SEGMENT_SIZE);
	resolved->segment_bytes &= ~4095ull;
	return check_range("wal.segment_size", resolved->segment_bytes, options_floors.segment_bytes,
			   1ull << 30);
}

struct status options_resolve(const cascade_options *options, uint32_t stored_shards,
			      struct resolved_options *resolved)
{
	*resolved = (struct resolved_options) { 0 };
	TRY(resolve_plain(options, resolved));
	resolve_trace(options, resolved);
	if (stored_shards > 0)
		resolved->shards = stored_shards;
	for (unsigned kind = 0; kind < COMPONENT_KIND_COUNT; kind++)
		TRY(resolve_component(options, (enum component_kind)kind, resolved));
	TRY(resolve_memory(options, resolved));
	return resolve_sizes(options, resolved);
}

cascade_status cascade_options_resolve(cascade_options *options)
{
	if (options == NULL)
		return database_report(status_error(STATUS_INVALID, "options must be given"));
	struct status status = options_resolve(options, 0, &options->resolved);
	options->is_resolved = status_is_ok(status);
	return database_report(status);
}

/* A number that resolving has computed in place of "auto", NULL if the option has none. */
static const char *resolved_text(cascade_options *options, unsigned id)
{
	const struct resolved_options *resolved = &options->resolved;
	if (!options->is_resolved)
		return NULL;
	switch (id) {
	case OPT_SHARDS:
		(void)snprintf(options->text, sizeof(options->text), "%u", resolved->shards);
		return options->text;
	case OPT_MEMORY:
		return units_format_size(resolved->memory, options->text);
	case OPT_MEMTABLE_SIZE:
		return units_format_size(resolved->memtable_bytes, options->text);
	case OPT_CACHE_SIZE:
		return units_format_size(resolved->cache_bytes, options->text);
	case OPT_TABLE_SIZE:
		return units_format_size(resolved->table_bytes, options->text);
	case OPT_WAL_KIND:
		return resolved->wal_buffered ? "buffered" : "direct";
	case OPT_WAL_SEGMENT_SIZE:
		return units_format_size(resolved->segment_bytes, options->text);
	default:
		return NULL;
	}
}

const char *cascade_options_get(const cascade_options *options, const char *name)
{
	if (options == NULL || name == NULL)
		return NULL;
	/* The text buffer is the options' own scratch space, not part of their value. */
	cascade_options *scratch = (cascade_options *)(uintptr_t)options;
	unsigned id = option_find(name);
	if (id < OPT_COUNT) {
		const char *computed = is_auto(options, id) ? resolved_text(scratch, id) : NULL;
		return computed != NULL ? computed : text_of(options, id);
	}
	enum component_kind kind;
	const char *own = component_option_name(name, &kind);
	if (own == NULL)
		return NULL;
	for (size_t i = 0; i < options->setting_count; i++) {
		if (options->settings[i].kind == kind && strcmp(options->settings[i].name, own) == 0)
			return options->settings[i].value;
	}
	const struct component *component = component_find(kind, text_of(options, kind_option[kind]));
	const struct option *option = component != NULL ? variant_option(component, own) : NULL;
	if (option == NULL)
		return NULL;
	if (option->type == OPTION_BOOLEAN)
		return option->default_value != 0 ? "true" : "false";
	return units_format_real(option->default_value, scratch->text);
}
