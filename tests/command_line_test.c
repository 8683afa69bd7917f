/*
 * The command as its users meet it: the built binary is run (the one beside this program, or
 * $CASCADE_BINARY), mostly on the engine `null`, and exit codes, messages and files are looked at. About
 * fifteen seconds.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness/drivers/driver.h"
#include "harness/folder.h"
#include "test.h"

enum { TEXT_BYTES = 1 << 16, ARGUMENTS_MAX = 24, POLLS_MAX = 600, POLL_MS = 50 };

static char binary[PATH_MAX];
static char folder[] = "/tmp/cascade-command-XXXXXX";

/* What the last command printed. */
static char out[TEXT_BYTES], err[TEXT_BYTES];

static const char quick[] = "name: quick\n"
			    "engine: {kind: null}\n"
			    "workload: {records: 2000, value_size: 100}\n"
			    "phases:\n"
			    "  - {name: load, kind: load, clients: 2}\n"
			    "  - {name: run, mix: {read: 1, update: 1}, clients: 2, duration: 200 ms}\n";

static const char endless[] = "name: endless\n"
			      "engine: {kind: null}\n"
			      "workload: {records: 2000, value_size: 100}\n"
			      "phases:\n"
			      "  - {name: load, kind: load, clients: 2}\n"
			      "  - {name: run, mix: {read: 1, update: 1}, clients: 2, duration: 1 h}\n";

/* --- helpers --- */

