#include "harness/bench/bench_backlog.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "harness/allocate.h"
#include "harness/bench/bench_store.h"
#include "harness/folder.h"

enum {
	PATH_BYTES = 4096,
	COPY_BYTES = 1 << 20,
	TEXT_BYTES = 32,
	RECORDS = 240 * 1000,
	RECORDS_QUICK = 4000,
	/* With uneven shards, one more table in each may not be enough for the one that has fewer. */
	SIGNS = 2,
};

#define LEVEL0_TABLES_MAX "64" /* that the option takes */

struct status bench_status_of(cascade_status status)
{
	if (status == CASCADE_OK)
		return status_ok();
	return status_error((enum status_code)status, "%s", cascade_error_message());
}

static uint64_t records_of(const struct bench_job *job)
{
	return job->quick ? RECORDS_QUICK : RECORDS;
}

/* --- opening --- */

struct setting {
	const char *name, *value;
};

/* `limit`: as many tables in level 0 make a merge due. Writers are never slowed for their sake. */
static struct status open_database(const char *path, const char *limit, const char *cache_size,
				   const char *record_share, cascade **db)
{
	const struct setting settings[] = {
		{ "cache.size", cache_size },	     { "cache.record_share", record_share },
		{ "memtable.size", "32 MiB" },	     { "compaction.level0_tables", limit },
		{ "compaction.level0_slow", "128" }, { "compaction.level0_stop", "256" },
	};
	cascade_options *options;
	TRY(bench_status_of(cascade_options_create(&options)));
	cascade_status status = CASCADE_OK;
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]) && status == CASCADE_OK; i++)
		status = cascade_options_set(options, settings[i].name, settings[i].value);
	if (status == CASCADE_OK)
		status = cascade_open(path, options, db);
	struct status result = bench_status_of(status);
	cascade_options_destroy(options);
	return result;
}

static struct status open_put_off(const char *path, cascade **db)
{
	return open_database(path, LEVEL0_TABLES_MAX, "64 MiB", "0", db);
}

/* --- loading --- */

static void name_of(const struct bench_job *job, const char *what, char path[static PATH_BYTES])
{
	(void)snprintf(path, PATH_BYTES, "%s/%s", job->scratch, what);
}

/* How many tables the fullest level 0 has, for the sides to come: on average, rounded up. */
static struct status note_tables(struct bench_job *job, uint64_t tables)
{
	char path[PATH_BYTES];
	if (tables == 0 || tables >= strtoull(LEVEL0_TABLES_MAX, NULL, 10))
		return status_error(STATUS_INVALID, "level 0 has %" PRIu64 " tables after the load", tables);
	name_of(job, "tables", path);
	FILE *file = fopen(path, "we");
	bool good = file != NULL && fprintf(file, "%" PRIu64 "\n", tables) > 0;
	good = file != NULL && fclose(file) == 0 && good;
	return good ? status_ok() : status_from_errno(errno, "cannot write", path);
}

static struct status read_tables(const struct bench_job *job, uint64_t *tables)
{
	char path[PATH_BYTES];
	name_of(job, "tables", path);
	FILE *file = fopen(path, "re");
	bool good = file != NULL && fscanf(file, "%" SCNu64, tables) == 1;
	if (file != NULL)
		(void)fclose(file);
	return good ? status_ok() : status_error(STATUS_IO, "%s cannot be read", path);
}

static uint64_t stat_of(cascade *db, const char *name)
{
	cascade_stat *stats;
	size_t count;
	uint64_t value = 0;
	if (cascade_stats(db, &stats, &count) != CASCADE_OK)
		return 0;
	for (size_t i = 0; i < count; i++) {
		if (strcmp(stats[i].name, name) == 0)
			value = stats[i].value;
	}
	cascade_stats_free(stats);
	return value;
}

static struct status load(cascade *db, uint64_t records)
{
	uint64_t value[BENCH_BACKLOG_VALUE_BYTES / sizeof(uint64_t)];
	uint8_t bytes[BENCH_KEY_BYTES];
	cascade_status status = CASCADE_OK;
	for (uint64_t i = 0; i < records && status == CASCADE_OK; i++) {
		struct slice key = bench_key(i, bytes);
		value[0] = i;
		for (size_t k = 1; k < sizeof(value) / sizeof(value[0]); k++)
			value[k] = random_at(i, k);
		status = cascade_put(db, cascade_bytes(key.data, key.size),
				     cascade_bytes(value, sizeof(value)), NULL);
	}
	if (status == CASCADE_OK)
		status = cascade_flush(db);
	return bench_status_of(status);
}

