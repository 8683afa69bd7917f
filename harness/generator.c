#include "harness/generator.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/hash.h"

/* --- keys --- */

static const uint64_t fnv_prime = 1099511628211ull;

/* FNV of a number below 2^(8 octets): each octet of zeros above is a multiplication, all of them are one. */
static inline __attribute__((always_inline)) uint64_t fnv64_of(uint64_t number, int octets)
{
	uint64_t hash = 0xcbf29ce484222325ull;
	for (int i = 0; i < octets; i++)
		hash = (hash ^ (number >> 8 * i & 0xff)) * fnv_prime;
	uint64_t rest = 1;
	for (int i = octets; i < 8; i++)
		rest *= fnv_prime;
	return hash * rest;
}

static inline uint64_t absolute(uint64_t hash)
{
	uint64_t sign = 0 - (hash >> 63);
	return (hash ^ sign) - sign;
}

uint64_t fnv64(uint64_t number)
{
	return number >> 24 == 0 ? fnv64_of(number, 3) : fnv64_of(number, 8);
}

uint64_t fnv64_absolute(uint64_t number)
{
	return absolute(fnv64(number));
}

/* Eight decimal digits of a number below 10^8 as bytes 0 .. 9, the first digit lowest (Khuong 2017). */
static inline uint64_t eight_digits(uint64_t number)
{
	uint64_t upper = number / 10000;
	uint64_t halves = upper | ((number - upper * 10000) << 32);
	uint64_t hundreds = ((halves * 10486) >> 20) & ((0x7full << 32) | 0x7f);
	uint64_t pairs = hundreds + ((halves - 100 * hundreds) << 16);
	uint64_t tens = ((pairs * 103) >> 10) & 0x000f000f000f000full;
	return tens + ((pairs - 10 * tens) << 8);
}

static inline size_t format_number(uint64_t number, uint8_t text[KEY_TEXT_MAX])
{
	uint64_t upper = number / 10000000000000000ull;
	uint64_t rest = number - upper * 10000000000000000ull;
	uint64_t middle = rest / 100000000;
	/* 24 digits, of which the leading zeros are shifted out; the last digit stays in any case. */
	uint64_t first = eight_digits(upper);
	uint64_t second = eight_digits(middle);
	uint64_t third = eight_digits(rest - middle * 100000000);
	size_t size = 24;
	for (; first == 0 && size > 8; size -= 8) {
		first = second;
		second = third;
		third = 0;
	}
	uint32_t zeros = first == 0 ? 7 : (uint32_t)__builtin_ctzll(first) / 8;
	size -= zeros;
	if (zeros > 0) {
		first = first >> 8 * zeros | second << (64 - 8 * zeros);
		second = second >> 8 * zeros | third << (64 - 8 * zeros);
		third >>= 8 * zeros;
	}
	memcpy(text, "user", 4);
	bytes_store64(text + 4, first | 0x3030303030303030ull);
	bytes_store64(text + 12, second | 0x3030303030303030ull);
	bytes_store32(text + 20, (uint32_t)third | 0x30303030u);
	return 4 + size;
}

size_t key_format(enum insert_order order, uint64_t number, uint8_t text[KEY_TEXT_MAX])
{
	return format_number(order == INSERT_HASHED ? fnv64_absolute(number) : number, text);
}

/* --- zipf --- */

enum { ZETA_HEAD = 64 }; /* terms that are added up one by one */

static double zeta_head(uint64_t n, double theta)
{
	double sum = 0;
	for (uint64_t i = n < ZETA_HEAD ? n : ZETA_HEAD - 1; i >= 1; i--)
		sum += pow((double)i, -theta);
	return sum;
}

