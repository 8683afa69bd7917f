#include "harness/verify.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "harness/generator.h"
#include "harness/value.h"

enum {
	VERSION_BITS = 14,
	VERSION_MASK = (1 << VERSION_BITS) - 1,
	FLOOR_SHIFT = VERSION_BITS,
	FLAG_PRESENT = 1 << 28,
	FLAG_SHARED = 1 << 29,
	FLAG_FROZEN = 1 << 30,
	LAG_MAX = 2048,
	CROSSING = 4096,

	CHUNK_KEYS = 1 << 20,
	CHUNK_BYTES = CHUNK_KEYS * 4,
	DIRECTORY_ENTRIES = 1 << 16,
	BUCKETS = 2048,
	CANDIDATES_MAX = 64, /* versions that a value too short to decode is compared with */

	/* Keys that a scan looks up: some may be absent. Longer scans are checked this far. */
	EXPECTED_EXTRA = 64,
	SCAN_ROWS_MAX = 1 << 16,
};

/* The key is in the index, or was written before there was one. */
static const uint32_t flag_written = 1u << 31;

_Static_assert(LAG_MAX + 3 * CROSSING < 1 << VERSION_BITS, "versions of one read must not wrap");

/* A slot: key number in the high 48 bits, then the state, then the version. 0: empty. */
enum { SLOT_ISSUING = 1 << VERSION_BITS, SLOT_IN_FLIGHT = 2 << VERSION_BITS, SLOT_KEY_SHIFT = 16 };

typedef _Atomic uint32_t key_word;

/* On a cache line of its own: each is written by one client all the time. */
struct client_state {
	_Alignas(64) _Atomic uint64_t slot;
	_Atomic uint64_t advances; /* by how many versions this client has advanced floors */
	_Atomic uint64_t checked, undecided, mismatches;
	struct verify_expected *expected; /* expected_capacity of the scan under way */
};

struct bucket_events {
	_Atomic uint32_t crossings;
	_Atomic uint32_t deletes;
};

struct verifier {
	struct value_maker *maker;
	uint64_t value_size;
	enum insert_order insert_order;
	struct client_state *clients;
	uint32_t client_count;
	struct verify_index *index; /* NULL: nobody scans */
	struct verify_expected *expected;
	size_t expected_capacity; /* of each client */
	_Atomic(key_word *) *directory;
	_Atomic uint32_t noting; /* 0: no mismatch yet, 1: the first is being noted, 2: it is there */
	char first_mismatch[256];
	/* Apart from each other: the one changes with each write, the other hardly ever. */
	_Alignas(64) _Atomic uint32_t in_flight[BUCKETS];
	_Alignas(64) struct bucket_events events[BUCKETS];
};

static uint32_t bucket_of(uint64_t key_number)
{
	return (uint32_t)(hash_mix(key_number) >> 53);
}

_Static_assert(1 << (64 - 53) == BUCKETS, "bucket_of yields a bucket");

static uint32_t issued_of(uint32_t word)
{
	return word & VERSION_MASK;
}

static uint32_t floor_of(uint32_t word)
{
	return word >> FLOOR_SHIFT & VERSION_MASK;
}

/* How far `version` lies after `base`, wrapping. */
static uint32_t ahead_of(uint32_t version, uint32_t base)
{
	return (version - base) & VERSION_MASK;
}

