/*
 * fuzz.h: what every fuzz target includes. A target is one file fuzz_NAME.c with LLVMFuzzerTestOneInput and
 * fuzz_seed. It is linked twice: with standalone.c, which replays seeds and a few thousand mutations of them
 * that are always the same (so that every build's tests run the target), and, by `make fuzz`, with libFuzzer.
 *
 * What a target promises for every input: no crash, no access out of bounds (inputs are handed on in blocks
 * of their exact size), no allocation that the input does not justify, and what FUZZ_CHECK says.
 */
#ifndef CASCADE_TESTS_FUZZ_FUZZ_H
#define CASCADE_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Always 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_NO_SEED SIZE_MAX

enum { FUZZ_INPUT_BYTES_MAX = 1 << 16 };

/*
 * Writes seed number `index` (0, 1, ...) into FUZZ_INPUT_BYTES_MAX bytes and returns its size; FUZZ_NO_SEED
 * behind the last one. Inputs that once failed are among the seeds.
 */
size_t fuzz_seed(unsigned index, uint8_t *to);

#define FUZZ_CHECK(expression)                                                                         \
	do {                                                                                           \
		if (!(expression)) {                                                                   \
			(void)fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #expression); \
			abort();                                                                       \
		}                                                                                      \
	} while (0)

/* --- taking an input apart: reads beyond its end give zeros --- */

struct fuzz_input {
	const uint8_t *at;
	size_t left;
};

static inline uint64_t fuzz_number(struct fuzz_input *input, unsigned bytes)
{
	uint64_t number = 0;
	for (unsigned i = 0; i < bytes && input->left > 0; i++, input->left--)
		number |= (uint64_t)*input->at++ << (8 * i);
	return number;
}

/* Up to `size` bytes where they lie; how many, *taken says. */
static inline const uint8_t *fuzz_bytes(struct fuzz_input *input, size_t size, size_t *taken)
{
	const uint8_t *bytes = input->at;
	*taken = size < input->left ? size : input->left;
	if (*taken > 0)
		input->at += *taken;
	input->left -= *taken;
	return bytes;
}

/* A copy in a block of exactly that size, so that a step over its end is seen; free() it. */
static inline uint8_t *fuzz_exact(const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size > 0 ? size : 1);
	FUZZ_CHECK(copy != NULL);
	if (size > 0)
		memcpy(copy, bytes, size);
	return copy;
}

/* --- writing seeds --- */

static inline size_t fuzz_put(uint8_t *to, size_t at, uint64_t number, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		to[at + i] = (uint8_t)(number >> (8 * i));
	return at + bytes;
}

static inline size_t fuzz_put_bytes(uint8_t *to, size_t at, const void *bytes, size_t size)
{
	FUZZ_CHECK(at + size <= FUZZ_INPUT_BYTES_MAX);
	if (size > 0)
		memcpy(to + at, bytes, size);
	return at + size;
}

/* The strings of a list that NULL ends, as seeds. */
static inline size_t fuzz_text_seed(const char *const *texts, unsigned index, uint8_t *to)
{
	for (unsigned i = 0; i <= index; i++)
		if (texts[i] == NULL)
			return FUZZ_NO_SEED;
	return fuzz_put_bytes(to, 0, texts[index], strlen(texts[index]));
}

/* Inputs that once failed, in hexadecimal; NULL ends the list, and is an empty one. */
static inline size_t fuzz_hex_seed(const char *const *inputs, unsigned index, uint8_t *to)
{
	for (unsigned i = 0; i <= index; i++)
		if (inputs == NULL || inputs[i] == NULL)
			return FUZZ_NO_SEED;
	size_t size = strlen(inputs[index]) / 2;
	FUZZ_CHECK(size <= FUZZ_INPUT_BYTES_MAX);
	for (size_t i = 0; i < size; i++) {
		unsigned byte;
		FUZZ_CHECK(sscanf(inputs[index] + 2 * i, "%2x", &byte) == 1);
		to[i] = (uint8_t)byte;
	}
	return size;
}

#endif