static void write_file(const char *name, const char *text)
{
	FILE *file = fopen(name, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void read_file(const char *name, char text[static TEXT_BYTES])
{
	FILE *file = fopen(name, "r");
	if (file == NULL)
		fail_msg("%s: %s", name, strerror(errno));
	size_t size = fread(text, 1, TEXT_BYTES - 1, file);
	text[size] = '\0';
	assert_int_equal(fclose(file), 0);
}

static bool exists(const char *name)
{
	struct stat about;
	return lstat(name, &about) == 0;
}

static size_t count_lines(const char *text)
{
	size_t lines = 0;
	for (; *text != '\0'; text++)
		lines += *text == '\n';
	return lines;
}

static void redirect(int fd, const char *path)
{
	int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	if (file < 0 || dup2(file, fd) < 0)
		_exit(99);
	(void)close(file);
}

/* Starts `cascade ARGUMENTS`, words between blanks; standard output goes to `output`. */
static pid_t start_to(const char *arguments, const char *output)
{
	static char words[4096];
	char *list[ARGUMENTS_MAX] = { binary };
	size_t count = 1;
	char *rest = NULL;
	(void)snprintf(words, sizeof(words), "%s", arguments);
	for (char *word = strtok_r(words, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
		assert_true(count + 1 < ARGUMENTS_MAX);
		list[count++] = word;
	}
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		redirect(STDOUT_FILENO, output);
		redirect(STDERR_FILENO, "stderr.txt");
		(void)execv(binary, list);
		_exit(98);
	}
	return child;
}

static int finish(pid_t child)
{
	int status = 0;
	assert_int_equal(waitpid(child, &status, 0), child);
	if (exists("stdout.txt"))
		read_file("stdout.txt", out);
	read_file("stderr.txt", err);
	if (!WIFEXITED(status))
		fail_msg("the command ended by signal %d: %s", WTERMSIG(status), err);
	return WEXITSTATUS(status);
}

static int run(const char *arguments)
{
	return finish(start_to(arguments, "stdout.txt"));
}

static void expect(const char *arguments, int code)
{
	int got = run(arguments);
	if (got != code)
		fail_msg("cascade %s: exit code %d, expected %d\nstdout: %s\nstderr: %s", arguments, got,
			 code, out, err);
}

static void expect_in(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("'%s' is not in:\n%s", part, text);
}

static void sleep_ms(long ms)
{
	struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
	(void)nanosleep(&time, NULL);
}

/* Until the file has that many lines. */
static void wait_for_lines(const char *name, size_t lines)
{
	static char text[TEXT_BYTES];
	for (int i = 0; i < POLLS_MAX; i++) {
		if (exists(name)) {
			read_file(name, text);
			if (count_lines(text) >= lines)
				return;
		}
		sleep_ms(POLL_MS);
	}
	fail_msg("%s has no %zu lines after %d s", name, lines, POLLS_MAX * POLL_MS / 1000);
}

/* --- help and lists --- */

static void test_help(void **state)
{
	(void)state;
	expect("", 2);
	expect_in(err, "usage: cascade COMMAND");
	assert_string_equal(out, "");
	expect("--help", 0);
	expect_in(out, "usage: cascade COMMAND");
	expect_in(out, "run workload files");
	assert_string_equal(err, "");
	expect("help", 0);
	expect("help run", 0);
	expect_in(out, "usage: cascade run FILE.yaml...");
	expect("run --help", 0);
	expect_in(out, "--set PATH=VALUE");
	expect("list --help", 0);
	expect_in(out, "usage: cascade list [KIND] [--json]");
	expect("plot --help", 0);
	expect("compare --help", 0);
	expect_in(out, "--noise-floor PERCENT");
	expect("--version", 0);
	expect_in(out, "cascade ");
	expect("rnu", 2);
	assert_string_equal(
		err, "cascade: unknown command 'rnu', did you mean 'run'? (cascade help lists them)\n");
	expect("help lst", 2);
	expect_in(err, "did you mean 'list'?");
}

static void test_list(void **state)
{
	(void)state;
	expect("list", 0);
	static const char *const kinds[] = { "memtable\n",   "filter\n", "cache\n", "codec\n",
					     "compaction\n", "engine\n", "btree",   "null" };
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		expect_in(out, kinds[i]);
	expect("list filter", 0);
	expect_in(out, "filter.bits_per_key");
	assert_null(strstr(out, "memtable"));
	expect("list workload", 0);
	expect_in(out, "phases.mix.read");
	expect("list options", 0);
	expect_in(out, "durability");
	expect("list --json", 0);
	expect_in(out, "\"components\": [");
	expect_in(out, "\"engines\": [");
	expect("list engine --json", 0);
	assert_null(strstr(out, "\"components\""));
	expect("list memtabel", 2);
	expect_in(err, "unknown kind 'memtabel', expected one of memtable, ");
	expect_in(err, "did you mean 'memtable'?");
	expect("list memtable filter", 2);
	expect("list --jsn", 2);
}

/* A result that does not get through is a failure, also of a list. */
static void test_full_output(void **state)
{
	(void)state;
	assert_int_equal(finish(start_to("list", "/dev/full")), 1);
	expect_in(err, "cannot write to standard output: No space left on device");
}

/* --- runs --- */

static void expect_histograms_exist(const char *records, const char *folder_name)
{
	size_t count = 0;
	static const char mark[] = "\"hgrm\":\"";
	for (const char *at = strstr(records, mark); at != NULL; at = strstr(at, mark)) {
		char path[512];
		at += strlen(mark);
		(void)snprintf(path, sizeof(path), "%s/%.*s", folder_name, (int)strcspn(at, "\""), at);
		if (!exists(path))
			fail_msg("%s is named by a record and not there", path);
		count++;
	}
	assert_true(count > 0);
}

static void test_run_leaves_files(void **state)
{
	(void)state;
	static char records[TEXT_BYTES], text[TEXT_BYTES];
	write_file("quick.yaml", quick);
	expect("run quick.yaml --no-plot", 0);
	expect_in(out, "ops/s");
	expect_in(out, "results: results/quick/");
	expect_in(err, "notice: clients are threads: the engine 'null' has no tasks");
	char target[256] = "";
	assert_true(readlink("results/quick/latest", target, sizeof(target) - 1) > 0);
	assert_null(strchr(target, '/'));
	expect_in(out, target);
	static const char *const files[] = { "record.jsonl",	    "repetitions.csv", "summary.csv",
					     "timeline.csv",	    "run.hlog",	       "provenance.json",
					     "config.resolved.yaml" };
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		(void)snprintf(text, sizeof(text), "results/quick/latest/%s", files[i]);
		if (!exists(text))
			fail_msg("%s is not there", text);
	}
	assert_false(exists("results/quick/latest/database"));
	read_file("results/quick/latest/record.jsonl", records);
	assert_int_equal(count_lines(records), 2);
	expect_in(records, "\"operations\":2000,");
	expect_in(records, "\"engine\":{\"kind\":\"null\"");
	expect_histograms_exist(records, "results/quick/latest");
	read_file("results/quick/latest/repetitions.csv", text);
	expect_in(text, "experiment,configuration,label,");
	assert_int_equal(count_lines(text), 4); /* header, insert, read, update */
	read_file("results/quick/latest/summary.csv", text);
	expect_in(text, "experiment,phase,workload,");
	expect_in(text, ",throughput.ops_s,1,");
	read_file("results/quick/latest/run.hlog", text);
	expect_in(text, "\n\"StartTimestamp\",\"Interval_Length\",");
	expect_in(text, ".load.insert.service.r1,");
	expect_in(text, ".read.service.r1,");
	expect_in(text, ",HISTFAAA");
	expect_in(records, "\"hiccup\":{\"count\":");
	expect_in(records, "\"per_op\":{\"cpu_us\":");
	read_file("results/quick/latest/provenance.json", text);
	expect_in(text, "\"--no-plot\"");
	expect_in(text, "\"kernel\": \"");
	expect_in(text, "\"configurations\": [");
	const struct driver_ops *rocksdb = driver_find("rocksdb");
	if (rocksdb != NULL) {
		char version[64];
		(void)snprintf(version, sizeof(version), "\"rocksdb\": \"%s\"", rocksdb->library_version);
		expect_in(text, version);
	}

	/* The resolved configuration is a workload file: the same one. */
	read_file("results/quick/latest/config.resolved.yaml", records);
	expect("run results/quick/latest/config.resolved.yaml --no-plot --quiet --out again", 0);
	assert_string_equal(err, "");
	read_file("again/quick/latest/config.resolved.yaml", text);
	assert_string_equal(text, records);
}

static void test_vary_and_repeats(void **state)
{
	(void)state;
	static char text[TEXT_BYTES];
	static char varied[sizeof(quick) + 128];
	(void)snprintf(varied, sizeof(varied), "%s%s", quick,
		       "vary: [{set: workload.value_size, to: [10, 20]}]\n");
	write_file("vary.yaml", varied);
	expect("run vary.yaml --no-plot --repeats 2 --set phases.run.duration=100ms --out varied", 0);
	expect_in(out, "medians of 2 repetitions\nconfiguration");
	expect_in(out, "value_size=10");
	expect_in(out, "value_size=20");
	expect_in(err, "4/4 ");
	read_file("varied/quick/latest/record.jsonl", text);
	assert_int_equal(count_lines(text), 8);
	expect_in(text, "\"variation\":{\"workload.value_size\":\"10\"}");
	expect_in(text, "\"repetition\":2,\"run_order\":4,");
	expect_histograms_exist(text, "varied/quick/latest");
	read_file("varied/quick/latest/repetitions.csv", text);
	assert_int_equal(count_lines(text), 13);
	/* What varies is the workload: there is nothing to compare unless that is asked for. */
	expect("compare varied/quick/latest", 1);
	expect_in(err, "there is one configuration, 'null' (--force compares workloads that vary)");
	expect("compare varied/quick/latest --force --metric throughput", 0);
	expect_in(out, "compared with value_size=10");
}

/* Whole engines under short names, every block complete, ratios to the baseline in all that is printed. */
static void test_compared_configurations(void **state)
{
	(void)state;
	static char text[TEXT_BYTES];
	static char varied[sizeof(quick) + 256];
	(void)snprintf(varied, sizeof(varied), "%s%s", quick,
		       "vary:\n  - set: engine\n    as: [nothing, small]\n"
		       "    to: [{kind: null}, {kind: cascade, memory: 64 MiB, memtable: {size: 8 MiB}}]\n"
		       "baseline: small\nrepeats: 3\n");
	write_file("engines.yaml", varied);
	expect("run engines.yaml --no-plot --quiet --set phases.run.duration=50ms --out engines", 0);
	expect_in(out, "ratio  95 % interval");
	expect_in(out, "baseline");
	expect_in(out, " .. ");
	read_file("engines/quick/latest/record.jsonl", text);
	/* Each block of two processes holds both configurations, two phases each. */
	unsigned seen[3] = { 0 };
	const char *line = text;
	for (unsigned process = 0; process < 6; process++) {
		char order[64], repetition[32];
		(void)snprintf(order, sizeof(order), "\"run_order\":%u,", process + 1);
		(void)snprintf(repetition, sizeof(repetition), "\"repetition\":%u,", process / 2 + 1);
		for (int phase = 0; phase < 2; phase++) {
			const char *end = strchr(line, '\n');
			assert_non_null(end);
			assert_non_null(memmem(line, (size_t)(end - line), order, strlen(order)));
			assert_non_null(memmem(line, (size_t)(end - line), repetition, strlen(repetition)));
			bool small = memmem(line, (size_t)(end - line), "\"name\":\"small\"", 14) != NULL;
			seen[process / 2] |= 1u << small;
			line = end + 1;
		}
	}
	for (int block = 0; block < 3; block++)
		assert_int_equal(seen[block], 3);
	expect("compare engines/quick/latest", 0);
	expect_in(out, "2 configurations, compared with small");
	expect_in(out, "within each block of the interleaved run");
	expect_in(out, "hiccups (how late a thread woke");
	expect_in(out, "parity ");
	expect("plot engines/quick/latest --format svg --out engines/pictures", 0);
	assert_true(exists("engines/pictures/ratios.gp"));
	read_file("engines/quick/latest/summary.csv", text);
	expect_in(text, ",small,1,,,baseline,");
	expect_in(text, ",blocks,");
}

static void test_given_path_is_kept(void **state)
{
	(void)state;
	write_file("quick.yaml", quick);
	expect("run quick.yaml --no-plot --set engine.path=kept/here", 0);
	assert_true(exists("kept/here"));
	expect("run quick.yaml --no-plot --set engine.path=quick.yaml/x", 2);
	assert_string_equal(err,
			    "--set engine.path: 'quick.yaml/x' cannot be made: Not a directory, expected a "
			    "directory or auto\n");
}

/* --- bad input --- */

static void test_bad_input(void **state)
{
	(void)state;
	write_file("quick.yaml", quick);
	expect("run", 2);
	assert_string_equal(err, "cascade run: no workload file, expected FILE.yaml\n");
	expect("run nowhere.yaml", 2);
	assert_string_equal(err, "nowhere.yaml: cannot be opened: No such file or directory\n");
	expect("run quick.yaml --repeats 0", 2);
	expect_in(err, "cascade run: --repeats: '0' is out of range");
	expect("run quick.yaml --frob", 2);
	expect_in(err, "unknown option '--frob'");
	expect("run quick.yaml --set", 2);
	expect_in(err, "no value for '--set'");
	expect("run quick.yaml --set workload.recrods=5", 2);
	assert_string_equal(err, "--set workload.recrods: unknown key, did you mean 'records'?\n");

	write_file("bad.yaml", "name: bad\nworkload:\n  value_size: 64 MiBB\n");
	expect("run bad.yaml --out nothing", 2);
	assert_string_equal(err,
			    "bad.yaml:3: workload.value_size: '64 MiBB' is not a size, expected bytes or a "
			    "number with kB, MB, GB, KiB, MiB or GiB\n");
	assert_string_equal(out, "");
	/* The second file is bad: the first is not run either. */
	expect("run quick.yaml bad.yaml --out nothing", 2);
	assert_false(exists("nothing"));
	write_file("empty.yaml", "");
	expect("run empty.yaml", 2);
	assert_string_equal(err,
			    "empty.yaml:1: the file is empty, expected a workload: 'name: NAME' at least\n");
}

static void test_unknown_variants_have_neighbours(void **state)
{
	(void)state;
	write_file("variant.yaml", "name: x\nengine:\n  kind: cascade\n  memtable:\n    kind: btre\n");
	expect("run variant.yaml", 2);
	expect_in(err, "variant.yaml:5: engine.memtable.kind: ");
	expect_in(err, "did you mean");
	expect_in(err, "btree");
	write_file("variant.yaml", "name: x\nengine:\n  kind: cascad\n");
	expect("run variant.yaml", 2);
	expect_in(err, "variant.yaml:3: engine.kind: unknown 'cascad', expected one of ");
	expect_in(err, "did you mean 'cascade'?");
}

/* --- failing places --- */

static void test_unwritable_out(void **state)
{
	(void)state;
	write_file("quick.yaml", quick);
	expect("run quick.yaml --no-plot --out quick.yaml", 2);
	assert_string_equal(err, "cascade: quick: quick.yaml/quick: cannot be written: Not a directory\n");
	assert_string_equal(out, "");
	assert_int_equal(mkdir("taken", 0777), 0);
	assert_int_equal(mkdir("taken/quick", 0777), 0);
	assert_int_equal(mkdir("taken/quick/latest", 0777), 0);
	expect("run quick.yaml --no-plot --out taken", 2);
	expect_in(err, "taken/quick/latest: cannot be written: ");
	if (geteuid() == 0)
		return;
	assert_int_equal(mkdir("locked", 0555), 0);
	expect("run quick.yaml --no-plot --out locked", 2);
	expect_in(err, "locked/quick: cannot be written: Permission denied");
}

/* Every line that is there is whole. */
static void expect_whole_lines(const char *name)
{
	static char text[TEXT_BYTES];
	if (!exists(name))
		return;
	read_file(name, text);
	for (char *line = text; *line != '\0';) {
		char *end = strchr(line, '\n');
		if (end == NULL || line[0] != '{' || end[-1] != '}')
			fail_msg("%s has a broken line: %.80s", name, line);
		line = end + 1;
	}
}

/*
 * Disks of a few pages: the run fails somewhere between its first file and its last, always with one clear
 * message. Needs root; the mount is seen by this process and its children alone and goes away with them.
 */
static void test_full_disk(void **state)
{
	(void)state;
	static const char *const sizes[] = { "4k", "12k", "24k", "32k", "48k" };
	assert_true(exists("full") || mkdir("full", 0777) == 0);
	if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
		print_message("skipped: a small file system cannot be mounted here: %s\n", strerror(errno));
		skip();
	}
	write_file("quick.yaml", quick);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char options[32];
		(void)snprintf(options, sizeof(options), "size=%s", sizes[i]);
		assert_int_equal(mount("tmpfs", "full", "tmpfs", 0, options), 0);
		expect("run quick.yaml --no-plot --quiet --out full --repeats 4 --set "
		       "phases.run.duration=50ms",
		       1);
		expect_in(err, "cannot be written: No space left on device");
		const char *first = strstr(err, "No space left");
		if (strstr(first + 1, "No space left") != NULL)
			fail_msg("more than one message for a disk of %s:\n%s", sizes[i], err);
		expect_whole_lines("full/quick/latest/record.jsonl");
		assert_int_equal(umount("full"), 0);
	}
}

