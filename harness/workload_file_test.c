/*
 * Workload files: bad ones give exact messages, good ones exact values, and what a run writes as its
 * resolved configuration reads back as the same. Takes a second.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "harness/experiment.h"
#include "harness/workload_keys.h"
#include "test.h"

static char file_path[] = "/tmp/cascade-workload-XXXXXX";

static void write_file(const char *text, size_t size)
{
	FILE *file = fopen(file_path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, size, file), size);
	assert_int_equal(fclose(file), 0);
}

/* Loads text; what it says instead of the file's name is "F". */
static struct status load(struct experiment *experiment, const char *text, const char *const *sets,
			  size_t set_count, char *message, size_t size)
{
	struct problem problem = { .text = "" };
	write_file(text, strlen(text));
	struct status status = experiment_load(experiment, file_path, sets, set_count, &problem);
	const char *rest = problem.text;
	bool named = strncmp(rest, file_path, strlen(file_path)) == 0;
	(void)snprintf(message, size, "%s%s", named ? "F" : "", named ? rest + strlen(file_path) : rest);
	return status;
}

/* --- bad files --- */

struct bad {
	const char *text;
	const char *message;
};

#define LOAD	   "phases:\n- {kind: load}\n"
#define SIZE_UNITS "expected bytes or a number with kB, MB, GB, KiB, MiB or GiB"

static const struct bad bad_syntax[] = {
	{ "", "F:1: the file is empty, expected a workload: 'name: NAME' at least" },
	{ "# a comment\n", "F:1: the file is empty, expected a workload: 'name: NAME' at least" },
	{ "~\n", "F:1: the file is empty, expected a workload: 'name: NAME' at least" },
	{ "- a\n", "F:1: a list, expected keys such as 'name: NAME'" },
	{ "just text\n", "F:1: a value, expected keys such as 'name: NAME'" },
	{ "name: x\nverify: true\nname: y\n", "F:3: name: duplicate key, expected it once (line 1 has it)" },
	{ "name: x\nengine: &a {kind: null}\nworkload: *a\n",
	  "F:3: alias '*a', expected the value written out" },
	{ "name: !!str x\n", "F:1: a tag ('!'), expected a plain value" },
	{ "name: a\n---\nname: b\n", "F:2: a second document ('---'), expected one" },
	{ "? [a, b]\n: c\n", "F:1: a key is not text, expected NAME: VALUE" },
	{ "name: \"a\\0b\"\n", "F:1: a zero byte in a value, expected text" },
	{ "name: [\n",
	  "F:2: not YAML: while parsing a flow node, did not find expected node content, expected "
	  "valid syntax (column 1)" },
	{ "a: {b: {c: {d: {e: {f: {g: {h: {i: {j: {k: {l: {m: {n: {o: {p: {q: 1}}}}}}}}}}}}}}}}\n",
	  "F:1: nested too deeply, expected at most 16 levels" },
};

static const struct bad bad_values[] = {
	{ "workload: {record: 5}\n", "F:1: workload.record: unknown key, did you mean 'records'?" },
	{ "nmae: x\n", "F:1: nmae: unknown key, did you mean 'name'?" },
	{ "quux: x\n", "F:1: quux: unknown key, expected one of name, components, engine, workload, "
		       "clients_as, verify, phases, "
		       "vary, baseline, repeats" },
	{ "name: ../x\n",
	  "F:1: name: '../x' is no file name, expected up to 64 letters, digits, '.', '_', '-'" },
	{ "name:\n", "F:1: name: nothing, expected text" },
	{ "workload:\n  value_size: 64 MiBB\n",
	  "F:2: workload.value_size: '64 MiBB' is not a size, " SIZE_UNITS },
	{ "workload:\n  value_size: -5\n",
	  "F:2: workload.value_size: '-5' is out of range, expected a size, 0 B to 1 GiB" },
	{ "workload:\n  value_size: 2 GiB\n",
	  "F:2: workload.value_size: '2 GiB' is out of range, expected a size, 0 B to 1 GiB" },
	{ "workload:\n  value_size: {}\n",
	  "F:2: workload.value_size: a mapping, expected a size, 0 B to 1 GiB" },
	{ "workload:\n\n  records: 0\n",
	  "F:3: workload.records: '0' is out of range, expected a whole number, 1 to 1099511627776" },
	{ "workload:\n  records: 1.5\n",
	  "F:2: workload.records: '1.5' is not a number, expected a whole number" },
	{ "workload:\n  records: 99999999999999999999999\n",
	  "F:2: workload.records: '99999999999999999999999' is too large, expected a whole number below "
	  "2^64" },
	{ "workload: {records: 1099511627776, value_size: 1 GiB}\n",
	  "F:1: workload.value_size: 1099511627776 records of that size overflow, expected less than 4 EiB "
	  "in "
	  "all" },
	{ "workload: {compressibility: 1.01}\n",
	  "F:1: workload.compressibility: '1.01' is out of range, expected a number, 0 to 1" },
	{ "workload: {compressibility: nan}\n",
	  "F:1: workload.compressibility: 'nan' is not a number, expected a decimal number" },
	{ "workload: {insert_order: hashd}\n", "F:1: workload.insert_order: unknown 'hashd', expected one of "
					       "hashed, ordered, did you mean 'hashed'?" },
	{ "workload: []\n", "F:1: workload: a list, expected a mapping of keys to values" },
	{ "clients_as: procs\n", "F:1: clients_as: unknown 'procs', expected one of tasks, threads" },
	{ "verify: maybe\n", "F:1: verify: 'maybe' is neither true nor false, expected true or false" },
	{ "verify: true\nengine: {kind: null}\n",
	  "F:1: verify: the engine 'null' forgets what is written, expected false" },
	{ "verify: true\nengine: {kind: cascade, memtable: {kind: null}}\n",
	  "F:1: verify: the engine 'cascade' with these options forgets what is written, expected false" },
	{ "repeats: 0\n", "F:1: repeats: '0' is out of range, expected a whole number, 1 to 1000" },
	{ "engine: {kind: null, a: [1]}\n", "F:1: engine.a: a list, expected a value or a mapping" },
	{ "engine:\n  kind: null\n  a:\n", "F:3: engine.a: nothing, expected a value or a mapping" },
	{ "engine:\n  kind: null\n  a: {b: 1}\n  a.b: 2\n",
	  "F:4: engine.a.b: duplicate key, expected it once" },
};

