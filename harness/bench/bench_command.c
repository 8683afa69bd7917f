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
#include "harness/problem.h"
#include "harness/text_table.h"

enum { PATH_BYTES = 4096, NAMES_MAX = 64, EXPECTED_BYTES = 512 };

#define FILE_BYTES_DEFAULT (1ull << 30)
#define FILE_BYTES_MIN	   (1ull << 20)
#define FILE_BYTES_MAX	   (1ull << 40)
#define SEED		   0x62656e6368ull

const struct bench_kind *const bench_kinds[] = { &bench_runtime, NULL };

/* Set by SIGINT and SIGTERM: the run ends with what there is. */
static volatile int stop_asked;

static void ask_to_stop(int signal)
{
	(void)signal;
	stop_asked = 1;
}

static void print_help(const struct bench_kind *kind)
{
	static const char *const headers[] = { "measure", "what it is" };
	(void)fputs(
		"usage: cascade bench KIND [options]\n\n"
		"Measures a part alone against references in the same run: each repetition runs all\n"
		"sides once, in an order of its own, each in a fresh process. Prints ratios with 95 %\n"
		"intervals and whether they keep their bounds, and leaves DIR/bench-KIND/UTC-HASH/ behind\n"
		"(and a link DIR/bench-KIND/latest): bench.jsonl, claims.json, provenance.json, plots/.\n\n",
		stdout);
	if (kind == NULL) {
		(void)fputs("kinds:\n", stdout);
		for (size_t i = 0; bench_kinds[i] != NULL; i++)
			(void)printf("  %-10s %s\n", bench_kinds[i]->name, bench_kinds[i]->summary);
	} else {
		struct text_table table;
		(void)printf("measures of %s, %s:\n", kind->name, kind->summary);
		text_table_init(&table, headers, 2);
		for (size_t i = 0; kind->measures[i] != NULL; i++) {
			text_table_add(&table, kind->measures[i]->name);
			text_table_add(&table, kind->measures[i]->summary);
		}
		text_table_print(&table, stdout);
		text_table_free(&table);
	}
	(void)fputs("\noptions:\n"
		    "  --only NAME       this measure; may be given several times\n"
		    "  --variant NAME    this variant of a kind of component; may be given several times\n"
		    "  --repeats N       repetitions (default: 9, and 1 of what is costly and steady)\n"
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

/* Every --only names a measure, and every --variant a variant. */
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
	if (options->variant_count == 0)
		return EXIT_DONE;
	if (!options->kind->has_variants)
		return complain("--variant: this kind has no variants");
	const struct bench_options all = { .kind = options->kind };
	count = bench_variants(&all, names, NAMES_MAX);
	for (size_t i = 0; i < options->variant_count; i++) {
		bool known = false;
		for (size_t k = 0; k < count; k++)
			known = known || strcmp(names[k], options->variants[i]) == 0;
		if (!known)
			return complain_of_name("variant", options->variants[i], names, count);
	}
	return EXIT_DONE;
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
	case 'r':
		return take_repeats(arguments, optarg);
	case 's':
		return take_file_size(arguments, optarg);
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
	return check_names(&arguments->options);
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
