/*
 * provenance.h: where numbers come from: the source and build of the command, the versions of the libraries
 * in it (engines that are libraries are among them), the shared objects with variants that were loaded, the
 * options of each configuration, the machine, the system, the file system and device below the database, and
 * the command line. What cannot be found out is null.
 */
#ifndef CASCADE_HARNESS_PROVENANCE_H
#define CASCADE_HARNESS_PROVENANCE_H

#include <stdio.h>

struct experiment;

/* Writes one JSON object. `path`: an existing file or directory on the device of the database. */
void provenance_write(FILE *file, const struct experiment *experiment, const char *path);

#endif
