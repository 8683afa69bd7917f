/*
 * damage_test.c: databases whose files were damaged, cut off, exchanged or taken away: an error that names
 * file and offset, or the right answer; never a wrong value, never a crash. Takes about 10 s.
 */
#include <dirent.h>

#include "base/hash.h"
#include "database/database_test.h"

enum { ROWS = 500, TAIL_ROWS = 60, VALUE_BYTES = 700 };

static char place[PATH_BYTES];
static char reference[PATH_BYTES]; /* a database as a process left it that ended without closing */
static char victim[PATH_BYTES];

static const struct setup setup = { .shards = 1, .durability = "power" };

static size_t make_value(unsigned row, char value[VALUE_BYTES])
{
	size_t size = (size_t)snprintf(value, VALUE_BYTES, "value of row %u ", row);
	for (; size < VALUE_BYTES - row % 300; size++)
		value[size] = (char)random_at(row, size / 4);
	return size;
}

static void put_row(cascade *db, unsigned row)
{
	char key[32];
	char value[VALUE_BYTES];
	(void)snprintf(key, sizeof(key), "row%06u", row);
	size_t size = make_value(row, value);
	CHECK_OK(cascade_put(db, cascade_string(key), cascade_bytes(value, size), NULL));
}

/* Rows 0 .. ROWS-1 lie in tables of several levels, the last TAIL_ROWS in the log alone. */
static int make_reference(void **state)
{
	(void)state;
	char path[PATH_BYTES];
	cascade *db;
	make_place(place);
	(void)snprintf(path, sizeof(path), "%.400s/live", place);
	(void)snprintf(reference, sizeof(reference), "%.400s/reference", place);
	(void)snprintf(victim, sizeof(victim), "%.400s/victim", place);
	CHECK_OK(open_small(path, &setup, &db));
	for (unsigned row = 0; row < ROWS - TAIL_ROWS; row++)
		put_row(db, row * 7 % (ROWS - TAIL_ROWS));
	CHECK_OK(cascade_flush(db));
	CHECK_OK(cascade_wait_idle(db));
	for (unsigned row = ROWS - TAIL_ROWS; row < ROWS; row++)
		put_row(db, row);
	CHECK_OK(cascade_wait_idle(db));
	copy_tree(path, reference);
	CHECK_OK(cascade_close(db));
	remove_place(path);
	return 0;
}

static int remove_reference(void **state)
{
	(void)state;
	remove_place(place);
	return 0;
}

/* --- what an opened victim may say --- */

static bool message_names(const char *file)
{
	const char *message = cascade_error_message();
	return strstr(message, file) != NULL && strstr(message, "offset") != NULL;
}

static void check_error(cascade_status status, const char *file)
{
	if ((status == CASCADE_CORRUPT || status == CASCADE_FORMAT) && message_names(file))
		return;
	(void)fprintf(stderr, "damage to %s: %s: %s (seed %llu)\n", file, cascade_strerror(status),
		      cascade_error_message(), (unsigned long long)seed);
	abort();
}

/* The first row that is not there; CHECKs that all others are what they were. Damage that is found on the
 * way is told, and counted. */
static unsigned check_rows(cascade *db, const char *file, unsigned *errors)
{
	unsigned missing = ROWS;
	for (unsigned row = 0; row < ROWS; row++) {
		char key[32];
		char expected[VALUE_BYTES];
		cascade_value value;
		(void)snprintf(key, sizeof(key), "row%06u", row);
		cascade_status status = cascade_get(db, cascade_string(key), NULL, &value);
		if (status == CASCADE_NOT_FOUND) {
			missing = missing < row ? missing : row;
			continue;
		}
		CHECK(missing == ROWS); /* what is lost at the end of the log is lost from there on */
		if (status != CASCADE_OK) {
			check_error(status, file);
			(*errors)++;
			continue;
		}
		size_t size = make_value(row, expected);
		CHECK(value.size == size && memcmp(value.data, expected, size) == 0);
		cascade_value_release(&value);
	}
	return missing;
}

