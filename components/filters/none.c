/*
 * none.c: no filter. Tables keep no bytes for it and never ask it, so that a run with this variant shows what
 * reads cost without filters.
 */
#include "components/filters/filter.h"

#include "base/poison.h"

static size_t none_size(const void *options, size_t count)
{
	(void)options;
	(void)count;
	return 0;
}

static size_t none_build(const void *options, uint64_t *hashes, size_t count, uint8_t *out, void *scratch)
{
	(void)options;
	(void)hashes;
	(void)count;
	(void)out;
	(void)scratch;
	return 0;
}

static bool none_may_contain(struct slice filter, uint64_t hash)
{
	(void)filter;
	(void)hash;
	return true;
}

const struct filter_ops filter_none = {
	.component = {
		.name = "none",
		.summary = "no filter: every table whose range holds the key is read",
		.abi = COMPONENT_ABI,
		.capabilities = FILTER_PASSES_ALL,
	},
	.format_id = 2,
	.size = none_size,
	.build = none_build,
	.may_contain = none_may_contain,
};
