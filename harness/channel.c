#include "harness/channel.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "harness/allocate.h"

enum { READ_BYTES = 1 << 16, MESSAGE_BYTES_MAX = 1 << 28 };

static bool send_bytes(int fd, const void *data, size_t size)
{
	const char *from = data;
	while (size > 0) {
		ssize_t written = write(fd, from, size);
		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return false;
		from += written;
		size -= (size_t)written;
	}
	return true;
}

bool channel_send(int fd, enum message_type type, const void *data, size_t size)
{
	struct message_header header = { .type = type, .size = (uint32_t)size };
	return size <= MESSAGE_BYTES_MAX && send_bytes(fd, &header, sizeof(header)) &&
	       send_bytes(fd, data, size);
}

bool channel_send_text(int fd, enum message_type type, const char *text)
{
	return channel_send(fd, type, text, strlen(text));
}

/* Hands over the whole messages; what is left moves to the front. False: nonsense. */
static bool deliver(struct channel_reader *reader, channel_handler *handler, void *context)
{
	size_t at = 0;
	while (reader->size - at >= sizeof(struct message_header)) {
		struct message_header header;
		memcpy(&header, reader->buffer + at, sizeof(header));
		if (header.type < MESSAGE_PROGRESS || header.type > MESSAGE_END ||
		    header.size > MESSAGE_BYTES_MAX)
			return false;
		if (reader->size - at - sizeof(header) < header.size)
			break;
		char *data = allocate_zeroed(1, (size_t)header.size + 1);
		memcpy(data, reader->buffer + at + sizeof(header), header.size);
		handler(context, (enum message_type)header.type, data, header.size);
		memory_free(data);
		at += sizeof(header) + header.size;
	}
	memmove(reader->buffer, reader->buffer + at, reader->size - at);
	reader->size -= at;
	return true;
}

bool channel_receive(struct channel_reader *reader, channel_handler *handler, void *context)
{
	if (reader->capacity - reader->size < READ_BYTES) {
		reader->capacity = 2 * reader->capacity + READ_BYTES;
		reader->buffer = allocate_resize(reader->buffer, reader->capacity);
	}
	ssize_t got = read(reader->fd, reader->buffer + reader->size, reader->capacity - reader->size);
	if (got < 0)
		return errno == EINTR;
	if (got == 0)
		return false;
	reader->size += (size_t)got;
	return deliver(reader, handler, context);
}

void channel_reader_free(struct channel_reader *reader)
{
	memory_free(reader->buffer);
	reader->buffer = NULL;
}