static void check_scan(cascade *db, const char *file, unsigned rows, unsigned *errors)
{
	cascade_iterator *iterator;
	CHECK_OK(cascade_iterator_create(db, NULL, &iterator));
	cascade_status status = cascade_iterator_seek_first(iterator);
	unsigned row = 0;
	for (; status == CASCADE_OK && cascade_iterator_valid(iterator); row++) {
		char key[32];
		char expected[VALUE_BYTES];
		(void)snprintf(key, sizeof(key), "row%06u", row);
		cascade_slice found = cascade_iterator_key(iterator);
		cascade_slice value = cascade_iterator_value(iterator);
		CHECK(found.size == strlen(key) && memcmp(found.data, key, found.size) == 0);
		size_t size = make_value(row, expected);
		CHECK(value.size == size && memcmp(value.data, expected, size) == 0);
		status = cascade_iterator_next(iterator);
	}
	if (status != CASCADE_OK) {
		check_error(status, file);
		CHECK(!cascade_iterator_valid(iterator));
		CHECK(cascade_iterator_status(iterator) == status);
		(*errors)++;
	} else {
		CHECK(row == rows);
	}
	cascade_iterator_destroy(iterator);
}

struct outcome {
	unsigned refused;  /* not opened */
	unsigned found;	   /* opened, and the damage was met later */
	unsigned harmless; /* all rows are there, and nothing complains */
	unsigned trimmed;  /* rows of the end of the log are gone */
};

/* Opens the damaged victim and reads everything. `file`: part of the name that messages must tell. */
static void examine(const char *file, struct outcome *outcome)
{
	cascade *db;
	unsigned errors = 0;
	cascade_status status = open_small(victim, &setup, &db);
	if (status != CASCADE_OK) {
		check_error(status, file);
		outcome->refused++;
		return;
	}
	unsigned rows = check_rows(db, file, &errors);
	/* Only the very last group can have been torn: that all before it were synced is on record. */
	CHECK(rows >= ROWS - 1);
	check_scan(db, file, rows, &errors);
	cascade_status verified = cascade_verify(db);
	if (verified != CASCADE_OK)
		check_error(verified, file);
	CHECK(errors == 0 || verified != CASCADE_OK);
	(void)cascade_close(db);
	if (verified != CASCADE_OK)
		outcome->found++;
	else if (rows < ROWS)
		outcome->trimmed++;
	else
		outcome->harmless++;
}

/* --- files --- */

enum { FILES_MAX = 64 };

static size_t list_files(const char *folder, const char *suffix, char names[FILES_MAX][PATH_BYTES])
{
	char path[PATH_BYTES];
	(void)snprintf(path, sizeof(path), "%.400s/%s", reference, folder);
	DIR *directory = opendir(path);
	CHECK(directory != NULL);
	size_t count = 0;
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
		size_t length = strlen(entry->d_name);
		if (length < strlen(suffix) || strcmp(entry->d_name + length - strlen(suffix), suffix) != 0)
			continue;
		CHECK(count < FILES_MAX);
		(void)snprintf(names[count++], PATH_BYTES, "%s/%.200s", folder, entry->d_name);
	}
	CHECK(closedir(directory) == 0);
	return count;
}

static off_t size_of(const char *path)
{
	struct stat info;
	CHECK(stat(path, &info) == 0);
	return info.st_size;
}

static void victim_path(const char *name, char path[PATH_BYTES])
{
	(void)snprintf(path, PATH_BYTES, "%.250s/%.250s", victim, name);
}

static void new_victim(void)
{
	if (access(victim, F_OK) == 0)
		remove_place(victim);
	copy_tree(reference, victim);
}

static void flip_bit(const char *path, off_t at, unsigned bit)
{
	uint8_t byte;
	int file = open(path, O_RDWR);
	CHECK(file >= 0);
	CHECK(pread(file, &byte, 1, at) == 1);
	byte ^= (uint8_t)(1u << bit);
	CHECK(pwrite(file, &byte, 1, at) == 1);
	CHECK(close(file) == 0);
}