/* --- processes that end early --- */

/* The one child of a process, 0 if there is none yet. */
static pid_t child_of(pid_t parent)
{
	char path[64], text[256] = "";
	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", parent, parent);
	FILE *file = fopen(path, "r");
	if (file == NULL)
		return 0;
	if (fgets(text, sizeof(text), file) == NULL)
		text[0] = '\0';
	(void)fclose(file);
	return (pid_t)strtol(text, NULL, 10);
}

static void test_killed_child(void **state)
{
	(void)state;
	write_file("endless.yaml", endless);
	pid_t child = start_to("run endless.yaml --no-plot --out killed", "stdout.txt");
	wait_for_lines("killed/endless/latest/record.jsonl", 1);
	pid_t cell = child_of(child);
	assert_true(cell > 0);
	assert_int_equal(kill(cell, SIGKILL), 0);
	assert_int_equal(finish(child), 1);
	expect_in(err, "cascade: endless: the process was killed by signal 9 (Killed)");
	expect_in(out, "load");
	expect_in(out, "results: killed/endless/");
	assert_false(exists("killed/endless/latest/database"));
	expect_whole_lines("killed/endless/latest/record.jsonl");
}

static void test_interrupt(void **state)
{
	(void)state;
	static char text[TEXT_BYTES];
	write_file("endless.yaml", endless);
	pid_t child = start_to("run endless.yaml --out stopped --repeats 3", "stdout.txt");
	wait_for_lines("stopped/endless/latest/record.jsonl", 1);
	sleep_ms(300);
	assert_int_equal(kill(child, SIGINT), 0);
	assert_int_equal(finish(child), 1);
	expect_in(err, "stopping early; once more to stop at once");
	expect_in(err, "stopped early: stopped/endless/");
	expect_in(out, "invalid: 1 of 2 phases");
	expect_whole_lines("stopped/endless/latest/record.jsonl");
	read_file("stopped/endless/latest/record.jsonl", text);
	assert_int_equal(count_lines(text), 2);
	expect_in(text, "\"ended_by\":\"stopped\"");
	expect_in(text, "\"verdict\":\"invalid\"");
	/* The finished phase is summed up and drawn; the one that was cut short is not among the numbers. */
	assert_true(exists("stopped/endless/latest/plots/latency-load-insert.gp"));
	read_file("stopped/endless/latest/summary.csv", text);
	expect_in(text, ",load,");
	assert_null(strstr(text, "endless,run,"));
	assert_false(exists("stopped/endless/latest/database"));
}

