#include "sim/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "sim/failure.h"

enum { MILLION = 1000 * 1000, RULES_MAX = 3, STEPS_MAX = 60 * 1000 * 1000, LATE_TRIES = 32 };

static void note_stuck(void *context, const char *report)
{
	(void)context;
	sim_fail("nothing can run, and nothing is to come:\n%s", report);
}

/* --- what always goes wrong --- */

static void add_rule(struct machine *machine, enum sim_fault fault, const struct faulty_rule *rule)
{
	SIM_CHECK(machine->rule_count < sizeof(machine->rules) / sizeof(machine->rules[0]));
	machine->rule_faults[machine->rule_count] = fault;
	machine->rules[machine->rule_count++] = faulty_add(machine->faults, rule);
}

/* From rare to nearly always. */
static uint32_t draw_rate(struct random *random, uint32_t most)
{
	return most >> random_below(random, 8);
}

static void add_quiet_faults(struct machine *machine, uint64_t seed)
{
	struct random random = random_stream(seed);
	uint32_t faults = machine->plan->faults;
	if ((faults & 1u << SIM_SHORT) != 0)
		add_rule(machine, SIM_SHORT,
			 &(struct faulty_rule) { .kind = FAULTY_SHORT,
						 .in_million = draw_rate(&random, MILLION / 4),
						 .row = 1 + (unsigned)random_below(&random, 4) });
	if ((faults & 1u << SIM_AGAIN) != 0)
		add_rule(machine, SIM_AGAIN,
			 &(struct faulty_rule) { .kind = FAULTY_PASSING,
						 .in_million = draw_rate(&random, MILLION / 8),
						 .row = 1 + (unsigned)random_below(&random, 8) });
	if ((faults & 1u << SIM_INTERRUPTED) != 0)
		add_rule(machine, SIM_INTERRUPTED,
			 &(struct faulty_rule) { .kind = FAULTY_PASSING,
						 .error = EINTR,
						 .in_million = draw_rate(&random, MILLION / 8),
						 .row = 1 + (unsigned)random_below(&random, 8) });
	if ((faults & 1u << SIM_STALL) == 0)
		return;
	/* Anything takes long now and then; or reads of tables often take a little, in which much happens. */
	struct faulty_rule stall = { .kind = FAULTY_STALL,
				     .in_million = draw_rate(&random, MILLION / 32),
				     .delay_ns = 1000000ull << random_below(&random, 12) };
	if (random_below(&random, 2) == 0)
		stall = (struct faulty_rule) { .kind = FAULTY_STALL,
					       .operations = FAULTY_OPERATION(IO_READ),
					       .file = "*.table",
					       .in_million = (MILLION / 4) >> random_below(&random, 4),
					       .delay_ns = 16000000ull << random_below(&random, 5) };
	add_rule(machine, SIM_STALL, &stall);
}

/* --- machines --- */

struct machine *machine_create(const struct plan *plan, struct tally *tally, struct simulated_world *disk,
			       uint64_t seed)
{
	struct machine *machine = calloc(1, sizeof(*machine));
	if (machine == NULL)
		abort();
	machine->plan = plan;
	machine->tally = tally;
	machine->disk = disk;
	if (disk == NULL) {
		struct simulated_options options = { .seed = random_mix(seed + 1),
						     .unit_bytes = plan->unit_bytes };
		if ((plan->faults & 1u << SIM_STALL) != 0) {
			options.stalls_in_million = 500;
			options.stall_ns_max = 1000ull * MILLION;
		}
		machine->disk = simulated_create(&options);
		simulated_make_path(machine->disk, "/data");
	}
	machine->start_ns = simulated_now_ns(machine->disk);
	machine->faults = faulty_create(random_mix(seed + 2));
	struct stepped_options options = { .seed = random_mix(seed + 3),
					   .policy = plan->policy,
					   .borrows_in_256 = plan->borrows_in_256,
					   .steps_max = STEPS_MAX,
					   .stuck = note_stuck,
					   .context = machine };
	machine->stepped = stepped_create(&options, machine->disk);
	add_quiet_faults(machine, random_mix(seed + 4));
	machine_enter(machine);
	return machine;
}

