#include "base/assert.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/door.h"

struct failure {
	const char *file;
	int line;
	const char *function;
	const char *expression;
};

/* Plain writes, no formatting: who knows what still works. */
static void emit(const char *text)
{
	size_t left = strlen(text);
	while (left > 0) {
		ssize_t written = write(STDERR_FILENO, text, left);
		if (written <= 0)
			return;
		text += written;
		left -= (size_t)written;
	}
}

static void report_and_abort(void *argument)
{
	const struct failure *failure = argument;
	char digits[12];
	size_t at = sizeof(digits) - 1;
	int line = failure->line;
	digits[at] = '\0';
	do {
		digits[--at] = (char)('0' + line % 10);
		line /= 10;
	} while (line > 0 && at > 0);
	emit(failure->file);
	emit(":");
	emit(&digits[at]);
	emit(": ");
	emit(failure->function);
	emit(": assertion failed: ");
	emit(failure->expression);
	emit("\n");
	abort();
}

/* The program may handle SIGABRT, which no thread blocks while it aborts: its frame needs a large stack. */
void assert_failed(const char *file, int line, const char *function, const char *expression)
{
	struct failure failure = { file, line, function, expression };
	call_on_thread_stack(report_and_abort, &failure);
	__builtin_trap();
}
