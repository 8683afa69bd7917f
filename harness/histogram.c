#include "harness/histogram.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum {
	HISTOGRAM_MAP_BYTES = (sizeof(struct histogram) + 4095) / 4096 * 4096,
	HGRM_TICKS = 5, /* rows for each halving of the distance to 100 % */
	HGRM_DIGITS = 2,
	HGRM_ROWS_MAX = 1 << 20,
};

struct histogram *histogram_create(void)
{
	struct histogram *histogram = memory_map(HISTOGRAM_MAP_BYTES);
	if (histogram != NULL)
		histogram->min_ns = UINT64_MAX;
	return histogram;
}

void histogram_free(struct histogram *histogram)
{
	if (histogram != NULL)
		memory_unmap(histogram, HISTOGRAM_MAP_BYTES);
}

void histogram_reset(struct histogram *histogram)
{
	memset(histogram, 0, sizeof(*histogram));
	histogram->min_ns = UINT64_MAX;
}

uint64_t histogram_slot_lowest(uint32_t slot)
{
	if (slot < HISTOGRAM_SUB_BUCKETS)
		return slot;
	uint32_t shift = (slot >> HISTOGRAM_HALF_BITS) - 1;
	uint64_t sub = (slot & (HISTOGRAM_SUB_BUCKETS / 2 - 1)) + HISTOGRAM_SUB_BUCKETS / 2;
	return sub << shift;
}

uint64_t histogram_slot_highest(uint32_t slot)
{
	return slot + 1 < HISTOGRAM_SLOTS ? histogram_slot_lowest(slot + 1) - 1
					  : (1ull << HISTOGRAM_VALUE_BITS) - 1;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
	/* A difference taken while the recorder was between two stores may hold a sum and no count. */
	into->sum_ns += from->sum_ns;
	if (from->count == 0)
		return;
	uint32_t last = histogram_slot(from->max_ns);
	for (uint32_t slot = histogram_slot(from->min_ns); slot <= last; slot++)
		into->counts[slot] += from->counts[slot];
	into->count += from->count;
	if (from->min_ns < into->min_ns)
		into->min_ns = from->min_ns;
	if (from->max_ns > into->max_ns)
		into->max_ns = from->max_ns;
}

void histogram_add_difference(struct histogram *into, const struct histogram *now, struct histogram *before)
{
	uint64_t max_ns = __atomic_load_n(&now->max_ns, __ATOMIC_RELAXED);
	uint64_t min_ns = __atomic_load_n(&now->min_ns, __ATOMIC_RELAXED);
	uint64_t sum_ns = __atomic_load_n(&now->sum_ns, __ATOMIC_RELAXED);
	if (min_ns == UINT64_MAX)
		return;
	uint32_t last = histogram_slot(max_ns);
	for (uint32_t slot = histogram_slot(min_ns); slot <= last; slot++) {
		uint64_t count = __atomic_load_n(&now->counts[slot], __ATOMIC_RELAXED);
		uint64_t more = count - before->counts[slot];
		if (more == 0)
			continue;
		before->counts[slot] = count;
		before->count += more;
		into->counts[slot] += more;
		into->count += more;
		uint64_t highest = histogram_slot_highest(slot);
		if (highest > max_ns || slot == HISTOGRAM_SLOTS - 1)
			highest = max_ns;
		if (highest > into->max_ns)
			into->max_ns = highest;
		uint64_t lowest = histogram_slot_lowest(slot);
		if (lowest < min_ns)
			lowest = min_ns;
		if (lowest < into->min_ns)
			into->min_ns = lowest;
	}
	into->sum_ns += sum_ns - before->sum_ns;
	before->sum_ns = sum_ns;
}

double histogram_mean(const struct histogram *histogram)
{
	return histogram->count == 0 ? 0 : (double)histogram->sum_ns / (double)histogram->count;
}

double histogram_deviation(const struct histogram *histogram)
{
	if (histogram->count == 0)
		return 0;
	double mean = histogram_mean(histogram);
	double squares = 0;
	uint32_t last = histogram_slot(histogram->max_ns);
	for (uint32_t slot = histogram_slot(histogram->min_ns); slot <= last; slot++) {
		if (histogram->counts[slot] == 0)
			continue;
		double middle =
			((double)histogram_slot_lowest(slot) + (double)histogram_slot_highest(slot)) / 2;
		squares += (double)histogram->counts[slot] * (middle - mean) * (middle - mean);
	}
	return sqrt(squares / (double)histogram->count);
}

/* The upper end of a slot as it is reported. */
static uint64_t slot_value(const struct histogram *histogram, uint32_t slot)
{
	uint64_t highest = histogram_slot_highest(slot);
	return highest > histogram->max_ns || slot == HISTOGRAM_SLOTS - 1 ? histogram->max_ns : highest;
}