/* Nothing outlives the command, however it ends. */
static void test_killed_parent(void **state)
{
	(void)state;
	write_file("endless.yaml", endless);
	pid_t child = start_to("run endless.yaml --no-plot --out orphaned", "stdout.txt");
	wait_for_lines("orphaned/endless/latest/record.jsonl", 1);
	pid_t cell = child_of(child);
	int status;
	assert_true(cell > 0);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	for (int i = 0; i < POLLS_MAX; i++) {
		char path[64], text[256] = "";
		(void)snprintf(path, sizeof(path), "/proc/%d/stat", cell);
		FILE *file = fopen(path, "r");
		if (file == NULL)
			return;
		bool zombie = fgets(text, sizeof(text), file) != NULL && strstr(text, ") Z ") != NULL;
		(void)fclose(file);
		if (zombie)
			return;
		sleep_ms(POLL_MS);
	}
	fail_msg("process %d lives on", cell);
}

/* --- variants from shared objects, which the build leaves beside the command --- */

/* The text with the build's folder in the place of each @. */
static const char *with_build(const char *format)
{
	static char text[4096];
	size_t used = 0;
	int length = (int)(strrchr(binary, '/') - binary);
	for (; *format != '\0'; format++) {
		int added = *format == '@'
				    ? snprintf(text + used, sizeof(text) - used, "%.*s", length, binary)
				    : snprintf(text + used, sizeof(text) - used, "%c", *format);
		used += (size_t)added;
		assert_true(used < sizeof(text));
	}
	return text;
}