/* Derivatives of x^-theta as Euler-Maclaurin weighs them: -B2/2! f', -B4/4! f''', -B6/6! f''''' */
static double zeta_correction(double x, double power, double theta)
{
	double first = theta * power / x;
	double third = first * (theta + 1) * (theta + 2) / (x * x);
	double fifth = third * (theta + 3) * (theta + 4) / (x * x);
	return first / 12 - third / 720 + fifth / 30240;
}

/* The sum of i^-theta from ZETA_HEAD to n, n >= ZETA_HEAD: an integral and its Euler-Maclaurin terms. */
static double zeta_tail(uint64_t n, double theta)
{
	double a = ZETA_HEAD;
	double b = (double)n;
	double power_a = pow(a, -theta);
	double power_b = pow(b, -theta);
	double integral = (b * power_b - a * power_a) / (1 - theta);
	return integral + (power_a + power_b) / 2 + zeta_correction(a, power_a, theta) -
	       zeta_correction(b, power_b, theta);
}

double zeta(uint64_t n, double theta)
{
	double sum = zeta_head(n, theta);
	return n < ZETA_HEAD ? sum : sum + zeta_tail(n, theta);
}

/* x^100 = x^(64 + 32 + 4): half the time of pow, which matters at a draw for each operation. */
static inline double power_100(double x)
{
	double x2 = x * x;
	double x4 = x2 * x2;
	double x8 = x4 * x4;
	double x16 = x8 * x8;
	double x32 = x16 * x16;
	return x32 * x32 * x32 * x4;
}

void zipf_gray_init(struct zipf_gray *zipf, uint64_t n, double theta, double zeta_n)
{
	zipf->n = n;
	zipf->theta = theta;
	zipf->alpha = 1 / (1 - theta);
	zipf->alpha_is_100 = fabs(zipf->alpha - 100) < 1e-9;
	zipf->zeta_n = zeta_n;
	zipf->second = 1 + pow(0.5, theta);
	zipf->eta = (1 - pow(2 / (double)n, 1 - theta)) / (1 - zipf->second / zeta_n);
}

/* `base` and `rank` are computed in any case: a branch that is guessed wrong costs more. */
static inline uint64_t gray_rank(const struct zipf_gray *zipf, double u, bool alpha_is_100)
{
	double scaled = u * zipf->zeta_n;
	double base = zipf->eta * u - zipf->eta + 1;
	double real = (double)zipf->n * (alpha_is_100 ? power_100(base) : pow(base, zipf->alpha));
	uint64_t rank = real >= (double)zipf->n ? zipf->n - 1 : (uint64_t)(int64_t)real;
	rank = scaled < zipf->second ? 1 : rank;
	return scaled < 1 ? 0 : rank;
}

uint64_t zipf_gray_rank(const struct zipf_gray *zipf, double u)
{
	if (zipf->n <= 2)
		return zipf->n == 2 && u * zipf->zeta_n >= 1;
	return gray_rank(zipf, u, zipf->alpha_is_100);
}

/* log(1 + x) / x and (exp(x) - 1) / x, which both go to 1: what keeps theta near 1 exact. */
static double log1p_ratio(double x)
{
	return fabs(x) > 1e-8 ? log1p(x) / x : 1 - x * (0.5 - x / 3);
}

static double expm1_ratio(double x)
{
	return fabs(x) > 1e-8 ? expm1(x) / x : 1 + x * (0.5 + x / 6);
}

/* The integral of x^-theta, up to a constant, and its inverse. */
static double zipf_integral(double x, double theta)
{
	double log_x = log(x);
	return expm1_ratio((1 - theta) * log_x) * log_x;
}

static double zipf_integral_inverse(double y, double theta)
{
	double t = y * (1 - theta);
	if (t < -1)
		t = -1; /* rounding at the far end of the range */
	return exp(log1p_ratio(t) * y);
}

/* The same where it has to be quick: (1 + t)^(1 / (1 - theta)) is good unless theta is very near 1. */
static double zipf_inverse_of(const struct zipf_exact *zipf, double y)
{
	if (!zipf->alpha_is_100)
		return zipf_integral_inverse(y, zipf->theta);
	return power_100(1 + y * (1 - zipf->theta));
}

