#include "harness/cell_run.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/units.h"
#include "harness/channel.h"
#include "harness/folder.h"
#include "harness/generator.h"
#include "harness/record.h"

enum { KEY_SAMPLES = 1000 };

/* Set by SIGTERM; phase_run looks at it. */
static volatile int stop_asked;

struct cell_state {
	const struct cell_job *job;
	int fd;
	struct driver *driver;
	struct verifier *verifier;
	struct phase_context context;
	uint64_t budget_bytes, cache_bytes; /* UINT64_MAX: unknown cache */
	bool removes;			    /* a phase removed records: how many are left is unknown */
};

static void ask_to_stop(int signal)
{
	(void)signal;
	stop_asked = 1;
}

static void send_failure(struct cell_state *state, const char *what, struct status status)
{
	char text[256], message[512];
	status_describe(status, text, sizeof(text));
	(void)snprintf(message, sizeof(message), "%s: %s", what, text);
	(void)channel_send_text(state->fd, MESSAGE_FAILURE, message);
}

static void send_progress(void *opaque, const struct phase *phase, double seconds, uint64_t operations,
			  uint64_t total)
{
	struct cell_state *state = opaque;
	struct message_progress message = {
		.phase_index = (uint32_t)(phase - state->job->cell->workload.phases),
		.seconds = seconds,
		.operations = operations,
		.total = total,
	};
	(void)channel_send(state->fd, MESSAGE_PROGRESS, &message, sizeof(message));
}

/* --- what a phase leaves behind --- */

typedef void record_writer(const struct record *record, FILE *file);

static void send_written(struct cell_state *state, enum message_type type, record_writer *writer,
			 const struct record *record)
{
	char *text = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);
	if (file == NULL)
		return;
	writer(record, file);
	if (fclose(file) == 0)
		(void)channel_send(state->fd, type, text, size);
	memory_free(text);
}

static void send_histogram(struct cell_state *state, const struct histogram *histogram, const char *name)
{
	char *text = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);
	if (file == NULL)
		return;
	(void)fprintf(file, "%s%c", name, '\0');
	struct status status = histogram_write_hgrm(histogram, file);
	if (fclose(file) == 0 && status_is_ok(status))
		(void)channel_send(state->fd, MESSAGE_FILE, text, size);
	else
		send_failure(state, name, status);
	memory_free(text);
}

static void send_record(struct cell_state *state, const struct record *record)
{
	char name[HGRM_NAME_BYTES];
	struct phase_summary summary;
	record_summarize(record, &summary);
	(void)channel_send(state->fd, MESSAGE_SUMMARY, &summary, sizeof(summary));
	send_written(state, MESSAGE_RECORD, record_write_json, record);
	send_written(state, MESSAGE_REPETITION_ROWS, record_write_repetition, record);
	send_written(state, MESSAGE_TIMELINE, record_write_timeline, record);
	send_written(state, MESSAGE_INTERVALS, record_write_intervals, record);
	for (int kind = 0; kind < OPERATION_KINDS; kind++) {
		const struct histogram *histogram = record->result->service[kind];
		if (histogram != NULL && histogram->count > 0)
			send_histogram(state, histogram,
				       record_hgrm_name(record, (enum operation_kind)kind, name));
	}
	const struct histogram *hiccups = record->result->hiccups;
	if (hiccups != NULL && hiccups->count > 0)
		send_histogram(state, hiccups, record_hiccup_name(record, name));
}

/* What makes the whole run fail, said at once and in the phase's name. */
static void send_phase_failures(struct cell_state *state, const struct phase *phase,
				const struct phase_result *result)
{
	char text[256], message[768];
	if (result->failed > 0) {
		status_describe(result->first_failure, text, sizeof(text));
		(void)snprintf(message, sizeof(message),
			       "phase %s: %" PRIu64 " operations failed, the first with: %s", phase->name,
			       result->failed, text);
		(void)channel_send_text(state->fd, MESSAGE_FAILURE, message);
	}
	if (result->verify_mismatches > 0) {
		(void)snprintf(message, sizeof(message),
			       "phase %s: %" PRIu64 " of %" PRIu64 " checked values are wrong, the first: %s",
			       phase->name, result->verify_mismatches, result->verify_checked,
			       result->first_mismatch);
		(void)channel_send_text(state->fd, MESSAGE_FAILURE, message);
	}
}

/* --- sizes --- */

/* Mean size of a key, from numbers spread over the records. */
static double mean_key_bytes(const struct workload *workload)
{
	uint8_t key[KEY_TEXT_MAX];
	uint64_t sum = 0;
	for (uint64_t i = 0; i < KEY_SAMPLES; i++) {
		uint64_t number = (uint64_t)((unsigned __int128)workload->records * i / KEY_SAMPLES);
		sum += key_format(workload->insert_order, number, key);
	}
	return (double)sum / KEY_SAMPLES;
}

static uint64_t logical_bytes(const struct cell_state *state)
{
	const struct workload *workload = &state->job->cell->workload;
	if (state->removes || state->job->cell->forgets)
		return UINT64_MAX;
	double row = mean_key_bytes(workload) + (double)workload->value_size;
	return (uint64_t)((double)state->context.inserted * row);
}

/* The engine's cache as its options have it, if it has such an option and it is a size. */
static uint64_t cache_bytes_of(const struct cell *cell)
{
	const struct yaml_node *size = yaml_get(yaml_get(cell->engine, "cache"), "size");
	uint64_t bytes = UINT64_MAX;
	if (size == NULL || size->kind != YAML_SCALAR || !status_is_ok(units_parse_size(size->text, &bytes)))
		return UINT64_MAX;
	return bytes;
}