static void zero_page(const char *path, off_t at)
{
	static const char zeros[4096];
	int file = open(path, O_RDWR);
	CHECK(file >= 0);
	CHECK(pwrite(file, zeros, sizeof(zeros), at) == sizeof(zeros));
	CHECK(close(file) == 0);
}

/* --- bits, pages, ends --- */

/* One random damage after the other to files of one kind. `extent`: only the first so many bytes of a file
 * are hit, 0: all. */
static struct outcome damage(const char *folder, const char *suffix, const char *named, unsigned times,
			     off_t extent)
{
	static char names[FILES_MAX][PATH_BYTES];
	struct outcome outcome = { 0 };
	struct random random = random_stream(seed);
	size_t count = list_files(folder, suffix, names);
	CHECK(count > 0);
	for (unsigned i = 0; i < times; i++) {
		char path[PATH_BYTES];
		new_victim();
		victim_path(names[random_below(&random, count)], path);
		off_t size = size_of(path);
		if (extent > 0 && size > extent)
			size = extent;
		switch (random_below(&random, 8)) {
		case 0:
			CHECK(truncate(path, (off_t)random_below(&random, (uint64_t)size)) == 0);
			break;
		case 1:
			CHECK(truncate(path, (off_t)random_below(&random, (uint64_t)size) / 4096 * 4096) ==
			      0);
			break;
		case 2:
			zero_page(path, (off_t)random_below(&random, (uint64_t)size) / 4096 * 4096);
			break;
		default:
			flip_bit(path, (off_t)random_below(&random, (uint64_t)size),
				 (unsigned)random_below(&random, 8));
		}
		examine(named, &outcome);
	}
	print_message("%s: %u refused, %u found, %u trimmed, %u harmless\n", named, outcome.refused,
		      outcome.found, outcome.trimmed, outcome.harmless);
	return outcome;
}

static void test_reference_is_sound(void **state)
{
	(void)state;
	struct outcome outcome = { 0 };
	new_victim();
	examine("nothing", &outcome);
	assert_int_equal(outcome.harmless, 1);
	cascade *db;
	new_victim();
	CHECK_OK(open_small(victim, &setup, &db));
	CHECK(stat_of(db, "open.replayed_commits") == TAIL_ROWS);
	CHECK_OK(cascade_close(db));
}

static void test_damaged_root(void **state)
{
	(void)state;
	seed = test_seed(401);
	struct outcome outcome = damage(".", "ROOT", "ROOT", 60, 0);
	/* Every byte of it is under the checksum. A page of zeros where there is one page is all of it. */
	assert_int_equal(outcome.refused, 60);
}

static void test_damaged_manifest(void **state)
{
	(void)state;
	seed = test_seed(402);
	struct outcome outcome = damage("shard-0000", "manifest", "manifest", 40, 0);
	assert_true(outcome.refused > 0);
	assert_int_equal(outcome.trimmed, 0);
}

static void test_damaged_tables(void **state)
{
	(void)state;
	seed = test_seed(403);
	struct outcome outcome = damage("shard-0000", ".table", ".table", 60, 0);
	assert_true(outcome.found > 0);
	assert_true(outcome.refused > 0);
	assert_int_equal(outcome.trimmed, 0);
}

static void test_damaged_log(void **state)
{
	(void)state;
	seed = test_seed(404);
	/* The part that has something in it, and anywhere. */
	struct outcome outcome = damage("shard-0000", ".log", "wal-", 40, 400 << 10);
	assert_true(outcome.refused > 0);
	seed++;
	outcome = damage("shard-0000", ".log", "wal-", 12, 0);
	assert_true(outcome.harmless > 0);
}

/* --- another format --- */

struct fingerprint {
	uint64_t hash;
	unsigned files;
};

static struct fingerprint print;

