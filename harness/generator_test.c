#include "harness/generator.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "test.h"

static void check_key(enum insert_order order, uint64_t number, const char *expected)
{
	uint8_t text[KEY_TEXT_MAX];
	size_t size = key_format(order, number, text);
	assert_int_equal(size, strlen(expected));
	assert_memory_equal(text, expected, size);
}

/* Golden vectors of YCSB (Java). */
static void keys_are_those_of_ycsb(void **state)
{
	(void)state;
	assert_true(fnv64(0) == 0xa8c7f832281a39c5ull);
	assert_true(fnv64(1) == 0x89cd31291d2aefa4ull);
	assert_true(fnv64(2) == 0xe6bd86443df8ce07ull);
	check_key(INSERT_HASHED, 0, "user6284781860667377211");
	check_key(INSERT_HASHED, 1, "user8517097267634966620");
	check_key(INSERT_HASHED, 2, "user1820151046732198393");
	check_key(INSERT_HASHED, 3, "user4052466453699787802");
	check_key(INSERT_HASHED, 10, "user2408371864701034737");
	check_key(INSERT_HASHED, 999, "user2071219101098386137");
	check_key(INSERT_HASHED, 1000000, "user1011632231655643464");
	/* Of one octet to eight. */
	check_key(INSERT_HASHED, 99, "user6405349725575133178");
	check_key(INSERT_HASHED, 12345, "user1792800413050876852");
	check_key(INSERT_HASHED, 16777215, "user6351794187124041284");
	check_key(INSERT_HASHED, 16777216, "user7198699406700654750");
	check_key(INSERT_HASHED, 10000000000ull, "user1201321332300452516");
	check_key(INSERT_HASHED, 1ull << 40, "user6908947124047430886");
	check_key(INSERT_HASHED, (1ull << 48) - 1, "user8321150676775934777");
}

/* Ranks by YCSB's formula, worked out apart from this code, and the keys that YCSB makes of them. */
static void ranks_and_keys_are_those_of_ycsb(void **state)
{
	(void)state;
	static const struct {
		double u;
		uint64_t rank, of_1000001, of_1100001;
	} known[] = {
		{ 0, 0, 801320, 316089 },
		{ 0.03, 0, 801320, 316089 },
		{ 0.05, 1, 216074, 7687 },
		{ 0.06, 2, 971811, 932893 },
		{ 0.1, 6, 293804, 57824 },
		{ 0.25, 296, 84930, 365229 },
		{ 0.5, 134552, 686676, 550119 },
		{ 0.6, 1405413, 517910, 420563 },
		{ 0.75, 42924421, 874340, 1010041 },
		{ 0.9, 1170869537, 736200, 552087 },
		{ 0.99, 8086205587ull, 153002, 172980 },
		{ 0.999999, 9999787803ull, 634191, 290512 },
	};
	struct zipf_gray zipf;
	zipf_gray_init(&zipf, 10000000001ull, 0.99, 26.46902820178302);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		assert_int_equal(zipf_gray_rank(&zipf, known[i].u), known[i].rank);
		assert_int_equal(fnv64_absolute(known[i].rank) % 1000001, known[i].of_1000001);
		assert_int_equal(fnv64_absolute(known[i].rank) % 1100001, known[i].of_1100001);
	}
	static const double latest_u[] = { 0, 0.1, 0.13, 0.2, 0.5, 0.9, 0.999 };
	static const uint64_t latest_rank[] = { 0, 0, 1, 2, 22, 471, 992 };
	zipf_gray_init(&zipf, 1000, 0.99, zeta(1000, 0.99));
	for (size_t i = 0; i < sizeof(latest_u) / sizeof(latest_u[0]); i++)
		assert_int_equal(zipf_gray_rank(&zipf, latest_u[i]), latest_rank[i]);
}

static void numbers_are_printed_exactly(void **state)
{
	(void)state;
	struct random random = random_stream(test_seed(1));
	uint64_t power = 1;
	for (int i = 0; i < 200000; i++) {
		uint64_t number = random_next(&random) >> random_below(&random, 64);
		if (i < 60) {
			number = power + (uint64_t)(i % 3) - 1;
			if (i % 3 == 2)
				power *= 10;
		}
		char expected[KEY_TEXT_MAX + 1];
		snprintf(expected, sizeof(expected), "user%llu", (unsigned long long)number);
		check_key(INSERT_ORDERED, number, expected);
	}
	check_key(INSERT_ORDERED, 0, "user0");
	check_key(INSERT_ORDERED, UINT64_MAX, "user18446744073709551615");
}

