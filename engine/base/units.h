/*
 * units.h: sizes, times and numbers as people write them: "64 MiB", "1.5 GB", "30 s", "250 ms", "1000000".
 *
 * A size without a unit is in bytes; B, kB, MB, GB, TB are decimal and KiB, MiB, GiB, TiB binary, in any
 * case except that a lone letter ("64M") is no unit. A time has a unit always: ns, us, ms, s, min, h. A
 * blank between number and unit is optional. Fractions are exact or refused.
 *
 * The parsers return INVALID with a message of the form "'64 MiBB' is not a size, expected ...".
 */
#ifndef CASCADE_BASE_UNITS_H
#define CASCADE_BASE_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

MUST_CHECK struct status units_parse_size(const char *text, uint64_t *bytes);
MUST_CHECK struct status units_parse_time(const char *text, uint64_t *ns);

/* A whole number, decimal, 0 .. 2^64 - 1; '_' may separate digits: 1_000_000. */
MUST_CHECK struct status units_parse_count(const char *text, uint64_t *count);

/* A finite decimal number. */
MUST_CHECK struct status units_parse_real(const char *text, double *real);

/* true, yes, on, false, no, off, as YAML has them. */
MUST_CHECK struct status units_parse_boolean(const char *text, bool *boolean);

enum { UNITS_TEXT_BYTES = 40 };

/* The shortest exact form, which the parser reads back: 67108864 -> "64 MiB", 1500 -> "1500 B". */
const char *units_format_size(uint64_t bytes, char buffer[static UNITS_TEXT_BYTES]);
const char *units_format_time(uint64_t ns, char buffer[static UNITS_TEXT_BYTES]);

/* The shortest decimal number that reads back as the same double. */
const char *units_format_real(double real, char buffer[static UNITS_TEXT_BYTES]);

/* For people: three or four digits, "953.7 MiB", "1,234,567". Not exact. */
const char *units_print_size(double bytes, char buffer[static UNITS_TEXT_BYTES]);
const char *units_print_count(uint64_t count, char buffer[static UNITS_TEXT_BYTES]);
const char *units_print_time(double seconds, char buffer[static UNITS_TEXT_BYTES]);

#endif