static const struct bad bad_phases[] = {
	{ "phases: []\n", "F:1: phases: an empty list, expected a list of 1 to 1000 phases" },
	{ "phases: {}\n", "F:1: phases: a mapping, expected a list of 1 to 1000 phases" },
	{ "phases: [load]\n", "F:1: phases.0: a value, expected a mapping: {name: run, duration: 30 s}" },
	{ LOAD "- {duration: 5 s, operations: 5}\n",
	  "F:3: phases.1.operations: duration is given as well, expected one of them" },
	{ LOAD "- {clients: 5}\n",
	  "F:3: phases.1: neither duration nor operations is given, expected one of them" },
	{ LOAD "- {clients: 0, duration: 1 s}\n",
	  "F:3: phases.1.clients: '0' is out of range, expected a whole number, 1 to 65536" },
	{ LOAD "- {duration: 1}\n",
	  "F:3: phases.1.duration: '1' has no unit, expected a time such as '1 s'" },
	{ LOAD "- {duration: 0 s}\n",
	  "F:3: phases.1.duration: '0 s' is out of range, expected a time such as 30 s, 1 ns to 720 h" },
	{ LOAD "- {duration: 1 s, mix: {read: 0}}\n",
	  "F:3: phases.1.mix: all weights are 0, expected at least one operation" },
	{ LOAD "- {duration: 1 s, mix: {read: -1}}\n",
	  "F:3: phases.1.mix.read: '-1' is out of range, expected a number, 0 to 1e+09" },
	{ LOAD "- {duration: 1 s, mix: {raed: 1}}\n",
	  "F:3: phases.1.mix.raed: unknown key, did you mean 'read'?" },
	{ LOAD "- {duration: 1 s, mix: [read]}\n",
	  "F:3: phases.1.mix: a list, expected a mapping of keys to values" },
	{ LOAD "- {duration: 1 s, distribution: zipfan}\n",
	  "F:3: phases.1.distribution: unknown 'zipfan', expected one of uniform, zipfian, zipfian_exact, "
	  "latest, "
	  "sequential, did you mean 'zipfian'?" },
	{ LOAD "- {duration: 1 s, theta: 1}\n",
	  "F:3: phases.1.theta: '1' is out of range, expected more than 0, less than 2, and not 1" },
	{ LOAD "- {duration: 1 s, scan_min: 200}\n",
	  "F:3: phases.1.scan_min: scan_min 200 is more than scan_max 100, expected less" },
	{ LOAD "- {kind: load}\n",
	  "F:3: phases.1.name: a second phase named 'load', expected each name once" },
	{ LOAD "- {kind: lod, duration: 1 s}\n",
	  "F:3: phases.1.kind: unknown 'lod', expected one of load, run, did you mean 'load'?" },
	{ "phases: [{kind: load, operations: 5}]\n",
	  "F:1: phases.0.operations: not for a load phase, which ends "
	  "with the last record, expected kind: run" },
	{ "engine: {kind: null}\nphases:\n- {duration: 1 s}\n",
	  "F:3: phases.0.kind: there is nothing to read in a fresh database, expected a first phase of kind: "
	  "load (or an engine.path that holds the records)" },
};

