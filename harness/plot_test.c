#include "harness/plot.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/histogram.h"
#include "test.h"

static char folder[64];

static FILE *create(const char *name)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	return file;
}

static bool exists(const char *name, long *size)
{
	char path[512];
	struct stat status;
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (stat(path, &status) != 0)
		return false;
	*size = (long)status.st_size;
	return true;
}

static void remove_files(const char *below)
{
	char path[512];
	snprintf(path, sizeof(path), "%s%s", folder, below);
	DIR *directory = opendir(path);
	if (directory == NULL)
		return;
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
		char name[1024];
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		unlink(name);
	}
	closedir(directory);
	rmdir(path);
}

static void write_histogram(const char *name, uint64_t typical, uint64_t seed)
{
	struct histogram *histogram = histogram_create();
	struct random random = random_stream(seed);
	for (int i = 0; i < 20000; i++)
		histogram_record(histogram,
				 typical + (random_below(&random, typical) << random_below(&random, 6)));
	char path[512];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	assert_ok(histogram_save_hgrm(histogram, path));
	histogram_free(histogram);
}

/* Two configurations, the second one's label full of what has to be quoted, two repetitions of one phase. */
static void write_run(void)
{
	static const char *const labels[] = { "memtable.kind=skiplist", "say \\\"50 %\\\", \\\\ or _{x}" };
	static const char *const fields[] = { "memtable.kind=skiplist", "\"say \"\"50 %\"\", \\ or _{x}\"" };
	FILE *records = create("record.jsonl");
	FILE *timeline = create("timeline.csv");
	fprintf(timeline, "configuration,label,repetition,phase,t_s,operations,p50_ns,p99_ns,p999_ns,max_ns,"
			  "cpu_seconds,rss_bytes,read_bytes,write_bytes\n");
	for (int repetition = 1; repetition <= 2; repetition++) {
		for (int i = 1; i >= 0; i--) {
			char name[64];
			snprintf(name, sizeof(name), "tag%d.run.read.service.r%d.ns.hgrm", i, repetition);
			write_histogram(name, 1000 + 500 * (uint64_t)i, (uint64_t)repetition);
			fprintf(records,
				"{\"schema_version\":1,\"experiment\":\"test\",\"configuration\":{\"hash\":"
				"\"h%d\",\"label\":\"%s\"},\"engine\":{\"kind\":\"null\"},\"phase\":{"
				"\"name\":"
				"\"run\",\"clients\":4},\"repetition\":%d,\"operations\":20000,\"seconds\":3,"
				"\"throughput\":{\"ops_s\":%d},\"latency\":{\"read\":{\"service\":{\"count\":"
				"20000,"
				"\"p50_ns\":1000,\"p99_ns\":%d,\"max_ns\":90000,\"hgrm\":\"%s\"}}},\"cpu\":{"
				"\"us_per_op\":%d},\"amplification\":{\"write\":null,\"space\":1.5}}\n",
				i, labels[i], repetition, 6000 + i * 500 + repetition, 5000 + 100 * i, name,
				10 + i);
			for (int second = 1; second <= 3; second++)
				fprintf(timeline, "h%d,%s,%d,run,%d.0,%d,%s,5000,6000,90000,1,1,,\n", i,
					fields[i], repetition, second, 6000 + 100 * second,
					second == 2 ? "" : "1000");
			fprintf(timeline, "h%d,%s,%d,run,3.1,5,1000,5000,6000,90000,1,1,,\n", i, fields[i],
				repetition);
		}
	}
	fprintf(records, "{\"schema_version\":1,\"experiment\":\"te"); /* the writer was killed here */
	fclose(records);
	fclose(timeline);
}

static int open_folder(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/plot_test_XXXXXX");
	return mkdtemp(folder) == NULL;
}

static int close_folder(void **state)
{
	(void)state;
	remove_files("/plots");
	remove_files("");
	return 0;
}

