#include "base/units.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct unit {
	const char *name;
	uint64_t scale;
};

static const struct unit size_units[] = {
	{ "B", 1 },
	{ "kB", 1000 },
	{ "MB", 1000000 },
	{ "GB", 1000000000 },
	{ "TB", 1000000000000 },
	{ "KiB", 1ull << 10 },
	{ "MiB", 1ull << 20 },
	{ "GiB", 1ull << 30 },
	{ "TiB", 1ull << 40 },
	{ NULL, 0 },
};

static const struct unit time_units[] = {
	{ "ns", 1 },	     { "us", 1000 },	     { "ms", 1000000 },
	{ "s", 1000000000 }, { "min", 60000000000 }, { "h", 3600000000000 },
	{ NULL, 0 },
};

enum { FRACTION_DIGITS_MAX = 18 };

/* "1_000.25" as whole = 1000, fraction = 25, fraction_scale = 100; returns its end, NULL if malformed. */
static const char *scan_decimal(const char *text, uint64_t *whole, uint64_t *fraction,
				uint64_t *fraction_scale)
{
	*whole = 0;
	*fraction = 0;
	*fraction_scale = 1;
	if (!isdigit((unsigned char)*text))
		return NULL;
	for (; isdigit((unsigned char)*text) || (*text == '_' && isdigit((unsigned char)text[1])); text++) {
		if (*text == '_')
			continue;
		if (__builtin_mul_overflow(*whole, 10ull, whole) ||
		    __builtin_add_overflow(*whole, (uint64_t)(*text - '0'), whole))
			return NULL;
	}
	if (*text != '.')
		return text;
	text++;
	if (!isdigit((unsigned char)*text))
		return NULL;
	for (int digits = 0; isdigit((unsigned char)*text); text++, digits++) {
		if (digits == FRACTION_DIGITS_MAX)
			return NULL;
		*fraction = *fraction * 10 + (uint64_t)(*text - '0');
		*fraction_scale *= 10;
	}
	return text;
}

static const struct unit *unit_find(const struct unit *units, const char *name)
{
	for (; units->name != NULL; units++) {
		if (strcasecmp(units->name, name) == 0)
			return units;
	}
	return NULL;
}

enum scan_result { SCAN_OK, SCAN_MALFORMED, SCAN_NO_UNIT, SCAN_TOO_LARGE };

static enum scan_result scan_quantity(const char *text, const struct unit *units, uint64_t *value)
{
	uint64_t whole, fraction, fraction_scale;
	const char *rest = scan_decimal(text, &whole, &fraction, &fraction_scale);
	if (rest == NULL)
		return isdigit((unsigned char)*text) && strchr(text, '.') == NULL ? SCAN_TOO_LARGE
										  : SCAN_MALFORMED;
	while (*rest == ' ')
		rest++;
	uint64_t scale = 1;
	if (*rest != '\0') {
		const struct unit *unit = unit_find(units, rest);
		if (unit == NULL)
			return SCAN_MALFORMED;
		scale = unit->scale;
	} else if (units == time_units && (whole != 0 || fraction != 0)) {
		return SCAN_NO_UNIT;
	}
	unsigned __int128 part = (unsigned __int128)fraction * scale;
	if (part % fraction_scale != 0)
		return SCAN_MALFORMED;
	unsigned __int128 sum = (unsigned __int128)whole * scale + part / fraction_scale;
	if (sum > UINT64_MAX)
		return SCAN_TOO_LARGE;
	*value = (uint64_t)sum;
	return SCAN_OK;
}

struct status units_parse_size(const char *text, uint64_t *bytes)
{
	switch (scan_quantity(text, size_units, bytes)) {
	case SCAN_OK:
		return status_ok();
	case SCAN_TOO_LARGE:
		return status_error(STATUS_INVALID, "'%.64s' is too large, expected less than 16 EiB", text);
	default:
		return status_error(
			STATUS_INVALID,
			"'%.64s' is not a size, expected bytes or a number with kB, MB, GB, KiB, MiB or GiB",
			text);
	}
}

struct status units_parse_time(const char *text, uint64_t *ns)
{
	switch (scan_quantity(text, time_units, ns)) {
	case SCAN_OK:
		return status_ok();
	case SCAN_TOO_LARGE:
		return status_error(STATUS_INVALID, "'%.64s' is too large, expected less than 500 years",
				    text);
	case SCAN_NO_UNIT:
		return status_error(STATUS_INVALID, "'%.64s' has no unit, expected a time such as '%.20s s'",
				    text, text);
	default:
		return status_error(STATUS_INVALID,
				    "'%.64s' is not a time, expected a number with ns, us, ms, s, min or h",
				    text);
	}
}