void zipf_exact_init(struct zipf_exact *zipf, uint64_t n, double theta)
{
	zipf->n = n;
	zipf->theta = theta;
	zipf->alpha_is_100 = fabs(1 / (1 - theta) - 100) < 1e-9;
	zipf->integral_first = zipf_integral(1.5, theta) - 1;
	zipf->integral_last = zipf_integral((double)n + 0.5, theta);
	zipf->shortcut = 2 - zipf_integral_inverse(zipf_integral(2.5, theta) - pow(2, -theta), theta);
}

uint64_t zipf_exact_rank(const struct zipf_exact *zipf, struct random *stream)
{
	for (;;) {
		double u = zipf->integral_last +
			   random_unit(stream) * (zipf->integral_first - zipf->integral_last);
		double x = zipf_inverse_of(zipf, u);
		double nearest = floor(x + 0.5);
		if (nearest < 1)
			nearest = 1;
		else if (nearest > (double)zipf->n)
			nearest = (double)zipf->n;
		if (nearest - x <= zipf->shortcut ||
		    u >= zipf_integral(nearest + 0.5, zipf->theta) - pow(nearest, -zipf->theta))
			return (uint64_t)nearest - 1;
	}
}

void permutation_init(struct permutation *permutation, uint64_t n, uint64_t seed)
{
	uint32_t bits = n <= 2 ? 2 : 64 - (uint32_t)__builtin_clzll(n - 1);
	if (bits < 2)
		bits = 2;
	permutation->n = n;
	permutation->low_bits = bits / 2;
	permutation->high_bits = bits - bits / 2;
	for (uint64_t i = 0; i < 4; i++)
		permutation->keys[i] = random_at(seed, i) | 1;
}

/* The high bits of a product depend on all bits of the number. */
static uint64_t scatter(uint64_t part, uint64_t key, uint32_t bits)
{
	return ((part + (key >> 32)) * key) >> (64 - bits);
}

uint64_t permutation_apply(const struct permutation *permutation, uint64_t index)
{
	uint32_t low_bits = permutation->low_bits;
	uint32_t high_bits = permutation->high_bits;
	DASSERT(index < permutation->n);
	/* Each round xors one part with a function of the other, which is undone by doing it again: a
	 * bijection of the power of two. Walking until inside makes it one of 0 .. n - 1. */
	do {
		uint64_t low = index & ((1ull << low_bits) - 1);
		uint64_t high = index >> low_bits;
		high ^= scatter(low, permutation->keys[0], high_bits);
		low ^= scatter(high, permutation->keys[1], low_bits);
		high ^= scatter(low, permutation->keys[2], high_bits);
		low ^= scatter(high, permutation->keys[3], low_bits);
		index = (high << low_bits) | low;
	} while (index >= permutation->n);
	return index;
}

/* --- operations --- */

/* YCSB's constants of the scrambled zipfian: ranks 0 .. 10^10, and zeta(10^10, 0.99). */
static const uint64_t scrambled_ranks = 10000000001ull;
static const double scrambled_theta = 0.99;
static const double scrambled_zeta = 26.46902820178302;

/* Draws of an operation's stream, so that one never shifts another. */
enum { DRAW_KIND, DRAW_SCAN, DRAW_KEY };