static const struct bad bad_vary[] = {
	{ "vary: 5\n", "F:1: vary: a value, expected a list of {set: PATH, to: [VALUE, ...]}" },
	{ "vary: [{set: engine.a}]\n", "F:1: vary.0: no values to take, expected 'to: [VALUE, ...]'" },
	{ "vary: [{to: [1]}]\n",
	  "F:1: vary.0: no path to set, expected 'set: engine.memtable.kind' or the like" },
	{ "vary: [{set: a, to: [1], too: 2}]\n",
	  "F:1: vary.0: unknown key 'too', expected set and to, did you mean 'to'?" },
	{ "vary: [{set: clients_as, to: [tasks, threads], as: [a]}]\n",
	  "F:1: vary.0: `as` does not name each value, expected a list of 2 names" },
	{ "vary: [{set: clients_as, to: [tasks, threads], as: [a, a]}]\n",
	  "F:1: vary.0: `as` holds 'a' twice, expected different names" },
	{ "vary: [{set: clients_as, to: [tasks, threads], as: [a, {b: c}]}]\n",
	  "F:1: vary.0: `as` holds what is no name, expected up to 64 characters" },
	{ "vary: [{set: [], to: [[]], as: [a]}]\n",
	  "F:1: vary.0: `set` is an empty list, expected a path or a list of paths" },
	{ "vary:\n- {set: [engine, {a: b}], to: [[1, 2]], as: [a]}\n",
	  "F:2: vary.0.set.1: a mapping, expected a path such as engine.memtable.kind" },
	{ "vary:\n- set:\n  - engine\n  - ~\n  to: [[1, 2]]\n  as: [a]\n",
	  "F:4: vary.0.set.1: nothing, expected a path such as engine.memtable.kind" },
	{ "vary: [{set: [workload.records, wrkload.seed], to: [[1, 2]], as: [a]}]\n",
	  "F:1: vary.0.set.1: 'wrkload' cannot vary, expected a path in engine, workload, phases, "
	  "clients_as or verify, did you mean 'workload'?" },
	{ "vary: [{set: [workload.seed, workload.seed], to: [[1, 2]], as: [a]}]\n",
	  "F:1: vary.0.set.1: 'workload.seed' for the second time, expected each path once" },
	{ "vary:\n- set: [workload.records, workload.seed]\n  as: [a, b]\n  to:\n  - [1, 2]\n  - 3\n",
	  "F:6: vary.0.to.1: a value, expected a list of 2 values: one for each path of `set`" },
	{ "vary:\n- set: [workload.records, workload.seed]\n  as: [a, b]\n  to:\n  - [1, 2]\n  - [3]\n",
	  "F:6: vary.0.to.1: a list of 1, expected 2 values: one for each path of `set`" },
	{ "vary:\n- set: [workload.records, workload.seed]\n  to: [[1, 2], [3, 4]]\n",
	  "F:2: vary.0: several paths and no names, expected 'as: [NAME, ...]' with 2 of them" },
	{ "vary:\n- set: [workload.records, workload.seed]\n  as: [a, b]\n  to:\n  - [1, 2]\n"
	  "  - [x, 4]\n",
	  "F:6: workload.records: 'x' is not a number, expected a whole number" },
	{ "vary:\n- {set: engine.memtable.kind, to: [btree, skiplist], as: [a, a b]}\n"
	  "- {set: clients_as, to: [tasks, threads], as: [b c, c]}\n",
	  "F:2: vary: two configurations of one workload are called 'a b c', expected different names "
	  "(`as`)" },
	{ "vary:\n- {set: [workload.records, engine.memtable.kind], to: [[10, btree], [10, skiplist]], "
	  "as: [a, b]}\n",
	  "F:2: vary: two configurations of one workload are called 'cascade', expected different names "
	  "(`as`)" },
	{ "engine: {kind: null}\nbaseline: onne\nvary:\n"
	  "- {set: workload.records, to: [10, 20], as: [one, two]}\n",
	  "F:2: baseline: no configuration is called 'onne', expected one such as 'null'" },
	{ "vary:\n- {set: engin.a, to: [1]}\n",
	  "F:2: vary.0.set: 'engin' cannot vary, expected a path in engine, workload, phases, clients_as or "
	  "verify, did you mean 'engine'?" },
	{ "vary:\n- {set: phases.foo.clients, to: [1]}\n",
	  "F:2: phases.foo.clients: no item 'foo', expected a name of load, run or an index" },
	{ "vary:\n- set: workload.records\n  to:\n  - 1\n  - x\n",
	  "F:5: workload.records: 'x' is not a number, expected a whole number" },
	{ "engine: {kind: null}\nvary:\n- {set: workload.records, to: [1000, 1_000]}\n",
	  "F:3: vary: 'records=1000' and 'records=1_000' are the same configuration, expected different "
	  "ones" },
};

static void check_bad(const struct bad *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct experiment experiment;
		char message[2048];
		struct status status = load(&experiment, cases[i].text, NULL, 0, message, sizeof(message));
		assert_false(status_is_ok(status));
		assert_string_equal(message, cases[i].message);
		experiment_free(&experiment);
	}
}

static void test_bad_syntax(void **state)
{
	(void)state;
	check_bad(bad_syntax, sizeof(bad_syntax) / sizeof(bad_syntax[0]));
}

static void test_bad_values(void **state)
{
	(void)state;
	check_bad(bad_values, sizeof(bad_values) / sizeof(bad_values[0]));
}

static void test_bad_phases(void **state)
{
	(void)state;
	check_bad(bad_phases, sizeof(bad_phases) / sizeof(bad_phases[0]));
}

static void test_bad_vary(void **state)
{
	(void)state;
	check_bad(bad_vary, sizeof(bad_vary) / sizeof(bad_vary[0]));
}

static void test_bad_engine_is_named(void **state)
{
	(void)state;
	struct experiment experiment;
	char message[2048];
	struct status status =
		load(&experiment, "name: x\nengine:\n  kind: nul\n", NULL, 0, message, sizeof(message));
	assert_true(status_is(status, STATUS_INVALID));
	assert_non_null(strstr(message, "F:3: engine.kind: unknown 'nul', expected one of "));
	assert_non_null(strstr(message, ", did you mean 'null'?"));
	experiment_free(&experiment);
}

/* The driver's own complaint comes with the option's line. */
static void test_bad_engine_options_have_lines(void **state)
{
	(void)state;
	static const struct bad cases[] = {
		{ "name: x\nengine:\n  kind: cascade\n  memtable:\n    kind: btreee\n",
		  "F:5: engine.memtable.kind: " },
		{ "name: x\nengine:\n  kind: cascade\n  durabilty: power\n", "F:4: engine.durabilty: " },
		{ "name: x\nengine:\n  kind: cascade\n  memtable: {size: 64 MiBB}\n",
		  "F:4: engine.memtable.size: " },
		{ "name: x\nengine:\n  kind: cascade\n\n  memory: 1 MiB\n", "F:5: engine.memory: " },
	};
	if (driver_find("cascade") == NULL)
		skip();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct experiment experiment;
		char message[2048];
		struct status status = load(&experiment, cases[i].text, NULL, 0, message, sizeof(message));
		assert_true(status_is(status, STATUS_INVALID));
		if (strncmp(message, cases[i].message, strlen(cases[i].message)) != 0)
			fail_msg("%s does not begin with %s", message, cases[i].message);
		experiment_free(&experiment);
	}
}

