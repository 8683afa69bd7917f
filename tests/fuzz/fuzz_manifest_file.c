/* Whole manifest files, opened and read: see image.h. */
#include "fuzz/fuzz.h"
#include "fuzz/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	return image_fuzz(&image_manifest, data, size);
}

size_t fuzz_seed(unsigned index, uint8_t *to)
{
	return image_seed(&image_manifest, NULL, index, to);
}