static void a_run_is_read_back(void **state)
{
	(void)state;
	write_run();
	struct run_data data;
	struct run_source source = { .directory = folder };
	assert_ok(run_data_read(&data, &source, 1, RUN_DATA_BY_LABEL));
	assert_string_equal(data.experiment, "test");
	assert_int_equal(data.configuration_count, 2);
	assert_string_equal(data.configurations[0].label, "memtable.kind=skiplist");
	assert_string_equal(data.configurations[1].label, "say \"50 %\", \\ or _{x}");
	assert_int_equal(data.phase_count, 1);
	assert_int_equal(data.record_count, 4);
	assert_int_equal(data.repetitions, 2);
	assert_true(data.records[0].ops_s == 6501);
	assert_int_equal(data.records[0].configuration, 1);
	assert_true(data.records[0].write_amplification != data.records[0].write_amplification);
	assert_true(data.records[0].latency[OPERATION_READ].p99 == 5100);
	assert_true(data.records[0].latency[OPERATION_UPDATE].count == 0);
	assert_int_equal(data.second_count, 12);
	assert_true(data.seconds[1].ops_s == 6200);
	assert_true(data.seconds[1].middle_s == 1.5);
	assert_true(data.seconds[1].p50_ns != data.seconds[1].p50_ns);
	assert_int_equal(data.seconds[0].configuration, 1);
	run_data_free(&data);
}

static void pictures_are_drawn(void **state)
{
	(void)state;
	static const char *const names[] = { "latency-run-read", "timeline-run", "compare-run", "ratios" };
	static const char *const endings[] = { "gp", "dat", "svg", "png", "pdf" };
	if (system("gnuplot --version > /dev/null 2>&1") != 0) {
		print_message("gnuplot is not here: nothing is drawn\n");
		skip();
	}
	write_run();
	size_t pictures;
	assert_ok(plot_run(folder, PLOT_SVG | PLOT_PNG | PLOT_PDF, &pictures));
	assert_int_equal(pictures, 12);
	for (size_t i = 0; i < 4; i++) {
		for (size_t k = 0; k < 5; k++) {
			char name[64];
			long size = 0;
			snprintf(name, sizeof(name), "plots/%s.%s", names[i], endings[k]);
			assert_true(exists(name, &size));
			assert_true(size > 50);
		}
	}
	assert_ok(plot_run(folder, PLOT_SVG, &pictures)); /* once more, over what is there */
	assert_int_equal(pictures, 4);
}

/* Two configurations with two workloads: a picture for each workload, and one of all their phases. */
static void write_workloads(void)
{
	FILE *records = create("record.jsonl");
	for (int i = 0; i < 16; i++) {
		int cell = i / 2 % 4;
		fprintf(records,
			"{\"experiment\":\"test\",\"configuration\":{\"hash\":\"h%d\",\"label\":\"c%d d%d\","
			"\"name\":\"c%d\",\"index\":%d,\"baseline\":%s},\"workload\":{\"hash\":\"w%d\","
			"\"label\":\"d%d\",\"records\":%d,\"value_size\":100},\"engine\":{\"kind\":\"null\"},"
			"\"parity\":{\"cache\":\"%d MiB\",\"direct_io\":\"yes\",\"filter\":\"none\"},"
			"\"phase\":{\"name\":\"%s\",\"clients\":4},\"repetition\":%d,\"operations\":20000,"
			"\"seconds\":3,\"throughput\":{\"ops_s\":%d}}\n",
			cell, cell / 2, cell % 2 + 1, cell / 2, cell, cell / 2 == 0 ? "true" : "false",
			cell % 2, cell % 2 + 1, 1000 * (cell % 2 + 1), 128 * (cell % 2 + 1),
			i % 2 == 0 ? "load" : "run", i / 8 + 1, 5000 + 100 * i);
	}
	fclose(records);
}

/* A file of the plots' folder. */
static void read_plot(const char *name, char *text, size_t size)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/plots/%s", folder, name);
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	text[fread(text, 1, size - 1, file)] = '\0';
	fclose(file);
}