static int print_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
	(void)at;
	print.hash = checksum64(path, strlen(path), print.hash);
	print.hash = checksum64(&info->st_size, sizeof(info->st_size), print.hash);
	print.files++;
	if (kind != FTW_F)
		return 0;
	print.hash = checksum64(&info->st_mtim, sizeof(info->st_mtim), print.hash);
	char buffer[4096];
	int file = open(path, O_RDONLY);
	CHECK(file >= 0);
	for (ssize_t got; (got = read(file, buffer, sizeof(buffer))) > 0;)
		print.hash = checksum64(buffer, (size_t)got, print.hash);
	CHECK(close(file) == 0);
	return 0;
}

/* Names, sizes, times and bytes of everything. (nftw's order is that of the directory, which is stable.) */
static struct fingerprint fingerprint_of(const char *path)
{
	print = (struct fingerprint) { 0 };
	CHECK(nftw(path, print_one, 16, FTW_PHYS) == 0);
	return print;
}

static void test_unknown_version_is_left_untouched(void **state)
{
	(void)state;
	char path[PATH_BYTES];
	for (unsigned bit = 0; bit < 32; bit += 5) {
		cascade *db;
		new_victim();
		victim_path("ROOT", path);
		flip_bit(path, 8 + bit / 8, bit % 8);
		struct fingerprint before = fingerprint_of(victim);
		CHECK_STATUS(open_small(victim, &setup, &db), CASCADE_FORMAT);
		CHECK(strstr(cascade_error_message(), "ROOT") != NULL);
		CHECK(strstr(cascade_error_message(), "version") != NULL);
		struct fingerprint after = fingerprint_of(victim);
		CHECK(before.hash == after.hash && before.files == after.files);
	}
}

/* --- files that are missing, or not the right ones --- */

static void test_missing_root(void **state)
{
	(void)state;
	char path[PATH_BYTES];
	cascade *db;
	new_victim();
	victim_path("ROOT", path);
	CHECK(unlink(path) == 0);
	struct fingerprint before = fingerprint_of(victim);
	CHECK_STATUS(open_small(victim, &setup, &db), CASCADE_CORRUPT);
	CHECK(strstr(cascade_error_message(), "ROOT") != NULL);
	CHECK(fingerprint_of(victim).hash == before.hash);
}

static void test_missing_files(void **state)
{
	(void)state;
	static const char *const suffixes[] = { "manifest", ".table", ".log" };
	static char names[FILES_MAX][PATH_BYTES];
	char path[PATH_BYTES];
	cascade *db;
	for (unsigned i = 0; i < 3; i++) {
		size_t count = list_files("shard-0000", suffixes[i], names);
		for (size_t file = 0; file < count; file++) {
			new_victim();
			victim_path(names[file], path);
			CHECK(unlink(path) == 0);
			cascade_status status = open_small(victim, &setup, &db);
			/* A segment that is all free need not be missed. */
			if (status == CASCADE_OK && i == 2) {
				unsigned errors = 0;
				CHECK(check_rows(db, "wal-", &errors) == ROWS);
				CHECK_OK(cascade_close(db));
				continue;
			}
			CHECK_STATUS(status, CASCADE_CORRUPT);
			CHECK(strstr(cascade_error_message(), suffixes[i] + (i == 2)) != NULL);
		}
	}
	/* All of a shard. */
	new_victim();
	victim_path("shard-0000", path);
	remove_place(path);
	cascade_status status = open_small(victim, &setup, &db);
	CHECK_STATUS(status, CASCADE_CORRUPT);
}

