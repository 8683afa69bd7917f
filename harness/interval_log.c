#include "harness/interval_log.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"

/* Of HdrHistogram's V2 encoding: the cookies carry the word size of counts, which is variable. */
enum {
	COOKIE_PLAIN = 0x1c849303 | 0x10,
	COOKIE_COMPRESSED = 0x1c849304 | 0x10,
	SIGNIFICANT_DIGITS = 2,
	HEAD_BYTES = 40,
	COUNT_BYTES_MAX = 9,
	PLAIN_BYTES_MAX = HEAD_BYTES + HISTOGRAM_SLOTS * COUNT_BYTES_MAX,
	STORED_BYTES_MORE = 2 + 5 + 4, /* the stream's head, the block's, and the checksum */
	ADLER_MODULUS = 65521,
	LINE_SECOND = 1000 * 1000 * 1000,
};

_Static_assert(PLAIN_BYTES_MAX <= UINT16_MAX, "one stored block holds the largest histogram");

static uint8_t *put_big(uint8_t *to, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		to[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
	return to + bytes;
}

/* ZigZag LEB128, of which the ninth byte holds eight bits. */
static uint8_t *put_count(uint8_t *to, int64_t value)
{
	uint64_t rest = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
	for (unsigned i = 0; i < COUNT_BYTES_MAX - 1; i++) {
		if (rest < 0x80) {
			*to++ = (uint8_t)rest;
			return to;
		}
		*to++ = (uint8_t)(rest | 0x80);
		rest >>= 7;
	}
	*to++ = (uint8_t)rest;
	return to;
}

/* The counts up to the last one that is not 0; a run of zeros is one negative number. */
static uint8_t *put_counts(uint8_t *to, const struct histogram *histogram)
{
	int64_t zeros = 0;
	uint32_t last = histogram->count > 0 ? histogram_slot(histogram->max_ns) : 0;
	for (uint32_t slot = 0; slot <= last; slot++) {
		uint64_t count = histogram->counts[slot];
		if (count == 0) {
			zeros++;
			continue;
		}
		if (zeros > 0)
			to = put_count(to, zeros > 1 ? -zeros : 0);
		zeros = 0;
		to = put_count(to, (int64_t)count);
	}
	return to;
}

/* The V2 encoding; returns its size. `to`: PLAIN_BYTES_MAX bytes. */
static size_t encode_plain(const struct histogram *histogram, uint8_t *to)
{
	uint8_t *end = put_counts(to + HEAD_BYTES, histogram);
	const double conversion_ratio = 1;
	uint64_t ratio_bits;
	memcpy(&ratio_bits, &conversion_ratio, sizeof(ratio_bits));
	uint8_t *at = put_big(to, COOKIE_PLAIN, 4);
	at = put_big(at, (uint64_t)(end - to) - HEAD_BYTES, 4);
	at = put_big(at, 0, 4); /* no offset of the counts */
	at = put_big(at, SIGNIFICANT_DIGITS, 4);
	at = put_big(at, 1, 8); /* the lowest value that is told from others */
	at = put_big(at, (1ull << HISTOGRAM_VALUE_BITS) - 1, 8);
	(void)put_big(at, ratio_bits, 8);
	return (size_t)(end - to);
}

static uint32_t adler32(const uint8_t *data, size_t size)
{
	uint32_t low = 1, high = 0;
	for (size_t i = 0; i < size; i++) {
		low = (low + data[i]) % ADLER_MODULUS;
		high = (high + low) % ADLER_MODULUS;
	}
	return high << 16 | low;
}

/* A zlib stream (RFC 1950) of one stored block (RFC 1951). Returns the end. */
static uint8_t *put_stored(uint8_t *to, const uint8_t *data, size_t size)
{
	*to++ = 0x78;
	*to++ = 0x01;
	*to++ = 1; /* the last block */
	*to++ = (uint8_t)size;
	*to++ = (uint8_t)(size >> 8);
	*to++ = (uint8_t)~size;
	*to++ = (uint8_t)(~size >> 8);
	memcpy(to, data, size);
	return put_big(to + size, adler32(data, size), 4);
}

static char *encode_base64(const uint8_t *data, size_t size)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *text = memory_allocate((size + 2) / 3 * 4 + 1);
	if (text == NULL)
		return NULL;
	char *to = text;
	for (size_t i = 0; i < size; i += 3) {
		size_t left = size - i;
		uint32_t three = (uint32_t)data[i] << 16;
		three |= left > 1 ? (uint32_t)data[i + 1] << 8 : 0;
		three |= left > 2 ? data[i + 2] : 0;
		*to++ = digits[three >> 18];
		*to++ = digits[three >> 12 & 63];
		*to++ = left > 1 ? digits[three >> 6 & 63] : '=';
		*to++ = left > 2 ? digits[three & 63] : '=';
	}
	*to = '\0';
	return text;
}

char *interval_log_encode(const struct histogram *histogram)
{
	uint8_t *plain = memory_allocate(PLAIN_BYTES_MAX);
	uint8_t *whole = memory_allocate(8 + PLAIN_BYTES_MAX + STORED_BYTES_MORE);
	char *text = NULL;
	if (plain != NULL && whole != NULL) {
		size_t size = encode_plain(histogram, plain);
		uint8_t *end = put_stored(whole + 8, plain, size);
		(void)put_big(put_big(whole, COOKIE_COMPRESSED, 4), (uint64_t)(end - whole) - 8, 4);
		text = encode_base64(whole, (size_t)(end - whole));
	}
	memory_free(plain);
	memory_free(whole);
	return text;
}

/* The lines that readers look into are shorter than 128 bytes, as one of them needs. */
void interval_log_write_head(FILE *file, uint64_t start_unix_ns)
{
	char text[64];
	struct tm utc;
	time_t seconds = (time_t)(start_unix_ns / LINE_SECOND);
	(void)gmtime_r(&seconds, &utc);
	(void)strftime(text, sizeof(text), "%a %b %d %H:%M:%S UTC %Y", &utc);
	(void)fprintf(file, "#[Logged with cascade; values in nanoseconds]\n");
	(void)fprintf(file, "#[Histogram log format version 1.3]\n");
	(void)fprintf(file, "#[StartTime: %" PRIu64 ".%03" PRIu64 " (seconds since epoch), %s]\n",
		      start_unix_ns / LINE_SECOND, start_unix_ns % LINE_SECOND / 1000000, text);
	(void)fprintf(file, "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\","
			    "\"Interval_Compressed_Histogram\"\n");
}

void interval_log_write_line(FILE *file, const char *tag, uint64_t start_unix_ns, double seconds,
			     uint64_t max_ns, const char *encoded)
{
	(void)fprintf(file, "Tag=%s,%" PRIu64 ".%03" PRIu64 ",%.3f,%.3f,%s\n", tag,
		      start_unix_ns / LINE_SECOND, start_unix_ns % LINE_SECOND / 1000000, seconds,
		      (double)max_ns / 1e6, encoded);
}
