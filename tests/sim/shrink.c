/*
 * shrink.c: takes away from a plan what its failure does not need. Each try is a run of its own. What is
 * drawn for one part of the plan does not depend on the others, so most of what is taken away leaves the rest
 * as it was; and where it does not, a smaller plan that fails in another way is as welcome.
 */
#include <stdio.h>

#include "sim/campaign.h"

enum { TRIES_MAX = 120 };

struct shrink {
	uint64_t seed;
	struct plan_limits *limits;
	unsigned tries;
};

/* Whether it still fails; then the limits are taken. */
static bool accept(struct shrink *shrink, const struct plan_limits *limits)
{
	char text[SIM_FAILURE_BYTES];
	if (shrink->tries++ >= TRIES_MAX || !campaign_fails(shrink->seed, limits, text))
		return false;
	*shrink->limits = *limits;
	(void)fprintf(stderr, "still fails: %s\n", text);
	return true;
}

/* Halves the distance to the smallest value of one number with which it fails. */
static void lower(struct shrink *shrink, uint32_t *number, uint32_t drawn)
{
	uint32_t passes = 0;
	uint32_t fails = *number != 0 && *number < drawn ? *number : drawn;
	while (fails - passes > 1 && shrink->tries < TRIES_MAX) {
		uint32_t before = *number;
		uint32_t middle = passes + (fails - passes) / 2;
		*number = middle;
		struct plan_limits limits = *shrink->limits;
		*number = before;
		if (accept(shrink, &limits))
			fails = middle;
		else
			passes = middle;
	}
}

static void without_faults(struct shrink *shrink, const struct plan *plan)
{
	for (unsigned fault = 0; fault < SIM_FAULT_COUNT; fault++) {
		struct plan_limits limits = *shrink->limits;
		if ((plan->faults & 1u << fault) == 0)
			continue;
		limits.without |= 1u << fault;
		(void)accept(shrink, &limits);
	}
}

static void without_images(struct shrink *shrink, const struct plan *plan)
{
	struct plan_limits limits = *shrink->limits;
	limits.no_images = true;
	if (accept(shrink, &limits))
		return;
	uint32_t most =
		plan->images + plan->images_of_names + plan->images_after_fault + plan->image_at_end + 1;
	for (uint32_t image = 1; image <= most * plan->rounds; image++) {
		limits = *shrink->limits;
		limits.images_only = image;
		if (accept(shrink, &limits))
			return;
	}
}

void campaign_shrink(uint64_t seed, struct plan_limits *limits)
{
	struct shrink shrink = { .seed = seed, .limits = limits };
	struct plan plan;
	plan_draw(&plan, seed, limits);
	lower(&shrink, &limits->rounds, plan.rounds);
	lower(&shrink, &limits->operations, plan.operations);
	lower(&shrink, &limits->clients, plan.clients);
	without_faults(&shrink, &plan);
	plan_draw(&plan, seed, limits);
	without_images(&shrink, &plan);
	plan_draw(&plan, seed, limits);
	lower(&shrink, &limits->operations, plan.operations);
}
