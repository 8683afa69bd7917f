/*
 * refused_second.c: a good policy and one whose name is taken: neither may be added.
 */
#include "idle_policy.h"

static const struct policy_ops policy_idle = IDLE_POLICY("idle", .options = NULL);
static const struct policy_ops policy_taken = IDLE_POLICY("leveled", .options = NULL);

COMPONENT_MODULE({ COMPONENT_COMPACTION, &policy_idle.component },
		 { COMPONENT_COMPACTION, &policy_taken.component });
