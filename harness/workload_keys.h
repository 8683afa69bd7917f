/*
 * workload_keys.h: the one table of what a workload file may say: names, types, defaults, bounds and help.
 * The checks read it, `cascade list workload` prints it, and the documentation is made from that. Options
 * of the engines stand in the engines' own tables.
 */
#ifndef CASCADE_HARNESS_WORKLOAD_KEYS_H
#define CASCADE_HARNESS_WORKLOAD_KEYS_H

#include <stddef.h>

enum key_type {
	KEY_TEXT,
	KEY_COUNT,
	KEY_SIZE,
	KEY_TIME,
	KEY_REAL,
	KEY_BOOLEAN,
	KEY_CHOICE,
	KEY_MAPPING, /* whose keys are the section of that name */
	KEY_LIST,    /* of mappings whose keys are the section of that name; `components`: of paths */
};

/* The kinds of phase in which a key of a phase means something; in the others it is read and ignored. */
enum { KEY_IN_LOAD = 1, KEY_IN_RUN = 2, KEY_EVERYWHERE = 3 };

struct workload_key {
	const char *section; /* "" is the top level */
	const char *name;
	enum key_type type;
	unsigned applies;
	const char *default_value; /* NULL: absent unless given; for text that depends, see help */
	const char *load_default;  /* of load phases, NULL: the same */
	const char *choices;	   /* of a choice: names between blanks; NULL: the drivers there are */
	double minimum, maximum;   /* of numbers, sizes (bytes) and times (ns) */
	const char *help;
};

extern const struct workload_key workload_keys[];
extern const size_t workload_key_count;

/* What a file without `phases` gets: YAML text. */
extern const char workload_default_phases[];

const struct workload_key *workload_key_find(const char *section, const char *name);

/* "a size", "one of tasks, threads", ...: what a value of the key must be. Returns buffer. */
const char *workload_key_expects(const struct workload_key *key, char *buffer, size_t size);

/* "size", "choice", ...: for lists. */
const char *workload_key_type_text(enum key_type type);

enum { WORKLOAD_CHOICES_MAX = 32 };

/* The names that a choice takes, split into `names` over `buffer`; returns how many. */
size_t workload_key_choices(const struct workload_key *key, const char *names[WORKLOAD_CHOICES_MAX],
			    char *buffer, size_t size);

#endif
