/*
 * cascade.c: Cascade itself, through cascade.h and nothing else of it. Options keep their names: what stands
 * below `engine:` in a workload file is what cascade_options_set takes.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "base/units.h"
#include "cascade.h"
#include "harness/drivers/driver.h"

enum {
	RETRY_NS = 100000,
	RETRIES_MAX = 100000, /* ten seconds until a task must have found room */
	OPTION_NAME_BYTES = 128,
};

struct cascade_instance {
	struct driver driver;
	cascade *db;
};

struct driver_client {
	cascade *db;
	cascade_value pinned; /* of the last read; released by the next call */
};

extern const struct driver_ops cascade_driver;

/* --- statuses and bytes --- */

_Static_assert((int)STATUS_CLOSED == (int)CASCADE_CLOSED && (int)STATUS_BUSY == (int)CASCADE_BUSY,
	       "the codes are the same");

static struct status status_with_message(cascade_status code) __attribute__((cold));

static struct status status_with_message(cascade_status code)
{
	const char *message = cascade_error_message();
	return status_error((enum status_code)code, "%s",
			    message[0] != '\0' ? message : cascade_strerror(code));
}

/* NOT_FOUND is an answer, not an error, and has to be cheap. */
static inline struct status status_of(cascade_status code)
{
	if (__builtin_expect(code == CASCADE_OK || code == CASCADE_NOT_FOUND, 1))
		return status_make((enum status_code)code);
	return status_with_message(code);
}

static inline cascade_slice to_cascade(struct slice slice)
{
	return cascade_bytes(slice.data, slice.size);
}

static inline struct slice from_cascade(cascade_slice slice)
{
	return slice_make(slice.data, slice.size);
}

/* --- options --- */

/* Options with all of the configuration's set, and resolved; *bad as in driver_ops.check. */
static struct status make_options(const struct driver_config *config, cascade_options **options, size_t *bad)
{
	*bad = SIZE_MAX;
	*options = NULL;
	cascade_status code = cascade_options_create(options);
	for (size_t i = 0; code == CASCADE_OK && i < config->option_count; i++) {
		code = cascade_options_set(*options, config->options[i].name, config->options[i].value);
		if (code != CASCADE_OK)
			*bad = i;
	}
	if (code == CASCADE_OK)
		code = cascade_options_resolve(*options);
	if (code == CASCADE_OK)
		return status_ok();
	struct status status = status_with_message(code);
	cascade_options_destroy(*options);
	*options = NULL;
	return status;
}

static struct status check(const struct driver_config *config, size_t *bad)
{
	cascade_options *options;
	TRY(make_options(config, &options, bad));
	cascade_options_destroy(options);
	return status_ok();
}

/* The options of the variants that were chosen: "KIND.NAME" for each of the component KIND.kind. */
static void describe_components(const cascade_options *options,
				void (*each)(void *context, const char *name, const char *value),
				void *context)
{
	const cascade_component_info *components;
	size_t count = cascade_component_list(&components);
	for (size_t i = 0; i < count; i++) {
		char name[OPTION_NAME_BYTES];
		(void)snprintf(name, sizeof(name), "%s.kind", components[i].kind);
		const char *chosen = cascade_options_get(options, name);
		if (chosen == NULL || strcmp(chosen, components[i].name) != 0)
			continue;
		for (size_t k = 0; k < components[i].option_count; k++) {
			(void)snprintf(name, sizeof(name), "%s.%s", components[i].kind,
				       components[i].options[k].name);
			const char *value = cascade_options_get(options, name);
			if (value != NULL)
				each(context, name, value);
		}
	}
}

/* Whether a component was chosen that does. */
static bool forgets(const struct driver_config *config)
{
	cascade_options *options;
	const cascade_component_info *components;
	size_t bad;
	bool found = false;
	if (!status_is_ok(make_options(config, &options, &bad)))
		return false;
	size_t count = cascade_component_list(&components);
	for (size_t i = 0; i < count; i++) {
		char name[OPTION_NAME_BYTES];
		(void)snprintf(name, sizeof(name), "%s.kind", components[i].kind);
		const char *chosen = cascade_options_get(options, name);
		found |= components[i].forgets && chosen != NULL && strcmp(chosen, components[i].name) == 0;
	}
	cascade_options_destroy(options);
	return found;
}

static void describe(const struct driver_config *config,
		     void (*each)(void *context, const char *name, const char *value), void *context)
{
	cascade_options *options;
	size_t bad;
	if (!status_is_ok(make_options(config, &options, &bad)))
		return;
	const cascade_option_info *infos;
	size_t count = cascade_option_list(&infos);
	for (size_t i = 0; i < count; i++) {
		const char *value = cascade_options_get(options, infos[i].name);
		if (value != NULL)
			each(context, infos[i].name, value);
	}
	describe_components(options, each, context);
	cascade_options_destroy(options);
}

