/*
 * refused_option.c: a policy with an option of a name that the engine has already: compaction.merges.
 */
#include "idle_policy.h"

static const struct option merges_option[] = {
	{ "merges", "merges at the same time", OPTION_INTEGER, 0, 2, 1, 8 },
	{ .name = NULL },
};

static const struct policy_ops policy_merges =
	IDLE_POLICY("with_merges", .options = merges_option, .options_size = sizeof(uint64_t));

COMPONENT_MODULE({ COMPONENT_COMPACTION, &policy_merges.component });
