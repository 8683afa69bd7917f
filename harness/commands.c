#include "harness/commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cascade.h"
#include "harness/bench/bench.h"
#include "harness/compare.h"
#include "harness/plot.h"
#include "harness/problem.h"

static int help_command(int argc, char **argv);

const struct command commands[] = {
	{ "run", "run workload files, record what they leave behind", run_command },
	{ "compare", "set configurations beside each other: ratios, intervals, verdicts", compare_command },
	{ "plot", "draw the pictures of runs", plot_command },
	{ "bench", "measure parts alone, against references in the same run", bench_command },
	{ "list", "what there is to choose from: variants, engines, options, keys", list_command },
	{ "help", "this text, or that of a command", help_command },
	{ NULL, NULL, NULL },
};

static void print_usage(FILE *file)
{
	(void)fputs("usage: cascade COMMAND [ARGUMENTS]\n\n"
		    "Runs workloads against an engine assembled from swappable parts, and compares.\n\n"
		    "commands:\n",
		    file);
	for (const struct command *command = commands; command->name != NULL; command++)
		(void)fprintf(file, "  %-8s %s\n", command->name, command->summary);
	(void)fputs("\n'cascade COMMAND --help' tells more. Exit codes: 0 done, 1 a run or a check failed, 2 "
		    "bad input.\n",
		    file);
}

int finish_output(int exit_code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return exit_code;
	(void)fprintf(stderr, "cascade: cannot write to standard output: %s\n", strerror(errno));
	return exit_code != EXIT_DONE ? exit_code : EXIT_RUN_FAILED;
}

static const struct command *find_command(const char *name)
{
	for (const struct command *command = commands; command->name != NULL; command++) {
		if (strcmp(command->name, name) == 0)
			return command;
	}
	return NULL;
}

static int unknown_command(const char *name)
{
	const char *names[16];
	size_t count = 0;
	char hint[128];
	for (const struct command *command = commands; command->name != NULL && count < 16; command++)
		names[count++] = command->name;
	(void)fprintf(stderr, "cascade: unknown command '%s'%s (cascade help lists them)\n", name,
		      nearest_hint(name, names, count, hint, sizeof(hint)));
	return EXIT_BAD_INPUT;
}

static int help_command(int argc, char **argv)
{
	if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
		print_usage(stdout);
		return finish_output(EXIT_DONE);
	}
	const struct command *command = find_command(argv[1]);
	if (command == NULL)
		return unknown_command(argv[1]);
	char help[] = "--help";
	char *arguments[] = { argv[1], help, NULL };
	return command->run(2, arguments);
}

int command_main(int argc, char **argv)
{
	if (argc < 2) {
		print_usage(stderr);
		return EXIT_BAD_INPUT;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		print_usage(stdout);
		return finish_output(EXIT_DONE);
	}
	if (strcmp(argv[1], "--version") == 0) {
		(void)printf("cascade %s\n", cascade_version());
		return finish_output(EXIT_DONE);
	}
	const struct command *command = find_command(argv[1]);
	return command != NULL ? command->run(argc - 1, argv + 1) : unknown_command(argv[1]);
}