static void test_loaded_variants_are_listed(void **state)
{
	(void)state;
	expect("list memtable", 0);
	assert_null(strstr(out, "treap"));
	expect(with_build("list memtable --load @/treap.so --load @/skeleton_memtable.so"), 0);
	expect_in(out, "treap     ");
	expect_in(out, "memtable.first_capacity");
	expect(with_build("list --json --load @/treap.so --load @/treap.so"), 0);
	expect_in(out, "\"name\": \"treap\"");
	expect("list --load", 2);
	expect_in(err, "no value for '--load'");
	expect("list --load nowhere.so", 2);
	assert_string_equal(err, "cascade list: --load: nowhere.so: there is no such file\n");
	expect(with_build("list --load @/refused_abi.so"), 2);
	expect_in(err, "refused_abi.so: it is of component ABI 1, but this program takes ");
	expect("bench memtable --load nowhere.so", 2);
	assert_string_equal(err, "cascade bench: --load: nowhere.so: there is no such file\n");
	expect(with_build("bench memtable --load @/treap.so --variant treapp"), 2);
	expect_in(err, "did you mean 'treap'?");
}

/* The number that names the configuration `name` in a run's record. */
static void configuration_hash(const char *record, const char *name, char hash[static 17])
{
	char wanted[64];
	(void)snprintf(wanted, sizeof(wanted), "\"name\":\"%s\"", name);
	const char *at = strstr(record, wanted);
	assert_non_null(at);
	static const char before[] = "\"configuration\":{\"hash\":\"";
	const char *found = NULL;
	for (const char *next = record; (next = strstr(next, before)) != NULL && next < at; next++)
		found = next;
	assert_non_null(found);
	(void)snprintf(hash, 17, "%s", found + strlen(before));
}