static struct status init_mix(struct generator *generator, const struct phase *phase, double *insert_share)
{
	double sum = 0;
	int last = -1;
	for (int kind = 0; kind < OPERATION_KINDS; kind++) {
		if (!(phase->mix[kind] >= 0))
			return status_error(STATUS_INVALID, "phase %s: a share of the mix is negative",
					    phase->name);
		sum += phase->mix[kind];
		if (phase->mix[kind] > 0)
			last = kind;
	}
	if (last < 0 || !isfinite(sum))
		return status_error(STATUS_INVALID, "phase %s: the mix has no operations", phase->name);
	double cumulative = 0;
	for (int kind = 0; kind < OPERATION_KINDS; kind++) {
		cumulative += phase->mix[kind] / sum;
		generator->thresholds[kind] =
			kind >= last || cumulative >= 1 ? UINT64_MAX : (uint64_t)(cumulative * 0x1p64);
	}
	*insert_share = phase->mix[OPERATION_INSERT] / sum;
	return status_ok();
}

struct status generator_init(struct generator *generator, const struct workload *workload,
			     const struct phase *phase, uint64_t records)
{
	*generator = (struct generator) {
		.seed = workload->seed,
		.records = records,
		.clients = phase->clients,
		.distribution = phase->distribution,
		.insert_order = workload->insert_order,
		.scan_min = phase->scan_min > 0 ? phase->scan_min : 1,
	};
	double insert_share = 0;
	TRY(init_mix(generator, phase, &insert_share));
	if (insert_share < 1 && records == 0)
		return status_error(STATUS_INVALID, "phase %s: there are no records to work on", phase->name);
	if (phase->distribution == DISTRIBUTION_ZIPFIAN_EXACT && !(phase->theta > 0 && phase->theta < 2))
		return status_error(STATUS_INVALID, "phase %s: theta %g is not between 0 and 2", phase->name,
				    phase->theta);
	uint64_t scan_max = phase->scan_max > generator->scan_min ? phase->scan_max : generator->scan_min;
	generator->scan_span = scan_max - generator->scan_min + 1;
	double operations = (double)(phase->operations > 0 ? phase->operations : records);
	generator->item_count = records + (uint64_t)floor(operations * insert_share * 2) + 1;
	generator->item_reciprocal = UINT64_MAX / generator->item_count;
	generator->zeta_head = zeta_head(ZETA_HEAD, scrambled_theta);
	zipf_gray_init(&generator->scrambled, scrambled_ranks, scrambled_theta, scrambled_zeta);
	if (records > 0) {
		zipf_exact_init(&generator->exact, records,
				phase->theta > 0 ? phase->theta : scrambled_theta);
		/* The same in all phases of a workload: what is hot in one is hot in the next. */
		permutation_init(&generator->permutation, records, random_mix(workload->seed + 1));
	}
	return status_ok();
}

/*
 * random_at(seed, counter) is random_mix(prepare(seed) + (counter + 1) * golden): the numbers of one stream
 * share the first half.
 */
static const uint64_t golden = 0x9e3779b97f4a7c15ull;

static inline uint64_t prepare(uint64_t seed)
{
	return random_mix(seed + golden);
}

static inline uint64_t draw_at(uint64_t prepared, uint64_t counter)
{
	return random_mix(prepared + (counter + 1) * golden);
}

static inline double unit_of(uint64_t draw)
{
	return (double)(int64_t)(draw >> 11) * 0x1.0p-53;
}

void generator_client_init(const struct generator *generator, struct generator_client *state, uint32_t client)
{
	*state = (struct generator_client) {
		.stream = prepare(random_at(generator->seed, client)),
		.client = client,
	};
}

/* The key that a draw of [0, 1) falls on, which may not be acknowledged yet. */
static inline uint64_t scrambled_number(const struct generator *generator, double u)
{
	uint64_t hash = absolute(fnv64_of(gray_rank(&generator->scrambled, u, true), 5));
	/* The quotient is right or one too small: a hash is at most 2^63. */
	uint64_t quotient = (uint64_t)(((unsigned __int128)hash * generator->item_reciprocal) >> 64);
	uint64_t number = hash - quotient * generator->item_count;
	return number >= generator->item_count ? number - generator->item_count : number;
}

_Static_assert(10000000001ull < 1ull << 40, "a rank of the scrambled zipfian has five octets");

