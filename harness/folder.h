/*
 * folder.h: folders as a whole: make one with its parents, remove one with what is in it, add up its files.
 */
#ifndef CASCADE_HARNESS_FOLDER_H
#define CASCADE_HARNESS_FOLDER_H

#include <stdbool.h>
#include <stdint.h>

/* Makes the folder and its parents; fine if it is there. Returns 0 or the errno of what failed. */
int folder_make(const char *path);

/* Removes the folder and all that is in it, links not followed. Returns 0 or an errno; fine if absent. */
int folder_remove(const char *path);

/* Bytes that the files below it take on the device; UINT64_MAX if that cannot be told. */
uint64_t folder_bytes(const char *path);

/* True also if it is not there. */
bool folder_is_empty(const char *path);

#endif
