/*
 * sweep_faults.c: what goes wrong in a sweep, and what may be heard of it. The narrower a row, the more it
 * finds: a row without statuses is a fault that nobody may notice.
 */
#include <errno.h>
#include <limits.h>

#include "cascade.h"
#include "sim/sweep.h"

#define STATUS(name) (1u << CASCADE_##name)
#define ON(name)     FAULTY_OPERATION(IO_##name)

/* What work that waits for the device, or for the background, may say. */
#define TROUBLE (STATUS(IO) | STATUS(READ_ONLY) | STATUS(BUSY))

/* An error of whatever the operation is, and the shard may be through with writing. */
#define WRITE_ROW(title, kind_, operations_, error_)                                         \
	{                                                                                    \
		.name = (title),                                                             \
		.rule = { .kind = (kind_), .operations = (operations_), .error = (error_) }, \
		.changes = TROUBLE, .traits = SWEEP_STOPS                                    \
	}

/* An error before anything of the ring or the manifest is touched: what failed is tried again later. */
#define ERROR_ROW(title, kind_, operations_, error_)                                         \
	{                                                                                    \
		.name = (title),                                                             \
		.rule = { .kind = (kind_), .operations = (operations_), .error = (error_) }, \
		.changes = STATUS(IO) | STATUS(BUSY)                                         \
	}

/* No room, once or for a while: told as such, and over when there is room. */
#define SPACE_ROW(title, operations_, error_)                                                     \
	{                                                                                         \
		.name = (title),                                                                  \
		.rule = { .kind = FAULTY_ERROR, .operations = (operations_), .error = (error_) }, \
		.changes = STATUS(NO_SPACE)                                                       \
	}

/* What a healthy kernel does: nobody notices. */
#define QUIET_ROW(title, kind_, operations_, error_, row_) \
	{                                                  \
		.name = (title), .rule = {                 \
			.kind = (kind_),                   \
			.operations = (operations_),       \
			.error = (error_),                 \
			.row = (row_)                      \
		}                                          \
	}