/* Adds what a rule did to the tally and takes it away. */
static uint64_t end_rule(struct machine *machine, unsigned i)
{
	uint64_t fired = faulty_fired(machine->faults, machine->rules[i]);
	machine->tally->faults[machine->rule_faults[i]] += fired;
	faulty_remove(machine->faults, machine->rules[i]);
	return fired;
}

uint64_t machine_destroy(struct machine *machine)
{
	SIM_CHECK(machine->db == NULL);
	uint64_t trace = stepped_trace(machine->stepped);
	for (unsigned i = 0; i < machine->rule_count; i++)
		(void)end_rule(machine, i);
	machine->tally->virtual_ns += simulated_now_ns(machine->disk) - machine->start_ns;
	for (unsigned kind = 0; kind < SIMULATED_CLASS_COUNT; kind++)
		machine->tally->disk[kind] += simulated_count(machine->disk, (enum simulated_class)kind);
	stepped_install(NULL, NULL);
	stepped_destroy(machine->stepped);
	faulty_destroy(machine->faults);
	simulated_destroy(machine->disk);
	free(machine);
	return trace;
}

void machine_enter(struct machine *machine)
{
	faulty_install(machine->faults, "simulated");
	stepped_install(machine->stepped, "faulty");
}

cascade_status machine_open(struct machine *machine)
{
	SIM_CHECK(machine->db == NULL);
	cascade_options *options = plan_options(machine->plan);
	cascade_status status = cascade_open(MACHINE_PATH, options, &machine->db);
	cascade_options_destroy(options);
	if (status != CASCADE_OK) {
		machine->db = NULL;
		return status;
	}
	machine->had_errors =
		machine->rule_count > 0 && machine->rule_faults[machine->rule_count - 1] >= SIM_QUIET_COUNT;
	static const char *const names[] = { "open.replayed_commits", "open.trimmed_bytes" };
	uint64_t values[2];
	machine_stats(machine, names, values, 2);
	machine->tally->events[TALLY_REPLAYED] += values[0];
	machine->tally->events[TALLY_TRIMMED] += values[1] > 0;
	return CASCADE_OK;
}

cascade_status machine_open_late(struct machine *machine, bool late)
{
	cascade_status status = machine_open(machine);
	for (unsigned i = 0; i < LATE_TRIES && late && (status == CASCADE_IO || status == CASCADE_READ_ONLY);
	     i++)
		status = machine_open(machine);
	return status;
}

static void note_counters(struct machine *machine)
{
	enum { COUNTERS = 5 };
	static const char *const names[COUNTERS] = { "flushes", "merges", "merge.moves", "wal.laps",
						     "records.hits" };
	static const enum tally_event events[COUNTERS] = { TALLY_FLUSHES, TALLY_MERGES, TALLY_MOVES,
							   TALLY_LAPS, TALLY_RECORD_HITS };
	uint64_t values[COUNTERS];
	machine_stats(machine, names, values, COUNTERS);
	for (unsigned i = 0; i < COUNTERS; i++)
		machine->tally->events[events[i]] += values[i];
}

cascade_status machine_close(struct machine *machine)
{
	note_counters(machine);
	cascade_status status = cascade_close(machine->db);
	if (status == CASCADE_BUSY)
		sim_fail("close: %s", cascade_error_message());
	machine->db = NULL;
	return status;
}

void machine_stats(struct machine *machine, const char *const *names, uint64_t *values, unsigned count)
{
	cascade_stat *stats;
	size_t stat_count;
	SIM_CHECK_OK(cascade_stats(machine->db, &stats, &stat_count));
	for (unsigned i = 0; i < count; i++) {
		size_t at = 0;
		while (at < stat_count && strcmp(stats[at].name, names[i]) != 0)
			at++;
		if (at == stat_count)
			sim_fail("there is no stat '%s'", names[i]);
		values[i] = stats[at].value;
	}
	cascade_stats_free(stats);
}

uint64_t machine_stat(struct machine *machine, const char *name)
{
	uint64_t value;
	machine_stats(machine, &name, &value, 1);
	return value;
}

