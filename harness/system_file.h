/*
 * system_file.h: small files of the kernel (/proc, /sys) and of the system (/etc/os-release).
 */
#ifndef CASCADE_HARNESS_SYSTEM_FILE_H
#define CASCADE_HARNESS_SYSTEM_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reads at most size - 1 bytes, ends them with a zero, and cuts white space at the end. */
bool system_file_read(const char *path, char *buffer, size_t size);

/* The number after the first line that begins with `name`; 0 if there is none. */
uint64_t system_file_field(const char *path, const char *name);

/* The rest of the first line that begins with `name`, white space, ':', '=' and quotes around it cut. */
bool system_file_line(const char *path, const char *name, char *buffer, size_t size);

#endif
