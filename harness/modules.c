#include "harness/modules.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "cascade.h"
#include "harness/allocate.h"
#include "harness/commands.h"

enum { BUFFER_BYTES = 1 << 16, VARIANTS_MAX = 256 };

static struct module modules[MODULES_MAX];
static size_t module_count;

/* Of the whole file. */
static struct status hash_file(const char *path, char hash[static MODULE_HASH_BYTES])
{
	struct checksum_stream stream;
	static unsigned char buffer[BUFFER_BYTES];
	ssize_t size;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return status_from_errno(errno, "cannot be read", path);
	checksum_stream_begin(&stream, 0);
	do {
		size = read(fd, buffer, sizeof(buffer));
		if (size > 0)
			checksum_stream_add(&stream, buffer, (size_t)size);
	} while (size > 0 || (size < 0 && errno == EINTR));
	int error = errno;
	(void)close(fd);
	if (size < 0)
		return status_from_errno(error, "cannot be read", path);
	(void)snprintf(hash, MODULE_HASH_BYTES, "%016llx", (unsigned long long)checksum_stream_end(&stream));
	return status_ok();
}

static bool has_variant(const struct module_variant *variants, size_t count, const char *kind,
			const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(variants[i].kind, kind) == 0 && strcmp(variants[i].name, name) == 0)
			return true;
	}
	return false;
}

/* Names last as long as the process; the list that they are in is written anew by a load. */
static size_t list_variants(struct module_variant variants[static VARIANTS_MAX])
{
	const cascade_component_info *list;
	size_t count = cascade_component_list(&list);
	count = count < VARIANTS_MAX ? count : VARIANTS_MAX;
	for (size_t i = 0; i < count; i++)
		variants[i] = (struct module_variant) { .kind = list[i].kind, .name = list[i].name };
	return count;
}

/* Loads the file, and notes what is listed now and was not before. */
static struct status load_variants(struct module *module, const char *path)
{
	struct module_variant before[VARIANTS_MAX], after[VARIANTS_MAX];
	size_t before_count = list_variants(before);
	cascade_status code = cascade_component_load(path);
	if (code != CASCADE_OK)
		return status_error((enum status_code)code, "%s", cascade_error_message());
	size_t after_count = list_variants(after);
	module->variant_count = 0;
	for (size_t i = 0; i < after_count && module->variant_count < MODULE_VARIANTS_MAX; i++) {
		if (!has_variant(before, before_count, after[i].kind, after[i].name))
			module->variants[module->variant_count++] = after[i];
	}
	return status_ok();
}

/*
 * The module of that path, loaded if it is not yet. Nothing can be loaded in the place of a file that has
 * changed since: the first one stays.
 */
static struct status load_module(const char *path, const struct module **result)
{
	*result = NULL;
	for (size_t i = 0; i < module_count && *result == NULL; i++) {
		if (strcmp(modules[i].path, path) == 0)
			*result = &modules[i];
	}
	if (*result != NULL)
		return status_ok();
	if (module_count == MODULES_MAX)
		return status_error(STATUS_INVALID, "%s: more than %d files", path, MODULES_MAX);
	struct module *module = &modules[module_count];
	TRY(load_variants(module, path));
	TRY(hash_file(path, module->hash));
	module->path = allocate_string(path);
	module_count++;
	*result = module;
	return status_ok();
}

/* --- workload files --- */

static struct status load_item(const struct yaml_node *item, size_t index, const struct module **module,
			       struct problem *problem)
{
	char key[32], text[256];
	(void)snprintf(key, sizeof(key), "components.%zu", index);
	if (item->kind != YAML_SCALAR || yaml_is_null(item) || item->text[0] == '\0')
		return problem_at(problem, STATUS_INVALID, item->place, key,
				  "%s, expected the path of a shared object",
				  yaml_is_null(item) ? "nothing" : yaml_kind_text(item));
	struct status status = load_module(item->text, module);
	if (status_is_ok(status))
		return status;
	status_describe(status, text, sizeof(text));
	return problem_at(problem, STATUS_INVALID, item->place, key, "%s", text);
}

struct status modules_load(struct arena *arena, const struct yaml_node *root, struct module_list *list,
			   struct problem *problem)
{
	const struct yaml_item *item = yaml_get_item(root, "components");
	*list = (struct module_list) { .modules = NULL };
	if (item == NULL)
		return status_ok();
	const struct yaml_node *given = item->value;
	if (given->kind != YAML_SEQUENCE)
		return problem_at(problem, STATUS_INVALID, item->place, "components",
				  "%s, expected a list of paths of shared objects", yaml_kind_text(given));
	if (given->count > 0)
		list->modules = arena_zeroed(arena, given->count * sizeof(struct module *));
	for (size_t i = 0; i < given->count; i++)
		TRY(load_item(given->items[i].value, i, &list->modules[list->count++], problem));
	return status_ok();
}

const struct module *modules_missing(const struct module_list *list, const char *kind, const char *name)
{
	for (size_t i = 0; i < list->count; i++) {
		if (has_variant(list->modules[i]->variants, list->modules[i]->variant_count, kind, name))
			return NULL;
	}
	for (size_t i = 0; i < module_count; i++) {
		if (has_variant(modules[i].variants, modules[i].variant_count, kind, name))
			return &modules[i];
	}
	return NULL;
}

/* --- commands and records --- */

int modules_load_option(const char *command, const char *path)
{
	const struct module *module;
	char text[256];
	struct status status = load_module(path, &module);
	if (status_is_ok(status))
		return EXIT_DONE;
	status_describe(status, text, sizeof(text));
	(void)fprintf(stderr, "cascade %s: --load: %s\n", command, text);
	return EXIT_BAD_INPUT;
}

static void write_module(struct json_writer *json, const struct module *module)
{
	json_object_begin(json, NULL);
	json_text(json, "path", module->path);
	json_text(json, "hash", module->hash);
	json_object_end(json);
}

void modules_write(struct json_writer *json, const struct module_list *list)
{
	json_array_begin(json, "components");
	for (size_t i = 0; i < (list != NULL ? list->count : module_count); i++)
		write_module(json, list != NULL ? list->modules[i] : &modules[i]);
	json_array_end(json);
}
