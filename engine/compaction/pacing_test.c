/*
 * pacing_test.c: how the delay of writers follows the debt. No clock but a number. Takes no time.
 */
#include "test.h"

#include "compaction/pacing.h"

#define MS 1000000ull
#define S  (1000 * MS)

static struct pacer pacer_at(enum pacing_lender lender, uint32_t fill, uint64_t rate)
{
	struct pacer pacer = { 0 };
	if (rate > 0) {
		/* One sample of work: `rate` bytes in a second. */
		pacer_drain_begin(&pacer, lender, 1 * S);
		pacer_drained(&pacer, lender, rate, 2 * S);
		assert_int_equal(pacer.drain[lender].rate, rate);
	}
	pacer_set_fill(&pacer, lender, fill, PACING_FULL);
	assert_int_equal(pacer.fill[lender], fill);
	return pacer;
}

/* Nanoseconds for `count` writes of `bytes`, one after the other, each as soon as it may. */
static uint64_t time_of_writes(struct pacer *pacer, unsigned count, uint64_t bytes, uint64_t now_ns)
{
	uint64_t begin_ns = now_ns;
	for (unsigned i = 0; i < count; i++) {
		uint64_t place;
		uint64_t at = pacer_admit(pacer, bytes, now_ns, &place);
		assert_true(at >= now_ns);
		assert_true(at != UINT64_MAX);
		if (at > now_ns)
			assert_int_equal(pacer_again(pacer, place, at), at);
		now_ns = at;
	}
	return now_ns - begin_ns;
}

static void test_below_half_writers_are_free(void **state)
{
	(void)state;
	for (uint32_t fill = 0; fill < PACING_FREE; fill++) {
		struct pacer pacer = pacer_at(PACING_MEMTABLES, fill, 1 << 20);
		assert_int_equal(time_of_writes(&pacer, 100, 1 << 20, 5 * S), 0);
		assert_int_equal(pacer.delayed_writes, 0);
		assert_int_equal(pacer.delayed_ns, 0);
	}
}

static void test_delay_rises_smoothly(void **state)
{
	(void)state;
	uint64_t before = 0;
	for (uint32_t fill = PACING_FREE; fill < PACING_FULL; fill++) {
		struct pacer pacer = pacer_at(PACING_LEVEL0, fill, 100 << 20);
		uint64_t took = time_of_writes(&pacer, 1000, 1 << 20, 5 * S);
		/* 1000 MiB at 400 MiB/s times what is left of the upper half; the burst is at most 1 ms. */
		uint64_t expected = 1000 * S / 400 * 512 / (PACING_FULL - fill);
		assert_true(took <= expected + expected / 100);
		assert_true(took + 4 * MS + expected / 100 >= expected);
		assert_true(took >= before);
		before = took;
		assert_true(pacer.delayed_writes > 900);
	}
}

static void test_full_stops_and_books_nothing(void **state)
{
	(void)state;
	for (unsigned lender = 0; lender < PACING_LENDERS; lender++) {
		struct pacer pacer = pacer_at((enum pacing_lender)lender, PACING_FULL, 100 << 20);
		uint64_t place;
		for (unsigned i = 0; i < 1000; i++)
			assert_int_equal(pacer_admit(&pacer, 1 << 20, 5 * S + i, &place), UINT64_MAX);
		assert_int_equal(pacer.stopped_writes, 1000);
		assert_int_equal(pacer_pressure(&pacer), PACING_FULL);
		/* Those who were stopped left nothing behind. */
		pacer_set_fill(&pacer, (enum pacing_lender)lender, 1, 2);
		assert_int_equal(pacer_admit(&pacer, 1, 6 * S, &place), 6 * S);
	}
}

/* More than full is full; a huge resource does not overflow. */
static void test_fill_in_integers(void **state)
{
	(void)state;
	struct pacer pacer = { 0 };
	pacer_set_fill(&pacer, PACING_LOG, 10, 3);
	assert_int_equal(pacer.fill[PACING_LOG], PACING_FULL);
	pacer_set_fill(&pacer, PACING_LOG, (1ull << 50) - 1, 1ull << 50);
	assert_int_equal(pacer.fill[PACING_LOG], PACING_FULL - 1);
	pacer_set_fill(&pacer, PACING_LOG, 0, 1);
	assert_int_equal(pacer.fill[PACING_LOG], 0);
}