static void test_unreadable_files(void **state)
{
	(void)state;
	struct experiment experiment;
	struct problem problem;
	assert_status(experiment_load(&experiment, "/nowhere/x.yaml", NULL, 0, &problem), STATUS_INVALID);
	assert_string_equal(problem.text, "/nowhere/x.yaml: cannot be opened: No such file or directory");
	experiment_free(&experiment);
	assert_status(experiment_load(&experiment, "/tmp", NULL, 0, &problem), STATUS_INVALID);
	assert_string_equal(problem.text, "/tmp: is a directory, expected a workload file");
	experiment_free(&experiment);
	size_t size = YAML_FILE_BYTES_MAX + 1;
	char *large = memory_allocate(size);
	assert_non_null(large);
	memset(large, '#', size);
	write_file(large, size);
	memory_free(large);
	assert_status(experiment_load(&experiment, file_path, NULL, 0, &problem), STATUS_INVALID);
	assert_non_null(strstr(problem.text, ": larger than 1 MiB, expected a workload file"));
	experiment_free(&experiment);
}

/* Bytes of a real file, some overwritten: any message will do, a crash will not. */
static void test_damaged_files(void **state)
{
	(void)state;
	static const char text[] =
		"name: x\nengine: {kind: null}\nworkload: {records: 1000, value_size: 100 B}\nphases:\n"
		"  - {name: load, kind: load, clients: 8}\n  - name: run\n    mix: {read: 50, update: 50}\n"
		"    duration: 1 s\nvary:\n  - {set: workload.records, to: [10, 20]}\nrepeats: 2\n";
	static const char noise[] = "{}[]:,&*!|>'\"%@`#-?~\n\t 0\xff\x00";
	uint64_t seed = test_seed(11);
	struct random random = random_stream(seed);
	for (int i = 0; i < 3000; i++) {
		struct experiment experiment;
		struct problem problem = { .text = "" };
		char damaged[sizeof(text)];
		memcpy(damaged, text, sizeof(text));
		for (uint64_t hits = 1 + random_below(&random, 3); hits > 0; hits--)
			damaged[random_below(&random, sizeof(text) - 1)] =
				noise[random_below(&random, sizeof(noise))];
		write_file(damaged, sizeof(text) - 1);
		struct status status = experiment_load(&experiment, file_path, NULL, 0, &problem);
		if (!status_is_ok(status) && problem.text[0] == '\0')
			fail_msg("seed %llu, file %d: refused without a message", (unsigned long long)seed,
				 i);
		experiment_free(&experiment);
	}
}

/* --- --set --- */