static void zeta_matches_known_values(void **state)
{
	(void)state;
	static const struct {
		uint64_t n;
		double value;
	} known[] = { { 1, 1 },
		      { 1000, 7.728953217 },
		      { 1000000, 15.391849746 },
		      { 10000000, 18.066242575 },
		      { 100000000, 20.802930490 },
		      { 1000000000, 23.603364104 },
		      { 10000000000ull, 26.46902820178302 } };
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		assert_true(fabs(zeta(known[i].n, 0.99) - known[i].value) < 2e-9);
	/* YCSB's constant was summed up in doubles; the last digits are its rounding. */
	assert_true(fabs(zeta(10000000000ull, 0.99) - 26.46902820178302) < 1e-9);
	static const double thetas[] = { 0.2, 0.5, 0.99, 1.2, 1.9 };
	for (size_t i = 0; i < sizeof(thetas) / sizeof(thetas[0]); i++) {
		double sum = 0;
		for (int k = 3000; k >= 1; k--)
			sum += pow(k, -thetas[i]);
		assert_true(fabs(zeta(3000, thetas[i]) / sum - 1) < 1e-12);
	}
}

/* Pearson's statistic stays below its 99.999 % point (Wilson and Hilferty's approximation). */
static void assert_chi_square(const uint64_t *counts, const double *expected, int cells)
{
	double statistic = 0;
	for (int i = 0; i < cells; i++)
		statistic +=
			((double)counts[i] - expected[i]) * ((double)counts[i] - expected[i]) / expected[i];
	double freedom = cells - 1;
	double spread = 2 / (9 * freedom);
	double limit = freedom * pow(1 - spread + 4.265 * sqrt(spread), 3);
	if (statistic > limit)
		fail_msg("chi-square %.1f with %d cells, limit %.1f", statistic, cells, limit);
}

/* Kolmogorov and Smirnov's statistic stays below its 99.999 % point; `expected` is cumulative. */
static void assert_kolmogorov(const uint64_t *counts, const double *expected, int cells, uint64_t draws)
{
	double largest = 0;
	uint64_t sum = 0;
	for (int i = 0; i < cells; i++) {
		sum += counts[i];
		double distance = fabs((double)sum / (double)draws - expected[i]);
		largest = distance > largest ? distance : largest;
	}
	double limit = 2.47 / sqrt((double)draws);
	if (largest > limit)
		fail_msg("the distributions are %.6f apart, limit %.6f", largest, limit);
}

static void exact_zipf_has_its_distribution(void **state)
{
	(void)state;
	enum { N = 200, DRAWS = 1000000 };
	static const double thetas[] = { 0.3, 0.99, 1.0, 1.4 };
	for (size_t t = 0; t < sizeof(thetas) / sizeof(thetas[0]); t++) {
		struct zipf_exact zipf;
		zipf_exact_init(&zipf, N, thetas[t]);
		struct random stream = random_stream(test_seed(10) + t);
		uint64_t counts[N] = { 0 };
		for (int i = 0; i < DRAWS; i++) {
			uint64_t rank = zipf_exact_rank(&zipf, &stream);
			assert_true(rank < N);
			counts[rank]++;
		}
		double sum = 0, expected[N];
		for (int i = 0; i < N; i++)
			sum += pow(i + 1, -thetas[t]);
		for (int i = 0; i < N; i++)
			expected[i] = DRAWS * pow(i + 1, -thetas[t]) / sum;
		assert_chi_square(counts, expected, N);
		for (int i = 0; i < N; i++)
			expected[i] = expected[i] / DRAWS + (i > 0 ? expected[i - 1] : 0);
		assert_kolmogorov(counts, expected, N, DRAWS);
	}
	struct zipf_exact one;
	struct random stream = random_stream(3);
	zipf_exact_init(&one, 1, 0.99);
	for (int i = 0; i < 100; i++)
		assert_int_equal(zipf_exact_rank(&one, &stream), 0);
}

static void permutations_are_bijections(void **state)
{
	(void)state;
	static const uint64_t sizes[] = { 1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 1000, 4097, 100000 };
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		uint64_t n = sizes[s], fixed = 0;
		struct permutation permutation;
		permutation_init(&permutation, n, test_seed(5));
		uint8_t *seen = memory_allocate_zeroed(n, 1);
		for (uint64_t i = 0; i < n; i++) {
			uint64_t image = permutation_apply(&permutation, i);
			assert_true(image < n);
			assert_int_equal(seen[image], 0);
			seen[image] = 1;
			fixed += image == i;
		}
		if (n > 1000)
			assert_true(fixed < 20);
		memory_free(seen);
	}
}

