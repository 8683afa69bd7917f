#include "harness/progress.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"

enum { BAR_CELLS = 24, TEXT_BYTES = 512, COLUMNS_DEFAULT = 80 };

#define LINE_INTERVAL_NS 5000000000ull
#define RATE_INTERVAL_NS 250000000ull

void progress_init(struct progress *progress, FILE *file, bool quiet)
{
	*progress = (struct progress) { .file = file, .quiet = quiet, .terminal = isatty(fileno(file)) == 1 };
}

void progress_begin(struct progress *progress, uint32_t run, uint32_t runs, const char *label)
{
	progress->run = run;
	progress->runs = runs;
	progress->label = label;
	progress->phase = NULL;
}

double progress_share(const struct phase *phase, double seconds, uint64_t operations, uint64_t total)
{
	double share = -1;
	if (phase->kind == PHASE_RUN && phase->duration_ns > 0)
		share = seconds / ((double)phase->duration_ns * 1e-9);
	else if (total > 0)
		share = (double)operations / (double)total;
	return share > 1 ? 1 : share;
}

static void start_phase(struct progress *progress, const struct phase *phase, uint64_t operations,
			uint64_t now_ns)
{
	progress->phase = phase;
	progress->rate = 0;
	progress->last_ns = now_ns;
	progress->last_operations = operations;
	progress->last_line_ns = now_ns;
}

/* A moving average: new rates count for a third. */
static void follow_rate(struct progress *progress, uint64_t operations, uint64_t now_ns)
{
	uint64_t elapsed = now_ns - progress->last_ns;
	if (elapsed < RATE_INTERVAL_NS)
		return;
	/* The count starts anew when the warm-up ends. */
	uint64_t done =
		operations >= progress->last_operations ? operations - progress->last_operations : operations;
	double rate = (double)done * 1e9 / (double)elapsed;
	progress->rate = progress->rate == 0 ? rate : progress->rate + (rate - progress->rate) / 3;
	progress->last_ns = now_ns;
	progress->last_operations = operations;
}

static void describe(const struct progress *progress, double seconds, uint64_t operations, uint64_t total,
		     char *text, size_t size)
{
	char rate[UNITS_TEXT_BYTES], left[UNITS_TEXT_BYTES];
	const struct phase *phase = progress->phase;
	double share = progress_share(phase, seconds, operations, total);
	double seconds_left = -1;
	if (phase->kind == PHASE_RUN && phase->duration_ns > 0)
		seconds_left = (double)phase->duration_ns * 1e-9 - seconds;
	else if (total > operations && progress->rate > 0)
		seconds_left = (double)(total - operations) / progress->rate;
	if (phase->warmup_ns > 0 && seconds <= 0) {
		(void)snprintf(text, size, "warming up");
		return;
	}
	int used = 0;
	text[0] = '\0';
	if (progress->rate > 0)
		used = snprintf(text, size, "%s ops/s, ", units_print_count((uint64_t)progress->rate, rate));
	if (share >= 1)
		(void)snprintf(text + used, size - (size_t)used, "finishing");
	else if (seconds_left >= 0)
		(void)snprintf(text + used, size - (size_t)used, "%s left",
			       units_print_time(seconds_left, left));
	else if (used >= 2)
		text[used - 2] = '\0';
}

static int terminal_columns(FILE *file)
{
	struct winsize size;
	if (ioctl(fileno(file), TIOCGWINSZ, &size) == 0 && size.ws_col > 20)
		return size.ws_col;
	return COLUMNS_DEFAULT;
}

static void draw_bar(struct progress *progress, double share, const char *text)
{
	char line[TEXT_BYTES * 2], bar[BAR_CELLS + 1];
	int filled = share < 0 ? 0 : (int)(share * BAR_CELLS);
	memset(bar, '-', BAR_CELLS);
	memset(bar, '#', (size_t)filled);
	bar[BAR_CELLS] = '\0';
	char percent[16] = "";
	if (share >= 0)
		(void)snprintf(percent, sizeof(percent), "%3.0f %%  ", 100 * share);
	(void)snprintf(line, sizeof(line), "%u/%u %s %s [%s] %s%s", progress->run, progress->runs,
		       progress->label, progress->phase->name, bar, percent, text);
	(void)fprintf(progress->file, "\r\033[K%.*s", terminal_columns(progress->file) - 1, line);
	(void)fflush(progress->file);
	progress->drawn = true;
}

void progress_update(struct progress *progress, const struct phase *phase, double seconds,
		     uint64_t operations, uint64_t total, uint64_t now_ns)
{
	char text[TEXT_BYTES];
	if (progress->quiet)
		return;
	if (progress->phase != phase)
		start_phase(progress, phase, operations, now_ns);
	follow_rate(progress, operations, now_ns);
	if (!progress->terminal && now_ns - progress->last_line_ns < LINE_INTERVAL_NS)
		return;
	describe(progress, seconds, operations, total, text, sizeof(text));
	double share = progress_share(phase, seconds, operations, total);
	if (progress->terminal) {
		draw_bar(progress, share, text);
		return;
	}
	progress->last_line_ns = now_ns;
	if (share >= 0)
		(void)fprintf(progress->file, "%u/%u %s %s: %.0f %%, %s\n", progress->run, progress->runs,
			      progress->label, phase->name, 100 * share, text);
	else
		(void)fprintf(progress->file, "%u/%u %s %s: %s\n", progress->run, progress->runs,
			      progress->label, phase->name, text);
}

void progress_phase_done(struct progress *progress, const struct phase *phase, double ops_s)
{
	char rate[UNITS_TEXT_BYTES];
	if (progress->quiet)
		return;
	progress_clear(progress);
	(void)fprintf(progress->file, "%u/%u %s %s: done, %s ops/s\n", progress->run, progress->runs,
		      progress->label, phase->name, units_print_count(ops_s > 0 ? (uint64_t)ops_s : 0, rate));
	progress->phase = NULL;
}

void progress_clear(struct progress *progress)
{
	if (!progress->drawn)
		return;
	(void)fputs("\r\033[K", progress->file);
	(void)fflush(progress->file);
	progress->drawn = false;
}
