/*
 * refused_symbol.c: a policy that calls what programs do not show, and is no variant's business.
 */
#include "idle_policy.h"

uint64_t clock_now_ns(void);

static uint64_t timed_debt(const void *options, const struct policy_view *view)
{
	(void)options, (void)view;
	return clock_now_ns();
}

static const struct policy_ops policy_timed = {
	.component = { .name = "timed", .summary = "asks for the time", .abi = COMPONENT_ABI },
	.pick = idle_pick,
	.debt = timed_debt,
	.level0_limits = idle_level0_limits,
};

static const struct policy_ops policy_idle = IDLE_POLICY("idle", .options = NULL);

COMPONENT_MODULE({ COMPONENT_COMPACTION, &policy_timed.component },
		 { COMPONENT_COMPACTION, &policy_idle.component });
