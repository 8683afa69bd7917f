/*
 * variants.h: codecs and filters as tables need them: by the id in the file, with default options where
 * nobody gave any.
 *
 * Internal to table/.
 */
#ifndef CASCADE_TABLE_VARIANTS_H
#define CASCADE_TABLE_VARIANTS_H

#include "components/codec/codec.h"
#include "components/filters/filter.h"

/* NULL: this build has none of that id. */
const struct codec_ops *variant_find_codec(uint8_t id);
const struct filter_ops *variant_find_filter(uint8_t id);

/* The variant's defaults, for the caller to free (memory_free); NULL without options. */
MUST_CHECK struct status variant_default_options(const struct component *component, void **options);

/* A zeroed context (memory_free), NULL if the codec needs none. `options` NULL: to decompress only. */
MUST_CHECK struct status variant_codec_context(const struct codec_ops *codec, const void *options,
					       void **context);

#endif