/* --- faults of a time --- */

/* How many requests of the kind that the fault hits a round has, by order of magnitude, as a power of two. */
static unsigned requests_of(enum sim_fault fault)
{
	switch (fault) {
	case SIM_ALLOCATE_ERROR:
		return 3;
	case SIM_NAME_ERROR:
	case SIM_SYNC_CLEAN_NEW:
	case SIM_SYNC_CLEAN_OLD:
	case SIM_SYNC_LATE:
	case SIM_SYNC_PARTLY:
	case SIM_SYNC_KEPT:
		return 6;
	default:
		return 8;
	}
}

/* What an episode is, as a rule: some are one hit at a random moment, some go on. The log is where most of
 * the promises are kept. */
static struct faulty_rule draw_rule(enum sim_fault fault, struct random *random)
{
	static const int errors[] = { EIO, EIO, EIO, ENXIO, EROFS };
	static const char *const files[] = { NULL, NULL, "*.table", "wal-*", "wal-*", "manifest*" };
	struct faulty_rule rule = { .file = files[random_below(random, 6)],
				    .error = errors[random_below(random, 5)] };
	unsigned requests = requests_of(fault);
	switch (random_below(random, 3)) {
	case 0:
		rule.nth = 1 + random_below(random, 1ull << random_below(random, requests + 1));
		rule.times = 1;
		break;
	case 1:
		rule.nth = 1 + random_below(random, 1ull << requests);
		rule.times = 1 + random_below(random, 30);
		break;
	default:
		rule.in_million = 128000u >> requests << random_below(random, 7);
	}
	switch (fault) {
	case SIM_READ_ERROR:
		rule.kind = FAULTY_ERROR;
		rule.error = EIO;
		rule.operations = FAULTY_OPERATION(IO_READ);
		break;
	case SIM_WRITE_ERROR:
		rule.kind = FAULTY_ERROR;
		rule.operations = FAULTY_OPERATION(IO_WRITE);
		break;
	case SIM_WRITE_ERROR_DONE:
		rule.kind = FAULTY_ERROR_DONE;
		rule.operations = FAULTY_OPERATION(IO_WRITE);
		break;
	case SIM_CANCELED:
		rule.kind = random_below(random, 2) == 0 ? FAULTY_ERROR : FAULTY_ERROR_DONE;
		rule.operations = FAULTY_OPERATION(IO_READ) | FAULTY_OPERATION(IO_WRITE);
		rule.error = ECANCELED;
		break;
	case SIM_NAME_ERROR:
		rule.kind = FAULTY_ERROR;
		rule.operations = FAULTY_OPERATION(IO_OPEN) | FAULTY_OPERATION(IO_RENAME) |
				  FAULTY_OPERATION(IO_UNLINK) | FAULTY_OPERATION(IO_SYNC_DIRECTORY);
		rule.file = NULL;
		break;
	case SIM_ALLOCATE_ERROR:
		rule.kind = FAULTY_ERROR;
		rule.operations = FAULTY_OPERATION(IO_ALLOCATE);
		rule.file = NULL;
		break;
	case SIM_FULL_WRITES:
		rule.kind = FAULTY_ERROR;
		rule.operations = FAULTY_OPERATION(IO_WRITE) | FAULTY_OPERATION(IO_ALLOCATE);
		rule.error = random_below(random, 2) == 0 ? ENOSPC : EDQUOT;
		break;
	/* Of contents: a file system that could not write its names down takes nothing any more. */
	case SIM_SYNC_CLEAN_NEW:
		rule.kind = FAULTY_SYNC_CLEAN_NEW;
		rule.operations = FAULTY_OPERATION(IO_SYNC);
		break;
	case SIM_SYNC_CLEAN_OLD:
		rule.kind = FAULTY_SYNC_CLEAN_OLD;
		rule.operations = FAULTY_OPERATION(IO_SYNC);
		break;
	case SIM_SYNC_LATE:
		rule.kind = FAULTY_SYNC_LATE;
		rule.file = "wal-*"; /* a table is synced once: nobody would ever hear of it */
		break;
	case SIM_SYNC_PARTLY:
		rule.kind = FAULTY_SYNC_PARTLY;
		rule.operations = FAULTY_OPERATION(IO_SYNC);
		break;
	case SIM_SYNC_KEPT:
		rule.kind = FAULTY_SYNC_KEPT;
		break;
	case SIM_FLIP:
		rule.kind = FAULTY_FLIP;
		rule.file = "*.table";
		break;
	case SIM_ZERO:
		rule.kind = FAULTY_ZERO;
		rule.file = "*.table";
		break;
	case SIM_MISDIRECT:
		rule.kind = FAULTY_MISDIRECT;
		rule.file = "*.table";
		rule.times = 1;
		break;
	case SIM_LOSE:
		rule.kind = FAULTY_LOSE;
		rule.file = "*.table";
		rule.times = 1;
		break;
	default:
		sim_fail("%s is no fault of a time", sim_fault_name(fault));
	}
	return rule;
}