static void test_bad_sets(void **state)
{
	(void)state;
	static const struct bad cases[] = {
		{ "engin.foo=5", "--set engin.foo: engin: unknown key, did you mean 'engine'?" },
		{ "workload.foo=5", "--set workload.foo: unknown key, expected one of records, value_size, "
				    "compressibility, seed, insert_order, update_mode" },
		{ "engine", "--set engine: no value, expected PATH=VALUE" },
		{ "engine.a=", "--set engine.a: no value, expected PATH=VALUE" },
		{ "=5", "--set =5: no value, expected PATH=VALUE" },
		{ "a..b=5", "--set a..b: an empty name, expected a path such as engine.memtable.kind" },
		{ "a.b.c.d.e.f.g.h.i=5", "--set a.b.c.d.e.f.g.h.i: too many names, expected at most 8" },
		{ "phases.rum.clients=5",
		  "--set phases.rum.clients: no item 'rum', expected a name of load, run "
		  "or an index, did you mean 'run'?" },
		{ "phases.7.clients=5",
		  "--set phases.7.clients: no item '7', expected a name of load, run or an index" },
		{ "workload.records=-1",
		  "--set workload.records: '-1' is out of range, expected a whole number, "
		  "1 to 1099511627776" },
		{ "name.x=1", "--set name.x: 'x' is below the value 'x', expected a path of keys" },
		{ "phases.run.clients=0", "--set phases.run.clients: phases.1.clients: '0' is out of range, "
					  "expected a whole number, 1 to 65536" },
		{ "engine={kind: null, kind: null}", "--set engine: kind: duplicate key, expected it once" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct experiment experiment;
		char message[2048];
		struct status status = load(&experiment, "name: x\nengine: {kind: null}\n", &cases[i].text, 1,
					    message, sizeof(message));
		assert_false(status_is_ok(status));
		assert_string_equal(message, cases[i].message);
		experiment_free(&experiment);
	}
}

static void load_good(struct experiment *experiment, const char *text, const char *const *sets, size_t count)
{
	char message[2048];
	struct status status = load(experiment, text, sets, count, message, sizeof(message));
	if (!status_is_ok(status))
		fail_msg("%s", message);
}

static void test_sets_change_values(void **state)
{
	(void)state;
	static const char *const sets[] = { "workload.records=5_000", "phases.run.clients=7",
					    "phases.0.clients=3",     "phases.run.duration=250 ms",
					    "engine={kind: null}",    "phases.run.mix={scan: 1}",
					    "phases.run.mix.scan=0",  "phases.run.mix.insert=2" };
	struct experiment experiment;
	load_good(&experiment, "name: x\n", sets, sizeof(sets) / sizeof(sets[0]));
	const struct workload *workload = &experiment.cells[0].workload;
	assert_int_equal(workload->records, 5000);
	assert_int_equal(workload->phases[0].clients, 3);
	assert_int_equal(workload->phases[1].clients, 7);
	assert_int_equal(workload->phases[1].duration_ns, 250000000);
	assert_true(workload->phases[1].mix[OPERATION_INSERT] == 2);
	assert_true(workload->phases[1].mix[OPERATION_READ] == 0);
	assert_string_equal(workload->engine_kind, "null");
	experiment_free(&experiment);
}

/* --- good files --- */

static void test_defaults(void **state)
{
	(void)state;
	struct experiment experiment;
	load_good(&experiment, "engine: {kind: null}\n", NULL, 0);
	assert_string_equal(experiment.name, strrchr(file_path, '/') + 1);
	assert_int_equal(experiment.run_count, 1);
	const struct cell *cell = &experiment.cells[0];
	const struct workload *workload = &cell->workload;
	assert_string_equal(workload->engine_path, "auto");
	assert_string_equal(cell->label, "null");
	assert_int_equal(workload->records, 1000000);
	assert_int_equal(workload->value_size, 1000);
	assert_true(workload->compressibility == 0.5);
	assert_int_equal(workload->seed, 42);
	assert_int_equal(workload->insert_order, INSERT_HASHED);
	assert_false(workload->verify);
	assert_int_equal(workload->phase_count, 2);
	const struct phase *phase = &workload->phases[0];
	assert_string_equal(phase->name, "load");
	assert_int_equal(phase->kind, PHASE_LOAD);
	assert_int_equal(phase->clients, 8);
	assert_true(phase->wait_idle);
	phase = &workload->phases[1];
	assert_string_equal(phase->name, "run");
	assert_int_equal(phase->kind, PHASE_RUN);
	assert_true(phase->mix[OPERATION_READ] == 50 && phase->mix[OPERATION_UPDATE] == 50);
	assert_int_equal(phase->distribution, DISTRIBUTION_ZIPFIAN);
	assert_true(phase->theta == 0.99);
	assert_int_equal(phase->update_mode, UPDATE_BLIND);
	assert_int_equal(phase->clients, 32);
	assert_int_equal(phase->duration_ns, 30000000000);
	assert_int_equal(phase->warmup_ns, 5000000000);
	assert_int_equal(phase->operations, 0);
	assert_int_equal(phase->scan_min, 1);
	assert_int_equal(phase->scan_max, 100);
	assert_false(phase->wait_idle);
	/* Tasks are the default, and this engine has none. */
	assert_false(workload->clients_as_tasks);
	assert_true(cell->threads_instead);
	experiment_free(&experiment);
}

static const char everything[] = "name: every.thing-1\n"
				 "engine:\n"
				 "  kind: null\n"
				 "  path: /tmp/some where\n"
				 "workload:\n"
				 "  records: 123\n"
				 "  value_size: 1.5 KiB\n"
				 "  compressibility: 0.25\n"
				 "  seed: 18446744073709551615\n"
				 "  insert_order: ordered\n"
				 "  update_mode: rmw\n"
				 "clients_as: threads\n"
				 "verify: no\n"
				 "phases:\n"
				 "  - name: first\n"
				 "    kind: load\n"
				 "    clients: 2\n"
				 "    mix: {read: 1}\n"
				 "    wait_idle: false\n"
				 "  - name: second\n"
				 "    mix: {read: 0.5, insert: 1, rmw: 2, delete: 3}\n"
				 "    distribution: zipfian_exact\n"
				 "    theta: 1.2\n"
				 "    clients: 5\n"
				 "    operations: 1_000_000\n"
				 "    warmup: 100 ms\n"
				 "    wait_idle: true\n"
				 "  - {name: third, distribution: latest, update_mode: blind, duration: 1.5 "
				 "s, scan_min: 3, scan_max: 4}\n"
				 "repeats: 3\n";

static void check_everything(const struct experiment *experiment)
{
	assert_string_equal(experiment->name, "every.thing-1");
	assert_int_equal(experiment->repeats, 3);
	assert_int_equal(experiment->cell_count, 1);
	const struct workload *workload = &experiment->cells[0].workload;
	assert_string_equal(workload->engine_path, "/tmp/some where");
	assert_int_equal(workload->records, 123);
	assert_int_equal(workload->value_size, 1536);
	assert_true(workload->compressibility == 0.25);
	assert_int_equal(workload->seed, UINT64_MAX);
	assert_int_equal(workload->insert_order, INSERT_ORDERED);
	assert_false(workload->clients_as_tasks);
	assert_int_equal(workload->phase_count, 3);
	const struct phase *phase = workload->phases;
	assert_int_equal(phase->clients, 2);
	assert_false(phase->wait_idle);
	phase++;
	assert_string_equal(phase->name, "second");
	assert_int_equal(phase->distribution, DISTRIBUTION_ZIPFIAN_EXACT);
	assert_true(phase->theta == 1.2);
	assert_int_equal(phase->update_mode, UPDATE_RMW);
	assert_int_equal(phase->operations, 1000000);
	assert_int_equal(phase->duration_ns, 0);
	assert_int_equal(phase->warmup_ns, 100000000);
	assert_true(phase->mix[OPERATION_READ] == 0.5 && phase->mix[OPERATION_INSERT] == 1);
	assert_true(phase->mix[OPERATION_RMW] == 2 && phase->mix[OPERATION_DELETE] == 3);
	assert_true(phase->mix[OPERATION_UPDATE] == 0 && phase->mix[OPERATION_SCAN] == 0);
	assert_true(phase->wait_idle);
	phase++;
	assert_int_equal(phase->distribution, DISTRIBUTION_LATEST);
	assert_int_equal(phase->update_mode, UPDATE_BLIND);
	assert_int_equal(phase->duration_ns, 1500000000);
	assert_int_equal(phase->clients, 32);
	assert_int_equal(phase->scan_min, 3);
	assert_int_equal(phase->scan_max, 4);
	assert_true(phase->mix[OPERATION_READ] == 50 && phase->mix[OPERATION_UPDATE] == 50);
}

static void test_values_and_lines(void **state)
{
	(void)state;
	struct experiment experiment;
	load_good(&experiment, everything, NULL, 0);
	check_everything(&experiment);
	assert_int_equal(experiment.cells[0].workload.engine_line, 3);
	assert_int_equal(experiment.cells[0].workload.phases[1].line, 20);
	experiment_free(&experiment);
}

static void test_resolved_reads_back(void **state)
{
	(void)state;
	struct experiment first, second;
	load_good(&first, everything, NULL, 0);
	load_good(&second, first.resolved, NULL, 0);
	check_everything(&second);
	assert_string_equal(first.resolved, second.resolved);
	assert_string_equal(first.hash, second.hash);
	assert_string_equal(first.cells[0].configuration_hash, second.cells[0].configuration_hash);
	assert_string_equal(first.cells[0].workload_hash, second.cells[0].workload_hash);
	experiment_free(&first);
	experiment_free(&second);
}

/* All options in effect are in it, and the engine takes them all. */
static void test_resolved_engine_reads_back(void **state)
{
	(void)state;
	struct experiment first, second;
	if (driver_find("cascade") == NULL)
		skip();
	load_good(&first, "engine: {kind: cascade, memtable: {size: 32 MiB}}\n", NULL, 0);
	load_good(&second, first.resolved, NULL, 0);
	assert_string_equal(first.resolved, second.resolved);
	assert_string_equal(first.cells[0].configuration_hash, second.cells[0].configuration_hash);
	assert_string_equal(yaml_get(yaml_get(first.cells[0].engine, "memtable"), "size")->text, "32 MiB");
	assert_non_null(yaml_get(yaml_get(first.cells[0].engine, "codec"), "kind"));
	assert_true(first.cells[0].workload.clients_as_tasks);
	experiment_free(&first);
	experiment_free(&second);
}

/* The workload files of the tree. */
static void test_shipped_files(void **state)
{
	(void)state;
	/* From the root of the tree, or a build folder in it. */
	static const char *const places[] = { "workloads", "../workloads", "../../workloads" };
	const char *path = NULL;
	DIR *folder = NULL;
	size_t count = 0;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && folder == NULL; i++) {
		path = places[i];
		folder = opendir(path);
	}
	if (driver_find("cascade") == NULL || folder == NULL)
		skip();
	for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
		struct experiment experiment;
		struct problem problem;
		char file[PATH_MAX + 300];
		const char *dot = strrchr(entry->d_name, '.');
		if (dot == NULL || strcmp(dot, ".yaml") != 0)
			continue;
		(void)snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		if (!status_is_ok(experiment_load(&experiment, file, NULL, 0, &problem)))
			fail_msg("%s", problem.text);
		/* A file is found by its name. */
		assert_int_equal(strncmp(experiment.name, entry->d_name, (size_t)(dot - entry->d_name)), 0);
		experiment_free(&experiment);
		count++;
	}
	assert_true(count >= 4);
	(void)closedir(folder);
}

