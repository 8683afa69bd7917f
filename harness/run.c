#include "harness/run.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "harness/allocate.h"
#include "harness/cell_run.h"
#include "harness/channel.h"
#include "harness/commands.h"
#include "harness/compare.h"
#include "harness/folder.h"
#include "harness/parity.h"
#include "harness/plot.h"
#include "harness/progress.h"
#include "harness/results.h"
#include "harness/run_table.h"

enum { PATH_BYTES = 4096, POLL_MS = 200, NOTICE_BYTES = 512 };

static volatile sig_atomic_t interrupts;

static void count_interrupt(int number)
{
	(void)number;
	interrupts++;
}

struct execution {
	const struct experiment *experiment;
	const struct run_options *options;
	struct results results;
	struct progress progress;
	struct run_table table;
	bool failed;		   /* a run or a check */
	bool write_failed;	   /* results cannot be written any more */
	char notice[NOTICE_BYTES]; /* the last one printed: every process sends the same */
	/* of the process under way */
	const struct cell_run *run;
	const struct cell *cell;
	uint32_t run_order;
	pid_t child;
	bool ended;    /* its last message has come */
	int forwarded; /* interrupts that it was told of */
};

/* One line on stderr; the bar makes room for it. */
static void say(struct execution *execution, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct execution *execution, const char *format, ...)
{
	va_list arguments;
	progress_clear(&execution->progress);
	(void)fprintf(stderr, "cascade: %s: ", execution->experiment->name);
	va_start(arguments, format);
	(void)vfprintf(stderr, format, arguments);
	va_end(arguments);
	(void)fputc('\n', stderr);
}

static void say_failure(struct execution *execution, const char *text)
{
	execution->failed = true;
	if (execution->experiment->run_count > 1)
		say(execution, "run %u of %zu (%s, repetition %u): %s", execution->run_order,
		    execution->experiment->run_count, execution->cell->label, execution->run->repetition,
		    text);
	else
		say(execution, "%s", text);
}

static void handle_written(struct execution *execution, struct status status, const struct problem *problem)
{
	if (status_is_ok(status) || execution->write_failed)
		return;
	execution->write_failed = true;
	execution->failed = true;
	say(execution, "%s", problem->text);
	/* What can no longer be recorded need not be measured. */
	(void)kill(execution->child, SIGTERM);
}

static void handle_append(struct execution *execution, enum results_file file, const char *data, size_t size)
{
	struct problem problem;
	if (!execution->write_failed)
		handle_written(execution, results_append(&execution->results, file, data, size, &problem),
			       &problem);
}

static void handle_file(struct execution *execution, const char *data, size_t size)
{
	struct problem problem;
	size_t name_size = strlen(data) + 1;
	if (!execution->write_failed && name_size <= size)
		handle_written(execution,
			       results_write(&execution->results, data, data + name_size, size - name_size,
					     &problem),
			       &problem);
}

static void handle_progress(struct execution *execution, const char *data, size_t size)
{
	struct message_progress message;
	if (size != sizeof(message))
		return;
	memcpy(&message, data, sizeof(message));
	const struct phase *phase = &execution->cell->workload.phases[message.phase_index];
	progress_update(&execution->progress, phase, message.seconds, message.operations, message.total,
			clock_now_ns());
}

static void handle_summary(struct execution *execution, const char *data, size_t size)
{
	struct phase_summary summary;
	if (size != sizeof(summary))
		return;
	memcpy(&summary, data, sizeof(summary));
	if (summary.verdict == 2)
		execution->failed = true;
	progress_phase_done(&execution->progress, &execution->cell->workload.phases[summary.phase_index],
			    summary.ops_s);
	run_table_add(&execution->table, execution->run->cell, execution->run->repetition, &summary);
}

static void handle_notice(struct execution *execution, const char *text)
{
	if (strcmp(text, execution->notice) == 0)
		return;
	(void)snprintf(execution->notice, sizeof(execution->notice), "%s", text);
	say(execution, "notice: %s", text);
}

static void handle_message(void *context, enum message_type type, const char *data, size_t size)
{
	struct execution *execution = context;
	switch (type) {
	case MESSAGE_PROGRESS:
		handle_progress(execution, data, size);
		break;
	case MESSAGE_SUMMARY:
		handle_summary(execution, data, size);
		break;
	case MESSAGE_RECORD:
		handle_append(execution, RESULTS_RECORD, data, size);
		break;
	case MESSAGE_REPETITION_ROWS:
		handle_append(execution, RESULTS_REPETITIONS, data, size);
		break;
	case MESSAGE_TIMELINE:
		handle_append(execution, RESULTS_TIMELINE, data, size);
		break;
	case MESSAGE_INTERVALS:
		handle_append(execution, RESULTS_INTERVALS, data, size);
		break;
	case MESSAGE_FILE:
		handle_file(execution, data, size);
		break;
	case MESSAGE_NOTICE:
		handle_notice(execution, data);
		break;
	case MESSAGE_FAILURE:
		say_failure(execution, data);
		break;
	case MESSAGE_END:
		execution->ended = true;
		break;
	}
}

