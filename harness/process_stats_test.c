#include "harness/process_stats.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "test.h"

static void cpu_time_passes_with_work(void **state)
{
	(void)state;
	double before = process_cpu_seconds();
	uint64_t end = clock_now_ns() + 50000000;
	while (clock_now_ns() < end)
		continue;
	assert_true(process_cpu_seconds() - before > 0.005);
}

static void the_peak_of_memory_is_seen_and_reset(void **state)
{
	(void)state;
	enum { BYTES = 64 << 20 };
	uint64_t base = process_rss_bytes();
	assert_true(base != UINT64_MAX);
	void *memory = memory_map(BYTES);
	memset(memory, 1, BYTES);
	assert_true(process_rss_bytes() >= base + BYTES / 2);
	assert_true(process_rss_peak_bytes() >= base + BYTES / 2);
	memory_unmap(memory, BYTES);
	assert_true(process_rss_peak_bytes() >= base + BYTES / 2);
	if (process_rss_peak_reset())
		assert_true(process_rss_peak_bytes() < base + BYTES / 2);
}

static void written_bytes_are_counted(void **state)
{
	(void)state;
	char path[] = "process_stats_test_XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	struct device_counters before = process_device_counters(path);
	static const uint8_t page[1 << 20] = { 1 };
	assert_int_equal(write(fd, page, sizeof(page)), sizeof(page));
	assert_int_equal(fdatasync(fd), 0);
	struct device_counters more = device_counters_difference(process_device_counters(path), before);
	close(fd);
	unlink(path);
	/* Nothing is known in containers that hide /proc/self/io, nor on file systems without a device. */
	if (more.write_bytes != UINT64_MAX && more.write_bytes != 0)
		assert_true(more.write_bytes >= sizeof(page));
	struct device_counters nowhere = process_device_counters(NULL);
	assert_true(nowhere.reads == UINT64_MAX && nowhere.writes == UINT64_MAX);
	assert_true(device_counters_difference(more, nowhere).reads == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cpu_time_passes_with_work),
		cmocka_unit_test(the_peak_of_memory_is_seen_and_reset),
		cmocka_unit_test(written_bytes_are_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
