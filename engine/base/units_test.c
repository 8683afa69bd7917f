#include <string.h>

#include "base/units.h"
#include "test.h"

struct good {
	const char *text;
	uint64_t value;
};

struct bad {
	const char *text;
	const char *message;
};

#define NOT_A_SIZE " is not a size, expected bytes or a number with kB, MB, GB, KiB, MiB or GiB"
#define NOT_A_TIME " is not a time, expected a number with ns, us, ms, s, min or h"

static void assert_message(struct status status, const char *message)
{
	char text[256];
	assert_true(status_is(status, STATUS_INVALID));
	status_describe(status, text, sizeof(text));
	assert_string_equal(text, message);
}

static void test_sizes(void **state)
{
	(void)state;
	static const struct good cases[] = {
		{ "0", 0 },
		{ "1000", 1000 },
		{ "1_000_000", 1000000 },
		{ "64 MiB", 64 << 20 },
		{ "64MiB", 64 << 20 },
		{ "64   mib", 64 << 20 },
		{ "512 B", 512 },
		{ "1 kB", 1000 },
		{ "1 KB", 1000 },
		{ "1.5 GB", 1500000000 },
		{ "0.5 KiB", 512 },
		{ "2 TiB", 2ull << 40 },
		{ "1 TB", 1000000000000 },
		{ "18446744073709551615", UINT64_MAX },
		{ "16777215 TiB", 16777215ull << 40 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t value = 1;
		assert_ok(units_parse_size(cases[i].text, &value));
		assert_int_equal(value, cases[i].value);
	}
}

static void test_bad_sizes(void **state)
{
	(void)state;
	static const struct bad cases[] = {
		{ "", "''" NOT_A_SIZE },
		{ "-5", "'-5'" NOT_A_SIZE },
		{ "64 MiBB", "'64 MiBB'" NOT_A_SIZE },
		{ "64M", "'64M'" NOT_A_SIZE },
		{ "MiB", "'MiB'" NOT_A_SIZE },
		{ "1. MiB", "'1. MiB'" NOT_A_SIZE },
		{ ".5 MiB", "'.5 MiB'" NOT_A_SIZE },
		{ "0x10", "'0x10'" NOT_A_SIZE },
		{ "1e6", "'1e6'" NOT_A_SIZE },
		{ "1 2", "'1 2'" NOT_A_SIZE },
		{ "0.3 B", "'0.3 B'" NOT_A_SIZE },
		{ "1__0", "'1__0'" NOT_A_SIZE },
		{ " 5", "' 5'" NOT_A_SIZE },
		{ "64 MiB ", "'64 MiB '" NOT_A_SIZE },
		{ "30 s", "'30 s'" NOT_A_SIZE },
		{ "18446744073709551616", "'18446744073709551616' is too large, expected less than 16 EiB" },
		{ "16777216 TiB", "'16777216 TiB' is too large, expected less than 16 EiB" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t value = 1;
		assert_message(units_parse_size(cases[i].text, &value), cases[i].message);
	}
}

static void test_times(void **state)
{
	(void)state;
	static const struct good cases[] = {
		{ "0", 0 },
		{ "5 ns", 5 },
		{ "7us", 7000 },
		{ "250 ms", 250000000 },
		{ "30 s", 30000000000 },
		{ "1.5 min", 90000000000 },
		{ "2 h", 7200000000000 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t value = 1;
		assert_ok(units_parse_time(cases[i].text, &value));
		assert_int_equal(value, cases[i].value);
	}
	uint64_t value;
	assert_message(units_parse_time("30", &value), "'30' has no unit, expected a time such as '30 s'");
	assert_message(units_parse_time("-1 s", &value), "'-1 s'" NOT_A_TIME);
	assert_message(units_parse_time("30 sec", &value), "'30 sec'" NOT_A_TIME);
	assert_message(units_parse_time("30 MiB", &value), "'30 MiB'" NOT_A_TIME);
	assert_message(units_parse_time("999999999999 h", &value),
		       "'999999999999 h' is too large, expected less than 500 years");
}

static void test_counts_reals_booleans(void **state)
{
	(void)state;
	uint64_t count;
	double real;
	bool boolean;
	assert_ok(units_parse_count("18446744073709551615", &count));
	assert_int_equal(count, UINT64_MAX);
	assert_message(units_parse_count("18446744073709551616", &count),
		       "'18446744073709551616' is too large, expected a whole number below 2^64");
	static const char *const no_counts[] = {
		"", "-1", "1.0", "1.5", "1e3", "five", "1 000", "0x1", "+1"
	};
	for (size_t i = 0; i < sizeof(no_counts) / sizeof(no_counts[0]); i++)
		assert_status(units_parse_count(no_counts[i], &count), STATUS_INVALID);

	assert_ok(units_parse_real("-0.25e1", &real));
	assert_true(real == -2.5);
	static const char *const no_reals[] = { "",	 "nan", "inf", "0x1p3", "1e999",
						"1.2.3", " 1",	"1 ",  "-",	"1-2" };
	for (size_t i = 0; i < sizeof(no_reals) / sizeof(no_reals[0]); i++)
		assert_status(units_parse_real(no_reals[i], &real), STATUS_INVALID);

	assert_ok(units_parse_boolean("Yes", &boolean));
	assert_true(boolean);
	assert_ok(units_parse_boolean("off", &boolean));
	assert_false(boolean);
	assert_message(units_parse_boolean("1", &boolean),
		       "'1' is neither true nor false, expected true or false");
}

static void test_formats_read_back(void **state)
{
	(void)state;
	char text[UNITS_TEXT_BYTES];
	assert_string_equal(units_format_size(0, text), "0 B");
	assert_string_equal(units_format_size(1000, text), "1 kB");
	assert_string_equal(units_format_size(1500, text), "1500 B");
	assert_string_equal(units_format_size(64 << 20, text), "64 MiB");
	assert_string_equal(units_format_size(UINT64_MAX, text), "18446744073709551615 B");
	assert_string_equal(units_format_time(90000000000, text), "90 s");
	assert_string_equal(units_format_time(120000000000, text), "2 min");
	assert_string_equal(units_format_time(250000000, text), "250 ms");
	assert_string_equal(units_format_real(20, text), "20");
	assert_string_equal(units_format_real(0.1, text), "0.1");
	assert_string_equal(units_format_real(-1e300, text), "-1e+300");
	uint64_t seed = test_seed(7);
	struct random random = random_stream(seed);
	for (int i = 0; i < 10000; i++) {
		uint64_t value = random_next(&random) >> (random_next(&random) % 64), back = 0;
		assert_ok(units_parse_size(units_format_size(value, text), &back));
		assert_int_equal(value, back);
		assert_ok(units_parse_time(units_format_time(value, text), &back));
		assert_int_equal(value, back);
		double real = random_unit(&random) * 1000, real_back = 0;
		assert_ok(units_parse_real(units_format_real(real, text), &real_back));
		assert_true(real == real_back);
	}
}

static void test_prints(void **state)
{
	(void)state;
	char text[UNITS_TEXT_BYTES];
	assert_string_equal(units_print_size(1000000000, text), "954 MiB");
	assert_string_equal(units_print_size(1536, text), "1.5 KiB");
	assert_string_equal(units_print_size(12, text), "12 B");
	assert_string_equal(units_print_count(0, text), "0");
	assert_string_equal(units_print_count(999, text), "999");
	assert_string_equal(units_print_count(1234567, text), "1,234,567");
	assert_string_equal(units_print_count(UINT64_MAX, text), "18,446,744,073,709,551,615");
	assert_string_equal(units_print_time(12.4, text), "12 s");
	assert_string_equal(units_print_time(125, text), "2 min 05 s");
	assert_string_equal(units_print_time(7260, text), "2 h 01 min");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_bad_sizes),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_counts_reals_booleans),
		cmocka_unit_test(test_formats_read_back),
		cmocka_unit_test(test_prints),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
