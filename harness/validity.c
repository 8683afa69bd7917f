#include "harness/validity.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "harness/build_info.h"
#include "harness/system_file.h"

/* Below these a phase says little: rates of a fraction of a second, percentiles of a few operations. */
#define SECONDS_MIN	 1.0
#define RUN_SECONDS_MIN	 5.0
#define OPERATIONS_MIN	 10000
#define OTHERS_SHARE_MAX 0.10
#define STEAL_SHARE_MAX	 0.01
/* A thread that only sleeps is late by so much: the machine stalls, whatever the engine does. */
#define HICCUP_P999_MAX_NS 20000000
#define HICCUP_MAX_NS	   200000000

const char *validity_verdict(const struct validity *validity)
{
	if (validity->invalid)
		return "invalid";
	return validity->reason_count > 0 ? "suspect" : "valid";
}

static void add_reason(struct validity *validity, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void add_reason(struct validity *validity, const char *format, ...)
{
	if (validity->reason_count == VALIDITY_REASONS_MAX)
		return;
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(validity->reasons[validity->reason_count++], VALIDITY_REASON_BYTES, format,
			arguments);
	va_end(arguments);
}

/* --- the machine --- */

static void read_cpu_ticks(struct machine_sample *sample)
{
	char text[512];
	/* user nice system idle iowait irq softirq steal */
	uint64_t t[8] = { 0 };
	if (!system_file_read("/proc/stat", text, sizeof(text)))
		return;
	int fields = sscanf(text,
			    "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
			    " %" SCNu64 " %" SCNu64,
			    &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]);
	if (fields < 8)
		return;
	sample->busy_ticks = t[0] + t[1] + t[2] + t[5] + t[6];
	sample->steal_ticks = t[7];
	sample->all_ticks = sample->busy_ticks + t[3] + t[4] + t[7];
}

void machine_sample(struct machine_sample *sample)
{
	struct rusage usage;
	*sample = (struct machine_sample) { .wall_ns = clock_now_ns() };
	read_cpu_ticks(sample);
	sample->swap_pages =
		system_file_field("/proc/vmstat", "pswpin ") + system_file_field("/proc/vmstat", "pswpout ");
	if (getrusage(RUSAGE_SELF, &usage) == 0)
		sample->own_cpu_seconds = (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
					  1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void judge_machine(const struct machine_sample *before, const struct machine_sample *after,
			  struct validity *validity)
{
	char governor[64];
	if (system_file_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", governor,
			     sizeof(governor)) &&
	    strcmp(governor, "performance") != 0)
		add_reason(validity, "cpu_governor=%s", governor);
	if (after->swap_pages > before->swap_pages)
		add_reason(validity, "swap: %" PRIu64 " pages moved", after->swap_pages - before->swap_pages);
	uint64_t all = after->all_ticks - before->all_ticks;
	double seconds = (double)(after->wall_ns - before->wall_ns) * 1e-9;
	/* Ticks are 10 ms: a phase of a fraction of a second is too short for shares of them. */
	if (before->all_ticks == 0 || all == 0 || seconds < SECONDS_MIN)
		return;
	double steal = (double)(after->steal_ticks - before->steal_ticks) / (double)all;
	if (steal > STEAL_SHARE_MAX)
		add_reason(validity, "steal: the hypervisor took %.1f %% of the CPU time", 100 * steal);
	double total_seconds = (double)all / (double)sysconf(_SC_CLK_TCK);
	double busy_seconds = (double)(after->busy_ticks - before->busy_ticks) / (double)sysconf(_SC_CLK_TCK);
	double others = (busy_seconds - (after->own_cpu_seconds - before->own_cpu_seconds)) / total_seconds;
	if (others > OTHERS_SHARE_MAX)
		add_reason(validity, "load: other processes used %.0f %% of the CPU time", 100 * others);
}

/* --- the phase --- */

static void judge_failures(const struct phase_result *result, struct validity *validity)
{
	char text[128];
	if (result->failed > 0) {
		status_describe(result->first_failure, text, sizeof(text));
		add_reason(validity, "failed: %" PRIu64 " operations, the first: %s", result->failed, text);
	}
	if (result->verify_mismatches > 0)
		add_reason(validity, "mismatches: %" PRIu64 ", the first: %.120s", result->verify_mismatches,
			   result->first_mismatch);
	if (result->stopped_early)
		add_reason(validity, "stopped early");
	validity->invalid = result->failed > 0 || result->verify_mismatches > 0 || result->stopped_early;
}

static void judge_length(const struct phase *phase, const struct phase_result *result,
			 struct validity *validity)
{
	double least = phase->kind == PHASE_RUN ? RUN_SECONDS_MIN : SECONDS_MIN;
	if (result->seconds < least)
		add_reason(validity, "short: %.2f s measured, less than %.0f s", result->seconds, least);
	if (result->operations < OPERATIONS_MIN)
		add_reason(validity, "few operations: %" PRIu64 ", less than %d", result->operations,
			   OPERATIONS_MIN);
}

static void judge_hiccups(const struct histogram *hiccups, struct validity *validity)
{
	if (hiccups == NULL || hiccups->count == 0)
		return;
	uint64_t p999_ns = histogram_quantile(hiccups, 0.999);
	if (p999_ns >= HICCUP_P999_MAX_NS || hiccups->max_ns >= HICCUP_MAX_NS)
		add_reason(validity, "hiccups: a sleeping thread woke %.1f ms late at p99.9, %.1f ms at most",
			   (double)p999_ns * 1e-6, (double)hiccups->max_ns * 1e-6);
}

void validity_judge(const struct validity_input *input, struct validity *validity)
{
	char data[UNITS_TEXT_BYTES], cache[UNITS_TEXT_BYTES];
	*validity = (struct validity) { .invalid = false };
	judge_failures(input->result, validity);
	if (build_is_debug())
		add_reason(validity, "build=%s", build_type());
	judge_machine(input->before, input->after, validity);
	judge_hiccups(input->result->hiccups, validity);
	judge_length(input->phase, input->result, validity);
	if (input->phase->kind == PHASE_RUN && input->dataset_bytes != UINT64_MAX &&
	    input->cache_bytes != UINT64_MAX && input->dataset_bytes < input->cache_bytes)
		add_reason(validity, "dataset (%s) fits the cache (%s)",
			   units_print_size((double)input->dataset_bytes, data),
			   units_print_size((double)input->cache_bytes, cache));
	if (input->notice[0] != '\0')
		add_reason(validity, "notice: %s", input->notice);
}