/* --- one process --- */

/* The first interrupt asks the process to end, the second ends it. */
static void forward_interrupts(struct execution *execution)
{
	int count = interrupts;
	if (count == execution->forwarded)
		return;
	if (execution->forwarded == 0)
		say(execution, "stopping early; once more to stop at once");
	(void)kill(execution->child, count >= 2 ? SIGKILL : SIGTERM);
	execution->forwarded = count;
}

static void judge_exit(struct execution *execution, int exit_status)
{
	char text[128];
	if (WIFSIGNALED(exit_status)) {
		int number = WTERMSIG(exit_status);
		(void)snprintf(text, sizeof(text), "the process was killed by signal %d (%s)", number,
			       strsignal(number));
		say_failure(execution, text);
	} else if (!execution->ended || WEXITSTATUS(exit_status) != 0) {
		(void)snprintf(text, sizeof(text), "the process ended unexpectedly with exit code %d",
			       WEXITSTATUS(exit_status));
		say_failure(execution, text);
	}
}

static void follow_child(struct execution *execution, int fd)
{
	struct channel_reader reader = { .fd = fd };
	bool open = true;
	int exit_status = 0;
	while (open) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };
		int ready = poll(&wait, 1, POLL_MS);
		forward_interrupts(execution);
		if (ready > 0)
			open = channel_receive(&reader, handle_message, execution);
	}
	channel_reader_free(&reader);
	/* A process that closed its end may still be at work: interrupts go on to reach it. */
	while (waitpid(execution->child, &exit_status, 0) < 0 && errno == EINTR)
		forward_interrupts(execution);
	(void)close(fd);
	judge_exit(execution, exit_status);
}

/* Where the database of a run lies. Given paths are kept, so that several runs need a folder each. */
static void database_path(const struct execution *execution, char path[static PATH_BYTES])
{
	const struct cell *cell = execution->cell;
	const char *given = cell->workload.engine_path;
	if (strcmp(given, "auto") == 0)
		(void)snprintf(path, PATH_BYTES, "%s/database", execution->results.path);
	else if (execution->experiment->run_count == 1)
		(void)snprintf(path, PATH_BYTES, "%s", given);
	else
		(void)snprintf(path, PATH_BYTES, "%s/%s-r%u", given, cell->tag, execution->run->repetition);
}

static void run_one(struct execution *execution)
{
	char path[PATH_BYTES], text[PATH_BYTES + 128];
	int fd = -1;
	database_path(execution, path);
	int error = folder_make(path);
	if (error != 0) {
		(void)snprintf(text, sizeof(text), "%s: cannot be made: %s", path, strerror(error));
		say_failure(execution, text);
		return;
	}
	struct cell_job job = {
		.experiment = execution->experiment,
		.cell = execution->cell,
		.run = execution->results.run,
		.repetition = execution->run->repetition,
		.run_order = execution->run_order,
		.database = path,
	};
	execution->ended = false;
	execution->forwarded = 0;
	progress_begin(&execution->progress, execution->run_order, (uint32_t)execution->experiment->run_count,
		       execution->cell->label);
	execution->child = cell_start(&job, &fd);
	if (execution->child < 0) {
		(void)snprintf(text, sizeof(text), "no process could be started: %s", strerror(errno));
		say_failure(execution, text);
	} else {
		follow_child(execution, fd);
	}
	if (strcmp(execution->cell->workload.engine_path, "auto") != 0)
		return;
	error = folder_remove(path);
	if (error != 0)
		say(execution, "%s: cannot be removed: %s", path, strerror(error));
}

/* --- all of them --- */

static void run_all(struct execution *execution)
{
	const struct experiment *experiment = execution->experiment;
	for (size_t i = 0; i < experiment->run_count; i++) {
		if (interrupts > 0 || execution->write_failed)
			return;
		execution->run = &experiment->runs[i];
		execution->run_order = (uint32_t)i + 1;
		execution->cell = &experiment->cells[execution->run->cell];
		run_one(execution);
		progress_clear(&execution->progress);
	}
}

