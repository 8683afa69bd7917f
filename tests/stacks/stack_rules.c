#include "stacks/stack_rules.h"

#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 64 };

static void *grown(void *memory, size_t size)
{
	void *larger = realloc(memory, size);
	if (larger == NULL)
		abort();
	return larger;
}

static char *copy_of(const char *text)
{
	char *copy = strdup(text);
	if (copy == NULL)
		abort();
	return copy;
}

/* A whole number of bytes; -1: it is none. */
static long bytes_of(const char *word)
{
	char *end;
	long bytes = strtol(word, &end, 10);
	return *word == '\0' || *end != '\0' || bytes < 0 ? -1 : bytes;
}

static bool read_entry(struct stack_rules *rules, char **words, size_t count)
{
	if (count != 3 || rules->entry != NULL || bytes_of(words[2]) < 0)
		return false;
	rules->entry = copy_of(words[1]);
	rules->entry_bytes = bytes_of(words[2]);
	return true;
}

static bool read_outside(struct stack_rules *rules, char **words, size_t count, unsigned line)
{
	if (count != 3 || bytes_of(words[2]) < 0)
		return false;
	rules->outside = grown(rules->outside, (rules->outside_count + 1) * sizeof(*rules->outside));
	rules->outside[rules->outside_count++] =
		(struct outside_rule) { copy_of(words[1]), bytes_of(words[2]), line, false };
	return true;
}

static bool read_limit(struct stack_rules *rules, char **words, size_t count, unsigned line)
{
	if (count < 3 || bytes_of(words[1]) < 0)
		return false;
	struct limit_rule rule = { .bytes = bytes_of(words[1]), .line = line, .deepest = "" };
	rule.patterns = grown(NULL, count * sizeof(*rule.patterns));
	for (size_t i = 2; i < count; i++)
		rule.patterns[rule.pattern_count++] = copy_of(words[i]);
	rules->limits = grown(rules->limits, (rules->limit_count + 1) * sizeof(*rules->limits));
	rules->limits[rules->limit_count++] = rule;
	return true;
}

static bool read_call(struct stack_rules *rules, char **words, size_t count, unsigned line)
{
	char *colon = count > 1 ? strrchr(words[1], ':') : NULL;
	bool has_in = count > 3 && strcmp(words[2], "in") == 0;
	size_t equals = has_in ? 4 : 2;
	if (colon == NULL || count < equals + 2 || strcmp(words[equals], "=") != 0)
		return false;
	*colon = '\0';
	struct call_rule rule = { .file = copy_of(words[1]), .function = copy_of(colon + 1), .line = line };
	rule.in = has_in ? copy_of(words[3]) : NULL;
	rule.targets = grown(NULL, (count - equals) * sizeof(*rule.targets));
	for (size_t i = equals + 1; i < count; i++)
		rule.targets[rule.target_count++] = copy_of(words[i]);
	rules->calls = grown(rules->calls, (rules->call_count + 1) * sizeof(*rules->calls));
	rules->calls[rules->call_count++] = rule;
	return true;
}

static void read_line(struct stack_rules *rules, const struct source_line *line, struct findings *findings)
{
	char text[1024];
	char *words[WORDS_MAX];
	size_t count = 0;
	if (line->size >= sizeof(text)) {
		findings_add(findings, rules->path, line->number, "the line is too long");
		return;
	}
	memcpy(text, line->text, line->size);
	text[line->size] = '\0';
	char *comment = strchr(text, '#');
	if (comment != NULL)
		*comment = '\0';
	char *rest;
	for (char *word = strtok_r(text, " \t", &rest); word != NULL && count < WORDS_MAX;
	     word = strtok_r(NULL, " \t", &rest))
		words[count++] = word;
	if (count == 0)
		return;
	bool good = false;
	if (strcmp(words[0], "entry") == 0)
		good = read_entry(rules, words, count);
	else if (strcmp(words[0], "outside") == 0)
		good = read_outside(rules, words, count, line->number);
	else if (strcmp(words[0], "limit") == 0)
		good = read_limit(rules, words, count, line->number);
	else if (strcmp(words[0], "call") == 0)
		good = read_call(rules, words, count, line->number);
	if (!good)
		findings_add(findings, rules->path, line->number, "no rule of the four kinds");
}

void stack_rules_read(struct stack_rules *rules, const struct source_file *file, struct findings *findings)
{
	*rules = (struct stack_rules) { .path = file->path };
	struct source_line line = { 0 };
	while (source_line_next(file, &line))
		read_line(rules, &line, findings);
	if (rules->entry == NULL)
		findings_add(findings, rules->path, line.number, "there is no entry");
}

void stack_rules_free(struct stack_rules *rules)
{
	for (size_t i = 0; i < rules->call_count; i++) {
		struct call_rule *rule = &rules->calls[i];
		for (size_t j = 0; j < rule->target_count; j++)
			free(rule->targets[j]);
		free(rule->targets);
		free(rule->file);
		free(rule->function);
		free(rule->in);
	}
	for (size_t i = 0; i < rules->outside_count; i++)
		free(rules->outside[i].name);
	for (size_t i = 0; i < rules->limit_count; i++) {
		for (size_t j = 0; j < rules->limits[i].pattern_count; j++)
			free(rules->limits[i].patterns[j]);
		free(rules->limits[i].patterns);
	}
	free(rules->limits);
	free(rules->calls);
	free(rules->outside);
	free(rules->entry);
	*rules = (struct stack_rules) { 0 };
}
