/*
 * standalone.c: the main program of a fuzz target without libFuzzer.
 *
 *	fuzz_NAME			runs all seeds and mutations of them, the same ones each time
 *	fuzz_NAME FILE...		runs those inputs: how a find is reproduced in any build
 *	fuzz_NAME --seeds DIRECTORY	writes the seeds into files, for libFuzzer to begin with
 *	fuzz_NAME --bytes HEX		runs that input
 *
 * CASCADE_TEST_SEED=N makes other mutations. An input that fails is left in the working directory as
 * fuzz_NAME.failed.
 */
#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "base/random.h"
#include "fuzz/fuzz.h"

enum { SEEDS_MAX = 256, MUTATIONS = 20000, CHANGES_MAX = 8 };

/* Mutations end early where a sanitizer or a loaded machine makes them slow: these are a smoke test. */
static const double seconds_max = 1.0;

struct seed {
	uint8_t *bytes;
	size_t size;
};

static struct seed seeds[SEEDS_MAX];
static unsigned seed_count;
static char failed_path[512];
static const uint8_t *running; /* the input that runs, for the handlers */
static size_t running_size;

static void make_seeds(void)
{
	uint8_t *buffer = calloc(1, FUZZ_INPUT_BYTES_MAX);
	FUZZ_CHECK(buffer != NULL);
	for (unsigned i = 0; i < SEEDS_MAX; i++) {
		size_t size = fuzz_seed(i, buffer);
		if (size == FUZZ_NO_SEED)
			break;
		FUZZ_CHECK(size <= FUZZ_INPUT_BYTES_MAX);
		seeds[i] = (struct seed) { .bytes = fuzz_exact(buffer, size), .size = size };
		seed_count++;
	}
	FUZZ_CHECK(seed_count > 0 && seed_count < SEEDS_MAX);
	free(buffer);
}

static void write_file(const char *path, const uint8_t *bytes, size_t size)
{
	FILE *file = fopen(path, "wb");
	FUZZ_CHECK(file != NULL);
	FUZZ_CHECK(fwrite(bytes, 1, size, file) == size);
	FUZZ_CHECK(fclose(file) == 0);
}

static int write_seeds(const char *directory)
{
	for (unsigned i = 0; i < seed_count; i++) {
		char path[600];
		(void)snprintf(path, sizeof(path), "%s/seed-%03u", directory, i);
		write_file(path, seeds[i].bytes, seeds[i].size);
	}
	return 0;
}

/* --- running one input, and keeping it if it fails --- */

/* Of the sanitizers' run-time library, where there is one. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void keep_input(void)
{
	static const char message[] = "the input that failed is left in fuzz_NAME.failed\n";
	int file = running != NULL ? open(failed_path, O_CREAT | O_WRONLY | O_TRUNC, 0644) : -1;
	if (file < 0 || write(file, running, running_size) != (ssize_t)running_size)
		return;
	(void)close(file);
	ssize_t ignored = write(STDERR_FILENO, message, sizeof(message) - 1);
	(void)ignored;
}

static void on_signal(int number)
{
	keep_input();
	(void)signal(number, SIG_DFL);
	(void)raise(number);
}

static void watch(void)
{
	(void)signal(SIGABRT, on_signal);
	if (__sanitizer_set_death_callback != NULL) {
		__sanitizer_set_death_callback(keep_input);
		return;
	}
	(void)signal(SIGSEGV, on_signal);
	(void)signal(SIGBUS, on_signal);
	(void)signal(SIGFPE, on_signal);
	(void)signal(SIGILL, on_signal);
}

static void run(const uint8_t *bytes, size_t size)
{
	uint8_t *copy = fuzz_exact(bytes, size);
	running_size = size;
	running = copy;
	(void)LLVMFuzzerTestOneInput(copy, size);
	running = NULL;
	free(copy);
}

static int run_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	if (file == NULL) {
		perror(path);
		return 1;
	}
	uint8_t *buffer = malloc(FUZZ_INPUT_BYTES_MAX);
	FUZZ_CHECK(buffer != NULL);
	size_t size = fread(buffer, 1, FUZZ_INPUT_BYTES_MAX, file);
	(void)fclose(file);
	run(buffer, size);
	free(buffer);
	(void)printf("%s: %zu bytes: sound\n", path, size);
	return 0;
}

static int run_hex(const char *text)
{
	uint8_t *buffer = malloc(strlen(text) / 2 + 1);
	FUZZ_CHECK(buffer != NULL);
	size_t size = 0;
	for (unsigned byte; isxdigit((unsigned char)text[0]) && sscanf(text, "%2x", &byte) == 1; text += 2) {
		buffer[size++] = (uint8_t)byte;
		if (text[1] == '\0')
			break;
	}
	run(buffer, size);
	free(buffer);
	(void)printf("%zu bytes: sound\n", size);
	return 0;
}

/* --- mutations --- */

