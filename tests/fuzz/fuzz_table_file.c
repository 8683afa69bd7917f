/* Whole table files, opened and read: see image.h. */
#include "fuzz/fuzz.h"
#include "fuzz/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return image_fuzz(&image_table, data, size);
}

size_t fuzz_seed(unsigned index, uint8_t *to)
{
	static const char *const found[] = {
		/* The heads of a partition's separators, which searches compare, said what these did not. */
		"032b0046b0821d000f0000000000001d0000006b65793030303030330000000003",
		NULL,
	};
	return image_seed(&image_table, found, index, to);
}
