/*
 * null.c: an engine that does nothing, as fast as it can. A run against it measures the bench itself: what
 * drawing an operation, making its value, two looks at the clock and a histogram cost.
 */
#include "base/memory.h"
#include "harness/drivers/driver.h"

struct driver_client {
	struct driver *driver;
};

static struct status null_check(const struct driver_config *config, size_t *bad)
{
	*bad = SIZE_MAX;
	if (config->option_count == 0)
		return status_ok();
	*bad = 0;
	return status_error(STATUS_INVALID, "unknown option '%s', expected none: null has no options",
			    config->options[0].name);
}

static void null_describe(const struct driver_config *config,
			  void (*each)(void *context, const char *name, const char *value), void *context)
{
	(void)config;
	(void)each;
	(void)context;
}

extern const struct driver_ops null_driver;

static struct status null_open(const struct driver_config *config, struct driver **driver)
{
	(void)config;
	*driver = memory_allocate(sizeof(**driver));
	if (*driver == NULL)
		return status_make(STATUS_NO_MEMORY);
	(*driver)->ops = &null_driver;
	return status_ok();
}

static struct status null_close(struct driver *driver)
{
	memory_free(driver);
	return status_ok();
}

static struct status null_client_open(struct driver *driver, struct driver_client **client)
{
	*client = memory_allocate(sizeof(**client));
	if (*client == NULL)
		return status_make(STATUS_NO_MEMORY);
	(*client)->driver = driver;
	return status_ok();
}

static void null_client_close(struct driver_client *client)
{
	memory_free(client);
}

static struct status null_write(struct driver_client *client, struct slice key, struct slice value)
{
	(void)client;
	(void)key;
	(void)value;
	return status_ok();
}

static struct status null_read(struct driver_client *client, struct slice key, struct slice *value)
{
	(void)client;
	(void)key;
	(void)value;
	return status_make(STATUS_NOT_FOUND);
}

static struct status null_remove(struct driver_client *client, struct slice key)
{
	(void)client;
	(void)key;
	return status_ok();
}

static struct status null_scan(struct driver_client *client, struct slice key, uint64_t count,
			       bool (*each)(void *context, struct slice key, struct slice value),
			       void *context)
{
	(void)client;
	(void)key;
	(void)count;
	(void)each;
	(void)context;
	return status_ok();
}

static struct status null_wait_idle(struct driver *driver)
{
	(void)driver;
	return status_ok();
}

static size_t null_counters(struct driver *driver, struct driver_counter *counters, size_t capacity)
{
	(void)driver;
	(void)counters;
	(void)capacity;
	return 0;
}

static const char *null_notice(struct driver *driver)
{
	(void)driver;
	return "";
}

static uint64_t null_memory_budget(const struct driver_config *config)
{
	(void)config;
	return 0;
}

/* It promises nothing, and has nothing else that could be compared. */
static void null_parity(const struct driver_config *config,
			void (*each)(void *context, const char *name, const char *text), void *context)
{
	(void)config;
	each(context, "durability", "memory");
}

const struct driver_ops null_driver = {
	.name = "null",
	.summary = "does nothing: measures what the bench itself costs",
	.capabilities = DRIVER_SCANS | DRIVER_FORGETS,
	.check = null_check,
	.describe = null_describe,
	.open = null_open,
	.close = null_close,
	.client_open = null_client_open,
	.client_close = null_client_close,
	.insert = null_write,
	.update = null_write,
	.read = null_read,
	.remove = null_remove,
	.scan = null_scan,
	.wait_idle = null_wait_idle,
	.counters = null_counters,
	.notice = null_notice,
	.memory_budget = null_memory_budget,
	.parity = null_parity,
};