static void count_one(_Atomic uint64_t *counter)
{
	/* Only one client writes it. */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

/* --- life --- */

struct status verifier_create(const struct workload *workload, struct verifier **verifier)
{
	struct verifier *made = memory_allocate_aligned(64, sizeof(*made));
	if (made == NULL)
		return status_make(STATUS_NO_MEMORY);
	memset(made, 0, sizeof(*made));
	made->value_size = workload->value_size;
	made->insert_order = workload->insert_order;
	made->directory = memory_map(DIRECTORY_ENTRIES * sizeof(made->directory[0]));
	struct status status = made->directory == NULL ? status_make(STATUS_NO_MEMORY) : status_ok();
	if (status_is_ok(status))
		status = value_maker_create(workload->seed, workload->compressibility, &made->maker);
	if (!status_is_ok(status)) {
		verifier_destroy(made);
		return status;
	}
	*verifier = made;
	return status_ok();
}

void verifier_destroy(struct verifier *verifier)
{
	if (verifier == NULL)
		return;
	for (size_t i = 0; verifier->directory != NULL && i < DIRECTORY_ENTRIES; i++) {
		key_word *chunk = atomic_load_explicit(&verifier->directory[i], memory_order_relaxed);
		if (chunk != NULL)
			memory_unmap((void *)chunk, CHUNK_BYTES);
	}
	if (verifier->directory != NULL)
		memory_unmap((void *)verifier->directory, DIRECTORY_ENTRIES * sizeof(verifier->directory[0]));
	value_maker_free(verifier->maker);
	verify_index_destroy(verifier->index);
	memory_free(verifier->expected);
	memory_free(verifier->clients);
	memory_free(verifier);
}

/* Calls `each`, unless NULL, with the number of each key that was ever written; returns how many they are. */
static uint64_t each_written(const struct verifier *verifier,
			     void (*each)(struct verify_index *index, uint64_t key_number))
{
	uint64_t count = 0;
	for (uint64_t i = 0; i < DIRECTORY_ENTRIES; i++) {
		key_word *chunk = atomic_load_explicit(&verifier->directory[i], memory_order_relaxed);
		for (uint64_t k = 0; chunk != NULL && k < CHUNK_KEYS; k++) {
			if ((atomic_load_explicit(&chunk[k], memory_order_relaxed) & flag_written) == 0)
				continue;
			count++;
			if (each != NULL)
				each(verifier->index, i * CHUNK_KEYS + k);
		}
	}
	return count;
}

static struct status prepare_scans(struct verifier *verifier, uint64_t scan_max)
{
	verify_index_destroy(verifier->index);
	memory_free(verifier->expected);
	verifier->index = NULL;
	verifier->expected = NULL;
	if (scan_max == 0)
		return status_ok();
	TRY(verify_index_create(verifier->insert_order, each_written(verifier, NULL), &verifier->index));
	(void)each_written(verifier, verify_index_put);
	TRY(verify_index_sort(verifier->index));
	size_t rows = scan_max < SCAN_ROWS_MAX ? scan_max : SCAN_ROWS_MAX;
	verifier->expected_capacity = rows + rows / 2 + EXPECTED_EXTRA;
	size_t all = verifier->expected_capacity * verifier->client_count;
	verifier->expected = memory_allocate(all * sizeof(verifier->expected[0]));
	if (verifier->expected == NULL)
		return status_make(STATUS_NO_MEMORY);
	for (uint32_t i = 0; i < verifier->client_count; i++)
		verifier->clients[i].expected = verifier->expected + i * verifier->expected_capacity;
	return status_ok();
}

struct status verifier_begin_phase(struct verifier *verifier, uint32_t count, uint64_t scan_max)
{
	struct client_state *clients = memory_allocate_aligned(64, count * sizeof(*clients));
	if (clients == NULL)
		return status_make(STATUS_NO_MEMORY);
	memset((void *)clients, 0, count * sizeof(*clients));
	memory_free(verifier->clients);
	verifier->clients = clients;
	verifier->client_count = count;
	atomic_store(&verifier->noting, 0);
	return prepare_scans(verifier, scan_max);
}

void verifier_totals(const struct verifier *verifier, struct verify_totals *totals)
{
	*totals = (struct verify_totals) { 0 };
	for (uint32_t i = 0; i < verifier->client_count; i++) {
		struct client_state *client = &verifier->clients[i];
		totals->checked += atomic_load_explicit(&client->checked, memory_order_relaxed);
		totals->undecided += atomic_load_explicit(&client->undecided, memory_order_relaxed);
		totals->mismatches += atomic_load_explicit(&client->mismatches, memory_order_relaxed);
	}
	if (atomic_load_explicit(&verifier->noting, memory_order_acquire) == 2)
		memcpy(totals->first_mismatch, verifier->first_mismatch, sizeof(totals->first_mismatch));
}

/* --- the words --- */

static key_word *word_if_there(const struct verifier *verifier, uint64_t key_number)
{
	uint64_t index = key_number / CHUNK_KEYS;
	if (index >= DIRECTORY_ENTRIES)
		return NULL;
	key_word *chunk = atomic_load_explicit(&verifier->directory[index], memory_order_acquire);
	return chunk == NULL ? NULL : &chunk[key_number % CHUNK_KEYS];
}

/* NULL: out of range or memory, and the key is not tracked. */
static key_word *word_made(struct verifier *verifier, uint64_t key_number)
{
	key_word *word = word_if_there(verifier, key_number);
	if (word != NULL || key_number / CHUNK_KEYS >= DIRECTORY_ENTRIES)
		return word;
	key_word *chunk = memory_map(CHUNK_BYTES);
	if (chunk == NULL)
		return NULL;
	key_word *expected = NULL;
	if (!atomic_compare_exchange_strong(&verifier->directory[key_number / CHUNK_KEYS], &expected,
					    chunk)) {
		memory_unmap((void *)chunk, CHUNK_BYTES);
		chunk = expected;
	}
	return &chunk[key_number % CHUNK_KEYS];
}

void verify_prefetch(const struct verifier *verifier, uint64_t key_number)
{
	key_word *word = word_if_there(verifier, key_number);
	if (word != NULL)
		__builtin_prefetch((void *)word);
}

/* --- writes --- */

/* Step 2. */
static uint32_t issue_version(struct verifier *verifier, key_word *word, uint64_t key_number, bool removes)
{
	uint32_t bucket = bucket_of(key_number);
	uint32_t old = atomic_load_explicit(word, memory_order_relaxed);
	uint32_t next;
	do {
		uint32_t issued = issued_of(old);
		if (ahead_of(issued, floor_of(old)) >= LAG_MAX) {
			next = old | FLAG_SHARED;
		} else {
			issued = (issued + 1) & VERSION_MASK;
			if (issued % CROSSING == 0)
				atomic_fetch_add_explicit(&verifier->events[bucket].crossings, 1,
							  memory_order_release);
			next = (old & ~(uint32_t)(VERSION_MASK | FLAG_SHARED)) | issued;
		}
		next |= flag_written;
		if (removes)
			next &= ~(uint32_t)FLAG_PRESENT;
	} while (!atomic_compare_exchange_weak_explicit(word, &old, next, memory_order_acq_rel,
							memory_order_relaxed));
	if (removes)
		atomic_fetch_add_explicit(&verifier->events[bucket].deletes, 1, memory_order_release);
	/* Without memory for it, a scan does not miss the key. */
	if ((old & flag_written) == 0 && verifier->index != NULL) {
		struct status status = verify_index_add(verifier->index, key_number);
		(void)status;
	}
	return issued_of(next);
}

/* Step 4, when others may be writing to the bucket. False: unknown. */
static bool find_lowest(const struct verifier *verifier, uint64_t key_number, uint32_t version,
			uint32_t *lowest)
{
	uint32_t furthest = 0;
	for (uint32_t i = 0; i < verifier->client_count; i++) {
		uint64_t slot = atomic_load_explicit(&verifier->clients[i].slot, memory_order_acquire);
		if (slot == 0 || slot >> SLOT_KEY_SHIFT != key_number)
			continue;
		if ((slot & SLOT_ISSUING) != 0)
			return false;
		uint32_t behind = ahead_of(version, (uint32_t)slot & VERSION_MASK);
		if (behind < 1 << (VERSION_BITS - 1) && behind > furthest)
			furthest = behind;
	}
	*lowest = (version - furthest) & VERSION_MASK;
	return true;
}

uint32_t verify_write_begin(struct verifier *verifier, uint32_t client, uint64_t key_number, bool removes,
			    struct verify_write *write)
{
	key_word *word = key_number <= VALUE_KEY_MAX ? word_made(verifier, key_number) : NULL;
	*write = (struct verify_write) {
		.word = (void *)word,
		.key_number = key_number,
		.removes = removes,
	};
	if (word == NULL)
		return 0;
	DASSERT(client < verifier->client_count);
	uint32_t bucket = bucket_of(key_number);
	_Atomic uint64_t *slot = &verifier->clients[client].slot;
	uint64_t key = key_number << SLOT_KEY_SHIFT;
	atomic_store_explicit(slot, key | SLOT_ISSUING, memory_order_release);
	atomic_fetch_add_explicit(&verifier->in_flight[bucket], 1, memory_order_acq_rel);
	uint32_t version = issue_version(verifier, word, key_number, removes);
	atomic_store_explicit(slot, key | SLOT_IN_FLIGHT | version, memory_order_release);
	write->version = version;
	write->lowest = version;
	write->lowest_known = true;
	if (atomic_load_explicit(&verifier->in_flight[bucket], memory_order_acquire) > 1)
		write->lowest_known = find_lowest(verifier, key_number, version, &write->lowest);
	return version;
}

/* The word after an acknowledged write; *advance: by how much the floor goes up. */
static uint32_t word_acknowledged(const struct verify_write *write, uint32_t old, uint32_t *advance)
{
	*advance = 0;
	if ((old & FLAG_FROZEN) != 0)
		return old;
	uint32_t lag = ahead_of(issued_of(old), floor_of(old));
	uint32_t ahead = ahead_of(write->lowest, floor_of(old));
	if (write->lowest_known && ahead <= lag)
		*advance = ahead;
	uint32_t floor = (floor_of(old) + *advance) & VERSION_MASK;
	uint32_t next = (old & ~((uint32_t)VERSION_MASK << FLOOR_SHIFT)) | floor << FLOOR_SHIFT;
	if (floor == issued_of(old) && floor == write->version && (old & FLAG_SHARED) == 0 && !write->removes)
		next |= FLAG_PRESENT;
	return next;
}

static void count_advance(struct client_state *state, uint32_t advance)
{
	uint64_t before = atomic_load_explicit(&state->advances, memory_order_relaxed);
	atomic_store_explicit(&state->advances, before + advance, memory_order_release);
}

void verify_write_end(struct verifier *verifier, uint32_t client, const struct verify_write *write,
		      bool acknowledged)
{
	if (write->word == NULL)
		return;
	key_word *word = write->word;
	struct client_state *state = &verifier->clients[client];
	if (acknowledged) {
		uint32_t old = atomic_load_explicit(word, memory_order_relaxed);
		uint32_t next;
		do {
			uint32_t advance;
			next = word_acknowledged(write, old, &advance);
			/* Counted before the floor moves, so that a scan that sees the floor sees the count;
			 * a swap that has to be repeated makes the count too high, which is lenient. */
			if (advance > 0)
				count_advance(state, advance);
		} while (!atomic_compare_exchange_weak_explicit(word, &old, next, memory_order_acq_rel,
								memory_order_relaxed));
	} else {
		atomic_fetch_or_explicit(word, FLAG_FROZEN, memory_order_acq_rel);
	}
	atomic_store_explicit(&state->slot, 0, memory_order_release);
	atomic_fetch_sub_explicit(&verifier->in_flight[bucket_of(write->key_number)], 1,
				  memory_order_release);
}

/* --- judging --- */

/* Counts a mismatch, notes the first one of all, and returns false. */
static bool mismatch(struct verifier *verifier, uint32_t client, uint64_t key_number, const char *format, ...)
	__attribute__((format(printf, 4, 5), cold));

static bool mismatch(struct verifier *verifier, uint32_t client, uint64_t key_number, const char *format, ...)
{
	count_one(&verifier->clients[client].checked);
	count_one(&verifier->clients[client].mismatches);
	uint32_t expected = 0;
	if (!atomic_compare_exchange_strong(&verifier->noting, &expected, 1))
		return false;
	uint8_t key[KEY_TEXT_MAX];
	size_t size = key_format(verifier->insert_order, key_number, key);
	char *text = verifier->first_mismatch;
	size_t room = sizeof(verifier->first_mismatch);
	int used = snprintf(text, room, "%.*s (key number %llu): ", (int)size, (const char *)key,
			    (unsigned long long)key_number);
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text + used, room - (size_t)used, format, arguments);
	va_end(arguments);
	atomic_store_explicit(&verifier->noting, 2, memory_order_release);
	return false;
}