static void assert_has(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("'%s' is not in:\n%s", part, text);
}

static void workloads_have_pictures_of_their_own(void **state)
{
	(void)state;
	char text[16384];
	size_t pictures;
	long size;
	write_workloads();
	struct status status = plot_run(folder, PLOT_SVG, &pictures);
	assert_true(status_is_ok(status) || status_is(status, STATUS_UNSUPPORTED));
	assert_true(exists("plots/compare-d1-run.gp", &size));
	assert_true(exists("plots/compare-d2-load.gp", &size));
	assert_true(exists("plots/throughput-d2.gp", &size));
	read_plot("throughput-d1.gp", text, sizeof(text));
	assert_has(text, "\"test, d1: throughput\"");
	assert_has(text, "\"1,000 records of 100 B; 4 clients; n = 2\"");
	assert_has(text, "\"cache 128 MiB; direct I/O; no filter\"");
	read_plot("ratios.gp", text, sizeof(text));
	assert_has(text, "\"d1: 1,000 records of 100 B; d2: 2,000 records of 100 B; 4 clients; n = 2\"");
	assert_has(text, "\"cache 128 MiB | 256 MiB; direct I/O; no filter\"");
	assert_has(text, "\"d2 run\"");
}

static void without_gnuplot_the_scripts_are_left(void **state)
{
	(void)state;
	write_run();
	char *path = strdup(getenv("PATH"));
	setenv("PATH", "/nowhere", 1);
	size_t pictures = 7;
	struct status status = plot_run(folder, PLOT_DEFAULT, &pictures);
	char *arguments[] = { "plot", folder, NULL };
	int exit_code = plot_command(2, arguments);
	setenv("PATH", path, 1);
	free(path);
	assert_status(status, STATUS_UNSUPPORTED);
	char text[256];
	status_describe(status, text, sizeof(text));
	assert_non_null(strstr(text, "gnuplot is not installed"));
	assert_int_equal(pictures, 0);
	assert_int_equal(exit_code, 1);
	long size;
	assert_true(exists("plots/compare-run.gp", &size));
	assert_true(exists("plots/timeline-run.dat", &size));
}

static void bad_input_is_named(void **state)
{
	(void)state;
	char text[256];
	size_t pictures;
	struct status status = plot_run(folder, PLOT_SVG, &pictures);
	assert_status(status, STATUS_NOT_FOUND);
	FILE *file = create("record.jsonl");
	fprintf(file, "{\"experiment\":\"x\",\"phase\":{\"name\":\"run\"}}\n{\"experiment\":oops}\n");
	fclose(file);
	status = plot_run(folder, PLOT_SVG, &pictures);
	assert_status(status, STATUS_CORRUPT);
	status_describe(status, text, sizeof(text));
	assert_non_null(strstr(text, "record.jsonl:2:"));
	fclose(create("record.jsonl"));
	assert_status(plot_run(folder, PLOT_SVG, &pictures), STATUS_NOT_FOUND);
	char *none[] = { "plot", NULL };
	assert_int_equal(plot_command(1, none), 2);
	char *format[] = { "plot", folder, "--format", "gif", NULL };
	assert_int_equal(plot_command(4, format), 2);
	char *missing[] = { "plot", "/nowhere/at/all", NULL };
	assert_int_equal(plot_command(2, missing), 2);
	char *help[] = { "plot", "--help", NULL };
	assert_int_equal(plot_command(2, help), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_run_is_read_back, open_folder, close_folder),
		cmocka_unit_test_setup_teardown(pictures_are_drawn, open_folder, close_folder),
		cmocka_unit_test_setup_teardown(workloads_have_pictures_of_their_own, open_folder,
						close_folder),
		cmocka_unit_test_setup_teardown(without_gnuplot_the_scripts_are_left, open_folder,
						close_folder),
		cmocka_unit_test_setup_teardown(bad_input_is_named, open_folder, close_folder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