/* Spelling and order of keys do not matter to the hashes; values and the engine do. */
static void test_hashes(void **state)
{
	(void)state;
	static const char plain[] = "engine: {kind: null}\nworkload: {records: 1000, value_size: 1 KiB}\n";
	static const char same[] =
		"name: other\nworkload: {value_size: 1024, records: 1_000}\n"
		"engine: {path: /tmp/x, kind: null}\nphases:\n- {clients: 8, kind: load, mix: "
		"{scan: 1}}\n- {warmup: 5000 ms, duration: 0.5 min, mix: {read: 5e1, update: 50}}\n";
	static const char *const more[] = { "workload.records=1001" };
	struct experiment first, second, third;
	load_good(&first, plain, NULL, 0);
	load_good(&second, same, NULL, 0);
	load_good(&third, plain, more, 1);
	assert_string_equal(first.cells[0].workload_hash, second.cells[0].workload_hash);
	assert_string_equal(first.cells[0].configuration_hash, second.cells[0].configuration_hash);
	assert_string_equal(first.cells[0].configuration_hash, third.cells[0].configuration_hash);
	assert_string_not_equal(first.cells[0].workload_hash, third.cells[0].workload_hash);
	experiment_free(&first);
	experiment_free(&second);
	experiment_free(&third);
}