struct status bench_backlog_prepare(struct bench_job *job)
{
	char path[PATH_BYTES];
	cascade *db;
	name_of(job, "loaded", path);
	TRY(open_put_off(path, &db));
	struct status status = load(db, records_of(job));
	uint32_t shards = cascade_shard_count(db);
	if (status_is_ok(status))
		status = note_tables(job, (stat_of(db, "level.0.tables") + shards - 1) / shards);
	status_keep_first(&status, bench_status_of(cascade_close(db)));
	return status;
}

/* --- copies --- */

static struct status copy_file(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC);
	if (in < 0)
		return status_from_errno(errno, "cannot read", from);
	int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	int error = out < 0 ? errno : 0;
	char *buffer = allocate_zeroed(1, COPY_BYTES);
	while (error == 0) {
		ssize_t got = read(in, buffer, COPY_BYTES);
		if (got == 0)
			break;
		errno = got < 0 ? errno : ENOSPC; /* of a write that was cut short */
		if (got < 0 || write(out, buffer, (size_t)got) != got)
			error = errno;
	}
	memory_free(buffer);
	(void)close(in);
	if (out >= 0 && close(out) != 0 && error == 0)
		error = errno;
	return error == 0 ? status_ok() : status_from_errno(error, "cannot write", to);
}

static struct status copy_folder(const char *from, const char *to);

static struct status copy_entry(const char *from, const char *to, const char *name)
{
	char source[PATH_BYTES], target[PATH_BYTES];
	struct stat about;
	if (snprintf(source, sizeof(source), "%s/%s", from, name) >= PATH_BYTES ||
	    snprintf(target, sizeof(target), "%s/%s", to, name) >= PATH_BYTES)
		return status_error(STATUS_INVALID, "the path of the run is too long");
	if (stat(source, &about) != 0)
		return status_from_errno(errno, "cannot read", source);
	return S_ISDIR(about.st_mode) ? copy_folder(source, target) : copy_file(source, target);
}

/* As deep as the folders of a database go. */
static struct status copy_folder(const char *from, const char *to)
{
	int error = folder_make(to);
	if (error != 0)
		return status_from_errno(error, "cannot create", to);
	DIR *directory = opendir(from);
	if (directory == NULL)
		return status_from_errno(errno, "cannot read", from);
	struct status status = status_ok();
	const struct dirent *entry;
	while (status_is_ok(status) && (entry = readdir(directory)) != NULL) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			status = copy_entry(from, to, entry->d_name);
	}
	(void)closedir(directory);
	return status;
}

/* Writes what the copy left in the page cache, so that the device has no more to do with it. */
static struct status make_copy(const struct bench_job *job, char path[static PATH_BYTES])
{
	char loaded[PATH_BYTES];
	name_of(job, "loaded", loaded);
	name_of(job, "copy", path);
	int error = folder_remove(path);
	if (error != 0)
		return status_from_errno(error, "cannot remove", path);
	TRY(copy_folder(loaded, path));
	int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool synced = folder >= 0 && syncfs(folder) == 0;
	struct status status = synced ? status_ok() : status_from_errno(errno, "cannot sync", path);
	if (folder >= 0)
		(void)close(folder);
	return status;
}

/* --- a side's --- */

struct status bench_backlog_open(struct bench_backlog *backlog, struct bench_job *job, bool may_merge,
				 const char *cache_size, const char *record_share)
{
	char path[PATH_BYTES], limit[TEXT_BYTES] = LEVEL0_TABLES_MAX;
	uint64_t tables;
	backlog->records = records_of(job);
	TRY(read_tables(job, &tables));
	TRY(make_copy(job, path));
	if (may_merge)
		(void)snprintf(limit, sizeof(limit), "%" PRIu64, tables + 1);
	return open_database(path, limit, cache_size, record_share, &backlog->db);
}

/* A record that every shard gets is one that nobody reads. */
static cascade_status put_into_each_shard(cascade *db)
{
	uint32_t shards = cascade_shard_count(db), done = 0;
	cascade_status status = CASCADE_OK;
	for (uint64_t i = 0; done < shards && status == CASCADE_OK; i++) {
		cascade_slice key = cascade_bytes(&i, sizeof(i));
		if (cascade_shard_of(db, key) != done)
			continue;
		status = cascade_put(db, key, key, NULL);
		done++;
	}
	return status;
}

struct status bench_backlog_add(struct bench_backlog *backlog)
{
	cascade_status status = CASCADE_OK;
	for (int i = 0; i < SIGNS && status == CASCADE_OK; i++) {
		status = put_into_each_shard(backlog->db);
		if (status == CASCADE_OK)
			status = cascade_flush(backlog->db);
	}
	return bench_status_of(status);
}

uint64_t bench_backlog_merged_bytes(const struct bench_backlog *backlog)
{
	return stat_of(backlog->db, "merge.bytes_in");
}

struct status bench_backlog_close(struct bench_backlog *backlog)
{
	return bench_status_of(cascade_close(backlog->db));
}
