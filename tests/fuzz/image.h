/*
 * image.h: whole files as they lie on disk, to be damaged and opened: what the fuzz targets of the file
 * formats and the exhaustive damage tests share. Each format has a few images, made once by the engine
 * itself.
 *
 * The files are in memory (world.h). One thread.
 */
#ifndef CASCADE_TESTS_FUZZ_IMAGE_H
#define CASCADE_TESTS_FUZZ_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { IMAGE_FILES_MAX = 6, IMAGE_PATH_BYTES = 64, IMAGE_TEXT_BYTES = 256 };

struct image_file {
	char path[IMAGE_PATH_BYTES];
	uint8_t *bytes;
	size_t size;
	size_t used; /* the bytes that say something: what lies behind is zeros, or stale */
	bool missing;
};

struct image {
	struct image_file files[IMAGE_FILES_MAX];
	unsigned count;
};

/* What an open and the reading of everything came to. */
struct image_outcome {
	bool refused;	      /* not opened */
	bool noticed;	      /* opened, and something that was read, or the verification, told of damage */
	bool complete;	      /* all data was there and right */
	struct status status; /* the first error */
	char text[IMAGE_TEXT_BYTES]; /* its message */
};

struct image_format {
	const char *name;
	unsigned image_count;
	const struct image *(*image)(unsigned index);

	/* Makes every checksum right that can be found in the damaged files, so that what lies behind is
	 * read. */
	void (*seal)(unsigned index, struct image *image);

	/*
	 * Opens the files and reads everything. Ends the program if what is read is neither right nor an
	 * error, or the error is none that damage may cause. `sealed`: checksums were put right, and then
	 * wrong data is nobody's fault: only crashes, endless loops, and errors of another kind are.
	 */
	void (*examine)(unsigned index, const struct image *image, bool sealed,
			struct image_outcome *outcome);
};

extern const struct image_format image_root;
extern const struct image_format image_manifest;
extern const struct image_format image_wal;
extern const struct image_format image_table;

/* The images of the log. */
enum {
	IMAGE_WAL_CRASHED, /* every commit was synced */
	IMAGE_WAL_CLOSED,
	IMAGE_WAL_LAPS, /* crashed in a later lap; tables cover most commits */
};

/* Adds a copy of a file of the world. */
void image_add_file(struct image *image, const char *path, size_t used);

void image_copy(struct image *to, const struct image *from);
void image_free(struct image *image);

/* The files as they are now, and no others. */
void image_write(const struct image *image);

/* Takes down the first error. CHECKs that it is one of damage, and unless sealed that it names the place. */
void image_note(struct image_outcome *outcome, struct status status, bool sealed);

/*
 * The fuzz target of a format. Input: 1 byte image, 1 byte: bit 0: seal; then changes, each 1 byte: low half
 * what, high half which file; 3 bytes offset; and what it takes: 0: length of 1 byte and the bytes to write;
 * 1: a bit of 1 byte to flip; 2: nothing, cuts the file off there; 3: nothing, takes the file away; 4: 1 byte
 * length in units of 64 and 3 bytes where to copy from; 5: 1 byte length in units of 64 to fill with zeros.
 */
int image_fuzz(const struct image_format *format, const uint8_t *data, size_t size);
/* `found`: inputs that once failed, see fuzz_hex_seed. */
size_t image_seed(const struct image_format *format, const char *const *found, unsigned index, uint8_t *to);

#endif
