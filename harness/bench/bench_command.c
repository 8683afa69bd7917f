/*
 * bench_command.c: `cascade bench KIND`.
 */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/units.h"
#include "harness/bench/bench_report.h"
#include "harness/commands.h"
#include "harness/modules.h"
#include "harness/problem.h"
#include "harness/text_table.h"

enum { PATH_BYTES = 4096, NAMES_MAX = 64, EXPECTED_BYTES = 512 };

#define FILE_BYTES_DEFAULT (1ull << 30)
#define FILE_BYTES_MIN	   (1ull << 20)
#define FILE_BYTES_MAX	   (1ull << 40)
#define SEED		   0x62656e6368ull

const struct bench_kind *const bench_kinds[] = {
	&bench_runtime, &bench_memtable, &bench_filter, &bench_cache, &bench_codec, &bench_compaction, NULL
};

/* Set by SIGINT and SIGTERM: the run ends with what there is. */
static volatile int stop_asked;

static void ask_to_stop(int signal)
{
	(void)signal;
	stop_asked = 1;
}

/* "10 k, 100 k, 2 M entries" */
static void add_sizes(struct text_table *table, const struct bench_measure *measure)
{
	char text[EXPECTED_BYTES] = "", size[64];
	size_t used = 0;
	for (unsigned i = 0; i < measure->size_count && used < sizeof(text); i++)
		used += (size_t)snprintf(
			text + used, sizeof(text) - used, "%s%s", i > 0 ? ", " : "",
			bench_format_size(measure, measure->sizes[i].size, size, sizeof(size)));
	if (measure->size_count > 0 && used < sizeof(text))
		(void)snprintf(text + used, sizeof(text) - used, " %s", measure->size_name);
	text_table_add(table, text);
}

static void print_measures(const struct bench_kind *kind)
{
	static const char *const headers[] = { "measure", "what it is", "at" };
	struct text_table table;
	bool sizes = false;
	for (size_t i = 0; kind->measures[i] != NULL; i++)
		sizes = sizes || kind->measures[i]->size_count > 0;
	(void)printf("measures of %s, %s:\n", kind->name, kind->summary);
	text_table_init(&table, headers, sizes ? 3 : 2);
	for (size_t i = 0; kind->measures[i] != NULL; i++) {
		text_table_add(&table, kind->measures[i]->name);
		text_table_add(&table, kind->measures[i]->summary);
		if (sizes)
			add_sizes(&table, kind->measures[i]);
	}
	text_table_print(&table, stdout);
	text_table_free(&table);
}

static void print_help(const struct bench_kind *kind)
{
	(void)fputs(
		"usage: cascade bench KIND [options]\n\n"
		"Measures a part alone against references in the same run: each repetition runs all\n"
		"sides once, of a kind of component for all its variants at all sizes, in an order of its\n"
		"own, each in a fresh process. Prints numbers of variants, ratios with 95 % intervals and\n"
		"whether they keep their bounds, and leaves DIR/bench-KIND/UTC-HASH/ behind\n"
		"(and a link DIR/bench-KIND/latest): bench.jsonl, claims.json, provenance.json, plots/.\n\n",
		stdout);
	if (kind == NULL) {
		(void)fputs("kinds:\n", stdout);
		for (size_t i = 0; bench_kinds[i] != NULL; i++)
			(void)printf("  %-10s %s\n", bench_kinds[i]->name, bench_kinds[i]->summary);
	} else {
		print_measures(kind);
	}
	(void)fputs(
		"\noptions:\n"
		"  --only NAME       this measure; may be given several times\n"
		"  --variant NAME    this variant of a kind of component; may be given several times\n"
		"  --baseline NAME   the variant that others are compared with (default: the first)\n"
		"  --size N          at this size only, of measures that have several; may be given several\n"
		"                    times\n"
		"  --trace FILE      what an engine recorded (engine.trace.path), done by each variant of\n"
		"                    memtable, cache or filter alone: predicted beside observed\n"
		"  --load PATH       with the variants in this shared object; may be given several times\n"
		"  --repeats N       repetitions (default: 9, and fewer of what is costly)\n"
		"  --file-size SIZE  of the file that is read at random (default: 1 GiB). It is made "
		"once, in\n"
		"                    DIR/bench-KIND/kept, and used again until that folder is removed\n"
		"  --quick           one short repetition: whether it works, not how fast\n"
		"  --check           exit with 1 if a bound is broken\n"
		"  --out DIR         where results go (default: results)\n"
		"  --json            claims.json instead of the table\n"
		"  --no-plot         draw no picture\n"
		"  --quiet           no progress on stderr\n"
		"  --help            this text; with a KIND, its measures too\n\n"
		"Exit codes: 0 done, 1 a side failed, 2 bad input.\n",
		stdout);
}

