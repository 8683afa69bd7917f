#include "harness/workload_keys.h"

#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "harness/drivers/driver.h"

#define SECOND 1e9
#define DAY    (86400 * SECOND)

const char workload_default_phases[] =
	"- {name: load, kind: load, clients: 8}\n"
	"- {name: run, mix: {read: 50, update: 50}, distribution: zipfian, clients: 32, duration: 30 s, "
	"warmup: 5 s}\n";

#define EVERYWHERE .applies = KEY_EVERYWHERE
#define RUN_ONLY   .applies = KEY_IN_RUN

const struct workload_key workload_keys[] = {
	{ "", "name", KEY_TEXT, EVERYWHERE,
	  .help = "names the run's folder: letters, digits, '.', '_', '-'; default: the file's name" },
	{ "", "components", KEY_LIST, EVERYWHERE,
	  .help = "shared objects with variants of components, loaded before anything names one; paths from "
		  "the working directory" },
	{ "", "engine", KEY_MAPPING, EVERYWHERE,
	  .help = "what runs the workload; besides the keys below the engine's own options" },
	{ "engine", "kind", KEY_CHOICE, EVERYWHERE, .default_value = "cascade", .help = "the engine" },
	{ "engine", "path", KEY_TEXT, EVERYWHERE, .default_value = "auto",
	  .help = "the database's folder, which is kept; auto: a fresh one under the run's, removed "
		  "afterwards" },
	{ "", "workload", KEY_MAPPING, EVERYWHERE, .help = "the records and their values" },
	{ "workload", "records", KEY_COUNT, EVERYWHERE, .default_value = "1000000", .minimum = 1,
	  .maximum = 0x1p40, .help = "how many records a load phase inserts" },
	{ "workload", "value_size", KEY_SIZE, EVERYWHERE, .default_value = "1000", .minimum = 0,
	  .maximum = 0x1p30, .help = "bytes of each value" },
	{ "workload", "compressibility", KEY_REAL, EVERYWHERE, .default_value = "0.5", .minimum = 0,
	  .maximum = 1, .help = "share of a value's bytes that compress away" },
	{ "workload", "seed", KEY_COUNT, EVERYWHERE, .default_value = "42", .minimum = 0, .maximum = 0x1p64,
	  .help = "of all random choices; the same seed draws the same operations" },
	{ "workload", "insert_order", KEY_CHOICE, EVERYWHERE, .default_value = "hashed",
	  .choices = "hashed ordered",
	  .help = "hashed: keys are \"user\" and a hash of the record's number; ordered: and the number" },
	{ "workload", "update_mode", KEY_CHOICE, EVERYWHERE, .default_value = "blind", .choices = "blind rmw",
	  .help = "blind: an update writes the whole value; rmw: it reads first" },
	{ "", "clients_as", KEY_CHOICE, EVERYWHERE, .default_value = "tasks", .choices = "tasks threads",
	  .help = "clients are tasks of the engine, or threads; engines without tasks always get threads" },
	{ "", "verify", KEY_BOOLEAN, EVERYWHERE, .default_value = "false",
	  .help = "check every value that is read" },
	{ "", "phases", KEY_LIST, EVERYWHERE,
	  .help = "run one after the other on one database; default: a "
		  "load, then YCSB-A for 30 s" },
	{ "phases", "name", KEY_TEXT, EVERYWHERE, .help = "default: the kind; each name once" },
	{ "phases", "kind", KEY_CHOICE, EVERYWHERE, .default_value = "run", .choices = "load run",
	  .help = "load: insert every record once; run: draw operations from the mix" },
	{ "phases", "clients", KEY_COUNT, EVERYWHERE, .default_value = "32", .load_default = "8",
	  .minimum = 1, .maximum = 65536, .help = "how many clients work at once, one operation each" },
	{ "phases", "mix", KEY_MAPPING, RUN_ONLY,
	  .help = "weights of the operations; default: read 50, "
		  "update 50" },
	{ "phases", "distribution", KEY_CHOICE, RUN_ONLY, .default_value = "zipfian",
	  .choices = "uniform zipfian zipfian_exact latest sequential",
	  .help = "which records are used; zipfian is YCSB's scrambled one, zipfian_exact Zipf over the "
		  "records" },
	{ "phases", "theta", KEY_REAL, RUN_ONLY, .default_value = "0.99", .minimum = 0, .maximum = 2,
	  .help = "skew of zipfian_exact; more than 0, less than 2, not 1" },
	{ "phases", "update_mode", KEY_CHOICE, RUN_ONLY, .choices = "blind rmw",
	  .help = "default: the workload's" },
	{ "phases", "duration", KEY_TIME, RUN_ONLY, .minimum = 1, .maximum = 30 * DAY,
	  .help = "how long it is measured; this or operations" },
	{ "phases", "operations", KEY_COUNT, RUN_ONLY, .minimum = 1, .maximum = 0x1p50,
	  .help = "how many operations all clients do together; this or duration" },
	{ "phases", "warmup", KEY_TIME, RUN_ONLY, .default_value = "0 s", .minimum = 0, .maximum = 30 * DAY,
	  .help = "runs unmeasured before the duration starts" },
	{ "phases", "scan_min", KEY_COUNT, RUN_ONLY, .default_value = "1", .minimum = 1, .maximum = 0x1p32,
	  .help = "least rows of a scan" },
	{ "phases", "scan_max", KEY_COUNT, RUN_ONLY, .default_value = "100", .minimum = 1, .maximum = 0x1p32,
	  .help = "most rows of a scan; uniform between" },
	{ "phases", "wait_idle", KEY_BOOLEAN, EVERYWHERE, .default_value = "false", .load_default = "true",
	  .help = "the phase ends, and its time is taken, when flushes and merges have ended too" },
	{ "mix", "read", KEY_REAL, RUN_ONLY, .default_value = "0", .minimum = 0, .maximum = 1e9,
	  .help = "get one record" },
	{ "mix", "update", KEY_REAL, RUN_ONLY, .default_value = "0", .minimum = 0, .maximum = 1e9,
	  .help = "write one record that is there" },
	{ "mix", "insert", KEY_REAL, RUN_ONLY, .default_value = "0", .minimum = 0, .maximum = 1e9,
	  .help = "write a new record" },
	{ "mix", "scan", KEY_REAL, RUN_ONLY, .default_value = "0", .minimum = 0, .maximum = 1e9,
	  .help = "read neighbouring rows" },
	{ "mix", "rmw", KEY_REAL, RUN_ONLY, .default_value = "0", .minimum = 0, .maximum = 1e9,
	  .help = "read one record and write it" },
	{ "mix", "delete", KEY_REAL, RUN_ONLY, .default_value = "0", .minimum = 0, .maximum = 1e9,
	  .help = "remove one record" },
	{ "", "vary", KEY_LIST, EVERYWHERE,
	  .help = "what changes between configurations: every combination is run; default: nothing" },
	{ "vary", "set", KEY_TEXT, EVERYWHERE,
	  .help = "path of a key, such as engine.memtable.kind; or a list of paths that are set together" },
	{ "vary", "to", KEY_LIST, EVERYWHERE,
	  .help = "its values: scalars, or mappings that replace it; of several paths: lists of them" },
	{ "vary", "as", KEY_LIST, EVERYWHERE,
	  .help = "a short name for each value, for tables and pictures; several paths need it" },
	{ "", "baseline", KEY_TEXT, EVERYWHERE,
	  .help = "name of the configuration that others are compared with; default: the first" },
	{ "", "repeats", KEY_COUNT, EVERYWHERE, .default_value = "1", .minimum = 1, .maximum = 1000,
	  .help = "how often every configuration is run, each time in a fresh process; 5 or more to "
		  "compare" },
};

