#include <stdio.h>

#include "base/assert.h"
#include "database/database_internal.h"

#include "base/poison.h"

_Static_assert((int)CASCADE_OK == (int)STATUS_OK, "one set of numbers");
_Static_assert((int)CASCADE_NOT_FOUND == (int)STATUS_NOT_FOUND, "one set of numbers");
_Static_assert((int)CASCADE_INVALID == (int)STATUS_INVALID, "one set of numbers");
_Static_assert((int)CASCADE_BUSY == (int)STATUS_BUSY, "one set of numbers");
_Static_assert((int)CASCADE_NO_SPACE == (int)STATUS_NO_SPACE, "one set of numbers");
_Static_assert((int)CASCADE_IO == (int)STATUS_IO, "one set of numbers");
_Static_assert((int)CASCADE_CORRUPT == (int)STATUS_CORRUPT, "one set of numbers");
_Static_assert((int)CASCADE_NO_MEMORY == (int)STATUS_NO_MEMORY, "one set of numbers");
_Static_assert((int)CASCADE_LOCKED == (int)STATUS_LOCKED, "one set of numbers");
_Static_assert((int)CASCADE_UNSUPPORTED == (int)STATUS_UNSUPPORTED, "one set of numbers");
_Static_assert((int)CASCADE_FORMAT == (int)STATUS_FORMAT, "one set of numbers");
_Static_assert((int)CASCADE_READ_ONLY == (int)STATUS_READ_ONLY, "one set of numbers");
_Static_assert((int)CASCADE_CLOSED == (int)STATUS_CLOSED, "one set of numbers");
_Static_assert((int)CASCADE_CANCELED == (int)STATUS_CANCELED, "one set of numbers");
_Static_assert(CASCADE_KEY_BYTES_MAX == KEY_BYTES_MAX, "one limit");
_Static_assert(CASCADE_VALUE_BYTES_MAX == VALUE_BYTES_MAX, "one limit");
_Static_assert((int)CASCADE_DURABILITY_POWER == (int)WAL_POWER, "one set of numbers");
_Static_assert((int)CASCADE_DURABILITY_PROCESS == (int)WAL_PROCESS, "one set of numbers");
_Static_assert((int)CASCADE_DURABILITY_MEMORY == (int)WAL_MEMORY, "one set of numbers");

/* The status that the last failed call on this thread returned: its text is looked up when asked for. */
static _Thread_local struct status last_error;
static _Thread_local char last_message[256];

cascade_status database_report(struct status status)
{
	if (!status_is_ok(status))
		last_error = status;
	return (cascade_status)status.code;
}

const char *cascade_error_message(void)
{
	status_describe(last_error, last_message, sizeof(last_message));
	return last_message;
}

const char *cascade_strerror(cascade_status status)
{
	return status_code_text((int32_t)status);
}

#define STRING_OF(number)		  #number
#define VERSION_TEXT(major, minor, patch) STRING_OF(major) "." STRING_OF(minor) "." STRING_OF(patch)

const char *cascade_version(void)
{
	return VERSION_TEXT(CASCADE_VERSION_MAJOR, CASCADE_VERSION_MINOR, CASCADE_VERSION_PATCH);
}

struct task *database_task(const cascade *db)
{
	struct task *self = task_current();
	if (self == NULL || shard_runtime(task_shard(self)) != db->runtime)
		return NULL;
	return self;
}

void database_call(cascade *db, uint32_t shard, const struct task_type *type, void *argument)
{
	struct task *self = database_task(db);
	if (self == NULL)
		runtime_run_type(db->runtime, shard, type, argument);
	else if (shard_index(task_shard(self)) == shard)
		type->run(self, argument);
	else
		shard_call_type(self, shard, type, argument);
}

uint32_t cascade_shard_of(const cascade *db, cascade_slice key)
{
	return database_route(db, hash_key(slice_of(key)));
}

uint32_t cascade_shard_count(const cascade *db)
{
	return db->shard_count;
}