static void test_loaded_variants_run(void **state)
{
	(void)state;
	static char text[TEXT_BYTES], again[TEXT_BYTES];
	char hash[17], other[17], btree[17];
	write_file("loaded.yaml",
		   with_build("name: loaded\n"
			      "components: [@/treap.so]\n"
			      "engine: {kind: cascade, memory: 64 MiB, memtable: {size: 8 MiB}, io: {kind: "
			      "posix}}\n"
			      "workload: {records: 20000, value_size: 100}\n"
			      "verify: true\n"
			      "phases:\n"
			      "  - {name: load, kind: load, clients: 2}\n"
			      "  - {name: run, mix: {read: 50, update: 50}, clients: 8, duration: 200 ms}\n"
			      "vary: [{set: engine.memtable.kind, to: [btree, treap]}]\n"
			      "repeats: 2\n"));
	expect("run loaded.yaml --no-plot --quiet --out loaded", 0);
	expect_in(out, "kind=treap");
	read_file("loaded/loaded/latest/record.jsonl", text);
	assert_int_equal(count_lines(text), 8);
	expect_in(text, "\"mismatches\":0");
	expect_in(text, with_build("\"components\":[{\"path\":\"@/treap.so\",\"hash\":\""));
	configuration_hash(text, "memtable.kind=treap", hash);
	configuration_hash(text, "memtable.kind=btree", btree);
	assert_string_not_equal(hash, btree);
	read_file("loaded/loaded/latest/provenance.json", text);
	expect_in(text, with_build("\"path\": \"@/treap.so\""));
	read_file("loaded/loaded/latest/config.resolved.yaml", text);
	expect_in(text, "components:");
	expect("compare loaded/loaded/latest", 0);
	expect_in(out, "kind=treap");

	/* What was resolved runs again; wherever the file lies, it is the same configuration. */
	expect("run loaded/loaded/latest/config.resolved.yaml --no-plot --quiet --out again", 0);
	read_file("again/loaded/latest/config.resolved.yaml", again);
	assert_string_equal(again, text);
	char command[PATH_MAX + 64];
	(void)snprintf(command, sizeof(command), "cp %s moved.so", with_build("@/treap.so"));
	assert_int_equal(system(command), 0);
	expect("run loaded.yaml --no-plot --quiet --repeats 1 --set components=[./moved.so] --out moved", 0);
	read_file("moved/loaded/latest/record.jsonl", text);
	configuration_hash(text, "memtable.kind=treap", other);
	assert_string_equal(hash, other);
	/* Another build of it is another configuration. */
	FILE *moved = fopen("moved.so", "a");
	assert_non_null(moved);
	assert_true(fputc('x', moved) != EOF && fclose(moved) == 0);
	expect("run loaded.yaml --no-plot --quiet --repeats 1 --set components=[./moved.so] --out moved", 0);
	read_file("moved/loaded/latest/record.jsonl", text);
	configuration_hash(text, "memtable.kind=treap", other);
	assert_string_not_equal(hash, other);
}

