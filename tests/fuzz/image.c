#include "fuzz/image.h"

#include "fuzz/fuzz.h"
#include "fuzz/world.h"

enum { CHANGES_MAX = 64, COPY_UNIT = 64 };

enum change { CHANGE_WRITE, CHANGE_FLIP, CHANGE_CUT, CHANGE_REMOVE, CHANGE_COPY, CHANGE_ZERO, CHANGES };

void image_add_file(struct image *image, const char *path, size_t used)
{
	FUZZ_CHECK(image->count < IMAGE_FILES_MAX);
	struct image_file *file = &image->files[image->count++];
	const uint8_t *bytes = world_read_file(path, &file->size);
	FUZZ_CHECK(bytes != NULL && strlen(path) < IMAGE_PATH_BYTES);
	(void)snprintf(file->path, sizeof(file->path), "%s", path);
	file->bytes = fuzz_exact(bytes, file->size);
	file->used = used < file->size ? used : file->size;
}

void image_copy(struct image *to, const struct image *from)
{
	*to = *from;
	for (unsigned i = 0; i < from->count; i++)
		to->files[i].bytes = fuzz_exact(from->files[i].bytes, from->files[i].size);
}

void image_free(struct image *image)
{
	for (unsigned i = 0; i < image->count; i++)
		free(image->files[i].bytes);
	image->count = 0;
}

void image_write(const struct image *image)
{
	world_remove_files();
	for (unsigned i = 0; i < image->count; i++)
		if (!image->files[i].missing)
			world_write_file(image->files[i].path, image->files[i].bytes, image->files[i].size);
}

void image_note(struct image_outcome *outcome, struct status status, bool sealed)
{
	if (status_is_ok(status) || !status_is_ok(outcome->status))
		return;
	outcome->status = status;
	status_describe(status, outcome->text, sizeof(outcome->text));
	bool expected = status_is(status, STATUS_CORRUPT) || status_is(status, STATUS_FORMAT);
	if (!expected || (!sealed && status.detail == 0))
		(void)fprintf(stderr, "unexpected: %s: %s\n", status_code_text(status.code), outcome->text);
	FUZZ_CHECK(expected);
	FUZZ_CHECK(sealed || status.detail != 0);
}

/* --- changes --- */

static void write_bytes(struct image_file *file, size_t offset, struct fuzz_input *input)
{
	size_t length = (size_t)fuzz_number(input, 1);
	const uint8_t *bytes = fuzz_bytes(input, length, &length);
	if (length > file->size - offset)
		length = file->size - offset;
	if (length > 0)
		memcpy(file->bytes + offset, bytes, length);
}

static void copy_bytes(struct image_file *file, size_t offset, struct fuzz_input *input)
{
	size_t length = (size_t)fuzz_number(input, 1) * COPY_UNIT;
	size_t from = (size_t)fuzz_number(input, 3) % file->size;
	if (length > file->size - offset)
		length = file->size - offset;
	if (length > file->size - from)
		length = file->size - from;
	memmove(file->bytes + offset, file->bytes + from, length);
}

static void zero_bytes(struct image_file *file, size_t offset, struct fuzz_input *input)
{
	size_t length = (size_t)fuzz_number(input, 1) * COPY_UNIT;
	memset(file->bytes + offset, 0, length < file->size - offset ? length : file->size - offset);
}

static void change_image(struct image *image, struct fuzz_input *input)
{
	uint64_t what = fuzz_number(input, 1);
	size_t offset = (size_t)fuzz_number(input, 3);
	struct image_file *file = &image->files[(what >> 4) % image->count];
	if (file->size == 0)
		return;
	offset %= file->size;
	switch ((enum change)((what & 15) % CHANGES)) {
	case CHANGE_WRITE:
		write_bytes(file, offset, input);
		return;
	case CHANGE_FLIP:
		file->bytes[offset] ^= (uint8_t)(1u << fuzz_number(input, 1) % 8);
		return;
	case CHANGE_CUT:
		file->size = offset;
		return;
	case CHANGE_REMOVE:
		file->missing = true;
		return;
	case CHANGE_COPY:
		copy_bytes(file, offset, input);
		return;
	case CHANGE_ZERO:
		zero_bytes(file, offset, input);
		return;
	case CHANGES:
		return;
	}
}

int image_fuzz(const struct image_format *format, const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };
	unsigned index = (unsigned)fuzz_number(&input, 1) % format->image_count;
	bool sealed = (fuzz_number(&input, 1) & 1) != 0;
	struct image_outcome outcome = { 0 };
	struct image image;
	image_copy(&image, format->image(index));
	for (unsigned i = 0; i < CHANGES_MAX && input.left > 0; i++)
		change_image(&image, &input);
	if (sealed)
		format->seal(index, &image);
	format->examine(index, &image, sealed, &outcome);
	image_free(&image);
	return 0;
}

size_t image_seed(const struct image_format *format, const char *const *found, unsigned index, uint8_t *to)
{
	/* What is written over the fields of headers: numbers at the ends of their ranges. */
	static const uint8_t words[][8] = {
		{ 0 },
		{ 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
		{ 1 },
		{ 0, 0, 0, 0x80 },
	};
	enum { FIELDS = 24, WORDS = 4 };
	unsigned image_index = index % format->image_count;
	unsigned kind = index / format->image_count;
	const struct image *image = format->image(image_index);
	size_t at = fuzz_put(to, fuzz_put(to, 0, image_index, 1), kind % 2, 1);
	if (kind < 2) /* untouched */
		return at;
	kind -= 2;
	if (kind >= FIELDS)
		return fuzz_hex_seed(found, index - (FIELDS + 2) * format->image_count, to);
	unsigned file = kind % image->count;
	at = fuzz_put(to, at, CHANGE_WRITE | file << 4, 1);
	at = fuzz_put(to, at, (kind * 8) % image->files[file].size, 3);
	at = fuzz_put(to, at, 8, 1);
	return fuzz_put_bytes(to, at, words[kind % WORDS], 8);
}
