#include "harness/process_stats.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

double process_cpu_seconds(void)
{
	struct rusage usage;
	if (getrusage(RUSAGE_SELF, &usage) != 0)
		return 0;
	return (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec * 1e-6 +
	       (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec * 1e-6;
}

/* Reads a small file of /proc or /sys as text; false if there is none. */
static bool read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t got = read(fd, text, size - 1);
	close(fd);
	text[got > 0 ? got : 0] = '\0';
	return got > 0;
}

/* The number after `name` at the start of a line. */
static uint64_t number_after(const char *text, const char *name)
{
	size_t length = strlen(name);
	for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, length) == 0)
			return strtoull(line + length, NULL, 10);
	}
	return UINT64_MAX;
}

uint64_t process_rss_bytes(void)
{
	char text[128];
	if (!read_text("/proc/self/statm", text, sizeof(text)))
		return UINT64_MAX;
	const char *second = strchr(text, ' ');
	return second == NULL ? UINT64_MAX : strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

bool process_rss_peak_reset(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool reset = write(fd, "5", 1) == 1;
	close(fd);
	return reset;
}

uint64_t process_rss_peak_bytes(void)
{
	char text[4096];
	if (!read_text("/proc/self/status", text, sizeof(text)))
		return UINT64_MAX;
	uint64_t kib = number_after(text, "VmHWM:");
	return kib == UINT64_MAX ? kib : kib * 1024;
}

/* Requests completed by a block device: fields 1 and 5 of its stat file. */
static void count_requests(const char *path, struct device_counters *counters)
{
	struct stat status;
	if (path == NULL || stat(path, &status) != 0)
		return;
	char name[64], text[512];
	snprintf(name, sizeof(name), "/sys/dev/block/%u:%u/stat", major(status.st_dev), minor(status.st_dev));
	unsigned long long reads, writes;
	if (read_text(name, text, sizeof(text)) &&
	    sscanf(text, "%llu %*u %*u %*u %llu", &reads, &writes) == 2) {
		counters->reads = reads;
		counters->writes = writes;
	}
}

struct device_counters process_device_counters(const char *path)
{
	struct device_counters counters = { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX };
	char text[1024];
	if (read_text("/proc/self/io", text, sizeof(text))) {
		counters.read_bytes = number_after(text, "read_bytes:");
		counters.write_bytes = number_after(text, "write_bytes:");
	}
	count_requests(path, &counters);
	return counters;
}

static uint64_t difference(uint64_t later, uint64_t earlier)
{
	return later == UINT64_MAX || earlier == UINT64_MAX || later < earlier ? UINT64_MAX : later - earlier;
}

struct device_counters device_counters_difference(struct device_counters later,
						  struct device_counters earlier)
{
	return (struct device_counters) {
		.reads = difference(later.reads, earlier.reads),
		.writes = difference(later.writes, earlier.writes),
		.read_bytes = difference(later.read_bytes, earlier.read_bytes),
		.write_bytes = difference(later.write_bytes, earlier.write_bytes),
	};
}
