#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/units.h"
#include "harness/allocate.h"
#include "harness/commands.h"
#include "harness/run.h"
#include "harness/workload_keys.h"

static const char help_text[] =
	"usage: cascade run FILE.yaml... [options]\n\n"
	"Runs workload files and leaves DIR/NAME/UTC-HASH/ behind (and a link DIR/NAME/latest): "
	"record.jsonl,\n"
	"repetitions.csv, timeline.csv, *.hgrm, config.resolved.yaml, provenance.json, summary.csv\n"
	"(medians, 95 % intervals, ratios), plots/.\n\n"
	"With `vary` every combination of its values is a configuration, with --repeats each is run as\n"
	"often, interleaved: vary: [{set: engine, as: [a, b], to: [{kind: cascade}, {kind: rocksdb}]}].\n"
	"Where `set` is a list of paths they are set together, to the lists that are the items of `to`.\n"
	"Ratios are to the first configuration, or to the one that `baseline` names\n"
	"('cascade compare --help', docs/statistics.md).\n\n"
	"options:\n"
	"  --set PATH=VALUE  change a key of the file: engine.memtable.size=32MiB, phases.run.clients=8;\n"
	"                    VALUE is YAML: 'engine={kind: null}'; may be given several times\n"
	"  --repeats N       run every configuration N times, each time in a fresh process\n"
	"  --out DIR         where results go (default: results)\n"
	"  --no-plot         draw no pictures afterwards\n"
	"  --quiet           no progress on stderr\n"
	"  --help            this text\n\n"
	"'cascade list workload' lists what a file may say. Ctrl-C ends the run early with what there is.\n";

struct arguments {
	struct run_options options;
	const char **sets;
	size_t set_count;
	char repeats[64]; /* as a --set, or "" */
};

static int complain(const char *what)
{
	(void)fprintf(stderr, "cascade run: %s\n", what);
	return EXIT_BAD_INPUT;
}

static int take_repeats(struct arguments *arguments, const char *text)
{
	uint64_t count = 0;
	char expects[128], message[256];
	const struct workload_key *key = workload_key_find("", "repeats");
	if (!status_is_ok(units_parse_count(text, &count)) || (double)count < key->minimum ||
	    (double)count > key->maximum) {
		(void)snprintf(message, sizeof(message), "--repeats: '%.64s' is out of range, expected %s",
			       text, workload_key_expects(key, expects, sizeof(expects)));
		return complain(message);
	}
	(void)snprintf(arguments->repeats, sizeof(arguments->repeats), "repeats=%llu",
		       (unsigned long long)count);
	return EXIT_DONE;
}

/* Returns an exit code; *help: only the help was asked for. */
static int parse(int argc, char **argv, struct arguments *arguments, bool *help)
{
	static const struct option options[] = {
		{ "set", required_argument, NULL, 's' },
		{ "repeats", required_argument, NULL, 'r' },
		{ "out", required_argument, NULL, 'o' },
		{ "quiet", no_argument, NULL, 'q' },
		{ "no-plot", no_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	char message[256];
	int option;
	/* Also resets the scan of an earlier caller. */
	optind = 0;
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":hq", options, NULL)) != -1) {
		switch (option) {
		case 's':
			arguments->sets[arguments->set_count++] = optarg;
			break;
		case 'r':
			if (take_repeats(arguments, optarg) != EXIT_DONE)
				return EXIT_BAD_INPUT;
			break;
		case 'o':
			arguments->options.out = optarg;
			break;
		case 'q':
			arguments->options.quiet = true;
			break;
		case 'n':
			arguments->options.plots = false;
			break;
		case 'h':
			*help = true;
			return EXIT_DONE;
		default:
			(void)snprintf(message, sizeof(message),
				       "%s '%s' (cascade run --help lists the options)",
				       option == ':' ? "no value for" : "unknown option", argv[optind - 1]);
			return complain(message);
		}
	}
	if (optind == argc)
		return complain("no workload file, expected FILE.yaml");
	if (arguments->options.out[0] == '\0')
		return complain("--out is empty, expected a directory");
	return EXIT_DONE;
}

/* All files are read before the first is run: a mistake in the last one is not found hours later. */
static int run_files(char **files, size_t count, const struct arguments *arguments)
{
	struct experiment *experiments = allocate_zeroed(count, sizeof(*experiments));
	struct problem problem;
	size_t loaded = 0;
	bool interrupted = false;
	int code = EXIT_DONE;
	for (; loaded < count && code == EXIT_DONE; loaded++) {
		struct status status = experiment_load(&experiments[loaded], files[loaded], arguments->sets,
						       arguments->set_count, &problem);
		if (status_is_ok(status))
			continue;
		(void)fprintf(stderr, "%s\n", problem.text);
		code = EXIT_BAD_INPUT;
	}
	bool good = code == EXIT_DONE;
	for (size_t i = 0; i < count && good && !interrupted; i++) {
		int one = run_experiment(&experiments[i], &arguments->options, &interrupted);
		code = one > code ? one : code;
	}
	for (size_t i = 0; i < loaded; i++)
		experiment_free(&experiments[i]);
	memory_free(experiments);
	return code;
}

int run_command(int argc, char **argv)
{
	struct arguments arguments = {
		.options = { .out = "results", .plots = true },
		.sets = allocate_zeroed((size_t)argc + 1, sizeof(char *)),
	};
	bool help = false;
	int code = parse(argc, argv, &arguments, &help);
	if (help) {
		(void)fputs(help_text, stdout);
		code = finish_output(EXIT_DONE);
	} else if (code == EXIT_DONE) {
		if (arguments.repeats[0] != '\0')
			arguments.sets[arguments.set_count++] = arguments.repeats;
		code = run_files(&argv[optind], (size_t)(argc - optind), &arguments);
	}
	memory_free(arguments.sets);
	return code;
}
