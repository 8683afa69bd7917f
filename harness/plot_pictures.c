#include "harness/plot_pictures.h"

#include "harness/plot_picture.h"

static struct status write_phase(const struct run_data *data, const char *folder, size_t phase,
				 picture_function *each, void *context)
{
	struct picture picture;
	bool written;
	for (int operation = 0; operation < OPERATION_KINDS; operation++) {
		TRY(plot_latency(data, folder, phase, operation, &picture, &written));
		if (written)
			TRY(each(context, picture.name));
	}
	TRY(plot_timeline(data, folder, phase, &picture, &written));
	if (written)
		TRY(each(context, picture.name));
	TRY(plot_bars(data, folder, phase, &picture, &written));
	return written ? each(context, picture.name) : status_ok();
}

struct status plot_pictures_write(const struct run_data *data, const char *folder, picture_function *each,
				  void *context)
{
	struct picture picture;
	bool written;
	for (size_t phase = 0; phase < data->phase_count; phase++)
		TRY(write_phase(data, folder, phase, each, context));
	for (size_t phase = 0; phase < data->phase_count; phase++) {
		TRY(plot_throughput(data, folder, phase, &picture, &written));
		if (written)
			TRY(each(context, picture.name));
	}
	TRY(plot_ratios(data, folder, &picture, &written));
	return written ? each(context, picture.name) : status_ok();
}