/* All combinations, each once in each block of repetitions, in an order that the seed fixes. */
static void test_vary(void **state)
{
	(void)state;
	static const char text[] =
		"engine: {kind: null}\nvary:\n- {set: workload.records, to: [10, 20, 30]}\n"
		"- {set: phases.run, to: [{name: run, duration: 1 s}, {name: run, operations: 9, "
		"mix: {insert: 1}}]}\nrepeats: 4\n";
	struct experiment experiment, again;
	load_good(&experiment, text, NULL, 0);
	assert_int_equal(experiment.cell_count, 6);
	assert_int_equal(experiment.run_count, 24);
	for (size_t i = 0; i < 6; i++) {
		const struct cell *cell = &experiment.cells[i];
		assert_int_equal(cell->workload.records, 10 * (i / 2 + 1));
		assert_int_equal(cell->workload.phases[1].operations, i % 2 == 1 ? 9 : 0);
		assert_int_equal(cell->workload.phases[1].duration_ns, i % 2 == 1 ? 0 : 1000000000);
		assert_int_equal(cell->combination.variation_count, 2);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(cell->tag, experiment.cells[j].tag);
	}
	assert_string_equal(experiment.cells[3].label,
			    "records=20 phases.run={name: run, operations: 9, mix: {insert: 1}}");
	bool shuffled = false;
	for (size_t block = 0; block < 4; block++) {
		unsigned seen = 0;
		for (size_t i = 0; i < 6; i++) {
			assert_int_equal(experiment.runs[block * 6 + i].repetition, block + 1);
			seen |= 1u << experiment.runs[block * 6 + i].cell;
			shuffled = shuffled || experiment.runs[block * 6 + i].cell != i;
		}
		assert_int_equal(seen, 63);
	}
	assert_true(shuffled);
	load_good(&again, experiment.resolved, NULL, 0);
	assert_int_equal(again.cell_count, 6);
	assert_memory_equal(again.runs, experiment.runs, 24 * sizeof(*again.runs));
	for (size_t i = 0; i < 6; i++)
		assert_string_equal(again.cells[i].workload_hash, experiment.cells[i].workload_hash);
	experiment_free(&again);
	load_good(&again, experiment.cells[3].resolved, NULL, 0);
	assert_string_equal(again.cells[0].workload_hash, experiment.cells[3].workload_hash);
	experiment_free(&again);
	experiment_free(&experiment);
}

/* Labels are for people: given names, kinds that tell mappings apart, and nothing that never changes. */
static void test_labels(void **state)
{
	(void)state;
	static const char text[] =
		"baseline: small\nvary:\n"
		"- set: engine\n  as: [nothing, small]\n"
		"  to: [{kind: null}, {kind: cascade, memory: 64 MiB, memtable: {size: 8 MiB}}]\n"
		"- {set: workload.records, to: [10, 20]}\n- {set: workload.seed, to: [5]}\n";
	struct experiment experiment, again;
	load_good(&experiment, text, NULL, 0);
	assert_int_equal(experiment.cell_count, 4);
	const struct cell *cell = &experiment.cells[3];
	assert_string_equal(cell->label, "small records=20");
	assert_string_equal(cell->name, "small");
	assert_string_equal(cell->workload_label, "records=20");
	assert_int_equal(cell->index, 3);
	assert_string_equal(cell->driver->name, "cascade");
	assert_string_equal(experiment.cells[0].name, "nothing");
	/* One workload's cells are compared with that workload's baseline. */
	for (size_t i = 0; i < 4; i++)
		assert_true(experiment.cells[i].is_baseline == (i >= 2));
	assert_string_equal(experiment.cells[0].workload_hash, experiment.cells[2].workload_hash);
	load_good(&again, experiment.resolved, NULL, 0);
	assert_string_equal(again.cells[3].label, cell->label);
	assert_true(again.cells[3].is_baseline);
	experiment_free(&again);
	experiment_free(&experiment);

	load_good(&experiment,
		  "vary: [{set: engine, to: [{kind: null}, {kind: cascade}]}, "
		  "{set: engine.memory, to: [64 MiB]}]\n"
		  "engine: {kind: cascade}\n",
		  (const char *const[]) { "vary.1.set=workload.seed", "vary.1.to=[1, 2]" }, 2);
	assert_string_equal(experiment.cells[0].label, "null seed=1");
	assert_string_equal(experiment.cells[3].label, "cascade seed=2");
	assert_true(experiment.cells[0].is_baseline);
	assert_false(experiment.cells[2].is_baseline);
	experiment_free(&experiment);
}