static void test_bad_components(void **state)
{
	static const char head[] = "engine: {memtable: {kind: treap}}\ncomponents: ";
	char text[PATH_MAX + 256];
	(void)state;
	write_file("unloaded.yaml", "engine: {memtable: {kind: treap}}\n");
	expect("run unloaded.yaml", 2);
	expect_in(err, "unloaded.yaml:1: engine.memtable.kind: unknown variant 'treap'");
	static const struct {
		const char *value, *message;
	} bad[] = {
		{ "treap.so", "bad.yaml:2: components: a value, expected a list of paths of shared objects" },
		{ "[{a: b}]", "bad.yaml:2: components.0: a mapping, expected the path of a shared object" },
		{ "[@/treap.so, ~]", "components.1: nothing, expected the path of a shared object" },
		{ "[nowhere.so]", "bad.yaml:2: components.0: nowhere.so: there is no such file\n" },
		{ "[bad.yaml]", "bad.yaml:2: components.0: bad.yaml: " },
		{ "[@/refused_empty.so]", "it has no variants" },
		{ "[@/treap.so, @/refused_abi.so]", "refused_abi.so: it is of component ABI 1" },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		(void)snprintf(text, sizeof(text), "%s%s\n", head, with_build(bad[i].value));
		write_file("bad.yaml", text);
		expect("run bad.yaml --out nothing", 2);
		expect_in(err, bad[i].message);
	}
	/* What one file loads is none of the next one's. */
	write_file("first.yaml", with_build("components: [@/treap.so]\n"));
	expect("run first.yaml unloaded.yaml --out nothing", 2);
	expect_in(err, "unloaded.yaml:1: engine: the memtable 'treap' is of ");
	write_file("varied.yaml", "vary: [{set: components, to: [[a.so], [b.so]]}]\n");
	expect("run varied.yaml --out nothing", 2);
	expect_in(err, "'components' cannot vary");
	assert_false(exists("nothing"));
}

