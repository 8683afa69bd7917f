/*
 * Variants from shared objects. What is loaded stays: the registry, databases and results point into it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/door.h"
#include "database/database_internal.h"
#include "database/options_internal.h"

#include "base/poison.h"

enum { PATH_BYTES_MAX = 4096, NAME_BYTES_MAX = 256, REASON_BYTES = 200 };

#define MODULE_SYMBOL "cascade_components"

/* A program that is linked statically has none of these, and can do without. */
#pragma weak dlopen
#pragma weak dlsym
#pragma weak dlclose
#pragma weak dlerror

/* "PATH: WHAT": of a long path its end, which tells it from others. */
static struct status refuse(enum status_code code, const char *path, const char *what)
{
	size_t length = strlen(path);
	bool is_long = length > 100;
	return status_error(code, "%s%s: %s", is_long ? "..." : "", is_long ? path + length - 97 : path,
			    what);
}

/* What the dynamic linker had to say, without the path if it begins with it. */
static const char *linker_reason(const char *path)
{
	const char *reason = dlerror();
	size_t length = strlen(path);
	if (reason == NULL)
		return "it cannot be loaded";
	return strncmp(reason, path, length) == 0 && strncmp(reason + length, ": ", 2) == 0
		       ? reason + length + 2
		       : reason;
}

static struct status check_file(const char *path)
{
	struct stat about;
	if (stat(path, &about) != 0)
		return errno == ENOENT ? refuse(STATUS_NOT_FOUND, path, "there is no such file")
				       : refuse(STATUS_INVALID, path, strerror(errno));
	return S_ISREG(about.st_mode)
		       ? status_ok()
		       : refuse(STATUS_INVALID, path, "it is no file, expected a shared object");
}

static struct status register_rows(const struct component_module *module)
{
	/* Rows of another ABI are not for reading; component_register_module says so. */
	for (uint32_t i = 0; module->abi == COMPONENT_ABI && module->rows != NULL && i < module->count; i++) {
		const struct component_row *row = &module->rows[i];
		if ((unsigned)row->kind < COMPONENT_KIND_COUNT && row->component != NULL &&
		    row->component->abi == COMPONENT_ABI && row->component->name != NULL)
			TRY(options_check_component(row->kind, row->component));
	}
	return component_register_module(module);
}

static struct status load_object(const char *path, const char *as_given)
{
	void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (object == NULL)
		return refuse(STATUS_INVALID, as_given, linker_reason(path));
	const struct component_module *module = dlsym(object, MODULE_SYMBOL);
	struct status status =
		module != NULL
			? register_rows(module)
			: status_error(STATUS_INVALID, "it has no variants: it does not define " MODULE_SYMBOL
						       " (COMPONENT_MODULE of components/component.h)");
	if (!status_is_ok(status)) {
		char reason[REASON_BYTES];
		status_describe(status, reason, sizeof(reason));
		/* Nothing points into it. */
		(void)dlclose(object);
		return refuse((enum status_code)status.code, as_given, reason);
	}
	/* cppcheck-suppress resourceLeak */
	return status;
}

struct load_call {
	const char *path;
	struct status status;
};

static void load(void *argument)
{
	struct load_call *call = argument;
	const char *path = call->path;
	char here[NAME_BYTES_MAX + 8];
	if (dlopen == NULL || dlsym == NULL || dlclose == NULL || dlerror == NULL) {
		call->status = refuse(STATUS_UNSUPPORTED, path,
				      "this program is linked statically and loads no shared objects");
		return;
	}
	call->status = check_file(path);
	if (!status_is_ok(call->status))
		return;
	/* Without a slash it would be looked for where libraries are; a name that is there is no longer. */
	if (strchr(path, '/') == NULL) {
		(void)snprintf(here, sizeof(here), "./%.*s", NAME_BYTES_MAX, path);
		path = here;
	}
	call->status = load_object(path, call->path);
	if (status_is_ok(call->status)) {
		runtime_expect_uncounted_frames();
		options_renew_lists();
	}
}

cascade_status cascade_component_load(const char *path)
{
	static atomic_flag busy = ATOMIC_FLAG_INIT;
	if (path == NULL || path[0] == '\0' || strlen(path) >= PATH_BYTES_MAX)
		return database_report(
			status_error(STATUS_INVALID, "the path of a shared object must be given"));
	struct load_call call = { .path = path };
	while (atomic_flag_test_and_set(&busy))
		;
	call_on_thread_stack(load, &call);
	atomic_flag_clear(&busy);
	return database_report(call.status);
}
