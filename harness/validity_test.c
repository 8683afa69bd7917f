/*
 * Verdicts: every reason is seen when it is there, and only then.
 */
#include <math.h>
#include <string.h>

#include "harness/build_info.h"
#include "harness/channel.h"
#include "harness/folder.h"
#include "harness/progress.h"
#include "harness/validity.h"
#include "test.h"

#include <unistd.h>

#define SECONDS 1000000000ull

static struct phase phase;
static struct phase_result result;
static struct machine_sample before, after;
static struct validity_input input;

/* A phase that nothing is wrong with, on a quiet machine of two cores. */
static int set_up(void **state)
{
	(void)state;
	long tick = sysconf(_SC_CLK_TCK);
	phase = (struct phase) { .name = "run", .kind = PHASE_RUN, .duration_ns = 10 * SECONDS };
	result = (struct phase_result) { .seconds = 10, .operations = 1000000 };
	before = (struct machine_sample) { .wall_ns = SECONDS, .busy_ticks = 100, .all_ticks = 1000 };
	after = (struct machine_sample) {
		.wall_ns = 11 * SECONDS,
		.busy_ticks = 100 + 10 * (uint64_t)tick,
		.all_ticks = 1000 + 20 * (uint64_t)tick,
		.own_cpu_seconds = 9.5,
	};
	input = (struct validity_input) {
		.phase = &phase,
		.result = &result,
		.before = &before,
		.after = &after,
		.notice = "",
		.dataset_bytes = UINT64_MAX,
		.cache_bytes = UINT64_MAX,
	};
	return 0;
}

/* Reasons that come from the machine and build on which this test runs are left aside. */
static void expect(const char *verdict, const char *reason)
{
	struct validity validity;
	size_t others = 0;
	bool found = false;
	validity_judge(&input, &validity);
	for (size_t i = 0; i < validity.reason_count; i++) {
		const char *text = validity.reasons[i];
		bool ours = strncmp(text, "build=", 6) != 0 && strncmp(text, "cpu_governor=", 13) != 0;
		others += !ours;
		if (ours && (reason == NULL || strncmp(text, reason, strlen(reason)) != 0))
			fail_msg("unexpected: %s", text);
		found = found || ours;
	}
	assert_true(found == (reason != NULL));
	if (strcmp(verdict, "valid") != 0 || others == 0)
		assert_string_equal(validity_verdict(&validity), verdict);
	assert_true(!build_is_debug() || others > 0);
}

static void test_nothing_wrong(void **state)
{
	(void)state;
	expect("valid", NULL);
}

static void test_failures(void **state)
{
	(void)state;
	result.failed = 3;
	result.first_failure = status_make(STATUS_NO_SPACE);
	expect("invalid", "failed: 3 operations, the first: no space left");
	result.failed = 0;
	result.verify_mismatches = 2;
	(void)snprintf(result.first_mismatch, sizeof(result.first_mismatch), "key 5");
	expect("invalid", "mismatches: 2, the first: key 5");
	result.verify_mismatches = 0;
	result.stopped_early = true;
	expect("invalid", "stopped early");
}

static void test_lengths(void **state)
{
	(void)state;
	result.seconds = 4.9;
	expect("suspect", "short: 4.90 s measured, less than 5 s");
	phase.kind = PHASE_LOAD;
	expect("valid", NULL);
	result.seconds = 0.5;
	expect("suspect", "short: 0.50 s measured, less than 1 s");
	result.seconds = 10;
	result.operations = 9999;
	expect("suspect", "few operations: 9999, less than 10000");
}

static void test_machine(void **state)
{
	(void)state;
	uint64_t tick = (uint64_t)sysconf(_SC_CLK_TCK);
	after.own_cpu_seconds = 5;
	expect("suspect", "load: other processes used 25 % of the CPU time");
	after.own_cpu_seconds = 9.5;
	after.steal_ticks = tick;
	expect("suspect", "steal: the hypervisor took 5.0 % of the CPU time");
	after.steal_ticks = 0;
	result.hiccups = histogram_create();
	histogram_record(result.hiccups, 199999999);
	for (int i = 0; i < 10000; i++)
		histogram_record(result.hiccups, 100000);
	expect("valid", NULL);
	histogram_record(result.hiccups, 200000001);
	expect("suspect", "hiccups: a sleeping thread woke 0.1 ms late at p99.9, 200.0 ms at most");
	histogram_free(result.hiccups);
	result.hiccups = NULL;
	after.swap_pages = 7;
	expect("suspect", "swap: 7 pages moved");
}

static void test_dataset_and_notice(void **state)
{
	(void)state;
	input.cache_bytes = 2 << 20;
	input.dataset_bytes = 1 << 20;
	expect("suspect", "dataset (1.0 MiB) fits the cache (2.0 MiB)");
	input.dataset_bytes = 3 << 20;
	expect("valid", NULL);
	input.notice = "io_uring refused";
	expect("suspect", "notice: io_uring refused");
}

static void test_sample_of_this_machine(void **state)
{
	(void)state;
	struct machine_sample first, second;
	machine_sample(&first);
	volatile uint64_t spin = 0;
	for (uint64_t i = 0; i < 30000000; i++)
		spin += i;
	assert_true(spin > 0);
	machine_sample(&second);
	assert_true(second.wall_ns > first.wall_ns);
	assert_true(second.own_cpu_seconds > first.own_cpu_seconds);
	assert_true(second.all_ticks >= first.all_ticks);
}

