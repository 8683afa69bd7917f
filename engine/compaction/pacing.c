#include "compaction/pacing.h"

#include "base/assert.h"

#include "base/poison.h"

enum {
	SAMPLE_NS = 20 * 1000 * 1000, /* a rate is taken over at least 20 ms of work */
	SMOOTHING = 8,
	RATE_MIN = 1 << 20, /* bytes/s assumed before anything was measured, and never less */
	RATE_FIRST = 64 << 20,
	FACTOR_AT_HALF = 4,
	BURST_NS = 1000 * 1000, /* an idle spell earns at most this much credit */
	NS_PER_S = 1000 * 1000 * 1000,
};

#define WAIT_NS_MAX (3600ull * NS_PER_S)

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

/* Bytes a second that all lenders together let pass: UINT64_MAX: writers are free; 0: none may go. */
static uint64_t admitted_rate(const struct pacer *pacer)
{
	uint64_t rate = UINT64_MAX;
	for (unsigned i = 0; i < PACING_LENDERS; i++) {
		if (pacer->fill[i] < PACING_FREE)
			continue;
		if (pacer->fill[i] >= PACING_FULL)
			return 0;
		uint64_t allowed = lender_rate(pacer, i);
		rate = allowed < rate ? allowed : rate;
	}
	return rate;
}

/* a * b / c without overflow in between; saturates. */
static uint64_t scale(uint64_t a, uint64_t b, uint64_t c)
{
	unsigned __int128 result = (unsigned __int128)a * b / c;
	return result > UINT64_MAX ? UINT64_MAX : (uint64_t)result;
}

/* Serves the queue up to now at the rate of now. */
static void pacer_serve(struct pacer *pacer, uint64_t rate, uint64_t now_ns)
{
	if (rate == 0 || rate == UINT64_MAX) {
		/* Nobody goes, or everybody. */
		if (rate != 0)
			pacer->served = pacer->booked;
		pacer->served_ns = now_ns;
		return;
	}
	if (now_ns <= pacer->served_ns)
		return;
	uint64_t credit_max = scale(rate, BURST_NS, NS_PER_S);
	uint64_t bytes = scale(now_ns - pacer->served_ns, rate, NS_PER_S);
	/* What is less than a byte is not lost: at low rates it is all that comes between two looks. */
	pacer->served_ns += scale(bytes, NS_PER_S, rate);
	pacer->served += bytes;
	if (pacer->served > pacer->booked + credit_max) {
		pacer->served = pacer->booked + credit_max;
		pacer->served_ns = now_ns;
	}
}

uint64_t pacer_again(struct pacer *pacer, uint64_t place, uint64_t now_ns)
{
	uint64_t rate = admitted_rate(pacer);
	pacer_serve(pacer, rate, now_ns);
	if (rate == 0)
		return UINT64_MAX;
	if (place <= pacer->served)
		return now_ns;
	/* Rounded up: never back to `now`, and never UINT64_MAX. */
	uint64_t wait_ns = scale(place - pacer->served, NS_PER_S, rate) + 1;
	return wait_ns < WAIT_NS_MAX ? now_ns + wait_ns : now_ns + WAIT_NS_MAX;
}

uint64_t pacer_admit(struct pacer *pacer, uint64_t bytes, uint64_t now_ns, uint64_t *place)
{
	*place = pacer->booked;
	uint64_t at = pacer_again(pacer, *place, now_ns);
	if (at == UINT64_MAX) {
		pacer->stopped_writes++;
		return at;
	}
	/* A free write takes no place in the queue, which is empty. */
	if (admitted_rate(pacer) == UINT64_MAX)
		return at;
	pacer->booked += bytes;
	if (at > now_ns) {
		pacer->delayed_writes++;
		pacer->delayed_ns += at - now_ns;
	}
	return at;
}
