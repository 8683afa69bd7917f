/*
 * bench_codec_data.h: blocks for codecs to work on: entries as a table's data blocks hold them, ascending
 * keys of 24 bytes, each with its value.
 */
#ifndef CASCADE_HARNESS_BENCH_BENCH_CODEC_DATA_H
#define CASCADE_HARNESS_BENCH_BENCH_CODEC_DATA_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* What values are made of. */
enum codec_content {
	CODEC_RANDOM, /* values of the bench (harness/value.h), 1000 bytes, of which nothing compresses away
		       */
	CODEC_HALF,   /* the same, of which half does */
	CODEC_JSON,   /* records of some 400 bytes of JSON: names, addresses, numbers, a few words */
};

/* Fills `bytes` with what entries look like, and cuts the last one off. A function of its arguments. */
MUST_CHECK struct status codec_data_fill(enum codec_content content, uint64_t seed, uint8_t *bytes,
					 size_t size);

#endif
