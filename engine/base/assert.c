#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Plain writes, no formatting: the failing frame may stand on a small stack. */
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

void assert_failed(const char *file, int line, const char *function, const char *expression)
{
	char digits[12];
	size_t at = sizeof(digits) - 1;
	digits[at] = '\0';
	do {
		digits[--at] = (char)('0' + line % 10);
		line /= 10;
	} while (line > 0 && at > 0);
	emit(file);
	emit(":");
	emit(&digits[at]);
	emit(": ");
	emit(function);
	emit(": assertion failed: ");
	emit(expression);
	emit("\n");
	abort();
}
