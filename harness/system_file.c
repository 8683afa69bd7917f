#include "harness/system_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 1024 };

static const char around[] = " \t\r\n:=\"";

static void trim_end(char *text, const char *what)
{
	size_t length = strlen(text);
	while (length > 0 && strchr(what, text[length - 1]) != NULL)
		text[--length] = '\0';
}

bool system_file_read(const char *path, char *buffer, size_t size)
{
	buffer[0] = '\0';
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return false;
	size_t length = fread(buffer, 1, size - 1, file);
	bool good = !ferror(file) && length > 0;
	(void)fclose(file);
	buffer[length] = '\0';
	trim_end(buffer, " \t\r\n");
	return good;
}

bool system_file_line(const char *path, const char *name, char *buffer, size_t size)
{
	char line[LINE_BYTES];
	bool found = false;
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return false;
	while (!found && fgets(line, sizeof(line), file) != NULL) {
		if (strncmp(line, name, strlen(name)) != 0)
			continue;
		const char *text = line + strlen(name);
		text += strspn(text, around);
		(void)snprintf(buffer, size, "%s", text);
		trim_end(buffer, around);
		found = true;
	}
	(void)fclose(file);
	return found;
}

uint64_t system_file_field(const char *path, const char *name)
{
	char text[128];
	return system_file_line(path, name, text, sizeof(text)) ? strtoull(text, NULL, 10) : 0;
}