static uint64_t memory_budget(const struct driver_config *config)
{
	cascade_options *options;
	size_t bad;
	uint64_t bytes = 0;
	if (!status_is_ok(make_options(config, &options, &bad)))
		return 0;
	const char *memory = cascade_options_get(options, "memory");
	if (memory == NULL || !status_is_ok(units_parse_size(memory, &bytes)))
		bytes = 0;
	cascade_options_destroy(options);
	return bytes;
}

/* --- parity --- */

struct parity_list {
	const cascade_options *options;
	void (*each)(void *context, const char *name, const char *text);
	void *context;
};

/* The option as it is spelled, but of a size the one spelling that all drivers use. */
static void add_parity(const struct parity_list *list, const char *name, const char *option)
{
	char buffer[UNITS_TEXT_BYTES];
	uint64_t bytes;
	const char *text = cascade_options_get(list->options, option);
	if (text == NULL)
		return;
	bool is_size = strstr(option, ".size") != NULL && status_is_ok(units_parse_size(text, &bytes));
	list->each(list->context, name, is_size ? units_format_size(bytes, buffer) : text);
}

/* The option's value is that text. */
static bool option_is(const struct parity_list *list, const char *option, const char *text)
{
	const char *value = cascade_options_get(list->options, option);
	return value != NULL && strcmp(value, text) == 0;
}

static void add_filter(const struct parity_list *list)
{
	char text[OPTION_NAME_BYTES];
	const char *bits = cascade_options_get(list->options, "filter.bits_per_key");
	if (bits == NULL)
		add_parity(list, "filter", "filter.kind");
	else if (snprintf(text, sizeof(text), "%s bits a key", bits) > 0)
		list->each(list->context, "filter", text);
}

static void parity(const struct driver_config *config,
		   void (*each)(void *context, const char *name, const char *text), void *context)
{
	cascade_options *options;
	size_t bad;
	if (!status_is_ok(make_options(config, &options, &bad)))
		return;
	struct parity_list list = { .options = options, .each = each, .context = context };
	bool logs = !option_is(&list, "durability", "memory");
	bool buffered = option_is(&list, "wal.kind", "buffered");
	char text[OPTION_NAME_BYTES];
	(void)snprintf(text, sizeof(text), "cascade %s", cascade_version());
	each(context, "version", text);
	add_parity(&list, "cache", "cache.size");
	each(context, "index_and_filters", "in the cache");
	add_parity(&list, "memtables", "memtable.size");
	add_parity(&list, "durability", "durability");
	each(context, "log", !logs ? "off" : buffered ? "page cache" : "direct");
	each(context, "sync", option_is(&list, "durability", "power") ? "each write" : "never");
	add_parity(&list, "compression", "codec.kind");
	add_filter(&list);
	each(context, "direct_io", option_is(&list, "io.direct", "true") ? "yes" : "no");
	const char *shards = cascade_options_get(options, "shards");
	(void)snprintf(text, sizeof(text), "%s, for all work", shards != NULL ? shards : "?");
	each(context, "threads", text);
	cascade_options_destroy(options);
}

/* --- open and close --- */

static cascade *database_of(struct driver *driver)
{
	return ((struct cascade_instance *)driver)->db;
}

static struct status open_database(const struct driver_config *config, struct driver **driver)
{
	cascade_options *options;
	size_t bad;
	TRY(make_options(config, &options, &bad));
	struct cascade_instance *instance = memory_allocate_zeroed(1, sizeof(*instance));
	struct status status = instance == NULL ? status_make(STATUS_NO_MEMORY) : status_ok();
	if (status_is_ok(status)) {
		instance->driver.ops = &cascade_driver;
		cascade_status code = cascade_open(config->path, options, &instance->db);
		if (code != CASCADE_OK)
			status = status_with_message(code);
	}
	cascade_options_destroy(options);
	if (!status_is_ok(status)) {
		memory_free(instance);
		return status;
	}
	*driver = &instance->driver;
	return status_ok();
}

static struct status close_database(struct driver *driver)
{
	struct status status = status_of(cascade_close(database_of(driver)));
	/* BUSY leaves it open: its memory stays, because somebody still uses it. */
	if (!status_is(status, STATUS_BUSY))
		memory_free(driver);
	return status;
}

/* --- clients --- */

static struct status client_open(struct driver *driver, struct driver_client **client)
{
	*client = memory_allocate_zeroed(1, sizeof(**client));
	if (*client == NULL)
		return status_make(STATUS_NO_MEMORY);
	(*client)->db = database_of(driver);
	return status_ok();
}

static inline void release(struct driver_client *client)
{
	cascade_value_release(&client->pinned);
}

static void client_close(struct driver_client *client)
{
	release(client);
	memory_free(client);
}

static struct status put(struct driver_client *client, struct slice key, struct slice value)
{
	release(client);
	return status_of(cascade_put(client->db, to_cascade(key), to_cascade(value), NULL));
}

static struct status get(struct driver_client *client, struct slice key, struct slice *value)
{
	release(client);
	cascade_value found;
	cascade_status code = cascade_get(client->db, to_cascade(key), NULL, &found);
	if (code == CASCADE_OK) {
		client->pinned = found;
		*value = slice_make(found.data, found.size);
	}
	return status_of(code);
}