struct status units_parse_count(const char *text, uint64_t *count)
{
	uint64_t fraction, fraction_scale;
	const char *rest = scan_decimal(text, count, &fraction, &fraction_scale);
	if (rest != NULL && *rest == '\0' && fraction == 0 && fraction_scale == 1)
		return status_ok();
	size_t digits = strspn(text, "0123456789_");
	if (rest == NULL && digits > 0 && text[digits] == '\0')
		return status_error(STATUS_INVALID,
				    "'%.64s' is too large, expected a whole number below 2^64", text);
	return status_error(STATUS_INVALID, "'%.64s' is not a number, expected a whole number", text);
}

struct status units_parse_real(const char *text, double *real)
{
	/* strtod alone would also take hexadecimal, inf, nan and leading blanks. */
	size_t length = strspn(text, "0123456789.eE+-");
	char *end = NULL;
	if (length > 0 && text[length] == '\0') {
		errno = 0;
		*real = strtod(text, &end);
		if (*end == '\0' && isfinite(*real))
			return status_ok();
	}
	return status_error(STATUS_INVALID, "'%.64s' is not a number, expected a decimal number", text);
}

struct status units_parse_boolean(const char *text, bool *boolean)
{
	static const char *const yes[] = { "true", "yes", "on" };
	static const char *const no[] = { "false", "no", "off" };
	for (size_t i = 0; i < 3; i++) {
		if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
			*boolean = strcasecmp(text, yes[i]) == 0;
			return status_ok();
		}
	}
	return status_error(STATUS_INVALID, "'%.64s' is neither true nor false, expected true or false",
			    text);
}

/* The largest unit, among those from `first` on, that divides the value. */
static const char *format_exact(uint64_t value, const struct unit *units, char *buffer)
{
	const struct unit *best = &units[0];
	for (const struct unit *unit = units; unit->name != NULL; unit++) {
		if (value != 0 && value % unit->scale == 0 && unit->scale >= best->scale)
			best = unit;
	}
	(void)snprintf(buffer, UNITS_TEXT_BYTES, "%" PRIu64 " %s", value / best->scale, best->name);
	return buffer;
}

const char *units_format_size(uint64_t bytes, char buffer[static UNITS_TEXT_BYTES])
{
	return format_exact(bytes, size_units, buffer);
}

const char *units_format_time(uint64_t ns, char buffer[static UNITS_TEXT_BYTES])
{
	/* 90 s, rather than 1.5 min, but 2 min for 120 s. */
	return format_exact(ns, time_units, buffer);
}

const char *units_format_real(double real, char buffer[static UNITS_TEXT_BYTES])
{
	/* 20 is shorter than 2e+01 to people. */
	if (real > -1e15 && real < 1e15 && real == (double)(int64_t)real) {
		(void)snprintf(buffer, UNITS_TEXT_BYTES, "%.0f", real);
		return buffer;
	}
	for (int digits = 1; digits <= 17; digits++) {
		(void)snprintf(buffer, UNITS_TEXT_BYTES, "%.*g", digits, real);
		if (strtod(buffer, NULL) == real)
			break;
	}
	return buffer;
}

const char *units_print_size(double bytes, char buffer[static UNITS_TEXT_BYTES])
{
	static const char *const names[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	size_t unit = 0;
	while (bytes >= 1024 && unit + 1 < sizeof(names) / sizeof(names[0])) {
		bytes /= 1024;
		unit++;
	}
	(void)snprintf(buffer, UNITS_TEXT_BYTES, "%.*f %s", unit == 0 || bytes >= 100 ? 0 : 1, bytes,
		       names[unit]);
	return buffer;
}

const char *units_print_count(uint64_t count, char buffer[static UNITS_TEXT_BYTES])
{
	char digits[24];
	int length = snprintf(digits, sizeof(digits), "%" PRIu64, count);
	char *to = buffer;
	for (int i = 0; i < length; i++) {
		if (i > 0 && (length - i) % 3 == 0)
			*to++ = ',';
		*to++ = digits[i];
	}
	*to = '\0';
	return buffer;
}

const char *units_print_time(double seconds, char buffer[static UNITS_TEXT_BYTES])
{
	unsigned long long whole = seconds > 0 ? (unsigned long long)seconds : 0;
	if (seconds < 99.5)
		(void)snprintf(buffer, UNITS_TEXT_BYTES, "%.0f s", seconds);
	else if (whole < 6000)
		(void)snprintf(buffer, UNITS_TEXT_BYTES, "%llu min %02llu s", whole / 60, whole % 60);
	else
		(void)snprintf(buffer, UNITS_TEXT_BYTES, "%llu h %02llu min", whole / 3600,
			       whole % 3600 / 60);
	return buffer;
}