/* --- the program --- */

static int set_up(void **state)
{
	(void)state;
	const char *given = getenv("CASCADE_BINARY");
	if (given != NULL) {
		if (realpath(given, binary) == NULL)
			return -1;
	} else {
		ssize_t length = readlink("/proc/self/exe", binary, sizeof(binary) - 16);
		if (length <= 0)
			return -1;
		binary[length] = '\0';
		(void)snprintf(strrchr(binary, '/'), 16, "/cascade");
	}
	if (access(binary, X_OK) != 0) {
		print_error("%s: %s (build the target cascade first)\n", binary, strerror(errno));
		return -1;
	}
	return mkdtemp(folder) == NULL || chdir(folder) != 0;
}

static int tear_down(void **state)
{
	(void)state;
	return chdir("/") != 0 || folder_remove(folder) != 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_help),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_full_output),
		cmocka_unit_test(test_run_leaves_files),
		cmocka_unit_test(test_vary_and_repeats),
		cmocka_unit_test(test_compared_configurations),
		cmocka_unit_test(test_given_path_is_kept),
		cmocka_unit_test(test_bad_input),
		cmocka_unit_test(test_unknown_variants_have_neighbours),
		cmocka_unit_test(test_loaded_variants_are_listed),
		cmocka_unit_test(test_loaded_variants_run),
		cmocka_unit_test(test_bad_components),
		cmocka_unit_test(test_unwritable_out),
		cmocka_unit_test(test_killed_child),
		cmocka_unit_test(test_interrupt),
		cmocka_unit_test(test_killed_parent),
		cmocka_unit_test(test_full_disk),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