/* --- running --- */

static bool run_phase(struct cell_state *state, size_t index)
{
	const struct cell_job *job = state->job;
	const struct phase *phase = &job->cell->workload.phases[index];
	struct phase_result result = { .seconds = 0 };
	struct machine_sample before, after;
	machine_sample(&before);
	struct status status = phase_run(&state->context, phase, &result);
	machine_sample(&after);
	if (!status_is_ok(status)) {
		char what[128];
		(void)snprintf(what, sizeof(what), "phase %s", phase->name);
		send_failure(state, what, status);
		return false;
	}
	if (phase->kind == PHASE_RUN && phase->mix[OPERATION_DELETE] > 0)
		state->removes = true;
	struct record record = {
		.run = job->run,
		.experiment = job->experiment->name,
		.cell = job->cell,
		.phase = phase,
		.phase_index = index,
		.repetition = job->repetition,
		.run_order = job->run_order,
		.result = &result,
		.verified = state->verifier != NULL,
		.space_bytes = folder_bytes(job->database),
		.logical_bytes = logical_bytes(state),
		.budget_bytes = state->budget_bytes,
	};
	struct validity validity;
	struct validity_input input = {
		.phase = phase,
		.result = &result,
		.before = &before,
		.after = &after,
		.notice = state->driver->ops->notice(state->driver),
		.dataset_bytes = record.logical_bytes,
		.cache_bytes = state->cache_bytes,
	};
	validity_judge(&input, &validity);
	record.validity = &validity;
	send_record(state, &record);
	send_phase_failures(state, phase, &result);
	bool go_on = result.failed == 0 && !result.stopped_early;
	phase_result_free(&result);
	return go_on;
}

static void run_phases(struct cell_state *state)
{
	const struct workload *workload = &state->job->cell->workload;
	const char *notice = state->driver->ops->notice(state->driver);
	if (notice[0] != '\0')
		(void)channel_send_text(state->fd, MESSAGE_NOTICE, notice);
	/* A database that was there before is taken to hold the records. */
	bool loads = workload->phases[0].kind == PHASE_LOAD;
	state->context = (struct phase_context) {
		.workload = workload,
		.driver = state->driver,
		.verifier = state->verifier,
		.inserted = loads || strcmp(workload->engine_path, "auto") == 0 ? 0 : workload->records,
		.progress = send_progress,
		.progress_context = state,
		.stop = &stop_asked,
		.data_path = state->job->database,
	};
	for (size_t i = 0; i < workload->phase_count && stop_asked == 0; i++) {
		if (!run_phase(state, i))
			break;
	}
}

static void run_open(struct cell_state *state)
{
	const struct cell_job *job = state->job;
	const struct workload *workload = &job->cell->workload;
	struct driver_config config = {
		.path = job->database,
		.options = workload->engine_options,
		.option_count = workload->engine_option_count,
		.expected_records = workload->records,
	};
	state->budget_bytes = job->cell->driver->memory_budget(&config);
	state->cache_bytes = cache_bytes_of(job->cell);
	struct status status = job->cell->driver->open(&config, &state->driver);
	if (!status_is_ok(status)) {
		send_failure(state, "the engine could not be opened", status);
		return;
	}
	run_phases(state);
	status = job->cell->driver->close(state->driver);
	if (!status_is_ok(status))
		send_failure(state, "the engine could not be closed", status);
}

static void run_cell(struct cell_state *state)
{
	const struct workload *workload = &state->job->cell->workload;
	if (workload->verify) {
		/* The verifier knows what was written only if it saw all of it. */
		struct status status =
			folder_is_empty(state->job->database)
				? verifier_create(workload, &state->verifier)
				: status_error(STATUS_INVALID, "%s is not empty", state->job->database);
		if (!status_is_ok(status)) {
			send_failure(state, "values cannot be verified", status);
			return;
		}
	}
	run_open(state);
	verifier_destroy(state->verifier);
}

static _Noreturn void cell_main(const struct cell_job *job, int fd, pid_t parent)
{
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1); /* it died before the line above */
	struct cell_state state = { .job = job, .fd = fd };
	run_cell(&state);
	(void)channel_send(fd, MESSAGE_END, NULL, 0);
	(void)close(fd);
	exit(0);
}

/* SIGTERM waits until the child has its handler: one sent right after the fork is not lost. */
pid_t cell_start(const struct cell_job *job, int *fd)
{
	int ends[2];
	struct sigaction action = { .sa_handler = ask_to_stop };
	if (pipe2(ends, O_CLOEXEC) != 0)
		return -1;
	(void)fflush(NULL);
	stop_asked = 0;
	pid_t parent = getpid();
	(void)sigemptyset(&action.sa_mask);
	sigset_t blocked, mask;
	(void)sigemptyset(&blocked);
	(void)sigaddset(&blocked, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &blocked, &mask);
	pid_t child = fork();
	if (child == 0) {
		(void)sigaction(SIGTERM, &action, NULL);
		(void)sigprocmask(SIG_SETMASK, &mask, NULL);
		(void)close(ends[0]);
		cell_main(job, ends[1], parent);
	}
	int error = errno;
	(void)sigprocmask(SIG_SETMASK, &mask, NULL);
	(void)close(ends[1]);
	*fd = ends[0];
	if (child < 0)
		(void)close(ends[0]);
	errno = error;
	return child;
}
