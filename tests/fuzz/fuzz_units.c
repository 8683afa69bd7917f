/* Sizes, times and numbers as people write them: what parses is printed so that it parses to the same. */
#include <math.h>

#include "base/units.h"
#include "fuzz/fuzz.h"

static void check_quantity(const char *text, struct status (*parse)(const char *, uint64_t *),
			   const char *(*format)(uint64_t, char *))
{
	char buffer[UNITS_TEXT_BYTES];
	uint64_t value = 0, again = 0;
	struct status status = parse(text, &value);
	if (!status_is_ok(status)) {
		FUZZ_CHECK(status_is(status, STATUS_INVALID) && status.detail != 0);
		return;
	}
	status = parse(format(value, buffer), &again);
	FUZZ_CHECK(status_is_ok(status) && again == value);
}

static const char *format_count(uint64_t count, char *buffer)
{
	(void)snprintf(buffer, UNITS_TEXT_BYTES, "%llu", (unsigned long long)count);
	return buffer;
}

static const char *format_size(uint64_t bytes, char *buffer)
{
	char shown[UNITS_TEXT_BYTES];
	FUZZ_CHECK(strlen(units_print_size((double)bytes, shown)) < UNITS_TEXT_BYTES - 1);
	FUZZ_CHECK(strlen(units_print_count(bytes, shown)) < UNITS_TEXT_BYTES - 1);
	return units_format_size(bytes, buffer);
}

static const char *format_time(uint64_t ns, char *buffer)
{
	char shown[UNITS_TEXT_BYTES];
	FUZZ_CHECK(strlen(units_print_time((double)ns / 1e9, shown)) < UNITS_TEXT_BYTES - 1);
	return units_format_time(ns, buffer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	FUZZ_CHECK(text != NULL);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	check_quantity(text, units_parse_size, format_size);
	check_quantity(text, units_parse_time, format_time);
	check_quantity(text, units_parse_count, format_count);
	double real, again;
	if (status_is_ok(units_parse_real(text, &real))) {
		char buffer[UNITS_TEXT_BYTES];
		FUZZ_CHECK(isfinite(real));
		FUZZ_CHECK(status_is_ok(units_parse_real(units_format_real(real, buffer), &again)));
		FUZZ_CHECK(again == real);
	}
	bool boolean;
	if (status_is_ok(units_parse_boolean(text, &boolean)))
		FUZZ_CHECK(strlen(text) >= 2 && strlen(text) <= 5);
	free(text);
	return 0;
}

size_t fuzz_seed(unsigned index, uint8_t *to)
{
	static const char *const texts[] = {
		"",
		"0",
		"64 MiB",
		"1.5 GB",
		"30 s",
		"250 ms",
		"1_000_000",
		"1.25 KiB",
		"16383 PiB",
		"2 h",
		"0.1 us",
		"yes",
		"FALSE",
		"-1e-300",
		"1.7976931348623157e308",
		"18446744073709551615",
		"18446744073709551615 B",
		"0.000000000000000001 TB",
		"1e15",
		"123456789012345678901",
		NULL,
	};
	return fuzz_text_seed(texts, index, to);
}
