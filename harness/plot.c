#include "harness/plot.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "harness/allocate.h"
#include "harness/commands.h"
#include "harness/compare.h"
#include "harness/folder.h"
#include "harness/plot_pictures.h"

enum { PATH_BYTES = 4096, OUTPUT_BYTES = 512 };

extern char **environ;

static const struct {
	unsigned format;
	const char *name;
} formats_known[] = { { PLOT_SVG, "svg" }, { PLOT_PNG, "png" }, { PLOT_PDF, "pdf" } };

enum { FORMATS = sizeof(formats_known) / sizeof(formats_known[0]) };

/* --- gnuplot --- */

/* Starts it in the folder, what it says going to `output`. */
static struct status start_gnuplot(const char *folder, const char *setting, const char *script, int output,
				   pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	char *const argv[] = { "gnuplot", "-e", (char *)setting, (char *)script, NULL };
	int error = posix_spawn_file_actions_init(&actions);
	if (error != 0)
		return status_from_errno(error, "cannot start gnuplot", NULL);
	error = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	if (error == 0)
		error = posix_spawn_file_actions_adddup2(&actions, output, 1);
	if (error == 0)
		error = posix_spawn_file_actions_adddup2(&actions, output, 2);
	if (error == 0)
		error = posix_spawn_file_actions_addchdir_np(&actions, folder);
	if (error == 0)
		error = posix_spawnp(pid, "gnuplot", &actions, NULL, argv, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	if (error == ENOENT)
		return status_error(
			STATUS_UNSUPPORTED,
			"no pictures drawn: gnuplot is not installed (scripts and data are in %s)", folder);
	return error == 0 ? status_ok() : status_from_errno(error, "cannot start gnuplot", NULL);
}

/* The first line of what it said; all of it is read, so that it never waits for a reader. */
static void read_output(int fd, char text[OUTPUT_BYTES])
{
	char chunk[OUTPUT_BYTES];
	size_t used = 0;
	for (;;) {
		ssize_t got = read(fd, chunk, sizeof(chunk));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		size_t room = OUTPUT_BYTES - 1 - used;
		size_t more = (size_t)got < room ? (size_t)got : room;
		memcpy(text + used, chunk, more);
		used += more;
	}
	text[used] = '\0';
	char *from = text + strspn(text, " \n\t");
	memmove(text, from, strlen(from) + 1);
	text[strcspn(text, "\n")] = '\0';
}

static struct status wait_for(pid_t pid, const char *script, const char *said)
{
	int result;
	while (waitpid(pid, &result, 0) < 0) {
		if (errno != EINTR)
			return status_from_errno(errno, "cannot wait for gnuplot", NULL);
	}
	if (WIFEXITED(result) && WEXITSTATUS(result) == 0)
		return status_ok();
	/* Some systems report a program that is not there only by the child's exit code. */
	if (WIFEXITED(result) && WEXITSTATUS(result) == 127)
		return status_error(STATUS_UNSUPPORTED, "no pictures drawn: gnuplot is not installed");
	return status_error(STATUS_IO, "gnuplot failed on %s: %s", script,
			    said[0] != '\0' ? said : "no message");
}

static struct status run_gnuplot(const char *folder, const char *name, const char *format)
{
	char setting[64], script[PICTURE_NAME_BYTES + 8], said[OUTPUT_BYTES];
	int ends[2];
	pid_t pid;
	snprintf(setting, sizeof(setting), "format='%s'", format);
	snprintf(script, sizeof(script), "%s.gp", name);
	if (pipe2(ends, O_CLOEXEC) != 0)
		return status_from_errno(errno, "cannot start gnuplot", NULL);
	struct status status = start_gnuplot(folder, setting, script, ends[1], &pid);
	(void)close(ends[1]);
	if (status_is_ok(status)) {
		read_output(ends[0], said);
		status = wait_for(pid, script, said);
	}
	(void)close(ends[0]);
	return status;
}

/* --- a run --- */

struct drawing {
	const char *folder;
	unsigned formats;
	size_t pictures;
	struct status gnuplot; /* the first failure: scripts and data of the others are still written */
};

static struct status draw(void *context, const char *name)
{
	struct drawing *drawing = context;
	for (size_t i = 0; i < FORMATS; i++) {
		if ((drawing->formats & formats_known[i].format) == 0)
			continue;
		if (status_is(drawing->gnuplot, STATUS_UNSUPPORTED))
			break;
		struct status status = run_gnuplot(drawing->folder, name, formats_known[i].name);
		status_keep_first(&drawing->gnuplot, status);
		drawing->pictures += status_is_ok(status);
	}
	return status_ok();
}

struct status plot_draw(const char *folder, const char *name, unsigned formats, size_t *pictures)
{
	struct drawing drawing = { .folder = folder, .formats = formats };
	TRY(draw(&drawing, name));
	if (pictures != NULL)
		*pictures = drawing.pictures;
	return drawing.gnuplot;
}

struct status plot_run(const char *run_directory, unsigned formats, size_t *pictures)
{
	char folder[PATH_BYTES];
	if ((size_t)snprintf(folder, sizeof(folder), "%s/plots", run_directory) >= sizeof(folder))
		return status_error(STATUS_INVALID, "the path of the run is too long");
	struct run_source source = { .directory = run_directory };
	return plot_runs(&source, 1, folder, formats, pictures);
}

/*
 * Where configurations did the same work they are drawn together, workload by workload. Else only workloads
 * vary, and phases of the same name are drawn together, each workload in a colour of its own.
 */
static struct status read_runs(struct run_data *data, const struct run_source *sources, size_t count)
{
	struct problem problem;
	TRY(run_data_read(data, sources, count, RUN_DATA_BY_WORKLOAD));
	if (compare_is_possible(data, &problem))
		return status_ok();
	run_data_free(data);
	return run_data_read(data, sources, count, RUN_DATA_BY_LABEL);
}

struct status plot_runs(const struct run_source *sources, size_t count, const char *folder, unsigned formats,
			size_t *pictures)
{
	struct run_data data;
	struct drawing drawing = { .folder = folder, .formats = formats };
	struct status status = read_runs(&data, sources, count);
	int error = status_is_ok(status) ? folder_make(folder) : 0;
	if (error != 0)
		status = status_from_errno(error, "cannot create", folder);
	if (status_is_ok(status))
		status = plot_pictures_write(&data, folder, draw, &drawing);
	status_keep_first(&status, drawing.gnuplot);
	run_data_free(&data);
	if (pictures != NULL)
		*pictures = drawing.pictures;
	return status;
}

/* --- the command --- */

static void print_help(void)
{
	fputs("usage: cascade plot RUN... [--format svg|png|pdf]... [--out DIR]\n\n"
	      "Draws the pictures of runs: latency over percentile, throughput and latency over time, and,\n"
	      "where there are several configurations, these side by side and their ratios. They go to\n"
	      "RUN/plots/, with the gnuplot script (.gp) and the data (.dat) of each beside it.\n\n"
	      "  RUN               a directory that 'cascade run' has left, such as results/NAME/latest\n"
	      "  --format FORMAT   svg, png or pdf; may be repeated (svg and png if not given)\n"
	      "  --out DIR         draw all runs together, into that directory\n"
	      "  --help            this text\n",
	      stdout);
}

static bool add_format(const char *name, unsigned *formats)
{
	for (size_t i = 0; i < FORMATS; i++) {
		if (strcmp(name, formats_known[i].name) == 0) {
			*formats |= formats_known[i].format;
			return true;
		}
	}
	fprintf(stderr, "cascade plot: --format: '%s' is not a format, expected svg, png or pdf\n", name);
	return false;
}

/* Says what went wrong; returns the exit code. */
static int judge(struct status status)
{
	if (status_is_ok(status))
		return EXIT_DONE;
	char text[256];
	status_describe(status, text, sizeof(text));
	fprintf(stderr, "cascade plot: %s\n", text);
	return status_is(status, STATUS_NOT_FOUND) || status_is(status, STATUS_CORRUPT) ||
			       status_is(status, STATUS_INVALID)
		       ? EXIT_BAD_INPUT
		       : EXIT_RUN_FAILED;
}

static int plot_together(char **directories, size_t count, const char *out, unsigned formats)
{
	size_t pictures = 0;
	struct run_source *sources = allocate_zeroed(count, sizeof(*sources));
	for (size_t i = 0; i < count; i++)
		sources[i].directory = directories[i];
	struct status status = plot_runs(sources, count, out, formats, &pictures);
	memory_free(sources);
	if (pictures > 0)
		printf("%s: %zu pictures\n", out, pictures);
	return judge(status);
}

static int plot_one(const char *directory, unsigned formats)
{
	size_t pictures = 0;
	struct status status = plot_run(directory, formats, &pictures);
	if (pictures > 0)
		printf("%s/plots: %zu pictures\n", directory, pictures);
	return judge(status);
}

int plot_command(int argc, char **argv)
{
	static const struct option options[] = { { "format", required_argument, NULL, 'f' },
						 { "out", required_argument, NULL, 'o' },
						 { "help", no_argument, NULL, 'h' },
						 { NULL, 0, NULL, 0 } };
	unsigned formats = 0;
	const char *out = NULL;
	optind = 0;
	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (option == 'h') {
			print_help();
			return finish_output(EXIT_DONE);
		}
		if (option == 'o' && optarg[0] != '\0') {
			out = optarg;
			continue;
		}
		if (option != 'f' || !add_format(optarg, &formats))
			return EXIT_BAD_INPUT;
	}
	if (optind == argc) {
		fputs("cascade plot: no run given (cascade plot --help)\n", stderr);
		return EXIT_BAD_INPUT;
	}
	int exit_code = EXIT_DONE;
	formats = formats == 0 ? PLOT_DEFAULT : formats;
	if (out != NULL)
		return finish_output(plot_together(&argv[optind], (size_t)(argc - optind), out, formats));
	for (int i = optind; i < argc; i++) {
		int one = plot_one(argv[i], formats);
		exit_code = one > exit_code ? one : exit_code;
	}
	return finish_output(exit_code);
}
