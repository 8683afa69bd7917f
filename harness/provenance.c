#include "harness/provenance.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cyaml/cyaml.h>
#include <gnu/libc-version.h>
#include <lz4.h>
#include <xxhash.h>
#include <yaml.h>
#include <zstd.h>

#include "base/clock.h"
#include "cascade.h"
#include "harness/build_info.h"
#include "harness/experiment.h"
#include "harness/json_writer.h"
#include "harness/system_file.h"

enum { TEXT_BYTES = 512, MOUNT_LINE_BYTES = 4096 };

extern char **environ;

/* The system's text if it could be read, else null. */
static void write_file_text(struct json_writer *json, const char *key, const char *path)
{
	char text[TEXT_BYTES];
	json_text(json, key, system_file_read(path, text, sizeof(text)) && text[0] != '\0' ? text : NULL);
}

/* --- source and build --- */

static bool read_output(int fd, char *buffer, size_t size)
{
	size_t used = 0;
	for (;;) {
		ssize_t got = read(fd, buffer + used, size - 1 - used);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		used += (size_t)got;
		if (used == size - 1)
			break;
	}
	buffer[used] = '\0';
	buffer[strcspn(buffer, "\n")] = '\0';
	return used > 0;
}

/* First line of a program's output. */
static bool run_program(const char *const *arguments, char *buffer, size_t size)
{
	int ends[2], exit_status = 0;
	pid_t child;
	posix_spawn_file_actions_t actions;
	if (pipe2(ends, O_CLOEXEC) != 0)
		return false;
	bool prepared = posix_spawn_file_actions_init(&actions) == 0;
	bool good =
		prepared && posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO) == 0 &&
		posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0) == 0 &&
		posix_spawnp(&child, arguments[0], &actions, NULL, (char *const *)arguments, environ) == 0;
	(void)close(ends[1]);
	if (prepared)
		(void)posix_spawn_file_actions_destroy(&actions);
	if (good) {
		good = read_output(ends[0], buffer, size);
		while (waitpid(child, &exit_status, 0) < 0 && errno == EINTR)
			;
		good = good && exit_status == 0;
	}
	(void)close(ends[0]);
	return good;
}

/* The commit of the tree that the binary lies in, with "-dirty" if files differ from it. */
static void write_source(struct json_writer *json)
{
	char path[PATH_MAX], commit[TEXT_BYTES];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
	path[length > 0 ? length : 0] = '\0';
	json_text(json, "binary", length > 0 ? path : NULL);
	char *slash = strrchr(path, '/');
	if (slash != NULL)
		*slash = '\0';
	const char *const arguments[] = { "git",     "-C",	    path,	 "describe", "--always",
					  "--dirty", "--abbrev=40", "--exclude", "*",	     NULL };
	bool found = slash != NULL && run_program(arguments, commit, sizeof(commit));
	json_text(json, "commit", found ? commit : NULL);
}

/* The allocator is linked into the command only if there is one: a weak name tells. */
extern int mallctl(const char *name, void *old, size_t *old_size, void *fresh, size_t fresh_size)
	__attribute__((weak));

static const char *jemalloc_version(void)
{
	const char *version = NULL;
	size_t size = sizeof(version);
	if (mallctl == NULL || mallctl("version", (void *)&version, &size, NULL, 0) != 0)
		return NULL;
	return version;
}

static void write_build(struct json_writer *json)
{
	json_object_begin(json, "build");
	json_text(json, "version", cascade_version());
	write_source(json);
	json_text(json, "type", build_type());
	json_text(json, "compiler", build_compiler());
	json_text(json, "flags", build_flags());
	json_object_begin(json, "libraries");
	char xxhash[32];
	unsigned version = XXH_versionNumber();
	(void)snprintf(xxhash, sizeof(xxhash), "%u.%u.%u", version / 10000, version / 100 % 100,
		       version % 100);
	json_text(json, "glibc", gnu_get_libc_version());
	json_text(json, "jemalloc", jemalloc_version());
	json_text(json, "zstd", ZSTD_versionString());
	json_text(json, "lz4", LZ4_versionString());
	json_text(json, "xxhash", xxhash);
	json_text(json, "libyaml", yaml_get_version_string());
	json_text(json, "libcyaml", cyaml_version_str);
	for (size_t i = 0; drivers[i] != NULL; i++) {
		if (drivers[i]->library_version != NULL)
			json_text(json, drivers[i]->name, drivers[i]->library_version);
	}
	json_object_end(json);
	json_object_end(json);
}