static bool right(struct verifier *verifier, uint32_t client)
{
	count_one(&verifier->clients[client].checked);
	return true;
}

static bool undecided(struct verifier *verifier, uint32_t client)
{
	count_one(&verifier->clients[client].undecided);
	return true;
}

/* --- reads --- */

void verify_read_begin(struct verifier *verifier, uint64_t key_number, struct verify_read *read)
{
	key_word *word = word_if_there(verifier, key_number);
	*read = (struct verify_read) { .word = (void *)word, .key_number = key_number };
	if (word == NULL)
		return;
	struct bucket_events *events = &verifier->events[bucket_of(key_number)];
	read->deletes = atomic_load_explicit(&events->deletes, memory_order_acquire);
	read->crossings = atomic_load_explicit(&events->crossings, memory_order_acquire);
	read->begin = atomic_load_explicit(word, memory_order_acquire);
}

/* The word now, after the engine has returned; false if so much happened that versions may have wrapped. */
static bool read_end(struct verifier *verifier, const struct verify_read *read, uint32_t *end)
{
	key_word *word = read->word;
	*end = atomic_load_explicit(word, memory_order_acquire);
	struct bucket_events *events = &verifier->events[bucket_of(read->key_number)];
	uint32_t crossings = atomic_load_explicit(&events->crossings, memory_order_acquire);
	return crossings - read->crossings <= 1;
}

