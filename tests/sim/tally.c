#include "sim/tally.h"

#include <stdlib.h>
#include <string.h>

static const char *const event_names[TALLY_EVENT_COUNT] = {
	[TALLY_FLUSHES] = "flushes",
	[TALLY_MERGES] = "merges",
	[TALLY_MOVES] = "moved tables",
	[TALLY_LAPS] = "log segments reused",
	[TALLY_REPLAYED] = "commits replayed",
	[TALLY_TRIMMED] = "torn tails cut",
	[TALLY_CREATIONS] = "crashes while created",
	[TALLY_RECOVERY_FAULT] = "recoveries that failed first",
	[TALLY_SHARD_FAILED] = "shards that refused writes",
	[TALLY_FULL] = "writes refused for space",
	[TALLY_CORRUPT] = "damage reported",
	[TALLY_READ_ERRORS] = "read errors reported",
	[TALLY_UNACKNOWLEDGED] = "images with more than promised",
	[TALLY_LOST] = "images with less than acknowledged",
	[TALLY_SNAPSHOTS] = "snapshots",
	[TALLY_SCANS] = "scans of everything",
	[TALLY_BATCHES] = "batches",
	[TALLY_ADOPTED] = "images gone on with",
	[TALLY_RECORD_HITS] = "hits in the record cache",
	[TALLY_AFTER_FAULT] = "images right after an error",
	[TALLY_LIVES] = "short lives after a recovery",
	[TALLY_UNFLUSHED] = "closes that could not flush",
	[TALLY_DAMAGED] = "disks with one bad sector",
	[TALLY_DAMAGE_TOLD] = "... of which it was told",
};

const char *tally_event_name(enum tally_event event)
{
	return event_names[event];
}

/* All members are 64 bit counts. */
enum { TALLY_WORDS = sizeof(struct tally) / sizeof(uint64_t) };
_Static_assert(sizeof(struct tally) == TALLY_WORDS * sizeof(uint64_t), "counts only");

void tally_add(struct tally *to, const struct tally *from)
{
	uint64_t *sum = (uint64_t *)(void *)to;
	const uint64_t *more = (const uint64_t *)(const void *)from;
	for (unsigned i = 0; i < TALLY_WORDS; i++)
		sum[i] += more[i];
}

static double seconds(uint64_t ns)
{
	return (double)ns / 1e9;
}

static void print_count(FILE *to, const char *name, uint64_t count)
{
	(void)fprintf(to, "  %-36s %14llu\n", name, (unsigned long long)count);
}

void tally_print(const struct tally *tally, FILE *to)
{
	uint64_t images = tally->images_power + tally->images_process + tally->images_again +
			  tally->images_after + tally->images_used;
	(void)fprintf(to,
		      "%llu seeds, %llu operations, %llu crash images, %.0f s simulated in %.1f s: %.1f "
		      "seeds/s\n",
		      (unsigned long long)tally->seeds, (unsigned long long)tally->operations,
		      (unsigned long long)images, seconds(tally->virtual_ns), seconds(tally->real_ns),
		      tally->real_ns > 0 ? (double)tally->seeds / seconds(tally->real_ns) : 0);
	(void)fprintf(to, "recoveries checked:\n");
	print_count(to, "after a loss of power", tally->images_power);
	print_count(to, "after a kill", tally->images_process);
	print_count(to, "crashed again while recovering", tally->images_again);
	print_count(to, "power lost right after it", tally->images_after);
	print_count(to, "written to and opened again", tally->images_used);
	(void)fprintf(to, "faults that fired:\n");
	for (unsigned fault = 0; fault < SIM_FAULT_COUNT; fault++)
		print_count(to, sim_fault_name((enum sim_fault)fault), tally->faults[fault]);
	(void)fprintf(to, "what happened:\n");
	print_count(to, "I/O events", tally->events_of_io);
	for (unsigned event = 0; event < TALLY_EVENT_COUNT; event++)
		print_count(to, event_names[event], tally->events[event]);
	(void)fprintf(to, "on the disk:\n");
	for (unsigned kind = 0; kind < SIMULATED_CLASS_COUNT; kind++)
		print_count(to, simulated_class_name((enum simulated_class)kind), tally->disk[kind]);
}

static unsigned tell_missing(FILE *to, const char *name, uint64_t count)
{
	if (count > 0)
		return 0;
	(void)fprintf(to, "never happened: %s\n", name);
	return 1;
}

/* Crashes leave no garbage in these campaigns, since the log asks for units that are never torn; and nothing
 * in the engine writes to a file while it syncs it. */
static bool is_expected(unsigned kind)
{
	return kind != SIMULATED_UNIT_GARBAGE && kind != SIMULATED_SYNC_PARTIAL;
}

unsigned tally_missing(const struct tally *tally, FILE *to)
{
	unsigned missing = 0;
	for (unsigned fault = 0; fault < SIM_FAULT_COUNT; fault++)
		missing += tell_missing(to, sim_fault_name((enum sim_fault)fault), tally->faults[fault]);
	for (unsigned event = 0; event < TALLY_EVENT_COUNT; event++)
		missing += tell_missing(to, event_names[event], tally->events[event]);
	for (unsigned kind = 0; kind < SIMULATED_CLASS_COUNT; kind++)
		if (is_expected(kind))
			missing += tell_missing(to, simulated_class_name((enum simulated_class)kind),
						tally->disk[kind]);
	missing += tell_missing(to, "images crashed again", tally->images_again);
	return missing;
}

bool tally_load(struct tally *tally, const char *path)
{
	FILE *file = fopen(path, "r");
	if (file == NULL)
		return false;
	uint64_t *words = (uint64_t *)(void *)tally;
	unsigned count = 0;
	unsigned long long number;
	while (count < TALLY_WORDS && fscanf(file, "%llu", &number) == 1)
		words[count++] = number;
	(void)fclose(file);
	if (count != TALLY_WORDS) {
		(void)fprintf(stderr, "%s: not a state of this build's campaigns\n", path);
		exit(2);
	}
	return true;
}

bool tally_save(const struct tally *tally, const char *path)
{
	FILE *file = fopen(path, "w");
	if (file == NULL)
		return false;
	const uint64_t *words = (const uint64_t *)(const void *)tally;
	for (unsigned i = 0; i < TALLY_WORDS; i++)
		(void)fprintf(file, "%llu\n", (unsigned long long)words[i]);
	return fclose(file) == 0;
}
