/*
 * generator.h: which operation a client does next, and on which key.
 *
 * Everything is counter-based: operation i of client c is a pure function of (seed, c, i) and, where the
 * key space grows, of the number of acknowledged inserts at that moment. So every variant under test sees
 * the same stream, and any operation can be repeated alone. Key numbers are 64-bit throughout.
 *
 * Definitions are YCSB's (`CoreWorkload`, 2026-04), with these stated differences:
 *  - `zipfian` is YCSB's scrambled zipfian, quirks included: Zipf(0.99) over 10^10 ranks, hashed onto
 *    `records + expected inserts + 1` keys; what is not acknowledged yet is drawn again. A phase that is
 *    bounded by time has no operation count: the expectation then takes `records` for it.
 *  - `latest` computes both zeta(n) and eta for the current n (YCSB leaves the first n in eta), and
 *    follows a growing n in steps of at most n / 65536.
 *  - `sequential` gives operation i of client c of C the key (c + i * C) mod n: the order of YCSB's
 *    shared counter when the clients are equally fast, without the counter.
 *  - the number of a hashed key is |fnv64(n)| as Java computes it, except for Long.MIN_VALUE, which Java
 *    prints with a minus sign. Two key numbers may hash to the same key: the odds at n keys are n^2/2^64.
 */
#ifndef CASCADE_HARNESS_GENERATOR_H
#define CASCADE_HARNESS_GENERATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/random.h"
#include "base/slice.h"
#include "base/status.h"
#include "harness/workload.h"

/* --- keys --- */

enum { KEY_TEXT_MAX = 24 }; /* "user" and 20 digits */

/* FNV-1a, 64 bits, over the eight octets of `number`, the lowest first. */
uint64_t fnv64(uint64_t number);

/* Java's Math.abs of the hash taken as a signed number. */
uint64_t fnv64_absolute(uint64_t number);

/* Writes the key of a key number; returns its size. */
size_t key_format(enum insert_order order, uint64_t number, uint8_t text[KEY_TEXT_MAX]);

/* --- zipf --- */

/* Sum of i^-theta for i = 1 .. n, in constant time (relative error below 1e-12). theta > 0, not 1. */
double zeta(uint64_t n, double theta);

/* Zipf after Gray et al. (SIGMOD 1994), as YCSB draws it: approximate beyond rank 1. */
struct zipf_gray {
	uint64_t n;
	double theta, alpha, zeta_n, eta, second; /* second: 1 + 0.5^theta */
	bool alpha_is_100;			  /* theta 0.99: a power that needs no logarithm */
};

void zipf_gray_init(struct zipf_gray *zipf, uint64_t n, double theta, double zeta_n);
/* The rank 0 .. n-1 for a number u of [0, 1). */
uint64_t zipf_gray_rank(const struct zipf_gray *zipf, double u);

/* Exact Zipf(theta) by rejection-inversion (Hörmann and Derflinger, 1996); any theta > 0, constant set-up. */
struct zipf_exact {
	uint64_t n;
	double theta, integral_first, integral_last, shortcut;
	bool alpha_is_100;
};

void zipf_exact_init(struct zipf_exact *zipf, uint64_t n, double theta);
/* A rank 0 .. n-1; takes about 1.1 numbers of the stream. */
uint64_t zipf_exact_rank(const struct zipf_exact *zipf, struct random *stream);

/* A fixed bijection of 0 .. n-1: a Feistel network over the next power of two, walked until inside. */
struct permutation {
	uint64_t n;
	uint32_t low_bits, high_bits;
	uint64_t keys[4];
};

void permutation_init(struct permutation *permutation, uint64_t n, uint64_t seed);
uint64_t permutation_apply(const struct permutation *permutation, uint64_t index);

/* --- operations --- */

struct operation {
	enum operation_kind kind;
	uint32_t key_size; /* 0 for an insert: its key number is taken when it is executed */
	uint64_t key_number;
	uint64_t scan_count;
	uint8_t key[KEY_TEXT_MAX];
};

/* What all clients of a phase share; constant after generator_init. */
struct generator {
	uint64_t seed;
	uint64_t records;    /* acknowledged keys when the phase begins */
	uint64_t item_count; /* of `zipfian` */
	uint32_t clients;
	enum distribution distribution;
	enum insert_order insert_order;
	uint64_t thresholds[OPERATION_KINDS]; /* of the op chooser: a draw below it takes the kind */
	uint64_t scan_min, scan_span;
	uint64_t item_reciprocal; /* floor((2^64 - 1) / item_count): a remainder without a division */
	double zeta_head;	  /* of `latest`: the first terms of all its zetas */
	struct zipf_gray scrambled;
	struct zipf_exact exact;
	struct permutation permutation;
};

/* A client's own part: what it remembers of a growing key space. */
struct generator_client {
	uint64_t stream; /* seed of this client's operations, mixed: the constant half of random_at */
	uint32_t client;
	struct zipf_gray latest;
};

/*
 * `records`: acknowledged keys, 0 .. records - 1. INVALID: the phase reads, and there is nothing to read;
 * no operation has weight; theta out of range.
 */
MUST_CHECK struct status generator_init(struct generator *generator, const struct workload *workload,
					const struct phase *phase, uint64_t records);
void generator_client_init(const struct generator *generator, struct generator_client *state,
			   uint32_t client);

/* Operation `index`, without its key's text. For an insert the key number is 0. */
void generator_draw(const struct generator *generator, struct generator_client *state, uint64_t index,
		    uint64_t acknowledged, struct operation *operation);

/*
 * The operations `first` .. first + count - 1 as wholes, their keys formatted (except for inserts); count is
 * at most GENERATOR_BATCH. Drawing one operation is a long chain of multiplications, drawing several step by
 * step are independent ones, which a processor runs side by side: about a third of the time.
 */
enum { GENERATOR_BATCH = 16 };

void generator_operations(const struct generator *generator, struct generator_client *state, uint64_t first,
			  uint32_t count, uint64_t acknowledged, struct operation *operations);

/*
 * Realised skew: the shares of draws that went to the most drawn key, and to the most drawn 1 % and 10 %
 * of the keys 0 .. keys - 1 (rounded down, at least one key). `counts[k]` is how often key k was drawn;
 * the array is sorted in the process.
 */
struct key_shares {
	double top1, top1pct, top10pct;
};

struct key_shares key_shares_of(uint32_t *counts, uint64_t keys);

#endif