static struct workload workload = { .seed = 42, .insert_order = INSERT_HASHED };

static struct phase run_phase(enum distribution distribution)
{
	struct phase phase = { .name = "test", .kind = PHASE_RUN, .clients = 4, .theta = 0.99 };
	phase.mix[OPERATION_READ] = 1;
	phase.distribution = distribution;
	return phase;
}

static uint64_t key_of(const struct generator *generator, struct generator_client *draw, uint64_t index,
		       uint64_t acknowledged)
{
	struct operation operation;
	do {
		generator_draw(generator, draw, index, acknowledged, &operation);
		index += 1000000000;
	} while (operation.kind == OPERATION_INSERT);
	return operation.key_number;
}

static struct key_shares shares_of(enum distribution distribution, uint64_t records, uint64_t draws,
				   uint32_t **kept)
{
	struct phase phase = run_phase(distribution);
	struct generator generator;
	assert_ok(generator_init(&generator, &workload, &phase, records));
	uint32_t *counts = memory_allocate_zeroed(records, sizeof(*counts));
	for (uint32_t client = 0; client < phase.clients; client++) {
		struct generator_client draw;
		generator_client_init(&generator, &draw, client);
		for (uint64_t i = 0; i < draws / phase.clients; i++) {
			uint64_t key = key_of(&generator, &draw, i, records);
			assert_true(key < records);
			counts[key]++;
		}
	}
	if (kept != NULL) {
		*kept = counts;
		return (struct key_shares) { 0 };
	}
	struct key_shares shares = key_shares_of(counts, records);
	memory_free(counts);
	return shares;
}

static void assert_near(double value, double expected, double tolerance)
{
	if (!(fabs(value - expected) <= tolerance))
		fail_msg("%.5f, expected %.5f +- %.5f", value, expected, tolerance);
}

/* Against the values computed for N = 10^6 (3.78 %, 39 %, 53 %; exact: 6.50 %, 66 %, 83 %). With few
 * draws a key, chance makes the top 1 % and 10 % look somewhat hotter than they are. */
static void realised_shares_are_the_computed_ones(void **state)
{
	(void)state;
	enum { RECORDS = 200000, DRAWS = 4000000 };
	struct key_shares scrambled = shares_of(DISTRIBUTION_ZIPFIAN, RECORDS, DRAWS, NULL);
	assert_near(scrambled.top1, 0.0378, 0.0015);
	struct key_shares exact = shares_of(DISTRIBUTION_ZIPFIAN_EXACT, RECORDS, DRAWS, NULL);
	assert_near(exact.top1, 1 / zeta(RECORDS, 0.99), 0.001);
	assert_near(exact.top1pct, zeta(RECORDS / 100, 0.99) / zeta(RECORDS, 0.99), 0.003);
	assert_near(exact.top10pct, zeta(RECORDS / 10, 0.99) / zeta(RECORDS, 0.99), 0.005);
	struct key_shares uniform = shares_of(DISTRIBUTION_UNIFORM, RECORDS, DRAWS, NULL);
	assert_true(uniform.top1 < 0.0001);
	assert_true(uniform.top1pct < 0.02);
	assert_true(uniform.top10pct < 0.15);
	struct key_shares sequential = shares_of(DISTRIBUTION_SEQUENTIAL, RECORDS, DRAWS, NULL);
	assert_near(sequential.top10pct, 0.1, 0.0001);
}

static void scrambled_shares_at_a_million(void **state)
{
	(void)state;
	struct key_shares shares = shares_of(DISTRIBUTION_ZIPFIAN, 1000000, 8000000, NULL);
	assert_near(shares.top1, 0.0378, 0.0005);
	assert_near(shares.top1pct, 0.39, 0.02);
	assert_near(shares.top10pct, 0.53, 0.06);
	shares = shares_of(DISTRIBUTION_ZIPFIAN_EXACT, 1000000, 4000000, NULL);
	assert_near(shares.top1, 0.0650, 0.0005);
	assert_near(shares.top1pct, 0.66, 0.01);
	assert_near(shares.top10pct, 0.83, 0.015);
}