/* The lender with the least to lend decides. */
static void test_the_tightest_lender_decides(void **state)
{
	(void)state;
	struct pacer pacer = pacer_at(PACING_MEMTABLES, 600, 1000 << 20);
	uint64_t alone = time_of_writes(&pacer, 100, 1 << 20, 5 * S);
	struct pacer both = pacer_at(PACING_MEMTABLES, 600, 1000 << 20);
	both.drain[PACING_LOG].rate = 10 << 20;
	pacer_set_fill(&both, PACING_LOG, 600, PACING_FULL);
	uint64_t together = time_of_writes(&both, 100, 1 << 20, 5 * S);
	assert_true(together > 50 * alone);
}

/* Writers as fast as they may against a resource that drains at a fixed rate: the fill settles at seven
 * eighths, wherever it began, and the delays of single writes do not jump. */
static void settle(uint64_t drain_rate, uint64_t write_bytes, uint32_t fill_first)
{
	const uint64_t capacity = 64 << 20;
	struct pacer pacer = { 0 };
	pacer.drain[PACING_MEMTABLES].rate = drain_rate;
	uint64_t used = capacity / PACING_FULL * fill_first;
	uint64_t now_ns = 10 * S;
	uint64_t drained_ns = now_ns;
	uint64_t delay_max = 0;
	for (unsigned i = 0; now_ns < 60 * S && i < 1000000; i++) {
		uint64_t place;
		uint64_t drained = (uint64_t)((unsigned __int128)(now_ns - drained_ns) * drain_rate / S);
		drained_ns = now_ns;
		used = used > drained ? used - drained : 0;
		pacer_set_fill(&pacer, PACING_MEMTABLES, used, capacity);
		uint64_t at = pacer_admit(&pacer, write_bytes, now_ns, &place);
		assert_true(at != UINT64_MAX);
		if (now_ns > 40 * S && at - now_ns > delay_max)
			delay_max = at - now_ns;
		now_ns = at;
		used += write_bytes;
	}
	uint32_t fill = pacer_pressure(&pacer);
	if (fill < 880 || fill > 912)
		fail_msg("rate %llu, writes of %llu: the fill settles at %u", (unsigned long long)drain_rate,
			 (unsigned long long)write_bytes, fill);
	/* In balance each write waits for as long as its own bytes take to drain, and little more. */
	assert_true(delay_max <= 2 * (write_bytes * S / drain_rate) + 2 * MS);
}

static void test_equilibrium_at_seven_eighths(void **state)
{
	(void)state;
	settle(100 << 20, 64 << 10, 0);
	settle(100 << 20, 64 << 10, 1000);
	settle(20 << 20, 4 << 10, 512);
	settle(300 << 20, 1 << 20, 700);
}

/* A writer that began to wait when things were bad goes on when they are good again. */
static void test_a_place_is_not_a_time(void **state)
{
	(void)state;
	struct pacer pacer = pacer_at(PACING_MEMTABLES, PACING_FULL - 1, 1 << 20);
	uint64_t first, second;
	assert_int_equal(pacer_admit(&pacer, 1 << 20, 5 * S, &first), 5 * S);
	uint64_t at = pacer_admit(&pacer, 100, 5 * S, &second);
	assert_true(at > 65 * S); /* behind 1 MiB at 8 KiB/s */
	/* At twice that rate, half of the time. */
	pacer_set_fill(&pacer, PACING_MEMTABLES, PACING_FULL - 2, PACING_FULL);
	uint64_t sooner = pacer_again(&pacer, second, 5 * S);
	assert_true(sooner - 5 * S <= (at - 5 * S) / 2 + MS);
	/* Stopped: not now, but the place stays. */
	pacer_set_fill(&pacer, PACING_MEMTABLES, 1, 1);
	assert_int_equal(pacer_again(&pacer, second, 6 * S), UINT64_MAX);
	/* Free: at once, and so is everybody after. */
	pacer_set_fill(&pacer, PACING_MEMTABLES, 0, 1);
	assert_int_equal(pacer_again(&pacer, second, 6 * S), 6 * S);
	pacer_set_fill(&pacer, PACING_MEMTABLES, PACING_FREE, PACING_FULL);
	assert_int_equal(pacer_admit(&pacer, 100, 6 * S, &first), 6 * S);
}

/* At the lowest rates a look costs nothing of the time that went by before it. */
static void test_frequent_looks_lose_no_time(void **state)
{
	(void)state;
	struct pacer pacer = pacer_at(PACING_MEMTABLES, PACING_FULL - 1, 1 << 20);
	uint64_t place;
	uint64_t now_ns = 5 * S;
	assert_int_equal(pacer_admit(&pacer, 8192, now_ns, &place), now_ns);
	uint64_t at = pacer_admit(&pacer, 1, now_ns, &place);
	while (pacer_again(&pacer, place, now_ns) > now_ns)
		now_ns += 10000;
	assert_true(now_ns + MS >= at);
	assert_true(now_ns <= at + MS);
}