/* --- what is run --- */

/* Each configuration as its workload has it, with all options in effect. */
static void write_configurations(struct json_writer *json, const struct experiment *experiment)
{
	json_array_begin(json, "configurations");
	for (size_t i = 0; i < experiment->cell_count; i++) {
		const struct cell *cell = &experiment->cells[i];
		json_object_begin(json, NULL);
		json_text(json, "name", cell->name);
		json_text(json, "workload", cell->workload_label);
		json_text(json, "hash", cell->configuration_hash);
		json_text(json, "clients_as", cell->workload.clients_as_tasks ? "tasks" : "threads");
		json_yaml(json, "engine", cell->engine);
		json_object_end(json);
	}
	json_array_end(json);
}

/* --- machine --- */

static void write_machine(struct json_writer *json)
{
	char model[TEXT_BYTES];
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE),
	     cores = sysconf(_SC_NPROCESSORS_ONLN);
	bool known = system_file_line("/proc/cpuinfo", "model name", model, sizeof(model)) ||
		     system_file_line("/proc/cpuinfo", "CPU implementer", model, sizeof(model));
	json_object_begin(json, "machine");
	json_text(json, "cpu_model", known ? model : NULL);
	json_known(json, "cores_online", cores > 0 ? (uint64_t)cores : UINT64_MAX);
	json_known(json, "memory_bytes",
		   pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_MAX);
	write_file_text(json, "cpu_governor", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
	write_file_text(json, "transparent_hugepages", "/sys/kernel/mm/transparent_hugepage/enabled");
	write_file_text(json, "aslr", "/proc/sys/kernel/randomize_va_space");
	write_file_text(json, "swappiness", "/proc/sys/vm/swappiness");
	write_file_text(json, "cgroup_cpu_max", "/sys/fs/cgroup/cpu.max");
	write_file_text(json, "cgroup_memory_max", "/sys/fs/cgroup/memory.max");
	double load[3] = { NAN, NAN, NAN };
	bool loads = getloadavg(load, 3) == 3;
	json_real(json, "load_1min", loads ? load[0] : NAN);
	json_object_end(json);
}

static void write_system(struct json_writer *json)
{
	struct utsname name;
	char distro[TEXT_BYTES];
	bool known = uname(&name) == 0;
	json_object_begin(json, "system");
	json_text(json, "kernel", known ? name.release : NULL);
	json_text(json, "kernel_version", known ? name.version : NULL);
	json_text(json, "architecture", known ? name.machine : NULL);
	bool released = system_file_line("/etc/os-release", "PRETTY_NAME", distro, sizeof(distro));
	json_text(json, "distribution", released ? distro : NULL);
	write_file_text(json, "io_uring_disabled", "/proc/sys/kernel/io_uring_disabled");
	json_object_end(json);
}

/* --- file system and device --- */