uint64_t histogram_quantile(const struct histogram *histogram, double quantile)
{
	if (histogram->count == 0)
		return 0;
	/* The slack keeps 0.9999 * 10000 from becoming rank 10000 by rounding. */
	double exact = quantile * (double)histogram->count;
	double rank_real = ceil(exact - exact * 1e-14);
	uint64_t rank = rank_real < 1 ? 1 : (uint64_t)rank_real;
	if (rank >= histogram->count)
		return histogram->max_ns;
	uint64_t cumulative = 0;
	uint32_t last = histogram_slot(histogram->max_ns);
	for (uint32_t slot = histogram_slot(histogram->min_ns); slot <= last; slot++) {
		cumulative += histogram->counts[slot];
		if (cumulative >= rank)
			return slot_value(histogram, slot);
	}
	return histogram->max_ns;
}

static void write_row(FILE *file, double value, double percentile, uint64_t cumulative)
{
	fprintf(file, "%12.*f %12f %12llu %12.2f\n", HGRM_DIGITS, value, percentile / 100,
		(unsigned long long)cumulative, 1 / (1 - percentile / 100));
}

/* The rows, stepped as HdrHistogram's percentile iterator does. */
static void write_rows(const struct histogram *histogram, FILE *file)
{
	double percentile = 0;
	uint64_t cumulative = 0;
	for (uint32_t slot = 0; slot < HISTOGRAM_SLOTS && cumulative < histogram->count; slot++) {
		if (histogram->counts[slot] == 0)
			continue;
		cumulative += histogram->counts[slot];
		double reached = 100.0 * (double)cumulative / (double)histogram->count;
		while (percentile <= reached && percentile < 100) {
			write_row(file, (double)slot_value(histogram, slot), percentile, cumulative);
			double halvings = floor(log2(100 / (100 - percentile))) + 1;
			percentile += 100 / (HGRM_TICKS * exp2(halvings));
			if (cumulative == histogram->count)
				break;
		}
	}
	if (histogram->count > 0)
		write_row(file, (double)histogram->max_ns, 100, histogram->count);
}

struct status histogram_write_hgrm(const struct histogram *histogram, FILE *file)
{
	fprintf(file, "%12s %12s %12s %12s\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
	write_rows(histogram, file);
	fprintf(file, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n", histogram_mean(histogram),
		histogram_deviation(histogram));
	fprintf(file, "#[Max     = %12.3f, Total count    = %12llu]\n", (double)histogram->max_ns,
		(unsigned long long)histogram->count);
	fprintf(file, "#[Buckets = %12d, SubBuckets     = %12d]\n", HISTOGRAM_BUCKETS, HISTOGRAM_SUB_BUCKETS);
	fprintf(file, "#[Unit = ns]\n");
	if (fflush(file) != 0 || ferror(file))
		return status_from_errno(errno, "cannot write the histogram", NULL);
	return status_ok();
}

struct status histogram_save_hgrm(const struct histogram *histogram, const char *path)
{
	FILE *file = fopen(path, "w");
	if (file == NULL)
		return status_from_errno(errno, "cannot create", path);
	struct status status = histogram_write_hgrm(histogram, file);
	if (fclose(file) != 0)
		status_keep_first(&status, status_from_errno(errno, "cannot write", path));
	return status;
}

/* 1: a row; 0: a line without one; -1: neither. */
static int parse_line(const char *line, struct hgrm_row *row)
{
	while (*line == ' ' || *line == '\t')
		line++;
	if (*line == '#' || *line == '\n' || *line == '\r' || *line == '\0' || strncmp(line, "Value", 5) == 0)
		return 0;
	double inverse;
	if (sscanf(line, "%lf %lf %lf %lf", &row->value, &row->percentile, &row->total_count, &inverse) < 3)
		return -1;
	return 1;
}

static struct status read_rows(FILE *file, const char *path, struct hgrm_row **rows, size_t *count)
{
	char line[512];
	size_t capacity = 0;
	for (int number = 1; fgets(line, sizeof(line), file) != NULL; number++) {
		struct hgrm_row row;
		int kind = parse_line(line, &row);
		if (kind < 0 || *count >= HGRM_ROWS_MAX)
			return status_error(STATUS_CORRUPT, "%s:%d: not a row of a percentile distribution",
					    path, number);
		if (kind == 0)
			continue;
		if (*count == capacity) {
			capacity = capacity == 0 ? 128 : capacity * 2;
			struct hgrm_row *larger = memory_resize(*rows, capacity * sizeof(row));
			if (larger == NULL)
				return status_make(STATUS_NO_MEMORY);
			*rows = larger;
		}
		(*rows)[(*count)++] = row;
	}
	return ferror(file) ? status_from_errno(errno, "cannot read", path) : status_ok();
}

struct status hgrm_read(const char *path, struct hgrm_row **rows, size_t *count)
{
	*rows = NULL;
	*count = 0;
	FILE *file = fopen(path, "r");
	if (file == NULL)
		return status_from_errno(errno, "cannot open", path);
	struct status status = read_rows(file, path, rows, count);
	fclose(file);
	if (!status_is_ok(status)) {
		memory_free(*rows);
		*rows = NULL;
		*count = 0;
	}
	return status;
}