static uint64_t scrambled_again(const struct generator *generator, uint64_t prepared, uint64_t acknowledged)
{
	for (uint64_t draw = DRAW_KEY + 1;; draw++) {
		uint64_t number = scrambled_number(generator, unit_of(draw_at(prepared, draw)));
		if (number < acknowledged)
			return number;
	}
}

static double latest_zeta(const struct generator *generator, uint64_t n)
{
	if (n < ZETA_HEAD)
		return zeta_head(n, scrambled_theta);
	return generator->zeta_head + zeta_tail(n, scrambled_theta);
}

static uint64_t latest_key(const struct generator *generator, struct generator_client *state, double u,
			   uint64_t acknowledged)
{
	uint64_t newest = acknowledged - 1;
	if (newest == 0)
		return 0;
	struct zipf_gray *latest = &state->latest;
	if (newest < latest->n || newest - latest->n > latest->n / 65536)
		zipf_gray_init(latest, newest, scrambled_theta, latest_zeta(generator, newest));
	return newest - zipf_gray_rank(latest, u);
}

/* What the steps of a batch hand on. */
struct batch {
	uint64_t seed[GENERATOR_BATCH]; /* of each operation's stream */
	uint64_t prepared[GENERATOR_BATCH];
	uint32_t count;
};

/* An operation that takes no key (an insert) has one drawn all the same: nothing depends on it. */
static void draw_scrambled(const struct generator *generator, const struct batch *batch,
			   uint64_t acknowledged, struct operation *operations)
{
	for (uint32_t i = 0; i < batch->count; i++)
		operations[i].key_number =
			scrambled_number(generator, unit_of(draw_at(batch->prepared[i], DRAW_KEY)));
	for (uint32_t i = 0; i < batch->count; i++) {
		if (__builtin_expect(operations[i].key_number >= acknowledged, 0) &&
		    operations[i].kind != OPERATION_INSERT)
			operations[i].key_number =
				scrambled_again(generator, batch->prepared[i], acknowledged);
	}
}

static uint64_t draw_exact(const struct generator *generator, uint64_t seed)
{
	struct random stream = { .seed = seed, .counter = DRAW_KEY };
	return permutation_apply(&generator->permutation, zipf_exact_rank(&generator->exact, &stream));
}

static void draw_keys(const struct generator *generator, struct generator_client *state,
		      const struct batch *batch, uint64_t first, uint64_t acknowledged,
		      struct operation *operations)
{
	for (uint32_t i = 0; i < batch->count; i++) {
		struct operation *operation = &operations[i];
		uint64_t prepared = batch->prepared[i];
		if (operation->kind == OPERATION_INSERT)
			continue;
		switch (generator->distribution) {
		case DISTRIBUTION_UNIFORM:
			operation->key_number = hash_range(draw_at(prepared, DRAW_KEY), generator->records);
			break;
		case DISTRIBUTION_ZIPFIAN_EXACT:
			operation->key_number = draw_exact(generator, batch->seed[i]);
			break;
		case DISTRIBUTION_LATEST:
			operation->key_number = latest_key(
				generator, state, unit_of(draw_at(prepared, DRAW_KEY)), acknowledged);
			break;
		case DISTRIBUTION_ZIPFIAN:
		case DISTRIBUTION_SEQUENTIAL:
			operation->key_number =
				(state->client + (first + i) * generator->clients) % generator->records;
			break;
		}
	}
}

static inline enum operation_kind kind_of(const struct generator *generator, uint64_t chooser)
{
	int kind = 0;
	for (int i = 0; i < OPERATION_KINDS - 1; i++)
		kind += chooser >= generator->thresholds[i];
	return (enum operation_kind)kind;
}