/* Decodes the \040 that mountinfo writes for a blank. */
static void unescape(char *text)
{
	char *to = text;
	for (const char *from = text; *from != '\0'; to++) {
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] != '\0' &&
		    from[3] != '\0') {
			*to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* "36 35 98:0 /root /mount options optional - type source super-options" */
static bool write_mount_line(struct json_writer *json, char *line, unsigned want_major, unsigned want_minor)
{
	unsigned found_major = 0, found_minor = 0;
	char *fields[16], *rest = NULL;
	size_t count = 0, dash = 0;
	for (char *field = strtok_r(line, " \n", &rest); field != NULL && count < 16;
	     field = strtok_r(NULL, " \n", &rest)) {
		if (strcmp(field, "-") == 0 && dash == 0)
			dash = count;
		fields[count++] = field;
	}
	if (count < 7 || dash == 0 || dash + 3 >= count ||
	    sscanf(fields[2], "%u:%u", &found_major, &found_minor) != 2 || found_major != want_major ||
	    found_minor != want_minor)
		return false;
	unescape(fields[4]);
	json_text(json, "type", fields[dash + 1]);
	json_text(json, "source", fields[dash + 2]);
	json_text(json, "mount", fields[4]);
	json_text(json, "options", fields[5]);
	json_text(json, "super_options", fields[dash + 3]);
	return true;
}

static void write_mount(struct json_writer *json, dev_t device)
{
	char line[MOUNT_LINE_BYTES];
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	bool found = false;
	while (mounts != NULL && !found && fgets(line, sizeof(line), mounts) != NULL)
		found = write_mount_line(json, line, major(device), minor(device));
	if (mounts != NULL)
		(void)fclose(mounts);
	if (!found)
		json_text(json, "type", NULL);
}

/* A partition's queue is its disk's, one folder up. */
static void write_device(struct json_writer *json, dev_t device)
{
	char link[64], folder[PATH_MAX], path[PATH_MAX + 64];
	(void)snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major(device), minor(device));
	json_object_begin(json, "device");
	if (realpath(link, folder) != NULL) {
		(void)snprintf(path, sizeof(path), "%s/partition", folder);
		char *slash = access(path, F_OK) == 0 ? strrchr(folder, '/') : NULL;
		if (slash != NULL)
			*slash = '\0';
		json_text(json, "name", strrchr(folder, '/') != NULL ? strrchr(folder, '/') + 1 : folder);
		static const char *const names[][2] = {
			{ "model", "device/model" },
			{ "scheduler", "queue/scheduler" },
			{ "rotational", "queue/rotational" },
			{ "write_cache", "queue/write_cache" },
			{ "logical_block_size", "queue/logical_block_size" },
			{ "nr_requests", "queue/nr_requests" },
		};
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
			(void)snprintf(path, sizeof(path), "%s/%s", folder, names[i][1]);
			write_file_text(json, names[i][0], path);
		}
	}
	json_object_end(json);
}

static void write_storage(struct json_writer *json, const char *path)
{
	struct stat about;
	json_object_begin(json, "storage");
	json_text(json, "path", path);
	if (stat(path, &about) == 0) {
		json_object_begin(json, "file_system");
		write_mount(json, about.st_dev);
		json_object_end(json);
		write_device(json, about.st_dev);
	}
	json_object_end(json);
}

/* --- the whole --- */

/* The kernel keeps it as zero-terminated pieces. */
static void write_command_line(struct json_writer *json)
{
	char *line = NULL;
	size_t capacity = 0;
	FILE *file = fopen("/proc/self/cmdline", "re");
	json_array_begin(json, "argv");
	while (file != NULL && getdelim(&line, &capacity, '\0', file) > 0)
		json_text(json, NULL, line);
	json_array_end(json);
	free(line);
	if (file != NULL)
		(void)fclose(file);
}

void provenance_write(FILE *file, const struct experiment *experiment, const char *path)
{
	struct json_writer json = { .file = file, .pretty = true };
	char stamp[32];
	struct tm utc;
	time_t now = (time_t)(clock_wall_ns() / 1000000000);
	(void)gmtime_r(&now, &utc);
	(void)strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", &utc);
	json_object_begin(&json, NULL);
	json_count(&json, "schema_version", 1);
	json_text(&json, "time_utc", stamp);
	write_command_line(&json);
	write_build(&json);
	write_machine(&json);
	write_system(&json);
	write_storage(&json, path);
	modules_write(&json, NULL);
	write_configurations(&json, experiment);
	json_object_end(&json);
	(void)fputc('\n', file);
}
