/*
 * gate.h: how any thread ends the sleep of the one thread that owns an I/O instance.
 *
 * The owner announces its sleep and then looks once more for reasons to stay awake; a waker leaves its
 * reason and then looks for the announcement. Both sides use sequentially consistent operations, so at
 * least one of them sees the other, and the event file is written only for an owner that really sleeps:
 * waking a running owner costs one atomic exchange and no system call.
 */
#ifndef CASCADE_IO_GATE_H
#define CASCADE_IO_GATE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/status.h"

struct gate {
	atomic_bool signalled; /* somebody asked the owner to return */
	atomic_bool asleep;    /* the owner waits in the kernel, or is about to */
	int event;	       /* an eventfd that becomes readable for a sleeping owner */
};

/* `flags`: EFD_NONBLOCK or 0, as the owner reads it. */
MUST_CHECK static inline struct status gate_open(struct gate *gate, int flags)
{
	atomic_init(&gate->signalled, false);
	atomic_init(&gate->asleep, false);
	gate->event = eventfd(0, EFD_CLOEXEC | flags);
	return gate->event >= 0 ? status_ok() : status_from_errno(errno, "eventfd", NULL);
}

static inline void gate_close(struct gate *gate)
{
	(void)close(gate->event);
	gate->event = -1;
}

/* Makes the event file readable. Any thread; async-signal-safe. */
static inline void gate_ring(struct gate *gate)
{
	int kept = errno;
	uint64_t one = 1;
	/* It can fail only when 2^64 - 2 rings are unread, and then the file is readable anyway. */
	ssize_t written = write(gate->event, &one, sizeof(one));
	(void)written;
	errno = kept;
}

/* Ends a sleep for a reason that the owner finds by itself (a completion). Any thread. */
static inline void gate_nudge(struct gate *gate)
{
	if (atomic_load(&gate->asleep))
		gate_ring(gate);
}

/* Ends the owner's sleep, or prevents its next one. Any thread; async-signal-safe. */
static inline void gate_signal(struct gate *gate)
{
	/* The exchange is needed even if the signal stands: it orders what the caller wrote before. */
	if (!atomic_exchange(&gate->signalled, true))
		gate_nudge(gate);
}

/* Owner: whether a signal stood; it does no longer. */
static inline bool gate_take(struct gate *gate)
{
	return atomic_load_explicit(&gate->signalled, memory_order_relaxed) &&
	       atomic_exchange(&gate->signalled, false);
}

/* Owner: announces the sleep. False: a signal stands, so there must be none. */
static inline bool gate_announce(struct gate *gate)
{
	atomic_store(&gate->asleep, true);
	return !atomic_load(&gate->signalled);
}

static inline void gate_awake(struct gate *gate)
{
	atomic_store_explicit(&gate->asleep, false, memory_order_relaxed);
}

#endif
