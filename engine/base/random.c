#include "base/random.h"

#include <stddef.h>
#include <sys/random.h>

#include "base/assert.h"

static random_source *replaced;
static void *replaced_context;

uint64_t random_entropy(void)
{
	if (replaced != NULL)
		return replaced(replaced_context);
	uint64_t value = 0;
	ssize_t got;
	do
		got = getrandom(&value, sizeof(value), 0);
	while (got < 0);
	ASSERT(got == (ssize_t)sizeof(value));
	return value;
}

void random_set_entropy_source(random_source *source, void *context)
{
	replaced = source;
	replaced_context = context;
}
