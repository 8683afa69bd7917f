#include "compaction/pacing.h"

#include "base/assert.h"

#include "base/poison.h"

enum {
	SAMPLE_NS = 20 * 1000 * 1000, /* a rate is taken over at least 20 ms of work */
	SMOOTHING = 8,
	RATE_MIN = 1 << 20, /* bytes/s assumed before anything was measured, and never less */
	RATE_FIRST = 64 << 20,
	FACTOR_AT_HALF = 4,
	BURST_NS =
		1000 * 1000, /* how far the schedule may lag: an idle spell earns at most this much credit */
};

void pacer_set_fill(struct pacer *pacer, enum pacing_lender lender, uint64_t used, uint64_t capacity)
{
	ASSERT(capacity > 0);
	uint64_t fill = used >= capacity ? PACING_FULL : used * PACING_FULL / capacity;
	pacer->fill[lender] = (uint32_t)fill;
}

void pacer_drain_begin(struct pacer *pacer, enum pacing_lender lender, uint64_t now_ns)
{
	pacer->drain[lender].bytes = 0;
	pacer->drain[lender].since_ns = now_ns;
}

void pacer_drained(struct pacer *pacer, enum pacing_lender lender, uint64_t bytes, uint64_t now_ns)
{
	struct pacing_drain *drain = &pacer->drain[lender];
	drain->bytes += bytes;
	if (now_ns < drain->since_ns + SAMPLE_NS)
		return;
	uint64_t elapsed_us = (now_ns - drain->since_ns) / 1000;
	uint64_t sample = drain->bytes * 1000000 / elapsed_us;
	if (drain->rate == 0)
		drain->rate = sample;
	else
		drain->rate = (drain->rate * (SMOOTHING - 1) + sample) / SMOOTHING;
	drain->bytes = 0;
	drain->since_ns = now_ns;
}

uint32_t pacer_pressure(const struct pacer *pacer)
{
	uint32_t highest = 0;
	for (unsigned i = 0; i < PACING_LENDERS; i++)
		highest = pacer->fill[i] > highest ? pacer->fill[i] : highest;
	return highest;
}

/* Bytes a second that a lender lets pass. */
static uint64_t lender_rate(const struct pacer *pacer, unsigned lender)
{
	uint64_t rate = pacer->drain[lender].rate;
	if (rate == 0)
		rate = RATE_FIRST;
	if (rate < RATE_MIN)
		rate = RATE_MIN;
	uint64_t left = PACING_FULL - pacer->fill[lender];
	return rate * FACTOR_AT_HALF * left / (PACING_FULL - PACING_FREE);
}

uint64_t pacer_admit(struct pacer *pacer, uint64_t bytes, uint64_t now_ns)
{
	uint64_t rate = UINT64_MAX;
	for (unsigned i = 0; i < PACING_LENDERS; i++) {
		if (pacer->fill[i] < PACING_FREE)
			continue;
		if (pacer->fill[i] >= PACING_FULL) {
			pacer->stopped_writes++;
			return UINT64_MAX;
		}
		uint64_t allowed = lender_rate(pacer, i);
		rate = allowed < rate ? allowed : rate;
	}
	if (rate == UINT64_MAX)
		return now_ns;
	if (rate == 0)
		rate = 1;
	if (pacer->next_ns + BURST_NS < now_ns)
		pacer->next_ns = now_ns - BURST_NS;
	uint64_t at = pacer->next_ns;
	pacer->next_ns += bytes * 1000000000u / rate;
	if (at > now_ns) {
		pacer->delayed_writes++;
		pacer->delayed_ns += at - now_ns;
	}
	return at;
}
