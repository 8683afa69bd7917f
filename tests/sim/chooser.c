#include "sim/chooser.h"

#include <stdio.h>

#include "sim/failure.h"

void chooser_begin(struct chooser *chooser)
{
	*chooser = (struct chooser) { .product = 1 };
}

uint32_t chooser_choose(void *context, uint32_t count)
{
	struct chooser *chooser = context;
	SIM_CHECK(count > 0);
	if (chooser->at == CHOOSER_DEPTH_MAX) {
		chooser->product = UINT64_MAX;
		return 0;
	}
	if (__builtin_mul_overflow(chooser->product, count, &chooser->product))
		chooser->product = UINT64_MAX;
	uint32_t at = chooser->at++;
	if (at == chooser->depth) {
		chooser->taken[at] = 0;
		chooser->depth++;
	}
	/* The same answers before lead to the same question. */
	SIM_CHECK(chooser->taken[at] < count);
	chooser->counts[at] = count;
	return chooser->taken[at];
}

uint64_t chooser_width(const struct chooser *chooser)
{
	return chooser->product;
}

bool chooser_next(struct chooser *chooser)
{
	chooser->depth = chooser->at;
	chooser->at = 0;
	chooser->product = 1;
	while (chooser->depth > 0 &&
	       chooser->taken[chooser->depth - 1] + 1 == chooser->counts[chooser->depth - 1])
		chooser->depth--;
	if (chooser->depth == 0)
		return false;
	chooser->taken[chooser->depth - 1]++;
	return true;
}

void chooser_describe(const struct chooser *chooser, char *text, size_t size)
{
	size_t used = 0;
	text[0] = '\0';
	for (uint32_t i = 0; i < chooser->at && used + 1 < size; i++)
		used += (size_t)snprintf(text + used, size - used, "%s%u", i > 0 ? "." : "",
					 chooser->taken[i]);
}