/* --- arguments --- */

struct arguments {
	struct bench_options options;
	const char *out;
	const char *trace;
	bool json, plot, check, help;
};

static int complain(const char *what)
{
	(void)fprintf(stderr, "cascade bench: %s\n", what);
	return EXIT_BAD_INPUT;
}

/* "unknown X 'word', expected one of a, b, did you mean 'a'?" */
static int complain_of_name(const char *what, const char *word, const char *const *names, size_t count)
{
	char hint[128], expected[EXPECTED_BYTES] = "", message[EXPECTED_BYTES + 256];
	size_t used = 0;
	for (size_t i = 0; i < count && used < sizeof(expected); i++)
		used += (size_t)snprintf(expected + used, sizeof(expected) - used, "%s%s", i > 0 ? ", " : "",
					 names[i]);
	(void)snprintf(message, sizeof(message), "unknown %s '%.64s', expected one of %s%s", what, word,
		       expected, nearest_hint(word, names, count, hint, sizeof(hint)));
	return complain(message);
}

static int find_kind(const char *word, const struct bench_kind **kind)
{
	const char *names[NAMES_MAX];
	size_t count = 0;
	for (size_t i = 0; bench_kinds[i] != NULL && count < NAMES_MAX; i++) {
		if (strcmp(bench_kinds[i]->name, word) == 0)
			*kind = bench_kinds[i];
		names[count++] = bench_kinds[i]->name;
	}
	return *kind != NULL ? EXIT_DONE : complain_of_name("kind", word, names, count);
}

static bool is_among(const char *name, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(names[i], name) == 0)
			return true;
	}
	return false;
}

/* Every --variant names one of the kind's, and --baseline one of those. */
static int check_variants(const struct bench_options *options)
{
	const struct bench_options all = { .kind = options->kind };
	const char *names[BENCH_VARIANTS_MAX];
	if (options->variant_count == 0 && options->baseline == NULL)
		return EXIT_DONE;
	if (!options->kind->has_variants)
		return complain("--variant, --baseline: this kind has no variants");
	size_t count = bench_variants(&all, names);
	for (size_t i = 0; i < options->variant_count; i++) {
		if (!is_among(options->variants[i], names, count))
			return complain_of_name("variant", options->variants[i], names, count);
	}
	count = bench_variants(options, names);
	if (options->baseline != NULL && !is_among(options->baseline, names, count))
		return complain_of_name("baseline", options->baseline, names, count);
	return EXIT_DONE;
}

/* Every --size is one at which some measure is made. */
static int check_sizes(const struct bench_options *options)
{
	char message[EXPECTED_BYTES];
	for (size_t i = 0; i < options->size_count; i++) {
		bool known = false;
		for (size_t k = 0; options->kind->measures[k] != NULL; k++) {
			const struct bench_measure *measure = options->kind->measures[k];
			for (unsigned at = 0; at < measure->size_count; at++)
				known = known || measure->sizes[at].size == options->sizes[i];
		}
		if (known)
			continue;
		(void)snprintf(message, sizeof(message),
			       "--size: no measure of %s is made at %" PRIu64
			       " (cascade bench %s --help lists the sizes)",
			       options->kind->name, options->sizes[i], options->kind->name);
		return complain(message);
	}
	return EXIT_DONE;
}

/* Every --only names a measure; then variants and sizes. */
static int check_names(const struct bench_options *options)
{
	const char *names[NAMES_MAX];
	size_t count = 0;
	for (; options->kind->measures[count] != NULL && count < NAMES_MAX; count++)
		names[count] = options->kind->measures[count]->name;
	for (size_t i = 0; i < options->only_count; i++) {
		bool known = false;
		for (size_t k = 0; k < count; k++)
			known = known || strcmp(names[k], options->only[i]) == 0;
		if (!known)
			return complain_of_name("measure", options->only[i], names, count);
	}
	int code = check_variants(options);
	return code == EXIT_DONE ? check_sizes(options) : code;
}

