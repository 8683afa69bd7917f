#include "table/variants.h"

#include <string.h>

#include "base/door.h"
#include "base/memory.h"

#include "base/poison.h"

const struct codec_ops *variant_find_codec(uint8_t id)
{
	const struct component *const *row = component_list(COMPONENT_CODEC);
	for (; *row != NULL; row++) {
		const struct codec_ops *codec = (const struct codec_ops *)(const void *)*row;
		if (codec->format_id == id)
			return codec;
	}
	return NULL;
}

const struct filter_ops *variant_find_filter(uint8_t id)
{
	const struct component *const *row = component_list(COMPONENT_FILTER);
	for (; *row != NULL; row++) {
		const struct filter_ops *filter = (const struct filter_ops *)(const void *)*row;
		if (filter->format_id == id)
			return filter;
	}
	return NULL;
}

struct status variant_default_options(const struct component *component, void **options)
{
	*options = NULL;
	if (component->options_size == 0)
		return status_ok();
	*options = memory_allocate_zeroed(1, component->options_size);
	if (*options == NULL)
		return status_make(STATUS_NO_MEMORY);
	component_default_options(component, *options);
	return status_ok();
}

struct size_call {
	const struct codec_ops *codec;
	const void *options;
	size_t size;
};

static void ask_context_size(void *argument)
{
	struct size_call *call = argument;
	call->size = call->codec->context_size(call->options);
}

struct status variant_codec_context(const struct codec_ops *codec, const void *options, void **context)
{
	*context = NULL;
	struct size_call call = { .codec = codec, .options = options };
	call_on_thread_stack(ask_context_size, &call);
	if (call.size == 0)
		return status_ok();
	*context = memory_allocate_aligned(64, call.size);
	if (*context == NULL)
		return status_make(STATUS_NO_MEMORY);
	memset(*context, 0, call.size);
	return status_ok();
}
