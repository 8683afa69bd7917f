/*
 * channel.h: messages from the process that runs a cell to the one that writes results, through a pipe.
 * Both ends are the same binary, forked, so that structs travel as they are.
 */
#ifndef CASCADE_HARNESS_CHANNEL_H
#define CASCADE_HARNESS_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum message_type {
	MESSAGE_PROGRESS = 1,	 /* struct message_progress */
	MESSAGE_SUMMARY,	 /* struct phase_summary: a phase has ended; its texts follow */
	MESSAGE_RECORD,		 /* text for record.jsonl, */
	MESSAGE_REPETITION_ROWS, /* repetitions.csv, */
	MESSAGE_TIMELINE,	 /* timeline.csv, */
	MESSAGE_INTERVALS,	 /* run.hlog */
	MESSAGE_FILE,		 /* a file's name, a zero byte, and its content */
	MESSAGE_NOTICE,		 /* text: what the environment refused */
	MESSAGE_FAILURE,	 /* text: what went wrong */
	MESSAGE_END,		 /* nothing: the cell ran to its end */
};

struct message_progress {
	uint32_t phase_index;
	double seconds;
	uint64_t operations;
	uint64_t total; /* 0: unknown */
};

struct message_header {
	uint32_t type;
	uint32_t size;
};

/* Writes one message whole. False: the reader is gone. */
bool channel_send(int fd, enum message_type type, const void *data, size_t size);
bool channel_send_text(int fd, enum message_type type, const char *text);

/* What was read and is not yet a whole message. */
struct channel_reader {
	int fd;
	char *buffer;
	size_t size, capacity;
};

typedef void channel_handler(void *context, enum message_type type, const char *data, size_t size);

/*
 * Reads what is there (waits if nothing is) and hands over every message that is whole; `data` is aligned
 * as malloc aligns and ends with a zero byte that is not counted. False at the end of the stream or when it
 * makes no sense.
 */
bool channel_receive(struct channel_reader *reader, channel_handler *handler, void *context);
void channel_reader_free(struct channel_reader *reader);

#endif