/* --- progress, as a file sees it --- */

static void test_progress_share(void **state)
{
	(void)state;
	struct phase load = { .name = "load", .kind = PHASE_LOAD };
	assert_true(progress_share(&phase, 2.5, 0, 0) == 0.25);
	assert_true(progress_share(&phase, 99, 0, 0) == 1);
	assert_true(progress_share(&load, 1, 50, 200) == 0.25);
	assert_true(progress_share(&load, 1, 50, 0) < 0);
}

static void test_progress_lines(void **state)
{
	(void)state;
	char *text = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);
	struct progress progress = { .file = file };
	progress_begin(&progress, 2, 5, "btree");
	for (uint64_t i = 0; i <= 60; i++)
		progress_update(&progress, &phase, (double)i / 10, i * 1000, 0, SECONDS + i * SECONDS / 10);
	progress_phase_done(&progress, &phase, 12345.6);
	assert_int_equal(fclose(file), 0);
	assert_string_equal(text, "2/5 btree run: 50 %, 10,000 ops/s, 5 s left\n"
				  "2/5 btree run: done, 12,345 ops/s\n");
	free(text);
	struct progress quiet = { .quiet = true };
	progress_begin(&quiet, 1, 1, "x");
	progress_update(&quiet, &phase, 1, 1, 0, 9 * SECONDS);
	progress_phase_done(&quiet, &phase, 1);
	progress_clear(&quiet);
}

/* --- messages between processes --- */

struct received {
	size_t count;
	enum message_type types[4];
	size_t sizes[4];
	char first[16];
};

static void note(void *context, enum message_type type, const char *data, size_t size)
{
	struct received *received = context;
	assert_true(received->count < 4);
	if (received->count == 0)
		(void)snprintf(received->first, sizeof(received->first), "%s", data);
	received->types[received->count] = type;
	received->sizes[received->count++] = size;
}

static void test_messages(void **state)
{
	(void)state;
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	assert_true(channel_send_text(ends[1], MESSAGE_NOTICE, "hello"));
	assert_true(channel_send(ends[1], MESSAGE_END, NULL, 0));
	/* The third comes in two pieces. */
	struct message_header header = { .type = MESSAGE_RECORD, .size = 6 };
	assert_int_equal(write(ends[1], &header, sizeof(header)), sizeof(header));
	assert_int_equal(write(ends[1], "abc", 3), 3);
	struct channel_reader reader = { .fd = ends[0] };
	struct received received = { .count = 0 };
	assert_true(channel_receive(&reader, note, &received));
	assert_int_equal(received.count, 2);
	assert_string_equal(received.first, "hello");
	assert_int_equal(received.types[1], MESSAGE_END);
	assert_int_equal(write(ends[1], "def", 3), 3);
	assert_true(channel_receive(&reader, note, &received));
	assert_int_equal(received.count, 3);
	assert_int_equal(received.sizes[2], 6);
	/* Nonsense ends it, and so does the end of the stream. */
	header.type = 77;
	assert_int_equal(write(ends[1], &header, sizeof(header)), sizeof(header));
	assert_false(channel_receive(&reader, note, &received));
	assert_int_equal(close(ends[1]), 0);
	assert_false(channel_receive(&reader, note, &received));
	channel_reader_free(&reader);
	assert_int_equal(close(ends[0]), 0);
}

/* --- folders --- */

static void test_folders(void **state)
{
	(void)state;
	char base[] = "/tmp/cascade-folder-XXXXXX", deep[64], file[80];
	assert_non_null(mkdtemp(base));
	(void)snprintf(deep, sizeof(deep), "%s/a/b//c/", base);
	assert_int_equal(folder_make(deep), 0);
	assert_int_equal(folder_make(deep), 0);
	assert_true(folder_is_empty(deep));
	(void)snprintf(file, sizeof(file), "%s/file", deep);
	FILE *stream = fopen(file, "w");
	assert_non_null(stream);
	assert_true(fputs("some bytes", stream) >= 0);
	assert_int_equal(fclose(stream), 0);
	assert_false(folder_is_empty(deep));
	assert_true(folder_make(file) != 0);
	assert_true(folder_bytes(base) >= 10 && folder_bytes(base) < 1 << 20);
	/* What a link points to stays. */
	(void)snprintf(file, sizeof(file), "%s/link", base);
	assert_int_equal(symlink("/tmp", file), 0);
	assert_int_equal(folder_remove(base), 0);
	assert_int_equal(access("/tmp", F_OK), 0);
	assert_int_not_equal(access(base, F_OK), 0);
	assert_int_equal(folder_remove(base), 0);
	assert_true(folder_is_empty(base));
	assert_true(folder_bytes(base) == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_nothing_wrong, set_up),
		cmocka_unit_test_setup(test_failures, set_up),
		cmocka_unit_test_setup(test_lengths, set_up),
		cmocka_unit_test_setup(test_machine, set_up),
		cmocka_unit_test_setup(test_dataset_and_notice, set_up),
		cmocka_unit_test(test_sample_of_this_machine),
		cmocka_unit_test_setup(test_progress_share, set_up),
		cmocka_unit_test_setup(test_progress_lines, set_up),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_folders),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