static void change_one(struct random *random, uint8_t *bytes, size_t *size)
{
	static const uint8_t telling[] = { 0x00, 0x01, 0x7f, 0x80, 0xff, 0x20, '"', '0' };
	size_t at = *size > 0 ? (size_t)random_below(random, *size) : 0;
	size_t run_bytes = 1 + (size_t)random_below(random, 8);
	const struct seed *other = &seeds[random_below(random, seed_count)];
	switch (random_below(random, *size == 0 ? 1 : 7)) {
	case 0: /* bytes of some seed, behind or over what is there */
		if (run_bytes > other->size)
			run_bytes = other->size;
		if (at + run_bytes > FUZZ_INPUT_BYTES_MAX)
			return;
		if (run_bytes > 0)
			memcpy(bytes + at, other->bytes + random_below(random, other->size - run_bytes + 1),
			       run_bytes);
		*size = *size > at + run_bytes ? *size : at + run_bytes;
		return;
	case 1:
		bytes[at] ^= (uint8_t)(1u << random_below(random, 8));
		return;
	case 2:
		bytes[at] = (uint8_t)random_next(random);
		return;
	case 3:
		for (size_t i = at; i < *size && i < at + run_bytes; i++)
			bytes[i] = telling[random_below(random, sizeof(telling))];
		return;
	case 4: /* cut out */
		run_bytes = run_bytes < *size - at ? run_bytes : *size - at;
		memmove(bytes + at, bytes + at + run_bytes, *size - at - run_bytes);
		*size -= run_bytes;
		return;
	case 5: /* put in */
		if (*size + run_bytes > FUZZ_INPUT_BYTES_MAX)
			return;
		memmove(bytes + at + run_bytes, bytes + at, *size - at);
		for (size_t i = 0; i < run_bytes; i++)
			bytes[at + i] = (uint8_t)random_next(random);
		*size += run_bytes;
		return;
	default:
		if (random_below(random, 8) == 0)
			*size = at;
		return;
	}
}

static double seconds_now(void)
{
	struct timespec time;
	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int run_all(void)
{
	const char *text = getenv("CASCADE_TEST_SEED");
	struct random random = random_stream(text != NULL ? strtoull(text, NULL, 0) : 20260601);
	for (unsigned i = 0; i < seed_count; i++)
		run(seeds[i].bytes, seeds[i].size);
	uint8_t *bytes = malloc(FUZZ_INPUT_BYTES_MAX);
	FUZZ_CHECK(bytes != NULL);
	double end = seconds_now() + seconds_max;
	unsigned made = 0;
	for (; made < MUTATIONS && (made % 16 != 0 || seconds_now() < end); made++) {
		const struct seed *seed = &seeds[random_below(&random, seed_count)];
		size_t size = seed->size;
		if (size > 0)
			memcpy(bytes, seed->bytes, size);
		for (uint64_t changes = 1 + random_below(&random, CHANGES_MAX); changes > 0; changes--)
			change_one(&random, bytes, &size);
		run(bytes, size);
	}
	free(bytes);
	(void)printf("%u seeds, %u mutations\n", seed_count, made);
	return 0;
}

int main(int count, char **arguments)
{
	int result = 0;
	const char *name = strrchr(arguments[0], '/');
	(void)snprintf(failed_path, sizeof(failed_path), "%.400s.failed",
		       name != NULL ? name + 1 : arguments[0]);
	watch();
	make_seeds();
	if (count == 3 && strcmp(arguments[1], "--seeds") == 0) {
		result = write_seeds(arguments[2]);
	} else if (count == 3 && strcmp(arguments[1], "--bytes") == 0) {
		result = run_hex(arguments[2]);
	} else if (count > 1) {
		for (int i = 1; i < count && result == 0; i++)
			result = run_file(arguments[i]);
	} else {
		result = run_all();
	}
	for (unsigned i = 0; i < seed_count; i++)
		free(seeds[i].bytes);
	return result;
}