/* Paths that are set together, and the part of a label that such an entry makes. */
static void test_vary_together(void **state)
{
	(void)state;
	static const char text[] =
		"baseline: other\nrepeats: 2\nvary:\n"
		"- set: [engine, clients_as]\n  as: [tasks, threads, other]\n"
		"  to:\n  - [{kind: cascade, memtable: {size: 16 MiB}}, tasks]\n"
		"  - [{kind: cascade, memtable: {size: 16 MiB}}, threads]\n"
		"  - [{kind: cascade, memtable: {size: 32 MiB}}, threads]\n"
		"- set: [workload.records, workload.value_size, engine.cache.size]\n  as: [d1, d2]\n"
		"  to: [[1000, 100, 16 MiB], [200, 1000, 32 MiB]]\n";
	static const char *const names[] = { "tasks", "threads", "other" };
	struct experiment experiment, again;
	load_good(&experiment, text, NULL, 0);
	assert_int_equal(experiment.cell_count, 6);
	for (size_t i = 0; i < 6; i++) {
		const struct cell *cell = &experiment.cells[i];
		bool second = i % 2 == 1;
		assert_string_equal(cell->name, names[i / 2]);
		assert_string_equal(cell->workload_label, second ? "d2" : "d1");
		assert_int_equal(cell->workload.records, second ? 200 : 1000);
		assert_int_equal(cell->workload.value_size, second ? 1000 : 100);
		assert_true(cell->workload.clients_as_tasks == (i < 2));
		assert_string_equal(yaml_get(yaml_get(cell->engine, "cache"), "size")->text,
				    second ? "32 MiB" : "16 MiB");
		assert_string_equal(yaml_get(yaml_get(cell->engine, "memtable"), "size")->text,
				    i < 4 ? "16 MiB" : "32 MiB");
		/* The baseline of each workload. */
		assert_true(cell->is_baseline == (i >= 4));
		assert_int_equal(cell->combination.variation_count, 5);
		assert_string_equal(cell->combination.variations[1].path, "clients_as");
	}
	assert_string_equal(experiment.cells[3].label, "threads d2");
	assert_string_equal(experiment.cells[0].workload_hash, experiment.cells[4].workload_hash);
	assert_string_not_equal(experiment.cells[0].workload_hash, experiment.cells[1].workload_hash);
	/* The cache is the configuration's, though its name stays. */
	assert_string_not_equal(experiment.cells[0].configuration_hash,
				experiment.cells[1].configuration_hash);
	load_good(&again, experiment.resolved, NULL, 0);
	assert_int_equal(again.cell_count, 6);
	assert_string_equal(again.cells[5].label, "other d2");
	assert_true(again.cells[5].is_baseline);
	for (size_t i = 0; i < 6; i++)
		assert_string_equal(again.cells[i].configuration_hash,
				    experiment.cells[i].configuration_hash);
	experiment_free(&again);
	experiment_free(&experiment);

	/* A later entry has its way with a key, and says so once. */
	load_good(
		&experiment,
		"engine: {kind: cascade}\nvary:\n"
		"- {set: [engine.memtable.kind, engine.cache.size], to: [[btree, 8 MiB], [skiplist, 8 MiB]], "
		"as: [b, s]}\n- {set: engine.cache.size, to: [16 MiB, 32 MiB]}\n",
		NULL, 0);
	assert_int_equal(experiment.cells[3].combination.variation_count, 2);
	assert_string_equal(experiment.cells[3].combination.variations[1].value, "32 MiB");
	assert_string_equal(experiment.cells[3].label, "s cache.size=32 MiB");
	experiment_free(&experiment);
}

/* Whatever text a scalar holds, printing and parsing give it back. */
static void test_printed_trees_read_back(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"", "a b", "a: b", "- a", "#a", "a #b", "\"q\"", "it's", "~", "null", "{a}", "[1]", "a,b",
		" a", "a ", "tab\there", "new\nline", "%x", "@a", "\xc3\xa4", "back\\slash", "./x", "-5",
		"0.5", "a:b", "*a", "&a", "!a", "|", ">", "?", "---",
		/* They end a line, or may not stand in a document as they are. */
		"\xc2\x85 nel", "\xe2\x80\xa8", "x\xe2\x80\xa9y", "\xef\xbb\xbf bom", "\xc2\x80",
		"\xef\xbf\xbf"
	};
	struct arena arena;
	struct problem problem;
	const struct place nowhere = { .origin = "test" };
	arena_init(&arena, 1 << 16);
	for (int flow = 0; flow < 2; flow++) {
		struct yaml_node *root = yaml_collection(&arena, YAML_MAPPING, nowhere);
		struct yaml_node *list = yaml_collection(&arena, YAML_SEQUENCE, nowhere);
		for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
			struct yaml_node *scalar = yaml_scalar(&arena, texts[i], nowhere);
			scalar->quoted = true;
			yaml_append(&arena, list, scalar);
			if (texts[i][0] != '\0')
				yaml_put(&arena, root, texts[i], nowhere, scalar);
		}
		yaml_put(&arena, root, "list", nowhere, list);
		const char *text = yaml_text(&arena, root, flow == 1);
		struct yaml_node *back = NULL;
		if (!status_is_ok(yaml_parse(&arena, text, strlen(text), "test", true, &back, &problem)))
			fail_msg("%s in:\n%s", problem.text, text);
		for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
			assert_string_equal(yaml_get(back, "list")->items[i].value->text, texts[i]);
			if (texts[i][0] != '\0')
				assert_string_equal(yaml_get(back, texts[i])->text, texts[i]);
		}
	}
	arena_free(&arena);
}

static void test_table_is_sound(void **state)
{
	(void)state;
	for (size_t i = 0; i < workload_key_count; i++) {
		const struct workload_key *key = &workload_keys[i];
		assert_ptr_equal(workload_key_find(key->section, key->name), key);
		assert_non_null(key->help);
		assert_true(key->applies != 0);
	}
}

static int set_up(void **state)
{
	(void)state;
	int fd = mkstemp(file_path);
	return fd < 0 || close(fd) != 0;
}

static int tear_down(void **state)
{
	(void)state;
	return unlink(file_path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_syntax),
		cmocka_unit_test(test_bad_values),
		cmocka_unit_test(test_bad_phases),
		cmocka_unit_test(test_bad_vary),
		cmocka_unit_test(test_bad_engine_is_named),
		cmocka_unit_test(test_bad_engine_options_have_lines),
		cmocka_unit_test(test_unreadable_files),
		cmocka_unit_test(test_damaged_files),
		cmocka_unit_test(test_bad_sets),
		cmocka_unit_test(test_sets_change_values),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_values_and_lines),
		cmocka_unit_test(test_resolved_reads_back),
		cmocka_unit_test(test_resolved_engine_reads_back),
		cmocka_unit_test(test_shipped_files),
		cmocka_unit_test(test_hashes),
		cmocka_unit_test(test_vary),
		cmocka_unit_test(test_labels),
		cmocka_unit_test(test_vary_together),
		cmocka_unit_test(test_printed_trees_read_back),
		cmocka_unit_test(test_table_is_sound),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
