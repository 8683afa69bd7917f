#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/door.h"

enum { DETAIL_SLOTS = 1024, DETAIL_BYTES = 256 };

/* Errors are rare, so a slot is guarded by a plain flag: nobody waits longer than a copy. */
struct detail_slot {
	atomic_flag busy;
	uint32_t ticket;
	char text[DETAIL_BYTES];
};

static struct detail_slot slots[DETAIL_SLOTS];
static atomic_uint_least32_t next_ticket = 1;

static void slot_lock(struct detail_slot *slot)
{
	while (atomic_flag_test_and_set_explicit(&slot->busy, memory_order_acquire))
		;
}

static void slot_unlock(struct detail_slot *slot)
{
	atomic_flag_clear_explicit(&slot->busy, memory_order_release);
}

static uint32_t take_ticket(void)
{
	uint32_t ticket;
	do
		ticket = atomic_fetch_add_explicit(&next_ticket, 1, memory_order_relaxed);
	while (ticket == 0);
	return ticket;
}

struct message {
	const char *format;
	va_list arguments;
	uint32_t ticket;
};

/* On the thread's stack: formatting takes some KiB. */
static void keep_message(void *argument)
{
	struct message *message = argument;
	char text[DETAIL_BYTES];
	(void)vsnprintf(text, sizeof(text), message->format, message->arguments);

	message->ticket = take_ticket();
	struct detail_slot *slot = &slots[message->ticket % DETAIL_SLOTS];
	slot_lock(slot);
	slot->ticket = message->ticket;
	memcpy(slot->text, text, sizeof(text));
	slot_unlock(slot);
}

struct status status_error(enum status_code code, const char *format, ...)
{
	struct message message = { .format = format };
	va_start(message.arguments, format);
	call_on_thread_stack(keep_message, &message);
	va_end(message.arguments);
	return (struct status) { .code = (int32_t)code, .detail = message.ticket };
}

static enum status_code code_from_errno(int error)
{
	switch (error) {
	case ENOENT:
		return STATUS_NOT_FOUND;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return STATUS_NO_SPACE;
	case ENOMEM:
		return STATUS_NO_MEMORY;
	case EWOULDBLOCK:
	case EBUSY:
		return STATUS_BUSY;
	case EINVAL:
	case ENAMETOOLONG:
	case ENOTDIR:
		return STATUS_INVALID;
	case EOPNOTSUPP:
	case ENOSYS:
		return STATUS_UNSUPPORTED;
	case EROFS:
		return STATUS_READ_ONLY;
	default:
		return STATUS_IO;
	}
}

struct errno_message {
	int error;
	const char *what;
	const char *path;
	struct status status;
};

static void keep_errno(void *argument)
{
	struct errno_message *message = argument;
	enum status_code code = code_from_errno(message->error);
	char reason[96];
	const char *text = strerror_r(message->error, reason, sizeof(reason));
	if (message->path == NULL)
		message->status = status_error(code, "%s: %s", message->what, text);
	else
		message->status = status_error(code, "%s: %s: %s", message->path, message->what, text);
}

struct status status_from_errno(int error, const char *what, const char *path)
{
	struct errno_message message = { .error = error, .what = what, .path = path };
	call_on_thread_stack(keep_errno, &message);
	return message.status;
}

const char *status_code_text(int32_t code)
{
	static const char *const texts[STATUS_CODE_COUNT] = {
		[STATUS_OK] = "ok",
		[STATUS_NOT_FOUND] = "not found",
		[STATUS_INVALID] = "invalid argument",
		[STATUS_BUSY] = "busy, try again",
		[STATUS_NO_SPACE] = "no space left",
		[STATUS_IO] = "input/output error",
		[STATUS_CORRUPT] = "corrupted data",
		[STATUS_NO_MEMORY] = "out of memory",
		[STATUS_LOCKED] = "in use by another process",
		[STATUS_UNSUPPORTED] = "not supported",
		[STATUS_FORMAT] = "unknown format version",
		[STATUS_READ_ONLY] = "read-only after a failed sync",
		[STATUS_CLOSED] = "closed",
		[STATUS_CANCELED] = "canceled",
	};
	if (code < 0 || code >= STATUS_CODE_COUNT)
		return "unknown status";
	return texts[code];
}

void status_describe(struct status status, char *buffer, size_t size)
{
	if (size == 0)
		return;
	if (status.detail != 0) {
		struct detail_slot *slot = &slots[status.detail % DETAIL_SLOTS];
		bool found = false;
		slot_lock(slot);
		if (slot->ticket == status.detail) {
			size_t length = strnlen(slot->text, DETAIL_BYTES - 1);
			length = length < size - 1 ? length : size - 1;
			memcpy(buffer, slot->text, length);
			buffer[length] = '\0';
			found = true;
		}
		slot_unlock(slot);
		if (found)
			return;
	}
	const char *text = status_code_text(status.code);
	size_t length = strnlen(text, size - 1);
	memcpy(buffer, text, length);
	buffer[length] = '\0';
}
