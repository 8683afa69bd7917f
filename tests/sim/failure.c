#include "sim/failure.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

static char *kept;
static char where[160];
static bool verbose;

void sim_failure_verbose(void)
{
	verbose = true;
}

void sim_failure_to(char *text)
{
	kept = text;
}

void sim_failure_where(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(where, sizeof(where), format, arguments);
	va_end(arguments);
	if (verbose)
		(void)fprintf(stderr, "%s\n", where);
}

void sim_fail(const char *format, ...)
{
	static char text[SIM_FAILURE_BYTES];
	int used = snprintf(text, sizeof(text), "%s: ", where);
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf(text + used, sizeof(text) - (size_t)used, format, arguments);
	va_end(arguments);
	if (kept != NULL)
		(void)snprintf(kept, SIM_FAILURE_BYTES, "%s", text);
	(void)fprintf(stderr, "%s\n", text);
	_exit(SIM_EXIT_FAILED);
}