/* Few keys: the mass of each key is what all ranks below some bound put there, and the rest evenly. */
static void scrambled_zipf_has_its_distribution(void **state)
{
	(void)state;
	enum { RECORDS = 100, DRAWS = 2000000, RANKS = 400000 };
	uint32_t *counts;
	shares_of(DISTRIBUTION_ZIPFIAN, RECORDS, DRAWS, &counts);
	double expected[RECORDS] = { 0 }, sum = 0;
	struct zipf_gray zipf;
	zipf_gray_init(&zipf, 10000000001ull, 0.99, 26.46902820178302);
	/* The share of rank r under Gray's approximation is the length of its interval of u. */
	double previous = 0;
	for (uint64_t rank = 0; rank < RANKS; rank++) {
		double end = rank == 0	 ? 1 / zipf.zeta_n
			     : rank == 1 ? zipf.second / zipf.zeta_n
					 : 1 + (pow((double)(rank + 1) / (double)zipf.n, 1 / zipf.alpha) -
						1) / zipf.eta;
		uint64_t key = fnv64_absolute(rank) % (RECORDS + 1);
		if (end > previous && key < RECORDS)
			expected[key] += end - previous;
		previous = end > previous ? end : previous;
	}
	for (int i = 0; i < RECORDS; i++) {
		expected[i] += (1 - previous) / (RECORDS + 1);
		sum += expected[i];
	}
	uint64_t wide[RECORDS];
	for (int i = 0; i < RECORDS; i++) {
		wide[i] = counts[i];
		expected[i] *= DRAWS / sum;
	}
	assert_chi_square(wide, expected, RECORDS);
	memory_free(counts);
}

static void uniform_is_uniform(void **state)
{
	(void)state;
	enum { RECORDS = 1000, DRAWS = 1000000 };
	uint32_t *counts;
	shares_of(DISTRIBUTION_UNIFORM, RECORDS, DRAWS, &counts);
	uint64_t wide[RECORDS];
	double expected[RECORDS];
	for (int i = 0; i < RECORDS; i++) {
		wide[i] = counts[i];
		expected[i] = (double)DRAWS / RECORDS;
	}
	assert_chi_square(wide, expected, RECORDS);
	for (int i = 0; i < RECORDS; i++)
		expected[i] = (double)(i + 1) / RECORDS;
	assert_kolmogorov(wide, expected, RECORDS, DRAWS);
	memory_free(counts);
}

static void latest_prefers_what_came_last(void **state)
{
	(void)state;
	struct phase phase = run_phase(DISTRIBUTION_LATEST);
	struct generator generator;
	assert_ok(generator_init(&generator, &workload, &phase, 1000));
	struct generator_client draw;
	generator_client_init(&generator, &draw, 0);
	uint64_t newest = 0, acknowledged = 1000;
	for (uint64_t i = 0; i < 400000; i++) {
		if (i % 20 == 0)
			acknowledged++;
		uint64_t key = key_of(&generator, &draw, i, acknowledged);
		assert_true(key < acknowledged);
		assert_true(key > 0);
		newest += key == acknowledged - 1;
	}
	/* 1 / zeta(n), n from 1000 to 21000. */
	assert_near((double)newest / 400000, 1 / zeta(11000, 0.99), 0.005);
	assert_int_equal(key_of(&generator, &draw, 5, 1), 0);
	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(key_of(&generator, &draw, i, 2), 1);
}

/* The share of each distance from the newest key is that of its rank under Gray's approximation. */
static void latest_has_its_distribution(void **state)
{
	(void)state;
	enum { RECORDS = 301, RANKS = RECORDS - 1, DRAWS = 1000000 };
	uint32_t *counts;
	shares_of(DISTRIBUTION_LATEST, RECORDS, DRAWS, &counts);
	struct zipf_gray zipf;
	zipf_gray_init(&zipf, RANKS, 0.99, zeta(RANKS, 0.99));
	uint64_t by_rank[RANKS];
	double expected[RANKS], cumulative[RANKS], previous = 0;
	for (uint64_t rank = 0; rank < RANKS; rank++) {
		double end = rank == 0	 ? 1 / zipf.zeta_n
			     : rank == 1 ? zipf.second / zipf.zeta_n
					 : 1 + (pow((double)(rank + 1) / RANKS, 0.01) - 1) / zipf.eta;
		by_rank[rank] = counts[RECORDS - 1 - rank];
		cumulative[rank] = end;
		expected[rank] = DRAWS * (end - previous);
		previous = end;
	}
	assert_int_equal(counts[0], 0);
	assert_chi_square(by_rank, expected, RANKS);
	assert_kolmogorov(by_rank, cumulative, RANKS, DRAWS);
	memory_free(counts);
}

