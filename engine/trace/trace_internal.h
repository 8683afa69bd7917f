/*
 * trace_internal.h: the file as its recorders see it. Internal to trace/.
 */
#ifndef CASCADE_TRACE_TRACE_INTERNAL_H
#define CASCADE_TRACE_TRACE_INTERNAL_H

#include <stdatomic.h>

#include "trace/trace.h"

/* What recorders of several shards touch is atomic; the rest does not change while they exist. */
struct trace {
	char *path;
	struct io_file *file; /* of the opener's io: the header */
	struct trace_header header;
	bool counts; /* the clock is the processor's counter */

	_Atomic uint64_t blocks; /* places given out in the file */
	_Atomic uint64_t records;
	_Atomic uint64_t dropped;
	_Atomic uint32_t failures; /* blocks that could not be written */
};

#endif