/* Room for little more than there is. */
static void fill_disk(struct machine *machine, struct random *random)
{
	uint64_t used = simulated_used_bytes(machine->disk);
	simulated_set_capacity(machine->disk, used + (random_below(random, 64) << 12));
}

void machine_fault(struct machine *machine, enum sim_fault fault, uint64_t seed)
{
	struct random random = random_stream(seed);
	machine->had_errors = true;
	if (fault == SIM_FULL_DISK) {
		fill_disk(machine, &random);
		return;
	}
	/* What is damaged for good happens once: more of it would leave nothing to compare. */
	uint64_t rules =
		fault == SIM_MISDIRECT || fault == SIM_LOSE ? 1 : 1 + random_below(&random, RULES_MAX);
	for (uint64_t i = 0; i < rules; i++) {
		struct faulty_rule rule = draw_rule(fault, &random);
		add_rule(machine, fault, &rule);
	}
}

void machine_block_tables(struct machine *machine, uint64_t seed)
{
	struct random random = random_stream(seed);
	struct faulty_rule rule = { .kind = FAULTY_ERROR, .file = "*.table*", .in_million = MILLION };
	enum sim_fault fault = SIM_WRITE_ERROR;
	machine->had_errors = true;
	switch (random_below(&random, 4)) {
	case 0:
		rule.operations = FAULTY_OPERATION(IO_WRITE) | FAULTY_OPERATION(IO_ALLOCATE);
		break;
	case 1:
		rule.operations = FAULTY_OPERATION(IO_WRITE) | FAULTY_OPERATION(IO_ALLOCATE);
		rule.error = ENOSPC;
		fault = SIM_FULL_WRITES;
		break;
	case 2:
		rule.operations = FAULTY_OPERATION(IO_OPEN);
		fault = SIM_NAME_ERROR;
		break;
	default:
		rule.kind = FAULTY_SYNC_KEPT;
		fault = SIM_SYNC_KEPT;
	}
	add_rule(machine, fault, &rule);
}

uint64_t machine_fired(const struct machine *machine)
{
	uint64_t fired = 0;
	for (unsigned i = 0; i < machine->rule_count; i++)
		if (machine->rule_faults[i] >= SIM_QUIET_COUNT)
			fired += faulty_fired(machine->faults, machine->rules[i]);
	return fired;
}

uint64_t machine_heal(struct machine *machine)
{
	uint64_t fired = 0;
	unsigned kept = 0;
	for (unsigned i = 0; i < machine->rule_count; i++) {
		if (machine->rule_faults[i] < SIM_QUIET_COUNT) {
			machine->rules[kept] = machine->rules[i];
			machine->rule_faults[kept++] = machine->rule_faults[i];
		} else {
			fired += end_rule(machine, i);
		}
	}
	machine->rule_count = kept;
	uint64_t no_room = simulated_count(machine->disk, SIMULATED_NO_ROOM);
	uint64_t refused = no_room - machine->no_room;
	machine->no_room = no_room;
	machine->tally->faults[SIM_FULL_DISK] += refused;
	simulated_set_capacity(machine->disk, 0);
	return fired + refused;
}
