/*
 * idle_policy.h: the smallest variant that there is, a policy that merges nothing, for shared objects that
 * are to be refused whatever is in them.
 */
#ifndef CASCADE_TESTS_MODULES_IDLE_POLICY_H
#define CASCADE_TESTS_MODULES_IDLE_POLICY_H

#include "components/compaction/policy.h"

static bool idle_pick(const void *options, const struct policy_view *view, uint64_t cursor[LEVELS_MAX],
		      struct policy_pick *pick)
{
	(void)options, (void)view, (void)cursor, (void)pick;
	return false;
}

static uint64_t idle_debt(const void *options, const struct policy_view *view)
{
	(void)options, (void)view;
	return 0;
}

static void idle_level0_limits(const void *options, uint32_t *slow, uint32_t *stop)
{
	(void)options;
	*slow = 8;
	*stop = 16;
}

#define IDLE_POLICY(variant_name, ...)                                                     \
	{                                                                                  \
		.component = { .name = (variant_name),                                     \
			       .summary = "merges nothing",                                \
			       .abi = COMPONENT_ABI,                                       \
			       __VA_ARGS__ },                                              \
		.pick = idle_pick, .debt = idle_debt, .level0_limits = idle_level0_limits, \
	}

#endif