static int take_repeats(struct arguments *arguments, const char *text)
{
	uint64_t count = 0;
	char message[256];
	if (!status_is_ok(units_parse_count(text, &count)) || count < 1 || count > BENCH_REPEATS_MAX) {
		(void)snprintf(message, sizeof(message), "--repeats: '%.64s', expected 1 to %d", text,
			       BENCH_REPEATS_MAX);
		return complain(message);
	}
	arguments->options.repeats = (uint32_t)count;
	return EXIT_DONE;
}

static int take_file_size(struct arguments *arguments, const char *text)
{
	uint64_t bytes = 0;
	char message[256];
	if (!status_is_ok(units_parse_size(text, &bytes)) || bytes < FILE_BYTES_MIN ||
	    bytes > FILE_BYTES_MAX) {
		(void)snprintf(message, sizeof(message), "--file-size: '%.64s', expected 1 MiB to 1 TiB",
			       text);
		return complain(message);
	}
	arguments->options.file_bytes = bytes / FILE_BYTES_MIN * FILE_BYTES_MIN;
	return EXIT_DONE;
}

/* "100000", "64 MiB" */
static int take_size(struct arguments *arguments, const char *text)
{
	struct bench_options *options = &arguments->options;
	uint64_t size = 0;
	char message[256];
	if (options->size_count == BENCH_SIZES_MAX)
		return complain("--size: too many sizes");
	if (!status_is_ok(units_parse_count(text, &size)) && !status_is_ok(units_parse_size(text, &size))) {
		(void)snprintf(message, sizeof(message),
			       "--size: '%.64s', expected a number like 100000 or 64 MiB", text);
		return complain(message);
	}
	options->sizes[options->size_count++] = size;
	return EXIT_DONE;
}

/* The kind as it is measured by that trace; the variant that was recorded is what others are set beside. */
static int take_trace(struct bench_options *options, const char *path)
{
	static struct bench_kind traced;
	char message[256];
	struct status status = bench_trace_kind(options->kind, path, &traced);
	if (!status_is_ok(status)) {
		status_describe(status, message, sizeof(message));
		return complain(message);
	}
	options->kind = &traced;
	/* Unless it is not in this build. */
	const char *recorded = bench_trace_variant();
	const char *names[BENCH_VARIANTS_MAX];
	if (options->baseline == NULL && is_among(recorded, names, bench_variants(options, names)))
		options->baseline = recorded;
	return EXIT_DONE;
}

static int take_name(const char **names, size_t *count, const char *name)
{
	if (*count == BENCH_ONLY_MAX)
		return complain("--only, --variant: too many names");
	names[(*count)++] = name;
	return EXIT_DONE;
}

static int take_option(struct arguments *arguments, int option)
{
	struct bench_options *options = &arguments->options;
	switch (option) {
	case 'n':
		return take_name(options->only, &options->only_count, optarg);
	case 'v':
		return take_name(options->variants, &options->variant_count, optarg);
	case 'l':
		return modules_load_option("bench", optarg);
	case 'r':
		return take_repeats(arguments, optarg);
	case 's':
		return take_file_size(arguments, optarg);
	case 'b':
		options->baseline = optarg;
		return EXIT_DONE;
	case 'z':
		return take_size(arguments, optarg);
	case 't':
		arguments->trace = optarg;
		return EXIT_DONE;
	case 'o':
		arguments->out = optarg;
		return optarg[0] != '\0' ? EXIT_DONE : complain("--out is empty, expected a directory");
	case 'k':
		options->quick = true;
		return EXIT_DONE;
	case 'c':
		arguments->check = true;
		return EXIT_DONE;
	case 'j':
		arguments->json = true;
		return EXIT_DONE;
	case 'p':
		arguments->plot = false;
		return EXIT_DONE;
	case 'q':
		options->quiet = true;
		return EXIT_DONE;
	default:
		arguments->help = true;
		return EXIT_DONE;
	}
}