const struct sweep_fault sweep_faults[] = {
	/* Reads. */
	{ .name = "read-error",
	  .rule = { .kind = FAULTY_ERROR, .operations = ON(READ) },
	  .reads = STATUS(IO),
	  .changes = STATUS(IO) | STATUS(BUSY) },
	{ .name = "read-canceled",
	  .rule = { .kind = FAULTY_ERROR, .operations = ON(READ), .error = ECANCELED },
	  .reads = STATUS(IO),
	  .changes = STATUS(IO) | STATUS(BUSY) },
	{ .name = "read-never-passes",
	  .rule = { .kind = FAULTY_PASSING, .operations = ON(READ), .row = UINT_MAX },
	  .reads = STATUS(IO),
	  .changes = STATUS(IO) | STATUS(BUSY) },
	QUIET_ROW("read-short", FAULTY_SHORT, ON(READ), 0, 3),
	QUIET_ROW("read-again", FAULTY_PASSING, ON(READ), EAGAIN, 3),
	QUIET_ROW("read-interrupted", FAULTY_PASSING, ON(READ), EINTR, 3),
	/* Writes. */
	WRITE_ROW("write-error", FAULTY_ERROR, ON(WRITE), EIO),
	WRITE_ROW("write-error-done", FAULTY_ERROR_DONE, ON(WRITE), EIO),
	WRITE_ROW("write-canceled", FAULTY_ERROR, ON(WRITE), ECANCELED),
	WRITE_ROW("write-canceled-done", FAULTY_ERROR_DONE, ON(WRITE), ECANCELED),
	{ .name = "write-never-passes",
	  .rule = { .kind = FAULTY_PASSING, .operations = ON(WRITE), .row = UINT_MAX },
	  .changes = TROUBLE,
	  .traits = SWEEP_STOPS },
	SPACE_ROW("write-no-space", ON(WRITE), ENOSPC),
	SPACE_ROW("write-quota", ON(WRITE), EDQUOT),
	{ .name = "write-cut-by-no-space",
	  .rule = { .kind = FAULTY_SPACE, .operations = ON(WRITE), .bytes = IO_PAGE_BYTES },
	  .changes = STATUS(NO_SPACE),
	  .traits = SWEEP_MAY_MISS },
	SPACE_ROW("full-disk", ON(WRITE) | ON(ALLOCATE) | ON(OPEN) | ON(MAKE_DIRECTORY), ENOSPC),
	QUIET_ROW("write-short", FAULTY_SHORT, ON(WRITE), 0, 3),
	QUIET_ROW("write-again", FAULTY_PASSING, ON(WRITE), EAGAIN, 3),
	QUIET_ROW("write-interrupted", FAULTY_PASSING, ON(WRITE), EINTR, 3),
	/* Syncs, durable writes among them. */
	WRITE_ROW("sync-clean-new", FAULTY_SYNC_CLEAN_NEW, 0, 0),
	{ .name = "sync-clean-old",
	  .rule = { .kind = FAULTY_SYNC_CLEAN_OLD },
	  .changes = TROUBLE | STATUS(CORRUPT),
	  .traits = SWEEP_STOPS | SWEEP_DROPS },
	{ .name = "sync-late",
	  .rule = { .kind = FAULTY_SYNC_LATE },
	  .changes = TROUBLE,
	  .traits = SWEEP_STOPS | SWEEP_LATE },
	WRITE_ROW("sync-partly", FAULTY_SYNC_PARTLY, 0, 0),
	WRITE_ROW("sync-kept", FAULTY_SYNC_KEPT, 0, 0),
	WRITE_ROW("sync-error-done", FAULTY_ERROR_DONE, ON(SYNC) | ON(SYNC_DIRECTORY), EIO),
	{ .name = "sync-no-space",
	  .rule = { .kind = FAULTY_ERROR, .operations = ON(SYNC) | ON(SYNC_DIRECTORY), .error = ENOSPC },
	  .changes = TROUBLE | STATUS(NO_SPACE),
	  .traits = SWEEP_STOPS },
	QUIET_ROW("sync-interrupted", FAULTY_PASSING, ON(SYNC), EINTR, 3),
	/* Files and names. */
	ERROR_ROW("open-error", FAULTY_ERROR, ON(OPEN), EIO),
	SPACE_ROW("open-no-space", ON(OPEN), ENOSPC),
	ERROR_ROW("open-too-many", FAULTY_ERROR, ON(OPEN), EMFILE),
	ERROR_ROW("close-error", FAULTY_ERROR, ON(CLOSE), EIO),
	ERROR_ROW("allocate-error", FAULTY_ERROR, ON(ALLOCATE), EIO),
	SPACE_ROW("allocate-no-space", ON(ALLOCATE), ENOSPC),
	QUIET_ROW("allocate-unsupported", FAULTY_ERROR, ON(ALLOCATE), EOPNOTSUPP, 0),
	QUIET_ROW("allocate-interrupted", FAULTY_PASSING, ON(ALLOCATE), EINTR, 3),
	WRITE_ROW("rename-error", FAULTY_ERROR, ON(RENAME), EIO),
	WRITE_ROW("rename-error-done", FAULTY_ERROR_DONE, ON(RENAME), EIO),
	SPACE_ROW("rename-no-space", ON(RENAME), ENOSPC),
	ERROR_ROW("unlink-error", FAULTY_ERROR, ON(UNLINK), EIO),
	ERROR_ROW("unlink-error-done", FAULTY_ERROR_DONE, ON(UNLINK), EIO),
	ERROR_ROW("make-directory-error", FAULTY_ERROR, ON(MAKE_DIRECTORY), EIO),
	SPACE_ROW("make-directory-no-space", ON(MAKE_DIRECTORY), ENOSPC),
	/* A slow device. */
	{ .name = "stall", .rule = { .kind = FAULTY_STALL, .delay_ns = 20 * 1000 * 1000 } },
	/* Wrong bytes, of tables: found, never believed. */
	{ .name = "flipped-bit",
	  .rule = { .kind = FAULTY_FLIP, .file = "*.table" },
	  .reads = STATUS(CORRUPT),
	  .changes = STATUS(CORRUPT) | STATUS(BUSY),
	  .traits = SWEEP_LINGERS },
	{ .name = "zeroed-unit",
	  .rule = { .kind = FAULTY_ZERO, .file = "*.table" },
	  .reads = STATUS(CORRUPT),
	  .changes = STATUS(CORRUPT) | STATUS(BUSY),
	  .traits = SWEEP_LINGERS },
	{ .name = "misdirected-write",
	  .rule = { .kind = FAULTY_MISDIRECT, .file = "*.table" },
	  .reads = STATUS(CORRUPT),
	  .changes = STATUS(CORRUPT) | STATUS(BUSY),
	  .traits = SWEEP_DAMAGES },
	{ .name = "lost-write",
	  .rule = { .kind = FAULTY_LOSE, .file = "*.table" },
	  .reads = STATUS(CORRUPT),
	  .changes = STATUS(CORRUPT) | STATUS(BUSY),
	  .traits = SWEEP_DAMAGES },
	/* Memory. */
	{ .name = "memory",
	  .of_memory = true,
	  .reads = STATUS(NO_MEMORY),
	  .changes = STATUS(NO_MEMORY) | STATUS(BUSY),
	  .traits = SWEEP_STOPS },
	{ 0 },
};

unsigned sweep_fault_count(void)
{
	return (unsigned)(sizeof(sweep_faults) / sizeof(sweep_faults[0])) - 1;
}