/* Values too short to say what they are: whether one of the possible versions looks like that. */
static bool short_value_possible(struct verifier *verifier, uint64_t key_number, struct slice value,
				 uint32_t first, uint32_t window)
{
	for (uint32_t i = 0; i <= window; i++) {
		if (value_matches(verifier->maker, key_number, (first + i) & VERSION_MASK, value))
			return true;
	}
	return false;
}

bool verify_read_value(struct verifier *verifier, uint32_t client, const struct verify_read *read,
		       struct slice value)
{
	uint64_t key_number = read->key_number;
	if (value.size != verifier->value_size)
		return mismatch(verifier, client, key_number, "a value of %zu bytes, expected %llu",
				value.size, (unsigned long long)verifier->value_size);
	if (read->word == NULL)
		return mismatch(verifier, client, key_number, "a value of a key that was never written");
	uint32_t end;
	bool judged = read_end(verifier, read, &end);
	if ((end & flag_written) == 0)
		return mismatch(verifier, client, key_number, "a value of a key that was never written");
	uint32_t first = floor_of(read->begin);
	uint32_t window = ahead_of(issued_of(end), first);
	uint64_t said_key;
	uint32_t said;
	if (!value_decode(value, &said_key, &said)) {
		if (!judged || window >= CANDIDATES_MAX)
			return undecided(verifier, client);
		if (!short_value_possible(verifier, key_number, value, first, window))
			return mismatch(verifier, client, key_number, "not a value of a possible version");
		return right(verifier, client);
	}
	if (said_key != key_number)
		return mismatch(verifier, client, key_number, "a value that is damaged or of key number %llu",
				(unsigned long long)said_key);
	if (!value_matches(verifier->maker, key_number, said, value))
		return mismatch(verifier, client, key_number, "version %u with damaged bytes", said);
	if (!judged)
		return undecided(verifier, client);
	if (said > VERSION_MASK || ahead_of(said, first) > window)
		return mismatch(verifier, client, key_number, "version %u, expected %u to %u", said, first,
				issued_of(end));
	return right(verifier, client);
}