static void what_is_not_acknowledged_is_not_drawn(void **state)
{
	(void)state;
	struct phase phase = run_phase(DISTRIBUTION_ZIPFIAN);
	phase.mix[OPERATION_INSERT] = 1;
	phase.operations = 2000;
	struct generator generator;
	assert_ok(generator_init(&generator, &workload, &phase, 100));
	assert_int_equal(generator.item_count, 100 + 2000 + 1);
	struct generator_client draw;
	generator_client_init(&generator, &draw, 0);
	bool grown = false;
	for (uint64_t i = 0; i < 20000; i++) {
		uint64_t acknowledged = 100 + i / 10;
		uint64_t key = key_of(&generator, &draw, i, acknowledged);
		assert_true(key < acknowledged);
		grown = grown || key >= 1500;
	}
	assert_true(grown);
}

static void operations_follow_the_mix(void **state)
{
	(void)state;
	struct phase phase = run_phase(DISTRIBUTION_UNIFORM);
	static const double mix[OPERATION_KINDS] = { 40, 20, 10, 15, 10, 5 };
	memcpy(phase.mix, mix, sizeof(mix));
	phase.scan_min = 1;
	phase.scan_max = 100;
	struct generator generator;
	assert_ok(generator_init(&generator, &workload, &phase, 1000));
	enum { DRAWS = 400000 };
	uint64_t counts[OPERATION_KINDS] = { 0 }, lengths[101] = { 0 }, scans = 0;
	double expected[OPERATION_KINDS], expected_lengths[100];
	struct generator_client draw;
	generator_client_init(&generator, &draw, 1);
	for (uint64_t i = 0; i < DRAWS; i++) {
		struct operation operation;
		generator_operations(&generator, &draw, i, 1, 1000, &operation);
		counts[operation.kind]++;
		if (operation.kind == OPERATION_SCAN) {
			assert_in_range(operation.scan_count, 1, 100);
			lengths[operation.scan_count]++;
			scans++;
		}
		if (operation.kind == OPERATION_INSERT) {
			assert_int_equal(operation.key_size, 0);
		} else {
			uint8_t text[KEY_TEXT_MAX];
			assert_int_equal(key_format(INSERT_HASHED, operation.key_number, text),
					 operation.key_size);
			assert_memory_equal(text, operation.key, operation.key_size);
		}
	}
	for (int i = 0; i < OPERATION_KINDS; i++)
		expected[i] = DRAWS * mix[i] / 100;
	assert_chi_square(counts, expected, OPERATION_KINDS);
	for (int i = 0; i < 100; i++)
		expected_lengths[i] = (double)scans / 100;
	assert_chi_square(lengths + 1, expected_lengths, 100);
}

/* Batches are how operations are drawn, not which: the definition, by random.h and the formulas alone. */
static void batches_hold_the_defined_operations(void **state)
{
	(void)state;
	enum { RECORDS = 5000, ACKNOWLEDGED = 4000 };
	struct phase phase = run_phase(DISTRIBUTION_ZIPFIAN);
	phase.mix[OPERATION_INSERT] = 0.25;
	phase.mix[OPERATION_SCAN] = 1;
	phase.scan_max = 50;
	phase.operations = 100000;
	struct generator generator;
	struct generator_client draw;
	struct operation operations[GENERATOR_BATCH];
	assert_ok(generator_init(&generator, &workload, &phase, RECORDS));
	generator_client_init(&generator, &draw, 3);
	assert_int_equal(generator.item_count, RECORDS + 22222 + 1);
	uint64_t first = 0, redrawn = 0;
	for (uint32_t round = 0; round < 200; round++) {
		uint32_t count = round % GENERATOR_BATCH + 1;
		generator_operations(&generator, &draw, first, count, ACKNOWLEDGED, operations);
		for (uint32_t i = 0; i < count; i++) {
			uint64_t stream = random_at(random_at(42, 3), first + i);
			double kind = (double)random_at(stream, 0) * 0x1p-64 * 2.25;
			struct random keys = { .seed = stream, .counter = 2 };
			uint64_t number;
			if (operations[i].kind == OPERATION_INSERT) {
				assert_true(kind >= 1 && kind <= 1.25);
				continue;
			}
			assert_int_equal(operations[i].kind, kind < 1 ? OPERATION_READ : OPERATION_SCAN);
			do {
				uint64_t rank = zipf_gray_rank(&generator.scrambled, random_unit(&keys));
				number = fnv64_absolute(rank) % generator.item_count;
				redrawn += number >= ACKNOWLEDGED;
			} while (number >= ACKNOWLEDGED);
			assert_int_equal(operations[i].key_number, number);
		}
		first += count;
	}
	assert_true(redrawn > 1000);
}