static void draw_batch(const struct generator *generator, struct generator_client *state, uint64_t first,
		       uint32_t count, uint64_t acknowledged, struct operation *operations)
{
	struct batch batch = { .count = count };
	DASSERT(count <= GENERATOR_BATCH);
	for (uint32_t i = 0; i < count; i++) {
		uint64_t seed = draw_at(state->stream, first + i);
		uint64_t prepared = prepare(seed);
		struct operation *operation = &operations[i];
		batch.seed[i] = seed;
		batch.prepared[i] = prepared;
		operation->kind = kind_of(generator, draw_at(prepared, DRAW_KIND));
		operation->scan_count = 0;
		operation->key_size = 0;
		operation->key_number = 0;
		if (operation->kind == OPERATION_SCAN)
			operation->scan_count = generator->scan_min + hash_range(draw_at(prepared, DRAW_SCAN),
										 generator->scan_span);
	}
	if (generator->distribution == DISTRIBUTION_ZIPFIAN)
		draw_scrambled(generator, &batch, acknowledged, operations);
	else
		draw_keys(generator, state, &batch, first, acknowledged, operations);
}

void generator_draw(const struct generator *generator, struct generator_client *state, uint64_t index,
		    uint64_t acknowledged, struct operation *operation)
{
	draw_batch(generator, state, index, 1, acknowledged, operation);
	if (operation->kind == OPERATION_INSERT)
		operation->key_number = 0;
}

void generator_operations(const struct generator *generator, struct generator_client *state, uint64_t first,
			  uint32_t count, uint64_t acknowledged, struct operation *operations)
{
	draw_batch(generator, state, first, count, acknowledged, operations);
	for (uint32_t i = 0; i < count; i++) {
		struct operation *operation = &operations[i];
		if (operation->kind != OPERATION_INSERT)
			operation->key_size = (uint32_t)key_format(generator->insert_order,
								   operation->key_number, operation->key);
		else
			operation->key_number = 0;
	}
}

/* --- shares --- */

enum { SHARE_TABLE = 4096 };

static int descending(const void *left, const void *right)
{
	uint32_t a = *(const uint32_t *)left;
	uint32_t b = *(const uint32_t *)right;
	return a < b ? 1 : a > b ? -1 : 0;
}

/* What the `wanted` most drawn keys got: the often drawn ones are sorted, the rest counted by count. */
static uint64_t draws_of_top(const uint32_t *often, uint64_t often_count, const uint64_t *keys_with,
			     uint64_t wanted)
{
	uint64_t sum = 0;
	uint64_t taken = wanted < often_count ? wanted : often_count;
	for (uint64_t i = 0; i < taken; i++)
		sum += often[i];
	wanted -= taken;
	for (uint32_t count = SHARE_TABLE - 1; count > 0 && wanted > 0; count--) {
		uint64_t keys = keys_with[count] < wanted ? keys_with[count] : wanted;
		sum += keys * count;
		wanted -= keys;
	}
	return sum;
}

struct key_shares key_shares_of(uint32_t *counts, uint64_t keys)
{
	static const struct key_shares unknown = { NAN, NAN, NAN };
	uint64_t keys_with[SHARE_TABLE] = { 0 };
	uint64_t often = 0;
	uint64_t draws = 0;
	for (uint64_t key = 0; key < keys; key++) {
		uint32_t count = counts[key];
		draws += count;
		if (count < SHARE_TABLE)
			keys_with[count]++;
		else
			counts[often++] = count;
	}
	if (draws == 0)
		return unknown;
	qsort(counts, often, sizeof(*counts), descending);
	uint64_t percent = keys / 100 > 0 ? keys / 100 : 1;
	uint64_t tenth = keys / 10 > 0 ? keys / 10 : 1;
	return (struct key_shares) {
		.top1 = (double)draws_of_top(counts, often, keys_with, 1) / (double)draws,
		.top1pct = (double)draws_of_top(counts, often, keys_with, percent) / (double)draws,
		.top10pct = (double)draws_of_top(counts, often, keys_with, tenth) / (double)draws,
	};
}