/* Whole files that are sound but belong elsewhere. */
static void test_exchanged_files(void **state)
{
	(void)state;
	static char names[FILES_MAX][PATH_BYTES];
	char from[PATH_BYTES], to[PATH_BYTES], other[PATH_BYTES];
	struct outcome outcome = { 0 };
	size_t count = list_files("shard-0000", ".table", names);
	CHECK(count >= 2);
	for (size_t i = 0; i + 1 < count && i < 3; i++) {
		new_victim();
		(void)snprintf(from, sizeof(from), "%.250s/%.200s", reference, names[i]);
		victim_path(names[i + 1], to);
		copy_file(from, to);
		examine(".table", &outcome);
	}
	assert_int_equal(outcome.harmless, 0);
	/* From another database with the same history. */
	cascade *db;
	(void)snprintf(other, sizeof(other), "%.400s/other", place);
	CHECK_OK(open_small(other, &setup, &db));
	for (unsigned row = 0; row < 100; row++)
		put_row(db, row);
	CHECK_OK(cascade_close(db));
	static const char *const files[][2] = { { "shard-0000/manifest", "manifest" },
						{ "shard-0000/wal-000000.log", "wal-" } };
	for (unsigned i = 0; i < 2; i++) {
		new_victim();
		(void)snprintf(from, sizeof(from), "%.400s/%s", other, files[i][0]);
		victim_path(files[i][0], to);
		copy_file(from, to);
		CHECK_STATUS(open_small(victim, &setup, &db), CASCADE_CORRUPT);
		CHECK(strstr(cascade_error_message(), files[i][1]) != NULL);
	}
}

/* ROOT.new without ROOT: a creation that never ended. It begins anew, over whatever it left. */
static void test_unfinished_creation(void **state)
{
	(void)state;
	static const struct setup without = { .shards = 1, .extra = { { "create", "false" } } };
	char root[PATH_BYTES], root_new[PATH_BYTES];
	cascade *db;
	for (unsigned variant = 0; variant < 3; variant++) {
		new_victim();
		victim_path("ROOT", root);
		victim_path("ROOT.new", root_new);
		CHECK(rename(root, root_new) == 0);
		if (variant == 1)
			CHECK(truncate(root_new, 100) == 0);
		if (variant == 2)
			zero_page(root_new, 0);
		CHECK_STATUS(open_small(victim, &without, &db), CASCADE_NOT_FOUND);
		CHECK_OK(open_small(victim, &setup, &db));
		CHECK(access(root, F_OK) == 0);
		CHECK(access(root_new, F_OK) != 0);
		check_absent(db, "row000000");
		check_absent(db, "row000499");
		put(db, "new", "life");
		CHECK_OK(cascade_verify(db));
		CHECK_OK(cascade_close(db));
		CHECK_OK(open_small(victim, &setup, &db));
		check_value(db, "new", "life");
		check_absent(db, "row000000");
		CHECK_OK(cascade_close(db));
	}
}

/* Tables that no manifest names are what a crash leaves behind: they go, and nothing else does. */
static void test_orphans_are_removed(void **state)
{
	(void)state;
	static char names[FILES_MAX][PATH_BYTES];
	char from[PATH_BYTES], orphan[PATH_BYTES], stranger[PATH_BYTES];
	cascade *db;
	unsigned errors = 0;
	CHECK(list_files("shard-0000", ".table", names) > 0);
	new_victim();
	victim_path(names[0], from);
	victim_path("shard-0000/0000009999.table", orphan);
	copy_file(from, orphan);
	victim_path("shard-0000/notes.txt", stranger);
	copy_file(from, stranger);
	CHECK_OK(open_small(victim, &setup, &db));
	CHECK(access(orphan, F_OK) != 0);
	CHECK(access(stranger, F_OK) == 0);
	CHECK(check_rows(db, ".table", &errors) == ROWS);
	CHECK_OK(cascade_close(db));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reference_is_sound),
		cmocka_unit_test(test_damaged_root),
		cmocka_unit_test(test_damaged_manifest),
		cmocka_unit_test(test_damaged_tables),
		cmocka_unit_test(test_damaged_log),
		cmocka_unit_test(test_unknown_version_is_left_untouched),
		cmocka_unit_test(test_missing_root),
		cmocka_unit_test(test_missing_files),
		cmocka_unit_test(test_exchanged_files),
		cmocka_unit_test(test_unfinished_creation),
		cmocka_unit_test(test_orphans_are_removed),
	};
	return cmocka_run_group_tests(tests, make_reference, remove_reference);
}
