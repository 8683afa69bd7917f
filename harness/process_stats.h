/*
 * process_stats.h: what this process has used, as the kernel counts it. UINT64_MAX: unknown.
 */
#ifndef CASCADE_HARNESS_PROCESS_STATS_H
#define CASCADE_HARNESS_PROCESS_STATS_H

#include <stdbool.h>
#include <stdint.h>

/* User and system time of all threads so far. */
double process_cpu_seconds(void);

/* Resident memory now. */
uint64_t process_rss_bytes(void);

/*
 * Resets the kernel's high-water mark of resident memory. False: not permitted; the mark then covers the
 * whole life of the process, and peaks have to be sampled with process_rss_bytes.
 */
bool process_rss_peak_reset(void);
uint64_t process_rss_peak_bytes(void);

struct device_counters {
	uint64_t reads, writes, read_bytes, write_bytes;
};

/*
 * Bytes: what this process made the kernel fetch from or send to storage (/proc/self/io). Requests: those
 * of the whole block device that holds `path` (/sys/dev/block), other processes' included; unknown when
 * `path` is NULL or on no block device (tmpfs, overlay).
 */
struct device_counters process_device_counters(const char *path);

/* later - earlier, unknown if either is. */
struct device_counters device_counters_difference(struct device_counters later,
						  struct device_counters earlier);

#endif