static void draw_plots(struct execution *execution)
{
	char text[256];
	size_t pictures = 0;
	struct status status = plot_run(execution->results.path, PLOT_DEFAULT, &pictures);
	if (status_is_ok(status)) {
		(void)printf("plots: %zu in %s/plots\n", pictures, execution->results.path);
		return;
	}
	status_describe(status, text, sizeof(text));
	say(execution, "no plots: %s", text);
	if (!status_is(status, STATUS_UNSUPPORTED))
		execution->failed = true;
}

/* Medians, intervals and ratios, from what was recorded: also of a run that was stopped early. */
static void write_summary(struct execution *execution)
{
	struct problem problem;
	char *text = NULL, why[256];
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);
	if (file == NULL)
		return;
	struct status status = compare_summarize_run(execution->results.path, file);
	bool whole = fclose(file) == 0;
	if (status_is_ok(status) && whole) {
		status = results_write(&execution->results, "summary.csv", text, size, &problem);
		(void)snprintf(why, sizeof(why), "%.255s", problem.text);
	} else {
		status_describe(status, why, sizeof(why));
	}
	if (!status_is_ok(status) || !whole) {
		execution->failed = true;
		say(execution, "summary.csv: %s", why);
	}
	memory_free(text);
}

static void report(struct execution *execution)
{
	struct problem problem;
	struct status status = results_close(&execution->results, &problem);
	if (!status_is_ok(status)) {
		execution->failed = true;
		say(execution, "%s", problem.text);
	}
	run_table_print(&execution->table, execution->experiment, stdout);
	parity_print_experiment(execution->experiment, stdout);
	bool recorded = execution->results.bytes[RESULTS_RECORD] > 0 && !execution->write_failed;
	if (recorded)
		write_summary(execution);
	if (execution->options->plots && recorded && interrupts < 2)
		draw_plots(execution);
	(void)printf("results: %s\n", execution->results.path);
	if (interrupts > 0)
		say(execution, "stopped early: %s holds what was done", execution->results.path);
}

static void say_threads_instead(struct execution *execution)
{
	const struct experiment *experiment = execution->experiment;
	for (size_t i = 0; i < experiment->cell_count; i++) {
		const struct cell *cell = &experiment->cells[i];
		bool again = false;
		for (size_t j = 0; j < i; j++)
			again = again || experiment->cells[j].driver == cell->driver;
		if (cell->threads_instead && !again)
			say(execution, "notice: clients are threads: the engine '%s' has no tasks",
			    cell->driver->name);
	}
}

static void catch_signals(const struct sigaction *action, struct sigaction *interrupt,
			  struct sigaction *terminate)
{
	(void)sigaction(SIGINT, action, interrupt);
	(void)sigaction(SIGTERM, action, terminate);
}

/* A path that cannot be used is a mistake in the file, found before anything is run. */
static bool make_given_paths(struct execution *execution)
{
	for (size_t i = 0; i < execution->experiment->cell_count; i++) {
		const struct cell *cell = &execution->experiment->cells[i];
		const char *path = cell->workload.engine_path;
		int error = strcmp(path, "auto") != 0 ? folder_make(path) : 0;
		struct problem problem;
		if (error == 0)
			continue;
		(void)problem_at(&problem, STATUS_INVALID, yaml_get(cell->engine, "path")->place,
				 "engine.path", "'%s' cannot be made: %s, expected a directory or auto", path,
				 strerror(error));
		(void)fprintf(stderr, "%s\n", problem.text);
		return false;
	}
	return true;
}

int run_experiment(const struct experiment *experiment, const struct run_options *options, bool *interrupted)
{
	struct execution execution = { .experiment = experiment, .options = options };
	struct sigaction action = { .sa_handler = count_interrupt }, interrupt, terminate;
	struct problem problem;
	interrupts = 0;
	(void)sigemptyset(&action.sa_mask);
	progress_init(&execution.progress, stderr, options->quiet);
	run_table_init(&execution.table);
	if (!make_given_paths(&execution))
		return EXIT_BAD_INPUT;
	struct status status = results_create(&execution.results, options->out, experiment, &problem);
	if (!status_is_ok(status)) {
		say(&execution, "%s", problem.text);
		(void)results_close(&execution.results, &problem).code;
		results_free(&execution.results);
		return status_is(status, STATUS_INVALID) ? EXIT_BAD_INPUT : EXIT_RUN_FAILED;
	}
	if (!options->quiet)
		say_threads_instead(&execution);
	catch_signals(&action, &interrupt, &terminate);
	run_all(&execution);
	report(&execution);
	(void)sigaction(SIGINT, &interrupt, NULL);
	(void)sigaction(SIGTERM, &terminate, NULL);
	*interrupted = interrupts > 0;
	run_table_free(&execution.table);
	results_free(&execution.results);
	return finish_output(execution.failed || *interrupted ? EXIT_RUN_FAILED : EXIT_DONE);
}