const size_t workload_key_count = sizeof(workload_keys) / sizeof(workload_keys[0]);

const struct workload_key *workload_key_find(const char *section, const char *name)
{
	for (size_t i = 0; i < workload_key_count; i++) {
		if (strcmp(workload_keys[i].section, section) == 0 &&
		    strcmp(workload_keys[i].name, name) == 0)
			return &workload_keys[i];
	}
	return NULL;
}

const char *workload_key_type_text(enum key_type type)
{
	static const char *const texts[] = { "text",	"integer", "size",    "time", "real",
					     "boolean", "choice",  "mapping", "list" };
	return texts[type];
}

static size_t driver_names(const char *names[WORKLOAD_CHOICES_MAX])
{
	size_t count = 0;
	while (drivers[count] != NULL && count < WORKLOAD_CHOICES_MAX) {
		names[count] = drivers[count]->name;
		count++;
	}
	return count;
}

size_t workload_key_choices(const struct workload_key *key, const char *names[WORKLOAD_CHOICES_MAX],
			    char *buffer, size_t size)
{
	if (key->choices == NULL)
		return driver_names(names);
	(void)snprintf(buffer, size, "%s", key->choices);
	size_t count = 0;
	char *rest = NULL;
	for (char *name = strtok_r(buffer, " ", &rest); name != NULL && count < WORKLOAD_CHOICES_MAX;
	     name = strtok_r(NULL, " ", &rest))
		names[count++] = name;
	return count;
}

static void expects_choice(const struct workload_key *key, char *buffer, size_t size)
{
	const char *names[WORKLOAD_CHOICES_MAX];
	char split[256];
	size_t count = workload_key_choices(key, names, split, sizeof(split));
	size_t used = (size_t)snprintf(buffer, size, "one of ");
	for (size_t i = 0; i < count && used < size; i++)
		used += (size_t)snprintf(buffer + used, size - used, "%s%s", i > 0 ? ", " : "", names[i]);
}

const char *workload_key_expects(const struct workload_key *key, char *buffer, size_t size)
{
	char low[UNITS_TEXT_BYTES], high[UNITS_TEXT_BYTES];
	switch (key->type) {
	case KEY_TEXT:
		(void)snprintf(buffer, size, "text");
		break;
	case KEY_COUNT:
		if (key->maximum < 0x1p64)
			(void)snprintf(buffer, size, "a whole number, %.0f to %.0f", key->minimum,
				       key->maximum);
		else
			(void)snprintf(buffer, size, "a whole number below 2^64");
		break;
	case KEY_SIZE:
		(void)snprintf(buffer, size, "a size, %s to %s",
			       units_format_size((uint64_t)key->minimum, low),
			       units_format_size((uint64_t)key->maximum, high));
		break;
	case KEY_TIME:
		(void)snprintf(buffer, size, "a time such as 30 s, %s to %s",
			       units_format_time((uint64_t)key->minimum, low),
			       units_format_time((uint64_t)key->maximum, high));
		break;
	case KEY_REAL:
		(void)snprintf(buffer, size, "a number, %g to %g", key->minimum, key->maximum);
		break;
	case KEY_BOOLEAN:
		(void)snprintf(buffer, size, "true or false");
		break;
	case KEY_CHOICE:
		expects_choice(key, buffer, size);
		break;
	case KEY_MAPPING:
		(void)snprintf(buffer, size, "a mapping of keys to values");
		break;
	case KEY_LIST:
		(void)snprintf(buffer, size, "a list");
		break;
	}
	return buffer;
}