/* Nobody saves up: after a long rest, at most a millisecond's worth passes at once. */
static void test_rest_earns_little(void **state)
{
	(void)state;
	struct pacer pacer = pacer_at(PACING_MEMTABLES, PACING_FREE, 1 << 20); /* 4 MiB/s */
	(void)time_of_writes(&pacer, 10, 4096, 5 * S);
	uint64_t place;
	unsigned passed = 0;
	while (pacer_admit(&pacer, 512, 1000 * S, &place) == 1000 * S)
		passed++;
	assert_true(passed <= 4096 / 512 + 2);
}

static void test_rates_are_smoothed(void **state)
{
	(void)state;
	struct pacer pacer = { 0 };
	pacer_drain_begin(&pacer, PACING_LOG, 1 * S);
	/* Nothing is concluded from less than 20 ms. */
	pacer_drained(&pacer, PACING_LOG, 1 << 20, 1 * S + 1 * MS);
	assert_int_equal(pacer.drain[PACING_LOG].rate, 0);
	uint64_t now_ns = 1 * S + 100 * MS;
	pacer_drained(&pacer, PACING_LOG, 9 << 20, now_ns);
	assert_int_equal(pacer.drain[PACING_LOG].rate, 100 << 20);
	/* A jump to half moves it by an eighth of the way at a time, and in the end all the way. */
	uint64_t before = pacer.drain[PACING_LOG].rate;
	for (unsigned i = 0; i < 100; i++) {
		now_ns += 100 * MS;
		pacer_drained(&pacer, PACING_LOG, 5 << 20, now_ns);
		uint64_t rate = pacer.drain[PACING_LOG].rate;
		assert_true(rate <= before);
		assert_true(before - rate <= (before - (50 << 20)) / 8 + 1);
		before = rate;
	}
	assert_true(before < (51 << 20));
	/* The time between two stretches of work is nobody's. */
	pacer_drain_begin(&pacer, PACING_LOG, now_ns + 100 * S);
	pacer_drained(&pacer, PACING_LOG, 5 << 20, now_ns + 100 * S + 100 * MS);
	assert_true(pacer.drain[PACING_LOG].rate > (49 << 20));
}

/* Whatever comes: never back in time, never past the far end, and sums that add up. */
static void test_random_sequences(void **state)
{
	(void)state;
	uint64_t seed = test_seed(104);
	struct random random = random_stream(seed);
	for (unsigned round = 0; round < 200; round++) {
		struct pacer pacer = { 0 };
		uint64_t now_ns = random_below(&random, 100 * S);
		uint64_t delays = 0;
		for (unsigned i = 0; i < 500; i++) {
			enum pacing_lender lender = (enum pacing_lender)random_below(&random, PACING_LENDERS);
			uint64_t place;
			switch (random_below(&random, 4)) {
			case 0:
				pacer_set_fill(&pacer, lender, random_below(&random, 1100), 1024);
				break;
			case 1:
				pacer_drained(&pacer, lender, random_below(&random, 1ull << 40), now_ns);
				break;
			case 2:
				now_ns += random_below(&random, 10 * MS);
				break;
			default: {
				uint64_t bytes = random_below(&random, 2 << 20);
				uint64_t at = pacer_admit(&pacer, bytes, now_ns, &place);
				assert_true(at >= now_ns);
				assert_true((at == UINT64_MAX) == (pacer_pressure(&pacer) >= PACING_FULL));
				if (at != UINT64_MAX) {
					delays += at - now_ns;
					assert_true(at - now_ns < 7200 * S);
					uint64_t again = pacer_again(&pacer, place, now_ns);
					assert_true(again <= at);
				}
			}
			}
		}
		assert_int_equal(pacer.delayed_ns, delays);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_below_half_writers_are_free),
		cmocka_unit_test(test_delay_rises_smoothly),
		cmocka_unit_test(test_full_stops_and_books_nothing),
		cmocka_unit_test(test_fill_in_integers),
		cmocka_unit_test(test_the_tightest_lender_decides),
		cmocka_unit_test(test_equilibrium_at_seven_eighths),
		cmocka_unit_test(test_a_place_is_not_a_time),
		cmocka_unit_test(test_frequent_looks_lose_no_time),
		cmocka_unit_test(test_rest_earns_little),
		cmocka_unit_test(test_rates_are_smoothed),
		cmocka_unit_test(test_random_sequences),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