static struct status remove_key(struct driver_client *client, struct slice key)
{
	release(client);
	return status_of(cascade_delete(client->db, to_cascade(key), NULL));
}

static cascade_status visit(cascade_iterator *iterator, struct slice key, uint64_t count,
			    bool (*each)(void *context, struct slice key, struct slice value), void *context)
{
	cascade_status code = cascade_iterator_seek(iterator, to_cascade(key));
	for (uint64_t row = 0; code == CASCADE_OK && row < count; row++) {
		if (!cascade_iterator_valid(iterator))
			return cascade_iterator_status(iterator);
		if (!each(context, from_cascade(cascade_iterator_key(iterator)),
			  from_cascade(cascade_iterator_value(iterator))))
			return CASCADE_OK;
		if (row + 1 < count)
			code = cascade_iterator_next(iterator);
	}
	return code;
}

static struct status scan(struct driver_client *client, struct slice key, uint64_t count,
			  bool (*each)(void *context, struct slice key, struct slice value), void *context)
{
	release(client);
	cascade_iterator_options options = { .rows_hint = count };
	cascade_iterator *iterator;
	cascade_status code = cascade_iterator_create(client->db, &options, &iterator);
	if (code != CASCADE_OK)
		return status_of(code);
	code = visit(iterator, key, count, each, context);
	/* Before the iterator goes, and with it perhaps the message. */
	struct status status = status_of(code);
	cascade_iterator_destroy(iterator);
	return status;
}

/* --- clients as tasks --- */

struct task_job {
	struct driver *driver;
	driver_client_body *body;
	void *argument;
	cascade_future *future;
};

static void run_task(cascade *db, void *argument)
{
	struct task_job *job = argument;
	struct driver_client client = { .db = db };
	job->body(job->driver, &client, job->argument);
	release(&client);
}

/* A full queue empties as the engine starts what stands in it. */
static cascade_status start_task(cascade *db, uint32_t shard, struct task_job *job)
{
	cascade_status code = cascade_run_async(db, shard, run_task, job, &job->future);
	for (int retry = 0; code == CASCADE_BUSY && retry < RETRIES_MAX; retry++) {
		struct timespec pause = { .tv_nsec = RETRY_NS };
		nanosleep(&pause, NULL);
		code = cascade_run_async(db, shard, run_task, job, &job->future);
	}
	return code;
}

static struct status run_tasks(struct driver *driver, uint32_t count, driver_client_body *body,
			       void *const *arguments)
{
	cascade *db = database_of(driver);
	uint32_t shards = cascade_shard_count(db);
	struct task_job *jobs = memory_allocate_zeroed(count, sizeof(*jobs));
	if (jobs == NULL)
		return status_make(STATUS_NO_MEMORY);
	struct status status = status_ok();
	uint32_t started = 0;
	while (started < count && status_is_ok(status)) {
		struct task_job *job = &jobs[started];
		*job = (struct task_job) { .driver = driver, .body = body, .argument = arguments[started] };
		status = status_of(start_task(db, started % shards, job));
		if (status_is_ok(status))
			started++;
	}
	for (uint32_t i = 0; i < started; i++)
		status_keep_first(&status, status_of(cascade_future_wait(jobs[i].future)));
	memory_free(jobs);
	return status;
}

static void task_yield(struct driver_client *client)
{
	cascade_yield(client->db);
}

static void task_sleep(struct driver_client *client, uint64_t ns)
{
	cascade_sleep(client->db, ns);
}

/* --- the whole --- */

static struct status wait_idle(struct driver *driver)
{
	return status_of(cascade_wait_idle(database_of(driver)));
}

static size_t counters(struct driver *driver, struct driver_counter *out, size_t capacity)
{
	cascade_stat *stats;
	size_t count;
	if (cascade_stats(database_of(driver), &stats, &count) != CASCADE_OK)
		return 0;
	size_t used = count < capacity ? count : capacity;
	for (size_t i = 0; i < used; i++) {
		(void)snprintf(out[i].name, sizeof(out[i].name), "%s", stats[i].name);
		out[i].is_gauge = stats[i].is_gauge;
		out[i].value = stats[i].value;
	}
	cascade_stats_free(stats);
	return used;
}

static const char *notice(struct driver *driver)
{
	return cascade_notice(database_of(driver));
}

const struct driver_ops cascade_driver = {
	.name = "cascade",
	.summary = "Cascade, assembled from the parts that the options name",
	.capabilities = DRIVER_TASKS | DRIVER_SCANS | DRIVER_COMPONENTS,
	.check = check,
	.describe = describe,
	.open = open_database,
	.close = close_database,
	.client_open = client_open,
	.client_close = client_close,
	.insert = put,
	.update = put,
	.read = get,
	.remove = remove_key,
	.scan = scan,
	.run_tasks = run_tasks,
	.task_yield = task_yield,
	.task_sleep = task_sleep,
	.wait_idle = wait_idle,
	.counters = counters,
	.forgets = forgets,
	.notice = notice,
	.memory_budget = memory_budget,
	.parity = parity,
};
