/*
 * refused_abi.c: a shared object of the first ABI, which had no such struct; all but the number is nonsense.
 */
#include "components/component.h"

const struct component_module cascade_components = {
	.abi = 1,
	.count = 3,
	.rows = (const struct component_row *)(uintptr_t)64,
};