static int parse(int argc, char **argv, struct arguments *arguments)
{
	static const struct option options[] = {
		{ "only", required_argument, NULL, 'n' },
		{ "variant", required_argument, NULL, 'v' },
		{ "load", required_argument, NULL, 'l' },
		{ "baseline", required_argument, NULL, 'b' },
		{ "size", required_argument, NULL, 'z' },
		{ "trace", required_argument, NULL, 't' },
		{ "repeats", required_argument, NULL, 'r' },
		{ "out", required_argument, NULL, 'o' },
		{ "file-size", required_argument, NULL, 's' },
		{ "quick", no_argument, NULL, 'k' },
		{ "check", no_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },
		{ "no-plot", no_argument, NULL, 'p' },
		{ "quiet", no_argument, NULL, 'q' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	char message[256];
	int option;
	/* Also resets the scan of an earlier caller. */
	optind = 0;
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":hq", options, NULL)) != -1) {
		if (option == ':' || option == '?') {
			(void)snprintf(message, sizeof(message),
				       "%s '%.128s' (cascade bench --help lists the options)",
				       option == ':' ? "no value for" : "unknown option", argv[optind - 1]);
			return complain(message);
		}
		int code = take_option(arguments, option);
		if (code != EXIT_DONE)
			return code;
	}
	if (optind == argc && arguments->help)
		return EXIT_DONE;
	if (optind == argc)
		return complain("no kind given (cascade bench --help lists them)");
	int code = find_kind(argv[optind], &arguments->options.kind);
	if (code != EXIT_DONE)
		return code;
	if (optind + 1 < argc)
		return complain("one kind at a time");
	if (arguments->trace != NULL)
		code = take_trace(&arguments->options, arguments->trace);
	return code == EXIT_DONE ? check_names(&arguments->options) : code;
}

/* --- the run --- */

static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = ask_to_stop };
	(void)sigemptyset(&action.sa_mask);
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
}

static int tell(struct status status)
{
	char text[256];
	if (status_is_ok(status))
		return EXIT_DONE;
	status_describe(status, text, sizeof(text));
	(void)fprintf(stderr, "cascade bench: %s\n", text);
	return EXIT_RUN_FAILED;
}

static bool any_is_broken(const struct bench_report *report)
{
	for (size_t i = 0; i < report->row_count; i++) {
		if (report->rows[i].verdict == BENCH_BROKEN)
			return true;
	}
	return false;
}

static int print_and_write(const struct arguments *arguments, const struct bench_report *report)
{
	int code = tell(bench_write_files(report));
	if (arguments->json)
		bench_print_json(report, stdout);
	else
		bench_print_table(report, stdout);
	if (arguments->plot) {
		struct status status = bench_plot(report);
		int drawn = tell(status);
		/* Without gnuplot there are the script and the data. */
		code = code == EXIT_DONE && !status_is(status, STATUS_UNSUPPORTED) ? drawn : code;
	}
	if (!arguments->json)
		(void)printf("results: %s\n", report->directory);
	if (report->results->failed || report->results->stopped ||
	    (arguments->check && any_is_broken(report)))
		code = EXIT_RUN_FAILED;
	return finish_output(code);
}

static int run(struct arguments *arguments)
{
	char kept[PATH_BYTES], scratch[PATH_BYTES];
	char *directory = NULL, *name = NULL;
	struct bench_results results;
	struct bench_options *options = &arguments->options;
	/* Folders that cannot be made are bad input, as they are for `run`. */
	if (tell(bench_make_directory(options, arguments->out, &directory, &name)) != EXIT_DONE) {
		memory_free(directory);
		memory_free(name);
		return EXIT_BAD_INPUT;
	}
	(void)snprintf(kept, sizeof(kept), "%s/bench-%s/kept", arguments->out, options->kind->name);
	(void)snprintf(scratch, sizeof(scratch), "%s/scratch", directory);
	options->kept = kept;
	options->scratch = scratch;
	options->stop = &stop_asked;
	catch_signals();
	int code = tell(bench_run(options, &results));
	struct bench_report report = { .results = &results, .directory = directory, .run = name };
	struct bench_row *rows;
	bench_judge(&results, &rows, &report.row_count);
	report.rows = rows;
	int printed = print_and_write(arguments, &report);
	memory_free(rows);
	bench_results_free(&results);
	memory_free(directory);
	memory_free(name);
	return code != EXIT_DONE ? code : printed;
}

int bench_command(int argc, char **argv)
{
	struct arguments arguments = { .options = { .seed = SEED, .file_bytes = FILE_BYTES_DEFAULT },
				       .out = "results",
				       .plot = true };
	int code = parse(argc, argv, &arguments);
	if (code != EXIT_DONE)
		return code;
	if (arguments.help) {
		print_help(arguments.options.kind);
		return finish_output(EXIT_DONE);
	}
	if (arguments.options.quick && arguments.options.repeats == 0)
		arguments.options.repeats = 1;
	return run(&arguments);
}
