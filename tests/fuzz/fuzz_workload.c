/*
 * Workload files. A document that is read is printed, as blocks and in braces, and reads as the same; one
 * that means something means the same once all is filled in, and fits the structs of the bench.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "harness/experiment.h"
#include "harness/yaml_tree.h"

enum { SETS_MAX = 8 };

static bool same_tree(const struct yaml_node *a, const struct yaml_node *b)
{
	if (a->kind != b->kind)
		return false;
	if (a->kind == YAML_SCALAR)
		return strcmp(a->text, b->text) == 0 && yaml_is_null(a) == yaml_is_null(b);
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		if (a->kind == YAML_MAPPING && strcmp(a->items[i].key, b->items[i].key) != 0)
			return false;
		if (!same_tree(a->items[i].value, b->items[i].value))
			return false;
	}
	return true;
}

/* The empty text and ~ both are nothing, and are written as ~. */
static bool same_meaning(const struct yaml_node *a, const struct yaml_node *b)
{
	return (a->kind == YAML_SCALAR && b->kind == YAML_SCALAR && yaml_is_null(a) && yaml_is_null(b)) ||
	       same_tree(a, b);
}

static void normalise(struct arena *arena, struct yaml_node *node)
{
	for (size_t i = 0; node->kind != YAML_SCALAR && i < node->count; i++)
		normalise(arena, node->items[i].value);
	if (yaml_is_null(node))
		node->text = "~";
}

static void check_printed(struct arena *arena, struct yaml_node *root)
{
	struct problem problem;
	normalise(arena, root);
	for (int flow = 0; flow < 2; flow++) {
		struct yaml_node *again = NULL;
		const char *text = yaml_text(arena, root, flow == 1);
		struct status status = yaml_parse(arena, text, strlen(text), "again", true, &again, &problem);
		if (!status_is_ok(status) || again == NULL || !same_meaning(root, again))
			(void)fprintf(stderr, "printed as: %s\n", text);
		FUZZ_CHECK(status_is_ok(status) && again != NULL && same_meaning(root, again));
	}
}

/* --- the whole way to an experiment --- */

static struct status load(struct experiment *experiment, const char *text, size_t size,
			  const char *const *sets, size_t set_count)
{
	struct problem problem = { "" };
	char path[64];
	int file = memfd_create("workload", MFD_CLOEXEC);
	FUZZ_CHECK(file >= 0 && write(file, text, size) == (ssize_t)size);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	struct status status = experiment_load(experiment, path, sets, set_count, &problem);
	(void)close(file);
	bool expected = status_is_ok(status) || status_is(status, STATUS_INVALID);
	if (!expected || (!status_is_ok(status) && set_count == 0 && sets == NULL))
		(void)fprintf(stderr, "%s: %s\n", status_code_text(status.code), problem.text);
	FUZZ_CHECK(expected && status_is_ok(status) == (problem.text[0] == '\0'));
	return status;
}

/* What a run's folder keeps of it is a workload file that means the same. */
static void check_resolved(const struct experiment *experiment)
{
	struct experiment again;
	const char *text = experiment->resolved;
	FUZZ_CHECK(status_is_ok(load(&again, text, strlen(text), NULL, 0)));
	FUZZ_CHECK(again.cell_count == experiment->cell_count && again.repeats == experiment->repeats);
	for (size_t i = 0; i < again.cell_count; i++) {
		const struct cell *a = &experiment->cells[i];
		const struct cell *b = &again.cells[i];
		FUZZ_CHECK(strcmp(a->configuration_hash, b->configuration_hash) == 0);
		FUZZ_CHECK(strcmp(a->workload_hash, b->workload_hash) == 0);
		FUZZ_CHECK(a->is_baseline == b->is_baseline);
	}
	if (strcmp(text, again.resolved) != 0)
		(void)fprintf(stderr, "first:\n%s\nthen:\n%s\n", text, again.resolved);
	FUZZ_CHECK(strcmp(text, again.resolved) == 0);
	experiment_free(&again);
}

/* `bytes`: the file, and behind zero bytes what --set says. */
static void check_experiment(const uint8_t *bytes, size_t size)
{
	const char *sets[SETS_MAX + 1] = { NULL };
	size_t set_count = 0;
	struct experiment experiment;
	char *text = malloc(size + 1);
	FUZZ_CHECK(text != NULL);
	if (size > 0)
		memcpy(text, bytes, size);
	text[size] = '\0';
	for (char *end = text + strlen(text); end < text + size && set_count < SETS_MAX; end += strlen(end))
		sets[set_count++] = ++end;
	struct status status = load(&experiment, text, strlen(text), sets, set_count);
	/* Combinations of many and large parts are slow, and nothing new. */
	if (status_is_ok(status) && experiment.cell_count <= 32)
		check_resolved(&experiment);
	experiment_free(&experiment);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena;
	struct problem problem = { "" };
	struct yaml_node *root = NULL;
	uint8_t *copy = fuzz_exact(data, size);
	arena_init(&arena, 4096);
	struct status status =
		yaml_parse(&arena, (const char *)copy, size, "workload.yaml", true, &root, &problem);
	FUZZ_CHECK(status_is_ok(status) || (status_is(status, STATUS_INVALID) && problem.text[0] != '\0'));
	if (status_is_ok(status) && root != NULL) {
		check_printed(&arena, root);
	}
	arena_free(&arena);
	free(copy);
	check_experiment(data, size);
	return 0;
}

size_t fuzz_seed(unsigned index, uint8_t *to)
{
	static const char *const texts[] = {
		"",
		"name: quick\nengine:\n  kind: cascade\n  cache: {size: 128 MiB}\n  filter.bits_per_key: 10\n"
		"workload:\n  records: 20000\n  value_size: 500\n  compressibility: 0.5\n  seed: 42\n"
		"verify: true\nclients_as: tasks\nphases:\n  - {name: load, kind: load, clients: 8}\n"
		"  - name: run\n    mix: {read: 45, update: 40, insert: 5, scan: 5, rmw: 1, delete: 5}\n"
		"    distribution: zipfian_exact\n    theta: 0.5\n    duration: 2 s\n    warmup: 1 s\n"
		"    scan_max: 100\nrepeats: 3\n",
		"name: vary\nengine: {kind: null}\nvary:\n  - set: engine.shards\n    to: [1, 2, 4]\n"
		"  - {set: workload.value_size, to: [100, 1 KiB]}\n",
		"a: [1, [2, {b: ~, c: ''}], \"q\\n\\x07\"]\n'd e': |\n  block\n  text\nf: >-\n  folded\n  "
		"text\n",
		"- - - x\n- ? key\n  : value\n- &anchor y\n- {}\n- []\n",
		"---\n...\n",
		"{a: 1, a: 2}",
		"!!str x",
		"*alias",
		"\xef\xbb\xbfname: x\n",
		/* Characters that end a line or may not stand in a document, by their escapes. */
		"a: \"\\u2028\\x85\\ufeff\\x80\"\n",
		"\"k\\u2029\\x9f\": \"\\ud7ff\"\n",
		NULL,
	};
	static const char with_sets[] = "phases: [{kind: load}, {mix: {read: 1}}]\n\0phases.0.clients=2\0"
					"engine.cache={size: 64 MiB}\0workload.records=10\0vary=[]";
	if (index == 0)
		return fuzz_put_bytes(to, 0, with_sets, sizeof(with_sets) - 1);
	return fuzz_text_seed(texts, index - 1, to);
}
