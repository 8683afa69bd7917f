/*
 * bench_record.c: the directory of a run and the files in it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/random.h"
#include "harness/allocate.h"
#include "harness/bench/bench_report.h"
#include "harness/experiment.h"
#include "harness/folder.h"
#include "harness/json_writer.h"
#include "harness/provenance.h"

enum { PATH_BYTES = 4096, SAME_SECOND_MAX = 100, SCHEMA_VERSION = 1 };

/* --- the directory --- */

/* What was asked for, as a number: runs of the same request bear the same one. */
static uint64_t request_hash(const struct bench_options *options)
{
	char text[PATH_BYTES];
	int used = snprintf(text, sizeof(text), "%s %" PRIu32 " %d %" PRIu64, options->kind->name,
			    options->repeats, options->quick, options->file_bytes);
	size_t size = (size_t)used;
	for (size_t i = 0; i < options->only_count + options->variant_count; i++) {
		const char *name = i < options->only_count ? options->only[i]
							   : options->variants[i - options->only_count];
		int more = snprintf(text + size, sizeof(text) - size, " %s", name);
		size = size + (size_t)more < sizeof(text) ? size + (size_t)more : sizeof(text) - 1;
	}
	uint64_t hash = hash_key(slice_make(text, size));
	for (size_t i = 0; i < options->size_count; i++)
		hash = random_mix(hash + options->sizes[i]);
	if (options->baseline != NULL)
		hash = random_mix(hash ^ hash_key(slice_make(options->baseline, strlen(options->baseline))));
	return hash;
}

/* Replaces the link in one step, so that no reader ever finds none. */
static struct status link_latest(const char *parent, const char *run)
{
	char link[PATH_BYTES + 64], fresh[PATH_BYTES + 64];
	(void)snprintf(link, sizeof(link), "%s/latest", parent);
	(void)snprintf(fresh, sizeof(fresh), "%s/.latest-%ld", parent, (long)getpid());
	(void)unlink(fresh);
	if (symlink(run, fresh) != 0)
		return status_from_errno(errno, "cannot create", fresh);
	if (rename(fresh, link) != 0) {
		struct status status = status_from_errno(errno, "cannot create", link);
		(void)unlink(fresh);
		return status;
	}
	return status_ok();
}

struct status bench_make_directory(const struct bench_options *options, const char *out, char **directory,
				   char **run)
{
	char parent[PATH_BYTES], path[PATH_BYTES + 64], stamp[32], name[64];
	struct tm utc;
	time_t now = (time_t)(clock_wall_ns() / 1000000000);
	(void)gmtime_r(&now, &utc);
	(void)strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &utc);
	if (snprintf(parent, sizeof(parent), "%s/bench-%s", out, options->kind->name) >= (int)sizeof(parent))
		return status_from_errno(ENAMETOOLONG, "cannot create", out);
	int error = folder_make(parent);
	if (error != 0)
		return status_from_errno(error, "cannot create", parent);
	unsigned hash = (unsigned)(request_hash(options) >> 32);
	for (int i = 1; i <= SAME_SECOND_MAX; i++) {
		int length = snprintf(name, sizeof(name), "%s-%08x", stamp, hash);
		if (i > 1)
			(void)snprintf(name + length, sizeof(name) - (size_t)length, "-%d", i);
		(void)snprintf(path, sizeof(path), "%s/%s", parent, name);
		if (mkdir(path, 0777) == 0) {
			*directory = allocate_string(path);
			*run = allocate_string(name);
			return link_latest(parent, name);
		}
		if (errno != EEXIST)
			break;
	}
	return status_from_errno(errno, "cannot create", path);
}

/* --- files --- */

typedef void file_writer(const struct bench_report *report, FILE *file);

static struct status write_file(const struct bench_report *report, const char *name, file_writer *writer)
{
	char path[PATH_BYTES];
	(void)snprintf(path, sizeof(path), "%s/%s", report->directory, name);
	FILE *file = fopen(path, "we");
	if (file == NULL)
		return status_from_errno(errno, "cannot create", path);
	writer(report, file);
	errno = 0;
	bool failed = fflush(file) != 0 || ferror(file) != 0;
	int error = errno;
	failed = fclose(file) != 0 || failed;
	if (!failed)
		return status_ok();
	/* Half a file would be taken for a whole one. */
	(void)unlink(path);
	return status_from_errno(error != 0 ? error : EIO, "cannot write", path);
}

static void write_sample(struct json_writer *json, const struct bench_report *report,
			 const struct bench_sample *sample)
{
	const struct bench_side *side = &sample->measure->sides[sample->side];
	json_object_begin(json, NULL);
	json_count(json, "schema_version", SCHEMA_VERSION);
	json_text(json, "kind", report->results->options->kind->name);
	json_text(json, "run", report->run);
	json_text(json, "measure", sample->measure->name);
	json_text(json, "variant", sample->variant);
	json_known(json, "size", sample->size > 0 ? sample->size : UINT64_MAX);
	json_text(json, "side", side->name);
	json_count(json, "parameter", side->parameter);
	json_count(json, "repetition", sample->repetition);
	json_count(json, "run_order", sample->order);
	json_real(json, "seconds", sample->seconds);
	json_boolean(json, "quick", report->results->options->quick);
	json_object_begin(json, "numbers");
	for (int i = 0; i < BENCH_NUMBERS_MAX && sample->measure->numbers[i].name != NULL; i++)
		json_real(json, sample->measure->numbers[i].name, sample->numbers[i]);
	json_object_end(json);
	json_object_end(json);
}

static void write_samples(const struct bench_report *report, FILE *file)
{
	for (size_t i = 0; i < report->results->sample_count; i++) {
		struct json_writer json = { .file = file };
		write_sample(&json, report, &report->results->samples[i]);
		(void)fputc('\n', file);
	}
}

static void write_provenance(const struct bench_report *report, FILE *file)
{
	const struct experiment none = { .cell_count = 0 };
	provenance_write(file, &none, report->directory);
}

struct status bench_write_files(const struct bench_report *report)
{
	TRY(write_file(report, "bench.jsonl", write_samples));
	TRY(write_file(report, "claims.json", bench_print_json));
	return write_file(report, "provenance.json", write_provenance);
}
