/*
 * world.h: one shard whose files are in memory, for targets that open whole files: thousands of opens in a
 * second, and nothing left behind.
 *
 * The shard is made at the first use and lives until the process ends. Files are named by their whole paths;
 * there are no directories. One thread uses all this at a time, but for the tasks that it waits for.
 */
#ifndef CASCADE_TESTS_FUZZ_WORLD_H
#define CASCADE_TESTS_FUZZ_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/io.h"
#include "runtime/task.h"

/* Runs the function in a task of the shard and waits for its end. */
void world_run(task_function *function, void *argument);

/* A blocking instance over the same files, for code without tasks. */
struct io *world_io(void);

void world_remove_files(void);

/* Makes the file or replaces it. The bytes are copied. */
void world_write_file(const char *path, const uint8_t *bytes, size_t size);

/* The bytes where they lie, until the file changes; NULL: no such file. */
const uint8_t *world_read_file(const char *path, size_t *size);

#endif
