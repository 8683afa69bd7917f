#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "base/units.h"
#include "harness/allocate.h"
#include "harness/commands.h"
#include "harness/compare.h"

struct arguments {
	struct compare_options options;
	const char **metrics;
	struct run_source *sources;
	size_t source_count;
	bool json, force;
};

static void print_help(void)
{
	(void)fputs(
		"usage: cascade compare [NAME=]RUN... [options]\n\n"
		"Sets the configurations of one run, or of several, beside each other: for each phase and\n"
		"metric the median and range over repetitions, the ratio to the baseline with its 95 %\n"
		"interval, and a verdict: faster, slower, indistinguishable (the interval lies within the\n"
		"noise floor) or inconclusive (it does not; repeat more often). Prints Markdown.\n\n"
		"Configurations of one run were interleaved: their ratios are taken within each block of\n"
		"repetitions (geometric mean, Student's t). Others are compared by medians (bootstrap).\n"
		"docs/statistics.md says why.\n\n"
		"  RUN               a directory that 'cascade run' has left, such as results/NAME/latest;\n"
		"                    NAME tells runs of the same configuration apart in the tables\n"
		"  --baseline LABEL  the configuration that the others are compared with (default: the one\n"
		"                    that the workload file says, else its first)\n"
		"  --metric NAME     compare this instead of the standard metrics; may be repeated:\n",
		stdout);
	metrics_list(stdout);
	(void)fputs(
		"  --noise-floor PERCENT\n"
		"                    differences that may be noise (default: 1); a run of one configuration\n"
		"                    against itself tells what it should be on a machine\n"
		"  --json            one JSON document, with all values, p and effect sizes\n"
		"  --force           compare phases of the same name even if they did different work\n"
		"  --help            this text\n\n"
		"Exit codes: 0 compared, 1 nothing comparable, 2 bad input.\n",
		stdout);
}

static int complain(const char *format, const char *text)
{
	(void)fputs("cascade compare: ", stderr);
	(void)fprintf(stderr, format, text);
	(void)fputc('\n', stderr);
	return EXIT_BAD_INPUT;
}

static int take_floor(struct arguments *arguments, const char *text)
{
	double percent = 0;
	char number[32];
	(void)snprintf(number, sizeof(number), "%s", text);
	size_t length = strlen(number);
	if (length > 0 && number[length - 1] == '%')
		number[length - 1] = '\0';
	if (!status_is_ok(units_parse_real(number, &percent)) || percent < 0 || percent > 100)
		return complain("--noise-floor: '%.32s' is no percentage, expected 0 to 100", text);
	arguments->options.noise_floor = percent / 100;
	return EXIT_DONE;
}

static bool is_directory(const char *path)
{
	struct stat about;
	return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

/* "NAME=RUN"; a directory that has such a name itself is taken as it is. */
static struct run_source parse_source(char *text)
{
	char *equals = strchr(text, '=');
	if (equals == NULL || equals == text || is_directory(text) ||
	    memchr(text, '/', (size_t)(equals - text)) != NULL)
		return (struct run_source) { .directory = text };
	*equals = '\0';
	return (struct run_source) { .directory = equals + 1, .name = text };
}

/* Returns an exit code; *help: only the help was asked for. */
static int parse(int argc, char **argv, struct arguments *arguments, bool *help)
{
	static const struct option options[] = {
		{ "baseline", required_argument, NULL, 'b' },
		{ "metric", required_argument, NULL, 'm' },
		{ "noise-floor", required_argument, NULL, 'n' },
		{ "json", no_argument, NULL, 'j' },
		{ "force", no_argument, NULL, 'f' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option;
	optind = 0;
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (option == 'b')
			arguments->options.baseline = optarg;
		else if (option == 'm')
			arguments->metrics[arguments->options.metric_count++] = optarg;
		else if (option == 'j')
			arguments->json = true;
		else if (option == 'f')
			arguments->force = true;
		else if (option == 'n' && take_floor(arguments, optarg) != EXIT_DONE)
			return EXIT_BAD_INPUT;
		else if (option == 'h')
			*help = true;
		else if (option == ':')
			return complain("no value for '%s' (cascade compare --help lists the options)",
					argv[optind - 1]);
		else if (option == '?')
			return complain("unknown option '%s' (cascade compare --help lists the options)",
					argv[optind - 1]);
	}
	if (optind == argc && !*help)
		return complain("no run given, expected a directory such as %s", "results/NAME/latest");
	for (int i = optind; i < argc; i++)
		arguments->sources[arguments->source_count++] = parse_source(argv[i]);
	return EXIT_DONE;
}

static int compare_runs(const struct arguments *arguments, const struct run_data *data)
{
	struct problem problem;
	struct compare compare = { .data = NULL };
	if (!compare_is_possible(data, &problem)) {
		(void)fprintf(stderr, "cascade compare: %s\n", problem.text);
		return EXIT_RUN_FAILED;
	}
	struct status status = compare_make(&compare, data, &arguments->options, &problem);
	if (!status_is_ok(status)) {
		compare_free(&compare);
		return complain("%s", problem.text);
	}
	if (arguments->json)
		compare_write_json(&compare, stdout);
	else
		compare_print(&compare, stdout);
	compare_free(&compare);
	return finish_output(EXIT_DONE);
}

static int read_and_compare(const struct arguments *arguments)
{
	struct run_data data;
	char text[256];
	enum run_data_mode mode = arguments->force ? RUN_DATA_BY_LABEL : RUN_DATA_BY_WORKLOAD;
	struct status status = run_data_read(&data, arguments->sources, arguments->source_count, mode);
	int code = EXIT_DONE;
	if (status_is_ok(status)) {
		code = compare_runs(arguments, &data);
	} else {
		status_describe(status, text, sizeof(text));
		code = complain("%s", text);
	}
	run_data_free(&data);
	return code;
}

int compare_command(int argc, char **argv)
{
	struct arguments arguments = {
		.options = { .noise_floor = COMPARE_NOISE_FLOOR },
		.metrics = allocate_zeroed((size_t)argc + 1, sizeof(char *)),
		.sources = allocate_zeroed((size_t)argc + 1, sizeof(struct run_source)),
	};
	bool help = false;
	arguments.options.metrics = arguments.metrics;
	int code = parse(argc, argv, &arguments, &help);
	if (code == EXIT_DONE && help) {
		print_help();
		code = finish_output(EXIT_DONE);
	} else if (code == EXIT_DONE) {
		code = read_and_compare(&arguments);
	}
	memory_free(arguments.metrics);
	memory_free(arguments.sources);
	return code;
}