static void operations_depend_on_their_number_alone(void **state)
{
	(void)state;
	static const enum distribution all[] = { DISTRIBUTION_UNIFORM, DISTRIBUTION_ZIPFIAN,
						 DISTRIBUTION_ZIPFIAN_EXACT, DISTRIBUTION_LATEST,
						 DISTRIBUTION_SEQUENTIAL };
	for (size_t d = 0; d < sizeof(all) / sizeof(all[0]); d++) {
		struct phase phase = run_phase(all[d]);
		phase.mix[OPERATION_SCAN] = 1;
		phase.scan_max = 50;
		struct generator generator;
		assert_ok(generator_init(&generator, &workload, &phase, 5000));
		struct generator_client forward, backward, other;
		generator_client_init(&generator, &forward, 2);
		generator_client_init(&generator, &backward, 2);
		generator_client_init(&generator, &other, 3);
		struct operation first[100], again;
		int same = 0;
		for (uint64_t i = 0; i < 100; i++)
			generator_operations(&generator, &forward, i, 1, 5000, &first[i]);
		for (uint64_t i = 100; i-- > 0;) {
			generator_operations(&generator, &backward, i, 1, 5000, &again);
			assert_int_equal(again.kind, first[i].kind);
			assert_int_equal(again.key_number, first[i].key_number);
			assert_int_equal(again.scan_count, first[i].scan_count);
			generator_operations(&generator, &other, i, 1, 5000, &again);
			same += again.key_number == first[i].key_number;
		}
		assert_true(same < 50);
	}
}

static void senseless_phases_are_refused(void **state)
{
	(void)state;
	struct generator generator;
	struct phase phase = run_phase(DISTRIBUTION_UNIFORM);
	assert_status(generator_init(&generator, &workload, &phase, 0), STATUS_INVALID);
	phase.mix[OPERATION_READ] = 0;
	assert_status(generator_init(&generator, &workload, &phase, 10), STATUS_INVALID);
	phase.mix[OPERATION_INSERT] = 3;
	assert_ok(generator_init(&generator, &workload, &phase, 0));
	phase = run_phase(DISTRIBUTION_ZIPFIAN_EXACT);
	phase.theta = 2;
	assert_status(generator_init(&generator, &workload, &phase, 10), STATUS_INVALID);
}

static void shares_of_known_counts(void **state)
{
	(void)state;
	uint32_t counts[200] = { 0 };
	for (int i = 0; i < 200; i++)
		counts[i] = 1;
	counts[77] = 10000;
	counts[3] = 5000;
	counts[120] = 100;
	struct key_shares shares = key_shares_of(counts, 200);
	double draws = 10000 + 5000 + 100 + 197;
	assert_near(shares.top1, 10000 / draws, 1e-12);
	assert_near(shares.top1pct, 15000 / draws, 1e-12);
	assert_near(shares.top10pct, (15100 + 17) / draws, 1e-12);
	uint32_t none[5] = { 0 };
	assert_true(isnan(key_shares_of(none, 5).top1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_those_of_ycsb),
		cmocka_unit_test(ranks_and_keys_are_those_of_ycsb),
		cmocka_unit_test(numbers_are_printed_exactly),
		cmocka_unit_test(zeta_matches_known_values),
		cmocka_unit_test(exact_zipf_has_its_distribution),
		cmocka_unit_test(permutations_are_bijections),
		cmocka_unit_test(realised_shares_are_the_computed_ones),
		cmocka_unit_test(scrambled_shares_at_a_million),
		cmocka_unit_test(scrambled_zipf_has_its_distribution),
		cmocka_unit_test(uniform_is_uniform),
		cmocka_unit_test(latest_prefers_what_came_last),
		cmocka_unit_test(latest_has_its_distribution),
		cmocka_unit_test(what_is_not_acknowledged_is_not_drawn),
		cmocka_unit_test(operations_follow_the_mix),
		cmocka_unit_test(batches_hold_the_defined_operations),
		cmocka_unit_test(operations_depend_on_their_number_alone),
		cmocka_unit_test(senseless_phases_are_refused),
		cmocka_unit_test(shares_of_known_counts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