bool verify_read_missing(struct verifier *verifier, uint32_t client, const struct verify_read *read)
{
	if (read->word == NULL || (read->begin & FLAG_PRESENT) == 0)
		return right(verifier, client);
	struct bucket_events *events = &verifier->events[bucket_of(read->key_number)];
	if (atomic_load_explicit(&events->deletes, memory_order_acquire) != read->deletes)
		return right(verifier, client);
	return mismatch(verifier, client, read->key_number, "not found, expected version %u or newer",
			floor_of(read->begin));
}

/* --- scans --- */

static uint64_t advances_of_all(const struct verifier *verifier)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < verifier->client_count; i++)
		sum += atomic_load_explicit(&verifier->clients[i].advances, memory_order_acquire);
	return sum;
}

void verify_scan_begin(struct verifier *verifier, uint32_t client, uint64_t start_number, uint64_t count,
		       struct verify_scan *scan)
{
	ASSERT(verifier->index != NULL);
	struct verify_place start = verify_place_of(verifier->insert_order, start_number);
	*scan = (struct verify_scan) {
		.start_number = start_number,
		.count = count,
		.advances = advances_of_all(verifier),
		.last = start,
		.expected = verifier->clients[client].expected,
	};
	struct verify_walk walk;
	uint64_t present = 0;
	verify_walk_begin(verifier->index, start, &walk);
	while (present < count && scan->expected_count < verifier->expected_capacity) {
		struct verify_expected *expected = &scan->expected[scan->expected_count];
		if (!verify_walk_next(&walk, &expected->place))
			break;
		verify_read_begin(verifier, verify_place_number(expected->place), &expected->read);
		present += (expected->read.begin & FLAG_PRESENT) != 0;
		scan->expected_count++;
	}
}

/* A key that the rows have stepped over, or ended before. */
static bool judge_absence(struct verifier *verifier, uint32_t client, const struct verify_scan *scan,
			  const struct verify_read *read)
{
	if ((read->begin & FLAG_PRESENT) == 0)
		return true;
	struct bucket_events *events = &verifier->events[bucket_of(read->key_number)];
	if (atomic_load_explicit(&events->deletes, memory_order_acquire) != read->deletes)
		return undecided(verifier, client);
	uint8_t start[KEY_TEXT_MAX];
	size_t size = key_format(verifier->insert_order, scan->start_number, start);
	return mismatch(verifier, client, read->key_number,
			"missing from a scan of %llu rows from %.*s, after row %llu: expected version %u or "
			"newer",
			(unsigned long long)scan->count, (int)size, (const char *)start,
			(unsigned long long)scan->rows, floor_of(read->begin));
}

/* The version of a row that was not expected; the scan's snapshot may be older than the floor. */
static bool judge_row_version(struct verifier *verifier, uint32_t client, const struct verify_scan *scan,
			      uint64_t key_number, uint32_t said)
{
	key_word *word = word_if_there(verifier, key_number);
	uint32_t now = word == NULL ? 0 : atomic_load_explicit(word, memory_order_acquire);
	if ((now & flag_written) == 0)
		return mismatch(verifier, client, key_number, "a row of a key that was never written");
	uint32_t floor = floor_of(now);
	if (said <= VERSION_MASK && ahead_of(said, floor) <= ahead_of(issued_of(now), floor))
		return right(verifier, client);
	uint64_t slack = advances_of_all(verifier) - scan->advances;
	if (slack >= 1 << (VERSION_BITS - 1))
		return undecided(verifier, client);
	if (said <= VERSION_MASK && ahead_of(floor, said) <= slack)
		return right(verifier, client);
	return mismatch(verifier, client, key_number,
			"a row of version %u, expected %u to %u (or %llu older)", said, floor, issued_of(now),
			(unsigned long long)slack);
}

/* A row whose key was not noted when the scan began. */
static bool judge_other_row(struct verifier *verifier, uint32_t client, const struct verify_scan *scan,
			    struct verify_place place, struct slice value)
{
	if (value.size != verifier->value_size)
		return mismatch(verifier, client, scan->start_number,
				"a row of %zu bytes in a scan from there", value.size);
	uint64_t said_key;
	uint32_t said;
	if (!value_decode(value, &said_key, &said))
		return undecided(verifier, client);
	if (verify_place_compare(verify_place_of(verifier->insert_order, said_key), place) != 0)
		return mismatch(verifier, client, scan->start_number,
				"row %llu of a scan from there has another key's value, or a damaged one",
				(unsigned long long)scan->rows - 1);
	if (!value_matches(verifier->maker, said_key, said, value))
		return mismatch(verifier, client, said_key, "a row of version %u with damaged bytes", said);
	return judge_row_version(verifier, client, scan, said_key, said);
}

/* Judges the expected keys before `place`, NULL: all; returns the one at it, if there is one. */
static struct verify_expected *step_to(struct verifier *verifier, uint32_t client, struct verify_scan *scan,
				       const struct verify_place *place, bool *passed)
{
	while (scan->expected_next < scan->expected_count) {
		struct verify_expected *expected = &scan->expected[scan->expected_next];
		int order = place == NULL ? -1 : verify_place_compare(expected->place, *place);
		if (order > 0)
			return NULL;
		scan->expected_next++;
		if (order == 0)
			return expected;
		*passed = judge_absence(verifier, client, scan, &expected->read) && *passed;
	}
	return NULL;
}

bool verify_scan_row(struct verifier *verifier, uint32_t client, struct verify_scan *scan, struct slice key,
		     struct slice value)
{
	uint64_t row = scan->rows++;
	struct verify_place place;
	if (!verify_place_of_text(key, &place))
		return mismatch(verifier, client, scan->start_number,
				"row %llu of a scan from there has a strange key", (unsigned long long)row);
	int order = verify_place_compare(place, scan->last);
	if (order < 0 || (scan->moved && order == 0))
		return mismatch(verifier, client, scan->start_number,
				"row %llu of a scan from there is out of order", (unsigned long long)row);
	scan->last = place;
	scan->moved = true;
	bool passed = true;
	struct verify_expected *expected = step_to(verifier, client, scan, &place, &passed);
	if (expected != NULL)
		return verify_read_value(verifier, client, &expected->read, value) && passed;
	return judge_other_row(verifier, client, scan, place, value) && passed;
}

bool verify_scan_end(struct verifier *verifier, uint32_t client, struct verify_scan *scan)
{
	if (scan->rows > scan->count)
		return mismatch(verifier, client, scan->start_number, "%llu rows, %llu were asked for",
				(unsigned long long)scan->rows, (unsigned long long)scan->count);
	bool passed = true;
	if (scan->rows < scan->count)
		(void)step_to(verifier, client, scan, NULL, &passed);
	return passed;
}
